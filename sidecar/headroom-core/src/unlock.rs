//! What use unlocks: an entitlement of a plan that counts once so many units of another feature were used
//! in the account's life.
//!
//! They are counted by that feature's lifetime limit, so nothing is counted twice: an entitlement is earned when
//! the counter has come so far, or when it was earned before. The write that comes so far writes down that
//! it did. So what was earned stays, whatever is corrected or asked for later, and under every plan that asks
//! for use. A lifetime limit is disturbed by such a number as by a soft limit, so other writes do not know of it.

use crate::account::{Account, Override};
use crate::announced::Announced;
use crate::catalog::{Entitlement, FeatureIx, Policy};
use crate::decide::Context;
use crate::decision::LimitState;
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::names::NameId;
use crate::resolve::Origin;
use crate::signal::{NO_LIMIT, Signal, SignalName, SignalState};
use crate::time::Millis;

/// What has to be used before an entitlement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlock {
    /// The feature that is used.
    pub feature: NameId,
    /// Its limit that counts for ever.
    pub limit: NameId,
    /// So many units, at least 1.
    pub units: u64,
}

/// What a plan gives once it was earned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The feature.
    pub feature: NameId,
    /// By what it is earned.
    pub after: Unlock,
    /// What it is then.
    pub given: Entitlement,
}

impl Locked {
    /// What it is for an account at an instant, also of the past: what was earned later was not earned then. `None`:
    /// it is not earned yet.
    #[cold]
    pub(crate) fn opened(&self, account: &Account, at: Millis) -> Option<&Entitlement> {
        let is_earned = earned_at(account, self.feature).map_or_else(
            || {
                let counter = account.ledger_at(self.after.feature, self.after.limit, at);
                self.after.units <= counter.map_or(0, |ledger| ledger.used)
            },
            |earned| earned <= at,
        );
        is_earned.then_some(&self.given)
    }
}

/// When use has earned a feature. `None`: nobody has written that down.
fn earned_at(account: &Account, feature: NameId) -> Option<Millis> {
    account.announced(SignalName::UnlockEarned, feature, NO_LIMIT).map(|known| known.of)
}

/// What stands between an account and a feature that its plan has locked: the counter with the units that
/// are needed as its limit, and the origin of the entitlement to come. `None`: no lock does.
#[cold]
pub(crate) fn lock(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
) -> Option<(Unlock, Origin)> {
    let profile = &account.profile;
    let (plan, on_trial) = profile.plan_at(cx.now);
    let plan = cx.catalog.plan(cx.catalog.plan_of(plan)?);
    let Some(Entitlement::Locked(locked)) = plan.stated(feature) else { return None };
    // Who was given the feature by hand, or had it taken away, does not wait for use.
    let by_hand =
        |one: &Override| one.feature == locked.feature && one.is_in_force(cx.now) && !one.at_least;
    if locked.opened(account, cx.now).is_some() || profile.overrides().iter().any(by_hand) {
        return None;
    }
    let origin = match (on_trial, profile.by_default) {
        (true, _) => Origin::Trial,
        (false, true) => Origin::DefaultPlan,
        (false, false) => Origin::Plan,
    };
    Some((locked.after, origin))
}

/// The counter of a lock as an answer shows it: what was used of what is needed.
pub(crate) fn shown(mut state: LimitState, after: Unlock) -> LimitState {
    (state.included_units, state.ceiling_units) = (Some(after.units), Some(after.units));
    (state.policy, state.beyond) = (Policy::Block, None);
    state.passed_bp.clear();
    state
}

/// Notes what a use has earned, and tells it. Once for each feature.
#[cold]
pub(crate) fn earn(
    cx: Context<'_>,
    account: &Account,
    (ledger, previous_units): (&Ledger, u64),
    effects: &mut Effects,
) {
    let Some(plan) = cx.catalog.plan_of(account.profile.plan_at(cx.now).0) else { return };
    for locked in cx.catalog.plan(plan).locks() {
        let after = locked.after;
        let is_of = after.feature == ledger.feature && after.limit == ledger.limit;
        if !is_of || ledger.used < after.units || earned_at(account, locked.feature).is_some() {
            continue;
        }
        let (name, limit) = (SignalName::UnlockEarned, NO_LIMIT);
        // Whoever had used enough when the lock came was never locked out: that is told now, and was so before.
        let was_enough = after.units <= previous_units;
        let of = if was_enough { ledger.window.start() } else { cx.now };
        effects.push(Effect::Announced(Box::new(Announced {
            name,
            feature: locked.feature,
            limit,
            of,
            limit_revision: 1,
        })));
        if !cx.catalog.signals.raises(name) {
            continue;
        }
        effects.push(Effect::Signal(Box::new(Signal {
            name,
            feature: locked.feature,
            limit,
            window: ledger.window,
            limit_revision: 1,
            crossed_bp: smallvec::SmallVec::new(),
            previous_units,
            current_units: ledger.used,
            included_units: after.units,
            refused_units: 0,
            previous_state: SignalState::Ok,
            state: SignalState::Ok,
            grace_until: None,
            foretold: None,
            trial: None,
            earned_by: Some(after.feature),
            at: cx.now,
        })));
    }
}
