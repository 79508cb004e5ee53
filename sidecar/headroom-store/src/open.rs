//! Opening a data directory: what is there, is it whole, and where does writing go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headroom_engine::ports::Seq;

use crate::disk::{Disk, list_if_there};
use crate::error::{Damage, Doing, IoError, OpenError, ReadError};
use crate::home::{Home, journal_dir, projection_path, remove_stale, snapshot_dir};
use crate::journal::read::CHUNK_LARGE;
use crate::journal::recover::{Known, Survey, survey};
use crate::journal::segment::{first_of_name, push_record};
use crate::journal::tail::Tail;
use crate::journal::writer::Writer;
use crate::journal::{Beginning, Shared};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::options::{OnProgress, Options};
use crate::projection::{Fault, Projection};
use crate::snapshot::{self, SnapshotInfo};

pub(crate) struct Opened {
    pub(crate) home: Home,
    pub(crate) shared: Arc<Shared>,
    pub(crate) projection: Projection,
    pub(crate) snapshot: Option<(PathBuf, SnapshotInfo)>,
    pub(crate) writer: Writer,
}

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: &Options,
    on_progress: OnProgress,
) -> Result<Opened, OpenError> {
    let (min, max) = (SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    if !(min..=max).contains(&options.segment_bytes) {
        return Err(OpenError::SegmentBytes { found: options.segment_bytes, min, max });
    }
    let home = Home::open(disk, dir)?;
    let disk = &home.disk;
    let snapshot = newest_snapshot(disk.as_ref(), dir)?;
    let (projection, position) = open_projection(disk, dir)?;
    let info = snapshot.as_ref().map(|(_, info)| *info);
    let known = known(info.as_ref(), position, home.machine_kept_running);
    let journal = journal_dir(dir);
    let mut found = survey(disk.as_ref(), &journal, known)?;
    if let Some(damage) = found.damage {
        return Err(damage.into());
    }

    // From here on things are changed, and each step leaves what an interrupted start can continue.
    remove_dead(disk.as_ref(), &journal, &mut found)?;
    for inner in [&journal, &snapshot_dir(dir)] {
        disk.create_dir(inner).doing("create", inner)?;
        remove_stale(disk.as_ref(), inner)?;
    }
    remove_stale(disk.as_ref(), dir)?;
    let synced = found.synced.min(found.last);
    let beginning = Beginning {
        last: found.last,
        segments: found.segments,
        generation: found.generation_max,
        snapshot_start: info.map_or(0, |info| info.start.0),
        projected: position,
    };
    let durability = options.durability;
    let segment_bytes = options.segment_bytes;
    let shared = Shared::new(Arc::clone(disk), journal, durability, segment_bytes, beginning);
    let shared = Arc::new(shared);
    let unsynced = read_frames(&shared, synced)?;
    let writer = Writer::begin(Arc::clone(&shared), on_progress, synced, &unsynced)?;
    home.recovered()?;
    Ok(Opened { home, shared, projection, snapshot, writer })
}

pub(crate) fn known(
    snapshot: Option<&SnapshotInfo>,
    position: u64,
    machine_kept_running: bool,
) -> Known {
    let (Seq(start), Seq(covered)) =
        snapshot.map_or_else(Default::default, |info| (info.start, info.covered));
    Known {
        freed_through: start.min(position),
        synced_through: covered.max(position),
        machine_kept_running,
    }
}

/// The newest snapshot that is whole. Older ones are there only if a crash came between two steps
/// of taking a snapshot, and then nothing that they need was freed.
pub(crate) fn newest_snapshot(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<(PathBuf, SnapshotInfo)>, ReadError> {
    let mut damage = None;
    for (_, path) in snapshot::list(disk, &snapshot_dir(dir))?.into_iter().rev() {
        match snapshot::read(disk, &path, &mut |_| {}) {
            Ok(info) => return Ok(Some((path, info))),
            Err(error @ ReadError::Io(_)) => return Err(error),
            Err(error) => {
                damage.get_or_insert(error);
            }
        }
    }
    damage.map_or(Ok(None), Err)
}

fn open_projection(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(Projection, u64), OpenError> {
    let path = projection_path(dir);
    projection_is_missing(disk.as_ref(), dir)?.map_or(Ok(()), Err)?;
    Projection::open(Arc::clone(disk), &path).map_err(|fault| match fault {
        Fault::Io(source) => IoError::new("open", &path, source).into(),
        Fault::Content(what) => Damage::new(&path, 0, what).into(),
    })
}

/// Rows of records that were freed are nowhere else, so a missing projection is made anew only
/// while the journal has everything.
pub(crate) fn projection_is_missing(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<Damage>, IoError> {
    let path = projection_path(dir);
    if disk.kind(&path).doing("look at", &path)?.is_some() {
        return Ok(None);
    }
    let journal = journal_dir(dir);
    let names = list_if_there(disk, &journal).doing("list", &journal)?;
    let first = names.iter().filter_map(|name| first_of_name(name)).min();
    let what = "it is missing, and the journal does not go back to its beginning";
    Ok(first.filter(|first| *first > 1).map(|_| Damage::new(&path, 0, what)))
}

/// The records after `synced`, as frames.
fn read_frames(shared: &Arc<Shared>, synced: u64) -> Result<Vec<u8>, ReadError> {
    let mut frames = Vec::new();
    let mut tail = Tail::after(Arc::clone(shared), synced, CHUNK_LARGE, true);
    tail.run(shared.durable(), &mut |_, matter, record| {
        push_record(&mut frames, record, matter);
        true
    })?;
    Ok(frames)
}

fn remove_dead(disk: &dyn Disk, journal: &Path, found: &mut Survey) -> Result<(), IoError> {
    if found.dead.is_empty() {
        return Ok(());
    }
    for path in found.dead.drain(..) {
        disk.remove(&path).doing("remove", &path)?;
    }
    disk.sync_dir(journal).doing("sync", journal)
}
