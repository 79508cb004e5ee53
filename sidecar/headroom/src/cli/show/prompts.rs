//! How prompts look, and what became of them.

use headroom_sdk::v1;
use serde_json::{Value, json};

use super::{Report, spaced, table, word};

/// A prompt that is shown to nobody.
pub(in super::super) fn preview(prompt: &v1::Prompt) -> Report {
    let mut text = format!("{}\n  {}", prompt.title, prompt.message);
    if !prompt.call_to_action.is_empty() {
        let url = if prompt.url.is_empty() { String::new() } else { format!(" -> {}", prompt.url) };
        text += &format!("\n  [{}]{url}", prompt.call_to_action);
    }
    for (place, step) in (1..).zip(&prompt.steps) {
        text += &format!("\n  {place}. {step}");
    }
    let v1::Prompt { prompt: name, scenario, variant, language, .. } = prompt;
    text += &format!("\n({name} for {scenario}, {variant}, {language})");
    let json = json!({
        "prompt": name,
        "scenario": scenario,
        "variant": variant,
        "language": language,
        "title": prompt.title,
        "message": prompt.message,
        "call_to_action": prompt.call_to_action,
        "url": prompt.url,
        "steps": prompt.steps,
    });
    Report::new(text, json)
}

/// Whether an outcome was new.
pub(in super::super) fn told(changed: bool) -> Report {
    let text = if changed { "noted" } else { "known already" };
    Report::new(text, json!({ "changed": changed }))
}

/// Basis points as people read them, with one decimal place.
fn percent(bp: i32) -> String {
    format!("{}.{} %", bp / 100, bp % 100 / 10)
}

fn share_text(share: Option<v1::PromptShare>) -> String {
    share.map_or_else(String::new, |share| {
        let v1::PromptShare { seen_bp, low_bp, high_bp } = share;
        format!("{} ({} to {})", percent(seen_bp), percent(low_bp), percent(high_bp))
    })
}

fn share_json(share: Option<v1::PromptShare>) -> Value {
    share.map_or(Value::Null, |share| {
        json!({ "seen_bp": share.seen_bp, "low_bp": share.low_bp, "high_bp": share.high_bp })
    })
}

/// What became of a prompt.
pub(in super::super) fn prompt_report(report: &v1::GetPromptReportResponse) -> Report {
    let against = |arm: &v1::PromptArm| match arm.against_holdout() {
        v1::PromptComparison::Unspecified => String::new(),
        compared => spaced(&word(compared.as_str_name(), "PROMPT_COMPARISON_")),
    };
    let mut rows: Vec<Vec<String>> = vec![
        ["variant", "readers", "clicked", "converted", "95 % of the time", "against the holdout"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for arm in &report.arms {
        rows.push(vec![
            arm.variant.clone(),
            arm.readers.to_string(),
            arm.clicked.to_string(),
            arm.converted.to_string(),
            share_text(arm.conversion_share),
            against(arm),
        ]);
    }
    let mut text =
        if report.arms.is_empty() { "nobody saw it yet".to_owned() } else { table(&rows) };
    for line in &report.counts {
        let v1::PromptCounts { variant, language, shown, clicked, converted, dismissed, snoozed } =
            line;
        text += &format!(
            "\n{variant} in {language}: shown {shown}, clicked {clicked}, converted {converted}, \
             dismissed {dismissed}, snoozed {snoozed}"
        );
    }
    text += &match (report.winner.as_str(), report.arms.len()) {
        (_, 0 | 1) => String::new(),
        ("", _) => "\nno wording is ahead: not enough was seen yet to tell".to_owned(),
        (winner, _) => format!("\n{winner} is ahead of all others"),
    };
    if report.truncated {
        text += "\nthere were more: ask for a shorter time";
    }
    Report::new(text, report_json(report))
}

fn report_json(report: &v1::GetPromptReportResponse) -> Value {
    let arms = report.arms.iter().map(|arm| {
        let compared = word(arm.against_holdout().as_str_name(), "PROMPT_COMPARISON_");
        json!({
            "variant": arm.variant,
            "readers": arm.readers,
            "clicked": arm.clicked,
            "converted": arm.converted,
            "click_share": share_json(arm.click_share),
            "conversion_share": share_json(arm.conversion_share),
            "against_holdout": Some(compared).filter(|word| word != "unspecified"),
        })
    });
    let counts = report.counts.iter().map(|line| {
        json!({
            "variant": line.variant,
            "language": line.language,
            "shown": line.shown,
            "clicked": line.clicked,
            "converted": line.converted,
            "dismissed": line.dismissed,
            "snoozed": line.snoozed,
        })
    });
    json!({
        "arms": arms.collect::<Vec<_>>(),
        "counts": counts.collect::<Vec<_>>(),
        "winner": Some(&report.winner).filter(|name| !name.is_empty()),
        "truncated": report.truncated,
    })
}
