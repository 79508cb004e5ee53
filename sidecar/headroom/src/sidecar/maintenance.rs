//! What runs in the background, on one thread: checkpoints, and forgetting old keys.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headroom_engine::recovery::ClockMemory;
use headroom_store::SnapshotError;

use super::{Core, StartOptions};

/// How often the thread looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often keys past the horizon are dropped from memory.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// A start that finds this many times the journal of a checkpoint takes one before it answers. A
/// process that is killed again and again before it comes to its first checkpoint would otherwise
/// replay more and more at each start, and need longer for each checkpoint it never ends.
const LATE_CHECKPOINTS: u64 = 4;

fn segments_max(options: &StartOptions) -> u64 {
    (options.checkpoint_journal_bytes / options.segment_bytes.max(1)).max(1)
}

/// Before the doors open: the checkpoint that earlier processes did not come to.
pub(super) fn catch_up(core: &Core, options: &StartOptions) {
    let segments = core.store.status().segments as u64;
    if segments > LATE_CHECKPOINTS * segments_max(options) {
        tracing::info!(segments, "no checkpoint for long: taking one before answering");
        checkpoint_or_warn(core);
    }
}

/// The thread. Dropping the channel ends it after a last checkpoint.
pub(super) struct Maintenance {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Maintenance {
    pub(super) fn start(core: Arc<Core>, options: &StartOptions) -> io::Result<Maintenance> {
        let (stop, stopped) = mpsc::channel();
        let every = options.checkpoint_every;
        let segments_max = segments_max(options);
        let thread =
            std::thread::Builder::new().name("maintenance".to_owned()).spawn(move || {
                let mut checkpointed = Instant::now();
                let mut pruned = Instant::now();
                let mut covered = core.store.appended();
                loop {
                    let stopping = match stopped.recv_timeout(LOOK_EVERY) {
                        Err(RecvTimeoutError::Timeout) => false,
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
                    };
                    if pruned.elapsed() >= PRUNE_EVERY {
                        core.shared.engine.prune_keys(core.shared.clock.now());
                        forget_events(&core);
                        pruned = Instant::now();
                    }
                    let is_new = core.store.appended() > covered;
                    let segments = core.store.status().segments as u64;
                    let is_due = checkpointed.elapsed() >= every || segments > segments_max;
                    if is_new && (stopping || is_due) {
                        covered = core.store.appended();
                        checkpoint_or_warn(&core);
                        checkpointed = Instant::now();
                    }
                    if stopping {
                        return;
                    }
                }
            })?;
        Ok(Maintenance { stop, thread })
    }

    /// Takes a last checkpoint, so that the next start is quick, and ends the thread.
    pub(super) fn stop(self) {
        let _ = self.stop.send(()); // Fails only when the thread has ended.
        if self.thread.join().is_err() {
            tracing::error!("the maintenance thread panicked");
        }
    }
}

/// Late events whose windows cannot be restated any more leave the disk.
fn forget_events(core: &Core) {
    let (shared, now) = (&core.shared, core.shared.clock.now());
    if let Err(error) = shared.engine.forget_events(&*core.store, now, shared.restate_ms) {
        tracing::warn!(%error, "late events are not forgotten; it is tried again");
    }
}

fn checkpoint_or_warn(core: &Core) {
    if let Err(error) = checkpoint(core) {
        tracing::warn!(%error, "the checkpoint was abandoned; the journal keeps all");
    }
}

fn checkpoint(core: &Core) -> Result<(), SnapshotError> {
    let started = Instant::now();
    let mut writer = core.store.begin_snapshot()?;
    let clock = &core.shared.clock;
    let memory = ClockMemory { test: clock.is_test(), high_water: clock.now() };
    let covered = core.shared.engine.checkpoint(memory, |entry| writer.entry(entry))?;
    let info = writer.finish(covered)?;
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(start = info.start.0, took_ms, "checkpoint");
    Ok(())
}
