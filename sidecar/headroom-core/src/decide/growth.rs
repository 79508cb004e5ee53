//! Holds that grow: what is added is admitted now, so it counts in the windows of now.
//!
//! A hold counts in the windows of its admission, and time alone never moves it. When it grows and one
//! of them is over, it is asked for anew in the window of now, with all that it still holds, and moves
//! there; so no window ever has more than it admitted, and a stream goes on growing where the new
//! window has room. What was booked of it before stays where it was booked. Of a sliding window it is
//! the bucket of now.
//!
//! A refused hold stays where it is, and the answer shows the window of now as it stands.

use crate::account::Account;
use crate::decide::meter::{self, LedgerNow, Working};
use crate::decide::settle;
use crate::decide::{Context, sliding};
use crate::decision::OpError;
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::policy;
use crate::reservation::Reservation;
use crate::time::Millis;

/// A reservation that moves from one window of a limit to that of now.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    /// The place of the limit among those of the reservation.
    place: usize,
    /// The window that is left, without the reservation.
    left: Ledger,
    /// When the window began that it comes to.
    to_start: Millis,
}

/// Asks some limits for more units of a reservation. Where its window is over the limit is that of now
/// afterwards, as if the reservation had come there.
pub(super) fn ask(
    cx: Context<'_>,
    account: &Account,
    held: &Reservation,
    working: &mut [Working<'_>],
    units: u64,
) -> Vec<Moved> {
    let mut moves = Vec::new();
    for (place, w) in working.iter_mut().enumerate() {
        if let Some(moved) = moved(cx, account, held, (place, w), units) {
            moves.push(moved);
            continue;
        }
        w.verdict = meter::admission(w.limit, w.room, &w.ledger, units, false);
        if w.beyond.is_some() && !w.verdict.is_allowed() {
            w.enough_at = w.frees_for(units);
        }
    }
    moves
}

/// Brings a reservation to the window of now, if it is in another one, and asks for more units there.
fn moved(
    cx: Context<'_>,
    account: &Account,
    held: &Reservation,
    (place, w): (usize, &mut Working<'_>),
    units: u64,
) -> Option<Moved> {
    let limit = w.limit;
    // A limit that is not in force any more has no window of now.
    if limit.limit != w.ledger.limit {
        return None;
    }
    let start = w.own().window.start();
    let LedgerNow { ledger: mut to, fresh } = meter::ledger_now(cx, account, held.feature, limit);
    let mut left = *account.ledger(held.feature, limit.limit, start)?;
    if start == to.window.start() {
        return None;
    }
    left.reserved -= held.units;
    left.holds -= 1;
    let to_start = to.window.start();
    if let Some(every) = sliding::every_of(limit) {
        to.reserved += held.units;
        to.holds += 1;
        let is_left = |l: &&Ledger| l.is(left.feature, left.limit, left.window.start());
        let others = account.ledgers().iter().filter(|l| !is_left(l)).chain([&left]);
        let (sum, beyond) = sliding::sum_of(others, limit, every, (to, fresh), to.window);
        (w.ledger, w.fresh, w.beyond) = (sum, fresh, Some(beyond));
        w.room = policy::room(account, limit, &w.ledger, cx.now);
        w.verdict = meter::admission(limit, w.room, &w.ledger, units, false);
        if !w.verdict.is_allowed() {
            w.enough_at = w.frees_for(units);
        }
    } else {
        to.see_limit(limit.mark());
        w.room = policy::room(account, limit, &to, cx.now);
        // The window has nothing of the hold yet, so it is asked for all of it.
        let all = held.units.saturating_add(units);
        w.verdict = meter::admission(limit, w.room, &to, all, false);
        to.reserved += held.units;
        to.holds += 1;
        (w.ledger, w.fresh, w.beyond) = (to, fresh, None);
    }
    Some(Moved { place, left, to_start })
}

/// Lets limits that were asked show what there is now, because the reservation stays where it is.
pub(super) fn take_back(
    cx: Context<'_>,
    account: &Account,
    held: &Reservation,
    working: &mut [Working<'_>],
    moves: &[Moved],
) {
    for moved in moves {
        let w = &mut working[moved.place];
        let now = meter::working_now(cx, account, held.feature, w.limit);
        *w = Working { verdict: w.verdict, enough_at: w.enough_at, ..now };
    }
}

/// So many more units must be countable.
pub(super) fn check_counters(working: &[Working<'_>], units: u64) -> Result<(), OpError> {
    let fits = |w: &Working<'_>| w.ledger.held().saturating_add(units) <= limits::UNITS_MAX;
    if working.iter().all(fits) { Ok(()) } else { Err(OpError::CounterFull) }
}

impl Moved {
    /// Lists the window that is left, as changed or as closed.
    pub(super) fn leave(&self, cx: Context<'_>, account: &Account, effects: &mut Effects) {
        let left = self.left;
        let counts_on_ms = sliding::counts_on_ms(cx.catalog, left.feature, left.limit);
        if left.is_over(cx.now) && left.window.end().plus(counts_on_ms) <= self.to_start {
            settle::close(cx, account, left, effects);
        } else {
            effects.push(Effect::Ledger(left));
        }
    }

    /// Lets whoever lists the window that was left list the one of now.
    pub(super) fn rename(&self, limit: NameId, start: &mut Millis) {
        if limit == self.left.limit && *start == self.left.window.start() {
            *start = self.to_start;
        }
    }
}
