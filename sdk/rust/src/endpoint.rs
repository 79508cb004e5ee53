//! Endpoints: where the sidecar listens, as text.

use crate::error::Error;
use crate::limits::{PROBE_AFTER, PROBE_DEADLINE};
use std::time::Duration;
use tonic::transport::Endpoint;

/// Reads `http://host:port` or `unix:/path`.
pub(crate) fn parse(text: &str, connect_deadline: Duration) -> Result<Endpoint, Error> {
    let unknown = || Error::BadEndpoint { endpoint: text.to_owned() };
    let is_unix = text.strip_prefix("unix:").is_some_and(|path| path.starts_with('/'));
    if !is_unix && !text.starts_with("http://") {
        return Err(unknown());
    }
    let endpoint = Endpoint::from_shared(text.to_owned()).map_err(|_| unknown())?;
    Ok(endpoint
        .connect_timeout(connect_deadline)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PROBE_AFTER)
        .keep_alive_timeout(PROBE_DEADLINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, understood: bool) {
        assert_eq!(parse(text, Duration::from_secs(1)).is_ok(), understood, "{text}");
    }

    #[test]
    fn only_http_and_absolute_socket_paths_are_endpoints() {
        check("http://127.0.0.1:7400", true);
        check("http://[::1]:7400", true);
        check("unix:/run/headroom.sock", true);
        check("unix:///run/headroom.sock", true);
        check("unix:headroom.sock", false);
        check("https://127.0.0.1:7400", false);
        check("127.0.0.1:7400", false);
        check("http://not a host", false);
        check("", false);
    }
}
