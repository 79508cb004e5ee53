//! Resolution: what one account may do with one feature, from its plan and its overrides.
//!
//! An override speaks for one limit, switch or config and leaves the rest of the plan as it is. An
//! override of a limit that the plan does not contain entitles by itself, with policy `block`.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::account::{OverrideValue, Profile};
use crate::catalog::{Catalog, Entitlement, FeatureIx, FeatureKind, Policy};
use crate::names::NameId;
use crate::window::WindowRule;

/// One limit as it is in force for one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedLimit<'a> {
    /// Its name.
    pub limit: NameId,
    /// How its windows lie.
    pub window: WindowRule,
    /// Included units of each window. `None`: unlimited.
    pub included_units: Option<u64>,
    /// Soft thresholds in basis points, ascending.
    pub soft_limits_bp: &'a [u32],
    /// What happens when the included units are used up.
    pub policy: Policy,
    /// Fingerprint of all that, to notice a change.
    pub mark: u32,
}

impl ResolvedLimit<'_> {
    /// The most that admission lets `used + reserved` become. `None`: no bound.
    ///
    /// Grace is a part of the included units, rounded down.
    pub fn ceiling_units(&self) -> Option<u64> {
        let included = self.included_units?;
        match self.policy {
            Policy::Block => Some(included),
            Policy::Grace { .. } => Some(included.saturating_add(self.grace_units())),
            Policy::Overage | Policy::Unlimited => None,
        }
    }

    /// Units of grace; 0 without grace. Rounded down.
    pub fn grace_units(&self) -> u64 {
        match (self.policy, self.included_units) {
            (Policy::Grace { grace_bp }, Some(included)) => {
                let units = u128::from(included) * u128::from(grace_bp) / 10_000;
                u64::try_from(units).unwrap_or(u64::MAX)
            }
            _ => 0,
        }
    }

    /// Whether `used` units are at or past `bp` basis points of the included units. Nothing used is
    /// past nothing, also when nothing is included.
    pub fn is_past(&self, used: u64, bp: u32) -> bool {
        let Some(included) = self.included_units else { return false };
        used > 0 && u128::from(used) * 10_000 >= u128::from(included) * u128::from(bp)
    }
}

/// The limits of one feature for one account.
pub type ResolvedLimits<'a> = SmallVec<[ResolvedLimit<'a>; 2]>;

/// What an account may do with a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved<'a> {
    /// Nothing: not in the plan, or a switch that is off.
    NotInPlan,
    /// A switch that is on.
    On,
    /// A config's value as JSON text.
    Value(&'a Arc<str>),
    /// A quota, with at least one limit.
    Limits(ResolvedLimits<'a>),
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
    /// An override of the account.
    Override,
}

/// Resolves one feature for one account.
pub fn resolve<'a>(
    catalog: &'a Catalog,
    profile: &'a Profile,
    feature: FeatureIx,
) -> (Resolved<'a>, Origin) {
    let planned =
        catalog.plan_of(profile.plan).and_then(|plan| catalog.plan(plan).entitlement(feature));
    let from_plan = if profile.by_default { Origin::DefaultPlan } else { Origin::Plan };
    if profile.overrides().is_empty() {
        // The common road: nothing but the plan.
        return match planned {
            None | Some(Entitlement::Switch { on: false }) => (Resolved::NotInPlan, Origin::None),
            Some(Entitlement::Switch { on: true }) => (Resolved::On, from_plan),
            Some(Entitlement::Config { value_json }) => (Resolved::Value(value_json), from_plan),
            Some(Entitlement::Quota { limits }) => {
                (Resolved::Limits(limits.iter().map(|l| l.resolved()).collect()), from_plan)
            }
        };
    }
    resolve_overridden(catalog, profile, feature, planned, from_plan)
}

fn resolve_overridden<'a>(
    catalog: &'a Catalog,
    profile: &'a Profile,
    feature: FeatureIx,
    planned: Option<&'a Entitlement>,
    from_plan: Origin,
) -> (Resolved<'a>, Origin) {
    let shape = catalog.feature(feature);
    let mut overrides =
        profile.overrides().iter().filter(|o| o.feature == shape.id).map(|o| &o.value);
    match &shape.kind {
        FeatureKind::Switch => {
            let overridden = overrides.find_map(|value| match value {
                OverrideValue::Switch { on } => Some(*on),
                _ => None,
            });
            match (overridden, planned) {
                (Some(true), _) => (Resolved::On, Origin::Override),
                (None, Some(Entitlement::Switch { on: true })) => (Resolved::On, from_plan),
                _ => (Resolved::NotInPlan, Origin::None),
            }
        }
        FeatureKind::Config => {
            let overridden = overrides.find_map(|value| match value {
                OverrideValue::Config { value_json } => Some(value_json),
                _ => None,
            });
            match (overridden, planned) {
                (Some(value_json), _) => (Resolved::Value(value_json), Origin::Override),
                (None, Some(Entitlement::Config { value_json })) => {
                    (Resolved::Value(value_json), from_plan)
                }
                _ => (Resolved::NotInPlan, Origin::None),
            }
        }
        FeatureKind::Quota { limits: shapes } => {
            let mut limits: ResolvedLimits<'a> = match planned {
                Some(Entitlement::Quota { limits }) => limits.iter().map(|l| l.resolved()).collect(),
                _ => SmallVec::new(),
            };
            let mut origin = from_plan;
            for value in overrides {
                let OverrideValue::Limit { limit, included_units } = value else { continue };
                // A limit that left the catalog has no windows any more: its override sleeps.
                let Some((_, window)) = shapes.iter().find(|(id, _)| id == limit) else { continue };
                origin = Origin::Override;
                override_limit(&mut limits, *limit, *window, *included_units);
            }
            if limits.is_empty() {
                (Resolved::NotInPlan, Origin::None)
            } else {
                (Resolved::Limits(limits), origin)
            }
        }
    }
}

fn override_limit(
    limits: &mut ResolvedLimits<'_>,
    limit: NameId,
    window: WindowRule,
    included_units: Option<u64>,
) {
    let place = match limits.iter().position(|known| known.limit == limit) {
        Some(place) => place,
        None => {
            let soft_limits_bp: &[u32] = &[];
            limits.push(ResolvedLimit {
                limit,
                window,
                included_units,
                soft_limits_bp,
                policy: Policy::Block,
                mark: 0,
            });
            limits.len() - 1
        }
    };
    let resolved = &mut limits[place];
    resolved.included_units = included_units;
    resolved.mark = mark(included_units, resolved.policy, resolved.soft_limits_bp);
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
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in words.flat_map(u64::to_le_bytes) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    u32::from_le_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
}
