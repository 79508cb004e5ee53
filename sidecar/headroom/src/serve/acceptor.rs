//! Acceptors: one task per listener, on the control runtime, that hands each connection to the
//! least loaded worker.

use std::io;

use tokio::sync::mpsc;

use super::drain::Drain;
use super::limits;
use super::listener::AsyncListener;
use super::socket::{Accepted, AcceptedSocket, Connections};

/// Where connections are served: a worker, or the admin server.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) connections: Connections,
    pub(super) handover: mpsc::Sender<Accepted>,
}

/// Accepts until draining begins, and then closes the listener.
pub(super) async fn accept(
    listener: AsyncListener,
    targets: Vec<Target>,
    connections_max: usize,
    drain: Drain,
) {
    let mut begun = std::pin::pin!(drain.begun());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut begun => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(socket) => hand_over(socket, &targets, connections_max).await,
            // The client gave up while it was in the backlog.
            Err(err) if is_about_one_connection(&err) => {}
            Err(err) => {
                tracing::warn!(error = %err, "cannot accept connections; trying again");
                tokio::time::sleep(limits::ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn hand_over(socket: AcceptedSocket, targets: &[Target], connections_max: usize) {
    let open: usize = targets.iter().map(|target| target.connections.count()).sum();
    let Some(target) = targets.iter().min_by_key(|target| target.connections.count()) else {
        return;
    };
    if connections_max <= open {
        tracing::warn!(connections_max, "too many connections; closed a new one");
        return; // Dropping the socket closes it.
    }
    let guard = target.connections.enter();
    // Fails only when the worker is gone, and then closing is all that is left to do.
    let _ = target.handover.send(Accepted { socket, guard }).await;
}

fn is_about_one_connection(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
