//! What receivers read, compared as text: it is a contract.

use std::sync::Arc;

use headroom_core::names::NameId;
use headroom_core::signal::{Signal, SignalName, SignalState};
use headroom_core::time::{Millis, Window};
use headroom_engine::digest::SignalId;
use headroom_engine::ports::Seq;
use headroom_engine::told::Raised;

use super::{Bench, NOW, told};
use crate::growth::Appraisal;
use crate::sinks::feed::Item;
use crate::sinks::ids::Starts;
use crate::sinks::payload::Message;

/// The messages of all signals so far.
fn messages(bench: &Bench) -> Vec<String> {
    told(bench).iter().map(|message| String::from_utf8(message.json()).unwrap()).collect()
}

#[test]
fn an_id_for_all_sidecars_is_the_same_at_every_attempt_and_never_that_of_another() {
    let (bench, other) = (Bench::new(), Bench::new());
    bench.write("acme", 2);
    other.write("acme2", 1);
    let ids = |bench: &Bench| told(bench).iter().map(|m| m.unique_id()).collect::<Vec<_>>();
    assert_eq!(ids(&bench), ids(&bench));
    // Both are the first signals of their data directories.
    assert_eq!(bench.ids()[0], other.ids()[0]);
    assert_ne!(ids(&bench)[0], ids(&other)[0]);
    let ids = ids(&bench);
    assert!(ids[0].starts_with(&format!("{}_", bench.ids()[0])) && ids[0].len() < 100);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_crossing_as_receivers_read_it() {
    let bench = Bench::new();
    bench.write("acme/eu", 1);
    let id = bench.ids()[0];
    let expected = format!(
        concat!(
            r#"{{"type":"headroom.signal.usage_ceiling","timestamp":"2026-11-03T09:00:00Z","#,
            r#""data":{{"#,
            r#""id":"{}","account":"acme/eu","feature":"ai.tokens","limit":"monthly","#,
            r#""window_start":"2026-11-01T00:00:00Z","window_end":"2026-12-01T00:00:00Z","#,
            r#""limit_revision":1,"#,
            r#""dedup_key":"acme/eu/ai.tokens/monthly/2026-11-01T00:00:00Z/1/1000","#,
            r#""threshold_bp":1000,"crossed_bp":[1000],"#,
            r#""previous":{{"used_units":0,"state":"ok"}},"#,
            r#""current":{{"used_units":10,"state":"warning"}},"#,
            r#""included_units":100,"refused_units":0,"test_clock":false}}}}"#,
        ),
        id
    );
    assert_eq!(messages(&bench), [expected]);
}

#[test]
fn a_refusal_has_no_threshold_and_a_key_of_its_own() {
    let bench = Bench::new();
    bench.write("a", 12);
    let messages: Vec<serde_json::Value> =
        messages(&bench).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(messages.len(), 11);
    let hit = &messages[10];
    assert_eq!(hit["type"], "headroom.signal.feature_limit_hit");
    assert_eq!(hit["data"]["threshold_bp"], serde_json::Value::Null);
    assert_eq!(hit["data"]["refused_units"], 10);
    let dedup_key = "a/ai.tokens/monthly/2026-11-01T00:00:00Z/1/hit";
    assert_eq!(hit["data"]["dedup_key"], dedup_key);
    let keys: std::collections::HashSet<_> =
        messages.iter().map(|message| message["data"]["dedup_key"].to_string()).collect();
    assert_eq!(keys.len(), 11);
}

#[test]
fn a_lifetime_has_no_end_and_the_largest_message_is_small() {
    let bench = Bench::new();
    bench.write(&"\u{1}".repeat(256), 1);
    let signal = Signal {
        name: SignalName::UsageCeiling,
        feature: NameId(9),
        limit: NameId(9),
        window: Window::lifetime(NOW),
        limit_revision: u16::MAX,
        crossed_bp: [u32::MAX; 15].into_iter().collect(),
        previous_units: u64::MAX,
        current_units: u64::MAX,
        included_units: u64::MAX,
        refused_units: u64::MAX,
        previous_state: SignalState::Warning,
        grace_until: None,
        foretold: None,
        trial: None,
        earned_by: None,
        state: SignalState::Warning,
        at: Millis(i64::MAX),
    };
    let id = SignalId { seq: Seq(u64::MAX), place: u16::MAX };
    let appraisal = Some(Arc::new(Appraisal::sample("usage_ceiling")));
    let item = Item { id, serial: 0, signal: Raised::Found(signal), appraisal };
    let text = Message::of(&bench.wiring.engine, true, &Starts::default(), &item).json();
    // Standard Webhooks asks for less than 20 kB.
    assert!(text.len() < 10_000, "{} bytes", text.len());
    let message: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(message["data"]["window_end"], serde_json::Value::Null);
    assert_eq!(message["data"]["test_clock"], true);
}
