//! Overrides of a spend cap: what overage of one limit may cost one account.
//!
//! Where an override is in force, it replaces the cap of the limit as plan, add-ons and other overrides have
//! made it, up or down. The price stays: a cap without a price, or in another currency than the price, has
//! nothing to bound and sleeps.

use std::collections::BTreeSet;

use crate::account::{Override, OverrideValue};
use crate::catalog::{Catalog, Entitlement, FeatureIx, PlanLimit, Policy};
use crate::names::NameId;
use crate::policy::LimitTerms;
use crate::resolve::{Listener, Voice};

/// Puts the caps of overrides into limits. True if there was any to put.
pub(crate) fn apply<'a>(
    limits: &mut [PlanLimit],
    overrides: impl Iterator<Item = &'a Override>,
    heard: Listener<'_>,
) -> bool {
    let mut applied = false;
    for one in overrides {
        let OverrideValue::SpendCap { limit, cap_minor, currency } = &one.value else { continue };
        let capped = limits.iter_mut().find(|known| known.limit == *limit);
        let Some(capped) = capped.filter(|known| known.policy == Policy::Overage) else { continue };
        let mut terms = capped.terms.as_deref().cloned().unwrap_or_default();
        let Some(overage) = terms.overage.as_mut().filter(|known| known.currency == *currency)
        else {
            continue;
        };
        overage.cap_minor = *cap_minor;
        *capped = capped.clone().with_terms(terms);
        heard(Some(*limit), Voice::Override(one));
        applied = true;
    }
    applied
}

/// The currencies in which any plan or add-on prices overage of a limit.
pub fn currencies<'a>(
    catalog: &'a Catalog,
    feature: FeatureIx,
    limit: NameId,
) -> BTreeSet<&'a str> {
    let priced = |terms: &'a LimitTerms| terms.overage.as_ref().map(|known| &*known.currency);
    let plans = catalog.plans().iter().chain(catalog.addons());
    let given = plans.filter_map(|plan| match plan.entitlement(feature)? {
        Entitlement::Quota { limits } => limits.iter().find(|known| known.limit == limit),
        _ => None,
    });
    given.filter_map(|known| known.terms.as_deref().and_then(priced)).collect()
}
