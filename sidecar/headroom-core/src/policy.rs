//! Policies at the limit: how long grace lasts and how often it may be used, what overage costs and
//! where it stops, and whether debt is carried into the next window.
//!
//! Most limits have none of this: what is here hangs on a limit as [`LimitTerms`] in a box of its
//! own, and on an account as an [`Excess`] that exists only once a window went above its included
//! units. Nothing here reads a clock.
//!
//! Grace and overage belong to one window *and* one revision of the limit's definition: whoever buys
//! more is not measured by what was used up before.

use std::sync::Arc;

use crate::account::Account;
use crate::announced::Announced;
use crate::catalog::{PlanLimit, Policy};
use crate::change::OnChange;
use crate::credits::{Charge, PoolState};
use crate::decide::Context;
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::owing;
use crate::resolve::{Resolved, resolve};
use crate::signal::{REACHED_BP, Signal, SignalName, SignalState};
use crate::time::{Millis, Window};
use crate::window::{WindowRule, window_at};

/// Billionths of a minor unit in one minor unit: the precision of unit prices.
pub const NANOS_PER_MINOR: u64 = 1_000_000_000;

/// The rare parts of what a plan says about one limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitTerms {
    /// For policy grace: how long and how often.
    pub grace: Option<GraceTerms>,
    /// For policy overage: what it costs and where it stops.
    pub overage: Option<OverageTerms>,
    /// Whether debt at a window's end counts as used in the next one; otherwise it stays where it is.
    pub carries_debt: bool,
    /// What becomes of the limit when the plan changes in the middle of its window.
    pub on_change: OnChange,
}

impl LimitTerms {
    /// Whether nothing is said.
    pub fn is_plain(&self) -> bool {
        *self == LimitTerms::default()
    }

    /// The terms as words for the limit's fingerprint. They are kept on disk by way of it, so they
    /// must never change.
    pub(crate) fn words(&self) -> Vec<u64> {
        let mut words = vec![u64::from(self.carries_debt)];
        if let Some(grace) = &self.grace {
            let lasts_ms = grace.lasts_ms.map_or(0, i64::cast_unsigned);
            words.extend([1, lasts_ms, grace.notice_ms.cast_unsigned()]);
            let times = grace.times.map_or([0, 0], |t| [u64::from(t.times), u64::from(t.months)]);
            words.extend(times);
        }
        if let Some(overage) = &self.overage {
            // Not the currency: the same number of another coin stops at the same unit.
            words.extend([2, overage.unit_price_nanos, overage.cap_minor.unwrap_or(u64::MAX)]);
        }
        match self.on_change {
            OnChange::Keep => {}
            OnChange::Prorate => words.push(3),
            OnChange::Reset => words.push(4),
        }
        words
    }
}

/// How long grace lasts, and how often it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraceTerms {
    /// Milliseconds from the first use above the included units, 1 minute to 366 days. `None`: no
    /// end in time but the window's.
    pub lasts_ms: Option<i64>,
    /// How long before its end in time that is announced, in milliseconds; less than `lasts_ms`.
    pub notice_ms: i64,
    /// In how many windows it may be used. `None`: in every one.
    pub times: Option<GraceTimes>,
}

/// In how many windows of a rolling span grace may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraceTimes {
    /// 1 to 12.
    pub times: u8,
    /// The span in months of the calendar in UTC: 1, 3 or 12.
    pub months: u8,
}

/// What overage costs, and where it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverageTerms {
    /// Price of one unit in billionths of a minor unit; at least 1.
    pub unit_price_nanos: u64,
    /// ISO 4217 code, three capital letters.
    pub currency: Arc<str>,
    /// The most that one window may cost, in minor units. `None`: no bound.
    pub cap_minor: Option<u64>,
}

impl OverageTerms {
    /// What so many units cost, in minor units, by [`cost_minor`].
    pub fn cost_minor(&self, units: u64) -> u64 {
        cost_minor(units, self.unit_price_nanos)
    }

    /// The most units that cost no more than the cap, by [`cap_units`]. `None`: there is no cap.
    pub fn cap_units(&self) -> Option<u64> {
        Some(cap_units(self.cap_minor?, self.unit_price_nanos))
    }
}

/// What so many units cost at a price in billionths of a minor unit, in minor units. Rounded down: a
/// customer is never charged for a part of a cent. This is the one function for what is displayed and for
/// what is billed.
pub fn cost_minor(units: u64, unit_price_nanos: u64) -> u64 {
    let nanos = u128::from(units) * u128::from(unit_price_nanos);
    u64::try_from(nanos / u128::from(NANOS_PER_MINOR)).unwrap_or(u64::MAX)
}

/// The most units that cost no more than a cap, before any rounding of money. Rounded down: a unit that
/// would take the cost past the cap is refused.
pub fn cap_units(cap_minor: u64, unit_price_nanos: u64) -> u64 {
    let nanos = u128::from(cap_minor) * u128::from(NANOS_PER_MINOR);
    let units = nanos / u128::from(unit_price_nanos.max(1));
    u64::try_from(units).unwrap_or(u64::MAX).min(limits::UNITS_MAX)
}

/// What is remembered of an account that went above the included units of one limit. There is one
/// for each (feature, limit), about the latest window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// The feature.
    pub feature: NameId,
    /// The limit.
    pub limit: NameId,
    /// Start of the window that went above.
    pub window_start: Millis,
    /// The limit's revision under which it did.
    pub limit_revision: u16,
    /// When it did.
    pub started_at: Millis,
    /// When its grace ends by time; [`Millis::FOREVER`] when it does not.
    pub ends_at: Millis,
    /// When that is announced; [`Millis::FOREVER`] when it was, or is not to be.
    pub notice_at: Millis,
    /// The latest graces of limits that say how long or how often: window start and beginning, oldest
    /// first, this one included. At most [`limits::GRACE_TIMES_MAX`], the most that may be asked for.
    pub graces: Vec<(Millis, Millis)>,
}

impl Excess {
    fn is_of(&self, ledger: &Ledger) -> bool {
        self.window_start == ledger.window.start() && self.limit_revision == ledger.limit_revision
    }
}

/// What admission may use of a limit at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// The most that admission lets used and reserved become together. `None`: no bound.
    pub(crate) ceiling: Option<u64>,
    /// The limit has grace, but none is left: its time ran out, or it was used too often.
    pub(crate) grace_over: bool,
    /// When the grace that has begun ends by time; [`Millis::FOREVER`] when it does not.
    pub(crate) grace_until: Millis,
}

/// What admission may use of a limit now. A window that is over is measured by units alone: its
/// grace cannot be asked for any more, only what happened in it is booked.
#[inline]
pub(crate) fn room(account: &Account, limit: &PlanLimit, ledger: &Ledger, now: Millis) -> Room {
    let mut room =
        Room { ceiling: limit.ceiling_units(), grace_over: false, grace_until: Millis::FOREVER };
    let Some(grace) = limit.terms.as_ref().and_then(|terms| terms.grace.as_ref()) else {
        return room;
    };
    let excess = account.excess(ledger.feature, ledger.limit);
    let begun = excess.filter(|excess| excess.is_of(ledger));
    if let Some(begun) = begun {
        room.grace_until = begun.ends_at;
    }
    let over = match (begun, excess) {
        (Some(begun), _) => begun.ends_at <= now,
        (None, Some(earlier)) => is_used_up(earlier, grace, ledger, now),
        (None, None) => false,
    };
    if over && ledger.window.contains(now) {
        room.ceiling = limit.included_units;
        room.grace_over = true;
    }
    room
}

/// Whether other windows have had as many graces as may be had.
fn is_used_up(earlier: &Excess, grace: &GraceTerms, ledger: &Ledger, now: Millis) -> bool {
    let Some(times) = grace.times else { return false };
    // A window that has had its grace may have it again under another definition: it counts once.
    let others = earlier.graces.iter().filter(|(start, _)| *start != ledger.window.start());
    let counted = others.filter(|(_, began)| now < forgotten_at(*began, times)).count();
    counted >= usize::from(times.times)
}

/// How often grace was used in the span that its terms look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraceUses {
    /// In how many windows it began, the current one included.
    pub used: u8,
    /// In how many it may.
    pub terms: GraceTimes,
    /// When the first of them does not count any more. `None`: it was not used.
    pub forgotten_at: Option<Millis>,
}

/// How often the grace of a limit was used. `None`: it has none, or that is not bounded.
pub(crate) fn grace_uses(
    account: &Account,
    limit: &PlanLimit,
    ledger: &Ledger,
    now: Millis,
) -> Option<GraceUses> {
    let terms = limit.terms.as_ref()?.grace.as_ref()?.times?;
    let graces = account.excess(ledger.feature, ledger.limit).map(|excess| &excess.graces[..]);
    let ends = graces.unwrap_or_default().iter().map(|(_, began)| forgotten_at(*began, terms));
    let counted = ends.filter(|ends| now < *ends);
    let used = u8::try_from(counted.clone().count()).unwrap_or(u8::MAX);
    Some(GraceUses { used, terms, forgotten_at: counted.min() })
}

/// When a grace that began at `began` does not count any more.
fn forgotten_at(began: Millis, times: GraceTimes) -> Millis {
    let rule = WindowRule::Billing { months: u16::from(times.months) };
    window_at(rule, began, &jiff::tz::TimeZone::UTC, began).end()
}

/// Notices that a write took a ledger above its included units for the first time under its
/// revision: grace or overage begins, and somebody is told. `at` is the write's instant.
pub(crate) fn begin(
    cx: Context<'_>,
    account: &Account,
    limit: &PlanLimit,
    room: &mut Room,
    (ledger, previous_units): (&Ledger, u64),
    effects: &mut Effects,
) {
    let Some(included_units) = limit.included_units else { return };
    let name = match limit.policy {
        Policy::Grace { .. } if !room.grace_over => SignalName::GraceStarted,
        Policy::Overage => SignalName::OverageStarted,
        _ => return,
    };
    if ledger.used <= included_units
        || limit.limit != ledger.limit
        || !ledger.window.contains(cx.now)
    {
        return;
    }
    let known = account.excess(ledger.feature, ledger.limit);
    if known.is_some_and(|excess| excess.is_of(ledger)) {
        return;
    }
    let mut excess = Excess {
        feature: ledger.feature,
        limit: ledger.limit,
        window_start: ledger.window.start(),
        limit_revision: ledger.limit_revision,
        started_at: cx.now,
        ends_at: Millis::FOREVER,
        notice_at: Millis::FOREVER,
        graces: known.map_or_else(Vec::new, |excess| excess.graces.clone()),
    };
    if let Some(grace) = limit.terms.as_ref().and_then(|terms| terms.grace.as_ref()) {
        excess.begin_grace(grace, ledger.window, cx.now);
    }
    let ends_at = excess.ends_at;
    room.grace_until = ends_at;
    effects.push(Effect::Excess(Box::new(excess)));
    if name == SignalName::OverageStarted {
        owing::look_at_end(account, ledger, effects);
    }
    if cx.catalog.signals.raises(name) {
        effects.push(signal(name, ledger, (previous_units, included_units), ends_at, cx.now));
    }
}

/// Notices that the overage of a window has come near what it may cost: told once per window and revision.
#[cold]
pub(crate) fn near_cap(
    cx: Context<'_>,
    account: &Account,
    limit: &PlanLimit,
    (ledger, previous_units): (&Ledger, u64),
    effects: &mut Effects,
) {
    let name = SignalName::OverageCapNear;
    let terms = limit.terms.as_ref().and_then(|terms| terms.overage.as_ref());
    let (Some(included_units), Some(terms)) = (limit.included_units, terms) else { return };
    let (Policy::Overage, Some(cap_minor)) = (limit.policy, terms.cap_minor) else { return };
    let is_of_now = limit.limit == ledger.limit && ledger.window.contains(cx.now);
    if ledger.used <= included_units || !is_of_now || !cx.catalog.signals.raises(name) {
        return;
    }
    let cost_minor = terms.cost_minor(ledger.used - included_units);
    let near_bp = u128::from(cx.catalog.signals.overage_cap_near_bp);
    if u128::from(cost_minor) * u128::from(REACHED_BP) < u128::from(cap_minor) * near_bp {
        return;
    }
    let (feature, limit, of) = (ledger.feature, ledger.limit, ledger.window.start());
    let told = Announced { name, feature, limit, of, limit_revision: ledger.limit_revision };
    if account.announced(name, feature, limit) == Some(&told) {
        return;
    }
    effects.push(Effect::Announced(Box::new(told)));
    let units = (previous_units, included_units);
    effects.push(signal(name, ledger, units, Millis::FOREVER, cx.now));
}

impl Excess {
    fn begin_grace(&mut self, grace: &GraceTerms, window: Window, now: Millis) {
        if let Some(lasts_ms) = grace.lasts_ms {
            let ends_at = now.plus(lasts_ms);
            // A grace that outlives its window has no end worth a word: the next window is new.
            if ends_at < window.end() {
                self.ends_at = ends_at;
                self.notice_at = ends_at.plus(-grace.notice_ms);
            }
        }
        // Also where their number is not bounded: the catalog may bound it tomorrow.
        let start = window.start();
        self.graces.retain(|(known, _)| *known != start);
        let spare = (self.graces.len() + 1).saturating_sub(limits::GRACE_TIMES_MAX);
        self.graces.drain(..spare);
        self.graces.push((start, now));
    }
}

/// Lists what time alone has brought: graces that are about to end are announced, once. Nothing when
/// [`Account::is_due`] says no.
pub fn settle_excesses(cx: Context<'_>, account: &Account, effects: &mut Effects) {
    for excess in account.excesses().iter().filter(|excess| excess.notice_at <= cx.now) {
        let told = Excess { notice_at: Millis::FOREVER, ..excess.clone() };
        effects.push(Effect::Excess(Box::new(told)));
        if let Some(signal) = ending(cx, account, excess) {
            effects.push(signal);
        }
    }
}

/// The announcement that a grace is about to end, unless that has no meaning any more: the window is
/// over, or the limit is another by now.
fn ending(cx: Context<'_>, account: &Account, excess: &Excess) -> Option<Effect> {
    let name = SignalName::GraceEnding;
    if !cx.catalog.signals.raises(name) {
        return None;
    }
    let ledger = account.ledger(excess.feature, excess.limit, excess.window_start)?;
    if !ledger.window.contains(cx.now) || !excess.is_of(ledger) {
        return None;
    }
    let feature = cx.catalog.feature_of(excess.feature)?;
    let (Resolved::Limits(limits), _) = resolve(cx.catalog, account, feature, cx.now) else {
        return None;
    };
    let limit = limits.iter().find(|limit| limit.limit == excess.limit)?;
    if limit.mark() != ledger.limit_mark {
        return None;
    }
    let included_units = limit.included_units?;
    Some(signal(name, ledger, (ledger.used, included_units), excess.ends_at, cx.now))
}

fn signal(
    name: SignalName,
    ledger: &Ledger,
    (previous_units, included_units): (u64, u64),
    ends_at: Millis,
    at: Millis,
) -> Effect {
    let state = SignalState::of(ledger.marks);
    Effect::Signal(Box::new(Signal {
        name,
        feature: ledger.feature,
        limit: ledger.limit,
        window: ledger.window,
        limit_revision: ledger.limit_revision,
        crossed_bp: smallvec::SmallVec::new(),
        previous_units,
        current_units: ledger.used,
        included_units,
        refused_units: 0,
        previous_state: state,
        state,
        grace_until: (ends_at != Millis::FOREVER).then_some(ends_at),
        foretold: None,
        trial: None,
        earned_by: None,
        at,
    }))
}

/// What an answer shows of a limit beyond the counters: of its grace, its overage, its sliding, its pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beyond {
    /// When the grace that has begun ends by time. `None`: it has not begun, or ends with the window.
    pub grace_until: Option<Millis>,
    /// How often its grace was used. `None`: that is not bounded.
    pub grace_uses: Option<GraceUses>,
    /// The price of overage and its cap.
    pub overage: Option<OverageTerms>,
    /// When the oldest units leave a sliding window. `None`: it does not slide, or they never do.
    pub oldest_leave_at: Option<Millis>,
    /// What the billing window of an allocation comes to so far. `None`: it is no allocation.
    pub billed_units: Option<u64>,
    /// The balance of a pool of credits. `None`: it is no pool.
    pub pool: Option<Box<PoolState>>,
    /// What the write took from a pool of credits.
    pub charge: Option<Box<Charge>>,
    /// Whose limit it is: the path of a user, team or agent. `None`: the account's own.
    pub subject: Option<Arc<str>>,
    /// Whether what was used is an estimate.
    pub approximate: bool,
    /// Whether what was used is a value, the largest or the latest, and not a sum: another value takes
    /// its place, and nothing of the limit is used up by it.
    pub is_value: bool,
}

/// What an answer shows of a limit. `None` for limits without terms.
pub(crate) fn beyond(limit: &PlanLimit, room: Room) -> Option<Box<Beyond>> {
    let terms = limit.terms.as_ref()?;
    let grace_until = Some(room.grace_until).filter(|at| *at != Millis::FOREVER);
    Some(Box::new(Beyond { grace_until, overage: terms.overage.clone(), ..Beyond::default() }))
}
