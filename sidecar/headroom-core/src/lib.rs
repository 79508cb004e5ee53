//! headroom-core: the rules.
//!
//! Pure functions of state, request and time: no clock, no IO, no threads, no randomness, no hash
//! order. A rule that can be written without `await` lives here.
//!
//! - [`decide`] answers requests; [`account`] holds the state they are answered from, and is the
//!   only place that changes it, by applying [`effect`]s.
//! - [`window`] cuts time, [`ledger`] counts in it, [`resolve`] says what a limit is for an account.
//! - [`rate`] is the arithmetic of token buckets, [`stock`] that of levels over a billing window.
//! - [`change`] is what becomes of a limit when the plan changes in the middle of its window.
//! - [`ending`] is what is told ahead of its end: trials.
//! - [`unlock`] is what use unlocks.
//! - [`versions`] of a plan are plans of their own; [`migrate`] is what a new catalog would take away.
//! - [`subject`] is who inside an account is counted, where limits are per user or team.
//! - [`catalog`] is what can be sold; [`prompt`] and [`signal`] are what is said about it.

pub mod account;
pub mod announced;
pub mod catalog;
mod catalog_check;
pub mod change;
pub mod closing;
pub mod cohort;
pub mod credits;
pub mod decide;
pub mod decision;
pub mod effect;
pub mod ending;
pub mod event;
mod fingerprint;
pub mod ledger;
pub mod limits;
pub mod measure;
pub mod migrate;
pub mod names;
pub mod origin;
pub mod owing;
pub mod policy;
pub mod prompt;
pub mod rate;
pub mod reservation;
pub mod resolve;
pub mod seats;
pub mod signal;
pub mod spend_cap;
pub mod stock;
pub mod subject;
pub mod suggest;
pub mod tally;
pub mod time;
pub mod unlock;
pub mod versions;
pub mod window;
