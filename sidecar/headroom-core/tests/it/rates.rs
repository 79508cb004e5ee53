//! Rates: exact token buckets. The oracle is `governor`, a GCRA of others, wherever its nanoseconds can
//! count the rate; a tally of units in fractions without loss covers the rest.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use headroom_core::account::{AddOn, OverrideValue};
use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, Merge, Offering, PlanSpec, RateSpec,
};
use headroom_core::decide::{Context, FeatureOp};
use headroom_core::decision::{Decision, Denial, OpError, Verdict};
use headroom_core::limits::UNITS_MAX;
use headroom_core::names::NameId;
use headroom_core::origin;
use headroom_core::rate::{Bucket, Level, Rate, Wait};
use headroom_core::resolve::{Origin, Resolved, resolve};
use headroom_core::signal::{SignalName, SignalSwitches};
use headroom_core::time::Millis;

use crate::world::{DAY_MS, Dice, HOUR_MS, T0, World, spec};

const LIMITED: Verdict = Verdict::Denied(Denial::RateLimited);

fn rate(units: u64, period_ms: i64, burst_units: u64) -> RateSpec {
    RateSpec { units, period_ms, burst_units }
}

fn catalog(features: &[(&str, Option<RateSpec>)]) -> CatalogSpec {
    let mut spec = spec(&[], SignalSwitches::default());
    // Without its limits `tokens` is no good quota.
    spec.features.remove(0);
    spec.plans[0].entitlements.remove(0);
    for (name, rate) in features {
        spec.features.push(FeatureSpec {
            feature: (*name).to_owned(),
            name: (*name).to_owned(),
            unit: String::new(),
            scale: 0,
            kind: FeatureKindSpec::Rate { per: None },
            offering: Offering::default(),
            shadow: false,
            counting: Default::default(),
        });
        let given = EntitlementSpec::Rate { rate: *rate, each: None };
        spec.plans[0].entitlements.push(((*name).to_owned(), given));
    }
    spec
}

/// An account whose `api` has this rate.
fn world(rate: RateSpec) -> World {
    World::of(catalog(&[("api", Some(rate))]))
}

fn consume(world: &mut World, units: u64) -> Decision {
    world.try_ask("api", FeatureOp::Consume { units }).unwrap().decision
}

fn check(world: &mut World, units: u64, attempt: bool) -> Decision {
    world.try_ask("api", FeatureOp::Check { units, attempt }).unwrap().decision
}

fn drawable(decision: &Decision) -> u64 {
    decision.binding.as_ref().unwrap().drawable_units_remaining().unwrap()
}

#[test]
fn a_rate_that_is_only_watched_says_what_it_would_have_refused_and_refuses_nothing() {
    let mut spec = catalog(&[("api", Some(rate(2, 1_000, 3)))]);
    spec.features.last_mut().unwrap().shadow = true;
    let mut world = World::of(spec);
    let mut real = self::world(rate(2, 1_000, 3));
    let mut dice = Dice(7);
    for _ in 0..500 {
        let (units, later) = (1 + dice.below(3), dice.below(700));
        let (watched, refused) = (consume(&mut world, units), consume(&mut real, units));
        let expected = (refused.verdict == LIMITED).then_some(Denial::RateLimited);
        assert_eq!((watched.verdict, watched.shadow), (Verdict::Allowed, expected));
        assert_eq!(watched.retry_after_ms, None);
        assert_eq!(drawable(&watched), drawable(&refused), "the bucket is as it would be");
        world.now += i64::try_from(later).unwrap();
        real.now = world.now;
    }
    let outcome = world.try_ask("api", FeatureOp::Consume { units: 4 }).unwrap();
    assert_eq!((outcome.decision.shadow, outcome.amounts.units), (Some(Denial::RateLimited), 4));
    world.account.profile.plan = world.id("bare");
    let decision = consume(&mut world, 1);
    assert_eq!((decision.verdict, decision.shadow), (Verdict::Allowed, Some(Denial::NotInPlan)));
}

#[test]
fn a_burst_passes_at_once_and_then_the_rate_does() {
    let mut world = world(rate(2, 1_000, 3));
    assert_eq!(drawable(&consume(&mut world, 2)), 1);
    assert_eq!(drawable(&consume(&mut world, 1)), 0);
    let refused = consume(&mut world, 1);
    assert_eq!((refused.verdict, refused.retry_after_ms), (LIMITED, Some(500)));
    world.now += 499;
    assert_eq!(consume(&mut world, 1).retry_after_ms, Some(1));
    world.now += 1;
    assert_eq!(consume(&mut world, 1).verdict, Verdict::Allowed);
    assert_eq!(consume(&mut world, 1).retry_after_ms, Some(500));
}

#[test]
fn what_a_check_says_is_what_a_consume_would_get_and_nothing_is_taken() {
    let mut world = world(rate(2, 1_000, 3));
    for _ in 0..9 {
        assert_eq!(drawable(&check(&mut world, 3, true)), 3);
        assert_eq!(world.last, []);
    }
    consume(&mut world, 2);
    let refused = check(&mut world, 2, false);
    assert_eq!((refused.verdict, refused.retry_after_ms), (LIMITED, Some(500)));
    assert_eq!(world.last, [], "drawing a screen is no attempt");
}

#[test]
fn a_request_above_the_burst_is_refused_for_ever() {
    let mut world = world(rate(2, 1_000, 3));
    for _ in 0..3 {
        let refused = consume(&mut world, 4);
        assert_eq!((refused.verdict, refused.retry_after_ms), (LIMITED, None));
        assert_eq!(drawable(&refused), 3, "and takes nothing");
        world.now += DAY_MS;
    }
}

#[test]
fn an_unlimited_rate_lets_everything_pass_and_counts_nothing() {
    let mut world = World::of(catalog(&[("api", None)]));
    for _ in 0..3 {
        let decision = consume(&mut world, UNITS_MAX);
        assert_eq!((decision.verdict, &world.last), (Verdict::Allowed, &vec![]));
        assert_eq!(decision.binding.unwrap().drawable_units_remaining(), None);
    }
}

#[test]
fn units_of_a_rate_can_only_be_consumed() {
    let mut world = world(rate(2, 1_000, 3));
    for op in [FeatureOp::Reserve { units: 1, hold_ms: 1 }, FeatureOp::Record { units: 1 }] {
        assert_eq!(world.try_ask("api", op), Err(OpError::RateIsConsumed), "{op:?}");
        assert_eq!(check(&mut world, 3, false).verdict, Verdict::Allowed);
    }
    world.account.profile.plan = world.id("bare");
    let record = world.try_ask("api", FeatureOp::Record { units: 1 });
    assert_eq!(record, Err(OpError::RateIsConsumed));
}

#[test]
fn a_faster_rate_is_felt_at_once_and_never_makes_a_bucket_fuller() {
    // One an hour: who waits for it and buys a faster plan does not wait for the slow one.
    let mut world = world(rate(1, HOUR_MS, 1));
    consume(&mut world, 1);
    assert_eq!(consume(&mut world, 1).retry_after_ms, Some(HOUR_MS));
    world.install(catalog(&[("api", Some(rate(100, 1_000, 200)))]));
    assert_eq!(drawable(&check(&mut world, 1, false)), 199);
    assert_eq!(consume(&mut world, 199).verdict, Verdict::Allowed);
    assert_eq!(consume(&mut world, 1).retry_after_ms, Some(10));
    // And back: an empty bucket is an empty bucket, but not a debt of 200 hours.
    world.install(catalog(&[("api", Some(rate(1, HOUR_MS, 1)))]));
    assert_eq!(consume(&mut world, 1).retry_after_ms, Some(10), "it was emptied at the fast rate");
    world.now += 10;
    assert_eq!(consume(&mut world, 1).verdict, Verdict::Allowed);
    assert_eq!(consume(&mut world, 1).retry_after_ms, Some(HOUR_MS));
}

#[test]
fn who_buys_a_faster_rate_is_let_in_when_told_also_after_waiting() {
    let mut world = world(rate(1, HOUR_MS, 1));
    consume(&mut world, 1);
    world.now += 10_000;
    world.install(catalog(&[("api", Some(rate(1, 60_000, 1)))]));
    assert_eq!(consume(&mut world, 1).retry_after_ms, Some(50_000));
    world.now += 49_999;
    assert_eq!(consume(&mut world, 1).retry_after_ms, Some(1));
    world.now += 1;
    assert_eq!(consume(&mut world, 1).verdict, Verdict::Allowed);
}

#[test]
fn an_override_replaces_the_rate_of_the_plan() {
    let mut world = world(rate(1, 1_000, 1));
    let fast = Rate::new(rate(10, 1_000, 10));
    world.put_override("api", OverrideValue::Rate { rate: fast });
    assert_eq!(drawable(&consume(&mut world, 4)), 6);
    world.put_override("api", OverrideValue::Rate { rate: None });
    assert_eq!(consume(&mut world, UNITS_MAX).verdict, Verdict::Allowed);
    world.account.profile.plan = world.id("bare");
    world.put_override("api", OverrideValue::Rate { rate: fast });
    assert_eq!(drawable(&check(&mut world, 1, false)), 6, "also where the plan has none");
}

/// What the account has of `api`, after it bought some of the add-ons `a` and `b`.
fn bought(
    (merge, own, addons): (Merge, Option<RateSpec>, [Option<RateSpec>; 2]),
    quantities: [u32; 2],
) -> (World, Option<RateSpec>) {
    let mut spec = catalog(&[("api", own)]);
    spec.features.last_mut().unwrap().offering.merge = merge;
    for (name, rate) in ["a", "b"].into_iter().zip(addons) {
        let given = EntitlementSpec::Rate { rate, each: None };
        let entitlements = vec![("api".to_owned(), given)];
        spec.addons.push(PlanSpec { plan: name.to_owned(), entitlements, ..spec.plans[1].clone() });
    }
    let mut world = World::of(spec);
    let some = ["a", "b"].into_iter().zip(quantities).filter(|(_, quantity)| *quantity > 0);
    let some: Vec<AddOn> =
        some.map(|(name, quantity)| AddOn { addon: world.id(name), quantity }).collect();
    world.account.profile.extra.get_or_insert_default().addons = some;
    let api = world.feature("api").unwrap();
    let (rate, _) = resolve(&world.catalog, &world.account, api, Millis(world.now));
    let Resolved::Rate(rate) = rate else { unreachable!("the plan has it") };
    let rate = rate.map(|rate| rate.spec());
    (world, rate)
}

#[test]
fn rates_of_a_plan_and_add_ons_add_up_and_bursts_too() {
    let (second, minute) = (1_000, 60_000);
    let own = rate(10, second, 20);
    let sum = |own, a, b, quantities| bought((Merge::Sum, own, [a, b]), quantities).1;
    let (a, b) = (rate(5, second, 5), rate(90, minute, 7));
    for (quantities, expected) in [
        ([0, 0], own),
        ([1, 0], rate(15, second, 25)),
        ([3, 0], rate(25, second, 35)),
        // 10 a second and 90 a minute are 690 a minute.
        ([0, 1], rate(690, minute, 27)),
        ([2, 2], rate(1_380, minute, 44)),
    ] {
        assert_eq!(sum(Some(own), Some(a), Some(b), quantities), Some(expected), "{quantities:?}");
    }
    // Without an end nothing is added to, and what has none ends no more.
    assert_eq!(sum(None, Some(a), Some(b), [1, 1]), None);
    assert_eq!(sum(Some(own), None, Some(b), [1, 1]), None);
    // 4 and 6 ms are held by 12.
    let (four, six) = (rate(1, 4, 1), rate(1, 6, 1));
    assert_eq!(sum(Some(four), Some(six), None, [1, 0]), Some(rate(5, 12, 2)));
    // What is more than can be counted is as fast as the faster one.
    let most = rate(UNITS_MAX, 1, UNITS_MAX);
    assert_eq!(sum(Some(own), Some(most), None, [1, 0]), Some(most));
    assert_eq!(sum(Some(most), Some(own), None, [1, 0]), Some(most));
    assert_eq!(sum(Some(own), Some(most), None, [2, 0]), Some(most));
    let most_generous = bought((Merge::MostGenerous, Some(own), [Some(a), Some(b)]), [1, 1]).1;
    assert_eq!(most_generous, Some(own));
    let twice = bought((Merge::MostGenerous, Some(own), [Some(a), Some(b)]), [3, 1]).1;
    assert_eq!(twice, Some(rate(15, second, 15)), "three of 5 a second");
}

#[test]
fn a_rate_that_was_added_up_is_what_a_request_meets_and_names_all_that_did() {
    let (a, b) = (Some(rate(5, 1_000, 5)), Some(rate(1, 1_000, 1)));
    let terms = (Merge::Sum, Some(rate(10, 1_000, 20)), [a, b]);
    let (mut world, _) = bought(terms, [2, 1]);
    assert_eq!(drawable(&consume(&mut world, 31)), 0);
    assert_eq!(check(&mut world, 1, false).verdict, LIMITED);
    world.now += 1_000;
    let decision = check(&mut world, 1, false);
    assert_eq!(drawable(&decision), 21);
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let given = origin::of_limit(cx, &world.account, decision.binding.as_ref().unwrap());
    let addons: Vec<u32> = given.addons.iter().map(|addon| addon.quantity).collect();
    assert_eq!((given.origin, addons), (Origin::AddOn, vec![2, 1]));
    assert_eq!(decision.origin, Origin::AddOn);
}

#[test]
fn an_excursion_is_announced_once_and_armed_again_by_a_full_bucket_an_hour_later() {
    let mut world = world(rate(1, 1_000, 2));
    let told = |world: &World| !world.told().is_empty();
    consume(&mut world, 2);
    assert!(!told(&world));
    check(&mut world, 1, true);
    assert_eq!(world.told(), [(SignalName::ApiTierExceeded, vec![])]);
    let signal = world.signals()[0].clone();
    assert_eq!((signal.current_units, signal.included_units, signal.refused_units), (2, 2, 1));
    assert_eq!((signal.window.start(), signal.window.end()), (Millis(T0), Millis(T0 + 2_000)));
    // Full again, but within the hour.
    world.now += HOUR_MS - 1;
    consume(&mut world, 2);
    consume(&mut world, 1);
    assert!(!told(&world), "the excursion goes on");
    // An hour has passed, but the bucket was never full at a use.
    for _ in 0..3 {
        world.now += 1_000;
        consume(&mut world, 1);
        consume(&mut world, 1);
        assert!(!told(&world));
    }
    world.now += 2_000;
    consume(&mut world, 2);
    consume(&mut world, 1);
    assert_eq!(world.told(), [(SignalName::ApiTierExceeded, vec![])]);
    consume(&mut world, 1);
    assert!(!told(&world), "once");
}

#[test]
fn a_signal_that_is_switched_off_leaves_no_trace() {
    let mut spec = catalog(&[("api", Some(rate(1, 1_000, 1)))]);
    spec.signals.api_tier_exceeded = false;
    let mut world = World::of(spec);
    consume(&mut world, 1);
    consume(&mut world, 1);
    assert_eq!(world.last, []);
}

#[test]
fn full_buckets_are_forgotten_when_a_new_one_begins() {
    let slow = rate(1, 1_000, 1);
    let mut world =
        World::of(catalog(&[("api", Some(slow)), ("web", Some(slow)), ("ftp", Some(slow))]));
    consume(&mut world, 1);
    world.now += 999;
    world.try_ask("web", FeatureOp::Consume { units: 1 }).unwrap();
    assert_eq!(world.account.buckets().len(), 2);
    world.now += 2;
    world.try_ask("ftp", FeatureOp::Consume { units: 1 }).unwrap();
    let kept: Vec<NameId> = world.account.buckets().iter().map(|b| b.feature).collect();
    assert_eq!(kept, [world.id("web"), world.id("ftp")]);
    assert_eq!(check(&mut world, 1, false).verdict, Verdict::Allowed);
}

#[test]
fn after_a_change_the_time_that_is_told_still_comes_true() {
    let numbers = [1, 2, 3, 7, 1_000];
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let mut any = || {
            let mut pick = |of: &[u64]| of[usize::try_from(dice.below(of.len() as u64)).unwrap()];
            let (units, period_ms) = (pick(&numbers), pick(&[1, 7, 1_000, 3_600_000]));
            Rate::new(rate(units, i64::try_from(period_ms).unwrap(), pick(&numbers)))
        };
        let (Some(before), Some(after)) = (any(), any()) else { continue };
        let taken = Level::of(before, None, Millis(T0)).take(before.burst_units()).unwrap();
        let bucket = taken.bucket(NameId(0), NameId(0), None);
        let now = Millis(T0).plus(i64::try_from(dice.below(5_000)).unwrap());
        let level = Level::of(after, Some(&bucket), now);
        let case = format!("seed {seed}: {before:?}, then {after:?}");
        // Nobody who was let in before is let in later.
        assert!(level.missing_units() <= before.burst_units().min(after.burst_units()), "{case}");
        let at = |ms: i64| Level::of(after, Some(&bucket), now.plus(ms));
        if let Err(Wait::Ms(ms)) = level.take(1) {
            assert!(at(ms).take(1).is_ok() && at(ms - 1).take(1).is_err(), "{case}: {ms} ms");
            let intervals = [before, after].map(|r| r.period_ms() / r.units().cast_signed() + 1);
            assert!(ms <= *intervals.iter().min().unwrap(), "{case}: {ms} ms at the faster rate");
        }
        let full_ms = level.full_after_ms();
        assert!(at(full_ms).is_full() && (full_ms == 0 || !at(full_ms - 1).is_full()), "{case}");
        // What is full under the rate of before may be forgotten under any.
        assert!(!bucket.is_full(now) || level.is_full(), "{case}");
        if let Ok(next) = level.take(1) {
            let next = next.bucket(NameId(0), NameId(0), None);
            let left = Level::of(after, Some(&next), now).drawable_units();
            assert!(left < level.drawable_units(), "{case}: fuller by a use");
        }
    }
}

#[test]
fn a_clock_that_was_read_earlier_fills_no_bucket() {
    let own = Rate::new(rate(1, 10, 2)).unwrap();
    let take = |bucket: Option<&Bucket>, at: i64| {
        let level = Level::of(own, bucket, Millis(at)).take(1);
        level.map(|level| level.bucket(NameId(0), NameId(0), None))
    };
    let first = take(None, T0 + 9).unwrap();
    let second = take(Some(&first), T0).unwrap();
    assert_eq!((second.used_at, second.missing_units), (Millis(T0 + 9), 2));
    assert_eq!(take(Some(&second), T0), Err(Wait::Ms(10)));
    assert_eq!(take(Some(&second), T0 + 18), Err(Wait::Ms(1)));
}

/// Plays requests at random on a bucket and on `governor`. Its interval between two units is in whole
/// nanoseconds, so only such rates can be compared.
#[test]
fn governor_says_the_same_wherever_it_can_count_the_rate() {
    let rates = [(1, 1), (1, 7), (3, 3), (4, 1), (1_000, 1_000), (8, 1_000), (625, 1), (2, 60_000)];
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let (units, period_ms) = rates[usize::try_from(dice.below(rates.len() as u64)).unwrap()];
        let burst_units = 1 + dice.below(9);
        let own = Rate::new(rate(units, i64::try_from(period_ms).unwrap(), burst_units)).unwrap();
        let interval_ns = period_ms * 1_000_000 / units;
        assert_eq!(interval_ns * units, period_ms * 1_000_000, "governor cannot count it");
        let quota = Quota::with_period(Duration::from_nanos(interval_ns)).unwrap();
        let burst = NonZeroU32::new(u32::try_from(burst_units).unwrap()).unwrap();
        let clock = FakeRelativeClock::default();
        let theirs = RateLimiter::direct_with_clock(quota.allow_burst(burst), clock.clone());
        let (mut now, mut bucket) = (Millis(T0), None);
        for request in 0..200 {
            let step_ms = match dice.below(4) {
                0 => 0,
                1 => dice.below(3),
                _ => dice.below(period_ms * 2 / units + 2),
            };
            now = now.plus(i64::try_from(step_ms).unwrap());
            clock.advance(Duration::from_millis(step_ms));
            let units = 1 + dice.below(burst_units + 1);
            let case = format!("seed {seed}, request {request}: {units} of {own:?}");
            let taken = Level::of(own, bucket.as_ref(), now).take(units);
            let count = NonZeroU32::new(u32::try_from(units).unwrap()).unwrap();
            match (taken, theirs.check_n(count)) {
                (Ok(level), Ok(Ok(()))) => {
                    bucket = Some(level.bucket(NameId(0), NameId(0), None));
                }
                (Err(Wait::Ms(ms)), Ok(Err(not_until))) => {
                    let wait = not_until.wait_time_from(clock.now());
                    let wait_ms = wait.as_nanos().div_ceil(1_000_000);
                    assert_eq!(u128::try_from(ms).unwrap(), wait_ms, "{case}");
                }
                (Err(Wait::Never), Err(_)) => {}
                (own, theirs) => panic!("{case}: {own:?} and {theirs:?}"),
            }
        }
    }
}

/// Any rate at all, against a tally in exact fractions: units times the period, in 128 bits.
#[test]
fn no_rate_drifts_and_a_retry_after_the_time_told_is_admitted_and_not_before() {
    for seed in 0..500 {
        let mut dice = Dice(seed);
        let pick =
            |dice: &mut Dice, of: &[u64]| of[usize::try_from(dice.below(of.len() as u64)).unwrap()];
        let units = pick(&mut dice, &[1, 2, 3, 7, 11, 60, 997, 1_000_003, UNITS_MAX]);
        let period_ms = pick(&mut dice, &[1, 3, 1_000, 60_000, 3_600_000, 86_400_000]);
        let burst_units = pick(&mut dice, &[1, 2, 5, 1_000])
            .min(units.saturating_mul(7 * 86_400_000) / period_ms);
        let Some(own) = Rate::new(rate(units, i64::try_from(period_ms).unwrap(), burst_units))
        else {
            continue;
        };
        // What is in the bucket, in parts of which `period_ms` are a unit.
        let full = u128::from(burst_units) * u128::from(period_ms);
        let (mut now, mut bucket, mut held): (Millis, Option<Bucket>, u128) =
            (Millis(T0), None, full);
        for request in 0..150 {
            let step_ms = match dice.below(3) {
                0 => 0,
                1 => dice.below(5),
                _ => dice.below(period_ms.div_ceil(units) * 3 + 1),
            };
            now = now.plus(i64::try_from(step_ms).unwrap());
            held = full.min(held + u128::from(step_ms) * u128::from(units));
            let asked = 1 + dice.below(burst_units);
            let case = format!("seed {seed}, request {request}: {asked} of {own:?}");
            let level = Level::of(own, bucket.as_ref(), now);
            assert_eq!(u128::from(level.drawable_units()), held / u128::from(period_ms), "{case}");
            assert_eq!(level.is_full(), held == full, "{case}");
            let cost = u128::from(asked) * u128::from(period_ms);
            match level.take(asked) {
                Ok(after) => {
                    assert!(cost <= held, "{case}");
                    held -= cost;
                    bucket = Some(after.bucket(NameId(0), NameId(0), None));
                }
                Err(Wait::Ms(ms)) => {
                    let later = |ms: i64| Level::of(own, bucket.as_ref(), now.plus(ms)).take(asked);
                    assert!(cost > held, "{case}");
                    assert!(later(ms).is_ok() && later(ms - 1).is_err(), "{case}: after {ms} ms");
                }
                Err(Wait::Never) => panic!("{case}: it is within the burst"),
            }
        }
    }
}

#[test]
fn a_third_of_a_unit_a_millisecond_is_exact_for_ever() {
    // Two at once, so that what comes back within a millisecond finds room.
    let own = Rate::new(rate(3, 1_000, 2)).unwrap();
    let (mut bucket, mut now, mut taken) = (None, Millis(T0), 0_i64);
    // After the burst each unit passes with the k-th third of a second, rounded up.
    for _ in 0..10_000 {
        match Level::of(own, bucket.as_ref(), now).take(1) {
            Ok(level) => {
                assert_eq!(now.since(Millis(T0)), ((taken - 1).max(0) * 1_000 + 2) / 3);
                bucket = Some(level.bucket(NameId(0), NameId(0), None));
                taken += 1;
            }
            Err(Wait::Ms(ms)) => now = now.plus(ms),
            Err(Wait::Never) => unreachable!(),
        }
    }
    assert!(taken > 4_999);
}

#[test]
fn bytes_from_a_damaged_disk_make_an_empty_bucket_and_no_panic() {
    let own = Rate::new(rate(UNITS_MAX, 1, UNITS_MAX)).unwrap();
    for used_at in [i64::MIN, -1, 0, i64::MAX] {
        for units in [1, UNITS_MAX, u64::MAX] {
            for period_ms in [1, u64::MAX] {
                let bucket = Bucket {
                    feature: NameId(0),
                    limit: NameId(0),
                    used_at: Millis(used_at),
                    missing_units: units,
                    missing_parts: period_ms - 1,
                    units,
                    period_ms,
                    announced_at: None,
                };
                for now in [i64::MIN, 0, i64::MAX] {
                    let level = Level::of(own, Some(&bucket), Millis(now));
                    assert!(level.drawable_units() <= UNITS_MAX);
                    level.bucket(NameId(0), NameId(0), None);
                }
            }
        }
    }
}
