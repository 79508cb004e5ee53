//! Account ids and idempotency keys of the load: as long as real ones, cheap to make.

use crate::limits::ACCOUNTS;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The account of this number: 36 bytes, as a UUID is written. The number is scattered, so that
/// neighbours in time are no neighbours in a sorted or hashed table.
pub(crate) fn account(number: usize) -> String {
    let scattered = scatter(number as u64);
    let hex = format!("{scattered:016x}{:016x}", scatter(scattered));
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// One step of splitmix64: a one-to-one map without visible order.
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The accounts of the side-by-side measurements.
pub(crate) fn load_accounts() -> &'static [String] {
    static LOAD_ACCOUNTS: LazyLock<Vec<String>> =
        LazyLock::new(|| (0..ACCOUNTS).map(account).collect());
    &LOAD_ACCOUNTS
}

/// Keys that never repeat within a run: the number of the maker, then a count.
#[derive(Debug)]
pub(crate) struct Keys {
    maker: u64,
    made: u64,
}

impl Keys {
    /// A maker with a number of its own.
    pub(crate) fn new() -> Keys {
        static MAKERS: AtomicU64 = AtomicU64::new(0);
        Keys { maker: MAKERS.fetch_add(1, Ordering::Relaxed), made: 0 }
    }

    /// The next key: 32 hexadecimal digits.
    pub(crate) fn next(&mut self) -> String {
        self.made += 1;
        let mut key = String::with_capacity(32);
        // By hand: a formatter would cost more than the rest of the request.
        for byte in [self.maker, scatter(self.made)].map(u64::to_be_bytes).into_iter().flatten() {
            for digit in [byte >> 4, byte & 0xf] {
                key.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn accounts_and_keys_have_their_length_and_do_not_repeat() {
        let accounts: BTreeSet<String> = (0..5_000).map(account).collect();
        assert_eq!(accounts.len(), 5_000);
        assert!(accounts.iter().all(|account| account.len() == 36));

        let (mut one, mut other) = (Keys::new(), Keys::new());
        let keys: BTreeSet<String> = (0..1_000).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(keys.len(), 2_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
