//! `headroom backtest`: rules of growth, tried on the past.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use headroom_sdk::v1;

use super::args::{ToAdmin, duration};
use super::connect::{self, Ended, Failure};
use super::show;
use crate::config;

const EXAMPLES: &str = "\
Examples:
  headroom backtest                                  the rules in force, and what was raised, over 90 days
  headroom backtest growth.yaml --since 360d         rules that are not in force yet, over four quarters
  headroom backtest catalog.yaml --format csv        ... of a whole catalog, for a spreadsheet

Where growth.yaml may hold nothing but rules:
  expansion:
    rules:
      tokens_at_70: { class: usage, when: used_percent.tokens >= 70 }

A rule sees at each look of the past what was known then, and nothing later. A trigger that comes for 5 to
15 % of the eligible accounts a quarter is good; less than 3 % is blind, more than 40 % is noise. Eligible
is who passed the gate in the quarter, or was on a plan with a price. FOLLOWED is the share of these that
upgraded in time after the trigger came; compare it with the last line, what a trigger that says nothing
would have. It reads the history alone and rests as much as it works, so no decision waits for it. To try
rules on a backup, serve a copy of it: `headroom serve --data-dir COPY --clock system`.";

/// Try rules of growth on the past: would they have told of the right accounts?
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BacktestArgs {
    /// A catalog file, or one with nothing but `expansion` and `plays` [default: the rules in force]
    rules: Option<PathBuf>,
    /// How far back; whole quarters of 90 days are looked at, or all of it if it is shorter
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "90d")]
    since: Duration,
    /// How soon after a trigger an upgrade makes it right
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30d")]
    within: Duration,
    /// How to print it; --json is the same as --format json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    to: ToAdmin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people
    Text,
    /// For scripts
    Json,
    /// For spreadsheets
    Csv,
}

/// `headroom backtest …`
pub(super) async fn run(args: BacktestArgs) -> Ended {
    let BacktestArgs { rules, since, within, format, to } = args;
    let (mut text, mut file) = (String::new(), String::new());
    if let Some(path) = &rules {
        file = path.display().to_string();
        let read = config::read_file(path).map_err(|problem| problem.to_string());
        match read.and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string())) {
            Ok(read) => text = read,
            Err(problem) => {
                show::problem(&format!("{file}: {problem}"));
                return Ended::Refused;
            }
        }
        if text.trim().is_empty() {
            show::problem(&format!("{file}: is empty"));
            return Ended::Refused;
        }
    }
    let wire = |span: Duration| prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    };
    let request = v1::BacktestRequest {
        rules: text,
        since: Some(wire(since)),
        within: Some(wire(within)),
        file,
    };
    let client = match connect::admin(&to).await {
        Ok(client) => client,
        Err(failure) => return Ended::Failed(failure),
    };
    let shows = std::io::stderr().is_terminal();
    let answer = client
        .backtest(request, |done| {
            if shows {
                show_progress(&done)
            }
        })
        .await;
    if shows {
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
    }
    match answer {
        Ok(report) => {
            match format {
                Format::Csv => show::line(show::backtest_csv(&report).trim_end()),
                Format::Json => show::report(&show::backtest(&report), true),
                Format::Text => show::report(&show::backtest(&report), to.json),
            }
            Ended::Done
        }
        Err(error) => Ended::Failed(Failure::new(error, &to.admin)),
    }
}

/// One line that is written over itself. Whoever reads a file or a pipe gets none.
fn show_progress(done: &v1::BacktestProgress) {
    let v1::BacktestProgress { accounts_done, accounts } = done;
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "\r{accounts_done} of {accounts} accounts");
    let _ = stderr.flush();
}
