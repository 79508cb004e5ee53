//! Ways to foretell, from the straight line to a library's models. Each says what will be used until
//! an instant, as a distribution; the date, the probability and the interval are read off it in the
//! same way for all.

use augurs::ets::AutoETS;
use augurs::mstl::MSTLModel;
use augurs::prelude::*;
use headroom_forecast::forecast::outlook;
use headroom_forecast::rhythm::Rhythm;
use headroom_forecast::spread::Spread;
use headroom_forecast::{Basis, Forecast, History, Outlook, Question, Step, forecast};

use super::series::{DAY_MS, HOUR_MS};

/// A way to foretell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Its name in the report.
    pub name: &'static str,
    /// The way. `None`: it has nothing to say.
    pub tell: fn(&History, &Question) -> Option<Outlook>,
}

/// All of them; the first is what the others are compared with, the last is what the sidecar does.
pub(super) const ALL: [Candidate; 7] = [
    Candidate { name: "straight line", tell: straight_line },
    Candidate { name: "last week again", tell: last_week },
    Candidate { name: "weekday profile, 4 weeks", tell: profile },
    Candidate { name: "exponential smoothing", tell: smoothing },
    Candidate { name: "AutoETS (augurs)", tell: auto_ets },
    Candidate { name: "MSTL + AutoETS (augurs)", tell: mstl },
    Candidate { name: "headroom", tell: ours },
];

fn ours(history: &History, question: &Question) -> Option<Outlook> {
    match forecast(history, question) {
        Forecast::Expected(outlook) => Some(outlook),
        Forecast::Learning | Forecast::Reached => None,
    }
}

fn read(question: &Question, ahead: impl Fn(i64) -> Spread) -> Outlook {
    outlook(question, question.end_ms.unwrap_or(i64::MAX), Basis::Pace, ahead)
}

/// The mean pace since the window began, and no doubt about it.
fn straight_line(history: &History, question: &Question) -> Option<Outlook> {
    let since_ms = question.start_ms.max(history.since_ms());
    let pace = question.used_units as f64 / (question.now_ms - since_ms) as f64;
    let now_ms = question.now_ms;
    Some(read(question, |at_ms| Spread::new(pace * (at_ms - now_ms) as f64, 0.0)))
}

/// What was used in the same hours a week ago, again; before there is a week, the mean.
fn last_week(history: &History, question: &Question) -> Option<Outlook> {
    const WEEK_MS: i64 = 7 * DAY_MS;
    let days: Vec<Step> = history.days().collect();
    let hours: Vec<Step> = history.hours().collect();
    let now_ms = question.now_ms;
    let span_ms = (now_ms - history.since_ms()).min(WEEK_MS);
    // What was used in the last `ago_ms`.
    let since = |ago_ms: i64| {
        let from_ms = now_ms - ago_ms;
        let after = |step: &Step| {
            let length_ms = (step.to_ms - step.from_ms).max(1) as f64;
            let part = (step.to_ms - step.from_ms.max(from_ms)).max(0) as f64 / length_ms;
            step.units as f64 * part.min(1.0)
        };
        hours.iter().map(after).sum::<f64>()
    };
    let turn = since(span_ms);
    let units: Vec<f64> = days.iter().map(|step| step.units as f64).collect();
    let errors = units.windows(8).map(|week| (week[7] - week[0]).powi(2));
    let variance = if units.len() < 10 {
        (turn / span_ms as f64 * DAY_MS as f64).powi(2)
    } else {
        errors.clone().sum::<f64>() / errors.count() as f64
    };
    Some(read(question, |at_ms| {
        let ahead_ms = at_ms - now_ms;
        let (turns, rest_ms) = (ahead_ms / span_ms, ahead_ms % span_ms);
        let mean = turns as f64 * turn + turn - since(span_ms - rest_ms);
        Spread::new(mean, variance * ahead_ms as f64 / DAY_MS as f64)
    }))
}

/// The rhythm of the week with the mean of the last four weeks.
fn profile(history: &History, question: &Question) -> Option<Outlook> {
    let rhythm = Rhythm::of(history);
    let days: Vec<Step> = history.days().rev().take(28).collect();
    let weight = |step: &Step| rhythm.weight(step.from_ms, step.to_ms);
    let units: f64 = days.iter().map(|step| step.units as f64).sum();
    let level = units / days.iter().map(weight).sum::<f64>();
    let squares = days.iter().map(|step| (step.units as f64 - level * weight(step)).powi(2));
    let variance = squares.sum::<f64>() / (days.len() as f64 - 1.0).max(1.0);
    let now_ms = question.now_ms;
    Some(read(question, |at_ms| {
        let days = (at_ms - now_ms) as f64 / DAY_MS as f64;
        Spread::new(level * rhythm.weight(now_ms, at_ms), variance * days)
    }))
}

/// Whole steps, the newest: days, or hours when less than two days are asked about or known.
fn steps(history: &History, question: &Question) -> (Vec<f64>, i64) {
    let end_ms = question.end_ms.unwrap_or(question.now_ms);
    let short =
        end_ms - question.now_ms <= 2 * DAY_MS || question.now_ms - history.since_ms() < 6 * DAY_MS;
    let step_ms = if short { HOUR_MS } else { DAY_MS };
    let all: Vec<Step> = if short { history.hours().collect() } else { history.days().collect() };
    let whole = all.iter().filter(|step| step.to_ms - step.from_ms == step_ms);
    let units: Vec<f64> = whole.map(|step| step.units as f64).collect();
    (units[units.len().saturating_sub(256)..].to_vec(), step_ms)
}

/// Reads a forecast by steps whose first step is the one that is being left. `deviations`: of the
/// first and the second step, from which the drift follows.
fn by_steps(question: &Question, step_ms: i64, points: &[f64], deviations: (f64, f64)) -> Outlook {
    let begin_ms = question.now_ms.div_euclid(step_ms) * step_ms;
    let until = |at_ms: i64| {
        let steps = (at_ms - begin_ms) as f64 / step_ms as f64;
        let mut sum = 0.0;
        for (place, point) in points.iter().enumerate() {
            sum += (steps - place as f64).clamp(0.0, 1.0) * point.max(0.0);
        }
        sum
    };
    let first = deviations.0.powi(2);
    let alpha = (deviations.1.powi(2) / first.max(1e-9) - 1.0).max(0.0).sqrt().min(1.0);
    let already = until(question.now_ms);
    read(question, |at_ms| {
        let n = (at_ms - question.now_ms) as f64 / step_ms as f64;
        let more = (n - 1.0).max(0.0);
        let grown =
            n + alpha * n * more + alpha * alpha * n * more * (2.0 * n - 1.0).max(0.0) / 6.0;
        Spread::new(until(at_ms) - already, first * grown)
    })
}

fn horizon(question: &Question, step_ms: i64) -> usize {
    let end_ms = question.end_ms.unwrap_or(question.now_ms);
    usize::try_from((end_ms - question.now_ms) / step_ms + 2).unwrap_or(2)
}

/// One level, its memory fitted to one step ahead, and no rhythm.
fn smoothing(history: &History, question: &Question) -> Option<Outlook> {
    let (units, step_ms) = steps(history, question);
    if units.len() < 3 {
        return straight_line(history, question);
    }
    let fit = |alpha: f64| {
        let (mut level, mut squares) = (units[0], 0.0);
        for unit in &units[1..] {
            squares += (unit - level).powi(2);
            level += alpha * (unit - level);
        }
        (level, squares / (units.len() - 1) as f64)
    };
    let alphas = (1..=19).map(|twentieth| f64::from(twentieth) / 20.0);
    let best = alphas.map(|alpha| (alpha, fit(alpha))).min_by(|(_, a), (_, b)| a.1.total_cmp(&b.1));
    let (alpha, (level, variance)) = best?;
    let deviation = variance.sqrt();
    let points = vec![level; horizon(question, step_ms)];
    let second = deviation * (1.0 + alpha * alpha).sqrt();
    Some(by_steps(question, step_ms, &points, (deviation, second)))
}

/// The deviation that half the width of an interval of 80 % stands for.
const HALF_80: f64 = 1.281_55;

fn told(question: &Question, step_ms: i64, got: &augurs::Forecast) -> Option<Outlook> {
    let intervals = got.intervals.as_ref()?;
    let deviation = |place: usize| {
        Some((intervals.upper.get(place)? - intervals.lower.get(place)?) / 2.0 / HALF_80)
    };
    let deviations = (deviation(0)?, deviation(1)?);
    let sane = got.point.iter().all(|point| point.is_finite()) && deviations.0.is_finite();
    sane.then(|| by_steps(question, step_ms, &got.point, deviations))
}

/// Exponential smoothing whose form is chosen by its information criterion.
fn auto_ets(history: &History, question: &Question) -> Option<Outlook> {
    let (units, step_ms) = steps(history, question);
    let model = AutoETS::non_seasonal().fit(&units).ok();
    let got = model.and_then(|model| model.predict(horizon(question, step_ms), 0.8).ok());
    let outlook = got.and_then(|got| told(question, step_ms, &got));
    outlook.or_else(|| straight_line(history, question))
}

/// The rhythm taken out by repeated local regression, and the rest foretold as above.
fn mstl(history: &History, question: &Question) -> Option<Outlook> {
    let (units, step_ms) = steps(history, question);
    let periods = if step_ms == DAY_MS { vec![7] } else { vec![24] };
    if units.len() < 2 * periods[0] + 1 {
        return auto_ets(history, question);
    }
    let trend = AutoETS::non_seasonal().into_trend_model();
    let model = MSTLModel::new(periods, trend).fit(&units).ok();
    let got = model.and_then(|model| model.predict(horizon(question, step_ms), 0.8).ok());
    let outlook = got.and_then(|got| told(question, step_ms, &got));
    outlook.or_else(|| straight_line(history, question))
}
