//! Policies in the model: what began is a list, what is over is looked up in it.

use headroom_core::account::Zone;
use headroom_core::catalog::Policy;
use headroom_core::decision::{Denial, Verdict};
use headroom_core::resolve::Origin;
use headroom_core::signal::SignalName;
use headroom_core::window::WindowRule;

use super::page::{Page, binding, state};
use super::plan::Entitled;
use super::{Above, Account, Book, COUNT_MAX, Model, Terms, Told};
use crate::civil;

impl Terms {
    /// Units that a spend cap pays for, found from the price of that many.
    pub(crate) fn cap_units(&self) -> Option<u128> {
        let overage = self.more.overage.as_ref()?;
        let cap_nanos = u128::from(overage.cap_minor?) * 1_000_000_000;
        let price = u128::from(overage.unit_price_nanos);
        Some(((cap_nanos - cap_nanos % price) / price).min(COUNT_MAX))
    }

    /// What so much use costs above the included units, and what it may cost.
    pub(crate) fn cost(&self, used: u128) -> Option<(u128, Option<u64>)> {
        let overage = self.more.overage.as_ref()?;
        let above = match (self.policy, self.included()) {
            (Policy::Overage, Some(included)) => used - used.min(included),
            _ => 0,
        };
        let billed = self.cap_units().map_or(above, |cap| cap.min(above));
        let minor = billed * u128::from(overage.unit_price_nanos) / 1_000_000_000;
        Some((minor, overage.cap_minor))
    }
}

impl Account {
    /// Why it may use nothing at all.
    pub(crate) fn barred(&self, now: i64) -> Option<Denial> {
        match () {
            () if self.suspended => Some(Denial::AccountSuspended),
            () if self.ends_at <= now => Some(Denial::SubscriptionEnded),
            () => None,
        }
    }

    fn above(&self, feature: &str, limit: &str) -> Option<&Above> {
        self.above.iter().find(|above| above.feature == feature && above.limit == limit)
    }

    /// Whether the grace of a book cannot be used any more, and when the one that began ends.
    pub(crate) fn grace(&self, book: &Book, terms: &Terms, now: i64) -> (bool, Option<i64>) {
        let same = |above: &&Above| above.start == book.start && above.revision == book.revision;
        let began = self.above(&book.feature, &book.limit).filter(same);
        let until = began.and_then(|above| above.ends).map(|(ends, _)| ends);
        let shown = if terms.more == Default::default() { None } else { until };
        let Some(grace) = &terms.more.grace else { return (false, shown) };
        if now < book.start || book.end <= now {
            return (false, shown);
        }
        if began.is_some() {
            return (until.is_some_and(|until| until <= now), shown);
        }
        let Some(times) = grace.times else { return (false, shown) };
        let counts = |began: i64| {
            let rule = WindowRule::Billing { months: u16::from(times.months) };
            let utc = Zone::utc();
            now < civil::window(rule, began, utc.rules(), began).1
        };
        let of_limit = self.graces.iter().filter(|(feature, limit, start, _)| {
            *feature == book.feature && *limit == book.limit && *start != book.start
        });
        let used = of_limit.filter(|(_, _, _, began)| counts(*began)).count();
        (used >= usize::from(times.times), shown)
    }
}

impl Model {
    pub(crate) fn is_watched(&self, feature: &str) -> bool {
        self.feature(feature).is_some_and(|known| known.shadow)
    }

    /// Lets pages go on that refuse, and says why they do.
    pub(crate) fn look_away(
        pages: &mut [Page],
        origin: Origin,
        units: u64,
        at_once: bool,
    ) -> Option<Denial> {
        let denial = match (origin, binding(pages).verdict) {
            (Origin::None, _) => Some(Denial::NotInPlan),
            (_, Verdict::Denied(denial)) => Some(denial),
            _ => None,
        };
        for page in pages {
            if matches!(page.verdict, Verdict::Denied(_)) {
                page.verdict = page.goes_on(u128::from(units), at_once);
            }
        }
        denial
    }

    /// The page of now, if what a page of an earlier window comes to owe is owed there at once.
    pub(crate) fn owed_now(&self, account: &Account, page: &Page, now: i64) -> Option<Page> {
        let later = account.books.iter().any(|book| {
            book.feature == page.book.feature
                && book.limit == page.book.limit
                && page.book.end <= book.start
        });
        let owes = page.limit.terms.more.carries_debt && page.book.end <= now && later;
        owes.then(|| self.page(account, &page.book.feature, &page.limit, now))
    }

    /// Counts what an earlier window owes.
    pub(crate) fn carry(
        &mut self,
        id: &str,
        account: &mut Account,
        page: &mut Page,
        owed: u128,
        now: i64,
    ) {
        self.met.insert("debt carried by a late commit");
        let previous = page.book.used();
        let held = previous + page.reserved + owed;
        let over = page.limit.terms.ceiling().map_or(0, |ceiling| held - held.min(ceiling));
        page.book.uses.push((u64::try_from(owed).expect("a count"), over.min(owed)));
        page.book.carried += owed;
        page.book.noted = true;
        self.announce_use(id, account, page, previous, now);
        self.keep(account, page);
    }

    /// Says what a use has come to: thresholds first, then that grace or overage has begun.
    pub(crate) fn announce_use(
        &mut self,
        id: &str,
        account: &mut Account,
        page: &mut Page,
        previous: u128,
        now: i64,
    ) {
        self.earn(id, account, page, previous, now);
        self.announce(id, page, previous, 0, now);
        self.begin_above(id, account, page, previous, now);
        self.near_cap(id, account, page, previous, now);
    }

    fn begin_above(
        &mut self,
        id: &str,
        account: &mut Account,
        page: &mut Page,
        previous: u128,
        now: i64,
    ) {
        if page.book.carried > 0 {
            self.met.insert("debt carried into a window");
        }
        let (book, terms) = (&page.book, &page.limit.terms);
        let Some(included) = terms.included() else { return };
        let name = match terms.policy {
            Policy::Grace { .. } => SignalName::GraceStarted,
            Policy::Overage => SignalName::OverageStarted,
            Policy::Block | Policy::Unlimited => return,
        };
        let in_window = book.start <= now && now < book.end;
        // Of a window that slides only the hit is told.
        if page.slide.is_some() {
            return;
        }
        if page.limit.gone || page.grace_over || !in_window || book.used() <= included {
            return;
        }
        let known = account.above(&book.feature, &book.limit);
        if known.is_some_and(|a| a.start == book.start && a.revision == book.revision) {
            return;
        }
        let mut above = Above {
            feature: book.feature.clone(),
            limit: book.limit.clone(),
            start: book.start,
            revision: book.revision,
            ends: None,
            said: false,
        };
        if let Some(grace) = &terms.more.grace {
            if let Some(lasts_ms) = grace.lasts_ms
                && now + lasts_ms < book.end
            {
                above.ends = Some((now + lasts_ms, now + lasts_ms - grace.notice_ms));
            }
            let is_this = |known: &super::Grace| {
                known.0 == book.feature && known.1 == book.limit && known.2 == book.start
            };
            account.graces.retain(|known| !is_this(known));
            account.graces.push((book.feature.clone(), book.limit.clone(), book.start, now));
        }
        let until = above.ends.map(|(ends, _)| ends);
        page.grace_until = until;
        let is_billed = name == SignalName::OverageStarted;
        let same = |a: &&mut Above| a.feature == book.feature && a.limit == book.limit;
        match account.above.iter_mut().find(same) {
            Some(known) => *known = above,
            None => account.above.push(above),
        }
        if self.catalog.signals.raises(name) {
            let told = Model::tell(id, name, book, (previous, included), until, now);
            self.told.push(told);
        }
        page.book.noted |= is_billed;
    }

    fn tell(
        id: &str,
        name: SignalName,
        book: &Book,
        (previous, included): (u128, u128),
        grace_until: Option<i64>,
        at: i64,
    ) -> Told {
        Told {
            account: id.to_owned(),
            name,
            feature: book.feature.clone(),
            limit: book.limit.clone(),
            window: (book.start, book.end),
            revision: book.revision,
            crossed_bp: Vec::new(),
            previous,
            current: book.used(),
            included,
            refused: 0,
            previous_state: state(&book.said),
            state: state(&book.said),
            grace_until,
            days: None,
            at,
        }
    }

    /// Time has come to say of every account whose grace or trial is about to end that it does.
    pub fn run_timers(&mut self, now: i64) {
        self.told.clear();
        if self.refusal.is_some() {
            return;
        }
        for id in self.account_names() {
            let waits = |above: &Above| !above.said && above.ends.is_some_and(|(_, at)| at <= now);
            let account = &self.accounts[&id];
            let charges = Model::next_charge(account, now).is_some();
            let closes =
                Model::waits_for_bills(account, now) || Model::waits_for_seats(account, now);
            let tries = account.waits_for_trials(now) || Model::waits_for_pools(account, now);
            let ends = Model::next_end(account, now).is_some();
            if charges || closes || tries || ends || account.above.iter().any(waits) {
                // Whoever looks at an account lets go what else is over.
                self.know_settled(&id, now);
                self.say_endings(&id, now);
            }
        }
    }

    /// Says of an account which graces and trials are about to end, once each.
    pub(crate) fn say_endings(&mut self, id: &str, now: i64) {
        let Some(mut account) = self.accounts.get(id).cloned() else { return };
        for place in 0..account.above.len() {
            let above = account.above[place].clone();
            let Some((ends, says)) = above.ends.filter(|_| !above.said) else { continue };
            if now < says {
                continue;
            }
            account.above[place].said = true;
            let book = account.books.iter().find(|book| {
                book.feature == above.feature
                    && book.limit == above.limit
                    && book.start == above.start
                    && book.revision == above.revision
            });
            let (Entitled::Limits(limits), _) = self.entitled(&account, &above.feature, now) else {
                continue;
            };
            let limit = limits.iter().find(|limit| limit.limit == above.limit);
            let (Some(book), Some(limit)) = (book, limit) else { continue };
            let Some(included) = limit.terms.included() else { continue };
            let name = SignalName::GraceEnding;
            if now < book.end && limit.terms == book.terms && self.catalog.signals.raises(name) {
                let used = book.used();
                self.told.push(Model::tell(id, name, book, (used, included), Some(ends), now));
            }
        }
        self.accounts.insert(id.to_owned(), account);
        self.say_trials(id, now);
    }

    /// Notes that the ending of a grace was said though the step was lost.
    pub fn know_said(&mut self, account: &str, feature: &str, limit: &str) {
        let Some(account) = self.accounts.get_mut(account) else { return };
        for above in &mut account.above {
            above.said |= above.feature == feature && above.limit == limit;
        }
    }
}
