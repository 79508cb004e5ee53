//! Rules about the cohorts that a feature is rolled out to.

use std::collections::BTreeSet;

use super::Report;
use crate::catalog::{Offering, ROLLOUT_ALL_BP};
use crate::limits;

pub(super) fn check_cohorts(report: &mut Report, path: &[&str], offering: &Offering) {
    let names = offering.cohorts.names();
    report.at_most(path, "cohorts", names.len(), limits::COHORTS_MAX);
    let mut seen = BTreeSet::new();
    for name in names {
        report.program_name(path, name);
        if !seen.insert(name) {
            report.say(path, format_args!("cohort `{name}` is there twice"));
        }
    }
    if !names.is_empty() && offering.rollout_bp == ROLLOUT_ALL_BP {
        report.say(
            path,
            "a roll-out of 100% has come to everybody: leave `cohorts` out, or give `rollout` a smaller \
             share",
        );
    }
}
