//! Usage by hour and day, and by dimension: in which bucket a use is counted, and that buckets add up.

use std::collections::BTreeMap;

use headroom_core::account::Zone;
use headroom_core::catalog::Policy;
use headroom_core::change::OnChange;
use headroom_core::decide::{self, Context, FeatureOp, HoldOp, Past};
use headroom_core::effect::{Effect, Effects};
use headroom_core::limits::TALLY_CELLS_MAX;
use headroom_core::policy::LimitTerms;
use headroom_core::signal::SignalSwitches;
use headroom_core::tally::{self, BucketSize, Label, Labels, Tally, TallySpec, UnitsMoved};
use headroom_core::time::Millis;
use headroom_core::window::{Every, SpanUnit, WindowRule};

use crate::changes;
use crate::world::{DAY_MS, Dice, HOUR_MS, Limit, T0, World, daily, spec, total};

fn world(buckets: BucketSize, limits: &[Limit]) -> World {
    let mut spec = spec(limits, SignalSwitches::default());
    let dimensions = vec!["model".to_owned(), "region".to_owned()];
    spec.features[0].counting.tally = Some(TallySpec { buckets, dimensions });
    World::of(spec)
}

/// All parts so far: rows of the history, and the tally of now.
fn parts(world: &World) -> Vec<Tally> {
    let row = |effect: &Effect| match effect {
        Effect::TallyClosed(part) | Effect::TallyLate(part) => Some((**part).clone()),
        _ => None,
    };
    let rows = world.effects.iter().filter_map(row);
    rows.chain(world.account.tally(world.id("tokens")).cloned()).collect()
}

/// Units by the start of their bucket, in hours from [`T0`].
fn by_hour(world: &World) -> Vec<(i64, i64)> {
    let mut all: BTreeMap<i64, i64> = BTreeMap::new();
    for part in parts(world) {
        let sum: i64 = part.cells.iter().map(|cell| cell.units).sum();
        *all.entry((part.span.start().0 - T0).div_euclid(HOUR_MS)).or_default() += sum;
    }
    all.into_iter().filter(|(_, units)| *units != 0).collect()
}

fn between(world: &World, start: Millis, end: Millis) -> i64 {
    let inside = |part: &Tally| start <= part.span.start() && part.span.start() < end;
    let parts = parts(world).into_iter().filter(inside);
    parts.flat_map(|part| part.cells).map(|cell| cell.units).sum()
}

fn record_at(world: &mut World, at: i64, units: u64) {
    let mut effects = Effects::new();
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let feature = world.catalog.feature_named("tokens").unwrap();
    let at = (Millis(at), units);
    decide::record_at(cx, &world.account, (feature, None), at, Past::default(), &mut effects)
        .unwrap();
    world.apply(&effects);
}

#[test]
fn a_use_counts_in_the_hour_of_its_moment() {
    let mut world = world(BucketSize::Hour, &[total(1_000, Policy::Block)]);
    world.consume(1);
    world.now += HOUR_MS - 1;
    world.consume(2);
    assert_eq!(by_hour(&world), [(0, 3)]);
    world.now += 1;
    world.record(4);
    world.now += 5 * HOUR_MS;
    world.consume(8);
    assert_eq!(by_hour(&world), [(0, 3), (1, 4), (6, 8)]);
    assert_eq!(world.try_ask("tokens", FeatureOp::Consume { units: 5_000 }).map(|_| ()), Ok(()));
    assert_eq!(by_hour(&world), [(0, 3), (1, 4), (6, 8)], "a refusal is no usage");
}

#[test]
fn a_day_is_the_day_of_the_account() {
    let mut world = world(BucketSize::Day, &[total(1_000, Policy::Block)]);
    world.account.profile.zone = Zone::named("Asia/Kolkata").map(Box::new);
    // Half past five in the afternoon there: the day ends in six and a half hours.
    world.consume(1);
    world.now += 6 * HOUR_MS + HOUR_MS / 2 - 1;
    world.consume(2);
    world.now += 1;
    world.consume(4);
    let days: Vec<i64> = parts(&world).iter().map(|part| part.span.start().0 - T0).collect();
    assert_eq!(days, [-17 * HOUR_MS - HOUR_MS / 2, 6 * HOUR_MS + HOUR_MS / 2]);
}

/// A window that begins within an hour cuts it, so what the window used is what its buckets hold.
#[test]
fn a_bucket_is_cut_where_a_window_begins() {
    let session = Limit {
        limit: "session",
        window: WindowRule::FirstUse(Every { count: 5, unit: SpanUnit::Hour }),
        ..daily(1_000, Policy::Block)
    };
    let mut world = world(BucketSize::Hour, &[session]);
    world.now += 20 * 60_000;
    world.consume(1);
    world.now += 5 * HOUR_MS - 1;
    world.consume(2);
    world.now += 10;
    world.consume(4);
    let starts: Vec<i64> = parts(&world).iter().map(|part| part.span.start().0 - T0).collect();
    let minutes = |ms: i64| ms / 60_000;
    assert_eq!(starts.iter().map(|ms| minutes(*ms)).collect::<Vec<_>>(), [20, 300, 320]);
    for ledger in world.account.ledgers().iter().copied().chain(world.closed()) {
        let used = i64::try_from(ledger.used).unwrap();
        assert_eq!(between(&world, ledger.window.start(), ledger.window.end()), used);
    }
}

#[test]
fn late_events_and_corrections_count_in_the_bucket_of_their_time() {
    let mut world = world(BucketSize::Hour, &[daily(1_000, Policy::Block)]);
    world.now += 3 * HOUR_MS;
    world.consume(10);
    record_at(&mut world, T0 + HOUR_MS + 1, 5);
    record_at(&mut world, T0 + 3 * HOUR_MS, 2);
    assert_eq!(by_hour(&world), [(1, 5), (3, 12)]);
}

/// A commit is usage of its moment, or of the last moment of the window that it was admitted in.
#[test]
fn a_reservation_counts_where_it_is_committed_within_its_window() {
    let mut world = world(BucketSize::Hour, &[daily(1_000, Policy::Block)]);
    let (early, late) = (world.reserve(10), {
        let op = FeatureOp::Reserve { units: 10, hold_ms: 2 * DAY_MS };
        world.ask(op).amounts.reservation.unwrap()
    });
    world.now += HOUR_MS / 2;
    world.commit(early, 3);
    assert_eq!(by_hour(&world), [(0, 3)]);
    // The window is the day, which ends at midnight, in twelve hours.
    world.now += 20 * HOUR_MS;
    world.consume(1);
    world.commit(late, 7);
    assert_eq!(by_hour(&world), [(0, 3), (11, 7), (20, 1)]);
}

#[test]
fn what_the_end_of_a_hold_charged_is_moved_by_its_commit() {
    let mut world = world(BucketSize::Hour, &[daily(1_000, Policy::Block)]);
    let op = FeatureOp::ReserveCharging { units: 10, hold_ms: HOUR_MS };
    let id = world.ask(op).amounts.reservation.unwrap();
    world.now += 3 * HOUR_MS;
    world.consume(1);
    assert_eq!(by_hour(&world), [(1, 10), (3, 1)], "charged at the end of the hold");
    world.try_hold(id, HoldOp::CommitPart { units: 4, hold_ms: None }).unwrap();
    assert_eq!(by_hour(&world), [(1, 6), (3, 5)]);
    world.commit(id, 8);
    assert_eq!(by_hour(&world), [(3, 13)]);
    let op = FeatureOp::ReserveCharging { units: 10, hold_ms: HOUR_MS };
    let id = world.ask(op).amounts.reservation.unwrap();
    world.now += 2 * HOUR_MS;
    world.try_hold(id, HoldOp::Release).unwrap();
    assert_eq!(by_hour(&world), [(3, 13)]);
}

fn labels(world: &World, model: &str) -> Labels {
    [(world.id("model"), Label::Text(model.into()))].into()
}

/// Consumes with dimensions, as the engine does.
fn consume(world: &mut World, units: u64, labels: &Labels) {
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let mut effects = Effects::new();
    let feature = world.feature("tokens");
    let op = FeatureOp::Consume { units };
    decide::decide_feature(cx, &world.account, feature, op, &mut effects).unwrap();
    tally::label(&world.account, labels, &mut effects, UnitsMoved::More);
    world.apply(&effects);
}

#[test]
fn dimensions_are_told_apart_and_the_ones_without_room_are_others() {
    let mut world = world(BucketSize::Hour, &[total(1_000, Policy::Block)]);
    for model in ["a", "b", "a"] {
        let labels = labels(&world, model);
        consume(&mut world, 3, &labels);
    }
    world.consume(1);
    for n in 0..TALLY_CELLS_MAX {
        let labels = labels(&world, &format!("m{n}"));
        consume(&mut world, 1, &labels);
    }
    // A known one has its place also when there is no more room.
    let known = labels(&world, "a");
    consume(&mut world, 2, &known);
    let tally = world.account.tally(world.id("tokens")).unwrap();
    let units = |of: &Labels| tally.cells.iter().find(|c| c.labels == *of).map(|c| c.units);
    assert_eq!(units(&known), Some(8));
    assert_eq!(units(&labels(&world, "b")), Some(3));
    assert_eq!(units(&Labels::default()), Some(1));
    let other: Labels = [(world.id("model"), Label::Other)].into();
    assert_eq!(units(&other), Some(3), "those that came last");
    assert_eq!(tally.cells.len(), TALLY_CELLS_MAX + 1);
    assert_eq!(by_hour(&world), [(0, 12 + i64::try_from(TALLY_CELLS_MAX).unwrap())]);
}

/// The units of a charge have no dimensions; those of the commit that corrects it have its own.
#[test]
fn a_commit_after_a_charge_gives_its_dimensions_to_all_that_was_used() {
    let mut world = world(BucketSize::Day, &[daily(1_000, Policy::Block)]);
    let op = FeatureOp::ReserveCharging { units: 10, hold_ms: HOUR_MS };
    let id = world.ask(op).amounts.reservation.unwrap();
    world.now += 2 * HOUR_MS;
    world.consume(1);
    let mut effects = Effects::new();
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let commit = HoldOp::Commit { units: 12 };
    decide::decide_hold(cx, &world.account, id, commit, &mut effects).unwrap();
    let model = labels(&world, "a");
    tally::label(&world.account, &model, &mut effects, UnitsMoved::More);
    world.apply(&effects);
    let tally = world.account.tally(world.id("tokens")).unwrap();
    let cells: Vec<_> = tally.cells.iter().map(|c| (c.labels.len(), c.units)).collect();
    assert_eq!(cells, [(0, 1), (1, 12)]);
}

/// Whatever happens, the buckets of a window hold what the window used; and a snapshot has them all.
#[test]
fn buckets_add_up_to_their_windows() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let every =
            Every { count: 1 + u16::try_from(dice.below(7)).unwrap(), unit: SpanUnit::Hour };
        let window = match dice.below(3) {
            0 => WindowRule::FirstUse(every),
            1 => WindowRule::Fixed(every),
            _ => daily(0, Policy::Block).window,
        };
        let buckets = BucketSize::ALL[usize::try_from(dice.below(2)).unwrap()];
        let mut world = world(buckets, &[Limit { window, ..daily(1_000_000, Policy::Block) }]);
        world.account.profile.anchor = Millis(T0 - i64::try_from(dice.below(9_999_999)).unwrap());
        let mut holds = Vec::new();
        for _ in 0..60 {
            world.now += i64::try_from(dice.below(40) * dice.below(6) * 60_000).unwrap();
            let units = 1 + dice.below(9);
            match dice.below(6) {
                0 | 1 => drop(world.consume(units)),
                2 => holds.push(world.reserve(units)),
                3 => {
                    let op = FeatureOp::ReserveCharging { units, hold_ms: HOUR_MS };
                    holds.push(world.ask(op).amounts.reservation.unwrap());
                }
                _ => {
                    let Some(id) = holds.pop() else { continue };
                    drop(world.try_hold(id, HoldOp::Commit { units }));
                }
            }
        }
        world.now += 2 * DAY_MS;
        world.consume(1);
        let closed = world.closed();
        let is_closed =
            |l: &&headroom_core::ledger::Ledger| closed.iter().any(|c| c.window == l.window);
        let open = world.account.ledgers().iter().filter(|l| !is_closed(l));
        for ledger in open.chain(&closed) {
            let used = i64::try_from(ledger.used).unwrap();
            let found = between(&world, ledger.window.start(), ledger.window.end());
            assert_eq!(found, used, "seed {seed}, {ledger:?}");
        }
        let mut again = headroom_core::account::Account::new(7, world.account.profile.clone());
        world.account.further().iter().for_each(|effect| again.apply(effect));
        let tokens = world.id("tokens");
        assert_eq!(again.tally(tokens), world.account.tally(tokens));
    }
}

/// A window that a change of plan ends is what its buckets hold, also when what comes next is counted by no
/// window that cuts.
#[test]
fn a_bucket_is_cut_where_a_change_of_plan_ends_a_window() {
    let terms = LimitTerms { on_change: OnChange::Reset, ..LimitTerms::default() };
    let limit = || Limit { terms: terms.clone(), ..daily(1_000, Policy::Block) };
    for next in ["p1", "bare"] {
        let mut spec = changes::catalog(&[limit(), limit()]);
        let (buckets, dimensions) = (BucketSize::Hour, vec![]);
        spec.features[0].counting.tally = Some(TallySpec { buckets, dimensions });
        let mut world = World::of(spec);
        world.now += 20 * 60_000;
        world.consume(1);
        world.now += 10 * 60_000;
        changes::put(&mut world, "p1");
        let cut = Millis(world.now);
        world.now += 60_000;
        // The window ends, as before every change of a profile, and nothing is used.
        let mut effects = Effects::new();
        let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
        decide::settle(cx, &world.account, &mut effects);
        world.apply(&effects);
        changes::put(&mut world, next);
        world.record(2);
        world.now += HOUR_MS;
        world.record(4);
        assert_eq!(between(&world, Millis(T0 - 12 * HOUR_MS), cut), 1, "{next}");
        assert_eq!(between(&world, cut, Millis(T0 + DAY_MS)), 6, "{next}");
    }
}
