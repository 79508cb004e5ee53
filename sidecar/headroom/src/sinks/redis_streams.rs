//! Redis Streams: every signal is an entry with its id, so that a consumer knows one that comes
//! twice.
//!
//! What is sent together is one transaction: all of it is in the stream, or nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisError};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::delivery::{Courier, Outcome};
use super::http;
use super::lanes::Shape;
use super::limits::{ATTEMPT_WITHIN, BATCH_BYTES_MAX, BATCH_SIGNALS_MAX, CONNECT_WITHIN};
use super::payload::Message;
use super::private;
use crate::config::sinks::RedisSpec;

/// One stream.
pub(super) struct RedisStreams {
    spec: RedisSpec,
    /// Taken out while it is used, so that one in an unknown state is not used again.
    idle: Mutex<Option<Open>>,
}

/// A connection and what drives it.
struct Open {
    connection: MultiplexedConnection,
    _driver: JoinSet<()>,
}

impl RedisStreams {
    pub(super) fn new(spec: RedisSpec) -> RedisStreams {
        RedisStreams { spec, idle: Mutex::new(None) }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self, messages: &[Message]) -> Pipeline {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for message in messages {
            let add = pipeline.cmd("XADD").arg(&self.spec.stream);
            if let Some(entries) = self.spec.entries_max {
                // About so many: Redis drops whole nodes of the stream, which costs it nothing.
                add.arg("MAXLEN").arg("~").arg(entries);
            }
            add.arg("*");
            add.arg("id").arg(message.unique_id());
            add.arg("type").arg(&message.r#type);
            add.arg("account").arg(&message.data.account);
            add.arg("message").arg(message.json());
        }
        pipeline
    }

    async fn open(&self) -> Result<Open, String> {
        let stream = timeout(CONNECT_WITHIN, self.connect()).await;
        let stream = stream
            .map_err(|_| format!("no connection within {} s", CONNECT_WITHIN.as_secs()))?
            .map_err(|error| error.to_string())?;
        let _ = stream.set_nodelay(true); // Without it entries are late, not lost.
        if !self.spec.tls {
            return self.greet(stream).await;
        }
        let config = http::tls(true)?;
        let name = ServerName::try_from(self.spec.host.clone()).map_err(|e| e.to_string())?;
        let connector = TlsConnector::from(Arc::new(config));
        self.greet(connector.connect(name, stream).await.map_err(|error| error.to_string())?).await
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let host = self.spec.host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = lookup_host((host, self.spec.port)).await?.collect();
        let found = private::sift(found, self.spec.allow_private).map_err(io::Error::other)?;
        TcpStream::connect(&*found).await
    }

    async fn greet<S>(&self, stream: S) -> Result<Open, String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut info = RedisConnectionInfo::default().set_db(self.spec.database);
        if let Some(username) = &self.spec.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.spec.password {
            info = info.set_password(&password.0);
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ATTEMPT_WITHIN));
        let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = opened.map_err(|error| told(&error))?;
        let mut drivers = JoinSet::new();
        drivers.spawn(driver);
        Ok(Open { connection, _driver: drivers })
    }
}

/// What went wrong. Never a password: Redis does not repeat it.
fn told(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

impl Courier for RedisStreams {
    fn shape(&self) -> Shape {
        // One at a time: there is one connection, and a transaction is quick.
        Shape { batch_max: BATCH_SIGNALS_MAX, ..Shape::singly(1) }
    }

    fn bytes(&self, message: &Message) -> Option<(usize, usize)> {
        Some((message.json().len() + message.data.account.len(), BATCH_BYTES_MAX))
    }

    async fn deliver(&self, messages: Vec<Message>) -> Outcome {
        let idle = self.idle().take();
        let open = match idle {
            Some(open) => Ok(open),
            None => self.open().await,
        };
        let mut open = match open {
            Ok(open) => open,
            Err(what) => return Outcome::silence(what),
        };
        let added: Result<redis::Value, _> =
            self.entries(&messages).query_async(&mut open.connection).await;
        match added {
            Ok(_) => {
                *self.idle() = Some(open);
                Outcome::Accepted
            }
            // Redis refuses no entry for what is in it, so it is always about Redis.
            Err(error) => Outcome::silence(told(&error)),
        }
    }
}
