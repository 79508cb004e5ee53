//! The journal: records in the order of their numbers, in files that are only ever appended to.
//!
//! [`Shared`] is what every thread sees. Three parties work on it:
//!
//! - callers append to a buffer in memory and never touch a file;
//! - the [`writer`] takes the whole buffer at once, writes it, and says what is durable;
//! - the [`keeper`] does what may take long: it syncs in the background, reserves the next
//!   segment and removes old ones.
//!
//! Invariant: every record above `synced` is in memory, in the buffer or with the writer. So
//! whatever a disk does with what it was given, the writer can write it again elsewhere.

pub(crate) mod held;
pub(crate) mod keeper;
pub(crate) mod read;
pub(crate) mod recover;
pub(crate) mod reserve;
pub(crate) mod segment;
pub(crate) mod tail;
pub(crate) mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use headroom_engine::ports::{Seq, StoreRefusal};

use crate::disk::{Disk, DiskFile};
use crate::limits::{HELD_BYTES_MAX, RECORD_BYTES_MAX};
use crate::options::Durability;
use crate::wake::{Waiters, Wake, locked};

use recover::Segment;
use reserve::Reserve;

/// Why `room()` refuses, as bits; the highest is reported.
pub(crate) const FULL: u8 = 1;
pub(crate) const NO_ROOM: u8 = 2;
pub(crate) const BROKEN: u8 = 4;
pub(crate) const CLOSED: u8 = 8;

/// What all threads see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u64,

    buffer: Mutex<Buffer>,
    // Whether the buffer has records; read without its lock.
    pending: AtomicBool,
    // Whether the writer sleeps until it is woken, so that the first append must wake it.
    writer_asleep: AtomicBool,
    refusals: AtomicU8,
    reason: Mutex<String>,

    durable: AtomicU64,
    synced: AtomicU64,
    sync_wanted: AtomicU64,
    /// The last durable record that matters to the projection.
    pub(crate) matter: AtomicU64,
    /// The last record that the projection has applied.
    pub(crate) projected: AtomicU64,
    /// The last record that the projection has applied and synced.
    pub(crate) projected_synced: AtomicU64,
    /// The record after which the newest snapshot begins.
    pub(crate) snapshot_start: AtomicU64,

    /// Segments with later records are kept, whatever covers them; `u64::MAX` unless a backup runs.
    pub(crate) pinned_after: AtomicU64,

    pub(crate) table: Mutex<Table>,
    pub(crate) reserve: Mutex<Option<Reserve>>,
    pub(crate) reserve_failure: Mutex<Option<String>>,
    pub(crate) generation: AtomicU64,
    pub(crate) sync: Mutex<SyncState>,

    pub(crate) writer_wake: Wake,
    pub(crate) keeper_wake: Wake,
    pub(crate) projector_wake: Wake,
    pub(crate) waiters: Waiters,
    pub(crate) stop_writer: AtomicBool,
    pub(crate) stop_keeper: AtomicBool,
    pub(crate) stop_projector: AtomicBool,
}

/// Records that the writer has not taken yet.
#[derive(Debug)]
struct Buffer {
    frames: Vec<u8>,
    next: u64,
    // Bytes of frames from which on no more is welcome.
    bytes_allowed: usize,
}

/// What is written but may not be synced.
#[derive(Debug, Default)]
pub(crate) struct SyncState {
    /// Counts rescues; the outcome of a sync that began before one is void.
    pub(crate) epoch: u64,
    /// The files with such records, oldest first; the last one is being written.
    pub(crate) files: Vec<Arc<dyn DiskFile>>,
    /// Whether a file got its name since names were synced.
    pub(crate) names_dirty: bool,
    pub(crate) written: u64,
    pub(crate) bytes: u64,
    pub(crate) dirty_since: Option<Instant>,
    pub(crate) outcome: Option<SyncOutcome>,
}

/// What a sync in the background came to.
#[derive(Debug)]
pub(crate) struct SyncOutcome {
    pub(crate) epoch: u64,
    pub(crate) through: u64,
    pub(crate) error: Option<crate::error::IoError>,
}

/// The segments whose records count, oldest first. The last one is being written.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) segments: Vec<Segment>,
}

/// A segment and the first record that is not in it any more but in the next one.
pub(crate) struct Located {
    pub(crate) segment: Segment,
    pub(crate) until: u64,
}

impl Table {
    /// Adds a segment. Those that begin with the same or a later record are replaced by it; their
    /// paths are returned.
    pub(crate) fn begin(&mut self, segment: Segment) -> Vec<PathBuf> {
        let keep = self.segments.partition_point(|old| old.first < segment.first);
        let replaced = self.segments.drain(keep..).map(|old| old.path);
        let replaced = replaced.filter(|path| *path != segment.path).collect();
        self.segments.push(segment);
        replaced
    }

    /// The segment that holds, or will hold, a record.
    pub(crate) fn locate(&self, seq: u64) -> Option<Located> {
        let after = self.segments.partition_point(|segment| segment.first <= seq);
        let segment = self.segments[..after].last()?.clone();
        let until = self.segments.get(after).map_or(u64::MAX, |next| next.first);
        Some(Located { segment, until })
    }

    /// Takes out the segments that only hold records up to `through`, oldest first.
    pub(crate) fn free(&mut self, through: u64) -> Vec<Segment> {
        let covered = |index: usize| self.segments[index + 1].first <= through + 1;
        let count = (0..self.segments.len().saturating_sub(1)).take_while(|i| covered(*i)).count();
        self.segments.drain(..count).collect()
    }

    pub(crate) fn first(&self) -> u64 {
        self.segments.first().map_or(1, |segment| segment.first)
    }
}

/// What a journal begins with, after recovery.
pub(crate) struct Beginning {
    pub(crate) last: u64,
    pub(crate) segments: Vec<Segment>,
    pub(crate) generation: u64,
    pub(crate) snapshot_start: u64,
    pub(crate) projected: u64,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        durability: Durability,
        segment_bytes: u64,
        beginning: Beginning,
    ) -> Shared {
        Shared {
            disk,
            dir,
            durability,
            segment_bytes,
            buffer: Mutex::new(Buffer {
                frames: Vec::new(),
                next: beginning.last + 1,
                bytes_allowed: HELD_BYTES_MAX,
            }),
            pending: AtomicBool::new(false),
            writer_asleep: AtomicBool::new(false),
            refusals: AtomicU8::new(0),
            reason: Mutex::new(String::new()),
            durable: AtomicU64::new(beginning.last),
            synced: AtomicU64::new(beginning.last),
            sync_wanted: AtomicU64::new(0),
            // Whatever was found may matter.
            matter: AtomicU64::new(beginning.last),
            projected: AtomicU64::new(beginning.projected),
            projected_synced: AtomicU64::new(beginning.projected),
            snapshot_start: AtomicU64::new(beginning.snapshot_start),
            pinned_after: AtomicU64::new(u64::MAX),
            table: Mutex::new(Table { segments: beginning.segments }),
            reserve: Mutex::new(None),
            reserve_failure: Mutex::new(None),
            generation: AtomicU64::new(beginning.generation),
            sync: Mutex::new(SyncState { written: beginning.last, ..SyncState::default() }),
            writer_wake: Wake::default(),
            keeper_wake: Wake::default(),
            projector_wake: Wake::default(),
            waiters: Waiters::default(),
            stop_writer: AtomicBool::new(false),
            stop_keeper: AtomicBool::new(false),
            stop_projector: AtomicBool::new(false),
        }
    }

    pub(crate) fn append(&self, record: &[u8], matter: bool) -> Seq {
        assert!(record.len() <= RECORD_BYTES_MAX, "a record has {} bytes", record.len());
        let mut buffer = locked(&self.buffer);
        let first = buffer.frames.is_empty();
        segment::push_record(&mut buffer.frames, record, matter);
        let seq = buffer.next;
        buffer.next += 1;
        if buffer.frames.len() >= buffer.bytes_allowed {
            self.refuse(FULL);
        }
        if first {
            self.pending.store(true, Ordering::SeqCst);
        }
        drop(buffer);
        // Only the first record after a pause pays for waking a thread.
        if first && self.writer_asleep.load(Ordering::SeqCst) {
            self.writer_wake.wake();
        }
        Seq(seq)
    }

    pub(crate) fn kick(&self) {
        if self.pending.load(Ordering::Relaxed) {
            self.writer_wake.wake();
        }
    }

    /// Whether there are records that the writer has not taken.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    /// Takes all records out of the buffer, giving it `empty` instead. `held` is what the writer
    /// holds already: together they are limited.
    pub(crate) fn take(&self, empty: &mut Vec<u8>, held: usize) {
        assert!(empty.is_empty());
        let mut buffer = locked(&self.buffer);
        std::mem::swap(&mut buffer.frames, empty);
        buffer.bytes_allowed = HELD_BYTES_MAX.saturating_sub(held + empty.len());
        self.pending.store(false, Ordering::SeqCst);
        if buffer.bytes_allowed == 0 {
            self.refuse(FULL);
        } else {
            self.welcome(FULL);
        }
    }

    /// The last record that was appended.
    pub(crate) fn appended(&self) -> u64 {
        locked(&self.buffer).next - 1
    }

    pub(crate) fn set_writer_asleep(&self, asleep: bool) {
        self.writer_asleep.store(asleep, Ordering::SeqCst);
    }

    pub(crate) fn room(&self) -> Result<(), StoreRefusal> {
        match self.refusals.load(Ordering::Relaxed) {
            0 => Ok(()),
            bits => Err(self.refusal(bits)),
        }
    }

    #[cold]
    fn refusal(&self, bits: u8) -> StoreRefusal {
        if bits & CLOSED != 0 {
            StoreRefusal::Closed
        } else if bits & BROKEN != 0 {
            StoreRefusal::Broken { reason: locked(&self.reason).clone() }
        } else if bits & NO_ROOM != 0 {
            StoreRefusal::NoRoom
        } else {
            StoreRefusal::Broken { reason: "too many records wait for the disk".to_owned() }
        }
    }

    /// Whether nothing will be written until the disk changes its mind.
    pub(crate) fn is_stuck(&self) -> bool {
        self.refusals.load(Ordering::SeqCst) & (BROKEN | CLOSED) != 0
    }

    pub(crate) fn refuse(&self, bit: u8) {
        self.refusals.fetch_or(bit, Ordering::SeqCst);
    }

    pub(crate) fn welcome(&self, bit: u8) {
        // Nearly always there is nothing to change, and the cache line stays with its readers.
        if self.refusals.load(Ordering::SeqCst) & bit != 0 {
            self.refusals.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    pub(crate) fn broken(&self, reason: &str) {
        reason.clone_into(&mut locked(&self.reason));
        self.refuse(BROKEN);
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::SeqCst)
    }

    /// True if it is news.
    pub(crate) fn set_durable(&self, seq: u64) -> bool {
        self.durable.fetch_max(seq, Ordering::SeqCst) < seq
    }

    pub(crate) fn set_synced(&self, seq: u64) {
        if self.synced.fetch_max(seq, Ordering::SeqCst) < seq {
            self.waiters.notify();
            self.projector_wake.wake();
        }
    }

    /// Asks for a sync of everything up to `seq`, which must be written. Returns at once.
    pub(crate) fn want_synced(&self, seq: u64) {
        if self.sync_wanted.fetch_max(seq, Ordering::SeqCst) < seq {
            self.keeper_wake.wake();
        }
    }

    pub(crate) fn sync_wanted(&self) -> u64 {
        self.sync_wanted.load(Ordering::SeqCst)
    }
}
