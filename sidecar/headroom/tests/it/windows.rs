//! Windows that end and accounts that begin while several clients are at it: each unit is in
//! exactly one window, and no window holds more than its limit.
//!
//! A request reads the clock before it has the account's lock, so requests are not decided in the
//! order of their instants. That must not show.

use std::collections::BTreeMap;
use std::time::Duration;

use headroom_proto::v1;
use headroom_proto::v1::operation::Operation as Op;
use headroom_proto::v1::operation_result::Result as OpResult;
use headroom_sdk::AdminClient;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

const CLIENTS: usize = 4;
const SLOTS_AN_HOUR: i64 = 50;

const HOURLY: &str = "\
default_plan: open
features:
  calls: { name: Calls, kind: quota, limits: { hourly: { window: { calendar: hour } } } }
  slots: { name: Slots, kind: quota, limits: { hourly: { window: { calendar: hour } } } }
plans:
  open:
    name: Open
    entitlements:
      calls: { hourly: { included: 1_000_000_000, policy: block } }
      slots: { hourly: { included: 50, policy: block } }
";

/// Whose an operation is, by the step of the play and the place in its batch.
type Whose = fn(u64, u64) -> String;

/// Units that were acknowledged, by account and feature.
type Sums = BTreeMap<(String, String), i64>;

fn feature(place: u64) -> &'static str {
    if place.is_multiple_of(4) { "slots" } else { "calls" }
}

/// Sends batches until it is told to stop.
async fn client(
    mut client: ask::Entitlements,
    number: usize,
    stop: watch::Receiver<u64>,
    answered: mpsc::Sender<()>,
    account: Whose,
) -> Sums {
    let mut sums = Sums::new();
    for batch in 0_u64.. {
        let step = *stop.borrow();
        if step == u64::MAX {
            break;
        }
        let one = |n: u64| {
            let (account, key) = (account(step, n), format!("{number}-{batch}-{n}"));
            Op::Consume(ask::consume(&account, feature(n), 1, &key))
        };
        let operations = (0..64).map(|n| v1::Operation { operation: Some(one(n)) }).collect();
        let messages = tokio_stream::iter([v1::DecideRequest { operations }]);
        let mut answers = client.decide(messages).await.unwrap().into_inner();
        for (n, result) in (0..).zip(answers.message().await.unwrap().unwrap().results) {
            let Some(OpResult::Consume(answer)) = result.result else { panic!("{result:?}") };
            let units = i64::from(answer.decision.unwrap().allowed);
            *sums.entry((account(step, n), feature(n).to_owned())).or_default() += units;
        }
        let _ = answered.try_send(()); // When full, the play has more than it waits for.
    }
    sums
}

/// Runs the clients while the clock is advanced so often by so much; returns what was acknowledged.
async fn play(home: &Home, steps: u64, by: Duration, account: Whose) -> Sums {
    let (step, steps_seen) = watch::channel(0);
    let (answer, mut answered) = mpsc::channel(2 * CLIENTS);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let connection = ask::entitlements(home).await;
        clients.spawn(client(connection, number, steps_seen.clone(), answer.clone(), account));
    }
    let admin = AdminClient::connect(home.admin()).await.unwrap();
    for number in 1..=steps {
        // In this order the first requests of a step come before and after its instant.
        step.send_replace(number);
        admin.advance_clock(by).await.unwrap();
        for _ in 0..CLIENTS {
            answered.recv().await.expect("a client is there");
        }
    }
    step.send_replace(u64::MAX);
    let mut sums = Sums::new();
    for (key, units) in clients.join_all().await.into_iter().flatten() {
        *sums.entry(key).or_default() += units;
    }
    sums
}

/// Every window there is and was.
async fn windows(client: &mut ask::Entitlements, account: &str) -> Vec<v1::UsageWindow> {
    let mut request = v1::GetUsageRequest {
        account: account.into(),
        closed_since: Some(prost_types::Timestamp::default()),
        page_size: 100,
        ..Default::default()
    };
    let mut windows = Vec::new();
    loop {
        let page = client.get_usage(request.clone()).await.unwrap().into_inner();
        windows.extend(page.windows);
        if page.next_page_token.is_empty() {
            return windows;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn no_unit_is_lost_or_admitted_twice_where_one_hour_ends_and_another_begins() {
    let home = Home::with_settings(HOURLY, "clock: test\n");
    let sidecar = home.start();
    let acked = play(&home, 200, Duration::from_secs(3600), |_, _| "acme".to_owned()).await;
    sidecar.stop().await;

    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let mut found = Sums::new();
    let mut starts = std::collections::BTreeSet::new();
    for window in windows(&mut client, "acme").await {
        let start = window.window_start.map(|start| start.seconds);
        assert!(starts.insert((window.feature.clone(), start)), "there twice: {window:?}");
        let most = if window.feature == "slots" { SLOTS_AN_HOUR } else { i64::MAX };
        assert!(window.used_units <= most && window.reserved_units == 0, "{window:?}");
        *found.entry(("acme".to_owned(), window.feature)).or_default() += window.used_units;
    }
    assert!(starts.len() > 100, "hardly any window: {}", starts.len());
    assert_eq!(found, acked);
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn an_account_that_several_clients_begin_at_once_has_one_ledger_per_limit() {
    let home = Home::with_settings(
        &PLAIN.replace("sso: on", "slots: { total: { included: 40 } }"),
        "clock: test\n",
    );
    let sidecar = home.start();
    // The new account comes late in the batch, so that the batch's instant is old by then.
    let account: Whose = |step, place| match place {
        0..48 => "busy".to_owned(),
        _ => format!("new-{step}"),
    };
    let acked = play(&home, 500, Duration::from_millis(1), account).await;
    let mut client = ask::entitlements(&home).await;
    for ((account, feature), units) in &acked {
        // Fails when there is more than one window.
        assert_eq!(ask::used(&mut client, account, feature).await, (*units, 0), "{account}");
        assert!(feature != "slots" || *units <= 40, "{account}: {units}");
    }
    println!("{} accounts", acked.len() / 2);
    drop(client);
    sidecar.stop().await;
}
