//! What an event does to the windows it falls into, or a correction to those that it was counted in: of
//! the account and of the levels of a subject's path, all of them or none.

use crate::account::Account;
use crate::catalog::PlanLimit;
use crate::decide::late::levels::Filed;
use crate::decide::late::place::Place;
use crate::decide::late::{Booked, levels};
use crate::decide::meter::{self, Working};
use crate::decide::settle::put_or_close;
use crate::decide::{Context, sliding};
use crate::decision::OpError;
use crate::effect::{Effect, Effects};
use crate::event::{Booking, Restated};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::policy;
use crate::resolve::Origin;
use crate::tally;
use crate::time::Millis;

/// A change of what one event counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Delta {
    More(u64),
    Less(u64),
}

impl Delta {
    pub(super) fn between(before: u64, after: u64) -> Delta {
        // The same again is nothing that anybody should hear of.
        if after > before { Delta::More(after - before) } else { Delta::Less(before - after) }
    }

    pub(super) fn signed(self) -> i64 {
        match self {
            Delta::More(units) => tally::signed(units),
            Delta::Less(units) => -tally::signed(units),
        }
    }

    pub(super) fn more(self) -> u64 {
        match self {
            Delta::More(units) => units,
            Delta::Less(_) => 0,
        }
    }
}

/// One window that an event is counted in.
pub(super) struct Entry<'a> {
    /// Of which level. `None`: it is the account's.
    pub(super) filed: Option<Filed<'a>>,
    pub(super) limit: &'a PlanLimit,
    pub(super) place: Place,
}

impl<'a> Entry<'a> {
    /// The account as the limit sees it.
    pub(super) fn seen<'b>(&'b self, account: &'b Account) -> &'b Account {
        self.filed.as_ref().map_or(account, |filed| &filed.level.seen)
    }

    pub(super) fn own(limit: &'a PlanLimit, place: Place) -> Entry<'a> {
        Entry { filed: None, limit, place }
    }
}

/// A window with what has to be known to change it.
enum Ready<'a> {
    Live(Box<Working<'a>>),
    Past(Restated),
}

/// Counts a change in windows, or says why it cannot be.
pub(super) fn book(
    cx: Context<'_>,
    account: &Account,
    (feature, origin, at): (NameId, Origin, Millis),
    entries: Vec<Entry<'_>>,
    delta: Delta,
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    // What a subject used is usage of the account.
    let own = entries.iter().filter(|entry| entry.filed.is_none());
    let within = tally::within(own.clone().map(|entry| (entry.limit, entry.place.window())));
    let is_own = own.count() > 0;
    let room = levels::room(cx, account, entries.iter())?;
    let mut todo = Vec::with_capacity(entries.len());
    for Entry { filed, limit, place } in entries {
        let seen = filed.as_ref().map_or(account, |filed| &filed.level.seen);
        let (held, ready, carried) = match place {
            Place::Live(ledger, fresh) => {
                let w = working_at(cx, seen, limit, ledger, fresh);
                let carried = meter::carried_now(cx, seen, limit, &ledger);
                (w.ledger.held(), Ready::Live(Box::new(w)), carried)
            }
            Place::Past(restated) => {
                let carried = meter::carried_now(cx, seen, limit, &restated.closed);
                (restated.used, Ready::Past(restated), carried)
            }
        };
        let carried_held = carried.as_ref().map_or(0, |to| to.ledger.held());
        if held.max(carried_held) + delta.more() > limits::UNITS_MAX {
            return Err(OpError::CounterFull);
        }
        todo.push((filed, limit, ready, carried));
    }

    // Every check is above this line, every change below it.
    let mut booked = Booked::nowhere();
    if is_own {
        tally::note(cx, account, feature, (at, within), delta.signed(), effects);
    }
    room.make(cx, account, effects);
    for (filed, limit, ready, carried) in todo {
        let seen = filed.as_ref().map_or(account, |filed| &filed.level.seen);
        let mut changes = Effects::new();
        let (debt, booking) = match ready {
            Ready::Live(w) => book_live(cx, seen, (*w, origin), delta, &mut changes),
            Ready::Past(restated) => book_past(limit, restated, delta, &mut changes),
        };
        if let Some(to) = carried.filter(|_| debt > 0) {
            carry(cx, seen, (to, debt), booking, &mut changes);
        }
        booked.debt_units = booked.debt_units.max(debt);
        match filed {
            None => {
                booked.bookings.push(booking);
                effects.append(&mut changes);
            }
            Some(filed) => {
                booked.levels.push((filed.id, booking));
                filed.list(changes, effects);
            }
        }
    }
    Ok(booked)
}

/// Counts what a window came to owe in the window of now.
fn carry(
    cx: Context<'_>,
    account: &Account,
    (to, debt): (Working<'_>, u64),
    booking: Booking,
    effects: &mut Effects,
) {
    let (feature, listed) = (to.ledger.feature, effects.len());
    meter::carry(cx, account, to, debt, effects);
    // A window of now that is new closes the earlier ones as they were before this event; the
    // event's own is closed already, with the event in it.
    let mut place = 0;
    effects.retain(|effect| {
        place += 1;
        let is_own = |l: &Ledger| l.is(feature, booking.limit, booking.window_start);
        place <= listed || !matches!(effect, Effect::LedgerClosed(l) if is_own(l))
    });
}

/// The limit with the ledger of an earlier moment, as [`meter::working_now`] has that of now.
pub(super) fn working_at<'a>(
    cx: Context<'_>,
    account: &Account,
    limit: &'a PlanLimit,
    mut ledger: Ledger,
    fresh: bool,
) -> Working<'a> {
    let mut beyond = None;
    match sliding::every_of(limit) {
        // A limit that is gone has no definition that a ledger could have seen.
        None if limit.limit != ledger.limit => {}
        None => ledger.see_limit(limit.mark()),
        Some(every) => {
            let now = meter::ledger_now(cx, account, ledger.feature, limit);
            let current = now.ledger.window;
            let (sum, rest) = sliding::sum(account, limit, every, (ledger, fresh), current);
            (ledger, beyond) = (sum, Some(rest));
        }
    }
    let room = policy::room(account, limit, &ledger, cx.now);
    let verdict = meter::level(limit, room, &ledger);
    let enough_at = Millis::FOREVER;
    Working { limit, ledger, fresh, room, verdict, enough_at, beyond }
}

fn book_live(
    cx: Context<'_>,
    account: &Account,
    (mut w, origin): (Working<'_>, Origin),
    delta: Delta,
    effects: &mut Effects,
) -> (u64, Booking) {
    let own = w.own();
    let mut debt = 0;
    match delta {
        Delta::More(units) => {
            debt = meter::debt_of(w.room.ceiling, &w.ledger, units, units);
            let previous_units = w.ledger.used;
            w.ledger.debt += debt;
            w.ledger.used += units;
            assert!(w.own().is_sound(), "unsound ledger {:?}", w.own());
            let is_now = w.beyond.is_some() || own.window.contains(cx.now);
            if origin != Origin::None && is_now {
                meter::announce_use(cx, account, &mut w, previous_units, effects);
            }
        }
        Delta::Less(units) => {
            let units = units.min(own.used);
            w.ledger.used -= units;
            let left = (own.used - units, w.ledger.used);
            let left_debt = debt_without(own.debt, units, left, w.room.ceiling);
            w.ledger.debt -= own.debt - left_debt;
            assert!(w.own().is_sound(), "unsound ledger {:?}", w.own());
        }
    }
    if w.fresh {
        meter::put_ledger(cx, account, w.own(), true, effects);
    } else {
        effects.push(put_or_close(cx, account, w.own()));
    }
    let limit = own.limit;
    (debt, Booking { limit, window_start: own.window.start(), restated: false })
}

pub(super) fn book_past(
    limit: &PlanLimit,
    mut restated: Restated,
    delta: Delta,
    effects: &mut Effects,
) -> (u64, Booking) {
    let ceiling = limit.ceiling_units();
    let mut debt = 0;
    match delta {
        Delta::More(units) => {
            restated.used += units;
            debt = ceiling.map_or(0, |most| units.min(restated.used.saturating_sub(most)));
            restated.debt += debt;
        }
        Delta::Less(units) => {
            let units = units.min(restated.used);
            restated.used -= units;
            let left = (restated.used, restated.used);
            restated.debt = debt_without(restated.debt, units, left, ceiling);
        }
    }
    assert!(restated.debt <= restated.used, "unsound window {restated:?}");
    let (limit, window_start) = (restated.closed.limit, restated.closed.window.start());
    effects.push(Effect::Restated(Box::new(restated)));
    (debt, Booking { limit, window_start, restated: true })
}

/// The debt of a window when `units` less are used: it shrinks by no more than them, and not below what
/// is over the ceiling all the same. `left` is what is then used in the window's own ledger and in all
/// that the limit counts.
fn debt_without(debt: u64, units: u64, left: (u64, u64), ceiling: Option<u64>) -> u64 {
    let over = ceiling.map_or(0, |most| left.1.saturating_sub(most));
    debt.saturating_sub(units).max(debt.min(over)).min(left.0)
}
