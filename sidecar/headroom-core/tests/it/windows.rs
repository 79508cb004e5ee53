//! Windows tile time: over month ends, leap days, clock changes and days that never were.

use headroom_core::account::Zone;
use headroom_core::catalog::Policy;
use headroom_core::time::{Millis, Window};
use headroom_core::window::{CalendarUnit, WindowRule, window_at};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::world::{DAY_MS, HOUR_MS, Limit, World, daily};

const UNITS: [CalendarUnit; 6] = [
    CalendarUnit::Hour,
    CalendarUnit::Day,
    CalendarUnit::Week,
    CalendarUnit::Month,
    CalendarUnit::Quarter,
    CalendarUnit::Year,
];

/// Zones, each with a time when its clocks or its calendar did something odd.
const ODD: [(&str, &str); 17] = [
    ("UTC", "2024-02-20T00:00:00Z"),
    ("America/New_York", "2024-02-20T00:00:00Z"),
    ("Europe/Berlin", "2024-03-01T00:00:00Z"),
    ("Australia/Lord_Howe", "2024-03-20T00:00:00Z"), // Changes by half an hour.
    ("Asia/Kathmandu", "1985-12-01T00:00:00Z"),      // To 5:45, at midnight.
    ("Pacific/Apia", "2011-12-01T00:00:00Z"),        // Had no 30 December.
    ("Pacific/Kwajalein", "1993-08-01T00:00:00Z"),   // Had no 21 August.
    ("America/Sao_Paulo", "2018-10-01T00:00:00Z"),   // Days that begin at one o'clock.
    ("America/Santiago", "2025-08-20T00:00:00Z"),
    ("America/Havana", "2025-02-20T00:00:00Z"), // Midnight twice.
    ("America/St_Johns", "2006-10-01T00:00:00Z"), // Back to yesterday, one minute after midnight.
    ("Asia/Gaza", "2014-10-01T00:00:00Z"),
    ("Africa/Casablanca", "2025-02-01T00:00:00Z"),
    ("Africa/Monrovia", "1971-12-01T00:00:00Z"), // 44 minutes and 30 seconds behind, until 1972.
    ("America/Anchorage", "1867-10-01T00:00:00Z"), // Bought: one day came twice.
    ("Asia/Manila", "1844-12-01T00:00:00Z"),     // Had no 31 December.
    ("Europe/Dublin", "1971-10-01T00:00:00Z"),
];

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn zone(name: &str) -> TimeZone {
    Zone::named(name).unwrap().rules().clone()
}

fn window(rule: WindowRule, anchor: i64, zone: &TimeZone, at: i64) -> (i64, i64) {
    let window = window_at(rule, Millis(anchor), zone, Millis(at));
    assert!(window.contains(Millis(at)), "{rule:?} {anchor} {at}: {window:?}");
    (window.start().0, window.end().0)
}

#[track_caller]
fn check(unit: CalendarUnit, name: &str, now: &str, start: &str, end: &str) {
    let found = window(WindowRule::Calendar(unit), 0, &zone(name), at(now));
    let shown = (Millis(found.0).to_string(), Millis(found.1).to_string());
    assert_eq!(shown, (start.to_owned(), end.to_owned()), "{unit:?} in {name} at {now}");
}

#[test]
fn calendar_windows_are_read_off_in_the_zone() {
    use CalendarUnit::{Day, Hour, Month, Quarter, Week, Year};
    let ny = "America/New_York";
    check(Hour, ny, "2024-07-04T12:34:56Z", "2024-07-04T12:00:00Z", "2024-07-04T13:00:00Z");
    check(Day, ny, "2024-07-04T03:59:59Z", "2024-07-03T04:00:00Z", "2024-07-04T04:00:00Z");
    check(Day, ny, "2024-07-04T04:00:00Z", "2024-07-04T04:00:00Z", "2024-07-05T04:00:00Z");
    check(Week, ny, "2024-07-04T12:00:00Z", "2024-07-01T04:00:00Z", "2024-07-08T04:00:00Z");
    check(Month, ny, "2024-02-29T12:00:00Z", "2024-02-01T05:00:00Z", "2024-03-01T05:00:00Z");
    check(Quarter, ny, "2024-02-29T12:00:00Z", "2024-01-01T05:00:00Z", "2024-04-01T04:00:00Z");
    check(Year, ny, "2024-02-29T12:00:00Z", "2024-01-01T05:00:00Z", "2025-01-01T05:00:00Z");
    check(Week, "UTC", "2024-12-31T00:00:00Z", "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z");
    check(Quarter, "UTC", "2024-12-31T00:00:00Z", "2024-10-01T00:00:00Z", "2025-01-01T00:00:00Z");
}

#[test]
fn days_are_longer_and_shorter_where_clocks_change() {
    use CalendarUnit::{Day, Month, Week};
    let ny = "America/New_York";
    check(Day, ny, "2024-03-10T12:00:00Z", "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z");
    check(Day, ny, "2024-11-03T12:00:00Z", "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z");
    check(Week, ny, "2024-11-03T12:00:00Z", "2024-10-28T04:00:00Z", "2024-11-04T05:00:00Z");
    let lord_howe = "Australia/Lord_Howe";
    check(Day, lord_howe, "2024-04-07T00:00:00Z", "2024-04-06T13:00:00Z", "2024-04-07T13:30:00Z");
    // No midnight: the day begins at one.
    let paulo = "America/Sao_Paulo";
    check(Day, paulo, "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
    // Midnight twice: the day begins at the first.
    let havana = "America/Havana";
    check(Day, havana, "2025-11-02T12:00:00Z", "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z");
    // Samoa had no 30 December 2011.
    let apia = "Pacific/Apia";
    check(Day, apia, "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
    check(Day, apia, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
    check(Week, apia, "2011-12-30T10:00:00Z", "2011-12-26T10:00:00Z", "2012-01-01T10:00:00Z");
    check(Month, apia, "2011-12-30T10:00:00Z", "2011-12-01T10:00:00Z", "2011-12-31T10:00:00Z");
    // In Newfoundland the new day lasted a minute, and then it was yesterday for an hour.
    let johns = "America/St_Johns";
    check(Day, johns, "2006-10-29T02:30:30Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z");
    check(Day, johns, "2006-10-29T02:45:00Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z");
}

/// Asks for windows from an instant on, and compares each with its neighbours.
fn check_tiles(rule: WindowRule, anchor: i64, zone: &TimeZone, from: i64, count: usize) {
    let mut here = window(rule, anchor, zone, from);
    for _ in 0..count {
        let (start, end) = here;
        let inside = [start, start + 1, (start + end) / 2, start + (end - start) / 3, end - 1];
        for at in inside.into_iter().filter(|at| start <= *at && *at < end) {
            let found = window(rule, anchor, zone, at);
            assert_eq!(found, here, "{rule:?} in {zone:?} at {}", Millis(at));
        }
        let next = window(rule, anchor, zone, end);
        assert_eq!(next.0, end, "{rule:?} in {zone:?} leaves a gap or overlaps");
        let before = window(rule, anchor, zone, start - 1);
        assert_eq!(before.1, start, "{rule:?} in {zone:?} leaves a gap or overlaps");
        here = next;
    }
}

#[test]
fn calendar_windows_tile_time_in_every_odd_zone() {
    for (name, from) in ODD {
        let zone = zone(name);
        for (unit, count) in UNITS.into_iter().zip([9_000, 400, 60, 30, 10, 4]) {
            check_tiles(WindowRule::Calendar(unit), 0, &zone, at(from), count);
        }
    }
}

/// The first instant at which the clocks of a zone show that day or a later one.
fn naive_midnight(zone: &TimeZone, day: i64) -> i64 {
    // Half minutes: there was an offset that had them.
    let instants = (day * DAY_MS - 15 * HOUR_MS..).step_by(30_000);
    let local = |at: i64| {
        let stamp = Timestamp::from_millisecond(at).unwrap();
        at + i64::from(zone.to_offset(stamp).seconds()) * 1000
    };
    instants.into_iter().find(|at| local(*at) >= day * DAY_MS).unwrap()
}

#[test]
fn days_begin_when_the_clocks_first_show_them() {
    // Half minutes are not fine enough for the mean times of the nineteenth century.
    for (name, from) in ODD.into_iter().filter(|(_, from)| !from.starts_with("18")) {
        let zone = zone(name);
        let first = at(from).div_euclid(DAY_MS);
        let days = (first..first + 400).map(|day| naive_midnight(&zone, day));
        let days: Vec<i64> = days.collect();
        for pair in days.windows(2).filter(|pair| pair[0] < pair[1]) {
            let rule = WindowRule::Calendar(CalendarUnit::Day);
            for at in [pair[0], pair[1] - 1] {
                let found = window(rule, 0, &zone, at);
                assert_eq!(found, (pair[0], pair[1]), "{name} at {}", Millis(at));
            }
        }
        for unit in [CalendarUnit::Week, CalendarUnit::Month, CalendarUnit::Quarter] {
            let (start, end) = window(WindowRule::Calendar(unit), 0, &zone, days[200]);
            let bounds = (days.contains(&start), days.contains(&end));
            assert_eq!(bounds, (true, true), "{unit:?} in {name} does not begin with a day");
        }
    }
}

#[test]
fn hours_are_counted_where_clocks_change() {
    // (zone, an instant of the day, windows of that day, the shortest in minutes)
    let days = [
        ("America/New_York", "2024-07-04T12:00:00Z", 24, 60),
        ("America/New_York", "2024-03-10T12:00:00Z", 23, 60),
        ("America/New_York", "2024-11-03T12:00:00Z", 25, 60),
        ("Europe/Berlin", "2024-03-31T12:00:00Z", 23, 60),
        ("Europe/Berlin", "2024-10-27T12:00:00Z", 25, 60),
        ("Australia/Lord_Howe", "2024-04-07T00:00:00Z", 25, 30),
        ("Australia/Lord_Howe", "2024-10-06T00:00:00Z", 24, 30),
        ("Asia/Kathmandu", "2024-07-04T12:00:00Z", 24, 60),
        ("America/Sao_Paulo", "2018-11-04T12:00:00Z", 23, 60),
        ("America/Sao_Paulo", "2019-02-16T12:00:00Z", 25, 60),
    ];
    for (name, now, count, minutes) in days {
        let zone = zone(name);
        let (day, day_end) = window(WindowRule::Calendar(CalendarUnit::Day), 0, &zone, at(now));
        let mut lengths = Vec::new();
        let mut here = day;
        while here < day_end {
            let (start, end) = window(WindowRule::Calendar(CalendarUnit::Hour), 0, &zone, here);
            assert_eq!(start, here, "{name}");
            lengths.push(end - start);
            here = end;
        }
        assert_eq!(here, day_end, "{name}: an hour belongs to two days");
        assert_eq!(
            (lengths.len(), lengths.iter().min()),
            (count, Some(&(minutes * 60_000))),
            "{name}"
        );
        assert!(lengths.iter().all(|ms| *ms <= HOUR_MS), "{name}");
    }
}

/// Days of a month, and the day number of a date, counted one by one.
fn month_days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1]
}

fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let months = |year| (1..=12).map(move |month| (year, month));
    let after = (1970..year).flat_map(months).chain((1..month).map(|month| (year, month)));
    let before = (year..1970).flat_map(months);
    let sum = |days: i64, (year, month)| days + month_days(year, month);
    after.fold(0, sum) - if year < 1970 { before.fold(0, sum) } else { 0 } + day - 1
}

/// `anchor + months`, never the last boundary + 1.
fn naive_boundary((year, month, day): (i64, i64, i64), time_ms: i64, months: i64) -> i64 {
    let counted = year * 12 + month - 1 + months;
    let (year, month) = (counted.div_euclid(12), counted.rem_euclid(12) + 1);
    day_number(year, month, day.min(month_days(year, month))) * DAY_MS + time_ms
}

#[test]
fn the_kth_billing_boundary_is_the_anchor_and_k_periods() {
    let anchors = [
        (2024, 1, 31),
        (2023, 1, 31),
        (2024, 1, 30),
        (2023, 12, 29),
        (2024, 2, 29),
        (2023, 8, 31),
        (1999, 12, 31),
        (1969, 12, 31),
        (1904, 2, 29),
        (2024, 6, 15),
    ];
    for anchor_day in anchors {
        for time_ms in [0, 36_900_123, DAY_MS - 1] {
            let anchor = naive_boundary(anchor_day, time_ms, 0);
            for months in [1, 2, 3, 5, 12, 120] {
                let boundary = |k| naive_boundary(anchor_day, time_ms, k * i64::from(months));
                for k in -14..15 {
                    let expected = (boundary(k), boundary(k + 1));
                    let rule = WindowRule::Billing { months };
                    for at in [expected.0, (expected.0 + expected.1) / 2, expected.1 - 1] {
                        let found = window(rule, anchor, &TimeZone::UTC, at);
                        assert_eq!(found, expected, "{anchor_day:?} and {k} times {months} months");
                    }
                }
            }
        }
    }
}

#[test]
fn a_month_end_does_not_drift() {
    let anchor = at("2024-01-31T10:00:00Z");
    let rule = WindowRule::Billing { months: 1 };
    let mut here = anchor;
    let expected = ["01-31", "02-29", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31"];
    for day in expected {
        assert_eq!(Millis(here).to_string(), format!("2024-{day}T10:00:00Z"));
        here = window(rule, anchor, &TimeZone::UTC, here).1;
    }
}

#[test]
fn billing_windows_are_counted_in_utc_whatever_the_zone() {
    let (anchor, now) = (at("2024-01-31T23:30:00Z"), at("2024-03-15T00:00:00Z"));
    let rule = WindowRule::Billing { months: 1 };
    let expected = window(rule, anchor, &TimeZone::UTC, now);
    for (name, _) in ODD {
        assert_eq!(window(rule, anchor, &zone(name), now), expected);
    }
}

#[test]
fn billing_windows_tile_time_before_and_after_the_anchor() {
    for anchor in ["2024-01-31T10:00:00Z", "1900-02-28T23:59:59.999Z", "2050-12-30T00:00:00Z"] {
        for months in [1, 7, 12] {
            let from = at("1990-05-05T05:05:05Z");
            check_tiles(WindowRule::Billing { months }, at(anchor), &TimeZone::UTC, from, 300);
        }
    }
}

#[test]
fn no_instant_is_without_a_window() {
    let calendar_ends = [Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond()];
    let mut instants = vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1];
    for end in calendar_ends {
        for ms in [1, 1000, HOUR_MS, DAY_MS, 31 * DAY_MS, 370 * DAY_MS, 3700 * DAY_MS] {
            instants.extend([end - ms, end, end + ms]);
        }
    }
    let mut rules: Vec<WindowRule> = UNITS.into_iter().map(WindowRule::Calendar).collect();
    rules.extend([1, 12, 120].map(|months| WindowRule::Billing { months }));
    rules.push(WindowRule::Lifetime);
    for name in ["UTC", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"] {
        let zone = zone(name);
        for rule in &rules {
            for (anchor, at) in instants.iter().flat_map(|a| instants.iter().map(move |b| (*a, *b)))
            {
                window(*rule, anchor, &zone, at); // Asserts that the instant is inside.
            }
        }
    }
}

#[test]
fn a_lifetime_begins_at_the_anchor_or_with_the_first_use_before_it() {
    let rule = WindowRule::Lifetime;
    assert_eq!(window(rule, 100, &TimeZone::UTC, 500), (100, i64::MAX));
    assert_eq!(window(rule, 100, &TimeZone::UTC, 50), (50, i64::MAX));
    assert!(window_at(rule, Millis(1), &TimeZone::UTC, Millis(2)).is_lifetime());
}

/// Consumes in a window, changes something, and consumes in each of the next windows.
fn windows_after(change: fn(&mut World)) -> Vec<Window> {
    let monthly = |rule| Limit { limit: "daily", window: rule, ..daily(100, Policy::Block) };
    let mut world = World::new(&[monthly(WindowRule::Billing { months: 1 })]);
    let mut windows = Vec::new();
    for place in 0..16 {
        let window = world.consume(1).decision.binding.unwrap().ledger.window;
        if windows.last() != Some(&window) {
            windows.push(window);
        }
        if place == 0 {
            world.now += 3 * DAY_MS;
            change(&mut world);
            let still = world.consume(1).decision.binding.unwrap().ledger;
            assert_eq!((still.window, still.used), (window, 2), "what began goes on to its end");
        }
        world.now += 6 * DAY_MS;
    }
    assert_eq!(world.closed().len(), windows.len() - 1);
    windows
}

#[test]
fn windows_tile_also_when_their_rule_changes() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 5] = [
        ("anchor before", |world| world.account.profile.anchor = Millis(world.now - 40 * DAY_MS)),
        ("anchor after", |world| world.account.profile.anchor = Millis(world.now + 9 * DAY_MS)),
        ("two months", |world| {
            let window = WindowRule::Billing { months: 2 };
            world.change_limits(&[Limit { limit: "daily", window, ..daily(100, Policy::Block) }]);
        }),
        ("calendar", |world| {
            let window = WindowRule::Calendar(CalendarUnit::Month);
            world.change_limits(&[Limit { limit: "daily", window, ..daily(100, Policy::Block) }]);
        }),
        ("another zone", |world| {
            let zone = Zone::named("Pacific/Auckland").unwrap();
            world.account.profile.zone = Some(Box::new(zone));
        }),
    ];
    for (what, change) in changes {
        let windows = windows_after(change);
        assert!(windows.len() > 2, "{what}");
        for pair in windows.windows(2) {
            assert_eq!(pair[0].end(), pair[1].start(), "{what}: {windows:?}");
        }
    }
}
