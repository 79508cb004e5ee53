//! A small engine: records whose content follows from their number, and a state that is their sum.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headroom_engine::ports::{Archive, Digest, ProjectionOp, Seq, Store, Table};
use headroom_store::fault::FaultDisk;
use headroom_store::{
    DiskStore, Driver, Durability, Hooks, OpenError, Options, Progress, SnapshotError, Work,
};

pub(crate) const LONG: Duration = Duration::from_secs(20);

/// What record `seq` says, everywhere and always.
pub(crate) fn record(seq: u64) -> Vec<u8> {
    let mut bytes = seq.to_le_bytes().to_vec();
    bytes.extend((0..seq * 7 % 50).map(|i| (seq * 31 + i).to_le_bytes()[0]));
    bytes
}

pub(crate) fn matters(seq: u64) -> bool {
    seq.is_multiple_of(3)
}

pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/data")
}

pub(crate) fn segment_path(first: u64) -> PathBuf {
    dir().join(format!("journal/{first:020}.seg"))
}

pub(crate) struct TestDigest;

impl Digest for TestDigest {
    fn digest(&mut self, seq: Seq, record: &[u8], ops: &mut Vec<ProjectionOp>) {
        let key = seq.0.to_be_bytes().to_vec();
        ops.push(ProjectionOp::Put { table: Table::Signals, key, value: record.to_vec() });
    }
}

pub(crate) fn options(durability: Durability) -> Options {
    Options { durability, segment_bytes: 1024, driver: Driver::Manual }
}

/// Everything the journal reported.
pub(crate) type Reports = Arc<Mutex<Vec<Progress>>>;

pub(crate) fn hooks(reports: &Reports) -> Hooks {
    let reports = Arc::clone(reports);
    let mut hooks = Hooks::digesting(TestDigest);
    hooks.on_progress = Box::new(move |progress| reports.lock().unwrap().push(progress));
    hooks
}

pub(crate) fn durable_of(reports: &Reports) -> u64 {
    let reports = reports.lock().unwrap();
    let durable = reports.iter().filter_map(|progress| match progress {
        Progress::Durable(seq) => Some(seq.0),
        Progress::Failed { .. } => None,
    });
    durable.max().unwrap_or(0)
}

/// A store with manual work on a disk in memory.
pub(crate) fn open(disk: &FaultDisk, durability: Durability) -> Result<DiskStore, OpenError> {
    open_reporting(disk, durability, &Reports::default())
}

pub(crate) fn open_reporting(
    disk: &FaultDisk,
    durability: Durability,
    reports: &Reports,
) -> Result<DiskStore, OpenError> {
    DiskStore::open_on(Arc::new(disk.clone()), &dir(), &options(durability), hooks(reports))
}

/// Appends the next `count` records.
pub(crate) fn append(store: &DiskStore, count: u64) -> Seq {
    for _ in 0..count {
        let seq = store.appended().0 + 1;
        assert_eq!(store.append(&record(seq), matters(seq)), Seq(seq));
    }
    store.appended()
}

pub(crate) fn fold(sum: u64, seq: u64) -> u64 {
    sum.rotate_left(5) ^ seq.wrapping_mul(0x9E37_79B9)
}

pub(crate) fn sum_through(seq: u64) -> u64 {
    (1..=seq).fold(0, fold)
}

/// Takes a snapshot of one entry, which knows `more` records that came after it began.
pub(crate) fn snapshot(store: &DiskStore, more: u64) -> Result<(), SnapshotError> {
    let mut writer = store.begin_snapshot()?;
    let last = append(store, more);
    let mut entry = last.0.to_le_bytes().to_vec();
    entry.extend(sum_through(last.0).to_le_bytes());
    writer.entry(&entry)?;
    writer.finish(last).map(|_| ())
}

/// Restores the small engine and checks that it holds each record once, and nothing else. Returns
/// the last record.
pub(crate) fn verify(store: &DiskStore) -> u64 {
    let (mut known, mut sum) = (0, 0);
    let info = store
        .read_snapshot(&mut |entry| {
            known = u64::from_le_bytes(entry[..8].try_into().unwrap());
            sum = u64::from_le_bytes(entry[8..16].try_into().unwrap());
        })
        .unwrap();
    let start = info.map_or(Seq(0), |info| info.start);
    let mut expected = start.0;
    let last = store
        .replay(start, &mut |seq, bytes| {
            expected += 1;
            assert_eq!(seq.0, expected);
            assert_eq!(bytes, record(seq.0), "record {seq}");
            if seq.0 > known {
                sum = fold(sum, seq.0);
            }
        })
        .unwrap();
    assert_eq!(last.0, expected);
    assert_eq!(last, store.appended());
    assert!(known <= last.0, "the snapshot knows {known}, the journal ends at {last}");
    assert_eq!(sum, sum_through(last.0));

    assert!(store.wait_projected(last, LONG), "{:?}", store.status());
    let to = (last.0 + 100).to_be_bytes();
    let rows = store.range(Table::Signals, &[], &to, usize::MAX).unwrap();
    let expected_rows: Vec<_> = (1..=last.0)
        .filter(|seq| matters(*seq))
        .map(|seq| (seq.to_be_bytes().to_vec(), record(seq)))
        .collect();
    assert_eq!(rows, expected_rows);
    assert_eq!(store.count(Table::Signals).unwrap(), rows.len() as u64);
    last.0
}

/// All work, `rounds` times.
pub(crate) fn work(store: &DiskStore, rounds: usize) {
    for work in [Work::Write, Work::Keep, Work::Write, Work::Project].repeat(rounds) {
        store.drive(work);
    }
}

/// A directory on the real disk that goes away.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> TempDir {
        let path =
            std::env::temp_dir().join(format!("headroom-store-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
