//! Synthetic traffic: the vendor's own monitors, which must go the true road and leave no trace on it.
//!
//! They are decided like any other request, against the true counters, and then nothing is counted: no
//! unit of the customer's is used up, no threshold is crossed, nobody is told. A reservation is made,
//! so that it can be extended, committed and released, but it lists no ledger, no level of a subject and no
//! pool, so none of that counts.

use crate::effect::{Effect, Effects};
use crate::reservation::ReservationExtra;

/// Keeps of the effects of a decision what synthetic traffic may have.
pub fn leave_uncounted(effects: &mut Effects) {
    effects.retain_mut(|effect| match effect {
        Effect::Reservation(held) => {
            held.ledgers.clear();
            // Nor a pool: what it would give back or burn was never taken.
            let extra = held.extra();
            held.set_extra(ReservationExtra { credits: None, levels: Vec::new(), ..extra });
            true
        }
        _ => false,
    });
}
