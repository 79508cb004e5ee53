//! A sink whose requests are made from templates of the catalog.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use jiff::Timestamp;
use minijinja::value::{Serde, Value};
use serde_json::{Map, Value as Json, json};

use super::courier::{Form, Made, authorized, by_status, refused};
use super::dead::Why;
use super::delivery::Outcome;
use super::http::{Answer, Read};
use super::lanes::{Failure, Shape};
use super::limits::{IN_FLIGHT_MAX, REQUEST_BYTES_MAX, TEMPLATE_BATCHES_MAX};
use super::payload::Message;
use super::template::{self, Templates};
use crate::config::sinks::{BodySpec, HttpAuth, HttpSpec};

/// One endpoint and its templates.
pub(super) struct Generic {
    spec: HttpSpec,
    templates: Templates,
    secrets: Json,
}

impl Generic {
    pub(super) fn new(spec: HttpSpec) -> Generic {
        let secrets = spec.secrets.iter().map(|(name, secret)| (name.clone(), secret.0.as_str()));
        let secrets = secrets.map(|(name, secret)| (name, secret.into())).collect();
        Generic { spec, templates: Templates::new(), secrets: Json::Object(secrets) }
    }

    /// What templates may say of one signal.
    fn facts(&self, message: &Message) -> Value {
        let mut facts = message.facts();
        facts.insert("secrets".to_owned(), self.secrets.clone());
        Value::from(Serde(facts))
    }

    fn item(&self, item: &Json, message: &Message) -> Result<Json, String> {
        self.templates.tree(item, &self.facts(message))
    }

    /// What templates may say of a request: of one signal everything, of several the list of them.
    fn outer(&self, messages: &[Message], now: SystemTime) -> Result<Value, String> {
        let at = Timestamp::try_from(now).map_err(|error| error.to_string())?;
        let mut facts = match (&self.spec.item, messages) {
            (None, [message]) => message.facts(),
            (None, _) => unreachable!("the shape says one at a time"),
            (Some(item), messages) => {
                let items = messages.iter().map(|message| self.item(item, message));
                let items: Vec<Json> = items.collect::<Result<_, _>>()?;
                Map::from_iter([("batch".to_owned(), Json::Array(items))])
            }
        };
        facts.insert("now".to_owned(), format!("{at:.3}").into());
        facts.insert("now_s".to_owned(), at.as_second().into());
        facts.insert("secrets".to_owned(), self.secrets.clone());
        Ok(Value::from(Serde(facts)))
    }

    /// What templates may say of an answer.
    fn answered(answer: &Answer) -> Value {
        let text = String::from_utf8_lossy(&answer.body);
        let body: Json = serde_json::from_str(&text).unwrap_or(Json::Null);
        Value::from(Serde(json!({
            "status": answer.status.as_u16(),
            "body": body,
            "text": text,
        })))
    }
}

impl Form for Generic {
    fn shape(&self) -> Shape {
        match self.spec.batch_max {
            1 if !matches!(self.spec.auth, Some(HttpAuth::OAuth2(_))) => {
                Shape { pace: self.spec.pace, ..Shape::singly(IN_FLIGHT_MAX) }
            }
            batch_max => {
                let in_flight_max = TEMPLATE_BATCHES_MAX;
                Shape { batch_max, in_flight_max, pace: self.spec.pace }
            }
        }
    }

    fn bytes(&self, message: &Message) -> Option<(usize, usize)> {
        let item = self.spec.item.as_ref()?;
        // What cannot be made takes no room; it is told of when the request is made.
        let bytes = self.item(item, message).map_or(0, |made| made.to_string().len() + 1);
        Some((bytes, self.spec.batch_bytes_max))
    }

    fn request(&self, messages: &[Message], now: SystemTime) -> Made {
        let facts = self.outer(messages, now)?;
        let host = self.spec.url.authority().expect("a URL has a host");
        let url = self.templates.url(&self.spec.url_template, host, &facts)?;
        let mut builder = Request::builder().method(&self.spec.method).uri(url);
        for (name, value) in &self.spec.headers {
            builder = builder.header(name, self.templates.header(value, &facts)?);
        }
        let (kind, body) = match &self.spec.body {
            BodySpec::Json(tree) => {
                ("application/json", self.templates.tree(tree, &facts)?.to_string().into_bytes())
            }
            BodySpec::Form(fields) => {
                let field = |(name, value): &'_ (String, String)| {
                    Ok::<_, String>((name.clone(), self.templates.text(value, &facts)?))
                };
                let fields: Vec<_> = fields.iter().map(field).collect::<Result<_, _>>()?;
                let fields = fields.iter().map(|(name, value)| (name.as_str(), value.clone()));
                ("application/x-www-form-urlencoded", template::form(fields))
            }
        };
        if body.len() > REQUEST_BYTES_MAX {
            return Err(format!("a body of {} bytes, at most {REQUEST_BYTES_MAX}", body.len()));
        }
        if let Some(HttpAuth::Fixed(credential)) = &self.spec.auth {
            builder = authorized(builder, Some(credential));
        }
        let mut request = builder.body(body).map_err(|error| error.to_string())?;
        request.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        Ok(request)
    }

    fn read(&self) -> Read {
        if self.spec.accept_when.is_some() { Read::Body } else { Read::Nothing }
    }

    fn judge(&self, answer: &Answer) -> Outcome {
        let Some(accept_when) = &self.spec.accept_when else { return by_status(answer) };
        if answer.status == StatusCode::GONE {
            return Outcome::Gone;
        }
        // An answer that has not what is asked about is no yes.
        if self.templates.is_true(accept_when, &Self::answered(answer)).unwrap_or(false) {
            return Outcome::Accepted;
        }
        if !answer.status.is_success() {
            return refused(answer, format!("status {}", answer.status.as_u16()));
        }
        // The endpoint is there and says no: that is about the signal.
        let status = answer.status.as_u16();
        Outcome::Refused {
            what: format!("status {status}, but `accept_when` is not true"),
            why: Why::Status(status),
            failure: Failure { of_endpoint: false, retry_after: answer.retry_after },
        }
    }
}

/// What templates may say of signals of every sort: of each, or of a list of them.
pub(crate) fn sample_facts(
    secrets: impl IntoIterator<Item = String>,
    is_batched: bool,
) -> Vec<Map<String, Json>> {
    let secrets: Map<String, Json> =
        secrets.into_iter().map(|name| (name, "secret".into())).collect();
    let facts = |message: Message| {
        let mut facts = match is_batched {
            true => Map::from_iter([("batch".to_owned(), json!([{ "sample": 1 }]))]),
            false => message.facts(),
        };
        facts.insert("now".to_owned(), message.timestamp.clone().into());
        facts.insert("now_s".to_owned(), 1.into());
        facts.insert("secrets".to_owned(), Json::Object(secrets.clone()));
        facts
    };
    Message::samples().into_iter().map(facts).collect()
}

/// The least time between two requests of a sink with this rate.
pub(crate) fn pace_of(per_second: u64) -> Duration {
    Duration::from_secs(1) / u32::try_from(per_second.max(1)).unwrap_or(u32::MAX)
}
