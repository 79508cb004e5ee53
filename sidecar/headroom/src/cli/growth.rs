//! `headroom gate` and `headroom account readiness`: how accounts stand.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use headroom_sdk::v1;

use super::admin;
use super::args::{ToAdmin, duration};
use super::connect::Ended;
use super::show;

const GATE_EXAMPLES: &str = "\
Examples:
  headroom gate report                     how many accounts pass, and what holds the others?
  headroom gate report --since 30d         ... and of the upgrades of the last 30 days?
  headroom gate triggers                   which signals become deals? Above 50 % is good, above 70 % excellent

A gate that fewer than 15 % of the accounts pass is too strict, one that more than 60 % pass is too
loose. Of the accounts that upgraded, 80 % should have passed before. What each segment asks for is
under `expansion` in the catalog; what is not said there is as by default.";

/// See whether the readiness gate and the signals are any good
#[derive(Debug, Args)]
#[command(after_help = GATE_EXAMPLES)]
pub(super) struct GateArgs {
    #[command(subcommand)]
    pub(super) action: GateAction,
    #[command(flatten)]
    pub(super) to: ToAdmin,
}

#[derive(Debug, Subcommand)]
pub(super) enum GateAction {
    /// For each signal, what became of the opportunities that came of it
    Triggers,
    /// The opportunities of an account
    Opportunities {
        /// The account's id
        account: String,
    },
    /// How many accounts pass, what holds the others, and whether those that upgraded had passed
    Report {
        /// How far back upgrades are looked at
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "90d")]
        since: Duration,
    },
}

/// What accounts are listed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    /// When they were first seen
    Seen,
    /// The score of a product-qualified lead, the highest first
    Pql,
    /// The score of an opportunity, the highest first
    Opportunity,
    /// What else the account could buy, the most first
    WhiteSpace,
    /// How many different signals came in the last 30 days, the most first
    Signals,
}

impl Sort {
    pub(super) fn order(self) -> v1::AccountOrder {
        match self {
            Sort::Seen => v1::AccountOrder::Unspecified,
            Sort::Pql => v1::AccountOrder::Pql,
            Sort::Opportunity => v1::AccountOrder::Opportunity,
            Sort::WhiteSpace => v1::AccountOrder::WhiteSpace,
            Sort::Signals => v1::AccountOrder::LiveSignals,
        }
    }
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for people
    Text,
    /// The readiness scorecard, for spreadsheets
    Csv,
}

/// `headroom gate …`
pub(super) async fn gate(args: GateArgs) -> Ended {
    let GateArgs { action, to } = args;
    admin::with_client(&to, async |client| {
        Ok(match action {
            GateAction::Report { since } => {
                show::gate_report(&client.get_gate_report(since).await?)
            }
            GateAction::Triggers => show::triggers(&client.get_trigger_report().await?),
            GateAction::Opportunities { account } => {
                show::opportunities(&client.list_opportunities(account).await?)
            }
        })
    })
    .await
}
