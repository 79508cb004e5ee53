//! Prompts: which one a decision calls for. Words are made from it elsewhere.

use crate::catalog::{Catalog, Scenario};
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

/// The situation a decision puts a person in, if it is worth a word.
///
/// `in_flight` is none: the units are there a moment later.
pub fn scenario(decision: &Decision) -> Option<(Scenario, Severity)> {
    match decision.verdict {
        Verdict::Allowed => None,
        Verdict::SoftLimit => Some((Scenario::NearLimit, Severity::Warning)),
        Verdict::Grace => Some((Scenario::Grace, Severity::Alarm)),
        Verdict::Overage
        | Verdict::Denied(
            Denial::QuotaExhausted
            | Denial::CreditsExhausted
            | Denial::SpendCapReached
            | Denial::RateLimited
            | Denial::SeatsFull
            | Denial::ConcurrencyFull,
        ) => Some((Scenario::LimitHit, Severity::Alarm)),
        // Where the plan has it, the roll-out has not come to the account: buying more does not help.
        Verdict::Denied(Denial::NotInPlan) if decision.origin != Origin::None => None,
        Verdict::Denied(Denial::NotInPlan) => Some((Scenario::LockedFeature, Severity::Info)),
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

/// The prompt for a decision: the first of the catalog that fits scenario, feature and plan. The
/// number is its place in [`Catalog::prompts`].
pub fn choose(catalog: &Catalog, decision: &Decision) -> Option<(usize, Scenario, Severity)> {
    let (scenario, severity) = scenario(decision)?;
    let feature = decision.feature.and_then(|id| catalog.feature_of(id));
    let fits = |prompt: &crate::catalog::Prompt| {
        prompt.spec.scenario == scenario
            && (prompt.feature.is_none() || prompt.feature == feature)
            && (prompt.plans.is_empty() || prompt.plans.contains(&decision.plan))
    };
    let place = catalog.prompts().iter().position(fits)?;
    Some((place, scenario, severity))
}
