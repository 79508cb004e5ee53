//! EntitlementService: parse, decide, wait until written, answer.

use std::sync::Arc;

use headroom_engine::ports::Archive;
use headroom_proto::v1;
use headroom_proto::v1::entitlement_service_server::EntitlementService;
use tonic::{Request, Response, Status, Streaming};

use crate::clock::Reading;
use crate::grpc::parse;
use crate::grpc::present;
use crate::grpc::shared::{Answered, Shared};
use crate::grpc::status::WireError;
use crate::grpc::stream::DecideStream;
use crate::serve::Gate;
use crate::serve::drain::Drain;
use crate::serve::gate::Pending;
use crate::telemetry::metrics::{Operation, Recorder};

mod lists;

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
    /// Says when the sidecar stops: streams end then.
    pub drain: Drain,
}

impl Entitlements {
    /// The first half of every unary operation, done at once: decide, and make the answer. Apart from
    /// the waiting, so that what waits is small: with many requests in flight their futures are what
    /// the cache holds.
    #[inline(never)]
    fn begin<T>(
        &self,
        decide: impl FnOnce() -> Result<Answered, WireError>,
        respond: impl FnOnce(Answered) -> T,
    ) -> Result<Box<Begun<T>>, Status> {
        let answered = decide().map_err(|error| self.failed(error))?;
        let pending = answered.wait_for.map(|seq| self.gate.appended(seq));
        let (verdict, denial) = (answered.decision.verdict(), answered.decision.denial());
        Ok(Box::new(Begun { pending, verdict, denial, response: Response::new(respond(answered)) }))
    }

    /// The second half: wait until it is written, count it, answer.
    async fn finish<T>(
        &self,
        (operation, arrived): (Operation, Reading),
        begun: Result<Box<Begun<T>>, Status>,
    ) -> Result<Response<T>, Status> {
        let begun = begun?;
        if let Some(pending) = begun.pending
            && let Err(unknown) = self.gate.settled(pending).await
        {
            return Err(self.failed(unknown.into()));
        }
        // A clock that was set back meanwhile makes it no time at all.
        let elapsed = arrived.real.elapsed().unwrap_or_default();
        self.recorder.decision(operation, begun.verdict, begun.denial, elapsed);
        Ok(begun.response)
    }

    fn failed(&self, error: WireError) -> Status {
        self.recorder.error(error.reason);
        error.into()
    }
}

/// An answer that waits for its record to be written.
struct Begun<T> {
    pending: Option<Pending>,
    verdict: v1::Verdict,
    denial: v1::Denial,
    response: Response<T>,
}

/// The answer to a consume, and so on: from what was decided to the message.
pub(super) mod message {
    use super::{Answered, parse, present, v1};

    pub(crate) fn check(answered: Answered) -> v1::CheckResponse {
        v1::CheckResponse { decision: Some(answered.decision) }
    }

    pub(crate) fn consume(answered: Answered) -> v1::ConsumeResponse {
        v1::ConsumeResponse { decision: Some(answered.decision) }
    }

    pub(crate) fn reserve(answered: Answered) -> v1::ReserveResponse {
        let amounts = answered.amounts;
        v1::ReserveResponse {
            decision: Some(answered.decision),
            reservation_id: amounts.reservation.map(parse::reservation_text).unwrap_or_default(),
            expires_at: amounts.expires_at.map(present::timestamp),
        }
    }

    pub(crate) fn extend(answered: Answered) -> v1::ExtendResponse {
        let amounts = answered.amounts;
        v1::ExtendResponse {
            decision: Some(answered.decision),
            expires_at: amounts.expires_at.map(present::timestamp),
            held_units: present::int(amounts.units),
        }
    }

    pub(crate) fn commit(answered: Answered) -> v1::CommitResponse {
        let amounts = answered.amounts;
        v1::CommitResponse {
            decision: Some(answered.decision),
            committed_units: present::int(amounts.units),
            surplus_units: present::int(amounts.surplus_units),
            debt_units: present::int(amounts.debt_units),
            late: amounts.late,
        }
    }

    pub(crate) fn release(answered: Answered) -> v1::ReleaseResponse {
        let amounts = answered.amounts;
        v1::ReleaseResponse {
            decision: Some(answered.decision),
            released_units: present::int(amounts.units),
        }
    }

    pub(crate) fn record(answered: Answered) -> v1::RecordResponse {
        let amounts = answered.amounts;
        v1::RecordResponse {
            decision: Some(answered.decision),
            debt_units: present::int(amounts.debt_units),
        }
    }
}

#[tonic::async_trait]
impl EntitlementService for Entitlements {
    async fn check(
        &self,
        rq: Request<v1::CheckRequest>,
    ) -> Result<Response<v1::CheckResponse>, Status> {
        let read = self.shared.clock.read();
        let decide = || self.shared.feature(parse::check(rq.get_ref(), read.now)?);
        let begun = self.begin(decide, message::check);
        drop(rq);
        self.finish((Operation::Check, read), begun).await
    }

    async fn consume(
        &self,
        rq: Request<v1::ConsumeRequest>,
    ) -> Result<Response<v1::ConsumeResponse>, Status> {
        let read = self.shared.clock.read();
        let decide = || self.shared.feature(parse::consume(rq.get_ref(), read.now)?);
        let begun = self.begin(decide, message::consume);
        drop(rq);
        self.finish((Operation::Consume, read), begun).await
    }

    async fn reserve(
        &self,
        rq: Request<v1::ReserveRequest>,
    ) -> Result<Response<v1::ReserveResponse>, Status> {
        let read = self.shared.clock.read();
        let decide = || self.shared.feature(parse::reserve(rq.get_ref(), read.now)?);
        let begun = self.begin(decide, message::reserve);
        drop(rq);
        self.finish((Operation::Reserve, read), begun).await
    }

    async fn extend(
        &self,
        rq: Request<v1::ExtendRequest>,
    ) -> Result<Response<v1::ExtendResponse>, Status> {
        let read = self.shared.clock.read();
        let decide = || self.shared.hold(parse::extend(rq.get_ref(), read.now)?);
        let begun = self.begin(decide, message::extend);
        drop(rq);
        self.finish((Operation::Extend, read), begun).await
    }

    async fn commit(
        &self,
        rq: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::CommitResponse>, Status> {
        let read = self.shared.clock.read();
        let decide = || self.shared.hold(parse::commit(rq.get_ref(), read.now)?);
        let begun = self.begin(decide, message::commit);
        drop(rq);
        self.finish((Operation::Commit, read), begun).await
    }

    async fn release(
        &self,
        rq: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let read = self.shared.clock.read();
        let decide = || self.shared.hold(parse::release(rq.get_ref(), read.now)?);
        let begun = self.begin(decide, message::release);
        drop(rq);
        self.finish((Operation::Release, read), begun).await
    }

    async fn record(
        &self,
        rq: Request<v1::RecordRequest>,
    ) -> Result<Response<v1::RecordResponse>, Status> {
        let read = self.shared.clock.read();
        let decide = || self.shared.feature(parse::record(rq.get_ref(), read.now)?);
        let begun = self.begin(decide, message::record);
        drop(rq);
        self.finish((Operation::Record, read), begun).await
    }

    type DecideStream = DecideStream;

    async fn decide(
        &self,
        rq: Request<Streaming<v1::DecideRequest>>,
    ) -> Result<Response<DecideStream>, Status> {
        let (shared, gate) = (Arc::clone(&self.shared), self.gate.clone());
        let (recorder, drain) = (self.recorder.clone(), self.drain.clone());
        Ok(Response::new(DecideStream::new(shared, recorder, gate, drain, rq.into_inner())))
    }

    async fn list_entitlements(
        &self,
        rq: Request<v1::ListEntitlementsRequest>,
    ) -> Result<Response<v1::ListEntitlementsResponse>, Status> {
        lists::entitlements(self, rq.get_ref()).map(Response::new).map_err(|e| self.failed(e))
    }

    async fn get_usage(
        &self,
        rq: Request<v1::GetUsageRequest>,
    ) -> Result<Response<v1::GetUsageResponse>, Status> {
        lists::usage(self, rq.get_ref()).map(Response::new).map_err(|e| self.failed(e))
    }
}
