//! What happened earlier, on the wire: a Record with a time of its own, and Correct.
//!
//! Both need what the disk knows. It is read before anything is locked; the rows are few, and those of
//! late events of the last minutes are in the store's cache. When the disk is a moment behind what
//! memory has let go, a unary call waits for it, and a stream says so: the SDK asks again.

use std::time::Duration;

use headroom_core::catalog::Catalog;
use headroom_core::time::Millis;
use headroom_engine::dimensions::Dimensions;
use headroom_engine::late::{CorrectRequest, LateError, LateReply, LateRequest, RestatedWindow};
use headroom_proto::encoded::Fields;
use headroom_proto::v1::{self, ErrorReason};

use crate::grpc::parse::{self, Asked};
use crate::grpc::present;
use crate::grpc::receipts::{About, Receipts};
use crate::grpc::shared::{Answered, Shared, nothing_counts};
use crate::grpc::status::WireError;
use crate::telemetry::metrics::Operation;

/// How much later than now an event may be: clocks of producers differ. It counts as now.
const AHEAD_MS_MAX: i64 = 5 * 60 * 1000;

/// Longest reason of a correction, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// How long a unary call waits for the projection between two looks, and in all. It is milliseconds
/// behind, unless its disk is in trouble.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);
/// See [`LOOK_AGAIN_AFTER`].
const LOOKS_MAX: usize = 500;

/// What a look comes to that may find the projection behind: it is waited for.
///
/// # Errors
/// Those of `look`; also that it is behind, when it stays so for a second.
pub async fn caught_up<T>(mut look: impl FnMut() -> Result<T, WireError>) -> Result<T, WireError> {
    for _ in 1..LOOKS_MAX {
        match look() {
            Err(error) if error.reason == ErrorReason::CatchingUp => {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
            looked => return looked,
        }
    }
    look()
}

/// A request about what happened earlier.
#[derive(Debug, Clone, Copy)]
pub enum Late<'a> {
    /// Usage of another time.
    Record(LateRequest<'a>),
    /// A correction.
    Correct(CorrectRequest<'a>),
}

/// A record with a time of its own. `None`: it has none.
pub fn record(
    rq: &v1::RecordRequest,
    now: Millis,
    restate_ms: i64,
) -> Result<Option<Asked<'_, Late<'_>>>, WireError> {
    let Some(occurred_at) = &rq.occurred_at else { return Ok(None) };
    if rq.synthetic {
        return Err(WireError::field("synthetic", "counts nowhere, so it has no occurred_at"));
    }
    let occurred_at = parse::timestamp("occurred_at", occurred_at)?;
    if now.plus(AHEAD_MS_MAX) < occurred_at {
        let problem = format!("is {occurred_at}, more than 5 minutes later than now ({now})");
        return Err(WireError::field("occurred_at", problem));
    }
    let include = parse::include_of(rq.include.as_ref())?;
    let request = LateRequest {
        account: parse::id("account", &rq.account)?,
        feature: parse::id("feature", &rq.feature)?,
        subject: parse::subject_if_any(&rq.subject)?,
        units: parse::used_units(rq.units)?,
        occurred_at,
        key: parse::id("idempotency_key", &rq.idempotency_key)?,
        dimensions: Dimensions::of(&rq.dimensions),
        restate_ms,
        now,
        wants: parse::wants(include),
    };
    Ok(Some(Asked { request: Late::Record(request), include }))
}

/// A correction.
pub fn correct(
    rq: &v1::CorrectRequest,
    now: Millis,
    restate_ms: i64,
) -> Result<Asked<'_, Late<'_>>, WireError> {
    let include = parse::include_of(rq.include.as_ref())?;
    if rq.reason.len() > REASON_BYTES_MAX || rq.reason.chars().any(char::is_control) {
        let problem = format!("must be at most {REASON_BYTES_MAX} bytes, no control characters");
        return Err(WireError::field("reason", problem));
    }
    let original = |units| parse::units("original_units", units, 0);
    let request = CorrectRequest {
        account: parse::id("account", &rq.account)?,
        feature: parse::id("feature", &rq.feature)?,
        subject: parse::subject_if_any(&rq.subject)?,
        event: parse::id("event_key", &rq.event_key)?,
        units: rq.units.map(|units| parse::units("units", units, 1)).transpose()?,
        original_units: rq.original_units.map(original).transpose()?,
        reason: &rq.reason,
        key: parse::id("idempotency_key", &rq.idempotency_key)?,
        dimensions: Dimensions::of(&rq.dimensions),
        restate_ms,
        now,
        wants: parse::wants(include),
    };
    Ok(Asked { request: Late::Correct(request), include })
}

impl Shared {
    /// Decides a request about what happened earlier, and writes the fields of the answer to `out`. The
    /// error [`ErrorReason::CatchingUp`] asks for another look.
    pub fn late(
        &self,
        receipts: &Receipts,
        asked: &Asked<'_, Late<'_>>,
        out: &mut Fields<'_>,
    ) -> Result<Answered, WireError> {
        let catalog = self.engine.catalog();
        let archive = &*self.archive;
        let unreadable = |error: headroom_engine::ports::ArchiveError| {
            tracing::error!(%error, "the usage history cannot be read");
            WireError::new(ErrorReason::Internal, error.to_string())
        };
        let all_limits_unless_plain = receipts.is_on();
        let (about, now, LateReply { reply, windows }) = match asked.request {
            Late::Record(mut rq) => {
                rq.wants.all_limits_unless_plain = all_limits_unless_plain;
                if rq.units == 0 {
                    nothing_counts(&catalog, rq.feature)?;
                }
                let seen = self.engine.look_late(&catalog, archive, &rq).map_err(unreadable)?;
                let reply = self.engine.record_at(&catalog, &rq, &seen)?;
                let LateRequest { account, feature, units, now, .. } = rq;
                (
                    About { operation: Operation::Record, account, feature, units, whole: None },
                    now,
                    reply,
                )
            }
            Late::Correct(mut rq) => {
                rq.wants.all_limits_unless_plain = all_limits_unless_plain;
                let seen = self.engine.look_correct(&catalog, archive, &rq).map_err(unreadable)?;
                let reply = self.engine.correct(&catalog, &rq, &seen)?;
                let CorrectRequest { account, feature, units, now, .. } = rq;
                let units = units.unwrap_or(0);
                (
                    About { operation: Operation::Correct, account, feature, units, whole: None },
                    now,
                    reply,
                )
            }
        };
        let (of, include) = ((&**catalog, now), asked.include);
        let answered = self.answer(receipts, about, of, include, &reply, out);
        let tag = if about.operation == Operation::Correct { 4 } else { 3 };
        for window in &windows {
            out.generated(tag, &restated_window(&catalog, window));
        }
        Ok(answered)
    }
}

fn restated_window(catalog: &Catalog, window: &RestatedWindow) -> v1::RestatedWindow {
    v1::RestatedWindow {
        limit: catalog.text(window.limit).to_owned(),
        subject: window.subject.clone().unwrap_or_default(),
        window_start: Some(present::timestamp(window.start)),
        window_end: window.end.map(present::timestamp),
        units_before: present::int(window.counts.before),
        units: present::int(window.counts.after),
        after_close: window.after_close,
    }
}

impl From<LateError> for WireError {
    fn from(error: LateError) -> WireError {
        let reason = match &error {
            LateError::Engine(engine) => return engine.clone().into(),
            LateError::Differs { field, what } => return WireError::field(field, what.clone()),
            LateError::Behind { .. } => ErrorReason::CatchingUp,
            LateError::TooOld { .. } => ErrorReason::EventTooOld,
            LateError::UnknownEvent => ErrorReason::UnknownEvent,
        };
        WireError::new(reason, error.to_string())
    }
}
