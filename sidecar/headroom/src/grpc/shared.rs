//! What all services of one sidecar share.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use headroom_core::decision::Amounts;
use headroom_core::time::Millis;
use headroom_engine::engine::{Engine, FeatureRequest, HoldRequest, Reply};
use headroom_engine::ports::Seq;
use headroom_proto::v1;

use crate::clock::Clock;
use crate::grpc::parse::Asked;
use crate::grpc::present::{self, Scene};
use crate::grpc::status::WireError;
use crate::prompts::Renderer;

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
pub struct Answered {
    /// The decision.
    pub decision: v1::Decision,
    /// What was done.
    pub amounts: Amounts,
    /// The record to wait for before it is sent.
    pub wait_for: Option<Seq>,
}

impl Shared {
    /// Decides a request about a feature.
    pub fn feature(&self, asked: Asked<FeatureRequest<'_>>) -> Result<Answered, WireError> {
        let catalog = self.engine.catalog();
        let reply = self.engine.feature(&catalog, &asked.request)?;
        Ok(self.answer(&catalog, asked.request.account, asked.request.now, asked.include, &reply))
    }

    /// Decides a request about a reservation.
    pub fn hold(&self, asked: Asked<HoldRequest<'_>>) -> Result<Answered, WireError> {
        let catalog = self.engine.catalog();
        let reply = self.engine.hold(&catalog, &asked.request)?;
        Ok(self.answer(&catalog, asked.request.account, asked.request.now, asked.include, &reply))
    }

    fn answer(
        &self,
        catalog: &headroom_core::catalog::Catalog,
        account: &str,
        now: Millis,
        include: v1::Include,
        reply: &Reply,
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
        let decision = present::decision(scene, reply, include);
        Answered { decision, amounts: reply.outcome.amounts, wait_for: reply.wait_for }
    }
}
