//! What is known of accounts' growth: read back after a start, looked at again and again, by a thread.
//!
//! Apart from the timers, because a look at a million accounts takes longer than an announcement should
//! wait for.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Core;

/// How often the thread looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The thread. Dropping the channel ends it.
pub(super) struct GrowthThread {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl GrowthThread {
    pub(super) fn start(core: Arc<Core>) -> io::Result<GrowthThread> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("growth".to_owned()).spawn(move || {
            loop {
                look(&core);
                match stopped.recv_timeout(LOOK_EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(GrowthThread { stop, thread })
    }

    /// Ends the thread. What it did not come to is done after the next start.
    pub(super) fn stop(self) {
        let _ = self.stop.send(()); // Fails only when the thread has ended.
        if self.thread.join().is_err() {
            tracing::error!("the growth thread panicked");
        }
    }
}

/// Reads what was kept, appraises signals that no sink asks for, and looks at accounts.
fn look(core: &Core) {
    let growth = &core.shared.growth;
    if let Err(error) = growth.load().and_then(|_| growth.appraise()) {
        tracing::warn!(%error, "signals cannot be appraised now");
        return;
    }
    let now = core.shared.clock.now();
    if growth.watch(now) + growth.tell_overdue(now) > 0 {
        core.store.kick();
    }
}
