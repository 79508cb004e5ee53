//! What can be wrong with an allocation, and with what a plan says of one.

use super::{BILLING_MONTHS_MAX, Report, check_plan_limit, terms};
use crate::catalog::{PlanLimitSpec, Policy};
use crate::change::OnChange;
use crate::policy::LimitTerms;
use crate::window::WindowRule;

/// The billing window that an allocation is measured over.
pub(super) fn check_window(report: &mut Report, path: &[&str], window: WindowRule) {
    let path = [path, &["window"]].concat();
    match window {
        WindowRule::Billing { months } if (1..=BILLING_MONTHS_MAX).contains(&months) => {}
        WindowRule::Billing { months } => report.say(
            &path,
            format_args!(
                "the window is {months} months long, it must be 1 to {BILLING_MONTHS_MAX}"
            ),
        ),
        _ => report.say(
            &path,
            "an allocation never resets; it is measured over billing windows: `billing`, or \
             `{billing: \"3 months\"}`",
        ),
    }
}

/// What a plan gives of an allocation: no window begins anew, so there is nothing that a policy could
/// count by windows.
pub(super) fn check_level(report: &mut Report, path: &[&str], limit: &PlanLimitSpec) {
    check_plan_limit(report, path, limit);
    let policy_path = [path, &["policy"]].concat();
    let by_time = limit.policy == Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE };
    if by_time || limit.terms.grace.is_some() {
        report.say(
            &policy_path,
            "what an allocation holds never resets, so a grace cannot last or be used so often: \
             only `{grace: 10%}`",
        );
    } else if limit.terms.overage.as_ref().is_some_and(|overage| overage.cap_minor.is_some()) {
        report.say(
            &policy_path,
            "what an allocation costs is known when its billing window ends, so there is no \
             `cap_minor`: bound it with the policy `block`",
        );
    } else {
        // Of debt it is said below.
        let terms =
            LimitTerms { carries_debt: false, on_change: OnChange::Keep, ..limit.terms.clone() };
        let limit = PlanLimitSpec { terms, ..limit.clone() };
        terms::check_terms(report, path, &limit, None);
    }
    if limit.terms.on_change != OnChange::Keep {
        report.say(
            &[path, &["on_change"]].concat(),
            "what an allocation holds has no windows that a change of plan could move: leave \
             `on_change` out",
        );
    }
    if limit.terms.carries_debt {
        report.say(
            &[path, &["debt"]].concat(),
            "an allocation has no next window that debt could be carried into: leave `debt` out",
        );
    }
}
