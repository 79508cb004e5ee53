//! What accounts on a plan keep when it comes to give less.

use headroom_core::account::Override;
use headroom_core::catalog::{EntitlementSpec, FeatureSpec};
use headroom_core::limits::OVERRIDES_MAX;
use headroom_core::time::Millis;
use headroom_engine::admin::{AdminError, OverrideChange, OverrideTerms, SubscriptionChange};
use headroom_engine::grandfather::{Grandfather, Grandfathered};

use crate::house::{DAY_MS, House, T0, spec};

/// Three accounts: two strangers on the default plan `free` of 10, one who bought `pro` of 1,000.
fn house() -> House {
    let house = House::new(10);
    for account in ["acme", "bolt"] {
        house.consume(account, 1, "");
    }
    let pro = SubscriptionChange { plan: "pro", ..Default::default() };
    house.engine.put_subscription("corp", &pro, Millis(T0)).unwrap();
    house
}

fn keep(house: &House, days: Option<i64>, dry_run: bool) -> Grandfathered {
    let ends_at = days.map(|days| Millis(T0 + days * DAY_MS));
    let wanted = Grandfather { plan: "free", features: &["tokens"], ends_at, dry_run };
    house.engine.grandfather(wanted, Millis(T0)).unwrap()
}

/// A catalog in which `free` has so many comes into force.
fn install(house: &House, free_units: u64) {
    let source = free_units.to_string();
    house.engine.install_catalog(spec(free_units, Some("free")), &source, Millis(T0)).unwrap();
}

fn included(house: &House, account: &str) -> Option<u64> {
    house.consume(account, 1, "").outcome.decision.binding.unwrap().included_units
}

fn overrides(house: &House, account: &str) -> Vec<Override> {
    house.engine.profile(account).unwrap().overrides().to_vec()
}

#[test]
fn who_was_on_the_plan_keeps_what_it_gave_and_gets_what_it_comes_to_give() {
    let house = house();
    let wanted = Grandfathered { accounts: 2, overrides: 2, full: 0, wait_for: None };
    assert_eq!(keep(&house, None, true), wanted);
    assert!(overrides(&house, "acme").is_empty(), "a dry run");
    assert_eq!((keep(&house, None, false).accounts, keep(&house, None, false).accounts), (2, 0));
    install(&house, 4);
    assert_eq!(included(&house, "acme"), Some(10));
    assert_eq!((included(&house, "late"), included(&house, "corp")), (Some(4), Some(400)));
    install(&house, 25);
    assert_eq!(included(&house, "acme"), Some(25), "the plan has become better");
    // The same from the journal.
    let house = house.reopen(spec(4, Some("free")));
    assert_eq!((included(&house, "bolt"), included(&house, "late")), (Some(10), Some(4)));
}

#[test]
fn of_two_promises_the_better_lasts_as_long_as_the_longer() {
    let house = house();
    keep(&house, Some(30), false);
    install(&house, 4);
    assert_eq!(
        keep(&house, Some(60), false).accounts,
        3 - 1,
        "strangers of before; corp is on pro"
    );
    let kept = overrides(&house, "acme");
    assert_eq!((kept.len(), kept[0].ends_at), (1, Millis(T0 + 60 * DAY_MS)));
    assert_eq!(included(&house, "acme"), Some(10));
    install(&house, 12);
    keep(&house, Some(20), false);
    install(&house, 4);
    assert_eq!(included(&house, "acme"), Some(12));
    assert_eq!(overrides(&house, "acme")[0].ends_at, Millis(T0 + 60 * DAY_MS));
}

#[test]
fn an_override_made_by_hand_stays() {
    let house = house();
    let by_hand = OverrideChange::Limit("total", Some(3));
    house
        .engine
        .put_override("acme", "tokens", &by_hand, OverrideTerms::default(), Millis(T0))
        .unwrap();
    let done = keep(&house, None, false);
    assert_eq!((done.accounts, done.overrides), (1, 1));
    assert_eq!((included(&house, "acme"), included(&house, "bolt")), (Some(3), Some(10)));
}

#[test]
fn who_has_no_room_for_more_overrides_is_counted_and_keeps_nothing() {
    let mut catalog = spec(10, Some("free"));
    let EntitlementSpec::Quota { limits } = &catalog.plans[0].entitlements[0].1 else { panic!() };
    let (shape, given) = (catalog.features[1].clone(), limits.clone());
    for place in 0..OVERRIDES_MAX {
        let feature = format!("f{place}");
        catalog.features.push(FeatureSpec { feature: feature.clone(), ..shape.clone() });
        let quota = EntitlementSpec::Quota { limits: given.clone() };
        catalog.plans[0].entitlements.push((feature, quota));
    }
    let house = House::of(catalog, 1_000);
    house.consume("acme", 1, "");
    let wanted = Grandfather { plan: "free", features: &[], ends_at: None, dry_run: false };
    let done = house.engine.grandfather(wanted, Millis(T0)).unwrap();
    assert_eq!((done.accounts, done.full, done.wait_for), (0, 1, None));
    assert!(overrides(&house, "acme").is_empty());
}

#[test]
fn what_is_not_there_is_named() {
    let house = house();
    let ask = |plan, features| {
        let wanted = Grandfather { plan, features, ends_at: None, dry_run: true };
        house.engine.grandfather(wanted, Millis(T0)).unwrap_err()
    };
    let plan = ask("fre", &[]);
    assert!(matches!(plan, AdminError::UnknownName { what: "plan", .. }), "{plan}");
    let feature = ask("free", &["tokns"]);
    assert!(matches!(feature, AdminError::UnknownName { what: "feature", .. }), "{feature}");
    let off = OverrideChange::Config("1");
    let terms = OverrideTerms { at_least: true, ..Default::default() };
    let refused = house.engine.put_override("acme", "tokens", &off, terms, Millis(T0));
    assert!(matches!(refused, Err(AdminError::WrongKind { .. })), "{refused:?}");
}
