//! The admin listener: AdminService over gRPC, and what operators and probes read over HTTP.
//!
//! It has no authentication of its own, so it listens on loopback or a Unix socket only
//! ([`super::Listener::bind_admin`]), and gRPC is answered over HTTP/2 only: a browser cannot be
//! made to speak that in clear text, so no web page can reach the API through the user's machine.

use std::io;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Version, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use super::door::Door;
use super::limits;
use super::listener::Listener;
use super::readiness::{READINESS_SERVICE, Readiness};
use crate::telemetry::{METRICS_CONTENT_TYPE, Metrics};

/// The running admin server.
pub struct Admin {
    door: Door,
    health: JoinHandle<()>,
    reporter: HealthReporter,
}

/// What the HTTP paths answer from.
#[derive(Clone)]
struct Pages {
    readiness: Readiness,
    metrics: Metrics,
}

impl Admin {
    /// Serves on the control runtime, whose handle is `control`. `grpc` holds AdminService and what
    /// else should be there; `reporter` is kept in step with `readiness` for as long as this runs.
    pub fn start(
        control: &Handle,
        listener: Listener,
        grpc: Routes,
        readiness: Readiness,
        reporter: HealthReporter,
        metrics: Metrics,
    ) -> io::Result<Admin> {
        let health = readiness.clone().report(reporter.clone());
        let routes = routes(grpc, Pages { readiness, metrics });
        let door = Door::start(control, listener, routes, limits::ADMIN_CONNECTIONS_MAX)?;
        Ok(Admin { door, health: control.spawn(health), reporter })
    }

    /// Ends every client's watch of gRPC health, on all listeners: a watch has no end of its own and
    /// would hold up a drain. Called when clients have had time to see `draining`.
    pub async fn end_health_watches(&mut self) {
        self.health.abort();
        for service in ["", READINESS_SERVICE] {
            self.reporter.clear_service_status(service).await;
        }
    }

    /// Closes the listener and lets requests in flight finish within that time.
    pub async fn drain(mut self, within: Duration) {
        self.end_health_watches().await;
        self.door.drain(within).await;
        let _ = self.health.await; // Cancelled or panicked: either way it has ended.
    }
}

fn routes(grpc: Routes, pages: Pages) -> Routes {
    let http = axum::Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(pages);
    Routes::from(grpc.into_axum_router().layer(from_fn(http2_only)).merge(http))
}

async fn readyz(State(pages): State<Pages>) -> Response {
    match pages.readiness.refusal() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], pages.metrics.render()).into_response()
}

async fn http2_only(request: Request, next: Next) -> Response {
    if request.version() == Version::HTTP_2 {
        next.run(request).await
    } else {
        (StatusCode::NOT_FOUND, "not found: see /healthz, /readyz and /metrics\n").into_response()
    }
}
