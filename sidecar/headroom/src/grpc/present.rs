//! Answers into messages. Total: whatever the engine answers can be said.
//!
//! A decision is written straight into the bytes of its message, because every request has one and
//! its parts are borrowed (`headroom_proto::encoded`). The numbers are the fields' in the proto files.

use std::cell::OnceCell;

use headroom_core::account::AddOn;
use headroom_core::catalog::{Catalog, Policy};
use headroom_core::credits::{Charge, PoolState, Rounding};
use headroom_core::decision::{Decision, Denial, LimitState, Verdict, WindowPhase};
use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::origin::{Given, Origins};
use headroom_core::rate::Rate;
use headroom_core::resolve::Origin;
use headroom_core::time::Millis;
use headroom_engine::engine::Reply;
use headroom_forecast::{Basis, Forecast};
use headroom_proto::encoded::Fields;
use headroom_proto::v1;
use prost::Message;

use crate::forecasts::{Forecasts, Projection};
use crate::grpc::parse::{self, Include};
use crate::grpc::prompts::{self, Made};
use crate::grpc::shared::Words;
use crate::telemetry::metrics::Operation;

/// What answers are made under, besides the reply.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The catalog that decided.
    pub catalog: &'a Catalog,
    /// The prompts of that catalog; `None` while it is being exchanged.
    pub words: Option<&'a Words>,
    /// When limits are reached.
    pub forecasts: &'a Forecasts,
    /// The account asked about.
    pub account: &'a str,
    /// The instant of the decision.
    pub now: Millis,
    /// Whether that is a test clock's.
    pub test_clock: bool,
    /// What a written answer is called.
    pub durability: v1::Durability,
}

/// The fields of the answer to an operation: the decision, and what the operation did besides.
pub fn response(
    operation: Operation,
    scene: Scene<'_>,
    reply: &Reply,
    include: Include<'_>,
    out: &mut Fields<'_>,
) {
    out.message(1, |out| decision(scene, reply, include, out));
    let amounts = &reply.outcome.amounts;
    match operation {
        Operation::Check | Operation::Consume => {}
        // Their items are answered one by one.
        Operation::CheckAll | Operation::ConsumeAll | Operation::ReserveAll => {}
        // What became of the seat is added by their service.
        Operation::InviteSeat
        | Operation::ClaimSeat
        | Operation::ReleaseSeat
        | Operation::TransferSeat => {}
        Operation::Reserve => {
            if let Some(reservation) = amounts.reservation {
                out.text(2, &parse::reservation_text(reservation));
            }
            if let Some(at) = amounts.expires_at {
                put_timestamp(out, 3, at);
            }
        }
        Operation::Extend => {
            if let Some(at) = amounts.expires_at {
                put_timestamp(out, 2, at);
            }
            out.uint(3, amounts.units);
        }
        Operation::Commit => {
            out.uint(2, amounts.units);
            out.uint(3, amounts.surplus_units);
            out.uint(4, amounts.debt_units);
            out.bool(5, amounts.late);
            if let Some(at) = amounts.expires_at {
                put_timestamp(out, 6, at);
            }
        }
        Operation::Release => out.uint(2, amounts.units),
        Operation::Record => out.uint(2, amounts.debt_units),
        Operation::Allocate => {
            out.uint(if amounts.lowered { 3 } else { 2 }, amounts.units);
            out.bool(4, amounts.clamped);
            out.uint(5, amounts.debt_units);
        }
        Operation::Correct => {
            out.uint(2, amounts.units);
            out.uint(3, amounts.debt_units);
        }
    }
}

/// The fields of the decision.
fn decision(scene: Scene<'_>, reply: &Reply, include: Include<'_>, out: &mut Fields<'_>) {
    let catalog = scene.catalog;
    let decided = &reply.outcome.decision;
    out.bool(1, decided.verdict.is_allowed());
    out.enumeration(2, verdict(decided.verdict));
    out.enumeration(3, denial(decided.verdict));
    if let Some(limit) = &decided.binding {
        match unlock(catalog, decided) {
            None => out.message(4, |out| {
                put_limit_state(catalog, limit, out);
                if let Some(given) = reply.origins.as_ref().and_then(|all| all.binding.as_ref()) {
                    put_origin(catalog, decided.plan, given, (23, out));
                }
            }),
            Some(unlock) => out.generated(100, &unlock),
        }
    }
    if include.all_limits {
        other_limits(catalog, 5, reply, out);
    }
    out.text(6, decided.value_json.as_deref().unwrap_or_default());
    if let Some(origins) = &reply.origins {
        put_decided(catalog, decided.plan, origins, (7, out));
    } else if let Some(kind) = origin_kind(decided.origin) {
        out.message(7, |out| {
            out.enumeration(1, kind);
            let (plan, version) = catalog.plan_name(decided.plan);
            out.text(2, plan);
            out.uint(3, u64::from(version));
        });
    }
    out.uint(8, catalog.revision);
    put_timestamp(out, 9, scene.now);
    out.enumeration(10, v1::Source::Local);
    let written = reply.wait_for.is_some();
    out.enumeration(11, if written { scene.durability } else { v1::Durability::Memory });
    reply.decision_id.with_text(|text| out.text(12, text));
    out.bool(13, reply.replayed);
    out.bool(14, scene.test_clock);
    if let Some(ms) = decided.retry_after_ms {
        out.generated(15, &duration(ms));
    }
    if decided.shadow.is_some() {
        out.enumeration(18, reason(decided.shadow));
    }
    if let Some(charge) = decided.charge() {
        out.message(20, |out| put_charge(catalog, charge, out));
    }
    if !include.prompt && !include.projection {
        return;
    }
    // Asked for when it is needed, and once: most answers have no prompt.
    let told = OnceCell::new();
    let projected = || *told.get_or_init(|| project(scene, reply));
    let made = match include.prompt {
        true => prompts::made(scene, reply, include, projected),
        false => None,
    };
    if let Some(Made::Prompt(prompt)) = &made {
        out.generated(16, &**prompt);
    }
    if include.projection
        && let Some(limit) = &decided.binding
        && let Some(projected) = projected()
    {
        out.generated(17, &projection(catalog, limit, projected));
    }
    if include.prompt_suppression
        && let Some(Made::Suppressed(suppressed)) = &made
    {
        out.generated(40, suppressed);
    }
}

/// What is foretold of the binding limit, if it is of a kind that fills up.
fn project(scene: Scene<'_>, reply: &Reply) -> Option<Projection> {
    let decided = &reply.outcome.decision;
    if decided.verdict == Verdict::Denied(Denial::NotInPlan) {
        return None; // A lock is no limit that is reached.
    }
    let limit = decided.binding.as_ref()?;
    let feature = scene.catalog.feature(scene.catalog.feature_of(limit.ledger.feature)?);
    let tell = || scene.forecasts.project(scene.account, limit, reply.created_at, scene.now);
    feature.adds_up().then(tell).flatten()
}

/// The limits of an answer that did not decide, as a repeated field.
pub fn other_limits(catalog: &Catalog, tag: u32, reply: &Reply, out: &mut Fields<'_>) {
    let plan = reply.outcome.decision.plan;
    let origins = reply.origins.as_ref();
    for (place, state) in reply.other_limits.iter().enumerate() {
        out.message(tag, |out| {
            put_limit_state(catalog, state, out);
            if let Some(given) = origins.and_then(|all| all.others.get(place)) {
                put_origin(catalog, plan, given, (23, out));
            }
        });
    }
}

/// Whose word something is, as a field. Nothing, where nobody has a say.
#[cold]
fn put_origin(catalog: &Catalog, plan: NameId, given: &Given, (tag, out): (u32, &mut Fields<'_>)) {
    if let Some(origin) = origin(catalog, plan, given) {
        out.generated(tag, &origin);
    }
}

/// Whose word an answer is, as a field.
#[cold]
fn put_decided(
    catalog: &Catalog,
    plan: NameId,
    origins: &Origins,
    (tag, out): (u32, &mut Fields<'_>),
) {
    if let Some(origin) = origin_of_answer(catalog, plan, origins) {
        out.generated(tag, &origin);
    }
}

/// The one-word answer.
pub fn verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Allowed => v1::Verdict::Allowed,
        Verdict::SoftLimit => v1::Verdict::AllowedSoftLimit,
        Verdict::Grace => v1::Verdict::AllowedGrace,
        Verdict::Overage => v1::Verdict::AllowedOverage,
        Verdict::Unbacked => v1::Verdict::AllowedUnbacked,
        Verdict::Denied(_) => v1::Verdict::Denied,
    }
}

/// The reason of a refusal.
pub fn denial(verdict: Verdict) -> v1::Denial {
    match verdict {
        Verdict::Denied(denial) => reason(Some(denial)),
        _ => v1::Denial::Unspecified,
    }
}

/// A reason, if there is one.
pub fn reason(denial: Option<Denial>) -> v1::Denial {
    let Some(denial) = denial else { return v1::Denial::Unspecified };
    match denial {
        Denial::UnknownAccount => v1::Denial::UnknownAccount,
        Denial::AccountSuspended => v1::Denial::AccountSuspended,
        Denial::UnknownFeature => v1::Denial::UnknownFeature,
        Denial::SubscriptionEnded => v1::Denial::SubscriptionEnded,
        Denial::NotInPlan => v1::Denial::NotInPlan,
        Denial::FeaturePaused => v1::Denial::FeaturePaused,
        Denial::RateLimited => v1::Denial::RateLimited,
        Denial::ConcurrencyFull => v1::Denial::ConcurrencyFull,
        Denial::SeatsFull => v1::Denial::SeatsFull,
        Denial::QuotaExhausted => v1::Denial::QuotaExhausted,
        Denial::CreditsExhausted => v1::Denial::CreditsExhausted,
        Denial::SpendCapReached => v1::Denial::SpendCapReached,
        Denial::InFlight => v1::Denial::InFlight,
    }
}

fn origin_kind(origin: Origin) -> Option<v1::OriginKind> {
    match origin {
        Origin::None => None,
        Origin::Plan => Some(v1::OriginKind::Plan),
        Origin::DefaultPlan => Some(v1::OriginKind::DefaultPlan),
        Origin::Trial => Some(v1::OriginKind::Trial),
        Origin::AddOn => Some(v1::OriginKind::AddOn),
        Origin::Override => Some(v1::OriginKind::Override),
        Origin::Unlock => Some(v1::OriginKind::Unlock),
    }
}

/// Where the entitlement of a decision comes from.
pub fn decided_by(
    catalog: &Catalog,
    decided: &Decision,
    origins: Option<&Origins>,
) -> Option<v1::Origin> {
    match origins {
        Some(origins) => origin_of_answer(catalog, decided.plan, origins),
        None => origin(catalog, decided.plan, &Given::by(decided.origin)),
    }
}

/// Whose word an answer is, and what let the account in.
fn origin_of_answer(catalog: &Catalog, plan: NameId, origins: &Origins) -> Option<v1::Origin> {
    let roll_out = origins.roll_out.as_ref().map(|by| v1::RollOut {
        cohort: by.cohort.clone().unwrap_or_default(),
        drawn_share_bp: by.drawn_bp.map_or(0, u32::cast_signed),
    });
    Some(v1::Origin { roll_out, ..origin(catalog, plan, &origins.decided)? })
}

/// Whose word something is, under a plan. `None`: nobody has a say.
fn origin(catalog: &Catalog, plan: NameId, given: &Given) -> Option<v1::Origin> {
    let kind = origin_kind(given.origin)?;
    let (plan, version) = plan_name(catalog, plan);
    let addon = |bought: &AddOn| v1::AddOn {
        add_on: catalog.text(bought.addon).to_owned(),
        quantity: i32::try_from(bought.quantity).unwrap_or(i32::MAX),
    };
    let overridden = given.overridden.as_ref();
    Some(v1::Origin {
        kind: kind.into(),
        plan,
        plan_version: version,
        add_ons: given.addons.iter().map(addon).collect(),
        override_until: overridden.and_then(|one| one.until).map(timestamp),
        override_of_subject: overridden.is_some_and(|one| one.of_subject),
        roll_out: None,
    })
}

/// What is left to be used before a feature counts. `None`: no lock refuses.
#[inline]
pub fn unlock(catalog: &Catalog, decided: &Decision) -> Option<v1::Unlock> {
    if decided.verdict != Verdict::Denied(Denial::NotInPlan) {
        return None;
    }
    // Nothing else that stands before the limits has a counter.
    let state = decided.binding.as_ref()?;
    Some(v1::Unlock {
        feature: catalog.feature_text(state.ledger.feature).to_owned(),
        limit: catalog.text(state.ledger.limit).to_owned(),
        needed_units: int(state.included_units.unwrap_or(0)),
        used_units: int(state.ledger.used),
        remaining_units: int(state.settled_units_remaining().unwrap_or(0)),
    })
}

/// A plan's name and version.
pub fn plan_name(catalog: &Catalog, plan: NameId) -> (String, i32) {
    let (name, version) = catalog.plan_name(plan);
    (name.to_owned(), i32::try_from(version).unwrap_or(i32::MAX))
}

/// The fields of one limit.
fn put_limit_state(catalog: &Catalog, state: &LimitState, out: &mut Fields<'_>) {
    let ledger = &state.ledger;
    out.text(1, catalog.text(ledger.limit));
    let policy = match state.policy {
        Policy::Block => v1::Policy::Block,
        Policy::Grace { .. } => v1::Policy::Grace,
        Policy::Overage => v1::Policy::Overage,
        Policy::Unlimited => v1::Policy::Unlimited,
    };
    out.enumeration(2, policy);
    out.optional_uint(3, state.included_units);
    out.uint(4, ledger.used);
    out.uint(5, ledger.reserved);
    out.optional_uint(6, state.settled_units_remaining());
    out.optional_uint(7, state.drawable_units_remaining());
    if state.phase != WindowPhase::NotBegun {
        put_timestamp(out, 8, ledger.window.start());
        if !ledger.window.is_lifetime() {
            put_timestamp(out, 9, ledger.window.end());
        }
    }
    out.packed_uints(10, state.passed_bp.iter().map(|bp| u64::from(*bp)));
    out.optional_uint(11, state.grace_units_remaining());
    out.uint(12, state.overage_units());
    out.uint(13, ledger.debt);
    out.uint(14, u64::from(ledger.limit_revision));
    if state.beyond.is_some() {
        put_beyond(catalog, state, out);
    }
    if state.phase == WindowPhase::Sliding {
        out.bool(20, true);
        if state.frees_at() != Millis::FOREVER {
            put_timestamp(out, 21, state.frees_at());
        }
    }
}

/// The fields that few limits have.
fn put_beyond(catalog: &Catalog, state: &LimitState, out: &mut Fields<'_>) {
    if let Some(at) = state.grace_until() {
        put_timestamp(out, 16, at);
    }
    if let Some(uses) = state.grace_uses() {
        out.message(24, |out| {
            out.uint(1, u64::from(uses.used));
            out.uint(2, u64::from(uses.terms.times));
            out.uint(3, u64::from(uses.terms.months));
            if let Some(at) = uses.forgotten_at {
                put_timestamp(out, 4, at);
            }
        });
    }
    if let Some(cost) = state.overage_cost() {
        out.message(17, |out| {
            out.uint(1, cost.minor);
            out.optional_uint(2, cost.cap_minor);
            out.text(3, cost.currency);
        });
    }
    if let Some(subject) = state.subject() {
        out.text(31, subject);
    }
    out.optional_uint(30, state.billed_units());
    if let Some(pool) = state.pool() {
        out.message(22, |out| put_pool(catalog.feature_text(state.ledger.feature), pool, out));
    }
    out.bool(60, state.is_approximate());
}

/// The fields of what a pool has beyond the counters.
fn put_pool(feature: &str, pool: &PoolState, out: &mut Fields<'_>) {
    out.text(1, feature);
    out.int(2, pool.balance);
    if let Some((at, units)) = pool.next_expiry {
        put_timestamp(out, 3, at);
        out.uint(4, units);
    }
    out.uint(5, pool.overdraft_units);
    if let Some(at) = pool.fills_at {
        put_timestamp(out, 6, at);
    }
    if let Some(price) = pool.price {
        out.message(7, |out| {
            out.uint(1, price.credits);
            out.uint(2, price.per);
            out.enumeration(
                3,
                match price.rounding {
                    Rounding::Up => v1::CreditRounding::Up,
                    Rounding::Down => v1::CreditRounding::Down,
                    Rounding::Nearest => v1::CreditRounding::Nearest,
                },
            );
        });
    }
    out.optional_uint(8, pool.asked_units);
}

/// The fields of what a write took from a pool.
fn put_charge(catalog: &Catalog, charge: &Charge, out: &mut Fields<'_>) {
    out.text(1, catalog.feature_text(charge.pool));
    out.uint(2, charge.units);
    for deduction in &charge.deductions {
        out.message(3, |out| {
            out.text(1, &deduction.grant);
            out.uint(2, deduction.units);
        });
    }
    out.uint(4, charge.debt_units);
    out.uint(5, charge.returned_units);
}

/// The limits of a feature and whose word they are, for lists.
pub fn limit_states(
    catalog: &Catalog,
    states: &[LimitState],
    (plan, origins): (NameId, Option<&Origins>),
) -> Vec<v1::LimitState> {
    let one = |(place, state): (usize, &LimitState)| {
        let given = origins.and_then(|origins| origins.others.get(place));
        let origin = given.and_then(|given| origin(catalog, plan, given));
        v1::LimitState { origin, ..limit_state(catalog, state) }
    };
    states.iter().enumerate().map(one).collect()
}

/// One limit, for lists. Made from the same fields, so that there is one place that says what a
/// limit is on the wire.
pub fn limit_state(catalog: &Catalog, state: &LimitState) -> v1::LimitState {
    let mut bytes = Vec::new();
    put_limit_state(catalog, state, &mut Fields::new(&mut bytes));
    let decoded = v1::LimitState::decode(&*bytes);
    debug_assert!(decoded.is_ok(), "{decoded:?}");
    decoded.unwrap_or_default()
}

/// The end of a ledger's window, unless it is a lifetime.
pub fn window_end(ledger: &Ledger) -> Option<prost_types::Timestamp> {
    (!ledger.window.is_lifetime()).then(|| timestamp(ledger.window.end()))
}

fn projection(catalog: &Catalog, limit: &LimitState, projected: Projection) -> v1::Projection {
    let mut told = v1::Projection {
        limit: catalog.text(limit.ledger.limit).to_owned(),
        observed_since: Some(timestamp(projected.observed_since)),
        ..v1::Projection::default()
    };
    let outlook = match projected.forecast {
        Forecast::Learning => {
            told.set_state(v1::ProjectionState::Learning);
            return told;
        }
        Forecast::Reached => {
            told.set_state(v1::ProjectionState::Reached);
            return told;
        }
        Forecast::Expected(outlook) => outlook,
    };
    told.set_state(match outlook.at_ms {
        Some(_) => v1::ProjectionState::ReachesLimit,
        None => v1::ProjectionState::WithinLimit,
    });
    let at = |at_ms: Option<i64>| at_ms.map(|at_ms| timestamp(Millis(at_ms)));
    told.reaches_limit_at = at(outlook.at_ms);
    told.reaches_limit_from = at(outlook.from_ms);
    told.reaches_limit_to = at(outlook.to_ms);
    told.probability_bp = Some(outlook.probability_bp());
    told.units_at_window_end = outlook.end_units.map(|units| int(units.middle));
    told.units_at_window_end_low = outlook.end_units.map(|units| int(units.low));
    told.units_at_window_end_high = outlook.end_units.map(|units| int(units.high));
    told.set_basis(match outlook.basis {
        Basis::Pace => v1::ProjectionBasis::Pace,
        Basis::Daily => v1::ProjectionBasis::DailyRhythm,
        Basis::Weekly => v1::ProjectionBasis::WeeklyRhythm,
    });
    told
}

fn put_timestamp(out: &mut Fields<'_>, tag: u32, at: Millis) {
    let at = timestamp(at);
    out.message(tag, |out| {
        out.int(1, at.seconds);
        out.int(2, i64::from(at.nanos));
    });
}

/// How fast a rate is.
pub fn rate(rate: Rate) -> v1::Rate {
    v1::Rate {
        units: int(rate.units()),
        period: Some(duration(rate.period_ms())),
        burst_units: int(rate.burst_units()),
    }
}

/// An instant.
pub fn timestamp(at: Millis) -> prost_types::Timestamp {
    let seconds = at.0.div_euclid(1000);
    // 0 to 999, so it fits.
    let ms = i32::try_from(at.0.rem_euclid(1000)).unwrap_or_default();
    prost_types::Timestamp { seconds, nanos: ms * 1_000_000 }
}

/// A span of milliseconds.
pub fn duration(ms: i64) -> prost_types::Duration {
    let nanos = i32::try_from(ms % 1000).unwrap_or_default() * 1_000_000;
    prost_types::Duration { seconds: ms / 1000, nanos }
}

/// Units on the wire. Counts never pass 2^53-1; a projection may, and stops at the type's end.
pub fn int(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
