//! Limits: how much is used and left, whose word they are, and when there is more.

use std::time::SystemTime;

use headroom_core::catalog::{
    CONCURRENT_LIMIT, EACH_CONCURRENT_LIMIT, EACH_RATE_LIMIT, RATE_LIMIT, SEATS_LIMIT,
};
use headroom_prompts::display_units;
use headroom_sdk::{LimitState, Origin, OriginKind, PoolState, Rate};
use serde_json::{Value, json};

use super::decisions::millis;
use super::{instant, json_instant, table, word};

pub(super) fn limits_text<'a>(
    limits: impl Iterator<Item = &'a LimitState>,
    as_of: Option<SystemTime>,
) -> String {
    let rows: Vec<Vec<String>> = limits.map(|limit| limit_row(limit, as_of)).collect();
    table(&rows)
}

/// A limit, and whose it is.
pub(super) fn limit_name(limit: &str, subject: Option<&str>) -> String {
    subject.map_or_else(|| limit.to_owned(), |subject| format!("{limit} of {subject}"))
}

fn limit_row(limit: &LimitState, as_of: Option<SystemTime>) -> Vec<String> {
    let units = |units: u64| display_units(units, 0);
    let mut notes = Vec::new();
    let is_slots = is_of_slots(limit);
    if limit.reserved_units > 0 && !is_slots {
        notes.push(format!("{} reserved", units(limit.reserved_units)));
    }
    if limit.overage_units > 0 {
        notes.push(format!("{} billed as overage", units(limit.overage_units)));
    }
    if let Some(cost) = &limit.overage_cost {
        let cap = cost.cap_minor.map_or_else(String::new, |cap| format!(" of at most {cap}"));
        let more = match paid_for(limit).filter(|_| cost.cap_minor.is_some()) {
            Some(more) => format!(", which pays for {} more", units(more)),
            None => String::new(),
        };
        let (minor, currency) = (cost.minor, &cost.currency);
        notes.push(format!("overage costs {minor}{cap} minor units of {currency}{more}"));
    }
    notes.extend(grace_notes(limit, as_of));
    if limit.approximate {
        notes.push("approximate".to_owned());
    }
    if let Some(billed) = limit.billed_units {
        notes.push(format!("{} billed so far", units(billed)));
    }
    if limit.debt_units > 0 {
        notes.push(format!("{} debt", units(limit.debt_units)));
    }
    if let Some(asked) = limit.pool.as_ref().and_then(|pool| pool.asked_units) {
        notes.push(format!("{} asked for", units(asked)));
    }
    notes.extend(window_note(limit, as_of));
    notes.extend(limit.origin.as_ref().and_then(given_text));
    let (count, how, left) = match is_slots {
        true => (limit.reserved_units, "held", limit.drawable_units_remaining),
        false => (limit.used_units, "used", limit.settled_units_remaining),
    };
    let used = match limit.included_units {
        Some(included) => format!("{} of {} {how}", units(count), units(included)),
        None => format!("{} {how}, unlimited", units(count)),
    };
    let left = match left {
        // What would be let in: grace, and what a cap pays for, are a part of that.
        Some(_) if is_of_values(limit) => match limit.drawable_units_remaining {
            Some(most) => format!("values up to {}", units(most)),
            None => "any value".to_owned(),
        },
        Some(left) => format!("{} left", units(left)),
        None => String::new(),
    };
    let name = limit_name(&limit.limit, limit.subject.as_deref());
    vec![format!("  {name}"), used, left, notes.join(", ")]
}

fn is_of_slots(limit: &LimitState) -> bool {
    [CONCURRENT_LIMIT, EACH_CONCURRENT_LIMIT].contains(&&*limit.limit)
}

/// Whether values count there. They use nothing up: there is more left than a sum would have left.
fn is_of_values(limit: &LimitState) -> bool {
    let sum_left = limit.included_units.map(|included| included.saturating_sub(limit.used_units));
    !is_of_slots(limit) && sum_left < limit.settled_units_remaining
}

/// Units above the included ones that are let in beyond those that are held. `None`: no bound, or they do not add up.
fn paid_for(limit: &LimitState) -> Option<u64> {
    let held = limit.used_units.saturating_add(limit.reserved_units);
    let included_left = limit.included_units?.saturating_sub(held);
    let drawable = limit.drawable_units_remaining.filter(|_| !is_of_values(limit))?;
    Some(drawable.saturating_sub(included_left))
}

/// How much grace is left, how often it was used, and until when it lasts.
fn grace_notes(limit: &LimitState, as_of: Option<SystemTime>) -> Vec<String> {
    let mut notes = Vec::new();
    let is_over = limit.grace_until.is_some_and(|until| as_of.is_some_and(|as_of| until <= as_of));
    if let Some(left) =
        limit.grace_units_remaining.filter(|_| limit.settled_units_remaining == Some(0) && !is_over)
    {
        notes.push(format!("{} of grace left", display_units(left, 0)));
    }
    if let Some(at) = limit.grace_until {
        notes.push(format!("grace {} {}", if is_over { "ended at" } else { "until" }, instant(at)));
    }
    if let Some(uses) = limit.grace_uses.filter(|uses| uses.used > 0) {
        let again = match uses.next_forgotten_at.filter(|_| uses.used >= uses.times) {
            Some(at) => format!(", the next from {}", instant(at)),
            None => String::new(),
        };
        let (used, times, months) = (uses.used, uses.times, uses.months);
        notes.push(format!("grace used {used} of {times} times in {months} months{again}"));
    }
    notes
}

/// When units come free, as the kind of limit says it.
fn window_note(limit: &LimitState, as_of: Option<SystemTime>) -> Option<String> {
    let is_rate = [RATE_LIMIT, EACH_RATE_LIMIT].contains(&&*limit.limit);
    match (limit.window_start, limit.frees_at()) {
        _ if is_of_slots(limit) || limit.limit == SEATS_LIMIT || limit.billed_units.is_some() => {
            None
        }
        _ if is_rate && limit.used_units == 0 => Some("full".to_owned()),
        (_, Some(at)) if is_rate && as_of.is_some_and(|as_of| at <= as_of) => {
            Some("full".to_owned())
        }
        (_, Some(at)) if is_rate => Some(format!("full at {}", instant(at))),
        (None, _) => Some("begins with the first use".to_owned()),
        (_, Some(at)) if limit.pool.is_some() => Some(format!("more come at {}", instant(at))),
        (_, Some(at)) if limit.sliding => Some(format!("the oldest leave at {}", instant(at))),
        (_, None) if limit.sliding => Some("sliding".to_owned()),
        (_, Some(at)) => Some(format!("until {}", instant(at))),
        (_, None) if limit.pool.is_some() => None,
        (_, None) => Some("for ever".to_owned()),
    }
}

/// What let the account in, where the feature has not come to everybody.
pub(super) fn roll_out_text(origin: &Origin) -> Option<String> {
    let by = origin.roll_out.as_ref()?;
    let cohort = by.cohort.as_ref().map(|cohort| format!("through cohort {cohort}"));
    let share = |bp: u32| display_units(u64::from(bp), 2);
    let drawn = by.drawn_share_bp.map(|bp| format!("drawn for {}% of accounts", share(bp)));
    Some(format!("rolled out: {}", cohort.into_iter().chain(drawn).collect::<Vec<_>>().join(", ")))
}

/// Who besides the plan has a say, and until when. Nothing where the plan alone has.
pub(super) fn given_text(origin: &Origin) -> Option<String> {
    match origin.kind {
        OriginKind::AddOn => {
            let named = |(addon, quantity): &(String, u32)| match quantity {
                1 => addon.clone(),
                quantity => format!("{addon} ({quantity})"),
            };
            let names: Vec<String> = origin.add_ons.iter().map(named).collect();
            Some(format!("with add-on {}", names.join(", ")))
        }
        OriginKind::Override => {
            let of = if origin.override_of_subject { " of this subject" } else { "" };
            let until = origin.override_until.map(instant);
            let until = until.map_or_else(String::new, |at| format!(" until {at}"));
            Some(format!("by override{of}{until}"))
        }
        _ => None,
    }
}

pub(super) fn origin_json(origin: &Origin) -> Value {
    let addon =
        |(addon, quantity): &(String, u32)| json!({ "add_on": addon, "quantity": quantity });
    json!({
        "kind": word(origin.kind.as_str_name(), "ORIGIN_KIND_"),
        "plan": origin.plan,
        "plan_version": origin.plan_version,
        "add_ons": origin.add_ons.iter().map(addon).collect::<Vec<_>>(),
        "override_until": json_instant(origin.override_until),
        "override_of_subject": origin.override_of_subject,
        "roll_out": origin.roll_out.as_ref().map(|by| json!({
            "cohort": by.cohort,
            "drawn_share_bp": by.drawn_share_bp,
        })),
    })
}

pub(super) fn limit_json(limit: &LimitState) -> Value {
    json!({
        "limit": limit.limit,
        "subject": limit.subject,
        "policy": word(limit.policy.as_str_name(), "POLICY_"),
        "included_units": limit.included_units,
        "used_units": limit.used_units,
        "reserved_units": limit.reserved_units,
        "settled_units_remaining": limit.settled_units_remaining,
        "drawable_units_remaining": limit.drawable_units_remaining,
        "window_start": json_instant(limit.window_start),
        "window_end": json_instant(limit.window_end),
        "thresholds_passed_bp": limit.thresholds_passed_bp,
        "grace_units_remaining": limit.grace_units_remaining,
        "grace_until": json_instant(limit.grace_until),
        "overage_cost": limit.overage_cost.as_ref().map(|cost| json!({
            "cost_minor": cost.minor,
            "cap_minor": cost.cap_minor,
            "currency": cost.currency,
        })),
        "overage_units": limit.overage_units,
        "debt_units": limit.debt_units,
        "limit_revision": limit.limit_revision,
        "sliding": limit.sliding,
        "oldest_units_leave_at": json_instant(limit.oldest_units_leave_at),
        "billed_units": limit.billed_units,
        "approximate": limit.approximate,
        "pool": limit.pool.as_ref().map(pool_json),
        "origin": limit.origin.as_ref().map(origin_json),
        "grace_uses": limit.grace_uses.map(|uses| json!({
            "used": uses.used,
            "times": uses.times,
            "months": uses.months,
            "next_forgotten_at": json_instant(uses.next_forgotten_at),
        })),
    })
}

fn pool_json(pool: &PoolState) -> Value {
    json!({
        "feature": pool.feature,
        "balance_units": pool.balance_units,
        "next_expiry_at": json_instant(pool.next_expiry.map(|(at, _)| at)),
        "next_expiry_units": pool.next_expiry.map(|(_, units)| units),
        "overdraft_units": pool.overdraft_units,
        "next_units_at": json_instant(pool.next_units_at),
        "price": pool.price.map(|price| json!({
            "credits": price.credits,
            "per_units": price.per_units,
            "rounding": word(price.rounding.as_str_name(), "CREDIT_ROUNDING_"),
        })),
        "asked_units": pool.asked_units,
    })
}

pub(super) fn rate_text(rate: &Rate) -> String {
    let (pace, burst) = (display_units(rate.units, 0), display_units(rate.burst_units, 0));
    let period = match millis(rate.period) {
        1_000 => "second".to_owned(),
        60_000 => "minute".to_owned(),
        3_600_000 => "hour".to_owned(),
        86_400_000 => "day".to_owned(),
        ms => format!("{ms} ms"),
    };
    format!("{pace} per {period}, {burst} at once")
}

pub(super) fn rate_json(rate: &Rate) -> Value {
    json!({
        "units": rate.units,
        "period_ms": millis(rate.period),
        "burst_units": rate.burst_units,
    })
}
