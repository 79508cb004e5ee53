//! What accounts used before they came, over the wire, from a file and over a restart.

use std::time::{Duration, SystemTime};

use headroom_sdk::{Denial, ErrorReason, v1};

use crate::support::ask::subscription;
use crate::support::home::Home;
use crate::support::until_async;

const CATALOG: &str = "\
features:
  calls:
    name: Calls
    kind: quota
    limits: { monthly: { window: billing }, session: { window: { first_use: 5 hours } } }
  sso: { name: SSO, kind: switch }
plans:
  team:
    name: Team
    entitlements:
      calls: { monthly: { included: 100, soft_limits: [50%] }, session: { included: 50 } }
      sso: on
";

fn opening(limit: &str, used_units: i64) -> v1::PutOpeningBalanceRequest {
    v1::PutOpeningBalanceRequest {
        account: "acme".into(),
        feature: "calls".into(),
        limit: limit.into(),
        used_units,
        idempotency_key: format!("opening/{limit}"),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_opening_balance_counts_once_in_silence_and_over_a_kill() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_898_553_600);
    admin.set_clock(start).await.unwrap();
    let unknown = admin.put_opening_balance(opening("monthly", 90)).await.unwrap_err();
    assert_eq!(unknown.reason(), Some(ErrorReason::UnknownAccount));
    admin.put_subscription(subscription("acme", "team")).await.unwrap();

    let dry = v1::PutOpeningBalanceRequest { dry_run: true, ..opening("monthly", 90) };
    let would = admin.put_opening_balance(dry.clone()).await.unwrap();
    assert_eq!((would.state.unwrap().used_units, would.replayed), (90, false));
    let none = client.check("acme", "calls").await.unwrap().binding.unwrap();
    assert_eq!(none.used_units, 0, "a dry run changes nothing");

    let done = admin.put_opening_balance(opening("monthly", 90)).await.unwrap();
    assert_eq!((done.state.unwrap().used_units, done.replayed), (90, false));
    let began_at = Some((start - Duration::from_secs(3_600)).into());
    let begun = v1::PutOpeningBalanceRequest { began_at, ..opening("session", 7) };
    let state = admin.put_opening_balance(begun.clone()).await.unwrap().state.unwrap();
    assert_eq!(state.window_start, began_at);
    sidecar.kill();
    drop(sidecar);

    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    for request in [opening("monthly", 90), dry, begun] {
        let again = v1::PutOpeningBalanceRequest { dry_run: request.dry_run, ..request };
        assert!(admin.put_opening_balance(again).await.unwrap().replayed);
    }
    let other = admin.put_opening_balance(opening("monthly", 91)).await.unwrap_err();
    assert_eq!(other.reason(), Some(ErrorReason::IdempotencyKeyReused));
    let new_key = |add| v1::PutOpeningBalanceRequest {
        idempotency_key: "another".into(),
        add,
        ..opening("monthly", 5)
    };
    let used = admin.put_opening_balance(new_key(false)).await.unwrap_err();
    assert_eq!(used.reason(), Some(ErrorReason::AlreadyUsed));
    let added = admin.put_opening_balance(new_key(true)).await.unwrap();
    assert_eq!(added.state.unwrap().used_units, 95);
    assert_eq!(
        client.consume("acme", "calls", 6).await.unwrap().denial,
        Some(Denial::QuotaExhausted)
    );
    assert!(client.consume("acme", "calls", 5).await.unwrap().allowed);
    // The refusal, and the included units that were reached here; not the half that was passed before.
    until_async("both signals are counted", async || {
        (admin.get_status().await.unwrap().signals_emitted == 2).then_some(())
    })
    .await;

    let switch = v1::PutOpeningBalanceRequest { feature: "sso".into(), ..new_key(false) };
    let kind = admin.put_opening_balance(switch).await.unwrap_err();
    assert_eq!(kind.reason(), Some(ErrorReason::WrongFeatureKind));
    let third = v1::PutOpeningBalanceRequest { idempotency_key: "third".into(), ..new_key(true) };
    for (change, field) in [
        (v1::PutOpeningBalanceRequest { used_units: -1, ..new_key(false) }, "used_units"),
        (v1::PutOpeningBalanceRequest { began_at, ..third }, "began_at"),
    ] {
        let error = admin.put_opening_balance(change).await.unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[tokio::test]
async fn a_file_is_imported_whole_or_not_at_all_and_once() {
    let home = Home::new(CATALOG);
    let _sidecar = home.start();
    let (client, admin) = home.clients().await;
    for account in ["acme", "bolt"] {
        admin.put_subscription(subscription(account, "team")).await.unwrap();
    }
    let file = home.path("used.csv");
    let file_name = file.display().to_string();
    let import =
        |more: &[&str]| home.run(&[&["import", "opening-balances", &file_name][..], more].concat());
    let write = |lines: &str| {
        std::fs::write(&file, format!("account,feature,limit,used_units\n{lines}")).unwrap();
    };
    let used = async |account: &str| {
        let decision = client.check(account, "calls").await.unwrap();
        decision.binding.unwrap().used_units
    };

    write(
        "acme,calls,monthly,60\nghost,calls,monthly,1\nbolt,calls,weekly,1\nacme,calls,monthly,many\n\
         ghost,cals,monthly,1\nacme,calls,monthly,70\nbolt,,monthly,-1\n",
    );
    let refused = import(&[]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    for problem in [
        "line 3: unknown_account",
        "line 4: unknown_name",
        "line 5: `used_units`",
        "line 6: unknown_name: the catalog has no feature \"cals\", did you mean \"calls\"?; there is no account",
        "line 7: the same limit as in line 2",
        "line 8: `feature` is missing",
        "line 8: `used_units`",
        "7 problems",
    ] {
        assert!(refused.stderr.contains(problem), "{problem} is not in {}", refused.stderr);
    }
    assert_eq!(used("acme").await, 0, "with any problem nothing is imported");

    write("acme,calls,monthly,60\nbolt,calls,monthly,70\n");
    assert!(import(&["--dry-run"]).stdout.contains("2 opening balances would be imported"));
    assert_eq!(used("acme").await, 0);
    for known in [0, 2] {
        let done = import(&["--json"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let said: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!((&said["balances"], &said["known"]), (&2.into(), &known.into()));
    }
    assert_eq!((used("acme").await, used("bolt").await), (60, 70));
    let again = import(&["--key-prefix", "second"]);
    assert!(again.stderr.contains("line 2: already_used: 60 units"), "{}", again.stderr);
}
