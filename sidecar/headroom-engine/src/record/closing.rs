//! The bytes of what a window was measured by, and of windows that owe.

use headroom_core::closing::{Ceiling, Price, WindowTerms};
use headroom_core::event::Delta;
use headroom_core::names::NameId;
use headroom_core::owing::Owing;

use crate::codec::{Malformed, Put, Take};

/// Bits of the byte that says what terms there are.
mod has {
    pub(super) const INCLUDED: u8 = 1;
    pub(super) const BILLS: u8 = 2;
    pub(super) const PRICE: u8 = 4;
    pub(super) const CAP: u8 = 8;
    /// The ceiling is known: without a number there is none. Terms without this are of a version that did not
    /// keep it.
    pub(super) const CEILING: u8 = 16;
    pub(super) const CEILING_UNITS: u8 = 32;
}

pub(crate) fn put_terms(out: &mut Vec<u8>, terms: &WindowTerms) {
    let cap_minor = terms.price.and_then(|price| price.cap_minor);
    let bit = |is: bool, bit: u8| if is { bit } else { 0 };
    out.push(
        bit(terms.included_units.is_some(), has::INCLUDED)
            | bit(terms.bills, has::BILLS)
            | bit(terms.price.is_some(), has::PRICE)
            | bit(cap_minor.is_some(), has::CAP)
            | match terms.ceiling {
                Ceiling::Unknown => 0,
                Ceiling::Unbounded => has::CEILING,
                Ceiling::Units(_) => has::CEILING | has::CEILING_UNITS,
            },
    );
    if let Some(units) = terms.included_units {
        out.put_u64(units);
    }
    if let Some(price) = &terms.price {
        out.put_u64(price.unit_price_nanos);
        out.extend_from_slice(&price.currency);
    }
    if let Some(cap_minor) = cap_minor {
        out.put_u64(cap_minor);
    }
    out.put_u64(u64::from(terms.plan.0));
    out.put_u64(terms.carried_units);
    if let Ceiling::Units(units) = terms.ceiling {
        out.put_u64(units);
    }
}

pub(crate) fn take_terms(from: &mut Take<'_>) -> Result<WindowTerms, Malformed> {
    let bits = from.u8("terms of a window")?;
    let is = |bit: u8| bits & bit != 0;
    let included_units = if is(has::INCLUDED) { Some(from.u64("included units")?) } else { None };
    let mut price = None;
    if is(has::PRICE) {
        let unit_price_nanos = from.u64("price")?;
        let currency = from.exactly(3, "currency")?;
        let currency = [currency[0], currency[1], currency[2]];
        price = Some(Price { unit_price_nanos, cap_minor: None, currency });
    }
    if is(has::CAP) {
        let cap_minor = from.u64("cap")?;
        price.as_mut().ok_or(Malformed { what: "price" })?.cap_minor = Some(cap_minor);
    }
    let plan = NameId(from.small("plan")?);
    let carried_units = from.u64("carried units")?;
    let ceiling = match (is(has::CEILING), is(has::CEILING_UNITS)) {
        (false, _) => Ceiling::Unknown,
        (true, false) => Ceiling::Unbounded,
        (true, true) => Ceiling::Units(from.u64("ceiling")?),
    };
    Ok(WindowTerms { included_units, bills: is(has::BILLS), price, plan, carried_units, ceiling })
}

fn put_terms_if_any(out: &mut Vec<u8>, terms: Option<&WindowTerms>) {
    out.push(u8::from(terms.is_some()));
    if let Some(terms) = terms {
        put_terms(out, terms);
    }
}

fn take_terms_if_any(from: &mut Take<'_>) -> Result<Option<WindowTerms>, Malformed> {
    if from.bool("terms of a window")? { Ok(Some(take_terms(from)?)) } else { Ok(None) }
}

/// What a restated window has behind its counters.
pub(crate) fn put_restating(out: &mut Vec<u8>, terms: Option<&WindowTerms>, passed: Option<Delta>) {
    put_terms_if_any(out, terms);
    let (kind, units) = match passed {
        None => (0, 0),
        Some(Delta::More(units)) => (1, units),
        Some(Delta::Less(units)) => (2, units),
    };
    out.push(kind);
    out.put_u64(units);
}

pub(crate) fn take_restating(
    from: &mut Take<'_>,
) -> Result<(Option<WindowTerms>, Option<Delta>), Malformed> {
    let terms = take_terms_if_any(from)?;
    let (kind, units) = (from.u8("carried units")?, from.u64("carried units")?);
    let passed = match kind {
        0 => None,
        1 => Some(Delta::More(units)),
        2 => Some(Delta::Less(units)),
        _ => return Err(Malformed { what: "carried units" }),
    };
    Ok((terms, passed))
}

pub(crate) fn put_owing(out: &mut Vec<u8>, one: &Owing) {
    out.put_u64(u64::from(one.feature.0));
    out.put_u64(u64::from(one.limit.0));
    out.put_millis(one.window_start);
    out.put_u64(one.carried_units);
    out.push(u8::from(one.noted));
    out.push(u8::from(one.ended));
    out.push(u8::from(one.stays));
    put_terms_if_any(out, one.terms.as_ref());
}

pub(crate) fn take_owing(from: &mut Take<'_>) -> Result<Owing, Malformed> {
    Ok(Owing {
        feature: NameId(from.small("feature")?),
        limit: NameId(from.small("limit")?),
        window_start: from.millis("window start")?,
        carried_units: from.u64("carried units")?,
        noted: from.bool("noted window")?,
        ended: from.bool("ended window")?,
        stays: from.bool("debt that stays")?,
        terms: take_terms_if_any(from)?,
    })
}
