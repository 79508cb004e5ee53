//! Slack: one sentence per signal, for people.
//!
//! Slack knows no repetition of a message, so one that was sent when its answer was lost is there
//! twice; the id at its end says so.

use std::time::SystemTime;

use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::courier::{Form, Made, by_status, refused};
use super::delivery::Outcome;
use super::http::{Answer, Read};
use super::lanes::Shape;
use super::limits::{SLACK_PACE, TOLD_CHARS_MAX};
use super::payload::Message;
use super::sentence;
use crate::config::sinks::SecretUrl;

/// One channel.
pub(super) struct Slack {
    pub(super) url: SecretUrl,
}

impl Form for Slack {
    fn shape(&self) -> Shape {
        Shape { pace: SLACK_PACE, ..Shape::singly(1) }
    }

    fn request(&self, messages: &[Message], _: SystemTime) -> Made {
        let [message] = messages else { unreachable!("the shape says one at a time") };
        let body = serde_json::to_vec(&post(message)).expect("texts are JSON");
        let request = Request::post(&self.url.0).header(CONTENT_TYPE, "application/json");
        request.body(body).map_err(|error| error.to_string())
    }

    fn read(&self) -> Read {
        Read::Body
    }

    fn judge(&self, answer: &Answer) -> Outcome {
        // Slack says why in a word, as `no_service`.
        match by_status(answer) {
            Outcome::Refused { what, .. } => {
                let word = String::from_utf8_lossy(&answer.body);
                let word: String = word.chars().take(TOLD_CHARS_MAX).collect();
                let is_word = word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                let told =
                    if is_word && !word.is_empty() { format!("{what}: {word}") } else { what };
                refused(answer, told)
            }
            outcome => outcome,
        }
    }
}

/// What is posted: blocks, and the text of notifications, which is all that some clients show.
fn post(message: &Message) -> serde_json::Value {
    let said = escaped(&sentence::of(message));
    let account = escaped(&message.data.account);
    let small = format!("`{}` at {}, {}", message.name, message.timestamp, message.data.id);
    // Verbatim: what looks like an address or a name in an id is made no link and no mention of.
    let text = |text: String| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    json!({
        "text": format!("{account} {said}"),
        "blocks": [
            { "type": "section", "text": text(format!("*{account}* {said}")) },
            { "type": "context", "elements": [text(small)] },
        ],
    })
}

/// Slack's three characters with a meaning, and no control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
