//! Instants and spans, in milliseconds. Nothing here reads a clock.

use std::fmt;

/// An instant: milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub i64);

impl Millis {
    /// Later than every instant that happens: the end of a lifetime window.
    pub const FOREVER: Millis = Millis(i64::MAX);

    /// This instant moved by `ms` milliseconds; stops at the ends of the range.
    pub fn plus(self, ms: i64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here; negative when `earlier` is later.
    pub fn since(self, earlier: Millis) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Millis {
    /// RFC 3339 in UTC, or the bare number where the calendar ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// A half-open span of time `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    // Invariant: start < end.
    start: Millis,
    end: Millis,
}

impl Window {
    /// A window, or `None` when it would be empty or turned round.
    pub fn new(start: Millis, end: Millis) -> Option<Window> {
        (start < end).then_some(Window { start, end })
    }

    /// All of time.
    pub const fn always() -> Window {
        Window { start: Millis(i64::MIN), end: Millis::FOREVER }
    }

    /// All of time from `start` on.
    pub fn lifetime(start: Millis) -> Window {
        // An account created at the very last millisecond still gets a window.
        Window { start: start.min(Millis(i64::MAX - 1)), end: Millis::FOREVER }
    }

    /// The first instant inside.
    pub fn start(&self) -> Millis {
        self.start
    }

    /// The first instant after it; [`Millis::FOREVER`] when it never ends.
    pub fn end(&self) -> Millis {
        self.end
    }

    /// Whether the window never ends.
    pub fn is_lifetime(&self) -> bool {
        self.end == Millis::FOREVER
    }

    /// Whether `at` lies inside.
    pub fn contains(&self, at: Millis) -> bool {
        self.start <= at && at < self.end
    }
}
