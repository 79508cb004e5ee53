//! How each sink stands, for metrics, `GetStatus` and whoever is on call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use headroom_core::time::Millis;
use headroom_engine::digest::SignalId;
use headroom_engine::ports::Seq;
use tokio::time::Instant;

use super::dead::{Kept, Letter, Why};
use super::ids::Starts;
use crate::clock::real_now;

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
    /// The age of the oldest unconfirmed signal; zero when there is none. With a test clock: since
    /// it was read.
    pub lag: Duration,
    /// Since when nothing was confirmed although it was tried, in real time.
    pub failing_since: Option<SystemTime>,
    /// What the last failure was; kept until the next confirmation.
    pub last_error: Option<String>,
    /// The endpoint said that it is gone (410): nothing is sent until the sink is resumed or changed, or
    /// the sidecar restarted.
    pub disabled: bool,
    /// Signals confirmed since the start.
    pub delivered: u64,
    /// Attempts since the start: deliveries of a webhook, batches of a file.
    pub attempts: u64,
    /// Those of them that failed.
    pub attempts_failed: u64,
    /// Signals given up since the start; they stay in the data directory.
    pub dead_letters: u64,
    /// Dead letters that can be sent again, of earlier processes too.
    pub dead_letters_kept: u64,
    /// An operator lets it rest: nothing is sent.
    pub paused: bool,
}

/// Since when a signal waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// When it was read.
    pub(super) read_at: Instant,
    /// How old it was then.
    pub(super) age: Duration,
}

impl Waiting {
    /// A signal of the instant `at` that was read now. A test clock says nothing about its age.
    pub(super) fn since(at: Millis, test_clock: bool, read_at: Instant) -> Waiting {
        let age_ms = if test_clock { 0 } else { real_now().0.saturating_sub(at.0) };
        Waiting { read_at, age: Duration::from_millis(u64::try_from(age_ms).unwrap_or_default()) }
    }
}

/// What an operator wants of a sink's task.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Send nothing.
    pub(super) is_paused: bool,
    /// Try an endpoint again at once that said that it is gone, or that accepts nothing.
    pub(super) resume: bool,
    /// Dead letters to send again.
    pub(super) again: Vec<SignalId>,
}

/// Where a sink's task writes how it stands.
pub(super) struct Board {
    sink: Arc<str>,
    numbers: Mutex<Numbers>,
    desk: Mutex<Desk>,
}

/// What operators and the task have to do with each other.
#[derive(Default)]
struct Desk {
    /// `None`: the sink has not begun.
    kept: Option<Kept>,
    starts: Starts,
    resume: bool,
    again: Vec<SignalId>,
}

#[derive(Debug, Clone, Default)]
struct Numbers {
    confirmed: Option<SignalId>,
    open: u64,
    /// Rows of the projection at or below the last one read. `None`: not known.
    rows_read: Option<u64>,
    oldest: Option<Waiting>,
    failing_since: Option<SystemTime>,
    last_error: Option<String>,
    disabled: bool,
    delivered: u64,
    attempts: u64,
    attempts_failed: u64,
    dead_letters: u64,
}

impl Board {
    pub(super) fn new(sink: Arc<str>) -> Board {
        Board { sink, numbers: Mutex::default(), desk: Mutex::default() }
    }

    pub(super) fn sink(&self) -> &str {
        &self.sink
    }

    fn desk<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        work(&mut self.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Operators may come from now on. What was being sent again when the last process ended is
    /// ordered once more.
    pub(super) fn open_desk(&self, kept: Kept, starts: Starts) {
        let again = kept.letters().into_iter().filter(|letter| letter.is_sent_again);
        let again = again.map(|letter| letter.id).collect();
        self.desk(|desk| *desk = Desk { kept: Some(kept), starts, resume: false, again });
    }

    /// What an operator wants, each order once.
    pub(super) fn orders(&self) -> Orders {
        self.desk(|desk| Orders {
            is_paused: desk.kept.as_ref().is_some_and(Kept::is_paused),
            resume: std::mem::take(&mut desk.resume),
            again: std::mem::take(&mut desk.again),
        })
    }

    /// Lets the sink rest, or go on; then an endpoint that said that it is gone, or that accepts
    /// nothing, is tried again at once. `None`: the sink has not begun.
    pub(super) fn pause(&self, is_paused: bool) -> Option<Seq> {
        self.desk(|desk| {
            desk.resume |= !is_paused;
            Some(desk.kept.as_mut()?.pause(is_paused))
        })
    }

    /// The dead letters and their ids. `None`: the sink has not begun.
    pub(super) fn letters(&self) -> Option<Vec<(String, Letter)>> {
        self.desk(|desk| {
            let letters = desk.kept.as_ref()?.letters();
            let named = letters.into_iter().map(|letter| (desk.starts.text(letter.id), letter));
            Some(named.collect())
        })
    }

    /// Orders dead letters to be sent again; says the last record to wait for, and how many are. Not
    /// those that are on their way already.
    pub(super) fn send_again(&self, ids: &[SignalId]) -> (Option<Seq>, usize) {
        self.desk(|desk| {
            let Some(kept) = &mut desk.kept else { return (None, 0) };
            let (mut last, mut count) = (None, 0);
            for id in ids {
                if let Some(seq) = kept.send_again(*id) {
                    last = Some(seq);
                    count += 1;
                    desk.again.push(*id);
                }
            }
            (last, count)
        })
    }

    /// Whether this signal was given up already, before a crash that took the cursor back.
    pub(super) fn is_dead(&self, id: SignalId) -> bool {
        self.desk(|desk| desk.kept.as_ref().is_some_and(|kept| kept.contains(id)))
    }

    /// A signal is given up.
    pub(super) fn give_up(&self, id: SignalId, why: Why) {
        let letter = Letter { id, given_up_at: real_now(), why, is_sent_again: false };
        let is_new = self.desk(|desk| desk.kept.as_mut().is_none_or(|kept| kept.keep(letter)));
        if is_new {
            self.write(|n| n.dead_letters += 1);
        }
    }

    /// Dead letters were delivered at last.
    pub(super) fn revived(&self, ids: &[SignalId]) {
        self.desk(|desk| {
            if let Some(kept) = &mut desk.kept {
                ids.iter().for_each(|id| kept.delivered(*id));
            }
        });
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
    pub(super) fn stands(&self, confirmed: SignalId, open: u64, oldest: Option<Waiting>) {
        self.write(|n| {
            n.confirmed = Some(confirmed);
            n.open = open;
            n.oldest = oldest;
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

    /// An attempt failed.
    pub(super) fn attempt_failed(&self, error: &str) {
        self.write(|n| n.attempts_failed += 1);
        self.failed(error);
    }

    /// Something else failed.
    pub(super) fn failed(&self, error: &str) {
        self.write(|n| {
            n.failing_since.get_or_insert_with(SystemTime::now);
            n.last_error = Some(error.to_owned());
        });
    }

    pub(super) fn set_disabled(&self, disabled: bool) {
        self.write(|n| n.disabled = disabled);
    }

    /// How the sink stands. `rows`: how many signals there are in all; `None`: not known.
    pub(super) fn status(&self, rows: Option<u64>) -> SinkStatus {
        let n = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (kept, paused) = self.desk(|desk| {
            desk.kept.as_ref().map_or((0, false), |kept| (kept.len() as u64, kept.is_paused()))
        });
        let unread = rows.zip(n.rows_read).map_or(0, |(rows, read)| rows.saturating_sub(read));
        SinkStatus {
            sink: Arc::clone(&self.sink),
            confirmed: n.confirmed,
            pending: n.open + unread,
            lag: n.oldest.map_or(Duration::ZERO, |oldest| oldest.age + oldest.read_at.elapsed()),
            failing_since: n.failing_since,
            last_error: n.last_error,
            disabled: n.disabled,
            delivered: n.delivered,
            attempts: n.attempts,
            attempts_failed: n.attempts_failed,
            dead_letters: n.dead_letters,
            dead_letters_kept: kept,
            paused,
        }
    }
}
