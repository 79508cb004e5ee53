//! Which signals a sink gets.

use std::collections::BTreeSet;

use headroom_core::signal::{SignalName, SignalState};
use tokio::time::timeout;

use super::Bench;
use super::http::{LONG, Receiver, SECRETS, begun, ok};
use crate::config::sinks::{Filter, SinkSpec};
use crate::sinks::outbox::Outbox;

/// The signals that pass: how many thresholds they crossed and how the limit stands.
async fn passed(filter: Filter) -> Vec<(u64, String)> {
    let bench = Bench::new();
    let mut receiver = Receiver::start(ok).await;
    let spec = SinkSpec { filter, ..receiver.spec("hook", &SECRETS) };
    let outbox =
        Outbox::start(&tokio::runtime::Handle::current(), vec![spec], bench.wiring.clone());
    begun(&outbox).await;
    bench.write("a", 12);
    outbox.drain(LONG).await;
    // What was filtered is behind the cursor all the same.
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    let mut passed = Vec::new();
    while let Ok(Some(request)) = timeout(std::time::Duration::ZERO, receiver.requests.recv()).await
    {
        let body = super::json(&request.body);
        let state = body["data"]["current"]["state"].as_str().unwrap().to_owned();
        passed.push((body["data"]["threshold_bp"].as_u64().unwrap_or_default(), state));
    }
    passed
}

fn set(names: &[&str]) -> Option<BTreeSet<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

#[tokio::test]
async fn a_filter_looks_at_name_state_feature_and_plan_together() {
    assert_eq!(passed(Filter::all()).await.len(), 11);
    let alarms = Filter { states: vec![SignalState::Alarm], ..Filter::all() };
    let alarm = |threshold| (threshold, "alarm".to_owned());
    assert_eq!(passed(alarms.clone()).await, [alarm(10_000), alarm(0)]);
    let hits = Filter { signals: vec![SignalName::FeatureLimitHit], ..alarms };
    assert_eq!(passed(hits).await, [alarm(0)]);
    let ours = Filter { features: set(&["ai.tokens"]), plans: set(&["free"]), ..Filter::all() };
    assert_eq!(passed(ours.clone()).await.len(), 11);
    let other_plan = Filter { plans: set(&["pro"]), ..ours.clone() };
    assert_eq!(passed(other_plan).await, []);
    let other_feature = Filter { features: set(&["seats"]), ..ours };
    assert_eq!(passed(other_feature).await, []);
}
