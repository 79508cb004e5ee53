//! When a refused caller is told to come again: only where waiting helps.

use headroom_core::account::{Override, OverrideValue, ScheduledPlan};
use headroom_core::catalog::{FeatureKindSpec, Policy};
use headroom_core::decide::{self, Context, FeatureOp, HoldOp};
use headroom_core::effect::Effects;
use headroom_core::policy::{GraceTerms, GraceTimes, OverageTerms};
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};

use crate::world::{DAY_MS, HOUR_MS, Limit, T0, World, daily, spec, total};

/// T0 is noon, and the window is the day.
const TONIGHT: Option<i64> = Some(DAY_MS / 2);

fn wait(world: &mut World, units: u64) -> Option<i64> {
    let decision = world.consume(units).decision;
    assert!(!decision.verdict.is_allowed(), "{units} units pass");
    decision.retry_after_ms
}

fn monthly(included: u64) -> Limit {
    let window = WindowRule::Calendar(CalendarUnit::Month);
    Limit { limit: "monthly", window, ..daily(included, Policy::Block) }
}

fn put(world: &mut World, included: Option<u64>, (from, until): (i64, i64)) {
    let value = OverrideValue::Limit { limit: world.id("daily"), included_units: included };
    let one = Override::new(world.id("tokens"), value);
    let one = Override { starts_at: Millis(from), ends_at: Millis(until), ..one };
    world.account.profile.extra.get_or_insert_default().overrides.push(one);
}

#[test]
fn who_asks_for_more_than_a_whole_window_gives_is_not_told_to_wait() {
    let grace = Policy::Grace { grace_bp: 1_000 };
    for (limit, most) in [(daily(100, Policy::Block), 100), (daily(100, grace), 110)] {
        let mut world = World::new(&[limit]);
        assert_eq!(wait(&mut world, most + 1), None, "nothing was used");
        assert_eq!(world.check(u64::from(u32::MAX)).decision.retry_after_ms, None);
        world.set("daily", 1, 0);
        assert_eq!(wait(&mut world, most), TONIGHT);
        assert_eq!(wait(&mut world, most + 1), None);
    }
}

#[test]
fn a_spend_cap_bounds_what_is_waited_for() {
    let mut limit = daily(100, Policy::Overage);
    let overage = OverageTerms {
        unit_price_nanos: 1_000_000_000,
        currency: "EUR".into(),
        cap_minor: Some(50),
    };
    limit.terms.overage = Some(overage);
    let mut world = World::new(&[limit]);
    world.set("daily", 1, 0);
    assert_eq!((wait(&mut world, 150), wait(&mut world, 151)), (TONIGHT, None));
}

#[test]
fn of_several_limits_the_one_that_never_frees_binds() {
    let mut world = World::new(&[daily(10, Policy::Block), monthly(1_000)]);
    world.set("daily", 5, 0);
    world.set("monthly", 995, 0);
    let refused = world.consume(11).decision;
    let binding = refused.binding.unwrap().ledger.limit;
    assert_eq!((refused.retry_after_ms, world.catalog.text(binding)), (None, "daily"));
    let refused = world.consume(10).decision;
    let binding = refused.binding.unwrap().ledger.limit;
    assert_eq!(world.catalog.text(binding), "monthly", "the last one to free");
    // From noon of the 10th to the first of April.
    assert_eq!(refused.retry_after_ms, Some(21 * DAY_MS + DAY_MS / 2));
}

#[test]
fn an_override_is_waited_for_where_it_ends_or_begins_and_else_nothing_is() {
    let forever = Millis::FOREVER.0;
    let mut world = World::new(&[daily(100, Policy::Block)]);
    put(&mut world, Some(0), (i64::MIN, forever));
    assert_eq!(wait(&mut world, 1), None, "tomorrow it is nothing again");
    for ends_ms in [HOUR_MS, 5 * DAY_MS] {
        let mut world = World::new(&[daily(100, Policy::Block)]);
        put(&mut world, Some(0), (i64::MIN, T0 + ends_ms));
        assert_eq!((wait(&mut world, 1), wait(&mut world, 101)), (Some(ends_ms), None));
    }
    let mut world = World::new(&[daily(100, Policy::Block)]);
    put(&mut world, Some(200), (T0 + 3 * DAY_MS, forever));
    assert_eq!((wait(&mut world, 200), wait(&mut world, 201)), (Some(3 * DAY_MS), None));
    world.set("daily", 100, 0);
    assert_eq!(wait(&mut world, 100), TONIGHT, "before it begins");
    // What is more today is not promised for tomorrow.
    let mut world = World::new(&[daily(100, Policy::Block)]);
    put(&mut world, Some(200), (i64::MIN, T0 + HOUR_MS));
    world.set("daily", 200, 0);
    assert_eq!((wait(&mut world, 100), wait(&mut world, 101)), (TONIGHT, None));
}

#[test]
fn a_plan_that_begins_is_waited_for_and_one_that_gives_less_promises_nothing() {
    let scheduled = |plan: &str, at| {
        let mut world = World::new(&[daily(100, Policy::Block)]);
        let plan = world.id(plan);
        let next = ScheduledPlan { starts_at: Millis(at), plan };
        world.account.profile.extra.get_or_insert_default().scheduled.push(next);
        world
    };
    let mut world = scheduled("bare", T0 + HOUR_MS);
    world.set("daily", 100, 0);
    assert_eq!(wait(&mut world, 1), None, "tomorrow the plan has no tokens");
    let mut world = scheduled("bare", T0 + DAY_MS);
    world.set("daily", 100, 0);
    assert_eq!(wait(&mut world, 1), TONIGHT);
    let mut world = scheduled("pro", T0 + HOUR_MS);
    world.account.profile.plan = world.id("bare");
    assert_eq!(wait(&mut world, 1), None, "what the plan has not is no matter of waiting");
}

#[test]
fn nothing_is_waited_for_beyond_the_end_of_the_subscription() {
    let mut world = World::new(&[daily(100, Policy::Block)]);
    world.set("daily", 100, 0);
    world.account.profile.ends_at = Millis(T0 + DAY_MS);
    assert_eq!(wait(&mut world, 1), TONIGHT);
    world.account.profile.ends_at = Millis(T0 + DAY_MS / 2);
    assert_eq!(wait(&mut world, 1), None);
}

#[test]
fn debt_that_is_carried_is_waited_for_until_a_window_has_room() {
    let mut limit = daily(10, Policy::Block);
    limit.terms.carries_debt = true;
    let mut world = World::new(&[limit]);
    world.record(35);
    // 25 are owed: three days take them off, and the fourth has five left.
    let days = |days| Some(days * DAY_MS - DAY_MS / 2);
    assert_eq!((wait(&mut world, 5), wait(&mut world, 6)), (days(3), days(4)));
    assert_eq!((wait(&mut world, 10), wait(&mut world, 11)), (days(4), None));
    world.now += 3 * DAY_MS - DAY_MS / 2;
    assert!(world.consume(5).decision.verdict.is_allowed());
}

#[test]
fn a_grace_that_was_used_up_is_not_promised_again() {
    let mut limit = daily(10, Policy::Grace { grace_bp: 5_000 });
    let times = Some(GraceTimes { times: 1, months: 1 });
    limit.terms.grace = Some(GraceTerms { lasts_ms: None, notice_ms: 0, times });
    let mut world = World::new(&[limit]);
    world.consume(15);
    assert_eq!((wait(&mut world, 10), wait(&mut world, 11)), (TONIGHT, None));
}

#[test]
fn what_slides_is_not_promised_by_a_limit_that_is_gone_by_then() {
    let window = WindowRule::Sliding(Every { count: 24, unit: SpanUnit::Hour });
    let mut world = World::new(&[Limit { window, ..daily(10, Policy::Block) }]);
    put(&mut world, Some(20), (i64::MIN, T0 + HOUR_MS));
    world.consume(20);
    assert_eq!(wait(&mut world, 10), Some(25 * HOUR_MS));
    assert_eq!(wait(&mut world, 11), None, "from one o'clock on there are ten");
}

#[test]
fn more_units_of_a_hold_count_where_it_was_admitted_and_are_not_waited_for() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = world.reserve(4);
    world.record(10);
    let more = HoldOp::Extend { hold_ms: None, additional_units: 1 };
    let refused = world.try_hold(id, more).unwrap().decision;
    assert!(!refused.verdict.is_allowed());
    assert_eq!(refused.retry_after_ms, None);
}

#[test]
fn a_lifetime_is_not_waited_for_unless_more_is_to_come() {
    let mut world = World::new(&[daily(10, Policy::Block), total(10, Policy::Block)]);
    world.record(10);
    assert_eq!(wait(&mut world, 1), None);
    let value = OverrideValue::Limit { limit: world.id("total"), included_units: None };
    let one = Override::new(world.id("tokens"), value);
    let one = Override { starts_at: Millis(T0 + 9 * DAY_MS), ..one };
    world.account.profile.extra.get_or_insert_default().overrides.push(one);
    assert_eq!(wait(&mut world, 1), Some(9 * DAY_MS));
}

#[test]
fn a_subject_is_told_to_wait_for_what_its_own_limit_gives() {
    let mut spec = spec(&[daily(100, Policy::Block), monthly(8)], Default::default());
    if let FeatureKindSpec::Quota { limits } = &mut spec.features[0].kind {
        limits[1].per = Some("user".to_owned());
    }
    let mut world = World::of(spec);
    let value = OverrideValue::SubjectLimit {
        subject: "user:x".into(),
        limit: world.id("monthly"),
        included_units: Some(0),
    };
    let one = Override::new(world.id("tokens"), value);
    let one = Override { ends_at: Millis(T0 + 9 * DAY_MS), ..one };
    world.account.profile.extra.get_or_insert_default().overrides.push(one);
    let ask = |world: &World, subject: &str, units| {
        let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
        let feature = world.feature("tokens");
        let path = SubjectPath::new(subject).unwrap();
        let op = FeatureOp::Consume { units };
        let decided =
            decide::decide_feature_for(cx, &world.account, feature, path, op, &mut Effects::new());
        let decision = decided.unwrap().decision;
        assert!(!decision.verdict.is_allowed());
        decision.retry_after_ms
    };
    assert_eq!(ask(&world, "user:x", 1), Some(9 * DAY_MS));
    assert_eq!((ask(&world, "user:x", 9), ask(&world, "user:y", 9)), (None, None));
    assert_eq!(ask(&world, "user:y", 101), None);
}
