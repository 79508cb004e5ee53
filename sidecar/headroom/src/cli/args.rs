//! What can be said, as clap reads it. The texts are the manual.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use headroom_sdk::Item;

use super::backtest::BacktestArgs;
use super::grants::GrantsArgs;
use super::growth::{Format, GateArgs, Sort};
use super::import::ImportArgs;
use super::prompt::PromptArgs;
use super::signal::SignalArgs;
use crate::config::server::ClockKind;
use crate::config::values;
use crate::demo::DemoArgs;
use crate::serve::ListenAddr;

const EXAMPLES: &str = "\
Examples:
  headroom demo                                       see what it does, in a minute
  headroom check catalog.yaml headroom.yaml           find every mistake before a deployment
  headroom serve --catalog catalog.yaml               run a sidecar with the defaults
  headroom ask consume acme tokens 1200               use 1200 tokens of the account acme
  headroom ask entitlements acme                      what may acme use, and how much is left?
  headroom account put acme --plan pro                acme bought the plan pro
  headroom grants put acme credits pay_17 500         acme bought 500 credits
  headroom prompt report near_limit                   do people act on what they see?
  headroom import opening-balances used.csv           what accounts used before they came
  headroom account list --sort pql                    who is ready to grow?
  headroom status                                     how is the sidecar?
  headroom sinks list                                 are signals delivered?

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

/// Ask a running sidecar what a product would ask
///
/// The answer comes with its prompt, projection and all limits. Exit code 1 when it is a refusal.
#[derive(Debug, Args)]
pub(super) struct AskArgs {
    #[command(subcommand)]
    pub(super) question: Question,
    #[command(flatten)]
    pub(super) to: ToSidecar,
}

/// Who reads the prompt.
#[derive(Debug, Args)]
pub(super) struct ReaderArgs {
    /// The language of the prompt, as in de-AT [default: the account's]
    #[arg(long, value_name = "TAG")]
    pub(super) locale: Option<String>,
    /// What its reader may do about it
    #[arg(long)]
    pub(super) audience: Option<AudienceArg>,
    /// Who reads it, for caps and wordings per person
    #[arg(long, value_name = "ID")]
    pub(super) person: Option<String>,
}

/// What the reader of a prompt may do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AudienceArg {
    /// May buy
    Buyer,
    /// Has to ask somebody who may buy
    Member,
    /// Manages the account, and may not buy
    Admin,
}

#[derive(Debug, Subcommand)]
pub(super) enum Question {
    /// Would it be allowed? Counts nothing
    Check {
        /// The account's id
        account: String,
        /// The feature's name
        feature: String,
        /// How many units
        #[arg(long, value_parser = units)]
        units: Option<u64>,
        /// A screen is drawn: a refusal is no signal
        #[arg(long)]
        render: bool,
        /// It comes from a monitor: a refusal is no signal
        #[arg(long)]
        synthetic: bool,
        /// For whom inside the account, as in team:growth/user:u42
        #[arg(long, value_name = "PATH")]
        subject: Option<String>,
        #[command(flatten)]
        told: DimensionArgs,
        #[command(flatten)]
        reader: ReaderArgs,
    },
    /// Use units, if it is allowed
    Consume {
        #[command(flatten)]
        usage: UseArgs,
        #[command(flatten)]
        told: DimensionArgs,
    },
    /// Set units aside for work whose cost is not known yet
    Reserve {
        #[command(flatten)]
        usage: UseArgs,
        /// How long, as in 30s or 10min
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
        hold: Duration,
        /// What is still held at the end counts as used, until a commit corrects it
        #[arg(long)]
        charge_on_expiry: bool,
    },
    /// Would all of them be allowed together? Counts nothing
    CheckAll {
        /// The account's id
        account: String,
        /// The features, with units as in tokens=400
        #[arg(required = true, value_name = "FEATURE[=UNITS]", value_parser = item)]
        items: Vec<Item>,
        /// A screen is drawn: a refusal is no signal
        #[arg(long)]
        render: bool,
        /// It comes from a monitor: a refusal is no signal
        #[arg(long)]
        synthetic: bool,
        /// For whom inside the account, as in team:growth/user:u42
        #[arg(long, value_name = "PATH")]
        subject: Option<String>,
    },
    /// Use several features in one step: all of them, or none
    ConsumeAll(SeveralArgs),
    /// Set units of several features aside in one step: all of them, or none
    ReserveAll {
        #[command(flatten)]
        several: SeveralArgs,
        /// How long, as in 30s or 10min
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
        hold: Duration,
        /// What is still held at the end counts as used, until a commit corrects it
        #[arg(long)]
        charge_on_expiry: bool,
    },
    /// Hold a reservation longer, or more units
    Extend {
        #[command(flatten)]
        reservation: ReservationArgs,
        /// How long from now on
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        hold: Option<Duration>,
        /// Units in addition
        #[arg(long, default_value_t = 0, value_parser = units)]
        units: u64,
    },
    /// Say what the work did cost
    Commit {
        #[command(flatten)]
        reservation: ReservationArgs,
        /// Units used: any number, more than were held too
        #[arg(value_parser = units)]
        units: u64,
        /// Only a part: hold the rest on
        #[arg(long)]
        keep_open: bool,
        /// With --keep-open: how long from now on
        #[arg(long, value_name = "DURATION", value_parser = duration, requires = "keep_open")]
        hold: Option<Duration>,
        #[command(flatten)]
        told: DimensionArgs,
    },
    /// Give a reservation back unused
    Release(ReservationArgs),
    /// Add to what is allocated, take away from it, or say how much there is
    Allocate {
        /// The account's id
        account: String,
        /// The feature's name: an allocation
        feature: String,
        #[command(flatten)]
        change: LevelArgs,
        /// Makes a retry safe: the same key counts once [default: a new one]
        #[arg(long)]
        key: Option<String>,
    },
    /// Count usage that happened already
    Record {
        #[command(flatten)]
        usage: UseArgs,
        /// When it happened, as in 2026-05-01T12:00:00Z: it counts in the windows of that time
        #[arg(long, value_name = "TIME", value_parser = time)]
        occurred_at: Option<SystemTime>,
        #[command(flatten)]
        told: DimensionArgs,
    },
    /// Amend or withdraw an event that was counted; the trail stays
    Correct {
        /// The account's id
        account: String,
        /// The feature's name
        feature: String,
        /// The idempotency key of the event
        event: String,
        /// What it should have counted; without it, it is withdrawn
        #[arg(long, value_parser = units)]
        units: Option<u64>,
        /// What it counts now; needed for what was counted as it came
        #[arg(long, value_name = "UNITS", value_parser = units)]
        original: Option<u64>,
        /// Why, for the trail
        #[arg(long, default_value = "")]
        reason: String,
        /// Makes a retry safe: the same key corrects once [default: a new one]
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        told: DimensionArgs,
    },
    /// What came to windows by late events and corrections
    Adjustments {
        /// The account's id
        account: String,
        /// Only this feature
        #[arg(long)]
        feature: Option<String>,
    },
    /// What was used, by limit and window, or by time and dimension
    Usage {
        /// The account's id
        account: String,
        /// Only this feature
        #[arg(long)]
        feature: Option<String>,
        /// Also windows that closed since then, as in 2026-05-01 or 2026-05-01T12:00:00Z. With --by: what
        /// was used since then
        #[arg(long, value_name = "TIME", value_parser = time)]
        since: Option<SystemTime>,
        /// Of this subject inside the account, as in team:growth/user:u42
        #[arg(long, value_name = "PATH", conflicts_with = "all_subjects")]
        subject: Option<String>,
        /// Of all subjects
        #[arg(long)]
        all_subjects: bool,
        /// By time, of a feature that has `usage` in the catalog
        #[arg(long, value_name = "SPAN", requires = "feature")]
        by: Option<By>,
        /// With --by: told apart by this, any number of times
        #[arg(long, value_name = "NAME", requires = "by")]
        dimension: Vec<String>,
        /// With --by: what was used before then
        #[arg(long, value_name = "TIME", value_parser = time, requires = "by")]
        until: Option<SystemTime>,
    },
    /// What an account may use, and every change of it, until Ctrl-C
    Watch {
        /// The account's id
        account: String,
        /// Also when nothing but counters has changed
        #[arg(long)]
        counters: bool,
    },
    /// Why was a recent answer what it was? Rule by rule
    Explain {
        /// The answer's decision_id
        decision_id: String,
    },
    /// What an account may use, and how much is left
    Entitlements {
        /// The account's id
        account: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct UseArgs {
    /// The account's id
    pub(super) account: String,
    /// The feature's name
    pub(super) feature: String,
    /// How many units
    #[arg(value_parser = units)]
    pub(super) units: u64,
    /// Makes a retry safe: the same key counts once [default: a new one]
    #[arg(long)]
    pub(super) key: Option<String>,
    /// It comes from a monitor: decided like any other, counted nowhere
    #[arg(long)]
    pub(super) synthetic: bool,
    /// For whom inside the account, as in team:growth/user:u42
    #[arg(long, value_name = "PATH")]
    pub(super) subject: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SeveralArgs {
    /// The account's id
    pub(super) account: String,
    /// The features, with units as in tokens=400; a switch or a slot needs none
    #[arg(required = true, value_name = "FEATURE[=UNITS]", value_parser = item)]
    pub(super) items: Vec<Item>,
    /// Makes a retry safe: the same key counts once [default: a new one]
    #[arg(long)]
    pub(super) key: Option<String>,
    /// It comes from a monitor: decided like any other, counted nowhere
    #[arg(long)]
    pub(super) synthetic: bool,
    /// For whom inside the account, as in team:growth/user:u42
    #[arg(long, value_name = "PATH")]
    pub(super) subject: Option<String>,
}

/// What the usage is told apart by, or which of different values it is.
#[derive(Debug, Args)]
pub(super) struct DimensionArgs {
    /// What it is told apart by, as in model=small, or which of different values it is, as in device=d7; any
    /// number of times
    #[arg(long = "dimension", value_name = "NAME=VALUE", value_parser = dimension)]
    pub(super) dimensions: Vec<(String, String)>,
}

/// How long the spans are that usage is added up over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum By {
    /// Clock hours
    Hour,
    /// Days
    Day,
    /// Calendar months
    Month,
}

/// How a level changes: exactly one of them.
#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = false)]
pub(super) struct LevelArgs {
    /// So many more, if they are allowed
    #[arg(long, value_name = "UNITS", value_parser = units)]
    pub(super) add: Option<u64>,
    /// So many less; when there are not so many, all of them
    #[arg(long, value_name = "UNITS", value_parser = units)]
    pub(super) remove: Option<u64>,
    /// So many in all, if what comes in addition is allowed
    #[arg(long, value_name = "UNITS", value_parser = units)]
    pub(super) set: Option<u64>,
    /// So many in all, because there are: never refused for a limit
    #[arg(long, value_name = "UNITS", value_parser = units)]
    pub(super) report: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct ReservationArgs {
    /// The account's id
    pub(super) account: String,
    /// The reservation's id, from `reserve`
    pub(super) reservation: String,
    /// Makes a retry safe: the same key counts once [default: a new one]
    #[arg(long)]
    pub(super) key: Option<String>,
}

/// Say who sits in an account: invite, claim, release
///
/// The same again changes nothing. Exit code 1 when it is refused.
#[derive(Debug, Args)]
pub(super) struct SeatsArgs {
    #[command(subcommand)]
    pub(super) action: SeatsAction,
    #[command(flatten)]
    pub(super) to: ToSidecar,
}

#[derive(Debug, Subcommand)]
pub(super) enum SeatsAction {
    /// Hold a seat for somebody until the invitation ends
    Invite {
        #[command(flatten)]
        seat: SeatArgs,
        /// How long, as in 24h or 7d [default: as the catalog says]
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        lasts: Option<Duration>,
    },
    /// Sit down, on the seat that was held or on a free one
    Claim(SeatArgs),
    /// Free a seat and forget the member
    Release(SeatArgs),
    /// Give one member's seat to another
    Transfer {
        /// The account's id
        account: String,
        /// The feature's name: seats
        feature: String,
        /// Whose
        from: String,
        /// To whom
        to: String,
    },
    /// List who sits and who is invited
    List {
        /// The account's id
        account: String,
        /// The feature's name: seats
        feature: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct SeatArgs {
    /// The account's id
    pub(super) account: String,
    /// The feature's name: seats
    pub(super) feature: String,
    /// Who
    pub(super) member: String,
}

/// Manage accounts: plans, overrides, facts
#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    pub(super) action: AccountAction,
    #[command(flatten)]
    pub(super) to: ToAdmin,
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountAction {
    /// Put an account on a plan; a new account is created, what was used stays used
    Put {
        /// The account's id
        account: String,
        /// The plan's name in the catalog; `team@2` names a version [default: as it was, or the one
        /// that is sold]
        #[arg(long)]
        plan: String,
        /// The instant billing windows are counted from [default: as it was, or now]
        #[arg(long, value_name = "TIME", value_parser = time)]
        anchor: Option<SystemTime>,
        /// The time zone of calendar windows, as in Europe/Berlin [default: as it was, or UTC]
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// When the subscription ends [default: never]
        #[arg(long, value_name = "TIME", value_parser = time)]
        ends: Option<SystemTime>,
        /// Bought in addition, as in --add-on seats=5; may be given several times
        #[arg(long = "add-on", value_name = "NAME[=QUANTITY]", value_parser = add_on)]
        add_ons: Vec<(String, i32)>,
        /// Another plan on trial, as in --trial pro=2026-06-01; then the plan
        #[arg(long, value_name = "PLAN=END", value_parser = plan_and_time)]
        trial: Option<(String, SystemTime)>,
        /// A plan from an instant on, as in --then scale=2027-01-01; may be given several times
        #[arg(long = "then", value_name = "PLAN=START", value_parser = plan_and_time)]
        scheduled: Vec<(String, SystemTime)>,
    },
    /// Move accounts to a version of the plan that they are on
    Move {
        /// The account's id
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        account: Option<String>,
        /// The plan's name in the catalog
        #[arg(long)]
        plan: String,
        /// The version to move to
        #[arg(long, value_name = "NUMBER")]
        to_version: u32,
        /// Every account that is on another version
        #[arg(long)]
        all: bool,
        /// Only say how many accounts that is
        #[arg(long)]
        dry_run: bool,
    },
    /// Let the accounts on a plan keep what it gives now: before a catalog that gives less is loaded
    ///
    /// Each of them gets overrides that count only where they give more than its plan and add-ons; ones that
    /// were made by hand stay. Done again it changes nothing.
    #[command(after_help = "\
Example:
  headroom account grandfather team --until 2028-01-01 --dry-run   how many accounts is that?
  headroom account grandfather team --until 2028-01-01             they keep it
  headroom reload                                                  and now the plan may give less")]
    Grandfather {
        /// The plan's name in the catalog
        plan: String,
        /// Only this feature; may be given several times [default: all but configs]
        #[arg(long = "feature", value_name = "NAME")]
        features: Vec<String>,
        /// Until when [default: for ever]
        #[arg(long, value_name = "TIME", value_parser = time)]
        until: Option<SystemTime>,
        /// Only say how many accounts that is
        #[arg(long)]
        dry_run: bool,
    },
    /// Show one account
    Get {
        /// The account's id
        account: String,
    },
    /// List accounts, by a score if wanted: `--sort pql --format csv` is the readiness scorecard
    List {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        max: usize,
        /// What they are listed by
        #[arg(long, value_enum, default_value = "seen")]
        sort: Sort,
        /// How the list is printed
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show whether an account is to be sold to, what is in the way, and its scores with their parts
    Readiness {
        /// The account's id
        account: String,
    },
    /// Refuse everything an account asks
    Suspend {
        /// The account's id
        account: String,
    },
    /// Let a suspended account go on
    Resume {
        /// The account's id
        account: String,
    },
    /// Give one account something else than its plan does
    Override(OverrideArgs),
    /// Take overrides of a feature back
    DeleteOverride {
        /// The account's id
        account: String,
        /// The feature's name
        feature: String,
        /// Only the override of this limit
        #[arg(long)]
        limit: Option<String>,
        /// Only overrides for this subject, as in team:growth/user:u42
        #[arg(long, value_name = "PATH")]
        subject: Option<String>,
    },
    /// Forget the name of a user, team or agent of an account; what was counted stays
    EraseSubject {
        /// The account's id
        account: String,
        /// The subject, as in team:growth/user:u42; all below it is forgotten, too
        subject: String,
    },
    /// Put an account into cohorts that features are rolled out to, or take it out
    Cohorts {
        /// The account's id
        account: String,
        /// A cohort to be in; may be given several times
        #[arg(long, value_name = "NAME", required_unless_present = "leave")]
        join: Vec<String>,
        /// A cohort not to be in; may be given several times
        #[arg(long, value_name = "NAME")]
        leave: Vec<String>,
    },
    /// Set facts of an account for prompts and signals; those not named stay
    Facts {
        /// The account's id
        account: String,
        /// NAME=VALUE; a value is JSON or a text; NAME= removes the fact
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = fact)]
        facts: Vec<(String, serde_json::Value)>,
    },
}

#[derive(Debug, Args)]
pub(super) struct OverrideArgs {
    /// The account's id
    pub(super) account: String,
    /// The feature's name
    pub(super) feature: String,
    #[command(flatten)]
    pub(super) instead: Instead,
    /// For a quota or credits: the included units; for a concurrency: the most at a time; for an
    /// allocation or seats: the most there may be
    #[arg(long, value_name = "UNITS|unlimited", value_parser = included, requires = "limit")]
    pub(super) included: Option<Included>,
    /// For a limit of users, teams or agents: only for this one, as in team:growth/user:u42
    #[arg(long, value_name = "PATH", requires = "limit")]
    pub(super) subject: Option<String>,
    /// For a rate: how many at once [default: what comes back in one period]
    #[arg(long, value_name = "UNITS", value_parser = units, requires = "rate")]
    pub(super) burst: Option<u64>,
    /// For a spend cap: the most that the overage of a window may cost, in minor units
    #[arg(long, value_name = "MINOR|unlimited", value_parser = included, requires = "spend_cap")]
    pub(super) cap_minor: Option<Included>,
    /// For a spend cap: the currency of the limit's price, as in USD
    #[arg(long, value_name = "CODE", requires = "spend_cap")]
    pub(super) currency: Option<String>,
    /// From when on it counts [default: at once]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) starts: Option<SystemTime>,
    /// Until when it counts [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) ends: Option<SystemTime>,
    /// Only where it gives more than plan and add-ons; for a switch that is on, a limit or a rate
    #[arg(long)]
    pub(super) at_least: bool,
}

/// What replaces the plan's word: exactly one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Instead {
    /// For a switch
    #[arg(long, value_name = "on|off", value_parser = on_off)]
    pub(super) switch: Option<bool>,
    /// For a config: the value
    #[arg(long, value_name = "JSON", value_parser = json_text)]
    pub(super) value: Option<String>,
    /// For a quota: the limit's name; for a concurrency: `concurrent`, or `concurrent_each` for each
    /// subject; for an allocation: `level`; for credits: `credits`; for seats: `seats`
    #[arg(long, requires = "included")]
    pub(super) limit: Option<String>,
    /// For a rate: how fast, as in "100 per second" or "5 per 10s"
    #[arg(long, value_name = "RATE|unlimited", value_parser = pace)]
    pub(super) rate: Option<Pace>,
    /// For a quota: the limit whose overage may cost more or less than the plan says
    #[arg(long, value_name = "LIMIT", requires = "cap_minor", requires = "currency")]
    pub(super) spend_cap: Option<String>,
}

/// How fast a rate of an override is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// So many units per so many milliseconds.
    Units(u64, i64),
    /// No bound.
    Unlimited,
}

/// Included units of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Included {
    Units(i64),
    Unlimited,
}

/// Move the clock of a sidecar that has a test clock
#[derive(Debug, Args)]
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
    /// Let a sink go on that was paused, or whose endpoint said that it is gone
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

/// A feature, with units or without.
fn item(text: &str) -> Result<Item, String> {
    match text.split_once('=') {
        None => Ok(text.into()),
        Some((feature, text)) => Ok((feature, units(text)?).into()),
    }
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
    let wrong = || "write it as 2026-05-01T12:00:00Z or 2026-05-01".to_owned();
    stamp.map(SystemTime::from).ok_or_else(wrong)
}

/// `NAME=VALUE`.
fn dimension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as model=small")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `NAME` or `NAME=QUANTITY`.
fn add_on(text: &str) -> Result<(String, i32), String> {
    let (name, quantity) = text.split_once('=').unwrap_or((text, "1"));
    let quantity = quantity.parse().ok().filter(|quantity| *quantity > 0);
    let quantity = quantity.ok_or("write it as NAME or NAME=QUANTITY, as in seats=5")?;
    Ok((name.to_owned(), quantity))
}

/// `PLAN=TIME`.
fn plan_and_time(text: &str) -> Result<(String, SystemTime), String> {
    let (plan, at) = text.split_once('=').ok_or("write it as PLAN=TIME, as in pro=2026-06-01")?;
    Ok((plan.to_owned(), time(at)?))
}

fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("use on or off".into()),
    }
}

fn json_text(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => Ok(value.to_string()),
        Err(error) => Err(format!("this is not JSON ({error}); a text needs quotes: '\"text\"'")),
    }
}

fn included(text: &str) -> Result<Included, String> {
    match text {
        "unlimited" => Ok(Included::Unlimited),
        _ => {
            let units = values::whole_number(text)?;
            let units = i64::try_from(units).map_err(|_| format!("`{text}` is too large"))?;
            Ok(Included::Units(units))
        }
    }
}

fn pace(text: &str) -> Result<Pace, String> {
    match text {
        "unlimited" => Ok(Pace::Unlimited),
        _ => values::rate(text).map(|(units, period_ms)| Pace::Units(units, period_ms)),
    }
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
