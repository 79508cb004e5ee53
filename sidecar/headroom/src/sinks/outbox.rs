//! The outbox: the sinks that run, and the handle to them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headroom_core::time::Millis;
use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use headroom_engine::ports::{Archive, ProjectionOp, Seq, Table};
use headroom_engine::told::Raised;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::begin::{Beginning, Reins, Stop};
use super::cursor;
use super::dead::Why;
use super::feed;
use super::limits::{BEGUN_WITHIN, CATCH_UP_POLL, CHANGE_WITHIN, COMMANDS_MAX};
use super::status::{Board, SinkStatus};
use crate::config::sinks::SinkSpec;
use crate::growth::Growth;

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
    /// What is said of signals beside what they say.
    pub growth: Arc<Growth>,
    /// Asked when a sink begins.
    pub positions: Arc<dyn Fn() -> Positions + Send + Sync>,
    /// Where files are.
    pub data_dir: PathBuf,
    /// Whether the data directory is one of a test clock, which receivers are told.
    pub test_clock: bool,
}

/// A signal that a sink has given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id that the receiver has seen and will see.
    pub id: String,
    /// When it was given up, in real time.
    pub given_up_at: Millis,
    /// Why.
    pub why: Why,
    /// Whether it is being sent again.
    pub is_sent_again: bool,
    /// The account's number and the signal. `None`: it cannot be read.
    pub signal: Option<(u32, Raised)>,
}

/// Why a sink does not do what an operator wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkRefusal {
    /// The catalog has no such sink.
    #[error("is no sink of the catalog, which has {}", list(known))]
    UnknownSink {
        /// Those that it has.
        known: Vec<String>,
    },
    /// It waits for the projection, which is behind or cannot be read.
    #[error("the sink has not begun: the projection is behind the journal or cannot be read")]
    NotBegun,
    /// The sink has no such dead letter.
    #[error("{id:?} is no dead letter of this sink")]
    UnknownLetter {
        /// What was named.
        id: String,
    },
}

fn list(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
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
    /// Starts a task per sink on the runtime, and one that looks after them. A sink begins once the
    /// projection is as far as the journal was.
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
        keeper.begin_missing(specs);
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
    /// called when no signal comes any more, and before the store is closed. It waits for the
    /// projection, too, so make that hurry (`DiskStore::wait_projected`) before.
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

    /// Waits until a sink has begun, which takes a moment after a start; not for long.
    pub async fn begun(&self, sink: &str) -> Result<(), SinkRefusal> {
        let deadline = Instant::now() + BEGUN_WITHIN;
        while self.board(sink)?.letters().is_none() {
            if deadline <= Instant::now() {
                return Err(SinkRefusal::NotBegun);
            }
            sleep_until(Instant::now() + CATCH_UP_POLL).await;
        }
        Ok(())
    }

    /// Lets a sink rest, or go on; the record to wait for says so to the next process. A sink that
    /// goes on tries an endpoint that said that it is gone, too.
    pub fn pause(&self, sink: &str, is_paused: bool) -> Result<Seq, SinkRefusal> {
        let seq = self.board(sink)?.pause(is_paused).ok_or(SinkRefusal::NotBegun)?;
        self.wake();
        Ok(seq)
    }

    /// The dead letters of a sink, in the order of their signals. Reads the projection once for each:
    /// not for the control thread.
    pub fn dead_letters(&self, sink: &str) -> Result<Vec<DeadLetter>, SinkRefusal> {
        let letters = self.board(sink)?.letters().ok_or(SinkRefusal::NotBegun)?;
        let read = |(id, letter): (String, super::dead::Letter)| DeadLetter {
            id,
            given_up_at: letter.given_up_at,
            why: letter.why,
            is_sent_again: letter.is_sent_again,
            signal: feed::signal(&*self.archive, letter.id).ok().flatten(),
        };
        Ok(letters.into_iter().map(read).collect())
    }

    /// Sends dead letters again under their ids, all of the sink's if none are named. Says how many,
    /// without those that are on their way, and the record to wait for.
    ///
    /// # Errors
    /// When one of those named is no dead letter of the sink; then none is sent.
    pub fn send_again(
        &self,
        sink: &str,
        ids: &[String],
    ) -> Result<(usize, Option<Seq>), SinkRefusal> {
        let board = self.board(sink)?;
        let letters = board.letters().ok_or(SinkRefusal::NotBegun)?;
        let by_text: HashMap<&str, SignalId> =
            letters.iter().map(|(text, letter)| (text.as_str(), letter.id)).collect();
        let named = ids.iter().map(|id| match by_text.get(id.as_str()) {
            Some(id) => Ok(*id),
            None => Err(SinkRefusal::UnknownLetter { id: id.clone() }),
        });
        let wanted: Vec<SignalId> = match ids {
            [] => letters.iter().map(|(_, letter)| letter.id).collect(),
            _ => named.collect::<Result<_, _>>()?,
        };
        let (seq, count) = board.send_again(&wanted);
        self.wake();
        Ok((count, seq))
    }

    fn board(&self, sink: &str) -> Result<Arc<Board>, SinkRefusal> {
        let boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        let found = boards.iter().find(|board| board.sink() == sink).cloned();
        found.ok_or_else(|| SinkRefusal::UnknownSink {
            known: boards.iter().map(|board| board.sink().to_owned()).collect(),
        })
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
    task: JoinHandle<()>,
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
                    self.catch_up(deadline).await;
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

    /// Waits until what is in the journal now can be read.
    async fn catch_up(&self, deadline: Instant) {
        let appended = (self.wiring.positions)().appended;
        while Instant::now() < deadline && (self.wiring.positions)().projected < appended {
            sleep_until(deadline.min(Instant::now() + CATCH_UP_POLL)).await;
        }
    }

    async fn reconfigure(&mut self, specs: Vec<SinkSpec>) {
        let is_same = |running: &Running| specs.contains(&running.spec);
        let changed = self.running.extract_if(|_, running| !is_same(running));
        let changed = changed.map(|(_, sink)| sink).collect();
        let stop = Stop { deadline: Instant::now() + CHANGE_WITHIN, finish: false };
        stop_all(changed, stop).await;
        self.begin_missing(specs);
    }

    /// Starts the sinks that do not run.
    fn begin_missing(&mut self, specs: Vec<SinkSpec>) {
        let is_missing = |spec: &SinkSpec| !self.running.contains_key(&spec.sink);
        let missing: Vec<SinkSpec> = specs.into_iter().filter(is_missing).collect();
        self.place(&missing);
        missing.into_iter().for_each(|spec| self.begin(spec));
        let mut boards: Vec<_> =
            self.running.values().map(|sink| Arc::clone(&sink.board)).collect();
        boards.sort_by(|a, b| a.sink().cmp(b.sink()));
        *self.boards.lock().unwrap_or_else(PoisonError::into_inner) = boards;
    }

    /// Journals where new sinks begin, if that can be told without waiting; otherwise their tasks
    /// do, and a crash before that moves the beginning past the signals of that moment.
    fn place(&self, specs: &[SinkSpec]) {
        // Looked at once: what is journaled for the first of them is nothing that the others wait for.
        let Positions { appended, projected } = (self.wiring.positions)();
        if projected < appended {
            return;
        }
        let upto = SignalId { seq: appended, place: u16::MAX };
        for spec in specs {
            if let Ok(None) = cursor::stored(&*self.wiring.archive, &spec.sink) {
                self.wiring.engine.note_delivered(&spec.sink, upto);
            }
        }
    }

    fn begin(&mut self, spec: SinkSpec) {
        let board = Arc::new(Board::new(spec.sink.as_str().into()));
        let (stop, stopped) = watch::channel(None);
        let beginning = Beginning {
            wiring: self.wiring.clone(),
            appended: (self.wiring.positions)().appended,
            board: Arc::clone(&board),
            reins: Reins { wake: self.wake.subscribe(), stop: stopped },
            spec: spec.clone(),
        };
        let task = self.runtime.spawn(beginning.run());
        self.running.insert(spec.sink.clone(), Running { spec, board, stop, task });
    }
}

/// Stops sinks, all at the same time, and waits until their cursors are journaled.
async fn stop_all(sinks: Vec<Running>, stop: Stop) {
    for sink in &sinks {
        sink.stop.send_replace(Some(stop));
    }
    for sink in sinks {
        if let Err(error) = sink.task.await {
            tracing::error!(sink = sink.spec.sink, %error, "the sink's task failed");
        }
    }
}
