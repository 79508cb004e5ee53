//! Scores: how much speaks for an account, always with the parts that make it up.
//!
//! A part gives its points by one fact, in a straight line between two values: none at `zero_at`, all at
//! `full_at`, rounded down to tenths. `full_at` below `zero_at` is a part where less is better. A missing
//! fact gives nothing and is named.

use crate::facts::Facts;

/// One part of a score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTerms {
    /// Its name, unique in its card.
    pub part: String,
    /// What it belongs to, for people; may be empty.
    pub group: String,
    /// The fact it looks at.
    pub fact: String,
    /// The most it gives, in tenths of points.
    pub points_max_tenths: u32,
    /// The value, in thousandths, at which it gives nothing.
    pub zero_at: i64,
    /// The value, in thousandths, at which it gives everything; never the same as `zero_at`.
    pub full_at: i64,
}

/// A word for a score from so many points on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    /// The word.
    pub band: String,
    /// From so many tenths of points on, included.
    pub from_tenths: u32,
    /// What to do with such an account; may be empty.
    pub advice: String,
}

/// How a score is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its parts.
    pub parts: Vec<PartTerms>,
    /// Its bands, ascending; the first begins at 0.
    pub bands: Vec<Band>,
    /// The least that a score is, in tenths of points.
    pub least_tenths: u32,
}

impl Card {
    /// The most points there are, in tenths.
    pub fn points_max_tenths(&self) -> u32 {
        self.parts.iter().map(|part| part.points_max_tenths).sum()
    }
}

/// What a part gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub part: String,
    /// What it belongs to.
    pub group: String,
    /// The fact it looked at.
    pub fact: String,
    /// The fact's value, in thousandths. `None`: it is missing, or no number.
    pub value: Option<i64>,
    /// Points, in tenths.
    pub points_tenths: u32,
    /// The most it gives, in tenths.
    pub points_max_tenths: u32,
}

/// A score and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// Points, in tenths.
    pub points_tenths: u32,
    /// The most there are, in tenths.
    pub points_max_tenths: u32,
    /// The word for so many.
    pub band: String,
    /// What to do with such an account; may be empty.
    pub advice: String,
    /// Every part, in the order of the card.
    pub parts: Vec<Part>,
}

impl Score {
    /// Facts that gave nothing because they are missing, in the order of the card.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let missing = self.parts.iter().filter(|part| part.value.is_none());
        missing.map(|part| part.fact.as_str())
    }
}

/// Makes a score.
pub fn score(card: &Card, facts: &Facts) -> Score {
    let parts: Vec<Part> = card.parts.iter().map(|terms| part(terms, facts)).collect();
    let sum: u32 = parts.iter().map(|part| part.points_tenths).sum();
    let points_tenths = sum.max(card.least_tenths);
    let band = card.bands.iter().rev().find(|band| band.from_tenths <= points_tenths);
    Score {
        points_tenths,
        points_max_tenths: card.points_max_tenths(),
        band: band.map_or_else(String::new, |band| band.band.clone()),
        advice: band.map_or_else(String::new, |band| band.advice.clone()),
        parts,
    }
}

fn part(terms: &PartTerms, facts: &Facts) -> Part {
    let value = facts.number(&terms.fact);
    Part {
        part: terms.part.clone(),
        group: terms.group.clone(),
        fact: terms.fact.clone(),
        value,
        points_tenths: value.map_or(0, |value| points_tenths(terms, value)),
        points_max_tenths: terms.points_max_tenths,
    }
}

/// Points of a value: its share of the way from `zero_at` to `full_at`, rounded down.
fn points_tenths(terms: &PartTerms, value: i64) -> u32 {
    let (from, to) = (i128::from(terms.zero_at), i128::from(terms.full_at));
    // Turned so that the way leads up.
    let sign = if from <= to { 1 } else { -1 };
    let whole = (to - from) * sign;
    let gone = ((i128::from(value) - from) * sign).clamp(0, whole);
    if whole == 0 {
        return 0;
    }
    let points = i128::from(terms.points_max_tenths) * gone / whole; // Neither is negative: the floor.
    u32::try_from(points).unwrap_or(terms.points_max_tenths)
}
