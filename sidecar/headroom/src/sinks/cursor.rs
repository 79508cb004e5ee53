//! A sink's cursor: where it began, and journaling how far it has come.

use std::sync::Arc;
use std::time::Duration;

use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use headroom_engine::ports::{Archive, ArchiveError, Table};
use tokio::time::Instant;

use super::limits::{CURSOR_INTERVAL, CURSOR_SIGNALS};
use crate::config::sinks::SinkSpec;

/// The cursor of one sink as the journal knows it.
pub(super) struct Cursor {
    engine: Arc<Engine>,
    sink: Arc<str>,
    noted: SignalId,
    noted_at: Instant,
    confirmed: SignalId,
    /// Signals confirmed since the journal heard of it.
    signals: u64,
}

impl Cursor {
    /// The journal knows `noted`.
    pub(super) fn new(engine: Arc<Engine>, sink: Arc<str>, noted: SignalId) -> Cursor {
        let noted_at = Instant::now();
        Cursor { engine, sink, noted, noted_at, confirmed: noted, signals: 0 }
    }

    /// Everything up to and including `upto` is confirmed, `signals` more than at the last call.
    pub(super) fn confirm(&mut self, upto: SignalId, signals: u64) {
        self.confirmed = upto;
        self.signals += signals;
    }

    /// Journals it if it is time to.
    pub(super) fn keep(&mut self, now: Instant) {
        if self.due_at().is_some_and(|at| at <= now) {
            self.note(now);
        }
    }

    /// When it has to be journaled. `None`: the journal knows.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let wait = if self.signals >= CURSOR_SIGNALS { Duration::ZERO } else { CURSOR_INTERVAL };
        (self.noted < self.confirmed).then(|| self.noted_at + wait)
    }

    /// Journals it now if the journal does not know.
    pub(super) fn note(&mut self, now: Instant) {
        if self.noted < self.confirmed {
            self.engine.note_delivered(&self.sink, self.confirmed);
            self.noted = self.confirmed;
            self.noted_at = now;
            self.signals = 0;
        }
    }
}

/// Whether one of these sinks has no place yet, as far as the projection knows.
pub fn has_new(archive: &dyn Archive, specs: &[SinkSpec]) -> bool {
    specs.iter().any(|spec| matches!(stored(archive, &spec.sink), Ok(None)))
}

/// The cursor that the projection knows of. `None`: the sink is new.
pub(super) fn stored(archive: &dyn Archive, sink: &str) -> Result<Option<SignalId>, ArchiveError> {
    let mut after = sink.as_bytes().to_vec();
    after.push(0);
    let rows = archive.range(Table::Pending, sink.as_bytes(), &after, 1)?;
    let Some((_, value)) = rows.first() else { return Ok(None) };
    match SignalId::of_row_key(value) {
        Some(cursor) => Ok(Some(cursor)),
        None => Err(ArchiveError { reason: format!("the cursor of sink {sink} is damaged") }),
    }
}
