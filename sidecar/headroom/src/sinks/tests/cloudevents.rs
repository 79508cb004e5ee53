//! CloudEvents as they are on the wire. What the CNCF's own library makes of them is in
//! `tests/it/interop`.

use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::http::{LONG, Receiver, SECRETS, begun, ok};
use super::{Bench, told};
use crate::config::sinks::{CloudEventsMode, Filter, SinkKind, SinkSpec, WebhookSecret};
use crate::sinks::cloudevents::CloudEvents;
use crate::sinks::courier::Form;
use crate::sinks::limits::{BATCH_BYTES_MAX, BATCH_SIGNALS_MAX};
use crate::sinks::outbox::Outbox;
use crate::sinks::signature::Signer;

fn form(mode: CloudEventsMode) -> CloudEvents {
    let url = "http://x.test/events".parse().unwrap();
    let source = "//headroom/test".to_owned();
    CloudEvents { url, mode, source, auth: None, signer: Signer::new(&[]) }
}

/// A sidecar's sink, and a receiver.
fn spec(receiver: &Receiver, mode: CloudEventsMode, secrets: &[&str]) -> SinkSpec {
    let kind = SinkKind::CloudEvents {
        url: receiver.url.clone(),
        allow_private: true,
        mode,
        source: "//headroom/test".to_owned(),
        auth: None,
        secrets: secrets.iter().map(|text| WebhookSecret::parse(text).unwrap()).collect(),
    };
    SinkSpec { sink: "events".to_owned(), filter: Filter::all(), kind }
}

#[test]
fn a_structured_event_is_the_body() {
    let bench = Bench::new();
    bench.write("acme", 1);
    let request = form(CloudEventsMode::Structured).request(&told(&bench), SystemTime::now());
    let request = request.unwrap();
    assert_eq!(request.headers()["content-type"], "application/cloudevents+json");
    assert_eq!(request.headers().len(), 1);
    let event = super::json(request.body());
    let data = super::json(&told(&bench)[0].json())["data"].clone();
    let expected = json!({
        "specversion": "1.0",
        "id": bench.ids()[0].to_string(),
        "source": "//headroom/test",
        "type": "headroom.signal.usage_ceiling",
        "subject": "acme",
        "time": "2026-11-03T09:00:00Z",
        "datacontenttype": "application/json",
        "partitionkey": "acme",
        "data": data,
    });
    assert_eq!(event, expected);
}

#[test]
fn a_binary_event_is_headers_and_no_account_breaks_out_of_them() {
    let bench = Bench::new();
    bench.write("a\r\nce-id: x %\"é", 1);
    let request = form(CloudEventsMode::Binary).request(&told(&bench), SystemTime::now()).unwrap();
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("ce-subject"), "a%EF%BF%BD%EF%BF%BDce-id:%20x%20%25%22%C3%A9");
    assert_eq!(header("ce-id"), bench.ids()[0].to_string());
    assert_eq!(header("ce-specversion"), "1.0");
    assert_eq!(header("ce-source"), "//headroom/test");
    assert_eq!(header("ce-type"), "headroom.signal.usage_ceiling");
    assert_eq!(header("ce-time"), "2026-11-03T09:00:00Z");
    assert_eq!(header("content-type"), "application/json");
    // The data has the account as it is.
    assert_eq!(super::json(request.body())["account"], "a\r\nce-id: x %\"é");
}

#[test]
fn a_batch_is_known_by_what_is_in_it() {
    let bench = Bench::new();
    bench.write("acme", 3);
    let told = told(&bench);
    let mut signed = form(CloudEventsMode::Batch);
    signed.signer = Signer::new(&[WebhookSecret::parse(SECRETS[0]).unwrap()]);
    let id = |messages: &[_]| {
        let request = signed.request(messages, SystemTime::now()).unwrap();
        request.headers()["webhook-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id(&told[..1]), bench.ids()[0].to_string());
    assert_ne!(id(&told[..2]), id(&told[..1]));
    assert_ne!(id(&told[..2]), id(&told[..3]));
    assert_eq!(id(&told[..2]), id(&told[..2]));
}

#[tokio::test]
async fn what_waits_goes_in_batches_that_a_receiver_can_verify() {
    let bench = Bench::new();
    let mut receiver = Receiver::start(ok).await;
    let specs = vec![spec(&receiver, CloudEventsMode::Batch, &SECRETS[..1])];
    let outbox = Outbox::start(&Handle::current(), specs, bench.wiring.clone());
    begun(&outbox).await;
    for account in 0..BATCH_SIGNALS_MAX {
        bench.write(&format!("a{account}"), 2);
    }
    outbox.wake();
    let mut ids = Vec::new();
    let mut requests = 0;
    while ids.len() < 2 * BATCH_SIGNALS_MAX {
        let request = receiver.next().await;
        requests += 1;
        assert_eq!(request.headers["content-type"], "application/cloudevents-batch+json");
        assert!(request.body.len() <= BATCH_BYTES_MAX);
        let verifier = standardwebhooks::Webhook::new(SECRETS[0]).unwrap();
        verifier.verify(&request.body, &request.headers).unwrap();
        let Value::Array(events) = super::json(&request.body) else { panic!("a list") };
        assert!((1..=BATCH_SIGNALS_MAX).contains(&events.len()));
        ids.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
    }
    assert!(requests <= 4, "{requests} requests");
    ids.sort();
    assert_eq!(ids, bench.ids().iter().map(ToString::to_string).collect::<Vec<_>>());
    outbox.drain(LONG).await;
    assert_eq!(bench.cursor("events"), bench.ids().last().copied());
}

/// A receiver that knows an event must not be sent others under its name, and one that takes no
/// batch loses nothing.
#[tokio::test]
async fn of_a_batch_that_is_refused_each_event_arrives_alone() {
    let bench = Bench::new();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let mut receiver =
        Receiver::start(move |_| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => "HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
            _ => ok(0),
        })
        .await;
    let outbox = Outbox::start(
        &Handle::current(),
        vec![spec(&receiver, CloudEventsMode::Batch, &[])],
        bench.wiring.clone(),
    );
    begun(&outbox).await;
    bench.write("a", 3);
    outbox.wake();
    let lens = async {
        let mut lens = Vec::new();
        for _ in 0..4 {
            let Value::Array(events) = super::json(&receiver.next().await.body) else { panic!() };
            lens.push(events.len());
        }
        lens
    };
    assert_eq!(lens.await, [3, 1, 1, 1]);
    outbox.drain(LONG).await;
    assert_eq!(bench.cursor("events"), bench.ids().last().copied());
}
