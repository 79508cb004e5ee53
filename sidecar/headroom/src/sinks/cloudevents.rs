//! CloudEvents 1.0 over HTTP: structured, binary and batched.

use std::time::SystemTime;

use http::header::CONTENT_TYPE;
use http::request::Builder;
use http::{Request, Uri};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::courier::{Form, Made, authorized};
use super::lanes::Shape;
use super::limits::{BATCH_BYTES_MAX, BATCH_SIGNALS_MAX, IN_FLIGHT_MAX};
use super::payload::{Data, Message};
use super::signature::Signer;
use crate::config::sinks::{CloudEventsMode, Credential};

/// One endpoint and how events get there.
pub(super) struct CloudEvents {
    pub(super) url: Uri,
    pub(super) mode: CloudEventsMode,
    pub(super) source: String,
    pub(super) auth: Option<Credential>,
    pub(super) signer: Signer,
}

/// An event in JSON.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    subject: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    partitionkey: &'a str,
    data: &'a Data,
}

const VERSION: &str = "1.0";
const JSON: &str = "application/json";

impl CloudEvents {
    fn json(&self, message: &Message) -> Vec<u8> {
        let subject = subject(&message.data.account);
        let event = Event {
            specversion: VERSION,
            id: &message.data.id,
            source: &self.source,
            r#type: &message.r#type,
            subject: &subject,
            time: &message.timestamp,
            datacontenttype: JSON,
            partitionkey: &subject,
            data: &message.data,
        };
        serde_json::to_vec(&event).expect("texts and numbers are JSON")
    }

    fn binary(&self, message: &Message) -> (Builder, Vec<u8>) {
        let subject = subject(&message.data.account);
        let attributes = [
            ("ce-specversion", VERSION),
            ("ce-id", &message.data.id),
            ("ce-source", &self.source),
            ("ce-type", &message.r#type),
            ("ce-subject", &subject),
            ("ce-time", &message.timestamp),
            ("ce-partitionkey", &subject),
        ];
        let mut builder = Request::post(&self.url).header(CONTENT_TYPE, JSON);
        for (name, value) in attributes {
            builder = builder.header(name, percent_encoded(value));
        }
        let body = serde_json::to_vec(&message.data).expect("texts and numbers are JSON");
        (builder, body)
    }
}

impl Form for CloudEvents {
    fn shape(&self) -> Shape {
        let singly = Shape::singly(IN_FLIGHT_MAX);
        match self.mode {
            CloudEventsMode::Structured | CloudEventsMode::Binary => singly,
            CloudEventsMode::Batch => Shape { batch_max: BATCH_SIGNALS_MAX, ..singly },
        }
    }

    fn bytes(&self, message: &Message) -> Option<(usize, usize)> {
        match self.mode {
            CloudEventsMode::Structured | CloudEventsMode::Binary => None,
            CloudEventsMode::Batch => Some((self.json(message).len() + 1, BATCH_BYTES_MAX)),
        }
    }

    fn request(&self, messages: &[Message], now: SystemTime) -> Made {
        let typed = |kind: &str| Request::post(&self.url).header(CONTENT_TYPE, kind);
        let (mut builder, body) = match (self.mode, messages) {
            (CloudEventsMode::Structured, [message]) => {
                (typed("application/cloudevents+json"), self.json(message))
            }
            (CloudEventsMode::Binary, [message]) => self.binary(message),
            (CloudEventsMode::Batch, messages) => {
                let events: Vec<_> = messages.iter().map(|message| self.json(message)).collect();
                let list = [b"[", events.join(&b',').as_slice(), b"]"].concat();
                (typed("application/cloudevents-batch+json"), list)
            }
            _ => unreachable!("the shape says one at a time"),
        };
        builder = self.signer.signed(builder, &delivery_id(messages), now, &body);
        authorized(builder, self.auth.as_ref()).body(body).map_err(|error| error.to_string())
    }
}

/// What receivers know a delivery by. A batch that is made up anew is another delivery: a receiver
/// that has had one of its events must not leave the others out.
fn delivery_id(messages: &[Message]) -> String {
    if let [message] = messages {
        return message.data.id.clone();
    }
    let mut hash = Sha256::new();
    for message in messages {
        hash.update(&message.data.id);
        hash.update([0]);
    }
    let tail = hash.finalize().iter().take(16).fold(String::new(), |t, b| t + &format!("{b:02x}"));
    format!("batch_{tail}")
}

/// The account as an attribute, which has no control characters; `data` has it as it is.
fn subject(account: &str) -> String {
    account.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The value of a header, as the HTTP binding has it: what is not printable ASCII, a space, a
/// quotation mark and a percent sign are encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => encoded.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
