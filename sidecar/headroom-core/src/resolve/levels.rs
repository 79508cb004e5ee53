//! What subjects have for themselves, by the same rules as the account's own.

use super::{Listener, Voice, add_limit, add_rate, has_limit, override_limit};
use crate::account::{OverrideValue, Profile};
use crate::catalog::{Catalog, Entitlement, FeatureIx, FeatureKind, Plan, PlanLimit, Policy};
use crate::change;
use crate::rate::Rate;
use crate::time::Millis;

/// How fast each subject may use a rate, by the same rules as the account's own. `None`: as fast as the
/// account.
pub fn resolve_each(
    catalog: &Catalog,
    profile: &Profile,
    feature: FeatureIx,
    at: Millis,
) -> Option<Rate> {
    resolve_each_heard(catalog, profile, feature, at, &mut |_, _| {})
}

/// As [`resolve_each`], and tells who had a say.
pub(crate) fn resolve_each_heard(
    catalog: &Catalog,
    profile: &Profile,
    feature: FeatureIx,
    at: Millis,
    heard: Listener<'_>,
) -> Option<Rate> {
    let each = |given: &Plan| match given.entitlement(feature) {
        Some(Entitlement::Rate { each, .. }) => Some(*each),
        _ => None,
    };
    let plan = catalog.plan_of(profile.plan_at(at).0);
    let planned = plan.and_then(|plan| each(catalog.plan(plan)));
    if planned == Some(None) {
        return None;
    }
    let FeatureKind::Rate { each: Some((_, limit)), .. } = catalog.feature(feature).kind else {
        return None;
    };
    let merge = catalog.feature(feature).offering.merge;
    let mut best = planned.flatten();
    for bought in profile.addons() {
        // An add-on that does not say how fast each subject may be leaves it as it is.
        let more = catalog.addon_of(bought.addon).and_then(|addon| each(addon)?);
        let Some(more) = more else { continue };
        if let Some((rate, voice)) = add_rate(best.map(Some), Some(more), *bought, merge) {
            best = rate;
            heard(Some(limit), voice);
        }
    }
    best
}

/// The limits that a subject has of a feature, by the same rules as the account's own. An override for
/// this very subject is the last word.
pub fn resolve_levels(
    catalog: &Catalog,
    profile: &Profile,
    (feature, subject): (FeatureIx, &str),
    at: Millis,
) -> Vec<PlanLimit> {
    resolve_levels_heard(catalog, profile, (feature, subject), at, &mut |_, _| {})
}

/// As [`resolve_levels`], and tells who had a say.
pub(crate) fn resolve_levels_heard(
    catalog: &Catalog,
    profile: &Profile,
    (feature, subject): (FeatureIx, &str),
    at: Millis,
    heard: Listener<'_>,
) -> Vec<PlanLimit> {
    let shape = catalog.feature(feature);
    let plan = change::plan_over(profile, at);
    let plan = catalog.plan_of(plan).map(|plan| catalog.plan(plan));
    let mut limits = plan.map(|plan| plan.levels(feature)).unwrap_or_default().to_vec();
    let is_of_slots = matches!(shape.kind, FeatureKind::Concurrency { .. });
    // Where the plan lets each subject have as many slots as the account, buying more must not take away.
    let has_all = is_of_slots
        && limits.is_empty()
        && plan.is_some_and(|plan| plan.entitlement(feature).is_some());
    for bought in profile.addons() {
        let Some(addon) = catalog.addon_of(bought.addon) else { continue };
        for more in addon.levels(feature).iter().filter(|_| !has_all) {
            add_limit(&mut limits, more, *bought, shape.offering.merge, heard);
        }
    }
    let overrides = || profile.overrides().iter().filter(|o| o.feature == shape.id);
    let in_force = || overrides().filter(|o| o.is_in_force(at));
    let of_all = in_force().filter_map(|one| match &one.value {
        OverrideValue::Limit { limit, included_units } => Some((limit, included_units, one)),
        _ => None,
    });
    let of_one = in_force().filter_map(|one| match &one.value {
        OverrideValue::SubjectLimit { subject: of, limit, included_units } if **of == *subject => {
            Some((limit, included_units, one))
        }
        _ => None,
    });
    for (limit, included_units, one) in of_all.chain(of_one) {
        let Some(level) = shape.levels.iter().find(|known| known.limit == *limit) else { continue };
        if one.at_least && !has_limit(&limits, *limit) {
            // As much as the account is more than any promise.
            continue;
        }
        let new = |included| match is_of_slots {
            true => PlanLimit::of_slots(*limit, included, Vec::new()),
            false => PlanLimit::new(*limit, level.window, included, Vec::new(), Policy::Block),
        };
        if override_limit(&mut limits, (*limit, *included_units), one.at_least, new) {
            heard(Some(*limit), Voice::Override(one));
        }
    }
    limits
}

/// The most slots that each subject without an override of its own may hold at a time. `None`: as many as
/// the account.
pub fn resolve_each_slots(
    catalog: &Catalog,
    profile: &Profile,
    feature: FeatureIx,
    at: Millis,
) -> Option<u64> {
    let is_of_slots = matches!(catalog.feature(feature).kind, FeatureKind::Concurrency { .. });
    // No subject is called so.
    let limits = is_of_slots.then(|| resolve_levels(catalog, profile, (feature, ""), at));
    limits?.first()?.included_units
}
