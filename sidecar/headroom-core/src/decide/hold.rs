//! Reservations: reserve, extend, commit, release.
//!
//! Usage is booked into the ledgers the reservation was admitted into, whatever window it is by then:
//! each unit is spent under exactly one window, fixed at admission. A hold that grows is admitted anew
//! ([`growth`]).

use std::sync::LazyLock;

use smallvec::SmallVec;

use crate::account::Account;
use crate::catalog::{PlanLimit, Policy};
use crate::decide::meter::{self, Ask, Working, WorkingSet};
use crate::decide::settle::put_or_close;
use crate::decide::subjects::{self, Level};
use crate::decide::{Context, allocation, concurrency, credits, growth, sliding, wait};
use crate::decision::{Amounts, Decision, Denial, OpError, Outcome, Verdict};
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::owing;
use crate::policy;
use crate::reservation::{
    OnExpiry, Reservation, ReservationExtra, ReservationId, ReservationState, Reservations,
};
use crate::resolve::{Origin, Resolved, ResolvedLimits, Whose, resolve};
use crate::stock;
use crate::tally;
use crate::time::Millis;
use crate::window::WindowRule;

/// Sets units aside.
pub(super) fn reserve(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    (units, hold_ms, on_expiry): (u64, i64, OnExpiry),
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let mut working = meter::weigh(cx, account, ask, units, false);
    let shadow = meter::allow_in_shadow(cx, ask, &mut working, units, false);
    if meter::is_refused(&working) {
        wait::note_refused(cx, account, (ask.feature, None), &mut working, units);
        meter::announce_refusal(cx, account, &working, units, effects);
        let decision = meter::answer(cx, account, ask, &working);
        let decision = concurrency::with_retry(cx, account, units, decision);
        return Ok(Outcome { decision, amounts: Amounts::default() });
    }
    if working.iter().any(|w| w.ledger.held() + units > limits::UNITS_MAX) {
        return Err(OpError::CounterFull);
    }
    let feature = cx.catalog.feature(ask.feature).id;
    let made = made(cx, account, feature, units, hold_ms)?;

    // Every check is above this line, every change below it.
    for w in &mut working {
        w.ledger.reserved += units;
        w.ledger.holds += 1;
        // What no plan contains has no limit that could be near or hit.
        if ask.origin != Origin::None {
            concurrency::announce(cx, account, w, units, effects);
        }
        meter::put_ledger(cx, account, w.own(), w.fresh, effects);
        w.fresh = false;
    }
    let (id, expires_at) = (made.id, made.expires_at);
    let ledgers = working.iter().map(|w| (w.ledger.limit, w.own().window.start())).collect();
    let mut made = Reservation { ledgers, ..made };
    made.set_extra(ReservationExtra { on_expiry, ..ReservationExtra::default() });
    effects.push(Effect::Reservation(made));
    let amounts = Amounts {
        reservation: Some(id),
        expires_at: Some(expires_at),
        units,
        ..Amounts::default()
    };
    let decision = meter::answer_shadowed(cx, account, ask, &working, shadow);
    Ok(Outcome { decision, amounts })
}

/// The account's next reservation, open, and in no ledger yet.
pub(super) fn made(
    cx: Context<'_>,
    account: &Account,
    feature: NameId,
    units: u64,
    hold_ms: i64,
) -> Result<Reservation, OpError> {
    let (open, last_id) = account.reservations().map_or((0, 0), |r| (r.open_count(), r.last_id()));
    if open >= limits::OPEN_RESERVATIONS_MAX || last_id >= u64::from(u32::MAX) {
        return Err(OpError::TooManyReservations { open });
    }
    let expired = account.reservations().map_or(0, Reservations::expired_count);
    if expired >= limits::EXPIRED_RESERVATIONS_MAX {
        return Err(OpError::TooManyExpired { expired });
    }
    let expires_at = cx.now.plus(hold_ms);
    Ok(Reservation {
        id: ReservationId(u64::from(account.serial) << 32 | (last_id + 1)),
        feature,
        units,
        expires_at,
        next_event_at: expires_at,
        state: ReservationState::Open,
        ledgers: SmallVec::new(),
        extra: None,
    })
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
    let levels = subjects::of_hold(cx, account, held);
    let mut working = scene.working(cx, account, held);
    let mut sets: Vec<WorkingSet<'_>> = levels.iter().map(|level| level.held(cx, held)).collect();
    let mut moves = Vec::new();
    let mut level_moves = vec![Vec::new(); levels.len()];
    let mut shadow = None;
    let stands = stands(held);
    if additional_units > 0 {
        // Asking for more is asking; what is held already stays, whatever became of the account.
        if let Some(denial) = super::account_denial(cx, account) {
            let decision = super::refusal(account, cx.now, Some(held.feature), denial);
            return Ok(Outcome { decision, amounts: stands });
        }
        moves = growth::ask(cx, account, held, &mut working, additional_units);
        for ((level, set), moves) in levels.iter().zip(&mut sets).zip(&mut level_moves) {
            *moves = growth::ask(cx, &level.seen, held, set, additional_units);
        }
        if let Some(feature) = cx.catalog.feature_of(held.feature)
            && !working.is_empty()
        {
            let ask = Ask { feature, limits: &scene.limits, origin: scene.origin };
            shadow = allow_all_in_shadow(cx, ask, &mut working, &mut sets, additional_units);
        }
        if meter::is_refused(&working) || sets.iter().any(|set| meter::is_refused(set)) {
            growth::take_back(cx, account, held, &mut working, &moves);
            for ((level, set), moves) in levels.iter().zip(&mut sets).zip(&level_moves) {
                growth::take_back(cx, &level.seen, held, set, moves);
            }
            meter::announce_refusal(cx, account, &working, additional_units, effects);
            let theirs = levels.iter().zip(&sets);
            let theirs = theirs.flat_map(|(l, set)| set.iter().map(|w| (Some(l.id()), w)));
            let all = working.iter().map(|w| (None, w)).chain(theirs);
            let wait_ms = concurrency::wait_ms(cx, account, additional_units, all);
            let decision = scene.answer_with(cx, account, held, working, (&levels, sets));
            let decision = concurrency::waiting(decision, wait_ms);
            return Ok(Outcome { decision, amounts: stands });
        }
        growth::check_counters(&working, additional_units)?;
        sets.iter().try_for_each(|set| growth::check_counters(set, additional_units))?;
    }

    // Every check is above this line, every change below it.
    let mut after = held.clone();
    for moved in &moves {
        moved.leave(cx, account, effects);
        after.ledgers.iter_mut().for_each(|(limit, start)| moved.rename(*limit, start));
    }
    for w in &mut working {
        w.ledger.reserved += additional_units;
        if scene.origin != Origin::None {
            concurrency::announce(cx, account, w, additional_units, effects);
        }
        meter::put_ledger(cx, account, w.own(), w.fresh, effects);
        w.fresh = false;
    }
    for ((level, set), moves) in levels.iter().zip(&mut sets).zip(level_moves) {
        let mut changes = Effects::new();
        for moved in &moves {
            moved.leave(cx, &level.seen, &mut changes);
            level.rename(&mut after, moved);
        }
        for w in set.iter_mut() {
            w.ledger.reserved += additional_units;
            meter::put_ledger(cx, &level.seen, w.own(), w.fresh, &mut changes);
            w.fresh = false;
        }
        level.list(cx, changes, effects);
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
    let decision = scene.answer_with(cx, account, held, working, (&levels, sets));
    Ok(Outcome { decision: Decision { shadow, ..decision }, amounts })
}

/// What a refused extension leaves as it is.
pub(super) fn stands(held: &Reservation) -> Amounts {
    Amounts {
        reservation: Some(held.id),
        expires_at: Some(held.expires_at),
        units: held.units,
        ..Amounts::default()
    }
}

/// Lets a feature that is only watched go on, at its levels too.
fn allow_all_in_shadow(
    cx: Context<'_>,
    ask: Ask<'_>,
    working: &mut [Working<'_>],
    sets: &mut [WorkingSet<'_>],
    units: u64,
) -> Option<Denial> {
    let mut shadow = meter::allow_in_shadow(cx, ask, working, units, false);
    for set in sets.iter_mut().filter(|set| !set.is_empty()) {
        shadow = shadow.or(meter::allow_in_shadow(cx, ask, set, units, false));
    }
    shadow
}

/// What becomes of the rest of a reservation when a part of it is booked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rest {
    /// It is given back, and the reservation has its outcome.
    Ends,
    /// It is held on, so long from now if it says so.
    Stays { hold_ms: Option<i64> },
}

/// Turns a reservation into usage. Less than was held gives the rest back, or holds it on; more, or
/// later than the hold lasted, is booked in full, and what no limit allows of the surplus is debt:
/// usage that happened is never lost.
///
/// What the end of the hold has charged counts already: only what differs from it is booked, up or down.
pub(super) fn commit(
    cx: Context<'_>,
    account: &Account,
    id: ReservationId,
    units: u64,
    rest: Rest,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let held = find_unsettled(account, id)?;
    if concurrency::is_of_slots(cx, held) {
        return Err(OpError::SlotsAreHeld);
    }
    let late = is_late(cx, held);
    let share = Share::of(held, units, rest, late);
    let scene = Scene::of(cx, account, held);
    let levels = subjects::of_hold(cx, account, held);
    let mut working = scene.working(cx, account, held);
    // What the hold gives back makes room for what is committed.
    let room_for =
        |ledger: &Ledger| ledger.held() - share.unheld + share.added <= limits::UNITS_MAX;
    let mut sets: Vec<WorkingSet<'_>> = levels.iter().map(|level| level.held(cx, held)).collect();
    if working.iter().chain(sets.iter().flatten()).any(|w| !room_for(&w.ledger)) {
        return Err(OpError::CounterFull);
    }
    let carried: SmallVec<[Option<Working<'_>>; 2]> =
        working.iter().map(|w| meter::carried_now(cx, account, w.limit, &w.ledger)).collect();
    if carried.iter().flatten().any(|to| to.ledger.held() + share.added > limits::UNITS_MAX) {
        return Err(OpError::CounterFull);
    }

    // Every check is above this line, every change below it.
    let before_units = working.first().map_or(0, |w| w.ledger.used);
    let mut debt_units = 0;
    for (w, carried) in working.iter_mut().zip(carried) {
        let debt = share.book(cx, Whose::own(account), w, effects);
        debt_units = debt_units.max(debt);
        put_or_close(cx, account, w.own(), effects);
        if !account.is_replaced(&w.own(), 0) {
            owing::note(cx, account, &w.own(), effects);
        }
        if let Some(to) = carried.filter(|_| debt > 0) {
            meter::carry(cx, account, to, debt, effects);
        }
    }
    debt_units = debt_units.max(share.book_levels(cx, (&levels, &mut sets), effects));
    share.note_tally(cx, account, held, (&working, before_units), effects);
    let booked_units = held.extra().booked_units.saturating_add(units);
    let mut amounts = Amounts {
        reservation: Some(id),
        units,
        surplus_units: share.surplus,
        debt_units,
        late,
        ..Amounts::default()
    };
    match rest {
        Rest::Ends => {
            let outcome = ReservationState::Committed { units: booked_units };
            close(cx.now, account, held, outcome, effects);
        }
        Rest::Stays { hold_ms } => {
            let mut after = held.clone();
            after.units -= share.unheld;
            let charged_units = after.extra().charged_units - share.accounted;
            after.set_extra(ReservationExtra { booked_units, charged_units, ..held.extra() });
            if !late {
                let until = hold_ms.map(|ms| cx.now.plus(ms));
                after.expires_at = until.map_or(held.expires_at, |at| at.max(held.expires_at));
                after.next_event_at = after.expires_at;
                amounts.expires_at = Some(after.expires_at);
            }
            effects.push(Effect::Reservation(after));
        }
    }
    let decision = scene.answer_with(cx, account, held, working, (&levels, sets));
    Ok(Outcome { decision, amounts })
}

/// Gives a reservation back unused, also what its end has charged.
pub(super) fn release(
    cx: Context<'_>,
    account: &Account,
    id: ReservationId,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let held = find_unsettled(account, id)?;
    let late = is_late(cx, held);
    let share = Share::of(held, 0, Rest::Ends, late);
    let scene = Scene::of(cx, account, held);
    let levels = subjects::of_hold(cx, account, held);
    let mut working = scene.working(cx, account, held);
    let mut sets: Vec<WorkingSet<'_>> = levels.iter().map(|level| level.held(cx, held)).collect();

    // Every check is above this line, every change below it.
    let before_units = working.first().map_or(0, |w| w.ledger.used);
    for w in &mut working {
        share.book(cx, Whose::own(account), w, effects);
        put_or_close(cx, account, w.own(), effects);
    }
    share.book_levels(cx, (&levels, &mut sets), effects);
    share.note_tally(cx, account, held, (&working, before_units), effects);
    close(cx.now, account, held, ReservationState::Released, effects);
    let amounts = Amounts {
        reservation: Some(id),
        units: if late { share.returned } else { held.units },
        late,
        ..Amounts::default()
    };
    let decision = scene.answer_with(cx, account, held, working, (&levels, sets));
    Ok(Outcome { decision, amounts })
}

/// Takes what an ended hold holds for used, as of its end: the rest of the rules see it as any use.
/// The reservation is expired then, and a commit may still say what was really used.
pub(super) fn charge(
    cx: Context<'_>,
    account: &Account,
    held: &Reservation,
    effects: &mut Effects,
) {
    let scene = Scene::of(cx, account, held);
    let share = Share {
        unheld: held.units,
        added: held.units,
        returned: 0,
        accounted: 0,
        surplus: 0,
        ends: false,
    };
    let mut working = scene.working(cx, account, held);
    let before_units = working.first().map_or(0, |w| w.ledger.used);
    for w in &mut working {
        share.book(cx, Whose::own(account), w, effects);
        put_or_close(cx, account, w.own(), effects);
    }
    share.note_tally(cx, account, held, (&working, before_units), effects);
    let credits = credits::charge(cx, account, held, effects);
    let levels = subjects::of_hold(cx, account, held);
    let mut sets: Vec<WorkingSet<'_>> = levels.iter().map(|level| level.held(cx, held)).collect();
    share.book_levels(cx, (&levels, &mut sets), effects);
    let mut after = Reservation {
        state: ReservationState::Expired,
        next_event_at: held.expires_at.plus(limits::RESERVATION_MEMORY_MS),
        ..held.clone()
    };
    after.set_extra(ReservationExtra { charged_units: held.units, credits, ..held.extra() });
    effects.push(Effect::Reservation(after));
}

/// What booking a part of a reservation does to each of its ledgers.
#[derive(Debug, Clone, Copy)]
struct Share {
    /// Units not held any more.
    unheld: u64,
    /// Units used in addition.
    added: u64,
    /// Units charged before that were not used.
    returned: u64,
    /// Units charged before that were.
    accounted: u64,
    /// Units that the hold did not back: a part of those added.
    surplus: u64,
    /// Whether nothing can be booked afterwards.
    ends: bool,
}

impl Share {
    fn of(held: &Reservation, units: u64, rest: Rest, late: bool) -> Share {
        let ends = matches!(rest, Rest::Ends);
        let still_held = if held.state == ReservationState::Open { held.units } else { 0 };
        let charged = held.extra().charged_units;
        let accounted = units.min(charged);
        let backed = if late { 0 } else { held.units };
        Share {
            unheld: if ends { still_held } else { units.min(still_held) },
            added: units - accounted,
            returned: if ends { charged - accounted } else { 0 },
            accounted,
            surplus: (units - accounted).saturating_sub(backed),
            ends,
        }
    }

    /// Changes the counters of the levels of a reservation, and returns the most new debt of them.
    fn book_levels(
        &self,
        cx: Context<'_>,
        (levels, sets): (&[Level], &mut [WorkingSet<'_>]),
        effects: &mut Effects,
    ) -> u64 {
        let mut debt_units = 0;
        for (level, set) in levels.iter().zip(sets) {
            let mut changes = Effects::new();
            for w in set.iter_mut() {
                debt_units = debt_units.max(self.book(cx, level.whose(), w, &mut changes));
                put_or_close(cx, &level.seen, w.own(), &mut changes);
            }
            level.list(cx, changes, effects);
        }
        debt_units
    }

    /// Changes the counters of one ledger, says what that has come to, and returns the new debt.
    fn book(
        &self,
        cx: Context<'_>,
        whose: Whose<'_>,
        w: &mut Working<'_>,
        effects: &mut Effects,
    ) -> u64 {
        let (account, ceiling) = (whose.account, meter::ceiling_then(cx, whose, w));
        w.ledger.reserved -= self.unheld;
        w.ledger.holds -= u32::from(self.ends);
        let debt = meter::debt_of(ceiling, &w.ledger, self.added, self.surplus);
        let previous_units = w.ledger.used;
        w.ledger.debt += debt;
        w.ledger.used += self.added;
        give_back(w, self.returned, ceiling);
        // The bucket and not the sum of a sliding window: another catalog may have made one of windows that
        // were full each.
        assert!(w.own().is_sound(), "unsound ledger {:?}", w.own());
        if w.ledger.used != previous_units {
            allocation::rearm(w.limit, &mut w.ledger, previous_units);
            stock::note(cx, account, &w.ledger, effects);
        }
        if self.added > 0 {
            meter::announce_use(cx, account, w, previous_units, effects);
        }
        w.verdict = meter::level(w.limit, w.room, &w.ledger);
        debt
    }

    /// Notes the units in the tally of a feature that has buckets: in the window of the admission, at this
    /// moment or as near to it as that lasts. What the end of the hold had charged is taken off
    /// where it was noted then, and what of it was used is noted with the rest.
    fn note_tally(
        &self,
        cx: Context<'_>,
        account: &Account,
        held: &Reservation,
        (working, before_units): (&[Working<'_>], u64),
        effects: &mut Effects,
    ) {
        let feature = cx.catalog.feature_of(held.feature);
        let is_tallied = feature.is_some_and(|ix| cx.catalog.feature(ix).counting.is_some());
        let (Some(first), true) = (working.first(), is_tallied) else { return };
        let change = tally::signed(first.ledger.used) - tally::signed(before_units);
        let charged = tally::signed(self.accounted + self.returned);
        let within = tally::within(working.iter().map(|w| (w.limit, w.own().window)));
        let (then, here) =
            (tally::nearest(within, held.expires_at), tally::nearest(within, cx.now));
        tally::note(cx, account, held.feature, (then, within), -charged, effects);
        tally::note(cx, account, held.feature, (here, within), change + charged, effects);
    }
}

/// Takes back units that were charged and not used, and of the debt what is not above the limit then.
fn give_back(w: &mut Working<'_>, units: u64, ceiling: Option<u64>) {
    if units == 0 {
        return;
    }
    // Of a sliding window only the debt of the bucket itself can be taken back.
    let own = w.own();
    // There may be less by now: a level fell, or a correction took off more than was counted besides.
    let units = units.min(own.used);
    w.ledger.used -= units;
    let above = ceiling.map_or(0, |ceiling| w.ledger.used.saturating_sub(ceiling));
    let forgiven = units.min(own.debt).min(w.ledger.debt.saturating_sub(above));
    w.ledger.debt -= forgiven.max(own.debt.saturating_sub(own.used - units));
}

fn is_late(cx: Context<'_>, held: &Reservation) -> bool {
    held.state != ReservationState::Open || held.expires_at <= cx.now
}

/// The limits in force for a reservation's feature, now.
struct Scene<'a> {
    limits: ResolvedLimits<'a>,
    origin: Origin,
}

/// Books a limit that is not in force any more: nothing more is admitted, and nothing is announced. What has
/// happened is measured by what was in force then ([`meter::ceiling_then`]).
pub(super) static GONE: LazyLock<PlanLimit> = LazyLock::new(|| {
    PlanLimit::new(NameId(u32::MAX), WindowRule::Lifetime, Some(0), Vec::new(), Policy::Block)
});

impl<'a> Scene<'a> {
    fn of(cx: Context<'a>, account: &'a Account, held: &Reservation) -> Scene<'a> {
        let resolved =
            cx.catalog.feature_of(held.feature).map(|f| resolve(cx.catalog, account, f, cx.now));
        match resolved {
            Some((Resolved::Limits(limits), origin)) => Scene { limits, origin },
            _ => Scene { limits: ResolvedLimits::Planned(&[]), origin: Origin::None },
        }
    }

    /// The ledgers the reservation was admitted into, each with its limit as it is now.
    fn working(&self, cx: Context<'_>, account: &Account, held: &Reservation) -> WorkingSet<'_> {
        let ledgers = held.ledgers.iter().copied();
        working_of(cx, &self.limits, account, held.feature, ledgers)
    }

    /// The answer, when the reservation was admitted at these levels besides.
    fn answer_with<'b>(
        &self,
        cx: Context<'_>,
        account: &Account,
        held: &Reservation,
        working: WorkingSet<'b>,
        (levels, sets): (&'b [Level], Vec<WorkingSet<'b>>),
    ) -> Decision {
        let (working, owners) = subjects::together(working, levels, sets);
        let mut decision = self.answer(cx, account, held, &working);
        subjects::name(&mut decision, &working, &owners);
        decision
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

/// Ledgers that a reservation was admitted into, each with its limit as it is now.
pub(super) fn working_of<'a>(
    cx: Context<'_>,
    limits: &'a [PlanLimit],
    account: &Account,
    feature: NameId,
    ledgers: impl Iterator<Item = (NameId, Millis)>,
) -> WorkingSet<'a> {
    ledgers
        .filter_map(|(limit, start)| account.ledger(feature, limit, start))
        .map(|ledger| {
            let known = limits.iter().find(|l| l.limit == ledger.limit);
            let is_slots = cx.catalog.is_of_slots(ledger.limit);
            let gone = if is_slots { &concurrency::GONE } else { &GONE };
            let limit = known.unwrap_or_else(|| gone);
            let mut ledger = *ledger;
            let mut beyond = None;
            if let Some(every) = sliding::every_of(limit) {
                let current = meter::ledger_now(cx, account, feature, limit).ledger.window;
                let (sum, rest) = sliding::sum(account, limit, every, (ledger, false), current);
                (ledger, beyond) = (sum, Some(rest));
            } else if known.is_some() {
                ledger.see_limit(limit.mark());
            }
            let room = policy::room(account, limit, &ledger, cx.now);
            let verdict = meter::level(limit, room, &ledger);
            let enough_at = Millis::FOREVER;
            Working { limit, ledger, fresh: false, room, verdict, enough_at, beyond }
        })
        .collect()
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
        extra: None,
        ..held.clone()
    }));
}
