//! Catalogs at random: few names, small numbers, every policy and every window.

use headroom_core::catalog::{
    Aggregation, CatalogSpec, CountingSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec,
    LimitSpec, Merge, Offering, PlanLimitSpec, PlanSpec, Policy, ROLLOUT_ALL_BP, RateSpec,
    UnlockSpec,
};
use headroom_core::change::OnChange;
use headroom_core::cohort::Cohorts;
use headroom_core::limits::UNITS_MAX;
use headroom_core::policy::{GraceTerms, GraceTimes, LimitTerms, OverageTerms};
use headroom_core::rate::Rate;
use headroom_core::signal::{Horizons, SignalSwitches};
use headroom_core::stock::BilledBy;
use headroom_core::tally::{BucketSize, TallySpec};
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};

use crate::model::migrate::{label, lines};
use crate::rng::Rng;

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
pub const FEATURES: [&str; 15] = [
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
];

/// The limits of those features.
pub const LIMITS: [&str; 14] = [
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
            let EntitlementSpec::Quota { limits } = entitlement else { continue };
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
    let can_be_watched = !VALUES.contains(&name) && !matches!(kind, FeatureKindSpec::Seats { .. });
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

fn plan_limit(rng: &mut Rng, limit: &str, window: WindowRule) -> PlanLimitSpec {
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
    let (policy, terms) = terms(rng, included_units, policy, window);
    PlanLimitSpec { limit: limit.to_owned(), included_units, soft_limits_bp, policy, terms }
}

/// The rare parts of a policy, which here are not rare.
fn terms(
    rng: &mut Rng,
    included: Option<u64>,
    mut policy: Policy,
    window: WindowRule,
) -> (Policy, LimitTerms) {
    let mut terms = LimitTerms::default();
    if matches!(window, WindowRule::Sliding(_)) {
        return (policy, terms);
    }
    terms.on_change = match rng.below(10) {
        0..=2 if !matches!(window, WindowRule::Lifetime) => OnChange::Prorate,
        3 | 4 => OnChange::Reset,
        _ => OnChange::Keep,
    };
    match policy {
        Policy::Block if included.is_some() && rng.percent(10) => {
            // Also nothing included may have a grace, if it is by time.
            policy = Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE };
            terms.grace = Some(grace(rng, true));
        }
        Policy::Grace { .. } if rng.percent(50) => terms.grace = Some(grace(rng, false)),
        Policy::Overage if rng.percent(60) => {
            let unit_price_nanos = *rng.pick(&[1, 333_333_333, 1_000_000_000, 2_500_000_000]);
            let cap_minor = rng.percent(70).then(|| 3 + rng.below(12));
            let currency = "USD".into();
            terms.overage = Some(OverageTerms { unit_price_nanos, currency, cap_minor });
        }
        _ => {}
    }
    let is_capped = terms.overage.as_ref().is_some_and(|overage| overage.cap_minor.is_some());
    let has_debt = match policy {
        Policy::Block | Policy::Grace { .. } => included.is_some(),
        Policy::Overage => is_capped,
        Policy::Unlimited => false,
    };
    let follows = !matches!(window, WindowRule::Lifetime | WindowRule::FirstUse(_));
    terms.carries_debt = has_debt && follows && rng.percent(50);
    (policy, terms)
}

fn grace(rng: &mut Rng, by_time: bool) -> GraceTerms {
    const HOUR_MS: i64 = 3_600_000;
    let lasts_ms = *rng.pick(&[60_000, 2 * HOUR_MS, 30 * HOUR_MS, 120 * HOUR_MS]);
    let notice_ms = *rng.pick(&[1, lasts_ms / 2, lasts_ms - 1]);
    let times = rng
        .percent(50)
        .then(|| GraceTimes { times: *rng.pick(&[1, 1, 2, 12]), months: *rng.pick(&[1, 3, 12]) });
    let lasts_ms = (by_time || rng.percent(80)).then_some(lasts_ms);
    GraceTerms { lasts_ms, notice_ms, times }
}

/// The most at a time: little, so that it is often reached.
fn slots(rng: &mut Rng, has_each: bool) -> EntitlementSpec {
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
    // What nobody ever reaches is refused.
    let each = (has_each && rng.percent(70)).then(|| rng.below(5));
    let each = each.filter(|each| max_units.is_none_or(|most| *each <= most));
    EntitlementSpec::Concurrency { max_units, soft_limits_bp, each }
}

/// How many seats: few, so that they are often full.
fn seats(rng: &mut Rng) -> EntitlementSpec {
    let EntitlementSpec::Concurrency { max_units, soft_limits_bp, .. } = slots(rng, false) else {
        unreachable!("slots are of a concurrency");
    };
    let included_units = max_units.map(|units| units.min(9));
    EntitlementSpec::Seats { included_units, soft_limits_bp }
}

/// How much there may be. What has no window has no grace by time, no cap and no next window.
fn level(rng: &mut Rng) -> EntitlementSpec {
    let mut limit = plan_limit(rng, "level", WindowRule::Lifetime);
    limit.terms.grace = None;
    if let Some(overage) = &mut limit.terms.overage {
        overage.cap_minor = None;
    }
    if limit.policy == (Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE }) {
        limit.policy = Policy::Block;
    }
    limit.terms.on_change = OnChange::Keep;
    EntitlementSpec::Allocation { limit }
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

fn rates(rng: &mut Rng, has_each: bool) -> EntitlementSpec {
    let own = rate(rng);
    let each = if has_each { rate(rng) } else { None };
    // What nobody ever reaches is refused.
    let is_reached = |each: &RateSpec| {
        let (Some(own), Some(each)) = (own.and_then(Rate::new), Rate::new(*each)) else {
            return true;
        };
        !each.is_better(own) || each.burst_units() < own.burst_units()
    };
    EntitlementSpec::Rate { rate: own, each: each.filter(is_reached) }
}

fn entitlement(rng: &mut Rng, kind: &FeatureKindSpec) -> EntitlementSpec {
    match kind {
        FeatureKindSpec::Switch => EntitlementSpec::Switch { on: rng.percent(70) },
        FeatureKindSpec::Config => EntitlementSpec::Config { value_json: rng.below(4).to_string() },
        FeatureKindSpec::Concurrency { per } => slots(rng, per.is_some()),
        FeatureKindSpec::Rate { per } => rates(rng, per.is_some()),
        FeatureKindSpec::Allocation { .. } => level(rng),
        FeatureKindSpec::Credits { .. } => unreachable!("pools have histories of their own"),
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

/// Add-ons count in full from their moment, and what a subject has used stays used.
fn keep_addons(mut spec: CatalogSpec) -> CatalogSpec {
    for (_, given) in spec.addons.iter_mut().flat_map(|addon| &mut addon.entitlements) {
        let EntitlementSpec::Quota { limits } = given else { continue };
        limits.iter_mut().for_each(|limit| limit.terms.on_change = OnChange::Keep);
    }
    for (_, given) in spec.plans.iter_mut().flat_map(|plan| &mut plan.entitlements) {
        let EntitlementSpec::Quota { limits } = given else { continue };
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
        limit.terms.carries_debt = false;
        limit.terms.grace = limit.terms.grace.filter(|grace| grace.lasts_ms.is_some());
        if let Some(grace) = &mut limit.terms.grace {
            grace.times = None;
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
    PlanSpec { plan: name.to_owned(), version: 1, name: name.to_owned(), price: None, entitlements }
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
            plans.extend(versions(rng, name, &features));
        }
    }
    let mut addons = Vec::new();
    for name in ADDONS {
        if rng.percent(85) {
            addons.push(plan(rng, name, &features));
        }
    }
    let spec = with_values(keep_addons(CatalogSpec {
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
    }));
    with_locks(rng, spec)
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
        let tokens = plan.entitlements.iter().find(|(feature, _)| feature == "tokens");
        let Some((_, EntitlementSpec::Quota { limits })) = tokens else { continue };
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
    match rng.below(10) {
        8 => {
            // A new version, from which the others differ as from another plan.
            let old = rng.pick(&to.plans).clone();
            let all = to.plans.iter().filter(|plan| plan.plan == old.plan);
            let version = 1 + all.map(|plan| plan.version).max().unwrap_or(0);
            to.plans.push(PlanSpec { version, ..plan(rng, &old.plan, &from.features) });
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
                        EntitlementSpec::Quota { limits } => {
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
    let to = with_values(keep_addons(to));
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
