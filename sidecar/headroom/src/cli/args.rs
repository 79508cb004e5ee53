//! What can be said, as clap reads it. The texts are the manual.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::backtest::BacktestArgs;
use super::grants::GrantsArgs;
use super::growth::GateArgs;
use super::import::ImportArgs;
use super::prompt::PromptArgs;
use super::signal::SignalArgs;
use crate::config::server::ClockKind;
use crate::config::values;
use crate::demo::DemoArgs;
use crate::serve::ListenAddr;

mod account;
mod ask;

pub(super) use account::{AccountAction, AccountArgs, Included, Instead, OverrideArgs, Pace};
pub(super) use ask::{
    AskArgs, AudienceArg, By, LevelArgs, Question, ReaderArgs, SeatsAction, SeatsArgs,
};

const EXAMPLES: &str = "\
Examples:
  headroom demo                                       see what it does, in a minute
  headroom check catalog.yaml headroom.yaml           find every mistake before a deployment
  headroom serve --catalog ai-product.yaml            run a sidecar with the defaults
  headroom ask consume acme tokens 1200               use 1200 tokens of the account acme
  headroom ask entitlements acme                      what may acme use, and how much is left?
  headroom account put acme --plan team               acme bought the plan team
  headroom grants put acme ai_credits pay_17 500      acme bought 500 credits
  headroom prompt report tokens_near                  do people act on what they see?
  headroom import opening-balances used.csv           what accounts used before they came
  headroom account list --sort pql                    who is ready to grow?
  headroom status                                     how is the sidecar?
  headroom sinks list                                 are signals delivered?

Features, plans and prompts are those of deploy/example/ai-product.yaml, which `headroom demo` runs on.

Environment:
  HEADROOM_ENDPOINT   where `ask` finds the sidecar      [http://127.0.0.1:7400]
  HEADROOM_ADMIN      where the other clients find it    [http://127.0.0.1:7401]
  HEADROOM_CONFIG     the settings of `serve`

Exit codes: 0 done, 1 refused or failed, 2 the command line is wrong.
Results go to standard output, problems to standard error.";

/// Metering and entitlements next to your product: may this account do this, now?
///
/// A sidecar answers from memory, counts durably, never lets a hard limit be passed, and says what
/// to show to people who come near one.
#[derive(Debug, Parser)]
#[command(name = "headroom", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a sidecar until it is told to stop
    Serve(ServeArgs),
    /// See what Headroom does: an hour of traffic of a small AI product, replayed
    Demo(DemoArgs),
    /// Find every mistake in catalogs and settings
    Check(CheckArgs),
    /// Ask a running sidecar what a product would ask
    Ask(AskArgs),
    /// Say who sits in an account: invite, claim, release
    Seats(SeatsArgs),
    /// Manage accounts: plans, overrides, facts
    Account(AccountArgs),
    /// See whether the readiness gate and the signals are any good
    Gate(GateArgs),
    /// Try rules of growth on the past: would they have told of the right accounts?
    Backtest(BacktestArgs),
    /// Give credits to an account, take them back, and see where they went
    Grants(GrantsArgs),
    /// See how prompts look, and what became of them
    Prompt(PromptArgs),
    /// Bring over what another system knows
    Import(ImportArgs),
    /// Move the clock of a sidecar that has a test clock
    Clock(ClockArgs),
    /// Tell what only others can know: signals of other systems, and who was there
    Signal(SignalArgs),
    /// See how signals are delivered, and repair it
    Sinks(SinksArgs),
    /// Show how a running sidecar is
    Status(ToAdmin),
    /// Have a running sidecar read its catalog again
    Reload(ToAdmin),
    /// Copy the data of a running sidecar into a directory that another can start on
    Backup {
        /// A directory on the sidecar's machine that is empty or does not exist
        path: PathBuf,
        #[command(flatten)]
        to: ToAdmin,
    },
    /// Describe a data directory without opening it
    Inspect {
        /// The data directory
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Settings of `serve`: flags win over the environment, both over the file.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The settings file; without one the defaults and flags count
    #[arg(long, value_name = "FILE", env = "HEADROOM_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Where requests are answered: host:port or unix:/path; may be given more than once
    #[arg(long, value_name = "ADDRESS", env = "HEADROOM_LISTEN", value_delimiter = ',')]
    pub(super) listen: Vec<ListenAddr>,
    /// Where accounts are managed: a loopback address or unix:/path
    #[arg(long = "admin-listen", value_name = "ADDRESS", env = "HEADROOM_ADMIN_LISTEN")]
    pub(super) admin: Option<ListenAddr>,
    /// Where CloudEvents come in over HTTP: a loopback address or unix:/path; without one nowhere
    #[arg(long = "events-listen", value_name = "ADDRESS", env = "HEADROOM_EVENTS_LISTEN")]
    pub(super) events: Option<ListenAddr>,
    /// The directory of all durable state
    #[arg(long, value_name = "DIR", env = "HEADROOM_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// The catalog file
    #[arg(long, value_name = "FILE", env = "HEADROOM_CATALOG")]
    pub(super) catalog: Option<PathBuf>,
    /// The clock that decides: `test` stands still until `headroom clock` moves it
    #[arg(long, value_name = "system|test", env = "HEADROOM_CLOCK", value_parser = clock_kind)]
    pub(super) clock: Option<ClockKind>,
}

/// What kind of file to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FileKind {
    /// Features, plans, prompts, sinks
    Catalog,
    /// The settings of `serve`
    Server,
}

/// How to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For people
    Text,
    /// For CI: one object, {"ok": …, "problems": [{"file", "line", "column", "message", …}]}
    Json,
}

/// Prints every problem with its place and, where there is one, a suggestion. Settings are checked
/// together with the catalog they name.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Catalogs and settings files
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// What the files are; without it their keys tell
    #[arg(long)]
    pub(super) kind: Option<FileKind>,
    /// How to report
    #[arg(long, default_value = "text")]
    pub(super) format: ReportFormat,
    /// Take every ${VARIABLE} and secret_file as given, for CI without secrets
    #[arg(long)]
    pub(super) without_secrets: bool,
    /// Also say what the catalogs would take away from the accounts of a stopped data directory or of
    /// a running sidecar, by the address of its admin listener
    #[arg(long, value_name = "DIR|ADDRESS")]
    pub(super) against: Option<String>,
}

/// Where a sidecar answers.
#[derive(Debug, Clone, Args)]
pub(super) struct ToSidecar {
    /// The sidecar: http://host:port or unix:/path
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "HEADROOM_ENDPOINT",
        default_value = "http://127.0.0.1:7400"
    )]
    pub(super) endpoint: String,
    /// How long to wait for an answer; a question may have to read the disk
    #[arg(long, global = true, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(super) deadline: Duration,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// Where a sidecar is managed.
#[derive(Debug, Clone, Args)]
pub(super) struct ToAdmin {
    /// The sidecar's admin listener: http://host:port or unix:/path
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "HEADROOM_ADMIN",
        default_value = "http://127.0.0.1:7401"
    )]
    pub(super) admin: String,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// Move the clock of a sidecar that has a test clock
#[derive(Debug, Args)]
#[command(after_help = "\
Example, with `clock: test` in the settings:
  headroom clock set 2027-03-31T23:59:00Z    just before the month ends
  headroom clock advance 2min                and just after: windows close, timers go off")]
pub(super) struct ClockArgs {
    #[command(subcommand)]
    pub(super) action: ClockAction,
    #[command(flatten)]
    pub(super) to: ToAdmin,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClockAction {
    /// Move it to an instant; it never goes back
    Set {
        /// As in 2026-05-01 or 2026-05-01T12:00:00Z
        #[arg(value_parser = time)]
        time: SystemTime,
    },
    /// Move it on
    Advance {
        /// As in 90s, 30min, 24h or 7d
        #[arg(value_parser = duration)]
        duration: Duration,
    },
}

/// See how signals are delivered, and repair it
#[derive(Debug, Args)]
pub(super) struct SinksArgs {
    #[command(subcommand)]
    pub(super) action: SinksAction,
    #[command(flatten)]
    pub(super) to: ToAdmin,
}

#[derive(Debug, Subcommand)]
pub(super) enum SinksAction {
    /// Show how each sink stands
    List,
    /// List the signals that a sink has given up
    DeadLetters {
        /// The sink's name
        sink: String,
    },
    /// Send signals again that a sink has given up; they keep their ids
    Replay {
        /// The sink's name
        sink: String,
        /// Only this one; may be given several times [default: all]
        #[arg(long = "id", value_name = "ID")]
        ids: Vec<String>,
    },
    /// Let a sink rest, also over a restart; nothing is lost
    Pause {
        /// The sink's name
        sink: String,
    },
    /// Let a sink go on that was paused or whose endpoint said that it is gone, and try one that fails at once
    Resume {
        /// The sink's name
        sink: String,
    },
    /// Make a secret to sign deliveries with; needs no sidecar
    NewSecret {
        /// A key pair (Ed25519): receivers get the public key only
        #[arg(long)]
        pair: bool,
    },
}

fn clock_kind(text: &str) -> Result<ClockKind, String> {
    match text {
        "system" => Ok(ClockKind::System),
        "test" => Ok(ClockKind::Test),
        _ => Err("use system or test".into()),
    }
}

/// As in the catalog, so that `1_000_000` can be typed here too.
pub(super) fn units(text: &str) -> Result<u64, String> {
    values::whole_number(text)
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    values::duration(text)
}

/// An instant of RFC 3339, or a day in UTC.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    let stamp: Option<jiff::Timestamp> = text.parse().ok().or_else(|| {
        let day: jiff::civil::Date = text.parse().ok()?;
        Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    });
    let is_far = text.parse::<jiff::civil::Date>().is_ok();
    let wrong = || match is_far {
        true => format!("is beyond the calendar, whose last day is {}", jiff::Timestamp::MAX),
        false => "write it as 2026-05-01T12:00:00Z or 2026-05-01".to_owned(),
    };
    stamp.map(SystemTime::from).ok_or_else(wrong)
}

/// `NAME=VALUE`: JSON where it is JSON, else a text; nothing is null.
pub(super) fn fact(text: &str) -> Result<(String, serde_json::Value), String> {
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err("write it as NAME=VALUE".into());
    };
    let value = match serde_json::from_str(value) {
        Ok(value) => value,
        Err(_) if value.is_empty() => serde_json::Value::Null,
        Err(_) => serde_json::Value::String(value.to_owned()),
    };
    Ok((name.to_owned(), value))
}
