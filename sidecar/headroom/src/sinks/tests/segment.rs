//! Segment's protocol, next to what its own library and RudderStack's send.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Bench, told};
use crate::config::sinks::Credential;
use crate::sinks::courier::Form;
use crate::sinks::segment::Segment;

/// What the libraries sent once: see `golden/README.md`.
const GOLDEN: &str = include_str!("golden/clients.json");

fn golden(client: &str) -> Value {
    let all: Value = serde_json::from_str(GOLDEN).unwrap();
    all[client][0].clone()
}

fn form() -> Segment {
    let url = "https://api.segment.io/v1/batch".parse().unwrap();
    Segment { url, write_key: Credential::basic("wk", "") }
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_request_is_what_segments_own_library_sends() {
    let bench = Bench::new();
    bench.write("acme/eu", 1);
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_793_696_401_250);
    let ours = form().request(&told(&bench), at).unwrap();
    for client in ["segment", "rudder"] {
        let golden = golden(client);
        assert_eq!(golden["method"], ours.method().as_str());
        assert_eq!(golden["path"], ours.uri().path());
        for header in golden["headers"].as_array().unwrap() {
            let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
            // Who the client is, and what hyper adds by itself, are not part of it.
            if matches!(name, "content-type" | "authorization") {
                assert_eq!(ours.headers()[name], value, "{client}: {name}");
            }
        }
        let theirs: Value = serde_json::from_str(golden["body"].as_str().unwrap()).unwrap();
        let body = super::json(ours.body());
        // The key is in the header; theirs has it twice.
        let outer: Vec<&str> = keys(&theirs).into_iter().filter(|k| *k != "writeKey").collect();
        assert_eq!(outer, keys(&body), "{client}");
        let (theirs, event) = (&theirs["batch"][0], &body["batch"][0]);
        let meant: Vec<&str> = keys(theirs)
            .into_iter()
            .filter(|key| !theirs[key].is_null() && *key != "channel")
            .collect();
        assert_eq!(meant, keys(event), "{client}");
        for key in ["type", "event", "anonymousId"] {
            assert_eq!(theirs[key], event[key], "{client}: {key}");
        }
        assert_eq!(keys(&theirs["context"]), keys(&event["context"]), "{client}");
        assert_eq!(theirs["context"]["groupId"], event["context"]["groupId"], "{client}");
        assert_eq!(keys(&theirs["context"]["library"]), keys(&event["context"]["library"]));
        let instant =
            |value: &Value| -> jiff::Timestamp { value.as_str().unwrap().parse().unwrap() };
        assert_eq!(instant(&theirs["timestamp"]), instant(&event["timestamp"]), "{client}");
    }
}

#[test]
fn an_event_has_what_segment_asks_for() {
    let bench = Bench::new();
    bench.write("acme", 12);
    let told = told(&bench);
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_793_696_401_250);
    let body = super::json(form().request(&told, at).unwrap().body());
    assert_eq!(body["sentAt"], "2026-11-03T09:00:01.250Z");
    let events = body["batch"].as_array().unwrap();
    assert_eq!(events.len(), 11);
    for (event, message) in events.iter().zip(&told) {
        assert_eq!(event["messageId"], message.unique_id());
        assert!(event["messageId"].as_str().unwrap().len() < 100);
        assert_eq!(event["properties"]["account"], "acme");
    }
    assert_eq!(events[10]["event"], "feature_limit_hit");
}

#[test]
fn the_largest_batch_is_below_what_segment_takes() {
    let bench = Bench::new();
    bench.write(&"\u{1}".repeat(256), 1);
    let (event_bytes, most) = form().bytes(&told(&bench)[0]).unwrap();
    assert!(event_bytes < 32_000, "{event_bytes}");
    // With the list around it.
    assert!(most + 100 < 500_000);
}

#[test]
fn the_write_key_is_never_printed() {
    let printed = format!("{:?}", form().write_key);
    assert!(!printed.contains("d2s6") && !printed.contains("wk"), "{printed}");
}
