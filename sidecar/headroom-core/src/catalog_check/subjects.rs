//! What can be wrong with limits that subjects have for themselves.

use super::{Names, Report, migrations, reach};
use crate::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec, LimitSpec, PlanLimitSpec};
use crate::change::OnChange;
use crate::subject::ERASED;
use crate::versions;

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
                    if let ("plans", Some(known)) = (list, spec_of) {
                        let of = (*known, &shapes[..]);
                        reach::check_reach(report, &path, of, limits, &spec.addons);
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

/// The type of the subjects that a limit is of. `None`: it is the account's.
pub(super) fn per<'a>(shapes: &'a [LimitSpec], limit: &PlanLimitSpec) -> Option<&'a str> {
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
        if limit.terms.overage.is_some() {
            report.say(
                &[&path[..], &["policy", "overage"]].concat(),
                "what a subject uses is billed to its account, so a price or a cap here is in no bill: \
                 give it to a limit of the account, and say the bare `overage` or `block` here",
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
