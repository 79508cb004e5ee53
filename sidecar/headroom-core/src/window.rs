//! Windows: the span of time that a limit counts over.
//!
//! The k-th boundary is always `anchor + k periods`, never the last boundary plus one, so 31 January
//! gives 28 February and then 31 March again. Windows of one rule tile time: each instant lies in
//! exactly one. Nothing resets a window; the next one is simply another ledger.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

use crate::time::{Millis, Window};

mod every;

pub(crate) use every::bucket_start_from;
pub use every::{Every, SpanUnit};

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CalendarUnit {
    /// From minute 0 to minute 0.
    Hour,
    /// From midnight to midnight; 23 to 25 hours long where clocks change.
    Day,
    /// From Monday to Monday (ISO 8601).
    Week,
    /// From the 1st to the 1st.
    Month,
    /// January, April, July and October.
    Quarter,
    /// From 1 January to 1 January.
    Year,
}

/// How the windows of a limit lie in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WindowRule {
    /// Every `months` months from the subscription's anchor, in UTC as billing systems count.
    Billing {
        /// Length in months, 1 to 120.
        months: u16,
    },
    /// By the calendar, in the account's time zone.
    Calendar(CalendarUnit),
    /// One after the other from the subscription's anchor, in UTC, whether there is usage or not.
    Fixed(Every),
    /// A window begins with the first use when none is open; between windows nothing is counted.
    FirstUse(Every),
    /// The last so many hours, days or weeks, kept as [`crate::limits::SLIDING_BUCKETS`] buckets. The
    /// windows of this rule are its buckets; [`crate::decide`] adds them up.
    Sliding(Every),
    /// One window that never ends.
    Lifetime,
}

/// The window of `rule` that contains `at`.
///
/// `anchor` is the instant billing and fixed windows are counted from, and the start of a lifetime
/// window; `zone` is where calendar windows are read off. Outside the years that calendars know (-9999 to
/// 9999) there is one endless window, so no instant is without one.
pub fn window_at(rule: WindowRule, anchor: Millis, zone: &TimeZone, at: Millis) -> Window {
    let found = match rule {
        WindowRule::Billing { months } => billing_window(anchor, months.max(1), at),
        WindowRule::Calendar(unit) => calendar_window(unit, zone, at),
        WindowRule::Fixed(every) => every::fixed_window(every, anchor, at),
        WindowRule::FirstUse(every) => every::window_from(every, at),
        WindowRule::Sliding(every) => every::bucket(every, at),
        WindowRule::Lifetime => None,
    };
    // A lifetime may be asked about an instant before the anchor (imported usage): it still counts.
    found.unwrap_or_else(|| Window::lifetime(anchor.min(at)))
}

fn billing_window(anchor: Millis, months: u16, at: Millis) -> Option<Window> {
    let origin = utc(anchor)?;
    let target = utc(at)?;
    let boundary = |k: i64| -> Option<Millis> {
        let span = Span::new().try_months(k.checked_mul(i64::from(months))?).ok()?;
        millis(origin.checked_add(span).ok()?, &TimeZone::UTC)
    };
    let months_between = (i64::from(target.year()) - i64::from(origin.year())) * 12
        + i64::from(target.month())
        - i64::from(origin.month());
    // At most one off: the calendar months differ by less than one from the elapsed ones.
    let mut k = months_between.div_euclid(i64::from(months));
    if at < boundary(k)? {
        k -= 1;
    } else if boundary(k + 1)? <= at {
        k += 1;
    }
    Window::new(boundary(k)?, boundary(k + 1)?)
}

fn calendar_window(unit: CalendarUnit, zone: &TimeZone, at: Millis) -> Option<Window> {
    let stamp = Timestamp::from_millisecond(at.0).ok()?;
    let local = zone.to_datetime(stamp);
    if unit == CalendarUnit::Hour {
        return hour_window(zone, stamp, local);
    }
    let begin = |day: Date| millis(day.to_datetime(Time::midnight()), zone);
    let first = first_day(unit, local.date())?;
    let next = first.checked_add(length(unit)).ok()?;
    let (mut start, mut end) = (begin(first)?, begin(next)?);
    if end <= at {
        // Clocks that went back over midnight show the old day again (St. John's, until 2011); the
        // new one has begun all the same.
        (start, end) = (end, begin(next.checked_add(length(unit)).ok()?)?);
    }
    Window::new(start, end)
}

/// Hours are counted on the instant line with the offset in force, so that the hour that happens
/// twice in autumn is two windows and the one that is skipped in spring is none.
fn hour_window(zone: &TimeZone, stamp: Timestamp, local: DateTime) -> Option<Window> {
    const HOUR_MS: i64 = 3_600_000;
    let into_hour_ms = i64::from(local.minute()) * 60_000
        + i64::from(local.second()) * 1000
        + i64::from(local.millisecond());
    let nominal = stamp.as_millisecond() - into_hour_ms;
    // Where the offset changes by a part of an hour (Lord Howe: 30 min), an hour is cut at the
    // change, on both sides, so that windows still tile.
    let mut start = nominal;
    let mut end = nominal + HOUR_MS;
    let mut before = zone.preceding(stamp.checked_add(1.millisecond()).ok()?);
    if let Some(change) = before.next() {
        start = start.max(change.timestamp().as_millisecond());
    }
    let mut after = zone.following(stamp);
    if let Some(change) = after.next() {
        end = end.min(change.timestamp().as_millisecond());
    }
    Window::new(Millis(start), Millis(end))
}

fn first_day(unit: CalendarUnit, day: Date) -> Option<Date> {
    match unit {
        CalendarUnit::Hour | CalendarUnit::Day => Some(day),
        CalendarUnit::Week => {
            let since_monday = i64::from(day.weekday().to_monday_zero_offset());
            day.checked_sub(since_monday.days()).ok()
        }
        CalendarUnit::Month => Some(day.first_of_month()),
        CalendarUnit::Quarter => Date::new(day.year(), (day.month() - 1) / 3 * 3 + 1, 1).ok(),
        CalendarUnit::Year => Some(day.first_of_year()),
    }
}

fn length(unit: CalendarUnit) -> Span {
    match unit {
        CalendarUnit::Hour => 1.hour(),
        CalendarUnit::Day => 1.day(),
        CalendarUnit::Week => 1.week(),
        CalendarUnit::Month => 1.month(),
        CalendarUnit::Quarter => 3.months(),
        CalendarUnit::Year => 1.year(),
    }
}

fn utc(at: Millis) -> Option<DateTime> {
    Some(TimeZone::UTC.to_datetime(Timestamp::from_millisecond(at.0).ok()?))
}

/// The instant of a civil time. A midnight that a clock change skips begins when the day does; one
/// that happens twice begins the first time ("compatible" in RFC 5545).
fn millis(local: DateTime, zone: &TimeZone) -> Option<Millis> {
    let stamp = zone.to_ambiguous_timestamp(local).compatible().ok()?;
    Some(Millis(stamp.as_millisecond()))
}
