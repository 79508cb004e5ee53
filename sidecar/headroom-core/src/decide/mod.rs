//! Decisions: may this account do this, now, and what changes if it does.
//!
//! Every function takes the state, the request and the time, and returns an outcome; what it changes
//! it lists as effects, and changes nothing itself. First every check, then every change.

mod all;
mod allocation;
mod bill;
mod carried;
mod concurrency;
mod credits;
mod expiry;
mod growth;
mod hold;
mod late;
mod measure;
mod meter;
mod mistyped;
mod opening;
mod rate;
mod seats;
mod settle;
mod sliding;
mod subjects;
mod synthetic;
mod wait;

use smallvec::SmallVec;

use self::hold::Rest;
use crate::account::Account;
use crate::catalog::{Catalog, FeatureIx, FeatureKind, Offering, PlanLimit, Policy};
use crate::cohort;
use crate::decide::credits::Paid;
use crate::decide::measure::Taken;
use crate::decision::{Amounts, Decision, Denial, LimitState, OpError, Outcome, Verdict};
use crate::effect::Effects;
use crate::names::NameId;
use crate::rate::Rate;
use crate::reservation::{OnExpiry, ReservationId};
use crate::resolve::{Origin, Resolved, ResolvedLimits, resolve};
use crate::signal::{self, NO_LIMIT, OfDay, SignalName};
use crate::time::Millis;
use crate::unlock;
use crate::window::WindowRule;

pub use all::{AllItem, AllOp, ItemError, decide_all};
pub use allocation::LevelChange;
pub use bill::paid_then;
pub use credits::{GrantError, NewGrant, pool_state, put_grant, settle_pools, void_grant};
pub use late::{
    Booked, LevelPast, Past, bookings_at, correct, is_correctable, left, record_at, standing,
};
pub use measure::ValueOp;
pub use mistyped::{Mistyped, mistyped};
pub use opening::{Opening, open_balance};
pub use seats::{SeatOp, SeatOutcome, decide_seat, free_member, have_room};
pub use settle::{settle, settle_all};
pub use sliding::counts_on_ms;
pub use subjects::{decide_feature_for, level_states, not_before};
pub use synthetic::leave_uncounted;

/// What a request is decided under: the rules in force and the one clock reading.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The catalog in force.
    pub catalog: &'a Catalog,
    /// The instant of the request.
    pub now: Millis,
}

/// A request about a feature. Units are 1 to 2^53-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureOp {
    /// Decide only. With `attempt`, a refusal is worth a signal.
    Check {
        /// Units asked about.
        units: u64,
        /// Whether somebody tried to use the feature, rather than drew a screen.
        attempt: bool,
    },
    /// Decide and count.
    Consume {
        /// Units used.
        units: u64,
    },
    /// Decide and set aside.
    Reserve {
        /// Units held.
        units: u64,
        /// How long, in milliseconds.
        hold_ms: i64,
    },
    /// Decide and set aside, and take what is still held when the hold ends by time for used.
    ReserveCharging {
        /// Units held.
        units: u64,
        /// How long, in milliseconds.
        hold_ms: i64,
    },
    /// Count what happened already.
    Record {
        /// Units used.
        units: u64,
    },
    /// Ask about or count one of the different values that a feature counts.
    Value {
        /// Its hash, as good as drawn at random: 64 bits.
        hash: u64,
        /// What is done with it.
        does: ValueOp,
    },
    /// Change the level of an allocation.
    Allocate {
        /// How.
        change: LevelChange,
    },
}

impl FeatureOp {
    /// The units that somebody tries to get. `None`: a screen is drawn, or it has happened already.
    fn attempted_units(self) -> Option<u64> {
        match self {
            FeatureOp::Check { attempt: false, .. }
            | FeatureOp::Value {
                does: ValueOp::Check { attempt: false } | ValueOp::Record, ..
            }
            | FeatureOp::Record { .. } => None,
            FeatureOp::Check { units, attempt: true }
            | FeatureOp::Consume { units }
            | FeatureOp::Reserve { units, .. }
            | FeatureOp::ReserveCharging { units, .. } => Some(units),
            FeatureOp::Value { .. } => Some(1),
            FeatureOp::Allocate { change } => Some(change.units()),
        }
    }
}

/// A request about a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOp {
    /// Hold longer, or more.
    Extend {
        /// How long from now, in milliseconds. `None`: the end stays.
        hold_ms: Option<i64>,
        /// Units to hold in addition; may be 0.
        additional_units: u64,
    },
    /// Turn into usage; 0 is a release.
    Commit {
        /// Units used.
        units: u64,
    },
    /// Turn a part into usage, and go on holding the rest.
    CommitPart {
        /// Units used, at least 1.
        units: u64,
        /// How long the rest is held from now, in milliseconds. `None`: its end stays.
        hold_ms: Option<i64>,
    },
    /// Give back.
    Release,
}

/// Decides a request about a feature. `None` is a feature that the catalog does not have.
pub fn decide_feature(
    cx: Context<'_>,
    account: &Account,
    feature: Option<FeatureIx>,
    op: FeatureOp,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let Some(feature) = feature else {
        // A suspended account is told so first, whatever it asks for.
        let records =
            matches!(op, FeatureOp::Record { .. } | FeatureOp::Value { does: ValueOp::Record, .. });
        let suspended = account.profile.suspended && !records;
        let denial = if suspended { Denial::AccountSuspended } else { Denial::UnknownFeature };
        return Ok(plain(refusal(account, cx.now, None, denial)));
    };
    let mut op = op;
    if cx.catalog.feature(feature).counting.is_some() {
        match measure::take(cx, account, (feature, &[]), op, effects)? {
            Taken::As(taken) => op = taken,
            Taken::Decided(outcome) => return Ok(*outcome),
        }
    }
    if let FeatureOp::Record { units } = op {
        wrong_operation(cx, feature).map_or(Ok(()), Err)?;
        if matches!(cx.catalog.feature(feature).kind, FeatureKind::Credits { .. }) {
            let origin = resolve(cx.catalog, account, feature, cx.now).1;
            return credits::decide(cx, account, (feature, origin), op, effects);
        }
        if let Some(paid) = Paid::of(cx, account, feature) {
            let ask = meter::Ask { feature, limits: &[], origin: Origin::None };
            return paid.record(cx, account, (ask, &[]), units, effects);
        }
        return meter::record(cx, account, feature, units, effects);
    }
    if let FeatureOp::Allocate { change } = op {
        return allocation::allocate(cx, account, feature, change, effects);
    }
    match gate(cx, account, feature) {
        Gate::Closed(denial, origin) => {
            let id = cx.catalog.feature(feature).id;
            if let Some(units) = op.attempted_units() {
                announce_premium(cx, account, id, (denial, origin), units, effects);
            }
            Ok(plain(closed(cx, account, feature, (denial, origin))))
        }
        Gate::Plain(decision) => match op {
            FeatureOp::Check { .. } => Ok(plain(decision)),
            _ => Err(OpError::WrongFeatureKind),
        },
        Gate::Pool(origin) => credits::decide(cx, account, (feature, origin), op, effects),
        Gate::Rate(rate, origin) => {
            let ask = rate_ask(cx, feature, rate, origin);
            match op {
                FeatureOp::Check { units, attempt } => {
                    let checked = rate::check(cx, account, ask, units, attempt, effects);
                    Ok(rate::watched(cx, feature, checked, 0))
                }
                FeatureOp::Consume { units } => {
                    let consumed = rate::consume(cx, account, ask, units, effects);
                    Ok(rate::watched(cx, feature, consumed, units))
                }
                FeatureOp::Reserve { .. }
                | FeatureOp::ReserveCharging { .. }
                | FeatureOp::Record { .. }
                | FeatureOp::Value { .. }
                | FeatureOp::Allocate { .. } => Err(OpError::RateIsConsumed),
            }
        }
        Gate::Limits(limits, origin) => {
            let ask = meter::Ask { feature, limits: &limits, origin };
            if let Some(paid) = Paid::of(cx, account, feature) {
                return paid.decide(cx, account, (ask, &[]), op, effects);
            }
            match op {
                FeatureOp::Check { units, attempt } => {
                    Ok(meter::check(cx, account, ask, units, attempt, effects))
                }
                FeatureOp::Consume { .. }
                | FeatureOp::Reserve { .. }
                | FeatureOp::ReserveCharging { .. }
                    if ask.is_of_seats() =>
                {
                    Err(OpError::SeatsAreTaken)
                }
                FeatureOp::Consume { .. } | FeatureOp::ReserveCharging { .. }
                    if ask.is_of_slots() =>
                {
                    Err(OpError::SlotsAreHeld)
                }
                FeatureOp::Consume { units } => meter::consume(cx, account, ask, units, effects),
                FeatureOp::Reserve { units, hold_ms } => {
                    let hold = (units, hold_ms, OnExpiry::Release);
                    hold::reserve(cx, account, ask, hold, effects)
                }
                FeatureOp::ReserveCharging { units, hold_ms } => {
                    let hold = (units, hold_ms, OnExpiry::Charge);
                    hold::reserve(cx, account, ask, hold, effects)
                }
                FeatureOp::Record { units } => meter::record(cx, account, feature, units, effects),
                // Only features that count values are asked about one.
                FeatureOp::Value { .. } => Err(OpError::WrongFeatureKind),
                FeatureOp::Allocate { change } => {
                    allocation::allocate(cx, account, feature, change, effects)
                }
            }
        }
    }
}

/// Decides a request about a reservation.
pub fn decide_hold(
    cx: Context<'_>,
    account: &Account,
    id: ReservationId,
    op: HoldOp,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let held = account.reservations().and_then(|all| all.get(id));
    if let Some(held) = held
        && let Some(credits) = held.extra().credits
    {
        return credits::decide_hold(cx, account, held, credits, op, effects);
    }
    plain_hold(cx, account, id, op, effects)
}

/// Decides about what a reservation holds of limits.
fn plain_hold(
    cx: Context<'_>,
    account: &Account,
    id: ReservationId,
    op: HoldOp,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    match op {
        HoldOp::Extend { hold_ms, additional_units } => {
            hold::extend(cx, account, id, hold_ms, additional_units, effects)
        }
        HoldOp::Commit { units: 0 } | HoldOp::Release => hold::release(cx, account, id, effects),
        HoldOp::Commit { units } => hold::commit(cx, account, id, units, Rest::Ends, effects),
        HoldOp::CommitPart { units, hold_ms } => {
            hold::commit(cx, account, id, units, Rest::Stays { hold_ms }, effects)
        }
    }
}

/// The state of every limit of a feature now, without asking for anything.
pub fn limit_states(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
) -> SmallVec<[LimitState; 2]> {
    let id = cx.catalog.feature(feature).id;
    let limits = match resolve(cx.catalog, account, feature, cx.now) {
        (Resolved::Limits(limits), _) => limits,
        (Resolved::Rate(rate), origin) => {
            let ask = rate_ask(cx, feature, rate, origin);
            return SmallVec::from_iter([rate::limit_state(cx, account, ask)]);
        }
        (Resolved::Pool(_), _) => {
            return SmallVec::from_iter([pool_state(cx, account, feature)]);
        }
        (Resolved::NotInPlan | Resolved::On | Resolved::Value(_), _) => return SmallVec::new(),
    };
    let state = |limit| {
        let mut state = meter::working_now(cx, account, id, limit).shown(cx, account);
        measure::note_sort(cx.catalog.feature(feature), &mut state);
        state
    };
    let paid = Paid::of(cx, account, feature);
    let paid = paid.map(|paid| paid.limit_state(cx, account));
    limits.iter().map(state).chain(paid).collect()
}

/// What stands between a request and the limits.
enum Gate<'a> {
    /// Refused, whatever the limits say. The origin is of what would entitle the account.
    Closed(Denial, Origin),
    /// A switch that is on, or a config: there are no limits.
    Plain(Decision),
    /// The limits decide.
    Limits(ResolvedLimits<'a>, Origin),
    /// A bucket decides; `None` is unlimited.
    Rate(Option<Rate>, Origin),
    /// A pool decides.
    Pool(Origin),
}

/// Tests the denials that have nothing to do with counting, in their order of precedence.
// Inlined, because what it returns is large and every call would move it once more.
#[inline(always)]
fn gate<'a>(cx: Context<'a>, account: &'a Account, feature: FeatureIx) -> Gate<'a> {
    if let Some(denial) = account_denial(cx, account) {
        return Gate::Closed(denial, Origin::None);
    }
    let id = cx.catalog.feature(feature).id;
    let allowed = |origin, value_json| Decision {
        verdict: Verdict::Allowed,
        binding: None,
        origin,
        plan: account.profile.plan_at(cx.now).0,
        feature: Some(id),
        value_json,
        retry_after_ms: None,
        shadow: None,
    };
    let resolved = resolve(cx.catalog, account, feature, cx.now);
    let offered = &cx.catalog.feature(feature).offering;
    if *offered != Offering::default() && resolved.0 != Resolved::NotInPlan {
        // Who has an override of the feature was chosen by hand, and is in every roll-out.
        // Another name of the feature draws nobody anew.
        let has_come = || cohort::is_offered(account, cx.catalog.names().first_text(id), offered);
        if resolved.1 != Origin::Override && !has_come() {
            return Gate::Closed(Denial::NotInPlan, resolved.1);
        }
        if offered.is_paused {
            return Gate::Closed(Denial::FeaturePaused, resolved.1);
        }
    }
    match resolved {
        // Units on a switch that is off are a mistake of the caller, but one that the plan hides:
        // not_in_plan is the answer that leads somewhere.
        (Resolved::NotInPlan, _) => {
            gate_of_shadow(cx, account, feature, allowed(Origin::None, None))
        }
        (Resolved::On, origin) => Gate::Plain(allowed(origin, None)),
        (Resolved::Value(value), origin) => {
            Gate::Plain(allowed(origin, Some(std::sync::Arc::clone(value))))
        }
        (Resolved::Limits(limits), origin) => Gate::Limits(limits, origin),
        (Resolved::Rate(rate), origin) => Gate::Rate(rate, origin),
        (Resolved::Pool(_), origin) => Gate::Pool(origin),
    }
}

/// Tells of an attempt to use what the plan does not have. What has not come to an account is no more than
/// that: it may have bought it.
#[cold]
fn announce_premium(
    cx: Context<'_>,
    account: &Account,
    feature: NameId,
    (denial, origin): (Denial, Origin),
    units: u64,
    effects: &mut Effects,
) {
    if denial != Denial::NotInPlan || origin != Origin::None {
        return;
    }
    let said = OfDay {
        feature,
        limit: NO_LIMIT,
        previous_units: 0,
        current_units: 0,
        included_units: 0,
        refused_units: units.max(1),
    };
    signal::announce_daily(cx, account, SignalName::PremiumFeatureAttempted, said, effects);
}

/// The error of counting what happened already on a feature where nothing adds up.
fn wrong_operation(cx: Context<'_>, feature: FeatureIx) -> Option<OpError> {
    match cx.catalog.feature(feature).kind {
        FeatureKind::Concurrency { .. } => Some(OpError::SlotsAreHeld),
        FeatureKind::Rate { .. } => Some(OpError::RateIsConsumed),
        FeatureKind::Seats { .. } => Some(OpError::SeatsAreTaken),
        FeatureKind::Switch
        | FeatureKind::Config
        | FeatureKind::Quota { .. }
        | FeatureKind::Allocation { .. }
        | FeatureKind::Credits { .. } => None,
    }
}

fn rate_ask(cx: Context<'_>, feature: FeatureIx, rate: Option<Rate>, origin: Origin) -> rate::Ask {
    let shape = cx.catalog.feature(feature);
    let FeatureKind::Rate { limit, .. } = shape.kind else {
        unreachable!("only a rate resolves to a rate");
    };
    rate::Ask { feature: shape.id, limit, rate, origin }
}

/// What stands against everything an account may ask for.
fn account_denial(cx: Context<'_>, account: &Account) -> Option<Denial> {
    if account.profile.suspended {
        return Some(Denial::AccountSuspended);
    }
    (account.profile.ends_at <= cx.now).then_some(Denial::SubscriptionEnded)
}

/// A feature that the plan does not contain: refused, unless it is only watched.
fn gate_of_shadow<'a>(
    cx: Context<'a>,
    account: &Account,
    feature: FeatureIx,
    allowed: Decision,
) -> Gate<'a> {
    let denial = Denial::NotInPlan;
    if !cx.catalog.feature(feature).shadow {
        // What has to be earned is in the plan.
        let origin = unlock::lock(cx, account, feature).map_or(Origin::None, |(_, origin)| origin);
        return Gate::Closed(denial, origin);
    }
    match bare_limits(cx, feature) {
        Some(limits) => Gate::Limits(limits, Origin::None),
        None if matches!(cx.catalog.feature(feature).kind, FeatureKind::Rate { .. }) => {
            Gate::Rate(None, Origin::None)
        }
        None => Gate::Plain(Decision { shadow: Some(denial), ..allowed }),
    }
}

/// A refusal by what stands before the limits. Of what has to be earned the counter binds.
#[cold]
fn closed(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    (denial, origin): (Denial, Origin),
) -> Decision {
    let refused = refusal(account, cx.now, Some(cx.catalog.feature(feature).id), denial);
    let is_locked = denial == Denial::NotInPlan && origin != Origin::None;
    let lock = is_locked.then(|| unlock::lock(cx, account, feature)).flatten();
    let binding = lock.and_then(|(after, _)| {
        let counted = cx.catalog.feature_of(after.feature)?;
        let states = limit_states(cx, account, counted);
        let state = states.into_iter().find(|state| state.ledger.limit == after.limit)?;
        Some(unlock::shown(state, after))
    });
    Decision { origin, binding, ..refused }
}

/// A refusal that has nothing to do with a limit.
pub(crate) fn refusal(
    account: &Account,
    at: Millis,
    feature: Option<NameId>,
    denial: Denial,
) -> Decision {
    Decision {
        verdict: Verdict::Denied(denial),
        binding: None,
        origin: Origin::None,
        plan: account.profile.plan_at(at).0,
        feature,
        value_json: None,
        retry_after_ms: None,
        shadow: None,
    }
}

fn plain(decision: Decision) -> Outcome {
    Outcome { decision, amounts: Amounts::default() }
}

/// The limits usage is recorded against when nothing entitles the account: the feature's own, with
/// nothing included, so that all of it is debt. `None`: it has none.
fn bare_limits(cx: Context<'_>, feature: FeatureIx) -> Option<ResolvedLimits<'static>> {
    if let FeatureKind::Allocation { limit, .. } = &cx.catalog.feature(feature).kind {
        let bare = PlanLimit::of_level(*limit, Some(0), Vec::new(), Policy::Block);
        return Some(ResolvedLimits::Changed(vec![bare]));
    }
    if let FeatureKind::Concurrency { limit } = &cx.catalog.feature(feature).kind {
        let bare = PlanLimit::of_slots(*limit, Some(0), Vec::new());
        return Some(ResolvedLimits::Changed(vec![bare]));
    }
    if let FeatureKind::Seats { limit, .. } = &cx.catalog.feature(feature).kind {
        let bare = PlanLimit::of_seats(*limit, Some(0), Vec::new());
        return Some(ResolvedLimits::Changed(vec![bare]));
    }
    let FeatureKind::Quota { limits } = &cx.catalog.feature(feature).kind else { return None };
    let bare = |(limit, window): &(NameId, WindowRule)| {
        PlanLimit::new(*limit, *window, Some(0), Vec::new(), Policy::Block)
    };
    Some(ResolvedLimits::Changed(limits.iter().map(bare).collect()))
}
