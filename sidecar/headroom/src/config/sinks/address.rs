//! Addresses of sinks.

use std::fmt;

use super::secrets::{self, Secrets};
use crate::config::reader::{Entry, Fields, Reader};

/// Longest address.
const URL_BYTES_MAX: usize = 2048;

/// An address that is a secret itself. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(pub http::Uri);

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

/// An address that may be written as `${NAME}` of an environment variable.
pub(super) fn read_secret(
    reader: &Reader,
    url: Option<Entry<'_>>,
    fields: &mut Fields<'_, '_>,
    secrets: &dyn Secrets,
) -> Option<(SecretUrl, bool)> {
    let is_reference = url.and_then(|entry| entry.scalar()).is_some_and(|t| t.starts_with("${"));
    let text = url.and_then(|entry| Some((entry, secrets::text(reader, entry, secrets)?)));
    let text = text.map(|(entry, text)| match is_reference && !secrets.are_real() {
        true => (entry, "https://stand-in.invalid/".to_owned()),
        false => (entry, text),
    });
    let (url, allow_private) = checked(reader, text, fields)?;
    Some((SecretUrl(url), allow_private))
}

/// An address, and whether it may be on this machine or in a private network.
pub(super) fn read(
    reader: &Reader,
    url: Option<Entry<'_>>,
    fields: &mut Fields<'_, '_>,
) -> Option<(http::Uri, bool)> {
    checked(reader, url.and_then(|entry| Some((entry, reader.text(entry)?))), fields)
}

fn checked(
    reader: &Reader,
    url: Option<(Entry<'_>, String)>,
    fields: &mut Fields<'_, '_>,
) -> Option<(http::Uri, bool)> {
    let allow_private = allow_private(reader, fields);
    let url = url.and_then(|(entry, text)| {
        let url = parse(reader, entry, &text)?;
        // What a name leads to is looked at when a delivery connects.
        if allow_private == Some(false) && is_private(url.host().unwrap_or_default()) {
            reader.note_at(entry, PRIVATE_URL);
        }
        Some(url)
    });
    Some((url?, allow_private?))
}

/// Whether the address may be private.
pub(super) fn allow_private(reader: &Reader, fields: &mut Fields<'_, '_>) -> Option<bool> {
    fields.optional("allow_private").map_or(Some(false), |entry| reader.switch(entry))
}

/// An address without its place.
pub(super) fn parse(reader: &Reader, entry: Entry<'_>, text: &str) -> Option<http::Uri> {
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
            refuse("user and password do not belong into the address: there they get into logs")
        }
        Some(authority) if !authority.host().is_empty() => Some(url),
        _ => refuse("the address has no host"),
    }
}

pub(super) const PRIVATE_URL: &str = "the address is on this machine or in a private network; if that is \
                           meant, add `allow_private: on`";

/// Whether a host is private without asking a name service.
pub(super) fn is_private(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || host.parse().is_ok_and(|address| !crate::sinks::is_public(address))
}
