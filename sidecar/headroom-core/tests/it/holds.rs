//! Reservations: one outcome each, booked where they were admitted, whatever the time.

use headroom_core::catalog::Policy;
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Amounts, Denial, OpError, Verdict};
use headroom_core::effect::Effect;
use headroom_core::limits::{
    CLOSED_RESERVATIONS_MAX, OPEN_RESERVATIONS_MAX, RESERVATION_MEMORY_MS, UNITS_MAX,
};
use headroom_core::reservation::{Reservation, ReservationId, ReservationState};
use headroom_core::time::Millis;

use crate::admission::{every_limit, naive_ceiling, naive_level};
use crate::world::{DAY_MS, HOUR_MS, World, daily, total, unlimited};

/// One reservation of `held` units beside others of `others` units, on a ledger with `used`.
fn world_with(world: &mut World, used: u64, held: u64, others: u64, ended: bool) -> ReservationId {
    let id = ReservationId(7 << 32 | 1);
    let mut ledger = world.state("daily").ledger;
    ledger.used = used;
    ledger.reserved = others + if ended { 0 } else { held };
    ledger.debt = 0;
    ledger.holds = 2;
    ledger.marks = Default::default();
    let expires_at = Millis(if ended { world.now } else { world.now + HOUR_MS });
    let reservation = Reservation {
        id,
        feature: ledger.feature,
        units: held,
        expires_at,
        next_event_at: expires_at.plus(if ended { RESERVATION_MEMORY_MS } else { 0 }),
        state: if ended { ReservationState::Expired } else { ReservationState::Open },
        ledgers: [(ledger.limit, ledger.window.start())].into_iter().collect(),
        extra: None,
    };
    world.apply(&[Effect::Ledger(ledger), Effect::Reservation(reservation)]);
    id
}

#[test]
fn every_small_commit_is_booked_as_naively() {
    every_limit(|limit| {
        let (included, policy, soft_bp) = limit;
        let soft: Vec<u32> = soft_bp.into_iter().collect();
        let mut world = World::new(&[daily(included, policy).soft(&soft)]);
        for (used, held) in (0..5).flat_map(|used| (1..4).map(move |held| (used, held))) {
            for (others, units) in (0..3).flat_map(|o| (0..7).map(move |units| (o, units))) {
                for late in [false, true] {
                    let id = world_with(&mut world, used, held, others, late);
                    let outcome = world.commit(id, units);
                    let surplus = if late { units } else { units.saturating_sub(held) };
                    let after = used + others + units;
                    let above = after - naive_ceiling(included, policy).unwrap_or(after).min(after);
                    let expected = if units == 0 {
                        let units = if late { 0 } else { held };
                        Amounts { reservation: Some(id), units, late, ..Amounts::default() }
                    } else {
                        Amounts {
                            reservation: Some(id),
                            units,
                            surplus_units: surplus,
                            debt_units: surplus.min(above),
                            late,
                            ..Amounts::default()
                        }
                    };
                    let case = format!("{limit:?} {used} used {held} held {others} others {late}");
                    assert_eq!(outcome.amounts, expected, "{case} commit {units}");
                    let counts = (used + units, others, expected.debt_units);
                    assert_eq!(world.counts(), counts, "{case} commit {units}");
                    let level = naive_level(limit, used + units, others);
                    assert_eq!(outcome.decision.verdict, level, "{case} commit {units}");
                }
            }
        }
    });
}

#[test]
fn units_not_used_are_given_back() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(8);
    assert_eq!(world.counts(), (0, 8, 0));
    world.commit(id, 3);
    assert_eq!(world.counts(), (3, 0, 0));
    assert_eq!(world.consume(7).decision.verdict, Verdict::Allowed);
}

#[test]
fn more_than_was_held_is_booked_in_full() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(8);
    let amounts = world.commit(id, 13).amounts;
    assert_eq!((amounts.units, amounts.surplus_units, amounts.debt_units), (13, 5, 3));
    assert_eq!(world.counts(), (13, 0, 3));
}

#[test]
fn surplus_that_the_limit_allows_is_no_debt() {
    for policy in [Policy::Overage, Policy::Unlimited] {
        let mut world = World::new(&[daily(2, policy)]);
        let id = world.reserve(2);
        let amounts = world.commit(id, 9).amounts;
        assert_eq!((amounts.surplus_units, amounts.debt_units), (7, 0));
    }
}

#[test]
fn a_late_commit_is_booked_and_its_units_are_surplus() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(8);
    world.now += HOUR_MS;
    assert_eq!(world.consume(10).decision.verdict, Verdict::Allowed);
    let outcome = world.commit(id, 3);
    assert!(outcome.amounts.late);
    assert_eq!((outcome.amounts.surplus_units, outcome.amounts.debt_units), (3, 3));
    assert_eq!(world.counts(), (13, 0, 3));
    assert_eq!(outcome.decision.verdict, Verdict::Unbacked);
}

#[test]
fn a_reservation_has_exactly_one_outcome() {
    let outcomes = [
        (HoldOp::Commit { units: 2 }, ReservationState::Committed { units: 2 }),
        (HoldOp::Commit { units: 0 }, ReservationState::Released),
        (HoldOp::Release, ReservationState::Released),
    ];
    for (first, state) in outcomes {
        let mut world = World::new(&[daily(10, Policy::Block)]);
        let id = world.reserve(8);
        world.try_hold(id, first).unwrap();
        let counts = world.counts();
        let extend = HoldOp::Extend { hold_ms: Some(1), additional_units: 1 };
        for second in [first, HoldOp::Commit { units: 1 }, HoldOp::Release, extend] {
            let closed = Err(OpError::ReservationClosed { state });
            assert_eq!(world.try_hold(id, second), closed, "{second:?} after {first:?}");
        }
        assert_eq!(world.counts(), counts);
    }
}

#[test]
fn a_commit_of_nothing_is_a_release() {
    for op in [HoldOp::Commit { units: 0 }, HoldOp::Release] {
        let mut world = World::new(&[daily(10, Policy::Block)]);
        let id = world.reserve(8);
        let amounts = world.try_hold(id, op).unwrap().amounts;
        assert_eq!((amounts.units, amounts.late), (8, false));
        assert_eq!(world.counts(), (0, 0, 0));
    }
}

#[test]
fn an_expired_hold_frees_its_units_before_the_next_decision() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    world.reserve(10);
    world.now += HOUR_MS - 1;
    assert_eq!(world.consume(1).decision.verdict, Verdict::Denied(Denial::InFlight));
    world.now += 1;
    assert_eq!(world.consume(10).decision.verdict, Verdict::Allowed);
}

#[test]
fn an_expired_hold_can_be_released_or_committed_but_not_extended() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(4);
    world.now += HOUR_MS;
    let extend = HoldOp::Extend { hold_ms: Some(HOUR_MS), additional_units: 0 };
    let closed = Err(OpError::ReservationClosed { state: ReservationState::Expired });
    assert_eq!(world.try_hold(id, extend), closed);
    let amounts = world.try_hold(id, HoldOp::Release).unwrap().amounts;
    assert_eq!((amounts.units, amounts.late), (0, true));
}

#[test]
fn an_ended_hold_is_remembered_for_a_day() {
    for op in [HoldOp::Commit { units: 1 }, HoldOp::Release] {
        let mut world = World::new(&[daily(10, Policy::Block)]);
        let (first, second) = (world.reserve(4), world.reserve(2));
        world.now += HOUR_MS + RESERVATION_MEMORY_MS - 1;
        assert!(world.try_hold(first, op).unwrap().amounts.late);
        world.now += 1;
        assert_eq!(world.try_hold(second, op), Err(OpError::UnknownReservation));
    }
    let mut world = World::new(&[daily(10, Policy::Block)]);
    assert_eq!(world.try_hold(ReservationId(9), HoldOp::Release), Err(OpError::UnknownReservation));
}

#[test]
fn an_extension_holds_longer_and_never_shorter() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(4);
    let extend = |world: &mut World, hold_ms| {
        let op = HoldOp::Extend { hold_ms, additional_units: 0 };
        world.try_hold(id, op).unwrap().amounts.expires_at.unwrap().0 - world.now
    };
    assert_eq!(extend(&mut world, Some(1)), HOUR_MS);
    assert_eq!(extend(&mut world, None), HOUR_MS);
    assert_eq!(extend(&mut world, Some(2 * HOUR_MS)), 2 * HOUR_MS);
    assert_eq!(world.counts(), (0, 4, 0));
}

#[test]
fn an_extension_by_units_is_admitted_like_any_other() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(4);
    let more = |world: &mut World, additional_units| {
        let op = HoldOp::Extend { hold_ms: None, additional_units };
        let outcome = world.try_hold(id, op).unwrap();
        (outcome.decision.verdict, outcome.amounts.units)
    };
    assert_eq!(more(&mut world, 7), (Verdict::Denied(Denial::InFlight), 4));
    assert_eq!(more(&mut world, 6), (Verdict::Allowed, 10));
    assert_eq!(world.counts(), (0, 10, 0));
    assert_eq!(more(&mut world, 11), (Verdict::Denied(Denial::QuotaExhausted), 10));
    let amounts = world.commit(id, 10).amounts;
    assert_eq!((amounts.surplus_units, amounts.debt_units), (0, 0));
}

#[test]
fn usage_is_booked_into_the_window_of_admission() {
    let mut world = World::new(&[daily(10, Policy::Block), total(100, Policy::Block)]);
    let op = FeatureOp::Reserve { units: 8, hold_ms: 2 * DAY_MS };
    let id = world.ask(op).amounts.reservation.unwrap();
    let admitted = world.state("daily").ledger.window;
    world.now += DAY_MS;
    assert_eq!(world.consume(10).decision.verdict, Verdict::Allowed, "a new day is a new ledger");
    assert_eq!(world.closed(), [], "the old ledger outlives its window");
    let outcome = world.commit(id, 9);
    assert_eq!((outcome.amounts.surplus_units, outcome.amounts.debt_units), (1, 0));
    assert_eq!(world.counts(), (10, 0, 0), "the new day is not charged");
    let [closed] = world.closed()[..] else { panic!("{:?}", world.closed()) };
    assert_eq!((closed.window, closed.used, closed.holds), (admitted, 9, 0));
    assert_eq!(world.state("total").ledger.used, 19);
}

#[test]
fn the_ledger_of_a_past_window_closes_with_its_last_hold() {
    type End = fn(&mut World, ReservationId);
    let ends: [(&str, End); 3] = [
        ("commit", |world, id| drop(world.commit(id, 1))),
        ("release", |world, id| drop(world.try_hold(id, HoldOp::Release))),
        ("time", |world, _| {
            world.now += RESERVATION_MEMORY_MS;
            world.check(1);
        }),
    ];
    for (how, end) in ends {
        let mut world = World::new(&[daily(10, Policy::Block)]);
        let (first, second) = (world.reserve(1), world.reserve(1));
        let admitted = world.state("daily").ledger.window;
        world.now += 13 * HOUR_MS;
        world.consume(1);
        end(&mut world, first);
        if how != "time" {
            assert_eq!(world.closed(), [], "{how}: the second is still there");
        }
        end(&mut world, second);
        assert_eq!(world.closed().len(), 1, "{how}");
        assert_eq!(world.closed()[0].window, admitted, "{how}");
        assert!(world.account.ledgers().iter().all(|l| l.window != admitted), "{how}");
    }
}

/// Otherwise the next window might begin before the closed one ended, and count its time twice.
#[test]
fn the_latest_ledger_of_a_limit_stays_until_the_next_begins() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(4);
    world.now += 13 * HOUR_MS;
    world.commit(id, 4);
    assert_eq!(world.closed(), []);
    world.consume(1);
    assert_eq!(world.closed().len(), 1);
    assert_eq!(world.closed()[0].used, 4);
}

#[test]
fn a_hold_on_a_limit_that_is_gone_is_booked_as_debt_beyond_the_hold_and_announces_nothing() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let (first, second) = (world.reserve(4), world.reserve(4));
    world.account.profile.plan = world.id("bare");
    let outcome = world.commit(first, 6);
    assert_eq!((outcome.amounts.surplus_units, outcome.amounts.debt_units), (2, 2));
    assert_eq!(world.told(), []);
    let more = HoldOp::Extend { hold_ms: None, additional_units: 1 };
    let refused = world.try_hold(second, more).unwrap().decision.verdict;
    assert_eq!(refused, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(world.told(), []);
    let longer = HoldOp::Extend { hold_ms: Some(2 * HOUR_MS), additional_units: 0 };
    assert!(world.try_hold(second, longer).unwrap().decision.verdict.is_allowed());
}

#[test]
fn a_hold_of_a_feature_that_left_the_catalog_is_settled_all_the_same() {
    let limits = [daily(10, Policy::Block)];
    let mut world = World::new(&limits);
    let id = world.reserve(4);
    let mut spec = crate::world::spec(&limits, Default::default());
    spec.features.remove(0);
    spec.plans[0].entitlements.remove(0);
    world.install(spec);
    let outcome = world.commit(id, 3);
    assert_eq!(outcome.decision.feature, Some(world.id("tokens")));
    assert_eq!(outcome.decision.binding, None);
    assert_eq!(outcome.amounts.units, 3);
    world.change_limits(&limits);
    assert_eq!(world.counts(), (3, 0, 0));
}

#[test]
fn what_was_held_can_be_committed_up_to_the_largest_count() {
    let mut world = World::new(&[unlimited()]);
    let id = world.reserve(UNITS_MAX);
    assert_eq!(world.commit(id, UNITS_MAX).amounts.units, UNITS_MAX);
    assert_eq!(world.counts(), (UNITS_MAX, 0, 0));

    let mut world = World::new(&[unlimited()]);
    let (first, second) = (world.reserve(2), world.reserve(UNITS_MAX - 2));
    let full = Err(OpError::CounterFull);
    assert_eq!(world.try_hold(first, HoldOp::Commit { units: 3 }), full);
    let more = HoldOp::Extend { hold_ms: None, additional_units: 1 };
    assert_eq!(world.try_hold(second, more), full);
}

#[test]
fn open_reservations_are_bounded() {
    let mut world = World::new(&[unlimited()]);
    let first = world.reserve(1);
    let first = world.account.reservations().unwrap().get(first).unwrap().clone();
    for more in 1..OPEN_RESERVATIONS_MAX as u64 {
        let id = ReservationId(first.id.0 + more);
        world.account.apply(&Effect::Reservation(Reservation { id, ..first.clone() }));
    }
    world.set("daily", 0, OPEN_RESERVATIONS_MAX as u64);
    let mut ledger = world.state("daily").ledger;
    ledger.holds = OPEN_RESERVATIONS_MAX as u32;
    world.apply(&[Effect::Ledger(ledger)]);
    let one_more = FeatureOp::Reserve { units: 1, hold_ms: 1 };
    let refused = Err(OpError::TooManyReservations { open: OPEN_RESERVATIONS_MAX });
    assert_eq!(world.try_ask("tokens", one_more), refused);
    world.now += HOUR_MS;
    assert!(world.try_ask("tokens", one_more).is_ok(), "those that ended do not count");
}

#[test]
fn outcomes_are_remembered_up_to_a_bound_the_oldest_forgotten_first() {
    let mut world = World::new(&[unlimited()]);
    let ids: Vec<ReservationId> = (0..=CLOSED_RESERVATIONS_MAX).map(|_| world.reserve(1)).collect();
    for id in &ids {
        world.commit(*id, 1);
    }
    let again = HoldOp::Commit { units: 1 };
    assert_eq!(world.try_hold(ids[0], again), Err(OpError::UnknownReservation));
    let state = ReservationState::Committed { units: 1 };
    assert_eq!(world.try_hold(ids[1], again), Err(OpError::ReservationClosed { state }));
}

#[test]
fn ids_are_never_given_twice() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let first = world.reserve(1);
    world.commit(first, 1);
    world.now += 2 * DAY_MS;
    let second = world.reserve(1);
    assert_eq!(world.account.reservations().unwrap().get(first), None);
    assert_eq!(second.0, first.0 + 1);
    assert_eq!(second.0 >> 32, 7, "the upper half is the account's number");
}
