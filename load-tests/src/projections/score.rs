//! How wrong a way to foretell is.

use headroom_forecast::Outlook;

use super::cases::Case;
use super::series::DAY_MS;

/// Sums over cases.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Score {
    cases: f64,
    end_error: f64,
    end_pinball: f64,
    inside: f64,
    dated: f64,
    date_error: f64,
    date_pinball: f64,
    brier: f64,
    seconds: f64,
}

/// The means.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Figures {
    /// How many cases.
    pub cases: f64,
    /// Mean absolute error of the use at the window's end, a part of the limit.
    pub end_error: f64,
    /// Mean pinball loss of it at 10, 50 and 90 %, a part of the limit.
    pub end_pinball: f64,
    /// How often the truth lay in the interval of 80 %.
    pub coverage: f64,
    /// Mean absolute error of the date, a part of the window, where the limit was reached or was said
    /// to be.
    pub date_error: f64,
    /// Mean pinball loss of it.
    pub date_pinball: f64,
    /// Mean squared error of the probability.
    pub brier: f64,
    /// CPU of one forecast.
    pub cpu_us: f64,
}

impl Score {
    /// Counts one answer.
    pub(super) fn add(&mut self, case: &Case, told: &Outlook, seconds: f64) {
        let question = &case.question;
        let limit = question.limit_units as f64;
        let window_ms = (case.window_days * DAY_MS) as f64;
        self.cases += 1.0;
        self.seconds += seconds;
        if let Some(units) = told.end_units {
            let truth = case.end_units as f64;
            let got = [units.low as f64, units.middle as f64, units.high as f64];
            self.end_error += (got[1] - truth).abs() / limit;
            self.end_pinball += pinball(truth, got) / limit;
            // An interval of whole units holds the truth when it touches it.
            let inside = got[0].floor() <= truth && truth <= got[2] + 1.0;
            self.inside += f64::from(u8::from(inside));
        }
        let end_ms = question.end_ms.unwrap_or(i64::MAX);
        let came = case.end_units >= question.limit_units;
        self.brier += (told.probability - f64::from(u8::from(came))).powi(2);
        if came || told.at_ms.is_some() {
            let at = |at_ms: Option<i64>| at_ms.unwrap_or(end_ms) as f64;
            let truth = case.reached_ms as f64;
            let got = [at(told.from_ms), at(told.at_ms), at(told.to_ms)];
            self.dated += 1.0;
            self.date_error += (got[1] - truth).abs() / window_ms;
            self.date_pinball += pinball(truth, got) / window_ms;
        }
    }

    /// Adds what another one counted.
    pub(super) fn join(&mut self, other: &Score) {
        self.cases += other.cases;
        self.end_error += other.end_error;
        self.end_pinball += other.end_pinball;
        self.inside += other.inside;
        self.dated += other.dated;
        self.date_error += other.date_error;
        self.date_pinball += other.date_pinball;
        self.brier += other.brier;
        self.seconds += other.seconds;
    }

    /// The means; not numbers where nothing was counted.
    pub(super) fn figures(&self) -> Figures {
        Figures {
            cases: self.cases,
            end_error: self.end_error / self.cases,
            end_pinball: self.end_pinball / self.cases,
            coverage: self.inside / self.cases,
            date_error: self.date_error / self.dated,
            date_pinball: self.date_pinball / self.dated,
            brier: self.brier / self.cases,
            cpu_us: self.seconds / self.cases * 1e6,
        }
    }
}

/// The mean loss of the three quantiles: what an interval is too wide, and, more, what it misses.
fn pinball(truth: f64, got: [f64; 3]) -> f64 {
    let loss = |(quantile, got): (f64, f64)| {
        if truth < got { (1.0 - quantile) * (got - truth) } else { quantile * (truth - got) }
    };
    [0.1, 0.5, 0.9].into_iter().zip(got).map(loss).sum::<f64>() / 3.0
}
