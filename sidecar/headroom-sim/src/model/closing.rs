//! What a window was measured by when it ended, in the model: looked up once, when something is about to make it
//! another thing, and else whenever it is asked for.

use headroom_core::catalog::FeatureKindSpec;

use super::page::Page;
use super::plan::{EACH_SLOTS, Entitled};
use super::{Account, Book, Limit, Model, Terms};

/// What a window was measured by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is a bucket, and has no limit of its own.
    Bucket,
    /// By these terms, of this plan.
    Terms(Terms, String),
    /// The plan did not have the limit.
    NotGiven(String),
    /// No catalog has it.
    Gone(String),
}

impl Then {
    fn plan(&self) -> Option<&String> {
        match self {
            Then::Bucket => None,
            Then::Terms(_, plan) | Then::NotGiven(plan) | Then::Gone(plan) => Some(plan),
        }
    }

    /// The same of a plan of another name.
    fn named(self, name: String) -> Then {
        match self {
            Then::Bucket => Then::Bucket,
            Then::Terms(terms, _) => Then::Terms(terms, name),
            Then::NotGiven(_) => Then::NotGiven(name),
            Then::Gone(_) => Then::Gone(name),
        }
    }
}

impl Model {
    /// What a window is measured by: now, or at its end if that is over.
    pub(crate) fn then(&self, account: &Account, book: &Book, now: i64) -> Then {
        if let Some(then) = &book.then {
            return then.clone();
        }
        let (feature, limit) = (book.feature.as_str(), book.limit.as_str());
        if self.counts_on_ms(feature, limit) > 0 && book.carried == 0 {
            return Then::Bucket;
        }
        let at = if now < book.end { now } else { book.end - 1 };
        let limits = match &account.whose {
            Some(name) => {
                let levels = self.level_limits(account, (feature, name), at);
                levels.into_iter().map(|(_, limit)| limit).collect()
            }
            None => match self.entitled(account, feature, at) {
                (Entitled::Limits(limits), _) => limits,
                _ => Vec::new(),
            },
        };
        let plan = account.plan_then(at);
        match limits.into_iter().find(|known| known.limit == limit) {
            Some(known) => Then::Terms(known.terms, plan),
            None if self.has_limit(account, feature, limit) => Then::NotGiven(plan),
            None => Then::Gone(plan),
        }
    }

    /// The rules alone.
    pub(crate) fn rules(&self) -> Model {
        Model { catalog: self.catalog.clone(), ..Model::default() }
    }

    /// Whether the catalog has a limit, of the account or of the subject whose account it is.
    pub(crate) fn has_limit(&self, account: &Account, feature: &str, limit: &str) -> bool {
        let of_subject = account.whose.is_some();
        match self.feature(feature).map(|known| &known.kind) {
            Some(FeatureKindSpec::Quota { limits }) => {
                limits.iter().any(|l| l.limit == limit && l.per.is_some() == of_subject)
            }
            Some(FeatureKindSpec::Concurrency { per }) => match of_subject {
                true => per.is_some() && limit == EACH_SLOTS,
                false => limit == "concurrent",
            },
            Some(FeatureKindSpec::Allocation { .. }) => !of_subject && limit == "level",
            Some(FeatureKindSpec::Seats { .. }) => !of_subject && limit == "seats",
            _ => false,
        }
    }

    /// The most that counts in a window without being debt.
    pub(crate) fn allowed_then(
        &self,
        account: &Account,
        book: &Book,
        limit: &Limit,
        now: i64,
    ) -> Option<u128> {
        match self.then(account, book, now) {
            Then::Terms(terms, _) => terms.ceiling(),
            Then::NotGiven(_) => Some(0),
            Then::Gone(_) => None,
            Then::Bucket if !limit.gone => limit.terms.ceiling(),
            Then::Bucket => self.has_limit(account, &book.feature, &book.limit).then_some(0),
        }
    }

    /// Lets a page of what has happened be measured by the limit in force at its end, if that is over or the limit
    /// is gone.
    pub(crate) fn allow_then(&self, account: &Account, page: &mut Page) {
        let is_past = page.book.end <= page.now || page.limit.gone;
        if is_past && page.slide.is_none() && !page.limit.slots {
            page.allowed = Some(self.allowed_then(account, &page.book, &page.limit, page.now));
        }
    }

    /// Lets plans have other names. What is over was measured under the name that its plan had then.
    pub(crate) fn rename_plans(&mut self, moves: &[(String, String)], now: i64) {
        for id in self.account_names() {
            let before = self.accounts[&id].clone();
            self.accounts.get_mut(&id).into_iter().for_each(|account| account.move_all(moves));
            self.keep_names(&id, &before, now);
        }
    }

    /// Lets windows that are over keep the names that their plans had by the account as it was before.
    pub(crate) fn keep_names(&mut self, id: &str, before: &Account, now: i64) {
        let Some(mut account) = self.accounts.get(id).cloned() else { return };
        account.books = self.under_old_names(&account, before, now);
        for name in before.subjects.keys() {
            let mut inner = Model::inner(&account, name);
            inner.books = self.under_old_names(&inner, before, now);
            account.subjects.insert(name.clone(), inner);
        }
        self.accounts.insert(id.to_owned(), account);
    }

    fn under_old_names(&self, account: &Account, before: &Account, now: i64) -> Vec<Book> {
        let mut books = account.books.clone();
        for book in books.iter_mut().filter(|book| book.end <= now && book.then.is_none()) {
            let (then, name) = (self.then(account, book, now), before.plan_then(book.end - 1));
            if then.plan().is_some_and(|plan| *plan != name) {
                book.then = Some(then.named(name));
            }
        }
        books
    }

    /// As [`Model::keep_moved`], where no plan has another name.
    pub(crate) fn keep_terms(&mut self, id: &str, before: (&Model, &Account), now: i64) {
        self.keep_moved(id, before, &[], now);
    }

    /// Fixes what windows that are over were measured by, where the rules or the account have made it another
    /// thing. `rules` and `before` are those of before; `moves` are plans that have another name.
    pub(crate) fn keep_moved(
        &mut self,
        id: &str,
        (rules, before): (&Model, &Account),
        moves: &[(String, String)],
        now: i64,
    ) {
        let Some(mut account) = self.accounts.get(id).cloned() else { return };
        let mut names = vec![None];
        names.extend(account.subjects.keys().cloned().map(Some));
        for name in names {
            let of = |account: &Account| match &name {
                None => account.clone(),
                Some(name) => Model::inner(account, name),
            };
            let (old, mut new) = (of(before), of(&account));
            let mut moved = new.clone();
            moved.move_all(moves);
            let mut books = new.books.clone();
            for book in books.iter_mut().filter(|book| book.end <= now && !book.closed) {
                let was = rules.then(&old, book, now);
                if was != Then::Bucket && was != self.then(&moved, book, now) {
                    self.met.insert("what a window was measured by is kept");
                    book.then = Some(was);
                }
            }
            match &name {
                None => account.books = books,
                Some(name) => {
                    new.books = books;
                    account.subjects.insert(name.clone(), new);
                }
            }
        }
        self.accounts.insert(id.to_owned(), account);
    }
}
