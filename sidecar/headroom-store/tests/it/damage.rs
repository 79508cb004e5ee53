//! Bytes that are not what was written: cut where nothing was acknowledged, refused everywhere
//! else.

use std::path::{Path, PathBuf};

use headroom_engine::ports::{Seq, Store};
use headroom_store::fault::{End, FaultDisk};
use headroom_store::{Disk, Durability, OpenError, Work, inspect_on};

use crate::support::{append, dir, open, record, segment_path, snapshot, verify, work};

/// Where the records of a segment begin.
const RECORDS_AT: usize = 89;

/// A killed process's disk: `count` records in one segment, none of them synced.
fn unsynced(count: u64) -> FaultDisk {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    append(&store, count);
    store.drive(Work::Write);
    disk.after(End::Kill)
}

/// A disk whose store was closed, with several segments.
fn closed(count: u64) -> FaultDisk {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    for _ in 0..count {
        append(&store, 1);
        work(&store, 1);
    }
    store.close().unwrap();
    disk.after(End::Kill)
}

/// A copy that can be broken without breaking the original.
fn copy(disk: &FaultDisk) -> FaultDisk {
    disk.after(End::Kill)
}

/// Pretends that the machine was started anew since.
fn machine_restarted(disk: &FaultDisk) {
    assert!(disk.edit(&dir().join("boot"), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("machine-0", "machine-x").into_bytes();
    }));
}

#[track_caller]
fn refused(disk: &FaultDisk) -> (PathBuf, u64, String) {
    match open(disk, Durability::Written) {
        Err(OpenError::Damaged(damage)) => (damage.path, damage.offset, damage.what),
        other => panic!("expected damage, got {other:?}"),
    }
}

/// How many of the first records end at or before a byte of their segment.
fn whole_records(bytes: usize) -> u64 {
    let mut end = RECORDS_AT;
    (1..)
        .take_while(|seq| {
            end += 9 + record(*seq).len();
            end <= bytes
        })
        .count() as u64
}

#[test]
fn a_record_cut_at_every_byte_is_dropped_and_those_before_it_stay() {
    let disk = unsynced(6);
    for at in 0..400 {
        for (zeros, machine) in [(false, false), (true, false), (false, true), (true, true)] {
            let disk = copy(&disk);
            disk.edit(&segment_path(1), |bytes| {
                let len = bytes.len();
                bytes.truncate(at);
                bytes.resize(if zeros { len } else { at }, 0);
            });
            if machine {
                machine_restarted(&disk);
            }
            if at < 40 {
                // The header was synced before the segment got its name.
                assert_eq!(refused(&disk).0, segment_path(1));
                continue;
            }
            if at < 64 && !zeros {
                refused(&disk);
                continue;
            }
            let store = open(&disk, Durability::Written).unwrap();
            assert_eq!(verify(&store), whole_records(at).min(6), "cut at {at}");
            append(&store, 3);
            store.close().unwrap();
            drop(store);
            verify(&open(&disk, Durability::Written).unwrap());
        }
    }
}

#[test]
fn a_cut_before_what_was_synced_is_damage() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Fsynced).unwrap();
    for _ in 0..5 {
        append(&store, 1);
        store.drive(Work::Write);
    }
    let disk = disk.after(End::Kill);
    // Each batch begins with a mark that says that the one before it was synced.
    let mut last_ok = Vec::new();
    for at in 64..400 {
        let disk = copy(&disk);
        disk.edit(&segment_path(1), |bytes| bytes[at] ^= 0x40);
        if let Ok(store) = open(&disk, Durability::Fsynced) {
            last_ok.push(verify(&store));
        }
    }
    // Only the last batch could be lost without a trace, and the bytes after it never mattered.
    assert!(last_ok.iter().all(|last| *last >= 4), "{last_ok:?}");
    assert!(last_ok.contains(&4) && last_ok.contains(&5));
}

#[test]
fn no_flipped_bit_ever_makes_a_wrong_record() {
    let disk = unsynced(6);
    let mut outcomes = [0; 3];
    for bit in 0..400 * 8 {
        let disk = copy(&disk);
        disk.edit(&segment_path(1), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        match open(&disk, Durability::Written) {
            // Checks every record that is left.
            Ok(store) => {
                let last = verify(&store);
                outcomes[usize::from(last == 6)] += 1;
                // A flip is only taken for a torn write if no whole record follows.
                assert!(last >= 5, "bit {bit} left {last} records");
            }
            Err(OpenError::Damaged(_)) => outcomes[2] += 1,
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
}

#[test]
fn after_a_clean_end_every_flipped_bit_in_a_record_is_damage() {
    let disk = closed(3);
    let end = RECORDS_AT + (1..=3).map(|seq| 9 + record(seq).len()).sum::<usize>();
    for projection_lost in [false, true] {
        if projection_lost {
            // Then only the journal itself says that it was synced.
            disk.remove(&dir().join("projection.redb")).unwrap();
        }
        for bit in 0..end * 8 {
            let disk = copy(&disk);
            disk.edit(&segment_path(1), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            if let Ok(store) = open(&disk, Durability::Written) {
                panic!("bit {bit} was not noticed, {} records", verify(&store));
            }
        }
    }
}

#[test]
fn damage_in_the_middle_is_named_and_nothing_is_changed() {
    let disk = closed(60);
    let before: Vec<_> = disk.files();
    disk.edit(&segment_path(1), |bytes| bytes[RECORDS_AT + 9] ^= 1);
    let (path, offset, what) = refused(&disk);
    assert_eq!((path, offset), (segment_path(1), RECORDS_AT as u64));
    assert!(what.contains("checksum") && what.contains("synced"), "{what}");
    assert_eq!(disk.files(), before);

    let error = open(&disk, Durability::Written).unwrap_err();
    assert!(error.to_string().contains("damaged at byte 89"), "{error}");
    assert!(error.help().contains("headroom inspect"), "{}", error.help());
    let health = inspect_on(&disk, &dir()).unwrap();
    assert_eq!(health.damage.len(), 1);
    assert_eq!(health.damage[0].path, segment_path(1));
}

#[test]
fn a_missing_segment_is_damage_wherever_it_was() {
    let disk = closed(60);
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "seg");
    let segments: Vec<_> = disk.files().into_iter().filter(is_segment).collect();
    assert!(segments.len() > 3);
    for segment in &segments {
        let disk = copy(&disk);
        disk.remove(segment).unwrap();
        refused(&disk);
    }
    let disk = copy(&disk);
    for segment in &segments {
        disk.remove(segment).unwrap();
    }
    refused(&disk);
}

#[test]
fn segments_under_each_others_names_are_damage() {
    let disk = closed(60);
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "seg");
    let segments: Vec<_> = disk.files().into_iter().filter(is_segment).collect();
    for pair in segments.windows(2) {
        let disk = copy(&disk);
        let aside = dir().join("journal/aside");
        disk.rename(&pair[0], &aside).unwrap();
        disk.rename(&pair[1], &pair[0]).unwrap();
        disk.rename(&aside, &pair[1]).unwrap();
        refused(&disk);
    }
}

#[test]
fn a_hole_is_damage_unless_the_power_may_have_been_cut() {
    let disk = unsynced(6);
    let hole = RECORDS_AT + 9 + record(1).len();
    disk.edit(&segment_path(1), |bytes| bytes[hole..hole + 9].fill(0));
    assert!(refused(&disk).2.contains("whole records follow"));

    machine_restarted(&disk);
    let store = open(&disk, Durability::Written).unwrap();
    assert_eq!(verify(&store), 1);
    append(&store, 4);
    store.close().unwrap();
    drop(store);
    // What lay behind the hole does not come back.
    assert_eq!(verify(&open(&disk, Durability::Written).unwrap()), 5);
}

/// A killed process's disk with records that are all alike, so that frames of two disks are at the
/// same places. `life` decides the nonces.
fn alike(life: usize, count: u64) -> FaultDisk {
    let disk = FaultDisk::new();
    for _ in 0..life {
        disk.random().unwrap();
    }
    let store = open(&disk, Durability::Written).unwrap();
    for _ in 0..count {
        store.append(b"the same for all", false);
    }
    store.drive(Work::Write);
    disk.after(End::Kill)
}

fn replayed(disk: &FaultDisk) -> Seq {
    let store = open(disk, Durability::Written).unwrap();
    store.replay(Seq(0), &mut |_, record| assert_eq!(record, b"the same for all")).unwrap()
}

#[test]
fn records_of_another_life_or_at_another_place_are_not_replayed() {
    let end = RECORDS_AT + 3 * 25;
    let mut recycled = Vec::new();
    alike(0, 8).edit(&segment_path(1), |bytes| recycled.clone_from(bytes));

    // The same bytes of the same life are records, …
    let disk = alike(0, 3);
    disk.edit(&segment_path(1), |bytes| bytes[end..].copy_from_slice(&recycled[end..]));
    assert_eq!(replayed(&disk), Seq(8));

    // … but not those of another one, …
    let disk = alike(1, 3);
    disk.edit(&segment_path(1), |bytes| bytes[end..].copy_from_slice(&recycled[end..]));
    assert_eq!(replayed(&disk), Seq(3));

    // … nor those of this one at another place.
    let disk = alike(0, 3);
    disk.edit(&segment_path(1), |bytes| bytes.copy_within(RECORDS_AT..end, end));
    assert_eq!(replayed(&disk), Seq(3));
}

fn snapshot_path(disk: &FaultDisk) -> PathBuf {
    let found = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "snap");
    disk.files().into_iter().find(found).unwrap()
}

#[test]
fn a_damaged_snapshot_is_refused_at_every_byte() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    append(&store, 40);
    work(&store, 1);
    snapshot(&store, 2).unwrap();
    work(&store, 2);
    store.close().unwrap();
    let disk = disk.after(End::Kill);
    let path = snapshot_path(&disk);
    assert_eq!(verify(&open(&copy(&disk), Durability::Written).unwrap()), 42);
    let mut len = 0;
    disk.edit(&path, |bytes| len = bytes.len());
    for at in 0..len {
        for cut in [false, true] {
            let disk = copy(&disk);
            disk.edit(&path, |bytes| {
                if cut {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 0x10;
                }
            });
            assert_eq!(refused(&disk).0, path, "byte {at}, cut {cut}");
        }
    }
}

#[test]
fn a_damaged_projection_is_an_error_and_never_a_panic() {
    let disk = closed(30);
    let path = dir().join("projection.redb");
    let mut len = 0;
    disk.edit(&path, |bytes| len = bytes.len());
    let mut refusals = 0;
    for at in (0..len).step_by(len / 60).chain(0..100) {
        let disk = copy(&disk);
        disk.edit(&path, |bytes| bytes[at..(at + 64).min(len)].fill(0xA5));
        match open(&disk, Durability::Written) {
            Ok(store) => drop(store.wait_projected(Seq(30), crate::support::LONG)),
            Err(OpenError::Damaged(damage)) => {
                assert_eq!(damage.path, path);
                refusals += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
        inspect_on(&disk, &dir()).unwrap();
    }
    assert!(refusals > 20, "{refusals}");
}

#[test]
fn a_missing_projection_is_made_anew_only_from_a_whole_journal() {
    let path = dir().join("projection.redb");
    let disk = closed(30);
    disk.remove(&path).unwrap();
    assert_eq!(verify(&open(&disk, Durability::Written).unwrap()), 30);

    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    append(&store, 60);
    work(&store, 1);
    snapshot(&store, 0).unwrap();
    work(&store, 2);
    store.close().unwrap();
    drop(store);
    disk.remove(&path).unwrap();
    let before = disk.files();
    let (found, _, what) = refused(&disk);
    assert_eq!(found, path);
    assert!(what.contains("missing"), "{what}");
    assert_eq!(disk.files(), before);
}

#[test]
fn other_files_of_the_directory_are_checked_too() {
    let check = |name: &str, content: &[u8]| {
        let disk = closed(3);
        disk.edit(Path::new(&dir().join(name)), |bytes| content.clone_into(bytes));
        assert_eq!(refused(&disk).0, dir().join(name));
    };
    check("key", b"short");
    check("key", b"");
    check("boot", b"boot many\nmachine x\n");
    check("boot", b"");
    check("FORMAT", b"");
    check("FORMAT", b"headroom-data zero");
}
