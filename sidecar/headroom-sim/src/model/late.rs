//! Late events and corrections in the model: the book of their time is looked for among all that ever
//! were, and its list of uses gets longer or shorter.

use headroom_core::account::Zone;
use headroom_core::catalog::{Aggregation, FeatureKindSpec, Policy};
use headroom_core::decide::{AllOp, FeatureOp};
use headroom_core::decision::{Amounts, Denial, OpError, Verdict};
use headroom_core::resolve::Origin;
use headroom_core::window::WindowRule;
use headroom_engine::engine::{EngineError, Wants};
use headroom_engine::ports::Seq;

use super::erase::{counted_as, is_erased};
use super::measure::Value;
use super::page::Page;
use super::paid::Paid;
use super::plan::Entitled;
use super::{
    Account, Answer, Asked, Book, COUNT_MAX, Done, KEY_HORIZON_MS, KEY_STEP_MS, Limit, Model,
    Request, Terms,
};
use crate::civil;
use crate::coins::Took;
use crate::model::sliding::length_ms;
use crate::model::spread::dimension;

/// How far back the histories restate windows: shorter than a month, so that some are too old.
pub const RESTATE_MS: i64 = 20 * 24 * 60 * 60 * 1000;

/// What happened earlier, or is to be put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Earlier {
    /// Usage of another time.
    Recorded {
        /// Units.
        units: u64,
        /// When.
        occurred_at: i64,
    },
    /// A correction.
    Corrected {
        /// The event's key.
        event: String,
        /// What it is to count; none withdraws it.
        units: Option<u64>,
        /// What it is said to count.
        original: Option<u64>,
    },
}

/// A request about what happened earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateAsk {
    /// The account's id.
    pub account: String,
    /// The feature.
    pub feature: String,
    /// For whom inside the account.
    pub subject: Option<String>,
    /// The idempotency key.
    pub key: String,
    /// What is asked.
    pub what: Earlier,
    /// Parts that cost something.
    pub wants: Wants,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LateRefused {
    /// As for every write.
    Engine(EngineError),
    /// It cannot be restated any more.
    TooOld,
    /// There is no such event.
    UnknownEvent,
    /// The event is another.
    Differs,
}

impl From<OpError> for LateRefused {
    fn from(error: OpError) -> LateRefused {
        LateRefused::Engine(error.into())
    }
}

/// An event as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    pub(crate) feature: String,
    at: i64,
    pub(crate) units: u64,
    /// Whose, limits and window starts.
    books: Vec<(Option<String>, String, i64)>,
    /// For whom it was told.
    pub(crate) subject: Option<String>,
    /// What credits paid for it.
    paid: Option<Paid>,
}

impl Given {
    /// Lets it be about somebody of another name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let whose = self.windows.iter_mut().filter_map(|window| window.whose.as_mut());
        whose.filter(|whose| *whose == from).for_each(|whose| to.clone_into(whose));
    }
}

impl Happened {
    /// Lets it be counted for somebody of another name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        for (whose, ..) in &mut self.books {
            if whose.as_deref() == Some(from) {
                *whose = Some(to.to_owned());
            }
        }
    }
}

/// A window that an event counts in, as its answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestatedBook {
    /// Which subject's; none is the account's.
    pub whose: Option<String>,
    /// The limit.
    pub limit: String,
    /// Where it starts.
    pub start: i64,
    /// Where it ends; nowhere of a lifetime.
    pub end: Option<i64>,
    /// What the event counted there before, and since. Of a largest and of a latest value what the window held.
    pub units: (u64, u64),
    /// Whether it was closed.
    pub after_close: bool,
}

impl RestatedBook {
    fn of(entry: &Entry, units: (u64, u64)) -> RestatedBook {
        let book = &entry.book;
        RestatedBook {
            whose: entry.whose.clone(),
            limit: book.limit.clone(),
            start: book.start,
            end: (book.end != i64::MAX).then_some(book.end),
            units,
            after_close: !entry.live,
        }
    }
}

/// An answer that was given.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    feature: String,
    subject: Option<String>,
    what: Earlier,
    amounts: Amounts,
    charge: Option<Took>,
    /// The account's windows, then those of subjects.
    windows: Vec<RestatedBook>,
    /// When it was.
    pub(crate) at: i64,
    pub(crate) seq: Option<Seq>,
}

/// A book and how it is to be changed.
pub(crate) struct Entry {
    /// Which subject's; none is the account's.
    pub(crate) whose: Option<String>,
    pub(crate) limit: Limit,
    pub(crate) book: Book,
    /// Whether it is in memory.
    pub(crate) live: bool,
    pub(crate) fresh: bool,
}

/// The name of the event that one of several features of a write is.
fn item_key(event: &str, feature: &str) -> String {
    format!("{event} {feature}")
}

/// The key of the write of an event.
pub(crate) fn key_of(event: &str) -> &str {
    event.split_once(' ').map_or(event, |(key, _)| key)
}

impl LateAsk {
    /// As a request about the same limits.
    fn as_request(&self) -> Request {
        let check = FeatureOp::Check { units: 1, attempt: false };
        Request {
            account: self.account.clone(),
            asked: Asked::Feature(self.feature.clone(), check),
            synthetic: false,
            key: self.key.clone(),
            wants: self.wants,
            subject: self.subject.clone(),
        }
    }
}

impl Model {
    /// Answers a request about what happened earlier.
    pub fn earlier(&mut self, ask: &LateAsk, now: i64) -> Result<Answer, LateRefused> {
        self.told.clear();
        self.met.clear();
        self.restated.clear();
        if !self.accounts.contains_key(&ask.account) {
            if matches!(ask.what, Earlier::Corrected { .. }) {
                return Err(LateRefused::UnknownEvent);
            }
            let Some(stranger) = self.stranger(now) else { return Ok(self.nobody(now)) };
            if let Some(refusal) = &self.refusal {
                return Err(LateRefused::Engine(refusal.clone().into()));
            }
            self.accounts.insert(ask.account.clone(), stranger);
        }
        let account = self.accounts[&ask.account].clone();
        if self.remembers(&account, &ask.key, now) {
            return Err(LateRefused::Engine(EngineError::KeyReused));
        }
        if let Some(given) = account.given.get(&ask.key) {
            let same = match (&given.what, &ask.what) {
                // What the event was said to count is not what is asked for.
                (
                    Earlier::Corrected { event: a, units: x, .. },
                    Earlier::Corrected { event: b, units: y, .. },
                ) => (a, x.unwrap_or(0)) == (b, y.unwrap_or(0)),
                (a, b) => a == b,
            };
            if !same || given.feature != ask.feature || given.subject != ask.subject {
                return Err(LateRefused::Engine(EngineError::KeyReused));
            }
            let (amounts, charge) = (given.amounts, given.charge.clone());
            let account = self.with_charges(&account, now);
            let done = Done { amounts, charge, ..self.stands(&account, ask, now) };
            return Ok(self.dress_for(&ask.as_request(), &account, done, true, now));
        }
        if let Some(refusal) = &self.refusal {
            return Err(LateRefused::Engine(refusal.clone().into()));
        }
        let mut account = account;
        self.charge_ended(&ask.account, &mut account, now);
        self.settle(&mut account, now);
        self.accounts.insert(ask.account.clone(), account);
        self.say_endings(&ask.account, now);
        let mut account = self.accounts[&ask.account].clone();
        let (amounts, charge) = match &ask.what {
            Earlier::Recorded { units, occurred_at } => {
                let at = (*occurred_at).min(now);
                if at < now - RESTATE_MS {
                    return Err(LateRefused::TooOld);
                }
                if self.feature(&ask.feature).is_none() {
                    let barred = Done::refused(Verdict::Denied(Denial::UnknownFeature), None);
                    return Ok(self.dress(&account, barred, ask.wants, false, now));
                }
                self.record_at(&mut account, ask, at, *units, now)?
            }
            Earlier::Corrected { event, units, original } => {
                let wanted = (event.as_str(), units.unwrap_or(0), *original);
                self.correct(&mut account, ask, wanted, now)?
            }
        };
        let (feature, subject) = (ask.feature.clone(), ask.subject.clone());
        let (what, seq) = (ask.what.clone(), None);
        let (at, windows) = (now, std::mem::take(&mut self.restated));
        let given =
            Given { feature, subject, what, amounts, charge: charge.clone(), windows, at, seq };
        account.given.insert(ask.key.clone(), given);
        let done = Done { amounts, charge, ..self.stands(&account, ask, now) };
        let answer = self.dress_for(&ask.as_request(), &account, done, false, now);
        self.accounts.insert(ask.account.clone(), account);
        Ok(answer)
    }

    /// Tells where the record of an answer is.
    pub fn note_given(&mut self, ask: &LateAsk, seq: Seq) {
        let account = self.accounts.get_mut(&ask.account);
        if let Some(given) = account.and_then(|account| account.given.get_mut(&ask.key)) {
            given.seq = Some(seq);
        }
    }

    /// Where the record of an answer is.
    pub fn given_seq(&self, ask: &LateAsk) -> Option<Seq> {
        self.accounts.get(&ask.account)?.given.get(&ask.key)?.seq
    }

    /// The windows that the event of a request counts in.
    pub fn restated(&self, ask: &LateAsk) -> Vec<RestatedBook> {
        let Some(account) = self.accounts.get(&ask.account) else { return Vec::new() };
        let Some(given) = account.given.get(&ask.key) else { return Vec::new() };
        let mut windows = given.windows.clone();
        for window in &mut windows {
            let erased = window.whose.take_if(|whose| is_erased(whose));
            if let Some(key) = erased {
                // By which level of the path it was counted says the limit, if there is one.
                let known =
                    self.has_limit(&Model::inner(account, &key), &ask.feature, &window.limit);
                let level = known.then(|| counted_as(&key));
                window.whose = level.or_else(|| ask.subject.clone());
            }
        }
        windows
    }

    /// Whether a key is that of a late write of lately, which nothing else may have.
    pub(crate) fn is_of_event(account: &Account, key: &str, now: i64) -> bool {
        let lately = |at: i64| now / KEY_STEP_MS <= (at + KEY_HORIZON_MS) / KEY_STEP_MS;
        account.given.get(key).is_some_and(|given| lately(given.at))
    }

    fn remembers(&self, account: &Account, key: &str, now: i64) -> bool {
        account
            .keys
            .get(key)
            .is_some_and(|known| now / KEY_STEP_MS <= (known.at + KEY_HORIZON_MS) / KEY_STEP_MS)
    }

    /// The limits of a feature as they stand, whatever may be asked of them.
    fn stands(&self, account: &Account, ask: &LateAsk, now: i64) -> Done {
        let feature = ask.feature.as_str();
        match self.counted_by(account, feature, now) {
            Ok((limits, origin)) => {
                let mut pages = self.pages(account, feature, &limits, now);
                let mut whose = vec![None; pages.len()];
                for (name, limits) in self.levels(account, feature, ask.subject.as_deref(), now) {
                    let inner = Model::inner(account, &name);
                    pages.extend(limits.iter().map(|l| self.page(&inner, feature, l, now)));
                    whose.resize(pages.len(), Some(name));
                }
                let done = match pages.is_empty() {
                    true => {
                        Done { origin, ..Done::refused(Verdict::Allowed, Some(feature.to_owned())) }
                    }
                    false => self.done_for(account, feature, origin, (&pages, &whose), now),
                };
                self.joined_event(account, feature, done, now)
            }
            Err(_) => Done::refused(Verdict::Allowed, Some(feature.to_owned())),
        }
    }

    /// What counts the uses of a feature.
    fn counted_by(
        &self,
        account: &Account,
        feature: &str,
        now: i64,
    ) -> Result<(Vec<Limit>, Origin), OpError> {
        match self.feature(feature).map(|known| &known.kind) {
            Some(FeatureKindSpec::Concurrency { .. }) => return Err(OpError::SlotsAreHeld),
            Some(FeatureKindSpec::Rate { .. }) => return Err(OpError::RateIsConsumed),
            Some(FeatureKindSpec::Allocation { .. }) => return Err(OpError::LevelIsNow),
            Some(FeatureKindSpec::Seats { .. }) => return Err(OpError::SeatsAreTaken),
            _ => {}
        }
        match self.entitled(account, feature, now) {
            (Entitled::Limits(limits), origin) => Ok((limits, origin)),
            (_, origin) if self.is_pool(feature) => Ok((Vec::new(), origin)),
            _ => match self.bare(feature) {
                bare if bare.is_empty() => Err(OpError::WrongFeatureKind),
                bare => Ok((bare, Origin::None)),
            },
        }
    }

    fn record_at(
        &mut self,
        account: &mut Account,
        ask: &LateAsk,
        at: i64,
        units: u64,
        now: i64,
    ) -> Result<(Amounts, Option<Took>), LateRefused> {
        let feature = &ask.feature;
        let told = dimension(feature, &ask.key);
        self.telling = told;
        if self.aggregation(feature) == Aggregation::Unique && told.is_none() {
            return Err(OpError::NoValue.into());
        }
        let (limits, origin) = self.counted_by(account, feature, now)?;
        let mut entries: Vec<Entry> =
            limits.iter().map(|limit| self.entry(account, feature, limit, at, now)).collect();
        for (name, limits) in self.levels(account, feature, ask.subject.as_deref(), now) {
            self.met.insert("a late event of a subject");
            if account.has_erased(&name) {
                self.met.insert("a late event of somebody new under an erased name");
            }
            let inner = Model::inner(account, &name);
            let here = limits.iter().map(|limit| Entry {
                whose: Some(name.clone()),
                ..self.entry(&inner, feature, limit, at, now)
            });
            entries.extend(here);
        }
        let place = |e: &Entry| (e.whose.clone(), e.book.limit.clone(), e.book.start);
        let books = entries.iter().map(place).collect();
        let signals = self.told.len();
        let taken = if self.aggregation(feature) == Aggregation::Count { 1 } else { units };
        let bill = self.bill_of(account, feature, taken, now)?;
        let debt = match self.value(feature, units, at) {
            Some(value) => {
                self.enter_value(account, &ask.account, entries, value, (origin, now))?
            }
            None => self.enter(account, &ask.account, entries, (0, taken), (origin, now))?,
        };
        let (paid, charge) = self.pay(&ask.account, account, bill, now);
        if let Err(error) = self.check_told(Some(feature), told) {
            self.told.truncate(signals);
            return Err(LateRefused::Engine(error));
        }
        self.spread(account, (feature, told), at, taken.into());
        let debt_units = self.own_debt(feature, &charge).unwrap_or(debt);
        let feature = feature.clone();
        let subject = ask.subject.clone();
        let happened = Happened { feature, at, units, books, subject, paid };
        account.events.insert(ask.key.clone(), happened);
        Ok((Amounts { units, debt_units, ..Amounts::default() }, charge))
    }

    fn correct(
        &mut self,
        account: &mut Account,
        ask: &LateAsk,
        (event, units, original): (&str, u64, Option<u64>),
        now: i64,
    ) -> Result<(Amounts, Option<Took>), LateRefused> {
        let aggregation = self.aggregation(&ask.feature);
        if !matches!(aggregation, Aggregation::Sum | Aggregation::Count) {
            let aggregation = aggregation.as_str();
            return Err(OpError::NotCorrectable { aggregation }.into());
        }
        let remembered = self.remembers(account, event, now);
        // Of several features, each is an event of its own.
        let of_several = item_key(event, &ask.feature);
        let mut place = match account.events.contains_key(&of_several) {
            true => of_several.clone(),
            false => event.to_owned(),
        };
        let happened = match account.events.get(&place) {
            Some(happened) => happened.clone(),
            None if remembered => {
                let known = &account.keys[event];
                if self.feature(&ask.feature).is_none() {
                    return Err(LateRefused::Differs);
                }
                let (limits, _) = self.counted_by(account, &ask.feature, now)?;
                let mut charge = known.charge.as_ref();
                let counted = match &known.asked {
                    Asked::All(items, AllOp::Consume)
                        if !known.synthetic && known.subject == ask.subject =>
                    {
                        let wanted = original.map(|units| (ask.feature.clone(), units));
                        let item = items.iter().position(|item| Some(item) == wanted.as_ref());
                        let Some(item) = item else { return Err(LateRefused::Differs) };
                        self.met.insert("one of several features corrected");
                        charge = known.parts[item].charge.as_ref();
                        place = of_several;
                        items[item].1
                    }
                    Asked::Feature(
                        feature,
                        FeatureOp::Consume { units } | FeatureOp::Record { units },
                    ) if *feature == ask.feature
                        && Some(*units) == original
                        && !known.synthetic
                        && known.subject == ask.subject =>
                    {
                        *units
                    }
                    _ => return Err(LateRefused::Differs),
                };
                let then = |account: &Account, whose: Option<&String>, limit: &Limit| {
                    let of_limit = |b: &&Book| b.feature == ask.feature && b.limit == limit.limit;
                    let mut books = account.books.iter().filter(of_limit);
                    let book = books.find(|b| b.start <= known.at && known.at < b.end)?;
                    Some((whose.cloned(), book.limit.clone(), book.start))
                };
                let mut books: Vec<_> =
                    limits.iter().filter_map(|limit| then(account, None, limit)).collect();
                let subject = ask.subject.as_deref();
                for (name, limits) in self.levels(account, &ask.feature, subject, now) {
                    // Of who came later nothing was counted.
                    if known.subjects.contains(&name) {
                        let inner = Model::inner(account, &name);
                        let here = limits.iter().filter_map(|l| then(&inner, Some(&name), l));
                        books.extend(here);
                    }
                }
                let paid = charge.map(|took| {
                    self.paid_then(account, &ask.feature, counted, (took, known.at), now)
                });
                Happened {
                    paid,
                    feature: ask.feature.clone(),
                    at: known.at,
                    units: counted,
                    books,
                    subject: ask.subject.clone(),
                }
            }
            None => return Err(LateRefused::UnknownEvent),
        };
        if happened.feature != ask.feature || original.is_some_and(|o| o != happened.units) {
            return Err(LateRefused::Differs);
        }
        if happened.subject != ask.subject {
            self.met.insert("a correction that names another subject");
            return Err(LateRefused::Differs);
        }
        let told = dimension(&ask.feature, event);
        self.check_told(Some(&ask.feature), told).map_err(LateRefused::Engine)?;
        if happened.at < now - RESTATE_MS {
            return Err(LateRefused::TooOld);
        }
        let (limits, origin) =
            self.counted_by(account, &ask.feature, now).unwrap_or((Vec::new(), Origin::None));
        let gone = |limit: &str| Limit {
            limit: limit.to_owned(),
            window: WindowRule::Lifetime,
            terms: Terms {
                included: Some(0),
                policy: Policy::Block,
                soft_bp: vec![],
                more: Default::default(),
            },
            gone: true,
            slots: false,
        };
        let entry = |(whose, limit, start): &(Option<String>, String, i64)| {
            let same =
                |b: &&Book| b.feature == ask.feature && b.limit == *limit && b.start == *start;
            let inner = whose.as_ref().map(|name| Model::inner(account, name));
            let account = inner.as_ref().unwrap_or(account);
            let book = account.books.iter().find(same).expect("books stay").clone();
            let of_level = whose.as_ref().map(|name| {
                let all = self.level_limits(account, (&ask.feature, name), now);
                all.into_iter().map(|(_, limit)| limit).collect::<Vec<_>>()
            });
            let limits = of_level.as_ref().unwrap_or(&limits);
            let in_force = limits.iter().find(|known| known.limit == *limit).cloned();
            Entry {
                whose: whose.clone(),
                limit: in_force.unwrap_or_else(|| gone(limit)),
                live: !self.is_closed(account, &book, now),
                book,
                fresh: false,
            }
        };
        let entries: Vec<Entry> = happened.books.iter().map(entry).collect();
        let change = match aggregation {
            Aggregation::Count => (happened.units.min(1), units.min(1)),
            _ => (happened.units, units),
        };
        self.met.insert(match units {
            0 => "an event withdrawn",
            _ if units > happened.units => "an event amended to more",
            _ => "an event amended",
        });
        if !account.events.contains_key(&place) {
            self.met.insert("a plain write corrected");
        }
        if entries.iter().any(|entry| entry.whose.is_some()) {
            self.met.insert("an event of a subject corrected");
        }
        if entries.iter().any(|entry| entry.whose.as_deref().is_some_and(is_erased)) {
            self.met.insert("an event of whom is erased corrected");
        }
        let is_counted = entries.iter().any(|entry| entry.whose.is_none());
        let bill = self.bill_of_change(account, happened.paid.as_ref(), change.1, now)?;
        let debt = self.enter(account, &ask.account, entries, change, (origin, now))?;
        if is_counted {
            let more = i128::from(units) - i128::from(happened.units);
            self.spread(account, (&ask.feature, told), happened.at, more);
        }
        let (paid, charge) = self.pay(&ask.account, account, bill, now);
        let debt_units = self.own_debt(&ask.feature, &charge).unwrap_or(debt);
        account.events.insert(place, Happened { units, paid, ..happened });
        Ok((Amounts { units, debt_units, ..Amounts::default() }, charge))
    }

    /// The book that an instant of the past lies in.
    pub(crate) fn entry(
        &self,
        account: &Account,
        feature: &str,
        limit: &Limit,
        at: i64,
        now: i64,
    ) -> Entry {
        let at = if limit.window == WindowRule::Lifetime { now } else { at };
        let mine = || {
            let of_limit = |b: &&Book| b.feature == feature && b.limit == limit.limit;
            account.books.iter().filter(of_limit)
        };
        if let Some(book) = mine().find(|b| b.start <= at && at < b.end) {
            let live = !self.is_closed(account, book, now);
            let (whose, limit, book) = (None, limit.clone(), book.clone());
            return Entry { whose, limit, book, live, fresh: false };
        }
        let (mut start, mut end) = self.span_now(account, feature, limit, at);
        let next = mine().map(|b| b.start).filter(|start| at < *start).min();
        let mut live = true;
        if let Some(next) = next {
            let zone = Zone::named(&account.zone).expect("a zone that was accepted");
            (start, end) = civil::window(limit.window, account.anchor, zone.rules(), at);
            let before = mine().map(|b| b.end).filter(|end| *end <= at).max();
            start = before.map_or(start, |before| before.max(start));
            end = end.min(next);
            let (current, _) = self.span_now(account, feature, limit, now);
            live = length_ms(limit.window).is_some_and(|ms| current < end.saturating_add(ms));
        }
        let book = Book {
            feature: feature.to_owned(),
            limit: limit.limit.clone(),
            start,
            end,
            carried: 0,
            noted: false,
            ended: false,
            stays: false,
            uses: Vec::new(),
            undone: Vec::new(),
            latest: None,
            seen: Default::default(),
            terms: limit.terms.clone(),
            revision: 1,
            said: Default::default(),
            then: None,
            closed: !live,
        };
        // It is measured as what it is, a window of its own.
        let then = (!live).then(|| {
            let mut with = account.clone();
            with.books.push(book.clone());
            self.then(&with, &book, now)
        });
        let book = Book { then, ..book };
        Entry { whose: None, limit: limit.clone(), book, live, fresh: true }
    }

    /// Lets the books count so many units in place of so many.
    fn enter(
        &mut self,
        account: &mut Account,
        id: &str,
        entries: Vec<Entry>,
        (from, to): (u64, u64),
        (origin, now): (Origin, i64),
    ) -> Result<u64, LateRefused> {
        let more = to.saturating_sub(from);
        let mut pages = Vec::new();
        for entry in entries {
            let inner = entry.whose.as_ref().map(|name| Model::inner(account, name));
            let of = inner.as_ref().unwrap_or(account);
            let mut page = self.page_of(of, entry.book.clone(), &entry.limit, entry.fresh, now);
            self.allow_then(of, &mut page);
            let held = if entry.live { page.held() } else { entry.book.used() };
            let most = self.most_after(of, &page, now).max(held);
            if most + u128::from(more) > COUNT_MAX {
                return Err(OpError::CounterFull.into());
            }
            pages.push((entry, page));
        }
        let mut debt = 0;
        for (entry, page) in pages {
            let before = entry.book.debt();
            // A window gives back no more than it has.
            let has = u64::try_from(entry.book.used()).expect("a count");
            let counted = if to < from { to + (from - to).min(has) } else { from };
            self.restated.push(RestatedBook::of(&entry, (counted, to)));
            let (whose, told) = (entry.whose.clone(), self.told.clone());
            let mut inner = whose.as_ref().map(|name| Model::inner(account, name));
            let of = inner.as_mut().unwrap_or(account);
            let owed = if entry.live {
                self.enter_live(of, id, page.clone(), (from, to), (origin, now))
            } else {
                let by_subject = "a window of a subject restated after its close";
                let by_account = "a window restated after its close";
                self.met.insert(if whose.is_some() { by_subject } else { by_account });
                let ceiling = self.allowed_then(of, &entry.book, &entry.limit, now);
                enter_closed(of, (entry, ceiling), (from, to))
            };
            debt = owed.max(debt);
            self.pass_on(of, id, &page, before, (origin, now));
            if let (Some(name), Some(inner)) = (whose, inner) {
                // Subjects are told of nothing.
                self.told = told;
                account.subjects.insert(name, inner);
            }
        }
        Ok(u64::try_from(debt).expect("a part of the units"))
    }

    /// Lets a value count in the books of its time.
    fn enter_value(
        &mut self,
        account: &mut Account,
        id: &str,
        entries: Vec<Entry>,
        value: Value,
        (origin, now): (Origin, i64),
    ) -> Result<u64, LateRefused> {
        for entry in &entries {
            if !entry.live {
                value.fits_past(&entry.book)?;
            }
            value.fits()?;
        }
        let mut debt = 0;
        for entry in entries {
            let told = self.told.clone();
            let whose = entry.whose.clone();
            let mut inner = whose.as_ref().map(|name| Model::inner(account, name));
            let of = inner.as_mut().unwrap_or(account);
            let mut page = self.page_of(of, entry.book.clone(), &entry.limit, entry.fresh, now);
            let held = u64::try_from(entry.book.used()).expect("a count");
            let since =
                value.after(&page).map_or(held, |after| u64::try_from(after).expect("a count"));
            let counted = match self.aggregation(&entry.book.feature) {
                Aggregation::Unique => (0, since - held),
                _ => (held, since),
            };
            self.restated.push(RestatedBook::of(&entry, counted));
            self.allow_then(of, &mut page);
            let Some(after) = value.after(&page) else {
                self.met.insert(match entry.live {
                    true => "a late value that changes nothing",
                    false => "a late value that changes nothing of a window that is over",
                });
                continue;
            };
            let owed = if entry.live {
                let is_now = page.book.start <= now && now < page.book.end;
                let told = is_now && origin != Origin::None;
                let owed = self.count_value((id, of), &mut page, value, (true, told), now);
                let key = (page.book.limit.clone(), page.book.start);
                let feature = page.book.feature;
                self.met.insert("a late value that counts");
                self.close(of, now, |b| b.feature == feature && (b.limit.clone(), b.start) == key);
                owed
            } else {
                self.met.insert("a window restated after its close");
                self.met.insert(value.restates(whose.is_some(), entry.fresh));
                let ceiling = self.allowed_then(of, &entry.book, &entry.limit, now);
                let mut book = entry.book;
                let owed = value.enter_closed(&mut book, after, ceiling);
                put_closed(of, book);
                owed
            };
            debt = owed.max(debt);
            if let (Some(name), Some(inner)) = (whose, inner) {
                self.met.insert("a late value of a subject");
                // Subjects are told of nothing.
                self.told = told;
                account.subjects.insert(name, inner);
            }
        }
        Ok(u64::try_from(debt).expect("a part of the units"))
    }

    fn enter_live(
        &mut self,
        account: &mut Account,
        id: &str,
        mut page: Page,
        (from, to): (u64, u64),
        (origin, now): (Origin, i64),
    ) -> u128 {
        let mut owed = 0;
        if to > from {
            let previous = page.used();
            owed = page.book_units(to - from, to - from);
            let is_now = page.book.start <= now && now < page.book.end;
            if origin != Origin::None && (is_now || page.slide.is_some()) {
                self.announce_use(id, account, &mut page, previous, now);
            }
        } else {
            let ceiling = page.ceiling();
            let less = u128::from(from - to).min(page.book.used());
            let all = page.used() - less;
            take(&mut page.book, less, all, ceiling);
        }
        let key = (page.book.limit.clone(), page.book.start);
        self.keep(account, &mut page);
        let feature = page.book.feature;
        self.close(account, now, |b| (b.feature == feature) && (b.limit.clone(), b.start) == key);
        owed
    }
}

fn enter_closed(
    account: &mut Account,
    (entry, ceiling): (Entry, Option<u128>),
    (from, to): (u64, u64),
) -> u128 {
    let mut book = entry.book;
    let mut owed = 0;
    if to > from {
        let units = u128::from(to - from);
        let after = book.used() + units;
        owed = ceiling.map_or(0, |ceiling| (after - after.min(ceiling)).min(units));
        book.uses.push((to - from, owed));
    } else {
        let less = u128::from(from - to).min(book.used());
        let all = book.used() - less;
        take(&mut book, less, all, ceiling);
    }
    put_closed(account, book);
    owed
}

fn put_closed(account: &mut Account, book: Book) {
    let same =
        |b: &&mut Book| b.feature == book.feature && b.limit == book.limit && b.start == book.start;
    match account.books.iter_mut().find(same) {
        Some(known) => *known = book,
        None => account.books.push(book),
    }
}

/// Takes units off a book of a limit that then counts `all`. The debt goes first, but not what is over
/// the ceiling all the same.
pub(crate) fn take(book: &mut Book, less: u128, all: u128, ceiling: Option<u128>) {
    let over = ceiling.map_or(0, |ceiling| all - all.min(ceiling));
    let debt = book.debt();
    let must_stay = debt.min(over);
    let may_go = debt - must_stay;
    let stays = debt - may_go.min(less);
    // There is no debt without units.
    let stays = stays.min(book.used() - less);
    book.undone.push((u64::try_from(less).expect("a count"), debt - stays));
}
