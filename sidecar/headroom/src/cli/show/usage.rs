//! What was used, by limit and window, or by time.

use std::time::SystemTime;

use headroom_prompts::display_units;
use headroom_sdk::{
    AllocationUsage, DimensionValue, UsageByTime, UsageByTimeQuery, UsageWindow, WindowTerms,
};
use serde_json::json;

use super::limits::limit_name;
use super::{Report, instant, json_instant, table, word};

/// What was used.
pub(in super::super) fn usage(windows: &[UsageWindow]) -> Report {
    let head = ["FEATURE", "LIMIT", "USED", "RESERVED", "DEBT", "FROM", "TO", "STATE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let when = |at: Option<SystemTime>| at.map_or_else(|| "never".to_owned(), instant);
    let mut sorted: Vec<&UsageWindow> = windows.iter().collect();
    // The sidecar lists those in memory before those on disk; people read a limit from old to new.
    sorted.sort_by_key(|of| (&of.feature, &of.limit, &of.subject, of.window_start));
    for window in sorted {
        rows.push(vec![
            window.feature.clone(),
            limit_name(&window.limit, window.subject.as_deref()),
            display_units(window.used_units, 0),
            display_units(window.reserved_units, 0),
            display_units(window.debt_units, 0),
            when(window.window_start),
            when(window.window_end),
            match (window.closed, window.counts_until) {
                (true, Some(at)) => format!("counts until {}", instant(at)),
                (true, _) => match window.used_units_at_close {
                    Some(units) => format!("closed with {}, restated", display_units(units, 0)),
                    None => "closed".to_owned(),
                },
                (false, _) if window.resting => "resting, counts nowhere".to_owned(),
                (false, _) => "current".to_owned(),
            } + if window.approximate { ", approximate" } else { "" }
                + &window.allocation.map_or_else(String::new, allocation_text)
                + &window.terms.as_ref().map_or_else(String::new, terms_text),
        ]);
    }
    let json = windows.iter().map(|window| {
        json!({
            "feature": window.feature,
            "limit": window.limit,
            "subject": window.subject,
            "used_units": window.used_units,
            "reserved_units": window.reserved_units,
            "debt_units": window.debt_units,
            "window_start": json_instant(window.window_start),
            "window_end": json_instant(window.window_end),
            "closed": window.closed,
            "counts_until": json_instant(window.counts_until),
            "allocation": window.allocation.map(|allocation| json!({
                "billed_by": word(allocation.billed_by.as_str_name(), "BILLED_BY_"),
                "level_units": allocation.level_units,
                "peak_units": allocation.peak_units,
                "average_units": allocation.average_units,
            })),
            "used_units_at_close": window.used_units_at_close,
            "approximate": window.approximate,
            "resting": window.resting,
            "terms": window.terms.as_ref().map(|terms| json!({
                "included_units": terms.included_units,
                "overage_units": terms.overage_units,
                "overage_cost": terms.overage_cost.as_ref().map(|cost| json!({
                    "cost_minor": cost.minor,
                    "cap_minor": cost.cap_minor,
                    "currency": cost.currency,
                })),
                "carried_units": terms.carried_units,
                "plan": terms.plan,
                "plan_version": terms.plan_version,
            })),
        })
    });
    let text = if windows.is_empty() { "nothing was used".to_owned() } else { table(&rows) };
    Report::new(text, json!({ "windows": json.collect::<Vec<_>>() }))
}

/// What was used by time.
pub(in super::super) fn usage_by_time(query: &UsageByTimeQuery, lines: &[UsageByTime]) -> Report {
    let heads = ["FROM", "TO"].into_iter().map(str::to_owned);
    let names = query.group_by.iter().map(|name| name.to_uppercase());
    let mut rows = vec![heads.chain(names).chain(["USED".to_owned()]).collect::<Vec<_>>()];
    let when = |at: Option<SystemTime>| at.map_or_else(String::new, instant);
    for line in lines {
        let values =
            line.dimensions.iter().map(|dimension| match (&dimension.value, dimension.other) {
                (_, true) => "(other)".to_owned(),
                (Some(value), _) => value.clone(),
                (None, _) => "(none)".to_owned(),
            });
        let sign = if line.units < 0 { "-" } else { "" };
        let units = format!("{sign}{}", display_units(line.units.unsigned_abs(), 0));
        rows.push(
            [when(line.start), when(line.end)].into_iter().chain(values).chain([units]).collect(),
        );
    }
    let json = lines.iter().map(|line| {
        let values = line.dimensions.iter().map(|dimension| {
            let DimensionValue { name, value, other } = dimension;
            json!({ "name": name, "value": value, "other": other })
        });
        json!({
            "start": json_instant(line.start),
            "end": json_instant(line.end),
            "dimensions": values.collect::<Vec<_>>(),
            "units": line.units,
        })
    });
    let text = if lines.is_empty() { "nothing was used".to_owned() } else { table(&rows) };
    Report::new(text, json!({ "lines": json.collect::<Vec<_>>() }))
}

/// What of a window is billed, or was taken over: nothing where neither is so.
fn terms_text(terms: &WindowTerms) -> String {
    let units = |units: u64| display_units(units, 0);
    let mut text = String::new();
    if terms.carried_units > 0 {
        text += &format!(", {} taken over", units(terms.carried_units));
    }
    if terms.overage_units > 0 {
        let included = terms.included_units.map_or_else(|| "no bound".to_owned(), units);
        text += &format!(", {} above {included} billed", units(terms.overage_units));
    }
    if let Some(cost) = terms.overage_cost.as_ref().filter(|_| terms.overage_units > 0) {
        text += &format!(" with {} minor units of {}", cost.minor, cost.currency);
    }
    text
}

/// What a billing window comes to, and by what it is billed.
fn allocation_text(allocation: AllocationUsage) -> String {
    let units = |units: u64| display_units(units, 0);
    format!(
        ", level {}, peak {}, average {}, billed by {}",
        units(allocation.level_units),
        units(allocation.peak_units),
        units(allocation.average_units),
        word(allocation.billed_by.as_str_name(), "BILLED_BY_"),
    )
}
