//! Denials have an order: when several apply, the first is reported.

use headroom_core::catalog::Policy;
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Denial, Verdict};
use headroom_core::time::Millis;

use crate::world::{World, daily, total};

/// What stands against the request.
#[derive(Clone, Copy, Default)]
struct Against {
    suspended: bool,
    no_such_feature: bool,
    ended: bool,
    not_in_plan: bool,
    used_up: bool,
    in_flight: bool,
}

/// Everything that can stand against a request together with `NotInPlan` and the graver ones.
const ALL: Against = Against {
    suspended: true,
    no_such_feature: true,
    ended: true,
    not_in_plan: true,
    used_up: true,
    in_flight: true,
};

#[track_caller]
fn check(against: Against, expected: Option<Denial>) {
    let mut world = World::new(&[daily(3, Policy::Block), total(3, Policy::Block)]);
    if against.in_flight {
        world.set("daily", 0, 3);
    }
    if against.used_up {
        world.set("total", 3, 0);
    }
    world.account.profile.suspended = against.suspended;
    if against.ended {
        world.account.profile.ends_at = Millis(world.now);
    }
    if against.not_in_plan {
        world.account.profile.plan = world.id("bare");
    }
    let feature = if against.no_such_feature { "ghost" } else { "tokens" };
    let ops = [
        FeatureOp::Check { units: 1, attempt: false },
        FeatureOp::Check { units: 1, attempt: true },
        FeatureOp::Consume { units: 1 },
        FeatureOp::Reserve { units: 1, hold_ms: 1 },
    ];
    for op in ops {
        let verdict = world.try_ask(feature, op).unwrap().decision.verdict;
        assert_eq!(verdict, expected.map_or(Verdict::Allowed, Verdict::Denied), "{op:?}");
        if verdict.is_allowed() {
            return;
        }
    }
}

#[test]
fn the_first_denial_that_applies_is_reported() {
    check(ALL, Some(Denial::AccountSuspended));
    check(Against { no_such_feature: false, ..ALL }, Some(Denial::AccountSuspended));
    check(Against { suspended: false, ..ALL }, Some(Denial::UnknownFeature));
    let known = Against { suspended: false, no_such_feature: false, ..ALL };
    check(known, Some(Denial::SubscriptionEnded));
    check(Against { ended: false, ..known }, Some(Denial::NotInPlan));
    let planned = Against { ended: false, not_in_plan: false, ..known };
    check(planned, Some(Denial::QuotaExhausted));
    check(Against { used_up: false, ..planned }, Some(Denial::InFlight));
    check(Against { in_flight: false, ..planned }, Some(Denial::QuotaExhausted));
    check(Against::default(), None);
}

#[test]
fn each_denial_is_reported_alone() {
    let none = Against::default();
    check(Against { suspended: true, ..none }, Some(Denial::AccountSuspended));
    check(Against { no_such_feature: true, ..none }, Some(Denial::UnknownFeature));
    check(Against { ended: true, ..none }, Some(Denial::SubscriptionEnded));
    check(Against { not_in_plan: true, ..none }, Some(Denial::NotInPlan));
    check(Against { used_up: true, ..none }, Some(Denial::QuotaExhausted));
    check(Against { in_flight: true, ..none }, Some(Denial::InFlight));
}

#[test]
fn the_variants_are_in_the_order_of_precedence() {
    let order = [
        Denial::UnknownAccount,
        Denial::AccountSuspended,
        Denial::UnknownFeature,
        Denial::SubscriptionEnded,
        Denial::NotInPlan,
        Denial::FeaturePaused,
        Denial::RateLimited,
        Denial::ConcurrencyFull,
        Denial::QuotaExhausted,
        Denial::InFlight,
    ];
    assert!(order.is_sorted());
}

#[test]
fn a_subscription_ends_at_its_instant_and_not_before() {
    let mut world = World::new(&[daily(3, Policy::Block)]);
    world.account.profile.ends_at = Millis(world.now + 1);
    assert_eq!(world.consume(1).decision.verdict, Verdict::Allowed);
    world.now += 1;
    let refused = Verdict::Denied(Denial::SubscriptionEnded);
    assert_eq!(world.consume(1).decision.verdict, refused);
}

#[test]
fn a_switch_that_is_off_is_not_in_the_plan() {
    let mut world = World::new(&[daily(3, Policy::Block)]);
    world.account.profile.plan = world.id("bare");
    let writes = [
        FeatureOp::Check { units: 1, attempt: true },
        FeatureOp::Consume { units: 1 },
        FeatureOp::Reserve { units: 1, hold_ms: 1 },
    ];
    for feature in ["sso", "retention", "tokens"] {
        for op in writes {
            let verdict = world.try_ask(feature, op).unwrap().decision.verdict;
            assert_eq!(verdict, Verdict::Denied(Denial::NotInPlan), "{feature} {op:?}");
        }
    }
}
