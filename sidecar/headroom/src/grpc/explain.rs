//! Why a decision was what it was: the rules in the order in which they are tested, each with what
//! became of it. Read off the answer that was given, so it cannot say anything else.

use headroom_core::catalog::{Catalog, FeatureKind};
use headroom_prompts::display_units;
use headroom_proto::v1::{self, Denial, OriginKind, RuleOutcome};

use crate::grpc::present;
use crate::grpc::receipts::{Kept, Whole};
use crate::telemetry::metrics::Operation;

mod limits;

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

/// Explains a decision. Of the catalog, which is the one in force and not the one that decided, nothing
/// is taken but what kind of thing a feature is.
pub fn explain(catalog: &Catalog, kept: Kept) -> v1::ExplainDecisionResponse {
    let operation = kept.operation();
    let decision = kept.decision.clone().unwrap_or_default();
    let mut rules: Vec<v1::RuleResult> = kept.whole.iter().map(together).collect();
    let (denial, _) = refused_by(&decision);
    // What is reported afterwards, or was admitted before, passes no gate; it can be refused at one.
    let asks = asks(operation);
    if asks || GATES.iter().any(|(gate, _)| *gate == denial) {
        gates(&decision, &mut rules);
    }
    limits::explain(&kept, &decision, asks, &mut rules);
    let kind = catalog.feature_named(&kept.feature).map(|ix| &catalog.feature(ix).kind);
    let has_units = !matches!(kind, Some(FeatureKind::Switch | FeatureKind::Config));
    v1::ExplainDecisionResponse {
        account: kept.account,
        feature: kept.feature,
        operation: operation.map_or("", Operation::label).to_owned(),
        units: if has_units { present::int(kept.units) } else { 0 },
        decision: Some(decision),
        rules,
    }
}

/// Whether an operation asks for something that can be refused.
fn asks(operation: Option<Operation>) -> bool {
    matches!(
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
    )
}

/// What became of the request for several features of which the decision is one.
fn together(whole: &Whole) -> v1::RuleResult {
    let Whole { item, items, refused, refused_feature, .. } = whole;
    let operation = usize::try_from(whole.operation).ok().and_then(|at| Operation::ALL.get(at));
    let named = operation.map_or("", |operation| operation.label());
    let is_check = matches!(operation, Some(Operation::CheckAll));
    let (outcome, what) = match (refused, is_check) {
        (0, true) => (RuleOutcome::Passed, "all of them would be allowed together".to_owned()),
        (0, false) => (RuleOutcome::Passed, "all of them were allowed, and counted".to_owned()),
        (refused, true) => {
            let what = format!("item {refused} ({refused_feature}) would refuse all of them");
            (RuleOutcome::Refused, what)
        }
        (refused, false) => {
            let what = format!(
                "item {refused} ({refused_feature}) was refused, so nothing was counted of any; \
                 what follows is how this one stands by itself"
            );
            (RuleOutcome::Refused, what)
        }
    };
    v1::RuleResult {
        rule: "all_or_nothing".to_owned(),
        outcome: outcome.into(),
        explanation: format!("item {item} of {items} of one {named}: {what}"),
        ..v1::RuleResult::default()
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
    let given = match origin.kind() {
        OriginKind::Plan => format!("the plan {plan} contains it"),
        OriginKind::DefaultPlan => format!("the default plan {plan} contains it"),
        OriginKind::Trial => format!("the plan {plan}, on trial, contains it"),
        OriginKind::AddOn => format!("{} gives it (plan {plan})", addons(origin)),
        OriginKind::Unlock => format!("the plan {plan} contains it, and it was earned by use"),
        OriginKind::Override => format!("{} gives it (plan {plan})", overridden(origin)),
        OriginKind::Unspecified => "the feature is entitled".to_owned(),
    };
    match &origin.roll_out {
        Some(by) => format!("{given}, and {}", rolled_out(by)),
        None => given,
    }
}

/// How a feature came to an account that has not come to everybody.
fn rolled_out(by: &v1::RollOut) -> String {
    let cohort = || format!("it came to the account with the cohort {}", by.cohort);
    let share = u32::try_from(by.drawn_share_bp).unwrap_or(0);
    let drawn = || format!("the account is among the {} for which it is drawn", percent(share));
    match (by.cohort.is_empty(), share) {
        (false, 0) => cohort(),
        (false, _) => format!("{}, and {}", cohort(), drawn()),
        (true, _) => drawn(),
    }
}

/// A share as the catalog writes it.
fn percent(bp: u32) -> String {
    format!("{}%", display_units(u64::from(bp), 2))
}

/// The add-ons that have a part in something, by name.
fn addons(origin: &v1::Origin) -> String {
    let named = |bought: &v1::AddOn| match bought.quantity {
        1 => bought.add_on.clone(),
        quantity => {
            format!("{} ({})", bought.add_on, display_units(u64::from(quantity.unsigned_abs()), 0))
        }
    };
    let names: Vec<String> = origin.add_ons.iter().map(named).collect();
    match names.len() {
        0 => "an add-on".to_owned(),
        1 => format!("the add-on {}", names[0]),
        _ => format!("the add-ons {}", names.join(", ")),
    }
}

/// The override that had the last word, and until when.
fn overridden(origin: &v1::Origin) -> String {
    let of = if origin.override_of_subject { "this subject" } else { "the account" };
    let until = origin.override_until.as_ref().map(instant);
    let until = until.map_or_else(String::new, |at| format!(" until {at}"));
    format!("an override of {of}{until}")
}

/// An instant as people and programs read it.
fn instant(at: &prost_types::Timestamp) -> String {
    jiff::Timestamp::new(at.seconds, at.nanos)
        .map_or_else(|_| "beyond the calendar".to_owned(), |at| at.to_string())
}

/// Units on the wire as people read them.
fn units(number: i64) -> String {
    display_units(number.unsigned_abs(), 0)
}
