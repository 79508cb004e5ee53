//! What time alone changes: holds that end, reservations that are forgotten, billing windows of
//! allocations that close.
//!
//! It is done before the account's next decision, so that a client that crashed cannot hold the last
//! units of the month.

use std::collections::BTreeMap;

use crate::account::Account;
use crate::change;
use crate::closing;
use crate::decide::{Context, credits, expiry, measure, sliding, subjects};
use crate::effect::{Effect, Effects};
use crate::ending;
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::policy;
use crate::reservation::{Reservation, ReservationState, Reservations};
use crate::time::Millis;

/// Lists what time has brought to the holds of an account by `cx.now`. Nothing when
/// [`Account::is_due`] says no.
pub fn settle(cx: Context<'_>, account: &Account, effects: &mut Effects) {
    // A window that a change of plan has ended ends first: what comes after is decided by it.
    let turned = change::settle(cx, account, effects);
    expiry::settle(cx, turned.as_ref().unwrap_or(account), effects);
}

/// Lists everything that time has brought, announcements too.
pub fn settle_all(cx: Context<'_>, account: &Account, effects: &mut Effects) {
    // What was charged may have begun a grace: whose end is near is asked afterwards.
    let turned = change::settle(cx, account, effects);
    let account = turned.as_ref().unwrap_or(account);
    let charged = expiry::settle(cx, account, effects);
    policy::settle_excesses(cx, charged.as_ref().unwrap_or(account), effects);
    ending::settle(cx, account, effects);
}

/// Lists the holds that have ended without a charge, the reservations that are forgotten, and what time
/// has brought to pools of credits.
pub(super) fn ended(cx: Context<'_>, account: &Account, effects: &mut Effects) {
    // Several holds may end in one pool of credits, each at its instant.
    let mut given_back: BTreeMap<NameId, Vec<(Millis, u64)>> = BTreeMap::new();
    if let Some(reservations) = account.reservations() {
        ended_holds(cx, account, reservations, &mut given_back, effects);
    }
    credits::settle(cx, account, &given_back, effects);
}

fn ended_holds(
    cx: Context<'_>,
    account: &Account,
    reservations: &Reservations,
    given_back: &mut BTreeMap<NameId, Vec<(Millis, u64)>>,
    effects: &mut Effects,
) {
    let now = cx.now;
    // Several holds may end on one ledger: changes add up here before they are listed.
    let mut changed: BTreeMap<(NameId, NameId, Millis), Ledger> = BTreeMap::new();
    for held in reservations.due(now).filter(|held| !held.charges()) {
        let fate = fate(held, now);
        if let (true, Some(credits)) = (fate.ends, held.extra().credits) {
            given_back.entry(credits.pool).or_default().push((held.expires_at, credits.units));
        }
        for (limit, start) in &held.ledgers {
            let Some(ledger) = account.ledger(held.feature, *limit, *start) else { continue };
            let ledger = changed.entry((held.feature, *limit, *start)).or_insert(*ledger);
            fate.change(held, ledger);
        }
        effects.push(if fate.forgets {
            Effect::ReservationForgotten(held.id)
        } else {
            Effect::Reservation(Reservation {
                state: ReservationState::Expired,
                next_event_at: fate.forgotten_at,
                ..held.clone()
            })
        });
    }
    for ledger in changed.into_values() {
        assert!(ledger.is_sound(), "unsound ledger {ledger:?}");
        put_or_close(cx, account, ledger, effects);
    }
    subjects::ended(cx, account, effects);
}

/// What time has done to a hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    /// It has ended.
    ends: bool,
    /// It is not remembered any more.
    forgets: bool,
    forgotten_at: Millis,
}

/// What time has done to a hold that is due.
pub(super) fn fate(held: &Reservation, now: Millis) -> Fate {
    let forgotten_at = held.expires_at.plus(limits::RESERVATION_MEMORY_MS);
    let forgets = match held.state {
        // After a long sleep the end and the forgetting may both be due.
        ReservationState::Open | ReservationState::Expired => forgotten_at <= now,
        ReservationState::Committed { .. } | ReservationState::Released => true,
    };
    Fate { ends: held.state == ReservationState::Open, forgets, forgotten_at }
}

impl Fate {
    /// Changes a ledger that the hold was admitted into.
    pub(super) fn change(self, held: &Reservation, ledger: &mut Ledger) {
        if self.ends {
            ledger.reserved -= held.units;
        }
        if self.forgets {
            ledger.holds -= 1;
        }
    }
}

/// Lists a ledger as closed, with what it was measured by and what its aggregation knows of it.
#[cold]
pub(super) fn close(cx: Context<'_>, account: &Account, ledger: Ledger, effects: &mut Effects) {
    let known = account.known(ledger.feature, ledger.limit, ledger.window.start());
    effects.extend(measure::kept(cx, known, &ledger, effects));
    let terms = closing::terms_of(cx, account, &ledger).map(Box::new);
    effects.push(Effect::LedgerClosed(ledger, terms));
}

/// Lists a ledger of an earlier day as changed, or as closed. The latest of its limit stays, also
/// after its window: the next one begins where it ended. So does a bucket of a sliding window, until
/// the window has passed it.
pub(super) fn put_or_close(
    cx: Context<'_>,
    account: &Account,
    ledger: Ledger,
    effects: &mut Effects,
) {
    if ledger.is_over(cx.now)
        && account
            .is_replaced(&ledger, sliding::counts_on_ms(cx.catalog, ledger.feature, ledger.limit))
    {
        close(cx, account, ledger, effects);
    } else {
        effects.push(Effect::Ledger(ledger));
    }
}
