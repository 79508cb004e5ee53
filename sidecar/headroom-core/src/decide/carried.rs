//! What windows have taken over of a debt that is another by now: a late event has added to it, or a
//! correction has taken it back.
//!
//! Each window after the one that was changed took over what that owed, so each counts the difference,
//! and owes more or less itself, until a window has room for all of it or the window of now is reached.
//! One that has left the memory is restated; the one of now changes at once.

use crate::account::Account;
use crate::catalog::PlanLimit;
use crate::closing;
use crate::decide::Context;
use crate::decide::late::{Place, debt_without, is_known, place, working_at};
use crate::decide::meter::{self, Working};
use crate::decide::settle::put_or_close;
use crate::effect::{Effect, Effects};
use crate::event::{Delta, Restated};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::owing::{self, Owing};
use crate::resolve::{Origin, Whose};
use crate::time::Window;

/// What a window owes to the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    /// The window.
    pub(super) window: Window,
    /// What it owed.
    pub(super) before: u64,
    /// What it owes now.
    pub(super) after: u64,
}

/// Whether a change of a window's debt concerns later ones.
pub(super) fn concerns(cx: Context<'_>, limit: &PlanLimit, ledger: &Ledger) -> bool {
    owing::carries(limit) && limit.limit == ledger.limit && ledger.window.end() <= cx.now
}

/// Whether so many units more find room in every window after one.
pub(super) fn fits(account: &Account, past: &[Restated], after: &Ledger, units: u64) -> bool {
    let later = |l: &Ledger| {
        l.limit == after.limit
            && l.feature == after.feature
            && after.window.end() <= l.window.start()
    };
    let live = account.ledgers().iter().filter(|l| later(l)).map(Ledger::held);
    let past = past.iter().filter(|r| later(&r.closed)).map(|restated| restated.used);
    live.chain(past).all(|used| used + units <= limits::UNITS_MAX)
}

/// Lets the windows after one count what it owes now instead of what it owed before. `then` is the account
/// with the change, and is kept up with the effects that are listed.
pub(super) fn pass_on(
    cx: Context<'_>,
    then: &mut Account,
    (feature, limit, origin): (NameId, &PlanLimit, Origin),
    owed: Owed,
    past: &[Restated],
    effects: &mut Effects,
) {
    let mut at = owed.window.end();
    let (mut before, mut after) = (owed.before, owed.after);
    while before != after && at <= cx.now {
        let listed = effects.len();
        let place = place(cx, Whose::own(then), (feature, limit), at, past);
        let window = place.window();
        (before, after) = if before > 0 && !is_known(&place, past) {
            // It took nothing over: what was owed was taken off by windows that nobody looked at.
            let ceiling = match place {
                Place::Live(ledger, fresh) => {
                    working_at(cx, Whose::own(then), limit, ledger, fresh).room.ceiling
                }
                Place::Past(restated) => ceiling_of(cx, limit, &restated),
            };
            (owing::over(ceiling, before), owing::over(ceiling, after))
        } else {
            match place {
                Place::Live(ledger, fresh) => {
                    let w = working_at(cx, Whose::own(then), limit, ledger, fresh);
                    pass_to(cx, then, (w, origin), (before, after), effects)
                }
                Place::Past(restated) => {
                    let ceiling = ceiling_of(cx, limit, &restated);
                    pass_to_past(ceiling, restated, (before, after), effects)
                }
            }
        };
        effects[listed..].iter().for_each(|effect| then.apply(effect));
        // Windows go on.
        at = window.end().max(at.plus(1));
    }
}

/// The most that a window of the account which has left the memory holds without debt.
fn ceiling_of(cx: Context<'_>, limit: &PlanLimit, restated: &Restated) -> Option<u64> {
    closing::ceiling_by(cx, restated.terms.as_ref(), (limit, false), &restated.closed)
}

/// Changes a window in memory. Returns what it owed before and owes after.
fn pass_to(
    cx: Context<'_>,
    account: &Account,
    (mut w, origin): (Working<'_>, Origin),
    (before, after): (u64, u64),
    effects: &mut Effects,
) -> (u64, u64) {
    let own = w.ledger;
    let known = account.owing(&own).copied();
    let mut owing = known.unwrap_or_else(|| Owing::of(&own));
    owing.noted = true;
    if after > before {
        let units = after - before;
        w.ledger.debt += meter::debt_of(w.room.ceiling, &own, units, units);
        w.ledger.used += units;
        owing.carried_units += units;
    } else {
        let units = (before - after).min(own.used).min(owing.carried_units);
        w.ledger.used -= units;
        let left = (w.ledger.used, w.ledger.used);
        w.ledger.debt = debt_without(own.debt, units, left, w.room.ceiling);
        owing.carried_units -= units;
    }
    assert!(w.ledger.is_sound(), "unsound ledger {:?}", w.ledger);
    if after > before && origin != Origin::None && own.window.contains(cx.now) {
        meter::announce_use(cx, account, &mut w, own.used, effects);
    }
    if w.fresh {
        meter::put_ledger(cx, account, w.ledger, true, effects);
    } else {
        put_or_close(cx, account, w.ledger, effects);
    }
    if Some(owing) != known {
        effects.push(Effect::Owing(Box::new(owing)));
    }
    (own.debt, w.ledger.debt)
}

/// Restates a window that has left the memory. Returns what it owed before and owes after.
fn pass_to_past(
    ceiling: Option<u64>,
    mut restated: Restated,
    (before, after): (u64, u64),
    effects: &mut Effects,
) -> (u64, u64) {
    let owed = restated.debt;
    let passed = if after > before {
        let units = after - before;
        restated.used += units;
        restated.debt += ceiling.map_or(0, |most| units.min(restated.used.saturating_sub(most)));
        Delta::More(units)
    } else {
        let units = (before - after).min(restated.used).min(restated.carried_units_max());
        restated.used -= units;
        let left = (restated.used, restated.used);
        restated.debt = debt_without(owed, units, left, ceiling);
        Delta::Less(units)
    };
    restated.passed = Some(passed);
    if let Some(terms) = &mut restated.terms {
        terms.carried_units = match passed {
            Delta::More(units) => terms.carried_units + units,
            Delta::Less(units) => terms.carried_units - units,
        };
    }
    assert!(restated.debt <= restated.used, "unsound window {restated:?}");
    effects.push(Effect::Restated(Box::new(restated)));
    (owed, restated.debt)
}
