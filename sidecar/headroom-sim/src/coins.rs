//! A pool of credits in which every credit is a coin of its own.
//!
//! It is the one pool of both naive models: of [`crate::model`], where it meets everything else, and of
//! [`crate::pools`], which go deeper into it alone. Coins are spent in the order of their fields, and who
//! wants to know how many there are counts them. What is owed is no coin but the lack of one: a number.

mod payment;
mod returns;

use std::collections::{BTreeMap, BTreeSet};

use headroom_core::credits::{CreditPrice, PoolTerms, Rounding};
use headroom_core::decide::GrantError;
use headroom_core::decision::{Denial, Verdict};
use headroom_core::limits::{GRANTS_PER_REQUEST_MAX, UNITS_MAX};
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;
use jiff::tz::TimeZone;

pub(crate) use payment::Payment;

use crate::civil::{self, FOREVER};
use crate::model::Said;

/// Windows that one who sleeps is followed through.
const FOLLOWED: usize = 1_000;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// What grant a coin is of. Their texts are in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Id {
    /// Somebody gave it.
    Given(u8),
    /// The plan includes it in the window that begins here.
    Included(i64),
    /// It was left of the window before.
    RolledOver(i64),
}

impl Id {
    /// As the engine writes it.
    pub(crate) fn text(self) -> String {
        match self {
            Id::Given(number) => format!("g{number:03}"),
            Id::Included(start) => format!("included@{}", Millis(start)),
            Id::RolledOver(start) => format!("rolled_over@{}", Millis(start)),
        }
    }

    fn is_given(self) -> bool {
        matches!(self, Id::Given(_))
    }
}

/// A single credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Coin {
    priority: u8,
    expires: i64,
    since: i64,
    grant: Id,
}

/// A grant that somebody gave.
#[derive(Debug, Clone, Copy)]
struct Given {
    coin: Coin,
    units: u64,
    starts: i64,
    begun: bool,
    void: bool,
}

/// What a write took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Took {
    /// The pool it took it from.
    pub(crate) pool: String,
    pub(crate) units: u64,
    pub(crate) paid: Vec<(Id, u64)>,
    pub(crate) owed: u64,
    pub(crate) returned: u64,
}

/// What catalog and subscription say of a pool.
pub(crate) struct Law<'a> {
    /// Its windows. `None`: the catalog has no such pool.
    pub(crate) rule: Option<WindowRule>,
    pub(crate) anchor: i64,
    pub(crate) zone: &'a TimeZone,
    /// What the account has bought at an instant. `None`: nothing.
    pub(crate) terms: &'a dyn Fn(i64) -> Option<PoolTerms>,
    /// When that may next change after an instant; [`FOREVER`] for never.
    pub(crate) turns: &'a dyn Fn(i64) -> i64,
    /// What reservations hold at an instant.
    pub(crate) held: &'a dyn Fn(i64) -> u64,
    /// When reservations end that are not charged by it.
    pub(crate) ends: &'a [i64],
}

/// What is announced of a pool.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) crossed_bp: Vec<u32>,
    pub(crate) hit: bool,
    pub(crate) before: BTreeSet<Said>,
}

/// The pool of one account.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) name: String,
    /// What the account has bought by now.
    pub(crate) terms: PoolTerms,
    /// The window. `None`: there was none under this catalog yet, or the pool left it.
    pub(crate) window: Option<(i64, i64)>,
    included: u64,
    /// Whether the catalog has it.
    ruled: bool,
    /// What an included coin of this window is like, once there was one.
    planned: Option<Coin>,
    coins: Vec<Coin>,
    spent: Vec<Coin>,
    pub(crate) owed: u64,
    pub(crate) used: u64,
    given: BTreeMap<Id, Given>,
    /// When what the account has bought may next change, of what nobody has seen.
    pub(crate) turn: i64,
    /// Until when it has been lived through.
    seen: i64,
    /// When the open end of the history begins.
    pub(crate) open_from: i64,
    /// What armed the thresholds in this window, and which they are.
    pub(crate) revision: u16,
    soft_bp: Option<Vec<u32>>,
    pub(crate) said: BTreeSet<Said>,
    /// Every change of the balance, and when.
    pub(crate) changes: Vec<(i64, i64)>,
    pub(crate) burnt: u64,
    /// What was burnt and not used, whatever has become of it.
    pub(crate) came_back: u64,
}

impl Pool {
    /// A pool that nobody has looked at.
    pub(crate) fn new(name: &str, at: i64) -> Pool {
        Pool {
            name: name.to_owned(),
            terms: PoolTerms::default(),
            window: None,
            included: 0,
            ruled: false,
            planned: None,
            coins: Vec::new(),
            spent: Vec::new(),
            owed: 0,
            used: 0,
            given: BTreeMap::new(),
            turn: FOREVER,
            seen: at,
            open_from: at,
            revision: 1,
            soft_bp: None,
            said: BTreeSet::new(),
            changes: Vec::new(),
            burnt: 0,
            came_back: 0,
        }
    }

    pub(crate) fn balance(&self) -> i64 {
        self.coins.len() as i64 - self.owed as i64
    }

    /// What was burnt and is there together.
    pub(crate) fn all(&self) -> u64 {
        u64::try_from(self.used as i64 + self.balance()).unwrap_or(0)
    }

    /// What each grant has left.
    pub(crate) fn left(&self) -> Vec<(String, u64)> {
        let mut left: BTreeMap<Id, u64> = BTreeMap::new();
        for coin in &self.coins {
            *left.entry(coin.grant).or_default() += 1;
        }
        let mut left: Vec<_> = left.into_iter().map(|(id, units)| (id.text(), units)).collect();
        left.sort();
        left
    }

    /// The next instants at which something happens.
    pub(crate) fn edges(&self) -> impl Iterator<Item = i64> {
        let coins = self.coins.iter().map(|coin| coin.expires);
        let ends = self.window.map(|(_, end)| end);
        coins.chain(self.waiting()).chain(ends).chain([self.turn]).filter(|at| *at != FOREVER)
    }

    /// When grants begin that have not yet.
    fn waiting(&self) -> impl Iterator<Item = i64> {
        let waiting = self.given.values().filter(|given| !given.begun && !given.void);
        waiting.map(|given| given.starts)
    }

    /// Whether grants wait for their time.
    pub(crate) fn awaits(&self) -> bool {
        self.waiting().next().is_some()
    }

    /// Whether something has happened by now that it does not know.
    pub(crate) fn is_due(&self, now: i64) -> bool {
        self.edges().any(|at| at <= now)
    }

    /// When units next come by time alone.
    pub(crate) fn fills_at(&self) -> Option<i64> {
        let ends = self.window.filter(|_| self.terms.included_units > 0).map(|(_, end)| end);
        self.waiting().chain(ends).min().filter(|at| *at != FOREVER)
    }

    /// When coins are next lost, and how many.
    pub(crate) fn next_expiry(&self) -> Option<(i64, u64)> {
        let at = self.coins.iter().map(|coin| coin.expires).min().filter(|at| *at != FOREVER)?;
        Some((at, self.coins.iter().filter(|coin| coin.expires == at).count() as u64))
    }

    // --- what time brings ---

    /// Lives through all instants up to `now`, and sees what the account has bought.
    pub(crate) fn live(&mut self, law: &Law<'_>, now: i64) {
        let mut windows = 0;
        let mut ends: Vec<i64> = law.ends.to_vec();
        ends.retain(|end| self.seen < *end && *end <= now);
        ends.sort_unstable();
        loop {
            let edge = self.edges().filter(|at| *at <= now).min();
            let end = ends.first().copied();
            if let Some(end) = end.filter(|end| edge.is_none_or(|edge| *end < edge)) {
                ends.remove(0);
                if self.window.is_some() {
                    self.follow(law, end);
                }
                continue;
            }
            let Some(at) = edge else { break };
            let is_over = self.is_over(at);
            windows += usize::from(is_over);
            let skips = is_over && windows > FOLLOWED;
            self.at(law, at, if skips { now } else { at });
            if skips {
                self.turn = (law.turns)(now);
            }
            if self.turn <= at {
                if self.window.is_some() {
                    self.follow(law, at);
                }
                self.turn = (law.turns)(at);
            }
        }
        self.leave_lifetime(law, now);
        self.follow(law, now);
        self.turn = (law.turns)(now);
        self.seen = now;
    }

    /// A window for life is over when the catalog says so: the coins that it has left are the account's.
    fn leave_lifetime(&mut self, law: &Law<'_>, now: i64) {
        let (Some(rule), Some((start, FOREVER))) = (law.rule, self.window) else { return };
        let (_, end) = civil::window(rule, law.anchor, law.zone, now);
        if end == FOREVER {
            return;
        }
        let before = self.balance();
        self.cut(now);
        if let Some(coin) = self.planned {
            // What was kept for holds is among them; what was burnt above the plan is not.
            let (units, starts, begun) = (self.brought(), start, true);
            self.given.insert(coin.grant, Given { coin, units, starts, begun, void: false });
        }
        self.terms = (law.terms)(now).unwrap_or_default();
        // The next one begins where it ends, and no window is without a millisecond.
        self.window = Some((start, now.max(start + 1)));
        self.begin(law, now, None);
        self.fill();
        self.note(now, before);
    }

    fn is_over(&self, at: i64) -> bool {
        self.window.is_some_and(|(_, end)| end <= at)
    }

    fn at(&mut self, law: &Law<'_>, at: i64, begins: i64) {
        let over = self.is_over(at);
        if over {
            self.follow(law, at - 1);
        }
        self.cut(at);
        let before = self.balance();
        let planned = self.included.saturating_sub(self.burnt_of_included());
        let (gone, kept): (Vec<Coin>, Vec<Coin>) = self.coins.iter().partition(|c| c.expires <= at);
        self.coins = kept;
        self.spent.retain(|coin| coin.expires > at);
        let mut came = over;
        if over {
            // What was kept for holds alone is not the plan's.
            let rolled = gone.iter().filter(|coin| matches!(coin.grant, Id::RolledOver(_)));
            let included = gone.iter().filter(|coin| self.is_included(coin)).count() as u64;
            let left_over = rolled.count() as u64 + included.min(planned);
            self.begin(law, begins, Some(left_over));
        }
        for given in self.given.values_mut() {
            if !given.begun && !given.void && given.starts <= at {
                given.begun = true;
                came = true;
                self.coins.extend((0..given.units).map(|_| given.coin));
            }
        }
        if came {
            self.terms = (law.terms)(at).unwrap_or_default();
            self.fill();
        }
        self.note(at, before);
        // More is there: what a plan that includes less has left for holds goes, as far as they need it no more.
        let is_less = self.terms.included_units < self.brought();
        if came && law.rule.is_some() && self.window.is_some() && is_less {
            self.follow(law, at);
        }
    }

    /// A window begins; the one before, if there was one, left so many coins over.
    fn begin(&mut self, law: &Law<'_>, at: i64, left_over: Option<u64>) {
        (self.planned, self.included) = (None, 0);
        let Some(rule) = law.rule else {
            self.window = None;
            return;
        };
        let (mut start, end) = civil::window(rule, law.anchor, law.zone, at);
        if let Some((_, last)) = self.window {
            start = start.max(last);
        } else if self.given.contains_key(&Id::Included(start)) {
            start = at;
        }
        self.window = Some((start, end));
        (self.used, self.revision) = (0, 1);
        self.said.clear();
        let Some(terms) = (law.terms)(at) else { return };
        if let Some(mut rolls) = left_over {
            if rolls < terms.rollover_min_units {
                rolls = terms.rollover_min_units;
            }
            if rolls > terms.rollover_max_units {
                rolls = terms.rollover_max_units;
            }
            let rolled = self.coin(Id::RolledOver(start), terms.priority);
            self.coins.extend((0..rolls).map(|_| rolled));
        }
        let planned = self.coin(Id::Included(start), terms.priority);
        self.included = terms.included_units;
        self.coins.extend((0..self.included).map(|_| planned));
        self.planned = (self.included > 0).then_some(planned);
    }

    fn coin(&self, grant: Id, priority: u8) -> Coin {
        let (since, expires) = self.window.expect("it has begun");
        Coin { priority, expires, since, grant }
    }

    /// Sees what the account has bought.
    pub(crate) fn follow(&mut self, law: &Law<'_>, at: i64) {
        let before = self.balance();
        let terms = (law.terms)(at);
        self.terms = terms.unwrap_or_default();
        self.ruled = law.rule.is_some();
        let now = self.terms.included_units;
        if law.rule.is_some() && self.window.is_none() {
            self.cut(at);
            self.begin(law, at, None);
            self.fill();
        } else if law.rule.is_some() && (now != self.included || self.keeps_more()) {
            self.include(now, (law.held)(at), at);
        }
        self.note(at, before);
        if self.soft_bp.as_ref() != Some(&self.terms.soft_limits_bp) {
            if self.soft_bp.is_some() {
                self.revision = self.revision.saturating_add(1);
            }
            self.soft_bp = Some(self.terms.soft_limits_bp.clone());
            self.said.clear();
        }
    }

    /// The plan includes another number than before: what was burnt stays burnt.
    fn include(&mut self, now: u64, held: u64, at: i64) {
        let start = self.window.expect("it has begun").0;
        let is_included = |coin: &Coin| coin.grant == Id::Included(start);
        let burnt = self.burnt_of_included();
        let had = self.coins.iter().filter(|coin| is_included(coin)).count() as u64;
        let mut has = if now > burnt { now - burnt } else { 0 };
        // One coin after the other goes, as long as what is held is still there.
        let mut there = self.balance() - had as i64 + has as i64;
        while has < had && there < held as i64 {
            (has, there) = (has + 1, there + 1);
        }
        if has != had || now != self.included {
            self.cut(at);
        }
        self.included = now;
        let usual = self.coin(Id::Included(start), self.terms.priority);
        let sample = *self.planned.get_or_insert(usual);
        self.coins.retain(|coin| !is_included(coin));
        self.coins.extend((0..has).map(|_| sample));
        if has > had {
            self.fill();
        }
    }

    fn is_included(&self, coin: &Coin) -> bool {
        self.window.is_some_and(|(start, _)| coin.grant == Id::Included(start))
    }

    fn burnt_of_included(&self) -> u64 {
        self.spent.iter().filter(|coin| self.is_included(coin)).count() as u64
    }

    fn left_of_included(&self) -> u64 {
        self.coins.iter().filter(|coin| self.is_included(coin)).count() as u64
    }

    /// Whether more is left than the plan included when it was last seen, because it is held.
    fn keeps_more(&self) -> bool {
        let left = self.left_of_included();
        left + self.burnt_of_included() > self.included && left > 0
    }

    /// What the plan has brought in this window: what it included when it was last seen, and what is kept besides.
    fn brought(&self) -> u64 {
        if self.keeps_more() {
            self.left_of_included() + self.burnt_of_included()
        } else {
            self.included
        }
    }

    fn cut(&mut self, at: i64) {
        if self.open_from < at {
            self.open_from = at;
        }
    }

    fn note(&mut self, at: i64, before: i64) {
        if self.balance() != before {
            self.changes.push((at, self.balance() - before));
        }
    }

    /// Units have come: they pay what is owed, and what is not passed any more is armed again.
    fn fill(&mut self) {
        if self.terms.forgives_debt {
            self.owed = 0;
        }
        self.coins.sort_unstable();
        while self.owed > 0 && !self.coins.is_empty() {
            self.spent.push(self.coins.remove(0));
            self.owed -= 1;
        }
        if self.window.is_none_or(|(_, end)| end == FOREVER) {
            self.used = 0;
        }
        let is_passed = |said: &Said| match said {
            Said::Soft(place) => {
                self.terms.soft_limits_bp.get(*place).is_some_and(|bp| self.is_past(*bp))
            }
            Said::Reached => self.is_past(10_000),
            Said::Hit => false,
        };
        let kept: BTreeSet<Said> =
            self.said.iter().filter(|said| is_passed(said)).copied().collect();
        if kept != self.said {
            self.said = kept;
            self.revision = self.revision.saturating_add(1);
        }
    }

    fn is_past(&self, bp: u32) -> bool {
        self.used > 0 && u128::from(self.used) * 10_000 >= u128::from(self.all()) * u128::from(bp)
    }

    // --- grants ---

    /// Makes a grant; false: it was there already.
    pub(crate) fn grant(
        &mut self,
        id: Id,
        (units, priority): (u64, u8),
        (starts, expires): (Option<i64>, i64),
        now: i64,
    ) -> Result<bool, GrantError> {
        if let Some(known) = self.given.get(&id) {
            // The same again is the same grant.
            let coin = (known.coin.priority, known.coin.expires);
            let begins = starts.unwrap_or(known.coin.since);
            let same = (known.units, known.starts, coin) == (units, begins, (priority, expires));
            return if same { Ok(false) } else { Err(GrantError::Differs) };
        }
        let starts = starts.unwrap_or(now);
        if expires <= starts.max(now) {
            return Err(GrantError::Over { expires_at: Millis(expires) });
        }
        let before = self.balance();
        let coin = Coin { priority, expires, since: now, grant: id };
        let begun = starts <= now;
        if begun {
            self.cut(now);
            self.coins.extend((0..units).map(|_| coin));
            self.fill();
        }
        self.given.insert(id, Given { coin, units, starts, begun, void: false });
        self.note(now, before);
        Ok(true)
    }

    /// Takes back what is left of a grant; false: it had ended.
    pub(crate) fn void(&mut self, id: Id, now: i64) -> Result<bool, GrantError> {
        let before = self.balance();
        let given = self.given.get_mut(&id).ok_or(GrantError::Unknown)?;
        // One that is used up has ended, and stays as it is.
        let is_left = !given.begun || self.coins.iter().any(|coin| coin.grant == id);
        if !is_left || given.void {
            return Ok(false);
        }
        given.void = true;
        self.cut(now);
        self.coins.retain(|coin| coin.grant != id);
        self.spent.retain(|coin| coin.grant != id);
        self.note(now, before);
        Ok(true)
    }

    // --- what is asked and taken ---

    /// What could be drawn beside what is held.
    pub(crate) fn drawable(&self, held: u64) -> u64 {
        let drawable = self.balance() + self.terms.overdraft_units as i64 - held as i64;
        u64::try_from(drawable).unwrap_or(0)
    }

    /// What stands against a charge.
    pub(crate) fn denial(&self, credits: u64, held: u64) -> Option<Denial> {
        if credits <= self.drawable(held) {
            return None;
        }
        let exists = i128::from(credits)
            <= i128::from(self.balance()) + i128::from(self.terms.overdraft_units);
        Some(if exists { Denial::InFlight } else { Denial::CreditsExhausted })
    }

    /// Whether the counters have room, also when what is held is charged.
    pub(crate) fn has_room(&self, credits: u64, held: u64) -> bool {
        let most = |counter: u64| u128::from(counter) + u128::from(held) + u128::from(credits);
        [self.used, self.owed].iter().all(|counter| most(*counter) <= u128::from(UNITS_MAX))
    }

    /// How many grants would pay, if those are more than one request may have.
    pub(crate) fn too_many_grants(&self, credits: u64) -> Option<usize> {
        let mut coins = self.coins.clone();
        coins.sort_unstable();
        let some = usize::try_from(credits).unwrap_or(usize::MAX);
        let mut grants: Vec<Id> = coins.into_iter().take(some).map(|coin| coin.grant).collect();
        grants.dedup();
        Some(grants.len()).filter(|count| *count > GRANTS_PER_REQUEST_MAX)
    }

    pub(crate) fn burn(&mut self, credits: u64, now: i64) -> Took {
        let before = self.balance();
        self.cut(now - now.rem_euclid(HOUR_MS));
        self.coins.sort_unstable();
        let there = usize::try_from(credits).unwrap_or(usize::MAX).min(self.coins.len());
        let (pool, owed) = (self.name.clone(), credits - there as u64);
        let mut took = Took { pool, units: credits, owed, ..Took::default() };
        for coin in self.coins.drain(..there) {
            match took.paid.last_mut() {
                Some((grant, units)) if *grant == coin.grant => *units += 1,
                _ => took.paid.push((coin.grant, 1)),
            }
            self.spent.push(coin);
        }
        self.owed += took.owed;
        self.used += credits;
        self.burnt += credits;
        self.note(now, before);
        took
    }

    // --- what is said ---

    /// How it stands.
    pub(crate) fn level(&self) -> Verdict {
        let is_past = !self.passed_bp().is_empty();
        match self.balance() {
            balance if balance < -(self.terms.overdraft_units as i64) => Verdict::Unbacked,
            balance if is_past || balance < 0 => Verdict::SoftLimit,
            _ => Verdict::Allowed,
        }
    }

    /// The thresholds that are passed.
    pub(crate) fn passed_bp(&self) -> Vec<u32> {
        let all = self.terms.soft_limits_bp.iter().copied();
        all.filter(|bp| self.is_past(*bp)).collect()
    }

    /// Marks what has not been said; `refused` credits were asked for in vain.
    pub(crate) fn news(&mut self, refused: u64) -> News {
        let before = self.said.clone();
        let mut crossed_bp = Vec::new();
        let places = (0..).map(Said::Soft).zip(self.terms.soft_limits_bp.clone());
        for (said, bp) in places.chain([(Said::Reached, 10_000)]) {
            if self.is_past(bp) && !before.contains(&said) {
                self.said.insert(said);
                crossed_bp.push(bp);
            }
        }
        let hit = (refused > 0 || self.used > self.all()) && !before.contains(&Said::Hit);
        if hit {
            self.said.insert(Said::Hit);
        }
        News { crossed_bp, hit, before }
    }
}

/// What so many units cost. More than can be counted is `u64::MAX`.
pub(crate) fn cost(price: CreditPrice, units: u64) -> u64 {
    // So many whole credits are in it, and so much is over.
    let all = u128::from(units) * u128::from(price.credits);
    let per = u128::from(price.per);
    let (whole, rest) = (all / per, all % per);
    let more = match price.rounding {
        Rounding::Down => false,
        Rounding::Up => rest > 0,
        Rounding::Nearest => rest + rest >= per,
    };
    u64::try_from(whole + u128::from(more)).unwrap_or(u64::MAX)
}

/// The most units that cost so many credits at most, found by trying.
pub(crate) fn units_for(price: CreditPrice, credits: u64) -> u64 {
    let (mut fits, mut too_many) = (0, u64::MAX);
    while fits + 1 < too_many {
        let middle = fits + (too_many - fits) / 2;
        if cost(price, middle) <= credits { fits = middle } else { too_many = middle }
    }
    fits
}
