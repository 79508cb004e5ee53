//! How answers, prompts and signals are written for whoever reads the year.

use headroom_proto::v1;
use serde_json::Value;

/// What was answered, in a line.
pub(super) fn decision(decision: &v1::Decision) -> String {
    let verdict = match decision.verdict() {
        v1::Verdict::Denied => {
            format!("refused, {}", words(decision.denial().as_str_name(), "DENIAL_"))
        }
        verdict => words(verdict.as_str_name(), "VERDICT_"),
    };
    let Some(limit) = &decision.binding else { return verdict };
    let taken = limit.used_units + limit.reserved_units;
    match limit.included_units {
        Some(included) => format!("{verdict}: {taken} of {included} {}", limit.limit),
        None => format!("{verdict}: {taken} {}", limit.limit),
    }
}

/// A name of the wire as people write it.
fn words(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase().replace('_', " ")
}

/// A prompt in full.
pub(super) fn prompt(prompt: &v1::Prompt) -> Vec<String> {
    let severity = words(prompt.severity().as_str_name(), "SEVERITY_");
    let mut lines = vec![
        format!("prompt {} ({}, {severity})", prompt.prompt, prompt.scenario),
        format!("  | {}", prompt.title),
        format!("  | {}", prompt.message),
    ];
    lines.extend(prompt.steps.iter().map(|step| format!("  | - {step}")));
    if !prompt.url.is_empty() {
        lines.push(format!("  | [{}] -> {}", prompt.call_to_action, prompt.url));
    }
    if let Some(offer) = &prompt.offer {
        let money = |minor: i64| format!("{} {}.{:02}", offer.currency, minor / 100, minor % 100);
        let price = offer
            .price_minor
            .map_or_else(String::new, |minor| format!(" for {} a {}", money(minor), offer.per));
        let due = offer.due_today_minor.map_or_else(String::new, |minor| {
            format!(", today {} after a credit of {}", money(minor), money(offer.credit_minor))
        });
        lines.push(format!("  offers {}{price}{due}", offer.plan));
    }
    // A space at which no line breaks looks like any other.
    lines.iter().map(|line| line.replace('\u{a0}', "~")).collect()
}

/// Why there is none.
pub(super) fn suppression(held: &v1::PromptSuppression) -> String {
    let until = held.until.map_or_else(String::new, |until| {
        let until = jiff::Timestamp::from_second(until.seconds).expect("an instant");
        format!(" until {until}")
    });
    let reason = words(held.reason().as_str_name(), "SUPPRESSION_REASON_");
    format!("prompt {} held back: {reason}{until}", held.prompt)
}

/// A signal in full, and to whom it went.
pub(super) fn signal(signal: &Value, to: &str) -> Vec<String> {
    let data = &signal["data"];
    let kind = text(&signal["type"]).replace("headroom.signal.", "");
    let (before, after) = (text(&data["previous"]["state"]), text(&data["current"]["state"]));
    let at = text(&signal["timestamp"]);
    let mut lines = vec![format!("signal {kind} at {at}: {before} -> {after}")];
    lines.push(match data.get("event") {
        Some(event) => format!("  told as {}: {}", text(event), data["details"]),
        None => about(data),
    });
    for more in ["projected", "trial"] {
        lines.extend(data.get(more).map(|said| format!("  {more} {said}")));
    }
    lines.push(gate(data));
    for score in ["pql", "opportunity", "white_space"] {
        lines.extend(self::score(score, &data["scores"][score]));
    }
    let route = &data["route"];
    lines.push(format!(
        "  play {}: {}, {}, {} by {}",
        text(&route["play"]),
        text(&route["type"]),
        text(&route["motion"]),
        text(&route["channel"]),
        text(&route["owner"])
    ));
    lines.push(format!("  \"{}\"", text(&route["message"])));
    lines.push(format!("  {} signals live; delivered to {to}", data["live_signals"]));
    lines
}

fn about(data: &Value) -> String {
    let limit = match (text(&data["feature"]), text(&data["limit"])) {
        ("", _) => "of no feature".to_owned(),
        (feature, "") => feature.to_owned(),
        (feature, limit) => format!("{feature} {limit}"),
    };
    let crossed: Vec<String> = data["crossed_bp"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .map(|bp| format!("{} %", bp / 100))
        .collect();
    let crossed = match crossed.is_empty() {
        true => String::new(),
        false => format!(", crossed {}", crossed.join(" and ")),
    };
    let refused = match data["refused_units"].as_u64() {
        None | Some(0) => String::new(),
        Some(units) => format!(", refused {units}"),
    };
    let until = data
        .get("grace_until")
        .map_or_else(String::new, |until| format!(", grace until {}", text(until)));
    let used = match data["included_units"].as_u64() {
        None | Some(0) => format!("{} used", data["current"]["used_units"]),
        Some(included) => format!("{} of {included} used", data["current"]["used_units"]),
    };
    format!(
        "  {limit}: {used}, before {}{crossed}{refused}{until}; window {} to {}, revision {}",
        data["previous"]["used_units"],
        text(&data["window_start"]),
        data["window_end"].as_str().unwrap_or("ever"),
        data["limit_revision"],
    )
}

fn gate(data: &Value) -> String {
    let gate = &data["gate"];
    let all = |list: &Value, each: &dyn Fn(&Value) -> String| -> String {
        list.as_array().into_iter().flatten().map(each).collect::<Vec<_>>().join("; ")
    };
    let mut line = format!(
        "  {}, gate {} ({})",
        text(&data["class"]),
        text(&gate["state"]),
        text(&gate["segment"])
    );
    let failed = all(&gate["failed"], &|one| {
        let found = one["found"].as_str().unwrap_or("not known");
        format!("{} must be {}, is {found}", text(&one["fact"]), text(&one["needed"]))
    });
    for (what, list) in [
        (": ", failed),
        ("; risk: ", all(&gate["risks"], &|one| text(one).to_owned())),
        ("; not known: ", all(&gate["unknown"], &|one| text(one).to_owned()).replace("; ", ", ")),
    ] {
        if !list.is_empty() {
            line.push_str(what);
            line.push_str(&list);
        }
    }
    line
}

fn score(name: &str, score: &Value) -> Option<String> {
    let parts: Vec<String> = score["parts_tenths"]
        .as_object()?
        .iter()
        .filter(|(_, points)| **points != 0)
        .map(|(part, points)| format!("{part} {}", tenths(points)))
        .collect();
    // Of what nobody knows anything there is nothing to read.
    if parts.is_empty() {
        return None;
    }
    let missing: Vec<&str> = score["missing"].as_array().into_iter().flatten().map(text).collect();
    let missing = match missing.is_empty() {
        true => String::new(),
        false => format!("; missing {}", missing.join(", ")),
    };
    Some(format!(
        "  {name} {} of {}, {} ({}): {}{missing}",
        tenths(&score["points_tenths"]),
        tenths(&score["points_max_tenths"]),
        text(&score["band"]),
        text(&score["advice"]),
        parts.join(", ")
    ))
}

fn tenths(points: &Value) -> String {
    let points = points.as_u64().expect("points");
    format!("{}.{}", points / 10, points % 10)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
