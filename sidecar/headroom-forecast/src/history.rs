//! What was used, by the hour and by the day.
//!
//! Hours and days are those of UTC: a rhythm repeats in any zone, and no sample has to know one.

use std::collections::VecDeque;

use crate::limits::{DAY_MS, DAYS_MAX, HOUR_MS, HOURS_MAX, INSTANT_MS_MAX};

/// Units used by hour and by day, of one limit of one account.
///
/// Bounded: [`HOURS_MAX`] hours and [`DAYS_MAX`] days; the oldest leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    // Invariant: since_ms <= until_ms, and each series ends with the step of the last millisecond
    // before `until_ms`, or is empty when nothing was observed yet.
    since_ms: i64,
    until_ms: i64,
    hours: Series,
    days: Series,
}

/// One step of a series: what was used in `[from_ms, to_ms)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Begin, in milliseconds since the Unix epoch. The first step begins with the observation.
    pub from_ms: i64,
    /// End. The last step ends with the observation.
    pub to_ms: i64,
    /// Units used.
    pub units: u64,
}

impl History {
    /// Nothing was observed yet; observation begins at `since_ms`, in milliseconds since the epoch.
    pub fn new(since_ms: i64) -> History {
        let since_ms = since_ms.clamp(-INSTANT_MS_MAX, INSTANT_MS_MAX);
        let hours = Series::new(HOUR_MS, HOURS_MAX, since_ms);
        let days = Series::new(DAY_MS, DAYS_MAX, since_ms);
        History { since_ms, until_ms: since_ms, hours, days }
    }

    /// When observation began.
    pub fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// Until when it went.
    pub fn until_ms(&self) -> i64 {
        self.until_ms
    }

    /// Goes on until `until_ms`, in which time `units` were used: evenly, as nothing better is known.
    /// When no time has passed, they are added to the last hour.
    pub fn observe(&mut self, until_ms: i64, units: u64) {
        let until_ms = until_ms.min(INSTANT_MS_MAX + 1).max(self.since_ms + 1);
        let from_ms = if until_ms <= self.until_ms { self.until_ms - 1 } else { self.until_ms };
        let until_ms = until_ms.max(self.until_ms);
        self.hours.add(from_ms, until_ms, units);
        self.days.add(from_ms, until_ms, units);
        self.until_ms = until_ms;
    }

    /// Takes units back that were counted too much, from the newest hours on; what they do not hold
    /// was forgotten already.
    pub fn take_back(&mut self, units: u64) {
        self.hours.take_back(units);
        self.days.take_back(units);
    }

    /// The hours that are known one by one, oldest first.
    pub fn hours(&self) -> impl DoubleEndedIterator<Item = Step> + ExactSizeIterator {
        self.hours.steps(self.since_ms, self.until_ms)
    }

    /// The days, oldest first.
    pub fn days(&self) -> impl DoubleEndedIterator<Item = Step> + ExactSizeIterator {
        self.days.steps(self.since_ms, self.until_ms)
    }

    /// The history as bytes, some two per hour and day.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.since_ms.to_le_bytes());
        bytes.extend_from_slice(&self.until_ms.to_le_bytes());
        for series in [&self.hours, &self.days] {
            bytes.extend_from_slice(&series.first.to_le_bytes());
            put_number(&mut bytes, series.units.len() as u64);
            for units in &series.units {
                put_number(&mut bytes, *units);
            }
        }
        bytes
    }

    /// Reads what [`History::to_bytes`] wrote. `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<History> {
        let mut rest = bytes.strip_prefix(&[FORMAT])?;
        let since_ms = take_i64(&mut rest)?;
        let until_ms = take_i64(&mut rest)?;
        if since_ms < -INSTANT_MS_MAX || INSTANT_MS_MAX + 1 < until_ms {
            return None;
        }
        let mut history = History::new(since_ms);
        history.until_ms = until_ms;
        for series in [&mut history.hours, &mut history.days] {
            series.first = take_i64(&mut rest)?;
            let length = usize::try_from(take_number(&mut rest)?).ok()?;
            if series.steps_max < length {
                return None;
            }
            for _ in 0..length {
                series.units.push_back(take_number(&mut rest)?);
            }
            let last = (until_ms - 1).div_euclid(series.step_ms);
            let ends_there = series.first.checked_add_unsigned(length as u64)? == last + 1;
            let is_new = length == 0 && since_ms == until_ms;
            if !(is_new || length > 0 && ends_there) {
                return None;
            }
        }
        (rest.is_empty() && since_ms <= until_ms).then_some(history)
    }
}

/// The form of the bytes.
const FORMAT: u8 = 1;

/// Units by steps of equal length.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Series {
    step_ms: i64,
    steps_max: usize,
    /// The number of the first step, counted from the epoch.
    first: i64,
    units: VecDeque<u64>,
}

impl Series {
    fn new(step_ms: i64, steps_max: usize, since_ms: i64) -> Series {
        let first = since_ms.div_euclid(step_ms);
        Series { step_ms, steps_max, first, units: VecDeque::new() }
    }

    /// Spreads `units` over the steps of `[from_ms, until_ms)`, by the parts of it that they hold.
    fn add(&mut self, from_ms: i64, until_ms: i64, units: u64) {
        let step_ms = self.step_ms;
        let (first, last) = (from_ms.div_euclid(step_ms), (until_ms - 1).div_euclid(step_ms));
        // Steps that would leave at once are not made: a clock may jump by years.
        let kept = last + 1 - i64::try_from(self.steps_max).unwrap_or(i64::MAX);
        let begin = self.first.max(kept);
        while self.first < begin && !self.units.is_empty() {
            self.units.pop_front();
            self.first += 1;
        }
        self.first = begin;
        let length = usize::try_from(last + 1 - begin).unwrap_or(0);
        self.units.resize(length.max(self.units.len()), 0);
        let whole_ms = u128::from((until_ms - from_ms).unsigned_abs());
        // Each step gets the difference of two rounded shares, so they add up to the units.
        let share = |to_ms: i64| {
            let part_ms = u128::from((to_ms.min(until_ms) - from_ms).max(0).unsigned_abs());
            u64::try_from(u128::from(units) * part_ms / whole_ms).unwrap_or(u64::MAX)
        };
        for step in first.max(begin)..=last {
            let added = share((step + 1) * step_ms) - share(step * step_ms);
            let slot = usize::try_from(step - begin).ok().and_then(|at| self.units.get_mut(at));
            if let Some(slot) = slot {
                *slot = slot.saturating_add(added);
            }
        }
    }

    fn take_back(&mut self, mut units: u64) {
        for slot in self.units.iter_mut().rev() {
            let taken = units.min(*slot);
            *slot -= taken;
            units -= taken;
        }
    }

    fn steps(
        &self,
        since_ms: i64,
        until_ms: i64,
    ) -> impl DoubleEndedIterator<Item = Step> + ExactSizeIterator {
        let (first, step_ms) = (self.first, self.step_ms);
        self.units.iter().enumerate().map(move |(place, units)| {
            let begin_ms = (first + place as i64) * step_ms;
            let (from_ms, to_ms) = (begin_ms.max(since_ms), (begin_ms + step_ms).min(until_ms));
            Step { from_ms, to_ms, units: *units }
        })
    }
}

/// Seven bits to a byte, the lowest first.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(i64::from_le_bytes(*number))
}
