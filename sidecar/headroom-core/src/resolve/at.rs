//! One limit at one instant, of an account or of a subject.

use super::{Resolved, resolve, resolve_levels};
use crate::account::Account;
use crate::catalog::{Catalog, FeatureKind, PlanLimit};
use crate::names::NameId;
use crate::time::Millis;

/// Whose limits they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose<'a> {
    /// The account. Where it is as a subject sees it, with the subject's counters.
    pub(crate) account: &'a Account,
    /// The name of the subject. `None`: they are the account's own.
    pub(crate) subject: Option<&'a str>,
}

impl<'a> Whose<'a> {
    /// The account's own.
    pub(crate) fn own(account: &'a Account) -> Whose<'a> {
        Whose { account, subject: None }
    }
}

/// What there was of a limit at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LimitAt {
    /// It was in force.
    InForce(PlanLimit),
    /// The catalog has it, and nothing gave it.
    NotGiven,
    /// The catalog does not have it.
    Gone,
}

/// A limit of a feature at an instant, also of the past: by the catalog in force, and by what is remembered of
/// the plans of before.
pub(crate) fn limit_at(
    catalog: &Catalog,
    whose: Whose<'_>,
    (feature, limit): (NameId, NameId),
    at: Millis,
) -> LimitAt {
    let Some(ix) = catalog.feature_of(feature) else { return LimitAt::Gone };
    let is_it = |known: &&PlanLimit| known.limit == limit;
    let found = match whose.subject {
        None => match resolve(catalog, whose.account, ix, at) {
            (Resolved::Limits(limits), _) => limits.iter().find(is_it).cloned(),
            _ => None,
        },
        Some(name) => {
            let levels = resolve_levels(catalog, &whose.account.profile, (ix, name), at);
            levels.into_iter().find(|known| known.limit == limit)
        }
    };
    match found {
        Some(found) => LimitAt::InForce(found),
        None if is_defined(catalog, (feature, limit), whose.subject.is_some()) => LimitAt::NotGiven,
        None => LimitAt::Gone,
    }
}

/// Whether a catalog has a limit, of the account or of subjects.
pub(crate) fn is_defined(
    catalog: &Catalog,
    (feature, limit): (NameId, NameId),
    of_subject: bool,
) -> bool {
    let Some(ix) = catalog.feature_of(feature) else { return false };
    let feature = catalog.feature(ix);
    if of_subject {
        return feature.levels.iter().any(|level| level.limit == limit);
    }
    match &feature.kind {
        FeatureKind::Quota { limits } => limits.iter().any(|(known, _)| *known == limit),
        FeatureKind::Allocation { limit: known, .. }
        | FeatureKind::Concurrency { limit: known, .. }
        | FeatureKind::Seats { limit: known, .. } => *known == limit,
        FeatureKind::Switch
        | FeatureKind::Config
        | FeatureKind::Rate { .. }
        | FeatureKind::Credits { .. } => false,
    }
}
