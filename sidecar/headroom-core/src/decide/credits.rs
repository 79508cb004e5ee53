//! Credits: requests about a pool itself, and about features that a pool pays for.
//!
//! A paid feature is an ordinary quota whose own limits decide first; then its price is charged to the
//! pool. Both are counted, or neither. A hold burns nothing: what a reservation holds cannot be drawn by
//! others, and the commit burns in the order that holds then. Usage that happened is always booked, a
//! commit as a record: what no grant pays is owed by the pool. So a grant that expires or is voided
//! while it is held leaves no hold unbacked in silence: the commit's charge says what became debt. What a
//! plan includes no more is kept as far as holds need it, until they end.
//!
//! A feature in shadow mode is charged what the pool can pay, and nothing when it would refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::account::Account;
use crate::catalog::{FeatureIx, FeatureKind};
use crate::credits::now::{INCLUDED, PoolNow, ROLLED_OVER};
use crate::credits::{CreditHold, CreditPrice, Grant, GrantSource};
use crate::decide::meter::{self, Ask};
use crate::decide::subjects::{self, Level};
use crate::decide::{Context, FeatureOp, HoldOp, hold, plain_hold, wait};
use crate::decision::{Amounts, Decision, Denial, LimitState, OpError, Outcome, Verdict};
use crate::effect::{Effect, Effects};
use crate::limits;
use crate::names::NameId;
use crate::reservation::{OnExpiry, Reservation, ReservationExtra, ReservationState};
use crate::resolve::{Origin, payer, resolve};
use crate::time::Millis;

/// A grant to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewGrant<'a> {
    /// Its id, 1 to 128 bytes, unique in the pool.
    pub id: &'a str,
    /// Units, 1 to 2^53-1.
    pub units: u64,
    /// Lower ones burn first.
    pub priority: u8,
    /// From when on. `None`: at once.
    pub starts_at: Option<Millis>,
    /// Until when. `None`: for ever.
    pub expires_at: Option<Millis>,
}

/// Why a grant was not made or taken back. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The id is of another grant.
    #[error("the pool has another grant of this id")]
    Differs,
    /// The id looks as those of included units do.
    #[error(
        "ids that begin with `included@` or `rolled_over@` are kept for units that plans include"
    )]
    KeptId,
    /// The grant would be over before it could be drawn from.
    #[error("the grant would end at {expires_at}, before it could be drawn from")]
    Over {
        /// Its end.
        expires_at: Millis,
    },
    /// The pool has as many as it may have.
    #[error("the pool has {max} grants that have not ended, the most allowed")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// More was given within one instant than the history can count.
    #[error("the history of the pool cannot count more units within one instant")]
    CounterFull,
    /// There is no such grant.
    #[error("the pool has no such grant")]
    Unknown,
    /// Included units are the plan's.
    #[error("these units come with the plan: change the plan, or override what it includes")]
    Planned,
}

/// Makes a grant. The same again changes nothing.
pub fn put_grant(
    cx: Context<'_>,
    account: &Account,
    pool: FeatureIx,
    new: &NewGrant<'_>,
    effects: &mut Effects,
) -> Result<Grant, GrantError> {
    let mut now = PoolNow::of(cx, account, cx.catalog.feature(pool).id);
    if new.id.starts_with(INCLUDED) || new.id.starts_with(ROLLED_OVER) {
        return Err(GrantError::KeptId);
    }
    let expires_at = new.expires_at.unwrap_or(Millis::FOREVER);
    if let Some(known) = now.pool.grant(new.id) {
        let is_same = known.units == new.units
            && known.priority == new.priority
            && known.starts_at == new.starts_at.unwrap_or(known.granted_at)
            && known.expires_at == expires_at;
        return if is_same { Ok(known.clone()) } else { Err(GrantError::Differs) };
    }
    let starts_at = new.starts_at.unwrap_or(cx.now);
    if expires_at <= cx.now.max(starts_at) {
        return Err(GrantError::Over { expires_at });
    }
    let given = |g: &&Grant| g.source == GrantSource::Given;
    if now.pool.grants().iter().filter(given).count() >= limits::GRANTS_MAX {
        return Err(GrantError::TooMany { max: limits::GRANTS_MAX });
    }
    if starts_at <= cx.now && !now.has_room_for_grant(new.units) {
        return Err(GrantError::CounterFull);
    }

    // Every check is above this line, every change below it.
    now.add(Grant {
        id: Arc::from(new.id),
        source: GrantSource::Given,
        units: new.units,
        burnt_units: 0,
        priority: new.priority,
        starts_at,
        expires_at,
        granted_at: cx.now,
        has_begun: starts_at <= cx.now,
        end: None,
    });
    let made = now.pool.grant(new.id).cloned().ok_or(GrantError::Unknown)?;
    now.list(effects);
    Ok(made)
}

/// Takes back what is left of a grant. What was burnt stays burnt, and a grant that has ended stays as it
/// ended.
pub fn void_grant(
    cx: Context<'_>,
    account: &Account,
    pool: FeatureIx,
    id: &str,
    reason: &str,
    effects: &mut Effects,
) -> Result<Grant, GrantError> {
    let mut now = PoolNow::of(cx, account, cx.catalog.feature(pool).id);
    let known = now.pool.grant(id).cloned().ok_or(GrantError::Unknown)?;
    if known.end.is_some() {
        return Ok(known);
    }
    if known.source == GrantSource::Included {
        return Err(GrantError::Planned);
    }
    let place = now.pool.grants().iter().position(|grant| *grant.id == *id);
    let place = place.ok_or(GrantError::Unknown)?;

    // Every check is above this line, every change below it.
    let ended = now.void(place, reason);
    now.announce(now.pool.head.used_units, 0, effects);
    now.list(effects);
    Ok(ended)
}

/// Lists what time or a change of the subscription has brought to every pool that the account has, or
/// that its plan has. Nothing when there is nothing new.
pub fn settle_pools(cx: Context<'_>, account: &Account, effects: &mut Effects) {
    let planned = |pool: &&FeatureIx| {
        let known = account.pool(cx.catalog.feature(**pool).id).is_some();
        known || resolve(cx.catalog, account, **pool, cx.now).1 != Origin::None
    };
    for pool in cx.catalog.pools().iter().filter(planned) {
        PoolNow::of(cx, account, cx.catalog.feature(*pool).id).list(effects);
    }
}

/// Lists what time has brought to pools: events of their own, and holds that ended.
pub(super) fn settle(
    cx: Context<'_>,
    account: &Account,
    ended: &BTreeMap<NameId, Vec<(Millis, u64)>>,
    effects: &mut Effects,
) {
    let due = account.pools().iter().filter(|pool| pool.next_event_at() <= cx.now);
    let mut names: BTreeSet<NameId> = due.map(|pool| pool.head.feature).collect();
    names.extend(ended.keys());
    for name in names {
        let mut now = PoolNow::with_ended(cx, account, name, ended.get(&name).map_or(&[], |e| e));
        now.announce(now.pool.head.used_units, 0, effects);
        now.list(effects);
    }
}

/// The state of a pool of an account now, whether its plan has it or not.
pub fn pool_state(cx: Context<'_>, account: &Account, pool: FeatureIx) -> LimitState {
    PoolNow::of(cx, account, cx.catalog.feature(pool).id).state()
}

/// A request about a pool itself: its units are credits.
pub(super) fn decide(
    cx: Context<'_>,
    account: &Account,
    (pool, origin): (FeatureIx, Origin),
    op: FeatureOp,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let feature = cx.catalog.feature(pool).id;
    let mut now = PoolNow::of(cx, account, feature);
    let blank = Decision { origin, ..blank(cx, account, feature) };
    let (units, is_attempt) = match op {
        FeatureOp::Check { units, attempt } => (units, attempt),
        FeatureOp::Consume { units }
        | FeatureOp::Reserve { units, .. }
        | FeatureOp::ReserveCharging { units, .. } => (units, true),
        FeatureOp::Record { units } => {
            if !now.has_room(units) {
                return Err(OpError::CounterFull);
            }
            return Ok(booked(now, blank, units, effects));
        }
        FeatureOp::Allocate { .. } | FeatureOp::Value { .. } => {
            return Err(OpError::WrongFeatureKind);
        }
    };
    if let Some(denial) = now.denial(units) {
        let decision = refused(&now, account, blank, (denial, CreditPrice::ITSELF, units));
        if is_attempt && denial == Denial::CreditsExhausted {
            now.announce_refusal(units, effects);
        }
        return Ok(Outcome { decision, amounts: Amounts::default() });
    }
    match op {
        FeatureOp::Consume { .. } => {
            check_room(&now, units)?;
            Ok(booked(now, blank, units, effects))
        }
        FeatureOp::Reserve { hold_ms, .. } | FeatureOp::ReserveCharging { hold_ms, .. } => {
            check_room(&now, units)?;
            let charges = matches!(op, FeatureOp::ReserveCharging { .. });
            let mut made = hold::made(cx, account, feature, units, hold_ms)?;
            made.set_extra(ReservationExtra {
                on_expiry: if charges { OnExpiry::Charge } else { OnExpiry::Release },
                credits: Some(CreditHold { pool: feature, units, charged_units: 0 }),
                ..ReservationExtra::default()
            });

            // Every check is above this line, every change below it.
            now.hold(units);
            let amounts = Amounts {
                reservation: Some(made.id),
                expires_at: Some(made.expires_at),
                units,
                ..Amounts::default()
            };
            let decision = joined(&now, blank, CreditPrice::ITSELF);
            now.list(effects);
            effects.push(Effect::Reservation(made));
            Ok(Outcome { decision, amounts })
        }
        FeatureOp::Check { .. }
        | FeatureOp::Record { .. }
        | FeatureOp::Allocate { .. }
        | FeatureOp::Value { .. } => {
            let decision = joined(&now, blank, CreditPrice::ITSELF);
            Ok(Outcome { decision, amounts: Amounts::default() })
        }
    }
}

/// Burns units of the pool itself.
fn booked(mut now: PoolNow<'_>, blank: Decision, units: u64, effects: &mut Effects) -> Outcome {
    let previous_units = now.pool.head.used_units;
    let charge = now.burn(units);
    now.announce(previous_units, 0, effects);
    let debt_units = charge.debt_units;
    let mut decision = joined(&now, blank, CreditPrice::ITSELF);
    decision.set_charge(charge);
    now.list(effects);
    Outcome { decision, amounts: Amounts { units, debt_units, ..Amounts::default() } }
}

/// A pool that pays for a feature.
pub(super) struct Paid {
    pub(super) pool: NameId,
    pub(super) price: CreditPrice,
}

impl Paid {
    /// The pool that pays for a feature of an account, if one does.
    #[inline]
    pub(super) fn of(cx: Context<'_>, account: &Account, feature: FeatureIx) -> Option<Paid> {
        if cx.catalog.feature(feature).credit_prices.is_empty() {
            return None;
        }
        let (pool, price) = payer(cx.catalog, &account.profile, feature, cx.now)?;
        Some(Paid { pool: cx.catalog.feature(pool).id, price })
    }

    /// As [`Paid::of`]; a pool pays for itself.
    pub(super) fn of_event(cx: Context<'_>, account: &Account, feature: FeatureIx) -> Option<Paid> {
        let known = cx.catalog.feature(feature);
        match known.kind {
            FeatureKind::Credits { .. } => {
                Some(Paid { pool: known.id, price: CreditPrice::ITSELF })
            }
            _ => Paid::of(cx, account, feature),
        }
    }

    /// The answer of a feature's own limits, with the pool as it stands.
    pub(super) fn joined(&self, cx: Context<'_>, account: &Account, own: Decision) -> Decision {
        joined(&PoolNow::of(cx, account, self.pool), own, self.price)
    }

    /// The state of the pool now.
    pub(super) fn limit_state(&self, cx: Context<'_>, account: &Account) -> LimitState {
        priced(&PoolNow::of(cx, account, self.pool), self.price, None)
    }

    /// A request about the feature: its own limits first, also those of subjects, then the pool, which is
    /// the account's.
    #[cold]
    pub(super) fn decide(
        &self,
        cx: Context<'_>,
        account: &Account,
        (ask, levels): (Ask<'_>, &[Level]),
        op: FeatureOp,
        effects: &mut Effects,
    ) -> Result<Outcome, OpError> {
        let (units, is_attempt) = match op {
            FeatureOp::Check { units, attempt } => (units, attempt),
            FeatureOp::Consume { units }
            | FeatureOp::Reserve { units, .. }
            | FeatureOp::ReserveCharging { units, .. } => (units, true),
            FeatureOp::Record { units } => {
                return self.record(cx, account, (ask, levels), units, effects);
            }
            FeatureOp::Allocate { .. } | FeatureOp::Value { .. } => {
                return Err(OpError::WrongFeatureKind);
            }
        };
        let mut now = PoolNow::of(cx, account, self.pool);
        let charge = self.price.cost(units);
        let checks = matches!(op, FeatureOp::Check { .. });
        if let Some(denial) = now.denial(charge) {
            if !cx.catalog.feature(ask.feature).shadow {
                let asked = (units, is_attempt);
                return self.refuse(now, account, (ask, levels), asked, denial, effects);
            }
            let mut outcome = own(cx, account, (ask, levels), op, effects)?;
            outcome.decision.shadow = outcome.decision.shadow.or(Some(denial));
            return Ok(outcome);
        }
        if !checks {
            check_room(&now, charge)?;
        }
        let mut outcome = own(cx, account, (ask, levels), op, effects)?;
        if !outcome.decision.verdict.is_allowed() {
            return Ok(outcome);
        }
        match op {
            FeatureOp::Consume { .. } => {
                let previous_units = now.pool.head.used_units;
                let charge = now.burn(charge);
                now.announce(previous_units, 0, effects);
                outcome.decision = joined(&now, outcome.decision, self.price);
                outcome.decision.set_charge(charge);
                now.list(effects);
            }
            FeatureOp::Reserve { .. } | FeatureOp::ReserveCharging { .. } => {
                now.hold(charge);
                outcome.decision = joined(&now, outcome.decision, self.price);
                now.list(effects);
                let credits = CreditHold { pool: self.pool, units: charge, charged_units: 0 };
                hold_credits(effects, credits);
            }
            FeatureOp::Check { .. }
            | FeatureOp::Record { .. }
            | FeatureOp::Allocate { .. }
            | FeatureOp::Value { .. } => {
                outcome.decision = joined(&now, outcome.decision, self.price);
            }
        }
        Ok(outcome)
    }

    /// The pool refuses. A graver refusal of the feature's own limits is told instead.
    fn refuse(
        &self,
        now: PoolNow<'_>,
        account: &Account,
        asked: (Ask<'_>, &[Level]),
        (units, attempt): (u64, bool),
        denial: Denial,
        effects: &mut Effects,
    ) -> Result<Outcome, OpError> {
        let op = FeatureOp::Check { units, attempt };
        let outcome = own(now.cx(), account, asked, op, effects)?;
        let charge = self.price.cost(units);
        let decision = refused(&now, account, outcome.decision, (denial, self.price, charge));
        if attempt && denial == Denial::CreditsExhausted {
            now.announce_refusal(charge, effects);
        }
        Ok(Outcome { decision, amounts: Amounts::default() })
    }

    /// Counts what happened already, and charges it: what no grant pays is owed.
    pub(super) fn record(
        &self,
        cx: Context<'_>,
        account: &Account,
        asked: (Ask<'_>, &[Level]),
        units: u64,
        effects: &mut Effects,
    ) -> Result<Outcome, OpError> {
        let mut now = PoolNow::of(cx, account, self.pool);
        let charge = self.price.cost(units);
        if !now.has_room(charge) {
            return Err(OpError::CounterFull);
        }
        let mut outcome = own(cx, account, asked, FeatureOp::Record { units }, effects)?;
        let previous_units = now.pool.head.used_units;
        let charge = now.burn(charge);
        now.announce(previous_units, 0, effects);
        outcome.decision = joined(&now, outcome.decision, self.price);
        outcome.decision.set_charge(charge);
        now.list(effects);
        Ok(outcome)
    }
}

/// What the feature's own limits say and count.
fn own(
    cx: Context<'_>,
    account: &Account,
    (ask, levels): (Ask<'_>, &[Level]),
    op: FeatureOp,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    if !levels.is_empty() {
        return subjects::count(cx, account, ask, levels, op, effects);
    }
    match op {
        FeatureOp::Check { units, attempt } => {
            Ok(meter::check(cx, account, ask, units, attempt, effects))
        }
        FeatureOp::Consume { units } => meter::consume(cx, account, ask, units, effects),
        FeatureOp::Reserve { units, hold_ms } => {
            hold::reserve(cx, account, ask, (units, hold_ms, OnExpiry::Release), effects)
        }
        FeatureOp::ReserveCharging { units, hold_ms } => {
            hold::reserve(cx, account, ask, (units, hold_ms, OnExpiry::Charge), effects)
        }
        FeatureOp::Record { units } => meter::record(cx, account, ask.feature, units, effects),
        FeatureOp::Allocate { .. } | FeatureOp::Value { .. } => Err(OpError::WrongFeatureKind),
    }
}

/// A request about a reservation that holds credits.
#[cold]
pub(super) fn decide_hold(
    cx: Context<'_>,
    account: &Account,
    held: &Reservation,
    credits: CreditHold,
    op: HoldOp,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let mut now = PoolNow::of(cx, account, credits.pool);
    let still_held = if held.state == ReservationState::Open { credits.units } else { 0 };
    let from = effects.len();
    match op {
        HoldOp::Extend { additional_units, .. } => {
            let after = cost_of(cx, held, credits, held.units.saturating_add(additional_units));
            let more = if additional_units > 0 { after.saturating_sub(credits.units) } else { 0 };
            let mut outcome = plain_hold(cx, account, held.id, op, effects)?;
            if !outcome.decision.verdict.is_allowed() {
                return Ok(outcome);
            }
            let shape = cx.catalog.feature_of(held.feature);
            let is_watched = shape.is_some_and(|shape| cx.catalog.feature(shape).shadow);
            if let Some(denial) = now.denial(more).filter(|_| !is_watched) {
                effects.truncate(from);
                let asked = (denial, price_of(cx, account, held), more);
                let decision = refused(&now, account, outcome.decision, asked);
                if denial == Denial::CreditsExhausted {
                    now.announce_refusal(more, effects);
                }
                return Ok(Outcome { decision, amounts: hold::stands(held) });
            }
            // A watched feature holds no more than the pool can pay.
            let more = more.min(now.drawable());
            if !now.has_room(more) {
                effects.truncate(from);
                return Err(OpError::CounterFull);
            }
            now.hold(more);
            outcome.decision = joined_hold(&now, account, held, outcome.decision);
            now.list(effects);
            let units = credits.units + more;
            hold_credits(effects, CreditHold { units, ..credits });
            Ok(outcome)
        }
        HoldOp::Commit { units: 0 } | HoldOp::Release => {
            let mut outcome = plain_hold(cx, account, held.id, op, effects)?;
            if !now.has_room_for_return(credits.charged_units) {
                effects.truncate(from);
                return Err(OpError::CounterFull);
            }
            now.give_back(still_held);
            let returned = (credits.charged_units > 0)
                .then(|| now.unburn(credits.charged_units, held.expires_at));
            now.let_go(cx.now);
            outcome.decision = joined_hold(&now, account, held, outcome.decision);
            returned.into_iter().for_each(|charge| outcome.decision.set_charge(charge));
            now.list(effects);
            Ok(outcome)
        }
        HoldOp::Commit { units } => {
            let cost = cost_of(cx, held, credits, units);
            let outcome = plain_hold(cx, account, held.id, op, effects)?;
            now.give_back(still_held);
            let charged = credits.charged_units;
            let due = cost.saturating_sub(charged);
            let unused = charged.saturating_sub(cost);
            if !now.has_room(due) || !now.has_room_for_return(unused) {
                effects.truncate(from);
                return Err(OpError::CounterFull);
            }
            Ok(settled(now, account, held, (due, unused), outcome, effects))
        }
        HoldOp::CommitPart { units, .. } => {
            let cost = cost_of(cx, held, credits, units);
            let outcome = plain_hold(cx, account, held.id, op, effects)?;
            let accounted = cost.min(credits.charged_units);
            let rest = held.units.saturating_sub(units);
            let held_on = cost_of(cx, held, credits, rest).min(credits.units);
            if held.state == ReservationState::Open {
                now.give_back(credits.units - held_on);
            }
            if !now.has_room(cost - accounted) {
                effects.truncate(from);
                return Err(OpError::CounterFull);
            }
            let charged_units = credits.charged_units - accounted;
            let units = if held.state == ReservationState::Open { held_on } else { credits.units };
            hold_credits(effects, CreditHold { units, charged_units, ..credits });
            Ok(settled(now, account, held, (cost - accounted, 0), outcome, effects))
        }
    }
}

/// Burns what a commit comes to, or takes back what was charged before and not used.
fn settled(
    mut now: PoolNow<'_>,
    account: &Account,
    held: &Reservation,
    (due, unused): (u64, u64),
    mut outcome: Outcome,
    effects: &mut Effects,
) -> Outcome {
    let previous_units = now.pool.head.used_units;
    let charge = if unused > 0 { now.unburn(unused, held.expires_at) } else { now.burn(due) };
    now.let_go(now.cx().now);
    now.announce(previous_units, 0, effects);
    if held.feature == charge.pool {
        outcome.amounts.debt_units = charge.debt_units;
    }
    outcome.decision = joined_hold(&now, account, held, outcome.decision);
    outcome.decision.set_charge(charge);
    now.list(effects);
    outcome
}

/// The credits of a hold whose end is a charge are burnt, as of that end.
pub(super) fn charge(
    cx: Context<'_>,
    account: &Account,
    held: &Reservation,
    effects: &mut Effects,
) -> Option<CreditHold> {
    let credits = held.extra().credits?;
    let mut now = PoolNow::of(cx, account, credits.pool);
    now.give_back(credits.units);
    let previous_units = now.pool.head.used_units;
    // More than can be counted cannot be held, so there is room.
    now.burn(credits.units);
    now.let_go(cx.now);
    now.announce(previous_units, 0, effects);
    now.list(effects);
    Some(CreditHold { charged_units: credits.units, ..credits })
}

/// What units of a reservation's feature cost now. One that the rate card has lost costs in proportion to
/// what is held, rounded up.
fn cost_of(cx: Context<'_>, held: &Reservation, credits: CreditHold, units: u64) -> u64 {
    if held.feature == credits.pool {
        return units;
    }
    let shape = cx.catalog.feature_of(held.feature);
    let prices = shape.map_or(&[][..], |shape| &cx.catalog.feature(shape).credit_prices);
    let is_of_pool =
        |(pool, _): &&(FeatureIx, CreditPrice)| cx.catalog.feature(*pool).id == credits.pool;
    match prices.iter().find(is_of_pool) {
        Some((_, price)) => price.cost(units),
        None => {
            let cost = u128::from(credits.units) * u128::from(units);
            u64::try_from(cost.div_ceil(u128::from(held.units.max(1)))).unwrap_or(u64::MAX)
        }
    }
}

/// The reservation that was listed last holds these credits.
fn hold_credits(effects: &mut Effects, credits: CreditHold) {
    for effect in effects.iter_mut().rev() {
        if let Effect::Reservation(made) = effect {
            made.set_extra(ReservationExtra { credits: Some(credits), ..made.extra() });
            return;
        }
    }
    unreachable!("the hold listed its reservation");
}

fn check_room(now: &PoolNow<'_>, charge: u64) -> Result<(), OpError> {
    let (grants, max) = (now.grants_touched(charge), limits::GRANTS_PER_REQUEST_MAX);
    if grants > max {
        return Err(OpError::TooManyGrants { grants, max });
    }
    if now.has_room(charge) { Ok(()) } else { Err(OpError::CounterFull) }
}

/// An answer about a pool, before the pool has said anything.
pub(super) fn blank(cx: Context<'_>, account: &Account, feature: NameId) -> Decision {
    Decision {
        verdict: Verdict::Allowed,
        ..super::refusal(account, cx.now, Some(feature), Denial::UnknownFeature)
    }
}

/// The pool as an answer about a feature shows it: with what that costs, and what a refused request asks for.
fn priced(now: &PoolNow<'_>, price: CreditPrice, asked_units: Option<u64>) -> LimitState {
    let mut state = now.state();
    if let Some(pool) = state.beyond.as_mut().and_then(|beyond| beyond.pool.as_mut()) {
        pool.price = (price != CreditPrice::ITSELF).then_some(price);
        pool.asked_units = asked_units;
    }
    state
}

/// The answer of a feature's own limits, and the pool's refusal of so many credits at this price: the
/// graver denial is told.
fn refused(
    now: &PoolNow<'_>,
    account: &Account,
    own: Decision,
    (denial, price, charge): (Denial, CreditPrice, u64),
) -> Decision {
    if let Verdict::Denied(graver) = own.verdict
        && graver <= denial
    {
        return own;
    }
    let at = now.cx().now;
    let retry_after_ms = match denial {
        Denial::InFlight => Some(meter::IN_FLIGHT_RETRY_MS),
        _ => wait::pays_at(now, account, charge).map(|pays_at| pays_at.since(at)),
    };
    let (verdict, binding) = (Verdict::Denied(denial), Some(priced(now, price, Some(charge))));
    Decision { verdict, binding, retry_after_ms, ..own }
}

/// The answer of a feature's own limits, and a pool that paid: the graver level is told, and of two alike
/// the one with fewer units left binds.
fn joined(now: &PoolNow<'_>, own: Decision, price: CreditPrice) -> Decision {
    let level = now.level();
    let drawable = |state: &LimitState| state.drawable_units_remaining().unwrap_or(u64::MAX);
    let own_units = own.binding.as_ref().map(drawable);
    let binds = match own_units {
        None => true,
        Some(units) if level == own.verdict => price.units_for(now.drawable()) < units,
        Some(_) => own.verdict < level,
    };
    if binds {
        let binding = Some(priced(now, price, None));
        Decision { verdict: own.verdict.max(level), binding, ..own }
    } else {
        own
    }
}

/// As [`joined`], about a reservation.
fn joined_hold(
    now: &PoolNow<'_>,
    account: &Account,
    held: &Reservation,
    own: Decision,
) -> Decision {
    let cx = now.cx();
    let feature = cx.catalog.feature_of(held.feature);
    let origin = feature.map_or(Origin::None, |f| resolve(cx.catalog, account, f, cx.now).1);
    joined(now, Decision { origin, ..own }, price_of(cx, account, held))
}

/// What units of a reservation's feature cost now; of the pool itself, and of what is not paid for any
/// more, a credit each.
fn price_of(cx: Context<'_>, account: &Account, held: &Reservation) -> CreditPrice {
    let feature = cx.catalog.feature_of(held.feature);
    let paid = feature.and_then(|feature| Paid::of(cx, account, feature));
    paid.map_or(CreditPrice::ITSELF, |paid| paid.price)
}
