//! What a product would be told.

use std::time::{Duration, SystemTime};

use headroom_sdk::{
    Adjustment, Allocated, Committed, Corrected, CreditCharge, Decision, Entitlement, Entitlements,
    EntitlementsChange, Extended, Projection, ProjectionState, Prompt, Recorded, Released,
    Reserved, RestatedWindow, Several, Unlock,
};
use serde_json::{Value, json};

use super::limits::{
    given_text, limit_json, limits_text, origin_json, rate_json, rate_text, roll_out_text,
};
use super::{Report, instant, json_instant, spaced, table, word};
use headroom_prompts::display_units;

/// A plain answer.
pub(in super::super) fn decision(decision: &Decision) -> Report {
    Report {
        text: decision_text(decision),
        json: decision_json(decision),
        is_refusal: !decision.allowed,
    }
}

/// The answer to Reserve.
pub(in super::super) fn reserved(reserved: &Reserved) -> Report {
    let mut report = decision(&reserved.decision);
    if let Some(reservation) = &reserved.reservation {
        let until =
            reservation.expires_at.map_or_else(String::new, |at| format!(" until {}", instant(at)));
        report.text = format!("{}\nreservation: {}{until}", report.text, reservation.id);
        report.json["reservation_id"] = json!(reservation.id);
        report.json["expires_at"] = json_instant(reservation.expires_at);
    }
    report
}

/// The answer about several features, each as by itself.
pub(in super::super) fn several<T>(several: &Several<T>, each: impl Fn(&T) -> Report) -> Report {
    let (count, items) = (several.items.len(), several.items.iter().map(each));
    let (texts, json): (Vec<String>, Vec<Value>) = items.map(|item| (item.text, item.json)).unzip();
    let word = if several.allowed { "all allowed" } else { "not all allowed: nothing was counted" };
    let numbered = texts.iter().zip(1..).map(|(text, n)| format!("{n} of {count}: {text}"));
    Report {
        text: format!("{word}\n\n{}", numbered.collect::<Vec<_>>().join("\n\n")),
        json: json!({ "allowed": several.allowed, "items": json }),
        is_refusal: !several.allowed,
    }
}

/// The answer to Extend.
pub(in super::super) fn extended(extended: &Extended) -> Report {
    let mut report = decision(&extended.decision);
    let until =
        extended.expires_at.map_or_else(String::new, |at| format!(" until {}", instant(at)));
    let held = display_units(extended.held_units, 0);
    report.text = format!("{}\nheld: {held} units{until}", report.text);
    report.json["held_units"] = json!(extended.held_units);
    report.json["expires_at"] = json_instant(extended.expires_at);
    report
}

/// The answer to Commit.
pub(in super::super) fn committed(committed: &Committed) -> Report {
    let mut report = decision(&committed.decision);
    let mut text = format!("committed: {}", display_units(committed.committed_units, 0));
    if committed.late {
        text += ", after the hold had ended";
    }
    if committed.surplus_units > 0 {
        text += &format!(", {} more than was held", display_units(committed.surplus_units, 0));
    }
    if committed.debt_units > 0 {
        text += &format!(", {} of it debt", display_units(committed.debt_units, 0));
    }
    if let Some(at) = committed.expires_at {
        let is_spent = committed.surplus_units > 0;
        let held = if is_spent { "it stays open, with nothing held," } else { "the rest is held" };
        text += &format!(", {held} until {}", instant(at));
    }
    report.text = format!("{text}\n{}", report.text);
    report.json["expires_at"] = json_instant(committed.expires_at);
    report.json["committed_units"] = json!(committed.committed_units);
    report.json["surplus_units"] = json!(committed.surplus_units);
    report.json["debt_units"] = json!(committed.debt_units);
    report.json["late"] = json!(committed.late);
    report
}

/// The answer to Release.
pub(in super::super) fn released(released: &Released) -> Report {
    let mut report = decision(&released.decision);
    let units = display_units(released.released_units, 0);
    report.text = format!("released: {units}\n{}", report.text);
    report.json["released_units"] = json!(released.released_units);
    report
}

/// The answer to Record.
pub(in super::super) fn recorded(recorded: &Recorded) -> Report {
    let mut report = decision(&recorded.decision);
    if recorded.debt_units > 0 {
        let units = display_units(recorded.debt_units, 0);
        report.text = format!("debt: {units}\n{}", report.text);
    }
    report.json["debt_units"] = json!(recorded.debt_units);
    add_windows(&mut report, &recorded.restated_windows);
    report
}

/// The windows that an event counts in, below the answer to whoever told or corrected it.
fn add_windows(report: &mut Report, windows: &[RestatedWindow]) {
    let json = windows.iter().map(|one| {
        json!({
            "limit": one.limit,
            "subject": one.subject,
            "window_start": json_instant(one.window_start),
            "window_end": json_instant(one.window_end),
            "units_before": one.units_before,
            "units": one.units,
            "after_close": one.after_close,
        })
    });
    report.json["restated_windows"] = json.collect();
    if windows.is_empty() {
        return;
    }
    let head = ["LIMIT", "FOR", "FROM", "UNTIL", "WAS", "IS", "WHAT"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let ever = |at: Option<SystemTime>| at.map_or_else(|| "ever".to_owned(), instant);
    rows.extend(windows.iter().map(|one| {
        let what = match (one.units_before == one.units, one.after_close) {
            (true, _) => "unchanged",
            (false, true) => "changed after the close",
            (false, false) => "changed",
        };
        vec![
            one.limit.clone(),
            one.subject.clone().unwrap_or_else(|| "the account".to_owned()),
            ever(one.window_start),
            ever(one.window_end),
            display_units(one.units_before, 0),
            display_units(one.units, 0),
            what.to_owned(),
        ]
    }));
    report.text = format!("{}\n\nwindows of the event\n{}", report.text, table(&rows));
}

/// The answer to Allocate.
pub(in super::super) fn allocated(allocated: &Allocated) -> Report {
    let mut report = decision(&allocated.decision);
    let units = |units: u64| display_units(units, 0);
    let mut lines = Vec::new();
    if allocated.added_units > 0 {
        lines.push(format!("added: {}", units(allocated.added_units)));
    }
    if allocated.removed_units > 0 || allocated.clamped {
        let rest = if allocated.clamped { ", which was all there was" } else { "" };
        lines.push(format!("removed: {}{rest}", units(allocated.removed_units)));
    }
    if allocated.debt_units > 0 {
        lines.push(format!("debt: {}", units(allocated.debt_units)));
    }
    lines.push(std::mem::take(&mut report.text));
    report.text = lines.join("\n");
    report.json["added_units"] = json!(allocated.added_units);
    report.json["removed_units"] = json!(allocated.removed_units);
    report.json["clamped"] = json!(allocated.clamped);
    report.json["debt_units"] = json!(allocated.debt_units);
    report
}

/// The answer to Correct.
pub(in super::super) fn corrected(corrected: &Corrected) -> Report {
    let mut report = decision(&corrected.decision);
    let now = match corrected.units {
        0 => "withdrawn".to_owned(),
        units => format!("it counts {} now", display_units(units, 0)),
    };
    let debt = match corrected.debt_units {
        0 => String::new(),
        units => format!(", {} of it new debt", display_units(units, 0)),
    };
    report.text = format!("{now}{debt}\n{}", report.text);
    report.json["units"] = json!(corrected.units);
    report.json["debt_units"] = json!(corrected.debt_units);
    add_windows(&mut report, &corrected.restated_windows);
    report
}

/// What came to windows afterwards.
pub(in super::super) fn adjustments(adjustments: &[Adjustment]) -> Report {
    let head = ["FEATURE", "LIMIT", "WINDOW", "EVENT", "OF", "WAS", "IS", "AT", "WHAT"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let when = |at: Option<SystemTime>| at.map_or_else(|| "ever".to_owned(), instant);
    for one in adjustments {
        let kind = word(one.kind.as_str_name(), "ADJUSTMENT_KIND_");
        let closed = if one.after_close { ", after the close" } else { "" };
        let reason = one.reason.as_deref().map_or_else(String::new, |why| format!(": {why}"));
        rows.push(vec![
            one.feature.clone(),
            one.limit.clone(),
            when(one.window_start),
            one.event_key.clone(),
            when(one.occurred_at),
            display_units(one.units_before, 0),
            display_units(one.units, 0),
            when(one.adjusted_at),
            format!("{kind}{closed}{reason}"),
        ]);
    }
    let json = adjustments.iter().map(|one| {
        json!({
            "feature": one.feature,
            "limit": one.limit,
            "window_start": json_instant(one.window_start),
            "kind": word(one.kind.as_str_name(), "ADJUSTMENT_KIND_"),
            "event_key": one.event_key,
            "occurred_at": json_instant(one.occurred_at),
            "adjusted_at": json_instant(one.adjusted_at),
            "units_before": one.units_before,
            "units": one.units,
            "after_close": one.after_close,
            "reason": one.reason,
        })
    });
    let text = if adjustments.is_empty() { "nothing came later".to_owned() } else { table(&rows) };
    Report::new(text, json!({ "adjustments": json.collect::<Vec<_>>() }))
}

/// What an account may use.
pub(in super::super) fn entitlements(answer: &Entitlements) -> Report {
    let mut text = format!("plan {}, catalog revision {}", answer.plan, answer.catalog_revision);
    text += &entitlements_text(&answer.entitlements);
    let list: Vec<Value> = answer.entitlements.iter().map(entitlement_json).collect();
    let json = json!({
        "plan": answer.plan,
        "plan_version": answer.plan_version,
        "catalog_revision": answer.catalog_revision,
        "as_of": json_instant(answer.as_of),
        "test_clock": answer.test_clock,
        "entitlements": list,
    });
    Report::new(text, json)
}

/// The beginning of a watch, or a change.
pub(in super::super) fn change(change: &EntitlementsChange) -> Report {
    let at = change.as_of.map_or_else(String::new, |at| format!("{}: ", instant(at)));
    let mut text =
        format!("{at}plan {}, catalog revision {}", change.plan, change.catalog_revision);
    text += &entitlements_text(&change.entitlements);
    for feature in &change.removed_features {
        text += &format!("\n{feature}: not in the catalog any more");
    }
    let list: Vec<Value> = change.entitlements.iter().map(entitlement_json).collect();
    let json = json!({
        "plan": change.plan,
        "catalog_revision": change.catalog_revision,
        "as_of": json_instant(change.as_of),
        "entitlements": list,
        "removed_features": change.removed_features,
    });
    Report::new(text, json)
}

/// A watch has ended because the sidecar stops.
pub(in super::super) fn watch_over() -> Report {
    Report::new("the sidecar stops, and the watch with it", json!({ "over": true }))
}

fn entitlements_text(entitlements: &[Entitlement]) -> String {
    let mut text = String::new();
    for entitlement in entitlements {
        text += &format!("\n{}: {}", entitlement.feature, entitlement_text(entitlement));
        if !entitlement.limits.is_empty() {
            text += &format!("\n{}", limits_text(entitlement.limits.iter(), None));
        }
    }
    text
}

fn entitlement_text(entitlement: &Entitlement) -> String {
    match (&entitlement.denial, &entitlement.config_value) {
        (Some(denial), _) => {
            let lock =
                entitlement.unlock.as_ref().map(|unlock| format!(", {}", unlock_text(unlock)));
            let denial = spaced(&word(denial.as_str_name(), "DENIAL_"));
            format!("no, {denial}{}", lock.unwrap_or_default())
        }
        (None, Some(value)) => value.clone(),
        (None, None) if entitlement.allowed => {
            let own = entitlement.rate.map(|rate| rate_text(&rate));
            let per = entitlement.rate_per.as_deref().unwrap_or_default();
            let each = entitlement.rate_each.map(|rate| format!("each {per} {}", rate_text(&rate)));
            let per = entitlement.slots_per.as_deref().unwrap_or_default();
            let slots = entitlement.slots_each.map(|most| format!("each {per} {most} at a time"));
            let said = ["yes".to_owned()].into_iter().chain(own).chain(each).chain(slots);
            said.collect::<Vec<_>>().join(", ")
        }
        (None, None) => "no".to_owned(),
    }
}

fn entitlement_json(entitlement: &Entitlement) -> Value {
    json!({
        "feature": entitlement.feature,
        "feature_name": entitlement.feature_name,
        "unit": entitlement.unit,
        "kind": word(entitlement.kind.as_str_name(), "FEATURE_KIND_"),
        "aggregation": entitlement.aggregation.map(|a| word(a.as_str_name(), "AGGREGATION_")),
        "unique_by": entitlement.unique_by,
        "allowed": entitlement.allowed,
        "denial": entitlement.denial.map(|denial| word(denial.as_str_name(), "DENIAL_")),
        "config_value": config_json(entitlement.config_value.as_deref()),
        "limits": entitlement.limits.iter().map(limit_json).collect::<Vec<_>>(),
        "rate": entitlement.rate.as_ref().map(rate_json),
        "rate_each": entitlement.rate_each.as_ref().map(rate_json),
        "rate_per": entitlement.rate_per,
        "slots_each": entitlement.slots_each,
        "slots_per": entitlement.slots_per,
        "unlock": entitlement.unlock.as_ref().map(unlock_json),
        "origin": entitlement.origin.as_ref().map(|o| word(o.kind.as_str_name(), "ORIGIN_KIND_")),
    })
}

/// The answer as text, and where it leads on to when it was no.
fn decision_text(decision: &Decision) -> String {
    let mut text = answer_text(decision);
    let is_worth = !decision.allowed || decision.shadow_denial.is_some();
    if is_worth && !decision.decision_id.is_empty() {
        text += &format!("\nwhy: headroom ask explain {}", decision.decision_id);
    }
    text
}

pub(super) fn answer_text(decision: &Decision) -> String {
    let verdict = spaced(&word(decision.verdict.as_str_name(), "VERDICT_"));
    let mut text = match decision.denial {
        Some(denial) => {
            format!("{verdict}: {}", spaced(&word(denial.as_str_name(), "DENIAL_")))
        }
        None => verdict,
    };
    if let Some(denial) = decision.shadow_denial {
        let denial = spaced(&word(denial.as_str_name(), "DENIAL_"));
        text += &format!(", in shadow mode (it would have been refused: {denial})");
    }
    if let Some(wait) = decision.retry_after {
        text += &format!(", try again {}", wait_text(wait, decision.as_of));
    }
    if decision.replayed {
        text += " (the answer of the first write with this key)";
    }
    if let Some(value) = &decision.config_value {
        text += &format!("\nvalue: {value}");
    }
    if let Some(unlock) = &decision.unlock {
        text += &format!("\n{}", unlock_text(unlock));
    }
    if let Some(charge) = &decision.charge {
        text += &format!("\n{}", charge_text(charge));
    }
    let limits = decision.binding.iter().chain(&decision.other_limits);
    if decision.binding.is_some() {
        text += &format!("\n{}", limits_text(limits, decision.as_of));
    } else if let Some(given) = decision.origin.as_ref().and_then(given_text) {
        text += &format!("\n{given}");
    }
    if let Some(by) = decision.origin.as_ref().and_then(roll_out_text) {
        text += &format!("\n{by}");
    }
    if let Some(line) = decision.projection.as_ref().and_then(projection_text) {
        text += &format!("\n{line}");
    }
    if let Some(prompt) = &decision.prompt {
        text += &format!("\n{}", prompt_text(prompt));
    }
    if let Some(held) = &decision.prompt_suppression {
        let why = word(held.reason.as_str_name(), "SUPPRESSION_REASON_");
        let until = held.until.map_or_else(String::new, |at| format!(", until {}", instant(at)));
        text += &format!("\nprompt {} is held back: {}{until}", held.prompt, spaced(&why));
    }
    text
}

/// How long to wait: so long, and when that is more than a few minutes, until when. Never earlier than it
/// is worth it.
fn wait_text(wait: Duration, as_of: Option<SystemTime>) -> String {
    let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    let span = match (days, hours) {
        _ if wait.as_secs() == 0 => return format!("in {} ms", millis(wait)),
        _ if secs < 300 => return format!("in {secs} s"),
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {minutes} min"),
        (days, hours) => format!("{days} d {hours} h"),
    };
    match as_of.and_then(|as_of| as_of.checked_add(wait)) {
        Some(at) => format!("at {} (in {span})", instant(at)),
        None => format!("in {span}"),
    }
}

fn unlock_text(unlock: &Unlock) -> String {
    format!(
        "comes after {} of {}: {} used, {} left",
        display_units(unlock.needed_units, 0),
        unlock.feature,
        display_units(unlock.used_units, 0),
        display_units(unlock.remaining_units, 0)
    )
}

fn unlock_json(unlock: &Unlock) -> Value {
    json!({
        "feature": unlock.feature,
        "limit": unlock.limit,
        "needed_units": unlock.needed_units,
        "used_units": unlock.used_units,
        "remaining_units": unlock.remaining_units,
    })
}

fn charge_text(charge: &CreditCharge) -> String {
    let units = |units: u64| display_units(units, 0);
    let mut parts: Vec<String> = charge
        .deductions
        .iter()
        .map(|(grant, paid)| format!("{} from {grant}", units(*paid)))
        .collect();
    if charge.debt_units > 0 {
        parts.push(format!("{} owed", units(charge.debt_units)));
    }
    if charge.returned_units > 0 {
        parts.push(format!("{} came back", units(charge.returned_units)));
    }
    let how = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("charged {} of {}{how}", units(charge.units), charge.pool)
}

fn charge_json(charge: &CreditCharge) -> Value {
    let deductions = charge.deductions.iter();
    json!({
        "pool": charge.pool,
        "units": charge.units,
        "deductions": deductions
            .map(|(grant, units)| json!({ "grant": grant, "units": units }))
            .collect::<Vec<_>>(),
        "debt_units": charge.debt_units,
        "returned_units": charge.returned_units,
    })
}

fn projection_text(projection: &Projection) -> Option<String> {
    let limit = &projection.limit;
    match projection.state {
        ProjectionState::ReachesLimit => {
            let at = instant(projection.reaches_limit_at?);
            let likely = match (projection.reaches_limit_from, projection.reaches_limit_to) {
                (Some(from), Some(to)) => {
                    format!(", likely between {} and {}", instant(from), instant(to))
                }
                (Some(from), None) => {
                    let part = chance(projection);
                    format!(", hardly before {} ({part} that it is reached at all)", instant(from))
                }
                (None, _) => String::new(),
            };
            Some(format!("expected: the limit {limit} is reached at {at}{likely}"))
        }
        ProjectionState::WithinLimit => {
            let part = chance(projection);
            Some(format!(
                "expected: the limit {limit} holds until its window ends ({part} that it is reached)"
            ))
        }
        ProjectionState::Reached => Some(format!("the limit {limit} is reached")),
        ProjectionState::Learning | ProjectionState::Unspecified => None,
    }
}

/// How likely the limit is reached, in whole percents.
fn chance(projection: &Projection) -> String {
    format!("{} %", projection.probability_bp.unwrap_or_default() / 100)
}

fn prompt_text(prompt: &Prompt) -> String {
    let mut text = format!("prompt: {}\n  {}", prompt.title, prompt.message);
    if !prompt.call_to_action.is_empty() {
        let url = prompt.url.as_deref().map_or_else(String::new, |url| format!(" -> {url}"));
        text += &format!("\n  [{}]{url}", prompt.call_to_action);
    }
    for (place, step) in (1..).zip(&prompt.steps) {
        text += &format!("\n  {place}. {step}");
    }
    text
}

pub(super) fn decision_json(decision: &Decision) -> Value {
    json!({
        "allowed": decision.allowed,
        "verdict": word(decision.verdict.as_str_name(), "VERDICT_"),
        "denial": decision.denial.map(|denial| word(denial.as_str_name(), "DENIAL_")),
        "binding": decision.binding.as_ref().map(limit_json),
        "other_limits": decision.other_limits.iter().map(limit_json).collect::<Vec<_>>(),
        "config_value": config_json(decision.config_value.as_deref()),
        "origin": decision.origin.as_ref().map(origin_json),
        "catalog_revision": decision.catalog_revision,
        "as_of": json_instant(decision.as_of),
        "durability": word(decision.durability.as_str_name(), "DURABILITY_"),
        "decision_id": decision.decision_id,
        "replayed": decision.replayed,
        "test_clock": decision.test_clock,
        "shadow_denial": decision.shadow_denial.map(|d| word(d.as_str_name(), "DENIAL_")),
        "retry_after_ms": decision.retry_after.map(millis),
        "charge": decision.charge.as_ref().map(charge_json),
        "unlock": decision.unlock.as_ref().map(unlock_json),
        "prompt": decision.prompt.as_ref().map(prompt_json),
        "prompt_suppression": decision.prompt_suppression.as_ref().map(|held| json!({
            "prompt": held.prompt,
            "reason": word(held.reason.as_str_name(), "SUPPRESSION_REASON_"),
            "until": json_instant(held.until),
        })),
        "projection": decision.projection.as_ref().map(|projection| json!({
            "limit": projection.limit,
            "state": word(projection.state.as_str_name(), "PROJECTION_STATE_"),
            "reaches_limit_at": json_instant(projection.reaches_limit_at),
            "reaches_limit_from": json_instant(projection.reaches_limit_from),
            "reaches_limit_to": json_instant(projection.reaches_limit_to),
            "probability_bp": projection.probability_bp,
            "units_at_window_end": projection.units_at_window_end,
            "units_at_window_end_low": projection.units_at_window_end_low,
            "units_at_window_end_high": projection.units_at_window_end_high,
            "basis": word(projection.basis.as_str_name(), "PROJECTION_BASIS_"),
            "observed_since": json_instant(projection.observed_since),
        })),
    })
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A config value is JSON already; a text around it would have to be parsed twice.
fn config_json(value: Option<&str>) -> Value {
    value.map_or(Value::Null, |text| {
        serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
    })
}

fn prompt_json(prompt: &Prompt) -> Value {
    json!({
        "prompt": prompt.prompt,
        "scenario": prompt.scenario,
        "severity": word(prompt.severity.as_str_name(), "SEVERITY_"),
        "title": prompt.title,
        "message": prompt.message,
        "call_to_action": prompt.call_to_action,
        "url": prompt.url,
        "offer": prompt.offer.as_ref().map(|offer| json!({
            "plan": offer.plan,
            "plan_name": offer.plan_name,
            "price_minor": offer.price_minor,
            "currency": offer.currency,
            "per": offer.per,
            "due_today_minor": offer.due_today_minor,
            "credit_minor": offer.credit_minor,
            "period_end": json_instant(offer.period_end),
        })),
        "prompt_id": prompt.prompt_id,
        "variant": prompt.variant,
        "language": prompt.language,
        "steps": prompt.steps,
        "facts": prompt.facts,
    })
}
