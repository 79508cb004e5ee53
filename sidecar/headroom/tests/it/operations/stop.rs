//! Ways to be told to stop, with open streams and watches.

use headroom_proto::v1;
use headroom_proto::v1::operation::Operation as Op;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

#[tokio::test]
async fn an_idle_stream_and_a_health_watch_do_not_hold_up_a_stop() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::with_settings(PLAIN, "drain_timeout: 10min\n");
        let mut sidecar = home.start();
        let mut client = ask::entitlements(&home).await;
        let (requests, outgoing) = mpsc::channel(1);
        let operation = Op::Consume(ask::consume("acme", "calls", 2, "k"));
        let operations = vec![v1::Operation { operation: Some(operation) }];
        requests.send(v1::DecideRequest { operations }).await.unwrap();
        let answers = client.decide(ReceiverStream::new(outgoing)).await.unwrap();
        let mut answers = answers.into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().results.len(), 1);

        let mut watches = Vec::new();
        for endpoint in [home.endpoint(), home.admin()] {
            let mut health = HealthClient::new(ask::channel(&endpoint).await);
            let request = HealthCheckRequest { service: "readiness".into() };
            let mut watch = health.watch(request).await.unwrap().into_inner();
            let first = watch.message().await.unwrap().unwrap();
            assert_eq!(first.status(), ServingStatus::Serving);
            watches.push(watch);
        }
        sidecar.signal(signal);
        assert_eq!(answers.message().await.unwrap(), None, "the stream ends, and well");
        for mut watch in watches {
            while let Ok(Some(change)) = watch.message().await {
                assert_ne!(change.status(), ServingStatus::Serving);
            }
        }
        drop(client);
        let status = sidecar.wait_end().await;
        assert_eq!(status.code(), Some(0), "{}", sidecar.log());
        sidecar.wait_log("stopped; everything is on disk");
        assert!(!home.path("socket").exists() && !home.path("admin").exists());

        let sidecar = home.start();
        let mut client = ask::entitlements(&home).await;
        assert_eq!(ask::used(&mut client, "acme", "calls").await, (2, 0));
        drop(client);
        sidecar.stop().await;
    }
}

#[tokio::test]
async fn a_sighup_while_starting_does_not_end_it() {
    let home = Home::new(PLAIN);
    for _ in 0..5 {
        let mut sidecar = home.spawn();
        // From the moment it listens, it is a sidecar to others.
        crate::support::until("the socket", || home.path("admin").exists().then_some(()));
        sidecar.signal(Signal::HUP);
        sidecar.wait_ready();
        sidecar.stop().await;
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_is_done() {
    let home = Home::new(PLAIN);
    for round in 0..3 {
        let sidecar = home.start();
        let mut client = ask::entitlements(&home).await;
        ask::consumed(&mut client, "acme", "calls", 1, &round.to_string()).await;
        drop(client);
        let began = std::time::Instant::now();
        sidecar.stop().await;
        println!("stopped in {:.0?}", began.elapsed());
    }
}
