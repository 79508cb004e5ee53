//! The rules of growth, each in the name of a test.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod activity;
mod backtest;
mod benchmark;
mod check;
mod chronicle;
mod gate;
mod opportunity;
mod route;
mod rule;
mod score;

use headroom_expansion::facts::{Facts, Value};

/// Facts from words: a number, `true`, `false`, or a text.
fn facts(words: &[(&str, &str)]) -> Facts {
    let value = |text: &str| match text {
        "true" => Value::Flag(true),
        "false" => Value::Flag(false),
        text => Value::number(text).unwrap_or_else(|| Value::Text(text.to_owned())),
    };
    Facts::of(words.iter().map(|(name, text)| ((*name).to_owned(), value(text))))
}
