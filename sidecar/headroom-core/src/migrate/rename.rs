//! Features that are called otherwise than in the catalog before: which lines say so, and for which of
//! them there is anything to do.
//!
//! A line stays true after it was carried out: what is not called so any more, while its new name is in
//! force, is done. So it may stay in the file, through starts and reloads, and as long as it stays
//! requests by the old name are understood. Lines that follow each other serve a data directory that
//! left out a version of the file.

use super::Migration;
use crate::catalog::{Catalog, CatalogSpec, Feature, SpecProblem};
use crate::names::{NameId, Names};

/// The lines that rename, with their places: from what to what.
pub(crate) fn lines(migrations: &[Migration]) -> impl Iterator<Item = (usize, &str, &str)> {
    migrations.iter().enumerate().filter_map(|(place, line)| match line {
        Migration::RenameFeature { from, to } => Some((place, from.as_str(), to.as_str())),
        _ => None,
    })
}

/// The feature that the lines lead to from a name that is none. `None`: they lead to none.
pub(crate) fn leads_to<'a>(
    migrations: &'a [Migration],
    name: &'a str,
    is_feature: impl Fn(&str) -> bool,
) -> Option<&'a str> {
    let mut name = name;
    // Each line at most once, so that a circle ends.
    for _ in 0..=migrations.len() {
        if is_feature(name) {
            return Some(name);
        }
        (_, _, name) = lines(migrations).find(|(_, from, _)| *from == name)?;
    }
    None
}

/// The names that lead to one, the nearest first, with the places of their lines.
fn sources<'a>(migrations: &'a [Migration], to: &'a str) -> Vec<(usize, &'a str)> {
    let mut sources: Vec<(usize, &str)> = Vec::new();
    let mut next = to;
    while let Some((place, from, _)) = lines(migrations).find(|(_, _, to)| *to == next)
        && sources.iter().all(|(known, _)| *known != place)
    {
        sources.push((place, from));
        next = from;
    }
    sources
}

/// The features that the step from the catalog before to this one renames: their numbers, and what they
/// are called from now on. `is_counted` says whether anything is known of the feature of a number: of one
/// that is not in force, or where what was in force is not known, only that can be seen.
///
/// # Errors
/// Lines that would make one feature of two.
pub fn renames(
    spec: &CatalogSpec,
    before: Option<&Catalog>,
    names: &Names,
    is_counted: &dyn Fn(NameId) -> bool,
) -> Result<Vec<(NameId, String)>, Vec<SpecProblem>> {
    let (mut renamed, mut problems) = (Vec::new(), Vec::new());
    if lines(&spec.migrations).next().is_none() {
        return Ok(renamed);
    }
    let in_force = |name: &str| before.is_some_and(|before| has(before, name));
    for to in spec.features.iter().map(|feature| feature.feature.as_str()) {
        let sources = sources(&spec.migrations, to);
        let mut found = sources.iter().filter(|(_, from)| in_force(from));
        let (first, second) = (found.next(), found.next());
        match (first, second.map(|(_, name)| *name).or(in_force(to).then_some(to))) {
            (Some((_, from)), None) => {
                renamed.extend(names.feature(from).map(|id| (id, to.to_owned())));
            }
            (Some((place, from)), Some(other)) => problems.push(merges(*place, from, other)),
            (None, Some(_)) => {} // It is done.
            // What rests comes back under its new name, unless that has something of its own.
            (None, None) => {
                let counts = |name: &str| names.feature(name).filter(|id| is_counted(*id));
                let resting = sources.iter().find_map(|(_, from)| counts(from));
                let resting = resting.filter(|_| counts(to).is_none());
                renamed.extend(resting.map(|id| (id, to.to_owned())));
            }
        }
    }
    if problems.is_empty() { Ok(renamed) } else { Err(problems) }
}

/// Whether a feature of a catalog is called so.
pub(crate) fn has(catalog: &Catalog, name: &str) -> bool {
    catalog.names().feature(name).is_some_and(|id| catalog.feature_of(id).is_some())
}

fn merges(place: usize, from: &str, other: &str) -> SpecProblem {
    SpecProblem {
        path: vec!["migrations".to_owned(), place.to_string(), "rename_feature".to_owned()],
        message: format!(
            "`{from}` and `{other}` are two features in force, and cannot become one: take this line \
             out, and let the counts of the one that goes rest with the migration `drop_feature: {from}`"
        ),
        known: Vec::new(),
    }
}

/// The features of `new` that one that has gone may be called now: those that `old` did not have, of the
/// same kind and with the same limits.
pub(crate) fn candidates<'a>(
    old: &'a Catalog,
    new: &'a Catalog,
    gone: &'a Feature,
) -> impl Iterator<Item = &'a str> {
    let limits = |feature: &Feature| {
        let mut limits: Vec<_> = super::limits_of(feature).collect();
        limits.sort_by_key(|(limit, ..)| *limit);
        limits
    };
    let is_like = move |one: &&Feature| {
        one.kind.as_str() == gone.kind.as_str() && limits(one) == limits(gone)
    };
    let all = new.features().iter().filter(|one| !has(old, &one.feature));
    all.filter(is_like).map(|one| &*one.feature)
}
