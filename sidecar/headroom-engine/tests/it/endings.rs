//! Trials that end are told of ahead, once for each day asked for, also when nobody asks and over a restart.

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, Offering,
};
use headroom_core::effect::Effect;
use headroom_core::ending::WHOLE_PLAN;
use headroom_core::signal::{Horizons, Signal, SignalName, SignalState};
use headroom_core::time::Millis;
use headroom_engine::admin::{OverrideChange, OverrideTerms, SubscriptionChange};
use headroom_engine::ports::Seq;
use headroom_engine::record::{self, Record};

use crate::house::{DAY_MS, House, T0, spec};

/// As the others, with a switch that only `pro` has.
fn catalog() -> CatalogSpec {
    let mut spec = spec(10, Some("free"));
    spec.features.push(FeatureSpec {
        feature: "sso".to_owned(),
        name: "SSO".to_owned(),
        unit: String::new(),
        scale: 0,
        offering: Offering::default(),
        shadow: false,
        counting: Default::default(),
        kind: FeatureKindSpec::Switch,
    });
    spec.plans[1].entitlements.push(("sso".to_owned(), EntitlementSpec::Switch { on: true }));
    spec
}

/// The ends of trials that were told, in order.
fn told(house: &House) -> Vec<Signal> {
    let mut told = Vec::new();
    for (_, stored) in house.store.since(Seq(0)) {
        let (Record::Decided { effects, .. } | Record::Noted { effects, .. }) =
            record::take(&stored.bytes).unwrap()
        else {
            continue;
        };
        let signals = effects.into_iter().filter_map(|effect| match effect {
            Effect::Signal(signal) if signal.name == SignalName::TrialEnding => Some(*signal),
            _ => None,
        });
        told.extend(signals);
    }
    told
}

/// How many days ahead each was told, and when: days after the beginning.
fn days(house: &House) -> Vec<(u16, i64)> {
    let told = told(house);
    told.iter().map(|one| (one.trial.unwrap().days, (one.at.0 - T0) / DAY_MS)).collect()
}

/// Puts an account on a plan, and on trial of `pro` until so many days after the beginning.
fn tries(house: &House, plan: &str, until: i64, now: i64) {
    let trial = Some(("pro", Millis(T0 + until * DAY_MS)));
    let change = SubscriptionChange { plan, trial, ..SubscriptionChange::default() };
    house.engine.put_subscription("acme", &change, Millis(now)).unwrap();
}

/// Lets every timer run that is due until so many days after the beginning, as the sidecar does.
fn runs(house: &House, until: i64) {
    loop {
        let next = house.engine.next_timer_at();
        if next > Millis(T0 + until * DAY_MS) {
            return;
        }
        house.engine.run_timers(next);
        assert!(house.engine.next_timer_at() > next, "what was due is done");
    }
}

#[test]
fn a_trial_is_told_of_a_week_and_three_days_before_its_end_and_a_short_one_only_then() {
    for (length, expected) in [
        (14, &[(7, 7), (3, 11)][..]),
        (13, &[(3, 10)]),
        (6, &[(3, 3)]),
        (5, &[]),
        (400, &[(7, 393), (3, 397)]),
    ] {
        let house = House::of(catalog(), 1_000);
        tries(&house, "free", length, T0);
        runs(&house, length + 30);
        assert_eq!(days(&house), expected, "{length} days");
        assert_eq!(house.engine.next_timer_at(), Millis::FOREVER);
    }
}

#[test]
fn a_trial_says_which_plan_and_until_when_and_goes_from_warning_to_alarm() {
    let house = House::of(catalog(), 1_000);
    tries(&house, "free", 14, T0);
    runs(&house, 20);
    let [week, days] = &told(&house)[..] else { panic!("{:?}", told(&house)) };
    assert_eq!((week.feature, week.window.end()), (WHOLE_PLAN, Millis(T0 + 14 * DAY_MS)));
    let pro = house.engine.catalog().names().get("pro").unwrap();
    assert_eq!(week.trial.unwrap().plan, pro);
    assert_eq!((week.previous_state, week.state), (SignalState::Ok, SignalState::Warning));
    assert_eq!((days.previous_state, days.state), (SignalState::Warning, SignalState::Alarm));
}

#[test]
fn a_trial_that_is_prolonged_is_told_of_again_and_one_that_was_bought_is_not() {
    let house = House::of(catalog(), 1_000);
    tries(&house, "free", 14, T0);
    runs(&house, 12);
    assert_eq!(days(&house), [(7, 7), (3, 11)]);
    // Six days are left then: the week has passed already.
    tries(&house, "free", 18, T0 + 12 * DAY_MS);
    runs(&house, 16);
    assert_eq!(days(&house)[2..], [(3, 15)]);
    tries(&house, "free", 40, T0 + 16 * DAY_MS);
    // The same again changes nothing.
    tries(&house, "free", 40, T0 + 17 * DAY_MS);
    runs(&house, 34);
    assert_eq!(days(&house)[3..], [(7, 33)]);
    tries(&house, "pro", 40, T0 + 35 * DAY_MS);
    runs(&house, 60);
    assert_eq!(days(&house)[4..], [], "nothing is gone when it ends");
}

#[test]
fn other_days_count_at_once_and_off_is_off() {
    let mut changed = catalog();
    changed.signals.trial_ending = Horizons::new(&[10, 2]).unwrap();
    let house = House::of(catalog(), 1_000);
    tries(&house, "free", 28, T0);
    runs(&house, 15);
    house.engine.install_catalog(changed, "days", Millis(T0 + 15 * DAY_MS)).unwrap();
    runs(&house, 18);
    assert_eq!(days(&house), [(10, 18)]);
    let mut off = catalog();
    off.signals.trial_ending = Horizons::NONE;
    house.engine.install_catalog(off, "off", Millis(T0 + 19 * DAY_MS)).unwrap();
    runs(&house, 60);
    assert_eq!(days(&house).len(), 1);
}

#[test]
fn a_trial_of_one_feature_is_told_of_where_the_plan_does_not_have_it_anyway() {
    let house = House::of(catalog(), 1_000);
    let give = |account: &str, feature: &str, change: OverrideChange<'_>, from: i64| {
        let plan = if account == "rich" { "pro" } else { "free" };
        let change_of_plan = SubscriptionChange { plan, ..SubscriptionChange::default() };
        house.engine.put_subscription(account, &change_of_plan, Millis(T0)).unwrap();
        let ends_at = Some(Millis(T0 + 20 * DAY_MS));
        let times =
            OverrideTerms { starts_at: Some(Millis(T0 + from * DAY_MS)), ends_at, at_least: false };
        house.engine.put_override(account, feature, &change, times, Millis(T0)).unwrap();
    };
    give("acme", "sso", OverrideChange::Switch(true), 0);
    give("rich", "sso", OverrideChange::Switch(true), 0);
    give("more", "tokens", OverrideChange::Limit("total", Some(99)), 0);
    // It begins when eight days are left.
    give("late", "sso", OverrideChange::Switch(true), 12);
    runs(&house, 40);
    let sso = house.engine.catalog().names().get("sso").unwrap();
    let told: Vec<_> = told(&house);
    let said = |one: &Signal| (one.feature, one.trial.unwrap().days, (one.at.0 - T0) / DAY_MS);
    assert_eq!(
        told.iter().map(said).collect::<Vec<_>>(),
        [(sso, 7, 13), (sso, 3, 17), (sso, 3, 17)]
    );
}

#[test]
fn whoever_slept_over_both_days_is_told_once_by_the_nearest() {
    let house = House::of(catalog(), 1_000);
    tries(&house, "free", 14, T0);
    house.engine.run_timers(Millis(T0 + 12 * DAY_MS));
    assert_eq!(days(&house), [(3, 12)]);
    house.engine.set_suspended("acme", true, Millis(T0 + 12 * DAY_MS)).unwrap();
    runs(&house, 30);
    assert_eq!(days(&house).len(), 1);
}

#[test]
fn a_restart_neither_loses_nor_doubles_the_end_of_a_trial() {
    for (checkpoint, lose) in [(false, false), (false, true), (true, false), (true, true)] {
        let house = House::of(catalog(), 1_000);
        tries(&house, "free", 14, T0);
        if checkpoint {
            house.store.keep(house.checkpoint());
        }
        let house = house.reopen(catalog());
        runs(&house, 6);
        let before = house.store.last();
        house.engine.run_timers(Millis(T0 + 7 * DAY_MS));
        assert_eq!(days(&house), [(7, 7)]);
        if lose {
            house.store.crash(before);
        } else if checkpoint {
            house.store.keep(house.checkpoint());
        }
        let house = house.reopen(catalog());
        assert_eq!(house.engine.run_timers(Millis(T0 + 7 * DAY_MS)), usize::from(lose));
        assert_eq!(days(&house), [(7, 7)], "checkpoint {checkpoint}, lost {lose}");
        runs(&house, 30);
        assert_eq!(days(&house), [(7, 7), (3, 11)]);
    }
}
