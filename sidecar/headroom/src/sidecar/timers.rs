//! What happens by time alone: a thread that looks whether something is due, also without traffic.
//!
//! Apart from the maintenance thread, because a checkpoint of a million accounts takes longer than
//! anybody should wait for an announcement.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::repeated::Repeated;

/// How often the thread looks. It looks at one entry of an index, whatever the number of accounts.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Right after a start there may be something that came due while nobody was here. What is due when the
/// thread ends is done after the next start.
pub(super) fn start(core: Arc<Core>) -> io::Result<Repeated> {
    Repeated::start("timers", LOOK_EVERY, move |_| {
        if core.shared.engine.run_timers(core.shared.clock.now()) > 0 {
            core.store.kick();
        }
    })
}
