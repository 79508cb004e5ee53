//! What holds after any sequence of requests: nothing is lost, nothing is admitted past a ceiling,
//! and effects applied twice change nothing.

use std::collections::BTreeMap;

use headroom_core::account::Account;
use headroom_core::catalog::Policy;
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::effect::Effect;
use headroom_core::limits::HOLD_MS_MAX;
use headroom_core::names::NameId;
use headroom_core::reservation::ReservationId;
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};

use crate::world::{DAY_MS, Dice, HOUR_MS, Limit, World, daily, total, unlimited};

const SEQUENCES: u64 = 400;
const REQUESTS: usize = 120;

fn worlds(dice: &mut Dice) -> World {
    let monthly = |included, policy| Limit {
        limit: "monthly",
        window: WindowRule::Billing { months: 1 },
        ..daily(included, policy)
    };
    let hourly = |included, policy| Limit {
        limit: "hourly",
        window: WindowRule::Calendar(CalendarUnit::Hour),
        ..daily(included, policy)
    };
    let grace = Policy::Grace { grace_bp: 3_000 };
    let every = |count| Every { count, unit: SpanUnit::Hour };
    let first_use = |included, policy| Limit {
        limit: "session",
        window: WindowRule::FirstUse(every(5)),
        ..daily(included, policy)
    };
    let sliding = |included, policy| Limit {
        limit: "last",
        window: WindowRule::Sliding(every(72)),
        ..daily(included, policy)
    };
    World::new(&match dice.below(6) {
        0 => vec![daily(10, Policy::Block)],
        1 => vec![hourly(8, Policy::Block), daily(20, grace).soft(&[5_000])],
        2 => vec![monthly(15, grace), total(60, Policy::Block), daily(9, Policy::Overage)],
        3 => vec![first_use(9, Policy::Block), sliding(20, grace).soft(&[5_000])],
        4 => vec![sliding(12, Policy::Block), first_use(30, Policy::Overage)],
        _ => vec![unlimited(), monthly(12, Policy::Block).soft(&[8_000])],
    })
}

/// One request at random; what it booked.
fn step(world: &mut World, dice: &mut Dice, holds: &mut Vec<ReservationId>) -> u64 {
    world.now += match dice.below(12) {
        0 => i64::try_from(dice.below(40 * 24)).unwrap() * HOUR_MS,
        1..=3 => i64::try_from(dice.below(120)).unwrap() * 60_000,
        _ => i64::try_from(dice.below(3)).unwrap(),
    };
    let units = 1 + dice.below(6);
    let hold_ms = *[1, HOUR_MS, DAY_MS, HOLD_MS_MAX].get(dice.below(4) as usize).unwrap();
    let id = match holds.len() as u64 {
        0 => ReservationId(dice.below(3)),
        count => holds[(count - 1 - dice.below(count.min(4))) as usize],
    };
    let outcome = match dice.below(8) {
        0 | 1 => world.try_ask("tokens", FeatureOp::Consume { units }),
        2 | 3 => world.try_ask("tokens", FeatureOp::Reserve { units, hold_ms }),
        4 => world.try_ask("tokens", FeatureOp::Record { units }),
        5 => world.try_hold(id, HoldOp::Commit { units: units - 1 }),
        6 => world.try_hold(id, HoldOp::Extend { hold_ms: Some(hold_ms), additional_units: units }),
        _ if dice.below(2) == 0 => world.try_hold(id, HoldOp::Release),
        _ => world.try_ask("tokens", FeatureOp::Check { units, attempt: true }),
    };
    let Ok(outcome) = outcome else { return 0 };
    let reserved = world.last.iter().any(|effect| {
        matches!(effect, Effect::Reservation(r) if r.state == headroom_core::reservation::ReservationState::Open)
    });
    let committed = world.last.iter().any(|effect| {
        use headroom_core::reservation::ReservationState::Committed;
        matches!(effect, Effect::Reservation(r) if matches!(r.state, Committed { .. }))
    });
    if reserved {
        holds.extend(outcome.amounts.reservation.filter(|id| !holds.contains(id)));
    }
    let booked = outcome.amounts.reservation.is_none() || committed;
    if booked { outcome.amounts.units } else { 0 }
}

/// Used units of each limit over all windows, open and closed.
fn used(world: &World) -> BTreeMap<NameId, u64> {
    let mut used = BTreeMap::new();
    let closed = world.closed();
    for ledger in world.account.ledgers().iter().chain(&closed) {
        *used.entry(ledger.limit).or_default() += ledger.used;
    }
    used
}

fn check_invariants(world: &World, booked: u64, case: &str) {
    for (limit, units) in used(world) {
        assert_eq!(units, booked, "{case}: limit {limit:?} lost or doubled units");
    }
    for ledger in world.account.ledgers() {
        assert!(ledger.is_sound(), "{case}: {ledger:?}");
        let limit = world.catalog.text(ledger.limit);
        let state = world.state(limit);
        if let Some(ceiling) = state.ceiling_units {
            // Only records and surplus commits take a ledger past its ceiling, and that is debt.
            assert!(ledger.held() <= ceiling + ledger.debt, "{case}: {ledger:?}");
        }
    }
    // Windows of one limit do not overlap, closed or not.
    let closed = world.closed();
    let mut windows: Vec<_> = world.account.ledgers().iter().chain(&closed).collect();
    windows.sort_by_key(|ledger| (ledger.limit, ledger.window));
    for pair in windows.windows(2) {
        let apart = pair[0].window.end() <= pair[1].window.start();
        assert!(pair[0].limit != pair[1].limit || apart, "{case}: {pair:?}");
    }
    let open = |account: &Account| {
        account.reservations().map_or(0, |all| {
            use headroom_core::reservation::ReservationState::Open;
            all.iter().filter(|r| r.state == Open).map(|r| r.units).sum::<u64>()
        })
    };
    let mut reserved: BTreeMap<NameId, u64> = BTreeMap::new();
    for ledger in world.account.ledgers() {
        *reserved.entry(ledger.limit).or_default() += ledger.reserved;
    }
    for (limit, units) in reserved {
        assert_eq!(units, open(&world.account), "{case}: limit {limit:?} holds for nobody");
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_admitted_past_a_ceiling() {
    for seed in 0..SEQUENCES {
        let mut dice = Dice(seed);
        let mut world = worlds(&mut dice);
        let (mut holds, mut booked) = (Vec::new(), 0);
        for place in 0..REQUESTS {
            booked += step(&mut world, &mut dice, &mut holds);
            check_invariants(&world, booked, &format!("seed {seed}, request {place}"));
        }
    }
}

#[test]
fn effects_applied_again_change_nothing() {
    for seed in 0..SEQUENCES {
        let mut dice = Dice(seed);
        let mut world = worlds(&mut dice);
        let mut holds = Vec::new();
        for _ in 0..REQUESTS {
            step(&mut world, &mut dice, &mut holds);
            let before = world.account.clone();
            for effect in &world.last {
                world.account.apply(effect);
            }
            assert_eq!(world.account, before, "seed {seed}");
        }
    }
}

#[test]
fn the_effects_alone_rebuild_the_account() {
    for seed in 0..SEQUENCES {
        let mut dice = Dice(seed);
        let mut world = worlds(&mut dice);
        let mut rebuilt = world.account.clone();
        let mut holds = Vec::new();
        for _ in 0..REQUESTS {
            step(&mut world, &mut dice, &mut holds);
        }
        for effect in &world.effects {
            rebuilt.apply(effect);
        }
        assert_eq!(rebuilt, world.account, "seed {seed}");
    }
}
