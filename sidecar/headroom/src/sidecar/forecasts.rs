//! The thread that sweeps: at each hour of the domain's clock, what was used since goes to the histories
//! that projections are made of.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headroom_core::time::Millis;

use super::Core;

/// How often the thread looks whether an hour has begun.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a sweep waits for the projection to know of the windows that ended.
const PROJECTED_WITHIN: Duration = Duration::from_secs(2);

/// The thread. Dropping the channel ends it.
pub(super) struct Sweeping {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sweeping {
    pub(super) fn start(core: Arc<Core>) -> io::Result<Sweeping> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("forecasts".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
                let now = core.shared.clock.now();
                sweep(&core, now, now);
            }
        })?;
        Ok(Sweeping { stop, thread })
    }

    /// Ends the thread. What was used since the last sweep is counted by the first one of the next start.
    pub(super) fn stop(self) {
        let _ = self.stop.send(()); // Fails only when the thread has ended.
        if self.thread.join().is_err() {
            tracing::error!("the forecasts thread panicked");
        }
    }
}

/// Sweeps as of `now`, if an hour has begun by `due`.
pub(super) fn sweep(core: &Core, now: Millis, due: Millis) {
    let mut sweep = core.sweep.lock().unwrap_or_else(PoisonError::into_inner);
    if !sweep.is_due(due) {
        return;
    }
    let started = Instant::now();
    let last = core.store.appended();
    core.store.wait_projected(last, PROJECTED_WITHIN);
    let accounts = sweep.run(&core.shared.forecasts, last, now);
    core.store.kick(); // It may have raised signals.
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(accounts, took_ms, "histories of usage go on");
}
