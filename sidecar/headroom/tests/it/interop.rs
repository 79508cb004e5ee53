//! Delivery to other people's programs: the official verifier of Standard Webhooks and the CNCF's
//! own library of CloudEvents, both in Python, and Redis.
//!
//! The test command installs them, the libraries into a virtual environment whose Python it names
//! in `HEADROOM_TEST_PYTHON`. Without them these tests say that they skipped,
//! and under the test command they fail.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::ask;
use crate::support::home::Home;
use crate::support::http::send_unix;
use crate::support::{skip, until};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJD";
/// The first pair of RFC 8032, section 7.1.
const PAIR: [&str; 2] = [
    "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=",
    "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
];

/// The receiver; it ends with the test.
struct Receiver {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Receiver {
    /// `None`: there is no Python with the libraries.
    fn start() -> Option<Receiver> {
        let Some(python) = std::env::var_os("HEADROOM_TEST_PYTHON") else {
            skip("HEADROOM_TEST_PYTHON is not set");
            return None;
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/interop/receiver.py");
        let options = json!({ "secrets": [OLD, NEW], "public": PAIR[1] }).to_string();
        let mut child = Command::new(python)
            .args([script, &options])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python of HEADROOM_TEST_PYTHON");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut port = String::new();
        lines.read_line(&mut port).expect("the receiver says its port");
        let port = port.trim().parse().expect("a port: are the libraries installed?");
        Some(Receiver { child, lines, port })
    }

    /// The next request as the libraries see it.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}

fn catalog(port: u16) -> String {
    let url = |path: &str| format!("url: http://localhost:{port}/{path}\n    allow_private: on");
    let events = |mode: &str| {
        let url = url(mode);
        format!(
            "  - sink: {mode}\n    kind: cloudevents\n    mode: {mode}\n    {url}\n    source: \
             //headroom/test\n"
        )
    };
    format!(
        "\
default_plan: open
features:
  calls: {{ name: Calls, kind: quota, limits: {{ total: {{ window: lifetime }} }} }}
plans:
  open:
    name: Open
    entitlements:
      calls: {{ total: {{ included: 100, soft_limits: [10%, 20%, 30%], policy: block }} }}
sinks:
  - sink: webhook
    kind: standard_webhook
    {}
    secrets: [{NEW}, {OLD}, {}]
{}{}{}",
        url("webhook"),
        PAIR[0],
        events("structured"),
        events("binary"),
        events("batch"),
    )
}

#[tokio::test]
async fn what_arrives_is_what_other_peoples_libraries_verify() {
    let Some(mut receiver) = Receiver::start() else { return };
    let home = Home::new(&catalog(receiver.port));
    let sidecar = home.start();
    // An account that must be encoded in headers.
    let account = "acme/ü & \"co\" 100%";
    let mut client = ask::entitlements(&home).await;
    for key in ["1", "2", "3"] {
        ask::consumed(&mut client, account, "calls", 10, key).await;
    }
    let mut by_path: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    while by_path.len() < 4 || by_path.values().any(|events| events.len() < 3) {
        let told = receiver.next();
        assert_eq!(told["error"], Value::Null, "{told}");
        let events = told["events"].as_array().expect("a list").clone();
        by_path
            .entry(told["path"].as_str().expect("a path").to_owned())
            .or_default()
            .extend(events);
    }
    let ids = |path: &str| -> Vec<Value> {
        by_path[path].iter().map(|event| event["id"].clone()).collect()
    };
    for (path, events) in &by_path {
        assert_eq!(ids(path), ids("/webhook"), "{path}");
        for event in events {
            assert_eq!(event["account"], account, "{path}");
            assert_eq!(event["type"], "headroom.signal.usage_ceiling", "{path}");
        }
        if path != "/webhook" {
            assert!(events.iter().all(|event| event["source"] == "//headroom/test"), "{path}");
            assert_eq!(events[0]["data"]["account"], account, "{path}");
            assert_eq!(events[2]["data"]["current"]["used_units"], 30, "{path}");
        }
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn what_other_peoples_libraries_send_is_taken() {
    let Some(python) = std::env::var_os("HEADROOM_TEST_PYTHON") else {
        skip("HEADROOM_TEST_PYTHON is not set");
        return;
    };
    let home = Home::new(&catalog(0));
    home.write_settings(&format!("events: unix:{}\n", home.path("events").display()));
    let sidecar = home.start();
    let account = "acme/ü & \"co\" 100%";
    ask::subscribe(&mut ask::admin(&home).await, account, "open").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/interop/sender.py");
    let sent = Command::new(python).arg(script).output().expect("the Python of the tests");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let lines = String::from_utf8(sent.stdout).expect("text");
    assert_eq!(lines.lines().count(), 2);
    for known in [0, 1] {
        for line in lines.lines() {
            let sent: Value = serde_json::from_str(line).expect("JSON");
            let headers = sent["headers"].as_object().expect("headers");
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(n, v)| (n.as_str(), v.as_str().expect("text"))).collect();
            let body = BASE64_STANDARD.decode(sent["body"].as_str().expect("text"));
            let answer = until("what was kept is read", || {
                let body = body.as_ref().expect("Base64");
                let page = send_unix(&home.path("events"), "POST /v1/events", &headers, body);
                page.ok().filter(|page| page.status != 503)
            });
            let expected = json!({ "events": 1, "duplicates": known }).to_string();
            assert_eq!((answer.status, &answer.body), (200, &expected), "{line}");
        }
    }
    sidecar.stop().await;
}

/// A Redis of this test's own; it ends with the test.
struct Redis {
    child: Child,
    port: u16,
}

const PASSWORD: &str = "hunter2";

impl Redis {
    /// `None`: there is none on this machine.
    fn start(port: u16) -> Option<Redis> {
        let port_text = port.to_string();
        let args = ["--port", &port_text, "--save", "", "--requirepass", PASSWORD];
        let started = Command::new("redis-server").args(args).stdout(Stdio::null()).spawn();
        let Ok(child) = started else {
            skip("there is no redis-server");
            return None;
        };
        let redis = Redis { child, port };
        until("Redis answers", || redis.ask("PING").map(drop));
        Some(redis)
    }

    /// Its answer to a command in words.
    fn ask(&self, command: &str) -> Option<redis::Value> {
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{}/3", self.port);
        let mut connection = redis::Client::open(url).ok()?.get_connection().ok()?;
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().expect("a command"));
        words.for_each(|word| {
            asked.arg(word);
        });
        asked.query(&mut connection).ok()
    }

    /// The fields of all entries of a stream.
    fn entries(&self, stream: &str) -> Vec<BTreeMap<String, String>> {
        let Some(found) = self.ask(&format!("XRANGE {stream} - +")) else { return vec![] };
        let entries: Vec<(String, BTreeMap<String, String>)> =
            redis::from_redis_value(found).expect("entries");
        entries.into_iter().map(|(_, fields)| fields).collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_stream_of_redis_gets_every_signal_though_redis_was_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let Some(redis) = Redis::start(port) else { return };
    let catalog = catalog(0);
    let (before, _) = catalog.split_once("sinks:\n").expect("it has sinks");
    let home = Home::new(&format!(
        "{before}sinks:\n  - {{sink: stream, kind: redis_streams, url: 'redis://localhost:{port}/3', \
         stream: 'headroom:signals', password: {PASSWORD}, entries_max: 1000, allow_private: on}}\n"
    ));
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    ask::consumed(&mut client, "acme", "calls", 10, "1").await;
    let first = until("the first entry", || {
        Some(redis.entries("headroom:signals")).filter(|entries| entries.len() == 1)
    });
    assert_eq!(first[0]["account"], "acme");
    assert_eq!(first[0]["type"], "headroom.signal.usage_ceiling");
    let message: Value = serde_json::from_str(&first[0]["message"]).expect("JSON");
    let id = message["data"]["id"].as_str().expect("an id");
    assert!(first[0]["id"].starts_with(&format!("{id}_")), "{first:?}");

    drop(redis);
    ask::consumed(&mut client, "acme", "calls", 10, "2").await;
    let listed = until("the sink is failing", || {
        let listed = home.run(&["sinks", "list", "--json"]).stdout;
        listed.contains("\"failing\"").then_some(listed)
    });
    assert!(!listed.contains(PASSWORD), "{listed}");
    // What was in memory there is gone; what was not delivered is not.
    let redis = Redis::start(port).expect("it was there before");
    // By itself it would try within half a minute, or a minute when the machine is slow.
    home.run(&["sinks", "resume", "stream"]);
    let second = until("the second entry", || {
        Some(redis.entries("headroom:signals")).filter(|entries| entries.len() == 1)
    });
    let message: Value = serde_json::from_str(&second[0]["message"]).expect("JSON");
    assert_eq!(message["data"]["current"]["used_units"], 20);
    sidecar.stop().await;
}
