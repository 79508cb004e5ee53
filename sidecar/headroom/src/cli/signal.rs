//! `headroom signal`: what only others can know of an account, told by hand or by a script.

use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use headroom_sdk::v1;
use headroom_sdk::v1::event::What;
use serde_json::Value;

use super::admin;
use super::args::{ToSidecar, fact, time};
use super::connect::{self, Ended, Failure};
use super::show;

const EXAMPLES: &str = "\
Examples:
  headroom signal publish acme nps_recorded score=9 --id survey_17
  headroom signal publish acme pricing_page_viewed --id visit_4711
  headroom signal activity acme --user ann                     ann was there today
  headroom signal activity acme --user ann --feature images    ... and made an image
  headroom signal opportunity acme opp_7 csql --signal usage_ceiling
  headroom signal opportunity acme opp_7 won --reason seats

The same id again changes nothing, so a script may be run twice. Activity counts by days: DAU/MAU, active
users and adopted features come from it. Of users only a hash is kept.";

/// Tell what only others can know: signals of other systems, and who was there
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SignalArgs {
    #[command(subcommand)]
    pub(super) action: SignalAction,
    #[command(flatten)]
    pub(super) to: ToSidecar,
}

#[derive(Debug, Subcommand)]
pub(super) enum SignalAction {
    /// Tell a signal that another system has found
    Publish {
        /// The account's id
        account: String,
        /// The signal: nps_recorded, pricing_page_viewed, ..., or one of the catalog's outside_signals
        signal: String,
        /// What else there is to say: NAME=VALUE, a value is JSON or a text
        #[arg(value_name = "NAME=VALUE", value_parser = fact)]
        data: Vec<(String, Value)>,
        /// What the event is known by: the same again changes nothing
        #[arg(long)]
        id: String,
        /// When it happened [default: now]
        #[arg(long, value_name = "TIME", value_parser = time)]
        at: Option<SystemTime>,
    },
    /// Say how far an opportunity is that came of a signal, as the CRM has it
    Opportunity {
        /// The account's id
        account: String,
        /// Its id in the CRM
        opportunity: String,
        /// How far it is
        #[arg(value_enum)]
        stage: StageWord,
        /// The signal that it came of [default: as it was said before]
        #[arg(long)]
        signal: Option<String>,
        /// Why it was won or lost
        #[arg(long)]
        reason: Option<String>,
        /// Since when [default: now]
        #[arg(long, value_name = "TIME", value_parser = time)]
        at: Option<SystemTime>,
    },
    /// Say that somebody was there, or that a feature was used
    Activity {
        /// The account's id
        account: String,
        /// Who
        #[arg(long, required_unless_present = "feature")]
        user: Option<String>,
        /// The feature that was used, by whatever name
        #[arg(long)]
        feature: Option<String>,
        /// When [default: now]
        #[arg(long, value_name = "TIME", value_parser = time)]
        at: Option<SystemTime>,
    },
}

/// How far an opportunity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StageWord {
    /// The signal came
    Fired,
    /// Customer success says that it is one
    Csql,
    /// Sales says so, too
    Qualified,
    /// There is a proposal
    Proposal,
    /// It is negotiated
    Negotiation,
    /// The account has bought
    Won,
    /// It has not
    Lost,
}

impl StageWord {
    fn wire(self) -> v1::OpportunityStage {
        match self {
            StageWord::Fired => v1::OpportunityStage::Fired,
            StageWord::Csql => v1::OpportunityStage::Csql,
            StageWord::Qualified => v1::OpportunityStage::Qualified,
            StageWord::Proposal => v1::OpportunityStage::Proposal,
            StageWord::Negotiation => v1::OpportunityStage::Negotiation,
            StageWord::Won => v1::OpportunityStage::Won,
            StageWord::Lost => v1::OpportunityStage::Lost,
        }
    }
}

/// `headroom signal …`
pub(super) async fn run(args: SignalArgs) -> Ended {
    let client = match connect::sidecar(&args.to).await {
        Ok(client) => client,
        Err(failure) => return Ended::Failed(failure),
    };
    let event = match args.action {
        SignalAction::Opportunity { account, opportunity, stage, signal, reason, at } => {
            let request = v1::UpdateOpportunityRequest {
                account,
                opportunity,
                signal: signal.unwrap_or_default(),
                stage: stage.wire().into(),
                reason: reason.unwrap_or_default(),
                occurred_at: at.map(Into::into),
            };
            return match client.update_opportunity(request).await {
                Ok(answer) => {
                    show::report(&show::opportunity(&answer), args.to.json);
                    Ended::Done
                }
                Err(error) => Ended::Failed(Failure::new(error, &args.to.endpoint)),
            };
        }
        SignalAction::Publish { account, signal, data, id, at } => {
            let fields = data.into_iter().map(|(name, json)| (name, admin::value(json))).collect();
            let data = Some(prost_types::Struct { fields });
            let what = Some(What::Signal(v1::OutsideSignal { signal, data }));
            v1::Event { id, account, occurred_at: at.map(Into::into), what }
        }
        SignalAction::Activity { account, user, feature, at } => {
            let (user, feature) = (user.unwrap_or_default(), feature.unwrap_or_default());
            let what = Some(What::Activity(v1::Activity { user, feature }));
            // Days are marked, whatever they are known by.
            let id = "activity".to_owned();
            v1::Event { id, account, occurred_at: at.map(Into::into), what }
        }
    };
    match client.publish(vec![event]).await {
        Ok(duplicates) => {
            let is_known = duplicates.contains(&true);
            show::report(&show::published(is_known), args.to.json);
            Ended::Done
        }
        Err(error) => Ended::Failed(Failure::new(error, &args.to.endpoint)),
    }
}
