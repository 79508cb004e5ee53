//! Lanes: which signal of a webhook is tried when. One lane per account, one delivery under way in
//! each, so that an account's signals arrive in their order; lanes do not wait for each other.
//!
//! Two things can be wrong, and they want opposite answers. When the *signal* is the trouble
//! (others are accepted), its lane pauses longer and longer and at last gives it up. When the
//! *endpoint* is the trouble (it accepts nothing), no signal is blamed: all lanes rest, one at a
//! time probes, and with the first success everything goes on. So an outage, however long, gives up
//! nothing.
//!
//! Nothing here reads a clock, waits or sends: the caller passes `now` and carries out the answer.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::feed::Item;
use super::limits::{
    IN_FLIGHT_MAX, JITTER_PARTS, OUTAGE_ACCOUNTS, OUTAGE_PAUSES, RETRY_AFTER_MAX, RETRY_PAUSES,
};

/// Why a delivery failed, as far as it matters for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// It says something about the endpoint (it cannot be reached, refuses us, is overloaded)
    /// rather than about this signal.
    pub(super) of_endpoint: bool,
    /// What the endpoint asked for.
    pub(super) retry_after: Option<Duration>,
}

/// What follows from a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// The signal is tried again then.
    Retry(Instant),
    /// The endpoint accepts nothing: it is probed then.
    Outage(Instant),
    /// The signal is given up; the account's next one may go.
    GivenUp,
}

/// The signals of one webhook that are not delivered.
pub(super) struct Lanes {
    lanes: HashMap<u32, Lane>,
    // Invariant: every lane is in exactly one of these, or has a delivery under way.
    ready: VecDeque<u32>,
    waiting: BTreeSet<(Instant, u32)>,
    in_flight: usize,
    outage: Option<Outage>,
    /// Accounts that failed since the last success.
    refused: BTreeSet<u32>,
    /// Deliveries that succeeded, ever.
    successes: u64,
    chance: RandomState,
}

/// Signals of one account, in order.
#[derive(Debug, Default)]
struct Lane {
    // Invariant: not empty.
    items: VecDeque<Item>,
    /// Failures of the first item that were not the endpoint's.
    failures: usize,
    /// `successes` when the first item was first blamed, and when it was last sent.
    successes_at_blame: u64,
    successes_at_sending: u64,
}

#[derive(Debug, Clone, Copy)]
struct Outage {
    failures: usize,
    probe_at: Instant,
    /// The account whose signal is the probe under way.
    probe: Option<u32>,
}

impl Lanes {
    pub(super) fn new() -> Lanes {
        Lanes {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            in_flight: 0,
            outage: None,
            refused: BTreeSet::new(),
            successes: 0,
            chance: RandomState::new(),
        }
    }

    /// Adds a signal behind the others of its account.
    pub(super) fn push(&mut self, item: Item) {
        let serial = item.serial;
        let lane = self.lanes.entry(serial).or_default();
        if lane.items.is_empty() {
            self.ready.push_back(serial);
        }
        lane.items.push_back(item);
    }

    /// The next signal to send, which then is under way. `None`: nothing may be sent now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Item> {
        while let Some((_, serial)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.pop_first();
            self.ready.push_back(serial);
        }
        let serial = match &mut self.outage {
            None if self.in_flight < IN_FLIGHT_MAX => self.ready.pop_front()?,
            Some(outage) if self.in_flight == 0 && outage.probe_at <= now => {
                // A lane that waits for its own sake will do as a probe when there is no other.
                let mut waiting = || self.waiting.pop_first().map(|(_, serial)| serial);
                let serial = self.ready.pop_front().or_else(&mut waiting)?;
                outage.probe = Some(serial);
                serial
            }
            None | Some(_) => return None,
        };
        self.in_flight += 1;
        let lane = self.lanes.get_mut(&serial).expect("only lanes that exist are ready");
        lane.successes_at_sending = self.successes;
        lane.items.front().cloned()
    }

    /// A signal was accepted. True if that ended an outage.
    pub(super) fn succeeded(&mut self, serial: u32) -> bool {
        self.in_flight -= 1;
        self.successes += 1;
        self.refused.clear();
        self.advance(serial);
        self.outage.take().is_some()
    }

    /// A signal was not accepted.
    pub(super) fn failed(&mut self, now: Instant, serial: u32, failure: Failure) -> Fate {
        self.in_flight -= 1;
        if let Some(outage) = self.outage {
            // Nobody is blamed, and another lane is the next probe: this signal may be the trouble.
            self.ready.push_back(serial);
            let at = match outage.probe == Some(serial) {
                true => self.rest(now, outage.failures + 1, failure),
                false => outage.probe_at, // It was sent before the outage began.
            };
            return Fate::Outage(at);
        }
        self.refused.insert(serial);
        let lane = self.lanes.get_mut(&serial).expect("a lane lives while it is under way");
        if lane.failures == 0 {
            lane.successes_at_blame = self.successes;
        }
        lane.failures += 1;
        let is_silent = lane.successes_at_sending == self.successes;
        if (failure.of_endpoint && is_silent) || self.refused.len() >= OUTAGE_ACCOUNTS {
            let pause = self.pause(&RETRY_PAUSES, serial, failure);
            self.waiting.insert((now + pause, serial));
            return Fate::Outage(self.rest(now, 1, failure));
        }
        // Only an endpoint that accepts others proves that it is the signal's fault.
        if lane.failures > RETRY_PAUSES.len() && lane.successes_at_blame < self.successes {
            self.advance(serial);
            return Fate::GivenUp;
        }
        let at = now + self.pause(&RETRY_PAUSES, serial, failure);
        self.waiting.insert((at, serial));
        Fate::Retry(at)
    }

    /// The endpoint said that it is gone: the signal is the next of its account again, and nobody is
    /// blamed.
    pub(super) fn gone(&mut self, serial: u32) {
        self.in_flight -= 1;
        self.ready.push_back(serial);
        if let Some(outage) = &mut self.outage
            && outage.probe == Some(serial)
        {
            outage.probe = None;
        }
    }

    /// An operator says that the endpoint is there again: no outage is waited for.
    pub(super) fn revive(&mut self) {
        self.outage = None;
    }

    /// When [`Self::next`] has to be asked again, if nothing under way ends before.
    pub(super) fn due_at(&self) -> Option<Instant> {
        match self.outage {
            None => self.waiting.first().map(|(at, _)| *at),
            Some(outage) => {
                (self.in_flight == 0 && !self.lanes.is_empty()).then_some(outage.probe_at)
            }
        }
    }

    /// Whether something is under way or may be sent without waiting for time to pass.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight > 0 || (self.outage.is_none() && !self.ready.is_empty())
    }

    /// The account's next signal, if it has one, is ready.
    fn advance(&mut self, serial: u32) {
        let lane = self.lanes.get_mut(&serial).expect("a lane lives while it is under way");
        lane.items.pop_front();
        lane.failures = 0;
        if lane.items.is_empty() {
            self.lanes.remove(&serial);
        } else {
            self.ready.push_back(serial);
        }
    }

    /// Begins or prolongs an outage.
    fn rest(&mut self, now: Instant, failures: usize, failure: Failure) -> Instant {
        let pause = self.lengthen(at(&OUTAGE_PAUSES, failures), failures, failure);
        let probe_at = now + pause;
        self.outage = Some(Outage { failures, probe_at, probe: None });
        probe_at
    }

    fn pause(&self, pauses: &[Duration], serial: u32, failure: Failure) -> Duration {
        let failures = self.lanes[&serial].failures;
        self.lengthen(at(pauses, failures), (serial, failures), failure)
    }

    /// A pause as long as the endpoint asked for, and a bit by chance.
    fn lengthen(&self, pause: Duration, what: impl std::hash::Hash, failure: Failure) -> Duration {
        let asked = failure.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let part = self.chance.hash_one(what) % 1024;
        let chance = pause / JITTER_PARTS * u32::try_from(part).unwrap_or_default() / 1024;
        (pause + chance).max(asked)
    }
}

/// The pause after so many failures; the last one repeats.
fn at(pauses: &[Duration], failures: usize) -> Duration {
    pauses[(failures - 1).min(pauses.len() - 1)]
}
