//! Reservations: reserve, extend, commit, release.
//!
//! Usage is booked into the ledgers the reservation was admitted into, whatever window it is by then:
//! each unit is spent under exactly one window, fixed at admission.

use std::sync::LazyLock;

use smallvec::SmallVec;

use crate::account::Account;
use crate::catalog::{PlanLimit, Policy};
use crate::decide::meter::{self, Ask, Working, WorkingSet};
use crate::decide::settle::put_or_close;
use crate::decide::{Context, concurrency, sliding};
use crate::decision::{Amounts, Decision, Denial, OpError, Outcome, Verdict};
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::policy;
use crate::reservation::{Reservation, ReservationId, ReservationState};
use crate::resolve::{Origin, Resolved, ResolvedLimits, resolve};
use crate::time::Millis;
use crate::window::WindowRule;

/// Sets units aside.
pub(super) fn reserve(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    units: u64,
    hold_ms: i64,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let mut working = meter::weigh(cx, account, ask, units, false);
    let shadow = meter::allow_in_shadow(cx, ask, &mut working, units, false);
    if meter::is_refused(&working) {
        meter::announce_refusal(cx, account, &working, units, effects);
        let decision = meter::answer(cx, account, ask, &working);
        let decision = concurrency::with_retry(cx, account, units, decision);
        return Ok(Outcome { decision, amounts: Amounts::default() });
    }
    if working.iter().any(|w| w.ledger.held() + units > limits::UNITS_MAX) {
        return Err(OpError::CounterFull);
    }
    let (open, last_id) = account.reservations().map_or((0, 0), |r| (r.open_count(), r.last_id()));
    if open >= limits::OPEN_RESERVATIONS_MAX || last_id >= u64::from(u32::MAX) {
        return Err(OpError::TooManyReservations { open });
    }

    // Every check is above this line, every change below it.
    for w in &mut working {
        w.ledger.reserved += units;
        w.ledger.holds += 1;
        concurrency::announce(cx, w, units, effects);
        meter::put_ledger(cx, account, w.own(), w.fresh, effects);
        w.fresh = false;
    }
    let expires_at = cx.now.plus(hold_ms);
    let id = ReservationId(u64::from(account.serial) << 32 | (last_id + 1));
    effects.push(Effect::Reservation(Reservation {
        id,
        feature: cx.catalog.feature(ask.feature).id,
        units,
        expires_at,
        next_event_at: expires_at,
        state: ReservationState::Open,
        ledgers: working.iter().map(|w| (w.ledger.limit, w.own().window.start())).collect(),
    }));
    let amounts = Amounts {
        reservation: Some(id),
        expires_at: Some(expires_at),
        units,
        ..Amounts::default()
    };
    let decision = Decision { shadow, ..meter::answer(cx, account, ask, &working) };
    Ok(Outcome { decision, amounts })
}

/// Holds longer, or more.
pub(super) fn extend(
    cx: Context<'_>,
    account: &Account,
    id: ReservationId,
    hold_ms: Option<i64>,
    additional_units: u64,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let held = find(account, id)?;
    if held.state != ReservationState::Open || held.expires_at <= cx.now {
        let state = match held.state {
            ReservationState::Open => ReservationState::Expired,
            ended => ended,
        };
        return Err(OpError::ReservationClosed { state });
    }
    let scene = Scene::of(cx, account, held);
    let mut working = scene.working(cx, account, held);
    let mut moves = Vec::new();
    let mut shadow = None;
    if additional_units > 0 {
        // Asking for more is asking; what is held already stays, whatever became of the account.
        if let Some(denial) = super::account_denial(cx, account) {
            let decision = super::refusal(account, cx.now, Some(held.feature), denial);
            return Ok(Outcome { decision, amounts: Amounts::default() });
        }
        moves = sliding::moves(cx, account, held, &working);
        for (place, w) in working.iter_mut().enumerate() {
            if let Some(moved) = moves.iter_mut().find(|moved| moved.place == place) {
                moved.weigh(w, additional_units);
            } else {
                w.verdict = meter::admission(w.limit, w.room, &w.ledger, additional_units, false);
                w.note_refused(additional_units);
            }
        }
        if let Some(feature) = cx.catalog.feature_of(held.feature)
            && !working.is_empty()
        {
            let ask = Ask { feature, limits: &scene.limits, origin: scene.origin };
            shadow = meter::allow_in_shadow(cx, ask, &mut working, additional_units, false);
        }
        if meter::is_refused(&working) {
            meter::announce_refusal(cx, account, &working, additional_units, effects);
            let decision = scene.answer(cx, account, held, &working);
            let decision = concurrency::with_retry(cx, account, additional_units, decision);
            return Ok(Outcome { decision, amounts: Amounts::default() });
        }
        let held_units = |(place, w): (usize, &Working<'_>)| {
            let moved = moves.iter().find(|moved| moved.place == place);
            moved.map_or(w.ledger.held(), |moved| moved.sum.held())
        };
        let mut held_units = working.iter().enumerate().map(held_units);
        if held_units.any(|units| units + additional_units > limits::UNITS_MAX) {
            return Err(OpError::CounterFull);
        }
    }

    // Every check is above this line, every change below it.
    let mut after = held.clone();
    for moved in moves {
        let w = &mut working[moved.place];
        effects.push(moved.leave(cx, account));
        sliding::rename(&mut after, &moved);
        (w.ledger, w.fresh, w.beyond) = (moved.sum, moved.fresh, Some(moved.beyond));
    }
    for w in &mut working {
        w.ledger.reserved += additional_units;
        concurrency::announce(cx, w, additional_units, effects);
        meter::put_ledger(cx, account, w.own(), w.fresh, effects);
    }
    after.units += additional_units;
    // A hold is never shortened: the first promise stands.
    after.expires_at = hold_ms.map_or(held.expires_at, |ms| cx.now.plus(ms).max(held.expires_at));
    after.next_event_at = after.expires_at;
    let amounts = Amounts {
        reservation: Some(id),
        expires_at: Some(after.expires_at),
        units: after.units,
        ..Amounts::default()
    };
    effects.push(Effect::Reservation(after));
    let decision = Decision { shadow, ..scene.answer(cx, account, held, &working) };
    Ok(Outcome { decision, amounts })
}

/// Turns a reservation into usage. Less than was held gives the rest back; more, or later than the
/// hold lasted, is booked in full, and what no limit allows of the surplus is debt: usage that
/// happened is never lost.
pub(super) fn commit(
    cx: Context<'_>,
    account: &Account,
    id: ReservationId,
    units: u64,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let held = find_unsettled(account, id)?;
    if concurrency::is_of_slots(cx, held) {
        return Err(OpError::SlotsAreHeld);
    }
    let still_held = held.state == ReservationState::Open;
    let late = !still_held || held.expires_at <= cx.now;
    let surplus_units = units - if late { 0 } else { units.min(held.units) };
    let scene = Scene::of(cx, account, held);
    let mut working = scene.working(cx, account, held);
    // What the hold gives back makes room for what is committed.
    let given_back = if still_held { held.units } else { 0 };
    if working.iter().any(|w| w.ledger.held() - given_back + units > limits::UNITS_MAX) {
        return Err(OpError::CounterFull);
    }
    let carried: SmallVec<[Option<Working<'_>>; 2]> =
        working.iter().map(|w| meter::carried_now(cx, account, w.limit, &w.ledger)).collect();
    if carried.iter().flatten().any(|to| to.ledger.held() + units > limits::UNITS_MAX) {
        return Err(OpError::CounterFull);
    }

    // Every check is above this line, every change below it.
    let mut debt_units = 0;
    for (w, carried) in working.iter_mut().zip(carried) {
        give_back(&mut w.ledger, held, still_held);
        let debt = meter::debt_of(w.room.ceiling, &w.ledger, units, surplus_units);
        debt_units = debt_units.max(debt);
        let previous_units = w.ledger.used;
        w.ledger.debt += debt;
        w.ledger.used += units;
        assert!(w.ledger.is_sound(), "unsound ledger {:?}", w.ledger);
        meter::announce_use(cx, account, w, previous_units, effects);
        w.verdict = meter::level(w.limit, w.room, &w.ledger);
        effects.push(put_or_close(cx, account, w.own()));
        if let Some(to) = carried.filter(|_| debt > 0) {
            meter::carry(cx, account, to, debt, effects);
        }
    }
    close(cx.now, account, held, ReservationState::Committed { units }, effects);
    let amounts = Amounts {
        reservation: Some(id),
        units,
        surplus_units,
        debt_units,
        late,
        ..Amounts::default()
    };
    Ok(Outcome { decision: scene.answer(cx, account, held, &working), amounts })
}

/// Gives a reservation back unused.
pub(super) fn release(
    cx: Context<'_>,
    account: &Account,
    id: ReservationId,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let held = find_unsettled(account, id)?;
    let still_held = held.state == ReservationState::Open;
    let late = !still_held || held.expires_at <= cx.now;
    let scene = Scene::of(cx, account, held);
    let mut working = scene.working(cx, account, held);

    // Every check is above this line, every change below it.
    for w in &mut working {
        give_back(&mut w.ledger, held, still_held);
        w.verdict = meter::level(w.limit, w.room, &w.ledger);
        effects.push(put_or_close(cx, account, w.own()));
    }
    close(cx.now, account, held, ReservationState::Released, effects);
    let amounts = Amounts {
        reservation: Some(id),
        units: if late { 0 } else { held.units },
        late,
        ..Amounts::default()
    };
    Ok(Outcome { decision: scene.answer(cx, account, held, &working), amounts })
}

/// The limits in force for a reservation's feature, now.
struct Scene<'a> {
    limits: ResolvedLimits<'a>,
    origin: Origin,
}

/// Books a limit that is not in force any more: it allows nothing, and nothing is announced.
static GONE: LazyLock<PlanLimit> = LazyLock::new(|| {
    PlanLimit::new(NameId(u32::MAX), WindowRule::Lifetime, Some(0), Vec::new(), Policy::Block)
});

impl<'a> Scene<'a> {
    fn of(cx: Context<'a>, account: &'a Account, held: &Reservation) -> Scene<'a> {
        let resolved = cx
            .catalog
            .feature_of(held.feature)
            .map(|f| resolve(cx.catalog, &account.profile, f, cx.now));
        match resolved {
            Some((Resolved::Limits(limits), origin)) => Scene { limits, origin },
            _ => Scene { limits: ResolvedLimits::Planned(&[]), origin: Origin::None },
        }
    }

    /// The ledgers the reservation was admitted into, each with its limit as it is now.
    fn working(&self, cx: Context<'_>, account: &Account, held: &Reservation) -> WorkingSet<'_> {
        held.ledgers
            .iter()
            .filter_map(|(limit, start)| account.ledger(held.feature, *limit, *start))
            .map(|ledger| {
                let known = self.limits.iter().find(|l| l.limit == ledger.limit);
                let is_slots = cx.catalog.concurrent_limit() == Some(ledger.limit);
                let gone = if is_slots { &concurrency::GONE } else { &GONE };
                let limit = known.unwrap_or_else(|| gone);
                let mut ledger = *ledger;
                let mut beyond = None;
                if let Some(every) = sliding::every_of(limit) {
                    let current = meter::ledger_now(cx, account, held.feature, limit).ledger.window;
                    let (sum, rest) = sliding::sum(account, limit, every, (ledger, false), current);
                    (ledger, beyond) = (sum, Some(rest));
                } else if known.is_some() {
                    ledger.see_limit(limit.mark());
                }
                let room = policy::room(account, limit, &ledger, cx.now);
                let verdict = meter::level(limit, room, &ledger);
                Working { limit, ledger, fresh: false, room, verdict, beyond }
            })
            .collect()
    }

    fn answer(
        &self,
        cx: Context<'_>,
        account: &Account,
        held: &Reservation,
        working: &[Working<'_>],
    ) -> Decision {
        let feature = cx.catalog.feature_of(held.feature);
        match feature {
            Some(feature) if !working.is_empty() => {
                let ask = Ask { feature, limits: &self.limits, origin: self.origin };
                meter::answer(cx, account, ask, working)
            }
            // The feature left the catalog; what was held is settled all the same.
            _ => Decision {
                verdict: working.iter().map(|w| w.verdict).max().unwrap_or(Verdict::Allowed),
                ..super::refusal(account, cx.now, Some(held.feature), Denial::UnknownFeature)
            },
        }
    }
}

fn find(account: &Account, id: ReservationId) -> Result<&Reservation, OpError> {
    account.reservations().and_then(|r| r.get(id)).ok_or(OpError::UnknownReservation)
}

/// A reservation that can still have an outcome: open, or expired and remembered.
fn find_unsettled(account: &Account, id: ReservationId) -> Result<&Reservation, OpError> {
    let held = find(account, id)?;
    match held.state {
        ReservationState::Open | ReservationState::Expired => Ok(held),
        state @ (ReservationState::Committed { .. } | ReservationState::Released) => {
            Err(OpError::ReservationClosed { state })
        }
    }
}

fn give_back(ledger: &mut Ledger, held: &Reservation, still_held: bool) {
    if still_held {
        ledger.reserved -= held.units;
    }
    ledger.holds -= 1;
}

/// Gives a reservation its one outcome, and forgets the oldest outcome when there are too many.
fn close(
    now: Millis,
    account: &Account,
    held: &Reservation,
    state: ReservationState,
    effects: &mut Effects,
) {
    if let Some(oldest) = account.reservations().and_then(|r| r.closed_to_forget()) {
        effects.push(Effect::ReservationForgotten(oldest));
    }
    effects.push(Effect::Reservation(Reservation {
        state,
        next_event_at: now.plus(limits::RESERVATION_MEMORY_MS),
        ledgers: SmallVec::new(),
        ..held.clone()
    }));
}
