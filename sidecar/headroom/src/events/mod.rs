//! CloudEvents in: what other systems tell, over HTTP, by the road of `SignalService.Publish`.
//!
//! The subject of an event is the account, its type says what it is, and source and id together are what
//! it is known by: told again, also by the other door, it changes nothing. All events of a request are
//! taken or none, and what is taken is written when it is answered.
//!
//! No browser is answered: a page that somebody looks at must not tell things in their name. A request
//! that has an `Origin` is a browser's.

mod read;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use headroom_proto::v1::{self, event::What};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tonic::Code;

use crate::grpc::admin::facts::of_object;
use crate::grpc::signals::Signals;
use crate::grpc::status::WireError;
use read::{CloudEvent, ReadError, placed};

/// Where events are posted.
const PATH: &str = "/v1/events";

/// The largest body: 256 events with 4 KiB to say each. A longer one is refused.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// When a sender may try again after the store took nothing.
const RETRY_AFTER_S: u16 = 1;

/// The longest id of an event, as `Publish` has it. A longer one is known by its digest.
const ID_BYTES_MAX: usize = 128;

/// What the types of signals begin with, as those have that leave.
const SIGNAL: &str = "headroom.signal.";

/// The types that are known, for whoever sends another.
const KNOWN: &str = "must be headroom.signal.NAME, headroom.facts or headroom.activity";

/// Why a request was not taken.
struct Refusal {
    status: StatusCode,
    /// Place and problem of each thing that is wrong.
    problems: Vec<String>,
}

impl Refusal {
    fn of(status: StatusCode, problem: impl Into<String>) -> Refusal {
        Refusal { status, problems: vec![problem.into()] }
    }
}

/// What is served.
pub fn routes(signals: Signals) -> axum::Router {
    axum::Router::new()
        .route(PATH, post(take).options(hand_shake))
        .fallback(async || Refusal::of(StatusCode::NOT_FOUND, format!("post events to {PATH}")))
        .with_state(signals)
}

async fn take(State(signals): State<Signals>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(header::ORIGIN) {
        let problem = "requests of browsers are not taken: send events from a server";
        return Err(Refusal::of(StatusCode::FORBIDDEN, problem));
    }
    let body = whole(body).await?;
    let (events, is_batch) = read::read(&parts.headers, &body)?;
    let told = events.iter().enumerate().map(|(place, event)| {
        told(event).map_err(|(field, problem)| {
            let place = is_batch.then_some(place);
            ReadError::Event { place, field: field.to_owned(), problem }
        })
    });
    let told = told.collect::<Result<Vec<_>, _>>()?;
    let count = told.len();
    let mut duplicates = 0;
    if count > 0 {
        let request = v1::PublishRequest { events: told };
        let answer = signals.take(&request).await.map_err(|error| refusal(&error, is_batch))?;
        duplicates = answer.duplicates.iter().filter(|known| **known).count();
    }
    Ok(said(StatusCode::OK, &json!({ "events": count, "duplicates": duplicates })))
}

fn said(status: StatusCode, what: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], what.to_string()).into_response()
}

async fn whole(body: Body) -> Result<Vec<u8>, Refusal> {
    match tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(_)) => {
            let problem = format!(
                "the body is longer than {} KiB, or broke off: send fewer events at once",
                BODY_BYTES_MAX / 1024
            );
            Err(Refusal::of(StatusCode::PAYLOAD_TOO_LARGE, problem))
        }
        Err(_) => {
            let problem = format!("the body did not come within {} s", BODY_WITHIN.as_secs());
            Err(Refusal::of(StatusCode::REQUEST_TIMEOUT, problem))
        }
    }
}

/// Some senders ask first whether they may send, as the standard's companion for webhooks has it.
async fn hand_shake(headers: HeaderMap) -> Response {
    let mut answer = StatusCode::OK.into_response();
    let allowed = answer.headers_mut();
    allowed.insert(header::ALLOW, HeaderValue::from_static("POST"));
    if let Some(origin) = headers.get("webhook-request-origin") {
        allowed.insert("webhook-allowed-origin", origin.clone());
        allowed.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    }
    answer
}

/// An event as `Publish` takes it, or the attribute that is wrong.
fn told(event: &CloudEvent) -> Result<v1::Event, (&'static str, String)> {
    let data = &event.data;
    let what = match event.kind.as_str() {
        "headroom.activity" => What::Activity(activity(data)?),
        "headroom.facts" => What::Facts(of_object(data)),
        kind => match kind.strip_prefix(SIGNAL) {
            Some(signal) => What::Signal(v1::OutsideSignal {
                signal: signal.to_owned(),
                data: Some(of_object(data)),
            }),
            None => return Err(("type", format!("is {kind:?}, {KNOWN}"))),
        },
    };
    Ok(v1::Event {
        id: known_by(&event.source, &event.id),
        account: event.subject.clone(),
        occurred_at: event.time.map(crate::grpc::present::timestamp),
        what: Some(what),
    })
}

/// Source and id as one. A source has no space, so no other pair comes to the same.
fn known_by(source: &str, id: &str) -> String {
    let both = format!("{source} {id}");
    if both.len() <= ID_BYTES_MAX {
        return both;
    }
    let digest = Sha256::digest(both.as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn activity(data: &Map<String, Value>) -> Result<v1::Activity, (&'static str, String)> {
    let mut activity = v1::Activity::default();
    for (name, value) in data {
        let field = match name.as_str() {
            "user" => &mut activity.user,
            "feature" => &mut activity.feature,
            _ => return Err(("data", format!("{name:?} is not known, only user and feature are"))),
        };
        match value {
            Value::String(text) => field.clone_from(text),
            Value::Null => {}
            _ => return Err(("data", format!("{name} must be a string"))),
        }
    }
    Ok(activity)
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Refusal {
        let status = match error {
            ReadError::Unknown(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ReadError::Form(_) | ReadError::Event { .. } => StatusCode::BAD_REQUEST,
        };
        Refusal::of(status, error.to_string())
    }
}

/// What `Publish` refused, in the words of an event.
fn refusal(error: &WireError, is_batch: bool) -> Refusal {
    let status = match error.code() {
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => {
            StatusCode::BAD_REQUEST
        }
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let fields = error.fields.iter();
    let problems: Vec<String> = fields
        .map(|(field, problem)| format!("{}: {problem}", attribute(field, is_batch)))
        .collect();
    match problems.is_empty() {
        true => Refusal::of(status, error.message.clone()),
        false => Refusal { status, problems },
    }
}

/// The attribute of an event that a field of a request was made of.
fn attribute(field: &str, is_batch: bool) -> String {
    let (place, field) = match field.split_once("].") {
        Some((place, field)) => (place.strip_prefix("events[").and_then(|n| n.parse().ok()), field),
        None => (None, field),
    };
    let attribute = match field {
        "account" => "subject".to_owned(),
        "occurred_at" => "time".to_owned(),
        "signal.signal" => "type".to_owned(),
        "signal.data" | "activity" | "facts" => "data".to_owned(),
        other => match other.split_once('.') {
            Some(("activity" | "facts", name)) => format!("data.{name}"),
            _ => other.to_owned(),
        },
    };
    placed(place.filter(|_| is_batch), &attribute)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal { status, problems } = self;
        let mut answer = said(status, &json!({ "errors": problems }));
        let may_retry = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        if may_retry.contains(&status) {
            answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_and_id_are_known_together_whatever_their_length() {
        assert_eq!(known_by("/crm", "1"), "/crm 1");
        // No source has a space.
        let pairs = ["/a", "/ab"].into_iter().flat_map(|source| {
            ["b", "b c", " b", " ", "a b"].into_iter().map(move |id| known_by(source, id))
        });
        assert_eq!(pairs.collect::<std::collections::BTreeSet<_>>().len(), 10);
        let long = "x".repeat(200);
        assert_eq!(known_by("/crm", &long).len(), "sha256:".len() + 64);
        assert_ne!(known_by("/crm", &long), known_by("/crn", &long));
    }

    #[test]
    fn a_problem_is_told_of_the_attribute_that_has_it() {
        for (field, expected) in [
            ("events[3].occurred_at", "events[3].time"),
            ("events[0].account", "events[0].subject"),
            ("events[12].signal.signal", "events[12].type"),
            ("events[0].activity.user", "events[0].data.user"),
            ("events[0].signal.data", "events[0].data"),
            ("facts.nps", "data.nps"),
            ("data.x", "data.x"),
            ("events", "events"),
        ] {
            assert_eq!(attribute(field, true), expected);
        }
        assert_eq!(attribute("events[0].id", false), "id");
    }
}
