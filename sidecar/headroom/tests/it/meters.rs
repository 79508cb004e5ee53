//! Slots and rates over the wire: acquired and given back, refused with the time to wait, over kill -9.

use std::time::Duration;

use headroom_proto::v1::{self, Denial, FeatureKind, r#override::Value as OverrideValue};
use headroom_sdk::{AdminClient, Client, Decision};

use crate::support::SOON;
use crate::support::ask::{self, subscription};
use crate::support::home::Home;

const METERS: &str = "\
default_plan: pro
features:
  jobs: { name: Parallel jobs, kind: concurrency, unit: jobs }
  api: { name: API calls, kind: rate, unit: calls }
  web: { name: Web calls, kind: rate, unit: calls, per: user }
  sso: { name: Single sign-on, kind: switch }
  runs: { name: Agent runs, kind: concurrency, unit: runs, per: user }
plans:
  pro:
    name: Pro
    entitlements:
      jobs: { max: 2, soft_limits: [50%] }
      runs: { max: 3, each: 1 }
      api: { rate: 3 per second, burst: 5 }
      web: { rate: 4 per second, burst: 6, each: { rate: 1 per second, burst: 4 } }
      sso: on
prompts:
  - prompt: full
    scenario: limit_hit
    title: '{{ used }} of {{ included }} {{ unit }}'
    message: '{% if window_end %}Back at {{ window_end }}{% endif %}'
sinks:
  - { sink: audit, kind: ndjson, path: signals.ndjson }
";

/// A sidecar on a test clock, and the two clients that talk to it.
struct Stage {
    client: Client,
    admin: AdminClient,
}

impl Stage {
    async fn new(home: &Home) -> Stage {
        let (client, admin) = home.clients().await;
        Stage { client, admin }
    }

    async fn later(&self, ms: u64) {
        self.admin.advance_clock(Duration::from_millis(ms)).await.unwrap();
    }

    async fn acquire(&self) -> (Decision, Option<String>) {
        let call = self.client.reserve("acme", "jobs", 1).hold_for(Duration::from_secs(60));
        let reserved = call.with_prompt().with_projection().await.unwrap();
        (reserved.decision, reserved.reservation.map(|reservation| reservation.id))
    }

    async fn call(&self, units: u64) -> Decision {
        self.client.consume("acme", "api", units).with_prompt().with_projection().await.unwrap()
    }
}

fn title(decision: &Decision) -> &str {
    decision.prompt.as_ref().map_or("", |prompt| &prompt.title)
}

#[tokio::test]
async fn slots_are_acquired_kept_and_given_back_over_kill_9() {
    let home = Home::with_settings(METERS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let (first, id) = stage.acquire().await;
    let limit = first.binding.as_ref().expect("a limit");
    assert_eq!((limit.limit.as_str(), limit.included_units), ("concurrent", Some(2)));
    assert_eq!((limit.used_units, limit.reserved_units), (0, 1));
    assert_eq!(limit.thresholds_passed_bp, [5_000]);
    assert_eq!((&limit.window_end, &first.projection), (&None, &None));
    // Without units it is one slot; of what is used up nobody guesses how many.
    let mut client = ask::entitlements(&home).await;
    assert!(client.reserve(ask::reserve("acme", "jobs", 0, "second")).await.is_ok());
    let status = client.reserve(ask::reserve("acme", "sso", 0, "x")).await.unwrap_err();
    assert_eq!(ask::violations(&status)[0].0, "units");

    drop((stage, client));
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let (refused, none) = stage.acquire().await;
    assert_eq!((refused.denial, none), (Some(Denial::ConcurrencyFull), None));
    assert_eq!(refused.retry_after, Some(SOON * 2), "the first hold lasts a minute");
    assert_eq!(title(&refused), "2 of 2 jobs");
    // A heartbeat keeps the first; when the clock has passed the old end, it is still held.
    let id = id.unwrap();
    stage.later(59_999).await;
    let beat = stage.client.extend("acme", &id).hold_for(Duration::from_secs(60));
    assert!(beat.await.unwrap().decision.allowed);
    stage.later(1).await;
    assert_eq!(stage.acquire().await.0.denial, Some(Denial::ConcurrencyFull));
    // A commit of units is a mistake that says what to do; a release gives the slot back.
    let error = stage.client.commit("acme", &id, 1).await.unwrap_err();
    assert!(error.to_string().contains("reserve, extend and release them"), "{error}");
    assert_eq!(stage.client.release("acme", &id).await.unwrap().released_units, 1);
    assert!(stage.acquire().await.0.allowed);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_crashed_client_loses_its_slot_by_time() {
    let home = Home::with_settings(METERS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let (_, lost) = stage.acquire().await;
    stage.acquire().await;
    stage.later(60_000).await;
    assert!(stage.acquire().await.0.allowed);
    let lost = lost.unwrap();
    let beat = stage.client.extend("acme", &lost).hold_for(Duration::from_secs(60)).await;
    assert!(beat.unwrap_err().to_string().contains("it expired"));
    assert_eq!(stage.client.release("acme", &lost).await.unwrap().released_units, 0);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_rate_lets_a_burst_pass_and_says_to_the_millisecond_when_more_does() {
    let home = Home::with_settings(METERS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let all = stage.call(5).await;
    let limit = all.binding.as_ref().expect("a limit");
    assert_eq!((limit.limit.as_str(), limit.included_units), ("rate", Some(5)));
    assert_eq!((limit.used_units, limit.drawable_units_remaining), (5, Some(0)));
    let span = limit.window_end.unwrap().duration_since(limit.window_start.unwrap()).unwrap();
    assert_eq!(span.as_millis(), 1_667, "five thirds of a second, rounded up");

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let refused = stage.call(1).await;
    let told = (refused.denial, refused.retry_after.map(|wait| wait.as_millis()));
    assert_eq!(told, (Some(Denial::RateLimited), Some(334)), "a restart filled no bucket");
    assert_eq!((title(&refused), &refused.projection), ("5 of 5 calls", &None));
    stage.later(333).await;
    assert!(!stage.call(1).await.allowed);
    stage.later(1).await;
    assert!(stage.call(1).await.allowed);
    let never = stage.call(6).await;
    assert_eq!((never.denial, never.retry_after), (Some(Denial::RateLimited), None));
    let error = stage.client.reserve("acme", "api", 1).await.unwrap_err();
    assert!(error.to_string().contains("consume them"), "{error}");
    let error = stage.client.record("acme", "api", 1).await.unwrap_err();
    assert!(error.to_string().contains("consume them"), "{error}");

    // What the business hears of it, once.
    let signals = crate::support::until("the signal is in the file", || {
        let text = std::fs::read_to_string(home.data().join("signals.ndjson")).unwrap_or_default();
        text.contains("headroom.signal.api_tier_exceeded").then_some(text)
    });
    assert_eq!(signals.matches("api_tier_exceeded").count(), 1, "{signals}");
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn each_user_has_a_bucket_beside_the_accounts_over_kill_9() {
    let home = Home::with_settings(METERS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let call = async |stage: &Stage, user: &str, units| {
        let call = stage.client.consume("acme", "web", units).with_all_limits();
        if user.is_empty() { call.await.unwrap() } else { call.subject(user).await.unwrap() }
    };
    let bound = |decision: &Decision| {
        let limit = decision.binding.as_ref().expect("a limit");
        (limit.limit.clone(), limit.subject.clone(), limit.settled_units_remaining)
    };
    let whose = |user: &str, left| ("rate_each".to_owned(), Some(user.to_owned()), Some(left));
    let own = |left| ("rate".to_owned(), None, Some(left));
    let first = call(&stage, "user:ann", 3).await;
    assert!(first.allowed);
    assert_eq!(bound(&first), whose("user:ann", 1));
    assert_eq!(first.other_limits[0].settled_units_remaining, Some(3), "the account's bucket");

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let refused = call(&stage, "user:ann", 2).await;
    assert_eq!(refused.denial, Some(Denial::RateLimited));
    assert_eq!(
        (bound(&refused), refused.retry_after.unwrap().as_millis()),
        (whose("user:ann", 1), 1_000)
    );
    let bob = call(&stage, "user:bob/agent:a", 3).await;
    assert_eq!((bob.allowed, bound(&bob)), (true, own(0)), "ann's refusal took nothing");
    // Whoever has units left himself waits for the account; one without a subject is asked for nothing else.
    for user in ["user:cid", ""] {
        let refused = call(&stage, user, 1).await;
        assert_eq!((bound(&refused), refused.retry_after.unwrap().as_millis()), (own(0), 250));
    }
    let why = stage.client.explain_decision(refused.decision_id).await.unwrap();
    let binding = why.rules.iter().find(|rule| rule.binding).unwrap();
    assert_eq!(binding.subject.as_deref(), Some("user:ann"));
    stage.later(1_000).await;
    assert!(call(&stage, "user:ann", 2).await.allowed);

    let listed = stage.client.list_entitlements("acme").await.unwrap();
    let web = listed.entitlements.iter().find(|one| one.feature == "web").unwrap();
    assert_eq!(web.rate_per.as_deref(), Some("user"));
    assert_eq!(web.rate_each.unwrap().burst_units, 4);
    assert_eq!(stage.admin.erase_subject("acme", "user:ann").await.unwrap(), 1);
    stage.later(2_000).await;
    let again = call(&stage, "user:ann", 1).await;
    assert_eq!(bound(&again), whose("user:ann", 3), "who comes back is somebody new");
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn overrides_and_lists_show_slots_and_rates() {
    let home = Home::with_settings(METERS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.admin.put_subscription(subscription("acme", "pro")).await.unwrap();
    let listed = stage.client.list_entitlements("acme").await.unwrap();
    let (jobs, api) = (&listed.entitlements[0], &listed.entitlements[1]);
    assert_eq!((jobs.kind, jobs.limits[0].included_units), (FeatureKind::Concurrency, Some(2)));
    let rate = api.rate.expect("a rate");
    assert_eq!((api.kind, rate.units, rate.burst_units), (FeatureKind::Rate, 3, 5));
    assert_eq!(rate.period, Duration::from_secs(1));

    let put = async |feature: &str, value| {
        let over =
            v1::Override { feature: feature.into(), value: Some(value), ..Default::default() };
        stage.admin.put_override("acme", over).await
    };
    let most = |included_units| {
        OverrideValue::Limit(v1::LimitOverride {
            limit: "concurrent".into(),
            included_units,
            subject: String::new(),
        })
    };
    put("jobs", most(Some(1))).await.unwrap();
    assert!(stage.acquire().await.0.allowed);
    assert_eq!(stage.acquire().await.0.denial, Some(Denial::ConcurrencyFull));
    put("jobs", most(None)).await.unwrap();
    assert!(stage.acquire().await.0.allowed);
    let rate = |units, seconds, burst_units| {
        let period = Some(prost_types::Duration { seconds, nanos: 0 });
        OverrideValue::Rate(v1::RateOverride {
            rate: Some(v1::Rate { units, period, burst_units }),
        })
    };
    let account = put("api", rate(100, 1, 100)).await.unwrap();
    let shown = account.overrides.iter().find(|over| over.feature == "api");
    assert_eq!(shown.and_then(|over| over.value.clone()), Some(rate(100, 1, 100)));
    assert!(stage.call(100).await.allowed);
    put("api", OverrideValue::Rate(v1::RateOverride { rate: None })).await.unwrap();
    assert!(stage.call(1_000_000).await.allowed);
    for wrong in [rate(0, 1, 1), rate(1, 0, 1), rate(1, 86_401, 1), rate(1, 3_600, 1_000)] {
        assert!(put("api", wrong).await.is_err());
    }
    assert!(put("jobs", rate(1, 1, 1)).await.is_err(), "it is no rate");
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn each_user_has_slots_of_its_own_over_kill_9() {
    let home = Home::with_settings(METERS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let run = async |stage: &Stage, user: &str, key: &str| {
        let call = stage.client.reserve("acme", "runs", 1).hold_for(Duration::from_secs(60));
        let call = call.subject(format!("user:{user}")).idempotency_key(key);
        let reserved = call.await.unwrap();
        (reserved.decision, reserved.reservation.map(|reservation| reservation.id))
    };
    let (first, id) = run(&stage, "u1", "a").await;
    let limit = first.binding.as_ref().unwrap();
    assert_eq!(
        (limit.limit.as_str(), limit.subject.as_deref()),
        ("concurrent_each", Some("user:u1"))
    );
    assert_eq!((limit.included_units, limit.reserved_units), (Some(1), 1));

    sidecar.kill();
    let _sidecar = home.start();
    let stage = Stage::new(&home).await;
    assert!(run(&stage, "u1", "a").await.0.replayed);
    let (full, _) = run(&stage, "u1", "b").await;
    assert_eq!(full.denial, Some(Denial::ConcurrencyFull));
    assert_eq!(full.binding.unwrap().subject.as_deref(), Some("user:u1"));
    assert_eq!(full.retry_after, Some(Duration::from_secs(60)));
    assert!(run(&stage, "u2", "c").await.0.allowed);
    stage.client.release("acme", id.unwrap()).await.unwrap();
    assert!(run(&stage, "u1", "d").await.0.allowed);
    // Time gives back what nobody does.
    stage.later(60_000).await;
    assert!(run(&stage, "u1", "e").await.0.allowed);

    let listed = stage.client.list_entitlements("acme").await.unwrap();
    let runs = listed.entitlements.iter().find(|one| one.feature == "runs").unwrap();
    assert_eq!((runs.slots_each, runs.slots_per.as_deref()), (Some(1), Some("user")));
    assert!(listed.entitlements.iter().all(|o| o.feature == "runs" || o.slots_per.is_none()));
    let one = v1::LimitOverride {
        limit: "concurrent_each".to_owned(),
        included_units: Some(2),
        subject: "user:u1".to_owned(),
    };
    let value = Some(OverrideValue::Limit(one));
    let value = v1::Override { feature: "runs".to_owned(), value, ..Default::default() };
    stage.admin.put_override("acme", value).await.unwrap();
    assert!(run(&stage, "u1", "f").await.0.allowed);
    assert!(!run(&stage, "u1", "g").await.0.allowed);
}
