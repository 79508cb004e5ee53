//! Filters of sinks: which signals one gets.

use std::collections::BTreeSet;

use headroom_core::signal::{SignalName, SignalState};

use crate::config::problems::Problem;
use crate::config::reader::{Entry, Fields, Reader};

/// Which signals a sink gets: those that pass everything here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Their names; never empty.
    pub signals: Vec<SignalName>,
    /// How the limit stands after them; never empty.
    pub states: Vec<SignalState>,
    /// The features they are about. `None`: any.
    pub features: Option<BTreeSet<String>>,
    /// The plans, of whatever version, that were in force for their accounts. `None`: any.
    pub plans: Option<BTreeSet<String>>,
}

#[cfg(test)]
impl Filter {
    /// Every signal.
    pub fn all() -> Filter {
        let (signals, states) = (SignalName::ALL.to_vec(), STATES.to_vec());
        Filter { signals, states, features: None, plans: None }
    }
}

const STATES: [SignalState; 3] = [SignalState::Ok, SignalState::Warning, SignalState::Alarm];

/// Names of the catalog that a filter may use. `None`: they could not be read.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its features.
    pub features: Option<&'a [&'a str]>,
    /// Its plans.
    pub plans: Option<&'a [&'a str]>,
}

pub(super) fn read(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    known: Known<'_>,
) -> Option<Filter> {
    let (signals, states) = (fields.optional("signals"), fields.optional("states"));
    let (features, plans) = (fields.optional("features"), fields.optional("plans"));
    let names = SignalName::ALL.map(|name| (name.as_str(), name));
    let signals = signals.map_or_else(
        || Some(SignalName::ALL.to_vec()),
        |entry| words(reader, entry, &names, "signals"),
    );
    let states_known = STATES.map(|state| (state.as_str(), state));
    let states = states.map_or_else(
        || Some(STATES.to_vec()),
        |entry| words(reader, entry, &states_known, "states"),
    );
    let features = features.map(|entry| named(reader, entry, known.features, "feature"));
    let plans = plans.map(|entry| named(reader, entry, known.plans, "plan"));
    let (features, plans) = (features.map_or(Some(None), |found| found.map(Some)), plans);
    let plans = plans.map_or(Some(None), |found| found.map(Some));
    Some(Filter { signals: signals?, states: states?, features: features?, plans: plans? })
}

fn words<T: Copy + Ord>(
    reader: &Reader,
    entry: Entry<'_>,
    known: &[(&str, T)],
    what: &str,
) -> Option<Vec<T>> {
    let before = reader.count();
    let items = reader.list(entry, &format!("a list of {what}"))?;
    let mut found: Vec<T> = items.filter_map(|item| reader.word(item, known)).collect();
    if found.is_empty() && reader.count() == before {
        none(reader, entry, what);
        return None;
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// Names of things that the catalog has.
fn named(
    reader: &Reader,
    entry: Entry<'_>,
    known: Option<&[&str]>,
    what: &str,
) -> Option<BTreeSet<String>> {
    let items = reader.list(entry, &format!("a list of {what}s"))?;
    if items.len() == 0 {
        none(reader, entry, &format!("{what}s"));
        return None;
    }
    let mut found = BTreeSet::new();
    for item in items {
        let text = reader.text(item)?;
        if let Some(known) = known
            && !known.contains(&text.as_str())
        {
            let message = format!("the catalog has no {what} `{text}`");
            reader.note(Problem::at(item.place(), message).suggest(&text, known.iter().copied()));
        }
        found.insert(text);
    }
    Some(found)
}

fn none(reader: &Reader, entry: Entry<'_>, what: &str) {
    reader
        .note_at(entry, format!("a sink without {what} gets nothing: leave `{what}` out for all"));
}
