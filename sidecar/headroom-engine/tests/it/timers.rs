//! What happens by time alone happens without traffic, once, and also after a restart.

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, LimitSpec, PlanLimitSpec, Policy,
};
use headroom_core::decide::FeatureOp;
use headroom_core::decision::Verdict;
use headroom_core::effect::Effect;
use headroom_core::limits::{OPEN_RESERVATIONS_MAX, UNITS_MAX};
use headroom_core::policy::GraceTerms;
use headroom_core::signal::SignalName;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::ports::{Seq, StoreRefusal};
use headroom_engine::record::{self, Record};

use crate::house::{DAY_MS, HOUR_MS, House, T0, spec};

/// 10 units and three days of grace, announced a day before its end.
fn graceful() -> CatalogSpec {
    let mut spec = spec(10, Some("free"));
    let EntitlementSpec::Quota { limits } = &mut spec.plans[0].entitlements[0].1 else { panic!() };
    limits[0].policy = Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE };
    let (lasts_ms, notice_ms) = (Some(3 * DAY_MS), DAY_MS);
    limits[0].terms.grace = Some(GraceTerms { lasts_ms, notice_ms, times: None });
    spec
}

/// Accounts told of by a signal, as far as the journal goes.
fn told(house: &House, name: SignalName) -> Vec<u32> {
    let mut told = Vec::new();
    for (_, stored) in house.store.since(Seq(0)) {
        let (Record::Decided { serial, effects, .. } | Record::Noted { serial, effects, .. }) =
            record::take(&stored.bytes).unwrap()
        else {
            continue;
        };
        let of = |e: &&Effect| matches!(e, Effect::Signal(signal) if signal.name == name);
        told.extend(effects.iter().filter(of).map(|_| serial));
    }
    told
}

/// What the store takes in one record.
const RECORD_BYTES_MAX: usize = 16 << 20;

const ENDING: SignalName = SignalName::GraceEnding;
const NOTICE: i64 = T0 + 2 * DAY_MS;

#[test]
fn a_grace_about_to_end_is_announced_without_traffic_and_once() {
    let house = House::of(graceful(), 1_000);
    for place in 0..3_000 {
        house.consume(&format!("a{place}"), if place < 2_000 { 11 } else { 10 }, "k");
    }
    assert_eq!(house.engine.next_timer_at(), Millis(NOTICE));
    assert_eq!(house.engine.run_timers(Millis(NOTICE - 1)), 0);
    assert_eq!(told(&house, ENDING), []);
    assert_eq!(house.engine.run_timers(Millis(NOTICE)), 2_000);
    let mut all = told(&house, ENDING);
    all.sort_unstable();
    assert_eq!(all, (0..2_000).collect::<Vec<u32>>());
    assert_eq!(house.engine.run_timers(Millis(NOTICE + DAY_MS)), 0);
    assert_eq!(house.engine.next_timer_at(), Millis::FOREVER);
    assert_eq!(told(&house, ENDING).len(), 2_000);
}

/// Alerts that come twice or never: whichever record a kill -9 loses.
#[test]
fn an_announcement_is_neither_lost_nor_doubled_by_a_restart() {
    for (checkpoint, lose) in [(false, false), (false, true), (true, false), (true, true)] {
        let house = House::of(graceful(), 1_000);
        house.consume("acme", 11, "k");
        if checkpoint {
            house.store.keep(house.checkpoint());
        }
        let house = house.reopen(graceful());
        let before = house.store.last();
        assert_eq!(house.engine.run_timers(Millis(NOTICE)), 1, "also right after a start");
        assert_eq!(told(&house, ENDING), [0]);
        if lose {
            house.store.crash(before);
        } else if checkpoint {
            house.store.keep(house.checkpoint());
        }
        let house = house.reopen(graceful());
        assert_eq!(house.engine.run_timers(Millis(NOTICE)), usize::from(lose));
        assert_eq!(told(&house, ENDING), [0], "checkpoint {checkpoint}, lost {lose}");
    }
}

#[test]
fn whoever_asks_first_hears_it_and_the_timer_is_off() {
    let house = House::of(graceful(), 1_000);
    house.consume("acme", 11, "k");
    let check = FeatureOp::Check { units: 1, attempt: false };
    house.ask("acme", check, "", NOTICE).unwrap();
    assert_eq!(told(&house, ENDING), [0]);
    assert_eq!(house.engine.run_timers(Millis(NOTICE)), 0);
    assert_eq!(told(&house, ENDING), [0]);
}

#[test]
fn without_room_an_announcement_waits_until_there_is_some() {
    let house = House::of(graceful(), 1_000);
    house.consume("acme", 11, "k");
    house.store.set_refusal(Some(StoreRefusal::NoRoom));
    assert_eq!(house.engine.run_timers(Millis(NOTICE)), 0);
    house.store.set_refusal(None);
    assert_eq!(house.engine.run_timers(Millis(NOTICE + HOUR_MS)), 1);
    assert_eq!(told(&house, ENDING), [0]);
}

/// A buyer still blocked after paying: the same key is no memory of the refusal.
#[test]
fn whoever_pays_after_the_grace_has_run_out_is_admitted_with_the_same_key() {
    let house = House::of(graceful(), 1_000);
    house.consume("acme", 11, "a");
    let later = T0 + 4 * DAY_MS;
    let consume = FeatureOp::Consume { units: 5 };
    let refused = house.ask("acme", consume, "b", later).unwrap();
    assert!(!refused.outcome.decision.verdict.is_allowed());
    house.subscribe("acme", "pro");
    let admitted = house.ask("acme", consume, "b", later).unwrap();
    assert_eq!(admitted.outcome.decision.verdict, Verdict::Allowed);
}

#[test]
fn what_ends_at_once_fits_one_record() {
    // A worker that dies leaves all that it held to end together; each is held by eight limits.
    let mut spec = spec(UNITS_MAX / 100, Some("free"));
    let FeatureKindSpec::Quota { limits } = &mut spec.features[0].kind else { panic!() };
    let names: Vec<String> = (0..8).map(|n| format!("limit_{n}")).collect();
    let window = WindowRule::Calendar(CalendarUnit::Month);
    let shape = |limit: &String| LimitSpec { limit: limit.clone(), window, per: None };
    *limits = names.iter().map(shape).collect();
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = &mut plan.entitlements[0].1 else { panic!() };
        let given = |limit: &String| PlanLimitSpec { limit: limit.clone(), ..limits[0].clone() };
        *limits = names.iter().map(given).collect();
    }
    let house = House::of(spec, 100_000);
    for n in 0..OPEN_RESERVATIONS_MAX {
        house.reserve("acme", 1_000_000_000, &format!("k{n}"));
    }
    let before = house.store.since(Seq(0)).len();
    assert_eq!(
        house.ask("acme", FeatureOp::Consume { units: 1 }, "after", T0 + DAY_MS / 2).map(|_| ()),
        Ok(())
    );
    let records = house.store.since(Seq(0));
    let largest = records[before..].iter().map(|(_, stored)| stored.bytes.len()).max().unwrap();
    // Ten times as many may be forgotten at once, each with a tenth of the bytes.
    assert!((1 << 19..RECORD_BYTES_MAX / 4).contains(&largest), "{largest} bytes");
}
