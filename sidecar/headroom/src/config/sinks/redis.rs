//! Sinks of kind `redis_streams`.

use super::address;
use super::secrets::{self, SecretText, Secrets};
use crate::config::reader::{Entry, Fields, Reader};

/// Longest name of a stream.
const STREAM_BYTES_MAX: usize = 512;

/// Highest number of a database.
const DATABASE_MAX: i64 = 1_023;

/// A stream, and how to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSpec {
    /// The host: a name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it is spoken to through TLS.
    pub tls: bool,
    /// The database's number.
    pub database: i64,
    /// Whether it may be on this machine or in a private network.
    pub allow_private: bool,
    /// Who is asking. `None`: the default user.
    pub username: Option<String>,
    /// What proves it.
    pub password: Option<SecretText>,
    /// The stream's key.
    pub stream: String,
    /// About how many entries are kept. `None`: all.
    pub entries_max: Option<u64>,
}

pub(super) fn read(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    secrets: &dyn Secrets,
) -> Option<RedisSpec> {
    let url = fields.required("url");
    let stream = fields.required("stream").and_then(|entry| read_stream(reader, entry));
    let entries_max = fields.optional("entries_max");
    let entries_max = entries_max
        .map_or(Some(None), |entry| reader.whole_number(entry, 1..=1_000_000_000).map(Some));
    let text = |entry| secrets::text(reader, entry, secrets).map(Some);
    let username = fields.optional("username").map_or(Some(None), text);
    let password = fields.optional("password").map_or(Some(None), text);
    let allow_private = address::allow_private(reader, fields);
    let url = url.and_then(|entry| read_url(reader, entry, allow_private));
    let (host, port, tls, database) = url?;
    Some(RedisSpec {
        host,
        port,
        tls,
        database,
        allow_private: allow_private?,
        username: username?,
        password: password?.map(SecretText),
        stream: stream?,
        entries_max: entries_max?,
    })
}

/// Host, port, whether through TLS, and the database.
fn read_url(
    reader: &Reader,
    entry: Entry<'_>,
    allow_private: Option<bool>,
) -> Option<(String, u16, bool, i64)> {
    const FORM: &str = "an address is `redis://HOST:PORT/DATABASE`, or `rediss://…` through TLS";
    let refuse = |why: &str| {
        reader.note_at(entry, why);
        None
    };
    let text = reader.text(entry)?;
    let tls = match text.split_once("://") {
        Some(("redis", _)) => false,
        Some(("rediss", _)) => true,
        _ => return refuse(FORM),
    };
    let Ok(url) = text.parse::<http::Uri>() else { return refuse(FORM) };
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return refuse(
            "user and password do not belong into the address: use `username` and `password`",
        );
    }
    let host = url.host().filter(|host| !host.is_empty());
    let Some(host) = host.filter(|_| url.query().is_none()) else { return refuse(FORM) };
    if allow_private == Some(false) && address::is_private(host) {
        reader.note_at(entry, address::PRIVATE_URL);
    }
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => match number.parse() {
            Ok(number) if (0..=DATABASE_MAX).contains(&number) => number,
            _ => return refuse("after the host stands the number of the database"),
        },
    };
    Some((host.to_owned(), url.port_u16().unwrap_or(6379), tls, database))
}

fn read_stream(reader: &Reader, entry: Entry<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    if text.is_empty() || text.len() > STREAM_BYTES_MAX || text.chars().any(char::is_control) {
        reader.note_at(entry, format!("a stream's name has 1 to {STREAM_BYTES_MAX} bytes"));
        return None;
    }
    Some(text)
}
