//! What can be asked without deciding: entitlements, usage, accounts, status.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use headroom_core::account::{Account, Profile};
use headroom_core::catalog::{Catalog, FeatureIx};
use headroom_core::closing::{WindowTerms, terms_of, terms_of_stock};
use headroom_core::decide::{self, Context, FeatureOp};
use headroom_core::decision::{Decision, LimitState};
use headroom_core::ledger::Ledger;
use headroom_core::origin::{self, Origins};
use headroom_core::rate::Rate;
use headroom_core::resolve::{Resolved, resolve, resolve_each, resolve_each_slots};
use headroom_core::stock::Stock;
use headroom_core::time::Millis;
use smallvec::SmallVec;

use crate::engine::{AccountId, Engine};
use crate::ports::{Seq, StoreRefusal};

/// What an account may do with one feature now.
#[derive(Debug)]
pub struct EntitlementView {
    /// The feature.
    pub feature: FeatureIx,
    /// What a use of one unit would be answered.
    pub decision: Decision,
    /// The state of every limit.
    pub limits: SmallVec<[LimitState; 2]>,
    /// How fast a rate is. `None`: unlimited, or no rate.
    pub rate: Option<Rate>,
    /// How fast each subject may be besides. `None`: as fast as the account.
    pub each: Option<Rate>,
    /// Whose word it is. `None`: nobody but the plan has a say in anything of the account.
    pub origins: Option<Box<Origins>>,
    /// The most slots each subject may hold at a time. `None`: as many as the account.
    pub slots_each: Option<u64>,
}

/// An account's entitlements.
#[derive(Debug)]
pub struct EntitlementsView {
    /// The account's profile.
    pub profile: Profile,
    /// One per feature of the catalog.
    pub entitlements: Vec<EntitlementView>,
}

/// An account's ledgers in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageView {
    /// The account's number, which the projection files its closed windows under.
    pub serial: u32,
    /// Its ledgers; holds that have ended by now hold nothing in them.
    pub ledgers: Vec<Ledger>,
    /// The stocks of its allocations in the window of now, counted until now.
    pub stocks: Vec<Stock>,
    /// What the ledgers are measured by, one for each, and then the stocks.
    pub terms: Vec<Option<WindowTerms>>,
}

impl UsageView {
    /// What a window of it is measured by. `None`: it is a bucket, or not of it.
    pub fn terms_of(&self, of: &Ledger) -> Option<&WindowTerms> {
        // A stock lies in a billing window, and its ledger is a lifetime.
        let stocks = self.stocks.iter().map(|s| (s.feature, s.limit, s.window.start()));
        let ledgers = self.ledgers.iter().map(|l| (l.feature, l.limit, l.window.start()));
        let is_it = |key| key == (of.feature, of.limit, of.window.start());
        let found = ledgers.chain(stocks).zip(&self.terms).filter(|(key, _)| is_it(*key));
        found.last()?.1.as_ref()
    }
}

/// Counts for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineCounts {
    /// Accounts known.
    pub accounts: u64,
    /// Ledgers in memory.
    pub ledgers: u64,
    /// Idempotency keys remembered.
    pub keys: u64,
    /// How long a key is remembered at present, in milliseconds.
    pub key_horizon_ms: i64,
    /// Accounts that failed an internal check.
    pub halted: u64,
}

impl Engine {
    /// What an account may do now. `None`: it is not known, and there is no default plan.
    pub fn entitlements(
        &self,
        catalog: &Catalog,
        account: &str,
        now: Millis,
    ) -> Option<EntitlementsView> {
        let id = account;
        let account = match self.accounts.get(account) {
            Some(slot) => as_of(Context { catalog, now }, &slot.account).into_owned(),
            None => {
                let plan = catalog.plan(catalog.default_plan()?).id;
                Account::new(u32::MAX, Profile::new(plan, true, now)).drawing_by(id)
            }
        };
        let cx = Context { catalog, now };
        let ask = FeatureOp::Check { units: 1, attempt: false };
        let entitlements = (0..catalog.features().len())
            .map(FeatureIx)
            .filter_map(|feature| {
                let mut none = Vec::new();
                let outcome =
                    decide::decide_feature(cx, &account, Some(feature), ask, &mut none).ok()?;
                let limits = decide::limit_states(cx, &account, feature);
                let (rate, each) = match resolve(catalog, &account, feature, now) {
                    (Resolved::Rate(rate), _) => {
                        (rate, resolve_each(catalog, &account.profile, feature, now))
                    }
                    _ => (None, None),
                };
                let decision = outcome.decision;
                let slots_each = resolve_each_slots(catalog, &account.profile, feature, now);
                let origins = origin::origins(cx, &account, &decision, &limits);
                Some(EntitlementView { feature, decision, limits, rate, each, slots_each, origins })
            })
            .collect();
        Some(EntitlementsView { profile: account.profile, entitlements })
    }

    /// The position of the last record about an account: whether anything was written of it since the
    /// last look. The start of the journal when it is not known.
    pub fn last_record(&self, account: &str) -> Seq {
        self.accounts.get(account).map_or(Seq(0), |slot| slot.last_seq)
    }

    /// The ledgers of an account in memory. `None`: it is not known.
    pub fn usage(&self, account: &str, now: Millis) -> Option<UsageView> {
        let slot = self.accounts.get(account)?;
        let catalog = self.catalog();
        let cx = Context { catalog: &catalog, now };
        let account = as_of(cx, &slot.account);
        let (ledgers, stocks) = (account.ledgers().to_vec(), account.stocks_at(now));
        let of_ledgers = ledgers.iter().map(|ledger| terms_of(cx, &account, ledger));
        let of_stocks = stocks.iter().map(|stock| terms_of_stock(cx, &account, stock));
        let terms = of_ledgers.chain(of_stocks).collect();
        Some(UsageView { serial: account.serial, ledgers, stocks, terms })
    }

    /// The number of an account. `None`: it is not known.
    pub fn serial(&self, account: &str) -> Option<u32> {
        self.accounts.get(account).map(|slot| slot.account.serial)
    }

    /// Whether anything can be written now.
    ///
    /// # Errors
    /// Why not.
    pub fn room(&self) -> Result<(), StoreRefusal> {
        self.store.room()
    }

    /// The profile of an account.
    pub fn profile(&self, account: &str) -> Option<Profile> {
        self.accounts.get(account).map(|slot| slot.account.profile.clone())
    }

    /// The id of the account with this number.
    pub fn account_id(&self, serial: u32) -> Option<AccountId> {
        let serials = self.serials.lock().unwrap_or_else(|held| held.into_inner());
        serials.get(serial as usize).filter(|id| !id.is_empty()).cloned()
    }

    /// Ids of accounts in the order they were first seen, from number `from` on.
    pub fn account_ids(&self, from: u32, count_max: usize) -> Vec<(u32, AccountId)> {
        let serials = self.serials.lock().unwrap_or_else(|held| held.into_inner());
        let rest = serials.get(from as usize..).unwrap_or_default();
        let ids = (from..).zip(rest).filter(|(_, id)| !id.is_empty());
        ids.take(count_max).map(|(serial, id)| (serial, id.clone())).collect()
    }

    /// Counts for status and metrics.
    pub fn counts(&self) -> EngineCounts {
        EngineCounts {
            accounts: self.serials.lock().unwrap_or_else(|held| held.into_inner()).len() as u64,
            ledgers: self.ledgers.load(Ordering::Relaxed),
            keys: self.keys.live(),
            key_horizon_ms: self.keys.horizon_ms(),
            halted: self.halted_count.load(Ordering::Relaxed),
        }
    }

    /// Forgets keys whose time has come, account by account and chunk by chunk. Off the hot road; no
    /// account is locked for longer than a chunk of its keys takes.
    pub fn prune_keys(&self, now: Millis) {
        self.keys.advance(now);
        let oldest = self.keys.oldest();
        let mut from = 0;
        loop {
            let page = self.account_ids(from, 1024);
            let Some((last, _)) = page.last() else { return };
            from = last + 1;
            for (_, id) in page {
                self.prune_account(&id, oldest);
            }
        }
    }

    fn prune_account(&self, id: &str, oldest: u32) {
        loop {
            let Some(mut slot) = self.accounts.get_mut(id) else { return };
            let Some(keys) = &mut slot.keys else { return };
            if !keys.forget(oldest) {
                if keys.is_empty() {
                    slot.keys = None;
                } else {
                    keys.shrink();
                }
                return;
            }
        }
    }
}

/// The account with what time has brought, for reading: a copy when that is anything.
pub(crate) fn as_of<'a>(cx: Context<'_>, account: &'a Account) -> Cow<'a, Account> {
    if !account.is_due(cx.now) {
        return Cow::Borrowed(account);
    }
    let mut effects = Vec::new();
    if catch_unwind(AssertUnwindSafe(|| decide::settle(cx, account, &mut effects))).is_err() {
        // An internal check failed; the next write halts the account. Reading shows what there is.
        return Cow::Borrowed(account);
    }
    if effects.is_empty() {
        return Cow::Borrowed(account); // Something is to be announced; reading does not.
    }
    let mut copy = account.clone();
    for effect in &effects {
        copy.apply(effect);
    }
    if copy.owing_until() <= cx.now {
        // More windows have followed one another than one look lists.
        return Cow::Owned(as_of(cx, &copy).into_owned());
    }
    Cow::Owned(copy)
}
