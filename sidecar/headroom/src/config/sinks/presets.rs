//! Presets: sinks of kind `http` that are shipped, with holes for what differs from one customer
//! to the next.
//!
//! A hole `$(name)` stands in a text of the preset's tree, so that nothing that is put there can
//! change the tree; what it is put into is read and checked as if the operator had written it.

use super::http::{self, HttpSpec};
use super::{Around, KindWord};
use crate::config::problems::Place;
use crate::config::reader::{Entry, Fields, Reader};
use crate::config::yaml::{self, Key, Node, Value};

/// A hole: its key in the catalog, and what fills it when the catalog does not. `None`: it must.
type Hole = (&'static str, Option<&'static str>);

/// The text and the holes of a preset. `None`: the kind is none.
pub(super) fn of(kind: KindWord) -> Option<(&'static str, &'static [Hole])> {
    match kind {
        KindWord::HubSpot => Some((
            include_str!("presets/hubspot.yaml"),
            &[
                ("token", None),
                ("event_name", None),
                ("object_id", Some("{{ facts.hubspot_object_id | default(account) }}")),
            ],
        )),
        KindWord::Salesforce => Some((
            include_str!("presets/salesforce.yaml"),
            &[
                ("instance_url", None),
                ("client_id", None),
                ("client_secret", None),
                ("object", Some("Headroom_Signal__e")),
            ],
        )),
        KindWord::CustomerIo => Some((
            include_str!("presets/customerio.yaml"),
            &[
                ("site_id", None),
                ("api_key", None),
                ("customer_id", Some("{{ account }}")),
                ("url", Some("https://track.customer.io")),
            ],
        )),
        KindWord::PostHog => Some((
            include_str!("presets/posthog.yaml"),
            &[
                ("api_key", None),
                ("group_type", Some("company")),
                ("distinct_id", Some("{{ account }}")),
                ("url", Some("https://us.i.posthog.com")),
            ],
        )),
        KindWord::StandardWebhook
        | KindWord::CloudEvents
        | KindWord::Segment
        | KindWord::Slack
        | KindWord::Http
        | KindWord::RedisStreams
        | KindWord::Ndjson => None,
    }
}

/// A filled hole and where its filling stands.
struct Filled {
    hole: String,
    text: String,
    place: Place,
}

/// Reads the holes' fillings, and then what comes of them.
pub(super) fn read(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    item: Entry<'_>,
    around: &Around<'_>,
    (text, holes): (&str, &[Hole]),
) -> Option<HttpSpec> {
    let before = reader.count();
    let mut filled = Vec::new();
    for (name, default) in holes {
        let entry = match default {
            Some(_) => fields.optional(name),
            None => fields.required(name),
        };
        let given = match entry {
            Some(entry) => filling(reader, entry).map(|text| (text, entry.place())),
            None => default.map(|text| (text.to_owned(), item.place())),
        };
        if let Some((text, place)) = given {
            filled.push(Filled { hole: format!("$({name})"), text, place });
        }
    }
    let allow_private = super::address::allow_private(reader, fields)?;
    if filled.len() < holes.len() || reader.count() > before {
        return None;
    }
    let mut tree = yaml::parse(text, &mut Vec::new()).expect("a preset is YAML");
    fill(&mut tree, &filled, item.place());
    let entry = Entry { name: "the preset", owner: item.place(), node: &tree };
    let mut fields = reader.fields(entry, "a mapping").expect("a preset is a mapping");
    let spec = http::read(reader, &mut fields, entry, around, Some(allow_private));
    fields.end();
    spec
}

fn filling(reader: &Reader, entry: Entry<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    let text = text.trim().trim_end_matches('/').to_owned();
    if text.is_empty() || text.chars().any(char::is_control) {
        reader.note_at(entry, format!("`{}` must be a text in one line", entry.name));
        return None;
    }
    Some(text)
}

/// Fills the holes. Everything stands where its filling does, or else where the sink does.
fn fill(node: &mut Node, filled: &[Filled], place: Place) {
    node.place = place;
    match &mut node.value {
        Value::Nothing => {}
        Value::Plain(text) | Value::Quoted(text) => {
            for one in filled {
                if text.contains(&one.hole) {
                    *text = text.replace(&one.hole, &one.text);
                    node.place = one.place;
                }
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| fill(item, filled, place)),
        Value::Map(entries) => {
            for (Key { text, place: at }, item) in entries {
                *at = place;
                for one in filled {
                    *text = text.replace(&one.hole, &one.text);
                }
                fill(item, filled, place);
            }
        }
    }
}
