//! A limit of a plan, checked.

use super::Policy;
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::policy::LimitTerms;
use crate::resolve;
use crate::signal::REACHED_BP;
use crate::window::WindowRule;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimitSort {
    /// Units of a quota, that add up.
    Units,
    /// The slots of a concurrency: nothing is used up, all is held.
    Slots,
    /// The level of an allocation: what is used can go away again.
    Level,
    /// Seats: claimed ones are used, those invited to are held.
    Seats,
}

/// A limit of a plan, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLimit {
    /// The limit's name.
    pub limit: NameId,
    /// How its windows lie.
    pub window: WindowRule,
    /// Included units of each window. `None`: unlimited.
    pub included_units: Option<u64>,
    /// Soft thresholds in basis points, ascending, without doubles.
    pub soft_limits_bp: Vec<u32>,
    /// What happens when the included units are used up.
    pub policy: Policy,
    /// The rare parts of that. Boxed because most limits have none.
    pub terms: Option<Box<LimitTerms>>,
    sort: LimitSort,
    // Invariant: the fingerprint of the fields above.
    mark: u32,
    // Invariant: the fewest units that are past a threshold, use up what is included, or unlock something.
    stirs_at: u64,
    // The fewest units that unlock something; u64::MAX: none do.
    unlocks_at: u64,
}

impl PlanLimit {
    /// A limit. Thresholds are put in order.
    pub fn new(
        limit: NameId,
        window: WindowRule,
        included_units: Option<u64>,
        mut soft_limits_bp: Vec<u32>,
        policy: Policy,
    ) -> PlanLimit {
        soft_limits_bp.sort_unstable();
        soft_limits_bp.dedup();
        let mark = resolve::mark(included_units, policy, &soft_limits_bp);
        let lowest_bp = soft_limits_bp.first().map_or(REACHED_BP, |bp| REACHED_BP.min(*bp));
        PlanLimit {
            limit,
            window,
            included_units,
            soft_limits_bp,
            policy,
            terms: None,
            sort: LimitSort::Units,
            mark,
            stirs_at: stirs_at(included_units, lowest_bp),
            unlocks_at: u64::MAX,
        }
    }

    /// The same limit, of which so many units unlock something, too.
    pub(super) fn unlocking_at(mut self, units: u64) -> PlanLimit {
        self.unlocks_at = self.unlocks_at.min(units);
        self.stirs_at = self.stirs_at.min(units);
        self
    }

    /// Whether so many units unlock something.
    pub fn unlocks(&self, units: u64) -> bool {
        self.unlocks_at <= units
    }

    /// The same limit with these terms.
    pub fn with_terms(mut self, terms: LimitTerms) -> PlanLimit {
        let mark = resolve::mark(self.included_units, self.policy, &self.soft_limits_bp);
        self.mark = resolve::mark_terms(mark, &terms);
        self.terms = (!terms.is_plain()).then(|| Box::new(terms));
        self
    }

    /// The limit of a concurrency: so many slots at a time. `None`: unlimited.
    pub fn of_slots(limit: NameId, max_units: Option<u64>, soft_limits_bp: Vec<u32>) -> PlanLimit {
        let policy = if max_units.is_some() { Policy::Block } else { Policy::Unlimited };
        let lifetime = WindowRule::Lifetime;
        let planned = PlanLimit::new(limit, lifetime, max_units, soft_limits_bp, policy);
        PlanLimit { sort: LimitSort::Slots, ..planned }
    }

    /// The limit of an allocation: so many at any time. `None`: unlimited.
    pub fn of_level(
        limit: NameId,
        included_units: Option<u64>,
        soft_limits_bp: Vec<u32>,
        policy: Policy,
    ) -> PlanLimit {
        let lifetime = WindowRule::Lifetime;
        let planned = PlanLimit::new(limit, lifetime, included_units, soft_limits_bp, policy);
        PlanLimit { sort: LimitSort::Level, ..planned }
    }

    /// The limit of seats: so many members. `None`: unlimited.
    pub fn of_seats(
        limit: NameId,
        included_units: Option<u64>,
        soft_limits_bp: Vec<u32>,
    ) -> PlanLimit {
        let planned = PlanLimit::of_slots(limit, included_units, soft_limits_bp);
        PlanLimit { sort: LimitSort::Seats, ..planned }
    }

    /// The same limit with other included units.
    pub fn with_included(&self, included_units: Option<u64>) -> PlanLimit {
        let thresholds = self.soft_limits_bp.clone();
        if self.is_slots() {
            return PlanLimit::of_slots(self.limit, included_units, thresholds);
        }
        if self.is_seats() {
            return PlanLimit::of_seats(self.limit, included_units, thresholds);
        }
        let limit =
            PlanLimit::new(self.limit, self.window, included_units, thresholds, self.policy);
        let limit = PlanLimit { sort: self.sort, ..limit }.unlocking_at(self.unlocks_at);
        match &self.terms {
            None => limit,
            Some(terms) => limit.with_terms((**terms).clone()),
        }
    }

    /// Whether it counts the slots of a concurrency: nothing is used up, all is held.
    pub fn is_slots(&self) -> bool {
        self.sort == LimitSort::Slots
    }

    /// Whether it is the level of an allocation: what is used can go away again.
    pub fn is_level(&self) -> bool {
        self.sort == LimitSort::Level
    }

    /// Whether it counts seats: who has claimed one and who is invited to one.
    pub fn is_seats(&self) -> bool {
        self.sort == LimitSort::Seats
    }

    /// The units of a ledger that thresholds look at: what was used, or the slots that are held, or the
    /// seats that are taken.
    pub fn watched_units(&self, ledger: &Ledger) -> u64 {
        if self.is_slots() || self.is_seats() { ledger.held() } else { ledger.used }
    }

    /// Fingerprint of the definition, to notice a change.
    pub fn mark(&self) -> u32 {
        self.mark
    }

    /// The most that admission lets `used + reserved` become. `None`: no bound.
    ///
    /// Grace is a part of the included units, rounded down.
    pub fn ceiling_units(&self) -> Option<u64> {
        let included = self.included_units?;
        match self.policy {
            Policy::Block => Some(included),
            Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE } => None,
            Policy::Grace { .. } => Some(included.saturating_add(self.grace_units())),
            Policy::Overage => {
                let overage = self.terms.as_ref()?.overage.as_ref()?;
                Some(included.saturating_add(overage.cap_units()?))
            }
            Policy::Unlimited => None,
        }
    }

    /// Units of grace; 0 without grace, and for a grace by time alone. Rounded down.
    pub fn grace_units(&self) -> u64 {
        match (self.policy, self.included_units) {
            (Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE }, _) => 0,
            (Policy::Grace { grace_bp }, Some(included)) => {
                let units = u128::from(included) * u128::from(grace_bp) / 10_000;
                u64::try_from(units).unwrap_or(u64::MAX)
            }
            _ => 0,
        }
    }

    /// Whether `used` units are at or past `bp` basis points of the included units. Nothing used is
    /// past nothing, also when nothing is included.
    pub fn is_past(&self, used: u64, bp: u32) -> bool {
        let Some(included) = self.included_units else { return false };
        used > 0 && u128::from(used) * 10_000 >= u128::from(included) * u128::from(bp)
    }

    /// Whether so many units are below every threshold and within what is included: nothing is to be
    /// said of them, whatever the policy. Most requests are of this sort, so one comparison finds it.
    #[inline]
    pub fn is_quiet(&self, units: u64) -> bool {
        units < self.stirs_at
    }
}

/// The fewest units that [`PlanLimit::is_past`] finds past a threshold. Rounded up, because it compares
/// without rounding.
fn stirs_at(included_units: Option<u64>, bp: u32) -> u64 {
    let Some(included) = included_units else { return u64::MAX };
    let units = (u128::from(included) * u128::from(bp)).div_ceil(10_000);
    u64::try_from(units).unwrap_or(u64::MAX).max(1)
}

const _: () = assert!(limits::THRESHOLDS_MAX <= 14);
