//! What all services of one sidecar share.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use headroom_core::catalog::{Catalog, FeatureKind};
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::time::Millis;
use headroom_engine::engine::{Engine, FeatureRequest, HoldRequest, Reply};
use headroom_engine::ports::Seq;
use headroom_proto::encoded::Fields;
use headroom_proto::v1;

use crate::clock::Clock;
use crate::grpc::parse::{self, Asked};
use crate::grpc::present::{self, Scene};
use crate::grpc::status::WireError;
use crate::prompts::Renderer;
use crate::telemetry::metrics::{Operation, Recorder};

/// The prompts of one catalog revision.
pub struct Words {
    /// The revision.
    pub revision: u64,
    /// Its prompts.
    pub renderer: Renderer,
}

/// What all services of one sidecar share.
pub struct Shared {
    /// The memory.
    pub engine: Arc<Engine>,
    /// The domain's clock.
    pub clock: Clock,
    /// The prompts. Swapped just after the catalog.
    pub words: ArcSwapOption<Words>,
    /// What a written answer is called.
    pub durability: v1::Durability,
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
        mut asked: Asked<FeatureRequest<'_>>,
        out: &mut Fields<'_>,
    ) -> Result<Answered, WireError> {
        let catalog = self.engine.catalog();
        if let FeatureOp::Reserve { units: units @ 0, .. }
        | FeatureOp::ReserveCharging { units: units @ 0, .. } = &mut asked.request.op
        {
            *units = usual_units(&catalog, asked.request.feature)?;
        }
        let rq = &asked.request;
        let reply = self.engine.feature(&catalog, rq)?;
        let operation = match rq.op {
            FeatureOp::Check { .. } => Operation::Check,
            FeatureOp::Consume { .. } => Operation::Consume,
            FeatureOp::Reserve { .. } | FeatureOp::ReserveCharging { .. } => Operation::Reserve,
            FeatureOp::Record { .. } => Operation::Record,
            FeatureOp::Allocate { .. } => Operation::Allocate,
        };
        Ok(self.answer(operation, &catalog, (rq.account, rq.now), asked.include, &reply, out))
    }

    /// Decides a request about a reservation, and writes the fields of the answer to `out`.
    pub fn hold(
        &self,
        asked: Asked<HoldRequest<'_>>,
        out: &mut Fields<'_>,
    ) -> Result<Answered, WireError> {
        let catalog = self.engine.catalog();
        let rq = &asked.request;
        let reply = self.engine.hold(&catalog, rq)?;
        let operation = match rq.op {
            HoldOp::Extend { .. } => Operation::Extend,
            HoldOp::Commit { .. } | HoldOp::CommitPart { .. } => Operation::Commit,
            HoldOp::Release => Operation::Release,
        };
        Ok(self.answer(operation, &catalog, (rq.account, rq.now), asked.include, &reply, out))
    }

    fn answer(
        &self,
        operation: Operation,
        catalog: &Catalog,
        (account, now): (&str, Millis),
        include: v1::Include,
        reply: &Reply,
        out: &mut Fields<'_>,
    ) -> Answered {
        let words = if include.prompt { self.words.load_full() } else { None };
        let renderer =
            words.as_ref().filter(|w| w.revision == catalog.revision).map(|w| &w.renderer);
        let scene = Scene {
            catalog,
            renderer,
            account,
            now,
            test_clock: self.clock.is_test(),
            durability: self.durability,
        };
        present::response(operation, scene, reply, include, out);
        let decision = &reply.outcome.decision;
        Answered {
            operation,
            verdict: decision.verdict,
            shadow: decision.shadow,
            wait_for: reply.wait_for,
        }
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
