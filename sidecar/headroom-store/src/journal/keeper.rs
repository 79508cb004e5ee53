//! The keeper: what may take long and must not delay a write. It syncs in the background, reserves
//! the next segment, and removes segments that nobody needs.
//!
//! A sync runs beside the writes: on the file systems we know, a write into reserved room does not
//! wait for a sync of what was written before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::disk::DiskFile;
use crate::error::{Doing, IoError};
use crate::limits::{RETRY_MAX, SYNC_INTERVAL, UNSYNCED_BYTES_MAX};
use crate::options::Durability;
use crate::wake::locked;

use super::{Shared, SyncOutcome, SyncState, reserve};

pub(crate) struct Keeper {
    shared: Arc<Shared>,
    reserve_retry_at: Option<Instant>,
}

/// A sync that is to be done.
pub(crate) struct SyncJob {
    pub(crate) through: u64,
    epoch: u64,
    files: Vec<Arc<dyn DiskFile>>,
    names: bool,
}

impl SyncState {
    /// What has to be synced now. What is written from now on counts as not synced.
    pub(crate) fn begin(&mut self) -> SyncJob {
        let job = SyncJob {
            through: self.written,
            epoch: self.epoch,
            files: self.files.clone(),
            names: self.names_dirty,
        };
        self.names_dirty = false;
        self.bytes = 0;
        self.dirty_since = None;
        job
    }

    /// Notes that a sync succeeded.
    pub(crate) fn done(&mut self, job: &SyncJob) {
        if self.epoch == job.epoch {
            // The last one of the job's files was still being written when it began.
            self.files.drain(..job.files.len().saturating_sub(1));
        }
    }
}

impl SyncJob {
    pub(crate) fn run(&self, shared: &Shared) -> Result<(), IoError> {
        for file in &self.files {
            file.sync_data().doing("sync a segment in", &shared.dir)?;
        }
        if self.names {
            shared.disk.sync_dir(&shared.dir).doing("sync", &shared.dir)?;
        }
        Ok(())
    }
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Keeper {
        Keeper { shared, reserve_retry_at: None }
    }

    /// The keeper's thread.
    pub(crate) fn run(mut self) {
        while !self.shared.stop_keeper.load(Ordering::SeqCst) {
            let pause = self.step(Instant::now());
            self.shared.keeper_wake.wait(pause);
        }
        self.free();
    }

    /// Does what is due and returns when there will be more.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Duration> {
        self.reserve(now);
        self.free();
        let sync_in = self.sync(now);
        let retry_in = self.reserve_retry_at.map(|at| at.saturating_duration_since(now));
        [sync_in, retry_in].into_iter().flatten().min()
    }

    /// For callers that decide themselves when it is time: syncs what is written and tries again
    /// what failed.
    pub(crate) fn step_now(&mut self) {
        self.reserve_retry_at = None;
        self.shared.want_synced(locked(&self.shared.sync).written);
        self.step(Instant::now());
    }

    fn reserve(&mut self, now: Instant) {
        if self.reserve_retry_at.is_some_and(|at| now < at) {
            return;
        }
        match reserve::refill(&self.shared) {
            Ok(new) => {
                self.reserve_retry_at = None;
                let failed_before = locked(&self.shared.reserve_failure).take().is_some();
                if new && failed_before {
                    self.shared.writer_wake.wake();
                }
            }
            Err(error) => {
                self.reserve_retry_at = Some(now + RETRY_MAX);
                let reason = format!("{error}: {}", error.source);
                *locked(&self.shared.reserve_failure) = Some(reason);
                // The writer decides when that is a reason to refuse.
                self.shared.writer_wake.wake();
            }
        }
    }

    /// Syncs if it is time, and returns when it will be.
    fn sync(&mut self, now: Instant) -> Option<Duration> {
        if self.shared.durability == Durability::Fsynced {
            return None; // The writer syncs every batch.
        }
        let mut state = locked(&self.shared.sync);
        let since = state.dirty_since?;
        if state.outcome.is_some() {
            return None; // The writer has yet to take it, and wakes this thread at its next write.
        }
        let age = now.saturating_duration_since(since);
        let wanted = self.shared.sync_wanted() > self.shared.synced();
        if age < SYNC_INTERVAL && state.bytes < UNSYNCED_BYTES_MAX && !wanted {
            return Some(SYNC_INTERVAL - age);
        }
        let job = state.begin();
        drop(state);

        let error = job.run(&self.shared).err();
        let mut state = locked(&self.shared.sync);
        if error.is_none() {
            state.done(&job);
        }
        state.outcome = Some(SyncOutcome { epoch: job.epoch, through: job.through, error });
        drop(state);
        self.shared.writer_wake.wake();
        Some(SYNC_INTERVAL)
    }

    /// Removes segments that neither a start nor the projection needs, oldest first.
    fn free(&self) {
        let snapshot = self.shared.snapshot_start.load(Ordering::SeqCst);
        let projected = self.shared.projected_synced.load(Ordering::SeqCst);
        let mut table = locked(&self.shared.table);
        let pinned = self.shared.pinned_after.load(Ordering::SeqCst);
        let freed = table.free(snapshot.min(projected).min(pinned));
        drop(table);
        for segment in freed {
            // If this fails, the next start finds that it is not needed and removes it.
            let _ = self.shared.disk.remove(&segment.path);
        }
    }
}
