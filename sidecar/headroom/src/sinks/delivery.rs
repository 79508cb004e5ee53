//! The task of a sink that is sent to: signals in, requests out, in order per account.
//!
//! All of them have this one task. What makes a kind of sink different is its courier: how signals
//! become a request, and what an answer means.

use std::collections::HashSet;
use std::sync::Arc;

use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::begin::{Reins, Task};
use super::cursor::Cursor;
use super::dead::Why;
use super::feed::{Fed, Feed};
use super::ids::Starts;
use super::lanes::{Batch, Failure, Fate, Lanes, Shape};
use super::limits::{ATTEMPT_WITHIN, PAGE_ROWS, WINDOW_SIGNALS_MAX};
use super::payload::Message;
use super::prefix::Prefix;
use super::status::{Board, Waiting};

/// How signals become a request of one kind of sink, and what its answer means.
pub(super) trait Courier: Send + Sync + 'static {
    /// How it wants to be sent to.
    fn shape(&self) -> Shape;

    /// How many bytes a request gets longer by a message, and the most that one may have. `None`:
    /// its length does not matter.
    fn bytes(&self, message: &Message) -> Option<(usize, usize)>;

    /// Delivers all of these together, or none. Bounded in time by the caller.
    fn deliver(&self, messages: Vec<Message>) -> impl Future<Output = Outcome> + Send;
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was accepted.
    Accepted,
    /// The endpoint is no more.
    Gone,
    /// It was not accepted.
    Refused {
        /// Why, for the operator. Never a secret.
        what: String,
        /// Why, for a dead letter.
        why: Why,
        /// What follows from it.
        failure: Failure,
    },
}

impl Outcome {
    /// There was no answer.
    pub(super) fn silence(what: String) -> Outcome {
        let failure = Failure { of_endpoint: true, retry_after: None };
        Outcome::Refused { what, why: Why::NoAnswer, failure }
    }
}

/// One sink at work.
pub(super) struct Delivery<C> {
    engine: Arc<Engine>,
    test_clock: bool,
    board: Arc<Board>,
    reins: Reins,
    feed: Feed,
    cursor: Cursor,
    courier: Arc<C>,
    prefix: Prefix,
    lanes: Lanes,
    attempts: JoinSet<Attempt>,
    starts: Starts,
    /// Dead letters that are sent again. They are below the cursor, or done in the prefix.
    again: HashSet<SignalId>,
    paused: bool,
    disabled: bool,
}

/// How an attempt ended.
struct Attempt {
    batch: Batch,
    outcome: Outcome,
}

impl<C: Courier> Delivery<C> {
    pub(super) fn new(task: Task, courier: C) -> Delivery<C> {
        Delivery {
            engine: task.engine,
            test_clock: task.test_clock,
            board: task.board,
            reins: task.reins,
            prefix: Prefix::new(task.feed.read_to()),
            feed: task.feed,
            cursor: task.cursor,
            lanes: Lanes::new(courier.shape()),
            courier: Arc::new(courier),
            attempts: JoinSet::new(),
            starts: task.starts,
            again: HashSet::new(),
            paused: false,
            disabled: false,
        }
    }

    /// Runs until it is told to stop; then its cursor is journaled.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.obey();
            let may_begin = self.reins.may_begin() && !self.is_resting();
            // A sink that rests reads on, so that it is known how far it is behind.
            let reads = may_begin || !self.reins.is_stopping();
            if reads {
                self.read(now);
            }
            if may_begin {
                self.launch(now);
            }
            let (confirmed, open) = (self.prefix.confirmed(), self.prefix.len());
            self.board.stands(confirmed, open as u64, self.prefix.oldest());
            self.cursor.keep(now);
            let may_read = reads && self.has_room() && self.feed.is_unread(now);
            let may_send = may_begin && self.lanes.is_busy();
            let awaits = may_read || may_begin && self.feed.is_writing();
            if self.reins.is_over(now, awaits || may_send || !self.attempts.is_empty()) {
                break;
            }
            let due_at = self.due_at(may_begin);
            tokio::select! {
                news = self.reins.pulled(due_at) => {
                    if news {
                        self.feed.wake();
                    }
                }
                Some(ended) = self.attempts.join_next() => match ended {
                    Ok(attempt) => self.settle(Instant::now(), attempt),
                    // Whose delivery it was is lost with it, so the sink ends.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = tokio::task::yield_now(), if may_read => {}
            }
        }
        self.attempts.shutdown().await;
        self.cursor.note(Instant::now());
    }

    fn due_at(&self, may_begin: bool) -> [Option<Instant>; 3] {
        // Without room, what makes room comes first.
        let retry_at = self.feed.retry_at().filter(|_| self.has_room());
        if !may_begin {
            // Of what was told to stop, the reins know the end.
            let retry_at = retry_at.filter(|_| !self.reins.is_stopping());
            return [self.cursor.due_at(), None, retry_at];
        }
        [self.cursor.due_at(), self.lanes.due_at(), retry_at]
    }

    fn is_resting(&self) -> bool {
        self.paused || self.disabled
    }

    /// Does what an operator wants.
    fn obey(&mut self) {
        let orders = self.board.orders();
        self.paused = orders.is_paused;
        if orders.resume {
            self.lanes.revive();
            if std::mem::take(&mut self.disabled) {
                self.board.set_disabled(false);
            }
        }
        for id in orders.again {
            if let Some(item) = self.feed.again(id) {
                self.again.insert(id);
                self.lanes.push(item);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.prefix.len() + PAGE_ROWS <= WINDOW_SIGNALS_MAX
    }

    /// Reads one page if there is room for it.
    fn read(&mut self, now: Instant) {
        if !self.has_room() || !self.feed.is_unread(now) {
            return;
        }
        for fed in self.feed.page(now) {
            match fed {
                Fed::Wanted(item) => {
                    let waiting = Waiting::since(item.signal.at(), self.test_clock, now);
                    self.prefix.wanted(item.id, waiting);
                    // It was given up, and then the process died before the cursor passed it.
                    if self.board.is_dead(item.id) {
                        self.prefix.done(item.id);
                    } else {
                        self.lanes.push(item);
                    }
                }
                Fed::Unwanted(id) => self.prefix.unwanted(id),
            }
        }
        self.cursor.confirm(self.prefix.confirmed(), 0);
    }

    fn launch(&mut self, now: Instant) {
        while let Some((batch, messages)) = self.next(now) {
            self.board.attempt();
            let courier = Arc::clone(&self.courier);
            self.attempts.spawn(async move {
                let outcome = match timeout(ATTEMPT_WITHIN, courier.deliver(messages)).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        Outcome::silence(format!("no answer within {} s", ATTEMPT_WITHIN.as_secs()))
                    }
                };
                Attempt { batch, outcome }
            });
        }
    }

    /// The next signals to send together, and what is told of them.
    fn next(&mut self, now: Instant) -> Option<(Batch, Vec<Message>)> {
        let (engine, starts, courier) = (&self.engine, &self.starts, &self.courier);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let batch = self.lanes.next(now, |item| {
            let message = Message::of(engine, self.test_clock, starts, item);
            let (more, most) = courier.bytes(&message).unwrap_or((0, usize::MAX));
            bytes += more;
            messages.push(message);
            bytes <= most
        })?;
        // The last one was looked at and had no room.
        messages.truncate(batch.items.len());
        Some((batch, messages))
    }

    fn settle(&mut self, now: Instant, attempt: Attempt) {
        let Attempt { batch, outcome } = attempt;
        match outcome {
            Outcome::Accepted => {
                if self.lanes.succeeded(&batch) {
                    tracing::info!(sink = self.board.sink(), "the endpoint accepts signals again");
                }
                self.board.delivered(batch.items.len() as u64);
                for item in &batch.items {
                    if self.again.remove(&item.id) {
                        self.board.revived(&[item.id]);
                    } else {
                        self.confirm(item.id);
                    }
                }
            }
            // The signals are the first of their lanes again, for the case that the sink is
            // resumed.
            Outcome::Gone => {
                self.lanes.gone(&batch);
                self.disable();
            }
            Outcome::Refused { what, why, failure } => {
                self.fail(now, &batch, (&what, why), failure);
            }
        }
    }

    fn disable(&mut self) {
        self.disabled = true;
        self.board.attempt_failed("status 410");
        self.board.set_disabled(true);
        tracing::error!(
            sink = self.board.sink(),
            "the endpoint says that it is gone (410): nothing is sent to it until `headroom sinks \
             resume`, a restart or a change of the sink"
        );
    }

    fn fail(&mut self, now: Instant, batch: &Batch, (what, why): (&str, Why), failure: Failure) {
        self.board.attempt_failed(what);
        let (sink, id, signals) = (self.board.sink(), batch.items[0].id, batch.items.len());
        let pause_s = |at: Instant| (at - now).as_secs();
        match self.lanes.failed(now, batch, failure) {
            Fate::Retry(at) => {
                tracing::warn!(
                    sink, signal = %id, signals, what, pause_s = pause_s(at), "not accepted"
                );
            }
            Fate::Outage(at) => {
                tracing::warn!(
                    sink, signal = %id, signals, what, pause_s = pause_s(at), "an outage"
                );
            }
            Fate::OneByOne => {
                tracing::warn!(sink, signal = %id, signals, what, "not accepted: sent one by one");
            }
            Fate::GivenUp => {
                let told = "a signal was refused for three days while others were accepted and is \
                            given up; `headroom sinks replay` sends it again";
                tracing::error!(sink, signal = self.starts.text(id), what, "{told}");
                self.board.give_up(id, why);
                if !self.again.remove(&id) {
                    self.confirm(id);
                }
            }
        }
    }

    fn confirm(&mut self, id: SignalId) {
        self.prefix.done(id);
        self.cursor.confirm(self.prefix.confirmed(), 1);
    }
}
