//! Requests made from templates, and the presets next to what the vendors' own libraries send.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::http::{LONG, Receiver, begun, ok};
use super::{Bench, told};
use crate::config::catalog;
use crate::config::sinks::{HttpAuth, HttpSpec, Secrets, SinkKind, SinkSpec};
use crate::sinks::courier::Form;
use crate::sinks::delivery::Outcome;
use crate::sinks::generic::Generic;
use crate::sinks::http::Answer;
use crate::sinks::outbox::Outbox;

struct Env;

impl Secrets for Env {
    fn env(&self, name: &str) -> Result<String, String> {
        match name {
            // Whatever a secret is, it is no template.
            "SECRET" => Ok("s3cret\"}{{ account }}".to_owned()),
            "PLAIN" => Ok("pat".to_owned()),
            _ => Err(format!("the environment variable `{name}` is not set")),
        }
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

/// The sinks of a catalog that has nothing else.
fn sinks(text: &str) -> Vec<SinkSpec> {
    let text = format!(
        "features: {{f: {{name: F, kind: switch}}}}\nplans: {{p: {{name: P, entitlements: {{f: \
         on}}}}}}\nsinks:\n{text}"
    );
    match catalog::parse("c", text.as_bytes(), &Env) {
        Ok(parsed) => parsed.sinks,
        Err(problems) => panic!("{problems}"),
    }
}

fn spec(text: &str) -> HttpSpec {
    let SinkKind::Http(spec) = sinks(text).remove(0).kind else { panic!("a sink of kind http") };
    *spec
}

fn golden(client: &str, place: usize) -> Value {
    let all: Value = serde_json::from_str(include_str!("golden/clients.json")).unwrap();
    all[client][place].clone()
}

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_793_696_401_250)
}

/// The first signal of `acme/eu`, as the recorded events are.
fn first(bench: &Bench) {
    bench.write("acme/eu", 1);
}

/// The request of a preset for the first signal, and what the vendor's library sent.
#[track_caller]
fn check_form(text: &str, client: &str, place: usize) -> (Value, Value) {
    let bench = Bench::new();
    first(&bench);
    let ours = Generic::new(spec(text)).request(&told(&bench), at()).unwrap();
    let golden = golden(client, place);
    assert_eq!(golden["method"], ours.method().as_str());
    assert_eq!(golden["path"], ours.uri().path());
    for header in golden["headers"].as_array().unwrap() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        let is_token = client == "salesforce" && name == "authorization";
        if matches!(name, "content-type" | "authorization") && !is_token {
            assert_eq!(ours.headers()[name], value, "{name}");
        }
    }
    let theirs = serde_json::from_str(golden["body"].as_str().unwrap()).unwrap();
    (super::json(ours.body()), theirs)
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn hubspot_gets_what_its_own_library_sends() {
    let text = "  - {sink: s, kind: hubspot, token: '${PLAIN}', event_name: pe1_usage_ceiling, \
                object_id: '1'}\n";
    let (ours, theirs) = check_form(text, "hubspot", 1);
    assert_eq!(keys(&ours), keys(&theirs));
    let (event, golden) = (&ours["inputs"][0], &theirs["inputs"][0]);
    assert_eq!(keys(event), keys(golden));
    for key in ["eventName", "objectId"] {
        assert_eq!(event[key], golden[key], "{key}");
    }
    assert!(event["properties"].as_object().unwrap().values().all(Value::is_string));
    assert_eq!(event["properties"]["used_units"], "10");
    assert_eq!(event["uuid"].as_str().unwrap().len(), golden["uuid"].as_str().unwrap().len());
}

#[test]
fn salesforce_gets_what_its_library_sends() {
    let text = "  - {sink: s, kind: salesforce, instance_url: 'https://acme.my.salesforce.com/', \
                client_id: id, client_secret: '${SECRET}'}\n";
    let (ours, theirs) = check_form(text, "salesforce", 0);
    for key in keys(&theirs) {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    let Some(HttpAuth::OAuth2(oauth)) = spec(text).auth else { panic!("it asks for tokens") };
    assert_eq!(oauth.token_url, "https://acme.my.salesforce.com/services/oauth2/token");
    assert_eq!(oauth.client_secret.0, "s3cret\"}{{ account }}");
    // A success that has an entry in `errors`, and a refusal.
    let judge = |status: u16, body: Value| {
        let status = http::StatusCode::from_u16(status).unwrap();
        let body = body.to_string().into_bytes();
        Generic::new(spec(text)).judge(&Answer { status, retry_after: None, body })
    };
    let queued = json!([{ "statusCode": "OPERATION_ENQUEUED" }]);
    let accepted = json!({ "id": "e01", "success": true, "errors": queued });
    assert_eq!(judge(201, accepted), Outcome::Accepted);
    let refused = judge(400, json!([{ "errorCode": "INVALID_FIELD" }]));
    let Outcome::Refused { what, failure, .. } = refused else { panic!("a refusal") };
    assert_eq!((&*what, failure.of_endpoint), ("status 400", false));
    let refused = judge(201, json!({ "success": false }));
    let Outcome::Refused { what, failure, .. } = refused else { panic!("a refusal") };
    assert_eq!(what, "status 201, but `accept_when` is not true");
    assert!(!failure.of_endpoint);
    assert!(matches!(judge(200, json!("login page")), Outcome::Refused { .. }));
    assert_eq!(judge(410, json!(null)), Outcome::Gone);
}

#[test]
fn customer_io_gets_what_its_own_library_sends() {
    let text = "  - {sink: s, kind: customerio, site_id: site, api_key: key}\n";
    let (ours, theirs) = check_form(text, "customerio", 0);
    assert_eq!(keys(&ours), keys(&theirs));
    for key in ["name", "timestamp"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    let ulid = ours["id"].as_str().unwrap();
    let is_digit = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase() && !"ILOU".contains(c);
    assert!(ulid.len() == 26 && ulid.chars().all(is_digit), "{ulid}");
    // The first ten digits are the instant.
    assert!(ulid.starts_with("01M6GA60M0"), "{ulid}");
}

#[test]
fn posthog_gets_what_its_own_library_sends() {
    let text = "  - {sink: s, kind: posthog, api_key: phc_x, url: 'https://eu.i.posthog.com'}\n";
    let (ours, theirs) = check_form(text, "posthog", 0);
    assert_eq!(keys(&ours), keys(&theirs));
    for key in ["api_key", "historical_migration"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    let (event, golden) = (&ours["batch"][0], &theirs["batch"][0]);
    assert_eq!(keys(event), keys(golden));
    for key in ["event", "distinct_id"] {
        assert_eq!(event[key], golden[key], "{key}");
    }
    assert_eq!(event["properties"]["$groups"], golden["properties"]["$groups"]);
    let instant = |value: &Value| -> jiff::Timestamp { value.as_str().unwrap().parse().unwrap() };
    assert_eq!(instant(&event["timestamp"]), instant(&golden["timestamp"]));
}

#[test]
fn a_request_is_made_of_templates_and_secrets_are_none() {
    let text = "
  - sink: s
    kind: http
    method: PUT
    url: 'https://x.test/a/{{ account }}?id={{ unique_id }}&key=${SECRET}'
    headers: { Idempotency-Key: '{{ uuid }}', X-Key: 'a ${SECRET}' }
    body:
      who: '{{ account }}'
      used: '{{ data.current.used_units }}'
      said: 'it is {{ data.current.state }}'
      key: '${SECRET}'
      plan: '{{ facts.plan | default(\"none\") }}'
      list: ['{{ signal }}', 1, true]
";
    let spec = spec(text);
    assert_eq!(format!("{spec:?}"), "HttpSpec(x.test)");
    let bench = Bench::new();
    first(&bench);
    let told = told(&bench);
    let request = Generic::new(spec.clone()).request(&told, at()).unwrap();
    assert_eq!(request.method(), "PUT");
    let path = format!(
        "/a/acme%2Feu?id={}&key=s3cret%22%7D%7B%7B%20account%20%7D%7D",
        told[0].unique_id()
    );
    assert_eq!(request.uri().path_and_query().unwrap().as_str(), path);
    let key = request.headers()["idempotency-key"].to_str().unwrap();
    assert_eq!(key.len(), 36);
    assert_eq!(request.headers()["x-key"], "a s3cret\"}{{ account }}");
    assert!(!format!("{:?}", request.headers()).contains("s3cret"));
    let expected = json!({
        "who": "acme/eu",
        "used": 10,
        "said": "it is warning",
        "key": "s3cret\"}{{ account }}",
        "plan": "none",
        "list": ["usage_ceiling", 1, true],
    });
    assert_eq!(super::json(request.body()), expected);
    // The same at every attempt, so that a repetition is known.
    let again = Generic::new(spec).request(&told, at() + Duration::from_secs(9)).unwrap();
    assert_eq!((again.uri(), again.body()), (request.uri(), request.body()));
    assert_eq!(again.headers(), request.headers());
}

#[test]
fn a_form_is_encoded_and_a_batch_is_a_list() {
    let bench = Bench::new();
    bench.write("a&b=c", 2);
    let form = spec(
        "  - {sink: s, kind: http, url: 'https://x.test', form: {'payload[who]': '{{ account }}', \
         at: '{{ timestamp_s }}'}}\n",
    );
    let request = Generic::new(form).request(&told(&bench)[..1], at()).unwrap();
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(request.body(), b"payload%5Bwho%5D=a%26b%3Dc&at=1793696400");
    let list = spec(
        "  - {sink: s, kind: http, url: 'https://x.test', batch: {signals: 9, item: {id: '{{ id \
         }}'}}, body: '{{ batch }}', headers: {Content-Type: application/x-list}}\n",
    );
    let form = Generic::new(list);
    assert_eq!(form.shape().batch_max, 9);
    let request = form.request(&told(&bench), at()).unwrap();
    let ids: Vec<Value> = bench.ids().iter().map(|id| json!({ "id": id.to_string() })).collect();
    assert_eq!(super::json(request.body()), Value::Array(ids));
    assert_eq!(request.headers()["content-type"], "application/x-list");
}

/// A sink that asks for tokens, over real sockets.
#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_is_refused() {
    let bench = Bench::new();
    let asked = AtomicUsize::new(0);
    let mut tokens = Receiver::start(move |_| {
        let number = asked.fetch_add(1, SeqCst);
        let body = format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#);
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    })
    .await;
    let count = AtomicUsize::new(0);
    // The third delivery finds its token withdrawn.
    let mut endpoint = Receiver::start(move |_| match count.fetch_add(1, SeqCst) {
        2 => "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
        _ => ok(0),
    })
    .await;
    let (to, token_url) = (&endpoint.url, &tokens.url);
    let text = format!(
        "  - {{sink: crm, kind: http, url: '{to}', allow_private: on, body: {{id: '{{{{ id }}}}'}}, \
         auth: {{oauth2: {{token_url: '{token_url}', client_id: me, client_secret: '${{SECRET}}', \
         scope: 'a b'}}}}}}\n"
    );
    let outbox = Outbox::start(&Handle::current(), sinks(&text), bench.wiring.clone());
    begun(&outbox).await;
    bench.write("a", 4);
    outbox.wake();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let request = endpoint.next().await;
        let id = super::json(&request.body)["id"].as_str().unwrap().to_owned();
        seen.push((request.headers["authorization"].to_str().unwrap().to_owned(), id));
    }
    let ids: Vec<String> = bench.ids().iter().map(ToString::to_string).collect();
    let sent = |token: &str, id: usize| (format!("Bearer {token}"), ids[id].clone());
    let expected = [sent("t0", 0), sent("t0", 1), sent("t0", 2), sent("t1", 2), sent("t1", 3)];
    assert_eq!(seen, expected);
    for _ in 0..2 {
        let request = tokens.next().await;
        assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
        let body = String::from_utf8(request.body).unwrap();
        let secret = "s3cret%22%7D%7B%7B+account+%7D%7D";
        assert_eq!(
            body,
            format!("grant_type=client_credentials&client_id=me&client_secret={secret}&scope=a+b")
        );
    }
    outbox.drain(LONG).await;
    assert!(tokens.requests.try_recv().is_err(), "no token was asked for without need");
    let status = &outbox.status()[0];
    assert_eq!((status.delivered, status.attempts_failed), (4, 0));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_nothing_is_lost() {
    let bench = Bench::new();
    let tokens = Receiver::start(|_| {
        let body = r#"{"error":"invalid_client","echo":"s3cret"}"#;
        format!("HTTP/1.1 401 No\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    })
    .await;
    let mut endpoint = Receiver::start(ok).await;
    let (to, token_url) = (&endpoint.url, &tokens.url);
    let text = format!(
        "  - {{sink: crm, kind: http, url: '{to}', allow_private: on, body: {{id: '{{{{ id }}}}'}}, \
         auth: {{oauth2: {{token_url: '{token_url}', client_id: me, client_secret: s3cret}}}}}}\n"
    );
    let outbox = Outbox::start(&Handle::current(), sinks(&text), bench.wiring.clone());
    begun(&outbox).await;
    bench.write("a", 1);
    outbox.wake();
    super::http::until(|| outbox.status()[0].last_error.is_some()).await;
    let status = outbox.status().remove(0);
    assert_eq!(status.last_error.as_deref(), Some("the token: status 401"));
    assert_eq!((status.pending, status.dead_letters), (1, 0));
    assert!(endpoint.requests.try_recv().is_err());
    outbox.drain(Duration::ZERO).await;
}
