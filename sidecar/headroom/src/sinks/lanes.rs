//! Lanes: which signals of a sink are tried when. One lane per account, one request under way in
//! each, so that an account's signals arrive in their order; lanes do not wait for each other. A
//! sink that takes several signals per request gets what is ready: whatever waits goes together,
//! and nothing waits for company.
//!
//! Two things can be wrong, and they want opposite answers. When the *signal* is the trouble
//! (others are accepted), its lane pauses longer and longer and at last gives it up. When the
//! *endpoint* is the trouble (it accepts nothing), no signal is blamed: all lanes rest, one at a
//! time probes, and with the first success everything goes on. So an outage, however long, gives up
//! nothing. A request of several signals that is refused says not which of them is the trouble:
//! each of them is sent alone then.
//!
//! Nothing here reads a clock, waits or sends: the caller passes `now` and carries out the answer.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::feed::Item;
use super::limits::{JITTER_PARTS, OUTAGE_ACCOUNTS, OUTAGE_PAUSES, RETRY_AFTER_MAX, RETRY_PAUSES};

/// How a sink is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Most signals of one request.
    pub(super) batch_max: usize,
    /// Most requests under way at once. More wait for their turn, in the order they came.
    pub(super) in_flight_max: usize,
    /// The least time from one request to the next.
    pub(super) pace: Duration,
}

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
    /// Nobody knows which of them was refused: each is sent alone.
    OneByOne,
    /// The signal is given up; the account's next one may go.
    GivenUp,
}

/// Signals that are under way together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// Never empty; those of one account are in order.
    pub(super) items: Vec<Item>,
    /// Whose, and how many of each.
    lanes: Vec<(u32, usize)>,
    /// `successes` when it was sent.
    successes: u64,
}

/// The signals of one sink that are not delivered.
pub(super) struct Lanes {
    shape: Shape,
    lanes: HashMap<u32, Lane>,
    // Invariant: every lane is in exactly one of these, or has a request under way.
    ready: VecDeque<u32>,
    waiting: BTreeSet<(Instant, u32)>,
    /// Requests under way.
    in_flight: usize,
    /// No request before this.
    paced_until: Option<Instant>,
    outage: Option<Outage>,
    /// Accounts that failed since the last success.
    refused: BTreeSet<u32>,
    /// Requests that succeeded, ever.
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
    /// `successes` when the first item was first blamed.
    successes_at_blame: u64,
    /// So many of the first items go alone: one of them was refused, or may have been.
    alone: usize,
}

#[derive(Debug, Clone, Copy)]
struct Outage {
    failures: usize,
    probe_at: Instant,
    /// The account whose signal is the probe under way.
    probe: Option<u32>,
}

impl Lanes {
    pub(super) fn new(shape: Shape) -> Lanes {
        Lanes {
            shape,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            in_flight: 0,
            paced_until: None,
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

    /// The next signals to send together, which then are under way. `fits` says whether one more
    /// has room; the first has. `None`: nothing may be sent now.
    pub(super) fn next(
        &mut self,
        now: Instant,
        mut fits: impl FnMut(&Item) -> bool,
    ) -> Option<Batch> {
        while let Some((_, serial)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.pop_first();
            self.ready.push_back(serial);
        }
        if self.paced_until.is_some_and(|until| now < until) {
            return None;
        }
        let mut batch = Batch { items: vec![], lanes: vec![], successes: self.successes };
        match &mut self.outage {
            None if self.in_flight < self.shape.in_flight_max => self.fill(&mut batch, &mut fits),
            Some(outage) if self.in_flight == 0 && outage.probe_at <= now => {
                // A lane that waits for its own sake will do as a probe when there is no other.
                let mut waiting = || self.waiting.pop_first().map(|(_, serial)| serial);
                let serial = self.ready.pop_front().or_else(&mut waiting)?;
                outage.probe = Some(serial);
                let item = self.lanes[&serial].items[0].clone();
                fits(&item);
                batch.lanes.push((serial, 1));
                batch.items.push(item);
            }
            None | Some(_) => {}
        }
        if batch.items.is_empty() {
            return None;
        }
        self.in_flight += 1;
        if !self.shape.pace.is_zero() {
            self.paced_until = Some(now + self.shape.pace);
        }
        Some(batch)
    }

    /// Takes from the lanes that are ready, as much as there is room for.
    fn fill(&mut self, batch: &mut Batch, fits: &mut impl FnMut(&Item) -> bool) {
        while batch.items.len() < self.shape.batch_max
            && let Some(serial) = self.ready.front().copied()
        {
            let lane = &self.lanes[&serial];
            if lane.alone > 0 && !batch.items.is_empty() {
                return;
            }
            let room = self.shape.batch_max - batch.items.len();
            let most = if lane.alone > 0 { 1 } else { room };
            let before = batch.items.len();
            for item in lane.items.iter().take(most) {
                // The first is sent whatever its size: it does not get smaller by waiting.
                if !fits(item) && !batch.items.is_empty() {
                    break;
                }
                batch.items.push(item.clone());
            }
            let taken = batch.items.len() - before;
            if taken == 0 {
                return;
            }
            batch.lanes.push((serial, taken));
            self.ready.pop_front();
            if lane.alone > 0 || taken < lane.items.len() {
                return;
            }
        }
    }

    /// Signals were accepted. True if that ended an outage.
    pub(super) fn succeeded(&mut self, batch: &Batch) -> bool {
        self.in_flight -= 1;
        self.successes += 1;
        self.refused.clear();
        for (serial, count) in &batch.lanes {
            self.advance(*serial, *count);
        }
        self.outage.take().is_some()
    }

    /// Signals were not accepted.
    pub(super) fn failed(&mut self, now: Instant, batch: &Batch, failure: Failure) -> Fate {
        self.in_flight -= 1;
        if let Some(outage) = self.outage {
            // Nobody is blamed, and another lane is the next probe: this signal may be the trouble.
            self.ready.extend(batch.serials());
            let at = match batch.serials().any(|serial| outage.probe == Some(serial)) {
                true => self.rest(now, outage.failures + 1, failure),
                false => outage.probe_at, // It was sent before the outage began.
            };
            return Fate::Outage(at);
        }
        if batch.items.len() > 1 && !failure.of_endpoint {
            for (serial, count) in batch.lanes.iter().rev() {
                self.lane(*serial).alone = *count;
                self.ready.push_front(*serial);
            }
            return Fate::OneByOne;
        }
        // One request is one observation, however many accounts it was for.
        self.refused.extend(batch.serials().next());
        let successes = self.successes;
        for serial in batch.serials() {
            let lane = self.lane(serial);
            if lane.failures == 0 {
                lane.successes_at_blame = successes;
            }
            lane.failures += 1;
            lane.alone = lane.alone.max(1);
        }
        let is_silent = batch.successes == self.successes;
        if (failure.of_endpoint && is_silent) || self.refused.len() >= OUTAGE_ACCOUNTS {
            self.wait(now, batch, failure);
            return Fate::Outage(self.rest(now, 1, failure));
        }
        // Only an endpoint that accepts others proves that it is the signal's fault.
        if let [(serial, 1)] = batch.lanes[..]
            && let lane = &self.lanes[&serial]
            && lane.failures > RETRY_PAUSES.len()
            && lane.successes_at_blame < self.successes
        {
            self.advance(serial, 1);
            return Fate::GivenUp;
        }
        Fate::Retry(self.wait(now, batch, failure))
    }

    /// The endpoint said that it is gone: the signals are the next of their accounts again, and
    /// nobody is blamed.
    pub(super) fn gone(&mut self, batch: &Batch) {
        self.in_flight -= 1;
        self.ready.extend(batch.serials());
        if let Some(outage) = &mut self.outage
            && batch.serials().any(|serial| outage.probe == Some(serial))
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
            None => {
                let may_send = self.in_flight < self.shape.in_flight_max && !self.ready.is_empty();
                let paced = self.paced_until.filter(|_| may_send);
                self.waiting.first().map(|(at, _)| *at).into_iter().chain(paced).min()
            }
            Some(outage) => (self.in_flight == 0 && !self.lanes.is_empty())
                .then(|| self.paced_until.map_or(outage.probe_at, |at| at.max(outage.probe_at))),
        }
    }

    /// Whether something is under way or may be sent without waiting for time to pass.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight > 0 || (self.outage.is_none() && !self.ready.is_empty())
    }

    /// The account's next signal, if it has one, is ready.
    fn advance(&mut self, serial: u32, count: usize) {
        let lane = self.lane(serial);
        lane.items.drain(..count);
        lane.failures = 0;
        lane.alone = lane.alone.saturating_sub(count);
        if lane.items.is_empty() {
            self.lanes.remove(&serial);
        } else {
            self.ready.push_back(serial);
        }
    }

    fn lane(&mut self, serial: u32) -> &mut Lane {
        self.lanes.get_mut(&serial).expect("a lane lives while it is under way")
    }

    /// The lanes of a request that failed wait, each for its own time; says the first of them.
    fn wait(&mut self, now: Instant, batch: &Batch, failure: Failure) -> Instant {
        let times = batch.serials().map(|serial| (now + self.pause(serial, failure), serial));
        let times: Vec<(Instant, u32)> = times.collect();
        let first = times.iter().min().expect("a batch is not empty").0;
        self.waiting.extend(times);
        first
    }

    /// Begins or prolongs an outage.
    fn rest(&mut self, now: Instant, failures: usize, failure: Failure) -> Instant {
        let pause = self.lengthen(at(&OUTAGE_PAUSES, failures), failures, failure);
        let probe_at = now + pause;
        self.outage = Some(Outage { failures, probe_at, probe: None });
        probe_at
    }

    fn pause(&self, serial: u32, failure: Failure) -> Duration {
        let failures = self.lanes[&serial].failures;
        self.lengthen(at(&RETRY_PAUSES, failures), (serial, failures), failure)
    }

    /// A pause as long as the endpoint asked for, and a bit by chance.
    fn lengthen(&self, pause: Duration, what: impl std::hash::Hash, failure: Failure) -> Duration {
        let asked = failure.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let part = self.chance.hash_one(what) % 1024;
        let chance = pause / JITTER_PARTS * u32::try_from(part).unwrap_or_default() / 1024;
        (pause + chance).max(asked)
    }
}

impl Batch {
    fn serials(&self) -> impl Iterator<Item = u32> {
        self.lanes.iter().map(|(serial, _)| *serial)
    }
}

/// The pause after so many failures; the last one repeats.
fn at(pauses: &[Duration], failures: usize) -> Duration {
    pauses[(failures - 1).min(pauses.len() - 1)]
}
