//! Reservations, as bytes.

use headroom_core::names::NameId;
use headroom_core::reservation::{
    OnExpiry, Reservation, ReservationExtra, ReservationId, ReservationState,
};
use smallvec::SmallVec;

use super::{credits, subjects};
use crate::codec::{Malformed, Put, Take};

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
