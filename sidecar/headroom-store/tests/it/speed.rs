//! How fast it is, printed and not asserted: `cargo test -p headroom-store speed -- --nocapture`.

use std::time::{Duration, Instant};

use headroom_engine::ports::{Seq, Store};
use headroom_store::{DiskStore, Durability, Hooks, Options};

use crate::support::{LONG, TempDir, TestDigest};

const RECORD: [u8; 100] = [7; 100];

fn open(temp: &TempDir, durability: Durability) -> DiskStore {
    let options = Options { durability, ..Options::default() };
    DiskStore::open(temp.path(), &options, Hooks::digesting(TestDigest)).unwrap()
}

fn per(total: Duration, count: u64) -> f64 {
    total.as_secs_f64() * 1e9 / count as f64
}

fn append(store: &DiskStore, count: u64) -> Duration {
    let begun = Instant::now();
    for _ in 0..count {
        store.append(&RECORD, false);
    }
    begun.elapsed()
}

#[test]
fn speed() {
    let temp = TempDir::new("speed");
    let store = open(&temp, Durability::Written);
    let count = 200_000;
    let appended = append(&store, count);
    println!("append, alone: {:.0} ns", per(appended, count));
    let begun = Instant::now();
    assert!(store.wait_durable(store.appended(), LONG));
    println!("then written: {:.1} ms for the rest", begun.elapsed().as_secs_f64() * 1e3);

    let rounds = 2_000;
    let begun = Instant::now();
    for _ in 0..rounds {
        append(&store, 16);
        assert!(store.wait_durable(store.appended(), LONG));
    }
    println!("16 records until durable, written: {:.1} us", per(begun.elapsed(), rounds) / 1e3);

    let begun = Instant::now();
    let seq = store.append(&RECORD, true);
    assert!(store.wait_projected(seq, LONG));
    println!("one signal until projected: {:.1} us", per(begun.elapsed(), 1) / 1e3);
    let begun = Instant::now();
    for _ in 0..200 {
        let seq = store.append(&RECORD, true);
        assert!(store.wait_projected(seq, LONG));
    }
    println!("each of 200 signals until projected: {:.1} us", per(begun.elapsed(), 200) / 1e3);

    let begun = Instant::now();
    let last = store.replay(Seq(0), &mut |_, record| assert_eq!(record.len(), 100)).unwrap();
    println!("replay: {:.1} M records/s", last.0 as f64 / begun.elapsed().as_secs_f64() / 1e6);

    let begun = Instant::now();
    let mut snapshot = store.begin_snapshot().unwrap();
    let entries = 300_000;
    for _ in 0..entries {
        snapshot.entry(&RECORD).unwrap();
    }
    snapshot.finish(last).unwrap();
    println!("snapshot written: {:.0} ns per entry", per(begun.elapsed(), entries));
    store.close().unwrap();
    drop(store);
    let begun = Instant::now();
    let store = open(&temp, Durability::Fsynced);
    println!("opened in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    let begun = Instant::now();
    store.read_snapshot(&mut |entry| assert_eq!(entry.len(), 100)).unwrap();
    println!("snapshot read: {:.0} ns per entry", per(begun.elapsed(), entries));

    let rounds = 50;
    let begun = Instant::now();
    for _ in 0..rounds {
        append(&store, 16);
        assert!(store.wait_durable(store.appended(), LONG));
    }
    println!("16 records until durable, fsynced: {:.0} us", per(begun.elapsed(), rounds) / 1e3);
    store.close().unwrap();
}
