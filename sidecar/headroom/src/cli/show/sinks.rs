//! How signals are delivered.

use headroom_sdk::v1;
use serde_json::{Value, json};

use super::{Report, instant, json_instant, table, wire_instant};
use crate::config::sinks::WebhookSecret;
use headroom_prompts::display_units;

/// How sinks stand.
pub(in super::super) fn sinks(sinks: &[v1::Sink]) -> Report {
    let head = ["SINK", "STATE", "PENDING", "LAG", "DELIVERED", "FAILED ATTEMPTS", "DEAD LETTERS"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let count = |number: i64| display_units(number.cast_unsigned(), 0);
    for sink in sinks {
        rows.push(vec![
            sink.sink.clone(),
            state(sink).to_owned(),
            count(sink.pending),
            format!("{:.3} s", lag_s(sink)),
            count(sink.delivered),
            count(sink.failed_attempts),
            count(sink.dead_letters_kept),
        ]);
    }
    let mut text = table(&rows);
    for sink in sinks.iter().filter(|sink| !sink.last_error.is_empty()) {
        let since = wire_instant(sink.failing_since.as_ref())
            .map_or_else(String::new, |at| format!(" since {}", instant(at)));
        text = format!("{text}\n{}: failing{since}: {}", sink.sink, sink.last_error);
    }
    let all: Vec<Value> = sinks.iter().map(to_json).collect();
    Report::new(text, json!({ "sinks": all }))
}

/// A new secret, to be put where only sender and receiver read it.
pub(in super::super) fn new_secret(secret: &WebhookSecret) -> Report {
    let text = secret.text();
    let mut json = json!({ "secret": text });
    let Some(public) = secret.public_key() else {
        return Report::new(text, json);
    };
    json["public_key"] = public.as_str().into();
    Report::new(format!("{text}\npublic key, for the receiver: {public}"), json)
}

fn state(sink: &v1::Sink) -> &'static str {
    match (sink.paused, sink.disabled, sink.last_error.is_empty()) {
        (true, _, _) => "paused",
        (false, true, _) => "disabled",
        (false, false, false) => "failing",
        (false, false, true) => "ok",
    }
}

fn lag_s(sink: &v1::Sink) -> f64 {
    sink.lag.as_ref().map_or(0.0, |lag| lag.seconds as f64 + f64::from(lag.nanos) / 1e9)
}

fn to_json(sink: &v1::Sink) -> Value {
    json!({
        "sink": sink.sink,
        "state": state(sink),
        "paused": sink.paused,
        "disabled": sink.disabled,
        "failing_since": json_instant(wire_instant(sink.failing_since.as_ref())),
        "last_error": sink.last_error,
        "pending": sink.pending,
        "lag_s": lag_s(sink),
        "delivered": sink.delivered,
        "attempts": sink.attempts,
        "failed_attempts": sink.failed_attempts,
        "dead_letters": sink.dead_letters,
        "dead_letters_kept": sink.dead_letters_kept,
    })
}

/// The signals that a sink has given up.
pub(in super::super) fn dead_letters(letters: &[v1::DeadLetter]) -> Report {
    let head = ["ID", "ACCOUNT", "SIGNAL", "LIMIT", "GIVEN UP", "WHY"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for letter in letters {
        let again = if letter.replaying { ", being sent again" } else { "" };
        rows.push(vec![
            letter.id.clone(),
            letter.account.clone(),
            letter.signal.clone(),
            format!("{}/{}", letter.feature, letter.limit),
            wire_instant(letter.given_up_at.as_ref()).map(instant).unwrap_or_default(),
            format!("{}{again}", why(letter)),
        ]);
    }
    let text = if letters.is_empty() { "no dead letters".to_owned() } else { table(&rows) };
    let all = letters.iter().map(|letter| {
        json!({
            "id": letter.id,
            "account": letter.account,
            "signal": letter.signal,
            "feature": letter.feature,
            "limit": letter.limit,
            "raised_at": json_instant(wire_instant(letter.raised_at.as_ref())),
            "given_up_at": json_instant(wire_instant(letter.given_up_at.as_ref())),
            "status": letter.status,
            "replaying": letter.replaying,
        })
    });
    Report::new(text, json!({ "dead_letters": all.collect::<Vec<_>>() }))
}

fn why(letter: &v1::DeadLetter) -> String {
    match (letter.status, letter.signal.is_empty()) {
        (0, true) => "cannot be read".to_owned(),
        (0, false) => "no answer".to_owned(),
        (status, _) => format!("status {status}"),
    }
}

/// How many are sent again.
pub(in super::super) fn replaying(count: u32) -> Report {
    let text = match count {
        1 => "1 signal is sent again".to_owned(),
        count => format!("{count} signals are sent again"),
    };
    Report::new(text, json!({ "replaying": count }))
}
