//! Allocations: things that exist and go away again, and what they come to over a billing window.

use headroom_core::account::OverrideValue;
use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, PlanLimitSpec, Policy,
};
use headroom_core::decide::{self, Context, FeatureOp, HoldOp, LevelChange};
use headroom_core::decision::{Denial, LimitState, OpError, Outcome, Verdict};
use headroom_core::effect::Effect;
use headroom_core::policy::{LimitTerms, OverageTerms};
use headroom_core::signal::{SignalName, SignalSwitches};
use headroom_core::stock::{BilledBy, Stock};
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;

use crate::world::{DAY_MS, Dice, HOUR_MS, T0, World, spec};

const FULL: Verdict = Verdict::Denied(Denial::QuotaExhausted);

/// A billing window of these tests is a month from `T0 - 2 days`, 8 March: 31 days.
const START: i64 = T0 - 2 * DAY_MS;
const END: i64 = START + 31 * DAY_MS;

#[derive(Clone)]
struct Given {
    included: Option<u64>,
    soft_bp: Vec<u32>,
    policy: Policy,
    terms: LimitTerms,
    billed_by: BilledBy,
}

fn given(included: u64) -> Given {
    Given {
        included: Some(included),
        soft_bp: vec![],
        policy: Policy::Block,
        terms: LimitTerms::default(),
        billed_by: BilledBy::Average,
    }
}

fn catalog(given: Given) -> CatalogSpec {
    let mut spec = spec(&[], SignalSwitches::default());
    // Without its limits `tokens` is no good quota.
    let window = WindowRule::Billing { months: 1 };
    spec.features[0] = FeatureSpec {
        feature: "storage".to_owned(),
        kind: FeatureKindSpec::Allocation { billed_by: given.billed_by, window },
        ..spec.features[0].clone()
    };
    let limit = PlanLimitSpec {
        limit: "level".to_owned(),
        included_units: given.included,
        soft_limits_bp: given.soft_bp,
        policy: given.policy,
        terms: given.terms,
    };
    spec.plans[0].entitlements[0] = ("storage".to_owned(), EntitlementSpec::Allocation { limit });
    spec
}

fn world(included: u64) -> World {
    World::of(catalog(given(included)))
}

fn change(world: &mut World, change: LevelChange) -> Outcome {
    world.try_ask("storage", FeatureOp::Allocate { change }).unwrap()
}

fn add(world: &mut World, units: u64) -> Outcome {
    change(world, LevelChange::Add { units })
}

fn remove(world: &mut World, units: u64) -> Outcome {
    change(world, LevelChange::Remove { units })
}

fn set(world: &mut World, units: u64) -> Outcome {
    change(world, LevelChange::Set { units })
}

fn report(world: &mut World, units: u64) -> Outcome {
    change(world, LevelChange::Report { units })
}

fn state(world: &World) -> LimitState {
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    decide::limit_states(cx, &world.account, world.feature("storage").unwrap())[0].clone()
}

/// Used, reserved and debt.
fn counts(world: &World) -> (u64, u64, u64) {
    let ledger = state(world).ledger;
    (ledger.used, ledger.reserved, ledger.debt)
}

fn closed(world: &World) -> Vec<Stock> {
    let closed = |effect: &Effect| match effect {
        Effect::StockClosed(stock, _) => Some(**stock),
        _ => None,
    };
    world.effects.iter().filter_map(closed).collect()
}

/// Lets time alone pass.
fn wait_until(world: &mut World, at: i64) {
    world.now = at;
    let op = FeatureOp::Check { units: 1, attempt: false };
    world.try_ask("storage", op).unwrap();
}

#[test]
fn what_is_removed_makes_room_at_once() {
    let mut world = world(10);
    assert_eq!(add(&mut world, 10).decision.verdict, Verdict::Allowed);
    let refused = add(&mut world, 1).decision;
    assert_eq!((refused.verdict, refused.retry_after_ms), (FULL, None));
    let outcome = remove(&mut world, 3);
    assert_eq!((outcome.amounts.units, outcome.amounts.lowered), (3, true));
    assert_eq!(outcome.decision.verdict, Verdict::Allowed);
    assert_eq!(add(&mut world, 4).decision.verdict, FULL);
    assert_eq!(add(&mut world, 3).amounts.units, 3);
    assert_eq!(counts(&world), (10, 0, 0));
}

#[test]
fn consume_is_an_add() {
    let mut world = world(10);
    let outcome = world.try_ask("storage", FeatureOp::Consume { units: 7 }).unwrap();
    assert_eq!((outcome.amounts.units, outcome.amounts.lowered), (7, false));
    assert_eq!(counts(&world), (7, 0, 0));
    let op = FeatureOp::Consume { units: 4 };
    assert_eq!(world.try_ask("storage", op).unwrap().decision.verdict, FULL);
}

#[test]
fn removing_more_than_there_is_removes_what_there_is_and_says_so() {
    let mut world = world(10);
    add(&mut world, 4);
    let amounts = remove(&mut world, 5).amounts;
    assert_eq!((amounts.units, amounts.lowered, amounts.clamped), (4, true, true));
    let amounts = remove(&mut world, 1).amounts;
    assert_eq!((amounts.units, amounts.lowered, amounts.clamped), (0, false, true));
    assert_eq!(world.last, [], "nothing was there to be changed");
    assert_eq!(counts(&world), (0, 0, 0));
}

#[test]
fn a_level_that_is_set_is_refused_like_an_add_and_lowered_always() {
    let mut world = world(10);
    assert_eq!(set(&mut world, 8).amounts.units, 8);
    assert_eq!(set(&mut world, 11).decision.verdict, FULL);
    assert_eq!(counts(&world), (8, 0, 0));
    let same = set(&mut world, 8);
    assert_eq!((same.amounts.units, same.decision.verdict), (0, Verdict::Allowed));
    assert_eq!(world.last, []);
    let lower = set(&mut world, 3);
    assert_eq!((lower.amounts.units, lower.amounts.lowered), (5, true));
    assert!(!lower.amounts.clamped);
    assert_eq!(set(&mut world, 0).amounts.units, 3);
}

#[test]
fn a_report_of_fact_counts_and_what_no_limit_allows_is_debt_that_goes_first() {
    let mut world = world(10);
    add(&mut world, 6);
    let outcome = report(&mut world, 14);
    assert_eq!((outcome.amounts.units, outcome.amounts.debt_units), (8, 4));
    assert_eq!(counts(&world), (14, 0, 4));
    // What exists stays, and new is refused, until there is room again.
    assert_eq!(add(&mut world, 1).decision.verdict, FULL);
    remove(&mut world, 3);
    assert_eq!(counts(&world), (11, 0, 1));
    report(&mut world, 9);
    assert_eq!(counts(&world), (9, 0, 0));
    add(&mut world, 1);
}

#[test]
fn a_downgrade_below_what_exists_leaves_it_and_refuses_new() {
    let mut world = world(10);
    add(&mut world, 8);
    world.install(catalog(given(5)));
    assert_eq!(add(&mut world, 1).decision.verdict, FULL);
    assert_eq!(counts(&world), (8, 0, 0));
    assert_eq!(remove(&mut world, 2).amounts.units, 2);
    assert_eq!(add(&mut world, 1).decision.verdict, FULL);
    remove(&mut world, 2);
    assert_eq!(add(&mut world, 1).decision.verdict, Verdict::Allowed);
    let (limit, included_units) = (world.id("level"), Some(20));
    world.put_override("storage", OverrideValue::Limit { limit, included_units });
    assert_eq!(add(&mut world, 15).amounts.units, 15);
}

#[test]
fn what_is_gone_is_counted_whatever_became_of_the_account() {
    let mut world = world(10);
    add(&mut world, 9);
    world.account.profile.suspended = true;
    let denied = Verdict::Denied(Denial::AccountSuspended);
    assert_eq!(add(&mut world, 1).decision.verdict, denied);
    assert_eq!(set(&mut world, 10).decision.verdict, denied);
    assert_eq!(remove(&mut world, 2).amounts.units, 2);
    assert_eq!(set(&mut world, 6).amounts.units, 1);
    assert_eq!(report(&mut world, 12).amounts.debt_units, 2);
    world.account.profile.suspended = false;
    world.account.profile.plan = world.id("bare");
    assert_eq!(add(&mut world, 1).decision.verdict, Verdict::Denied(Denial::NotInPlan));
    assert_eq!(remove(&mut world, 2).amounts.units, 2);
    assert_eq!(counts_of_ledger(&world), (10, 0));
}

fn counts_of_ledger(world: &World) -> (u64, u64) {
    let ledger = world.account.ledgers()[0];
    (ledger.used, ledger.debt)
}

#[test]
fn an_upload_of_unknown_size_is_held_and_then_committed() {
    let mut world = world(10);
    add(&mut world, 4);
    let held = world.try_ask("storage", FeatureOp::Reserve { units: 6, hold_ms: HOUR_MS }).unwrap();
    let id = held.amounts.reservation.unwrap();
    assert_eq!(counts(&world), (4, 6, 0));
    let refused = add(&mut world, 1).decision.verdict;
    assert_eq!(refused, Verdict::Denied(Denial::InFlight));
    assert_eq!(world.try_hold(id, HoldOp::Commit { units: 5 }).unwrap().amounts.units, 5);
    assert_eq!(counts(&world), (9, 0, 0));
    assert_eq!(world.account.stocks()[0].level_units, 9);
    add(&mut world, 1);
}

#[test]
fn only_an_allocation_has_a_level() {
    let mut world = world(10);
    for change in [
        LevelChange::Add { units: 1 },
        LevelChange::Remove { units: 1 },
        LevelChange::Set { units: 1 },
        LevelChange::Report { units: 1 },
    ] {
        let error = world.try_ask("sso", FeatureOp::Allocate { change }).unwrap_err();
        assert_eq!(error, OpError::NoLevel { kind: "switch" });
    }
}

#[test]
fn the_level_never_resets_at_the_end_of_a_window() {
    let mut world = world(10);
    add(&mut world, 10);
    for month in 1..14 {
        wait_until(&mut world, T0 + month * 31 * DAY_MS);
        assert_eq!(counts(&world), (10, 0, 0));
        assert_eq!(add(&mut world, 1).decision.verdict, FULL);
    }
    assert_eq!(world.account.ledgers().len(), 1);
}

#[test]
fn a_billing_window_is_closed_with_its_peak_its_average_and_its_end() {
    let mut world = world(1_000);
    add(&mut world, 310);
    world.now += DAY_MS;
    add(&mut world, 310);
    world.now += DAY_MS;
    remove(&mut world, 600);
    wait_until(&mut world, END - 1);
    assert_eq!(closed(&world), []);
    wait_until(&mut world, END);
    let [stock] = closed(&world)[..] else { panic!("{:?}", closed(&world)) };
    assert_eq!((stock.window.start(), stock.window.end()), (Millis(START), Millis(END)));
    let unit_days = 310 + 620 + 20 * 27;
    let day_ms = u128::try_from(DAY_MS).unwrap();
    assert_eq!(stock.unit_ms, u128::from(unit_days) * day_ms);
    let measured = (stock.peak_units, stock.average_units(), stock.level_units);
    assert_eq!(measured, (620, unit_days / 31, 20));
    // The level was carried over.
    let now = world.account.stocks()[0];
    assert_eq!(now.window.start(), Millis(END));
    assert_eq!((now.level_units, now.peak_units, now.unit_ms), (20, 20, 0));
}

#[test]
fn windows_are_closed_though_nobody_asks_and_without_anything_none_is() {
    let mut world = world(10);
    assert_eq!(world.account.notice_at(), Millis::FOREVER);
    add(&mut world, 5);
    assert_eq!(world.account.notice_at(), Millis(END));
    // Three months pass in silence: March, April and May.
    wait_until(&mut world, END + 65 * DAY_MS);
    let all = closed(&world);
    assert_eq!(all.len(), 3);
    for (one, next) in all.iter().zip(&all[1..]) {
        assert_eq!(one.window.end(), next.window.start());
        assert_eq!((next.peak_units, next.average_units(), next.level_units), (5, 5, 5));
    }
    remove(&mut world, 5);
    wait_until(&mut world, END + 100 * DAY_MS);
    assert_eq!(closed(&world).len(), 4, "the window in which there was something");
    assert_eq!(world.account.notice_at(), Millis::FOREVER);
    wait_until(&mut world, END + 900 * DAY_MS);
    assert_eq!(closed(&world).len(), 4, "and none without anything");
    add(&mut world, 1);
    wait_until(&mut world, END + 940 * DAY_MS);
    assert_eq!(closed(&world).len(), 5);
}

#[test]
fn windows_tile_also_when_the_anchor_moves() {
    let mut world = world(10);
    add(&mut world, 5);
    world.account.profile.anchor = Millis(START + 10 * DAY_MS);
    wait_until(&mut world, END + 40 * DAY_MS);
    let all = closed(&world);
    assert_eq!(all[0].window.end(), Millis(END));
    assert_eq!(all[1].window.start(), Millis(END));
    assert!(all[1].window.end() < Millis(END + 31 * DAY_MS), "it ends by the new anchor");
}

#[test]
fn the_screen_shows_what_the_bill_will_say() {
    for billed_by in BilledBy::ALL {
        let price = OverageTerms {
            unit_price_nanos: 2_500_000_000,
            currency: "USD".into(),
            cap_minor: None,
        };
        let terms = LimitTerms { overage: Some(price), ..LimitTerms::default() };
        let mut world =
            World::of(catalog(Given { billed_by, policy: Policy::Overage, terms, ..given(10) }));
        let verdict = add(&mut world, 40).decision.verdict;
        assert_eq!(verdict, Verdict::Overage);
        world.now += 15 * DAY_MS;
        remove(&mut world, 25);
        world.now = END - 1;
        let shown = state(&world);
        wait_until(&mut world, END);
        let billed = closed(&world)[0].billed_units();
        assert_eq!(shown.billed_units(), Some(billed), "{billed_by:?}");
        assert_eq!(shown.overage_units(), billed - 10);
        assert_eq!(shown.overage_cost().unwrap().minor, (billed - 10) * 5 / 2);
        let expected = match billed_by {
            BilledBy::Peak => 40,
            BilledBy::Average => (40 * 15 + 15 * 14) / 31,
            BilledBy::End => 15,
        };
        assert_eq!(billed, expected, "{billed_by:?}");
    }
}

#[test]
fn a_threshold_is_told_again_after_the_level_fell_through_three_quarters_of_it() {
    let soft_bp = vec![8_000];
    let mut world = World::of(catalog(Given { soft_bp, ..given(100) }));
    let ceiling = |crossed: &[u32]| (SignalName::UsageCeiling, crossed.to_vec());
    add(&mut world, 80);
    assert_eq!(world.told(), [ceiling(&[8_000])]);
    remove(&mut world, 20);
    add(&mut world, 20);
    assert_eq!(world.told(), [], "60 is three quarters of 80");
    remove(&mut world, 21);
    let revision = state(&world).ledger.limit_revision;
    add(&mut world, 21);
    assert_eq!(world.told(), [ceiling(&[8_000])]);
    assert_eq!(world.signals()[0].limit_revision, revision);
    add(&mut world, 20);
    assert_eq!(world.told(), [ceiling(&[10_000])]);
    add(&mut world, 1);
    assert_eq!(world.told(), [(SignalName::FeatureLimitHit, vec![])]);
    add(&mut world, 1);
    assert_eq!(world.told(), []);
    // Below three quarters of the limit, but not of the soft one.
    remove(&mut world, 30);
    add(&mut world, 30);
    assert_eq!(world.told(), [ceiling(&[10_000])]);
    add(&mut world, 1);
    assert_eq!(world.told(), [(SignalName::FeatureLimitHit, vec![])]);
}

#[test]
fn no_two_signals_are_of_the_same_name_revision_and_threshold() {
    let soft_bp = vec![5_000, 8_000];
    let mut world = World::of(catalog(Given { soft_bp, ..given(20) }));
    let mut dice = Dice(5);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let units = 1 + dice.below(6);
        if dice.below(2) == 0 {
            add(&mut world, units);
        } else {
            remove(&mut world, units);
        }
        for signal in world.signals() {
            for crossed in signal.crossed_bp.iter().copied().chain([0]) {
                if crossed > 0 || signal.name == SignalName::FeatureLimitHit {
                    let key = (signal.name, signal.limit_revision, crossed);
                    assert!(seen.insert(key), "{key:?} was told twice");
                }
            }
        }
    }
    assert!(seen.len() > 50);
}

#[test]
fn over_two_thousand_changes_every_window_is_what_a_list_of_them_says() {
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let mut world =
            World::of(catalog(Given { included: None, policy: Policy::Unlimited, ..given(0) }));
        let mut changes: Vec<(i64, u64)> = Vec::new();
        let mut level = 0_u64;
        for _ in 0..100 {
            world.now += i64::try_from(dice.below(9 * 86_400_000)).unwrap();
            let units = 1 + dice.below(1 << 40);
            match dice.below(4) {
                0 => level = level.saturating_sub(remove(&mut world, units).amounts.units),
                1 => {
                    level = if set(&mut world, units).decision.verdict.is_allowed() {
                        units
                    } else {
                        level
                    }
                }
                2 => {
                    report(&mut world, units);
                    level = units;
                }
                _ => {
                    add(&mut world, units);
                    level += units;
                }
            }
            changes.push((world.now, level));
            assert_eq!(counts(&world).0, level);
        }
        let all = closed(&world);
        assert!(all.len() > 5);
        for stock in &all {
            let (start, end) = (stock.window.start().0, stock.window.end().0);
            let at = |at: i64| {
                changes.iter().rev().find(|(when, _)| *when <= at).map_or(0, |(_, level)| *level)
            };
            let mut edges: Vec<i64> = changes
                .iter()
                .map(|(when, _)| *when)
                .filter(|when| start < *when && *when < end)
                .collect();
            edges.insert(0, start);
            edges.push(end);
            let mut sum = 0_u128;
            for pair in edges.windows(2) {
                sum += u128::from(at(pair[0])) * u128::try_from(pair[1] - pair[0]).unwrap();
            }
            assert_eq!(stock.unit_ms, sum, "seed {seed}");
            let inside = changes
                .iter()
                .filter(|(when, _)| start <= *when && *when < end)
                .map(|(_, level)| *level);
            let peak = inside.chain([at(start - 1)]).max().unwrap();
            assert_eq!((stock.peak_units, stock.level_units), (peak, at(end - 1)), "seed {seed}");
        }
    }
}

#[test]
fn a_window_is_measured_the_same_however_often_somebody_looks() {
    let run = |looks: bool| {
        let mut world = world(1_000);
        let mut dice = Dice(3);
        for _ in 0..60 {
            world.now += DAY_MS;
            add(&mut world, 1 + dice.below(9));
            if looks {
                let soon = world.now + HOUR_MS;
                wait_until(&mut world, soon);
                world.now -= HOUR_MS;
            }
        }
        closed(&world)
    };
    assert_eq!(run(false), run(true));
}
