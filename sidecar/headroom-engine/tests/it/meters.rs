//! Concurrency and rate under 64 threads, and over restarts.

use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec, RateSpec};
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, OpError, Verdict};
use headroom_core::limits::UNITS_MAX;
use headroom_core::reservation::{ReservationId, ReservationState};
use headroom_core::time::Millis;
use headroom_engine::admin::{OverrideChange, OverrideTerms};
use headroom_engine::engine::{EngineError, Reply};
use headroom_engine::ports::Seq;

use crate::house::{HOUR_MS, House, T0, recovery, spec};
use crate::races::{THREADS, race, winners};

/// The house's catalog, with another sort of `tokens`.
fn with_tokens(kind: FeatureKindSpec, given: &EntitlementSpec) -> CatalogSpec {
    let mut spec = spec(1, Some("free"));
    spec.features[0].kind = kind;
    for plan in &mut spec.plans {
        plan.entitlements[0].1 = given.clone();
    }
    spec
}

fn slots(max_units: u64) -> CatalogSpec {
    let given = EntitlementSpec::Concurrency {
        max_units: Some(max_units),
        soft_limits_bp: vec![5_000],
        each: None,
    };
    with_tokens(FeatureKindSpec::Concurrency { per: None }, &given)
}

fn rate(units: u64, period_ms: i64, burst_units: u64) -> CatalogSpec {
    let rate = RateSpec { units, period_ms, burst_units };
    with_tokens(
        FeatureKindSpec::Rate { per: None },
        &EntitlementSpec::Rate { rate: Some(rate), each: None },
    )
}

fn verdict(reply: &Reply) -> Verdict {
    reply.outcome.decision.verdict
}

fn id(reply: &Reply) -> ReservationId {
    reply.outcome.amounts.reservation.unwrap()
}

fn drawable(house: &House, now: i64) -> u64 {
    let op = FeatureOp::Check { units: 1, attempt: false };
    let reply = house.ask("acme", op, "", now).unwrap();
    reply.outcome.decision.binding.unwrap().drawable_units_remaining().unwrap()
}

#[test]
fn two_callers_never_get_the_last_slot() {
    let house = House::of(slots(1), 1_000_000);
    let rounds = race(|thread, round| {
        verdict(&house.reserve(&format!("acct{round}"), 1, &format!("k{thread}")))
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(winners(results), 1, "round {round}");
        assert_eq!(house.counts(&format!("acct{round}")), (0, 1), "round {round}");
        let full = Verdict::Denied(Denial::ConcurrencyFull);
        assert_eq!(results.iter().filter(|verdict| **verdict == full).count(), THREADS - 1);
    }
}

#[test]
fn acquire_and_release_from_all_sides_never_hold_more_than_the_most() {
    let house = House::of(slots(3), 1_000_000);
    let held = std::sync::atomic::AtomicI64::new(0);
    race(|thread, round| {
        use std::sync::atomic::Ordering::SeqCst;
        let key = format!("{thread}/{round}");
        let reply = house.reserve("acme", 1, &key);
        if verdict(&reply).is_allowed() {
            // Counted after it was acquired and before it is released: never more than are held.
            assert!(held.fetch_add(1, SeqCst) < 3);
            held.fetch_sub(1, SeqCst);
            house.hold("acme", id(&reply), HoldOp::Release, &format!("{key}/end")).unwrap();
        }
    });
    assert_eq!(house.counts("acme"), (0, 0));
}

#[test]
fn two_callers_never_get_the_last_unit_of_a_bucket() {
    let house = House::of(rate(1, 1_000, 5), 1_000_000);
    let rounds = race(|thread, round| {
        verdict(&house.consume(&format!("acct{round}"), 1, &format!("k{thread}")))
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(winners(results), 5, "round {round}");
    }
}

#[test]
fn one_key_takes_from_a_bucket_once() {
    let house = House::of(rate(1, 1_000, 5), 1_000_000);
    let rounds = race(|_, round| {
        let reply = house.consume(&format!("acct{round}"), 2, "the same");
        (verdict(&reply), reply.outcome.amounts.units, reply.decision_id)
    });
    for (round, results) in rounds.iter().enumerate() {
        assert!(results.iter().all(|result| *result == results[0]), "round {round}");
        let next = house.consume(&format!("acct{round}"), 3, "the next");
        assert_eq!(verdict(&next), Verdict::Allowed, "round {round}: 3 of 5 are left");
    }
}

#[test]
fn a_slot_of_a_crashed_client_is_free_again_after_its_time_and_over_a_restart() {
    let mut house = House::of(slots(2), 1_000_000);
    let lost = id(&house.reserve("acme", 1, "a"));
    let kept = id(&house.reserve("acme", 1, "b"));
    for with_checkpoint in [false, true] {
        if with_checkpoint {
            house.store.keep(house.checkpoint());
        }
        house = house.reopen(slots(2));
        assert_eq!(house.counts("acme"), (0, 2), "kill -9 of the sidecar frees no slot");
        let refused = house.reserve("acme", 1, "c");
        assert_eq!(verdict(&refused), Verdict::Denied(Denial::ConcurrencyFull));
        assert_eq!(refused.outcome.decision.retry_after_ms, Some(HOUR_MS));
    }
    let beat = HoldOp::Extend { hold_ms: Some(2 * HOUR_MS), additional_units: 0 };
    house.hold("acme", kept, beat, "d").unwrap();
    let later = T0 + HOUR_MS;
    let op = FeatureOp::Reserve { units: 1, hold_ms: HOUR_MS };
    let next = house.ask("acme", op, "e", later).unwrap();
    assert!(verdict(&next).is_allowed());
    let full = house.ask("acme", op, "f", later).unwrap();
    assert_eq!(verdict(&full), Verdict::Denied(Denial::ConcurrencyFull));
    let closed = OpError::ReservationClosed { state: ReservationState::Expired };
    let late = house.hold("acme", lost, beat, "g");
    assert_eq!(late.unwrap_err(), EngineError::Op(closed));
}

#[test]
fn a_signal_of_slots_is_not_raised_again_by_a_restart() {
    let house = House::of(slots(2), 1_000_000);
    house.reserve("acme", 1, "a");
    house.reserve("acme", 1, "b");
    house.reserve("acme", 1, "c");
    let told = |house: &House, since: Seq| {
        house.store.since(since).iter().filter(|(_, stored)| stored.matter).count()
    };
    assert_eq!(told(&house, Seq(0)), 3, "half of two, the limit, the refusal");
    let last = house.store.last();
    let house = house.reopen(slots(2));
    house.reserve("acme", 1, "d");
    assert_eq!(told(&house, last), 0);
}

#[test]
fn a_restart_never_finds_a_fuller_bucket() {
    for with_checkpoint in [false, true] {
        let catalog = || rate(7, 60_000, 20);
        let mut house = House::of(catalog(), 1_000_000);
        for step in 0..40_i64 {
            let now = T0 + step * 1_234;
            let units = 1 + step.unsigned_abs() % 3;
            let op = FeatureOp::Consume { units };
            house.ask("acme", op, &format!("k{step}"), now).unwrap();
            let before = drawable(&house, now);
            if with_checkpoint {
                house.store.keep(house.checkpoint());
            }
            house = house.reopen(catalog());
            assert_eq!(drawable(&house, now), before, "step {step}");
        }
        assert_eq!(
            verdict(&house.ask("acme", FeatureOp::Consume { units: 1 }, "k0", T0).unwrap()),
            Verdict::Allowed,
            "an answer of before is replayed"
        );
    }
}

#[test]
fn a_tier_that_is_exceeded_is_told_once_also_over_a_restart() {
    let catalog = || rate(1, 1_000, 1);
    let mut house = House::of(catalog(), 1_000_000);
    house.consume("acme", 1, "a");
    for with_checkpoint in [false, true] {
        let before = house.store.last();
        house.consume("acme", 1, "b");
        let told = house.store.since(before).iter().filter(|(_, stored)| stored.matter).count();
        assert_eq!(told, usize::from(!with_checkpoint));
        if !with_checkpoint {
            house.store.keep(house.checkpoint());
        }
        house = house.reopen(catalog());
    }
}

#[test]
fn overrides_of_slots_and_rates_count_from_the_next_decision_and_survive() {
    let now = Millis(T0);
    let house = House::of(slots(1), 1_000_000);
    house.subscribe("acme", "free");
    let put = |change: &OverrideChange<'_>| {
        house.engine.put_override("acme", "tokens", change, OverrideTerms::default(), now)
    };
    put(&OverrideChange::Limit("concurrent", Some(2))).unwrap();
    assert!(put(&OverrideChange::Limit("total", Some(2))).is_err(), "there is no such limit");
    assert!(put(&OverrideChange::Rate(None)).is_err(), "it is no rate");
    house.reserve("acme", 1, "a");
    assert!(verdict(&house.reserve("acme", 1, "b")).is_allowed());
    let house = house.reopen(slots(1));
    let fits = |house: &House, key: &str| verdict(&house.reserve("acme", 1, key)).is_allowed();
    assert!(!fits(&house, "c"), "two are held");

    let house = House::of(rate(1, 1_000, 1), 1_000_000);
    house.subscribe("acme", "free");
    house
        .engine
        .put_override("acme", "tokens", &OverrideChange::Rate(None), OverrideTerms::default(), now)
        .unwrap();
    assert!(verdict(&house.consume("acme", UNITS_MAX, "a")).is_allowed());
    let house = house.reopen(rate(1, 1_000, 1));
    assert!(verdict(&house.consume("acme", UNITS_MAX, "b")).is_allowed());
}

#[test]
fn no_part_of_an_entry_with_buckets_is_an_entry_and_an_entry_without_is_as_before() {
    let house = House::of(rate(1, 1_000, 1), 1_000_000);
    house.subscribe("acme", "free");
    let before = house.checkpoint().entries;
    house.consume("acme", 1, "a");
    let entries = house.checkpoint().entries;
    // Head, account, keys. What an earlier version wrote ends with a 0 or 1 for the reservations.
    assert_eq!(before[1].last(), Some(&0));
    for len in 0..entries[1].len() {
        let mut recovery = recovery(1_000);
        recovery.entry(&entries[0]).unwrap();
        assert!(recovery.entry(&entries[1][..len]).is_err(), "{len} bytes");
    }
}
