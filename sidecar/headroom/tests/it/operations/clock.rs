//! A test clock is visible wherever somebody could take its time for real.

use std::time::{Duration, SystemTime};

use headroom_proto::v1;

use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

const MONTHLY: &str = "total: { window: billing }";

fn at(stamp: Option<prost_types::Timestamp>) -> SystemTime {
    stamp.expect("an instant").try_into().expect("in the calendar")
}

#[tokio::test]
async fn a_test_clock_is_told_everywhere_and_moves_windows() {
    let monthly = PLAIN.replacen("total: { window: lifetime }", MONTHLY, 1);
    let home = Home::with_settings(&monthly, "clock: test\n");
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let mut admin = ask::admin(&home).await;
    assert!(sidecar.page("/metrics").body.contains("headroom_test_clock 1"));
    assert!(sidecar.log().contains("TEST CLOCK"));

    let set = home.run(&["clock", "set", "2031-01-31T12:00:00Z"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_927_627_200);
    let decision = ask::consumed(&mut client, "acme", "calls", 300, "january").await;
    assert!(decision.test_clock && at(decision.as_of) == noon);
    let state = decision.binding.expect("a limit");
    // The account began at that instant, so its month ends on the last day of February.
    assert_eq!(at(state.window_start), noon);
    assert_eq!(at(state.window_end), noon + Duration::from_secs(28 * 86_400));

    let advanced = home.run(&["clock", "advance", "28d"]);
    assert_eq!(advanced.code, Some(0), "{advanced:?}");
    let decision = ask::consumed(&mut client, "acme", "calls", 10, "february").await;
    assert_eq!(decision.binding.expect("a limit").used_units, 10);
    let request = v1::GetUsageRequest {
        account: "acme".into(),
        closed_since: Some(noon.into()),
        ..Default::default()
    };
    let closed = crate::support::until_async("the closed window", async || {
        let usage = client.get_usage(request.clone()).await.unwrap().into_inner();
        assert!(usage.test_clock);
        usage.windows.into_iter().find(|window| window.closed)
    })
    .await;
    assert_eq!((closed.used_units, at(closed.window_start)), (300, noon));

    let list = v1::ListEntitlementsRequest { account: "acme".into() };
    assert!(client.list_entitlements(list).await.unwrap().into_inner().test_clock);
    let status = ask::status(&mut admin).await;
    assert!(status.test_clock && at(status.now) == noon + Duration::from_secs(28 * 86_400));
    drop((client, admin));
    sidecar.stop().await;

    let signals = std::fs::read_to_string(home.data().join("signals.ndjson")).unwrap();
    assert!(signals.lines().count() > 1);
    for line in signals.lines() {
        assert!(line.contains("\"test_clock\":true"), "{line}");
    }
    // The hand stands where it stood.
    let sidecar = home.start();
    let status = ask::status(&mut ask::admin(&home).await).await;
    assert_eq!(at(status.now), noon + Duration::from_secs(28 * 86_400));
    sidecar.stop().await;
}
