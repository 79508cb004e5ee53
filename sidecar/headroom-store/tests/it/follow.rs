//! The store in use, with its threads: appending, projecting, checkpoints, backups.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use headroom_engine::ports::{Archive, Seq, Store, StoreRefusal, Table};
use headroom_store::fault::{End, FaultDisk, Op};
use headroom_store::{BackupError, DiskStore, Driver, Durability, Hooks, Options, Progress, Work};

use crate::support::{
    LONG, TempDir, TestDigest, append, dir, matters, open, record, snapshot, verify, work,
};

fn threaded(durability: Durability) -> Options {
    Options { durability, segment_bytes: 64 << 10, driver: Driver::Threads }
}

fn open_threads(temp: &TempDir, durability: Durability) -> DiskStore {
    DiskStore::open(temp.path(), &threaded(durability), Hooks::digesting(TestDigest)).unwrap()
}

#[test]
fn an_append_that_nobody_kicks_is_written_and_projected() {
    let temp = TempDir::new("nokick");
    let (send, durable) = mpsc::channel();
    let (send_ops, projected) = mpsc::channel();
    let mut hooks = Hooks::digesting(TestDigest);
    hooks.on_progress = Box::new(move |progress| drop(send.send(progress)));
    hooks.on_projected = Box::new(move |ops| drop(send_ops.send(ops.to_vec())));
    let store = DiskStore::open(temp.path(), &threaded(Durability::Written), hooks).unwrap();
    for seq in 1..=3 {
        store.append(&record(seq), matters(seq));
        assert_eq!(durable.recv_timeout(LONG), Ok(Progress::Durable(Seq(seq))));
    }
    assert_eq!(projected.recv_timeout(LONG).unwrap().len(), 1);
    // What was reported can be read.
    let rows = store.range(Table::Signals, &[], &[0xFF], 10).unwrap();
    assert_eq!(rows, [(3_u64.to_be_bytes().to_vec(), record(3))]);
    store.close().unwrap();
    assert_eq!(store.room(), Err(StoreRefusal::Closed));
}

fn check_many_writers(name: &str, durability: Durability, per_writer: u64) {
    let temp = TempDir::new(name);
    let store = open_threads(&temp, durability);
    let writers = 4;
    let last_of = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for writer in 0..writers {
            let (store, last_of) = (&store, &last_of);
            scope.spawn(move || {
                let mut last = Seq(0);
                for count in 0..per_writer {
                    let mut bytes = [0; 16];
                    bytes[..8].copy_from_slice(&u64::to_le_bytes(writer));
                    bytes[8..].copy_from_slice(&count.to_le_bytes());
                    let seq = store.append(&bytes, count % 100 == 0);
                    assert!(seq > last);
                    last = seq;
                    if count % 64 == 0 {
                        store.kick();
                    }
                }
                assert!(store.wait_durable(last, LONG));
                last_of.fetch_max(last.0, Ordering::SeqCst);
            });
        }
    });
    let last = Seq(last_of.load(Ordering::SeqCst));
    assert_eq!(last.0, writers * per_writer);
    assert!(store.wait_projected(last, LONG));
    store.close().unwrap();
    drop(store);

    let store = open_threads(&temp, durability);
    let mut next = [0; 4];
    let mut replayed = 0;
    let end = store.replay(Seq(0), &mut |seq, bytes| {
        replayed += 1;
        assert_eq!(seq.0, replayed);
        let writer = usize::from(bytes[0]);
        assert_eq!(bytes[8..], u64::to_le_bytes(next[writer]));
        next[writer] += 1;
    });
    assert_eq!(end.unwrap(), last);
    assert_eq!(next, [per_writer; 4]);
    assert_eq!(store.count(Table::Signals).unwrap(), writers * per_writer.div_ceil(100));
}

#[test]
fn records_of_many_threads_are_all_there_in_the_order_of_each() {
    check_many_writers("many-written", Durability::Written, 20_000);
    check_many_writers("many-fsynced", Durability::Fsynced, 2_000);
}

#[test]
fn a_checkpoint_frees_segments_and_a_restart_needs_only_the_rest() {
    let temp = TempDir::new("checkpoint");
    let store = open_threads(&temp, Durability::Written);
    let last = append(&store, 10_000);
    assert!(store.wait_projected(last, LONG));
    let segments = store.status().segments;
    assert!(segments > 3, "{segments}");
    snapshot(&store, 10).unwrap();
    // Closing brings the projection up to date on disk, and then the segments are free.
    store.close().unwrap();
    drop(store);
    let store = open_threads(&temp, Durability::Written);
    assert!(store.status().segments <= 2, "{:?}", store.status());
    assert_eq!(store.snapshot_info().unwrap().start, Seq(10_000));
    assert_eq!(verify(&store), 10_010);
    // Records before the snapshot are gone, and that is said.
    assert!(store.replay(Seq(0), &mut |_, _| {}).is_err());
}

#[test]
fn a_checkpoint_frees_segments_of_a_running_store() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    append(&store, 100);
    work(&store, 1);
    let before = store.status().segments;
    snapshot(&store, 0).unwrap();
    work(&store, 2);
    let after = store.status().segments;
    assert!(before > 3 && after == 1, "{before} {after}");
    assert_eq!(verify(&open(&disk.after(End::Kill), Durability::Written).unwrap()), 100);
}

#[test]
fn segments_are_kept_while_the_projection_stands_still() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    disk.fail(Op::Write, "projection", u32::MAX, std::io::ErrorKind::StorageFull);
    append(&store, 100);
    work(&store, 2);
    snapshot(&store, 0).unwrap();
    work(&store, 2);
    assert!(store.status().projection_failure.is_some());
    assert!(store.status().segments > 3);
    disk.heal();
    work(&store, 2);
    assert_eq!(store.status().segments, 1);
    assert_eq!(verify(&open(&disk.after(End::Kill), Durability::Written).unwrap()), 100);
}

#[test]
fn a_backup_of_a_running_store_opens_with_everything_up_to_one_record() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    for round in 0..6 {
        append(&store, 17);
        if round != 4 {
            work(&store, 1);
        }
        if round == 2 {
            snapshot(&store, 2).unwrap();
        }
        store.drive(Work::Write);
        let dest = dir().with_file_name(format!("backup-{round}"));
        let last = store.backup(&dest).unwrap();
        assert_eq!(last, store.durable());
        append(&store, 3);

        let options = crate::support::options(Durability::Written);
        let hooks = Hooks::digesting(TestDigest);
        let copy = DiskStore::open_on(Arc::new(disk.clone()), &dest, &options, hooks).unwrap();
        assert_eq!(copy.hash_key(), store.hash_key());
        assert_eq!(verify(&copy), last.0);
        append(&copy, 5);
        work(&copy, 1);
        assert_eq!(verify(&copy), last.0 + 5);
        assert!(matches!(store.backup(&dest), Err(BackupError::NotEmpty { .. })));
    }
}

#[test]
fn a_backup_taken_under_load_is_whole() {
    let temp = TempDir::new("backup-load");
    let store = open_threads(&temp, Durability::Written);
    append(&store, 1000);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..40 {
                append(&store, 500);
                // Frees segments that a backup may be about to copy.
                snapshot(&store, 1).unwrap();
            }
        });
        for round in 0..4 {
            let dest = TempDir::new(&format!("backup-load-{round}"));
            let last = store.backup(dest.path()).unwrap();
            let copy = open_threads(&dest, Durability::Written);
            assert_eq!(verify(&copy), last.0);
        }
    });
    store.close().unwrap();
}

#[test]
fn half_a_backup_is_not_taken_for_a_whole_one() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    append(&store, 50);
    work(&store, 1);
    let dest = dir().with_file_name("backup");
    for path_part in ["backup/journal", "backup/key", "backup/projection", "backup/FORMAT"] {
        for op in [Op::Create, Op::Write, Op::Sync] {
            disk.fail(op, path_part, 1, std::io::ErrorKind::StorageFull);
            store.backup(&dest).unwrap_err();
            disk.heal();
            let options = crate::support::options(Durability::Written);
            let hooks = Hooks::digesting(TestDigest);
            let opened = DiskStore::open_on(Arc::new(disk.clone()), &dest, &options, hooks);
            // Either it is refused, or so little was done that it is as good as empty.
            if let Ok(copy) = opened {
                assert_eq!(copy.appended(), Seq(0));
            }
            for path in disk.files().into_iter().filter(|path| path.starts_with(&dest)) {
                headroom_store::Disk::remove(&disk, &path).unwrap();
            }
            // An emptied directory tree still has its directories, which a backup may not reuse.
            assert!(matches!(store.backup(&dest), Err(BackupError::NotEmpty { .. })));
            headroom_store::Disk::remove(&disk, &dest.join("journal")).unwrap();
            headroom_store::Disk::remove(&disk, &dest.join("snapshot")).unwrap();
        }
    }
    assert_eq!(store.backup(&dest).unwrap(), Seq(50));
}

#[test]
fn a_record_of_the_largest_size_fits_any_segment() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    let large = vec![7; headroom_store::limits::RECORD_BYTES_MAX];
    for round in 0..3 {
        store.append(&large, round == 1);
        store.append(&[], false);
    }
    work(&store, 2);
    assert_eq!(store.durable(), Seq(6));
    let mut lens = Vec::new();
    store.replay(Seq(0), &mut |_, record| lens.push(record.len())).unwrap();
    assert_eq!(lens, [large.len(), 0, large.len(), 0, large.len(), 0]);
}

#[test]
fn the_room_ends_before_the_memory_does() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    disk.fail(Op::Write, "journal", u32::MAX, std::io::ErrorKind::Other);
    disk.fail(Op::Allocate, "journal", u32::MAX, std::io::ErrorKind::Other);
    let record = vec![1; 1 << 20];
    let mut bytes = 0;
    while store.room().is_ok() {
        store.append(&record, false);
        bytes += record.len();
    }
    // Nothing has tried to write yet; the buffer alone is full.
    assert!(bytes <= headroom_store::limits::HELD_BYTES_MAX + record.len(), "{bytes}");
    work(&store, 1);
    assert!(matches!(store.room(), Err(StoreRefusal::Broken { .. })));
    disk.heal();
    work(&store, 2);
    assert_eq!((store.room(), store.durable()), (Ok(()), store.appended()));
}
