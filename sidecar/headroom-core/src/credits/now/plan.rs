//! What the plan gives of a pool: how many units it includes, and which windows the catalog gives it.
//!
//! Both may change though nobody asks: an override begins or ends, a scheduled plan begins, a trial ends.
//! Each of these instants is taken as it was, so a plan that includes more for a while pays what is owed,
//! whoever looks and when.

use super::PoolNow;
use crate::credits::{Grant, GrantSource, PoolTerms};
use crate::ledger::Marks;
use crate::resolve::{Resolved, resolve};
use crate::time::Millis;
use crate::window::window_at;

impl PoolNow<'_> {
    /// What the plan and the add-ons say of the pool at an instant. `None`: they do not have it, or the
    /// subscription is over.
    pub(super) fn terms_at(&self, at: Millis) -> Option<PoolTerms> {
        let rule = self.rule?;
        if self.account.profile.ends_at <= at {
            return None;
        }
        match resolve(self.cx.catalog, self.account, rule.feature, at).0 {
            Resolved::Pool(terms) => Some(*terms),
            _ => None,
        }
    }

    /// Notes when the profile may next include another number of units.
    pub(super) fn expect_changes(&mut self, seen_until: Millis) {
        self.pool.head.plan_changes_at = self.account.profile.next_change(seen_until);
    }

    /// A window for life ends now where the catalog in force gives the pool windows that end. What is left of
    /// what it included was granted for ever, so it stays beside what is included from now on, and no
    /// plan takes it away. The next window begins at the earliest a millisecond after it.
    pub(super) fn leave_lifetime(&mut self) {
        let (now, profile) = (self.cx.now, &self.account.profile);
        let window = self.pool.head.window.filter(|window| window.is_lifetime());
        let (Some(rule), Some(window)) = (self.rule, window) else { return };
        if window_at(rule.window, profile.anchor, profile.rules(), now).is_lifetime() {
            return;
        }
        self.cut(now);
        let is_included = |source| source == GrantSource::Included;
        for grant in self.pool.grants.iter_mut().filter(|grant| is_included(grant.source)) {
            grant.source = GrantSource::Given;
        }
        self.terms = self.terms_at(now).unwrap_or_default();
        self.begin_window(now, Some((now.max(window.start().plus(1)), None)));
        self.fill(now);
    }

    /// Follows a plan that includes more or fewer units than it did: what was burnt stays burnt, and what holds
    /// have set aside stays until they end.
    pub(super) fn see_plan(&mut self, at: Millis) {
        let is_new = self.pool.head.window.is_none() && self.rule.is_some();
        let terms = self.terms_at(at);
        let units = terms.as_ref().map_or(0, |terms| terms.included_units);
        self.terms = terms.unwrap_or_default();
        if is_new {
            self.cut(at);
            self.begin_window(at, None);
            self.fill(at);
        } else if self.rule.is_some() {
            let included = |g: &Grant| g.source == GrantSource::Included;
            let place = self.pool.grants.iter().position(included);
            match place {
                None if units > 0 => {
                    self.cut(at);
                    self.pool.head.segment.granted_units += units;
                    self.grant_for(GrantSource::Included, units, self.terms.priority);
                    self.fill(at);
                }
                None => {}
                Some(place) => self.include(place, units, at),
            }
        }
        let soft_mark = self.soft_mark();
        let head = &mut self.pool.head;
        if head.soft_mark != soft_mark {
            if head.soft_mark != 0 {
                head.revision = head.revision.saturating_add(1);
            }
            (head.soft_mark, head.marks) = (soft_mark, Marks::default());
        }
    }

    /// Makes an included grant of so many units, and what else holds need of it.
    fn include(&mut self, place: usize, planned_units: u64, at: Millis) {
        let units = self.kept_units(place, planned_units);
        if self.pool.grants[place].units == units {
            return;
        }
        self.cut(at);
        let grant = &mut self.pool.grants[place];
        let left = grant.left_units();
        grant.units = units;
        let left_now = grant.left_units();
        let segment = &mut self.pool.head.segment;
        segment.granted_units += left_now.saturating_sub(left);
        segment.voided_units += left.saturating_sub(left_now);
        segment.forget_passing();
        if left_now > left {
            self.fill(at);
        }
    }

    /// The units of an included grant where the plan includes so many: those, and what else holds need of it.
    fn kept_units(&self, place: usize, planned_units: u64) -> u64 {
        let grant = &self.pool.grants[place];
        let (burnt, left) = (grant.burnt_units, grant.left_units());
        let surplus = left.saturating_sub(planned_units.saturating_sub(burnt));
        let kept = surplus.saturating_sub(self.unheld_units());
        // Fewer than are left are taken, so these are left.
        if kept == 0 { planned_units } else { burnt + left - (surplus - kept) }
    }
}
