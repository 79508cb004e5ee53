//! A product's copy of what an account may use, kept right by a watch.

use std::time::Duration;

use headroom_proto::v1;
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::support::ask;
use crate::support::home::Home;

const CATALOG: &str = "\
features:
  tokens: { name: Tokens, kind: quota, limits: { daily: { window: { calendar: day } } } }
  sso: { name: Single sign-on, kind: switch }
plans:
  free:
    name: Free
    entitlements: { tokens: { daily: { included: 100, soft_limits: [80%], policy: block } } }
  pro:
    name: Pro
    entitlements: { tokens: { daily: { included: 1_000 } }, sso: on }
";

type Watch = Streaming<v1::WatchEntitlementsResponse>;

async fn watch(home: &Home, account: &str, counters: bool) -> Result<Watch, tonic::Status> {
    let rq = v1::WatchEntitlementsRequest {
        account: account.to_owned(),
        counters,
        ..v1::WatchEntitlementsRequest::default()
    };
    Ok(ask::entitlements(home).await.watch_entitlements(rq).await?.into_inner())
}

async fn next(watch: &mut Watch) -> v1::WatchEntitlementsResponse {
    let change = timeout(Duration::from_secs(10), watch.message()).await;
    change.expect("a change in time").expect("no error").expect("not the end")
}

/// Nothing comes for longer than a watch ever waits.
async fn is_silent(watch: &mut Watch) {
    let change = timeout(Duration::from_millis(1_500), watch.message()).await;
    assert!(change.is_err(), "{change:?}");
}

#[track_caller]
fn run(home: &Home, words: &str) {
    let ended = home.run(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{words}: {ended:?}");
}

fn features(change: &v1::WatchEntitlementsResponse) -> Vec<&str> {
    change.entitlements.iter().map(|one| one.feature.as_str()).collect()
}

#[tokio::test]
async fn a_copy_kept_by_a_watch_is_what_a_list_says() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let refused = watch(&home, "acme", false).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    run(&home, "account put acme --plan free");
    let mut coarse = watch(&home, "acme", false).await.unwrap();
    let mut fine = watch(&home, "acme", true).await.unwrap();
    let first = next(&mut coarse).await;
    assert_eq!((features(&first), first.plan.as_str()), (vec!["tokens", "sso"], "free"));
    assert_eq!(first.entitlements, next(&mut fine).await.entitlements);

    // A use changes a counter, and nothing that the account may do.
    let mut client = ask::entitlements(&home).await;
    client.consume(ask::consume("acme", "tokens", 10, "k1")).await.unwrap();
    let change = next(&mut fine).await;
    assert_eq!(features(&change), ["tokens"]);
    assert_eq!(change.entitlements[0].limits[0].used_units, 10);
    is_silent(&mut coarse).await;
    // A threshold passed is worth a word, and so is the end of what is included.
    client.consume(ask::consume("acme", "tokens", 70, "k2")).await.unwrap();
    let change = next(&mut coarse).await;
    assert_eq!(change.entitlements[0].limits[0].thresholds_passed_bp, [8_000]);
    client.consume(ask::consume("acme", "tokens", 20, "k3")).await.unwrap();
    let change = next(&mut coarse).await;
    assert_eq!(change.entitlements[0].denial(), v1::Denial::QuotaExhausted);
    // Time alone brings a new day.
    run(&home, "clock advance 1d");
    let change = next(&mut coarse).await;
    assert_eq!((features(&change), change.entitlements[0].allowed), (vec!["tokens"], true));

    // Whoever pays is let in, in the copy too.
    run(&home, "account put acme --plan pro");
    let change = next(&mut coarse).await;
    assert_eq!((features(&change), change.plan.as_str()), (vec!["tokens", "sso"], "pro"));
    assert!(change.entitlements[1].allowed);
    // A new catalog.
    home.write_catalog(&CATALOG.replace("1_000", "2_000"));
    run(&home, "reload");
    let change = next(&mut coarse).await;
    assert_eq!(change.entitlements[0].limits[0].included_units, Some(2_000));
    assert_eq!((features(&change), change.catalog_revision), (vec!["tokens"], 2));

    // A stop does not wait for watches: they end.
    drop(fine);
    sidecar.stop().await;
    let end = timeout(Duration::from_secs(10), coarse.message()).await.expect("an end");
    assert!(matches!(end, Ok(None)), "{end:?}");
}

#[tokio::test]
async fn a_thousand_watches_are_served_and_no_more_and_one_that_ends_makes_room() {
    let home = Home::new(&format!("default_plan: free\n{CATALOG}"));
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let mut watches = Vec::new();
    for number in 0..1_000 {
        // A connection carries so many streams; more connections carry more.
        if number % 100 == 0 {
            client = ask::entitlements(&home).await;
        }
        let account = format!("acme-{number}");
        let rq = v1::WatchEntitlementsRequest { account, ..Default::default() };
        watches.push(client.watch_entitlements(rq).await.unwrap().into_inner());
    }
    let rq = v1::WatchEntitlementsRequest { account: "late".to_owned(), ..Default::default() };
    let mut client = ask::entitlements(&home).await;
    let refused = client.watch_entitlements(rq.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    for watch in &mut watches {
        assert_eq!(next(watch).await.entitlements.len(), 2);
    }
    watches.truncate(999);
    let begun = async {
        while client.watch_entitlements(rq.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), begun).await.expect("there is room");
    sidecar.stop().await;
}
