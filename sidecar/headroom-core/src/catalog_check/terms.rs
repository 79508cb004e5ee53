//! What can be wrong with the terms of a policy: how long grace lasts, what overage costs, what
//! becomes of debt.

use super::{Report, check_currency};
use crate::catalog::{PlanLimitSpec, Policy};
use crate::change::OnChange;
use crate::limits;
use crate::policy::{GraceTerms, OverageTerms};
use crate::window::{CalendarUnit, WindowRule};

/// Shortest grace: a minute. Below it nobody could be told in time.
const GRACE_MS_MIN: i64 = 60_000;

/// Longest grace: a leap year.
const GRACE_MS_MAX: i64 = 366 * 24 * 60 * 60 * 1000;

/// Shortest window whose debt is carried: each that follows one that owes is a row of the usage history,
/// until all is taken off.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const TOO_SHORT: &str = "debt is carried by windows of a day or longer: say `debt: forgive`, or carry it in a \
     second limit with a longer window";

/// Spans that graces are counted over, in months.
const GRACE_SPANS_MONTHS: [u8; 3] = [1, 3, 12];

/// Checks the terms of a limit whose windows lie by `window`, if it is known.
pub(super) fn check_terms(
    report: &mut Report,
    path: &[&str],
    limit: &PlanLimitSpec,
    window: Option<WindowRule>,
) {
    let policy = [path, &["policy"]].concat();
    let by_time_alone =
        matches!(limit.policy, Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE });
    match (&limit.terms.grace, limit.policy) {
        (Some(grace), Policy::Grace { .. }) => check_grace(report, &policy, grace, by_time_alone),
        (Some(_), _) => report.say(&policy, "terms of grace are given, but the policy is another"),
        (None, _) if by_time_alone => {
            report.say(&policy, "the grace has no end: say how much (`up_to`) or how long (`for`)");
        }
        (None, _) => {}
    }
    match (&limit.terms.overage, limit.policy) {
        (Some(overage), Policy::Overage) => check_overage(report, &policy, overage),
        (Some(_), _) => {
            report.say(&policy, "a price of overage is given, but the policy is another")
        }
        (None, _) => {}
    }
    if let Some(WindowRule::Sliding(_)) = window {
        if limit.terms.grace.is_some() {
            report.say(
                &policy,
                "a window that slides has no beginning: grace by time or number needs one that lies \
                 still, as `billing` or `fixed`",
            );
        }
        if limit.terms.overage.is_some() {
            report.say(
                &[&policy[..], &["overage"]].concat(),
                "a window that slides has no end at which its overage could be billed, so a price or a cap \
                 here is in no bill: give it to a limit of the account whose windows lie still, as \
                 `billing`, and say the bare `overage` or `block` here",
            );
        }
    }
    check_on_change(report, &[path, &["on_change"]].concat(), limit, window);
    if limit.terms.carries_debt {
        check_debt(report, &[path, &["debt"]].concat(), limit, window);
    }
}

fn check_on_change(
    report: &mut Report,
    path: &[&str],
    limit: &PlanLimitSpec,
    window: Option<WindowRule>,
) {
    if limit.terms.on_change == OnChange::Keep {
        return;
    }
    if path.first() == Some(&"addons") {
        report.say(path, "an add-on counts in full from its moment: only a plan has `on_change`");
    }
    match (limit.terms.on_change, window) {
        (_, Some(WindowRule::Sliding(_))) => report.say(
            path,
            "a window that slides has no beginning that a change of plan could move: leave `on_change` \
             out",
        ),
        (OnChange::Prorate, Some(WindowRule::Lifetime)) => report.say(
            path,
            "a lifetime has no end, so a plan has no share of it: use `reset`, or leave `on_change` out",
        ),
        _ => {}
    }
}

fn has_cap(overage: &OverageTerms) -> bool {
    overage.cap_minor.is_some()
}

fn check_grace(report: &mut Report, path: &[&str], grace: &GraceTerms, by_time_alone: bool) {
    match grace.lasts_ms {
        Some(ms) if !(GRACE_MS_MIN..=GRACE_MS_MAX).contains(&ms) => {
            report.say(path, "a grace lasts 1 minute to 366 days");
        }
        Some(ms) if !(1..ms).contains(&grace.notice_ms) => {
            report.say(path, "the notice must come before the grace ends, and not before it begins")
        }
        None if by_time_alone => {
            report.say(path, "the grace has no end: say how much (`up_to`) or how long (`for`)");
        }
        _ => {}
    }
    let Some(times) = grace.times else { return };
    let max = limits::GRACE_TIMES_MAX;
    if !(1..=max).contains(&usize::from(times.times)) {
        report.say(path, format_args!("grace may be used 1 to {max} times, not {}", times.times));
    }
    if !GRACE_SPANS_MONTHS.contains(&times.months) {
        report.say(path, "uses of grace are counted per month, quarter or year");
    }
}

fn check_overage(report: &mut Report, path: &[&str], overage: &OverageTerms) {
    let field = |key| [path, &["overage", key]].concat();
    if overage.unit_price_nanos == 0 {
        report.say(&field("unit_price_minor"), "a unit of overage must cost something");
    }
    check_currency(report, &field("currency"), &overage.currency);
    match overage.cap_minor {
        Some(cap) if cap > limits::UNITS_MAX => report.say(
            &field("cap_minor"),
            format_args!("the cap is {cap}, at most {} is possible", limits::UNITS_MAX),
        ),
        Some(_) if overage.unit_price_nanos > 0 && overage.cap_units() == Some(0) => report.say(
            &field("cap_minor"),
            "the cap does not pay for a single unit: raise it, or use the policy `block`",
        ),
        _ => {}
    }
}

fn check_debt(
    report: &mut Report,
    path: &[&str],
    limit: &PlanLimitSpec,
    window: Option<WindowRule>,
) {
    let never = match limit.policy {
        Policy::Unlimited => true,
        Policy::Overage => !limit.terms.overage.as_ref().is_some_and(has_cap),
        Policy::Block | Policy::Grace { .. } => limit.included_units.is_none(),
    };
    if never {
        report.say(path, "there is never any debt to carry, because the policy refuses nothing");
    }
    match window {
        Some(WindowRule::Lifetime) => {
            report.say(path, "a lifetime window has no next one that debt could be carried into");
        }
        Some(WindowRule::FirstUse(_) | WindowRule::Sliding(_)) => report.say(
            path,
            "debt is carried from one window into the next, which needs windows that follow each \
             other, as `billing` or `fixed`",
        ),
        Some(WindowRule::Calendar(CalendarUnit::Hour)) => report.say(path, TOO_SHORT),
        Some(WindowRule::Fixed(every)) if every.length_ms().is_some_and(|ms| ms < DAY_MS) => {
            report.say(path, TOO_SHORT);
        }
        _ => {}
    }
}
