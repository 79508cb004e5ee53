//! Growth: what is known of each account beside its counters, and what is said of its signals.
//!
//! The rules are those of `headroom-expansion`. Here is what they are fed with, and what is kept: in
//! memory by account, and as rows of a table of the projection's, each written by a journal record
//! before anybody is told. Nothing of it is on the road of a request.
//!
//! Every signal is *appraised* once, in the order of the journal, when it has come to the projection: its
//! gate, scores and route are worked out from the facts of that moment and written down. Sinks read
//! signals only up to there, so a signal says the same at every attempt and in every process.
//!
//! - `rows.rs` keys and values of the table; `book.rs` what of it is in memory.
//! - `appraisal.rs` what is said of a signal; `sources.rs` the facts of an account.
//! - `publish.rs` activity, signals and facts that others tell.
//! - `watching.rs` signals that come of rules.
//! - `pipeline.rs` what became of signals, as the CRM tells it.
//! - `standing.rs` accounts in the order of their scores, and whether the gate is any good.
//! - `chronicle.rs` what was known at each look; `backtest.rs` rules tried on it.

pub mod appraisal;
pub mod backtest;
mod book;
mod chronicle;
mod lasting;
pub mod pipeline;
pub mod publish;
mod rows;
mod sources;
pub mod standing;
mod watching;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use headroom_core::account::Profile;
use headroom_core::signal::SignalState;
use headroom_core::time::Millis;
use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use headroom_engine::ports::{Archive, ArchiveError, GrowthRow, Seq, Table};
use headroom_engine::told::{Raised, raised_row};
use headroom_expansion::benchmark::{Benchmarks, TYPICAL_SEATS};
use headroom_expansion::class::Class;
use headroom_expansion::days::Day;
use headroom_expansion::facts::{Facts, PARTS, Value};
use headroom_expansion::terms::Terms;
use headroom_expansion::watch::Watch;
use tokio::sync::Semaphore;

pub use appraisal::Appraisal;
use book::Book;

/// Signals that are appraised at a time, and make one record: some 40 KB.
const SIGNALS_PER_RECORD: usize = 32;

/// Appraisals that are kept, of the latest signals: some 30 MB. A signal that is sent again later than
/// that is appraised anew.
pub const APPRAISALS_MAX: usize = 32_768;

/// Of these so many are in memory, too.
const APPRAISALS_AT_HAND: usize = 1_024;

/// The signal that says that a feature outside the plan was tried.
const TRIED: &str = "premium_feature_attempted";

/// Greater than the key of every signal.
const LAST_KEY: [u8; 11] = [u8::MAX; 11];

/// Says the last record that a crash leaves.
pub type Written = Box<dyn Fn() -> Seq + Send + Sync>;

/// Where appraising has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appraised {
    /// The latest signal whose appraisal is written. Only up to it is anybody told: of what a crash takes
    /// back something else may be said afterwards, under the same id.
    pub written_to: SignalId,
    /// Whether that is all of them.
    pub is_all: bool,
}

/// What is known of accounts' growth.
pub struct Growth {
    engine: Arc<Engine>,
    archive: Arc<dyn Archive>,
    /// What the projection must know before the rows can be read.
    upto: Seq,
    terms: ArcSwap<Terms>,
    /// The last record that a crash leaves.
    written: Written,
    /// The data directory's secret, for hashes of names.
    secret: [u8; 16],
    is_loaded: AtomicBool,
    book: Mutex<Book>,
    agenda: Mutex<watching::Agenda>,
    /// What accounts of a size usually have, as of the last look at all.
    benchmarks: ArcSwap<Benchmarks>,
    /// Whoever tries rules on the past: one at a time.
    trying: Semaphore,
    is_ending: AtomicBool,
}

impl Growth {
    /// Of a data directory whose journal ends at `upto`. Nothing is read yet.
    pub fn new(
        engine: Arc<Engine>,
        archive: Arc<dyn Archive>,
        upto: Seq,
        written: Written,
        secret: [u8; 16],
        terms: Terms,
    ) -> Growth {
        Growth {
            engine,
            archive,
            upto,
            written,
            terms: ArcSwap::from_pointee(terms),
            secret,
            is_loaded: AtomicBool::new(false),
            book: Mutex::default(),
            agenda: Mutex::default(),
            benchmarks: ArcSwap::default(),
            trying: Semaphore::new(1),
            is_ending: AtomicBool::new(false),
        }
    }

    /// The sidecar stops: what takes long is given up.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// The rules in force.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// What the catalog says, from now on.
    pub fn set_terms(&self, terms: Terms) {
        self.terms.store(Arc::new(terms));
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what was kept has been read.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::Acquire)
    }

    /// Reads what was kept, once the projection knows all of it; true when it is read. Takes as long as
    /// there are rows: for a thread that may wait.
    ///
    /// # Errors
    /// When the projection cannot be read; it may be tried again.
    pub fn load(&self) -> Result<bool, ArchiveError> {
        if self.is_loaded() {
            return Ok(true);
        }
        if self.archive.position() < self.upto {
            return Ok(false);
        }
        let read = Book::load(&*self.archive, self.upto)?;
        let mut book = self.book();
        if !self.is_loaded() {
            if let Some(row) = read.begins() {
                self.engine.note_growth(&[row], &[]);
            }
            *book = read;
            self.is_loaded.store(true, Ordering::Release);
        }
        Ok(true)
    }

    /// Appraises the signals that the projection knows and that are not appraised. Nothing: what was kept
    /// is not read yet.
    ///
    /// # Errors
    /// When the projection cannot be read; it may be tried again.
    pub fn appraise(&self) -> Result<Option<Appraised>, ArchiveError> {
        if !self.is_loaded() {
            return Ok(None);
        }
        loop {
            // Let go after each page, so that nobody waits for all of them.
            let mut book = self.book();
            let from = book.appraised_to().after().row_key();
            let page = self.archive.range(Table::Signals, &from, &LAST_KEY, SIGNALS_PER_RECORD)?;
            if page.is_empty() {
                let written_to = book.written_to((self.written)());
                let is_all = written_to == book.appraised_to();
                return Ok(Some(Appraised { written_to, is_all }));
            }
            let mut rows = Vec::new();
            for (key, value) in &page {
                let Some(id) = SignalId::of_row_key(key) else { continue };
                // One that cannot be read is reported by every sink; it has no appraisal.
                match raised_row(value) {
                    Ok((serial, raised)) => {
                        self.appraise_one(&mut book, id, serial, &raised, &mut rows);
                    }
                    Err(_) => book.pass(id),
                }
            }
            let record = (!rows.is_empty()).then(|| self.engine.note_growth(&rows, &[]));
            book.note_record(record);
        }
    }

    fn appraise_one(
        &self,
        book: &mut Book,
        id: SignalId,
        serial: u32,
        raised: &Raised,
        rows: &mut Vec<GrowthRow>,
    ) {
        let (name, at) = (raised.name(), raised.at());
        let terms = self.terms.load();
        // What has come down again did not come on that day.
        if !raised.is_recovery() {
            book.fired(serial, name, Day::of(at), rows);
        }
        if let Raised::Found(signal) = raised
            && name == TRIED
        {
            let catalog = self.engine.catalog();
            // Under the name that lasts: what it is called may change.
            book.tried(serial, catalog.text(signal.feature), Day::of(at), rows);
        }
        self.touch(serial);
        let facts = self.facts_in(book, &terms, serial, at);
        let live = book.live_signals(serial, Day::of(at));
        let (appraisal, points_tenths) = Appraisal::of(&terms, &facts, name, live);
        book.scored(serial, Day::of(at), points_tenths, rows);
        book.appraised(id, Arc::new(appraisal), rows);
    }

    /// What was said of a signal when it came. Nothing: it came before that was kept, or too long ago.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn appraisal(&self, id: SignalId) -> Result<Option<Arc<Appraisal>>, ArchiveError> {
        if let Some(found) = self.book().at_hand(id) {
            return Ok(Some(found));
        }
        let key = rows::appraisal(id);
        let mut after = key.clone();
        after.push(0);
        let found = self.archive.range(Table::Growth, &key, &after, 1)?;
        Ok(found.first().and_then(|(_, value)| Appraisal::read(value)).map(Arc::new))
    }

    /// The facts of an account as of an instant: those that were put, and those that follow from its
    /// days, its people, its limits and its signals. None when it is not known.
    pub fn facts(&self, account: &str, at: Millis) -> Option<Facts> {
        let serial = self.engine.serial(account)?;
        let terms = self.terms.load();
        Some(self.facts_in(&self.book(), &terms, serial, at))
    }

    fn facts_in(&self, book: &Book, terms: &Terms, serial: u32, at: Millis) -> Facts {
        let Some(account) = self.engine.account_id(serial) else { return Facts::default() };
        let mut facts = sources::facts(&self.engine, terms, book.account(serial), &account, at);
        let live = book.live_signals(serial, Day::of(at));
        facts.infer("live_signals", Value::whole(i64::try_from(live).unwrap_or(i64::MAX)));
        if let Some(count) = facts.text("email_domain").and_then(|domain| book.signups(domain)) {
            facts.infer("signups_of_domain", Value::whole(count));
        }
        if let Some(Value::Number(parts)) = facts.get(&terms.benchmark.size_fact)
            && let Some(seats) = self.typical_seats(*parts)
        {
            facts.infer(TYPICAL_SEATS, Value::whole(i64::from(seats)));
        }
        if let Some(permille) = book.usage_change(serial) {
            facts.infer("usage_change_percent", Value::Number(permille * PARTS / 10));
        }
        // What warns of a loss pauses what sells.
        let warns = |watch: &Watch| {
            watch.class == Class::Churn
                && book.kept(serial, &watch.signal).state == SignalState::Alarm
        };
        if terms.watches.iter().any(warns) {
            facts.infer("churn_signal", Value::Flag(true));
        }
        facts
    }

    /// How many seats accounts of a size usually use; the size as a fact has it, in thousandths.
    fn typical_seats(&self, size_parts: i64) -> Option<u32> {
        self.benchmarks.load().seats(u64::try_from(size_parts / PARTS).ok()?)
    }

    /// The facts that a prompt's words may be about: those that were put, ascending by name and as JSON,
    /// and how many seats accounts of the same size usually use, where that is known and nobody put
    /// something else.
    pub fn facts_for_words<'a>(&self, put: &'a [(String, String)]) -> Cow<'a, [(String, String)]> {
        let terms = self.terms.load();
        let json = |name: &str| put.iter().find(|(known, _)| known == name).map(|(_, json)| json);
        let size = json(&terms.benchmark.size_fact).and_then(|json| appraisal::fact_of(json));
        let Some(Value::Number(parts)) = size else { return Cow::Borrowed(put) };
        let (None, Some(seats)) = (json(TYPICAL_SEATS), self.typical_seats(parts)) else {
            return Cow::Borrowed(put);
        };
        let mut facts = put.to_vec();
        let place = facts.partition_point(|(name, _)| name.as_str() < TYPICAL_SEATS);
        facts.insert(place, (TYPICAL_SEATS.to_owned(), seats.to_string()));
        Cow::Owned(facts)
    }

    /// An account's plan has changed, or the account is new: it is looked at soon, and whether that is an
    /// upgrade, and if so, whether the account had passed the gate before it, is written down. Answers the
    /// record to wait for.
    pub fn plan_changed(
        &self,
        account: &str,
        before: Option<&Profile>,
        after: &Profile,
        at: Millis,
    ) -> Option<Seq> {
        let catalog = self.engine.catalog();
        let serial = self.engine.serial(account)?;
        self.touch(serial);
        if !standing::is_upgrade(&catalog, before?, after, at) {
            return None;
        }
        let terms = self.terms.load();
        let facts = self.facts_in(&self.book(), &terms, serial, at);
        let is_passed = headroom_expansion::gate::readiness(&terms, &facts).is_passed();
        Some(self.engine.note_growth(&[rows::upgrade(at, serial, is_passed)], &[]))
    }
}
