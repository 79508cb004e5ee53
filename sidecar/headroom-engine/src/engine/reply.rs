//! What a request is answered.

use headroom_core::account::{Account, Zone};
use headroom_core::decide::{Context, ItemError, Mistyped};
use headroom_core::decision::{Decision, LimitState, OpError, Outcome};
use headroom_core::ending;
use headroom_core::names::NameId;
use headroom_core::origin::Origins;
use headroom_core::prompt::{self, Exposure, Occasion};
use headroom_core::time::Millis;

use crate::engine::DecisionId;
use crate::ports::{Seq, StoreRefusal};

/// The answer to a request.
#[derive(Debug)]
pub struct Reply {
    /// The decision and what was done.
    pub outcome: Outcome,
    /// The feature's other limits, when asked for.
    pub other_limits: Vec<LimitState>,
    /// The receipt's number.
    pub decision_id: DecisionId,
    /// The record that must be written before this is answered. `None`: answer at once.
    pub wait_for: Option<Seq>,
    /// Whether this is the answer of an earlier write with the same key.
    pub replayed: bool,
    /// When the account was first known: where its pace is counted from.
    pub created_at: Millis,
    /// What a prompt says of the account, when asked for and a prompt is due.
    pub about: Option<Box<About>>,
    /// Whose word it is. `None`: nobody but the plan has a say in anything of the account.
    pub origins: Option<Box<Origins>>,
}

/// What a prompt says of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its facts by name; values are JSON text.
    pub facts: Vec<(String, String)>,
    /// Its time zone; `None` is UTC.
    pub zone: Option<Box<Zone>>,
    /// When the trial that runs ends. `None`: none runs.
    pub trial_ends_at: Option<Millis>,
    /// The plan it pays for, whatever is on trial.
    pub paid_plan: NameId,
    /// The instant its billing periods are counted from.
    pub anchor: Millis,
    /// What became of its latest prompts.
    pub exposures: Vec<Exposure>,
}

/// Why a request has no answer. Nothing was counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The rules refuse the request itself.
    #[error(transparent)]
    Op(#[from] OpError),
    /// The rules refuse an item of a request for several features.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// The store takes no write.
    #[error(transparent)]
    Store(#[from] StoreRefusal),
    /// The key was used for something else.
    #[error("the idempotency key was used for a write with another payload")]
    KeyReused,
    /// The key was used for an event or a correction, and the write is neither.
    #[error(
        "the idempotency key belongs to an earlier write with a time of its own: a Record with \
         occurred_at, or a Correct"
    )]
    KeyOfEvent,
    /// The usage cannot be told apart by what the request says.
    #[error("dimensions: {problem}")]
    Dimensions {
        /// What is wrong.
        problem: String,
    },
    /// The usage of an item of a request for several features cannot be told apart by what it says.
    #[error("items[{place}].dimensions: {problem}")]
    ItemDimensions {
        /// Which item, from 0.
        place: usize,
        /// What is wrong.
        problem: String,
    },
    /// The subject was most probably meant to be another.
    #[error("subject: {0}")]
    Subject(Box<Mistyped>),
    /// An internal check failed on this account.
    #[error("the account's ledgers failed an internal check and admit nothing")]
    Halted,
    /// There are too many accounts.
    #[error("the data directory holds {count} accounts, the most allowed")]
    TooManyAccounts {
        /// How many there are.
        count: usize,
    },
}

/// What a prompt may say of an account, if the decision calls for one. Apart, because few requests
/// ask.
#[inline(never)]
pub(crate) fn about_if_due(
    cx: Context<'_>,
    account: &Account,
    decision: &Decision,
) -> Option<Box<About>> {
    let trial_is_ending = cx.catalog.prompts_of_trials()
        && ending::trial_ends_at(cx.catalog, account, decision.feature, cx.now)
            .is_some_and(|ends_at| ends_at.since(cx.now) <= cx.catalog.trial_ending_ms());
    let occasion = Occasion { trial_is_ending, ..Occasion::default() };
    prompt::scenarios(decision, occasion).map(|_| about(cx, account, decision.feature))
}

/// What a prompt may say of an account, and of a feature that it may have on trial.
pub(crate) fn about(cx: Context<'_>, account: &Account, feature: Option<NameId>) -> Box<About> {
    let (profile, now) = (&account.profile, cx.now);
    Box::new(About {
        facts: profile.facts().to_vec(),
        zone: profile.zone.clone(),
        trial_ends_at: ending::trial_ends_at(cx.catalog, account, feature, now),
        paid_plan: profile.paid_plan_at(now),
        anchor: profile.anchor,
        exposures: account.exposures().to_vec(),
    })
}
