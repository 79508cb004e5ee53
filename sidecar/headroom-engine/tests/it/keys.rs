//! Idempotency keys: the same again is answered again, something else is an error, a refusal is
//! not remembered, and memory is bounded.

use std::num::NonZeroUsize;

use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::time::Millis;
use headroom_engine::engine::{EngineError, Reply, Wants};
use headroom_engine::keys::KeyBook;
use headroom_engine::late::{CorrectRequest, LateError, LateRequest};

use crate::house::{DAY_MS, HOUR_MS, House, T0, gist, spec};

/// Keys are forgotten in steps of a second.
const STEP_MS: i64 = 1000;
const TEN_MINUTES_MS: i64 = 10 * 60 * 1000;

#[test]
fn the_same_write_again_is_answered_again_and_counted_once() {
    let house = House::new(10);
    let id = house.reserve("acme", 2, "hold").outcome.amounts.reservation.unwrap();
    let feature = [
        FeatureOp::Consume { units: 3 },
        FeatureOp::Reserve { units: 1, hold_ms: HOUR_MS },
        FeatureOp::Record { units: 2 },
    ];
    let holds =
        [HoldOp::Extend { hold_ms: None, additional_units: 1 }, HoldOp::Commit { units: 9 }];
    let run = || {
        let mut replies = Vec::new();
        for (place, op) in feature.iter().enumerate() {
            replies.push(house.ask("acme", *op, &format!("f{place}"), T0).unwrap());
        }
        for (place, op) in holds.iter().enumerate() {
            replies.push(house.hold("acme", id, *op, &format!("h{place}")).unwrap());
        }
        replies
    };
    let first = run();
    let (counts, last) = (house.counts("acme"), house.store.last());
    for again in [run(), run()] {
        for (first, again) in first.iter().zip(&again) {
            assert_eq!(gist(again), gist(first));
            assert_eq!(again.outcome.amounts, first.outcome.amounts);
            assert_eq!(again.decision_id, first.decision_id);
            assert_eq!((first.replayed, again.replayed), (false, true));
        }
    }
    assert_eq!((house.counts("acme"), house.store.last()), (counts, last));
}

#[test]
fn an_answer_given_again_shows_the_limit_as_it_is_now() {
    let house = House::new(10);
    house.consume("acme", 3, "first");
    house.reserve("acme", 4, "hold");
    let used = |now| {
        let reply = house.ask("acme", FeatureOp::Consume { units: 3 }, "first", now).unwrap();
        let ledger = reply.outcome.decision.binding.unwrap().ledger;
        (ledger.used, ledger.reserved)
    };
    assert_eq!(used(T0), (3, 4));
    assert_eq!(used(T0 + HOUR_MS), (3, 0), "a hold that has ended holds nothing");
}

#[test]
fn a_key_used_for_something_else_is_an_error() {
    let house = House::new(100);
    let ops = [
        FeatureOp::Consume { units: 1 },
        FeatureOp::Consume { units: 2 },
        FeatureOp::Record { units: 1 },
        FeatureOp::Reserve { units: 1, hold_ms: HOUR_MS },
        FeatureOp::Reserve { units: 1, hold_ms: HOUR_MS + 1 },
    ];
    for (place, first) in ops.iter().enumerate() {
        let key = format!("k{place}");
        house.ask("acme", *first, &key, T0).unwrap();
        let counts = house.counts("acme");
        for other in ops.iter().filter(|other| *other != first) {
            let refused = house.ask("acme", *other, &key, T0).unwrap_err();
            assert_eq!(refused, EngineError::KeyReused, "{other:?} after {first:?}");
        }
        assert_eq!(house.counts("acme"), counts);
    }
}

#[test]
fn a_key_belongs_to_its_account() {
    let house = House::new(10);
    assert!(!house.consume("acme", 1, "key").replayed);
    assert!(!house.consume("bolt", 2, "key").replayed);
    assert_eq!((house.counts("acme"), house.counts("bolt")), ((1, 0), (2, 0)));
}

#[test]
fn a_buyer_who_was_refused_and_then_paid_retries_with_the_same_key() {
    let house = House::new(1);
    let refused = house.consume("acme", 5, "key");
    assert_eq!(refused.outcome.decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(refused.wait_for, None);
    house.subscribe("acme", "pro");
    let allowed = house.consume("acme", 5, "key");
    assert_eq!((allowed.outcome.decision.verdict, allowed.replayed), (Verdict::Allowed, false));
    assert!(house.consume("acme", 5, "key").replayed);
}

#[test]
fn a_request_that_was_an_error_is_not_remembered() {
    let house = House::new(10);
    let id = headroom_core::reservation::ReservationId(1);
    assert!(house.hold("acme", id, HoldOp::Release, "key").is_err());
    let made = house.reserve("acme", 1, "hold").outcome.amounts.reservation.unwrap();
    assert_eq!(made, id);
    assert!(!house.hold("acme", id, HoldOp::Release, "key").unwrap().replayed);
}

#[test]
fn a_key_is_known_for_its_horizon_and_then_forgotten() {
    for offset in [0, 1, STEP_MS / 2, STEP_MS - 1] {
        let house = House::new(10);
        let begin = T0 + offset;
        let consume = |key: &str, now| {
            house.ask("acme", FeatureOp::Consume { units: 1 }, key, now).unwrap().replayed
        };
        assert!(!consume("key", begin));
        assert!(consume("key", begin + DAY_MS));
        assert!(!consume("another moves the time", begin + DAY_MS + STEP_MS));
        assert!(!consume("key", begin + DAY_MS + STEP_MS), "offset {offset}");
        assert!(consume("key", begin + DAY_MS + STEP_MS), "it is remembered anew");
        assert_eq!(house.counts("acme"), (3, 0));
    }
}

#[test]
fn an_account_with_many_keys_knows_each_of_them() {
    const KEYS: u64 = 10_000;
    let house = House::new(1_000_000);
    for place in 0..KEYS {
        assert!(!house.consume("acme", 1, &format!("k{place}")).replayed);
    }
    for place in 0..KEYS {
        assert!(house.consume("acme", 1, &format!("k{place}")).replayed, "{place}");
    }
    assert_eq!((house.counts("acme"), house.engine.counts().keys), ((KEYS, 0), KEYS));
    let entries = house.checkpoint().entries.len();
    assert!(entries > 10, "{entries} entries: the keys are written down a table at a time");
    house.engine.prune_keys(Millis(T0 + DAY_MS / 2));
    assert!(house.consume("acme", 1, "k0").replayed);
    house.engine.prune_keys(Millis(T0 + 2 * DAY_MS));
    assert_eq!(house.engine.counts().keys, 0);
    assert_eq!(house.checkpoint().entries.len(), 2, "the head and the account");
}

#[test]
fn too_many_keys_shorten_the_horizon_which_is_reported() {
    const MAX: usize = 4_096;
    let house = House::of(spec(1_000_000, Some("free")), MAX);
    let account = |place: u64| format!("acct{}", place % 50);
    let consume = |place: u64, now| {
        let op = FeatureOp::Consume { units: 1 };
        house.ask(&account(place), op, &format!("k{place}"), now).unwrap().replayed
    };
    assert_eq!(house.engine.counts().key_horizon_ms, DAY_MS);
    // Two thousand keys each ten minutes, over an hour.
    let now = |place: u64| T0 + i64::try_from(place / 2_000).unwrap() * TEN_MINUTES_MS;
    for place in 0..12_000 {
        assert!(!consume(place, now(place)));
    }
    let counts = house.engine.counts();
    assert!(counts.keys <= MAX as u64 + 1024, "{} keys", counts.keys);
    assert!(counts.key_horizon_ms < DAY_MS, "{} ms", counts.key_horizon_ms);
    assert!(counts.key_horizon_ms >= TEN_MINUTES_MS, "{} ms", counts.key_horizon_ms);
    // What is reported holds: a key of that age is known, the oldest is not.
    let end = now(11_999);
    for place in (0..12_000).filter(|place| end - now(*place) <= counts.key_horizon_ms) {
        assert!(consume(place, end), "{place}");
    }
    assert!(!consume(0, end));
}

#[test]
fn the_book_counts_each_age_and_forgets_whole_ones() {
    let book = KeyBook::new(DAY_MS, NonZeroUsize::new(1_000).unwrap());
    book.advance(Millis(T0));
    let first = book.generation(Millis(T0));
    for _ in 0..300 {
        book.add(first);
    }
    assert_eq!((book.live(), book.horizon_ms()), (300, DAY_MS));
    book.advance(Millis(T0 + DAY_MS));
    assert_eq!((book.live(), book.horizon_ms()), (300, DAY_MS));
    book.advance(Millis(T0 + DAY_MS + STEP_MS));
    assert_eq!(book.live(), 0);
    // The time never goes back.
    let oldest = book.oldest();
    book.advance(Millis(T0));
    assert_eq!(book.oldest(), oldest);
    // A long sleep forgets everything, and the counts of ages long past do not come back.
    book.add(book.generation(Millis(T0 + DAY_MS + STEP_MS)));
    for step in 1..600 {
        book.advance(Millis(T0 + DAY_MS + STEP_MS + step * TEN_MINUTES_MS));
        assert!(book.live() <= 1);
    }
    assert_eq!(book.live(), 0);
}

/// A late write of the tokens of `acme`, or a correction of the event `of`.
fn late(house: &House, key: &str, of: Option<&str>, now: i64) -> Result<Box<Reply>, LateError> {
    let (wants, now) = (Wants::default(), Millis(now));
    let (account, feature, restate_ms) = ("acme", "tokens", 7 * DAY_MS);
    let (subject, dimensions, occurred_at) = (None, Default::default(), Millis(T0 - HOUR_MS));
    let units = 2;
    let at = LateRequest {
        account,
        feature,
        subject,
        units,
        occurred_at,
        key,
        dimensions,
        restate_ms,
        now,
        wants,
    };
    let correct = CorrectRequest {
        account,
        feature,
        subject,
        event: of.unwrap_or_default(),
        units: Some(1),
        original_units: None,
        reason: "a test",
        key,
        dimensions,
        restate_ms,
        now,
        wants,
    };
    if of.is_some() { house.correct(&correct) } else { house.late(&at) }
}

#[test]
fn the_key_of_an_event_is_not_counted_again_by_a_plain_write_also_after_a_restart() {
    for restart in ["none", "journal", "checkpoint"] {
        let mut house = House::new(100);
        let late = |house: &House, key, of| late(house, key, of, T0).unwrap();
        house.consume("acme", 1, "plain");
        late(&house, "event", None);
        late(&house, "correction", Some("event"));
        if restart != "none" {
            if restart == "checkpoint" {
                house.store.keep(house.checkpoint());
            }
            house = house.reopen(spec(100, Some("free")));
        }
        let counts = house.counts("acme");
        assert_eq!((counts, house.engine.counts().keys), ((2, 0), 3), "{restart}");
        for key in ["event", "correction"] {
            for op in [
                FeatureOp::Consume { units: 2 },
                FeatureOp::Record { units: 2 },
                FeatureOp::Reserve { units: 2, hold_ms: HOUR_MS },
            ] {
                let reused = house.ask("acme", op, key, T0).unwrap_err();
                assert_eq!(reused, EngineError::KeyOfEvent, "{restart} {key} {op:?}");
                assert!(reused.to_string().contains("a time of its own"));
            }
        }
        // The other order, and each as it was.
        let reused = self::late(&house, "plain", None, T0).unwrap_err();
        assert_eq!(reused, LateError::Engine(EngineError::KeyReused), "{restart}");
        assert!(late(&house, "event", None).replayed, "{restart}");
        assert!(late(&house, "correction", Some("event")).replayed, "{restart}");
        assert!(house.consume("acme", 1, "plain").replayed, "{restart}");
        assert_eq!(house.counts("acme"), counts, "{restart}");
        // As long as plain keys are remembered.
        let (last, after) = (T0 + DAY_MS, T0 + DAY_MS + STEP_MS);
        let ask = |key, now| house.ask("acme", FeatureOp::Consume { units: 1 }, key, now);
        assert_eq!(ask("event", last).unwrap_err(), EngineError::KeyOfEvent, "{restart}");
        assert!(!ask("event", after).unwrap().replayed, "{restart}");
        let reused = self::late(&house, "event", None, after).unwrap_err();
        assert_eq!(reused, LateError::Engine(EngineError::KeyReused), "it is a plain one's now");
    }
}
