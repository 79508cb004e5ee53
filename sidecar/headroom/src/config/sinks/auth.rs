//! How a sink tells an endpoint who it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::secrets::{self, Secrets};
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
    let ways = [
        (fields.optional("bearer"), Way::Bearer),
        (fields.optional("basic"), Way::Basic),
        (fields.optional("header"), Way::Header),
    ];
    fields.end();
    let mut given = ways.into_iter().filter_map(|(entry, way)| Some((entry?, way)));
    let (Some((one, way)), None) = (given.next(), given.next()) else {
        reader.note_at(entry, format!("`auth` must be {WHAT}"));
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
