//! Late values that count otherwise than by being added.
//!
//! A window that has left the memory is restated like any other. What its aggregation knows of it besides the
//! counter comes with it from the disk; where that is missing nobody can say what a value changes.

use crate::account::Account;
use crate::decide::Context;
use crate::decide::late::book::{Entry, book_past, working_at};
use crate::decide::late::place::Place;
use crate::decide::late::{Booked, Past, levels};
use crate::decide::measure::{Counted, Way};
use crate::decide::meter;
use crate::decide::settle::put_or_close;
use crate::decision::OpError;
use crate::effect::{Effect, Effects};
use crate::event::{Booking, Counts, Delta, Restated};
use crate::ledger::Ledger;
use crate::measure::{ClosedMeasure, Known};
use crate::resolve::Origin;

/// Books a value that counts otherwise than by being added.
pub(super) fn book_value(
    cx: Context<'_>,
    account: &Account,
    (value, origin): (Counted, Origin),
    (entries, past): (Vec<Entry<'_>>, Past<'_>),
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    let mut todo = Vec::with_capacity(entries.len());
    for entry in entries {
        let (seen, known) = (entry.seen(account), known(value, &entry, past)?);
        let fits = match entry.place {
            Place::Live(ledger, _) => value.fits(seen, &ledger),
            Place::Past(restated) => value.fits_past(known.as_ref(), restated.used),
        };
        if !fits {
            return Err(OpError::CounterFull);
        }
        todo.push((entry, known));
    }
    // What changes nothing makes nobody new.
    let counting = todo.iter().map(|(entry, _)| entry).filter(|entry| match &entry.place {
        Place::Live(ledger, _) => value.changes(entry.seen(account), ledger),
        Place::Past(_) => false,
    });
    let room = levels::room(cx, account, counting)?;

    // Every check is above this line, every change below it.
    let mut booked = Booked::nowhere();
    room.make(cx, account, effects);
    for (entry, known) in todo {
        let mut changes = Effects::new();
        let (debt, mut booking) = match entry.place {
            Place::Live(ledger, fresh) => {
                let of = (&entry, ledger, fresh);
                count_live(cx, account, of, (value, origin), &mut changes)
            }
            Place::Past(restated) => {
                let of_subject = entry.filed.is_some();
                let ceiling = entry.ceiling(cx, &restated);
                count_past(value, ceiling, (restated, known, of_subject), &mut changes)
            }
        };
        if value.is_added() {
            booking.counts = booking.counts.map(|counts| counts.of_event(0, 0));
        }
        booked.debt_units = booked.debt_units.max(debt);
        match entry.filed {
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

/// What is known of the window of an entry, if it has left the memory and a value needs that.
fn known(value: Counted, entry: &Entry<'_>, past: Past<'_>) -> Result<Option<Known>, OpError> {
    let (Place::Past(restated), Some(aggregation)) = (&entry.place, value.needs_measure()) else {
        return Ok(None);
    };
    let owner = entry.filed.as_ref().map(|filed| filed.id);
    let closed = &restated.closed;
    match past.known(owner, closed) {
        Some(known) if value.understands(known) => Ok(Some(known.clone())),
        // Nothing has come to a window that there was not yet.
        None if !past.has(owner, closed) => Ok(Some(Known::nothing())),
        _ => Err(OpError::WindowIsOver { aggregation: aggregation.as_str() }),
    }
}

/// Lets a value count in a window in memory, and returns what of it is debt.
fn count_live(
    cx: Context<'_>,
    account: &Account,
    (entry, ledger, fresh): (&Entry<'_>, Ledger, bool),
    (value, origin): (Counted, Origin),
    effects: &mut Effects,
) -> (u64, Booking) {
    let seen = entry.seen(account);
    let mut w = working_at(cx, entry.whose(account), entry.limit, ledger, fresh);
    let before = w.own().used;
    let told = origin != Origin::None && ledger.window.contains(cx.now);
    let way = Way { records: true, told, of_subject: entry.filed.is_some() };
    let debt = value.count(cx, seen, &mut w, way, effects);
    if debt.is_some() && fresh {
        meter::put_ledger(cx, seen, w.own(), true, effects);
    } else if debt.is_some() {
        put_or_close(cx, seen, w.own(), effects);
    }
    let counts = Some(Counts { before, after: w.own().used });
    (debt.unwrap_or_default(), Booking { counts, ..Booking::at(&ledger) })
}

/// Lets a value count in a window that has left the memory, and returns what of it is debt.
fn count_past(
    value: Counted,
    ceiling: Option<u64>,
    (mut restated, known, of_subject): (Restated, Option<Known>, bool),
    effects: &mut Effects,
) -> (u64, Booking) {
    let (closed, before) = (restated.closed, restated.used);
    let counts = |after| Some(Counts { before, after });
    let booking = |counts| Booking { restated: true, counts, ..Booking::at(&closed) };
    let Some(after) = value.after(known.as_ref(), before) else {
        return (0, booking(counts(before)));
    };
    let known = value.known_after(known.as_ref(), of_subject);
    let measure = known.map(|known| ClosedMeasure::of(&closed, known));
    effects.extend(measure.map(|measure| Effect::MeasureClosed(Box::new(measure))));
    if let Counted::Latest(..) = value {
        // What it held before is gone, and with it what that owed.
        let over = ceiling.map_or(0, |most| after.saturating_sub(most));
        (restated.used, restated.debt, restated.passed) = (after, over, None);
        effects.push(Effect::Restated(Box::new(restated)));
        return (over, booking(counts(after)));
    }
    let (_, debt, booking) = book_past(ceiling, restated, Delta::More(after - before), effects);
    (debt, booking)
}
