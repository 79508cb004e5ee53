//! Trying rules on what was known at the looks of the past.
//!
//! Everything is read from the projection, so no account is locked and nothing is kept from deciding; the
//! thread rests as long as it works.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use headroom_core::time::Millis;
use headroom_engine::digest::after_prefix;
use headroom_engine::ports::{ArchiveError, Row, Table, rows as all_rows};
use headroom_expansion::backtest::{Backtest, Report, Span};
use headroom_expansion::chronicle::{Known, Look, is_sampled, look, needs};
use headroom_expansion::opportunity::Stage;
use headroom_expansion::terms::Terms;
use tokio::sync::SemaphorePermit;

use super::{Growth, lasting, rows};

/// Rows read at a time.
const PAGE_ROWS: usize = 512;

/// Accounts between two pauses, and two words about how far it is.
const ACCOUNTS_AT_ONCE: usize = 64;

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What is asked of a backtest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// How far back, in milliseconds.
    pub since_ms: i64,
    /// How soon after a trigger an upgrade makes it right, in milliseconds.
    pub within_ms: i64,
    /// Until when.
    pub now: Millis,
    /// Whether to rest as long as to work. Not where nobody else wants the processor.
    pub rests: bool,
}

/// What a backtest has found, and on what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// What was found.
    pub report: Report,
    /// Since when looks are kept. `None`: none is.
    pub known_since: Option<Millis>,
    /// Looks of one in so many accounts are kept.
    pub one_in: u64,
}

impl Growth {
    /// Waits until nobody else tries rules on the past. Dropped, it is the next one's turn.
    pub async fn turn_to_try(&self) -> Option<SemaphorePermit<'_>> {
        self.trying.acquire().await.ok()
    }

    /// Tries rules on the past. `progress` is told how many accounts of how many are done; false ends it,
    /// and there is no report. Takes some ten microseconds a look: for a thread that may wait.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn backtest(
        &self,
        terms: &Terms,
        ask: Ask,
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<Option<Tried>, ArchiveError> {
        let (dictionary, bits, known_since) = {
            let book = self.book();
            let chronicle = &book.chronicle;
            (chronicle.dictionary.clone(), chronicle.bits, chronicle.began)
        };
        let span = Span::of(ask.now.plus(-ask.since_ms), known_since.unwrap_or(ask.now), ask.now);
        let mut outcomes = self.outcomes(span.warm_up_from())?;
        let hash = |text: &str| self.hash(text)[0];
        let catalog = self.engine.catalog();
        let dictionary = lasting::told(&catalog, dictionary);
        let plans = catalog.plans().iter().map(|plan| &*plan.plan);
        let mut test = Backtest::new(terms, plans, &dictionary, &hash, (span, ask.within_ms));
        let mut serials = Vec::new();
        self.each_account(|serial, _| serials.extend(is_sampled(serial, bits).then_some(serial)));
        let mut done = 0;
        for some in serials.chunks(ACCOUNTS_AT_ONCE) {
            let started = Instant::now();
            for serial in some {
                let mut run = test.account(outcomes.remove(serial).unwrap_or_default());
                self.each_look(*serial, &span, |look| run.look(look))?;
                run.end();
            }
            done += some.len();
            let goes_on = !self.is_ending.load(Ordering::Relaxed);
            if !goes_on || !progress(done, serials.len()) {
                return Ok(None);
            }
            if ask.rests {
                thread::sleep(started.elapsed().min(PAUSE_MAX));
            }
        }
        Ok(Some(Tried { report: test.report(), known_since, one_in: 1 << bits.min(63) }))
    }

    /// When accounts upgraded, or an opportunity of theirs was won, since an instant.
    fn outcomes(&self, since: Millis) -> Result<HashMap<u32, Vec<Millis>>, ArchiveError> {
        let mut outcomes: HashMap<u32, Vec<Millis>> = HashMap::new();
        let to = after_prefix(&[rows::UPGRADE]);
        for row in
            all_rows(&*self.archive, Table::Growth, rows::upgrades_since(since), to, PAGE_ROWS)
        {
            let Some((at, serial)) = rows::upgrade_of(&row?.0) else { continue };
            outcomes.entry(serial).or_default().push(at);
        }
        for (serial, one) in self.book().each_opportunity() {
            if one.stage == Stage::Won && since <= one.since {
                outcomes.entry(*serial).or_default().push(one.since);
            }
        }
        Ok(outcomes)
    }

    /// The looks at an account in a span: how it stood before, and every look since.
    fn each_look(
        &self,
        serial: u32,
        span: &Span,
        mut with: impl FnMut(Look),
    ) -> Result<(), ArchiveError> {
        let from = rows::look(serial, span.warm_up_from());
        let to = rows::look(serial, span.to);
        let before = self.archive.last(Table::Growth, &rows::looks(serial), &from)?;
        let later = all_rows(&*self.archive, Table::Growth, from, to, PAGE_ROWS);
        let mut whole: Option<(Millis, Known)> = None;
        for row in before.map(Ok).into_iter().chain(later) {
            let (key, value) = row?;
            let Some(at) = rows::look_of(&key) else { continue };
            let read = match needs(&value) {
                Some(Ok(())) => look(at, &value, None)
                    .inspect(|look| whole = Some((look.at, look.known.clone()))),
                Some(Err(needed)) => {
                    if whole.as_ref().is_none_or(|(at, _)| *at != needed) {
                        whole = self.whole_look(serial, needed)?.map(|known| (needed, known));
                    }
                    look(at, &value, whole.as_ref().map(|(_, known)| known))
                }
                None => None,
            };
            // One that cannot be read is as if nothing had been looked at.
            read.into_iter().for_each(&mut with);
        }
        Ok(())
    }

    fn whole_look(&self, serial: u32, at: Millis) -> Result<Option<Known>, ArchiveError> {
        let (from, to) = (rows::look(serial, at), rows::look(serial, at.plus(1)));
        let found: Vec<Row> = self.archive.range(Table::Growth, &from, &to, 1)?;
        let read = found.first().and_then(|(_, value)| look(at, value, None));
        Ok(read.map(|look| look.known))
    }
}
