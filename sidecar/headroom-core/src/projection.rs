//! Projections: when a limit is reached if the account goes on at its average pace.
//!
//! A straight line from the start of counting to now. It never speaks past the window's end.
//!
//! Of a sliding window no line is drawn: units leave it as others come, so at an even pace usage stays
//! where it is, and the pace of a part of it says nothing. Such a limit is reached, or learning.

use crate::decision::{LimitState, WindowPhase};
use crate::time::Millis;

/// Share of a window that must have passed before anything is said: one part in this many (5 %).
/// Less, and the first call of the month projects a month of such calls.
const LEARNING_PART: i64 = 20;

/// What must have passed of a window that never ends. Milliseconds: one day.
const LEARNING_LIFETIME_MS: i64 = 24 * 60 * 60 * 1000;

/// When a limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// Too little has passed to say; always so of a sliding window, and before the first use of one
    /// that begins with it.
    Learning,
    /// The included units are used up already.
    Reached,
    /// They will be, at this instant, within the window.
    ReachesLimit {
        /// When.
        at: Millis,
        /// Units used at the end of the window; `None` for a lifetime window.
        units_at_window_end: Option<u64>,
    },
    /// They will not be, within the window.
    WithinLimit {
        /// Units used at the end of the window; `None` for a lifetime window.
        units_at_window_end: Option<u64>,
    },
}

/// Projects one limit. Counting began at the start of the window, or when the account was created in
/// it. `None`: the limit is unlimited.
pub fn project(limit: &LimitState, created_at: Millis, now: Millis) -> Option<Projection> {
    let included = limit.included_units?;
    let window = limit.ledger.window;
    let used = limit.ledger.used;
    if used >= included {
        return Some(Projection::Reached);
    }
    match limit.phase {
        WindowPhase::Open => {}
        WindowPhase::NotBegun | WindowPhase::Sliding => return Some(Projection::Learning),
    }
    let since = window.start().max(created_at).min(now);
    let elapsed_ms = now.since(since);
    let learning_ms = if window.is_lifetime() {
        LEARNING_LIFETIME_MS
    } else {
        window.end().since(since) / LEARNING_PART
    };
    if elapsed_ms <= 0 || elapsed_ms < learning_ms {
        return Some(Projection::Learning);
    }
    let (elapsed, used_wide) = (i128::from(elapsed_ms), i128::from(used));
    let units_at_window_end = (!window.is_lifetime()).then(|| {
        // Rounded down: a projection does not promise a unit that is not used up.
        let units = used_wide * i128::from(window.end().since(since)) / elapsed;
        u64::try_from(units).unwrap_or(u64::MAX)
    });
    if used == 0 {
        return Some(Projection::WithinLimit { units_at_window_end });
    }
    // Rounded up: the limit is not reached before its last unit is used.
    let left_ms = (i128::from(included - used) * elapsed + used_wide - 1) / used_wide;
    let at = now.plus(i64::try_from(left_ms).unwrap_or(i64::MAX));
    Some(if at < window.end() {
        Projection::ReachesLimit { at, units_at_window_end }
    } else {
        Projection::WithinLimit { units_at_window_end }
    })
}
