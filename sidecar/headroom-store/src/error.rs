//! What can go wrong with a data directory, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// A place on disk that does not hold what was once written there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset}: {what}", path.display())]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// What was found.
    pub what: String,
}

impl Damage {
    pub(crate) fn new(path: &Path, offset: u64, what: impl Into<String>) -> Damage {
        Damage { path: path.to_owned(), offset, what: what.into() }
    }
}

/// An operation on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct IoError {
    /// What was tried: "open", "write", …
    pub doing: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

impl IoError {
    pub(crate) fn new(doing: &'static str, path: &Path, source: io::Error) -> IoError {
        IoError { doing, path: path.to_owned(), source }
    }
}

/// Names the operation and the file of an [`io::Error`].
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, IoError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, IoError> {
        self.map_err(|source| IoError::new(doing, path, source))
    }
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option is out of its range.
    #[error("segment_bytes is {found}, outside {min}..={max}")]
    SegmentBytes {
        /// What was asked for.
        found: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Something else is at the path.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The process may not write there.
    #[error("{} is not writable", path.display())]
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Other users can read the directory, and it cannot be closed to them.
    #[error("{} is open to other users and its permissions cannot be changed", path.display())]
    OpenToOthers {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by another process{}", path.display(), pid_text(*.pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, if its number could be read.
        pid: Option<u32>,
    },
    /// The directory has other things in it, or only a part of a backup.
    #[error("{} has no FORMAT file, but it has {found:?}", path.display())]
    NotADataDirectory {
        /// The directory.
        path: PathBuf,
        /// The first thing in it that is not ours.
        found: String,
    },
    /// The directory was written by a newer version.
    #[error("{} has data format {found}, this version reads up to {supported}", path.display())]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// The format of the directory.
        found: u32,
        /// The newest format this version reads.
        supported: u32,
    },
    /// The disk is full.
    #[error("no room for {}", path.display())]
    NoRoom {
        /// The file for which there is no room.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// What is on disk is not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Anything else the operating system refused.
    #[error(transparent)]
    Io(IoError),
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl OpenError {
    /// What an operator can do about it, as one or two sentences.
    pub fn help(&self) -> String {
        match self {
            OpenError::SegmentBytes { .. } => "Choose a size inside the range.".into(),
            OpenError::NotADirectory { .. } => {
                "Point the data directory somewhere else, or move that file away.".into()
            }
            OpenError::NotWritable { .. } => {
                "Give the directory to the user that headroom runs as; in a container, mount a \
                 writable volume there."
                    .into()
            }
            OpenError::OpenToOthers { path, .. } => format!(
                "Run `chmod 700 {0}` as its owner, or use a directory inside it that headroom can \
                 create, such as {0}/headroom.",
                path.display()
            ),
            OpenError::InUse { .. } => {
                "One process owns a data directory. Stop the other one, or give this one its own \
                 directory. To look at the data of a running sidecar, inspect a backup of it."
                    .into()
            }
            OpenError::NotADataDirectory { .. } => {
                "It is not a data directory: use an empty one. If this was to be a backup, it was \
                 cut short: take it again."
                    .into()
            }
            OpenError::NewerFormat { .. } => {
                "Run the version that wrote it, or a newer one; data is never taken back to an \
                 older format."
                    .into()
            }
            OpenError::NoRoom { path, .. } => {
                format!("Make room on the disk that holds {}.", path.display())
            }
            OpenError::Damaged(_) => {
                "No record was changed. Run `headroom inspect DIR` for the extent of the damage, \
                 keep a copy of the directory, and restore the latest backup."
                    .into()
            }
            OpenError::Io(_) => "Check the disk and the kernel log.".into(),
        }
    }
}

/// Whether an error says that there is no room: on the disk, or within what this user or this process
/// may write. Room can come back, so writes are refused and tried again.
pub(crate) fn is_no_room(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
}

impl From<IoError> for OpenError {
    fn from(error: IoError) -> OpenError {
        let IoError { path, source, .. } = error;
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                OpenError::NotWritable { path, source }
            }
            kind if is_no_room(kind) => OpenError::NoRoom { path, source },
            _ => OpenError::Io(IoError { doing: error.doing, path, source }),
        }
    }
}

/// Why records or snapshot entries could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What is on disk is not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The records asked for were freed, because a snapshot covers them.
    #[error("records from {from} were freed, the journal begins at {first}")]
    Freed {
        /// The first record asked for.
        from: u64,
        /// The first record there is.
        first: u64,
    },
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> OpenError {
        match error {
            ReadError::Damaged(damage) => OpenError::Damaged(damage),
            ReadError::Io(error) => error.into(),
            ReadError::Freed { first, .. } => OpenError::Damaged(Damage::new(
                Path::new("journal"),
                0,
                format!("begins at {first}"),
            )),
        }
    }
}

/// Why a snapshot was not taken. The previous one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another snapshot is being taken.
    #[error("another snapshot is being taken")]
    Busy,
    /// One entry is too large.
    #[error("an entry has {bytes} bytes, at most {max} are allowed")]
    EntryTooLarge {
        /// Its size.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// The journal could not be synced through what the snapshot covers.
    #[error("the journal is not synced through record {through}")]
    JournalBehind {
        /// The last record the snapshot covers.
        through: u64,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Why a backup was not made. What was copied so far has no FORMAT file and cannot be mistaken for
/// a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The destination has something in it.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// The destination is not a directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The destination.
        path: PathBuf,
    },
    /// The source could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The projection could not be copied.
    #[error("the projection cannot be copied: {reason}")]
    Projection {
        /// What the embedded store said.
        reason: String,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl From<Damage> for BackupError {
    fn from(damage: Damage) -> BackupError {
        BackupError::Read(ReadError::Damaged(damage))
    }
}

/// What was left undone when the store was closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Records could not be written: they are lost unless their writers retry.
    #[error("{records} records could not be written: {reason}")]
    Unwritten {
        /// How many.
        records: u64,
        /// What the operating system said.
        reason: String,
    },
    /// The projection could not be synced; it catches up from the journal at the next start.
    #[error("the projection could not be synced: {reason}")]
    Projection {
        /// What the embedded store said.
        reason: String,
    },
}
