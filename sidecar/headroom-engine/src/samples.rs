//! What limits that fill up hold at an instant: what histories of usage are made of.
//!
//! Nothing on the road of a request knows of it. Whoever keeps histories looks at the accounts that
//! were written since the last look; their counters say what was used in between.

use std::sync::Arc;

use headroom_core::catalog::{Catalog, FeatureIx};
use headroom_core::decide::{self, Context};
use headroom_core::decision::{LimitState, WindowPhase};
use headroom_core::time::Millis;

use crate::engine::Engine;
use crate::ports::Seq;
use crate::read::as_of;

/// An account that was written since the last look.
#[derive(Debug)]
pub struct Sample {
    /// Its id.
    pub account: Arc<str>,
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
        account: &Arc<str>,
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
        for feature in features.filter(|ix| catalog.feature(*ix).kind.adds_up()) {
            for limit in decide::limit_states(cx, &state, feature) {
                let fills = limit.phase == WindowPhase::Open && limit.included_units.is_some();
                let of = |known: &LimitState| {
                    (known.ledger.feature, known.ledger.limit)
                        == (limit.ledger.feature, limit.ledger.limit)
                };
                // A pool that pays for several features comes with each of them.
                if fills && limit.ledger.window.contains(now) && !limits.iter().any(of) {
                    limits.push(limit);
                }
            }
        }
        let created_at = state.profile.created_at;
        Some(Sample { account: Arc::clone(account), serial: state.serial, created_at, limits })
    }
}
