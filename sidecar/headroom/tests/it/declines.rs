//! Usage that falls against its own habit is told once, and pauses what sells.

use serde_json::Value;

use crate::forecasts::{CATALOG, day, live};
use crate::support::home::Home;
use crate::support::{until, until_async};

/// The signals that were told, in order.
fn told(home: &Home) -> Vec<Value> {
    let text = std::fs::read_to_string(home.data().join("signals.ndjson")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_account_that_stops_is_told_of_once_and_nothing_is_sold_to_it() {
    let catalog = CATALOG.replace("[projected_exhaustion]", "[declining_usage]");
    let home = Home::with_settings(&catalog, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    // Fifteen weeks of habit, with its weekends.
    live(&client, &admin, 0..105).await;
    for number in 105..119 {
        admin.set_clock(day(number + 1)).await.unwrap();
    }
    assert_eq!(told(&home), [Value::Null; 0], "two weeks may be a holiday");
    for number in 119..127 {
        admin.set_clock(day(number + 1)).await.unwrap();
    }
    let found = until("it is told", || Some(told(&home)).filter(|found| !found.is_empty()));
    assert_eq!(found.len(), 1);
    let data = &found[0]["data"];
    assert_eq!(found[0]["type"], "headroom.signal.declining_usage");
    assert_eq!((&data["class"], &data["gate"]["state"]), (&"churn".into(), &"exempt".into()));
    assert_eq!(data["route"]["play"], "retention");
    let change = data["details"]["facts"]["usage_change_percent"].to_string();
    assert!(["-75", "-80"].contains(&change.as_str()), "{change}");
    let readiness = admin.get_readiness("acme").await.unwrap().readiness.unwrap();
    assert!(readiness.risks.contains(&"churn_signal".to_owned()), "{readiness:?}");

    sidecar.stop().await;
    let sidecar = home.start();
    let (_, admin) = home.clients().await;
    until_async("what was kept is read", async || admin.get_readiness("acme").await.ok()).await;
    admin.set_clock(day(128)).await.unwrap();
    admin.set_clock(day(129)).await.unwrap();
    assert_eq!(told(&home).len(), 1, "once, also over a restart");
    drop((client, admin));
    sidecar.stop().await;
}
