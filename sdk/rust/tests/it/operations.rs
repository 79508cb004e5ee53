//! Every operation, on both transports.

use crate::fake::{Fake, Reaction};
use headroom_proto::v1::operation::Operation as WireOperation;
use headroom_sdk::{
    Audience, Client, Denial, Error, LevelChange, OriginKind, RuleOutcome, TimeUnit,
    UsageByTimeQuery, Verdict,
};
use std::time::{Duration, SystemTime};
use tokio_stream::StreamExt as _;

fn at(seconds: u64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[tokio::test]
async fn every_operation_is_answered_on_tcp() {
    every_operation_is_answered(Fake::on_tcp(|_| Reaction::Answer).await).await;
}

#[tokio::test]
async fn every_operation_is_answered_on_a_unix_socket() {
    every_operation_is_answered(Fake::on_unix(|_| Reaction::Answer).await).await;
}

async fn every_operation_is_answered(fake: Fake) {
    let client = Client::connect(&fake.endpoint).await.unwrap();

    let decision = client.check("acme", "calls").units(4).rendering().await.unwrap();
    assert_eq!(decision.binding.unwrap().used_units, 4);

    let decision = client.consume("acme", "calls", 5).await.unwrap();
    assert!(decision.allowed && decision.verdict == Verdict::Allowed && decision.denial.is_none());
    let origin = decision.origin.unwrap();
    assert_eq!((origin.kind, origin.plan.as_str()), (OriginKind::Plan, "team"));
    let limit = decision.binding.unwrap();
    assert_eq!((limit.used_units, limit.included_units), (5, Some(1_000)));
    assert_eq!((limit.window_start, limit.window_end), (at(1_700_000_000), None));

    let reserved = client.reserve("acme", "calls", 6).hold_for(Duration::from_secs(9)).await;
    let reservation = reserved.unwrap().reservation.unwrap();
    assert_eq!((reservation.id.as_str(), reservation.expires_at), ("r-1", at(1_700_000_060)));

    let extended = client.extend("acme", "r-1").additional_units(8).await.unwrap();
    assert_eq!(extended.held_units, 8);
    let committed = client.commit("acme", "r-1", 2).await.unwrap();
    assert_eq!(committed.committed_units, 2);
    let released = client.release("acme", "r-1").await.unwrap();
    assert_eq!(released.released_units, 7);
    let recorded = client.record("acme", "calls", 1).with_all_limits().await.unwrap();
    assert_eq!(recorded.debt_units, 3);
    let allocated = client.allocate("acme", "storage", LevelChange::Remove(9)).await.unwrap();
    assert_eq!((allocated.removed_units, allocated.added_units), (8, 0));
    assert!(allocated.clamped && allocated.decision.allowed);

    let listed = client.list_entitlements("acme").await.unwrap();
    assert_eq!(listed.entitlements[0].denial, Some(Denial::NotInPlan));
    let page = client.get_usage("acme", Some("calls"), at(5), None).await.unwrap();
    assert_eq!((page.windows[0].used_units, page.next_page_token.as_deref()), (9, Some("2")));
    let page = client.get_usage("acme", None, None, Some("2")).await.unwrap();
    assert_eq!(page.next_page_token, None);
    let query = UsageByTimeQuery {
        by: TimeUnit::Hour,
        group_by: vec!["model".to_owned(), "region".to_owned()],
        from: at(5),
        to: None,
    };
    let page = client.get_usage_by_time("acme", "calls", &query, None).await.unwrap();
    assert_eq!((page.lines.len(), page.next_page_token.as_deref()), (1, Some("2")));
    let line = &page.lines[0];
    assert_eq!((line.start, line.end, line.units), (at(5), None, -9));
    let others: Vec<bool> = line.dimensions.iter().map(|dimension| dimension.other).collect();
    assert_eq!((others, &line.dimensions[0].value), (vec![false, true], &None));

    let explained = client.explain_decision("dec_7").await.unwrap();
    assert_eq!((explained.operation.as_str(), explained.units), ("consume", 3));
    assert_eq!(explained.decision.decision_id, "dec_7");
    assert_eq!(explained.rules[0].outcome, RuleOutcome::Refused);
    assert_eq!(explained.rules[0].limit.as_deref(), Some("monthly"));
    let mut changes = client.watch_entitlements("acme", false).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().plan, "acme");
    let broken = changes.next().await.unwrap().unwrap_err();
    assert!(broken.is_transient(), "{broken:?}");
    assert!(changes.next().await.is_none());
}

#[tokio::test]
async fn what_a_call_asks_for_is_on_the_wire() {
    let fake = Fake::on_tcp(|_| Reaction::Answer).await;
    let client = Client::connect(&fake.endpoint).await.unwrap();
    let call = client.check("acme", "calls").rendering().with_prompt().with_projection();
    let call = call.locale("de-AT").audience(Audience::Member).person("u42");
    call.with_prompt_suppression().await.unwrap();

    let memory = fake.memory.lock().unwrap();
    let WireOperation::Check(request) = &memory.messages[0][0] else { panic!("not a check") };
    assert_eq!((request.account.as_str(), request.feature.as_str()), ("acme", "calls"));
    assert_eq!((request.units, request.intent), (None, 1));
    let include = request.include.clone().unwrap();
    assert!(include.prompt && include.projection && !include.all_limits);
    assert_eq!((include.locale.as_str(), include.person.as_str()), ("de-AT", "u42"));
    assert!(include.audience() == Audience::Member && include.prompt_suppression);
}

#[tokio::test]
async fn keys_are_made_up_unless_given() {
    let fake = Fake::on_tcp(|_| Reaction::Answer).await;
    let client = Client::connect(&fake.endpoint).await.unwrap();
    client.consume("acme", "calls", 1).idempotency_key("order-7").await.unwrap();
    let call = client.consume("acme", "calls", 1);
    let made_up = call.key().to_owned();
    assert!(!call.clone().await.unwrap().replayed);
    // A clone is the same write: it is answered again and not counted again.
    assert!(call.await.unwrap().replayed);
    assert_eq!(fake.keys(), ["order-7", made_up.as_str(), made_up.as_str()]);
}

#[tokio::test]
async fn unary_calls_have_the_deadline_too() {
    let fake = Fake::on_tcp(|_| Reaction::Answer).await;
    let deadline = Duration::from_millis(30);
    let client = Client::builder(&fake.endpoint).deadline(deadline).connect().await.unwrap();
    let error = client.list_entitlements("slow").await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { deadline: d } if d == deadline), "{error:?}");
}
