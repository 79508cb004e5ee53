//! A fake server for the tests of the load generator: counts and answers, nothing else.

use headroom_proto::v1;
use headroom_proto::v1::entitlement_service_server::{
    EntitlementService, EntitlementServiceServer,
};
use headroom_proto::v1::operation::Operation as WireOperation;
use headroom_proto::v1::operation_result::Result as WireResult;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// A fake on a thread of its own.
pub(super) struct Fake {
    /// Where it listens.
    pub endpoint: String,
    /// Operations it decided, unary and in streams.
    pub decided: Arc<AtomicU64>,
    socket: PathBuf,
    // Ends the thread when it is dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Fake {
    /// Starts one that allows everything, or refuses everything.
    pub(super) fn start(allowed: bool) -> Fake {
        static FAKES: AtomicU64 = AtomicU64::new(0);
        let number = FAKES.fetch_add(1, Ordering::Relaxed);
        let name = format!("headroom-load-fake-{}-{number}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&socket); // Left by an earlier run.
        let decided = Arc::new(AtomicU64::new(0));
        let service = Service { allowed, decided: decided.clone() };
        let (stop, stopped) = oneshot::channel();
        let (listens, is_listening) = mpsc::channel();
        let path = socket.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let incoming = UnixListenerStream::new(UnixListener::bind(path).expect("a socket"));
                listens.send(()).expect("the test waits");
                let service = EntitlementServiceServer::new(service);
                let server = tonic::transport::Server::builder().add_service(service);
                tokio::select! {
                    _ = server.serve_with_incoming(incoming) => {}
                    _ = stopped => {}
                }
            });
        });
        is_listening.recv().expect("the fake starts");
        Fake {
            endpoint: format!("unix:{}", socket.display()),
            decided,
            socket,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // Its panic would be reported by the test already.
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

#[derive(Clone)]
struct Service {
    allowed: bool,
    decided: Arc<AtomicU64>,
}

impl Service {
    fn decide(&self) -> Option<v1::Decision> {
        self.decided.fetch_add(1, Ordering::Relaxed);
        Some(v1::Decision { allowed: self.allowed, ..v1::Decision::default() })
    }

    fn operation(&self, operation: v1::Operation) -> v1::OperationResult {
        let decision = self.decide();
        let result = match operation.operation {
            Some(WireOperation::Consume(_)) => {
                WireResult::Consume(v1::ConsumeResponse { decision })
            }
            Some(WireOperation::Record(_)) => {
                WireResult::Record(v1::RecordResponse { decision, ..v1::RecordResponse::default() })
            }
            other => panic!("no load asks this: {other:?}"),
        };
        v1::OperationResult { result: Some(result) }
    }
}

type Unary<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl EntitlementService for Service {
    type DecideStream = Pin<Box<dyn Stream<Item = Result<v1::DecideResponse, Status>> + Send>>;

    async fn decide(
        &self,
        request: Request<Streaming<v1::DecideRequest>>,
    ) -> Unary<Self::DecideStream> {
        let service = self.clone();
        let answers = request.into_inner().map(move |request| {
            let operations = request?.operations.into_iter();
            let results = operations.map(|operation| service.operation(operation)).collect();
            Ok(v1::DecideResponse { results })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn consume(&self, _: Request<v1::ConsumeRequest>) -> Unary<v1::ConsumeResponse> {
        Ok(Response::new(v1::ConsumeResponse { decision: self.decide() }))
    }

    async fn check(&self, _: Request<v1::CheckRequest>) -> Unary<v1::CheckResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn reserve(&self, _: Request<v1::ReserveRequest>) -> Unary<v1::ReserveResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn extend(&self, _: Request<v1::ExtendRequest>) -> Unary<v1::ExtendResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn commit(&self, _: Request<v1::CommitRequest>) -> Unary<v1::CommitResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn release(&self, _: Request<v1::ReleaseRequest>) -> Unary<v1::ReleaseResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn record(&self, _: Request<v1::RecordRequest>) -> Unary<v1::RecordResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn check_all(&self, _: Request<v1::CheckAllRequest>) -> Unary<v1::CheckAllResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn consume_all(
        &self,
        _: Request<v1::ConsumeAllRequest>,
    ) -> Unary<v1::ConsumeAllResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn reserve_all(
        &self,
        _: Request<v1::ReserveAllRequest>,
    ) -> Unary<v1::ReserveAllResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn allocate(&self, _: Request<v1::AllocateRequest>) -> Unary<v1::AllocateResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn list_entitlements(
        &self,
        _: Request<v1::ListEntitlementsRequest>,
    ) -> Unary<v1::ListEntitlementsResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn correct(&self, _: Request<v1::CorrectRequest>) -> Unary<v1::CorrectResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn list_adjustments(
        &self,
        _: Request<v1::ListAdjustmentsRequest>,
    ) -> Unary<v1::ListAdjustmentsResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    type WatchEntitlementsStream =
        tokio_stream::Empty<Result<v1::WatchEntitlementsResponse, Status>>;
    async fn watch_entitlements(
        &self,
        _: Request<v1::WatchEntitlementsRequest>,
    ) -> Unary<Self::WatchEntitlementsStream> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn explain_decision(
        &self,
        _: Request<v1::ExplainDecisionRequest>,
    ) -> Unary<v1::ExplainDecisionResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
    async fn get_usage_by_time(
        &self,
        _: Request<v1::GetUsageByTimeRequest>,
    ) -> Unary<v1::GetUsageByTimeResponse> {
        Err(Status::unimplemented("no load asks this"))
    }

    async fn get_usage(&self, _: Request<v1::GetUsageRequest>) -> Unary<v1::GetUsageResponse> {
        Err(Status::unimplemented("no load asks this"))
    }
}
