//! Overrides: what one account may use in place of what its plan says.

use headroom_core::account::{Override, OverrideValue};
use headroom_core::catalog::{Catalog, FeatureKind};
use headroom_core::limits as core_limits;
use headroom_core::names::NameId;
use headroom_core::rate::Rate;
use headroom_core::spend_cap;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;

use super::{AdminError, Changed};
use crate::engine::Engine;
use crate::subjects;

/// When an override counts, and against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OverrideTerms {
    /// From when on, included. `None`: at once.
    pub starts_at: Option<Millis>,
    /// Until when, excluded. `None`: for ever.
    pub ends_at: Option<Millis>,
    /// Only where it gives more than plan and add-ons.
    pub at_least: bool,
}

/// An override by names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverrideChange<'a> {
    /// A switch.
    Switch(bool),
    /// A config's JSON text.
    Config(&'a str),
    /// The included units of a limit, the most at a time of a concurrency, or the most there may be of
    /// an allocation or of seats; `None`: unlimited.
    Limit(&'a str, Option<u64>),
    /// How fast a rate is; `None`: unlimited.
    Rate(Option<Rate>),
    /// What the overage of a limit may cost in a window, in minor units, and their currency; `None`: no
    /// bound.
    SpendCap(&'a str, Option<u64>, &'a str),
    /// The included units of a limit for one subject; `None`: unlimited.
    SubjectLimit(SubjectPath<'a>, &'a str, Option<u64>),
}

impl Engine {
    /// Replaces what the plan says for one account.
    pub fn put_override(
        &self,
        account: &str,
        feature: &str,
        change: &OverrideChange<'_>,
        terms: OverrideTerms,
        now: Millis,
    ) -> Result<Changed, AdminError> {
        let mut one = self.resolve_override(feature, change)?;
        if terms.at_least && !may_be_the_least(&one.value) {
            return Err(AdminError::NoLeast { feature: feature.to_owned() });
        }
        one.starts_at = terms.starts_at.unwrap_or(one.starts_at);
        one.ends_at = terms.ends_at.unwrap_or(one.ends_at);
        one.at_least = terms.at_least;
        self.edit_known(account, now, |profile| {
            let extra = profile.extra.get_or_insert_default();
            extra.overrides.retain(|known| !one.replaces(known));
            if extra.overrides.len() >= core_limits::OVERRIDES_MAX {
                return Err(AdminError::TooMany {
                    what: "overrides",
                    max: core_limits::OVERRIDES_MAX,
                });
            }
            extra.overrides.push(one);
            Ok(())
        })
    }

    /// Takes the overrides of a feature back, or only the one of a limit, or those for one subject.
    pub fn delete_override(
        &self,
        account: &str,
        feature: &str,
        (limit, subject): (Option<&str>, Option<&str>),
        now: Millis,
    ) -> Result<Changed, AdminError> {
        let catalog = self.catalog();
        // By name, not by catalog: an override of a feature that left it can still be removed.
        let unknown = |what, name: &str| AdminError::UnknownName {
            what,
            name: name.to_owned(),
            known: catalog.features().iter().map(|f| f.feature.to_string()).collect(),
        };
        let feature_id = catalog.feature_id(feature).ok_or_else(|| unknown("feature", feature))?;
        let limit_id = match limit {
            None => None,
            Some(limit) => Some(catalog.names().get(limit).ok_or_else(|| unknown("limit", limit))?),
        };
        self.edit_known(account, now, |profile| {
            let Some(extra) = &mut profile.extra else { return Ok(()) };
            extra.overrides.retain(|known| {
                let is_limit = |of: &NameId| limit_id.is_none_or(|id| *of == id);
                let is_meant = match (&known.value, subject) {
                    (OverrideValue::SubjectLimit { subject: of, limit, .. }, Some(subject)) => {
                        **of == *subject && is_limit(limit)
                    }
                    (OverrideValue::SubjectLimit { .. }, None) | (_, Some(_)) => false,
                    (
                        OverrideValue::Limit { limit, .. } | OverrideValue::SpendCap { limit, .. },
                        None,
                    ) => is_limit(limit),
                    (_, None) => limit_id.is_none(),
                };
                known.feature != feature_id || !is_meant
            });
            Ok(())
        })
    }

    fn resolve_override(
        &self,
        feature: &str,
        change: &OverrideChange<'_>,
    ) -> Result<Override, AdminError> {
        let catalog = self.catalog();
        let known_features = || catalog.features().iter().map(|f| f.feature.to_string()).collect();
        let ix = catalog.feature_named(feature).ok_or_else(|| AdminError::UnknownName {
            what: "feature",
            name: feature.to_owned(),
            known: known_features(),
        })?;
        let shape = catalog.feature(ix);
        let value = match (change, &shape.kind) {
            (OverrideChange::Switch(on), FeatureKind::Switch) => OverrideValue::Switch { on: *on },
            (OverrideChange::Config(json), FeatureKind::Config) => {
                OverrideValue::Config { value_json: (*json).into() }
            }
            (OverrideChange::Limit(limit, included_units), FeatureKind::Quota { limits }) => {
                let id = catalog.names().get(limit);
                let levels = shape.levels.iter().map(|level| level.limit);
                let known = || limits.iter().map(|(known, _)| *known).chain(levels.clone());
                let found = known().find(|known| Some(*known) == id);
                let limit = found.ok_or_else(|| AdminError::UnknownName {
                    what: "limit",
                    name: (*limit).to_owned(),
                    known: known().map(|id| catalog.text(id).to_owned()).collect(),
                })?;
                OverrideValue::Limit { limit, included_units: *included_units }
            }
            (
                OverrideChange::SpendCap(limit, cap_minor, currency),
                FeatureKind::Quota { limits },
            ) => {
                let limit = quota_limit(&catalog, limits, limit)?;
                let known = spend_cap::currencies(&catalog, ix, limit);
                if !known.contains(currency) {
                    return Err(AdminError::UnknownName {
                        what: "price for overage of this limit in",
                        name: (*currency).to_owned(),
                        known: known.into_iter().map(str::to_owned).collect(),
                    });
                }
                let (cap_minor, currency) = (*cap_minor, (*currency).into());
                OverrideValue::SpendCap { limit, cap_minor, currency }
            }
            (OverrideChange::SubjectLimit(subject, limit, included_units), _) => {
                let included_units = *included_units;
                let limit = subjects::limit_of(&catalog, shape, *subject, limit)?;
                OverrideValue::SubjectLimit {
                    subject: subject.as_str().into(),
                    limit,
                    included_units,
                }
            }
            (OverrideChange::Limit(_, None), FeatureKind::Credits { .. }) => {
                return Err(AdminError::UnlimitedCredits { feature: feature.to_owned() });
            }
            (
                OverrideChange::Limit(limit, most),
                FeatureKind::Concurrency { limit: known }
                | FeatureKind::Allocation { limit: known, .. }
                | FeatureKind::Credits { limit: known, .. }
                | FeatureKind::Seats { limit: known, .. },
            ) => {
                let levels = shape.levels.iter().map(|level| level.limit);
                let mut all = std::iter::once(*known).chain(levels);
                let id = all.clone().find(|id| catalog.text(*id) == *limit);
                let limit = id.ok_or_else(|| AdminError::UnknownName {
                    what: "limit",
                    name: (*limit).to_owned(),
                    known: all.by_ref().map(|id| catalog.text(id).to_owned()).collect(),
                })?;
                OverrideValue::Limit { limit, included_units: *most }
            }
            (OverrideChange::Rate(rate), FeatureKind::Rate { .. }) => {
                OverrideValue::Rate { rate: *rate }
            }
            (_, kind) => {
                let (feature, kind) = (feature.to_owned(), kind.as_str());
                return Err(AdminError::WrongKind { feature, kind });
            }
        };
        Ok(Override::new(shape.id, value))
    }
}

/// Whether an override can count only where it gives more.
fn may_be_the_least(value: &OverrideValue) -> bool {
    match value {
        OverrideValue::Switch { on } => *on,
        OverrideValue::Limit { .. }
        | OverrideValue::SubjectLimit { .. }
        | OverrideValue::Rate { .. } => true,
        OverrideValue::Config { .. } | OverrideValue::SpendCap { .. } => false,
    }
}

/// The number of a limit of a quota.
pub(crate) fn quota_limit(
    catalog: &Catalog,
    limits: &[(NameId, WindowRule)],
    limit: &str,
) -> Result<NameId, AdminError> {
    let id = catalog.names().get(limit);
    let found = limits.iter().find(|(known, _)| Some(*known) == id);
    let (id, _) = found.ok_or_else(|| AdminError::UnknownName {
        what: "limit",
        name: limit.to_owned(),
        known: limits.iter().map(|(id, _)| catalog.text(*id).to_owned()).collect(),
    })?;
    Ok(*id)
}
