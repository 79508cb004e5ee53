//! Usage by time and dimension, over the wire and over kill -9.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use headroom_sdk::{AdminClient, Client, ErrorReason, TimeUnit, UsageByTime, UsageByTimeQuery};

use crate::support::home::Home;

const CATALOG: &str = "\
default_plan: pro
features:
  tokens: { name: Tokens, kind: quota, limits: { daily: { window: { calendar: day } } },
            usage: { buckets: hour, dimensions: [model, region] } }
  calls: { name: Calls, kind: quota, limits: { monthly: { window: billing } }, usage: { buckets: day } }
  plain: { name: Plain, kind: quota, limits: { monthly: { window: billing } } }
plans:
  pro:
    name: Pro
    entitlements:
      tokens: { daily: { included: 1_000 } }
      calls: { monthly: { included: 1_000 } }
      plain: { monthly: { included: 1_000 } }
";

/// 2020-01-01T00:00:00Z, where a test clock begins.
const BEGIN: u64 = 1_577_836_800;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + seconds)
}

/// Lines as hours since the beginning, dimensions and units.
type Lines = Vec<(u64, Vec<String>, i64)>;

async fn lines(client: &Client, feature: &str, query: &UsageByTimeQuery) -> Lines {
    let (mut lines, mut token): (Vec<UsageByTime>, Option<String>) = (Vec::new(), None);
    loop {
        let page = client.get_usage_by_time("acme", feature, query, token.as_deref());
        let page = page.await.unwrap();
        lines.extend(page.lines);
        token = page.next_page_token;
        if token.is_none() {
            break;
        }
    }
    let told = |line: UsageByTime| {
        let hour = line.start.unwrap().duration_since(at(0)).unwrap().as_secs() / HOUR;
        let values = line.dimensions.into_iter().map(|d| d.value.unwrap_or_default());
        (hour, values.collect(), line.units)
    };
    lines.into_iter().map(told).collect()
}

fn by(by: TimeUnit, group_by: &[&str]) -> UsageByTimeQuery {
    let group_by = group_by.iter().map(|name| (*name).to_owned()).collect();
    UsageByTimeQuery { by, group_by, ..UsageByTimeQuery::default() }
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

async fn clock(admin: &AdminClient, seconds: u64) {
    admin.set_clock(at(seconds)).await.unwrap();
}

#[tokio::test]
async fn usage_is_told_apart_by_hour_and_dimension_over_restarts() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    clock(&admin, 10).await;
    let small = |units| client.consume("acme", "tokens", units).dimension("model", "small");
    small(3).dimension("region", "eu").idempotency_key("a").await.unwrap();
    small(4).dimension("region", "us").await.unwrap();
    // A retry has the same dimensions; with others it is another write.
    let again = small(3).dimension("region", "eu").idempotency_key("a").await.unwrap();
    assert!(again.replayed);
    let other = small(3).dimension("region", "us").idempotency_key("a").await;
    assert_eq!(other.unwrap_err().reason(), Some(ErrorReason::IdempotencyKeyReused));
    client.consume("acme", "tokens", 1).await.unwrap();
    small(50).synthetic().await.unwrap();
    let held =
        client.reserve("acme", "tokens", 9).hold_for(Duration::from_secs(DAY)).await.unwrap();
    let held = held.reservation.unwrap().id;
    clock(&admin, 2 * HOUR).await;
    client.commit("acme", held, 8).dimension("model", "large").await.unwrap();
    // What happened earlier counts there, and is corrected there.
    let late = client.record("acme", "tokens", 6).dimension("model", "small");
    late.occurred_at(at(HOUR + 1)).idempotency_key("late").await.unwrap();
    client.correct("acme", "tokens", "late").units(5).await.unwrap();
    let plain = client.correct("acme", "tokens", "a").units(2).original_units(3);
    let wrong = plain.await.unwrap_err();
    assert_eq!(wrong.reason(), Some(ErrorReason::InvalidField), "its dimensions must be said");
    let plain = client.correct("acme", "tokens", "a").units(2).original_units(3);
    plain.dimension("model", "small").dimension("region", "eu").await.unwrap();

    let expected: Lines = vec![
        (0, texts(&[""]), 1),
        (0, texts(&["small"]), 6),
        (1, texts(&["small"]), 5),
        (2, texts(&["large"]), 8),
    ];
    let by_model = by(TimeUnit::Hour, &["model"]);
    assert_eq!(lines(&client, "tokens", &by_model).await, expected);
    drop((client, admin));
    sidecar.kill();
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    assert_eq!(lines(&client, "tokens", &by_model).await, expected);
    assert_eq!(lines(&client, "tokens", &by(TimeUnit::Day, &[])).await, [(0, vec![], 20)]);
    let regions: BTreeMap<String, i64> =
        lines(&client, "tokens", &by(TimeUnit::Month, &["region"]))
            .await
            .into_iter()
            .map(|(_, mut values, units)| (values.remove(0), units))
            .collect();
    let expected = [("", 14), ("eu", 2), ("us", 4)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(regions, expected.into());
    // A span is asked for by its start.
    let hour = UsageByTimeQuery { from: Some(at(HOUR)), to: Some(at(2 * HOUR)), ..by_model };
    assert_eq!(lines(&client, "tokens", &hour).await, [(1, texts(&["small"]), 5)]);

    // The day is over, and everything has left the memory.
    clock(&admin, 2 * DAY).await;
    client.consume("acme", "tokens", 1).await.unwrap();
    client.consume("acme", "calls", 7).await.unwrap();
    let days: Lines = vec![(0, vec![], 20), (48, vec![], 1)];
    assert_eq!(lines(&client, "tokens", &by(TimeUnit::Day, &[])).await, days);
    drop((client, admin));
    sidecar.kill();
    let _sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert_eq!(lines(&client, "tokens", &by(TimeUnit::Day, &[])).await, days);
    assert_eq!(lines(&client, "calls", &by(TimeUnit::Unspecified, &[])).await, [(48, vec![], 7)]);
}

#[tokio::test]
async fn what_cannot_be_told_apart_is_refused_with_the_reason() {
    let home = Home::new(CATALOG);
    let _sidecar = home.start();
    let (client, _admin) = home.clients().await;
    client.consume("acme", "plain", 1).await.unwrap();
    let message = async |feature: &str, query: UsageByTimeQuery| {
        let page = client.get_usage_by_time("acme", feature, &query, None).await;
        page.unwrap_err().to_string()
    };
    let plain = message("plain", by(TimeUnit::Day, &[])).await;
    assert!(plain.contains("keeps no usage by time"), "{plain}");
    let hours = message("calls", by(TimeUnit::Hour, &[])).await;
    assert!(hours.contains("keeps the feature's usage by day"), "{hours}");
    let names = message("tokens", by(TimeUnit::Hour, &["colour"])).await;
    assert!(names.contains("there are model, region"), "{names}");
    for (feature, name, value, expected) in [
        ("plain", "model", "a", "feature plain has none in the catalog"),
        ("tokens", "colour", "red", "feature tokens has model, region"),
        ("tokens", "model", "", "0 bytes long"),
        ("tokens", "model", &*"x".repeat(65), "65 bytes long"),
        ("tokens", "model", "a\nb", "control character"),
    ] {
        let call = client.consume("acme", feature, 1).dimension(name, value);
        let error = call.await.unwrap_err();
        assert_eq!(error.reason(), Some(ErrorReason::InvalidField), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
