//! Moments that are short and therefore seldom met.

use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;
use crate::support::until_async;

#[tokio::test]
async fn a_signal_of_the_first_moment_reaches_the_sink_whatever_comes_then() {
    for round in 0..6 {
        let home = Home::new(PLAIN);
        let mut sidecar = home.start();
        let mut client = ask::entitlements(&home).await;
        // Acknowledged and past thresholds, so the business must hear of it.
        assert!(ask::consumed(&mut client, "acme", "calls", 500, "k").await.allowed);
        drop(client);
        if round % 2 == 0 {
            sidecar.kill();
            drop(sidecar);
        } else {
            sidecar.stop().await;
        }

        let sidecar = home.start();
        let mut admin = ask::admin(&home).await;
        let told = until_async("the sink has delivered", async || {
            let status = ask::status(&mut admin).await;
            let is_done = status.signals_emitted > 0 && status.signals_pending == 0;
            let file = home.data().join("signals.ndjson");
            is_done.then(|| std::fs::read_to_string(file).unwrap_or_default())
        });
        let told = told.await;
        assert!(told.contains("usage_ceiling"), "it was not told: {told:?}");
        assert!(told.contains("feature_limit_hit"), "it was not told: {told:?}");
        drop(admin);
        sidecar.stop().await;
    }
}
