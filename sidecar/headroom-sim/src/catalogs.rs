//! Catalogs at random: few names, small numbers, every policy and every window.

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, Merge, Offering,
    PlanLimitSpec, PlanSpec, Policy, ROLLOUT_ALL_BP, RateSpec,
};
use headroom_core::limits::UNITS_MAX;
use headroom_core::signal::SignalSwitches;
use headroom_core::window::{CalendarUnit, WindowRule};

use crate::rng::Rng;

/// The plans that catalogs are made of.
pub const PLANS: [&str; 3] = ["free", "pro", "max"];

/// The add-ons that catalogs are made of.
pub const ADDONS: [&str; 2] = ["boost", "extras"];

const SHAPES: [(&str, &[(&str, WindowRule)]); 3] = [
    (
        "tokens",
        &[
            ("daily", WindowRule::Calendar(CalendarUnit::Day)),
            ("monthly", WindowRule::Billing { months: 1 }),
            ("total", WindowRule::Lifetime),
        ],
    ),
    (
        "calls",
        &[
            ("hourly", WindowRule::Calendar(CalendarUnit::Hour)),
            ("weekly", WindowRule::Calendar(CalendarUnit::Week)),
        ],
    ),
    ("exports", &[("monthly", WindowRule::Calendar(CalendarUnit::Month))]),
];

/// The features that catalogs are made of.
pub const FEATURES: [&str; 8] =
    ["tokens", "calls", "exports", "sso", "retention", "jobs", "api", "web"];

/// The limits of those features.
pub const LIMITS: [&str; 6] = ["daily", "monthly", "total", "hourly", "weekly", "concurrent"];

fn window(rng: &mut Rng) -> WindowRule {
    match rng.below(9) {
        0 => WindowRule::Lifetime,
        1 => WindowRule::Billing { months: *rng.pick(&[1, 2, 3, 12]) },
        2 => WindowRule::Billing { months: 1 },
        3 => WindowRule::Calendar(CalendarUnit::Hour),
        4 => WindowRule::Calendar(CalendarUnit::Day),
        5 => WindowRule::Calendar(CalendarUnit::Week),
        6 => WindowRule::Calendar(CalendarUnit::Month),
        7 => WindowRule::Calendar(CalendarUnit::Quarter),
        _ => WindowRule::Calendar(CalendarUnit::Year),
    }
}

fn feature(rng: &mut Rng, name: &str) -> FeatureSpec {
    let shape = SHAPES.iter().find(|(known, _)| *known == name);
    // Now and then a name comes back as another sort of thing.
    let odd = rng.percent(4);
    let kind = match (shape, odd) {
        (Some((_, limits)), false) => {
            let mut specs: Vec<LimitSpec> = limits
                .iter()
                .map(|(limit, usual)| LimitSpec {
                    limit: (*limit).to_owned(),
                    window: if rng.percent(15) { window(rng) } else { *usual },
                })
                .collect();
            if specs.len() > 1 && rng.percent(15) {
                specs.pop();
            }
            FeatureKindSpec::Quota { limits: specs }
        }
        (None, true) => FeatureKindSpec::Quota {
            limits: vec![LimitSpec { limit: "daily".to_owned(), window: window(rng) }],
        },
        (Some(_), true) => match rng.below(3) {
            0 => FeatureKindSpec::Concurrency,
            1 => FeatureKindSpec::Rate,
            _ => FeatureKindSpec::Switch,
        },
        (None, false) => match name {
            "sso" => FeatureKindSpec::Switch,
            "jobs" => FeatureKindSpec::Concurrency,
            "api" | "web" => FeatureKindSpec::Rate,
            _ => FeatureKindSpec::Config,
        },
    };
    FeatureSpec {
        feature: name.to_owned(),
        name: name.to_owned(),
        unit: String::new(),
        scale: 0,
        kind,
        offering: offering(rng),
    }
}

/// Who gets a feature; mostly everybody who bought it. Shares in between are drawn, which the model
/// does not know how to, so here it is all or nobody.
fn offering(rng: &mut Rng) -> Offering {
    Offering {
        merge: *rng.pick(&[Merge::Sum, Merge::MostGenerous]),
        is_paused: rng.percent(3),
        rollout_bp: if rng.percent(3) { 0 } else { ROLLOUT_ALL_BP },
    }
}

/// Included units: small, and seldom as large as can be.
pub fn included(rng: &mut Rng) -> Option<u64> {
    match rng.below(20) {
        0 | 1 => None,
        2 | 3 => Some(0),
        4 => Some(UNITS_MAX - rng.below(3)),
        5..=8 => Some(10 + rng.below(20)),
        _ => Some(1 + rng.below(8)),
    }
}

fn plan_limit(rng: &mut Rng, limit: &str) -> PlanLimitSpec {
    let included_units = included(rng);
    let policy = match (included_units, rng.below(20)) {
        (None, _) | (_, 0..=2) => Policy::Unlimited,
        (_, 3..=5) => Policy::Overage,
        (Some(1..), 6..=11) => Policy::Grace { grace_bp: *rng.pick(&[1, 1_000, 3_334, 15_000]) },
        _ => Policy::Block,
    };
    let mut soft_limits_bp = Vec::new();
    if matches!(included_units, Some(1..)) {
        for bp in [8_000, 5_000, 9_999, 3_334, 1] {
            if rng.percent(30) {
                soft_limits_bp.push(bp);
            }
        }
    }
    PlanLimitSpec { limit: limit.to_owned(), included_units, soft_limits_bp, policy }
}

/// The most at a time: little, so that it is often reached.
fn slots(rng: &mut Rng) -> EntitlementSpec {
    let max_units = match rng.below(10) {
        0 => None,
        1 => Some(0),
        2 => Some(UNITS_MAX),
        _ => Some(1 + rng.below(7)),
    };
    let mut soft_limits_bp = Vec::new();
    if matches!(max_units, Some(1..)) {
        for bp in [8_000, 5_000, 9_999, 1] {
            if rng.percent(25) {
                soft_limits_bp.push(bp);
            }
        }
    }
    EntitlementSpec::Concurrency { max_units, soft_limits_bp }
}

/// A rate that passes the check; `None`: unlimited.
pub fn rate(rng: &mut Rng) -> Option<RateSpec> {
    if rng.percent(10) {
        return None;
    }
    let spec = match rng.below(8) {
        0 => (UNITS_MAX - rng.below(2), 1 + rng.between(0, 3), UNITS_MAX - rng.below(3)),
        1 => (1, 60 * 60 * 1000, 1 + rng.below(4)),
        2 => (1 + rng.below(3), 24 * 60 * 60 * 1000, 1 + rng.below(3)),
        3 => (1_000 + rng.below(7), 1_000, 1 + rng.below(50)),
        _ => (1 + rng.below(9), 1_000 * *rng.pick(&[1, 1, 60]), 1 + rng.below(12)),
    };
    let (units, period_ms, burst_units) = spec;
    Some(RateSpec { units, period_ms, burst_units })
}

fn entitlement(rng: &mut Rng, kind: &FeatureKindSpec) -> EntitlementSpec {
    match kind {
        FeatureKindSpec::Switch => EntitlementSpec::Switch { on: rng.percent(70) },
        FeatureKindSpec::Config => EntitlementSpec::Config { value_json: rng.below(4).to_string() },
        FeatureKindSpec::Concurrency => slots(rng),
        FeatureKindSpec::Rate => EntitlementSpec::Rate { rate: rate(rng) },
        FeatureKindSpec::Quota { limits: shapes } => {
            let mut limits: Vec<PlanLimitSpec> = Vec::new();
            for shape in shapes {
                if rng.percent(70) {
                    let place = usize::try_from(rng.below(limits.len() as u64 + 1)).expect("small");
                    limits.insert(place, plan_limit(rng, &shape.limit));
                }
            }
            if limits.is_empty() {
                limits.push(plan_limit(rng, &shapes[0].limit));
            }
            EntitlementSpec::Quota { limits }
        }
    }
}

fn plan(rng: &mut Rng, name: &str, features: &[FeatureSpec]) -> PlanSpec {
    let mut entitlements = Vec::new();
    for feature in features {
        if rng.percent(85) {
            entitlements.push((feature.feature.clone(), entitlement(rng, &feature.kind)));
        }
    }
    PlanSpec { plan: name.to_owned(), name: name.to_owned(), price: None, entitlements }
}

/// A catalog that passes the check.
pub fn catalog(rng: &mut Rng) -> CatalogSpec {
    let mut features = Vec::new();
    for name in FEATURES {
        if rng.percent(92) {
            let place = usize::try_from(rng.below(features.len() as u64 + 1)).expect("small");
            features.insert(place, feature(rng, name));
        }
    }
    let mut plans = Vec::new();
    for name in PLANS {
        if plans.is_empty() || rng.percent(90) {
            plans.push(plan(rng, name, &features));
        }
    }
    let mut addons = Vec::new();
    for name in ADDONS {
        if rng.percent(85) {
            addons.push(plan(rng, name, &features));
        }
    }
    CatalogSpec {
        addons,
        default_plan: rng.percent(70).then(|| rng.pick(&plans).plan.clone()),
        features,
        plans,
        prompts: Vec::new(),
        signals: SignalSwitches {
            usage_ceiling: rng.percent(85),
            feature_limit_hit: rng.percent(85),
            api_tier_exceeded: rng.percent(85),
        },
    }
}

/// A catalog that differs a little from another.
pub fn changed(rng: &mut Rng, from: &CatalogSpec) -> CatalogSpec {
    let mut to = from.clone();
    match rng.below(8) {
        6 => to.signals.api_tier_exceeded = !to.signals.api_tier_exceeded,
        3 => {
            let place = usize::try_from(rng.below(to.features.len() as u64 + 1)).expect("small");
            if let Some(feature) = to.features.get_mut(place) {
                feature.offering = offering(rng);
            }
        }
        0 => to.default_plan = rng.percent(60).then(|| rng.pick(&to.plans).plan.clone()),
        1 => to.signals.usage_ceiling = !to.signals.usage_ceiling,
        2 => to.signals.feature_limit_hit = !to.signals.feature_limit_hit,
        _ => {
            for plan in to.plans.iter_mut().chain(&mut to.addons) {
                for (_, entitlement) in &mut plan.entitlements {
                    match entitlement {
                        EntitlementSpec::Quota { limits } => {
                            for limit in limits {
                                if rng.percent(40) {
                                    *limit = plan_limit(rng, &limit.limit);
                                }
                            }
                        }
                        EntitlementSpec::Concurrency { .. } if rng.percent(40) => {
                            *entitlement = slots(rng);
                        }
                        EntitlementSpec::Rate { rate: known } if rng.percent(40) => {
                            *known = rate(rng);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    to
}

/// A catalog that does not pass the check.
pub fn wrong(rng: &mut Rng, from: &CatalogSpec) -> CatalogSpec {
    let mut to = from.clone();
    if rng.percent(50) {
        to.default_plan = Some("nowhere".to_owned());
    } else {
        to.plans.push(to.plans[0].clone());
    }
    to
}
