//! Two thousand histories of two hundred steps, each on the engine and on the naive model at once.
//!
//! `HEADROOM_SIM_SEED=7` plays one history, and `HEADROOM_SIM_HISTORIES=100000` more of them.

use std::panic::catch_unwind;

use headroom_sim::coverage::Coverage;
use headroom_sim::play::play;

const HISTORIES: u64 = 2_000;
const STEPS: usize = 200;
const THREADS: u64 = 2;

/// What every run must have met; otherwise it proves less than it says.
const MUST_MEET: &[&str] = &[
    "check render: Allowed",
];

fn play_or_panic(seed: u64) -> Coverage {
    let again = format!(
        "HEADROOM_SIM_SEED={seed} cargo test -p headroom-sim --test it histories -- --nocapture"
    );
    match catch_unwind(|| play(seed, STEPS)) {
        Ok(Ok(coverage)) => coverage,
        Ok(Err(failure)) => panic!(
            "seed {seed}, step {}: {}\nlast steps:\n  {}\nplay it again: {again}",
            failure.step,
            failure.what,
            failure.story.join("\n  "),
        ),
        Err(_) => panic!("seed {seed}: the engine panicked\nplay it again: {again}"),
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn the_engine_answers_as_the_naive_model() {
    if let Some(seed) = number("HEADROOM_SIM_SEED") {
        play_or_panic(seed);
        return;
    }
    let histories = number("HEADROOM_SIM_HISTORIES").unwrap_or(HISTORIES);
    let share = |thread: u64| {
        let mut met = Coverage::default();
        for seed in (0..histories).filter(|seed| seed % THREADS == thread) {
            met.add(&play_or_panic(seed));
        }
        met
    };
    let met = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || share(thread))).collect();
        let mut met = Coverage::default();
        for thread in threads {
            // The thread has already said what failed.
            met.add(&thread.join().unwrap_or_else(|_| panic!("a history failed, see above")));
        }
        met
    });
    for (what, count) in met.iter() {
        println!("{count:>8}  {what}");
    }
    for what in MUST_MEET {
        assert!(met.count(what) > 0, "{histories} histories never met: {what}");
    }
}

#[test]
fn a_seed_always_gives_the_same_history() {
    assert_eq!(play(1, 50), play(1, 50));
    assert_ne!(play(1, 50), play(2, 50));
}
