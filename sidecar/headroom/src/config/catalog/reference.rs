//! The reference of the catalog, `deploy/catalog.md`, is what the reader knows: every key has its row,
//! every row its key, every word its mention, and every example is a catalog without problems.
//!
//! The page's headings say where keys stand, as `plans.PLAN.price`; capitals stand for any name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::super::reader::asked;
use super::super::sinks::NoSecrets;
use super::super::yaml::{self, Node, Value};
use super::*;
use headroom_core::catalog::UNLOCK_AFTER;

/// Lists of words longer than this are told in a table of their own, not in a row.
const WORDS_IN_A_ROW_MAX: usize = 12;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

pub(super) fn page() -> String {
    fs::read_to_string(deploy().join("catalog.md")).expect("the page is there")
}

/// The catalogs of the page, by the line that they begin in.
pub(super) fn examples(page: &str) -> Vec<(String, String)> {
    let mut examples = Vec::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("```yaml\n") {
        let (example, after) = after.split_once("```").expect("it ends");
        let line = page[..page.len() - rest.len() + before.len()].lines().count() + 2;
        examples.push((format!("catalog.md, line {line}"), example.to_owned()));
        rest = after;
    }
    examples
}

/// The page's examples and those beside it.
fn all_examples() -> Vec<(String, String)> {
    let mut examples = examples(&page());
    for name in ["ai-product", "catalog", "growth", "prompts", "sinks", "team"] {
        let file = deploy().join(format!("example/{name}.yaml"));
        examples.push((format!("{name}.yaml"), fs::read_to_string(file).expect("it is there")));
    }
    examples
}

/// Where the mappings and values of a file stand.
#[derive(Default)]
struct Paths {
    mappings: BTreeMap<asked::Mapping, Vec<String>>,
    /// Words and texts.
    scalars: BTreeMap<(usize, usize), Vec<String>>,
    /// All that there is.
    all: BTreeSet<Vec<String>>,
}

impl Paths {
    fn walk(&mut self, node: &Node, path: &[String]) {
        let below = |step: &str| [path, &[step.to_owned()]].concat();
        self.all.insert(path.to_vec());
        match &node.value {
            Value::Map(entries) => {
                if let Some(mapping) = asked::mapping(entries) {
                    self.mappings.insert(mapping, path.to_vec());
                }
                entries.iter().for_each(|(key, node)| self.walk(node, &below(&key.text)));
            }
            Value::List(items) => items.iter().for_each(|node| self.walk(node, &below("N"))),
            Value::Plain(_) | Value::Quoted(_) => {
                self.scalars.insert((node.place.line, node.place.column), path.to_vec());
            }
            Value::Nothing => {}
        }
    }
}

/// An add-on and an older version of a plan are written as a plan is, and all windows alike.
fn written_alike(path: &[String]) -> Vec<String> {
    let plan = |rest: &[String]| [&["plans".to_owned(), "PLAN".to_owned()], rest].concat();
    match path {
        [plans, _, versions, _, rest @ ..] if plans == "plans" && versions == "versions" => {
            plan(rest)
        }
        [addons, _, rest @ ..] if addons == "addons" => plan(rest),
        [features, _, window, rest @ ..] if features == "features" && window == "window" => {
            let limit = ["features", "FEATURE", "limits", "LIMIT", "window"].map(str::to_owned);
            [&limit[..], rest].concat()
        }
        _ => path.to_vec(),
    }
}

/// The rows of the page: the pattern of their table, and of each key what its rows say.
type Rows = BTreeMap<String, BTreeMap<String, String>>;

fn rows(page: &str) -> Rows {
    let mut rows = Rows::new();
    let mut patterns: Vec<&str> = Vec::new();
    for line in page.lines() {
        if line.starts_with('#') {
            patterns = line.split('`').skip(1).step_by(2).collect();
        } else if line.starts_with("| `") && !patterns.is_empty() {
            let first = line.split('|').nth(1).expect("a cell");
            for key in first.split('`').skip(1).step_by(2) {
                for pattern in &patterns {
                    let row = rows.entry((*pattern).to_owned()).or_default();
                    row.entry(key.to_owned()).or_default().push_str(line);
                }
            }
        }
    }
    rows
}

fn is_name(step: &str) -> bool {
    step.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The pattern of the page that is for this path: that with the fewest names in capitals.
fn pattern_of<'r>(rows: &'r Rows, path: &[String]) -> Option<&'r str> {
    let path = written_alike(path);
    if path.is_empty() {
        return rows.keys().map(String::as_str).find(|pattern| *pattern == "catalog");
    }
    let fits = |pattern: &&str| {
        let steps: Vec<&str> = pattern.split('.').collect();
        let mut both = steps.iter().zip(&path);
        steps.len() == path.len() && both.all(|(step, own)| is_name(step) || step == own)
    };
    let names = |pattern: &&str| pattern.split('.').filter(|step| is_name(step)).count();
    rows.keys().map(String::as_str).filter(fits).min_by_key(names)
}

/// What the reader asks for, over all examples.
struct Known {
    keys: BTreeSet<(String, String)>,
    /// A key and the words that its value may be.
    words: BTreeMap<(String, String), BTreeSet<String>>,
    /// Keys that some example has.
    used: BTreeSet<(String, String)>,
    problems: Vec<String>,
}

fn known(rows: &Rows) -> Known {
    let (keys, words, used) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    let mut known = Known { keys, words, used, problems: Vec::new() };
    for (name, text) in all_examples() {
        asked::take();
        if let Err(problems) = parse(&name, text.as_bytes(), &NoSecrets) {
            known.problems.push(problems.to_string());
        }
        let asked = asked::take();
        let root = yaml::parse(&text, &mut Vec::new()).expect("it was read");
        let mut paths = Paths::default();
        paths.walk(&root, &[]);
        for (mapping, keys) in asked.keys {
            // What is not in the file is of a preset, which the reader fills in.
            let Some(path) = paths.mappings.get(&mapping) else { continue };
            let keys =
                keys.into_iter().filter(|key| !asked.misplaced.contains(&(mapping.clone(), *key)));
            for key in keys {
                let Some(pattern) = pattern_of(rows, path) else {
                    known.problems.push(format!("{name}: no table for `{}`", path.join(".")));
                    continue;
                };
                let key = (pattern.to_owned(), key.to_owned());
                known.keys.insert(key);
            }
        }
        for (place, words) in asked.words {
            let Some(path) = paths.scalars.get(&(place.line, place.column)) else { continue };
            let path: Vec<String> =
                path.iter().rev().skip_while(|step| *step == "N").cloned().collect();
            let Some((key, path)) = path.split_first() else { continue };
            let path: Vec<String> = path.iter().rev().cloned().collect();
            if let Some(pattern) = pattern_of(rows, &path) {
                let all = known.words.entry((pattern.to_owned(), key.clone())).or_default();
                all.extend(words);
            }
        }
        for path in &paths.all {
            if let Some((key, path)) = path.split_last()
                && let Some(pattern) = pattern_of(rows, path)
            {
                known.used.insert((pattern.to_owned(), key.clone()));
            }
        }
    }
    // Two keys stand beside names of limits, so they are taken one by one.
    for key in [credits::PAID_BY, UNLOCK_AFTER] {
        known.keys.insert(("plans.PLAN.entitlements.FEATURE".to_owned(), key.to_owned()));
    }
    known
}

/// What the reader takes of an allocation, as of every limit, so that the check can say why it cannot be.
fn is_refused((pattern, key): &(String, String)) -> bool {
    let of_allocation = [
        ("plans.PLAN.entitlements.FEATURE", "on_change"),
        ("plans.PLAN.entitlements.FEATURE.policy.overage", "cap_minor"),
    ];
    of_allocation.contains(&(pattern.as_str(), key.as_str()))
}

#[test]
fn every_example_of_the_reference_is_a_catalog_without_problems() {
    let examples = examples(&page());
    assert!(examples.len() > 15, "{} examples", examples.len());
    let problems = known(&rows(&page())).problems;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_reference_names_the_keys_that_the_reader_knows_and_no_others() {
    let rows = rows(&page());
    let known = known(&rows);
    let named: BTreeSet<(String, String)> = rows
        .iter()
        .flat_map(|(pattern, keys)| keys.keys().map(|key| (pattern.clone(), key.clone())))
        .collect();
    let missing: Vec<_> = known.keys.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&known.keys).collect();
    assert!(missing.is_empty(), "deploy/catalog.md has no row for {missing:?}");
    assert!(unknown.is_empty(), "deploy/catalog.md has rows for what is no key: {unknown:?}");
    let is_shown = |key: &&(String, String)| {
        // Variants and translations have the texts of prompts.
        let is_text = key.0.starts_with("prompts.N.");
        let used = &known.used;
        used.contains(*key) || is_text && used.iter().any(|(_, used)| *used == key.1)
    };
    let unused: Vec<_> =
        known.keys.iter().filter(|key| !is_shown(key) && !is_refused(key)).collect();
    assert!(unused.is_empty(), "no example in deploy/ has {unused:?}");
}

#[test]
fn the_reference_names_every_word_that_a_key_may_have() {
    let rows = rows(&page());
    let mut missing = Vec::new();
    for ((pattern, key), words) in known(&rows).words {
        // Names of the operator's choice have no row; signals have a table.
        let Some(row) = rows[&pattern].get(&key) else { continue };
        if words.len() <= WORDS_IN_A_ROW_MAX {
            let absent = words.iter().filter(|word| !row.contains(&format!("`{word}`")));
            missing.extend(absent.map(|word| format!("`{pattern}.{key}` may be `{word}`")));
        }
    }
    assert!(missing.is_empty(), "deploy/catalog.md does not say: {}", missing.join(", "));
}
