//! What an account may do with a feature, looked up in the catalog as it was written.

use headroom_core::catalog::{
    EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, PlanLimitSpec, Policy, RateSpec,
};
use headroom_core::resolve::Origin;
use headroom_core::window::WindowRule;

use super::{Account, Limit, Model, Says, Terms};

/// What an account may do with a feature.
pub(crate) enum Entitled {
    Nothing,
    On,
    Value(String),
    Limits(Vec<Limit>),
    Rate(Option<RateSpec>),
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

    fn planned(&self, account: &Account, feature: &str) -> Option<&EntitlementSpec> {
        let plan = self.catalog.plans.iter().find(|plan| plan.plan == account.plan)?;
        plan.entitlements.iter().find(|(known, _)| known == feature).map(|(_, says)| says)
    }

    /// What an account may do with a feature, and where that comes from.
    pub(crate) fn entitled(&self, account: &Account, feature: &str) -> (Entitled, Origin) {
        let nothing = (Entitled::Nothing, Origin::None);
        let Some(known) = self.feature(feature) else { return nothing };
        let planned = self.planned(account, feature);
        let from_plan = if account.by_default { Origin::DefaultPlan } else { Origin::Plan };
        let overrides: Vec<&Says> = account
            .overrides
            .iter()
            .filter(|(of, _)| of == feature)
            .map(|(_, says)| says)
            .collect();
        match known.kind {
            FeatureKindSpec::Switch => {
                for says in &overrides {
                    match says {
                        Says::Switch(true) => return (Entitled::On, Origin::Override),
                        Says::Switch(false) => return nothing,
                        _ => {}
                    }
                }
                match planned {
                    Some(EntitlementSpec::Switch { on: true }) => (Entitled::On, from_plan),
                    _ => nothing,
                }
            }
            FeatureKindSpec::Config => {
                for says in &overrides {
                    if let Says::Config(value) = says {
                        return (Entitled::Value(value.clone()), Origin::Override);
                    }
                }
                match planned {
                    Some(EntitlementSpec::Config { value_json }) => {
                        (Entitled::Value(value_json.clone()), from_plan)
                    }
                    _ => nothing,
                }
            }
            FeatureKindSpec::Concurrency => {
                let mut most = None;
                let mut soft = Vec::new();
                let mut origin = from_plan;
                if let Some(EntitlementSpec::Concurrency { max_units, soft_limits_bp }) = planned {
                    most = Some(*max_units);
                    soft.clone_from(soft_limits_bp);
                    soft.sort_unstable();
                }
                for says in &overrides {
                    if let Says::Limit(limit, max_units) = says
                        && limit == "concurrent"
                    {
                        most = Some(*max_units);
                        origin = Origin::Override;
                    }
                }
                let Some(most) = most else { return nothing };
                (Entitled::Limits(vec![slots(most, soft)]), origin)
            }
            FeatureKindSpec::Rate => {
                for says in &overrides {
                    if let Says::Rate(rate) = says {
                        return (Entitled::Rate(*rate), Origin::Override);
                    }
                }
                match planned {
                    Some(EntitlementSpec::Rate { rate }) => (Entitled::Rate(*rate), from_plan),
                    _ => nothing,
                }
            }
            FeatureKindSpec::Quota { .. } => {
                let planned: &[PlanLimitSpec] = match planned {
                    Some(EntitlementSpec::Quota { limits }) => limits,
                    _ => &[],
                };
                let (limits, overridden) = self.limits(feature, planned, &overrides);
                let origin = if overridden { Origin::Override } else { from_plan };
                if limits.is_empty() { nothing } else { (Entitled::Limits(limits), origin) }
            }
        }
    }

    fn limits(
        &self,
        feature: &str,
        planned: &[PlanLimitSpec],
        overrides: &[&Says],
    ) -> (Vec<Limit>, bool) {
        let shapes = self.shapes(feature);
        let mut limits = Vec::new();
        for planned in planned {
            let shape = shapes.iter().find(|shape| shape.limit == planned.limit);
            let mut soft_bp = planned.soft_limits_bp.clone();
            soft_bp.sort_unstable();
            limits.push(Limit {
                limit: planned.limit.clone(),
                window: shape.expect("a checked catalog").window,
                terms: Terms { included: planned.included_units, policy: planned.policy, soft_bp },
                gone: false,
                slots: false,
            });
        }
        let mut overridden = false;
        for says in overrides {
            let Says::Limit(limit, included) = says else { continue };
            let Some(shape) = shapes.iter().find(|shape| shape.limit == *limit) else { continue };
            overridden = true;
            match limits.iter_mut().find(|known| known.limit == *limit) {
                Some(known) => known.terms.included = *included,
                None => limits.push(Limit {
                    limit: limit.clone(),
                    window: shape.window,
                    terms: Terms { included: *included, policy: Policy::Block, soft_bp: vec![] },
                    gone: false,
                    slots: false,
                }),
            }
        }
        (limits, overridden)
    }
}

/// The limit of a concurrency.
pub(crate) fn slots(most: Option<u64>, soft_bp: Vec<u32>) -> Limit {
    let policy = if most.is_none() { Policy::Unlimited } else { Policy::Block };
    Limit {
        limit: "concurrent".to_owned(),
        window: WindowRule::Lifetime,
        terms: Terms { included: most, policy, soft_bp },
        gone: false,
        slots: true,
    }
}
