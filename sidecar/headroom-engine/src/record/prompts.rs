//! The bytes of what became of a prompt.

use headroom_core::names::NameId;
use headroom_core::prompt::{Exposure, Outcomes, Ticket};

use crate::codec::{Malformed, Put, Take};

pub(crate) fn put_exposure(out: &mut Vec<u8>, exposure: &Exposure) {
    let Exposure { ticket, at, outcomes, snoozed_until } = exposure;
    out.extend_from_slice(&ticket.id.to_le_bytes());
    for name in [ticket.prompt, ticket.variant, ticket.language] {
        out.put_u64(u64::from(name.0));
    }
    out.extend_from_slice(&ticket.person.to_le_bytes());
    out.put_millis(ticket.made_at);
    out.put_millis(*at);
    out.push(outcomes.0);
    if outcomes.has(Outcomes::SNOOZED) {
        out.put_millis(*snoozed_until);
    }
}

pub(crate) fn take_exposure(from: &mut Take<'_>) -> Result<Exposure, Malformed> {
    let id = from.fixed_u64("prompt id")?;
    let mut name = |what| from.small(what).map(NameId);
    let (prompt, variant, language) = (name("prompt")?, name("variant")?, name("language")?);
    let person = from.fixed_u64("person")?;
    let made_at = from.millis("time of a prompt")?;
    let at = from.millis("time of a showing")?;
    let outcomes = Outcomes(from.u8("outcomes")?);
    if !Outcomes::ALL.has(outcomes) {
        return Err(Malformed { what: "outcomes" });
    }
    let snoozed_until = match outcomes.has(Outcomes::SNOOZED) {
        true => from.millis("snooze")?,
        false => headroom_core::time::Millis(i64::MIN),
    };
    let ticket = Ticket { id, prompt, variant, language, person, made_at };
    Ok(Exposure { ticket, at, outcomes, snoozed_until })
}
