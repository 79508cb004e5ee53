//! The gate: whether an account is ready to be sold to.
//!
//! Every condition of its segment must hold and no risk flag be set. What a condition needs and does
//! not know is decided by the segment: where the product sells itself it is passed over, where people
//! sell it fails. Either way it is named.

use std::fmt;

use crate::facts::{Facts, Value};
use crate::terms::{Segment, Terms};

/// What a condition asks of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// A number above this, in thousandths.
    Above(i64),
    /// A number of this or more, in thousandths.
    AtLeast(i64),
    /// A number below this, in thousandths.
    Below(i64),
    /// A number of this or less, in thousandths.
    AtMost(i64),
    /// One of these words.
    OneOf(Vec<String>),
    /// A flag like this.
    Is(bool),
}

/// A test of a number.
type OfNumber = fn(i64) -> Test;

impl Test {
    /// Reads a test of a number: `above 30`, `at least 75`, `below 5`, `at most 2`; a percent sign after
    /// the number is read over.
    ///
    /// # Errors
    /// What the text must look like.
    pub fn parse(text: &str) -> Result<Test, String> {
        let words: [(&str, OfNumber); 4] = [
            ("above ", Test::Above),
            ("at least ", Test::AtLeast),
            ("below ", Test::Below),
            ("at most ", Test::AtMost),
        ];
        let found =
            words.iter().find_map(|(word, test)| Some((text.strip_prefix(word)?.trim(), test)));
        let number = found.and_then(|(number, test)| {
            match Value::number(number.strip_suffix('%').unwrap_or(number).trim_end())? {
                Value::Number(parts) => Some(test(parts)),
                Value::Text(_) | Value::Flag(_) => None,
            }
        });
        number.ok_or_else(|| {
            format!(
                "{text:?} is no test: write `above 30`, `at least 75`, `below 5` or `at most 2`"
            )
        })
    }

    /// Whether a fact is as asked. `None`: it is missing, or not of the kind.
    pub fn holds(&self, facts: &Facts, fact: &str) -> Option<bool> {
        match self {
            Test::Above(than) => Some(facts.number(fact)? > *than),
            Test::AtLeast(least) => Some(facts.number(fact)? >= *least),
            Test::Below(than) => Some(facts.number(fact)? < *than),
            Test::AtMost(most) => Some(facts.number(fact)? <= *most),
            Test::OneOf(words) => {
                let found = facts.text(fact)?;
                Some(words.iter().any(|word| word == found))
            }
            Test::Is(wanted) => match facts.get(fact)? {
                Value::Flag(flag) => Some(flag == wanted),
                Value::Number(_) | Value::Text(_) => None,
            },
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Above(parts) => write!(f, "above {}", Value::Number(*parts)),
            Test::AtLeast(parts) => write!(f, "at least {}", Value::Number(*parts)),
            Test::Below(parts) => write!(f, "below {}", Value::Number(*parts)),
            Test::AtMost(parts) => write!(f, "at most {}", Value::Number(*parts)),
            Test::OneOf(words) => f.write_str(&words.join(" or ")),
            Test::Is(flag) => flag.fmt(f),
        }
    }
}

/// One condition of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The fact it is about, which names it.
    pub fact: String,
    /// What it asks.
    pub test: Test,
}

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The fact.
    pub fact: String,
    /// What was needed, in words.
    pub needed: String,
    /// What there is, in words. `None`: it is missing, or not of the kind.
    pub found: Option<String>,
}

/// What the gate says of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The segment by which it was judged.
    pub segment: String,
    /// Nothing said which segment it is of, or named one that the catalog does not have.
    pub is_segment_assumed: bool,
    /// Conditions that do not hold, in the order of the segment.
    pub failed: Vec<Failure>,
    /// Facts that are missing and were passed over, in the order of the segment.
    pub unknown: Vec<String>,
    /// Risk flags that are set. Any of them holds everything.
    pub risks: Vec<String>,
}

impl Readiness {
    /// Whether the account may be sold to.
    pub fn is_passed(&self) -> bool {
        self.failed.is_empty() && self.risks.is_empty()
    }
}

/// Judges an account.
pub fn readiness(terms: &Terms, facts: &Facts) -> Readiness {
    let (segment, is_segment_assumed) = terms.segment_of(facts);
    let Segment { passes_unknown, conditions, .. } = segment;
    let (mut failed, mut unknown) = (Vec::new(), Vec::new());
    for Condition { fact, test } in conditions {
        match test.holds(facts, fact) {
            Some(true) => {}
            None if *passes_unknown => unknown.push(fact.clone()),
            Some(false) | None => failed.push(Failure {
                fact: fact.clone(),
                needed: test.to_string(),
                found: facts.get(fact).map(Value::to_string),
            }),
        }
    }
    let risks = terms.risks.iter().filter(|risk| facts.is(risk)).cloned().collect();
    Readiness { segment: segment.segment.clone(), is_segment_assumed, failed, unknown, risks }
}
