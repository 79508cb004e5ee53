//! The gRPC server as a whole: its listeners and its workers.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::acceptor::{Target, accept};
use super::drain::DrainSwitch;
use super::gate::{Gates, Kick};
use super::limits;
use super::listener::Listener;
use super::socket::Connections;
use super::worker::{MakeRoutes, Worker, WorkerContext};

/// A running server. [`Server::drain`] ends it well; dropping it leaves its threads behind.
pub struct Server {
    switch: DrainSwitch,
    acceptors: Vec<JoinHandle<()>>,
    workers: Vec<Worker>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that still had requests in flight at the deadline.
    pub connections_cut: usize,
}

impl Server {
    /// Starts one worker per gate and one acceptor per listener. The acceptors run on the control
    /// runtime, whose handle is `control`. `kick` is called at the end of every tick in which a
    /// request began to wait.
    pub fn start(
        control: &Handle,
        listeners: Vec<Listener>,
        gates: &Gates,
        kick: &Kick,
        make: &MakeRoutes,
    ) -> io::Result<Server> {
        raise_descriptor_limit();
        let (switch, drain) = DrainSwitch::new();
        let workers = gates
            .workers()
            .iter()
            .enumerate()
            .map(|(index, gate)| {
                let context = WorkerContext { index, gate: gate.clone(), drain: drain.clone() };
                Worker::start(context, kick.clone(), make.clone())
            })
            .collect::<io::Result<Vec<Worker>>>()?;
        let targets: Vec<Target> = workers.iter().map(|worker| worker.target.clone()).collect();

        let _on_control = control.enter();
        let acceptors = listeners
            .into_iter()
            .map(|listener| {
                let accepting = accept(
                    listener.adopt()?,
                    targets.clone(),
                    limits::CONNECTIONS_MAX,
                    drain.clone(),
                );
                Ok(control.spawn(accepting))
            })
            .collect::<io::Result<Vec<JoinHandle<()>>>>()?;
        Ok(Server { switch, acceptors, workers })
    }

    /// Reads how many connections each worker has; goes on working after the drain.
    pub fn connections_by_worker(&self) -> impl Fn() -> Vec<usize> + Send + Sync + use<> {
        let counts: Vec<Connections> =
            self.workers.iter().map(|worker| worker.target.connections.clone()).collect();
        move || counts.iter().map(Connections::count).collect()
    }

    /// Closes the listeners, lets requests in flight finish within that time, cuts the others and
    /// ends the threads.
    pub async fn drain(self, within: Duration) -> Drained {
        self.switch.begin(within);
        for acceptor in self.acceptors {
            // An error means that it panicked, and then its listener is closed too.
            let _ = acceptor.await;
        }
        let mut connections_cut = 0;
        for worker in self.workers {
            connections_cut += worker.join().await;
        }
        Drained { connections_cut }
    }
}

/// Takes as many file descriptors as the system lets us: the usual 1024 are fewer than
/// [`limits::CONNECTIONS_MAX`], and kept that low only for programs that call `select`.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(err) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(error = %err, "cannot raise the limit of open files");
    }
}
