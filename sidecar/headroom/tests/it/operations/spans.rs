//! Five hours from the first use, a week from the anchor, and the last day: as clients see them.

use std::time::{Duration, SystemTime};

use headroom_proto::v1;

use crate::support::ask;
use crate::support::home::Home;

const CATALOG: &str = "\
default_plan: open
features:
  tokens:
    name: Tokens
    kind: quota
    limits:
      session: { window: { first_use: 5 hours } }
      weekly: { window: { fixed: 1 week } }
  mails: { name: Mails, kind: quota, limits: { recent: { window: { sliding: 24 hours } } } }
plans:
  open:
    name: Open
    entitlements:
      tokens: { session: { included: 1_000_000 }, weekly: { included: 5_000_000 } }
      mails: { recent: { included: 100, soft_limits: [80%] } }
";
const HOUR: Duration = Duration::from_secs(3_600);

fn time(stamp: Option<prost_types::Timestamp>) -> SystemTime {
    stamp.expect("an instant").try_into().expect("in the calendar")
}

fn binding(decision: &v1::Decision) -> &v1::LimitState {
    decision.binding.as_ref().expect("a limit")
}

fn retry_after(decision: &v1::Decision) -> Duration {
    decision.retry_after.expect("a time").try_into().expect("a span")
}

async fn consume(
    client: &mut ask::Entitlements,
    feature: &str,
    units: i64,
    key: &str,
) -> v1::Decision {
    let include =
        Some(v1::Include { all_limits: true, projection: true, ..v1::Include::default() });
    let request = v1::ConsumeRequest { include, ..ask::consume("acme", feature, units, key) };
    client.consume(request).await.unwrap().into_inner().decision.unwrap()
}

fn advance(home: &Home, span: &str) {
    let advanced = home.run(&["clock", "advance", span]);
    assert_eq!(advanced.code, Some(0), "{advanced:?}");
}

#[tokio::test]
async fn five_hours_and_a_week_and_the_last_day() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let set = home.run(&["clock", "set", "2031-01-31T12:00:00Z"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_927_627_200);

    // Nothing has begun: a check shows the whole amount and no window.
    let checked = client.check(ask::check("acme", "tokens")).await.unwrap().into_inner();
    let state = checked.decision.unwrap().binding.unwrap();
    assert_eq!(state.drawable_units_remaining, Some(1_000_000));
    assert_eq!((state.window_start, state.window_end), (None, None));

    consume(&mut client, "tokens", 800_000, "first").await;
    advance(&home, "1h");
    let again = consume(&mut client, "tokens", 800_000, "first").await;
    assert!(again.replayed);
    assert_eq!(time(binding(&again).window_start), noon, "a duplicate begins no window");
    let refused = consume(&mut client, "tokens", 800_000, "second").await;
    assert!(!refused.allowed);
    assert_eq!(binding(&refused).limit, "session");
    assert_eq!(
        (time(binding(&refused).window_end), retry_after(&refused)),
        (noon + 5 * HOUR, 4 * HOUR)
    );
    assert_eq!(refused.other_limits[0].used_units, 800_000, "the week is charged with the session");

    // The last day: 60 at one o'clock, 40 at four.
    consume(&mut client, "mails", 60, "m1").await;
    advance(&home, "3h");
    let full = consume(&mut client, "mails", 40, "m2").await;
    let state = binding(&full);
    assert!(state.sliding && state.used_units == 100);
    assert_eq!(time(state.oldest_units_leave_at), noon + 26 * HOUR);
    let projection = full.projection.as_ref().unwrap().state();
    assert_eq!(projection, v1::ProjectionState::Reached);
    let refused = consume(&mut client, "mails", 61, "m3").await;
    assert_eq!(retry_after(&refused), 25 * HOUR, "sixty are not enough, the forty leave last");
    assert_eq!(retry_after(&consume(&mut client, "mails", 60, "m4").await), 22 * HOUR);

    // What was open is open after a restart.
    drop(client);
    sidecar.kill();
    sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let list = v1::ListEntitlementsRequest { account: "acme".into() };
    let list = client.list_entitlements(list).await.unwrap().into_inner().entitlements;
    let mails = list.iter().find(|e| e.feature == "mails").unwrap();
    assert_eq!(&mails.limits[0], state);
    let text = home.run(&["ask", "entitlements", "acme"]).stdout;
    assert!(text.contains("the oldest leave at 2031-02-01T14:00:00Z"), "{text}");
    assert!(text.contains("until 2031-01-31T17:00:00Z"), "{text}");

    advance(&home, "5h");
    let text = home.run(&["ask", "entitlements", "acme"]).stdout;
    assert!(text.contains("begins with the first use"), "{text}");
    let buckets = ask::usage(&mut client, "acme").await;
    let buckets: Vec<_> = buckets.into_iter().filter(|w| w.feature == "mails").collect();
    let used: Vec<i64> = buckets.iter().map(|bucket| bucket.used_units).collect();
    assert_eq!(used, [60, 40], "buckets that ended still count: {buckets:?}");
    assert_eq!(time(buckets[0].counts_until), noon + 26 * HOUR);
    assert!(buckets[0].closed);
    let text = home.run(&["ask", "usage", "acme"]).stdout;
    assert!(text.contains("counts until 2031-02-01T14:00:00Z"), "{text}");

    advance(&home, "17h");
    assert!(consume(&mut client, "mails", 60, "m5").await.allowed);
    assert!(!consume(&mut client, "mails", 1, "m6").await.allowed);
    drop(client);
    sidecar.stop().await;
}
