//! On which of the last 32 days something happened, in eight bytes.
//!
//! Marking a day twice is the same as once, so whatever is told again counts once without any memory
//! of who told it.

use headroom_core::time::Millis;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How many days are remembered.
pub const SPAN: u32 = u32::BITS;

/// A day: how many there are since the Unix epoch, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(pub i32);

impl Day {
    /// The day of an instant. Instants outside the calendar are on its first or last day.
    pub fn of(at: Millis) -> Day {
        let days = at.0.div_euclid(DAY_MS);
        Day(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
    }

    /// Days from `earlier` to here; negative when that is later.
    pub fn since(self, earlier: Day) -> i64 {
        i64::from(self.0) - i64::from(earlier.0)
    }
}

/// The days on which something happened: the last one, and the 31 before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Days {
    last: Day,
    // Invariant: the lowest bit is `last`, and is set; bit n is n days earlier.
    bits: u32,
}

impl Days {
    /// One day.
    pub fn on(day: Day) -> Days {
        Days { last: day, bits: 1 }
    }

    /// From what [`Self::parts`] gave. `None`: it was not that.
    pub fn from_parts(last: Day, bits: u32) -> Option<Days> {
        (bits & 1 == 1).then_some(Days { last, bits })
    }

    /// The last day, and which of the days before it: bit n is n days earlier.
    pub fn parts(self) -> (Day, u32) {
        (self.last, self.bits)
    }

    /// The last day.
    pub fn last(self) -> Day {
        self.last
    }

    /// With this day, too. A day that is too long ago changes nothing.
    #[must_use]
    pub fn with(self, day: Day) -> Days {
        let later = day.since(self.last);
        if later > 0 {
            let kept = u32::try_from(later).ok().and_then(|shift| self.bits.checked_shl(shift));
            return Days { last: day, bits: kept.unwrap_or(0) | 1 };
        }
        let bit = u32::try_from(-later).ok().and_then(|shift| 1u32.checked_shl(shift));
        Days { bits: self.bits | bit.unwrap_or(0), ..self }
    }

    /// How many of the `span` days up to `today`, today included, are among them. Days after today do
    /// not count. A span above [`SPAN`] is as long as that.
    pub fn count(self, today: Day, span: u32) -> u32 {
        let span = span.min(SPAN);
        let within = u32::MAX.checked_shr(SPAN - span).unwrap_or(0);
        let ahead = self.last.since(today);
        let bits = if ahead >= 0 {
            // Days to come fall out at the low end.
            u32::try_from(ahead).ok().and_then(|ahead| self.bits.checked_shr(ahead)).unwrap_or(0)
        } else {
            let ago = u32::try_from(-ahead).ok();
            ago.and_then(|ago| self.bits.checked_shl(ago)).unwrap_or(0)
        };
        (bits & within).count_ones()
    }
}
