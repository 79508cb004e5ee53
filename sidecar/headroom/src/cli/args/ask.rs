//! What `headroom ask` and `headroom seats` understand.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use headroom_sdk::Item;

use super::{ToSidecar, duration, time, units};

/// Ask a running sidecar what a product would ask
///
/// The answer comes with its prompt, projection and all limits. Exit code 1 when it is a refusal.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  headroom ask check acme tokens --units 400     would 400 be allowed?
  headroom ask consume acme tokens 400           use them
  headroom ask explain dec_1.1.7                 why? a refusal prints its decision
  headroom ask usage acme --feature tokens       what was used, window by window")]
pub(in crate::cli) struct AskArgs {
    #[command(subcommand)]
    pub(in crate::cli) question: Question,
    #[command(flatten)]
    pub(in crate::cli) to: ToSidecar,
}

/// Who reads the prompt.
#[derive(Debug, Args)]
pub(in crate::cli) struct ReaderArgs {
    /// The language of the prompt, as in de-AT [default: the account's]
    #[arg(long, value_name = "TAG")]
    pub(in crate::cli) locale: Option<String>,
    /// What its reader may do about it
    #[arg(long)]
    pub(in crate::cli) audience: Option<AudienceArg>,
    /// Who reads it, for caps and wordings per person
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) person: Option<String>,
}

/// What the reader of a prompt may do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum AudienceArg {
    /// May buy
    Buyer,
    /// Has to ask somebody who may buy
    Member,
    /// Manages the account, and may not buy
    Admin,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Question {
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
        /// For whom inside the account, as in team:growth/user:u42; it is the whole path, so user:u42 is another
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
        /// The account's id
        account: String,
        /// The feature's name
        feature: String,
        /// How many units; a slot is one
        #[arg(default_value_t = 1, value_parser = units)]
        units: u64,
        #[command(flatten)]
        by: ByArgs,
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
        /// The features, with units as in tokens=400, and a value that counts once as in devices,device=d1
        #[arg(required = true, value_name = "FEATURE[=UNITS][,NAME=VALUE]", value_parser = item)]
        items: Vec<Item>,
        /// A screen is drawn: a refusal is no signal
        #[arg(long)]
        render: bool,
        /// It comes from a monitor: a refusal is no signal
        #[arg(long)]
        synthetic: bool,
        /// For whom inside the account, as in team:growth/user:u42; it is the whole path, so user:u42 is another
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
        /// What it should have counted; 0, or without it, it is withdrawn
        #[arg(long, value_parser = units)]
        units: Option<u64>,
        /// What it counts now; needed for what was counted as it came
        #[arg(long, value_name = "UNITS", value_parser = units)]
        original: Option<u64>,
        /// For whom it was counted, as in team:growth/user:u42; needed if it was for somebody
        #[arg(long, value_name = "PATH")]
        subject: Option<String>,
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
        /// Of this subject inside the account, as in team:growth/user:u42
        #[arg(long, value_name = "PATH")]
        subject: Option<String>,
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
    ///
    /// Every answer has a decision_id: a refusal prints it, and all others have it with --json. The sidecar
    /// that decided remembers as many as `recent_decisions_bytes` has room for, until it restarts.
    #[command(after_help = "\
Example:
  headroom ask consume acme tokens 400
    denied: quota exhausted
    why: headroom ask explain dec_1.1.7
  headroom ask explain dec_1.1.7")]
    Explain {
        /// The answer's decision_id, as in dec_1.1.7
        decision_id: String,
    },
    /// What an account may use, and how much is left
    Entitlements {
        /// The account's id
        account: String,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UseArgs {
    /// The account's id
    pub(in crate::cli) account: String,
    /// The feature's name
    pub(in crate::cli) feature: String,
    /// How many units
    #[arg(value_parser = units)]
    pub(in crate::cli) units: u64,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SeveralArgs {
    /// The account's id
    pub(in crate::cli) account: String,
    /// The features, with units as in tokens=400; a switch or a slot needs none. What the usage is told apart by,
    /// or which of different values it is, comes behind: tokens=400,model=small devices,device=d1
    #[arg(required = true, value_name = "FEATURE[=UNITS][,NAME=VALUE]", value_parser = item)]
    pub(in crate::cli) items: Vec<Item>,
    #[command(flatten)]
    pub(in crate::cli) by: ByArgs,
}

/// Under which key a write counts, and for whom.
#[derive(Debug, Args)]
pub(in crate::cli) struct ByArgs {
    /// Makes a retry safe: the same key counts once [default: a new one]
    #[arg(long)]
    pub(in crate::cli) key: Option<String>,
    /// It comes from a monitor: decided like any other, counted nowhere
    #[arg(long)]
    pub(in crate::cli) synthetic: bool,
    /// For whom inside the account, as in team:growth/user:u42; it is the whole path, so user:u42 is another
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) subject: Option<String>,
}

/// What the usage is told apart by, or which of different values it is.
#[derive(Debug, Args)]
pub(in crate::cli) struct DimensionArgs {
    /// What it is told apart by, as in model=small, or which of different values it is, as in device=d7; any
    /// number of times
    #[arg(long = "dimension", value_name = "NAME=VALUE", value_parser = dimension)]
    pub(in crate::cli) dimensions: Vec<(String, String)>,
}

impl Question {
    /// The account and the feature that a decision is asked for.
    pub(in crate::cli) fn named(&self) -> Option<(&str, &str)> {
        match self {
            Question::Check { account, feature, .. }
            | Question::Reserve { account, feature, .. }
            | Question::Allocate { account, feature, .. } => Some((account, feature)),
            Question::Consume { usage, .. } | Question::Record { usage, .. } => {
                Some((&usage.account, &usage.feature))
            }
            _ => None,
        }
    }

    /// The dimension that is named twice, if one is: a use has one value of it.
    pub(in crate::cli) fn told_twice(&self) -> Option<&str> {
        let (Question::Check { told, .. }
        | Question::Consume { told, .. }
        | Question::Commit { told, .. }
        | Question::Record { told, .. }
        | Question::Correct { told, .. }) = self
        else {
            return None;
        };
        let all = &told.dimensions;
        let is_known = |place: usize| all[..place].iter().any(|(known, _)| *known == all[place].0);
        (0..all.len()).find(|place| is_known(*place)).map(|place| all[place].0.as_str())
    }
}

/// How long the spans are that usage is added up over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum By {
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
pub(in crate::cli) struct LevelArgs {
    /// So many more, if they are allowed
    #[arg(long, value_name = "UNITS", value_parser = units)]
    pub(in crate::cli) add: Option<u64>,
    /// So many less; when there are not so many, all of them
    #[arg(long, value_name = "UNITS", value_parser = units)]
    pub(in crate::cli) remove: Option<u64>,
    /// So many in all, if what comes in addition is allowed
    #[arg(long, value_name = "UNITS", value_parser = units)]
    pub(in crate::cli) set: Option<u64>,
    /// So many in all, because there are: never refused for a limit
    #[arg(long, value_name = "UNITS", value_parser = units)]
    pub(in crate::cli) report: Option<u64>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReservationArgs {
    /// The account's id
    pub(in crate::cli) account: String,
    /// The reservation's id, from `reserve`
    pub(in crate::cli) reservation: String,
    /// Makes a retry safe: the same key counts once [default: a new one]
    #[arg(long)]
    pub(in crate::cli) key: Option<String>,
}

/// Say who sits in an account: invite, claim, release
///
/// The same again changes nothing. Exit code 1 when it is refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  headroom seats invite acme seats ann --for 7d    hold a seat for ann
  headroom seats claim acme seats ann              she sits down
  headroom seats transfer acme seats ann bob       bob has it now
  headroom seats list acme seats                   who sits, who is invited")]
pub(in crate::cli) struct SeatsArgs {
    #[command(subcommand)]
    pub(in crate::cli) action: SeatsAction,
    #[command(flatten)]
    pub(in crate::cli) to: ToSidecar,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SeatsAction {
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
pub(in crate::cli) struct SeatArgs {
    /// The account's id
    pub(in crate::cli) account: String,
    /// The feature's name: seats
    pub(in crate::cli) feature: String,
    /// Who
    pub(in crate::cli) member: String,
}

/// A feature, with units or without, and behind commas its dimensions.
fn item(text: &str) -> Result<Item, String> {
    let mut parts = text.split(',');
    let head = parts.next().unwrap_or_default();
    let mut item = match head.split_once('=') {
        None => Item::from(head),
        Some((feature, text)) => Item::from((feature, units(text)?)),
    };
    for part in parts {
        let told = part.split_once('=');
        let (name, value) = told.ok_or("write dimensions as in tokens=400,model=small")?;
        if item.dimensions.contains_key(name) {
            return Err(format!("{name} is there twice: a use has one value of it"));
        }
        item = item.dimension(name, value);
    }
    Ok(item)
}

/// `NAME=VALUE`.
fn dimension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as model=small")?;
    Ok((name.to_owned(), value.to_owned()))
}
