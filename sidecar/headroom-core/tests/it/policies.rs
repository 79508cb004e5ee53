//! Policies at the limit: grace by time and number, overage with a price and a cap, debt that is
//! carried, and features that are only watched.

use headroom_core::account::OverrideValue;
use headroom_core::catalog::Policy;
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::policy::{GraceTerms, GraceTimes, LimitTerms, NANOS_PER_MINOR, OverageTerms};
use headroom_core::resolve::Origin;
use headroom_core::signal::{SignalName, SignalSwitches};
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};

use crate::world::{DAY_MS, Dice, HOUR_MS, Limit, T0, World, daily, spec, total};

const BY_TIME: Policy = Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE };
const EXHAUSTED: Verdict = Verdict::Denied(Denial::QuotaExhausted);

fn monthly(included: u64, policy: Policy) -> Limit {
    let window = WindowRule::Calendar(CalendarUnit::Month);
    Limit { limit: "daily", window, ..daily(included, policy) }
}

fn grace(mut limit: Limit, days: i64, notice_hours: i64, times: Option<(u8, u8)>) -> Limit {
    let times = times.map(|(times, months)| GraceTimes { times, months });
    let lasts_ms = (days > 0).then_some(days * DAY_MS);
    limit.terms.grace = Some(GraceTerms { lasts_ms, notice_ms: notice_hours * HOUR_MS, times });
    limit
}

fn priced(mut limit: Limit, unit_price_nanos: u64, cap_minor: Option<u64>) -> Limit {
    let currency = "USD".into();
    limit.terms.overage = Some(OverageTerms { unit_price_nanos, currency, cap_minor });
    limit
}

fn carrying(mut limit: Limit) -> Limit {
    limit.terms.carries_debt = true;
    limit
}

/// Signals that time alone brought before the last request.
fn settled(world: &World) -> Vec<SignalName> {
    use headroom_core::effect::Effect;
    let name = |effect: &Effect| match effect {
        Effect::Signal(signal) => Some(signal.name),
        _ => None,
    };
    world.settled.iter().filter_map(name).collect()
}

fn names(world: &World) -> Vec<SignalName> {
    world.signals().iter().map(|signal| signal.name).collect()
}

#[test]
fn grace_by_time_begins_with_the_first_use_above_and_ends_when_its_time_has_run_out() {
    let mut world = World::new(&[grace(monthly(10, BY_TIME), 3, 24, None)]);
    assert_eq!(world.consume(10).decision.verdict, Verdict::Allowed);
    world.now += 5 * DAY_MS;
    assert_eq!(world.state("daily").grace_until(), None, "it has not begun");
    let begun = world.consume(1_000).decision;
    let until = world.now + 3 * DAY_MS;
    assert_eq!(begun.verdict, Verdict::Grace);
    assert_eq!(begun.binding.unwrap().grace_until(), Some(Millis(until)), "said at once");
    assert_eq!(world.state("daily").grace_until(), Some(Millis(until)));
    world.now = until - 1;
    assert_eq!(world.consume(1).decision.verdict, Verdict::Grace);
    world.now = until;
    let refused = world.consume(1).decision;
    assert_eq!(refused.verdict, EXHAUSTED);
    let end = world.state("daily").ledger.window.end();
    assert_eq!(refused.retry_after_ms, Some(end.since(Millis(until))));
    world.now = end.0;
    assert_eq!(world.consume(10).decision.verdict, Verdict::Allowed, "a new window");
    assert_eq!(world.consume(1).decision.verdict, Verdict::Grace, "and a new grace");
}

#[test]
fn grace_ends_by_units_or_by_time_whichever_comes_first() {
    let tenth = Policy::Grace { grace_bp: 1_000 };
    let mut world = World::new(&[grace(monthly(10, tenth), 3, 24, None)]);
    world.consume(11);
    assert_eq!(world.state("daily").grace_units_remaining(), Some(0));
    assert_eq!(world.consume(1).decision.verdict, EXHAUSTED);

    let mut world = World::new(&[grace(monthly(100, tenth), 3, 24, None)]);
    world.consume(101);
    assert_eq!(world.state("daily").grace_units_remaining(), Some(9));
    world.now += 3 * DAY_MS;
    assert_eq!(world.state("daily").grace_units_remaining(), Some(0));
    assert_eq!(world.state("daily").drawable_units_remaining(), Some(0));
    assert_eq!(world.consume(1).decision.verdict, EXHAUSTED);
    let recorded = world.record(2);
    assert_eq!((recorded.amounts.debt_units, recorded.decision.verdict), (2, Verdict::Unbacked));
}

#[test]
fn a_hold_is_no_use_so_it_does_not_begin_a_grace() {
    let mut world = World::new(&[grace(monthly(10, BY_TIME), 1, 1, None)]);
    let id = world.reserve(11);
    assert_eq!(world.account.excesses(), []);
    world.now += HOUR_MS / 2;
    world.commit(id, 11);
    let until = world.now + DAY_MS;
    assert_eq!(world.state("daily").grace_until(), Some(Millis(until)));
}

#[test]
fn a_grace_that_outlives_its_window_ends_with_it() {
    let mut world = World::new(&[grace(daily(10, BY_TIME), 3, 24, None)]);
    world.consume(11);
    assert_eq!(world.state("daily").grace_until(), None);
    assert_eq!(world.account.notice_at(), Millis::FOREVER, "nothing bad is about to happen");
    assert_eq!(names(&world)[2], SignalName::GraceStarted);
}

#[test]
fn grace_is_announced_when_it_starts_and_before_it_ends_once_each() {
    let mut world = World::new(&[grace(monthly(10, BY_TIME), 3, 24, None)]);
    world.consume(11);
    assert_eq!(names(&world).last(), Some(&SignalName::GraceStarted));
    let until = Some(Millis(T0 + 3 * DAY_MS));
    assert_eq!(world.signals().last().unwrap().grace_until, until);
    world.consume(1);
    assert_eq!(names(&world), []);
    world.now = T0 + 2 * DAY_MS - 1;
    world.check(1);
    assert_eq!(settled(&world), []);
    world.now += 1;
    world.check(1);
    assert_eq!(settled(&world), [SignalName::GraceEnding]);
    world.now += DAY_MS;
    world.check(1);
    assert_eq!(settled(&world), []);
}

#[test]
fn an_ending_that_has_no_meaning_any_more_is_not_announced() {
    let limit = || grace(monthly(10, BY_TIME), 3, 24, None);
    let changes: [fn(&mut World); 3] = [
        |world| world.change_limits(&[grace(monthly(20, BY_TIME), 3, 24, None)]),
        |world| world.account.profile.plan = world.id("bare"),
        |world| world.now += 40 * DAY_MS,
    ];
    for change in changes {
        let mut world = World::new(&[limit()]);
        world.consume(11);
        change(&mut world);
        world.now += 2 * DAY_MS;
        world.check(1);
        assert_eq!(settled(&world), []);
        assert_eq!(world.account.notice_at(), Millis::FOREVER, "the timer is off");
    }
}

#[test]
fn signals_of_policies_are_switched_off_one_by_one() {
    let off = SignalSwitches { grace_started: false, grace_ending: false, ..Default::default() };
    let mut world = World::of(spec(&[grace(monthly(10, BY_TIME), 3, 24, None)], off));
    world.consume(11);
    world.now += 2 * DAY_MS;
    assert_eq!(names(&world), [SignalName::UsageCeiling, SignalName::FeatureLimitHit]);
    world.check(1);
    assert_eq!(settled(&world), []);
}

#[test]
fn grace_may_be_used_in_so_many_windows_of_a_rolling_span() {
    let mut world = World::new(&[grace(daily(10, BY_TIME), 3, 1, Some((2, 1)))]);
    let day = |world: &mut World, day: i64| {
        world.now = T0 + day * DAY_MS;
        world.consume(10);
        world.consume(1).decision.verdict
    };
    assert_eq!(day(&mut world, 0), Verdict::Grace);
    assert_eq!(day(&mut world, 1), Verdict::Grace);
    assert_eq!(day(&mut world, 2), EXHAUSTED);
    assert_eq!(day(&mut world, 30), EXHAUSTED, "10 March to 9 April is less than a month");
    assert_eq!(day(&mut world, 31), Verdict::Grace, "the first one is a month old");
    assert_eq!(day(&mut world, 33), Verdict::Grace, "and now the second");
    assert_eq!(day(&mut world, 34), EXHAUSTED);
}

#[test]
fn a_grace_used_up_is_debt_for_what_is_recorded_and_begins_nothing() {
    let mut world = World::new(&[grace(daily(10, BY_TIME), 3, 1, Some((1, 12)))]);
    world.consume(11);
    world.now += DAY_MS;
    assert_eq!(world.record(12).amounts.debt_units, 2);
    assert_eq!(names(&world), [SignalName::UsageCeiling, SignalName::FeatureLimitHit]);
}

/// A buyer still blocked after paying.
#[test]
fn whoever_buys_more_is_admitted_at_once_and_has_a_new_grace() {
    let mut world = World::new(&[grace(monthly(10, BY_TIME), 3, 24, Some((1, 12)))]);
    world.consume(11);
    world.now += 4 * DAY_MS;
    assert_eq!(world.consume(1).decision.verdict, EXHAUSTED);
    world.change_limits(&[grace(monthly(20, BY_TIME), 3, 24, Some((1, 12)))]);
    assert_eq!(world.consume(9).decision.verdict, Verdict::Allowed);
    assert_eq!(world.consume(1).decision.verdict, Verdict::Grace, "of the same window: once");
    world.now += 4 * DAY_MS;
    assert_eq!(world.consume(1).decision.verdict, EXHAUSTED);
}

#[test]
fn costs_and_caps_are_exact_and_round_in_favour_of_the_customer() {
    let terms = |unit_price_nanos, cap_minor| OverageTerms {
        unit_price_nanos,
        currency: "USD".into(),
        cap_minor,
    };
    // A fifth of a cent.
    let fifth = terms(NANOS_PER_MINOR / 5, Some(3));
    assert_eq!([0, 4, 5, 9, 10].map(|units| fifth.cost_minor(units)), [0, 0, 1, 1, 2]);
    assert_eq!(fifth.cap_units(), Some(15));
    assert_eq!(terms(3 * NANOS_PER_MINOR, Some(10)).cap_units(), Some(3), "rounded down");
    assert_eq!(terms(1, None).cap_units(), None);
    assert_eq!(terms(1, Some(u64::MAX)).cap_units(), Some(headroom_core::limits::UNITS_MAX));
    assert_eq!(terms(u64::MAX, None).cost_minor(u64::MAX), u64::MAX);
    let mut dice = Dice(5);
    for _ in 0..100_000 {
        let cap = dice.below(1_000);
        let terms = terms(1 + dice.below(5 * NANOS_PER_MINOR), Some(cap));
        let units = terms.cap_units().unwrap();
        let nanos = |units: u64| u128::from(units) * u128::from(terms.unit_price_nanos);
        let cap_nanos = u128::from(cap) * u128::from(NANOS_PER_MINOR);
        assert!(nanos(units) <= cap_nanos && cap_nanos < nanos(units + 1), "{terms:?}");
        assert!(terms.cost_minor(units) <= cap, "{terms:?}");
    }
}

#[test]
fn overage_stops_at_the_last_unit_that_the_cap_pays_for() {
    let mut world = World::new(&[priced(daily(10, Policy::Overage), 400_000_000, Some(2))]);
    assert_eq!(world.consume(14).decision.verdict, Verdict::Overage);
    let refused = world.consume(2).decision;
    assert_eq!(refused.verdict, Verdict::Denied(Denial::SpendCapReached));
    assert_eq!(refused.retry_after_ms, Some(DAY_MS / 2));
    assert_eq!(world.consume(1).decision.verdict, Verdict::Overage);
    let state = world.state("daily");
    let cost = state.overage_cost().unwrap();
    assert_eq!((state.overage_units(), cost.minor, cost.cap_minor), (5, 2, Some(2)));
    assert_eq!(state.drawable_units_remaining(), Some(0));
    // What is recorded past the cap is debt, and is not billed.
    assert_eq!(world.record(3).amounts.debt_units, 3);
    let state = world.state("daily");
    assert_eq!((state.overage_units(), state.overage_cost().unwrap().minor), (5, 2));
}

fn cap(world: &World, cap_minor: Option<u64>, currency: &str) -> OverrideValue {
    OverrideValue::SpendCap { limit: world.id("daily"), cap_minor, currency: currency.into() }
}

#[test]
fn an_override_of_a_spend_cap_raises_and_lowers_it_and_ends() {
    let spent = Verdict::Denied(Denial::SpendCapReached);
    let mut world = World::new(&[priced(daily(10, Policy::Overage), NANOS_PER_MINOR, Some(2))]);
    world.consume(12);
    assert_eq!(world.consume(1).decision.verdict, spent);
    let raised = cap(&world, Some(5), "USD");
    world.put_override("tokens", raised);
    let decision = world.consume(3).decision;
    assert_eq!((decision.verdict, decision.origin), (Verdict::Overage, Origin::Override));
    let state = world.state("daily");
    let cost = state.overage_cost().unwrap();
    assert_eq!((cost.minor, cost.cap_minor), (5, Some(5)), "the price is the plan's");
    assert_eq!(world.consume(1).decision.verdict, spent);
    let lifted = cap(&world, None, "USD");
    world.put_override("tokens", lifted);
    assert_eq!(world.account.profile.overrides().len(), 1, "the later replaced the earlier");
    assert_eq!(world.consume(100).decision.verdict, Verdict::Overage);
    let none = cap(&world, Some(0), "USD");
    world.put_override("tokens", none);
    assert_eq!(world.consume(1).decision.verdict, spent);
    world.account.profile.extra.as_mut().unwrap().overrides[0].ends_at = Millis(world.now);
    assert_eq!(world.consume(1).decision.origin, Origin::Plan);
    assert_eq!(world.state("daily").overage_cost().unwrap().cap_minor, Some(2));
}

#[test]
fn a_spend_cap_sleeps_where_nothing_is_billed_or_in_another_currency() {
    let origin = |limit: Limit, currency: &str, instead: Option<u64>| {
        let mut world = World::new(&[limit]);
        let cap = cap(&world, Some(5), currency);
        world.put_override("tokens", cap);
        if instead.is_some() {
            let limit = world.id("daily");
            let value = OverrideValue::Limit { limit, included_units: instead };
            world.put_override("tokens", value);
        }
        assert_eq!(world.account.profile.overrides().len(), 1 + usize::from(instead.is_some()));
        let state = world.state("daily");
        let cap_minor = state.overage_cost().and_then(|cost| cost.cap_minor);
        (world.consume(1).decision.origin, cap_minor)
    };
    let billed = || priced(daily(10, Policy::Overage), NANOS_PER_MINOR, Some(2));
    assert_eq!(origin(billed(), "USD", None), (Origin::Override, Some(5)));
    assert_eq!(origin(billed(), "EUR", None), (Origin::Plan, Some(2)));
    assert_eq!(origin(billed(), "USD", Some(7)), (Origin::Override, Some(5)), "beside a limit's");
    assert_eq!(origin(daily(10, Policy::Overage), "USD", None), (Origin::Plan, None));
    assert_eq!(origin(daily(10, Policy::Block), "USD", None), (Origin::Plan, None));
}

#[test]
fn units_below_the_cap_that_others_hold_are_in_flight() {
    let mut world = World::new(&[priced(daily(10, Policy::Overage), NANOS_PER_MINOR, Some(2))]);
    world.reserve(12);
    assert_eq!(world.consume(1).decision.verdict, Verdict::Denied(Denial::InFlight));
}

#[test]
fn a_spent_cap_is_reported_after_an_exhausted_quota_and_before_units_in_flight() {
    let capped = |held| {
        let limits = [priced(total(10, Policy::Overage), NANOS_PER_MINOR, Some(1)), held];
        World::new(&limits)
    };
    let mut world = capped(daily(5, Policy::Block));
    assert_eq!(world.consume(20).decision.verdict, EXHAUSTED);
    let mut world = capped(daily(13, Policy::Block));
    world.reserve(2);
    world.set("total", 11, 0);
    assert_eq!(world.consume(12).decision.verdict, Verdict::Denied(Denial::SpendCapReached));
}

/// The same of a window that took debt over, whoever looked at it or nobody.
#[test]
fn a_window_that_took_debt_over_is_billed_though_nobody_looked() {
    let limit = || carrying(priced(daily(100, Policy::Overage), NANOS_PER_MINOR / 2, Some(50)));
    for looks in [false, true] {
        let mut world = World::new(&[limit()]);
        world.record(500);
        world.now += DAY_MS;
        let shown = world.state("daily");
        assert_eq!((shown.ledger.used, shown.overage_units()), (300, 100));
        if looks {
            world.ask(FeatureOp::Check { units: 1, attempt: true });
        }
        world.now += DAY_MS;
        world.check(1);
        let rows = world.closed_by();
        let billed: Vec<_> = rows
            .iter()
            .map(|(_, used, debt, by)| {
                let cost = (by.overage_units(*used), by.cost_minor(*used));
                (*used, *debt, by.carried_units, cost)
            })
            .collect();
        let expected = [(500, 300, 0, (100, Some(50))), (300, 100, 300, (100, Some(50)))];
        assert_eq!(billed, expected, "looks {looks}");
        assert_eq!(shown.overage_cost().unwrap().minor, 50);
    }
}

#[test]
fn debt_is_taken_off_by_windows_and_never_by_time() {
    for stops in [vec![], vec![50], vec![1, 2, 399, 400, 401, 700]] {
        let mut world = World::new(&[carrying(daily(1, Policy::Block))]);
        world.record(1_001);
        let begin = world.now;
        for days in stops.iter().chain([&900]) {
            world.now = begin + days * DAY_MS;
            // One look lists so many windows, and the next one goes on.
            for _ in 0..3 {
                world.check(1);
            }
            let owed = 1_000 - u64::try_from(*days).unwrap();
            assert_eq!(world.counts(), (owed + 1, 0, owed), "after {days} days of {stops:?}");
        }
        assert_eq!(world.closed().len(), 900, "each window is a row, {stops:?}");
    }
}

#[test]
fn the_limit_at_the_end_of_a_window_says_what_becomes_of_its_debt() {
    let mut world = World::new(&[carrying(daily(10, Policy::Block))]);
    world.record(25);
    world.account.profile.plan = world.id("bare");
    world.now += DAY_MS;
    world.check(1);
    world.account.profile.plan = world.id("pro");
    assert_eq!(world.counts(), (0, 0, 0), "what carries nothing leaves it where it is");
    world.now += DAY_MS;
    assert_eq!(world.counts(), (0, 0, 0));
}

/// A bill is made long after the plan has changed.
#[test]
fn a_window_is_billed_by_what_was_in_force_when_it_ended() {
    let cheap = || priced(daily(7, Policy::Overage), NANOS_PER_MINOR, None);
    let dear = || priced(daily(1, Policy::Overage), 100 * NANOS_PER_MINOR, None);
    let mut world = World::new(&[cheap()]);
    world.consume(10);
    world.now += DAY_MS;
    // What a timer does: nobody asks.
    world.check(1);
    world.change_limits(&[dear()]);
    world.consume(5);
    let (_, used, _, by) = world.closed_by()[0];
    assert_eq!((used, by.included_units, by.overage_units(used)), (10, Some(7), 3));
    assert_eq!((by.cost_minor(used), by.price.unwrap().currency()), (Some(3), "USD"));
    // What comes later is measured by the same.
    assert_eq!((by.overage_units(12), by.cost_minor(12)), (5, Some(5)));
}

/// Displayed and billed overage that differ.
#[test]
fn displayed_and_billed_overage_are_one_function_of_the_counter() {
    let mut dice = Dice(11);
    for _ in 0..300 {
        let (price, cap) = (1 + dice.below(3 * NANOS_PER_MINOR), dice.below(40) + 5);
        let mut world = World::new(&[priced(daily(7, Policy::Overage), price, Some(cap))]);
        for _ in 0..12 {
            let units = 1 + dice.below(5);
            if dice.below(4) == 0 {
                world.record(units);
            } else {
                world.consume(units);
            }
            let state = world.state("daily");
            let terms = state.beyond.as_ref().unwrap().overage.clone().unwrap();
            // The bill is made of the counter at the end, the screen of the answers before it.
            let billed = state.ledger.used.saturating_sub(7).min(terms.cap_units().unwrap());
            assert_eq!(state.overage_units(), billed);
            assert_eq!(state.overage_cost().unwrap().minor, terms.cost_minor(billed));
            assert!(terms.cost_minor(billed) <= cap);
        }
        // The bill is read off the row of the window, the screen was the last answer before its end.
        let shown = world.state("daily");
        world.now += DAY_MS;
        world.consume(1);
        let (_, used, _, by) = world.closed_by()[0];
        assert_eq!(by.overage_units(used), shown.overage_units());
        assert_eq!(by.cost_minor(used), Some(shown.overage_cost().unwrap().minor));
    }
}

#[test]
fn overage_started_is_said_once_for_each_window_and_revision() {
    let mut world = World::new(&[daily(10, Policy::Overage)]);
    let started = |world: &mut World, units| {
        world.consume(units);
        names(world).contains(&SignalName::OverageStarted)
    };
    assert!(!started(&mut world, 10));
    assert!(started(&mut world, 1));
    assert!(!started(&mut world, 1));
    world.change_limits(&[daily(11, Policy::Overage)]);
    assert!(started(&mut world, 1));
    world.now += DAY_MS;
    assert!(started(&mut world, 12));
}

#[test]
fn forgiven_debt_stays_in_its_window() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    world.record(25);
    world.now += DAY_MS;
    assert_eq!(world.counts(), (0, 0, 0));
}

#[test]
fn carried_debt_is_used_from_the_start_of_the_next_window_on() {
    let mut world = World::new(&[carrying(daily(10, Policy::Block))]);
    world.record(25);
    assert_eq!(world.counts(), (25, 0, 15));
    world.now += DAY_MS;
    assert_eq!(world.counts(), (15, 0, 5), "5 more than this window allows are debt again");
    assert_eq!(world.consume(1).decision.verdict, EXHAUSTED);
    world.record(1);
    assert_eq!(world.counts(), (16, 0, 6));
    world.now += DAY_MS;
    assert_eq!(world.counts(), (6, 0, 0));
    world.consume(4);
    assert_eq!(world.consume(1).decision.verdict, EXHAUSTED);
    world.now += DAY_MS;
    assert_eq!(world.counts(), (0, 0, 0), "once");
}

#[test]
fn windows_without_use_take_debt_off_as_if_somebody_had_looked() {
    for skipped in 0..6 {
        let mut world = World::new(&[carrying(daily(10, Policy::Block))]);
        world.record(45);
        let mut looked = World::new(&[carrying(daily(10, Policy::Block))]);
        looked.record(45);
        for _ in 0..=skipped {
            looked.now += DAY_MS;
            let before = looked.counts();
            looked.ask(FeatureOp::Check { units: 1_000, attempt: true });
            assert_eq!(looked.counts(), before);
        }
        world.now += (skipped + 1) * DAY_MS;
        assert_eq!(world.counts(), looked.counts(), "{skipped} windows skipped");
        // And so are the windows on the way, each with what it was measured by.
        let rows = |world: &mut World| {
            world.now += 9 * DAY_MS;
            world.consume(1);
            let rows = world.closed_by().into_iter();
            rows.filter(|(_, used, ..)| *used > 0).collect::<Vec<_>>()
        };
        assert_eq!(rows(&mut world), rows(&mut looked), "{skipped} windows skipped");
    }
}

#[test]
fn debt_of_a_late_commit_is_carried_once() {
    for opened in [false, true] {
        let mut world = World::new(&[carrying(daily(10, Policy::Block))]);
        let id = world.reserve(10);
        world.now += 13 * HOUR_MS;
        if opened {
            world.consume(1);
        }
        world.commit(id, 14);
        let first = world.account.ledgers().iter().chain(&world.closed()).map(|l| l.debt).max();
        assert_eq!(first, Some(4));
        assert_eq!(world.counts(), (4 + u64::from(opened), 0, 0), "opened {opened}");
        world.consume(1);
        assert_eq!(world.counts(), (5 + u64::from(opened), 0, 0), "opened {opened}");
        world.now += DAY_MS;
        assert_eq!(world.counts(), (0, 0, 0));
    }
}

fn watched(limits: &[Limit]) -> World {
    let mut spec = spec(limits, SignalSwitches::default());
    for feature in &mut spec.features {
        feature.shadow = true;
    }
    World::of(spec)
}

#[test]
fn shadow_mode_counts_and_says_what_it_would_have_refused_and_refuses_nothing() {
    let mut world = watched(&[daily(10, Policy::Block)]);
    let within = world.consume(10).decision;
    assert_eq!((within.verdict, within.shadow), (Verdict::Allowed, None));
    let above = world.consume(5).decision;
    assert_eq!((above.verdict, above.shadow), (Verdict::Unbacked, Some(Denial::QuotaExhausted)));
    assert_eq!(world.counts(), (15, 0, 0), "counted, and nobody's debt");
    assert_eq!(world.check(1).decision.shadow, Some(Denial::QuotaExhausted));
    let held = world.ask(FeatureOp::Reserve { units: 3, hold_ms: HOUR_MS });
    assert_eq!(held.decision.shadow, Some(Denial::QuotaExhausted));
    let id = held.amounts.reservation.unwrap();
    let more = HoldOp::Extend { hold_ms: None, additional_units: 2 };
    assert_eq!(world.try_hold(id, more).unwrap().decision.shadow, Some(Denial::QuotaExhausted));
    assert_eq!(world.commit(id, 5).amounts.debt_units, 0);
    assert_eq!(world.counts(), (20, 0, 0));
}

#[test]
fn shadow_mode_allows_what_the_plan_does_not_contain_and_says_so() {
    let mut world = watched(&[daily(10, Policy::Block)]);
    world.account.profile.plan = world.id("bare");
    for units in 1..4 {
        let decision = world.consume(1).decision;
        assert_eq!(
            (decision.verdict.is_allowed(), decision.shadow),
            (true, Some(Denial::NotInPlan))
        );
        assert_eq!(decision.binding.unwrap().ledger.used, units);
        assert_eq!(world.told(), []);
    }
    let check = FeatureOp::Check { units: 1, attempt: true };
    let sso = world.try_ask("sso", check).unwrap().decision;
    assert_eq!((sso.verdict, sso.shadow), (Verdict::Allowed, Some(Denial::NotInPlan)));
}

#[test]
fn shadow_mode_of_a_feature_lifts_no_refusal_of_the_account() {
    let mut world = watched(&[daily(10, Policy::Block)]);
    world.account.profile.ends_at = Millis(world.now);
    assert_eq!(world.consume(1).decision.verdict, Verdict::Denied(Denial::SubscriptionEnded));
    world.account.profile.suspended = true;
    assert_eq!(world.consume(1).decision.verdict, Verdict::Denied(Denial::AccountSuspended));
}

#[test]
fn more_units_are_refused_to_an_account_that_may_not_use_anything() {
    let more = |additional_units| HoldOp::Extend { hold_ms: Some(2 * HOUR_MS), additional_units };
    type Bar = (fn(&mut World), Denial);
    let bar: [Bar; 2] = [
        (|world| world.account.profile.suspended = true, Denial::AccountSuspended),
        (|world| world.account.profile.ends_at = Millis(T0), Denial::SubscriptionEnded),
    ];
    for (bar, denial) in bar {
        let mut world = World::new(&[daily(10, Policy::Block)]);
        let id = world.reserve(2);
        bar(&mut world);
        let refused = world.try_hold(id, more(1)).unwrap();
        assert_eq!(refused.decision.verdict, Verdict::Denied(denial));
        assert_eq!(world.counts(), (0, 2, 0));
        assert!(world.try_hold(id, more(0)).unwrap().decision.verdict.is_allowed());
        assert_eq!(world.commit(id, 2).amounts.units, 2);
    }
}

#[test]
fn nothing_is_hit_where_nothing_is_in_the_way() {
    let mut world = World::new(&[daily(2, Policy::Unlimited)]);
    world.consume(5);
    assert_eq!(names(&world), [SignalName::UsageCeiling]);
    let mut world = World::new(&[daily(2, Policy::Block)]);
    world.account.profile.plan = world.id("bare");
    assert_eq!(world.record(5).amounts.debt_units, 5);
    assert_eq!(world.told(), []);
}

#[test]
fn units_in_flight_are_awaited_from_the_holds_of_the_same_feature() {
    let mut shape = spec(&[daily(2, Policy::Block)], SignalSwitches::default());
    let mut other = shape.features[0].clone();
    other.feature = "calls".to_owned();
    shape.features.push(other);
    let (_, given) = shape.plans[0].entitlements[0].clone();
    shape.plans[0].entitlements.push(("calls".to_owned(), given));
    let mut world = World::of(shape);
    world.try_ask("calls", FeatureOp::Reserve { units: 1, hold_ms: 10 }).unwrap();
    world.ask(FeatureOp::Reserve { units: 2, hold_ms: 500 });
    assert_eq!(world.consume(1).decision.retry_after_ms, Some(500));
    let long = FeatureOp::Reserve { units: 1, hold_ms: 5_000 };
    world.try_ask("calls", long).unwrap();
    let refused = world.try_ask("calls", FeatureOp::Consume { units: 1 }).unwrap().decision;
    assert_eq!(refused.retry_after_ms, Some(10));
}

#[test]
fn terms_are_part_of_a_limits_fingerprint_and_no_terms_leave_it_as_it_was() {
    let mark = |limit: Limit| {
        let world = World::new(&[limit]);
        world.state("daily").ledger.limit_mark
    };
    let base = daily(10, Policy::Overage);
    let marks = [
        mark(base.clone()),
        mark(priced(base.clone(), 1, None)),
        mark(priced(base.clone(), 2, None)),
        mark(priced(base.clone(), 2, Some(7))),
        mark(carrying(priced(base, 2, Some(7)))),
        mark(grace(daily(10, BY_TIME), 3, 24, None)),
        mark(grace(daily(10, BY_TIME), 3, 23, None)),
        mark(grace(daily(10, BY_TIME), 3, 23, Some((1, 12)))),
    ];
    let distinct: std::collections::BTreeSet<u32> = marks.into_iter().collect();
    assert_eq!(distinct.len(), marks.len());
    assert_eq!(
        mark(Limit { terms: LimitTerms::default(), ..daily(10, Policy::Overage) }),
        headroom_core::resolve::mark(Some(10), Policy::Overage, &[])
    );
}
