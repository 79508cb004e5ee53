//! Runs one client command: a runtime, the answer, an exit code, and errors that say what to do.

use std::process::ExitCode;

use headroom_sdk::{AdminClient, Client, Error};

use super::args::{ToAdmin, ToSidecar};
use super::{FAILED, show};

/// How a client command ended.
pub(super) enum Ended {
    /// It did what it was asked.
    Done,
    /// The sidecar answered no.
    Refused,
    /// There was no answer.
    Failed(Failure),
}

/// An error, and whom it came from.
pub(super) struct Failure {
    error: Error,
    endpoint: String,
}

/// Carries a command out.
pub(super) fn run(command: impl Future<Output = Ended>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            show::problem(&format!("no runtime: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    match ended {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Refused => ExitCode::from(FAILED),
        Ended::Failed(failure) => {
            show::problem(&failure.text());
            ExitCode::from(FAILED)
        }
    }
}

impl Failure {
    pub(super) fn new(error: Error, endpoint: &str) -> Failure {
        Failure { error, endpoint: endpoint.to_owned() }
    }

    fn text(&self) -> String {
        let mut text = self.error.to_string();
        let mut cause = std::error::Error::source(&self.error);
        while let Some(error) = cause {
            let more = error.to_string();
            // Transports repeat themselves from layer to layer.
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        if let Error::Rejected { violations, .. } = &self.error {
            for violation in violations {
                // A single one is often in the message already.
                if !text.contains(&violation.problem) {
                    text = format!("{text}\n  {}: {}", violation.field, violation.problem);
                }
            }
        }
        if let Error::Unreachable { .. } = self.error {
            let endpoint = &self.endpoint;
            text =
                format!("{text}\nis a sidecar running at {endpoint}? `headroom serve` starts one");
        }
        text
    }
}

/// Connects to where a product would.
pub(super) async fn sidecar(to: &ToSidecar) -> Result<Client, Failure> {
    let endpoint = endpoint(&to.endpoint);
    // A product's own deadline is one for the road of a request; a person waits for an answer.
    let connected = Client::builder(endpoint.clone()).deadline(to.deadline).connect().await;
    connected.map_err(|error| Failure::new(error, &endpoint))
}

/// Connects to the admin listener.
pub(super) async fn admin(to: &ToAdmin) -> Result<AdminClient, Failure> {
    let endpoint = endpoint(&to.admin);
    let connected = AdminClient::connect(endpoint.clone()).await;
    connected.map_err(|error| Failure::new(error, &endpoint))
}

/// `host:port` is what people type, and what `listen` has in the settings.
pub(super) fn endpoint(text: &str) -> String {
    if text.contains("://") || text.starts_with("unix:") {
        text.to_owned()
    } else {
        format!("http://{text}")
    }
}
