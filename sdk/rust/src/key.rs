//! Idempotency keys for callers who bring none.

use std::sync::atomic::{AtomicU64, Ordering};

/// Makes keys: a random 128-bit start, then counted up. Within one maker keys cannot repeat, and
/// two makers meet only if 128 random bits do.
#[derive(Debug)]
pub(crate) struct KeyMaker {
    start: u128,
    made: AtomicU64,
}

impl KeyMaker {
    /// Draws the start from the operating system.
    pub(crate) fn new() -> KeyMaker {
        let mut bytes = [0; 16];
        // Without random bits keys could repeat and usage be lost: there is nothing to go on with.
        getrandom::fill(&mut bytes).expect("the operating system has random bits");
        KeyMaker { start: u128::from_le_bytes(bytes), made: AtomicU64::new(0) }
    }

    /// The next key: 32 hexadecimal digits.
    pub(crate) fn next(&self) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        format!("{:032x}", self.start.wrapping_add(u128::from(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_repeat_within_and_between_makers() {
        let (one, other) = (KeyMaker::new(), KeyMaker::new());
        let mut keys: Vec<String> = (0..100).flat_map(|_| [one.next(), other.next()]).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 200);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
