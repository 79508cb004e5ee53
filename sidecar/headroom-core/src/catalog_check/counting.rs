//! What can be wrong with how a feature's usage is counted.

use std::collections::BTreeSet;

use super::Report;
use crate::catalog::{Aggregation, FeatureKindSpec, FeatureSpec, PlanLimitSpec, Policy};
use crate::change::OnChange;
use crate::limits;
use crate::window::WindowRule;

/// What is made of its units, and what its usage is told apart by.
pub(super) fn check_counting(report: &mut Report, feature: &FeatureSpec) {
    if feature.counting.aggregation != Aggregation::Sum {
        check_aggregation(report, feature);
    }
    check_unique_by(report, feature);
    let Some(tally) = &feature.counting.tally else { return };
    let path = ["features", &feature.feature, "usage"];
    if !matches!(feature.kind, FeatureKindSpec::Quota { .. }) {
        report.say(&path, "only the usage of a quota adds up over time, so only it has `usage`");
    }
    let path = ["features", &feature.feature, "usage", "dimensions"];
    report.at_most(&path, "dimensions", tally.dimensions.len(), limits::DIMENSIONS_MAX);
    let mut seen = BTreeSet::new();
    for name in &tally.dimensions {
        report.program_name(&path, name);
        if !seen.insert(name) {
            report.say(&path, format_args!("dimension `{name}` is there twice"));
        }
    }
}

fn check_aggregation(report: &mut Report, feature: &FeatureSpec) {
    let path = ["features", &feature.feature];
    let at = |key| [&path[..], &[key]].concat();
    let FeatureKindSpec::Quota { limits } = &feature.kind else {
        report.say(
            &at("aggregation"),
            "only a quota has uses that could be counted otherwise than added up",
        );
        return;
    };
    let Some((what, why)) = word(feature.counting.aggregation) else { return };
    for limit in limits.iter().filter(|l| matches!(l.window, WindowRule::Sliding(_))) {
        report.say(
            &[&path[..], &["limits", &limit.limit, "window"]].concat(),
            format_args!(
                "{what} cannot slide, because {why}: use `billing`, `calendar`, `fixed` or `first_use`"
            ),
        );
    }
    if feature.counting.tally.is_some() {
        report.say(
            &at("usage"),
            format_args!(
                "{what} does not add up over time: `usage` is of what is summed or counted"
            ),
        );
    }
    if feature.shadow {
        report.say(
            &at("shadow"),
            format_args!(
                "{what} cannot be watched only: give it the policy `unlimited`, and soft limits"
            ),
        );
    }
}

/// What an aggregation makes that does not add up, and why it cannot slide.
fn word(aggregation: Aggregation) -> Option<(&'static str, &'static str)> {
    match aggregation {
        Aggregation::Sum | Aggregation::Count => None,
        Aggregation::Max => Some((
            "a maximum",
            "the second largest value is not known when the largest leaves the window",
        )),
        Aggregation::Latest => Some(("a latest value", "there is always only one")),
        Aggregation::Unique => Some((
            "a number of different values",
            "what is in several parts of the window would be counted in each",
        )),
    }
}

/// The dimension whose different values are counted.
fn check_unique_by(report: &mut Report, feature: &FeatureSpec) {
    let path = ["features", &feature.feature, "unique_by"];
    match (feature.counting.aggregation, &feature.counting.unique_by) {
        (Aggregation::Unique, Some(name)) => report.program_name(&path, name),
        (Aggregation::Unique, None) => report.say(
            &path[..2],
            "`aggregation: unique` counts the different values of a dimension: name it, as \
             `unique_by: device`",
        ),
        (_, Some(_)) => report.say(&path, "only `aggregation: unique` has a `unique_by`"),
        (_, None) => {}
    }
}

/// What all features count together.
pub(super) fn check_all(report: &mut Report, features: &[FeatureSpec]) {
    let unique = features.iter().filter(|f| f.counting.aggregation == Aggregation::Unique);
    let limits: usize = unique
        .map(|feature| match &feature.kind {
            // Those of subjects are bounded with all windows of subjects.
            FeatureKindSpec::Quota { limits } => {
                limits.iter().filter(|limit| limit.per.is_none()).count()
            }
            _ => 0,
        })
        .sum();
    let what = "limits that count different values";
    report.at_most(&["features"], what, limits, limits::DISTINCT_LIMITS_MAX);
}

/// What a plan gives of a quota that does not add up.
pub(super) fn check_plan_limit(
    report: &mut Report,
    path: &[&str],
    feature: &FeatureSpec,
    limit: &PlanLimitSpec,
) {
    let aggregation = feature.counting.aggregation;
    let Some((what, _)) = word(aggregation) else { return };
    if limit.terms.carries_debt {
        report.say(
            &[path, &["debt"]].concat(),
            format_args!("{what} of one window is no debt in the next: leave `debt` out"),
        );
    }
    if aggregation != Aggregation::Unique && limit.terms.on_change == OnChange::Prorate {
        report.say(
            &[path, &["on_change"]].concat(),
            format_args!(
                "the limit of {what} is one of the value, of which no time has a share: use `keep` or \
                 `reset`"
            ),
        );
    }
    let by_time = limit.policy == Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE };
    if aggregation == Aggregation::Latest && (by_time || limit.terms.grace.is_some()) {
        report.say(
            &[path, &["policy"]].concat(),
            "a latest value goes up and down, so a grace would begin anew each time: only `{grace: 10%}`",
        );
    }
}

/// What a pool asks for a use.
pub(super) fn check_price(report: &mut Report, pool: &str, feature: &FeatureSpec) {
    if let Some((what, _)) = word(feature.counting.aggregation) {
        report.say(
            &["features", pool, "rate_card", &feature.feature],
            format_args!(
                "`{}` is {what}, whose units are not used up: credits cannot pay for it",
                feature.feature
            ),
        );
    }
}
