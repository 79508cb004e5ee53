//! Late events and corrections: where they are counted, and what becomes of debt.

use headroom_core::catalog::{FeatureIx, Policy};
use headroom_core::decide::{self, Booked, Context, FeatureOp, Past};
use headroom_core::effect::{Effect, Effects};
use headroom_core::event::{EventState, Restated};
use headroom_core::ledger::Ledger;
use headroom_core::time::{Millis, Window};

use crate::world::{DAY_MS, HOUR_MS, Limit, T0, World, daily, total};

fn context(world: &World) -> Context<'_> {
    Context { catalog: &world.catalog, now: Millis(world.now) }
}

fn tokens(world: &World) -> FeatureIx {
    world.catalog.feature_named("tokens").expect("a feature")
}

fn of(own: &[Restated]) -> Past<'_> {
    Past { own, ..Past::default() }
}

/// Records at an instant, and applies what that changes.
fn record(world: &mut World, at: i64, units: u64, past: &[Restated]) -> (Booked, Effects) {
    let mut effects = Effects::new();
    let (cx, feature) = (context(world), tokens(world));
    let booked = decide::record_at(
        cx,
        &world.account,
        (feature, None),
        (Millis(at), units),
        of(past),
        &mut effects,
    )
    .expect("it can be counted");
    effects.iter().for_each(|effect| world.account.apply(effect));
    (booked, effects)
}

fn correct(world: &mut World, event: &EventState, units: u64, past: &[Restated]) -> Effects {
    let mut effects = Effects::new();
    decide::correct(context(world), &world.account, (event, None), units, of(past), &mut effects)
        .expect("it can be corrected");
    effects.iter().for_each(|effect| world.account.apply(effect));
    effects
}

fn event(world: &World, units: u64, booked: &Booked) -> EventState {
    EventState {
        key: [1, 2],
        name: "e".to_owned(),
        feature: world.catalog.feature(tokens(world)).id,
        occurred_at: Millis(world.now),
        units,
        bookings: booked.bookings.clone(),
        labels: Default::default(),
        paid: booked.paid.clone(),
        subject: None,
    }
}

fn restated(effects: &Effects) -> Vec<(u64, u64)> {
    let of = |effect: &Effect| match effect {
        Effect::Restated(window) => Some((window.used, window.debt)),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

fn world(limits: &[Limit]) -> World {
    World::new(limits)
}

fn consume(world: &mut World, units: u64) {
    assert!(world.ask(FeatureOp::Consume { units }).decision.verdict.is_allowed());
}

#[test]
fn an_event_counts_in_the_window_of_its_time() {
    let mut world = world(&[daily(10, Policy::Block), total(1_000, Policy::Block)]);
    consume(&mut world, 1);
    let before = world.now;
    world.now += DAY_MS;
    consume(&mut world, 2);
    // Yesterday has left the memory; what is known of it comes from outside.
    let mut daily = world.account.ledgers().iter().filter(|l| !l.window.is_lifetime());
    let closed = Ledger { used: 1, ..*daily.next().expect("of today") };
    let day = Window::new(Millis(T0 - 12 * HOUR_MS), Millis(T0 + 12 * HOUR_MS)).expect("a day");
    let yesterday = Restated::as_closed(Ledger { window: day, ..closed }, None);
    let (booked, effects) = record(&mut world, before, 12, &[yesterday]);
    assert_eq!(restated(&effects), [(13, 3)], "3 above the 10 of the day");
    assert_eq!(booked.debt_units, 3);
    let flags: Vec<bool> = booked.bookings.iter().map(|booking| booking.restated).collect();
    assert_eq!(flags, [true, false], "the total never closes");
    let used: Vec<u64> = world.account.ledgers().iter().map(|ledger| ledger.used).collect();
    assert!(used.contains(&15) && used.contains(&2), "{used:?}");
}

#[test]
fn an_event_before_the_first_window_gets_one_that_does_not_overlap_it() {
    let mut world = world(&[daily(10, Policy::Block)]);
    consume(&mut world, 1);
    let start = world.account.ledgers()[0].window.start();
    let (booked, effects) = record(&mut world, T0 - 3 * DAY_MS, 4, &[]);
    assert_eq!(restated(&effects), [(4, 0)]);
    assert!(booked.bookings[0].window_start < start);
    assert_eq!(world.account.ledgers().len(), 1, "nothing comes into memory that is over");
}

#[test]
fn an_event_after_the_last_window_counts_as_if_it_had_come_in_time() {
    let mut world = world(&[daily(10, Policy::Block)]);
    consume(&mut world, 1);
    world.now += 5 * DAY_MS;
    let (booked, effects) = record(&mut world, T0 + 2 * DAY_MS, 4, &[]);
    assert_eq!(restated(&effects), []);
    assert!(!booked.bookings[0].restated);
    assert_eq!(world.account.ledgers().last().map(|ledger| ledger.used), Some(4));
}

/// Every small case against the rule in words: debt shrinks by no more than the units, not below what
/// is over the limit, and never below nothing; there is no debt without units.
#[test]
fn a_correction_frees_units_and_debt_goes_first() {
    for recorded in 0..=14 {
        for to in 0..=recorded {
            let mut world = world(&[daily(5, Policy::Block)]);
            consume(&mut world, 3);
            if recorded == 0 {
                continue;
            }
            let now = world.now;
            let (booked, _) = record(&mut world, now, recorded, &[]);
            let debt = (3 + recorded).saturating_sub(5).min(recorded);
            assert_eq!(world.account.ledgers()[0].debt, debt);
            let event = event(&world, recorded, &booked);
            let effects = correct(&mut world, &event, to, &[]);
            let ledger = world.account.ledgers()[0];
            assert_eq!((ledger.used, ledger.reserved), (3 + to, 0));
            assert_eq!(ledger.debt, (3 + to).saturating_sub(5), "{recorded} -> {to}");
            assert!(!effects.iter().any(|effect| matches!(effect, Effect::Signal(_))));
            let free = 5_u64.saturating_sub(3 + to);
            if free > 0 {
                consume(&mut world, free);
            }
        }
    }
}

#[test]
fn thresholds_that_were_told_are_not_told_again() {
    let mut world = world(&[daily(10, Policy::Block).soft(&[5_000])]);
    let now = world.now;
    let (booked, effects) = record(&mut world, now, 9, &[]);
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Signal(_))).count(), 1);
    let mut event = event(&world, 9, &booked);
    for (units, signals) in [(1, 0), (9, 0), (9, 0), (0, 0), (8, 0)] {
        let effects = correct(&mut world, &event, units, &[]);
        event.units = units;
        let told = effects.iter().filter(|e| matches!(e, Effect::Signal(_))).count();
        assert_eq!(told, signals, "{units}");
    }
}
