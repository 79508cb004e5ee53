//! The projector: follows the journal's files, digests the records that matter, and commits their
//! rows.
//!
//! It reads only what is durable. It commits without a sync, and once a second with one. A synced
//! commit may not know of records that the journal could still lose, so the journal is synced
//! through the position first, and the projector waits for that.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use headroom_engine::ports::{Digest, ProjectionOp, Seq};

use crate::error::ReadError;
use crate::journal::Shared;
use crate::journal::read::CHUNK_SMALL;
use crate::journal::tail::Tail;
use crate::limits::{
    PROJECTION_HOP_INTERVAL, PROJECTION_OPS_MAX, PROJECTION_PAUSE, PROJECTION_SYNC_INTERVAL,
    PROJECTION_SYNC_RECORDS, RETRY_MAX,
};
use crate::options::OnProjected;
use crate::projection::Projection;
use crate::wake::locked;

pub(crate) struct Projector {
    shared: Arc<Shared>,
    projection: Arc<Projection>,
    failure: Arc<Mutex<Option<String>>>,
    digest: Box<dyn Digest>,
    on_projected: OnProjected,
    tail: Tail,
    ops: Vec<ProjectionOp>,
    synced: u64,
    dirty_since: Option<Instant>,
    /// Nothing is read until what was applied is synced.
    syncing: bool,
    retry_at: Option<Instant>,
}

impl Projector {
    pub(crate) fn new(
        shared: Arc<Shared>,
        projection: Arc<Projection>,
        failure: Arc<Mutex<Option<String>>>,
        digest: Box<dyn Digest>,
        on_projected: OnProjected,
    ) -> Projector {
        let position = shared.projected.load(Ordering::SeqCst);
        Projector {
            tail: Tail::after(Arc::clone(&shared), position, CHUNK_SMALL, false),
            shared,
            projection,
            failure,
            digest,
            on_projected,
            ops: Vec::new(),
            synced: position,
            dirty_since: None,
            syncing: false,
            retry_at: None,
        }
    }

    /// The projector's thread. Ends when told to, with everything applied and synced if possible.
    pub(crate) fn run(mut self) -> Result<(), String> {
        while !self.shared.stop_projector.load(Ordering::SeqCst) {
            let applied = self.step(Instant::now(), false);
            if applied {
                // Bounds the cost of many small commits; what comes meanwhile shares the next one.
                thread::sleep(PROJECTION_PAUSE);
            } else {
                self.shared.projector_wake.wait(Some(self.pause(Instant::now())));
            }
        }
        self.finish()
    }

    fn pause(&self, now: Instant) -> Duration {
        if let Some(at) = self.retry_at {
            return at.saturating_duration_since(now);
        }
        if self.syncing || self.shared.durable() > self.tail.position() {
            return PROJECTION_HOP_INTERVAL;
        }
        // With nothing to do it looks once a second whether records went by that do not matter.
        let since = self.dirty_since.map_or(Duration::ZERO, |since| now - since);
        PROJECTION_SYNC_INTERVAL.saturating_sub(since)
    }

    /// Does what is due; true if rows were committed, so that there may be more at once.
    pub(crate) fn step(&mut self, now: Instant, sync_now: bool) -> bool {
        if self.retry_at.is_some_and(|at| now < at) && !sync_now {
            return false;
        }
        match self.advance(now, sync_now) {
            Ok(applied) => applied,
            Err(reason) => {
                *locked(&self.failure) = Some(reason);
                self.retry_at = Some(now + RETRY_MAX);
                false
            }
        }
    }

    fn advance(&mut self, now: Instant, sync_now: bool) -> Result<bool, String> {
        if self.retry_at.is_some() {
            self.restart()?;
        }
        if self.syncing && !self.sync()? {
            return Ok(false);
        }
        let applied = self.apply(now)?;
        if sync_now || self.sync_is_due(now) {
            self.syncing = true;
            self.sync()?;
        }
        Ok(applied)
    }

    /// After a failure: what is in the file is the truth, and the journal has the rest.
    fn restart(&mut self) -> Result<(), String> {
        let position = self.projection.reopen().map_err(|fault| fault.to_string())?;
        self.tail = Tail::after(Arc::clone(&self.shared), position, CHUNK_SMALL, false);
        self.ops.clear();
        self.synced = position;
        self.dirty_since = None;
        self.syncing = false;
        self.retry_at = None;
        *locked(&self.failure) = None;
        Ok(())
    }

    /// Reads on and commits the rows, at most as many as one transaction takes.
    fn apply(&mut self, now: Instant) -> Result<bool, String> {
        let Projector { tail, digest, ops, .. } = self;
        let read = tail.run(self.shared.durable(), &mut |seq, matter, record| {
            if matter {
                digest.digest(Seq(seq), record, ops);
            }
            ops.len() < PROJECTION_OPS_MAX
        });
        match read {
            Ok(()) => {}
            // A rescue replaced a file while it was looked up; the next step finds the new one.
            Err(ReadError::Freed { first, .. }) if first <= tail.position() + 1 => {}
            Err(error) => return Err(error.to_string()),
        }
        let position = self.tail.position();
        let applied = !self.ops.is_empty();
        if applied {
            let commit = self.projection.commit(&self.ops, position, false);
            commit.map_err(|fault| fault.to_string())?;
            (self.on_projected)(&self.ops);
            self.ops.clear();
            self.dirty_since.get_or_insert(now);
        }
        if self.shared.projected.swap(position, Ordering::SeqCst) != position {
            self.shared.waiters.notify();
        }
        Ok(applied)
    }

    fn sync_is_due(&self, now: Instant) -> bool {
        let position = self.tail.position();
        let old = self.dirty_since.is_some_and(|since| now - since >= PROJECTION_SYNC_INTERVAL);
        // A snapshot is waiting for this to free its segments.
        let frees = self.shared.snapshot_start.load(Ordering::SeqCst) > self.synced;
        let far = position - self.synced >= PROJECTION_SYNC_RECORDS;
        position > self.synced && (old || frees || far)
    }

    /// Syncs what was applied if the journal is synced that far, or asks for that; true if done.
    fn sync(&mut self) -> Result<bool, String> {
        let position = self.tail.position();
        if self.shared.synced() < position {
            self.shared.want_synced(position);
            return Ok(false);
        }
        if position > self.synced {
            let commit = self.projection.commit(&[], position, true);
            commit.map_err(|fault| fault.to_string())?;
            self.synced = position;
            self.shared.projected_synced.store(position, Ordering::SeqCst);
            self.shared.keeper_wake.wake();
        }
        self.dirty_since = None;
        self.syncing = false;
        Ok(true)
    }

    /// Applies and syncs what is left, then closes the file.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        let mut result = Ok(true);
        while matches!(result, Ok(true)) {
            // The journal is complete and synced by now, so nothing here waits.
            result = self.advance(Instant::now(), true);
        }
        let behind = self.shared.durable().saturating_sub(self.synced);
        self.projection.close();
        result?;
        if behind > 0 { Err(format!("{behind} records are not synced")) } else { Ok(()) }
    }
}
