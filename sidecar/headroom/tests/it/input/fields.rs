//! Fields that are missing or out of their range.

use headroom_proto::v1;
use headroom_proto::v1::operation::Operation as Op;
use headroom_proto::v1::operation_result::Result as OpResult;
use tonic::Code;

use super::bad_field;
use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

const UNITS_MAX: i64 = (1 << 53) - 1;

fn bad_ids() -> [String; 4] {
    [String::new(), "x".repeat(129), "a\nb".into(), "a\u{85}b".into()]
}

fn span(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

/// What must not change when a request is refused.
async fn counters(home: &Home) -> (i64, i64, i64, Vec<v1::UsageWindow>) {
    let status = ask::status(&mut ask::admin(home).await).await;
    let windows = ask::usage(&mut ask::entitlements(home).await, "acme").await;
    (status.journal_last, status.idempotency_keys, status.accounts, windows)
}

/// A home where nothing is journaled later: no sinks, and no signals to be appraised.
fn quiet() -> Home {
    let (catalog, _) = PLAIN.split_once("sinks:").expect("sinks come last");
    let silent = "signals: { usage_ceiling: off, feature_limit_hit: off }\n";
    Home::new(&format!("{catalog}{silent}"))
}

/// Every field wrong in every way.
async fn all_are_refused(client: &mut ask::Entitlements, id: &str) {
    for bad in bad_ids() {
        bad_field(client.consume(ask::consume(&bad, "calls", 1, "k")).await, "account");
        bad_field(client.consume(ask::consume("acme", &bad, 1, "k")).await, "feature");
        bad_field(client.consume(ask::consume("acme", "calls", 1, &bad)).await, "idempotency_key");
        bad_field(client.record(ask::record(&bad, "calls", 1, "k")).await, "account");
        bad_field(client.record(ask::record("acme", "calls", 1, &bad)).await, "idempotency_key");
        bad_field(client.reserve(ask::reserve("acme", &bad, 1, "k")).await, "feature");
        bad_field(client.reserve(ask::reserve("acme", "calls", 1, &bad)).await, "idempotency_key");
        bad_field(client.commit(ask::commit(&bad, id, 1, "k")).await, "account");
        bad_field(client.commit(ask::commit("acme", id, 1, &bad)).await, "idempotency_key");
        bad_field(client.release(ask::release("acme", id, &bad)).await, "idempotency_key");
        bad_field(client.check(ask::check(&bad, "calls")).await, "account");
        bad_field(client.check(ask::check("acme", &bad)).await, "feature");
        let list = v1::ListEntitlementsRequest { account: bad.clone() };
        bad_field(client.list_entitlements(list).await, "account");
        let usage = v1::GetUsageRequest { account: bad, ..Default::default() };
        bad_field(client.get_usage(usage).await, "account");
    }
    for units in [0, -1, i64::MIN, UNITS_MAX + 1, i64::MAX] {
        bad_field(client.consume(ask::consume("acme", "calls", units, "k")).await, "units");
        bad_field(client.record(ask::record("acme", "calls", units, "k")).await, "units");
        bad_field(client.reserve(ask::reserve("acme", "calls", units, "k")).await, "units");
        let check = v1::CheckRequest { units: Some(units), ..ask::check("acme", "calls") };
        let message = bad_field(client.check(check).await, "units");
        assert_eq!(message, format!("units: is {units}, must be 1 to {UNITS_MAX}"));
    }
    bad_field(client.commit(ask::commit("acme", id, -1, "k")).await, "units");
    for bad in ["", "7", "rsv_", "rsv_01", "rsv_FF", "rsv_1 ", "dec_1"] {
        bad_field(client.commit(ask::commit("acme", bad, 1, "k")).await, "reservation_id");
        bad_field(client.release(ask::release("acme", bad, "k")).await, "reservation_id");
    }
    let extend = v1::ExtendRequest {
        account: "acme".into(),
        reservation_id: id.to_owned(),
        idempotency_key: "k".into(),
        ..Default::default()
    };
    for hold_for in [span(0, 0), span(8 * 86_400, 0), span(-1, 0), span(0, -1), span(i64::MAX, 0)] {
        let hold = v1::ReserveRequest { hold_for, ..ask::reserve("acme", "calls", 1, "k") };
        bad_field(client.reserve(hold).await, "hold_for");
        let longer = v1::ExtendRequest { hold_for, ..extend.clone() };
        bad_field(client.extend(longer).await, "hold_for");
    }
    bad_field(client.extend(extend.clone()).await, "hold_for");
    let more = v1::ExtendRequest { additional_units: -1, ..extend };
    bad_field(client.extend(more).await, "additional_units");
}

#[tokio::test]
async fn a_wrong_field_is_named_and_counts_nothing() {
    let home = quiet();
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    ask::consumed(&mut client, "acme", "calls", 7, "first").await;
    let held = client.reserve(ask::reserve("acme", "calls", 5, "hold")).await.unwrap();
    let id = held.into_inner().reservation_id;
    // What is known of a new account is journaled once, in the background: a moment after it came, or in the
    // midst of this.
    let mut before = counters(&home).await;
    for left in (0..3).rev() {
        all_are_refused(&mut client, &id).await;
        let after = counters(&home).await;
        let counted = |(_, keys, accounts, windows): &(i64, i64, i64, Vec<v1::UsageWindow>)| {
            (*keys, *accounts, windows.clone())
        };
        assert_eq!(counted(&after), counted(&before));
        if after == before {
            break;
        }
        assert!(left > 0, "record {} was {}", after.0, before.0);
        before = after;
    }
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn the_longest_ids_and_the_most_units_are_fine() {
    let home = quiet();
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let (account, key) = ("ü".repeat(64), "k".repeat(128));
    let decision = ask::consumed(&mut client, &account, "calls", UNITS_MAX, &key).await;
    assert!(decision.allowed);
    assert_eq!(decision.binding.unwrap().used_units, UNITS_MAX);
    let one_more = client.consume(ask::consume(&account, "calls", 1, "more")).await;
    super::refused(one_more, Code::OutOfRange, "COUNTER_FULL", "");
    let one_more = client.record(ask::record(&account, "calls", 1, "more")).await;
    super::refused(one_more, Code::OutOfRange, "COUNTER_FULL", "");
    assert_eq!(ask::used(&mut client, &account, "calls").await, (UNITS_MAX, 0));
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn lists_refuse_bad_pages() {
    let home = quiet();
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    ask::consumed(&mut client, "acme", "calls", 1, "k").await;
    let epoch = Some(prost_types::Timestamp::default());
    let good =
        v1::GetUsageRequest { account: "acme".into(), closed_since: epoch, ..Default::default() };
    for page_size in [-1, 1001, i32::MIN, i32::MAX] {
        let bad = v1::GetUsageRequest { page_size, ..good.clone() };
        bad_field(client.get_usage(bad).await, "page_size");
    }
    for token in ["zz", "0", "00ff", "ü", &"0".repeat(130)] {
        let bad = v1::GetUsageRequest { page_token: token.into(), ..good.clone() };
        bad_field(client.get_usage(bad).await, "page_token");
    }
    for at in [(i64::MAX, 0), (0, -1), (0, 1_000_000_000), (-400_000_000_000, 0)] {
        let at = prost_types::Timestamp { seconds: at.0, nanos: at.1 };
        let bad = v1::GetUsageRequest { closed_since: Some(at), ..good.clone() };
        bad_field(client.get_usage(bad).await, "closed_since");
    }
    let unknown = v1::GetUsageRequest { feature: "cals".into(), ..good };
    super::refused(client.get_usage(unknown).await, Code::NotFound, "UNKNOWN_NAME", "");
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_bad_operation_of_a_batch_fails_alone() {
    let home = quiet();
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let operation = |operation| v1::Operation { operation };
    let consume = |units, key: &str| Some(Op::Consume(ask::consume("acme", "calls", units, key)));
    let batch = v1::DecideRequest {
        operations: vec![
            operation(consume(3, "a")),
            operation(consume(0, "b")),
            operation(None),
            operation(consume(4, "a")),
            operation(Some(Op::Consume(ask::consume("acme", "sso", 1, "c")))),
            operation(Some(Op::Commit(ask::commit("acme", "rsv_7", 1, "d")))),
            operation(consume(5, "e")),
        ],
    };
    let answers = client.decide(tokio_stream::iter([batch])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let told: Vec<String> = answer
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            OpResult::Consume(answer) => format!("{}", answer.decision.unwrap().allowed),
            OpResult::Error(error) => {
                format!("{} {:?}", error.reason().as_str_name(), Code::from_i32(error.code))
            }
            other => format!("{other:?}"),
        })
        .collect();
    let expected = [
        "true",
        "ERROR_REASON_INVALID_FIELD InvalidArgument",
        "ERROR_REASON_INVALID_FIELD InvalidArgument",
        "ERROR_REASON_IDEMPOTENCY_KEY_REUSED AlreadyExists",
        "ERROR_REASON_WRONG_FEATURE_KIND InvalidArgument",
        "ERROR_REASON_UNKNOWN_RESERVATION NotFound",
        "true",
    ];
    assert_eq!(told, expected);
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (8, 0));
    drop(client);
    sidecar.stop().await;
}
