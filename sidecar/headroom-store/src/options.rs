//! What a caller chooses when it opens a store.

use std::fmt;

use headroom_engine::ports::{Digest, ProjectionOp, Seq};

use crate::limits;

/// When a record counts as durable, that is, when the client may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the operating system has it. Survives the death of the process; a power cut may take
    /// the records of the last second.
    #[default]
    Written,
    /// When the disk has it. Survives a power cut; each batch costs one `fdatasync`.
    Fsynced,
}

/// Who does the work in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Driver {
    /// Three threads of the store's own: journal, keeper and projection.
    #[default]
    Threads,
    /// The caller, by [`DiskStore::drive`](crate::DiskStore::drive). For simulations and tests,
    /// where the order of every operation must be the same in each run.
    Manual,
}

/// How to open a store. `Options::default()` is what a sidecar wants.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a record counts as durable.
    pub durability: Durability,
    /// Bytes of one journal segment, reserved ahead. Two of them are on disk at any time.
    pub segment_bytes: u64,
    /// Who does the work in the background.
    pub driver: Driver,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            durability: Durability::default(),
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            driver: Driver::default(),
        }
    }
}

/// What the journal reports, from its own thread; the receiver must not block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Every record up to and including this one is durable, as [`Options::durability`] defines it.
    Durable(Seq),
    /// Records above `durable` could not be written. They are kept and written first as soon as the
    /// disk takes them, so whoever waits for one should be told "outcome unknown, retry with the
    /// same key". Reported again at every failed retry, at least once a second.
    Failed {
        /// The last record that is durable.
        durable: Seq,
        /// What the operating system said.
        reason: String,
    },
}

/// Called with every [`Progress`].
pub type OnProgress = Box<dyn Fn(Progress) + Send + Sync>;

/// Called with changes of the projection once readers can see them. After a crash the last ones
/// are reported again, so the receiver must not count them.
pub type OnProjected = Box<dyn Fn(&[ProjectionOp]) + Send + Sync>;

/// What the store calls.
pub struct Hooks {
    /// Turns records that matter into rows.
    pub digest: Box<dyn Digest>,
    /// Hears of durable records and of failures.
    pub on_progress: OnProgress,
    /// Hears of new rows.
    pub on_projected: OnProjected,
}

impl Hooks {
    /// Hooks which only digest.
    pub fn digesting(digest: impl Digest) -> Hooks {
        Hooks {
            digest: Box::new(digest),
            on_progress: Box::new(|_| {}),
            on_projected: Box::new(|_| {}),
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
