//! The snapshot: what was in memory, entry by entry, so that a start need not replay the whole
//! journal.
//!
//! ```text
//! header  magic 8 | version u32 | nonce 16 | start u64 | crc32c u32
//! block   length u32 | crc32c u32 | entries: (length u32 | bytes) …
//! end     0 u32 | crc32c u32 | entries u64 | covered u64
//! ```
//!
//! `start` is the last record appended when the snapshot began: replay continues after it.
//! `covered` is the last record that any entry may know of. A snapshot counts only once the journal
//! is synced through it; otherwise a power cut could leave entries that know of records which the
//! journal gives to others.
//!
//! A file has its name only when it is whole and synced, and an older one is removed only after
//! that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headroom_engine::ports::Seq;

use crate::disk::{Disk, DiskFile, OpenMode, list_if_there};
use crate::error::{Damage, Doing, IoError, ReadError};
use crate::home::open_read;
use crate::journal::segment::{u32_at, u64_at};
use crate::limits::ENTRY_BYTES_MAX;

const MAGIC: [u8; 8] = *b"HRSNAPSH";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 40;
const BLOCK_HEAD: usize = 8;
const END_LEN: usize = BLOCK_HEAD + 16;

/// Bytes of a block before it is written. Large enough that checksums and writes cost little.
const BLOCK_BYTES: usize = 256 << 10;

/// Bytes after which the file is synced while it is being written, so that the last sync, which
/// competes with those of the journal, is short.
const SYNC_EVERY_BYTES: u64 = 8 << 20;

/// What a whole snapshot says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Replay continues after this record.
    pub start: Seq,
    /// The last record that any entry may know of.
    pub covered: Seq,
    /// How many entries there are.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A snapshot being written to a file of its own.
pub(crate) struct SnapshotFile {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    temp: PathBuf,
    dir: PathBuf,
    start: u64,
    seed: u32,
    block: Vec<u8>,
    offset: u64,
    synced_to: u64,
    entries: u64,
    named: bool,
}

impl SnapshotFile {
    pub(crate) fn create(disk: Arc<dyn Disk>, dir: &Path, start: u64) -> Result<Self, IoError> {
        let temp = dir.join(format!("{start:020}.tmp"));
        let nonce = disk.random().doing("get random bytes for", &temp)?;
        let file = disk.open(&temp, OpenMode::Create).doing("create", &temp)?;
        let mut this = SnapshotFile {
            disk,
            file,
            temp,
            dir: dir.to_owned(),
            start,
            seed: crc32c::crc32c(&nonce),
            block: Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 4),
            offset: HEADER_LEN as u64,
            synced_to: 0,
            entries: 0,
            named: false,
        };
        this.block.resize(BLOCK_HEAD, 0);
        this.file.write_at(&encode_header(&nonce, start), 0).doing("write", &this.temp)?;
        Ok(this)
    }

    pub(crate) fn entry(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        let length = u32::try_from(bytes.len()).expect("callers check ENTRY_BYTES_MAX");
        self.block.extend_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(bytes);
        self.entries += 1;
        if self.block.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), IoError> {
        let length = self.block.len() - BLOCK_HEAD;
        if length == 0 {
            return Ok(());
        }
        let length = u32::try_from(length).expect("a block and an entry fit");
        self.block[..4].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(self.seed, self.offset, &self.block);
        self.block[4..8].copy_from_slice(&crc.to_le_bytes());
        self.file.write_at(&self.block, self.offset).doing("write", &self.temp)?;
        self.offset += self.block.len() as u64;
        self.block.truncate(BLOCK_HEAD);
        if self.offset - self.synced_to >= SYNC_EVERY_BYTES {
            self.file.sync_data().doing("sync", &self.temp)?;
            self.synced_to = self.offset;
        }
        Ok(())
    }

    /// Completes the file and gives it its name; older snapshots are removed.
    pub(crate) fn finish(mut self, covered: u64) -> Result<SnapshotInfo, IoError> {
        self.flush()?;
        let mut end = [0; END_LEN];
        end[8..16].copy_from_slice(&self.entries.to_le_bytes());
        end[16..24].copy_from_slice(&covered.to_le_bytes());
        let crc = checksum(self.seed, self.offset, &end);
        end[4..8].copy_from_slice(&crc.to_le_bytes());
        self.file.write_at(&end, self.offset).doing("write", &self.temp)?;
        self.file.sync_data().doing("sync", &self.temp)?;

        let path = self.dir.join(file_name(self.start));
        self.disk.rename(&self.temp, &path).doing("rename", &self.temp)?;
        self.named = true;
        self.disk.sync_dir(&self.dir).doing("sync", &self.dir)?;
        for (start, older) in list(self.disk.as_ref(), &self.dir)? {
            if start != self.start {
                // If this fails, the next snapshot tries again; a start takes the newest.
                let _ = self.disk.remove(&older);
            }
        }
        Ok(SnapshotInfo {
            start: Seq(self.start),
            covered: Seq(covered),
            entries: self.entries,
            bytes: self.offset + END_LEN as u64,
        })
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if !self.named {
            // If this fails, the next start removes it.
            let _ = self.disk.remove(&self.temp);
        }
    }
}

fn encode_header(nonce: &[u8; 16], start: u64) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..28].copy_from_slice(nonce);
    bytes[28..36].copy_from_slice(&start.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn checksum(seed: u32, offset: u64, block: &[u8]) -> u32 {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&offset.to_le_bytes());
    place[8..].copy_from_slice(&block[..4]);
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &place), &block[8..])
}

fn file_name(start: u64) -> String {
    format!("{start:020}.snap")
}

/// The snapshots in a directory, oldest first.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u64, PathBuf)>, IoError> {
    let names = list_if_there(disk, dir).doing("list", dir)?;
    let starts = names.iter().filter_map(|name| {
        let start = name.strip_suffix(".snap")?.parse().ok()?;
        Some((start, dir.join(name)))
    });
    Ok(starts.collect())
}

/// Reads a snapshot, calling `visit` with each entry, and checks all of it. On an error what was
/// visited must not be used.
pub(crate) fn read(
    disk: &dyn Disk,
    path: &Path,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<SnapshotInfo, ReadError> {
    let file = open_read(disk, path)?;
    let size = file.size().doing("look at", path)?;
    let damaged = |offset: u64, what: &str| ReadError::Damaged(Damage::new(path, offset, what));

    let mut header = [0; HEADER_LEN];
    let count = file.read_at(&mut header, 0).doing("read", path)?;
    if count < HEADER_LEN
        || header[..8] != MAGIC
        || crc32c::crc32c(&header[..36]) != u32_at(&header, 36)
    {
        return Err(damaged(0, "the snapshot's header has a wrong checksum"));
    }
    if u32_at(&header, 8) != VERSION {
        return Err(damaged(0, "the snapshot's format is unknown"));
    }
    let seed = crc32c::crc32c(&header[12..28]);
    let mut info =
        SnapshotInfo { start: Seq(u64_at(&header, 28)), covered: Seq(0), entries: 0, bytes: size };
    let mut offset = HEADER_LEN as u64;
    let mut block = Vec::new();
    loop {
        let end = read_block(file.as_ref(), path, offset, size, seed, &mut block)?;
        if end {
            let entries = u64_at(&block, BLOCK_HEAD);
            if entries != info.entries {
                let what = format!("it has {} of {entries} entries", info.entries);
                return Err(damaged(offset, &what));
            }
            info.covered = Seq(u64_at(&block, BLOCK_HEAD + 8));
            return Ok(info);
        }
        let mut rest = &block[BLOCK_HEAD..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some(entry) = after.get(..length) else {
                return Err(damaged(offset, "an entry is longer than its block"));
            };
            visit(entry);
            info.entries += 1;
            rest = &after[length..];
        }
        offset += block.len() as u64;
    }
}

/// Reads the block at `offset` with its head; true if it is the end.
fn read_block(
    file: &dyn DiskFile,
    path: &Path,
    offset: u64,
    size: u64,
    seed: u32,
    block: &mut Vec<u8>,
) -> Result<bool, ReadError> {
    let damaged = |what: &str| ReadError::Damaged(Damage::new(path, offset, what));
    let mut length = [0; 4];
    if file.read_at(&mut length, offset).doing("read", path)? < 4 {
        return Err(damaged("the snapshot is cut short"));
    }
    let length = u32::from_le_bytes(length) as usize;
    let end = length == 0;
    let total = if end { END_LEN } else { BLOCK_HEAD + length };
    // Not more memory than a block can need: the length may be anything.
    if total > BLOCK_HEAD + BLOCK_BYTES + 4 + ENTRY_BYTES_MAX || offset + total as u64 > size {
        return Err(damaged("the snapshot is cut short"));
    }
    block.resize(total, 0);
    if file.read_at(block, offset).doing("read", path)? < total {
        return Err(damaged("the snapshot is cut short"));
    }
    if checksum(seed, offset, block) != u32_at(block, 4) {
        return Err(damaged("a block of the snapshot has a wrong checksum"));
    }
    Ok(end)
}
