//! Record: usage that happened already is always counted; what no limit allows of it is debt.

use headroom_core::catalog::Policy;
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Denial, Verdict};
use headroom_core::resolve::Origin;
use headroom_core::time::Millis;

use crate::admission::{every_limit, naive_ceiling, naive_level};
use crate::world::{World, daily, total};

#[test]
fn every_small_record_is_counted_as_naively() {
    every_limit(|limit| {
        let (included, policy, soft_bp) = limit;
        let soft: Vec<u32> = soft_bp.into_iter().collect();
        let mut world = World::new(&[daily(included, policy).soft(&soft)]);
        for used in 0..7 {
            for (reserved, units) in (0..4).flat_map(|r| (1..6).map(move |units| (r, units))) {
                world.set("daily", used, reserved);
                let debt_before = world.counts().2;
                let outcome = world.record(units);
                let after = used + reserved + units;
                let above = after - naive_ceiling(included, policy).unwrap_or(after).min(after);
                let debt = above.min(units);
                let case = format!("{limit:?} used {used} reserved {reserved} record {units}");
                assert_eq!(outcome.amounts.debt_units, debt, "{case}");
                assert_eq!(outcome.amounts.units, units, "{case}");
                assert_eq!(world.counts(), (used + units, reserved, debt_before + debt), "{case}");
                let level = naive_level(limit, used + units, reserved);
                assert_eq!(outcome.decision.verdict, level, "{case}");
                // Debt belongs to usage; the next case sets the usage anew.
                let mut clean = world.state("daily").ledger;
                clean.debt = 0;
                world.apply(&[headroom_core::effect::Effect::Ledger(clean)]);
            }
        }
    });
}

#[test]
fn the_debt_of_several_limits_is_the_most_of_them() {
    let mut world = World::new(&[daily(5, Policy::Block), total(2, Policy::Block)]);
    let outcome = world.record(6);
    assert_eq!(outcome.amounts.debt_units, 4);
    assert_eq!((world.state("daily").ledger.debt, world.state("total").ledger.debt), (1, 4));
}

#[test]
fn a_record_is_counted_whatever_stands_against_it() {
    let mut world = World::new(&[daily(2, Policy::Block)]);
    world.account.profile.suspended = true;
    world.account.profile.ends_at = Millis(world.now);
    let outcome = world.record(3);
    assert_eq!(outcome.decision.verdict, Verdict::Unbacked);
    assert_eq!(world.counts(), (3, 0, 1));
}

#[test]
fn what_is_recorded_on_a_feature_outside_the_plan_is_all_debt() {
    let mut world = World::new(&[daily(9, Policy::Block), total(9, Policy::Unlimited)]);
    world.account.profile.plan = world.id("bare");
    let outcome = world.record(3);
    assert_eq!((outcome.amounts.units, outcome.amounts.debt_units), (3, 3));
    assert_eq!(outcome.decision.origin, Origin::None);
    world.account.profile.plan = world.id("pro");
    for limit in ["daily", "total"] {
        let ledger = world.state(limit).ledger;
        assert_eq!((ledger.used, ledger.debt), (3, 3), "{limit}");
    }
}

#[test]
fn nothing_is_recorded_on_a_feature_that_is_not_in_the_catalog() {
    let mut world = World::new(&[daily(9, Policy::Block)]);
    world.account.profile.suspended = true;
    let outcome = world.try_ask("ghost", FeatureOp::Record { units: 1 }).unwrap();
    assert_eq!(outcome.decision.verdict, Verdict::Denied(Denial::UnknownFeature));
    assert_eq!(world.last, []);
}

#[test]
fn debt_blocks_new_work_and_existing_work_stands() {
    let mut world = World::new(&[daily(5, Policy::Block)]);
    let id = world.reserve(3);
    world.record(4);
    assert_eq!(world.counts(), (4, 3, 2));
    assert_eq!(world.consume(1).decision.verdict, Verdict::Denied(Denial::InFlight));
    let amounts = world.commit(id, 3).amounts;
    assert_eq!((amounts.surplus_units, amounts.debt_units), (0, 0));
    assert_eq!(world.counts(), (7, 0, 2));
}
