//! Credits that come back: a hold was charged too much, or an event was corrected.

use super::PoolNow;
use crate::credits::{Charge, Grant, GrantEnding, GrantSource};
use crate::event::PaidPart;
use crate::time::Millis;

impl PoolNow<'_> {
    /// Takes credits back that were burnt at an instant and not used: first they pay what is owed, then they go to the
    /// grants that burn last, as far as those were burnt. Credits of grants that have expired or were
    /// voided since are gone with them.
    pub(crate) fn unburn(&mut self, units: u64, burnt_at: Millis) -> Charge {
        self.begin_return();
        let owed = self.pay_owed(units);
        let returned_units = owed + self.return_to_last(units - owed);
        self.note_returned(returned_units);
        self.note_unused(units, burnt_at);
        self.returned(returned_units)
    }

    /// Takes back what an event was charged, the latest part first: it pays what is owed, and goes to the grant that
    /// paid it. What a grant has paid that has ended since is gone with it, unless all of it was burnt
    /// before its time was over. What no grant paid and is owed no more came from units that came
    /// later: it goes to the grants that burn last, as does what a grant has had back already.
    pub(crate) fn refund(&mut self, parts: &[PaidPart]) -> Charge {
        self.begin_return();
        let mut returned_units = 0;
        for part in parts {
            let owed = self.pay_owed(part.units);
            let rest = part.units - owed;
            returned_units += owed;
            returned_units += match &part.grant {
                _ if rest == 0 => 0,
                None => self.return_to_last(rest),
                Some(id) => match self.burnt().into_iter().find(|grant| grant.id == *id) {
                    None if self.has_grant(id) => self.return_to_last(rest),
                    None => 0,
                    Some(grant) => {
                        let back = grant.burnt_units.min(rest);
                        self.return_to(grant, back) + self.return_to_last(rest - back)
                    }
                },
            };
            self.note_unused(part.units, part.at);
        }
        self.note_returned(returned_units);
        self.returned(returned_units)
    }

    fn begin_return(&mut self) {
        self.cut(self.hour());
    }

    /// What comes back pays what is owed first. Returns how much of it does.
    fn pay_owed(&mut self, units: u64) -> u64 {
        let owed = self.pool.head.debt_units.min(units);
        self.pool.head.debt_units -= owed;
        owed
    }

    /// Grants that something was burnt of and that it can come back to: those that last, and those that were used
    /// up before their time was over.
    fn burnt(&self) -> Vec<Grant> {
        let now = self.cx.now;
        let is_used_up = |grant: &&Grant| {
            let how = grant.end.as_ref().map(|end| end.how);
            how == Some(GrantEnding::UsedUp) && now < grant.expires_at
        };
        let begun = self.pool.grants.iter().filter(|grant| grant.has_begun);
        let all = begun.chain(self.pool.ended.iter().filter(is_used_up));
        all.filter(|grant| grant.burnt_units > 0).cloned().collect()
    }

    /// Whether a grant of this id lasts.
    fn has_grant(&self, id: &str) -> bool {
        self.pool.grants.iter().any(|grant| *grant.id == *id)
    }

    /// Gives units back to the grants that burn last, as far as they were burnt. Returns by how much the balance rises.
    fn return_to_last(&mut self, units: u64) -> u64 {
        let (mut rest, mut returned_units) = (units, 0);
        if rest == 0 {
            return 0;
        }
        let mut burnt = self.burnt();
        burnt.sort_by(|a, b| b.order().cmp(&a.order()));
        for grant in burnt {
            let back = grant.burnt_units.min(rest);
            if back == 0 {
                break;
            }
            rest -= back;
            returned_units += self.return_to(grant, back);
        }
        returned_units
    }

    /// Gives units back that were burnt of a grant. Returns by how much the balance rises.
    fn return_to(&mut self, mut grant: Grant, units: u64) -> u64 {
        let left = grant.left_units();
        grant.burnt_units -= units;
        if grant.source == GrantSource::Included && self.terms.included_units < grant.units {
            grant.units = self.terms.included_units.max(grant.burnt_units + left);
        }
        if grant.end.take().is_some() {
            self.pool.ended.retain(|known| known.id != grant.id);
            self.ended.retain(|known| known.id != grant.id);
        }
        // Where the plan includes less by now, what was burnt above it does not come back.
        let returned_units = grant.left_units() - left;
        self.pool.put(grant);
        returned_units
    }

    fn note_returned(&mut self, returned_units: u64) {
        self.pool.head.segment.returned_units += returned_units;
        self.pool.see_time();
    }

    /// Units that were burnt at an instant are not used any more.
    fn note_unused(&mut self, units: u64, burnt_at: Millis) {
        let head = &mut self.pool.head;
        if head.window.is_some_and(|window| window.contains(burnt_at)) {
            head.used_units = head.used_units.saturating_sub(units);
        }
    }

    fn returned(&self, returned_units: u64) -> Charge {
        let (pool, deductions) = (self.pool.head.feature, Vec::new());
        Charge { pool, units: 0, deductions, debt_units: 0, returned_units }
    }
}
