//! The writer: takes what was appended, writes it in as few writes as possible, and says what is
//! durable.
//!
//! A file that failed once, at a write or at a sync, is never used again: the system may have
//! dropped what it could not write and call the file clean. Instead all records above `synced`,
//! which are in memory, go into a new file (a *rescue*), which gets its number only once it is
//! synced. So at every moment the files hold each acknowledged record.
//!
//! One call of [`Writer::step`] does all there is to do now; the thread around it only waits.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use headroom_engine::ports::Seq;

use crate::disk::DiskFile;
use crate::error::{CloseError, Doing, IoError, is_no_room};
use crate::limits::{RETRY_MAX, RETRY_MIN, WRITE_DELAY_MAX};
use crate::options::{Durability, OnProgress, Progress};
use crate::wake::locked;

use super::held::{Held, Run};
use super::recover::Segment;
use super::reserve::{self, Reserve};
use super::segment::{HEADER_LEN, MARK_LEN, RECORDS_AT, file_name, mark_frame, start_frame};
use super::{BROKEN, NO_ROOM, Shared, SyncState};

/// Polls of an idle writer, [`WRITE_DELAY_MAX`] apart, before it sleeps until it is woken.
const POLLS_BEFORE_SLEEP: u32 = 25;

/// Room in the current segment below which, without a next one, writes are refused. It must hold
/// what callers append between two steps, having been told that there is room.
const HEADROOM_BYTES: u64 = 8 << 20;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    on_progress: OnProgress,
    held: Held,
    spare: Vec<u8>,
    active: Active,
    epoch: u64,
    matter: u64,
    /// The current file failed and must not be used again.
    poisoned: bool,
    failing: Option<Failing>,
}

/// The segment being written.
struct Active {
    file: Arc<dyn DiskFile>,
    segment: Segment,
    seed: u32,
    offset: u64,
    bytes: u64,
    /// The last record that this segment says is synced.
    marked: u64,
}

struct Failing {
    reason: String,
    pause: Duration,
    retry_at: Instant,
}

impl Writer {
    /// Begins a new segment. Records that an earlier process wrote and perhaps did not sync, given
    /// as `frames`, go into it: the system may have lost them without telling this process.
    pub(crate) fn begin(
        shared: Arc<Shared>,
        on_progress: OnProgress,
        synced: u64,
        frames: &[u8],
    ) -> Result<Writer, IoError> {
        let last = shared.durable();
        let mut held = Held::new(synced);
        held.push(frames);
        let (active, run) = rewrite(&shared, &mut held)?;
        held.wrote(&run);
        assert_eq!(held.written(), last, "recovery counted the same records");
        held.synced(last);
        locked(&shared.sync).files = vec![Arc::clone(&active.file)];
        Ok(Writer {
            shared,
            on_progress,
            held,
            spare: Vec::new(),
            active,
            epoch: 0,
            matter: last,
            poisoned: false,
            failing: None,
        })
    }

    /// The writer's thread. Ends when told to, with everything written if the disk allows.
    pub(crate) fn run(mut self) -> Result<(), CloseError> {
        let mut polls = 0;
        loop {
            if self.shared.stop_writer.load(Ordering::SeqCst) {
                return self.finish();
            }
            if self.shared.is_pending() {
                polls = 0;
            }
            self.step(Instant::now());
            self.wait(&mut polls);
        }
    }

    fn wait(&self, polls: &mut u32) {
        if let Some(failing) = &self.failing {
            let left = failing.retry_at.saturating_duration_since(Instant::now());
            self.shared.writer_wake.wait(Some(left));
        } else if *polls < POLLS_BEFORE_SLEEP {
            *polls += 1;
            self.shared.writer_wake.wait(Some(WRITE_DELAY_MAX));
        } else {
            // Appends look at this flag after they set theirs, so one of the two sees the other.
            self.shared.set_writer_asleep(true);
            if !self.shared.is_pending() {
                self.shared.writer_wake.wait(None);
            }
            self.shared.set_writer_asleep(false);
            *polls = 0;
        }
    }

    /// Writes everything that was appended, unless it is too early to retry.
    pub(crate) fn step(&mut self, now: Instant) {
        self.take_sync_outcome();
        self.take_appended();
        if self.failing.as_ref().is_some_and(|failing| now < failing.retry_at) {
            return;
        }
        let mut result = self.advance();
        if result.is_err() && self.poisoned && self.failing.is_none() {
            // Most failures end here, with a good new file, and nobody hears of them.
            result = self.advance();
        }
        self.publish();
        match result {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(&error, now),
        }
    }

    /// For callers that decide themselves when to retry.
    pub(crate) fn retry_now(&mut self) {
        if let Some(failing) = &mut self.failing {
            failing.retry_at = Instant::now();
        }
    }

    fn take_sync_outcome(&mut self) {
        let Some(outcome) = locked(&self.shared.sync).outcome.take() else { return };
        if outcome.epoch == self.epoch {
            match outcome.error {
                None => self.synced(outcome.through),
                Some(_) => self.poisoned = true,
            }
        }
        // The next sync waits for this one to be taken; somebody may want it at once.
        self.shared.keeper_wake.wake();
    }

    fn take_appended(&mut self) {
        self.shared.take(&mut self.spare, self.held.bytes());
        if !self.spare.is_empty() {
            self.held.push(&self.spare);
            self.spare.clear();
            // Memory of a burst is given back.
            if self.spare.capacity() > (1 << 20) {
                self.spare = Vec::new();
            }
        }
    }

    fn advance(&mut self) -> Result<(), IoError> {
        if self.poisoned {
            self.rescue()?;
        }
        self.write_held()?;
        if self.shared.durability == Durability::Fsynced {
            self.sync()?;
        }
        Ok(())
    }

    fn write_held(&mut self) -> Result<(), IoError> {
        while let Some(next_len) = self.held.next_len() {
            let left = self.active.bytes - self.active.offset;
            if MARK_LEN + next_len as u64 > left {
                self.rotate(next_len)?;
                continue;
            }
            if let Err(error) = self.write_batch() {
                self.poisoned = true;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes as many records as fit into the current segment.
    fn write_batch(&mut self) -> Result<(), IoError> {
        let synced = self.shared.synced();
        let active = &mut self.active;
        if active.marked < synced {
            let mark = mark_frame(active.seed, active.offset, synced);
            active.file.write_at(&mark, active.offset).doing("write", &active.segment.path)?;
            active.offset += MARK_LEN;
            active.marked = synced;
        }
        let run = self.held.seal(active.seed, active.offset, active.bytes - active.offset);
        let written = write_run(&*active.file, &self.held, &run, active.offset);
        written.doing("write", &active.segment.path)?;
        active.offset += run.bytes as u64;
        self.wrote(&run);
        Ok(())
    }

    fn wrote(&mut self, run: &Run) {
        self.held.wrote(run);
        self.matter = run.matter.unwrap_or(self.matter);
        let mut sync = locked(&self.shared.sync);
        sync.written = self.held.written();
        sync.bytes += run.bytes as u64;
        let news = sync.dirty_since.is_none();
        if news {
            sync.dirty_since = Some(Instant::now());
        }
        let large = sync.bytes >= crate::limits::UNSYNCED_BYTES_MAX;
        drop(sync);
        if news || large {
            self.shared.keeper_wake.wake();
        }
    }

    /// Goes on in the next segment.
    fn rotate(&mut self, next_len: usize) -> Result<(), IoError> {
        let bytes_min = RECORDS_AT + MARK_LEN + next_len as u64;
        let reserve = reserve::take(&self.shared, bytes_min)?;
        self.active = activate(&self.shared, reserve, self.held.written() + 1)?;
        let mut sync = locked(&self.shared.sync);
        sync.files.push(Arc::clone(&self.active.file));
        sync.names_dirty = true;
        Ok(())
    }

    /// Writes every record above `synced` into a new file.
    fn rescue(&mut self) -> Result<(), IoError> {
        self.held.rewind();
        let (active, run) = rewrite(&self.shared, &mut self.held)?;
        self.active = active;
        self.poisoned = false;
        self.wrote(&run);
        self.epoch += 1;
        *locked(&self.shared.sync) = SyncState {
            epoch: self.epoch,
            files: vec![Arc::clone(&self.active.file)],
            written: self.held.written(),
            ..SyncState::default()
        };
        self.synced(self.held.written());
        Ok(())
    }

    /// Syncs all that is written, on this thread.
    fn sync(&mut self) -> Result<(), IoError> {
        if self.held.written() == self.shared.synced() {
            return Ok(());
        }
        let job = locked(&self.shared.sync).begin();
        if let Err(error) = job.run(&self.shared) {
            self.poisoned = true;
            return Err(error);
        }
        locked(&self.shared.sync).done(&job);
        self.synced(job.through);
        Ok(())
    }

    fn synced(&mut self, through: u64) {
        self.held.synced(through);
        self.shared.set_synced(through);
    }

    /// Tells everybody what is durable.
    fn publish(&mut self) {
        let durable = match self.shared.durability {
            Durability::Written => self.held.written(),
            Durability::Fsynced => self.shared.synced(),
        };
        if !self.shared.set_durable(durable) {
            return;
        }
        if self.matter <= durable
            && self.shared.matter.fetch_max(self.matter, Ordering::SeqCst) < self.matter
        {
            self.shared.projector_wake.wake();
        }
        self.shared.waiters.notify();
        (self.on_progress)(Progress::Durable(Seq(durable)));
    }

    fn succeeded(&mut self) {
        self.failing = None;
        self.shared.welcome(BROKEN);
        let left = self.active.bytes - self.active.offset;
        let scarce = left < HEADROOM_BYTES.min(self.shared.segment_bytes / 4);
        // A reserve that is locked is being made: no reason to refuse yet.
        let no_reserve = || self.shared.reserve.try_lock().is_ok_and(|reserve| reserve.is_none());
        let cannot_reserve = || locked(&self.shared.reserve_failure).is_some();
        if scarce && no_reserve() && cannot_reserve() {
            self.shared.refuse(NO_ROOM);
        } else {
            self.shared.welcome(NO_ROOM);
        }
    }

    fn failed(&mut self, error: &IoError, now: Instant) {
        let reason = format!("{error}: {}", error.source);
        if is_no_room(error.source.kind()) {
            self.shared.welcome(BROKEN);
            self.shared.refuse(NO_ROOM);
        } else {
            self.shared.broken(&reason);
        }
        let pause =
            self.failing.as_ref().map_or(RETRY_MIN, |before| before.pause * 2).min(RETRY_MAX);
        self.failing = Some(Failing { reason: reason.clone(), pause, retry_at: now + pause });
        (self.on_progress)(Progress::Failed { durable: Seq(self.shared.durable()), reason });
        self.shared.waiters.notify();
    }

    /// Writes and syncs what is left, and notes in the journal that it is synced.
    pub(crate) fn finish(&mut self) -> Result<(), CloseError> {
        self.retry_now();
        self.step(Instant::now());
        if self.failing.is_none()
            && let Err(error) = self.sync().or_else(|_| self.advance())
        {
            self.failed(&error, Instant::now());
        }
        self.publish();
        if let Some(failing) = &self.failing {
            let records = self.shared.appended() - self.shared.synced();
            return Err(CloseError::Unwritten { records, reason: failing.reason.clone() });
        }
        // The mark tells the next start that a hole before it is damage. It is not needed, so a
        // full segment or a failure is no reason to complain.
        let active = &self.active;
        let synced = self.shared.synced();
        if active.marked < synced && active.bytes - active.offset >= MARK_LEN {
            let mark = mark_frame(active.seed, active.offset, synced);
            let _ =
                active.file.write_at(&mark, active.offset).and_then(|()| active.file.sync_data());
        }
        Ok(())
    }
}

/// Writes a run that was sealed for `offset`.
fn write_run(file: &dyn DiskFile, held: &Held, run: &Run, offset: u64) -> io::Result<()> {
    let mut at = offset;
    held.sealed(run).try_for_each(|piece| {
        file.write_at(piece, at)?;
        at += piece.len() as u64;
        Ok(())
    })
}

/// Writes all that is held into a new segment, which counts only once it is synced: then it
/// replaces what older ones hold of the same records.
fn rewrite(shared: &Shared, held: &mut Held) -> Result<(Active, Run), IoError> {
    let bytes_min = RECORDS_AT + MARK_LEN + held.bytes() as u64;
    let reserve = reserve::take(shared, bytes_min)?;
    let first = held.first();
    let seed = reserve.header.seed();
    let run = held.seal(seed, RECORDS_AT, u64::MAX);
    let file = &reserve.file;
    let mut filled = file.write_at(&start_frame(seed, first, first - 1), HEADER_LEN);
    filled = filled.and_then(|()| write_run(&**file, held, &run, RECORDS_AT));
    filled = filled.and_then(|()| file.sync_data());
    if let Err(error) = filled.doing("write", &reserve.path) {
        reserve.discard(shared);
        return Err(error);
    }
    let (active, replaced) = name(shared, reserve, first, RECORDS_AT + run.bytes as u64)?;
    shared.disk.sync_dir(&shared.dir).doing("sync", &shared.dir)?;
    for path in replaced {
        // It does not count any more; if this fails, the next start removes it.
        let _ = shared.disk.remove(&path);
    }
    Ok((active, run))
}

/// Gives a reserve its first number; records follow.
fn activate(shared: &Shared, reserve: Reserve, first: u64) -> Result<Active, IoError> {
    let start = start_frame(reserve.header.seed(), first, shared.synced());
    if let Err(error) = reserve.file.write_at(&start, HEADER_LEN).doing("write", &reserve.path) {
        reserve.discard(shared);
        return Err(error);
    }
    // Nothing is replaced: the number is the one after the last record there is.
    Ok(name(shared, reserve, first, RECORDS_AT)?.0)
}

/// Gives a reserve its name. From then on it replaces what older segments hold from `first` on;
/// those that have nothing left are returned.
fn name(
    shared: &Shared,
    reserve: Reserve,
    first: u64,
    offset: u64,
) -> Result<(Active, Vec<PathBuf>), IoError> {
    let path = shared.dir.join(file_name(first));
    if let Err(error) = shared.disk.rename(&reserve.path, &path).doing("rename", &reserve.path) {
        reserve.discard(shared);
        return Err(error);
    }
    let Reserve { file, header, bytes, .. } = reserve;
    let segment = Segment { first, generation: header.generation, path };
    let replaced = locked(&shared.table).begin(segment.clone());
    let active = Active { file, segment, seed: header.seed(), offset, bytes, marked: first - 1 };
    Ok((active, replaced))
}
