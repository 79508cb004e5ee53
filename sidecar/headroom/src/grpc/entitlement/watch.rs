//! Watches: what an account may use, and every change of it.
//!
//! A watch looks; nobody tells it. Every [`LOOK_EVERY`] it compares the position of the account's last
//! record and the catalog's revision with those of its last look, and once a second it looks anyway,
//! because plans begin and graces end by time alone. So the road of a request knows nothing of watches,
//! no notice can be missed, and a slow client costs the memory of one answer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use headroom_engine::ports::Seq;
use headroom_proto::v1;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_stream::Stream;
use tonic::Status;

use super::lists;
use crate::grpc::parse;
use crate::grpc::shared::Shared;
use crate::grpc::status::WireError;
use crate::serve::drain::Drain;

/// Watches of one sidecar at a time: what they cost when all look at once stays a few percent of a
/// core.
const WATCHES_MAX: usize = 1_000;

/// Features that a watch may name.
const FEATURES_MAX: usize = 100;

/// How often a watch asks whether anything was written.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often it looks although nothing was written.
const LOOK_ANYWAY_EVERY: Duration = Duration::from_secs(1);

/// The messages of one watch.
pub struct WatchStream {
    shared: Arc<Shared>,
    account: String,
    // Empty: all.
    features: Vec<String>,
    counters: bool,
    // What the client knows, as far as it matters to it; `None` before the first message.
    sent: Option<Vec<v1::Entitlement>>,
    seen: (Seq, u64),
    look_anyway_at: Instant,
    ticks: Interval,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
}

impl WatchStream {
    /// Begins a watch.
    pub(super) fn begin(
        shared: Arc<Shared>,
        rq: v1::WatchEntitlementsRequest,
        drain: Drain,
    ) -> Result<WatchStream, WireError> {
        let account = parse::id("account", &rq.account)?.to_owned();
        if rq.features.len() > FEATURES_MAX {
            let count = rq.features.len();
            let problem = format!("has {count} entries, must have at most {FEATURES_MAX}");
            return Err(WireError::field("features", problem));
        }
        for feature in &rq.features {
            parse::id("features", feature)?;
        }
        // An account that nobody knows and that has no default plan is told so at once.
        lists::entitlements(&shared, &account)?;
        let more = |count| (count < WATCHES_MAX).then_some(count + 1);
        if shared.watches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            let problem = format!("this sidecar serves {WATCHES_MAX} watches already");
            return Err(WireError::new(v1::ErrorReason::TooManyWatches, problem));
        }
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(WatchStream {
            shared,
            account,
            features: rq.features,
            counters: rq.counters,
            sent: None,
            seen: (Seq(0), 0),
            look_anyway_at: Instant::now(),
            ticks,
            stopping: Box::pin(drain.begun()),
            is_over: false,
        })
    }

    /// Looks, if there may be something new, and says what is.
    fn look(&mut self) -> Result<Option<v1::WatchEntitlementsResponse>, WireError> {
        let engine = &self.shared.engine;
        let seen = (engine.last_record(&self.account), engine.catalog().revision);
        let now = Instant::now();
        if self.sent.is_some() && seen == self.seen && now < self.look_anyway_at {
            return Ok(None);
        }
        self.seen = seen;
        self.look_anyway_at = now + LOOK_ANYWAY_EVERY;
        let list = lists::entitlements(&self.shared, &self.account)?;
        let known = self.sent.take();
        let is_first = known.is_none();
        let known = known.unwrap_or_default();
        let (mut entitlements, mut sent) = (Vec::new(), Vec::new());
        for entitlement in list.entitlements {
            if !self.features.is_empty() && !self.features.contains(&entitlement.feature) {
                continue;
            }
            let matters = match self.counters {
                true => entitlement.clone(),
                false => without_counters(entitlement.clone()),
            };
            if !known.contains(&matters) {
                entitlements.push(entitlement);
            }
            sent.push(matters);
        }
        let is_gone =
            |one: &&v1::Entitlement| sent.iter().all(|still| still.feature != one.feature);
        let removed_features: Vec<_> =
            known.iter().filter(is_gone).map(|one| one.feature.clone()).collect();
        self.sent = Some(sent);
        if !is_first && entitlements.is_empty() && removed_features.is_empty() {
            return Ok(None);
        }
        Ok(Some(v1::WatchEntitlementsResponse {
            entitlements,
            removed_features,
            plan: list.plan,
            catalog_revision: list.catalog_revision,
            as_of: list.as_of,
        }))
    }
}

/// What an account may do, without what every use changes.
fn without_counters(mut entitlement: v1::Entitlement) -> v1::Entitlement {
    for limit in &mut entitlement.limits {
        // Windows that move with time or use are counters too.
        let moves = limit.sliding || entitlement.rate.is_some();
        *limit = v1::LimitState {
            used_units: 0,
            reserved_units: 0,
            settled_units_remaining: None,
            drawable_units_remaining: None,
            window_start: limit.window_start.filter(|_| !moves),
            window_end: limit.window_end.filter(|_| !moves),
            grace_units_remaining: None,
            overage_units: 0,
            debt_units: 0,
            overage_cost: None,
            oldest_units_leave_at: None,
            billed_units: None,
            ..std::mem::take(limit)
        };
    }
    entitlement
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.shared.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stream for WatchStream {
    type Item = Result<v1::WatchEntitlementsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.is_over || this.stopping.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            std::task::ready!(this.ticks.poll_tick(cx));
            match this.look() {
                Ok(None) => {}
                Ok(Some(change)) => return Poll::Ready(Some(Ok(change))),
                Err(error) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }
}
