//! Features that get another name, over the wire and over kill -9: everything that was counted goes on.

use std::time::{Duration, SystemTime};

use headroom_sdk::{AdminClient, Client, ErrorReason, TimeUnit, UsageByTimeQuery, v1};

use crate::support::ask::subscription;
use crate::support::home::Home;
use crate::support::until_async;

/// The plan is called as a feature is, and a limit as one is going to be.
const OLD: &str = "\
features:
  calls: { name: Calls, kind: quota, limits: { requests: { window: { calendar: day } }, ever: { window: lifetime } },
           usage: { buckets: hour } }
  ai: { name: Credits, kind: credits, window: billing, rate_card: { images: { credits: 2 } } }
  images: { name: Images, kind: quota, limits: { monthly: { window: billing } } }
  people: { name: People, kind: seats }
  export: { name: Export, kind: switch }
plans:
  calls:
    name: Calls
    entitlements:
      calls: { requests: { included: 100 }, ever: { included: unlimited } }
      ai: { included: 100 }
      images: { paid_by: ai }
      people: { included: 3 }
      export: { unlock_after: { feature: calls, units: 40 } }
";

const LINES: &str = "\
migrations:
  - { rename_feature: calls, to: requests }
  - { rename_feature: ai, to: tokens }
  - { rename_feature: images, to: pictures }
  - { rename_feature: people, to: members }
  - { rename_feature: export, to: download }
";

/// The features of the old catalog under new names.
fn renamed() -> String {
    OLD.replace("  calls: { name: Calls, k", "  requests: { name: Calls, k")
        .replace("      calls: {", "      requests: {")
        .replace("feature: calls", "feature: requests")
        .replace("  ai: {", "  tokens: {")
        .replace("paid_by: ai", "paid_by: tokens")
        .replace("images: {", "pictures: {")
        .replace("people: {", "members: {")
        .replace("export: {", "download: {")
}

/// 2020-01-01T00:00:00Z, where a test clock begins.
const BEGIN: u64 = 1_577_836_800;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + seconds)
}

/// Used units of the windows of a feature, the oldest first.
async fn windows(client: &Client, feature: &str, limit: &str) -> Vec<u64> {
    let since = Some(SystemTime::UNIX_EPOCH);
    let page = client.get_usage("acme", Some(feature), since, None).await.unwrap();
    assert!(page.windows.iter().all(|window| window.feature == feature), "{:?}", page.windows);
    let mut found: Vec<_> = page.windows.into_iter().filter(|w| w.limit == limit).collect();
    found.sort_by_key(|window| window.window_start);
    found.into_iter().map(|window| window.used_units).collect()
}

async fn by_hour(client: &Client, feature: &str) -> Vec<i64> {
    let query = UsageByTimeQuery { by: TimeUnit::Hour, ..UsageByTimeQuery::default() };
    let page = client.get_usage_by_time("acme", feature, &query, None).await.unwrap();
    page.lines.into_iter().map(|line| line.units).collect()
}

/// What is used before the names change: a day that is over, a day that is open, a hold and a pool.
async fn use_it(client: &Client, admin: &AdminClient) -> String {
    admin.set_clock(at(HOUR)).await.unwrap();
    admin.put_subscription(subscription("acme", "calls")).await.unwrap();
    let limit = v1::LimitOverride {
        limit: "requests".into(),
        included_units: Some(90),
        ..Default::default()
    };
    let value = Some(v1::r#override::Value::Limit(limit));
    let one = v1::Override { feature: "calls".into(), value, ..Default::default() };
    admin.put_override("acme", one).await.unwrap();
    client.consume("acme", "calls", 30).idempotency_key("yesterday").await.unwrap();
    admin.set_clock(at(DAY + HOUR)).await.unwrap();
    client.consume("acme", "calls", 20).idempotency_key("today").await.unwrap();
    client.consume("acme", "images", 7).await.unwrap();
    let held =
        client.reserve("acme", "calls", 25).hold_for(Duration::from_secs(HOUR)).await.unwrap();
    held.reservation.unwrap().id.to_string()
}

/// All of it under the new names.
async fn goes_on(client: &Client, admin: &AdminClient, held: &str) {
    let again = client.consume("acme", "requests", 20).idempotency_key("today").await.unwrap();
    assert!(again.replayed, "the same key under the new name is the same write");
    // Who has not heard of it yet asks by the old name.
    assert!(client.consume("acme", "calls", 20).idempotency_key("today").await.unwrap().replayed);
    let full = client.consume("acme", "requests", 46).await.unwrap();
    assert!(!full.allowed, "20 are used, 25 held, of the 90 of an override");
    client.commit("acme", held, 10).idempotency_key("commit").await.unwrap();
    until_async("the history", async || {
        Some(windows(client, "requests", "requests").await).filter(|all| *all == [30, 30])
    })
    .await;
    assert_eq!(windows(client, "requests", "ever").await, [60]);
    assert_eq!(by_hour(client, "requests").await, [30, 30]);
    // What was counted under the old name is corrected under the new one, in its own day.
    let corrected = client.correct("acme", "requests", "yesterday").units(29).original_units(30);
    corrected.idempotency_key("correct").await.unwrap();
    let late = client.record("acme", "requests", 3).occurred_at(at(2 * HOUR));
    late.idempotency_key("late").await.unwrap();
    until_async("the history", async || {
        Some(windows(client, "requests", "requests").await).filter(|all| *all == [32, 30])
    })
    .await;
    let paid = client.consume("acme", "pictures", 1).idempotency_key("paid").await.unwrap();
    let charge = paid.charge.expect("what credits paid");
    assert_eq!(charge.pool, "tokens");
    let account = admin.get_account("acme").await.unwrap();
    assert_eq!(
        (account.plan.as_str(), account.overrides[0].feature.as_str()),
        ("calls", "requests")
    );
    let listed = client.list_entitlements("acme").await.unwrap();
    let names: Vec<&str> = listed.entitlements.iter().map(|one| one.feature.as_str()).collect();
    assert_eq!(names, ["requests", "tokens", "pictures", "members", "download"]);
    assert!(
        client.check("acme", "download").await.unwrap().allowed,
        "what was earned stays earned"
    );
}

#[tokio::test]
async fn a_renamed_feature_goes_on_over_reloads_and_kill_9() {
    let home = Home::with_settings(OLD, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    let held = use_it(&client, &admin).await;

    // Without the lines it is refused, and told which they are.
    home.write_catalog(&renamed());
    let refused = home.run(&["reload"]);
    assert_eq!(refused.code, Some(1));
    let line = "if it is called `requests` now, let the counts go on with the migration `rename_feature: \
                calls, to: requests`";
    assert!(refused.stderr.contains(line), "{}", refused.stderr);
    let new = renamed() + LINES;
    home.write_catalog(&new);
    let catalog = home.path("catalog.yaml").display().to_string();
    let checked = home.run(&["check", &catalog, "--against", &home.admin()]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(!checked.stdout.contains("not needed"), "{}", checked.stdout);
    assert!(admin.reload_catalog().await.unwrap().changed);
    sidecar.kill();

    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    goes_on(&client, &admin, &held).await;
    sidecar.stop().await;
    // The lines may stay, and once they are gone the old name is that of no feature.
    let mut sidecar = home.start();
    assert_eq!(home.run(&["reload"]).code, Some(0));
    let (client, admin) = home.clients().await;
    assert_eq!(windows(&client, "requests", "requests").await, [32, 30]);
    home.write_catalog(&renamed());
    admin.reload_catalog().await.unwrap();
    let unknown = client.consume("acme", "calls", 1).await.unwrap();
    assert_eq!(unknown.denial, Some(headroom_sdk::Denial::UnknownFeature));
    let nothing = client.get_usage("acme", Some("calls"), None, None).await.unwrap_err();
    assert_eq!(nothing.reason(), Some(ErrorReason::UnknownName));
    // And back.
    let back = "migrations:\n  - { rename_feature: requests, to: calls }\n  - { rename_feature: tokens, to: \
                ai }\n  - { rename_feature: pictures, to: images }\n  - { rename_feature: members, to: \
                people }\n  - { rename_feature: download, to: export }\n";
    home.write_catalog(&format!("{OLD}{back}"));
    sidecar.kill();
    let sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert_eq!(windows(&client, "calls", "requests").await, [32, 30]);
    drop(client);
    sidecar.stop().await;
}

/// Whatever of a reload was written when the process died, the file that is there says the rest.
#[tokio::test]
async fn a_kill_in_the_middle_of_a_reload_loses_no_name() {
    let home = Home::with_settings(OLD, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    let held = use_it(&client, &admin).await;
    drop((client, admin));
    let names = [(OLD.to_owned(), "calls"), (renamed(), "requests")];
    for round in 0..12_u64 {
        let (text, name) = &names[usize::try_from(round % 2).unwrap()];
        let (_, other) = &names[usize::try_from((round + 1) % 2).unwrap()];
        let pairs = [
            ("calls", "requests"),
            ("ai", "tokens"),
            ("images", "pictures"),
            ("people", "members"),
            ("export", "download"),
        ];
        let lines: Vec<String> = pairs
            .iter()
            .map(|(old, new)| if round % 2 == 0 { (new, old) } else { (old, new) })
            .map(|(from, to)| format!("  - {{ rename_feature: {from}, to: {to} }}\n"))
            .collect();
        home.write_catalog(&format!("{text}migrations:\n{}", lines.concat()));
        let (_, admin) = home.clients().await;
        let reload = tokio::spawn(async move { admin.reload_catalog().await.is_ok() });
        tokio::time::sleep(Duration::from_micros(300 * round)).await;
        sidecar.kill();
        drop(reload.await);
        sidecar = home.start();
        let (client, _) = home.clients().await;
        for name in [name, other] {
            let again = client.consume("acme", *name, 20).idempotency_key("today").await.unwrap();
            assert!(again.replayed, "round {round}, by {name}");
        }
        assert_eq!(windows(&client, name, "ever").await, [50], "round {round}");
    }
    home.write_catalog(&(renamed() + LINES));
    let (client, admin) = home.clients().await;
    admin.reload_catalog().await.unwrap();
    goes_on(&client, &admin, &held).await;
    drop((client, admin));
    sidecar.stop().await;
}
