//! Cores: the servers get one half of the machine, the load generator the other, so that neither
//! takes the time of the other and every round sees the same layout.

use crate::error::Error;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which cores are whose. On a machine with one core both are the same.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    /// Where servers run, and how many workers they get.
    pub server: Vec<usize>,
    /// Where the load generator runs: one thread each.
    pub client: Vec<usize>,
}

impl Cores {
    /// Halves the cores this process may use; an odd one goes to the client.
    pub(crate) fn split() -> Result<Cores, Error> {
        let allowed = sched_getaffinity(None)
            .map_err(|error| Error::io("the cores cannot be listed")(error.into()))?;
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
        if all.len() < 2 {
            return Ok(Cores { server: all.clone(), client: all });
        }
        let (server, client) = all.split_at(all.len() / 2);
        Ok(Cores { server: server.to_vec(), client: client.to_vec() })
    }
}

/// Pins the calling thread, and whatever it starts from now on.
pub(crate) fn pin_to(cores: &[usize]) -> Result<(), Error> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(None, &set)
        .map_err(|error| Error::io("the thread cannot be pinned")(error.into()))
}
