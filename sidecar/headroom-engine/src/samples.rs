//! What limits that fill up hold at an instant: what histories of usage are made of.
//!
//! Nothing on the road of a request knows of it. Whoever keeps histories looks at the accounts that
//! were written since the last look; their counters say what was used in between.

use headroom_core::catalog::{Catalog, FeatureIx};
use headroom_core::decide::{self, Context};
use headroom_core::decision::{LimitState, WindowPhase};
use headroom_core::resolve::{Resolved, resolve};
use headroom_core::signal::{self, Foretold};
use headroom_core::time::Millis;

use crate::engine::{AccountId, Engine};
use crate::ports::Seq;
use crate::read::as_of;

/// An account that was written since the last look.
#[derive(Debug)]
pub struct Sample {
    /// Its id.
    pub account: AccountId,
    /// Its number.
    pub serial: u32,
    /// When it was first known.
    pub created_at: Millis,
    /// Its limits that fill up over a window that lasts now, each once.
    pub limits: Vec<LimitState>,
}

impl Engine {
    /// The limits of an account that fill up, unless nothing was written of it after `after`. Sliding
    /// windows have none, as what is used leaves them again; nor has one that nobody has begun.
    pub fn sample(
        &self,
        catalog: &Catalog,
        account: &AccountId,
        after: Seq,
        now: Millis,
    ) -> Option<Sample> {
        let slot = self.accounts.get(&**account)?;
        if slot.last_seq <= after {
            return None;
        }
        let now = slot.account.not_before(now);
        let cx = Context { catalog, now };
        // Copied, so that the account is not held while its limits are looked at.
        let state = as_of(cx, &slot.account).into_owned();
        drop(slot);
        let mut limits: Vec<LimitState> = Vec::new();
        let features = (0..catalog.features().len()).map(FeatureIx);
        for feature in features.filter(|ix| catalog.feature(*ix).adds_up()) {
            for limit in decide::limit_states(cx, &state, feature) {
                let fills = limit.phase == WindowPhase::Open && limit.included_units.is_some();
                // A pool that pays comes with each feature that it pays for; it does not fill up.
                let is_own = limit.ledger.feature == catalog.feature(feature).id;
                if fills && is_own && limit.ledger.window.contains(now) {
                    limits.push(limit);
                }
            }
        }
        let created_at = state.profile.created_at;
        Some(Sample { account: account.clone(), serial: state.serial, created_at, limits })
    }

    /// Raises `projected_exhaustion`, if it was not raised for this window, revision of the limit and horizon.
    /// Nothing when the limit is not what it was when `limit` was looked at, or the store takes no write.
    pub fn foretell(
        &self,
        account: &str,
        limit: &LimitState,
        foretold: Foretold,
        now: Millis,
    ) -> bool {
        if self.store.room().is_err() {
            return false;
        }
        let catalog = self.catalog();
        let Some(mut slot) = self.accounts.get_mut(account) else { return false };
        let cx = Context { catalog: &catalog, now: slot.account.not_before(now) };
        let (mut effects, mut bytes) = (Vec::new(), Vec::new());
        self.settle(cx, &mut slot, &mut effects, &mut bytes);
        effects.clear();
        let was = &limit.ledger;
        let ledgers = slot.account.ledgers();
        let ledger = ledgers.iter().find(|one| one.is(was.feature, was.limit, was.window.start()));
        let Some(&ledger) = ledger.filter(|one| one.limit_revision == was.limit_revision) else {
            return false;
        };
        let Some(feature) = catalog.feature_of(was.feature) else { return false };
        if let (Resolved::Limits(limits), _) = resolve(&catalog, &slot.account, feature, cx.now)
            && let Some(terms) = limits.iter().find(|terms| terms.limit == was.limit)
            && terms.included_units == limit.included_units
        {
            signal::foretell(terms, ledger, foretold, (catalog.signals, cx.now), &mut effects);
        }
        self.note(cx, &mut slot, &effects, &mut bytes);
        !effects.is_empty()
    }
}
