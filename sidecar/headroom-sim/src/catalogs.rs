//! Catalogs at random: few names, small numbers, every policy and every window.

mod given;
mod kinds;
mod pools;

use headroom_core::catalog::{
    Aggregation, CatalogSpec, CountingSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec,
    LimitSpec, Merge, Offering, PlanLimitSpec, PlanSpec, Policy, ROLLOUT_ALL_BP, UnlockSpec,
};
use headroom_core::change::OnChange;
use headroom_core::cohort::Cohorts;
use headroom_core::limits::UNITS_MAX;
use headroom_core::signal::{Horizons, SignalSwitches};
use headroom_core::stock::BilledBy;
use headroom_core::tally::{BucketSize, TallySpec};
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};

use crate::model::migrate::{label, lines};
use crate::rng::Rng;

pub use given::{included, rate};
use given::{level, plan_limit, rates, seats, slots};
pub use pools::{FILLS, PAID, POOLS};

/// The plans that catalogs are made of.
pub const PLANS: [&str; 3] = ["free", "pro", "max"];

/// The add-ons that catalogs are made of.
pub const ADDONS: [&str; 2] = ["boost", "extras"];

const SHAPES: [(&str, &[(&str, WindowRule)]); 8] = [
    (
        "tokens",
        &[
            ("daily", WindowRule::Calendar(CalendarUnit::Day)),
            ("monthly", WindowRule::Billing { months: 1 }),
            ("total", WindowRule::Lifetime),
            ("personal", WindowRule::Calendar(CalendarUnit::Day)),
        ],
    ),
    (
        "calls",
        &[
            ("hourly", WindowRule::Calendar(CalendarUnit::Hour)),
            ("weekly", WindowRule::Calendar(CalendarUnit::Week)),
        ],
    ),
    (
        "messages",
        &[
            ("session", WindowRule::FirstUse(Every { count: 5, unit: SpanUnit::Hour })),
            ("recent", WindowRule::Sliding(Every { count: 24, unit: SpanUnit::Hour })),
            ("fortnight", WindowRule::Fixed(Every { count: 2, unit: SpanUnit::Week })),
            ("own", WindowRule::Sliding(Every { count: 24, unit: SpanUnit::Hour })),
            ("crew", WindowRule::FirstUse(Every { count: 5, unit: SpanUnit::Hour })),
        ],
    ),
    ("exports", &[("monthly", WindowRule::Calendar(CalendarUnit::Month))]),
    (
        "visits",
        &[
            ("weekly", WindowRule::Calendar(CalendarUnit::Week)),
            ("own", WindowRule::Calendar(CalendarUnit::Day)),
        ],
    ),
    (
        "peaks",
        &[
            ("daily", WindowRule::Calendar(CalendarUnit::Day)),
            ("monthly", WindowRule::Billing { months: 1 }),
            ("personal", WindowRule::Calendar(CalendarUnit::Day)),
        ],
    ),
    (
        "gauge",
        &[
            ("daily", WindowRule::Calendar(CalendarUnit::Day)),
            ("own", WindowRule::Calendar(CalendarUnit::Week)),
        ],
    ),
    (
        "devices",
        &[
            ("daily", WindowRule::Calendar(CalendarUnit::Day)),
            ("monthly", WindowRule::Billing { months: 1 }),
            ("personal", WindowRule::Calendar(CalendarUnit::Day)),
            ("crew", WindowRule::FirstUse(Every { count: 5, unit: SpanUnit::Hour })),
        ],
    ),
];

/// The features that catalogs are made of.
pub const FEATURES: [&str; 17] = [
    "tokens",
    "calls",
    "exports",
    "sso",
    "retention",
    "jobs",
    "api",
    "web",
    "messages",
    "storage",
    "seats",
    "visits",
    "peaks",
    "gauge",
    "devices",
    "credits",
    "tickets",
];

/// The limits of those features.
pub const LIMITS: [&str; 15] = [
    "daily",
    "monthly",
    "total",
    "hourly",
    "weekly",
    "session",
    "recent",
    "fortnight",
    "concurrent",
    "level",
    "seats",
    "personal",
    "own",
    "crew",
    "credits",
];

/// The type of subjects that have a limit for themselves.
fn per(limit: &str) -> Option<String> {
    let kind = match limit {
        "personal" | "own" => "user",
        "crew" => "team",
        _ => return None,
    };
    Some(kind.to_owned())
}

fn window(rng: &mut Rng) -> WindowRule {
    let unit = *rng.pick(&SpanUnit::ALL);
    let count = *rng.pick(&[1, 2, 3, 5, 12]);
    let every = Every { count, unit };
    match rng.below(14) {
        0 => WindowRule::Lifetime,
        9 => WindowRule::Fixed(every),
        10 => WindowRule::FirstUse(every),
        11 if unit != SpanUnit::Month => WindowRule::Sliding(every),
        12 | 13 => WindowRule::Sliding(Every { count, unit: SpanUnit::Hour }),
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

/// What does not add up cannot slide.
fn window_of(rng: &mut Rng, name: &str) -> WindowRule {
    match window(rng) {
        WindowRule::Sliding(every) if VALUES.contains(&name) => WindowRule::FirstUse(every),
        window => window,
    }
}

/// What is made of units: always the same for a name.
fn aggregation_of(name: &str, kind: &FeatureKindSpec) -> Aggregation {
    match (name, kind) {
        ("visits", FeatureKindSpec::Quota { .. }) => Aggregation::Count,
        ("peaks", FeatureKindSpec::Quota { .. }) => Aggregation::Max,
        ("gauge", FeatureKindSpec::Quota { .. }) => Aggregation::Latest,
        ("devices", FeatureKindSpec::Quota { .. }) => Aggregation::Unique,
        _ => Aggregation::Sum,
    }
}

/// What has no meaning for what does not add up is left out.
fn with_values(mut spec: CatalogSpec) -> CatalogSpec {
    for plan in spec.plans.iter_mut().chain(&mut spec.addons) {
        for (feature, entitlement) in &mut plan.entitlements {
            let Some(limits) = limits_of(entitlement) else { continue };
            for limit in limits.iter_mut().filter(|_| VALUES.contains(&&**feature)) {
                limit.terms.carries_debt = false;
                if limit.terms.on_change == OnChange::Prorate && feature != "devices" {
                    limit.terms.on_change = OnChange::Keep;
                }
                if feature == "gauge" {
                    limit.terms.grace = None;
                    if limit.policy == (Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE }) {
                        limit.policy = Policy::Block;
                    }
                }
            }
        }
    }
    spec
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
                    window: if rng.percent(15) { window_of(rng, name) } else { *usual },
                    per: per(limit),
                })
                .collect();
            if specs.len() > 1 && rng.percent(15) {
                specs.pop();
            }
            FeatureKindSpec::Quota { limits: specs }
        }
        (None, true) => FeatureKindSpec::Quota {
            limits: vec![LimitSpec { limit: "daily".to_owned(), window: window(rng), per: None }],
        },
        (Some(_), true) => match rng.below(3) {
            0 => FeatureKindSpec::Concurrency { per: None },
            1 => FeatureKindSpec::Rate { per: None },
            _ => FeatureKindSpec::Switch,
        },
        (None, false) => match name {
            "sso" => FeatureKindSpec::Switch,
            "jobs" => FeatureKindSpec::Concurrency {
                per: rng.percent(60).then(|| (*rng.pick(&["user", "team"])).to_owned()),
            },
            "api" | "web" => {
                let per = rng.percent(60).then(|| (*rng.pick(&["user", "team"])).to_owned());
                FeatureKindSpec::Rate { per }
            }
            "seats" => FeatureKindSpec::Seats {
                invited_ms: *rng.pick(&[1, 3_600_000, 86_400_000, 7 * 86_400_000]),
            },
            "storage" => FeatureKindSpec::Allocation {
                billed_by: *rng.pick(&BilledBy::ALL),
                window: WindowRule::Billing { months: *rng.pick(&[1, 1, 1, 2, 12]) },
            },
            _ => FeatureKindSpec::Config,
        },
    };
    let can_be_watched = !VALUES.contains(&name);
    FeatureSpec {
        feature: name.to_owned(),
        name: name.to_owned(),
        unit: String::new(),
        scale: 0,
        shadow: can_be_watched && rng.percent(12),
        counting: CountingSpec {
            aggregation: aggregation_of(name, &kind),
            unique_by: (aggregation_of(name, &kind) == Aggregation::Unique)
                .then(|| UNIQUE_BY.to_owned()),
            tally: tally_of(name, &kind),
        },
        kind,
        offering: offering(rng),
    }
}

/// The one dimension that usage is told apart by.
pub const DIMENSION: &str = "model";
/// The one dimension whose different values are counted.
pub const UNIQUE_BY: &str = "device";
/// The features that do not add up.
const VALUES: [&str; 3] = ["peaks", "gauge", "devices"];

/// What its usage is told apart by: always the same for a name, so that the model need not follow catalogs
/// that begin or end it.
pub fn tally_of(name: &str, kind: &FeatureKindSpec) -> Option<TallySpec> {
    let buckets = match (name, kind) {
        ("tokens" | "messages", FeatureKindSpec::Quota { .. }) => BucketSize::Hour,
        ("exports", FeatureKindSpec::Quota { .. }) => BucketSize::Day,
        _ => return None,
    };
    Some(TallySpec { buckets, dimensions: vec![DIMENSION.to_owned()] })
}

/// Who gets a feature; mostly everybody who bought it. Shares in between are drawn, which the model
/// does not know how to, so here it is all or nobody.
fn offering(rng: &mut Rng) -> Offering {
    let rollout_bp = if rng.percent(5) { 0 } else { ROLLOUT_ALL_BP };
    let mut cohorts = Vec::new();
    if rollout_bp == 0 && rng.percent(60) {
        cohorts.push(if rng.percent(50) { "alpha".to_owned() } else { "beta".to_owned() });
    }
    Offering {
        merge: *rng.pick(&[Merge::Sum, Merge::MostGenerous]),
        is_paused: rng.percent(3),
        rollout_bp,
        cohorts: Cohorts::of(cohorts),
    }
}

fn entitlement(rng: &mut Rng, kind: &FeatureKindSpec) -> EntitlementSpec {
    match kind {
        FeatureKindSpec::Switch => EntitlementSpec::Switch { on: rng.percent(70) },
        FeatureKindSpec::Config => EntitlementSpec::Config { value_json: rng.below(4).to_string() },
        FeatureKindSpec::Concurrency { per } => slots(rng, per.is_some()),
        FeatureKindSpec::Rate { per } => rates(rng, per.is_some()),
        FeatureKindSpec::Allocation { .. } => level(rng),
        FeatureKindSpec::Credits { .. } => unreachable!("a pool comes when all else is there"),
        FeatureKindSpec::Seats { .. } => seats(rng),
        FeatureKindSpec::Quota { limits: shapes } => {
            let mut limits: Vec<PlanLimitSpec> = Vec::new();
            for shape in shapes {
                if rng.percent(70) {
                    let place = usize::try_from(rng.below(limits.len() as u64 + 1)).expect("small");
                    limits.insert(place, plan_limit(rng, &shape.limit, shape.window));
                }
            }
            if limits.iter().all(|limit| per(&limit.limit).is_some()) {
                limits.push(plan_limit(rng, &shapes[0].limit, shapes[0].window));
            }
            fit_levels(&mut limits);
            EntitlementSpec::Quota { limits }
        }
    }
}

/// The plan, and perhaps versions of it that are not sold any more.
fn versions(rng: &mut Rng, name: &str, features: &[FeatureSpec]) -> Vec<PlanSpec> {
    let mut version = 1;
    let mut all = vec![plan(rng, name, features)];
    while rng.percent(20) && version < 3 {
        version += 1;
        all.push(PlanSpec { version, ..plan(rng, name, features) });
    }
    if all.len() > 1 && rng.percent(20) {
        all.remove(0);
    }
    if rng.percent(50) {
        all.reverse();
    }
    all
}

/// The limits that are given of a quota, whoever pays for it.
fn limits_of(given: &mut EntitlementSpec) -> Option<&mut Vec<PlanLimitSpec>> {
    match given {
        EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. } => {
            Some(limits)
        }
        _ => None,
    }
}

/// Add-ons count in full from their moment, and what a subject has used stays used.
fn keep_addons(mut spec: CatalogSpec) -> CatalogSpec {
    for (_, given) in spec.addons.iter_mut().flat_map(|addon| &mut addon.entitlements) {
        let Some(limits) = limits_of(given) else { continue };
        limits.iter_mut().for_each(|limit| limit.terms.on_change = OnChange::Keep);
    }
    for (_, given) in spec.plans.iter_mut().flat_map(|plan| &mut plan.entitlements) {
        let Some(limits) = limits_of(given) else { continue };
        for limit in limits.iter_mut().filter(|limit| per(&limit.limit).is_some()) {
            limit.terms.on_change = OnChange::Keep;
        }
    }
    spec
}

/// The new catalog with lines for what it takes away from the old one: mostly all of them.
pub fn with_lines(rng: &mut Rng, from: &CatalogSpec, mut to: CatalogSpec) -> CatalogSpec {
    let target = rng.pick(&to.plans);
    let target = if rng.percent(50) { label(target) } else { target.plan.clone() };
    let is_careful = rng.percent(80);
    let lines = lines(from, &to, &target);
    let lines = lines.into_iter().filter(|_| is_careful || rng.percent(60));
    to.migrations = lines.collect();
    to
}

/// Takes away what subjects cannot have: limits above those of the account, and a memory.
fn fit_levels(limits: &mut Vec<PlanLimitSpec>) {
    let own = limits.iter().filter(|limit| per(&limit.limit).is_none());
    let least = own.filter_map(|limit| limit.included_units).min().unwrap_or(UNITS_MAX);
    let is_own = |limit: &PlanLimitSpec| per(&limit.limit).is_none();
    limits.retain(|limit| is_own(limit) || limit.included_units.is_none_or(|n| n <= least));
    for limit in limits.iter_mut().filter(|limit| !is_own(limit)) {
        limit.terms.overage = None;
        limit.terms.carries_debt = false;
        limit.terms.grace = limit.terms.grace.filter(|grace| grace.lasts_ms.is_some());
        if let Some(grace) = &mut limit.terms.grace {
            grace.times = None;
        }
    }
}

fn plan(rng: &mut Rng, name: &str, features: &[FeatureSpec]) -> PlanSpec {
    let mut entitlements = Vec::new();
    let is_pool = |kind: &FeatureKindSpec| matches!(kind, FeatureKindSpec::Credits { .. });
    for feature in features.iter().filter(|feature| !is_pool(&feature.kind)) {
        if rng.percent(85) {
            entitlements.push((feature.feature.clone(), entitlement(rng, &feature.kind)));
        }
    }
    PlanSpec { plan: name.to_owned(), version: 1, name: name.to_owned(), price: None, entitlements }
}

/// A catalog that passes the check.
pub fn catalog(rng: &mut Rng) -> CatalogSpec {
    let mut features = Vec::new();
    for name in FEATURES {
        // A pool of credits comes last; now and then its name is of another sort of thing.
        if rng.percent(if POOLS.contains(&name) { 2 } else { 92 }) {
            let place = usize::try_from(rng.below(features.len() as u64 + 1)).expect("small");
            features.insert(place, feature(rng, name));
        }
    }
    let mut plans = Vec::new();
    for name in PLANS {
        if plans.is_empty() || rng.percent(90) {
            plans.extend(versions(rng, name, &features));
        }
    }
    let mut addons = Vec::new();
    for name in ADDONS {
        if rng.percent(85) {
            addons.push(plan(rng, name, &features));
        }
    }
    let spec = CatalogSpec {
        migrations: Vec::new(),
        addons,
        default_plan: rng.percent(70).then(|| rng.pick(&plans).plan.clone()),
        features,
        plans,
        prompts: Vec::new(),
        prompting: Default::default(),
        signals: SignalSwitches {
            usage_ceiling: rng.percent(85),
            feature_limit_hit: rng.percent(85),
            grace_started: rng.percent(85),
            grace_ending: rng.percent(85),
            overage_started: rng.percent(85),
            api_tier_exceeded: rng.percent(85),
            seat_threshold_90pct: rng.percent(85),
            seats_nearly_full: rng.percent(85),
            // Nothing in a history looks at what was used.
            projected_exhaustion: Horizons::DEFAULT,
            premium_feature_attempted: rng.percent(85),
            team_invite_sent: rng.percent(85),
            overage_cap_near: rng.percent(85),
            overage_cap_near_bp: *rng.pick(&[8_000, 8_000, 1, 5_000, 10_000]),
            credits_low: rng.percent(85),
            credits_depleted: rng.percent(85),
            trial_ending: match rng.below(6) {
                0 => Horizons::NONE,
                1 => Horizons::new(&[1]).expect("good"),
                2 => Horizons::new(&[2, 1]).expect("good"),
                _ => Horizons::OF_TRIALS,
            },
            unlock_earned: rng.percent(85),
        },
    };
    let spec = pools::with_pools(rng, spec);
    with_locks(rng, with_values(keep_addons(spec)))
}

/// Lets use of tokens unlock this and that, where the plan counts them for ever.
fn with_locks(rng: &mut Rng, mut spec: CatalogSpec) -> CatalogSpec {
    let is_total =
        |shape: &LimitSpec| shape.limit == "total" && shape.window == WindowRule::Lifetime;
    let counts = |feature: &FeatureSpec| match &feature.kind {
        FeatureKindSpec::Quota { limits } => {
            // One that became a lifetime by chance would count in its place.
            let forever = limits.iter().find(|shape| shape.window == WindowRule::Lifetime);
            feature.feature == "tokens" && forever.is_some_and(is_total)
        }
        _ => false,
    };
    if !spec.features.iter().any(counts) {
        return spec;
    }
    for plan in &mut spec.plans {
        let tokens = plan.entitlements.iter_mut().find(|(feature, _)| feature == "tokens");
        let Some(limits) = tokens.and_then(|(_, given)| limits_of(given)) else { continue };
        let Some(total) = limits.iter().find(|limit| limit.limit == "total") else { continue };
        let most = match (total.policy, total.included_units) {
            (Policy::Block, Some(included)) => included,
            _ => UNITS_MAX,
        };
        for (feature, given) in &mut plan.entitlements {
            let can_wait = match given {
                EntitlementSpec::Switch { .. } => true,
                EntitlementSpec::Quota { limits } => {
                    limits.iter().all(|limit| per(&limit.limit).is_none())
                }
                _ => false,
            };
            let units = 1 + rng.below(12);
            if feature == "tokens" || !can_wait || units > most || rng.percent(70) {
                continue;
            }
            let after = UnlockSpec { feature: "tokens".to_owned(), units };
            *given = EntitlementSpec::Locked { after, given: Box::new(given.clone()) };
        }
    }
    spec
}

/// A catalog that differs a little from another.
pub fn changed(rng: &mut Rng, from: &CatalogSpec) -> CatalogSpec {
    let mut to = from.clone();
    for (_, given) in to.plans.iter_mut().flat_map(|plan| &mut plan.entitlements) {
        *given = given.given().clone();
    }
    match rng.below(14) {
        11 if rng.percent(60) && pools::has_two(&to) => to = pools::with_other_payer(rng, to),
        10 | 11 => to = pools::with_other_prices(rng, to),
        12 if rng.percent(50) => to = pools::without_pool(rng, to),
        13 => to = kinds::with_another(rng, to),
        8 => {
            // A new version, from which the others differ as from another plan.
            let old = rng.pick(&to.plans).clone();
            let all = to.plans.iter().filter(|plan| plan.plan == old.plan);
            let version = 1 + all.map(|plan| plan.version).max().unwrap_or(0);
            let mut new = PlanSpec { version, ..plan(rng, &old.plan, &from.features) };
            pools::complete(rng, &mut new, &from.features);
            to.plans.push(new);
        }
        9 => {
            // A version goes, if it is not the only one.
            let place = usize::try_from(rng.below(to.plans.len() as u64)).expect("small");
            let name = to.plans[place].plan.clone();
            if to.plans.iter().filter(|plan| plan.plan == name).count() > 1 {
                to.plans.remove(place);
            }
        }
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
            let window = |feature: &str, limit: &str| {
                let shape = from.features.iter().find(|known| known.feature == feature)?;
                let FeatureKindSpec::Quota { limits } = &shape.kind else { return None };
                limits.iter().find(|known| known.limit == limit).map(|known| known.window)
            };
            for plan in to.plans.iter_mut().chain(&mut to.addons) {
                for (feature, entitlement) in &mut plan.entitlements {
                    match entitlement {
                        EntitlementSpec::Quota { limits }
                        | EntitlementSpec::PaidQuota { limits, .. } => {
                            for limit in limits.iter_mut() {
                                if rng.percent(40) {
                                    let window =
                                        window(feature, &limit.limit).expect("a checked catalog");
                                    *limit = plan_limit(rng, &limit.limit, window);
                                }
                            }
                            fit_levels(limits);
                        }
                        EntitlementSpec::Concurrency { .. } if rng.percent(40) => {
                            let known = to.features.iter().find(|known| known.feature == *feature);
                            let kind = &known.expect("a checked catalog").kind;
                            let has_each =
                                matches!(kind, FeatureKindSpec::Concurrency { per: Some(_) });
                            *entitlement = slots(rng, has_each);
                        }
                        EntitlementSpec::Allocation { .. } if rng.percent(40) => {
                            *entitlement = level(rng);
                        }
                        EntitlementSpec::Seats { .. } if rng.percent(40) => {
                            *entitlement = seats(rng);
                        }
                        EntitlementSpec::Rate { .. } if rng.percent(40) => {
                            let known = to.features.iter().find(|known| known.feature == *feature);
                            let kind = &known.expect("a checked catalog").kind;
                            *entitlement =
                                rates(rng, matches!(kind, FeatureKindSpec::Rate { per: Some(_) }));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    let to = with_values(keep_addons(pools::priced_by_somebody(to)));
    with_locks(rng, to)
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
