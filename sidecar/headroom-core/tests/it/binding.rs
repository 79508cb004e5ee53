//! The binding limit: of the refusing ones the gravest, of the allowing ones the one that matters.

use headroom_core::catalog::Policy;
use headroom_core::decision::{Denial, Verdict};
use headroom_core::window::{CalendarUnit, WindowRule};

use crate::world::{Limit, World, daily, total};

fn hourly(included: u64, policy: Policy) -> Limit {
    let window = WindowRule::Calendar(CalendarUnit::Hour);
    Limit { limit: "hourly", window, ..daily(included, policy) }
}

#[track_caller]
fn check(limits: &[Limit], used: &[(&str, u64, u64)], binding: &str, verdict: Verdict) {
    let mut world = World::new(limits);
    for (limit, used, reserved) in used {
        world.set(limit, *used, *reserved);
    }
    let decision = world.check(1).decision;
    let state = decision.binding.unwrap();
    assert_eq!(world.catalog.text(state.ledger.limit), binding);
    assert_eq!(decision.verdict, verdict);
}

const QUOTA: Verdict = Verdict::Denied(Denial::QuotaExhausted);
const IN_FLIGHT: Verdict = Verdict::Denied(Denial::InFlight);

#[test]
fn of_refusing_limits_the_gravest_denial_binds() {
    let limits = [hourly(1, Policy::Block), daily(1, Policy::Block)];
    check(&limits, &[("hourly", 1, 0)], "hourly", QUOTA);
    check(&limits, &[("hourly", 0, 1), ("daily", 1, 0)], "daily", QUOTA);
    check(&limits, &[("hourly", 1, 0), ("daily", 0, 1)], "hourly", QUOTA);
    check(&limits, &[("daily", 0, 1)], "daily", IN_FLIGHT);
}

#[test]
fn of_equal_denials_the_one_that_lasts_longest_binds() {
    let used = [("hourly", 1, 0), ("daily", 1, 0), ("total", 1, 0)];
    let (hour, day) = (hourly(1, Policy::Block), daily(1, Policy::Block));
    check(&[hour.clone(), day.clone()], &used[..2], "daily", QUOTA);
    check(&[day.clone(), hour.clone()], &used[..2], "daily", QUOTA);
    check(&[day, total(1, Policy::Block), hour], &used, "total", QUOTA);
}

#[test]
fn a_refusal_binds_before_any_allowing_limit() {
    let limits = [daily(1, Policy::Overage), hourly(1, Policy::Block)];
    check(&limits, &[("daily", 9, 0), ("hourly", 1, 0)], "hourly", QUOTA);
}

#[test]
fn of_allowing_limits_the_gravest_verdict_binds() {
    let soft = daily(10, Policy::Block).soft(&[1_000]);
    let grace = Limit { limit: "total", ..hourly(1, Policy::Grace { grace_bp: 1_000_000 }) };
    let overage = hourly(1, Policy::Overage);
    let plain = Limit { limit: "plain", ..hourly(100, Policy::Block) };
    let used = [("total", 1, 0), ("hourly", 1, 0)];
    check(&[plain.clone(), soft.clone()], &[], "daily", Verdict::SoftLimit);
    check(&[soft.clone(), grace.clone()], &used[..1], "total", Verdict::Grace);
    check(&[overage, grace, soft, plain], &used, "hourly", Verdict::Overage);
}

#[test]
fn of_equal_verdicts_the_least_drawable_binds_and_then_the_first() {
    let (five, nine) = (daily(5, Policy::Block), hourly(9, Policy::Block));
    check(&[nine.clone(), five.clone()], &[], "daily", Verdict::Allowed);
    check(&[nine.clone(), five.clone()], &[("hourly", 8, 0)], "hourly", Verdict::Allowed);
    check(&[five.clone(), total(5, Policy::Block)], &[], "daily", Verdict::Allowed);
    check(&[total(5, Policy::Block), five.clone()], &[], "total", Verdict::Allowed);
    // A limit without a bound leaves more than any other.
    let boundless = Limit { limit: "total", ..daily(5, Policy::Unlimited) };
    check(&[boundless, five], &[], "daily", Verdict::Allowed);
}
