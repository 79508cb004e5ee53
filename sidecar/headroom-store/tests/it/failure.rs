//! A disk that refuses, for a while or once: nothing acknowledged is lost or doubled, and the store
//! recovers by itself.

use std::io::ErrorKind;

use headroom_engine::ports::{Seq, Store, StoreRefusal};
use headroom_store::fault::{End, FaultDisk, Op};
use headroom_store::{Durability, Progress, Work};

use crate::support::{Reports, append, durable_of, open, open_reporting, snapshot, verify, work};

#[test]
fn without_room_for_the_next_segment_writes_are_refused_before_deciding() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Written).unwrap();
    disk.set_room(0);
    work(&store, 1);
    // The current segment is still empty, so there is room.
    assert_eq!(store.room(), Ok(()));
    assert!(store.status().reserve_failure.is_some());
    while store.room().is_ok() {
        append(&store, 1);
        work(&store, 1);
    }
    assert_eq!(store.room(), Err(StoreRefusal::NoRoom));
    // All that was decided is durable nevertheless.
    assert_eq!(store.durable(), store.appended());

    disk.heal();
    work(&store, 1);
    assert_eq!(store.room(), Ok(()));
    append(&store, 50);
    work(&store, 1);
    assert_eq!(verify(&store), store.durable().0);
}

#[test]
fn records_without_any_segment_wait_in_memory_until_there_is_room() {
    let reports = Reports::default();
    let disk = FaultDisk::new();
    let store = open_reporting(&disk, Durability::Written, &reports).unwrap();
    disk.set_room(0);
    let last = append(&store, 100);
    work(&store, 3);
    assert_eq!(store.room(), Err(StoreRefusal::NoRoom));
    let durable = store.durable();
    assert!(durable < last);
    let failed = |progress: &Progress| match progress {
        Progress::Failed { durable: at, reason } => *at == durable && reason.contains("full"),
        Progress::Durable(_) => false,
    };
    assert!(reports.lock().unwrap().iter().any(failed));

    disk.heal();
    work(&store, 1);
    assert_eq!(store.room(), Ok(()));
    assert_eq!(store.durable(), last);
    assert_eq!(reports.lock().unwrap().last(), Some(&Progress::Durable(last)));
    assert_eq!(verify(&open(&disk.after(End::Kill), Durability::Written).unwrap()), last.0);
}

#[track_caller]
fn check_one_failure(durability: Durability, op: Op, kind: ErrorKind) {
    let reports = Reports::default();
    let disk = FaultDisk::new();
    let store = open_reporting(&disk, durability, &reports).unwrap();
    append(&store, 7);
    work(&store, 1);
    disk.fail(op, "journal", 1, kind);
    append(&store, 5);
    work(&store, 2);
    append(&store, 2);
    work(&store, 1);
    let last = store.appended();
    assert_eq!((store.durable(), store.status().synced), (last, last));
    assert_eq!(store.room(), Ok(()));
    // Nobody was told of a failure that a new file made good.
    let unheard = |progress: &Progress| matches!(progress, Progress::Durable(_));
    assert!(reports.lock().unwrap().iter().all(unheard), "{reports:?}");
    assert_eq!(verify(&store), last.0);
    for end in (0..20).map(|seed| End::PowerCut { seed }).chain([End::Kill]) {
        assert_eq!(verify(&open(&disk.after(end), durability).unwrap()), last.0);
    }
}

#[test]
fn one_failed_write_or_sync_is_made_good_in_a_new_file() {
    for durability in [Durability::Written, Durability::Fsynced] {
        for op in [Op::Write, Op::Sync] {
            for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
                check_one_failure(durability, op, kind);
            }
        }
    }
}

#[test]
fn records_of_a_failed_sync_go_first_into_the_next_segment_with_their_numbers() {
    let disk = FaultDisk::new();
    let store = open(&disk, Durability::Fsynced).unwrap();
    append(&store, 4);
    store.drive(Work::Write);
    // The sync fails, and so do all attempts to write elsewhere.
    disk.fail(Op::Sync, "journal", 100, ErrorKind::Other);
    append(&store, 3);
    store.drive(Work::Write);
    assert_eq!(store.durable(), Seq(4));
    assert!(matches!(store.room(), Err(StoreRefusal::Broken { reason }) if reason.contains("sync")
        || reason.contains("write")));
    disk.heal();
    store.drive(Work::Write);
    assert_eq!((store.room(), store.durable()), (Ok(()), Seq(7)));
    assert!(disk.files().iter().any(|path| path.ends_with("00000000000000000005.seg")));
    append(&store, 3);
    store.drive(Work::Write);
    for end in (0..20).map(|seed| End::PowerCut { seed }).chain([End::Kill]) {
        assert_eq!(verify(&open(&disk.after(end), Durability::Fsynced).unwrap()), 10);
    }
}

#[test]
fn a_projection_that_failed_catches_up() {
    for op in [Op::Write, Op::Sync, Op::SetSize] {
        let disk = FaultDisk::new();
        let store = open(&disk, Durability::Written).unwrap();
        append(&store, 10);
        disk.fail(op, "projection", 3, ErrorKind::Other);
        work(&store, 6);
        append(&store, 10);
        work(&store, 2);
        assert_eq!(store.status().projection_failure, None);
        assert_eq!(verify(&store), 20);
    }
}

#[test]
fn a_projection_whose_sync_failed_is_not_trusted_by_the_next_process() {
    for seed in 0..20 {
        let disk = FaultDisk::new();
        let store = open(&disk, Durability::Written).unwrap();
        append(&store, 30);
        work(&store, 1);
        append(&store, 30);
        disk.fail(Op::Sync, "projection", 1, ErrorKind::Other);
        work(&store, 1);
        assert!(store.status().projection_failure.is_some());
        // Killed before it could make a new file; the system calls the old one clean.
        let disk = disk.after(End::Kill);
        let store = open(&disk, Durability::Written).unwrap();
        work(&store, 1);
        snapshot(&store, 0).unwrap();
        work(&store, 2);
        let disk = disk.after(End::PowerCut { seed });
        assert_eq!(verify(&open(&disk, Durability::Written).unwrap()), 60);
    }
}

#[test]
fn a_snapshot_that_fails_leaves_the_previous_one() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncDir] {
        let disk = FaultDisk::new();
        let store = open(&disk, Durability::Written).unwrap();
        append(&store, 10);
        snapshot(&store, 1).unwrap();
        append(&store, 10);
        disk.fail(op, "snapshot", 1, ErrorKind::StorageFull);
        snapshot(&store, 1).unwrap_err();
        work(&store, 2);
        let last = store.appended();
        assert_eq!(verify(&open(&disk.after(End::Kill), Durability::Written).unwrap()), last.0);
        // The failed one is not in the way.
        snapshot(&store, 1).unwrap();
        work(&store, 2);
        store.close().unwrap();
        drop(store);
        assert_eq!(verify(&open(&disk, Durability::Written).unwrap()), last.0 + 1);
    }
}

/// A small random number generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Anything may happen between any two steps; at each end everything is checked.
fn simulate(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let durability =
        [Durability::Written, Durability::Fsynced][usize::from(seed.is_multiple_of(2))];
    let mut disk = FaultDisk::new();
    let mut boot = 0;
    for _life in 0..4 {
        let reports = Reports::default();
        let store = open_reporting(&disk, durability, &reports).unwrap();
        assert!(store.boot() > boot);
        boot = store.boot();
        let found = verify(&store);
        for _ in 0..40 {
            match random.below(16) {
                0..6 => drop(append(&store, random.below(6) + 1)),
                6..9 => store.drive(Work::Write),
                9 => store.drive(Work::Keep),
                10 => store.drive(Work::Project),
                11 => drop(snapshot(&store, random.below(3))),
                12 => disk.heal(),
                13 => disk.set_room(random.below(4096)),
                _ => {
                    let ops =
                        [Op::Create, Op::Allocate, Op::Write, Op::Sync, Op::Rename, Op::Remove];
                    let op = ops[usize::try_from(random.below(6)).unwrap()];
                    let part = ["journal", "snapshot", "projection"];
                    let part = part[usize::try_from(random.below(3)).unwrap()];
                    let count = u32::try_from(random.below(4)).unwrap() + 1;
                    disk.fail(op, part, count, ErrorKind::Other);
                }
            }
        }
        let acknowledged = durable_of(&reports).max(found);
        let (synced, appended) = (store.status().synced.0, store.appended().0);
        let end = match random.below(3) {
            0 => {
                disk.heal();
                store.close().unwrap();
                assert_eq!(store.durable(), Seq(appended));
                End::Kill
            }
            1 => End::Kill,
            _ => End::PowerCut { seed: random.below(1 << 30) },
        };
        let survives = match (end, durability) {
            (End::PowerCut { .. }, Durability::Written) => synced,
            _ => acknowledged,
        };
        disk = disk.after(end);
        let check = disk.after(End::Kill);
        let last = verify(&open(&check, durability).unwrap());
        assert!(survives <= last && last <= appended, "{survives} <= {last} <= {appended}");
    }
}

#[test]
fn whatever_fails_nothing_acknowledged_is_lost_or_doubled() {
    let slow = std::env::var_os("HEADROOM_SLOW_TESTS").is_some();
    let seeds = if slow { 20_000 } else { 300 };
    if !slow {
        println!("HEADROOM_SLOW_TESTS is not set: {seeds} histories instead of 20000");
    }
    for seed in 0..seeds {
        println!("seed {seed}");
        simulate(seed);
    }
}
