//! What can be corrected, and what a correction that cannot be made is told.

use std::time::{Duration, SystemTime};

use headroom_sdk::{Client, Error, Item};

use crate::support::home::Home;

const CATALOG: &str = "\
default_plan: pro
features:
  calls: { name: Calls, kind: quota, limits: { monthly: { window: billing } } }
  tokens: { name: Tokens, kind: quota, limits: { monthly: { window: billing } },
            usage: { buckets: hour, dimensions: [model] } }
  work: { name: Work, kind: quota, limits: {
    monthly: { window: billing }, per_user: { window: { calendar: day }, per: user } } }
  images: { name: Images, kind: quota, limits: { monthly: { window: billing } } }
  credits: { name: Credits, kind: credits, window: billing, rate_card: { images: { credits: 5 } } }
  space: { name: Space, kind: allocation, unit: GB, billed_by: peak }
plans:
  pro:
    name: Pro
    entitlements:
      calls: { monthly: { included: 1_000 } }
      tokens: { monthly: { included: 1_000 } }
      work: { monthly: { included: 1_000 }, per_user: { included: 100 } }
      images: { paid_by: credits }
      credits: { included: 100 }
      space: { included: 50 }
";

async fn used(client: &Client, feature: &str) -> u64 {
    let checked = client.check("acme", feature).await.unwrap();
    checked.binding.expect("a limit").used_units
}

/// The field and the problem. Of what is no field's problem, all that is told.
fn problem<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    let told = result.expect_err("refused").to_string();
    let (_, told) = told.split_once(": ").expect("a reason");
    match told.split_once(": ") {
        Some((field, problem)) if !field.contains(' ') => (field.to_owned(), problem.to_owned()),
        _ => (String::new(), told.to_owned()),
    }
}

#[tokio::test]
async fn each_of_several_features_is_corrected_alone_over_kill_9() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let small = Item::from(("tokens", 200)).dimension("model", "small");
    let items = [("calls", 5).into(), small, ("work", 7).into(), ("images", 3).into()];
    let all = client.consume_all("acme", items).subject("user:u1").idempotency_key("all");
    assert!(all.clone().await.unwrap().allowed);

    let correct = |feature| client.correct("acme", feature, "all").subject("user:u1");
    let calls = correct("calls").units(2).original_units(5).reason("two were retries");
    assert_eq!(calls.clone().idempotency_key("fix").await.unwrap().units, 2);
    assert!(calls.idempotency_key("fix").await.unwrap().decision.replayed, "once");
    assert_eq!((used(&client, "calls").await, used(&client, "tokens").await), (2, 200));
    drop(client);
    sidecar.kill();
    let sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let correct = |feature| client.correct("acme", feature, "all").subject("user:u1");
    // Corrected again, it stands where it was left; the others stand as they were written.
    correct("calls").units(4).await.unwrap();
    correct("tokens").original_units(200).dimension("model", "small").await.unwrap();
    let work = correct("work").units(1).original_units(7).with_all_limits().await.unwrap();
    let limits = work.decision.binding.iter().chain(&work.decision.other_limits);
    assert!(limits.clone().count() == 2 && limits.clone().all(|limit| limit.used_units == 1));
    let images = correct("images").units(1).original_units(3).await.unwrap();
    assert_eq!(images.decision.charge.expect("credits").returned_units, 10);
    assert_eq!((used(&client, "calls").await, used(&client, "tokens").await), (4, 0));
    let trail = client.list_adjustments("acme", Some("calls"), None).await.unwrap().adjustments;
    let trail: Vec<(u64, u64)> = trail.iter().map(|a| (a.units_before, a.units)).collect();
    assert_eq!(trail, [(5, 2), (2, 4)]);
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_correction_that_fits_no_write_is_told_in_what() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let consume = |feature, units| client.consume("acme", feature, units).idempotency_key("calls");
    consume("calls", 5).await.unwrap();
    let small = client.consume("acme", "tokens", 50).dimension("model", "small");
    small.idempotency_key("small").await.unwrap();
    client.consume("acme", "work", 3).subject("user:u1").idempotency_key("u1").await.unwrap();
    client.consume("acme", "work", 3).idempotency_key("alone").await.unwrap();
    client.consume("acme", "work", 3).synthetic().idempotency_key("probe").await.unwrap();
    let held = client.reserve("acme", "calls", 9).idempotency_key("held").await.unwrap();
    let held = held.reservation.expect("a reservation").id;
    client.commit("acme", held, 8).idempotency_key("committed").await.unwrap();
    let both = [("calls", 1), ("work", 1)];
    client.consume_all("acme", both).idempotency_key("both").await.unwrap();
    client.reserve_all("acme", both).idempotency_key("held both").await.unwrap();
    client.consume("acme", "space", 1).idempotency_key("space").await.unwrap();

    // 2020-01-01T00:00:00Z, where a test clock begins.
    let earlier = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
    let late = client.record("acme", "calls", 4).occurred_at(earlier).idempotency_key("late");
    late.await.unwrap();

    let of = |feature, key| client.correct("acme", feature, key);
    let again = "of the write again";
    let cases = [
        (of("calls", "calls"), "original_units", "must say them"),
        (
            of("calls", "calls").original_units(6),
            "original_units",
            "no Consume or Record of 6 units of calls",
        ),
        (
            of("calls", "calls").original_units(6),
            "original_units",
            "say the units of the write again",
        ),
        (of("work", "calls").original_units(5), "feature", "the write of this key was of calls"),
        (of("tokens", "both").original_units(5), "feature", "was of calls, work"),
        (of("calls", "both").original_units(2), "original_units", again),
        (of("tokens", "small").original_units(50), "original_units", "the units and dimensions of"),
        (of("calls", "committed").original_units(8), "event_key", "about a reservation"),
        (of("calls", "held").original_units(9), "event_key", "about a reservation"),
        (of("calls", "held both").original_units(1), "event_key", "about a reservation"),
        (of("work", "probe").original_units(3), "event_key", "was synthetic"),
        (of("work", "u1").original_units(3), "original_units", "the units and subject of"),
        (
            of("work", "alone").original_units(3).subject("user:u1"),
            "subject",
            "for the account alone",
        ),
        (of("work", "u1").original_units(3).subject("user:u2"), "original_units", "for user:u2"),
        (of("space", "space").original_units(1), "", "the feature is an allocation"),
        (of("calls", "never").original_units(1), "", "no event of this key is known"),
        (of("work", "late"), "feature", "the event of this key is of calls"),
        (of("cals", "late"), "feature", "the event of this key is of calls"),
        (of("calls", "late").original_units(5), "original_units", "counts 4 units of calls"),
    ];
    for (call, field, part) in cases {
        let (told, problem) = problem(call.units(1).await);
        assert!(told == field && problem.contains(part), "{told}: {problem}, not {field}: {part}");
    }
    let plain = of("calls", "calls").original_units(5).dimension("model", "small");
    let (field, problem) = problem(plain.await);
    assert!(field == "dimensions" && problem.contains("leave them out"), "{field}: {problem}");
    // Said as it was, it is corrected.
    of("tokens", "small").original_units(50).dimension("model", "small").units(20).await.unwrap();
    assert_eq!(used(&client, "tokens").await, 20);
    drop(client);
    sidecar.stop().await;
}
