//! Opening balances: as any other write under the account's lock, with a key; or only looked at.

use headroom_core::account::Account;
use headroom_core::catalog::{Catalog, FeatureKind};
use headroom_core::decide::{self, Context, Opening};
use headroom_core::decision::OpError;
use headroom_core::effect::Effects;
use headroom_core::time::Millis;

use crate::admin::{AdminError, quota_limit};
use crate::dimensions::Dimensions;
use crate::engine::{Engine, EngineError, Key, Reply, Wants, decided};
use crate::keys::{hash_key, hash_payload};
use crate::read::as_of;

/// The operation's number in payload hashes.
const OPENING: u8 = 42;

/// An opening balance by names.
#[derive(Debug, Clone, Copy)]
pub struct OpeningRequest<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature's name.
    pub feature: &'a str,
    /// The limit's name.
    pub limit: &'a str,
    /// Units used in its window of now.
    pub units: u64,
    /// When that window began, where first use begins it.
    pub began_at: Option<Millis>,
    /// Whether it comes on top of what was used here already.
    pub adds: bool,
    /// The idempotency key.
    pub key: &'a str,
    /// Whether it is only to be said what would become of it.
    pub dry_run: bool,
    /// The one clock reading of the request.
    pub now: Millis,
}

impl Engine {
    /// Counts what an account had used of a limit before it came here, or says what that would come to.
    ///
    /// # Errors
    /// When there is no such account, feature or limit, or the balance cannot be taken.
    pub fn put_opening(
        &self,
        catalog: &Catalog,
        rq: &OpeningRequest<'_>,
    ) -> Result<Box<Reply>, AdminError> {
        let feature = catalog.feature_named(rq.feature).ok_or_else(|| AdminError::UnknownName {
            what: "feature",
            name: rq.feature.to_owned(),
            known: catalog.features().iter().map(|known| known.feature.to_string()).collect(),
        })?;
        let shape = catalog.feature(feature);
        let FeatureKind::Quota { limits } = &shape.kind else {
            let error = OpError::NoOpening { kind: shape.kind.as_str() };
            return Err(EngineError::from(error).into());
        };
        let limit = quota_limit(catalog, limits, rq.limit)?;
        let opening = Opening { limit, units: rq.units, began_at: rq.began_at, adds: rq.adds };
        let began_at = rq.began_at.unwrap_or(Millis::FOREVER).0.cast_unsigned();
        let of_limit = u64::from(limit.0) << 1 | u64::from(rq.adds);
        let key = Key {
            hash: hash_key(&self.secret, rq.key),
            payload: hash_payload(OPENING, shape.id, [rq.units, of_limit, began_at]),
            units: rq.units,
            // It has happened, so it counts also where nothing more is admitted.
            admits: false,
            synthetic: false,
            dimensions: Dimensions::None,
        };
        let cx = Context { catalog, now: rq.now };
        let Some(mut slot) = self.accounts.get_mut(rq.account) else {
            return Err(AdminError::UnknownAccount { account: rq.account.to_owned() });
        };
        let open = |cx: Context<'_>, account: &Account, effects: &mut Effects| {
            decide::open_balance(cx, account, feature, opening, effects)
        };
        if !rq.dry_run {
            return Ok(self.write(cx, &mut slot, key, Wants::default(), open)?);
        }
        let cx = Context { now: slot.account.not_before(cx.now), ..cx };
        let account = as_of(cx, &slot.account);
        self.keys.advance(cx.now);
        let known = slot.keys.as_ref().and_then(|keys| keys.find(key.hash));
        if let Some(entry) = known.filter(|entry| entry.generation >= self.keys.oldest()) {
            if entry.receipt.payload != key.payload {
                return Err(entry.receipt.reused().into());
            }
            return Ok(self.replay(cx, &account, entry, key.units, Wants::default()));
        }
        let outcome = decided(|| open(cx, &account, &mut Effects::new()))?;
        Ok(self.passing(cx, &account, outcome, Wants::default()))
    }
}
