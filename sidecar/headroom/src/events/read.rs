//! CloudEvents 1.0 as they come over HTTP: structured, in a batch, or binary. Pure: headers and a body in,
//! events or what is wrong with them out.
//!
//! Strict where the standard is: what is no event is refused with the place and what to do, because a
//! sender that is told "accepted" does not send it again.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use headroom_core::time::Millis;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

/// Events of one batch. More are refused, as by `Publish`.
pub const EVENTS_MAX: usize = 256;

/// An event, as far as it matters here. Extension attributes are read over.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudEvent {
    /// Unique within its source.
    pub id: String,
    /// Who tells it: a URI reference.
    pub source: String,
    /// What has happened.
    pub kind: String,
    /// Whom it is about, here an account.
    pub subject: String,
    /// When it happened. `None`: it does not say.
    pub time: Option<Millis>,
    /// What else there is to say.
    pub data: Map<String, Value>,
}

/// Why a request has no events that can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is of a type that is not understood here.
    #[error("{0}")]
    Unknown(String),
    /// It is not in the form of its type.
    #[error("{0}")]
    Form(String),
    /// An event in it is wrong.
    #[error("{}: {problem}", placed(*.place, field))]
    Event {
        /// Its place in a batch, from 0. `None`: it came alone.
        place: Option<usize>,
        /// Its attribute.
        field: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// How a field of an event is called: `events[3].time`, or `time` where it came alone.
pub fn placed(place: Option<usize>, field: &str) -> String {
    match place {
        Some(place) => format!("events[{place}].{field}"),
        None => field.to_owned(),
    }
}

/// What is wrong with a field of an event.
type Wrong = (String, String);

fn wrong<T>(field: &str, problem: impl Into<String>) -> Result<T, Wrong> {
    Err((field.to_owned(), problem.into()))
}

/// The events of a request, and whether they came as a batch.
///
/// # Errors
/// When they cannot be read; then none of them is taken.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<(Vec<CloudEvent>, bool), ReadError> {
    let kind = headers.get(CONTENT_TYPE).map_or(Ok(""), |kind| kind.to_str());
    let kind = kind.map_err(|_| ReadError::Unknown("the content type is no text".to_owned()))?;
    let (kind, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let kind = kind.trim().to_ascii_lowercase();
    let charset = parameters.split(';').find_map(|one| one.trim().strip_prefix("charset="));
    if let Some(charset) = charset
        && !charset.trim_matches('"').eq_ignore_ascii_case("utf-8")
    {
        return Err(ReadError::Unknown(format!("the charset is {charset}, it must be utf-8")));
    }
    let alone = |(field, problem)| ReadError::Event { place: None, field, problem };
    match kind.as_str() {
        "application/cloudevents-batch+json" => batch(body).map(|events| (events, true)),
        "application/cloudevents+json" => {
            let event = structured(&json(body)?).map_err(alone)?;
            Ok((vec![event], false))
        }
        kind if kind.starts_with("application/cloudevents") => Err(ReadError::Unknown(format!(
            "{kind} is not understood: send application/cloudevents+json or \
             application/cloudevents-batch+json"
        ))),
        _ if headers.contains_key("ce-specversion") => {
            Ok((vec![binary(headers, &kind, body).map_err(alone)?], false))
        }
        kind => Err(ReadError::Unknown(format!(
            "{} is no CloudEvent: send application/cloudevents+json, \
             application/cloudevents-batch+json, or the headers ce-specversion, ce-id, ce-source, ce-type and \
             ce-subject",
            if kind.is_empty() { "a request without a content type" } else { kind }
        ))),
    }
}

fn json(body: &[u8]) -> Result<Value, ReadError> {
    serde_json::from_slice(body)
        .map_err(|error| ReadError::Form(format!("the body is not JSON: {error}")))
}

fn batch(body: &[u8]) -> Result<Vec<CloudEvent>, ReadError> {
    let Value::Array(events) = json(body)? else {
        return Err(ReadError::Form("a batch is a JSON array of events".to_owned()));
    };
    if events.len() > EVENTS_MAX {
        let problem = format!("{} events in a batch, at most {EVENTS_MAX}: split it", events.len());
        return Err(ReadError::Form(problem));
    }
    let read = |(place, event)| {
        structured(event).map_err(|(field, problem)| ReadError::Event {
            place: Some(place),
            field,
            problem,
        })
    };
    events.iter().enumerate().map(read).collect()
}

/// An event as a JSON object.
fn structured(event: &Value) -> Result<CloudEvent, Wrong> {
    let Value::Object(event) = event else {
        return wrong("event", "must be a JSON object");
    };
    let text = |name: &str| match event.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => wrong(name, "must be a string"),
    };
    let attributes = Attributes::of(text)?;
    let data = match (event.get("data"), event.get("data_base64")) {
        (Some(_), Some(_)) => return wrong("data_base64", "cannot stand beside data"),
        (None, Some(Value::String(encoded))) => match BASE64_STANDARD.decode(encoded) {
            Ok(bytes) => object(&bytes, "data_base64")?,
            Err(_) => return wrong("data_base64", "is not Base64"),
        },
        (None, Some(_)) => return wrong("data_base64", "must be a string"),
        (None | Some(Value::Null), None) => Map::new(),
        (Some(Value::Object(data)), None) => data.clone(),
        (Some(_), None) => return wrong("data", "must be a JSON object"),
    };
    attributes.event(data)
}

/// An event as headers and a body.
fn binary(headers: &HeaderMap, kind: &str, body: &[u8]) -> Result<CloudEvent, Wrong> {
    let text = |name: &str| {
        if name == "datacontenttype" {
            return Ok(Some(kind.to_owned()).filter(|kind| !kind.is_empty()));
        }
        let header = format!("ce-{name}");
        let mut values = headers.get_all(&header).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => wrong(&header, "stands there twice"),
            (Some(value), None) => match decoded(value.as_bytes()) {
                Some(text) => Ok(Some(text)),
                None => wrong(&header, "is not UTF-8 in percent-encoding"),
            },
        }
    };
    let attributes = Attributes::of(text)?;
    attributes.event(if body.is_empty() { Map::new() } else { object(body, "data")? })
}

fn object(bytes: &[u8], field: &str) -> Result<Map<String, Value>, Wrong> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(data)) => Ok(data),
        Ok(_) => wrong(field, "must be a JSON object"),
        Err(error) => wrong(field, format!("is not JSON: {error}")),
    }
}

/// A value of a header: it may be quoted, and what is no plain ASCII is percent-encoded. `None`: it is not.
fn decoded(value: &[u8]) -> Option<String> {
    let unquoted = match value {
        [b'"', quoted @ .., b'"'] => {
            let mut bytes = Vec::with_capacity(quoted.len());
            let mut rest = quoted.iter();
            while let Some(byte) = rest.next() {
                bytes.push(if *byte == b'\\' { *rest.next()? } else { *byte });
            }
            bytes
        }
        plain => plain.to_vec(),
    };
    let mut bytes = Vec::with_capacity(unquoted.len());
    let mut rest = unquoted.as_slice();
    while let [first, more @ ..] = rest {
        if let (b'%', [high, low, after @ ..]) = (first, more) {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
            rest = after;
        } else if *first == b'%' {
            return None;
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The attributes that are asked for.
struct Attributes {
    id: String,
    source: String,
    kind: String,
    subject: String,
    time: Option<Millis>,
}

impl Attributes {
    fn of(text: impl Fn(&str) -> Result<Option<String>, Wrong>) -> Result<Attributes, Wrong> {
        match text("specversion")?.as_deref() {
            Some("1.0") => {}
            Some(other) => {
                return wrong("specversion", format!("is {other:?}, it must be \"1.0\""));
            }
            None => return wrong("specversion", "is missing, it must be \"1.0\""),
        }
        let needed = |name: &str, why: &str| match text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => wrong(name, format!("is missing: {why}")),
        };
        if let Some(kind) = text("datacontenttype")? {
            let bare = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            if bare != "application/json" && !bare.ends_with("+json") {
                let problem = format!("is {kind:?}, only application/json is understood");
                return wrong("datacontenttype", problem);
            }
        }
        let source = needed("source", "it says who tells the event, as a URI")?;
        // So that nothing in it can be taken for what follows it.
        if source.chars().any(|one| one.is_whitespace() || one.is_control()) {
            return wrong("source", "is no URI: it has a space or a control character");
        }
        let time = match text("time")? {
            None => None,
            Some(time) => match time.parse::<jiff::Timestamp>() {
                Ok(at) => Some(Millis(at.as_millisecond())),
                Err(_) => {
                    return wrong("time", format!("{time:?} is no time as 2026-03-01T12:00:00Z"));
                }
            },
        };
        Ok(Attributes {
            id: needed("id", "it is what makes a repetition known")?,
            kind: needed("type", "it says what has happened")?,
            subject: needed("subject", "it names the account")?,
            source,
            time,
        })
    }

    fn event(self, data: Map<String, Value>) -> Result<CloudEvent, Wrong> {
        let Attributes { id, source, kind, subject, time } = self;
        Ok(CloudEvent { id, source, kind, subject, time, data })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn request(headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<CloudEvent>, String> {
        let headers = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (name.parse::<HeaderName>().unwrap(), value)
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        read(&map, body).map(|(events, _)| events).map_err(|error| error.to_string())
    }

    const STRUCTURED: &str = "application/cloudevents+json";
    const BATCH: &str = "application/cloudevents-batch+json; charset=UTF-8";

    fn event() -> Value {
        json!({
            "specversion": "1.0", "id": "1", "source": "/crm", "type": "t", "subject": "acme",
            "time": "2026-03-01T12:00:00+01:00", "sequence": "7", "data": { "score": 9 }
        })
    }

    fn known() -> CloudEvent {
        CloudEvent {
            id: "1".to_owned(),
            source: "/crm".to_owned(),
            kind: "t".to_owned(),
            subject: "acme".to_owned(),
            time: Some(Millis(1_772_362_800_000)),
            data: json!({ "score": 9 }).as_object().unwrap().clone(),
        }
    }

    #[test]
    fn an_event_is_the_same_in_every_mode() {
        let text = event().to_string();
        let structured = request(&[("content-type", STRUCTURED)], text.as_bytes());
        assert_eq!(structured.unwrap(), [known()]);
        let both = format!("[{text},{text}]");
        let batch = request(&[("content-type", BATCH)], both.as_bytes());
        assert_eq!(batch.unwrap(), [known(), known()]);
        assert_eq!(request(&[("content-type", BATCH)], b"[]").unwrap(), []);
        let binary = [
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "\"1\""),
            ("ce-source", "/crm"),
            ("ce-type", "t"),
            ("ce-subject", "ac%6de"),
            ("ce-time", "2026-03-01T11:00:00Z"),
        ];
        assert_eq!(request(&binary, br#"{"score":9}"#).unwrap(), [known()]);
        let mut encoded = event();
        encoded.as_object_mut().unwrap().remove("data");
        encoded["data_base64"] = "eyJzY29yZSI6OX0=".into();
        let encoded = request(&[("content-type", STRUCTURED)], encoded.to_string().as_bytes());
        assert_eq!(encoded.unwrap(), [known()]);
    }

    #[test]
    fn headers_are_decoded_as_the_standard_says() {
        for (value, expected) in [
            ("plain", Some("plain")),
            ("%C3%BC%20%22%25", Some("ü \"%")),
            (r#""quoted \"\\ here""#, Some(r#"quoted "\ here"#)),
            ("\"", Some("\"")),
            ("100%", None),
            ("%zz", None),
            ("%C3", None),
            (r#""torn\""#, None),
        ] {
            assert_eq!(decoded(value.as_bytes()).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_what_to_do() {
        let check = |change: (&str, Value), expected: &str| {
            let mut event = event();
            match change {
                (name, Value::Null) => drop(event.as_object_mut().unwrap().remove(name)),
                (name, value) => event[name] = value,
            }
            let alone = request(&[("content-type", STRUCTURED)], event.to_string().as_bytes());
            assert_eq!(alone.unwrap_err(), expected);
            let batch = json!([self::event(), event]).to_string();
            let batch = request(&[("content-type", BATCH)], batch.as_bytes());
            assert_eq!(batch.unwrap_err(), format!("events[1].{expected}"));
        };
        check(("specversion", "0.3".into()), "specversion: is \"0.3\", it must be \"1.0\"");
        check(("id", Value::Null), "id: is missing: it is what makes a repetition known");
        check(("id", "".into()), "id: is missing: it is what makes a repetition known");
        check(("id", 1.into()), "id: must be a string");
        check(("source", "a b".into()), "source: is no URI: it has a space or a control character");
        check(("subject", Value::Null), "subject: is missing: it names the account");
        check(("time", "noon".into()), "time: \"noon\" is no time as 2026-03-01T12:00:00Z");
        check(("data", 1.into()), "data: must be a JSON object");
        check(("data_base64", "".into()), "data_base64: cannot stand beside data");
        let xml = "datacontenttype: is \"text/xml\", only application/json is understood";
        check(("datacontenttype", "text/xml".into()), xml);
    }

    #[test]
    fn no_part_of_an_event_is_an_event_and_no_changed_byte_breaks_the_reader() {
        let text = event().to_string();
        for cut in 0..text.len() {
            request(&[("content-type", STRUCTURED)], &text.as_bytes()[..cut]).unwrap_err();
        }
        for place in 0..text.len() {
            for byte in [0, b'"', b'{', b'\\', b'%', 0xff] {
                let mut bytes = text.clone().into_bytes();
                bytes[place] = byte;
                // Whatever comes of it: an event has all that is asked of one.
                if let Ok(events) = request(&[("content-type", STRUCTURED)], &bytes) {
                    let [event] = &events[..] else { panic!("{events:?}") };
                    let texts = [&event.id, &event.source, &event.kind, &event.subject];
                    assert!(texts.iter().all(|text| !text.is_empty()), "{event:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_event_is_refused_as_a_whole() {
        let check = |headers: &[(&str, &str)], body: &str, expected: &str| {
            let error = request(headers, body.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(&[], "{}", "a request without a content type is no CloudEvent: send");
        check(&[("content-type", "text/plain")], "{}", "text/plain is no CloudEvent");
        check(&[("content-type", "application/cloudevents+avro")], "", "is not understood");
        check(&[("content-type", STRUCTURED)], "{", "the body is not JSON");
        check(&[("content-type", STRUCTURED)], "[]", "event: must be a JSON object");
        check(&[("content-type", BATCH)], "{}", "a batch is a JSON array");
        let latin = "application/cloudevents+json; charset=latin1";
        check(&[("content-type", latin)], "{}", "the charset is latin1");
        let many = Value::from(vec![event(); EVENTS_MAX + 1]).to_string();
        check(&[("content-type", BATCH)], &many, "257 events in a batch, at most 256: split it");
        let twice = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-id", "2")];
        let more = [("ce-source", "s"), ("ce-type", "t"), ("ce-subject", "a")];
        check(&[twice, more].concat(), "", "ce-id: stands there twice");
        let text = [("ce-specversion", "1.0"), ("content-type", "text/plain")];
        check(&text, "hi", "only application/json is understood");
    }
}
