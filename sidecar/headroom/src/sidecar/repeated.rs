//! Work that a thread of its own does again and again, until the sidecar stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Whether the sidecar stops. Long work asks between its parts, so that nobody waits for the rest.
#[derive(Debug, Default)]
pub struct Stopping(AtomicBool);

impl Stopping {
    /// Whether to leave off.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The thread.
pub(super) struct Repeated {
    name: &'static str,
    stopping: Arc<Stopping>,
    thread: JoinHandle<()>,
}

impl Repeated {
    /// Calls `work` now, and again whenever `every` has passed since it returned.
    pub(super) fn start(
        name: &'static str,
        every: Duration,
        mut work: impl FnMut(&Stopping) + Send + 'static,
    ) -> io::Result<Repeated> {
        let stopping = Arc::new(Stopping::default());
        let seen = Arc::clone(&stopping);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while !seen.is_asked() {
                work(&seen);
                // Woken early without a reason it only looks early.
                std::thread::park_timeout(every);
            }
        })?;
        Ok(Repeated { name, stopping, thread })
    }

    /// Ends the thread, when the part that it is at is done.
    pub(super) fn stop(self) {
        self.stopping.ask();
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!(thread = self.name, "a thread in the background panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Instant;

    #[test]
    fn work_is_done_at_once_and_again() {
        let (did, done) = mpsc::channel();
        let thread = Repeated::start("test", Duration::from_millis(1), move |_| {
            let _ = did.send(()); // The test may have ended.
        })
        .unwrap();
        for _ in 0..3 {
            done.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        thread.stop();
    }

    #[test]
    fn a_stop_waits_neither_for_the_pause_nor_for_the_rest_of_long_work() {
        let (did, done) = mpsc::channel();
        let hour = Duration::from_secs(3_600);
        let thread = Repeated::start("test", hour, move |stopping| {
            did.send(()).unwrap();
            while !stopping.is_asked() {
                std::thread::yield_now();
            }
        })
        .unwrap();
        done.recv_timeout(Duration::from_secs(10)).unwrap();
        let started = Instant::now();
        thread.stop();
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
