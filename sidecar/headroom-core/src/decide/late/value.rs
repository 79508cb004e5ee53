//! Late values that count otherwise than by being added.

use crate::account::Account;
use crate::decide::Context;
use crate::decide::late::book::{Entry, book_past, working_at};
use crate::decide::late::place::Place;
use crate::decide::late::{Booked, levels};
use crate::decide::measure::{Counted, Way};
use crate::decide::meter;
use crate::decide::settle::put_or_close;
use crate::decision::OpError;
use crate::effect::Effects;
use crate::event::{Booking, Delta};
use crate::ledger::Ledger;
use crate::resolve::Origin;

/// Books a value that counts otherwise than by being added.
pub(super) fn book_value(
    cx: Context<'_>,
    account: &Account,
    (value, origin): (Counted, Origin),
    entries: Vec<Entry<'_>>,
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    for entry in &entries {
        let ledger = match entry.place {
            Place::Live(ledger, _) => ledger,
            Place::Past(restated) => Ledger { used: restated.used, ..restated.closed },
        };
        // Of a window that is over only the counter is known.
        if let (Place::Past(_), Some(aggregation)) = (&entry.place, value.needs_measure()) {
            return Err(OpError::WindowIsOver { aggregation: aggregation.as_str() });
        }
        if !value.fits(entry.seen(account), &ledger) {
            return Err(OpError::CounterFull);
        }
    }
    // What changes nothing makes nobody new.
    let counting = entries.iter().filter(|entry| match &entry.place {
        Place::Live(ledger, _) => value.changes(entry.seen(account), ledger),
        Place::Past(_) => false,
    });
    let room = levels::room(cx, account, counting)?;

    // Every check is above this line, every change below it.
    let mut booked = Booked::nowhere();
    room.make(cx, account, effects);
    for entry in entries {
        let mut changes = Effects::new();
        let (debt, booking) = count(cx, account, &entry, (value, origin), &mut changes);
        booked.debt_units = booked.debt_units.max(debt);
        match entry.filed {
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

/// Lets a value count in one window, and returns what of it is debt.
fn count(
    cx: Context<'_>,
    account: &Account,
    entry: &Entry<'_>,
    (value, origin): (Counted, Origin),
    effects: &mut Effects,
) -> (u64, Booking) {
    let (seen, limit) = (entry.seen(account), entry.limit);
    match entry.place {
        Place::Live(ledger, fresh) => {
            let mut w = working_at(cx, seen, limit, ledger, fresh);
            let told = origin != Origin::None && ledger.window.contains(cx.now);
            let way = Way { records: true, told, of_subject: entry.filed.is_some() };
            let debt = value.count(cx, seen, &mut w, way, effects);
            if debt.is_some() && fresh {
                meter::put_ledger(cx, seen, w.own(), true, effects);
            } else if debt.is_some() {
                effects.push(put_or_close(cx, seen, w.own()));
            }
            let window_start = ledger.window.start();
            let booking = Booking { limit: ledger.limit, window_start, restated: false };
            (debt.unwrap_or_default(), booking)
        }
        Place::Past(restated) => match value.above(restated.used) {
            0 => {
                let window_start = restated.closed.window.start();
                (0, Booking { limit: limit.limit, window_start, restated: true })
            }
            rises => {
                let (_, debt, booking) = book_past(limit, restated, Delta::More(rises), effects);
                (debt, booking)
            }
        },
    }
}
