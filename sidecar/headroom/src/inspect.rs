//! `headroom inspect DIR`: what a stopped data directory, or a backup, holds. Nothing is changed.

// Results go to standard output.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::ExitCode;

use headroom_core::ledger::Ledger;
use headroom_core::time::Millis;
use headroom_engine::digest::SignalId;
use headroom_engine::limits::{KEY_HORIZON_MS_DEFAULT, KEYS_MAX_DEFAULT};
use headroom_engine::recovery::{Recovery, RecoveryError};
use headroom_store::{Health, read_contents};
use serde_json::{Value, json};

/// Ledgers printed for people; JSON has all of them.
const LEDGERS_SHOWN: usize = 20;

/// Describes a data directory. Exit code 1 when it cannot be read or a sidecar would not start on it.
pub fn run(dir: &Path, as_json: bool) -> ExitCode {
    let health = match headroom_store::inspect(dir) {
        Ok(health) => health,
        Err(error) => {
            eprintln!("error: {error}\n{}", error.help());
            return ExitCode::FAILURE;
        }
    };
    // The content of a damaged directory is not to be trusted.
    let content = if health.damage.is_empty() { read(dir) } else { Ok(None) };
    let content = match content {
        Ok(content) => content,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if as_json {
        println!("{:#}", to_json(&health, content.as_ref()));
    } else {
        print(&health, content.as_ref());
    }
    if health.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(dir: &Path) -> Result<Option<Recovery>, String> {
    memory_of(dir).map(Some)
}

/// What a sidecar that starts on a directory would remember. Nothing is changed.
pub fn memory_of(dir: &Path) -> Result<Recovery, String> {
    let mut recovery = Recovery::new(KEY_HORIZON_MS_DEFAULT, KEYS_MAX_DEFAULT);
    let failed: std::cell::Cell<Option<RecoveryError>> = std::cell::Cell::new(None);
    let shared = std::cell::RefCell::new(&mut recovery);
    let keep_first = |done: Result<(), RecoveryError>| {
        let first = failed.take().or(done.err());
        failed.set(first);
    };
    read_contents(
        dir,
        &mut |entry| keep_first(shared.borrow_mut().entry(entry)),
        &mut |seq, record| keep_first(shared.borrow_mut().record(seq, record)),
    )
    .map_err(|error| error.to_string())?;
    match failed.take() {
        Some(error) => Err(error.to_string()),
        None => Ok(recovery),
    }
}

fn print(health: &Health, content: Option<&Recovery>) {
    println!("opened    {} times", health.boot);
    println!(
        "journal   {} records in {} segments, the last is {}",
        health.records, health.segments, health.last
    );
    if let Some(torn) = &health.torn {
        let (bytes, path) = (torn.bytes, torn.path.display());
        println!(
            "          {bytes} bytes of a write that was cut short in {path}; the next start drops them"
        );
    }
    match &health.snapshot {
        Some(info) => println!("snapshot  replay begins after record {}", info.start),
        None => println!("snapshot  none yet; replay begins with record 1"),
    }
    match &health.rows {
        Some(rows) => println!("history   {} closed windows, {} signals", rows.usage, rows.signals),
        None => println!("history   none yet"),
    }
    for (sink, at) in cursors(health) {
        println!("sink      {sink}: confirmed through {at}");
    }
    for damage in &health.damage {
        println!("DAMAGE    {damage}");
    }
    if !health.damage.is_empty() {
        println!("A sidecar refuses to start on this directory. Restore a backup of it.");
    }
    let Some(content) = content else { return };
    if let Some(clock) = content.clock() {
        let kind = if clock.test { "test clock" } else { "real clock" };
        println!("clock     {kind}, last at {}", clock.high_water);
    }
    let contents = content.contents();
    let ledgers: usize = contents.iter().map(|(_, ledgers)| ledgers.len()).sum();
    println!("accounts  {} with {ledgers} ledgers", contents.len());
    let all = contents.iter().flat_map(|(id, ledgers)| ledgers.iter().map(move |l| (id, l)));
    for (id, ledger) in all.take(LEDGERS_SHOWN) {
        let (feature, limit) = (content.feature_name(ledger.feature), content.name(ledger.limit));
        let Ledger { used, reserved, debt, .. } = ledger;
        println!(
            "  {id}  {feature}/{limit}  {} .. {}  used {used}, reserved {reserved}, debt {debt}",
            ledger.window.start(),
            end_text(ledger.window.end()),
        );
    }
    if ledgers > LEDGERS_SHOWN {
        println!("  … and {} more; --json prints all", ledgers - LEDGERS_SHOWN);
    }
}

fn to_json(health: &Health, content: Option<&Recovery>) -> Value {
    let accounts = content.map(|content| {
        let ledger = |l: &Ledger| {
            json!({
                "feature": content.feature_name(l.feature),
                "limit": content.name(l.limit),
                "window_start": l.window.start().to_string(),
                "window_end": (!l.window.is_lifetime()).then(|| l.window.end().to_string()),
                "used_units": l.used,
                "reserved_units": l.reserved,
                "debt_units": l.debt,
            })
        };
        let accounts = content.contents().into_iter().map(|(id, ledgers)| {
            json!({ "account": &*id, "ledgers": ledgers.iter().map(ledger).collect::<Vec<_>>() })
        });
        accounts.collect::<Vec<_>>()
    });
    let clock = content.and_then(Recovery::clock);
    json!({
        "opened": health.boot,
        "journal": {
            "records": health.records,
            "segments": health.segments,
            "last": health.last.0,
            "torn_bytes": health.torn.as_ref().map_or(0, |torn| torn.bytes),
        },
        "snapshot_start": health.snapshot.as_ref().map(|info| info.start.0),
        "closed_windows": health.rows.map(|rows| rows.usage),
        "signals": health.rows.map(|rows| rows.signals),
        "sinks": cursors(health).map(|(sink, at)| json!({ "sink": sink, "confirmed": at })).collect::<Vec<_>>(),
        "damage": health.damage.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "test_clock": clock.map(|clock| clock.test),
        "clock": clock.map(|clock| clock.high_water.to_string()),
        "accounts": accounts,
    })
}

fn cursors(health: &Health) -> impl Iterator<Item = (String, String)> {
    // Rows with a slash are what else the journal keeps of sinks: see `sinks/dead.rs`, `sinks/ids.rs`.
    let cursors = health.cursors.iter().filter(|(sink, _)| !sink.contains(&b'/'));
    cursors.map(|(sink, at)| {
        let at = SignalId::of_row_key(at).map_or_else(|| "?".to_owned(), |id| id.to_string());
        (String::from_utf8_lossy(sink).into_owned(), at)
    })
}

fn end_text(end: Millis) -> String {
    if end == Millis::FOREVER { "for ever".to_owned() } else { end.to_string() }
}
