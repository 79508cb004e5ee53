//! Rates: token buckets, counted as GCRA in whole numbers.
//!
//! A bucket is what is missing in it after its last use. It fills by itself as time goes on, so two
//! numbers say all: with the rate they are one instant, the *theoretical arrival time* at which it is
//! full again. Time is counted in ticks so fine that nothing is ever rounded: with `units` a period, a
//! millisecond is `units` ticks and one unit is `period_ms` ticks. So 3 a second, or 7 a minute, are
//! exact for ever, and there is no drift.
//!
//! Invariant: in any span of t milliseconds at most `burst + t * units / period` units are admitted,
//! also over restarts.
//!
//! Bounds: a bucket fills within 7 days (2^30 ms), a millisecond has at most 2^53 ticks and a unit at
//! most 2^27, so every product is below 2^117 and all fits 128 bits. Bytes from a damaged disk may
//! say more; they saturate, at an empty bucket.

use crate::catalog::RateSpec;
use crate::limits;
use crate::names::NameId;
use crate::time::Millis;

/// How fast units come back, and how many a full bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    // Invariant: units and burst are 1 to 2^53-1, the period 1 ms to a day, and an empty bucket is
    // full within `RATE_FILL_MS_MAX`.
    units: u64,
    period_ms: u64,
    burst_units: u64,
}

impl Rate {
    /// A rate, or `None` when a number is out of its range or the bucket would take too long to fill.
    pub fn new(spec: RateSpec) -> Option<Rate> {
        let RateSpec { units, period_ms, burst_units } = spec;
        let counts = 1..=limits::UNITS_MAX;
        let is_good = counts.contains(&units)
            && counts.contains(&burst_units)
            && (1..=limits::RATE_PERIOD_MS_MAX).contains(&period_ms)
            && fill_ms(spec) <= u128::from(limits::RATE_FILL_MS_MAX.unsigned_abs());
        is_good.then(|| Rate { units, period_ms: period_ms.unsigned_abs(), burst_units })
    }

    /// Units that come back in each period.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The period in milliseconds.
    pub fn period_ms(&self) -> i64 {
        self.period_ms.cast_signed()
    }

    /// Units that a full bucket holds.
    pub fn burst_units(&self) -> u64 {
        self.burst_units
    }

    /// Whether it is faster than another, or as fast with a larger burst.
    pub fn is_better(&self, other: Rate) -> bool {
        let (own, theirs) = (self.pace(), other.pace());
        let is_as_fast = !theirs.is_faster(own);
        own.is_faster(theirs) || is_as_fast && other.burst_units < self.burst_units
    }

    /// So many times as fast, with so many times the burst. `None`: that is more than can be counted.
    pub fn times(self, quantity: u32) -> Option<Rate> {
        let quantity = u64::from(quantity);
        Rate::new(RateSpec {
            units: self.units.checked_mul(quantity)?,
            period_ms: self.period_ms(),
            burst_units: self.burst_units.checked_mul(quantity)?,
        })
    }

    /// Both together, to the unit: what comes back of each in the shortest period that holds those of both
    /// without a rest, and the bursts added up. `None`: that period is longer than a day, or it is more than
    /// can be counted.
    pub fn plus(self, other: Rate) -> Option<Rate> {
        let period_ms = shared_period_ms(self.period_ms, other.period_ms);
        let of = |rate: Rate| rate.units.checked_mul(period_ms / rate.period_ms);
        Rate::new(RateSpec {
            units: of(self)?.checked_add(of(other)?)?,
            period_ms: i64::try_from(period_ms).ok()?,
            burst_units: self.burst_units.checked_add(other.burst_units)?,
        })
    }

    /// As written.
    pub fn spec(&self) -> RateSpec {
        let (units, burst_units) = (self.units, self.burst_units);
        RateSpec { units, period_ms: self.period_ms(), burst_units }
    }

    fn pace(&self) -> Pace {
        Pace { units: self.units, period_ms: self.period_ms }
    }
}

/// The shortest period that holds two others without a rest: their least common multiple. Each is 1 to a day,
/// so it fits.
pub(crate) fn shared_period_ms(one: u64, other: u64) -> u64 {
    let (mut divisor, mut rest) = (one, other);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    one / divisor.max(1) * other
}

/// Milliseconds that an empty bucket takes to be full, rounded up.
pub(crate) fn fill_ms(spec: RateSpec) -> u128 {
    let ticks = u128::from(spec.burst_units) * u128::from(spec.period_ms.unsigned_abs());
    ticks.div_ceil(u128::from(spec.units.max(1)))
}

/// The bucket of one (account, feature, limit) after its last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The feature.
    pub feature: NameId,
    /// The limit.
    pub limit: NameId,
    /// When it was used last.
    pub used_at: Millis,
    /// Whole units that were missing then.
    pub missing_units: u64,
    /// The part of one more, in `period_ms`-ths of it; less than `period_ms`.
    pub missing_parts: u64,
    /// Units per period of its rate then; at least 1.
    pub units: u64,
    /// The period of its rate then, in milliseconds; at least 1.
    pub period_ms: u64,
    /// When the excursion that is still on was announced. `None`: the next refusal begins one.
    pub announced_at: Option<Millis>,
}

impl Bucket {
    fn pace(&self) -> Pace {
        Pace { units: self.units, period_ms: self.period_ms }
    }

    fn missing_ticks(&self) -> u128 {
        self.pace().ticks(self.missing_units).saturating_add(u128::from(self.missing_parts))
    }

    /// Whether nothing is missing any more, so that it is the same as no bucket.
    pub fn is_full(&self, now: Millis) -> bool {
        self.missing_ticks() <= self.pace().ticks_in(ms_between(self.used_at, now))
    }
}

/// How fast a bucket fills, apart from how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    units: u64,
    period_ms: u64,
}

impl Pace {
    fn ticks(self, units: u64) -> u128 {
        u128::from(units) * u128::from(self.period_ms)
    }

    fn ticks_in(self, ms: u64) -> u128 {
        u128::from(ms) * u128::from(self.units)
    }

    /// Rounded up: after so many milliseconds they have come, a millisecond earlier they have not.
    fn ms(self, ticks: u128) -> i64 {
        i64::try_from(ticks.div_ceil(u128::from(self.units))).unwrap_or(i64::MAX)
    }

    fn is_faster(self, other: Pace) -> bool {
        u128::from(self.units) * u128::from(other.period_ms)
            > u128::from(other.units) * u128::from(self.period_ms)
    }

    /// What is missing, from ticks of another pace. Rounded up: no bucket gets fuller by it.
    fn convert(self, ticks: u128, from: Pace) -> u128 {
        ticks.saturating_mul(u128::from(self.period_ms)).div_ceil(u128::from(from.period_ms))
    }
}

/// 0 when the clock was read before: the bucket of a later moment is not fuller for it.
fn ms_between(from: Millis, to: Millis) -> u64 {
    u64::try_from(i128::from(to.0) - i128::from(from.0)).unwrap_or(0)
}

/// How full a bucket is at one instant, under the rate of that instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    rate: Rate,
    // How fast it fills until its next use, and what a tick is.
    pace: Pace,
    // Invariant: at most the ticks of the rate's burst.
    missing_ticks: u128,
    at: Millis,
}

impl Level {
    /// Of a bucket, or of one that was never taken from, which is full.
    ///
    /// When the rate has changed since its last use, the *units* that were missing stay missing, at
    /// most all of them, and until the next use it fills at the faster of the two rates. So who
    /// buys a faster rate does not wait for the slow one, and to fill a bucket and to forget it is
    /// the same under every rate.
    pub fn of(rate: Rate, bucket: Option<&Bucket>, now: Millis) -> Level {
        let Some(bucket) = bucket else {
            return Level { rate, pace: rate.pace(), missing_ticks: 0, at: now };
        };
        let (then, own) = (bucket.pace(), rate.pace());
        let pace = if then.is_faster(own) { then } else { own };
        let missing_ticks = pace.convert(bucket.missing_ticks(), then);
        let missing_ticks = missing_ticks.min(pace.ticks(rate.burst_units));
        let come_back = pace.ticks_in(ms_between(bucket.used_at, now));
        let missing_ticks = missing_ticks.saturating_sub(come_back);
        Level { rate, pace, missing_ticks, at: now.max(bucket.used_at) }
    }

    /// Units that can be taken now. Rounded down: a part of a unit is none.
    pub fn drawable_units(&self) -> u64 {
        self.rate.burst_units - self.missing_units()
    }

    /// Units that have not come back yet. Rounded up.
    pub fn missing_units(&self) -> u64 {
        let units = self.missing_ticks.div_ceil(u128::from(self.pace.period_ms));
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// Whether nothing is missing.
    pub fn is_full(&self) -> bool {
        self.missing_ticks == 0
    }

    /// Milliseconds until it is full, if nothing more is taken. Rounded up.
    pub fn full_after_ms(&self) -> i64 {
        self.pace.ms(self.missing_ticks)
    }

    /// Takes units, or says when they could be taken.
    pub fn take(&self, units: u64) -> Result<Level, Wait> {
        let Some(left_units) = self.rate.burst_units.checked_sub(units) else {
            return Err(Wait::Never);
        };
        let excess = self.missing_ticks.saturating_sub(self.pace.ticks(left_units));
        if excess > 0 {
            return Err(Wait::Ms(self.pace.ms(excess)));
        }
        let pace = self.rate.pace();
        let missing_ticks = pace.convert(self.missing_ticks, self.pace) + pace.ticks(units);
        Ok(Level { pace, missing_ticks, ..*self })
    }

    /// The bucket as it is written down.
    pub fn bucket(&self, feature: NameId, limit: NameId, announced_at: Option<Millis>) -> Bucket {
        let period_ms = u128::from(self.pace.period_ms);
        let small = |ticks: u128| u64::try_from(ticks).unwrap_or(u64::MAX);
        Bucket {
            feature,
            limit,
            used_at: self.at,
            missing_units: small(self.missing_ticks / period_ms),
            missing_parts: small(self.missing_ticks % period_ms),
            units: self.pace.units,
            period_ms: self.pace.period_ms,
            announced_at,
        }
    }
}

/// Why units cannot be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// After so many milliseconds they can, and not before; at least 1.
    Ms(i64),
    /// A full bucket does not hold so many.
    Never,
}
