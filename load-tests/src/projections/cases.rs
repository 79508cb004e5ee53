//! The questions, each asked at an instant from which only the past is known.

use headroom_forecast::{History, Question};

use super::random::Random;
use super::series::{DAY_MS, Series, whole};

/// A question and what came.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The kind of series.
    pub kind: &'static str,
    /// Whether it is a real one.
    pub real: bool,
    /// Days of the window.
    pub window_days: i64,
    /// What was known.
    pub history: History,
    /// What is asked.
    pub question: Question,
    /// Units used at the end of the window, in truth.
    pub end_units: u64,
    /// When the limit was reached; the end of the window when it was not.
    pub reached_ms: i64,
}

/// Parts of a window at which it is asked.
const PARTS: [f64; 5] = [0.08, 0.25, 0.5, 0.7, 0.88];

/// Every how many windows of a day one is asked about: there are many.
const DAILY_STRIDE: i64 = 4;

/// The cases of one series.
pub(super) fn of(series: &Series, seed: u64) -> Vec<Case> {
    let mut asked = Vec::new();
    let mut random = Random::new(seed);
    let length_ms = series.units.len() as i64 * series.step_ms;
    for &days in series.windows {
        let span_ms = days * DAY_MS;
        let stride = if days == 1 { DAILY_STRIDE } else { 1 };
        for window in (0..length_ms / span_ms).step_by(usize::try_from(stride).unwrap_or(1)) {
            // Windows begin somewhere in a day and in a week, as subscriptions do.
            let shift_ms = whole(random.between(0.0, 0.9) * span_ms as f64) as i64;
            let start_ms =
                series.begin_ms + window * span_ms + if window == 0 { 0 } else { shift_ms };
            if start_ms + span_ms > series.begin_ms + length_ms {
                continue;
            }
            let part = PARTS[usize::try_from(window / stride).unwrap_or(0) % PARTS.len()];
            let part = part + random.between(-0.03, 0.03);
            let now_ms = start_ms + whole(part * span_ms as f64) as i64;
            asked.push((now_ms, start_ms, days, random.between(-0.5, 0.4).exp()));
        }
    }
    asked.sort_by_key(|(now_ms, ..)| *now_ms);
    answer(series, &asked)
}

/// Walks through the series once, and keeps what is known at each question.
fn answer(series: &Series, asked: &[(i64, i64, i64, f64)]) -> Vec<Case> {
    let mut history = History::new(series.begin_ms);
    let mut cases = Vec::new();
    for &(now_ms, start_ms, days, factor) in asked {
        while history.until_ms() < now_ms {
            let from_ms = history.until_ms();
            let place = (from_ms - series.begin_ms).div_euclid(series.step_ms);
            let to_ms = (series.begin_ms + (place + 1) * series.step_ms).min(now_ms);
            let units = before(series, to_ms) - before(series, from_ms);
            history.observe(to_ms, units);
        }
        let end_ms = start_ms + days * DAY_MS;
        let base = before(series, start_ms);
        let used_units = before(series, now_ms) - base;
        // At least a part of what the whole series has, or idle weeks would give limits of a unit.
        let ordinary = mean(series, &series.units, days);
        let limit_units =
            whole((usual(series, start_ms, days) * factor).max(ordinary / 4.0)).max(1);
        if limit_units <= used_units {
            continue; // Nothing is left to foretell.
        }
        cases.push(Case {
            kind: series.kind,
            real: series.real,
            window_days: days,
            history: history.clone(),
            question: Question {
                now_ms,
                start_ms,
                end_ms: Some(end_ms),
                used_units,
                limit_units,
                changed_ms: series.changed_ms.filter(|at| *at <= now_ms),
            },
            end_units: before(series, end_ms) - base,
            reached_ms: reached(series, now_ms, end_ms, base + limit_units),
        });
    }
    cases
}

/// What a window before this one had: what a plan would be chosen by. Of the first ones, what the
/// whole series has.
fn usual(series: &Series, start_ms: i64, days: i64) -> f64 {
    let from_ms = (start_ms - 2 * days * DAY_MS).max(series.begin_ms);
    if start_ms - from_ms < days * DAY_MS {
        return mean(series, &series.units[..series.units.len() / 4], days);
    }
    let had = before(series, start_ms) - before(series, from_ms);
    had as f64 * (days * DAY_MS) as f64 / (start_ms - from_ms) as f64
}

/// What so many days have on the mean of these steps.
fn mean(series: &Series, units: &[u64], days: i64) -> f64 {
    let steps = (days * DAY_MS / series.step_ms) as f64;
    units.iter().sum::<u64>() as f64 / units.len() as f64 * steps
}

/// Units used before an instant; within a step evenly.
fn before(series: &Series, at_ms: i64) -> u64 {
    let passed_ms = (at_ms - series.begin_ms).max(0);
    let steps = usize::try_from(passed_ms / series.step_ms).unwrap_or(0).min(series.units.len());
    let whole_steps: u64 = series.units[..steps].iter().sum();
    let part_ms = u64::try_from(passed_ms % series.step_ms).unwrap_or(0);
    let last = series.units.get(steps).copied().unwrap_or(0);
    whole_steps + last * part_ms / series.step_ms.unsigned_abs()
}

/// When so many units were used; the end when they were not.
fn reached(series: &Series, now_ms: i64, end_ms: i64, units: u64) -> i64 {
    let (mut low, mut high) = (now_ms, end_ms);
    while low + 1000 < high {
        let middle = low.midpoint(high);
        if before(series, middle) < units { low = middle } else { high = middle }
    }
    high
}
