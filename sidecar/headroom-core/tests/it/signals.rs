//! Signals: said once per window and limit revision, in the write that crossed.

use headroom_core::catalog::PlanLimit;
use headroom_core::catalog::Policy;
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::effect::Effect;
use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::policy::{LimitTerms, OverageTerms};
use headroom_core::signal::{
    Foretold, Horizons, NO_LIMIT, SignalName, SignalState, SignalSwitches, foretell,
};
use headroom_core::time::{Millis, Window};
use headroom_core::window::{CalendarUnit, WindowRule};

use crate::world::{DAY_MS, Limit, World, daily, spec, total};

const CEILING: SignalName = SignalName::UsageCeiling;
const HIT: SignalName = SignalName::FeatureLimitHit;
const OVERAGE: SignalName = SignalName::OverageStarted;

#[test]
fn a_threshold_is_announced_by_the_write_that_crosses_it_and_only_by_that() {
    let mut world = World::new(&[daily(10, Policy::Block).soft(&[5_000, 8_000])]);
    let expected: [&[u32]; 10] = [&[], &[], &[], &[], &[5_000], &[], &[], &[8_000], &[], &[10_000]];
    for (place, crossed) in expected.iter().enumerate() {
        world.consume(1);
        let told: Vec<_> = world.told();
        let expected: Vec<_> =
            (!crossed.is_empty()).then(|| (CEILING, crossed.to_vec())).into_iter().collect();
        assert_eq!(told, expected, "unit {}", place + 1);
    }
}

#[test]
fn one_event_lists_all_thresholds_that_a_write_crossed() {
    let mut world = World::new(&[daily(10, Policy::Overage).soft(&[8_000, 5_000])]);
    world.consume(9);
    assert_eq!(world.told(), [(CEILING, vec![5_000, 8_000])]);
    let signal = world.signals()[0];
    assert_eq!((signal.previous_units, signal.current_units), (0, 9));
    assert_eq!((signal.included_units, signal.refused_units), (10, 0));
    assert_eq!((signal.previous_state, signal.state), (SignalState::Ok, SignalState::Warning));
    world.consume(5);
    assert_eq!(world.told(), [(CEILING, vec![10_000]), (HIT, vec![]), (OVERAGE, vec![])]);
    let signal = world.signals()[1];
    assert_eq!((signal.previous_state, signal.state), (SignalState::Warning, SignalState::Alarm));
}

#[test]
fn every_write_announces_whatever_it_is() {
    let write: [fn(&mut World); 4] = [
        |world| drop(world.consume(8)),
        |world| drop(world.record(8)),
        |world| {
            let id = world.reserve(8);
            assert_eq!(world.told(), [], "a hold is no usage");
            world.commit(id, 8);
        },
        |world| {
            let id = world.reserve(8);
            world.now += 2 * crate::world::HOUR_MS;
            world.commit(id, 8);
        },
    ];
    for write in write {
        let mut world = World::new(&[daily(10, Policy::Block).soft(&[8_000])]);
        write(&mut world);
        assert_eq!(world.told(), [(CEILING, vec![8_000])]);
    }
}

#[test]
fn a_refused_attempt_is_announced_once() {
    let attempt = FeatureOp::Check { units: 2, attempt: true };
    let tries =
        [attempt, FeatureOp::Consume { units: 2 }, FeatureOp::Reserve { units: 2, hold_ms: 1 }];
    for first in tries {
        let mut world = World::new(&[daily(1, Policy::Block)]);
        world.ask(first);
        assert_eq!(world.told(), [(HIT, vec![])], "{first:?}");
        let signal = world.signals()[0];
        assert_eq!((signal.refused_units, signal.current_units), (2, 0));
        for again in tries {
            world.ask(again);
            assert_eq!(world.last, [], "{again:?} after {first:?}");
        }
    }
}

#[test]
fn drawing_a_screen_is_never_announced() {
    let mut world = World::new(&[daily(1, Policy::Block).soft(&[1])]);
    world.check(2);
    assert_eq!(world.last, []);
}

#[test]
fn an_attempt_that_may_go_on_is_not_announced() {
    let mut world = World::new(&[daily(1, Policy::Block)]);
    world.ask(FeatureOp::Check { units: 1, attempt: true });
    assert_eq!(world.last, []);
}

#[test]
fn units_that_are_only_held_elsewhere_are_no_limit_hit() {
    let mut world = World::new(&[daily(2, Policy::Block)]);
    world.reserve(2);
    assert_eq!(world.consume(1).decision.verdict, Verdict::Denied(Denial::InFlight));
    assert_eq!(world.last, []);
}

#[test]
fn a_refused_extension_is_announced() {
    let mut world = World::new(&[daily(2, Policy::Block)]);
    let id = world.reserve(2);
    let more = HoldOp::Extend { hold_ms: None, additional_units: 3 };
    world.try_hold(id, more).unwrap();
    assert_eq!(world.told(), [(HIT, vec![])]);
}

#[test]
fn a_new_window_is_announced_anew() {
    let mut world = World::new(&[daily(2, Policy::Block).soft(&[5_000])]);
    for _ in 0..3 {
        world.consume(1);
        assert_eq!(world.told(), [(CEILING, vec![5_000])]);
        world.consume(1);
        assert_eq!(world.told(), [(CEILING, vec![10_000])]);
        world.consume(1);
        assert_eq!(world.told(), [(HIT, vec![])]);
        world.now += DAY_MS;
    }
}

#[test]
fn a_changed_limit_is_announced_anew_and_the_same_is_not() {
    let ten = daily(10, Policy::Block).soft(&[5_000]);
    let mut world = World::new(std::slice::from_ref(&ten));
    world.consume(5);
    assert_eq!(world.signals()[0].limit_revision, 1);

    world.change_limits(std::slice::from_ref(&ten));
    world.consume(1);
    assert_eq!(world.told(), [], "the same definition in a new catalog");

    let changes = [
        daily(11, Policy::Block).soft(&[5_000]),
        daily(11, Policy::Overage).soft(&[5_000]),
        daily(11, Policy::Overage).soft(&[5_000, 9_900]),
    ];
    for (change, revision) in changes.into_iter().zip(2..) {
        world.change_limits(&[change]);
        world.consume(1);
        assert_eq!(world.told(), [(CEILING, vec![5_000])], "revision {revision}");
        assert_eq!(world.signals()[0].limit_revision, revision);
    }
}

#[test]
fn a_raised_limit_lets_the_state_recover() {
    let mut world = World::new(&[daily(2, Policy::Block)]);
    world.consume(2);
    assert_eq!(world.signals()[0].state, SignalState::Alarm);
    world.change_limits(&[daily(10, Policy::Block).soft(&[5_000])]);
    world.consume(1);
    assert_eq!(world.told(), []);
    world.consume(2);
    let signal = world.signals()[0];
    assert_eq!((signal.previous_state, signal.state), (SignalState::Ok, SignalState::Warning));
}

#[test]
fn each_limit_is_announced_for_itself_in_the_order_of_the_plan() {
    let mut world = World::new(&[total(1, Policy::Overage), daily(1, Policy::Overage)]);
    world.consume(1);
    let told: Vec<_> =
        world.signals().iter().map(|signal| world.catalog.text(signal.limit)).collect();
    assert_eq!(told, ["total", "daily"]);
}

#[test]
fn only_the_limits_that_refuse_announce_the_refusal() {
    let mut world = World::new(&[total(9, Policy::Block), daily(1, Policy::Block)]);
    world.consume(2);
    let told: Vec<_> =
        world.signals().iter().map(|signal| world.catalog.text(signal.limit)).collect();
    assert_eq!(told, ["daily"]);
}

#[test]
fn signals_are_switched_off_one_by_one() {
    for (usage_ceiling, feature_limit_hit) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let switches = SignalSwitches {
            usage_ceiling,
            feature_limit_hit,
            overage_started: false,
            ..SignalSwitches::default()
        };
        let mut world = World::of(spec(&[daily(2, Policy::Overage)], switches));
        world.consume(3);
        let mut expected = vec![];
        if usage_ceiling {
            expected.push((CEILING, vec![10_000]));
        }
        if feature_limit_hit {
            expected.push((HIT, vec![]));
        }
        assert_eq!(world.told(), expected, "{switches:?}");
    }
}

#[test]
fn grace_and_overage_are_announced_as_a_limit_hit() {
    for (policy, started) in
        [(Policy::Grace { grace_bp: 10_000 }, SignalName::GraceStarted), (Policy::Overage, OVERAGE)]
    {
        let mut world = World::new(&[daily(2, policy)]);
        world.consume(2);
        assert_eq!(world.told(), [(CEILING, vec![10_000])]);
        world.consume(1);
        assert_eq!(world.told(), [(HIT, vec![]), (started, vec![])], "{policy:?}");
        world.consume(1);
        assert_eq!(world.told(), [], "{policy:?}");
    }
}

#[test]
fn nothing_included_is_reached_by_the_first_unit() {
    let mut world = World::new(&[daily(0, Policy::Overage)]);
    world.consume(1);
    assert_eq!(world.told(), [(CEILING, vec![10_000]), (HIT, vec![]), (OVERAGE, vec![])]);
}

#[test]
fn an_unlimited_limit_announces_nothing() {
    let mut world = World::new(&[crate::world::unlimited()]);
    world.consume(1_000_000);
    assert_eq!(world.told(), []);
}

/// A ledger of a window of so many days, 10 of 100 units used, and what is said of it when its limit is
/// foretold for day `at` on day `now`: the horizon, if any, and the ledger afterwards.
fn told_ahead(ledger: Ledger, soft: usize, at: i64, now: i64) -> (Option<u16>, Ledger) {
    let soft_bp = (1..=u32::try_from(soft).unwrap()).collect();
    let rule = WindowRule::Calendar(CalendarUnit::Month);
    let limit = PlanLimit::new(NameId(2), rule, Some(100), soft_bp, Policy::Block);
    let (at, now) = (Millis(at * DAY_MS), Millis(now * DAY_MS));
    let foretold = Foretold { days: 0, probability_bp: 9_000, at, from: now, to: None };
    let mut effects = Vec::new();
    foretell(&limit, ledger, foretold, (SignalSwitches::default(), now), &mut effects);
    match &effects[..] {
        [] => (None, ledger),
        [Effect::Ledger(after), Effect::Signal(signal)] => {
            assert_eq!((signal.name, signal.state), (AHEAD, SignalState::Warning));
            assert_eq!((signal.current_units, signal.included_units), (10, 100));
            (signal.foretold.map(|foretold| foretold.days), *after)
        }
        other => panic!("{other:?}"),
    }
}

const AHEAD: SignalName = SignalName::ProjectedExhaustion;

fn of_days(days: i64) -> Ledger {
    let window = Window::new(Millis(0), Millis(days * DAY_MS)).unwrap();
    Ledger { used: 10, ..Ledger::new(NameId(1), NameId(2), window, 0) }
}

#[test]
fn an_exhaustion_is_foretold_once_per_horizon() {
    let (said, ledger) = told_ahead(of_days(30), 12, 25, 5);
    assert_eq!(said, None, "twenty days ahead");
    let (said, ledger) = told_ahead(ledger, 12, 19, 5);
    assert_eq!(said, Some(14));
    assert_eq!(told_ahead(ledger, 12, 17, 5).0, None, "said already");
    let (said, ledger) = told_ahead(ledger, 12, 17, 14);
    assert_eq!(said, Some(3));
    assert_eq!(told_ahead(ledger, 12, 16, 15).0, None);
    // What comes suddenly is said once, by the nearest.
    let (said, ledger) = told_ahead(of_days(30), 12, 17, 15);
    assert_eq!((said, told_ahead(ledger, 12, 28, 16).0), (Some(3), None));
}

#[test]
fn horizons_as_long_as_the_window_say_nothing() {
    assert_eq!(told_ahead(of_days(7), 0, 5, 1).0, None, "14 days of 7");
    assert_eq!(told_ahead(of_days(7), 0, 4, 1).0, Some(3));
    assert_eq!(told_ahead(of_days(1), 0, 1, 0).0, None);
    // Nor of a window that is over, a limit that is reached, or where the marks are taken.
    assert_eq!(told_ahead(of_days(30), 0, 32, 31).0, None);
    assert_eq!(told_ahead(Ledger { used: 100, ..of_days(30) }, 0, 7, 5).0, None);
    assert_eq!(told_ahead(of_days(30), 13, 7, 5).0, None);
}

#[test]
fn horizons_are_one_or_two_numbers_of_days() {
    let days = |days: &[u16]| Horizons::new(days).map(|horizons| horizons.days().collect());
    assert_eq!(days(&[3, 14]), Some(vec![(0, 14), (1, 3)]));
    assert_eq!(days(&[7]), Some(vec![(0, 7)]));
    for bad in [&[][..], &[0], &[367], &[1, 2, 3]] {
        assert_eq!(days(bad), None, "{bad:?}");
    }
}

#[test]
fn what_the_plan_does_not_have_is_told_of_once_a_day_and_feature() {
    let tried = [(SignalName::PremiumFeatureAttempted, vec![])];
    let mut spec = spec(&[daily(2, Policy::Block)], SignalSwitches::default());
    spec.plans[0].entitlements.clear();
    let mut world = World::of(spec);
    let ask = |world: &mut World, feature: &str, op| {
        let refused = world.try_ask(feature, op).unwrap().decision.verdict;
        assert_eq!(refused, Verdict::Denied(Denial::NotInPlan));
        world.told()
    };
    let attempt = FeatureOp::Check { units: 1, attempt: true };
    let drawn = FeatureOp::Check { units: 1, attempt: false };
    assert_eq!(ask(&mut world, "sso", drawn), [], "a screen is no attempt");
    assert_eq!(ask(&mut world, "sso", attempt), tried);
    let signal = world.signals()[0];
    assert_eq!((signal.limit, signal.refused_units), (NO_LIMIT, 1));
    assert_eq!(ask(&mut world, "sso", attempt), []);
    assert_eq!(ask(&mut world, "tokens", FeatureOp::Consume { units: 7 }), tried);
    assert_eq!(world.signals()[0].refused_units, 7);
    assert_eq!(ask(&mut world, "tokens", FeatureOp::Reserve { units: 1, hold_ms: 9 }), []);
    world.now += DAY_MS;
    assert_eq!(ask(&mut world, "sso", attempt), tried, "a new day");
    world.record(3);
    assert_eq!(world.told(), [], "what has happened is no attempt");
    // A copy made of what a snapshot keeps remembers it.
    let kept = world.account.further();
    let mut copy = world.account.clone();
    kept.iter().for_each(|effect| copy.apply(effect));
    assert_eq!(copy, world.account);
}

#[test]
fn overage_near_its_cap_is_told_once_per_window_and_limit() {
    let near = [(SignalName::OverageCapNear, vec![])];
    let limit = |cap_minor| {
        let overage = OverageTerms {
            unit_price_nanos: 1_000_000_000,
            currency: "USD".into(),
            cap_minor: Some(cap_minor),
        };
        let terms = LimitTerms { overage: Some(overage), ..LimitTerms::default() };
        Limit { terms, ..daily(10, Policy::Overage) }
    };
    let mut world = World::new(&[limit(10)]);
    world.consume(17);
    assert!(!world.told().contains(&near[0]), "7 of 10");
    world.consume(1);
    assert_eq!(world.told(), near);
    world.consume(2);
    assert_eq!(world.told(), []);
    world.change_limits(&[limit(15)]);
    world.consume(1);
    assert!(!world.told().contains(&near[0]), "11 of 15");
    world.consume(1);
    assert_eq!(world.told(), near, "12 of 15: a limit of its own");
    world.now += DAY_MS;
    world.consume(25);
    assert!(world.told().contains(&near[0]), "a window of its own");
    let near_bp = SignalSwitches { overage_cap_near_bp: 5_000, ..SignalSwitches::default() };
    let mut world = World::of(spec(&[limit(10)], near_bp));
    world.consume(15);
    assert!(world.told().contains(&near[0]), "from a half on");
    let off = SignalSwitches { overage_cap_near: false, ..SignalSwitches::default() };
    let mut world = World::of(spec(&[limit(10)], off));
    world.consume(20);
    assert!(!world.told().contains(&near[0]));
}
