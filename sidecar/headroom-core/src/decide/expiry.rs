//! Holds whose end by time is a charge: the estimate becomes usage.
//!
//! It is booked as of the very instant at which the hold ended, whenever somebody looks: in the window
//! of its admission, under the limits of that instant, one hold after the other, so that thresholds are
//! crossed in the order in which they were. The engine's timers look, so nobody has to ask.

use crate::account::Account;
use crate::decide::settle::ended;
use crate::decide::{Context, hold, seats};
use crate::effect::Effects;
use crate::stock;
use crate::time::Millis;

/// Lists what time has brought to the holds of an account. Returns the account with it, where something
/// was charged.
pub(super) fn settle(cx: Context<'_>, account: &Account, effects: &mut Effects) -> Option<Account> {
    seats::settle(cx, account, effects);
    let due_at = |account: &Account| {
        account.reservations().map_or(Millis::FOREVER, |held| held.next_charge_at())
    };
    if cx.now < due_at(account) {
        ended(cx, account, effects);
        stock::settle(cx, account, effects);
        return None;
    }
    // A charge is decided on what came before it, and effects change nothing by themselves.
    let mut then = account.due_part(cx.now);
    while due_at(&then) <= cx.now {
        let at = Context { now: due_at(&then), ..cx };
        step(&mut then, effects, |then, effects| ended(at, then, effects));
        step(&mut then, effects, |then, effects| {
            if let Some(held) = then.reservations().and_then(|held| held.next_charge()) {
                hold::charge(at, then, held, effects);
            }
        });
    }
    step(&mut then, effects, |then, effects| ended(cx, then, effects));
    // What was charged was there from the end of its hold on.
    step(&mut then, effects, |then, effects| stock::settle(cx, then, effects));
    Some(then)
}

fn step(then: &mut Account, effects: &mut Effects, list: impl FnOnce(&Account, &mut Effects)) {
    let listed = effects.len();
    list(then, effects);
    for effect in &effects[listed..] {
        then.apply(effect);
    }
}
