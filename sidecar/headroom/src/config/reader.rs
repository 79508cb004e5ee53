//! Reads values out of the tree, and notes everything that is wrong on the way.
//!
//! Every function answers `None` after noting why, so that the caller simply goes on with the next
//! key: an operator gets the whole list in one round.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::problems::{Place, Problem, closest};
use super::values;
use super::yaml::{Key, Node, Value};

/// Problems kept of one file. Above it the rest is counted: whoever has so many has one.
const PROBLEMS_MAX: usize = 500;

/// Collects the problems of one file.
#[derive(Debug, Default)]
pub struct Reader {
    problems: RefCell<Vec<Problem>>,
    left_out: Cell<usize>,
    // Of a value that could not be read: where its key stands, and the key. Of one that is not there:
    // where its mapping's key stands, and the key.
    unread: RefCell<BTreeSet<(Place, String)>>,
}

/// A value and the name that messages give it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'n> {
    /// The key it stands under; of an element of a list, the key of the list.
    pub name: &'n str,
    /// Where the key stands; of an element of a list, where the element does.
    pub owner: Place,
    /// The value.
    pub node: &'n Node,
}

impl<'n> Entry<'n> {
    /// A value under its key.
    pub fn of((key, node): &'n (Key, Node)) -> Entry<'n> {
        Entry { name: &key.text, owner: key.place, node }
    }

    /// Where the value stands, or its key when there is no value.
    pub fn place(&self) -> Place {
        match self.node.value {
            Value::Nothing => self.owner,
            Value::Plain(_) | Value::Quoted(_) | Value::List(_) | Value::Map(_) => self.node.place,
        }
    }

    /// The word or text, if it is one.
    pub fn scalar(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Plain(text) | Value::Quoted(text) => Some(text),
            Value::Nothing | Value::List(_) | Value::Map(_) => None,
        }
    }
}

impl Reader {
    /// Notes a problem.
    pub fn note(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < PROBLEMS_MAX {
            problems.push(problem);
        } else {
            self.left_out.set(self.left_out.get() + 1);
        }
    }

    /// Notes a problem with a value.
    pub fn note_at(&self, entry: Entry<'_>, message: impl Into<String>) {
        self.note_word(entry, message, "", []);
    }

    /// Notes a problem with a value, which is perhaps a mistyped one of `known`.
    pub fn note_word<'a>(
        &self,
        entry: Entry<'_>,
        message: impl Into<String>,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        self.mark_unread(entry.owner, entry.name);
        self.note(Problem::at(entry.place(), message).suggest(word, known));
    }

    fn mark_unread(&self, owner: Place, key: &str) {
        self.unread.borrow_mut().insert((owner, key.to_owned()));
    }

    /// Whether a problem was noted with the value of a key, or of an element with the list of that key:
    /// then something stands in for it, of which nothing more needs to be said. `owner` is where the key stands,
    /// or the element; of a key that is not there, the key of its mapping.
    pub fn is_unread(&self, owner: Place, key: &str) -> bool {
        self.unread.borrow().contains(&(owner, key.to_owned()))
    }

    /// How many problems there are so far.
    pub fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// Shows no line of the problems after the first so many: whatever stands there may be a secret.
    pub fn hide_lines_after(&self, count: usize) {
        for problem in self.problems.borrow_mut().iter_mut().skip(count) {
            problem.hides_line = true;
        }
    }

    /// All problems, and how many more there are than are kept.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        let left_out = self.left_out.get();
        if left_out > 0 {
            problems.push(Problem::more(left_out));
        }
        problems
    }

    fn expected<T>(&self, entry: Entry<'_>, what: &str) -> Option<T> {
        let found = entry.node.describe();
        self.note_at(entry, format!("`{}` must be {what}, found {found}", entry.name));
        None
    }

    fn noted<T>(&self, entry: Entry<'_>, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|message| self.note_at(entry, message)).ok()
    }

    /// The keys of a mapping, to be taken one by one.
    pub fn fields<'r, 'n>(&'r self, entry: Entry<'n>, what: &str) -> Option<Fields<'r, 'n>> {
        let entries = self.map(entry, what)?;
        Some(Fields { reader: self, owner: entry.owner, entries, known: vec![], missing: vec![] })
    }

    /// A mapping with keys of the operator's choice.
    pub fn map<'n>(&self, entry: Entry<'n>, what: &str) -> Option<&'n [(Key, Node)]> {
        match &entry.node.value {
            Value::Map(entries) => Some(entries),
            Value::Nothing | Value::Plain(_) | Value::Quoted(_) | Value::List(_) => {
                self.expected(entry, what)
            }
        }
    }

    /// A list.
    pub fn list<'n>(
        &self,
        entry: Entry<'n>,
        what: &str,
    ) -> Option<impl ExactSizeIterator<Item = Entry<'n>> + use<'n>> {
        match &entry.node.value {
            Value::List(items) => Some(items.iter().map(move |node| Entry {
                name: entry.name,
                owner: node.place,
                node,
            })),
            Value::Nothing | Value::Plain(_) | Value::Quoted(_) | Value::Map(_) => {
                self.expected(entry, what)
            }
        }
    }

    /// A text, in quotes or not.
    pub fn text(&self, entry: Entry<'_>) -> Option<String> {
        match entry.scalar() {
            Some(text) => Some(text.to_owned()),
            None => self.expected(entry, "a text"),
        }
    }

    /// `on` or `off`.
    pub fn switch(&self, entry: Entry<'_>) -> Option<bool> {
        match &entry.node.value {
            Value::Plain(word) if matches!(&**word, "on" | "true") => Some(true),
            Value::Plain(word) if matches!(&**word, "off" | "false") => Some(false),
            Value::Nothing
            | Value::Plain(_)
            | Value::Quoted(_)
            | Value::List(_)
            | Value::Map(_) => self.expected(entry, "`on` or `off`"),
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, entry: Entry<'_>, words: &[(&str, T)]) -> Option<T> {
        let Some(text) = entry.scalar() else {
            return self.expected(entry, &listed(words));
        };
        #[cfg(test)]
        asked::note_words(entry, words.iter().map(|(word, _)| *word));
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let message = format!("`{}` must be {}, found `{text}`", entry.name, listed(words));
        self.note_word(entry, message, text, words.iter().map(|(word, _)| *word));
        None
    }

    /// A whole number within a range.
    pub fn whole_number(&self, entry: Entry<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let (min, max) = (*range.start(), *range.end());
        let number = match &entry.node.value {
            Value::Plain(text) => self.noted(entry, values::whole_number(text))?,
            Value::Quoted(text) if values::whole_number(text).is_ok() => {
                self.note_at(entry, format!("{text:?} is a text, leave the quotes out"));
                return None;
            }
            Value::Nothing | Value::Quoted(_) | Value::List(_) | Value::Map(_) => {
                return self.expected(entry, "a whole number");
            }
        };
        if !range.contains(&number) {
            let name = entry.name;
            self.note_at(entry, format!("`{name}` is {number}, it must be {min} to {max}"));
            return None;
        }
        Some(number)
    }

    /// A percentage, in basis points.
    pub fn percent_bp(&self, entry: Entry<'_>) -> Option<u32> {
        match entry.scalar() {
            Some(text) => self.noted(entry, values::percent_bp(text)),
            None => self.expected(entry, "a percentage, as `80%`"),
        }
    }

    /// A duration within a range, both ends given as they would be written.
    pub fn duration(&self, entry: Entry<'_>, min: &str, max: &str) -> Option<Duration> {
        self.bounded(entry, "a duration, as `10s`", values::duration, min, max)
    }

    /// A size in bytes within a range, both ends given as they would be written.
    pub fn size_bytes(&self, entry: Entry<'_>, min: &str, max: &str) -> Option<u64> {
        self.bounded(entry, "a size, as `64MiB`", values::size_bytes, min, max)
    }

    fn bounded<T: PartialOrd>(
        &self,
        entry: Entry<'_>,
        what: &str,
        read: impl Fn(&str) -> Result<T, String>,
        min: &str,
        max: &str,
    ) -> Option<T> {
        let Some(text) = entry.scalar() else { return self.expected(entry, what) };
        let value = self.noted(entry, read(text))?;
        let is_within = |end: &str, inside: fn(&T, &T) -> bool| {
            inside(&value, &read(end).expect("bounds are written correctly"))
        };
        if !is_within(min, T::ge) || !is_within(max, T::le) {
            let name = entry.name;
            self.note_at(entry, format!("`{name}` is {text}, it must be {min} to {max}"));
            return None;
        }
        Some(value)
    }
}

fn listed<T>(words: &[(&str, T)]) -> String {
    let quoted: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// The keys of one mapping. What is not taken by the end is unknown.
#[derive(Debug)]
#[must_use = "unknown and missing keys are noted by `end`"]
pub struct Fields<'r, 'n> {
    reader: &'r Reader,
    owner: Place,
    entries: &'n [(Key, Node)],
    known: Vec<&'static str>,
    missing: Vec<&'static str>,
}

impl<'n> Fields<'_, 'n> {
    /// A key that may be there.
    pub fn optional(&mut self, key: &'static str) -> Option<Entry<'n>> {
        self.known.push(key);
        self.entries.iter().find(|(known, _)| known.text == key).map(Entry::of)
    }

    /// A key that must be there.
    pub fn required(&mut self, key: &'static str) -> Option<Entry<'n>> {
        let found = self.optional(key);
        if found.is_none() {
            self.missing.push(key);
        }
        found
    }

    /// A key that would be right elsewhere.
    pub fn misplaced(&mut self, key: &'static str, why: &str) {
        #[cfg(test)]
        asked::note_misplaced(self.entries, key);
        if let Some(entry) = self.optional(key) {
            self.reader.note(Problem::at(entry.owner, why));
        }
    }

    /// Notes what is unknown and what is missing.
    pub fn end(mut self) {
        #[cfg(test)]
        asked::note_keys(self.entries, &self.known);
        for (key, _) in self.entries {
            if self.known.contains(&&*key.text) {
                continue;
            }
            let absent = |known: &&&str| !self.entries.iter().any(|(key, _)| key.text == **known);
            let meant = closest(&key.text, self.known.iter().filter(absent).copied());
            let problem = Problem::at(key.place, format!("unknown key `{}`", key.text));
            match meant {
                Some(meant) => {
                    self.reader.mark_unread(self.owner, meant);
                    self.reader.note(Problem { suggestion: Some(meant.to_owned()), ..problem });
                    // One mistyped key is one problem, not also a missing one.
                    self.missing.retain(|missing| *missing != meant);
                }
                None => self.reader.note(Problem {
                    message: format!(
                        "unknown key `{}`, known here: {}",
                        key.text,
                        self.known.join(", ")
                    ),
                    ..problem
                }),
            }
        }
        for key in &self.missing {
            self.reader.mark_unread(self.owner, key);
            self.reader.note(Problem::at(self.owner, format!("the key `{key}` is missing")));
        }
    }
}

/// What readers asked for, so that a test can compare it with the reference of the catalog.
#[cfg(test)]
pub mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::{Entry, Place};
    use crate::config::yaml::{Key, Node};

    /// A mapping, by the place and text of its first key.
    pub type Mapping = (usize, usize, String);

    /// Everything that was asked by this thread.
    #[derive(Debug, Default)]
    pub struct Asked {
        /// The keys that a mapping may have.
        pub keys: Vec<(Mapping, Vec<&'static str>)>,
        /// Keys that would be right elsewhere.
        pub misplaced: BTreeSet<(Mapping, &'static str)>,
        /// The place of a value, and the words that it may be.
        pub words: Vec<(Place, Vec<String>)>,
    }

    thread_local! {
        static ASKED: RefCell<Asked> = RefCell::default();
    }

    /// Names a mapping. `None`: it is empty.
    pub fn mapping(entries: &[(Key, Node)]) -> Option<Mapping> {
        let (key, _) = entries.first()?;
        Some((key.place.line, key.place.column, key.text.clone()))
    }

    /// What was asked since the last call.
    pub fn take() -> Asked {
        ASKED.take()
    }

    pub(super) fn note_keys(entries: &[(Key, Node)], keys: &[&'static str]) {
        if let Some(mapping) = mapping(entries) {
            ASKED.with_borrow_mut(|asked| asked.keys.push((mapping, keys.to_vec())));
        }
    }

    pub(super) fn note_misplaced(entries: &[(Key, Node)], key: &'static str) {
        if let Some(mapping) = mapping(entries) {
            ASKED.with_borrow_mut(|asked| asked.misplaced.insert((mapping, key)));
        }
    }

    pub(super) fn note_words<'w>(entry: Entry<'_>, words: impl Iterator<Item = &'w str>) {
        let words = words.map(str::to_owned).collect();
        ASKED.with_borrow_mut(|asked| asked.words.push((entry.node.place, words)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    /// What `read` notes about the value under the key `x`, one problem per line.
    #[track_caller]
    fn check<T>(yaml: &str, read: impl Fn(&Reader, Entry<'_>) -> T, expected: &str) -> T {
        let mut problems = vec![];
        let root = yaml::parse(yaml, &mut problems).unwrap();
        let reader = Reader { problems: RefCell::new(problems), ..Reader::default() };
        let Value::Map(entries) = &root.value else { panic!("a mapping") };
        let result = read(&reader, Entry::of(&entries[0]));
        let line = |p: Problem| {
            let place = p.place.unwrap();
            format!("{}:{}: {p}", place.line, place.column)
        };
        let found: Vec<String> = reader.into_problems().into_iter().map(line).collect();
        assert_eq!(found.join("\n"), expected, "{yaml}");
        result
    }

    #[test]
    fn what_is_not_listed_is_counted() {
        let reader = Reader::default();
        (0..700).for_each(|n| reader.note(Problem::at(Place::START, format!("problem {n}"))));
        let problems = reader.into_problems();
        assert_eq!(problems.len(), PROBLEMS_MAX + 1);
        let problems = crate::config::problems::Problems::new("f.yaml", "", problems);
        let text = problems.to_string();
        let last: Vec<&str> = text.lines().rev().take(2).collect();
        assert_eq!(last, ["700 problems in f.yaml", "f.yaml: and 200 more, which are not listed"]);
    }

    #[test]
    fn wrong_types_say_what_was_expected_and_found() {
        check("x: [1]", |r, e| r.text(e), "1:4: `x` must be a text, found a list");
        check("x:", |r, e| r.text(e), "1:1: `x` must be a text, found nothing");
        check("x: yes", |r, e| r.switch(e), "1:4: `x` must be `on` or `off`, found `yes`");
        check(
            "x: 'on'",
            |r, e| r.switch(e),
            "1:4: `x` must be `on` or `off`, found the text \"on\"",
        );
        check(
            "x: {}",
            |r, e| r.percent_bp(e),
            "1:4: `x` must be a percentage, as `80%`, found a mapping",
        );
        check(
            "x: 5",
            |r, e| r.map(e, "a mapping").is_some(),
            "1:4: `x` must be a mapping, found `5`",
        );
        let long = format!("x: {}", "y".repeat(50));
        check(&long, |r, e| r.list(e, "a list").is_some(), "1:4: `x` must be a list, found a text");
    }

    #[test]
    fn words_and_numbers_are_held_to_their_range() {
        let words = [("block", 1), ("overage", 2), ("unlimited", 3)];
        assert_eq!(check("x: overage", |r, e| r.word(e, &words), ""), Some(2));
        check(
            "x: blok",
            |r, e| r.word(e, &words),
            "1:4: `x` must be `block`, `overage` or `unlimited`, found `blok`, did you mean `block`?",
        );
        assert_eq!(check("x: 1_000", |r, e| r.whole_number(e, 0..=1_000), ""), Some(1_000));
        check("x: 7", |r, e| r.whole_number(e, 0..=6), "1:4: `x` is 7, it must be 0 to 6");
        check(
            "x: '7'",
            |r, e| r.whole_number(e, 0..=9),
            "1:4: \"7\" is a text, leave the quotes out",
        );
        check(
            "x: '?'",
            |r, e| r.whole_number(e, 0..=9),
            "1:4: `x` must be a whole number, found the text \"?\"",
        );
        let minute = |r: &Reader, e: Entry<'_>| r.duration(e, "1s", "1min");
        assert_eq!(check("x: 60s", minute, ""), Some(Duration::from_secs(60)));
        check("x: 61s", minute, "1:4: `x` is 61s, it must be 1s to 1min");
        check(
            "x: 1B",
            |r, e| r.size_bytes(e, "1KiB", "1MiB"),
            "1:4: `x` is 1B, it must be 1KiB to 1MiB",
        );
    }

    #[test]
    fn keys_that_are_unknown_or_missing_are_noted_once() {
        let read = |reader: &Reader, entry: Entry<'_>| {
            let mut fields = reader.fields(entry, "a mapping").unwrap();
            fields.required("kind");
            fields.optional("name");
            fields.misplaced("limits", "a switch has no `limits`");
            fields.end();
        };
        check("x: {kind: 1, name: 2}", read, "");
        check("x: {name: 2}", read, "1:1: the key `kind` is missing");
        check("x: {knid: 1}", read, "1:5: unknown key `knid`, did you mean `kind`?");
        check(
            "x: {kind: 1, colour: 1}",
            read,
            "1:14: unknown key `colour`, known here: kind, name, limits",
        );
        check("x: {kind: 1, limits: 1}", read, "1:14: a switch has no `limits`");
    }
}
