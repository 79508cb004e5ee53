//! Credits that come back: a hold was charged too much, or an event was corrected.

use super::PoolNow;
use crate::credits::{Charge, Grant, GrantEnding, GrantSource};
use crate::event::PaidPart;
use crate::time::Millis;

/// Units that came back to grants.
#[derive(Debug, Clone, Copy, Default)]
struct Back {
    /// All whose grant is known.
    units: u64,
    /// Those that are left there: the plan may include less by now, or the grant has ended.
    left_units: u64,
}

impl Back {
    fn and(self, other: Back) -> Back {
        Back { units: self.units + other.units, left_units: self.left_units + other.left_units }
    }
}

impl PoolNow<'_> {
    /// Takes credits back that were burnt at an instant and not used: first they pay what is owed, then they go to the
    /// grants that burn last, as far as those were burnt. Credits of grants that have expired or were
    /// voided since are gone with them: they were not used, they expired.
    pub(crate) fn unburn(&mut self, units: u64, burnt_at: Millis) -> Charge {
        self.begin_return();
        let owed = self.pay_owed(units);
        let back = self.return_to_last(units - owed);
        self.note_returned(units, (units - owed).saturating_sub(back.units));
        self.note_unused(units, burnt_at);
        self.returned(owed + back.left_units)
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
            let back = match &part.grant {
                _ if rest == 0 => Back::default(),
                None => self.return_to_last(rest),
                Some(id) => match self.burnt().into_iter().find(|grant| grant.id == *id) {
                    None if self.has_grant(id) => self.return_to_last(rest),
                    None => self.lose(id, rest),
                    Some(grant) => {
                        let back = grant.burnt_units.min(rest);
                        self.return_to(grant, back).and(self.return_to_last(rest - back))
                    }
                },
            };
            returned_units += owed + back.left_units;
            self.note_returned(part.units, rest.saturating_sub(back.units));
            self.note_unused(part.units, part.at);
        }
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

    /// Gives units back to the grants that burn last, as far as they were burnt.
    fn return_to_last(&mut self, units: u64) -> Back {
        let (mut rest, mut all) = (units, Back::default());
        if rest == 0 {
            return all;
        }
        let mut burnt = self.burnt();
        burnt.sort_by(|a, b| b.order().cmp(&a.order()));
        for grant in burnt {
            let back = grant.burnt_units.min(rest);
            if back == 0 {
                break;
            }
            rest -= back;
            all = all.and(self.return_to(grant, back));
        }
        all
    }

    /// What a grant paid that has ended since is lost with it: it is told as what its end has taken.
    fn lose(&mut self, id: &str, units: u64) -> Back {
        let Some(grant) = self.pool.ended.iter_mut().find(|grant| *grant.id == *id) else {
            return Back::default();
        };
        let lost = grant.burnt_units.min(units);
        grant.burnt_units -= lost;
        if let Some(end) = &mut grant.end {
            end.lost_units += lost;
            match end.how {
                GrantEnding::Void => {
                    self.pool.head.segment.voided_units += lost;
                }
                // One that was used up would have had it until its time was over.
                GrantEnding::UsedUp | GrantEnding::Expired => {
                    (end.how, end.at) = (GrantEnding::Expired, grant.expires_at);
                    self.pool.head.segment.expired_units += lost;
                }
            }
        }
        let grant = grant.clone();
        self.ended.retain(|known| known.id != grant.id);
        self.ended.push(grant);
        Back { units: lost, left_units: 0 }
    }

    /// Gives units back that were burnt of a grant.
    fn return_to(&mut self, mut grant: Grant, units: u64) -> Back {
        let left = grant.left_units();
        grant.burnt_units -= units;
        let planned = self.planned_units().unwrap_or(grant.units);
        if grant.source == GrantSource::Included && planned < grant.units {
            grant.units = planned.max(grant.burnt_units + left);
        }
        if grant.end.take().is_some() {
            self.pool.ended.retain(|known| known.id != grant.id);
            self.ended.retain(|known| known.id != grant.id);
        }
        // Where the plan includes less by now, what was burnt above it does not come back.
        let left_units = grant.left_units() - left;
        self.pool.head.segment.voided_units += units - left_units;
        self.pool.put(grant);
        Back { units, left_units }
    }

    /// Units have come back, and so many of them to grants that are not remembered: those have expired.
    fn note_returned(&mut self, units: u64, expired_units: u64) {
        let segment = &mut self.pool.head.segment;
        segment.returned_units += units;
        segment.expired_units += expired_units;
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
