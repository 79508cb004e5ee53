//! Why an answer was what it was.

use headroom_prompts::display_units;
use headroom_sdk::{Explanation, RuleOutcome};
use serde_json::{Value, json};

use super::decisions::{answer_text, decision_json};
use super::{Report, instant, spaced, table, word};

/// Why an answer was what it was.
pub(in super::super) fn explanation(explanation: &Explanation) -> Report {
    let decision = &explanation.decision;
    let outcome = |outcome: RuleOutcome| word(outcome.as_str_name(), "RULE_OUTCOME_");
    let mut rows = Vec::new();
    for rule in &explanation.rules {
        let mark = match rule.outcome {
            RuleOutcome::Passed => "ok",
            RuleOutcome::Refused => "no",
            RuleOutcome::Shadowed => "no, but shadowed",
            RuleOutcome::NotReached | RuleOutcome::Unspecified => "-",
        };
        let name = rule.limit.as_ref().map_or_else(
            || rule_name(&rule.rule, rule.outcome),
            |limit| format!("limit {limit}{}", if rule.binding { ", binding" } else { "" }),
        );
        rows.push(vec![format!("  {mark}"), name, rule.explanation.clone()]);
    }
    let units = match explanation.units {
        0 => String::new(),
        units => format!(" {}", display_units(units, 0)),
    };
    let asked =
        format!("{}{units} {}", explanation.operation, explanation.feature).trim_end().to_owned();
    let at = decision.as_of.map_or_else(String::new, |at| format!(" at {}", instant(at)));
    let text = format!(
        "{}: {asked} for {}{at}, catalog revision {}\n{}\n{}",
        decision.decision_id,
        explanation.account,
        decision.catalog_revision,
        answer_text(decision),
        table(&rows),
    );
    let rules: Vec<Value> = explanation
        .rules
        .iter()
        .map(|rule| {
            json!({
                "rule": rule.rule,
                "outcome": outcome(rule.outcome),
                "explanation": rule.explanation,
                "limit": rule.limit,
                "subject": rule.subject,
                "binding": rule.binding,
            })
        })
        .collect();
    let json = json!({
        "account": explanation.account,
        "feature": explanation.feature,
        "operation": explanation.operation,
        "units": explanation.units,
        "decision": decision_json(decision),
        "rules": rules,
    });
    Report::new(text.trim_end(), json)
}

/// What a rule is called: by the refusal it ends in, and where it passed by what that means.
fn rule_name(rule: &str, outcome: RuleOutcome) -> String {
    let passed = match (rule, outcome) {
        ("unknown_account", RuleOutcome::Passed) => "account known",
        ("account_suspended", RuleOutcome::Passed) => "not suspended",
        ("unknown_feature", RuleOutcome::Passed) => "feature known",
        ("subscription_ended", RuleOutcome::Passed) => "not ended",
        ("not_in_plan", RuleOutcome::Passed) => "in plan",
        ("feature_paused", RuleOutcome::Passed) => "not paused",
        _ => return spaced(rule),
    };
    passed.to_owned()
}
