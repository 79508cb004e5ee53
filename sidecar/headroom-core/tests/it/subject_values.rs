//! Largest, latest and different values of each user: they count at every level or at none.

use headroom_core::account::OverrideValue;
use headroom_core::catalog::{Aggregation, Policy};
use headroom_core::decide::{self, AllItem, AllOp, Context, FeatureOp, ValueOp};
use headroom_core::decision::{Denial, OpError, Outcome, Verdict};
use headroom_core::effect::{Effect, Effects};
use headroom_core::limits::SUBJECT_DISTINCT_EXACT_MAX;
use headroom_core::measure::{MeasureChange, Values};
use headroom_core::subject::{SubjectId, SubjectPath};
use headroom_core::time::Millis;

use crate::subjects::{ask, catalog, counts, own};
use crate::world::{DAY_MS, Dice, HOUR_MS, Limit, World, daily, unlimited};

const FULL: Verdict = Verdict::Denied(Denial::QuotaExhausted);

fn world(aggregation: Aggregation, limits: &[Limit]) -> World {
    let mut spec = catalog(limits);
    spec.features[0].counting.aggregation = aggregation;
    if aggregation == Aggregation::Unique {
        spec.features[0].counting.unique_by = Some("device".to_owned());
    }
    World::of(spec)
}

fn value(world: &mut World, who: &str, number: u64, does: ValueOp) -> Outcome {
    let op = FeatureOp::Value { hash: Dice(number).below(u64::MAX), does };
    ask(world, who, op).unwrap()
}

fn comes(world: &mut World, who: &str, number: u64) -> Verdict {
    value(world, who, number, ValueOp::Consume).decision.verdict
}

fn used(world: &World) -> Vec<(String, u64)> {
    counts(world).into_iter().map(|(name, used, _)| (name, used)).collect()
}

fn known(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(name, used)| ((*name).to_owned(), *used)).collect()
}

/// What is known of windows of subjects besides their counters, as a snapshot has it.
fn measures(world: &World) -> Effects {
    let of_subject = |effect: &Effect| match effect {
        Effect::OfSubject(_, of) => matches!(**of, Effect::Measured(_)),
        _ => false,
    };
    world.account.further().into_iter().filter(of_subject).collect()
}

/// The account as a snapshot brings it back.
fn read_back(world: &World) {
    let mut again = world.account.clone();
    let empty = World::new(&[unlimited()]);
    assert!(empty.account.subjects().is_none());
    let mut fresh = empty.account.clone();
    world.account.further().iter().for_each(|effect| fresh.apply(effect));
    assert_eq!(fresh.subjects(), world.account.subjects());
    world.account.further().iter().for_each(|effect| again.apply(effect));
    assert_eq!(again, world.account, "applying them again changes nothing");
}

#[test]
fn the_largest_value_of_each_user_is_beside_the_accounts() {
    let mut world = world(Aggregation::Max, &[daily(20, Policy::Block), own(10)]);
    let consume = |world: &mut World, who: &str, units| {
        let decision = ask(world, who, FeatureOp::Consume { units }).unwrap().decision;
        let subject =
            decision.binding.as_ref().and_then(|state| state.subject().map(str::to_owned));
        (decision.verdict, subject, decision.retry_after_ms)
    };
    let x = || Some("user:x".to_owned());
    assert_eq!(consume(&mut world, "user:x", 8), (Verdict::Allowed, x(), None));
    assert_eq!(consume(&mut world, "team:a/user:y", 3).0, Verdict::Allowed);
    assert_eq!(used(&world), known(&[("user:x", 8), ("team:a/user:y", 3)]));
    assert_eq!(world.counts(), (8, 0, 0), "the largest of all");
    assert_eq!(consume(&mut world, "user:x", 11), (FULL, x(), None), "no time makes it smaller");
    assert_eq!(consume(&mut world, "user:x", 5).0, Verdict::Allowed);
    assert_eq!(used(&world), known(&[("user:x", 8), ("team:a/user:y", 3)]));
    // What one may, the account may not.
    world.consume(15);
    assert_eq!(world.counts(), (15, 0, 0), "without a user it is the account's alone");
    let debt = ask(&mut world, "user:x", FeatureOp::Record { units: 25 }).unwrap().amounts;
    assert_eq!(debt.debt_units, 15, "the most of all limits");
    assert_eq!(used(&world)[0].1, 25);
    let reserve = FeatureOp::Reserve { units: 1, hold_ms: HOUR_MS };
    let held = ask(&mut world, "user:x", reserve).unwrap_err();
    assert_eq!(held, OpError::NothingToHold { aggregation: "max" });
}

#[test]
fn each_user_has_a_latest_value_and_the_account_has_the_last_of_all() {
    let mut world = world(Aggregation::Latest, &[daily(20, Policy::Block), own(10)]);
    for (who, units) in [("user:x", 8), ("user:y", 9), ("user:x", 2)] {
        world.now += HOUR_MS;
        let verdict = ask(&mut world, who, FeatureOp::Consume { units }).unwrap().decision.verdict;
        assert!(verdict.is_allowed());
    }
    assert_eq!(used(&world), known(&[("user:x", 2), ("user:y", 9)]));
    assert_eq!(world.counts(), (2, 0, 0));
    let refused = ask(&mut world, "user:x", FeatureOp::Consume { units: 11 }).unwrap().decision;
    assert_eq!((refused.verdict, refused.retry_after_ms), (FULL, None));
    assert_eq!(refused.binding.unwrap().subject(), Some("user:x"));
    read_back(&world);
    assert_eq!(measures(&world).len(), 2, "one instant for each");
    // An older request than what counts, as from a clock behind, changes nothing.
    let newest = world.account.clone();
    world.now -= 2 * HOUR_MS;
    ask(&mut world, "user:x", FeatureOp::Consume { units: 7 }).unwrap();
    assert_eq!(world.account, newest);
}

#[test]
fn the_devices_of_each_user_count_once_each() {
    let mut world = world(Aggregation::Unique, &[daily(4, Policy::Block), own(2)]);
    for (who, device) in [("user:x", 1), ("user:x", 2), ("user:y", 1), ("user:x", 1)] {
        assert_eq!(comes(&mut world, who, device), Verdict::Allowed);
    }
    assert_eq!(used(&world), known(&[("user:x", 2), ("user:y", 1)]));
    assert_eq!(world.counts(), (2, 0, 0), "one device of two users is one of the account");
    let refused = value(&mut world, "user:x", 3, ValueOp::Consume).decision;
    assert_eq!(refused.verdict, FULL);
    assert_eq!(refused.retry_after_ms, Some(DAY_MS / 2), "tomorrow it is another window");
    assert_eq!(refused.binding.unwrap().subject(), Some("user:x"));
    assert_eq!(world.counts(), (2, 0, 0), "at every level or at none");
    let looks = ValueOp::Check { attempt: false };
    assert!(value(&mut world, "user:x", 2, looks).decision.verdict.is_allowed());
    assert_eq!(value(&mut world, "user:x", 3, looks).decision.verdict, FULL);
    let any = ask(&mut world, "user:x", FeatureOp::Check { units: 1, attempt: false });
    assert_eq!(any.unwrap().decision.verdict, FULL);
    let unsaid = ask(&mut world, "user:x", FeatureOp::Consume { units: 1 });
    assert_eq!(unsaid.unwrap_err(), OpError::NoValue);
    assert_eq!(value(&mut world, "user:x", 3, ValueOp::Record).amounts.debt_units, 1);
    assert_eq!(value(&mut world, "user:x", 3, ValueOp::Record).amounts.debt_units, 0, "once");
    read_back(&world);
    // One user may have more.
    let (limit, included_units) = (world.id("own"), Some(5));
    let subject = "user:x".into();
    world.put_override("tokens", OverrideValue::SubjectLimit { subject, limit, included_units });
    assert_eq!(comes(&mut world, "user:x", 4), Verdict::Allowed);
    assert_eq!(comes(&mut world, "user:y", 5), FULL, "the account's own limit");
}

#[test]
fn what_is_known_of_a_users_window_leaves_with_it_and_with_the_name() {
    for aggregation in [Aggregation::Latest, Aggregation::Unique] {
        let mut world = world(aggregation, &[unlimited(), own(9)]);
        let use_one = |world: &mut World, who: &str| match aggregation {
            Aggregation::Unique => comes(world, who, 1),
            _ => ask(world, who, FeatureOp::Consume { units: 1 }).unwrap().decision.verdict,
        };
        use_one(&mut world, "user:x");
        use_one(&mut world, "user:y");
        assert_eq!(measures(&world).len(), 2);
        world.now += DAY_MS;
        use_one(&mut world, "user:x");
        let today = world.state("daily").ledger.window.start();
        let all = measures(&world);
        let starts = all.iter().map(|effect| match effect {
            Effect::OfSubject(id, of) => match &**of {
                Effect::Measured(of) => (id.0, of.window_start == today),
                _ => unreachable!(),
            },
            _ => unreachable!(),
        });
        assert_eq!(starts.collect::<Vec<_>>(), [(1, true), (2, false)]);
        world.apply(&[Effect::SubjectErased(SubjectId(1), "user:x".into())]);
        assert_eq!(measures(&world).len(), 1, "nothing of what was erased can be known again");
        read_back(&world);
        use_one(&mut world, "user:x");
        assert_eq!(used(&world).last().unwrap(), &("user:x".to_owned(), 1), "it begins anew");
    }
}

/// Up to the bound each count of a user is exact. Then a sketch of a small size goes on from it, and says so.
#[test]
fn many_devices_of_a_user_are_counted_with_the_error_that_is_promised() {
    let (mut worst, mut sum, seeds) = (0.0_f64, 0.0_f64, 30_u64);
    for seed in 0..seeds {
        let mut world = world(Aggregation::Unique, &[unlimited(), own(1_000_000)]);
        let mut dice = Dice(seed);
        for number in 1..=1_000_usize {
            let hash = dice.below(u64::MAX);
            let op = FeatureOp::Value { hash, does: ValueOp::Consume };
            let state = ask(&mut world, "user:x", op).unwrap().decision.binding.unwrap();
            assert_eq!(state.subject(), Some("user:x"), "seed {seed}");
            assert_eq!(state.is_approximate(), number > SUBJECT_DISTINCT_EXACT_MAX);
            if number <= SUBJECT_DISTINCT_EXACT_MAX + 1 {
                assert_eq!(state.ledger.used, number as u64, "seed {seed}");
            }
            let before = world.account.clone();
            ask(&mut world, "user:x", op).unwrap();
            assert_eq!(world.account, before, "seed {seed}: it is known now");
        }
        let bytes = measures(&world).into_iter().map(|effect| match effect {
            Effect::OfSubject(_, of) => match *of {
                Effect::Measured(of) => match of.change {
                    MeasureChange::Values(Values::Sketch(sketch)) => sketch.parts().0.len(),
                    _ => usize::MAX,
                },
                _ => usize::MAX,
            },
            _ => usize::MAX,
        });
        assert_eq!(bytes.collect::<Vec<_>>(), [8 * SUBJECT_DISTINCT_EXACT_MAX], "it never grows");
        read_back(&world);
        let counted = used(&world)[0].1;
        assert_eq!(world.counts().0, 1_000, "the account is exact for longer");
        let error = counted as f64 / 1_000.0 - 1.0;
        worst = worst.max(error.abs());
        sum += error;
    }
    assert!(worst < 0.12, "the worst of {seeds} is off by {worst}");
    let mean = sum / seeds as f64;
    assert!(mean.abs() < 0.025, "all of {seeds} together are off by {mean}");
}

#[test]
fn a_value_is_one_of_several_things_asked_for_together() {
    let mut world = world(Aggregation::Unique, &[daily(4, Policy::Block), own(2)]);
    let item = |world: &World, number| AllItem {
        value: Some(Dice(number).below(u64::MAX)),
        ..AllItem::of(world.feature("tokens"), 1)
    };
    let all = |world: &mut World, items: &[AllItem], op| {
        let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
        let subject = Some(SubjectPath::new("user:x").unwrap());
        let mut effects = Effects::new();
        let outcomes = decide::decide_all(cx, &world.account, items, op, subject, &mut effects);
        world.apply(&effects);
        let verdicts = outcomes.map(|all| all.iter().map(|o| o.decision.verdict).collect());
        verdicts.map_err(|error: decide::ItemError| error.to_string())
    };
    let sso = AllItem::of(world.feature("sso"), 1);
    let ok = || Ok(vec![Verdict::Allowed; 2]);
    for number in [1, 2, 1] {
        let items = [sso.clone(), item(&world, number)];
        assert_eq!(all(&mut world, &items, AllOp::Consume), ok());
    }
    assert_eq!(used(&world), known(&[("user:x", 2)]));
    let third = [item(&world, 3), sso.clone()];
    let refused = Ok(vec![FULL, Verdict::Allowed]);
    assert_eq!(all(&mut world, &third, AllOp::Check { attempt: false }), refused);
    assert_eq!(all(&mut world, &third, AllOp::Consume), refused);
    let second = [item(&world, 2), sso.clone()];
    assert_eq!(all(&mut world, &second, AllOp::Check { attempt: false }), ok(), "it is known");
    let unsaid = [sso, AllItem::of(world.feature("tokens"), 1)];
    let error = all(&mut world, &unsaid, AllOp::Consume).unwrap_err();
    assert!(error.starts_with("items[1]: the feature counts the different values"), "{error}");
    let hold = AllOp::Reserve { hold_ms: HOUR_MS, charging: false };
    let alone = OpError::NothingToHold { aggregation: "unique" };
    assert_eq!(all(&mut world, &second, hold).unwrap_err(), format!("items[0]: {alone}"));
    assert_eq!(used(&world), known(&[("user:x", 2)]));
}
