//! Sliding windows in the model: the books of the last so many hours, looked through one by one.

use std::collections::BTreeSet;

use headroom_core::window::{Every, SpanUnit, WindowRule};

use super::page::Page;
use super::{Account, Book, Limit, Model, Said};
use crate::civil::FOREVER;

const HOUR_MS: i64 = 3_600_000;

/// The length of a sliding window, if it is one.
pub(crate) fn length_ms(rule: WindowRule) -> Option<i64> {
    let WindowRule::Sliding(Every { count, unit }) = rule else { return None };
    let hours = match unit {
        SpanUnit::Hour => 1,
        SpanUnit::Day => 24,
        SpanUnit::Week => 7 * 24,
        SpanUnit::Month => panic!("a checked catalog has no sliding months"),
    };
    Some(hours * i64::from(count) * HOUR_MS)
}

/// Another book of the same limit that counts.
#[derive(Debug, Clone)]
struct Other {
    end: i64,
    used: u128,
    reserved: u128,
    debt: u128,
}

/// What makes a page of a sliding window: the book of the page is one of several.
#[derive(Debug, Clone)]
pub(crate) struct Slide {
    /// The span that is counted.
    pub(crate) span: (i64, i64),
    /// Whether the page's own book is among what counts.
    pub(crate) counts: bool,
    /// What the books have said, before anything more is.
    pub(crate) said: BTreeSet<Said>,
    others: Vec<Other>,
    length_ms: i64,
    current_end: i64,
}

impl Slide {
    pub(crate) fn used(&self) -> u128 {
        self.others.iter().map(|other| other.used).sum()
    }

    pub(crate) fn reserved(&self) -> u128 {
        self.others.iter().map(|other| other.reserved).sum()
    }

    pub(crate) fn debt(&self) -> u128 {
        self.others.iter().map(|other| other.debt).sum()
    }

    /// The first start of a later book at which a book that ends at `end` does not count any more.
    fn leaves_at(&self, end: i64) -> i64 {
        let width_ms = self.length_ms / 24;
        let mut start = self.current_end;
        while start < end.saturating_add(self.length_ms) {
            start = start - start.rem_euclid(width_ms) + width_ms;
        }
        start
    }

    /// Instants and what is held until then, by book.
    fn leaving(&self, page: &Page) -> Vec<(i64, u128)> {
        let others = self.others.iter().map(|other| (other.end, other.used + other.reserved));
        let own = (page.book.end, page.book.used() + page.reserved);
        let all = others.chain([own]).filter(|(_, held)| *held > 0);
        all.map(|(end, held)| (self.leaves_at(end), held)).collect()
    }

    pub(crate) fn frees_at(&self, page: &Page) -> i64 {
        self.leaving(page).iter().map(|(at, _)| *at).min().unwrap_or(FOREVER)
    }

    /// When so many units fit under the ceiling, if nothing else happens.
    pub(crate) fn enough_at(&self, page: &Page, units: u128, ceiling: u128) -> i64 {
        let leaving = self.leaving(page);
        let fits = |at: &i64| {
            let stays: u128 = leaving.iter().filter(|(left, _)| at < left).map(|(_, h)| h).sum();
            stays + units <= ceiling
        };
        leaving.iter().map(|(at, _)| *at).filter(fits).min().unwrap_or(FOREVER)
    }
}

impl Model {
    /// Makes a page one of a sliding window, if its limit is.
    pub(crate) fn slide(&self, account: &Account, mut page: Page) -> Page {
        let Some(length_ms) = length_ms(page.limit.window) else { return page };
        let current = self.span_now(account, &page.book.feature, &page.limit, page.now);
        let counts = |book: &Book| book.end.saturating_add(length_ms) > current.0;
        let mut slide = Slide {
            span: (current.0.saturating_sub(length_ms), current.1),
            counts: counts(&page.book),
            said: BTreeSet::new(),
            others: Vec::new(),
            length_ms,
            current_end: current.1,
        };
        if !slide.counts {
            page.slide = Some(slide);
            return page;
        }
        let own = page.own.clone();
        let others: Vec<&Book> = account
            .books
            .iter()
            .filter(|b| b.feature == own.feature && b.limit == own.limit && b.start != own.start)
            .filter(|b| counts(b) && !b.closed)
            .collect();
        for book in &others {
            let listing = account.holds.values().filter(|hold| hold.feature == book.feature);
            let open = listing.filter(|hold| hold.lists(book) && hold.is_open(page.now));
            slide.others.push(Other {
                end: book.end,
                used: book.used(),
                reserved: open.map(|hold| u128::from(hold.units)).sum(),
                debt: book.debt(),
            });
        }
        // The definition seen last, by any of the books.
        let mut seen: Vec<&Book> = others.clone();
        if !page.fresh {
            seen.push(&own);
        }
        let last = seen.iter().max_by_key(|book| (book.revision, book.start));
        let revision = match last {
            None => 1,
            Some(last) if last.terms == page.limit.terms => last.revision,
            Some(last) => last.revision.saturating_add(1),
        };
        let same = |book: &&Book| book.revision == revision && book.terms == page.limit.terms;
        let said_of = |book: &Book| book.said.clone();
        page.book.said = [&own].into_iter().filter(same).map(said_of).next().unwrap_or_default();
        page.book.terms = page.limit.terms.clone();
        page.book.revision = revision;
        slide.said = page.book.said.clone();
        slide.said.extend(others.iter().copied().filter(same).flat_map(said_of));
        page.slide = Some(slide);
        page.verdict = page.stands();
        page
    }

    /// The reservation moves to the book of now: an extension counts from now on. A limit that is gone has
    /// no book of now.
    pub(crate) fn moved_page(
        &self,
        account: &Account,
        count: u32,
        page: &Page,
        now: i64,
    ) -> Option<Page> {
        if page.limit.gone {
            return None;
        }
        let (feature, limit) = (&page.book.feature, &page.limit);
        let (start, _) = self.span_now(account, feature, limit, now);
        if start == page.book.start {
            return None;
        }
        let mut moved = account.clone();
        let hold = moved.holds.get_mut(&count).expect("it is extended");
        rename(&mut hold.books, limit, page.book.start, start);
        Some(self.page(&moved, feature, limit, now))
    }
}

/// Lets a reservation list another book.
pub(crate) fn rename(books: &mut [(String, i64)], limit: &Limit, from: i64, to: i64) {
    for (name, start) in books {
        if *name == limit.limit && *start == from {
            *start = to;
        }
    }
}

impl Model {
    /// How long after its end a book still counts.
    pub(crate) fn counts_on_ms(&self, feature: &str, limit: &str) -> i64 {
        let shape = self.shapes(feature).iter().find(|shape| shape.limit == limit);
        shape.and_then(|shape| length_ms(shape.window)).unwrap_or(0)
    }

    /// Whether a book can leave the memory: nothing can be booked there, and it does not count.
    fn is_closable(&self, account: &Account, book: &Book, now: i64) -> bool {
        let holds = account.holds.values().filter(|hold| hold.feature == book.feature);
        let held = holds.filter(|hold| hold.may_book(now)).any(|hold| hold.lists(book));
        let counts_on_ms = self.counts_on_ms(&book.feature, &book.limit);
        let counted_to = book.end.saturating_add(counts_on_ms);
        let same = |b: &&Book| b.feature == book.feature && b.limit == book.limit;
        let replaced = account.books.iter().filter(same).any(|later| counted_to <= later.start);
        book.end <= now && !held && replaced
    }

    /// Whether a book has left the memory, at the latest when its account was looked at last.
    pub(crate) fn is_closed(&self, account: &Account, book: &Book, now: i64) -> bool {
        let holds = account.holds.values().filter(|hold| hold.feature == book.feature);
        let mut holds = holds.filter(|hold| hold.outcome.is_none() && hold.lists(book));
        let forgotten =
            holds.any(|hold| hold.is_forgotten(now) && !hold.is_forgotten(account.settled_at));
        book.closed || (forgotten && self.is_closable(account, book, now))
    }

    /// Lets books leave the memory whose last reservation was forgotten.
    pub(crate) fn settle(&self, account: &mut Account, now: i64) {
        let closed: Vec<bool> =
            account.books.iter().map(|book| self.is_closed(account, book, now)).collect();
        self.leave(account, &closed, now);
        account.settled_at = now;
        self.roll_levels(account, now);
        for name in account.subjects.keys().cloned().collect::<Vec<_>>() {
            let mut inner = Model::inner(account, &name);
            self.settle(&mut inner, now);
            account.subjects.insert(name, inner);
        }
    }

    /// Lets books of a limit leave the memory because something about them has changed.
    pub(crate) fn close(&self, account: &mut Account, now: i64, concerns: impl Fn(&Book) -> bool) {
        let closed: Vec<bool> = account
            .books
            .iter()
            .map(|book| book.closed || (concerns(book) && self.is_closable(account, book, now)))
            .collect();
        self.leave(account, &closed, now);
    }

    /// Lets books leave the memory, with what they were measured by.
    fn leave(&self, account: &mut Account, closed: &[bool], now: i64) {
        for (place, closed) in closed.iter().enumerate() {
            if *closed && !account.books[place].closed {
                let then = self.then(account, &account.books[place], now);
                account.books[place].then = Some(then);
                account.books[place].closed = true;
            }
        }
    }

    /// Tells the model that an account was looked at, in a step whose other records were lost.
    pub fn know_settled(&mut self, id: &str, now: i64) {
        if let Some(mut account) = self.accounts.remove(id) {
            self.charge_ended(id, &mut account, now);
            self.settle(&mut account, now);
            self.accounts.insert(id.to_owned(), account);
        }
    }
}
