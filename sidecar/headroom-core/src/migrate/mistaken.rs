//! Lines that name what nobody here has ever called so: mistyped, or of a version of the catalog that this
//! data has not seen. A line that is never used does no harm today; the next accident of editing that it
//! happens to allow would go unnoticed.
//!
//! A name that was known once is none of these, and neither is a line that the catalog before had as well: lines
//! are kept for a while after their step.

use super::{Loss, Migration, losses};
use crate::catalog::{Catalog, SpecProblem};
use crate::suggest::closest;
use crate::versions;

/// What is wrong with lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mistaken {
    /// Nearly the name of something that is lost by this very step and that no line allows: that was meant.
    pub problems: Vec<SpecProblem>,
    /// Not like anything that is lost, so it may be meant for other data.
    pub hints: Vec<SpecProblem>,
}

/// The lines of `new` that name what was never known, and that `old` did not have. Both know the same numbers
/// of names.
pub fn mistaken(old: &Catalog, new: &Catalog) -> Mistaken {
    let mut found = Mistaken::default();
    let kept = |line: &Migration| old.migrations().contains(line);
    let lines = new.migrations().iter().enumerate().filter(|(_, line)| !kept(line));
    let mut lost = None;
    for (place, line) in lines {
        for (key, name) in names(line) {
            let canonical = versions::canonical(name);
            if new.names().get(&canonical).is_some() || new.names().feature(name).is_some() {
                continue;
            }
            let lost = lost.get_or_insert_with(|| {
                let losses = losses(old, new).into_iter();
                losses.filter(|loss| loss.covered_by(new).is_none()).collect::<Vec<_>>()
            });
            let meant: Vec<&str> =
                lost.iter().filter_map(|loss| named(loss, line, key, new)).collect();
            let is_meant = closest(name, meant.iter().copied()).is_some();
            let problem = SpecProblem {
                path: vec!["migrations".to_owned(), place.to_string(), key.to_owned()],
                message: match is_meant {
                    true => format!("nothing was ever called `{name}` here"),
                    false => format!(
                        "nothing was ever called `{name}` here: it is mistyped, or of a version of the \
                         catalog that was never in force here"
                    ),
                },
                known: meant.iter().map(|name| (*name).to_owned()).collect(),
            };
            match is_meant {
                true => found.problems.push(problem),
                false => found.hints.push(problem),
            }
        }
    }
    found
}

/// The names in a line of what was there before, with their keys. Lines that rename have rules of their own.
fn names(line: &Migration) -> impl Iterator<Item = (&'static str, &str)> {
    let (first, second) = match line {
        Migration::DropFeature { feature } => (Some(("drop_feature", feature)), None),
        Migration::DropLimit { feature, limit } => {
            (Some(("drop_limit", limit)), Some(("of", feature)))
        }
        Migration::EndLifetime { feature, limit } => {
            (Some(("end_lifetime", limit)), Some(("of", feature)))
        }
        Migration::ChangeKind { feature, .. } => (Some(("change_kind", feature)), None),
        Migration::MovePlan { from, .. } => (Some(("move_plan", from)), None),
        Migration::DropAddOn { addon } => (Some(("drop_addon", addon)), None),
        Migration::RenameFeature { .. } => (None, None),
    };
    first.into_iter().chain(second).map(|(key, name)| (key, name.as_str()))
}

/// What a loss calls that which a key of a line names, if the line is for such losses.
fn named<'a>(loss: &Loss, line: &Migration, key: &str, new: &'a Catalog) -> Option<&'a str> {
    let is_of = key == "of";
    Some(match (line, loss) {
        (Migration::DropFeature { .. }, Loss::Feature(id))
        | (Migration::ChangeKind { .. }, Loss::Kind(id, ..)) => new.feature_text(*id),
        (Migration::DropLimit { .. }, Loss::Limit(of, id) | Loss::Owner(of, id, ..))
        | (Migration::EndLifetime { .. }, Loss::Lifetime(of, id)) => {
            if is_of {
                new.feature_text(*of)
            } else {
                new.text(*id)
            }
        }
        (Migration::MovePlan { .. }, Loss::Plan(id))
        | (Migration::DropAddOn { .. }, Loss::AddOn(id)) => new.text(*id),
        _ => return None,
    })
}
