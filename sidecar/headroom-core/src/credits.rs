//! Credits: a pool of units that grants fill and that many features draw from.
//!
//! A pool is what an account holds of one credits feature: its grants, what reservations hold of them,
//! and what is owed. It never reads a clock: `credits/now.rs` brings it to an instant, and [`crate::decide`] asks
//! it and draws from it.
//!
//! Invariants: grants burn in one order (priority, expiry, age, id); what is owed and what is left are
//! never both there; the balance is what is left less what is owed, and each of its changes is in
//! exactly one [`Segment`].

pub(crate) mod now;

use std::sync::Arc;

use crate::account::{Account, Profile};
use crate::effect::{Effect, Effects};
use crate::ledger::Marks;
use crate::limits;
use crate::names::NameId;
use crate::time::{Millis, Window};

/// The priority of included units, and of a grant that says none. Lower ones burn first.
pub const PRIORITY_USUAL: u8 = 100;

/// Which whole number a price comes to, for each request by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rounding {
    /// The next one: a part of a credit costs a whole one.
    Up,
    /// The one before: a part of a credit costs nothing.
    Down,
    /// The nearest; a half costs a whole one.
    Nearest,
}

/// What units of a feature cost in credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditPrice {
    /// Credits, 1 to 2^53-1,
    pub credits: u64,
    /// for so many units, 1 to 2^53-1.
    pub per: u64,
    /// What becomes of a part of a credit.
    pub rounding: Rounding,
}

impl CreditPrice {
    /// A credit for a credit: what the pool itself costs.
    pub const ITSELF: CreditPrice = CreditPrice { credits: 1, per: 1, rounding: Rounding::Down };

    /// The credits for one request of so many units. More than can be counted is `u64::MAX`.
    pub fn cost(&self, units: u64) -> u64 {
        let exact = u128::from(units) * u128::from(self.credits);
        let per = u128::from(self.per.max(1));
        let whole = match self.rounding {
            Rounding::Up => exact.div_ceil(per),
            Rounding::Down => exact / per,
            Rounding::Nearest => (2 * exact + per) / (2 * per),
        };
        u64::try_from(whole).unwrap_or(u64::MAX)
    }

    /// The most units that one request could have for so many credits.
    pub fn units_for(&self, credits: u64) -> u64 {
        let credits = u128::from(credits);
        let per = u128::from(self.per.max(1));
        // The greatest `units` whose exact price is below (or at) where the next credit begins.
        let twice_most = match self.rounding {
            Rounding::Up => 2 * credits * per,
            Rounding::Down => 2 * (credits + 1) * per - 1,
            Rounding::Nearest => (2 * credits + 1) * per - 1,
        };
        let units = twice_most / (2 * u128::from(self.credits.max(1)));
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

/// What a plan says of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolTerms {
    /// Units granted in each window of the pool, 0 to 2^53-1.
    pub included_units: u64,
    /// The priority of those.
    pub priority: u8,
    /// At least so many units are granted anew when a window ends, even where less was left.
    pub rollover_min_units: u64,
    /// At most so many of the units that were left are granted anew.
    pub rollover_max_units: u64,
    /// How far below 0 the balance may be drawn.
    pub overdraft_units: u64,
    /// Whether the next units that come forgive what is owed, rather than pay it.
    pub forgives_debt: bool,
    /// Soft thresholds in basis points of what there was, 1 to 9,999 each.
    pub soft_limits_bp: Vec<u32>,
}

impl Default for PoolTerms {
    fn default() -> PoolTerms {
        PoolTerms {
            included_units: 0,
            priority: PRIORITY_USUAL,
            rollover_min_units: 0,
            rollover_max_units: 0,
            overdraft_units: 0,
            forgives_debt: false,
            soft_limits_bp: Vec::new(),
        }
    }
}

/// Where a grant comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantSource {
    /// Somebody gave it: a top-up, a promotion. Or it was included for life, and the pool has other
    /// windows now.
    Given,
    /// The plan and the add-ons include it in this window.
    Included,
    /// It was left of what an earlier window included.
    RolledOver,
}

/// How a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantEnding {
    /// All of it was burnt.
    UsedUp,
    /// Its time was over.
    Expired,
    /// Somebody took back what was left.
    Void,
}

/// The end of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantEnd {
    /// When.
    pub at: Millis,
    /// How.
    pub how: GrantEnding,
    /// Units that were left and are gone.
    pub lost_units: u64,
    /// Why it was taken back; empty otherwise.
    pub reason: Arc<str>,
}

/// Units added to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id, unique in the pool.
    pub id: Arc<str>,
    /// Where it comes from.
    pub source: GrantSource,
    /// Units it brought. Of included units the number follows the plan within the window.
    pub units: u64,
    /// Units of it that were burnt, or that paid what was owed.
    pub burnt_units: u64,
    /// Lower ones burn first.
    pub priority: u8,
    /// From when on it can be drawn from.
    pub starts_at: Millis,
    /// Until when, excluded; [`Millis::FOREVER`] for always.
    pub expires_at: Millis,
    /// When it was given.
    pub granted_at: Millis,
    /// Whether its start has come.
    pub has_begun: bool,
    /// Its end, once it has one.
    pub end: Option<Box<GrantEnd>>,
}

impl Grant {
    /// Whether each of its units is in one column: burnt, left, or lost at its end. One that waits has all
    /// of them, and of included ones, also those kept for ever, more may be burnt than the plan includes.
    pub fn is_balanced(&self) -> bool {
        let lost = self.end.as_ref().map_or(0, |end| end.lost_units);
        let waits = !self.has_begun && self.end.is_none();
        let left = if waits { self.units } else { self.left_units() };
        let follows_plan = self.id.starts_with(now::INCLUDED);
        let all = if follows_plan { self.units.max(self.burnt_units) } else { self.units };
        // One that was taken back before it began had nothing to lose yet.
        let unbegun = if !self.has_begun && self.end.is_some() { self.units } else { 0 };
        all == self.burnt_units + left + lost + unbegun
    }

    /// Units that can be drawn, or held already.
    pub fn left_units(&self) -> u64 {
        let is_live = self.has_begun && self.end.is_none();
        if is_live { self.units.saturating_sub(self.burnt_units) } else { 0 }
    }

    /// The place in the order of burning. Total, because ids differ.
    fn order(&self) -> (u8, Millis, Millis, &str) {
        (self.priority, self.expires_at, self.granted_at, &self.id)
    }

    /// When time next changes it.
    fn next_event_at(&self) -> Millis {
        if self.has_begun { self.expires_at } else { self.starts_at }
    }
}

/// Units that one grant paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deduction {
    /// The grant.
    pub grant: Arc<str>,
    /// Units.
    pub units: u64,
}

/// What a write took from a pool: the deductions and the debt add up to the units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The pool.
    pub pool: NameId,
    /// Credits.
    pub units: u64,
    /// The grants that paid, in the order they burnt.
    pub deductions: Vec<Deduction>,
    /// What none paid: the pool owes it.
    pub debt_units: u64,
    /// Credits that came back: the end of a hold had charged more than was used.
    pub returned_units: u64,
}

/// Credits that a reservation holds beside, or instead of, the units of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditHold {
    /// The pool.
    pub pool: NameId,
    /// Credits held, or that were held.
    pub units: u64,
    /// Credits that the end of the hold has charged, less what commits have accounted for since.
    pub charged_units: u64,
}

/// A span of a pool's history. Segments of a pool follow each other without a gap, each opening with the
/// balance that the one before closed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// When it begins.
    pub from: Millis,
    /// When it ends, excluded; [`Millis::FOREVER`] while it is open.
    pub to: Millis,
    /// The balance before it; below 0 is owed.
    pub opening: i64,
    /// Units that grants and plans brought.
    pub granted_units: u64,
    /// Units that were left of a window and granted anew.
    pub rolled_over_units: u64,
    /// Units burnt, those included that no grant paid.
    pub burnt_units: u64,
    /// Units that expired.
    pub expired_units: u64,
    /// Units taken back: a grant was voided, or the plan includes fewer.
    pub voided_units: u64,
    /// Units of new grants that paid what was owed. They change no balance.
    pub paid_back_units: u64,
    /// Units that were owed and are forgiven.
    pub forgiven_units: u64,
    /// Units that came back: the end of a hold had charged more than was used, or an event was corrected. What came
    /// back of a grant that has ended by then is also expired, or voided.
    pub returned_units: u64,
}

impl Segment {
    fn begin(from: Millis, opening: i64) -> Segment {
        Segment {
            from,
            to: Millis::FOREVER,
            opening,
            granted_units: 0,
            rolled_over_units: 0,
            burnt_units: 0,
            expired_units: 0,
            voided_units: 0,
            paid_back_units: 0,
            forgiven_units: 0,
            returned_units: 0,
        }
    }

    /// The balance after it.
    pub fn closing(&self) -> i64 {
        let plus =
            self.granted_units + self.rolled_over_units + self.forgiven_units + self.returned_units;
        let minus = self.burnt_units + self.expired_units + self.voided_units;
        let closing = i128::from(self.opening) + i128::from(plus) - i128::from(minus);
        i64::try_from(closing).unwrap_or(if closing < 0 { i64::MIN } else { i64::MAX })
    }

    /// This one and the next as one span.
    pub fn with(&self, next: &Segment) -> Segment {
        Segment {
            from: self.from,
            to: next.to,
            opening: self.opening,
            granted_units: self.granted_units + next.granted_units,
            rolled_over_units: self.rolled_over_units + next.rolled_over_units,
            burnt_units: self.burnt_units + next.burnt_units,
            expired_units: self.expired_units + next.expired_units,
            voided_units: self.voided_units + next.voided_units,
            paid_back_units: self.paid_back_units + next.paid_back_units,
            forgiven_units: self.forgiven_units + next.forgiven_units,
            returned_units: self.returned_units + next.returned_units,
        }
    }

    /// Plans that give and take so much to and fro in one instant that nobody could count it: what came and
    /// went is not told.
    fn forget_passing(&mut self) {
        let passing = self.granted_units.min(self.voided_units);
        if passing > limits::SEGMENT_UNITS_MAX {
            self.granted_units -= passing;
            self.voided_units -= passing;
        }
    }
}

/// A pool without its grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolHead {
    /// The credits feature.
    pub feature: NameId,
    /// The window that units are included for. `None`: the catalog has no such pool at present.
    pub window: Option<Window>,
    /// Units burnt in the window; of a pool for life, since units last came.
    pub used_units: u64,
    /// Units that reservations hold.
    pub held_units: u64,
    /// Units that were burnt and that no grant has paid yet.
    pub debt_units: u64,
    /// What was announced already under this revision.
    pub marks: Marks,
    /// Counts what armed the thresholds again in this window, from 1; stops at 65,535.
    pub revision: u16,
    /// Fingerprint of the thresholds, to notice a change.
    pub soft_mark: u32,
    /// The first instant that was not seen yet at which the account's profile may give another number of
    /// units; [`Millis::FOREVER`] when none is known.
    pub plan_changes_at: Millis,
    /// The open end of the history.
    pub segment: Segment,
}

/// What an account holds of one credits feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// All but the grants.
    pub head: PoolHead,
    // Invariant: in the order of burning, without an end; at most one included, one rolled over.
    grants: Vec<Grant>,
    // Given ones that have ended, oldest first: they keep their ids from being used again.
    ended: Vec<Grant>,
    // Invariant: when time next changes a grant or the window.
    next_event_at: Millis,
}

impl Pool {
    fn new(feature: NameId, at: Millis) -> Pool {
        let head = PoolHead {
            feature,
            window: None,
            used_units: 0,
            held_units: 0,
            debt_units: 0,
            marks: Marks::default(),
            revision: 1,
            soft_mark: 0,
            plan_changes_at: Millis::FOREVER,
            segment: Segment::begin(at, 0),
        };
        let (grants, ended) = (Vec::new(), Vec::new());
        Pool { head, grants, ended, next_event_at: Millis::FOREVER }
    }

    /// The grants that have not ended, in the order they burn; some may not have begun.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Grants that were given and have ended, oldest end first, as far as they are remembered.
    pub fn ended(&self) -> &[Grant] {
        &self.ended
    }

    /// A grant by its id.
    pub fn grant(&self, id: &str) -> Option<&Grant> {
        self.grants.iter().chain(&self.ended).find(|grant| *grant.id == *id)
    }

    /// What is left less what is owed.
    pub fn balance(&self) -> i64 {
        let left: u64 = self.grants.iter().map(Grant::left_units).sum();
        signed(left) - signed(self.head.debt_units)
    }

    /// When time next changes it; [`Millis::FOREVER`] when never.
    pub fn next_event_at(&self) -> Millis {
        self.next_event_at
    }

    /// The first instant at which units that are left are lost, and how many: all that expire then.
    pub fn next_expiry(&self) -> Option<(Millis, u64)> {
        let left = || self.grants.iter().filter(|grant| grant.left_units() > 0);
        let at = left().map(|grant| grant.expires_at).min().filter(|at| *at != Millis::FOREVER)?;
        let units = left().filter(|grant| grant.expires_at == at).map(Grant::left_units).sum();
        Some((at, units))
    }

    fn place(&self, grant: &Grant) -> Result<usize, usize> {
        self.grants.binary_search_by(|known| known.order().cmp(&grant.order()))
    }

    fn put(&mut self, grant: Grant) {
        match self.place(&grant) {
            Ok(place) => self.grants[place] = grant,
            Err(place) => self.grants.insert(place, grant),
        }
    }

    /// A grant that has ended is remembered if somebody gave it, the oldest of too many is forgotten.
    fn remember(&mut self, grant: Grant) {
        if grant.source != GrantSource::Given {
            return;
        }
        match self.ended.iter_mut().find(|known| known.id == grant.id) {
            Some(known) => *known = grant,
            None => self.ended.push(grant),
        }
        let spare = self.ended.len().saturating_sub(limits::ENDED_GRANTS_MAX);
        self.ended.drain(..spare);
    }

    fn see_time(&mut self) {
        let window_ends = self.head.window.map_or(Millis::FOREVER, |window| window.end());
        let grants = self.grants.iter().map(Grant::next_event_at);
        self.next_event_at = grants.fold(window_ends.min(self.head.plan_changes_at), Millis::min);
    }

    /// The account has another profile from an instant on. What the one before has brought by then, and
    /// nobody has seen, is still to be seen.
    pub(crate) fn expect_changes(&mut self, profile: &Profile, at: Millis) {
        if at < self.head.plan_changes_at {
            self.head.plan_changes_at = profile.next_change(at);
            self.see_time();
        }
    }
}

/// One change of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreditsEffect {
    /// The pool is now this; its grants stay.
    Pool(PoolHead),
    /// A grant of this pool is new, or is now this.
    Grant(NameId, Grant),
    /// A grant of this pool has ended.
    GrantEnded(NameId, Grant),
    /// A segment of this pool's history is complete, and leaves the memory.
    Segment(NameId, Segment),
}

/// Carries out a change.
pub(crate) fn apply(pools: &mut Vec<Pool>, effect: &CreditsEffect) {
    let (feature, at) = match effect {
        CreditsEffect::Pool(head) => (head.feature, head.segment.from),
        CreditsEffect::Grant(feature, grant) | CreditsEffect::GrantEnded(feature, grant) => {
            (*feature, grant.granted_at)
        }
        CreditsEffect::Segment(..) => return,
    };
    let place = pools.iter().position(|pool| pool.head.feature == feature).unwrap_or_else(|| {
        pools.push(Pool::new(feature, at));
        pools.len() - 1
    });
    let pool = &mut pools[place];
    match effect {
        CreditsEffect::Pool(head) => pool.head = head.clone(),
        CreditsEffect::Grant(_, grant) => {
            pool.ended.retain(|known| known.id != grant.id);
            pool.put(grant.clone());
        }
        CreditsEffect::GrantEnded(_, grant) => {
            pool.grants.retain(|known| known.id != grant.id);
            pool.remember(grant.clone());
        }
        CreditsEffect::Segment(..) => {}
    }
    pool.see_time();
}

/// The effects that make these pools again: what a snapshot keeps of them.
pub(crate) fn further(pools: &[Pool]) -> Effects {
    let mut effects = Effects::new();
    for pool in pools {
        let feature = pool.head.feature;
        push(&mut effects, CreditsEffect::Pool(pool.head.clone()));
        for grant in &pool.grants {
            push(&mut effects, CreditsEffect::Grant(feature, grant.clone()));
        }
        for grant in &pool.ended {
            push(&mut effects, CreditsEffect::GrantEnded(feature, grant.clone()));
        }
    }
    effects
}

/// What is to be remembered of pools that is not: when the profile next gives another number of units. A
/// version of the program that did not look then has written so.
pub fn unnoted(account: &Account, now: Millis) -> Effects {
    let mut effects = Effects::new();
    let plan_changes_at = account.profile.next_change(now);
    if plan_changes_at == Millis::FOREVER {
        return effects;
    }
    let heads = account.pools().iter().map(|pool| &pool.head);
    for head in heads.filter(|head| head.plan_changes_at == Millis::FOREVER) {
        push(&mut effects, CreditsEffect::Pool(PoolHead { plan_changes_at, ..head.clone() }));
    }
    effects
}

fn push(effects: &mut Effects, effect: CreditsEffect) {
    effects.push(Effect::Credits(Box::new(effect)));
}

/// Units as a signed number. Bounded grants of bounded units are far from its end.
fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

/// What an answer shows of a pool beyond the counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolState {
    /// What is left less what is owed: below 0 is owed. Holds do not change it.
    pub balance: i64,
    /// When units that are left next expire, and how many then.
    pub next_expiry: Option<(Millis, u64)>,
    /// How far below 0 the balance may be drawn.
    pub overdraft_units: u64,
    /// When units next come by time alone.
    pub fills_at: Option<Millis>,
    /// What the feature asked about costs. `None`: a unit is a credit, as of the pool itself.
    pub price: Option<CreditPrice>,
    /// Credits that the request asks for, where the pool refuses it.
    pub asked_units: Option<u64>,
}
