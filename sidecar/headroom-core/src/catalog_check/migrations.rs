//! The rules of versions of a plan, and of the lines that let a catalog take something away.

use std::collections::{BTreeMap, BTreeSet};

use super::{Names, Report, check_plan_name};
use crate::catalog::{CatalogSpec, PlanSpec};
use crate::limits;
use crate::migrate::{Migration, rename};
use crate::versions;

/// The words of all kinds.
const KINDS: [&str; 8] =
    ["switch", "config", "quota", "concurrency", "rate", "allocation", "credits", "seats"];

/// Where a plan stands: the version that is sold under its name, the others under that one's
/// `versions`.
pub(super) fn path_of<'a>(
    list: &'a str,
    plan: &'a PlanSpec,
    sold: &BTreeMap<&str, u32>,
    version: &'a str,
) -> Vec<&'a str> {
    let is_old = sold.get(plan.plan.as_str()) != Some(&plan.version);
    let mut path = vec![list, plan.plan.as_str()];
    if is_old {
        path.extend(["versions", version]);
    }
    path
}

pub(super) fn check_version(report: &mut Report, path: &[&str], what: &str, plan: &PlanSpec) {
    let own = if path.len() > 2 { path.to_vec() } else { [path, &["version"]].concat() };
    if plan.version == 0 {
        report.say(&own, "versions are counted from 1");
    }
    if what == "add-on" && plan.version != 1 {
        report.say(&own, "an add-on has no versions");
    }
}

/// Everything about migrations that can be said without the catalog before.
pub(super) fn check_migrations(report: &mut Report, spec: &CatalogSpec, names: &Names<'_>) {
    let lines = &spec.migrations;
    report.at_most(&["migrations"], "migrations", lines.len(), limits::CATALOG_ITEMS_MAX);
    check_renames(report, lines, names);
    let mut moved = BTreeSet::new();
    for (ix, line) in lines.iter().enumerate() {
        let ix = ix.to_string();
        if let Migration::ChangeKind { to, .. } = line
            && !KINDS.contains(&to.as_str())
        {
            let path = ["migrations", ix.as_str(), "to"];
            report.say_known(
                &path,
                format_args!("`{to}` is no kind of feature"),
                KINDS.into_iter(),
            );
        }
        let Migration::MovePlan { from, to } = line else { continue };
        let path = |step: &'static str| ["migrations", ix.as_str(), step];
        let known = versions::split(from);
        if names.versions.contains(&known) {
            report.say(
                &path("move_plan"),
                format_args!(
                    "`{from}` is in this catalog, and a migration moves accounts off a plan that has \
                     gone: to move them now, use `headroom account move`"
                ),
            );
        }
        if !moved.insert(known) {
            report.say(&path("move_plan"), format_args!("`{from}` is moved twice"));
        }
        match versions::explicit(to) {
            None => check_plan_name(report, &path("to"), to, names),
            Some(version) if !names.versions.contains(&version) => report.say(
                &path("to"),
                format_args!("plan `{}` has no version {}", version.0, version.1),
            ),
            Some(_) => {}
        }
    }
}

fn check_renames(report: &mut Report, lines: &[Migration], names: &Names<'_>) {
    let (mut renamed, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (ix, from, to) in rename::lines(lines) {
        let ix = ix.to_string();
        let path = |step: &'static str| ["migrations", ix.as_str(), step];
        if names.features.contains_key(from) {
            report.say(
                &path("rename_feature"),
                format_args!(
                    "`{from}` is a feature of this catalog, and a rename is of one that is called \
                     otherwise now: take the line out if it was meant for an earlier catalog; to swap two \
                     names, give one of the two a third name first"
                ),
            );
            continue;
        }
        if !renamed.insert(from) {
            report.say(&path("rename_feature"), format_args!("`{from}` is renamed twice"));
        }
        if !taken.insert(to) {
            report.say(
                &path("to"),
                format_args!("two features are renamed to `{to}`, and cannot become one"),
            );
        }
        let is_feature = |name: &str| names.features.contains_key(name);
        if rename::leads_to(lines, to, is_feature).is_none() {
            report.say_known(
                &path("to"),
                format_args!("`{to}` is no feature of this catalog, nor renamed on to one"),
                names.features.keys().copied(),
            );
        }
    }
}
