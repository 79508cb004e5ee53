//! EntitlementService: parse, decide, wait until written, answer.

use std::sync::Arc;

use headroom_engine::ports::Archive;
use headroom_proto::borrowed::Raw;
use headroom_proto::encoded::{Encoded, Fields};
use headroom_proto::server::entitlement_service_server::EntitlementService;
use headroom_proto::v1;
use tonic::{Request, Response, Status, Streaming};

use crate::clock::Reading;
use crate::grpc::all;
use crate::grpc::entitlement::watch::WatchStream;
use crate::grpc::late::{self, Late};
use crate::grpc::parse::{self, Asked};
use crate::grpc::receipts::Receipts;
use crate::grpc::shared::{Answered, Shared};
use crate::grpc::status::WireError;
use crate::grpc::stream::DecideStream;
use crate::serve::Gate;
use crate::serve::drain::Drain;
use crate::serve::gate::Pending;
use crate::telemetry::metrics::Recorder;

mod by_time;
mod lists;
mod watch;

/// Room for an answer to begin with, in bytes: most are 100 to 200 long.
pub(super) const ANSWER_BYTES_USUAL: usize = 256;

/// The service, as one worker serves it.
#[derive(Clone)]
pub struct Entitlements {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Closed windows.
    pub archive: Arc<dyn Archive>,
    /// Where this worker's requests wait for the journal.
    pub gate: Gate,
    /// Where this worker counts.
    pub recorder: Recorder,
    /// This worker's latest decisions.
    pub receipts: Receipts,
    /// Says when the sidecar stops: streams end then.
    pub drain: Drain,
}

impl Entitlements {
    /// The first half of every unary operation, done at once: decide, and write the answer. Apart from
    /// the waiting, so that what waits is small: with many requests in flight their futures are what
    /// the cache holds.
    #[inline(never)]
    fn begin(
        &self,
        decide: impl FnOnce(&mut Fields<'_>) -> Result<Answered, WireError>,
    ) -> Result<Begun, Status> {
        let mut bytes = Vec::with_capacity(ANSWER_BYTES_USUAL);
        let answered = decide(&mut Fields::new(&mut bytes)).map_err(|error| self.failed(error))?;
        let pending = answered.wait_for.map(|seq| self.gate.appended(seq));
        Ok(Begun { pending, answered, bytes })
    }

    /// The first half of what looks at the disk before it decides, and again while that is a moment
    /// behind.
    async fn begin_late(&self, asked: &Asked<'_, Late<'_>>) -> Result<Begun, Status> {
        let looked = late::caught_up(|| {
            let mut bytes = Vec::with_capacity(ANSWER_BYTES_USUAL);
            let answered = self.shared.late(&self.receipts, asked, &mut Fields::new(&mut bytes))?;
            Ok((answered, bytes))
        });
        let looked = looked.await;
        self.begin(|out| {
            let (answered, bytes) = looked?;
            out.raw(&bytes);
            Ok(answered)
        })
    }

    /// The second half: wait until it is written, count it, answer.
    async fn finish(
        &self,
        arrived: Reading,
        begun: Result<Begun, Status>,
    ) -> Result<Response<Encoded>, Status> {
        let begun = begun?;
        if let Some(pending) = begun.pending
            && let Err(unknown) = self.gate.settled(pending).await
        {
            return Err(self.failed(unknown.into()));
        }
        // A clock that was set back meanwhile makes it no time at all.
        let elapsed = arrived.real.elapsed().unwrap_or_default();
        begun.answered.count(&self.recorder, elapsed);
        Ok(Response::new(Encoded::new(begun.bytes)))
    }

    fn failed(&self, error: WireError) -> Status {
        self.recorder.error(error.reason);
        error.into()
    }
}

/// An answer that waits for its record to be written.
struct Begun {
    pending: Option<Pending>,
    answered: Answered,
    bytes: Vec<u8>,
}

#[tonic::async_trait]
impl EntitlementService for Entitlements {
    async fn check(&self, rq: Request<Raw>) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.feature(
                &self.receipts,
                parse::check(rq.get_ref().as_bytes(), read.now)?,
                out,
            )
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn consume(&self, rq: Request<Raw>) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.feature(
                &self.receipts,
                parse::consume(rq.get_ref().as_bytes(), read.now)?,
                out,
            )
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn reserve(&self, rq: Request<v1::ReserveRequest>) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.feature(&self.receipts, parse::reserve(rq.get_ref(), read.now)?, out)
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn extend(&self, rq: Request<v1::ExtendRequest>) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.hold(&self.receipts, parse::extend(rq.get_ref(), read.now)?, out)
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn commit(&self, rq: Request<v1::CommitRequest>) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.hold(&self.receipts, parse::commit(rq.get_ref(), read.now)?, out)
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn release(&self, rq: Request<v1::ReleaseRequest>) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.hold(&self.receipts, parse::release(rq.get_ref(), read.now)?, out)
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn record(&self, rq: Request<v1::RecordRequest>) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let late = late::record(rq.get_ref(), read.now, self.shared.restate_ms);
        if let Some(asked) = late.map_err(|error| self.failed(error))? {
            let begun = self.begin_late(&asked).await;
            return self.finish(read, begun).await;
        }
        let begun = self.begin(|out| {
            self.shared.feature(&self.receipts, parse::record(rq.get_ref(), read.now)?, out)
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn allocate(
        &self,
        rq: Request<v1::AllocateRequest>,
    ) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.feature(&self.receipts, parse::allocate(rq.get_ref(), read.now)?, out)
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn check_all(
        &self,
        rq: Request<v1::CheckAllRequest>,
    ) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.all(&self.receipts, &all::check(rq.get_ref(), read.now)?, out)
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn consume_all(
        &self,
        rq: Request<v1::ConsumeAllRequest>,
    ) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.all(&self.receipts, &all::consume(rq.get_ref(), read.now)?, out)
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn reserve_all(
        &self,
        rq: Request<v1::ReserveAllRequest>,
    ) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let begun = self.begin(|out| {
            self.shared.all(&self.receipts, &all::reserve(rq.get_ref(), read.now)?, out)
        });
        drop(rq);
        self.finish(read, begun).await
    }

    async fn correct(&self, rq: Request<v1::CorrectRequest>) -> Result<Response<Encoded>, Status> {
        let read = self.shared.clock.read();
        let asked = late::correct(rq.get_ref(), read.now, self.shared.restate_ms);
        let begun = self.begin_late(&asked.map_err(|error| self.failed(error))?).await;
        self.finish(read, begun).await
    }

    async fn list_adjustments(
        &self,
        rq: Request<v1::ListAdjustmentsRequest>,
    ) -> Result<Response<v1::ListAdjustmentsResponse>, Status> {
        lists::adjustments(self, rq.get_ref()).map(Response::new).map_err(|e| self.failed(e))
    }

    type DecideStream = DecideStream;

    async fn decide(&self, rq: Request<Streaming<Raw>>) -> Result<Response<DecideStream>, Status> {
        let (shared, gate) = (Arc::clone(&self.shared), self.gate.clone());
        let books = (self.recorder.clone(), self.receipts.clone());
        let drain = self.drain.clone();
        Ok(Response::new(DecideStream::new(shared, books, gate, drain, rq.into_inner())))
    }

    async fn list_entitlements(
        &self,
        rq: Request<v1::ListEntitlementsRequest>,
    ) -> Result<Response<v1::ListEntitlementsResponse>, Status> {
        parse::id("account", &rq.get_ref().account)
            .and_then(|account| lists::entitlements(&self.shared, account))
            .map(Response::new)
            .map_err(|error| self.failed(error))
    }

    async fn get_usage(
        &self,
        rq: Request<v1::GetUsageRequest>,
    ) -> Result<Response<v1::GetUsageResponse>, Status> {
        lists::usage(self, rq.get_ref()).map(Response::new).map_err(|e| self.failed(e))
    }

    async fn get_usage_by_time(
        &self,
        rq: Request<v1::GetUsageByTimeRequest>,
    ) -> Result<Response<v1::GetUsageByTimeResponse>, Status> {
        by_time::usage(self, rq.get_ref()).await.map(Response::new).map_err(|e| self.failed(e))
    }

    type WatchEntitlementsStream = WatchStream;

    async fn watch_entitlements(
        &self,
        rq: Request<v1::WatchEntitlementsRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        WatchStream::begin(Arc::clone(&self.shared), rq.into_inner(), self.drain.clone())
            .map(Response::new)
            .map_err(|error| self.failed(error))
    }

    async fn explain_decision(
        &self,
        rq: Request<v1::ExplainDecisionRequest>,
    ) -> Result<Response<v1::ExplainDecisionResponse>, Status> {
        self.shared.explain(rq.get_ref()).map(Response::new).map_err(|e| self.failed(e))
    }
}
