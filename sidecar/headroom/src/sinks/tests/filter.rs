//! Which signals a sink gets.

use std::collections::BTreeSet;

use headroom_core::signal::SignalState;
use headroom_expansion::class::Class;
use headroom_expansion::gate::{Condition, Test};
use headroom_expansion::route::Gate;
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
    let hits = Filter { signals: Some(vec!["feature_limit_hit".to_owned()]), ..alarms };
    assert_eq!(passed(hits).await, [alarm(0)]);
    let ours = Filter { features: set(&["ai.tokens"]), plans: set(&["free"]), ..Filter::all() };
    assert_eq!(passed(ours.clone()).await.len(), 11);
    let other_plan = Filter { plans: set(&["pro"]), ..ours.clone() };
    assert_eq!(passed(other_plan).await, []);
    let other_feature = Filter { features: set(&["seats"]), ..ours };
    assert_eq!(passed(other_feature).await, []);
}

fn only(classes: Option<Vec<Class>>, gates: Option<Vec<Gate>>) -> Filter {
    Filter { classes, gates, ..Filter::all() }
}

#[tokio::test]
async fn a_filter_looks_at_class_gate_and_facts() {
    // Nothing is known of the account, so it is judged as a small one and passes.
    assert_eq!(passed(only(Some(vec![Class::Usage]), None)).await.len(), 11);
    assert_eq!(passed(only(Some(vec![Class::Churn]), None)).await.len(), 0);
    assert_eq!(passed(only(None, Some(vec![Gate::Passed]))).await.len(), 11);
    assert_eq!(passed(only(None, Some(vec![Gate::Held, Gate::Exempt]))).await.len(), 0);
    let facts = |fact: &str, test: &str| {
        let (fact, test) = (fact.to_owned(), Test::parse(test).unwrap());
        Filter { facts: vec![Condition { fact, test }], ..Filter::all() }
    };
    assert_eq!(passed(facts("entitlement_used_percent", "at least 100")).await.len(), 11);
    assert_eq!(passed(facts("nps", "at least 1")).await.len(), 0, "a missing fact is no match");
}

#[tokio::test]
async fn a_signal_says_the_same_when_facts_have_changed_since_and_after_a_restart() {
    let bench = Bench::new();
    bench.write("acme", 1);
    let first = super::told_whole(&bench);
    assert_eq!(super::json(&first[0].json())["data"]["gate"]["state"], "passed");
    let facts = vec![("segment".to_owned(), Some("\"enterprise\"".to_owned()))];
    bench.wiring.engine.put_facts("acme", facts, super::NOW).unwrap();
    bench.write("acme", 1);
    let bench = bench.restarted();
    let again = super::told_whole(&bench);
    assert_eq!(again[0].json(), first[0].json());
    let later = super::json(&again[1].json());
    assert_eq!(later["data"]["gate"]["state"], "held");
    assert_eq!(later["data"]["gate"]["segment"], "enterprise");
    assert_eq!(later["data"]["route"]["play"], "health_first");
    assert_eq!(later["data"]["live_signals"], 1);
}
