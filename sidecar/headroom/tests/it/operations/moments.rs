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
        let file = home.data().join("signals.ndjson");
        until_async("the sink is told of all signals", async || {
            let told = std::fs::read_to_string(&file).unwrap_or_default();
            let names = ["usage_ceiling", "feature_limit_hit", "overage_started"];
            names.iter().all(|name| told.contains(name)).then_some(())
        })
        .await;
        until_async("and the sidecar knows", async || {
            let status = ask::status(&mut admin).await;
            ((status.signals_emitted, status.signals_pending) == (3, 0)).then_some(())
        })
        .await;
        drop(admin);
        sidecar.stop().await;
    }
}
