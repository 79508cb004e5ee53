//! What can be wrong with how a feature's usage is counted.

use std::collections::BTreeSet;

use super::Report;
use crate::catalog::{FeatureKindSpec, FeatureSpec};
use crate::limits;

/// What its usage is told apart by.
pub(super) fn check_counting(report: &mut Report, feature: &FeatureSpec) {
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
