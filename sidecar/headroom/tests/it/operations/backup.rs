//! A copy of a running sidecar is a sidecar as of one moment.

use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

#[tokio::test]
async fn a_backup_is_taken_with_the_command_line_and_started_on() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    ask::subscribe(&mut ask::admin(&home).await, "acme", "tight").await;
    let first = ask::consumed(&mut client, "acme", "slots", 30, "before").await;
    let held = client.reserve(ask::reserve("acme", "slots", 5, "hold")).await.unwrap();
    let held = held.into_inner().reservation_id;

    let copy = Home::new(PLAIN);
    let made = home.run(&["backup", &copy.data().display().to_string()]);
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""));
    ask::consumed(&mut client, "acme", "slots", 3, "after").await;

    let second = copy.start(); // Both run at the same time: each has its own directory.
    let mut restored = ask::entitlements(&copy).await;
    assert_eq!(ask::used(&mut restored, "acme", "slots").await, (30, 5));
    let again = ask::consumed(&mut restored, "acme", "slots", 30, "before").await;
    assert!(again.replayed && again.decision_id == first.decision_id);
    restored.commit(ask::commit("acme", &held, 4, "commit")).await.unwrap();
    assert_eq!(ask::used(&mut restored, "acme", "slots").await, (34, 0));
    assert_eq!(ask::used(&mut client, "acme", "slots").await, (33, 5));
    drop((client, restored));
    second.stop().await;
    sidecar.stop().await;

    let inspected = copy.run(&["inspect", &copy.data().display().to_string()]);
    assert_eq!(inspected.code, Some(0), "{inspected:?}");
}
