//! The control runtime: one thread for everything that is not the hot road (acceptors, admin,
//! sinks, telemetry), so that none of it delays an answer.

use std::io;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::gate::{Gate, Kick};

/// How long blocking work that was begun may take to end at shutdown; then it is left behind.
const BLOCKING_WORK_GRACE: Duration = Duration::from_secs(1);

/// The running control runtime.
pub struct Control {
    handle: Handle,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Control {
    /// Starts the thread. `gate` is [`super::Gates::control`].
    pub fn start(gate: Gate, kick: Kick) -> io::Result<Control> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    never = gate.dispatch(kick) => match never {},
                    _ = stopped => {} // Also when the handle was dropped.
                }
            });
            runtime.shutdown_timeout(BLOCKING_WORK_GRACE);
        })?;
        Ok(Control { handle, stop, thread })
    }

    /// To spawn tasks on the runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Drops the tasks that still run and ends the thread.
    pub fn stop(self) {
        let _ = self.stop.send(()); // Fails when the thread has ended, which is what we want.
        if self.thread.join().is_err() {
            tracing::error!("the control thread panicked");
        }
    }
}
