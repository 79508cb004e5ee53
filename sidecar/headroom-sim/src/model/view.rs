//! What can be asked of the model without deciding, and what the makers of histories look at.

use headroom_core::catalog::Aggregation;
use headroom_core::decide::{AllOp, FeatureOp};
use headroom_core::reservation::ReservationId;
use headroom_engine::engine::Wants;

use super::erase::is_erased;
use super::late::key_of;
use super::{
    Account, Answer, Asked, Book, KEY_HORIZON_MS, KEY_STEP_MS, LimitAnswer, Line, Model,
    RESTATE_MS, Said,
};

impl Model {
    /// What a use of one unit of each feature would be answered, with the state of every limit.
    /// `None`: the account is not known, and there is no default plan.
    pub fn entitlements(&mut self, id: &str, now: i64) -> Option<Vec<(Answer, Vec<LimitAnswer>)>> {
        self.telling = None;
        let known = self.accounts.get(id).map(|known| self.with_charges(known, now));
        let account = known.or_else(|| self.stranger(now))?;
        let mut views = Vec::new();
        for feature in self.feature_names() {
            let done = self.check_feature(id, &mut account.clone(), &feature, 1, false, now);
            let answer = self.dress(&account, done, Wants::default(), false, now);
            views.push((answer, self.limit_answers(&account, &feature, now)));
        }
        Some(views)
    }

    /// The ledgers that an account still has in memory, in order.
    pub fn usage(&self, account: &str, now: i64) -> Option<Vec<Line>> {
        let account = &self.with_charges(self.accounts.get(account)?, now);
        Some(self.lines_of(account, false, now))
    }

    pub(crate) fn lines_of(&self, account: &Account, closed: bool, now: i64) -> Vec<Line> {
        let books = account.books.iter();
        let books = books.filter(|book| self.is_closed(account, book, now) == closed);
        let mut lines: Vec<Line> = books.map(|book| line(account, book, now)).collect();
        lines.sort();
        lines
    }

    /// The ledgers that have left the memory, in order.
    pub fn closed(&self, account: &str, now: i64) -> Vec<Line> {
        let Some(account) = self.accounts.get(account) else { return Vec::new() };
        let account = &self.with_charges(account, now);
        self.lines_of(account, true, now)
    }

    /// Instants at which something of an account changes by itself: ends of windows and of holds.
    pub fn edges(&self, now: i64) -> Vec<i64> {
        let accounts = || self.accounts.values();
        let windows = accounts().flat_map(|a| a.books.iter().map(|book| book.end));
        // Of a sliding window it is not the end that matters, but when it has been passed.
        let passed = accounts().flat_map(|a| a.books.iter().filter(|book| !book.closed));
        let passed = passed
            .map(|book| book.end.saturating_add(self.counts_on_ms(&book.feature, &book.limit)));
        let windows = windows.chain(passed);
        let holds = accounts().flat_map(|a| a.holds.values().filter_map(|h| h.next_change(now)));
        let graces = accounts().flat_map(|a| a.above.iter().filter_map(|above| above.ends));
        let graces = graces.flat_map(|(ends, said)| [ends, said]);
        let ends = accounts().map(|account| account.ends_at);
        let keys = accounts().filter_map(|account| {
            let given = account.given.values().map(|given| given.at);
            let last = account.keys.values().map(|known| known.at).chain(given).max()?;
            // The first instant at which it is forgotten.
            Some((last + KEY_HORIZON_MS) / KEY_STEP_MS * KEY_STEP_MS + KEY_STEP_MS)
        });
        let buckets = accounts().flat_map(|account| self.bucket_edges(account, now));
        let bills = accounts().flat_map(Model::bill_edges);
        let seats = accounts().flat_map(|a| a.sits.iter().filter_map(|(_, _, until, _)| *until));
        let pools = accounts().flat_map(|a| a.pools.values().flat_map(|pool| pool.edges()));
        let far = now.saturating_add(500 * 24 * 60 * 60 * 1000);
        let all = windows
            .chain(holds)
            .chain(graces)
            .chain(ends)
            .chain(keys)
            .chain(buckets)
            .chain(bills)
            .chain(seats)
            .chain(pools);
        all.filter(|at| now < *at && *at < far).collect()
    }

    /// Starts and ends of the windows of a feature that have passed.
    pub fn past_edges(&self, account: &str, feature: &str, now: i64) -> Vec<i64> {
        let Some(account) = self.accounts.get(account) else { return Vec::new() };
        let of_subjects = account.subjects.values().flat_map(|subject| &subject.books);
        let books = account.books.iter().chain(of_subjects);
        let books = books.filter(|book| book.feature == feature);
        let edges = books.flat_map(|book| [book.start, book.end]);
        edges.filter(|at| *at <= now && now - RESTATE_MS - 2 <= *at).collect()
    }

    /// Windows that are over and can be restated, of features whose uses do not add up: the feature, whose it is,
    /// and from when until when.
    pub fn windows_of_values(
        &self,
        account: &str,
        now: i64,
    ) -> Vec<(String, Option<String>, (i64, i64))> {
        let Some(account) = self.accounts.get(account) else { return Vec::new() };
        let named = account.subjects.iter().filter(|(name, _)| !is_erased(name));
        let theirs =
            named.flat_map(|(name, subject)| subject.books.iter().map(move |b| (Some(name), b)));
        let own = account.books.iter().map(|book| (None, book));
        let over = own.chain(theirs).filter(|(_, book)| {
            let adds_up =
                matches!(self.aggregation(&book.feature), Aggregation::Sum | Aggregation::Count);
            !adds_up && book.end <= now && now - RESTATE_MS < book.end
        });
        over.map(|(whose, b)| (b.feature.clone(), whose.cloned(), (b.start, b.end))).collect()
    }

    /// Keys that can be corrected or could once, with the feature, the units and the subject they are of.
    pub fn correctable(&self, account: &str) -> Vec<(String, String, u64, Option<String>)> {
        let Some(account) = self.accounts.get(account) else { return Vec::new() };
        let plain = account.keys.iter().flat_map(|(key, known)| {
            let asked = match &known.asked {
                Asked::Feature(
                    feature,
                    FeatureOp::Consume { units } | FeatureOp::Record { units },
                ) => vec![(feature.clone(), *units)],
                Asked::All(items, AllOp::Consume) => items.clone(),
                _ => Vec::new(),
            };
            let whose = known.subject.clone();
            asked
                .into_iter()
                .map(move |(feature, units)| (key.clone(), feature, units, whose.clone()))
        });
        let events = account.events.iter();
        let events = events.map(|(event, known)| {
            let key = key_of(event).to_owned();
            (key, known.feature.clone(), known.units, known.subject.clone())
        });
        let events: Vec<_> = events.collect();
        // The latest are the most interesting; what was corrected says how it stands.
        let is_corrected = |key: &String, feature: &String| {
            events.iter().any(|(event, of, ..)| (event, of) == (key, feature))
        };
        let mut all: Vec<_> =
            plain.filter(|(key, feature, ..)| !is_corrected(key, feature)).collect();
        all.extend(events);
        let number = |key: &str| key[1..].parse::<u64>().unwrap_or(0);
        all.sort_by_key(|(key, ..)| std::cmp::Reverse(number(key)));
        all.truncate(6);
        all
    }

    /// The reservations of an account that are remembered.
    pub fn holds(&self, account: &str, now: i64) -> Vec<ReservationId> {
        let Some(account) = self.accounts.get(account) else { return Vec::new() };
        let id = |count: &u32| ReservationId(u64::from(account.serial) << 32 | u64::from(*count));
        let remembered = account.holds.iter().filter(|(_, hold)| !hold.is_forgotten(now));
        remembered.map(|(count, _)| id(count)).collect()
    }

    /// Units that a feature of an account could still draw, by its tightest limit.
    pub fn drawable(&self, account: &str, feature: &str, now: i64) -> Option<u64> {
        let account = self.accounts.get(account)?;
        let limits = self.limit_answers(account, feature, now);
        let drawable = limits.iter().filter_map(|limit| limit.drawable).min()?;
        u64::try_from(drawable).ok()
    }
}

fn line(account: &Account, book: &Book, now: i64) -> Line {
    let holds = || {
        let of_feature = account.holds.values().filter(|hold| hold.feature == book.feature);
        of_feature.filter(|hold| hold.lists(book))
    };
    let reserved = holds().filter(|hold| hold.is_open(now)).map(|hold| u128::from(hold.units));
    let invited = match book.limit.as_str() {
        "seats" => account.invited(&book.feature),
        _ => 0,
    };
    let may_book = holds().filter(|hold| hold.may_book(now)).count();
    let marks = book.said.iter().map(|said| match said {
        Said::Soft(place) => 1 << place,
        Said::Reached => 1 << 14,
        Said::Hit => 1 << 15,
    });
    Line {
        feature: book.feature.clone(),
        limit: book.limit.clone(),
        start: book.start,
        end: book.end,
        used: book.used(),
        reserved: reserved.sum::<u128>() + invited,
        debt: book.debt(),
        holds: u32::try_from(may_book as u128 + invited).expect("few"),
        revision: book.revision,
        marks: marks.sum(),
    }
}
