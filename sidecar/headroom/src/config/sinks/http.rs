//! Sinks of kind `http`: requests made from templates. Every template is tried with signals of
//! every sort, so that what a running sidecar could trip over is a problem with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::{Method, Uri};
use minijinja::value::{Serde, Value as Facts};
use serde_json::Value as Json;

use super::auth::{self, HttpAuth};
use super::secrets::{SecretText, Secrets};
use super::{Around, address};
use crate::config::problems::Problem;
use crate::config::reader::{Entry, Fields, Reader};
use crate::config::yaml::{Key, Node, Value};
use crate::sinks::template::Templates;
use crate::sinks::{pace_of, sample_facts};

/// Headers of one request. More are refused.
const HEADERS_MAX: usize = 32;

/// Most signals of one batch.
const BATCH_SIGNALS_MAX: u64 = 1_000;

/// What a batch has when the catalog does not say: signals, and bytes of their items.
const BATCH_SIGNALS: usize = 100;
/// See [`BATCH_SIGNALS`].
const BATCH_BYTES: usize = 256 * 1024;

/// Deepest tree of a body. What is deeper is refused.
const DEPTH_MAX: usize = 16;

/// What templates may use besides facts.
const FUNCTIONS: [&str; 2] = ["range", "dict"];

/// How requests are made. Its templates were tried. Never printed: they may hold what is secret.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSpec {
    /// Where, without path and query.
    pub url: Uri,
    /// The whole address.
    pub url_template: String,
    /// Whether it may be on this machine or in a private network.
    pub allow_private: bool,
    /// `POST`, `PUT` or `PATCH`.
    pub method: Method,
    /// Headers and the templates of their values.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: BodySpec,
    /// What one signal is in `batch`. `None`: one request per signal.
    pub item: Option<Json>,
    /// Most signals of one request.
    pub batch_max: usize,
    /// Most bytes of the items of one request.
    pub batch_bytes_max: usize,
    /// The least time from one request to the next.
    pub pace: Duration,
    /// Who is sending.
    pub auth: Option<HttpAuth>,
    /// What must be true of an answer. `None`: a 2xx is enough.
    pub accept_when: Option<String>,
    /// Values of the environment that templates use.
    pub secrets: BTreeMap<String, SecretText>,
}

impl fmt::Debug for HttpSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpSpec({})", self.url.host().unwrap_or_default())
    }
}

/// What a request says.
#[derive(Clone, PartialEq, Eq)]
pub enum BodySpec {
    /// A tree whose texts are templates.
    Json(Json),
    /// Fields and the templates of their values.
    Form(Vec<(String, String)>),
}

/// Reads templates of one sink, and remembers the values of the environment in them.
struct Texts<'a> {
    reader: &'a Reader,
    secrets: &'a dyn Secrets,
    found: BTreeMap<String, SecretText>,
}

/// Where a template stands, and so what it is tried as.
#[derive(Clone, Copy)]
enum Spot<'a> {
    /// In a body or a form.
    Tree,
    /// In a header.
    Header,
    /// The address, at this host.
    Url(&'a Uri),
}

/// Reads the keys of a request. `allow_private`: what was said elsewhere.
pub(super) fn read(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    item: Entry<'_>,
    around: &Around<'_>,
    allow_private: Option<bool>,
) -> Option<HttpSpec> {
    let mut texts = Texts { reader, secrets: around.secrets, found: BTreeMap::new() };
    let methods = [("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH)];
    let words: [(&str, usize); 3] = [("POST", 0), ("PUT", 1), ("PATCH", 2)];
    let method = fields.optional("method");
    let method = method.map_or(Some(0), |entry| reader.word(entry, &words));
    let batch = fields.optional("batch").map(|entry| read_batch(&mut texts, entry));
    let is_batched = batch.is_some();
    let headers = fields.optional("headers");
    let headers = headers.map_or(Some(vec![]), |entry| read_headers(&mut texts, entry, is_batched));
    let (body, form) = (fields.optional("body"), fields.optional("form"));
    let body = match (body, form) {
        (Some(entry), None) => texts.tree(entry, is_batched, 0).map(BodySpec::Json),
        (None, Some(entry)) => read_form(&mut texts, entry, is_batched).map(BodySpec::Form),
        _ => {
            reader.note_at(item, "a request needs one of `body` and `form`");
            None
        }
    };
    let auth = fields.optional("auth");
    let auth = auth.map(|entry| auth::read_http(reader, entry, around.secrets));
    let pace = fields.optional("max_per_second");
    let pace = pace.map(|entry| Some(pace_of(reader.whole_number(entry, 1..=1_000)?)));
    let accept_when = fields.optional("accept_when").map(|entry| read_condition(reader, entry));
    let allowed = match allow_private {
        Some(allowed) => Some(allowed),
        None => address::allow_private(reader, fields),
    };
    let url = fields.required("url");
    let url = url.and_then(|entry| read_url(&mut texts, entry, is_batched, allowed));
    if let (Some(Some(HttpAuth::OAuth2(oauth))), Some(false)) = (&auth, allowed)
        && address::is_private(oauth.token_url.host().unwrap_or_default())
    {
        reader.note_at(item, address::PRIVATE_URL);
    }
    let (item, batch_max, batch_bytes_max) = match batch {
        None => (None, 1, BATCH_BYTES),
        Some(batch) => batch.map(|(item, signals, bytes)| (Some(item), signals, bytes))?,
    };
    let (url, url_template) = url?;
    Some(HttpSpec {
        url,
        url_template,
        allow_private: allowed?,
        method: methods[method?].1.clone(),
        headers: headers?,
        body: body?,
        item,
        batch_max,
        batch_bytes_max,
        pace: pace.map_or(Some(Duration::ZERO), |pace| pace)?,
        auth: auth.map_or(Some(None), |auth| auth.map(Some))?,
        accept_when: accept_when.map_or(Some(None), |condition| condition.map(Some))?,
        secrets: texts.found,
    })
}

impl Texts<'_> {
    /// A template without its references to the environment, tried.
    fn template(&mut self, entry: Entry<'_>, spot: Spot<'_>, is_batched: bool) -> Option<String> {
        let reader = self.reader;
        let text = reader.text(entry)?;
        let template = self.without_references(&text).map_err(|problem| {
            reader.note_at(entry, problem);
        });
        let template = template.ok()?;
        let samples = sample_facts(self.found.keys().cloned(), is_batched);
        let templates = Templates::new();
        let known: Vec<&str> = samples[0].keys().map(String::as_str).collect();
        for name in templates.names(&template).unwrap_or_default() {
            if !known.contains(&name.as_str()) && !FUNCTIONS.contains(&name.as_str()) {
                let message = format!("unknown fact `{name}` in the template");
                let problem = Problem::at(entry.place(), message);
                reader.note(problem.suggest(&name, known.iter().copied()));
                return None;
            }
        }
        for facts in &samples {
            let facts = Facts::from(Serde(facts));
            let tried = match spot {
                Spot::Tree => templates.tree(&Json::String(template.clone()), &facts).map(drop),
                Spot::Header => templates.header(&template, &facts).map(drop),
                Spot::Url(url) => {
                    let host = url.authority().expect("it was looked at");
                    templates.url(&template, host, &facts).map(drop)
                }
            };
            tried.map_err(|problem| reader.note_at(entry, problem)).ok()?;
        }
        Some(template)
    }

    /// `${NAME}` becomes a fact of the template, so that no value is ever read as one.
    fn without_references(&mut self, text: &str) -> Result<String, String> {
        let mut template = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or("a `${` without its `}`")?;
            let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let begins = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
            if !begins || !name.bytes().all(is_name) {
                return Err("what stands in `${…}` is the name of an environment variable".into());
            }
            let value = self.secrets.env(name)?.trim().to_owned();
            self.found.insert(name.to_owned(), SecretText(value));
            template.push_str(before);
            template.push_str(&format!("{{{{ secrets.{name} }}}}"));
            rest = after;
        }
        template.push_str(rest);
        Ok(template)
    }

    /// A tree whose texts are templates. What is a number or a truth without quotes stays one.
    fn tree(&mut self, entry: Entry<'_>, is_batched: bool, depth: usize) -> Option<Json> {
        if depth > DEPTH_MAX {
            self.reader.note_at(entry, format!("a body is at most {DEPTH_MAX} levels deep"));
            return None;
        }
        match &entry.node.value {
            Value::Nothing => Some(Json::Null),
            Value::Plain(text) => match serde_json::from_str(text) {
                Ok(value @ (Json::Bool(_) | Json::Number(_))) => Some(value),
                _ => self.template(entry, Spot::Tree, is_batched).map(Json::String),
            },
            Value::Quoted(_) => self.template(entry, Spot::Tree, is_batched).map(Json::String),
            Value::List(items) => {
                let items = items
                    .iter()
                    .map(|item| self.tree(Entry { node: item, ..entry }, is_batched, depth + 1));
                // All of them are read, so that all problems are found.
                let items: Vec<Option<Json>> = items.collect();
                items.into_iter().collect()
            }
            Value::Map(entries) => {
                let read = |(key, node): &(Key, Node)| {
                    let at = Entry { node, ..entry };
                    (key.text.clone(), self.tree(at, is_batched, depth + 1))
                };
                let entries: Vec<(String, Option<Json>)> = entries.iter().map(read).collect();
                let entries = entries.into_iter().map(|(key, value)| Some((key, value?)));
                entries.collect::<Option<serde_json::Map<_, _>>>().map(Json::Object)
            }
        }
    }
}

fn read_batch(texts: &mut Texts<'_>, entry: Entry<'_>) -> Option<(Json, usize, usize)> {
    let reader = texts.reader;
    let mut fields = reader.fields(entry, "a mapping with `item`")?;
    let signals = fields.optional("signals");
    let bytes = fields.optional("bytes");
    let item = fields.required("item");
    fields.end();
    let signals = signals.map_or(Some(BATCH_SIGNALS as u64), |entry| {
        reader.whole_number(entry, 1..=BATCH_SIGNALS_MAX)
    });
    let bytes =
        bytes.map_or(Some(BATCH_BYTES as u64), |entry| reader.size_bytes(entry, "1KiB", "768KiB"));
    let item = item.and_then(|entry| texts.tree(entry, false, 0));
    let small = |number: u64| usize::try_from(number).expect("it is bounded");
    Some((item?, small(signals?), small(bytes?)))
}

fn read_headers(
    texts: &mut Texts<'_>,
    entry: Entry<'_>,
    is_batched: bool,
) -> Option<Vec<(HeaderName, String)>> {
    let reader = texts.reader;
    let entries = reader.map(entry, "a mapping from headers to their values")?;
    if entries.len() > HEADERS_MAX {
        reader.note_at(entry, format!("{} headers, at most {HEADERS_MAX}", entries.len()));
        return None;
    }
    let mut headers = Vec::new();
    for entry in entries.iter().map(Entry::of) {
        let value = texts.template(entry, Spot::Header, is_batched);
        match HeaderName::from_bytes(entry.name.as_bytes()) {
            Ok(name) if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) => {
                reader.note_at(entry, format!("`{name}` is set by the connection itself"));
            }
            Ok(name) => headers.extend(value.map(|value| (name, value))),
            Err(_) => reader.note_at(entry, format!("`{}` is no name of a header", entry.name)),
        }
    }
    (headers.len() == entries.len()).then_some(headers)
}

fn read_form(
    texts: &mut Texts<'_>,
    entry: Entry<'_>,
    is_batched: bool,
) -> Option<Vec<(String, String)>> {
    let entries = texts.reader.map(entry, "a mapping from fields to their values")?;
    let mut fields = Vec::new();
    for entry in entries.iter().map(Entry::of) {
        let value = texts.template(entry, Spot::Tree, is_batched);
        fields.extend(value.map(|value| (entry.name.to_owned(), value)));
    }
    (fields.len() == entries.len()).then_some(fields)
}

/// The host is written out: what a signal says must not choose whom it is told to.
fn read_url(
    texts: &mut Texts<'_>,
    entry: Entry<'_>,
    is_batched: bool,
    allowed: Option<bool>,
) -> Option<(Uri, String)> {
    let reader = texts.reader;
    let text = reader.text(entry)?;
    let after_scheme = text.find("://").map_or(0, |at| at + 3);
    let end = text[after_scheme..].find(['/', '?']).map_or(text.len(), |at| after_scheme + at);
    let origin = &text[..end];
    if origin.contains(['{', '$']) {
        reader.note_at(entry, "the host of an address cannot come from a template");
        return None;
    }
    let url = address::parse(reader, entry, &format!("{origin}/"))?;
    if text.contains('#') {
        reader.note_at(entry, "the address has a fragment (`#…`), which is never sent");
        return None;
    }
    if allowed == Some(false) && address::is_private(url.host().unwrap_or_default()) {
        reader.note_at(entry, address::PRIVATE_URL);
    }
    let template = texts.template(entry, Spot::Url(&url), is_batched)?;
    Some((url, template))
}

fn read_condition(reader: &Reader, entry: Entry<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    match Templates::new().check(&text) {
        Ok(()) => Some(text),
        Err(problem) => {
            reader.note_at(entry, format!("`{}` is no condition: {problem}", entry.name));
            None
        }
    }
}
