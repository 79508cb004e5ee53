//! Levels in the model: a list of every change, from which each billing window is added up when it is
//! asked for.

use std::collections::BTreeMap;

use headroom_core::account::Zone;
use headroom_core::catalog::FeatureKindSpec;
use headroom_core::decide::{FeatureOp, LevelChange};
use headroom_core::decision::{Amounts, OpError};
use headroom_core::resolve::Origin;
use headroom_core::stock::BilledBy;
use headroom_core::window::WindowRule;

use super::page::Page;
use super::plan::Entitled;
use super::{Account, Book, Done, LimitAnswer, Model, Said};
use crate::civil;

/// A billing window of an allocation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bill {
    /// The feature.
    pub feature: String,
    /// First instant of the window.
    pub start: i64,
    /// First instant after it.
    pub end: i64,
    /// What it is measured by.
    pub by: BilledBy,
    /// What there is at its end, or now.
    pub level: u128,
    /// The most there was.
    pub peak: u128,
    /// Units times milliseconds.
    pub unit_ms: u128,
    /// What it comes to.
    pub billed: u128,
}

/// All that was ever allocated of one feature.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// When it was changed, and to what; in order. While the feature is of another kind there is nothing.
    changes: Vec<(i64, u128)>,
    /// The start of a window that begins with nothing, whatever there was.
    rests_from: Option<i64>,
    /// The billing window that was last looked at.
    start: i64,
    end: i64,
    by: BilledBy,
    months: u16,
    /// Windows that are over, in which there was something.
    pub(crate) closed: Vec<Bill>,
}

impl Tally {
    /// What there was just before an instant.
    fn before(&self, at: i64) -> u128 {
        if self.rests_from == Some(at) {
            return 0;
        }
        self.changes.iter().rev().find(|(when, _)| *when < at).map_or(0, |(_, level)| *level)
    }

    fn level(&self) -> u128 {
        self.changes.last().map_or(0, |(_, level)| *level)
    }

    /// What the window comes to until an instant, at most its end.
    fn bill(&self, feature: &str, until: i64) -> Bill {
        let until = until.min(self.end);
        let (mut from, mut level) = (self.start, self.before(self.start));
        let (mut peak, mut unit_ms) = (level, 0);
        for (at, then) in self.changes.iter().filter(|(at, _)| self.start <= *at && *at < self.end)
        {
            unit_ms += level * u128::from(at.abs_diff(from));
            (from, level) = (*at, *then);
            peak = peak.max(level);
        }
        unit_ms += level * u128::from(until.max(from).abs_diff(from));
        let lasted = u128::from(until.max(from).abs_diff(self.start));
        let average = if lasted == 0 { level } else { unit_ms / lasted };
        let billed = match self.by {
            BilledBy::Peak => peak,
            BilledBy::Average => average,
            BilledBy::End => level,
        };
        let (feature, by) = (feature.to_owned(), self.by);
        Bill { feature, start: self.start, end: self.end, by, level, peak, unit_ms, billed }
    }

    fn is_idle(&self, feature: &str) -> bool {
        self.bill(feature, self.end).peak == 0
    }

    /// From now on there is so much. What ended earlier and is looked at only now counts from the last change on.
    fn change(&mut self, now: i64, level: u128) {
        let last = self.changes.last().map_or(now, |(at, _)| *at);
        self.changes.push((now.max(last), level));
    }
}

impl Model {
    /// How the catalog measures an allocation.
    fn measure(&self, feature: &str) -> Option<(BilledBy, u16)> {
        match self.feature(feature)?.kind {
            FeatureKindSpec::Allocation { billed_by, window: WindowRule::Billing { months } } => {
                Some((billed_by, months))
            }
            _ => None,
        }
    }

    fn months_from(account: &Account, months: u16, at: i64) -> (i64, i64) {
        let utc = Zone::utc();
        civil::window(WindowRule::Billing { months }, account.anchor, utc.rules(), at)
    }

    /// Goes on to the window of now, and keeps what lies before it.
    fn roll(&self, account: &Account, feature: &str, tally: &mut Tally, now: i64) {
        let (by, months) = self.measure(feature).unwrap_or((tally.by, tally.months));
        tally.by = by;
        while tally.end <= now {
            let bill = tally.bill(feature, tally.end);
            // Whoever should have been told that it rests was not: what began is billed to its end.
            let rests = bill.level > 0 && self.is_other(feature);
            if rests {
                tally.change(tally.end, 0);
                tally.rests_from = Some(tally.end);
            }
            let is_left = bill.level > 0 && !rests;
            if bill.peak > 0 {
                tally.closed.push(bill);
            }
            // Through empty windows nobody looks one by one.
            let at = if is_left { tally.end } else { now };
            let (start, end) = Model::months_from(account, months, at);
            (tally.start, tally.end, tally.months) = (tally.end.max(start), end, months);
        }
    }

    /// Closes the billing windows that are over, where there is anything.
    pub(crate) fn roll_levels(&self, account: &mut Account, now: i64) {
        let mut tallies = std::mem::take(&mut account.tallies);
        for (feature, tally) in &mut tallies {
            if !tally.is_idle(feature) && tally.end <= now {
                self.roll(account, feature, tally, now);
            }
        }
        account.tallies = tallies;
    }

    /// Notes what a page has come to, if it is of a level.
    pub(crate) fn note_level(&self, account: &mut Account, page: &Page) {
        let (feature, now) = (&page.book.feature, page.now);
        let known = account.tallies.get(feature).cloned();
        let noted = known.as_ref().map_or(0, Tally::level);
        // What nobody has any more goes on: with its count, or without.
        let is_gone = self.feature(feature).is_none();
        let went_without = known.is_some() && noted != Model::there(account, feature);
        let rests = self.is_other(feature) || is_gone && went_without;
        let level = if rests { 0 } else { page.book.used() };
        // What rests from the beginning is listed with nothing.
        let is_listed = known.is_some() || page.book.used() == 0;
        if page.book.limit != "level" || noted == level && is_listed {
            return;
        }
        let mut tally = known.unwrap_or_else(|| {
            let (by, months) = self.measure(feature).unwrap_or((BilledBy::Average, 1));
            let (start, end) = Model::months_from(account, months, now);
            let (changes, closed, rests_from) = (Vec::new(), Vec::new(), None);
            Tally { changes, rests_from, start, end, by, months, closed }
        });
        self.roll(account, feature, &mut tally, now);
        tally.change(now, level);
        account.tallies.insert(feature.clone(), tally);
    }

    /// Whether the catalog has something of another kind under the name.
    fn is_other(&self, feature: &str) -> bool {
        self.feature(feature).is_some() && self.measure(feature).is_none()
    }

    /// What is counted of an allocation, at rest or not.
    fn there(account: &Account, feature: &str) -> u128 {
        let is_it = |book: &&Book| book.feature == feature && book.limit == "level";
        account.books.iter().find(is_it).map_or(0, Book::used)
    }

    /// Lets levels rest that are of no allocation any more, and begins again with those that are. What is over
    /// by now ended under the rules of before.
    pub(crate) fn follow_kinds(&mut self, before: &Model, now: i64) {
        for id in self.account_names() {
            let mut account = self.accounts[&id].clone();
            for (feature, mut tally) in account.tallies.clone() {
                let there = Model::there(&account, &feature);
                let level = match self.feature(&feature) {
                    None => continue,
                    Some(_) if self.is_other(&feature) => 0,
                    Some(_) => there,
                };
                if tally.level() == level {
                    continue;
                }
                self.met.insert(if level == 0 { "a level rests" } else { "a level came back" });
                if tally.end <= now && !tally.is_idle(&feature) {
                    before.roll(&account, &feature, &mut tally, now);
                }
                self.roll(&account, &feature, &mut tally, now);
                tally.change(now, level);
                account.tallies.insert(feature, tally);
            }
            self.accounts.insert(id, account);
        }
    }

    /// What is billed of a feature as it is.
    pub fn billed_level(&self, id: &str, feature: &str) -> Option<u128> {
        self.accounts.get(id)?.tallies.get(feature).map(Tally::level)
    }

    /// Notes what became of a level in a step whose other records were lost.
    pub fn know_level(&mut self, id: &str, feature: &str, level: u64, now: i64) {
        let Some(mut account) = self.accounts.get(id).cloned() else { return };
        let Some(mut tally) = account.tallies.get(feature).cloned() else { return };
        if tally.level() != u128::from(level) {
            self.roll(&account, feature, &mut tally, now);
            tally.change(now, level.into());
            account.tallies.insert(feature.to_owned(), tally);
            self.accounts.insert(id.to_owned(), account);
        }
    }

    /// The billing window of now, as it is so far.
    fn bill_now(&self, account: &Account, feature: &str, now: i64) -> Option<Bill> {
        let mut tally = account.tallies.get(feature)?.clone();
        self.roll(account, feature, &mut tally, now);
        Some(tally.bill(feature, now))
    }

    /// A page as an answer shows it.
    pub(crate) fn shown(&self, account: &Account, page: &Page) -> LimitAnswer {
        let answer = page.answer();
        if !page.limit.is_level() {
            return answer;
        }
        let bill = self.bill_now(account, &page.book.feature, page.now);
        let billed = bill.map_or(0, |bill| bill.billed);
        let terms = &page.limit.terms;
        LimitAnswer {
            billed: Some(billed),
            overage: terms.overage(billed),
            cost: terms.cost(billed),
            ..answer
        }
    }

    /// The billing windows of an account that are open, as they are so far.
    pub fn open_bills(&self, account: &str, now: i64) -> Option<Vec<Bill>> {
        let mut account = self.with_charges(self.accounts.get(account)?, now);
        self.roll_levels(&mut account, now);
        Some(account.tallies.iter().map(|(feature, tally)| tally.bill(feature, now)).collect())
    }

    /// The billing windows that are over.
    pub fn closed_bills(&self, account: &str, now: i64) -> Vec<Bill> {
        let Some(account) = self.accounts.get(account) else { return Vec::new() };
        let mut account = self.with_charges(account, now);
        self.roll_levels(&mut account, now);
        let mut bills: Vec<Bill> =
            account.tallies.values().flat_map(|tally| tally.closed.clone()).collect();
        bills.sort();
        bills
    }

    /// The ends of billing windows.
    pub(crate) fn bill_edges(account: &Account) -> impl Iterator<Item = i64> {
        account.tallies.values().map(|tally| tally.end)
    }

    /// Whether a billing window has ended in which there was something.
    pub(crate) fn waits_for_bills(account: &Account, now: i64) -> bool {
        let mut tallies = account.tallies.iter();
        tallies.any(|(feature, tally)| tally.end <= now && !tally.is_idle(feature))
    }

    /// Changes the level of an allocation.
    pub(crate) fn allocate(
        &mut self,
        id: &str,
        account: &mut Account,
        feature: &str,
        change: LevelChange,
        now: i64,
    ) -> Result<Done, OpError> {
        let kind = match self.feature(feature).map(|known| &known.kind) {
            // Nobody knows it, and whoever is suspended hears of that.
            None => {
                let op = FeatureOp::Consume { units: 1 };
                return self.use_feature(id, account, feature, op, now);
            }
            Some(FeatureKindSpec::Allocation { .. }) => "",
            Some(FeatureKindSpec::Switch) => "switch",
            Some(FeatureKindSpec::Config) => "config",
            Some(FeatureKindSpec::Quota { .. }) => "quota",
            Some(FeatureKindSpec::Concurrency { .. }) => "concurrency",
            Some(FeatureKindSpec::Rate { .. }) => "rate",
            Some(FeatureKindSpec::Credits { .. }) => "credits",
            Some(FeatureKindSpec::Seats { .. }) => "seats",
        };
        if !kind.is_empty() {
            return Err(OpError::NoLevel { kind });
        }
        let there = account.tallies.get(feature).map_or(0, Tally::level);
        let there = u64::try_from(there).expect("a count");
        let (op, less) = match change {
            LevelChange::Add { units } => (Some(FeatureOp::Consume { units }), 0),
            LevelChange::Remove { units } => (None, units),
            LevelChange::Set { units } if units > there => {
                self.met.insert("a level set higher");
                (Some(FeatureOp::Consume { units: units - there }), 0)
            }
            LevelChange::Report { units } if units > there => {
                self.met.insert("a level reported higher");
                (Some(FeatureOp::Record { units: units - there }), 0)
            }
            LevelChange::Set { units } | LevelChange::Report { units } => (None, there - units),
        };
        if let Some(op) = op {
            return self.use_feature(id, account, feature, op, now);
        }
        let (limit, origin) = match self.entitled(account, feature, now) {
            (Entitled::Limits(limits), origin) => (limits[0].clone(), origin),
            _ => (self.bare(feature)[0].clone(), Origin::None),
        };
        let mut page = self.page(account, feature, &limit, now);
        let taken = less.min(there);
        if taken > 0 {
            let (used, debt) = (page.book.used(), page.book.debt());
            page.book.undone.push((taken, debt.min(u128::from(taken))));
            if debt > 0 {
                self.met.insert("debt that went away");
            }
            self.arm_again(&mut page, used);
            self.keep(account, &mut page);
        }
        page.verdict = page.stands();
        let (lowered, clamped) = (taken > 0, taken < less);
        for (what, met) in [("a level lowered", lowered), ("a level clamped", clamped)] {
            if met {
                self.met.insert(what);
            }
        }
        let amounts = Amounts { units: taken, lowered, clamped, ..Amounts::default() };
        Ok(Done { amounts, ..self.done(account, feature, origin, &[page], now) })
    }

    /// What was said is forgotten when the level falls below three quarters of what it was about.
    pub(crate) fn arm_again(&mut self, page: &mut Page, before: u128) {
        if page.limit.is_level() || page.limit.is_seats() {
            self.fall(page, before);
        }
    }

    /// The same of whatever goes down.
    pub(crate) fn fall(&mut self, page: &mut Page, before: u128) {
        let Some(included) = page.limit.terms.included() else { return };
        let soft_bp = page.limit.terms.soft_bp.clone();
        let after = page.watched();
        let count = page.book.said.len();
        page.book.said.retain(|said| {
            let bp = match said {
                // Those of claimed seats are looked at elsewhere.
                Said::Soft(place) if soft_bp.len() <= *place => return true,
                Said::Soft(place) => soft_bp[*place],
                Said::Reached | Said::Hit => 10_000,
            };
            let below = |units: u128| units * 40_000 < included * u128::from(bp) * 3;
            !below(after) || below(before)
        });
        if page.book.said.len() < count {
            page.book.revision = page.book.revision.saturating_add(1);
            self.met.insert("a level armed again");
        }
    }
}

/// By feature.
pub(crate) type Tallies = BTreeMap<String, Tally>;
