//! What the projection keeps, read out of journal records: closed windows, signals, and how far each
//! sink has come.

use headroom_core::credits::{CreditsEffect, Segment};
use headroom_core::effect::Effect;
use headroom_core::event::Restated;
use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::signal::Signal;
use headroom_core::stock::Stock;
use headroom_core::time::Millis;

use crate::codec::{Malformed, Put, Take};
use crate::events;
pub use crate::events::usage_row;
use crate::measures;
use crate::ports::{Digest, ProjectionOp, Seq, Table};
use crate::prompts;
pub use crate::record::tally::{tally_key, tally_row, tally_seq};
use crate::record::{self, Record};
use crate::subjects;
use crate::told::put_told;

/// Names a signal for ever: the journal position of its record, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SignalId {
    /// The position of the record.
    pub seq: Seq,
    /// The place among the record's signals, from 0.
    pub place: u16,
}

impl SignalId {
    /// The key of its row; later signals have greater keys.
    pub fn row_key(self) -> Vec<u8> {
        let mut key = self.seq.0.to_be_bytes().to_vec();
        key.extend_from_slice(&self.place.to_be_bytes());
        key
    }

    /// The signal of a row.
    pub fn of_row_key(key: &[u8]) -> Option<SignalId> {
        let (seq, place) = key.split_at_checked(8)?;
        let seq = Seq(u64::from_be_bytes(seq.try_into().ok()?));
        Some(SignalId { seq, place: u16::from_be_bytes(place.try_into().ok()?) })
    }

    /// The next possible one.
    pub fn after(self) -> SignalId {
        match self.place.checked_add(1) {
            Some(place) => SignalId { seq: self.seq, place },
            None => SignalId { seq: Seq(self.seq.0 + 1), place: 0 },
        }
    }
}

impl std::fmt::Display for SignalId {
    /// The id that receivers see: stable over retries and restarts.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sig_{:016x}{:04x}", self.seq.0, self.place)
    }
}

/// Reads journal records for the projection.
#[derive(Debug, Default)]
pub struct RecordDigest;

impl Digest for RecordDigest {
    fn digest(&mut self, seq: Seq, bytes: &[u8], ops: &mut Vec<ProjectionOp>) {
        // A record that recovery could read is readable here; one that it could not stops the start.
        match record::take(bytes) {
            Ok(
                Record::Decided { serial, at, effects, .. } | Record::Noted { serial, at, effects },
            ) => digest_effects((seq, serial, at), &effects, ops),
            Ok(Record::Delivered { sink, seq, place }) => {
                let cursor = SignalId { seq: Seq(seq), place };
                let (table, key) = (Table::Pending, sink.as_bytes().to_vec());
                ops.push(ProjectionOp::Put { table, key, value: cursor.row_key() });
            }
            Ok(Record::Forgotten { rows }) => {
                let rows = rows.into_iter().flat_map(events::rows_of_day_key);
                ops.extend(rows.map(|key| ProjectionOp::Delete { table: Table::Events, key }));
            }
            Ok(Record::Growth { rows, told }) => {
                for (place, (serial, told)) in (0u16..).zip(&told) {
                    let mut value = Vec::new();
                    value.put_u64(u64::from(*serial));
                    put_told(&mut value, told);
                    let (table, key) = (Table::Signals, SignalId { seq, place }.row_key());
                    ops.push(ProjectionOp::Put { table, key, value });
                }
                let table = Table::Growth;
                ops.extend(rows.into_iter().map(|(key, value)| match (key.to_vec(), value) {
                    (key, Some(value)) => ProjectionOp::Put { table, key, value: value.to_vec() },
                    (key, None) => ProjectionOp::Delete { table, key },
                }));
            }
            Ok(_) | Err(Malformed { .. }) => {}
        }
    }
}

fn digest_effects(
    (seq, serial, at): (Seq, u32, Millis),
    effects: &[Effect],
    ops: &mut Vec<ProjectionOp>,
) {
    let (mut place, mut tallies) = (0u16, 0u16);
    for effect in effects {
        match effect {
            Effect::LedgerClosed(ledger, terms) => {
                let mut value = Vec::new();
                record::put_ledger(&mut value, ledger);
                if let Some(terms) = terms {
                    value.push(events::TERMS);
                    record::closing::put_terms(&mut value, terms);
                }
                let key = usage_key(serial, ledger.feature, ledger.limit, ledger.window.start());
                ops.push(ProjectionOp::Put { table: Table::Usage, key, value });
            }
            Effect::Signal(signal) => {
                let mut value = Vec::new();
                value.put_u64(u64::from(serial));
                record::put_signal(&mut value, signal);
                let key = SignalId { seq, place }.row_key();
                ops.push(ProjectionOp::Put { table: Table::Signals, key, value });
                place += 1;
            }
            Effect::StockClosed(stock, terms) => {
                let mut value = Vec::new();
                record::put_ledger(&mut value, &billed(stock));
                value.push(events::STOCK);
                record::put_stock(&mut value, stock);
                if let Some(terms) = terms {
                    record::closing::put_terms(&mut value, terms);
                }
                let key = usage_key(serial, stock.feature, stock.limit, stock.window.start());
                ops.push(ProjectionOp::Put { table: Table::Usage, key, value });
            }
            Effect::Exposure(exposure) => {
                let (key, value) = (
                    prompts::exposure_key(serial, exposure),
                    prompts::exposure_row(serial, exposure),
                );
                ops.push(ProjectionOp::Put { table: Table::Prompts, key, value });
            }
            Effect::Restated(restated) => events::digest_restated(serial, restated, ops),
            Effect::MeasureClosed(closed) => ops.push(measures::kept((serial, None), closed)),
            Effect::Event(event) => {
                events::digest_event((seq, serial, at), event, ops);
                events::digest_passed((seq, serial, at), event, effects, ops);
            }
            Effect::Credits(change) => {
                let CreditsEffect::Segment(pool, segment) = &**change else { continue };
                let mut value = Vec::new();
                record::credits::put_segment(&mut value, segment);
                let key = credits_key(serial, *pool, segment.from);
                ops.push(ProjectionOp::Put { table: Table::Credits, key, value });
            }
            Effect::TallyClosed(tally) | Effect::TallyLate(tally) => {
                record::tally::digest_tally((seq, serial, tallies), tally, ops);
                tallies += 1;
            }
            Effect::Ledger(_)
            | Effect::Tally(_)
            | Effect::Measured(_)
            | Effect::Announced(_)
            | Effect::Ending(_)
            | Effect::Owing(_)
            | Effect::Stock(_)
            | Effect::Seat(_)
            | Effect::SeatFreed(..)
            | Effect::Reservation(_)
            | Effect::ReservationForgotten(_)
            | Effect::Excess(_)
            | Effect::Bucket(_)
            | Effect::BucketForgotten(..)
            | Effect::SubjectForgotten(_)
            | Effect::PlansSeen(_) => {}
            Effect::Subject(id, name) => ops.extend(subjects::named((seq, serial, at), *id, name)),
            Effect::SubjectErased(id, name) => {
                ops.extend(subjects::erased(serial, *id, name));
            }
            Effect::OfSubject(id, effect) => {
                let window = match &**effect {
                    Effect::LedgerClosed(ledger, terms) => {
                        Restated::as_closed(*ledger, terms.as_deref().copied())
                    }
                    Effect::Restated(restated) => **restated,
                    Effect::MeasureClosed(closed) => {
                        ops.push(measures::kept((serial, Some(*id)), closed));
                        continue;
                    }
                    _ => continue,
                };
                ops.push(subjects::closed(serial, *id, &window));
            }
        }
    }
}

/// The row key of a segment of a pool's history. They sort by their start.
pub fn credits_key(serial: u32, pool: NameId, from: Millis) -> Vec<u8> {
    let mut key = usage_prefix(serial, Some(pool));
    // The sign bit turned, so that instants before 1970 sort first.
    key.extend_from_slice(&(from.0 ^ i64::MIN).to_be_bytes());
    key
}

/// The segment of a row.
pub fn credits_row(value: &[u8]) -> Result<Segment, Malformed> {
    record::credits::take_segment(&mut Take::new(value))
}

/// The row key of a closed window. One account's rows lie together, then one feature's.
pub fn usage_key(serial: u32, feature: NameId, limit: NameId, start: Millis) -> Vec<u8> {
    let mut key = usage_prefix(serial, Some(feature));
    key.extend_from_slice(&limit.0.to_be_bytes());
    key.extend_from_slice(&start_key(start));
    key
}

/// An instant in a key: the sign bit turned, so that those before 1970 sort first.
pub(crate) fn start_key(start: Millis) -> [u8; 8] {
    (start.0 ^ i64::MIN).to_be_bytes()
}

/// What the keys of an account's closed windows begin with, or of one feature's.
pub fn usage_prefix(serial: u32, feature: Option<NameId>) -> Vec<u8> {
    let mut key = serial.to_be_bytes().to_vec();
    key.extend(feature.iter().flat_map(|feature| feature.0.to_be_bytes()));
    key
}

/// The first key after all that begin with `prefix`.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end;
        }
        end.pop();
    }
    // Every byte was 255: there is nothing after it but longer keys of the same.
    vec![u8::MAX; prefix.len() + 32]
}

/// The billing window of an allocation as a ledger: what it is measured by is used.
pub fn billed(stock: &Stock) -> Ledger {
    let ledger = Ledger::new(stock.feature, stock.limit, stock.window, 0);
    Ledger { used: stock.billed_units(), ..ledger }
}

/// The account's serial and the signal of a signal's row.
pub fn signal_row(value: &[u8]) -> Result<(u32, Signal), Malformed> {
    let mut from = Take::new(value);
    Ok((from.small("serial")?, record::take_signal(&mut from)?))
}
