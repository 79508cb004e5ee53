//! Every small case of check, consume and reserve, against a naive function.

use headroom_core::catalog::Policy;
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Denial, OpError, Verdict};
use headroom_core::limits::UNITS_MAX;

use crate::world::{World, daily, total, unlimited};

pub(crate) const POLICIES: [Policy; 5] = [
    Policy::Block,
    Policy::Grace { grace_bp: 5_000 },
    Policy::Grace { grace_bp: 20_000 },
    Policy::Overage,
    Policy::Unlimited,
];

/// The most that may be used and held; counted up, not calculated.
pub(crate) fn naive_ceiling(included: u64, policy: Policy) -> Option<u64> {
    match policy {
        Policy::Block => Some(included),
        Policy::Grace { grace_bp } => {
            let mut grace = 0;
            while (grace + 1) * 10_000 <= included * u64::from(grace_bp) {
                grace += 1;
            }
            Some(included + grace)
        }
        Policy::Overage | Policy::Unlimited => None,
    }
}

/// What stands after a request that was allowed.
pub(crate) fn naive_level(
    (included, policy, soft_bp): (u64, Policy, Option<u32>),
    used: u64,
    reserved: u64,
) -> Verdict {
    let above = used + reserved > included;
    let soft = soft_bp.is_some_and(|bp| used > 0 && used * 10_000 >= included * u64::from(bp));
    match policy {
        _ if above
            && naive_ceiling(included, policy).is_some_and(|most| used + reserved > most) =>
        {
            Verdict::Unbacked
        }
        Policy::Grace { .. } if above => Verdict::Grace,
        Policy::Overage if above => Verdict::Overage,
        _ if soft => Verdict::SoftLimit,
        _ => Verdict::Allowed,
    }
}

fn naive_admission(
    limit: (u64, Policy, Option<u32>),
    (used, reserved): (u64, u64),
    units: u64,
    at_once: bool,
) -> Verdict {
    let (included, policy, _) = limit;
    let ceiling = naive_ceiling(included, policy).unwrap_or(u64::MAX);
    if used + units > ceiling {
        Verdict::Denied(Denial::QuotaExhausted)
    } else if used + reserved + units > ceiling {
        Verdict::Denied(Denial::InFlight)
    } else if at_once {
        naive_level(limit, used + units, reserved)
    } else {
        naive_level(limit, used, reserved + units)
    }
}

/// Calls `case` with every small limit.
pub(crate) fn every_limit(mut case: impl FnMut((u64, Policy, Option<u32>))) {
    for included in 0..5 {
        for policy in POLICIES {
            if included == 0 && matches!(policy, Policy::Grace { .. }) {
                continue; // The catalog's check refuses it.
            }
            for soft_bp in [None, Some(5_000), Some(8_000)] {
                if included > 0 || soft_bp.is_none() {
                    case((included, policy, soft_bp));
                }
            }
        }
    }
}

#[test]
fn every_small_case_is_decided_as_naively() {
    let mut cases = 0;
    every_limit(|limit| {
        let (included, policy, soft_bp) = limit;
        let soft: Vec<u32> = soft_bp.into_iter().collect();
        let mut world = World::new(&[daily(included, policy).soft(&soft)]);
        for used in 0..7 {
            for reserved in 0..5 {
                for units in 1..5 {
                    check_one(&mut world, limit, (used, reserved), units);
                    cases += 1;
                }
            }
        }
    });
    assert_eq!(cases, 140 * (2 + 1 + 4 * 5 * 3));
}

fn check_one(
    world: &mut World,
    limit: (u64, Policy, Option<u32>),
    (used, reserved): (u64, u64),
    units: u64,
) {
    let ops = [
        FeatureOp::Check { units, attempt: false },
        FeatureOp::Check { units, attempt: true },
        FeatureOp::Consume { units },
        FeatureOp::Reserve { units, hold_ms: 1 },
    ];
    for op in ops {
        world.set("daily", used, reserved);
        let outcome = world.ask(op);
        let at_once = !matches!(op, FeatureOp::Reserve { .. });
        let expected = naive_admission(limit, (used, reserved), units, at_once);
        let case = format!("{limit:?} used {used} reserved {reserved} {op:?}");
        assert_eq!(outcome.decision.verdict, expected, "{case}");

        let counted = if expected.is_allowed() { units } else { 0 };
        let after = match op {
            FeatureOp::Consume { .. } => (used + counted, reserved, 0),
            FeatureOp::Reserve { .. } => (used, reserved + counted, 0),
            _ => (used, reserved, 0),
        };
        assert_eq!(world.counts(), after, "{case}");
        let binding = outcome.decision.binding.unwrap();
        assert_eq!((binding.ledger.used, binding.ledger.reserved, 0), after, "{case}");
        let drawable = naive_ceiling(limit.0, limit.1).map(|c| c.saturating_sub(after.0 + after.1));
        assert_eq!(binding.drawable_units_remaining(), drawable, "{case}");
        let settled = Some(limit.0.saturating_sub(after.0));
        assert_eq!(binding.settled_units_remaining(), settled, "{case}");
        if let Some(id) = outcome.amounts.reservation {
            let forget = headroom_core::effect::Effect::ReservationForgotten(id);
            world.apply(&[forget]);
        }
    }
}

#[test]
fn a_check_counts_nothing() {
    let mut world = World::new(&[daily(3, Policy::Block)]);
    for units in [1, 3, 4] {
        world.check(units);
        assert_eq!(world.last, []);
    }
    assert_eq!(world.account.ledgers(), []);
}

#[test]
fn all_limits_are_charged_or_none() {
    let mut world = World::new(&[daily(5, Policy::Block), total(3, Policy::Block)]);
    world.consume(2);
    let refused = world.consume(2).decision;
    assert_eq!(refused.verdict, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(refused.binding.unwrap().ledger.limit, world.id("total"));
    assert_eq!((world.state("daily").ledger.used, world.state("total").ledger.used), (2, 2));
    world.consume(1);
    assert_eq!((world.state("daily").ledger.used, world.state("total").ledger.used), (3, 3));
}

#[test]
fn units_are_not_counted_on_a_switch_or_a_config() {
    let mut world = World::new(&[daily(1, Policy::Block)]);
    let writes = [
        FeatureOp::Consume { units: 1 },
        FeatureOp::Reserve { units: 1, hold_ms: 1 },
        FeatureOp::Record { units: 1 },
    ];
    for feature in ["sso", "retention"] {
        for op in writes {
            assert_eq!(world.try_ask(feature, op), Err(OpError::WrongFeatureKind));
        }
        let check = world.try_ask(feature, FeatureOp::Check { units: 1, attempt: true }).unwrap();
        assert_eq!(check.decision.verdict, Verdict::Allowed);
        assert_eq!(check.decision.binding, None);
    }
    let check = world.try_ask("retention", FeatureOp::Check { units: 1, attempt: false }).unwrap();
    assert_eq!(check.decision.value_json.as_deref(), Some("30"));
}

#[test]
fn a_count_never_passes_what_json_reads_exactly() {
    for limit in [unlimited(), daily(1, Policy::Overage)] {
        let mut world = World::new(&[limit]);
        world.consume(UNITS_MAX - 1);
        let two = [
            FeatureOp::Consume { units: 2 },
            FeatureOp::Reserve { units: 2, hold_ms: 1 },
            FeatureOp::Record { units: 2 },
        ];
        for op in two {
            assert_eq!(world.try_ask("tokens", op), Err(OpError::CounterFull));
        }
        assert!(world.consume(1).decision.verdict.is_allowed());
        assert_eq!(world.counts(), (UNITS_MAX, 0, 0));
    }
}

#[test]
fn a_refusal_says_when_time_may_lift_it() {
    let mut world = World::new(&[daily(1, Policy::Block)]);
    world.consume(1);
    // T0 is noon, and the window is the day.
    assert_eq!(world.consume(1).decision.retry_after_ms, Some(12 * crate::world::HOUR_MS));

    let mut world = World::new(&[total(1, Policy::Block)]);
    world.consume(1);
    assert_eq!(world.consume(1).decision.retry_after_ms, None);

    let mut world = World::new(&[daily(2, Policy::Block)]);
    world.reserve(2);
    // Somebody else may give units back any moment: a second, or less when a hold is about to end.
    assert_eq!(world.consume(1).decision.retry_after_ms, Some(1_000));
    world.now += crate::world::HOUR_MS - 300;
    assert_eq!(world.consume(1).decision.retry_after_ms, Some(300));
    world.now += 300;
    assert_eq!(world.consume(1).decision.verdict, Verdict::Allowed);
}
