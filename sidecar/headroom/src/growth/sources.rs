//! The facts of an account: those that were put, and those that follow from what is known here.

use headroom_core::account::Profile;
use headroom_core::catalog::FeatureKind;
use headroom_core::signal::SignalName;
use headroom_core::time::Millis;
use headroom_engine::engine::Engine;
use headroom_expansion::activity;
use headroom_expansion::days::Day;
use headroom_expansion::facts::{Facts, PARTS, Value};
use headroom_expansion::limits::ACTIVITY_DAYS;
use headroom_expansion::terms::Terms;

use super::appraisal::fact_of;
use super::book::Known;

/// Facts that count the days of the last 30 on which a signal came.
const DAYS_OF_SIGNALS: [(&str, &str); 2] =
    [("premium_feature_attempted", "premium_attempt_days"), ("team_invite_sent", "invite_days")];

/// Days over which different features outside the plan are counted.
const TRIED_DAYS: u32 = 14;

/// The facts that were put.
pub(super) fn said(engine: &Engine, account: &str) -> Facts {
    engine.profile(account).as_ref().map(said_of).unwrap_or_default()
}

fn said_of(profile: &Profile) -> Facts {
    let facts = profile.facts().iter();
    Facts::of(facts.filter_map(|(name, json)| Some((name.clone(), fact_of(json)?))))
}

/// The facts of an account as of an instant.
pub(super) fn facts(
    engine: &Engine,
    terms: &Terms,
    known: Option<&Known>,
    account: &str,
    at: Millis,
) -> Facts {
    let profile = engine.profile(account);
    let mut facts = profile.as_ref().map(said_of).unwrap_or_default();
    facts.infer_days(at);
    let today = Day::of(at);
    if let Some(profile) = &profile {
        facts.infer("days_since_signup", whole_i64(today.since(Day::of(profile.created_at))));
        if profile.ends_at != Millis::FOREVER {
            // Where nobody says when the contract is renewed, it lasts as long as the subscription.
            let left = Day::of(profile.ends_at).since(today);
            facts.infer("contract_days_left", whole_i64(left));
        }
        let catalog = engine.catalog();
        let plan = catalog.plan_name(profile.plan_at(at).0).0.to_owned();
        facts.infer("plan", Value::Text(plan));
        let plan = catalog.plan_of(profile.plan_at(at).0).map(|ix| catalog.plan(ix));
        if let Some(price) = plan.and_then(|plan| plan.price.as_ref()) {
            let minor = i64::try_from(price.minor).unwrap_or(i64::MAX);
            facts.infer("plan_price_minor", whole_i64(minor));
        }
    }
    if let Some(known) = known {
        known.activity.infer(today, terms.adopted_days, &mut facts);
        if !known.tried.is_empty() {
            let tried = known.tried.values();
            let count = tried.filter(|days| days.count(today, TRIED_DAYS) > 0).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            facts.infer("gated_features_tried", whole_i64(count));
        }
    }
    for (signal, fact) in DAYS_OF_SIGNALS {
        // Of a signal that nobody raises nothing is known, which is something else than none.
        let Some(name) = SignalName::parse(signal) else { continue };
        if engine.catalog().signals.raises(name) {
            let days = known.and_then(|known| known.fired.get(signal));
            let count = days.map_or(0, |days| days.count(today, ACTIVITY_DAYS));
            facts.infer(fact, whole_i64(i64::from(count)));
        }
    }
    infer_use(engine, account, at, &mut facts);
    activity::infer_active_seats(&mut facts);
    facts
}

fn whole_i64(number: i64) -> Value {
    Value::whole(number)
}

/// How many seats an account uses. `None`: it has no seats.
pub(super) fn seats_used(engine: &Engine, account: &str, at: Millis) -> Option<u64> {
    let catalog = engine.catalog();
    let view = engine.entitlements(&catalog, account, at)?;
    let is_seats = |kind: &FeatureKind| matches!(kind, FeatureKind::Seats { .. });
    let mut seats = view.entitlements.iter();
    let seats = seats.find(|one| is_seats(&catalog.feature(one.feature).kind))?;
    Some(seats.limits.first()?.ledger.used)
}

/// What the account uses of what it has: `used_percent.FEATURE` of every counted feature, by its fullest
/// limit, the fullest of all as `entitlement_used_percent`, and `seats`.
fn infer_use(engine: &Engine, account: &str, at: Millis, facts: &mut Facts) {
    let catalog = engine.catalog();
    let Some(view) = engine.entitlements(&catalog, account, at) else { return };
    let mut fullest = None;
    for one in &view.entitlements {
        let feature = catalog.feature(one.feature);
        let used = one.limits.iter().filter_map(|state| {
            percent(state.ledger.used, state.included_units.filter(|units| *units > 0)?)
        });
        let Some(most) = used.max() else { continue };
        facts.infer(&format!("used_percent.{}", feature.feature), Value::Number(most));
        fullest = fullest.max(Some(most));
        if let (FeatureKind::Seats { .. }, Some(state)) = (&feature.kind, one.limits.first())
            && let Some(seats) = state.included_units
        {
            facts.infer("seats", whole_i64(i64::try_from(seats).unwrap_or(i64::MAX)));
        }
    }
    if let Some(most) = fullest {
        facts.infer("entitlement_used_percent", Value::Number(most));
    }
}

/// A share in thousandths of a percent, rounded down.
fn percent(used: u64, included: u64) -> Option<i64> {
    let share = u128::from(used) * 100 * u128::from(PARTS.unsigned_abs()) / u128::from(included);
    i64::try_from(share).ok()
}
