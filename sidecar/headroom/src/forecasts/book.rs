//! Forecasts in memory, and how one is made that is not there.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use headroom_core::catalog::{Catalog, FeatureKind};
use headroom_core::decision::{LimitState, WindowPhase};
use headroom_core::names::NameId;
use headroom_core::time::Millis;
use headroom_forecast::{Forecast, Question, forecast, trend};
use headroom_store::CacheFile;

use super::row::Row;
use super::{FRESH_MS_MAX, FRESH_PART, KEPT_MAX, MOVED_PART};

type Map = std::collections::HashMap<Vec<u8>, Kept, RandomState>;

/// What is foretold of one limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projection {
    /// What is foretold.
    pub forecast: Forecast,
    /// From when on usage is known that it stands on.
    pub observed_since: Millis,
}

/// The forecasts of one sidecar.
#[derive(Debug)]
pub struct Forecasts {
    // None when the file could not be opened: every window is looked at by itself.
    file: Option<CacheFile>,
    book: Mutex<Book>,
    /// When the last sweep was: what a row does not know of by then did not happen.
    swept_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct Book {
    kept: Map,
    /// Counts questions: who was asked about last.
    asked: u64,
}

/// What is kept of one limit.
#[derive(Debug)]
struct Kept {
    asked: u64,
    /// The row's bytes; `None`: there is no row.
    row: Option<Arc<[u8]>>,
    told: Option<Told>,
}

/// A forecast, and what it was made of.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: Millis,
    window_start: Millis,
    used_units: u64,
    included_units: u64,
    projection: Projection,
}

impl Told {
    /// Whether it may be told again.
    fn is_fresh(&self, limit: &LimitState, included_units: u64, now: Millis) -> bool {
        let window = limit.ledger.window;
        let fresh_ms = FRESH_MS_MAX.min(window.end().since(window.start()) / FRESH_PART);
        let moved = limit.ledger.used.abs_diff(self.used_units);
        let is_past = match self.projection.forecast {
            Forecast::Expected(outlook) => outlook.at_ms.is_some_and(|at_ms| at_ms <= now.0),
            Forecast::Learning => true, // It costs nothing to look again.
            Forecast::Reached => false,
        };
        (self.window_start, self.included_units) == (window.start(), included_units)
            && self.at <= now
            && now.since(self.at) <= fresh_ms
            && moved <= included_units / MOVED_PART
            && !is_past
    }
}

impl Forecasts {
    /// With the histories of this file, or without any when it cannot be used.
    pub fn open(path: &Path) -> Forecasts {
        let file = CacheFile::open(path).inspect_err(
            |error| tracing::warn!(%error, "no histories are kept: projections know one window"),
        );
        Forecasts { file: file.ok(), book: Mutex::default(), swept_ms: AtomicI64::new(i64::MIN) }
    }

    /// What is foretold of a limit. `None`: it is unlimited.
    ///
    /// Called when the account was let go. A forecast in memory costs a lookup, another one some 60 us,
    /// and a row that is not in memory is read from the file first.
    pub fn project(
        &self,
        account: &str,
        limit: &LimitState,
        created_at: Millis,
        now: Millis,
    ) -> Option<Projection> {
        let included_units = limit.included_units?;
        let since = limit.ledger.window.start().max(created_at).min(now);
        let plain = |forecast| Some(Projection { forecast, observed_since: since });
        if included_units <= limit.ledger.used {
            return plain(Forecast::Reached);
        }
        match limit.phase {
            WindowPhase::Open => {}
            // Units leave a sliding window again; and nobody knows when a window begins.
            WindowPhase::NotBegun | WindowPhase::Sliding => return plain(Forecast::Learning),
        }
        if limit.subject().is_some() {
            // Of those inside an account no histories are kept: there may be thousands in each.
            return Some(tell(None, limit, included_units, created_at, (now, now)));
        }
        let key = key(account, limit);
        let row = match self.kept(&key, limit, included_units, now) {
            Ok(projection) => return Some(projection),
            Err(Some(row)) => row,
            Err(None) => self.read(&key).map(Arc::from),
        };
        let known = row.as_deref().and_then(Row::from_bytes);
        let swept = self.swept_at();
        let projection = tell(known, limit, included_units, created_at, (swept, now));
        let told = Told {
            at: now,
            window_start: limit.ledger.window.start(),
            used_units: limit.ledger.used,
            included_units,
            projection,
        };
        self.keep(key, row, told);
        Some(projection)
    }

    /// A forecast that is fresh; or the row to make one of, as far as it is in memory.
    fn kept(
        &self,
        key: &[u8],
        limit: &LimitState,
        included_units: u64,
        now: Millis,
    ) -> Result<Projection, Option<Option<Arc<[u8]>>>> {
        let mut book = self.book();
        book.asked += 1;
        let asked = book.asked;
        let Some(kept) = book.kept.get_mut(key) else { return Err(None) };
        kept.asked = asked;
        match kept.told {
            Some(told) if told.is_fresh(limit, included_units, now) => Ok(told.projection),
            _ => Err(Some(kept.row.clone())),
        }
    }

    fn keep(&self, key: Vec<u8>, row: Option<Arc<[u8]>>, told: Told) {
        let mut book = self.book();
        if KEPT_MAX <= book.kept.len() && !book.kept.contains_key(&key) {
            let mut asked: Vec<u64> = book.kept.values().map(|kept| kept.asked).collect();
            let (_, bound, _) = asked.select_nth_unstable(KEPT_MAX / 4);
            let bound = *bound;
            book.kept.retain(|_, kept| bound < kept.asked);
        }
        let asked = book.asked;
        book.kept.insert(key, Kept { asked, row, told: Some(told) });
    }

    /// When the last sweep was: what no row knows of by then did not happen.
    pub fn swept_at(&self) -> Millis {
        Millis(self.swept_ms.load(Ordering::Relaxed))
    }

    /// By how many thousandths the usage of an account has changed, as of the last sweep: the last four
    /// weeks against the four before. Of several features the middle one, of two the better one. `None`: of no
    /// feature enough is known.
    ///
    /// Reads a row for each limit of each feature that adds up: some microseconds each.
    pub fn usage_change(&self, catalog: &Catalog, account: &str) -> Option<i64> {
        let swept = self.swept_at();
        let trend_of = |feature: NameId, limit: NameId| {
            let row = self.read(&key_of(account, feature, limit))?;
            let mut history = Row::from_bytes(&row)?.history;
            if history.until_ms() < swept.0 {
                history.observe(swept.0, 0);
            }
            trend(&history)
        };
        let features = catalog.features().iter().filter(|feature| feature.adds_up());
        let changes = features.filter_map(|feature| {
            let FeatureKind::Quota { limits } = &feature.kind else { return None };
            // All limits of a feature count the same use; the one that knows it longest says most.
            let trends = limits.iter().filter_map(|(limit, _)| trend_of(feature.id, *limit));
            trends.max_by_key(|trend| trend.active_days).map(|trend| trend.change_permille)
        });
        let mut changes: Vec<i64> = changes.collect();
        changes.sort_unstable();
        changes.get(changes.len() / 2).copied()
    }

    /// The row of a key. What cannot be read is not there.
    pub(super) fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        let read = self.file.as_ref()?.get(key);
        read.inspect_err(|error| tracing::warn!(%error, "a history cannot be read")).ok()?
    }

    /// Writes rows, and lets go of what was made of the ones before. False: they cannot be written.
    pub(super) fn write(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> bool {
        let Some(file) = &self.file else { return false };
        {
            let mut book = self.book();
            for (key, _) in &rows {
                book.kept.remove(key);
            }
        }
        let changes: Vec<_> = rows.into_iter().map(|(key, row)| (key, Some(row))).collect();
        let done = file.apply(&changes);
        done.inspect_err(|error| tracing::warn!(%error, "histories cannot be written")).is_ok()
    }

    /// A sweep has seen everything up to this instant.
    pub(super) fn swept(&self, at: Millis) {
        self.swept_ms.store(at.0, Ordering::Relaxed);
    }

    /// Forgets every history.
    pub(super) fn clear(&self) {
        self.book().kept.clear();
        if let Some(Err(error)) = self.file.as_ref().map(CacheFile::clear) {
            tracing::warn!(%error, "histories cannot be forgotten");
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a limit's row. Ids of accounts hold no zero byte.
pub(super) fn key(account: &str, limit: &LimitState) -> Vec<u8> {
    key_of(account, limit.ledger.feature, limit.ledger.limit)
}

fn key_of(account: &str, feature: NameId, limit: NameId) -> Vec<u8> {
    let mut key = Vec::with_capacity(account.len() + 9);
    key.extend_from_slice(account.as_bytes());
    key.push(0);
    key.extend_from_slice(&feature.0.to_be_bytes());
    key.extend_from_slice(&limit.0.to_be_bytes());
    key
}

/// Makes a forecast of what is known, brought up to now. Until the last sweep, `swept`, nothing was used
/// that a row does not know of.
pub(super) fn tell(
    row: Option<Row>,
    limit: &LimitState,
    included_units: u64,
    created_at: Millis,
    (swept, now): (Millis, Millis),
) -> Projection {
    let row = match row {
        Some(mut row) => {
            // What was used since the last sweep came evenly, as far as anybody knows. If a window
            // ended since, the sweep will say what it came to.
            row.go_on(limit, swept, &[], now);
            row
        }
        None => Row::new(limit, created_at, now),
    };
    let window = limit.ledger.window;
    let question = Question {
        now_ms: now.0,
        start_ms: window.start().0,
        end_ms: (!window.is_lifetime()).then_some(window.end().0),
        used_units: limit.ledger.used,
        limit_units: included_units,
        changed_ms: row.changed_at.map(|at| at.0),
    };
    let forecast = forecast(&row.history, &question);
    Projection { forecast, observed_since: Millis(row.history.since_ms()) }
}
