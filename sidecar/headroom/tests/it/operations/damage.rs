//! Bytes of the journal that are not what was written.

use std::fs;
use std::path::PathBuf;

use headroom_proto::v1;

use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

/// Consumes one unit under each of so many keys.
async fn use_units(home: &Home, count: i64) {
    let mut client = ask::entitlements(home).await;
    for key in 0..count {
        assert!(ask::consumed(&mut client, "acme", "calls", 1, &key.to_string()).await.allowed);
    }
}

/// The segment that is written, and its bytes.
fn last_segment(home: &Home) -> (PathBuf, Vec<u8>) {
    let files = fs::read_dir(home.data().join("journal")).unwrap();
    let names = files.map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let path = names.filter(is_segment).max().expect("a segment");
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).expect("records") + 1
}

#[tokio::test]
async fn damage_before_the_end_is_never_guessed_over() {
    let home = Home::new(PLAIN);
    let mut sidecar = home.start();
    use_units(&home, 200).await;
    sidecar.kill();
    drop(sidecar);
    let (path, mut bytes) = last_segment(&home);
    let middle = written(&bytes) / 2;
    bytes[middle] ^= 0x10;
    fs::write(&path, &bytes).unwrap();

    let refused = home.refused();
    assert_eq!(refused.code, Some(1));
    let place = format!("{} is damaged at byte", path.display());
    for part in [&*place, "Run `headroom inspect DIR`", "restore the latest backup"] {
        assert!(refused.stderr.contains(part), "no {part:?} in {}", refused.stderr);
    }
    assert_eq!(fs::read(&path).unwrap(), bytes, "the evidence is not touched");
    let inspected = home.run(&["inspect", &home.data().display().to_string()]);
    assert_eq!(inspected.code, Some(1));
    assert!(inspected.stdout.contains(&place), "{}", inspected.stdout);

    bytes[middle] ^= 0x10;
    fs::write(&path, &bytes).unwrap();
    let sidecar = home.start();
    assert_eq!(ask::used(&mut ask::entitlements(&home).await, "acme", "calls").await, (200, 0));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_torn_end_is_cut_off() {
    let home = Home::new(PLAIN.split_once("sinks:").unwrap().0);
    let mut sidecar = home.start();
    use_units(&home, 20).await;
    sidecar.kill();
    drop(sidecar);
    // As a write that was cut short leaves it: the last bytes never arrived.
    let (path, mut bytes) = last_segment(&home);
    let end = written(&bytes);
    bytes[end - 5..end].fill(0);
    fs::write(&path, &bytes).unwrap();

    let data = home.data().display().to_string();
    let inspected = home.run(&["inspect", &data]);
    assert_eq!(inspected.code, Some(0), "{inspected:?}");
    assert!(inspected.stdout.contains("bytes of a write that was cut short"), "{inspected:?}");
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (19, 0));
    let again = ask::consumed(&mut client, "acme", "calls", 1, "19").await;
    assert!(!again.replayed, "its record was the torn one");
    drop(client);
    sidecar.stop().await;

    let inspected = home.run(&["inspect", &data, "--json"]);
    assert_eq!(inspected.code, Some(0), "{inspected:?}");
    let json: serde_json::Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!((&json["damage"], &json["opened"]), (&serde_json::json!([]), &2.into()));
    let ledger = &json["accounts"][0]["ledgers"][0];
    assert_eq!((&ledger["feature"], &ledger["used_units"]), (&"calls".into(), &20.into()));
}

#[tokio::test]
async fn inspect_leaves_a_sidecar_and_its_data_alone() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let data = home.data().display().to_string();
    let busy = home.run(&["inspect", &data]);
    assert_eq!(busy.code, Some(1));
    assert!(busy.stderr.contains("is in use by another process"), "{}", busy.stderr);
    use_units(&home, 3).await;
    sidecar.stop().await;

    let files = || {
        let journal = fs::read_dir(home.data().join("journal")).unwrap();
        let all = fs::read_dir(home.data()).unwrap().chain(journal).map(|entry| entry.unwrap());
        let mut names: Vec<_> = all
            .map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap()))
            .collect();
        names.sort();
        names
    };
    let before = files();
    let inspected = home.run(&["inspect", &data]);
    assert_eq!((inspected.code, inspected.stderr.as_str()), (Some(0), ""));
    assert!(inspected.stdout.contains("acme  calls/total"), "{}", inspected.stdout);
    assert!(inspected.stdout.contains("used 3, reserved 0, debt 0"), "{}", inspected.stdout);
    assert_eq!(files(), before);

    let nowhere = home.run(&["inspect", &home.path("nowhere").display().to_string()]);
    assert_eq!(nowhere.code, Some(1));
    let sidecar = home.start();
    let status = ask::status(&mut ask::admin(&home).await).await;
    assert_eq!(status, v1::GetStatusResponse { ledgers_halted: 0, ..status.clone() });
    sidecar.stop().await;
}
