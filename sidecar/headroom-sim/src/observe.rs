//! The engine's answers in the model's words: names for numbers, nothing left out.

use headroom_core::account::{OverrideValue, Profile, Zone};
use headroom_core::catalog::Catalog;
use headroom_core::credits::Charge;
use headroom_core::decision::{Decision, LimitState};
use headroom_core::event::Restated;
use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::seats::{Seat, SeatState};
use headroom_core::signal::Signal;
use headroom_core::stock::Stock;
use headroom_engine::admin::AdminError;
use headroom_engine::engine::{EngineError, Reply};
use headroom_engine::grants::PoolView;
use headroom_engine::keys::Receipt;
use headroom_engine::late::LateError;

use crate::model::{
    Answer, Bill, ChargeAnswer, LateRefused, LimitAnswer, Line, PoolAnswer, ProfileAnswer, Refused,
    Says, Sitting, Told,
};

fn text(catalog: &Catalog, id: NameId) -> String {
    catalog.text(id).to_owned()
}

/// A limit's state.
pub fn limit(catalog: &Catalog, state: &LimitState) -> LimitAnswer {
    LimitAnswer {
        limit: text(catalog, state.ledger.limit),
        start: state.ledger.window.start().0,
        end: state.ledger.window.end().0,
        used: state.ledger.used.into(),
        reserved: state.ledger.reserved.into(),
        debt: state.ledger.debt.into(),
        revision: state.ledger.limit_revision,
        included: state.included_units.map(u128::from),
        policy: state.policy,
        ceiling: state.ceiling_units.map(u128::from),
        passed_bp: state.passed_bp.to_vec(),
        settled: state.settled_units_remaining().map(u128::from),
        drawable: state.drawable_units_remaining().map(u128::from),
        grace_left: state.grace_units_remaining().map(u128::from),
        overage: state.overage_units().into(),
        phase: state.phase,
        frees_at: state.frees_at().0,
        grace_until: state.grace_until().map(|at| at.0),
        billed: state.billed_units().map(u128::from),
        cost: state.overage_cost().map(|cost| (cost.minor.into(), cost.cap_minor)),
        subject: state.subject().map(str::to_owned),
        pool: state.pool().map(|pool| PoolAnswer {
            balance: pool.balance,
            next_expiry: pool.next_expiry.map(|(at, units)| (at.0, units)),
            overdraft: pool.overdraft_units,
            fills_at: pool.fills_at.map(|at| at.0),
        }),
        charge: state
            .beyond
            .as_ref()
            .and_then(|beyond| beyond.charge.as_deref())
            .map(|took| charge(catalog, took)),
    }
}

/// What a write took from a pool.
pub fn charge(catalog: &Catalog, charge: &Charge) -> ChargeAnswer {
    let paid = charge.deductions.iter();
    ChargeAnswer {
        pool: text(catalog, charge.pool),
        units: charge.units,
        paid: paid.map(|deduction| (deduction.grant.to_string(), deduction.units)).collect(),
        owed: charge.debt_units,
        returned: charge.returned_units,
    }
}

/// What each grant of a pool has left that has anything, in the order of their ids.
pub fn left(view: &PoolView) -> Vec<(String, u64)> {
    let grants = view.grants.iter().filter(|grant| grant.left_units() > 0);
    let mut left: Vec<_> = grants.map(|grant| (grant.id.to_string(), grant.left_units())).collect();
    left.sort();
    left
}

/// A decision without what was done.
pub fn decision(catalog: &Catalog, decision: &Decision, created_at: i64) -> Answer {
    Answer {
        verdict: decision.verdict,
        binding: decision.binding.as_ref().map(|state| limit(catalog, state)),
        others: Vec::new(),
        origin: decision.origin,
        plan: (decision.plan != Receipt::NO_LIMIT).then(|| text(catalog, decision.plan)),
        feature: decision.feature.map(|id| text(catalog, id)),
        value_json: decision.value_json.as_ref().map(|value| value.to_string()),
        retry_after_ms: decision.retry_after_ms,
        shadow: decision.shadow,
        amounts: Default::default(),
        replayed: false,
        created_at,
        about: None,
    }
}

fn zone_name(zone: Option<&Zone>) -> String {
    zone.map_or("UTC", Zone::name).to_owned()
}

/// A reply.
pub fn reply(catalog: &Catalog, reply: &Reply) -> Answer {
    Answer {
        others: reply.other_limits.iter().map(|state| limit(catalog, state)).collect(),
        amounts: reply.outcome.amounts,
        replayed: reply.replayed,
        about: reply
            .about
            .as_ref()
            .map(|about| (about.facts.clone(), zone_name(about.zone.as_deref()))),
        ..decision(catalog, &reply.outcome.decision, reply.created_at.0)
    }
}

/// A ledger.
pub fn line(catalog: &Catalog, ledger: &Ledger) -> Line {
    Line {
        feature: text(catalog, ledger.feature),
        limit: text(catalog, ledger.limit),
        start: ledger.window.start().0,
        end: ledger.window.end().0,
        used: ledger.used.into(),
        reserved: ledger.reserved.into(),
        debt: ledger.debt.into(),
        holds: ledger.holds,
        revision: ledger.limit_revision,
        marks: ledger.marks.0,
    }
}

/// A billing window of an allocation.
pub fn bill(catalog: &Catalog, stock: &Stock) -> Bill {
    Bill {
        feature: text(catalog, stock.feature),
        start: stock.window.start().0,
        end: stock.window.end().0,
        by: stock.rule.billed_by,
        level: stock.level_units.into(),
        peak: stock.peak_units.into(),
        unit_ms: stock.unit_ms,
        billed: stock.billed_units().into(),
    }
}

/// A window that has left the memory, with what came to it afterwards.
pub fn past(catalog: &Catalog, past: &Restated) -> Line {
    Line { used: past.used.into(), debt: past.debt.into(), ..line(catalog, &past.closed) }
}

/// Why something of an earlier time was refused. `None`: it was not, what was seen was too old.
pub fn late_refused(error: &LateError) -> Option<LateRefused> {
    Some(match error {
        LateError::Engine(error) => LateRefused::Engine(error.clone()),
        LateError::Behind { .. } => return None,
        LateError::TooOld { .. } => LateRefused::TooOld,
        LateError::UnknownEvent => LateRefused::UnknownEvent,
        LateError::Differs { .. } => LateRefused::Differs,
    })
}

/// A seat.
pub fn seat(seat: &Seat) -> Sitting {
    let until = match seat.state {
        SeatState::Claimed => None,
        SeatState::Invited { expires_at } => Some(expires_at.0),
    };
    (seat.member.to_string(), until, seat.since.0)
}

/// A signal.
pub fn told(catalog: &Catalog, account: &str, signal: &Signal) -> Told {
    Told {
        account: account.to_owned(),
        name: signal.name,
        feature: text(catalog, signal.feature),
        limit: text(catalog, signal.limit),
        window: (signal.window.start().0, signal.window.end().0),
        revision: signal.limit_revision,
        crossed_bp: signal.crossed_bp.to_vec(),
        previous: signal.previous_units.into(),
        current: signal.current_units.into(),
        included: signal.included_units.into(),
        refused: signal.refused_units.into(),
        previous_state: signal.previous_state,
        state: signal.state,
        grace_until: signal.grace_until.map(|at| at.0),
        days: signal.trial.map(|trial| trial.days),
        at: signal.at.0,
    }
}

/// A profile.
pub fn profile(catalog: &Catalog, serial: u32, profile: &Profile) -> ProfileAnswer {
    let says = |value: &OverrideValue| match value {
        OverrideValue::Switch { on } => Says::Switch(*on),
        OverrideValue::Config { value_json } => Says::Config(value_json.to_string()),
        OverrideValue::Limit { limit, included_units } => {
            Says::Limit(text(catalog, *limit), *included_units)
        }
        OverrideValue::Rate { rate } => Says::Rate(rate.map(|rate| rate.spec())),
        OverrideValue::SpendCap { limit, cap_minor, currency } => {
            Says::SpendCap(text(catalog, *limit), *cap_minor, currency.to_string())
        }
        OverrideValue::SubjectLimit { subject, limit, included_units } => {
            Says::OfSubject(subject.to_string(), text(catalog, *limit), *included_units)
        }
    };
    let overrides = profile.overrides().iter();
    ProfileAnswer {
        serial,
        plan: text(catalog, profile.plan),
        by_default: profile.by_default,
        suspended: profile.suspended,
        anchor: profile.anchor.0,
        ends_at: profile.ends_at.0,
        created_at: profile.created_at.0,
        zone: zone_name(profile.zone.as_deref()),
        overrides: overrides
            .map(|o| {
                let plain = says(&o.value);
                let said = if o.at_least { Says::AtLeast(Box::new(plain)) } else { plain };
                let starts_at = Some(o.starts_at.0).filter(|at| *at != i64::MIN);
                let ends_at = Some(o.ends_at.0).filter(|at| *at != i64::MAX);
                (text(catalog, o.feature), said, (starts_at, ends_at))
            })
            .collect(),
        addons: profile
            .addons()
            .iter()
            .map(|bought| (text(catalog, bought.addon), bought.quantity))
            .collect(),
        trial: profile
            .extra
            .as_ref()
            .and_then(|extra| extra.trial)
            .map(|trial| (text(catalog, trial.plan), trial.ends_at.0)),
        scheduled: profile
            .extra
            .iter()
            .flat_map(|extra| &extra.scheduled)
            .map(|one| (one.starts_at.0, text(catalog, one.plan)))
            .collect(),
        facts: profile.facts().to_vec(),
        cohorts: profile.cohorts().to_vec(),
    }
}

/// Why a change was refused.
pub fn refused(error: &AdminError) -> Option<Refused> {
    Some(match error {
        AdminError::UnknownAccount { .. } => Refused::Account,
        AdminError::UnknownName { what, name, .. } => Refused::Name(what, name.clone()),
        AdminError::WrongKind { .. } | AdminError::NoLeast { .. } => Refused::Kind,
        AdminError::WrongSubject { .. } => Refused::Subject,
        AdminError::UnknownZone { .. } => Refused::Zone,
        AdminError::Engine(EngineError::Store(refusal)) => Refused::Store(refusal.clone()),
        AdminError::UnlimitedCredits { .. } => Refused::Unlimited,
        AdminError::TooMany { .. }
        | AdminError::Grant(_)
        | AdminError::Behind { .. }
        | AdminError::Engine(_) => return None,
    })
}
