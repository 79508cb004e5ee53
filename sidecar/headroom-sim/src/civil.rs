//! Windows the naive way: days counted one by one, midnights found by trying instants.
//!
//! Nothing is shared with `headroom_core::window` but the names of the rules. Of jiff only the offset
//! of an instant is used. Zones must change their clocks at whole quarters of an hour, and not
//! within a quarter of midnight: all zones of our years do.

use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};
use jiff::Timestamp;
use jiff::tz::TimeZone;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Stands for "never".
pub const FOREVER: i64 = i64::MAX;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Day {
    year: i64,
    month: i64,
    day: i64,
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn year_days(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

/// The day that is `number` days after 1 January 1970.
fn day_of(number: i64) -> Day {
    let mut left = number;
    let mut year = 1970;
    while left < 0 {
        year -= 1;
        left += year_days(year);
    }
    while left >= year_days(year) {
        left -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    while left >= month_days(year, month) {
        left -= month_days(year, month);
        month += 1;
    }
    Day { year, month, day: left + 1 }
}

/// How many days after 1 January 1970 a day is.
fn number_of(day: Day) -> i64 {
    let mut number = 0;
    for year in 1970..day.year {
        number += year_days(year);
    }
    for year in day.year..1970 {
        number -= year_days(year);
    }
    for month in 1..day.month {
        number += month_days(day.year, month);
    }
    number + day.day - 1
}

/// `anchor` and so many months, in UTC; a day the month does not have is its last.
fn months_after(anchor: i64, months: i64) -> i64 {
    let from = day_of(anchor.div_euclid(DAY_MS));
    let counted = from.year * 12 + (from.month - 1) + months;
    let (year, month) = (counted.div_euclid(12), counted.rem_euclid(12) + 1);
    let day = Day { year, month, day: from.day.min(month_days(year, month)) };
    number_of(day) * DAY_MS + anchor.rem_euclid(DAY_MS)
}

fn offset_ms(zone: &TimeZone, at: i64) -> i64 {
    let stamp = Timestamp::from_millisecond(at).expect("an instant of our years");
    i64::from(zone.to_offset(stamp).seconds()) * 1000
}

fn local(zone: &TimeZone, at: i64) -> i64 {
    at + offset_ms(zone, at)
}

/// The first instant at which the clocks show that day, or a later one.
fn midnight(zone: &TimeZone, number: i64) -> i64 {
    let mut at = number * DAY_MS - 15 * HOUR_MS;
    while local(zone, at) < number * DAY_MS {
        at += 15 * MINUTE_MS;
    }
    at
}

fn first_and_next(unit: CalendarUnit, number: i64) -> (i64, i64) {
    let begins = |number: i64| {
        let day = day_of(number);
        match unit {
            CalendarUnit::Hour | CalendarUnit::Day => true,
            // 1 January 1970 was a Thursday, so day 4 was a Monday.
            CalendarUnit::Week => (number - 4).rem_euclid(7) == 0,
            CalendarUnit::Month => day.day == 1,
            CalendarUnit::Quarter => day.day == 1 && matches!(day.month, 1 | 4 | 7 | 10),
            CalendarUnit::Year => day.day == 1 && day.month == 1,
        }
    };
    let mut first = number;
    while !begins(first) {
        first -= 1;
    }
    let mut next = number + 1;
    while !begins(next) {
        next += 1;
    }
    (first, next)
}

fn hour(zone: &TimeZone, at: i64) -> (i64, i64) {
    let label = |at: i64| (local(zone, at).div_euclid(HOUR_MS), offset_ms(zone, at));
    let mut start = at - local(zone, at).rem_euclid(MINUTE_MS);
    let mut end = start + MINUTE_MS;
    while label(start - 1) == label(at) {
        start -= MINUTE_MS;
    }
    while label(end) == label(at) {
        end += MINUTE_MS;
    }
    (start, end)
}

/// Milliseconds of what always has the same length.
fn plain_ms(every: Every) -> Option<i64> {
    let unit = match every.unit {
        SpanUnit::Hour => HOUR_MS,
        SpanUnit::Day => DAY_MS,
        SpanUnit::Week => 7 * DAY_MS,
        SpanUnit::Month => return None,
    };
    Some(i64::from(every.count) * unit)
}

/// `from` and `k` times so much, in UTC.
fn after(every: Every, from: i64, k: i64) -> i64 {
    match plain_ms(every) {
        Some(ms) => from + k * ms,
        None => months_after(from, k * i64::from(every.count)),
    }
}

/// The window of `rule` that contains `at`: its first instant, and the first one after it.
pub fn window(rule: WindowRule, anchor: i64, zone: &TimeZone, at: i64) -> (i64, i64) {
    match rule {
        WindowRule::Lifetime => (anchor.min(at), FOREVER),
        WindowRule::Billing { months } => {
            let months = i64::from(months);
            let mut k = 0;
            while months_after(anchor, k * months) > at {
                k -= 1;
            }
            while months_after(anchor, (k + 1) * months) <= at {
                k += 1;
            }
            (months_after(anchor, k * months), months_after(anchor, (k + 1) * months))
        }
        WindowRule::Fixed(every) => {
            let mut k = match plain_ms(every) {
                // A guess near enough, so that the steps are few.
                Some(ms) => (at - anchor) / ms - 1,
                None => 0,
            };
            while after(every, anchor, k) > at {
                k -= 1;
            }
            while after(every, anchor, k + 1) <= at {
                k += 1;
            }
            (after(every, anchor, k), after(every, anchor, k + 1))
        }
        WindowRule::FirstUse(every) => (at, after(every, at, 1)),
        WindowRule::Sliding(every) => {
            let bucket = plain_ms(every).expect("a checked catalog has no sliding months") / 24;
            let start = at - at.rem_euclid(bucket);
            (start, start + bucket)
        }
        WindowRule::Calendar(CalendarUnit::Hour) => hour(zone, at),
        WindowRule::Calendar(unit) => {
            let (first, next) = first_and_next(unit, local(zone, at).div_euclid(DAY_MS));
            (midnight(zone, first), midnight(zone, next))
        }
    }
}
