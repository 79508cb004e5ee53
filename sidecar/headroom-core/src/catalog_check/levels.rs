//! What can be wrong with an allocation or seats, and with what a plan says of them.

use super::{BILLING_MONTHS_MAX, Report, check_plan_limit, check_soft_limits, terms};
use crate::catalog::{PlanLimitSpec, Policy, SEATS_LIMIT};
use crate::change::OnChange;
use crate::limits;
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

/// How long an invitation holds a seat.
pub(super) fn check_invitations(report: &mut Report, path: &[&str], invited_ms: i64) {
    if !(1..=limits::INVITATION_MS_MAX).contains(&invited_ms) {
        let path = [path, &["invitations"]].concat();
        report.say(&path, "an invitation lasts 1 ms to 366 days");
    }
}

/// What a plan gives of seats.
pub(super) fn check_seats(
    report: &mut Report,
    path: &[&str],
    included_units: Option<u64>,
    soft_limits_bp: &[u32],
) {
    let most = limits::SEATS_MAX as u64;
    if let Some(units) = included_units
        && units > most
    {
        report.say(
            &[path, &["included"]].concat(),
            format_args!("{units} seats are included, an account has room for {most}"),
        );
    }
    let soft_path = [path, &["soft_limits"]].concat();
    let max = limits::SEAT_THRESHOLDS_MAX;
    report.at_most(&soft_path, "soft limits", soft_limits_bp.len(), max);
    let limit = PlanLimitSpec {
        limit: SEATS_LIMIT.to_owned(),
        included_units,
        soft_limits_bp: soft_limits_bp.iter().copied().take(max).collect(),
        policy: Policy::Block,
        terms: LimitTerms::default(),
    };
    check_soft_limits(report, path, &limit, "the seats, which are");
}
