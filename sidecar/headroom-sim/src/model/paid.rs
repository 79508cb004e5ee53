//! What credits pay for, in the model: the limits of the feature are asked first and then the pool, and both
//! are counted or neither. What was held is charged in the end, and what was charged may come back.

use std::sync::Arc;

use headroom_core::catalog::{Aggregation, EntitlementSpec, FeatureKindSpec};
use headroom_core::credits::{CreditPrice, Rounding};
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Amounts, Denial, OpError, Verdict};
use headroom_core::reservation::ReservationId;
use headroom_core::resolve::Origin;

use super::credits::pool_takes;
use super::migrate::label;
use super::{Account, Done, HeldCredits, Hold, Limit, Model};
use crate::catalogs::POOLS;
use crate::coins::{Payment, Pool, Took, cost};

/// A pool that pays, and what for.
#[derive(Debug, Clone)]
pub(crate) struct Payer {
    pub(crate) pool: String,
    pub(crate) price: CreditPrice,
}

/// A question about the limits of a feature: those of the account, and those of subjects.
pub(crate) struct Own {
    pub(crate) feature: String,
    pub(crate) origin: Origin,
    pub(crate) limits: Vec<Limit>,
    pub(crate) levels: Vec<(String, Vec<Limit>)>,
}

impl Own {
    /// One that is not asked for a subject.
    pub(crate) fn of_account(feature: &str, origin: Origin, limits: Vec<Limit>) -> Own {
        Own { feature: feature.to_owned(), origin, limits, levels: Vec::new() }
    }
}

impl Model {
    /// What a feature costs in a pool by its rate card.
    fn price_in(&self, feature: &str, pool: &str) -> Option<CreditPrice> {
        let FeatureKindSpec::Credits { rate_card, .. } = &self.feature(pool)?.kind else {
            return None;
        };
        let (_, price) = rate_card.iter().find(|(known, _)| known == feature)?;
        Some(*price)
    }

    /// The pool that pays for a feature: the plan says so, where it has the feature, and else the first add-on
    /// that has it.
    pub(crate) fn payer(&self, account: &Account, feature: &str, now: i64) -> Option<Payer> {
        let (plan, _) = Model::plan_now(account, now);
        let plan = self.catalog.plans.iter().find(|known| label(known) == plan);
        let bought = |name: &String| self.catalog.addons.iter().find(|known| known.plan == *name);
        let addons = account.addons.iter().filter_map(|(name, _)| bought(name));
        let mut says = plan.into_iter().chain(addons).filter_map(|p| Model::said(Some(p), feature));
        let EntitlementSpec::PaidQuota { paid_by, .. } = says.next()? else { return None };
        let price = self.price_in(feature, &paid_by)?;
        Some(Payer { pool: paid_by, price })
    }

    /// The same; a pool pays for itself.
    pub(crate) fn payer_of_event(
        &self,
        account: &Account,
        feature: &str,
        now: i64,
    ) -> Option<Payer> {
        match self.feature(feature).map(|known| &known.kind) {
            Some(FeatureKindSpec::Credits { .. }) => {
                Some(Payer { pool: feature.to_owned(), price: CreditPrice::ITSELF })
            }
            _ => self.payer(account, feature, now),
        }
    }

    /// What the limits of a feature say and count.
    fn own(
        &mut self,
        id: &str,
        account: &mut Account,
        own: &Own,
        op: FeatureOp,
        now: i64,
    ) -> Result<Done, OpError> {
        let Own { feature, origin, limits, levels } = own;
        if !levels.is_empty() {
            let of = (limits.clone(), levels.clone());
            return self.count_for(id, account, (feature, op, *origin), of, now);
        }
        match op {
            FeatureOp::Check { units, attempt } => {
                let of = (&limits[..], *origin);
                Ok(self.check_own((id, feature), account, of, (units, attempt), now))
            }
            FeatureOp::Record { units } => {
                self.record_own((id, feature), account, (limits, *origin), units, now)
            }
            op => self.use_own((id, feature), account, (limits, *origin), op, now),
        }
    }

    /// A request about a feature that credits pay for.
    pub(crate) fn use_paid(
        &mut self,
        id: &str,
        account: &mut Account,
        (own, payer): (&Own, &Payer),
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
        let mut pool = self.pool_now(account, &payer.pool, now);
        let held = Model::held_of(account, &payer.pool, now);
        let credits = cost(payer.price, units);
        let (records, checks) =
            (matches!(op, FeatureOp::Record { .. }), matches!(op, FeatureOp::Check { .. }));
        if let Some(denial) = pool.denial(credits, held).filter(|_| !records) {
            if self.is_watched(&own.feature) {
                self.met.insert("a pool that shadow mode spares");
                let done = self.own(id, account, own, op, now)?;
                return Ok(Done { shadow: done.shadow.or(Some(denial)), ..done });
            }
            let looks = FeatureOp::Check { units, attempt };
            let done = self.own(id, account, own, looks, now)?;
            let done =
                self.refused_by(account, (&payer.pool, &pool), done, (denial, credits, held), now);
            if done.verdict != Verdict::Denied(denial) {
                self.met.insert("a limit refuses before the pool");
            }
            if attempt && denial == Denial::CreditsExhausted {
                self.tell_empty(id, account, (&payer.pool, pool), credits, now);
            }
            return Ok(done);
        }
        if !checks {
            pool_takes(&pool, credits, held, records)?;
        }
        let done = self.own(id, account, own, op, now)?;
        if !done.verdict.is_allowed() {
            return Ok(done);
        }
        if checks {
            return Ok(self.joined(account, (&payer.pool, &pool), done, payer.price, now));
        }
        let mut charge = None;
        if let Some(hold) = done.amounts.reservation {
            let held = HeldCredits { pool: payer.pool.clone(), units: credits, charged: 0 };
            account.held_mut(hold).credits = Some(held);
            self.met.insert("a paid feature held");
        } else {
            let used = pool.used;
            let took = pool.burn(credits, now);
            self.tell_pool(id, (&payer.pool, &mut pool), (used, 0), now);
            if payer.pool == POOLS[1] && self.is_pool(POOLS[0]) {
                self.met.insert("a feature that the second of two pools pays for");
            }
            self.met.insert(if own.levels.is_empty() {
                "a paid feature"
            } else {
                "a paid feature of a subject"
            });
            charge = Some(took);
        }
        let done = self.joined(account, (&payer.pool, &pool), done, payer.price, now);
        account.pools.insert(payer.pool.clone(), Arc::new(pool));
        Ok(Done { charge, ..done })
    }

    // --- reservations ---

    /// What units of a reservation cost now. Without a price it is in proportion to what is held, rounded up.
    fn cost_of(&self, held: &Hold, credits: &HeldCredits, units: u64) -> u64 {
        if held.feature == credits.pool {
            return units;
        }
        match self.price_in(&held.feature, &credits.pool) {
            Some(price) => cost(price, units),
            None => {
                let price = CreditPrice {
                    credits: credits.units,
                    per: held.units.max(1),
                    rounding: Rounding::Up,
                };
                cost(price, units)
            }
        }
    }

    fn joined_hold(
        &self,
        account: &Account,
        held: &Hold,
        (pool_name, pool): (&str, &Pool),
        own: Done,
        now: i64,
    ) -> Done {
        let origin = self.entitled(account, &held.feature, now).1;
        let payer = self.payer(account, &held.feature, now);
        let price = payer.map_or(CreditPrice::ITSELF, |payer| payer.price);
        self.joined(account, (pool_name, pool), Done { origin, ..own }, price, now)
    }

    /// A request about a reservation that holds credits.
    pub(crate) fn use_held_credits(
        &mut self,
        id: &str,
        account: &mut Account,
        (hold, credits): (ReservationId, HeldCredits),
        op: HoldOp,
        now: i64,
    ) -> Result<Done, OpError> {
        let (held, told) = (account.held_mut(hold).clone(), self.told.len());
        if let HoldOp::Extend { additional_units, .. } = op {
            return self.extend_paid(
                (id, hold),
                account,
                (held, credits),
                (op, additional_units),
                now,
            );
        }
        if self.is_paid_by_another(account, &held.feature, &credits.pool, now) {
            self.met.insert("a hold of credits that another pool would pay by now");
        }
        // What is held is there until it is charged.
        let mut pool = self.pool_now(account, &credits.pool, now);
        let done = self.use_plain_hold(id, account, hold, op, now)?;
        let used = pool.used;
        let gives_back = matches!(op, HoldOp::Commit { units: 0 } | HoldOp::Release);
        let cost = match op {
            HoldOp::Commit { units } | HoldOp::CommitPart { units, .. } => {
                self.cost_of(&held, &credits, units)
            }
            HoldOp::Extend { .. } | HoldOp::Release => 0,
        };
        let due = cost.saturating_sub(credits.charged);
        let (mut unused, mut after) = (credits.charged.saturating_sub(cost), None);
        if let HoldOp::CommitPart { units, .. } = op {
            let mut rest = HeldCredits { charged: unused, ..credits.clone() };
            if held.is_open(now) {
                let units = held.units.saturating_sub(units);
                rest.units = self.cost_of(&held, &credits, units).min(credits.units);
            }
            (unused, after) = (0, Some(rest));
        }
        account.held_mut(hold).credits = after;
        if !gives_back && !pool.has_room(due, Model::held_of(account, &credits.pool, now)) {
            self.told.truncate(told);
            return Err(OpError::CounterFull);
        }
        let mut charge = None;
        if unused > 0 {
            self.met.insert("credits of a hold came back");
            charge = Some(pool.unburn(unused, held.expires_at, now));
        } else if !gives_back {
            self.met.insert("credits of a hold were burnt");
            charge = Some(pool.burn(due, now));
        }
        pool = self.let_go(account, &credits.pool, pool, now);
        let mut done = done;
        if !gives_back {
            self.tell_pool(id, (&credits.pool, &mut pool), (used, 0), now);
            if held.feature == credits.pool {
                done.amounts.debt_units = charge.as_ref().map_or(0, |took| took.owed);
            }
        }
        let done = self.joined_hold(account, &held, (&credits.pool, &pool), done, now);
        account.pools.insert(credits.pool, Arc::new(pool));
        Ok(Done { charge, ..done })
    }

    fn extend_paid(
        &mut self,
        (id, hold): (&str, ReservationId),
        account: &mut Account,
        (held, credits): (Hold, HeldCredits),
        (op, additional): (HoldOp, u64),
        now: i64,
    ) -> Result<Done, OpError> {
        let (before, told) = (account.clone(), self.told.len());
        let after = self.cost_of(&held, &credits, held.units.saturating_add(additional));
        let mut more = if additional > 0 { after.saturating_sub(credits.units) } else { 0 };
        let done = self.use_plain_hold(id, account, hold, op, now)?;
        if !done.verdict.is_allowed() {
            return Ok(done);
        }
        let pool = self.pool_now(&before, &credits.pool, now);
        let beside = Model::held_of(&before, &credits.pool, now);
        let denial = pool.denial(more, beside);
        if let Some(denial) = denial.filter(|_| !self.is_watched(&held.feature)) {
            *account = before;
            self.told.truncate(told);
            self.met.insert("a pool refuses to hold more");
            let done =
                self.refused_by(account, (&credits.pool, &pool), done, (denial, more, beside), now);
            if denial == Denial::CreditsExhausted {
                self.tell_empty(id, account, (&credits.pool, pool), more, now);
            }
            let amounts = Amounts { reservation: Some(hold), ..Model::stays(&held) };
            return Ok(Done { amounts, ..done });
        }
        // A watched feature holds no more than the pool can pay.
        more = more.min(pool.drawable(beside));
        if !pool.has_room(more, beside) {
            return Err(OpError::CounterFull);
        }
        self.met.insert("credits held on");
        let units = credits.units + more;
        let name = credits.pool.clone();
        account.held_mut(hold).credits = Some(HeldCredits { units, ..credits });
        let done = self.joined_hold(account, &held, (&name, &pool), done, now);
        account.pools.insert(name, Arc::new(pool));
        Ok(done)
    }

    /// The end of a hold charges its credits.
    pub(crate) fn charge_credits(&mut self, id: &str, account: &mut Account, count: u32, at: i64) {
        let Some(credits) = account.holds[&count].credits.clone() else { return };
        // It was set aside until now.
        let mut before = account.clone();
        before.holds.get_mut(&count).expect("it is there").charged = None;
        let mut pool = self.pool_now(&before, &credits.pool, at);
        let used = pool.used;
        pool.burn(credits.units, at);
        pool = self.let_go(account, &credits.pool, pool, at);
        self.met.insert("credits charged at the end of a hold");
        self.tell_pool(id, (&credits.pool, &mut pool), (used, 0), at);
        account.pools.insert(credits.pool.clone(), Arc::new(pool));
        let held = account.holds.get_mut(&count).expect("it is there");
        held.credits = Some(HeldCredits { charged: credits.units, ..credits });
    }

    // --- what happened earlier ---

    /// Whether another pool than this one would pay for a feature now.
    fn is_paid_by_another(&self, account: &Account, feature: &str, pool: &str, now: i64) -> bool {
        self.payer_of_event(account, feature, now).is_some_and(|payer| payer.pool != pool)
    }

    /// What a new event of so many units costs, if credits pay for it.
    pub(crate) fn bill_of(
        &self,
        account: &Account,
        feature: &str,
        units: u64,
        now: i64,
    ) -> Result<Option<Bill>, OpError> {
        let Some(payer) = self.payer_of_event(account, feature, now) else { return Ok(None) };
        let paid = Paid { pool: payer.pool, payment: Payment::new(payer.price) };
        self.bill_of_change(account, Some(&paid), units, now)
    }

    /// What it costs that an event is to count so many units.
    pub(crate) fn bill_of_change(
        &self,
        account: &Account,
        paid: Option<&Paid>,
        units: u64,
        now: i64,
    ) -> Result<Option<Bill>, OpError> {
        let Some(paid) = paid else { return Ok(None) };
        let pool = self.pool_now(account, &paid.pool, now);
        let (due, back) = paid.payment.change(units);
        if !pool.has_room(due, Model::held_of(account, &paid.pool, now)) {
            return Err(OpError::CounterFull);
        }
        Ok(Some(Bill { paid: paid.clone(), pool, due, back }))
    }

    /// Charges a bill, or gives it back: what the event cost in all, and what this was.
    pub(crate) fn pay(
        &mut self,
        id: &str,
        account: &mut Account,
        bill: Option<Bill>,
        now: i64,
    ) -> (Option<Paid>, Option<Took>) {
        let Some(Bill { mut paid, mut pool, due, back }) = bill else { return (None, None) };
        let used = pool.used;
        let took = if back > 0 {
            self.met.insert("credits of an event came back");
            if paid.pool == POOLS[1] {
                self.met.insert("tickets of an event came back");
            }
            pool.refund(&paid.payment.take_off(back), now)
        } else {
            self.met.insert("credits of an event were charged");
            let took = pool.burn(due, now);
            paid.payment.add(&took, now);
            took
        };
        pool = self.let_go(account, &paid.pool, pool, now);
        self.tell_pool(id, (&paid.pool, &mut pool), (used, 0), now);
        account.pools.insert(paid.pool.clone(), Arc::new(pool));
        (Some(paid), Some(took))
    }

    /// What a write cost that was charged as it came: at the price of now if that comes to the same, else in
    /// proportion, rounded up.
    pub(crate) fn paid_then(
        &mut self,
        account: &Account,
        feature: &str,
        units: u64,
        (took, at): (&Took, i64),
        now: i64,
    ) -> Paid {
        let counted = match self.aggregation(feature) {
            Aggregation::Count => units.min(1),
            _ => units,
        };
        let payer = self.payer_of_event(account, feature, now);
        if self.is_paid_by_another(account, feature, &took.pool, now) {
            self.met.insert("a plain write that another pool would pay by now");
        }
        // Another pool has another card.
        let price = payer.filter(|payer| payer.pool == took.pool).map(|payer| payer.price);
        let same = price.filter(|price| cost(*price, counted) == took.units);
        self.met.insert("a plain write that credits had paid");
        if same.is_none() {
            self.met.insert("a price that has changed since");
        }
        let in_proportion =
            CreditPrice { credits: took.units, per: counted.max(1), rounding: Rounding::Up };
        let mut payment = Payment::new(same.unwrap_or(in_proportion));
        payment.add(took, at);
        Paid { pool: took.pool.clone(), payment }
    }

    /// What a pool that was used itself owes is the debt of the event.
    pub(crate) fn own_debt(&self, feature: &str, charge: &Option<Took>) -> Option<u64> {
        charge.as_ref().filter(|_| self.is_pool(feature)).map(|took| took.owed)
    }

    /// How a feature stands, with the pool that pays for it.
    pub(crate) fn joined_event(
        &self,
        account: &Account,
        feature: &str,
        own: Done,
        now: i64,
    ) -> Done {
        let Some(payer) = self.payer_of_event(account, feature, now) else { return own };
        let pool = self.pool_now(account, &payer.pool, now);
        self.joined(account, (&payer.pool, &pool), own, payer.price, now)
    }
}

/// What an event was paid with.
#[derive(Debug, Clone)]
pub(crate) struct Paid {
    pub(crate) pool: String,
    pub(crate) payment: Payment,
}

/// A change of what an event costs.
pub(crate) struct Bill {
    paid: Paid,
    pool: Pool,
    due: u64,
    back: u64,
}
