//! Draining: the one signal by which everything that serves is told to finish.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Begins draining, once.
#[derive(Debug)]
pub(super) struct DrainSwitch(watch::Sender<Option<Instant>>);

/// Whether the server is draining. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<Option<Instant>>);

impl DrainSwitch {
    pub(super) fn new() -> (DrainSwitch, Drain) {
        let (sender, receiver) = watch::channel(None);
        (DrainSwitch(sender), Drain(receiver))
    }

    /// Whatever is not finished `within` that time is cut.
    pub(super) fn begin(&self, within: Duration) {
        self.0.send_replace(Some(Instant::now() + within));
    }
}

impl Drain {
    /// Waits until draining begins. Long-lived streams wait for this too: they answer what they
    /// have read, read no more and end; otherwise they are cut at the deadline.
    pub async fn begun(mut self) {
        // An error means that the switch was dropped: the server is gone without a drain.
        let _ = self.0.wait_for(Option::is_some).await;
    }

    /// Waits until draining has begun and its time is over.
    pub(super) async fn over(mut self) {
        let deadline = match self.0.wait_for(Option::is_some).await {
            Ok(deadline) => *deadline,
            Err(_) => None,
        };
        if let Some(deadline) = deadline {
            tokio::time::sleep_until(deadline).await;
        }
    }
}
