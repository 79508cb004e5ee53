//! The store as a whole: opening, the threads, waiting, closing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use headroom_engine::ports::{Archive, ArchiveError, Row, Seq, Store, StoreRefusal, Table};

use crate::disk::{Disk, RealDisk};
use crate::error::{BackupError, CloseError, Doing, OpenError, ReadError, SnapshotError};
use crate::home::{Home, snapshot_dir};
use crate::journal::keeper::Keeper;
use crate::journal::read::CHUNK_LARGE;
use crate::journal::tail::Tail;
use crate::journal::writer::Writer;
use crate::journal::{CLOSED, Shared};
use crate::limits::{ENTRY_BYTES_MAX, SYNC_WAIT_MAX};
use crate::open::{self, Opened};
use crate::options::{Driver, Hooks, Options};
use crate::projection::Projection;
use crate::projector::Projector;
use crate::snapshot::{self, SnapshotFile, SnapshotInfo};
use crate::wake::locked;

/// A data directory, open. One exists per directory, in one process.
///
/// It is the engine's [`Store`] and [`Archive`]. All methods may be called from any thread.
pub struct DiskStore {
    pub(crate) inner: Arc<Inner>,
    threads: Mutex<Option<Threads>>,
}

pub(crate) struct Inner {
    pub(crate) home: Home,
    pub(crate) shared: Arc<Shared>,
    pub(crate) projection: Arc<Projection>,
    projection_failure: Arc<Mutex<Option<String>>>,
    snapshot: Option<(PathBuf, SnapshotInfo)>,
    snapshot_busy: AtomicBool,
    pub(crate) backup_busy: Mutex<()>,
    manual: Mutex<Option<Manual>>,
}

/// Each is there unless the system refused to start it.
struct Threads {
    writer: Option<JoinHandle<Result<(), CloseError>>>,
    projector: Option<JoinHandle<Result<(), String>>>,
    keeper: Option<JoinHandle<()>>,
}

struct Manual {
    writer: Writer,
    keeper: Keeper,
    projector: Projector,
}

/// A piece of background work, for [`DiskStore::drive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Write what was appended.
    Write,
    /// Sync what was written, reserve the next segment, remove old ones.
    Keep,
    /// Apply what is durable to the projection and sync it if the journal is synced.
    Project,
}

/// How a running store is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What `room()` says.
    pub refusal: Option<StoreRefusal>,
    /// The last record appended.
    pub appended: Seq,
    /// The last record that is durable.
    pub durable: Seq,
    /// The last record that survives a power cut.
    pub synced: Seq,
    /// The last record that the projection has applied.
    pub projected: Seq,
    /// Replay would begin after this record.
    pub snapshot_start: Seq,
    /// Segments with records, the current one included.
    pub segments: usize,
    /// Why the next segment could not be reserved, if that is so.
    pub reserve_failure: Option<String>,
    /// Why the projection stands still, if that is so. It is retried once a second.
    pub projection_failure: Option<String>,
}

impl DiskStore {
    /// Opens a data directory, making it if there is none, and finds out what it holds.
    ///
    /// New records follow the last one found. What they mean is read by [`Self::read_snapshot`] and
    /// [`Self::replay`]; both may take place while the store is in use.
    pub fn open(dir: &Path, options: &Options, hooks: Hooks) -> Result<DiskStore, OpenError> {
        DiskStore::open_on(Arc::new(RealDisk), dir, options, hooks)
    }

    /// Opens a data directory on another disk, for simulations and tests.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: &Options,
        hooks: Hooks,
    ) -> Result<DiskStore, OpenError> {
        let Hooks { digest, on_progress, on_projected } = hooks;
        let opened = open::open(disk, dir, options, on_progress)?;
        let Opened { home, shared, projection, snapshot, writer } = opened;
        let projection = Arc::new(projection);
        let failure = Arc::new(Mutex::new(None));
        let projector = Projector::new(
            Arc::clone(&shared),
            Arc::clone(&projection),
            Arc::clone(&failure),
            digest,
            on_projected,
        );
        let keeper = Keeper::new(Arc::clone(&shared));
        let inner = Inner {
            home,
            shared,
            projection,
            projection_failure: failure,
            snapshot,
            snapshot_busy: AtomicBool::new(false),
            backup_busy: Mutex::new(()),
            manual: Mutex::new(None),
        };
        let store = DiskStore { inner: Arc::new(inner), threads: Mutex::new(None) };
        match options.driver {
            Driver::Manual => {
                *locked(&store.inner.manual) = Some(Manual { writer, keeper, projector });
            }
            // If one cannot be started, dropping the store ends the others.
            Driver::Threads => {
                let mut slot = locked(&store.threads);
                let threads = slot.insert(Threads { writer: None, projector: None, keeper: None });
                let started = (|| {
                    threads.writer = Some(spawn("journal", move || writer.run())?);
                    threads.projector = Some(spawn("projection", move || projector.run())?);
                    threads.keeper = Some(spawn("journal-keeper", move || keeper.run())?);
                    Ok(())
                })();
                started.doing("start a thread for", dir)?;
            }
        }
        Ok(store)
    }

    /// 16 random bytes that stay the same for the life of the directory.
    pub fn hash_key(&self) -> [u8; 16] {
        self.inner.home.hash_key
    }

    /// How often the directory has been opened: 1, 2, 3, … A restored backup repeats numbers.
    pub fn boot(&self) -> u32 {
        self.inner.home.boot
    }

    /// Sees to it that what was appended is written now. Costs a load when there is nothing, so
    /// call it once per turn of an event loop. Without it a record waits up to 2 ms.
    pub fn kick(&self) {
        self.inner.shared.kick();
    }

    /// The last record that was appended.
    pub fn appended(&self) -> Seq {
        Seq(self.inner.shared.appended())
    }

    /// The last record that is durable.
    pub fn durable(&self) -> Seq {
        Seq(self.inner.shared.durable())
    }

    /// The last record that the projection has applied.
    pub fn position(&self) -> Seq {
        Seq(self.inner.shared.projected.load(Ordering::SeqCst))
    }

    /// Waits until a record is durable; false if the time is over first. Blocks the thread: for
    /// tests and the command line. With [`Driver::Manual`] it does the work instead of waiting.
    pub fn wait_durable(&self, seq: Seq, timeout: Duration) -> bool {
        self.inner.shared.kick();
        self.inner.wait_until(timeout, |shared| shared.durable() >= seq.0)
    }

    /// Waits until the projection has applied a record, like [`Self::wait_durable`].
    pub fn wait_projected(&self, seq: Seq, timeout: Duration) -> bool {
        self.inner.shared.kick();
        let deadline = Instant::now() + timeout;
        self.wait_durable(seq, timeout) && {
            self.inner.shared.projector_wake.wake();
            let left = deadline.saturating_duration_since(Instant::now());
            self.inner.wait_until(left, |shared| shared.projected.load(Ordering::SeqCst) >= seq.0)
        }
    }

    /// How the store is doing.
    pub fn status(&self) -> Status {
        let shared = &self.inner.shared;
        Status {
            refusal: shared.room().err(),
            appended: Seq(shared.appended()),
            durable: Seq(shared.durable()),
            synced: Seq(shared.synced()),
            projected: self.position(),
            snapshot_start: Seq(shared.snapshot_start.load(Ordering::SeqCst)),
            segments: locked(&shared.table).segments.len(),
            reserve_failure: locked(&shared.reserve_failure).clone(),
            projection_failure: locked(&self.inner.projection_failure).clone(),
        }
    }

    /// The snapshot that was found at the start, if there was one.
    pub fn snapshot_info(&self) -> Option<SnapshotInfo> {
        self.inner.snapshot.as_ref().map(|(_, info)| *info)
    }

    /// Visits each entry of the snapshot that was found at the start; to be called before a new one
    /// is taken. Then [`Self::replay`] continues after its `start`.
    pub fn read_snapshot(
        &self,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<SnapshotInfo>, ReadError> {
        let Some((path, _)) = &self.inner.snapshot else { return Ok(None) };
        snapshot::read(self.inner.home.disk.as_ref(), path, visit).map(Some)
    }

    /// Visits the durable records after `from`, in order; returns the last one.
    pub fn replay(&self, from: Seq, visit: &mut dyn FnMut(Seq, &[u8])) -> Result<Seq, ReadError> {
        let shared = &self.inner.shared;
        let mut tail = Tail::after(Arc::clone(shared), from.0, CHUNK_LARGE, true);
        tail.run(shared.durable(), &mut |seq, _, record| {
            visit(Seq(seq), record);
            true
        })?;
        Ok(Seq(tail.position()))
    }

    /// Begins a snapshot. Every entry must hold at least all that its account decided up to the
    /// last record appended now; what it holds beyond that is skipped by account at replay.
    pub fn begin_snapshot(&self) -> Result<SnapshotWriter, SnapshotError> {
        let inner = &self.inner;
        if inner.snapshot_busy.swap(true, Ordering::SeqCst) {
            return Err(SnapshotError::Busy);
        }
        let busy = Busy(Arc::clone(inner));
        let start = inner.shared.appended();
        let dir = snapshot_dir(&inner.home.dir);
        let file = SnapshotFile::create(Arc::clone(&inner.home.disk), &dir, start)?;
        Ok(SnapshotWriter { file, start, busy })
    }

    /// Copies the directory, as of now, into another one that can be opened; the store stays in
    /// use. Returns the last record in the copy. `dest` must be empty or not exist.
    pub fn backup(&self, dest: &Path) -> Result<Seq, BackupError> {
        crate::backup::backup(&self.inner, dest)
    }

    /// Does a piece of background work; only with [`Driver::Manual`], else nothing.
    pub fn drive(&self, work: Work) {
        self.inner.drive(work);
    }

    /// Writes and syncs everything and ends the threads; `room()` refuses from now on. What is
    /// appended later is lost. Called again it does nothing; dropping the store calls it, too.
    pub fn close(&self) -> Result<(), CloseError> {
        let shared = &self.inner.shared;
        shared.refuse(CLOSED);
        let (written, projected) = if let Some(threads) = locked(&self.threads).take() {
            shared.stop_writer.store(true, Ordering::SeqCst);
            shared.writer_wake.wake();
            let written = threads.writer.and_then(joined).unwrap_or(Ok(()));
            // After the writer, so that it sees every record, and before the keeper, which may
            // free.
            shared.stop_projector.store(true, Ordering::SeqCst);
            shared.projector_wake.wake();
            let projected = threads.projector.and_then(joined).unwrap_or(Ok(()));
            shared.stop_keeper.store(true, Ordering::SeqCst);
            shared.keeper_wake.wake();
            threads.keeper.and_then(joined);
            (written, projected)
        } else if let Some(mut manual) = locked(&self.inner.manual).take() {
            let written = manual.writer.finish();
            let projected = manual.projector.finish();
            manual.keeper.step_now();
            (written, projected)
        } else {
            return Ok(());
        };
        shared.waiters.notify();
        written?;
        projected.map_err(|reason| CloseError::Projection { reason })
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // Whoever wants to know calls close.
        let _ = self.close();
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Ends with the thread; a bug in it is a bug here, unless this is already the end of one.
fn joined<T>(handle: JoinHandle<T>) -> Option<T> {
    match handle.join() {
        Ok(result) => Some(result),
        Err(_) if thread::panicking() => None,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Inner {
    fn drive(&self, work: Work) {
        let mut manual = locked(&self.manual);
        let Some(manual) = manual.as_mut() else { return };
        match work {
            Work::Write => {
                manual.writer.retry_now();
                manual.writer.step(Instant::now());
            }
            Work::Keep => manual.keeper.step_now(),
            Work::Project => {
                manual.projector.step(Instant::now(), true);
            }
        }
    }

    pub(crate) fn wait_until(&self, timeout: Duration, done: impl Fn(&Shared) -> bool) -> bool {
        if locked(&self.manual).is_none() {
            return self.shared.waiters.wait_until(timeout, || done(&self.shared));
        }
        for work in [Work::Write, Work::Keep, Work::Write, Work::Project].repeat(3) {
            if done(&self.shared) {
                break;
            }
            self.drive(work);
        }
        done(&self.shared)
    }
}

impl Store for DiskStore {
    fn room(&self) -> Result<(), StoreRefusal> {
        self.inner.shared.room()
    }

    /// # Panics
    ///
    /// If the record is longer than [`RECORD_BYTES_MAX`](crate::limits::RECORD_BYTES_MAX).
    fn append(&self, record: &[u8], matter: bool) -> Seq {
        self.inner.shared.append(record, matter)
    }
}

impl Archive for DiskStore {
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<Row>, ArchiveError> {
        self.inner.projection.range(table, from, to, rows_max)
    }

    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, ArchiveError> {
        self.inner.projection.last(table, from, to)
    }

    fn position(&self) -> Seq {
        DiskStore::position(self)
    }

    fn count(&self, table: Table) -> Result<u64, ArchiveError> {
        self.inner.projection.count(table)
    }
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore").field("dir", &self.inner.home.dir).finish_non_exhaustive()
    }
}

/// A snapshot being taken. Dropping it abandons it; the previous one stays.
pub struct SnapshotWriter {
    file: SnapshotFile,
    start: u64,
    busy: Busy,
}

/// Lets the next snapshot begin when this one has ended.
struct Busy(Arc<Inner>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.snapshot_busy.store(false, Ordering::SeqCst);
    }
}

impl SnapshotWriter {
    /// Replay will continue after this record.
    pub fn start(&self) -> Seq {
        Seq(self.start)
    }

    /// Adds an entry.
    pub fn entry(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            let (bytes, max) = (bytes.len(), ENTRY_BYTES_MAX);
            return Err(SnapshotError::EntryTooLarge { bytes, max });
        }
        Ok(self.file.entry(bytes)?)
    }

    /// Completes the snapshot. `covered` is the last record that any entry may know of; this waits
    /// until the journal is synced through it, or fails after
    /// [`SYNC_WAIT_MAX`](crate::limits::SYNC_WAIT_MAX) or at once if the journal is broken.
    pub fn finish(self, covered: Seq) -> Result<SnapshotInfo, SnapshotError> {
        let SnapshotWriter { file, start, busy } = self;
        let inner = &busy.0;
        let through = covered.0.max(start);
        inner.shared.kick();
        // Asked again and again, because what is not written yet cannot be synced.
        let synced = inner.wait_until(SYNC_WAIT_MAX, |shared| {
            shared.want_synced(shared.durable().min(through));
            shared.synced() >= through || shared.is_stuck()
        });
        if !synced || inner.shared.synced() < through {
            return Err(SnapshotError::JournalBehind { through });
        }
        let info = file.finish(through)?;
        inner.shared.snapshot_start.store(start, Ordering::SeqCst);
        inner.shared.projector_wake.wake();
        inner.shared.keeper_wake.wake();
        Ok(info)
    }
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter").field("start", &self.start).finish_non_exhaustive()
    }
}
