//! Resolution: what one account may do with one feature, from its plan and its overrides.
//!
//! An override speaks for one limit, switch or config and leaves the rest of the plan as it is. An
//! override of a limit that the plan does not contain entitles by itself, with policy `block`.

use std::ops::Deref;
use std::sync::Arc;

use crate::account::{OverrideValue, Profile};
use crate::catalog::{Catalog, Entitlement, FeatureIx, FeatureKind, PlanLimit, Policy};
use crate::names::NameId;
use crate::rate::Rate;
use crate::window::WindowRule;

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
    /// A quota or a concurrency, with at least one limit.
    Limits(ResolvedLimits<'a>),
    /// A rate. `None`: unlimited.
    Rate(Option<Rate>),
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
                (Resolved::Limits(ResolvedLimits::Planned(limits)), from_plan)
            }
            Some(Entitlement::Concurrency { limit }) => {
                let limits = std::slice::from_ref(limit);
                (Resolved::Limits(ResolvedLimits::Planned(limits)), from_plan)
            }
            Some(Entitlement::Rate { rate }) => (Resolved::Rate(*rate), from_plan),
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
            let mut limits = match planned {
                Some(Entitlement::Quota { limits }) => limits.clone(),
                _ => Vec::new(),
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
                (Resolved::Limits(ResolvedLimits::Changed(limits)), origin)
            }
        }
        FeatureKind::Concurrency { limit } => {
            let overridden = overrides.find_map(|value| match value {
                OverrideValue::Limit { limit: of, included_units } if of == limit => {
                    Some(*included_units)
                }
                _ => None,
            });
            let planned = match planned {
                Some(Entitlement::Concurrency { limit }) => Some(limit),
                _ => None,
            };
            match (overridden, planned) {
                (Some(max_units), planned) => {
                    let changed = match planned {
                        Some(planned) => planned.with_included(max_units),
                        None => PlanLimit::of_slots(*limit, max_units, Vec::new()),
                    };
                    let limits = ResolvedLimits::Changed(vec![changed]);
                    (Resolved::Limits(limits), Origin::Override)
                }
                (None, Some(planned)) => {
                    let limits = ResolvedLimits::Planned(std::slice::from_ref(planned));
                    (Resolved::Limits(limits), from_plan)
                }
                (None, None) => (Resolved::NotInPlan, Origin::None),
            }
        }
        FeatureKind::Rate { .. } => {
            let overridden = overrides.find_map(|value| match value {
                OverrideValue::Rate { rate } => Some(*rate),
                _ => None,
            });
            match (overridden, planned) {
                (Some(rate), _) => (Resolved::Rate(rate), Origin::Override),
                (None, Some(Entitlement::Rate { rate })) => (Resolved::Rate(*rate), from_plan),
                _ => (Resolved::NotInPlan, Origin::None),
            }
        }
    }
}

fn override_limit(
    limits: &mut Vec<PlanLimit>,
    limit: NameId,
    window: WindowRule,
    included_units: Option<u64>,
) {
    match limits.iter_mut().find(|known| known.limit == limit) {
        Some(known) => *known = known.with_included(included_units),
        None => {
            limits.push(PlanLimit::new(limit, window, included_units, Vec::new(), Policy::Block));
        }
    }
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
