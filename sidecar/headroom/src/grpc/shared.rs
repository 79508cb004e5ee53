//! What all services of one sidecar share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use headroom_core::catalog::{Aggregation, Catalog, FeatureKind};
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::time::Millis;
use headroom_engine::engine::{Engine, FeatureRequest, HoldRequest, Reply};
use headroom_engine::ports::{Archive, Seq};
use headroom_prompts::{Facts, Rendered, Renderer, Wording};
use headroom_proto::encoded::Fields;
use headroom_proto::v1::{self, ErrorReason};

use crate::clock::Clock;
use crate::forecasts::Forecasts;
use crate::growth::Growth;
use crate::grpc::explain;
use crate::grpc::parse::{self, Asked, Include};
use crate::grpc::present::{self, Scene};
use crate::grpc::receipts::{self, About, Receipts};
use crate::grpc::status::WireError;
use crate::telemetry::metrics::{Operation, Recorder};

/// The prompts of one catalog revision.
pub struct Words {
    /// The revision.
    pub revision: u64,
    /// Its prompts.
    pub renderer: Renderer,
    /// Where their ids come from, and what would have been shown is written down.
    pub engine: Arc<Engine>,
    /// What others of an account's size usually have.
    pub growth: Arc<Growth>,
    // Whether a prompt of these could not be rendered, so that the log says it once.
    has_failed: AtomicBool,
}

impl Words {
    /// The prompts of a catalog that was just put in force.
    pub fn new(
        revision: u64,
        renderer: Renderer,
        engine: Arc<Engine>,
        growth: Arc<Growth>,
    ) -> Words {
        Words { revision, renderer, engine, growth, has_failed: AtomicBool::new(false) }
    }

    /// The texts of the prompt at a place of the catalog. `None` when a template fails: an answer
    /// without its prompt is better than none. The first failure is logged.
    pub fn render(
        &self,
        catalog: &Catalog,
        (place, wording): (usize, Wording<'_>),
        facts: &Facts<'_>,
    ) -> Option<Rendered> {
        let rendered = self.renderer.render(place, wording, facts);
        if let Err(error) = &rendered
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            let prompt = catalog.prompts().get(place).map_or("", |prompt| &prompt.spec.prompt);
            tracing::warn!(prompt, %error, "a prompt could not be rendered");
        }
        rendered.ok()
    }
}

/// What all services of one sidecar share.
pub struct Shared {
    /// The memory.
    pub engine: Arc<Engine>,
    /// The domain's clock.
    pub clock: Clock,
    /// The prompts. Swapped just after the catalog.
    pub words: ArcSwapOption<Words>,
    /// What is known of accounts' growth.
    pub growth: Arc<Growth>,
    /// What a written answer is called.
    pub durability: v1::Durability,
    /// How many watches there are.
    pub watches: AtomicUsize,
    /// The latest decisions, worker by worker.
    pub receipts: Vec<Receipts>,
    /// Closed windows, and the keys of late events.
    pub archive: Arc<dyn Archive>,
    /// When limits are reached.
    pub forecasts: Forecasts,
    /// How far back windows can be restated, in milliseconds.
    pub restate_ms: i64,
}

/// An answer ready to be sent once its record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// What was asked for.
    pub operation: Operation,
    /// The one-word answer.
    pub verdict: Verdict,
    /// Why it would have been refused, if the feature were not in shadow mode.
    pub shadow: Option<Denial>,
    /// The record to wait for before it is sent.
    pub wait_for: Option<Seq>,
}

/// Whether nothing can be used of a feature: only where the latest value counts, which may be 0.
#[cold]
pub fn nothing_counts(catalog: &Catalog, feature: &str) -> Result<(), WireError> {
    let known = catalog.feature_named(feature).map(|ix| catalog.feature(ix).aggregation());
    if known == Some(Aggregation::Latest) {
        return Ok(());
    }
    parse::units("units", 0, 1).map(|_| ())
}

/// What a Reserve without units is for: one slot. Of what is used up nobody guesses how much.
fn usual_units(catalog: &Catalog, feature: &str) -> Result<u64, WireError> {
    let kind = catalog.feature_named(feature).map(|ix| &catalog.feature(ix).kind);
    match kind {
        Some(FeatureKind::Concurrency { .. }) => Ok(1),
        _ => parse::units("units", 0, 1),
    }
}

impl Shared {
    /// Decides a request about a feature, and writes the fields of the answer to `out`.
    pub fn feature(
        &self,
        receipts: &Receipts,
        mut asked: Asked<'_, FeatureRequest<'_>>,
        out: &mut Fields<'_>,
    ) -> Result<Answered, WireError> {
        let catalog = self.engine.catalog();
        asked.request.wants.all_limits_unless_plain = receipts.is_on();
        if let FeatureOp::Reserve { units: units @ 0, .. }
        | FeatureOp::ReserveCharging { units: units @ 0, .. } = &mut asked.request.op
        {
            *units = usual_units(&catalog, asked.request.feature)?;
        }
        let rq = &asked.request;
        if let FeatureOp::Consume { units: 0 } | FeatureOp::Record { units: 0 } = rq.op {
            nothing_counts(&catalog, rq.feature)?;
        }
        let reply = self.engine.feature(&catalog, rq)?;
        let (operation, units) = match rq.op {
            FeatureOp::Check { units, .. } => (Operation::Check, units),
            FeatureOp::Consume { units } => (Operation::Consume, units),
            FeatureOp::Reserve { units, .. } | FeatureOp::ReserveCharging { units, .. } => {
                (Operation::Reserve, units)
            }
            FeatureOp::Record { units } => (Operation::Record, units),
            FeatureOp::Value { .. } => (Operation::Consume, 1),
            FeatureOp::Allocate { change } => (Operation::Allocate, change.units()),
        };
        let about = About { operation, account: rq.account, feature: rq.feature, units };
        Ok(self.answer(receipts, about, (&catalog, rq.now), asked.include, &reply, out))
    }

    /// Decides a request about a reservation, and writes the fields of the answer to `out`.
    pub fn hold(
        &self,
        receipts: &Receipts,
        mut asked: Asked<'_, HoldRequest<'_>>,
        out: &mut Fields<'_>,
    ) -> Result<Answered, WireError> {
        let catalog = self.engine.catalog();
        asked.request.wants.all_limits_unless_plain = receipts.is_on();
        let rq = &asked.request;
        let reply = self.engine.hold(&catalog, rq)?;
        let (operation, units) = match rq.op {
            HoldOp::Extend { additional_units, .. } => (Operation::Extend, additional_units),
            HoldOp::Commit { units } | HoldOp::CommitPart { units, .. } => {
                (Operation::Commit, units)
            }
            HoldOp::Release => (Operation::Release, 0),
        };
        let feature = reply.outcome.decision.feature.map_or("", |id| catalog.feature_text(id));
        let about = About { operation, account: rq.account, feature, units };
        Ok(self.answer(receipts, about, (&catalog, rq.now), asked.include, &reply, out))
    }

    pub(super) fn answer(
        &self,
        receipts: &Receipts,
        about: About<'_>,
        (catalog, now): (&Catalog, Millis),
        include: Include<'_>,
        reply: &Reply,
        out: &mut Fields<'_>,
    ) -> Answered {
        let words = if include.prompt { self.words.load_full() } else { None };
        let words = words.as_deref().filter(|words| words.revision == catalog.revision);
        let scene = Scene {
            catalog,
            words,
            forecasts: &self.forecasts,
            account: about.account,
            now,
            test_clock: self.clock.is_test(),
            durability: self.durability,
        };
        let start = out.place();
        present::response(about.operation, scene, reply, include, out);
        let decision = &reply.outcome.decision;
        // The answer of a replay is kept already, under the same id.
        if !reply.replayed {
            let (id, others) = (reply.decision_id, &reply.other_limits);
            receipts.keep(id, decision.verdict, about, out.since(start), |more| {
                if !include.all_limits {
                    present::limits(catalog, receipts::OTHER_LIMITS, others, more);
                }
            });
        }
        Answered {
            operation: about.operation,
            verdict: decision.verdict,
            shadow: decision.shadow,
            wait_for: reply.wait_for,
        }
    }
}

impl Shared {
    /// Why a recent decision was what it was.
    pub fn explain(
        &self,
        rq: &v1::ExplainDecisionRequest,
    ) -> Result<v1::ExplainDecisionResponse, WireError> {
        let id = rq.decision_id.parse().map_err(|()| {
            WireError::field("decision_id", "is not the decision_id of an answer, as `dec_1f3`")
        })?;
        if !self.receipts.iter().any(Receipts::is_on) {
            let problem = "this sidecar keeps no decisions: set `recent_decisions_bytes`";
            return Err(WireError::new(ErrorReason::UnknownDecision, problem));
        }
        let kept = self.receipts.iter().find_map(|receipts| receipts.find(id));
        kept.map(explain::explain).ok_or_else(|| {
            let problem = "is not among the recent decisions of this sidecar: it was another's, or \
                           too long ago, or before a restart";
            WireError::new(ErrorReason::UnknownDecision, format!("{} {problem}", rq.decision_id))
        })
    }
}

impl Answered {
    /// Counts it, when it is sent: `elapsed` runs from the arrival of the request.
    pub fn count(&self, recorder: &Recorder, elapsed: Duration) {
        let (verdict, denial) = (present::verdict(self.verdict), present::denial(self.verdict));
        recorder.decision(self.operation, verdict, denial, elapsed);
        recorder.shadow(present::reason(self.shadow));
    }
}
