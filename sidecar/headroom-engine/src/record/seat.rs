//! The bytes of a member's seat.

use std::sync::Arc;

use headroom_core::names::NameId;
use headroom_core::seats::{Seat, SeatState};

use crate::codec::{Malformed, Put, Take};

pub(crate) fn put_seat(out: &mut Vec<u8>, seat: &Seat) {
    put_member(out, seat.feature, &seat.member);
    out.put_millis(seat.since);
    match seat.state {
        SeatState::Claimed => out.push(0),
        SeatState::Invited { expires_at } => {
            out.push(1);
            out.put_millis(expires_at);
        }
    }
}

pub(crate) fn take_seat(from: &mut Take<'_>) -> Result<Seat, Malformed> {
    let (feature, member) = take_member(from)?;
    let since = from.millis("time")?;
    let state = match from.u8("seat")? {
        0 => SeatState::Claimed,
        1 => SeatState::Invited { expires_at: from.millis("end of an invitation")? },
        _ => return Err(Malformed { what: "seat" }),
    };
    Ok(Seat { feature, member, state, since })
}

pub(crate) fn put_member(out: &mut Vec<u8>, feature: NameId, member: &str) {
    out.put_u64(u64::from(feature.0));
    out.put_str(member);
}

pub(crate) fn take_member(from: &mut Take<'_>) -> Result<(NameId, Arc<str>), Malformed> {
    Ok((NameId(from.small("feature")?), from.str("member")?.into()))
}
