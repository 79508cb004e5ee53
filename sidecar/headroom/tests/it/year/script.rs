//! The script of the year, as text: a line says when and what, and what is indented below it is what came
//! of it when somebody last read it.
//!
//! ```text
//! # A sentence for the reader.
//! 2030-01-07 09:00 invite ben
//!     allowed, 2 of 5 seats taken
//! 2030-01-07..2030-01-18 works 120 by ann,ben/2 with dashboards
//! ```

use jiff::civil::{Date, DateTime, Time};

/// A line of the script.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// As it is written.
    pub(super) text: String,
    pub(super) what: What,
}

/// What a line asks for.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Nothing: it is for the reader.
    Words,
    /// Something at an instant.
    At(DateTime, Vec<String>),
    /// Work on the days of a span, the last one included, whatever else happens meanwhile.
    Span(Date, Date, Work),
}

impl Line {
    /// When it begins, if it asks for anything.
    pub(super) fn begins(&self) -> Option<DateTime> {
        match &self.what {
            What::Words => None,
            What::At(at, _) => Some(*at),
            What::Span(first, ..) => Some(first.to_datetime(Time::midnight())),
        }
    }
}

/// What a team does on a working day.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// Queries a day, about.
    pub(super) queries: u64,
    /// Who is there, and on every how many days.
    pub(super) people: Vec<(String, i64)>,
    /// What they use besides.
    pub(super) features: Vec<String>,
}

/// Reads a script, without what came of it.
pub(super) fn read(text: &str) -> Vec<Line> {
    let lines = text.lines().filter(|line| !line.starts_with("    "));
    lines.map(|text| Line { text: text.to_owned(), what: what(text) }).collect()
}

fn what(text: &str) -> What {
    if text.is_empty() || text.starts_with('#') {
        return What::Words;
    }
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    if let Some((first, last)) = words[0].split_once("..") {
        return What::Span(date(first), date(last), work(&words[1..]));
    }
    let at = format!("{}T{}", words[0], words[1]).parse();
    What::At(at.unwrap_or_else(|error| panic!("{text}: {error}")), words[2..].to_vec())
}

fn date(text: &str) -> Date {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `works 120 by ann,ben/2 with dashboards,exports`
fn work(words: &[String]) -> Work {
    let [works, queries, by, people, with, features] = words else {
        panic!("no work: {words:?}");
    };
    assert_eq!((works.as_str(), by.as_str(), with.as_str()), ("works", "by", "with"));
    let person = |text: &str| match text.split_once('/') {
        Some((person, days)) => (person.to_owned(), days.parse().expect("a number of days")),
        None => (text.to_owned(), 1),
    };
    Work {
        queries: queries.parse().expect("queries a day"),
        people: people.split(',').map(person).collect(),
        features: features.split(',').map(str::to_owned).collect(),
    }
}

impl Work {
    /// The queries of a day: more on a Tuesday than on a Friday, and never quite the same.
    pub(super) fn of(&self, day: Date) -> u64 {
        let shape = [105, 115, 110, 100, 70, 0, 0]; // Monday to Sunday.
        let weekday = shape[usize::try_from(day.weekday().to_monday_zero_offset()).expect("a day")];
        let uneven = number(day).unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        self.queries * weekday * (90 + uneven % 21) / 10_000
    }

    /// Who is there on a day.
    pub(super) fn people_on(&self, day: Date) -> Vec<&str> {
        let there = self.people.iter().filter(|(_, days)| number(day) % days == 0);
        there.map(|(person, _)| person.as_str()).collect()
    }
}

/// Days since 1970.
fn number(day: Date) -> i64 {
    let first = jiff::civil::date(1970, 1, 1);
    (day - first).get_days().into()
}
