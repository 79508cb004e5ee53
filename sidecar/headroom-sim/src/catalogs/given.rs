//! What plans give: limits with every policy, slots, seats, levels and rates.

use headroom_core::catalog::{EntitlementSpec, PlanLimitSpec, Policy, RateSpec};
use headroom_core::change::OnChange;
use headroom_core::limits::UNITS_MAX;
use headroom_core::policy::{GraceTerms, GraceTimes, LimitTerms, OverageTerms};
use headroom_core::rate::Rate;
use headroom_core::window::{CalendarUnit, WindowRule};

use crate::rng::Rng;

/// Included units: small, and seldom as large as can be.
pub fn included(rng: &mut Rng) -> Option<u64> {
    match rng.below(20) {
        0 | 1 => None,
        2 | 3 => Some(0),
        4 => Some(UNITS_MAX - rng.below(3)),
        5..=8 => Some(10 + rng.below(20)),
        _ => Some(1 + rng.below(8)),
    }
}

pub(super) fn plan_limit(rng: &mut Rng, limit: &str, window: WindowRule) -> PlanLimitSpec {
    let included_units = included(rng);
    let policy = match (included_units, rng.below(20)) {
        (None, _) | (_, 0..=2) => Policy::Unlimited,
        (_, 3..=5) => Policy::Overage,
        (Some(1..), 6..=11) => Policy::Grace { grace_bp: *rng.pick(&[1, 1_000, 3_334, 15_000]) },
        _ => Policy::Block,
    };
    let mut soft_limits_bp = Vec::new();
    if matches!(included_units, Some(1..)) {
        for bp in [8_000, 5_000, 9_999, 3_334, 1] {
            if rng.percent(30) {
                soft_limits_bp.push(bp);
            }
        }
    }
    let (policy, terms) = terms(rng, included_units, policy, window);
    PlanLimitSpec { limit: limit.to_owned(), included_units, soft_limits_bp, policy, terms }
}

/// The rare parts of a policy, which here are not rare.
fn terms(
    rng: &mut Rng,
    included: Option<u64>,
    mut policy: Policy,
    window: WindowRule,
) -> (Policy, LimitTerms) {
    let mut terms = LimitTerms::default();
    if matches!(window, WindowRule::Sliding(_)) {
        return (policy, terms);
    }
    terms.on_change = match rng.below(10) {
        0..=2 if !matches!(window, WindowRule::Lifetime) => OnChange::Prorate,
        3 | 4 => OnChange::Reset,
        _ => OnChange::Keep,
    };
    match policy {
        Policy::Block if included.is_some() && rng.percent(10) => {
            // Also nothing included may have a grace, if it is by time.
            policy = Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE };
            terms.grace = Some(grace(rng, true));
        }
        Policy::Grace { .. } if rng.percent(50) => terms.grace = Some(grace(rng, false)),
        Policy::Overage if rng.percent(60) => {
            let unit_price_nanos = *rng.pick(&[1, 333_333_333, 1_000_000_000, 2_500_000_000]);
            let cap_minor = rng.percent(70).then(|| 3 + rng.below(12));
            let currency = "USD".into();
            terms.overage = Some(OverageTerms { unit_price_nanos, currency, cap_minor });
        }
        _ => {}
    }
    let is_capped = terms.overage.as_ref().is_some_and(|overage| overage.cap_minor.is_some());
    let has_debt = match policy {
        Policy::Block | Policy::Grace { .. } => included.is_some(),
        Policy::Overage => is_capped,
        Policy::Unlimited => false,
    };
    let follows = !matches!(window, WindowRule::Lifetime | WindowRule::FirstUse(_));
    let is_short = match window {
        WindowRule::Calendar(CalendarUnit::Hour) => true,
        WindowRule::Fixed(every) => every.length_ms().is_some_and(|ms| ms < 86_400_000),
        _ => false,
    };
    terms.carries_debt = has_debt && follows && rng.percent(50) && !is_short;
    (policy, terms)
}

fn grace(rng: &mut Rng, by_time: bool) -> GraceTerms {
    const HOUR_MS: i64 = 3_600_000;
    let lasts_ms = *rng.pick(&[60_000, 2 * HOUR_MS, 30 * HOUR_MS, 120 * HOUR_MS]);
    let notice_ms = *rng.pick(&[1, lasts_ms / 2, lasts_ms - 1]);
    let times = rng
        .percent(50)
        .then(|| GraceTimes { times: *rng.pick(&[1, 1, 2, 12]), months: *rng.pick(&[1, 3, 12]) });
    let lasts_ms = (by_time || rng.percent(80)).then_some(lasts_ms);
    GraceTerms { lasts_ms, notice_ms, times }
}

/// The most at a time: little, so that it is often reached.
pub(super) fn slots(rng: &mut Rng, has_each: bool) -> EntitlementSpec {
    let max_units = match rng.below(10) {
        0 => None,
        1 => Some(0),
        2 => Some(UNITS_MAX),
        _ => Some(1 + rng.below(7)),
    };
    let mut soft_limits_bp = Vec::new();
    if matches!(max_units, Some(1..)) {
        for bp in [8_000, 5_000, 9_999, 1] {
            if rng.percent(25) {
                soft_limits_bp.push(bp);
            }
        }
    }
    // What nobody ever reaches is refused.
    let each = (has_each && rng.percent(70)).then(|| rng.below(5));
    let each = each.filter(|each| max_units.is_none_or(|most| *each <= most));
    EntitlementSpec::Concurrency { max_units, soft_limits_bp, each }
}

/// How many seats: few, so that they are often full.
pub(super) fn seats(rng: &mut Rng) -> EntitlementSpec {
    let EntitlementSpec::Concurrency { max_units, soft_limits_bp, .. } = slots(rng, false) else {
        unreachable!("slots are of a concurrency");
    };
    let included_units = max_units.map(|units| units.min(9));
    EntitlementSpec::Seats { included_units, soft_limits_bp }
}

/// How much there may be. What has no window has no grace by time, no cap and no next window.
pub(super) fn level(rng: &mut Rng) -> EntitlementSpec {
    let mut limit = plan_limit(rng, "level", WindowRule::Lifetime);
    limit.terms.grace = None;
    if let Some(overage) = &mut limit.terms.overage {
        overage.cap_minor = None;
    }
    if limit.policy == (Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE }) {
        limit.policy = Policy::Block;
    }
    limit.terms.on_change = OnChange::Keep;
    EntitlementSpec::Allocation { limit }
}

/// A rate that passes the check; `None`: unlimited.
pub fn rate(rng: &mut Rng) -> Option<RateSpec> {
    if rng.percent(10) {
        return None;
    }
    let spec = match rng.below(8) {
        0 => (UNITS_MAX - rng.below(2), 1 + rng.between(0, 3), UNITS_MAX - rng.below(3)),
        1 => (1, 60 * 60 * 1000, 1 + rng.below(4)),
        2 => (1 + rng.below(3), 24 * 60 * 60 * 1000, 1 + rng.below(3)),
        3 => (1_000 + rng.below(7), 1_000, 1 + rng.below(50)),
        _ => (1 + rng.below(9), 1_000 * *rng.pick(&[1, 1, 60]), 1 + rng.below(12)),
    };
    let (units, period_ms, burst_units) = spec;
    Some(RateSpec { units, period_ms, burst_units })
}

pub(super) fn rates(rng: &mut Rng, has_each: bool) -> EntitlementSpec {
    let own = rate(rng);
    let each = if has_each { rate(rng) } else { None };
    // What nobody ever reaches is refused.
    let is_reached = |each: &RateSpec| {
        let (Some(own), Some(each)) = (own.and_then(Rate::new), Rate::new(*each)) else {
            return true;
        };
        !each.is_better(own) || each.burst_units() < own.burst_units()
    };
    EntitlementSpec::Rate { rate: own, each: each.filter(is_reached) }
}
