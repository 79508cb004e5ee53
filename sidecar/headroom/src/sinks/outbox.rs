//! The outbox: the sinks that run, and the handle to them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use headroom_engine::ports::{Archive, ProjectionOp, Seq, Table};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::cursor::{self, Cursor};
use super::feed::{self, Feed};
use super::http::HttpTransport;
use super::limits::{CATCH_UP_POLL, CHANGE_WITHIN, COMMANDS_MAX, READ_RETRY};
use super::ndjson::Ndjson;
use super::signature::Signer;
use super::status::{Board, SinkStatus};
use super::webhook::Webhook;
use crate::config::sinks::{SinkKind, SinkSpec};

/// How far the journal and the projection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// The last record appended.
    pub appended: Seq,
    /// The last record that the projection has applied.
    pub projected: Seq,
}

/// What the sinks are connected to.
#[derive(Clone)]
pub struct Wiring {
    /// Knows accounts and names, and journals cursors.
    pub engine: Arc<Engine>,
    /// Where signals and cursors are read.
    pub archive: Arc<dyn Archive>,
    /// Asked when a sink begins.
    pub positions: Arc<dyn Fn() -> Positions + Send + Sync>,
    /// Where files are.
    pub data_dir: PathBuf,
    /// Whether the data directory is one of a test clock, which receivers are told.
    pub test_clock: bool,
}

/// A handle to the running sinks. Dropping it stops them at once; [`Self::drain`] is better.
pub struct Outbox {
    archive: Arc<dyn Archive>,
    wake: watch::Sender<()>,
    boards: Boards,
    commands: mpsc::Sender<Command>,
}

type Boards = Arc<Mutex<Vec<Arc<Board>>>>;

enum Command {
    Reconfigure { specs: Vec<SinkSpec>, done: oneshot::Sender<()> },
    Drain { deadline: Instant, done: oneshot::Sender<()> },
}

impl Outbox {
    /// Starts a task per sink on the runtime, and one that looks after them.
    pub fn start(runtime: &Handle, specs: Vec<SinkSpec>, wiring: Wiring) -> Outbox {
        let archive = Arc::clone(&wiring.archive);
        let (wake, _) = watch::channel(());
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let boards = Boards::default();
        let mut keeper = Keeper {
            wiring,
            runtime: runtime.clone(),
            wake: wake.clone(),
            boards: Arc::clone(&boards),
            running: HashMap::new(),
        };
        keeper.begin_missing(specs, &HashMap::new());
        runtime.spawn(keeper.run(inbox));
        Outbox { archive, wake, boards, commands }
    }

    /// There may be new signals. Costs a lock and no wait, so it may be called from any thread.
    pub fn wake(&self) {
        self.wake.send_replace(());
    }

    /// [`Self::wake`], if what the projection committed holds signals.
    pub fn projected(&self, ops: &[ProjectionOp]) {
        let is_signal = |op: &ProjectionOp| match op {
            ProjectionOp::Put { table, .. } | ProjectionOp::Delete { table, .. } => {
                *table == Table::Signals
            }
        };
        if ops.iter().any(is_signal) {
            self.wake();
        }
    }

    /// Puts other sinks in place. Sinks that are the same run on; one that changed goes on from its
    /// cursor; one that left keeps its cursor and goes on there should it come back.
    pub async fn reconfigure(&self, specs: Vec<SinkSpec>) {
        self.command(|done| Command::Reconfigure { specs, done }).await;
    }

    /// Delivers what can be until the time is over, journals all cursors and ends the sinks. To be
    /// called when no signal comes any more, and before the store is closed.
    pub async fn drain(&self, within: Duration) {
        let deadline = Instant::now() + within;
        self.command(|done| Command::Drain { deadline, done }).await;
    }

    /// How each sink stands, in the order of their names.
    pub fn status(&self) -> Vec<SinkStatus> {
        let rows = self.archive.count(Table::Signals).ok();
        let boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        boards.iter().map(|board| board.status(rows)).collect()
    }

    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, finished) = oneshot::channel();
        // Errors mean that the keeper ended, by an earlier drain: there is nothing left to do.
        if self.commands.send(command(done)).await.is_ok() {
            let _ = finished.await;
        }
    }
}

/// Owns the tasks of the sinks; does one change at a time.
struct Keeper {
    wiring: Wiring,
    runtime: Handle,
    wake: watch::Sender<()>,
    boards: Boards,
    running: HashMap<String, Running>,
}

struct Running {
    spec: SinkSpec,
    board: Arc<Board>,
    stop: watch::Sender<Option<Stop>>,
    task: JoinHandle<Option<SignalId>>,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Reconfigure { specs, done } => {
                    self.reconfigure(specs).await;
                    let _ = done.send(()); // Whoever asked may have stopped waiting.
                }
                Command::Drain { deadline, done } => {
                    let all = self.running.drain().map(|(_, sink)| sink).collect();
                    stop_all(all, Stop { deadline, finish: true }).await;
                    let _ = done.send(());
                    return;
                }
            }
        }
        let now = Stop { deadline: Instant::now(), finish: false };
        stop_all(self.running.drain().map(|(_, sink)| sink).collect(), now).await;
    }

    async fn reconfigure(&mut self, specs: Vec<SinkSpec>) {
        let is_same = |running: &Running| specs.contains(&running.spec);
        let changed = self.running.extract_if(|_, running| !is_same(running));
        let changed = changed.map(|(_, sink)| sink).collect();
        let stop = Stop { deadline: Instant::now() + CHANGE_WITHIN, finish: false };
        let cursors = stop_all(changed, stop).await;
        self.begin_missing(specs, &cursors);
    }

    /// Starts the sinks that do not run, where `cursors` says if it does.
    fn begin_missing(&mut self, specs: Vec<SinkSpec>, cursors: &HashMap<String, SignalId>) {
        for spec in specs {
            if !self.running.contains_key(&spec.sink) {
                let resume = cursors.get(&spec.sink).copied();
                self.begin(spec, resume);
            }
        }
        let mut boards: Vec<_> = self.running.values().map(|sink| Arc::clone(&sink.board)).collect();
        boards.sort_by(|a, b| a.sink().cmp(b.sink()));
        *self.boards.lock().unwrap_or_else(PoisonError::into_inner) = boards;
    }

    fn begin(&mut self, spec: SinkSpec, resume: Option<SignalId>) {
        let board = Arc::new(Board::new(spec.sink.as_str().into()));
        let (stop, stopped) = watch::channel(None);
        let beginning = Beginning {
            wiring: self.wiring.clone(),
            appended: (self.wiring.positions)().appended,
            board: Arc::clone(&board),
            reins: Reins { wake: self.wake.subscribe(), stop: stopped },
            resume,
            spec: spec.clone(),
        };
        let task = self.runtime.spawn(beginning.run());
        self.running.insert(spec.sink.clone(), Running { spec, board, stop, task });
    }
}

/// Stops sinks, all at the same time, and returns the cursors of those that had begun.
async fn stop_all(sinks: Vec<Running>, stop: Stop) -> HashMap<String, SignalId> {
    for sink in &sinks {
        sink.stop.send_replace(Some(stop));
    }
    let mut cursors = HashMap::new();
    for sink in sinks {
        match sink.task.await {
            Ok(Some(cursor)) => {
                cursors.insert(sink.spec.sink, cursor);
            }
            Ok(None) => {}
            Err(error) => tracing::error!(sink = sink.spec.sink, %error, "the sink's task failed"),
        }
    }
    cursors
}

/// How a sink is to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Whatever is not done by then is left.
    pub(super) deadline: Instant,
    /// Begin new deliveries until then, as long as there are any.
    pub(super) finish: bool,
}

/// What drives a sink's task from outside.
pub(super) struct Reins {
    pub(super) wake: watch::Receiver<()>,
    pub(super) stop: watch::Receiver<Option<Stop>>,
}

impl Reins {
    /// Whether new deliveries may begin.
    pub(super) fn may_begin(&self) -> bool {
        self.stop.borrow().is_none_or(|stop| stop.finish)
    }

    /// Whether the task has to end now.
    pub(super) fn is_over(&self, now: Instant, is_busy: bool) -> bool {
        self.stop.borrow().is_some_and(|stop| stop.deadline <= now || !is_busy)
    }

    /// Waits until there is something to do: new signals (then it is true), a command, or the first
    /// of the given times.
    pub(super) async fn pulled(&mut self, due_at: impl IntoIterator<Item = Option<Instant>>) -> bool {
        let deadline = self.stop.borrow().map(|stop| stop.deadline);
        let due_at = due_at.into_iter().chain([deadline]).flatten().min();
        tokio::select! {
            // Errors mean that the keeper is gone, and so is the runtime.
            Ok(()) = self.wake.changed() => true,
            Ok(()) = self.stop.changed() => false,
            () = sleep_until(due_at.unwrap_or_else(Instant::now)), if due_at.is_some() => false,
            else => std::future::pending().await,
        }
    }
}

/// What a sink's task works with once it knows where to begin.
pub(super) struct Task {
    pub(super) engine: Arc<Engine>,
    pub(super) test_clock: bool,
    pub(super) board: Arc<Board>,
    pub(super) reins: Reins,
    pub(super) feed: Feed,
    pub(super) cursor: Cursor,
}

/// A sink that does not know yet where to begin.
pub(super) struct Beginning {
    pub(super) wiring: Wiring,
    pub(super) spec: SinkSpec,
    /// Where the journal ended when the sink was put in place.
    pub(super) appended: Seq,
    pub(super) board: Arc<Board>,
    pub(super) reins: Reins,
    /// The cursor of the task before this one, if there was one.
    pub(super) resume: Option<SignalId>,
}

impl Beginning {
    /// Runs the sink until it is told to stop; returns its cursor if it had begun.
    async fn run(self) -> Option<SignalId> {
        let (kind, data_dir) = (self.spec.kind.clone(), self.wiring.data_dir.clone());
        let task = self.begin().await?;
        Some(match kind {
            SinkKind::StandardWebhook { url, secrets } => {
                let signer = Signer::new(secrets.iter().map(|secret| secret.key()));
                Webhook::new(task, HttpTransport::new(url), signer).run().await
            }
            SinkKind::Ndjson { file } => Ndjson::new(task, data_dir.join(file)).run().await,
        })
    }

    /// Finds out where to begin. `None`: it was told to stop before.
    pub(super) async fn begin(mut self) -> Option<Task> {
        let noted = match self.resume {
            Some(cursor) => cursor,
            None => self.find().await?,
        };
        self.board.began(noted, self.rows_upto(noted).await);
        let Beginning { wiring, spec, board, reins, .. } = self;
        let feed = Feed::new(wiring.archive, Arc::clone(&board), spec.signals, noted);
        let cursor = Cursor::new(Arc::clone(&wiring.engine), spec.sink.as_str().into(), noted);
        let (engine, test_clock) = (wiring.engine, wiring.test_clock);
        Some(Task { engine, test_clock, board, reins, feed, cursor })
    }

    /// The sink's cursor. A new sink gets one: it begins with what comes after it was put in place.
    /// `None`: it was told to stop before.
    ///
    /// The cursor may be in the journal and not yet in the projection, so this waits for that.
    async fn find(&mut self) -> Option<SignalId> {
        let sink = self.spec.sink.clone();
        loop {
            let mut look_at = Instant::now();
            if (self.wiring.positions)().projected < self.appended {
                look_at += CATCH_UP_POLL;
            } else {
                match cursor::stored(&*self.wiring.archive, &sink) {
                    Ok(Some(cursor)) => return Some(cursor),
                    Ok(None) => {
                        let upto = SignalId { seq: self.appended, place: u16::MAX };
                        self.wiring.engine.note_delivered(&sink, upto);
                        return Some(upto);
                    }
                    Err(error) => {
                        tracing::warn!(sink, %error, "the sink cannot begin");
                        self.board.failed(&error.to_string());
                        look_at += READ_RETRY;
                    }
                }
            }
            while Instant::now() < look_at {
                self.reins.pulled([Some(look_at)]).await;
                if self.reins.is_over(Instant::now(), false) {
                    return None;
                }
            }
        }
    }

    /// How many rows are at or below the cursor, for the count of what is pending.
    async fn rows_upto(&self, place: SignalId) -> Option<u64> {
        let archive = Arc::clone(&self.wiring.archive);
        // A long backlog takes a while to count.
        let counted = tokio::task::spawn_blocking(move || {
            let all = archive.count(Table::Signals)?;
            let after = feed::count_after(&*archive, place)?;
            Ok::<_, headroom_engine::ports::ArchiveError>(all.saturating_sub(after))
        });
        counted.await.ok()?.ok()
    }
}
