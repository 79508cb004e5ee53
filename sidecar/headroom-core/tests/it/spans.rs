//! Windows of so many units: fixed ones, which lie where the anchor puts them, and those that begin
//! with the first use.

use headroom_core::account::Zone;
use headroom_core::catalog::Policy;
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, LimitState, Verdict, WindowPhase};
use headroom_core::time::{Millis, Window};
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule, window_at};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::world::{DAY_MS, Dice, HOUR_MS, Limit, T0, World, daily};

fn every(count: u16, unit: SpanUnit) -> Every {
    Every { count, unit }
}

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn zone(name: &str) -> TimeZone {
    Zone::named(name).unwrap().rules().clone()
}

fn fixed_at(every: Every, anchor: i64, at: i64) -> (i64, i64) {
    let window = window_at(WindowRule::Fixed(every), Millis(anchor), &TimeZone::UTC, Millis(at));
    assert!(window.contains(Millis(at)), "{every:?} {anchor} {at}: {window:?}");
    (window.start().0, window.end().0)
}

fn world(window: WindowRule, included: u64) -> World {
    World::new(&[Limit { window, ..daily(included, Policy::Block) }])
}

fn five_hours() -> WindowRule {
    WindowRule::FirstUse(every(5, SpanUnit::Hour))
}

fn binding(outcome: headroom_core::decision::Outcome) -> LimitState {
    outcome.decision.binding.unwrap()
}

#[test]
fn the_kth_fixed_boundary_is_the_anchor_and_k_spans() {
    let length_ms = |unit| match unit {
        SpanUnit::Hour => HOUR_MS,
        SpanUnit::Day => DAY_MS,
        SpanUnit::Week => 7 * DAY_MS,
        SpanUnit::Month => unreachable!(),
    };
    for unit in [SpanUnit::Hour, SpanUnit::Day, SpanUnit::Week] {
        for count in [1, 2, 5, 90] {
            for anchor in [0, 1, T0 - 123_456_789, at("1969-12-31T23:59:59.999Z")] {
                let span_ms = length_ms(unit) * i64::from(count);
                for k in [-1000, -2, -1, 0, 1, 2, 3, 1000] {
                    let expected = (anchor + k * span_ms, anchor + (k + 1) * span_ms);
                    for inside in [expected.0, (expected.0 + expected.1) / 2, expected.1 - 1] {
                        assert_eq!(fixed_at(every(count, unit), anchor, inside), expected);
                    }
                }
            }
        }
    }
}

#[test]
fn fixed_months_do_not_drift_from_day_31_to_28() {
    let anchor = at("2024-01-31T10:00:00Z");
    let mut here = anchor;
    for day in ["01-31", "02-29", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31"] {
        assert_eq!(Millis(here).to_string(), format!("2024-{day}T10:00:00Z"));
        here = fixed_at(every(1, SpanUnit::Month), anchor, here).1;
    }
    let quarter = fixed_at(every(3, SpanUnit::Month), anchor, at("2025-05-01T00:00:00Z"));
    assert_eq!(quarter, (at("2025-04-30T10:00:00Z"), at("2025-07-31T10:00:00Z")));
}

#[test]
fn fixed_months_are_the_months_of_billing() {
    for anchor in ["2024-02-29T00:00:00Z", "2023-12-31T23:59:59Z", "1999-08-30T12:00:00Z"] {
        for count in [1, 2, 7, 12] {
            for day in 0..900 {
                let (anchor, now) = (at(anchor), at("2023-06-15T05:00:00Z") + day * DAY_MS);
                let billing = WindowRule::Billing { months: count };
                let billing = window_at(billing, Millis(anchor), &TimeZone::UTC, Millis(now));
                let fixed = fixed_at(every(count, SpanUnit::Month), anchor, now);
                assert_eq!(fixed, (billing.start().0, billing.end().0));
            }
        }
    }
}

#[test]
fn fixed_windows_tile_time_and_no_zone_or_clock_change_moves_them() {
    let mut dice = Dice(1);
    for _ in 0..3_000 {
        let unit = SpanUnit::ALL[dice.below(4) as usize];
        let every = every(1 + dice.below(u64::from(unit.count_max())) as u16, unit);
        // Forty years around, so that leap days and clock changes are among them.
        let anchor = at("2000-01-01T00:00:00Z") + dice.below(40 * 366 * DAY_MS as u64) as i64;
        let now = at("2000-01-01T00:00:00Z") + dice.below(40 * 366 * DAY_MS as u64) as i64;
        let (start, end) = fixed_at(every, anchor, now);
        assert_eq!(fixed_at(every, anchor, end).0, end, "{every:?}");
        assert_eq!(fixed_at(every, anchor, start - 1).1, start, "{every:?}");
        assert_eq!(fixed_at(every, anchor, start), (start, end));
        for name in ["America/New_York", "Australia/Lord_Howe", "Pacific/Apia"] {
            let rule = WindowRule::Fixed(every);
            let there = window_at(rule, Millis(anchor), &zone(name), Millis(now));
            assert_eq!((there.start().0, there.end().0), (start, end));
        }
    }
}

#[test]
fn no_instant_is_without_a_window() {
    let calendar_ends = [Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond()];
    let mut instants = vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1];
    for end in calendar_ends {
        for ms in [1, HOUR_MS, DAY_MS, 31 * DAY_MS, 4_000 * DAY_MS] {
            instants.extend([end - ms, end, end + ms]);
        }
    }
    for unit in SpanUnit::ALL {
        for count in [1, 5, unit.count_max()] {
            let every = every(count, unit);
            let rules =
                [WindowRule::Fixed(every), WindowRule::FirstUse(every), WindowRule::Sliding(every)];
            for (rule, anchor) in
                rules.into_iter().flat_map(|r| instants.iter().map(move |a| (r, *a)))
            {
                for now in &instants {
                    let found = window_at(rule, Millis(anchor), &TimeZone::UTC, Millis(*now));
                    assert!(found.contains(Millis(*now)), "{rule:?} {anchor} {now}");
                }
            }
        }
    }
}

#[test]
fn a_fixed_window_does_not_start_at_the_first_write() {
    let mut world = world(WindowRule::Fixed(every(5, SpanUnit::Hour)), 10);
    let anchor = world.account.profile.anchor.0;
    world.now = anchor + 12 * HOUR_MS;
    let checked = binding(world.check(1));
    let used = binding(world.consume(4));
    for state in [checked, used] {
        assert_eq!(state.phase, WindowPhase::Open);
        assert_eq!(state.ledger.window.start().0, anchor + 10 * HOUR_MS);
        assert_eq!(state.frees_at().0, anchor + 15 * HOUR_MS);
    }
    // Three hours after that write, and not five, the next window has everything again.
    world.now = anchor + 15 * HOUR_MS;
    assert_eq!(binding(world.check(1)).drawable_units_remaining(), Some(10));
}

#[test]
fn a_check_or_a_refusal_never_begins_a_first_use_window() {
    let mut world = world(five_hours(), 10);
    for op in [
        FeatureOp::Check { units: 3, attempt: true },
        FeatureOp::Check { units: 30, attempt: true },
        FeatureOp::Check { units: 3, attempt: false },
        FeatureOp::Consume { units: 11 },
        FeatureOp::Reserve { units: 11, hold_ms: 1 },
    ] {
        let outcome = world.ask(op);
        assert_eq!(world.last, [], "{op:?}");
        assert_eq!(outcome.decision.retry_after_ms, None, "waiting does not help: {op:?}");
        let state = binding(outcome);
        assert_eq!(state.phase, WindowPhase::NotBegun, "{op:?}");
        assert_eq!(state.drawable_units_remaining(), Some(10), "{op:?}");
        assert_eq!(state.frees_at(), Millis::FOREVER);
        world.now += HOUR_MS;
    }
    assert_eq!(world.account.ledgers(), []);
}

#[test]
fn a_first_use_window_begins_with_each_kind_of_admitted_use() {
    let uses: [fn(&mut World); 3] = [
        |world| drop(world.consume(1)),
        |world| drop(world.record(1)),
        |world| _ = world.reserve(1),
    ];
    for first in uses {
        let mut world = world(five_hours(), 10);
        world.now += 17;
        first(&mut world);
        let begun = world.state("daily");
        assert_eq!(begun.phase, WindowPhase::Open);
        let window = Window::new(Millis(T0 + 17), Millis(T0 + 17 + 5 * HOUR_MS)).unwrap();
        assert_eq!((begun.ledger.window, begun.frees_at()), (window, window.end()));
        // A later use is counted in the same window.
        world.now = window.end().0 - 1;
        assert_eq!(binding(world.consume(2)).ledger.window, window);
        // When it has ended nothing is open, until somebody uses it again.
        world.now += 1;
        assert_eq!(world.state("daily").phase, WindowPhase::NotBegun);
        assert_eq!(world.state("daily").ledger.used, 0);
        world.now += 40 * DAY_MS;
        assert_eq!(binding(world.consume(2)).ledger.window.start().0, world.now);
    }
}

#[test]
fn a_released_reservation_was_a_first_use_all_the_same() {
    let mut world = world(five_hours(), 10);
    let id = world.reserve(4);
    world.now += 1;
    world.try_hold(id, HoldOp::Release).unwrap();
    let state = world.state("daily");
    assert_eq!((state.phase, state.ledger.window.start().0), (WindowPhase::Open, T0));
}

#[test]
fn a_late_commit_is_booked_into_the_window_of_its_reservation_and_begins_none() {
    let mut world = world(five_hours(), 10);
    let id = world.reserve(4);
    world.now += 6 * HOUR_MS;
    let committed = world.commit(id, 3);
    assert_eq!(binding(committed).ledger.window.start().0, T0);
    assert_eq!(world.state("daily").phase, WindowPhase::NotBegun);
    let next = binding(world.consume(1));
    assert_eq!((next.ledger.window.start().0, next.ledger.used), (world.now, 1));
    let used: Vec<u64> = world.closed().iter().map(|ledger| ledger.used).collect();
    assert_eq!(used, [3]);
}

#[test]
fn a_first_use_window_that_began_keeps_its_length_when_the_catalog_changes_it() {
    let mut world = world(five_hours(), 10);
    world.consume(1);
    let longer = WindowRule::FirstUse(every(2, SpanUnit::Day));
    world.change_limits(&[Limit { window: longer, ..daily(10, Policy::Block) }]);
    world.now += HOUR_MS;
    assert_eq!(binding(world.consume(1)).ledger.window.end().0, T0 + 5 * HOUR_MS);
    world.now = T0 + 9 * HOUR_MS;
    let next = binding(world.consume(1)).ledger.window;
    assert_eq!((next.start().0, next.end().0), (world.now, world.now + 2 * DAY_MS));
}

#[test]
fn a_first_use_of_months_ends_on_the_same_day_or_the_last_of_the_month() {
    let mut world = world(WindowRule::FirstUse(every(1, SpanUnit::Month)), 10);
    for (first, end) in [
        ("2026-03-31T10:00:00Z", "2026-04-30T10:00:00Z"),
        ("2026-05-15T00:00:00Z", "2026-06-15T00:00:00Z"),
        ("2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z"),
    ] {
        world.now = at(first);
        assert_eq!(binding(world.consume(1)).ledger.window.end().0, at(end));
    }
}

#[test]
fn five_hours_and_a_week_are_charged_together_or_not_at_all() {
    let weekly = Limit {
        limit: "weekly",
        window: WindowRule::Fixed(every(1, SpanUnit::Week)),
        ..daily(5_000_000, Policy::Block)
    };
    let session =
        Limit { limit: "session", window: five_hours(), ..daily(1_000_000, Policy::Block) };
    let mut world = World::new(&[session, weekly]);
    let begin = world.now;
    for place in 1..=5 {
        world.consume(600_000);
        let refused = world.consume(600_000).decision;
        assert_eq!(refused.verdict, Verdict::Denied(Denial::QuotaExhausted));
        let used = |limit| world.state(limit).ledger.used;
        assert_eq!((used("session"), used("weekly")), (600_000, place * 600_000));
        // The five hours refuse, and name their own end.
        let by = refused.binding.unwrap();
        assert_eq!(world.catalog.text(by.ledger.limit), "session");
        assert_eq!(refused.retry_after_ms, Some(5 * HOUR_MS));
        world.now += 5 * HOUR_MS;
        world.consume(400_000);
        let used = |limit| world.state(limit).ledger.used;
        assert_eq!(used("session"), 400_000);
        world.set("weekly", place * 600_000, 0);
        world.now += 5 * HOUR_MS;
    }
    world.set("weekly", 4_900_000, 0);
    let refused = world.consume(200_000).decision;
    let by = refused.binding.unwrap();
    assert_eq!(world.catalog.text(by.ledger.limit), "weekly");
    let anchor = world.account.profile.anchor.0;
    assert!(begin < anchor + 7 * DAY_MS && world.now < anchor + 7 * DAY_MS);
    assert_eq!(refused.retry_after_ms, Some(anchor + 7 * DAY_MS - world.now));
    assert_eq!(world.state("session").phase, WindowPhase::NotBegun, "a refusal charges neither");
}

/// The windows of a calendar limit used every hour or so, while the account moves about the world.
fn moving_windows(unit: CalendarUnit, moves: &[(&str, i64)]) -> Vec<Window> {
    let mut world = world(WindowRule::Calendar(unit), 1_000_000);
    let mut windows: Vec<Window> = Vec::new();
    for (name, hours) in moves {
        world.account.profile.zone = Some(Box::new(Zone::named(name).unwrap()));
        for hour in 0..*hours {
            let window = binding(world.consume(1)).ledger.window;
            if let Some(last) = windows.last().filter(|last| **last != window) {
                assert!(last.end().0 <= world.now, "{name}: a window that began stays");
            }
            if windows.last() != Some(&window) {
                windows.push(window);
            }
            if hour == 0 && windows.len() > 1 {
                assert!(window.contains(Millis(world.now)));
            }
            world.now += HOUR_MS;
        }
    }
    windows
}

#[test]
fn a_calendar_window_that_began_stays_when_the_account_changes_its_zone() {
    let moves = [("UTC", 30), ("Pacific/Auckland", 50), ("America/Los_Angeles", 80), ("UTC", 40)];
    for unit in [CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Week] {
        let windows = moving_windows(unit, &moves);
        for pair in windows.windows(2) {
            assert_eq!(pair[0].end(), pair[1].start(), "{unit:?}: {windows:?}");
        }
    }
    // Noon in UTC on the 10th: the day ends at midnight UTC, the next is cut to Auckland's noon.
    let days = moving_windows(CalendarUnit::Day, &[("UTC", 6), ("Pacific/Auckland", 48)]);
    let ends: Vec<String> = days.iter().map(|day| day.end().to_string()).collect();
    assert_eq!(ends[..2], ["2026-03-11T00:00:00Z", "2026-03-11T11:00:00Z"]);
    assert_eq!(ends[2], "2026-03-12T11:00:00Z");
}

#[test]
fn calendar_days_of_an_account_follow_its_clocks_over_a_change() {
    // New York, 8 March 2026: 23 hours; 1 November: 25.
    for (from, hours) in [("2026-03-08T05:00:00Z", 23), ("2026-11-01T04:00:00Z", 25)] {
        let mut world = world(WindowRule::Calendar(CalendarUnit::Day), 10);
        world.account.profile.zone = Some(Box::new(Zone::named("America/New_York").unwrap()));
        world.now = at(from);
        world.consume(10);
        let refused = world.consume(1).decision;
        assert_eq!(refused.retry_after_ms, Some(hours * HOUR_MS));
        world.now += hours * HOUR_MS - 1;
        assert!(!world.consume(1).decision.verdict.is_allowed());
        world.now += 1;
        assert!(world.consume(1).decision.verdict.is_allowed());
    }
}
