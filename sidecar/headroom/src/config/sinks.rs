//! The sinks of a catalog: where signals go.

mod address;
mod auth;
mod filter;
mod http;
mod presets;
mod redis;
mod secrets;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use self::http::{BodySpec, HttpSpec};
pub use self::redis::RedisSpec;
use super::problems::Problem;
use super::reader::{Entry, Fields, Reader};
use ::http::Uri;
pub use address::SecretUrl;
pub use auth::{Credential, HttpAuth, OAuth2};
pub use filter::{Filter, Known};
pub use secrets::{NoSecrets, RealSecrets, Secrets, WebhookSecret};

/// Sinks of one catalog. Each costs a task and a place in the outbox of every signal; more are
/// refused.
const SINKS_MAX: usize = 32;

/// A place that signals go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSpec {
    /// Its name, unique in the catalog.
    pub sink: String,
    /// The signals it gets.
    pub filter: Filter,
    /// What sort of place it is.
    pub kind: SinkKind,
}

/// What sort of place a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// An HTTP endpoint that gets signed deliveries by the rules of Standard Webhooks.
    StandardWebhook {
        /// Where: http or https, with a host, without user, password or fragment.
        url: Uri,
        /// Each delivery is signed with every one; never empty.
        secrets: Vec<WebhookSecret>,
        /// Whether it may be on this machine or in a private network.
        allow_private: bool,
    },
    /// An HTTP endpoint that gets CloudEvents 1.0.
    CloudEvents {
        /// Where.
        url: Uri,
        /// Whether it may be on this machine or in a private network.
        allow_private: bool,
        /// How an event becomes a request.
        mode: CloudEventsMode,
        /// What events say they come from; together with their id it is theirs alone.
        source: String,
        /// Who is sending.
        auth: Option<Credential>,
        /// Each delivery is signed with every one, by the rules of Standard Webhooks; may be empty.
        secrets: Vec<WebhookSecret>,
    },
    /// The batch door of Segment, or of whoever speaks its protocol.
    Segment {
        /// Where.
        url: Uri,
        /// Whether it may be on this machine or in a private network.
        allow_private: bool,
        /// The source's write key.
        write_key: Credential,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// Where, which is the secret, too.
        url: SecretUrl,
        /// Whether it may be on this machine or in a private network.
        allow_private: bool,
    },
    /// An HTTP endpoint whose requests are made from templates; presets are of this kind, too.
    Http(Box<HttpSpec>),
    /// A stream of Redis or Valkey.
    RedisStreams(Box<RedisSpec>),
    /// A file with one JSON object per line.
    Ndjson {
        /// A file name without directories; the file is in the data directory.
        file: PathBuf,
    },
}

/// How a CloudEvent becomes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudEventsMode {
    /// The event is the body.
    Structured,
    /// The attributes are headers, the data is the body.
    Binary,
    /// The body is a list of events.
    Batch,
}

/// Where Segment takes batches.
const SEGMENT_URL: &str = "https://api.segment.io/v1/batch";

/// Longest source of a CloudEvent.
const SOURCE_BYTES_MAX: usize = 256;

/// What reading a sink needs to know besides its own lines.
struct Around<'a> {
    secrets: &'a dyn Secrets,
    known: Known<'a>,
    /// Files of the sinks before it.
    files: BTreeSet<PathBuf>,
}

/// Reads the list under `sinks`.
pub(super) fn read(
    reader: &Reader,
    entry: Entry<'_>,
    secrets: &dyn Secrets,
    known: Known<'_>,
) -> Vec<SinkSpec> {
    let Some(items) = reader.list(entry, "a list of sinks") else { return vec![] };
    if items.len() > SINKS_MAX {
        let count = items.len();
        reader.note(Problem::at(
            entry.owner,
            format!("{count} sinks, at most {SINKS_MAX} are possible"),
        ));
    }
    let mut names = BTreeSet::new();
    let mut around = Around { secrets, known, files: BTreeSet::new() };
    let mut sinks = Vec::new();
    for item in items {
        let Some(mut fields) = reader.fields(item, "a mapping with `sink` and `kind`") else {
            continue;
        };
        let name = fields.required("sink");
        if let Some(entry) = name
            && let Some(text) = sink_name(reader, entry)
            && !names.insert(text.to_owned())
        {
            reader.note_at(entry, format!("sink `{text}` is defined twice"));
        }
        let sink = read_sink(reader, &mut fields, item, &mut around);
        fields.end();
        if let Some((kind, filter)) = sink
            && let Some(sink) = name.and_then(|entry| entry.scalar())
        {
            sinks.push(SinkSpec { sink: sink.to_owned(), filter, kind });
        }
    }
    sinks
}

/// The name, if it can be part of a metric and a log line.
fn sink_name<'n>(reader: &Reader, entry: Entry<'n>) -> Option<&'n str> {
    const NAME_BYTES_MAX: usize = 128;
    let text = entry.scalar().unwrap_or("");
    let is_plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_plain) {
        reader.note_at(
            entry,
            format!("a sink's name is 1 to {NAME_BYTES_MAX} of a-z, 0-9, `_`, `.` and `-`"),
        );
        return None;
    }
    Some(text)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KindWord {
    StandardWebhook,
    CloudEvents,
    Segment,
    Slack,
    Http,
    HubSpot,
    Salesforce,
    CustomerIo,
    PostHog,
    RedisStreams,
    Ndjson,
}

impl KindWord {
    const ALL: [(&'static str, KindWord); 11] = [
        ("standard_webhook", KindWord::StandardWebhook),
        ("cloudevents", KindWord::CloudEvents),
        ("segment", KindWord::Segment),
        ("slack", KindWord::Slack),
        ("http", KindWord::Http),
        ("hubspot", KindWord::HubSpot),
        ("salesforce", KindWord::Salesforce),
        ("customerio", KindWord::CustomerIo),
        ("posthog", KindWord::PostHog),
        ("redis_streams", KindWord::RedisStreams),
        ("ndjson", KindWord::Ndjson),
    ];

    fn word(self) -> &'static str {
        KindWord::ALL.iter().find(|(_, kind)| *kind == self).expect("all are there").0
    }
}

/// The keys that only some kinds have, and which.
const KEYS: [(&str, &[KindWord]); 33] = {
    use KindWord::{
        CloudEvents, CustomerIo, Http, HubSpot, Ndjson, PostHog, RedisStreams, Salesforce, Segment,
        Slack, StandardWebhook,
    };
    const SENT: &[KindWord] = &[
        StandardWebhook,
        CloudEvents,
        Segment,
        Slack,
        Http,
        HubSpot,
        Salesforce,
        CustomerIo,
        PostHog,
        RedisStreams,
    ];
    const WITH_URL: &[KindWord] =
        &[StandardWebhook, CloudEvents, Segment, Slack, Http, CustomerIo, PostHog, RedisStreams];
    const SIGNED: &[KindWord] = &[StandardWebhook, CloudEvents];
    [
        ("url", WITH_URL),
        ("allow_private", SENT),
        ("secret", SIGNED),
        ("secrets", SIGNED),
        ("secret_file", SIGNED),
        ("mode", &[CloudEvents]),
        ("source", &[CloudEvents]),
        ("auth", &[CloudEvents, Http]),
        ("write_key", &[Segment]),
        ("method", &[Http]),
        ("headers", &[Http]),
        ("body", &[Http]),
        ("form", &[Http]),
        ("batch", &[Http]),
        ("accept_when", &[Http]),
        ("max_per_second", &[Http]),
        ("token", &[HubSpot]),
        ("event_name", &[HubSpot]),
        ("object_id", &[HubSpot]),
        ("instance_url", &[Salesforce]),
        ("client_id", &[Salesforce]),
        ("client_secret", &[Salesforce]),
        ("object", &[Salesforce]),
        ("site_id", &[CustomerIo]),
        ("api_key", &[CustomerIo, PostHog]),
        ("customer_id", &[CustomerIo]),
        ("group_type", &[PostHog]),
        ("distinct_id", &[PostHog]),
        ("stream", &[RedisStreams]),
        ("entries_max", &[RedisStreams]),
        ("username", &[RedisStreams]),
        ("password", &[RedisStreams]),
        ("path", &[Ndjson]),
    ]
};

fn read_sink<'n>(
    reader: &Reader,
    fields: &mut Fields<'_, 'n>,
    item: Entry<'n>,
    around: &mut Around<'_>,
) -> Option<(SinkKind, Filter)> {
    let kind = fields.required("kind").and_then(|entry| reader.word(entry, &KindWord::ALL));
    let filter = filter::read(reader, fields, around.known);
    for (key, kinds) in KEYS {
        match kind {
            Some(kind) if kinds.contains(&kind) => {}
            Some(_) => fields.misplaced(key, &belongs(key, kinds)),
            // Whatever it is, its keys are no mistakes.
            None => drop(fields.optional(key)),
        }
    }
    let kind = match kind? {
        KindWord::StandardWebhook => {
            let url = fields.required("url");
            let address = address::read(reader, url, fields);
            let secrets = secrets::read(reader, fields, item, around.secrets, true);
            let ((url, allow_private), secrets) = (address?, secrets?);
            SinkKind::StandardWebhook { url, secrets, allow_private }
        }
        KindWord::CloudEvents => read_cloudevents(reader, fields, item, around.secrets)?,
        KindWord::Segment => {
            let address = match fields.optional("url") {
                None => {
                    let is_private = address::allow_private(reader, fields);
                    is_private.map(|allowed| (Uri::from_static(SEGMENT_URL), allowed))
                }
                url => address::read(reader, url, fields),
            };
            let write_key = fields.required("write_key");
            let write_key = write_key.and_then(|e| secrets::text(reader, e, around.secrets));
            let write_key = write_key.map(|key| Credential::basic(&key, ""));
            let ((url, allow_private), write_key) = (address?, write_key?);
            SinkKind::Segment { url, allow_private, write_key }
        }
        KindWord::Slack => {
            let url = fields.required("url");
            let (url, allow_private) = address::read_secret(reader, url, fields, around.secrets)?;
            SinkKind::Slack { url, allow_private }
        }
        KindWord::Http => SinkKind::Http(Box::new(http::read(reader, fields, item, around, None)?)),
        kind @ (KindWord::HubSpot
        | KindWord::Salesforce
        | KindWord::CustomerIo
        | KindWord::PostHog) => {
            let preset = presets::of(kind).expect("these are presets");
            SinkKind::Http(Box::new(presets::read(reader, fields, item, around, preset)?))
        }
        KindWord::RedisStreams => {
            SinkKind::RedisStreams(Box::new(redis::read(reader, fields, around.secrets)?))
        }
        KindWord::Ndjson => {
            let path = fields.required("path");
            let file = path.and_then(|entry| read_path(reader, entry, &mut around.files));
            SinkKind::Ndjson { file: file? }
        }
    };
    Some((kind, filter?))
}

fn read_cloudevents(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    item: Entry<'_>,
    secrets: &dyn Secrets,
) -> Option<SinkKind> {
    let url = fields.required("url");
    let address = address::read(reader, url, fields);
    let modes = [
        ("structured", CloudEventsMode::Structured),
        ("binary", CloudEventsMode::Binary),
        ("batch", CloudEventsMode::Batch),
    ];
    let mode = fields.optional("mode");
    let mode = mode.map_or(Some(modes[0].1), |entry| reader.word(entry, &modes));
    let source = fields.required("source").and_then(|entry| read_source(reader, entry));
    let auth = fields.optional("auth").map(|entry| auth::read(reader, entry, secrets));
    let auth = auth.map_or(Some(None), |auth| auth.map(Some));
    let secrets = secrets::read(reader, fields, item, secrets, false);
    let ((url, allow_private), mode) = (address?, mode?);
    let (source, auth, secrets) = (source?, auth?, secrets?);
    Some(SinkKind::CloudEvents { url, allow_private, mode, source, auth, secrets })
}

/// A reference to a resource, roughly: what would break a header or a comparison is refused.
fn read_source(reader: &Reader, entry: Entry<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^');
    if text.is_empty() || text.len() > SOURCE_BYTES_MAX || !text.bytes().all(is_plain) {
        reader.note_at(
            entry,
            "`source` must be an address of this sidecar, as `//headroom/eu-1` or \
             `https://example.com/headroom`, and every sidecar needs its own",
        );
        return None;
    }
    Some(text)
}

fn belongs(key: &str, kinds: &[KindWord]) -> String {
    let words: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.word())).collect();
    let words = match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    };
    format!("`{key}` belongs to a sink of kind {words}")
}

/// Only a file name, so that no sink writes into the journal or outside of the data directory.
fn read_path(reader: &Reader, entry: Entry<'_>, files: &mut BTreeSet<PathBuf>) -> Option<PathBuf> {
    let text = reader.text(entry)?;
    let is_file_name = Path::new(&text).file_name().is_some_and(|name| name == &*text);
    let is_lines = text.ends_with(".ndjson") || text.ends_with(".jsonl");
    if !is_file_name || !is_lines || text.starts_with('.') || text.chars().any(char::is_control) {
        reader.note_at(
            entry,
            "`path` must be a file name that ends in .ndjson or .jsonl: the file is in the data \
             directory",
        );
        return None;
    }
    if !files.insert(PathBuf::from(&text)) {
        reader.note_at(entry, format!("another sink writes to `{text}` already"));
    }
    Some(PathBuf::from(text))
}
