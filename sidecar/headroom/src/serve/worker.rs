//! Workers: one thread, one runtime, one gRPC server each.
//!
//! A connection stays on its worker, so answering a request involves no other core and no shared
//! queue: measured, two such runtimes do 2.9 times what one multi-thread runtime does.
//!
//! Tokio's and hyper's settings are theirs where a change did not pay. Measured on the empty service
//! at 64 in flight over 8 connections (server CPU per request, best of 17 interleaved rounds, 5.06
//! us): an event interval of 31, 128, 256 or 512 instead of 61 is within the noise of 2%, stream
//! windows of 1 MiB too; HTTP/2 keep-alive costs 3.4%, so TCP's is used; a Unix socket is 5% cheaper
//! than TCP; waiting at a gate for a journal on its own thread adds 2%.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;

use super::acceptor::Target;
use super::drain::Drain;
use super::gate::{Gate, Kick};
use super::limits;
use super::socket::{Accepted, Connections};

/// What the services of one worker are made with.
#[derive(Clone)]
pub struct WorkerContext {
    /// The worker, counted from 0.
    pub index: usize,
    /// Where its requests wait for the journal.
    pub gate: Gate,
    /// Tells long-lived streams to end.
    pub drain: Drain,
}

/// Makes the services of one worker; called once on each worker's thread.
pub type MakeRoutes = Arc<dyn Fn(WorkerContext) -> Routes + Send + Sync>;

/// A running worker.
pub(super) struct Worker {
    pub(super) target: Target,
    thread: thread::JoinHandle<()>,
    ended: oneshot::Receiver<usize>,
}

impl Worker {
    pub(super) fn start(
        context: WorkerContext,
        kick: Kick,
        make: MakeRoutes,
    ) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handover, incoming) = mpsc::channel(limits::HANDOVER_SOCKETS_MAX);
        let target = Target { connections: Connections::default(), handover };
        let connections = target.connections.clone();
        let (end, ended) = oneshot::channel();
        let thread =
            thread::Builder::new().name(format!("worker-{}", context.index)).spawn(move || {
                runtime.block_on(serve(context, kick, make, incoming));
                let cut = connections.count();
                // Dropping the runtime drops what still runs, and with it the connections.
                drop::<Runtime>(runtime);
                let _ = end.send(cut);
            })?;
        Ok(Worker { target, thread, ended })
    }

    /// Waits for the end of the thread, which comes with the drain's. Returns how many connections
    /// still had requests in flight and were cut.
    pub(super) async fn join(self) -> usize {
        // An error means that the thread panicked: its connections are gone without being counted.
        let cut = self.ended.await.unwrap_or_else(|_| self.target.connections.count());
        if self.thread.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
        cut
    }
}

async fn serve(
    context: WorkerContext,
    kick: Kick,
    make: MakeRoutes,
    incoming: mpsc::Receiver<Accepted>,
) {
    let dispatcher = tokio::spawn(context.gate.clone().dispatch(kick));
    let drain = context.drain.clone();
    let routes = make(context);
    serve_until_drained(routes, false, incoming, drain).await;
    dispatcher.abort();
}

/// Serves connections until draining begins, then finishes what is in flight, within the drain's
/// time. The caller cuts what is left by dropping the runtime, or by ending the process.
pub(super) async fn serve_until_drained(
    routes: Routes,
    http1: bool,
    incoming: mpsc::Receiver<Accepted>,
    drain: Drain,
) {
    let draining = drain.clone();
    let sockets = ReceiverStream::new(incoming).map(move |new| new.adopt(draining.clone()));
    let serving = tonic::transport::Server::builder()
        .accept_http1(http1)
        .max_concurrent_streams(limits::STREAMS_MAX)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .add_routes(routes)
        .serve_with_incoming_shutdown(sockets, drain.clone().begun());
    tokio::select! {
        served = serving => {
            if let Err(err) = served {
                tracing::error!(error = %err, "the server stopped");
            }
        }
        () = drain.over() => {}
    }
}
