//! HTTP: requests to one host. Redirects are not followed: the address is the operator's choice,
//! and what is sent there is for no one else. Private addresses are connected to only if the sink
//! says so.

use std::error::Error;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use http::header::{HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::fmt::rfc2822::DateTimeParser;

use super::limits::{
    ANSWER_BYTES_MAX, ANSWER_HEAD_BYTES_MAX, ANSWER_WITHIN, CONNECT_WITHIN, CONNECTION_IDLE,
    IN_FLIGHT_MAX,
};
use super::private::{self, Resolver};

/// What an endpoint said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// How long it wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// As much of the body as is read; empty if nobody waits for it.
    pub(super) body: Vec<u8>,
}

/// Sends requests. What is not an answer is a text for the operator.
pub(super) trait Transport: Send + Sync + 'static {
    /// Sends one request. Must be bounded in time by the caller.
    fn send(
        &self,
        request: Request<Vec<u8>>,
        read: Read,
    ) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// What is to be done with an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// It says nothing to us; it is taken off the connection, so that that can be used again.
    Nothing,
    /// It decides. One that is longer than [`ANSWER_BYTES_MAX`] is no answer.
    Body,
}

/// HTTP/1.1 with or without TLS, over kept connections.
pub(super) struct HttpTransport {
    /// `Err`: why there is none, which every delivery is then answered with.
    client: Result<HttpClient, String>,
}

type HttpClient = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

impl HttpTransport {
    /// A client for the host of this address. Opens no connection yet.
    pub(super) fn new(url: &Uri, allow_private: bool) -> HttpTransport {
        HttpTransport { client: client(url, allow_private) }
    }
}

fn client(url: &Uri, allow_private: bool) -> Result<HttpClient, String> {
    // No resolver is asked for an address.
    private::check_host(url.host().unwrap_or_default(), allow_private)
        .map_err(|refused| refused.to_string())?;
    let mut tcp = HttpConnector::new_with_resolver(Resolver::new(allow_private));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_WITHIN));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(url.scheme_str() == Some("https"))?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(CONNECTION_IDLE)
        .pool_max_idle_per_host(IN_FLIGHT_MAX)
        .http1_max_buf_size(ANSWER_HEAD_BYTES_MAX)
        .build(connector))
}

/// # Errors
/// When it is to be used and the machine has no root certificates to check the endpoint's with.
pub(super) fn tls(is_used: bool) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    if is_used {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(format!("this machine has no root certificates{why}"));
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl Transport for HttpTransport {
    async fn send(&self, request: Request<Vec<u8>>, read: Read) -> Result<Answer, String> {
        let mut request = request.map(Full::from);
        let agent = HeaderValue::from_static(concat!("headroom/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        let client = self.client.as_ref().map_err(String::clone)?;
        let response = client.request(request).await.map_err(|error| told(&error))?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| pause_of(text, SystemTime::now()));
        let status = response.status();
        let body = match read {
            Read::Nothing => {
                finish(response.into_body()).await;
                Vec::new()
            }
            Read::Body => {
                let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
                body.map_err(|error| format!("the answer was not read: {error}"))?.to_bytes().into()
            }
        };
        Ok(Answer { status, retry_after, body })
    }
}

/// Reads what is left of an answer, so that its connection can be used again.
async fn finish(body: Incoming) {
    let read = async {
        let mut body = pin!(Limited::new(body, ANSWER_BYTES_MAX));
        while let Some(Ok(_)) = body.frame().await {}
    };
    // Too late means that the connection is closed; the answer stands.
    let _ = tokio::time::timeout(ANSWER_WITHIN, read).await;
}

/// The value of `Retry-After`: seconds or a date.
fn pause_of(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(SystemTime::from(at).duration_since(now).unwrap_or_default())
}

/// An error with its causes, which is where hyper says what happened.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_400);
        let check = |text, expected: Option<u64>| {
            assert_eq!(pause_of(text, now), expected.map(Duration::from_secs), "{text}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Wed, 21 Oct 2015 07:28:00 GMT", Some(80));
        check("Wed, 21 Oct 2015 07:00:00 GMT", Some(0));
        check("soon", None);
        check("-5", None);
    }
}
