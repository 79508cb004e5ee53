//! What happens by time alone: a thread that looks whether something is due, also without traffic.
//!
//! Apart from the maintenance thread, because a checkpoint of a million accounts takes longer than
//! anybody should wait for an announcement.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Core;

/// How often the thread looks. It looks at one entry of an index, whatever the number of accounts.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The thread. Dropping the channel ends it.
pub(super) struct Timers {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Timers {
    pub(super) fn start(core: Arc<Core>) -> io::Result<Timers> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("timers".to_owned()).spawn(move || {
            loop {
                // Right after a start there may be something that came due while nobody was here.
                if core.shared.engine.run_timers(core.shared.clock.now()) > 0 {
                    core.store.kick();
                }
                match stopped.recv_timeout(LOOK_EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Timers { stop, thread })
    }

    /// Ends the thread. What is due later is done after the next start.
    pub(super) fn stop(self) {
        let _ = self.stop.send(()); // Fails only when the thread has ended.
        if self.thread.join().is_err() {
            tracing::error!("the timers thread panicked");
        }
    }
}
