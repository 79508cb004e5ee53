//! Filters of sinks: which signals one gets.

use std::collections::BTreeSet;

use headroom_core::signal::SignalState;
use headroom_expansion::class::Class;
use headroom_expansion::gate::Condition;
use headroom_expansion::route::Gate;

use crate::config::catalog::growth;
use crate::config::problems::Problem;
use crate::config::reader::{Entry, Fields, Reader};

/// Which signals a sink gets: those that pass everything here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Their names. `None`: any.
    pub signals: Option<Vec<String>>,
    /// How the limit stands after them. Empty only of a sink that is to hear of recoveries alone.
    pub states: Vec<SignalState>,
    /// Whether it gets what tells that something is well again, whatever the states.
    pub recovered: bool,
    /// The features they are about. `None`: any.
    pub features: Option<BTreeSet<String>>,
    /// The plans, of whatever version, that were in force for their accounts. `None`: any.
    pub plans: Option<BTreeSet<String>>,
    /// Their classes. `None`: any.
    pub classes: Option<Vec<Class>>,
    /// How the gate stands for them. `None`: in any way.
    pub gates: Option<Vec<Gate>>,
    /// What must hold of their accounts.
    pub facts: Vec<Condition>,
}

#[cfg(test)]
impl Filter {
    /// Every signal.
    pub fn all() -> Filter {
        let (signals, states) = (None, STATES.to_vec());
        let (features, plans, classes, gates) = (None, None, None, None);
        let (facts, recovered) = (Vec::new(), false);
        Filter { signals, states, recovered, features, plans, classes, gates, facts }
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
    /// All signals that can come.
    pub signals: &'a [&'a str],
}

pub(super) fn read(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    known: Known<'_>,
) -> Option<Filter> {
    let (signals, states) = (fields.optional("signals"), fields.optional("states"));
    let (features, plans) = (fields.optional("features"), fields.optional("plans"));
    let (classes, gates) = (fields.optional("classes"), fields.optional("gate"));
    let facts = fields.optional("facts");
    let names: Vec<(&str, &str)> = known.signals.iter().map(|name| (*name, *name)).collect();
    let signals = signals.map_or(Some(None), |entry| {
        let found = words(reader, entry, &names, "signals")?;
        Some(Some(found.into_iter().map(str::to_owned).collect()))
    });
    let mut states_known = STATES.map(|state| (state.as_str(), Some(state))).to_vec();
    states_known.push(("recovered", None));
    let states = states.map_or_else(
        || Some(STATES.map(Some).to_vec()),
        |entry| words(reader, entry, &states_known, "states"),
    );
    let features = features.map(|entry| named(reader, entry, known.features, "feature"));
    let plans = plans.map(|entry| named(reader, entry, known.plans, "plan"));
    let (features, plans) = (features.map_or(Some(None), |found| found.map(Some)), plans);
    let plans = plans.map_or(Some(None), |found| found.map(Some));
    let all = Class::ALL.map(|class| (class.as_str(), class));
    let classes =
        classes.map_or(Some(None), |entry| words(reader, entry, &all, "classes").map(Some));
    let gates =
        gates.map_or(Some(None), |entry| words(reader, entry, Gate::WORDS, "states").map(Some));
    let facts = facts.map_or(Some(Vec::new()), |entry| growth::read_conditions(reader, entry));
    let states = states?;
    Some(Filter {
        signals: signals?,
        recovered: states.contains(&None),
        states: states.into_iter().flatten().collect(),
        features: features?,
        plans: plans?,
        classes: classes?,
        gates: gates?,
        facts: facts?,
    })
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
