//! `headroom check`: every mistake in catalogs and settings, before anything runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use headroom_core::catalog::{Aggregation, FeatureKindSpec, FeatureSpec};
use headroom_core::limits::{DISTINCT_EXACT_MAX, SUBJECT_DISTINCT_EXACT_MAX};
use serde_json::json;

use super::args::{CheckArgs, FileKind, ReportFormat};
use super::{FAILED, show};
use crate::config::catalog;
use crate::config::problems::Problems;
use crate::config::server::{self, Overrides};
use crate::config::sinks::{NoSecrets, RealSecrets, Secrets};
use crate::config::yaml;
use against::Against;

mod against;

/// Checks all files, and says of each what it found.
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let against = match args.against.as_deref().map(Against::of).transpose() {
        Ok(against) => against,
        Err(problem) => {
            show::problem(&problem);
            return ExitCode::from(FAILED);
        }
    };
    let checked = check_all(args, against.as_ref());
    let problems: Vec<&Problems> = checked.iter().filter_map(|file| file.as_ref().err()).collect();
    match args.format {
        ReportFormat::Text => {
            for file in &checked {
                match file {
                    Ok(summary) => show::line(summary),
                    Err(problems) => show::problem(&problems.to_string()),
                }
            }
        }
        ReportFormat::Json => {
            let list: Vec<_> = problems.iter().flat_map(|problems| problems.to_json()).collect();
            show::json(&json!({ "ok": list.is_empty(), "problems": list }));
        }
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// A summary of each file, or its problems.
fn check_all(args: &CheckArgs, against: Option<&Against>) -> Vec<Result<String, Problems>> {
    let mut checked = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut queue: Vec<(PathBuf, Option<FileKind>)> =
        args.files.iter().rev().map(|file| (file.clone(), args.kind)).collect();
    while let Some((file, kind)) = queue.pop() {
        if seen.contains(&file) {
            continue;
        }
        seen.push(file.clone());
        match kind.or_else(|| kind_of(&file)) {
            Some(FileKind::Catalog) => checked.push(check_catalog(&file, args, against)),
            Some(FileKind::Server) => {
                let result = server::load(Some(&file), Overrides::default());
                if let Ok(config) = &result {
                    queue.push((config.catalog.clone(), Some(FileKind::Catalog)));
                }
                checked.push(result.map(|_| format!("{}: good settings", file.display())));
            }
            // Whatever it is, reading it as a catalog says what is wrong.
            None => checked.push(check_catalog(&file, args, against)),
        }
    }
    checked
}

fn check_catalog(
    file: &Path,
    args: &CheckArgs,
    against: Option<&Against>,
) -> Result<String, Problems> {
    let base = file.parent().unwrap_or(Path::new("")).to_owned();
    let real = RealSecrets { base };
    let secrets: &dyn Secrets = if args.without_secrets { &NoSecrets } else { &real };
    let parsed = catalog::load(file, secrets)?;
    let hints = against.map_or(Ok(Vec::new()), |against| against.compare(file, &parsed))?;
    let many = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    // Versions of a plan are one plan.
    let plans: BTreeSet<&str> = parsed.spec.plans.iter().map(|plan| &*plan.plan).collect();
    let mut summary = format!(
        "{}: a good catalog with {}, {}, {} and {}",
        file.display(),
        many(parsed.spec.features.len(), "feature"),
        many(plans.len(), "plan"),
        many(parsed.spec.prompts.len(), "prompt"),
        many(parsed.sinks.len(), "sink"),
    );
    let notes = parsed.spec.features.iter().filter_map(note_of);
    for hint in hints.into_iter().chain(notes) {
        summary += &format!("\n{hint}");
    }
    Ok(summary)
}

/// What somebody should know of a feature who has read no more than the catalog.
fn note_of(feature: &FeatureSpec) -> Option<String> {
    let name = &feature.feature;
    let says = match feature.counting.aggregation {
        Aggregation::Sum => return None,
        Aggregation::Count => "each use counts one, whatever its units",
        Aggregation::Max => "the largest value of a window counts, and limits are of the value",
        Aggregation::Latest => "the latest value counts, and limits are of the value",
        Aggregation::Unique => {
            let by = feature.counting.unique_by.as_deref().unwrap_or_default();
            let of_subjects = match has_levels(feature) {
                true => format!(", and to {SUBJECT_DISTINCT_EXACT_MAX} in one of a subject"),
                false => String::new(),
            };
            return Some(format!(
                "feature `{name}`: different values of `{by}` count once each, exactly up to \
                 {DISTINCT_EXACT_MAX} in a window{of_subjects}; it is consumed or recorded, never \
                 reserved"
            ));
        }
    };
    Some(format!("feature `{name}`: {says}; it is consumed or recorded, never reserved"))
}

fn has_levels(feature: &FeatureSpec) -> bool {
    match &feature.kind {
        FeatureKindSpec::Quota { limits } => limits.iter().any(|limit| limit.per.is_some()),
        _ => false,
    }
}

/// What a file is, by its keys. `None` when it cannot be read or has keys of neither.
fn kind_of(file: &Path) -> Option<FileKind> {
    const CATALOG_KEYS: [&str; 3] = ["features", "plans", "prompts"];
    const SERVER_KEYS: [&str; 7] =
        ["catalog", "listen", "admin", "data_dir", "durability", "workers", "log"];
    let bytes = crate::config::read_file(file).ok()?;
    let root = yaml::parse(yaml::decode(&bytes).ok()?, &mut vec![])?;
    let has = |keys: &[&str]| keys.iter().any(|key| root.get(key).is_some());
    if has(&CATALOG_KEYS) {
        Some(FileKind::Catalog)
    } else {
        has(&SERVER_KEYS).then_some(FileKind::Server)
    }
}
