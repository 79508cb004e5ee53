//! Random numbers from a seed, so that a failure can be played again.

/// SplitMix64: small, and good enough to choose what a client does next.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Another sequence, which does not depend on how far this one is used later.
    pub(crate) fn split(&mut self) -> Rng {
        Rng(self.next())
    }
}

/// The seed of `HEADROOM_SEED`, or one of the clock. Printed, so that a failure can be repeated.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("HEADROOM_SEED").ok();
    let seed = given.map_or_else(of_the_clock, |text| text.parse().expect("HEADROOM_SEED"));
    println!("HEADROOM_SEED={seed}");
    seed
}

fn of_the_clock() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    since.as_secs() ^ u64::from(since.subsec_nanos())
}
