//! What happened earlier, over the wire: late events, corrections and the traffic of monitors, over
//! kill -9.

use std::time::{Duration, SystemTime};

use headroom_sdk::{
    Adjustment, AdjustmentKind, AdminClient, Client, Error, ErrorReason, UsageWindow,
};

use crate::support::home::Home;
use crate::support::until_async;

const TOKENS: &str = "\
default_plan: pro
features:
  tokens: { name: Tokens, kind: quota, unit: tokens, limits: {
    hourly: { window: { calendar: hour } }, monthly: { window: { calendar: month } } } }
  jobs: { name: Jobs, kind: concurrency, unit: jobs }
plans:
  pro:
    name: Pro
    entitlements:
      tokens:
        hourly: { included: 1_000 }
        monthly: { included: 100, soft_limits: [50%], policy: { overage: {
          unit_price_minor: 2, currency: USD } } }
      jobs: { max: 1 }
sinks:
  - { sink: audit, kind: ndjson, path: signals.ndjson }
";

/// 2020-01-01T00:00:00Z, where a test clock begins.
const BEGIN: u64 = 1_577_836_800;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + seconds)
}

struct Stage {
    client: Client,
    admin: AdminClient,
}

impl Stage {
    async fn new(home: &Home) -> Stage {
        let (client, admin) = home.clients().await;
        Stage { client, admin }
    }

    async fn clock(&self, seconds: u64) {
        self.admin.set_clock(at(seconds)).await.unwrap();
    }

    async fn late(&self, units: u64, seconds: u64, key: &str) -> Result<bool, Error> {
        let call = self.client.record("acme", "tokens", units).occurred_at(at(seconds));
        call.idempotency_key(key).await.map(|recorded| recorded.decision.replayed)
    }

    /// All windows of a limit, oldest first.
    async fn windows(&self, limit: &str) -> Vec<UsageWindow> {
        let (mut windows, mut token): (_, Option<String>) = (Vec::new(), None);
        loop {
            let since = Some(SystemTime::UNIX_EPOCH);
            let page = self.client.get_usage("acme", None, since, token.as_deref()).await.unwrap();
            windows.extend(page.windows.into_iter().filter(|window| window.limit == limit));
            token = page.next_page_token;
            if token.is_none() {
                windows.sort_by_key(|window| window.window_start);
                return windows;
            }
        }
    }

    /// The window that began at so many seconds, once the history shows these units.
    async fn used(&self, limit: &str, seconds: u64, units: u64) -> UsageWindow {
        until_async("the history", async || {
            let windows = self.windows(limit).await;
            let mut windows = windows.into_iter();
            windows.find(|w| w.window_start == Some(at(seconds)) && w.used_units == units)
        })
        .await
    }

    async fn adjustments(&self, count: usize) -> Vec<Adjustment> {
        until_async("the trail", async || {
            let page = self.client.list_adjustments("acme", Some("tokens"), None).await.unwrap();
            Some(page.adjustments).filter(|found| found.len() == count)
        })
        .await
    }
}

#[track_caller]
fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> Option<ErrorReason> {
    result.expect_err("refused").reason()
}

#[tokio::test]
async fn a_late_event_restates_its_window_and_its_key_outlasts_weeks_and_kill_9() {
    let home = Home::with_settings(TOKENS, "clock: test\nidempotency: { horizon: 1h }\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.clock(10).await;
    stage.client.consume("acme", "tokens", 5).await.unwrap();
    // Two hours later the first hour has closed; its month is open.
    stage.clock(2 * HOUR + 10).await;
    stage.client.consume("acme", "tokens", 1).await.unwrap();
    assert!(!stage.late(7, 20, "delta-1").await.unwrap());
    let closed = stage.used("hourly", 0, 12).await;
    assert_eq!((closed.closed, closed.used_units_at_close), (true, Some(5)));
    assert_eq!(stage.used("monthly", 0, 13).await.used_units_at_close, None);
    // An hour without use gets a window of its own.
    assert!(!stage.late(3, HOUR + 1, "delta-2").await.unwrap());
    assert_eq!(stage.used("hourly", HOUR, 3).await.used_units_at_close, Some(0));

    // Four weeks later, long after any key memory: the duplicate is known, another payload an error.
    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.clock(28 * DAY).await;
    assert!(stage.late(7, 20, "delta-1").await.unwrap(), "replayed");
    let other = reason(stage.late(8, 20, "delta-1").await);
    assert_eq!(other, Some(ErrorReason::IdempotencyKeyReused));
    stage.used("hourly", 0, 12).await;

    // What cannot be restated any more is refused, and so is the future.
    stage.clock(36 * DAY).await;
    assert_eq!(reason(stage.late(1, 30, "old").await), Some(ErrorReason::EventTooOld));
    assert_eq!(
        reason(stage.late(1, 36 * DAY + 301, "ahead").await),
        Some(ErrorReason::InvalidField)
    );
    assert!(!stage.late(1, 36 * DAY + 299, "skewed").await.unwrap());
    stage.used("hourly", 36 * DAY, 1).await;
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn deltas_re_sent_after_a_time_out_count_once() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.clock(DAY).await;
    let delta = |number: u64| {
        let call = stage.client.record("acme", "tokens", number + 1).occurred_at(at(number * 60));
        call.idempotency_key(format!("delta-{number}"))
    };
    // Each is sent several times at once, as by a client that does not wait for answers.
    let all = (0..40).flat_map(|number| (0..4).map(move |_| number));
    let calls: Vec<_> = all.map(|number| tokio::spawn(delta(number).into_future())).collect();
    let mut first = 0;
    for call in calls {
        first += u64::from(!call.await.unwrap().unwrap().decision.replayed);
    }
    assert_eq!(first, 40);
    stage.used("monthly", 0, (1..=40).sum()).await;
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn usage_is_not_refused_because_the_memory_of_keys_is_full() {
    let memory = "idempotency: { horizon: 1h, entries_max: 1_000 }\n";
    let home = Home::with_settings(TOKENS, &format!("clock: test\n{memory}"));
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.clock(DAY).await;
    for batch in 0..30 {
        let call = |number| {
            let key = format!("event-{}", batch * 100 + number);
            let call = stage.client.record("acme", "tokens", 1).occurred_at(at(3 * HOUR));
            tokio::spawn(call.idempotency_key(key).into_future())
        };
        for call in (0..100).map(call).collect::<Vec<_>>() {
            assert!(!call.await.unwrap().unwrap().decision.replayed);
        }
    }
    stage.used("hourly", 3 * HOUR, 3_000).await;
    assert!(stage.late(1, 3 * HOUR, "event-0").await.unwrap(), "the first is still known");
    // They took no more than half of the places that keys of other writes have.
    assert_eq!(stage.admin.get_status().await.unwrap().idempotency_keys, 500);
    drop(stage);
    sidecar.stop().await;
}

/// Signals of the uses of the next test.
const SIGNALS: i64 = 4;

#[tokio::test]
async fn what_is_displayed_and_what_is_billed_do_not_differ_whatever_is_put_right() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.clock(10).await;
    let consume = |units, key: &'static str| {
        stage.client.consume("acme", "tokens", units).idempotency_key(key)
    };
    consume(90, "a").await.unwrap();
    let over = consume(30, "b").await.unwrap();
    let cost = over.binding.unwrap().overage_cost.expect("a price");
    assert_eq!((cost.minor, cost.currency.as_str()), (40, "USD"));
    // Counted as it came: the correction must say what it was.
    let plain = stage.client.correct("acme", "tokens", "b").units(12);
    assert_eq!(reason(plain.clone().await), Some(ErrorReason::InvalidField));
    assert_eq!(reason(plain.clone().original_units(31).await), Some(ErrorReason::InvalidField));
    let amend = plain.original_units(30).reason("billed twice").idempotency_key("fix-1");
    let amended = amend.clone().with_all_limits().await.unwrap();
    assert_eq!(amended.units, 12);
    let monthly = amended.decision.binding.iter().chain(&amended.decision.other_limits);
    let monthly = monthly.clone().find(|limit| limit.limit == "monthly").unwrap();
    assert_eq!((monthly.used_units, monthly.overage_units), (102, 2));
    assert_eq!(monthly.overage_cost.as_ref().unwrap().minor, 4, "what is shown is what is billed");
    assert!(amend.clone().await.unwrap().decision.replayed, "once");
    stage.late(20, 5, "late").await.unwrap();
    // The count is the projection's, which follows the journal.
    until_async("every signal is counted", async || {
        (stage.admin.get_status().await.unwrap().signals_emitted == SIGNALS).then_some(())
    })
    .await;

    // The month is over and closed; an event of it is withdrawn, another comes.
    stage.clock(31 * DAY + 10).await;
    consume(1, "next").await.unwrap();
    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.client.correct("acme", "tokens", "late").reason("a test run").await.unwrap();
    stage.client.correct("acme", "tokens", "b").units(10).await.unwrap();
    stage.late(5, 30 * DAY, "very-late").await.unwrap();
    assert_eq!(
        reason(stage.client.correct("acme", "tokens", "never").await),
        Some(ErrorReason::UnknownEvent)
    );

    let billed = stage.used("monthly", 0, 105).await;
    assert_eq!((billed.closed, billed.used_units_at_close), (true, Some(122)));
    let trail = stage.adjustments(10).await;
    let monthly: Vec<&Adjustment> =
        trail.iter().filter(|a| a.limit == "monthly" && a.window_start == Some(at(0))).collect();
    let told: Vec<(AdjustmentKind, &str, u64, u64, bool)> = monthly
        .iter()
        .map(|a| (a.kind, a.event_key.as_str(), a.units_before, a.units, a.after_close))
        .collect();
    assert_eq!(
        told,
        [
            (AdjustmentKind::Amended, "b", 30, 12, false),
            (AdjustmentKind::Recorded, "late", 0, 20, false),
            (AdjustmentKind::Withdrawn, "late", 20, 0, true),
            (AdjustmentKind::Amended, "b", 12, 10, true),
            (AdjustmentKind::Recorded, "very-late", 0, 5, true),
        ]
    );
    assert_eq!(monthly[0].reason.as_deref(), Some("billed twice"));
    assert_eq!((monthly[0].occurred_at, monthly[0].adjusted_at), (Some(at(10)), Some(at(10))));
    assert_eq!(monthly[2].adjusted_at, Some(at(31 * DAY + 10)));
    // The total is what was at the close, and what came after it.
    let after = monthly.iter().filter(|a| a.after_close);
    let total = after.fold(122, |total, a| total + a.units - a.units_before);
    assert_eq!(total, billed.used_units);
    // None of that is news: the thresholds of a month that is over, or that were told, stay told.
    // What was projected before that was asked for is counted: the adjustments are rows of it.
    assert_eq!(stage.admin.get_status().await.unwrap().signals_emitted, SIGNALS);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn no_alert_is_caused_by_the_vendors_own_monitors() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.clock(10).await;
    let probe = |units| stage.client.consume("acme", "tokens", units).synthetic();
    // The true road: decided by the true counters, durable, repeatable.
    let call = probe(60).idempotency_key("probe");
    let answer = call.clone().await.unwrap();
    assert!(answer.allowed && answer.binding.is_some());
    assert!(call.clone().await.unwrap().replayed);
    let refused = probe(2_000).await.unwrap();
    assert!(!refused.allowed, "no monitor is let through where a customer would not be");
    assert!(!stage.client.check("acme", "tokens").units(2_000).synthetic().await.unwrap().allowed);
    let hold = stage.client.reserve("acme", "jobs", 1).synthetic().await.unwrap();
    let hold = hold.reservation.expect("there is a slot").id;
    let held = stage.client.reserve("acme", "tokens", 900).synthetic().await.unwrap();
    let held = held.reservation.expect("there is room").id;
    assert!(stage.client.record("acme", "tokens", 5_000).synthetic().await.is_ok());

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    assert!(
        stage
            .client
            .consume("acme", "tokens", 60)
            .synthetic()
            .idempotency_key("probe")
            .await
            .unwrap()
            .replayed
    );
    // The same key without the mark is another write.
    let plain = stage.client.consume("acme", "tokens", 60).idempotency_key("probe").await;
    assert_eq!(reason(plain), Some(ErrorReason::IdempotencyKeyReused));
    assert_eq!(stage.client.commit("acme", held, 950).await.unwrap().debt_units, 0);
    stage.client.release("acme", hold).await.unwrap();
    assert_eq!(stage.admin.get_status().await.unwrap().signals_emitted, 0);
    assert_eq!(stage.windows("monthly").await, []);
    // What is heard first is the customer's own: signals go out in their order, and the count above may
    // trail.
    stage.client.consume("acme", "tokens", 70).await.unwrap();
    let first: serde_json::Value = until_async("a signal", async || {
        let told = std::fs::read_to_string(home.data().join("signals.ndjson")).ok()?;
        let (line, _) = told.split_once('\n')?;
        serde_json::from_str(line).ok()
    })
    .await;
    assert_eq!(first["data"]["current"]["used_units"], 70, "{first}");
    // The slot is the customer's.
    assert!(stage.client.reserve("acme", "jobs", 1).await.unwrap().decision.allowed);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn late_events_and_corrections_by_hand() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.clock(DAY).await;
    let endpoint = home.endpoint();
    let ask = |args: &[&str]| {
        let args = [&["ask", "--endpoint", &endpoint], args].concat();
        let ended = home.run(&args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    let when = "2020-01-01T10:00:00Z";
    ask(&["record", "acme", "tokens", "8", "--occurred-at", when, "--key", "job-7"]);
    stage.adjustments(2).await;
    let said = ask(&["correct", "acme", "tokens", "job-7", "--units", "6", "--reason", "retried"]);
    assert!(said.starts_with("it counts 6 now"), "{said}");
    stage.adjustments(4).await;
    let said = ask(&["adjustments", "acme"]);
    assert!(said.contains("amended: retried") && said.contains("job-7"), "{said}");
    let said = ask(&["usage", "acme", "--since", "2020-01-01"]);
    assert!(said.contains("tokens") && said.contains('6'), "{said}");
    drop(stage);
    sidecar.stop().await;
}

/// The catalog of a day with so many units, of the account and of each user, and of which debt is carried.
fn daily(included: u64, migrations: &str) -> String {
    let limit = match migrations {
        "" => "daily",
        _ => "of_day",
    };
    format!(
        "default_plan: pro\nfeatures:\n  tokens: {{ name: Tokens, kind: quota, unit: tokens, limits: {{\n    \
         {limit}: {{ window: {{ calendar: day }} }},\n    \
         own: {{ window: {{ calendar: day }}, per: user }} }} }}\n\
         plans:\n  pro: {{ name: Pro, entitlements: {{ tokens: {{\n    \
         {limit}: {{ included: {included}, debt: carry }}, own: {{ included: {included} }} }} }} }}\n{migrations}"
    )
}

/// A plan that gives more or less by now, a limit that is gone, and a kill -9 in between: what comes to a day that is
/// over owes by the limit of that day.
#[tokio::test]
async fn what_comes_late_owes_by_the_limit_of_its_own_day() {
    let home = Home::with_settings(&daily(10, ""), "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let record = async |stage: &Stage, units: u64, seconds: u64, key: &str| {
        let call = stage.client.record("acme", "tokens", units).occurred_at(at(seconds));
        call.subject("user:u").idempotency_key(key).await.unwrap().debt_units
    };
    stage.clock(10).await;
    assert_eq!(record(&stage, 5, 5, "first").await, 0);
    stage.clock(DAY + 10).await;
    // A downgrade that a kill follows; the first day has no successor yet, and is in memory.
    home.write_catalog(&daily(4, ""));
    assert!(stage.admin.reload_catalog().await.unwrap().changed);
    drop(stage);
    sidecar.kill();
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    assert_eq!(record(&stage, 6, 20, "downgraded").await, 1, "by 10 of then, not by 4 of now");
    // An upgrade, when the first day has left the memory.
    assert_eq!(record(&stage, 1, DAY, "today").await, 0);
    home.write_catalog(&daily(100, ""));
    assert!(stage.admin.reload_catalog().await.unwrap().changed);
    assert_eq!(record(&stage, 2, 30, "upgraded").await, 2, "by 10 of then, not by 100 of now");
    let first = stage.used("daily", 0, 13).await;
    assert_eq!((first.debt_units, first.terms.unwrap().included_units), (3, Some(10)));
    // The day after counts what the first one owes.
    assert_eq!(stage.used("daily", DAY, 4).await.terms.unwrap().carried_units, 3);

    // The limit goes, and an event of that day comes to more.
    stage.clock(2 * DAY + 10).await;
    home.write_catalog(&daily(50, "migrations:\n  - { drop_limit: daily, of: tokens }\n"));
    assert!(stage.admin.reload_catalog().await.unwrap().changed);
    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let call = stage.client.correct("acme", "tokens", "upgraded").units(4);
    assert_eq!(call.subject("user:u").await.unwrap().debt_units, 2);
    assert_eq!(stage.used("daily", 0, 15).await.debt_units, 5);
    drop(stage);
    sidecar.stop().await;
}

/// Who was given more before the day ended owes less at its end.
#[tokio::test]
async fn a_day_passes_on_what_its_limit_had_no_room_for_at_its_end() {
    let home = Home::with_settings(&daily(10, ""), "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.clock(10).await;
    let recorded = stage.client.record("acme", "tokens", 25).await.unwrap();
    assert_eq!(recorded.debt_units, 15);
    home.write_catalog(&daily(20, ""));
    assert!(stage.admin.reload_catalog().await.unwrap().changed);
    stage.clock(DAY + 10).await;
    let next = stage.used("daily", DAY, 5).await;
    assert_eq!((next.debt_units, next.terms.unwrap().carried_units), (0, 5));
    let first = stage.used("daily", 0, 25).await;
    assert_eq!(first.debt_units, 5);
    let left = stage.client.consume("acme", "tokens", 15).await.unwrap();
    assert!(left.allowed);
    assert!(!stage.client.consume("acme", "tokens", 1).await.unwrap().allowed);
    drop(stage);
    sidecar.stop().await;
}
