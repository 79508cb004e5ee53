//! Gates: where an answered request waits until the journal has written its record.
//!
//! A wake from one thread to another costs a system call, a wake within a thread a push to a queue.
//! So each runtime has one gate, and the journal's thread wakes a gate at most once per written
//! batch; the gate's dispatcher, a task of that runtime, then wakes the requests. The same task
//! starts the batch: the first append of a tick wakes it, it runs after every task that was ready by
//! then, and it kicks the journal once for all of them. That is the group commit; no
//! timer is involved.
//!
//! A gate never looks into the journal: it is told what is durable and what failed.
//!
//! Invariant: a waiter is in the queue, or its number is settled, or it was woken; see `arm`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use headroom_engine::ports::Seq;
use tokio::sync::Notify;

use self::queue::{Queue, Ticket};

mod queue;
#[cfg(test)]
mod tests;

/// Tells the journal that records wait in its buffer. It may write them itself before it returns.
pub type Kick = Arc<dyn Fn() + Send + Sync>;

/// The journal failed before the record was known to be written, after the decision was counted in
/// memory: the client retries with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal failed before record {seq} was known to be written")]
pub struct OutcomeUnknown {
    /// The record.
    pub seq: Seq,
}

/// All gates of the process, one per runtime: what the journal reports to.
#[derive(Clone)]
pub struct Gates {
    progress: Arc<Progress>,
    workers: Arc<[Gate]>,
    control: Gate,
}

impl Gates {
    /// Gates for so many workers and the control runtime. `durable` is where the journal stands
    /// after recovery.
    pub fn new(durable: Seq, workers: usize) -> Gates {
        let progress =
            Arc::new(Progress { durable: AtomicU64::new(durable.0), failures: AtomicU64::new(0) });
        let gate = || Gate(Arc::new(Inner::new(Arc::clone(&progress))));
        Gates { workers: (0..workers).map(|_| gate()).collect(), control: gate(), progress }
    }

    /// The gates of the workers, by index.
    pub fn workers(&self) -> &[Gate] {
        &self.workers
    }

    /// The gate of the control runtime: also for every task on another runtime or none.
    pub fn control(&self) -> &Gate {
        &self.control
    }

    /// The journal is as durable as configured up to `seq`, included. Called once per written
    /// batch, from any thread, also from within a kick.
    pub fn durable(&self, seq: Seq) {
        self.progress.durable.fetch_max(seq.0, SeqCst);
        self.wake();
    }

    /// A write failed: every record that was appended by now and is not durable is given up, and
    /// whoever waits for it gets an error. Later records wait normally, until the next report.
    pub fn failed(&self) {
        self.progress.failures.fetch_add(1, SeqCst);
        self.wake();
    }

    fn wake(&self) {
        for gate in self.workers.iter().chain([&self.control]) {
            // The other half of `arm`: the progress is stored before this reads.
            if gate.0.armed.swap(false, SeqCst) {
                gate.0.wake.notify_one();
            }
        }
    }
}

/// What the journal has reported.
// On a cache line of its own: every request reads it, only the journal writes it.
#[repr(align(64))]
struct Progress {
    durable: AtomicU64,
    /// How often it failed.
    failures: AtomicU64,
}

/// A record that was appended and whose fate is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    seq: Seq,
    /// Failures reported before it was appended, which are not about it.
    failures_before: u64,
}

impl Progress {
    /// How the record ended, or None when nothing is known yet.
    fn settled(&self, pending: Pending) -> Option<Result<(), OutcomeUnknown>> {
        // Durable first: what failed once and was written later is safe.
        if pending.seq.0 <= self.durable.load(SeqCst) {
            Some(Ok(()))
        } else if pending.failures_before < self.failures.load(SeqCst) {
            Some(Err(OutcomeUnknown { seq: pending.seq }))
        } else {
            None
        }
    }

    /// Changes whenever something is settled.
    fn state(&self) -> (u64, u64) {
        (self.durable.load(SeqCst), self.failures.load(SeqCst))
    }
}

/// The gate of one runtime. A clone is another handle to the same gate.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    progress: Arc<Progress>,
    queue: Mutex<Queue>,
    /// True when the journal is to wake the dispatcher with its next report.
    armed: AtomicBool,
    /// True when the dispatcher is to kick the journal.
    poked: AtomicBool,
    /// Wakes the dispatcher.
    wake: Notify,
}

impl Inner {
    fn new(progress: Arc<Progress>) -> Inner {
        Inner {
            progress,
            queue: Mutex::new(Queue::default()),
            armed: AtomicBool::new(false),
            poked: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// The queue is valid after every statement, so a panic elsewhere does not spoil it.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the journal to wake the dispatcher with its next report.
    ///
    /// No wake-up is lost: a waiter enters the queue, arms and then looks at the progress, while
    /// the journal stores its progress and then looks whether the gate is armed. In the one order
    /// of these four, either the waiter sees the progress or the journal sees the gate armed; and
    /// whoever disarms a gate makes its dispatcher look at all that is in the queue by then.
    fn arm(&self) {
        if !self.armed.load(SeqCst) {
            self.armed.store(true, SeqCst);
        }
    }
}

impl Gate {
    /// To be called right after a record was appended: has the journal kicked at the end of this
    /// tick.
    pub fn appended(&self, seq: Seq) -> Pending {
        if !self.0.poked.load(Relaxed) && !self.0.poked.swap(true, AcqRel) {
            self.0.wake.notify_one();
        }
        Pending { seq, failures_before: self.0.progress.failures.load(SeqCst) }
    }

    /// To be called right after a record was appended: waits until it is as durable as configured.
    /// Dropping the future stops waiting.
    pub fn written(&self, seq: Seq) -> Written<'_> {
        self.settled(self.appended(seq))
    }

    /// Waits for a record that [`Gate::appended`] was told of.
    pub fn settled(&self, pending: Pending) -> Written<'_> {
        Written { gate: self, pending, ticket: None }
    }

    /// A place to wait in, for streams: they ask for one record after another.
    pub fn waiter(&self) -> Waiter {
        Waiter { gate: self.clone(), ticket: None }
    }

    /// Runs the gate. One task per gate, on the gate's own runtime.
    pub async fn dispatch(self, kick: Kick) -> Infallible {
        let mut woken = Vec::new();
        loop {
            self.0.wake.notified().await;
            if self.0.poked.swap(false, AcqRel) {
                kick();
            }
            self.release(&mut woken);
        }
    }

    /// Wakes everyone whose number is settled, and arms the gate if others are left.
    fn release(&self, woken: &mut Vec<Waker>) {
        loop {
            let before = self.0.progress.state();
            let others_wait = {
                let mut queue = self.0.queue();
                queue.release(|pending| self.0.progress.settled(pending).is_some(), woken);
                !queue.is_empty()
            };
            // Woken outside the lock: a waker may run or drop anything.
            for waker in woken.drain(..) {
                waker.wake();
            }
            if !others_wait {
                return;
            }
            self.0.arm();
            if self.0.progress.state() == before {
                return;
            }
        }
    }

    /// The one way to wait. `ticket` is the caller's place in the queue, if it has one.
    fn poll(
        &self,
        cx: &Context<'_>,
        pending: Pending,
        ticket: &mut Option<Ticket>,
    ) -> Poll<Result<(), OutcomeUnknown>> {
        if let Some(outcome) = self.0.progress.settled(pending) {
            self.leave(ticket);
            return Poll::Ready(outcome);
        }
        let (place, replaced) = self.0.queue().enter(*ticket, pending, cx.waker());
        drop(replaced); // After the lock, like every waker.
        *ticket = Some(place);
        self.0.arm();
        match self.0.progress.settled(pending) {
            Some(outcome) => {
                self.leave(ticket);
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }

    fn leave(&self, ticket: &mut Option<Ticket>) {
        if let Some(ticket) = ticket.take() {
            let waker = self.0.queue().leave(ticket);
            drop(waker); // After the lock, like every waker.
        }
    }

    /// How many wait.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.0.queue().len()
    }
}

/// The future of [`Gate::written`].
#[must_use = "a future waits only when it is awaited"]
pub struct Written<'a> {
    gate: &'a Gate,
    pending: Pending,
    ticket: Option<Ticket>,
}

impl Future for Written<'_> {
    type Output = Result<(), OutcomeUnknown>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.gate.poll(cx, this.pending, &mut this.ticket)
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        self.gate.leave(&mut self.ticket);
    }
}

/// One task's place at a gate, for as long as a stream lives.
pub struct Waiter {
    gate: Gate,
    ticket: Option<Ticket>,
}

impl Waiter {
    /// Whether the record is as durable as configured; if not yet, the task is woken when it is.
    /// Only the last record asked for is waited for, so a stream asks for its oldest.
    pub fn poll_written(
        &mut self,
        cx: &Context<'_>,
        pending: Pending,
    ) -> Poll<Result<(), OutcomeUnknown>> {
        self.gate.poll(cx, pending, &mut self.ticket)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.gate.leave(&mut self.ticket);
    }
}
