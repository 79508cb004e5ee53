//! Answers on paper: as text for people and as JSON for scripts, from the same values.

mod accounts;
mod backtest;
mod decisions;
mod explain;
mod grants;
mod growth;
mod limits;
mod prompts;
mod seats;
mod sinks;
mod usage;

use std::io::Write as _;
use std::time::SystemTime;

use serde_json::Value;

pub(super) use accounts::{
    account, account_put, accounts, backup, clock, erased, grandfathered, past, plan_moved,
    reloaded, status,
};
pub(super) use backtest::{backtest, backtest_csv};
pub(super) use decisions::{
    adjustments, allocated, change, committed, corrected, decision, entitlements, extended,
    recorded, released, reserved, several, watch_over,
};
pub(super) use explain::explanation;
pub(super) use grants::{credit_history, grants};
pub(super) use growth::{
    gate_report, opportunities, opportunity, published, ranked, readiness, scorecard, triggers,
};
pub(super) use prompts::{preview, prompt_report, told};
pub(super) use seats::{seat, seats};
pub(super) use sinks::{dead_letters, new_secret, replaying, sinks};
pub(super) use usage::{usage, usage_by_time};

/// One answer, in both forms.
pub(super) struct Report {
    /// For people, without the last line break.
    pub(super) text: String,
    /// For scripts.
    pub(super) json: Value,
    /// Whether the answer was no.
    pub(super) is_refusal: bool,
}

impl Report {
    fn new(text: impl Into<String>, json: Value) -> Report {
        Report { text: text.into(), json, is_refusal: false }
    }
}

/// Prints an answer.
pub(super) fn report(report: &Report, as_json: bool) {
    if as_json { json(&report.json) } else { line(&report.text) }
}

/// Prints JSON.
pub(super) fn json(value: &Value) {
    line(&format!("{value:#}"));
}

/// Prints a result. Whoever closed the pipe has seen enough, so that is no failure.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints what went wrong.
pub(super) fn problem(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// `VERDICT_ALLOWED_GRACE` as `allowed_grace`.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// `allowed_grace` as `allowed grace`.
fn spaced(word: &str) -> String {
    word.replace('_', " ")
}

/// RFC 3339 in UTC.
fn instant(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at)
        .map_or_else(|_| "beyond the calendar".to_owned(), |at| at.to_string())
}

fn json_instant(at: Option<SystemTime>) -> Value {
    at.map_or(Value::Null, |at| Value::from(instant(at)))
}

fn wire_instant(at: Option<&prost_types::Timestamp>) -> Option<SystemTime> {
    SystemTime::try_from(*at?).ok()
}

/// Rows with their columns below each other.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}
