//! From the paths of the core's problems back to lines and columns of the file.

use headroom_core::catalog::SpecProblem;
use headroom_expansion::check::TermsProblem;

use crate::config::problems::{Place, Problem};
use crate::config::reader::Reader;
use crate::config::yaml::{Key, Node, Value};
use headroom_prompts as prompts;

/// Finds the place in the file that the core or a template complains about.
pub(super) struct Finder<'a> {
    pub(super) root: &'a Node,
    pub(super) source: &'a str,
    /// The place in the file's list of each prompt that was read.
    pub(super) prompt_items: &'a [usize],
}

impl Finder<'_> {
    /// Whether what a path leads to, or leads through, could not be read: then that was said, and what stands
    /// in for it is nobody's mistake.
    pub(super) fn is_told(&self, reader: &Reader, path: &[String]) -> bool {
        let (mut owner, mut key, mut node) = (Place::START, "", self.root);
        for (depth, step) in path.iter().enumerate() {
            let next = match &node.value {
                Value::Map(_) => {
                    key = step;
                    node.get(step).map(|(key, value)| (key.place, value))
                }
                Value::List(items) => self
                    .item(path, depth)
                    .and_then(|ix| items.get(ix))
                    .map(|item| (item.place, item)),
                Value::Nothing | Value::Plain(_) | Value::Quoted(_) => None,
            };
            let Some((place, value)) = next else { return reader.is_unread(owner, step) };
            (owner, node) = (place, value);
            if reader.is_unread(owner, key) {
                return true;
            }
        }
        false
    }

    /// The place in the file's list that a step of a path means.
    fn item(&self, path: &[String], depth: usize) -> Option<usize> {
        let ix: usize = path[depth].parse().ok()?;
        Some(match depth {
            1 if path[0] == "prompts" => self.prompt_items.get(ix).map_or(ix, |ix| *ix),
            _ => ix,
        })
    }

    /// A problem of the core.
    pub(super) fn problem(&self, problem: &SpecProblem) -> Problem {
        let (place, _) = self.find(&problem.path);
        // The wrong word is the last name in the path or the value there; both are tried.
        let known = || problem.known.iter().map(String::as_str);
        let value = self.find(&problem.path).1.and_then(|node| match &node.value {
            Value::Plain(text) | Value::Quoted(text) => Some(text.as_str()),
            Value::Nothing | Value::List(_) | Value::Map(_) => None,
        });
        let word = match value {
            Some(value) if !points_at_key(&problem.path) => value,
            _ => problem.path.last().map_or("", String::as_str),
        };
        Problem::at(place, problem.message.clone()).suggest(word, known())
    }

    /// A problem of a template.
    pub(super) fn template_problem(&self, problem: prompts::TemplateProblem) -> Problem {
        let prompts::TemplateProblem { word, known, .. } = problem.clone();
        let path = SpecProblem::from(problem.clone()).path;
        let (place, node) = self.find(&path);
        let exact = word.as_deref().and_then(|word| self.find_word(node?, word));
        let found = Problem::at(exact.unwrap_or(place), problem.message);
        match word {
            Some(word) => found.suggest(&word, known.iter().map(String::as_str)),
            None => found,
        }
    }

    /// A problem of what is said about growth.
    pub(super) fn terms_problem(&self, problem: &TermsProblem) -> Problem {
        let (place, node) = self.find(&problem.path);
        let word = problem.written.as_deref();
        let exact = word.and_then(|word| self.find_word(node?, word));
        let found = Problem::at(exact.unwrap_or(place), problem.message.clone());
        match word {
            Some(word) => found.suggest(word, problem.known.iter().map(String::as_str)),
            None => found,
        }
    }

    /// The value at a path and where it, or the last key that exists, stands.
    fn find(&self, path: &[String]) -> (Place, Option<&Node>) {
        let mut place = Place::START;
        let mut node = self.root;
        for (depth, step) in path.iter().enumerate() {
            let next = match &node.value {
                Value::Map(_) => {
                    node.get(step).map(|(key, value): (&Key, &Node)| (key.place, value))
                }
                Value::List(items) => self
                    .item(path, depth)
                    .and_then(|ix| items.get(ix))
                    .map(|item| (item.place, item)),
                Value::Nothing | Value::Plain(_) | Value::Quoted(_) => None,
            };
            let Some((key_place, value)) = next else { return (place, None) };
            place = key_place;
            node = value;
        }
        let is_value = !points_at_key(path) && node.value != Value::Nothing;
        (if is_value { node.place } else { place }, Some(node))
    }

    /// Where a word of a template stands in the file.
    fn find_word(&self, node: &Node, word: &str) -> Option<Place> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let lines = self.source.lines().enumerate().take(node.last_line);
        for (ix, line) in lines.skip(node.place.line - 1) {
            let from = if ix + 1 == node.place.line { node.place.column - 1 } else { 0 };
            for (at, _) in line.match_indices(word) {
                let column = line[..at].chars().count() + 1;
                let before = line[..at].chars().next_back();
                let after = line[at + word.len()..].chars().next();
                if column > from && !before.is_some_and(is_part) && !after.is_some_and(is_part) {
                    let width = word.chars().count();
                    return Some(Place { line: ix + 1, column, width });
                }
            }
        }
        None
    }
}

/// Whether a path ends in a name that the operator chose: then the name is what is wrong.
fn points_at_key(path: &[String]) -> bool {
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    match steps.as_slice() {
        ["plans", plan, "versions", _, rest @ ..] => {
            // A version is written as a plan is.
            let mut own = vec!["plans".to_owned(), (*plan).to_owned()];
            own.extend(rest.iter().map(|step| (*step).to_owned()));
            points_at_key(&own)
        }
        [] | ["features" | "plans" | "addons"] | ["features" | "plans" | "addons", _] => true,
        ["features", _, third] => *third == "limits",
        ["features", _, third, _] => matches!(*third, "limits" | "rate_card"),
        ["plans" | "addons", _, "entitlements", _, "paid_by"] => false,
        ["plays"] | ["plays", _] | ["expansion", ..] => true,
        ["plans" | "addons", _, third, ..] => *third == "entitlements" && steps.len() <= 5,
        _ => false,
    }
}
