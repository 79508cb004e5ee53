//! CloudEvents in: what other systems tell, as they would send it, and what they are told.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::ask;
use crate::support::home::Home;
use crate::support::http::{Page, send_unix};
use crate::support::sidecar::Sidecar;
use crate::support::until;

const CATALOG: &str = "\
default_plan: free
features:
  calls: { name: Calls, kind: quota, limits: { total: { window: lifetime } } }
plans:
  free:
    name: Free
    entitlements: { calls: { total: { included: 10 } } }
expansion:
  outside_signals: { webinar_attended: commercial }
sinks:
  - { sink: all, kind: ndjson, path: all.ndjson }
";

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn home() -> Home {
    let home = Home::new(CATALOG);
    let events = format!("events: unix:{}\n", home.path("events").display());
    home.write_settings(&events);
    home
}

/// A sidecar that knows `acme` and what was kept.
async fn start(home: &Home) -> Sidecar {
    let sidecar = home.start();
    let mut admin = ask::admin(home).await;
    ask::subscribe(&mut admin, "acme", "free").await;
    let known = json!([]).to_string();
    until("what was kept is read", || (post(home, BATCH, &known).status == 200).then_some(()));
    sidecar.wait_log("taking CloudEvents");
    let one = event("headroom.activity", "0", &json!({ "user": "zoe" })).to_string();
    until("events are taken", || (post(home, STRUCTURED, &one).status == 200).then_some(()));
    sidecar
}

fn socket(home: &Home) -> PathBuf {
    home.path("events")
}

fn post(home: &Home, kind: &str, body: &str) -> Page {
    with_headers(home, &[("Content-Type", kind)], body)
}

fn with_headers(home: &Home, headers: &[(&str, &str)], body: &str) -> Page {
    send_unix(&socket(home), "POST /v1/events", headers, body.as_bytes()).expect("an answer")
}

fn event(kind: &str, id: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/crm", "type": kind, "subject": "acme",
        "data": data
    })
}

/// What was answered: events, and how many of them were known.
#[track_caller]
fn taken(page: &Page) -> (i64, i64) {
    assert_eq!(page.status, 200, "{page:?}");
    let answer: Value = serde_json::from_str(&page.body).expect("JSON");
    let count = |name: &str| answer[name].as_i64().expect("a count");
    (count("events"), count("duplicates"))
}

/// The only problem of a refusal.
#[track_caller]
fn refused(page: &Page, status: u16) -> String {
    assert_eq!(page.status, status, "{page:?}");
    let answer: Value = serde_json::from_str(&page.body).expect("JSON");
    let errors = answer["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 1, "{page:?}");
    errors[0].as_str().expect("a sentence").to_owned()
}

/// The signals in the file, by what they are known by; a kill may have some written twice.
fn told(home: &Home) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(home.data().join("all.ndjson")).unwrap_or_default();
    let mut told: Vec<(String, Value)> = Vec::new();
    for line in text.lines() {
        let signal: Value = serde_json::from_str(line).expect("JSON");
        let key = signal["data"]["dedup_key"].as_str().expect("a key").to_owned();
        if !told.iter().any(|(known, _)| *known == key) {
            told.push((key, signal));
        }
    }
    told
}

#[tokio::test]
async fn an_event_is_delivered_once_over_kill_and_retry_in_whatever_mode_it_comes() {
    let home = home();
    let mut sidecar = start(&home).await;
    let nps = event("headroom.signal.nps_recorded", "survey 1", &json!({ "score": 9 }));
    assert_eq!(taken(&post(&home, STRUCTURED, &nps.to_string())), (1, 0));
    sidecar.kill();
    drop(sidecar);

    let sidecar = start(&home).await;
    assert_eq!(taken(&post(&home, STRUCTURED, &nps.to_string())), (1, 1), "it is known");
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "survey%201"),
        ("ce-source", "/crm"),
        ("ce-type", "headroom.signal.nps_recorded"),
        ("ce-subject", "acme"),
    ];
    assert_eq!(taken(&with_headers(&home, &headers, r#"{"score":9}"#)), (1, 1), "binary, too");
    // The same id of another source is another event.
    let mut other = nps.clone();
    other["source"] = "/other".into();
    let facts = event("headroom.facts", "f1", &json!({ "nps": 9, "open_escalation": true }));
    let batch = json!([nps, other, facts]).to_string();
    assert_eq!(taken(&post(&home, BATCH, &batch)), (3, 1));
    assert_eq!(taken(&post(&home, BATCH, &batch)), (3, 3));
    let own = event("headroom.signal.webinar_attended", "w1", &Value::Null);
    assert_eq!(taken(&post(&home, STRUCTURED, &own.to_string())), (1, 0));

    let told = until("all are told", || Some(told(&home)).filter(|told| told.len() >= 3));
    let keys: Vec<&str> = told.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "acme/nps_recorded//crm survey 1",
            "acme/nps_recorded//other survey 1",
            "acme/webinar_attended//crm w1"
        ]
    );
    assert_eq!(told[0].1["data"]["details"], json!({ "score": 9 }));
    // Facts count from their answer on: the escalation holds what came after it.
    assert_eq!(told[2].1["data"]["gate"]["risks"], json!(["open_escalation"]));
    let (_, admin) = home.clients().await;
    let readiness = admin.get_readiness("acme").await.unwrap().readiness.unwrap();
    let parts = readiness.pql.unwrap().parts;
    let login = parts.iter().find(|part| part.part == "days_since_login").unwrap();
    assert_eq!(login.value_thousandths, Some(0), "activity was taken");
    drop(admin);
    sidecar.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_of_its_request_is_taken() {
    let home = home();
    let sidecar = start(&home).await;
    let good = || event("headroom.signal.nps_recorded", "g", &json!({}));
    let change = |name: &str, value: Value| {
        let mut event = good();
        event[name] = value;
        event
    };
    let long = "x".repeat(5_000);
    for (wrong, status, expected) in [
        (
            change("type", "com.acme.nps".into()),
            400,
            "events[1].type: is \"com.acme.nps\", must be",
        ),
        (
            change("type", "headroom.signal.nps_recordet".into()),
            400,
            "events[1].type: \"nps_recordet\" is no signal that others may tell; known are",
        ),
        (change("time", "2001-01-01T00:00:00Z".into()), 400, "events[1].time: is 2001"),
        (change("data", json!({ "x": long })), 400, "events[1].data: is 5"),
        (change("subject", "nobody".into()), 404, "there is no account \"nobody\""),
        (change("subject", "a\u{7}".into()), 400, "events[1].subject: "),
        (change("specversion", "0.3".into()), 400, "events[1].specversion: is \"0.3\""),
        (event("headroom.activity", "a", &json!({})), 400, "events[1].data: names no user and no"),
        (event("headroom.activity", "a", &json!({ "usr": "x" })), 400, "events[1].data: \"usr\""),
    ] {
        let page = post(&home, BATCH, &json!([good(), wrong]).to_string());
        let said = refused(&page, status);
        assert!(said.starts_with(expected), "{said}");
        if status == 400 {
            let alone = refused(&post(&home, STRUCTURED, &wrong.to_string()), status);
            assert!(alone.starts_with(&expected["events[1].".len()..]), "{alone}");
        }
    }
    let page = post(&home, "text/plain", "hello");
    assert!(refused(&page, 415).contains("text/plain is no CloudEvent"), "{page:?}");
    let page = post(&home, STRUCTURED, &format!("\"{}\"", "x".repeat(1024 * 1024)));
    assert!(refused(&page, 413).contains("longer than 1024 KiB"), "{page:?}");
    let headers = [("Content-Type", STRUCTURED), ("Origin", "https://evil.example")];
    let page = with_headers(&home, &headers, &good().to_string());
    assert!(refused(&page, 403).contains("browsers"), "{page:?}");
    let elsewhere = send_unix(&socket(&home), "POST /", &[], b"").unwrap();
    assert!(refused(&elsewhere, 404).contains("/v1/events"), "{elsewhere:?}");
    assert_eq!(send_unix(&socket(&home), "GET /v1/events", &[], b"").unwrap().status, 405);

    // Nothing of them was taken, so the good one is new.
    assert_eq!(taken(&post(&home, STRUCTURED, &good().to_string())), (1, 0));
    let told = until("it is told", || Some(told(&home)).filter(|told| !told.is_empty()));
    assert_eq!(told.len(), 1);
    sidecar.stop().await;
}

#[tokio::test]
async fn senders_that_ask_first_are_answered_and_all_others_find_no_door_unless_it_is_set() {
    let home = home();
    let sidecar = start(&home).await;
    let headers =
        [("WebHook-Request-Origin", "eventgrid.example"), ("WebHook-Request-Rate", "120")];
    let page = send_unix(&socket(&home), "OPTIONS /v1/events", &headers, b"").unwrap();
    assert_eq!(page.status, 200);
    let head = page.head.to_ascii_lowercase();
    assert!(head.contains("webhook-allowed-origin: eventgrid.example"), "{head}");
    assert!(head.contains("webhook-allowed-rate: *"), "{head}");
    sidecar.stop().await;

    home.write_settings("");
    let sidecar = home.start();
    assert!(send_unix(&socket(&home), "POST /v1/events", &[], b"").is_err());
    sidecar.stop().await;
}
