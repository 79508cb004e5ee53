//! Credits over the wire: granted, burnt in order, charged together with a feature, over kill -9.

use std::time::{Duration, SystemTime};

use headroom_proto::v1::{self, Denial, FeatureKind};
use headroom_sdk::{AdminClient, Client, CreditCharge, Decision};

use crate::support::ask::subscription;
use crate::support::home::Home;

const CREDITS: &str = "\
default_plan: pro
features:
  ai:
    name: AI credits
    kind: credits
    window: billing
    rate_card: { images: { credits: 5 } }
  images: { name: Images, kind: quota, unit: images, limits: { total: { window: lifetime } } }
plans:
  pro:
    name: Pro
    entitlements:
      ai: { included: 20, rollover: { max: 10 }, soft_limits: [50%] }
      images: { paid_by: ai }
prompts:
  - prompt: low
    scenario: near_limit
    feature: images
    title: '{{ remaining }} {{ unit }} left'
    message: '{{ used }} of {{ included }}{% if window_end %}, more at {{ window_end }}{% endif %}'
sinks:
  - { sink: audit, kind: ndjson, path: signals.ndjson }
";

struct Stage {
    client: Client,
    admin: AdminClient,
}

impl Stage {
    async fn new(home: &Home) -> Stage {
        let (client, admin) = home.clients().await;
        Stage { client, admin }
    }

    async fn give(&self, grant: &str, units: i64) -> Result<v1::Grant, headroom_sdk::Error> {
        let request = v1::PutGrantRequest {
            account: "acme".to_owned(),
            pool: "ai".to_owned(),
            grant: grant.to_owned(),
            units,
            ..v1::PutGrantRequest::default()
        };
        Ok(self.admin.put_grant(request).await?.grant.unwrap())
    }

    async fn draw(&self, images: u64, key: &str) -> Decision {
        let call = self.client.consume("acme", "images", images).idempotency_key(key);
        call.with_prompt().with_all_limits().await.unwrap()
    }

    async fn history(&self) -> Vec<v1::CreditSegment> {
        let mut segments = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListCreditHistoryRequest {
                account: "acme".to_owned(),
                pool: "ai".to_owned(),
                page_size: 1,
                page_token,
                since: None,
            };
            let page = self.admin.list_credit_history(request).await.unwrap();
            segments.extend(page.segments);
            if page.next_page_token.is_empty() {
                return segments;
            }
            page_token = page.next_page_token;
        }
    }
}

fn paid(charge: Option<&CreditCharge>) -> Vec<(&str, u64)> {
    let charge = charge.expect("a pool paid");
    charge.deductions.iter().map(|(grant, units)| (grant.as_str(), *units)).collect()
}

#[tokio::test]
async fn credits_pay_for_a_feature_and_survive_kill_9() {
    let home = Home::with_settings(CREDITS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.admin.put_subscription(subscription("acme", "pro")).await.unwrap();
    let grant = stage.give("pay_1", 30).await.unwrap();
    assert_eq!((grant.state(), grant.units_remaining), (v1::GrantState::Active, 30));
    assert_eq!(stage.give("pay_1", 30).await.unwrap(), grant);
    let error = stage.give("pay_1", 31).await.unwrap_err();
    assert_eq!(error.reason(), Some(v1::ErrorReason::GrantDiffers));

    let drawn = stage.draw(5, "k").await;
    let first = paid(drawn.charge.as_ref());
    assert!(first[0].0.starts_with("included@"), "{first:?}");
    assert_eq!((first[0].1, first[1]), (20, ("pay_1", 5)));
    let pool = drawn.binding.as_ref().unwrap().pool.as_ref().unwrap();
    assert_eq!((pool.feature.as_str(), pool.balance_units), ("ai", 25));
    assert_eq!(drawn.other_limits[0].limit, "total");
    assert_eq!(drawn.prompt.as_ref().unwrap().title, "25 credits left");

    let why = stage.client.explain_decision(&drawn.decision_id).await.unwrap();
    let credits = why.rules.iter().find(|rule| rule.rule == "credits").expect("a rule");
    let sentence =
        format!("25 credits of ai: 20 from the grant {}, 5 from the grant pay_1", first[0].0);
    assert_eq!(credits.explanation, sentence);

    let charge = drawn.charge.clone();
    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let again = stage.draw(5, "k").await;
    assert!(again.replayed);
    assert_eq!(again.charge, charge);
    let refused = stage.draw(6, "other").await;
    assert_eq!(refused.denial, Some(Denial::CreditsExhausted));
    assert!(refused.retry_after.is_some(), "more come with the next month");

    let asked = stage.client.get_usage("acme", Some("ai"), None, None).await.unwrap_err();
    assert_eq!(asked.reason(), Some(v1::ErrorReason::WrongFeatureKind));
    assert!(asked.to_string().contains("ListCreditHistory"), "{asked}");

    let entitlements = stage.client.list_entitlements("acme").await.unwrap().entitlements;
    let ai = entitlements.iter().find(|one| one.feature == "ai").unwrap();
    assert_eq!(ai.kind, FeatureKind::Credits);
    assert_eq!(ai.limits[0].pool.as_ref().unwrap().balance_units, 25);

    // The month ends: nothing included was left to roll over, and 20 come anew.
    stage.admin.advance_clock(Duration::from_secs(32 * 24 * 60 * 60)).await.unwrap();
    let void = v1::VoidGrantRequest {
        account: "acme".into(),
        pool: "ai".into(),
        grant: "pay_1".into(),
        reason: "charged back".into(),
    };
    let voided = stage.admin.void_grant(void).await.unwrap();
    assert_eq!(voided.grant.unwrap().lost_units, 25);
    let listed = stage.admin.list_grants("acme", "ai").await.unwrap();
    let states: Vec<_> = listed.grants.iter().map(|g| (g.state(), g.units_remaining)).collect();
    assert_eq!(states, [(v1::GrantState::Active, 20), (v1::GrantState::Void, 0)]);
    assert_eq!(listed.state.unwrap().pool.unwrap().balance_units, 20);
    let segments = crate::support::until_async("the whole history", async || {
        let segments = stage.history().await;
        // The latest is in memory; the closed ones come with the projection, which is a moment behind.
        let follows = |pair: &[v1::CreditSegment]| {
            (&pair[0].to, pair[0].closing_units) == (&pair[1].from, pair[1].opening_units)
        };
        let begins = segments.first().is_some_and(|first| first.opening_units == 0);
        let is_whole = begins && segments.len() > 1 && segments.windows(2).all(follows);
        is_whole.then_some(segments)
    });
    let segments = segments.await;
    assert_eq!(segments.last().unwrap().closing_units, 20);
    assert_eq!(segments.iter().map(|s| s.burnt_units).sum::<i64>(), 25);
    crate::support::until("the low balance is in the file", || {
        let text = std::fs::read_to_string(home.data().join("signals.ndjson")).unwrap_or_default();
        let is_of_pool = |line: &str| line.contains("credits_low") && line.contains("\"ai\"");
        text.lines().any(is_of_pool).then_some(())
    });
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn what_comes_late_is_paid_now_and_a_correction_gives_it_back() {
    let home = Home::with_settings(CREDITS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.admin.put_subscription(subscription("acme", "pro")).await.unwrap();
    stage.give("pay_1", 30).await.unwrap();
    // A test clock begins with 2020.
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_810);
    stage.admin.advance_clock(Duration::from_secs(3_600)).await.unwrap();
    let late = stage.client.record("acme", "images", 5).occurred_at(at).idempotency_key("late");
    let told = late.await.unwrap().decision;
    let first = paid(told.charge.as_ref());
    assert!(first[0].0.starts_with("included@"), "{first:?}");
    assert_eq!((first[0].1, first[1]), (20, ("pay_1", 5)));
    assert_eq!(told.binding.as_ref().unwrap().pool.as_ref().unwrap().balance_units, 25);
    let charge = told.charge.clone();
    let plain = stage.draw(1, "plain").await;
    assert_eq!(paid(plain.charge.as_ref()), [("pay_1", 5)]);

    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let late = stage.client.record("acme", "images", 5).occurred_at(at).idempotency_key("late");
    let again = late.await.unwrap().decision;
    assert_eq!((again.replayed, again.charge), (true, charge));
    // 25 were paid, 10 are: 15 come back, those that were burnt last first.
    let correct = stage.client.correct("acme", "images", "late").units(2).idempotency_key("less");
    let less = correct.await.unwrap();
    let returned = |decision: &Decision| decision.charge.as_ref().unwrap().returned_units;
    assert_eq!((less.units, returned(&less.decision)), (2, 15));
    let grant = stage.give("pay_1", 30).await.unwrap();
    assert_eq!(grant.units_remaining, 25, "the plain one has cost 5");
    let correct = stage.client.correct("acme", "images", "plain").original_units(1);
    assert_eq!(returned(&correct.await.unwrap().decision), 5);
    assert_eq!(stage.give("pay_1", 30).await.unwrap().units_remaining, 30);

    sidecar.stop().await;
    let _sidecar = home.start();
    let stage = Stage::new(&home).await;
    let correct = stage.client.correct("acme", "images", "late").units(2).idempotency_key("less");
    let again = correct.await.unwrap();
    assert_eq!((again.decision.replayed, returned(&again.decision)), (true, 15));
    let withdrawn = stage.client.correct("acme", "images", "late").await.unwrap();
    assert_eq!(returned(&withdrawn.decision), 10);
    let history = stage.history().await;
    let returned: i64 = history.iter().map(|segment| segment.returned_units).sum();
    assert_eq!(returned, 30, "{history:?}");
}
