//! Slips of whoever types a command: each is said, with what to do, and none counts.

use crate::support::home::{Ended, Home};

const CATALOG: &str = "\
features:
  tokens:
    name: Tokens
    kind: quota
    usage: { buckets: day, dimensions: [model] }
    limits: { daily: { window: { calendar: day } } }
  agents: { name: Agents, kind: concurrency }
  storage: { name: Storage, kind: allocation, billed_by: peak }
  seats: { name: Seats, kind: seats }
  ai: { name: AI, kind: credits, window: billing }
  canvas: { name: Canvas, kind: switch, cohorts: [beta] }
plans:
  pro:
    name: Pro
    version: 2
    versions: { 1: { entitlements: { tokens: { daily: { included: 5 } } } } }
    entitlements:
      tokens: { daily: { included: 10 } }
      agents: { max: 3 }
      storage: { included: 1_000 }
      seats: { included: unlimited }
      ai: { included: 10 }
      canvas: on
";

#[track_caller]
fn says(home: &Home, words: &str, code: i32, expected: &str) -> Ended {
    let ended = home.run(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(ended.code, Some(code), "{words}: {ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains(expected), "{words}: no {expected:?} in {said}");
    ended
}

#[tokio::test]
async fn slips_are_said_and_count_nothing() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    says(&home, "clock set 2027-05-01T10:00:00Z", 0, "2027");
    says(&home, "account put acme --plan pro", 0, "pro");

    // Once, or which of the two?
    let twice = "ask consume acme tokens 1 --dimension model=a --dimension model=b";
    says(&home, twice, 2, "--dimension model is there twice");
    says(&home, "ask consume-all acme tokens=1,model=a,model=b", 2, "model is there twice");
    // Names.
    says(&home, "ask check acme tokns", 1, "did you mean `tokens`?");
    says(&home, "account cohorts acme --join bta", 1, "did you mean \"beta\"?");
    says(&home, "account cohorts acme --join nosuch", 1, "rolled out to a cohort \"nosuch\"");
    says(&home, "account cohorts acme --join beta", 0, "beta");
    says(&home, "account move acme --plan pro --to-version 9", 1, "no version 9, but 1, 2");
    // Dates.
    let past = says(&home, "account put acme --plan pro --trial pro=2020-01-01", 0, "acme");
    let note = "note: 2020-01-01T00:00:00Z has passed, so the trial of pro is over";
    assert!(past.stderr.contains(note), "{past:?}");
    let put = "account put acme --plan pro --then pro=2020-01-01 --ends 2020-01-01";
    says(&home, put, 0, "has passed, so pro is in force already");
    let none = says(&home, "account put acme --plan pro --then pro@1=2028-01-01", 0, "acme");
    assert_eq!(none.stderr, "");
    let both = "account put acme --plan pro --then pro@1=2028-01-01 --then pro=2028-01-01";
    says(&home, both, 1, "\"pro@1\" and \"pro\" would begin at the same instant");
    // Numbers.
    says(&home, "ask reserve acme agents", 0, "1 of 3 held");
    says(&home, "ask check acme seats --units 10000", 0, "allowed");
    says(&home, "ask check acme seats --units 10001", 1, "which has room for 10000");
    says(&home, "ask reserve acme storage 100 --hold 1h", 0, "100");
    says(&home, "ask allocate acme storage --set 9007199254740991", 1, "quota exhausted");
    says(&home, "grants put acme ai pi_1 100", 0, "pi_1");
    says(&home, "grants put acme ai pi_1 50", 1, "100 units of priority 100, from 2027-05-01");
    assert!(
        says(&home, "ask usage acme --feature tokens", 0, "").stdout.contains("nothing was used")
    );
    sidecar.stop().await;
}

#[tokio::test]
async fn a_part_of_more_than_was_held_leaves_nothing_held() {
    let home = Home::with_settings(CATALOG, "clock: test\n");
    let sidecar = home.start();
    says(&home, "account put acme --plan pro", 0, "pro");
    let held = says(&home, "ask reserve acme tokens 1 --json", 0, "reservation_id");
    let held: serde_json::Value = serde_json::from_str(&held.stdout).unwrap();
    let id = held["reservation_id"].as_str().unwrap();
    let commit = format!("ask commit acme {id} 3 --keep-open");
    says(&home, &commit, 0, "it stays open, with nothing held, until");
    sidecar.stop().await;
}
