//! The yardstick of the load tests: `headroom baseline`, an empty EntitlementService.
//!
//! It runs on the same listeners, workers and settings as the sidecar, decodes the same requests
//! and encodes answers as full as real ones, and does nothing in between. What the sidecar costs
//! more is the cost of deciding, counting and writing; the goal of 1.12 times is against this.
//!
//! It never decides anything, so no product should talk to it: the command is hidden.

use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use headroom_engine::ports::Seq;
use headroom_proto::v1::entitlement_service_server::{
    EntitlementService, EntitlementServiceServer,
};
use headroom_proto::v1::{
    AllocateRequest, AllocateResponse, CheckAllRequest, CheckAllResponse, CheckRequest,
    CheckResponse, CommitRequest, CommitResponse, ConsumeAllRequest, ConsumeAllResponse,
    ConsumeRequest, ConsumeResponse, CorrectRequest, CorrectResponse, DecideRequest,
    DecideResponse, Decision, Durability, ExplainDecisionRequest, ExplainDecisionResponse,
    ExtendRequest, ExtendResponse, GetUsageByTimeRequest, GetUsageByTimeResponse, GetUsageRequest,
    GetUsageResponse, LimitState, ListAdjustmentsRequest, ListAdjustmentsResponse,
    ListEntitlementsRequest, ListEntitlementsResponse, OperationResult, Origin, OriginKind, Policy,
    RecordRequest, RecordResponse, ReleaseRequest, ReleaseResponse, ReserveAllRequest,
    ReserveAllResponse, ReserveRequest, ReserveResponse, Source, Verdict, WatchEntitlementsRequest,
    WatchEntitlementsResponse, operation_result,
};
use prost_types::Timestamp;
use tokio_stream::{Empty, Stream};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::serve::{
    BindError, Control, Gates, Kick, ListenAddr, Listener, MakeRoutes, Server, limits, listener,
};

/// How long requests in flight may take to finish at the end.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// Why the yardstick did not run.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// An address could not be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread or a runtime could not be started.
    #[error("the workers cannot be started")]
    Start(#[from] io::Error),
}

/// Serves the empty service on all addresses until SIGINT or SIGTERM.
pub fn run(addrs: &[ListenAddr], workers: NonZeroUsize) -> Result<(), BaselineError> {
    let listeners = addrs
        .iter()
        .map(|addr| Listener::bind(addr, listener::DEFAULT_UNIX_MODE))
        .collect::<Result<Vec<Listener>, BindError>>()?;
    for listener in &listeners {
        tracing::info!(addr = %listener.addr(), workers, "the empty service listens");
    }
    let gates = Gates::new(Seq(0), workers.get());
    let kick: Kick = Arc::new(|| {});
    let make: MakeRoutes = Arc::new(|_| Routes::new(service()));

    let control = Control::start(gates.control().clone(), kick.clone())?;
    let server = Server::start(control.handle(), listeners, &gates, &kick, &make)?;
    control.handle().block_on(async {
        terminated().await?;
        server.drain(DRAIN_WITHIN).await;
        Ok::<(), io::Error>(())
    })?;
    control.stop();
    Ok(())
}

async fn terminated() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// The empty service, made as the real one is.
pub fn service() -> EntitlementServiceServer<Baseline> {
    EntitlementServiceServer::new(Baseline::default())
        .max_decoding_message_size(limits::REQUEST_MESSAGE_BYTES_MAX)
}

/// Answers every request with the same decision.
#[derive(Debug)]
pub struct Baseline {
    decision: Decision,
}

impl Default for Baseline {
    fn default() -> Baseline {
        Baseline { decision: decision(SystemTime::now().into()) }
    }
}

/// A decision as full as that of an ordinary Consume: the binding limit, where it comes from, two
/// window bounds, the receipt.
fn decision(now: Timestamp) -> Decision {
    let day = 86_400;
    Decision {
        allowed: true,
        verdict: Verdict::AllowedSoftLimit.into(),
        binding: Some(LimitState {
            limit: "monthly".to_owned(),
            policy: Policy::Grace.into(),
            included_units: Some(1_000_000),
            used_units: 812_345,
            reserved_units: 1_200,
            settled_units_remaining: Some(187_655),
            drawable_units_remaining: Some(286_455),
            window_start: Some(Timestamp { seconds: now.seconds - 20 * day, nanos: 0 }),
            window_end: Some(Timestamp { seconds: now.seconds + 10 * day, nanos: 0 }),
            thresholds_passed_bp: vec![8_000],
            grace_units_remaining: Some(100_000),
            limit_revision: 1,
            ..LimitState::default()
        }),
        origin: Some(Origin {
            kind: OriginKind::Plan.into(),
            plan: "growth".to_owned(),
            plan_version: 1,
            ..Origin::default()
        }),
        catalog_revision: 7,
        as_of: Some(now),
        source: Source::Local.into(),
        durability: Durability::Written.into(),
        decision_id: "d-00000000001f9a3c".to_owned(),
        ..Decision::default()
    }
}

impl Baseline {
    fn decision(&self) -> Option<Decision> {
        Some(self.decision.clone())
    }
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the yardstick answers Check, Consume and Decide alone"))
}

#[tonic::async_trait]
impl EntitlementService for Baseline {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse { decision: self.decision() }))
    }

    async fn consume(
        &self,
        _: Request<ConsumeRequest>,
    ) -> Result<Response<ConsumeResponse>, Status> {
        Ok(Response::new(ConsumeResponse { decision: self.decision() }))
    }

    type DecideStream = Decide;

    async fn decide(
        &self,
        request: Request<Streaming<DecideRequest>>,
    ) -> Result<Response<Decide>, Status> {
        let result = OperationResult {
            result: Some(operation_result::Result::Consume(ConsumeResponse {
                decision: self.decision(),
            })),
        };
        Ok(Response::new(Decide { requests: request.into_inner(), result }))
    }

    async fn reserve(
        &self,
        _: Request<ReserveRequest>,
    ) -> Result<Response<ReserveResponse>, Status> {
        not_here()
    }

    async fn extend(&self, _: Request<ExtendRequest>) -> Result<Response<ExtendResponse>, Status> {
        not_here()
    }

    async fn commit(&self, _: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        not_here()
    }

    async fn release(
        &self,
        _: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        not_here()
    }

    async fn record(&self, _: Request<RecordRequest>) -> Result<Response<RecordResponse>, Status> {
        not_here()
    }

    async fn check_all(
        &self,
        _: Request<CheckAllRequest>,
    ) -> Result<Response<CheckAllResponse>, Status> {
        not_here()
    }

    async fn consume_all(
        &self,
        _: Request<ConsumeAllRequest>,
    ) -> Result<Response<ConsumeAllResponse>, Status> {
        not_here()
    }

    async fn reserve_all(
        &self,
        _: Request<ReserveAllRequest>,
    ) -> Result<Response<ReserveAllResponse>, Status> {
        not_here()
    }

    async fn allocate(
        &self,
        _: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        not_here()
    }

    async fn correct(
        &self,
        _: Request<CorrectRequest>,
    ) -> Result<Response<CorrectResponse>, Status> {
        not_here()
    }

    async fn list_adjustments(
        &self,
        _: Request<ListAdjustmentsRequest>,
    ) -> Result<Response<ListAdjustmentsResponse>, Status> {
        not_here()
    }

    async fn list_entitlements(
        &self,
        _: Request<ListEntitlementsRequest>,
    ) -> Result<Response<ListEntitlementsResponse>, Status> {
        not_here()
    }

    async fn get_usage(
        &self,
        _: Request<GetUsageRequest>,
    ) -> Result<Response<GetUsageResponse>, Status> {
        not_here()
    }

    async fn get_usage_by_time(
        &self,
        _: Request<GetUsageByTimeRequest>,
    ) -> Result<Response<GetUsageByTimeResponse>, Status> {
        not_here()
    }

    type WatchEntitlementsStream = Empty<Result<WatchEntitlementsResponse, Status>>;

    async fn watch_entitlements(
        &self,
        _: Request<WatchEntitlementsRequest>,
    ) -> Result<Response<Self::WatchEntitlementsStream>, Status> {
        not_here()
    }

    async fn explain_decision(
        &self,
        _: Request<ExplainDecisionRequest>,
    ) -> Result<Response<ExplainDecisionResponse>, Status> {
        not_here()
    }
}

/// One result per operation of each message, in order.
pub struct Decide {
    requests: Streaming<DecideRequest>,
    result: OperationResult,
}

impl Stream for Decide {
    type Item = Result<DecideResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let request = ready!(Pin::new(&mut self.requests).poll_next(cx));
        Poll::Ready(request.map(|request| {
            let operations = request?.operations.len();
            Ok(DecideResponse { results: vec![self.result.clone(); operations] })
        }))
    }
}
