//! What comes to a window that is over is measured by the limit that was in force at its end, whatever plans,
//! catalogs and overrides say by now; and what a window owes at its end is what that has no room for.

use headroom_core::account::OverrideValue;
use headroom_core::catalog::{CatalogSpec, Policy};
use headroom_core::change::OnChange;
use headroom_core::closing;
use headroom_core::decide::{self, Context, FeatureOp, HoldOp, Past};
use headroom_core::effect::{Effect, Effects};
use headroom_core::event::Delta;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;

use crate::changes;
use crate::late_debt::Told;
use crate::subjects::{ask, catalog, own};
use crate::world::{DAY_MS, HOUR_MS, Limit, T0, World, daily, spec, unlimited};

/// The day of the window that is over.
const DAY: i64 = T0 / DAY_MS * DAY_MS;

/// What the engine does when another catalog comes.
fn install(world: &mut World, spec: CatalogSpec) {
    let before = world.catalog.clone();
    world.install(spec);
    let now = Millis(world.now);
    let account = world.account.clone();
    let (old, new) = (Context { catalog: &before, now }, Context { catalog: &world.catalog, now });
    let kept = closing::kept((old, &account), (new, &account));
    world.apply(&kept);
}

fn limit(told: &mut Told, limit: Limit) {
    install(&mut told.world, spec(&[limit], Default::default()));
}

/// A day of which 5 units of 10 are used, and the next one; `closes`: the first has left the memory.
fn next_day(closes: bool) -> Told {
    let mut told = Told::of(World::new(&[daily(10, Policy::Block)]));
    told.at(T0, 5);
    told.at(T0 + DAY_MS, u64::from(closes));
    told
}

/// Debt of a late record of 6 units, after another limit has come, and after a third one.
fn late_debt(closes: bool, limits: [Limit; 2]) -> u64 {
    let mut told = next_day(closes);
    limits.into_iter().for_each(|new| limit(&mut told, new));
    let (booked, _) = told.late(T0, 6);
    assert_eq!(told.lines()[&DAY], (11, booked.debt_units, 0));
    booked.debt_units
}

#[test]
fn a_late_record_owes_by_the_limit_of_then_after_a_downgrade_and_after_an_upgrade() {
    for closes in [false, true] {
        let block = |units| daily(units, Policy::Block);
        assert_eq!(late_debt(closes, [block(4), block(4)]), 1, "a downgrade; closed: {closes}");
        assert_eq!(late_debt(closes, [block(100), block(4)]), 1, "an upgrade; closed: {closes}");
        assert_eq!(late_debt(closes, [unlimited(), unlimited()]), 1, "no bound; closed: {closes}");
        // What is included is the same, and what counts is not.
        let grace = daily(10, Policy::Grace { grace_bp: 5_000 });
        assert_eq!(late_debt(closes, [grace, block(4)]), 1, "a grace; closed: {closes}");
    }
}

#[test]
fn a_largest_value_that_comes_late_owes_by_the_limit_of_then() {
    for closes in [false, true] {
        let of = |units| {
            let mut spec = spec(&[daily(units, Policy::Block)], Default::default());
            let max = headroom_core::catalog::Aggregation::Max;
            spec.features[0].counting.aggregation = max;
            spec
        };
        let mut told = Told::of(World::of(of(10)));
        told.at(T0, 5);
        told.at(T0 + DAY_MS, u64::from(closes));
        install(&mut told.world, of(100));
        assert_eq!(told.late(T0, 12).0.debt_units, 2, "closed: {closes}");
    }
}

#[test]
fn a_window_that_nobody_knew_is_measured_by_what_is_known_of_its_end() {
    let mut told = Told::of(World::new(&[daily(10, Policy::Block)]));
    told.at(T0, 1);
    told.at(T0 + 3 * DAY_MS, 1);
    told.world.put_override(
        "tokens",
        OverrideValue::Limit { limit: told.world.id("daily"), included_units: Some(4) },
    );
    let extra = told.world.account.profile.extra.as_mut().unwrap();
    extra.overrides[0].ends_at = Millis(T0 + 2 * DAY_MS);
    // The override was in force in the last millisecond of the day after, and not on the one after that.
    assert_eq!(told.late(T0 + DAY_MS, 6).0.debt_units, 2);
    assert_eq!(told.late(T0 + 2 * DAY_MS, 6).0.debt_units, 0);
}

/// What plans have a share of is the window that there was, and not the one that the rule alone would make.
#[test]
fn a_window_that_nobody_knew_is_shared_by_the_plans_of_its_own_time() {
    let plans = |on_change| {
        let limits = [Some(240), Some(4)].map(|units| changes::limit(units, on_change));
        changes::catalog(&limits)
    };
    let mut told = Told::of(World::of(plans(OnChange::Reset)));
    told.at(T0, 5);
    // Its window ends here, at noon.
    changes::put(&mut told.world, "p1");
    told.at(T0 + DAY_MS, 1);
    install(&mut told.world, plans(OnChange::Prorate));
    let (booked, effects) = told.late(T0 + HOUR_MS, 6);
    let is_of_noon = |effect: &Effect| match effect {
        Effect::Restated(restated) => restated.closed.window.start() == Millis(T0),
        _ => false,
    };
    assert!(effects.iter().any(is_of_noon), "{effects:?}");
    assert_eq!(booked.debt_units, 2, "from noon on there was one plan, of 4 units");
}

/// The catalog without any limit of `tokens` but another one.
fn without() -> CatalogSpec {
    spec(&[Limit { limit: "other", ..daily(1_000, Policy::Block) }], Default::default())
}

#[test]
fn a_limit_that_is_gone_still_measures_its_windows_that_were_over() {
    for closes in [false, true] {
        let mut told = next_day(closes);
        let (booked, _) = told.late(T0, 3);
        let event = told.event(T0, 3, &booked);
        install(&mut told.world, without());
        told.correct(&event, 8);
        assert_eq!(told.lines()[&DAY], (13, 3, 0), "closed: {closes}");
    }
    // A window that was open then has no limit at its end: nothing binds it.
    let mut told = Told::of(World::new(&[daily(10, Policy::Block)]));
    told.at(T0, 5);
    let (booked, _) = told.late(T0, 3);
    let event = told.event(T0, 3, &booked);
    install(&mut told.world, without());
    told.at(T0 + DAY_MS, 0);
    told.correct(&event, 80);
    assert_eq!(told.lines()[&DAY], (85, 0, 0));
}

#[test]
fn a_late_commit_owes_by_the_limit_of_then() {
    let new = [
        (spec(&[daily(4, Policy::Block)], Default::default()), "a downgrade"),
        (spec(&[daily(100, Policy::Block)], Default::default()), "an upgrade"),
        (without(), "gone"),
    ];
    for (new, what) in new {
        for used in [0, 5] {
            let mut world = World::new(&[daily(10, Policy::Block)]);
            if used > 0 {
                world.consume(used);
            }
            let hold = FeatureOp::Reserve { units: 3, hold_ms: 2 * DAY_MS };
            let id = world.ask(hold).amounts.reservation.unwrap();
            world.now += DAY_MS;
            install(&mut world, new.clone());
            let amounts = world.try_hold(id, HoldOp::Commit { units: 12 }).unwrap().amounts;
            assert_eq!(
                (amounts.surplus_units, amounts.debt_units),
                (9, 2 + used),
                "{what}, {used}"
            );
        }
    }
}

#[test]
fn more_of_a_hold_is_admitted_by_the_limit_of_now() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let hold = FeatureOp::Reserve { units: 3, hold_ms: 2 * DAY_MS };
    let id = world.ask(hold).amounts.reservation.unwrap();
    world.now += DAY_MS;
    install(&mut world, without());
    let more = HoldOp::Extend { hold_ms: None, additional_units: 1 };
    assert!(!world.try_hold(id, more).unwrap().decision.verdict.is_allowed());
}

fn carrying(included: Option<u64>) -> Limit {
    let mut limit = Limit { included, ..daily(10, Policy::Block) };
    limit.terms.carries_debt = true;
    limit
}

#[test]
fn a_window_owes_at_its_end_what_the_limit_of_then_has_no_room_for() {
    // 25 units of 10 are 15 of debt; what the limit is at the end, and what goes on.
    for (included, owed) in [(Some(10), 15), (Some(20), 5), (Some(25), 0), (Some(4), 15)] {
        let mut told = Told::of(World::new(&[carrying(Some(10))]));
        told.at(T0, 25);
        assert_eq!(told.lines()[&DAY], (25, 15, 0));
        limit(&mut told, carrying(included));
        told.at(T0 + DAY_MS, 0);
        let lines = told.lines();
        assert_eq!(lines[&DAY], (25, owed, 0), "{included:?}");
        let over = included.map_or(0, |units| owed.saturating_sub(units));
        let next = (owed > 0).then_some((owed, over, owed));
        assert_eq!(lines.get(&(DAY + DAY_MS)).copied(), next, "{included:?}");
    }
}

#[test]
fn what_comes_late_is_passed_on_by_the_limits_of_their_windows() {
    let mut told = Told::of(World::new(&[carrying(Some(10))]));
    told.at(T0, 8);
    told.at(T0 + DAY_MS, 9);
    told.at(T0 + 2 * DAY_MS, 0);
    limit(&mut told, carrying(Some(1)));
    told.at(T0 + 3 * DAY_MS, 1);
    let (booked, effects) = told.late(T0, 6);
    // 4 are too many on the first day, and 3 of them on the second. Of the third nothing is known but the limit of
    // now, which has room for 1 of them.
    assert_eq!(booked.debt_units, 4);
    let lines = told.lines();
    assert_eq!((lines[&DAY], lines[&(DAY + DAY_MS)]), ((14, 4, 0), (13, 3, 4)));
    let passed = effects.iter().filter_map(|effect| match effect {
        Effect::Restated(restated) => restated.passed,
        _ => None,
    });
    assert!(passed.into_iter().all(|passed| matches!(passed, Delta::More(_))));
    assert_eq!(lines[&(DAY + 3 * DAY_MS)], (3, 2, 2));
}

#[test]
fn the_limits_of_a_subject_are_measured_alike() {
    for closes in [false, true] {
        for (after, what) in [(4, "a downgrade"), (100, "an upgrade")] {
            let mut world = World::of(catalog(&[unlimited(), own(10)]));
            let used = |world: &mut World, units| {
                ask(world, "user:x", FeatureOp::Consume { units }).unwrap();
            };
            used(&mut world, 5);
            world.now += DAY_MS;
            if closes {
                used(&mut world, 1);
            }
            let mut told = Told::of(world);
            told.note_subjects();
            install(&mut told.world, catalog(&[unlimited(), own(after)]));
            let path = SubjectPath::new("user:x").unwrap();
            let past = told.level("user:x");
            let past = Past { levels: std::slice::from_ref(&past), ..Past::default() };
            let of = (told.world.feature("tokens").unwrap(), Some(path));
            let mut effects = Effects::new();
            let (cx, account) = (told.cx(), &told.world.account);
            let late = (Millis(T0), 6);
            let booked = decide::record_at(cx, account, of, late, past, &mut effects).unwrap();
            assert_eq!(booked.debt_units, 1, "{what}, closed: {closes}");
            // What was kept is in a snapshot, too.
            let read = told.world.account.further();
            let kept = read.iter().any(|effect| match effect {
                Effect::OfSubject(_, of) => {
                    matches!(**of, Effect::Owing(_))
                }
                _ => false,
            });
            assert_eq!(kept, !closes);
        }
    }
}
