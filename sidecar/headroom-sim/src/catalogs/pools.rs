//! Pools of credits in catalogs: sometimes there is one, and some quotas are paid by it.
//!
//! Every number is small, because in the model each credit is a coin.

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, PlanSpec,
};
use headroom_core::credits::{CreditPrice, PoolTerms, Rounding};
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};

use super::{ADDONS, offering};
use crate::rng::Rng;

/// The pool that catalogs are made with.
pub const POOL: &str = "credits";

/// The quotas that it may pay for: those that add up.
pub const PAID: [&str; 5] = ["tokens", "calls", "messages", "exports", "visits"];

/// The add-on that may fill it. Of the other one somebody may buy four billion.
pub const FILLS: &str = ADDONS[1];

/// Puts a pool into a catalog, sometimes.
pub(super) fn with_pool(rng: &mut Rng, mut spec: CatalogSpec) -> CatalogSpec {
    if !rng.percent(45) {
        return spec;
    }
    let window = window(rng);
    let kind = FeatureKindSpec::Credits { window, rate_card: Vec::new() };
    let pool = FeatureSpec {
        feature: POOL.to_owned(),
        name: POOL.to_owned(),
        unit: String::new(),
        scale: 0,
        kind,
        offering: offering(rng),
        shadow: false,
        counting: Default::default(),
    };
    let place = usize::try_from(rng.below(spec.features.len() as u64 + 1)).expect("small");
    spec.features.insert(place, pool);
    for plan in &mut spec.plans {
        if rng.percent(85) {
            give(rng, plan, window);
        }
    }
    for addon in spec.addons.iter_mut().filter(|addon| addon.plan == FILLS) {
        if rng.percent(60) {
            give(rng, addon, window);
        }
    }
    let is_quota = |name: &str| {
        let is_it = |known: &&FeatureSpec| known.feature == name;
        let known = spec.features.iter().find(is_it);
        matches!(known.map(|known| &known.kind), Some(FeatureKindSpec::Quota { .. }))
    };
    let priced = PAID.iter().filter(|name| is_quota(name));
    let card: Vec<(String, CreditPrice)> =
        priced.map(|name| ((*name).to_owned(), price(rng))).collect();
    for plan in spec.plans.iter_mut().chain(&mut spec.addons) {
        let_pay(rng, plan, &card);
    }
    for feature in &mut spec.features {
        if let FeatureKindSpec::Credits { rate_card, .. } = &mut feature.kind {
            rate_card.clone_from(&card);
        }
    }
    priced_by_somebody(spec)
}

/// A new plan in a catalog that may have a pool.
pub(super) fn complete(rng: &mut Rng, plan: &mut PlanSpec, features: &[FeatureSpec]) {
    for feature in features {
        if let FeatureKindSpec::Credits { window, rate_card } = &feature.kind {
            give(rng, plan, *window);
            let_pay(rng, plan, rate_card);
        }
    }
}

fn give(rng: &mut Rng, plan: &mut PlanSpec, window: WindowRule) {
    let given = EntitlementSpec::Credits { terms: terms(rng, window) };
    let place = usize::try_from(rng.below(plan.entitlements.len() as u64 + 1)).expect("small");
    plan.entitlements.insert(place, (POOL.to_owned(), given));
}

/// Lets the pool pay for some of what a plan gives, at prices of a card.
fn let_pay(rng: &mut Rng, plan: &mut PlanSpec, card: &[(String, CreditPrice)]) {
    for (feature, given) in &mut plan.entitlements {
        let EntitlementSpec::Quota { limits } = given else { continue };
        if !card.iter().any(|(name, _)| name == feature) || rng.percent(35) {
            continue;
        }
        // Often the pool alone is in the way.
        let limits = if rng.percent(40) { Vec::new() } else { std::mem::take(limits) };
        *given = EntitlementSpec::PaidQuota { limits, paid_by: POOL.to_owned() };
    }
}

/// Takes prices away that nobody pays.
pub(super) fn priced_by_somebody(mut spec: CatalogSpec) -> CatalogSpec {
    let given = spec.plans.iter().chain(&spec.addons).flat_map(|plan| &plan.entitlements);
    let paid: Vec<String> = given
        .filter(|(_, given)| matches!(given, EntitlementSpec::PaidQuota { .. }))
        .map(|(feature, _)| feature.clone())
        .collect();
    for feature in &mut spec.features {
        if let FeatureKindSpec::Credits { rate_card, .. } = &mut feature.kind {
            rate_card.retain(|(name, _)| paid.contains(name));
        }
    }
    spec
}

/// Other prices, or other terms, for a pool that is there.
pub(super) fn with_other_prices(rng: &mut Rng, mut spec: CatalogSpec) -> CatalogSpec {
    let mut rule = None;
    for feature in &mut spec.features {
        let FeatureKindSpec::Credits { window: known, rate_card } = &mut feature.kind else {
            continue;
        };
        for (_, known) in rate_card {
            if rng.percent(60) {
                *known = price(rng);
            }
        }
        // One that never ends has no next window, so it goes on for ever.
        if rng.percent(20) {
            *known = window(rng);
        }
        rule = Some(*known);
    }
    let Some(rule) = rule else { return spec };
    for plan in spec.plans.iter_mut().chain(&mut spec.addons) {
        for (_, given) in &mut plan.entitlements {
            if let EntitlementSpec::Credits { terms: known } = given {
                if rng.percent(50) {
                    *known = terms(rng, rule);
                } else if rule == WindowRule::Lifetime {
                    (known.rollover_min_units, known.rollover_max_units) = (0, 0);
                }
            }
        }
    }
    spec
}

/// Takes the pool out of a catalog, and lets nobody pay with it.
pub(super) fn without_pool(mut spec: CatalogSpec) -> CatalogSpec {
    let is_pool = |feature: &FeatureSpec| matches!(feature.kind, FeatureKindSpec::Credits { .. });
    spec.features.retain(|feature| !is_pool(feature));
    for plan in spec.plans.iter_mut().chain(&mut spec.addons) {
        plan.entitlements.retain(|(_, given)| match given {
            EntitlementSpec::Credits { .. } => false,
            EntitlementSpec::PaidQuota { limits, .. } => !limits.is_empty(),
            _ => true,
        });
        for (_, given) in &mut plan.entitlements {
            if let EntitlementSpec::PaidQuota { limits, .. } = given {
                *given = EntitlementSpec::Quota { limits: std::mem::take(limits) };
            }
        }
    }
    spec
}

fn price(rng: &mut Rng) -> CreditPrice {
    let rounding = *rng.pick(&[Rounding::Up, Rounding::Down, Rounding::Nearest]);
    CreditPrice { credits: 1 + rng.below(4), per: 1 + rng.below(4), rounding }
}

fn window(rng: &mut Rng) -> WindowRule {
    let count = *rng.pick(&[1, 2, 3]);
    match rng.below(10) {
        0 => WindowRule::Lifetime,
        1 => WindowRule::Calendar(CalendarUnit::Month),
        2 => WindowRule::Calendar(CalendarUnit::Week),
        3 => WindowRule::Fixed(Every { count: 5, unit: SpanUnit::Hour }),
        4 => WindowRule::Fixed(Every { count, unit: SpanUnit::Week }),
        5 => WindowRule::Fixed(Every { count, unit: SpanUnit::Month }),
        6 | 7 => WindowRule::Billing { months: *rng.pick(&[1, 1, 3, 12]) },
        _ => WindowRule::Calendar(CalendarUnit::Day),
    }
}

fn terms(rng: &mut Rng, window: WindowRule) -> PoolTerms {
    let rollover_max_units = match window {
        WindowRule::Lifetime => 0,
        _ => *rng.pick(&[0, 0, 3, 12]),
    };
    let overdraft_units = *rng.pick(&[0, 0, 0, 4]);
    let mut soft_limits_bp = Vec::new();
    for bp in [8_000, 5_000, 9_999, 1] {
        if rng.percent(25) {
            soft_limits_bp.push(bp);
        }
    }
    PoolTerms {
        included_units: *rng.pick(&[0, 3, 8, 8, 20]),
        priority: *rng.pick(&[100, 100, 1]),
        rollover_min_units: rng.below(3).min(rollover_max_units),
        rollover_max_units,
        overdraft_units,
        forgives_debt: overdraft_units == 0 && rng.percent(25),
        soft_limits_bp,
    }
}
