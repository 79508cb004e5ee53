//! A feature that is another sort of thing in the next catalog: what there is rests, and comes back.

use headroom_core::catalog::{CatalogSpec, FeatureKindSpec, FeatureSpec, LimitSpec};
use headroom_core::stock::BilledBy;
use headroom_core::window::WindowRule;

use super::{CountingSpec, entitlement, feature, window};
use crate::rng::Rng;

/// The feature that things exist of.
const THINGS: &str = "storage";

/// Makes a quota of what things exist of, or the reverse; or it leaves the catalog, or comes back to it.
pub(super) fn with_another(rng: &mut Rng, mut spec: CatalogSpec) -> CatalogSpec {
    let place = spec.features.iter().position(|known| known.feature == THINGS);
    let goes = place.is_some() && rng.percent(20);
    let before = place.map(|place| spec.features.remove(place));
    let plans = spec.plans.iter_mut().chain(&mut spec.addons);
    for plan in plans {
        plan.entitlements.retain(|(name, _)| name != THINGS);
    }
    if goes {
        return spec;
    }
    let known = before.unwrap_or_else(|| feature(rng, THINGS));
    let is_level = matches!(known.kind, FeatureKindSpec::Allocation { .. });
    let kind = if is_level {
        let limit = LimitSpec { limit: "daily".to_owned(), window: window(rng), per: None };
        FeatureKindSpec::Quota { limits: vec![limit] }
    } else {
        let window = WindowRule::Billing { months: *rng.pick(&[1, 1, 1, 2, 12]) };
        FeatureKindSpec::Allocation { billed_by: *rng.pick(&BilledBy::ALL), window }
    };
    for plan in spec.plans.iter_mut().chain(&mut spec.addons) {
        if rng.percent(85) {
            plan.entitlements.push((THINGS.to_owned(), entitlement(rng, &kind)));
        }
    }
    spec.features.push(FeatureSpec { kind, counting: CountingSpec::default(), ..known });
    spec
}
