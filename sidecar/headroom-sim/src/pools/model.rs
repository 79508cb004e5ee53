//! A pool in which every credit is a coin of its own, and every instant is lived through.

use std::collections::BTreeMap;

use headroom_core::credits::{CreditPrice, PoolTerms, Rounding};
use headroom_core::decision::Denial;
use headroom_core::limits::GRANTS_PER_REQUEST_MAX;
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;
use jiff::tz::TimeZone;

use crate::civil::{self, FOREVER};

/// A single credit. Coins are spent in the order of their fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Coin {
    priority: u8,
    expires: i64,
    since: i64,
    grant: String,
}

/// A grant that somebody gave.
#[derive(Debug, Clone)]
struct Given {
    coin: Coin,
    units: u64,
    starts: i64,
    begun: bool,
    void: bool,
}

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

/// What a write took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Took {
    pub(super) units: u64,
    pub(super) paid: Vec<(String, u64)>,
    pub(super) owed: u64,
    pub(super) returned: u64,
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
    pub(super) rule: WindowRule,
    pub(super) price: CreditPrice,
    /// What the account has bought by now.
    pub(super) terms: PoolTerms,
    anchor: i64,
    window: (i64, i64),
    included: u64,
    /// What an included coin of this window is like, once there was one.
    planned: Option<Coin>,
    pub(super) coins: Vec<Coin>,
    spent: Vec<Coin>,
    pub(super) owed: u64,
    pub(super) used: u64,
    given: BTreeMap<String, Given>,
    pub(super) holds: BTreeMap<u64, Hold>,
    /// Every change of the balance, and when.
    pub(super) changes: Vec<(i64, i64)>,
    pub(super) burnt: u64,
}

impl Pool {
    pub(super) fn new(rule: WindowRule, price: CreditPrice, terms: PoolTerms, at: i64) -> Pool {
        let mut pool = Pool {
            rule,
            price,
            terms,
            anchor: at,
            window: civil::window(rule, at, &TimeZone::UTC, at),
            included: 0,
            planned: None,
            coins: Vec::new(),
            spent: Vec::new(),
            owed: 0,
            used: 0,
            given: BTreeMap::new(),
            holds: BTreeMap::new(),
            changes: Vec::new(),
            burnt: 0,
        };
        pool.follow(pool.terms.clone(), at);
        pool
    }

    pub(super) fn balance(&self) -> i64 {
        self.coins.len() as i64 - self.owed as i64
    }

    pub(super) fn held(&self) -> u64 {
        self.holds.values().filter(|hold| !hold.ended).map(|hold| hold.credits).sum()
    }

    /// What each grant has left.
    pub(super) fn left(&self) -> BTreeMap<String, u64> {
        let mut left = BTreeMap::new();
        for coin in &self.coins {
            *left.entry(coin.grant.clone()).or_default() += 1;
        }
        left
    }

    /// The next instants at which something happens.
    pub(super) fn edges(&self) -> Vec<i64> {
        let coins = self.coins.iter().map(|coin| coin.expires);
        let waiting = self.given.values().filter(|given| !given.begun && !given.void);
        let holds = self.holds.values().filter(|hold| !hold.ended).map(|hold| hold.expires);
        let all = coins.chain(waiting.map(|given| given.starts)).chain(holds);
        all.chain([self.window.1]).filter(|at| *at != FOREVER).collect()
    }

    /// Lives through all instants up to `now`.
    pub(super) fn live(&mut self, now: i64) {
        while let Some(at) = self.edges().into_iter().min().filter(|at| *at <= now) {
            self.at(at);
        }
    }

    fn at(&mut self, at: i64) {
        let mut left_over = 0;
        let before = self.balance();
        let over = self.window.1 <= at;
        let mut came = false;
        let (gone, kept) =
            std::mem::take(&mut self.coins).into_iter().partition(|c| c.expires <= at);
        self.coins = kept;
        let gone: Vec<Coin> = gone;
        left_over += gone.iter().filter(|coin| coin.grant.contains('@')).count() as u64;
        if over {
            self.spent.retain(|coin| !coin.grant.contains('@'));
            let (start, end) = civil::window(self.rule, self.anchor, &TimeZone::UTC, at);
            self.window = (start.max(self.window.1), end);
            (self.used, self.included) = (0, self.terms.included_units);
            let mut rolls = left_over;
            if rolls < self.terms.rollover_min_units {
                rolls = self.terms.rollover_min_units;
            }
            if rolls > self.terms.rollover_max_units {
                rolls = self.terms.rollover_max_units;
            }
            let (rolled, planned) = (self.coin("rolled_over@"), self.coin("included@"));
            self.coins.extend((0..rolls).map(|_| rolled.clone()));
            self.coins.extend((0..self.included).map(|_| planned.clone()));
            self.planned = (self.included > 0).then_some(planned);
            came = true;
        }
        self.spent.retain(|coin| coin.expires > at);
        for given in self.given.values_mut() {
            if !given.begun && !given.void && given.starts <= at {
                given.begun = true;
                came = true;
                self.coins.extend((0..given.units).map(|_| given.coin.clone()));
            }
        }
        if came {
            self.pay_back();
        }
        self.note(at, before);
        let due: Vec<u64> = self
            .holds
            .iter()
            .filter(|(_, hold)| !hold.ended && hold.expires <= at)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let hold = self.holds.get_mut(&id).expect("just found");
            hold.ended = true;
            if hold.charging && hold.units > 0 {
                hold.charged = hold.credits;
                let credits = hold.credits;
                self.burn(credits, at);
            }
        }
    }

    fn coin(&self, word: &str) -> Coin {
        let (start, end) = self.window;
        let grant = format!("{word}{}", Millis(start));
        Coin { priority: self.terms.priority, expires: end, since: start, grant }
    }

    fn note(&mut self, at: i64, before: i64) {
        if self.balance() != before {
            self.changes.push((at, self.balance() - before));
        }
    }

    /// Units have come.
    fn pay_back(&mut self) {
        if self.terms.forgives_debt {
            self.owed = 0;
        }
        self.coins.sort();
        while self.owed > 0 && !self.coins.is_empty() {
            self.spent.push(self.coins.remove(0));
            self.owed -= 1;
        }
        if self.window.1 == FOREVER {
            self.used = 0;
        }
    }

    /// The account has bought something else.
    pub(super) fn follow(&mut self, terms: PoolTerms, at: i64) {
        let before = self.balance();
        self.terms = terms;
        let now = self.terms.included_units;
        let is_included = |coin: &Coin| coin.grant.starts_with("included@");
        let burnt = self.spent.iter().filter(|coin| is_included(coin)).count() as u64;
        let had = self.coins.iter().filter(|coin| is_included(coin)).count() as u64;
        let has = if now > burnt { now - burnt } else { 0 };
        if now != self.included {
            self.included = now;
            let sample = self.planned.clone().unwrap_or_else(|| self.coin("included@"));
            self.planned = Some(sample.clone());
            self.coins.retain(|coin| !is_included(coin));
            self.coins.extend((0..has).map(|_| sample.clone()));
            if has > had {
                self.pay_back();
            }
        }
        self.note(at, before);
    }

    pub(super) fn grant(
        &mut self,
        id: &str,
        (units, priority): (u64, u8),
        (starts, expires): (Option<i64>, i64),
        now: i64,
    ) -> bool {
        if let Some(known) = self.given.get(id) {
            // The same again is the same grant.
            let coin = (known.coin.priority, known.coin.expires);
            let begins = starts.unwrap_or(known.coin.since);
            return (known.units, known.starts, coin) == (units, begins, (priority, expires));
        }
        let starts = starts.unwrap_or(now);
        if expires <= starts.max(now) {
            return false;
        }
        let before = self.balance();
        let coin = Coin { priority, expires, since: now, grant: id.to_owned() };
        let begun = starts <= now;
        if begun {
            self.coins.extend((0..units).map(|_| coin.clone()));
            self.pay_back();
        }
        self.given.insert(id.to_owned(), Given { coin, units, starts, begun, void: false });
        self.note(now, before);
        true
    }

    pub(super) fn void(&mut self, id: &str, now: i64) -> bool {
        let before = self.balance();
        let Some(given) = self.given.get_mut(id) else { return false };
        // One that is used up has ended, and stays as it is.
        let is_left = !given.begun || self.coins.iter().any(|coin| coin.grant == id);
        if is_left {
            given.void = true;
            self.coins.retain(|coin| coin.grant != id);
            self.spent.retain(|coin| coin.grant != id);
        }
        self.note(now, before);
        true
    }

    pub(super) fn cost(&self, images: bool, units: u64) -> u64 {
        if !images {
            return units;
        }
        // So many whole credits are in it, and so much is over.
        let (mut rest, mut whole) = (units * self.price.credits, 0);
        while rest >= self.price.per {
            rest -= self.price.per;
            whole += 1;
        }
        let more = match self.price.rounding {
            Rounding::Down => false,
            Rounding::Up => rest > 0,
            Rounding::Nearest => rest + rest >= self.price.per,
        };
        whole + u64::from(more)
    }

    pub(super) fn drawable(&self) -> i64 {
        self.balance() + self.terms.overdraft_units as i64 - self.held() as i64
    }

    pub(super) fn asks(&self, credits: u64, takes: bool) -> Result<(), No> {
        if credits > 0 && credits as i64 > self.drawable() {
            let exists = credits as i64 <= self.drawable() + self.held() as i64;
            let denial = if exists { Denial::InFlight } else { Denial::CreditsExhausted };
            return Err(No::Denied(denial));
        }
        let mut coins = self.coins.clone();
        coins.sort();
        let mut grants: Vec<String> = coins
            .into_iter()
            .take(usize::try_from(credits).expect("few"))
            .map(|coin| coin.grant)
            .collect();
        grants.dedup();
        if takes && grants.len() > GRANTS_PER_REQUEST_MAX {
            return Err(No::TooManyGrants);
        }
        Ok(())
    }

    pub(super) fn burn(&mut self, credits: u64, now: i64) -> Took {
        let before = self.balance();
        let mut took = Took { units: credits, ..Took::default() };
        self.coins.sort();
        for _ in 0..credits {
            if self.coins.is_empty() {
                took.owed += 1;
                continue;
            }
            let coin = self.coins.remove(0);
            match took.paid.last_mut() {
                Some((grant, units)) if *grant == coin.grant => *units += 1,
                _ => took.paid.push((coin.grant.clone(), 1)),
            }
            self.spent.push(coin);
        }
        self.owed += took.owed;
        self.used += credits;
        self.burnt += credits;
        self.note(now, before);
        took
    }

    /// Credits that were burnt at an instant come back.
    pub(super) fn unburn(&mut self, credits: u64, burnt_at: i64, now: i64) -> Took {
        let before = self.balance();
        self.spent.retain(|coin| now < coin.expires);
        let mut rest = credits;
        while rest > 0 && self.owed > 0 {
            self.owed -= 1;
            rest -= 1;
        }
        while rest > 0 && self.last_back() {
            rest -= 1;
        }
        self.cap_included();
        let (start, end) = self.window;
        if start <= burnt_at && burnt_at < end {
            self.used = self.used.saturating_sub(credits);
        }
        let returned = (self.balance() - before).unsigned_abs();
        self.note(now, before);
        Took { returned, ..Took::default() }
    }

    /// The coin that burns last comes back. Whether there was one.
    fn last_back(&mut self) -> bool {
        self.spent.sort();
        let Some(coin) = self.spent.pop() else { return false };
        self.coins.push(coin);
        true
    }

    /// Where the plan includes less by now, what was burnt above it does not come back.
    fn cap_included(&mut self) {
        let is_included = |coin: &&Coin| coin.grant.starts_with("included@");
        let burnt = self.spent.iter().filter(is_included).count() as u64;
        let most = self.included.saturating_sub(burnt);
        let mut kept = 0;
        self.coins.retain(|coin| {
            kept += u64::from(is_included(&coin));
            !is_included(&coin) || kept <= most
        });
    }

    /// Whether a grant can still be drawn from, or could if it had anything left.
    fn lives(&self, grant: &str, now: i64) -> bool {
        let planned = |word| grant == self.coin(word).grant;
        match self.given.get(grant) {
            Some(given) => given.begun && !given.void && now < given.coin.expires,
            None => planned("included@") || planned("rolled_over@"),
        }
    }

    /// Coins that an event was paid with come back, one by one: each says its grant, if one paid it, and when
    /// that was.
    pub(super) fn refund(&mut self, coins: &[(Option<String>, i64)], now: i64) -> Took {
        let before = self.balance();
        self.spent.retain(|coin| now < coin.expires);
        for (grant, at) in coins {
            let own = |coin: &Coin| grant.as_ref() == Some(&coin.grant);
            if self.owed > 0 {
                self.owed -= 1;
            } else if let Some(place) = self.spent.iter().position(own) {
                let coin = self.spent.remove(place);
                self.coins.push(coin);
            } else if grant.as_ref().is_none_or(|grant| self.lives(grant, now)) {
                self.last_back();
            }
            let (start, end) = self.window;
            if start <= *at && *at < end {
                self.used = self.used.saturating_sub(1);
            }
        }
        self.cap_included();
        let returned = (self.balance() - before).unsigned_abs();
        self.note(now, before);
        Took { returned, ..Took::default() }
    }
}
