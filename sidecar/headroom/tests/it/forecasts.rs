//! Projections over the wire: what a sidecar learns in weeks, what it keeps over a restart, and what it
//! says when it has lost it.

use std::time::{Duration, SystemTime};

use headroom_sdk::{AdminClient, Client, Projection, ProjectionBasis, ProjectionState};

use crate::support::home::Home;
use crate::support::until;

pub(crate) const CATALOG: &str = "\
default_plan: team
features:
  calls:
    name: Calls
    kind: quota
    limits:
      monthly: { window: { calendar: month } }
  burst:
    name: Burst
    kind: quota
    limits:
      rolling: { window: { sliding: 24 hours } }
plans:
  team:
    name: Team
    entitlements:
      calls: { monthly: { included: 3_000, policy: block } }
      burst: { rolling: { included: 100, policy: block } }
sinks:
  - { sink: told, kind: ndjson, path: signals.ndjson, signals: [projected_exhaustion] }
";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Midnight of 1 April 2030, a Monday.
const APRIL: u64 = 1_901_232_000;

pub(crate) fn day(number: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(APRIL) + DAY * number
}

/// Uses 100 at noon of each working day of the days in question, and ends at midnight.
pub(crate) async fn live(client: &Client, admin: &AdminClient, days: std::ops::Range<u32>) {
    for number in days {
        admin.set_clock(day(number) + DAY / 2).await.unwrap();
        if number % 7 < 5 {
            client.consume("acme", "calls", 100).await.unwrap();
        }
        admin.set_clock(day(number + 1)).await.unwrap();
    }
}

async fn projected(client: &Client, feature: &str) -> Projection {
    let asked = client.check("acme", feature).with_projection();
    asked.await.unwrap().projection.unwrap()
}

#[tokio::test]
async fn weeks_are_learned_and_kept_over_a_restart() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.set_clock(day(0)).await.unwrap();
    client.consume("acme", "calls", 1).await.unwrap();
    let first = projected(&client, "calls").await;
    assert_eq!((first.state, first.probability_bp), (ProjectionState::Learning, None));

    // Four weeks of April, then until Friday evening of the third week of May, the 17th.
    live(&client, &admin, 0..47).await;
    let told = projected(&client, "calls").await;
    assert_eq!(
        (told.state, told.basis),
        (ProjectionState::WithinLimit, ProjectionBasis::WeeklyRhythm)
    );
    assert_eq!(told.observed_since, Some(day(0)));
    // 23 working days of May at 100 each; 1,300 are used.
    let (low, middle, high) = ends(&told);
    assert!(low <= 2_300 && 2_300 <= high && middle.abs_diff(2_300) < 150, "{told:?}");
    assert!(told.probability_bp.unwrap() < 500, "{told:?}");

    sidecar.stop().await;
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    assert_eq!(projected(&client, "calls").await, told);

    // Without its histories it goes on with what the window itself says, and learns anew.
    sidecar.stop().await;
    std::fs::remove_file(home.data().join("histories.redb")).unwrap();
    let sidecar = home.start();
    drop((client, admin));
    let (client, _) = home.clients().await;
    let alone = projected(&client, "calls").await;
    assert_eq!((alone.basis, alone.observed_since), (ProjectionBasis::Pace, Some(day(30))));
    sidecar.stop().await;
}

#[track_caller]
fn ends(told: &Projection) -> (u64, u64, u64) {
    let [low, middle, high] =
        [told.units_at_window_end_low, told.units_at_window_end, told.units_at_window_end_high];
    (low.unwrap(), middle.unwrap(), high.unwrap())
}

#[tokio::test]
async fn a_limit_that_will_be_reached_has_a_date_with_its_interval() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    live(&client, &admin, 0..30).await;
    // May: three times as much.
    for number in 30..37 {
        admin.set_clock(day(number) + DAY / 2).await.unwrap();
        client.consume("acme", "calls", 300).await.unwrap();
        admin.set_clock(day(number + 1)).await.unwrap();
    }
    let told = projected(&client, "calls").await;
    assert_eq!(told.state, ProjectionState::ReachesLimit, "{told:?}");
    let (at, from) = (told.reaches_limit_at.unwrap(), told.reaches_limit_from.unwrap());
    assert!(day(38) < from && from <= at && at < day(61), "{told:?}");
    assert!(told.reaches_limit_to.is_none_or(|to| at <= to && to <= day(61)), "{told:?}");
    assert!(told.probability_bp.unwrap() > 5_000, "{told:?}");
    // Much used since: it is told anew, though the last answer is not five minutes old.
    client.consume("acme", "calls", 600).await.unwrap();
    assert!(projected(&client, "calls").await.reaches_limit_at.unwrap() < at);

    // Units leave a sliding window again: nothing is foretold of it.
    client.consume("acme", "burst", 50).await.unwrap();
    assert_eq!(projected(&client, "burst").await.state, ProjectionState::Learning);
    sidecar.stop().await;
}

/// The horizons that were told of, in their order, and the last line.
fn told(home: &Home) -> (Vec<u64>, serde_json::Value) {
    let text = std::fs::read_to_string(home.data().join("signals.ndjson")).unwrap_or_default();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let days = lines.iter().map(|line| line["data"]["projected"]["days"].as_u64().unwrap());
    (days.collect(), lines.last().cloned().unwrap_or_default())
}

#[tokio::test]
async fn an_exhaustion_is_told_two_weeks_and_three_days_ahead_and_once() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    live(&client, &admin, 0..30).await;
    assert!(told(&home).0.is_empty(), "2,200 of 3,000 are not reached");
    // From May on 150 a day: 3,000 are used up on the 20th.
    for number in 30..48 {
        admin.set_clock(day(number) + DAY / 2).await.unwrap();
        client.consume("acme", "calls", 150).await.unwrap();
        admin.set_clock(day(number + 1)).await.unwrap();
    }
    let (days, last) = until("both horizons are told", || {
        let (days, last) = told(&home);
        (days.len() == 2).then_some((days, last))
    });
    assert_eq!(days, [14, 3]);
    assert_eq!(last["type"], "headroom.signal.projected_exhaustion");
    let data = &last["data"];
    assert_eq!((&data["account"], &data["limit"]), (&"acme".into(), &"monthly".into()));
    assert!(data["dedup_key"].as_str().unwrap().ends_with("/projected_3"), "{data}");
    assert!(
        data["projected"]["reaches_limit_at"].as_str().unwrap().starts_with("2030-05-2"),
        "{data}"
    );
    drop((client, admin));
    sidecar.stop().await;

    // A new process without histories does not say it again.
    std::fs::remove_file(home.data().join("histories.redb")).unwrap();
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    client.consume("acme", "calls", 150).await.unwrap();
    admin.set_clock(day(49)).await.unwrap();
    drop((client, admin));
    sidecar.stop().await;
    assert_eq!(told(&home).0, [14, 3]);
}
