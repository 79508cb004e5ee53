//! What a key remembers, as bytes.

use headroom_core::decision::{Amounts, Verdict};
use headroom_core::names::NameId;
use headroom_core::reservation::ReservationId;
use headroom_core::time::Millis;

use super::credits;
use crate::codec::{Malformed, Put, Take};
use crate::keys::{Done, Receipt};

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
        Verdict::Unbacked => 4,
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
pub(super) fn take_receipt_of(from: &mut Take<'_>, is_part: bool) -> Result<Receipt, Malformed> {
    let payload = from.fixed_u64("payload hash")?;
    let verdict = match from.u8("verdict")? {
        0 => Verdict::Allowed,
        1 => Verdict::SoftLimit,
        2 => Verdict::Grace,
        3 => Verdict::Overage,
        4 => Verdict::Unbacked,
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
