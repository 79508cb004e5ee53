//! Subjects as bytes: their names, what changed in them, and the levels that hold a reservation.

use headroom_core::effect::Effect;
use headroom_core::names::NameId;
use headroom_core::subject::SubjectId;
use headroom_core::time::Millis;

use super::effect::effect_kind;
use super::{put_effects, take_effects};
use crate::codec::{Malformed, Put, Take};

pub(super) fn put_id(out: &mut Vec<u8>, kind: u8, id: SubjectId) {
    out.push(kind);
    out.put_u64(u64::from(id.0));
}

pub(super) fn put_named(out: &mut Vec<u8>, kind: u8, id: SubjectId, name: &str) {
    put_id(out, kind, id);
    out.put_str(name);
}

pub(super) fn put_change(out: &mut Vec<u8>, id: SubjectId, change: &Effect) {
    put_id(out, effect_kind::OF_SUBJECT, id);
    put_effects(out, std::slice::from_ref(change));
}

/// Reads an effect of one of the four kinds.
pub(super) fn take(from: &mut Take<'_>, kind: u8) -> Result<Effect, Malformed> {
    let id = SubjectId(from.small("subject")?);
    Ok(match kind {
        effect_kind::SUBJECT => Effect::Subject(id, from.str("subject")?.into()),
        effect_kind::SUBJECT_FORGOTTEN => Effect::SubjectForgotten(id),
        effect_kind::SUBJECT_ERASED => Effect::SubjectErased(id, from.str("subject")?.into()),
        _ => Effect::OfSubject(id, Box::new(take_change(from)?)),
    })
}

/// One effect, and none of a subject's subject: damaged bytes must not nest as deep as they like.
fn take_change(from: &mut Take<'_>) -> Result<Effect, Malformed> {
    let malformed = Malformed { what: "effect of a subject" };
    let mut ahead = *from;
    if ahead.u64("effects")? != 1 || ahead.u8("effect kind")? == effect_kind::OF_SUBJECT {
        return Err(malformed);
    }
    take_effects(from)?.pop().ok_or(malformed)
}

pub(super) fn put_levels(out: &mut Vec<u8>, levels: &[(SubjectId, NameId, Millis)]) {
    out.put_u64(levels.len() as u64);
    for (subject, limit, start) in levels {
        out.put_u64(u64::from(subject.0));
        out.put_u64(u64::from(limit.0));
        out.put_millis(*start);
    }
}

pub(super) fn take_levels(
    from: &mut Take<'_>,
) -> Result<Vec<(SubjectId, NameId, Millis)>, Malformed> {
    let mut levels = Vec::new();
    for _ in 0..from.small::<usize>("levels")? {
        let subject = SubjectId(from.small("subject")?);
        levels.push((subject, NameId(from.small("limit")?), from.millis("window start")?));
    }
    Ok(levels)
}
