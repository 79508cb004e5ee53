//! A restart finds what there was: from a checkpoint taken at any moment of the traffic, and the
//! records after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::time::Millis;
use headroom_engine::ports::Seq;
use headroom_engine::recovery::RecoveryError;
use headroom_sim::rng::Rng;
use headroom_sim::store::MemStore;

use crate::house::{DAY_MS, HOUR_MS, House, T0, finish, recovery, spec};

const THREADS: u64 = 4;
const REQUESTS: u64 = 4_000;
const CHECKPOINTS: usize = 4;
/// Checkpoints kept at a time.
const KEPT: usize = 32;
const KEYS_MAX: usize = 1_000_000;

/// Enough to let traffic end after its requests.
static NO_CHECKPOINTS: AtomicUsize = AtomicUsize::new(CHECKPOINTS);

/// One thread's traffic; returns the keys of admitted consumes. It goes on for so many requests and
/// until so many checkpoints were taken.
fn traffic(house: &House, thread: u64, taken: &AtomicUsize) -> Vec<(String, String)> {
    let mut rng = Rng::new(thread);
    let mut admitted = Vec::new();
    for place in 0.. {
        if place >= REQUESTS && taken.load(Ordering::Relaxed) >= CHECKPOINTS {
            break;
        }
        // A few accounts with much traffic, and always new ones.
        let account = match rng.below(10) {
            0 => format!("new{thread}/{}", place / 20),
            _ => format!("acct{}", rng.below(6)),
        };
        let key = format!("{thread}/{place}");
        match rng.below(20) {
            0 => house.subscribe(&account, if rng.percent(50) { "pro" } else { "free" }),
            1..=4 => {
                let reply = house.reserve(&account, 1 + rng.below(3), &key);
                let Some(id) = reply.outcome.amounts.reservation else { continue };
                let op = match rng.below(4) {
                    0 => continue,
                    1 => HoldOp::Release,
                    _ => HoldOp::Commit { units: rng.below(4) },
                };
                house.hold(&account, id, op, &format!("{key}/end")).unwrap();
            }
            5 => drop(house.ask(&account, FeatureOp::Record { units: 1 }, &key, T0).unwrap()),
            _ => {
                if house.consume(&account, 1, &key).wait_for.is_some() {
                    admitted.push((account, key));
                }
            }
        }
    }
    admitted
}

/// Everything that can be asked of both is the same.
fn assert_same(one: &House, other: &House) {
    let ids = one.engine.account_ids(0, usize::MAX);
    assert_eq!(other.engine.account_ids(0, usize::MAX), ids);
    let (catalog, others) = (one.engine.catalog(), other.engine.catalog());
    assert_eq!(others.revision, catalog.revision);
    let names = |catalog: &headroom_core::catalog::Catalog| {
        let names = catalog.names().since(0).map(|(id, name)| (id, name.to_owned()));
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&others), names(&catalog));
    for (_, id) in &ids {
        assert_eq!(other.engine.profile(id), one.engine.profile(id), "{id}");
        for now in [T0, T0 + HOUR_MS, T0 + 2 * DAY_MS] {
            let now = Millis(now);
            let sorted = |house: &House| {
                let mut usage = house.engine.usage(id, now).unwrap();
                usage.ledgers.sort_by_key(|ledger| (ledger.feature, ledger.limit, ledger.window));
                usage
            };
            assert_eq!(sorted(other), sorted(one), "{id}");
            let listing = |house: &House, catalog| {
                let listing = house.engine.entitlements(catalog, id, now).unwrap();
                format!("{listing:?}")
            };
            assert_eq!(listing(other, &others), listing(one, &catalog), "{id}");
        }
    }
    assert_eq!(other.engine.counts().ledgers, one.engine.counts().ledgers);
    assert_eq!(other.engine.counts().keys, one.engine.counts().keys);
}

#[test]
fn a_checkpoint_taken_during_traffic_and_the_records_after_it_are_the_state() {
    let spec = || spec(3_000, Some("free"));
    let house = House::of(spec(), KEYS_MAX);
    let (is_over, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (admitted, checkpoints) = std::thread::scope(|scope| {
        let (house, taken) = (&house, &taken);
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || traffic(house, thread, taken))).collect();
        let taker = scope.spawn(|| {
            let mut checkpoints = vec![house.checkpoint()];
            while !is_over.load(Ordering::Relaxed) {
                checkpoints.push(house.checkpoint());
                let revision = taken.fetch_add(1, Ordering::Relaxed);
                if checkpoints.len() > KEPT {
                    // However long the traffic takes on a busy machine, memory is bounded.
                    let mut places = 0..;
                    checkpoints.retain(|_| {
                        places.next().is_some_and(|place: usize| place.is_multiple_of(2))
                    });
                }
                // Names and revisions change under way, too.
                if revision % 4 == 0 && revision < 100 * 4 {
                    let mut changed = spec();
                    changed.plans[1].plan = format!("pro{revision}");
                    changed.plans.push(spec().plans.remove(1));
                    let source = format!("{changed:?}");
                    house.engine.install_catalog(changed, &source, Millis(T0)).unwrap();
                }
            }
            let source = format!("{:?}", spec());
            house.engine.install_catalog(spec(), &source, Millis(T0)).unwrap();
            checkpoints
        });
        let mut admitted = Vec::new();
        for thread in threads {
            admitted.extend(thread.join().unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
        (admitted, taker.join().unwrap())
    });
    assert!(checkpoints.len() > CHECKPOINTS);
    let step = (checkpoints.len() / 6).max(1);
    for checkpoint in checkpoints.into_iter().step_by(step) {
        assert!(checkpoint.last <= house.store.last());
        let mut recovery = recovery(KEYS_MAX);
        for entry in &checkpoint.entries {
            recovery.entry(entry).unwrap();
        }
        for (seq, stored) in house.store.since(checkpoint.begun) {
            recovery.record(seq, &stored.bytes).unwrap();
        }
        let engine = finish(recovery, spec(), &house.store, KEYS_MAX);
        let found =
            House { engine: Arc::new(engine), store: Arc::clone(&house.store), keys_max: KEYS_MAX };
        assert_same(&house, &found);
        for (account, key) in admitted.iter().step_by(7) {
            let again = found.consume(account, 1, key);
            assert!(again.replayed, "{account} {key} would be counted twice");
            assert_eq!(again.wait_for, house.consume(account, 1, key).wait_for);
        }
    }
}

#[test]
fn the_journal_alone_is_the_state() {
    let house = House::new(500);
    let admitted = traffic(&house, 1, &NO_CHECKPOINTS);
    let found = house.reopen(spec(500, Some("free")));
    assert_same(&house, &found);
    for (account, key) in admitted {
        assert!(found.consume(&account, 1, &key).replayed);
    }
}

#[test]
fn a_record_applied_twice_changes_nothing() {
    let house = House::new(500);
    traffic(&house, 2, &NO_CHECKPOINTS);
    let mut recovery = recovery(KEYS_MAX);
    let records = house.store.since(Seq(0));
    for (seq, stored) in records.iter().chain(&records) {
        recovery.record(*seq, &stored.bytes).unwrap();
    }
    let engine = finish(recovery, spec(500, Some("free")), &house.store, KEYS_MAX);
    let found =
        House { engine: Arc::new(engine), store: Arc::clone(&house.store), keys_max: KEYS_MAX };
    assert_same(&house, &found);
}

#[test]
fn a_cut_tail_is_the_state_before_it() {
    let house = House::new(500);
    traffic(&house, 3, &NO_CHECKPOINTS);
    let last = house.store.last();
    let (used, cut) = (house.counts("acct0"), Seq(last.0 / 2));
    let half = Arc::new(MemStore::new());
    for (_, stored) in house.store.since(Seq(0)).into_iter().filter(|(seq, _)| *seq <= cut) {
        headroom_engine::ports::Store::append(&*half, &stored.bytes, stored.matter);
    }
    let found = House::open(&half, spec(500, Some("free")), KEYS_MAX);
    assert!(found.counts("acct0").0 < used.0);
    assert!(found.engine.counts().accounts < house.engine.counts().accounts);
}

#[test]
fn reservations_go_on_after_a_restart_and_ids_are_not_given_again() {
    let house = House::new(50);
    let id =
        |reply: Box<headroom_engine::engine::Reply>| reply.outcome.amounts.reservation.unwrap();
    let (first, second) = (id(house.reserve("acme", 3, "a")), id(house.reserve("acme", 4, "b")));
    house.store.keep(house.checkpoint());
    house.hold("acme", first, HoldOp::Commit { units: 5 }, "c").unwrap();
    let house = house.reopen(spec(50, Some("free")));
    assert_eq!(house.counts("acme"), (5, 4));
    assert!(house.hold("acme", first, HoldOp::Release, "d").is_err());
    house.hold("acme", second, HoldOp::Release, "e").unwrap();
    assert_eq!(id(house.reserve("acme", 1, "f")).0, second.0 + 1);
}

#[test]
fn what_cannot_be_is_an_error_with_its_place() {
    let house = House::new(5);
    house.consume("acme", 1, "key");
    let records = house.store.since(Seq(0));
    let mut alone = recovery(KEYS_MAX);
    let (seq, decided) = records.last().unwrap();
    let unknown = RecoveryError::UnknownSerial { seq: *seq, serial: 0 };
    assert_eq!(alone.record(*seq, &decided.bytes), Err(unknown));

    let mut bytes = Vec::new();
    headroom_engine::record::put_name(&mut bytes, headroom_core::names::NameId(5), "first");
    let moved = RecoveryError::NameMoved { seq: Seq(1), text: "first".to_owned() };
    assert_eq!(recovery(KEYS_MAX).record(Seq(1), &bytes), Err(moved));

    let not_one = recovery(KEYS_MAX).record(Seq(9), &[99]);
    assert!(matches!(not_one, Err(RecoveryError::Record { seq: Seq(9), .. })), "{not_one:?}");
    let not_one = recovery(KEYS_MAX).entry(&[99]);
    assert!(matches!(not_one, Err(RecoveryError::Entry { entry: 0, .. })), "{not_one:?}");
}
