//! Addresses to listen on: `host:port` or `unix:/path`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddr {
    /// A TCP port of a host. A name is looked up when the listener is bound.
    Tcp {
        /// A name or an address, an IPv6 one without its brackets.
        host: String,
        /// 0 lets the system choose.
        port: u16,
    },
    /// A Unix socket file.
    Unix(PathBuf),
}

/// Why a text is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address to listen on: {problem}")]
pub struct ListenAddrError {
    text: String,
    problem: &'static str,
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<ListenAddr, ListenAddrError> {
        let err = |problem| ListenAddrError { text: text.to_owned(), problem };
        if let Some(path) = text.strip_prefix("unix:") {
            // gRPC clients also write unix:///path; both name the same file.
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.strip_prefix('/') {
                None | Some("") => {
                    Err(err("unix: wants an absolute path, as in unix:/run/headroom.sock"))
                }
                Some(_) => Ok(ListenAddr::Unix(PathBuf::from(path))),
            };
        }
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| err("write host:port or unix:/path"))?;
        let port = port.parse().map_err(|_| err("the port is a number from 0 to 65535"))?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(host)) => host,
            Some(None) => return Err(err("the bracket of the IPv6 address is not closed")),
            None if host.contains(':') => {
                return Err(err("write an IPv6 address in brackets, as in [::1]:7000"));
            }
            None => host,
        };
        if host.is_empty() {
            return Err(err("the host is missing; 0.0.0.0 means every interface"));
        }
        Ok(ListenAddr::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            ListenAddr::Tcp { host, port } => write!(f, "{host}:{port}"),
            ListenAddr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn same(text: &str) {
        assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
    }

    #[test]
    fn addresses_are_read_and_written_alike() {
        same("127.0.0.1:7000");
        same("localhost:0");
        same("[::1]:7000");
        same("unix:/run/headroom.sock");
        assert_eq!("unix:///run/h".parse::<ListenAddr>().unwrap().to_string(), "unix:/run/h");
    }

    #[test]
    fn a_wrong_address_says_what_to_write() {
        for (text, problem) in [
            ("7000", "host:port"),
            (":7000", "the host is missing"),
            ("localhost:http", "the port is a number"),
            ("localhost:70000", "the port is a number"),
            ("::1:7000", "in brackets"),
            ("[::1:7000", "not closed"),
            ("unix:", "absolute path"),
            ("unix:run/h", "absolute path"),
        ] {
            let err = text.parse::<ListenAddr>().unwrap_err().to_string();
            assert!(err.contains(problem), "{err}");
        }
    }
}
