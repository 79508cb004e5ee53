//! Effects, as bytes: the list of them, and those of ledgers, buckets and graces.

use headroom_core::effect::Effect;
use headroom_core::event::Event;
use headroom_core::ledger::{Ledger, Marks};
use headroom_core::names::NameId;
use headroom_core::policy::Excess;
use headroom_core::rate::Bucket;
use headroom_core::reservation::ReservationId;

use super::signal::put_announced;
use super::signal::put_ending;
use super::signal::take_announced;
use super::signal::take_ending;
use super::{
    closing, credits, measure, put_exposure, put_member, put_seat, put_stock, subjects,
    take_exposure, take_member, take_seat, take_stock, tally,
};
use super::{put_reservation, put_signal, take_reservation, take_signal};
use crate::codec::{Malformed, Put, Take};
use crate::events;

pub(super) mod effect_kind {
    pub(in crate::record) const LEDGER: u8 = 1;
    pub(in crate::record) const LEDGER_CLOSED: u8 = 2;
    pub(in crate::record) const RESERVATION: u8 = 3;
    pub(in crate::record) const RESERVATION_FORGOTTEN: u8 = 4;
    pub(in crate::record) const SIGNAL: u8 = 5;
    pub(in crate::record) const EXCESS: u8 = 6;
    pub(in crate::record) const BUCKET: u8 = 7;
    pub(in crate::record) const BUCKET_FORGOTTEN: u8 = 8;
    pub(in crate::record) const PLANS_SEEN: u8 = 42;
    pub(in crate::record) const STOCK: u8 = 10;
    pub(in crate::record) const STOCK_CLOSED: u8 = 11;
    pub(in crate::record) const RESTATED: u8 = 40;
    pub(in crate::record) const EVENT: u8 = 41;
    pub(in crate::record) const EVENT_FOR_SUBJECT: u8 = 43;
    pub(in crate::record) const POOL: u8 = 20;
    pub(in crate::record) const GRANT: u8 = 21;
    pub(in crate::record) const GRANT_ENDED: u8 = 22;
    pub(in crate::record) const SEGMENT: u8 = 23;
    pub(in crate::record) const SEAT: u8 = 12;
    pub(in crate::record) const SEAT_FREED: u8 = 13;
    pub(in crate::record) const SUBJECT: u8 = 30;
    pub(in crate::record) const OF_SUBJECT: u8 = 31;
    pub(in crate::record) const SUBJECT_FORGOTTEN: u8 = 32;
    pub(in crate::record) const SUBJECT_ERASED: u8 = 33;
    pub(in crate::record) const TALLY: u8 = 60;
    pub(in crate::record) const TALLY_CLOSED: u8 = 61;
    pub(in crate::record) const TALLY_LATE: u8 = 62;
    pub(in crate::record) const EVENT_WITH_DIMENSIONS: u8 = 63;
    pub(in crate::record) const MEASURED: u8 = 64;
    pub(in crate::record) const EVENT_PAID: u8 = 66;
    pub(in crate::record) const MEASURE_CLOSED: u8 = 67;
    pub(in crate::record) const EXPOSURE: u8 = 80;
    pub(in crate::record) const ANNOUNCED: u8 = 65;
    pub(in crate::record) const ENDING: u8 = 100;
    /// As those without: they say what the window was measured by, which earlier versions did not.
    pub(in crate::record) const LEDGER_CLOSED_BY: u8 = 110;
    pub(in crate::record) const STOCK_CLOSED_BY: u8 = 111;
    pub(in crate::record) const RESTATED_BY: u8 = 112;
    pub(in crate::record) const OWING: u8 = 113;
    /// As that without: the account's profile changes at an instant, which earlier versions did not wait for.
    pub(in crate::record) const POOL_WAITING: u8 = 114;
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
            Effect::LedgerClosed(ledger, None) => {
                out.push(effect_kind::LEDGER_CLOSED);
                put_ledger(out, ledger);
            }
            Effect::LedgerClosed(ledger, Some(terms)) => {
                out.push(effect_kind::LEDGER_CLOSED_BY);
                put_ledger(out, ledger);
                closing::put_terms(out, terms);
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
            Effect::StockClosed(stock, None) => {
                out.push(effect_kind::STOCK_CLOSED);
                put_stock(out, stock);
            }
            Effect::StockClosed(stock, Some(terms)) => {
                out.push(effect_kind::STOCK_CLOSED_BY);
                put_stock(out, stock);
                closing::put_terms(out, terms);
            }
            Effect::Restated(restated) => {
                out.push(effect_kind::RESTATED_BY);
                events::put_restated(out, restated);
                closing::put_restating(out, restated.terms.as_ref(), restated.passed);
            }
            Effect::Owing(one) => {
                out.push(effect_kind::OWING);
                closing::put_owing(out, one);
            }
            Effect::Event(event) if event.state.subject.is_some() => {
                out.push(effect_kind::EVENT_FOR_SUBJECT);
                put_paid_event(out, event);
                event.state.subject.iter().for_each(|subject| events::put_subject(out, subject));
            }
            Effect::Event(event) if event.state.paid.is_some() || event.charge.is_some() => {
                out.push(effect_kind::EVENT_PAID);
                put_paid_event(out, event);
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
                out.push(credits::kind_of(change));
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
            Effect::MeasureClosed(closed) => {
                out.push(effect_kind::MEASURE_CLOSED);
                measure::put_closed(out, closed);
            }
        }
    }
}

fn put_paid_event(out: &mut Vec<u8>, event: &Event) {
    events::put_event(out, event);
    tally::put_labels(out, &event.state.labels);
    credits::put_paid(out, event.state.paid.as_deref(), event.charge.as_deref());
}

fn take_paid_event(from: &mut Take<'_>) -> Result<Event, Malformed> {
    let mut event = events::take_event(from)?;
    event.state.labels = tally::take_labels(from)?;
    (event.state.paid, event.charge) = credits::take_paid(from)?;
    Ok(event)
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
            effect_kind::LEDGER_CLOSED => Effect::LedgerClosed(take_ledger(from)?, None),
            effect_kind::LEDGER_CLOSED_BY => {
                let ledger = take_ledger(from)?;
                Effect::LedgerClosed(ledger, Some(Box::new(closing::take_terms(from)?)))
            }
            effect_kind::RESERVATION => Effect::Reservation(take_reservation(from)?),
            effect_kind::RESERVATION_FORGOTTEN => {
                Effect::ReservationForgotten(ReservationId(from.u64("reservation")?))
            }
            effect_kind::EXCESS => Effect::Excess(Box::new(take_excess(from)?)),
            effect_kind::PLANS_SEEN => Effect::PlansSeen(from.millis("changes seen")?),
            effect_kind::SIGNAL => Effect::Signal(Box::new(take_signal(from)?)),
            effect_kind::BUCKET => Effect::Bucket(take_bucket(from)?),
            effect_kind::POOL => credits::take_pool(from, false)?,
            effect_kind::POOL_WAITING => credits::take_pool(from, true)?,
            effect_kind::GRANT => credits::take_grant(from, false)?,
            effect_kind::GRANT_ENDED => credits::take_grant(from, true)?,
            effect_kind::SEGMENT => credits::take_closed_segment(from)?,
            effect_kind::BUCKET_FORGOTTEN => Effect::BucketForgotten(
                NameId(from.small("feature")?),
                NameId(from.small("limit")?),
            ),
            effect_kind::STOCK => Effect::Stock(Box::new(take_stock(from)?)),
            effect_kind::STOCK_CLOSED => Effect::StockClosed(Box::new(take_stock(from)?), None),
            effect_kind::STOCK_CLOSED_BY => {
                let stock = Box::new(take_stock(from)?);
                Effect::StockClosed(stock, Some(Box::new(closing::take_terms(from)?)))
            }
            effect_kind::RESTATED_BY => {
                let mut restated = events::take_restated(from)?;
                (restated.terms, restated.passed) = closing::take_restating(from)?;
                Effect::Restated(Box::new(restated))
            }
            effect_kind::OWING => Effect::Owing(Box::new(closing::take_owing(from)?)),
            effect_kind::RESTATED => Effect::Restated(Box::new(events::take_restated(from)?)),
            effect_kind::EVENT => Effect::Event(Box::new(events::take_event(from)?)),
            effect_kind::EXPOSURE => Effect::Exposure(Box::new(take_exposure(from)?)),
            effect_kind::TALLY => tally::take_tallied(from)?,
            effect_kind::TALLY_CLOSED => Effect::TallyClosed(Box::new(tally::take_tally(from)?)),
            effect_kind::TALLY_LATE => Effect::TallyLate(Box::new(tally::take_tally(from)?)),
            effect_kind::MEASURED => Effect::Measured(Box::new(measure::take_measured(from)?)),
            effect_kind::MEASURE_CLOSED => {
                Effect::MeasureClosed(Box::new(measure::take_closed(from)?))
            }
            effect_kind::ANNOUNCED => Effect::Announced(Box::new(take_announced(from)?)),
            effect_kind::ENDING => Effect::Ending(Box::new(take_ending(from)?)),
            effect_kind::EVENT_WITH_DIMENSIONS => {
                let mut event = events::take_event(from)?;
                event.state.labels = tally::take_labels(from)?;
                Effect::Event(Box::new(event))
            }
            effect_kind::EVENT_PAID => Effect::Event(Box::new(take_paid_event(from)?)),
            effect_kind::EVENT_FOR_SUBJECT => {
                let mut event = take_paid_event(from)?;
                event.state.subject = Some(events::take_subject(from)?);
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
