//! Seats: invited, claimed, released.
//!
//! Every operation is idempotent by member, so it needs no key: who is invited or sits takes no second
//! seat, whoever is gone is gone. An invitation that ends gives its seat back at that instant. When
//! fewer are allowed than sit, those who are in stay and may come back in, and nobody new comes in.
//!
//! Soft thresholds look at the seats taken, invitations included; `seat_threshold_90pct` and
//! `seats_nearly_full` at those claimed. What was announced is armed again as that of a level is.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::account::Account;
use crate::catalog::{Catalog, FeatureIx, FeatureKind, PlanLimit};
use crate::decide::meter::{self, Ask, Working};
use crate::decide::{Context, Gate, allocation, announce_premium, bare_limits, gate, refusal};
use crate::decision::{Decision, Denial, OpError};
use crate::effect::{Effect, Effects};
use crate::ledger::{Ledger, Marks};
use crate::limits;
use crate::names::NameId;
use crate::resolve::{Origin, Resolved, ResolvedLimits, resolve};
use crate::seats::{Roster, Seat, SeatState};
use crate::signal::{self, Change, OfDay, REACHED_BP, Signal, SignalName, SignalState};

/// The share of seats, claimed, that `seat_threshold_90pct` is about.
const THRESHOLD_BP: u32 = 9_000;

/// A request about a seat. Members are 1 to 128 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatOp<'a> {
    /// Hold a seat for somebody.
    Invite {
        /// Whom.
        member: &'a str,
        /// How long from now, in milliseconds. `None`: as the catalog says.
        lasts_ms: Option<i64>,
    },
    /// Sit down, on the seat that was held or on a free one.
    Claim {
        /// Who.
        member: &'a str,
    },
    /// Give a seat back, claimed or invited to.
    Release {
        /// Who.
        member: &'a str,
    },
    /// Give one member's seat to another, as it is.
    Transfer {
        /// Whose.
        from: &'a str,
        /// To whom.
        to: &'a str,
    },
}

/// The answer to a request about a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatOutcome {
    /// The answer.
    pub decision: Decision,
    /// The seat after it: of whom it was asked for, or to whom it went. `None`: they have none.
    pub seat: Option<Seat>,
    /// Whether anything is different now.
    pub changed: bool,
}

/// Decides a request about a seat. `None` is a feature that the catalog does not have. What time has
/// brought is settled.
pub fn decide_seat(
    cx: Context<'_>,
    account: &Account,
    feature: Option<FeatureIx>,
    op: SeatOp<'_>,
    effects: &mut Effects,
) -> Result<SeatOutcome, OpError> {
    let Some(feature) = feature else {
        let suspended = account.profile.suspended;
        let denial = if suspended { Denial::AccountSuspended } else { Denial::UnknownFeature };
        return Ok(refused(refusal(account, cx.now, None, denial)));
    };
    let shape = cx.catalog.feature(feature);
    let FeatureKind::Seats { invited_ms, .. } = shape.kind else {
        return Err(OpError::NoSeats { kind: shape.kind.as_str() });
    };
    if let SeatOp::Release { member } = op {
        return Ok(release(cx, account, feature, member, effects));
    }
    let (limits, origin) = match gate(cx, account, feature) {
        Gate::Limits(limits, origin) => (limits, origin),
        Gate::Closed(denial, origin) => {
            if !matches!(op, SeatOp::Transfer { .. }) {
                announce_premium(cx, account, shape.id, (denial, origin), 1, effects);
            }
            let closed = refusal(account, cx.now, Some(shape.id), denial);
            // Whoever was let in before has a seat, whatever is refused now.
            let seat = match op {
                SeatOp::Invite { member, .. } | SeatOp::Claim { member } => {
                    account.seat(shape.id, member)
                }
                SeatOp::Release { .. } | SeatOp::Transfer { .. } => None,
            };
            return Ok(SeatOutcome { seat, ..refused(Decision { origin, ..closed }) });
        }
        Gate::Plain(_) | Gate::Rate(..) | Gate::Pool(_) => {
            unreachable!("seats resolve to limits")
        }
    };
    let ask = Ask { feature, limits: &limits, origin };
    match op {
        SeatOp::Invite { member, lasts_ms } => {
            let expires_at = cx.now.plus(lasts_ms.unwrap_or(invited_ms));
            take(cx, account, ask, (member, SeatState::Invited { expires_at }), effects)
        }
        SeatOp::Claim { member } => take(cx, account, ask, (member, SeatState::Claimed), effects),
        SeatOp::Transfer { from, to } => transfer(cx, account, ask, (from, to), effects),
        SeatOp::Release { .. } => unreachable!("answered above"),
    }
}

fn refused(decision: Decision) -> SeatOutcome {
    SeatOutcome { decision, seat: None, changed: false }
}

/// Invites, or claims.
fn take(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    (member, wanted): (&str, SeatState),
    effects: &mut Effects,
) -> Result<SeatOutcome, OpError> {
    let id = cx.catalog.feature(ask.feature).id;
    let known = account.seat(id, member);
    let mut w = meter::working_now(cx, account, id, &ask.limits[0]);
    let state = match (known.as_ref().map(|seat| seat.state), wanted) {
        (Some(SeatState::Claimed), _) => SeatState::Claimed,
        // Sent again, it lasts anew, and is never shortened.
        (Some(SeatState::Invited { expires_at: a }), SeatState::Invited { expires_at: b }) => {
            SeatState::Invited { expires_at: a.max(b) }
        }
        (_, wanted) => wanted,
    };
    let mut shadow = not_in_plan(ask);
    if let Some(seat) = &known
        && seat.state == state
    {
        w.verdict = meter::level(w.limit, w.room, &w.ledger);
        let decision = meter::answer_shadowed(cx, account, ask, &[w], shadow);
        return Ok(SeatOutcome { decision, seat: known, changed: false });
    }
    if known.is_none() {
        w.verdict = meter::admission(w.limit, w.room, &w.ledger, 1, false);
        shadow = meter::allow_in_shadow(cx, ask, std::slice::from_mut(&mut w), 1, false);
        if !w.verdict.is_allowed() {
            let working = [w];
            meter::announce_refusal(cx, account, &working, 1, effects);
            announce_invite(
                cx,
                account,
                wanted,
                (&working[0], working[0].ledger.held(), 1),
                effects,
            );
            return Ok(refused(meter::answer(cx, account, ask, &working)));
        }
        let taken = account.roster().map_or(0, Roster::count);
        if taken >= limits::SEATS_MAX {
            return Err(OpError::TooManySeats { taken });
        }
    }

    // Every check is above this line, every change below it.
    let before = w.ledger;
    let (came, left) = (Some(state), known.as_ref().map(|seat| seat.state));
    count(&mut w.ledger, came, left);
    announce(cx, &mut w, &before, effects);
    if known.is_none() {
        announce_invite(cx, account, wanted, (&w, before.held(), 0), effects);
    }
    meter::put_ledger(cx, account, w.ledger, w.fresh, effects);
    w.fresh = false;
    let member = known.map_or_else(|| Arc::from(member), |seat| seat.member);
    let seat = Seat { feature: id, member, state, since: cx.now };
    effects.push(Effect::Seat(Box::new(seat.clone())));
    w.verdict = meter::level(w.limit, w.room, &w.ledger);
    let decision = meter::answer_shadowed(cx, account, ask, &[w], shadow);
    Ok(SeatOutcome { decision, seat: Some(seat), changed: true })
}

/// Why nobody would be let in, if the feature were not only watched.
fn not_in_plan(ask: Ask<'_>) -> Option<Denial> {
    (ask.origin == Origin::None).then_some(Denial::NotInPlan)
}

/// Tells that somebody was invited, also where there was no seat.
fn announce_invite(
    cx: Context<'_>,
    account: &Account,
    wanted: SeatState,
    (w, previous_units, refused_units): (&Working<'_>, u64, u64),
    effects: &mut Effects,
) {
    let SeatState::Invited { .. } = wanted else { return };
    let said = OfDay {
        feature: w.ledger.feature,
        limit: w.ledger.limit,
        previous_units,
        current_units: w.ledger.held(),
        included_units: w.limit.included_units.unwrap_or_default(),
        refused_units,
    };
    signal::announce_daily(cx, account, SignalName::TeamInviteSent, said, effects);
}

/// Frees a seat. Never refused: who is gone is gone, whatever became of the account.
fn release(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    member: &str,
    effects: &mut Effects,
) -> SeatOutcome {
    let id = cx.catalog.feature(feature).id;
    let (limits, origin) = limits_of(cx, account, feature);
    let ask = Ask { feature, limits: &limits, origin };
    let mut w = meter::working_now(cx, account, id, &ask.limits[0]);
    let known = account.seat(id, member);
    if let Some(seat) = &known {
        free(&mut w, [seat.state].into_iter());
        meter::put_ledger(cx, account, w.ledger, w.fresh, effects);
        effects.push(Effect::SeatFreed(id, Arc::clone(&seat.member)));
    }
    w.verdict = meter::level(w.limit, w.room, &w.ledger);
    let decision = meter::answer(cx, account, ask, &[w]);
    SeatOutcome { decision, seat: None, changed: known.is_some() }
}

/// Gives a seat to somebody else, as it is. Again it changes nothing.
fn transfer(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    (from, to): (&str, &str),
    effects: &mut Effects,
) -> Result<SeatOutcome, OpError> {
    let id = cx.catalog.feature(ask.feature).id;
    let (left, known) = (account.seat(id, from), account.seat(id, to));
    let seat = match (&left, &known) {
        (None, None) => return Err(OpError::UnknownMember),
        (Some(_), Some(_)) => return Err(OpError::MemberHasSeat),
        (None, Some(seat)) => seat.clone(),
        (Some(seat), None) => Seat { member: Arc::from(to), ..seat.clone() },
    };

    // Every check is above this line, every change below it.
    if let Some(left) = &left {
        effects.push(Effect::SeatFreed(id, Arc::clone(&left.member)));
        effects.push(Effect::Seat(Box::new(seat.clone())));
    }
    let mut w = meter::working_now(cx, account, id, &ask.limits[0]);
    w.verdict = meter::level(w.limit, w.room, &w.ledger);
    let decision = meter::answer_shadowed(cx, account, ask, &[w], not_in_plan(ask));
    Ok(SeatOutcome { decision, seat: Some(seat), changed: left.is_some() })
}

/// Frees the seats of invitations that have ended.
pub(super) fn settle(cx: Context<'_>, account: &Account, effects: &mut Effects) {
    let due = account.roster().filter(|roster| roster.next_expiry_at() <= cx.now);
    let Some(roster) = due else { return };
    let ended = roster.ended(cx.now).map(|(expires_at, feature, member)| {
        (feature, Arc::clone(member), SeatState::Invited { expires_at })
    });
    free_all(cx, account, ended, effects);
}

/// Whether an account has room for so many more members, whatever its plan gives: of a check that was
/// allowed. Of all that is no seat there is.
pub fn have_room(catalog: &Catalog, decision: &Decision, units: u64) -> Result<(), OpError> {
    let Some(seats) = decision.binding.as_ref() else { return Ok(()) };
    if Some(seats.ledger.limit) != catalog.seats_limit() || !decision.verdict.is_allowed() {
        return Ok(());
    }
    let held = seats.ledger.held();
    if held.saturating_add(units) <= limits::SEATS_MAX as u64 {
        return Ok(());
    }
    Err(OpError::TooManySeats { taken: usize::try_from(held).unwrap_or(limits::SEATS_MAX) })
}

/// Gives back all seats of a member, also those of features that have left the catalog, and returns how
/// many there were. To be called after [`settle_all`](super::settle_all).
pub fn free_member(
    cx: Context<'_>,
    account: &Account,
    member: &str,
    effects: &mut Effects,
) -> usize {
    let all = account.roster().into_iter().flat_map(Roster::iter);
    let left: Vec<_> = all
        .filter(|seat| *seat.member == *member)
        .map(|seat| (seat.feature, seat.member, seat.state))
        .collect();
    let count = left.len();
    free_all(cx, account, left.into_iter(), effects);
    count
}

fn free_all(
    cx: Context<'_>,
    account: &Account,
    left: impl Iterator<Item = (NameId, Arc<str>, SeatState)>,
    effects: &mut Effects,
) {
    let mut by_feature: BTreeMap<NameId, SmallVec<[SeatState; 4]>> = BTreeMap::new();
    for (feature, member, state) in left {
        by_feature.entry(feature).or_default().push(state);
        effects.push(Effect::SeatFreed(feature, member));
    }
    for (id, states) in by_feature {
        let limit = cx.catalog.seats_limit();
        let ledger = limit.and_then(|limit| account.ledger_at(id, limit, cx.now));
        let Some(ledger) = ledger.copied() else { continue };
        effects.push(Effect::Ledger(match cx.catalog.feature_of(id) {
            Some(feature) if is_of_seats(cx, feature) => {
                let (limits, _) = limits_of(cx, account, feature);
                let mut w = meter::working_now(cx, account, id, &limits[0]);
                free(&mut w, states.into_iter());
                w.ledger
            }
            // Nothing is announced of what is not in the catalog.
            _ => {
                let mut ledger = ledger;
                states.iter().for_each(|state| count(&mut ledger, None, Some(*state)));
                ledger
            }
        }));
    }
}

fn is_of_seats(cx: Context<'_>, feature: FeatureIx) -> bool {
    matches!(cx.catalog.feature(feature).kind, FeatureKind::Seats { .. })
}

/// The limit in force, or one with nothing included.
fn limits_of<'a>(
    cx: Context<'a>,
    account: &'a Account,
    feature: FeatureIx,
) -> (ResolvedLimits<'a>, Origin) {
    match resolve(cx.catalog, account, feature, cx.now) {
        (Resolved::Limits(limits), origin) => (limits, origin),
        _ => (bare_limits(cx, feature).expect("seats have a limit"), Origin::None),
    }
}

/// Counts a seat that came and one that left; a change of state is both.
fn count(ledger: &mut Ledger, came: Option<SeatState>, left: Option<SeatState>) {
    match left {
        Some(SeatState::Claimed) => ledger.used -= 1,
        Some(SeatState::Invited { .. }) => {
            ledger.reserved -= 1;
            ledger.holds -= 1;
        }
        None => {}
    }
    match came {
        Some(SeatState::Claimed) => ledger.used += 1,
        Some(SeatState::Invited { .. }) => {
            ledger.reserved += 1;
            ledger.holds += 1;
        }
        None => {}
    }
    assert!(ledger.is_sound(), "unsound ledger {ledger:?}");
}

/// Counts seats that left, and arms again what that has come below.
fn free(w: &mut Working<'_>, left: impl Iterator<Item = SeatState>) {
    let before = w.ledger;
    left.for_each(|state| count(&mut w.ledger, None, Some(state)));
    allocation::rearm(w.limit, &mut w.ledger, before.held());
    rearm_claimed(w.limit, &mut w.ledger, before.used);
}

/// The marks that the signals of claimed seats have: soft thresholds of seats leave them free.
const MARKS: [(SignalName, usize); 2] = [
    (SignalName::SeatThreshold90pct, limits::SEAT_THRESHOLDS_MAX),
    (SignalName::SeatsNearlyFull, limits::SEAT_THRESHOLDS_MAX + 1),
];

/// From how many claimed seats on a signal is due. `None`: never.
fn due_units(limit: &PlanLimit, name: SignalName) -> Option<u64> {
    let included = limit.included_units.filter(|included| *included > 0)?;
    match name {
        SignalName::SeatsNearlyFull => (included > 1).then(|| included - 1),
        _ => {
            let due = u128::from(included) * u128::from(THRESHOLD_BP);
            u64::try_from(due.div_ceil(u128::from(REACHED_BP))).ok()
        }
    }
}

/// Arms the signals of claimed seats again, when those fell through three quarters of what is due.
fn rearm_claimed(limit: &PlanLimit, ledger: &mut Ledger, before_units: u64) {
    let mut armed = Marks::default();
    for (name, place) in MARKS {
        let Some(due) = due_units(limit, name) else { continue };
        let is_below = |units: u64| u128::from(units) * 4 < u128::from(due) * 3;
        if is_below(ledger.used) && !is_below(before_units) {
            armed = armed.with(Marks::threshold(place));
        }
    }
    let after = ledger.marks.without(armed);
    if after != ledger.marks {
        ledger.marks = after;
        ledger.limit_revision = ledger.limit_revision.saturating_add(1);
    }
}

/// Says what taking a seat has come to.
fn announce(cx: Context<'_>, w: &mut Working<'_>, before: &Ledger, effects: &mut Effects) {
    let change = Change { at: cx.now, previous_units: before.held(), refused_units: 0 };
    if before.held() < w.ledger.held() {
        signal::announce(&mut w.ledger, w.limit, change, cx.catalog.signals, effects);
    }
    for (name, place) in MARKS {
        let mark = Marks::threshold(place);
        let is_due = due_units(w.limit, name).is_some_and(|due| due <= w.ledger.used);
        if !is_due || before.used >= w.ledger.used || w.ledger.marks.has(mark) {
            continue;
        }
        let previous_state = SignalState::of(w.ledger.marks);
        w.ledger.marks = w.ledger.marks.with(mark);
        if !cx.catalog.signals.raises(name) {
            continue;
        }
        effects.push(Effect::Signal(Box::new(Signal {
            name,
            feature: w.ledger.feature,
            limit: w.ledger.limit,
            window: w.ledger.window,
            limit_revision: w.ledger.limit_revision,
            crossed_bp: SmallVec::new(),
            previous_units: before.used,
            current_units: w.ledger.used,
            included_units: w.limit.included_units.unwrap_or_default(),
            refused_units: 0,
            previous_state,
            state: SignalState::of(w.ledger.marks),
            grace_until: None,
            foretold: None,
            trial: None,
            earned_by: None,
            at: cx.now,
        })));
    }
}
