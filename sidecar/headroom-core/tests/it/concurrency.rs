//! Concurrency: slots that are held, and end by release or by time.

use headroom_core::account::OverrideValue;
use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec};
use headroom_core::decide::{self, Context, FeatureOp, HoldOp};
use headroom_core::decision::{Denial, LimitState, OpError, Outcome, Verdict};
use headroom_core::reservation::{ReservationId, ReservationState};
use headroom_core::signal::{SignalName, SignalState, SignalSwitches};
use headroom_core::time::Millis;

use crate::world::{DAY_MS, Dice, HOUR_MS, World, spec};

const FULL: Verdict = Verdict::Denied(Denial::ConcurrencyFull);

fn catalog(max_units: Option<u64>, soft_limits_bp: &[u32]) -> CatalogSpec {
    let mut spec = spec(&[], SignalSwitches::default());
    // Without its limits `tokens` is no good quota.
    spec.features[0] = FeatureSpec {
        feature: "jobs".to_owned(),
        kind: FeatureKindSpec::Concurrency { per: None },
        ..spec.features[0].clone()
    };
    let soft_limits_bp = soft_limits_bp.to_vec();
    let given = EntitlementSpec::Concurrency { max_units, soft_limits_bp, each: None };
    spec.plans[0].entitlements[0] = ("jobs".to_owned(), given);
    spec
}

fn world(max_units: u64, soft_limits_bp: &[u32]) -> World {
    World::of(catalog(Some(max_units), soft_limits_bp))
}

fn acquire(world: &mut World, units: u64, hold_ms: i64) -> Outcome {
    world.try_ask("jobs", FeatureOp::Reserve { units, hold_ms }).unwrap()
}

#[track_caller]
fn slot(world: &mut World, hold_ms: i64) -> ReservationId {
    let outcome = acquire(world, 1, hold_ms);
    assert!(outcome.decision.verdict.is_allowed(), "{outcome:?}");
    outcome.amounts.reservation.unwrap()
}

fn refusal(world: &mut World, units: u64) -> (Verdict, Option<i64>) {
    let decision = acquire(world, units, HOUR_MS).decision;
    (decision.verdict, decision.retry_after_ms)
}

fn state(world: &World) -> LimitState {
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    decide::limit_states(cx, &world.account, world.feature("jobs").unwrap())[0].clone()
}

#[test]
fn slots_that_are_only_watched_say_what_they_would_have_refused_and_refuse_nothing() {
    let mut spec = catalog(Some(2), &[]);
    spec.features[0].shadow = true;
    let mut world = World::of(spec);
    slot(&mut world, HOUR_MS);
    slot(&mut world, HOUR_MS);
    let third = acquire(&mut world, 1, HOUR_MS);
    assert_eq!(third.decision.shadow, Some(Denial::ConcurrencyFull));
    assert!(third.decision.verdict.is_allowed());
    assert_eq!(state(&world).ledger.reserved, 3);
    let beat = HoldOp::Extend { hold_ms: Some(2 * HOUR_MS), additional_units: 1 };
    let beat = world.try_hold(third.amounts.reservation.unwrap(), beat).unwrap();
    assert_eq!(beat.decision.shadow, Some(Denial::ConcurrencyFull));
    world.now += 2 * HOUR_MS;
    assert_eq!(acquire(&mut world, 1, HOUR_MS).decision.shadow, None, "they end as others do");
    world.account.profile.plan = world.id("bare");
    let outside = acquire(&mut world, 1, HOUR_MS);
    assert_eq!(outside.decision.shadow, Some(Denial::NotInPlan));
    assert!(outside.decision.verdict.is_allowed() && world.told().is_empty());
}

#[test]
fn as_many_as_are_allowed_come_in_and_the_next_when_one_leaves() {
    let mut world = world(2, &[]);
    let first = slot(&mut world, HOUR_MS);
    slot(&mut world, HOUR_MS);
    assert_eq!(refusal(&mut world, 1).0, FULL);
    world.try_hold(first, HoldOp::Release).unwrap();
    slot(&mut world, HOUR_MS);
    assert_eq!(refusal(&mut world, 1).0, FULL);
    let ledger = state(&world).ledger;
    assert_eq!((ledger.used, ledger.reserved, ledger.debt), (0, 2, 0));
    assert!(ledger.window.is_lifetime());
}

#[test]
fn a_crashed_client_does_not_hold_a_slot_for_ever() {
    let mut world = world(1, &[]);
    let lost = slot(&mut world, 30_000);
    assert_eq!(refusal(&mut world, 1), (FULL, Some(30_000)));
    world.now += 29_999;
    assert_eq!(refusal(&mut world, 1), (FULL, Some(1)));
    world.now += 1;
    slot(&mut world, HOUR_MS);
    // The one who was thought dead is told that the slot is gone, and takes nobody else's.
    let closed = OpError::ReservationClosed { state: ReservationState::Expired };
    let beat = HoldOp::Extend { hold_ms: Some(HOUR_MS), additional_units: 0 };
    assert_eq!(world.try_hold(lost, beat), Err(closed));
    let late = world.try_hold(lost, HoldOp::Release).unwrap().amounts;
    assert_eq!((late.units, late.late), (0, true));
    assert_eq!(state(&world).ledger.reserved, 1);
}

#[test]
fn a_heartbeat_keeps_a_slot() {
    let mut world = world(1, &[]);
    let id = slot(&mut world, 10);
    for _ in 0..50 {
        world.now += 9;
        world.try_hold(id, HoldOp::Extend { hold_ms: Some(10), additional_units: 0 }).unwrap();
        assert_eq!(world.told(), []);
    }
    assert_eq!(refusal(&mut world, 1), (FULL, Some(10)));
}

#[test]
fn retry_after_is_when_enough_holds_have_ended() {
    let mut world = world(4, &[]);
    for hold_ms in [300, 100, 200, 400] {
        slot(&mut world, hold_ms);
    }
    assert_eq!(refusal(&mut world, 1), (FULL, Some(100)));
    assert_eq!(refusal(&mut world, 3), (FULL, Some(300)));
    assert_eq!(refusal(&mut world, 4), (FULL, Some(400)));
    assert_eq!(refusal(&mut world, 5), (FULL, None), "never");
    let check = world.try_ask("jobs", FeatureOp::Check { units: 2, attempt: false }).unwrap();
    assert_eq!((check.decision.verdict, check.decision.retry_after_ms), (FULL, Some(200)));
    world.now += 300;
    acquire(&mut world, 3, 1);
    assert_eq!(state(&world).ledger.reserved, 4);
}

#[test]
fn nothing_of_a_concurrency_is_ever_used() {
    let mut world = world(2, &[]);
    let id = slot(&mut world, HOUR_MS);
    for op in [FeatureOp::Consume { units: 1 }, FeatureOp::Record { units: 1 }] {
        assert_eq!(world.try_ask("jobs", op), Err(OpError::SlotsAreHeld), "{op:?}");
    }
    assert_eq!(world.try_hold(id, HoldOp::Commit { units: 1 }), Err(OpError::SlotsAreHeld));
    // To commit nothing is to release, here as everywhere.
    world.try_hold(id, HoldOp::Commit { units: 0 }).unwrap();
    assert_eq!(state(&world).ledger.reserved, 0);
    world.account.profile.plan = world.id("bare");
    let record = world.try_ask("jobs", FeatureOp::Record { units: 1 });
    assert_eq!(record, Err(OpError::SlotsAreHeld));
}

#[test]
fn a_slot_is_never_committed_even_when_its_feature_became_a_quota() {
    let mut world = world(2, &[]);
    let id = slot(&mut world, HOUR_MS);
    let mut changed = spec(
        &[crate::world::daily(5, headroom_core::catalog::Policy::Block)],
        SignalSwitches::default(),
    );
    changed.features[0].feature = "jobs".to_owned();
    changed.plans[0].entitlements[0].0 = "jobs".to_owned();
    world.install(changed);
    assert_eq!(world.try_hold(id, HoldOp::Commit { units: 1 }), Err(OpError::SlotsAreHeld));
    world.try_hold(id, HoldOp::Extend { hold_ms: Some(DAY_MS), additional_units: 0 }).unwrap();
    let more = HoldOp::Extend { hold_ms: None, additional_units: 1 };
    assert_eq!(world.try_hold(id, more).unwrap().decision.verdict, FULL);
    world.try_hold(id, HoldOp::Release).unwrap();
    assert!(world.account.ledgers().iter().all(|l| (l.used, l.reserved) == (0, 0)));
}

#[test]
fn when_fewer_are_allowed_those_who_are_in_stay_and_nobody_comes_in() {
    let mut world = world(4, &[]);
    let ids: Vec<ReservationId> = (1..=4).map(|k| slot(&mut world, k * HOUR_MS)).collect();
    world.install(catalog(Some(2), &[]));
    assert_eq!(refusal(&mut world, 1), (FULL, Some(3 * HOUR_MS)), "three of four have to end");
    for id in &ids {
        let beat = HoldOp::Extend { hold_ms: Some(4 * HOUR_MS), additional_units: 0 };
        assert!(world.try_hold(*id, beat).unwrap().decision.verdict.is_allowed());
        assert_eq!(world.told(), [], "to stay is no news");
    }
    for id in &ids[..2] {
        world.try_hold(*id, HoldOp::Release).unwrap();
        assert_eq!(refusal(&mut world, 1).0, FULL);
    }
    world.try_hold(ids[2], HoldOp::Release).unwrap();
    slot(&mut world, HOUR_MS);
    assert_eq!(refusal(&mut world, 1).0, FULL);
}

#[test]
fn an_override_is_the_most_at_a_time_and_keeps_the_thresholds() {
    let mut world = world(1, &[5_000]);
    let limit = world.id("concurrent");
    let allow = |included_units| OverrideValue::Limit { limit, included_units };
    world.put_override("jobs", allow(Some(2)));
    let outcome = acquire(&mut world, 1, HOUR_MS);
    assert_eq!(outcome.decision.verdict, Verdict::SoftLimit, "one of two is half");
    slot(&mut world, HOUR_MS);
    assert_eq!(refusal(&mut world, 1).0, FULL);
    world.put_override("jobs", allow(None));
    for _ in 0..9 {
        slot(&mut world, HOUR_MS);
    }
    assert_eq!(state(&world).drawable_units_remaining(), None);
    world.account.profile.plan = world.id("bare");
    world.put_override("jobs", allow(Some(12)));
    slot(&mut world, HOUR_MS);
    assert_eq!(refusal(&mut world, 1).0, FULL, "also where the plan has none");
}

#[test]
fn thresholds_look_at_what_is_held() {
    let mut world = world(4, &[5_000, 7_500]);
    let ids: Vec<ReservationId> = (0..2).map(|_| slot(&mut world, HOUR_MS)).collect();
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![5_000])]);
    let signal = world.signals()[0].clone();
    assert_eq!((signal.previous_units, signal.current_units, signal.included_units), (1, 2, 4));
    assert_eq!(state(&world).passed_bp.to_vec(), [5_000]);
    let both = acquire(&mut world, 2, HOUR_MS);
    assert_eq!(both.decision.verdict, Verdict::SoftLimit);
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![7_500, 10_000])]);
    refusal(&mut world, 1);
    assert_eq!(world.told(), [(SignalName::FeatureLimitHit, vec![])]);
    assert_eq!(world.signals()[0].current_units, 4);
    refusal(&mut world, 1);
    assert_eq!(world.told(), [], "once");
    let release = world.try_hold(ids[0], HoldOp::Release).unwrap();
    assert_eq!(release.decision.verdict, Verdict::SoftLimit);
    assert_eq!(state(&world).passed_bp.to_vec(), [5_000, 7_500]);
}

#[test]
fn an_excursion_ends_below_half_of_the_lowest_threshold() {
    // The lowest is 4 of 5, so it ends below 2.
    let mut world = world(5, &[8_000]);
    let crossed = [(SignalName::UsageCeiling, vec![8_000])];
    let mut ids: Vec<ReservationId> = (0..4).map(|_| slot(&mut world, DAY_MS)).collect();
    assert_eq!(world.told(), crossed);
    let mut down_and_up = |down_to: usize, after_ms: i64| {
        world.now += after_ms;
        for id in ids.split_off(down_to) {
            world.try_hold(id, HoldOp::Release).unwrap();
        }
        while ids.len() < 4 {
            ids.push(slot(&mut world, DAY_MS));
        }
        (world.told(), world.signals().first().map(|signal| signal.limit_revision))
    };
    assert_eq!(down_and_up(3, HOUR_MS), (vec![], None));
    assert_eq!(down_and_up(2, 0), (vec![], None));
    assert_eq!(down_and_up(1, 0), (crossed.to_vec(), Some(2)), "an excursion of its own");
    assert_eq!(down_and_up(2, HOUR_MS), (vec![], None));
    assert_eq!(down_and_up(0, 0), (crossed.to_vec(), Some(3)));
}

#[test]
fn slots_that_come_and_go_are_told_once_an_hour() {
    let mut world = world(1, &[]);
    let mut told = Vec::new();
    for minute in 0..150 {
        let id = slot(&mut world, HOUR_MS);
        if !world.told().is_empty() {
            told.push((minute, world.signals()[0].limit_revision));
        }
        world.try_hold(id, HoldOp::Release).unwrap();
        world.now += 60_000;
    }
    assert_eq!(told, [(0, 1), (60, 2), (120, 3)]);
}

#[test]
fn an_excursion_also_ends_by_time_alone() {
    let mut world = world(1, &[]);
    for _ in 0..3 {
        world.now += HOUR_MS;
        slot(&mut world, 10);
        assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![10_000])]);
        assert_eq!(world.signals()[0].previous_state, SignalState::Ok);
        refusal(&mut world, 1);
        assert_eq!(world.told(), [(SignalName::FeatureLimitHit, vec![])]);
        refusal(&mut world, 1);
        assert_eq!(world.told(), []);
        world.now += 10;
    }
}

#[test]
fn holds_never_exceed_the_most_and_add_up_after_any_sequence() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let most = 1 + dice.below(5);
        let mut world = world(most, &[5_000]);
        // Each slot's id, units and end, by the clock alone.
        let mut slots: Vec<(ReservationId, u64, i64)> = Vec::new();
        for step in 0..120 {
            world.now += i64::try_from(dice.below(4)).unwrap();
            slots.retain(|(_, _, ends_at)| world.now < *ends_at);
            let held: u64 = slots.iter().map(|(_, units, _)| units).sum();
            let case = format!("seed {seed}, step {step}");
            assert!(held <= most, "{case}");
            let units = 1 + dice.below(3);
            let hold_ms = 1 + i64::try_from(dice.below(12)).unwrap();
            let place = usize::try_from(dice.below(slots.len().max(1) as u64)).unwrap();
            match dice.below(4) {
                0 if !slots.is_empty() => {
                    let (id, held_units, _) = slots.remove(place);
                    let gone = world.try_hold(id, HoldOp::Release).unwrap();
                    assert_eq!(gone.amounts.units, held_units, "{case}");
                }
                1 if !slots.is_empty() => {
                    let (id, held_units, ends_at) = &mut slots[place];
                    let beat = HoldOp::Extend { hold_ms: Some(hold_ms), additional_units: units };
                    let outcome = world.try_hold(*id, beat).unwrap();
                    let fits = held + units <= most;
                    assert_eq!(outcome.decision.verdict.is_allowed(), fits, "{case}");
                    if fits {
                        *held_units += units;
                        *ends_at = (world.now + hold_ms).max(*ends_at);
                    }
                }
                _ => {
                    let outcome = acquire(&mut world, units, hold_ms);
                    let fits = held + units <= most;
                    assert_eq!(outcome.decision.verdict.is_allowed(), fits, "{case}");
                    if let Some(id) = outcome.amounts.reservation {
                        slots.push((id, units, world.now + hold_ms));
                    } else {
                        // The time that was told is the first at which it fits.
                        let held_at = |ms: i64| -> u64 {
                            let open = slots.iter().filter(|(_, _, ends)| world.now + ms < *ends);
                            open.map(|(_, units, _)| units).sum()
                        };
                        match outcome.decision.retry_after_ms {
                            None => assert!(units > most, "{case}"),
                            Some(ms) => {
                                assert!(held_at(ms) + units <= most, "{case}");
                                assert!(held_at(ms - 1) + units > most, "{case}");
                            }
                        }
                    }
                }
            }
            let held: u64 = slots.iter().map(|(_, units, _)| units).sum();
            assert_eq!(state(&world).ledger.reserved, held, "{case}");
        }
    }
}
