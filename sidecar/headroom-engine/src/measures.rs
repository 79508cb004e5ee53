//! What aggregations know of windows that have left the memory, on disk: so that a value which comes late is
//! counted as if it had come in time.
//!
//! A window has one row, put anew when something comes to it. It is filed under the day on which the window ended,
//! among the keys of late events: so it leaves the disk with those, when nothing of the window can be restated
//! any more, and the usage history stays as small as it was. Windows that earlier versions closed have none.

use std::collections::BTreeSet;

use headroom_core::effect::Effect;
use headroom_core::event::Restated;
use headroom_core::ledger::Ledger;
use headroom_core::measure::{ClosedMeasure, Measure};
use headroom_core::names::NameId;
use headroom_core::subject::SubjectId;
use headroom_core::time::Millis;

use crate::codec::{Malformed, Take};
use crate::digest::{after_prefix, start_key};
use crate::events::{BY_DAY, day_prefix};
use crate::limits;
use crate::ports::{Archive, ArchiveError, ProjectionOp, Table, rows};
use crate::record;

/// What is known of a window, by the number of the subject that it is filed under. No number: it is the account's.
pub(crate) type Owned = (Option<SubjectId>, Measure);

/// Bytes of a row's key: no other row of a day has as many.
const KEY_BYTES: usize = 30;

/// Whether what is known belongs to a subject, in a key.
const OF_ACCOUNT: u8 = 0;
const OF_SUBJECT: u8 = 1;

/// Whether a row by day is one of these.
pub(crate) fn is_key(key: &[u8]) -> bool {
    key.len() == KEY_BYTES && key.first() == Some(&BY_DAY)
}

/// What the keys of a day begin with, of one account or of one of its subjects.
fn owner_prefix(day: Vec<u8>, (serial, owner): (u32, Option<SubjectId>)) -> Vec<u8> {
    let mut key = day;
    key.extend_from_slice(&serial.to_be_bytes());
    key.push(if owner.is_some() { OF_SUBJECT } else { OF_ACCOUNT });
    key.extend_from_slice(&owner.map_or(0, |id| id.0).to_be_bytes());
    key
}

fn key(
    of: (u32, Option<SubjectId>),
    (feature, limit): (NameId, NameId),
    (start, end): (Millis, Millis),
) -> Vec<u8> {
    // The last instant that an event of the window can be of.
    let mut key = owner_prefix(day_prefix(end.plus(-1)), of);
    key.extend_from_slice(&feature.0.to_be_bytes());
    key.extend_from_slice(&limit.0.to_be_bytes());
    key.extend_from_slice(&start_key(start));
    key
}

/// The row of a window.
pub(crate) fn kept(of: (u32, Option<SubjectId>), closed: &ClosedMeasure) -> ProjectionOp {
    let Measure { feature, limit, window_start, .. } = closed.measure;
    let mut value = Vec::new();
    record::measure::put_closed(&mut value, closed);
    let key = key(of, (feature, limit), (window_start, closed.window_end));
    ProjectionOp::Put { table: Table::Events, key, value }
}

/// What the disk knows of a window that has left the memory.
pub(crate) fn read(
    archive: &dyn Archive,
    of: (u32, Option<SubjectId>),
    window: &Ledger,
) -> Result<Option<Measure>, ArchiveError> {
    let span = (window.window.start(), window.window.end());
    let from = key(of, (window.feature, window.limit), span);
    let to = [from.as_slice(), &[0]].concat();
    let row = archive.range(Table::Events, &from, &to, 1)?.pop();
    let closed = row.map(|(_, value)| row_value(&value)).transpose();
    let closed = closed.map_err(|error| ArchiveError { reason: error.to_string() })?;
    Ok(closed.map(|closed| closed.measure))
}

fn row_value(value: &[u8]) -> Result<ClosedMeasure, Malformed> {
    record::measure::take_closed(&mut Take::new(value))
}

/// What the disk knows of those windows that an instant lies in.
pub(crate) fn read_all<'a>(
    archive: &dyn Archive,
    serial: u32,
    windows: impl Iterator<Item = (Option<SubjectId>, &'a Restated)>,
    at: Millis,
) -> Result<Vec<Owned>, ArchiveError> {
    let mut all = Vec::new();
    for (owner, window) in windows.filter(|(_, restated)| restated.closed.window.contains(at)) {
        let known = read(archive, (serial, owner), &window.closed)?;
        all.extend(known.map(|measure| (owner, measure)));
    }
    Ok(all)
}

/// What an effect keeps.
pub(crate) fn of_effect(effect: &Effect) -> Option<(Option<SubjectId>, &Measure)> {
    let (owner, effect) = match effect {
        Effect::OfSubject(id, effect) => (Some(*id), &**effect),
        effect => (None, effect),
    };
    match effect {
        Effect::MeasureClosed(closed) => Some((owner, &closed.measure)),
        _ => None,
    }
}

/// Whether an effect keeps anything.
pub(crate) fn is_one(effect: &Effect) -> bool {
    match effect {
        Effect::OfSubject(_, effect) => matches!(**effect, Effect::MeasureClosed(_)),
        effect => matches!(effect, Effect::MeasureClosed(_)),
    }
}

/// The keys of what the disk knows of the windows of subjects, day by day.
pub(crate) fn keys_of_subjects(
    archive: &dyn Archive,
    serial: u32,
    ids: &BTreeSet<SubjectId>,
) -> Result<Vec<Vec<u8>>, ArchiveError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let (mut from, to) = (vec![BY_DAY], after_prefix(&[BY_DAY]));
    let mut keys = Vec::new();
    // As many days as windows are restated for.
    while let Some((row, _)) = archive.range(Table::Events, &from, &to, 1)?.pop() {
        let day = row.get(..5).unwrap_or(&row).to_vec();
        from = after_prefix(&day);
        for id in ids {
            let prefix = owner_prefix(day.clone(), (serial, Some(*id)));
            let to = after_prefix(&prefix);
            for row in rows(archive, Table::Events, prefix, to, limits::FORGOTTEN_EVENTS_MAX) {
                keys.extend(Some(row?.0).filter(|key| is_key(key)));
            }
        }
    }
    Ok(keys)
}
