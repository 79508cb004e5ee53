//! The other end of the webhook: a real HTTP listener that believes only what is signed.
//!
//! It checks signatures with code of its own, not with the sink's: a mistake in signing would
//! otherwise verify itself.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;

use super::board::Shared;
use super::replay::FEATURE;
use super::words;

/// How far a delivery's time may be from ours, as Standard Webhooks proposes.
const TIMESTAMP_WITHIN_SECONDS: u64 = 5 * 60;

/// A key that both ends know.
pub(super) type Key = [u8; 32];

/// A bound port, before anybody listens.
pub(super) struct Port {
    listener: TcpListener,
    addr: SocketAddr,
}

/// What was received so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Distinct ids of deliveries with a good signature.
    pub(super) ids: HashSet<String>,
    /// Deliveries of an id that was there before: at least once is what is promised.
    pub(super) repeats: u64,
    /// Deliveries that were refused, for their signature or their content.
    pub(super) rejected: u64,
    /// From sending a write to receiving its webhook.
    pub(super) latencies: Vec<Duration>,
}

/// The listener at work.
pub(super) struct Receiver {
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

struct Desk {
    key: Key,
    board: Shared,
    received: Mutex<Received>,
}

impl Port {
    /// A free port of the loopback interface.
    pub(super) fn bind() -> io::Result<Port> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        Ok(Port { addr: listener.local_addr()?, listener })
    }

    /// Where to send to.
    pub(super) fn url(&self) -> String {
        format!("http://{}/signals", self.addr)
    }

    /// Listens, on the runtime this is called in.
    pub(super) fn listen(self, key: Key, board: Shared) -> io::Result<Receiver> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let desk = Arc::new(Desk { key, board, received: Mutex::default() });
        let router =
            axum::Router::new().route("/signals", post(receive)).with_state(Arc::clone(&desk));
        let serving = tonic::transport::Server::builder()
            .accept_http1(true)
            .add_routes(Routes::from(router))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the demo's webhook receiver stopped");
            }
        });
        Ok(Receiver { desk, task })
    }
}

impl Receiver {
    /// What was received so far.
    pub(super) fn received(&self) -> Received {
        self.desk.received().clone()
    }

    /// How many distinct ids were received so far.
    pub(super) fn distinct(&self) -> usize {
        self.desk.received().ids.len()
    }

    /// Closes the port.
    pub(super) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await; // Cancelled, as it was told to be.
    }
}

impl Desk {
    fn received(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of a message that the demo shows.
#[derive(Deserialize)]
struct Message {
    r#type: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    id: String,
    account: String,
    feature: String,
    limit: String,
    threshold_bp: Option<u64>,
    previous: Standing,
    current: Standing,
    included_units: u64,
    refused_units: u64,
}

#[derive(Deserialize)]
struct Standing {
    used_units: u64,
}

impl Message {
    /// Units of the write that raised the signal.
    fn units(&self) -> u64 {
        let counted = self.data.current.used_units.saturating_sub(self.data.previous.used_units);
        counted.max(self.data.refused_units)
    }

    fn text(&self) -> String {
        let name = self.r#type.rsplit('.').next().unwrap_or_default();
        // Of most features the limit says nothing that their name does not.
        let limit = match &self.data.feature {
            feature if feature == FEATURE => &self.data.limit,
            feature => feature,
        };
        let used = words::short(self.data.current.used_units);
        let included = words::short(self.data.included_units);
        match self.data.threshold_bp {
            Some(bp) => format!("{name} {limit} {} %, {used} of {included}", bp / 100),
            None => format!("{name} {limit}, {used} of {included}"),
        }
    }
}

async fn receive(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let message = verified(&desk.key, now.as_secs(), &headers, &body)
        .and_then(|id| Some((id, serde_json::from_slice::<Message>(&body).ok()?)))
        .filter(|(id, message)| *id == message.data.id);
    let Some((id, message)) = message else {
        desk.received().rejected += 1;
        return StatusCode::BAD_REQUEST;
    };
    let mut received = desk.received();
    if received.ids.insert(id.to_owned()) {
        let sent_at =
            desk.board.lock().signalled(&message.data.account, message.units(), &message.text());
        received.latencies.extend(sent_at.map(|at| at.elapsed()));
    } else {
        received.repeats += 1;
    }
    StatusCode::NO_CONTENT
}

/// The id of a message whose signature and time are right.
fn verified<'h>(key: &Key, now_s: u64, headers: &'h HeaderMap, body: &[u8]) -> Option<&'h str> {
    let header = |name| headers.get(name)?.to_str().ok();
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    let sent_s: u64 = timestamp.parse().ok()?;
    if now_s.abs_diff(sent_s) > TIMESTAMP_WITHIN_SECONDS {
        return None;
    }
    let is_right = |signature: &str| {
        let Some(signature) = signature.strip_prefix("v1,") else { return false };
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length of key will do");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        mac.verify_slice(&signature).is_ok() // In constant time.
    };
    header("webhook-signature")?.split(' ').any(is_right).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_649_367_600;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;

    fn headers(signature: &str, timestamp: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk".parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    /// With a key of 32 bytes; the reference implementation made the signature.
    fn signature(key: &Key, timestamp: i64) -> String {
        let webhook = standardwebhooks::Webhook::from_bytes(key.to_vec()).unwrap();
        webhook.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", timestamp, BODY).unwrap()
    }

    #[test]
    fn only_a_right_signature_of_now_is_believed() {
        let (key, other) = ([7; 32], [8; 32]);
        let good = signature(&key, 1_649_367_553);
        let check =
            |headers: &HeaderMap, body: &[u8]| verified(&key, NOW_S, headers, body).is_some();
        assert!(check(&headers(&good, "1649367553"), BODY));
        assert!(check(&headers(&format!("v1,AAAA v2,x {good}"), "1649367553"), BODY));
        assert!(!check(&headers(&good, "1649367553"), b"{}"));
        assert!(!check(&headers(&good, "1649367554"), BODY));
        assert!(!check(&headers(&signature(&other, 1_649_367_553), "1649367553"), BODY));
        assert!(!check(&headers(&signature(&key, 1_649_367_000), "1649367000"), BODY));
        assert!(!check(&headers("", "1649367553"), BODY));
        assert!(!check(&HeaderMap::new(), BODY));
    }
}
