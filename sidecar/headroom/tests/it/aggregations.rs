//! What a quota makes of units other than adding them up, over the wire and over kill -9.

use std::time::{Duration, SystemTime};

use headroom_proto::v1;
use headroom_sdk::{
    AdminClient, Aggregation, Client, Denial, ErrorReason, Item, LimitState, TimeUnit,
    UsageByTimeQuery, UsageWindow, Verdict,
};

use crate::support::home::Home;
use crate::support::until_async;

const CATALOG: &str = "\
default_plan: pro
features:
  logins: { name: Logins, kind: quota, aggregation: count, limits: { daily: { window: { calendar: day } } } }
  database: { name: Database, kind: quota, aggregation: max, limits: { monthly: { window: billing } } }
  disk: { name: Disk, kind: quota, aggregation: latest, limits: { daily: { window: { calendar: day } } } }
  devices: { name: Devices, kind: quota, aggregation: unique, unique_by: device,
             limits: { monthly: { window: billing } } }
  visitors: { name: Visitors, kind: quota, aggregation: unique, unique_by: visitor,
              limits: { monthly: { window: billing } } }
plans:
  pro:
    name: Pro
    entitlements:
      logins: { daily: { included: 2 } }
      database: { monthly: { included: 100, soft_limits: [80%] } }
      disk: { daily: { included: 100 } }
      devices: { monthly: { included: 3 } }
      visitors: { monthly: { included: 5_000 } }
";

/// 2020-01-01T00:00:00Z, where a test clock begins.
const BEGIN: u64 = 1_577_836_800;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + seconds)
}

async fn clock(admin: &AdminClient, seconds: u64) {
    admin.set_clock(at(seconds)).await.unwrap();
}

/// The verdict of a consume, and what its limit holds then.
async fn consume(client: &Client, feature: &str, units: u64) -> (Verdict, u64) {
    let answer = client.consume("acme", feature, units).await.unwrap();
    (answer.verdict, answer.binding.unwrap().used_units)
}

/// The verdict of a consume of a device, and how many there are then.
async fn device(client: &Client, device: &str, key: &str) -> (Verdict, u64) {
    let call = client.consume("acme", "devices", 1).dimension("device", device);
    let answer = call.idempotency_key(key).await.unwrap();
    (answer.verdict, answer.binding.unwrap().used_units)
}

async fn window(client: &Client, feature: &str) -> UsageWindow {
    let page = client.get_usage("acme", Some(feature), None, None).await.unwrap();
    page.windows.into_iter().next().unwrap()
}

#[tokio::test]
async fn counts_and_largest_values_are_what_they_are_over_kill_9() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert_eq!(consume(&client, "logins", 50).await, (Verdict::Allowed, 1));
    assert_eq!(consume(&client, "logins", 1).await, (Verdict::Allowed, 2));
    assert_eq!(consume(&client, "logins", 1).await, (Verdict::Denied, 2));
    assert_eq!(consume(&client, "database", 85).await, (Verdict::AllowedSoftLimit, 85));
    assert_eq!(consume(&client, "database", 40).await, (Verdict::AllowedSoftLimit, 85));
    let answer = client.consume("acme", "database", 101).await.unwrap();
    assert_eq!((answer.denial, answer.retry_after), (Some(Denial::QuotaExhausted), None));
    let limit = answer.binding.unwrap();
    let left = (limit.settled_units_remaining, limit.drawable_units_remaining);
    assert_eq!(left, (Some(100), Some(100)), "85 were there, and any value up to 100 passes");
    sidecar.kill();
    let _sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert_eq!(consume(&client, "logins", 1).await, (Verdict::Denied, 2));
    let recorded = client.record("acme", "database", 130).idempotency_key("r").await.unwrap();
    assert_eq!(recorded.debt_units, 30);
    assert_eq!(window(&client, "database").await.used_units, 130);
    for feature in ["logins", "database", "disk", "devices"] {
        let refused = client.reserve("acme", feature, 1).await.unwrap_err();
        assert_eq!(refused.reason(), Some(ErrorReason::WrongFeatureKind), "{refused}");
        assert!(refused.to_string().contains("consume or record it"), "{refused}");
    }
    let refused = client.correct("acme", "database", "r").units(1).await.unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::WrongFeatureKind), "{refused}");
}

#[tokio::test]
async fn the_latest_value_counts_by_its_own_time_over_kill_9() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    clock(&admin, 10 * HOUR).await;
    assert_eq!(consume(&client, "disk", 90).await, (Verdict::Allowed, 90));
    sidecar.kill();
    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    let late = |units, hour| client.record("acme", "disk", units).occurred_at(at(hour * HOUR));
    late(20, 9).await.unwrap();
    assert_eq!(window(&client, "disk").await.used_units, 90, "older than what counts");
    clock(&admin, 12 * HOUR).await;
    assert_eq!(late(110, 11).await.unwrap().debt_units, 10);
    assert_eq!(consume(&client, "disk", 0).await, (Verdict::Allowed, 0), "nothing is a value, too");
    let window = window(&client, "disk").await;
    assert_eq!((window.used_units, window.debt_units), (0, 0));
    clock(&admin, DAY + HOUR).await;
    assert_eq!(consume(&client, "disk", 5).await, (Verdict::Allowed, 5));
    late(7, 23).await.unwrap();
    late(9, 11).await.unwrap();
    let closed = closed(&client, "disk").await;
    assert_eq!((closed.used_units, closed.used_units_at_close), (7, Some(0)), "and 9 was earlier");
    let none = client.consume("acme", "database", 0).await.unwrap_err();
    assert_eq!(none.reason(), Some(ErrorReason::InvalidField), "{none}");
}

/// The one window of a feature that has closed, when the history knows what came to it.
async fn closed(client: &Client, feature: &str) -> UsageWindow {
    until_async("the history", async || {
        let since = Some(SystemTime::UNIX_EPOCH);
        let page = client.get_usage("acme", Some(feature), since, None).await.unwrap();
        let mut windows = page.windows.into_iter();
        windows.find(|window| window.closed && window.used_units_at_close.is_some())
    })
    .await
}

#[tokio::test]
async fn a_month_that_is_over_counts_a_late_device_once_over_kill_9() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    clock(&admin, HOUR).await;
    for (name, key) in [("a", "1"), ("b", "2")] {
        assert!(device(&client, name, key).await.0 == Verdict::Allowed);
    }
    clock(&admin, 31 * DAY + 2 * HOUR).await;
    device(&client, "z", "3").await;
    sidecar.kill();
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let late = |client: &Client, name: &str, units: u64| {
        let call = client.record("acme", "devices", units).dimension("device", name);
        call.occurred_at(at(2 * DAY)).idempotency_key(format!("late-{name}"))
    };
    assert_eq!(late(&client, "b", 8).await.unwrap().debt_units, 0);
    assert_eq!(late(&client, "c", 8).await.unwrap().debt_units, 0);
    sidecar.kill();
    let _sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert!(late(&client, "c", 8).await.unwrap().decision.replayed);
    assert_eq!(late(&client, "d", 8).await.unwrap().debt_units, 1, "three are allowed");
    let trail = until_async("the trail", async || {
        let page = client.list_adjustments("acme", Some("devices"), None).await.unwrap();
        Some(page.adjustments).filter(|found| found.len() == 2)
    })
    .await;
    let told: Vec<(&str, u64, u64, bool)> = trail
        .iter()
        .map(|a| (a.event_key.as_str(), a.units_before, a.units, a.after_close))
        .collect();
    assert_eq!(told, [("late-c", 0, 1, true), ("late-d", 0, 1, true)], "a device is one");
    let closed = closed(&client, "devices").await;
    assert_eq!((closed.used_units, closed.used_units_at_close), (4, Some(2)));
    assert_eq!((closed.debt_units, window(&client, "devices").await.used_units), (1, 1));
}

#[tokio::test]
async fn different_values_count_once_each_over_kill_9() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    for (name, key, count) in [("a", "1", 1), ("b", "2", 2), ("a", "3", 2), ("c", "4", 3)] {
        assert_eq!(device(&client, name, key).await, (Verdict::Allowed, count));
    }
    sidecar.kill();
    let _sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert_eq!(device(&client, "d", "5").await, (Verdict::Denied, 3));
    assert_eq!(device(&client, "b", "6").await, (Verdict::Allowed, 3), "it is known");
    let look = |name: &'static str| client.check("acme", "devices").dimension("device", name);
    assert!(look("c").await.unwrap().allowed);
    assert_eq!(look("e").await.unwrap().denial, Some(Denial::QuotaExhausted));
    assert!(!client.check("acme", "devices").await.unwrap().allowed, "there is room for none");
    let again = client.consume("acme", "devices", 1).dimension("device", "a").idempotency_key("1");
    assert!(again.await.unwrap().replayed);
    let other = client.consume("acme", "devices", 1).dimension("device", "b").idempotency_key("1");
    assert_eq!(other.await.unwrap_err().reason(), Some(ErrorReason::IdempotencyKeyReused));
    let unsaid = client.consume("acme", "devices", 1).await.unwrap_err();
    assert_eq!(unsaid.reason(), Some(ErrorReason::InvalidField));
    assert!(unsaid.to_string().contains("unique_by"), "{unsaid}");
    let wrong = client.consume("acme", "devices", 1).dimension("phone", "a").await.unwrap_err();
    assert!(wrong.to_string().contains("feature devices has device"), "{wrong}");
    let page = client.list_entitlements("acme").await.unwrap();
    let listed = page.entitlements.iter().find(|one| one.feature == "devices").unwrap();
    let told = (listed.aggregation, listed.unique_by.as_deref());
    assert_eq!(told, (Some(Aggregation::Unique), Some("device")));
}

#[tokio::test]
async fn many_different_values_are_counted_approximately_and_say_so() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let comes = |number: u32| {
        let call = client.consume("acme", "visitors", 1).dimension("visitor", number.to_string());
        call.idempotency_key(number.to_string())
    };
    let mut last: Option<LimitState> = None;
    for number in 1..=2_000_u32 {
        let limit = comes(number).await.unwrap().binding.unwrap();
        assert_eq!(limit.approximate, number > 1_024, "{number}: {limit:?}");
        if number <= 1_024 {
            assert_eq!(limit.used_units, u64::from(number));
        }
        last = Some(limit);
    }
    let counted = last.unwrap().used_units;
    assert!((1_940..=2_060).contains(&counted), "{counted} of 2,000");
    sidecar.kill();
    let _sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let window = window(&client, "visitors").await;
    assert_eq!((window.used_units, window.approximate), (counted, true));
    let known = client.consume("acme", "visitors", 1).dimension("visitor", "1999").await.unwrap();
    assert_eq!(known.binding.unwrap().used_units, counted, "it is known");
}

const EACH: &str = "\
default_plan: pro
features:
  context:
    name: Context
    kind: quota
    aggregation: max
    limits: { daily: { window: { calendar: day } }, of_user: { window: { calendar: day }, per: user } }
  release:
    name: Release
    kind: quota
    aggregation: latest
    limits: { daily: { window: { calendar: day } }, of_agent: { window: { calendar: day }, per: agent } }
  devices:
    name: Devices
    kind: quota
    aggregation: unique
    unique_by: device
    limits: { monthly: { window: billing }, of_user: { window: billing, per: user } }
  tokens:
    name: Tokens
    kind: quota
    usage: { buckets: day, dimensions: [model] }
    limits: { daily: { window: { calendar: day } } }
plans:
  pro:
    name: Pro
    entitlements:
      context: { daily: { included: 1_000 }, of_user: { included: 500 } }
      release: { daily: { included: 100 }, of_agent: { included: 50 } }
      devices: { monthly: { included: 200 }, of_user: { included: 2 } }
      tokens: { daily: { included: 1_000 } }
";

/// The windows of all subjects: whose, of what, what was used, and whether it is an estimate.
async fn of_subjects(client: &Client, feature: &str) -> Vec<(String, u64, bool)> {
    let page = client.get_subject_usage("acme", None, Some(feature), None, None).await.unwrap();
    let line = |window: &UsageWindow| {
        let subject = window.subject.clone().expect("a subject's");
        (subject, window.used_units, window.approximate)
    };
    page.windows.iter().map(line).collect()
}

fn lines(all: &[(&str, u64)]) -> Vec<(String, u64, bool)> {
    all.iter().map(|(name, used)| ((*name).to_owned(), *used, false)).collect()
}

#[tokio::test]
async fn values_of_each_user_are_what_they_are_over_kill_9() {
    let home = Home::with_settings(EACH, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    clock(&admin, 10 * HOUR).await;
    let uses = |feature: &'static str, units, subject: &'static str| {
        client.consume("acme", feature, units).subject(subject)
    };
    for (feature, units, subject) in [
        ("context", 400, "user:ann"),
        ("context", 300, "user:bob"),
        ("context", 100, "user:ann"),
        ("release", 40, "user:ann/agent:a"),
        ("release", 7, "user:ann/agent:b"),
        ("release", 12, "user:ann/agent:a"),
    ] {
        assert!(uses(feature, units, subject).await.unwrap().allowed, "{feature} {subject}");
    }
    let device = |device: &str, subject: &'static str| {
        uses("devices", 1, subject).dimension("device", device)
    };
    for (name, subject) in [("d1", "user:ann"), ("d2", "user:ann"), ("d1", "user:bob")] {
        assert!(device(name, subject).await.unwrap().allowed);
    }
    sidecar.kill();
    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    let context = lines(&[("user:ann", 400), ("user:bob", 300)]);
    assert_eq!(of_subjects(&client, "context").await, context);
    let release = lines(&[("user:ann/agent:a", 12), ("user:ann/agent:b", 7)]);
    assert_eq!(of_subjects(&client, "release").await, release);
    assert_eq!(window(&client, "release").await.used_units, 12, "the account has the last of all");
    let devices = lines(&[("user:ann", 2), ("user:bob", 1)]);
    assert_eq!(of_subjects(&client, "devices").await, devices);
    assert_eq!(window(&client, "devices").await.used_units, 2, "one of two users is one");
    let uses = |feature: &'static str, units, subject: &'static str| {
        client.consume("acme", feature, units).subject(subject)
    };
    for (feature, units, subject) in
        [("context", 501, "user:bob"), ("release", 51, "user:ann/agent:b")]
    {
        let refused = uses(feature, units, subject).await.unwrap();
        assert_eq!((refused.denial, refused.retry_after), (Some(Denial::QuotaExhausted), None));
        assert_eq!(refused.binding.unwrap().subject.as_deref(), Some(subject), "{feature}");
    }
    let device = |device: &'static str, subject: &'static str| {
        uses("devices", 1, subject).dimension("device", device)
    };
    let third = device("d3", "user:ann").await.unwrap();
    assert_eq!(third.denial, Some(Denial::QuotaExhausted));
    assert_eq!(third.binding.unwrap().subject.as_deref(), Some("user:ann"));
    assert!(device("d2", "user:ann").await.unwrap().allowed, "it is known");
    // One user may have more; and who is forgotten begins anew.
    let limit = v1::LimitOverride {
        limit: "of_user".into(),
        included_units: Some(3),
        subject: "user:ann".into(),
    };
    let value = Some(v1::r#override::Value::Limit(limit));
    let more = v1::Override { feature: "devices".into(), value, ..v1::Override::default() };
    admin.put_override("acme", more).await.unwrap();
    assert!(device("d3", "user:ann").await.unwrap().allowed);
    admin.erase_subject("acme", "user:ann").await.unwrap();
    let again = device("d3", "user:ann").await.unwrap();
    assert_eq!(again.binding.unwrap().used_units, 1);
    assert_eq!(window(&client, "devices").await.used_units, 3, "no total changes");
    // Many of one user are an estimate, of the account not yet.
    for number in 0..80 {
        let name = format!("e{number}");
        client
            .record("acme", "devices", 1)
            .subject("user:eve")
            .dimension("device", name)
            .await
            .unwrap();
    }
    let all = of_subjects(&client, "devices").await;
    let eve = all.iter().find(|(name, ..)| name == "user:eve").unwrap();
    assert!((72..=88).contains(&eve.1) && eve.2, "{eve:?}");
    let own = window(&client, "devices").await;
    assert_eq!((own.used_units, own.approximate), (83, false));
}

#[tokio::test]
async fn items_say_their_values_and_dimensions_over_kill_9() {
    let home = Home::with_settings(EACH, "clock: test\n");
    let mut sidecar = home.start();
    let (client, _admin) = home.clients().await;
    let items = |device: &str, model: &str| {
        [
            Item::from("devices").dimension("device", device),
            Item::from(("tokens", 10)).dimension("model", model),
            Item::from(("release", 0)),
        ]
    };
    let call = client.consume_all("acme", items("d1", "small")).subject("user:ann");
    assert!(call.idempotency_key("k").await.unwrap().allowed);
    sidecar.kill();
    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    let again = |items| client.consume_all("acme", items).subject("user:ann").idempotency_key("k");
    let replayed = again(items("d1", "small")).await.unwrap();
    assert!(replayed.items.iter().all(|item| item.replayed));
    for other in [items("d2", "small"), items("d1", "large")] {
        let reused = again(other).await.unwrap_err();
        assert_eq!(reused.reason(), Some(ErrorReason::IdempotencyKeyReused), "{reused}");
    }
    for (device, model) in [("d2", "large"), ("d1", "small")] {
        let all = client.consume_all("acme", items(device, model)).subject("user:ann");
        assert!(all.await.unwrap().allowed);
    }
    assert_eq!(of_subjects(&client, "devices").await, lines(&[("user:ann", 2)]));
    // Whether nothing could be used is nobody's question.
    let looks = |device| {
        let [devices, tokens, release] = items(device, "small");
        [devices, tokens, Item { units: Some(1), ..release }]
    };
    let refused = client.check_all("acme", looks("d3")).subject("user:ann");
    let refused = refused.await.unwrap();
    assert!(!refused.allowed && refused.items[1].allowed);
    let binding = refused.items[0].binding.as_ref().unwrap();
    assert_eq!(binding.subject.as_deref(), Some("user:ann"));
    assert!(
        !client
            .consume_all("acme", items("d3", "small"))
            .subject("user:ann")
            .await
            .unwrap()
            .allowed
    );
    let known = client.check_all("acme", looks("d2")).subject("user:ann");
    assert!(known.await.unwrap().allowed);
    clock(&admin, HOUR).await;
    let group_by = vec!["model".to_owned()];
    let query = UsageByTimeQuery { by: TimeUnit::Day, group_by, ..UsageByTimeQuery::default() };
    let by_model = client.get_usage_by_time("acme", "tokens", &query, None).await.unwrap();
    let told: Vec<_> = by_model.lines.iter().map(|line| line.units).collect();
    assert_eq!(told, [10, 20], "large and small");
    let wrong = client.consume_all("acme", ["tokens".into(), items("d1", "small")[0].clone()]);
    assert!(wrong.await.unwrap_err().to_string().contains("items[0].units: is missing"));
    let wrong = client.consume_all("acme", [Item::from(("tokens", 1)).dimension("size", "1")]);
    let wrong = wrong.await.unwrap_err();
    assert_eq!(wrong.reason(), Some(ErrorReason::InvalidField), "{wrong}");
    let place = "items[0].dimensions: there is no \"size\": feature tokens has model";
    assert!(wrong.to_string().contains(place), "{wrong}");
    for feature in ["devices", "context", "release"] {
        let held = client.reserve_all("acme", [("tokens", 1), (feature, 1)]).await.unwrap_err();
        assert_eq!(held.reason(), Some(ErrorReason::WrongFeatureKind), "{held}");
        assert!(held.to_string().contains("nothing can be held: consume or record it"), "{held}");
    }
    let held = client.reserve_all("acme", [items("d1", "small")[1].clone()]).await.unwrap_err();
    assert!(held.to_string().contains("say them with Commit"), "{held}");
    let zero = client.consume_all("acme", [("context", 0)]).await.unwrap_err();
    assert!(zero.to_string().contains("items[0].units: is 0, must be 1 to"), "{zero}");
    let told = ["ask", "consume-all", "acme", "devices,device=d9", "tokens=5,model=small"];
    let ended = home.run(&told);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(window(&client, "devices").await.used_units, 3);
    let ended = home.run(&["ask", "consume-all", "acme", "tokens=5,small"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("tokens=400,model=small"), "{ended:?}");
}

const PRICED: &str = "\
default_plan: pro
features:
  disk: { name: Disk, kind: quota, aggregation: max, limits: { monthly: { window: billing } } }
  free: { name: Free, kind: quota, aggregation: max, limits: { monthly: { window: billing } } }
  open: { name: Open, kind: quota, aggregation: max, limits: { monthly: { window: billing } } }
  tokens: { name: Tokens, kind: quota, limits: { monthly: { window: billing } } }
plans:
  pro:
    name: Pro
    entitlements:
      disk: { monthly: { included: 500, policy: { overage: {
        unit_price_minor: 2, currency: USD, cap_minor: 100 } } } }
      free: { monthly: { included: 500, policy: { grace: 10% } } }
      open: { monthly: { included: 500, policy: overage } }
      tokens: { monthly: { included: 500, policy: { overage: {
        unit_price_minor: 2, currency: USD, cap_minor: 100 } } } }
";

/// The words for what is left are what is let in: no unit less and none more.
#[tokio::test]
async fn whoever_asks_by_hand_is_told_the_largest_value_that_is_let_in() {
    let home = Home::with_settings(PRICED, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    let allowed = async |feature: &str, units: u64| {
        client.check("acme", feature).units(units).await.unwrap().allowed
    };
    let endpoint = home.endpoint();
    let line = |feature: &str| {
        let ended = home.run(&["ask", "--endpoint", &endpoint, "check", "acme", feature]);
        let line = ended.stdout.lines().find(|line| line.starts_with("  monthly"));
        line.map(str::to_owned).unwrap_or_else(|| panic!("{ended:?}"))
    };
    for used in [400, 533] {
        client.consume("acme", "disk", used).await.unwrap();
        assert!(line("disk").contains("values up to 550 "), "{}", line("disk"));
        assert!(allowed("disk", 550).await && !allowed("disk", 551).await);
        client.consume("acme", "free", used).await.unwrap();
        assert!(line("free").contains("values up to 550 "), "{}", line("free"));
        assert!(allowed("free", 550).await && !allowed("free", 551).await);
        client.consume("acme", "open", used).await.unwrap();
        assert!(line("open").contains("any value "), "{}", line("open"));
        assert!(allowed("open", 1 << 40).await);
    }
    for (more, left, paid) in [(400, 100, 50), (100, 0, 50), (33, 0, 17), (17, 0, 0)] {
        client.consume("acme", "tokens", more).await.unwrap();
        let said = line("tokens");
        assert!(said.contains(&format!(" {left} left ")), "{said}");
        assert!(said.contains(&format!("of USD, which pays for {paid} more")), "{said}");
        assert!(left + paid == 0 || allowed("tokens", left + paid).await);
        assert!(!allowed("tokens", left + paid + 1).await);
    }
    drop((client, admin));
    sidecar.stop().await;
}
