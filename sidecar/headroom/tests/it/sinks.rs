//! Delivery as operators watch and repair it: real receivers, the command line, `/metrics`, kill -9.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;

use serde_json::Value;

use crate::support::ask;
use crate::support::endpoint::Endpoint;
use crate::support::home::Home;
use crate::support::sidecar::Sidecar;
use crate::support::until;

fn catalog(endpoint: &Endpoint) -> String {
    let port = endpoint.port;
    format!(
        "\
default_plan: open
features:
  calls: {{ name: Calls, kind: quota, limits: {{ total: {{ window: lifetime }} }} }}
plans:
  open:
    name: Open
    entitlements:
      calls: {{ total: {{ included: 100, soft_limits: [10%, 20%, 30%, 40%], policy: block }} }}
sinks:
  - sink: growth
    kind: standard_webhook
    url: http://localhost:{port}/
    secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
    allow_private: on
  - {{ sink: audit, kind: ndjson, path: signals.ndjson }}
"
    )
}

/// `headroom sinks …` with JSON, which must succeed.
#[track_caller]
fn sinks(home: &Home, args: &[&str]) -> Value {
    let ended = home.run(&[&["sinks"], args, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// What `headroom sinks list` says of the webhook.
#[track_caller]
fn growth(home: &Home) -> Value {
    let all = sinks(home, &["list"]);
    let all = all["sinks"].as_array().expect("a list").clone();
    all.into_iter().find(|sink| sink["sink"] == "growth").expect("the webhook")
}

/// Delivery is at least once.
fn distinct(ids: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    ids.into_iter().filter(|id| seen.insert(id.clone())).collect()
}

#[track_caller]
fn has_line(sidecar: &Sidecar, line: &str) {
    until(line, || sidecar.page("/metrics").body.lines().find(|found| *found == line).map(drop));
}

/// Every ten units pass a soft limit.
async fn cross(home: &Home, key: &str) {
    let mut client = ask::entitlements(home).await;
    ask::consumed(&mut client, "acme", "calls", 10, key).await;
}

#[tokio::test]
async fn a_sink_is_paused_over_kill_9_and_delivers_under_the_ids_of_the_start_that_emitted() {
    let endpoint = Endpoint::start();
    let home = Home::new(&catalog(&endpoint));
    let mut sidecar = home.start();
    cross(&home, "1").await;
    until("the first is delivered", || (endpoint.ids().len() == 1).then_some(()));
    assert!(endpoint.ids()[0].starts_with("sig_00000001_"), "{:?}", endpoint.ids());
    has_line(&sidecar, r#"headroom_sink_delivered_total{sink="growth"} 1"#);
    has_line(&sidecar, r#"headroom_sink_lag_seconds{sink="growth"} 0.0"#);

    assert_eq!(sinks(&home, &["pause", "growth"])["sinks"][0]["state"], "paused");
    cross(&home, "2").await;
    has_line(&sidecar, r#"headroom_sink_pending{sink="growth"} 1"#);
    has_line(&sidecar, r#"headroom_sink_paused{sink="growth"} 1"#);
    has_line(&sidecar, r#"headroom_sink_pending{sink="audit"} 0"#);
    sidecar.kill();
    drop(sidecar);

    let sidecar = home.start();
    cross(&home, "3").await;
    let waiting = until("it has waited", || {
        let growth = growth(&home);
        // The first one counts, too, if the process was killed before it had noted its delivery.
        let is_read = growth["pending"].as_i64() >= Some(2);
        (is_read && growth["lag_s"].as_f64() > Some(0.0)).then_some(growth)
    });
    assert_eq!((&waiting["state"], &waiting["delivered"]), (&"paused".into(), &0.into()));
    assert_eq!(endpoint.ids().len(), 1);
    assert_eq!(sinks(&home, &["resume", "growth"])["sinks"][0]["paused"], false);
    let ids = until("the others are delivered", || {
        Some(distinct(endpoint.ids())).filter(|ids| ids.len() == 3)
    });
    assert!(ids[1].starts_with("sig_00000001_") && ids[2].starts_with("sig_00000002_"), "{ids:?}");
    // The same signal has the same id wherever it goes.
    let in_file = until("the file has them", || {
        let text = std::fs::read_to_string(home.data().join("signals.ndjson")).ok()?;
        let id = |line| -> Option<String> {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line["data"]["id"].as_str()?.to_owned())
        };
        Some(distinct(text.lines().filter_map(id).collect())).filter(|ids| ids.len() == 3)
    });
    assert_eq!(in_file, ids);
    sidecar.stop().await;
    // What is kept of sinks besides their cursors is no sink.
    let data = home.data().display().to_string();
    let ended = home.run(&["inspect", &data, "--json"]);
    let inspected: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let named = inspected["sinks"].as_array().expect("a list").iter().map(|sink| &sink["sink"]);
    assert_eq!(named.collect::<Vec<_>>(), ["audit", "growth"]);
}

#[tokio::test]
async fn a_gone_endpoint_is_told_of_and_tried_again_when_resumed() {
    let endpoint = Endpoint::start();
    endpoint.status.store(410, SeqCst);
    let home = Home::new(&catalog(&endpoint));
    let sidecar = home.start();
    cross(&home, "1").await;
    has_line(&sidecar, r#"headroom_sink_disabled{sink="growth"} 1"#);
    has_line(&sidecar, r#"headroom_sink_failing{sink="growth"} 1"#);
    has_line(&sidecar, r#"headroom_sink_failed_attempts_total{sink="growth"} 1"#);
    assert_eq!(growth(&home)["state"], "disabled");
    assert_eq!(growth(&home)["last_error"], "status 410");
    endpoint.status.store(200, SeqCst);
    sinks(&home, &["resume", "growth"]);
    has_line(&sidecar, r#"headroom_sink_delivered_total{sink="growth"} 1"#);
    has_line(&sidecar, r#"headroom_sink_disabled{sink="growth"} 0"#);
    assert_eq!(growth(&home)["state"], "ok");
    let ids = endpoint.ids();
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
    sidecar.stop().await;
}

#[tokio::test]
async fn what_cannot_be_repaired_is_said() {
    let endpoint = Endpoint::start();
    let home = Home::new(&catalog(&endpoint));
    let sidecar = home.start();
    let fails = |args: &[&str], expected: &str| {
        let ended = home.run(&[&["sinks"], args].concat());
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    };
    let unknown = "sink: is no sink of the catalog, which has audit, growth";
    for action in ["pause", "resume", "dead-letters", "replay"] {
        fails(&[action, "growht"], unknown);
    }
    fails(&["replay", "growth", "--id", "sig_x"], "\"sig_x\" is no dead letter of this sink");
    assert_eq!(home.run(&["sinks", "dead-letters", "growth"]).stdout, "no dead letters\n");
    assert_eq!(home.run(&["sinks", "replay", "audit"]).stdout, "0 signals are sent again\n");
    let listed = home.run(&["sinks", "list"]).stdout;
    assert!(listed.contains("growth  ok     0        0.000 s"), "{listed}");
    sidecar.stop().await;
}

/// Where a new sink begins is written before anything can be told, for all of them.
#[tokio::test]
async fn new_sinks_lose_nothing_though_the_process_dies_at_once() {
    let endpoint = Endpoint::start();
    let mut catalog = catalog(&endpoint);
    for number in 0..6 {
        catalog.push_str(&format!(
            "  - {{ sink: s{number}, kind: ndjson, path: s{number}.ndjson }}\n"
        ));
    }
    for round in 0..3 {
        let home = Home::new(&catalog);
        let mut sidecar = home.start();
        cross(&home, "1").await;
        sidecar.kill();
        drop(sidecar);
        let sidecar = home.start();
        for number in 0..6 {
            let file = home.data().join(format!("s{number}.ndjson"));
            until("every sink has it", || {
                let text = std::fs::read_to_string(&file).ok()?;
                text.contains("usage_ceiling").then_some(())
            });
        }
        until("the webhook has it", || (distinct(endpoint.ids()).len() == 1).then_some(()));
        endpoint.forget();
        println!("round {round}");
        sidecar.stop().await;
    }
}

/// Whoever writes a webhook's address would otherwise talk to what only the sidecar reaches.
#[test]
fn a_private_address_must_be_meant() {
    let endpoint = Endpoint::start();
    let home = Home::new(&catalog(&endpoint).replace("    allow_private: on\n", ""));
    let ended = home.refused();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("add `allow_private: on`"), "{}", ended.stderr);
}
