//! Looking at a data directory without opening it: nothing is changed, and damage is described
//! instead of refused.

use std::path::{Path, PathBuf};

use headroom_engine::ports::{Row, Seq};

use crate::disk::{Disk, RealDisk};
use crate::error::{Damage, OpenError, ReadError};
use crate::home::{journal_dir, look, projection_path};
use crate::journal::read::{CHUNK_LARGE, FrameReader, Step};
use crate::journal::recover::survey;
use crate::journal::segment::Frame;
use crate::open::{known, newest_snapshot, projection_is_missing};
use crate::projection::{self, Fault};
use crate::snapshot::{self, SnapshotInfo};

/// What is in a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How often it was opened.
    pub boot: u32,
    /// Journal segments whose records count.
    pub segments: usize,
    /// Files of the journal that do not count and will be removed at the next start.
    pub files_unneeded: usize,
    /// Whole records in the journal.
    pub records: u64,
    /// The last of them.
    pub last: Seq,
    /// Where a write was cut short, and how many bytes of it there are. Normal after a crash.
    pub torn: Option<Torn>,
    /// The newest whole snapshot.
    pub snapshot: Option<SnapshotInfo>,
    /// The last record that the projection has applied, if it can be read.
    pub position: Option<Seq>,
    /// Rows of the projection, if it can be read.
    pub rows: Option<Rows>,
    /// How far each sink is: its name, and the position that it confirmed.
    pub cursors: Vec<Row>,
    /// Everything that keeps the directory from being opened.
    pub damage: Vec<Damage>,
}

/// Bytes after the last record that are not a whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub path: PathBuf,
    /// Where they begin.
    pub offset: u64,
    /// How many of them are not zero.
    pub bytes: u64,
}

/// Rows of each table of the projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Closed windows.
    pub usage: u64,
    /// Signals.
    pub signals: u64,
    /// Sinks that have begun: each has a row that says how far it is.
    pub cursors: u64,
}

/// Looks at a data directory that no process has open. The error is [`OpenError::InUse`] if one
/// has.
pub fn inspect(dir: &Path) -> Result<Health, OpenError> {
    inspect_on(&RealDisk, dir)
}

/// [`inspect`] on another disk, for tests.
pub fn inspect_on(disk: &dyn Disk, dir: &Path) -> Result<Health, OpenError> {
    let (boot, machine_kept_running) = look(disk, dir)?;
    let mut damage = Vec::new();
    let snapshot = match newest_snapshot(disk, dir) {
        Ok(found) => found.map(|(_, info)| info),
        Err(ReadError::Damaged(found)) => {
            damage.push(found);
            None
        }
        Err(error) => return Err(error.into()),
    };
    let (mut position, mut rows, mut cursors) = (None, None, Vec::new());
    let path = projection_path(dir);
    if let Some(missing) = projection_is_missing(disk, dir)? {
        damage.push(missing);
    } else if disk.kind(&path).is_ok_and(|kind| kind.is_some()) {
        match projection::look(disk, &path) {
            Ok(found) => {
                let [usage, signals, cursor_rows, ..] = found.rows;
                position = Some(found.position);
                rows = Some(Rows { usage, signals, cursors: cursor_rows });
                cursors = found.cursors;
            }
            Err(Fault::Content(what)) => damage.push(Damage::new(&path, 0, what)),
            Err(Fault::Io(error)) => damage.push(Damage::new(&path, 0, error.to_string())),
        }
    }
    // Without the snapshot or the projection it is not known what was freed; then a journal that
    // does not begin with record 1 is only a consequence.
    let consequence = !damage.is_empty();
    let position_known = position.unwrap_or_default().0;
    let known = known(snapshot.as_ref(), position_known, machine_kept_running);
    let found = survey(disk, &journal_dir(dir), known)?;
    damage.extend(found.damage.filter(|_| !consequence));
    Ok(Health {
        boot,
        segments: found.segments.len(),
        files_unneeded: found.dead.len(),
        records: found.records,
        last: Seq(found.last),
        torn: found.torn.map(|torn| Torn {
            path: torn.path,
            offset: torn.offset,
            bytes: torn.bytes,
        }),
        snapshot,
        position,
        rows,
        cursors,
        damage,
    })
}

/// Visits what a data directory holds, as a start would: the entries of the newest snapshot, then
/// the records after it. Nothing is changed. On an error what was visited must not be used.
///
/// For a directory that [`inspect`] found without damage and that no process has open.
pub fn read_contents(
    dir: &Path,
    entry: &mut dyn FnMut(&[u8]),
    record: &mut dyn FnMut(Seq, &[u8]),
) -> Result<(), ReadError> {
    let disk: &dyn Disk = &RealDisk;
    let mut from = 1;
    let newest = newest_snapshot(disk, dir)?;
    if let Some((path, info)) = &newest {
        snapshot::read(disk, path, entry)?;
        from = info.start.0 + 1;
    }
    let known = known(newest.as_ref().map(|(_, info)| info), from - 1, false);
    let found = survey(disk, &journal_dir(dir), known)?;
    for (place, segment) in found.segments.iter().enumerate() {
        // A segment ends where the next one begins, also if more was written to it before it
        // failed.
        let end = found.segments.get(place + 1).map_or(found.last + 1, |next| next.first);
        let mut reader = FrameReader::open(disk, &segment.path, CHUNK_LARGE, true)?;
        let mut seq = segment.first;
        while seq < end {
            match reader.next()? {
                Step::Frame(Frame::Record { bytes, .. }) => {
                    if from <= seq {
                        record(Seq(seq), bytes);
                    }
                    seq += 1;
                }
                Step::Frame(Frame::Start { .. } | Frame::Mark { .. }) => {}
                Step::End(reason) => {
                    let what = reason.unwrap_or("a record is missing");
                    return Err(Damage::new(&segment.path, reader.offset(), what).into());
                }
            }
        }
    }
    Ok(())
}
