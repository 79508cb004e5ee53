//! Segment's batch door, which RudderStack and others have, too: every signal is a `track` of the
//! account's group.
//!
//! Signals name no person, so an event is of an anonymous one, the same for an account for ever.

use std::time::SystemTime;

use http::header::CONTENT_TYPE;
use http::{Request, Uri};
use jiff::Timestamp;
use serde::Serialize;

use super::courier::{Form, Made, authorized};
use super::lanes::Shape;
use super::limits::{SEGMENT_BATCH_BYTES_MAX, SEGMENT_BATCH_SIGNALS_MAX, SEGMENT_IN_FLIGHT_MAX};
use super::payload::{Data, Message};
use crate::config::sinks::Credential;

/// One source.
pub(super) struct Segment {
    pub(super) url: Uri,
    pub(super) write_key: Credential,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Track<'a> {
    r#type: &'static str,
    event: &'a str,
    anonymous_id: String,
    message_id: String,
    timestamp: &'a str,
    properties: &'a Data,
    context: Context<'a>,
    integrations: Integrations,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    group_id: &'a str,
    library: Library,
}

#[derive(Serialize)]
struct Library {
    name: &'static str,
    version: &'static str,
}

/// None are chosen: the source's own destinations get it.
#[derive(Serialize)]
struct Integrations {}

fn track(message: &Message) -> Vec<u8> {
    let track = Track {
        r#type: "track",
        event: &message.name,
        anonymous_id: format!("headroom:{}", message.data.account),
        message_id: message.unique_id(),
        timestamp: &message.timestamp,
        properties: &message.data,
        context: Context {
            group_id: &message.data.account,
            library: Library { name: "headroom", version: env!("CARGO_PKG_VERSION") },
        },
        integrations: Integrations {},
    };
    serde_json::to_vec(&track).expect("texts and numbers are JSON")
}

impl Form for Segment {
    fn shape(&self) -> Shape {
        let singly = Shape::singly(SEGMENT_IN_FLIGHT_MAX);
        Shape { batch_max: SEGMENT_BATCH_SIGNALS_MAX, ..singly }
    }

    fn bytes(&self, message: &Message) -> Option<(usize, usize)> {
        Some((track(message).len() + 1, SEGMENT_BATCH_BYTES_MAX))
    }

    fn request(&self, messages: &[Message], now: SystemTime) -> Made {
        let tracks: Vec<Vec<u8>> = messages.iter().map(track).collect();
        let sent_at = Timestamp::try_from(now).map_err(|error| error.to_string())?;
        let end = format!(r#"],"sentAt":"{sent_at:.3}"}}"#);
        let body = [br#"{"batch":["#, tracks.join(&b',').as_slice(), end.as_bytes()].concat();
        let request = Request::post(&self.url).header(CONTENT_TYPE, "application/json");
        let request = authorized(request, Some(&self.write_key)).body(body);
        request.map_err(|error| error.to_string())
    }
}
