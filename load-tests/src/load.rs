//! The load generator: one client for all servers, and what it measures in one cell.
//!
//! A cell is closed-loop: a fixed number of decisions is in flight, and each answer lets the next
//! request go. One thread per client core runs a current-thread runtime with its share. What is
//! answered within the window counts; the CPU time of both sides is read at its two ends.

mod evalsha;
#[cfg(test)]
mod fake;
mod fill;
mod sdk;
mod stream;
#[cfg(test)]
mod tests;
mod unary;

pub(crate) use fill::fill;

use crate::error::Error;
use crate::ids::{self, Keys, load_accounts};
use crate::limits::{
    CONNECTIONS_MAX, CROSSING_ONE_IN, EVALSHA_BATCH, FIRST_ANSWER_WITHIN, LOOK_AGAIN,
    STREAM_DECISIONS_IN_FLIGHT,
};
use crate::pin::{self, Cores};
use crate::process::{self, CpuTime, Process};
use crate::{files, options::Sizes};
use hdrhistogram::Histogram;
use headroom_proto::v1::{ConsumeRequest, Decision};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How requests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "shape", rename_all = "lowercase")]
pub(crate) enum Shape {
    /// One call a request, on up to [`CONNECTIONS_MAX`] connections.
    Unary {
        /// Calls in flight.
        in_flight: usize,
    },
    /// Unary calls, of which one in [`CROSSING_ONE_IN`] crosses a threshold of an account of its own.
    Crossing {
        /// Calls in flight.
        in_flight: usize,
    },
    /// One stream a client thread, [`STREAM_DECISIONS_IN_FLIGHT`] in flight.
    Stream {
        /// Operations a message.
        batch: usize,
    },
    /// Calls of the Rust SDK, which gathers them by itself.
    Sdk {
        /// Calls in flight.
        in_flight: usize,
    },
    /// One EVALSHA a request, in pipelines of [`EVALSHA_BATCH`], as many in flight as a stream has.
    Evalsha,
}

impl Shape {
    /// Decisions in flight.
    pub(crate) fn in_flight(self) -> usize {
        match self {
            Shape::Unary { in_flight }
            | Shape::Crossing { in_flight }
            | Shape::Sdk { in_flight } => in_flight,
            Shape::Stream { .. } | Shape::Evalsha => STREAM_DECISIONS_IN_FLIGHT,
        }
    }

    /// The least a thread can have in flight.
    fn grain(self) -> usize {
        match self {
            Shape::Unary { .. } | Shape::Crossing { .. } | Shape::Sdk { .. } => 1,
            Shape::Stream { batch } => batch,
            Shape::Evalsha => EVALSHA_BATCH,
        }
    }
}

/// When what is answered counts. It is opened once, when every thread has its first answer, so that
/// a slow start is not measured.
#[derive(Debug)]
pub(crate) struct Window {
    base: Instant,
    // Nanoseconds after base; the end of time until the window is opened.
    begin_ns: AtomicU64,
    end_ns: AtomicU64,
    threads_answered: AtomicUsize,
}

impl Window {
    fn new() -> Arc<Window> {
        let far = || AtomicU64::new(u64::MAX);
        let (base, threads_answered) = (Instant::now(), AtomicUsize::new(0));
        Arc::new(Window { base, begin_ns: far(), end_ns: far(), threads_answered })
    }

    fn ns(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_nanos()).unwrap_or(u64::MAX)
    }

    fn open(&self, begin: Instant, end: Instant) {
        self.end_ns.store(self.ns(end), Ordering::Relaxed);
        self.begin_ns.store(self.ns(begin), Ordering::Relaxed);
    }

    fn contains(&self, at: Instant) -> bool {
        self.begin_ns.load(Ordering::Relaxed) <= self.ns(at) && !self.is_over(at)
    }

    fn is_over(&self, at: Instant) -> bool {
        self.end_ns.load(Ordering::Relaxed) <= self.ns(at)
    }
}

/// What one thread counted.
#[derive(Debug)]
struct Tally {
    has_answer: bool,
    decisions: u64,
    latency_ns: Histogram<u64>,
}

/// A minute: above every deadline. Three digits are enough for a ratio.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

impl Tally {
    fn new() -> Tally {
        let latency_ns = Histogram::new_with_max(LATENCY_NS_MAX, 3).expect("bounds are valid");
        Tally { has_answer: false, decisions: 0, latency_ns }
    }

    /// Notes decisions that were sent and answered together.
    fn note(&mut self, window: &Window, sent_at: Instant, answered_at: Instant, decisions: usize) {
        if !self.has_answer {
            self.has_answer = true;
            window.threads_answered.fetch_add(1, Ordering::Relaxed);
        }
        if !window.contains(answered_at) {
            return;
        }
        let latency = u64::try_from((answered_at - sent_at).as_nanos()).unwrap_or(LATENCY_NS_MAX);
        self.decisions += decisions as u64;
        self.latency_ns.saturating_record_n(latency, decisions as u64);
    }
}

/// What one cell came to.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Decisions answered in the window.
    pub decisions: u64,
    /// The length of the window.
    pub wall: Duration,
    /// CPU time of the server in it.
    pub server_cpu: CpuTime,
    /// CPU time of the load generator in it.
    pub client_cpu: Duration,
    /// From request to answer.
    pub latency_ns: Histogram<u64>,
}

impl Sample {
    /// Decisions a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.decisions as f64 / self.wall.as_secs_f64()
    }

    /// CPU time of the server per decision, in microseconds.
    pub(crate) fn server_cpu_us(&self) -> f64 {
        self.server_cpu.all.as_secs_f64() * 1e6 / self.decisions as f64
    }

    /// CPU time of its threads that answer requests, per decision, in microseconds.
    pub(crate) fn workers_cpu_us(&self) -> f64 {
        self.server_cpu.workers.as_secs_f64() * 1e6 / self.decisions as f64
    }

    /// The part of the time in which the client's cores worked.
    pub(crate) fn client_busy(&self, cores: &Cores) -> f64 {
        self.client_cpu.as_secs_f64() / self.wall.as_secs_f64() / cores.client.len() as f64
    }
}

/// Makes the requests of one thread.
#[derive(Debug)]
struct Requests {
    keys: Keys,
    next: usize,
    /// Whether one in [`CROSSING_ONE_IN`] crosses.
    crosses: bool,
}

/// Accounts that cross start here, far from all others.
const CROSSING_ACCOUNTS_FROM: usize = 20_000_000;

impl Requests {
    fn new(thread: usize, crosses: bool) -> Requests {
        // Threads start far apart, so that they do not walk in step over the same accounts.
        Requests { keys: Keys::new(), next: thread * 4_111, crosses }
    }

    fn account(&mut self) -> &'static str {
        let accounts = load_accounts();
        self.next += 1;
        &accounts[self.next % accounts.len()]
    }

    fn consume(&mut self) -> ConsumeRequest {
        static CROSSED: AtomicUsize = AtomicUsize::new(CROSSING_ACCOUNTS_FROM);
        let account = self.account();
        let (account, units) = if self.crosses && self.next.is_multiple_of(CROSSING_ONE_IN) {
            let number = CROSSED.fetch_add(1, Ordering::Relaxed);
            (ids::account(number), files::AMPLE_CROSSING_UNITS)
        } else {
            (account.to_owned(), 1)
        };
        ConsumeRequest {
            account,
            feature: files::FEATURE.to_owned(),
            units,
            idempotency_key: self.keys.next(),
            ..Default::default()
        }
    }
}

/// All loads consume from quotas that are never used up: anything but a yes is an error.
fn expect_allowed(decision: Option<&Decision>) -> Result<(), Error> {
    match decision {
        Some(decision) if decision.allowed => Ok(()),
        other => Err(Error::WrongAnswer(format!("a load was refused: {other:?}"))),
    }
}

/// Measures one cell on a server that runs.
pub(crate) fn measure(
    endpoint: &str,
    server: &Process,
    shape: Shape,
    cores: &Cores,
    sizes: &Sizes,
) -> Result<Sample, Error> {
    let window = Window::new();
    let threads = cores.client.len().min(shape.in_flight() / shape.grain()).max(1);
    thread::scope(|scope| {
        let loads: Vec<_> = (0..threads)
            .map(|thread| {
                let core = cores.client[thread];
                let in_flight = share(shape, threads, thread);
                let window = window.clone();
                scope.spawn(move || load(endpoint, shape, in_flight, thread, core, window))
            })
            .collect();

        let started = Instant::now();
        while window.threads_answered.load(Ordering::Relaxed) < threads
            && started.elapsed() < FIRST_ANSWER_WITHIN
            && !loads.iter().any(|load| load.is_finished())
        {
            thread::sleep(LOOK_AGAIN);
        }
        let begin = Instant::now() + sizes.warmup;
        window.open(begin, begin + sizes.cell);
        thread::sleep(begin.saturating_duration_since(Instant::now()));
        let before = (Instant::now(), server.cpu_time()?, process::own_cpu_time()?);
        thread::sleep((begin + sizes.cell).saturating_duration_since(Instant::now()));
        let after = (Instant::now(), server.cpu_time()?, process::own_cpu_time()?);

        let mut total = Tally::new();
        for load in loads {
            let tally = load.join().expect("a load does not panic")?;
            total.decisions += tally.decisions;
            total.latency_ns.add(tally.latency_ns).expect("all have the same bounds");
        }
        if total.decisions == 0 {
            return Err(Error::WrongAnswer("nothing was answered in a whole cell".to_owned()));
        }
        Ok(Sample {
            decisions: total.decisions,
            wall: after.0 - before.0,
            server_cpu: CpuTime {
                all: after.1.all.saturating_sub(before.1.all),
                workers: after.1.workers.saturating_sub(before.1.workers),
            },
            client_cpu: after.2.saturating_sub(before.2),
            latency_ns: total.latency_ns,
        })
    })
}

/// The part of the decisions in flight that this thread has, in whole messages.
fn share(shape: Shape, threads: usize, thread: usize) -> usize {
    let messages = (shape.in_flight() / shape.grain()).max(1);
    let extra = usize::from(thread < messages % threads);
    (messages / threads + extra) * shape.grain()
}

/// One thread's load.
fn load(
    endpoint: &str,
    shape: Shape,
    in_flight: usize,
    thread: usize,
    core: usize,
    window: Arc<Window>,
) -> Result<Tally, Error> {
    pin::pin_to(&[core])?;
    let requests = Requests::new(thread, matches!(shape, Shape::Crossing { .. }));
    block_on(async move {
        match shape {
            Shape::Unary { .. } | Shape::Crossing { .. } => {
                let connections = in_flight.min(CONNECTIONS_MAX);
                unary::load(endpoint, in_flight, connections, requests, window).await
            }
            Shape::Stream { batch } => {
                stream::load(endpoint, in_flight, batch, requests, window).await
            }
            Shape::Sdk { .. } => sdk::load(endpoint, in_flight, requests, window).await,
            Shape::Evalsha => evalsha::load(endpoint, in_flight, requests, window).await,
        }
    })
}

/// Runs a future on this thread alone; it may start tasks of the same thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("a runtime cannot be made"))?;
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// A connection to a server, on either transport.
pub(crate) async fn connect(endpoint: &str) -> Result<tonic::transport::Channel, Error> {
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint.to_owned());
    let endpoint = endpoint.map_err(Error::call("reading an endpoint"))?.tcp_nodelay(true);
    endpoint.connect().await.map_err(Error::call("connecting"))
}
