//! Aggregations: what a quota makes of the units of its uses, and what its limit says to them.

use std::collections::{BTreeMap, BTreeSet};

use headroom_core::catalog::{Aggregation, CatalogSpec, Policy};
use headroom_core::decide::{self, Booked, Context, FeatureOp, Past, ValueOp};
use headroom_core::decision::{Denial, OpError, Verdict};
use headroom_core::effect::{Effect, Effects};
use headroom_core::event::{EventState, Restated};
use headroom_core::ledger::Ledger;
use headroom_core::limits::DISTINCT_EXACT_MAX;
use headroom_core::measure::{Known, Measure, SUBJECT_REGISTERS, Values};
use headroom_core::signal::{SignalName, SignalSwitches};
use headroom_core::subject::SubjectId;
use headroom_core::time::Millis;

use crate::world::{DAY_MS, Dice, HOUR_MS, Limit, World, daily, spec, total};

fn measured(aggregation: Aggregation, limits: &[Limit]) -> CatalogSpec {
    let mut spec = spec(limits, SignalSwitches::default());
    spec.features[0].counting.aggregation = aggregation;
    if aggregation == Aggregation::Unique {
        spec.features[0].counting.unique_by = Some("device".to_owned());
    }
    spec
}

fn world(aggregation: Aggregation, limits: &[Limit]) -> World {
    World::of(measured(aggregation, limits))
}

fn verdict(world: &mut World, units: u64) -> Verdict {
    world.consume(units).decision.verdict
}

fn record_at(world: &mut World, at: i64, units: u64) -> Effects {
    let mut effects = Effects::new();
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let feature = world.catalog.feature_named("tokens").unwrap();
    let at = (Millis(at), units);
    decide::record_at(cx, &world.account, (feature, None), at, Past::default(), &mut effects)
        .unwrap();
    world.apply(&effects);
    effects
}

#[test]
fn a_count_takes_every_use_for_one() {
    let mut world = world(Aggregation::Count, &[daily(3, Policy::Block)]);
    assert_eq!(world.consume(1_000_000).amounts.units, 1);
    world.record(7);
    assert_eq!(world.check(5).decision.verdict, Verdict::Allowed);
    assert_eq!(verdict(&mut world, 9), Verdict::Allowed);
    assert_eq!(world.counts(), (3, 0, 0));
    assert_eq!(verdict(&mut world, 1), Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(world.record(40).amounts.debt_units, 1);
    assert_eq!(world.counts(), (4, 0, 1));
    record_at(&mut world, 0, 50);
    assert_eq!(world.counts(), (4, 0, 1), "another day");
}

#[test]
fn nothing_is_held_of_what_is_known_at_once() {
    for aggregation in Aggregation::ALL.into_iter().filter(|known| *known != Aggregation::Sum) {
        let word = aggregation.as_str();
        let mut world = world(aggregation, &[daily(3, Policy::Block)]);
        for op in [
            FeatureOp::Reserve { units: 1, hold_ms: HOUR_MS },
            FeatureOp::ReserveCharging { units: 1, hold_ms: HOUR_MS },
        ] {
            let expected = OpError::NothingToHold { aggregation: word };
            assert_eq!(world.try_ask("tokens", op).unwrap_err(), expected);
        }
    }
}

#[test]
fn a_maximum_is_the_largest_value_and_its_limit_is_of_the_value() {
    let mut world = world(Aggregation::Max, &[daily(10, Policy::Block), total(8, Policy::Block)]);
    assert_eq!(verdict(&mut world, 5), Verdict::Allowed);
    assert_eq!(verdict(&mut world, 3), Verdict::Allowed);
    assert_eq!(world.counts(), (5, 0, 0));
    assert!(!world.last.iter().any(|effect| matches!(effect, Effect::Ledger(_))));
    assert_eq!(verdict(&mut world, 8), Verdict::Allowed);
    assert_eq!(verdict(&mut world, 8), Verdict::Allowed, "as large as before is no more");
    let refused = world.consume(9);
    assert_eq!(refused.decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(refused.decision.retry_after_ms, None, "time makes no value smaller");
    assert_eq!(world.check(9).decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(world.counts(), (8, 0, 0));
    world.now += DAY_MS;
    assert_eq!(verdict(&mut world, 2), Verdict::Allowed);
    assert_eq!(world.counts(), (2, 0, 0), "a window begins at nothing");
    assert_eq!(world.state("total").ledger.used, 8);
}

#[test]
fn a_value_uses_nothing_up_and_what_is_left_is_the_limit() {
    for aggregation in [Aggregation::Max, Aggregation::Latest] {
        let limits = [daily(100, Policy::Block), total(200, Policy::Grace { grace_bp: 1_000 })];
        let mut world = world(aggregation, &limits);
        for (value, also) in [(95, 100), (0, 100), (100, 100)] {
            assert!(value == 0 || verdict(&mut world, value).is_allowed());
            let left = |state: &headroom_core::decision::LimitState| {
                (state.settled_units_remaining(), state.drawable_units_remaining())
            };
            assert_eq!(left(&world.state("daily")), (Some(100), Some(100)), "{value}");
            assert_eq!(left(&world.state("total")), (Some(200), Some(220)), "{value}");
            let refused = world.check(101).decision.binding.unwrap();
            assert_eq!(left(&refused), (Some(100), Some(100)), "{value}");
            assert!(world.check(also).decision.verdict.is_allowed(), "what is told is so");
        }
    }
}

#[test]
fn of_limits_of_values_the_lowest_binds_whatever_there_was() {
    let mut world =
        world(Aggregation::Max, &[total(150, Policy::Block), daily(100, Policy::Block)]);
    verdict(&mut world, 90);
    world.now += DAY_MS;
    // The day has had nothing, and allows less all the same.
    let binding = world.check(1).decision.binding.unwrap().ledger.limit;
    assert_eq!(world.catalog.text(binding), "daily");
}

#[test]
fn a_value_that_there_was_is_kept_and_what_is_above_is_debt() {
    let mut world = world(Aggregation::Max, &[daily(10, Policy::Block)]);
    assert_eq!(world.record(12).amounts.debt_units, 2);
    assert_eq!(world.record(15).amounts.debt_units, 3);
    assert_eq!(world.record(14).amounts.debt_units, 0);
    assert_eq!(world.counts(), (15, 0, 5));
    // What is above the limit is refused, also where something above it was recorded.
    assert_eq!(verdict(&mut world, 11), Verdict::Denied(Denial::QuotaExhausted));
    assert!(verdict(&mut world, 10).is_allowed());
    assert_eq!(world.counts(), (15, 0, 5));
}

#[test]
fn thresholds_and_overage_of_a_maximum_are_told_once() {
    let mut world = world(Aggregation::Max, &[daily(10, Policy::Overage).soft(&[5_000])]);
    assert_eq!(verdict(&mut world, 5), Verdict::SoftLimit);
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![5_000])]);
    assert_eq!(verdict(&mut world, 5), Verdict::SoftLimit);
    assert_eq!(world.told(), []);
    assert_eq!(verdict(&mut world, 14), Verdict::Overage);
    assert_eq!(world.state("daily").overage_units(), 4);
}

#[test]
fn a_late_value_counts_in_its_window_and_none_is_taken_out() {
    let mut world = world(Aggregation::Max, &[daily(10, Policy::Block)]);
    world.consume(4);
    let now = world.now;
    record_at(&mut world, now - 1, 3);
    assert_eq!(world.counts(), (4, 0, 0));
    record_at(&mut world, now - 1, 12);
    assert_eq!(world.counts(), (12, 0, 2));
    let event = EventState {
        key: [1, 2],
        name: "e".to_owned(),
        feature: world.id("tokens"),
        occurred_at: Millis(now - 1),
        units: 12,
        bookings: Default::default(),
        labels: Default::default(),
        paid: None,
        subject: None,
    };
    let cx = Context { catalog: &world.catalog, now: Millis(now) };
    let corrected = decide::correct(
        cx,
        &world.account,
        (&event, None),
        0,
        Past::default(),
        &mut Effects::new(),
    );
    assert_eq!(corrected, Err(OpError::NotCorrectable { aggregation: "max" }));
}

/// Whatever comes, the ledger is the largest value that was admitted or recorded.
#[test]
fn a_maximum_is_that_of_all_values() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut world = world(Aggregation::Max, &[total(20, Policy::Block)]);
        let (mut largest, mut admitted) = (0, 0);
        for _ in 0..30 {
            let value = 1 + dice.below(30);
            if dice.below(3) == 0 {
                world.record(value);
                largest = largest.max(value);
            } else if verdict(&mut world, value).is_allowed() {
                admitted = admitted.max(value);
                largest = largest.max(value);
            } else {
                assert!(value > 20, "seed {seed}: {value} was refused");
            }
        }
        assert!(admitted <= 20, "seed {seed}");
        let ledger = world.state("total").ledger;
        assert_eq!(ledger.used, largest, "seed {seed}");
        assert_eq!(ledger.debt, largest.saturating_sub(20), "seed {seed}");
    }
}

#[test]
fn the_latest_value_counts_and_its_limit_is_of_the_value() {
    let mut world = world(Aggregation::Latest, &[daily(10, Policy::Block).soft(&[8_000])]);
    assert_eq!(verdict(&mut world, 9), Verdict::SoftLimit);
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![8_000])]);
    assert_eq!(verdict(&mut world, 7), Verdict::Allowed, "it goes down");
    assert_eq!(verdict(&mut world, 9), Verdict::SoftLimit);
    assert_eq!(world.told(), [], "to and fro about a threshold is told once");
    assert_eq!(verdict(&mut world, 2), Verdict::Allowed);
    assert_eq!(verdict(&mut world, 8), Verdict::SoftLimit);
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![8_000])], "armed again");
    let refused = world.consume(11);
    assert_eq!(refused.decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(refused.decision.retry_after_ms, None);
    assert_eq!(world.counts(), (8, 0, 0));
    assert_eq!(world.record(13).amounts.debt_units, 3);
    assert_eq!(world.counts(), (13, 0, 3));
    assert_eq!(verdict(&mut world, 4), Verdict::Allowed, "what is less is allowed");
    assert_eq!(world.counts(), (4, 0, 0), "and its debt has gone");
    world.now += DAY_MS;
    assert_eq!(world.state("daily").ledger.used, 0, "a window begins at nothing");
}

#[test]
fn an_older_value_that_comes_late_changes_nothing() {
    let mut world = world(Aggregation::Latest, &[daily(10, Policy::Block)]);
    let begin = world.now;
    world.now = begin + 2 * HOUR_MS;
    world.record(5);
    assert_eq!(record_at(&mut world, begin + HOUR_MS, 9), []);
    assert_eq!(world.counts(), (5, 0, 0));
    world.now = begin + 4 * HOUR_MS;
    record_at(&mut world, begin + 3 * HOUR_MS, 12);
    assert_eq!(world.counts(), (12, 0, 2), "newer than what counted");
    record_at(&mut world, begin + 2 * HOUR_MS, 1);
    assert_eq!(world.counts(), (12, 0, 2), "older than what counts now");
    record_at(&mut world, begin + 3 * HOUR_MS, 6);
    assert_eq!(world.counts(), (6, 0, 0), "of the same instant what came last");
}

/// What a store keeps of windows that have left the memory.
#[derive(Default)]
struct Shelf {
    past: Vec<Restated>,
    measures: Vec<(Option<SubjectId>, Measure)>,
}

impl Shelf {
    fn note(&mut self, effects: &[Effect]) {
        let of = |l: &Ledger| (l.limit, l.window);
        for effect in effects {
            let closed = match effect {
                Effect::LedgerClosed(ledger, _) => Restated::as_closed(*ledger, None),
                Effect::Restated(restated) => **restated,
                Effect::MeasureClosed(kept) => {
                    let Measure { limit, window_start, .. } = kept.measure;
                    let is_it = |m: &Measure| (m.limit, m.window_start) == (limit, window_start);
                    self.measures.retain(|(_, known)| !is_it(known));
                    self.measures.push((None, kept.measure.clone()));
                    continue;
                }
                _ => continue,
            };
            self.past.retain(|known| of(&known.closed) != of(&closed.closed));
            self.past.push(closed);
        }
    }

    fn late(
        &mut self,
        world: &mut World,
        (at, units): (i64, u64),
    ) -> Result<(Booked, Effects), OpError> {
        let mut effects = Effects::new();
        let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
        let feature = world.catalog.feature_named("tokens").unwrap();
        let past = Past { own: &self.past, measures: &self.measures, ..Past::default() };
        let (of, at) = ((feature, None), (Millis(at), units));
        let booked = decide::record_at(cx, &world.account, of, at, past, &mut effects)?;
        world.apply(&effects);
        self.note(&effects);
        Ok((booked, effects))
    }

    fn window(&self, start: i64) -> (u64, u64, u64) {
        let is_it = |r: &&Restated| r.closed.window.contains(Millis(start));
        let found = self.past.iter().find(is_it).expect("a window");
        (found.used, found.debt, found.closed.used)
    }
}

/// Late values of windows that are over come to what they would have come to in time, whatever their order;
/// the trail is the difference.
#[test]
fn a_late_value_counts_in_a_window_that_is_over_as_if_it_had_come_in_time() {
    for (seed, aggregation) in (0..300).flat_map(|seed| {
        [Aggregation::Max, Aggregation::Latest, Aggregation::Unique].map(|one| (seed, one))
    }) {
        let (mut dice, mut shelf) = (Dice(seed), Shelf::default());
        let mut world = world(aggregation, &[daily(6, Policy::Overage)]);
        let begin = world.now - world.now % DAY_MS;
        // Values by their instants; of one instant the last one that came.
        let mut told: Vec<(i64, u64)> = Vec::new();
        let is_unique = aggregation == Aggregation::Unique;
        let value = |dice: &mut Dice| {
            // A largest value of nothing begins no window.
            let number = u64::from(aggregation == Aggregation::Max) + dice.below(9);
            if is_unique { Dice(number).below(u64::MAX) } else { number }
        };
        // The first day may have no window of its own.
        for day in i64::from(dice.below(2) == 0)..3 {
            for _ in 0..dice.below(5) {
                world.now = world.now.max(begin + day * DAY_MS) + HOUR_MS;
                let value = value(&mut dice);
                let op = match is_unique {
                    true => FeatureOp::Value { hash: value, does: ValueOp::Record },
                    false => FeatureOp::Record { units: value },
                };
                world.ask(op);
                shelf.note(&world.last);
                told.push((world.now, value));
            }
        }
        world.now = begin + 3 * DAY_MS;
        let last = FeatureOp::Value { hash: 1, does: ValueOp::Record };
        world.ask(if is_unique { last } else { FeatureOp::Record { units: 1 } });
        shelf.note(&world.last);
        let mut trail: BTreeMap<i64, i64> = BTreeMap::new();
        for _ in 0..12 {
            let at = begin + i64::try_from(dice.below(3 * 24)).unwrap() * HOUR_MS;
            let value = value(&mut dice);
            let (booked, _) = shelf.late(&mut world, (at, value)).unwrap();
            told.push((at, value));
            let booking = booked.bookings[0];
            assert!(booking.restated, "seed {seed}");
            let counts = booking.counts.expect("what was changed");
            *trail.entry(booking.window_start.0).or_default() +=
                counts.after.cast_signed() - counts.before.cast_signed();
        }
        for (start, more) in trail {
            let day: Vec<(i64, u64)> = told
                .iter()
                .filter(|(at, _)| (start..start + DAY_MS).contains(at))
                .copied()
                .collect();
            let used = match aggregation {
                Aggregation::Max => day.iter().map(|(_, value)| *value).max().unwrap(),
                Aggregation::Unique => {
                    day.iter().map(|(_, v)| *v).collect::<BTreeSet<u64>>().len() as u64
                }
                // `max_by_key` takes the last one of those that are alike.
                _ => day.iter().max_by_key(|(at, _)| *at).unwrap().1,
            };
            let (total, _, at_close) = shelf.window(start);
            assert_eq!(total, used, "seed {seed}, {aggregation:?}, from {start}: {day:?}");
            assert_eq!(at_close.cast_signed() + more, used.cast_signed(), "seed {seed}");
        }
    }
}

#[test]
fn what_a_late_value_leaves_above_the_limit_is_debt_of_its_window() {
    let mut shelf = Shelf::default();
    let mut world = world(Aggregation::Latest, &[daily(10, Policy::Block)]);
    let yesterday = world.now;
    use_one(&mut world, 4);
    world.now += DAY_MS;
    use_one(&mut world, 1);
    shelf.note(&world.last);
    let late = |shelf: &mut Shelf, world: &mut World, at, units| {
        let (booked, effects) = shelf.late(world, (at, units)).unwrap();
        (booked.debt_units, effects.len(), shelf.window(yesterday))
    };
    assert_eq!(late(&mut shelf, &mut world, yesterday + 2, 13), (3, 2, (13, 3, 4)));
    assert_eq!(late(&mut shelf, &mut world, yesterday + 1, 99), (0, 0, (13, 3, 4)), "it is older");
    assert_eq!(late(&mut shelf, &mut world, yesterday + 3, 9), (0, 2, (9, 0, 4)), "debt goes, too");
    assert_eq!(world.counts(), (1, 0, 0), "the day of now has not heard of it");
}

#[test]
fn a_subject_is_closed_with_its_values_and_more_of_them_are_a_small_sketch() {
    let values = Values::one(7);
    let mut own = Known::Values(values.clone());
    let mut subjects = Known::Values(values);
    let mut dice = Dice(5);
    for _ in 0..200 {
        let hash = dice.below(u64::MAX);
        let with = |known: &Known, of_subject| match known {
            Known::Values(values) => Known::Values(values.with(hash, of_subject)),
            Known::LatestAt(_) => unreachable!(),
        };
        (own, subjects) = (with(&own, false), with(&subjects, true));
    }
    assert!(matches!(own, Known::Values(Values::Exact(all)) if all.len() == 201));
    let Known::Values(Values::Sketch(sketch)) = subjects else { panic!("it is no sketch") };
    assert_eq!(sketch.parts().0.len(), SUBJECT_REGISTERS);
}

#[test]
fn a_window_that_was_closed_without_its_values_takes_no_late_one() {
    for aggregation in [Aggregation::Latest, Aggregation::Unique] {
        let mut shelf = Shelf::default();
        let mut world = world(aggregation, &[daily(10, Policy::Block)]);
        let yesterday = world.now;
        use_one(&mut world, 1);
        world.now += DAY_MS;
        use_one(&mut world, 1);
        shelf.note(&world.last);
        // As an earlier version left it.
        shelf.measures.clear();
        let expected = OpError::WindowIsOver { aggregation: aggregation.as_str() };
        let late = shelf.late(&mut world, (yesterday, 1));
        assert_eq!(late.unwrap_err(), expected);
        let before = yesterday - DAY_MS;
        shelf.late(&mut world, (before, 1)).expect("there was no window that could know less");
        assert_eq!(shelf.window(before), (1, 0, 0));
    }
}

/// A refusal may begin a window: that nothing came to it is known.
#[test]
fn a_window_of_nothing_but_a_refusal_takes_late_values() {
    for aggregation in [Aggregation::Latest, Aggregation::Unique] {
        let mut shelf = Shelf::default();
        let mut world = world(aggregation, &[daily(0, Policy::Block)]);
        let yesterday = world.now;
        assert!(!use_one(&mut world, 5).is_allowed());
        world.now += DAY_MS;
        assert!(!use_one(&mut world, 5).is_allowed());
        shelf.note(&world.last);
        assert_eq!(shelf.past.len(), 1, "{:?}", world.last);
        shelf.late(&mut world, (yesterday, 3)).unwrap();
        let used = if aggregation == Aggregation::Latest { 3 } else { 1 };
        assert_eq!(shelf.window(yesterday), (used, used, 0));
    }
}

/// Uses a value of either aggregation.
fn use_one(world: &mut World, number: u64) -> Verdict {
    let is_unique =
        world.catalog.feature(world.catalog.feature_named("tokens").unwrap()).unique_by();
    match is_unique {
        Some(_) => value(world, number, ValueOp::Consume).0,
        None => verdict(world, number),
    }
}

fn value(world: &mut World, number: u64, does: ValueOp) -> (Verdict, u64) {
    // Mixed, as hashes are.
    let hash = Dice(number).below(u64::MAX);
    let outcome = world.ask(FeatureOp::Value { hash, does });
    (outcome.decision.verdict, outcome.amounts.debt_units)
}

#[test]
fn different_values_count_once_each() {
    use ValueOp::{Check, Consume, Record};
    let full = Verdict::Denied(Denial::QuotaExhausted);
    let mut world = world(Aggregation::Unique, &[daily(3, Policy::Block), total(4, Policy::Block)]);
    for number in [1, 2, 1, 3, 2, 1] {
        assert!(value(&mut world, number, Consume).0.is_allowed());
    }
    assert_eq!(world.counts(), (3, 0, 0));
    assert_eq!(value(&mut world, 4, Consume).0, full);
    assert_eq!(value(&mut world, 4, Check { attempt: false }).0, full);
    assert_eq!(value(&mut world, 2, Check { attempt: false }).0, Verdict::Allowed, "it is known");
    assert_eq!(value(&mut world, 2, Consume).0, Verdict::Allowed);
    assert_eq!(world.check(1).decision.verdict, full, "for any that is new there is no room");
    let refused = world.ask(FeatureOp::Value { hash: 7, does: Consume });
    assert_eq!(refused.decision.retry_after_ms, Some(DAY_MS / 2), "a new day has room");
    assert_eq!(value(&mut world, 4, Record), (Verdict::Unbacked, 1), "what happened counts");
    assert_eq!(world.counts(), (4, 0, 1));
    assert_eq!(value(&mut world, 4, Record), (Verdict::Unbacked, 0), "once");
    world.now += DAY_MS;
    assert!(value(&mut world, 1, Consume).0.is_allowed());
    assert_eq!(world.counts(), (1, 0, 0), "a new day knows nobody");
    assert_eq!(world.state("total").ledger.used, 4, "the total does");
    assert_eq!(value(&mut world, 9, Consume).0, full);
    let plain = world.try_ask("tokens", FeatureOp::Consume { units: 1 });
    assert_eq!(plain.unwrap_err(), OpError::NoValue);
}

#[test]
fn what_is_known_of_a_window_leaves_with_it_and_comes_back_from_a_snapshot() {
    for aggregation in [Aggregation::Latest, Aggregation::Unique] {
        let mut world = world(aggregation, &[daily(10, Policy::Block)]);
        let measures = |world: &World| {
            let kept = world.account.further();
            kept.into_iter().filter(|e| matches!(e, Effect::Measured(_))).collect::<Vec<_>>()
        };
        use_one(&mut world, 1);
        use_one(&mut world, 2);
        let kept = measures(&world);
        assert_eq!(kept.len(), 1);
        let mut again = world.account.clone();
        kept.iter().for_each(|effect| again.apply(effect));
        assert_eq!(again, world.account, "applying one again changes nothing");
        world.now += DAY_MS;
        use_one(&mut world, 1);
        assert_eq!(measures(&world).len(), 1, "of the window before nothing is left");
    }
}

/// Up to the bound each count is exact; beyond it nearly all are within three standard errors, and on
/// average they are right.
#[test]
fn many_different_values_are_counted_with_the_error_that_is_promised() {
    let (mut worst, mut sum, seeds) = (0.0_f64, 0.0_f64, 40);
    for seed in 0..seeds {
        let mut dice = Dice(seed);
        let mut values = Values::one(dice.below(u64::MAX));
        let mut counted = 1;
        for number in 2..=60_000_u64 {
            let value = dice.below(u64::MAX);
            let rise = values.rise(Some(value));
            values.add(value);
            counted += rise;
            assert_eq!(values.rise(Some(value)), 0, "seed {seed}: it is known now");
            if number <= DISTINCT_EXACT_MAX as u64 {
                assert_eq!(counted, number, "seed {seed}");
            }
            if number == DISTINCT_EXACT_MAX as u64 + 1 {
                assert!(matches!(values, Values::Sketch(_)), "seed {seed}");
            }
        }
        let Values::Sketch(sketch) = &values else { panic!("seed {seed}") };
        assert_eq!(sketch.parts().1, counted, "seed {seed}: the counter is that of the sketch");
        let error = counted as f64 / 60_000.0 - 1.0;
        worst = worst.max(error.abs());
        sum += error;
    }
    assert!(worst < 0.039, "the worst of {seeds} is off by {worst}");
    let mean = sum / seeds as f64;
    assert!(mean.abs() < 0.007, "all of {seeds} together are off by {mean}");
}

#[test]
fn a_limit_of_many_different_values_is_never_counted_past() {
    let mut world = world(Aggregation::Unique, &[total(3_000, Policy::Block)]);
    let mut admitted = 0;
    for number in 0..6_000 {
        admitted += u32::from(value(&mut world, number, ValueOp::Consume).0.is_allowed());
        assert!(world.state("total").ledger.used <= 3_000);
    }
    assert!((2_850..=4_200).contains(&admitted), "{admitted} were admitted");
    assert!(world.state("total").ledger.used > 2_990);
}
