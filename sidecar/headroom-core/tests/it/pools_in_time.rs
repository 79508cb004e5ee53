//! Pools of credits while plans and catalogs change: each change counts from its instant, whoever looks.

use headroom_core::account::{Override, OverrideValue, Profile, ScheduledPlan, Trial};
use headroom_core::catalog::EntitlementSpec;
use headroom_core::credits::{self, CreditsEffect, Grant, GrantEnding, GrantSource, PoolTerms};
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::effect::Effect;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};

use crate::credits::{check_history, spec, spec_of, terms};
use crate::world::{DAY_MS, Dice, HOUR_MS, T0, World};

const TODAY: i64 = T0 - 12 * HOUR_MS;
const TOMORROW: i64 = TODAY + DAY_MS;
const DAILY: WindowRule = WindowRule::Calendar(CalendarUnit::Day);

impl World {
    /// What the engine does with a profile: what the one before has brought comes first.
    fn edit(&mut self, edit: impl FnOnce(&mut Profile)) {
        self.look();
        let mut profile = self.account.profile.clone();
        edit(&mut profile);
        self.account.put_profile(profile, Millis(self.now));
        self.look();
    }

    /// Lets time and the profile bring what they have brought by now.
    fn look(&mut self) {
        self.settle_time();
        let cx = self.cx();
        let mut effects = vec![];
        headroom_core::decide::settle_pools(cx, &self.account, &mut effects);
        self.apply(&effects);
    }

    fn cx(&self) -> headroom_core::decide::Context<'_> {
        headroom_core::decide::Context { catalog: &self.catalog, now: Millis(self.now) }
    }

    /// An override of what is included, from one instant on until another.
    fn include(&mut self, units: u64, from: i64, until: i64) {
        let (feature, limit) = (self.id("credits"), self.id("credits"));
        let value = OverrideValue::Limit { limit, included_units: Some(units) };
        let (starts_at, ends_at) = (Millis(from), Millis(until));
        let one = Override { starts_at, ends_at, ..Override::new(feature, value) };
        self.edit(|profile| profile.extra.get_or_insert_default().overrides.push(one));
    }

    fn grants(&self) -> Vec<(GrantSource, u64, Millis)> {
        let one = |g: &Grant| (g.source, g.left_units(), g.expires_at);
        self.account.pools()[0].grants().iter().map(one).collect()
    }

    /// When time next changes something of the pool, or of what holds it.
    fn next_event(&self) -> Millis {
        let held = self.account.reservations().map_or(Millis::FOREVER, |all| all.next_event_at());
        self.account.pools()[0].next_event_at().min(held)
    }

    fn debt(&self) -> u64 {
        self.pool_state().ledger.debt
    }
}

/// A pool with another rule for its windows.
fn ruled(included: u64, window: WindowRule) -> headroom_core::catalog::CatalogSpec {
    spec_of(&terms(included), window, 1_000)
}

#[test]
fn a_pool_for_life_follows_a_rule_that_ends_and_keeps_what_was_granted() {
    let mut world = World::of(ruled(100, WindowRule::Lifetime));
    world.burn(30);
    world.install(ruled(20, DAILY));
    world.now += HOUR_MS;
    world.look();
    assert_eq!(world.balance(), 70 + 20, "what was granted for ever stays");
    let kept = (GrantSource::Given, 70, Millis::FOREVER);
    let daily = |until| (GrantSource::Included, 20, Millis(until));
    assert_eq!(world.grants(), [daily(TOMORROW), kept], "what expires burns first");
    let state = world.pool_state().ledger;
    assert_eq!((state.used, state.window.start().0), (0, world.now), "a window begins");
    assert_eq!(state.window.end().0, TOMORROW);
    world.now = TOMORROW;
    world.look();
    assert_eq!(world.grants(), [daily(TOMORROW + DAY_MS), kept]);
    // No plan takes it away, and it is used up like what somebody gave.
    world.install(ruled(0, DAILY));
    assert_eq!(world.balance(), 70);
    world.burn(70);
    assert_eq!(world.balance(), 0);
    let ended = &world.account.pools()[0].ended()[0];
    assert_eq!(ended.end.as_ref().unwrap().how, GrantEnding::UsedUp);
    check_history(&world.segments());
}

#[test]
fn what_was_included_for_life_can_be_taken_back_when_it_is_not_the_plans_any_more() {
    let mut world = World::of(ruled(100, WindowRule::Lifetime));
    world.burn(1);
    let id = world.account.pools()[0].grants()[0].id.clone();
    let void = |world: &mut World| {
        let (pool, mut effects) = (world.feature("credits").unwrap(), vec![]);
        let done = headroom_core::decide::void_grant(
            world.cx(),
            &world.account,
            pool,
            &id,
            "why",
            &mut effects,
        );
        world.apply(&effects);
        done
    };
    assert!(void(&mut world).is_err());
    world.install(ruled(20, DAILY));
    assert_eq!(void(&mut world).unwrap().left_units(), 0);
    assert_eq!(world.balance(), 20);
}

#[test]
fn a_window_that_begins_after_one_for_life_pays_what_is_owed() {
    let mut world = World::of(ruled(10, WindowRule::Lifetime));
    world.try_ask("credits", FeatureOp::Record { units: 25 }).unwrap();
    assert_eq!(world.debt(), 15);
    world.install(ruled(20, DAILY));
    world.look();
    assert_eq!((world.debt(), world.balance()), (0, 5));
    check_history(&world.segments());
}

#[test]
fn a_pool_that_becomes_one_for_life_does_so_when_its_window_ends() {
    let mut world = World::of(ruled(20, DAILY));
    world.burn(5);
    world.install(ruled(100, WindowRule::Lifetime));
    world.look();
    assert_eq!(world.balance(), 95, "the number follows the plan at once");
    world.now = TOMORROW;
    world.look();
    assert_eq!(world.grants(), [(GrantSource::Included, 100, Millis::FOREVER)]);
    // And back again, once for each catalog.
    world.install(ruled(20, DAILY));
    world.look();
    world.look();
    let daily = (GrantSource::Included, 20, Millis(TOMORROW + DAY_MS));
    assert_eq!(world.grants(), [daily, (GrantSource::Given, 100, Millis::FOREVER)]);
}

/// The rule may change in the very millisecond in which the pool began: ids of grants stay unique.
#[test]
fn a_window_after_one_for_life_begins_a_millisecond_after_it_at_the_earliest() {
    let mut world = World::of(ruled(100, WindowRule::Lifetime));
    world.account.profile.anchor = Millis(T0);
    world.burn(1);
    world.install(ruled(20, WindowRule::Fixed(Every { count: 5, unit: SpanUnit::Hour })));
    world.look();
    let grants = world.account.pools()[0].grants();
    assert_ne!(grants[0].id, grants[1].id);
    assert_eq!(world.pool_state().ledger.window.start(), Millis(T0 + 1));
    assert_eq!(world.balance(), 119);
    world.now += 5 * HOUR_MS;
    world.look();
    assert_eq!((world.balance(), world.account.pools()[0].grants().len()), (119, 2));
}

/// Windows for life begin with the subscription, so two of them would begin at one instant, and what they
/// include would be one grant.
#[test]
fn what_was_kept_of_a_window_for_life_is_not_lost_when_the_pool_comes_back_for_life() {
    let mut world = World::of(ruled(100, WindowRule::Lifetime));
    world.burn(30);
    world.install(ruled(20, DAILY));
    world.look();
    let mut without = ruled(0, DAILY);
    without.features.retain(|feature| feature.feature == "sso");
    without.plans.iter_mut().for_each(|plan| plan.entitlements.clear());
    without.addons.clear();
    world.install(without);
    world.now = TOMORROW;
    world.settle_time();
    world.install(ruled(50, WindowRule::Lifetime));
    world.look();
    assert_eq!(world.balance(), 70 + 50);
    let grants = world.account.pools()[0].grants();
    assert_ne!(grants[0].id, grants[1].id);
    check_history(&world.segments());
}

#[track_caller]
fn check_pays(prepare: impl Fn(&mut World), expected_debt: u64) {
    for looks in [false, true] {
        let mut world = World::of(spec(&terms(10)));
        prepare(&mut world);
        world.try_ask("credits", FeatureOp::Record { units: 25 }).unwrap();
        assert_eq!(world.debt(), 15);
        while looks && world.next_event() < Millis(TOMORROW) {
            world.now = world.next_event().0;
            world.look();
        }
        world.now = TOMORROW - 1;
        world.look();
        assert_eq!(world.debt(), expected_debt, "looked at in between: {looks}");
        check_history(&world.segments());
    }
}

#[test]
fn what_is_included_for_a_while_pays_what_is_owed_though_nobody_looks() {
    let (from, until) = (T0 + HOUR_MS, T0 + 2 * HOUR_MS);
    check_pays(|world| world.include(22, from, until), 3);
    check_pays(|world| world.include(40, from, until), 0);
    check_pays(
        |world| {
            world.include(40, from, until);
            world.edit(|profile| profile.extra.as_mut().unwrap().overrides.clear());
        },
        15,
    );
    let plan = |name: &'static str, at| {
        move |world: &World| ScheduledPlan { plan: world.id(name), starts_at: Millis(at) }
    };
    check_pays(
        |world| {
            let mut more = spec(&terms(10));
            let mut big = more.plans[0].clone();
            big.plan = "big".to_owned();
            for (_, given) in &mut big.entitlements {
                if let EntitlementSpec::Credits { terms: known } = given {
                    *known = terms(21);
                }
            }
            more.plans.push(big);
            world.install(more);
            let plans = [plan("big", from)(world), plan("pro", until)(world)];
            world.edit(|profile| profile.extra.get_or_insert_default().scheduled = plans.into());
        },
        4,
    );
}

#[test]
fn the_trial_of_a_plan_that_includes_less_ends_by_time_alone() {
    let mut world = World::of(spec(&terms(10)));
    let trial = Trial { plan: world.id("bare"), ends_at: Millis(T0 + HOUR_MS) };
    world.edit(|profile| profile.extra.get_or_insert_default().trial = Some(trial));
    world.try_ask("credits", FeatureOp::Record { units: 4 }).unwrap();
    assert_eq!(world.next_event(), Millis(T0 + HOUR_MS));
    world.now = T0 + HOUR_MS;
    world.look();
    assert_eq!((world.debt(), world.balance()), (0, 6));
}

#[test]
fn a_pool_that_an_earlier_version_wrote_waits_for_its_plan_too() {
    let mut world = World::of(spec(&terms(10)));
    world.include(40, T0 + HOUR_MS, T0 + 2 * HOUR_MS);
    assert_eq!(credits::unnoted(&world.account, Millis(T0)), []);
    let mut head = world.account.pools()[0].head.clone();
    head.plan_changes_at = Millis::FOREVER;
    world.apply(&[Effect::Credits(Box::new(CreditsEffect::Pool(head)))]);
    assert_eq!(world.next_event(), Millis(TOMORROW));
    let effects = credits::unnoted(&world.account, Millis(T0 + HOUR_MS));
    world.apply(&effects);
    assert_eq!(world.next_event(), Millis(T0 + 2 * HOUR_MS), "what is to come");
}

/// Two accounts live through the same, and one of them is looked at whenever something happens.
#[test]
fn whoever_looks_at_a_pool_and_when_makes_no_difference() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let below = |dice: &mut Dice, end: u64| i64::try_from(dice.below(end)).unwrap();
        let rules = [DAILY, WindowRule::Fixed(Every { count: 5, unit: SpanUnit::Hour })];
        let terms = PoolTerms {
            rollover_max_units: dice.below(3) * 7,
            overdraft_units: 12,
            ..terms(dice.below(3) * 10)
        };
        let spec = spec_of(&terms, rules[usize::try_from(dice.below(2)).unwrap()], 1_000);
        let (mut often, mut seldom) = (World::of(spec.clone()), World::of(spec));
        for _ in 0..1 + dice.below(4) {
            let from = T0 + below(&mut dice, 40) * HOUR_MS;
            let until = from + 1 + below(&mut dice, 30) * HOUR_MS;
            let units = dice.below(40);
            for world in [&mut often, &mut seldom] {
                world.include(units, from, until);
            }
        }
        for _ in 0..6 {
            let units = 1 + dice.below(40);
            let hold_ms = HOUR_MS * below(&mut dice, 9) + 1;
            let op = match dice.below(4) {
                0 => FeatureOp::Consume { units },
                1 => FeatureOp::ReserveCharging { units, hold_ms },
                _ => FeatureOp::Record { units },
            };
            let mut ids = vec![];
            for world in [&mut often, &mut seldom] {
                let outcome = world.try_ask("credits", op).unwrap();
                ids.push((outcome.decision.verdict, outcome.amounts));
            }
            assert_eq!(ids[0], ids[1], "seed {seed}");
            let later = often.now + below(&mut dice, 20) * HOUR_MS + below(&mut dice, 3);
            for step in 1..40 {
                let then = seldom.now + (later - seldom.now) * step / 40;
                while often.next_event() <= Millis(then) {
                    often.now = often.now.max(often.next_event().0);
                    often.look();
                }
                often.now = then;
                often.look();
            }
            (often.now, seldom.now) = (later, later);
            if let (Some(id), true) = (ids[0].1.reservation, dice.below(2) == 0) {
                for world in [&mut often, &mut seldom] {
                    let _ = world.try_hold(id, HoldOp::Commit { units: 3 });
                }
            }
            often.look();
            seldom.look();
            let [a, mut b] = [&often, &seldom].map(|world| world.account.pools()[0].clone());
            // What is announced, is announced when somebody looks.
            (b.head.marks, b.head.revision) = (a.head.marks, a.head.revision);
            assert_eq!(often.segments(), seldom.segments(), "seed {seed}");
            assert_eq!(a, b, "seed {seed}");
        }
    }
}
