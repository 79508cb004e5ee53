//! Histories of pools of credits, each on the engine and on the naive model at once.
//!
//! `HEADROOM_SIM_SEED=7` plays one history, and `HEADROOM_SIM_HISTORIES=20000` more of them.

use headroom_sim::coverage::Coverage;
use headroom_sim::pools::play;

const HISTORIES: u64 = 1_500;
const STEPS: usize = 150;

/// What every run must have met; otherwise it proves less than it says.
const MUST_MEET: &[&str] = &[
    "given",
    "not given",
    "voided",
    "not voided",
    "another plan",
    "paid",
    "direct",
    "held",
    "extended",
    "extended too late",
    "extend: CreditsExhausted",
    "settled",
    "settled late",
    "committed in part",
    "came back",
    "replayed",
    "CreditsExhausted",
    "InFlight",
    "checkpoint",
    "restart",
    "a segment",
    "paid late",
    "too late",
    "behind",
    "a plain write came back",
    "an event came back",
    "charged more later",
    "late, replayed",
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn pools_are_as_in_the_model() {
    let seeds = match number("HEADROOM_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            0..number("HEADROOM_SIM_HISTORIES").map_or(HISTORIES, |all| all.min(HISTORIES * 20))
        }
    };
    let is_whole = seeds.end - seeds.start >= HISTORIES;
    let mut met = Coverage::default();
    for seed in seeds {
        match play(seed, STEPS) {
            Ok(coverage) => met.add(&coverage),
            Err(failure) => panic!(
                "seed {seed}, step {}: {}\nlast steps:\n  {}",
                failure.step,
                failure.what,
                failure.story.join("\n  ")
            ),
        }
    }
    for what in MUST_MEET {
        assert!(!is_whole || met.count(what) > 0, "no history met {what:?}");
    }
}
