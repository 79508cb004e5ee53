//! What use unlocks: earned by the very unit, once, and for good.

use headroom_core::account::OverrideValue;
use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, Offering, Policy, Scenario, UnlockSpec,
};
use headroom_core::decide::{self, AllItem, AllOp, Context, FeatureOp};
use headroom_core::decision::{Decision, Denial, Verdict};
use headroom_core::effect::{Effect, Effects};
use headroom_core::prompt::{self, Occasion};
use headroom_core::resolve::Origin;
use headroom_core::signal::{SignalName, SignalSwitches};
use headroom_core::time::Millis;

use crate::world::{DAY_MS, World, daily, spec, total, unlimited};

/// As the others; `sso` of plan `pro` comes after so many tokens in all.
fn catalog(units: u64) -> CatalogSpec {
    let forever = crate::world::Limit { limit: "total", ..total(0, Policy::Unlimited) };
    let forever = crate::world::Limit { included: None, ..forever };
    let mut catalog = spec(&[unlimited(), forever], SignalSwitches::default());
    lock(&mut catalog, units);
    catalog
}

fn lock(catalog: &mut CatalogSpec, units: u64) {
    let (_, sso) = &mut catalog.plans[0].entitlements[1];
    let after = UnlockSpec { feature: "tokens".to_owned(), units };
    *sso = EntitlementSpec::Locked { after, given: Box::new(EntitlementSpec::Switch { on: true }) };
}

fn sso(world: &mut World) -> Decision {
    world.try_ask("sso", FeatureOp::Check { units: 1, attempt: true }).unwrap().decision
}

#[track_caller]
fn is_open(world: &mut World, open: bool) {
    let decision = sso(world);
    let expected = match open {
        true => (Verdict::Allowed, Origin::Unlock),
        false => (Verdict::Denied(Denial::NotInPlan), Origin::Plan),
    };
    assert_eq!((decision.verdict, decision.origin), expected);
}

/// What was earned, and by which units, in all effects so far.
fn told(world: &World) -> Vec<(u64, u64)> {
    let signals = world.effects.iter().filter_map(|effect| match effect {
        Effect::Signal(signal) if signal.name == SignalName::UnlockEarned => Some(signal),
        _ => None,
    });
    signals.map(|signal| (signal.previous_units, signal.current_units)).collect()
}

#[test]
fn the_write_that_reaches_the_number_unlocks_and_is_told_once() {
    let mut world = World::of(catalog(10));
    for used in 0..10 {
        let locked = sso(&mut world);
        let counter = locked.binding.expect("the counter binds");
        assert_eq!(
            (counter.ledger.used, counter.settled_units_remaining()),
            (used, Some(10 - used))
        );
        assert_eq!(counter.ledger.feature, world.id("tokens"));
        assert_eq!(world.last, [], "it is no attempt at what has to be bought");
        world.consume(1);
    }
    is_open(&mut world, true);
    world.consume(5);
    world.now += 400 * DAY_MS;
    world.consume(5);
    is_open(&mut world, true);
    assert_eq!(told(&world), [(9, 10)]);
}

#[test]
fn records_and_commits_earn_and_what_is_held_does_not() {
    let mut world = World::of(catalog(10));
    world.record(4);
    let hold = world.reserve(9);
    is_open(&mut world, false);
    world.commit(hold, 6);
    is_open(&mut world, true);
    assert_eq!(told(&world), [(4, 10)]);
}

#[test]
fn what_was_earned_stays_whatever_is_asked_for_later() {
    let mut world = World::of(catalog(10));
    world.consume(10);
    world.install(catalog(1_000));
    is_open(&mut world, true);
    world.set("total", 0, 0);
    is_open(&mut world, true);
    world.consume(1);
    assert_eq!(told(&world).len(), 1);
}

#[test]
fn a_lower_number_counts_at_once_and_is_told_by_the_next_use() {
    let mut world = World::of(catalog(1_000));
    world.consume(50);
    is_open(&mut world, false);
    world.install(catalog(20));
    is_open(&mut world, true);
    assert_eq!(told(&world), []);
    world.consume(1);
    assert_eq!(told(&world), [(50, 51)]);
}

#[test]
fn whoever_is_given_it_by_hand_or_by_shadow_does_not_wait() {
    let mut world = World::of(catalog(10));
    world.put_override("sso", OverrideValue::Switch { on: true });
    assert_eq!(sso(&mut world).origin, Origin::Override);
    world.put_override("sso", OverrideValue::Switch { on: false });
    let taken = sso(&mut world);
    assert_eq!((taken.origin, taken.binding), (Origin::None, None), "it cannot be earned");
    let mut watched = catalog(10);
    watched.features[1].shadow = true;
    let mut world = World::of(watched);
    let shadowed = sso(&mut world);
    assert_eq!((shadowed.verdict, shadowed.shadow), (Verdict::Allowed, Some(Denial::NotInPlan)));
}

/// `calls` are locked until so many tokens were used, and then 3 a day.
fn locked_calls(units: u64) -> CatalogSpec {
    let mut catalog = catalog(10);
    let mut calls = catalog.features[0].clone();
    calls.feature = "calls".to_owned();
    catalog.features.push(calls);
    let (_, tokens) = catalog.plans[0].entitlements[0].clone();
    let EntitlementSpec::Quota { mut limits } = tokens else { panic!("a quota") };
    limits.truncate(1);
    limits[0].included_units = Some(3);
    limits[0].policy = Policy::Block;
    let after = UnlockSpec { feature: "tokens".to_owned(), units };
    let given = Box::new(EntitlementSpec::Quota { limits });
    let locked = EntitlementSpec::Locked { after, given };
    catalog.plans[0].entitlements.push(("calls".to_owned(), locked));
    catalog
}

/// The windows of `calls` that have closed: what was used and included.
fn closed_calls(world: &World) -> Vec<(u64, Option<u64>)> {
    let calls = world.feature("calls").map(|ix| world.catalog.feature(ix).id);
    let closed = world.effects.iter().filter_map(|effect| match effect {
        Effect::LedgerClosed(ledger, terms) if Some(ledger.feature) == calls => {
            Some((ledger.used, terms.as_ref()?.included_units))
        }
        _ => None,
    });
    closed.collect()
}

/// A row says what was in force in the last millisecond of its window.
#[test]
fn what_is_earned_later_measures_no_window_that_was_over() {
    let mut world = World::of(locked_calls(10));
    world.try_ask("calls", FeatureOp::Record { units: 2 }).unwrap();
    world.now += DAY_MS;
    world.consume(10);
    for _ in 0..2 {
        world.try_ask("calls", FeatureOp::Consume { units: 1 }).unwrap();
        world.now += DAY_MS;
    }
    let closed = closed_calls(&world);
    assert_eq!(closed, [(2, Some(0)), (1, Some(3))], "none were included before they were earned");
}

/// Nobody was told that it is unlocked: it was never locked for this account.
#[test]
fn who_had_used_enough_when_the_lock_came_was_never_locked_out() {
    let mut world = World::of(locked_calls(20));
    world.consume(10);
    world.install(locked_calls(10));
    world.try_ask("calls", FeatureOp::Consume { units: 2 }).unwrap();
    world.now += DAY_MS;
    world.consume(1);
    world.try_ask("calls", FeatureOp::Consume { units: 1 }).unwrap();
    assert_eq!(closed_calls(&world), [(2, Some(3))], "as it was included when it was used");
}

#[test]
fn a_quota_may_be_locked_and_counts_by_its_limits_once_it_is_open() {
    let mut world = World::of(locked_calls(10));
    let call = |world: &mut World| {
        world.try_ask("calls", FeatureOp::Consume { units: 2 }).unwrap().decision.verdict
    };
    assert_eq!(call(&mut world), Verdict::Denied(Denial::NotInPlan));
    world.consume(10);
    assert_eq!(told(&world).len(), 2, "both are told");
    assert_eq!(call(&mut world), Verdict::Allowed);
    assert_eq!(call(&mut world), Verdict::Denied(Denial::QuotaExhausted));
}

#[test]
fn one_request_for_several_says_what_is_locked() {
    let mut world = World::of(catalog(10));
    let items: Vec<AllItem> =
        ["tokens", "sso"].map(|name| AllItem::of(world.feature(name), 1)).to_vec();
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let op = AllOp::Check { attempt: false };
    let outcomes =
        decide::decide_all(cx, &world.account, &items, op, None, &mut Effects::new()).unwrap();
    let locked = &outcomes[1].decision;
    assert_eq!(locked.verdict, Verdict::Denied(Denial::NotInPlan));
    assert_eq!(locked.binding.as_ref().unwrap().included_units, Some(10));
    world.consume(10);
    is_open(&mut world, true);
}

#[test]
fn a_monitor_earns_nothing_and_a_lock_has_a_scenario_of_its_own() {
    let mut world = World::of(catalog(10));
    let locked = sso(&mut world);
    let found = prompt::scenarios(&locked, Occasion::default()).map(|(all, _)| all);
    assert_eq!(found, Some(&[Scenario::Unlock][..]));
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let mut effects = Effects::new();
    let op = FeatureOp::Consume { units: 10 };
    decide::decide_feature(cx, &world.account, world.feature("tokens"), op, &mut effects).unwrap();
    decide::leave_uncounted(&mut effects);
    world.apply(&effects);
    is_open(&mut world, false);
}

#[test]
fn what_was_earned_is_there_again_when_an_account_is_read_back() {
    let mut world = World::of(catalog(10));
    world.consume(10);
    world.set("total", 0, 0);
    let further = world.account.further();
    let mut read = headroom_core::account::Account::new(7, world.account.profile.clone());
    further.iter().for_each(|effect| read.apply(effect));
    world.account = read;
    is_open(&mut world, true);
}

#[test]
fn an_offer_and_a_roll_out_are_as_without_a_lock() {
    let mut catalog = catalog(10);
    catalog.features[1].offering = Offering { is_paused: true, ..Offering::default() };
    let mut world = World::of(catalog);
    world.consume(10);
    assert_eq!(sso(&mut world).verdict, Verdict::Denied(Denial::FeaturePaused));
}

#[test]
fn a_plain_limit_is_as_quiet_as_without_a_lock() {
    let mut catalog =
        spec(&[daily(100, Policy::Block), total(100, Policy::Block)], SignalSwitches::default());
    lock(&mut catalog, 60);
    let world = World::of(catalog);
    let limits = |name: &str| {
        let plan = world.catalog.plan_named("pro").unwrap();
        let tokens = world.feature("tokens").unwrap();
        let given = world.catalog.plan(plan).entitlement(tokens).unwrap();
        let headroom_core::catalog::Entitlement::Quota { limits } = given else {
            panic!("a quota")
        };
        limits.iter().find(|limit| limit.limit == world.id(name)).unwrap().clone()
    };
    assert!(limits("daily").is_quiet(99) && !limits("daily").unlocks(99));
    assert!(limits("total").is_quiet(59) && !limits("total").is_quiet(60));
    let more = limits("total").with_included(Some(1_000));
    assert!(more.is_quiet(59) && more.unlocks(60), "also when it is changed for an account");
}
