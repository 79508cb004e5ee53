//! Finding out, at a start, which records the journal holds.
//!
//! The end of a journal is where no whole record follows. That is normal after a crash: the last
//! write was cut short. It is *damage* if something proves that a record was once on disk there:
//!
//! - a mark, a snapshot or the projection says that it was synced; or
//! - whole records follow, and the machine has run without interruption since they were written,
//!   so that the order of writes was kept.
//!
//! Only after a restart of the machine may records that were never synced have holes, since a power
//! cut keeps what it likes. Then the journal ends at the first hole. In all other cases nothing is
//! guessed: the store refuses to open.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, list_if_there};
use crate::error::{Damage, Doing, IoError, ReadError};

use super::read::{Beyond, CHUNK_LARGE, FrameReader, Step, look_beyond};
use super::segment::{Frame, HEADER_LEN, Header, first_of_name};

/// What is known from outside of the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Records up to this one are not needed any more.
    pub(crate) freed_through: u64,
    /// Records up to this one were synced.
    pub(crate) synced_through: u64,
    /// Whether the machine has run without interruption.
    pub(crate) machine_kept_running: bool,
}

/// A segment with records that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    pub(crate) generation: u64,
    pub(crate) path: PathBuf,
}

/// Bytes after the end of the journal which are not whole records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// What a survey found.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The segments that count, oldest first.
    pub(crate) segments: Vec<Segment>,
    /// Files that do not count, in the order in which they may be removed.
    pub(crate) dead: Vec<PathBuf>,
    pub(crate) last: u64,
    /// The last record of which something says that it was synced.
    pub(crate) synced: u64,
    pub(crate) records: u64,
    pub(crate) generation_max: u64,
    pub(crate) torn: Option<Torn>,
    pub(crate) damage: Option<Damage>,
}

struct Listed {
    first: u64,
    path: PathBuf,
    header: Result<Header, Damage>,
}

/// Reads the whole journal. An error is only what the operating system refused; damage is part of
/// the answer.
pub(crate) fn survey(disk: &dyn Disk, dir: &Path, known: Known) -> Result<Survey, IoError> {
    let mut survey = Survey {
        segments: Vec::new(),
        dead: Vec::new(),
        last: 0,
        synced: 0,
        records: 0,
        generation_max: 0,
        torn: None,
        damage: None,
    };
    let listed = list(disk, dir, &mut survey)?;
    let live = choose(listed, known.freed_through, &mut survey);
    if survey.damage.is_none() {
        scan(disk, dir, &live, known, &mut survey)?;
    }
    Ok(survey)
}

fn list(disk: &dyn Disk, dir: &Path, survey: &mut Survey) -> Result<Vec<Listed>, IoError> {
    let mut listed = Vec::new();
    for name in list_if_there(disk, dir).doing("list", dir)? {
        let path = dir.join(&name);
        if let Some(first) = first_of_name(&name) {
            let header = match FrameReader::open(disk, &path, 0, true) {
                Ok(reader) => Ok(reader.header),
                Err(ReadError::Damaged(damage)) => Err(damage),
                Err(ReadError::Io(error)) => return Err(error),
                Err(ReadError::Freed { .. }) => continue,
            };
            if let Ok(header) = &header {
                survey.generation_max = survey.generation_max.max(header.generation);
            }
            listed.push(Listed { first, path, header });
        } else if name.ends_with(".tmp") {
            survey.dead.push(path);
        }
    }
    Ok(listed)
}

/// Leaves out segments that a later generation replaced, and those that are not needed any more.
/// What is left is sorted by first record and by generation alike.
fn choose(listed: Vec<Listed>, freed_through: u64, survey: &mut Survey) -> Vec<(Segment, Header)> {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for Listed { first, path, header } in listed {
        match header {
            Ok(header) => {
                good.push((Segment { first, generation: header.generation, path }, header));
            }
            Err(damage) => bad.push((first, damage)),
        }
    }
    good.sort_by_key(|(segment, _)| std::cmp::Reverse(segment.generation));
    let mut replaced_from = u64::MAX;
    let mut live = Vec::new();
    for (segment, header) in good {
        if segment.first >= replaced_from {
            survey.dead.push(segment.path);
        } else {
            replaced_from = segment.first;
            live.push((segment, header));
        }
    }
    live.reverse();
    // A segment is not needed when the next one begins within what is not needed. Its removal may
    // have been lost in a power cut, so there may be gaps among these.
    let needed = live.iter().rposition(|(segment, _)| segment.first <= freed_through + 1);
    let needed_from = needed.map_or(0, |index| live[index].0.first);
    survey.dead.extend(live.drain(..needed.unwrap_or(0)).map(|(segment, _)| segment.path));
    // A header is synced before the segment gets its name, so a bad one is never a torn write.
    for (first, damage) in bad {
        if first < needed_from {
            survey.dead.push(damage.path);
        } else {
            survey.damage.get_or_insert(damage);
        }
    }
    survey.segments = live.iter().map(|(segment, _)| segment.clone()).collect();
    live
}

/// Where the records stop although there should be more, or where they simply end.
struct Stop {
    index: usize,
    offset: u64,
    what: String,
}

fn scan(
    disk: &dyn Disk,
    dir: &Path,
    live: &[(Segment, Header)],
    known: Known,
    survey: &mut Survey,
) -> Result<(), IoError> {
    let Some((oldest, _)) = live.first() else {
        if known.synced_through > 0 {
            let what = format!("no segment, but record {} was on disk", known.synced_through);
            survey.damage = Some(Damage::new(dir, 0, what));
        }
        return Ok(());
    };
    if oldest.first > known.freed_through + 1 {
        let what = format!(
            "records {} to {} are missing before it",
            known.freed_through + 1,
            oldest.first - 1
        );
        survey.damage = Some(Damage::new(&oldest.path, 0, what));
        return Ok(());
    }
    let mut synced = known.synced_through;
    survey.last = oldest.first - 1;
    let mut stop = None;
    for (index, (segment, _)) in live.iter().enumerate() {
        let next_first = live.get(index + 1).map(|(next, _)| next.first);
        if segment.first != survey.last + 1 {
            let what =
                format!("it begins with record {}, expected {}", segment.first, survey.last + 1);
            stop = Some(Stop { index, offset: 0, what });
            break;
        }
        stop = scan_segment(disk, index, segment, next_first, &mut synced, survey)?;
        if stop.is_some() {
            break;
        }
    }
    let Some(stop) = stop else { return Ok(()) };
    // A record that is not needed may be synced and gone.
    survey.synced = synced.max(oldest.first - 1);
    judge(disk, live, &stop, Known { synced_through: synced, ..known }, survey)
}

/// Counts the records of one segment up to the first of the next one. The last segment always
/// stops somewhere.
fn scan_segment(
    disk: &dyn Disk,
    index: usize,
    segment: &Segment,
    next_first: Option<u64>,
    synced: &mut u64,
    survey: &mut Survey,
) -> Result<Option<Stop>, IoError> {
    let stop = |offset, what: &str| Ok(Some(Stop { index, offset, what: what.to_owned() }));
    let mut reader = match FrameReader::open(disk, &segment.path, CHUNK_LARGE, true) {
        Ok(reader) => reader,
        Err(ReadError::Io(error)) => return Err(error),
        Err(other) => return stop(0, &other.to_string()),
    };
    match reader.start()? {
        Some((first, synced_then)) if first == segment.first => *synced = synced_then.max(*synced),
        Some((first, _)) => {
            let what = format!("its name is {}, but it begins with {first}", segment.first);
            survey.damage = Some(Damage::new(&segment.path, HEADER_LEN, what));
            return Ok(None);
        }
        None => return stop(HEADER_LEN, "its first frame is not whole"),
    }
    while next_first.is_none_or(|next| survey.last + 1 < next) {
        let offset = reader.offset();
        match reader.next()? {
            Step::Frame(Frame::Record { .. }) => {
                survey.last += 1;
                survey.records += 1;
            }
            Step::Frame(Frame::Mark { synced: then } | Frame::Start { synced: then, .. }) => {
                *synced = then.max(*synced);
            }
            Step::End(reason) => return stop(offset, reason.unwrap_or("records are missing")),
        }
    }
    Ok(None)
}

/// Decides whether a stop is the end of the journal or damage.
fn judge(
    disk: &dyn Disk,
    live: &[(Segment, Header)],
    stop: &Stop,
    known: Known,
    survey: &mut Survey,
) -> Result<(), IoError> {
    if survey.damage.is_some() {
        return Ok(());
    }
    let (segment, header) = &live[stop.index];
    let mut here = Beyond::default();
    if stop.offset >= HEADER_LEN {
        here = look_beyond(disk, &segment.path, header, stop.offset)?;
    }
    let mut synced = known.synced_through.max(here.synced);
    for (later, header) in &live[stop.index + 1..] {
        synced = synced.max(look_beyond(disk, &later.path, header, HEADER_LEN)?.synced);
    }
    let more_follows = here.frames > 0 || stop.index + 1 < live.len() || stop.offset == 0;
    let what = if synced > survey.last {
        format!("{}; record {} was synced", stop.what, survey.last + 1)
    } else if more_follows && known.machine_kept_running {
        format!("{}; whole records follow", stop.what)
    } else {
        // The end. Later segments hold what a power cut left of writes that were never synced. They
        // are removed last one first, so that an interruption leaves a shorter journal, not a gap.
        let keep = stop.index + usize::from(stop.offset >= HEADER_LEN);
        let dropped = survey.segments.drain(keep..).map(|segment| segment.path);
        survey.dead.extend(dropped.rev());
        if here.bytes > 0 {
            let (path, offset) = (segment.path.clone(), stop.offset);
            survey.torn = Some(Torn { path, offset, bytes: here.bytes });
        }
        return Ok(());
    };
    survey.damage = Some(Damage::new(&segment.path, stop.offset, what));
    Ok(())
}
