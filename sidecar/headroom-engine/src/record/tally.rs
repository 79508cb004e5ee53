//! The bytes of tallies, and the rows that the usage history keeps of them.

use std::sync::Arc;

use headroom_core::effect::Effect;
use headroom_core::limits::{DIMENSIONS_MAX, TALLY_CELLS_MAX};
use headroom_core::names::NameId;
use headroom_core::tally::{Cell, Label, Labels, Tallied, Tally};
use headroom_core::time::Millis;

use crate::codec::{Malformed, Put, Take};
use crate::digest::usage_prefix;
use crate::ports::{ProjectionOp, Seq, Table};

/// Cells that a row can have: what the catalog bounds, and the one of all others.
const CELLS_MAX: usize = TALLY_CELLS_MAX + 1;

fn put_cell(out: &mut Vec<u8>, cell: &Cell) {
    put_labels(out, &cell.labels);
    out.put_i64(cell.units);
}

fn take_cell(from: &mut Take<'_>) -> Result<Cell, Malformed> {
    Ok(Cell { labels: take_labels(from)?, units: from.i64("units")? })
}

pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.put_u64(labels.len() as u64);
    for (name, label) in labels {
        out.put_u64(u64::from(name.0));
        match label {
            Label::Other => out.push(0),
            Label::Text(text) => {
                out.push(1);
                out.put_str(text);
            }
        }
    }
}

pub(crate) fn take_labels(from: &mut Take<'_>) -> Result<Labels, Malformed> {
    let count: usize = from.small("dimensions")?;
    if count > DIMENSIONS_MAX {
        return Err(Malformed { what: "dimensions" });
    }
    let mut labels = Vec::with_capacity(count);
    for _ in 0..count {
        let name = NameId(from.small("dimension")?);
        let label = match from.bool("dimension")? {
            true => Label::Text(Arc::from(from.str("dimension")?)),
            false => Label::Other,
        };
        labels.push((name, label));
    }
    Ok(labels.into())
}

pub(super) fn put_tallied(out: &mut Vec<u8>, tallied: &Tallied) {
    out.put_u64(u64::from(tallied.feature.0));
    out.put_window(tallied.span);
    put_cell(out, &tallied.cell);
}

pub(super) fn take_tallied(from: &mut Take<'_>) -> Result<Effect, Malformed> {
    Ok(Effect::Tally(Box::new(Tallied {
        feature: NameId(from.small("feature")?),
        span: from.window("bucket")?,
        cell: take_cell(from)?,
    })))
}

pub(super) fn put_tally(out: &mut Vec<u8>, tally: &Tally) {
    out.put_u64(u64::from(tally.feature.0));
    out.put_window(tally.span);
    out.put_u64(tally.cells.len() as u64);
    tally.cells.iter().for_each(|cell| put_cell(out, cell));
}

pub(super) fn take_tally(from: &mut Take<'_>) -> Result<Tally, Malformed> {
    let (feature, span) = (NameId(from.small("feature")?), from.window("bucket")?);
    let count: usize = from.small("cells")?;
    if count > CELLS_MAX {
        return Err(Malformed { what: "cells" });
    }
    let cells = (0..count).map(|_| take_cell(from)).collect::<Result<_, _>>()?;
    Ok(Tally { feature, span, cells })
}

/// The row of a part of a bucket. Parts add up: each has a key of its own, by the record that made it
/// and its place in that.
pub(crate) fn digest_tally(
    (seq, serial, place): (Seq, u32, u16),
    tally: &Tally,
    ops: &mut Vec<ProjectionOp>,
) {
    let mut key = tally_key(serial, tally.feature, tally.span.start());
    key.extend_from_slice(&seq.0.to_be_bytes());
    key.extend_from_slice(&place.to_be_bytes());
    let mut value = Vec::new();
    put_tally(&mut value, tally);
    ops.push(ProjectionOp::Put { table: Table::Tallies, key, value });
}

/// What the keys of the rows of a bucket begin with. They sort by its start.
pub fn tally_key(serial: u32, feature: NameId, start: Millis) -> Vec<u8> {
    let mut key = usage_prefix(serial, Some(feature));
    // The sign bit turned, so that instants before 1970 sort first.
    key.extend_from_slice(&(start.0 ^ i64::MIN).to_be_bytes());
    key
}

/// The record that made a row.
pub fn tally_seq(key: &[u8]) -> Option<Seq> {
    Some(Seq(u64::from_be_bytes(key.get(16..24)?.try_into().ok()?)))
}

/// The part of a bucket that a row holds.
pub fn tally_row(value: &[u8]) -> Result<Tally, Malformed> {
    take_tally(&mut Take::new(value))
}
