//! Projections: when an account's limits are reached, told from what it used before.
//!
//! Histories are made off the road of requests: at each hour of the domain's clock a sweep looks at the
//! accounts that were written since the last one, and adds what their counters grew by (`sweep`). They
//! are kept in a file of their own, which is no part of the truth: without it, projections learn anew
//! from the window that lasts. An answer that asks for its projection finds it in memory, or has it
//! made in a tenth of a millisecond after its account was let go (`book`).

mod book;
mod row;
mod sweep;

pub use book::{Forecasts, Projection};
pub use sweep::Sweep;

/// Limits whose histories and forecasts are kept in memory, the latest asked about. When there are more,
/// a quarter of them leaves, the longest unasked first; those are read again when they are asked about.
/// One takes 2 KB on average and 4 KB at most.
pub const KEPT_MAX: usize = 8_192;

/// How long a forecast may be told again: five minutes, or a part of its window.
pub const FRESH_MS_MAX: i64 = 5 * 60 * 1000;

/// The part of a window for which a forecast may be told again: one in this many.
pub const FRESH_PART: i64 = 200;

/// It is made anew as soon as this part of the limit was used since: one in this many.
pub const MOVED_PART: u64 = 200;

/// Rows that a sweep writes in one step.
pub const SWEEP_ROWS: usize = 512;

/// Closed windows that a sweep reads of one limit. A window of an hour has a few between two sweeps;
/// after a long stop, what is older than these is left out of the history.
pub const CLOSED_WINDOWS_MAX: usize = 1_024;
