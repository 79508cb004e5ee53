//! The answer: when a limit is reached, how likely that is, and what will be used at the end.

use crate::history::{History, Step};
use crate::limits::{DAY_MS, HORIZON_MS_MAX, HOUR_MS, INSTANT_MS_MAX, STEPS_MAX};
use crate::pace::{Observed, Pace};
use crate::rhythm::Rhythm;
use crate::spread::Spread;

/// Share of a window that must have been observed before anything is said: one part in this many
/// (5 %). Less, and the first call of the month projects a month of such calls.
pub const LEARNING_PART: i64 = 20;

/// What must have been observed for a window that never ends. Milliseconds: one day.
pub const LEARNING_LIFETIME_MS: i64 = DAY_MS;

/// The lower end of the interval: a tenth of what may happen is below it, and a tenth above the
/// upper one, so that four fifths are inside.
pub const LOW: f64 = 0.1;

/// Its upper end.
pub const HIGH: f64 = 0.9;

/// Up to here hours are looked at, beyond it days. Milliseconds: two days.
const BY_HOURS_MS: i64 = 2 * DAY_MS;

/// To how many milliseconds a date is told: a second.
const DATE_MS: i64 = 1000;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// When the window began.
    pub start_ms: i64,
    /// When it ends; `None`: never.
    pub end_ms: Option<i64>,
    /// Units used in it.
    pub used_units: u64,
    /// Units that may be used in it.
    pub limit_units: u64,
    /// When the account's terms changed last (another plan): what was before says less about its pace.
    pub changed_ms: Option<i64>,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Forecast {
    /// Too little was observed to say anything.
    Learning,
    /// The limit is reached already.
    Reached,
    /// This is expected.
    Expected(Outlook),
}

/// What is expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// The probability that the limit is reached before the window ends.
    pub probability: f64,
    /// When it is reached, if that is at least as likely as not.
    pub at_ms: Option<i64>,
    /// Not earlier than this, but for one case in ten. `None`: it is not reached in nine of ten.
    pub from_ms: Option<i64>,
    /// Not later than this, but for one case in ten. `None`: it may well not be reached.
    pub to_ms: Option<i64>,
    /// Units used at the end of the window: the middle, and the ends of the interval. `None` for a
    /// window that never ends.
    pub end_units: Option<Units>,
    /// From what it is told.
    pub basis: Basis,
}

/// An amount with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Units {
    /// Not less than this, but for one case in ten.
    pub low: u64,
    /// As likely more as less.
    pub middle: u64,
    /// Not more than this, but for one case in ten.
    pub high: u64,
}

/// What a forecast stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The pace alone.
    Pace,
    /// The pace and the rhythm of the day.
    Daily,
    /// The pace and the rhythm of the week.
    Weekly,
}

/// Answers one question from one history, which must have been observed until now.
///
/// Costs some fifty microseconds, whatever is asked: [`STEPS_MAX`] bounds what is looked at.
pub fn forecast(history: &History, question: &Question) -> Forecast {
    if question.used_units >= question.limit_units {
        return Forecast::Reached;
    }
    let question = &question.bounded();
    let (now_ms, since_ms) = (question.now_ms, history.since_ms());
    let observed_ms = now_ms - since_ms;
    let learning_ms = match question.end_ms {
        None => LEARNING_LIFETIME_MS,
        Some(end_ms) => (end_ms - question.start_ms.max(since_ms)) / LEARNING_PART,
    };
    let until_ms = question.end_ms.unwrap_or(i64::MAX).min(now_ms + HORIZON_MS_MAX);
    if observed_ms <= 0 || observed_ms < learning_ms || until_ms <= now_ms {
        return Forecast::Learning;
    }
    let rhythm = Rhythm::of(history);
    let by_hours = until_ms - now_ms <= BY_HOURS_MS || observed_ms < BY_HOURS_MS;
    let steps_per_hour = if by_hours { 1.0 } else { HOUR_MS as f64 / DAY_MS as f64 };
    let weight = |from_ms, to_ms| rhythm.weight(from_ms, to_ms) * steps_per_hour;
    let observed = |step: Step| Observed {
        units: step.units as f64,
        weight: weight(step.from_ms, step.to_ms),
        changed: question.changed_ms.is_some_and(|at| step.from_ms <= at && at < step.to_ms),
    };
    let mut steps: Vec<Observed> = if by_hours {
        history.hours().rev().take(STEPS_MAX).map(observed).collect()
    } else {
        history.days().rev().take(STEPS_MAX).map(observed).collect()
    };
    steps.reverse();
    let pace = Pace::learn(&steps, weight(now_ms, until_ms), !by_hours);
    let basis = match (rhythm.weekly, rhythm.daily) {
        (true, _) => Basis::Weekly,
        (false, true) => Basis::Daily,
        (false, false) => Basis::Pace,
    };
    let ahead = |at_ms| pace.ahead(weight(now_ms, at_ms));
    Forecast::Expected(outlook(question, until_ms, basis, ahead))
}

impl Question {
    /// With instants that can be reckoned with.
    fn bounded(self) -> Question {
        let bound = |at_ms: i64| at_ms.clamp(-INSTANT_MS_MAX, INSTANT_MS_MAX);
        Question {
            now_ms: bound(self.now_ms),
            start_ms: bound(self.start_ms),
            end_ms: self.end_ms.map(bound),
            ..self
        }
    }
}

/// Reads the answer off what may be used until each instant.
pub fn outlook(
    question: &Question,
    until_ms: i64,
    basis: Basis,
    ahead: impl Fn(i64) -> Spread,
) -> Outlook {
    let left = (question.limit_units - question.used_units) as f64;
    // The limit is reached with the unit that makes it whole.
    let reached_by = |at_ms| 1.0 - ahead(at_ms).below(left);
    let probability = reached_by(until_ms);
    let when = |wanted: f64| {
        if probability < wanted {
            return None;
        }
        let (mut low, mut high) = (question.now_ms, until_ms);
        while low + DATE_MS < high {
            let middle = low.midpoint(high);
            if reached_by(middle) < wanted { low = middle } else { high = middle }
        }
        Some(high)
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it stops at 0")]
    let units = |amount: f64| question.used_units.saturating_add(amount as u64);
    let at_end = ahead(until_ms);
    Outlook {
        probability,
        at_ms: when(0.5),
        from_ms: when(LOW),
        to_ms: when(HIGH),
        end_units: question.end_ms.map(|_| Units {
            low: units(at_end.quantile(LOW)),
            middle: units(at_end.quantile(0.5)),
            high: units(at_end.quantile(HIGH)),
        }),
        basis,
    }
}
