//! Concurrency: how many at a time.
//!
//! A slot is a reservation that ends by release or by time: `Reserve` acquires it, `Extend` is the
//! heartbeat, `Release` gives it back. Nothing is used up, all is held: the limit counts in one lifetime
//! ledger whose `used` stays 0, so `Consume`, `Record` and a `Commit` of units are errors. When
//! fewer are allowed than are held, those who are in stay, and nobody comes in until there is room.
//!
//! Thresholds and signals look at what is held. Each is announced once per *excursion*, which is over
//! when less is held than half of the lowest of them (of the most, where there is no soft one). Half,
//! so that an account that goes to and fro about a threshold is announced once. The limit's revision
//! counts excursions, too, so that no two signals are of the same name, revision and threshold. An excursion
//! that begins within an hour of what was told last goes on with that one: where work comes and goes, the
//! last slot is taken at every use.
//!
//! The holds themselves are [`super::hold`]'s.

use std::sync::LazyLock;

use crate::account::Account;
use crate::announced::Announced;
use crate::catalog::PlanLimit;
use crate::decide::Context;
use crate::decide::meter::Working;
use crate::decision::{Decision, Denial, Verdict};
use crate::effect::{Effect, Effects};
use crate::ledger::{Ledger, Marks};
use crate::limits::SLOTS_TOLD_EVERY_MS;
use crate::names::NameId;
use crate::reservation::{Reservation, ReservationState};
use crate::signal::{self, Change, REACHED_BP, SignalName};
use crate::subject::SubjectId;

/// Slots whose limit is not in force any more: they stay, and there are no more of them.
pub(super) static GONE: LazyLock<PlanLimit> =
    LazyLock::new(|| PlanLimit::of_slots(NameId(u32::MAX), Some(0), Vec::new()));

/// Whether these are slots, which hold and never book; also when their feature has left or is
/// another sort of thing by now.
pub(super) fn is_of_slots(cx: Context<'_>, held: &Reservation) -> bool {
    let limit = cx.catalog.concurrent_limit();
    limit.is_some() && held.ledgers.first().map(|(limit, _)| *limit) == limit
}

/// Marks what a ledger has come to by holding more, as news of its excursion. Nothing for a quota,
/// whose thresholds look at usage.
pub(super) fn announce(
    cx: Context<'_>,
    account: &Account,
    w: &mut Working<'_>,
    additional_units: u64,
    effects: &mut Effects,
) {
    if !w.limit.is_slots() || additional_units == 0 {
        return;
    }
    let previous_units = w.ledger.held() - additional_units;
    rearm(cx, account, w.limit, &mut w.ledger, previous_units);
    let (change, before) = (Change { at: cx.now, previous_units, refused_units: 0 }, effects.len());
    signal::announce(&mut w.ledger, w.limit, change, cx.catalog.signals, effects);
    if effects.len() > before {
        note_told(cx, w.limit, &w.ledger, effects);
    }
}

/// Notes when slots were told of. Nothing for other limits.
pub(super) fn note_told(
    cx: Context<'_>,
    limit: &PlanLimit,
    ledger: &Ledger,
    effects: &mut Effects,
) {
    if limit.is_slots() {
        effects.push(Effect::Announced(Box::new(Announced {
            name: SignalName::UsageCeiling,
            feature: ledger.feature,
            limit: ledger.limit,
            of: cx.now,
            limit_revision: ledger.limit_revision,
        })));
    }
}

/// Ends the excursion, if it is over and was not told of lately. What is held only falls between two requests that hold more, so
/// it was never less than right before the second: looking then is looking always.
pub(super) fn rearm(
    cx: Context<'_>,
    account: &Account,
    limit: &PlanLimit,
    ledger: &mut Ledger,
    held_units: u64,
) {
    let Some(max_units) = limit.included_units else { return };
    let told = account.announced(SignalName::UsageCeiling, ledger.feature, ledger.limit);
    if told.is_some_and(|told| cx.now < told.of.plus(SLOTS_TOLD_EVERY_MS)) {
        return;
    }
    let lowest_bp = limit.soft_limits_bp.first().copied().unwrap_or(REACHED_BP);
    let is_over = u128::from(held_units) * 2 * u128::from(REACHED_BP)
        < u128::from(max_units) * u128::from(lowest_bp);
    if is_over && !ledger.marks.is_empty() {
        ledger.marks = Marks::default();
        ledger.limit_revision = ledger.limit_revision.saturating_add(1);
    }
}

/// Says when time alone makes room for `units`: when enough holds have ended, if none is released
/// before or extended. More than the most can never pass, so it is not told to wait.
pub(super) fn with_retry(
    cx: Context<'_>,
    account: &Account,
    units: u64,
    decision: Decision,
) -> Decision {
    let (Verdict::Denied(Denial::ConcurrencyFull), Some(state)) =
        (decision.verdict, &decision.binding)
    else {
        return decision;
    };
    let free_units = state.ceiling_units.and_then(|ceiling| ceiling.checked_sub(units));
    let retry_after_ms = free_units
        .and_then(|most_held| ends_after_ms(cx, account, (None, &state.ledger), most_held));
    Decision { retry_after_ms, ..decision }
}

/// Milliseconds until time alone makes room for `units` in all limits of slots that refuse them: those of the
/// account, and of its subjects. `None`: never, or none of them is of slots.
pub(super) fn wait_ms<'a>(
    cx: Context<'_>,
    account: &Account,
    units: u64,
    all: impl Iterator<Item = (Option<SubjectId>, &'a Working<'a>)>,
) -> Option<i64> {
    let full = Verdict::Denied(Denial::ConcurrencyFull);
    let mut longest_ms = None;
    for (whose, w) in all.filter(|(_, w)| w.verdict == full) {
        let most_held = w.room.ceiling?.checked_sub(units)?;
        let ms = ends_after_ms(cx, account, (whose, &w.ledger), most_held)?;
        longest_ms = longest_ms.max(Some(ms));
    }
    longest_ms
}

/// The answer with how long to wait for slots. Nothing for other refusals.
pub(super) fn waiting(decision: Decision, wait_ms: Option<i64>) -> Decision {
    match decision.verdict {
        Verdict::Denied(Denial::ConcurrencyFull) => {
            Decision { retry_after_ms: wait_ms, ..decision }
        }
        _ => decision,
    }
}

/// Milliseconds until no more than `most_held` units of the ledger are held. Holds end in the order of
/// time, so the look at them is as short as the answer allows; they are bounded in any case.
fn ends_after_ms(
    cx: Context<'_>,
    account: &Account,
    (whose, ledger): (Option<SubjectId>, &Ledger),
    most_held: u64,
) -> Option<i64> {
    let mut held_units = ledger.held();
    let (limit, start) = (ledger.limit, ledger.window.start());
    for held in account.reservations()?.by_event() {
        let is_of_ledger = held.feature == ledger.feature
            && match whose {
                None => held.ledgers.contains(&(limit, start)),
                Some(id) => {
                    let levels = held.extra.iter().flat_map(|extra| &extra.levels);
                    levels.into_iter().any(|level| *level == (id, limit, start))
                }
            };
        if held.state == ReservationState::Open && is_of_ledger {
            held_units = held_units.saturating_sub(held.units);
            if held_units <= most_held {
                return Some(held.expires_at.since(cx.now));
            }
        }
    }
    None
}
