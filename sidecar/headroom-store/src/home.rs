//! The data directory: what it is made of, who owns it, and what is known about earlier starts.
//!
//! ```text
//! FORMAT            "headroom-data 1"; written last, so a directory that has it is whole
//! LOCK              locked while a process has the directory open; holds its number
//! key               16 random bytes, for hashes of idempotency keys
//! boot              how often the directory was opened, and under which start of the machine
//! journal/          segments, named by their first record
//! snapshot/         the newest snapshot, named by the record it starts after
//! projection.redb   the rows
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, Kind, Lock, OpenMode, read_small, write_small};
use crate::error::{Damage, Doing, IoError, OpenError};

/// The newest format that this version reads, and the one it writes.
pub const FORMAT_VERSION: u32 = 3;

/// The oldest version that can be read. Version 1 (the first) had no add-ons, trials, graces, slots nor
/// buckets; version 2 wrote in a snapshot what accounts rarely have kind by kind, not as effects.
/// Whatever opens such a directory for writing makes it one of the newest, so that an older program
/// says that it is too old rather than that something is damaged.
const FORMAT_VERSION_MIN: u32 = 1;

const FORMAT_WORD: &str = "headroom-data";

/// A data directory that belongs to this process.
pub(crate) struct Home {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) hash_key: [u8; 16],
    pub(crate) boot: u32,
    /// Whether the machine has run without interruption since the directory was last opened. Then
    /// everything that was written can be read, and what cannot be read is damage.
    pub(crate) machine_kept_running: bool,
    machine: String,
    _lock: Lock,
}

impl Home {
    /// Opens the directory, making it if there is none, and counts the start.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Home, OpenError> {
        match disk.kind(dir).doing("look at", dir)? {
            None => disk.create_dir(dir).doing("create", dir)?,
            Some(Kind::Directory) => {}
            Some(_) => return Err(OpenError::NotADirectory { path: dir.to_owned() }),
        }
        disk.restrict_dir(dir)
            .map_err(|source| OpenError::OpenToOthers { path: dir.to_owned(), source })?;
        // Looked at before the lock is taken, so that no LOCK file is left in a stranger's
        // directory.
        format_of(disk.as_ref(), dir)?;

        let lock_path = dir.join("LOCK");
        let Some(lock) = disk.lock(&lock_path).doing("lock", &lock_path)? else {
            return Err(in_use(disk.as_ref(), dir));
        };
        match format_of(disk.as_ref(), dir)? {
            None => create(disk.as_ref(), dir)?,
            Some(FORMAT_VERSION) => {}
            // Before anything of this version is written there.
            Some(_) => write_format(disk.as_ref(), dir)?,
        }

        let hash_key = read_key(disk.as_ref(), dir)?;
        let earlier = Boot::read(disk.as_ref(), dir)?;
        let machine = disk.machine_boot();
        let boot = earlier.count.saturating_add(1);
        // The machine's name stays the old one until recovery is complete (`recovered`): if it is
        // interrupted, the next one must know, too, that there may have been a power cut.
        Boot { count: boot, machine: earlier.machine.clone() }.write(disk.as_ref(), dir)?;
        Ok(Home {
            hash_key,
            boot,
            machine_kept_running: !machine.is_empty() && machine == earlier.machine,
            machine,
            disk,
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// Notes that recovery is complete: from now on, everything written is expected to be there.
    pub(crate) fn recovered(&self) -> Result<(), IoError> {
        if self.machine_kept_running {
            return Ok(());
        }
        Boot { count: self.boot, machine: self.machine.clone() }
            .write(self.disk.as_ref(), &self.dir)
    }
}

pub(crate) fn journal_dir(dir: &Path) -> PathBuf {
    dir.join("journal")
}

pub(crate) fn snapshot_dir(dir: &Path) -> PathBuf {
    dir.join("snapshot")
}

pub(crate) fn projection_path(dir: &Path) -> PathBuf {
    dir.join("projection.redb")
}

pub(crate) fn in_use(disk: &dyn Disk, dir: &Path) -> OpenError {
    let text = read_small(disk, &dir.join("LOCK"), 64).ok().flatten().unwrap_or_default();
    let pid = String::from_utf8_lossy(&text).trim().parse().ok();
    OpenError::InUse { path: dir.to_owned(), pid }
}

/// The format of the directory, which can be read. `None` if it is as good as empty, an error if it
/// belongs to somebody else.
pub(crate) fn format_of(disk: &dyn Disk, dir: &Path) -> Result<Option<u32>, OpenError> {
    let path = dir.join("FORMAT");
    let Some(text) = read_small(disk, &path, 256).doing("read", &path)? else {
        return match stranger(disk, dir)? {
            Some(found) => Err(OpenError::NotADataDirectory { path: dir.to_owned(), found }),
            None => Ok(None),
        };
    };
    let text = String::from_utf8_lossy(&text);
    let version = text.trim().strip_prefix(FORMAT_WORD).and_then(|rest| rest.trim().parse().ok());
    match version {
        Some(FORMAT_VERSION_MIN..=FORMAT_VERSION) => Ok(version),
        Some(found) if found > FORMAT_VERSION => {
            Err(OpenError::NewerFormat { path: dir.to_owned(), found, supported: FORMAT_VERSION })
        }
        _ => Err(Damage::new(&path, 0, format!("it says {:?}", text.trim())).into()),
    }
}

/// The first thing in the directory that a creation cut short would not have left.
fn stranger(disk: &dyn Disk, dir: &Path) -> Result<Option<String>, IoError> {
    for name in disk.list(dir).doing("list", dir)? {
        match name.as_str() {
            // A volume of its own often comes with lost+found.
            "LOCK" | "key" | "key.tmp" | "boot" | "boot.tmp" | "FORMAT.tmp" | "lost+found" => {}
            "journal" | "snapshot" => {
                let inner = dir.join(&name);
                if let Some(found) = disk.list(&inner).doing("list", &inner)?.first() {
                    return Ok(Some(format!("{name}/{found}")));
                }
            }
            _ => return Ok(Some(name)),
        }
    }
    Ok(None)
}

fn create(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    for inner in [journal_dir(dir), snapshot_dir(dir)] {
        disk.create_dir(&inner).doing("create", &inner)?;
    }
    let key_path = dir.join("key");
    let key = disk.random().doing("get random bytes for", &key_path)?;
    write_small(disk, &key_path, &key).doing("write", &key_path)?;
    Boot { count: 0, machine: disk.machine_boot() }.write(disk, dir)?;
    write_format(disk, dir)?;
    // The directory's own name: without it a power cut could take everything below.
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // A parent that may not be read is not ours to sync; the directory was then made by others.
        match disk.sync_dir(parent) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(IoError::new("sync", parent, error).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Declares the directory whole. The last step of making one.
pub(crate) fn write_format(disk: &dyn Disk, dir: &Path) -> Result<(), IoError> {
    let path = dir.join("FORMAT");
    let text = format!("{FORMAT_WORD} {FORMAT_VERSION}\n");
    write_small(disk, &path, text.as_bytes()).doing("write", &path)
}

fn read_key(disk: &dyn Disk, dir: &Path) -> Result<[u8; 16], OpenError> {
    let path = dir.join("key");
    let bytes = read_small(disk, &path, 16).doing("read", &path)?.unwrap_or_default();
    match <[u8; 16]>::try_from(bytes.as_slice()) {
        Ok(key) => Ok(key),
        // A new key would make every remembered idempotency key unknown, and retries would count
        // twice.
        Err(_) => Err(Damage::new(&path, 0, format!("it has {} of 16 bytes", bytes.len())).into()),
    }
}

/// Copies what is not journal, snapshot or projection, for a backup.
pub(crate) fn copy_identity(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), IoError> {
    for name in ["key", "boot"] {
        let path = from.join(name);
        let bytes = read_small(disk, &path, 256).doing("read", &path)?.unwrap_or_default();
        write_small(disk, &to.join(name), &bytes).doing("write", &to.join(name))?;
    }
    Ok(())
}

/// How often the directory was opened, and under which start of the machine it was last recovered.
struct Boot {
    count: u32,
    machine: String,
}

impl Boot {
    fn read(disk: &dyn Disk, dir: &Path) -> Result<Boot, OpenError> {
        let path = dir.join("boot");
        let bytes = read_small(disk, &path, 256).doing("read", &path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let count = lines.next().and_then(|line| line.strip_prefix("boot ")?.parse().ok());
        let machine = lines.next().and_then(|line| line.strip_prefix("machine "));
        match (count, machine) {
            (Some(count), Some(machine)) => Ok(Boot { count, machine: machine.to_owned() }),
            _ => Err(Damage::new(&path, 0, format!("it says {text:?}")).into()),
        }
    }

    fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), IoError> {
        let path = dir.join("boot");
        let text = format!("boot {}\nmachine {}\n", self.count, self.machine);
        write_small(disk, &path, text.as_bytes()).doing("write", &path)
    }
}

/// What an inspection needs to know about the directory, found without changing it.
pub(crate) fn look(disk: &dyn Disk, dir: &Path) -> Result<(u32, bool), OpenError> {
    match disk.kind(dir).doing("look at", dir)? {
        Some(Kind::Directory) => {}
        _ => return Err(OpenError::NotADirectory { path: dir.to_owned() }),
    }
    if format_of(disk, dir)?.is_none() {
        let found = "nothing".to_owned();
        return Err(OpenError::NotADataDirectory { path: dir.to_owned(), found });
    }
    let lock_path = dir.join("LOCK");
    if disk.is_locked(&lock_path).doing("look at the lock of", dir)? {
        return Err(in_use(disk, dir));
    }
    let boot = Boot::read(disk, dir)?;
    let machine = disk.machine_boot();
    Ok((boot.count, !machine.is_empty() && machine == boot.machine))
}

/// Removes what an interrupted operation left: `*.tmp` in `dir`.
pub(crate) fn remove_stale(disk: &dyn Disk, dir: &Path) -> Result<(), IoError> {
    for name in disk.list(dir).doing("list", dir)? {
        if name.ends_with(".tmp") {
            let path = dir.join(name);
            disk.remove(&path).doing("remove", &path)?;
        }
    }
    Ok(())
}

/// Opens a file for reading, naming it in the error.
pub(crate) fn open_read(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Arc<dyn crate::disk::DiskFile>, IoError> {
    disk.open(path, OpenMode::Read).doing("open", path)
}
