//! The hourly look at what was used.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use headroom_core::decision::LimitState;
use headroom_core::signal::{Foretold, SignalName};
use headroom_core::time::{Millis, Window};
use headroom_engine::digest::usage_key;
use headroom_engine::engine::Engine;
use headroom_engine::events::usage_row;
use headroom_engine::ports::{Archive, Seq, Table};
use headroom_engine::samples::Sample;
use headroom_forecast::Forecast;
use headroom_forecast::limits::HOUR_MS;

use super::book::{Forecasts, key, tell};
use super::row::Row;
use super::{CLOSED_WINDOWS_MAX, SWEEP_ROWS};

/// The row that says when the last sweep was. Keys of limits do not begin with a zero byte.
const SWEPT_KEY: &[u8] = &[0];

/// Accounts looked up at a time.
const PAGE: usize = 1_024;

/// The longest pause between two pages of accounts.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What sweeps: one at a time.
pub struct Sweep {
    engine: Arc<Engine>,
    archive: Arc<dyn Archive>,
    swept: Swept,
}

/// When the last sweep was, and up to which record it has seen everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Swept {
    at: Millis,
    seq: Seq,
}

impl Sweep {
    /// Goes on where the last process ended. `last` is the newest record, `now` the domain's time:
    /// histories that know of later ones are of another past (a backup was restored), and go.
    pub fn new(
        forecasts: &Forecasts,
        engine: Arc<Engine>,
        archive: Arc<dyn Archive>,
        last: Seq,
        now: Millis,
    ) -> Sweep {
        let swept = match forecasts.read(SWEPT_KEY).as_deref().and_then(Swept::from_bytes) {
            Some(swept) if swept.seq <= last && swept.at <= now => swept,
            Some(_) => {
                tracing::warn!("histories of another past are forgotten; projections learn anew");
                forecasts.clear();
                Swept { at: now, seq: Seq(0) }
            }
            None => Swept { at: now, seq: Seq(0) },
        };
        forecasts.swept(swept.at);
        Sweep { engine, archive, swept }
    }

    /// Whether an hour has begun since the last one.
    pub fn is_due(&self, now: Millis) -> bool {
        self.swept.at.0.div_euclid(HOUR_MS) < now.0.div_euclid(HOUR_MS)
    }

    /// Looks at every account that was written since the last time, up to record `last`. Returns at how
    /// many. `leave_off` is asked before each page of accounts; when it says so, the next sweep looks at
    /// all of them again.
    pub fn run(
        &mut self,
        forecasts: &Forecasts,
        last: Seq,
        now: Millis,
        leave_off: &dyn Fn() -> bool,
    ) -> usize {
        let (mut from, mut count, mut rows) = (0, 0, Vec::new());
        loop {
            let accounts = self.engine.account_ids(from, PAGE);
            let Some((serial, _)) = accounts.last() else { break };
            from = serial + 1;
            if leave_off() {
                return count;
            }
            let started = Instant::now();
            for (_, account) in &accounts {
                let catalog = self.engine.catalog();
                let Some(sample) = self.engine.sample(&catalog, account, self.swept.seq, now)
                else {
                    continue;
                };
                count += 1;
                for limit in &sample.limits {
                    let key = key(account, limit);
                    let row = self.row(forecasts, &key, &sample, limit, now);
                    rows.push((key, row.to_bytes()));
                    if catalog.signals.raises(SignalName::ProjectedExhaustion) {
                        self.foretell(&sample, limit, row, now);
                    }
                }
                if SWEEP_ROWS <= rows.len() && !forecasts.write(std::mem::take(&mut rows)) {
                    return count; // The next one looks at all of it again.
                }
            }
            if accounts.len() == PAGE {
                // Half of a core at most: requests have the rest, and an hour is long.
                thread::sleep(started.elapsed().min(PAUSE_MAX));
            }
        }
        let swept = Swept { at: now, seq: last };
        // Also where nothing was used: whoever comes after a crash would otherwise spread what is used next
        // over the hours that were quiet.
        rows.push((SWEPT_KEY.to_vec(), swept.to_bytes()));
        if forecasts.write(rows) {
            self.swept = swept;
            forecasts.swept(now);
        }
        count
    }

    /// Raises the signal of a limit that is likely reached soon.
    fn foretell(&self, sample: &Sample, limit: &LimitState, row: Row, now: Millis) {
        let Some(included) = limit.included_units else { return };
        let told = tell(Some(row), limit, included, sample.created_at, (now, now));
        let Forecast::Expected(outlook) = told.forecast else { return };
        let (Some(at), Some(from)) = (outlook.at_ms, outlook.from_ms) else { return };
        let foretold = Foretold {
            days: 0, // The horizons are the catalog's.
            probability_bp: u16::try_from(outlook.probability_bp()).unwrap_or(u16::MAX),
            at: Millis(at),
            from: Millis(from),
            to: outlook.to_ms.map(Millis),
        };
        self.engine.foretell(&sample.account, limit, foretold, now);
    }

    /// The row of a limit, brought up to now.
    fn row(
        &self,
        forecasts: &Forecasts,
        key: &[u8],
        sample: &Sample,
        limit: &LimitState,
        now: Millis,
    ) -> Row {
        let Some(mut row) = forecasts.read(key).as_deref().and_then(Row::from_bytes) else {
            return Row::new(limit, sample.created_at, now);
        };
        let is_open = row.window_start == limit.ledger.window.start();
        let closed = if is_open { Vec::new() } else { self.closed(sample, limit, &row) };
        row.go_on(limit, self.swept.at, &closed, now);
        row
    }

    /// The windows that ended since the row was written, with their totals.
    fn closed(&self, sample: &Sample, limit: &LimitState, row: &Row) -> Vec<(Window, u64)> {
        let ledger = &limit.ledger;
        let place = |start| usage_key(sample.serial, ledger.feature, ledger.limit, start);
        let (from, to) = (place(row.window_start), place(ledger.window.start()));
        let rows = self.archive.range(Table::Usage, &from, &to, CLOSED_WINDOWS_MAX);
        let rows = rows.unwrap_or_else(|error| {
            tracing::warn!(%error, "windows that ended are missing in a history");
            Vec::new()
        });
        let windows = rows.iter().filter_map(|(_, value)| usage_row(value).ok());
        windows.map(|row| (row.window.closed.window, row.window.used)).collect()
    }
}

impl Swept {
    fn to_bytes(self) -> Vec<u8> {
        [self.at.0.to_le_bytes(), self.seq.0.to_le_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Swept> {
        let (at, seq) = bytes.split_first_chunk::<8>()?;
        Some(Swept {
            at: Millis(i64::from_le_bytes(*at)),
            seq: Seq(u64::from_le_bytes(seq.try_into().ok()?)),
        })
    }
}
