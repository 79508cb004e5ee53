//! How a sink's task begins, and what drives it from outside until it ends.

use std::sync::Arc;

use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use headroom_engine::ports::{ArchiveError, Seq, Table};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::cloudevents::CloudEvents;
use super::courier::{Form, HttpCourier};
use super::cursor::{self, Cursor};
use super::dead::Kept;
use super::delivery::Delivery;
use super::feed::{self, Feed};
use super::generic::Generic;
use super::http::HttpTransport;
use super::ids::Starts;
use super::limits::{CATCH_UP_POLL, READ_RETRY};
use super::ndjson::Ndjson;
use super::oauth::Tokens;
use super::outbox::Wiring;
use super::redis_streams::RedisStreams;
use super::segment::Segment;
use super::signature::Signer;
use super::slack::Slack;
use super::status::Board;
use super::webhook::Webhook;
use crate::config::sinks::{HttpAuth, SinkKind, SinkSpec};

/// How a sink is to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Whatever is not done by then is left.
    pub(super) deadline: Instant,
    /// Begin new deliveries until then, as long as there are any.
    pub(super) finish: bool,
}

/// What drives a sink's task from outside.
pub(super) struct Reins {
    pub(super) wake: watch::Receiver<()>,
    pub(super) stop: watch::Receiver<Option<Stop>>,
}

impl Reins {
    /// Whether new deliveries may begin.
    pub(super) fn may_begin(&self) -> bool {
        self.stop.borrow().is_none_or(|stop| stop.finish)
    }

    /// Whether the task was told to stop, at once or later.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Whether the task has to end now.
    pub(super) fn is_over(&self, now: Instant, is_busy: bool) -> bool {
        self.stop.borrow().is_some_and(|stop| stop.deadline <= now || !is_busy)
    }

    /// Waits until there is something to do: it is time to look for signals (then it is true), or
    /// it is the first of the given times.
    pub(super) async fn pulled(
        &mut self,
        due_at: impl IntoIterator<Item = Option<Instant>>,
    ) -> bool {
        let deadline = self.stop.borrow().map(|stop| stop.deadline);
        let due_at = due_at.into_iter().chain([deadline]).flatten().min();
        tokio::select! {
            // Errors mean that the keeper is gone, and so is the runtime.
            Ok(()) = self.wake.changed() => true,
            Ok(()) = self.stop.changed() => true,
            () = sleep_until(due_at.unwrap_or_else(Instant::now)), if due_at.is_some() => false,
            else => std::future::pending().await,
        }
    }
}

/// What a sink's task works with once it knows where to begin.
pub(super) struct Task {
    pub(super) engine: Arc<Engine>,
    pub(super) test_clock: bool,
    pub(super) board: Arc<Board>,
    pub(super) reins: Reins,
    pub(super) feed: Feed,
    pub(super) cursor: Cursor,
    pub(super) starts: Starts,
}

/// A sink that does not know yet where to begin.
pub(super) struct Beginning {
    pub(super) wiring: Wiring,
    pub(super) spec: SinkSpec,
    /// Where the journal ended when the sink was put in place.
    pub(super) appended: Seq,
    pub(super) board: Arc<Board>,
    pub(super) reins: Reins,
}

impl Beginning {
    /// Runs the sink until it is told to stop.
    pub(super) async fn run(self) {
        let _watch = Watch(Arc::clone(&self.board));
        let (kind, data_dir) = (self.spec.kind.clone(), self.wiring.data_dir.clone());
        let Some(task) = self.begin().await else { return };
        let mut oauth = None;
        let (form, url, allow_private): (Box<dyn Form>, _, _) = match kind {
            SinkKind::Ndjson { file } => {
                return Ndjson::new(task, data_dir.join(file)).run().await;
            }
            SinkKind::RedisStreams(spec) => {
                return Delivery::new(task, RedisStreams::new(*spec)).run().await;
            }
            SinkKind::StandardWebhook { url, secrets, allow_private } => {
                (Box::new(Webhook::new(url.clone(), Signer::new(&secrets))), url, allow_private)
            }
            SinkKind::CloudEvents { url, allow_private, mode, source, auth, secrets } => {
                let (signer, to) = (Signer::new(&secrets), url.clone());
                (Box::new(CloudEvents { url, mode, source, auth, signer }), to, allow_private)
            }
            SinkKind::Segment { url, allow_private, write_key } => {
                (Box::new(Segment { url: url.clone(), write_key }), url, allow_private)
            }
            SinkKind::Slack { url, allow_private } => {
                (Box::new(Slack { url: url.clone() }), url.0, allow_private)
            }
            SinkKind::Http(spec) => {
                let (url, allow_private) = (spec.url.clone(), spec.allow_private);
                if let Some(HttpAuth::OAuth2(spec)) = &spec.auth {
                    oauth = Some(spec.clone());
                }
                (Box::new(Generic::new(*spec)), url, allow_private)
            }
        };
        let transport = HttpTransport::new(&url, allow_private);
        let tokens =
            oauth.map(|spec| Tokens::new(HttpTransport::new(&spec.token_url, allow_private), spec));
        Delivery::new(task, HttpCourier { transport, form, tokens }).run().await
    }

    /// Finds out where to begin. `None`: it was told to stop before.
    pub(super) async fn begin(mut self) -> Option<Task> {
        let (noted, kept, starts) = self.find().await?;
        self.board.open_desk(kept, starts.clone());
        self.board.began(noted, self.rows_upto(noted).await);
        let Beginning { wiring, spec, board, reins, .. } = self;
        let feed = Feed::new(&wiring, Arc::clone(&board), spec.filter, noted);
        let cursor = Cursor::new(Arc::clone(&wiring.engine), spec.sink.as_str().into(), noted);
        let (engine, test_clock) = (wiring.engine, wiring.test_clock);
        Some(Task { engine, test_clock, board, reins, feed, cursor, starts })
    }

    /// The sink's cursor and what else is kept of it. A new sink gets a cursor: it begins with what
    /// comes after it was put in place. `None`: it was told to stop before.
    ///
    /// All that may be in the journal and not yet in the projection, so this waits for that.
    async fn find(&mut self) -> Option<(SignalId, Kept, Starts)> {
        let sink = self.spec.sink.clone();
        loop {
            let mut look_at = Instant::now();
            if (self.wiring.positions)().projected < self.appended {
                look_at += CATCH_UP_POLL;
            } else {
                match self.look() {
                    Ok((Some(cursor), kept, starts)) => return Some((cursor, kept, starts)),
                    Ok((None, kept, starts)) => {
                        let upto = SignalId { seq: self.appended, place: u16::MAX };
                        self.wiring.engine.note_delivered(&sink, upto);
                        return Some((upto, kept, starts));
                    }
                    Err(error) => {
                        tracing::warn!(sink, %error, "the sink cannot begin");
                        self.board.failed(&error.to_string());
                        look_at += READ_RETRY;
                    }
                }
            }
            while Instant::now() < look_at {
                self.reins.pulled([Some(look_at)]).await;
                // A sink that is to finish begins first, or it would have no place to go on from.
                if self.reins.is_over(Instant::now(), self.reins.may_begin()) {
                    return None;
                }
            }
        }
    }

    fn look(&self) -> Result<(Option<SignalId>, Kept, Starts), ArchiveError> {
        let (archive, sink) = (&*self.wiring.archive, self.spec.sink.as_str());
        let kept = Kept::load(archive, Arc::clone(&self.wiring.engine), sink.into())?;
        Ok((cursor::stored(archive, sink)?, kept, Starts::load(archive)?))
    }

    /// How many rows are at or below the cursor, for the count of what is pending.
    async fn rows_upto(&self, place: SignalId) -> Option<u64> {
        let archive = Arc::clone(&self.wiring.archive);
        // A long backlog takes a while to count.
        let counted = tokio::task::spawn_blocking(move || {
            let all = archive.count(Table::Signals)?;
            let after = feed::count_after(&*archive, place)?;
            Ok::<_, ArchiveError>(all.saturating_sub(after))
        });
        counted.await.ok()?.ok()
    }
}

/// Tells of a panic in the sink's task, which nobody else would hear of before the end.
struct Watch(Arc<Board>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let what = "an internal check failed: nothing is delivered until a restart or a change";
            tracing::error!(sink = self.0.sink(), "{what} of the sink");
            self.0.failed(what);
        }
    }
}
