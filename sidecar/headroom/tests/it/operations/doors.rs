//! Sockets, pages for probes and Prometheus, health and reflection.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use headroom_proto::v1;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb;

use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

#[tokio::test]
async fn a_socket_is_for_owner_and_group_and_a_stale_one_is_replaced() {
    let home = Home::new(PLAIN);
    let mut sidecar = home.start();
    let mode = |name: &str| std::fs::metadata(home.path(name)).unwrap().permissions().mode();
    assert_eq!((mode("socket") & 0o777, mode("data") & 0o777), (0o660, 0o700));
    sidecar.kill();
    drop(sidecar);
    assert!(home.path("socket").exists(), "kill -9 leaves the file");
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    assert!(ask::consumed(&mut client, "acme", "calls", 1, "k").await.allowed);
    drop(client);
    sidecar.stop().await;
}

/// Names of labels in an exposition.
fn labels(text: &str) -> BTreeSet<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let inner = samples.filter_map(|line| Some(line.split_once('{')?.1.split_once('}')?.0));
    inner
        .flat_map(|pairs| pairs.split(','))
        .filter_map(|pair| Some(pair.split_once('=')?.0))
        .collect()
}

#[tokio::test]
async fn pages_tell_life_readiness_and_metrics() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    ask::subscribe(&mut ask::admin(&home).await, "acme-corp", "tight").await;
    for (key, units) in [("a", 30), ("b", 30), ("c", 1)] {
        ask::consumed(&mut client, "acme-corp", "slots", units, key).await;
    }
    client.consume(ask::consume("acme-corp", "slots", 0, "d")).await.unwrap_err();
    for (path, status, body) in [("/healthz", 200, "alive\n"), ("/readyz", 200, "ready\n")] {
        let page = sidecar.page(path);
        assert_eq!((page.status, page.body.as_str()), (status, body));
    }
    assert_eq!(sidecar.page("/nothing").status, 404);
    assert_eq!(sidecar.page("/headroom.v1.AdminService/GetStatus").status, 404);

    let text = sidecar.page("/metrics").body;
    let expected = [
        "headroom_decisions_total{operation=\"consume\",verdict=\"allowed_soft_limit\"} 2",
        "headroom_decisions_total{operation=\"consume\",verdict=\"denied\"} 1",
        "headroom_denials_total{denial=\"quota_exhausted\"} 1",
        "headroom_errors_total{reason=\"invalid_field\"} 1",
        "headroom_decision_duration_seconds_count{operation=\"consume\"} 3",
        "headroom_accounts 1",
        "headroom_ledgers 1",
        "headroom_journal_writable 1",
        "headroom_test_clock 0",
        "headroom_ledgers_halted 0",
    ];
    for line in expected {
        assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains("acme"), "no metric names an account");
    let known =
        BTreeSet::from(["denial", "le", "operation", "reason", "sink", "verdict", "version"]);
    assert_eq!(labels(&text), known);
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn grpc_health_answers_on_both_listeners() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    for endpoint in [home.endpoint(), home.admin()] {
        let mut health = HealthClient::new(ask::channel(&endpoint).await);
        for service in ["", "readiness"] {
            let request = HealthCheckRequest { service: service.into() };
            // Readiness is reported in the background, so it may come a moment later.
            crate::support::until_async("serving", async || {
                let answer = health.check(request.clone()).await.ok()?.into_inner();
                (answer.status() == ServingStatus::Serving).then_some(())
            })
            .await;
        }
        let unknown = HealthCheckRequest { service: "nothing".into() };
        let status = health.check(unknown).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::NotFound);
    }
    sidecar.stop().await;
}

macro_rules! reflected {
    ($version:ident, $endpoint:expr, $symbol:expr) => {{
        use pb::$version::server_reflection_client::ServerReflectionClient;
        use pb::$version::server_reflection_request::MessageRequest;
        use pb::$version::server_reflection_response::MessageResponse;
        let mut client = ServerReflectionClient::new(ask::channel($endpoint).await);
        let ask = |message_request| pb::$version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        };
        let requests = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol($symbol.to_owned())),
        ];
        let answers = client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap();
        let mut answers = answers.into_inner();
        let mut services = Vec::new();
        let mut files = 0;
        while let Some(answer) = answers.message().await.unwrap() {
            match answer.message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    services = list.service.into_iter().map(|service| service.name).collect();
                }
                MessageResponse::FileDescriptorResponse(list) => {
                    files = list.file_descriptor_proto.len();
                }
                other => panic!("{other:?}"),
            }
        }
        (services, files)
    }};
}

#[tokio::test]
async fn reflection_answers_in_both_versions_on_both_listeners() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    for (endpoint, service) in [
        (home.endpoint(), "headroom.v1.EntitlementService"),
        (home.admin(), "headroom.v1.AdminService"),
    ] {
        let (old, new) =
            (reflected!(v1alpha, &endpoint, service), reflected!(v1, &endpoint, service));
        for (services, files) in [old, new] {
            let services: Vec<String> = services;
            assert!(services.iter().any(|name| name == service), "{services:?}");
            assert!(files > 0, "the file that describes {service}");
        }
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn all_listeners_answer_from_one_memory() {
    let [port] = crate::support::home::free_ports();
    let home = Home::new(PLAIN);
    let unix = format!("unix:{}", home.path("socket").display());
    home.write_settings(&format!("listen: ['{unix}', '127.0.0.1:{port}']\n"));
    let sidecar = home.start();
    let mut here = ask::entitlements(&home).await;
    let mut there = ask::Entitlements::new(ask::channel(&format!("http://127.0.0.1:{port}")).await);
    let first = ask::consumed(&mut here, "acme", "calls", 3, "k").await;
    let again = ask::consumed(&mut there, "acme", "calls", 3, "k").await;
    assert!(again.replayed && again.decision_id == first.decision_id);
    assert_eq!(again.source(), v1::Source::Local);
    drop((here, there));
    sidecar.stop().await;
}
