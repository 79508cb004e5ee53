//! Overrides: each speaks for one limit, switch or config, and leaves the rest of the plan as it is.

use headroom_core::account::OverrideValue;
use headroom_core::catalog::Policy;
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Decision, Denial, Verdict};
use headroom_core::resolve::Origin;

use crate::world::{World, daily, total};

fn world() -> World {
    World::new(&[
        daily(5, Policy::Grace { grace_bp: 4_000 }).soft(&[8_000]),
        total(100, Policy::Overage),
    ])
}

fn limit(world: &World, limit: &str, included_units: Option<u64>) -> OverrideValue {
    OverrideValue::Limit { limit: world.id(limit), included_units }
}

fn check(world: &mut World, feature: &str) -> Decision {
    world.try_ask(feature, FeatureOp::Check { units: 1, attempt: false }).unwrap().decision
}

#[test]
fn an_override_of_a_limit_keeps_its_policy_its_thresholds_and_the_other_limits() {
    let mut world = world();
    assert_eq!(check(&mut world, "tokens").origin, Origin::Plan);
    let to_ten = limit(&world, "daily", Some(10));
    world.put_override("tokens", to_ten);
    assert_eq!(check(&mut world, "tokens").origin, Origin::Override);
    let state = world.state("daily");
    assert_eq!((state.included_units, state.ceiling_units), (Some(10), Some(14)));
    world.set("daily", 8, 0);
    assert_eq!(world.state("daily").passed_bp.as_slice(), [8_000]);
    assert_eq!(world.state("total").included_units, Some(100));
}

#[test]
fn an_override_can_lift_a_limit_and_can_take_everything() {
    let mut world = world();
    let lifted = limit(&world, "daily", None);
    world.put_override("tokens", lifted);
    assert_eq!(world.consume(99).decision.verdict, Verdict::Allowed);
    let nothing = limit(&world, "daily", Some(0));
    world.put_override("tokens", nothing);
    let refused = Verdict::Denied(Denial::QuotaExhausted);
    assert_eq!(check(&mut world, "tokens").verdict, refused);
    assert_eq!(world.account.profile.overrides().len(), 1, "the later replaced the earlier");
}

#[test]
fn an_override_entitles_by_itself_and_blocks_at_its_end() {
    let mut world = world();
    world.account.profile.plan = world.id("bare");
    assert_eq!(check(&mut world, "tokens").verdict, Verdict::Denied(Denial::NotInPlan));
    let three = limit(&world, "total", Some(3));
    world.put_override("tokens", three);
    let decision = world.consume(3).decision;
    assert_eq!((decision.verdict, decision.origin), (Verdict::Allowed, Origin::Override));
    let refused = Verdict::Denied(Denial::QuotaExhausted);
    assert_eq!(world.consume(1).decision.verdict, refused);
}

#[test]
fn a_switch_is_overridden_both_ways() {
    let mut world = world();
    let (on, off) = (OverrideValue::Switch { on: true }, OverrideValue::Switch { on: false });
    assert_eq!(check(&mut world, "sso").verdict, Verdict::Allowed);
    world.put_override("sso", off);
    let decision = check(&mut world, "sso");
    assert_eq!(decision.verdict, Verdict::Denied(Denial::NotInPlan));
    assert_eq!(decision.origin, Origin::None);
    world.account.profile.plan = world.id("bare");
    world.put_override("sso", on);
    let decision = check(&mut world, "sso");
    assert_eq!((decision.verdict, decision.origin), (Verdict::Allowed, Origin::Override));
}

#[test]
fn a_config_is_overridden_by_another_value() {
    let mut world = world();
    assert_eq!(check(&mut world, "retention").value_json.as_deref(), Some("30"));
    world.put_override("retention", OverrideValue::Config { value_json: "365".into() });
    let decision = check(&mut world, "retention");
    assert_eq!(decision.value_json.as_deref(), Some("365"));
    assert_eq!(decision.origin, Origin::Override);
}

#[test]
fn an_override_of_a_limit_that_left_the_catalog_sleeps() {
    let mut world = world();
    let to_ten = limit(&world, "total", Some(10));
    world.put_override("tokens", to_ten);
    world.change_limits(&[daily(5, Policy::Block)]);
    assert_eq!(check(&mut world, "tokens").origin, Origin::Plan);
    world.change_limits(&[daily(5, Policy::Block), total(100, Policy::Block)]);
    assert_eq!(check(&mut world, "tokens").origin, Origin::Override);
    assert_eq!(world.state("total").included_units, Some(10));
}

#[test]
fn an_override_is_of_its_feature_alone() {
    let mut world = world();
    world.put_override("sso", OverrideValue::Switch { on: false });
    assert_eq!(check(&mut world, "retention").verdict, Verdict::Allowed);
    assert_eq!(check(&mut world, "tokens").origin, Origin::Plan);
}
