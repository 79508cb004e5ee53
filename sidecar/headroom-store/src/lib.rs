//! headroom-store: the disk. A journal of what was decided, a snapshot of what is in memory, and a
//! projection of what need not be, behind the engine's ports.
//!
//! Records are opaque bytes with a number; the store knows nothing of accounts. It answers for one
//! thing: what was reported as durable is there after a crash, once and unchanged, and if the disk
//! lost it, opening says so and what to do.
//!
//! - [`DiskStore`]: the whole; [`DiskStore::open`] begins.
//! - `journal`: segments on disk, the writer, recovery.
//! - `snapshot`: what was in memory, entry by entry.
//! - `projection`: rows in an embedded store, fed from the journal by the `projector`.
//! - [`CacheFile`]: rows that may be lost, beside all that.
//! - [`inspect()`]: what is in a directory, without opening it.
//! - [`fault`]: a disk in memory that fails on request; for tests alone.

mod backup;
mod cache;
mod disk;
mod error;
pub mod fault;
mod home;
mod inspect;
mod journal;
pub mod limits;
mod open;
mod options;
mod overlay;
mod projection;
mod projector;
mod snapshot;
mod store;
mod wake;

pub use cache::{CacheChange, CacheError, CacheFile};
pub use disk::{Disk, DiskFile, Kind, Lock, OpenMode, RealDisk};
pub use error::{BackupError, CloseError, Damage, IoError, OpenError, ReadError, SnapshotError};
pub use home::FORMAT_VERSION;
pub use inspect::{Health, Rows, Torn, inspect, inspect_on, read_contents};
pub use options::{Driver, Durability, Hooks, OnProgress, OnProjected, Options, Progress};
pub use snapshot::SnapshotInfo;
pub use store::{DiskStore, SnapshotWriter, Status, Work};
