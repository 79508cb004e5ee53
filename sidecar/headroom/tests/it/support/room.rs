//! Taking the room on disk away from a running sidecar, on any disk and as any user.

use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::home::{Home, PROGRAM};
use super::sidecar::Sidecar;

/// No segment of a journal in tests is that small, so none can be made; what was made before can be
/// filled, as on a disk that is full.
const SEGMENT_BYTES: u64 = (1 << 20) - 1;

/// So much and a segment has no room in the middle of a write, after a thousand small ones.
const LITTLE_BYTES: u64 = 64 << 10;

/// While this lives, the sidecar can make no file larger than this.
pub(crate) struct NoRoom {
    pid: Pid,
    before: Rlimit,
}

impl NoRoom {
    fn within(sidecar: &Sidecar, bytes: u64) -> NoRoom {
        let before = getrlimit(Resource::Fsize);
        let pid = sidecar.pid();
        let limit = Rlimit { current: Some(bytes), maximum: before.maximum };
        prlimit(Some(pid), Resource::Fsize, limit).expect("one's own process");
        NoRoom { pid, before }
    }

    /// Room for what there is, and for no new segment.
    pub(crate) fn for_segments(sidecar: &Sidecar) -> NoRoom {
        NoRoom::within(sidecar, SEGMENT_BYTES)
    }

    /// No room even where there was some, once a little is written.
    pub(crate) fn for_writes(sidecar: &Sidecar) -> NoRoom {
        NoRoom::within(sidecar, LITTLE_BYTES)
    }
}

impl Drop for NoRoom {
    fn drop(&mut self) {
        // It may have ended.
        let _ = prlimit(Some(self.pid), Resource::Fsize, self.before);
    }
}

/// Starts a sidecar that hears of a file that may not grow as an error, not as a signal that ends it.
pub(crate) fn start_bounded(home: &Home) -> Sidecar {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", PROGRAM, "serve", "--config"]);
    command.arg(home.path("headroom.yaml"));
    let mut sidecar = home.spawn_command(command);
    sidecar.wait_ready();
    sidecar
}
