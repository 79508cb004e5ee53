//! Policies at the limit, over the wire: a grace that ends though nobody asks, a spend cap, a feature
//! that is only watched.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use headroom_proto::v1;
use headroom_sdk::Client;

use crate::support::ask;
use crate::support::home::Home;
use crate::support::{until, until_async};

const CATALOG: &str = "\
default_plan: open
features:
  calls: { name: Calls, kind: quota, limits: { total: { window: lifetime } } }
  slots: { name: Slots, kind: quota, limits: { total: { window: lifetime } } }
  trial: { name: Trial, kind: quota, shadow: on, limits: { total: { window: lifetime } } }
plans:
  open:
    name: Open
    entitlements:
      calls:
        total: { included: 10, policy: { grace: { for: 1 minute, notice: 58 seconds } } }
      slots:
        total:
          included: 10
          policy: { overage: { unit_price_minor: 0.4, currency: USD, cap_minor: 2 } }
      trial: { total: { included: 10 } }
sinks:
  - { sink: audit, kind: ndjson, path: signals.ndjson }
";

/// The different lines of the sink that tell of this signal. Delivery is at least once, and the last line may be
/// half written.
fn told(home: &Home, name: &str) -> BTreeSet<String> {
    let file = home.data().join("signals.ndjson");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let kind = format!("\"headroom.signal.{name}\"");
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.filter(|line| line.contains(&kind)).map(|line| line.trim_end().to_owned()).collect()
}

/// Alerts that come minutes late, twice, or never.
#[tokio::test]
async fn a_grace_is_announced_before_it_ends_without_traffic_and_once_over_kill_9() {
    let home = Home::new(CATALOG);
    let mut sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let decision = ask::consumed(&mut client, "acme", "calls", 11, "k").await;
    assert_eq!(decision.verdict(), v1::Verdict::AllowedGrace);
    assert!(decision.binding.unwrap().grace_until.is_some());
    drop(client);
    sidecar.kill();
    drop(sidecar);

    // From here on nobody asks for anything.
    let mut sidecar = home.start();
    let ending = until("the sink is told that the grace ends", || {
        let ending = told(&home, "grace_ending");
        (!ending.is_empty()).then_some(ending)
    });
    sidecar.kill();
    drop(sidecar);

    let sidecar = home.start();
    let mut admin = ask::admin(&home).await;
    until_async("everything is delivered", async || {
        let status = ask::status(&mut admin).await;
        ((status.signals_emitted, status.signals_pending) == (4, 0)).then_some(())
    })
    .await;
    assert_eq!(told(&home, "grace_ending"), ending, "once");
    assert_eq!(told(&home, "grace_started").len(), 1);
    let line: serde_json::Value = serde_json::from_str(ending.first().unwrap()).unwrap();
    assert_eq!(line["data"]["account"], "acme");
    assert!(line["data"]["grace_until"].is_string(), "{line}");
    drop(admin);
    sidecar.stop().await;
}

#[tokio::test]
async fn overage_shows_what_it_costs_and_stops_at_the_cap() {
    let home = Home::new(CATALOG);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let decision = ask::consumed(&mut client, "acme", "slots", 15, "a").await;
    assert_eq!(decision.verdict(), v1::Verdict::AllowedOverage);
    let limit = decision.binding.unwrap();
    let cost = v1::OverageCost { cost_minor: 2, cap_minor: Some(2), currency: "USD".to_owned() };
    assert_eq!((limit.overage_units, limit.overage_cost), (5, Some(cost)));
    let refused = ask::consumed(&mut client, "acme", "slots", 1, "b").await;
    assert_eq!((refused.allowed, refused.denial()), (false, v1::Denial::SpendCapReached));
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn an_override_raises_a_spend_cap_for_a_while_and_survives_a_restart() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_898_553_600);
    admin.set_clock(start).await.unwrap();
    let consume = async |client: &Client| client.consume("acme", "slots", 5).await.unwrap();
    let capped = async |client: &Client| {
        consume(client).await.binding.unwrap().overage_cost.unwrap().cap_minor
    };
    let spent = Some(headroom_sdk::Denial::SpendCapReached);
    assert_eq!(client.consume("acme", "slots", 15).await.unwrap().denial, None);
    assert_eq!(consume(&client).await.denial, spent);
    let cap = |currency: &str| v1::Override {
        feature: "slots".into(),
        value: Some(v1::r#override::Value::SpendCap(v1::SpendCapOverride {
            limit: "total".into(),
            cap_minor: Some(6),
            currency: currency.into(),
        })),
        ends_at: Some((start + Duration::from_secs(60)).into()),
        ..Default::default()
    };
    let refused = admin.put_override("acme", cap("EUR")).await.unwrap_err().to_string();
    assert!(refused.contains("no price for overage of this limit in \"EUR\""), "{refused}");
    let account = admin.put_override("acme", cap("USD")).await.unwrap();
    assert_eq!(account.overrides, [cap("USD")]);
    assert_eq!(capped(&client).await, Some(6));
    sidecar.stop().await;

    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    assert_eq!(capped(&client).await, Some(6));
    assert_eq!(consume(&client).await.denial, spent);
    admin.set_clock(start + Duration::from_secs(60)).await.unwrap();
    assert_eq!(capped(&client).await, Some(2));
    let account = admin.delete_override("acme", "slots", Some("total")).await.unwrap();
    assert_eq!(account.overrides, []);
}

#[tokio::test]
async fn shadow_mode_is_seen_in_the_answer_and_in_a_metric_and_refuses_nothing() {
    let home = Home::new(CATALOG);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let within = ask::consumed(&mut client, "acme", "trial", 10, "a").await;
    assert_eq!(within.shadow_denial(), v1::Denial::Unspecified);
    let above = ask::consumed(&mut client, "acme", "trial", 5, "b").await;
    assert!(above.allowed);
    assert_eq!(above.shadow_denial(), v1::Denial::QuotaExhausted);
    assert_eq!(above.binding.unwrap().used_units, 15);
    let metrics = sidecar.page("/metrics").body;
    let line = "headroom_shadow_denials_total{denial=\"quota_exhausted\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    drop(client);
    sidecar.stop().await;
}
