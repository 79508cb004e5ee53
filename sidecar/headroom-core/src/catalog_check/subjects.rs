//! What can be wrong with limits that subjects have for themselves.

use super::{Names, Report, migrations};
use crate::catalog::{
    Aggregation, CatalogSpec, EntitlementSpec, FeatureKindSpec, LimitSpec, PlanLimit,
    PlanLimitSpec, PlanSpec,
};
use crate::change::OnChange;
use crate::names::NameId;
use crate::subject::ERASED;
use crate::versions;
use crate::window::{CalendarUnit, WindowRule};

/// Checks the type of subjects that a limit names.
pub(super) fn check_type(report: &mut Report, path: &[&str], per: &str) {
    let path = [path, &["per"]].concat();
    report.program_name(&path, per);
    if per == ERASED {
        report.say(&path, "the type `erased` is what subjects are called whose names were erased");
    }
}

/// Checks the limits of a feature together.
pub(super) fn check_shapes(report: &mut Report, path: &[&str], limits: &[LimitSpec]) {
    if !limits.is_empty() && limits.iter().all(|limit| limit.per.is_some()) {
        report.say(
            path,
            "every limit is of subjects: usage without a subject would count nowhere. Give the account \
             one too, which may be unlimited",
        );
    }
}

/// Checks what plans and add-ons give to subjects.
pub(super) fn check_given(report: &mut Report, spec: &CatalogSpec, names: &Names<'_>) {
    for (list, plans) in [("plans", &spec.plans), ("addons", &spec.addons)] {
        let sold = versions::sold(plans.iter().map(|plan| (plan.plan.as_str(), plan.version)));
        for plan in plans {
            let version = plan.version.to_string();
            let own_path = migrations::path_of(list, plan, &sold, &version);
            for (feature, entitlement) in &plan.entitlements {
                let spec_of = names.features.get(feature.as_str());
                let known = spec_of.map(|known| &known.kind);
                if let (Some(FeatureKindSpec::Concurrency { per: Some(per) }), "plans") =
                    (known, list)
                {
                    let path = [&own_path[..], &["entitlements", feature, "each"]].concat();
                    check_most(report, &path, (entitlement, per), spec, feature);
                }
                if let (
                    Some(FeatureKindSpec::Quota { limits: shapes }),
                    EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. },
                ) = (known, entitlement)
                {
                    let path = [&own_path[..], &["entitlements", feature]].concat();
                    // What credits pay counts in any case.
                    if list == "plans" && matches!(entitlement, EntitlementSpec::Quota { .. }) {
                        check_own(report, &path, shapes, limits);
                    }
                    check_limits(report, &path, shapes, limits);
                    if list == "plans" {
                        let more = raised(&spec.addons, feature);
                        let aggregation = spec_of.map(|known| known.counting.aggregation);
                        check_reach(report, &path, (shapes, aggregation), limits, &more);
                    }
                }
            }
        }
    }
}

/// Finds a most of each subject that the account's own never lets anybody reach.
fn check_most(
    report: &mut Report,
    path: &[&str],
    (given, per): (&EntitlementSpec, &str),
    spec: &CatalogSpec,
    feature: &str,
) {
    let EntitlementSpec::Concurrency { max_units: Some(most), each: Some(each), .. } = given else {
        return;
    };
    let bought = spec.addons.iter().flat_map(|addon| &addon.entitlements);
    let is_raised = bought.clone().any(|(of, _)| of == feature);
    if most < each && !is_raised {
        report.say(
            path,
            format_args!(
                "no {per} ever has {each} at a time, the account has {most}: lower it, or leave it out"
            ),
        );
    }
}

fn per<'a>(shapes: &'a [LimitSpec], limit: &PlanLimitSpec) -> Option<&'a str> {
    shapes.iter().find(|shape| shape.limit == limit.limit)?.per.as_deref()
}

fn check_own(report: &mut Report, path: &[&str], shapes: &[LimitSpec], limits: &[PlanLimitSpec]) {
    if !limits.is_empty() && limits.iter().all(|limit| per(shapes, limit).is_some()) {
        report.say(
            path,
            "every limit given is of subjects: usage without a subject would count nowhere. Give the \
             account one too, which may be unlimited",
        );
    }
}

fn check_limits(
    report: &mut Report,
    path: &[&str],
    shapes: &[LimitSpec],
    limits: &[PlanLimitSpec],
) {
    for limit in limits {
        if per(shapes, limit).is_none() {
            continue;
        }
        let path = [path, &[limit.limit.as_str()]].concat();
        if limit.terms.carries_debt {
            report.say(
                &[&path[..], &["debt"]].concat(),
                "the debt of a subject is not carried: nothing is remembered of one in which nothing \
                 counts any more",
            );
        }
        if limit.terms.on_change != OnChange::Keep {
            report.say(
                &[&path[..], &["on_change"]].concat(),
                "what a subject has used stays used when the plan changes, and its limit is the new \
                 plan's: leave `on_change` out",
            );
        }
        if limit.terms.grace.is_some_and(|grace| grace.times.is_some()) {
            report.say(
                &[&path[..], &["policy"]].concat(),
                "how often a subject used its grace is not remembered: bound it by units or by time",
            );
        }
    }
}

/// The limits of the account that some add-on gives more of.
fn raised<'a>(addons: &'a [PlanSpec], feature: &str) -> Vec<&'a str> {
    let given = addons.iter().flat_map(|addon| &addon.entitlements);
    let given = given.filter(|(of, _)| of == feature).filter_map(|(_, given)| match given {
        EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. } => {
            Some(limits)
        }
        _ => None,
    });
    given.flatten().map(|limit| limit.limit.as_str()).collect()
}

/// Finds limits of subjects that the account's own limit never lets anybody reach.
fn check_reach(
    report: &mut Report,
    path: &[&str],
    (shapes, aggregation): (&[LimitSpec], Option<Aggregation>),
    limits: &[PlanLimitSpec],
    raised: &[&str],
) {
    // A value is asked of every limit as it is, however long their windows are.
    let is_value = matches!(aggregation, Some(Aggregation::Max | Aggregation::Latest));
    let window = |limit: &PlanLimitSpec| {
        shapes.iter().find(|shape| shape.limit == limit.limit).map(|shape| shape.window)
    };
    for limit in limits.iter().filter(|limit| per(shapes, limit).is_some()) {
        let (Some(included), Some(inner)) = (limit.included_units, window(limit)) else { continue };
        let above = limits.iter().find_map(|own| {
            let is_own = per(shapes, own).is_none() && !raised.contains(&own.limit.as_str());
            let ceiling = ceiling(own).filter(|ceiling| is_own && *ceiling < included)?;
            (is_value || contains(window(own)?, inner)).then_some((&own.limit, ceiling))
        });
        if let Some((own, ceiling)) = above {
            let over = if is_value { "" } else { " over the same time or a longer one" };
            report.say(
                &[path, &[limit.limit.as_str()]].concat(),
                format_args!(
                    "{included} units can never be reached: the limit `{own}` of the whole account \
                     ends at {ceiling}{over}"
                ),
            );
        }
    }
}

/// Where a limit ends, if it does.
fn ceiling(limit: &PlanLimitSpec) -> Option<u64> {
    let window = WindowRule::Lifetime;
    let planned =
        PlanLimit::new(NameId::default(), window, limit.included_units, vec![], limit.policy);
    planned.with_terms(limit.terms.clone()).ceiling_units()
}

/// Whether each window of `inner` lies in one of `outer`, whatever the anchor and the time zone.
fn contains(outer: WindowRule, inner: WindowRule) -> bool {
    use CalendarUnit::{Day, Hour, Month, Quarter, Week, Year};
    match (outer, inner) {
        (WindowRule::Lifetime, _) => true,
        // Windows of first use begin at another time for each.
        (WindowRule::FirstUse(_), _) | (_, WindowRule::FirstUse(_)) => false,
        (WindowRule::Calendar(outer), WindowRule::Calendar(inner)) => match (outer, inner) {
            (Hour, Hour) | (Day, Hour | Day) | (Week, Hour | Day | Week) => true,
            (Month, Hour | Day | Month) | (Quarter, Hour | Day | Month | Quarter) => true,
            (Year, Hour | Day | Month | Quarter | Year) => true,
            (Hour | Day | Week | Month | Quarter | Year, _) => false,
        },
        (outer, inner) => outer == inner,
    }
}
