//! Sliding windows: the last so many hours, never counted short.

use std::collections::BTreeMap;

use headroom_core::catalog::Policy;
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, LimitState, Outcome, Verdict, WindowPhase};
use headroom_core::limits::SLIDING_BUCKETS;
use headroom_core::reservation::ReservationId;
use headroom_core::signal::SignalName;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};

use crate::world::{DAY_MS, Dice, HOUR_MS, Limit, T0, World, daily};

const MINUTE_MS: i64 = 60_000;

fn hours(count: u16) -> WindowRule {
    WindowRule::Sliding(Every { count, unit: SpanUnit::Hour })
}

/// A limit over the last 24 hours, in buckets of an hour. `T0` is the start of one.
fn last_day(included: u64) -> Limit {
    Limit { window: hours(24), ..daily(included, Policy::Block) }
}

fn world(included: u64) -> World {
    World::new(&[last_day(included)])
}

fn binding(outcome: &Outcome) -> &LimitState {
    outcome.decision.binding.as_ref().unwrap()
}

fn is_admitted(outcome: &Outcome) -> bool {
    outcome.decision.verdict.is_allowed()
}

#[test]
fn what_is_used_counts_until_the_window_has_wholly_passed_its_bucket() {
    let mut world = world(10);
    world.now += 20 * MINUTE_MS;
    world.consume(10);
    // 24 hours after the use itself nothing is free yet: the bucket ends 40 minutes later.
    for after in [1, 12 * HOUR_MS, DAY_MS, DAY_MS + 40 * MINUTE_MS - 1] {
        world.now = T0 + 20 * MINUTE_MS + after;
        assert_eq!(world.state("daily").drawable_units_remaining(), Some(0), "{after}");
    }
    world.now += 1;
    assert_eq!(world.state("daily").drawable_units_remaining(), Some(10));
}

#[test]
fn usage_is_the_sum_of_the_buckets_and_they_leave_one_by_one() {
    let mut world = world(100);
    for hour in 0..24 {
        assert_eq!(binding(&world.consume(1)).ledger.used, hour + 1);
        world.now += HOUR_MS;
    }
    // The window of now has 25 buckets: the one being left is one of them.
    assert_eq!(binding(&world.consume(1)).ledger.used, 25);
    for hour in 1..=24_u64 {
        world.now += HOUR_MS;
        assert_eq!(world.state("daily").ledger.used, 25 - hour);
    }
}

#[test]
fn the_answer_shows_the_span_it_counts_and_when_units_come_free() {
    let mut world = world(10);
    let empty = world.state("daily");
    assert_eq!((empty.phase, empty.frees_at()), (WindowPhase::Sliding, Millis::FOREVER));
    world.consume(3);
    world.now += 5 * HOUR_MS + 1;
    let outcome = world.consume(2);
    let state = binding(&outcome);
    assert_eq!(state.phase, WindowPhase::Sliding);
    assert_eq!(state.ledger.window.start().0, T0 + 5 * HOUR_MS - DAY_MS);
    assert_eq!(state.ledger.window.end().0, T0 + 6 * HOUR_MS);
    assert_eq!(state.frees_at().0, T0 + 25 * HOUR_MS, "the first three leave first");
    world.now = T0 + 25 * HOUR_MS;
    assert_eq!(world.state("daily").frees_at().0, T0 + 30 * HOUR_MS);
}

#[test]
fn a_refusal_says_when_enough_comes_free_and_not_before_is_there_enough() {
    let mut world = world(10);
    for units in [3, 4, 3] {
        world.consume(units);
        world.now += 2 * HOUR_MS;
    }
    for (units, leaves_at) in [(1, 25), (3, 25), (4, 27), (7, 27), (8, 29), (10, 29)] {
        let refused = world.consume(units).decision;
        assert_eq!(refused.verdict, Verdict::Denied(Denial::QuotaExhausted));
        let wait_ms = refused.retry_after_ms.unwrap();
        assert_eq!(world.now + wait_ms, T0 + leaves_at * HOUR_MS, "{units} units");
        let mut later = World { account: world.account.clone(), ..self::world(10) };
        later.now = world.now + wait_ms - 1;
        assert!(!is_admitted(&later.check(units)));
        later.now += 1;
        assert!(is_admitted(&later.check(units)));
    }
    let never = world.consume(11).decision;
    assert_eq!(never.retry_after_ms, None, "no waiting makes the limit larger");
}

#[test]
fn a_reservation_and_its_commit_count_from_the_admission() {
    let mut world = world(10);
    let reserved = world.ask(FeatureOp::Reserve { units: 6, hold_ms: 7 * DAY_MS });
    let id = reserved.amounts.reservation.unwrap();
    world.now += 3 * HOUR_MS;
    assert_eq!(world.state("daily").ledger.reserved, 6);
    let outcome = world.commit(id, 8);
    assert_eq!((outcome.amounts.surplus_units, outcome.amounts.debt_units), (2, 0));
    assert_eq!(binding(&outcome).ledger.used, 8);
    world.now = T0 + 25 * HOUR_MS - 1;
    assert_eq!(world.state("daily").ledger.used, 8);
    world.now += 1;
    assert_eq!(world.state("daily").ledger.used, 0);
}

#[test]
fn a_commit_after_the_window_has_passed_its_admission_is_booked_and_nobody_is_told() {
    let mut world = world(10);
    let reserved = world.ask(FeatureOp::Reserve { units: 10, hold_ms: 7 * DAY_MS });
    let id = reserved.amounts.reservation.unwrap();
    world.now += 26 * HOUR_MS;
    world.consume(4);
    let outcome = world.commit(id, 12);
    assert_eq!(world.signals(), Vec::<&headroom_core::signal::Signal>::new());
    assert_eq!((outcome.amounts.units, outcome.amounts.debt_units), (12, 2));
    assert_eq!(binding(&outcome).ledger.used, 12, "the answer is about the hour of the hold");
    assert_eq!(world.state("daily").ledger.used, 4, "the last day has only what is of it");
    assert_eq!(world.closed().iter().map(|bucket| bucket.used).sum::<u64>(), 12);
}

#[test]
fn an_extension_by_more_units_counts_from_the_extension() {
    let mut world = world(10);
    let reserved = world.ask(FeatureOp::Reserve { units: 4, hold_ms: 7 * DAY_MS });
    let id = reserved.amounts.reservation.unwrap();
    world.now += 20 * HOUR_MS;
    let more = |units| HoldOp::Extend { hold_ms: None, additional_units: units };
    assert!(!is_admitted(&world.try_hold(id, more(7)).unwrap()));
    assert!(is_admitted(&world.try_hold(id, more(6)).unwrap()));
    // The hold has moved to the hour of the extension, or its new units would leave in 5 hours.
    world.now = T0 + 44 * HOUR_MS;
    assert_eq!(world.state("daily").ledger.reserved, 10);
    assert!(!is_admitted(&world.check(1)));
    world.now = T0 + 45 * HOUR_MS;
    assert_eq!(world.state("daily").ledger.reserved, 0);
    // The window has passed it: what it holds is weighed again, together with what it wants.
    world.consume(5);
    assert!(!is_admitted(&world.try_hold(id, more(1)).unwrap()));
    let outcome = world.commit(id, 10);
    assert_eq!((outcome.amounts.units, outcome.amounts.late), (10, false));
    assert_eq!(world.state("daily").ledger.used, 5);
}

/// The hours at which a threshold is told when each hour has so many units.
fn told_at(included: u64, bp: u32, units: impl Iterator<Item = u64>) -> Vec<i64> {
    let mut world = World::new(&[last_day(included).soft(&[8_000])]);
    let mut told = Vec::new();
    for (hour, units) in (0..).zip(units) {
        if units > 0 {
            world.consume(units);
            told.extend(
                world.told().iter().filter(|(_, crossed)| crossed.contains(&bp)).map(|_| hour),
            );
        }
        world.now += HOUR_MS;
    }
    told
}

#[test]
fn a_threshold_is_told_once_per_excursion_and_not_once_per_bucket() {
    // Each hour two units leave and two come: the limit is left and reached again every hour.
    let steady = || std::iter::repeat_n(2, 240);
    assert_eq!(told_at(50, 10_000, steady()), [24]);
    assert_eq!(told_at(50, 8_000, steady()), [19]);
    for seed in 0..50 {
        let mut dice = Dice(seed);
        let told = told_at(50, 8_000, (0..500).map(|_| dice.below(4)));
        let often_enough = told.windows(2).all(|pair| pair[1] - pair[0] >= 24);
        assert!(often_enough && !told.is_empty(), "seed {seed}: {told:?}");
    }
    // A burst a week is an excursion a week.
    let bursts = (0..4 * 168).map(|hour| if hour % 168 == 5 { 45 } else { 0 });
    assert_eq!(told_at(50, 8_000, bursts), [5, 173, 341, 509]);
}

#[test]
fn a_threshold_is_armed_again_when_the_window_has_left_all_that_passed_it() {
    let mut world = World::new(&[last_day(10).soft(&[5_000])]);
    let crossed = vec![(SignalName::UsageCeiling, vec![5_000])];
    world.consume(6);
    assert_eq!(world.told(), crossed);
    // Below, then above again while the first time is still in the window: nothing is new.
    world.now = T0 + 23 * HOUR_MS;
    world.consume(3);
    assert_eq!(world.told(), []);
    world.now = T0 + 26 * HOUR_MS;
    world.consume(2);
    assert_eq!((world.state("daily").ledger.used, world.told()), (5, vec![]));
    // All of it has left; the next time is another excursion.
    world.now = T0 + 26 * HOUR_MS + 25 * HOUR_MS;
    world.consume(5);
    assert_eq!(world.told(), crossed);
}

#[test]
fn a_refusal_is_told_once_per_length_of_the_window() {
    let mut world = world(10);
    world.consume(10);
    let mut hits = Vec::new();
    for hour in 0..100 {
        world.consume(9);
        hits.extend(
            world.told().iter().filter(|(n, _)| *n == SignalName::FeatureLimitHit).map(|_| hour),
        );
        world.now += HOUR_MS;
    }
    let apart: Vec<i64> = hits.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(hits.len() >= 3 && apart.iter().all(|hours| *hours >= 25), "{hits:?}");
}

#[test]
fn a_changed_limit_is_told_anew_over_all_buckets() {
    let mut world = World::new(&[last_day(10).soft(&[5_000])]);
    world.consume(5);
    world.now += 2 * HOUR_MS;
    world.change_limits(&[last_day(12).soft(&[5_000])]);
    world.consume(1);
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![5_000])]);
    assert_eq!(world.signals()[0].limit_revision, 2);
    world.now += 2 * HOUR_MS;
    world.consume(1);
    assert_eq!(world.told(), []);
    assert_eq!(world.state("daily").ledger.limit_revision, 2);
}

#[test]
fn memory_is_bounded_and_what_has_left_is_in_the_history() {
    let mut world = world(1_000_000);
    let mut booked = 0;
    for _ in 0..2_000 {
        world.now += 29 * MINUTE_MS;
        world.consume(3);
        booked += 3;
        assert!(world.account.ledgers().len() as i64 <= SLIDING_BUCKETS + 1);
    }
    let kept: u64 = world.account.ledgers().iter().map(|bucket| bucket.used).sum();
    let left: u64 = world.closed().iter().map(|bucket| bucket.used).sum();
    assert_eq!(kept + left, booked);
}

#[test]
fn a_window_that_began_under_another_rule_counts_as_one_bucket() {
    let calendar =
        |included| Limit { window: WindowRule::Calendar(CalendarUnit::Day), ..last_day(included) };
    let mut world = World::new(&[calendar(10)]);
    world.consume(6);
    world.change_limits(&[last_day(10)]);
    world.now += HOUR_MS;
    assert!(!is_admitted(&world.consume(5)), "what was used today is of the last day");
    world.consume(4);
    // Midnight does not make it free; a day after it does.
    world.now = T0 + 13 * HOUR_MS;
    assert!(!is_admitted(&world.consume(1)));
    world.now = T0 + 36 * HOUR_MS;
    assert!(is_admitted(&world.consume(10)));
    // And back: the bucket goes on to its end, then the days begin.
    world.change_limits(&[calendar(10)]);
    assert!(!is_admitted(&world.consume(1)));
    world.now += HOUR_MS;
    let outcome = world.consume(1);
    assert_eq!(binding(&outcome).ledger.window.start().0, T0 + 37 * HOUR_MS);
    assert_eq!(world.closed().iter().map(|bucket| bucket.used).sum::<u64>(), 20);
}

#[test]
fn a_longer_window_counts_what_is_remembered_and_a_shorter_one_forgets_at_once() {
    let mut world = world(10);
    world.consume(6);
    world.now += 10 * HOUR_MS;
    world.change_limits(&[Limit { window: hours(5), ..last_day(10) }]);
    assert_eq!(world.state("daily").ledger.used, 0);
    world.change_limits(&[Limit { window: hours(48), ..last_day(10) }]);
    assert_eq!(world.state("daily").ledger.used, 6);
    world.now = T0 + 48 * HOUR_MS;
    assert_eq!(world.state("daily").ledger.used, 6);
    world.now = T0 + 50 * HOUR_MS;
    assert_eq!(world.state("daily").ledger.used, 0);
}

/// The most that was admitted within any span of `length_ms`, by sums over pairs of instants.
fn busiest(admitted: &BTreeMap<i64, i64>, length_ms: i64) -> i64 {
    let ends = admitted.keys();
    let sum = |end: &i64| admitted.range(end - length_ms + 1..=*end).map(|(_, units)| units).sum();
    ends.map(sum).max().unwrap_or(0)
}

#[test]
fn no_span_of_the_length_ever_has_more_than_the_limit() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let (count, unit) = [
            (1, SpanUnit::Hour),
            (5, SpanUnit::Hour),
            (24, SpanUnit::Hour),
            (3, SpanUnit::Day),
            (1, SpanUnit::Week),
        ][dice.below(5) as usize];
        let every = Every { count, unit };
        let (length_ms, bucket_ms) = (every.length_ms().unwrap(), every.bucket_ms());
        let limit = Limit { window: WindowRule::Sliding(every), ..last_day(20) };
        let mut world = World::new(&[limit]);
        let mut admitted: BTreeMap<i64, i64> = BTreeMap::new();
        // Of each hold: since when and how much it counts, and when it ends.
        let mut holds: Vec<(ReservationId, i64, i64, i64)> = Vec::new();
        let mut refused_early = 0;
        for _ in 0..400 {
            world.now += match dice.below(6) {
                0 => 0,
                1 => dice.below(length_ms as u64) as i64,
                // To the edge of a bucket, and about it.
                2 => bucket_ms - (world.now % bucket_ms) - 1 + dice.below(3) as i64,
                _ => dice.below(bucket_ms as u64) as i64,
            };
            let units = 1 + dice.below(6);
            let now = world.now;
            // What a hold gives back when it ends by time was never used.
            holds.retain(|(_, since, held, expires_at)| {
                if *expires_at <= now {
                    *admitted.entry(*since).or_default() -= held;
                }
                now < *expires_at
            });
            match dice.below(6) {
                0 => {
                    let hold_ms = 7 * DAY_MS;
                    let outcome = world.ask(FeatureOp::Reserve { units, hold_ms });
                    if is_admitted(&outcome) {
                        *admitted.entry(now).or_default() += units as i64;
                        let id = outcome.amounts.reservation.unwrap();
                        holds.push((id, now, units as i64, now + hold_ms));
                    }
                }
                1 if !holds.is_empty() => {
                    let place = dice.below(holds.len() as u64) as usize;
                    let (id, since, held, expires_at) = holds[place];
                    let op = HoldOp::Extend { hold_ms: None, additional_units: units };
                    if world.try_hold(id, op).is_ok_and(|outcome| is_admitted(&outcome)) {
                        // As it is documented: the whole hold counts from now on.
                        *admitted.entry(now).or_default() += held + units as i64;
                        *admitted.entry(since).or_default() -= held;
                        holds[place] = (id, now, held + units as i64, expires_at);
                    }
                }
                2 if !holds.is_empty() => {
                    let (id, since, held, _) =
                        holds.swap_remove(dice.below(holds.len() as u64) as usize);
                    let used = dice.below(held as u64 + 1) as i64;
                    if world.try_hold(id, HoldOp::Commit { units: used as u64 }).is_ok() {
                        *admitted.entry(since).or_default() -= held - used;
                    }
                }
                _ => {
                    let before = busiest_now(&admitted, now, length_ms + bucket_ms);
                    if is_admitted(&world.consume(units)) {
                        *admitted.entry(now).or_default() += units as i64;
                    } else if before + units as i64 <= 20 {
                        refused_early += 1;
                    }
                }
            }
            let most = busiest(&admitted, length_ms);
            assert!(most <= 20, "seed {seed}: {most} units within {every:?}");
            let longer = busiest_now(&admitted, world.now, length_ms + bucket_ms);
            let counted = world.state("daily").ledger;
            assert!(
                i128::from(counted.held()) <= i128::from(longer),
                "seed {seed}: counted for longer than a bucket more"
            );
        }
        assert_eq!(refused_early, 0, "seed {seed}: refused what even a longer window allows");
    }
}

/// What was admitted in the span that ends now.
fn busiest_now(admitted: &BTreeMap<i64, i64>, now: i64, length_ms: i64) -> i64 {
    admitted.range(now - length_ms + 1..=now).map(|(_, units)| units).sum()
}
