//! Whether usage falls: the last four weeks against the four before them.
//!
//! Whole weeks of whole days are compared, so a rhythm of days and weeks says nothing. A fall is told
//! when it is as far from nothing as [`CLEAR_ERRORS`] times what the weeks' own unrest would make of it (Student's
//! t of two samples with one deviation): who is used by fits and starts has to fall further than who is
//! used evenly, and the usual day must have fallen too, or a few days of much would end as a fall. Or else
//! it was used on clearly fewer days, which do not differ as amounts do. How often that is told of whom:
//! `headroom-load-tests --only projections`.

use crate::history::History;
use crate::limits::DAY_MS;

/// Weeks on either side.
const WEEKS: usize = 4;

/// Days of a beginning that say nothing: whoever tries a product out uses it otherwise than later.
pub const FIRST_DAYS: i64 = 14;

/// Days on which something must have been used in the four weeks before, or there is no habit that
/// could fall.
pub const ACTIVE_DAYS_MIN: usize = 8;

/// Standard errors between the two means from which on a fall is clear. At 3 every third account that is used
/// by fits and starts is told of once in a quarter, at 4 every eighth, and who really leaves is found alike.
const CLEAR_ERRORS: f64 = 4.0;

/// The same between the numbers of days on which something was used, whose variance is at most their sum.
const CLEAR_DAYS_ERRORS: f64 = 3.0;

/// A usual day has fallen when it has at most so many percent of what it had.
const USUAL_DAY_PERCENT_MAX: u64 = 85;

/// How the last four weeks stand against the four before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trend {
    /// By how many thousandths usage has changed; -1,000: nothing is used any more. A fall that is not clear is
    /// 0. At most 1,000,000.
    pub change_permille: i64,
    /// Days on which something was used, in the four weeks before.
    pub active_days: usize,
}

/// The trend of a history as of the last whole day that it has seen. `None`: it knows too little yet.
pub fn trend(history: &History) -> Option<Trend> {
    let today = history.until_ms().div_euclid(DAY_MS);
    let first = history.since_ms().div_euclid(DAY_MS) + 1 + FIRST_DAYS;
    let days_needed = 2 * WEEKS * 7;
    let begin = today - i64::try_from(days_needed).ok()?;
    if begin < first {
        return None;
    }
    let mut weeks = [0.0; 2 * WEEKS];
    let mut used_days = [Vec::new(), Vec::new()];
    for day in history.days() {
        let number = day.from_ms.div_euclid(DAY_MS);
        let Ok(place) = usize::try_from(number - begin) else { continue };
        if let Some(week) = weeks.get_mut(place / 7) {
            *week += day.units as f64;
            used_days[place / (7 * WEEKS)].extend((day.units > 0).then_some(day.units));
        }
    }
    let active_days = used_days[0].len();
    (ACTIVE_DAYS_MIN <= active_days).then(|| {
        let (was, is) = (active_days as f64, used_days[1].len() as f64);
        let is_rarer = is < was && (was - is).powi(2) >= CLEAR_DAYS_ERRORS.powi(2) * (was + is);
        let [was, is] = used_days.map(usual);
        let is_less =
            is <= was / 100 * USUAL_DAY_PERCENT_MAX + was % 100 * USUAL_DAY_PERCENT_MAX / 100;
        let (before, recent) = weeks.split_at(WEEKS);
        let change_permille = change(before, recent, (is_rarer, is_less));
        Trend { change_permille, active_days }
    })
}

/// The middle of what was used on the days on which anything was.
fn usual(mut days: Vec<u64>) -> u64 {
    days.sort_unstable();
    days.get(days.len() / 2).copied().unwrap_or(0)
}

fn change(before: &[f64], recent: &[f64], (is_rarer, is_less): (bool, bool)) -> i64 {
    let mean = |weeks: &[f64]| weeks.iter().sum::<f64>() / WEEKS as f64;
    let squares = |weeks: &[f64]| {
        let mean = mean(weeks);
        weeks.iter().map(|week| (week - mean).powi(2)).sum::<f64>()
    };
    let (was, is) = (mean(before), mean(recent));
    let variance = (squares(before) + squares(recent)) / (2 * WEEKS - 2) as f64;
    let error = (variance * 2.0 / WEEKS as f64).sqrt();
    let is_clear = is_less && CLEAR_ERRORS * error <= was - is;
    if is < was && !is_rarer && !is_clear {
        return 0;
    }
    permille(((is / was - 1.0) * 1_000.0).clamp(-1_000.0, 1_000_000.0))
}

#[allow(clippy::cast_possible_truncation, reason = "it was clamped")]
fn permille(change: f64) -> i64 {
    change.round() as i64
}
