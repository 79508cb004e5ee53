//! `expansion` and `plays`: when an account is ready, how it scores, and who does what.
//!
//! What is not said is as by default, down to the single condition, part and play: only a list that
//! stands there replaces the whole default list.

use headroom_core::signal::SignalName;
use headroom_expansion::benchmark::{ACCOUNTS_LEAST, BenchmarkTerms};
use headroom_expansion::check;
use headroom_expansion::class::{Class, OVERDUE};
use headroom_expansion::facts::Value as Fact;
use headroom_expansion::gate::{Condition, Test};
use headroom_expansion::opportunity::Deadlines;
use headroom_expansion::route::{Gate, Kind, Motion, Play};
use headroom_expansion::rule::{Names, Rule};
use headroom_expansion::score::{Band, Card, PartTerms};
use headroom_expansion::terms::{Segment, Terms};
use headroom_expansion::watch::Watch;

use super::places::Finder;
use crate::config::problems::{Place, Problem, Problems};
use crate::config::reader::{Entry, Reader};
use crate::config::sinks::NoSecrets;
use crate::config::yaml::{self, Node, Value};

/// Longest name of a fact, as of those that are put.
const FACT_BYTES_MAX: usize = 64;
/// Longest name of a signal from outside.
const SIGNAL_BYTES_MAX: usize = 64;
/// Most points that one part of a score gives.
const POINTS_MAX: u64 = 1_000;

/// Reads the rules of growth of a file: a whole catalog, or one of nothing but `expansion` and `plays`, whose
/// rules may name the features in `features`.
pub fn parse_rules(file: &str, bytes: &[u8], features: &[&str]) -> Result<Terms, Problems> {
    let source = yaml::decode(bytes).map_err(|problem| Problems::new(file, "", vec![problem]))?;
    let mut syntax = Vec::new();
    let root = yaml::parse(source, &mut syntax);
    let has = |root: &Node, key| root.get(key).is_some();
    let Some(root) = root.filter(|root| {
        let is_whole = has(root, "features") || has(root, "plans");
        !is_whole && (has(root, "expansion") || has(root, "plays"))
    }) else {
        return super::parse(file, bytes, &NoSecrets).map(|parsed| parsed.growth);
    };
    let reader = Reader::default();
    syntax.into_iter().for_each(|problem| reader.note(problem));
    let entry = Entry { name: "the file", owner: Place::START, node: &root };
    let mut terms = Terms::default();
    if let Some(mut fields) = reader.fields(entry, "a mapping with `expansion`") {
        let (expansion, plays) = (fields.optional("expansion"), fields.optional("plays"));
        fields.end();
        terms = read(&reader, expansion, plays, features);
        if reader.count() == 0 {
            let finder = Finder { root: &root, source, prompt_items: &[] };
            note_problems(&reader, &finder, &terms, plays.is_some());
        }
    }
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(terms) } else { Err(Problems::new(file, source, problems)) }
}

/// Reads both sections.
pub(super) fn read(
    reader: &Reader,
    expansion: Option<Entry<'_>>,
    plays: Option<Entry<'_>>,
    features: &[&str],
) -> Terms {
    let mut terms = Terms::default();
    if let Some(entry) = expansion {
        read_expansion(reader, entry, features, &mut terms);
    }
    if let Some(entries) =
        plays.and_then(|entry| reader.map(entry, "a mapping from names to plays"))
    {
        terms.plays =
            entries.iter().filter_map(|entry| read_play(reader, Entry::of(entry))).collect();
    }
    terms
}

/// Notes what is wrong although it could be read.
pub(super) fn note_problems(
    reader: &Reader,
    finder: &Finder<'_>,
    terms: &Terms,
    has_own_plays: bool,
) {
    let signals: Vec<(&str, Class)> = known_signals(terms).collect();
    for problem in check::check(terms, &signals, has_own_plays) {
        reader.note(finder.terms_problem(&problem));
    }
}

/// Signals that can come: those that are raised here, and those that others may tell.
pub fn known_signals(terms: &Terms) -> impl Iterator<Item = (&str, Class)> {
    let watched = terms.watches.iter().map(|watch| (watch.signal.as_str(), watch.class));
    let own = SignalName::ALL.into_iter().map(|name| -> &str { name.as_str() });
    let known = own.chain(terms.outside_signals()).chain([OVERDUE]);
    known.filter_map(|name| Some((name, terms.class_of(name)?))).chain(watched)
}

fn read_benchmark(reader: &Reader, entry: Entry<'_>, terms: &mut BenchmarkTerms) {
    let what = "a mapping with `size_fact` or `accounts_at_least`";
    let Some(mut fields) = reader.fields(entry, what) else { return };
    let fact = fields.optional("size_fact").and_then(|entry| fact_name(reader, entry));
    let least = fields.optional("accounts_at_least");
    fields.end();
    terms.size_fact = fact.unwrap_or(std::mem::take(&mut terms.size_fact));
    let most = u64::from(u32::MAX);
    if let Some(least) =
        least.and_then(|entry| reader.whole_number(entry, u64::from(ACCOUNTS_LEAST)..=most))
    {
        terms.accounts_min = u32::try_from(least).unwrap_or(u32::MAX);
    }
}

fn read_expansion(reader: &Reader, entry: Entry<'_>, features: &[&str], terms: &mut Terms) {
    let what = "a mapping with `segments`, `risk_flags`, `scores`, `rules` or `outside_signals`";
    let Some(mut fields) = reader.fields(entry, what) else { return };
    let fact = fields.optional("segment_fact").and_then(|entry| fact_name(reader, entry));
    let default = fields.optional("default_segment");
    let adopted = fields.optional("adopted_days");
    let segments = fields.optional("segments");
    let risks = fields.optional("risk_flags");
    let scores = fields.optional("scores");
    let outside = fields.optional("outside_signals");
    let rules = fields.optional("rules");
    let deadlines = fields.optional("deadlines");
    let benchmark = fields.optional("benchmark");
    fields.end();
    if let Some(entry) = benchmark {
        read_benchmark(reader, entry, &mut terms.benchmark);
    }
    if let Some(entry) = deadlines {
        read_deadlines(reader, entry, &mut terms.deadlines);
    }
    terms.segment_fact = fact.unwrap_or(std::mem::take(&mut terms.segment_fact));
    if let Some(days) = adopted.and_then(|entry| reader.whole_number(entry, 1..=30)) {
        terms.adopted_days = u32::try_from(days).unwrap_or(30);
    }
    if let Some(entry) = segments {
        read_segments(reader, entry, &mut terms.segments);
    }
    if let Some(entry) = default {
        put_first(reader, entry, &mut terms.segments);
    }
    if let Some(items) = risks.and_then(|entry| reader.list(entry, "a list of facts")) {
        terms.risks = items.filter_map(|item| fact_name(reader, item)).collect();
    }
    if let Some(entry) = scores {
        read_scores(reader, entry, terms);
    }
    let what = "a mapping from signals to their class";
    let entries = outside.and_then(|entry| reader.map(entry, what)).unwrap_or_default();
    terms.outside =
        entries.iter().filter_map(|entry| read_outside(reader, Entry::of(entry))).collect();
    if let Some(entry) = rules {
        read_rules(reader, entry, features, terms);
    }
}

fn read_deadlines(reader: &Reader, entry: Entry<'_>, deadlines: &mut Deadlines) {
    let what =
        "a mapping with `csql_hours`, `qualified_days`, `proposal_days` or `negotiation_days`";
    let Some(mut fields) = reader.fields(entry, what) else { return };
    let read = [
        (fields.optional("csql_hours"), &mut deadlines.csql_hours),
        (fields.optional("qualified_days"), &mut deadlines.qualified_days),
        (fields.optional("proposal_days"), &mut deadlines.proposal_days),
        (fields.optional("negotiation_days"), &mut deadlines.negotiation_days),
    ];
    fields.end();
    for (entry, deadline) in read {
        let number = entry.and_then(|entry| reader.whole_number(entry, 1..=10_000));
        if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
            *deadline = number;
        }
    }
}

/// Rules that signals come of, which may name all facts and signals that were read before.
fn read_rules(reader: &Reader, entry: Entry<'_>, features: &[&str], terms: &mut Terms) {
    let entries = reader.map(entry, "a mapping from signals to their rules").unwrap_or_default();
    let known = terms.clone();
    let facts: Vec<&str> = known.fact_names().into_iter().collect();
    let signals: Vec<&str> = known_signals(&known).map(|(name, _)| name).collect();
    let names = Names { facts: &facts, features, signals: &signals };
    for entry in entries.iter().map(Entry::of) {
        let place = terms.watches.iter().position(|watch| watch.signal == entry.name);
        if is_off(entry) {
            match place {
                Some(place) => drop(terms.watches.remove(place)),
                None => reader.note_at(entry, "there is no such rule to take out"),
            }
            continue;
        }
        check_signal_name(reader, entry);
        let before = place.map(|place| terms.watches[place].clone());
        match (read_watch(reader, entry, names, before), place) {
            (Some(watch), Some(place)) => terms.watches[place] = watch,
            (Some(watch), None) => terms.watches.push(watch),
            (None, _) => {}
        }
    }
}

fn read_watch(
    reader: &Reader,
    entry: Entry<'_>,
    names: Names<'_>,
    before: Option<Watch>,
) -> Option<Watch> {
    let mut fields = reader.fields(entry, "a mapping with `class` and `when`, or `off`")?;
    let is_new = before.is_none();
    let mut field = |key| if is_new { fields.required(key) } else { fields.optional(key) };
    let (class, when) = (field("class"), field("when"));
    let (warn, calm) = (fields.optional("warn"), fields.optional("calm_days"));
    fields.end();
    let classes = Class::ALL.map(|class| (class.as_str(), class));
    let class = class.map(|entry| reader.word(entry, &classes));
    let when = when.map(|entry| read_rule(reader, entry, names));
    let warn = warn.map(|entry| read_rule(reader, entry, names));
    let calm_days = calm.map(|entry| reader.whole_number(entry, 0..=365));
    let calm_days = match calm_days {
        Some(days) => u32::try_from(days?).ok()?,
        None => before.as_ref().map_or(CALM_DAYS, |watch| watch.calm_days),
    };
    Some(Watch {
        signal: entry.name.to_owned(),
        class: class.unwrap_or(before.as_ref().map(|watch| watch.class))?,
        warn: match warn {
            Some(warn) => Some(warn?),
            None => before.as_ref().and_then(|watch| watch.warn.clone()),
        },
        when: when.unwrap_or(before.map(|watch| watch.when))?,
        calm_days,
    })
}

fn read_rule(reader: &Reader, entry: Entry<'_>, names: Names<'_>) -> Option<Rule> {
    let text = reader.text(entry)?;
    match Rule::parse(&text, names) {
        Ok(rule) => Some(rule),
        Err(problem) => {
            let found = Problem::at(entry.place(), format!("`{}`: {problem}", entry.name));
            reader.note(match &problem.written {
                Some(word) => found.suggest(word, problem.known.iter().map(String::as_str)),
                None => found,
            });
            None
        }
    }
}

/// For how many days a rule must not hold before its signal may come again, when nothing is said.
const CALM_DAYS: u32 = 7;

fn check_signal_name(reader: &Reader, entry: Entry<'_>) {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if entry.name.len() > SIGNAL_BYTES_MAX || !entry.name.bytes().all(is_plain) {
        let message = format!("a signal's name is 1 to {SIGNAL_BYTES_MAX} of a-z, 0-9 and `_`");
        reader.note(Problem::at(entry.owner, message));
    }
}

/// A fact's name, if an account can have such a fact.
fn fact_name(reader: &Reader, entry: Entry<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    let fits = (1..=FACT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if !fits {
        let message = format!("a fact's name is 1 to {FACT_BYTES_MAX} bytes of plain text");
        reader.note_at(entry, message);
    }
    fits.then_some(text)
}

fn read_outside(reader: &Reader, entry: Entry<'_>) -> Option<(String, Class)> {
    check_signal_name(reader, entry);
    let classes = Class::ALL.map(|class| (class.as_str(), class));
    Some((entry.name.to_owned(), reader.word(entry, &classes)?))
}

/// Whether a plain `off` stands there.
fn is_off(entry: Entry<'_>) -> bool {
    matches!(&entry.node.value, Value::Plain(word) if word == "off")
}

fn read_segments(reader: &Reader, entry: Entry<'_>, segments: &mut Vec<Segment>) {
    let what = "a mapping from segments to when their accounts are ready";
    for entry in reader.map(entry, what).unwrap_or_default().iter().map(Entry::of) {
        if is_off(entry) {
            segments.retain(|segment| segment.segment != entry.name);
            continue;
        }
        let place = segments.iter().position(|segment| segment.segment == entry.name);
        let place = place.unwrap_or_else(|| {
            let segment = entry.name.to_owned();
            segments.push(Segment { segment, passes_unknown: false, conditions: Vec::new() });
            segments.len() - 1
        });
        read_segment(reader, entry, &mut segments[place]);
    }
}

fn read_segment(reader: &Reader, entry: Entry<'_>, segment: &mut Segment) {
    let what = "a mapping with `gate` and `missing_facts`, or `off`";
    let Some(mut fields) = reader.fields(entry, what) else { return };
    let (missing, gate) = (fields.optional("missing_facts"), fields.optional("gate"));
    fields.end();
    let words = [("pass", true), ("fail", false)];
    if let Some(passes) = missing.and_then(|entry| reader.word(entry, &words)) {
        segment.passes_unknown = passes;
    }
    let entries = gate.and_then(|entry| reader.map(entry, CONDITIONS)).unwrap_or_default();
    for entry in entries.iter().map(Entry::of) {
        let fact = entry.name.to_owned();
        if matches!(&entry.node.value, Value::Plain(word) if word == "any") {
            segment.conditions.retain(|condition| condition.fact != fact);
            continue;
        }
        let Some(test) = read_test(reader, entry, ", or `any` for no condition") else { continue };
        match segment.conditions.iter_mut().find(|condition| condition.fact == fact) {
            Some(condition) => condition.test = test,
            None => segment.conditions.push(Condition { fact, test }),
        }
    }
}

const CONDITIONS: &str = "a mapping from facts to what is asked of them";

/// Conditions about facts.
pub(in crate::config) fn read_conditions(
    reader: &Reader,
    entry: Entry<'_>,
) -> Option<Vec<Condition>> {
    let entries = reader.map(entry, CONDITIONS)?.iter().map(Entry::of);
    let read = entries.map(|entry| {
        let fact = entry.name.to_owned();
        Some(Condition { fact, test: read_test(reader, entry, "")? })
    });
    read.collect::<Vec<_>>().into_iter().collect()
}

/// What is asked of a fact. `more` says what else may stand there.
fn read_test(reader: &Reader, entry: Entry<'_>, more: &str) -> Option<Test> {
    match &entry.node.value {
        Value::List(_) => read_words(reader, entry).map(Test::OneOf),
        Value::Plain(word) if matches!(&**word, "true" | "false") => Some(Test::Is(word == "true")),
        _ => match Test::parse(&reader.text(entry)?) {
            Ok(test) => Some(test),
            Err(message) => {
                let forms = "a list of words, `true` or `false`";
                reader.note_at(entry, format!("{message}, {forms}{more}"));
                None
            }
        },
    }
}

fn read_words(reader: &Reader, entry: Entry<'_>) -> Option<Vec<String>> {
    let items = reader.list(entry, "a list of words")?;
    if items.len() == 0 {
        reader.note_at(entry, format!("`{}` is an empty list, which nothing is in", entry.name));
        return None;
    }
    let read: Vec<_> = items.map(|item| reader.text(item)).collect();
    read.into_iter().collect()
}

fn put_first(reader: &Reader, entry: Entry<'_>, segments: &mut [Segment]) {
    let Some(text) = reader.text(entry) else { return };
    match segments.iter().position(|segment| segment.segment == text) {
        Some(place) => segments[..=place].rotate_right(1),
        None => {
            let known = segments.iter().map(|segment| segment.segment.as_str());
            let problem = Problem::at(entry.place(), format!("there is no segment `{text}`"));
            reader.note(problem.suggest(&text, known));
        }
    }
}

fn read_scores(reader: &Reader, entry: Entry<'_>, terms: &mut Terms) {
    let what = "a mapping with `pql`, `opportunity` or `white_space`";
    let Some(mut fields) = reader.fields(entry, what) else { return };
    let cards = [
        (fields.optional("pql"), &mut terms.pql),
        (fields.optional("opportunity"), &mut terms.opportunity),
        (fields.optional("white_space"), &mut terms.white_space),
    ];
    fields.end();
    for (entry, card) in cards {
        if let Some(entry) = entry {
            read_card(reader, entry, card);
        }
    }
}

fn read_card(reader: &Reader, entry: Entry<'_>, card: &mut Card) {
    let Some(mut fields) = reader.fields(entry, "a mapping with `parts` or `bands`") else {
        return;
    };
    let (parts, bands) = (fields.optional("parts"), fields.optional("bands"));
    fields.end();
    let parts = parts.and_then(|entry| reader.map(entry, "a mapping from parts to their points"));
    for entry in parts.unwrap_or_default().iter().map(Entry::of) {
        if is_off(entry) {
            card.parts.retain(|part| part.part != entry.name);
            continue;
        }
        let known = card.parts.iter().position(|part| part.part == entry.name);
        let part = read_part(reader, entry, known.map(|place| card.parts[place].clone()));
        match (part, known) {
            (Some(part), Some(place)) => card.parts[place] = part,
            (Some(part), None) => card.parts.push(part),
            (None, _) => {}
        }
    }
    if let Some(entries) =
        bands.and_then(|entry| reader.map(entry, "a mapping from bands to points"))
    {
        let read = entries.iter().map(|entry| read_band(reader, Entry::of(entry), &card.bands));
        card.bands = read.collect::<Vec<_>>().into_iter().flatten().collect();
    }
}

fn read_part(reader: &Reader, entry: Entry<'_>, known: Option<PartTerms>) -> Option<PartTerms> {
    let what = "a mapping with `points`, `zero_at` and `full_at`, or `off`";
    let mut fields = reader.fields(entry, what)?;
    let is_new = known.is_none();
    let mut field = |key| if is_new { fields.required(key) } else { fields.optional(key) };
    let (points, zero_at, full_at) = (field("points"), field("zero_at"), field("full_at"));
    let (fact, group) = (fields.optional("fact"), fields.optional("group"));
    fields.end();
    let mut part = known.unwrap_or_else(|| PartTerms {
        part: entry.name.to_owned(),
        group: String::new(),
        fact: entry.name.to_owned(),
        points_max_tenths: 0,
        zero_at: 0,
        full_at: 0,
    });
    let mut is_whole = !is_new || (points.is_some() && zero_at.is_some() && full_at.is_some());
    if let Some(entry) = points {
        match reader.whole_number(entry, 0..=POINTS_MAX).and_then(|n| u32::try_from(n).ok()) {
            Some(points) => part.points_max_tenths = points * 10,
            None => is_whole = false,
        }
    }
    for (entry, value) in [(zero_at, &mut part.zero_at), (full_at, &mut part.full_at)] {
        let Some(entry) = entry else { continue };
        match entry.scalar().and_then(|text| Fact::number(text.strip_suffix('%').unwrap_or(text))) {
            Some(Fact::Number(parts)) => *value = parts,
            _ => {
                reader
                    .note_at(entry, format!("`{}` must be a number, as `30` or `2.5`", entry.name));
                is_whole = false;
            }
        }
    }
    part.fact = fact.and_then(|entry| fact_name(reader, entry)).unwrap_or(part.fact);
    part.group = group.and_then(|entry| reader.text(entry)).unwrap_or(part.group);
    is_whole.then_some(part)
}

/// A band; one of a known name keeps its advice unless it says another.
fn read_band(reader: &Reader, entry: Entry<'_>, known: &[Band]) -> Option<Band> {
    let (from, advice) = match &entry.node.value {
        Value::Map(_) => {
            let mut fields = reader.fields(entry, "a mapping with `from` and `advice`")?;
            let (from, advice) = (fields.required("from"), fields.optional("advice"));
            fields.end();
            (from?, advice.and_then(|entry| reader.text(entry)))
        }
        _ => (entry, None),
    };
    let from = reader.whole_number(from, 0..=POINTS_MAX * 32)?;
    let before = known.iter().find(|band| band.band == entry.name);
    let advice = advice.or_else(|| before.map(|band| band.advice.clone())).unwrap_or_default();
    let from_tenths = u32::try_from(from).ok()? * 10;
    Some(Band { band: entry.name.to_owned(), from_tenths, advice })
}

fn read_play(reader: &Reader, entry: Entry<'_>) -> Option<Play> {
    let what = "a mapping with `type`, `motion`, `owner` and `message`";
    let mut fields = reader.fields(entry, what)?;
    let (signals, classes) = (fields.optional("signals"), fields.optional("classes"));
    let (segments, gates) = (fields.optional("segments"), fields.optional("gate"));
    let kind = fields.required("type").and_then(|entry| reader.word(entry, Kind::WORDS));
    let motion = fields.required("motion").and_then(|entry| reader.word(entry, Motion::WORDS));
    let channel = fields.optional("channel").and_then(|entry| reader.text(entry));
    let owner = fields.required("owner").and_then(|entry| said(reader, entry));
    let message = fields.required("message").and_then(|entry| said(reader, entry));
    fields.end();
    let names =
        |entry: Option<Entry<'_>>| entry.map_or(Some(Vec::new()), |e| read_words(reader, e));
    let classes_known = Class::ALL.map(|class| (class.as_str(), class));
    Some(Play {
        play: entry.name.to_owned(),
        signals: names(signals)?,
        classes: listed(reader, classes, &classes_known)?,
        segments: names(segments)?,
        gates: listed(reader, gates, Gate::WORDS)?,
        kind: kind?,
        motion: motion?,
        channel: channel.unwrap_or_default(),
        owner: owner?,
        message: message?,
    })
}

/// A text that says something.
fn said(reader: &Reader, entry: Entry<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    if text.trim().is_empty() {
        reader.note_at(entry, format!("`{}` is empty: every play has one", entry.name));
        return None;
    }
    Some(text)
}

fn listed<T: Copy>(
    reader: &Reader,
    entry: Option<Entry<'_>>,
    known: &[(&str, T)],
) -> Option<Vec<T>> {
    let Some(entry) = entry else { return Some(Vec::new()) };
    let read: Vec<_> = reader.list(entry, "a list")?.map(|item| reader.word(item, known)).collect();
    read.into_iter().collect()
}
