//! What commands and answers say: what was taken away, which door it was, who sits, what rests.

use crate::support::home::{Home, PROGRAM};

const BEFORE: &str = "\
features:
  calls:
    name: Calls
    kind: quota
    limits: { daily: { window: { calendar: day } }, ever: { window: lifetime } }
  seats: { name: Seats, kind: seats }
plans:
  free: { name: Free, entitlements: { calls: { daily: { included: 10 } } } }
  pro:
    name: Pro
    entitlements: { calls: { daily: { included: 10 }, ever: { included: 99 } }, seats: { included: 3 } }
addons:
  more: { name: More, entitlements: { calls: { daily: { included: 5 } } } }
";

#[track_caller]
fn done(home: &Home, words: &str) -> String {
    let ended = home.run(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{words}: {ended:?}");
    ended.stdout
}

#[tokio::test]
async fn putting_a_subscription_says_what_it_takes_away() {
    let home = Home::with_settings(BEFORE, "clock: test\n");
    let sidecar = home.start();
    let put =
        "account put acme --plan pro --add-on more=3 --then free=2100-01-01 --ends 2101-01-01";
    assert!(!done(&home, put).contains("taken away"));
    let fewer = done(&home, "account put acme --plan pro --add-on more=1 --zone Europe/Berlin");
    let lines: Vec<&str> = fewer.lines().filter(|line| line.starts_with("taken away")).collect();
    let expected = [
        "taken away: add-on 2 x more",
        "taken away: plan free from 2100-01-01T00:00:00Z",
        "taken away: end 2101-01-01T00:00:00Z",
    ];
    assert_eq!(lines, expected);
    let none = done(&home, "account put acme --plan pro --json");
    assert!(none.contains("add-on 1 x more"), "{none}");
    sidecar.stop().await;
}

#[tokio::test]
async fn the_wrong_door_says_which_is_the_right_one() {
    let home = Home::new(BEFORE);
    let sidecar = home.start();
    let (endpoint, admin) = (home.endpoint(), home.admin());
    let asked = home.run(&["ask", "check", "acme", "calls", "--endpoint", &admin]);
    assert_eq!(asked.code, Some(1));
    assert!(asked.stderr.contains("this is the admin listener"), "{asked:?}");
    let managed = home.run(&["account", "get", "acme", "--admin", &endpoint]);
    assert!(managed.stderr.contains("AdminService is at the admin listener"), "{managed:?}");
    let gone = home.run(&["check", "catalog.yaml", "--against", "/nonexistent"]);
    assert!(gone.stderr.contains("there is no such directory"), "{gone:?}");
    sidecar.stop().await;
}

#[tokio::test]
async fn who_is_invited_is_said_to_be_also_where_the_plan_has_no_seats_any_more() {
    let home = Home::with_settings(BEFORE, "clock: test\n");
    let sidecar = home.start();
    done(&home, "account put acme --plan pro");
    done(&home, "seats invite acme seats ann");
    done(&home, "account put acme --plan free");
    let claimed = home.run(&["seats", "claim", "acme", "seats", "ann"]);
    assert_eq!(claimed.code, Some(1));
    assert!(claimed.stdout.contains("ann: invited until "), "{claimed:?}");
    let other = home.run(&["seats", "list", "acme", "calls"]);
    assert!(other.stderr.contains("the feature is of kind quota, only seats have"), "{other:?}");
    sidecar.stop().await;
}

#[tokio::test]
async fn what_was_counted_on_a_limit_that_is_gone_rests() {
    let home = Home::with_settings(BEFORE, "clock: test\n");
    let sidecar = home.start();
    done(&home, "account put acme --plan pro");
    done(&home, "ask consume acme calls 4");
    let after = BEFORE.replace(", ever: { window: lifetime } }", " }");
    let after = after.replace(", ever: { included: 99 } }", " }");
    home.write_catalog(&format!("{after}migrations:\n  - {{ drop_limit: ever, of: calls }}\n"));
    done(&home, "reload");
    let usage = done(&home, "ask usage acme");
    let state = |limit: &str| usage.lines().find(|line| line.contains(limit)).expect("its line");
    assert!(state("daily").contains("current"), "{usage}");
    assert!(state("ever").contains("resting"), "{usage}");
    sidecar.stop().await;
}

#[tokio::test]
async fn listening_where_other_machines_come_in_is_warned_of() {
    let [port] = crate::support::home::free_ports::<1>();
    let home = Home::with_settings(BEFORE, &format!("listen: [\"0.0.0.0:{port}\"]\n"));
    let sidecar = home.start();
    crate::support::until("it is warned of", || {
        let log = std::fs::read_to_string(home.path("log")).expect("the log");
        log.contains("there is no authentication yet").then_some(())
    });
    sidecar.stop().await;
    let home = Home::new(BEFORE);
    let sidecar = home.start();
    let log = std::fs::read_to_string(home.path("log")).expect("the log");
    assert!(!log.contains("there is no authentication yet"), "{log}");
    sidecar.stop().await;
}

#[test]
fn commands_teach_by_an_example() {
    for command in ["ask", "seats", "grants", "clock", "import opening-balances", "account put"] {
        let mut help = std::process::Command::new(PROGRAM);
        let help = help.args(command.split(' ')).arg("--help").output().expect("the program runs");
        let text = String::from_utf8(help.stdout).expect("UTF-8");
        assert!(text.contains("Example"), "{command}: {text}");
    }
}
