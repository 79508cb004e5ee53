//! Readiness, scores and routes over the wire, on the command line and in deliveries.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use headroom_sdk::v1;
use prost_types::value::Kind;
use serde_json::Value;

use crate::support::ask::subscription;
use crate::support::home::Home;
use crate::support::until;

const CATALOG: &str = "\
default_plan: free
features:
  calls: { name: Calls, kind: quota, unit: calls, limits: { monthly: { window: { calendar: month } } } }
  seats: { name: Seats, kind: seats }
plans:
  free:
    name: Free
    price: { amount_minor: 0, currency: USD, per: month }
    entitlements:
      calls: { monthly: { included: 10, soft_limits: [80%], policy: block } }
      seats: { included: 5 }
  team:
    name: Team
    price: { amount_minor: 4900, currency: USD, per: month }
    entitlements:
      calls: { monthly: { included: 20, soft_limits: [80%], policy: block } }
      seats: { included: 5 }
sinks:
  - { sink: all, kind: ndjson, path: all.ndjson }
  - { sink: sales, kind: ndjson, path: sales.ndjson, gate: [passed], classes: [usage] }
";

fn fact(value: impl Into<Value>) -> prost_types::Value {
    let kind = match value.into() {
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text),
        other => panic!("{other} is no fact of this test"),
    };
    prost_types::Value { kind: Some(kind) }
}

async fn put(admin: &headroom_sdk::AdminClient, account: &str, facts: &[(&str, Value)]) {
    let fields = facts.iter().map(|(name, value)| ((*name).to_owned(), fact(value.clone())));
    let facts = prost_types::Struct { fields: fields.collect() };
    admin.put_facts(account, facts).await.unwrap();
}

/// The lines of a sink's file. A kill may have some written twice, under the same id.
fn lines(home: &Home, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(home.data().join(file)).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let read = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    read.filter(|line| seen.insert(line["data"]["id"].to_string())).collect()
}

#[tokio::test]
async fn a_signal_carries_gate_scores_and_route_and_sales_hears_of_who_is_ready() {
    let home = Home::new(CATALOG);
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    for account in ["ready", "large"] {
        admin.put_subscription(subscription(account, "free")).await.unwrap();
    }
    put(&admin, "ready", &[("health_score", 80.into()), ("nps", 9.into())]).await;
    put(&admin, "large", &[("segment", "enterprise".into()), ("open_escalation", true.into())])
        .await;
    for account in ["ready", "large"] {
        client.consume(account, "calls", 9).await.unwrap();
    }
    let all = until("both are told", || Some(lines(&home, "all.ndjson")).filter(|l| l.len() == 2));
    let of = |account: &str| {
        let found = all.iter().find(|line| line["data"]["account"] == account);
        found.unwrap()["data"].clone()
    };
    let ready = of("ready");
    assert_eq!((&ready["class"], &ready["gate"]["state"]), (&"usage".into(), &"passed".into()));
    assert_eq!(ready["gate"]["segment_assumed"], true);
    assert_eq!(ready["route"]["owner"], "pooled_cs");
    let pql = &ready["scores"]["pql"];
    // 90 % of 20 points for the limit, and 30 of 50 of 15 for its health.
    assert_eq!(pql["parts_tenths"]["entitlement_used_percent"], 180);
    assert_eq!(pql["parts_tenths"]["health_score"], 90);
    assert_eq!((&pql["points_tenths"], &pql["band"]), (&270.into(), &"not_ready".into()));
    let large = of("large");
    assert_eq!(large["gate"]["state"], "held");
    assert_eq!(large["gate"]["risks"], serde_json::json!(["open_escalation"]));
    assert_eq!(large["route"]["play"], "health_first");
    let sales = until("sales hears of one", || {
        Some(lines(&home, "sales.ndjson")).filter(|lines| !lines.is_empty())
    });
    assert_eq!((sales.len(), &sales[0]["data"]["account"]), (1, &"ready".into()));
    sidecar.kill();

    // What was said stays in the history, and the way the account stands is as of now.
    let sidecar = home.start();
    let (_, admin) = home.clients().await;
    // The history is of rows, which may come a moment after the memory.
    let answer = crate::support::until_async("the history is read", async || {
        let answer = admin.get_readiness("ready").await.ok()?;
        (!answer.history.is_empty()).then_some(answer)
    })
    .await;
    let of = answer.readiness.unwrap();
    assert_eq!(of.gate(), v1::GateState::Passed);
    assert_eq!(of.pql.unwrap().points_tenths, 270);
    assert_eq!(answer.history.last().unwrap().points_tenths, 270);
    assert_eq!(of.live_signals[0].signal, "usage_ceiling");
    sidecar.stop().await;
}

/// How an account stands, once what was kept is read.
async fn until_read(admin: &headroom_sdk::AdminClient, account: &str) -> v1::GetReadinessResponse {
    crate::support::until_async("what was kept is read", async || {
        admin.get_readiness(account).await.ok()
    })
    .await
}

#[tokio::test]
async fn accounts_are_ranked_and_the_gate_is_reported() {
    let home = Home::new(CATALOG);
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    for (account, health) in [("low", 60), ("top", 100), ("mid", 80)] {
        admin.put_subscription(subscription(account, "free")).await.unwrap();
        put(&admin, account, &[("health_score", health.into())]).await;
    }
    until_read(&admin, "top").await;
    client.consume("mid", "calls", 9).await.unwrap();

    let table = home.run(&["account", "list", "--sort", "pql", "--max", "2"]);
    let names: Vec<&str> =
        table.stdout.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names[..3], ["ACCOUNT", "mid", "top"], "{}", table.stdout);
    let page = admin
        .list_accounts_by(v1::ListAccountsRequest {
            page_size: 2,
            page_token: "2".to_owned(),
            order: v1::AccountOrder::Pql.into(),
            include_readiness: false,
        })
        .await
        .unwrap();
    assert_eq!((page.accounts.len(), page.accounts[0].account.as_str()), (1, "low"));
    // A signal counts when it was appraised, a moment after the use.
    let signals = until("the signal is live", || {
        let list = home.run(&["account", "list", "--sort", "signals", "--format", "csv"]);
        list.stdout.lines().nth(1)?.starts_with("mid,").then_some(list.stdout)
    });
    let cells: Vec<Vec<&str>> = signals.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(cells[0][..4], ["account", "plan", "segment", "gate"]);
    assert_eq!(cells.len(), 4, "{signals}");

    // One is held by its health: two of three pass, which is too many.
    let report = home.run(&["gate", "report"]);
    assert!(
        report.stdout.contains("smb      3         2     66.6 %  too loose"),
        "{}",
        report.stdout
    );
    assert!(report.stdout.contains("health_score  1 accounts"), "{}", report.stdout);
    assert!(report.stdout.contains("no upgrades in that time"), "{}", report.stdout);
    for account in ["low", "top"] {
        admin.put_subscription(subscription(account, "team")).await.unwrap();
    }
    // The same again, and back, are no upgrades.
    admin.put_subscription(subscription("top", "team")).await.unwrap();
    admin.put_subscription(subscription("top", "free")).await.unwrap();
    let report = until("the upgrades are known", || {
        let report = home.run(&["gate", "report", "--since", "1d"]);
        Some(report.stdout).filter(|text| text.contains("of 2 upgrades"))
    });
    assert!(
        report.contains("1 of 2 upgrades (50.0 %) were of accounts that had passed"),
        "{report}"
    );

    let one = home.run(&["account", "readiness", "low"]);
    assert!(one.stdout.contains("low: held, judged as smb"), "{}", one.stdout);
    assert!(
        one.stdout.contains("not yet: health_score must be at least 75, is 60"),
        "{}",
        one.stdout
    );
    assert!(one.stdout.contains("dau_mau_percent is not known"), "{}", one.stdout);
    let stranger = home.run(&["account", "readiness", "nobody"]);
    assert_eq!(stranger.code, Some(1));
    drop((client, admin));
    sidecar.stop().await;
}

fn activity(account: &str, user: &str, feature: &str, days_ago: u64) -> v1::Event {
    let at = SystemTime::now() - Duration::from_secs(days_ago * 86_400);
    let what = v1::Activity { user: user.to_owned(), feature: feature.to_owned() };
    v1::Event {
        id: "activity".to_owned(),
        account: account.to_owned(),
        occurred_at: Some(at.into()),
        what: Some(v1::event::What::Activity(what)),
    }
}

fn outside(account: &str, signal: &str, id: &str) -> v1::Event {
    let fields = [("score".to_owned(), fact(9))].into_iter().collect();
    let data = Some(prost_types::Struct { fields });
    let what = v1::OutsideSignal { signal: signal.to_owned(), data };
    v1::Event {
        id: id.to_owned(),
        account: account.to_owned(),
        occurred_at: None,
        what: Some(v1::event::What::Signal(what)),
    }
}

#[tokio::test]
async fn a_signal_from_outside_is_delivered_once_over_kill_and_retry() {
    let home = Home::new(CATALOG);
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "free")).await.unwrap();
    until_read(&admin, "acme").await;
    let nps = || outside("acme", "nps_recorded", "survey_1");
    assert_eq!(client.publish(vec![nps(), nps()]).await.unwrap(), [false, true]);
    sidecar.kill();

    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    until_read(&admin, "acme").await;
    assert_eq!(client.publish(vec![nps()]).await.unwrap(), [true]);
    let churn = outside("acme", "champion_moved", "survey_1b");
    assert_eq!(client.publish(vec![churn]).await.unwrap(), [false]);
    let told = until("both are told", || {
        Some(lines(&home, "all.ndjson")).filter(|lines| lines.len() >= 2)
    });
    let ids: BTreeSet<&str> =
        told.iter().map(|line| line["data"]["id"].as_str().unwrap()).collect();
    assert_eq!((told.len(), ids.len()), (2, 2), "{told:?}");
    let data = &told[0]["data"];
    assert_eq!(told[0]["type"], "headroom.signal.nps_recorded");
    assert_eq!((&data["event"], &data["details"]["score"]), (&"survey_1".into(), &9.into()));
    assert_eq!((&data["class"], &data["gate"]["state"]), (&"commercial".into(), &"passed".into()));
    assert_eq!(data["dedup_key"], "acme/nps_recorded/survey_1");
    assert_eq!(told[1]["data"]["gate"]["state"], "exempt");
    assert_eq!(told[1]["data"]["route"]["play"], "retention");
    drop((client, admin));
    sidecar.stop().await;
}

#[tokio::test]
async fn activity_becomes_facts_and_outlasts_a_restart() {
    let home = Home::new(CATALOG);
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "free")).await.unwrap();
    until_read(&admin, "acme").await;
    let mut events = Vec::new();
    for days_ago in 0..3 {
        events.push(activity("acme", "ann", "export", days_ago));
        events.push(activity("acme", "ben", "", days_ago));
        events.push(activity("acme", "", "import", 0));
    }
    let known = client.publish(events.clone()).await.unwrap();
    assert_eq!(known.iter().filter(|known| **known).count(), 2, "import three times a day is once");
    assert!(client.publish(events).await.unwrap().iter().all(|known| *known));
    sidecar.kill();

    let sidecar = home.start();
    let (_, admin) = home.clients().await;
    let pql = until_read(&admin, "acme").await.readiness.unwrap().pql.unwrap();
    let value =
        |name: &str| pql.parts.iter().find(|part| part.part == name).unwrap().value_thousandths;
    assert_eq!(value("features_adopted"), Some(1_000));
    assert_eq!(value("dau_mau_percent"), Some(10_000), "two people on 3 of 30 days");
    assert_eq!(value("days_since_login"), Some(0));
    let by_hand = home.run(&["signal", "activity", "acme", "--user", "cid"]);
    assert_eq!(by_hand.stdout, "taken\n");
    let again = home.run(&["signal", "activity", "acme", "--user", "cid"]);
    assert_eq!(again.stdout, "known already, nothing changed\n");
    drop(admin);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_wrong_event_is_named_and_none_of_its_request_is_taken() {
    let home = Home::new(CATALOG);
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "free")).await.unwrap();
    until_read(&admin, "acme").await;
    let good = || outside("acme", "nps_recorded", "s1");
    let old = activity("acme", "ann", "", 36);
    let nobody = activity("acme", "", "", 0);
    for (wrong, said) in [
        (outside("acme", "nps_recordet", "s2"), "events[1].signal.signal"),
        (outside("nobody", "nps_recorded", "s2"), "there is no account \"nobody\""),
        (v1::Event { id: String::new(), ..good() }, "events[1].id"),
        (v1::Event { what: None, ..good() }, "events[1].what: is missing"),
        (old, "more than 35 days ago"),
        (nobody, "names no user and no feature"),
    ] {
        let error = client.publish(vec![good(), wrong]).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error} does not say {said}");
    }
    let features = (0..256).map(|number| activity("acme", "", &format!("f{number}"), 0));
    assert_eq!(client.publish(features.collect()).await.unwrap().len(), 256);
    let error =
        client.publish(vec![good(), activity("acme", "", "one more", 0)]).await.unwrap_err();
    assert!(error.to_string().contains("use of 256 features"), "{error}");
    // What was refused with the others is new when it comes alone.
    assert_eq!(client.publish(vec![good()]).await.unwrap(), [false]);
    assert!(client.publish(Vec::new()).await.is_err());
    drop((client, admin));
    sidecar.stop().await;
}

const RULES: &str = "\
expansion:
  rules:
    heavy_api:
      class: usage
      warn: used_percent.calls >= 50
      when: used_percent.calls >= 90 && facts.nps > 6.5
      calm_days: 2
    power_user: off
";

/// The names, states and details of signals that were told, of one name.
fn told(home: &Home, name: &str) -> Vec<(String, String, Value)> {
    let of_name = lines(home, "all.ndjson")
        .into_iter()
        .filter(|line| line["type"] == format!("headroom.signal.{name}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tell = |line: Value| {
        let data = &line["data"];
        let (before, after) = (&data["previous"]["state"], &data["current"]["state"]);
        (text(before), text(after), data["details"].clone())
    };
    of_name.map(tell).collect()
}

#[tokio::test]
async fn a_rule_raises_its_signal_once_and_comes_down_after_calm_days() {
    let home = Home::with_settings(&format!("{CATALOG}{RULES}"), "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "free")).await.unwrap();
    until_read(&admin, "acme").await;
    put(&admin, "acme", &[("nps", 7.into())]).await;
    client.consume("acme", "calls", 5).await.unwrap();
    // A plain use touches nobody; what is told of an account does.
    put(&admin, "acme", &[("health_score", 80.into())]).await;
    let first = until("the warning", || told(&home, "heavy_api").into_iter().next());
    assert_eq!((first.0.as_str(), first.1.as_str()), ("ok", "warning"));
    client.consume("acme", "calls", 4).await.unwrap();
    let second = until("the alarm", || told(&home, "heavy_api").into_iter().nth(1));
    assert_eq!((second.0.as_str(), second.1.as_str()), ("warning", "alarm"));
    assert_eq!(second.2["facts"], serde_json::json!({ "nps": 7, "used_percent.calls": 90 }));
    assert_eq!(second.2["rule"], "used_percent.calls >= 90 && facts.nps > 6.5");
    // The month is over: after two calm days it comes down, and may come again.
    for _ in 0..3 {
        admin.advance_clock(Duration::from_secs(31 * 86_400)).await.unwrap();
    }
    let third = until("the end", || told(&home, "heavy_api").into_iter().nth(2));
    assert_eq!((third.0.as_str(), third.1.as_str()), ("alarm", "ok"));
    assert_eq!(told(&home, "heavy_api").len(), 3);
    let last = lines(&home, "all.ndjson").pop().unwrap();
    assert_eq!(last["data"]["live_signals"], 0, "what has come down is not live");
    drop((client, admin));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_leap_of_the_test_clock_is_answered_when_all_that_it_brings_is_raised() {
    let catalog = CATALOG.replace("seats: { included: 5 }", "seats: { included: 50 }");
    let home = Home::with_settings(&catalog, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "free")).await.unwrap();
    let day = Duration::from_secs(86_400);
    // To where it stands: then what was kept is read, too.
    admin.advance_clock(Duration::ZERO).await.unwrap();
    admin.get_readiness("acme").await.unwrap();
    for leap in 1..=3 {
        let run = format!("o{leap} fired --signal usage_ceiling");
        let args: Vec<&str> =
            ["signal", "opportunity", "acme"].into_iter().chain(run.split(' ')).collect();
        assert_eq!(home.run(&args).code, Some(0));
        admin.advance_clock(day).await.unwrap();
        assert_eq!(admin.get_status().await.unwrap().signals_emitted, leap - 1);
        admin.advance_clock(day).await.unwrap();
        assert_eq!(admin.get_status().await.unwrap().signals_emitted, leap);
    }
    let mut seen = activity("acme", "ann", "", 0);
    seen.occurred_at = None;
    client.publish(vec![seen.clone()]).await.unwrap();
    admin.advance_clock(day * 24).await.unwrap();
    client.publish(vec![seen]).await.unwrap();
    admin.advance_clock(Duration::ZERO).await.unwrap();
    assert_eq!(admin.get_status().await.unwrap().signals_emitted, 4, "one seat of fifty is used");
    drop((client, admin));
    sidecar.stop().await;
}

#[tokio::test]
async fn empty_seats_and_sign_ups_of_one_company_are_found() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    for account in ["a1", "a2", "a3", "b1"] {
        admin.put_subscription(subscription(account, "free")).await.unwrap();
        let domain = if account == "b1" { "bolt.example" } else { "Acme.example" };
        put(&admin, account, &[("email_domain", domain.into())]).await;
    }
    until_read(&admin, "a1").await;
    let mut seen = activity("a1", "ann", "", 0);
    seen.occurred_at = None;
    client.publish(vec![seen.clone()]).await.unwrap();
    // The people of a new account come one after the other.
    admin.advance_clock(Duration::from_secs(29 * 86_400)).await.unwrap();
    client.publish(vec![seen]).await.unwrap();
    assert_eq!(told(&home, "idle_seats").len(), 0);
    admin.advance_clock(Duration::from_secs(86_400)).await.unwrap();
    let idle = until("idle seats", || told(&home, "idle_seats").into_iter().next());
    assert_eq!(idle.2["facts"]["active_seats_percent"], 20);
    admin.advance_clock(Duration::from_secs(86_400)).await.unwrap();
    let signups = until("sign-ups", || {
        Some(told(&home, "multiple_signups")).filter(|found| found.len() >= 3)
    });
    assert_eq!(signups.len(), 3, "not of the company that has one account");
    drop((client, admin));
    sidecar.stop().await;
}

#[tokio::test]
async fn an_opportunity_is_told_to_be_late_once_and_triggers_are_measured() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "free")).await.unwrap();
    until_read(&admin, "acme").await;
    let run = |args: &str| {
        let args: Vec<&str> =
            ["signal", "opportunity", "acme"].into_iter().chain(args.split(' ')).collect();
        home.run(&args)
    };
    assert_eq!(run("o1 csql").code, Some(1), "a new one names its signal");
    assert_eq!(run("o1 csql --signal nonsense").code, Some(1));
    // 2020-01-01 is a Wednesday: five business days later it is one again.
    let first = run("o1 csql --signal usage_ceiling");
    assert!(first.stdout.starts_with("o1: csql, to be further by 2020-01-08T00:00"), "{first:?}");
    assert!(run("o1 csql").stdout.contains("(nothing changed)"));
    run("o2 won --signal usage_ceiling");
    run("o3 lost --signal usage_ceiling --reason price");
    admin.advance_clock(Duration::from_secs(6 * 86_400)).await.unwrap();
    assert_eq!(told(&home, "opportunity_overdue").len(), 0);
    admin.advance_clock(Duration::from_secs(2 * 86_400)).await.unwrap();
    let late = until("it is late", || told(&home, "opportunity_overdue").into_iter().next());
    assert_eq!((&late.2["opportunity"], &late.2["stage"]), (&"o1".into(), &"csql".into()));
    sidecar.kill();

    let sidecar = home.start();
    let (_, admin) = home.clients().await;
    until_read(&admin, "acme").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(told(&home, "opportunity_overdue").len(), 1, "once, also over a restart");
    let list = admin.list_opportunities("acme").await.unwrap();
    assert_eq!((list.len(), list[0].overdue, list[2].reason.as_str()), (3, true, "price"));
    let report = home.run(&["gate", "triggers"]);
    let row: Vec<&str> = report.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["usage_ceiling", "1", "1", "1", "1", "50.0", "%,", "poor"]);
    drop((client, admin));
    sidecar.stop().await;
}
