//! The task of a webhook: signals in, signed deliveries out, in order per account.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::begin::{Reins, Task};
use super::cursor::Cursor;
use super::dead::Why;
use super::feed::{Fed, Feed, Item};
use super::http::{Answer, Outgoing, Transport};
use super::ids::Starts;
use super::lanes::{Failure, Fate, Lanes};
use super::limits::{ATTEMPT_WITHIN, PAGE_ROWS, WINDOW_SIGNALS_MAX};
use super::payload;
use super::prefix::Prefix;
use super::signature::Signer;
use super::status::{Board, Waiting};

/// One webhook at work.
pub(super) struct Webhook<T> {
    engine: Arc<Engine>,
    test_clock: bool,
    board: Arc<Board>,
    reins: Reins,
    feed: Feed,
    cursor: Cursor,
    transport: Arc<T>,
    signer: Arc<Signer>,
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
    id: SignalId,
    serial: u32,
    /// `Err`: not an answer.
    answer: Result<Answer, String>,
}

impl<T: Transport> Webhook<T> {
    pub(super) fn new(task: Task, transport: T, signer: Signer) -> Webhook<T> {
        Webhook {
            engine: task.engine,
            test_clock: task.test_clock,
            board: task.board,
            reins: task.reins,
            prefix: Prefix::new(task.feed.read_to()),
            feed: task.feed,
            cursor: task.cursor,
            transport: Arc::new(transport),
            signer: Arc::new(signer),
            lanes: Lanes::new(),
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
            if self.reins.is_over(now, may_read || may_send || !self.attempts.is_empty()) {
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
        if !may_begin {
            // Of what was told to stop, the reins know the end.
            let retry_at = self.feed.retry_at().filter(|_| !self.reins.is_stopping());
            return [self.cursor.due_at(), None, retry_at];
        }
        [self.cursor.due_at(), self.lanes.due_at(), self.feed.retry_at()]
    }

    fn is_resting(&self) -> bool {
        self.paused || self.disabled
    }

    /// Does what an operator wants.
    fn obey(&mut self) {
        let orders = self.board.orders();
        self.paused = orders.is_paused;
        if orders.resume && self.disabled {
            self.disabled = false;
            self.board.set_disabled(false);
            self.lanes.revive();
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
                    let waiting = Waiting::since(item.signal.at, self.test_clock, now);
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
        while let Some(item) = self.lanes.next(now) {
            self.board.attempt();
            let message = self.message(&item);
            let transport = Arc::clone(&self.transport);
            self.attempts.spawn(async move {
                let answer = match timeout(ATTEMPT_WITHIN, transport.post(message)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(format!("no answer within {} s", ATTEMPT_WITHIN.as_secs())),
                };
                Attempt { id: item.id, serial: item.serial, answer }
            });
        }
    }

    fn message(&self, item: &Item) -> Outgoing {
        let id = self.starts.text(item.id);
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let timestamp = since_epoch.map_or(0, |since| since.as_secs().cast_signed());
        let body = payload::message(&self.engine, self.test_clock, &self.starts, item);
        let signature = self.signer.sign(&id, timestamp, &body);
        Outgoing { id, timestamp, signature, body }
    }

    fn settle(&mut self, now: Instant, attempt: Attempt) {
        let Attempt { id, serial, answer } = attempt;
        match answer {
            Ok(answer) if answer.status.is_success() => {
                if self.lanes.succeeded(serial) {
                    tracing::info!(sink = self.board.sink(), "the endpoint accepts signals again");
                }
                self.board.delivered(1);
                if self.again.remove(&id) {
                    self.board.revived(&[id]);
                } else {
                    self.confirm(id);
                }
            }
            // The signal is the first of its lane again, for the case that the sink is resumed.
            Ok(answer) if answer.status == StatusCode::GONE => {
                self.lanes.gone(serial);
                self.disable();
            }
            Ok(answer) => {
                let of_endpoint = is_of_endpoint(answer.status);
                let failure = Failure { of_endpoint, retry_after: answer.retry_after };
                let what = format!("status {}", answer.status.as_u16());
                let why = Why::Status(answer.status.as_u16());
                self.fail(now, (id, serial), (&what, why), failure);
            }
            Err(what) => {
                let failure = Failure { of_endpoint: true, retry_after: None };
                self.fail(now, (id, serial), (&what, Why::NoAnswer), failure);
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

    fn fail(
        &mut self,
        now: Instant,
        (id, serial): (SignalId, u32),
        (what, why): (&str, Why),
        failure: Failure,
    ) {
        self.board.attempt_failed(what);
        let sink = self.board.sink();
        let pause_s = |at: Instant| (at - now).as_secs();
        match self.lanes.failed(now, serial, failure) {
            Fate::Retry(at) => {
                tracing::warn!(sink, signal = %id, what, pause_s = pause_s(at), "not accepted");
            }
            Fate::Outage(at) => {
                tracing::warn!(sink, signal = %id, what, pause_s = pause_s(at), "an outage");
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

/// Whether a refusal is about the endpoint, so that another signal would fare the same. What may
/// depend on the message itself is left to the signal.
fn is_of_endpoint(status: StatusCode) -> bool {
    !matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::CONFLICT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::INTERNAL_SERVER_ERROR
    )
}
