//! The services that every gRPC server is expected to have: health and reflection.

use headroom_proto::FILE_DESCRIPTOR_SET;
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::{Builder, Error};

/// Answers what none of the services has, and says where it is: whoever comes to the wrong listener gets no
/// empty answer.
pub fn point_elsewhere(routes: Routes, where_else: &'static str) -> Routes {
    let unknown = move |uri: http::Uri| async move {
        let text = format!("{} is not here: {where_else}", uri.path());
        Status::unimplemented(text).into_http::<axum::body::Body>()
    };
    Routes::from(routes.into_axum_router().fallback(unknown))
}

/// Adds grpc.health.v1, with the services "" (alive) and "readiness".
pub fn add_health(routes: Routes, reporter: &HealthReporter) -> Routes {
    routes.add_service(HealthServer::new(HealthService::from_health_reporter(reporter.clone())))
}

/// Adds reflection of the whole package in both versions: grpcurl and the Python tools ask only the
/// old one, buf asks the new one first. Fails if the checked-in descriptors are damaged.
pub fn add_reflection(routes: Routes) -> Result<Routes, Error> {
    let described = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes.add_service(described().build_v1()?).add_service(described().build_v1alpha()?))
}
