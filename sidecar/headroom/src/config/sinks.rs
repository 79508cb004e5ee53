//! The sinks of a catalog: where signals go.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use headroom_core::signal::SignalName;

use super::problems::Problem;
use super::reader::{Entry, Fields, Reader};

/// Sinks of one catalog. Each costs a task and a place in the outbox of every signal; more are
/// refused.
const SINKS_MAX: usize = 32;

/// Secrets of one sink. Two are enough to change one without losing a delivery; each is a signature
/// in the header of every delivery, so more are refused.
const SECRETS_MAX: usize = 4;

/// Bytes of a secret, as Standard Webhooks has it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Longest address of a webhook.
const URL_BYTES_MAX: usize = 2048;

/// A place that signals go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSpec {
    /// Its name, unique in the catalog.
    pub sink: String,
    /// The signals it gets; never empty.
    pub signals: Vec<SignalName>,
    /// What sort of place it is.
    pub kind: SinkKind,
}

/// What sort of place a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// An HTTP endpoint that gets signed deliveries by the rules of Standard Webhooks.
    StandardWebhook {
        /// Where: http or https, with a host, without user, password or fragment.
        url: http::Uri,
        /// Each delivery is signed with every one; never empty.
        secrets: Vec<WebhookSecret>,
        /// Whether it may be on this machine or in a private network.
        allow_private: bool,
    },
    /// A file with one JSON object per line.
    Ndjson {
        /// A file name without directories; the file is in the data directory.
        file: PathBuf,
    },
}

/// A key that deliveries are signed with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret {
    // Invariant: 24 to 64 bytes.
    key: Vec<u8>,
}

impl WebhookSecret {
    /// The secret of a `whsec_…` text. The error never repeats the text.
    pub fn parse(text: &str) -> Result<WebhookSecret, String> {
        let (min, max) = (SECRET_BYTES.start(), SECRET_BYTES.end());
        let Some(encoded) = text.strip_prefix("whsec_") else {
            return Err(format!(
                "a secret is `whsec_` and {min} to {max} bytes in base64 (make one with `echo \
                 whsec_$(openssl rand -base64 32)`), or `${{NAME}}` of an environment variable that \
                 holds it"
            ));
        };
        let key = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|_| "what follows `whsec_` in the secret is not base64".to_owned())?;
        if !SECRET_BYTES.contains(&key.len()) {
            let bytes = key.len();
            return Err(format!("the secret has {bytes} bytes, it must have {min} to {max}"));
        }
        Ok(WebhookSecret { key })
    }

    /// The bytes to sign with.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// Where secrets come from, when they are not in the catalog itself.
pub trait Secrets {
    /// The value of an environment variable.
    fn env(&self, name: &str) -> Result<String, String>;

    /// The text of a file; a relative path is relative to the catalog.
    fn file(&self, path: &Path) -> Result<String, String>;
}

/// The environment of this process and the files next to the catalog.
#[derive(Debug, Clone)]
pub struct RealSecrets {
    /// The directory of the catalog.
    pub base: PathBuf,
}

impl Secrets for RealSecrets {
    fn env(&self, name: &str) -> Result<String, String> {
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => {
                format!("the environment variable `{name}` is not set")
            }
            std::env::VarError::NotUnicode(_) => {
                format!("the environment variable `{name}` is not UTF-8")
            }
        })
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        let path = self.base.join(path);
        std::fs::read_to_string(&path)
            .map_err(|error| format!("the secret file {} cannot be read: {error}", path.display()))
    }
}

/// For checks where secrets are not at hand, as in CI: every reference stands for a good one.
#[derive(Debug, Clone, Copy)]
pub struct NoSecrets;

/// A secret of 24 zero bytes.
const STAND_IN: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Secrets for NoSecrets {
    fn env(&self, _: &str) -> Result<String, String> {
        Ok(STAND_IN.to_owned())
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Ok(STAND_IN.to_owned())
    }
}

/// Reads the list under `sinks`.
pub(super) fn read(reader: &Reader, entry: Entry<'_>, secrets: &dyn Secrets) -> Vec<SinkSpec> {
    let Some(items) = reader.list(entry, "a list of sinks") else { return vec![] };
    if items.len() > SINKS_MAX {
        let count = items.len();
        reader.note(Problem::at(
            entry.owner,
            format!("{count} sinks, at most {SINKS_MAX} are possible"),
        ));
    }
    let mut names = BTreeSet::new();
    let mut files = BTreeSet::new();
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
        let sink = read_sink(reader, &mut fields, item, secrets, &mut files);
        fields.end();
        if let Some((kind, signals)) = sink
            && let Some(sink) = name.and_then(|entry| entry.scalar())
        {
            sinks.push(SinkSpec { sink: sink.to_owned(), signals, kind });
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

#[derive(Clone, Copy)]
enum KindWord {
    StandardWebhook,
    Ndjson,
}

fn read_sink<'n>(
    reader: &Reader,
    fields: &mut Fields<'_, 'n>,
    item: Entry<'n>,
    secrets: &dyn Secrets,
    files: &mut BTreeSet<PathBuf>,
) -> Option<(SinkKind, Vec<SignalName>)> {
    let words = [("standard_webhook", KindWord::StandardWebhook), ("ndjson", KindWord::Ndjson)];
    let kind = fields.required("kind").and_then(|entry| reader.word(entry, &words));
    let signals = fields
        .optional("signals")
        .map_or_else(|| Some(SignalName::ALL.to_vec()), |entry| read_signals(reader, entry));
    let webhook_keys = ["url", "secret", "secrets", "secret_file", "allow_private"];
    let kind = match kind {
        Some(KindWord::StandardWebhook) => {
            fields.misplaced("path", "`path` belongs to a sink of kind `ndjson`");
            let allow_private = fields.optional("allow_private");
            let allow_private = allow_private.map_or(Some(false), |entry| reader.switch(entry));
            let url = fields.required("url").and_then(|entry| {
                let url = read_url(reader, entry)?;
                // What a name leads to is looked at when a delivery connects.
                if allow_private == Some(false) && is_private(url.host().unwrap_or_default()) {
                    reader.note_at(entry, PRIVATE_URL);
                }
                Some(url)
            });
            let secrets = read_secrets(reader, fields, item, secrets);
            let (url, secrets, allow_private) = (url?, secrets?, allow_private?);
            Some(SinkKind::StandardWebhook { url, secrets, allow_private })
        }
        Some(KindWord::Ndjson) => {
            for key in webhook_keys {
                fields.misplaced(
                    key,
                    &format!("`{key}` belongs to a sink of kind `standard_webhook`"),
                );
            }
            let file = fields.required("path").and_then(|entry| read_path(reader, entry, files));
            Some(SinkKind::Ndjson { file: file? })
        }
        None => {
            // Whatever it is, its keys are no mistakes.
            fields.optional("path");
            for key in webhook_keys {
                fields.optional(key);
            }
            None
        }
    };
    Some((kind?, signals?))
}

fn read_signals(reader: &Reader, entry: Entry<'_>) -> Option<Vec<SignalName>> {
    let words = SignalName::ALL.map(|name| (name.as_str(), name));
    let before = reader.count();
    let items = reader.list(entry, "a list of signals")?;
    let mut signals: Vec<SignalName> = items.filter_map(|item| reader.word(item, &words)).collect();
    if signals.is_empty() && reader.count() == before {
        reader.note_at(entry, "a sink without signals gets nothing: leave `signals` out for all");
        return None;
    }
    signals.sort_unstable();
    signals.dedup();
    Some(signals)
}

fn read_url(reader: &Reader, entry: Entry<'_>) -> Option<http::Uri> {
    let text = reader.text(entry)?;
    let refuse = |why: &str| {
        reader.note_at(entry, why);
        None
    };
    if text.len() > URL_BYTES_MAX {
        return refuse(&format!("the address is longer than {URL_BYTES_MAX} bytes"));
    }
    if text.contains('#') {
        return refuse("the address has a fragment (`#…`), which is never sent");
    }
    if !text.starts_with("https://") && !text.starts_with("http://") {
        return refuse("an address begins with https:// or http://");
    }
    let url: http::Uri = match text.parse() {
        Ok(url) => url,
        Err(error) => return refuse(&format!("this is no address: {error}")),
    };
    match url.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            refuse("user and password do not belong into the address: deliveries are signed")
        }
        Some(authority) if !authority.host().is_empty() => Some(url),
        _ => refuse("the address has no host"),
    }
}

const PRIVATE_URL: &str = "the address is on this machine or in a private network; if that is \
                           meant, add `allow_private: on`";

/// Whether a host is private without asking a name service.
fn is_private(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || host.parse().is_ok_and(|address| !crate::sinks::is_public(address))
}

fn read_secrets(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    item: Entry<'_>,
    secrets: &dyn Secrets,
) -> Option<Vec<WebhookSecret>> {
    let one = fields.optional("secret");
    let many = fields.optional("secrets");
    let file = fields.optional("secret_file");
    let given = [one, many, file].into_iter().flatten().count();
    if given != 1 {
        let how =
            if given == 0 { "no secret to sign with" } else { "more than one way to a secret" };
        reader.note(Problem::at(
            item.place(),
            format!("{how}: give one of `secret`, `secrets` and `secret_file`"),
        ));
        return None;
    }
    if let Some(entry) = one {
        return Some(vec![read_secret(reader, entry, secrets)?]);
    }
    if let Some(entry) = file {
        let Some(path) = entry.scalar() else {
            reader.note_at(entry, "`secret_file` must be the path of a file");
            return None;
        };
        let text = secrets.file(Path::new(path));
        let secret = text.and_then(|text| WebhookSecret::parse(text.trim()));
        return secret.map_err(|problem| reader.note_at(entry, problem)).ok().map(|s| vec![s]);
    }
    let entry = many?;
    let items = reader.list(entry, "a list of secrets")?;
    if !(1..=SECRETS_MAX).contains(&items.len()) {
        let count = items.len();
        reader.note_at(entry, format!("{count} secrets, it must be 1 to {SECRETS_MAX}"));
        return None;
    }
    let read: Vec<_> = items.map(|item| read_secret(reader, item, secrets)).collect();
    read.into_iter().collect()
}

/// Messages never repeat what was written: it may be a secret.
fn read_secret(reader: &Reader, entry: Entry<'_>, secrets: &dyn Secrets) -> Option<WebhookSecret> {
    let Some(text) = entry.scalar() else {
        reader.note_at(entry, format!("`{}` must be a text", entry.name));
        return None;
    };
    let variable = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let secret = match variable {
        Some(name) => secrets.env(name).and_then(|text| {
            let secret = WebhookSecret::parse(text.trim());
            secret.map_err(|problem| format!("in the environment variable `{name}`: {problem}"))
        }),
        None => WebhookSecret::parse(text),
    };
    secret.map_err(|problem| reader.note_at(entry, problem)).ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::catalog;

    struct Fake;

    impl Secrets for Fake {
        fn env(&self, name: &str) -> Result<String, String> {
            match name {
                "GOOD" => Ok(format!("whsec_{}\n", "QUJD".repeat(8))),
                "BAD" => Ok("hunter2".into()),
                _ => Err(format!("the environment variable `{name}` is not set")),
            }
        }

        fn file(&self, path: &Path) -> Result<String, String> {
            match path.to_str() {
                Some("good.txt") => Ok(format!("whsec_{}\n", "QUJD".repeat(8))),
                _ => Err("no such file".into()),
            }
        }
    }

    fn read(sinks: &str) -> Result<Vec<SinkSpec>, String> {
        let text = format!(
            "features: {{f: {{name: F, kind: switch}}}}\nplans: {{p: {{name: P, entitlements: {{f: \
             on}}}}}}\nsinks:\n{sinks}"
        );
        match catalog::parse("c", text.as_bytes(), &Fake) {
            Ok(parsed) => Ok(parsed.sinks),
            Err(problems) => Err(problems.to_string()),
        }
    }

    #[track_caller]
    fn check(sink: &str, expected: &str) {
        let report = read(&format!("  - {{sink: s, {sink}}}\n")).unwrap_err();
        assert!(report.contains(expected), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }

    #[test]
    fn good_sinks_are_read() {
        let sinks = read(
            "
  - {sink: a, kind: standard_webhook, url: 'https://x.test/hook?a=1', secret: '${GOOD}'}
  - {sink: b, kind: standard_webhook, url: 'http://[::1]:80/', secret_file: good.txt, allow_private: on}
  - sink: c
    kind: standard_webhook
    url: https://x.test
    secrets: ['${GOOD}', whsec_QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJD]
  - {sink: d, kind: ndjson, path: signals.ndjson, signals: [usage_ceiling, usage_ceiling]}
",
        )
        .unwrap();
        let good = WebhookSecret { key: b"ABC".repeat(8) };
        let secrets = |sink: &SinkSpec| match &sink.kind {
            SinkKind::StandardWebhook { secrets, .. } => secrets.clone(),
            SinkKind::Ndjson { .. } => vec![],
        };
        assert_eq!(secrets(&sinks[0]), std::slice::from_ref(&good));
        assert_eq!(secrets(&sinks[1]), std::slice::from_ref(&good));
        assert_eq!(secrets(&sinks[2]), [good.clone(), good.clone()]);
        assert_eq!(sinks[0].signals, SignalName::ALL);
        assert_eq!(sinks[3].signals, [SignalName::UsageCeiling]);
        assert_eq!(sinks[3].kind, SinkKind::Ndjson { file: "signals.ndjson".into() });
        assert_eq!(format!("{good:?}"), "WebhookSecret(…)");
    }

    #[test]
    fn secrets_are_checked_and_never_shown() {
        let hook = "kind: standard_webhook, url: 'https://x.test'";
        check(hook, "no secret to sign with");
        check(&format!("{hook}, secret: hunter2"), "a secret is `whsec_` and 24 to 64 bytes");
        check(&format!("{hook}, secret: whsec_hunter2"), "is not base64");
        check(&format!("{hook}, secret: whsec_QUJD"), "the secret has 3 bytes");
        check(&format!("{hook}, secret: '${{NOPE}}'"), "variable `NOPE` is not set");
        check(&format!("{hook}, secret: '${{BAD}}'"), "in the environment variable `BAD`");
        check(&format!("{hook}, secret: [hunter2]"), "`secret` must be a text");
        check(&format!("{hook}, secret_file: none.txt"), "no such file");
        check(&format!("{hook}, secrets: []"), "0 secrets, it must be 1 to 4");
        check(&format!("{hook}, secret: a, secret_file: b"), "more than one way to a secret");
    }

    #[test]
    fn a_private_address_must_be_meant() {
        let hook = |url: &str, more: &str| {
            format!("kind: standard_webhook, secret: '${{GOOD}}', url: '{url}'{more}")
        };
        let private = [
            "http://127.0.0.1:80/",
            "http://localhost/",
            "https://LOCALHOST.:1/",
            "http://[::1]/",
            "http://a.localhost",
            "https://10.1.2.3/hook",
            "http://169.254.169.254/latest",
        ];
        for url in private {
            check(&hook(url, ""), "add `allow_private: on`");
            check(&hook(url, ", allow_private: off"), "add `allow_private: on`");
            read(&format!("  - {{sink: s, {}}}\n", hook(url, ", allow_private: on"))).unwrap();
        }
        for url in ["https://x.test/", "https://1.1.1.1/", "http://[2606:4700::1111]/"] {
            read(&format!("  - {{sink: s, {}}}\n", hook(url, ""))).unwrap();
        }
        check(&hook("https://x.test", ", allow_private: yes"), "must be `on` or `off`");
        check("kind: ndjson, path: a.ndjson, allow_private: on", "`allow_private` belongs to");
    }

    #[test]
    fn addresses_paths_and_filters_are_checked() {
        let hook = |url: &str| format!("kind: standard_webhook, secret: '${{GOOD}}', url: '{url}'");
        check(&hook("ftp://x.test"), "begins with https://");
        check(&hook("x.test/hook"), "begins with https://");
        check(&hook("https://me:hunter@x.test"), "deliveries are signed");
        check(&hook("https://x.test/#a"), "fragment");
        check(&hook("https://x test"), "this is no address");
        for path in ["../a.ndjson", "/tmp/a.ndjson", "a/b.ndjson", "journal.bin", ".ndjson", ""] {
            check(&format!("kind: ndjson, path: '{path}'"), "`path` must be a file name");
        }
        check("kind: ndjson, path: a.ndjson, url: x", "`url` belongs to a sink of kind");
        check("kind: ndjson, path: a.ndjson, signals: []", "a sink without signals gets nothing");
        check(
            "kind: ndjson, path: a.ndjson, signals: [usage_celing]",
            "did you mean `usage_ceiling`?",
        );
        check("kind: nd_json, path: a.ndjson", "did you mean `ndjson`?");
        let twice = "  - {sink: s, kind: ndjson, path: a.ndjson}\n".repeat(2);
        let report = read(&twice).unwrap_err();
        assert!(report.contains("sink `s` is defined twice"), "{report}");
        assert!(report.contains("another sink writes to `a.ndjson` already"), "{report}");
    }
}
