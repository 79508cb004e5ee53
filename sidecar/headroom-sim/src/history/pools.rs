//! What is made up about pools of credits.

use headroom_core::catalog::CREDITS_LIMIT;

use super::{DAY_MS, HOUR_MS, History, Step};
use crate::catalogs::POOLS;
use crate::model::{GrantAsk, Says};

/// Different grants of an account: few, so that they meet again.
const GRANTS: u64 = 24;

/// The most that an override includes: each credit is a coin of the model.
const INCLUDED_MAX: u64 = 15;

impl History {
    pub(super) fn grant(&mut self, account: String, now: i64) -> Step {
        let id = u8::try_from(self.rng.below(GRANTS)).expect("few");
        // Now and then one that is not there.
        let pools = if self.rng.percent(3) { &POOLS } else { &self.pools[..] };
        let pool = (*self.rng.pick(pools)).to_owned();
        if self.rng.percent(20) {
            return Step::Void { account, pool, id };
        }
        if let Some(again) = self.granted.clone().filter(|_| self.rng.percent(8)) {
            return Step::Grant(again);
        }
        let units = 1 + self.rng.below(9);
        let priority = *self.rng.pick(&[100, 100, 7, 200]);
        let mut soon = |share| {
            let lies = *self.rng.pick(&[HOUR_MS, DAY_MS, 20 * DAY_MS]);
            self.rng.percent(share).then(|| now + self.rng.between(-lies / 20, lies))
        };
        let (starts, expires) = (soon(25), soon(55));
        let ask =
            GrantAsk { account, pool, id, units: (units, priority), times: (starts, expires) };
        self.granted = Some(ask.clone());
        Step::Grant(ask)
    }

    /// An override of what is included of a pool: mostly one that fits.
    pub(super) fn pool_says(&mut self, limit: String, most: Option<u64>) -> Says {
        let limit = if self.rng.percent(85) { CREDITS_LIMIT.to_owned() } else { limit };
        let unlimited = most.is_none() && self.rng.percent(30);
        let units = most.unwrap_or(0).min(INCLUDED_MAX);
        Says::Limit(limit, (!unlimited).then_some(units))
    }
}
