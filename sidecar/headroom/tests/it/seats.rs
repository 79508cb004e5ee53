//! Seats over the wire: who sits, over kill -9, and who may not.

use std::time::Duration;

use headroom_proto::v1;
use headroom_sdk::{Client, Denial, FeatureKind, SeatState};

use crate::support::ask::{self, subscription};
use crate::support::home::Home;

const TEAM: &str = "\
default_plan: team
features:
  seats: { name: Seats, kind: seats, unit: seats, invitations: 2 days }
  calls: { name: Calls, kind: quota, limits: { daily: { window: { calendar: day } } } }
  images: { name: Images, kind: quota, limits: { daily: { window: { calendar: day } } } }
plans:
  team:
    name: Team
    entitlements:
      seats: { included: 2, soft_limits: [50%] }
      calls: { daily: { included: 5 } }
prompts:
  - prompt: full
    scenario: limit_hit
    title: 'All {{ included }} {{ unit }} are taken'
    message: Buy more
sinks:
  - { sink: audit, kind: ndjson, path: signals.ndjson }
";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn members(client: &Client) -> Vec<(String, SeatState)> {
    let page = client.list_seats("acme", "seats", None).await.unwrap();
    page.seats.into_iter().map(|seat| (seat.member, seat.state)).collect()
}

#[tokio::test]
async fn members_sit_and_are_invited_over_kill_9() {
    let home = Home::with_settings(TEAM, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "team")).await.unwrap();
    let closed = client.consume("acme", "images", 3).await.unwrap();
    assert_eq!(closed.denial, Some(Denial::NotInPlan));
    let invited = client.invite_seat("acme", "seats", "ann", None).await.unwrap();
    assert!(invited.changed && invited.decision.allowed);
    let seat = invited.seat.expect("a seat");
    assert_eq!(seat.expires_at.unwrap().duration_since(seat.since.unwrap()).unwrap(), DAY * 2);
    assert_eq!(invited.decision.binding.unwrap().reserved_units, 1);
    let again = client.invite_seat("acme", "seats", "ann", None).await.unwrap();
    assert!(!again.changed);
    assert!(client.claim_seat("acme", "seats", "bob").await.unwrap().changed);

    drop((client, admin));
    sidecar.kill();
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    let both = [("ann", SeatState::Invited), ("bob", SeatState::Claimed)];
    assert_eq!(members(&client).await, both.map(|(who, state)| (who.to_owned(), state)));
    let refused = client.claim_seat("acme", "seats", "cid").await.unwrap();
    assert_eq!((refused.decision.denial, refused.seat), (Some(Denial::SeatsFull), None));
    let why = client.explain_decision(&refused.decision.decision_id).await.unwrap();
    assert_eq!(why.operation, "claim_seat");
    let rule = why.rules.iter().find(|rule| rule.binding).unwrap();
    assert!(rule.explanation.contains("2 included"), "{}", rule.explanation);
    let given = client.transfer_seat("acme", "seats", "bob", "dan").await.unwrap();
    assert_eq!(given.seat.unwrap().state, SeatState::Claimed);
    let error = client.transfer_seat("acme", "seats", "bob", "eve").await.unwrap_err();
    assert!(error.to_string().contains("no seat that could be given away"), "{error}");

    // An expired invitation holds no seat.
    admin.advance_clock(DAY * 2).await.unwrap();
    assert_eq!(members(&client).await.len(), 1);
    assert!(client.claim_seat("acme", "seats", "cid").await.unwrap().changed);
    let late = client.claim_seat("acme", "seats", "ann").await.unwrap();
    assert_eq!(late.decision.denial, Some(Denial::SeatsFull));
    assert!(client.release_seat("acme", "seats", "cid").await.unwrap().changed);
    assert!(!client.release_seat("acme", "seats", "cid").await.unwrap().changed);
    assert!(client.claim_seat("acme", "seats", "ann").await.unwrap().changed);

    // What the business hears of it.
    let signals = crate::support::until("the signals are in the file", || {
        let text = std::fs::read_to_string(home.data().join("signals.ndjson")).unwrap_or_default();
        text.contains("headroom.signal.seat_threshold_90pct").then_some(text)
    });
    assert!(signals.contains("headroom.signal.seats_nearly_full"), "{signals}");
    let of = |name: &str| {
        let name = format!("\"headroom.signal.{name}\"");
        // A line that a kill has written twice is one signal.
        let lines: std::collections::BTreeSet<&str> = signals.lines().collect();
        lines.into_iter().filter(|line| line.contains(&name)).collect::<Vec<_>>()
    };
    let invites = of("team_invite_sent");
    assert_eq!(invites.len(), 1, "{signals}");
    assert!(invites[0].contains("\"limit\":\"seats\""), "{invites:?}");
    let tried = of("premium_feature_attempted");
    assert_eq!(tried.len(), 1, "{signals}");
    for said in ["\"feature\":\"images\"", "\"limit\":\"\"", "\"refused_units\":3"] {
        assert!(tried[0].contains(said), "{said}: {tried:?}");
    }
    drop((client, admin));
    sidecar.stop().await;
}

#[tokio::test]
async fn check_asks_for_one_more_and_everything_else_says_what_to_call() {
    let home = Home::with_settings(TEAM, "clock: test\n");
    let sidecar = home.start();
    let (client, _admin) = home.clients().await;
    assert!(client.check("acme", "seats").await.unwrap().allowed);
    for member in ["ann", "bob"] {
        client.claim_seat("acme", "seats", member).await.unwrap();
    }
    let check = client.check("acme", "seats").with_prompt().await.unwrap();
    assert_eq!(check.denial, Some(Denial::SeatsFull));
    assert_eq!(check.prompt.expect("a prompt").title, "All 2 seats are taken");
    for error in [
        client.consume("acme", "seats", 1).await.unwrap_err(),
        client.record("acme", "seats", 1).await.unwrap_err(),
        client.reserve("acme", "seats", 1).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("invite, claim, release"), "{error}");
    }
    let error = client.claim_seat("acme", "calls", "ann").await.unwrap_err();
    assert!(error.to_string().contains("only seats have members"), "{error}");
    let listed = client.list_entitlements("acme").await.unwrap();
    assert_eq!(listed.entitlements[0].kind, FeatureKind::Seats);
    assert_eq!(listed.entitlements[0].limits[0].used_units, 2);
    drop(client);
    sidecar.stop().await;
}

#[tokio::test]
async fn what_is_asked_of_seats_is_checked_and_lists_have_pages() {
    let home = Home::with_settings(&TEAM.replace("included: 2", "included: 50"), "clock: test\n");
    let sidecar = home.start();
    let mut seats = ask::seats(&home).await;
    let claim = |member: &str| v1::ClaimSeatRequest {
        account: "acme".to_owned(),
        feature: "seats".to_owned(),
        member: member.to_owned(),
        include: Some(v1::Include {
            prompt: true,
            all_limits: true,
            projection: true,
            ..v1::Include::default()
        }),
    };
    for n in 0..25 {
        let claimed = seats.claim_seat(claim(&format!("m{n:02}"))).await.unwrap().into_inner();
        let decision = claimed.decision.unwrap();
        assert_eq!(decision.durability(), v1::Durability::Written);
        assert!(decision.projection.is_none());
    }
    let wrong = seats.claim_seat(claim("")).await.unwrap_err();
    assert_eq!(ask::violations(&wrong)[0].0, "member");
    let wrong = seats.claim_seat(claim(&"x".repeat(129))).await.unwrap_err();
    assert_eq!(ask::violations(&wrong)[0].0, "member");
    let rq = v1::InviteSeatRequest {
        account: "acme".to_owned(),
        feature: "seats".to_owned(),
        member: "ann".to_owned(),
        invite_for: Some(prost_types::Duration { seconds: 367 * 86_400, nanos: 0 }),
        include: None,
    };
    let wrong = seats.invite_seat(rq).await.unwrap_err();
    assert_eq!(ask::violations(&wrong)[0].0, "invite_for");
    let rq = v1::TransferSeatRequest {
        account: "acme".to_owned(),
        feature: "seats".to_owned(),
        from_member: "m01".to_owned(),
        to_member: "m01".to_owned(),
        include: None,
    };
    let wrong = seats.transfer_seat(rq).await.unwrap_err();
    assert_eq!(ask::violations(&wrong)[0].0, "to_member");
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let rq = v1::ListSeatsRequest {
            account: "acme".to_owned(),
            feature: "seats".to_owned(),
            page_size: 10,
            page_token,
        };
        let page = seats.list_seats(rq).await.unwrap().into_inner();
        assert!(page.seats.len() <= 10 && page.test_clock);
        all.extend(page.seats.into_iter().map(|seat| seat.member));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(all, (0..25).map(|n| format!("m{n:02}")).collect::<Vec<_>>());
    let rq = v1::ListSeatsRequest { account: "acme".to_owned(), ..Default::default() };
    assert!(seats.list_seats(rq).await.is_err());
    drop(seats);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_member_is_erased_with_its_seats_over_kill_9() {
    let home = Home::new(TEAM);
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    for member in ["ann", "bob"] {
        client.claim_seat("acme", "seats", member).await.unwrap();
    }
    assert_eq!(admin.erase_seat_member("acme", "ann").await.unwrap(), 1);
    assert_eq!(admin.erase_seat_member("acme", "ann").await.unwrap(), 0);
    // Also when its feature has left the catalog, and with the name of a subject in one step.
    client.invite_seat("acme", "seats", "cid", None).await.unwrap();
    let calls = |line: &str| !line.contains("seats:");
    let without: Vec<&str> = TEAM.lines().filter(|line| calls(line)).collect();
    home.write_catalog(&(without.join("\n") + "\nmigrations: [{ drop_feature: seats }]\n"));
    admin.reload_catalog().await.unwrap();
    let erased =
        home.run(&["account", "erase-subject", "acme", "user:cid", "--seat-member", "cid"]);
    let told = "nothing of that name is known\n1 seat given back\n";
    assert_eq!((erased.code, erased.stdout.as_str()), (Some(0), told));
    drop((client, admin));
    sidecar.kill();
    home.write_catalog(TEAM);
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    assert_eq!(members(&client).await, [("bob".to_owned(), SeatState::Claimed)]);
    let claimed = client.claim_seat("acme", "seats", "dan").await.unwrap();
    assert_eq!(claimed.decision.binding.unwrap().used_units, 2);
    let alone = home.run(&["account", "erase-subject", "acme", "--seat-member", "dan"]);
    assert_eq!(alone.stdout, "1 seat given back\n");
    let nobody = admin.erase_seat_member("nobody", "dan").await.unwrap_err();
    assert_eq!(nobody.reason(), Some(headroom_sdk::ErrorReason::UnknownAccount));
    drop((client, admin));
    sidecar.stop().await;
}

#[tokio::test]
async fn seats_in_shadow_mode_let_everybody_in_and_say_whom_they_would_not_have() {
    let watched = TEAM.replace("invitations: 2 days }", "invitations: 2 days, shadow: on }");
    let home = Home::with_settings(&watched, "clock: test\n");
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    for member in ["ann", "bob"] {
        let sits = client.claim_seat("acme", "seats", member).await.unwrap();
        assert_eq!((sits.changed, sits.decision.shadow_denial), (true, None));
    }
    let more = client.check("acme", "seats").await.unwrap();
    assert_eq!((more.allowed, more.shadow_denial), (true, Some(Denial::SeatsFull)));
    let third = client.claim_seat("acme", "seats", "cid").await.unwrap();
    assert_eq!((third.changed, third.decision.shadow_denial), (true, Some(Denial::SeatsFull)));
    assert!(third.decision.allowed);
    assert_eq!(third.decision.binding.unwrap().used_units, 3);
    let why = client.explain_decision(&third.decision.decision_id).await.unwrap();
    let rule = why.rules.iter().find(|rule| rule.binding).unwrap();
    assert!(rule.explanation.contains("shadow mode let it on"), "{}", rule.explanation);
    let line = "headroom_shadow_denials_total{denial=\"seats_full\"} 2";
    let metrics = sidecar.page("/metrics").body;
    assert!(metrics.lines().any(|found| found == line), "{metrics}");

    // When the watching ends, whoever is in stays in, and nobody new comes.
    home.write_catalog(TEAM);
    assert!(admin.reload_catalog().await.unwrap().changed);
    let fourth = client.claim_seat("acme", "seats", "dan").await.unwrap();
    assert_eq!(fourth.decision.denial, Some(Denial::SeatsFull));
    assert_eq!(members(&client).await.len(), 3);
    drop((client, admin));
    sidecar.stop().await;
}
