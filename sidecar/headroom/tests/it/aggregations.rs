//! What a quota makes of units other than adding them up, over the wire and over kill -9.

use std::time::{Duration, SystemTime};

use headroom_sdk::{
    AdminClient, Aggregation, Client, Denial, ErrorReason, LimitState, UsageWindow, Verdict,
};

use crate::support::home::Home;

const CATALOG: &str = "\
default_plan: pro
features:
  logins: { name: Logins, kind: quota, aggregation: count, limits: { daily: { window: { calendar: day } } } }
  database: { name: Database, kind: quota, aggregation: max, limits: { monthly: { window: billing } } }
  disk: { name: Disk, kind: quota, aggregation: latest, limits: { daily: { window: { calendar: day } } } }
  devices: { name: Devices, kind: quota, aggregation: unique, unique_by: device,
             limits: { monthly: { window: billing } } }
  visitors: { name: Visitors, kind: quota, aggregation: unique, unique_by: visitor,
              limits: { monthly: { window: billing } } }
plans:
  pro:
    name: Pro
    entitlements:
      logins: { daily: { included: 2 } }
      database: { monthly: { included: 100, soft_limits: [80%] } }
      disk: { daily: { included: 100 } }
      devices: { monthly: { included: 3 } }
      visitors: { monthly: { included: 5_000 } }
";

/// 2020-01-01T00:00:00Z, where a test clock begins.
const BEGIN: u64 = 1_577_836_800;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + seconds)
}

async fn clock(admin: &AdminClient, seconds: u64) {
    admin.set_clock(at(seconds)).await.unwrap();
}

/// The verdict of a consume, and what its limit holds then.
async fn consume(client: &Client, feature: &str, units: u64) -> (Verdict, u64) {
    let answer = client.consume("acme", feature, units).await.unwrap();
    (answer.verdict, answer.binding.unwrap().used_units)
}

/// The verdict of a consume of a device, and how many there are then.
async fn device(client: &Client, device: &str, key: &str) -> (Verdict, u64) {
    let call = client.consume("acme", "devices", 1).dimension("device", device);
    let answer = call.idempotency_key(key).await.unwrap();
    (answer.verdict, answer.binding.unwrap().used_units)
}

async fn window(client: &Client, feature: &str) -> UsageWindow {
    let page = client.get_usage("acme", Some(feature), None, None).await.unwrap();
    page.windows.into_iter().next().unwrap()
}

#[tokio::test]
async fn counts_and_largest_values_are_what_they_are_over_kill_9() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert_eq!(consume(&client, "logins", 50).await, (Verdict::Allowed, 1));
    assert_eq!(consume(&client, "logins", 1).await, (Verdict::Allowed, 2));
    assert_eq!(consume(&client, "logins", 1).await, (Verdict::Denied, 2));
    assert_eq!(consume(&client, "database", 85).await, (Verdict::AllowedSoftLimit, 85));
    assert_eq!(consume(&client, "database", 40).await, (Verdict::AllowedSoftLimit, 85));
    let answer = client.consume("acme", "database", 101).await.unwrap();
    assert_eq!((answer.denial, answer.retry_after), (Some(Denial::QuotaExhausted), None));
    sidecar.kill();
    let _sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert_eq!(consume(&client, "logins", 1).await, (Verdict::Denied, 2));
    let recorded = client.record("acme", "database", 130).idempotency_key("r").await.unwrap();
    assert_eq!(recorded.debt_units, 30);
    assert_eq!(window(&client, "database").await.used_units, 130);
    for feature in ["logins", "database", "disk", "devices"] {
        let refused = client.reserve("acme", feature, 1).await.unwrap_err();
        assert_eq!(refused.reason(), Some(ErrorReason::WrongFeatureKind), "{refused}");
        assert!(refused.to_string().contains("consume or record it"), "{refused}");
    }
    let refused = client.correct("acme", "database", "r").units(1).await.unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::WrongFeatureKind), "{refused}");
}

#[tokio::test]
async fn the_latest_value_counts_by_its_own_time_over_kill_9() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    clock(&admin, 10 * HOUR).await;
    assert_eq!(consume(&client, "disk", 90).await, (Verdict::Allowed, 90));
    sidecar.kill();
    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    let late = |units, hour| client.record("acme", "disk", units).occurred_at(at(hour * HOUR));
    late(20, 9).await.unwrap();
    assert_eq!(window(&client, "disk").await.used_units, 90, "older than what counts");
    clock(&admin, 12 * HOUR).await;
    assert_eq!(late(110, 11).await.unwrap().debt_units, 10);
    assert_eq!(consume(&client, "disk", 0).await, (Verdict::Allowed, 0), "nothing is a value, too");
    let window = window(&client, "disk").await;
    assert_eq!((window.used_units, window.debt_units), (0, 0));
    clock(&admin, DAY + HOUR).await;
    assert_eq!(consume(&client, "disk", 5).await, (Verdict::Allowed, 5));
    let over = late(7, 23).await.unwrap_err();
    assert_eq!(over.reason(), Some(ErrorReason::EventTooOld), "{over}");
    let none = client.consume("acme", "database", 0).await.unwrap_err();
    assert_eq!(none.reason(), Some(ErrorReason::InvalidField), "{none}");
}

#[tokio::test]
async fn different_values_count_once_each_over_kill_9() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    for (name, key, count) in [("a", "1", 1), ("b", "2", 2), ("a", "3", 2), ("c", "4", 3)] {
        assert_eq!(device(&client, name, key).await, (Verdict::Allowed, count));
    }
    sidecar.kill();
    let _sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert_eq!(device(&client, "d", "5").await, (Verdict::Denied, 3));
    assert_eq!(device(&client, "b", "6").await, (Verdict::Allowed, 3), "it is known");
    let look = |name: &'static str| client.check("acme", "devices").dimension("device", name);
    assert!(look("c").await.unwrap().allowed);
    assert_eq!(look("e").await.unwrap().denial, Some(Denial::QuotaExhausted));
    assert!(!client.check("acme", "devices").await.unwrap().allowed, "there is room for none");
    let again = client.consume("acme", "devices", 1).dimension("device", "a").idempotency_key("1");
    assert!(again.await.unwrap().replayed);
    let other = client.consume("acme", "devices", 1).dimension("device", "b").idempotency_key("1");
    assert_eq!(other.await.unwrap_err().reason(), Some(ErrorReason::IdempotencyKeyReused));
    let unsaid = client.consume("acme", "devices", 1).await.unwrap_err();
    assert_eq!(unsaid.reason(), Some(ErrorReason::InvalidField));
    assert!(unsaid.to_string().contains("unique_by"), "{unsaid}");
    let wrong = client.consume("acme", "devices", 1).dimension("phone", "a").await.unwrap_err();
    assert!(wrong.to_string().contains("feature devices has device"), "{wrong}");
    let page = client.list_entitlements("acme").await.unwrap();
    let listed = page.entitlements.iter().find(|one| one.feature == "devices").unwrap();
    let told = (listed.aggregation, listed.unique_by.as_deref());
    assert_eq!(told, (Some(Aggregation::Unique), Some("device")));
}

#[tokio::test]
async fn many_different_values_are_counted_approximately_and_say_so() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let comes = |number: u32| {
        let call = client.consume("acme", "visitors", 1).dimension("visitor", number.to_string());
        call.idempotency_key(number.to_string())
    };
    let mut last: Option<LimitState> = None;
    for number in 1..=2_000_u32 {
        let limit = comes(number).await.unwrap().binding.unwrap();
        assert_eq!(limit.approximate, number > 1_024, "{number}: {limit:?}");
        if number <= 1_024 {
            assert_eq!(limit.used_units, u64::from(number));
        }
        last = Some(limit);
    }
    let counted = last.unwrap().used_units;
    assert!((1_940..=2_060).contains(&counted), "{counted} of 2,000");
    sidecar.kill();
    let _sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let window = window(&client, "visitors").await;
    assert_eq!((window.used_units, window.approximate), (counted, true));
    let known = client.consume("acme", "visitors", 1).dimension("visitor", "1999").await.unwrap();
    assert_eq!(known.binding.unwrap().used_units, counted, "it is known");
}
