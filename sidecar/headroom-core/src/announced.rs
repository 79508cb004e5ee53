//! What was told that no ledger remembers: a signal of a day, of a revision of a limit that has no mark to
//! spare, or of slots that come and go.
//!
//! Of each (signal, feature, limit) only the latest is kept, so there are no more of them than features and
//! limits in all catalogs so far.

use crate::effect::Effect;
use crate::names::NameId;
use crate::signal::SignalName;
use crate::time::Millis;

/// A signal that was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Which.
    pub name: SignalName,
    /// The feature.
    pub feature: NameId,
    /// The limit, or [`crate::signal::NO_LIMIT`].
    pub limit: NameId,
    /// What it was told of: the start of a day or a window. Of slots, when; of what use has unlocked, since when.
    pub of: Millis,
    /// The revision of the limit that it was told of.
    pub limit_revision: u16,
}

/// Carries out a change: it takes the place of the one before.
pub(crate) fn apply(all: &mut Vec<Announced>, after: &Announced) {
    let is_it = |known: &&mut Announced| {
        known.name == after.name && known.feature == after.feature && known.limit == after.limit
    };
    match all.iter_mut().find(is_it) {
        Some(known) => *known = *after,
        None => all.push(*after),
    }
}

/// The effects that make all of it again.
pub(crate) fn further(all: &[Announced]) -> impl Iterator<Item = Effect> + '_ {
    all.iter().map(|told| Effect::Announced(Box::new(*told)))
}
