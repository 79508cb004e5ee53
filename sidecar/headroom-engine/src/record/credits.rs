//! Pools, grants, history and charges as bytes.

use std::sync::Arc;

use headroom_core::credits::{
    Charge, CreditHold, CreditPrice, CreditsEffect, Deduction, Grant, GrantEnd, GrantEnding,
    GrantSource, PoolHead, Rounding, Segment,
};
use headroom_core::effect::Effect;
use headroom_core::event::{PaidPart, Payment};
use headroom_core::ledger::Marks;
use headroom_core::limits;
use headroom_core::names::NameId;
use headroom_core::time::{Millis, Window};

use super::effect::effect_kind;
use crate::codec::{Malformed, Put, Take};

pub(super) fn put_change(out: &mut Vec<u8>, change: &CreditsEffect) {
    match change {
        CreditsEffect::Pool(head) => put_pool(out, head),
        CreditsEffect::Grant(pool, grant) | CreditsEffect::GrantEnded(pool, grant) => {
            out.put_u64(u64::from(pool.0));
            put_grant(out, grant);
        }
        CreditsEffect::Segment(pool, segment) => {
            out.put_u64(u64::from(pool.0));
            put_segment(out, segment);
        }
    }
}

fn boxed(change: CreditsEffect) -> Effect {
    Effect::Credits(Box::new(change))
}

fn put_pool(out: &mut Vec<u8>, head: &PoolHead) {
    out.put_u64(u64::from(head.feature.0));
    out.push(u8::from(head.window.is_some()));
    if let Some(window) = head.window {
        out.put_window(window);
    }
    out.put_u64(head.used_units);
    out.put_u64(head.held_units);
    out.put_u64(head.debt_units);
    out.extend_from_slice(&head.marks.0.to_le_bytes());
    out.put_u64(u64::from(head.revision));
    out.extend_from_slice(&head.soft_mark.to_le_bytes());
    put_segment(out, &head.segment);
    if waits(head) {
        out.put_millis(head.plan_changes_at);
    }
}

/// Whether a pool waits for a change of the account's profile.
fn waits(head: &PoolHead) -> bool {
    head.plan_changes_at != Millis::FOREVER
}

/// The kind of effect that a change is written as.
pub(super) fn kind_of(change: &CreditsEffect) -> u8 {
    match change {
        CreditsEffect::Pool(head) if waits(head) => effect_kind::POOL_WAITING,
        CreditsEffect::Pool(_) => effect_kind::POOL,
        CreditsEffect::Grant(..) => effect_kind::GRANT,
        CreditsEffect::GrantEnded(..) => effect_kind::GRANT_ENDED,
        CreditsEffect::Segment(..) => effect_kind::SEGMENT,
    }
}

pub(super) fn take_pool(from: &mut Take<'_>, waits: bool) -> Result<Effect, Malformed> {
    let feature = NameId(from.small("pool")?);
    let window: Option<Window> = match from.bool("window")? {
        true => Some(from.window("window")?),
        false => None,
    };
    let (used_units, held_units) = (from.u64("used")?, from.u64("held")?);
    let debt_units = from.u64("debt")?;
    let marks = from.exactly(2, "marks")?;
    let marks = Marks(u16::from_le_bytes([marks[0], marks[1]]));
    let revision = from.small("revision")?;
    let mark = from.exactly(4, "thresholds")?;
    let soft_mark = u32::from_le_bytes([mark[0], mark[1], mark[2], mark[3]]);
    let segment = take_segment(from)?;
    let plan_changes_at =
        if waits { from.millis("change of plan of a pool")? } else { Millis::FOREVER };
    if [used_units, held_units, debt_units].iter().any(|units| *units > limits::UNITS_MAX) {
        return Err(Malformed { what: "units of a pool" });
    }
    Ok(boxed(CreditsEffect::Pool(PoolHead {
        feature,
        window,
        used_units,
        held_units,
        debt_units,
        marks,
        revision,
        soft_mark,
        plan_changes_at,
        segment,
    })))
}

/// Bits of a grant's first byte.
const HAS_BEGUN: u8 = 1;
const HAS_ENDED: u8 = 2;

fn put_grant(out: &mut Vec<u8>, grant: &Grant) {
    let begun = if grant.has_begun { HAS_BEGUN } else { 0 };
    let ended = if grant.end.is_some() { HAS_ENDED } else { 0 };
    out.push(begun | ended);
    out.put_str(&grant.id);
    out.push(match grant.source {
        GrantSource::Given => 0,
        GrantSource::Included => 1,
        GrantSource::RolledOver => 2,
    });
    out.put_u64(grant.units);
    out.put_u64(grant.burnt_units);
    out.push(grant.priority);
    out.put_millis(grant.starts_at);
    out.put_millis(grant.expires_at);
    out.put_millis(grant.granted_at);
    if let Some(end) = &grant.end {
        out.put_millis(end.at);
        out.push(match end.how {
            GrantEnding::UsedUp => 0,
            GrantEnding::Expired => 1,
            GrantEnding::Void => 2,
        });
        out.put_u64(end.lost_units);
        out.put_str(&end.reason);
    }
}

pub(super) fn take_grant(from: &mut Take<'_>, has_ended: bool) -> Result<Effect, Malformed> {
    let pool = NameId(from.small("pool")?);
    let flags = from.u8("grant")?;
    if flags > HAS_BEGUN | HAS_ENDED || (flags & HAS_ENDED != 0) != has_ended {
        return Err(Malformed { what: "grant" });
    }
    let id = take_text(from, limits::GRANT_ID_BYTES_MAX, "grant id")?;
    let source = match from.u8("source of a grant")? {
        0 => GrantSource::Given,
        1 => GrantSource::Included,
        2 => GrantSource::RolledOver,
        _ => return Err(Malformed { what: "source of a grant" }),
    };
    let grant = Grant {
        id,
        source,
        units: take_units(from)?,
        burnt_units: take_units(from)?,
        priority: from.u8("priority")?,
        starts_at: from.millis("start of a grant")?,
        expires_at: from.millis("expiry of a grant")?,
        granted_at: from.millis("time of a grant")?,
        has_begun: flags & HAS_BEGUN != 0,
        end: if has_ended { Some(Box::new(take_end(from)?)) } else { None },
    };
    Ok(boxed(match has_ended {
        true => CreditsEffect::GrantEnded(pool, grant),
        false => CreditsEffect::Grant(pool, grant),
    }))
}

fn take_end(from: &mut Take<'_>) -> Result<GrantEnd, Malformed> {
    let at = from.millis("end of a grant")?;
    let how = match from.u8("end of a grant")? {
        0 => GrantEnding::UsedUp,
        1 => GrantEnding::Expired,
        2 => GrantEnding::Void,
        _ => return Err(Malformed { what: "end of a grant" }),
    };
    let lost_units = take_units(from)?;
    let reason = take_text(from, limits::GRANT_REASON_BYTES_MAX, "reason")?;
    Ok(GrantEnd { at, how, lost_units, reason })
}

fn take_units(from: &mut Take<'_>) -> Result<u64, Malformed> {
    from.u64("credits").and_then(|units| match units <= limits::UNITS_MAX {
        true => Ok(units),
        false => Err(Malformed { what: "credits" }),
    })
}

fn take_text(
    from: &mut Take<'_>,
    bytes_max: usize,
    what: &'static str,
) -> Result<Arc<str>, Malformed> {
    let text = from.str(what)?;
    if text.len() > bytes_max { Err(Malformed { what }) } else { Ok(text.into()) }
}

/// Writes a segment of a pool's history.
pub(crate) fn put_segment(out: &mut Vec<u8>, segment: &Segment) {
    out.put_millis(segment.from);
    out.put_millis(segment.to);
    out.put_i64(segment.opening);
    for units in sums(segment) {
        out.put_u64(units);
    }
}

fn sums(segment: &Segment) -> [u64; 8] {
    [
        segment.granted_units,
        segment.rolled_over_units,
        segment.burnt_units,
        segment.expired_units,
        segment.voided_units,
        segment.paid_back_units,
        segment.forgiven_units,
        segment.returned_units,
    ]
}

/// Reads a segment of a pool's history.
pub(crate) fn take_segment(from: &mut Take<'_>) -> Result<Segment, Malformed> {
    let segment = Segment {
        from: from.millis("start of a segment")?,
        to: from.millis("end of a segment")?,
        opening: from.i64("opening balance")?,
        granted_units: from.u64("granted")?,
        rolled_over_units: from.u64("rolled over")?,
        burnt_units: from.u64("burnt")?,
        expired_units: from.u64("expired")?,
        voided_units: from.u64("voided")?,
        paid_back_units: from.u64("paid back")?,
        forgiven_units: from.u64("forgiven")?,
        returned_units: from.u64("returned")?,
    };
    // So that the closing balance can be reckoned.
    const MOST: u64 = 4 * limits::SEGMENT_UNITS_MAX;
    if segment.opening.unsigned_abs() > MOST || sums(&segment).iter().any(|units| *units > MOST) {
        return Err(Malformed { what: "units of a segment" });
    }
    Ok(segment)
}

pub(super) fn take_closed_segment(from: &mut Take<'_>) -> Result<Effect, Malformed> {
    let pool = NameId(from.small("pool")?);
    Ok(boxed(CreditsEffect::Segment(pool, take_segment(from)?)))
}

pub(super) fn put_charge(out: &mut Vec<u8>, charge: &Charge) {
    out.put_u64(u64::from(charge.pool.0));
    out.put_u64(charge.units);
    out.put_u64(charge.debt_units);
    out.put_u64(charge.returned_units);
    out.put_u64(charge.deductions.len() as u64);
    for deduction in &charge.deductions {
        out.put_str(&deduction.grant);
        out.put_u64(deduction.units);
    }
}

pub(super) fn take_charge(from: &mut Take<'_>) -> Result<Charge, Malformed> {
    let mut charge = Charge {
        pool: NameId(from.small("pool")?),
        units: from.u64("charge")?,
        debt_units: from.u64("debt")?,
        returned_units: from.u64("returned")?,
        deductions: Vec::new(),
    };
    for _ in 0..from.small::<usize>("deductions")? {
        let grant = take_text(from, limits::GRANT_ID_BYTES_MAX, "grant id")?;
        charge.deductions.push(Deduction { grant, units: from.u64("deduction")? });
    }
    Ok(charge)
}

/// What an event was paid by, and what one write of it took or gave back.
pub(crate) fn put_paid(out: &mut Vec<u8>, paid: Option<&Payment>, charge: Option<&Charge>) {
    out.push(u8::from(paid.is_some()) | u8::from(charge.is_some()) << 1);
    if let Some(paid) = paid {
        out.put_u64(u64::from(paid.pool.0));
        put_price(out, &paid.price);
        out.put_u64(paid.parts.len() as u64);
        for part in &paid.parts {
            // No grant has an empty id.
            out.put_str(part.grant.as_deref().unwrap_or_default());
            out.put_u64(part.units);
            out.put_millis(part.at);
        }
    }
    if let Some(charge) = charge {
        put_charge(out, charge);
    }
}

/// What [`put_paid`] has written.
#[expect(clippy::type_complexity, reason = "both are optional, and boxed as they are kept")]
pub(crate) fn take_paid(
    from: &mut Take<'_>,
) -> Result<(Option<Box<Payment>>, Option<Box<Charge>>), Malformed> {
    let has = from.u8("what was paid")?;
    if has > 3 {
        return Err(Malformed { what: "what was paid" });
    }
    let mut paid = None;
    if has & 1 != 0 {
        let (pool, price) = (NameId(from.small("pool")?), take_price(from)?);
        let mut payment = Payment { pool, price, parts: Vec::new() };
        for _ in 0..from.small::<usize>("parts of a payment")? {
            let grant = take_text(from, limits::GRANT_ID_BYTES_MAX, "grant id")?;
            let grant = Some(grant).filter(|grant| !grant.is_empty());
            let (units, at) = (take_units(from)?, from.millis("time of a charge")?);
            payment.parts.push(PaidPart { grant, units, at });
        }
        paid = Some(Box::new(payment));
    }
    let charge = if has & 2 != 0 { Some(Box::new(take_charge(from)?)) } else { None };
    Ok((paid, charge))
}

fn put_price(out: &mut Vec<u8>, price: &CreditPrice) {
    out.put_u64(price.credits);
    out.put_u64(price.per);
    out.push(match price.rounding {
        Rounding::Up => 1,
        Rounding::Down => 2,
        Rounding::Nearest => 3,
    });
}

fn take_price(from: &mut Take<'_>) -> Result<CreditPrice, Malformed> {
    let (credits, per) = (take_units(from)?, take_units(from)?);
    let rounding = match from.u8("rounding")? {
        1 => Rounding::Up,
        2 => Rounding::Down,
        3 => Rounding::Nearest,
        _ => return Err(Malformed { what: "rounding" }),
    };
    Ok(CreditPrice { credits, per, rounding })
}

pub(super) fn put_hold(out: &mut Vec<u8>, hold: CreditHold) {
    out.put_u64(u64::from(hold.pool.0));
    out.put_u64(hold.units);
    out.put_u64(hold.charged_units);
}

pub(super) fn take_hold(from: &mut Take<'_>) -> Result<CreditHold, Malformed> {
    Ok(CreditHold {
        pool: NameId(from.small("pool")?),
        units: take_units(from)?,
        charged_units: take_units(from)?,
    })
}
