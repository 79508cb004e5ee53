//! Windows that begin with the first use, and windows that slide: under duplicates, races, restarts and
//! reloads.

use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec};
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{LimitState, WindowPhase};
use headroom_core::time::Millis;
use headroom_core::window::{Every, SpanUnit, WindowRule};
use headroom_engine::engine::{HoldRequest, Reply, Wants};

use crate::house::{DAY_MS, HOUR_MS, House, T0, spec};

const KEYS_MAX: usize = 1_000_000;

fn hours(count: u16) -> Every {
    Every { count, unit: SpanUnit::Hour }
}

/// Ten units of `tokens` in each window of such a limit.
fn of(window: WindowRule) -> CatalogSpec {
    let mut spec = spec(10, Some("free"));
    let FeatureKindSpec::Quota { limits } = &mut spec.features[0].kind else { unreachable!() };
    limits[0].window = window;
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = &mut plan.entitlements[0].1 else { unreachable!() };
        limits[0].soft_limits_bp = vec![5_000];
    }
    spec
}

fn binding(reply: &Reply) -> &LimitState {
    reply.outcome.decision.binding.as_ref().unwrap()
}

fn consume(house: &House, units: u64, key: &str, now: i64) -> Box<Reply> {
    house.ask("acme", FeatureOp::Consume { units }, key, now).unwrap()
}

fn check(house: &House, now: i64) -> LimitState {
    let reply = house.ask("acme", FeatureOp::Check { units: 1, attempt: true }, "", now).unwrap();
    binding(&reply).clone()
}

#[test]
fn a_duplicate_of_the_first_use_does_not_start_a_window_twice() {
    let house = House::of(of(WindowRule::FirstUse(hours(5))), KEYS_MAX);
    let first = consume(&house, 3, "first", T0);
    // At once, within the window, and when it is over: the same answer, and nothing begins.
    for now in [T0, T0 + HOUR_MS, T0 + 5 * HOUR_MS, T0 + 9 * HOUR_MS] {
        let again = consume(&house, 3, "first", now);
        assert!(again.replayed);
        assert_eq!(again.wait_for, first.wait_for);
        let is_over = T0 + 5 * HOUR_MS <= now;
        let expected = if is_over { WindowPhase::NotBegun } else { WindowPhase::Open };
        assert_eq!(binding(&again).phase, expected, "{now}");
        let starts: Vec<i64> = house
            .engine
            .usage("acme", Millis(now))
            .unwrap()
            .ledgers
            .iter()
            .map(|ledger| ledger.window.start().0)
            .collect();
        assert_eq!(starts, [T0]);
    }
    let next = consume(&house, 1, "next", T0 + 9 * HOUR_MS);
    assert_eq!(binding(&next).ledger.window.start().0, T0 + 9 * HOUR_MS);
    assert_eq!(binding(&next).ledger.used, 1);
}

#[test]
fn first_uses_at_once_begin_one_window_and_share_it() {
    for round in 0..50 {
        let house = House::of(of(WindowRule::FirstUse(hours(5))), KEYS_MAX);
        let admitted = std::thread::scope(|scope| {
            let uses: Vec<_> = (0..4)
                .map(|thread| {
                    let house = &house;
                    // Each has read another clock, and half of them repeat one another.
                    let (key, now) = (format!("{}", thread / 2), T0 + thread);
                    scope.spawn(move || !consume(house, 4, &key, now).replayed)
                })
                .collect();
            uses.into_iter().map(|used| usize::from(used.join().unwrap())).sum::<usize>()
        });
        let ledgers = house.engine.usage("acme", Millis(T0 + 9)).unwrap().ledgers;
        assert_eq!((admitted, ledgers.len()), (2, 1), "round {round}");
        assert_eq!(ledgers[0].used, 8);
    }
}

#[test]
fn a_check_or_a_refusal_begins_nothing_and_leaves_no_record() {
    let house = House::of(of(WindowRule::FirstUse(hours(5))), KEYS_MAX);
    house.subscribe("acme", "free");
    let before = house.store.last();
    for now in [T0, T0 + HOUR_MS] {
        assert_eq!(check(&house, now).phase, WindowPhase::NotBegun);
        assert!(!consume(&house, 11, "much", now).outcome.decision.verdict.is_allowed());
    }
    assert_eq!(house.store.last(), before);
}

/// Uses of a day, with a hold that is left open; each as the engine answers it.
fn a_day(house: &House) -> headroom_core::reservation::ReservationId {
    consume(house, 2, "a", T0 + 10 * HOUR_MS + 7);
    consume(house, 1, "b", T0 + 12 * HOUR_MS);
    let hold = FeatureOp::Reserve { units: 3, hold_ms: DAY_MS };
    let held = house.ask("acme", hold, "c", T0 + 13 * HOUR_MS).unwrap();
    consume(house, 2, "d", T0 + 14 * HOUR_MS);
    held.outcome.amounts.reservation.unwrap()
}

#[test]
fn a_restart_finds_the_windows_that_were_open() {
    let rules = [
        WindowRule::FirstUse(hours(48)),
        WindowRule::Fixed(hours(48)),
        WindowRule::Sliding(hours(12)),
    ];
    for (rule, from_checkpoint) in rules.into_iter().flat_map(|rule| [(rule, false), (rule, true)])
    {
        let house = House::of(of(rule), KEYS_MAX);
        house.subscribe("acme", "free");
        let id = a_day(&house);
        if from_checkpoint {
            let checkpoint = house.checkpoint();
            house.store.keep(checkpoint);
        }
        let again = house.reopen(of(rule));
        for hour in 14..40 {
            let now = T0 + hour * HOUR_MS;
            assert_eq!(check(&again, now), check(&house, now), "{rule:?} at hour {hour}");
        }
        // The late commit goes where the reservation was admitted.
        let (now, wants) = (Millis(T0 + 20 * HOUR_MS), Wants::default());
        let op = HoldOp::Commit { units: 5 };
        let rq = HoldRequest {
            dimensions: Default::default(),
            account: "acme",
            reservation: id,
            op,
            key: "e",
            now,
            wants,
        };
        let reply = again.engine.hold(&again.engine.catalog(), &rq).unwrap();
        assert_eq!(binding(&reply).ledger.used, 10, "{rule:?}");
    }
}

#[test]
fn a_sliding_threshold_is_told_once_also_over_a_restart() {
    let rule = WindowRule::Sliding(hours(24));
    let mut house = House::of(of(rule), KEYS_MAX);
    consume(&house, 4, "first", T0);
    let mut told = 0;
    for hour in 1..12 {
        let before = house.store.last();
        let units = u64::from(hour % 4 == 0);
        if units > 0 {
            consume(&house, units, &format!("k{hour}"), T0 + hour * HOUR_MS);
        }
        for (_, stored) in house.store.since(before) {
            use headroom_engine::record::{Record, take};
            if let Record::Decided { effects, .. } = take(&stored.bytes).unwrap() {
                use headroom_core::effect::Effect;
                told += effects.iter().filter(|e| matches!(e, Effect::Signal(_))).count();
            }
        }
        house = house.reopen(of(rule));
    }
    assert_eq!(told, 1);
}

#[test]
fn a_catalog_that_changes_the_length_leaves_the_open_window_as_it_began() {
    let house = House::of(of(WindowRule::FirstUse(hours(5))), KEYS_MAX);
    consume(&house, 1, "a", T0);
    let longer = of(WindowRule::FirstUse(hours(20)));
    house.engine.install_catalog(longer.clone(), "longer", Millis(T0 + 1)).unwrap();
    for house in [&house, &house.reopen(longer)] {
        assert_eq!(check(house, T0 + HOUR_MS).ledger.window.end().0, T0 + 5 * HOUR_MS);
        assert_eq!(check(house, T0 + 5 * HOUR_MS).phase, WindowPhase::NotBegun);
    }
}
