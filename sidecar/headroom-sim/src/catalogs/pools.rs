//! Pools of credits in catalogs: sometimes there is one or there are two, and some quotas are paid by them.
//!
//! Every number is small, because in the model each credit is a coin.

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, PlanSpec,
};
use headroom_core::credits::{CreditPrice, PoolTerms, Rounding};
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};

use super::{ADDONS, offering};
use crate::rng::Rng;

/// The pools that catalogs are made with.
pub const POOLS: [&str; 2] = ["credits", "tickets"];

/// The quotas that they may pay for: those that add up.
pub const PAID: [&str; 5] = ["tokens", "calls", "messages", "exports", "visits"];

/// The add-on that may fill them. Of the other one somebody may buy four billion.
pub const FILLS: &str = ADDONS[1];

/// What each pool is paid for what it pays for.
type Cards = Vec<(String, Vec<(String, CreditPrice)>)>;

/// Puts pools into a catalog, sometimes, under names that nothing else has.
pub(super) fn with_pools(rng: &mut Rng, mut spec: CatalogSpec) -> CatalogSpec {
    if !rng.percent(45) {
        return spec;
    }
    let count = if rng.percent(40) { 2 } else { 1 };
    let is_free = |name: &&str| spec.features.iter().all(|known| known.feature != *name);
    let names: Vec<&str> = POOLS.into_iter().filter(is_free).take(count).collect();
    for name in names {
        put(rng, &mut spec, name);
    }
    let is_quota = |name: &&str| {
        let is_it = |known: &&FeatureSpec| known.feature == *name;
        let known = spec.features.iter().find(is_it);
        matches!(known.map(|known| &known.kind), Some(FeatureKindSpec::Quota { .. }))
    };
    let priced: Vec<&str> = PAID.into_iter().filter(is_quota).collect();
    for feature in &mut spec.features {
        if let FeatureKindSpec::Credits { rate_card, .. } = &mut feature.kind {
            let prices = priced.iter().map(|name| ((*name).to_owned(), price(rng)));
            rate_card.extend(prices);
        }
    }
    let cards = cards(&spec.features);
    for plan in spec.plans.iter_mut().chain(&mut spec.addons) {
        let_pay(rng, plan, &cards);
    }
    priced_by_somebody(spec)
}

/// Puts one pool into a catalog, and gives of it.
fn put(rng: &mut Rng, spec: &mut CatalogSpec, name: &str) {
    let window = window(rng);
    let pool = FeatureSpec {
        feature: name.to_owned(),
        name: name.to_owned(),
        unit: String::new(),
        scale: 0,
        kind: FeatureKindSpec::Credits { window, rate_card: Vec::new() },
        offering: offering(rng),
        shadow: false,
        counting: Default::default(),
    };
    let place = usize::try_from(rng.below(spec.features.len() as u64 + 1)).expect("small");
    spec.features.insert(place, pool);
    for plan in &mut spec.plans {
        if rng.percent(85) {
            give(rng, plan, (name, window));
        }
    }
    for addon in spec.addons.iter_mut().filter(|addon| addon.plan == FILLS) {
        if rng.percent(60) {
            give(rng, addon, (name, window));
        }
    }
}

/// The rate cards of all pools.
fn cards(features: &[FeatureSpec]) -> Cards {
    let card = |feature: &FeatureSpec| match &feature.kind {
        FeatureKindSpec::Credits { rate_card, .. } => {
            Some((feature.feature.clone(), rate_card.clone()))
        }
        _ => None,
    };
    features.iter().filter_map(card).collect()
}

/// Whether a catalog has two pools.
pub(super) fn has_two(spec: &CatalogSpec) -> bool {
    cards(&spec.features).len() > 1
}

/// A new plan in a catalog that may have pools.
pub(super) fn complete(rng: &mut Rng, plan: &mut PlanSpec, features: &[FeatureSpec]) {
    for feature in features {
        if let FeatureKindSpec::Credits { window, .. } = &feature.kind {
            give(rng, plan, (&feature.feature, *window));
        }
    }
    let_pay(rng, plan, &cards(features));
}

fn give(rng: &mut Rng, plan: &mut PlanSpec, (pool, window): (&str, WindowRule)) {
    let given = EntitlementSpec::Credits { terms: terms(rng, window) };
    let place = usize::try_from(rng.below(plan.entitlements.len() as u64 + 1)).expect("small");
    plan.entitlements.insert(place, (pool.to_owned(), given));
}

/// Lets pools pay for some of what a plan gives, at prices of their cards. Of two pools each has its features,
/// most of the time.
fn let_pay(rng: &mut Rng, plan: &mut PlanSpec, cards: &Cards) {
    for (feature, given) in &mut plan.entitlements {
        let EntitlementSpec::Quota { limits } = given else { continue };
        let prices = |(_, card): &&(String, Vec<(String, CreditPrice)>)| {
            card.iter().any(|(name, _)| name == feature)
        };
        let pools: Vec<&str> = cards.iter().filter(prices).map(|(pool, _)| pool.as_str()).collect();
        if pools.is_empty() || rng.percent(35) {
            continue;
        }
        let place = PAID.iter().position(|name| name == feature).unwrap_or(0);
        let own = pools[place % pools.len()];
        let pool = if rng.percent(15) { *rng.pick(&pools) } else { own };
        // Often the pool alone is in the way.
        let limits = if rng.percent(40) { Vec::new() } else { std::mem::take(limits) };
        *given = EntitlementSpec::PaidQuota { limits, paid_by: pool.to_owned() };
    }
}

/// Takes prices away that nobody pays.
pub(super) fn priced_by_somebody(mut spec: CatalogSpec) -> CatalogSpec {
    let given = spec.plans.iter().chain(&spec.addons).flat_map(|plan| &plan.entitlements);
    let payer = |(feature, given): &(String, EntitlementSpec)| match given {
        EntitlementSpec::PaidQuota { paid_by, .. } => Some((feature.clone(), paid_by.clone())),
        _ => None,
    };
    let paid: Vec<(String, String)> = given.filter_map(payer).collect();
    for feature in &mut spec.features {
        if let FeatureKindSpec::Credits { rate_card, .. } = &mut feature.kind {
            let pays = |name: &String| {
                paid.iter().any(|(paid, pool)| paid == name && *pool == feature.feature)
            };
            rate_card.retain(|(name, _)| pays(name));
        }
    }
    spec
}

/// Another pool pays for a feature: everywhere, or plan by plan.
pub(super) fn with_other_payer(rng: &mut Rng, mut spec: CatalogSpec) -> CatalogSpec {
    let cards = cards(&spec.features);
    let priced: Vec<&String> =
        cards.iter().flat_map(|(_, card)| card).map(|(name, _)| name).collect();
    if priced.is_empty() {
        return spec;
    }
    let moved = (*rng.pick(&priced)).clone();
    let share = *rng.pick(&[100, 100, 50]);
    for plan in spec.plans.iter_mut().chain(&mut spec.addons) {
        for (_, given) in plan.entitlements.iter_mut().filter(|(name, _)| *name == moved) {
            let EntitlementSpec::PaidQuota { paid_by, .. } = given else { continue };
            let other = cards.iter().map(|(pool, _)| pool).find(|pool| *pool != paid_by);
            if let Some(other) = other.filter(|_| rng.percent(share)) {
                paid_by.clone_from(other);
            }
        }
    }
    for feature in &mut spec.features {
        if let FeatureKindSpec::Credits { rate_card, .. } = &mut feature.kind
            && !rate_card.iter().any(|(name, _)| *name == moved)
        {
            rate_card.push((moved.clone(), price(rng)));
        }
    }
    spec
}

/// Other prices, or other terms, for pools that are there.
pub(super) fn with_other_prices(rng: &mut Rng, mut spec: CatalogSpec) -> CatalogSpec {
    let mut rules = Vec::new();
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
        rules.push((feature.feature.clone(), *known));
    }
    for plan in spec.plans.iter_mut().chain(&mut spec.addons) {
        for (pool, given) in &mut plan.entitlements {
            let EntitlementSpec::Credits { terms: known } = given else { continue };
            let rule = rules.iter().find(|(name, _)| name == pool);
            let (_, rule) = rule.expect("a checked catalog");
            if rng.percent(50) {
                *known = terms(rng, *rule);
            } else if *rule == WindowRule::Lifetime {
                (known.rollover_min_units, known.rollover_max_units) = (0, 0);
            }
        }
    }
    spec
}

/// Takes a pool out of a catalog, or all of them, and lets nobody pay with it.
pub(super) fn without_pool(rng: &mut Rng, mut spec: CatalogSpec) -> CatalogSpec {
    let all: Vec<String> = cards(&spec.features).into_iter().map(|(pool, _)| pool).collect();
    let gone = match all.len() {
        2.. if rng.percent(70) => vec![rng.pick(&all).clone()],
        _ => all,
    };
    spec.features.retain(|feature| !gone.contains(&feature.feature));
    for plan in spec.plans.iter_mut().chain(&mut spec.addons) {
        plan.entitlements.retain(|(feature, given)| match given {
            EntitlementSpec::Credits { .. } => !gone.contains(feature),
            EntitlementSpec::PaidQuota { limits, paid_by } => {
                !limits.is_empty() || !gone.contains(paid_by)
            }
            _ => true,
        });
        for (_, given) in &mut plan.entitlements {
            if let EntitlementSpec::PaidQuota { limits, paid_by } = given
                && gone.contains(paid_by)
            {
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
    match rng.below(13) {
        0 => WindowRule::Lifetime,
        1 => WindowRule::Calendar(CalendarUnit::Month),
        2 => WindowRule::Calendar(CalendarUnit::Week),
        3 => WindowRule::Fixed(Every { count: *rng.pick(&[1, 2, 5, 12]), unit: SpanUnit::Hour }),
        10 => WindowRule::Calendar(CalendarUnit::Hour),
        11 => WindowRule::Fixed(Every { count, unit: SpanUnit::Day }),
        12 => WindowRule::Calendar(*rng.pick(&[CalendarUnit::Quarter, CalendarUnit::Year])),
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
