//! Windows that end owing, in the model: each is looked at when it has ended, and what it owes is the first
//! use of the next one.

use headroom_core::account::Zone;
use headroom_core::catalog::EntitlementSpec;
use headroom_core::change::OnChange;
use headroom_core::resolve::Origin;

use super::closing::Then;
use super::late::{Entry, take};
use super::page::Page;
use super::plan::Entitled;
use super::{Account, Book, Limit, Model};
use crate::civil;

fn same_limit(a: &Book, b: &Book) -> bool {
    (&a.feature, &a.limit) == (&b.feature, &b.limit)
}

impl Model {
    /// Whether some plan or add-on lets the debt of a limit go on.
    pub(crate) fn carries(&self, feature: &str, limit: &str) -> bool {
        let all = self.catalog.plans.iter().chain(&self.catalog.addons);
        all.flat_map(|plan| &plan.entitlements).filter(|(known, _)| known == feature).any(
            |(_, says)| match says.given() {
                EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. } => {
                    limits.iter().any(|known| known.limit == limit && known.terms.carries_debt)
                }
                _ => false,
            },
        )
    }

    /// Which window is to be looked at first, of those that have ended.
    pub(crate) fn next_end(account: &Account, now: i64) -> Option<(i64, usize)> {
        let places = account.books.iter().enumerate().filter(|(_, book)| {
            let waits = !book.ended || book.debt() > 0 && !book.stays;
            // Of hundreds that carried on, few are asked about those after them.
            let is_last = || {
                let mut later = account.books.iter().filter(|later| !later.closed);
                !later.any(|later| same_limit(book, later) && book.end <= later.start)
            };
            book.noted && waits && !book.closed && book.end <= now && is_last()
        });
        places.map(|(place, book)| (book.end, place)).min()
    }

    /// Looks at a window that has ended; returns what that met, for the coverage.
    pub(crate) fn end_window(
        &self,
        account: &mut Account,
        place: usize,
        now: i64,
    ) -> Option<&'static str> {
        let ended = account.books[place].clone();
        account.books[place].ended = true;
        let then = self.then(account, &ended, now);
        account.books[place].then = Some(then.clone());
        if ended.debt() == 0 {
            return None;
        }
        let (given, _) = self.entitled(account, &ended.feature, ended.end);
        let limit = match given {
            Entitled::Limits(limits) => limits.into_iter().find(|l| l.limit == ended.limit),
            _ => None,
        };
        let Some(limit) = limit.filter(|limit| limit.terms.more.carries_debt) else {
            account.books[place].stays = true;
            return Some("debt that no limit carries on");
        };
        let zone = Zone::named(&account.zone).expect("a zone that was accepted");
        let (_, mut end) = civil::window(limit.window, account.anchor, zone.rules(), ended.end);
        // Changes of the plan until now have ended windows that nobody had begun, too.
        for at in account.real_turns(ended.end, now).into_iter().rev() {
            let says = self.said_of(&account.plan_then(at), &ended.feature, &ended.limit);
            if says.is_some_and(|says| says.terms.on_change == OnChange::Reset) && at < end {
                end = at;
            }
        }
        // What was allowed since, or freed, is not owed.
        let debt = ended.debt();
        let room_for = match then {
            Then::Terms(terms, _) => terms.ceiling(),
            Then::NotGiven(_) => Some(0),
            Then::Gone(_) => None,
            Then::Bucket => Some(ended.used() - debt),
        };
        let above = room_for.map_or(0, |most| ended.used() - ended.used().min(most));
        let owed = debt.min(above);
        account.books[place].undone.push((0, debt - owed));
        if owed == 0 {
            return Some("debt that its window had room for at its end");
        }
        let over = limit.terms.ceiling().map_or(0, |ceiling| owed - owed.min(ceiling));
        let next = Book {
            start: ended.end,
            end,
            uses: vec![(u64::try_from(owed).expect("a count"), over)],
            undone: Vec::new(),
            latest: None,
            seen: Default::default(),
            carried: owed,
            noted: true,
            ended: false,
            stays: false,
            terms: limit.terms.clone(),
            revision: 1,
            said: Default::default(),
            then: None,
            closed: false,
            ..ended.clone()
        };
        account.books.push(next);
        // Whatever held it when it ended: by now is what counts.
        self.close(account, now, |book| same_limit(book, &ended));
        Some("a window that followed one that owed")
    }

    /// Notes which windows owe, because a catalog may carry on what none did before.
    pub(crate) fn note_owing(&mut self) {
        for id in self.account_names() {
            let mut account = self.accounts[&id].clone();
            for place in 0..account.books.len() {
                let book = &account.books[place];
                let owes = book.debt() > 0 && self.carries(&book.feature, &book.limit);
                account.books[place].noted |= owes;
            }
            self.accounts.insert(id, account);
        }
    }

    /// Whether a window of an account owes something.
    pub fn owes(&self, id: &str, (feature, limit): (&str, &str), start: i64) -> bool {
        let books = self.accounts.get(id).map_or(&[][..], |account| &account.books);
        let is_it = |book: &&Book| book.feature == feature && book.limit == limit;
        books.iter().filter(is_it).any(|book| book.start == start && book.debt() > 0)
    }

    /// The most that a window counts that has taken over, or may, what the one of a page owes.
    pub(crate) fn most_after(&self, account: &Account, page: &Page, now: i64) -> u128 {
        if !page.limit.terms.more.carries_debt || now < page.book.end {
            return 0;
        }
        let later = account.books.iter().filter(|book| same_limit(book, &page.book));
        let later = later.filter(|book| page.book.end <= book.start);
        let held = later.map(|book| {
            let live = !self.is_closed(account, book, now);
            let page = self.page_of(account, book.clone(), &page.limit, false, now);
            book.used() + if live { page.reserved } else { 0 }
        });
        held.max().unwrap_or(0)
    }

    /// Lets the windows after one count what it owes now instead of what it owed before.
    pub(crate) fn pass_on(
        &mut self,
        account: &mut Account,
        id: &str,
        page: &Page,
        owed_before: u128,
        (origin, now): (Origin, i64),
    ) {
        let limit = page.limit.clone();
        if !limit.terms.more.carries_debt {
            return;
        }
        let (feature, mut at) = (page.book.feature.clone(), page.book.end);
        let is_it = |book: &&Book| same_limit(book, &page.book) && book.start == page.book.start;
        let debt = account.books.iter().find(is_it).map_or(0, Book::debt);
        let (mut before, mut after) = (owed_before, debt);
        while before != after && at <= now {
            let entry = self.entry(account, &feature, &limit, at, now);
            at = entry.book.end;
            (before, after) = if entry.fresh && before > 0 {
                let ceiling = if entry.live {
                    let mut page = self.page_of(account, entry.book, &limit, true, now);
                    self.allow_then(account, &mut page);
                    page.ceiling()
                } else {
                    self.allowed_then(account, &entry.book, &limit, now)
                };
                let over = |owed: u128| ceiling.map_or(0, |ceiling| owed - owed.min(ceiling));
                (over(before), over(after))
            } else if entry.live {
                self.met.insert("a window in memory that counts another debt");
                self.pass_to(account, (id, &limit), entry, (before, after), (origin, now))
            } else {
                self.met.insert("a closed window that counts another debt");
                let ceiling = self.allowed_then(account, &entry.book, &limit, now);
                pass_to_closed(account, (entry, ceiling), (before, after))
            };
        }
    }

    fn pass_to(
        &mut self,
        account: &mut Account,
        (id, limit): (&str, &Limit),
        entry: Entry,
        (before, after): (u128, u128),
        (origin, now): (Origin, i64),
    ) -> (u128, u128) {
        let mut page = self.page_of(account, entry.book, limit, entry.fresh, now);
        self.allow_then(account, &mut page);
        let owed = page.book.debt();
        if after > before {
            let previous = page.used();
            let units = u64::try_from(after - before).expect("a count");
            page.book_units(units, units);
            page.book.carried += after - before;
            if origin != Origin::None && page.book.start <= now && now < page.book.end {
                self.announce_use(id, account, &mut page, previous, now);
            }
        } else {
            let units = (before - after).min(page.book.used()).min(page.book.carried);
            let all = page.book.used() - units;
            let ceiling = page.ceiling();
            take(&mut page.book, units, all, ceiling);
            page.book.carried -= units;
        }
        page.book.noted = true;
        let owes = page.book.debt();
        let this = page.book.clone();
        self.keep(account, &mut page);
        self.close(account, now, |b| same_limit(b, &this) && b.start == this.start);
        (owed, owes)
    }
}

fn pass_to_closed(
    account: &mut Account,
    (entry, ceiling): (Entry, Option<u128>),
    (before, after): (u128, u128),
) -> (u128, u128) {
    let mut book = entry.book;
    let owed = book.debt();
    if after > before {
        let units = after - before;
        let sum = book.used() + units;
        let over = ceiling.map_or(0, |ceiling| (sum - sum.min(ceiling)).min(units));
        book.uses.push((u64::try_from(units).expect("a count"), over));
        book.carried += units;
    } else {
        let units = (before - after).min(book.used()).min(book.carried);
        let all = book.used() - units;
        take(&mut book, units, all, ceiling);
        book.carried -= units;
    }
    let owes = book.debt();
    let is_it = |known: &&mut Book| same_limit(known, &book) && known.start == book.start;
    match account.books.iter_mut().find(is_it) {
        Some(known) => *known = book,
        None => account.books.push(book),
    }
    (owed, owes)
}
