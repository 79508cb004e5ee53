//! Subjects that were meant to be others: `usr:u1` where each `user` has a limit.
//!
//! A request is charged to the limits of the levels that its path names, so one wrong letter in a client
//! would walk past a limit without a word. A type that no limit of the catalog is of does nothing at a
//! feature, so whoever names one there is told, unless another level of the path is known: products name
//! teams and organisations that nobody has limited yet. Where a feature has no limits of subjects
//! anything may be named.

use std::fmt;

use crate::catalog::{Catalog, FeatureIx, FeatureKind};
use crate::names::NameId;
use crate::subject::SubjectPath;
use crate::suggest::closest;

/// A level whose type is of no limit, at a feature that is limited per another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistyped {
    /// The type as it was named.
    pub kind: String,
    /// The feature.
    pub feature: String,
    /// The types of subjects that have limits of the feature, in the order of the catalog.
    pub limited: Vec<String>,
    /// The one of them that was probably meant.
    pub meant: Option<String>,
}

impl fmt::Display for Mistyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistyped { kind, feature, limited, meant } = self;
        let limited = limited.join("` and per `");
        write!(
            f,
            "no limit of the catalog is per `{kind}`, and `{feature}` is limited per `{limited}`"
        )?;
        match meant {
            Some(meant) => write!(f, ", did you mean `{meant}`?"),
            None => f.write_str(": name whom it is for, or nobody"),
        }
    }
}

/// Finds a level that was most probably meant to be of a type that has limits of a feature.
///
/// That is one whose type the catalog does not know, where a type is missing that has limits: when no other
/// level of the path is known either, or when it is like the missing one.
pub fn mistyped(
    catalog: &Catalog,
    feature: FeatureIx,
    subject: SubjectPath<'_>,
) -> Option<Mistyped> {
    let kinds = || subject.levels().map(|(kind, _)| kind);
    let limited: Vec<&str> = types_of(catalog, feature).map(|id| catalog.text(id)).collect();
    let is_named = |limited: &&str| kinds().any(|kind| kind == *limited);
    if limited.iter().all(is_named) {
        return None;
    }
    let features = (0..catalog.features().len()).map(FeatureIx);
    let known = features.flat_map(|ix| types_of(catalog, ix)).map(|id| catalog.text(id));
    let known: Vec<&str> = known.filter(|known| kinds().any(|kind| kind == *known)).collect();
    let missing = || limited.iter().copied().filter(|limited| !is_named(limited));
    let unknown = || kinds().filter(|kind| !known.contains(kind));
    let like = unknown().find_map(|kind| Some((kind, Some(closest(kind, missing())?))));
    let alone = || unknown().last().filter(|_| known.is_empty()).map(|kind| (kind, None));
    let (kind, meant) = like.or_else(alone)?;
    Some(Mistyped {
        kind: kind.to_owned(),
        feature: catalog.feature(feature).feature.to_string(),
        limited: limited.into_iter().map(str::to_owned).collect(),
        meant: meant.map(str::to_owned),
    })
}

/// The types of subjects that have limits of a feature, each once.
fn types_of(catalog: &Catalog, feature: FeatureIx) -> impl Iterator<Item = NameId> {
    let shape = catalog.feature(feature);
    let of_rate = match shape.kind {
        FeatureKind::Rate { each: Some((per, _)), .. } => Some(per),
        _ => None,
    };
    let of_limits = shape.levels.iter().enumerate().filter(|(place, level)| {
        shape.levels[..*place].iter().all(|earlier| earlier.per != level.per)
    });
    of_limits.map(|(_, level)| level.per).chain(of_rate)
}
