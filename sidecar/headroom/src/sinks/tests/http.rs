//! The outbox as a whole, over real sockets: bytes, signatures, changes, shutdown.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Bench, ndjson};
use crate::config::sinks::{Filter, SinkKind, SinkSpec, WebhookSecret};
use crate::sinks::outbox::Outbox;

/// Longer than any test waits unless it is broken.
pub(super) const LONG: Duration = Duration::from_secs(60);

pub(super) const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJD"];

/// A request as it came over the wire.
pub(super) struct Request {
    pub(super) line: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) connection: usize,
}

/// An HTTP server that answers with what it is told to.
pub(super) struct Receiver {
    pub(super) url: http::Uri,
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
}

impl Receiver {
    pub(super) async fn start(
        answer: impl Fn(usize) -> String + Send + Sync + 'static,
    ) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?a=1", listener.local_addr().unwrap()).parse().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, connection, sender.clone(), answer.clone()));
            }
        });
        Receiver { url, requests }
    }

    pub(super) async fn next(&mut self) -> Request {
        timeout(LONG, self.requests.recv()).await.unwrap().unwrap()
    }

    /// The sink that sends here.
    pub(super) fn spec(&self, sink: &str, secrets: &[&str]) -> SinkSpec {
        let secrets = secrets.iter().map(|text| WebhookSecret::parse(text).unwrap()).collect();
        let url = self.url.clone();
        let kind = SinkKind::StandardWebhook { url, secrets, allow_private: true };
        SinkSpec { sink: sink.to_owned(), filter: Filter::all(), kind }
    }
}

async fn serve(
    stream: TcpStream,
    connection: usize,
    requests: mpsc::UnboundedSender<Request>,
    answer: Arc<impl Fn(usize) -> String>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap() == 0 {
            return;
        }
        let mut headers = http::HeaderMap::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.unwrap();
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            let name: http::HeaderName = name.parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        let length = headers["content-length"].to_str().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let _ = requests.send(Request { line, headers, body, connection });
        stream.write_all(answer(connection).as_bytes()).await.unwrap();
    }
}

pub(super) fn ok(_: usize) -> String {
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK".to_owned()
}

pub(super) async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, reached).await.unwrap();
}

/// Waits until all sinks have begun.
pub(super) async fn begun(outbox: &Outbox) {
    until(|| outbox.status().iter().all(|sink| sink.confirmed.is_some())).await;
}

#[tokio::test]
async fn a_delivery_on_the_wire_is_what_the_reference_verifies() {
    let bench = Bench::new();
    // More than what is read with the head, so that it has to be read to use the connection again.
    let body = "x".repeat(50_000);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut receiver = Receiver::start(move |_| answer.clone()).await;
    let specs = vec![receiver.spec("hook", &SECRETS)];
    let outbox = Outbox::start(&Handle::current(), specs, bench.wiring.clone());
    begun(&outbox).await;
    bench.write("a", 2);
    outbox.wake();
    for id in bench.ids() {
        let request = receiver.next().await;
        assert_eq!(request.line, "POST /hook?a=1 HTTP/1.1\r\n");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["webhook-id"], id.to_string().as_str());
        assert_eq!(request.connection, 0, "the connection is used again");
        for secret in SECRETS {
            let verifier = standardwebhooks::Webhook::new(secret).unwrap();
            // With the timestamp, which must be the real time.
            verifier.verify(&request.body, &request.headers).unwrap();
        }
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["type"], "headroom.signal.usage_ceiling");
    }
    outbox.drain(LONG).await;
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    // A second one finds nothing to do.
    outbox.drain(LONG).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_long_answer_is_not_read() {
    let bench = Bench::new();
    let mut target = Receiver::start(ok).await;
    let to = target.url.clone();
    let mut receiver = Receiver::start(move |_| {
        format!("HTTP/1.1 307 Away\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let mut long = Receiver::start(|_| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n{}", "x".repeat(1 << 20))
    })
    .await;
    let specs = vec![receiver.spec("away", &SECRETS), long.spec("long", &SECRETS)];
    let outbox = Outbox::start(&Handle::current(), specs, bench.wiring.clone());
    begun(&outbox).await;
    bench.write("a", 1);
    outbox.wake();
    receiver.next().await;
    long.next().await;
    until(|| outbox.status()[0].last_error.is_some()).await;
    assert_eq!(outbox.status()[0].last_error.as_deref(), Some("status 307"));
    until(|| outbox.status()[1].delivered == 1).await;
    assert!(target.requests.try_recv().is_err());
    outbox.drain(LONG).await;
}

/// Whoever writes a webhook's address would otherwise talk to what only the sidecar reaches.
#[tokio::test]
async fn a_private_address_is_connected_to_only_if_the_sink_says_so() {
    let bench = Bench::new();
    let mut receiver = Receiver::start(ok).await;
    let port = receiver.url.port_u16().unwrap();
    let spec = |name: &str, host: &str, allowed: bool| {
        let mut spec = receiver.spec(name, &SECRETS);
        let SinkKind::StandardWebhook { url, allow_private, .. } = &mut spec.kind else {
            unreachable!()
        };
        *url = format!("http://{host}:{port}/{name}").parse().unwrap();
        *allow_private = allowed;
        spec
    };
    let specs = vec![
        spec("address", "127.0.0.1", false),
        spec("mapped", "[::ffff:127.0.0.1]", false),
        spec("name", "localhost", false),
        spec("short", "127.1", false), // No address to a URL, but one to the name service.
        spec("wanted", "localhost", true),
    ];
    let outbox = Outbox::start(&Handle::current(), specs, bench.wiring.clone());
    begun(&outbox).await;
    bench.write("a", 1);
    outbox.wake();
    assert_eq!(receiver.next().await.line, "POST /wanted HTTP/1.1\r\n");
    until(|| outbox.status()[..4].iter().all(|sink| sink.last_error.is_some())).await;
    for refused in &outbox.status()[..4] {
        let error = refused.last_error.as_deref().unwrap();
        assert!(error.contains("allow_private"), "{}: {error}", refused.sink);
        assert_eq!((refused.delivered, refused.attempts_failed, refused.pending), (0, 1, 1));
    }
    assert!(receiver.requests.try_recv().is_err(), "nobody else has connected");
    outbox.drain(Duration::ZERO).await;
}

#[tokio::test]
async fn a_dead_sink_keeps_no_other_from_its_signals() {
    let bench = Bench::new();
    // Nobody listens here any more.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut receiver = Receiver::start(ok).await;
    let mut nobody = receiver.spec("dead", &SECRETS);
    let SinkKind::StandardWebhook { url, .. } = &mut nobody.kind else { unreachable!() };
    *url = format!("http://{dead}/").parse().unwrap();
    let specs = vec![nobody, receiver.spec("hook", &SECRETS), ndjson("file")];
    let outbox = Outbox::start(&Handle::current(), specs, bench.wiring.clone());
    begun(&outbox).await;
    bench.write("a", 3);
    outbox.wake();
    for _ in 0..3 {
        receiver.next().await;
    }
    until(|| outbox.status()[0].last_error.is_some()).await;
    until(|| outbox.status()[1].delivered == 3).await;
    let status = outbox.status();
    let error = status[0].last_error.as_deref().unwrap();
    assert!(error.contains("Connection refused"), "{error}");
    assert_eq!((status[0].pending, status[0].delivered), (3, 0));
    assert_eq!((&*status[1].sink, status[1].pending), ("file", 0));
    outbox.drain(Duration::ZERO).await;
}

#[tokio::test]
async fn a_changed_sink_goes_on_from_its_cursor_and_an_unchanged_one_is_not_touched() {
    let bench = Bench::new();
    let mut old = Receiver::start(ok).await;
    let mut new = Receiver::start(ok).await;
    let mut steady = Receiver::start(ok).await;
    let specs = vec![old.spec("hook", &SECRETS), steady.spec("steady", &SECRETS)];
    let outbox = Outbox::start(&Handle::current(), specs, bench.wiring.clone());
    begun(&outbox).await;
    bench.write("a", 2);
    outbox.wake();
    until(|| outbox.status().iter().all(|sink| sink.delivered == 2)).await;
    // Nothing of what follows can be known from the projection.
    bench.hold();
    let specs = vec![
        new.spec("hook", &SECRETS[..1]),
        steady.spec("steady", &SECRETS),
        new.spec("late", &SECRETS),
    ];
    outbox.reconfigure(specs).await;
    bench.write("b", 1);
    bench.release();
    outbox.wake();
    // The sink that changed, and the new one.
    for _ in 0..2 {
        let request = new.next().await;
        assert_eq!(request.headers["webhook-id"], bench.ids()[2].to_string().as_str());
    }
    for id in [0, 1, 2] {
        let request = steady.next().await;
        assert_eq!(request.headers["webhook-id"], bench.ids()[id].to_string().as_str());
        assert_eq!(request.connection, 0);
    }
    let names: Vec<_> = outbox.status().iter().map(|sink| sink.sink.to_string()).collect();
    assert_eq!(names, ["hook", "late", "steady"]);
    assert_eq!(outbox.status()[2].delivered, 3);
    old.next().await;
    old.next().await;
    assert!(old.requests.try_recv().is_err());

    // A sink that left and comes back goes on where it stopped.
    outbox.reconfigure(vec![]).await;
    assert_eq!(outbox.status(), []);
    bench.write("b", 1);
    outbox.reconfigure(vec![new.spec("hook", &SECRETS)]).await;
    let request = new.next().await;
    assert_eq!(request.headers["webhook-id"], bench.ids()[3].to_string().as_str());
    outbox.drain(LONG).await;
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
}

#[tokio::test]
async fn a_drain_waits_for_signals_that_are_only_in_the_journal() {
    let bench = Bench::new();
    let mut receiver = Receiver::start(ok).await;
    let specs = vec![receiver.spec("hook", &SECRETS)];
    let outbox = Outbox::start(&Handle::current(), specs, bench.wiring.clone());
    begun(&outbox).await;
    bench.hold();
    bench.write("a", 1);
    tokio::join!(outbox.drain(LONG), async {
        tokio::task::yield_now().await;
        bench.release();
    });
    let request = receiver.next().await;
    assert_eq!(request.headers["webhook-id"], bench.ids()[0].to_string().as_str());
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
}

#[tokio::test]
async fn no_secret_is_ever_printed() {
    let bench = Bench::new();
    let receiver = Receiver::start(ok).await;
    let spec = receiver.spec("hook", &SECRETS);
    let outbox = Outbox::start(&Handle::current(), vec![spec.clone()], bench.wiring.clone());
    let printed = format!("{spec:?} {:?}", outbox.status());
    for secret in SECRETS {
        assert!(!printed.contains(secret.trim_start_matches("whsec_")), "{printed}");
    }
    outbox.drain(Duration::ZERO).await;
}
