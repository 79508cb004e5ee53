//! What use unlocks, over every door and over a restart; and a trial that is told to end.

use std::time::Duration;

use headroom_sdk::{Client, Denial, OriginKind, RuleOutcome, v1};

use crate::support::ask::subscription;
use crate::support::home::Home;
use crate::support::until;

const CATALOG: &str = "\
features:
  flows: { name: Workflows, kind: quota, unit: workflows, limits: { ever: { window: lifetime } } }
  sso: { name: Automation, kind: switch }
plans:
  free: { name: Free, entitlements: { flows: { ever: { included: 100 } } } }
  team:
    name: Team
    entitlements:
      flows: { ever: { included: unlimited } }
      sso: { unlock_after: { feature: flows, units: 10 } }
sinks:
  - { sink: told, kind: ndjson, path: signals.ndjson }
prompts:
  - prompt: soon
    scenario: unlock
    title: '{{ remaining }} {{ unit }} to go'
    message: '{{ feature_name }} comes after {{ included }}: {{ used }} so far'
";

/// The signals of a name in the file, as soon as there are so many.
fn told(home: &Home, name: &str, count: usize) -> Vec<serde_json::Value> {
    let wanted = format!("headroom.signal.{name}");
    until(name, || {
        let text = std::fs::read_to_string(home.data().join("signals.ndjson")).unwrap_or_default();
        let all = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let found: Vec<serde_json::Value> =
            all.filter(|line: &serde_json::Value| line["type"] == *wanted).collect();
        (found.len() >= count).then_some(found)
    })
}

async fn is_open(client: &Client) -> bool {
    let decision = client.check("acme", "sso").await.unwrap();
    let kind = decision.origin.map(|origin| origin.kind);
    assert_eq!(kind, Some(if decision.allowed { OriginKind::Unlock } else { OriginKind::Plan }));
    decision.allowed
}

#[tokio::test]
async fn a_feature_is_unlocked_by_the_use_that_reaches_the_number() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "team")).await.unwrap();
    client.consume("acme", "flows", 7).await.unwrap();
    let locked = client.check("acme", "sso").with_prompt().await.unwrap();
    assert_eq!((locked.denial, locked.binding.as_ref()), (Some(Denial::NotInPlan), None));
    let unlock = locked.unlock.as_ref().expect("what is left");
    assert_eq!((unlock.feature.as_str(), unlock.limit.as_str()), ("flows", "ever"));
    assert_eq!((unlock.needed_units, unlock.used_units, unlock.remaining_units), (10, 7, 3));
    let prompt = locked.prompt.expect("a prompt");
    assert_eq!((prompt.scenario.as_str(), prompt.title.as_str()), ("unlock", "3 workflows to go"));
    assert_eq!(prompt.message, "Automation comes after 10: 7 so far");
    let explained = client.explain_decision(&locked.decision_id).await.unwrap();
    let refused = explained.rules.iter().find(|rule| rule.outcome == RuleOutcome::Refused).unwrap();
    let why = "team contains the feature once 10 of flows were used: 7 so far, 3 are left";
    assert_eq!(refused.explanation, why);
    let listed = client.list_entitlements("acme").await.unwrap();
    let sso = listed.entitlements.iter().find(|one| one.feature == "sso").unwrap();
    assert_eq!(sso.unlock.as_ref().map(|unlock| unlock.remaining_units), Some(3));
    let shown = home.run(&["ask", "check", "acme", "sso"]);
    assert!(shown.stdout.contains("comes after 10 of flows: 7 used, 3 left"), "{shown:?}");

    assert!(!is_open(&client).await);
    client.consume("acme", "flows", 3).await.unwrap();
    assert!(is_open(&client).await);
    sidecar.kill();
    let sidecar = home.start();
    let (client, _) = home.clients().await;
    assert!(is_open(&client).await, "also after a crash");
    client.consume("acme", "flows", 3).await.unwrap();
    let told = told(&home, "unlock_earned", 1);
    let data = &told[0]["data"];
    assert_eq!((&data["feature"], &data["earned_by"]), (&"sso".into(), &"flows".into()));
    assert_eq!((&data["current"]["used_units"], &data["included_units"]), (&10.into(), &10.into()));
    assert_eq!((told.len(), &data["class"]), (1, &"commercial".into()));
    let again = client.check("acme", "sso").with_prompt().await.unwrap();
    assert!(again.unlock.is_none() && again.prompt.is_none());
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_trial_is_told_to_end_and_a_contract_too() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    let now = admin.get_status().await.unwrap().now.unwrap();
    let after =
        |days: i64| Some(prost_types::Timestamp { seconds: now.seconds + days * 86_400, nanos: 0 });
    let mut change = subscription("acme", "free");
    change.trial =
        Some(v1::Trial { plan: "team".into(), ends_at: after(14), ..Default::default() });
    change.ends_at = after(70);
    admin.put_subscription(change).await.unwrap();
    let kind = Some(prost_types::value::Kind::NumberValue(80.0));
    let facts = [("health_score".to_owned(), prost_types::Value { kind })].into_iter().collect();
    admin.put_facts("acme", prost_types::Struct { fields: facts }).await.unwrap();
    admin.advance_clock(Duration::from_secs(7 * 86_400)).await.unwrap();
    let week = told(&home, "trial_ending", 1);
    let trial = &week[0]["data"]["trial"];
    assert_eq!((&trial["plan"], &trial["days"]), (&"team".into(), &7.into()));
    assert_eq!(week[0]["data"]["current"]["state"], "warning");
    assert_eq!(week[0]["data"]["feature"], "");
    admin.advance_clock(Duration::from_secs(4 * 86_400)).await.unwrap();
    let both = told(&home, "trial_ending", 2);
    assert_eq!(both[1]["data"]["trial"]["days"], 3);
    assert_ne!(both[0]["data"]["dedup_key"], both[1]["data"]["dedup_key"]);
    let contract = told(&home, "contract_milestone", 1);
    assert_eq!(contract[0]["data"]["details"]["facts"]["contract_days_left"], 59);
    drop((client, admin));
    sidecar.stop().await;
}
