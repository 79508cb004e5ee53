//! Coins that come back: a hold was charged too much, or an event was corrected.

use super::{Coin, HOUR_MS, Id, Pool, Took};

impl Pool {
    /// Credits that were burnt at an instant come back.
    pub(crate) fn unburn(&mut self, credits: u64, burnt_at: i64, now: i64) -> Took {
        let (before, had) = self.begin_return(now);
        self.came_back += credits;
        let mut rest = credits - self.pay_owed(credits);
        while rest > 0 && self.last_back() {
            rest -= 1;
        }
        self.note_unused(credits, burnt_at);
        self.returned((before, &had), now)
    }

    /// What an event was paid with comes back, the latest part first: each says its grant, if one paid it, when that was,
    /// and how many coins.
    pub(crate) fn refund(&mut self, parts: &[(Option<Id>, i64, u64)], now: i64) -> Took {
        let (before, had) = self.begin_return(now);
        for (grant, at, units) in parts {
            self.came_back += units;
            let mut rest = units - self.pay_owed(*units);
            while rest > 0 && self.own_back(*grant, now) {
                rest -= 1;
            }
            self.note_unused(*units, *at);
        }
        self.returned((before, &had), now)
    }

    /// The balance before, and the coins.
    fn begin_return(&mut self, now: i64) -> (i64, Vec<Coin>) {
        self.cut(now - now.rem_euclid(HOUR_MS));
        self.spent.retain(|coin| now < coin.expires);
        (self.balance(), self.coins.clone())
    }

    fn pay_owed(&mut self, credits: u64) -> u64 {
        let pays = credits.min(self.owed);
        self.owed -= pays;
        pays
    }

    /// A coin comes back to the grant that paid it, or to the one that burns last. Whether there was one.
    fn own_back(&mut self, grant: Option<Id>, now: i64) -> bool {
        let own = self.spent.iter().position(|coin| Some(coin.grant) == grant);
        match own {
            Some(place) => {
                let coin = self.spent.remove(place);
                self.coins.push(coin);
                true
            }
            None => grant.is_none_or(|grant| self.lives(grant, now)) && self.last_back(),
        }
    }

    /// The coin that burns last comes back. Whether there was one.
    fn last_back(&mut self) -> bool {
        self.spent.sort_unstable();
        let Some(coin) = self.spent.pop() else { return false };
        self.coins.push(coin);
        true
    }

    /// Whether a grant can still be drawn from, or could if it had anything left.
    fn lives(&self, grant: Id, now: i64) -> bool {
        match (self.given.get(&grant), grant) {
            (Some(given), _) => given.begun && !given.void && now < given.coin.expires,
            (None, Id::Included(start) | Id::RolledOver(start)) => {
                self.window.is_some_and(|(begun, _)| begun == start)
            }
            (None, Id::Given(_)) => unreachable!("what has paid was given"),
        }
    }

    fn note_unused(&mut self, credits: u64, burnt_at: i64) {
        if self.window.is_some_and(|(start, end)| start <= burnt_at && burnt_at < end) {
            self.used = self.used.saturating_sub(credits);
        }
    }

    fn returned(&mut self, (before, had): (i64, &[Coin]), now: i64) -> Took {
        self.cap_included(had);
        let returned = (self.balance() - before).unsigned_abs();
        self.note(now, before);
        Took { pool: self.name.clone(), returned, ..Took::default() }
    }

    /// Where the plan includes less by now, what was burnt above it does not come back; what is kept for
    /// holds stays.
    fn cap_included(&mut self, had: &[Coin]) {
        // Where the catalog has no such pool any more, what there was stays.
        let stays = !self.ruled && had.iter().any(|coin| self.is_included(coin));
        let brought = if stays { self.brought() } else { self.included };
        let now = self.window.map(|(start, _)| (Id::Included(start), brought));
        let kept = self.given.iter().filter(|(id, _)| !id.is_given());
        let kept = kept.map(|(id, given)| (*id, given.units));
        for (id, included) in kept.chain(now) {
            let burnt = self.spent.iter().filter(|coin| coin.grant == id).count() as u64;
            let had = had.iter().filter(|coin| coin.grant == id).count() as u64;
            let most = included.saturating_sub(burnt).max(had);
            let mut kept = 0;
            self.coins.retain(|coin| {
                kept += u64::from(coin.grant == id);
                coin.grant != id || kept <= most
            });
        }
    }
}
