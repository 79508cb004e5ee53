//! The domain's clock: what `now` is for every decision.
//!
//! The system clock never goes below its own high-water mark: when the machine's clock is set back,
//! time stands still until it has caught up, so no window opens twice. A test clock moves only when
//! told to. Signatures, back-off and logs use real time, not this.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use headroom_core::time::Millis;

/// The domain's clock.
#[derive(Debug)]
pub struct Clock {
    test: bool,
    // The test clock's hand, or the latest instant the system clock gave.
    hand: AtomicI64,
}

/// What one look at the clocks showed.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The domain's instant.
    pub now: Millis,
    /// Real time.
    pub real: SystemTime,
}

/// Why a clock could not be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// It is the system clock.
    #[error("the sidecar runs on the real clock; start it with `clock: test` to set it")]
    NotATestClock,
    /// It would go back.
    #[error("the clock is at {now} and cannot go back to {asked}")]
    WentBack {
        /// Where it is.
        now: Millis,
        /// Where it should have gone.
        asked: Millis,
    },
}

impl Clock {
    /// The machine's clock, never below `high_water`.
    pub fn system(high_water: Millis) -> Clock {
        Clock { test: false, hand: AtomicI64::new(high_water.0) }
    }

    /// A clock that stands at `at` until it is moved.
    pub fn test(at: Millis) -> Clock {
        Clock { test: true, hand: AtomicI64::new(at.0) }
    }

    /// Whether it is a test clock.
    pub fn is_test(&self) -> bool {
        self.test
    }

    /// The instant.
    pub fn now(&self) -> Millis {
        self.read().now
    }

    /// The one clock reading of a request: the domain's instant, and real time for its duration.
    pub fn read(&self) -> Reading {
        let real = SystemTime::now();
        Reading { now: self.instant(real), real }
    }

    fn instant(&self, real: SystemTime) -> Millis {
        let hand = self.hand.load(Ordering::Relaxed);
        if self.test {
            return Millis(hand);
        }
        let real = millis_of(real).0;
        if real > hand {
            // Written once a millisecond, so the line stays in every core's cache meanwhile.
            self.hand.fetch_max(real, Ordering::Relaxed);
        }
        Millis(real.max(hand))
    }

    /// Moves a test clock forward.
    pub fn set(&self, at: Millis) -> Result<Millis, ClockError> {
        if !self.test {
            return Err(ClockError::NotATestClock);
        }
        let before = self.hand.fetch_max(at.0, Ordering::Relaxed);
        if before > at.0 {
            return Err(ClockError::WentBack { now: Millis(before), asked: at });
        }
        Ok(at)
    }
}

/// What the machine's clock says.
pub fn real_now() -> Millis {
    millis_of(SystemTime::now())
}

/// An instant of the machine's clock.
pub fn millis_of(real: SystemTime) -> Millis {
    let since = real.duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_goes_below_its_high_water_mark() {
        let later = real_now().plus(3_600_000);
        assert_eq!(Clock::system(later).now(), later);
    }

    #[test]
    fn only_a_test_clock_can_be_moved_and_only_forward() {
        let system = Clock::system(Millis(0));
        assert_eq!(system.set(Millis(1)), Err(ClockError::NotATestClock));
        let test = Clock::test(Millis(10));
        assert_eq!(test.set(Millis(20)), Ok(Millis(20)));
        let back = ClockError::WentBack { now: Millis(20), asked: Millis(19) };
        assert_eq!(test.set(Millis(19)), Err(back));
        assert_eq!(test.now(), Millis(20));
    }
}
