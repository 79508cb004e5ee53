//! Reservations that are booked in parts, and holds whose end is a charge.

use headroom_core::catalog::Policy;
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, OpError, Verdict};
use headroom_core::effect::Effect;
use headroom_core::limits::{EXPIRED_RESERVATIONS_MAX, RESERVATION_MEMORY_MS};
use headroom_core::reservation::{Reservation, ReservationId, ReservationState};
use headroom_core::signal::{Signal, SignalName};
use headroom_core::time::Millis;

use crate::world::{DAY_MS, HOUR_MS, World, daily, total, unlimited};

fn reserve_charging(world: &mut World, units: u64) -> ReservationId {
    let outcome = world.ask(FeatureOp::ReserveCharging { units, hold_ms: HOUR_MS });
    assert!(outcome.decision.verdict.is_allowed(), "{:?}", outcome.decision);
    outcome.amounts.reservation.unwrap()
}

fn all_signals(world: &World) -> Vec<Signal> {
    let signal = |effect: &Effect| match effect {
        Effect::Signal(signal) => Some((**signal).clone()),
        _ => None,
    };
    world.effects.iter().filter_map(signal).collect()
}

fn part(world: &mut World, id: ReservationId, units: u64) -> (u64, u64, bool) {
    let amounts = world.try_hold(id, HoldOp::CommitPart { units, hold_ms: None }).unwrap().amounts;
    assert_eq!(amounts.units, units, "what is asked is what is booked");
    (amounts.surplus_units, amounts.debt_units, amounts.late)
}

/// Every way to cut a usage into two parts comes to the same, and so does the whole.
#[test]
fn parts_add_up_to_the_whole() {
    for (included, held, first, second) in every_small() {
        let mut whole = World::new(&[daily(included, Policy::Block)]);
        let mut parts = World::new(&[daily(included, Policy::Block)]);
        if held > included {
            continue;
        }
        let (a, b) = (whole.reserve(held), parts.reserve(held));
        let debt = whole.commit(a, first + second).amounts.debt_units;
        let (surplus, first_debt, _) = part(&mut parts, b, first);
        assert_eq!(surplus, first.saturating_sub(held));
        let left = held.saturating_sub(first);
        assert_eq!(parts.counts(), (first, left, first_debt), "the hold shrinks by what is booked");
        let last = parts.commit(b, second).amounts;
        assert_eq!(last.surplus_units, second.saturating_sub(left));
        assert_eq!(whole.counts(), parts.counts(), "{included} {held} {first} {second}");
        assert_eq!(first_debt + last.debt_units, debt);
        let state = ReservationState::Committed { units: first + second };
        let again = parts.try_hold(b, HoldOp::Commit { units: 1 });
        assert_eq!(again, Err(OpError::ReservationClosed { state }), "one outcome, of all parts");
    }
}

fn every_small() -> impl Iterator<Item = (u64, u64, u64, u64)> {
    let small = |most| 1..=most;
    small(5).flat_map(move |included| {
        small(4).flat_map(move |held| {
            small(4)
                .flat_map(move |first| small(4).map(move |second| (included, held, first, second)))
        })
    })
}

#[test]
fn a_part_may_hold_the_rest_longer_and_never_shorter() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(8);
    let mut until = |units, hold_ms| {
        let op = HoldOp::CommitPart { units, hold_ms };
        world.try_hold(id, op).unwrap().amounts.expires_at.unwrap().0 - world.now
    };
    assert_eq!(until(1, None), HOUR_MS);
    assert_eq!(until(1, Some(1)), HOUR_MS);
    assert_eq!(until(1, Some(3 * HOUR_MS)), 3 * HOUR_MS);
    assert_eq!(world.counts(), (3, 5, 0));
}

#[test]
fn what_is_left_of_a_hold_is_released_or_runs_out() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let (first, second) = (world.reserve(4), world.reserve(4));
    part(&mut world, first, 1);
    part(&mut world, second, 3);
    assert_eq!(world.try_hold(first, HoldOp::Release).unwrap().amounts.units, 3);
    assert_eq!(world.counts(), (4, 1, 0));
    world.now += HOUR_MS;
    assert_eq!(world.consume(6).decision.verdict, Verdict::Allowed);
    assert_eq!(part(&mut world, second, 2), (2, 2, true), "a part after the end is booked");
    assert_eq!(world.counts(), (12, 0, 2));
    assert_eq!(world.commit(second, 1).amounts.debt_units, 1, "and so is the rest");
}

/// A known fault of others: the second half of a stream that cost more than was held is cut off.
#[test]
fn no_part_is_clamped_to_the_hold() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(2);
    assert_eq!(part(&mut world, id, 5), (3, 0, false));
    assert_eq!(part(&mut world, id, 4), (4, 0, false), "an empty hold is still open");
    assert_eq!(world.commit(id, 3).amounts.debt_units, 2);
    assert_eq!(world.counts(), (12, 0, 2));
}

#[test]
fn a_charge_counts_from_the_instant_of_the_end_in_the_window_of_admission() {
    let mut world =
        World::new(&[daily(10, Policy::Block).soft(&[5_000]), total(99, Policy::Block)]);
    world.now += 11 * HOUR_MS + HOUR_MS / 2;
    reserve_charging(&mut world, 6);
    let ends_at = world.now + HOUR_MS;
    assert_eq!(world.account.notice_at(), Millis(ends_at), "nobody has to ask");
    let admitted = world.state("daily").ledger.window;
    world.now += 3 * HOUR_MS;
    assert!(world.consume(10).decision.verdict.is_allowed(), "the next day is not charged");
    assert_eq!(world.account.notice_at(), Millis::FOREVER);
    let charged = world.account.ledgers().iter().find(|ledger| ledger.window == admitted).unwrap();
    assert_eq!((charged.used, charged.reserved, charged.debt), (6, 0, 0));
    let signals = all_signals(&world);
    assert_eq!(signals[0].name, SignalName::UsageCeiling);
    assert_eq!((signals[0].at, signals[0].current_units), (Millis(ends_at), 6));
    assert_eq!(world.state("total").ledger.used, 16);
}

#[test]
fn a_late_commit_corrects_a_charge_up_or_down() {
    // How much it was, what was booked afterwards, surplus, debt and what was used in the end.
    for (units, surplus, debt, used) in
        [(5, 0, 0, 5), (7, 2, 0, 7), (3, 0, 0, 3), (1, 0, 0, 1), (12, 7, 2, 12)]
    {
        let mut world = World::new(&[daily(10, Policy::Block)]);
        let id = reserve_charging(&mut world, 5);
        world.now += HOUR_MS;
        world.check(1);
        assert_eq!(world.counts(), (5, 0, 0));
        let amounts = world.commit(id, units).amounts;
        assert_eq!((amounts.units, amounts.late), (units, true));
        assert_eq!((amounts.surplus_units, amounts.debt_units), (surplus, debt), "{units}");
        assert_eq!(world.counts(), (used, 0, debt));
    }
}

#[test]
fn a_release_takes_a_charge_back_and_debt_that_was_none() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = reserve_charging(&mut world, 8);
    world.now += HOUR_MS;
    assert_eq!(world.record(5).amounts.debt_units, 3);
    let amounts = world.try_hold(id, HoldOp::Release).unwrap().amounts;
    assert_eq!((amounts.units, amounts.late), (8, true));
    assert_eq!(world.counts(), (5, 0, 0));
}

#[test]
fn parts_after_a_charge_are_a_part_of_it() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = reserve_charging(&mut world, 6);
    assert_eq!(part(&mut world, id, 2), (0, 0, false));
    world.now += HOUR_MS;
    world.check(1);
    assert_eq!(world.counts(), (6, 0, 0), "two booked, four charged");
    assert_eq!(part(&mut world, id, 3), (0, 0, true));
    assert_eq!(world.counts(), (6, 0, 0));
    assert_eq!(part(&mut world, id, 2), (1, 0, true));
    assert_eq!(world.counts(), (7, 0, 0));
    world.commit(id, 1);
    assert_eq!(world.counts(), (8, 0, 0));
}

#[test]
fn a_charge_that_nobody_corrects_stands() {
    let mut world = World::new(&[daily(10, Policy::Block), total(9, Policy::Block)]);
    let id = reserve_charging(&mut world, 6);
    world.now += HOUR_MS + RESERVATION_MEMORY_MS;
    assert_eq!(world.consume(4).decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(world.state("total").ledger.used, 6);
    assert_eq!(world.try_hold(id, HoldOp::Release), Err(OpError::UnknownReservation));
    world.now += 2 * DAY_MS;
    assert_eq!(world.consume(3).decision.verdict, Verdict::Allowed);
}

#[test]
fn charges_that_end_together_come_one_after_the_other() {
    let mut world = World::new(&[daily(10, Policy::Block).soft(&[5_000, 9_000])]);
    let last = reserve_charging(&mut world, 4);
    world.now -= 1;
    reserve_charging(&mut world, 5);
    world.now += 3 * HOUR_MS;
    world.check(1);
    assert_eq!(world.counts(), (9, 0, 0));
    let at: Vec<(Millis, u64)> =
        all_signals(&world).iter().map(|s| (s.at, s.current_units)).collect();
    let ended = world.account.reservations().unwrap().get(last).unwrap().expires_at;
    assert_eq!(at, [(Millis(ended.0 - 1), 5), (ended, 9)]);
}

#[test]
fn expired_reservations_are_bounded_and_none_is_lost() {
    let mut world = World::new(&[unlimited()]);
    let first = world.reserve(1);
    let kept = world.account.reservations().unwrap().get(first).unwrap().clone();
    for more in 1..EXPIRED_RESERVATIONS_MAX as u64 {
        let id = ReservationId(kept.id.0 + more);
        world.account.apply(&Effect::Reservation(Reservation { id, ..kept.clone() }));
    }
    world.set("daily", 0, EXPIRED_RESERVATIONS_MAX as u64);
    let mut ledger = world.state("daily").ledger;
    ledger.holds = EXPIRED_RESERVATIONS_MAX as u32;
    world.apply(&[Effect::Ledger(ledger)]);
    world.now += HOUR_MS;
    let one_more = FeatureOp::Reserve { units: 1, hold_ms: 1 };
    let full = OpError::TooManyExpired { expired: EXPIRED_RESERVATIONS_MAX };
    assert_eq!(world.try_ask("tokens", one_more), Err(full));
    assert_eq!(world.commit(first, 3).amounts.units, 3, "a commit after expiry is booked");
    assert!(world.try_ask("tokens", one_more).is_ok(), "and makes room");
}
