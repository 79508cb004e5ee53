//! A listener that is served on the control runtime, for what is not the hot road.

use std::io;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::acceptor::{Target, accept};
use super::drain::DrainSwitch;
use super::limits;
use super::listener::Listener;
use super::socket::Connections;
use super::worker::serve_until_drained;

/// A listener at work.
pub struct Door {
    switch: DrainSwitch,
    acceptor: JoinHandle<()>,
    server: JoinHandle<()>,
}

impl Door {
    /// Serves `routes` over HTTP/1.1 and HTTP/2 on the control runtime, whose handle is `control`. One
    /// connection more than `connections_max` is closed at once.
    pub fn start(
        control: &Handle,
        listener: Listener,
        routes: Routes,
        connections_max: usize,
    ) -> io::Result<Door> {
        let _on_control = control.enter();
        let (switch, drain) = DrainSwitch::new();
        let (handover, incoming) = mpsc::channel(limits::HANDOVER_SOCKETS_MAX);
        let target = Target { connections: Connections::default(), handover };
        let acceptor = accept(listener.adopt()?, vec![target], connections_max, drain.clone());
        Ok(Door {
            switch,
            acceptor: control.spawn(acceptor),
            server: control.spawn(serve_until_drained(routes, true, incoming, drain)),
        })
    }

    /// Closes the listener and lets requests in flight finish within that time.
    pub async fn drain(self, within: Duration) {
        self.switch.begin(within);
        for task in [self.acceptor, self.server] {
            let _ = task.await; // Cancelled or panicked: either way it has ended.
        }
    }
}
