//! Allocations over the wire: what comes and goes, over kill -9, and what a month comes to.

use std::time::{Duration, SystemTime};

use headroom_proto::v1::{self, BilledBy, Denial, FeatureKind, r#override::Value as OverrideValue};
use headroom_sdk::{AdminClient, Allocated, Client, LevelChange, UsageWindow};

use crate::support::ask::{self, subscription};
use crate::support::home::Home;

const THINGS: &str = "\
default_plan: pro
features:
  storage: { name: Storage, kind: allocation, unit: MB, billed_by: average }
  calls: { name: Calls, kind: quota, limits: { daily: { window: { calendar: day } } } }
plans:
  pro:
    name: Pro
    entitlements:
      storage:
        included: 100
        soft_limits: [80%]
        policy: { overage: { unit_price_minor: 2.5, currency: USD } }
      calls: { daily: { included: 5 } }
  strict:
    name: Strict
    entitlements:
      storage: { included: 100 }
prompts:
  - prompt: full
    scenario: limit_hit
    title: '{{ used }} of {{ included }} {{ unit }}'
    message: Delete something
";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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

    async fn change(&self, change: LevelChange) -> Allocated {
        self.client.allocate("acme", "storage", change).with_prompt().await.unwrap()
    }

    async fn days(&self, days: u32) {
        self.admin.advance_clock(DAY * days).await.unwrap();
    }

    async fn usage(&self, since: Option<SystemTime>) -> Vec<UsageWindow> {
        self.client.get_usage("acme", Some("storage"), since, None).await.unwrap().windows
    }
}

fn level(allocated: &Allocated) -> u64 {
    allocated.decision.binding.as_ref().expect("a limit").used_units
}

#[tokio::test]
async fn what_is_removed_makes_room_also_over_kill_9() {
    let home = Home::with_settings(THINGS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.admin.put_subscription(subscription("acme", "strict")).await.unwrap();
    let added = stage.change(LevelChange::Add(90)).await;
    assert_eq!((added.added_units, added.removed_units, level(&added)), (90, 0, 90));
    let refused = stage.change(LevelChange::Set(101)).await.decision;
    assert_eq!((refused.denial, refused.retry_after), (Some(Denial::QuotaExhausted), None));
    assert_eq!(refused.prompt.expect("a prompt").title, "90 of 100 MB");
    let limit = refused.binding.expect("a limit");
    assert_eq!((limit.limit.as_str(), limit.window_end), ("level", None));

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    assert_eq!(level(&stage.change(LevelChange::Set(90)).await), 90, "it was not lost");
    let removed = stage.change(LevelChange::Remove(40)).await;
    assert_eq!((removed.removed_units, removed.clamped, level(&removed)), (40, false, 50));
    assert!(stage.change(LevelChange::Set(100)).await.decision.allowed);
    let reported = stage.change(LevelChange::Report(130)).await;
    assert_eq!((reported.added_units, reported.debt_units, level(&reported)), (30, 30, 130));
    let removed = stage.change(LevelChange::Remove(1_000)).await;
    assert_eq!((removed.removed_units, removed.clamped, level(&removed)), (130, true, 0));

    // The unary call is the same, and says what it is not for.
    let mut client = ask::entitlements(&home).await;
    let mut rq = v1::AllocateRequest {
        account: "acme".to_owned(),
        feature: "storage".to_owned(),
        change: Some(v1::allocate_request::Change::AddUnits(3)),
        idempotency_key: "unary".to_owned(),
        include: None,
    };
    let first = client.allocate(rq.clone()).await.unwrap().into_inner();
    let again = client.allocate(rq.clone()).await.unwrap().into_inner();
    assert_eq!((first.added_units, again.added_units), (3, 3));
    assert!(again.decision.unwrap().replayed);
    assert_eq!(first.decision.unwrap().binding.unwrap().billed_units, Some(3));
    rq.feature = "calls".to_owned();
    rq.idempotency_key = "other".to_owned();
    let status = client.allocate(rq.clone()).await.unwrap_err();
    assert!(status.message().contains("only an allocation has a level"), "{status}");
    rq.change = None;
    assert_eq!(ask::violations(&client.allocate(rq).await.unwrap_err())[0].0, "change");
    drop((stage, client));
    sidecar.stop().await;
}

#[tokio::test]
async fn an_upload_of_unknown_size_is_held_then_committed() {
    let home = Home::with_settings(THINGS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.admin.put_subscription(subscription("acme", "strict")).await.unwrap();
    let held = stage.client.reserve("acme", "storage", 60).await.unwrap();
    let refused = stage.client.consume("acme", "storage", 50).await.unwrap();
    assert_eq!(refused.denial, Some(Denial::InFlight));
    let id = held.reservation.expect("a reservation").id;
    stage.client.commit("acme", &id, 45).await.unwrap();
    let added = stage.client.consume("acme", "storage", 55).await.unwrap();
    assert_eq!(added.binding.expect("a limit").used_units, 100);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_month_is_in_the_history_though_nobody_asked_and_costs_what_the_screen_said() {
    let home = Home::with_settings(THINGS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let begun = stage.admin.put_subscription(subscription("acme", "pro")).await.unwrap();
    let anchor = SystemTime::try_from(begun.anchor.unwrap()).unwrap();
    stage.change(LevelChange::Add(200)).await;
    stage.days(10).await;
    stage.change(LevelChange::Remove(100)).await;

    let open = stage.usage(None).await;
    let [window] = &open[..] else { panic!("{open:?}") };
    assert_eq!((window.window_start, window.closed), (Some(anchor), false));
    let month = window.window_end.unwrap().duration_since(anchor).unwrap();
    let days = month.as_secs() / DAY.as_secs();
    // A moment before the end: what the screen says.
    let rest = month - DAY * 10 - Duration::from_millis(1);
    stage.admin.advance_clock(rest).await.unwrap();
    let listed = stage.client.list_entitlements("acme").await.unwrap();
    let storage = &listed.entitlements[0];
    assert_eq!(storage.kind, FeatureKind::Allocation);
    let shown = storage.limits[0].clone();
    let average = (200 * 10 + 100 * (days - 10)) / days;
    assert_eq!((shown.used_units, shown.billed_units), (100, Some(average)));
    assert_eq!(shown.overage_units, average - 100);
    assert_eq!(shown.overage_cost.unwrap().minor, (average - 100) * 5 / 2);

    // Nobody asks any more. Time passes, and the month is in the history.
    stage.days(1).await;
    let mut seen = Vec::new();
    for _ in 0..200 {
        seen = stage.usage(Some(anchor)).await;
        if seen.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let [open, closed] = &seen[..] else { panic!("{seen:?}") };
    assert!(closed.closed && !open.closed);
    assert_eq!((closed.window_start, closed.window_end), (Some(anchor), open.window_start));
    assert_eq!((closed.limit.as_str(), closed.used_units), ("level", average));
    let allocation = closed.allocation.expect("an allocation");
    assert_eq!(allocation.billed_by, BilledBy::Average);
    let measured = (allocation.level_units, allocation.peak_units, allocation.average_units);
    assert_eq!(measured, (100, 200, average));
    let now = open.allocation.expect("an allocation");
    assert_eq!((now.level_units, now.peak_units, now.average_units), (100, 100, 100));
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn an_override_says_how_much_there_may_be() {
    let home = Home::with_settings(THINGS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.admin.put_subscription(subscription("acme", "strict")).await.unwrap();
    let put = async |limit: &str, included_units| {
        let value = OverrideValue::Limit(v1::LimitOverride {
            limit: limit.into(),
            included_units,
            subject: String::new(),
        });
        let over =
            v1::Override { feature: "storage".into(), value: Some(value), ..Default::default() };
        stage.admin.put_override("acme", over).await
    };
    put("level", Some(150)).await.unwrap();
    assert!(stage.change(LevelChange::Add(150)).await.decision.allowed);
    assert!(!stage.change(LevelChange::Add(1)).await.decision.allowed);
    put("level", None).await.unwrap();
    assert!(stage.change(LevelChange::Add(1_000)).await.decision.allowed);
    assert!(put("daily", Some(1)).await.is_err());
    drop(stage);
    sidecar.stop().await;
}

/// `storage` is a quota by now, and its level rests.
const NO_THINGS: &str = "\
default_plan: pro
features:
  storage: { name: Storage, kind: quota, unit: MB, limits: { monthly: { window: billing } } }
plans:
  pro: { name: Pro, entitlements: { storage: { monthly: { included: 100 } } } }
  strict: { name: Strict, entitlements: { storage: { monthly: { included: 100 } } } }
migrations:
  - { change_kind: storage, to: quota }
  - { drop_feature: calls }
";

impl Stage {
    /// The windows of `level`: the one of now, and as many that are over as are waited for.
    async fn levels(&self, since: SystemTime, closed: usize) -> (UsageWindow, Vec<UsageWindow>) {
        let mut seen = Vec::new();
        for _ in 0..200 {
            seen = self.usage(Some(since)).await;
            seen.retain(|window| window.limit == "level");
            if seen.len() > closed {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(seen.len(), closed + 1, "{seen:?}");
        (seen.remove(0), seen)
    }
}

fn measured(window: &UsageWindow) -> (u64, u64, u64, u64) {
    let Some(of) = window.allocation.as_ref() else { panic!("{window:?}") };
    (window.used_units, of.peak_units, of.average_units, of.level_units)
}

#[tokio::test]
async fn what_rests_is_billed_no_more_over_reload_and_kill_9_and_comes_back() {
    let home = Home::with_settings(THINGS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let begun = stage.admin.put_subscription(subscription("acme", "pro")).await.unwrap();
    let anchor = SystemTime::try_from(begun.anchor.unwrap()).unwrap();
    stage.change(LevelChange::Add(200)).await;
    stage.days(10).await;
    home.write_catalog(NO_THINGS);
    let reloaded = home.run(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    drop(stage);
    sidecar.kill();
    sidecar = home.start();
    let mut stage = Stage::new(&home).await;

    // Ten days of it were there, of whatever days the month has.
    let (open, _) = stage.levels(anchor, 0).await;
    assert!(open.resting && !open.closed);
    assert_eq!(measured(&open), (200, 200, 200, 0));
    let month = open.window_end.unwrap().duration_since(anchor).unwrap();
    let average = 2_000 / (month.as_secs() / DAY.as_secs());
    stage.days(30).await;
    let (open, closed) = stage.levels(anchor, 1).await;
    assert_eq!(measured(&closed[0]), (average, 200, average, 0));
    assert_eq!(measured(&open), (0, 0, 0, 0));
    // The feature is a quota like any other, and four months of it say nothing of the level.
    assert!(stage.client.consume("acme", "storage", 7).await.unwrap().allowed);
    stage.days(120).await;
    drop(stage);
    sidecar.kill();
    sidecar = home.start();
    stage = Stage::new(&home).await;
    let (open, closed) = stage.levels(anchor, 1).await;
    assert_eq!((measured(&open), closed.len()), ((0, 0, 0, 0), 1));

    // It is what it was, and what is there was there all the time.
    let again = format!("{THINGS}migrations:\n  - {{ change_kind: storage, to: allocation }}\n");
    home.write_catalog(&again);
    let reloaded = home.run(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    drop(stage);
    sidecar.kill();
    sidecar = home.start();
    stage = Stage::new(&home).await;
    let (open, _) = stage.levels(anchor, 1).await;
    let now = measured(&open);
    assert!(!open.resting && (now.1, now.3) == (200, 200), "{open:?}");
    assert_eq!(level(&stage.change(LevelChange::Remove(50)).await), 150);
    stage.days(62).await;
    let (open, closed) = stage.levels(anchor, 3).await;
    assert_eq!(measured(&open), (150, 150, 150, 150));
    assert_eq!(measured(&closed[2]), (150, 150, 150, 150));
    let (used, peak, average, end) = measured(&closed[1]);
    assert!(used == average && average < 150 && (peak, end) == (200, 150), "{closed:?}");
    drop(stage);
    sidecar.stop().await;
}
