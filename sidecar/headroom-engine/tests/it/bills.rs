//! What windows that are over are billed by, whatever is edited afterwards: the account, the catalog, or the
//! catalog between a stop and a start.

use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec, Policy};
use headroom_core::decide::FeatureOp;
use headroom_core::policy::{NANOS_PER_MINOR, OverageTerms};
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::admin::{OverrideChange, OverrideTerms, SubscriptionChange};

use crate::house::{DAY_MS, House, T0, spec};

/// The house's catalog with so many units included, and a cent for each more.
fn priced(included: u64) -> CatalogSpec {
    let mut spec = spec(100, Some("free"));
    for feature in &mut spec.features {
        let FeatureKindSpec::Quota { limits } = &mut feature.kind else { continue };
        limits[0].window = WindowRule::Calendar(CalendarUnit::Month);
    }
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = &mut plan.entitlements[0].1 else { continue };
        for limit in limits {
            limit.policy = Policy::Overage;
            limit.terms.overage = Some(OverageTerms {
                unit_price_nanos: NANOS_PER_MINOR,
                currency: "USD".into(),
                cap_minor: None,
            });
        }
    }
    let EntitlementSpec::Quota { limits } = &mut spec.plans[0].entitlements[0].1 else {
        unreachable!("the first plan has a quota")
    };
    limits[0].included_units = Some(included);
    spec
}

/// A house in which the free plan was used with 60 units, in a window that is over.
fn used() -> House {
    let house = House::of(priced(100), 1_000_000);
    house.ask("acme", FeatureOp::Record { units: 60 }, "k1", T0).unwrap();
    house
}

const LATER: Millis = Millis(T0 + 40 * DAY_MS);

/// What the window that is over had included, and what of it is billed.
fn billed(house: &House) -> (Option<u64>, u64, Option<u64>) {
    let view = house.engine.usage("acme", LATER).unwrap();
    let over = view.ledgers.iter().find(|ledger| ledger.window.end() <= LATER).unwrap();
    let by = view.terms_of(over).unwrap();
    (by.included_units, by.overage_units(over.used), by.cost_minor(over.used))
}

/// A checkpoint and a restart later it is the same.
fn stays(house: &House, spec: CatalogSpec) {
    let expected = billed(house);
    house.store.keep(house.checkpoint());
    assert_eq!(billed(&house.reopen(spec)), expected);
}

#[test]
fn a_catalog_that_includes_less_bills_nothing_that_was_before_it() {
    let house = used();
    assert_eq!(billed(&house), (Some(100), 0, Some(0)));
    house.engine.install_catalog(priced(20), "less", LATER).unwrap();
    assert_eq!(billed(&house), (Some(100), 0, Some(0)));
    stays(&house, priced(20));
    // What comes late to it is measured as it was, too.
    let again = house.engine.install_catalog(priced(10), "still less", LATER).unwrap();
    assert!(again.changed);
    assert_eq!(billed(&house), (Some(100), 0, Some(0)));
}

#[test]
fn neither_does_a_start_with_such_a_catalog() {
    let house = used();
    house.store.keep(house.checkpoint());
    let catalogs = (Some(priced(100)), priced(20));
    let house = House::open_at(&house.store, catalogs, house.keys_max, LATER);
    assert_eq!(billed(&house), (Some(100), 0, Some(0)));
    stays(&house, priced(20));
}

#[test]
fn neither_does_another_plan_or_the_end_of_an_override() {
    for change in 0..3 {
        let house = used();
        let terms = OverrideTerms::default();
        let included = |units| OverrideChange::Limit("total", Some(units));
        let given = house.engine.put_override("acme", "tokens", &included(70), terms, Millis(T0));
        given.unwrap();
        assert_eq!(billed(&house), (Some(70), 0, Some(0)));
        match change {
            0 => {
                house.engine.delete_override("acme", "tokens", (None, None), LATER).unwrap();
            }
            1 => {
                house.engine.put_override("acme", "tokens", &included(1), terms, LATER).unwrap();
            }
            _ => {
                let change = SubscriptionChange { plan: "pro", ..SubscriptionChange::default() };
                house.engine.put_subscription("acme", &change, LATER).unwrap();
                house.engine.delete_override("acme", "tokens", (None, None), LATER).unwrap();
            }
        }
        assert_eq!(billed(&house), (Some(70), 0, Some(0)), "{change}");
        stays(&house, priced(100));
    }
}
