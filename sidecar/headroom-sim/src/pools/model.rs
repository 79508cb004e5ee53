//! What an account holds of the one pool, beside the coins themselves: which plan it has, and what
//! reservations hold.

use std::collections::BTreeMap;

use headroom_core::credits::{CreditPrice, PoolTerms};
use headroom_core::decision::Denial;
use headroom_core::window::WindowRule;
use jiff::tz::TimeZone;

use crate::civil::FOREVER;
use crate::coins::{self, Law};

/// What a reservation holds.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    /// Whether its units are images; else they are credits.
    pub(super) images: bool,
    pub(super) units: u64,
    pub(super) credits: u64,
    pub(super) expires: i64,
    pub(super) charging: bool,
    pub(super) charged: u64,
    pub(super) ended: bool,
    pub(super) settled: bool,
}

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    Denied(Denial),
    TooManyGrants,
}

/// The pool of one account.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    rule: WindowRule,
    price: CreditPrice,
    /// What the account has bought by now.
    terms: PoolTerms,
    anchor: i64,
    pub(super) coins: coins::Pool,
    pub(super) holds: BTreeMap<u64, Hold>,
}

impl Pool {
    pub(super) fn new(rule: WindowRule, price: CreditPrice, terms: PoolTerms, at: i64) -> Pool {
        let (coins, holds) = (coins::Pool::new("credits", at), BTreeMap::new());
        let mut pool = Pool { rule, price, terms, anchor: at, coins, holds };
        pool.live(at);
        pool
    }

    pub(super) fn held(&self) -> u64 {
        self.holds.values().filter(|hold| !hold.ended).map(|hold| hold.credits).sum()
    }

    /// The next instants at which something happens.
    pub(super) fn edges(&self) -> Vec<i64> {
        let holds = self.holds.values().filter(|hold| !hold.ended).map(|hold| hold.expires);
        self.coins.edges().chain(holds).collect()
    }

    /// Lives through all instants up to `now`.
    pub(super) fn live(&mut self, now: i64) {
        while let Some(at) = self.edges().into_iter().min().filter(|at| *at <= now) {
            self.coins_live(at);
            self.end_holds(at, false);
            self.coins_live(at);
            while self.end_holds(at, true) {
                self.coins_live(at);
            }
        }
        self.coins_live(now);
    }

    fn coins_live(&mut self, at: i64) {
        let terms = |_| Some(self.terms.clone());
        let (rule, anchor) = (Some(self.rule), self.anchor);
        // Nothing is bought ahead here.
        let turns = |_| FOREVER;
        let (zone, held) = (&TimeZone::UTC, self.held());
        // The holds that end are ended by its owner.
        let (held, ends) = (&|_| held, &[][..]);
        self.coins.live(&Law { rule, anchor, zone, terms: &terms, turns: &turns, held, ends }, at);
    }

    /// Ends all holds whose end is no charge, or one of the others. Whether there was one.
    fn end_holds(&mut self, at: i64, charging: bool) -> bool {
        let is_due = |hold: &&mut Hold| {
            !hold.ended && hold.expires <= at && (hold.charging && hold.units > 0) == charging
        };
        let mut due = self.holds.values_mut().filter(is_due);
        if charging {
            let Some(hold) = due.next() else { return false };
            (hold.ended, hold.charged) = (true, hold.credits);
            let credits = hold.credits;
            self.coins.burn(credits, at);
            return true;
        }
        due.for_each(|hold| hold.ended = true);
        false
    }

    /// The account has bought something else.
    pub(super) fn follow(&mut self, terms: PoolTerms, at: i64) {
        self.terms = terms;
        self.coins_live(at);
    }

    pub(super) fn cost(&self, images: bool, units: u64) -> u64 {
        if images { coins::cost(self.price, units) } else { units }
    }

    pub(super) fn price(&self, images: bool) -> CreditPrice {
        if images { self.price } else { CreditPrice::ITSELF }
    }

    pub(super) fn asks(&self, credits: u64, takes: bool) -> Result<(), No> {
        if let Some(denial) = self.coins.denial(credits, self.held()) {
            return Err(No::Denied(denial));
        }
        match self.coins.too_many_grants(credits) {
            Some(_) if takes => Err(No::TooManyGrants),
            _ => Ok(()),
        }
    }
}
