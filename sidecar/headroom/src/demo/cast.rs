//! The cast: twenty accounts that the data does not name, and the draw that gives each row to one.
//!
//! The draw is seeded, so every run tells the same story, and skewed as real customers are: the
//! k-th account gets a k-th of what the first gets (Zipf's law).

/// An account of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// Its id.
    pub(super) account: &'static str,
    /// Its plan in the example catalog.
    pub(super) plan: &'static str,
    /// A fact about it, as a product would tell.
    pub(super) segment: &'static str,
}

/// How many accounts there are.
pub(super) const MEMBERS: usize = 20;

/// What the draw starts from. Any number would do; with this one the hour shows every verdict.
pub(super) const SEED: u64 = 2023;

const fn free(account: &'static str) -> Member {
    Member { account, plan: "free", segment: "self-serve" }
}

const fn team(account: &'static str) -> Member {
    Member { account, plan: "team", segment: "smb" }
}

const fn scale(account: &'static str) -> Member {
    Member { account, plan: "scale", segment: "mid-market" }
}

/// From the largest to the smallest, which is also the order of the alphabet.
pub(super) const CAST: [Member; MEMBERS] = [
    scale("alder"),
    scale("birch"),
    scale("cedar"),
    scale("dogwood"),
    team("elm"),
    team("fir"),
    team("ginkgo"),
    team("hazel"),
    team("ironwood"),
    free("juniper"),
    free("katsura"),
    free("larch"),
    free("maple"),
    free("nutmeg"),
    free("oak"),
    free("pine"),
    free("quince"),
    free("rowan"),
    free("spruce"),
    free("teak"),
];

/// The place in the cast of each of so many rows.
pub(super) fn draw(seed: u64, rows: usize) -> Vec<usize> {
    let mut random = SplitMix(seed);
    (0..rows).map(|_| place(random.next())).collect()
}

/// Where a random number falls when the k-th account has the weight 1/k.
fn place(random: u64) -> usize {
    /// Divisible by every number up to 20, so that the weights are exact.
    const UNIT: u64 = 232_792_560;
    let weights = (1..).take(MEMBERS).map(|k: u64| UNIT / k);
    let sum: u64 = weights.clone().sum();
    // The product of two 64-bit numbers, shifted back below `sum`.
    let mut at = (u128::from(random) * u128::from(sum)) >> 64;
    for (place, weight) in weights.enumerate() {
        match at.checked_sub(u128::from(weight)) {
            Some(rest) => at = rest,
            None => return place,
        }
    }
    MEMBERS - 1
}

/// SplitMix64: a small generator with a known sequence, the same on every machine.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_kth_account_gets_a_kth_of_the_first() {
        let mut rows = [0_usize; MEMBERS];
        draw(1, 1_000_000).into_iter().for_each(|place| rows[place] += 1);
        for (place, got) in rows.iter().enumerate() {
            let expected = rows[0] / (place + 1);
            assert!(got.abs_diff(expected) < expected / 20, "{rows:?}");
        }
        assert_eq!(place(0), 0);
        assert_eq!(place(u64::MAX), MEMBERS - 1);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        assert_eq!(draw(SEED, 1_000), draw(SEED, 1_000));
        assert_ne!(draw(SEED, 1_000), draw(SEED + 1, 1_000));
    }
}
