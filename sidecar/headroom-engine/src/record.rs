//! Journal records: everything that ever changed, each change once, in order.
//!
//! The effects of one decision (counters, idempotency key, reservation, signals) are one record, so a
//! crash can neither lose nor double a part of it. Records hold numbers for accounts and names; a
//! number's meaning is journaled before its first use.

use headroom_core::account::{
    AddOn, Override, OverrideValue, PastPlan, Profile, ProfileExtra, ScheduledPlan, Trial, Zone,
};
use headroom_core::announced::Announced;
use headroom_core::catalog::RateSpec;
use headroom_core::credits::CreditsEffect;
use headroom_core::decision::{Amounts, Verdict};
use headroom_core::effect::Effect;
use headroom_core::ending::Ending;
use headroom_core::ledger::{Ledger, Marks};
use headroom_core::names::NameId;
use headroom_core::policy::Excess;
use headroom_core::rate::{Bucket, Rate};
use headroom_core::reservation::{
    OnExpiry, Reservation, ReservationExtra, ReservationId, ReservationState,
};
use headroom_core::signal::{Foretold, Signal, SignalName, SignalState, TrialEnds};
use headroom_core::time::Millis;
use smallvec::SmallVec;

use crate::codec::{Malformed, Put, Take};
use crate::events;
use crate::keys::{Done, KeyHash, Receipt};
use crate::limits;
use crate::ports::GrowthRow;
use crate::told::{Told, put_told, take_told};

pub(crate) mod credits;
mod measure;
mod prompts;
mod seat;
mod stock;
mod subjects;
pub(crate) mod tally;

pub(crate) use prompts::{put_exposure, take_exposure};
pub(crate) use seat::{put_member, put_seat, take_member, take_seat};
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

/// Writes a catalog.
pub fn put_catalog(out: &mut Vec<u8>, revision: u64, at: Millis, source: &str) {
    out.push(kind::CATALOG);
    out.put_u64(revision);
    out.put_millis(at);
    out.put_str(source);
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
        Credits, Event, Exposure, LedgerClosed, OfSubject, Restated, Signal, StockClosed, Subject,
        SubjectErased, TallyClosed, TallyLate,
    };
    let matters = |effect: &Effect| match effect {
        LedgerClosed(_) | StockClosed(_) | Signal(_) | Restated(_) | Event(_) => true,
        Subject(..) | SubjectErased(..) => true,
        TallyClosed(_) | TallyLate(_) | Exposure(_) => true,
        Credits(change) => matches!(**change, CreditsEffect::Segment(..)),
        OfSubject(_, change) => matches!(**change, LedgerClosed(_)),
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
        kind::CATALOG => Record::Catalog {
            revision: from.u64("catalog revision")?,
            at: from.millis("time")?,
            source: from.str("catalog")?,
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

/// Bits of the last byte of what a write did.
mod flags {
    pub(super) const LATE: u8 = 1;
    pub(super) const LOWERED: u8 = 2;
    pub(super) const CLAMPED: u8 = 4;
}

pub(crate) fn put_receipt(out: &mut Vec<u8>, receipt: &Receipt) {
    out.extend_from_slice(&receipt.payload.to_le_bytes());
    out.push(match receipt.verdict {
        Verdict::Allowed => 0,
        Verdict::SoftLimit => 1,
        Verdict::Grace => 2,
        Verdict::Overage => 3,
        // A refusal is never remembered; the byte is refused when read.
        Verdict::Denied(_) => u8::MAX,
    });
    out.put_u64(u64::from(receipt.feature.0));
    out.put_u64(u64::from(receipt.binding.0));
    match &receipt.done {
        None => out.push(0),
        Some(done) if !done.parts.is_empty() => {
            out.push(3);
            out.put_u64(done.parts.len() as u64);
            done.parts.iter().for_each(|part| put_receipt(out, part));
        }
        Some(done) => {
            let amounts = &done.amounts;
            out.push(if done.charge.is_some() { 2 } else { 1 });
            out.put_option(amounts.reservation.map(|id| id.0));
            out.put_millis(amounts.expires_at.unwrap_or(Millis(i64::MIN)));
            out.put_u64(amounts.units);
            out.put_u64(amounts.surplus_units);
            out.put_u64(amounts.debt_units);
            let flag = |bit: u8, is_set: bool| if is_set { bit } else { 0 };
            out.push(
                flag(flags::LATE, amounts.late)
                    | flag(flags::LOWERED, amounts.lowered)
                    | flag(flags::CLAMPED, amounts.clamped),
            );
            if let Some(charge) = &done.charge {
                credits::put_charge(out, charge);
            }
        }
    }
}

pub(crate) fn take_receipt(from: &mut Take<'_>) -> Result<Receipt, Malformed> {
    take_receipt_of(from, false)
}

/// `is_part`: of a write for several features one receipt, which has no parts of its own.
fn take_receipt_of(from: &mut Take<'_>, is_part: bool) -> Result<Receipt, Malformed> {
    let payload = from.fixed_u64("payload hash")?;
    let verdict = match from.u8("verdict")? {
        0 => Verdict::Allowed,
        1 => Verdict::SoftLimit,
        2 => Verdict::Grace,
        3 => Verdict::Overage,
        _ => return Err(Malformed { what: "verdict" }),
    };
    let feature = NameId(from.small("feature")?);
    let binding = NameId(from.small("limit")?);
    let parts = from.u8("amounts")?;
    if parts > 3 || is_part && parts == 3 {
        return Err(Malformed { what: "amounts" });
    }
    let done = if parts == 3 {
        let count = from.u64("parts")?;
        let part = |_| take_receipt_of(from, true);
        let whole = Done::of(Amounts::default(), None);
        let parts = (0..count).map(part).collect::<Result<Box<[_]>, _>>()?;
        if parts.is_empty() {
            return Err(Malformed { what: "parts" });
        }
        Some(Box::new(Done { parts, ..whole }))
    } else if parts > 0 {
        let mut amounts = Amounts {
            reservation: from.option("reservation")?.map(ReservationId),
            expires_at: Some(from.millis("expiry")?).filter(|at| at.0 != i64::MIN),
            units: from.u64("units")?,
            surplus_units: from.u64("surplus")?,
            debt_units: from.u64("debt")?,
            ..Amounts::default()
        };
        let bits = from.u8("late")?;
        if bits & !(flags::LATE | flags::LOWERED | flags::CLAMPED) != 0 {
            return Err(Malformed { what: "late" });
        }
        amounts.late = bits & flags::LATE != 0;
        amounts.lowered = bits & flags::LOWERED != 0;
        amounts.clamped = bits & flags::CLAMPED != 0;
        let charge = if parts == 2 { Some(credits::take_charge(from)?) } else { None };
        Some(Box::new(Done::of(amounts, charge.as_ref())))
    } else {
        None
    };
    Ok(Receipt { payload, verdict, feature, binding, done })
}

mod effect_kind {
    pub(super) const LEDGER: u8 = 1;
    pub(super) const LEDGER_CLOSED: u8 = 2;
    pub(super) const RESERVATION: u8 = 3;
    pub(super) const RESERVATION_FORGOTTEN: u8 = 4;
    pub(super) const SIGNAL: u8 = 5;
    pub(super) const EXCESS: u8 = 6;
    pub(super) const BUCKET: u8 = 7;
    pub(super) const BUCKET_FORGOTTEN: u8 = 8;
    pub(super) const PLANS_SEEN: u8 = 42;
    pub(super) const STOCK: u8 = 10;
    pub(super) const STOCK_CLOSED: u8 = 11;
    pub(super) const RESTATED: u8 = 40;
    pub(super) const EVENT: u8 = 41;
    pub(super) const POOL: u8 = 20;
    pub(super) const GRANT: u8 = 21;
    pub(super) const GRANT_ENDED: u8 = 22;
    pub(super) const SEGMENT: u8 = 23;
    pub(super) const SEAT: u8 = 12;
    pub(super) const SEAT_FREED: u8 = 13;
    pub(super) const SUBJECT: u8 = 30;
    pub(super) const OF_SUBJECT: u8 = 31;
    pub(super) const SUBJECT_FORGOTTEN: u8 = 32;
    pub(super) const SUBJECT_ERASED: u8 = 33;
    pub(super) const TALLY: u8 = 60;
    pub(super) const TALLY_CLOSED: u8 = 61;
    pub(super) const TALLY_LATE: u8 = 62;
    pub(super) const EVENT_WITH_DIMENSIONS: u8 = 63;
    pub(super) const MEASURED: u8 = 64;
    pub(super) const EVENT_PAID: u8 = 66;
    pub(super) const EXPOSURE: u8 = 80;
    pub(super) const ANNOUNCED: u8 = 65;
    pub(super) const ENDING: u8 = 100;
}

/// Writes a list of effects.
pub(crate) fn put_effects(out: &mut Vec<u8>, effects: &[Effect]) {
    out.put_u64(effects.len() as u64);
    for effect in effects {
        match effect {
            Effect::Ledger(ledger) => {
                out.push(effect_kind::LEDGER);
                put_ledger(out, ledger);
            }
            Effect::LedgerClosed(ledger) => {
                out.push(effect_kind::LEDGER_CLOSED);
                put_ledger(out, ledger);
            }
            Effect::Reservation(reservation) => {
                out.push(effect_kind::RESERVATION);
                put_reservation(out, reservation);
            }
            Effect::ReservationForgotten(id) => {
                out.push(effect_kind::RESERVATION_FORGOTTEN);
                out.put_u64(id.0);
            }
            Effect::PlansSeen(at) => {
                out.push(effect_kind::PLANS_SEEN);
                out.put_millis(*at);
            }
            Effect::Signal(signal) => {
                out.push(effect_kind::SIGNAL);
                put_signal(out, signal);
            }
            Effect::Excess(excess) => {
                out.push(effect_kind::EXCESS);
                put_excess(out, excess);
            }
            Effect::Bucket(bucket) => {
                out.push(effect_kind::BUCKET);
                put_bucket(out, bucket);
            }
            Effect::BucketForgotten(feature, limit) => {
                out.push(effect_kind::BUCKET_FORGOTTEN);
                out.put_u64(u64::from(feature.0));
                out.put_u64(u64::from(limit.0));
            }
            Effect::Stock(stock) => {
                out.push(effect_kind::STOCK);
                put_stock(out, stock);
            }
            Effect::StockClosed(stock) => {
                out.push(effect_kind::STOCK_CLOSED);
                put_stock(out, stock);
            }
            Effect::Restated(restated) => {
                out.push(effect_kind::RESTATED);
                events::put_restated(out, restated);
            }
            Effect::Event(event) if event.state.paid.is_some() || event.charge.is_some() => {
                out.push(effect_kind::EVENT_PAID);
                events::put_event(out, event);
                tally::put_labels(out, &event.state.labels);
                let (paid, charge) = (event.state.paid.as_deref(), event.charge.as_deref());
                credits::put_paid(out, paid, charge);
            }
            Effect::Event(event) if event.state.labels.is_empty() => {
                out.push(effect_kind::EVENT);
                events::put_event(out, event);
            }
            Effect::Event(event) => {
                out.push(effect_kind::EVENT_WITH_DIMENSIONS);
                events::put_event(out, event);
                tally::put_labels(out, &event.state.labels);
            }
            Effect::Credits(change) => {
                out.push(match **change {
                    CreditsEffect::Pool(_) => effect_kind::POOL,
                    CreditsEffect::Grant(..) => effect_kind::GRANT,
                    CreditsEffect::GrantEnded(..) => effect_kind::GRANT_ENDED,
                    CreditsEffect::Segment(..) => effect_kind::SEGMENT,
                });
                credits::put_change(out, change);
            }
            Effect::Seat(seat) => {
                out.push(effect_kind::SEAT);
                put_seat(out, seat);
            }
            Effect::SeatFreed(feature, member) => {
                out.push(effect_kind::SEAT_FREED);
                put_member(out, *feature, member);
            }
            Effect::Subject(id, name) => {
                subjects::put_named(out, effect_kind::SUBJECT, *id, name);
            }
            Effect::OfSubject(id, change) => subjects::put_change(out, *id, change),
            Effect::SubjectForgotten(id) => {
                subjects::put_id(out, effect_kind::SUBJECT_FORGOTTEN, *id);
            }
            Effect::SubjectErased(id, name) => {
                subjects::put_named(out, effect_kind::SUBJECT_ERASED, *id, name);
            }
            Effect::Exposure(exposure) => {
                out.push(effect_kind::EXPOSURE);
                put_exposure(out, exposure);
            }
            Effect::Tally(tallied) => {
                out.push(effect_kind::TALLY);
                tally::put_tallied(out, tallied);
            }
            Effect::TallyClosed(tally) => {
                out.push(effect_kind::TALLY_CLOSED);
                tally::put_tally(out, tally);
            }
            Effect::TallyLate(tally) => {
                out.push(effect_kind::TALLY_LATE);
                tally::put_tally(out, tally);
            }
            Effect::Ending(one) => {
                out.push(effect_kind::ENDING);
                put_ending(out, one);
            }
            Effect::Announced(told) => {
                out.push(effect_kind::ANNOUNCED);
                put_announced(out, told);
            }
            Effect::Measured(measured) => {
                out.push(effect_kind::MEASURED);
                measure::put_measured(out, measured);
            }
        }
    }
}

/// Reads a list of effects.
pub(crate) fn take_effects(from: &mut Take<'_>) -> Result<Vec<Effect>, Malformed> {
    let count: usize = from.small("effects")?;
    // Not `with_capacity(count)`: damaged bytes must not allocate what they like.
    let mut effects = Vec::new();
    for _ in 0..count {
        let kind = from.u8("effect kind")?;
        effects.push(match kind {
            effect_kind::LEDGER => Effect::Ledger(take_ledger(from)?),
            effect_kind::LEDGER_CLOSED => Effect::LedgerClosed(take_ledger(from)?),
            effect_kind::RESERVATION => Effect::Reservation(take_reservation(from)?),
            effect_kind::RESERVATION_FORGOTTEN => {
                Effect::ReservationForgotten(ReservationId(from.u64("reservation")?))
            }
            effect_kind::EXCESS => Effect::Excess(Box::new(take_excess(from)?)),
            effect_kind::PLANS_SEEN => Effect::PlansSeen(from.millis("changes seen")?),
            effect_kind::SIGNAL => Effect::Signal(Box::new(take_signal(from)?)),
            effect_kind::BUCKET => Effect::Bucket(take_bucket(from)?),
            effect_kind::POOL => credits::take_pool(from)?,
            effect_kind::GRANT => credits::take_grant(from, false)?,
            effect_kind::GRANT_ENDED => credits::take_grant(from, true)?,
            effect_kind::SEGMENT => credits::take_closed_segment(from)?,
            effect_kind::BUCKET_FORGOTTEN => Effect::BucketForgotten(
                NameId(from.small("feature")?),
                NameId(from.small("limit")?),
            ),
            effect_kind::STOCK => Effect::Stock(Box::new(take_stock(from)?)),
            effect_kind::STOCK_CLOSED => Effect::StockClosed(Box::new(take_stock(from)?)),
            effect_kind::RESTATED => Effect::Restated(Box::new(events::take_restated(from)?)),
            effect_kind::EVENT => Effect::Event(Box::new(events::take_event(from)?)),
            effect_kind::EXPOSURE => Effect::Exposure(Box::new(take_exposure(from)?)),
            effect_kind::TALLY => tally::take_tallied(from)?,
            effect_kind::TALLY_CLOSED => Effect::TallyClosed(Box::new(tally::take_tally(from)?)),
            effect_kind::TALLY_LATE => Effect::TallyLate(Box::new(tally::take_tally(from)?)),
            effect_kind::MEASURED => measure::take_measured(from)?,
            effect_kind::ANNOUNCED => Effect::Announced(Box::new(take_announced(from)?)),
            effect_kind::ENDING => Effect::Ending(Box::new(take_ending(from)?)),
            effect_kind::EVENT_WITH_DIMENSIONS => {
                let mut event = events::take_event(from)?;
                event.state.labels = tally::take_labels(from)?;
                Effect::Event(Box::new(event))
            }
            effect_kind::EVENT_PAID => {
                let mut event = events::take_event(from)?;
                event.state.labels = tally::take_labels(from)?;
                (event.state.paid, event.charge) = credits::take_paid(from)?;
                Effect::Event(Box::new(event))
            }
            effect_kind::SEAT => Effect::Seat(Box::new(take_seat(from)?)),
            effect_kind::SEAT_FREED => {
                let (feature, member) = take_member(from)?;
                Effect::SeatFreed(feature, member)
            }
            effect_kind::SUBJECT..=effect_kind::SUBJECT_ERASED => subjects::take(from, kind)?,
            _ => return Err(Malformed { what: "effect kind" }),
        });
    }
    Ok(effects)
}

pub(crate) fn put_ledger(out: &mut Vec<u8>, ledger: &Ledger) {
    out.put_u64(u64::from(ledger.feature.0));
    out.put_u64(u64::from(ledger.limit.0));
    out.put_window(ledger.window);
    out.put_u64(ledger.used);
    out.put_u64(ledger.reserved);
    out.put_u64(ledger.debt);
    out.put_u64(u64::from(ledger.holds));
    out.extend_from_slice(&ledger.limit_mark.to_le_bytes());
    out.put_u64(u64::from(ledger.limit_revision));
    out.extend_from_slice(&ledger.marks.0.to_le_bytes());
}

pub(crate) fn take_ledger(from: &mut Take<'_>) -> Result<Ledger, Malformed> {
    let array = |bytes: &[u8]| -> [u8; 4] { [bytes[0], bytes[1], bytes[2], bytes[3]] };
    Ok(Ledger {
        feature: NameId(from.small("feature")?),
        limit: NameId(from.small("limit")?),
        window: from.window("window")?,
        used: from.u64("used")?,
        reserved: from.u64("reserved")?,
        debt: from.u64("debt")?,
        holds: from.small("holds")?,
        limit_mark: u32::from_le_bytes(array(from.exactly(4, "limit mark")?)),
        limit_revision: from.small("limit revision")?,
        marks: {
            let bytes = from.exactly(2, "marks")?;
            Marks(u16::from_le_bytes([bytes[0], bytes[1]]))
        },
    })
}

pub(crate) fn put_bucket(out: &mut Vec<u8>, bucket: &Bucket) {
    out.put_u64(u64::from(bucket.feature.0));
    out.put_u64(u64::from(bucket.limit.0));
    out.put_millis(bucket.used_at);
    out.put_u64(bucket.missing_units);
    out.put_u64(bucket.missing_parts);
    out.put_u64(bucket.units);
    out.put_u64(bucket.period_ms);
    out.push(u8::from(bucket.announced_at.is_some()));
    if let Some(at) = bucket.announced_at {
        out.put_millis(at);
    }
}

pub(crate) fn take_bucket(from: &mut Take<'_>) -> Result<Bucket, Malformed> {
    let bucket = Bucket {
        feature: NameId(from.small("feature")?),
        limit: NameId(from.small("limit")?),
        used_at: from.millis("use of a bucket")?,
        missing_units: from.u64("missing units")?,
        missing_parts: from.u64("missing units")?,
        units: from.u64("rate")?,
        period_ms: from.u64("rate period")?,
        announced_at: match from.bool("announcement")? {
            true => Some(from.millis("announcement")?),
            false => None,
        },
    };
    // What divides must not be 0.
    if bucket.units == 0 || bucket.period_ms <= bucket.missing_parts {
        return Err(Malformed { what: "rate" });
    }
    Ok(bucket)
}

/// An override's rate: 0, or 1 and its numbers.
fn put_rate(out: &mut Vec<u8>, rate: Option<Rate>) {
    out.push(u8::from(rate.is_some()));
    if let Some(rate) = rate {
        out.put_u64(rate.units());
        out.put_i64(rate.period_ms());
        out.put_u64(rate.burst_units());
    }
}

fn take_rate(from: &mut Take<'_>) -> Result<Option<Rate>, Malformed> {
    if !from.bool("rate")? {
        return Ok(None);
    }
    let spec = RateSpec {
        units: from.u64("rate")?,
        period_ms: from.i64("rate period")?,
        burst_units: from.u64("burst")?,
    };
    Rate::new(spec).ok_or(Malformed { what: "rate" }).map(Some)
}

/// A bit beside the state of a reservation: the credits that it holds follow what few have.
const HOLDS_CREDITS: u8 = 128;

/// A bit beside the state of a reservation: the levels that hold it follow all that.
const AT_LEVELS: u8 = 32;

pub(crate) fn put_reservation(out: &mut Vec<u8>, reservation: &Reservation) {
    out.put_u64(reservation.id.0);
    out.put_u64(u64::from(reservation.feature.0));
    out.put_u64(reservation.units);
    out.put_millis(reservation.expires_at);
    out.put_millis(reservation.next_event_at);
    let credits = reservation.extra().credits;
    let extra = if reservation.extra.is_some() { EXTRA } else { 0 };
    let extra = extra | if credits.is_some() { HOLDS_CREDITS } else { 0 };
    let has_levels = reservation.extra.as_ref().is_some_and(|extra| !extra.levels.is_empty());
    let extra = extra | if has_levels { AT_LEVELS } else { 0 };
    match reservation.state {
        ReservationState::Open => out.push(extra),
        ReservationState::Expired => out.push(1 | extra),
        ReservationState::Committed { units } => {
            out.push(2 | extra);
            out.put_u64(units);
        }
        ReservationState::Released => out.push(3 | extra),
    }
    out.put_u64(reservation.ledgers.len() as u64);
    for (limit, start) in &reservation.ledgers {
        out.put_u64(u64::from(limit.0));
        out.put_millis(*start);
    }
    if let Some(extra) = &reservation.extra {
        out.push(u8::from(extra.on_expiry == OnExpiry::Charge));
        out.put_u64(extra.booked_units);
        out.put_u64(extra.charged_units);
    }
    if let Some(credits) = credits {
        credits::put_hold(out, credits);
    }
    if has_levels {
        subjects::put_levels(out, &reservation.extra().levels);
    }
}

/// A bit beside the state of a reservation: what few have follows its ledgers.
const EXTRA: u8 = 16;

pub(crate) fn take_reservation(from: &mut Take<'_>) -> Result<Reservation, Malformed> {
    let id = ReservationId(from.u64("reservation")?);
    let feature = NameId(from.small("feature")?);
    let units = from.u64("units")?;
    let expires_at = from.millis("expiry")?;
    let next_event_at = from.millis("next event")?;
    let flags = from.u8("reservation state")?;
    let state = match flags & !(EXTRA | HOLDS_CREDITS | AT_LEVELS) {
        0 => ReservationState::Open,
        1 => ReservationState::Expired,
        2 => ReservationState::Committed { units: from.u64("units")? },
        3 => ReservationState::Released,
        _ => return Err(Malformed { what: "reservation state" }),
    };
    let count: usize = from.small("ledgers")?;
    let mut ledgers = SmallVec::new();
    for _ in 0..count {
        ledgers.push((NameId(from.small("limit")?), from.millis("window start")?));
    }
    let mut held =
        Reservation { id, feature, units, expires_at, next_event_at, state, ledgers, extra: None };
    if flags & EXTRA != 0 {
        held.set_extra(ReservationExtra {
            on_expiry: if from.bool("expiry")? { OnExpiry::Charge } else { OnExpiry::Release },
            booked_units: from.u64("booked units")?,
            charged_units: from.u64("charged units")?,
            credits: None,
            levels: Vec::new(),
        });
    }
    if flags & HOLDS_CREDITS != 0 {
        let credits = Some(credits::take_hold(from)?);
        held.set_extra(ReservationExtra { credits, ..held.extra() });
    }
    if flags & AT_LEVELS != 0 {
        let levels = subjects::take_levels(from)?;
        held.set_extra(ReservationExtra { levels, ..held.extra() });
    }
    Ok(held)
}

pub(crate) fn put_excess(out: &mut Vec<u8>, excess: &Excess) {
    out.put_u64(u64::from(excess.feature.0));
    out.put_u64(u64::from(excess.limit.0));
    out.put_millis(excess.window_start);
    out.put_u64(u64::from(excess.limit_revision));
    out.put_millis(excess.started_at);
    out.put_millis(excess.ends_at);
    out.put_millis(excess.notice_at);
    out.put_u64(excess.graces.len() as u64);
    for (start, began) in &excess.graces {
        out.put_millis(*start);
        out.put_millis(*began);
    }
}

pub(crate) fn take_excess(from: &mut Take<'_>) -> Result<Excess, Malformed> {
    let mut excess = Excess {
        feature: NameId(from.small("feature")?),
        limit: NameId(from.small("limit")?),
        window_start: from.millis("window start")?,
        limit_revision: from.small("limit revision")?,
        started_at: from.millis("beginning")?,
        ends_at: from.millis("end of grace")?,
        notice_at: from.millis("notice")?,
        graces: Vec::new(),
    };
    for _ in 0..from.small::<usize>("graces")? {
        excess.graces.push((from.millis("window start")?, from.millis("beginning")?));
    }
    Ok(excess)
}

fn put_signal_name(out: &mut Vec<u8>, name: SignalName) {
    out.push(match name {
        SignalName::UsageCeiling => 0,
        SignalName::FeatureLimitHit => 1,
        SignalName::GraceStarted => 2,
        SignalName::GraceEnding => 3,
        SignalName::OverageStarted => 4,
        SignalName::ApiTierExceeded => 5,
        SignalName::SeatThreshold90pct => 10,
        SignalName::SeatsNearlyFull => 11,
        SignalName::ProjectedExhaustion => 12,
        SignalName::PremiumFeatureAttempted => 60,
        SignalName::TeamInviteSent => 61,
        SignalName::OverageCapNear => 62,
        SignalName::CreditsLow => 63,
        SignalName::CreditsDepleted => 64,
        SignalName::TrialEnding => 100,
        SignalName::UnlockEarned => 101,
    });
}

fn put_ending(out: &mut Vec<u8>, one: &Ending) {
    out.put_u64(u64::from(one.feature.0));
    out.put_millis(one.began_at);
    out.put_millis(one.ends_at);
    out.put_u64(u64::from(one.days));
}

fn take_ending(from: &mut Take<'_>) -> Result<Ending, Malformed> {
    Ok(Ending {
        feature: NameId(from.small("feature")?),
        began_at: from.millis("beginning")?,
        ends_at: from.millis("end")?,
        days: from.small("days")?,
    })
}

fn put_announced(out: &mut Vec<u8>, told: &Announced) {
    put_signal_name(out, told.name);
    out.put_u64(u64::from(told.feature.0));
    out.put_u64(u64::from(told.limit.0));
    out.put_millis(told.of);
    out.put_u64(u64::from(told.limit_revision));
}

fn take_announced(from: &mut Take<'_>) -> Result<Announced, Malformed> {
    Ok(Announced {
        name: take_signal_name(from)?,
        feature: NameId(from.small("feature")?),
        limit: NameId(from.small("limit")?),
        of: from.millis("time")?,
        limit_revision: from.small("limit revision")?,
    })
}

pub(crate) fn put_signal(out: &mut Vec<u8>, signal: &Signal) {
    put_signal_name(out, signal.name);
    out.put_u64(u64::from(signal.feature.0));
    out.put_u64(u64::from(signal.limit.0));
    out.put_window(signal.window);
    out.put_u64(u64::from(signal.limit_revision));
    out.put_u64(signal.crossed_bp.len() as u64);
    for bp in &signal.crossed_bp {
        out.put_u64(u64::from(*bp));
    }
    out.put_u64(signal.previous_units);
    out.put_u64(signal.current_units);
    out.put_u64(signal.included_units);
    out.put_u64(signal.refused_units);
    put_state(out, signal.previous_state);
    put_state(out, signal.state);
    out.put_millis(signal.at);
    // The names that were there before have no such field, on disk as in meaning.
    if is_of_grace(signal.name) {
        out.put_millis(signal.grace_until.unwrap_or(Millis::FOREVER));
    }
    if let Some(foretold) = &signal.foretold {
        out.put_u64(u64::from(foretold.days));
        out.put_u64(u64::from(foretold.probability_bp));
        out.put_millis(foretold.at);
        out.put_millis(foretold.from);
        out.put_millis(foretold.to.unwrap_or(Millis::FOREVER));
    }
    if let Some(trial) = &signal.trial {
        out.put_u64(u64::from(trial.plan.0));
        out.put_u64(u64::from(trial.days));
    }
    if let Some(feature) = signal.earned_by {
        out.put_u64(u64::from(feature.0));
    }
}

fn take_signal_name(from: &mut Take<'_>) -> Result<SignalName, Malformed> {
    Ok(match from.u8("signal name")? {
        0 => SignalName::UsageCeiling,
        1 => SignalName::FeatureLimitHit,
        2 => SignalName::GraceStarted,
        3 => SignalName::GraceEnding,
        4 => SignalName::OverageStarted,
        5 => SignalName::ApiTierExceeded,
        10 => SignalName::SeatThreshold90pct,
        11 => SignalName::SeatsNearlyFull,
        12 => SignalName::ProjectedExhaustion,
        60 => SignalName::PremiumFeatureAttempted,
        61 => SignalName::TeamInviteSent,
        62 => SignalName::OverageCapNear,
        63 => SignalName::CreditsLow,
        64 => SignalName::CreditsDepleted,
        100 => SignalName::TrialEnding,
        101 => SignalName::UnlockEarned,
        _ => return Err(Malformed { what: "signal name" }),
    })
}

pub(crate) fn take_signal(from: &mut Take<'_>) -> Result<Signal, Malformed> {
    let name = take_signal_name(from)?;
    Ok(Signal {
        name,
        feature: NameId(from.small("feature")?),
        limit: NameId(from.small("limit")?),
        window: from.window("window")?,
        limit_revision: from.small("limit revision")?,
        crossed_bp: {
            let count: usize = from.small("thresholds")?;
            let mut crossed = SmallVec::new();
            for _ in 0..count {
                crossed.push(from.small("threshold")?);
            }
            crossed
        },
        previous_units: from.u64("previous units")?,
        current_units: from.u64("current units")?,
        included_units: from.u64("included units")?,
        refused_units: from.u64("refused units")?,
        previous_state: take_state(from)?,
        state: take_state(from)?,
        at: from.millis("time")?,
        grace_until: if is_of_grace(name) {
            Some(from.millis("end of grace")?).filter(|at| *at != Millis::FOREVER)
        } else {
            None
        },
        foretold: if name == SignalName::ProjectedExhaustion {
            Some(take_foretold(from)?)
        } else {
            None
        },
        trial: if name == SignalName::TrialEnding {
            let plan = NameId(from.small("plan")?);
            Some(TrialEnds { plan, days: from.small("days")? })
        } else {
            None
        },
        earned_by: if name == SignalName::UnlockEarned {
            Some(NameId(from.small("feature")?))
        } else {
            None
        },
    })
}

fn take_foretold(from: &mut Take<'_>) -> Result<Foretold, Malformed> {
    Ok(Foretold {
        days: from.small("horizon")?,
        probability_bp: from.small("probability")?,
        at: from.millis("projected time")?,
        from: from.millis("projected time")?,
        to: Some(from.millis("projected time")?).filter(|at| *at != Millis::FOREVER),
    })
}

fn is_of_grace(name: SignalName) -> bool {
    matches!(name, SignalName::GraceStarted | SignalName::GraceEnding)
}

pub(crate) fn put_state(out: &mut Vec<u8>, state: SignalState) {
    out.push(match state {
        SignalState::Ok => 0,
        SignalState::Warning => 1,
        SignalState::Alarm => 2,
    });
}

pub(crate) fn take_state(from: &mut Take<'_>) -> Result<SignalState, Malformed> {
    match from.u8("signal state")? {
        0 => Ok(SignalState::Ok),
        1 => Ok(SignalState::Warning),
        2 => Ok(SignalState::Alarm),
        _ => Err(Malformed { what: "signal state" }),
    }
}

pub(crate) fn put_profile_body(out: &mut Vec<u8>, profile: &Profile) {
    let has_more = has_more(profile);
    out.put_u64(u64::from(profile.plan.0));
    let has_changes = profile.extra.as_deref().is_some_and(has_changes);
    let with = |part: u8, is_there: bool| if is_there { part } else { 0 };
    let cohorts = profile.cohorts();
    let parts =
        with(MORE, has_more) | with(CHANGES, has_changes) | with(COHORTS, !cohorts.is_empty());
    out.push(u8::from(profile.by_default) | parts);
    out.push(u8::from(profile.suspended));
    out.put_millis(profile.anchor);
    out.put_millis(profile.ends_at);
    out.put_millis(profile.created_at);
    out.put_str(profile.zone.as_ref().map_or("", |zone| zone.name()));
    out.put_u64(profile.overrides().len() as u64);
    for value in profile.overrides() {
        put_override(out, value);
    }
    out.put_u64(profile.facts().len() as u64);
    for (name, value) in profile.facts() {
        out.put_str(name);
        out.put_str(value);
    }
    if has_more {
        put_more(out, profile);
    }
    if has_changes {
        put_changes(out, profile);
    }
    if !cohorts.is_empty() {
        out.put_u64(cohorts.len() as u64);
        cohorts.iter().for_each(|cohort| out.put_str(cohort));
    }
}

/// A bit beside `by_default`: what follows the facts. Profiles without it are written as they were
/// before there was more.
const MORE: u8 = 2;

/// A bit more: the plans of before, and which changes were seen.
const CHANGES: u8 = 4;

/// A bit more: the cohorts it is in.
const COHORTS: u8 = 8;

fn has_changes(extra: &ProfileExtra) -> bool {
    !extra.past.is_empty() || extra.seen_at != Millis::default()
}

fn put_changes(out: &mut Vec<u8>, profile: &Profile) {
    let Some(extra) = &profile.extra else { return };
    out.put_millis(extra.seen_at);
    out.put_u64(extra.past.len() as u64);
    for past in &extra.past {
        out.put_millis(past.until);
        out.put_u64(u64::from(past.plan.0));
    }
}

fn take_changes(from: &mut Take<'_>, extra: &mut ProfileExtra) -> Result<(), Malformed> {
    extra.seen_at = from.millis("changes seen")?;
    for _ in 0..from.small::<usize>("plans of before")? {
        let until = from.millis("end of a plan")?;
        extra.past.push(PastPlan { until, plan: NameId(from.small("plan")?) });
    }
    Ok(())
}

fn is_timed(one: &Override) -> bool {
    one.starts_at != Millis(i64::MIN) || one.ends_at != Millis::FOREVER
}

fn has_more(profile: &Profile) -> bool {
    profile.extra.as_deref().is_some_and(|extra| {
        !extra.addons.is_empty()
            || extra.trial.is_some()
            || !extra.scheduled.is_empty()
            || extra.overrides.iter().any(is_timed)
    })
}

fn put_more(out: &mut Vec<u8>, profile: &Profile) {
    let Some(extra) = &profile.extra else { return };
    out.put_u64(extra.addons.len() as u64);
    for bought in &extra.addons {
        out.put_u64(u64::from(bought.addon.0));
        out.put_u64(u64::from(bought.quantity));
    }
    out.push(u8::from(extra.trial.is_some()));
    if let Some(trial) = extra.trial {
        out.put_u64(u64::from(trial.plan.0));
        out.put_millis(trial.ends_at);
    }
    out.put_u64(extra.scheduled.len() as u64);
    for scheduled in &extra.scheduled {
        out.put_millis(scheduled.starts_at);
        out.put_u64(u64::from(scheduled.plan.0));
    }
    let timed: Vec<(usize, &Override)> =
        extra.overrides.iter().enumerate().filter(|(_, one)| is_timed(one)).collect();
    out.put_u64(timed.len() as u64);
    for (place, one) in timed {
        out.put_u64(place as u64);
        out.put_millis(one.starts_at);
        out.put_millis(one.ends_at);
    }
}

fn take_more(from: &mut Take<'_>, extra: &mut ProfileExtra) -> Result<(), Malformed> {
    for _ in 0..from.small::<usize>("add-ons")? {
        let addon = NameId(from.small("add-on")?);
        extra.addons.push(AddOn { addon, quantity: from.small("quantity")? });
    }
    if from.bool("trial")? {
        let plan = NameId(from.small("trial plan")?);
        extra.trial = Some(Trial { plan, ends_at: from.millis("end of the trial")? });
    }
    for _ in 0..from.small::<usize>("scheduled plans")? {
        let starts_at = from.millis("start of a plan")?;
        extra.scheduled.push(ScheduledPlan { starts_at, plan: NameId(from.small("plan")?) });
    }
    for _ in 0..from.small::<usize>("timed overrides")? {
        let place = from.small::<usize>("place of an override")?;
        let one = extra.overrides.get_mut(place);
        let one = one.ok_or(Malformed { what: "place of an override" })?;
        one.starts_at = from.millis("start of an override")?;
        one.ends_at = from.millis("end of an override")?;
    }
    Ok(())
}

pub(crate) fn take_profile_body(from: &mut Take<'_>) -> Result<Profile, Malformed> {
    let plan = NameId(from.small("plan")?);
    let flags = from.u8("default")?;
    if flags > 1 | MORE | CHANGES | COHORTS {
        return Err(Malformed { what: "default" });
    }
    let by_default = flags & 1 != 0;
    let suspended = from.bool("suspended")?;
    let anchor = from.millis("anchor")?;
    let ends_at = from.millis("end")?;
    let created_at = from.millis("creation")?;
    let zone = match from.str("time zone")? {
        "" => None,
        name => Some(Box::new(Zone::named(name).ok_or(Malformed { what: "time zone" })?)),
    };
    let mut extra = ProfileExtra::default();
    for _ in 0..from.small::<usize>("overrides")? {
        extra.overrides.push(take_override(from)?);
    }
    for _ in 0..from.small::<usize>("facts")? {
        extra.facts.push((from.str("fact name")?.to_owned(), from.str("fact")?.to_owned()));
    }
    if flags & MORE != 0 {
        take_more(from, &mut extra)?;
    }
    if flags & CHANGES != 0 {
        take_changes(from, &mut extra)?;
    }
    if flags & COHORTS != 0 {
        for _ in 0..from.small::<usize>("cohorts")? {
            extra.cohorts.push(from.str("cohort")?.to_owned());
        }
    }
    let extra = (extra != ProfileExtra::default()).then(|| Box::new(extra));
    Ok(Profile { plan, by_default, suspended, anchor, ends_at, created_at, zone, extra })
}

/// What is added to the kind of an override that is the least.
const AT_LEAST: u8 = 50;

fn put_override(out: &mut Vec<u8>, one: &Override) {
    out.put_u64(u64::from(one.feature.0));
    let kind = out.len();
    match &one.value {
        OverrideValue::Switch { on } => {
            out.push(0);
            out.push(u8::from(*on));
        }
        OverrideValue::Config { value_json } => {
            out.push(1);
            out.put_str(value_json);
        }
        OverrideValue::Limit { limit, included_units } => {
            out.push(2);
            out.put_u64(u64::from(limit.0));
            out.put_option(*included_units);
        }
        OverrideValue::Rate { rate } => {
            out.push(3);
            put_rate(out, *rate);
        }
        OverrideValue::SpendCap { limit, cap_minor, currency } => {
            out.push(40);
            out.put_u64(u64::from(limit.0));
            out.put_option(*cap_minor);
            out.put_str(currency);
        }
        OverrideValue::SubjectLimit { subject, limit, included_units } => {
            out.push(30);
            out.put_str(subject);
            out.put_u64(u64::from(limit.0));
            out.put_option(*included_units);
        }
    }
    if one.at_least {
        out[kind] += AT_LEAST;
    }
}

fn take_override(from: &mut Take<'_>) -> Result<Override, Malformed> {
    let feature = NameId(from.small("feature")?);
    let kind = from.u8("override kind")?;
    let at_least = kind >= AT_LEAST;
    let value = match if at_least { kind - AT_LEAST } else { kind } {
        0 => OverrideValue::Switch { on: from.bool("switch")? },
        1 => OverrideValue::Config { value_json: from.str("config value")?.into() },
        2 => OverrideValue::Limit {
            limit: NameId(from.small("limit")?),
            included_units: from.option("included units")?,
        },
        3 => OverrideValue::Rate { rate: take_rate(from)? },
        40 => OverrideValue::SpendCap {
            limit: NameId(from.small("limit")?),
            cap_minor: from.option("spend cap")?,
            currency: from.str("currency")?.into(),
        },
        30 => OverrideValue::SubjectLimit {
            subject: from.str("subject")?.into(),
            limit: NameId(from.small("limit")?),
            included_units: from.option("included units")?,
        },
        _ => return Err(Malformed { what: "override kind" }),
    };
    Ok(Override { at_least, ..Override::new(feature, value) })
}
