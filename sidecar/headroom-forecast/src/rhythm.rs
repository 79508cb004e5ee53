//! The shape of a week: how much of it each hour usually has.
//!
//! The weekday's part and the hour's part of its day are estimated apart, from shares, so that every
//! week and every day counts the same however much was used in it. Each estimate is drawn towards the
//! flat line as far as it could be chance (the empirical Bayes of Stein's estimator): an account
//! without a rhythm gets none.

use crate::history::{History, Step};
use crate::limits::{DAY_MS, HOUR_MS};

/// Hours of a week.
const WEEK_HOURS: usize = 168;

/// Weeks looked at, the newest: a rhythm of last spring says nothing.
const WEEKS_MAX: usize = 12;

/// The shape of a week. Mean 1 per hour, so what a span of it comes to is in hours, too.
#[derive(Debug, Clone)]
pub struct Rhythm {
    // Invariant: 0 first, 168 last, never falling. What the hours before each hour of the week weigh.
    before: [f64; WEEK_HOURS + 1],
    /// Whether days of a week differ.
    pub weekly: bool,
    /// Whether hours of a day differ.
    pub daily: bool,
}

impl Rhythm {
    /// No rhythm: every hour weighs 1.
    pub fn flat() -> Rhythm {
        Rhythm::made(&[1.0; 7], &[1.0; 24])
    }

    /// The rhythm of a history.
    pub fn of(history: &History) -> Rhythm {
        let days: Vec<Step> = history.days().collect();
        let hours: Vec<Step> = history.hours().collect();
        let weekdays = shape::<7>(&days, DAY_MS);
        let day_hours = shape::<24>(&hours, HOUR_MS);
        Rhythm::made(&weekdays, &day_hours)
    }

    fn made(weekdays: &[f64; 7], day_hours: &[f64; 24]) -> Rhythm {
        let mut before = [0.0; WEEK_HOURS + 1];
        for hour in 0..WEEK_HOURS {
            before[hour + 1] = before[hour] + weekdays[hour / 24] * day_hours[hour % 24];
        }
        let scale = WEEK_HOURS as f64 / before[WEEK_HOURS];
        for weight in &mut before {
            *weight *= scale;
        }
        let differs = |factors: &[f64]| factors.iter().any(|factor| (factor - 1.0).abs() > 0.05);
        Rhythm { before, weekly: differs(weekdays), daily: differs(day_hours) }
    }

    /// What `[from_ms, to_ms)` weighs, in hours of the mean.
    pub fn weight(&self, from_ms: i64, to_ms: i64) -> f64 {
        self.until(to_ms) - self.until(from_ms)
    }

    fn until(&self, at_ms: i64) -> f64 {
        let hours = at_ms.div_euclid(HOUR_MS);
        let week = hours.div_euclid(WEEK_HOURS as i64);
        let hour = usize::try_from(hours.rem_euclid(WEEK_HOURS as i64)).unwrap_or(0);
        let part = at_ms.rem_euclid(HOUR_MS) as f64 / HOUR_MS as f64;
        let (low, high) = (self.before[hour], self.before[hour + 1]);
        week as f64 * WEEK_HOURS as f64 + low + part * (high - low)
    }
}

/// The mean shape of the whole turns of `N` steps, factors of mean 1. Turns are counted back from the
/// newest whole step, so that none is lost to where a week begins.
fn shape<const N: usize>(steps: &[Step], step_ms: i64) -> [f64; N] {
    let whole = |step: &Step| step.to_ms - step.from_ms == step_ms;
    let end = steps.iter().rposition(whole).map_or(0, |last| last + 1);
    let begin = steps.iter().position(whole).unwrap_or(end).min(end);
    let turns = steps[begin..end].rchunks_exact(N).take(WEEKS_MAX.max(28 * usize::from(N == 24)));
    let (mut count, mut sums, mut squares) = (0.0, [0.0; N], [0.0; N]);
    for turn in turns {
        let total: f64 = turn.iter().map(|step| step.units as f64).sum();
        if total <= 0.0 {
            continue;
        }
        count += 1.0;
        for step in turn {
            let place = step.from_ms.div_euclid(step_ms).rem_euclid(N as i64);
            let place = usize::try_from(place).unwrap_or(0);
            let factor = step.units as f64 / total * N as f64;
            sums[place] += factor;
            squares[place] += factor * factor;
        }
    }
    shrunk(count, &sums, &squares)
}

/// Draws the means towards 1 by the part of their spread that chance explains.
fn shrunk<const N: usize>(count: f64, sums: &[f64; N], squares: &[f64; N]) -> [f64; N] {
    if count < 1.0 {
        return [1.0; N];
    }
    let means = sums.map(|sum| sum / count);
    let places = N as f64;
    let between = means.iter().map(|mean| (mean - 1.0).powi(2)).sum::<f64>() / (places - 1.0);
    let kept = if count < 2.0 {
        ONE_TURN_KEPT
    } else {
        let within: f64 =
            means.iter().zip(squares).map(|(mean, square)| square / count - mean * mean).sum();
        let chance = (within / places).max(0.0) / (count - 1.0);
        if between > 0.0 { (1.0 - chance / between).max(0.0) } else { 0.0 }
    };
    means.map(|mean| 1.0 + kept * (mean - 1.0))
}

/// What is believed of a shape that was seen once.
const ONE_TURN_KEPT: f64 = 0.5;
