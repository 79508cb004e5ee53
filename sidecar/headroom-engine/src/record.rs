//! Journal records: everything that ever changed, each change once, in order.
//!
//! The effects of one decision (counters, idempotency key, reservation, signals) are one record, so a
//! crash can neither lose nor double a part of it. Records hold numbers for accounts and names; a
//! number's meaning is journaled before its first use.

use headroom_core::account::Profile;
use headroom_core::credits::CreditsEffect;
use headroom_core::effect::Effect;
use headroom_core::names::NameId;
use headroom_core::time::Millis;

use crate::codec::{Malformed, Put, Take};
use crate::keys::{KeyHash, Receipt};
use crate::limits;
use crate::ports::GrowthRow;
use crate::told::{Told, put_told, take_told};

pub(crate) mod closing;
pub(crate) mod credits;
mod effect;
pub(crate) mod measure;
mod profile;
mod prompts;
mod receipt;
mod reservation;
mod seat;
mod signal;
mod stock;
mod subjects;
pub(crate) mod tally;

pub(crate) use effect::{
    put_effects, put_ledger, take_bucket, take_effects, take_excess, take_ledger,
};
pub(crate) use profile::{put_profile_body, take_profile_body};
pub(crate) use prompts::{put_exposure, take_exposure};
pub(crate) use receipt::{put_receipt, take_receipt};
pub(crate) use reservation::{put_reservation, take_reservation};
pub(crate) use seat::{put_member, put_seat, take_member, take_seat};
pub(crate) use signal::{put_signal, put_state, take_signal, take_state};
pub(crate) use stock::{put_stock, take_stock};

/// The first byte of a record.
mod kind {
    pub(super) const DECIDED: u8 = 1;
    pub(super) const NOTED: u8 = 2;
    pub(super) const PROFILE: u8 = 3;
    pub(super) const NAME: u8 = 4;
    pub(super) const CATALOG: u8 = 5;
    pub(super) const CLOCK: u8 = 6;
    pub(super) const DELIVERED: u8 = 7;
    pub(super) const FORGOTTEN: u8 = 40;
    pub(super) const GROWTH: u8 = 60;
    pub(super) const CATALOG_CALLED: u8 = 70;
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// An admitted write.
    Decided {
        /// The account.
        serial: u32,
        /// When.
        at: Millis,
        /// Its idempotency key.
        key: KeyHash,
        /// What is remembered to answer a retry.
        receipt: Receipt,
        /// What it changed.
        effects: Vec<Effect>,
    },
    /// Changes that answer nobody: holds that ended, an announced refusal.
    Noted {
        /// The account.
        serial: u32,
        /// When.
        at: Millis,
        /// What changed.
        effects: Vec<Effect>,
    },
    /// An account is new, or its profile is now this.
    Profile {
        /// The account's number.
        serial: u32,
        /// The account's id.
        account: &'a str,
        /// When.
        at: Millis,
        /// The profile.
        profile: Profile,
    },
    /// A name got its number.
    Name {
        /// The number.
        id: NameId,
        /// The name.
        text: &'a str,
    },
    /// A catalog came into force.
    Catalog {
        /// Its number.
        revision: u64,
        /// When.
        at: Millis,
        /// What the file said.
        source: &'a str,
        /// All features that are not called by the text of their number. `None`: as before.
        called: Option<Vec<(NameId, &'a str)>>,
    },
    /// The domain's clock was started or set.
    Clock {
        /// Whether it is a test clock.
        test: bool,
        /// What it showed.
        at: Millis,
    },
    /// A sink confirmed every signal up to and including this one.
    Delivered {
        /// The sink.
        sink: &'a str,
        /// The journal position of the signal's record.
        seq: u64,
        /// The place of the signal in its record.
        place: u16,
    },
    /// Events whose windows cannot be restated any more are forgotten: their rows by day.
    Forgotten {
        /// The keys of those rows.
        rows: Vec<&'a [u8]>,
    },
    /// Rows about growth, as they are now.
    Growth {
        /// Their keys and values; no value: the row is gone.
        rows: Vec<(&'a [u8], Option<&'a [u8]>)>,
        /// Signals that were told, with their accounts' numbers.
        told: Vec<(u32, Told)>,
    },
}

/// Writes an admitted write. Apart from the others because this is the hot road: it borrows all.
#[inline(always)]
pub fn put_decided(
    out: &mut Vec<u8>,
    serial: u32,
    at: Millis,
    key: KeyHash,
    receipt: &Receipt,
    effects: &[Effect],
) {
    out.push(kind::DECIDED);
    out.put_u64(u64::from(serial));
    out.put_millis(at);
    put_key(out, key);
    put_receipt(out, receipt);
    put_effects(out, effects);
}

/// Writes changes that answer nobody.
pub fn put_noted(out: &mut Vec<u8>, serial: u32, at: Millis, effects: &[Effect]) {
    out.push(kind::NOTED);
    out.put_u64(u64::from(serial));
    out.put_millis(at);
    put_effects(out, effects);
}

/// Writes a profile.
pub fn put_profile(out: &mut Vec<u8>, serial: u32, account: &str, at: Millis, profile: &Profile) {
    out.push(kind::PROFILE);
    out.put_u64(u64::from(serial));
    out.put_str(account);
    out.put_millis(at);
    put_profile_body(out, profile);
}

/// Writes a name.
pub fn put_name(out: &mut Vec<u8>, id: NameId, text: &str) {
    out.push(kind::NAME);
    out.put_u64(u64::from(id.0));
    out.put_str(text);
}

/// Writes a catalog, and what features are called from it on that are not called by the text of their
/// number. `None`: none is, nor was before.
pub fn put_catalog(
    out: &mut Vec<u8>,
    revision: u64,
    at: Millis,
    source: &str,
    called: Option<&[(NameId, &str)]>,
) {
    out.push(if called.is_some() { kind::CATALOG_CALLED } else { kind::CATALOG });
    out.put_u64(revision);
    out.put_millis(at);
    out.put_str(source);
    if let Some(called) = called {
        put_called(out, called);
    }
}

pub(crate) fn put_called(out: &mut Vec<u8>, called: &[(NameId, &str)]) {
    out.put_u64(called.len() as u64);
    for (id, text) in called {
        out.put_u64(u64::from(id.0));
        out.put_str(text);
    }
}

pub(crate) fn take_called<'a>(from: &mut Take<'a>) -> Result<Vec<(NameId, &'a str)>, Malformed> {
    let mut called = Vec::new();
    for _ in 0..from.small::<usize>("names of features")? {
        called.push((NameId(from.small("feature")?), from.str("name of a feature")?));
    }
    Ok(called)
}

/// Writes a clock.
pub fn put_clock(out: &mut Vec<u8>, test: bool, at: Millis) {
    out.push(kind::CLOCK);
    out.push(u8::from(test));
    out.put_millis(at);
}

/// Writes a delivery.
pub fn put_delivered(out: &mut Vec<u8>, sink: &str, seq: u64, place: u16) {
    out.push(kind::DELIVERED);
    out.put_str(sink);
    out.put_u64(seq);
    out.put_u64(u64::from(place));
}

/// Writes which events are forgotten.
pub(crate) fn put_forgotten(out: &mut Vec<u8>, rows: &[Vec<u8>]) {
    out.push(kind::FORGOTTEN);
    out.put_u64(rows.len() as u64);
    rows.iter().for_each(|row| out.put_bytes(row));
}

/// Writes rows about growth.
pub(crate) fn put_growth(out: &mut Vec<u8>, rows: &[GrowthRow], told: &[(u32, Told)]) {
    out.push(kind::GROWTH);
    out.put_u64(rows.len() as u64);
    for (key, value) in rows {
        out.put_bytes(key);
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            out.put_bytes(value);
        }
    }
    out.put_u64(told.len() as u64);
    for (serial, told) in told {
        out.put_u64(u64::from(*serial));
        put_told(out, told);
    }
}

fn take_growth<'a>(from: &mut Take<'a>) -> Result<Record<'a>, Malformed> {
    let mut rows = Vec::new();
    for _ in 0..from.small::<usize>("rows")? {
        let key = from.bytes("row key")?;
        let value = if from.bool("row")? { Some(from.bytes("row value")?) } else { None };
        rows.push((key, value));
    }
    let mut told = Vec::new();
    for _ in 0..from.small::<usize>("told signals")? {
        told.push((from.small("serial")?, take_told(from)?));
    }
    Ok(Record::Growth { rows, told })
}

/// Whether the projection must see a record with these effects.
pub fn is_matter(effects: &[Effect]) -> bool {
    use Effect::{
        Credits, Event, Exposure, LedgerClosed, MeasureClosed, OfSubject, Restated, Signal,
        StockClosed, Subject, SubjectErased, TallyClosed, TallyLate,
    };
    let matters = |effect: &Effect| match effect {
        LedgerClosed(..) | StockClosed(..) | Signal(_) | Restated(_) | Event(_) => true,
        Subject(..) | SubjectErased(..) | MeasureClosed(_) => true,
        TallyClosed(_) | TallyLate(_) | Exposure(_) => true,
        Credits(change) => matches!(**change, CreditsEffect::Segment(..)),
        OfSubject(_, change) => {
            matches!(**change, LedgerClosed(..) | Restated(_) | MeasureClosed(_))
        }
        _ => false,
    };
    effects.iter().any(matters)
}

/// Reads a record.
pub fn take(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let mut from = Take::new(bytes);
    let record = match from.u8("record kind")? {
        kind::DECIDED => Record::Decided {
            serial: from.small("serial")?,
            at: from.millis("time")?,
            key: take_key(&mut from)?,
            receipt: take_receipt(&mut from)?,
            effects: take_effects(&mut from)?,
        },
        kind::NOTED => Record::Noted {
            serial: from.small("serial")?,
            at: from.millis("time")?,
            effects: take_effects(&mut from)?,
        },
        kind::PROFILE => Record::Profile {
            serial: take_serial(&mut from)?,
            account: from.str("account")?,
            at: from.millis("time")?,
            profile: take_profile_body(&mut from)?,
        },
        kind::NAME => {
            Record::Name { id: NameId(from.small("name number")?), text: from.str("name")? }
        }
        kind @ (kind::CATALOG | kind::CATALOG_CALLED) => Record::Catalog {
            revision: from.u64("catalog revision")?,
            at: from.millis("time")?,
            source: from.str("catalog")?,
            called: match kind {
                kind::CATALOG => None,
                _ => Some(take_called(&mut from)?),
            },
        },
        kind::CLOCK => Record::Clock { test: from.bool("clock kind")?, at: from.millis("time")? },
        kind::DELIVERED => Record::Delivered {
            sink: from.str("sink")?,
            seq: from.u64("signal position")?,
            place: from.small("signal place")?,
        },
        kind::FORGOTTEN => {
            let mut rows = Vec::new();
            for _ in 0..from.small::<usize>("forgotten events")? {
                rows.push(from.bytes("forgotten event")?);
            }
            Record::Forgotten { rows }
        }
        kind::GROWTH => take_growth(&mut from)?,
        _ => return Err(Malformed { what: "record kind" }),
    };
    if from.is_done() { Ok(record) } else { Err(Malformed { what: "end of record" }) }
}

/// The number of an account that is being introduced. Bounded, because a table is made as long as the
/// greatest one.
pub(crate) fn take_serial(from: &mut Take<'_>) -> Result<u32, Malformed> {
    let serial: u32 = from.small("serial")?;
    if serial as usize >= limits::ACCOUNTS_MAX {
        return Err(Malformed { what: "serial" });
    }
    Ok(serial)
}

pub(crate) fn put_key(out: &mut Vec<u8>, key: KeyHash) {
    out.extend_from_slice(&key.0[0].to_le_bytes());
    out.extend_from_slice(&key.0[1].to_le_bytes());
}

pub(crate) fn take_key(from: &mut Take<'_>) -> Result<KeyHash, Malformed> {
    Ok(KeyHash([from.fixed_u64("key hash")?, from.fixed_u64("key hash")?]))
}
