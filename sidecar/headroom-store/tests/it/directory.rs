//! Directories that cannot be opened, and what is said about it; on the real disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use headroom_engine::ports::Seq;
use headroom_store::fault::{End, FaultDisk, Op};
use headroom_store::{
    DiskStore, Driver, Durability, FORMAT_VERSION, Hooks, OpenError, Options, inspect, inspect_on,
};

use crate::support::{TempDir, TestDigest, append, dir, open, options, snapshot, verify, work};

fn open_real(dir: &Path) -> Result<DiskStore, OpenError> {
    let options = Options { segment_bytes: 1 << 20, ..options(Durability::Written) };
    DiskStore::open(dir, &options, Hooks::digesting(TestDigest))
}

#[test]
fn a_second_owner_is_refused_and_told_who_the_first_is() {
    let temp = TempDir::new("lock");
    let store = open_real(temp.path()).unwrap();
    let error = open_real(temp.path()).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(error, OpenError::InUse { pid: Some(found), .. } if found == pid));
    assert!(error.to_string().contains(&pid.to_string()), "{error}");
    assert!(matches!(inspect(temp.path()), Err(OpenError::InUse { .. })));
    drop(store);
    assert_eq!(inspect(temp.path()).unwrap().damage, []);
    open_real(temp.path()).unwrap();
}

#[test]
fn a_directory_is_made_for_its_owner_alone() {
    let temp = TempDir::new("mode");
    let inner = temp.path().join("a/b");
    drop(open_real(&inner).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    assert_eq!(mode(&inner.join("key")), 0o600);
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
    drop(open_real(&inner).unwrap());
    assert_eq!(mode(&inner), 0o700);
}

#[test]
fn a_newer_format_is_refused_with_both_numbers() {
    let temp = TempDir::new("format");
    drop(open_real(temp.path()).unwrap());
    fs::write(temp.path().join("FORMAT"), "headroom-data 7\n").unwrap();
    let error = open_real(temp.path()).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 7, supported: FORMAT_VERSION, .. }));
    assert!(error.help().contains("newer"));
}

#[test]
fn a_file_or_a_strangers_directory_is_left_alone() {
    let temp = TempDir::new("stranger");
    fs::create_dir_all(temp.path()).unwrap();
    fs::write(temp.path().join("thesis.txt"), "all my work").unwrap();
    let error = open_real(temp.path()).unwrap_err();
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    let file = temp.path().join("thesis.txt");
    assert!(matches!(open_real(&file), Err(OpenError::NotADirectory { .. })));
}

#[test]
fn a_volume_with_lost_and_found_is_as_good_as_empty() {
    let temp = TempDir::new("volume");
    fs::create_dir_all(temp.path().join("lost+found")).unwrap();
    drop(open_real(temp.path()).unwrap());
}

#[test]
fn empty_directories_that_a_copy_left_out_are_made_again() {
    let temp = TempDir::new("copied");
    let store = open_real(temp.path()).unwrap();
    append(&store, 5);
    store.close().unwrap();
    drop(store);
    fs::remove_dir(temp.path().join("snapshot")).unwrap();
    assert_eq!(inspect(temp.path()).unwrap().damage, []);
    assert_eq!(verify(&open_real(temp.path()).unwrap()), 5);
}

#[test]
fn a_segment_size_out_of_range_is_refused() {
    let check = |segment_bytes: u64| {
        let options = Options { segment_bytes, ..Options::default() };
        let opened = DiskStore::open(Path::new("/nowhere"), &options, Hooks::digesting(TestDigest));
        assert!(
            matches!(opened, Err(OpenError::SegmentBytes { found, .. }) if found == segment_bytes)
        );
    };
    check(0);
    check(1023);
    check((1 << 30) + 1);
}

#[test]
fn the_key_stays_and_starts_are_counted() {
    let temp = TempDir::new("boot");
    let store = open_real(temp.path()).unwrap();
    let key = store.hash_key();
    assert_eq!(store.boot(), 1);
    store.close().unwrap();
    drop(store);
    let store = open_real(temp.path()).unwrap();
    assert_eq!((store.boot(), store.hash_key()), (2, key));
    let other = TempDir::new("boot-other");
    assert_ne!(open_real(other.path()).unwrap().hash_key(), key);
}

#[test]
fn a_full_disk_is_named_at_the_start() {
    let disk = FaultDisk::new();
    disk.fail(Op::Allocate, "journal", 1, std::io::ErrorKind::StorageFull);
    let error = open(&disk, Durability::Written).unwrap_err();
    assert!(matches!(error, OpenError::NoRoom { .. }), "{error}");
    assert!(error.help().contains("Make room"));
    // What was begun is not in the way.
    verify(&open(&disk, Durability::Written).unwrap());

    disk.fail(Op::Create, "boot", 1, std::io::ErrorKind::PermissionDenied);
    assert!(matches!(open(&disk, Durability::Written), Err(OpenError::NotWritable { .. })));
}

#[test]
fn stale_temporary_files_are_removed_at_the_start() {
    let disk = FaultDisk::new();
    drop(open(&disk, Durability::Written).unwrap());
    let stale = ["journal/reserve-9.tmp", "snapshot/00000000000000000007.tmp", "key.tmp"];
    for name in stale {
        disk.put(&dir().join(name), b"half");
    }
    let store = open(&disk, Durability::Written).unwrap();
    for name in stale {
        assert!(!disk.files().contains(&dir().join(name)), "{name}");
    }
    assert_eq!(verify(&store), 0);
}

#[test]
fn an_abandoned_snapshot_leaves_nothing() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    append(&store, 3);
    let before = disk.files();
    let mut writer = store.begin_snapshot().unwrap();
    writer.entry(&[1, 2, 3]).unwrap();
    assert!(store.begin_snapshot().is_err());
    drop(writer);
    assert_eq!(disk.files(), before);
    snapshot(&store, 0).unwrap();
}

#[test]
fn an_inspection_tells_what_is_there_and_changes_nothing() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    append(&store, 40);
    work(&store, 1);
    snapshot(&store, 0).unwrap();
    append(&store, 9);
    work(&store, 2);
    // Killed, with a torn write: an unclean projection and bytes after the last record.
    let disk = disk.after(End::Kill);
    drop(store);
    let last_segment =
        disk.files().into_iter().rfind(|path| path.to_string_lossy().ends_with(".seg"));
    let last_segment = last_segment.unwrap();
    disk.edit(&last_segment, |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end + 20..end + 25].fill(7);
    });
    let ops = disk.ops();
    let health = inspect_on(&disk, &dir()).unwrap();
    assert_eq!(disk.ops(), ops);
    assert_eq!(health.damage, []);
    assert_eq!((health.last, health.position), (Seq(49), Some(Seq(49))));
    assert_eq!(health.snapshot.unwrap().start, Seq(40));
    assert_eq!(health.rows.unwrap().signals, 16);
    assert_eq!(health.torn.unwrap().bytes, 5);
    assert_eq!(verify(&open(&disk, Durability::Written).unwrap()), 49);
}

#[test]
fn the_default_driver_has_threads_and_they_end() {
    let temp = TempDir::new("threads");
    let options = Options { segment_bytes: 1 << 20, ..Options::default() };
    assert_eq!(options.driver, Driver::Threads);
    let store = DiskStore::open(temp.path(), &options, Hooks::digesting(TestDigest)).unwrap();
    store.close().unwrap();
    store.close().unwrap();
    drop(store);
    // The lock is free, so every thread has let go of the store.
    drop(DiskStore::open(temp.path(), &options, Hooks::digesting(TestDigest)).unwrap());
}
