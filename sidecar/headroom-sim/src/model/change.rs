//! What becomes of a limit when the plan changes in the middle of its window, in the model: every piece
//! of time is looked at by itself.

use headroom_core::account::Zone;
use headroom_core::catalog::{EntitlementSpec, PlanLimitSpec};
use headroom_core::change::OnChange;
use headroom_core::window::WindowRule;

use super::migrate::label;
use super::{Account, Model};
use crate::civil;

impl Account {
    /// The plan that was in force at an instant, as far as it was remembered.
    pub(crate) fn plan_then(&self, at: i64) -> String {
        for (until, plan) in &self.past {
            if at < *until {
                return plan.clone();
            }
        }
        Model::plan_now(self, at).0
    }

    /// Every instant that could have changed the plan.
    fn turns(&self) -> Vec<i64> {
        let mut turns: Vec<i64> = self.past.iter().map(|(until, _)| *until).collect();
        turns.extend(self.trial.iter().map(|(_, end)| *end));
        turns.extend(self.scheduled.iter().map(|(at, _)| *at));
        turns.sort_unstable();
        turns.dedup();
        turns
    }

    /// Those that did, after one instant and not after another.
    pub(crate) fn real_turns(&self, after: i64, upto: i64) -> Vec<i64> {
        let mut turns = self.turns();
        turns.retain(|at| after < *at && *at <= upto);
        turns.retain(|at| self.plan_then(*at - 1) != self.plan_then(*at));
        turns
    }

    /// Whether the plan may have changed since somebody last looked.
    pub(crate) fn has_turned(&self, now: i64) -> bool {
        self.turns().iter().any(|at| self.turns_seen_at < *at && *at <= now)
    }

    /// Remembers the plans of the account as it was before a change of now.
    pub(crate) fn remember(&mut self, before: &Account, now: i64, remembers: bool) {
        let is_new = before.created_at >= now;
        let is_changed = !is_new && before.plan_then(now) != Model::plan_now(self, now).0;
        self.past = before.past.clone();
        if remembers && !is_new {
            let mut ends = before.real_turns(i64::MIN, now - 1);
            ends.push(now);
            self.past = ends.iter().map(|end| (*end, before.plan_then(*end - 1))).collect();
            let told_late = self.trial.iter().any(|(_, end)| *end <= now)
                || self.scheduled.iter().any(|(at, _)| *at <= now);
            let one = self.past.len() == 1 && self.past[0].1 == Model::plan_now(self, now - 1).0;
            if one && !told_late {
                self.past.clear();
            }
        }
        self.turns_seen_at = match (self.turns().is_empty(), is_changed) {
            (true, _) => 0,
            (false, true) => now - 1,
            (false, false) => now,
        };
    }
}

impl Model {
    /// Whether the catalog in force has a limit that does not simply keep.
    pub(crate) fn minds_changes(&self) -> bool {
        self.catalog.plans.iter().flat_map(|plan| &plan.entitlements).any(|(_, says)| {
            match says.given() {
                EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. } => {
                    limits.iter().any(|limit| limit.terms.on_change != OnChange::Keep)
                }
                _ => false,
            }
        })
    }

    pub(crate) fn said_of(&self, plan: &str, feature: &str, limit: &str) -> Option<PlanLimitSpec> {
        let plan = self.catalog.plans.iter().find(|known| label(known) == plan)?;
        let (_, says) = plan.entitlements.iter().find(|(known, _)| known == feature)?;
        let limits = self.given_of(feature, says)?;
        limits.into_iter().find(|known| known.limit == limit)
    }

    /// The units of a limit of the plan of now, when plans before it had their share of the window.
    pub(crate) fn shared(
        &self,
        account: &Account,
        feature: &str,
        planned: &PlanLimitSpec,
        rule: WindowRule,
        now: i64,
    ) -> Option<u64> {
        let included = planned.included_units?;
        if planned.terms.on_change != OnChange::Prorate {
            return Some(included);
        }
        let mut start = i64::MIN;
        let mut end = 0;
        let of_limit = |b: &&super::Book| b.feature == feature && b.limit == planned.limit;
        match account.books.iter().filter(of_limit).find(|b| b.start <= now && now < b.end) {
            Some(book) => (start, end) = (book.start, book.end),
            None => {
                let zone = Zone::named(&account.zone).expect("a zone that was accepted");
                let (from, to) = civil::window(rule, account.anchor, zone.rules(), now);
                for book in account.books.iter().filter(of_limit).filter(|b| b.end <= now) {
                    start = start.max(book.end);
                }
                (start, end) = (start.max(from), to.max(end));
            }
        }
        if end == civil::FOREVER {
            return Some(included);
        }
        let since = start.max(account.created_at);
        let turns = account.real_turns(since, now);
        if turns.is_empty() {
            return Some(included);
        }
        let mut sum: u128 = 0;
        let mut piece = |from: i64, to: i64, plan: &str| {
            let is_known = self.catalog.plans.iter().any(|known| label(known) == plan);
            let units = match self.said_of(plan, feature, &planned.limit) {
                Some(limit) => limit.included_units.unwrap_or(included),
                None if is_known => 0,
                None => included,
            };
            sum += u128::from(units) * u128::try_from(to - from).expect("time goes on");
        };
        piece(start, turns[0], &account.plan_then(since));
        for pair in turns.windows(2) {
            piece(pair[0], pair[1], &account.plan_then(pair[0]));
        }
        let last = turns[turns.len() - 1];
        piece(last, end, &account.plan_then(last));
        let whole = u128::try_from(end - start).expect("a window has a length");
        Some(u64::try_from(sum / whole).expect("a mean of counts"))
    }

    /// What time has brought to an account comes before it is changed.
    pub(crate) fn look_at(&mut self, id: &str, now: i64) {
        self.know_settled(id, now);
        self.say_endings(id, now);
    }

    /// Notes which plans of before a step had remembered though the rest of it was lost.
    pub fn know_past(&mut self, id: &str, past: Vec<(i64, String)>, seen_at: i64, now: i64) {
        if let Some(account) = self.accounts.get_mut(id) {
            let before = account.clone();
            (account.past, account.turns_seen_at) = (past, seen_at);
            self.keep_names(id, &before, now);
        }
    }

    /// As [`Model::know_settled`], by whoever did not look for changes of the plan.
    pub fn know_settled_unturned(&mut self, id: &str, now: i64) {
        let seen_at = self.accounts.get_mut(id).map(|account| {
            let seen_at = account.turns_seen_at;
            account.turns_seen_at = seen_at.max(now);
            seen_at
        });
        self.know_settled(id, now);
        if let (Some(account), Some(seen_at)) = (self.accounts.get_mut(id), seen_at) {
            account.turns_seen_at = seen_at;
        }
    }

    /// Ends the windows that a change of plan has ended.
    pub(crate) fn turn(&mut self, account: &mut Account, now: i64) {
        if !account.has_turned(now) {
            return;
        }
        let turns = account.real_turns(account.turns_seen_at, now);
        for place in 0..account.books.len() {
            let book = &account.books[place];
            if book.closed {
                continue;
            }
            let ends = turns.iter().find(|at| {
                let plan = account.plan_then(**at);
                let says = self.said_of(&plan, &book.feature, &book.limit);
                let resets = says.is_some_and(|says| says.terms.on_change == OnChange::Reset);
                resets && book.start < **at && **at < book.end
            });
            if let Some(at) = ends.copied() {
                self.met.insert("a window ended by a change of plan");
                account.books[place].end = at;
                let feature = account.books[place].feature.clone();
                let uses = account.spread.get(&feature).into_iter().flatten();
                // What was used in the very millisecond of the change, and before it.
                if uses.clone().any(|(used_at, ..)| *used_at == at) {
                    account.torn.insert((feature, at));
                }
            }
        }
        account.turns_seen_at = now;
    }
}
