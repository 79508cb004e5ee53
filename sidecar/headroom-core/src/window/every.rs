//! Spans of so many hours, days, weeks or months: `fixed`, `first_use` and the buckets of `sliding`.
//!
//! Hours, days and weeks are counted in UTC, where each has one length; months go by the calendar, as
//! billing does.

use crate::limits::SLIDING_BUCKETS;
use crate::time::{Millis, Window};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// A unit that spans are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpanUnit {
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// Seven days.
    Week,
    /// A month of the calendar; a day that a month does not have is its last.
    Month,
}

impl SpanUnit {
    /// Every unit, shortest first.
    pub const ALL: [SpanUnit; 4] = [SpanUnit::Hour, SpanUnit::Day, SpanUnit::Week, SpanUnit::Month];

    /// The word of the catalog, for one.
    pub fn as_str(self) -> &'static str {
        match self {
            SpanUnit::Hour => "hour",
            SpanUnit::Day => "day",
            SpanUnit::Week => "week",
            SpanUnit::Month => "month",
        }
    }

    /// Most of this unit that a window may have: a year of hours, ten years of the others.
    pub fn count_max(self) -> u16 {
        match self {
            SpanUnit::Hour => 8_760,
            SpanUnit::Day => 3_650,
            SpanUnit::Week => 520,
            SpanUnit::Month => 120,
        }
    }
}

/// So many units of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Every {
    /// How many, 1 to [`SpanUnit::count_max`].
    pub count: u16,
    /// Of what.
    pub unit: SpanUnit,
}

impl Every {
    /// Its length in milliseconds. `None`: months have no one length.
    pub fn length_ms(self) -> Option<i64> {
        let unit_ms = match self.unit {
            SpanUnit::Hour => HOUR_MS,
            SpanUnit::Day => 24 * HOUR_MS,
            SpanUnit::Week => 7 * 24 * HOUR_MS,
            SpanUnit::Month => return None,
        };
        Some(unit_ms * i64::from(self.count.max(1)))
    }

    /// The length of a sliding window, in milliseconds. Months, which the catalog check refuses there,
    /// count as 31 days.
    pub fn sliding_ms(self) -> i64 {
        let months_ms = i64::from(self.count.max(1)) * 31 * 24 * HOUR_MS;
        self.length_ms().unwrap_or(months_ms)
    }

    /// The length of one bucket of a sliding window, in milliseconds. There is no remainder: an hour
    /// is 24 times 150 seconds.
    pub fn bucket_ms(self) -> i64 {
        self.sliding_ms() / SLIDING_BUCKETS
    }
}

/// The window that contains `at` of those that lie `every` apart, counted from the anchor.
pub(super) fn fixed_window(every: Every, anchor: Millis, at: Millis) -> Option<Window> {
    match every.length_ms() {
        Some(length_ms) => tile(length_ms, anchor, at),
        None => super::billing_window(anchor, every.count.max(1), at),
    }
}

/// The window that begins at `at`.
pub(super) fn window_from(every: Every, at: Millis) -> Option<Window> {
    match every.length_ms() {
        Some(length_ms) => Window::new(at, at.plus(length_ms)),
        None => super::billing_window(at, every.count.max(1), at),
    }
}

/// The bucket of a sliding window that contains `at`. Buckets are counted from the epoch, so neither
/// an anchor nor a time zone moves them.
pub(super) fn bucket(every: Every, at: Millis) -> Option<Window> {
    tile(every.bucket_ms(), Millis(0), at)
}

/// The first start of a bucket at or after `at`; [`Millis::FOREVER`] when there is none.
pub(crate) fn bucket_start_from(every: Every, at: Millis) -> Millis {
    match bucket(every, at) {
        Some(bucket) if bucket.start() == at => at,
        Some(bucket) => bucket.end(),
        None => Millis::FOREVER,
    }
}

fn tile(length_ms: i64, anchor: Millis, at: Millis) -> Option<Window> {
    // Wide, because two instants may be further apart than an instant is from zero.
    let into_ms = (i128::from(at.0) - i128::from(anchor.0)).rem_euclid(i128::from(length_ms));
    let start = at.0.checked_sub(i64::try_from(into_ms).ok()?)?;
    Window::new(Millis(start), Millis(start.checked_add(length_ms)?))
}
