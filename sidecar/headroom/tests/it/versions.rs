//! Versions of a plan, and catalogs that would take something away, over the wire and over restarts.

use std::time::{Duration, SystemTime};

use headroom_sdk::{Client, v1};

use crate::support::SOON;
use crate::support::ask::subscription;
use crate::support::home::Home;

const FIRST: &str = "\
features:
  tokens: { name: Tokens, kind: quota, limits: { total: { window: lifetime } } }
  calls: { name: Calls, kind: quota, limits: { total: { window: lifetime } } }
plans:
  team: { name: Team, entitlements: { tokens: { total: { included: 10 } } } }
  solo: { name: Solo, entitlements: { tokens: { total: { included: 1 } } } }
";

const SECOND: &str = "\
features:
  tokens: { name: Tokens, kind: quota, limits: { total: { window: lifetime } } }
  calls: { name: Calls, kind: quota, limits: { total: { window: lifetime } } }
plans:
  team:
    name: Team
    version: 2
    entitlements: { tokens: { total: { included: 20 } } }
    versions:
      1: { entitlements: { tokens: { total: { included: 10 } } } }
  solo: { name: Solo, entitlements: { tokens: { total: { included: 1 } } } }
";

/// The version that the answer names, and the included units of the limit that binds.
async fn stands(client: &Client, account: &str) -> (String, u32, Option<u64>) {
    let decision = client.consume(account, "tokens", 1).await.unwrap();
    let origin = decision.origin.expect("an origin");
    (origin.plan, origin.plan_version, decision.binding.expect("a limit").included_units)
}

#[tokio::test]
async fn an_account_stays_on_the_version_it_bought_until_it_is_moved() {
    let home = Home::new(FIRST);
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    for account in ["acme", "bolt"] {
        let account = admin.put_subscription(subscription(account, "team")).await.unwrap();
        assert_eq!((account.plan.as_str(), account.plan_version), ("team", 1));
    }
    home.write_catalog(SECOND);
    assert!(admin.reload_catalog().await.unwrap().changed);
    assert_eq!(stands(&client, "acme").await, ("team".to_owned(), 1, Some(10)));
    admin.put_subscription(subscription("corp", "team")).await.unwrap();
    assert_eq!(stands(&client, "corp").await, ("team".to_owned(), 2, Some(20)));
    // The same subscription told again moves nobody; a version that is named does.
    admin.put_subscription(subscription("acme", "team")).await.unwrap();
    let older = admin.put_subscription(subscription("corp", "team@1")).await.unwrap();
    assert_eq!((older.plan_version, older.plan_in_force_version), (1, 1));
    sidecar.kill();

    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    assert_eq!(stands(&client, "acme").await, ("team".to_owned(), 1, Some(10)));
    let dry =
        home.run(&["account", "move", "--plan", "team", "--to-version", "2", "--all", "--dry-run"]);
    assert_eq!((dry.code, dry.stdout.as_str()), (Some(0), "3 accounts would move to team@2\n"));
    assert_eq!(admin.get_account("acme").await.unwrap().plan_version, 1);
    let one = home.run(&["account", "move", "acme", "--plan", "team", "--to-version", "2"]);
    assert_eq!((one.code, one.stdout.as_str()), (Some(0), "1 account moved to team@2\n"));
    assert_eq!(stands(&client, "acme").await, ("team".to_owned(), 2, Some(20)));
    assert_eq!(admin.move_plan("team", 2, None, false).await.unwrap(), 2);
    assert_eq!(admin.move_plan("team", 2, None, false).await.unwrap(), 0);
    assert_eq!(stands(&client, "bolt").await, ("team".to_owned(), 2, Some(20)));
    let unknown = admin.move_plan("team", 9, None, true).await.unwrap_err();
    assert_eq!(unknown.reason(), Some(headroom_sdk::ErrorReason::UnknownName));
    drop((admin, client));
    sidecar.stop().await;
}

#[tokio::test]
async fn accounts_keep_what_a_plan_gave_before_it_gives_less() {
    let home = Home::new(FIRST);
    let sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "team")).await.unwrap();
    let dry = home.run(&["account", "grandfather", "team", "--until", "2099-01-01", "--dry-run"]);
    let told = "1 account would keep what team gives now: 1 override\n";
    assert_eq!((dry.code, dry.stdout.as_str()), (Some(0), told));
    let done = home.run(&["account", "grandfather", "team", "--until", "2099-01-01"]);
    assert_eq!(done.stdout, "1 account kept what team gives now: 1 override\n");
    home.write_catalog(&FIRST.replace("included: 10", "included: 2"));
    admin.reload_catalog().await.unwrap();
    admin.put_subscription(subscription("bolt", "team")).await.unwrap();
    assert_eq!(stands(&client, "acme").await.2, Some(10));
    assert_eq!(stands(&client, "bolt").await.2, Some(2));
    let shown = home.run(&["account", "get", "acme"]).stdout;
    assert!(shown.contains("tokens total: 10 included at least, until 2099-01-01"), "{shown}");

    let config = v1::Override {
        feature: "tokens".into(),
        value: Some(v1::r#override::Value::SwitchOn(false)),
        at_least: true,
        ..Default::default()
    };
    let refused = admin.put_override("acme", config).await.unwrap_err();
    assert_eq!(refused.reason(), Some(headroom_sdk::ErrorReason::WrongFeatureKind));
    let unknown = home.run(&["account", "grandfather", "teem"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("team"), "{unknown:?}");
    drop((admin, client));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_catalog_that_would_take_something_away_is_explained_and_refused() {
    let home = Home::new(SECOND);
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    admin.put_subscription(subscription("acme", "team@1")).await.unwrap();
    assert!(client.consume("acme", "tokens", 3).await.unwrap().allowed);

    let without_version =
        SECOND.replace("      1: {", "      # 1: {").replace("    versions:\n", "");
    let without_tokens =
        SECOND.replace("  tokens: {", "  units: {").replace("tokens: { t", "units: { t");
    let as_switch = FIRST
        .replace(
            "kind: quota, limits: { total: { window: lifetime } } }\n  calls",
            "kind: switch }\n  calls",
        )
        .replace("{ tokens: { total: { included: 10 } } }", "{ tokens: on }")
        .replace("{ tokens: { total: { included: 1 } } }", "{ tokens: off }");
    let monthly = FIRST.replacen("window: lifetime", "window: billing", 1);
    let wrong = [
        (&without_version, "catalog.yaml:4:1: plan `team` is gone, but 1 account on it"),
        (
            &without_tokens,
            "catalog.yaml:1:1: feature `tokens` is gone, but 1 account has used it (1 ledger)",
        ),
        (
            &as_switch,
            "catalog.yaml:2:33: feature `tokens` was a quota and is a switch, but 1 account",
        ),
        (
            &monthly,
            "limit `total` of `tokens` counted for ever and has another window now, but 1 account",
        ),
    ];
    let address = home.admin();
    let catalog = home.path("catalog.yaml").display().to_string();
    for (text, expected) in wrong {
        home.write_catalog(text);
        let checked = home.run(&["check", &catalog, "--against", &address]);
        assert_eq!(checked.code, Some(1));
        let (_, bare) = expected.split_once(".yaml").unwrap_or(("", expected));
        let message = bare.rsplit(": ").next().unwrap();
        assert!(checked.stderr.contains(message), "no {message:?} in {}", checked.stderr);
        let place = expected.split(' ').next().filter(|place| place.starts_with("catalog"));
        assert!(checked.stderr.contains(place.unwrap_or(".yaml:")), "{}", checked.stderr);
        let refused = home.run(&["reload"]);
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains(expected), "no {expected:?} in {}", refused.stderr);
        assert_eq!(stands(&client, "acme").await.2, Some(10), "the old one stays in force");
    }
    // Nobody used `calls`, and nobody is on `solo`: that may go without a word.
    let unused = FIRST.lines().filter(|line| !line.contains("calls:") && !line.contains("solo:"));
    home.write_catalog(&(unused.collect::<Vec<_>>().join("\n") + "\n"));
    assert_eq!(home.run(&["check", &catalog, "--against", &address]).code, Some(0));

    // A start is no way around it.
    sidecar.kill();
    home.write_catalog(&without_tokens);
    let data = home.data().display().to_string();
    for ended in [home.refused(), home.run(&["check", &catalog, "--against", &data])] {
        assert_eq!(ended.code, Some(1));
        let expected = "feature `tokens` is gone, but 1 account has used it (1 ledger): if it is called \
                        `units` now, let the counts go on with the migration `rename_feature: tokens, to: \
                        units`; else put it back, or let them rest with `drop_feature: tokens`";
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
    home.write_catalog(&format!(
        "{without_tokens}migrations:\n  - drop_feature: tokens\n  - drop_limit: daily\n    of: calls\n"
    ));
    let checked = home.run(&["check", &catalog, "--against", &data]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let hint = ":14:17: nothing was ever called `daily` here: it is mistyped, or of a version";
    assert!(checked.stdout.contains(hint), "{}", checked.stdout);
    // Nearly what goes in this very step: that was meant.
    home.write_catalog(&format!("{without_tokens}migrations:\n  - drop_feature: tokns\n"));
    for ended in [home.refused(), home.run(&["check", &catalog, "--against", &data])] {
        let typo =
            "catalog.yaml:13:19: nothing was ever called `tokns` here, did you mean `tokens`?";
        assert!(ended.stderr.contains(typo), "{}", ended.stderr);
    }
    home.write_catalog(&format!("{without_tokens}migrations:\n  - drop_feature: tokens\n"));
    let mut sidecar = home.start();
    // Whoever has never known a name is told, and a line that the catalog before had too is not looked at.
    let lines = "migrations:\n  - drop_feature: tokens\n  - drop_limit: nosuch\n    of: calls\n";
    home.write_catalog(&format!("{without_tokens}{lines}"));
    let checked = home.run(&["check", &catalog, "--against", &address]);
    let told = "catalog.yaml:14:17: nothing was ever called `nosuch` here: it is mistyped";
    assert!(checked.stdout.contains(told), "{}", checked.stdout);
    assert!(home.run(&["reload"]).stdout.contains(told));
    home.write_catalog(&format!("{without_tokens}{lines}# Said once.\n"));
    assert_eq!(home.run(&["reload"]).stdout.lines().count(), 1);
    let mistyped = format!("{without_tokens}{lines}  - {{ change_kind: calls, to: quotta }}\n");
    home.write_catalog(&mistyped);
    let checked = home.run(&["check", &catalog, "--against", &address]);
    let kind = ":16:31: `quotta` is no kind of feature, did you mean `quota`?";
    assert!(checked.stderr.contains(kind), "{}", checked.stderr);
    home.write_catalog(&format!("{without_tokens}{lines}"));
    sidecar.kill();
    // What was counted rests, and comes back with its name.
    home.write_catalog(SECOND);
    let sidecar = home.start();
    let (client, _) = home.clients().await;
    assert_eq!(client.consume("acme", "tokens", 1).await.unwrap().binding.unwrap().used_units, 8);
    drop(client);
    sidecar.stop().await;
}

/// A change of plan that is lost by a restart is a known fault of others.
#[tokio::test]
async fn a_change_of_plan_in_mid_window_is_exact_over_kill_and_checkpoint() {
    let catalog = "\
features:
  tokens:
    name: Tokens
    kind: quota
    limits: { daily: { window: { calendar: day } }, weekly: { window: { calendar: week } } }
plans:
  solo:
    name: Solo
    entitlements: { tokens: { daily: { included: 24 }, weekly: { included: 1000 } } }
  team:
    name: Team
    entitlements:
      tokens:
        daily: { included: 240, on_change: prorate }
        weekly: { included: 2000, on_change: reset }
";
    let home = Home::with_settings(catalog, "clock: test\n");
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    // A Wednesday, at midnight.
    let day = SystemTime::UNIX_EPOCH + Duration::from_secs(1_898_553_600);
    let hours = |hours: u32| day + Duration::from_secs(3600) * hours;
    admin.set_clock(day).await.unwrap();
    admin.put_subscription(subscription("acme", "solo")).await.unwrap();
    admin.set_clock(hours(1)).await.unwrap();
    assert!(client.consume("acme", "tokens", 20).await.unwrap().allowed);
    admin.set_clock(hours(18)).await.unwrap();
    admin.put_subscription(subscription("acme", "team")).await.unwrap();
    let expected = |decision: &headroom_sdk::Decision, used: u64| {
        let all = decision.binding.iter().chain(&decision.other_limits);
        let seen: Vec<_> = all
            .map(|l| (l.limit.as_str(), l.used_units, l.included_units, l.window_start))
            .collect();
        // 18 of 24 hours at 24 a day and 6 at 240; the week began anew with the change.
        assert!(seen.contains(&("daily", 20 + used, Some(18 + 60), Some(day))), "{seen:?}");
        assert!(seen.contains(&("weekly", used, Some(2000), Some(hours(18)))), "{seen:?}");
    };
    admin.set_clock(hours(19)).await.unwrap();
    for used in 1..=6 {
        let call = client.consume("acme", "tokens", 1).with_all_limits();
        expected(&call.await.unwrap(), used);
        if used == 2 {
            sidecar.kill();
            sidecar = home.start();
        }
        if used == 4 {
            sidecar.stop().await;
            sidecar = home.start();
        }
    }
    drop((admin, client));
    sidecar.stop().await;
}

#[tokio::test]
async fn migrations_move_accounts_and_end_what_would_never_end() {
    let home = Home::new(SECOND);
    let mut sidecar = home.start();
    let (client, admin) = home.clients().await;
    let mut wanted = subscription("acme", "team@1");
    wanted.scheduled = vec![v1::ScheduledPlan {
        plan: "solo".into(),
        starts_at: Some((SystemTime::now() + SOON * 1000).into()),
        ..Default::default()
    }];
    admin.put_subscription(wanted).await.unwrap();
    client.consume("acme", "tokens", 3).await.unwrap();
    let next = FIRST
        .replacen("window: lifetime", "window: billing", 1)
        .replace("  team: {", "  crew: {")
        .lines()
        .filter(|line| !line.contains("solo:"))
        .collect::<Vec<_>>()
        .join("\n");
    home.write_catalog(&format!(
        "{next}\nmigrations:\n  - {{ move_plan: team@1, to: crew }}\n  - {{ move_plan: team@2, to: \
         crew }}\n  - {{ move_plan: solo, to: crew }}\n  - {{ end_lifetime: total, of: tokens }}\n"
    ));
    let reloaded = home.run(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    let account = admin.get_account("acme").await.unwrap();
    assert_eq!((account.plan.as_str(), account.scheduled[0].plan.as_str()), ("crew", "crew"));
    let decision = client.consume("acme", "tokens", 1).await.unwrap();
    let limit = decision.binding.unwrap();
    assert_eq!((limit.used_units, limit.included_units), (1, Some(10)), "a window of its own");
    assert!(limit.window_end.is_some());
    sidecar.kill();
    // The lines are not needed any more.
    home.write_catalog(&next);
    let sidecar = home.start();
    let (client, _) = home.clients().await;
    assert_eq!(client.consume("acme", "tokens", 1).await.unwrap().binding.unwrap().used_units, 2);
    drop(client);
    sidecar.stop().await;
}
