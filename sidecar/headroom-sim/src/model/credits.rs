//! Pools of credits in the model: how one stands under the catalog and the subscription of an instant, what
//! time brings to it, grants, and what is asked of it directly.

use std::sync::Arc;

use headroom_core::account::Zone;
use headroom_core::catalog::{EntitlementSpec, FeatureKindSpec, Merge, Policy};
use headroom_core::credits::{CreditPrice, PoolTerms};
use headroom_core::decide::{FeatureOp, GrantError};
use headroom_core::decision::{Amounts, Denial, OpError, Verdict, WindowPhase};
use headroom_core::limits::UNITS_MAX;
use headroom_core::resolve::Origin;
use headroom_core::signal::SignalName;

use super::page::state;
use super::plan::Entitled;
use super::{
    Account, Done, HeldCredits, Hold, LimitAnswer, Model, PoolAnswer, Refused, Says, Told,
};
use crate::civil::FOREVER;
use crate::coins::{Id, Law, Pool, units_for};

/// The one name of the limit of a pool.
pub(crate) const POOL: &str = "credits";

/// A grant that somebody gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantAsk {
    /// The account.
    pub account: String,
    /// The pool.
    pub pool: String,
    /// Which grant.
    pub id: u8,
    /// How many units, and in which order they burn.
    pub units: (u64, u8),
    /// From when on and until when.
    pub times: (Option<i64>, Option<i64>),
}

/// Why a grant was not made or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantRefused {
    /// As for every change.
    Admin(Refused),
    /// The pool does not take it, or has it not.
    Grant(GrantError),
}

/// A pool as it stands, what its grants have left, and the balance when it was last looked at.
pub type PoolView = (LimitAnswer, Vec<(String, u64)>, Option<i64>);

impl Account {
    /// When what is bought may next be something else: an override or a plan begins or ends.
    fn next_turn(&self, at: i64) -> i64 {
        let overrides = self.overrides.iter().flat_map(|(_, _, (from, until))| [*from, *until]);
        let plans = self.scheduled.iter().map(|(from, _)| Some(*from));
        let trial = self.trial.iter().map(|(_, until)| Some(*until));
        let all = overrides.chain(plans).chain(trial).flatten();
        all.filter(|turn| at < *turn).min().unwrap_or(FOREVER)
    }

    /// Its pools wait for what it has bought now, unless they have not seen all that was before.
    pub(crate) fn expect_turns(&mut self, now: i64) {
        let next = self.next_turn(now);
        for pool in self.pools.values_mut().filter(|pool| now < pool.turn) {
            Arc::make_mut(pool).turn = next;
        }
    }
}

impl Hold {
    /// Whether its end by time is a charge.
    fn is_charged_by_time(&self) -> bool {
        self.charging && self.units > 0
    }

    /// Whether what it holds is set aside at an instant: until it ends, or until its end was charged.
    fn sets_aside(&self, at: i64) -> bool {
        let waits = self.is_charged_by_time() && self.charged.is_none() && self.outcome.is_none();
        waits || self.is_open(at)
    }
}

impl Model {
    /// What plan, add-ons and overrides together give of a pool.
    pub(crate) fn pool_given(
        planned: Option<EntitlementSpec>,
        addons: Vec<(EntitlementSpec, u32)>,
        overrides: &[&Says],
        merge: Merge,
        mut origin: Origin,
    ) -> (Entitled, Origin) {
        let mut best: Option<PoolTerms> = None;
        if let Some(EntitlementSpec::Credits { terms }) = planned {
            best = Some(terms);
        }
        for (says, quantity) in addons {
            let EntitlementSpec::Credits { terms } = says else { continue };
            let bought = u128::from(terms.included_units) * u128::from(quantity);
            let bought = u64::try_from(bought.min(u128::from(UNITS_MAX))).expect("cut");
            let units = match (&best, merge) {
                (None, _) => bought,
                (Some(known), Merge::Sum) => (known.included_units + bought).min(UNITS_MAX),
                (Some(known), _) if known.included_units > bought => known.included_units,
                _ => bought,
            };
            best = Some(PoolTerms { included_units: units, ..best.unwrap_or(terms) });
            origin = Origin::AddOn;
        }
        for says in overrides {
            let (Says::Limit(limit, Some(units)), is_least) = says.plain() else { continue };
            let known = best.as_ref().map(|known| known.included_units);
            if limit == POOL && !(is_least && known.is_some_and(|known| *units <= known)) {
                best = Some(PoolTerms { included_units: *units, ..best.unwrap_or_default() });
                origin = Origin::Override;
            }
        }
        match best {
            Some(mut terms) => {
                terms.soft_limits_bp.sort_unstable();
                (Entitled::Pool(terms), origin)
            }
            None => (Entitled::Nothing, Origin::None),
        }
    }

    /// Whether a feature is a pool of credits.
    pub(crate) fn is_pool(&self, feature: &str) -> bool {
        matches!(
            self.feature(feature).map(|known| &known.kind),
            Some(FeatureKindSpec::Credits { .. })
        )
    }

    fn has_pools(&self) -> bool {
        let is_pool = |kind: &FeatureKindSpec| matches!(kind, FeatureKindSpec::Credits { .. });
        self.catalog.features.iter().any(|feature| is_pool(&feature.kind))
    }

    fn pool_terms(&self, account: &Account, feature: &str, at: i64) -> Option<PoolTerms> {
        match self.entitled(account, feature, at).0 {
            Entitled::Pool(terms) if at < account.ends_at => Some(terms),
            _ => None,
        }
    }

    /// The pool of an account at an instant; one that it never had is empty but for what the plan includes.
    pub(crate) fn pool_now(&self, account: &Account, feature: &str, now: i64) -> Pool {
        let of_it = |hold: &&Hold| hold.credits.as_ref().is_some_and(|held| held.pool == feature);
        let holds: Vec<&Hold> = account.holds.values().filter(of_it).collect();
        let units = |hold: &&Hold| hold.credits.as_ref().map_or(0, |held| held.units);
        let held = |at| holds.iter().filter(|hold| hold.sets_aside(at)).map(units).sum();
        let plain =
            holds.iter().filter(|hold| hold.outcome.is_none() && !hold.is_charged_by_time());
        let ends: Vec<i64> = plain.map(|hold| hold.expires_at).collect();
        self.pool_holding(account, feature, (&held, &ends), now)
    }

    /// The same where reservations hold so much, and end then.
    fn pool_holding(
        &self,
        account: &Account,
        feature: &str,
        (held, ends): (&dyn Fn(i64) -> u64, &[i64]),
        now: i64,
    ) -> Pool {
        let known = account.pools.get(feature);
        let mut pool = known.map_or_else(|| Pool::new(feature, now), |known| Pool::clone(known));
        let zone = Zone::named(&account.zone).expect("a zone that was accepted");
        let rule = match self.feature(feature).map(|known| &known.kind) {
            Some(FeatureKindSpec::Credits { window, .. }) => Some(*window),
            _ => None,
        };
        let terms = |at| self.pool_terms(account, feature, at);
        let turns = |at| account.next_turn(at);
        let (anchor, zone) = (account.anchor, zone.rules());
        pool.live(&Law { rule, anchor, zone, terms: &terms, turns: &turns, held, ends }, now);
        pool
    }

    /// Less is held: what was kept for it goes. The account has kept the pool.
    pub(crate) fn let_go(
        &self,
        account: &mut Account,
        feature: &str,
        pool: Pool,
        now: i64,
    ) -> Pool {
        account.pools.insert(feature.to_owned(), Arc::new(pool));
        self.pool_now(account, feature, now)
    }

    /// Pools follow a catalog that has just come into force, unless nothing can be kept.
    pub(crate) fn follow_catalog(&mut self, now: i64) {
        if self.refusal.is_some() {
            return;
        }
        for id in self.account_names() {
            if !self.accounts[&id].pools.is_empty() {
                self.settle_pools(&id, now);
            }
        }
    }

    /// What reservations hold of a pool.
    pub(crate) fn held_of(account: &Account, feature: &str, now: i64) -> u64 {
        let open = account.holds.values().filter(|hold| hold.is_open(now));
        let credits = open.filter_map(|hold| hold.credits.as_ref());
        credits.filter(|held| held.pool == feature).map(|held| held.units).sum()
    }

    /// The pool as an answer shows it.
    pub(crate) fn pool_answer(
        &self,
        account: &Account,
        (feature, pool): (&str, &Pool),
        now: i64,
    ) -> LimitAnswer {
        let held = Model::held_of(account, feature, now);
        let (used, all) = (u128::from(pool.used), u128::from(pool.all()));
        let drawable = u128::from(pool.drawable(held));
        let (start, end) = pool.window.unwrap_or((pool.open_from, FOREVER));
        LimitAnswer {
            limit: self.pool_limit(feature),
            start,
            end,
            used,
            reserved: held.into(),
            debt: pool.owed.into(),
            revision: pool.revision,
            included: Some(all),
            policy: Policy::Block,
            ceiling: Some(used + u128::from(held) + drawable),
            passed_bp: pool.passed_bp(),
            settled: Some(all - all.min(used)),
            drawable: Some(drawable),
            grace_left: None,
            overage: 0,
            phase: WindowPhase::Open,
            frees_at: pool.fills_at().unwrap_or(FOREVER),
            grace_until: None,
            cost: None,
            billed: None,
            subject: None,
            pool: Some(PoolAnswer {
                balance: pool.balance(),
                next_expiry: pool.next_expiry(),
                overdraft: pool.terms.overdraft_units,
                fills_at: pool.fills_at(),
            }),
            charge: None,
        }
    }

    /// A limit that the catalog has not is a number without a name.
    fn pool_limit(&self, feature: &str) -> String {
        if self.is_pool(feature) { POOL.to_owned() } else { "?".to_owned() }
    }

    /// How a pool of an account stands, what its grants have left, and the balance as it was when the pool was
    /// last looked at. `None`: there is no such account or pool.
    pub fn pool_view(&self, (id, name): (&str, &str), now: i64) -> Option<PoolView> {
        if !self.is_pool(name) {
            return None;
        }
        let account = self.with_charges(self.accounts.get(id)?, now);
        let pool = self.pool_now(&account, name, now);
        let known = account.pools.get(name);
        let left = known.map(|known| known.left()).unwrap_or_default();
        Some((
            self.pool_answer(&account, (name, &pool), now),
            left,
            known.map(|known| known.balance()),
        ))
    }

    /// Every change of the balance of a pool of an account, and when; and what was burnt in all.
    pub fn pool_changes(&self, (id, name): (&str, &str), now: i64) -> (Vec<(i64, i64)>, u64) {
        let account = self.accounts.get(id).map(|account| self.with_charges(account, now));
        let pool = account.as_ref().and_then(|account| account.pools.get(name));
        pool.map(|pool| (pool.changes.clone(), pool.burnt)).unwrap_or_default()
    }

    // --- what time brings ---

    /// Whether time has brought anything to a pool that was not looked at since an instant: events of its own,
    /// or the end of a hold.
    fn is_pool_due(
        account: &Account,
        (feature, pool): (&str, &Pool),
        (since, now): (i64, i64),
    ) -> bool {
        let ended = |hold: &Hold| {
            let is_of = hold.credits.as_ref().is_some_and(|held| held.pool == feature);
            let charges = hold.charging && hold.units > 0;
            is_of
                && !charges
                && hold.outcome.is_none()
                && since < hold.expires_at
                && hold.expires_at <= now
        };
        pool.is_due(now) || account.holds.values().any(ended)
    }

    /// Whether somebody should look at the pools of an account.
    pub(crate) fn waits_for_pools(account: &Account, now: i64) -> bool {
        account.pools.values().any(|pool| pool.is_due(now))
    }

    /// The same, also for holds that have ended.
    pub(crate) fn has_due_pools(account: &Account, now: i64) -> bool {
        let since = account.settled_at;
        let mut pools = account.pools.iter();
        pools.any(|(name, pool)| Model::is_pool_due(account, (name, pool), (since, now)))
    }

    /// Lets time bring to the pools of an account what it has since an instant.
    pub(crate) fn bring_pools(
        &mut self,
        id: &str,
        account: &mut Account,
        (since, now): (i64, i64),
    ) {
        for name in account.pools.keys().cloned().collect::<Vec<_>>() {
            if Model::is_pool_due(account, (&name, &account.pools[&name]), (since, now)) {
                let mut pool = self.pool_now(account, &name, now);
                let used = pool.used;
                if pool.window.is_none() {
                    self.met.insert("a pool that left the catalog");
                }
                let before = &account.pools[&name];
                let over = before.window.filter(|(_, end)| *end <= now);
                let slept = over.map_or(0, |(start, end)| (now - end) / (end - start));
                if slept > 1_000 {
                    self.met.insert("a pool that slept through more windows than are followed");
                }
                if before.turn <= now && pool.owed < before.owed {
                    self.met.insert("what was owed is paid by a plan that was ahead");
                }
                self.tell_pool(id, (&name, &mut pool), (used, 0), now);
                account.pools.insert(name, Arc::new(pool));
            }
        }
    }

    /// Brings pools in line with what an account has bought.
    fn settle_pools(&mut self, id: &str, now: i64) {
        self.settle_some(id, |_| true, now);
    }

    fn settle_some(&mut self, id: &str, is_seen: impl Fn(&str) -> bool, now: i64) {
        if !self.has_pools() {
            return;
        }
        self.look_at(id, now);
        let Some(mut account) = self.accounts.remove(id) else { return };
        for feature in self.feature_names() {
            if !self.is_pool(&feature) || !is_seen(&feature) {
                continue;
            }
            let is_planned = self.entitled(&account, &feature, now).1 != Origin::None;
            if is_planned || account.pools.contains_key(&feature) {
                let pool = self.pool_now(&account, &feature, now);
                if let Some(before) = account.pools.get(&feature) {
                    let included = before.terms.included_units;
                    let is_other = included != pool.terms.included_units;
                    let lasts = |pool: &Pool| pool.window.is_some_and(|(_, end)| end == FOREVER);
                    let met = [
                        ("what a plan includes of a pool changed", is_other),
                        ("a pool that came back", before.window.is_none()),
                        ("a pool for life that is not any more", lasts(before) && !lasts(&pool)),
                    ];
                    self.met.extend(met.iter().filter(|(_, met)| *met).map(|(what, _)| *what));
                }
                account.pools.insert(feature, Arc::new(pool));
            }
        }
        self.accounts.insert(id.to_owned(), account);
    }

    /// What an account had bought has brought something by now, before that changes.
    pub(crate) fn before_edit(&mut self, id: &str, now: i64) {
        if self.accounts.get(id).is_some_and(|account| !account.pools.is_empty()) {
            self.settle_pools(id, now);
        }
    }

    /// Pools follow what an account has bought at once.
    pub(crate) fn after_edit(&mut self, id: &str, now: i64) {
        if let Some(account) = self.accounts.get_mut(id) {
            account.expect_turns(now);
        }
        self.settle_pools(id, now);
    }

    /// Tells the model that a pool of an account was looked at, in a step whose other records were lost.
    pub fn know_pool(&mut self, id: &str, pool: &str, now: i64) {
        self.settle_some(id, |feature| feature == pool, now);
    }

    // --- what is said ---

    /// Says what has not been said of a pool; so much was used before, and so much was refused. Whether
    /// there was anything.
    pub(crate) fn tell_pool(
        &mut self,
        id: &str,
        (feature, pool): (&str, &mut Pool),
        (previous, refused): (u64, u64),
        at: i64,
    ) -> bool {
        let news = pool.news(refused);
        let window = pool.window.unwrap_or((pool.open_from, FOREVER));
        let told = |name, crossed_bp| Told {
            account: id.to_owned(),
            name,
            feature: feature.to_owned(),
            limit: self.pool_limit(feature),
            window,
            revision: pool.revision,
            crossed_bp,
            previous: previous.into(),
            current: pool.used.into(),
            included: pool.all().into(),
            refused: refused.into(),
            previous_state: state(&news.before),
            state: state(&pool.said),
            grace_until: None,
            days: None,
            at,
        };
        let mut all = Vec::new();
        if let Some(highest) = news.crossed_bp.last() {
            let is_empty = *highest == 10_000;
            let name = if is_empty { SignalName::CreditsDepleted } else { SignalName::CreditsLow };
            all.push(told(name, news.crossed_bp.clone()));
        }
        if news.hit {
            all.push(told(SignalName::FeatureLimitHit, Vec::new()));
        }
        all.retain(|told| self.catalog.signals.raises(told.name));
        let is_told = !all.is_empty();
        self.told.extend(all);
        is_told
    }

    /// Says that a pool refused, and unless somebody was told nothing is kept.
    pub(crate) fn tell_empty(
        &mut self,
        id: &str,
        account: &mut Account,
        (feature, mut pool): (&str, Pool),
        refused: u64,
        now: i64,
    ) {
        let used = pool.used;
        if self.tell_pool(id, (feature, &mut pool), (used, refused), now) {
            account.pools.insert(feature.to_owned(), Arc::new(pool));
        }
    }

    // --- answers ---

    /// What the limits of a feature say, and a pool that pays for it: the graver binds, of two alike the one
    /// with less left.
    pub(crate) fn joined(
        &self,
        account: &Account,
        (feature, pool): (&str, &Pool),
        own: Done,
        price: CreditPrice,
        now: i64,
    ) -> Done {
        let level = pool.level();
        let drawable = pool.drawable(Model::held_of(account, feature, now));
        let binds = match &own.binding {
            None => true,
            Some(_) if level != own.verdict => own.verdict < level,
            Some(own) => {
                let left = own.drawable.unwrap_or(u128::from(u64::MAX));
                u128::from(units_for(price, drawable)) < left
            }
        };
        if !binds {
            return own;
        }
        let binding = Some(self.pool_answer(account, (feature, pool), now));
        Done { verdict: own.verdict.max(level), binding, ..own }
    }

    /// The same when the pool refuses: the graver refusal is told.
    pub(crate) fn refused_by(
        &self,
        account: &Account,
        (feature, pool): (&str, &Pool),
        own: Done,
        (denial, charge, held): (Denial, u64, u64),
        now: i64,
    ) -> Done {
        let graver = [
            Denial::RateLimited,
            Denial::ConcurrencyFull,
            Denial::SeatsFull,
            Denial::QuotaExhausted,
            Denial::CreditsExhausted,
            Denial::SpendCapReached,
            Denial::InFlight,
        ];
        let place = |denial: Denial| graver.iter().position(|known| *known == denial);
        if let Verdict::Denied(other) = own.verdict
            && place(other) <= place(denial)
        {
            return own;
        }
        let retry_after_ms = match denial {
            Denial::InFlight => Some(1_000),
            _ => self.pays_at(account, (feature, pool), charge, held).map(|at| at - now),
        };
        let binding = Some(self.pool_answer(account, (feature, pool), now));
        Done { verdict: Verdict::Denied(denial), binding, retry_after_ms, ..own }
    }

    /// When the pool pays a charge because units come to it, of twelve times at most. What is held now is
    /// held on, and where a time brought nothing more the next one will not.
    fn pays_at(
        &self,
        account: &Account,
        (feature, pool): (&str, &Pool),
        charge: u64,
        held: u64,
    ) -> Option<i64> {
        let (mut pool, mut drawable) = (pool.clone(), pool.drawable(held));
        for _ in 0..12 {
            let at = pool.fills_at()?;
            pool = self.pool_holding(account, feature, (&|_| held, &[]), at);
            if charge <= pool.drawable(held) {
                return Some(at);
            }
            if pool.drawable(held) == drawable && !pool.awaits() {
                return None;
            }
            drawable = pool.drawable(held);
        }
        None
    }

    // --- requests about a pool itself ---

    pub(crate) fn use_pool(
        &mut self,
        id: &str,
        account: &mut Account,
        (feature, origin): (&str, Origin),
        op: FeatureOp,
        now: i64,
    ) -> Result<Done, OpError> {
        let (units, attempt) = match op {
            FeatureOp::Check { units, attempt } => (units, attempt),
            FeatureOp::Consume { units }
            | FeatureOp::Record { units }
            | FeatureOp::Reserve { units, .. }
            | FeatureOp::ReserveCharging { units, .. } => (units, true),
            FeatureOp::Allocate { .. } | FeatureOp::Value { .. } => {
                return Err(OpError::WrongFeatureKind);
            }
        };
        let mut pool = self.pool_now(account, feature, now);
        let held = Model::held_of(account, feature, now);
        let own = Done { origin, ..Done::refused(Verdict::Allowed, Some(feature.to_owned())) };
        let records = matches!(op, FeatureOp::Record { .. });
        if let Some(denial) = pool.denial(units, held).filter(|_| !records) {
            let done = self.refused_by(account, (feature, &pool), own, (denial, units, held), now);
            if attempt && denial == Denial::CreditsExhausted {
                self.tell_empty(id, account, (feature, pool), units, now);
            }
            return Ok(done);
        }
        let own = match op {
            FeatureOp::Check { .. } => own,
            _ => {
                pool_takes(&pool, units, held, records)?;
                if let FeatureOp::Reserve { hold_ms, .. }
                | FeatureOp::ReserveCharging { hold_ms, .. } = op
                {
                    let charging = matches!(op, FeatureOp::ReserveCharging { .. });
                    let amounts = hold_pool(account, feature, (units, hold_ms, charging), now);
                    self.met.insert("a pool held");
                    Done { amounts, ..own }
                } else {
                    let used = pool.used;
                    let took = pool.burn(units, now);
                    self.met.insert(if took.owed > 0 {
                        "a pool that owes"
                    } else {
                        "a pool drawn"
                    });
                    self.tell_pool(id, (feature, &mut pool), (used, 0), now);
                    let amounts = Amounts { units, debt_units: took.owed, ..Amounts::default() };
                    Done { amounts, charge: Some(took), ..own }
                }
            }
        };
        let done = self.joined(account, (feature, &pool), own, CreditPrice::ITSELF, now);
        if !matches!(op, FeatureOp::Check { .. }) {
            account.pools.insert(feature.to_owned(), Arc::new(pool));
        }
        Ok(done)
    }

    // --- grants ---

    /// What stands against any change of a pool of an account, which is up to date then.
    fn ready_pool(&mut self, (id, name): (&str, &str), now: i64) -> Result<(), GrantRefused> {
        self.told.clear();
        self.met.clear();
        if !self.is_pool(name) {
            let refused = Refused::Name("credits feature", name.to_owned());
            return Err(GrantRefused::Admin(refused));
        }
        self.known(id).map_err(GrantRefused::Admin)?;
        self.look_at(id, now);
        Ok(())
    }

    /// Gives units to a pool of an account.
    ///
    /// # Errors
    /// When there is no such account or pool, or it does not take the grant.
    pub fn put_grant(&mut self, ask: &GrantAsk, now: i64) -> Result<LimitAnswer, GrantRefused> {
        let (id, name) = (&ask.account, &ask.pool);
        self.ready_pool((id, name), now)?;
        let mut pool = self.pool_now(&self.accounts[id], name, now);
        let times = (ask.times.0, ask.times.1.unwrap_or(FOREVER));
        let made = pool.grant(Id::Given(ask.id), ask.units, times, now);
        let is_new = made.map_err(GrantRefused::Grant)?;
        self.met.insert(if is_new { "a grant" } else { "a grant given again" });
        if is_new {
            let mut account = self.accounts[id].clone();
            pool = self.let_go(&mut account, name, pool, now);
        }
        Ok(self.kept_pool((id, name), pool, is_new, now))
    }

    /// Takes back what is left of a grant.
    ///
    /// # Errors
    /// When there is no such account, pool or grant.
    pub fn void_grant(
        &mut self,
        (id, name): (&str, &str),
        grant: u8,
        now: i64,
    ) -> Result<LimitAnswer, GrantRefused> {
        self.ready_pool((id, name), now)?;
        let mut pool = self.pool_now(&self.accounts[id], name, now);
        let is_left = pool.void(Id::Given(grant), now).map_err(GrantRefused::Grant)?;
        self.met.insert(if is_left { "a grant taken back" } else { "a grant that had ended" });
        if is_left {
            let used = pool.used;
            self.tell_pool(id, (name, &mut pool), (used, 0), now);
        }
        Ok(self.kept_pool((id, name), pool, is_left, now))
    }

    fn kept_pool(
        &mut self,
        (id, name): (&str, &str),
        pool: Pool,
        is_kept: bool,
        now: i64,
    ) -> LimitAnswer {
        let answer = self.pool_answer(&self.accounts[id], (name, &pool), now);
        if let Some(account) = self.accounts.get_mut(id)
            && is_kept
        {
            account.pools.insert(name.to_owned(), Arc::new(pool));
        }
        answer
    }
}

/// Whether a pool can be charged so much by one request. What happened already has any number of grants.
pub(crate) fn pool_takes(
    pool: &Pool,
    credits: u64,
    held: u64,
    records: bool,
) -> Result<(), OpError> {
    if let Some(grants) = pool.too_many_grants(credits).filter(|_| !records) {
        let max = headroom_core::limits::GRANTS_PER_REQUEST_MAX;
        return Err(OpError::TooManyGrants { grants, max });
    }
    if pool.has_room(credits, held) { Ok(()) } else { Err(OpError::CounterFull) }
}

/// A reservation of a pool itself.
fn hold_pool(
    account: &mut Account,
    feature: &str,
    (units, hold_ms, charging): (u64, i64, bool),
    now: i64,
) -> Amounts {
    let credits = HeldCredits { pool: feature.to_owned(), units, charged: 0 };
    account.hold(Hold {
        feature: feature.to_owned(),
        units,
        expires_at: now + hold_ms,
        outcome: None,
        charging,
        charged: None,
        booked: 0,
        books: Vec::new(),
        levels: Vec::new(),
        credits: Some(credits),
    })
}
