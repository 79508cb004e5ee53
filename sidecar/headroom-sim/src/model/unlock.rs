//! What use unlocks in the model: what was used is added up whenever somebody asks.

use headroom_core::catalog::{EntitlementSpec, FeatureKindSpec, LimitSpec, Policy, UnlockSpec};
use headroom_core::decision::{Denial, WindowPhase};
use headroom_core::resolve::Origin;
use headroom_core::signal::{SignalName, SignalState};
use headroom_core::window::WindowRule;

use super::migrate::label;
use super::page::Page;
use super::plan::Entitled;
use super::{Account, Done, LimitAnswer, Model, Told};
use crate::civil;

impl Model {
    /// The limit of a feature that counts for ever.
    fn forever(&self, feature: &str) -> Option<String> {
        let FeatureKindSpec::Quota { limits } = &self.feature(feature)?.kind else { return None };
        let counts =
            |known: &&LimitSpec| known.per.is_none() && known.window == WindowRule::Lifetime;
        limits.iter().find(counts).map(|known| known.limit.clone())
    }

    /// Whether an account has earned a feature.
    pub(crate) fn has_earned(
        &self,
        account: &Account,
        feature: &str,
        after: &UnlockSpec,
        now: i64,
    ) -> bool {
        let forever = self.forever(&after.feature);
        let book = account.books.iter().find(|book| {
            book.feature == after.feature
                && Some(&book.limit) == forever.as_ref()
                && !book.closed
                && book.start <= now
                && now < book.end
        });
        let used = book.map_or(0, |book| book.used());
        match account.earned.get(feature) {
            // In a window that was over by then it was not earned yet.
            Some(earned_at) => *earned_at <= now,
            None => used >= u128::from(after.units),
        }
    }

    /// What has to be used before a feature of the plan counts, and where that is from.
    pub(crate) fn lock(
        &self,
        account: &Account,
        feature: &str,
        now: i64,
    ) -> Option<(UnlockSpec, Origin)> {
        let (plan, on_trial) = Model::plan_now(account, now);
        let plan = self.catalog.plans.iter().find(|known| label(known) == plan);
        let Some(EntitlementSpec::Locked { after, .. }) = Model::said(plan, feature) else {
            return None;
        };
        let by_hand = account.overrides.iter().any(|(of, says, (from, until))| {
            let begun = from.is_none_or(|from| from <= now);
            of == feature && !says.plain().1 && begun && until.is_none_or(|until| now < until)
        });
        if by_hand || self.has_earned(account, feature, &after, now) {
            return None;
        }
        let origin = match (on_trial, account.by_default) {
            (true, _) => Origin::Trial,
            (false, true) => Origin::DefaultPlan,
            (false, false) => Origin::Plan,
        };
        Some((after, origin))
    }

    /// The refusal of what stands before the limits; of a lock with what was used.
    pub(crate) fn closed_by(
        &self,
        account: &Account,
        feature: &str,
        (denial, origin): (Denial, Origin),
        now: i64,
    ) -> Done {
        let refused = self.refused(denial, origin, feature);
        let is_lock = denial == Denial::NotInPlan && origin != Origin::None;
        let lock = is_lock.then(|| self.lock(account, feature, now)).flatten();
        let binding = lock.and_then(|(after, _)| {
            let Entitled::Limits(limits) = self.entitled(account, &after.feature, now).0 else {
                return None;
            };
            let forever = self.forever(&after.feature)?;
            let limit = limits.iter().find(|known| known.limit == forever)?;
            let page = self.page(account, &after.feature, limit, now);
            let needed = u128::from(after.units);
            let (used, held) = (page.used(), page.held());
            Some(LimitAnswer {
                limit: forever,
                start: page.book.start,
                end: page.book.end,
                used,
                included: Some(needed),
                policy: Policy::Block,
                ceiling: Some(needed),
                passed_bp: Vec::new(),
                settled: Some(needed - needed.min(used)),
                drawable: Some(needed - needed.min(held)),
                grace_left: None,
                overage: 0,
                phase: WindowPhase::Open,
                frees_at: if page.book.end == i64::MAX { civil::FOREVER } else { page.book.end },
                grace_until: None,
                cost: None,
                billed: None,
                subject: None,
                pool: None,
                charge: None,
                ..page.answer()
            })
        });
        Done { binding, ..refused }
    }

    /// Says what a use has earned, once for each feature.
    pub(crate) fn earn(
        &mut self,
        id: &str,
        account: &mut Account,
        page: &Page,
        previous: u128,
        now: i64,
    ) {
        let book = &page.book;
        if page.limit.gone || page.slide.is_some() {
            return;
        }
        if self.forever(&book.feature).as_ref() != Some(&book.limit) {
            return;
        }
        let (plan, _) = Model::plan_now(account, now);
        let plan = self.catalog.plans.iter().find(|known| label(known) == plan).cloned();
        for (feature, says) in plan.into_iter().flat_map(|plan| plan.entitlements) {
            let EntitlementSpec::Locked { after, .. } = says else { continue };
            let has_come = after.feature == book.feature && u128::from(after.units) <= book.used();
            if !has_come || account.earned.contains_key(&feature) {
                continue;
            }
            // Where there was enough before, nothing was locked as long as it was counted.
            let was_enough = u128::from(after.units) <= previous;
            account.earned.insert(feature.clone(), if was_enough { book.start } else { now });
            self.met.insert("earned by use");
            if !self.catalog.signals.unlock_earned {
                continue;
            }
            self.told.push(Told {
                account: id.to_owned(),
                name: SignalName::UnlockEarned,
                feature,
                limit: "?".to_owned(),
                window: (book.start, book.end),
                revision: 1,
                crossed_bp: Vec::new(),
                previous,
                current: book.used(),
                included: after.units.into(),
                refused: 0,
                previous_state: SignalState::Ok,
                state: SignalState::Ok,
                grace_until: None,
                days: None,
                at: now,
            });
        }
    }
}
