//! headroom-expansion: from signals to growth.
//!
//! Whether an account is ready to be sold to, how much speaks for it, and who is to do what about a
//! signal. Pure functions of facts and time: no clock, no IO, no randomness, no hash order. Whole
//! numbers throughout: facts in thousandths, points in tenths.
//!
//! - [`facts`] is what is known of an account; [`activity`] is what its people did, as days.
//! - [`terms`] is what an operator may set, with every default; [`check`] finds what is wrong in it.
//! - [`gate`] says whether an account is ready, [`score`] how much speaks for it, with its parts.
//! - [`route`] names the play, the owner and the message of a signal; [`class`] sorts signals.
//! - [`rule`] is an expression about all that, [`watch`] a signal that comes of one.
//! - [`opportunity`] is what became of a signal, and whether it takes too long.
//! - [`benchmark`] is what accounts of a size usually have.
//! - [`report`] says whether the gate itself is any good.
//! - [`chronicle`] is what was known at each look, and [`backtest`] tries rules on it.
//!
//! What a person meets at a limit is no matter of this crate: prompts there are never held back.

pub mod activity;
pub mod backtest;
pub mod benchmark;
pub mod check;
pub mod chronicle;
pub mod class;
pub mod days;
pub mod facts;
pub mod gate;
pub mod limits;
pub mod opportunity;
pub mod report;
pub mod route;
pub mod rule;
pub mod score;
pub mod terms;
pub mod watch;
