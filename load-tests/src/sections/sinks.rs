//! What a sink costs the decisions: two servers on the same catalog, one of which tells a webhook of each
//! crossed threshold.

use super::Bench;
use super::receiver::{Log, listen};
use super::rounds::{Cell, Server, UNIX, measure};
use crate::error::Error;
use crate::files;
use crate::limits::{LOOK_AGAIN, WEBHOOK_WITHIN};
use crate::load::{Shape, block_on};
use crate::pin;
use crate::report::{Comparison, Side, SinksResult};
use crate::sidecar::Launch;
use headroom_sdk::AdminClient;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Calls in flight.
const IN_FLIGHT: usize = 64;

/// Measures both servers in turn, and waits until every crossing of the one with a sink was received.
pub(super) fn run(bench: &Bench<'_>) -> Result<SinksResult, Error> {
    let receiver = Receiver::start(bench)?;
    let launch = |name: &str, webhook| {
        let (dir, catalog) = (bench.dir.join(name), files::telling(webhook));
        Launch::headroom(&bench.program, &dir, &bench.cores, &catalog)
    };
    let telling = launch("with-sink", Some(receiver.address))?.start_ready()?;
    let admin = telling.admin.clone().expect("Headroom has an admin listener");
    let servers = [
        Server::new("without", launch("without-sink", None)?.start_ready()?),
        Server::new("with a webhook", telling),
    ];
    let shape = Shape::Crossing { in_flight: IN_FLIGHT };
    let sides = vec![(0, shape, Vec::new()), (1, shape, Vec::new())];
    let mut cells = [Cell { shape, transport: UNIX, sides }];
    measure(bench, &servers, &mut cells)?;
    let [cell] = cells;
    let sides: Vec<Side> = cell
        .sides
        .iter()
        .map(|(server, _, samples)| Side::new(servers[*server].name, samples, &bench.cores))
        .collect();
    let crossings = all_told(&admin, &receiver, &servers[1])?;
    for server in servers {
        server.process.stop()?;
    }
    receiver.stop()?;
    let comparison = Comparison::new(&sides[1], &sides[0]);
    Ok(SinksResult { shape, sides, crossings, comparison })
}

/// Waits until the receiver was told of every signal; how many there are.
fn all_told(admin: &str, receiver: &Receiver, server: &Server) -> Result<usize, Error> {
    let status = block_on(async {
        let admin = AdminClient::connect(admin).await.map_err(Error::call("connecting"))?;
        admin.get_status().await.map_err(Error::call("GetStatus"))
    })?;
    let emitted = usize::try_from(status.signals_emitted).unwrap_or(usize::MAX);
    let started = Instant::now();
    while receiver.received() < emitted {
        if WEBHOOK_WITHIN < started.elapsed() {
            let received = receiver.received();
            return Err(server
                .process
                .problem(format!("told of {received} of {emitted} crossings")));
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(emitted)
}

/// A receiver on a thread of its own, because the load has the one of the benchmark.
struct Receiver {
    address: SocketAddr,
    received: Arc<AtomicUsize>,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<Result<(), Error>>,
}

impl Receiver {
    fn start(bench: &Bench<'_>) -> Result<Receiver, Error> {
        let no_port = || Error::io("there is no free port");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(no_port())?;
        let address = listener.local_addr().map_err(no_port())?;
        listener.set_nonblocking(true).map_err(no_port())?;
        let (stop, stopped) = oneshot::channel();
        let received = Arc::new(AtomicUsize::new(0));
        let (seen, cores) = (Arc::clone(&received), bench.cores.client.clone());
        let thread = thread::spawn(move || {
            pin::pin_to(&cores)?;
            block_on(receive(listener, seen, stopped))
        });
        Ok(Receiver { address, received, stop, thread })
    }

    /// Accounts that it was told of.
    fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    fn stop(self) -> Result<(), Error> {
        let _ = self.stop.send(()); // Fails only when it has ended; joining says how.
        self.thread.join().expect("the receiver does not panic")
    }
}

/// Takes webhooks until it is stopped.
async fn receive(
    listener: std::net::TcpListener,
    received: Arc<AtomicUsize>,
    stopped: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let listener = TcpListener::from_std(listener).map_err(Error::io("no webhook can come in"))?;
    let log = Rc::new(RefCell::new(Log::default()));
    let (told, mut tellings) = mpsc::channel(1);
    let count = async {
        while tellings.recv().await.is_some() {
            received.store(log.borrow().received.len(), Ordering::Relaxed);
        }
    };
    tokio::select! {
        ended = listen(listener, log.clone(), told) => ended,
        () = count => Ok(()),
        _ = stopped => Ok(()),
    }
}
