//! Sixty-four threads, one unit.

use std::sync::Barrier;

use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{OpError, Verdict};
use headroom_engine::engine::EngineError;

use crate::house::{House, T0, gist, spec};

pub(crate) const THREADS: usize = 64;
const ROUNDS: usize = 150;

/// Lets all threads do the same in each round, at once; returns what they came to, round by round.
pub(crate) fn race<T: Send>(run: impl Fn(usize, usize) -> T + Sync) -> Vec<Vec<T>> {
    let barrier = Barrier::new(THREADS);
    let all = |thread: usize| {
        let round = |round| {
            barrier.wait();
            run(thread, round)
        };
        (0..ROUNDS).map(round).collect::<Vec<T>>()
    };
    let mut rounds: Vec<Vec<T>> = (0..ROUNDS).map(|_| Vec::new()).collect();
    std::thread::scope(|scope| {
        let all = &all;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || all(thread))).collect();
        for thread in threads {
            for (round, result) in thread.join().unwrap().into_iter().enumerate() {
                rounds[round].push(result);
            }
        }
    });
    rounds
}

pub(crate) fn winners(results: &[Verdict]) -> usize {
    results.iter().filter(|verdict| verdict.is_allowed()).count()
}

#[test]
fn the_last_unit_is_consumed_once() {
    let house = House::new(1);
    let rounds = race(|thread, round| {
        let reply = house.consume(&format!("acct{round}"), 1, &format!("k{thread}"));
        reply.outcome.decision.verdict
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(winners(results), 1, "round {round}");
        assert_eq!(house.counts(&format!("acct{round}")), (1, 0), "round {round}");
    }
}

#[test]
fn the_last_unit_is_held_once() {
    let house = House::new(1);
    let rounds = race(|thread, round| {
        let reply = house.reserve(&format!("acct{round}"), 1, &format!("k{thread}"));
        reply.outcome.decision.verdict
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(winners(results), 1, "round {round}");
        assert_eq!(house.counts(&format!("acct{round}")), (0, 1), "round {round}");
    }
}

#[test]
fn consumers_and_holders_share_the_last_units_exactly() {
    let house = House::new(10);
    let rounds = race(|thread, round| {
        let (account, key) = (format!("acct{round}"), format!("k{thread}"));
        let units = 1 + thread as u64 % 3;
        let reply = match thread % 2 {
            0 => house.consume(&account, units, &key),
            _ => house.reserve(&account, units, &key),
        };
        (reply.outcome.decision.verdict, units, thread % 2 == 0)
    });
    for (round, results) in rounds.iter().enumerate() {
        let sum = |consumed: bool| {
            let won = results.iter().filter(|(verdict, ..)| verdict.is_allowed());
            won.filter(|(_, _, c)| *c == consumed).map(|(_, units, _)| units).sum::<u64>()
        };
        let (used, reserved) = house.counts(&format!("acct{round}"));
        assert_eq!((sum(true), sum(false)), (used, reserved), "round {round}");
        // Somebody asked for a single unit after every larger request, so none is left over.
        assert_eq!(used + reserved, 10, "round {round}");
    }
}

#[test]
fn one_key_is_counted_once_and_answered_alike() {
    let house = House::new(THREADS as u64);
    let rounds = race(|_, round| {
        let reply = house.consume(&format!("acct{round}"), 1, "the same");
        (gist(&reply), reply.replayed, reply.decision_id)
    });
    for (round, results) in rounds.iter().enumerate() {
        let (first, _, id) = &results[0];
        assert!(results.iter().all(|(gist, _, other)| gist == first && other == id), "{round}");
        assert_eq!(results.iter().filter(|(_, replayed, _)| !replayed).count(), 1, "{round}");
        assert_eq!(house.counts(&format!("acct{round}")), (1, 0), "round {round}");
    }
}

#[test]
fn one_key_makes_one_reservation() {
    let house = House::new(THREADS as u64);
    let rounds = race(|_, round| gist(&house.reserve(&format!("acct{round}"), 1, "the same")));
    for (round, results) in rounds.iter().enumerate() {
        assert!(results.iter().all(|gist| *gist == results[0]), "round {round}");
        assert_eq!(house.counts(&format!("acct{round}")), (0, 1), "round {round}");
    }
}

#[test]
fn a_reservation_has_one_outcome_whoever_comes() {
    let house = House::new(5);
    let ids: Vec<_> = (0..ROUNDS)
        .map(|round| house.reserve(&format!("acct{round}"), 5, "hold"))
        .map(|reply| reply.outcome.amounts.reservation.unwrap())
        .collect();
    let rounds = race(|thread, round| {
        let op = if thread % 2 == 0 { HoldOp::Commit { units: 3 } } else { HoldOp::Release };
        house.hold(&format!("acct{round}"), ids[round], op, &format!("k{thread}")).map(|_| op)
    });
    for (round, results) in rounds.iter().enumerate() {
        let mut done = results.iter().filter_map(|result| result.as_ref().ok());
        let used = if done.next() == Some(&HoldOp::Release) { 0 } else { 3 };
        assert_eq!(done.next(), None, "round {round}: a second outcome");
        assert_eq!(house.counts(&format!("acct{round}")), (used, 0), "round {round}");
        let closed = |error: &EngineError| {
            matches!(error, EngineError::Op(OpError::ReservationClosed { .. }))
        };
        let errors = results.iter().filter_map(|result| result.as_ref().err());
        assert!(errors.into_iter().all(closed), "round {round}");
    }
}

#[test]
fn a_new_account_begins_once() {
    let house = House::of(spec(THREADS as u64, Some("free")), 1_000_000);
    race(|thread, round| {
        house.consume(&format!("acct{round}"), 1, &format!("k{thread}"));
    });
    assert_eq!(house.engine.counts().accounts, ROUNDS as u64);
    let ids = house.engine.account_ids(0, usize::MAX);
    for (place, (serial, id)) in ids.iter().enumerate() {
        assert_eq!(place as u32, *serial);
        assert_eq!(house.counts(id), (THREADS as u64, 0), "{id}");
    }
    assert_eq!(ids.len(), ROUNDS);
    // And again after a restart: numbers are journaled before they are used.
    let again = house.reopen(spec(THREADS as u64, Some("free")));
    assert_eq!(again.engine.account_ids(0, usize::MAX), ids);
}

#[test]
fn checks_beside_writes_see_whole_decisions() {
    let house = House::new(1_000_000);
    let rounds = race(|thread, round| {
        let (account, op) = ("acme", FeatureOp::Check { units: 1, attempt: true });
        if thread % 2 == 0 {
            house.consume(account, 2, &format!("{thread}/{round}"));
        }
        house.ask(account, op, "", T0).unwrap().outcome.decision.binding.unwrap().ledger.used
    });
    let mut last = 0;
    for results in rounds {
        assert!(results.iter().all(|used| used % 2 == 0), "half a write was seen");
        last = results.into_iter().max().unwrap_or(last);
    }
    assert_eq!(last, (THREADS / 2 * ROUNDS * 2) as u64);
}
