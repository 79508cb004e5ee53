//! What an account may do with a feature, looked up in the catalog as it was written.

use headroom_core::catalog::{
    EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, Merge, PlanLimitSpec, PlanSpec,
    Policy, RateSpec,
};
use headroom_core::credits::PoolTerms;
use headroom_core::limits::UNITS_MAX;
use headroom_core::policy::LimitTerms;
use headroom_core::resolve::Origin;
use headroom_core::window::WindowRule;

use super::migrate::label;
use super::{Account, Limit, Model, Says, Terms, is_more};

/// What an account may do with a feature.
pub(crate) enum Entitled {
    Nothing,
    On,
    Value(String),
    Limits(Vec<Limit>),
    Rate(Option<RateSpec>),
    Pool(PoolTerms),
}

impl Model {
    pub(crate) fn feature(&self, feature: &str) -> Option<&FeatureSpec> {
        self.catalog.features.iter().find(|known| known.feature == feature)
    }

    /// The limits as the feature defines them; none for a switch or a config.
    pub(crate) fn shapes(&self, feature: &str) -> &[LimitSpec] {
        match self.feature(feature).map(|known| &known.kind) {
            Some(FeatureKindSpec::Quota { limits }) => limits,
            _ => &[],
        }
    }

    /// What a plan or an add-on says of a feature.
    pub(crate) fn said(plan: Option<&PlanSpec>, feature: &str) -> Option<EntitlementSpec> {
        let said = plan?.entitlements.iter().find(|(known, _)| known == feature);
        said.map(|(_, says)| says.clone())
    }

    /// The limits that a plan or an add-on gives of a quota. Of one that credits pay for and that has none of
    /// its own all are there, and unlimited.
    pub(crate) fn given_of(
        &self,
        feature: &str,
        says: &EntitlementSpec,
    ) -> Option<Vec<PlanLimitSpec>> {
        let mut limits = match says.given() {
            EntitlementSpec::Quota { limits } => return Some(limits.clone()),
            EntitlementSpec::PaidQuota { limits, .. } => limits.clone(),
            _ => return None,
        };
        let of_account = || self.shapes(feature).iter().filter(|shape| shape.per.is_none());
        let is_own = |limit: &PlanLimitSpec| of_account().any(|shape| shape.limit == limit.limit);
        if !limits.iter().any(is_own) {
            limits.extend(of_account().map(|shape| PlanLimitSpec {
                limit: shape.limit.clone(),
                included_units: None,
                soft_limits_bp: Vec::new(),
                policy: Policy::Unlimited,
                terms: LimitTerms::default(),
            }));
        }
        Some(limits)
    }

    /// The plan that counts at an instant, and whether it is on trial.
    pub(crate) fn plan_now(account: &Account, now: i64) -> (String, bool) {
        if let Some((plan, ends_at)) = &account.trial
            && now < *ends_at
        {
            return (plan.clone(), true);
        }
        let mut plan = account.plan.clone();
        for (at, then) in &account.scheduled {
            if *at <= now {
                plan.clone_from(then);
            }
        }
        (plan, false)
    }

    /// What an account may do with a feature, and where that comes from.
    pub(crate) fn entitled(
        &self,
        account: &Account,
        feature: &str,
        now: i64,
    ) -> (Entitled, Origin) {
        let nothing = (Entitled::Nothing, Origin::None);
        let Some(known) = self.feature(feature) else { return nothing };
        let (mut plan, mut on_trial) = Model::plan_now(account, now);
        if let Some((_, earlier)) = account.past.iter().find(|(until, _)| now < *until) {
            (plan, on_trial) = (earlier.clone(), false);
        }
        let plan = self.catalog.plans.iter().find(|known| label(known) == plan);
        let planned = Model::said(plan, feature);
        let mut from_plan = if account.by_default { Origin::DefaultPlan } else { Origin::Plan };
        if on_trial {
            from_plan = Origin::Trial;
        }
        let planned = match planned {
            Some(EntitlementSpec::Locked { after, given }) => {
                let is_open = self.has_earned(account, feature, &after, now);
                if is_open {
                    from_plan = Origin::Unlock;
                }
                is_open.then_some(*given)
            }
            planned => planned,
        };
        let overrides: Vec<&Says> = account
            .overrides
            .iter()
            .filter(|(of, _, (from, until))| {
                let begun = from.is_none_or(|from| from <= now);
                of == feature && begun && until.is_none_or(|until| now < until)
            })
            .map(|(_, says, _)| says)
            .collect();
        let mut addons = Vec::new();
        for (name, quantity) in &account.addons {
            let addon = self.catalog.addons.iter().find(|known| known.plan == *name);
            if let Some(says) = Model::said(addon, feature) {
                addons.push((says, *quantity));
            }
        }
        match known.kind {
            FeatureKindSpec::Switch => {
                for says in &overrides {
                    match says {
                        Says::Switch(true) => return (Entitled::On, Origin::Override),
                        Says::Switch(false) => return nothing,
                        _ => {}
                    }
                }
                let promised = Says::AtLeast(Box::new(Says::Switch(true)));
                match planned {
                    Some(EntitlementSpec::Switch { on: true }) => (Entitled::On, from_plan),
                    _ if addons.iter().any(|(s, _)| *s == EntitlementSpec::Switch { on: true }) => {
                        (Entitled::On, Origin::AddOn)
                    }
                    _ if overrides.contains(&&promised) => (Entitled::On, Origin::Override),
                    _ => nothing,
                }
            }
            FeatureKindSpec::Credits { .. } => {
                let merge = known.offering.merge;
                Model::pool_given(planned, addons, &overrides, merge, from_plan)
            }
            FeatureKindSpec::Config => {
                for says in &overrides {
                    if let Says::Config(value) = says {
                        return (Entitled::Value(value.clone()), Origin::Override);
                    }
                }
                if let Some((EntitlementSpec::Config { value_json }, _)) = addons.last() {
                    return (Entitled::Value(value_json.clone()), Origin::AddOn);
                }
                match planned {
                    Some(EntitlementSpec::Config { value_json }) => {
                        (Entitled::Value(value_json), from_plan)
                    }
                    _ => nothing,
                }
            }
            FeatureKindSpec::Allocation { .. } | FeatureKindSpec::Seats { .. } => {
                let kept = match known.kind {
                    FeatureKindSpec::Seats { .. } => "seats",
                    _ => "level",
                };
                let as_limit = |says: EntitlementSpec| match says {
                    EntitlementSpec::Allocation { limit } => Some(limit),
                    EntitlementSpec::Seats { included_units, soft_limits_bp } => {
                        Some(PlanLimitSpec {
                            limit: "seats".to_owned(),
                            included_units,
                            soft_limits_bp,
                            policy: Policy::Block,
                            terms: LimitTerms::default(),
                        })
                    }
                    _ => None,
                };
                let mut together: Vec<PlanLimitSpec> =
                    planned.and_then(as_limit).into_iter().collect();
                for (says, quantity) in addons {
                    from_plan = Origin::AddOn;
                    if let Some(more) = as_limit(says) {
                        Model::add(&mut together, more, quantity, known.offering.merge);
                    }
                }
                for says in &overrides {
                    let (Says::Limit(name, most), is_least) = says.plain() else { continue };
                    let known = together.first().map(|planned| planned.included_units);
                    if name != kept || is_least && known.is_some_and(|known| !is_more(*most, known))
                    {
                        continue;
                    }
                    from_plan = Origin::Override;
                    match together.first_mut() {
                        Some(planned) => planned.included_units = *most,
                        None => together.push(PlanLimitSpec {
                            limit: kept.to_owned(),
                            included_units: *most,
                            soft_limits_bp: Vec::new(),
                            policy: Policy::Block,
                            terms: LimitTerms::default(),
                        }),
                    }
                }
                let Some(planned) = together.pop() else { return nothing };
                let PlanLimitSpec { included_units, mut soft_limits_bp, policy, terms, .. } =
                    planned;
                soft_limits_bp.sort_unstable();
                if kept == "seats" {
                    let limit = seats(included_units, soft_limits_bp);
                    return (Entitled::Limits(vec![limit]), from_plan);
                }
                let limit = level(included_units, soft_limits_bp, policy, terms);
                (Entitled::Limits(vec![limit]), from_plan)
            }
            FeatureKindSpec::Concurrency { .. } => {
                // As a quota with one limit, so that add-ons add up in the same way.
                let as_limit = |says: EntitlementSpec| match says {
                    EntitlementSpec::Concurrency { max_units, soft_limits_bp, .. } => {
                        Some(PlanLimitSpec {
                            limit: "concurrent".to_owned(),
                            included_units: max_units,
                            soft_limits_bp,
                            policy: Policy::Block,
                            terms: LimitTerms::default(),
                        })
                    }
                    _ => None,
                };
                let mut together: Vec<PlanLimitSpec> =
                    planned.and_then(as_limit).into_iter().collect();
                if !addons.is_empty() {
                    from_plan = Origin::AddOn;
                }
                for (says, quantity) in addons {
                    if let Some(more) = as_limit(says) {
                        Model::add(&mut together, more, quantity, known.offering.merge);
                    }
                }
                let mut limit = together.pop().map(|l| (l.included_units, l.soft_limits_bp));
                for says in &overrides {
                    if let (Says::Limit(name, most), is_least) = says.plain()
                        && name == "concurrent"
                        && !(is_least
                            && limit.as_ref().is_some_and(|(known, _)| !is_more(*most, *known)))
                    {
                        limit = Some((*most, limit.map_or(Vec::new(), |(_, soft_bp)| soft_bp)));
                        from_plan = Origin::Override;
                    }
                }
                let Some((most, mut soft_bp)) = limit else { return nothing };
                soft_bp.sort_unstable();
                (Entitled::Limits(vec![slots(most, soft_bp)]), from_plan)
            }
            FeatureKindSpec::Rate { .. } => {
                for says in &overrides {
                    if let Says::Rate(rate) = says {
                        return (Entitled::Rate(*rate), Origin::Override);
                    }
                }
                let mut all = None;
                if let Some(EntitlementSpec::Rate { rate, .. }) = planned {
                    all = Some((rate, from_plan));
                }
                for (says, quantity) in addons {
                    let EntitlementSpec::Rate { rate, .. } = says else { continue };
                    let before = all.map(|(rate, _)| rate);
                    let more = bought_rate(rate, quantity);
                    if let Some(rate) = with_rate(before, more, known.offering.merge) {
                        all = Some((rate, Origin::AddOn));
                    }
                }
                for says in &overrides {
                    if let (Says::Rate(rate), true) = says.plain()
                        && all.is_none_or(|(known, _)| is_worse(known, *rate))
                    {
                        all = Some((*rate, Origin::Override));
                    }
                }
                all.map_or(nothing, |(rate, origin)| (Entitled::Rate(rate), origin))
            }
            FeatureKindSpec::Quota { .. } => {
                let mut planned: Vec<PlanLimitSpec> = match planned {
                    Some(says) => self.given_of(feature, &says).unwrap_or_default(),
                    None => vec![],
                };
                for limit in &mut planned {
                    let shape = self.shapes(feature).iter().find(|s| s.limit == limit.limit);
                    let rule = shape.expect("a checked catalog").window;
                    limit.included_units = self.shared(account, feature, limit, rule, now);
                }
                if !addons.is_empty() {
                    from_plan = Origin::AddOn;
                }
                for (says, quantity) in addons {
                    let Some(limits) = self.given_of(feature, &says) else { continue };
                    for more in limits {
                        Model::add(&mut planned, more, quantity, known.offering.merge);
                    }
                }
                let (limits, overridden) = self.limits(false, feature, &planned, &overrides);
                let origin = if overridden { Origin::Override } else { from_plan };
                if limits.is_empty() { nothing } else { (Entitled::Limits(limits), origin) }
            }
        }
    }

    /// One limit of an add-on, bought so many times.
    pub(crate) fn add(
        limits: &mut Vec<PlanLimitSpec>,
        mut more: PlanLimitSpec,
        quantity: u32,
        merge: Merge,
    ) {
        let most = u128::from(UNITS_MAX);
        let cut = |units: u128| u64::try_from(units.min(most)).expect("at most UNITS_MAX");
        more.included_units =
            more.included_units.map(|units| cut(u128::from(units) * u128::from(quantity)));
        match limits.iter_mut().find(|known| known.limit == more.limit) {
            None => limits.push(more),
            Some(known) => {
                known.included_units = match (known.included_units, more.included_units) {
                    (Some(a), Some(b)) if merge == Merge::Sum => {
                        Some(cut(u128::from(a) + u128::from(b)))
                    }
                    (Some(a), Some(b)) => Some(if a > b { a } else { b }),
                    _ => None,
                };
            }
        }
    }

    pub(crate) fn limits(
        &self,
        of_subjects: bool,
        feature: &str,
        planned: &[PlanLimitSpec],
        overrides: &[&Says],
    ) -> (Vec<Limit>, bool) {
        let shapes = self.shapes(feature);
        let mut limits = Vec::new();
        for planned in planned {
            let shape = shapes.iter().find(|shape| shape.limit == planned.limit);
            if shape.is_some_and(|shape| shape.per.is_some()) != of_subjects {
                continue;
            }
            let mut soft_bp = planned.soft_limits_bp.clone();
            soft_bp.sort_unstable();
            limits.push(Limit {
                limit: planned.limit.clone(),
                window: shape.expect("a checked catalog").window,
                terms: Terms {
                    included: planned.included_units,
                    policy: planned.policy,
                    soft_bp,
                    more: planned.terms.clone(),
                },
                gone: false,
                slots: false,
            });
        }
        let (mut overridden, is_given) = (false, !limits.is_empty());
        for says in overrides {
            let (Says::Limit(limit, included), is_least) = says.plain() else { continue };
            let Some(shape) = shapes.iter().find(|shape| shape.limit == *limit) else { continue };
            if shape.per.is_some() != of_subjects {
                continue;
            }
            let known = limits.iter().find(|known| known.limit == *limit);
            // A limit that there is not is more than any number.
            let is_less = match known {
                Some(known) => !is_more(*included, known.terms.included),
                None => of_subjects || is_given,
            };
            if is_least && is_less {
                continue;
            }
            overridden = true;
            match limits.iter_mut().find(|known| known.limit == *limit) {
                Some(known) => known.terms.included = *included,
                None => limits.push(Limit {
                    limit: limit.clone(),
                    window: shape.window,
                    terms: Terms {
                        included: *included,
                        policy: Policy::Block,
                        soft_bp: vec![],
                        more: Default::default(),
                    },
                    gone: false,
                    slots: false,
                }),
            }
        }
        // What it may cost is said of what all others have made of it.
        for says in overrides {
            let Says::SpendCap(of, most, currency) = says else { continue };
            for limit in limits.iter_mut().filter(|known| known.limit == *of) {
                let is_billed = limit.terms.policy == Policy::Overage;
                if let Some(price) = &mut limit.terms.more.overage
                    && is_billed
                    && *price.currency == **currency
                {
                    price.cap_minor = *most;
                    overridden = true;
                }
            }
        }
        (limits, overridden)
    }

    /// The limits of quotas that an account has now, and their features.
    pub(crate) fn given_limits(&self, id: &str, now: i64) -> Vec<(String, String)> {
        let Some(account) = self.accounts.get(id) else { return Vec::new() };
        let mut given = Vec::new();
        for feature in self.feature_names() {
            if self.shapes(&feature).is_empty() {
                continue;
            }
            if let (Entitled::Limits(limits), _) = self.entitled(account, &feature, now) {
                given.extend(limits.into_iter().map(|limit| (feature.clone(), limit.limit)));
            }
        }
        given
    }

    /// The limits that have a price anywhere in the catalog, and their features.
    pub(crate) fn billed_limits(&self) -> Vec<(String, String)> {
        let mut billed = Vec::new();
        for (feature, says) in self.catalog.plans.iter().flat_map(|plan| &plan.entitlements) {
            let Some(limits) = self.given_of(feature, says) else { continue };
            for limit in limits.iter().filter(|known| known.terms.overage.is_some()) {
                billed.push((feature.clone(), limit.limit.clone()));
            }
        }
        billed
    }

    /// Whether a limit has a price in a currency anywhere in the catalog.
    pub(crate) fn has_price(&self, feature: &str, limit: &str, currency: &str) -> bool {
        let offers = [&self.catalog.plans, &self.catalog.addons];
        offers.into_iter().flatten().flat_map(|offer| &offer.entitlements).any(|(of, says)| {
            let Some(limits) = self.given_of(of, says) else { return false };
            of == feature
                && limits.iter().filter(|known| known.limit == limit).any(|known| {
                    let price = known.terms.overage.as_ref();
                    price.is_some_and(|price| &*price.currency == currency)
                })
        })
    }
}

/// The limit of seats.
pub(crate) fn seats(included: Option<u64>, soft_bp: Vec<u32>) -> Limit {
    Limit { limit: "seats".to_owned(), slots: false, ..slots(included, soft_bp) }
}

/// The limit of an allocation.
pub(crate) fn level(
    included: Option<u64>,
    soft_bp: Vec<u32>,
    policy: Policy,
    more: LimitTerms,
) -> Limit {
    Limit {
        limit: "level".to_owned(),
        window: WindowRule::Lifetime,
        terms: Terms { included, policy, soft_bp, more },
        gone: false,
        slots: false,
    }
}

impl Limit {
    /// Whether it is of seats.
    pub(crate) fn is_seats(&self) -> bool {
        self.limit == "seats"
    }

    /// Whether it is in force, and of an allocation.
    pub(crate) fn is_level(&self) -> bool {
        self.limit == "level" && !self.gone
    }
}

/// The limit of a concurrency.
/// What the limit of slots is called that subjects have for themselves.
pub(crate) const EACH_SLOTS: &str = "concurrent_each";

pub(crate) fn slots(most: Option<u64>, soft_bp: Vec<u32>) -> Limit {
    let policy = if most.is_none() { Policy::Unlimited } else { Policy::Block };
    Limit {
        limit: "concurrent".to_owned(),
        window: WindowRule::Lifetime,
        terms: Terms { included: most, policy, soft_bp, more: LimitTerms::default() },
        gone: false,
        slots: true,
    }
}

/// Whether a rate is slower than another, or as fast with less at once. `None` is unlimited.
fn is_worse(rate: Option<RateSpec>, other: Option<RateSpec>) -> bool {
    let per = |one: RateSpec, other: RateSpec| {
        u128::from(one.units) * u128::from(other.period_ms.unsigned_abs())
    };
    match (rate, other) {
        (Some(a), Some(b)) => (per(a, b), a.burst_units) < (per(b, a), b.burst_units),
        (a, b) => a.is_some() && b.is_none(),
    }
}

/// So many of a rate; as it is, where that is more than can be counted.
pub(crate) fn bought_rate(rate: Option<RateSpec>, quantity: u32) -> Option<RateSpec> {
    let rate = rate?;
    let of = |units: u64| {
        let all = u128::from(units) * u128::from(quantity);
        u64::try_from(all).ok().filter(|all| *all <= UNITS_MAX)
    };
    match (of(rate.units), of(rate.burst_units)) {
        (Some(units), Some(burst_units)) => Some(RateSpec { units, burst_units, ..rate }),
        _ => Some(rate),
    }
}

/// What a rate becomes by another one. `None`: it stays.
pub(crate) fn with_rate(
    before: Option<Option<RateSpec>>,
    more: Option<RateSpec>,
    merge: Merge,
) -> Option<Option<RateSpec>> {
    let Some(before) = before else { return Some(more) };
    if let (Some(a), Some(b), Merge::Sum) = (before, more, merge)
        && let Some(sum) = rates_together(a, b)
    {
        return Some(Some(sum));
    }
    is_worse(before, more).then_some(more)
}

/// Two rates together, in the first multiple of the longer period that is one of the shorter, too.
fn rates_together(a: RateSpec, b: RateSpec) -> Option<RateSpec> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let (long, short) = if a.period_ms < b.period_ms { (b, a) } else { (a, b) };
    let mut period_ms = long.period_ms;
    while period_ms % short.period_ms != 0 {
        period_ms += long.period_ms;
        if period_ms > DAY_MS {
            return None;
        }
    }
    let in_it = |rate: RateSpec| {
        u128::from(rate.units) * u128::from((period_ms / rate.period_ms).unsigned_abs())
    };
    let counted = |units: u128| u64::try_from(units).ok().filter(|units| *units <= UNITS_MAX);
    Some(RateSpec {
        units: counted(in_it(a) + in_it(b))?,
        period_ms,
        burst_units: counted(u128::from(a.burst_units) + u128::from(b.burst_units))?,
    })
}
