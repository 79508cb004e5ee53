//! The answers to late events and corrections say which windows they restated, over the wire and by hand.

use std::time::{Duration, SystemTime};

use headroom_sdk::{AdminClient, Client, RestatedWindow};

use crate::support::home::Home;

const TOKENS: &str = "\
default_plan: pro
features:
  tokens: { name: Tokens, kind: quota, unit: tokens, limits: {
    hourly: { window: { calendar: hour } }, monthly: { window: { calendar: month } },
    ever: { window: lifetime },
    daily: { per: user, window: { calendar: day } } } }
  devices: { name: Devices, kind: quota, unit: devices, aggregation: unique, unique_by: device,
    limits: { monthly: { window: { calendar: month } } } }
plans:
  pro:
    name: Pro
    entitlements:
      tokens:
        hourly: { included: 1_000 }
        monthly: { included: 100, policy: { overage: { unit_price_minor: 2, currency: USD } } }
        ever: { included: 1_000_000 }
        daily: { included: 50 }
      devices: { monthly: { included: 10 } }
";

/// 2020-01-01T00:00:00Z, where a test clock begins.
const BEGIN: u64 = 1_577_836_800;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + seconds)
}

/// A window as it is expected: of which limit, for whom, from and until which second, what counted there and
/// counts, and whether it was over.
type Expected<'a> = (&'a str, Option<&'a str>, Option<(u64, u64)>, (u64, u64), bool);

#[track_caller]
fn check(windows: &[RestatedWindow], expected: &[Expected<'_>]) {
    let told: Vec<Expected<'_>> = windows
        .iter()
        .map(|w| {
            let seconds = |at: SystemTime| {
                at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - BEGIN
            };
            // A lifetime has no end, and begins when the account does.
            let span = w.window_end.map(|end| (seconds(w.window_start.unwrap()), seconds(end)));
            let units = (w.units_before, w.units);
            (w.limit.as_str(), w.subject.as_deref(), span, units, w.after_close)
        })
        .collect();
    assert_eq!(told, expected);
}

async fn late(client: &Client, units: u64, seconds: u64, key: &str) -> Vec<RestatedWindow> {
    let call = client.record("acme", "tokens", units).occurred_at(at(seconds));
    call.subject("team:a/user:u1").idempotency_key(key).await.unwrap().restated_windows
}

async fn clock(admin: &AdminClient, seconds: u64) {
    admin.set_clock(at(seconds)).await.unwrap();
}

#[tokio::test]
async fn a_late_event_and_a_correction_say_which_windows_they_restated_over_kill_9() {
    let home = Home::with_settings(TOKENS, "clock: test\nidempotency: { horizon: 1h }\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    clock(&admin, 10).await;
    // What is recorded as it comes restates nothing.
    let plain = client.record("acme", "tokens", 5).idempotency_key("plain").await.unwrap();
    assert_eq!(plain.restated_windows, []);

    // Two hours later the hour has left the memory; month and day are there.
    clock(&admin, 2 * HOUR + 10).await;
    client.consume("acme", "tokens", 1).await.unwrap();
    let user = Some("team:a/user:u1");
    let month = Some((0, 31 * DAY));
    let first = [
        ("hourly", None, Some((0, HOUR)), (0, 7), true),
        ("monthly", None, month, (0, 7), false),
        ("ever", None, None, (0, 7), false),
        ("daily", user, Some((0, DAY)), (0, 7), false),
    ];
    check(&late(&client, 7, 20, "late").await, &first);
    let corrected = client.correct("acme", "tokens", "late").subject("team:a/user:u1").units(4);
    let corrected = corrected.idempotency_key("fix-1");
    let fixed = [
        ("hourly", None, Some((0, HOUR)), (7, 4), true),
        ("monthly", None, month, (7, 4), false),
        ("ever", None, None, (7, 4), false),
        ("daily", user, Some((0, DAY)), (7, 4), false),
    ];
    check(&corrected.clone().await.unwrap().restated_windows, &fixed);
    // Of what was counted as it came, too.
    client.record("acme", "tokens", 5).idempotency_key("now").await.unwrap();
    let withdrawn = client.correct("acme", "tokens", "now").original_units(5).await.unwrap();
    let here = [
        ("hourly", None, Some((2 * HOUR, 3 * HOUR)), (5, 0), false),
        ("monthly", None, month, (5, 0), false),
        ("ever", None, None, (5, 0), false),
    ];
    check(&withdrawn.restated_windows, &here);

    // Days later month and day are over. A retry is told what its first was, after a crash and much later.
    drop((client, corrected, admin));
    sidecar.kill();
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    clock(&admin, 32 * DAY).await;
    client.consume("acme", "tokens", 1).await.unwrap();
    check(&late(&client, 7, 20, "late").await, &first);
    let again = client.correct("acme", "tokens", "late").subject("team:a/user:u1").units(4);
    let again = again.idempotency_key("fix-1").await.unwrap();
    assert!(again.decision.replayed);
    check(&again.restated_windows, &fixed);
    let closed = [
        ("hourly", None, Some((30 * DAY, 30 * DAY + HOUR)), (0, 9), true),
        ("monthly", None, month, (0, 9), true),
        ("ever", None, None, (0, 9), false),
        // Nobody had used anything on that day, so its window begins now, and closes with these units.
        ("daily", user, Some((30 * DAY, 31 * DAY)), (0, 9), false),
    ];
    check(&late(&client, 9, 30 * DAY + 1, "very-late").await, &closed);
    drop((client, admin));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_value_that_is_known_restates_nothing_and_that_is_said() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    clock(&admin, 10).await;
    client.consume("acme", "devices", 1).dimension("device", "d0").await.unwrap();
    clock(&admin, 32 * DAY).await;
    client.consume("acme", "devices", 1).dimension("device", "d0").await.unwrap();
    let tell = async |key: &str| {
        let call = client.record("acme", "devices", 1).dimension("device", "d1");
        let call = call.occurred_at(at(DAY)).idempotency_key(key);
        call.await.unwrap().restated_windows
    };
    let month = Some((0, 31 * DAY));
    check(&tell("one").await, &[("monthly", None, month, (0, 1), true)]);
    check(&tell("two").await, &[("monthly", None, month, (0, 0), true)]);
    drop((client, admin));
    sidecar.stop().await;
}

#[tokio::test]
async fn whoever_asks_by_hand_sees_the_windows() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    clock(&admin, 10).await;
    client.consume("acme", "tokens", 1).await.unwrap();
    clock(&admin, 32 * DAY).await;
    client.consume("acme", "tokens", 1).await.unwrap();
    let endpoint = home.endpoint();
    let ask = |args: &[&str]| {
        let args = [&["ask", "--endpoint", &endpoint], args].concat();
        let ended = home.run(&args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    let when = "2020-01-31T10:00:00Z";
    let record = ["record", "acme", "tokens", "8", "--occurred-at", when, "--key", "job-7"];
    let said = ask(&record);
    let line = |said: &str, limit: &str| {
        let lines: Vec<&str> = said.lines().skip_while(|l| !l.starts_with("LIMIT")).collect();
        let words = |line: &&&str| line.split_whitespace().next() == Some(limit);
        let line = lines.iter().find(words).unwrap_or_else(|| panic!("{limit} in {said}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let is =
        "monthly the account 2020-01-01T00:00:00Z 2020-02-01T00:00:00Z 0 8 changed after the close";
    assert_eq!(line(&said, "monthly"), is);
    assert!(line(&said, "ever").ends_with("ever 0 8 changed"), "{said}");
    let correct = ["correct", "acme", "tokens", "job-7", "--units", "6", "--key", "fix", "--json"];
    let json: serde_json::Value = serde_json::from_str(&ask(&correct)).unwrap();
    let windows = json["restated_windows"].as_array().unwrap();
    let monthly = windows.iter().find(|window| window["limit"] == "monthly").unwrap();
    let expected = serde_json::json!({
        "limit": "monthly",
        "subject": null,
        "window_start": "2020-01-01T00:00:00Z",
        "window_end": "2020-02-01T00:00:00Z",
        "units_before": 8,
        "units": 6,
        "after_close": true,
    });
    assert_eq!(*monthly, expected);
    let plain: serde_json::Value =
        serde_json::from_str(&ask(&["record", "acme", "tokens", "8", "--json"])).unwrap();
    assert_eq!(plain["restated_windows"], serde_json::json!([]));
    drop((client, admin));
    sidecar.stop().await;
}
