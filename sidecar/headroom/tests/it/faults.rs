//! Faults that meters of this kind are known for, those that no other test is about. ARCHITECTURE lists
//! all of them with their tests.

use std::time::{Duration, Instant};

use headroom_proto::v1::{self, Denial};
use tonic::Code;

use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::endpoint::Endpoint;
use crate::support::home::Home;
use crate::support::room::{NoRoom, start_bounded};
use crate::support::{until, until_async};

/// How long the SDK asks a sidecar that is not there.
const LOST: Duration = Duration::from_secs(1);

/// A catalog without a sink, so that nothing but the journal grows.
fn plain() -> &'static str {
    PLAIN.split_once("sinks:").unwrap().0
}

/// Whatever the memory has lost, nobody is answered before it is back: the very first answer knows all.
#[tokio::test]
async fn a_counter_is_not_taken_for_zero_because_it_is_not_in_memory() {
    let home = Home::new(PLAIN);
    let mut sidecar = home.start();
    ask::subscribe(&mut ask::admin(&home).await, "acme", "tight").await;
    let mut client = ask::entitlements(&home).await;
    assert!(ask::consumed(&mut client, "acme", "slots", 37, "k").await.allowed);
    for round in 0..6 {
        drop(client);
        if round % 2 == 0 {
            sidecar.kill();
        } else {
            sidecar.stop().await;
        }
        // What may be lost at any time is no counter: histories are only for projections.
        let _ = std::fs::remove_file(home.data().join("histories.redb"));
        sidecar = home.spawn();
        // Asked from the first moment on, long before it says that it is ready.
        let key = format!("after {round}");
        let request = ask::consume("acme", "slots", 4, &key);
        let answer = until_async("an answer", async || {
            let channel = tonic::transport::Endpoint::from_shared(home.endpoint()).unwrap();
            let channel = channel.connect().await.ok()?;
            let mut early = ask::Entitlements::new(channel);
            early.consume(request.clone()).await.ok()
        });
        let decision = answer.await.into_inner().decision.unwrap();
        assert!(!decision.allowed, "round {round}: {decision:?}");
        assert_eq!(decision.denial(), Denial::QuotaExhausted);
        let state = decision.binding.as_ref().unwrap();
        assert_eq!((state.used_units, state.included_units), (37, Some(40)), "round {round}");
        sidecar.wait_ready();
        client = ask::entitlements(&home).await;
    }
    drop(client);
    sidecar.stop().await;
}

/// Writes until one is not taken, and returns how many were.
async fn fill(client: &mut ask::Entitlements) -> i64 {
    for count in 0..100_000 {
        let request = ask::record("filler", "calls", 1, &format!("filler {count}"));
        if client.record(request).await.is_err() {
            return count;
        }
    }
    panic!("there is always room");
}

/// The backend of the counters is the disk. Usage that comes while it is away is not taken, and says so,
/// so whoever tells it keeps it and tells it again: then all of it counts, each part once.
#[tokio::test]
async fn no_usage_is_dropped_while_the_disk_is_away() {
    let home = Home::new(plain());
    let sidecar = start_bounded(&home);
    let mut client = ask::entitlements(&home).await;
    let no_room = NoRoom::for_writes(&sidecar);
    fill(&mut client).await;
    let events = (0..40).map(|n| ask::record("acme", "calls", 1 + n, &format!("event {n}")));
    let events: Vec<v1::RecordRequest> = events.collect();
    let total: i64 = events.iter().map(|event| event.units).sum();
    let mut waiting = Vec::new();
    for event in &events {
        let refused = client.record(event.clone()).await.expect_err("the disk is away");
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        waiting.push(ask::reason(&refused));
    }
    assert!(waiting.contains(&"NO_ROOM".to_owned()), "{waiting:?}");
    drop(no_room);
    for event in &events {
        until_async("it is counted", async || client.record(event.clone()).await.ok()).await;
    }
    // Again, as after an answer that was lost.
    for event in &events {
        let again = client.record(event.clone()).await.unwrap().into_inner();
        assert!(again.decision.unwrap().replayed);
    }
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (total, 0));
    drop(client);
    let mut sidecar = sidecar;
    sidecar.kill();
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (total, 0));
    drop(client);
    sidecar.stop().await;
}

/// No write is admitted while it could not be kept, what the rules refuse is refused still, and where nobody
/// answers the SDK says so and allows nothing.
#[tokio::test]
async fn nothing_is_allowed_because_the_disk_or_the_sidecar_is_away() {
    let home = Home::new(plain());
    let mut sidecar = start_bounded(&home);
    let mut client = ask::entitlements(&home).await;
    ask::subscribe(&mut ask::admin(&home).await, "acme", "tight").await;
    assert!(ask::consumed(&mut client, "acme", "slots", 38, "k").await.allowed);
    let no_room = NoRoom::for_writes(&sidecar);
    fill(&mut client).await;
    for (units, key) in [(1, "one"), (2, "all"), (3, "too many")] {
        let write = client.consume(ask::consume("acme", "slots", units, key)).await;
        match write {
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            Ok(answer) => {
                let decision = answer.into_inner().decision.unwrap();
                assert!(!decision.allowed && units > 2, "{units}: {decision:?}");
            }
        }
        let request = v1::CheckRequest { units: Some(units), ..ask::check("acme", "slots") };
        let check = client.check(request).await.unwrap().into_inner().decision.unwrap();
        assert_eq!(check.allowed, units <= 2, "{units}: {check:?}");
    }
    assert_eq!(ask::used(&mut client, "acme", "slots").await, (38, 0));
    drop((no_room, client));

    let (client, _) = home.clients().await;
    sidecar.kill();
    client.consume("acme", "slots", 1).deadline(LOST).await.expect_err("nobody answers");
    client.check("acme", "sso").deadline(LOST).await.expect_err("nobody answers");
    drop(sidecar);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    assert_eq!(ask::used(&mut client, "acme", "slots").await, (38, 0));
    drop(client);
    sidecar.stop().await;
}

/// An alert comes of the write that crosses, not of a job that looks every few minutes. The bound leaves
/// room for a machine that does much else: measured it is milliseconds.
#[tokio::test]
async fn an_alert_does_not_come_minutes_late() {
    const LATE: Duration = Duration::from_secs(10);
    let endpoint = Endpoint::start();
    let sink = format!(
        "sinks:\n  - sink: growth\n    kind: standard_webhook\n    url: http://localhost:{}/\n    \
         secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n    allow_private: on\n",
        endpoint.port
    );
    let home = Home::new(&format!("{}{sink}", plain()));
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    for round in 0..20 {
        // The first soft limit is at 4 of 400.
        let account = format!("account {round}");
        ask::consumed(&mut client, &account, "calls", 4, "k").await;
        let begun = Instant::now();
        until("it is told", || {
            let deliveries = endpoint.deliveries();
            let told = |body: &[u8]| String::from_utf8_lossy(body).contains(&account);
            deliveries.iter().any(|delivery| told(&delivery.body)).then_some(())
        });
        assert!(begun.elapsed() < LATE, "{account}: {:?}", begun.elapsed());
    }
    drop(client);
    sidecar.stop().await;
}

/// The list of faults and their tests is no promise but a list of what is run.
#[test]
fn every_fault_of_the_list_has_its_test() {
    let sidecar = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(sidecar.join("ARCHITECTURE.md")).unwrap();
    let (_, list) = text.split_once("## Faults of others").unwrap();
    let (list, _) = list.split_once("\n## ").unwrap();
    let mut tests = 0;
    for line in list.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        for named in quoted.chunks(2) {
            let [file, test] = named else { panic!("a file and a test: {line}") };
            let source = std::fs::read_to_string(sidecar.join(file)).expect(file);
            let at = source.find(&format!("fn {test}()")).unwrap_or_else(|| panic!("no {test}"));
            let before = source[..at].lines().rev().take(3).collect::<Vec<_>>().join(" ");
            assert!(before.contains("test]"), "{test} is not run");
            tests += 1;
        }
    }
    assert!(tests >= 18, "{tests} tests");
}
