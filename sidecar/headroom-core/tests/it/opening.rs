//! Opening balances: usage from before counts, and nobody is told of it.

use headroom_core::catalog::Policy;
use headroom_core::decide::{self, Opening};
use headroom_core::decision::{Denial, OpError, Outcome, Verdict};
use headroom_core::effect::Effect;
use headroom_core::ledger::Marks;
use headroom_core::policy::GraceTerms;
use headroom_core::signal::SignalName;
use headroom_core::time::Millis;
use headroom_core::window::{Every, SpanUnit, WindowRule};

use crate::world::{DAY_MS, HOUR_MS, Limit, World, daily, total, unlimited};

fn opening(world: &World, limit: &str, units: u64) -> Opening {
    Opening { limit: world.id(limit), units, began_at: None, adds: false }
}

fn try_open(world: &mut World, opening: Opening) -> Result<Outcome, OpError> {
    let tokens = world.feature("tokens").unwrap();
    world.run(|cx, account, effects| decide::open_balance(cx, account, tokens, opening, effects))
}

#[track_caller]
fn open(world: &mut World, limit: &str, units: u64) -> Outcome {
    let opening = opening(world, limit, units);
    try_open(world, opening).unwrap()
}

fn session(included: u64) -> Limit {
    let window = WindowRule::FirstUse(Every { count: 5, unit: SpanUnit::Hour });
    Limit { window, ..daily(included, Policy::Block) }
}

#[test]
fn it_counts_in_its_window_and_leaves_the_other_limits() {
    let mut world = World::new(&[daily(10, Policy::Block), total(100, Policy::Block)]);
    let outcome = open(&mut world, "daily", 8);
    assert_eq!((outcome.amounts.units, outcome.amounts.debt_units), (8, 0));
    assert_eq!(outcome.decision.verdict, Verdict::Allowed);
    assert_eq!((world.state("daily").ledger.used, world.state("total").ledger.used), (8, 0));
    assert_eq!(world.consume(2).decision.verdict, Verdict::Allowed);
    assert_eq!(world.consume(1).decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
    world.now += DAY_MS;
    assert_eq!(world.state("daily").ledger.used, 0, "the next window knows nothing of it");
}

#[test]
fn thresholds_it_passes_count_as_told_until_the_next_window() {
    let mut world = World::new(&[daily(10, Policy::Block).soft(&[5_000, 8_000])]);
    let verdict = open(&mut world, "daily", 6).decision.verdict;
    assert_eq!((verdict, world.told()), (Verdict::SoftLimit, vec![]));
    assert_eq!(world.state("daily").ledger.marks, Marks::threshold(0));
    world.consume(1);
    assert_eq!(world.told(), []);
    world.consume(1);
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![8_000])], "what comes here is told");
    world.now += DAY_MS;
    world.consume(5);
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![5_000])]);
}

#[test]
fn what_no_limit_allows_is_debt_and_a_grace_begins_in_silence() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let outcome = open(&mut world, "daily", 13);
    assert_eq!((outcome.amounts.debt_units, outcome.decision.verdict), (3, Verdict::Unbacked));
    assert_eq!(world.told(), []);

    let mut limit = daily(10, Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE });
    let (lasts_ms, notice_ms) = (Some(2 * HOUR_MS), HOUR_MS);
    limit.terms.grace = Some(GraceTerms { lasts_ms, notice_ms, times: None });
    let mut world = World::new(&[limit]);
    let outcome = open(&mut world, "daily", 13);
    assert_eq!((outcome.amounts.debt_units, outcome.decision.verdict), (0, Verdict::Grace));
    assert_eq!(world.told(), []);
    world.now += HOUR_MS;
    world.check(1);
    let told = world.settled.iter().any(|effect| match effect {
        Effect::Signal(signal) => signal.name == SignalName::GraceEnding,
        _ => false,
    });
    assert!(told, "its end is still to come, and is announced");
    world.now += HOUR_MS;
    assert_eq!(world.consume(1).decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
}

#[test]
fn what_was_used_here_already_is_not_counted_over_unless_it_is_to_be_added() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    world.consume(2);
    let refused = opening(&world, "daily", 5);
    assert_eq!(try_open(&mut world, refused), Err(OpError::AlreadyUsed { used_units: 2 }));
    let added = Opening { adds: true, ..refused };
    try_open(&mut world, added).unwrap();
    assert_eq!(world.state("daily").ledger.used, 7);
    // What is only held is not used yet.
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let held = world.reserve(2);
    open(&mut world, "daily", 5);
    world.commit(held, 2);
    assert_eq!(world.counts(), (7, 0, 0));
}

#[test]
fn a_window_that_first_use_begins_is_begun_by_it_now_or_when_it_began() {
    let mut world = World::new(&[session(10)]);
    open(&mut world, "daily", 4);
    let start = world.now;
    assert_eq!(world.state("daily").ledger.window.start(), Millis(start));

    let began = |world: &World, ms| Opening {
        began_at: Some(Millis(world.now - ms)),
        ..opening(world, "daily", 4)
    };
    let mut world = World::new(&[session(10)]);
    let then = began(&world, HOUR_MS);
    try_open(&mut world, then).unwrap();
    let window = world.state("daily").ledger.window;
    assert_eq!(window.start(), Millis(world.now - HOUR_MS));
    assert_eq!(window.end(), Millis(world.now + 4 * HOUR_MS));
    world.consume(6);
    assert_eq!(world.state("daily").ledger.used, 10);
    // One is open by now; and the next must not lie over it.
    let again = Opening { adds: true, ..then };
    assert_eq!(try_open(&mut world, again), Err(OpError::WindowNotThen));
    world.now += 4 * HOUR_MS;
    for (ms, expected) in [(1, Err(OpError::WindowNotThen)), (0, Ok(()))] {
        let next = began(&world, ms);
        assert_eq!(try_open(&mut world, next).map(drop), expected, "{ms} ms ago");
    }
    for (limit, ms) in
        [(session(10), 5 * HOUR_MS), (session(10), -1), (daily(10, Policy::Block), 0)]
    {
        let mut world = World::new(&[limit]);
        let then = began(&world, ms);
        assert_eq!(try_open(&mut world, then), Err(OpError::WindowNotThen), "{ms} ms ago");
    }
}

#[test]
fn it_needs_a_limit_that_the_account_has_and_whose_windows_lie_still() {
    let mut world = World::new(&[daily(10, Policy::Block)]);
    let one = opening(&world, "daily", 1);
    world.account.profile.plan = world.id("bare");
    assert_eq!(try_open(&mut world, one), Err(OpError::LimitNotGiven));
    let sso = world.feature("sso").unwrap();
    let refused =
        world.run(|cx, account, effects| decide::open_balance(cx, account, sso, one, effects));
    assert_eq!(refused, Err(OpError::NoOpening { kind: "switch" }));
    let sliding = WindowRule::Sliding(Every { count: 24, unit: SpanUnit::Hour });
    let mut world = World::new(&[Limit { window: sliding, ..daily(10, Policy::Block) }]);
    let one = opening(&world, "daily", 1);
    assert_eq!(try_open(&mut world, one), Err(OpError::WindowSlides));
    let mut world = World::new(&[unlimited()]);
    let most = headroom_core::limits::UNITS_MAX;
    open(&mut world, "daily", most);
    let more = Opening { adds: true, ..opening(&world, "daily", 1) };
    assert_eq!(try_open(&mut world, more), Err(OpError::CounterFull));
}

/// Every small case: it is what recording it would be, but for the signals.
#[test]
fn it_comes_to_what_recording_would_come_to() {
    for policy in [Policy::Block, Policy::Grace { grace_bp: 5_000 }, Policy::Overage] {
        for included in 1..5 {
            for used in 0..4 {
                for units in 1..9 {
                    let new = || World::new(&[daily(included, policy).soft(&[5_000, 9_000])]);
                    let (mut opened, mut recorded) = (new(), new());
                    for world in [&mut opened, &mut recorded] {
                        if used > 0 {
                            world.record(used);
                        }
                    }
                    let adds = Opening { adds: true, ..opening(&opened, "daily", units) };
                    let got = try_open(&mut opened, adds).unwrap();
                    assert_eq!(got, recorded.record(units));
                    assert_eq!(opened.account, recorded.account);
                    assert_eq!(opened.told(), []);
                }
            }
        }
    }
}
