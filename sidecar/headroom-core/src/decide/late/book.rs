//! What an event does to the windows it falls into, or a correction to those that it was counted in: of
//! the account and of the levels of a subject's path, all of them or none.

use crate::account::Account;
use crate::catalog::PlanLimit;
use crate::closing;
use crate::decide::late::levels::Filed;
use crate::decide::late::place::Place;
use crate::decide::late::{Booked, levels};
use crate::decide::meter::{self, Working};
use crate::decide::settle::put_or_close;
use crate::decide::{Context, carried, sliding};
use crate::decision::OpError;
use crate::effect::{Effect, Effects};
use crate::event::{Booking, Counts, Delta, Restated};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::owing;
use crate::policy;
use crate::resolve::{Origin, Whose};
use crate::tally;
use crate::time::Millis;

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

impl Counts {
    /// The change of a window's total as that of what an event counts there, which is to be `after` instead of
    /// `before`.
    pub(super) fn of_event(self, before: u64, after: u64) -> Counts {
        // A window that had nothing to give back gave nothing: the event counts there what it is to count.
        let is_less = self.after < self.before || self.after == self.before && after < before;
        if is_less {
            Counts { before: after + (self.before - self.after), after }
        } else {
            Counts { before, after: before + (self.after - self.before) }
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

    /// Whose the limit is.
    pub(super) fn whose<'b>(&'b self, account: &'b Account) -> Whose<'b> {
        self.filed.as_ref().map_or(Whose::own(account), |filed| filed.level.whose())
    }

    /// The most that its window holds without debt, when that has left the memory as such.
    pub(super) fn ceiling(&self, cx: Context<'_>, restated: &Restated) -> Option<u64> {
        let of = (self.limit, self.filed.is_some());
        closing::ceiling_by(cx, restated.terms.as_ref(), of, &restated.closed)
    }

    pub(super) fn own(limit: &'a PlanLimit, place: Place) -> Entry<'a> {
        Entry { filed: None, limit, place }
    }
}

/// Lets an event count `after` units in windows in place of `before`, or says why it cannot be.
pub(super) fn book(
    cx: Context<'_>,
    account: &Account,
    (feature, origin, at): (NameId, Origin, Millis),
    (entries, past): (Vec<Entry<'_>>, &[Restated]),
    (before, after): (u64, u64),
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    let delta = Delta::between(before, after);
    // What a subject used is usage of the account.
    let own = entries.iter().filter(|entry| entry.filed.is_none());
    let within = tally::within(own.clone().map(|entry| (entry.limit, entry.place.window())));
    let is_own = own.count() > 0;
    let room = levels::room(cx, account, entries.iter())?;
    let mut todo = Vec::with_capacity(entries.len());
    for entry in entries {
        let limit = entry.limit;
        let (held, own) = match &entry.place {
            Place::Live(ledger, fresh) => (
                working_at(cx, entry.whose(account), limit, *ledger, *fresh).ledger.held(),
                *ledger,
            ),
            Place::Past(restated) => (restated.used, restated.closed),
        };
        // The debt of a subject is not carried.
        let is_passed_on = entry.filed.is_none() && carried::concerns(cx, limit, &own);
        let fits_after = !is_passed_on || carried::fits(account, past, &own, delta.more());
        if held + delta.more() > limits::UNITS_MAX || !fits_after {
            return Err(OpError::CounterFull);
        }
        todo.push((entry, is_passed_on));
    }

    // Every check is above this line, every change below it.
    let mut booked = Booked::nowhere();
    if is_own {
        tally::note(cx, account, feature, (at, within), delta.signed(), effects);
    }
    room.make(cx, account, effects);
    for (entry, is_passed_on) in todo {
        let mut changes = Effects::new();
        let counted = count(cx, account, (&entry, origin), delta, &mut changes);
        let Counted { owed, debt, mut booking } = counted;
        booking.counts = booking.counts.map(|counts| counts.of_event(before, after));
        if is_passed_on && owed.before != owed.after {
            // The windows after it meet the account as this one has left it.
            let mut then = account.clone();
            changes.iter().for_each(|effect| then.apply(effect));
            let of = (feature, entry.limit, origin);
            carried::pass_on(cx, &mut then, of, owed, past, &mut changes);
        }
        booked.debt_units = booked.debt_units.max(debt);
        match &entry.filed {
            None => {
                booked.bookings.push(booking);
                effects.append(&mut changes);
            }
            Some(filed) => {
                booked.levels.push((filed.id, booking));
                filed.list(cx, changes, effects);
            }
        }
    }
    Ok(booked)
}

/// What a change did to one window.
struct Counted {
    owed: carried::Owed,
    /// The part of what was added that the limit does not allow.
    debt: u64,
    booking: Booking,
}

fn count(
    cx: Context<'_>,
    account: &Account,
    (entry, origin): (&Entry<'_>, Origin),
    delta: Delta,
    effects: &mut Effects,
) -> Counted {
    let seen = entry.seen(account);
    match entry.place {
        Place::Live(ledger, fresh) => {
            let w = working_at(cx, entry.whose(account), entry.limit, ledger, fresh);
            let before = w.own().debt;
            let (own, debt, booking) = book_live(cx, seen, (w, origin), delta, effects);
            let owed = carried::Owed { window: own.window, before, after: own.debt };
            Counted { owed, debt, booking }
        }
        Place::Past(restated) => {
            let (window, before) = (restated.closed.window, restated.debt);
            let (after, debt, booking) =
                book_past(entry.ceiling(cx, &restated), restated, delta, effects);
            Counted { owed: carried::Owed { window, before, after }, debt, booking }
        }
    }
}

/// The limit with the ledger of an earlier moment, as [`meter::working_now`] has that of now.
pub(in crate::decide) fn working_at<'a>(
    cx: Context<'_>,
    whose: Whose<'_>,
    limit: &'a PlanLimit,
    mut ledger: Ledger,
    fresh: bool,
) -> Working<'a> {
    let account = whose.account;
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
    let mut w = Working { limit, ledger, fresh, room, verdict, enough_at, beyond };
    w.room.ceiling = meter::ceiling_then(cx, whose, &w);
    w
}

fn book_live(
    cx: Context<'_>,
    account: &Account,
    (mut w, origin): (Working<'_>, Origin),
    delta: Delta,
    effects: &mut Effects,
) -> (Ledger, u64, Booking) {
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
        put_or_close(cx, account, w.own(), effects);
    }
    if !account.is_replaced(&own, 0) {
        owing::note(cx, account, &w.own(), effects);
    }
    let counts = Some(Counts { before: own.used, after: w.own().used });
    (w.own(), debt, Booking { counts, ..Booking::at(&own) })
}

pub(super) fn book_past(
    ceiling: Option<u64>,
    mut restated: Restated,
    delta: Delta,
    effects: &mut Effects,
) -> (u64, u64, Booking) {
    let before = restated.used;
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
    restated.passed = None;
    let counts = Some(Counts { before, after: restated.used });
    let booking = Booking { restated: true, counts, ..Booking::at(&restated.closed) };
    effects.push(Effect::Restated(Box::new(restated)));
    (restated.debt, debt, booking)
}

/// The debt of a window when `units` less are used: it shrinks by no more than them, and not below what
/// is over the ceiling all the same. `left` is what is then used in the window's own ledger and in all
/// that the limit counts.
pub(in crate::decide) fn debt_without(
    debt: u64,
    units: u64,
    left: (u64, u64),
    ceiling: Option<u64>,
) -> u64 {
    let over = ceiling.map_or(0, |most| left.1.saturating_sub(most));
    debt.saturating_sub(units).max(debt.min(over)).min(left.0)
}
