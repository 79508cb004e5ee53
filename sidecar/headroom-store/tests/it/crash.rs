//! The world stops at each operation of a scenario, and whatever was acknowledged is there
//! afterwards.

use headroom_engine::ports::Seq;
use headroom_store::fault::{End, FaultDisk};
use headroom_store::{Durability, Work};

use crate::support::{Reports, append, durable_of, open, open_reporting, snapshot, verify, work};

/// What the scenario's clients know when the world stops.
#[derive(Default)]
struct Known {
    appended: u64,
    acknowledged: u64,
    synced: u64,
    boot: u32,
    /// Given out before the first record.
    hash_key: Option<[u8; 16]>,
}

/// Appends, checkpoints, projects and removes segments until the end or until the world stops.
fn scenario(disk: &FaultDisk, durability: Durability) -> Known {
    let reports = Reports::default();
    let Ok(store) = open_reporting(disk, durability, &reports) else {
        return Known::default();
    };
    for round in 0..12_u64 {
        append(&store, round % 5 + 1);
        store.drive(Work::Write);
        if round % 3 == 1 {
            store.drive(Work::Project);
        }
        if round % 2 == 1 {
            store.drive(Work::Keep);
            store.drive(Work::Write);
        }
        if round % 5 == 3 {
            let _ = snapshot(&store, round % 3);
            work(&store, 1);
        }
        if disk.stopped() {
            break;
        }
    }
    let appended = store.appended().0;
    let _ = store.close();
    Known {
        appended,
        acknowledged: durable_of(&reports),
        synced: store.status().synced.0,
        boot: store.boot(),
        hash_key: Some(store.hash_key()),
    }
}

/// Opens what is left, checks it, goes on, and checks again.
#[track_caller]
fn check_after(disk: &FaultDisk, durability: Durability, least: u64, known: &Known) {
    let store = open(disk, durability).unwrap();
    let last = verify(&store);
    let most = known.appended;
    assert!(least <= last && last <= most, "{least} <= {last} <= {most}");
    assert!(store.boot() > known.boot);
    assert!(known.hash_key.is_none_or(|key| key == store.hash_key()));
    append(&store, 5);
    work(&store, 1);
    assert_eq!(store.durable(), Seq(last + 5));
    store.close().unwrap();
    drop(store);
    assert_eq!(verify(&open(&disk.after(End::Kill), durability).unwrap()), last + 5);
}

fn ops_of_scenario(durability: Durability) -> u64 {
    let disk = FaultDisk::new();
    let known = scenario(&disk, durability);
    assert_eq!(known.acknowledged, known.appended);
    // The scenario does what it is for.
    assert!(known.appended > 30);
    assert!(!disk.files().iter().any(|path| path.ends_with("journal/00000000000000000001.seg")));
    disk.ops()
}

fn check_every_stop(durability: Durability, ends: &[End]) {
    for stop in 1..=ops_of_scenario(durability) {
        for torn in [false, true] {
            let disk = FaultDisk::new();
            disk.stop_at(stop, torn);
            let known = scenario(&disk, durability);
            for end in ends {
                let survives = match (end, durability) {
                    (End::PowerCut { .. }, Durability::Written) => known.synced,
                    _ => known.acknowledged,
                };
                println!("stop {stop} torn {torn} {end:?}");
                let after = disk.after(*end);
                check_after(&after, durability, survives, &known);

                // And once more: recovery itself is interrupted.
                let again = disk.after(*end);
                again.stop_at(stop % 23 + 1, torn);
                let _ = open(&again, durability).map(|store| store.close());
                for second in [*end, End::Kill] {
                    let again = again.after(second);
                    check_after(&again, durability, survives, &known);
                }
            }
        }
    }
}

fn power_cuts() -> Vec<End> {
    let slow = std::env::var_os("HEADROOM_SLOW_TESTS").is_some();
    let seeds = if slow { 30 } else { 2 };
    if !slow {
        println!("HEADROOM_SLOW_TESTS is not set: {seeds} power cuts per operation instead of 30");
    }
    (0..seeds).map(|seed| End::PowerCut { seed }).collect()
}

#[test]
fn acknowledged_records_survive_a_kill_at_every_operation() {
    check_every_stop(Durability::Written, &[End::Kill]);
}

#[test]
fn fsynced_records_survive_a_kill_at_every_operation() {
    check_every_stop(Durability::Fsynced, &[End::Kill]);
}

#[test]
fn fsynced_records_survive_a_power_cut_at_every_operation() {
    check_every_stop(Durability::Fsynced, &power_cuts());
}

#[test]
fn after_a_power_cut_written_records_that_were_synced_are_there_and_the_store_opens() {
    check_every_stop(Durability::Written, &power_cuts());
}
