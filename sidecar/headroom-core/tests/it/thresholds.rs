//! Soft thresholds begin at the first whole unit at or past their share; grace ends at the last.

use headroom_core::catalog::{PlanLimit, Policy};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::limits::UNITS_MAX;
use headroom_core::names::NameId;
use headroom_core::window::WindowRule;

use crate::world::{World, daily};

#[test]
fn a_threshold_is_passed_by_the_first_unit_that_is_not_below_it() {
    for included in 1..=60u64 {
        for bp in [1, 99, 1_250, 3_333, 3_334, 5_000, 6_667, 8_000, 9_999] {
            let first = (included * u64::from(bp)).div_ceil(10_000);
            let mut world = World::new(&[daily(included, Policy::Block).soft(&[bp])]);
            for used in 1..=included {
                let decision = world.consume(1).decision;
                let passed = used >= first;
                let verdict = if passed { Verdict::SoftLimit } else { Verdict::Allowed };
                assert_eq!(decision.verdict, verdict, "{used} of {included}, {bp} bp");
                let passed_bp = decision.binding.unwrap().passed_bp;
                assert_eq!(passed_bp.contains(&bp), passed, "{used} of {included}, {bp} bp");
            }
        }
    }
}

#[track_caller]
fn check_passed(included: u64, used: u64, soft_bp: &[u32], expected: &[u32]) {
    let mut world = World::new(&[daily(included, Policy::Block).soft(soft_bp)]);
    world.set("daily", used, 0);
    assert_eq!(world.state("daily").passed_bp.as_slice(), expected);
}

#[test]
fn thresholds_are_exact_at_every_size() {
    check_passed(10, 7, &[8_000], &[]);
    check_passed(10, 8, &[8_000], &[8_000]);
    check_passed(3, 2, &[6_667], &[]); // 2/3 is 66.66..%
    check_passed(3, 2, &[6_666], &[6_666]);
    check_passed(1, 1, &[1, 9_999], &[1, 9_999]);
    check_passed(100, 0, &[1], &[]); // Nothing used is past nothing.
    check_passed(100, 99, &[9_999, 5_000], &[5_000]); // As written in any order, answered ascending.
    // 80 % of 2^53-1 is 7205759403792792.8: nothing is lost to floating point.
    check_passed(UNITS_MAX, 7_205_759_403_792_792, &[8_000], &[]);
    check_passed(UNITS_MAX, 7_205_759_403_792_793, &[8_000], &[8_000]);
}

#[test]
fn thresholds_look_at_usage_and_admission_at_usage_and_holds() {
    let mut world = World::new(&[daily(10, Policy::Block).soft(&[5_000])]);
    world.set("daily", 4, 6);
    assert_eq!(world.state("daily").passed_bp.as_slice(), []);
    assert_eq!(world.check(1).decision.verdict, Verdict::Denied(Denial::InFlight));
    world.set("daily", 5, 0);
    assert_eq!(world.check(1).decision.verdict, Verdict::SoftLimit);
}

#[track_caller]
fn check_grace(included: u64, grace_bp: u32, grace_units: u64) {
    let mut world = World::new(&[daily(included, Policy::Grace { grace_bp })]);
    let state = world.state("daily");
    assert_eq!(state.ceiling_units, Some(included + grace_units));
    assert_eq!(state.grace_units_remaining(), Some(grace_units));
    for used in 1..=included + grace_units {
        let decision = world.consume(1).decision;
        let verdict = if used > included { Verdict::Grace } else { Verdict::Allowed };
        assert_eq!(decision.verdict, verdict, "unit {used}");
        let left = (included + grace_units - used).min(grace_units);
        assert_eq!(decision.binding.unwrap().grace_units_remaining(), Some(left), "unit {used}");
    }
    let refused = Verdict::Denied(Denial::QuotaExhausted);
    assert_eq!(world.consume(1).decision.verdict, refused);
}

#[test]
fn grace_is_rounded_down_to_whole_units() {
    check_grace(10, 1_000, 1);
    check_grace(10, 999, 0);
    check_grace(19, 1_000, 1);
    check_grace(20, 1_000, 2);
    check_grace(3, 3_333, 0);
    check_grace(3, 3_334, 1);
    check_grace(1, 1_000_000, 100);
    check_grace(7, 1, 0);
}

#[test]
fn grace_of_the_largest_count_does_not_overflow() {
    let mut world = World::new(&[daily(UNITS_MAX, Policy::Grace { grace_bp: 1_000_000 })]);
    assert_eq!(world.consume(UNITS_MAX).decision.verdict, Verdict::Allowed);
}

#[test]
fn overage_is_what_is_used_above_the_included_units() {
    let mut world = World::new(&[daily(3, Policy::Overage)]);
    assert_eq!(world.consume(3).decision.verdict, Verdict::Allowed);
    let decision = world.consume(2).decision;
    assert_eq!(decision.verdict, Verdict::Overage);
    let state = decision.binding.unwrap();
    assert_eq!((state.overage_units(), state.settled_units_remaining()), (2, Some(0)));
    assert_eq!(state.drawable_units_remaining(), None);
    assert_eq!(state.ledger.debt, 0);
}

#[test]
fn quiet_is_what_is_within_the_limit_and_past_no_threshold() {
    for included in (0..30).chain([1_000, 9_999, UNITS_MAX]) {
        for soft in [&[][..], &[1], &[3_333, 8_000], &[5_000], &[9_999, 12_000]] {
            let limit = PlanLimit::new(
                NameId(1),
                WindowRule::Lifetime,
                Some(included),
                soft.to_vec(),
                Policy::Block,
            );
            let past = |units, bp| limit.is_past(units, bp);
            for units in (0..40).chain([799, 800, 999, 1_000, 5_000, UNITS_MAX]) {
                let stirs = units > included
                    || past(units, 10_000)
                    || soft.iter().any(|bp| past(units, *bp));
                assert_eq!(limit.is_quiet(units), !stirs, "{units} of {included}, {soft:?}");
            }
        }
    }
    let unlimited =
        PlanLimit::new(NameId(1), WindowRule::Lifetime, None, vec![8_000], Policy::Unlimited);
    assert!(unlimited.is_quiet(UNITS_MAX));
}
