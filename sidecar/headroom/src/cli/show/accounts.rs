//! What an operator would be told.

use std::path::Path;
use std::time::SystemTime;

use headroom_sdk::v1;
use headroom_sdk::v1::r#override::Value as OverrideValue;
use serde_json::{Value, json};

use super::{Report, instant, json_instant, table, wire_instant, word};
use headroom_prompts::display_units;

/// One account.
pub(in super::super) fn account(account: &v1::Account) -> Report {
    let when = |at: Option<&prost_types::Timestamp>| wire_instant(at).map(instant);
    let status = word(account.status().as_str_name(), "ACCOUNT_STATUS_");
    let mut rows = vec![
        vec!["account".to_owned(), account.account.clone()],
        vec!["plan".to_owned(), versioned(&account.plan, account.plan_version)],
        vec!["status".to_owned(), status],
    ];
    let in_force = versioned(&account.plan_in_force, account.plan_in_force_version);
    if rows[1][1] != in_force {
        rows.push(vec!["in force".to_owned(), in_force]);
    }
    let mut row = |name: &str, value: Option<String>| {
        rows.extend(value.map(|value| vec![name.to_owned(), value]));
    };
    row("anchor", when(account.anchor.as_ref()));
    row("time zone", Some(account.time_zone.clone()).filter(|zone| !zone.is_empty()));
    row("ends", when(account.ends_at.as_ref()));
    row("known since", when(account.created_at.as_ref()));
    if let Some(trial) = &account.trial {
        let until = when(trial.ends_at.as_ref()).unwrap_or_default();
        row("trial", Some(format!("{} until {until}", versioned(&trial.plan, trial.plan_version))));
    }
    for one in &account.scheduled {
        let from = when(one.starts_at.as_ref()).unwrap_or_default();
        row("then", Some(format!("{} from {from}", versioned(&one.plan, one.plan_version))));
    }
    for bought in &account.add_ons {
        row("add-on", Some(format!("{} x {}", bought.quantity, bought.add_on)));
    }
    for over in &account.overrides {
        row("override", Some(override_text(over)));
    }
    for cohort in &account.cohorts {
        row("cohort", Some(cohort.clone()));
    }
    for (name, value) in facts(account) {
        row("fact", Some(format!("{name} = {value}")));
    }
    Report::new(table(&rows), account_json(account))
}

/// An account that was put on a plan, and what it had before and has no more.
pub(in super::super) fn account_put(before: Option<&v1::Account>, after: &v1::Account) -> Report {
    let mut report = account(after);
    let taken = before.map_or_else(Vec::new, |before| taken_away(before, after));
    for one in &taken {
        report.text += &format!("\ntaken away: {one}");
    }
    report.json["taken_away"] = json!(taken);
    report
}

/// A date of a subscription that has passed, for people.
pub(in super::super) fn past(what: &str, at: SystemTime) {
    super::problem(&format!("note: {} has passed, so {what}", instant(at)));
}

/// What a subscription had and has no more.
fn taken_away(before: &v1::Account, after: &v1::Account) -> Vec<String> {
    let when =
        |at: Option<&prost_types::Timestamp>| wire_instant(at).map_or_else(String::new, instant);
    let mut taken = Vec::new();
    for had in &before.add_ons {
        let has = after.add_ons.iter().find(|known| known.add_on == had.add_on);
        let less = had.quantity - has.map_or(0, |has| has.quantity);
        if less > 0 {
            taken.push(format!("add-on {less} x {}", had.add_on));
        }
    }
    if let Some(trial) = before.trial.as_ref().filter(|_| after.trial.is_none()) {
        let until = when(trial.ends_at.as_ref());
        taken
            .push(format!("trial of {} until {until}", versioned(&trial.plan, trial.plan_version)));
    }
    for one in &before.scheduled {
        let is_kept = |other: &v1::ScheduledPlan| {
            (&other.plan, other.starts_at) == (&one.plan, one.starts_at)
        };
        if !after.scheduled.iter().any(is_kept) {
            let from = when(one.starts_at.as_ref());
            taken.push(format!("plan {} from {from}", versioned(&one.plan, one.plan_version)));
        }
    }
    if before.ends_at.is_some() && after.ends_at.is_none() {
        taken.push(format!("end {}", when(before.ends_at.as_ref())));
    }
    taken
}

/// A list of accounts, which may have been cut.
pub(in super::super) fn accounts(accounts: &[v1::Account], is_cut: bool) -> Report {
    let mut rows = vec![["ACCOUNT", "PLAN", "STATUS", "OVERRIDES"].map(str::to_owned).to_vec()];
    for account in accounts {
        rows.push(vec![
            account.account.clone(),
            versioned(&account.plan, account.plan_version),
            word(account.status().as_str_name(), "ACCOUNT_STATUS_"),
            account.overrides.len().to_string(),
        ]);
    }
    let mut text = if accounts.is_empty() { "no accounts".to_owned() } else { table(&rows) };
    if is_cut {
        text += &format!("\nthe first {}; --max shows more", accounts.len());
    }
    let list: Vec<Value> = accounts.iter().map(account_json).collect();
    Report::new(text, json!({ "accounts": list, "complete": !is_cut }))
}

/// What a move between versions did, or would do.
pub(in super::super) fn plan_moved(
    plan: &str,
    version: u32,
    accounts: u64,
    dry_run: bool,
) -> Report {
    let many = if accounts == 1 { "account" } else { "accounts" };
    let text = match dry_run {
        true => format!("{accounts} {many} would move to {plan}@{version}"),
        false => format!("{accounts} {many} moved to {plan}@{version}"),
    };
    let json = json!({
        "plan": plan, "to_version": version, "accounts": accounts, "dry_run": dry_run,
    });
    Report::new(text, json)
}

/// What accounts on a plan keep, or would.
pub(in super::super) fn grandfathered(
    plan: &str,
    kept: &v1::GrandfatherPlanResponse,
    dry_run: bool,
) -> Report {
    let v1::GrandfatherPlanResponse { accounts, overrides, full } = *kept;
    let many = if accounts == 1 { "account" } else { "accounts" };
    let verb = if dry_run { "would keep" } else { "kept" };
    let rows = if overrides == 1 { "override" } else { "overrides" };
    let mut text = format!("{accounts} {many} {verb} what {plan} gives now: {overrides} {rows}");
    if full > 0 {
        text += &format!("\n{full} have no room for that many overrides, and keep nothing");
    }
    let json = json!({
        "plan": plan, "accounts": accounts, "overrides": overrides, "full": full, "dry_run": dry_run,
    });
    Report::new(text, json)
}

/// A plan and, when it is not the first, its version.
fn versioned(plan: &str, version: i32) -> String {
    if version > 1 { format!("{plan}@{version}") } else { plan.to_owned() }
}

/// What was forgotten.
pub(in super::super) fn erased(names: Option<u32>, seats: Option<u32>) -> Report {
    let names_text = names.map(|names| match names {
        0 => "nothing of that name is known".to_owned(),
        1 => "1 name erased".to_owned(),
        _ => format!("{names} names erased"),
    });
    let seats_text = seats.map(|seats| match seats {
        0 => "nobody of that name sits".to_owned(),
        1 => "1 seat given back".to_owned(),
        _ => format!("{seats} seats given back"),
    });
    let text = names_text.into_iter().chain(seats_text).collect::<Vec<_>>().join("\n");
    Report::new(
        text,
        json!({ "erased_names": names.unwrap_or(0), "freed_seats": seats.unwrap_or(0) }),
    )
}

/// Where the clock stands.
pub(in super::super) fn clock(now: SystemTime) -> Report {
    Report::new(format!("it is {}", instant(now)), json!({ "now": instant(now) }))
}

/// What a reload did.
pub(in super::super) fn reloaded(answer: &v1::ReloadCatalogResponse) -> Report {
    let revision = answer.catalog_revision;
    let mut text = match answer.changed {
        true => format!("catalog revision {revision} is in force"),
        false => format!("nothing changed, catalog revision {revision} stays in force"),
    };
    for hint in &answer.hints {
        text += &format!("\n{hint}");
    }
    let changed = answer.changed;
    let hints = &answer.hints;
    Report::new(text, json!({ "catalog_revision": revision, "changed": changed, "hints": hints }))
}

/// What a backup contains.
pub(in super::super) fn backup(path: &Path, made: &v1::BackupResponse) -> Report {
    let bytes = made.bytes.cast_unsigned();
    let text = format!(
        "{}: {} bytes, up to record {}",
        path.display(),
        display_units(bytes, 0),
        made.journal_last
    );
    let path = path.display().to_string();
    Report::new(text, json!({ "path": path, "bytes": bytes, "journal_last": made.journal_last }))
}

/// How a sidecar is.
pub(in super::super) fn status(status: &v1::GetStatusResponse) -> Report {
    let count = |number: i64| display_units(number.cast_unsigned(), 0);
    let when = |at: Option<&prost_types::Timestamp>| {
        wire_instant(at).map_or_else(|| "unknown".to_owned(), instant)
    };
    let clock = if status.test_clock { " (test clock)" } else { "" };
    let journal = match status.journal_refusal.as_str() {
        "" => format!(
            "{} records, {} not durable yet",
            count(status.journal_last),
            count(status.journal_last.saturating_sub(status.journal_durable))
        ),
        refusal => format!("takes no writes: {refusal}"),
    };
    let horizon = status.idempotency_horizon.as_ref().map_or(0, |horizon| horizon.seconds);
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("version", status.version.clone());
    row("catalog", format!("revision {}", status.catalog_revision));
    row("now", format!("{}{clock}", when(status.now.as_ref())));
    row("running since", when(status.started_at.as_ref()));
    row("accounts", count(status.accounts));
    row("ledgers", count(status.ledgers));
    row("keys", format!("{}, remembered for {horizon} s", count(status.idempotency_keys)));
    row("journal", journal);
    let pending = count(status.signals_pending);
    let emitted = count(status.signals_emitted);
    row("signals", format!("{emitted} emitted, {pending} not delivered yet"));
    if status.ledgers_halted > 0 {
        let halted = count(status.ledgers_halted);
        row("HALTED", format!("{halted} ledgers failed a check and admit nothing"));
    }
    let json = json!({
        "version": status.version,
        "catalog_revision": status.catalog_revision,
        "now": json_instant(wire_instant(status.now.as_ref())),
        "test_clock": status.test_clock,
        "started_at": json_instant(wire_instant(status.started_at.as_ref())),
        "accounts": status.accounts,
        "ledgers": status.ledgers,
        "idempotency_keys": status.idempotency_keys,
        "idempotency_horizon_s": horizon,
        "journal_last": status.journal_last,
        "journal_durable": status.journal_durable,
        "journal_refusal": status.journal_refusal,
        "signals_emitted": status.signals_emitted,
        "signals_pending": status.signals_pending,
        "ledgers_halted": status.ledgers_halted,
    });
    Report::new(table(&rows), json)
}

fn override_text(over: &v1::Override) -> String {
    let feature = &over.feature;
    let mut text = match &over.value {
        Some(OverrideValue::SwitchOn(true)) => format!("{feature} is on"),
        Some(OverrideValue::SwitchOn(false)) => format!("{feature} is off"),
        Some(OverrideValue::ConfigValue(value)) => format!("{feature} is {value}"),
        Some(OverrideValue::Limit(limit)) => {
            let units = limit.included_units;
            let included = units.map_or_else(
                || "unlimited".to_owned(),
                |units| format!("{} included", display_units(units.cast_unsigned(), 0)),
            );
            let whose = match limit.subject.as_str() {
                "" => String::new(),
                subject => format!(" of {subject}"),
            };
            format!("{feature} {}{whose}: {included}", limit.limit)
        }
        Some(OverrideValue::Rate(over)) => match over.rate {
            Some(rate) => format!("{feature}: {}", rate_text(&rate)),
            None => format!("{feature}: unlimited"),
        },
        Some(OverrideValue::SpendCap(cap)) => {
            let (limit, currency) = (&cap.limit, &cap.currency);
            match cap.cap_minor {
                Some(minor) => {
                    format!("{feature} {limit}: overage up to {minor} minor units of {currency}")
                }
                None => format!("{feature} {limit}: overage without a spend cap in {currency}"),
            }
        }
        None => format!("{feature}: unknown to this version"),
    };
    if over.at_least {
        text += " at least";
    }
    for (word, at) in [("from", &over.starts_at), ("until", &over.ends_at)] {
        if let Some(at) = wire_instant(at.as_ref()) {
            text += &format!(", {word} {}", instant(at));
        }
    }
    text
}

fn account_json(account: &v1::Account) -> Value {
    let facts: serde_json::Map<_, _> = facts(account).into_iter().collect();
    json!({
        "account": account.account,
        "plan": account.plan,
        "plan_version": account.plan_version,
        "status": word(account.status().as_str_name(), "ACCOUNT_STATUS_"),
        "anchor": json_instant(wire_instant(account.anchor.as_ref())),
        "time_zone": account.time_zone,
        "ends_at": json_instant(wire_instant(account.ends_at.as_ref())),
        "created_at": json_instant(wire_instant(account.created_at.as_ref())),
        "plan_in_force": account.plan_in_force,
        "plan_in_force_version": account.plan_in_force_version,
        "add_ons": account
            .add_ons
            .iter()
            .map(|one| json!({ "add_on": one.add_on, "quantity": one.quantity }))
            .collect::<Vec<_>>(),
        "trial": account.trial.as_ref().map(|trial| {
            let ends_at = json_instant(wire_instant(trial.ends_at.as_ref()));
            json!({
                "plan": trial.plan, "plan_version": trial.plan_version, "ends_at": ends_at,
            })
        }),
        "scheduled": account
            .scheduled
            .iter()
            .map(|one| {
                let starts_at = json_instant(wire_instant(one.starts_at.as_ref()));
                json!({
                    "plan": one.plan, "plan_version": one.plan_version, "starts_at": starts_at,
                })
            })
            .collect::<Vec<_>>(),
        "overrides": account.overrides.iter().map(override_json).collect::<Vec<_>>(),
        "facts": facts,
        "cohorts": account.cohorts,
    })
}

fn override_json(over: &v1::Override) -> Value {
    let mut json = json!({ "feature": over.feature });
    match &over.value {
        Some(OverrideValue::SwitchOn(on)) => json["switch_on"] = json!(on),
        Some(OverrideValue::ConfigValue(value)) => {
            json["config_value"] =
                serde_json::from_str(value).unwrap_or_else(|_| Value::from(value.clone()));
        }
        Some(OverrideValue::Limit(limit)) => {
            json["limit"] = json!(limit.limit);
            json["included_units"] = json!(limit.included_units);
            if !limit.subject.is_empty() {
                json["subject"] = json!(limit.subject);
            }
        }
        Some(OverrideValue::Rate(over)) => json["rate"] = json!(over.rate.as_ref().map(rate_json)),
        Some(OverrideValue::SpendCap(cap)) => {
            json["spend_cap"] = json!({
                "limit": cap.limit, "cap_minor": cap.cap_minor, "currency": cap.currency,
            });
        }
        None => {}
    }
    if over.at_least {
        json["at_least"] = json!(true);
    }
    for (key, at) in [("starts_at", &over.starts_at), ("ends_at", &over.ends_at)] {
        if at.is_some() {
            json[key] = json_instant(wire_instant(at.as_ref()));
        }
    }
    json
}

fn rate_text(rate: &v1::Rate) -> String {
    let units = |units: i64| display_units(units.cast_unsigned(), 0);
    let (pace, burst) = (units(rate.units), units(rate.burst_units));
    format!("{pace} per {} ms, {burst} at once", period_ms(rate))
}

fn rate_json(rate: &v1::Rate) -> Value {
    json!({
        "units": rate.units,
        "period_ms": period_ms(rate),
        "burst_units": rate.burst_units,
    })
}

fn period_ms(rate: &v1::Rate) -> i64 {
    let period = rate.period.unwrap_or_default();
    period.seconds * 1000 + i64::from(period.nanos) / 1_000_000
}

fn facts(account: &v1::Account) -> Vec<(String, Value)> {
    let fields = account.facts.as_ref().map(|facts| &facts.fields);
    fields.into_iter().flatten().map(|(name, value)| (name.clone(), plain(value))).collect()
}

fn plain(value: &prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(on)) => Value::from(*on),
        Some(Kind::NumberValue(number)) => whole(*number),
        Some(Kind::StringValue(text)) => Value::from(text.clone()),
        Some(Kind::ListValue(list)) => list.values.iter().map(plain).collect(),
        Some(Kind::StructValue(fields)) => Value::Object(
            fields.fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        ),
    }
}

/// The wire has floats only; 12 should not come back as 12.0.
#[allow(clippy::cast_possible_truncation)]
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}
