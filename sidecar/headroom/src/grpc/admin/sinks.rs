//! The sinks, as operators see and repair them.

use std::sync::Arc;

use headroom_core::signal::Signal;
use headroom_engine::engine::EngineError;
use headroom_engine::ports::Store as _;
use headroom_engine::told::Raised;
use headroom_proto::v1;

use super::{Administration, internal};
use crate::clock::millis_of;
use crate::grpc::parse;
use crate::grpc::present::{self, int, timestamp};
use crate::grpc::status::WireError;
use crate::sinks::{DEAD_LETTERS_MAX, DeadLetter, SinkRefusal, SinkStatus, Why};

impl From<SinkRefusal> for WireError {
    fn from(refusal: SinkRefusal) -> WireError {
        let message = refusal.to_string();
        match refusal {
            SinkRefusal::UnknownSink { .. } => WireError::field("sink", message),
            SinkRefusal::UnknownLetter { .. } => WireError::field("ids", message),
            SinkRefusal::NotBegun => WireError::new(v1::ErrorReason::StoreBroken, message),
        }
    }
}

impl Administration {
    pub(super) fn sinks(&self) -> v1::ListSinksResponse {
        let sinks = self.core.outbox.status();
        v1::ListSinksResponse { sinks: sinks.into_iter().map(show).collect() }
    }

    pub(super) async fn pause(
        &self,
        rq: &v1::SetSinkPausedRequest,
    ) -> Result<v1::SetSinkPausedResponse, WireError> {
        let sink = parse::id("sink", &rq.sink)?;
        self.room()?;
        self.core.outbox.begun(sink).await?;
        let seq = self.core.outbox.pause(sink, rq.paused)?;
        self.written(seq).await?;
        let found = self.core.outbox.status().into_iter().find(|status| *status.sink == *sink);
        Ok(v1::SetSinkPausedResponse { sink: found.map(show) })
    }

    pub(super) async fn dead_letters(
        &self,
        rq: &v1::ListDeadLettersRequest,
    ) -> Result<v1::ListDeadLettersResponse, WireError> {
        let sink = parse::id("sink", &rq.sink)?.to_owned();
        self.core.outbox.begun(&sink).await?;
        let core = Arc::clone(&self.core);
        let listed = tokio::task::spawn_blocking(move || {
            let letters = core.outbox.dead_letters(&sink)?;
            let engine = &core.shared.engine;
            let catalog = engine.catalog();
            let show = |letter: DeadLetter| {
                let account = letter.signal.as_ref().and_then(|(serial, _)| {
                    engine.account_id(*serial).map(|account| account.to_string())
                });
                let signal = letter.signal.as_ref().map(|(_, signal)| signal);
                let found = signal.and_then(|signal| match signal {
                    Raised::Found(signal) => Some(signal),
                    Raised::Told(_) => None,
                });
                let of = |signal: &Signal| catalog.feature_text(signal.feature).to_owned();
                let limit = |signal: &Signal| catalog.text(signal.limit).to_owned();
                v1::DeadLetter {
                    id: letter.id,
                    account: account.unwrap_or_default(),
                    signal: signal.map_or("", Raised::name).to_owned(),
                    feature: found.map(of).unwrap_or_default(),
                    limit: found.map(limit).unwrap_or_default(),
                    raised_at: signal.map(|signal| timestamp(signal.at())),
                    given_up_at: Some(timestamp(letter.given_up_at)),
                    status: match letter.why {
                        Why::Status(status) => i32::from(status),
                        Why::NoAnswer | Why::Unreadable => 0,
                    },
                    replaying: letter.is_sent_again,
                }
            };
            Ok::<_, SinkRefusal>(letters.into_iter().map(show).collect())
        });
        let dead_letters = listed.await.map_err(|error| internal(&error))??;
        Ok(v1::ListDeadLettersResponse { dead_letters })
    }

    pub(super) async fn replay(
        &self,
        rq: &v1::ReplayDeadLettersRequest,
    ) -> Result<v1::ReplayDeadLettersResponse, WireError> {
        let sink = parse::id("sink", &rq.sink)?;
        // No more than there can be dead letters.
        if rq.ids.len() > DEAD_LETTERS_MAX {
            let problem = format!("{} ids, at most {DEAD_LETTERS_MAX} are possible", rq.ids.len());
            return Err(WireError::field("ids", problem));
        }
        self.room()?;
        self.core.outbox.begun(sink).await?;
        let (count, seq) = self.core.outbox.send_again(sink, &rq.ids)?;
        if let Some(seq) = seq {
            self.written(seq).await?;
        }
        Ok(v1::ReplayDeadLettersResponse { replaying: i32::try_from(count).unwrap_or(i32::MAX) })
    }

    /// Whether the journal takes what is to be said.
    fn room(&self) -> Result<(), WireError> {
        Ok(self.core.store.room().map_err(EngineError::from)?)
    }
}

fn show(status: SinkStatus) -> v1::Sink {
    let lag_ms = i64::try_from(status.lag.as_millis()).unwrap_or(i64::MAX);
    v1::Sink {
        sink: status.sink.to_string(),
        paused: status.paused,
        disabled: status.disabled,
        failing_since: status.failing_since.map(|at| timestamp(millis_of(at))),
        last_error: status.last_error.unwrap_or_default(),
        pending: int(status.pending),
        lag: Some(present::duration(lag_ms)),
        delivered: int(status.delivered),
        attempts: int(status.attempts),
        failed_attempts: int(status.attempts_failed),
        dead_letters: int(status.dead_letters),
        dead_letters_kept: int(status.dead_letters_kept),
    }
}
