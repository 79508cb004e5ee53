//! What is known of accounts' growth: read back after a start, looked at again and again, by a thread.
//!
//! Apart from the timers, because a look at a million accounts takes longer than an announcement should
//! wait for.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use headroom_core::time::Millis;
use headroom_engine::ports::ArchiveError;

use super::Core;
use super::repeated::Repeated;

/// How often the thread looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a test clock waits for the projection to know of what was told.
const PROJECTED_WITHIN: Duration = Duration::from_secs(2);

/// How often a test clock has what a look has brought looked at in turn. A rule may look at the signals of
/// another one; what goes on for longer is left to the thread.
const ROUNDS_MAX: usize = 8;

/// What the thread does not come to is done after the next start, which looks at every account.
pub(super) fn start(core: Arc<Core>) -> io::Result<Repeated> {
    let mut is_broken = false;
    Repeated::start("growth", LOOK_EVERY, move |stopping| {
        let looked = look(&core, core.shared.clock.now(), &|| stopping.is_asked());
        // Told when it begins and when it ends, not ten times a second.
        match &looked {
            Err(error) if !is_broken => tracing::warn!(
                %error,
                "signals cannot be appraised: deliveries wait, nothing is lost; it is tried again"
            ),
            Ok(_) if is_broken => tracing::info!("signals are appraised again"),
            _ => {}
        }
        is_broken = looked.is_err();
    })
}

/// Reads what was kept, appraises signals that no sink asks for, and looks at accounts. Answers how many
/// signals that has brought.
fn look(core: &Core, now: Millis, is_stopping: &dyn Fn() -> bool) -> Result<usize, ArchiveError> {
    // One look at a time: whoever has waited for the lock knows that nothing is half done.
    let _turn = core.growing.lock().unwrap_or_else(PoisonError::into_inner);
    let growth = &core.shared.growth;
    growth.load()?;
    growth.appraise()?;
    let forecasts = &core.shared.forecasts;
    let found = growth.watch(forecasts, now, is_stopping) + growth.tell_overdue(now);
    if found > 0 {
        core.store.kick();
    }
    Ok(found)
}

/// Does all that time has brought by `now` and that follows from what was told, instead of waiting until
/// the threads come to it.
pub(super) fn settle(core: &Core, now: Millis) {
    for _ in 0..ROUNDS_MAX {
        let settled = core.shared.engine.run_timers(now);
        // Signals are appraised when they have come to the projection.
        if !core.store.wait_projected(core.store.appended(), PROJECTED_WITHIN) {
            tracing::warn!("the projection is behind: what the clock has brought comes later");
            return;
        }
        match look(core, now, &|| false) {
            Ok(0) if settled == 0 => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "what the clock has brought comes later");
                return;
            }
        }
    }
}
