//! A mistake is one problem, and hides no other: every value of a catalog in its turn is made unreadable.

use super::super::sinks::NoSecrets;
use super::super::yaml::{self, Node, Value};
use super::reference::{examples, page};
use super::*;

/// What no key may have as its value, in a block or between braces. Only a config takes it.
const UNREADABLE: &str = "[[]]";

/// The places of all words and texts that stand in one line.
fn scalars(node: &Node, found: &mut Vec<Place>) {
    match &node.value {
        Value::Map(entries) => entries.iter().for_each(|(_, node)| scalars(node, found)),
        Value::List(items) => items.iter().for_each(|node| scalars(node, found)),
        Value::Plain(_) | Value::Quoted(_) if node.last_line == node.place.line => {
            found.push(node.place);
        }
        Value::Plain(_) | Value::Quoted(_) | Value::Nothing => {}
    }
}

/// The catalog with one value after the other made unreadable, and where that stands.
fn spoilt(text: &str) -> Vec<(Place, String)> {
    let root = yaml::parse(text, &mut Vec::new()).expect("it is YAML");
    let mut places = Vec::new();
    scalars(&root, &mut places);
    let spoil = |place: Place| {
        let lines = text.lines().enumerate().map(|(ix, line)| {
            if ix + 1 != place.line {
                return line.to_owned();
            }
            let before: String = line.chars().take(place.column - 1).collect();
            let after: String = line.chars().skip(place.column - 1 + place.width).collect();
            format!("{before}{UNREADABLE}{after}")
        });
        (place, lines.collect::<Vec<_>>().join("\n"))
    };
    places.into_iter().map(spoil).collect()
}

/// What is told of a catalog, and where: of one line what follows the place that was made unreadable is moved.
fn told(text: &str, spoilt: Option<Place>) -> Vec<(Place, String)> {
    let Err(problems) = parse("c", text.as_bytes(), &NoSecrets) else { return Vec::new() };
    let told = |problem: &Problem| {
        let mut place = problem.place.expect("it has a place");
        if let Some(spoilt) = spoilt
            && (spoilt.line, spoilt.column) < (place.line, place.column)
            && spoilt.line == place.line
        {
            place.column = place.column + spoilt.width - UNREADABLE.len();
        }
        (place, problem.message.clone())
    };
    problems.list().iter().map(told).collect()
}

#[test]
fn a_value_that_cannot_be_read_is_one_problem() {
    let mut others = Vec::new();
    for (name, text) in examples(&page()) {
        for (place, spoilt) in spoilt(&text) {
            for (found, message) in told(&spoilt, Some(place)) {
                // Where a list is read, what is in it is wrong.
                let is_at = (place.column..=place.column + 1).contains(&found.column);
                if found.line != place.line || !is_at {
                    others.push(format!("{name}, after {place:?}: {found:?} {message}"));
                }
            }
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

/// A catalog of mistakes, each of which is only found when what stands beside it was read.
const MISTAKEN: &str = "\
default_plan: fre
features:
  tokens:
    name: ''
    kind: quota
    unit: ''
    rollout: 250%
    cohorts: ['b b']
    usage: { buckets: hour, dimensions: [a, a] }
    limits:
      monthly: { window: { billing: '3 months' } }
      'a b': { window: billing, per: user }
  devices:
    name: Devices
    kind: quota
    aggregation: unique
    unique_by: 'a b'
    limits: { m: { window: { sliding: 1 day } }, n: { window: billing } }
  ai: { name: '', kind: credits, window: { sliding: 1 day }, rate_card: { nope: { credits: 5, per: 2 } } }
  gb: { name: '', kind: allocation, billed_by: peak, window: lifetime }
  people: { name: '', kind: seats, invitations: 0 days }
  slots: { name: '', kind: concurrency }
  api: { name: '', kind: rate }
plans:
  free:
    name: ''
    price: { amount_minor: 5, currency: dollars, per: month }
    entitlements:
      tokens:
        monthly: { included: 5, soft_limits: [120%, 50%, 50%], policy: { grace: { up_to: 0%, for: 3 days, notice: 5 days, times: 0 per year } }, debt: forgive, on_change: keep }
        'a b': { included: 5, policy: { overage: { unit_price_minor: 0.1, currency: usd, cap_minor: 5 } }, debt: carry, on_change: reset }
        typo: { included: 5 }
      ai: { included: 5, priority: 3, rollover: { min: 5, max: 2 }, overdraft: { up_to: 5 }, debt: forgive, soft_limits: [120%] }
      gb: { included: 5, policy: { overage: { unit_price_minor: 0.1, currency: usd, cap_minor: 5 } }, debt: carry, on_change: reset }
      people: { included: 3, soft_limits: [120%] }
      slots: { max: 3, soft_limits: [120%], each: 2 }
      api: { rate: 1 per day, burst: 900000, each: { rate: 1 per second, burst: 5 } }
  pro:
    name: ''
    version: 2
    versions: { 1: { name: '', price: { amount_minor: 5, currency: dollars, per: year }, entitlements: { nope: on } } }
    entitlements: { nope: on }
addons:
  more: { name: '', entitlements: { tokens: { monthly: { included: 5, on_change: reset } } } }
prompting:
  language: en
  languages: [de]
  caps: [{ per: person, shown: 2, within: 700 days }]
  quiet_hours: { from: '08:00', to: '08:00' }
prompts:
  - prompt: 'a b'
    scenario: limit_hit
    feature: nope
    plans: [free, nope]
    segments: ['']
    audiences: [buyer, buyer]
    title: '{{ nope }}'
    message: '{{ nope }}'
    url: https://example.com
    languages: { de: { title: '{{ nope }}' }, fr: { title: T } }
    variants: [{ variant: control, share: 80%, title: '{{ nope }}' }, { variant: bold, share: 30%, title: T }]
    holdout: 70%
    caps: [{ per: person, shown: 2, within: 700 days }]
    cool_down: 700 days
    offer: nope
migrations:
  - { move_plan: free, to: nope }
  - { rename_feature: tokens, to: nope }
";

/// What a mistake needs to be found: a part of its message, and the values without which it is none.
const NEEDS: [(&str, &[&str]); 24] = [
    ("the grace is 0%", &["0%"]),
    ("the notice must come before", &["3 days", "5 days"]),
    ("grace may be used", &["0 per year"]),
    ("that debt could be carried into", &["carry"]),
    ("that a change of plan could move", &["reset"]),
    ("would be offered what they have", &["nope"]),
    ("a rename is of one that is called otherwise", &["nope"]),
    ("the soft limit 50% is given twice", &["50%"]),
    ("dimension `a` is there twice", &["a"]),
    ("the name \"b b\"", &["'b b'"]),
    ("the name \"a b\"", &["unique"]),
    ("cannot slide", &["unique", "1 day"]),
    ("the window must be", &["1 day"]),
    ("roll over", &["5", "2"]),
    ("would be given away", &["5", "forgive"]),
    ("the most is of the account alone", &["2"]),
    ("an empty bucket takes", &["1 per day", "900000"]),
    ("in `de`", &["en", "de"]),
    ("languages in `prompting.languages`", &["en", "de"]),
    ("unknown fact `nope`", &["en", "de", "'{{ nope }}'"]),
    ("they end when they begin", &["'08:00'"]),
    ("is never held back", &["limit_hit"]),
    ("`buyer` is listed twice", &["buyer"]),
    ("more than 100% together", &["80%", "30%"]),
];

#[test]
fn a_value_that_cannot_be_read_hides_nothing_else() {
    let all = told(MISTAKEN, None);
    let mut hidden = Vec::new();
    for (place, spoilt) in spoilt(MISTAKEN) {
        let line = MISTAKEN.lines().nth(place.line - 1).expect("it is there");
        let value: String = line.chars().skip(place.column - 1).take(place.width).collect();
        let value = value.trim();
        if line.chars().take(place.column - 1).collect::<String>().ends_with("kind: ") {
            // What there is to find depends on the kind.
            continue;
        }
        let found = told(&spoilt, Some(place));
        for (at, message) in &all {
            let is_same = |(other, same): &(Place, String)| {
                (other.line, other.column, same) == (at.line, at.column, message)
            };
            let is_needed = NEEDS
                .iter()
                .any(|(part, values)| message.contains(part) && values.contains(&value));
            let is_itself = (at.line, at.column) == (place.line, place.column);
            if !is_itself && !is_needed && !found.iter().any(is_same) {
                hidden.push(format!("`{value}` in line {} hides: {at:?} {message}", place.line));
            }
        }
    }
    assert!(hidden.is_empty(), "{}", hidden.join("\n"));
    assert!(all.len() > 50, "{} mistakes", all.len());
}
