//! Accounts nobody told us about, and a store that takes no write.

use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, OpError, Verdict};
use headroom_core::reservation::ReservationId;
use headroom_core::resolve::Origin;
use headroom_core::time::Millis;
use headroom_engine::admin::{AdminError, CatalogRefusal, SubscriptionChange};
use headroom_engine::engine::EngineError;
use headroom_engine::ports::StoreRefusal;

use crate::house::{HOUR_MS, House, T0, spec};

const CHECK: FeatureOp = FeatureOp::Check { units: 1, attempt: true };

#[test]
fn a_stranger_begins_on_the_default_plan_with_the_first_write() {
    let house = House::new(5);
    let check = house.ask("acme", CHECK, "", T0).unwrap().outcome.decision;
    assert_eq!((check.verdict, check.origin), (Verdict::Allowed, Origin::DefaultPlan));
    assert_eq!(house.engine.counts().accounts, 0, "a check makes nobody known");
    assert!(house.engine.entitlements(&house.engine.catalog(), "acme", Millis(T0)).is_some());
    assert!(house.engine.usage("acme", Millis(T0)).is_none());

    let consumed = house.consume("acme", 2, "key").outcome.decision;
    assert_eq!((consumed.verdict, consumed.origin), (Verdict::Allowed, Origin::DefaultPlan));
    assert_eq!(house.engine.counts().accounts, 1);
    house.subscribe("acme", "free");
    let known = house.ask("acme", CHECK, "", T0).unwrap().outcome.decision;
    assert_eq!(known.origin, Origin::Plan);
    assert_eq!(house.counts("acme"), (2, 0), "what was used stays used");
}

#[test]
fn a_stranger_is_refused_where_there_is_no_default_plan() {
    let house = House::of(spec(5, None), 1_000);
    let ops = [
        CHECK,
        FeatureOp::Consume { units: 1 },
        FeatureOp::Reserve { units: 1, hold_ms: 1 },
        FeatureOp::Record { units: 1 },
    ];
    let last = house.store.last();
    for op in ops {
        let reply = house.ask("acme", op, "key", T0).unwrap();
        let refused = Verdict::Denied(Denial::UnknownAccount);
        assert_eq!(reply.outcome.decision.verdict, refused, "{op:?}");
        assert_eq!(reply.wait_for, None);
    }
    assert!(house.engine.entitlements(&house.engine.catalog(), "acme", Millis(T0)).is_none());
    assert_eq!((house.engine.counts().accounts, house.store.last()), (0, last));
    house.subscribe("acme", "free");
    assert_eq!(house.consume("acme", 1, "key").outcome.decision.verdict, Verdict::Allowed);
}

#[test]
fn a_stranger_has_no_reservations() {
    let house = House::new(5);
    let unknown = EngineError::Op(OpError::UnknownReservation);
    let refused = house.hold("acme", ReservationId(1), HoldOp::Release, "key").unwrap_err();
    assert_eq!(refused, unknown);
    assert_eq!(house.engine.counts().accounts, 0);
}

#[test]
fn without_room_nothing_is_decided_and_nothing_changes() {
    let refusals = [
        StoreRefusal::NoRoom,
        StoreRefusal::Broken { reason: "input/output error".to_owned() },
        StoreRefusal::Closed,
    ];
    for refusal in refusals {
        let house = House::new(5);
        let id = house.reserve("acme", 2, "hold").outcome.amounts.reservation.unwrap();
        house.consume("acme", 1, "known");
        let before = (house.engine.usage("acme", Millis(T0)), house.store.last());
        house.store.set_refusal(Some(refusal.clone()));

        let refused = EngineError::Store(refusal.clone());
        let ops = [
            FeatureOp::Consume { units: 1 },
            FeatureOp::Consume { units: 99 },
            FeatureOp::Reserve { units: 1, hold_ms: HOUR_MS },
            FeatureOp::Record { units: 1 },
        ];
        for (op, account) in ops.iter().flat_map(|op| ["acme", "new"].map(|a| (*op, a))) {
            let error = house.ask(account, op, "key", T0).unwrap_err();
            assert_eq!(error, refused, "{op:?} of {account}");
        }
        for op in [HoldOp::Commit { units: 1 }, HoldOp::Release] {
            assert_eq!(house.hold("acme", id, op, "key").unwrap_err(), refused);
        }
        let change = SubscriptionChange { plan: "pro", ..SubscriptionChange::default() };
        let error = house.engine.put_subscription("new", &change, Millis(T0)).unwrap_err();
        assert_eq!(error, AdminError::Engine(refused));
        let error = house.engine.install_catalog(spec(9, None), "new", Millis(T0)).unwrap_err();
        assert_eq!(error, CatalogRefusal::Store(refusal));

        // What needs no record is answered.
        assert!(house.consume("acme", 1, "known").replayed);
        let check = |now| house.ask("acme", CHECK, "", now).unwrap().outcome.decision;
        assert_eq!(check(T0).verdict, Verdict::Allowed);
        assert_eq!(check(T0).binding.unwrap().ledger.reserved, 2);
        let later = check(T0 + HOUR_MS).binding.unwrap().ledger.reserved;
        assert_eq!(later, 0, "a hold that has ended holds nothing, also without room");

        assert_eq!((house.engine.usage("acme", Millis(T0)), house.store.last()), before);
        assert_eq!(house.engine.counts().accounts, 1);
        house.store.set_refusal(None);
        assert_eq!(house.consume("acme", 1, "key").outcome.decision.verdict, Verdict::Allowed);
    }
}

#[test]
fn a_refused_attempt_without_room_is_announced_when_there_is_room() {
    let house = House::new(1);
    house.consume("acme", 1, "key");
    house.store.set_refusal(Some(StoreRefusal::NoRoom));
    let last = house.store.last();
    house.ask("acme", CHECK, "", T0).unwrap();
    assert_eq!(house.store.last(), last);
    house.store.set_refusal(None);
    house.ask("acme", CHECK, "", T0).unwrap();
    let records = house.store.since(last);
    assert_eq!(records.len(), 1);
    assert!(records[0].1.matter);
}

#[test]
fn a_start_without_room_keeps_the_numbers_of_names_apart() {
    let house = House::new(5);
    house.subscribe("acme", "free");
    house.store.set_refusal(Some(StoreRefusal::NoRoom));
    // The file changed while the sidecar was down, and the disk is full.
    let with = |feature: &str| {
        let mut spec = spec(5, Some("free"));
        spec.features[0].feature = feature.to_owned();
        for plan in &mut spec.plans {
            plan.entitlements[0].0 = feature.to_owned();
        }
        spec
    };
    let house = house.reopen(with("seats"));
    house.store.set_refusal(None);
    let number = |name: &str| house.engine.catalog().names().get(name);
    let seats = number("seats");
    house.engine.install_catalog(with("exports"), "exports", Millis(T0)).unwrap();
    assert_eq!(number("seats"), seats);
    assert_ne!(number("exports"), seats);
    let house = house.reopen(with("exports"));
    assert_eq!(house.engine.catalog().names().get("seats"), seats);
}
