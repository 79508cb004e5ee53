//! Resolution: what one account may do with one feature, from its plan, its add-ons and its overrides.
//!
//! First the plan in force at the instant: a running trial, a scheduled plan that has begun, or the
//! plan bought. Then the add-ons: a switch is on when any of them turns it on, a config has the value
//! of the last one that gives it, and a limit is the sum of all or the most generous one, as the
//! feature says; what happens at the limit is the plan's word, where the plan has the limit. Then the
//! overrides: one speaks for one limit, switch or config, replaces what stands there, and leaves the
//! rest as it is; one that is meant as the least does so only where it gives more. An override of a limit that nothing else gives entitles by itself, with policy
//! `block`. One of a spend cap comes last, to what the others have made of the limit.

use std::ops::Deref;
use std::sync::Arc;

use crate::account::{Account, AddOn, Override, OverrideValue, Profile};
use crate::catalog::{Catalog, Entitlement, FeatureIx, FeatureKind, Merge, PlanLimit, Policy};
use crate::change::{self, OnChange};
use crate::credits::{CreditPrice, PoolTerms};
use crate::fingerprint::fnv1a;
use crate::limits::UNITS_MAX;
use crate::names::NameId;
use crate::policy::LimitTerms;
use crate::rate::Rate;
use crate::spend_cap;
use crate::time::Millis;

mod at;
mod levels;

pub(crate) use at::{LimitAt, Whose, is_defined, limit_at};
pub use levels::{resolve_each, resolve_each_slots, resolve_levels};
pub(crate) use levels::{resolve_each_heard, resolve_levels_heard};

/// The limits of one feature for one account: the plan's own, unless an override changes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedLimits<'a> {
    /// As the plan has them.
    Planned(&'a [PlanLimit]),
    /// Changed for this account.
    Changed(Vec<PlanLimit>),
}

impl Deref for ResolvedLimits<'_> {
    type Target = [PlanLimit];

    fn deref(&self) -> &[PlanLimit] {
        match self {
            ResolvedLimits::Planned(limits) => limits,
            ResolvedLimits::Changed(limits) => limits,
        }
    }
}

/// What an account may do with a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved<'a> {
    /// Nothing: not in the plan, or a switch that is off.
    NotInPlan,
    /// A switch that is on.
    On,
    /// A config's value as JSON text.
    Value(&'a Arc<str>),
    /// A quota, a concurrency, an allocation or seats, with at least one limit.
    Limits(ResolvedLimits<'a>),
    /// A rate. `None`: unlimited.
    Rate(Option<Rate>),
    /// A pool of credits. Boxed because it is rare and large.
    Pool(Box<PoolTerms>),
}

/// Where an entitlement comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Nothing entitles.
    None,
    /// The plan of the subscription.
    Plan,
    /// The catalog's default plan.
    DefaultPlan,
    /// A plan on trial.
    Trial,
    /// An add-on, alone or together with the plan.
    AddOn,
    /// An override of the account.
    Override,
    /// A plan, whose entitlement the account has earned by use.
    Unlock,
}

/// Who had a say in what an account may do, besides its plan.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Voice<'a> {
    /// An add-on, besides what was said before.
    Joins(AddOn),
    /// An add-on, instead of what was said before.
    Instead(AddOn),
    /// An override, instead of what was said before.
    Override(&'a Override),
}

/// Is told who had a say in which limit; `None` is a feature that has no limit. In the order in which they
/// are heard: the last word counts.
pub(crate) type Listener<'l> = &'l mut dyn FnMut(Option<NameId>, Voice<'_>);

/// Resolves one feature for one account at an instant.
pub fn resolve<'a>(
    catalog: &'a Catalog,
    account: &'a Account,
    feature: FeatureIx,
    at: Millis,
) -> (Resolved<'a>, Origin) {
    let profile = &account.profile;
    if profile.is_plain() {
        // The common road: nothing but the plan.
        let origin = if profile.by_default { Origin::DefaultPlan } else { Origin::Plan };
        let planned =
            catalog.plan_of(profile.plan).and_then(|plan| catalog.plan(plan).stated(feature));
        return from_plan(account, planned, origin, at);
    }
    resolve_heard(catalog, account, feature, at, &mut |_, _| {})
}

/// As [`resolve`], and tells who had a say.
pub(crate) fn resolve_heard<'a>(
    catalog: &'a Catalog,
    account: &'a Account,
    feature: FeatureIx,
    at: Millis,
    heard: Listener<'_>,
) -> (Resolved<'a>, Origin) {
    let profile = &account.profile;
    let (planned, origin) = planned(catalog, account, feature, at);
    let shape = catalog.feature(feature);
    let is_overridden =
        profile.overrides().iter().any(|o| o.feature == shape.id && o.is_in_force(at));
    let has_addon = given_by_addons(catalog, profile, feature).next().is_some();
    if !is_overridden && !has_addon && !is_prorated(planned, profile) {
        return from_plan(account, planned, origin, at);
    }
    merge(catalog, account, feature, at, (planned, origin), heard)
}

/// What the plan in force gives of a feature, and what it is called as an origin.
pub(crate) fn planned<'a>(
    catalog: &'a Catalog,
    account: &'a Account,
    feature: FeatureIx,
    at: Millis,
) -> (Option<&'a Entitlement>, Origin) {
    let profile = &account.profile;
    let (plan, on_trial) = change::plan_then(profile, at);
    let origin = match (on_trial, profile.by_default) {
        (true, _) => Origin::Trial,
        (false, true) => Origin::DefaultPlan,
        (false, false) => Origin::Plan,
    };
    let planned = catalog.plan_of(plan).and_then(|plan| catalog.plan(plan).stated(feature));
    match planned {
        Some(Entitlement::Locked(locked)) => match locked.opened(account, at) {
            Some(given) => (Some(given), Origin::Unlock),
            None => (None, origin),
        },
        planned => (planned, origin),
    }
}

#[inline]
fn from_plan<'a>(
    account: &Account,
    planned: Option<&'a Entitlement>,
    origin: Origin,
    at: Millis,
) -> (Resolved<'a>, Origin) {
    match planned {
        None | Some(Entitlement::Switch { on: false }) => (Resolved::NotInPlan, Origin::None),
        Some(Entitlement::Switch { on: true }) => (Resolved::On, origin),
        Some(Entitlement::Config { value_json }) => (Resolved::Value(value_json), origin),
        Some(Entitlement::Quota { limits }) => {
            (Resolved::Limits(ResolvedLimits::Planned(limits)), origin)
        }
        Some(
            Entitlement::Concurrency { limit }
            | Entitlement::Allocation { limit }
            | Entitlement::Seats { limit },
        ) => {
            let limits = std::slice::from_ref(limit);
            (Resolved::Limits(ResolvedLimits::Planned(limits)), origin)
        }
        Some(Entitlement::Rate { rate, .. }) => (Resolved::Rate(*rate), origin),
        Some(Entitlement::Credits { terms }) => (Resolved::Pool(Box::new(terms.clone())), origin),
        Some(Entitlement::Locked(locked)) => {
            from_plan(account, locked.opened(account, at), Origin::Unlock, at)
        }
    }
}

/// What the account's add-ons give of a feature, and which they are. An add-on that left
/// the catalog gives nothing.
fn given_by_addons<'a>(
    catalog: &'a Catalog,
    profile: &'a Profile,
    feature: FeatureIx,
) -> impl DoubleEndedIterator<Item = (&'a Entitlement, AddOn)> {
    profile.addons().iter().filter_map(move |bought| {
        let given = catalog.addon_of(bought.addon)?.entitlement(feature)?;
        Some((given, *bought))
    })
}

/// Whether a change of plan may have left its share in a limit.
fn is_prorated(planned: Option<&Entitlement>, profile: &Profile) -> bool {
    let Some(Entitlement::Quota { limits }) = planned else { return false };
    profile.extra.is_some() && limits.iter().any(|limit| change::of(limit) == OnChange::Prorate)
}

fn merge<'a>(
    catalog: &'a Catalog,
    account: &'a Account,
    feature: FeatureIx,
    at: Millis,
    (planned, plan_origin): (Option<&'a Entitlement>, Origin),
    heard: Listener<'_>,
) -> (Resolved<'a>, Origin) {
    let profile = &account.profile;
    let shape = catalog.feature(feature);
    let overrides = profile.overrides().iter().filter(|o| o.feature == shape.id);
    let mut overrides = overrides.filter(|o| o.is_in_force(at));
    let mut addons = given_by_addons(catalog, profile, feature);
    match &shape.kind {
        FeatureKind::Switch => {
            let overridden = overrides.find_map(|one| match one.value {
                OverrideValue::Switch { on } => Some((on, one)),
                _ => None,
            });
            let is_on = |given: &Entitlement| matches!(given, Entitlement::Switch { on: true });
            let promised = match overridden {
                Some((false, _)) => return (Resolved::NotInPlan, Origin::None),
                Some((true, one)) if !one.at_least => {
                    heard(None, Voice::Override(one));
                    return (Resolved::On, Origin::Override);
                }
                promised => promised,
            };
            if planned.is_some_and(is_on) {
                return (Resolved::On, plan_origin);
            }
            if let Some((_, addon)) = addons.find(|(given, _)| is_on(given)) {
                heard(None, Voice::Instead(addon));
                return (Resolved::On, Origin::AddOn);
            }
            let Some((_, one)) = promised else { return (Resolved::NotInPlan, Origin::None) };
            heard(None, Voice::Override(one));
            (Resolved::On, Origin::Override)
        }
        FeatureKind::Config => {
            let overridden = overrides.find_map(|one| match &one.value {
                OverrideValue::Config { value_json } => Some((value_json, one)),
                _ => None,
            });
            let value_of = |given: &'a Entitlement| match given {
                Entitlement::Config { value_json } => Some(value_json),
                _ => None,
            };
            let of_addon = |(given, addon)| Some((value_of(given)?, addon));
            if let Some((value_json, one)) = overridden {
                heard(None, Voice::Override(one));
                (Resolved::Value(value_json), Origin::Override)
            } else if let Some((value_json, addon)) = addons.rev().find_map(of_addon) {
                heard(None, Voice::Instead(addon));
                (Resolved::Value(value_json), Origin::AddOn)
            } else if let Some(value_json) = planned.and_then(value_of) {
                (Resolved::Value(value_json), plan_origin)
            } else {
                (Resolved::NotInPlan, Origin::None)
            }
        }
        FeatureKind::Quota { limits: shapes } => {
            let mut origin = plan_origin;
            let mut limits = match planned {
                Some(Entitlement::Quota { limits }) => limits.clone(),
                _ => Vec::new(),
            };
            change::prorate(catalog, account, feature, at, &mut limits);
            for (given, addon) in addons {
                let Entitlement::Quota { limits: more } = given else { continue };
                origin = Origin::AddOn;
                more.iter().for_each(|limit| {
                    add_limit(&mut limits, limit, addon, shape.offering.merge, heard);
                });
            }
            let caps = overrides.clone();
            let is_given = !limits.is_empty();
            for one in overrides {
                let OverrideValue::Limit { limit, included_units } = &one.value else { continue };
                if one.at_least && is_given && !has_limit(&limits, *limit) {
                    // What is given has no such limit, which is more than any promise.
                    continue;
                }
                // A limit that left the catalog has no windows any more: its override sleeps.
                let Some((_, window)) = shapes.iter().find(|(id, _)| id == limit) else { continue };
                let new =
                    |included| PlanLimit::new(*limit, *window, included, Vec::new(), Policy::Block);
                if override_limit(&mut limits, (*limit, *included_units), one.at_least, new) {
                    origin = Origin::Override;
                    heard(Some(*limit), Voice::Override(one));
                }
            }
            if spend_cap::apply(&mut limits, caps, heard) {
                origin = Origin::Override;
            }
            if limits.is_empty() {
                (Resolved::NotInPlan, Origin::None)
            } else {
                (Resolved::Limits(ResolvedLimits::Changed(limits)), origin)
            }
        }
        FeatureKind::Concurrency { limit }
        | FeatureKind::Allocation { limit, .. }
        | FeatureKind::Seats { limit, .. } => {
            let mut origin = plan_origin;
            let mut limits = Vec::new();
            if let Some(
                Entitlement::Concurrency { limit }
                | Entitlement::Allocation { limit }
                | Entitlement::Seats { limit },
            ) = planned
            {
                limits.push(limit.clone());
            }
            for (given, addon) in addons {
                let (Entitlement::Concurrency { limit: more }
                | Entitlement::Allocation { limit: more }
                | Entitlement::Seats { limit: more }) = given
                else {
                    continue;
                };
                origin = Origin::AddOn;
                add_limit(&mut limits, more, addon, shape.offering.merge, heard);
            }
            for one in overrides {
                let OverrideValue::Limit { limit: of, included_units } = &one.value else {
                    continue;
                };
                if of != limit {
                    continue;
                }
                let new = |most| match shape.kind {
                    FeatureKind::Allocation { .. } => {
                        PlanLimit::of_level(*limit, most, Vec::new(), Policy::Block)
                    }
                    FeatureKind::Seats { .. } => PlanLimit::of_seats(*limit, most, Vec::new()),
                    _ => PlanLimit::of_slots(*limit, most, Vec::new()),
                };
                if override_limit(&mut limits, (*limit, *included_units), one.at_least, new) {
                    origin = Origin::Override;
                    heard(Some(*limit), Voice::Override(one));
                }
            }
            if limits.is_empty() {
                (Resolved::NotInPlan, Origin::None)
            } else {
                (Resolved::Limits(ResolvedLimits::Changed(limits)), origin)
            }
        }
        FeatureKind::Credits { limit, .. } => {
            let mut best = match planned {
                Some(Entitlement::Credits { terms }) => Some((terms.clone(), plan_origin)),
                _ => None,
            };
            for (given, addon) in addons {
                let Entitlement::Credits { terms: more } = given else { continue };
                let known = best.as_ref().map(|(known, _)| known.included_units);
                let terms = add_pool(best, more, addon.quantity, shape.offering.merge);
                let is_all = known.is_none()
                    || shape.offering.merge == Merge::MostGenerous
                        && known < Some(terms.included_units);
                if is_all {
                    heard(Some(*limit), Voice::Instead(addon));
                } else if shape.offering.merge == Merge::Sum {
                    heard(Some(*limit), Voice::Joins(addon));
                }
                best = Some((terms, Origin::AddOn));
            }
            for one in overrides {
                let OverrideValue::Limit { limit: of, included_units: Some(units) } = &one.value
                else {
                    continue;
                };
                let is_less =
                    best.as_ref().is_some_and(|(known, _)| *units <= known.included_units);
                if of == limit && !(one.at_least && is_less) {
                    let known = best.take().map(|(terms, _)| terms).unwrap_or_default();
                    heard(Some(*limit), Voice::Override(one));
                    best = Some((PoolTerms { included_units: *units, ..known }, Origin::Override));
                }
            }
            match best {
                Some((terms, origin)) => (Resolved::Pool(Box::new(terms)), origin),
                None => (Resolved::NotInPlan, Origin::None),
            }
        }
        FeatureKind::Rate { limit, .. } => {
            let overridden = overrides.find_map(|one| match one.value {
                OverrideValue::Rate { rate } => Some((rate, one)),
                _ => None,
            });
            if let Some((rate, one)) = overridden
                && !one.at_least
            {
                heard(Some(*limit), Voice::Override(one));
                return (Resolved::Rate(rate), Origin::Override);
            }
            let mut best = match planned {
                Some(Entitlement::Rate { rate, .. }) => Some((*rate, plan_origin)),
                _ => None,
            };
            for (given, addon) in addons {
                let Entitlement::Rate { rate, .. } = given else { continue };
                let known = best.map(|(known, _)| known);
                let merge = shape.offering.merge;
                if let Some((rate, voice)) = add_rate(known, *rate, addon, merge) {
                    heard(Some(*limit), voice);
                    best = Some((rate, Origin::AddOn));
                }
            }
            if let Some((rate, one)) = overridden
                && best.is_none_or(|(known, _)| is_faster(rate, known))
            {
                heard(Some(*limit), Voice::Override(one));
                best = Some((rate, Origin::Override));
            }
            match best {
                Some((rate, origin)) => (Resolved::Rate(rate), origin),
                None => (Resolved::NotInPlan, Origin::None),
            }
        }
    }
}

/// Whether one is better than another; `None` is unlimited.
fn is_faster(rate: Option<Rate>, known: Option<Rate>) -> bool {
    known.is_some_and(|known| rate.is_none_or(|rate| rate.is_better(known)))
}

/// What becomes of a rate by an add-on, and how that is heard. `None`: nothing. What cannot be added up,
/// because it would be more than can be counted, is as fast as the faster of both.
fn add_rate(
    known: Option<Option<Rate>>,
    more: Option<Rate>,
    addon: AddOn,
    merge: Merge,
) -> Option<(Option<Rate>, Voice<'static>)> {
    let more = more.map(|rate| rate.times(addon.quantity).unwrap_or(rate));
    let sum = || known??.plus(more?);
    let sum = if merge == Merge::Sum { sum() } else { None };
    match (sum, known) {
        (Some(sum), _) => Some((Some(sum), Voice::Joins(addon))),
        (None, Some(known)) if !is_faster(more, known) => None,
        (None, _) => Some((more, Voice::Instead(addon))),
    }
}

/// Adds what an add-on gives, bought `quantity` times. Unlimited stays unlimited, and what would be
/// more than can be counted is as much as can be counted.
fn add_limit(
    limits: &mut Vec<PlanLimit>,
    more: &PlanLimit,
    addon: AddOn,
    merge: Merge,
    heard: Listener<'_>,
) {
    let quantity = u64::from(addon.quantity);
    let bought = more.included_units.map(|units| units.saturating_mul(quantity).min(UNITS_MAX));
    let Some(known) = limits.iter_mut().find(|known| known.limit == more.limit) else {
        limits.push(more.with_included(bought));
        heard(Some(more.limit), Voice::Instead(addon));
        return;
    };
    let together = match (known.included_units, bought, merge) {
        (Some(a), Some(b), Merge::Sum) => Some(a.saturating_add(b).min(UNITS_MAX)),
        (Some(a), Some(b), Merge::MostGenerous) => Some(a.max(b)),
        (None, _, _) | (_, None, _) => None,
    };
    match merge {
        // Where there is no end, nothing is added to.
        Merge::Sum if known.included_units.is_some() && bought.is_some() => {
            heard(Some(more.limit), Voice::Joins(addon));
        }
        _ if is_more(together, known.included_units) => {
            heard(Some(more.limit), Voice::Instead(addon));
        }
        _ => {}
    }
    *known = known.with_included(together);
}

/// A pool with what add-ons include of it besides. Everything but the included units is the word of what
/// was there first.
fn add_pool(
    known: Option<(PoolTerms, Origin)>,
    more: &PoolTerms,
    quantity: u32,
    merge: Merge,
) -> PoolTerms {
    let bought = more.included_units.saturating_mul(u64::from(quantity)).min(UNITS_MAX);
    let Some((known, _)) = known else {
        return PoolTerms { included_units: bought, ..more.clone() };
    };
    let included_units = match merge {
        Merge::Sum => known.included_units.saturating_add(bought).min(UNITS_MAX),
        Merge::MostGenerous => known.included_units.max(bought),
    };
    PoolTerms { included_units, ..known }
}

/// The pool of credits that pays for a quota of an account, and what it costs there. The plan decides,
/// where it has the quota, and else the first add-on that has it.
pub fn payer(
    catalog: &Catalog,
    profile: &Profile,
    feature: FeatureIx,
    at: Millis,
) -> Option<(FeatureIx, CreditPrice)> {
    let prices = &catalog.feature(feature).credit_prices;
    if prices.is_empty() {
        return None;
    }
    let planned = catalog.plan_of(profile.plan_at(at).0).map(|plan| catalog.plan(plan));
    let bought = profile.addons().iter().filter_map(|bought| catalog.addon_of(bought.addon));
    let gives = planned.into_iter().chain(bought).find(|p| p.entitlement(feature).is_some())?;
    let pool = gives.payer(feature)?;
    prices.iter().find(|(of, _)| *of == pool).copied()
}

/// Puts what an override says of a limit in its place; false: it is `at_least` and gives no more.
fn override_limit(
    limits: &mut Vec<PlanLimit>,
    (limit, included_units): (NameId, Option<u64>),
    at_least: bool,
    new: impl FnOnce(Option<u64>) -> PlanLimit,
) -> bool {
    match limits.iter_mut().find(|known| known.limit == limit) {
        Some(known) if at_least && !is_more(included_units, known.included_units) => false,
        Some(known) => {
            *known = known.with_included(included_units);
            true
        }
        None => {
            limits.push(new(included_units));
            true
        }
    }
}

fn has_limit(limits: &[PlanLimit], limit: NameId) -> bool {
    limits.iter().any(|known| known.limit == limit)
}

/// Whether so many units are more than so many; `None` is unlimited.
fn is_more(units: Option<u64>, than: Option<u64>) -> bool {
    than.is_some_and(|than| units.is_none_or(|units| units > than))
}

/// Fingerprint of a limit's definition: FNV-1a, 64 bits folded to 32. It is kept on disk, so it must
/// never change; two definitions that collide (1 in 4 billion) would not re-arm their signals.
pub fn mark(included_units: Option<u64>, policy: Policy, soft_limits_bp: &[u32]) -> u32 {
    let (policy_tag, grace_bp) = match policy {
        Policy::Block => (0, 0),
        Policy::Grace { grace_bp } => (1, grace_bp),
        Policy::Overage => (2, 0),
        Policy::Unlimited => (3, 0),
    };
    let head = [included_units.map_or(u64::MAX, |units| units), policy_tag, u64::from(grace_bp)];
    let words = head.into_iter().chain(soft_limits_bp.iter().map(|bp| u64::from(*bp)));
    fold(words)
}

/// The fingerprint of a definition that has terms besides; without any it is the same.
pub fn mark_terms(mark: u32, terms: &LimitTerms) -> u32 {
    if terms.is_plain() {
        return mark;
    }
    fold(std::iter::once(u64::from(mark)).chain(terms.words()))
}

fn fold(words: impl Iterator<Item = u64>) -> u32 {
    let hash = fnv1a(words.flat_map(u64::to_le_bytes));
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    u32::from_le_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
}
