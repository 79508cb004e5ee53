use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headroom_engine::ports::Seq;
use headroom_proto::v1::entitlement_service_client::EntitlementServiceClient;
use headroom_proto::v1::{ConsumeRequest, DecideRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

use super::admin::Admin;
use super::readiness::{READINESS_SERVICE, Readiness};
use super::server::Drained;
use super::worker::WorkerContext;
use super::*;
use crate::telemetry::{Gauges, METRICS_CONTENT_TYPE, Metrics};

/// Longer than any test waits unless it is broken.
const LONG: Duration = Duration::from_secs(60);

/// The empty service on two workers.
struct Bench {
    control: Control,
    server: Server,
    contexts: Arc<Mutex<Vec<WorkerContext>>>,
}

impl Bench {
    fn start(addrs: &[ListenAddr]) -> (Bench, Vec<ListenAddr>) {
        let gates = Gates::new(Seq(0), 2);
        let kick: Kick = Arc::new(|| {});
        let control = Control::start(gates.control().clone(), kick.clone()).unwrap();
        let listeners: Vec<Listener> =
            addrs.iter().map(|addr| Listener::bind(addr, 0o660).unwrap()).collect();
        let bound = listeners.iter().map(|listener| listener.addr().clone()).collect();
        let contexts = Arc::new(Mutex::new(Vec::new()));
        let made = contexts.clone();
        let make: MakeRoutes = Arc::new(move |context| {
            made.lock().unwrap().push(context);
            Routes::new(crate::baseline::service())
        });
        let server = Server::start(control.handle(), listeners, &gates, &kick, &make).unwrap();
        (Bench { control, server, contexts }, bound)
    }

    async fn drain(self, within: Duration) -> Drained {
        let drained = self.server.drain(within).await;
        self.control.stop();
        drained
    }
}

fn tcp() -> ListenAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A path of its own for each caller, short enough for a socket.
fn socket_path() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, SeqCst);
    let dir = std::env::temp_dir().join(format!("headroom-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir.join("h.sock")
}

async fn connect(addr: &ListenAddr) -> Channel {
    let uri = match addr {
        ListenAddr::Tcp { .. } => format!("http://{addr}"),
        ListenAddr::Unix(_) => addr.to_string(),
    };
    Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
}

async fn consume(channel: &Channel) {
    let request = ConsumeRequest { units: 1, ..ConsumeRequest::default() };
    let answer = EntitlementServiceClient::new(channel.clone()).consume(request).await.unwrap();
    assert!(answer.into_inner().decision.unwrap().allowed);
}

#[tokio::test]
async fn tcp_and_unix_listeners_serve_alike() {
    let path = socket_path();
    let (bench, bound) = Bench::start(&[tcp(), ListenAddr::Unix(path.clone())]);
    for addr in &bound {
        consume(&connect(addr).await).await;
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(bench.drain(LONG).await, Drained { connections_cut: 0 });
    assert!(!path.exists(), "the socket file was left behind");
}

#[tokio::test]
async fn connections_go_to_the_least_loaded_worker() {
    let (bench, bound) = Bench::start(&[tcp()]);
    let mut channels = Vec::new();
    for _ in 0..6 {
        let channel = connect(&bound[0]).await;
        consume(&channel).await;
        channels.push(channel);
    }
    assert_eq!(bench.server.connections_by_worker()(), [3, 3]);
    assert_eq!(bench.drain(LONG).await, Drained { connections_cut: 0 });
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_drain() {
    let (bench, bound) = Bench::start(&[tcp()]);
    let channel = connect(&bound[0]).await;
    consume(&channel).await;
    let ListenAddr::Tcp { port, .. } = &bound[0] else { unreachable!() };
    let silent = TcpStream::connect(("127.0.0.1", *port)).unwrap();
    consume(&connect(&bound[0]).await).await; // Accepted after the silent one.
    assert_eq!(bench.drain(LONG).await, Drained { connections_cut: 0 });
    drop(silent);
}

/// Opens a stream and sees it answered once. It stays open while the sender lives.
async fn open_stream(
    addr: &ListenAddr,
) -> (mpsc::Sender<DecideRequest>, tonic::Streaming<headroom_proto::v1::DecideResponse>) {
    let (requests, receiver) = mpsc::channel(1);
    requests.send(DecideRequest::default()).await.unwrap();
    let mut client = EntitlementServiceClient::new(connect(addr).await);
    let mut answers = client.decide(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    (requests, answers)
}

#[tokio::test]
async fn a_drain_waits_for_what_is_in_flight() {
    let (bench, bound) = Bench::start(&[tcp()]);
    let (requests, mut answers) = open_stream(&bound[0]).await;
    let drain = bench.contexts.lock().unwrap()[0].drain.clone();
    let draining = tokio::spawn(bench.drain(LONG));
    drain.begun().await;

    requests.send(DecideRequest::default()).await.unwrap();
    assert!(answers.message().await.unwrap().is_some());
    drop(requests);
    assert!(answers.message().await.unwrap().is_none());
    assert_eq!(draining.await.unwrap(), Drained { connections_cut: 0 });
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end() {
    let (bench, bound) = Bench::start(&[tcp()]);
    let (_requests, mut answers) = open_stream(&bound[0]).await;
    assert_eq!(bench.drain(Duration::ZERO).await, Drained { connections_cut: 1 });
    assert!(answers.message().await.is_err());
}

#[tokio::test]
async fn every_worker_makes_its_services_with_its_own_gate() {
    let (bench, bound) = Bench::start(&[tcp()]);
    for _ in 0..2 {
        consume(&connect(&bound[0]).await).await;
    }
    let contexts = bench.contexts.clone();
    bench.drain(LONG).await;
    let mut indices: Vec<usize> = contexts.lock().unwrap().iter().map(|made| made.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 1]);
}

#[test]
fn a_used_port_is_named_as_such() {
    let first = Listener::bind(&tcp(), 0o660).unwrap();
    let err = Listener::bind(first.addr(), 0o660).unwrap_err();
    assert!(matches!(err, BindError::InUse { .. }), "{err}");
    assert_eq!(err.to_string(), format!("{} is in use by another process", first.addr()));
}

#[test]
fn the_socket_file_of_a_dead_process_is_replaced() {
    let path = socket_path();
    drop(UnixListener::bind(&path).unwrap()); // The standard library leaves the file.
    assert!(path.exists());
    let listener = Listener::bind(&ListenAddr::Unix(path.clone()), 0o600).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn the_socket_file_of_a_live_process_is_in_use() {
    let path = socket_path();
    let live = UnixListener::bind(&path).unwrap();
    let err = Listener::bind(&ListenAddr::Unix(path.clone()), 0o660).unwrap_err();
    assert!(matches!(err, BindError::InUse { .. }), "{err}");
    assert!(path.exists());
    drop(live);
}

#[test]
fn another_file_is_not_replaced_by_a_socket() {
    let path = socket_path();
    fs::write(&path, "precious").unwrap();
    let err = Listener::bind(&ListenAddr::Unix(path.clone()), 0o660).unwrap_err();
    assert!(matches!(err, BindError::NotASocket { .. }), "{err}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn the_socket_file_of_a_successor_is_left_alone() {
    let path = socket_path();
    let old = Listener::bind(&ListenAddr::Unix(path.clone()), 0o660).unwrap();
    fs::remove_file(&path).unwrap();
    let successor = Listener::bind(&ListenAddr::Unix(path.clone()), 0o660).unwrap();
    drop(old);
    assert!(path.exists());
    drop(successor);
}

#[test]
fn the_admin_listener_stays_on_this_machine() {
    for addr in ["0.0.0.0:0", "[::]:0"] {
        let err = Listener::bind_admin(&addr.parse().unwrap(), 0o660).unwrap_err();
        assert!(matches!(err, BindError::AdminNotLocal { .. }), "{err}");
    }
    Listener::bind_admin(&tcp(), 0o660).unwrap();
    Listener::bind_admin(&ListenAddr::Unix(socket_path()), 0o660).unwrap();
}

/// The admin server with a store that can be made to refuse.
struct AdminBench {
    control: Control,
    admin: Admin,
    addr: ListenAddr,
    readiness: Readiness,
    store_refuses: Arc<AtomicBool>,
}

impl AdminBench {
    fn start() -> AdminBench {
        let gates = Gates::new(Seq(0), 0);
        let control = Control::start(gates.control().clone(), Arc::new(|| {})).unwrap();
        let listener = Listener::bind_admin(&tcp(), 0o660).unwrap();
        let addr = listener.addr().clone();
        let store_refuses = Arc::new(AtomicBool::new(false));
        let probe = store_refuses.clone();
        let readiness =
            Readiness::new(Arc::new(move || probe.load(SeqCst).then(|| "no room left".to_owned())));
        let reporter = HealthReporter::new();
        let grpc = standard::add_health(Routes::default(), &reporter);
        let grpc = standard::add_reflection(grpc).unwrap();
        let metrics = Metrics::new(1, "0", Arc::new(Gauges::default));
        let admin =
            Admin::start(control.handle(), listener, grpc, readiness.clone(), reporter, metrics)
                .unwrap();
        AdminBench { control, admin, addr, readiness, store_refuses }
    }

    /// One HTTP/1.1 request, and all of its answer.
    fn http1(&self, method: &str, path: &str) -> String {
        let ListenAddr::Tcp { port, .. } = self.addr else { unreachable!() };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[track_caller]
    fn readyz(&self, status: u16, reason: &str) {
        let answer = self.http1("GET", "/readyz");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{reason}\n")), "{answer}");
    }

    async fn stop(self) {
        self.admin.drain(LONG).await;
        self.control.stop();
    }
}

#[tokio::test]
async fn readyz_says_why_not() {
    let bench = AdminBench::start();
    assert!(bench.http1("GET", "/healthz").starts_with("HTTP/1.1 200 "));
    bench.readyz(503, "starting");
    bench.readiness.set_ready();
    bench.readyz(200, "ready");
    bench.store_refuses.store(true, SeqCst);
    bench.readyz(503, "no room left");
    bench.store_refuses.store(false, SeqCst);
    bench.readyz(200, "ready");
    bench.readiness.set_draining();
    bench.readiness.set_ready(); // Too late.
    bench.readyz(503, "draining");
    bench.stop().await;
}

#[tokio::test]
async fn metrics_are_served_with_their_content_type() {
    let bench = AdminBench::start();
    let answer = bench.http1("GET", "/metrics");
    assert!(answer.contains(&format!("content-type: {METRICS_CONTENT_TYPE}\r\n")), "{answer}");
    assert!(answer.contains("headroom_accounts 0\n"), "{answer}");
    bench.stop().await;
}

#[tokio::test]
async fn the_admin_api_does_not_answer_http1() {
    let bench = AdminBench::start();
    let answer = bench.http1("POST", "/grpc.health.v1.Health/Check");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    bench.stop().await;
}

#[tokio::test]
async fn grpc_health_follows_readiness() {
    let bench = AdminBench::start();
    let mut client = HealthClient::new(connect(&bench.addr).await);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let alive = client.check(ask("")).await.unwrap().into_inner();
    assert_eq!(alive.status, ServingStatus::Serving as i32);

    let mut watch = client.watch(ask(READINESS_SERVICE)).await.unwrap().into_inner();
    let mut seen = Vec::new();
    for change in [|_: &Readiness| {}, Readiness::set_ready, Readiness::set_draining] {
        change(&bench.readiness);
        seen.push(watch.message().await.unwrap().unwrap().status);
    }
    let [serving, not_serving] =
        [ServingStatus::Serving, ServingStatus::NotServing].map(|status| status as i32);
    assert_eq!(seen, [not_serving, serving, not_serving]);
    bench.stop().await; // The open watch does not hold it up.
    assert!(watch.message().await.unwrap().is_none());
}

/// Lists the services by one version of reflection; the two differ in the module alone.
macro_rules! reflected_services {
    ($channel:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let request = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..ServerReflectionRequest::default()
        };
        let mut client = ServerReflectionClient::new($channel);
        let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
        match answers.into_inner().message().await.unwrap().unwrap().message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<String>>()
            }
            other => unreachable!("{other:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_names_the_services_in_both_versions() {
    let bench = AdminBench::start();
    let channel = connect(&bench.addr).await;
    let v1 = reflected_services!(channel.clone(), v1);
    let v1alpha = reflected_services!(channel, v1alpha);
    for services in [v1, v1alpha] {
        for name in ["headroom.v1.EntitlementService", "grpc.health.v1.Health"] {
            assert!(services.iter().any(|found| found == name), "no {name} in {services:?}");
        }
    }
    bench.stop().await;
}
