//! A copy of a running store, whole as of one record.
//!
//! The projection is copied row by row from one of its read transactions: rows of freed segments
//! are nowhere else. The journal is copied from what neither the copied snapshot nor the copied
//! rows hold, up to the last durable record. FORMAT is written last, so half a copy cannot be
//! opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use headroom_engine::ports::Seq;

use crate::disk::{Disk, DiskFile, Kind, OpenMode};
use crate::error::{BackupError, Damage, Doing, IoError, ReadError};
use crate::home::{copy_identity, journal_dir, projection_path, snapshot_dir, write_format};
use crate::journal::Shared;
use crate::journal::read::{CHUNK_LARGE, FrameReader, Step};
use crate::journal::segment::{Frame, file_name, mark_frame};
use crate::projection::Fault;
use crate::snapshot;
use crate::store::Inner;
use crate::wake::locked;

/// Keeps segments from being removed while it exists.
struct Pin<'a>(&'a Shared);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.0.pinned_after.store(u64::MAX, Ordering::SeqCst);
    }
}

/// Files that stay readable even if they are removed or replaced meanwhile.
struct Source {
    snapshot: Option<(u64, PathBuf, Arc<dyn DiskFile>)>,
    segments: Vec<(u64, FrameReader)>,
    last: u64,
}

pub(crate) fn backup(inner: &Inner, dest: &Path) -> Result<Seq, BackupError> {
    let disk = inner.home.disk.as_ref();
    let shared = &inner.shared;
    let _one_at_a_time = locked(&inner.backup_busy);
    prepare(disk, dest)?;

    let table = locked(&shared.table);
    let position = shared.projected_synced.load(Ordering::SeqCst);
    shared.pinned_after.store(position, Ordering::SeqCst);
    drop(table);
    let _pin = Pin(shared);

    let path = projection_path(dest);
    let file = disk.open(&path, OpenMode::Create).doing("create", &path)?;
    let position = inner.projection.copy_to(Arc::clone(&file)).map_err(|fault| match fault {
        Fault::Io(source) => BackupError::Io(IoError::new("write", &path, source)),
        Fault::Content(reason) => BackupError::Projection { reason },
    })?;
    file.sync_data().doing("sync", &path)?;

    let source = open_source(inner)?;
    let mut needed_from = position + 1;
    if let Some((start, from, file)) = &source.snapshot {
        let name = from.file_name().unwrap_or_default();
        copy_file(disk, file.as_ref(), from, &snapshot_dir(dest).join(name), u64::MAX)?;
        needed_from = needed_from.min(start + 1);
    } else {
        needed_from = 1;
    }
    let last = source.last;
    copy_segments(disk, source, &journal_dir(dest), needed_from)?;
    copy_identity(disk, &inner.home.dir, dest)?;
    for dir in [journal_dir(dest), snapshot_dir(dest)] {
        disk.sync_dir(&dir).doing("sync", &dir)?;
    }
    write_format(disk, dest)?;
    Ok(Seq(last))
}

fn prepare(disk: &dyn Disk, dest: &Path) -> Result<(), BackupError> {
    match disk.kind(dest).doing("look at", dest)? {
        None => disk.create_dir(dest).doing("create", dest)?,
        Some(Kind::Directory) => {
            let names = disk.list(dest).doing("list", dest)?;
            if names.iter().any(|name| name != "lost+found") {
                return Err(BackupError::NotEmpty { path: dest.to_owned() });
            }
        }
        Some(_) => return Err(BackupError::NotADirectory { path: dest.to_owned() }),
    }
    for dir in [journal_dir(dest), snapshot_dir(dest)] {
        disk.create_dir(&dir).doing("create", &dir)?;
    }
    Ok(())
}

/// Opens the newest snapshot and all segments, and takes the last durable record.
fn open_source(inner: &Inner) -> Result<Source, BackupError> {
    let disk = inner.home.disk.as_ref();
    // While the table is locked no segment is begun, so all durable records are in those listed.
    let table = locked(&inner.shared.table);
    let dir = snapshot_dir(&inner.home.dir);
    let mut snapshot = None;
    // One that is listed and then gone was replaced by a newer one.
    while let Some((start, path)) = snapshot::list(disk, &dir)?.pop() {
        match disk.open(&path, OpenMode::Read) {
            Ok(file) => {
                snapshot = Some((start, path, file));
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(IoError::new("open", &path, error).into()),
        }
    }
    let last = inner.shared.durable();
    let mut segments = Vec::new();
    for segment in &table.segments {
        let reader = FrameReader::open(disk, &segment.path, CHUNK_LARGE, true)?;
        segments.push((segment.first, reader));
    }
    drop(table);
    Ok(Source { snapshot, segments, last })
}

fn copy_segments(
    disk: &dyn Disk,
    source: Source,
    dir: &Path,
    needed_from: u64,
) -> Result<(), BackupError> {
    let last = source.last;
    let firsts: Vec<u64> = source.segments.iter().map(|(first, _)| *first).collect();
    for (index, (first, mut reader)) in source.segments.into_iter().enumerate() {
        let next_first = firsts.get(index + 1).copied().unwrap_or(u64::MAX);
        if next_first <= needed_from {
            continue;
        }
        let through = last.min(next_first - 1);
        let end = find_end(&mut reader, first, through)?;
        let to = dir.join(file_name(first));
        let file = copy_file(disk, reader.file(), &reader.path, &to, end)?;
        if through == last {
            // All of the copy is synced before it counts, so a hole in it is damage.
            let mark = mark_frame(reader.header.seed(), end, last);
            file.write_at(&mark, end).doing("write", &to)?;
            file.sync_data().doing("sync", &to)?;
            break;
        }
    }
    Ok(())
}

/// Where the frame of record `through` ends.
fn find_end(reader: &mut FrameReader, first: u64, through: u64) -> Result<u64, ReadError> {
    let mut seq = first - 1;
    let started = reader.start()?;
    while seq < through && started.is_some() {
        match reader.next()? {
            Step::Frame(Frame::Record { .. }) => seq += 1,
            Step::Frame(_) => {}
            Step::End(_) => break,
        }
    }
    if seq < through || started.is_none() {
        let what = format!("record {} is missing", seq + 1);
        return Err(Damage::new(&reader.path, reader.offset(), what).into());
    }
    Ok(reader.offset())
}

/// Copies the first `bytes_max` bytes of a file and syncs the copy.
fn copy_file(
    disk: &dyn Disk,
    from: &dyn DiskFile,
    from_path: &Path,
    to: &Path,
    bytes_max: u64,
) -> Result<Arc<dyn DiskFile>, IoError> {
    let file = disk.open(to, OpenMode::Create).doing("create", to)?;
    let mut chunk = vec![0; CHUNK_LARGE];
    let mut offset = 0;
    while offset < bytes_max {
        let want = usize::try_from(bytes_max - offset).unwrap_or(usize::MAX).min(chunk.len());
        let count = from.read_at(&mut chunk[..want], offset).doing("read", from_path)?;
        if count == 0 {
            break;
        }
        file.write_at(&chunk[..count], offset).doing("write", to)?;
        offset += count as u64;
    }
    file.sync_data().doing("sync", to)?;
    Ok(file)
}
