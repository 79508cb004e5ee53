//! A failed internal check: nothing more is admitted on that account, counting goes on, and nobody
//! else notices. The state is broken here by records that no decision writes.

use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::Verdict;
use headroom_core::effect::Effect;
use headroom_core::ledger::Ledger;
use headroom_core::time::Millis;
use headroom_engine::engine::{EngineError, FeatureRequest, Wants};
use headroom_engine::record;

use crate::house::{HOUR_MS, House, T0, spec};

/// A house where the `tokens` ledger of `acme` is as `change` makes it.
fn broken(change: fn(&mut Ledger)) -> House {
    let house = House::new(50);
    house.consume("acme", 1, "first");
    house.reserve("acme", 2, "hold");
    house.consume("bolt", 1, "first");
    let mut ledger = house.ledger("acme", "tokens").unwrap();
    change(&mut ledger);
    let mut bytes = Vec::new();
    record::put_noted(&mut bytes, 0, Millis(T0), &[Effect::Ledger(ledger)]);
    headroom_engine::ports::Store::append(&*house.store, &bytes, false);
    house.reopen(spec(50, Some("free")))
}

fn calls(house: &House, account: &str, op: FeatureOp, key: &str) -> Result<Verdict, EngineError> {
    let (now, wants) = (Millis(T0), Wants::default());
    let rq = FeatureRequest {
        dimensions: Default::default(),
        account,
        feature: "calls",
        op,
        synthetic: false,
        key,
        now,
        wants,
        subject: None,
    };
    let reply = house.engine.feature(&house.engine.catalog(), &rq)?;
    Ok(reply.outcome.decision.verdict)
}

fn more_debt_than_usage(ledger: &mut Ledger) {
    ledger.debt = 40;
}

fn fewer_reserved_than_held(ledger: &mut Ledger) {
    ledger.reserved = 1;
}

#[test]
fn a_failed_check_halts_the_account_and_changes_nothing() {
    let house = broken(more_debt_than_usage);
    assert_eq!(house.engine.counts().halted, 0);
    let before = (house.engine.usage("acme", Millis(T0)), house.store.last());
    for key in ["a", "b"] {
        let halted = house.ask("acme", FeatureOp::Consume { units: 1 }, key, T0).unwrap_err();
        assert_eq!(halted, EngineError::Halted);
    }
    assert_eq!(house.engine.counts().halted, 1, "one account, however often it is asked");
    assert_eq!((house.engine.usage("acme", Millis(T0)), house.store.last()), before);
}

#[test]
fn a_halted_account_admits_nothing_and_counts_what_happened() {
    let house = broken(more_debt_than_usage);
    let consume = FeatureOp::Consume { units: 1 };
    assert_eq!(calls(&house, "acme", consume, "before"), Ok(Verdict::Allowed));
    house.ask("acme", consume, "breaks", T0).unwrap_err();
    assert_eq!(calls(&house, "acme", consume, "after"), Err(EngineError::Halted));
    let reserve = FeatureOp::Reserve { units: 1, hold_ms: 1 };
    assert_eq!(calls(&house, "acme", reserve, "hold after"), Err(EngineError::Halted));
    let record = FeatureOp::Record { units: 3 };
    assert_eq!(calls(&house, "acme", record, "record"), Ok(Verdict::Allowed));
    assert_eq!(house.ledger("acme", "calls").unwrap().used, 4);
    // A retry of what was admitted before is still answered.
    assert_eq!(calls(&house, "acme", consume, "before"), Ok(Verdict::Allowed));
    assert_eq!(house.ledger("acme", "calls").unwrap().used, 4);
}

#[test]
fn nobody_else_is_halted() {
    let house = broken(more_debt_than_usage);
    house.ask("acme", FeatureOp::Consume { units: 1 }, "breaks", T0).unwrap_err();
    assert_eq!(house.consume("bolt", 1, "next").outcome.decision.verdict, Verdict::Allowed);
}

#[test]
fn a_check_that_fails_while_time_is_settled_halts_too() {
    let house = broken(fewer_reserved_than_held);
    let ended = T0 + HOUR_MS;
    // Reading shows what there is.
    assert!(house.engine.usage("acme", Millis(ended)).is_some());
    let check = FeatureOp::Check { units: 1, attempt: false };
    house.ask("acme", check, "", ended).unwrap();
    let consume = house.ask("acme", FeatureOp::Consume { units: 1 }, "key", ended);
    assert_eq!(consume.unwrap_err(), EngineError::Halted);
    assert_eq!(house.engine.counts().halted, 1);
    let recorded = house.ask("acme", FeatureOp::Record { units: 5 }, "record", ended).unwrap();
    assert_eq!(recorded.outcome.amounts.units, 5);
    assert_eq!(house.counts("acme").0, 6, "counting goes on");
}

#[test]
fn an_outcome_on_a_broken_ledger_is_an_error_and_no_panic() {
    let house = broken(fewer_reserved_than_held);
    let id = headroom_core::reservation::ReservationId(1);
    for op in [HoldOp::Commit { units: 1 }, HoldOp::Release] {
        let key = format!("{op:?}");
        assert_eq!(house.hold("acme", id, op, &key).unwrap_err(), EngineError::Halted);
    }
}
