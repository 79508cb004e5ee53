//! Reading signals out of the projection, page by page, each once per run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use headroom_engine::ports::{Archive, ArchiveError, Row, Table};
use headroom_engine::told::{Raised, raised_row};
use headroom_expansion::class;
use tokio::time::Instant;

use super::dead::Why;
use super::limits::{CATCH_UP_POLL, PAGE_ROWS, READ_RETRY, WRITTEN_POLL};
use super::outbox::Wiring;
use super::status::Board;
use crate::config::sinks::Filter;
use crate::growth::{Appraisal, Appraised, Growth};

/// Greater than the key of every signal.
const LAST_KEY: [u8; 11] = [u8::MAX; 11];

/// A signal to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Its name for ever.
    pub(super) id: SignalId,
    /// The account's number.
    pub(super) serial: u32,
    /// What happened.
    pub(super) signal: Raised,
    /// What was said of it. Nothing: it is from before that was kept.
    pub(super) appraisal: Option<Arc<Appraisal>>,
}

/// What a row is to a sink.
#[derive(Debug)]
pub(super) enum Fed {
    /// To be delivered.
    Wanted(Item),
    /// Of no interest, or unreadable.
    Unwanted(SignalId),
}

/// The rows after a sink's cursor.
pub(super) struct Feed {
    archive: Arc<dyn Archive>,
    engine: Arc<Engine>,
    growth: Arc<Growth>,
    board: Arc<Board>,
    filter: Filter,
    read_to: SignalId,
    /// Whether there may be rows that were not read.
    unread: bool,
    retry_at: Option<Instant>,
    /// How long reading rests, because what was said of a signal is not written yet. `None`: all is.
    pause: Option<Duration>,
}

impl Feed {
    /// Rows after `read_to` that pass the filter.
    pub(super) fn new(
        wiring: &Wiring,
        board: Arc<Board>,
        filter: Filter,
        read_to: SignalId,
    ) -> Feed {
        let (archive, engine) = (Arc::clone(&wiring.archive), Arc::clone(&wiring.engine));
        let growth = Arc::clone(&wiring.growth);
        Feed {
            archive,
            engine,
            growth,
            board,
            filter,
            read_to,
            unread: true,
            retry_at: None,
            pause: None,
        }
    }

    /// The last row that was read, or where reading begins.
    pub(super) fn read_to(&self) -> SignalId {
        self.read_to
    }

    /// There may be new rows.
    pub(super) fn wake(&mut self) {
        self.unread = true;
    }

    /// Whether reading now may bring something.
    pub(super) fn is_unread(&self, now: Instant) -> bool {
        self.unread && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Whether there are signals that can be read in a moment: nobody ends before.
    pub(super) fn is_writing(&self) -> bool {
        self.pause.is_some()
    }

    /// When reading is tried again: after a failure, or when what was said of a signal was not written.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The next page; empty when there is nothing new, or when reading failed, which is noted.
    pub(super) fn page(&mut self, now: Instant) -> Vec<Fed> {
        match self.read() {
            Ok(Some((rows, is_all))) => {
                // What is being written is written within a moment, unless the disk takes nothing.
                let longer = self.pause.filter(|_| rows.is_empty()).map(|pause| pause * 2);
                let pause = longer.map_or(WRITTEN_POLL, |pause| pause.min(CATCH_UP_POLL));
                self.pause = (!is_all).then_some(pause);
                self.retry_at = self.pause.map(|pause| now + pause);
                rows.into_iter().filter_map(|row| self.sort(&row)).collect()
            }
            // Just after a start what is known of accounts is still being read.
            Ok(None) => {
                self.retry_at = Some(now + CATCH_UP_POLL);
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(sink = self.board.sink(), %error, "signals cannot be read");
                self.board.failed(&error.to_string());
                self.retry_at = Some(now + READ_RETRY);
                Vec::new()
            }
        }
    }

    /// A signal that was given up, to be sent again. `None`: it cannot be read.
    pub(super) fn again(&self, id: SignalId) -> Option<Item> {
        let found = signal(&*self.archive, id);
        let sink = self.board.sink();
        match found {
            Ok(Some((serial, signal))) => {
                let appraisal = self.growth.appraisal(id).ok().flatten();
                Some(Item { id, serial, signal, appraisal })
            }
            Ok(None) => {
                tracing::error!(sink, signal = %id, "a dead letter cannot be read");
                self.board.give_up(id, Why::Unreadable);
                None
            }
            Err(error) => {
                tracing::warn!(sink, signal = %id, %error, "a dead letter cannot be read now");
                self.board.failed(&error.to_string());
                self.board.give_up(id, Why::NoAnswer);
                None
            }
        }
    }

    /// The next rows whose appraisal is written, and whether there are no others. `None`: it is too early
    /// to say.
    fn read(&mut self) -> Result<Option<(Vec<Row>, bool)>, ArchiveError> {
        // Counted before reading: a row that comes in between is read twice late, never left out.
        let count = self.archive.count(Table::Signals)?;
        let Some(Appraised { written_to, is_all }) = self.growth.appraise()? else {
            return Ok(None);
        };
        let (from, to) = (self.read_to.after().row_key(), written_to.after().row_key());
        let rows = match from < to {
            true => self.archive.range(Table::Signals, &from, &to, PAGE_ROWS)?,
            false => Vec::new(),
        };
        self.unread = rows.len() == PAGE_ROWS || !is_all;
        self.board.read(rows.len() as u64, (!self.unread).then_some(count));
        Ok(Some((rows, is_all)))
    }

    fn sort(&mut self, (key, value): &Row) -> Option<Fed> {
        let Some(id) = SignalId::of_row_key(key) else {
            tracing::error!(sink = self.board.sink(), ?key, "a signal's key cannot be read");
            return None;
        };
        self.read_to = id;
        Some(match raised_row(value) {
            Ok((serial, signal)) => {
                // Where it cannot be read, the signal is told without.
                let appraisal = self.growth.appraisal(id).ok().flatten();
                let item = Item { id, serial, signal, appraisal };
                if self.wants(&item) { Fed::Wanted(item) } else { Fed::Unwanted(id) }
            }
            Err(error) => {
                let sink = self.board.sink();
                tracing::error!(sink, signal = %id, %error, "a signal cannot be read");
                self.board.give_up(id, Why::Unreadable);
                Fed::Unwanted(id)
            }
        })
    }
}

impl Feed {
    /// Whether the sink wants a signal. Class and gate are as they were said of it; facts are those of
    /// the account when the signal is read.
    fn wants(&self, item: &Item) -> bool {
        let Filter { classes, gates, facts, .. } = &self.filter;
        let Item { serial, signal, appraisal, .. } = item;
        let said = appraisal.as_deref();
        let class = said.map(|said| said.class).or_else(|| class::of(signal.name()));
        let is_one = |wanted: &Vec<_>| class.is_some_and(|class| wanted.contains(&class));
        if !classes.as_ref().is_none_or(is_one) {
            return false;
        }
        if !gates.as_ref().is_none_or(|gates| said.is_some_and(|said| gates.contains(&said.gate))) {
            return false;
        }
        if !wants(&self.filter, &self.engine, *serial, signal) {
            return false;
        }
        if facts.is_empty() {
            return true;
        }
        let account = self.engine.account_id(*serial);
        let known = account.and_then(|account| self.growth.facts(&account, signal.at()));
        let known = known.unwrap_or_default();
        facts.iter().all(|one| one.test.holds(&known, &one.fact) == Some(true))
    }
}

/// Whether a sink wants a signal. The plan is the one that was in force when it was raised, as far
/// as the account's present profile tells.
fn wants(filter: &Filter, engine: &Engine, serial: u32, signal: &Raised) -> bool {
    let is_named =
        filter.signals.as_ref().is_none_or(|names| names.iter().any(|name| name == signal.name()));
    let is_state =
        filter.states.contains(&signal.state()) || filter.recovered && signal.is_recovered();
    if !is_named || !is_state {
        return false;
    }
    let (features, plans) = (&filter.features, &filter.plans);
    if features.is_none() && plans.is_none() {
        return true;
    }
    let catalog = engine.catalog();
    // What was told is about no feature.
    let has_feature = |wanted: &BTreeSet<String>| match signal {
        Raised::Found(signal) => wanted.contains(catalog.feature_text(signal.feature)),
        Raised::Told(_) => false,
    };
    let has_plan = |wanted: &BTreeSet<String>| {
        let profile = engine.account_id(serial).and_then(|account| engine.profile(&account));
        profile.is_some_and(|profile| {
            wanted.contains(catalog.plan_name(profile.plan_at(signal.at()).0).0)
        })
    };
    features.as_ref().is_none_or(has_feature) && plans.as_ref().is_none_or(has_plan)
}

/// The account's number and the signal of an id. `None`: there is none, or it cannot be read.
pub(super) fn signal(
    archive: &dyn Archive,
    id: SignalId,
) -> Result<Option<(u32, Raised)>, ArchiveError> {
    let rows = archive.range(Table::Signals, &id.row_key(), &id.after().row_key(), 1)?;
    Ok(rows.first().and_then(|(_, value)| raised_row(value).ok()))
}

/// How many rows there are after a place. Reads all of them, in pages: not for the control thread.
pub(super) fn count_after(archive: &dyn Archive, place: SignalId) -> Result<u64, ArchiveError> {
    const ROWS: usize = 4096;
    let mut from = place.after().row_key();
    let mut count = 0;
    loop {
        let rows = archive.range(Table::Signals, &from, &LAST_KEY, ROWS)?;
        count += rows.len() as u64;
        match rows.last() {
            Some((last, _)) if rows.len() == ROWS => {
                from.clone_from(last);
                from.push(0);
            }
            _ => return Ok(count),
        }
    }
}
