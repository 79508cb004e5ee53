//! Readiness: whether the sidecar should be sent requests, and if not, why.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The name under which grpc.health.v1 reports readiness; the empty name is liveness.
pub const READINESS_SERVICE: &str = "readiness";

/// How often gRPC health looks at the store. A caller that refuses on every request, as Headroom
/// does, loses little by learning it a second late.
const STORE_POLL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    Draining,
}

/// Asks the store why it takes no writes, if it takes none.
pub type StoreRefusalProbe = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Whether the sidecar is ready. A clone is a handle to the same one.
#[derive(Clone)]
pub struct Readiness {
    phase: Arc<watch::Sender<Phase>>,
    store_refusal: StoreRefusalProbe,
}

impl Readiness {
    /// Not ready yet: starting.
    pub fn new(store_refusal: StoreRefusalProbe) -> Readiness {
        Readiness { phase: Arc::new(watch::Sender::new(Phase::Starting)), store_refusal }
    }

    /// Everything is started.
    pub fn set_ready(&self) {
        self.phase.send_if_modified(|phase| {
            let starting = *phase == Phase::Starting; // A drain is never taken back.
            if starting {
                *phase = Phase::Ready;
            }
            starting
        });
    }

    /// Shutdown has begun. Set some time before the listeners close, so that load balancers see it.
    pub fn set_draining(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// Why requests should go elsewhere, or None when all is well.
    pub fn refusal(&self) -> Option<String> {
        match *self.phase.borrow() {
            Phase::Starting => Some("starting".to_owned()),
            Phase::Draining => Some("draining".to_owned()),
            Phase::Ready => (self.store_refusal)(),
        }
    }

    /// Keeps gRPC health in step. Runs for the life of the process, on the control runtime.
    pub(super) async fn report(self, reporter: HealthReporter) {
        let mut changes = self.phase.subscribe();
        loop {
            let status = match self.refusal() {
                None => ServingStatus::Serving,
                Some(_) => ServingStatus::NotServing,
            };
            reporter.set_service_status(READINESS_SERVICE, status).await;
            tokio::select! {
                _ = changes.changed() => {} // Never an error: `self` holds the sender.
                () = tokio::time::sleep(STORE_POLL_INTERVAL) => {}
            }
        }
    }
}
