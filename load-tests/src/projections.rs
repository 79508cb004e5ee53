//! Projections against what came: real and generated series, asked about from the past alone, by
//! several ways to foretell.
//!
//! The origin rolls: a question is asked at an instant, and a way sees what was used before it and
//! nothing else. Limits are drawn around what windows before had, as plans are chosen.

mod candidates;
mod cases;
mod declines;
mod random;
mod score;
mod series;

pub(crate) use score::Figures;

use crate::error::Error;
use candidates::Candidate;
use cases::Case;
use rustix::time::{ClockId, clock_gettime};
use score::Score;

/// What was foretold against what came.
#[derive(Debug, serde::Serialize)]
pub(crate) struct ProjectionsResult {
    /// Questions asked.
    pub questions: usize,
    /// Every way, of real and of generated series.
    pub ways: Vec<Row>,
    /// The first way and the last, by kind of series.
    pub kinds: Vec<Row>,
    /// Of whom it is told that usage falls.
    pub declines: Vec<declines::Row>,
}

/// One way on some series.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    /// Of which series.
    pub of: &'static str,
    /// By which way.
    pub way: &'static str,
    /// How it did.
    pub figures: Figures,
}

/// The name of real series in the report.
const REAL: &str = "real";

/// The name of the others.
const GENERATED: &str = "generated";

/// Asks one of every `stride` questions.
pub(crate) fn run(stride: usize) -> Result<ProjectionsResult, Error> {
    let series = series::all()?;
    let of_all = series.iter().zip(0..).flat_map(|(series, seed)| cases::of(series, seed));
    let cases: Vec<Case> = of_all.step_by(stride).collect();
    eprintln!("foretelling {} windows of {} series", cases.len(), series.len());
    let mut kinds: Vec<&'static str> = cases.iter().map(|case| case.kind).collect();
    kinds.dedup();
    let scores: Vec<Vec<Score>> =
        candidates::ALL.iter().map(|way| ask(way, &cases, &kinds)).collect();
    let sum = |way: usize, real: bool| {
        let mut sum = Score::default();
        for (kind, score) in kinds.iter().zip(&scores[way]) {
            let is_real = cases.iter().any(|case| case.kind == *kind && case.real);
            if is_real == real {
                sum.join(score);
            }
        }
        sum.figures()
    };
    let row = |of, way: usize, figures| Row { of, way: candidates::ALL[way].name, figures };
    let groups = [(REAL, true), (GENERATED, false)];
    let all_ways = |(of, real)| (0..scores.len()).map(move |way| (of, way, real));
    let ways = groups.into_iter().flat_map(all_ways);
    let ways = ways.map(|(of, way, real)| row(of, way, sum(way, real))).collect();
    let ends = [0, scores.len() - 1];
    let by_kind = kinds.iter().enumerate().flat_map(|(at, kind)| ends.map(|way| (at, *kind, way)));
    let kinds = by_kind.map(|(at, of, way)| row(of, way, scores[way][at].figures())).collect();
    let declines = declines::rows(&series);
    Ok(ProjectionsResult { questions: cases.len(), ways, kinds, declines })
}

/// The scores of one way, by kind.
fn ask(way: &Candidate, cases: &[Case], kinds: &[&'static str]) -> Vec<Score> {
    let mut scores = vec![Score::default(); kinds.len()];
    for case in cases {
        let before = cpu_seconds();
        let told = (way.tell)(&case.history, &case.question);
        let seconds = cpu_seconds() - before;
        let place = kinds.iter().position(|kind| *kind == case.kind);
        if let (Some(told), Some(place)) = (told, place) {
            scores[place].add(case, &told, seconds);
        }
    }
    scores
}

/// What this thread has used of a processor: other load does not count.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

impl ProjectionsResult {
    fn real(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.ways.iter().filter(|row| row.of == REAL)
    }

    /// A figure of ours on real series, divided by the straight line's.
    pub(crate) fn against_line(&self, figure: fn(&Figures) -> f64) -> Option<f64> {
        let (line, ours) = (self.real().next()?, self.real().next_back()?);
        Some(figure(&ours.figures) / figure(&line.figures))
    }

    /// CPU of one of ours on real series.
    pub(crate) fn cpu_us(&self) -> Option<f64> {
        Some(self.real().next_back()?.figures.cpu_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_told_of_who_leaves_and_seldom_of_others() {
        let rows = declines::rows(&series::all().unwrap());
        let row = |kind| rows.iter().find(|row| row.of == kind).unwrap();
        // The trace is not among them: in its last weeks it falls.
        for kind in ["even", "weekly rhythm", "growing", "another plan"] {
            assert!(row(kind).told_of == 0, "{rows:?}");
        }
        for kind in ["bursts", "idle on most days"] {
            assert!(row(kind).per_quarter <= 0.3, "{rows:?}");
        }
        assert!(row("leaving").told_of * 4 >= row("leaving").series * 3, "{rows:?}");
    }

    /// All questions, without the library's ways: those take minutes here.
    #[test]
    fn projections_beat_the_straight_line_on_real_and_on_generated_series() {
        let series = series::all().unwrap();
        let of_all = series.iter().zip(0..).flat_map(|(series, seed)| cases::of(series, seed));
        let cases: Vec<Case> = of_all.collect();
        for real in [true, false] {
            let cases: Vec<Case> = cases.iter().filter(|case| case.real == real).cloned().collect();
            let score = |way: &Candidate| {
                let mut sum = Score::default();
                for case in &cases {
                    if let Some(told) = (way.tell)(&case.history, &case.question) {
                        sum.add(case, &told, 0.0);
                    }
                }
                sum.figures()
            };
            let [line, .., ours] = candidates::ALL;
            let (line, ours) = (score(&line), score(&ours));
            assert!(ours.cases >= line.cases && cases.len() > 50, "all are answered");
            assert!(ours.end_error < line.end_error, "{ours:?} {line:?}");
            assert!(ours.date_error < line.date_error, "{ours:?} {line:?}");
            assert!(ours.brier < 0.85 * line.brier, "{ours:?} {line:?}");
            assert!((0.7..0.9).contains(&ours.coverage), "{ours:?}");
        }
    }
}
