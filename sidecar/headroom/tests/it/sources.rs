//! A subscription with everything it can have, over the wire and over a restart: a trial, add-ons, a
//! plan that waits for its day, an exception that ends.

use std::time::{Duration, SystemTime};

use headroom_proto::v1::r#override::Value;
use headroom_sdk::{Client, Decision, Denial, OriginKind, RollOut, Verdict, v1};

use crate::support::ask::subscription;
use crate::support::home::Home;

const CATALOG: &str = "\
features:
  calls: { name: Calls, kind: quota, limits: { total: { window: lifetime } } }
  beta: { name: Beta, kind: switch, cohorts: [early] }
  old: { name: Old, kind: switch, paused: on }
  half: { name: Half, kind: switch, rollout: 50% }
plans:
  free: { name: Free, entitlements: { calls: { total: { included: 10 } }, beta: on, old: on, half: on } }
  pro: { name: Pro, entitlements: { calls: { total: { included: 100 } } } }
addons:
  pack: { name: Pack, entitlements: { calls: { total: { included: 5 } } } }
";

const HOUR: Duration = Duration::from_secs(3600);

async fn used(client: &Client) -> Decision {
    client.consume("acme", "calls", 1).await.unwrap()
}

#[track_caller]
fn is_from(decision: &Decision, kind: OriginKind, plan: &str, included: u64) {
    let origin = decision.origin.as_ref().expect("an origin");
    let limit = decision.binding.as_ref().expect("a limit");
    assert_eq!((origin.kind, origin.plan.as_str()), (kind, plan));
    assert_eq!(limit.included_units, Some(included));
}

#[tokio::test]
async fn who_was_drawn_is_told_so_and_who_has_an_override_is_not() {
    let home = Home::new(CATALOG);
    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    let mut allowed = 0;
    for account in (0..20).map(|n| format!("a{n}")) {
        let put = v1::PutSubscriptionRequest {
            account: account.clone(),
            plan: "free".to_owned(),
            ..v1::PutSubscriptionRequest::default()
        };
        admin.put_subscription(put).await.unwrap();
        let decision = client.check(&account, "half").await.unwrap();
        let roll_out = decision.origin.as_ref().unwrap().roll_out.clone();
        let drawn = RollOut { cohort: None, drawn_share_bp: Some(5_000) };
        assert_eq!(roll_out, decision.allowed.then_some(drawn), "{account}");
        allowed += u32::from(decision.allowed);
        let whole = client.check(&account, "old").await.unwrap();
        assert_eq!(whole.origin.unwrap().roll_out, None, "what has come to all needs none");
    }
    assert!((1..20).contains(&allowed), "{allowed} of 20");
    home.run(&["account", "override", "a0", "half", "--switch", "on"]);
    let overridden = client.check("a0", "half").await.unwrap();
    assert!(overridden.allowed && overridden.origin.unwrap().roll_out.is_none());
}

#[tokio::test]
async fn a_trial_add_ons_a_scheduled_plan_and_an_exception_each_count_for_their_time() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_898_553_600);
    admin.set_clock(start).await.unwrap();
    let put = v1::PutSubscriptionRequest {
        add_ons: vec![v1::AddOn { add_on: "pack".into(), quantity: 3 }],
        trial: Some(v1::Trial {
            plan: "pro".into(),
            ends_at: Some((start + HOUR).into()),
            ..Default::default()
        }),
        scheduled: vec![v1::ScheduledPlan {
            plan: "pro".into(),
            starts_at: Some((start + 3 * HOUR).into()),
            ..Default::default()
        }],
        ..subscription("acme", "free")
    };
    let account = admin.put_subscription(put).await.unwrap();
    assert_eq!((account.plan.as_str(), account.plan_in_force.as_str()), ("free", "pro"));
    is_from(&used(&client).await, OriginKind::AddOn, "pro", 115);

    sidecar.stop().await;
    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    is_from(&used(&client).await, OriginKind::AddOn, "pro", 115);
    admin.set_clock(start + HOUR).await.unwrap();
    let after_the_trial = used(&client).await;
    is_from(&after_the_trial, OriginKind::AddOn, "free", 25);
    assert_eq!(after_the_trial.binding.unwrap().used_units, 3, "what was used stays used");

    let exception = v1::Override {
        feature: "calls".into(),
        value: Some(Value::Limit(v1::LimitOverride {
            limit: "total".into(),
            included_units: Some(4),
            subject: String::new(),
        })),
        ends_at: Some((start + 2 * HOUR).into()),
        ..Default::default()
    };
    admin.put_override("acme", exception).await.unwrap();
    is_from(&used(&client).await, OriginKind::Override, "free", 4);
    assert_eq!(used(&client).await.denial, Some(Denial::QuotaExhausted));
    admin.set_clock(start + 2 * HOUR).await.unwrap();
    is_from(&used(&client).await, OriginKind::AddOn, "free", 25);
    admin.set_clock(start + 3 * HOUR).await.unwrap();
    is_from(&used(&client).await, OriginKind::AddOn, "pro", 115);

    admin.put_subscription(subscription("acme", "free")).await.unwrap();
    is_from(&used(&client).await, OriginKind::Plan, "free", 10);
    let not_yet = client.check("acme", "beta").with_prompt().await.unwrap();
    assert_eq!((not_yet.verdict, not_yet.denial), (Verdict::Denied, Some(Denial::NotInPlan)));
    assert!(not_yet.origin.is_some() && not_yet.prompt.is_none());
    let account = admin.put_cohorts("acme", vec!["early".into()], vec![]).await.unwrap();
    assert_eq!(account.cohorts, ["early"]);
    let early = client.check("acme", "beta").await.unwrap();
    let by = RollOut { cohort: Some("early".to_owned()), drawn_share_bp: None };
    assert!(early.allowed);
    assert_eq!(early.origin.unwrap().roll_out, Some(by.clone()), "an answer says what let it in");
    let listed = client.list_entitlements("acme").await.unwrap();
    let beta = listed.entitlements.iter().find(|one| one.feature == "beta").unwrap();
    assert_eq!(beta.origin.as_ref().unwrap().roll_out, Some(by));
    let why = client.explain_decision(&early.decision_id).await.unwrap();
    let not_in_plan =
        &why.rules.iter().find(|rule| rule.rule == "not_in_plan").unwrap().explanation;
    assert!(not_in_plan.contains("it came to the account with the cohort early"), "{not_in_plan}");
    let shown = home.run(&["ask", "check", "acme", "beta"]).stdout;
    assert!(shown.contains("rolled out: through cohort early"), "{shown}");
    admin.put_cohorts("acme", vec![], vec!["early".into()]).await.unwrap();
    assert!(!client.check("acme", "beta").await.unwrap().allowed);
    let paused = client.check("acme", "old").await.unwrap();
    assert_eq!(paused.denial, Some(Denial::FeaturePaused));
}
