//! How each sink stands, for metrics, `GetStatus` and whoever is on call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use headroom_engine::digest::SignalId;
use tokio::time::Instant;

/// How a sink stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStatus {
    /// Its name.
    pub sink: Arc<str>,
    /// Everything up to and including this is confirmed. `None`: it has not begun yet.
    pub confirmed: Option<SignalId>,
    /// Signals not confirmed. Rows that were not read yet count too, even if the sink's filter
    /// will skip them.
    pub pending: u64,
    /// How long the oldest unconfirmed signal has waited since it was read; zero when none does.
    pub lag: Duration,
    /// Since when nothing was confirmed although it was tried, in real time.
    pub failing_since: Option<SystemTime>,
    /// What the last failure was; kept until the next confirmation.
    pub last_error: Option<String>,
    /// The endpoint said that it is gone (410): nothing is sent until a restart or a change.
    pub disabled: bool,
    /// Signals confirmed since the start.
    pub delivered: u64,
    /// Attempts since the start: deliveries of a webhook, batches of a file.
    pub attempts: u64,
    /// Signals given up since the start; they stay in the data directory.
    pub dead_letters: u64,
}

/// Where a sink's task writes how it stands.
pub(super) struct Board {
    sink: Arc<str>,
    numbers: Mutex<Numbers>,
}

#[derive(Debug, Clone, Default)]
struct Numbers {
    confirmed: Option<SignalId>,
    open: u64,
    /// Rows of the projection at or below the last one read. `None`: not known.
    rows_read: Option<u64>,
    oldest_read_at: Option<Instant>,
    failing_since: Option<SystemTime>,
    last_error: Option<String>,
    disabled: bool,
    delivered: u64,
    attempts: u64,
    dead_letters: u64,
}

impl Board {
    pub(super) fn new(sink: Arc<str>) -> Board {
        Board { sink, numbers: Mutex::default() }
    }

    pub(super) fn sink(&self) -> &str {
        &self.sink
    }

    fn write(&self, change: impl FnOnce(&mut Numbers)) {
        change(&mut self.numbers.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The sink has begun. `rows_read`: rows at or below its cursor.
    pub(super) fn began(&self, confirmed: SignalId, rows_read: Option<u64>) {
        self.write(|n| (n.confirmed, n.rows_read) = (Some(confirmed), rows_read));
    }

    /// More rows were read. `all`: there are no others, and so many in all.
    pub(super) fn read(&self, rows: u64, all: Option<u64>) {
        self.write(|n| {
            let so_far = n.rows_read.map(|so_far| so_far + rows);
            n.rows_read = so_far.max(all);
        });
    }

    /// Where the sink stands after whatever it did.
    pub(super) fn stands(&self, confirmed: SignalId, open: u64, oldest_read_at: Option<Instant>) {
        self.write(|n| {
            n.confirmed = Some(confirmed);
            n.open = open;
            n.oldest_read_at = oldest_read_at;
        });
    }

    pub(super) fn attempt(&self) {
        self.write(|n| n.attempts += 1);
    }

    /// Signals were confirmed.
    pub(super) fn delivered(&self, signals: u64) {
        self.write(|n| {
            n.delivered += signals;
            n.failing_since = None;
            n.last_error = None;
        });
    }

    pub(super) fn failed(&self, error: &str) {
        self.write(|n| {
            n.failing_since.get_or_insert_with(SystemTime::now);
            n.last_error = Some(error.to_owned());
        });
    }

    pub(super) fn disabled(&self) {
        self.write(|n| n.disabled = true);
    }

    pub(super) fn dead_letter(&self) {
        self.write(|n| n.dead_letters += 1);
    }

    /// How the sink stands. `rows`: how many signals there are in all; `None`: not known.
    pub(super) fn status(&self, rows: Option<u64>) -> SinkStatus {
        let n = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unread = rows.zip(n.rows_read).map_or(0, |(rows, read)| rows.saturating_sub(read));
        SinkStatus {
            sink: Arc::clone(&self.sink),
            confirmed: n.confirmed,
            pending: n.open + unread,
            lag: n.oldest_read_at.map(|at| at.elapsed()).unwrap_or_default(),
            failing_since: n.failing_since,
            last_error: n.last_error,
            disabled: n.disabled,
            delivered: n.delivered,
            attempts: n.attempts,
            dead_letters: n.dead_letters,
        }
    }
}
