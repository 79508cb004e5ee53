//! The thread that sweeps: at each hour of the domain's clock, what was used since goes to the histories
//! that projections are made of.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use headroom_core::time::Millis;

use super::Core;
use super::repeated::Repeated;

/// How often the thread looks whether an hour has begun.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a sweep waits for the projection to know of the windows that ended.
const PROJECTED_WITHIN: Duration = Duration::from_secs(2);

/// What was used since the last sweep is counted by the first one of the next start.
pub(super) fn start(core: Arc<Core>) -> io::Result<Repeated> {
    Repeated::start("forecasts", LOOK_EVERY, move |stopping| {
        let now = core.shared.clock.now();
        sweep(&core, now, now, &|| stopping.is_asked());
    })
}

/// Sweeps as of `now`, if an hour has begun by `due`; `leave_off` is asked now and then.
pub(super) fn sweep(core: &Core, now: Millis, due: Millis, leave_off: &dyn Fn() -> bool) {
    let mut sweep = core.sweep.lock().unwrap_or_else(PoisonError::into_inner);
    if !sweep.is_due(due) {
        return;
    }
    let started = Instant::now();
    let last = core.store.appended();
    core.store.wait_projected(last, PROJECTED_WITHIN);
    let accounts = sweep.run(&core.shared.forecasts, last, now, leave_off);
    core.store.kick(); // It may have raised signals.
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(accounts, took_ms, "histories of usage go on");
}
