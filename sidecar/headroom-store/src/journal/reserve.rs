//! A segment that has its room on disk but no records and no number yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::{DiskFile, OpenMode};
use crate::error::{Doing, IoError};
use crate::wake::locked;

use super::Shared;
use super::segment::Header;

/// A segment that has its room on disk but no records and no number yet.
#[derive(Debug)]
pub(crate) struct Reserve {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    pub(crate) bytes: u64,
}

/// The reserved segment, or a new one, of at least this size. The caller waits if one is being
/// made: generations must be used in the order in which they are given out.
pub(crate) fn take(shared: &Shared, bytes_min: u64) -> Result<Reserve, IoError> {
    let mut slot = locked(&shared.reserve);
    let mut reserve = match slot.take() {
        Some(reserve) => reserve,
        None => prepare(shared, shared.segment_bytes.max(bytes_min))?,
    };
    drop(slot);
    shared.keeper_wake.wake();
    if reserve.bytes < bytes_min {
        if let Err(error) =
            reserve.file.allocate(bytes_min).doing("reserve room for", &reserve.path)
        {
            reserve.discard(shared);
            return Err(error);
        }
        reserve.bytes = bytes_min;
    }
    Ok(reserve)
}

/// Makes sure that there is a reserved segment; true if it is new.
pub(crate) fn refill(shared: &Shared) -> Result<bool, IoError> {
    let mut slot = locked(&shared.reserve);
    if slot.is_some() {
        return Ok(false);
    }
    *slot = Some(prepare(shared, shared.segment_bytes)?);
    Ok(true)
}

/// Takes room for a segment. Its header is synced here, so that a segment with a number always has
/// one.
fn prepare(shared: &Shared, bytes: u64) -> Result<Reserve, IoError> {
    let generation = shared.generation.fetch_add(1, Ordering::SeqCst) + 1;
    let path = shared.dir.join(format!("reserve-{generation}.tmp"));
    let nonce = shared.disk.random().doing("get random bytes for", &path)?;
    let header = Header { generation, nonce };
    let file = shared.disk.open(&path, OpenMode::Create).doing("create", &path)?;
    let reserve = Reserve { file, path, header, bytes };
    match reserve.fill() {
        Ok(()) => Ok(reserve),
        Err(error) => {
            reserve.discard(shared);
            Err(error)
        }
    }
}

impl Reserve {
    fn fill(&self) -> Result<(), IoError> {
        self.file.allocate(self.bytes).doing("reserve room for", &self.path)?;
        self.file.write_at(&self.header.encode(), 0).doing("write", &self.path)?;
        self.file.sync_data().doing("sync", &self.path)
    }

    /// Gives its room back.
    pub(crate) fn discard(self, shared: &Shared) {
        // If this fails too, the next start removes the file.
        let _ = shared.disk.remove(&self.path);
    }
}
