//! Histories and what is foretold from them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod forecasts;
mod histories;
mod trends;

/// Milliseconds of an hour.
const HOUR: i64 = 3_600_000;

/// Milliseconds of a day.
const DAY: i64 = 24 * HOUR;

/// A Monday, at midnight.
const MONDAY: i64 = 1_736_121_600_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
