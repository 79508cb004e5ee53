//! Why a measurement ended without a figure.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a measurement ended without a figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something with files, sockets or processes.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A server did not start or went away.
    #[error("{server} {problem}; its log {} ends with:\n{log_end}", log.display())]
    Server {
        /// Which.
        server: String,
        /// What happened.
        problem: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        log_end: String,
    },
    /// A call failed that must not fail.
    #[error("{what} failed")]
    Call {
        /// Which.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer came and is wrong.
    #[error("wrong answer: {0}")]
    WrongAnswer(String),
    /// Nothing came in time.
    #[error("{what} not within {within:?}")]
    TooSlow {
        /// What was waited for.
        what: &'static str,
        /// How long.
        within: Duration,
    },
    /// Cargo could not build the sidecar.
    #[error("cargo build of the sidecar failed; see above")]
    Build,
}

impl Error {
    /// For `map_err` on IO results.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { what, source }
    }

    /// For `map_err` on calls.
    pub(crate) fn call<E>(what: &'static str) -> impl FnOnce(E) -> Error
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Error::Call { what, source: source.into() }
    }
}
