//! Prompts: which one a decision calls for, for whom, how often, and what became of it. Words are
//! made from it elsewhere.

mod choice;
mod exposure;
mod offer;
mod report;
mod spec;

pub use choice::{Chosen, Group, Reader, choose, group, specificity};
pub(crate) use exposure::apply;
pub use exposure::{
    EXPOSURE_MS_MAX, EXPOSURES_MAX, Exposure, Outcomes, SNOOZE_MS_MAX, Suppression, Ticket, Told,
    converted, held_back, suppressed, told,
};
pub use offer::{DueToday, due_today, split};
pub use report::{Arm, Comparison, Counts, Report, Share, wilson, winner};
pub use spec::{
    Audience, CONTROL, Cap, DAY_MS, HOLDOUT, PromptSpec, PromptingSpec, STEPS, Scenario, TextKey,
    Texts, Unit, VariantSpec, fallbacks,
};

use crate::decision::{Decision, Denial, Verdict};
use crate::resolve::Origin;

/// How loud a prompt should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A hint.
    Info,
    /// A soft threshold is passed.
    Warning,
    /// Work is refused, or would be without grace or overage.
    Alarm,
}

/// What a decision does not say of its situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occasion {
    /// Somebody is being invited.
    pub is_invitation: bool,
    /// The account is on a trial that is about to end.
    pub trial_is_ending: bool,
}

/// The situation a decision puts a person in, if it is worth a word: its names, the narrowest
/// first.
///
/// `in_flight` is none: the units are there a moment later.
pub fn scenarios(
    decision: &Decision,
    occasion: Occasion,
) -> Option<(&'static [Scenario], Severity)> {
    use Scenario::{
        CreditsLow, Grace, InviteWithoutSeat, LimitHit, LockedFeature, NearLimit, RateTier,
        SeatsFull, TrialEnding, Unlock,
    };
    match decision.verdict {
        Verdict::Allowed if occasion.trial_is_ending => Some((&[TrialEnding], Severity::Info)),
        Verdict::Allowed => None,
        // Whoever is past a limit and may go on all the same is warned, not stopped.
        Verdict::SoftLimit | Verdict::Unbacked => {
            let is_pool = decision.binding.as_ref().is_some_and(|limit| limit.pool().is_some());
            let names: &[Scenario] = if is_pool { &[CreditsLow, NearLimit] } else { &[NearLimit] };
            Some((names, Severity::Warning))
        }
        Verdict::Grace => Some((&[Grace], Severity::Alarm)),
        Verdict::Denied(Denial::SeatsFull) if occasion.is_invitation => {
            Some((&[InviteWithoutSeat, SeatsFull, LimitHit], Severity::Alarm))
        }
        Verdict::Denied(Denial::SeatsFull) => Some((&[SeatsFull, LimitHit], Severity::Alarm)),
        Verdict::Denied(Denial::RateLimited) => Some((&[RateTier, LimitHit], Severity::Alarm)),
        Verdict::Overage
        | Verdict::Denied(
            Denial::QuotaExhausted
            | Denial::CreditsExhausted
            | Denial::SpendCapReached
            | Denial::ConcurrencyFull,
        ) => Some((&[LimitHit], Severity::Alarm)),
        // Where it has to be earned, the counter binds.
        Verdict::Denied(Denial::NotInPlan) if decision.binding.is_some() => {
            Some((&[Unlock], Severity::Info))
        }
        // Where the plan has it, the roll-out has not come to the account: buying more does not
        // help.
        Verdict::Denied(Denial::NotInPlan) if decision.origin != Origin::None => None,
        Verdict::Denied(Denial::NotInPlan) => Some((&[LockedFeature], Severity::Info)),
        Verdict::Denied(
            Denial::UnknownAccount
            | Denial::AccountSuspended
            | Denial::UnknownFeature
            | Denial::FeaturePaused
            | Denial::SubscriptionEnded
            | Denial::InFlight,
        ) => None,
    }
}
