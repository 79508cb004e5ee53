//! What `headroom account` understands.

use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::super::growth::{Format, Sort};
use super::{ToAdmin, fact, time, units};
use crate::config::values;

/// Manage accounts: plans, overrides, facts
#[derive(Debug, Args)]
pub(in crate::cli) struct AccountArgs {
    #[command(subcommand)]
    pub(in crate::cli) action: AccountAction,
    #[command(flatten)]
    pub(in crate::cli) to: ToAdmin,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AccountAction {
    /// Put an account on a plan; a new account is created, what was used stays used
    ///
    /// It says all of the subscription but anchor and zone: add-ons, a trial, scheduled plans and an end that
    /// are not named again are taken away, and it is printed which.
    #[command(after_help = "\
Example:
  headroom account put acme --plan team --add-on more_seats=5
  headroom account put acme --plan team --add-on more_seats=5 --zone Europe/Berlin   the seats stay
  headroom account put acme --plan team                                              the seats go")]
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
        /// When the subscription ends [default: never, also where an end was set]
        #[arg(long, value_name = "TIME", value_parser = time)]
        ends: Option<SystemTime>,
        /// Bought in addition, as in --add-on seats=5; may be given several times [default: none, also
        /// where some were bought]
        #[arg(long = "add-on", value_name = "NAME[=QUANTITY]", value_parser = add_on)]
        add_ons: Vec<(String, i32)>,
        /// Another plan on trial, as in --trial pro=2026-06-01; then the plan [default: none]
        #[arg(long, value_name = "PLAN=END", value_parser = plan_and_time)]
        trial: Option<(String, SystemTime)>,
        /// A plan from an instant on, as in --then scale=2027-01-01; may be given several times
        /// [default: none]
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
    ///
    /// Example: headroom account erase-subject acme user:u42 --seat-member u42@acme.com
    EraseSubject {
        /// The account's id
        account: String,
        /// The subject, as in team:growth/user:u42; all below it is forgotten, too
        #[arg(required_unless_present = "seat_member")]
        subject: Option<String>,
        /// Also the same person as a member of seats, which are given back
        #[arg(long, value_name = "MEMBER")]
        seat_member: Option<String>,
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
pub(in crate::cli) struct OverrideArgs {
    /// The account's id
    pub(in crate::cli) account: String,
    /// The feature's name
    pub(in crate::cli) feature: String,
    #[command(flatten)]
    pub(in crate::cli) instead: Instead,
    /// For a quota or credits: the included units; for a concurrency: the most at a time; for an
    /// allocation or seats: the most there may be
    #[arg(long, value_name = "UNITS|unlimited", value_parser = included, requires = "limit")]
    pub(in crate::cli) included: Option<Included>,
    /// For a limit of users, teams or agents: only for this one, as in team:growth/user:u42
    #[arg(long, value_name = "PATH", requires = "limit")]
    pub(in crate::cli) subject: Option<String>,
    /// For a rate: how many at once [default: what comes back in one period]
    #[arg(long, value_name = "UNITS", value_parser = units, requires = "rate")]
    pub(in crate::cli) burst: Option<u64>,
    /// For a spend cap: the most that the overage of a window may cost, in minor units
    #[arg(long, value_name = "MINOR|unlimited", value_parser = included, requires = "spend_cap")]
    pub(in crate::cli) cap_minor: Option<Included>,
    /// For a spend cap: the currency of the limit's price, as in USD
    #[arg(long, value_name = "CODE", requires = "spend_cap")]
    pub(in crate::cli) currency: Option<String>,
    /// From when on it counts [default: at once]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(in crate::cli) starts: Option<SystemTime>,
    /// Until when it counts [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(in crate::cli) ends: Option<SystemTime>,
    /// Only where it gives more than plan and add-ons; for a switch that is on, a limit or a rate
    #[arg(long)]
    pub(in crate::cli) at_least: bool,
}

/// What replaces the plan's word: exactly one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct Instead {
    /// For a switch
    #[arg(long, value_name = "on|off", value_parser = on_off)]
    pub(in crate::cli) switch: Option<bool>,
    /// For a config: the value
    #[arg(long, value_name = "JSON", value_parser = json_text)]
    pub(in crate::cli) value: Option<String>,
    /// For a quota: the limit's name; for a concurrency: `concurrent`, or `concurrent_each` for each
    /// subject; for an allocation: `level`; for credits: `credits`; for seats: `seats`
    #[arg(long, requires = "included")]
    pub(in crate::cli) limit: Option<String>,
    /// For a rate: how fast, as in "100 per second" or "5 per 10s"
    #[arg(long, value_name = "RATE|unlimited", value_parser = pace)]
    pub(in crate::cli) rate: Option<Pace>,
    /// For a quota: the limit whose overage may cost more or less than the plan says
    #[arg(long, value_name = "LIMIT", requires = "cap_minor", requires = "currency")]
    pub(in crate::cli) spend_cap: Option<String>,
}

/// How fast a rate of an override is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Pace {
    /// So many units per so many milliseconds.
    Units(u64, i64),
    /// No bound.
    Unlimited,
}

/// Included units of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Included {
    Units(i64),
    Unlimited,
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
