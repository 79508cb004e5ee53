//! What the limits said: each with its numbers, whose word it is, and what became of the request there.
//!
//! The numbers are those of the answer: before a refusal, after everything else. Only what shadow mode let
//! on is shown as it stood before, because that is what it would have been refused by.

use headroom_core::credits::{CreditPrice, Rounding};
use headroom_prompts::display_units;
use headroom_proto::v1::{self, CreditRounding, Denial, OriginKind, Policy, RuleOutcome, Verdict};

use super::{GATES, addons, instant, overridden, refused_by, units};
use crate::grpc::present;
use crate::grpc::receipts::Kept;
use crate::telemetry::metrics::Operation;

/// One limit, as the request met it.
struct Met<'a> {
    limit: &'a v1::LimitState,
    used: i64,
    reserved: i64,
    /// Units that a request could still get. `None`: no bound.
    drawable: Option<i64>,
    /// What the request asks of it: credits of a pool, else units.
    asked: i64,
}

/// Lists what the limits said.
pub(super) fn explain(
    kept: &Kept,
    decision: &v1::Decision,
    asks: bool,
    rules: &mut Vec<v1::RuleResult>,
) {
    let (denial, refused) = refused_by(decision);
    let is_gate = GATES.iter().any(|(gate, _)| *gate == denial);
    let is_no = asks && denial != Denial::Unspecified && !is_gate;
    // Either the answer has them, or they were kept beside it.
    let others = decision.other_limits.iter().chain(&kept.other_limits);
    let all = decision.binding.iter().chain(others);
    let mut has_refused = false;
    for (place, limit) in all.enumerate() {
        let is_binding = place == 0 && decision.binding.is_some();
        let met = Met::of(kept, decision, (place, limit));
        // What a pool refuses in shadow mode binds nowhere.
        let decided = is_binding && (denial != Denial::CreditsExhausted || limit.pool.is_some());
        let (outcome, why) = match is_no && decided {
            true => (refused, cause(kept, decision, denial, &met)),
            // Of the limits that refuse the gravest is named; what the others say is read off them.
            false if is_no && met.would_refuse() => {
                let asked =
                    if limit.pool.is_some() { asked(kept, &met) + ": " } else { String::new() };
                (refused, format!("{asked}would refuse as well"))
            }
            false => (RuleOutcome::Passed, standing(decision, limit, is_binding)),
        };
        has_refused |= outcome != RuleOutcome::Passed;
        rules.push(v1::RuleResult {
            rule: "limit".to_owned(),
            outcome: outcome.into(),
            explanation: format!("{}{}: {why}", whose(limit), met.numbers()),
            limit: limit.limit.clone(),
            binding: is_binding,
            subject: limit.subject.clone(),
        });
    }
    let credits = match &decision.charge {
        Some(charge) => Some((RuleOutcome::Passed, paid(charge))),
        None if is_no && !has_refused && denial == Denial::CreditsExhausted => {
            Some((refused, "the pool that pays has not enough".to_owned()))
        }
        None => None,
    };
    rules.extend(credits.map(|(outcome, explanation)| v1::RuleResult {
        rule: "credits".to_owned(),
        outcome: outcome.into(),
        explanation,
        ..v1::RuleResult::default()
    }));
}

impl<'a> Met<'a> {
    fn of(
        kept: &Kept,
        decision: &v1::Decision,
        (place, limit): (usize, &'a v1::LimitState),
    ) -> Met<'a> {
        let (used, reserved) = (limit.used_units, limit.reserved_units);
        let counted = present::int(kept.counted_units.unwrap_or(kept.units));
        let (asked, drawable) = (counted, limit.drawable_units_remaining);
        let met = Met { limit, used, reserved, drawable, asked };
        if let Some(pool) = &limit.pool {
            // What it refuses is not charged, also where shadow mode lets it on.
            let price = pool.price.as_ref().map(price_of);
            let cost = price.map_or(kept.units, |price| price.cost(kept.units));
            return Met { asked: pool.asked_units.unwrap_or(present::int(cost)), ..met };
        }
        let is_shadowed = decision.shadow_denial() != Denial::Unspecified;
        let met = match kept.operation() {
            Some(Operation::Consume) if is_shadowed => Met { used: (used - counted).max(0), ..met },
            Some(Operation::Reserve | Operation::Extend) if is_shadowed => {
                Met { reserved: (reserved - counted).max(0), ..met }
            }
            _ => return met,
        };
        let ceiling = kept.ceilings.get(place).map(|most| present::int(*most));
        let held = met.used.saturating_add(met.reserved);
        let left = |most: i64| most.saturating_sub(held).max(0);
        Met { drawable: ceiling.filter(|most| *most < i64::MAX).map(left), ..met }
    }

    fn would_refuse(&self) -> bool {
        self.drawable.is_some_and(|drawable| self.asked > drawable)
    }

    /// The counters.
    fn numbers(&self) -> String {
        let limit = self.limit;
        let mut text = format!("{} used", units(self.used));
        if self.reserved > 0 {
            text += &format!(", {} held", units(self.reserved));
        }
        text += &match limit.included_units {
            Some(included) => format!(" of {} included", units(included)),
            None => ", unlimited".to_owned(),
        };
        if let Some(origin) = &limit.origin {
            text += &match origin.kind() {
                OriginKind::Override => format!(" by {}", overridden(origin)),
                OriginKind::AddOn => format!(" with {}", addons(origin)),
                _ => String::new(),
            };
        }
        if limit.debt_units > 0 {
            text += &format!(", {} of it debt", units(limit.debt_units));
        }
        text
    }
}

fn price_of(price: &v1::CreditPrice) -> CreditPrice {
    let rounding = match price.rounding() {
        CreditRounding::Up | CreditRounding::Unspecified => Rounding::Up,
        CreditRounding::Down => Rounding::Down,
        CreditRounding::Nearest => Rounding::Nearest,
    };
    let (credits, per) = (price.credits.unsigned_abs(), price.per_units.unsigned_abs());
    CreditPrice { credits, per, rounding }
}

/// Whose limit it is, if not the account's.
fn whose(limit: &v1::LimitState) -> String {
    if limit.subject.is_empty() { String::new() } else { format!("of {}, ", limit.subject) }
}

/// What the request asks of a limit, and of a pool how that comes about.
fn asked(kept: &Kept, met: &Met<'_>) -> String {
    let Some(price) = met.limit.pool.as_ref().and_then(|pool| pool.price.as_ref()) else {
        return format!("{} asked for", units(met.asked));
    };
    format!(
        "{} {} cost {} credits ({} per {})",
        display_units(kept.units, 0),
        kept.feature,
        units(met.asked),
        units(price.credits),
        units(price.per_units),
    )
}

fn cause(kept: &Kept, decision: &v1::Decision, denial: Denial, met: &Met<'_>) -> String {
    let room = match met.drawable {
        Some(0) => "nothing is left".to_owned(),
        Some(drawable) => format!("only {} can be drawn", units(drawable)),
        None => "nothing can be drawn".to_owned(),
    };
    let then = match (denial, &met.limit.pool) {
        (Denial::RateLimited, _) => "the bucket fills again with time".to_owned(),
        (Denial::ConcurrencyFull, _) => {
            "a slot comes free when one is released or its hold ends".to_owned()
        }
        (Denial::SeatsFull, _) => {
            "a seat comes free when one is released or an invitation ends".to_owned()
        }
        (Denial::InFlight, _) => "reservations hold the rest, and may give it back".to_owned(),
        (Denial::SpendCapReached, _) => "overage has cost what the spend cap allows".to_owned(),
        (_, Some(pool)) => match &pool.next_units_at {
            Some(at) => format!("more come at {}", instant(at)),
            None => "none are on their way".to_owned(),
        },
        _ if met.limit.policy() == Policy::Grace => grace(decision, met.limit),
        _ => "the policy is to block".to_owned(),
    };
    let on = match decision.shadow_denial() {
        Denial::Unspecified => "",
        _ => "; shadow mode let it on",
    };
    format!("{}, {room}; {then}{on}", asked(kept, met))
}

/// Why a grace does not help: it was used too often, its time has run out, or its units are used up.
fn grace(decision: &v1::Decision, limit: &v1::LimitState) -> String {
    let seconds = |at: &prost_types::Timestamp| (at.seconds, at.nanos);
    let as_of = decision.as_of.as_ref().map(seconds);
    if let Some(until) = &limit.grace_until {
        return match Some(seconds(until)) <= as_of {
            true => format!("the time of its grace ran out at {}", instant(until)),
            false => "its grace does not cover that".to_owned(),
        };
    }
    // One that runs in this window has begun, whatever number it was.
    let has_begun = limit.used_units > limit.included_units.unwrap_or(i64::MAX);
    if let Some(uses) =
        limit.grace_uses.as_ref().filter(|uses| uses.used >= uses.times && !has_begun)
    {
        let again = uses.next_forgotten_at.as_ref().map(instant);
        let again = again.map_or_else(String::new, |at| format!(", and may be again from {at}"));
        return format!(
            "its grace was used in {} of {} windows in {} months{again}",
            uses.used, uses.times, uses.months
        );
    }
    match limit.grace_units_remaining {
        Some(0) => "its grace is used up as well".to_owned(),
        _ => "its grace does not cover that".to_owned(),
    }
}

/// How a limit stands that let the request pass.
fn standing(decision: &v1::Decision, limit: &v1::LimitState, is_binding: bool) -> String {
    let held = limit.used_units.saturating_add(limit.reserved_units);
    let is_above = limit.included_units.is_some_and(|included| held > included);
    let verdict = match (is_binding, limit.policy()) {
        (true, _) => decision.verdict(),
        (false, Policy::Block) if is_above => Verdict::AllowedUnbacked,
        (false, _) if is_above && limit.debt_units > 0 => Verdict::AllowedUnbacked,
        (false, Policy::Grace) if is_above => Verdict::AllowedGrace,
        (false, Policy::Overage) if is_above => Verdict::AllowedOverage,
        (false, _) => Verdict::Unspecified,
    };
    match (verdict, limit.thresholds_passed_bp.last()) {
        (Verdict::AllowedGrace, _) => "above what is included, within grace".to_owned(),
        (Verdict::AllowedOverage, _) => "above what is included, billed as overage".to_owned(),
        (Verdict::AllowedUnbacked, _) => {
            "above what it allows, and counted all the same, because it happened or is there"
                .to_owned()
        }
        (_, Some(bp)) => {
            format!("at or above the soft limit of {} %", f64::from(*bp) / 100.0)
        }
        _ => "below every soft limit".to_owned(),
    }
}

/// From which grants the credits came that a write took, in the order in which they burnt.
fn paid(charge: &v1::CreditCharge) -> String {
    let of = |deduction: &v1::Deduction| {
        format!("{} from the grant {}", units(deduction.units), deduction.grant)
    };
    let mut parts: Vec<String> = charge.deductions.iter().map(of).collect();
    if charge.debt_units > 0 {
        parts.push(format!("{} that no grant paid and the pool owes", units(charge.debt_units)));
    }
    if charge.returned_units > 0 {
        parts.push(format!("{} came back", units(charge.returned_units)));
    }
    let (count, pool) = (units(charge.units), &charge.pool);
    let parts = if parts.is_empty() { "nothing to pay".to_owned() } else { parts.join(", ") };
    format!("{count} credits of {pool}: {parts}")
}
