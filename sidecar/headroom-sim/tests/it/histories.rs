//! Ten thousand histories of three hundred steps, each on the engine and on the naive model at once.
//!
//! `HEADROOM_SIM_SEED=7` plays one history, and `HEADROOM_SIM_HISTORIES=100000` more of them.

use std::panic::catch_unwind;

use headroom_sim::coverage::Coverage;
use headroom_sim::play::play;

const HISTORIES: u64 = 10_000;
const STEPS: usize = 300;
const THREADS: u64 = 2;

/// What every run must have met; otherwise it proves less than it says.
const MUST_MEET: &[&str] = &[
    "check render: Allowed",
    "check render: SoftLimit",
    "check render: Grace",
    "check render: Overage",
    "check render: Denied(UnknownAccount)",
    "check render: Denied(AccountSuspended)",
    "check render: Denied(UnknownFeature)",
    "check render: Denied(SubscriptionEnded)",
    "check render: Denied(NotInPlan)",
    "check render: Denied(QuotaExhausted)",
    "check render: Denied(InFlight)",
    "check attempt: Allowed",
    "check attempt: SoftLimit",
    "check attempt: Grace",
    "check attempt: Overage",
    "check attempt: Denied(UnknownAccount)",
    "check attempt: Denied(AccountSuspended)",
    "check attempt: Denied(UnknownFeature)",
    "check attempt: Denied(SubscriptionEnded)",
    "check attempt: Denied(NotInPlan)",
    "check attempt: Denied(QuotaExhausted)",
    "check attempt: Denied(InFlight)",
    "consume: Allowed",
    "consume: SoftLimit",
    "consume: Grace",
    "consume: Overage",
    "consume: Denied(UnknownAccount)",
    "consume: Denied(AccountSuspended)",
    "consume: Denied(UnknownFeature)",
    "consume: Denied(SubscriptionEnded)",
    "consume: Denied(NotInPlan)",
    "consume: Denied(QuotaExhausted)",
    "consume: Denied(InFlight)",
    "reserve: Allowed",
    "reserve: SoftLimit",
    "reserve: Grace",
    "reserve: Overage",
    "reserve: Denied(UnknownAccount)",
    "reserve: Denied(AccountSuspended)",
    "reserve: Denied(UnknownFeature)",
    "reserve: Denied(SubscriptionEnded)",
    "reserve: Denied(NotInPlan)",
    "reserve: Denied(QuotaExhausted)",
    "reserve: Denied(InFlight)",
    "reserve: Denied(ConcurrencyFull)",
    "extend: Denied(ConcurrencyFull)",
    "check render: Denied(ConcurrencyFull)",
    "check attempt: Denied(ConcurrencyFull)",
    "consume: Denied(RateLimited)",
    "check render: Denied(RateLimited)",
    "check attempt: Denied(RateLimited)",
    "slots admitted",
    "slots given back",
    "slots over the most",
    "slots: an excursion after another",
    "a wait for slots",
    "no wait for slots",
    "a rate admitted",
    "a rate replayed",
    "an unlimited rate",
    "a wait for a rate",
    "no wait for a rate",
    "a bucket under another rate",
    "signal api_tier_exceeded",
    "a tier exceeded again",
    "record: Allowed",
    "record: SoftLimit",
    "record: Grace",
    "record: Overage",
    "late record: Allowed",
    "late record: SoftLimit",
    "late record: Grace",
    "late record: Overage",
    "late record: TooOld",
    "late record: KeyReused",
    "late record replayed",
    "correction: Allowed",
    "correction: SoftLimit",
    "correction: Differs",
    "correction: TooOld",
    "correction: UnknownEvent",
    "correction: KeyReused",
    "correction replayed",
    "an event amended",
    "an event amended to more",
    "an event withdrawn",
    "a plain write corrected",
    "a window restated after its close",
    "check all: true",
    "check all: false",
    "consume all: true",
    "consume all: false",
    "reserve all: true",
    "reserve all: false",
    "several, and one refused",
    "several, replayed",
    "consume all: an item: SlotsAreHeld",
    "consume all: KeyReused",
    "behind",
    "a monitor admitted",
    "a hold of a monitor",
    "record: Denied(UnknownAccount)",
    "record: Denied(UnknownFeature)",
    "extend: Allowed",
    "extend: SoftLimit",
    "extend: Grace",
    "extend: Overage",
    "extend: Denied(QuotaExhausted)",
    "extend: Denied(InFlight)",
    "commit: Allowed",
    "commit: SoftLimit",
    "commit: Grace",
    "commit: Overage",
    "release: Allowed",
    "release: SoftLimit",
    "release: Grace",
    "release: Overage",
    "reserve charging: Allowed",
    "reserve charging: Denied(QuotaExhausted)",
    "a charge at the end of a hold",
    "a charge taken back",
    "a subject counted",
    "a subject refused",
    "a reservation of subjects",
    "closed window of a subject",
    "a part of a reservation",
    "commit a part: Allowed",
    "commit a part: SoftLimit",
    "commit a part: Grace",
    "commit a part: Overage",
    "commit 0: Allowed",
    "commit 0: SoftLimit",
    "commit 0: Grace",
    "commit 0: Overage",
    "error CounterFull",
    "error KeyReused",
    "error ReservationClosed { state: Committed { units:  } }",
    "error ReservationClosed { state: Expired }",
    "error ReservationClosed { state: Released }",
    "error Store",
    "error SlotsAreHeld",
    "error RateIsConsumed",
    "error UnknownReservation",
    "error WrongFeatureKind",
    "change refused: account",
    "change refused: plan",
    "change refused: feature",
    "change refused: limit",
    "change refused: kind",
    "change refused: zone",
    "change refused: store",
    "subscribe",
    "suspend",
    "override",
    "delete override",
    "facts",
    "catalog Changed",
    "catalog Other",
    "catalog Same",
    "catalog Wrong",
    "catalog that would take something away",
    "restart that would take something away",
    "migration drop_feature",
    "migration drop_limit",
    "migration change_kind",
    "migration end_lifetime",
    "migration move_plan",
    "migration drop_addon",
    "moved",
    "a window ended by a change of plan",
    "not moved",
    "origin None",
    "origin Plan",
    "origin DefaultPlan",
    "origin Trial",
    "origin AddOn",
    "consume: Denied(FeaturePaused)",
    "change refused: add-on",
    "origin Override",
    "replayed",
    "debt",
    "surplus",
    "late",
    "other limits",
    "about",
    "config value",
    "no binding limit",
    "a changed limit",
    "closed window",
    "signal usage_ceiling",
    "signal feature_limit_hit",
    "signal grace_started",
    "signal grace_ending",
    "signal overage_started",
    "told by a timer",
    "grace with an end in time",
    "grace that is over",
    "overage that costs something",
    "debt carried into a window",
    "debt carried by a late commit",
    "consume: Denied(SpendCapReached)",
    "reserve: Denied(SpendCapReached)",
    "extend: Denied(SpendCapReached)",
    "extend: Denied(AccountSuspended)",
    "extend: Denied(SubscriptionEnded)",
    "check render in shadow: NotInPlan",
    "check render in shadow: QuotaExhausted",
    "check render in shadow: SpendCapReached",
    "consume in shadow: NotInPlan",
    "consume in shadow: QuotaExhausted",
    "consume in shadow: InFlight",
    "reserve in shadow: QuotaExhausted",
    "extend in shadow: QuotaExhausted",
    "signal of a refusal",
    "signal with several thresholds",
    "window Open",
    "window NotBegun",
    "window Sliding",
    "sliding consume: Allowed, none",
    "sliding consume: Denied(QuotaExhausted), a time to retry",
    "sliding consume: Denied(QuotaExhausted), none",
    "sliding reserve: Denied(QuotaExhausted), a time to retry",
    "sliding extend: Allowed, none",
    "sliding extend: Denied(QuotaExhausted), a time to retry",
    "sliding commit: Allowed, none",
    "sliding release: Allowed, none",
    "allocate: Allowed",
    "allocate: SoftLimit",
    "allocate: Grace",
    "allocate: Overage",
    "allocate: Denied(QuotaExhausted)",
    "allocate: Denied(InFlight)",
    "allocate: Denied(NotInPlan)",
    "allocate: Denied(AccountSuspended)",
    "a level set higher",
    "a level reported higher",
    "a level lowered",
    "a level clamped",
    "a level armed again",
    "debt that went away",
    "billed by peak",
    "billed by average",
    "billed by end",
    "invite: Allowed, true",
    "invite: Allowed, false",
    "invite: SoftLimit, true",
    "invite: Denied(SeatsFull), false",
    "claim a seat: Allowed, true",
    "claim a seat: Denied(SeatsFull), false",
    "release a seat: Allowed, true",
    "release a seat: Allowed, false",
    "transfer: Allowed, true",
    "an invitation that ended",
    "seats armed again",
    "signal seat_threshold_90pct",
    "signal seats_nearly_full",
    "error SeatsAreTaken",
    "checkpoint",
    "traffic during a checkpoint",
    "restart",
    "restart from a checkpoint",
    "restart from the journal alone",
    "restart under another catalog",
    "restart without room",
    "restart that lost records",
    "restart that lost a part of a step",
    "inspection",
    "store refuses",
    "store takes",
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
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || share(thread))).collect();
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
