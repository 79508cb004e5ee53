//! Holds that outlive the window of their admission: what each answer says, and where units count.

use headroom_core::catalog::Policy;
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Amounts, Denial, LimitState, Outcome, Verdict};
use headroom_core::effect::Effect;
use headroom_core::reservation::ReservationId;
use headroom_core::window::{Every, SpanUnit, WindowRule};

use crate::credits;
use crate::subjects::{ask, catalog, counts, own};
use crate::world::{DAY_MS, Dice, HOUR_MS, Limit, T0, World, daily, total, unlimited};

const DAY_1: i64 = T0 - 12 * HOUR_MS;
const DAY_2: i64 = DAY_1 + DAY_MS;

fn more(units: u64) -> HoldOp {
    HoldOp::Extend { hold_ms: None, additional_units: units }
}

/// Holds units for three days.
fn hold(world: &mut World, units: u64) -> ReservationId {
    world.ask(FeatureOp::Reserve { units, hold_ms: 3 * DAY_MS }).amounts.reservation.unwrap()
}

fn binding(outcome: &Outcome) -> &LimitState {
    outcome.decision.binding.as_ref().unwrap()
}

/// Start of the window that the answer is about, used and reserved in it, and the units held.
fn said(outcome: &Outcome) -> (i64, u64, u64, u64) {
    let ledger = binding(outcome).ledger;
    (ledger.window.start().0, ledger.used, ledger.reserved, outcome.amounts.units)
}

/// What each day of the daily limit holds, in memory or closed: start, used and reserved.
fn days(world: &World) -> Vec<(i64, u64, u64)> {
    let limit = world.id("daily");
    let mut days: Vec<_> = world.account.ledgers().iter().copied().chain(world.closed()).collect();
    days.retain(|ledger| ledger.limit == limit);
    days.sort_by_key(|ledger| ledger.window.start());
    days.iter().map(|day| (day.window.start().0, day.used, day.reserved)).collect()
}

#[test]
fn every_answer_after_the_end_of_its_window_is_about_one_window() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = hold(&mut world, 6);
    let longer = HoldOp::Extend { hold_ms: Some(4 * DAY_MS), additional_units: 0 };
    let part = HoldOp::CommitPart { units: 2, hold_ms: None };
    world.now += DAY_MS;

    // Time alone moves nothing, and a part is of the window of the admission.
    assert_eq!(said(&world.try_hold(id, longer).unwrap()), (DAY_1, 0, 6, 6));
    assert_eq!(said(&world.try_hold(id, part).unwrap()), (DAY_1, 2, 4, 2));

    // The new day has room for 10 and would have to hold 11.
    let refused = world.try_hold(id, more(7)).unwrap();
    assert_eq!(refused.decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(said(&refused), (DAY_2, 0, 0, 4), "what it holds is told, and where there is room");
    let (reservation, expires_at) = (Some(id), refused.amounts.expires_at);
    let stays = Amounts { reservation, expires_at, units: 4, ..Amounts::default() };
    assert_eq!(refused.amounts, stays);
    assert_eq!(refused.amounts.expires_at.unwrap().0, DAY_2 + 12 * HOUR_MS + 4 * DAY_MS);
    assert_eq!(days(&world), [(DAY_1, 2, 4), (DAY_2, 0, 0)], "a refusal moves nothing");

    // The growth is of the new day, and so is what is held.
    let grown = world.try_hold(id, more(6)).unwrap();
    assert_eq!(grown.decision.verdict, Verdict::Allowed);
    assert_eq!(said(&grown), (DAY_2, 0, 10, 10));
    assert_eq!(days(&world), [(DAY_1, 2, 0), (DAY_2, 0, 10)]);
    assert_eq!(world.closed().len(), 1, "nothing can come to the day that was left");
    assert_eq!(said(&world.try_hold(id, part).unwrap()), (DAY_2, 2, 8, 2));
    let amounts = world.commit(id, 5).amounts;
    assert_eq!((amounts.surplus_units, amounts.debt_units), (0, 0));
    assert_eq!(days(&world), [(DAY_1, 2, 0), (DAY_2, 7, 0)]);
}

#[test]
fn a_hold_that_has_grown_is_released_where_it_has_come_to() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let (id, other) = (hold(&mut world, 4), hold(&mut world, 3));
    world.now += DAY_MS;
    world.try_hold(id, more(1)).unwrap();
    assert_eq!(days(&world), [(DAY_1, 0, 3), (DAY_2, 0, 5)]);
    assert_eq!(said(&world.try_hold(id, HoldOp::Release).unwrap()), (DAY_2, 0, 0, 5));
    // One that does not grow is of its day, also when it comes late.
    assert_eq!(said(&world.commit(other, 9)), (DAY_1, 9, 0, 9));
    assert_eq!(days(&world), [(DAY_1, 9, 0), (DAY_2, 0, 0)]);
}

#[test]
fn a_stream_that_outlives_its_window_grows_in_the_new_one_beside_others() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = hold(&mut world, 10);
    assert!(!world.try_hold(id, more(1)).unwrap().decision.verdict.is_allowed(), "day 1 is full");
    world.now += DAY_MS;
    world.consume(5);
    let refused = world.try_hold(id, more(1)).unwrap();
    assert_eq!(said(&refused), (DAY_2, 5, 0, 10), "10 held, 5 used there and 1 more");
    world.try_hold(id, HoldOp::CommitPart { units: 7, hold_ms: None }).unwrap();
    assert_eq!(said(&world.try_hold(id, more(2)).unwrap()), (DAY_2, 5, 5, 5));
    assert_eq!(world.check(1).decision.verdict, Verdict::Denied(Denial::InFlight));
    assert_eq!(days(&world), [(DAY_1, 7, 0), (DAY_2, 5, 5)]);
}

#[test]
fn of_parallel_limits_only_those_move_whose_window_is_over() {
    let mut world = World::new(&[daily(10, Policy::Block), total(13, Policy::Block)]);
    let id = hold(&mut world, 8);
    world.now += DAY_MS;
    let refused = world.try_hold(id, more(6)).unwrap();
    assert_eq!(binding(&refused).ledger.limit, world.id("daily"));
    assert_eq!(said(&refused), (DAY_2, 0, 0, 8));
    let grown = world.try_hold(id, more(2)).unwrap();
    assert_eq!(said(&grown), (DAY_2, 0, 10, 10));
    assert_eq!(world.state("total").ledger.reserved, 10);
    world.try_hold(id, HoldOp::CommitPart { units: 10, hold_ms: None }).unwrap();
    world.now += DAY_MS;
    // The day after has room, but not the limit that does not end.
    let refused = world.try_hold(id, more(4)).unwrap();
    assert_eq!(binding(&refused).ledger.limit, world.id("total"));
    assert_eq!((binding(&refused).ledger.used, refused.amounts.units), (10, 0));
    assert!(world.try_hold(id, more(3)).unwrap().decision.verdict.is_allowed());
    world.commit(id, 3);
    assert_eq!(world.state("total").ledger.used, 13);
    assert_eq!(world.counts(), (3, 0, 0));
}

#[test]
fn growth_begins_a_window_of_first_use_and_a_refused_one_does_not() {
    let five_hours = WindowRule::FirstUse(Every { count: 5, unit: SpanUnit::Hour });
    let mut world = World::new(&[Limit { window: five_hours, ..daily(10, Policy::Block) }]);
    let id = hold(&mut world, 8);
    world.now += DAY_MS;
    let refused = world.try_hold(id, more(3)).unwrap();
    assert!(!refused.decision.verdict.is_allowed());
    assert_eq!(world.account.ledgers().len(), 1);
    assert_eq!(said(&world.try_hold(id, more(1)).unwrap()), (T0 + DAY_MS, 0, 9, 9));
    assert_eq!(days(&world), [(T0, 0, 0), (T0 + DAY_MS, 0, 9)]);
}

#[test]
fn a_watched_feature_is_let_go_on_in_the_window_of_now() {
    let mut spec = crate::world::spec(&[daily(10, Policy::Block)], Default::default());
    spec.features[0].shadow = true;
    let mut world = World::of(spec);
    let id = hold(&mut world, 10);
    world.now += DAY_MS;
    let grown = world.try_hold(id, more(5)).unwrap();
    assert_eq!(grown.decision.verdict, Verdict::Unbacked);
    assert_eq!(grown.decision.shadow, Some(Denial::QuotaExhausted));
    assert_eq!(said(&grown), (DAY_2, 0, 15, 15));
}

#[test]
fn windows_of_subjects_are_left_like_those_of_the_account() {
    let mut world = World::of(catalog(&[unlimited(), own(9)]));
    let op = FeatureOp::Reserve { units: 5, hold_ms: 3 * DAY_MS };
    let id = ask(&mut world, "user:x", op).unwrap().amounts.reservation.unwrap();
    world.now += DAY_MS;
    let refused = world.try_hold(id, more(5)).unwrap();
    assert_eq!(refused.decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(binding(&refused).subject(), Some("user:x"));
    assert_eq!(said(&refused), (DAY_2, 0, 0, 5));
    assert_eq!(days(&world), [(DAY_1, 0, 5)], "all move or none");
    assert_eq!(said(&world.try_hold(id, more(4)).unwrap()), (DAY_2, 0, 9, 9));
    assert_eq!(days(&world), [(DAY_1, 0, 0), (DAY_2, 0, 9)]);
    assert_eq!(counts(&world), [("user:x".to_owned(), 0, 9)]);
    let used = ask(&mut world, "user:x", FeatureOp::Consume { units: 1 }).unwrap();
    assert_eq!(used.decision.verdict, Verdict::Denied(Denial::InFlight));
    world.commit(id, 9);
    assert_eq!(counts(&world), [("user:x".to_owned(), 9, 0)]);
}

#[test]
fn a_pool_that_cannot_pay_for_growth_leaves_the_hold_in_its_window_and_says_so() {
    // 3 credits for 10 units.
    let mut world = World::of(credits::spec_of(&credits::terms(4), WindowRule::Lifetime, 20));
    let id = hold(&mut world, 10);
    world.now += DAY_MS;
    let refused = world.try_hold(id, more(10)).unwrap();
    assert_eq!(refused.decision.verdict, Verdict::Denied(Denial::InFlight), "it holds 3 of 4");
    assert_eq!(refused.amounts.units, 10);
    assert_eq!(refused.amounts.expires_at.unwrap().0, T0 + 3 * DAY_MS);
    assert_eq!(days(&world), [(DAY_1, 0, 10)]);
    let grown = world.try_hold(id, more(3)).unwrap();
    assert_eq!((grown.decision.verdict.is_allowed(), grown.amounts.units), (true, 13));
    assert_eq!(days(&world), [(DAY_1, 0, 0), (DAY_2, 0, 13)]);
}

#[test]
fn a_barred_account_is_told_what_its_hold_still_holds() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let id = hold(&mut world, 6);
    world.account.profile.suspended = true;
    let refused = world.try_hold(id, more(1)).unwrap();
    assert_eq!(refused.decision.verdict, Verdict::Denied(Denial::AccountSuspended));
    assert_eq!(refused.amounts.units, 6);
}

#[test]
fn no_window_ever_admits_more_than_its_limit_however_holds_grow() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut world = World::new(&[daily(20, Policy::Block), total(100, Policy::Block)]);
        let mut holds: Vec<ReservationId> = Vec::new();
        let mut grown_later = 0;
        for _ in 0..60 {
            world.now += i64::try_from(dice.below(8)).unwrap() * HOUR_MS;
            let units = 1 + dice.below(6);
            let held = |world: &World, id| {
                let held = world.account.reservations().and_then(|all| all.get(id));
                held.filter(|held| world.now < held.expires_at.0).map_or(0, |held| held.units)
            };
            holds.retain(|id| held(&world, *id) > 0);
            let one = (!holds.is_empty()).then(|| holds[dice.below(holds.len() as u64) as usize]);
            match (dice.below(4), one) {
                (0, _) | (_, None) => {
                    let op = FeatureOp::Reserve { units, hold_ms: 2 * DAY_MS };
                    holds.extend(world.ask(op).amounts.reservation);
                }
                (1, Some(id)) => {
                    let part = units.min(held(&world, id));
                    world.try_hold(id, HoldOp::CommitPart { units: part, hold_ms: None }).unwrap();
                }
                (_, Some(id)) => {
                    let before = world.closed().len();
                    let outcome = world.try_hold(id, more(units)).unwrap();
                    assert_eq!(outcome.amounts.units, held(&world, id), "seed {seed}");
                    grown_later += world.closed().len() - before;
                }
            }
            let over = |(_, used, reserved): &(i64, u64, u64)| used + reserved > 20;
            assert!(!days(&world).iter().any(over), "seed {seed}: {:?}", days(&world));
            let debts = |effect: &Effect| matches!(effect, Effect::Ledger(l) if l.debt > 0);
            assert!(!world.last.iter().any(debts), "seed {seed}");
            assert!(world.state("total").ledger.held() <= 100, "seed {seed}");
        }
        assert!(seed > 0 || grown_later > 0, "holds leave windows in these runs");
    }
}
