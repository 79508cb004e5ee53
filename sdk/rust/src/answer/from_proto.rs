//! From the messages of the contract to answers.
//!
//! What a newer sidecar says and this SDK does not know is left out or reads as `Unspecified`; an
//! answer without its decision is an error.

use super::{
    Adjustment, AdjustmentPage, Allocated, AllocationUsage, Committed, Corrected, CreditCharge,
    CreditPrice, Decision, DimensionValue, Entitlement, Entitlements, EntitlementsChange,
    Explanation, Extended, GraceUses, LimitState, Offer, Origin, OverageCost, PoolState,
    Projection, Prompt, PromptSuppression, Rate, Recorded, Released, Reservation, Reserved,
    RestatedWindow, RollOut, RuleResult, Seat, Several, Unlock, UsageByTime, UsageByTimePage,
    UsagePage, UsageWindow, WindowTerms,
};
use crate::error::Error;
use headroom_proto::v1;
use std::time::{Duration, SystemTime};

/// Reads an answer from the message of its kind.
pub(crate) trait FromProto<P>: Sized {
    fn from_proto(proto: P) -> Result<Self, Error>;
}

impl FromProto<v1::CheckResponse> for Decision {
    fn from_proto(proto: v1::CheckResponse) -> Result<Decision, Error> {
        decision(proto.decision)
    }
}

impl FromProto<v1::ConsumeResponse> for Decision {
    fn from_proto(proto: v1::ConsumeResponse) -> Result<Decision, Error> {
        decision(proto.decision)
    }
}

impl FromProto<v1::ReserveResponse> for Reserved {
    fn from_proto(proto: v1::ReserveResponse) -> Result<Reserved, Error> {
        let expires_at = time(proto.expires_at);
        let id = text(proto.reservation_id);
        Ok(Reserved {
            decision: decision(proto.decision)?,
            reservation: id.map(|id| Reservation { id, expires_at }),
        })
    }
}

macro_rules! several {
    ($response:ident, $answer:ident, |$item:ident| $read:expr) => {
        impl FromProto<v1::$response> for Several<$answer> {
            fn from_proto(proto: v1::$response) -> Result<Several<$answer>, Error> {
                let items = proto.items.into_iter().map(|$item| $read).collect::<Result<_, _>>()?;
                Ok(Several { allowed: proto.allowed, items })
            }
        }
    };
}

several!(CheckAllResponse, Decision, |item| decision(item.decision));
several!(ConsumeAllResponse, Decision, |item| decision(item.decision));
several!(ReserveAllResponse, Reserved, |item| Reserved::from_proto(item));

impl FromProto<v1::ExtendResponse> for Extended {
    fn from_proto(proto: v1::ExtendResponse) -> Result<Extended, Error> {
        Ok(Extended {
            decision: decision(proto.decision)?,
            expires_at: time(proto.expires_at),
            held_units: units(proto.held_units),
        })
    }
}

impl FromProto<v1::CommitResponse> for Committed {
    fn from_proto(proto: v1::CommitResponse) -> Result<Committed, Error> {
        Ok(Committed {
            decision: decision(proto.decision)?,
            committed_units: units(proto.committed_units),
            surplus_units: units(proto.surplus_units),
            debt_units: units(proto.debt_units),
            late: proto.late,
            expires_at: time(proto.expires_at),
        })
    }
}

impl FromProto<v1::ReleaseResponse> for Released {
    fn from_proto(proto: v1::ReleaseResponse) -> Result<Released, Error> {
        let released_units = units(proto.released_units);
        Ok(Released { decision: decision(proto.decision)?, released_units })
    }
}

impl FromProto<v1::RecordResponse> for Recorded {
    fn from_proto(proto: v1::RecordResponse) -> Result<Recorded, Error> {
        Ok(Recorded {
            decision: decision(proto.decision)?,
            debt_units: units(proto.debt_units),
            restated_windows: proto.restated_windows.into_iter().map(restated_window).collect(),
        })
    }
}

impl FromProto<v1::AllocateResponse> for Allocated {
    fn from_proto(proto: v1::AllocateResponse) -> Result<Allocated, Error> {
        Ok(Allocated {
            decision: decision(proto.decision)?,
            added_units: units(proto.added_units),
            removed_units: units(proto.removed_units),
            clamped: proto.clamped,
            debt_units: units(proto.debt_units),
        })
    }
}

impl FromProto<v1::CorrectResponse> for Corrected {
    fn from_proto(proto: v1::CorrectResponse) -> Result<Corrected, Error> {
        Ok(Corrected {
            decision: decision(proto.decision)?,
            units: units(proto.units),
            debt_units: units(proto.debt_units),
            restated_windows: proto.restated_windows.into_iter().map(restated_window).collect(),
        })
    }
}

impl From<v1::ListAdjustmentsResponse> for AdjustmentPage {
    fn from(proto: v1::ListAdjustmentsResponse) -> AdjustmentPage {
        AdjustmentPage {
            adjustments: proto.adjustments.into_iter().map(adjustment).collect(),
            next_page_token: text(proto.next_page_token),
            as_of: time(proto.as_of),
            test_clock: proto.test_clock,
        }
    }
}

impl From<v1::Seat> for Seat {
    fn from(proto: v1::Seat) -> Seat {
        Seat {
            state: proto.state(),
            member: proto.member,
            since: time(proto.since),
            expires_at: time(proto.expires_at),
        }
    }
}

impl From<v1::ListEntitlementsResponse> for Entitlements {
    fn from(proto: v1::ListEntitlementsResponse) -> Entitlements {
        Entitlements {
            entitlements: proto.entitlements.into_iter().map(entitlement).collect(),
            plan: proto.plan,
            plan_version: proto.plan_version.cast_unsigned(),
            catalog_revision: proto.catalog_revision,
            as_of: time(proto.as_of),
            test_clock: proto.test_clock,
        }
    }
}

impl From<v1::GetUsageResponse> for UsagePage {
    fn from(proto: v1::GetUsageResponse) -> UsagePage {
        UsagePage {
            windows: proto.windows.into_iter().map(usage_window).collect(),
            next_page_token: text(proto.next_page_token),
            as_of: time(proto.as_of),
            test_clock: proto.test_clock,
        }
    }
}

impl From<v1::GetUsageByTimeResponse> for UsageByTimePage {
    fn from(proto: v1::GetUsageByTimeResponse) -> UsageByTimePage {
        UsageByTimePage {
            lines: proto.lines.into_iter().map(usage_by_time).collect(),
            next_page_token: text(proto.next_page_token),
            as_of: time(proto.as_of),
            test_clock: proto.test_clock,
        }
    }
}

impl From<v1::WatchEntitlementsResponse> for EntitlementsChange {
    fn from(proto: v1::WatchEntitlementsResponse) -> EntitlementsChange {
        EntitlementsChange {
            entitlements: proto.entitlements.into_iter().map(entitlement).collect(),
            removed_features: proto.removed_features,
            plan: proto.plan,
            catalog_revision: proto.catalog_revision,
            as_of: time(proto.as_of),
        }
    }
}

impl FromProto<v1::ExplainDecisionResponse> for Explanation {
    fn from_proto(proto: v1::ExplainDecisionResponse) -> Result<Explanation, Error> {
        let rule = |rule: v1::RuleResult| RuleResult {
            outcome: rule.outcome(),
            rule: rule.rule,
            explanation: rule.explanation,
            limit: text(rule.limit),
            binding: rule.binding,
            subject: text(rule.subject),
        };
        Ok(Explanation {
            account: proto.account,
            feature: proto.feature,
            operation: proto.operation,
            units: units(proto.units),
            decision: decision(proto.decision)?,
            rules: proto.rules.into_iter().map(rule).collect(),
        })
    }
}

pub(crate) fn decision(proto: Option<v1::Decision>) -> Result<Decision, Error> {
    let Some(proto) = proto else {
        return Err(Error::UnexpectedAnswer { problem: "without a decision" });
    };
    Ok(Decision {
        allowed: proto.allowed,
        verdict: proto.verdict(),
        denial: if proto.allowed { None } else { Some(proto.denial()) },
        shadow_denial: Some(proto.shadow_denial()).filter(|d| *d != v1::Denial::Unspecified),
        source: proto.source(),
        durability: proto.durability(),
        binding: proto.binding.map(limit_state),
        other_limits: proto.other_limits.into_iter().map(limit_state).collect(),
        config_value: text(proto.config_value),
        origin: proto.origin.map(origin),
        catalog_revision: proto.catalog_revision,
        as_of: time(proto.as_of),
        decision_id: proto.decision_id,
        replayed: proto.replayed,
        test_clock: proto.test_clock,
        retry_after: proto.retry_after.and_then(|wait| Duration::try_from(wait).ok()),
        prompt: proto.prompt.map(prompt),
        prompt_suppression: proto.prompt_suppression.map(prompt_suppression),
        projection: proto.projection.map(projection),
        charge: proto.charge.map(charge),
        unlock: proto.unlock.map(unlock),
    })
}

fn unlock(proto: v1::Unlock) -> Unlock {
    Unlock {
        feature: proto.feature,
        limit: proto.limit,
        needed_units: units(proto.needed_units),
        used_units: units(proto.used_units),
        remaining_units: units(proto.remaining_units),
    }
}

fn charge(proto: v1::CreditCharge) -> CreditCharge {
    let paid = |deduction: v1::Deduction| (deduction.grant, units(deduction.units));
    CreditCharge {
        pool: proto.pool,
        units: units(proto.units),
        deductions: proto.deductions.into_iter().map(paid).collect(),
        debt_units: units(proto.debt_units),
        returned_units: units(proto.returned_units),
    }
}

fn pool_state(proto: v1::PoolState) -> PoolState {
    let expiring = units(proto.next_expiry_units);
    PoolState {
        feature: proto.feature,
        balance_units: proto.balance_units,
        next_expiry: time(proto.next_expiry_at).map(|at| (at, expiring)),
        overdraft_units: units(proto.overdraft_units),
        next_units_at: time(proto.next_units_at),
        price: proto.price.map(|price| CreditPrice {
            credits: units(price.credits),
            per_units: units(price.per_units),
            rounding: price.rounding(),
        }),
        asked_units: proto.asked_units.map(units),
    }
}

fn limit_state(proto: v1::LimitState) -> LimitState {
    LimitState {
        policy: proto.policy(),
        limit: proto.limit,
        included_units: proto.included_units.map(units),
        used_units: units(proto.used_units),
        reserved_units: units(proto.reserved_units),
        settled_units_remaining: proto.settled_units_remaining.map(units),
        drawable_units_remaining: proto.drawable_units_remaining.map(units),
        window_start: time(proto.window_start),
        window_end: time(proto.window_end),
        thresholds_passed_bp: proto.thresholds_passed_bp,
        grace_units_remaining: proto.grace_units_remaining.map(units),
        overage_units: units(proto.overage_units),
        debt_units: units(proto.debt_units),
        limit_revision: proto.limit_revision,
        sliding: proto.sliding,
        oldest_units_leave_at: time(proto.oldest_units_leave_at),
        grace_until: time(proto.grace_until),
        billed_units: proto.billed_units.map(units),
        subject: text(proto.subject),
        overage_cost: proto.overage_cost.map(overage_cost),
        pool: proto.pool.map(pool_state),
        approximate: proto.approximate,
        origin: proto.origin.map(origin),
        grace_uses: proto.grace_uses.map(|uses| GraceUses {
            used: uses.used.cast_unsigned(),
            times: uses.times.cast_unsigned(),
            months: uses.months.cast_unsigned(),
            next_forgotten_at: time(uses.next_forgotten_at),
        }),
    }
}

fn origin(proto: v1::Origin) -> Origin {
    Origin {
        kind: proto.kind(),
        plan: proto.plan,
        plan_version: proto.plan_version.cast_unsigned(),
        add_ons: proto
            .add_ons
            .into_iter()
            .map(|bought| (bought.add_on, bought.quantity.cast_unsigned()))
            .collect(),
        override_until: time(proto.override_until),
        override_of_subject: proto.override_of_subject,
        roll_out: proto.roll_out.map(|by| RollOut {
            cohort: Some(by.cohort).filter(|cohort| !cohort.is_empty()),
            drawn_share_bp: u32::try_from(by.drawn_share_bp).ok().filter(|share| *share > 0),
        }),
    }
}

fn projection(proto: v1::Projection) -> Projection {
    Projection {
        state: proto.state(),
        basis: proto.basis(),
        limit: proto.limit,
        reaches_limit_at: time(proto.reaches_limit_at),
        reaches_limit_from: time(proto.reaches_limit_from),
        reaches_limit_to: time(proto.reaches_limit_to),
        probability_bp: proto.probability_bp,
        units_at_window_end: proto.units_at_window_end.map(units),
        units_at_window_end_low: proto.units_at_window_end_low.map(units),
        units_at_window_end_high: proto.units_at_window_end_high.map(units),
        observed_since: time(proto.observed_since),
    }
}

fn prompt(proto: v1::Prompt) -> Prompt {
    Prompt {
        severity: proto.severity(),
        prompt: proto.prompt,
        scenario: proto.scenario,
        title: proto.title,
        message: proto.message,
        call_to_action: proto.call_to_action,
        url: text(proto.url),
        offer: proto.offer.map(offer),
        facts: proto.facts,
        prompt_id: proto.prompt_id,
        variant: proto.variant,
        language: proto.language,
        steps: proto.steps,
    }
}

fn prompt_suppression(proto: v1::PromptSuppression) -> PromptSuppression {
    PromptSuppression { reason: proto.reason(), prompt: proto.prompt, until: time(proto.until) }
}

fn offer(proto: v1::Offer) -> Offer {
    Offer {
        plan: proto.plan,
        plan_name: proto.plan_name,
        price_minor: proto.price_minor,
        currency: proto.currency,
        per: proto.per,
        due_today_minor: proto.due_today_minor,
        credit_minor: proto.credit_minor,
        period_end: time(proto.period_end),
    }
}

fn entitlement(proto: v1::Entitlement) -> Entitlement {
    Entitlement {
        kind: proto.kind(),
        aggregation: Some(proto.aggregation()).filter(|a| *a != v1::Aggregation::Unspecified),
        denial: if proto.allowed { None } else { Some(proto.denial()) },
        shadow_denial: Some(proto.shadow_denial()).filter(|d| *d != v1::Denial::Unspecified),
        unique_by: text(proto.unique_by),
        unlock: proto.unlock.map(unlock),
        feature: proto.feature,
        feature_name: proto.feature_name,
        unit: proto.unit,
        allowed: proto.allowed,
        config_value: text(proto.config_value),
        limits: proto.limits.into_iter().map(limit_state).collect(),
        origin: proto.origin.map(origin),
        rate: proto.rate.map(rate),
        rate_each: proto.rate_each.map(rate),
        rate_per: text(proto.rate_per),
        slots_each: proto.slots_each.map(units),
        slots_per: text(proto.slots_per),
    }
}

fn rate(proto: v1::Rate) -> Rate {
    let period = proto.period.and_then(|period| Duration::try_from(period).ok());
    Rate {
        units: units(proto.units),
        period: period.unwrap_or_default(),
        burst_units: units(proto.burst_units),
    }
}

fn usage_by_time(proto: v1::UsageByTime) -> UsageByTime {
    let dimension = |proto: v1::DimensionValue| DimensionValue {
        name: proto.name,
        value: text(proto.value),
        other: proto.other,
    };
    UsageByTime {
        start: time(proto.start),
        end: time(proto.end),
        dimensions: proto.dimensions.into_iter().map(dimension).collect(),
        units: proto.units,
    }
}

fn overage_cost(cost: v1::OverageCost) -> OverageCost {
    OverageCost {
        minor: units(cost.cost_minor),
        cap_minor: cost.cap_minor.map(units),
        currency: cost.currency,
    }
}

fn window_terms(proto: v1::WindowTerms) -> WindowTerms {
    WindowTerms {
        included_units: proto.included_units.map(units),
        overage_units: units(proto.overage_units),
        overage_cost: proto.overage_cost.map(overage_cost),
        carried_units: units(proto.carried_units),
        plan: proto.plan,
        plan_version: proto.plan_version.cast_unsigned(),
    }
}

fn usage_window(proto: v1::UsageWindow) -> UsageWindow {
    UsageWindow {
        feature: proto.feature,
        limit: proto.limit,
        window_start: time(proto.window_start),
        window_end: time(proto.window_end),
        used_units: units(proto.used_units),
        reserved_units: units(proto.reserved_units),
        debt_units: units(proto.debt_units),
        closed: proto.closed,
        approximate: proto.approximate,
        resting: proto.resting,
        counts_until: time(proto.counts_until),
        subject: text(proto.subject),
        allocation: proto.allocation.map(|allocation| AllocationUsage {
            billed_by: allocation.billed_by(),
            level_units: units(allocation.level_units),
            peak_units: units(allocation.peak_units),
            average_units: units(allocation.average_units),
        }),
        used_units_at_close: proto.used_units_at_close.map(units),
        terms: proto.terms.map(window_terms),
    }
}

fn adjustment(proto: v1::Adjustment) -> Adjustment {
    Adjustment {
        kind: proto.kind(),
        feature: proto.feature,
        limit: proto.limit,
        window_start: time(proto.window_start),
        event_key: proto.event_key,
        occurred_at: time(proto.occurred_at),
        adjusted_at: time(proto.adjusted_at),
        units_before: units(proto.units_before),
        units: units(proto.units),
        after_close: proto.after_close,
        reason: text(proto.reason),
    }
}

fn restated_window(proto: v1::RestatedWindow) -> RestatedWindow {
    RestatedWindow {
        limit: proto.limit,
        subject: text(proto.subject),
        window_start: time(proto.window_start),
        window_end: time(proto.window_end),
        units_before: units(proto.units_before),
        units: units(proto.units),
        after_close: proto.after_close,
    }
}

/// Units are never negative in the contract.
fn units(wire: i64) -> u64 {
    u64::try_from(wire).unwrap_or(0)
}

/// On the wire an absent text is an empty one.
fn text(wire: String) -> Option<String> {
    if wire.is_empty() { None } else { Some(wire) }
}

/// A time that no clock can show is as good as none.
fn time(wire: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    wire.and_then(|wire| SystemTime::try_from(wire).ok())
}
