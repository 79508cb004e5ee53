//! Holds whose end is a charge, in the model: a use like any other, at the instant of the end.

use headroom_core::resolve::Origin;

use super::page::Page;
use super::plan::Entitled;
use super::spread::within;
use super::{Account, Limit, Model};

impl Model {
    /// The count of the hold that is to be charged next, and when it ended.
    pub(crate) fn next_charge(account: &Account, now: i64) -> Option<(i64, u32)> {
        let waits = account.holds.iter().filter(|(_, hold)| {
            hold.charging && hold.charged.is_none() && hold.outcome.is_none() && hold.units > 0
        });
        let ended = waits.map(|(count, hold)| (hold.expires_at, *count));
        ended.filter(|(at, _)| *at <= now).min()
    }

    /// Charges the holds that have ended, one after the other.
    pub(crate) fn charge_ended(&mut self, id: &str, account: &mut Account, now: i64) {
        self.turn(account, now);
        self.expire_seats(account, now);
        let mut since = account.settled_at;
        loop {
            let (charge, end) = (Model::next_charge(account, now), Model::next_end(account, now));
            if let Some((end, place)) = end
                && charge.is_none_or(|(at, _)| end <= at)
            {
                let met = self.end_window(account, place, now);
                self.met.extend(met);
                continue;
            }
            let Some((at, count)) = charge else { break };
            self.met.insert("a charge at the end of a hold");
            self.bring_pools(id, account, (since, at));
            since = at;
            let feature = account.holds[&count].feature.clone();
            let (limits, _) = match self.entitled(account, &feature, at) {
                (Entitled::Limits(limits), origin) => (limits, origin),
                _ => (Vec::new(), Origin::None),
            };
            self.charge_one(id, account, &limits, count, at);
            self.charge_credits(id, account, count, at);
            for name in account.holds[&count].levels.clone() {
                let told = self.told.clone();
                let limits = self.level_limits(account, (&feature, &name), at);
                let limits: Vec<Limit> = limits.into_iter().map(|(_, limit)| limit).collect();
                let mut inner = Model::inner(account, &name);
                self.charge_one(id, &mut inner, &limits, count, at);
                account.subjects.insert(name, inner);
                self.told = told;
            }
        }
        self.bring_pools(id, account, (since, now));
    }

    fn charge_one(
        &mut self,
        id: &str,
        account: &mut Account,
        limits: &[Limit],
        count: u32,
        at: i64,
    ) {
        let mut held = account.holds[&count].clone();
        let pages = self.held_pages(limits, account, &held, at);
        self.note_gone(&pages);
        if !pages.is_empty() {
            let here = within(&pages, at);
            self.spread(account, (&held.feature, None), here, held.units.into());
        }
        for mut page in pages {
            let previous = page.used();
            page.book_units(held.units, 0);
            self.announce_use(id, account, &mut page, previous, at);
            self.keep(account, &mut page);
        }
        held.charged = Some(held.units);
        account.holds.insert(count, held);
    }

    /// The account as it is when its ended holds are charged, though nobody has looked yet.
    pub(crate) fn with_charges(&self, account: &Account, now: i64) -> Account {
        let mut account = account.clone();
        let waits = account.has_turned(now) || Model::waits_for_seats(&account, now);
        let waits = waits || Model::has_due_pools(&account, now);
        let ends = Model::next_end(&account, now).is_some();
        if waits || ends || Model::next_charge(&account, now).is_some() {
            // What is said of it is said when somebody looks.
            self.clone().charge_ended("", &mut account, now);
        }
        account
    }

    /// Takes a charge back, or a part of it: it was not used. Debt that is not above the limit without
    /// it was none.
    pub(crate) fn undo(&mut self, page: &mut Page, units: u64) {
        if units == 0 {
            return;
        }
        self.met.insert("a charge taken back");
        let before = page.book.used();
        // A correction may have taken off more than was counted besides.
        let units = u64::try_from(page.book.used()).expect("a count").min(units);
        let others = page.debt() - page.book.debt();
        // A level may have fallen below it meanwhile.
        let there = u64::try_from(page.book.used()).expect("at most COUNT_MAX");
        page.book.undone.push((units.min(there), 0));
        let above = match page.ceiling() {
            Some(ceiling) if page.used() > ceiling => page.used() - ceiling,
            _ => 0,
        };
        let whole = others + page.book.debt();
        let beside = whole - whole.min(above);
        let forgiven = [u128::from(units), page.book.debt(), beside].into_iter().min();
        let forgiven = forgiven.expect("three of them");
        // There is no debt without units.
        let must = page.book.debt() - page.book.debt().min(page.book.used());
        page.book.undone.push((0, forgiven.max(must)));
        self.arm_again(page, before);
    }
}
