//! Grants: units given to pools of credits, taken back, and looked at.

use headroom_core::account::Account;
use headroom_core::catalog::{Catalog, FeatureIx, FeatureKind};
use headroom_core::credits::{CreditsEffect, Grant, Pool, Segment};
use headroom_core::decide::{self, Context, GrantError, NewGrant};
use headroom_core::decision::LimitState;
use headroom_core::effect::{Effect, Effects};
use headroom_core::names::NameId;
use headroom_core::time::Millis;

use crate::admin::AdminError;
use crate::engine::{Engine, EngineError, Slot};
use crate::ports::Seq;
use crate::read::as_of;

/// A grant that was made, taken back, or was so already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantChanged {
    /// The grant now.
    pub grant: Grant,
    /// The pool now.
    pub state: LimitState,
    /// The record that must be written before this is answered.
    pub wait_for: Seq,
}

/// A pool of an account, for looking at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    /// The account's number, which the projection files the history under.
    pub serial: u32,
    /// The credits feature.
    pub feature: NameId,
    /// How the pool stands.
    pub state: LimitState,
    /// Grants that have not ended in the order they burn, then the ended ones, latest first.
    pub grants: Vec<Grant>,
    /// The open end of the history. `None`: the account never had anything of the pool.
    pub open_segment: Option<Segment>,
}

impl Engine {
    /// Gives units to a pool. The same id with the same content again is the same grant.
    ///
    /// # Errors
    /// When there is no such account or pool, or the grant cannot be made.
    pub fn put_grant(
        &self,
        account: &str,
        pool: &str,
        new: &NewGrant<'_>,
        now: Millis,
    ) -> Result<GrantChanged, AdminError> {
        self.change_pool(account, pool, now, |cx, account, pool, effects| {
            decide::put_grant(cx, account, pool, new, effects)
        })
    }

    /// Takes back what is left of a grant.
    ///
    /// # Errors
    /// When there is no such account, pool or grant.
    pub fn void_grant(
        &self,
        account: &str,
        pool: &str,
        (id, reason): (&str, &str),
        now: Millis,
    ) -> Result<GrantChanged, AdminError> {
        self.change_pool(account, pool, now, |cx, account, pool, effects| {
            decide::void_grant(cx, account, pool, id, reason, effects)
        })
    }

    fn change_pool(
        &self,
        account: &str,
        pool: &str,
        now: Millis,
        change: impl FnOnce(Context<'_>, &Account, FeatureIx, &mut Effects) -> Result<Grant, GrantError>,
    ) -> Result<GrantChanged, AdminError> {
        let catalog = self.catalog();
        let pool = pool_named(&catalog, pool)?;
        self.store.room().map_err(EngineError::from)?;
        let Some(mut slot) = self.accounts.get_mut(account) else {
            return Err(AdminError::UnknownAccount { account: account.to_owned() });
        };
        let cx = Context { catalog: &catalog, now: slot.account.not_before(now) };
        let (mut effects, mut bytes) = (Effects::new(), Vec::new());
        self.settle(cx, &mut slot, &mut effects, &mut bytes);
        effects.clear();
        let grant = change(cx, &slot.account, pool, &mut effects)?;
        self.note(cx, &mut slot, &effects, &mut bytes);
        let state = decide::pool_state(cx, &slot.account, pool);
        Ok(GrantChanged { grant, state, wait_for: slot.last_seq })
    }

    /// Brings the pools of an account in line with its subscription.
    pub(crate) fn settle_pools(&self, slot: &mut Slot, now: Millis) {
        let catalog = self.catalog();
        if catalog.pools().is_empty() {
            return;
        }
        let cx = Context { catalog: &catalog, now: slot.account.not_before(now) };
        let (mut effects, mut bytes) = (Effects::new(), Vec::new());
        self.settle(cx, slot, &mut effects, &mut bytes);
        effects.clear();
        decide::settle_pools(cx, &slot.account, &mut effects);
        self.note(cx, slot, &effects, &mut bytes);
    }

    /// Brings all pools that accounts have in line with a catalog that has just come into force: what it
    /// includes and which windows it gives them counts from this moment, whoever looks next. Returns the
    /// position of the last record, if there was any. Without room it is done by whoever looks.
    pub(crate) fn follow_catalog(&self, now: Millis) -> Option<Seq> {
        if self.catalog().pools().is_empty() || self.store.room().is_err() {
            return None;
        }
        let mut last = None;
        let done: Result<(), AdminError> = self.each_account(|_, slot| {
            let before = slot.last_seq;
            if !slot.account.pools().is_empty() {
                self.settle_pools(slot, now);
            }
            last = (before < slot.last_seq).then_some(slot.last_seq).or(last);
            Ok(())
        });
        debug_assert!(done.is_ok(), "{done:?}"); // Nothing is asked for that could be refused.
        last
    }

    /// A pool of an account as it stands.
    ///
    /// # Errors
    /// When there is no such account or pool.
    pub fn pool(&self, account: &str, pool: &str, now: Millis) -> Result<PoolView, AdminError> {
        let catalog = self.catalog();
        let ix = pool_named(&catalog, pool)?;
        let Some(slot) = self.accounts.get(account) else {
            return Err(AdminError::UnknownAccount { account: account.to_owned() });
        };
        let cx = Context { catalog: &catalog, now: slot.account.not_before(now) };
        let written = &slot.account;
        let account = as_of(cx, written);
        let feature = catalog.feature(ix).id;
        let state = decide::pool_state(cx, &account, ix);
        let known = account.pool(feature);
        let grants = known.map_or_else(Vec::new, |pool| {
            pool.grants().iter().chain(pool.ended().iter().rev()).cloned().collect()
        });
        let open_segment = known.map(|pool| open_end(cx, written, pool));
        Ok(PoolView { serial: account.serial, feature, state, grants, open_segment })
    }
}

/// The open end of a pool's history. What time has brought and no record says yet is in it, so that it follows
/// what is written without a gap.
fn open_end(cx: Context<'_>, written: &Account, pool: &Pool) -> Segment {
    let (feature, open) = (pool.head.feature, pool.head.segment);
    if written.pool(feature).is_none_or(|known| known.head.segment.from == open.from) {
        return open;
    }
    let mut effects = Effects::new();
    decide::settle(cx, written, &mut effects);
    let mut closed = effects.iter().filter_map(|effect| match effect {
        Effect::Credits(change) => match **change {
            CreditsEffect::Segment(of, segment) if of == feature => Some(segment),
            _ => None,
        },
        _ => None,
    });
    let Some(first) = closed.next() else { return open };
    closed.chain([open]).fold(first, |all, next| all.with(&next))
}

fn pool_named(catalog: &Catalog, name: &str) -> Result<FeatureIx, AdminError> {
    let is_pool = |ix: &FeatureIx| matches!(catalog.feature(*ix).kind, FeatureKind::Credits { .. });
    catalog.feature_named(name).filter(is_pool).ok_or_else(|| {
        let known = catalog.pools().iter().map(|ix| catalog.feature(*ix).feature.to_string());
        AdminError::UnknownName {
            what: "credits feature",
            name: name.to_owned(),
            known: known.collect(),
        }
    })
}
