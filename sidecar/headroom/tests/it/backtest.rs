//! Rules tried on the past, on the command line and over the wire.

use std::collections::BTreeSet;
use std::time::Duration;

use headroom_sdk::{AdminClient, v1};
use serde_json::Value;

use crate::support::ask::subscription;
use crate::support::home::Home;
use crate::support::until_async;

const DAY: Duration = Duration::from_secs(86_400);

const CATALOG: &str = "\
default_plan: free
features:
  calls: { name: Calls, kind: quota, unit: calls, limits: { monthly: { window: { calendar: month } } } }
plans:
  free:
    name: Free
    price: { amount_minor: 0, currency: USD, per: month }
    entitlements:
      calls: { monthly: { included: 10, soft_limits: [80%], policy: block } }
  team:
    name: Team
    price: { amount_minor: 4900, currency: USD, per: month }
    entitlements:
      calls: { monthly: { included: 100, soft_limits: [80%], policy: block } }
  business:
    name: Business
    price: { amount_minor: 9900, currency: USD, per: month }
    entitlements:
      calls: { monthly: { included: 1000, soft_limits: [80%], policy: block } }
expansion:
  rules:
    at_half: { class: usage, when: used_percent.calls >= 50, calm_days: 3 }
sinks:
  - { sink: all, kind: ndjson, path: all.ndjson }
";

/// What is asked of the rules that are not in force.
const OTHERS: &str = "\
expansion:
  rules:
    happy: { class: commercial, when: facts.nps >= 9 }
    promoted: { class: commercial, when: facts.champion == 'Jane' }
    quoted: { class: commercial, when: facts.quote_open }
";

async fn put(admin: &AdminClient, account: &str, name: &str, value: prost_types::value::Kind) {
    let value = prost_types::Value { kind: Some(value) };
    let facts = prost_types::Struct { fields: [(name.to_owned(), value)].into() };
    admin.put_facts(account, facts).await.unwrap();
}

fn number(number: f64) -> prost_types::value::Kind {
    prost_types::value::Kind::NumberValue(number)
}

fn trigger<'a>(report: &'a Value, signal: &str) -> &'a Value {
    let all = report["triggers"].as_array().unwrap();
    all.iter().find(|one| one["signal"] == signal).unwrap_or_else(|| panic!("{signal}: {report:#}"))
}

fn backtest(home: &Home, args: &[&str]) -> Value {
    let ended = home.run(&[&["backtest"], args, &["--format", "json"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// How often a signal was told to be an alarm. A kill may have it written twice, under the same id.
fn alarms(home: &Home, signal: &str) -> usize {
    let text = std::fs::read_to_string(home.data().join("all.ndjson")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kind = format!("headroom.signal.{signal}");
    let is_alarm =
        |line: &Value| line["type"] == kind && line["data"]["current"]["state"] == "alarm";
    let ids = lines.filter(is_alarm).map(|line| line["data"]["id"].to_string());
    ids.collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn rules_are_tried_on_what_was_known_then() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let others = home.path("others.yaml");
    std::fs::write(&others, OTHERS).unwrap();
    let others = others.to_str().unwrap();
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    for account in ["a", "b", "c", "d"] {
        admin.put_subscription(subscription(account, "team")).await.unwrap();
    }
    until_async("what was kept is read", async || admin.get_readiness("a").await.ok()).await;
    let none = home.run(&["backtest"]);
    assert!(none.stdout.contains("less than a quarter"), "{none:?}");

    for day in 1..=100u32 {
        admin.advance_clock(DAY).await.unwrap();
        match day {
            // From here on the calendar's months fill: 60 % in one, 90 % in another.
            10 => drop(client.consume("a", "calls", 60).await.unwrap()),
            40 => drop(client.consume("a", "calls", 90).await.unwrap()),
            41 => put(&admin, "b", "nps", number(9.0)).await,
            // Put when it is too late to foretell anything.
            70 => {
                admin.put_subscription(subscription("c", "business")).await.unwrap();
                put(&admin, "c", "nps", number(10.0)).await;
            }
            50 => drop(admin.put_subscription(subscription("a", "business")).await.unwrap()),
            55 => drop(admin.put_subscription(subscription("b", "business")).await.unwrap()),
            _ => {}
        }
        if day == 45 {
            // The history goes on over a restart.
            sidecar.kill();
            sidecar = home.start();
            let (_, admin) = home.clients().await;
            until_async("it is read", async || admin.get_readiness("a").await.ok()).await;
        }
    }

    let report = backtest(&home, &[]);
    assert_eq!((&report["quarters"], &report["eligible"]), (&1.into(), &4.into()), "{report:#}");
    // What came of the rule in force is what comes of it when it is tried.
    let half = trigger(&report, "at_half");
    assert_eq!(half["firings"], alarms(&home, "at_half"), "{half:#}");
    assert_eq!((&half["firings"], &half["source"]), (&2.into(), &"rule".into()));
    // By its first coming, on day 10: the upgrade of day 50 came too late for that.
    assert_eq!((&half["precision"]["count"], &half["precision"]["total"]), (&0.into(), &1.into()));
    assert_eq!(half["share"]["seen_bp"], 2_500);
    assert_eq!((&half["verdict"], &half["upgrades_seen"]["count"]), (&"loud".into(), &1.into()));
    let ceiling = trigger(&report, "usage_ceiling");
    assert_eq!((&ceiling["source"], &ceiling["firings"]), (&"raised".into(), &1.into()));
    assert_eq!(
        (&ceiling["precision"]["count"], &ceiling["lead_median_days"]),
        (&1.into(), &10.into())
    );

    let report = backtest(&home, &[others, "--within", "20d"]);
    let happy = trigger(&report, "happy");
    assert_eq!((&happy["firings"], &happy["upgrades_seen"]["total"]), (&2.into(), &3.into()));
    assert_eq!(
        (&happy["precision"]["count"], &happy["precision"]["total"]),
        (&1.into(), &2.into())
    );
    assert_eq!(trigger(&report, "quoted")["facts_never_known"], serde_json::json!(["quote_open"]));
    // The rules of the catalog in force are not among them, but what they told is.
    assert_eq!(trigger(&report, "at_half")["source"], "raised");

    let table = home.run(&["backtest", others]);
    assert!(table.stdout.starts_with("TRIGGER"), "{}", table.stdout);
    assert!(table.stdout.contains("quoted: no account ever had quote_open"), "{}", table.stdout);
    let csv = home.run(&["backtest", others, "--format", "csv"]).stdout;
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(columns.len() > 3 && columns.iter().all(|count| *count == columns[0]), "{csv}");
    sidecar.stop().await;
}

#[tokio::test]
async fn bad_rules_are_told_with_their_lines() {
    let home = Home::new(CATALOG);
    let sidecar = home.start();
    let (_, admin) = home.clients().await;
    until_async("it is read", async || {
        admin.backtest(v1::BacktestRequest::default(), |_| ()).await.ok()
    })
    .await;
    let rules = "expansion:\n  rules:\n    r: { class: usage, when: used_percent.cals > 1 }\n    \
                 s: { class: usages, when: seats > 1 }\nfeature: {}\n";
    let file = home.path("bad.yaml");
    std::fs::write(&file, rules).unwrap();
    let ended = home.run(&["backtest", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for said in ["bad.yaml:3:", "did you mean `calls`?", "bad.yaml:4:", "bad.yaml:5:"] {
        assert!(ended.stderr.contains(said), "{said} is not in {}", ended.stderr);
    }
    let empty = home.path("empty.yaml");
    std::fs::write(&empty, "\n").unwrap();
    assert_eq!(home.run(&["backtest", empty.to_str().unwrap()]).code, Some(1));
    let span = |days: i64| Some(prost_types::Duration { seconds: days * 86_400, nanos: 0 });
    for (since, within, said) in [(0, 30, "since"), (90, 91, "within"), (90, 0, "within")] {
        let (since, within) = (span(since), span(within));
        let request = v1::BacktestRequest { since, within, ..Default::default() };
        let error = admin.backtest(request, |_| ()).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    drop(admin);
    sidecar.stop().await;
}
