//! Holds whose end by time is a charge: the estimate becomes usage.
//!
//! It is booked as of the very instant at which the hold ended, whenever somebody looks: in the window
//! of its admission, under the limits of that instant, one hold after the other, so that thresholds are
//! crossed in the order in which they were. The engine's timers look, so nobody has to ask.
//!
//! Windows that end owing something have their turn between them, each at the instant at which it ends.

use crate::account::Account;
use crate::closing;
use crate::decide::settle::ended;
use crate::decide::{Context, hold, meter, seats};
use crate::effect::{Effect, Effects};
use crate::limits;
use crate::owing::{self, Owing};
use crate::stock;
use crate::time::Millis;

/// Lists what time has brought to the holds of an account. Returns the account with it, where something
/// was charged.
pub(super) fn settle(cx: Context<'_>, account: &Account, effects: &mut Effects) -> Option<Account> {
    seats::settle(cx, account, effects);
    let due_at = |account: &Account| {
        account.reservations().map_or(Millis::FOREVER, |held| held.next_charge_at())
    };
    if cx.now < due_at(account) && cx.now < account.owing_until() {
        ended(cx, account, effects);
        stock::settle(cx, account, effects);
        return None;
    }
    // A charge is decided on what came before it, and effects change nothing by themselves.
    let mut then = account.due_part(cx.now);
    let mut room = limits::FOLLOWING_WINDOWS_AT_ONCE;
    loop {
        let ends_at = if room > 0 { then.owing_until() } else { Millis::FOREVER };
        if ends_at <= cx.now && ends_at <= due_at(&then) {
            step(&mut then, effects, |then, effects| end(cx, then, effects));
            room -= 1;
            continue;
        }
        if cx.now < due_at(&then) {
            break;
        }
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

/// Takes an account on to a later instant, as far as windows that owe have ended by then: for looking
/// ahead. No more of them than are listed at once.
pub(super) fn end_windows(cx: Context<'_>, account: &mut Account) {
    let mut effects = Effects::new();
    for _ in 0..limits::FOLLOWING_WINDOWS_AT_ONCE {
        if cx.now < account.owing_until() {
            break;
        }
        step(account, &mut effects, |then, effects| end(cx, then, effects));
    }
}

/// Lists what becomes of the window that owes and has ended first: the next one begins with what it takes
/// over, or the debt stays. Either way it is known by then what the window was measured by.
fn end(cx: Context<'_>, then: &Account, effects: &mut Effects) {
    let Some(mut ended) = then.next_owing().copied() else { return };
    let at = Context { now: ended.window.end(), ..cx };
    let known = then.owing(&ended).copied().unwrap_or_else(|| Owing::of(&ended));
    let terms = closing::terms_of(at, then, &ended);
    let carrying = if ended.debt > 0 { owing::carrying(at, then, &ended) } else { None };
    let mut forgiven = None;
    if carrying.is_some() {
        let owed = owing::owed(&ended, terms.as_ref());
        if owed < ended.debt {
            ended.debt = owed;
            let effect = Effect::Ledger(ended);
            // The window may close here, and closes with what it owes.
            forgiven.get_or_insert_with(|| then.clone()).apply(&effect);
            effects.push(effect);
        }
    }
    let then = forgiven.as_ref().unwrap_or(then);
    let next = carrying.filter(|_| ended.debt > 0);
    let next = next.and_then(|limit| owing::follow(at, then, (&limit, &ended), cx.now));
    let stays = ended.debt > 0 && next.is_none();
    effects.push(Effect::Owing(Box::new(Owing { stays, ended: true, terms, ..known })));
    if let Some((ledger, owing)) = next {
        meter::put_ledger(at, then, ledger, true, effects);
        effects.push(Effect::Owing(Box::new(owing)));
    }
}

fn step(then: &mut Account, effects: &mut Effects, list: impl FnOnce(&Account, &mut Effects)) {
    let listed = effects.len();
    list(then, effects);
    for effect in &effects[listed..] {
        then.apply(effect);
    }
}
