//! Why a decision was what it was: the rules in the order in which they are tested, each with what
//! became of it. Read off the answer that was given, so it cannot say anything else.

use headroom_proto::v1::{self, Denial, RuleOutcome, Verdict};

use crate::grpc::present;
use crate::grpc::receipts::Kept;
use crate::telemetry::metrics::Operation;
use headroom_prompts::display_units;

/// The rules that stand before the limits, in the order in which they are tested: the denial they end
/// in, and what it means that they pass.
const GATES: [(Denial, &str); 6] = [
    (Denial::UnknownAccount, "the account is known, or the catalog has a default plan"),
    (Denial::AccountSuspended, "the account is not suspended"),
    (Denial::UnknownFeature, "the catalog has the feature"),
    (Denial::SubscriptionEnded, "the subscription has not ended"),
    (Denial::NotInPlan, "the feature is entitled"),
    (Denial::FeaturePaused, "the feature is not paused"),
];

/// Explains a decision.
pub fn explain(kept: Kept) -> v1::ExplainDecisionResponse {
    let operation = kept.operation();
    let decision = kept.decision.clone().unwrap_or_default();
    let mut rules = Vec::new();
    // What is reported afterwards, or was admitted before, passes no gate.
    let asks = matches!(
        operation,
        Some(
            Operation::Check
                | Operation::Consume
                | Operation::Reserve
                | Operation::Extend
                | Operation::Allocate
                | Operation::InviteSeat
                | Operation::ClaimSeat
                | Operation::TransferSeat
        )
    );
    if asks {
        gates(&decision, &mut rules);
    }
    limits(&kept, &decision, asks, &mut rules);
    if let Some(charge) = &decision.charge {
        rules.push(v1::RuleResult {
            rule: "credits".to_owned(),
            outcome: RuleOutcome::Passed.into(),
            explanation: paid(charge),
            ..v1::RuleResult::default()
        });
    }
    v1::ExplainDecisionResponse {
        account: kept.account,
        feature: kept.feature,
        operation: operation.map_or("", Operation::label).to_owned(),
        units: present::int(kept.units),
        decision: Some(decision),
        rules,
    }
}

/// Where a refusal happened, or would have happened without shadow mode.
fn refused_by(decision: &v1::Decision) -> (Denial, RuleOutcome) {
    match decision.shadow_denial() {
        Denial::Unspecified => (decision.denial(), RuleOutcome::Refused),
        shadowed => (shadowed, RuleOutcome::Shadowed),
    }
}

fn gates(decision: &v1::Decision, rules: &mut Vec<v1::RuleResult>) {
    let (denial, refused) = refused_by(decision);
    let place = GATES.iter().position(|(gate, _)| *gate == denial);
    for (number, (gate, passed)) in GATES.iter().enumerate() {
        let (outcome, explanation) = match place {
            Some(place) if number == place => (refused, refusal(*gate, decision)),
            Some(place) if number > place && refused == RuleOutcome::Refused => {
                (RuleOutcome::NotReached, "not tested, an earlier rule refused".to_owned())
            }
            _ if *gate == Denial::NotInPlan => (RuleOutcome::Passed, entitled(decision)),
            _ => (RuleOutcome::Passed, (*passed).to_owned()),
        };
        rules.push(v1::RuleResult {
            rule: denial_word(*gate),
            outcome: outcome.into(),
            explanation,
            ..v1::RuleResult::default()
        });
    }
}

/// A denial as configuration and logs write it.
fn denial_word(denial: Denial) -> String {
    denial.as_str_name().trim_start_matches("DENIAL_").to_lowercase()
}

fn refusal(gate: Denial, decision: &v1::Decision) -> String {
    let plan = decision.origin.as_ref().map_or("", |origin| &origin.plan);
    match gate {
        Denial::UnknownAccount => {
            "nobody announced the account, and the catalog has no default plan".to_owned()
        }
        Denial::AccountSuspended => "the account is suspended".to_owned(),
        Denial::UnknownFeature => "the catalog has no such feature".to_owned(),
        Denial::SubscriptionEnded => "the subscription has ended".to_owned(),
        Denial::NotInPlan if decision.unlock.is_some() => locked(plan, decision.unlock.as_ref()),
        Denial::NotInPlan if plan.is_empty() => {
            "neither the plan nor an add-on nor an override contains the feature".to_owned()
        }
        Denial::NotInPlan => {
            format!("{plan} contains the feature, but it is not rolled out to the account")
        }
        Denial::FeaturePaused => "the catalog has paused the feature for everybody".to_owned(),
        _ => String::new(),
    }
}

fn locked(plan: &str, unlock: Option<&v1::Unlock>) -> String {
    let Some(unlock) = unlock else { return String::new() };
    let units = |number: i64| display_units(number.unsigned_abs(), 0);
    format!(
        "{plan} contains the feature once {} of {} were used: {} so far, {} are left",
        units(unlock.needed_units),
        unlock.feature,
        units(unlock.used_units),
        units(unlock.remaining_units),
    )
}

fn entitled(decision: &v1::Decision) -> String {
    let Some(origin) = &decision.origin else { return "the feature is entitled".to_owned() };
    let plan = &origin.plan;
    match origin.kind() {
        v1::OriginKind::Plan => format!("the plan {plan} contains it"),
        v1::OriginKind::DefaultPlan => format!("the default plan {plan} contains it"),
        v1::OriginKind::Trial => format!("the plan {plan}, on trial, contains it"),
        v1::OriginKind::AddOn => format!("an add-on to the plan {plan} contains it"),
        v1::OriginKind::Unlock => format!("the plan {plan} contains it, and it was earned by use"),
        v1::OriginKind::Override => format!("an override of the account gives it (plan {plan})"),
        v1::OriginKind::Unspecified => "the feature is entitled".to_owned(),
    }
}

fn limits(kept: &Kept, decision: &v1::Decision, asks: bool, rules: &mut Vec<v1::RuleResult>) {
    let Some(binding) = &decision.binding else { return };
    // Either the answer has them, or they were kept beside it.
    let others = decision.other_limits.iter().chain(&kept.other_limits);
    let (denial, refused) = refused_by(decision);
    let gate = GATES.iter().any(|(gate, _)| *gate == denial);
    let is_no = asks && denial != Denial::Unspecified && !gate;
    for (limit, is_binding) in [(binding, true)].into_iter().chain(others.map(|l| (l, false))) {
        let (outcome, why) = match is_no && is_binding {
            true => (refused, cause(denial, kept.units, limit)),
            // Of the limits that refuse the gravest is named; what the others say is read off them.
            false if is_no && would_refuse(kept.units, limit) => {
                (refused, "would refuse as well".to_owned())
            }
            false => (RuleOutcome::Passed, standing(decision, limit, is_binding)),
        };
        rules.push(v1::RuleResult {
            rule: "limit".to_owned(),
            outcome: outcome.into(),
            explanation: format!("{}{}: {why}", whose(limit), numbers(limit)),
            limit: limit.limit.clone(),
            binding: is_binding,
            subject: limit.subject.clone(),
        });
    }
}

/// From which grants the credits came that a write took, in the order in which they burnt.
fn paid(charge: &v1::CreditCharge) -> String {
    let units = |number: i64| display_units(number.unsigned_abs(), 0);
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

fn would_refuse(units: u64, limit: &v1::LimitState) -> bool {
    limit.drawable_units_remaining.is_some_and(|drawable| present::int(units) > drawable)
}

/// Whose limit it is, if not the account's.
fn whose(limit: &v1::LimitState) -> String {
    if limit.subject.is_empty() { String::new() } else { format!("of {}, ", limit.subject) }
}

/// The counters of a limit, as the answer had them: before a refusal, after everything else.
fn numbers(limit: &v1::LimitState) -> String {
    let units = |number: i64| display_units(number.unsigned_abs(), 0);
    let mut text = format!("{} used", units(limit.used_units));
    if limit.reserved_units > 0 {
        text += &format!(", {} held", units(limit.reserved_units));
    }
    text += &match limit.included_units {
        Some(included) => format!(" of {} included", units(included)),
        None => ", unlimited".to_owned(),
    };
    if limit.debt_units > 0 {
        text += &format!(", {} of it debt", units(limit.debt_units));
    }
    text
}

fn cause(denial: Denial, units: u64, limit: &v1::LimitState) -> String {
    let asked = display_units(units, 0);
    let drawable = limit.drawable_units_remaining.unwrap_or(i64::MAX).unsigned_abs();
    let room = match drawable {
        0 => "nothing is left".to_owned(),
        units => format!("only {} can be drawn", display_units(units, 0)),
    };
    let then = match denial {
        Denial::RateLimited => "the bucket fills again with time",
        Denial::ConcurrencyFull => "a slot comes free when one is released or its hold ends",
        Denial::SeatsFull => "a seat comes free when one is released or an invitation ends",
        Denial::InFlight => "reservations hold the rest, and may give it back",
        Denial::SpendCapReached => "overage has cost what the spend cap allows",
        _ => match limit.policy() {
            v1::Policy::Grace if limit.grace_units_remaining == Some(0) => {
                "its grace is used up as well"
            }
            v1::Policy::Grace => "its grace does not cover that",
            _ => "the policy is to block",
        },
    };
    format!("{asked} asked for, {room}; {then}")
}

fn standing(decision: &v1::Decision, limit: &v1::LimitState, is_binding: bool) -> String {
    let passed = limit.thresholds_passed_bp.last();
    let verdict = if is_binding { decision.verdict() } else { Verdict::Unspecified };
    match (verdict, passed) {
        (Verdict::AllowedGrace, _) => "above what is included, within grace".to_owned(),
        (Verdict::AllowedOverage, _) => "above what is included, billed as overage".to_owned(),
        (_, Some(bp)) => {
            format!("at or above the soft limit of {} %", f64::from(*bp) / 100.0)
        }
        _ => "below every soft limit".to_owned(),
    }
}
