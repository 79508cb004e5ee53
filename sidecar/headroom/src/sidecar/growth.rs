//! What is known of accounts' growth: read back after a start, looked at again and again, by a thread.
//!
//! Apart from the timers, because a look at a million accounts takes longer than an announcement should
//! wait for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use headroom_engine::ports::ArchiveError;

use super::Core;
use super::repeated::{Repeated, Stopping};

/// How often the thread looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the thread does not come to is done after the next start, which looks at every account.
pub(super) fn start(core: Arc<Core>) -> io::Result<Repeated> {
    let mut is_broken = false;
    Repeated::start("growth", LOOK_EVERY, move |stopping| {
        let looked = look(&core, stopping);
        // Told when it begins and when it ends, not ten times a second.
        match &looked {
            Err(error) if !is_broken => tracing::warn!(
                %error,
                "signals cannot be appraised: deliveries wait, nothing is lost; it is tried again"
            ),
            Ok(()) if is_broken => tracing::info!("signals are appraised again"),
            _ => {}
        }
        is_broken = looked.is_err();
    })
}

/// Reads what was kept, appraises signals that no sink asks for, and looks at accounts.
fn look(core: &Core, stopping: &Stopping) -> Result<(), ArchiveError> {
    let growth = &core.shared.growth;
    growth.load()?;
    growth.appraise()?;
    let now = core.shared.clock.now();
    if growth.watch(now, &|| stopping.is_asked()) + growth.tell_overdue(now) > 0 {
        core.store.kick();
    }
    Ok(())
}
