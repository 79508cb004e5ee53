//! Reservations over the wire: committed in parts, charged when they end, over kill -9.

use std::time::Duration;

use headroom_proto::v1::{self, OnExpiry};
use headroom_sdk::{AdminClient, Client, Committed};

use crate::support::ask;
use crate::support::home::Home;

const TOKENS: &str = "\
default_plan: pro
features:
  tokens: { name: Tokens, kind: quota, unit: tokens, limits: { daily: { window: { calendar: day } } } }
plans:
  pro:
    name: Pro
    entitlements: { tokens: { daily: { included: 1_000 } } }
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

    async fn later(&self, seconds: u64) {
        self.admin.advance_clock(Duration::from_secs(seconds)).await.unwrap();
    }

    async fn reserve(&self, units: u64, charge: bool) -> String {
        let call = self.client.reserve("acme", "tokens", units).hold_for(Duration::from_secs(600));
        let call = if charge { call.charge_on_expiry() } else { call };
        call.await.unwrap().reservation.expect("there is room").id
    }

    async fn part(&self, id: &str, units: u64, key: &str) -> Committed {
        let call = self.client.commit("acme", id, units).keep_open().idempotency_key(key);
        call.hold_for(Duration::from_secs(900)).await.unwrap()
    }

    /// Used and reserved of today.
    async fn counts(&self) -> (u64, u64) {
        let usage = self.client.get_usage("acme", None, None, None).await.unwrap();
        let today = usage.windows.iter().find(|window| !window.closed).expect("used today");
        (today.used_units, today.reserved_units)
    }
}

#[tokio::test]
async fn parts_of_a_stream_are_booked_while_it_runs_and_over_kill_9() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let id = stage.reserve(500, false).await;
    let first = stage.part(&id, 100, "part 1").await;
    assert_eq!((first.committed_units, first.surplus_units, first.late), (100, 0, false));
    assert_eq!(stage.counts().await, (100, 400));

    drop(stage);
    sidecar.kill();
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    assert_eq!(stage.counts().await, (100, 400));
    let again = stage.part(&id, 100, "part 1").await;
    assert!(again.decision.replayed, "a duplicate is answered and not booked");
    assert_eq!(again.expires_at, first.expires_at);
    let second = stage.part(&id, 450, "part 2").await;
    assert_eq!((second.committed_units, second.surplus_units), (450, 50), "never clamped");
    assert_eq!(stage.counts().await, (550, 0));

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let last = stage.client.commit("acme", &id, 10).await.unwrap();
    assert_eq!((last.surplus_units, last.expires_at), (10, None));
    assert_eq!(stage.counts().await, (560, 0));
    let more = stage.client.commit("acme", &id, 1).keep_open().await.unwrap_err();
    assert!(more.to_string().contains("560 units were committed"), "{more}");
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn an_end_charges_though_nobody_asks_and_a_late_commit_corrects_it_over_kill_9() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let (up, down) = (stage.reserve(100, true).await, stage.reserve(200, true).await);
    stage.reserve(300, false).await;
    stage.later(600).await;
    assert_eq!(stage.counts().await, (300, 0), "the third is given back");

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    assert_eq!(stage.counts().await, (300, 0));
    let more = stage.client.commit("acme", &up, 130).await.unwrap();
    assert_eq!((more.committed_units, more.surplus_units, more.late), (130, 30, true));
    let less = stage.client.commit("acme", &down, 20).await.unwrap();
    assert_eq!((less.committed_units, less.surplus_units, less.late), (20, 0, true));
    assert_eq!(stage.counts().await, (150, 0));
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let unknown = v1::ReserveRequest { on_expiry: 7, ..ask::reserve("acme", "tokens", 1, "a") };
    let status = client.reserve(unknown).await.unwrap_err();
    assert_eq!(ask::violations(&status)[0].0, "on_expiry");
    let release = OnExpiry::Release.into();
    let known = v1::ReserveRequest { on_expiry: release, ..ask::reserve("acme", "tokens", 1, "b") };
    let id = client.reserve(known).await.unwrap().into_inner().reservation_id;
    let nothing = v1::CommitRequest { keep_open: true, ..ask::commit("acme", &id, 0, "c") };
    let status = client.commit(nothing).await.unwrap_err();
    assert_eq!(ask::violations(&status)[0].0, "units");
    let hold_for = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let ends = v1::CommitRequest { hold_for, ..ask::commit("acme", &id, 1, "d") };
    let status = client.commit(ends).await.unwrap_err();
    assert_eq!(ask::violations(&status)[0].0, "hold_for");
    drop(client);
    sidecar.stop().await;
}
