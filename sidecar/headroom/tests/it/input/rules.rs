//! Requests that are well formed and yet not possible.

use headroom_proto::v1;
use headroom_proto::v1::Denial;
use tonic::Code;

use super::refused;
use crate::support::ask::{self, Entitlements};
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

/// The plain catalog without a default plan.
fn members_only() -> Home {
    Home::new(&PLAIN.replace("default_plan: open\n", ""))
}

#[tokio::test]
async fn a_stranger_and_an_unknown_feature_are_refusals() {
    let home = members_only();
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    ask::subscribe(&mut ask::admin(&home).await, "acme", "open").await;

    check_denials(&mut client, "stranger", "calls", Denial::UnknownAccount).await;
    check_denials(&mut client, "stranger", "nothing", Denial::UnknownAccount).await;
    check_denials(&mut client, "acme", "nothing", Denial::UnknownFeature).await;
    check_denials(&mut client, "acme", "Calls", Denial::UnknownFeature).await;
    // Usage of what the plan does not contain is recorded all the same.
    for operation in ["check", "consume", "reserve"] {
        let denial = denial_of(&mut client, "acme", "slots", operation).await;
        assert_eq!(denial, Denial::NotInPlan, "{operation}");
    }

    let list = v1::ListEntitlementsRequest { account: "stranger".into() };
    refused(client.list_entitlements(list).await, Code::NotFound, "UNKNOWN_ACCOUNT", "");
    let usage = v1::GetUsageRequest { account: "stranger".into(), ..Default::default() };
    refused(client.get_usage(usage).await, Code::NotFound, "UNKNOWN_ACCOUNT", "");
    let status = ask::status(&mut ask::admin(&home).await).await;
    assert_eq!((status.accounts, status.ledgers, status.idempotency_keys), (1, 0, 0));
    drop(client);
    sidecar.stop().await;
}

async fn check_denials(client: &mut Entitlements, account: &str, feature: &str, expected: Denial) {
    for operation in ["check", "consume", "reserve", "record"] {
        let denial = denial_of(client, account, feature, operation).await;
        assert_eq!(denial, expected, "{operation} {account} {feature}");
    }
}

async fn denial_of(
    client: &mut Entitlements,
    account: &str,
    feature: &str,
    operation: &str,
) -> Denial {
    let decision = match operation {
        "check" => client.check(ask::check(account, feature)).await.unwrap().into_inner().decision,
        "consume" => {
            let answer = client.consume(ask::consume(account, feature, 1, "k")).await;
            answer.unwrap().into_inner().decision
        }
        "reserve" => {
            let answer = client.reserve(ask::reserve(account, feature, 1, "k")).await;
            let answer = answer.unwrap().into_inner();
            assert_eq!((answer.reservation_id.as_str(), answer.expires_at), ("", None));
            answer.decision
        }
        _ => {
            let answer = client.record(ask::record(account, feature, 1, "k")).await;
            answer.unwrap().into_inner().decision
        }
    };
    let decision = decision.expect("a decision");
    assert!(!decision.allowed && decision.verdict() == v1::Verdict::Denied, "{decision:?}");
    assert_eq!(decision.durability(), v1::Durability::Memory);
    decision.denial()
}

#[tokio::test]
async fn a_reservation_belongs_to_its_account_and_has_one_outcome() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let mut ids = Vec::new();
    for key in ["first", "second"] {
        let held = client.reserve(ask::reserve("acme", "calls", 10, key)).await.unwrap();
        ids.push(held.into_inner().reservation_id);
    }
    ask::consumed(&mut client, "other", "calls", 1, "k").await;

    let unknown = (Code::NotFound, "UNKNOWN_RESERVATION");
    for (account, id) in [("acme", "rsv_fff"), ("other", &*ids[0]), ("stranger", &*ids[0])] {
        let result = client.commit(ask::commit(account, id, 1, "x")).await;
        refused(result, unknown.0, unknown.1, "");
        refused(client.release(ask::release(account, id, "x")).await, unknown.0, unknown.1, "");
        let extend = v1::ExtendRequest {
            account: account.into(),
            reservation_id: id.into(),
            additional_units: 1,
            idempotency_key: "x".into(),
            ..Default::default()
        };
        refused(client.extend(extend).await, unknown.0, unknown.1, "");
    }
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (0, 20));
    assert_eq!(ask::used(&mut client, "other", "calls").await, (1, 0));

    let first = client.commit(ask::commit("acme", &ids[0], 4, "commit")).await.unwrap();
    let again = client.commit(ask::commit("acme", &ids[0], 4, "commit")).await.unwrap();
    let (first, again) = (first.into_inner(), again.into_inner());
    let (one, two) = (first.decision.unwrap(), again.decision.unwrap());
    assert!(!one.replayed && two.replayed && one.decision_id == two.decision_id);
    assert_eq!((first.committed_units, again.committed_units), (4, 4));

    let closed = (Code::FailedPrecondition, "RESERVATION_CLOSED");
    let result = client.commit(ask::commit("acme", &ids[0], 4, "other key")).await;
    let message = refused(result, closed.0, closed.1, "");
    assert!(message.contains("4 units were committed"), "{message}");
    refused(client.release(ask::release("acme", &ids[0], "y")).await, closed.0, closed.1, "");
    client.release(ask::release("acme", &ids[1], "release")).await.unwrap();
    let result = client.commit(ask::commit("acme", &ids[1], 1, "late")).await;
    refused(result, closed.0, closed.1, "");
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (4, 0));
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_key_is_for_one_payload_of_one_account() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    ask::subscribe(&mut ask::admin(&home).await, "acme", "tight").await;
    let first = ask::consumed(&mut client, "acme", "calls", 5, "key").await;
    let again = ask::consumed(&mut client, "acme", "calls", 5, "key").await;
    assert!(again.replayed && again.decision_id == first.decision_id);

    let reused = (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    let result = client.consume(ask::consume("acme", "calls", 6, "key")).await;
    refused(result, reused.0, reused.1, "");
    let result = client.consume(ask::consume("acme", "slots", 5, "key")).await;
    refused(result, reused.0, reused.1, "");
    refused(client.record(ask::record("acme", "calls", 5, "key")).await, reused.0, reused.1, "");
    refused(client.reserve(ask::reserve("acme", "calls", 5, "key")).await, reused.0, reused.1, "");
    refused(client.commit(ask::commit("acme", "rsv_1", 5, "key")).await, reused.0, reused.1, "");

    assert!(!ask::consumed(&mut client, "other", "calls", 5, "key").await.replayed);
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (5, 0));
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_refused_write_does_not_use_its_key_up() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    ask::subscribe(&mut ask::admin(&home).await, "acme", "tight").await;
    assert!(!ask::consumed(&mut client, "acme", "slots", 41, "key").await.allowed);
    let less = ask::consumed(&mut client, "acme", "slots", 40, "key").await;
    assert!(less.allowed && !less.replayed, "{less:?}");
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn switches_and_configs_have_no_units() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    for feature in ["sso", "models"] {
        let wrong = (Code::InvalidArgument, "WRONG_FEATURE_KIND");
        let result = client.consume(ask::consume("acme", feature, 1, "k")).await;
        refused(result, wrong.0, wrong.1, "");
        let result = client.reserve(ask::reserve("acme", feature, 1, "k")).await;
        refused(result, wrong.0, wrong.1, "");
        refused(client.record(ask::record("acme", feature, 1, "k")).await, wrong.0, wrong.1, "");
        let check = client.check(ask::check("acme", feature)).await.unwrap().into_inner();
        assert!(check.decision.unwrap().allowed);
    }
    assert_eq!(ask::usage(&mut client, "acme").await, []);
    drop(client);
    sidecar.stop().await;
}
