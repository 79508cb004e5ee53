use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::task::Wake;
use std::time::Duration;

use super::*;

/// Counts its wakes.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A task that is polled by hand.
struct Task<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    seen: usize,
}

impl<F: Future> Task<F> {
    fn new(future: F) -> Task<F> {
        Task { future: Box::pin(future), bell: Arc::default(), seen: 0 }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        self.seen = self.bell.rung();
        let waker = Waker::from(self.bell.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Whether a runtime would poll it now.
    fn is_woken(&self) -> bool {
        self.seen < self.bell.rung()
    }
}

/// One gate with its dispatcher and a journal that only counts kicks.
struct Bench {
    gates: Gates,
    gate: Gate,
    dispatcher: Task<Pin<Box<dyn Future<Output = Infallible>>>>,
    kicks: Arc<AtomicUsize>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_kick(|_| {})
    }

    fn with_kick(on_kick: impl Fn(&Gates) + Send + Sync + 'static) -> Bench {
        let gates = Gates::new(Seq(0), 1);
        let gate = gates.workers()[0].clone();
        let kicks = Arc::new(AtomicUsize::new(0));
        let kick: Kick = Arc::new({
            let (kicks, gates) = (kicks.clone(), gates.clone());
            move || {
                kicks.fetch_add(1, SeqCst);
                on_kick(&gates);
            }
        });
        let dispatcher = Task::new(Box::pin(gate.clone().dispatch(kick)) as Pin<Box<_>>);
        let mut bench = Bench { gates, gate, dispatcher, kicks };
        assert!(bench.dispatcher.poll().is_pending());
        bench
    }

    /// Runs the dispatcher as a runtime would: for as long as it is woken.
    fn run(&mut self) {
        while self.dispatcher.is_woken() {
            assert!(self.dispatcher.poll().is_pending());
        }
    }

    fn wait(&self, seq: u64) -> Task<Written<'static>> {
        // The gate outlives the test's tasks; leaking a handle spares every test a lifetime.
        Task::new(Box::leak(Box::new(self.gate.clone())).written(Seq(seq)))
    }

    fn kicks(&self) -> usize {
        self.kicks.load(SeqCst)
    }
}

const WRITTEN: Poll<Result<(), OutcomeUnknown>> = Poll::Ready(Ok(()));

fn unknown(seq: u64) -> Poll<Result<(), OutcomeUnknown>> {
    Poll::Ready(Err(OutcomeUnknown { seq: Seq(seq) }))
}

#[test]
fn a_durable_record_is_not_waited_for() {
    let bench = Bench::new();
    bench.gates.durable(Seq(3));
    assert_eq!(bench.wait(3).poll(), WRITTEN);
    assert_eq!(bench.gate.waiting(), 0);
}

#[test]
fn all_waiters_of_a_tick_share_one_kick_and_one_wake_from_the_journal() {
    let mut bench = Bench::new();
    let mut tasks: Vec<_> = (1..=5).map(|seq| bench.wait(seq)).collect();
    for task in &mut tasks {
        assert!(task.poll().is_pending());
    }
    bench.run();
    assert_eq!(bench.kicks(), 1);

    let wakes_before = bench.dispatcher.bell.rung();
    bench.gates.durable(Seq(5));
    assert_eq!(bench.dispatcher.bell.rung(), wakes_before + 1);
    assert!(tasks.iter().all(|task| !task.is_woken()), "the journal woke a request itself");
    bench.run();
    for task in &mut tasks {
        assert!(task.is_woken());
        assert_eq!(task.poll(), WRITTEN);
    }
    assert_eq!(bench.gate.waiting(), 0);
    assert_eq!(bench.kicks(), 1, "nothing new was waiting");
}

#[test]
fn a_gate_where_nobody_waits_is_not_woken() {
    let mut bench = Bench::new();
    bench.gates.durable(Seq(1));
    assert!(!bench.dispatcher.is_woken());

    let mut task = bench.wait(2);
    assert!(task.poll().is_pending());
    bench.run();
    bench.gates.durable(Seq(2));
    bench.gates.durable(Seq(3)); // Before the dispatcher ran: no second wake.
    assert_eq!(bench.dispatcher.bell.rung(), bench.dispatcher.seen + 1);
}

#[test]
fn waiters_are_woken_by_number_and_not_by_arrival() {
    let mut bench = Bench::new();
    let (mut late, mut early) = (bench.wait(9), bench.wait(5));
    assert!(late.poll().is_pending());
    assert!(early.poll().is_pending());
    bench.run();
    bench.gates.durable(Seq(7));
    bench.run();
    assert!(early.is_woken());
    assert!(!late.is_woken());
    bench.gates.durable(Seq(9));
    bench.run();
    assert!(late.is_woken());
}

#[test]
fn a_failure_reaches_what_was_appended_before_and_nothing_later() {
    let mut bench = Bench::new();
    let (mut first, mut second, mut unpolled) = (bench.wait(1), bench.wait(2), bench.wait(3));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    bench.gates.durable(Seq(1));
    bench.gates.failed();
    let mut later = bench.wait(4);
    assert!(later.poll().is_pending());
    bench.run();
    assert_eq!(first.poll(), WRITTEN);
    assert_eq!(second.poll(), unknown(2));
    assert_eq!(unpolled.poll(), unknown(3));
    assert!(later.poll().is_pending());

    bench.gates.durable(Seq(4)); // The good segment holds all of them.
    bench.run();
    assert_eq!(later.poll(), WRITTEN);
    assert_eq!(bench.wait(2).poll(), WRITTEN, "durable after all");
}

#[test]
fn a_dropped_wait_gives_its_place_back() {
    let mut bench = Bench::new();
    let mut tasks: Vec<_> = (1..=3).map(|seq| bench.wait(seq)).collect();
    for task in &mut tasks {
        assert!(task.poll().is_pending());
    }
    drop(tasks.remove(1));
    assert_eq!(bench.gate.waiting(), 2);
    bench.run();
    bench.gates.durable(Seq(3));
    bench.run();
    assert!(tasks.iter_mut().all(|task| task.is_woken() && task.poll() == WRITTEN));
    assert_eq!(bench.gate.waiting(), 0);
}

#[test]
fn polling_again_keeps_the_place_and_takes_the_new_waker() {
    let mut bench = Bench::new();
    let mut task = bench.wait(1);
    assert!(task.poll().is_pending());
    assert!(task.poll().is_pending());
    assert_eq!(bench.gate.waiting(), 1);

    let old = std::mem::take(&mut task.bell);
    assert!(task.poll().is_pending());
    assert_eq!(bench.gate.waiting(), 1);
    bench.gates.durable(Seq(1));
    bench.run();
    assert_eq!((old.rung(), task.bell.rung()), (0, 1));
}

#[test]
fn a_stream_waits_for_the_record_it_asked_for_last() {
    let mut bench = Bench::new();
    let pending = [1, 2].map(|seq| bench.gate.appended(Seq(seq)));
    let mut waiter = bench.gate.waiter();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let cx = Context::from_waker(&waker);
    assert!(waiter.poll_written(&cx, pending[0]).is_pending());
    assert!(waiter.poll_written(&cx, pending[1]).is_pending());
    assert_eq!(bench.gate.waiting(), 1);
    bench.run();
    bench.gates.durable(Seq(1));
    bench.run();
    assert_eq!(bell.rung(), 0);
    bench.gates.durable(Seq(2));
    bench.run();
    assert_eq!(bell.rung(), 1);
    assert_eq!(waiter.poll_written(&cx, pending[1]), WRITTEN);
    assert_eq!(waiter.poll_written(&cx, pending[0]), WRITTEN);
    drop(waiter);
    assert_eq!(bench.gate.waiting(), 0);
}

#[test]
fn one_failure_settles_everything_a_stream_has_appended() {
    let bench = Bench::new();
    let pending = [1, 2].map(|seq| bench.gate.appended(Seq(seq)));
    let mut waiter = bench.gate.waiter();
    let cx = Context::from_waker(Waker::noop());
    assert!(waiter.poll_written(&cx, pending[0]).is_pending());
    bench.gates.failed();
    assert_eq!(waiter.poll_written(&cx, pending[0]), unknown(1));
    assert_eq!(waiter.poll_written(&cx, pending[1]), unknown(2));
}

#[test]
fn a_journal_may_write_and_report_within_the_kick() {
    let mut bench = Bench::with_kick(|gates| gates.durable(Seq(1)));
    let mut task = bench.wait(1);
    assert!(task.poll().is_pending());
    bench.run();
    assert!(task.is_woken());
    assert_eq!(task.poll(), WRITTEN);
}

#[test]
fn an_append_is_kicked_once_a_tick_although_nobody_waits() {
    let mut bench = Bench::new();
    bench.gate.appended(Seq(1));
    bench.gate.appended(Seq(2));
    bench.run();
    assert_eq!(bench.kicks(), 1);
    bench.gate.appended(Seq(3));
    bench.run();
    assert_eq!(bench.kicks(), 2);
}

/// What can happen to one gate with two waiters, for numbers 1 and 2.
#[derive(Debug, Clone, Copy)]
enum Event {
    Poll(usize),
    Drop(usize),
    Durable(u64),
    Failed,
    Dispatch,
}

/// Every history of six events, against the rule itself: at rest, a waiter that was told to wait is
/// woken exactly if its number is settled, and only those who wait have a place.
#[test]
fn no_wake_up_is_lost_in_any_short_history() {
    const EVENTS: [Event; 8] = [
        Event::Poll(0),
        Event::Poll(1),
        Event::Drop(0),
        Event::Drop(1),
        Event::Durable(1),
        Event::Durable(2),
        Event::Failed,
        Event::Dispatch,
    ];
    for number in 0..EVENTS.len().pow(6) {
        let digits = (0..6).map(|place| number / EVENTS.len().pow(place) % EVENTS.len());
        let history: Vec<Event> = digits.map(|digit| EVENTS[digit]).collect();
        replay(&history);
    }
}

fn replay(history: &[Event]) {
    let gates = Gates::new(Seq(0), 1);
    let gate = &gates.workers()[0];
    let mut dispatcher = Task::new(gate.clone().dispatch(Arc::new(|| {})));
    assert!(dispatcher.poll().is_pending());
    let mut tasks = [1, 2].map(|seq| Some(Task::new(gate.written(Seq(seq)))));
    let mut waits = [false, false];

    for event in history.iter().chain([&Event::Dispatch, &Event::Dispatch]) {
        match *event {
            Event::Poll(which) => {
                if let Some(task) = &mut tasks[which] {
                    waits[which] = task.poll().is_pending();
                }
            }
            Event::Drop(which) => {
                tasks[which] = None;
                waits[which] = false;
            }
            Event::Durable(seq) => gates.durable(Seq(seq)),
            Event::Failed => gates.failed(),
            Event::Dispatch if dispatcher.is_woken() => {
                assert!(dispatcher.poll().is_pending());
            }
            Event::Dispatch => {}
        }
    }

    let mut places = 0;
    for (which, task) in tasks.iter().enumerate().filter(|(which, _)| waits[*which]) {
        let task = task.as_ref().unwrap();
        let settled = gate.0.progress.settled(task.future.pending).is_some();
        let woken = task.is_woken();
        assert_eq!(woken, settled, "waiter {which} after {history:?}");
        places += usize::from(!settled);
    }
    assert_eq!(gate.waiting(), places, "after {history:?}");
}

/// Real threads: a worker whose tasks wait for number after number, a thread that waits through the
/// same gate from outside, and a journal that reports whenever it is kicked.
#[test]
fn no_wake_up_is_lost_between_threads() {
    const TASKS: u64 = 8;
    const ROUNDS: u64 = 5_000;
    let gates = Gates::new(Seq(0), 1);
    let appended = Arc::new(AtomicU64::new(0));
    let (kicks, kicked) = mpsc::sync_channel::<()>(1);
    let journal = std::thread::spawn({
        let (gates, appended) = (gates.clone(), appended.clone());
        move || {
            while let Ok(()) = kicked.recv() {
                gates.durable(Seq(appended.load(SeqCst)));
            }
        }
    });
    let kick: Kick = Arc::new(move || {
        let _ = kicks.try_send(()); // Full: a kick is under way already.
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let foreign = std::thread::spawn({
        let (gate, appended) = (gates.workers()[0].clone(), appended.clone());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(consume(gate, appended, ROUNDS));
        }
    });
    runtime.block_on(async {
        let gate = gates.workers()[0].clone();
        let dispatcher = tokio::spawn(gate.clone().dispatch(kick));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| tokio::spawn(consume(gate.clone(), appended.clone(), ROUNDS)))
            .collect();
        let all = async {
            for task in tasks {
                task.await.unwrap();
            }
            while !foreign.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("a wake-up was lost");
        dispatcher.abort();
    });
    foreign.join().unwrap();
    drop(runtime); // And with it the kick, which ends the journal.
    journal.join().unwrap();
    assert_eq!(gates.workers()[0].waiting(), 0);
}

async fn consume(gate: Gate, appended: Arc<AtomicU64>, rounds: u64) {
    for _ in 0..rounds {
        let seq = Seq(appended.fetch_add(1, SeqCst) + 1);
        gate.written(seq).await.unwrap();
    }
}

/// Reports the next record when it is woken.
struct ReportWhenWoken(Gates);

impl Wake for ReportWhenWoken {
    fn wake(self: Arc<ReportWhenWoken>) {
        self.0.durable(Seq(2));
    }
}

#[test]
fn a_report_while_the_dispatcher_is_at_work_is_not_missed() {
    let mut bench = Bench::new();
    let mut first = bench.wait(1);
    let waker = Waker::from(Arc::new(ReportWhenWoken(bench.gates.clone())));
    assert!(first.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut second = bench.wait(2);
    assert!(second.poll().is_pending());
    bench.run();
    bench.gates.durable(Seq(1));
    bench.run();
    assert!(second.is_woken());
}

/// A report that comes just while a waiter enters is not missed, although nothing follows it that
/// would make up for it. The waiter's pauses make it come at every point in between.
#[test]
fn the_only_report_of_a_record_is_never_missed() {
    const ROUNDS: u64 = 20_000;
    let gates = Gates::new(Seq(0), 1);
    let appended = Arc::new(AtomicU64::new(0));
    let journal = std::thread::spawn({
        let (gates, appended) = (gates.clone(), appended.clone());
        move || {
            for seq in 1..=ROUNDS {
                while appended.load(SeqCst) < seq {
                    std::hint::spin_loop();
                }
                gates.durable(Seq(seq));
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let gate = gates.workers()[0].clone();
        let dispatcher = tokio::spawn(gate.clone().dispatch(Arc::new(|| {})));
        let all = async {
            for seq in 1..=ROUNDS {
                let written = gate.written(Seq(seq));
                // The dispatcher runs for the append, and is asleep when the waiting begins.
                tokio::task::yield_now().await;
                appended.store(seq, SeqCst);
                (0..seq % 32).for_each(|_| std::hint::spin_loop());
                written.await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("a report was missed");
        dispatcher.abort();
    });
    journal.join().unwrap();
}
