//! How a sink tells an endpoint who it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::address;
use super::secrets::{self, SecretText, Secrets};
use crate::config::reader::{Entry, Fields, Reader};
use crate::config::yaml::Value;

/// A header that goes with every request. Never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name.
    pub name: HeaderName,
    /// Its value, marked as sensitive.
    pub value: HeaderValue,
}

impl Credential {
    /// User and password, as HTTP has it.
    pub fn basic(user: &str, password: &str) -> Credential {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        Credential::new(AUTHORIZATION, &format!("Basic {encoded}")).expect("base64 is ASCII")
    }

    fn new(name: HeaderName, value: &str) -> Option<Credential> {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        Some(Credential { name, value })
    }
}

/// How requests of a sink of kind `http` say who is sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// By the same header always.
    Fixed(Credential),
    /// By a token.
    OAuth2(OAuth2),
}

/// Where tokens come from, and what is shown for one: OAuth 2 client credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// Where.
    pub token_url: Uri,
    /// Who is asking.
    pub client_id: String,
    /// What proves it.
    pub client_secret: SecretText,
    /// What is asked for.
    pub scope: Option<String>,
}

#[derive(Clone, Copy)]
enum Way {
    Bearer,
    Basic,
    Header,
}

/// What stands under `auth`: one way of several.
pub(super) fn read(reader: &Reader, entry: Entry<'_>, secrets: &dyn Secrets) -> Option<Credential> {
    const WHAT: &str = "a mapping with one of `bearer`, `basic` and `header`";
    let mut fields = mapping(reader, entry, WHAT)?;
    fields.misplaced("oauth2", "`oauth2` belongs to a sink of kind `http`");
    read_fixed(reader, entry, fields, secrets, WHAT)
}

/// The same, with tokens.
pub(super) fn read_http(
    reader: &Reader,
    entry: Entry<'_>,
    secrets: &dyn Secrets,
) -> Option<HttpAuth> {
    const WHAT: &str = "a mapping with one of `bearer`, `basic`, `header` and `oauth2`";
    let mut fields = mapping(reader, entry, WHAT)?;
    let Some(oauth) = fields.optional("oauth2") else {
        return read_fixed(reader, entry, fields, secrets, WHAT).map(HttpAuth::Fixed);
    };
    for other in ["bearer", "basic", "header"] {
        fields.misplaced(other, &format!("`auth` must be {WHAT}"));
    }
    fields.end();
    let mut fields = mapping(reader, oauth, "a mapping with `token_url`, `client_id` and more")?;
    let token_url = fields.required("token_url");
    let (client_id, client_secret) =
        (fields.required("client_id"), fields.required("client_secret"));
    let scope = fields.optional("scope");
    fields.end();
    let token_url = token_url.and_then(|entry| address::parse(reader, entry, &reader.text(entry)?));
    let client_id = client_id.and_then(|entry| secrets::text(reader, entry, secrets));
    let client_secret = client_secret.and_then(|entry| secrets::text(reader, entry, secrets));
    let scope = scope.map_or(Some(None), |entry| reader.text(entry).map(Some));
    let client_secret = SecretText(client_secret?);
    let (token_url, client_id) = (token_url?, client_id?);
    Some(HttpAuth::OAuth2(OAuth2 { token_url, client_id, client_secret, scope: scope? }))
}

fn read_fixed(
    reader: &Reader,
    entry: Entry<'_>,
    mut fields: Fields<'_, '_>,
    secrets: &dyn Secrets,
    what: &str,
) -> Option<Credential> {
    let ways = [
        (fields.optional("bearer"), Way::Bearer),
        (fields.optional("basic"), Way::Basic),
        (fields.optional("header"), Way::Header),
    ];
    fields.end();
    let mut given = ways.into_iter().filter_map(|(entry, way)| Some((entry?, way)));
    let (Some((one, way)), None) = (given.next(), given.next()) else {
        reader.note_at(entry, format!("`auth` must be {what}"));
        return None;
    };
    match way {
        Way::Bearer => {
            let token = secrets::text(reader, one, secrets)?;
            valued(reader, one, AUTHORIZATION, &format!("Bearer {token}"))
        }
        Way::Basic => {
            let mut fields = mapping(reader, one, "a mapping with `user` and `password`")?;
            let (user, password) = (fields.required("user"), fields.required("password"));
            fields.end();
            let user = secrets::text(reader, user?, secrets);
            let password = secrets::text(reader, password?, secrets);
            Some(Credential::basic(&user?, &password?))
        }
        Way::Header => {
            let mut fields = mapping(reader, one, "a mapping with `name` and `value`")?;
            let (name, value) = (fields.required("name"), fields.required("value"));
            fields.end();
            let name = name.and_then(|entry| header_name(reader, entry));
            let value_entry = value?;
            let value = secrets::text(reader, value_entry, secrets);
            valued(reader, value_entry, name?, &value?)
        }
    }
}

/// A mapping. What stands there instead is not repeated: it may be a secret.
fn mapping<'r, 'n>(reader: &'r Reader, entry: Entry<'n>, what: &str) -> Option<Fields<'r, 'n>> {
    if matches!(entry.node.value, Value::Map(_)) {
        return reader.fields(entry, what);
    }
    reader.note_at(entry, format!("`{}` must be {what}", entry.name));
    None
}

fn header_name(reader: &Reader, entry: Entry<'_>) -> Option<HeaderName> {
    let text = reader.text(entry)?;
    let name = HeaderName::from_bytes(text.as_bytes());
    name.map_err(|_| reader.note_at(entry, format!("`{text}` is no name of a header"))).ok()
}

fn valued(reader: &Reader, entry: Entry<'_>, name: HeaderName, value: &str) -> Option<Credential> {
    let credential = Credential::new(name, value);
    if credential.is_none() {
        reader.note_at(entry, "the value has characters that no header can have");
    }
    credential
}
