//! Levels that rest because their feature is of another kind: nothing is billed for them, over reloads, starts
//! under another catalog and crashes, and they are measured again when it is an allocation again.

use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec};
use headroom_core::decide::{FeatureOp, HoldOp, LevelChange};
use headroom_core::effect::Effect;
use headroom_core::migrate::Migration;
use headroom_core::stock::{BilledBy, Stock};
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;
use headroom_engine::ports::{Seq, Store};
use headroom_engine::record::{self, Record};

use crate::allocations::{history, stock, things};
use crate::house::{DAY_MS, House, T0, spec};

/// 10 April and 10 May 2026, noon: a billing window begins on the tenth, when the account was first seen.
const APRIL: i64 = T0 + 31 * DAY_MS;
const MAY: i64 = APRIL + 30 * DAY_MS;

/// The house's catalog, with `tokens` as a quota that was an allocation.
fn quota() -> CatalogSpec {
    let feature = "tokens".to_owned();
    let line = Migration::ChangeKind { feature, to: "quota".to_owned() };
    CatalogSpec { migrations: vec![line], ..spec(100, Some("free")) }
}

/// The same things, with the line for what was counted as a quota.
fn things_again() -> CatalogSpec {
    let feature = "tokens".to_owned();
    let line = Migration::ChangeKind { feature, to: "allocation".to_owned() };
    CatalogSpec { migrations: vec![line], ..things(100) }
}

/// The catalogs without `tokens`.
fn dropped() -> CatalogSpec {
    let mut spec = spec(100, Some("free"));
    spec.features.retain(|feature| feature.feature != "tokens");
    for plan in &mut spec.plans {
        plan.entitlements.retain(|(feature, _)| feature != "tokens");
    }
    let feature = "tokens".to_owned();
    CatalogSpec { migrations: vec![Migration::DropFeature { feature }], ..spec }
}

fn add(house: &House, units: u64, now: i64) {
    let change = LevelChange::Add { units };
    house.ask("acme", FeatureOp::Allocate { change }, &format!("add/{now}"), now).unwrap();
}

/// How a catalog comes into force.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Reload,
    Start,
    /// A reload, and a kill before anything but the catalog was written.
    Killed,
    /// The same, and nobody can tell what the catalog was before.
    Blind,
}

impl By {
    const ALL: [By; 4] = [By::Reload, By::Start, By::Killed, By::Blind];

    fn bring(self, house: House, old: &CatalogSpec, new: &CatalogSpec, now: i64) -> House {
        let (before, store) = match self {
            By::Reload => {
                reload(&house, new, now);
                return house;
            }
            By::Start => (Some(old.clone()), &house.store),
            By::Killed | By::Blind => {
                let source = format!("{new:?}");
                reload(&house, new, now);
                house.store.crash(last_catalog(&house));
                assert!(matches!(
                    record::take(&house.store.since(Seq(house.store.last().0 - 1))[0].1.bytes),
                    Ok(Record::Catalog { source: text, .. }) if text == source
                ));
                ((self == By::Killed).then(|| new.clone()), &house.store)
            }
        };
        House::open_at(store, (before, new.clone()), house.keys_max, Millis(now))
    }
}

fn reload(house: &House, spec: &CatalogSpec, now: i64) {
    house.engine.install_catalog(spec.clone(), &format!("{spec:?}"), Millis(now)).unwrap();
}

/// The record of the catalog in force.
fn last_catalog(house: &House) -> Seq {
    let is_catalog = |bytes: &[u8]| matches!(record::take(bytes), Ok(Record::Catalog { .. }));
    let all = house.store.since(Seq(0));
    all.iter().rev().find(|(_, stored)| is_catalog(&stored.bytes)).unwrap().0
}

fn measured(stock: &Stock) -> (u64, u64, u64) {
    (stock.peak_units, stock.average_units(), stock.level_units)
}

#[test]
fn what_rests_is_not_billed_and_is_measured_again_when_it_comes_back() {
    for (rests, wakes) in By::ALL.into_iter().flat_map(|one| By::ALL.map(|two| (one, two))) {
        let mut house = House::of(things(100), 1_000_000);
        add(&house, 31, T0);
        // Ten days later it is a quota.
        let then = T0 + 10 * DAY_MS;
        house = rests.bring(house, &things(100), &quota(), then);
        assert_eq!(stock(&house, "acme", then).level_units, 0, "{rests:?}");
        assert_eq!(house.engine.run_timers(Millis(MAY)), 1);
        assert_eq!(house.engine.next_timer_at(), Millis::FOREVER);
        let [closed] = history(&house)[..] else { panic!("{rests:?}: {:?}", history(&house)) };
        assert_eq!(measured(&closed), (31, 10, 0), "{rests:?}");
        // Nothing more comes, and nothing of it is lost by a restart.
        house.store.keep(house.checkpoint());
        house = house.reopen(quota());
        assert_eq!(house.engine.run_timers(Millis(MAY + 300 * DAY_MS)), 0);
        assert_eq!(history(&house).len(), 1);
        assert_eq!(stock(&house, "acme", MAY).level_units, 0);
        // The level was there all the time.
        let again = MAY + 301 * DAY_MS;
        house = wakes.bring(house, &quota(), &things_again(), again);
        let now = stock(&house, "acme", again);
        assert!(now.window.contains(Millis(again)), "{wakes:?}");
        assert_eq!((now.level_units, now.peak_units, now.unit_ms), (31, 31, 0), "{wakes:?}");
        let end = house.engine.next_timer_at();
        assert_eq!(end, now.window.end());
        house.engine.run_timers(end);
        let closed = history(&house)[1];
        let days = |ms: i64| u64::try_from(ms / DAY_MS).unwrap();
        let (lasted, whole) = (end.since(Millis(again)), end.since(now.window.start()));
        assert_eq!(measured(&closed), (31, 31 * days(lasted) / days(whole), 31), "{wakes:?}");
        assert_eq!(house.engine.usage("acme", end).unwrap().ledgers[0].used, 31);
    }
}

#[test]
fn within_one_window_it_comes_and_goes() {
    let house = House::of(things(100), 1_000_000);
    add(&house, 31, T0);
    reload(&house, &quota(), T0 + 10 * DAY_MS);
    reload(&house, &things_again(), T0 + 20 * DAY_MS);
    add(&house, 31, T0 + 21 * DAY_MS);
    house.engine.run_timers(Millis(APRIL));
    let [closed] = history(&house)[..] else { panic!("{:?}", history(&house)) };
    assert_eq!(measured(&closed), (62, 10 + 1 + 20, 62));
}

/// A start a long time after the stop: until then it was there.
#[test]
fn windows_that_ended_before_a_start_are_those_of_the_catalog_before() {
    for by in [BilledBy::End, BilledBy::Peak] {
        let mut old = things(100);
        old.features[0].kind = FeatureKindSpec::Allocation {
            billed_by: by,
            window: WindowRule::Billing { months: 1 },
        };
        let house = House::of(old.clone(), 1_000_000);
        add(&house, 31, T0);
        let house = By::Start.bring(house, &old, &quota(), MAY + DAY_MS);
        let all: Vec<_> = history(&house).iter().map(|s| (measured(s), s.rule.billed_by)).collect();
        assert_eq!(all, [((31, 31, 31), by); 2]);
        house.engine.run_timers(Millis(MAY + 90 * DAY_MS));
        assert_eq!(measured(&history(&house)[2]), (31, 1, 0));
        assert_eq!(history(&house).len(), 3);
    }
}

/// Of these a late commit or release would be the first look at the feature of before.
#[test]
fn a_hold_of_before_does_not_wake_it() {
    for op in [HoldOp::Commit { units: 7 }, HoldOp::Commit { units: 0 }, HoldOp::Release] {
        let mut house = House::of(things(100), 1_000_000);
        add(&house, 31, T0);
        let held = house.reserve("acme", 9, "held").outcome.amounts.reservation.unwrap();
        house = By::Reload.bring(house, &things(100), &quota(), T0);
        house.hold("acme", held, op, "ends").unwrap();
        house.engine.run_timers(Millis(MAY));
        house = house.reopen(quota());
        house.engine.run_timers(Millis(MAY));
        assert_eq!(stock(&house, "acme", MAY).level_units, 0, "{op:?}");
        assert_eq!(history(&house).len(), 1, "{op:?}");
        house = By::Start.bring(house, &quota(), &things_again(), MAY);
        let level = if matches!(op, HoldOp::Commit { units: 7 }) { 38 } else { 31 };
        assert_eq!(stock(&house, "acme", MAY).level_units, level, "{op:?}");
    }
}

/// A hold whose feature is a quota by now was the first use of it.
#[test]
fn what_was_first_used_at_rest_is_measured_when_it_comes_back() {
    for by in By::ALL {
        let mut house = House::of(things(100), 1_000_000);
        let held = house.reserve("acme", 9, "held").outcome.amounts.reservation.unwrap();
        reload(&house, &quota(), T0);
        house.hold("acme", held, HoldOp::Commit { units: 7 }, "ends").unwrap();
        assert_eq!(measured(&stock(&house, "acme", T0)), (0, 0, 0));
        assert_eq!(house.engine.next_timer_at(), Millis::FOREVER);
        house = by.bring(house, &quota(), &things_again(), MAY);
        assert_eq!(measured(&stock(&house, "acme", MAY)), (7, 7, 7), "{by:?}");
        assert_eq!(history(&house), []);
    }
}

/// What is gone goes on as it was: billed, or at rest.
#[test]
fn a_feature_that_left_the_catalog_goes_on_as_it_was() {
    for (was, lines) in [(things(100), 31), (quota(), 0)] {
        let mut house = House::of(things(100), 1_000_000);
        add(&house, 31, T0);
        let held = house.reserve("acme", 9, "held").outcome.amounts.reservation.unwrap();
        reload(&house, &was, T0);
        house = By::Start.bring(house, &was, &dropped(), T0);
        assert_eq!(stock(&house, "acme", T0).level_units, lines);
        house.hold("acme", held, HoldOp::Commit { units: 4 }, "ends").unwrap();
        let level = if lines > 0 { 35 } else { 0 };
        assert_eq!(stock(&house, "acme", T0).level_units, level);
        // It comes back as what it was not: only the kinds of now are asked.
        let (next, level) = if lines > 0 { (quota(), 0) } else { (things(100), 35) };
        for by in By::ALL {
            let store = house.store.clone();
            let cut = store.last();
            let copy = House::open_at(&store, (None, dropped()), house.keys_max, Millis(T0));
            let then = by.bring(copy, &dropped(), &next, T0);
            assert_eq!(stock(&then, "acme", T0).level_units, level, "{by:?}");
            store.crash(cut);
        }
    }
}

/// An earlier version went on billing what rested: that stays, and nothing comes to it.
#[test]
fn data_of_a_version_that_billed_what_rested_opens() {
    let house = House::of(things(100), 1_000_000);
    add(&house, 31, T0);
    reload(&house, &quota(), T0);
    house.store.crash(last_catalog(&house));
    let then = house.engine.usage("acme", Millis(T0)).unwrap();
    let was = Stock { level_units: 31, ..then.stocks[0] };
    let closed = Stock { unit_ms: 0, ..was };
    let closed = {
        let mut closed = closed;
        closed.count_to(Millis(APRIL));
        closed
    };
    let window = headroom_core::time::Window::new(Millis(APRIL), Millis(MAY)).unwrap();
    let open = Stock { window, unit_ms: 0, counted_to: Millis(APRIL), ..closed };
    let effects = [Effect::StockClosed(Box::new(closed), None), Effect::Stock(Box::new(open))];
    let mut bytes = Vec::new();
    record::put_noted(&mut bytes, then.serial, Millis(APRIL), &effects);
    house.store.append(&bytes, true);
    let at = APRIL + 15 * DAY_MS;
    let old = House::open_at(&house.store, (Some(quota()), quota()), 1_000_000, Millis(at));
    assert_eq!(measured(&history(&old)[0]), (31, 31, 31), "what was billed stays billed");
    assert_eq!(stock(&old, "acme", at).level_units, 0);
    old.engine.run_timers(Millis(MAY + 300 * DAY_MS));
    let all: Vec<_> = history(&old).iter().map(measured).collect();
    assert_eq!(all, [(31, 31, 31), (31, 15, 0)]);
    // The second start has nothing to do.
    let last = old.store.last();
    old.reopen(quota());
    assert_eq!(old.store.last(), last);
}

#[test]
fn what_no_plan_gives_any_more_is_measured_on() {
    // The things are there, and it is an allocation.
    let house = House::of(things(100), 1_000_000);
    add(&house, 31, T0);
    let mut none = things(100);
    for plan in &mut none.plans {
        plan.entitlements.retain(|(_, given)| !matches!(given, EntitlementSpec::Allocation { .. }));
    }
    reload(&house, &none, T0);
    house.engine.run_timers(Millis(MAY));
    assert_eq!(history(&house).iter().map(measured).collect::<Vec<_>>(), [(31, 31, 31); 2]);
}
