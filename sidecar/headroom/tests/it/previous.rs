//! Data that an earlier version wrote is opened, and means what it meant.
//!
//! The archives beside this file hold the data and what the version that made it said of it; see
//! `previous/README.md`. All is asked by the command line, because the play is written in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::home::{Ended, Home};
use crate::support::until;

/// The commits of which there is data.
const VERSIONS: [&str; 4] = ["b80e6fb", "ae366e2", "8261fe3", "89c047a"];

const SETTINGS: &str = "clock: test\nidempotency: { horizon: 30d }\n";

/// Data of an earlier version in a home of its own.
struct Old {
    home: Home,
    /// What the earlier version said.
    said: Value,
    play: String,
}

fn fixtures(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/previous").join(version)
}

impl Old {
    fn unpack(version: &str, archive: &str) -> Old {
        let from = fixtures(version);
        let read = |path: PathBuf| fs::read_to_string(path).expect("it is in the archive");
        let home = Home::with_settings(&read(from.join("catalog.yaml")), SETTINGS);
        let mut tar = Command::new("tar");
        tar.arg("-xzpf").arg(from.join(archive)).arg("--no-same-owner");
        let status = tar.arg("-C").arg(home.path("")).status().expect("there is tar");
        assert!(status.success(), "{archive}: {status}");
        let said = serde_json::from_str(&read(home.path("answers.json"))).expect("JSON");
        Old { home, said, play: read(from.join("play.txt")) }
    }

    /// The command of a line, with reservations in place of their names.
    fn words<'a>(&'a self, command: &'a str) -> Vec<&'a str> {
        let word = |word: &'a str| match word.strip_prefix('$') {
            Some(name) => self.said["reservations"][name].as_str().expect("a reservation"),
            None => word,
        };
        command.split_whitespace().map(word).collect()
    }
}

/// Runs a command and returns the answer, which may be a refusal.
#[track_caller]
fn ask(home: &Home, words: &[&str]) -> Value {
    let Ended { stdout, stderr, .. } = home.run(&[words, &["--json"]].concat());
    serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{words:?}: {stderr}"))
}

/// Everything that `old` says and `new` says otherwise, or not at all. What is new in `new` is fine.
fn lost(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(_)) => {
            for (name, value) in old {
                let there = new.get(name);
                lost(&format!("{at}.{name}"), value, there.unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (place, (old, new)) in old.iter().zip(new).enumerate() {
                lost(&format!("{at}[{place}]"), old, new, found);
            }
        }
        _ if old == new || is_meant(at, old, new) => {}
        _ => found.push(format!("{at}: was {old}, is {new}")),
    }
}

/// What is answered otherwise since then, on purpose.
fn is_meant(at: &str, old: &Value, new: &Value) -> bool {
    // The origin was the feature's, and is that of the limit that decides: the plan's, where another limit
    // of the feature is overridden.
    let is_origin = at.ends_with(".origin") || at.ends_with(".origin.kind");
    // A largest value of 20 takes nothing off a limit of 100.
    let is_left = at.ends_with("_units_remaining") && old == 80 && new == 100;
    is_left || is_origin && old == "override" && new == "plan"
}

#[track_caller]
fn still_says(at: &str, old: &Value, new: &Value) {
    let mut found = Vec::new();
    lost(at, old, new, &mut found);
    assert!(found.is_empty() && !old.is_null(), "{}", found.join("\n"));
}

/// Ledgers and closed windows, entitlements, subscriptions, overrides and facts are what they were.
fn sees_the_same(home: &Home, said: &Value) {
    let seen = &said["seen"];
    still_says("status", &seen["status"], &ask(home, &["status"]));
    still_says("list", &seen["list"], &ask(home, &["account", "list"]));
    let accounts = seen["get"].as_object().expect("accounts");
    assert!(!accounts.is_empty());
    for (account, old) in accounts {
        still_says(account, old, &ask(home, &["account", "get", account]));
        let usage = ask(home, &["ask", "usage", account, "--since", "2000-01-01"]);
        still_says(account, &seen["usage"][account], &usage);
        let entitlements = ask(home, &["ask", "entitlements", account]);
        still_says(account, &seen["entitlements"][account], &entitlements);
    }
}

/// Whatever else was asked of that version (its `look.txt`) is answered as it was: trails of corrections,
/// grants and their histories, members, what subjects used, usage by time, reports.
fn answers_alike(home: &Home, said: &Value) {
    let Some(looks) = said["seen"]["looks"].as_object() else { return };
    assert!(!looks.is_empty());
    for (command, old) in looks {
        let words: Vec<&str> = command.split_whitespace().chain(["--json"]).collect();
        // What is known of growth is read back in the background.
        let new = until(command, || serde_json::from_str(&home.run(&words).stdout).ok());
        still_says(command, old, &new);
    }
}

/// Every write that was admitted then is answered as it was then, and counts no more.
fn answers_the_same(old: &Old) {
    let again = old.said["again"].as_object().expect("answers");
    assert!(!again.is_empty());
    let lines = old.play.lines().filter_map(|line| line.split_once(' '));
    let asked: Vec<_> = lines.filter(|(name, _)| again.contains_key(*name)).collect();
    assert_eq!(asked.len(), again.len());
    for (name, command) in asked {
        assert!(again[name]["replayed"] == true && again[name]["decision_id"].is_string());
        still_says(name, &again[name], &ask(&old.home, &old.words(command)));
    }
}

/// The lines of a sink by the ids of their signals; none is there twice.
fn told(home: &Home, file: &str) -> BTreeMap<String, Value> {
    let text = fs::read_to_string(home.data().join(file)).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let by_id: BTreeMap<_, _> =
        lines.map(|line| (line["data"]["id"].as_str().expect("an id").to_owned(), line)).collect();
    assert_eq!(by_id.len(), text.lines().count(), "a signal was told twice");
    by_id
}

/// What a sink was told then is told no more; what waited for another is delivered, and reads alike.
fn signals_are_delivered(old: &Old) {
    let count = old.said["seen"]["status"]["signals_emitted"].as_u64().expect("a number");
    let delivered = until("what waited is delivered", || {
        let status = ask(&old.home, &["status"]);
        assert_eq!(status["signals_emitted"], count);
        (status["signals_pending"] == 0).then(|| told(&old.home, "waiting.ndjson"))
    });
    let before = told(&old.home, "signals.ndjson");
    assert_eq!(before.len() as u64, count);
    assert!(before.keys().eq(delivered.keys()));
    for (id, line) in before {
        still_says(&id, &line, &delivered[&id]);
    }
}

fn inspect(home: &Home) -> Value {
    ask(home, &["inspect", &home.data().display().to_string()])
}

/// A copy of it can be started on, too.
async fn a_backup_says_the_same(old: &Old) {
    let copy =
        Home::with_settings(&fs::read_to_string(old.home.path("catalog.yaml")).unwrap(), SETTINGS);
    let made = old.home.run(&["backup", &copy.data().display().to_string()]);
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""));
    let inspected = inspect(&copy);
    still_says("copy", &old.said["inspected"]["accounts"], &inspected["accounts"]);
    assert_eq!(inspected["damage"], serde_json::json!([]));
    let sidecar = copy.start();
    sees_the_same(&copy, &old.said);
    sidecar.stop().await;
}

/// Old and new writes count together, and no signal of a window is told a second time.
async fn life_goes_on(old: &Old) {
    let home = &old.home;
    let sidecar = home.start();
    let asked = |command: &str| ask(home, &old.words(command));

    let reused = home.run(&["ask", "consume", "acme", "calls", "171", "--key", "c1"]);
    assert!(reused.code == Some(1) && reused.stdout.is_empty(), "{reused:?}");
    assert_eq!(asked("ask commit globex $r7 5 --key n1")["binding"]["used_units"], 19);
    assert_eq!(asked("ask release acme $r8 --key n2")["released_units"], 25);
    // Its hold ended before the earlier version did, and was never given back.
    assert_eq!(asked("ask consume umbrella slots 20 --key n3")["allowed"], true);
    assert_eq!(asked("ask consume hooli slots 1 --key n4")["denial"], "account_suspended");
    assert_eq!(asked("ask consume acme calls 7 --key n5")["binding"]["used_units"], 457);
    assert_eq!(asked("ask consume walk-in jobs 1 --key c15")["denial"], "quota_exhausted");
    let new = asked("ask reserve globex slots 1 --key n6");
    let ids = old.said["reservations"].as_object().expect("reservations");
    assert!(ids.values().all(|id| *id != new["reservation_id"]), "{new}");
    sidecar.stop().await;

    let mut dedup_keys = BTreeSet::new();
    for (id, line) in told(home, "signals.ndjson") {
        let key = line["data"]["dedup_key"].as_str().expect("a key").to_owned();
        assert!(dedup_keys.insert(key), "{id}: {line}");
    }
    let sidecar = home.start();
    let usage = |account| ask(home, &["ask", "usage", account])["windows"].clone();
    assert_eq!(usage("acme")[0]["used_units"], 457);
    assert_eq!(usage("globex")[1]["used_units"], 19);
    assert_eq!(usage("umbrella")[0]["used_units"], 20);
    assert_eq!(asked("ask commit globex $r7 5 --key n1")["replayed"], true);
    sidecar.stop().await;
}

async fn opens(version: &str, archive: &str) {
    let old = Old::unpack(version, archive);
    still_says("inspected", &old.said["inspected"], &inspect(&old.home));
    // The second start reads what the first one wrote: a snapshot of this version.
    for _ in 0..2 {
        let sidecar = old.home.start();
        sees_the_same(&old.home, &old.said);
        answers_alike(&old.home, &old.said);
        answers_the_same(&old);
        signals_are_delivered(&old);
        sees_the_same(&old.home, &old.said);
        a_backup_says_the_same(&old).await;
        sidecar.stop().await;
        let inspected = inspect(&old.home);
        still_says("stopped", &old.said["inspected"]["accounts"], &inspected["accounts"]);
        assert_eq!(inspected["damage"], serde_json::json!([]));
    }
    life_goes_on(&old).await;
}

#[tokio::test]
async fn data_of_an_earlier_version_that_was_killed_is_read_from_its_journal() {
    for version in VERSIONS {
        opens(version, "killed.tar.gz").await;
    }
}

#[tokio::test]
async fn data_of_an_earlier_version_that_was_stopped_is_read_from_its_snapshot() {
    for version in VERSIONS {
        opens(version, "stopped.tar.gz").await;
    }
}

#[tokio::test]
async fn data_of_an_earlier_version_is_read_from_its_snapshot_and_the_journal_after_it() {
    for version in VERSIONS {
        opens(version, "continued.tar.gz").await;
    }
}
