//! The file system, as far as the store needs it.
//!
//! All input and output goes through these two traits, so that a test can fill the disk, fail a
//! sync or stop the world between any two operations ([`crate::fault`]).

mod real;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A socket, a device, …
    Other,
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; emptied if it exists. Only its owner can read it.
    Create,
}

/// Keeps a directory locked until it is dropped.
pub type Lock = Box<dyn Send + Sync>;

/// A disk with directories and files.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// What is at `path`, `None` if there is nothing.
    fn kind(&self, path: &Path) -> io::Result<Option<Kind>>;

    /// Makes a directory, and those above it, for the owner alone.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the directory's permissions from everybody but its owner.
    fn restrict_dir(&self, path: &Path) -> io::Result<()>;

    /// Names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory survive a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a file for this process, creating it if need be; `None` if another one has the lock.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;

    /// Whether another process has the lock on a file.
    fn is_locked(&self, path: &Path) -> io::Result<bool>;

    /// Unpredictable bytes.
    fn random(&self) -> io::Result<[u8; 16]>;

    /// A name for the time since the machine was started. While it stays the same, every written
    /// byte is readable; when it changed, there may have been a power cut.
    fn machine_boot(&self) -> String;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Bytes in the file.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file, or lengthens it with zeros.
    fn set_size(&self, bytes: u64) -> io::Result<()>;

    /// Makes sure that the first `bytes` bytes can be written without needing room; new ones are
    /// zero.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `buf` from `offset` on; returns how many bytes there were before the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes the content survive a power cut.
    fn sync_data(&self) -> io::Result<()>;
}

/// Reads a whole file, if it exists and is not larger than `bytes_max`.
pub(crate) fn read_small(
    disk: &dyn Disk,
    path: &Path,
    bytes_max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; bytes_max + 1];
    let count = file.read_at(&mut bytes, 0)?;
    if count > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is larger than expected"));
    }
    bytes.truncate(count);
    Ok(Some(bytes))
}

/// Names in a directory; none if it does not exist. Tools that copy directories may leave out
/// empty ones.
pub(crate) fn list_if_there(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

/// Writes a small file so that after a crash it is there as a whole or not at all.
pub(crate) fn write_small(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = path.with_extension("tmp");
    let file = disk.open(&temp, OpenMode::Create)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(&temp, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
