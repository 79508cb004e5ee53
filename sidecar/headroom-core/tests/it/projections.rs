//! Projections: a straight line from the start of counting, never past the window's end.

use headroom_core::catalog::Policy;
use headroom_core::decision::{LimitState, WindowPhase};
use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::projection::{Projection, project};
use headroom_core::time::{Millis, Window};

fn state(included: Option<u64>, used: u64, window: Window) -> LimitState {
    let ledger = Ledger { used, ..Ledger::new(NameId(0), NameId(1), window, 0) };
    let (policy, passed_bp) = (Policy::Block, Default::default());
    LimitState {
        ledger,
        included_units: included,
        policy,
        ceiling_units: included,
        passed_bp,
        phase: WindowPhase::Open,
        beyond: None,
    }
}

/// The first instant at which the line from (since, 0) through (now, used) is at `units`.
fn naive_at(used: u64, units: u64, since: i64, now: i64) -> Option<i64> {
    let (used, units) = (i64::try_from(used).unwrap(), i64::try_from(units).unwrap());
    (used > 0).then(|| (now..).find(|at| used * (at - since) >= units * (now - since)).unwrap())
}

#[test]
fn every_small_projection_is_the_naive_one() {
    const END: i64 = 60;
    let window = Window::new(Millis(0), Millis(END)).unwrap();
    let mut reached = 0;
    for created_at in [-5, 0, 20] {
        for now in 0..END {
            for (included, used) in (0..6).flat_map(|i| (0..8).map(move |used| (i, used))) {
                let limit = state(Some(included), used, window);
                let got = project(&limit, Millis(created_at), Millis(now)).unwrap();
                let since = created_at.max(0).min(now);
                // A twentieth of the window must have passed.
                let learning = now == since || now - since < (END - since) / 20;
                let expected = if used >= included {
                    Projection::Reached
                } else if learning {
                    Projection::Learning
                } else {
                    let used_wide = i64::try_from(used).unwrap();
                    let at_end = u64::try_from(used_wide * (END - since) / (now - since)).unwrap();
                    let units_at_window_end = Some(at_end);
                    match naive_at(used, included, since, now).filter(|at| *at < END) {
                        Some(at) => {
                            reached += 1;
                            Projection::ReachesLimit { at: Millis(at), units_at_window_end }
                        }
                        None => Projection::WithinLimit { units_at_window_end },
                    }
                };
                let case = format!("{used} of {included} at {now}, created at {created_at}");
                assert_eq!(got, expected, "{case}");
            }
        }
    }
    assert!(reached > 500);
}

#[test]
fn an_unlimited_limit_has_no_projection() {
    let window = Window::new(Millis(0), Millis(100)).unwrap();
    assert_eq!(project(&state(None, 5, window), Millis(0), Millis(50)), None);
}

#[test]
fn a_lifetime_is_learned_for_a_day_and_has_no_end() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let limit = state(Some(10), 4, Window::lifetime(Millis(0)));
    let at = |now| project(&limit, Millis(0), Millis(now)).unwrap();
    assert_eq!(at(DAY_MS - 1), Projection::Learning);
    let reached = Projection::ReachesLimit { at: Millis(5 * DAY_MS), units_at_window_end: None };
    assert_eq!(at(2 * DAY_MS), reached);
    let idle = state(Some(10), 0, Window::lifetime(Millis(0)));
    let within = Projection::WithinLimit { units_at_window_end: None };
    assert_eq!(project(&idle, Millis(0), Millis(DAY_MS)), Some(within));
}

#[test]
fn large_numbers_do_not_overflow() {
    let most = (1 << 53) - 1;
    let far = i64::MAX;
    for window in [Window::lifetime(Millis(i64::MIN)), Window::lifetime(Millis(0))] {
        for (used, now) in [(1, far - 1), (most - 1, 1), (most - 1, far - 1), (0, far - 1)] {
            let limit = state(Some(most), used, window);
            assert!(project(&limit, Millis(i64::MIN), Millis(now)).is_some());
        }
    }
    let long = Window::new(Millis(0), Millis(far - 1)).unwrap();
    assert!(project(&state(Some(most), most - 1, long), Millis(0), Millis(far / 2)).is_some());
}

#[test]
fn no_line_is_drawn_through_a_sliding_window_or_one_that_has_not_begun() {
    let window = Window::new(Millis(0), Millis(1000)).unwrap();
    for phase in [WindowPhase::Sliding, WindowPhase::NotBegun] {
        let of = |used| LimitState { phase, ..state(Some(100), used, window) };
        assert_eq!(project(&of(50), Millis(0), Millis(900)), Some(Projection::Learning));
        assert_eq!(project(&of(100), Millis(0), Millis(900)), Some(Projection::Reached));
    }
}
