//! A fake sidecar: speaks the generated service trait on a real socket, remembers what it was sent,
//! and misbehaves on request.

use headroom_proto::v1;
use headroom_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use headroom_proto::v1::entitlement_service_server::{
    EntitlementService, EntitlementServiceServer,
};
use headroom_proto::v1::operation::Operation as WireOperation;
use headroom_proto::v1::operation_result::Result as WireResult;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What the fake does with a message of the stream.
pub(crate) enum Reaction {
    /// Counts and answers.
    Answer,
    /// Counts, then ends the stream without an answer.
    CountAndBreak,
    /// Fails every operation without counting it.
    Fail(v1::ErrorReason),
    /// Counts and says nothing, ever.
    Hang,
    /// Answers with one result too few.
    Shorten,
}

/// Decides the reaction from the number of the message, counted from 0 over all streams.
pub(crate) type Script = fn(message: usize) -> Reaction;

/// What the fake remembers.
#[derive(Default)]
pub(crate) struct Memory {
    /// The operations of every message, in the order of arrival.
    pub messages: Vec<Vec<WireOperation>>,
    /// Units counted, by idempotency key: a key counts once.
    pub counted: BTreeMap<String, i64>,
}

/// A running fake.
pub(crate) struct Fake {
    /// Where it listens.
    pub endpoint: String,
    /// What it remembers.
    pub memory: Arc<Mutex<Memory>>,
    // Runs the listener; ends with the fake.
    _tasks: JoinSet<()>,
    socket: Option<PathBuf>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket); // Gone already is as good.
        }
    }
}

impl Fake {
    /// On a free loopback port.
    pub(crate) async fn on_tcp(script: Script) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let (service, memory) = service(script);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let server = Server::builder().add_service(service).serve_with_incoming(incoming);
            server.await.expect("the fake serves");
        });
        Fake { endpoint, memory, _tasks: tasks, socket: None }
    }

    /// On a socket in the test directory.
    pub(crate) async fn on_unix(script: Script) -> Fake {
        let path = socket_path();
        let _ = std::fs::remove_file(&path); // Left by an earlier run.
        let listener = UnixListener::bind(&path).expect("a socket");
        let (service, memory) = service(script);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let incoming = UnixListenerStream::new(listener);
            let server = Server::builder().add_service(service).serve_with_incoming(incoming);
            server.await.expect("the fake serves");
        });
        let endpoint = format!("unix:{}", path.display());
        Fake { endpoint, memory, _tasks: tasks, socket: Some(path) }
    }

    /// The idempotency keys of all consumes, in the order of arrival.
    pub(crate) fn keys(&self) -> Vec<String> {
        let memory = self.memory.lock().expect("no panic");
        memory.messages.iter().flatten().map(|operation| key(operation).to_owned()).collect()
    }

    /// How many operations each message held.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.memory.lock().expect("no panic").messages.iter().map(Vec::len).collect()
    }
}

/// Serves an admin service on a free loopback port.
pub(crate) async fn serve_admin(admin: impl AdminService) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = Server::builder().add_service(AdminServiceServer::new(admin));
        server.serve_with_incoming(incoming).await.expect("the fake serves");
    });
    (endpoint, tasks)
}

/// A path that no other test of this process or of another one uses.
fn socket_path() -> PathBuf {
    static SOCKETS: AtomicU32 = AtomicU32::new(0);
    let number = SOCKETS.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("headroom-sdk-{}-{number}.sock", std::process::id()))
}

fn service(script: Script) -> (EntitlementServiceServer<Service>, Arc<Mutex<Memory>>) {
    let memory = Arc::new(Mutex::new(Memory::default()));
    (EntitlementServiceServer::new(Service { memory: memory.clone(), script }), memory)
}

#[derive(Clone)]
struct Service {
    memory: Arc<Mutex<Memory>>,
    script: Script,
}

fn key(operation: &WireOperation) -> &str {
    match operation {
        WireOperation::Check(_) | WireOperation::CheckAll(_) => "",
        WireOperation::ConsumeAll(request) => &request.idempotency_key,
        WireOperation::ReserveAll(request) => &request.idempotency_key,
        WireOperation::Consume(request) => &request.idempotency_key,
        WireOperation::Reserve(request) => &request.idempotency_key,
        WireOperation::Extend(request) => &request.idempotency_key,
        WireOperation::Commit(request) => &request.idempotency_key,
        WireOperation::Release(request) => &request.idempotency_key,
        WireOperation::Record(request) => &request.idempotency_key,
        WireOperation::Allocate(request) => &request.idempotency_key,
        WireOperation::Correct(request) => &request.idempotency_key,
    }
}

/// A decision about so many units under this key.
fn decision(units: i64, key: &str, replayed: bool) -> Option<v1::Decision> {
    Some(v1::Decision {
        allowed: true,
        verdict: v1::Verdict::Allowed.into(),
        binding: Some(v1::LimitState {
            limit: "monthly".to_owned(),
            included_units: Some(1_000),
            used_units: units,
            window_start: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ..v1::LimitState::default()
        }),
        origin: Some(v1::Origin {
            kind: v1::OriginKind::Plan.into(),
            plan: "team".to_owned(),
            plan_version: 2,
            ..v1::Origin::default()
        }),
        decision_id: key.to_owned(),
        replayed,
        ..v1::Decision::default()
    })
}

impl Memory {
    fn decide(&mut self, operation: &WireOperation) -> WireResult {
        let key = key(operation).to_owned();
        let replayed = self.counted.contains_key(&key);
        let mut count = |units: i64| {
            self.counted.entry(key.clone()).or_insert(units);
            decision(units, &key, replayed)
        };
        let expires_at = Some(prost_types::Timestamp { seconds: 1_700_000_060, nanos: 0 });
        match operation {
            WireOperation::Check(request) => WireResult::Check(v1::CheckResponse {
                decision: decision(request.units.unwrap_or(1), "", false),
            }),
            WireOperation::CheckAll(request) => WireResult::CheckAll(v1::CheckAllResponse {
                allowed: false,
                items: (request.items.iter())
                    .map(|item| v1::CheckResponse {
                        decision: decision(item.units.unwrap_or(1), "", false),
                    })
                    .collect(),
            }),
            WireOperation::ConsumeAll(request) => WireResult::ConsumeAll(v1::ConsumeAllResponse {
                allowed: true,
                items: (request.items.iter())
                    .map(|item| v1::ConsumeResponse { decision: count(item.units.unwrap_or(1)) })
                    .collect(),
            }),
            WireOperation::ReserveAll(request) => WireResult::ReserveAll(v1::ReserveAllResponse {
                allowed: true,
                items: (request.items.iter())
                    .map(|item| v1::ReserveResponse {
                        decision: count(item.units.unwrap_or(1)),
                        reservation_id: format!("r-{}", item.feature),
                        expires_at,
                    })
                    .collect(),
            }),
            WireOperation::Consume(request) => {
                WireResult::Consume(v1::ConsumeResponse { decision: count(request.units) })
            }
            WireOperation::Reserve(request) => WireResult::Reserve(v1::ReserveResponse {
                decision: count(request.units),
                reservation_id: "r-1".to_owned(),
                expires_at,
            }),
            WireOperation::Extend(request) => WireResult::Extend(v1::ExtendResponse {
                decision: count(0),
                expires_at,
                held_units: request.additional_units,
            }),
            WireOperation::Commit(request) => WireResult::Commit(v1::CommitResponse {
                decision: count(request.units),
                committed_units: request.units,
                ..v1::CommitResponse::default()
            }),
            WireOperation::Release(_) => {
                WireResult::Release(v1::ReleaseResponse { decision: count(0), released_units: 7 })
            }
            WireOperation::Record(request) => WireResult::Record(v1::RecordResponse {
                decision: count(request.units),
                debt_units: 3,
                restated_windows: Vec::new(),
            }),
            WireOperation::Allocate(request) => {
                let Some(v1::allocate_request::Change::RemoveUnits(units)) = request.change else {
                    panic!("no test asks this: {request:?}");
                };
                WireResult::Allocate(v1::AllocateResponse {
                    decision: count(units),
                    removed_units: units - 1,
                    clamped: true,
                    ..v1::AllocateResponse::default()
                })
            }
            WireOperation::Correct(request) => WireResult::Correct(v1::CorrectResponse {
                decision: count(0),
                units: request.units.unwrap_or(0),
                debt_units: request.original_units.unwrap_or(0),
                restated_windows: Vec::new(),
            }),
        }
    }
}

impl Service {
    /// The answer to one message; none: the fake says nothing. An error ends the stream.
    fn react(&self, request: v1::DecideRequest) -> Result<Option<v1::DecideResponse>, Status> {
        let mut memory = self.memory.lock().expect("no panic");
        let reaction = (self.script)(memory.messages.len());
        let operations: Vec<WireOperation> =
            request.operations.into_iter().filter_map(|operation| operation.operation).collect();
        memory.messages.push(operations.clone());
        if let Reaction::Fail(reason) = reaction {
            let error = v1::OperationError {
                reason: reason.into(),
                code: tonic::Code::Unknown.into(),
                message: "as the script says".to_owned(),
            };
            let failed = v1::OperationResult { result: Some(WireResult::Error(error)) };
            return Ok(Some(v1::DecideResponse { results: vec![failed; operations.len()] }));
        }
        let decided = operations.iter().map(|operation| memory.decide(operation));
        let mut results: Vec<v1::OperationResult> =
            decided.map(|result| v1::OperationResult { result: Some(result) }).collect();
        match reaction {
            Reaction::Answer => {}
            Reaction::Shorten => drop(results.pop()),
            Reaction::CountAndBreak => return Err(Status::unavailable("going away")),
            Reaction::Hang => return Ok(None),
            Reaction::Fail(_) => unreachable!("answered above"),
        }
        Ok(Some(v1::DecideResponse { results }))
    }
}

#[tonic::async_trait]
impl EntitlementService for Service {
    type DecideStream = ReceiverStream<Result<v1::DecideResponse, Status>>;

    async fn decide(
        &self,
        request: Request<Streaming<v1::DecideRequest>>,
    ) -> Result<Response<Self::DecideStream>, Status> {
        let service = self.clone();
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(1);
        // Ends with the stream: when the client is gone, reading or sending fails.
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let Some(answer) = service.react(request).transpose() else { continue };
                let broken = answer.is_err();
                if answers.send(answer).await.is_err() || broken {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_entitlements(
        &self,
        request: Request<v1::ListEntitlementsRequest>,
    ) -> Result<Response<v1::ListEntitlementsResponse>, Status> {
        if request.into_inner().account == "slow" {
            std::future::pending::<()>().await;
        }
        let entitlement = v1::Entitlement {
            feature: "sso".to_owned(),
            kind: v1::FeatureKind::Switch.into(),
            denial: v1::Denial::NotInPlan.into(),
            ..v1::Entitlement::default()
        };
        Ok(Response::new(v1::ListEntitlementsResponse {
            entitlements: vec![entitlement],
            plan: "team".to_owned(),
            ..v1::ListEntitlementsResponse::default()
        }))
    }

    async fn get_usage_by_time(
        &self,
        request: Request<v1::GetUsageByTimeRequest>,
    ) -> Result<Response<v1::GetUsageByTimeResponse>, Status> {
        let request = request.into_inner();
        let named = |name: String| v1::DimensionValue {
            other: name == "region",
            name,
            ..v1::DimensionValue::default()
        };
        let line = v1::UsageByTime {
            start: request.from,
            end: request.to,
            dimensions: request.group_by.into_iter().map(named).collect(),
            units: -9,
        };
        let next_page_token = if request.page_token.is_empty() { "2" } else { "" };
        Ok(Response::new(v1::GetUsageByTimeResponse {
            lines: vec![line],
            next_page_token: next_page_token.to_owned(),
            ..v1::GetUsageByTimeResponse::default()
        }))
    }

    async fn get_usage(
        &self,
        request: Request<v1::GetUsageRequest>,
    ) -> Result<Response<v1::GetUsageResponse>, Status> {
        let request = request.into_inner();
        let window =
            v1::UsageWindow { feature: request.feature, used_units: 9, ..Default::default() };
        let next_page_token = if request.page_token.is_empty() { "2" } else { "" };
        Ok(Response::new(v1::GetUsageResponse {
            windows: vec![window],
            next_page_token: next_page_token.to_owned(),
            ..v1::GetUsageResponse::default()
        }))
    }

    type WatchEntitlementsStream = ReceiverStream<Result<v1::WatchEntitlementsResponse, Status>>;

    async fn watch_entitlements(
        &self,
        request: Request<v1::WatchEntitlementsRequest>,
    ) -> Unary<Self::WatchEntitlementsStream> {
        let (sender, receiver) = mpsc::channel(4);
        let plan = request.into_inner().account;
        let first = v1::WatchEntitlementsResponse { plan, ..Default::default() };
        sender.try_send(Ok(first)).expect("there is room");
        sender.try_send(Err(Status::unavailable("draining"))).expect("there is room");
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn explain_decision(
        &self,
        request: Request<v1::ExplainDecisionRequest>,
    ) -> Unary<v1::ExplainDecisionResponse> {
        Ok(Response::new(v1::ExplainDecisionResponse {
            account: "acme".to_owned(),
            operation: "consume".to_owned(),
            units: 3,
            decision: Some(v1::Decision {
                decision_id: request.into_inner().decision_id,
                ..v1::Decision::default()
            }),
            rules: vec![v1::RuleResult {
                rule: "limit".to_owned(),
                outcome: v1::RuleOutcome::Refused.into(),
                limit: "monthly".to_owned(),
                binding: true,
                ..v1::RuleResult::default()
            }],
            ..v1::ExplainDecisionResponse::default()
        }))
    }

    // The SDK sends operations by the stream only.

    async fn check(&self, _: Request<v1::CheckRequest>) -> Unary<v1::CheckResponse> {
        Err(Status::unimplemented("check"))
    }
    async fn consume(&self, _: Request<v1::ConsumeRequest>) -> Unary<v1::ConsumeResponse> {
        Err(Status::unimplemented("consume"))
    }
    async fn reserve(&self, _: Request<v1::ReserveRequest>) -> Unary<v1::ReserveResponse> {
        Err(Status::unimplemented("reserve"))
    }
    async fn extend(&self, _: Request<v1::ExtendRequest>) -> Unary<v1::ExtendResponse> {
        Err(Status::unimplemented("extend"))
    }
    async fn commit(&self, _: Request<v1::CommitRequest>) -> Unary<v1::CommitResponse> {
        Err(Status::unimplemented("commit"))
    }
    async fn release(&self, _: Request<v1::ReleaseRequest>) -> Unary<v1::ReleaseResponse> {
        Err(Status::unimplemented("release"))
    }
    async fn record(&self, _: Request<v1::RecordRequest>) -> Unary<v1::RecordResponse> {
        Err(Status::unimplemented("record"))
    }
    async fn check_all(&self, _: Request<v1::CheckAllRequest>) -> Unary<v1::CheckAllResponse> {
        Err(Status::unimplemented("check_all"))
    }
    async fn consume_all(
        &self,
        _: Request<v1::ConsumeAllRequest>,
    ) -> Unary<v1::ConsumeAllResponse> {
        Err(Status::unimplemented("consume_all"))
    }
    async fn reserve_all(
        &self,
        _: Request<v1::ReserveAllRequest>,
    ) -> Unary<v1::ReserveAllResponse> {
        Err(Status::unimplemented("reserve_all"))
    }
    async fn allocate(&self, _: Request<v1::AllocateRequest>) -> Unary<v1::AllocateResponse> {
        Err(Status::unimplemented("allocate"))
    }
    async fn correct(&self, _: Request<v1::CorrectRequest>) -> Unary<v1::CorrectResponse> {
        Err(Status::unimplemented("correct"))
    }
    async fn list_adjustments(
        &self,
        _: Request<v1::ListAdjustmentsRequest>,
    ) -> Unary<v1::ListAdjustmentsResponse> {
        Err(Status::unimplemented("list_adjustments"))
    }
}

type Unary<T> = Result<Response<T>, Status>;
