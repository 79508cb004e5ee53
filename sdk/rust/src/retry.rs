//! Pauses between attempts: doubling, bounded, with jitter, so that callers who failed together do
//! not come back together.

use crate::limits::{PAUSE_FIRST, PAUSE_MAX};
use std::time::Duration;

/// The pause after the attempt of this number (counted from 1): at least half of the doubled base.
/// `random` decides the rest.
pub(crate) fn pause_after(attempt: u32, random: u64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let full = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX);
    let half = full / 2;
    let half_micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
    half + Duration::from_micros(random % (half_micros + 1))
}

/// Random enough for jitter: a hash under the process's random key.
pub(crate) fn random_u64() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_keep_half_for_jitter() {
        for attempt in 1..40 {
            let full = PAUSE_FIRST.saturating_mul(1 << (attempt - 1).min(16)).min(PAUSE_MAX);
            for random in [0, 1, 999, u64::MAX] {
                let pause = pause_after(attempt, random);
                assert!(full / 2 <= pause && pause <= full, "{attempt} {random} {pause:?}");
            }
        }
    }
}
