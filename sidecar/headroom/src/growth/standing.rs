//! Accounts by how much speaks for them, and whether the gate is any good.
//!
//! All of it is worked out when it is asked for, from the facts of that moment, account by account: some
//! ten microseconds each, for a thread that may wait.

use std::collections::BTreeMap;

use headroom_core::account::Profile;
use headroom_core::catalog::{Catalog, PricePeriod};
use headroom_core::time::Millis;
use headroom_engine::digest::after_prefix;
use headroom_engine::engine::AccountId;
use headroom_engine::ports::{ArchiveError, Table};
use headroom_expansion::days::{Day, Days};
use headroom_expansion::gate::{self, Readiness};
use headroom_expansion::score::{self, Score};

use super::{Growth, rows};

/// Accounts looked at between two looks at the list of all.
const PAGE_ACCOUNTS: usize = 1_024;

/// Days of scores that are told of an account.
pub const SCORES_TOLD: usize = 400;

/// Upgrades that a report looks at: the earliest of them.
const UPGRADES_MAX: usize = 1_000_000;

/// What accounts are put in order by: the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The score of a product-qualified lead.
    Pql,
    /// The score of an opportunity.
    Opportunity,
    /// What else the account could buy.
    WhiteSpace,
    /// How many different signals came in the last 30 days.
    LiveSignals,
}

/// How an account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its id.
    pub account: AccountId,
    /// Whether it is ready.
    pub readiness: Readiness,
    /// The score of a product-qualified lead.
    pub pql: Score,
    /// The score of an opportunity.
    pub opportunity: Score,
    /// What else the account could buy.
    pub white_space: Score,
    /// The signals that came in the last 30 days, and when.
    pub live: Vec<(String, Days)>,
}

/// What is to be known of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GateReport {
    /// Accounts, and those that pass, by segment.
    pub segments: BTreeMap<String, (u64, u64)>,
    /// How many accounts each condition and each risk flag holds.
    pub held_by: BTreeMap<String, u64>,
    /// Of how many accounts each fact is missing.
    pub missing: BTreeMap<String, u64>,
    /// Upgrades since the instant that was asked for, and those of accounts that had passed before.
    pub upgrades: (u64, u64),
}

impl GateReport {
    /// All accounts, and those that pass.
    pub fn accounts(&self) -> (u64, u64) {
        self.segments
            .values()
            .fold((0, 0), |(all, pass), (more, passed)| (all + more, pass + passed))
    }
}

impl Growth {
    /// How an account stands. Nothing: it is not known.
    pub fn standing(&self, account: &str, at: Millis) -> Option<Standing> {
        let serial = self.engine.serial(account)?;
        let account = self.engine.account_id(serial)?;
        Some(self.standing_of(serial, &account, at))
    }

    fn standing_of(&self, serial: u32, account: &AccountId, at: Millis) -> Standing {
        let terms = self.terms.load();
        let (facts, live) = {
            let book = self.book();
            let live = book.live(serial, Day::of(at)).map(|(name, days)| (name.to_owned(), days));
            (self.facts_in(&book, &terms, serial, at), live.collect())
        };
        Standing {
            account: account.clone(),
            readiness: gate::readiness(&terms, &facts),
            pql: score::score(&terms.pql, &facts),
            opportunity: score::score(&terms.opportunity, &facts),
            white_space: score::score(&terms.white_space, &facts),
            live,
        }
    }

    /// The scores of an account by day, as they were when its signals came: the latest
    /// [`SCORES_TOLD`], ascending, in tenths of points. A day without a change has none.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn scores(&self, account: &str) -> Result<Vec<(Day, u32)>, ArchiveError> {
        let Some(serial) = self.engine.serial(account) else { return Ok(Vec::new()) };
        let from = rows::scores(serial);
        let found =
            self.archive.range(Table::Growth, &from, &after_prefix(&from), SCORES_TOLD * 10)?;
        let mut scores: Vec<_> =
            found.iter().filter_map(|(key, value)| rows::score_of(key, value)).collect();
        scores.drain(..scores.len().saturating_sub(SCORES_TOLD));
        Ok(scores)
    }

    /// Accounts in an order, those with the same in the order they were first seen: `count` of them
    /// after the first `skip`.
    pub fn ranked(&self, order: Order, skip: usize, count: usize, at: Millis) -> Vec<Standing> {
        let mut ranks: Vec<(u64, u32)> = Vec::new();
        self.each_account(|serial, account| {
            let standing = self.standing_of(serial, account, at);
            ranks.push((standing.rank(order), serial));
        });
        ranks.sort_unstable_by_key(|(rank, serial)| (u64::MAX - rank, *serial));
        let wanted = ranks.into_iter().skip(skip).take(count);
        wanted
            .filter_map(|(_, serial)| {
                let account = self.engine.account_id(serial)?;
                Some(self.standing_of(serial, &account, at))
            })
            .collect()
    }

    pub(super) fn each_account(&self, mut look: impl FnMut(u32, &AccountId)) {
        let mut from = 0;
        loop {
            let page = self.engine.account_ids(from, PAGE_ACCOUNTS);
            let Some((last, _)) = page.last() else { return };
            from = last + 1;
            page.iter().for_each(|(serial, account)| look(*serial, account));
        }
    }

    /// What is to be known of the gate: of all accounts now, and of upgrades since an instant.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn gate_report(&self, since: Millis, at: Millis) -> Result<GateReport, ArchiveError> {
        let mut report = GateReport::default();
        let terms = self.terms.load();
        self.each_account(|serial, _| {
            let facts = self.facts_in(&self.book(), &terms, serial, at);
            report.add(&gate::readiness(&terms, &facts));
        });
        let to = after_prefix(&[rows::UPGRADE]);
        let found =
            self.archive.range(Table::Growth, &rows::upgrades_since(since), &to, UPGRADES_MAX)?;
        let passed = found.iter().filter(|(_, value)| value.first() == Some(&1)).count();
        report.upgrades = (found.len() as u64, passed as u64);
        Ok(report)
    }
}

impl Standing {
    fn rank(&self, order: Order) -> u64 {
        match order {
            Order::Pql => self.pql.points_tenths.into(),
            Order::Opportunity => self.opportunity.points_tenths.into(),
            Order::WhiteSpace => self.white_space.points_tenths.into(),
            Order::LiveSignals => self.live.len() as u64,
        }
    }
}

impl GateReport {
    fn add(&mut self, readiness: &Readiness) {
        let (all, passed) = self.segments.entry(readiness.segment.clone()).or_default();
        *all += 1;
        *passed += u64::from(readiness.is_passed());
        let count = |counts: &mut BTreeMap<String, u64>, name: &str| {
            *counts.entry(name.to_owned()).or_default() += 1;
        };
        for failure in &readiness.failed {
            count(&mut self.held_by, &failure.fact);
            if failure.found.is_none() {
                count(&mut self.missing, &failure.fact);
            }
        }
        readiness.risks.iter().for_each(|risk| count(&mut self.held_by, risk));
        readiness.unknown.iter().for_each(|fact| count(&mut self.missing, fact));
    }
}

/// Whether an account bought more: a plan with a higher price, or more add-ons. A plan without a price,
/// or in another currency, cannot be compared.
pub(super) fn is_upgrade(catalog: &Catalog, before: &Profile, after: &Profile, at: Millis) -> bool {
    let price = |profile: &Profile| {
        let plan = catalog.plan(catalog.plan_of(profile.plan_at(at).0)?);
        let price = plan.price.as_ref()?;
        let times = match price.per {
            PricePeriod::Month => 12,
            PricePeriod::Year => 1,
        };
        Some((price.currency.clone(), u128::from(price.minor) * times))
    };
    if let (Some((of, before)), Some((to, after))) = (price(before), price(after))
        && of == to
        && before != after
    {
        return before < after;
    }
    let bought = |profile: &Profile| -> u64 {
        profile.addons().iter().map(|bought| u64::from(bought.quantity)).sum()
    };
    bought(before) < bought(after)
}
