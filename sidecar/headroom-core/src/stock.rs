//! Stocks: what the level of an allocation comes to over a billing window.
//!
//! The level itself is the `used` of a lifetime ledger and never resets. A [`Stock`] stands beside it
//! and measures one billing window after the other: the most there was, the average over time, and
//! what there is at the end. The average is kept as unit-milliseconds in 128 bits, so nothing is lost
//! until it is divided.
//!
//! A catalog may make another kind of an allocation. Then its level rests: the ledger keeps it, nobody can
//! change it, and the stock measures 0 until the feature is an allocation again.
//!
//! Invariant: the level of a stock is the `used` of its ledger while its feature is an allocation, and 0
//! while it is of another kind, after every write and every change of the catalog. The stock of a feature
//! that left the catalog goes on as it was, with its ledger or at rest. An allocation without a stock was
//! never used.

use jiff::tz::TimeZone;

use crate::account::{Account, Profile};
use crate::catalog::{Catalog, FeatureKind};
use crate::closing;
use crate::decide::Context;
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::time::{Millis, Window};
use crate::window::{WindowRule, window_at};

/// What a billing window is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BilledBy {
    /// The most there was at any moment, what the window began with included.
    Peak,
    /// The average over time.
    Average,
    /// What there is at the end.
    End,
}

impl BilledBy {
    /// Every measure, in the order of the documentation.
    pub const ALL: [BilledBy; 3] = [BilledBy::Peak, BilledBy::Average, BilledBy::End];

    /// The word of the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            BilledBy::Peak => "peak",
            BilledBy::Average => "average",
            BilledBy::End => "end",
        }
    }
}

/// How a feature is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockRule {
    /// By what.
    pub billed_by: BilledBy,
    /// Over billing windows of so many months, 1 to 120.
    pub months: u16,
}

/// One billing window of one allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// The feature.
    pub feature: NameId,
    /// The name of its limit.
    pub limit: NameId,
    /// The billing window.
    pub window: Window,
    /// How it was measured when it was last looked at; a feature that left the catalog goes on so.
    pub rule: StockRule,
    /// What there is to bill: 0 while the level rests.
    pub level_units: u64,
    /// The most there was in the window.
    pub peak_units: u64,
    /// Units times milliseconds from the window's start to `counted_to`.
    pub unit_ms: u128,
    /// Until when the level was added up; within the window, or at its end.
    pub counted_to: Millis,
}

impl Stock {
    /// Adds the level up to an instant, at most to the window's end.
    pub fn count_to(&mut self, at: Millis) {
        let at = at.min(self.window.end());
        if self.counted_to < at {
            self.unit_ms += u128::from(self.level_units) * lasted_ms(self.counted_to, at);
            self.counted_to = at;
        }
    }

    fn put_level(&mut self, units: u64, at: Millis) {
        self.count_to(at);
        self.level_units = units;
        self.peak_units = self.peak_units.max(units);
    }

    /// The average from the window's start to where it is counted. Rounded down: a customer is never
    /// charged for a part of a unit. Before any time has passed it is the level.
    pub fn average_units(&self) -> u64 {
        let units = match lasted_ms(self.window.start(), self.counted_to) {
            0 => return self.level_units,
            ms => self.unit_ms / ms,
        };
        // No more than the peak, so it fits.
        u64::try_from(units).unwrap_or(self.peak_units)
    }

    /// What the window comes to, up to where it is counted.
    pub fn billed_units(&self) -> u64 {
        match self.rule.billed_by {
            BilledBy::Peak => self.peak_units,
            BilledBy::Average => self.average_units(),
            BilledBy::End => self.level_units,
        }
    }

    /// Whether nothing of it is worth a line: there was nothing all the time.
    fn is_empty(&self) -> bool {
        self.peak_units == 0
    }

    /// When something is to be done though nobody asks: a window closes that something was in.
    pub fn next_event_at(&self) -> Millis {
        let is_idle = self.is_empty() && self.level_units == 0;
        if is_idle { Millis::FOREVER } else { self.window.end() }
    }

    /// The same things in the window of an instant at or after the end of this one.
    fn next(&self, profile: &Profile, rule: StockRule, at: Millis) -> Stock {
        let ruled = window_of(profile, rule, at);
        // What began stays until it ends, also when the anchor moves; the next one tiles.
        let start = self.window.end().max(ruled.start());
        let window = Window::new(start, ruled.end()).unwrap_or(ruled);
        let (peak_units, counted_to) = (self.level_units, window.start());
        Stock { window, rule, peak_units, unit_ms: 0, counted_to, ..*self }
    }
}

fn lasted_ms(from: Millis, to: Millis) -> u128 {
    u128::from(to.since(from).max(0).unsigned_abs())
}

fn window_of(profile: &Profile, rule: StockRule, at: Millis) -> Window {
    let billing = WindowRule::Billing { months: rule.months };
    window_at(billing, profile.anchor, &TimeZone::UTC, at)
}

/// How an allocation is measured by the catalog. `None`: it is no allocation there.
fn rule_of(catalog: &Catalog, feature: NameId) -> Option<StockRule> {
    match catalog.feature(catalog.feature_of(feature)?).kind {
        FeatureKind::Allocation { rule, .. } => Some(rule),
        _ => None,
    }
}

/// Whether a catalog measures the level of a feature: it is an allocation there, or of another kind. `None`:
/// the catalog does not have the feature, and nothing changes by that.
fn measures(catalog: &Catalog, feature: NameId) -> Option<bool> {
    catalog.feature_of(feature).map(|_| rule_of(catalog, feature).is_some())
}

/// Whether a feature that is measured in one catalog may be of another kind in the next, or the reverse. One
/// that is new there may have left an earlier one as either, so it counts, too.
pub fn may_differ(before: &Catalog, after: &Catalog) -> bool {
    let mut features = after.features().iter().map(|feature| feature.id);
    features.any(|id| measures(before, id) != measures(after, id))
}

/// Notes what a write has made of a level. Nothing for ledgers that are none.
#[inline]
pub(crate) fn note(cx: Context<'_>, account: &Account, ledger: &Ledger, effects: &mut Effects) {
    if cx.catalog.level_limit() == Some(ledger.limit) {
        note_level(cx, account, ledger, effects);
    }
}

#[inline(never)]
fn note_level(cx: Context<'_>, account: &Account, ledger: &Ledger, effects: &mut Effects) {
    let rests = is_at_rest(cx, account, ledger);
    let known = account.stock(ledger.feature, ledger.limit);
    // What rests without a stock gets one of 0, so that it is known when it comes back.
    if rests && known.is_some_and(|stock| stock.level_units == 0) {
        return;
    }
    let mut stock = as_of(cx, account, ledger, effects);
    stock.put_level(if rests { 0 } else { ledger.used }, cx.now);
    effects.push(Effect::Stock(Box::new(stock)));
}

/// Whether the level of a ledger rests. `account` is as it was before a write.
fn is_at_rest(cx: Context<'_>, account: &Account, ledger: &Ledger) -> bool {
    match measures(cx.catalog, ledger.feature) {
        Some(is_measured) => !is_measured,
        // Nobody says what it is any more: it went on with its ledger, or without.
        None => account
            .stock(ledger.feature, ledger.limit)
            .is_some_and(|stock| stock.level_units != used_of(account, stock)),
    }
}

/// The level that an account's ledger keeps.
fn used_of(account: &Account, stock: &Stock) -> u64 {
    let is_it = |l: &&Ledger| l.limit == stock.limit && l.feature == stock.feature;
    account.ledgers().iter().find(is_it).map_or(0, |ledger| ledger.used)
}

/// What the window of now comes to so far with what the ledger has.
pub(crate) fn billed_units(cx: Context<'_>, account: &Account, ledger: &Ledger) -> u64 {
    let mut stock = as_of(cx, account, ledger, &mut Effects::new());
    let level_units = if is_at_rest(cx, account, ledger) { 0 } else { ledger.used };
    stock.put_level(level_units, cx.now);
    stock.billed_units()
}

/// Lists what the kinds of a catalog make of the stocks of an account from now on: 0 where the level rests,
/// the ledger's where it is measured again. Windows that are over by then are closed as `before` measures
/// them, the catalog that was in force. Nothing where all is so already.
pub fn follow_kinds(before: &Catalog, cx: Context<'_>, account: &Account) -> Effects {
    let mut effects = Effects::new();
    for stock in account.stocks() {
        let level_units = match measures(cx.catalog, stock.feature) {
            Some(true) => used_of(account, stock),
            Some(false) => 0,
            None => continue,
        };
        if stock.level_units == level_units {
            continue;
        }
        let is_over = stock.next_event_at() <= cx.now;
        let before = Context { catalog: before, ..cx };
        let was = if is_over { roll(before, account, stock, &mut effects) } else { *stock };
        let mut now = roll(cx, account, &was, &mut effects);
        now.put_level(level_units, cx.now);
        effects.push(Effect::Stock(Box::new(now)));
    }
    effects
}

/// The stock of a level in the window of now, as it was before the write.
fn as_of(cx: Context<'_>, account: &Account, ledger: &Ledger, effects: &mut Effects) -> Stock {
    if let Some(known) = account.stock(ledger.feature, ledger.limit) {
        return roll(cx, account, known, effects);
    }
    let average = StockRule { billed_by: BilledBy::Average, months: 1 };
    let rule = rule_of(cx.catalog, ledger.feature).unwrap_or(average);
    let window = window_of(&account.profile, rule, cx.now);
    Stock {
        feature: ledger.feature,
        limit: ledger.limit,
        window,
        rule,
        level_units: 0,
        peak_units: 0,
        unit_ms: 0,
        counted_to: window.start(),
    }
}

/// Closes the windows that are over, and returns the stock in the window of now.
fn roll(cx: Context<'_>, account: &Account, from: &Stock, effects: &mut Effects) -> Stock {
    let rule = rule_of(cx.catalog, from.feature).unwrap_or(from.rule);
    let mut stock = Stock { rule: StockRule { billed_by: rule.billed_by, ..from.rule }, ..*from };
    for _ in 0..limits::STOCK_WINDOWS_MAX {
        if cx.now < stock.window.end() {
            return stock;
        }
        if !stock.is_empty() {
            stock.count_to(stock.window.end());
            let terms = closing::terms_of_stock(cx, account, &stock).map(Box::new);
            effects.push(Effect::StockClosed(Box::new(stock), terms));
        }
        // What should rest and does not, because a crash came before that was written or a request had read
        // the catalog of before, rests from the next window on at the latest.
        if measures(cx.catalog, stock.feature) == Some(false) {
            stock.level_units = 0;
        }
        if stock.level_units == 0 {
            break;
        }
        stock = stock.next(&account.profile, rule, stock.window.end());
    }
    if cx.now < stock.window.end() {
        return stock;
    }
    // There was nothing in the windows in between, or there are too many of them.
    stock.next(&account.profile, rule, cx.now)
}

/// Lists the windows that time alone has closed. Nothing when [`Account::is_due`] says no.
pub(crate) fn settle(cx: Context<'_>, account: &Account, effects: &mut Effects) {
    for stock in account.stocks().iter().filter(|stock| stock.next_event_at() <= cx.now) {
        let now = roll(cx, account, stock, effects);
        effects.push(Effect::Stock(Box::new(now)));
    }
}

impl Account {
    /// The stock of an allocation as an answer of `now` shows it. Only for reading.
    pub fn stocks_at(&self, now: Millis) -> Vec<Stock> {
        let counted = |stock: &Stock| {
            let mut stock = *stock;
            stock.count_to(now);
            stock
        };
        self.stocks().iter().map(counted).collect()
    }
}
