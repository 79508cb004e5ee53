//! From text to numbers: a spec that was checked becomes a catalog.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{
    Aggregation, CONCURRENT_LIMIT, CREDITS_LIMIT, Catalog, CatalogSpec, Counting, CountingSpec,
    EACH_CONCURRENT_LIMIT, EACH_RATE_LIMIT, Entitlement, EntitlementSpec, Feature, FeatureIx,
    FeatureKind, FeatureKindSpec, FeatureSpec, LEVEL_LIMIT, LevelLimit, LimitSpec, Plan, PlanIx,
    PlanLimit, PlanLimitSpec, PlanSpec, Policy, Prompt, RATE_LIMIT, SEATS_LIMIT, UnlockSpec,
};
use crate::change;
use crate::credits::CreditPrice;
use crate::migrate::{Migration, rename};
use crate::names::{NameId, Names};
use crate::owing;
use crate::prompt::{CONTROL, HOLDOUT, Scenario};
use crate::rate::Rate;
use crate::stock::StockRule;
use crate::tally::TallyRule;
use crate::unlock::{Locked, Unlock};
use crate::versions;
use crate::window::WindowRule;

/// Every name is known here: the check came first.
pub(super) fn number(spec: CatalogSpec, revision: u64, names: &mut Names) -> Catalog {
    let prices = credit_prices(&spec.features);
    let mut features: Vec<Feature> =
        spec.features.into_iter().map(|f| number_feature(f, names)).collect();
    for (paid, pool, price) in prices {
        features[paid.0].credit_prices.push((pool, price));
    }
    let is_pool = |f: &Feature| matches!(f.kind, FeatureKind::Credits { .. });
    let has_roll_outs = features.iter().any(|feature| feature.offering.is_partial());
    let pools = (0..features.len()).filter(|ix| is_pool(&features[*ix])).map(FeatureIx).collect();
    let feature_ix = |name: &str| features.iter().position(|f| &*f.feature == name);
    let number_plan = |plan: PlanSpec, names: &mut Names| {
        let mut entitlements = vec![None; features.len()];
        let (mut payers, mut levels, mut locks) = (Vec::new(), Vec::new(), Vec::new());
        for (name, entitlement) in plan.entitlements {
            let (after, mut entitlement) = match entitlement {
                EntitlementSpec::Locked { after, given } => (Some(after), *given),
                given => (None, given),
            };
            let ix = feature_ix(&name).expect("the check found every feature");
            if let EntitlementSpec::PaidQuota { paid_by, .. } = &entitlement {
                let pool = feature_ix(paid_by).expect("the check found every pool");
                payers.push((FeatureIx(ix), FeatureIx(pool)));
            }
            let given = number_levels(&mut entitlement, &features[ix], names);
            if !given.is_empty() {
                levels.push((FeatureIx(ix), given));
            }
            entitlements[ix] = Some(number_entitlement(entitlement, &features[ix], names));
            locks.extend(after.map(|after| (FeatureIx(ix), after)));
        }
        let locked = lock_entitlements(locks, &features, &mut entitlements);
        Plan {
            id: names.intern(&versions::join(&plan.plan, plan.version)),
            plan: plan.plan.into(),
            version: plan.version,
            name: plan.name.into(),
            price: plan.price,
            entitlements,
            payers,
            levels,
            locked,
        }
    };
    let plans: Vec<Plan> = spec.plans.into_iter().map(|plan| number_plan(plan, names)).collect();
    let plans = versions::put_sold_first(plans);
    let addons: Vec<Plan> =
        spec.addons.into_iter().map(|addon| number_plan(addon, names)).collect();
    let plan_ix = |name: &str| versions::find(&plans, name).map(PlanIx);
    let prompts: Vec<Prompt> = spec
        .prompts
        .into_iter()
        .map(|prompt| Prompt {
            id: names.intern(&prompt.prompt),
            variants: prompt.variants.iter().map(|v| names.intern(&v.variant)).collect(),
            feature: prompt.feature.as_deref().and_then(feature_ix).map(FeatureIx),
            plans: versions::all_of(&plans, &prompt.plans),
            offer: prompt.offer.as_deref().and_then(plan_ix),
            spec: prompt,
        })
        .collect();
    if !prompts.is_empty() {
        let groups = [CONTROL, HOLDOUT, &spec.prompting.language].into_iter();
        let languages = spec.prompting.languages.iter().map(String::as_str);
        for name in groups.chain(languages) {
            names.intern(name);
        }
    }
    let mut feature_by_name = HashMap::with_hasher(FixedState::default());
    let mut feature_by_id = vec![None; names.len()];
    for (ix, feature) in features.iter().enumerate() {
        feature_by_name.insert(Box::from(&*feature.feature), FeatureIx(ix));
        feature_by_id[feature.id.0 as usize] = Some(FeatureIx(ix));
    }
    // Who has not heard of a new name yet asks by the old one.
    for (_, from, _) in rename::lines(&spec.migrations) {
        let leads_to = rename::leads_to(&spec.migrations, from, |name| feature_ix(name).is_some());
        if let Some(ix) = leads_to.and_then(feature_ix) {
            feature_by_name.insert(Box::from(from), FeatureIx(ix));
        }
    }
    let mut plan_by_id = vec![None; names.len()];
    for (ix, plan) in plans.iter().enumerate() {
        plan_by_id[plan.id.0 as usize] = Some(PlanIx(ix));
    }
    for migration in &spec.migrations {
        // Accounts are moved one by one; until its turn an account is on its new plan by this.
        if let Migration::MovePlan { from, to } = migration
            && let Some(from) = names.get(&versions::canonical(from))
        {
            plan_by_id[from.0 as usize] = plan_ix(to);
        }
    }
    let mut addon_by_id = vec![None; names.len()];
    for (ix, addon) in addons.iter().enumerate() {
        addon_by_id[addon.id.0 as usize] = Some(ix);
    }
    let default_plan = spec.default_plan.as_deref().and_then(plan_ix);
    let minds_changes = plans.iter().any(change::is_minded);
    let carrying = carrying(&features, plans.iter().chain(&addons));
    Catalog {
        revision,
        signals: spec.signals,
        features,
        plans,
        addons,
        default_plan,
        prompts_of_trials: prompts.iter().any(|p| p.spec.scenario == Scenario::TrialEnding),
        prompts,
        prompting: spec.prompting,
        feature_by_name,
        names: names.clone(),
        migrations: spec.migrations,
        plan_by_id,
        addon_by_id,
        feature_by_id,
        minds_changes,
        carrying,
        concurrent_limit: names.get(CONCURRENT_LIMIT),
        each_concurrent_limit: names.get(EACH_CONCURRENT_LIMIT),
        level_limit: names.get(LEVEL_LIMIT),
        pools,
        has_roll_outs,
        seats_limit: names.get(SEATS_LIMIT),
    }
}

/// The features and limits of which some plan or add-on carries debt, ascending.
fn carrying<'a>(
    features: &[Feature],
    plans: impl Iterator<Item = &'a Plan>,
) -> Vec<(NameId, NameId)> {
    let mut all = Vec::new();
    for plan in plans {
        for (ix, feature) in features.iter().enumerate() {
            let Some(Entitlement::Quota { limits }) = plan.entitlement(FeatureIx(ix)) else {
                continue;
            };
            let carrying = limits.iter().filter(|limit| owing::carries(limit));
            all.extend(carrying.map(|limit| (feature.id, limit.limit)));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Locks what has to be earned, and has the limits that count for it stir. Returns the locked features.
fn lock_entitlements(
    locks: Vec<(FeatureIx, UnlockSpec)>,
    features: &[Feature],
    entitlements: &mut [Option<Entitlement>],
) -> Vec<FeatureIx> {
    let lock = |(feature, spec): (FeatureIx, UnlockSpec)| {
        let of = features.iter().position(|known| *known.feature == *spec.feature);
        let of = of.expect("the check found every feature");
        let FeatureKind::Quota { limits } = &features[of].kind else {
            unreachable!("the check saw a quota");
        };
        let forever = limits.iter().find(|(_, window)| *window == WindowRule::Lifetime);
        let (limit, _) = *forever.expect("the check found one");
        let Some(Entitlement::Quota { limits: counts }) = &mut entitlements[of] else {
            unreachable!("the check saw that the plan counts");
        };
        for known in counts.iter_mut().filter(|known| known.limit == limit) {
            *known = known.clone().unlocking_at(spec.units);
        }
        let after = Unlock { feature: features[of].id, limit, units: spec.units };
        let given = entitlements[feature.0].take().expect("it was just numbered");
        let locked = Locked { feature: features[feature.0].id, after, given };
        entitlements[feature.0] = Some(Entitlement::Locked(Box::new(locked)));
        feature
    };
    locks.into_iter().map(lock).collect()
}

/// What features cost in pools: the feature, the pool, the price.
fn credit_prices(features: &[FeatureSpec]) -> Vec<(FeatureIx, FeatureIx, CreditPrice)> {
    let mut prices = Vec::new();
    for (pool, spec) in features.iter().enumerate() {
        let FeatureKindSpec::Credits { rate_card, .. } = &spec.kind else { continue };
        for (name, price) in rate_card {
            let paid = features.iter().position(|feature| feature.feature == *name);
            let paid = paid.expect("the check found every feature");
            prices.push((FeatureIx(paid), FeatureIx(pool), *price));
        }
    }
    prices
}

fn number_feature(spec: FeatureSpec, names: &mut Names) -> Feature {
    let mut levels = Vec::new();
    let kind = match spec.kind {
        FeatureKindSpec::Switch => FeatureKind::Switch,
        FeatureKindSpec::Config => FeatureKind::Config,
        FeatureKindSpec::Quota { limits: all } => {
            let mut limits = Vec::new();
            for LimitSpec { limit, window, per } in all {
                let limit = names.intern(&limit);
                match per {
                    None => limits.push((limit, window)),
                    Some(per) => {
                        let per = names.intern(&per);
                        levels.push(LevelLimit { limit, window, per });
                    }
                }
            }
            FeatureKind::Quota { limits }
        }
        FeatureKindSpec::Concurrency { per } => {
            levels.extend(per.map(|per| LevelLimit {
                limit: names.intern(EACH_CONCURRENT_LIMIT),
                window: WindowRule::Lifetime,
                per: names.intern(&per),
            }));
            FeatureKind::Concurrency { limit: names.intern(CONCURRENT_LIMIT) }
        }
        FeatureKindSpec::Rate { per } => FeatureKind::Rate {
            limit: names.intern(RATE_LIMIT),
            each: per.map(|per| (names.intern(&per), names.intern(EACH_RATE_LIMIT))),
        },
        FeatureKindSpec::Allocation { billed_by, window } => {
            let WindowRule::Billing { months } = window else {
                unreachable!("the check saw a billing window");
            };
            let rule = StockRule { billed_by, months };
            FeatureKind::Allocation { limit: names.intern(LEVEL_LIMIT), rule }
        }
        FeatureKindSpec::Credits { window, .. } => {
            FeatureKind::Credits { limit: names.intern(CREDITS_LIMIT), window }
        }
        FeatureKindSpec::Seats { invited_ms } => {
            FeatureKind::Seats { limit: names.intern(SEATS_LIMIT), invited_ms }
        }
    };
    let id = names.intern_feature(&spec.feature);
    Feature {
        id,
        feature: spec.feature.into(),
        name: spec.name.into(),
        unit: spec.unit.into(),
        scale: spec.scale,
        kind,
        offering: spec.offering,
        shadow: spec.shadow,
        credit_prices: Vec::new(),
        levels,
        counting: number_counting(spec.counting, names),
    }
}

fn number_counting(spec: CountingSpec, names: &mut Names) -> Option<Box<Counting>> {
    let tally = spec.tally.map(|tally| TallyRule {
        buckets: tally.buckets,
        dimensions: tally.dimensions.iter().map(|name| names.intern(name)).collect(),
    });
    let aggregation = spec.aggregation;
    let is_plain = tally.is_none() && aggregation == Aggregation::Sum;
    let unique_by = spec.unique_by.map(|name| names.intern(&name));
    (!is_plain).then(|| Box::new(Counting { aggregation, unique_by, tally }))
}

fn number_entitlement(spec: EntitlementSpec, feature: &Feature, names: &mut Names) -> Entitlement {
    match spec {
        EntitlementSpec::Locked { given, .. } => number_entitlement(*given, feature, names),
        EntitlementSpec::Switch { on } => Entitlement::Switch { on },
        EntitlementSpec::Config { value_json } => {
            Entitlement::Config { value_json: value_json.into() }
        }
        EntitlementSpec::PaidQuota { limits, .. } if limits.is_empty() => {
            let FeatureKind::Quota { limits: shapes } = &feature.kind else {
                unreachable!("the check compared the kinds");
            };
            let counts = |(limit, window): &(NameId, WindowRule)| {
                PlanLimit::new(*limit, *window, None, Vec::new(), Policy::Unlimited)
            };
            Entitlement::Quota { limits: shapes.iter().map(counts).collect() }
        }
        EntitlementSpec::Credits { mut terms } => {
            terms.soft_limits_bp.sort_unstable();
            Entitlement::Credits { terms }
        }
        EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. } => {
            let FeatureKind::Quota { limits: shapes } = &feature.kind else {
                unreachable!("the check compared the kinds");
            };
            let limits = limits
                .into_iter()
                .map(|limit| {
                    let id = names.intern(&limit.limit);
                    let (_, window) =
                        shapes.iter().find(|(shape, _)| *shape == id).expect("checked");
                    number_limit(limit, id, *window)
                })
                .collect();
            Entitlement::Quota { limits }
        }
        EntitlementSpec::Concurrency { max_units, soft_limits_bp, .. } => {
            let limit = names.intern(CONCURRENT_LIMIT);
            Entitlement::Concurrency {
                limit: PlanLimit::of_slots(limit, max_units, soft_limits_bp),
            }
        }
        EntitlementSpec::Rate { rate, each } => {
            let checked = |rate| Rate::new(rate).expect("checked");
            Entitlement::Rate { rate: rate.map(checked), each: each.map(checked) }
        }
        EntitlementSpec::Allocation { limit } => {
            let id = names.intern(LEVEL_LIMIT);
            let PlanLimitSpec { included_units, soft_limits_bp, policy, terms, .. } = limit;
            let limit = PlanLimit::of_level(id, included_units, soft_limits_bp, policy);
            Entitlement::Allocation { limit: limit.with_terms(terms) }
        }
        EntitlementSpec::Seats { included_units, soft_limits_bp } => {
            let id = names.intern(SEATS_LIMIT);
            Entitlement::Seats { limit: PlanLimit::of_seats(id, included_units, soft_limits_bp) }
        }
    }
}

fn number_limit(spec: PlanLimitSpec, id: NameId, window: WindowRule) -> PlanLimit {
    PlanLimit::new(id, window, spec.included_units, spec.soft_limits_bp, spec.policy)
        .with_terms(spec.terms)
}

/// Takes out of an entitlement what it gives to subjects.
fn number_levels(
    spec: &mut EntitlementSpec,
    feature: &Feature,
    names: &mut Names,
) -> Vec<PlanLimit> {
    if let EntitlementSpec::Concurrency { each: Some(each), .. } = spec {
        let limit = names.intern(EACH_CONCURRENT_LIMIT);
        return vec![PlanLimit::of_slots(limit, Some(*each), Vec::new())];
    }
    let (EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. }) = spec
    else {
        return Vec::new();
    };
    if feature.levels.is_empty() {
        return Vec::new();
    }
    let mut given = Vec::new();
    for limit in std::mem::take(limits) {
        let id = names.intern(&limit.limit);
        match feature.levels.iter().find(|level| level.limit == id) {
            Some(level) => given.push(number_limit(limit, id, level.window)),
            None => limits.push(limit),
        }
    }
    given
}
