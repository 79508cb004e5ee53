//! What is wrong with what use unlocks.

use super::{Names, Report, kind_word};
use crate::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, PlanSpec, Policy,
    UNLOCK_AFTER, UnlockSpec,
};
use crate::limits;
use crate::window::WindowRule;

pub(super) fn check_unlocks(report: &mut Report, spec: &CatalogSpec, names: &Names<'_>) {
    for (list, plans) in [("plans", &spec.plans), ("addons", &spec.addons)] {
        for plan in plans {
            for (name, entitlement) in &plan.entitlements {
                let EntitlementSpec::Locked { after, given } = entitlement else { continue };
                let path = [list, &plan.plan, "entitlements", name, UNLOCK_AFTER];
                if list == "addons" {
                    report.say(&path, "an add-on is bought, so it cannot be earned by use");
                    continue;
                }
                check_given(report, &path, given, names.features.get(name.as_str()).copied());
                check_after(report, &path, plan, after, names);
            }
        }
    }
}

/// Only what has no counters of its own beside a quota's limits can wait.
fn check_given(
    report: &mut Report,
    path: &[&str],
    given: &EntitlementSpec,
    feature: Option<&FeatureSpec>,
) {
    let Some(FeatureSpec { kind: FeatureKindSpec::Quota { limits: shapes }, .. }) = feature else {
        return;
    };
    match given {
        EntitlementSpec::PaidQuota { .. } => {
            report.say(path, "what credits pay for cannot be unlocked by use");
        }
        EntitlementSpec::Quota { limits } => {
            let of_subjects = |shape: &LimitSpec| {
                shape.per.is_some() && limits.iter().any(|limit| limit.limit == shape.limit)
            };
            if let Some(shape) = shapes.iter().find(|shape| of_subjects(shape)) {
                report.say(
                    path,
                    format_args!(
                        "limit `{}` is each subject's, and only what the account has can be unlocked by use",
                        shape.limit
                    ),
                );
            }
        }
        _ => {}
    }
}

fn check_after(
    report: &mut Report,
    path: &[&str],
    plan: &PlanSpec,
    after: &UnlockSpec,
    names: &Names<'_>,
) {
    let of = after.feature.as_str();
    let path_of = [path, &["feature"]].concat();
    let path_units = [path, &["units"]].concat();
    if !(1..=limits::UNITS_MAX).contains(&after.units) {
        let most = limits::UNITS_MAX;
        report.say(&path_units, format_args!("{} units, it must be 1 to {most}", after.units));
    }
    let Some(counted) = names.features.get(of) else {
        let known = names.features.keys().copied();
        return report.say_known(&path_of, format_args!("unknown feature `{of}`"), known);
    };
    let FeatureKindSpec::Quota { limits } = &counted.kind else {
        let kind = kind_word(&counted.kind);
        return report
            .say(&path_of, format_args!("`{of}` is a {kind}, only use of a quota unlocks"));
    };
    if !counted.counting.aggregation.adds_up() {
        let word = counted.counting.aggregation.as_str();
        let message = format_args!("`{of}` has `aggregation: {word}`: its use does not add up");
        return report.say(&path_of, message);
    }
    let Some(limit) = forever(limits) else {
        return report.say(
            &path_of,
            format_args!(
                "`{of}` has no limit that counts for ever: add one, as `ever: {{ window: lifetime }}`"
            ),
        );
    };
    let stated = plan.entitlements.iter().find(|(known, _)| known == of).map(|(_, given)| given);
    let given = match stated {
        Some(EntitlementSpec::Locked { .. }) => {
            return report.say(&path_of, format_args!("`{of}` is locked itself in this plan"));
        }
        Some(EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. }) => {
            limits.iter().find(|known| known.limit == *limit)
        }
        _ => None,
    };
    match given {
        None => report.say(
            &path_of,
            format_args!(
                "the plan does not count what is used of `{of}`: give it its limit, as `{of}: \
                 {{ {limit}: {{ included: unlimited }} }}`"
            ),
        ),
        Some(given) if given.policy == Policy::Block => {
            if let Some(included) = given.included_units.filter(|units| *units < after.units) {
                report.say(
                    &path_units,
                    format_args!(
                        "{} units can never be used: the plan includes {included} of `{of}` for ever",
                        after.units
                    ),
                );
            }
        }
        Some(_) => {}
    }
}

/// The name of the limit that counts for the whole life of an account.
pub(crate) fn forever(limits: &[LimitSpec]) -> Option<&String> {
    let mut counts = limits.iter().filter(|limit| limit.per.is_none());
    counts.find(|limit| limit.window == WindowRule::Lifetime).map(|limit| &limit.limit)
}
