//! Pools of credits, their grants and their history.

use headroom_sdk::v1;
use serde_json::{Value, json};

use super::{Report, instant, json_instant, spaced, table, wire_instant, word};
use headroom_prompts::display_units;

/// Grants and the pool they are in.
pub(in super::super) fn grants(grants: &[v1::Grant], state: Option<&v1::LimitState>) -> Report {
    let head = ["GRANT", "STATE", "LEFT", "OF", "PRIORITY", "EXPIRES"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for grant in grants {
        let expires = wire_instant(grant.expires_at.as_ref());
        rows.push(vec![
            grant.grant.clone(),
            spaced(&word(grant.state().as_str_name(), "GRANT_STATE_")),
            count(grant.units_remaining),
            count(grant.units),
            grant.priority.to_string(),
            expires.map_or_else(|| "never".to_owned(), instant),
        ]);
    }
    let pool = state.and_then(|state| state.pool.as_ref());
    let held = state.map_or(0, |state| state.reserved_units);
    let mut text = table(&rows);
    if let Some(pool) = pool {
        text += &format!("\nbalance of {}: {}", pool.feature, signed(pool.balance_units));
        if held > 0 {
            text += &format!(", {} of it held", count(held));
        }
        if let Some(at) = wire_instant(pool.next_expiry_at.as_ref()) {
            let units = count(pool.next_expiry_units);
            text += &format!(", {units} expire at {}", instant(at));
        }
    }
    let all: Vec<Value> = grants.iter().map(grant_json).collect();
    let balance = pool.map(|pool| pool.balance_units);
    Report::new(text, json!({ "grants": all, "balance_units": balance, "held_units": held }))
}

/// The history of a pool.
pub(in super::super) fn credit_history(segments: &[v1::CreditSegment]) -> Report {
    let head = ["FROM", "OPENING", "GRANTED", "BURNT", "EXPIRED", "OTHER", "CLOSING"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for segment in segments {
        let other = segment.forgiven_units + segment.returned_units - segment.voided_units;
        rows.push(vec![
            wire_instant(segment.from.as_ref()).map_or_else(String::new, instant),
            signed(segment.opening_units),
            count(segment.granted_units + segment.rolled_over_units),
            count(segment.burnt_units),
            count(segment.expired_units),
            signed(other),
            signed(segment.closing_units),
        ]);
    }
    let all: Vec<Value> = segments.iter().map(segment_json).collect();
    Report::new(table(&rows), json!({ "segments": all }))
}

fn count(units: i64) -> String {
    display_units(units.unsigned_abs(), 0)
}

fn signed(units: i64) -> String {
    let sign = if units < 0 { "-" } else { "" };
    format!("{sign}{}", count(units))
}

fn grant_json(grant: &v1::Grant) -> Value {
    json!({
        "grant": grant.grant,
        "source": word(grant.source().as_str_name(), "GRANT_SOURCE_"),
        "state": word(grant.state().as_str_name(), "GRANT_STATE_"),
        "units": grant.units,
        "burnt_units": grant.burnt_units,
        "units_remaining": grant.units_remaining,
        "priority": grant.priority,
        "starts_at": json_instant(wire_instant(grant.starts_at.as_ref())),
        "expires_at": json_instant(wire_instant(grant.expires_at.as_ref())),
        "granted_at": json_instant(wire_instant(grant.granted_at.as_ref())),
        "ended_at": json_instant(wire_instant(grant.ended_at.as_ref())),
        "lost_units": grant.lost_units,
        "void_reason": grant.void_reason,
    })
}

fn segment_json(segment: &v1::CreditSegment) -> Value {
    json!({
        "from": json_instant(wire_instant(segment.from.as_ref())),
        "to": json_instant(wire_instant(segment.to.as_ref())),
        "opening_units": segment.opening_units,
        "closing_units": segment.closing_units,
        "granted_units": segment.granted_units,
        "rolled_over_units": segment.rolled_over_units,
        "burnt_units": segment.burnt_units,
        "expired_units": segment.expired_units,
        "voided_units": segment.voided_units,
        "paid_back_units": segment.paid_back_units,
        "forgiven_units": segment.forgiven_units,
        "returned_units": segment.returned_units,
    })
}
