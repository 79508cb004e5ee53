//! A pool at an instant: what time and the plan have brought by then, and what a request takes.
//!
//! Nothing is changed here but a copy; [`PoolNow::list`] says how it differs. Expiries, starts and ends
//! of windows are taken one instant after the other, so it does not matter who looked when.

mod plan;
mod returns;

use std::sync::Arc;

use crate::account::Account;
use crate::catalog::{FeatureIx, FeatureKind, PlanLimit, Policy};
use crate::credits::{
    Charge, CreditsEffect, Deduction, Grant, GrantEnd, GrantEnding, GrantSource, Pool, PoolState,
    PoolTerms, Segment, push, signed,
};
use crate::decide::Context;
use crate::decision::{Denial, LimitState, Verdict};
use crate::effect::{Effect, Effects};
use crate::ledger::{Ledger, Marks};
use crate::limits::{self, UNITS_MAX};
use crate::names::NameId;
use crate::policy::{Beyond, Room};
use crate::signal::{self, Change, REACHED_BP, SignalName, SignalSwitches};
use crate::time::{Millis, Window};
use crate::window::{WindowRule, window_at};

/// Burns of one clock hour are one segment of the history.
const HOUR_MS: i64 = 60 * 60 * 1000;

/// What a catalog says of a pool's windows.
#[derive(Clone, Copy)]
struct Rule {
    feature: FeatureIx,
    limit: NameId,
    window: WindowRule,
}

/// A pool at the instant of a request.
pub(crate) struct PoolNow<'a> {
    cx: Context<'a>,
    account: &'a Account,
    rule: Option<Rule>,
    terms: PoolTerms,
    before: Option<&'a Pool>,
    pub(crate) pool: Pool,
    ended: Vec<Grant>,
    closed: Vec<Segment>,
}

impl<'a> PoolNow<'a> {
    /// The account's pool of this name, as it stands now. One that it never had is empty but for what
    /// the plan includes.
    pub(crate) fn of(cx: Context<'a>, account: &'a Account, feature: NameId) -> PoolNow<'a> {
        PoolNow::with_ended(cx, account, feature, &[])
    }

    /// The same when holds have ended: each gives back so many credits at its instant.
    pub(crate) fn with_ended(
        cx: Context<'a>,
        account: &'a Account,
        feature: NameId,
        holds: &[(Millis, u64)],
    ) -> PoolNow<'a> {
        let rule = cx.catalog.feature_of(feature).and_then(|ix| {
            let FeatureKind::Credits { limit, window } = cx.catalog.feature(ix).kind else {
                return None;
            };
            Some(Rule { feature: ix, limit, window })
        });
        let before = account.pool(feature);
        let pool = before.cloned().unwrap_or_else(|| Pool::new(feature, cx.now));
        let terms = PoolTerms::default();
        let (ended, closed) = (Vec::new(), Vec::new());
        let mut now = PoolNow { cx, account, rule, terms, before, pool, ended, closed };
        now.advance(holds);
        now
    }

    /// What the request is decided under.
    pub(crate) fn cx(&self) -> Context<'a> {
        self.cx
    }

    // --- what time brings ---

    fn advance(&mut self, holds: &[(Millis, u64)]) {
        let mut windows_left = limits::POOL_WINDOWS_MAX;
        let mut ended = holds.to_vec();
        ended.sort_unstable();
        for (at, units) in ended {
            self.pass(at, &mut windows_left);
            self.give_back(units);
            if self.pool.head.window.is_some() {
                self.see_plan(at);
                self.pool.see_time();
            }
        }
        self.pass(self.cx.now, &mut windows_left);
        self.leave_lifetime();
        self.see_plan(self.cx.now);
        self.expect_changes(self.cx.now);
        self.pool.see_time();
    }

    /// Takes what happens until an instant, that one included.
    fn pass(&mut self, until: Millis, windows_left: &mut usize) {
        while self.pool.next_event_at <= until {
            self.step(self.pool.next_event_at, windows_left);
            self.pool.see_time();
        }
    }

    /// Everything that happens at one instant: first what ends, then what begins.
    fn step(&mut self, at: Millis, windows_left: &mut usize) {
        let is_over = self.pool.head.window.is_some_and(|window| window.end() <= at);
        if is_over {
            // What the plan gave to the last moment is what can be left of it.
            self.see_plan(at.plus(-1));
        }
        self.cut(at);
        let mut left_over = 0;
        while let Some(place) = self.pool.grants.iter().position(|g| g.expires_at <= at) {
            let ended = self.end(place, at, GrantEnding::Expired, "");
            self.pool.head.segment.expired_units += lost_units(&ended);
            left_over += match ended.source {
                GrantSource::Given => 0,
                GrantSource::RolledOver => lost_units(&ended),
                // What was kept for holds alone is not the plan's.
                GrantSource::Included => {
                    let planned = self.terms.included_units.saturating_sub(ended.burnt_units);
                    planned.min(lost_units(&ended))
                }
            };
        }
        if is_over {
            // Whoever slept through more windows than are followed goes on with the one of now.
            let skips = *windows_left == 0;
            *windows_left = windows_left.saturating_sub(1);
            let ended = self.pool.head.window.map(|window| (window.end(), Some(left_over)));
            self.begin_window(if skips { self.cx.now } else { at }, ended);
            if skips {
                self.expect_changes(self.cx.now);
            }
        }
        let mut has_more = is_over;
        let segment = &mut self.pool.head.segment;
        for grant in self.pool.grants.iter_mut().filter(|g| !g.has_begun && g.starts_at <= at) {
            grant.has_begun = true;
            segment.granted_units += grant.units;
            has_more = true;
        }
        if has_more {
            self.terms = self.terms_at(at).unwrap_or_default();
            self.fill(at);
            self.let_go(at);
        }
        if self.pool.head.plan_changes_at <= at {
            // One that has no window, because its catalog was without it, begins when it is looked at.
            if self.pool.head.window.is_some() {
                self.see_plan(at);
            }
            self.expect_changes(at);
        }
    }

    /// A new window: what was left of the one that `ended` rolls over, if it has not been kept, and units are
    /// included anew.
    fn begin_window(&mut self, at: Millis, ended: Option<(Millis, Option<u64>)>) {
        let Some(rule) = self.rule else {
            self.pool.head.window = None;
            return;
        };
        let profile = &self.account.profile;
        let ruled = window_at(rule.window, profile.anchor, profile.rules(), at);
        // The next window starts where the last one ended, whatever became of the anchor.
        let start = match ended {
            Some((end, _)) => end.max(ruled.start()),
            // A second window for life, long after the first: what is left of that one has its name.
            None if self.pool.grant(&included_id(ruled.start())).is_some() => at,
            None => ruled.start(),
        };
        let window = Window::new(start, ruled.end()).unwrap_or(ruled);
        let head = &mut self.pool.head;
        head.window = Some(window);
        (head.used_units, head.marks, head.revision) = (0, Marks::default(), 1);
        let Some(terms) = self.terms_at(at) else { return };
        if let Some((_, Some(left))) = ended {
            let units = left.max(terms.rollover_min_units).min(terms.rollover_max_units);
            if units > 0 {
                self.pool.head.segment.rolled_over_units += units;
                self.grant_for(GrantSource::RolledOver, units, terms.priority);
            }
        }
        if terms.included_units > 0 {
            self.pool.head.segment.granted_units += terms.included_units;
            self.grant_for(GrantSource::Included, terms.included_units, terms.priority);
        }
    }

    /// A grant for the window of now.
    fn grant_for(&mut self, source: GrantSource, units: u64, priority: u8) {
        let Some(window) = self.pool.head.window else { return };
        let start = window.start();
        let id = match source {
            GrantSource::Included => included_id(start),
            _ => format!("{ROLLED_OVER}{start}"),
        };
        self.pool.put(Grant {
            id: id.into(),
            source,
            units,
            burnt_units: 0,
            priority,
            starts_at: start,
            expires_at: window.end(),
            granted_at: start,
            has_begun: true,
            end: None,
        });
    }

    /// Units have come: they pay what is owed, or it is forgiven, and thresholds that are not passed any
    /// more are armed again.
    fn fill(&mut self, at: Millis) {
        let head = &mut self.pool.head;
        if self.terms.forgives_debt {
            head.segment.forgiven_units += head.debt_units;
            head.debt_units = 0;
        }
        for grant in &mut self.pool.grants {
            let pays = grant.left_units().min(head.debt_units);
            grant.burnt_units += pays;
            head.debt_units -= pays;
            head.segment.paid_back_units += pays;
        }
        self.end_used_up(at);
        if self.is_for_life() {
            self.pool.head.used_units = 0;
        }
        let limit = self.limit();
        let used = self.pool.head.used_units;
        let mut marks = Marks::default();
        for (place, bp) in self.terms.soft_limits_bp.iter().enumerate() {
            if limit.is_past(used, *bp) {
                marks = marks.with(Marks::threshold(place));
            }
        }
        if limit.is_past(used, REACHED_BP) {
            marks = marks.with(Marks::REACHED);
        }
        let head = &mut self.pool.head;
        let kept = Marks(head.marks.0 & marks.0);
        if kept != head.marks {
            head.marks = kept;
            head.revision = head.revision.saturating_add(1);
        }
    }

    fn is_for_life(&self) -> bool {
        self.pool.head.window.is_none_or(|window| window.is_lifetime())
    }

    /// Closes the open segment at an instant, if it began before.
    fn cut(&mut self, at: Millis) {
        let balance = self.pool.balance();
        let segment = &mut self.pool.head.segment;
        assert_eq!(segment.closing(), balance, "a change of the balance is in no segment");
        if segment.from < at {
            self.closed.push(Segment { to: at, ..*segment });
            *segment = Segment::begin(at, balance);
        }
    }

    /// Takes a grant out.
    fn end(&mut self, place: usize, at: Millis, how: GrantEnding, reason: &str) -> Grant {
        let mut grant = self.pool.grants.remove(place);
        let (lost_units, reason) = (grant.left_units(), Arc::from(reason));
        grant.end = Some(Box::new(GrantEnd { at, how, lost_units, reason }));
        self.pool.remember(grant.clone());
        self.ended.push(grant.clone());
        grant
    }

    /// Given grants with nothing left end. Included ones stay until their window ends: the plan may
    /// include more tomorrow.
    fn end_used_up(&mut self, at: Millis) {
        let is_used_up =
            |g: &Grant| g.source == GrantSource::Given && g.has_begun && g.units <= g.burnt_units;
        while let Some(place) = self.pool.grants.iter().position(is_used_up) {
            self.end(place, at, GrantEnding::UsedUp, "");
        }
    }

    // --- what a request asks and takes ---

    /// Credits that can still be drawn or held.
    pub(crate) fn drawable(&self) -> u64 {
        let drawable = self.pool.balance() + signed(self.terms.overdraft_units)
            - signed(self.pool.head.held_units);
        u64::try_from(drawable).unwrap_or(0)
    }

    /// What stands against a charge. Nothing costs nothing, also of an empty pool.
    pub(crate) fn denial(&self, charge: u64) -> Option<Denial> {
        if charge <= self.drawable() {
            return None;
        }
        let unheld = self.pool.balance() + signed(self.terms.overdraft_units);
        let exists = i64::try_from(charge).is_ok_and(|charge| charge <= unheld);
        Some(if exists { Denial::InFlight } else { Denial::CreditsExhausted })
    }

    /// Whether the counters have room for a charge, and for all that is held besides: a hold may end in a
    /// charge that nobody can refuse, when the grants that it counted on have gone.
    pub(crate) fn has_room(&self, charge: u64) -> bool {
        let head = &self.pool.head;
        let most = head.used_units.max(head.debt_units) + head.held_units;
        let burnt = if self.is_new_hour() { 0 } else { head.segment.burnt_units };
        let burns = burnt + head.held_units;
        charge <= UNITS_MAX
            && most + charge <= UNITS_MAX
            && burns + charge <= limits::SEGMENT_UNITS_MAX
    }

    /// Whether the history has room for credits that come back.
    pub(crate) fn has_room_for_return(&self, units: u64) -> bool {
        let segment = &self.pool.head.segment;
        let returned = if self.is_new_hour() { 0 } else { segment.returned_units };
        units <= limits::SEGMENT_UNITS_MAX && returned + units <= limits::SEGMENT_UNITS_MAX
    }

    /// Whether the history has room for a grant that begins now.
    pub(crate) fn has_room_for_grant(&self, units: u64) -> bool {
        let segment = &self.pool.head.segment;
        segment.from < self.cx.now
            || segment.granted_units.saturating_add(units) <= limits::SEGMENT_UNITS_MAX
    }

    /// Whether what is burnt or comes back now begins a segment.
    fn is_new_hour(&self) -> bool {
        self.pool.head.segment.from < self.hour()
    }

    /// When the clock's hour of now began: burns of one hour are one segment.
    fn hour(&self) -> Millis {
        let now = self.cx.now.0;
        Millis(now - now.rem_euclid(HOUR_MS))
    }

    /// How many grants a charge would be paid by.
    pub(crate) fn grants_touched(&self, charge: u64) -> usize {
        let mut rest = charge;
        let mut touched = 0;
        for left in self.pool.grants.iter().map(Grant::left_units).filter(|left| *left > 0) {
            if rest == 0 {
                break;
            }
            rest = rest.saturating_sub(left);
            touched += 1;
        }
        touched
    }

    /// Takes a charge from the grants, in the order they burn; what none pays is owed.
    pub(crate) fn burn(&mut self, charge: u64) -> Charge {
        let now = self.cx.now;
        self.cut(self.hour());
        let mut rest = charge;
        let mut deductions = Vec::new();
        for grant in self.pool.grants.iter_mut().filter(|g| g.left_units() > 0) {
            let units = grant.left_units().min(rest);
            if units == 0 {
                break;
            }
            grant.burnt_units += units;
            rest -= units;
            deductions.push(Deduction { grant: Arc::clone(&grant.id), units });
        }
        let head = &mut self.pool.head;
        head.debt_units += rest;
        head.used_units += charge;
        head.segment.burnt_units += charge;
        let paid: u64 = deductions.iter().map(|deduction| deduction.units).sum();
        assert_eq!(paid + rest, charge, "a charge is paid or owed");
        self.end_used_up(now);
        Charge {
            pool: self.pool.head.feature,
            units: charge,
            deductions,
            debt_units: rest,
            returned_units: 0,
        }
    }

    /// Sets credits aside.
    pub(crate) fn hold(&mut self, units: u64) {
        self.pool.head.held_units += units;
    }

    /// Gives credits back that were set aside.
    pub(crate) fn give_back(&mut self, units: u64) {
        assert!(units <= self.pool.head.held_units, "more credits come back than were held");
        self.pool.head.held_units -= units;
    }

    /// Less is held, or more is there: what the plan includes no more, and was kept for holds, goes.
    pub(crate) fn let_go(&mut self, at: Millis) {
        let Some(planned) = self.planned_units() else { return };
        let is_kept = |g: &Grant| g.source == GrantSource::Included && planned < g.units;
        if self.pool.grants.iter().any(is_kept) {
            self.see_plan(at);
        }
    }

    /// What the plan includes. `None`: the catalog has no such pool, and what there is stays.
    fn planned_units(&self) -> Option<u64> {
        self.rule.map(|_| self.terms.included_units)
    }

    /// Credits that are left and that no hold has set aside.
    fn unheld_units(&self) -> u64 {
        let unheld = self.pool.balance() - signed(self.pool.head.held_units);
        u64::try_from(unheld).unwrap_or(0)
    }

    /// Adds a grant that somebody gives.
    pub(crate) fn add(&mut self, grant: Grant) {
        let begins = grant.has_begun;
        if begins {
            self.cut(self.cx.now);
            self.pool.head.segment.granted_units += grant.units;
        }
        self.pool.put(grant);
        if begins {
            self.fill(self.cx.now);
            self.let_go(self.cx.now);
        }
        self.pool.see_time();
    }

    /// Takes back what is left of a grant.
    pub(crate) fn void(&mut self, place: usize, reason: &str) -> Grant {
        let now = self.cx.now;
        self.cut(now);
        let ended = self.end(place, now, GrantEnding::Void, reason);
        self.pool.head.segment.voided_units += lost_units(&ended);
        self.pool.see_time();
        ended
    }

    // --- what is said ---

    /// How the pool stands.
    pub(crate) fn level(&self) -> Verdict {
        let limit = self.limit();
        let used = self.pool.head.used_units;
        let is_past = self.terms.soft_limits_bp.iter().any(|bp| limit.is_past(used, *bp));
        let lowest = -i64::try_from(self.terms.overdraft_units).unwrap_or(i64::MAX);
        match self.pool.balance() {
            // What happened is charged, whatever the overdraft covers.
            balance if balance < lowest => Verdict::Unbacked,
            balance if is_past || balance < 0 => Verdict::SoftLimit,
            _ => Verdict::Allowed,
        }
    }

    /// The pool in the shape of a limit: what was burnt is used, and that and what is left together
    /// are included.
    pub(crate) fn state(&self) -> LimitState {
        let ledger = self.ledger();
        let ceiling = Some(ledger.held().saturating_add(self.drawable()));
        let room = Room { ceiling, grace_over: false, grace_until: Millis::FOREVER };
        let mut state = LimitState::of(&self.limit(), ledger, room);
        let pool = PoolState {
            balance: self.pool.balance(),
            next_expiry: self.pool.next_expiry(),
            overdraft_units: self.terms.overdraft_units,
            fills_at: self.fills_at(),
            price: None,
            asked_units: None,
        };
        state.beyond = Some(Box::new(Beyond { pool: Some(Box::new(pool)), ..Beyond::default() }));
        state
    }

    /// Whether there are grants that have not begun.
    pub(crate) fn expects_grants(&self) -> bool {
        self.pool.grants.iter().any(|grant| !grant.has_begun)
    }

    /// When units next come by time alone.
    pub(crate) fn fills_at(&self) -> Option<Millis> {
        let waiting = self.pool.grants.iter().filter(|g| !g.has_begun).map(|g| g.starts_at);
        let included = self.pool.head.window.filter(|_| self.terms.included_units > 0);
        let next = included.map(|window| window.end()).into_iter().chain(waiting).min();
        next.filter(|at| *at != Millis::FOREVER)
    }

    /// Raises what the pool has come to as signals. `previous_units` were used before.
    pub(crate) fn announce(
        &mut self,
        previous_units: u64,
        refused_units: u64,
        effects: &mut Effects,
    ) {
        let mut ledger = self.ledger();
        let change = Change { at: self.cx.now, previous_units, refused_units };
        let switches = self.cx.catalog.signals;
        // Of a pool the same thresholds have names of their own.
        let all = SignalSwitches { usage_ceiling: true, ..switches };
        let listed = effects.len();
        signal::announce(&mut ledger, &self.limit(), change, all, effects);
        for effect in &mut effects[listed..] {
            if let Effect::Signal(signal) = effect
                && signal.name == SignalName::UsageCeiling
            {
                let is_empty = signal.crossed_bp.last() == Some(&REACHED_BP);
                signal.name =
                    if is_empty { SignalName::CreditsDepleted } else { SignalName::CreditsLow };
            }
        }
        let mut place = 0;
        effects.retain(|effect| {
            place += 1;
            let is_raised = |effect: &Effect| match effect {
                Effect::Signal(signal) => switches.raises(signal.name),
                _ => true,
            };
            place <= listed || is_raised(effect)
        });
        self.pool.head.marks = ledger.marks;
    }

    /// Raises a refusal, once per window and revision, and lists what remembers that it was.
    #[cold]
    pub(crate) fn announce_refusal(mut self, refused_units: u64, effects: &mut Effects) {
        let before = effects.len();
        self.announce(self.pool.head.used_units, refused_units, effects);
        if effects.len() > before {
            self.list(effects);
        }
    }

    /// Lists how the pool differs from what the account has.
    pub(crate) fn list(mut self, effects: &mut Effects) {
        self.pool.see_time();
        let feature = self.pool.head.feature;
        if self.before.is_none_or(|before| before.head != self.pool.head) {
            push(effects, CreditsEffect::Pool(self.pool.head.clone()));
        }
        for segment in self.closed {
            push(effects, CreditsEffect::Segment(feature, segment));
        }
        for grant in self.ended {
            push(effects, CreditsEffect::GrantEnded(feature, grant));
        }
        for grant in self.pool.grants {
            let known = self.before.and_then(|b| Some(&b.grants[b.place(&grant).ok()?]));
            if known != Some(&grant) {
                push(effects, CreditsEffect::Grant(feature, grant));
            }
        }
    }

    fn ledger(&self) -> Ledger {
        let head = &self.pool.head;
        let limit = self.rule.map_or(NameId(u32::MAX), |rule| rule.limit);
        let window = head.window.unwrap_or_else(|| Window::lifetime(head.segment.from));
        Ledger {
            used: head.used_units,
            reserved: head.held_units,
            debt: head.debt_units,
            limit_revision: head.revision,
            marks: head.marks,
            ..Ledger::new(head.feature, limit, window, head.soft_mark)
        }
    }

    fn limit(&self) -> PlanLimit {
        let included = signed(self.pool.head.used_units) + self.pool.balance();
        let included = u64::try_from(included).unwrap_or(0);
        self.limit_of(included)
    }

    fn limit_of(&self, included: u64) -> PlanLimit {
        let (limit, window) = match self.rule {
            Some(rule) => (rule.limit, rule.window),
            None => (NameId(u32::MAX), WindowRule::Lifetime),
        };
        let soft_limits_bp = self.terms.soft_limits_bp.clone();
        PlanLimit::new(limit, window, Some(included), soft_limits_bp, Policy::Block)
    }

    /// Fingerprint of the thresholds alone.
    fn soft_mark(&self) -> u32 {
        self.limit_of(0).mark()
    }
}

/// What the ids of included units begin with, before the start of their window.
pub(crate) const INCLUDED: &str = "included@";

/// What the ids of units that rolled over begin with.
pub(crate) const ROLLED_OVER: &str = "rolled_over@";

/// The id of the units that are included in the window that begins at an instant.
fn included_id(start: Millis) -> String {
    format!("{INCLUDED}{start}")
}

fn lost_units(ended: &Grant) -> u64 {
    ended.end.as_ref().map_or(0, |end| end.lost_units)
}
