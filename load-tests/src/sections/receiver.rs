//! Takes webhooks, and remembers whom they were about.

use crate::error::Error;
use crate::limits::WEBHOOK_BYTES_MAX;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What came.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Accounts that were told of, and when first.
    pub received: HashMap<String, Instant>,
    /// All webhooks.
    pub webhooks: u64,
}

/// Takes webhooks until it is aborted.
pub(super) async fn listen(
    listener: TcpListener,
    log: Rc<RefCell<Log>>,
    told: mpsc::Sender<()>,
) -> Result<(), Error> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.map_err(Error::io("no webhook can come in"))?;
        let (log, told) = (log.clone(), told.clone());
        connections.spawn_local(async move {
            let service = service_fn(move |request| receive(request, log.clone(), told.clone()));
            let connection = hyper::server::conn::http1::Builder::new();
            // The sender may hang up whenever it likes.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Notes the accounts a webhook names.
async fn receive(
    request: Request<Incoming>,
    log: Rc<RefCell<Log>>,
    told: mpsc::Sender<()>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let received_at = Instant::now();
    let body = Limited::new(request.into_body(), WEBHOOK_BYTES_MAX).collect().await;
    let parsed = body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
    let mut status = StatusCode::BAD_REQUEST;
    if let Some(event) = parsed {
        status = StatusCode::OK;
        let mut log = log.borrow_mut();
        log.webhooks += 1;
        for account in texts(&event).filter(|text| text.len() == 36) {
            log.received.entry(account.to_owned()).or_insert(received_at);
        }
        // Full means that the waiter will look anyway.
        let _ = told.try_send(());
    }
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

/// Every text of the event: wherever the account stands in it, it is found.
fn texts(event: &serde_json::Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match event {
        serde_json::Value::String(text) => Box::new(std::iter::once(text.as_str())),
        serde_json::Value::Array(items) => Box::new(items.iter().flat_map(texts)),
        serde_json::Value::Object(fields) => Box::new(fields.values().flat_map(texts)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            Box::new(std::iter::empty())
        }
    }
}
