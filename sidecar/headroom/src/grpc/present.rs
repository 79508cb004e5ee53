//! Answers into messages. Total: whatever the engine answers can be said.

use headroom_core::catalog::{Catalog, Policy};
use headroom_core::decision::{Decision, Denial, LimitState, Verdict};
use headroom_core::ledger::Ledger;
use headroom_core::projection::{Projection, project};
use headroom_core::prompt::{self, Severity};
use headroom_core::resolve::Origin;
use headroom_core::time::Millis;
use headroom_engine::engine::Reply;
use headroom_proto::v1;

use crate::prompts::{Facts, LimitFacts, Renderer};

/// What answers are made under, besides the reply.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The catalog that decided.
    pub catalog: &'a Catalog,
    /// The prompts of that catalog; `None` while it is being exchanged.
    pub renderer: Option<&'a Renderer>,
    /// The account asked about.
    pub account: &'a str,
    /// The instant of the decision.
    pub now: Millis,
    /// Whether that is a test clock's.
    pub test_clock: bool,
    /// What a written answer is called.
    pub durability: v1::Durability,
}

/// The whole answer.
pub fn decision(scene: Scene<'_>, reply: &Reply, include: v1::Include) -> v1::Decision {
    let catalog = scene.catalog;
    let decided = &reply.outcome.decision;
    let projected = decided
        .binding
        .as_ref()
        .filter(|_| include.projection || include.prompt)
        .and_then(|limit| project(limit, reply.created_at, scene.now));
    v1::Decision {
        allowed: decided.verdict.is_allowed(),
        verdict: verdict(decided.verdict).into(),
        denial: denial(decided.verdict).into(),
        binding: decided.binding.as_ref().map(|limit| limit_state(catalog, limit)),
        other_limits: reply.other_limits.iter().map(|limit| limit_state(catalog, limit)).collect(),
        config_value: decided.value_json.as_deref().unwrap_or_default().to_owned(),
        origin: origin(catalog, decided),
        catalog_revision: int(catalog.revision),
        as_of: Some(timestamp(scene.now)),
        source: v1::Source::Local.into(),
        durability: match reply.wait_for {
            Some(_) => scene.durability.into(),
            None => v1::Durability::Memory.into(),
        },
        decision_id: reply.decision_id.text(),
        replayed: reply.replayed,
        test_clock: scene.test_clock,
        retry_after: decided.retry_after_ms.map(duration),
        prompt: include.prompt.then(|| made_prompt(scene, reply, projected)).flatten(),
        projection: match (&decided.binding, projected) {
            (Some(limit), Some(projected)) if include.projection => {
                Some(projection(catalog, limit, projected))
            }
            _ => None,
        },
    }
}

fn verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Allowed => v1::Verdict::Allowed,
        Verdict::SoftLimit => v1::Verdict::AllowedSoftLimit,
        Verdict::Grace => v1::Verdict::AllowedGrace,
        Verdict::Overage => v1::Verdict::AllowedOverage,
        Verdict::Denied(_) => v1::Verdict::Denied,
    }
}

/// The reason of a refusal.
pub fn denial(verdict: Verdict) -> v1::Denial {
    let Verdict::Denied(denial) = verdict else { return v1::Denial::Unspecified };
    match denial {
        Denial::UnknownAccount => v1::Denial::UnknownAccount,
        Denial::AccountSuspended => v1::Denial::AccountSuspended,
        Denial::UnknownFeature => v1::Denial::UnknownFeature,
        Denial::SubscriptionEnded => v1::Denial::SubscriptionEnded,
        Denial::NotInPlan => v1::Denial::NotInPlan,
        Denial::QuotaExhausted => v1::Denial::QuotaExhausted,
        Denial::InFlight => v1::Denial::InFlight,
    }
}

/// Where the entitlement of a decision comes from.
pub fn origin(catalog: &Catalog, decided: &Decision) -> Option<v1::Origin> {
    let kind = match decided.origin {
        Origin::None => return None,
        Origin::Plan => v1::OriginKind::Plan,
        Origin::DefaultPlan => v1::OriginKind::DefaultPlan,
        Origin::Override => v1::OriginKind::Override,
    };
    Some(v1::Origin { kind: kind.into(), plan: catalog.text(decided.plan).to_owned() })
}

/// One limit.
pub fn limit_state(catalog: &Catalog, state: &LimitState) -> v1::LimitState {
    let ledger = &state.ledger;
    v1::LimitState {
        limit: catalog.text(ledger.limit).to_owned(),
        policy: match state.policy {
            Policy::Block => v1::Policy::Block,
            Policy::Grace { .. } => v1::Policy::Grace,
            Policy::Overage => v1::Policy::Overage,
            Policy::Unlimited => v1::Policy::Unlimited,
        }
        .into(),
        included_units: state.included_units.map(int),
        used_units: int(ledger.used),
        reserved_units: int(ledger.reserved),
        settled_units_remaining: state.settled_units_remaining().map(int),
        drawable_units_remaining: state.drawable_units_remaining().map(int),
        window_start: Some(timestamp(ledger.window.start())),
        window_end: window_end(ledger),
        thresholds_passed_bp: state.passed_bp.iter().map(|bp| bp.cast_signed()).collect(),
        grace_units_remaining: state.grace_units_remaining().map(int),
        overage_units: int(state.overage_units()),
        debt_units: int(ledger.debt),
        limit_revision: i32::from(ledger.limit_revision),
    }
}

/// The end of a ledger's window, unless it is a lifetime.
pub fn window_end(ledger: &Ledger) -> Option<prost_types::Timestamp> {
    (!ledger.window.is_lifetime()).then(|| timestamp(ledger.window.end()))
}

fn projection(catalog: &Catalog, limit: &LimitState, projected: Projection) -> v1::Projection {
    let (state, reaches_limit_at, units_at_window_end) = match projected {
        Projection::Learning => (v1::ProjectionState::Learning, None, None),
        Projection::Reached => (v1::ProjectionState::Reached, None, None),
        Projection::ReachesLimit { at, units_at_window_end } => {
            (v1::ProjectionState::ReachesLimit, Some(timestamp(at)), units_at_window_end)
        }
        Projection::WithinLimit { units_at_window_end } => {
            (v1::ProjectionState::WithinLimit, None, units_at_window_end)
        }
    };
    v1::Projection {
        limit: catalog.text(limit.ledger.limit).to_owned(),
        state: state.into(),
        reaches_limit_at,
        units_at_window_end: units_at_window_end.map(int),
    }
}

fn made_prompt(
    scene: Scene<'_>,
    reply: &Reply,
    projected: Option<Projection>,
) -> Option<v1::Prompt> {
    let catalog = scene.catalog;
    let decided = &reply.outcome.decision;
    let (place, scenario, severity) = prompt::choose(catalog, decided)?;
    let about = reply.about.as_deref()?;
    let feature = catalog.feature(catalog.feature_of(decided.feature?)?);
    let plan = catalog.plan_of(decided.plan).map(|ix| catalog.plan(ix));
    let utc = jiff::tz::TimeZone::UTC;
    let limit = decided.binding.as_ref().and_then(|state| {
        Some(LimitFacts {
            limit: catalog.text(state.ledger.limit),
            used_units: state.ledger.used,
            included_units: state.included_units?,
            window: state.ledger.window,
            reaches_limit_at: match projected {
                Some(Projection::ReachesLimit { at, .. }) => Some(at),
                _ => None,
            },
        })
    });
    let facts = Facts {
        account: scene.account,
        feature: &feature.feature,
        feature_name: &feature.name,
        unit: &feature.unit,
        scale: feature.scale,
        plan: catalog.text(decided.plan),
        plan_name: plan.map_or("", |plan| &plan.name),
        limit,
        account_facts: &about.facts,
        now: scene.now,
        zone: about.zone.as_ref().map_or(&utc, |zone| zone.rules()),
    };
    let rendered = scene.renderer?.render(place, &facts)?;
    let spec = &catalog.prompts()[place];
    Some(v1::Prompt {
        prompt: spec.spec.prompt.clone(),
        scenario: scenario.as_str().to_owned(),
        severity: match severity {
            Severity::Info => v1::Severity::Info,
            Severity::Warning => v1::Severity::Warning,
            Severity::Alarm => v1::Severity::Alarm,
        }
        .into(),
        title: rendered.title,
        message: rendered.message,
        call_to_action: rendered.call_to_action,
        url: rendered.url,
        offer: spec.offer.map(|ix| {
            let plan = catalog.plan(ix);
            v1::Offer {
                plan: plan.plan.to_string(),
                plan_name: plan.name.to_string(),
                price_minor: plan.price.as_ref().map(|price| int(price.minor)),
                currency: plan.price.as_ref().map_or_else(String::new, |p| p.currency.clone()),
                per: plan.price.as_ref().map_or("", |p| p.per.as_str()).to_owned(),
            }
        }),
        facts: rendered.facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    })
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
