//! Several features in one request, over the wire: all of them or none, over kill -9.

use std::time::Duration;

use headroom_proto::v1;
use headroom_sdk::{Client, Denial, Item, Reserved, RuleOutcome, Verdict};

use crate::support::ask;
use crate::support::home::Home;

const CALL: &str = "\
default_plan: pro
features:
  model: { name: Large model, kind: switch }
  tokens:
    name: Tokens
    kind: quota
    limits:
      daily: { window: { calendar: day } }
      per_agent: { window: { calendar: day }, per: agent }
  jobs: { name: Jobs, kind: concurrency }
  calls: { name: Calls, kind: rate }
  storage: { name: Storage, kind: allocation, unit: MB, billed_by: end }
plans:
  pro:
    name: Pro
    entitlements:
      model: true
      tokens: { daily: { included: 1_000 }, per_agent: { included: 500 } }
      jobs: { max: 2 }
      calls: { rate: 10 per hour, burst: 10 }
      storage: { included: 5 }
";

async fn used(client: &Client, feature: &str) -> (u64, u64) {
    let all = client.list_entitlements("acme").await.unwrap().entitlements;
    let entitlement = all.into_iter().find(|e| e.feature == feature).expect("it is listed");
    (entitlement.limits[0].used_units, entitlement.limits[0].reserved_units)
}

fn hold(reserved: &Reserved) -> &str {
    &reserved.reservation.as_ref().expect("something is held").id
}

/// Names, and units where they are said.
type Items<'a> = &'a [(&'a str, Option<i64>)];

fn consume_all(key: &str, items: Items<'_>) -> v1::ConsumeAllRequest {
    let item = |(feature, units): &(&str, _)| v1::Item {
        feature: (*feature).to_owned(),
        units: *units,
        ..v1::Item::default()
    };
    v1::ConsumeAllRequest {
        account: "acme".to_owned(),
        items: items.iter().map(item).collect(),
        idempotency_key: key.to_owned(),
        ..v1::ConsumeAllRequest::default()
    }
}

#[tokio::test]
async fn a_call_holds_all_it_needs_or_nothing_over_kill_9() {
    let home = Home::with_settings(CALL, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    let needs: [Item; 4] =
        ["model".into(), "jobs".into(), ("calls", 1).into(), ("tokens", 400).into()];
    let call = client.reserve_all("acme", needs.clone()).hold_for(Duration::from_secs(600));
    let call = call.idempotency_key("first call");
    let first = call.clone().await.unwrap();
    assert!(first.allowed);
    assert_eq!(first.items[0].reservation, None, "a switch is only looked at");
    assert_eq!(first.items[2].reservation, None, "a rate is consumed");
    assert_eq!(used(&client, "tokens").await, (0, 400));
    assert_eq!(used(&client, "jobs").await, (0, 1));
    let second = client.reserve_all("acme", needs.clone()).await.unwrap();
    assert!(second.allowed);

    // The third has tokens too few and a job too many: nothing is held, and both are told.
    let third = client.reserve_all("acme", needs.clone()).await.unwrap();
    let denials: Vec<_> = third.items.iter().map(|item| item.decision.denial).collect();
    let (full, held) = (Some(Denial::ConcurrencyFull), Some(Denial::InFlight));
    assert_eq!((third.allowed, denials), (false, vec![None, full, None, held]));
    assert!(third.items.iter().all(|item| item.reservation.is_none()));
    assert_eq!(used(&client, "tokens").await, (0, 800));
    let taken = third.items[2].decision.binding.as_ref().expect("a limit").used_units;
    assert_eq!(taken, 2, "the two calls that were allowed");

    drop((client, admin));
    sidecar.kill();
    let sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert_eq!(used(&client, "tokens").await, (0, 800), "nothing was lost");
    let needs = needs.clone();
    let again = client.reserve_all("acme", needs).hold_for(Duration::from_secs(600));
    let again = again.idempotency_key("first call").await.unwrap();
    assert!(again.allowed && again.items.iter().all(|item| item.decision.replayed));
    let holds = |all: &headroom_sdk::Several<Reserved>| -> Vec<_> {
        all.items.iter().map(|item| item.reservation.clone()).collect()
    };
    assert_eq!(holds(&again), holds(&first), "the same holds, and no new ones");
    assert_eq!(used(&client, "jobs").await, (0, 2));

    // Each hold is one of its own.
    client.release("acme", hold(&first.items[1])).await.unwrap();
    let committed = client.commit("acme", hold(&first.items[3]), 250).await.unwrap();
    assert_eq!(committed.committed_units, 250);
    assert_eq!(used(&client, "tokens").await, (250, 400));
    assert_eq!(used(&client, "jobs").await, (0, 1));
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_refusal_counts_nothing_and_each_answer_can_be_explained() {
    let home = Home::with_settings(CALL, "clock: test\n");
    let sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let items = [("tokens", 900), ("storage", 6)];
    let looked = client.check_all("acme", items).rendering().await.unwrap();
    let refused = client.consume_all("acme", items).await.unwrap();
    for all in [&looked, &refused] {
        assert!(!all.allowed && all.items[0].allowed);
        assert_eq!(all.items[1].denial, Some(Denial::QuotaExhausted));
    }
    assert_eq!(used(&client, "tokens").await, (0, 0));
    let why = client.explain_decision(&refused.items[1].decision_id).await.unwrap();
    assert_eq!((why.feature.as_str(), why.units), ("storage", 6));
    assert!(why.rules.iter().any(|rule| rule.outcome == RuleOutcome::Refused));

    let done = client.consume_all("acme", [("tokens", 900), ("storage", 5)]).await.unwrap();
    let ids: Vec<_> = done.items.iter().map(|item| item.decision_id.clone()).collect();
    assert_ne!(ids[0], ids[1]);
    let why = client.explain_decision(&ids[0]).await.unwrap();
    assert_eq!((why.feature.as_str(), why.units), ("tokens", 900));
    assert_eq!(used(&client, "storage").await, (5, 0));

    // A monitor sees the same, and leaves no trace.
    let monitor = client.consume_all("acme", [("tokens", 100)]).synthetic().await.unwrap();
    assert_eq!(monitor.items[0].verdict, Verdict::Allowed);
    assert_eq!(used(&client, "tokens").await, (900, 0));
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn several_features_of_one_agent_are_charged_at_every_level_or_not_at_all() {
    let home = Home::with_settings(CALL, "clock: test\n");
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let ask = |client: &Client, agent: &str, tokens: u64, key: &str| {
        let call = client.consume_all("acme", [("tokens", tokens), ("storage", 1)]);
        call.subject(format!("team:growth/agent:{agent}")).idempotency_key(key)
    };
    let first = ask(&client, "a", 400, "one").await.unwrap();
    let binding = first.items[0].binding.clone().expect("a limit");
    assert!(first.allowed);
    assert_eq!(binding.subject.as_deref(), Some("team:growth/agent:a"));
    let refused = ask(&client, "a", 101, "two").await.unwrap();
    assert_eq!((refused.allowed, refused.items[1].allowed), (false, true));
    assert_eq!(refused.items[0].denial, Some(Denial::QuotaExhausted));
    assert_eq!(refused.items[0].binding.as_ref().expect("a limit").limit, "per_agent");
    assert_eq!(used(&client, "storage").await, (1, 0));
    assert!(ask(&client, "b", 101, "two").await.unwrap().allowed, "another agent has its own");

    drop((client, _admin));
    sidecar.kill();
    let sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let again = ask(&client, "a", 400, "one").await.unwrap();
    assert!(again.items[0].replayed);
    assert_eq!(again.items[0].binding, Some(binding));
    let other = ask(&client, "b", 400, "one").await.unwrap_err();
    assert!(other.to_string().contains("another payload"), "{other}");
    assert_eq!((used(&client, "tokens").await, used(&client, "storage").await), ((501, 0), (2, 0)));
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn what_cannot_be_meant_of_several_is_refused_with_its_place() {
    let home = Home::with_settings(CALL, "clock: test\n");
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let units = Some(1);
    let many = vec![("tokens", units); 17];
    let cases: [(Items<'_>, &str, &str); 5] = [
        (&[], "items", "has 0 entries, must have 1 to 16"),
        (&many, "items", "has 17 entries, must have 1 to 16"),
        (&[("jobs", None), ("tokens", None)], "items[1].units", "is missing"),
        (&[("tokens", Some(0))], "items[0].units", "is 0, must be 1 to 9007199254740991"),
        (
            &[("tokens", units), ("model", None), ("tokens", units)],
            "items[2].feature",
            "is `tokens` again: add the units up",
        ),
    ];
    for (items, field, problem) in cases {
        let status = client.consume_all(consume_all("k", items)).await.unwrap_err();
        let expected = (field.to_owned(), problem.to_owned());
        assert_eq!(ask::violations(&status), [expected], "{items:?}");
    }
    let slots = consume_all("k", &[("tokens", units), ("jobs", None)]);
    let status = client.consume_all(slots).await.unwrap_err();
    assert!(status.message().starts_with("items[1]: the feature is a concurrency"), "{status}");

    // The same key for other items is another payload; the order counts too.
    let two = [("tokens", units), ("storage", units)];
    let first = client.consume_all(consume_all("once", &two)).await.unwrap().into_inner();
    assert!(first.allowed);
    let again = client.consume_all(consume_all("once", &two)).await.unwrap().into_inner();
    assert!(again.items.iter().all(|item| item.decision.as_ref().unwrap().replayed));
    let turned = [two[1], two[0]];
    for other in [&two[..1], &turned[..]] {
        let status = client.consume_all(consume_all("once", other)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::AlreadyExists, "{status}");
    }
    drop(client);
    sidecar.stop().await;
}
