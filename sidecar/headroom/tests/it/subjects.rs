//! Users and teams inside an account, over the wire: limits of their own, over kill -9, and how a name
//! is forgotten.

use std::time::{Duration, SystemTime};

use headroom_proto::v1::{self, Denial};
use headroom_sdk::{AdminClient, Client, Decision};

use crate::support::ask;
use crate::support::home::Home;
use crate::support::until_async;

const TOKENS: &str = "\
default_plan: pro
features:
  tokens:
    name: Tokens
    kind: quota
    unit: tokens
    limits:
      monthly: { window: billing }
      per_user: { window: { calendar: day }, per: user }
      per_team: { window: billing, per: team }
plans:
  pro:
    name: Pro
    entitlements:
      tokens:
        monthly: { included: 1_000 }
        per_user: { included: 100, soft_limits: [50%] }
        per_team: { included: 150 }
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

    async fn consume(&self, subject: &str, units: u64, key: &str) -> Decision {
        let call = self.client.consume("acme", "tokens", units).idempotency_key(key);
        call.subject(subject).with_all_limits().await.unwrap()
    }

    /// Used by limit and subject, current windows and closed ones.
    async fn used(&self, subject: Option<&str>) -> Vec<(String, String, u64)> {
        let since = Some(SystemTime::UNIX_EPOCH);
        let page = self.client.get_subject_usage("acme", subject, None, since, None).await.unwrap();
        let line = |window: headroom_sdk::UsageWindow| {
            (window.limit, window.subject.unwrap_or_default(), window.used_units)
        };
        page.windows.into_iter().map(line).collect()
    }

    async fn account_used(&self) -> u64 {
        let usage = self.client.get_usage("acme", None, None, None).await.unwrap();
        usage.windows.iter().map(|window| window.used_units).sum()
    }
}

#[track_caller]
fn bound_by(decision: &Decision, limit: &str, subject: Option<&str>) {
    let binding = decision.binding.as_ref().expect("a limit");
    assert_eq!((binding.limit.as_str(), binding.subject.as_deref()), (limit, subject));
}

#[tokio::test]
async fn a_type_with_a_wrong_letter_walks_past_no_limit() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let typo = stage.client.consume("acme", "tokens", 5).subject("usr:u42").await.unwrap_err();
    assert_eq!(typo.reason(), Some(v1::ErrorReason::InvalidField));
    assert!(
        typo.to_string().contains("`usr`") && typo.to_string().contains("mean `user`?"),
        "{typo}"
    );
    let all = stage.client.consume_all("acme", [("tokens", 5)]).subject("team:t/usr:u42");
    assert_eq!(all.await.unwrap_err().reason(), Some(v1::ErrorReason::InvalidField));
    let recorded = stage.client.record("acme", "tokens", 5).subject("usr:u42").await;
    assert!(recorded.is_err());
    assert!(stage.consume("org:o/user:u42", 5, "a").await.allowed, "who is in it may be named");
    assert_eq!(stage.account_used().await, 5, "nothing else was counted");
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn who_asks_for_more_than_a_user_ever_gets_is_not_told_to_wait() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let never = stage.consume("user:u42", 101, "a").await;
    assert_eq!((never.denial, never.retry_after), (Some(Denial::QuotaExhausted), None));
    assert!(stage.consume("user:u42", 100, "b").await.allowed);
    let soon = stage.consume("user:u42", 100, "c").await;
    assert!(soon.retry_after.is_some_and(|wait| wait <= Duration::from_secs(24 * 60 * 60)));
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_request_is_charged_to_every_level_or_to_none_over_kill_9() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let first = stage.consume("team:growth/user:u42", 90, "a").await;
    assert!(first.allowed);
    bound_by(&first, "per_user", Some("team:growth/user:u42"));
    let mut others: Vec<_> =
        first.other_limits.iter().map(|l| (l.limit.as_str(), l.subject.as_deref())).collect();
    others.sort_unstable();
    assert_eq!(others, [("monthly", None), ("per_team", Some("team:growth"))]);

    drop(stage);
    sidecar.kill();
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let refused = stage.consume("team:growth/user:u42", 11, "b").await;
    assert_eq!(refused.denial, Some(Denial::QuotaExhausted));
    bound_by(&refused, "per_user", Some("team:growth/user:u42"));
    assert_eq!(stage.account_used().await, 90, "nothing was counted anywhere");
    let again = stage.consume("team:growth/user:u42", 90, "a").await;
    assert!(again.replayed, "a duplicate is answered, not an error");
    bound_by(&again, "per_user", Some("team:growth/user:u42"));
    // Another user of the same team: the team has 60 left.
    let refused = stage.consume("team:growth/user:u7", 61, "c").await;
    bound_by(&refused, "per_team", Some("team:growth"));
    assert!(stage.consume("team:growth/user:u7", 60, "d").await.allowed);
    // Without a subject, and of another team, there is room.
    assert!(stage.consume("team:ops/user:u42", 100, "e").await.allowed);
    assert!(stage.client.consume("acme", "tokens", 600).await.unwrap().allowed);
    let refused = stage.consume("team:ops/user:u1", 51, "f").await;
    bound_by(&refused, "per_team", Some("team:ops"));

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let mut used = stage.used(None).await;
    used.sort();
    let line = |limit: &str, subject: &str, used| (limit.to_owned(), subject.to_owned(), used);
    let expected = [
        line("per_team", "team:growth", 150),
        line("per_team", "team:ops", 100),
        line("per_user", "team:growth/user:u42", 90),
        line("per_user", "team:growth/user:u7", 60),
        line("per_user", "team:ops/user:u42", 100),
    ];
    assert_eq!(used, expected);
    assert_eq!(stage.used(Some("team:ops")).await, [line("per_team", "team:ops", 100)]);
    assert_eq!(stage.account_used().await, 850);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn reservations_hold_at_every_level_and_end_there_too_over_kill_9() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    let reserve = |stage: &Stage, units, user: &str| {
        let call = stage.client.reserve("acme", "tokens", units);
        call.subject(format!("user:{user}")).hold_for(Duration::from_secs(60))
    };
    let held = reserve(&stage, 80, "a").await.unwrap().reservation.unwrap().id;
    let refused = reserve(&stage, 21, "a").await.unwrap().decision;
    assert_eq!(refused.denial, Some(Denial::InFlight));
    reserve(&stage, 50, "b").charge_on_expiry().await.unwrap().reservation.expect("room");

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    let committed = stage.client.commit("acme", &held, 90).await.unwrap();
    bound_by(&committed.decision, "per_user", Some("user:a"));
    assert_eq!((committed.surplus_units, committed.debt_units), (10, 0));
    stage.admin.advance_clock(Duration::from_secs(60)).await.unwrap();
    let line = |subject: &str, used| ("per_user".to_owned(), subject.to_owned(), used);
    assert_eq!(stage.used(None).await, [line("user:a", 90), line("user:b", 50)]);
    assert_eq!(stage.account_used().await, 140);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn pages_of_all_subjects_give_each_window_once() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    for day in 0..2 {
        for user in 0..7 {
            stage.consume(&format!("user:u{user}"), 1 + user, &format!("{day}/{user}")).await;
        }
        stage.admin.advance_clock(Duration::from_secs(86_400)).await.unwrap();
    }
    stage.consume("team:a/user:u0", 9, "team").await;
    let mut client = ask::entitlements(&home).await;
    let mut pages = async |page_size: i32| {
        let (mut windows, mut sizes, mut page_token) = (Vec::new(), Vec::new(), String::new());
        loop {
            let rq = v1::GetUsageRequest {
                account: "acme".to_owned(),
                all_subjects: true,
                closed_since: Some(prost_types::Timestamp::default()),
                page_size,
                page_token,
                ..v1::GetUsageRequest::default()
            };
            let page = client.get_usage(rq).await.unwrap().into_inner();
            sizes.push(page.windows.len());
            let line = |w: v1::UsageWindow| (w.subject, w.limit, w.window_start, w.used_units);
            windows.extend(page.windows.into_iter().map(line));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return (windows, sizes);
            }
        }
    };
    let all = until_async("both days are in the history", async || {
        let (windows, _) = pages(0).await;
        (windows.len() == 7 * 2 + 2).then_some(windows)
    })
    .await;
    for page_size in 1..=5 {
        let (windows, sizes) = pages(page_size).await;
        assert_eq!(windows, all, "in pages of {page_size}");
        // The two windows of the team's user are of one moment, and not told apart.
        let most = usize::try_from(page_size).unwrap().max(2);
        assert!(sizes.iter().all(|size| *size <= most), "{sizes:?} of {page_size}");
    }
    drop((stage, client));
    sidecar.stop().await;
}

#[tokio::test]
async fn an_erased_name_is_known_nowhere_and_no_total_changes() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.consume("team:hr/user:alice", 10, "a").await;
    stage.admin.advance_clock(Duration::from_secs(86_400)).await.unwrap();
    stage.consume("team:hr/user:alice", 20, "b").await;
    stage.consume("team:hr/user:alicent", 5, "c").await;
    until_async("the closed window of yesterday is in the history", async || {
        let windows = stage.used(Some("team:hr/user:alice")).await;
        (windows.len() == 2).then_some(())
    })
    .await;
    let erase = async |stage: &Stage| {
        stage.admin.erase_subject("acme", "team:hr/user:alice").await.unwrap()
    };
    assert_eq!(erase(&stage).await, 1);

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    assert_eq!(stage.used(Some("team:hr/user:alice")).await, []);
    let names: Vec<String> = stage.used(None).await.into_iter().map(|(_, name, _)| name).collect();
    assert!(names.iter().all(|name| name != "team:hr/user:alice"), "{names:?}");
    assert!(names.contains(&"team:hr/user:alicent".to_owned()), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("erased:")).count(), 2);
    assert_eq!(stage.account_used().await, 35);
    assert_eq!(erase(&stage).await, 0, "doing it again changes nothing");
    // Who comes back under the name is somebody new.
    assert!(stage.consume("team:hr/user:alice", 100, "d").await.allowed);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn one_user_is_given_more_and_that_is_shown_and_taken_back() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    assert!(stage.consume("user:u42", 100, "a").await.allowed);
    let limit = |subject: &str| v1::Override {
        feature: "tokens".into(),
        value: Some(v1::r#override::Value::Limit(v1::LimitOverride {
            limit: "per_user".into(),
            included_units: Some(120),
            subject: subject.into(),
        })),
        ..v1::Override::default()
    };
    let account = stage.admin.put_override("acme", limit("user:u42")).await.unwrap();
    assert_eq!(account.overrides, [limit("user:u42")]);
    assert!(stage.consume("user:u42", 20, "b").await.allowed);
    assert!(!stage.consume("user:u7", 101, "c").await.allowed, "it is for one");
    let wrong = stage.admin.put_override("acme", limit("team:growth")).await.unwrap_err();
    assert!(wrong.to_string().contains("is of each user"), "{wrong}");
    let all = stage.admin.delete_override("acme", "tokens", None).await.unwrap();
    assert_eq!(all.overrides.len(), 1, "those for subjects are named");
    let one = stage.admin.delete_subject_override("acme", "tokens", None, "user:u42");
    assert_eq!(one.await.unwrap().overrides, []);
    assert!(!stage.consume("user:u42", 1, "d").await.allowed);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn an_explanation_names_the_subject_of_each_limit() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.consume("team:growth/user:u42", 95, "a").await;
    let refused = stage.consume("team:growth/user:u42", 6, "b").await;
    let why = stage.client.explain_decision(refused.decision_id).await.unwrap();
    let limits = why
        .rules
        .iter()
        .filter_map(|rule| Some((rule.limit.as_deref()?, rule.subject.as_deref(), rule.binding)));
    let mut limits: Vec<_> = limits.collect();
    limits.sort_unstable();
    let expected = [
        ("monthly", None, false),
        ("per_team", Some("team:growth"), false),
        ("per_user", Some("team:growth/user:u42"), true),
    ];
    assert_eq!(limits, expected);
    let binding = why.rules.iter().find(|rule| rule.binding).unwrap();
    assert_eq!(
        binding.explanation,
        "of team:growth/user:u42, 95 used of 100 included: 6 asked for, only 5 can be drawn; the \
         policy is to block"
    );
    drop(stage);
    sidecar.stop().await;
}

/// 2020-01-01T00:00:00Z, where a test clock begins.
const BEGIN: u64 = 1_577_836_800;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + seconds)
}

#[tokio::test]
async fn what_came_late_for_a_user_counts_in_its_time_at_every_level_over_kill_9() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let mut sidecar = home.start();
    let stage = Stage::new(&home).await;
    stage.admin.set_clock(at(DAY + 10)).await.unwrap();
    let user = "team:growth/user:u42";
    assert!(stage.consume(user, 5, "a").await.allowed);
    stage.admin.set_clock(at(2 * DAY + 10)).await.unwrap();
    assert!(stage.consume(user, 1, "b").await.allowed);
    let late = async |stage: &Stage, units, seconds, key: &str| {
        let call = stage.client.record("acme", "tokens", units).subject(user);
        call.occurred_at(at(seconds)).idempotency_key(key).with_all_limits().await.unwrap()
    };
    // Yesterday has closed, the month is open; the day before there was nothing.
    let told = late(&stage, 7, DAY + 20, "l1").await;
    bound_by(&told.decision, "per_user", Some(user));
    let others = told.decision.other_limits.iter().map(|l| (l.limit.as_str(), l.used_units));
    let mut others: Vec<_> = others.collect();
    others.sort_unstable();
    assert_eq!(others, [("monthly", 13), ("per_team", 13)]);
    late(&stage, 3, 20, "l2").await;
    assert!(late(&stage, 7, DAY + 20, "l1").await.decision.replayed);

    drop(stage);
    sidecar.kill();
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    assert!(late(&stage, 3, 20, "l2").await.decision.replayed);
    let correct = |event: &str| stage.client.correct("acme", "tokens", event);
    // Who it was for must be said, and rightly.
    let unsaid = correct("l1").units(6).await.unwrap_err().to_string();
    assert!(unsaid.contains("subject: is missing"), "{unsaid}");
    let wrong = correct("l1").units(6).subject("user:u42").await.unwrap_err().to_string();
    assert!(wrong.contains("counted for another"), "{wrong}");
    correct("l1").units(6).subject(user).reason("twice").await.unwrap();
    correct("a").original_units(5).units(4).subject(user).await.unwrap();
    correct("l2").subject(user).await.unwrap();
    let windows = until_async("the history", async || {
        let since = Some(SystemTime::UNIX_EPOCH);
        let all = stage.client.get_subject_usage("acme", Some(user), None, since, None).await;
        let mut windows = all.unwrap().windows;
        windows.sort_by_key(|window| window.window_start);
        let used: Vec<u64> = windows.iter().map(|window| window.used_units).collect();
        (used == [0, 10, 1]).then_some(windows)
    })
    .await;
    assert_eq!(windows[1].window_start, Some(at(DAY)));
    assert_eq!((windows[1].closed, windows[1].used_units_at_close), (true, Some(5)));
    assert_eq!(stage.used(Some("team:growth")).await[0].2, 11);
    assert_eq!(stage.account_used().await, 11);
    // The trail of the user's own windows, and by hand.
    let trail = stage.client.list_subject_adjustments("acme", user, Some("tokens"), None).await;
    let trail = trail.unwrap().adjustments;
    let told: Vec<_> =
        trail.iter().map(|a| (a.event_key.as_str(), a.units_before, a.units)).collect();
    assert_eq!(told, [("l2", 0, 3), ("l2", 3, 0), ("l1", 0, 7), ("l1", 7, 6), ("a", 5, 4)]);
    assert!(trail[2].after_close && trail[3].reason.as_deref() == Some("twice"));
    drop(stage);
    by_hand(&home, user);
    sidecar.stop().await;
}

fn by_hand(home: &Home, user: &str) {
    let endpoint = home.endpoint();
    let ask = |args: &[&str]| {
        let ended = home.run(&[&["ask", "--endpoint", &endpoint], args].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    let (when, key) = ("2020-01-02T10:00:00Z", "by-hand");
    let late = ["record", "acme", "tokens", "8", "--occurred-at", when, "--key", key];
    ask(&[&late[..], &["--subject", user]].concat());
    let said = ask(&["correct", "acme", "tokens", key, "--units", "6", "--subject", user]);
    assert!(said.starts_with("it counts 6 now"), "{said}");
    let said = ask(&["adjustments", "acme", "--subject", user]);
    assert!(said.contains("per_user") && !said.contains("monthly"), "{said}");
}

#[tokio::test]
async fn what_came_late_for_an_erased_name_is_somebody_elses() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let stage = Stage::new(&home).await;
    // The month of the account begins with it.
    stage.admin.set_clock(at(DAY + 1)).await.unwrap();
    assert!(stage.client.consume("acme", "tokens", 1).await.unwrap().allowed);
    stage.admin.set_clock(at(DAY + 10)).await.unwrap();
    let late = async |units, key: &str| {
        let call = stage.client.record("acme", "tokens", units).subject("user:alice");
        call.occurred_at(at(DAY + 5)).idempotency_key(key).await.unwrap()
    };
    late(10, "first").await;
    assert_eq!(stage.admin.erase_subject("acme", "user:alice").await.unwrap(), 1);
    late(4, "second").await;
    let alice = ("per_user".to_owned(), "user:alice".to_owned(), 4);
    assert_eq!(stage.used(Some("user:alice")).await, [alice]);
    // The event of before is known by its number, and says whose it was.
    let correct = stage.client.correct("acme", "tokens", "first").units(9);
    correct.subject("user:alice").await.unwrap();
    let all = stage.used(None).await;
    let erased = all.iter().find(|(_, name, _)| name.starts_with("erased:")).unwrap();
    assert_eq!(erased.2, 9);
    assert_eq!(stage.account_used().await, 14);
    drop(stage);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_path_that_is_none_is_refused_and_says_why() {
    let home = Home::with_settings(TOKENS, "clock: test\n");
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    for (subject, why) in [
        ("u42", "`type:id`"),
        ("user:a/user:b", "same type"),
        ("a:1/b:2/c:3/d:4/e:5", "5 levels"),
        ("User:a", "a-z"),
        ("erased:1", "reserved"),
    ] {
        let rq = v1::ConsumeRequest {
            subject: subject.to_owned(),
            ..ask::consume("acme", "tokens", 1, "k")
        };
        let status = client.consume(rq).await.unwrap_err();
        assert_eq!(ask::violations(&status)[0].0, "subject");
        assert!(status.message().contains(why), "{}", status.message());
    }
    let mut admin = ask::admin(&home).await;
    let (account, subject) = ("nobody".to_owned(), "user:a".to_owned());
    let rq = v1::EraseSubjectRequest { account, subject, ..Default::default() };
    let status = admin.erase_subject(rq).await.unwrap_err();
    assert_eq!(ask::reason(&status), "UNKNOWN_ACCOUNT");
    drop((client, admin));
    sidecar.stop().await;
}
