//! Slots that each subject has a most of, beside the account's.

use headroom_core::account::{AddOn, OverrideValue};
use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, Offering, PlanSpec,
};
use headroom_core::decide::{self, Context, FeatureOp, HoldOp};
use headroom_core::decision::{Denial, OpError, Outcome, Verdict};
use headroom_core::effect::{Effect, Effects};
use headroom_core::reservation::ReservationId;
use headroom_core::signal::SignalSwitches;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;

use crate::world::{HOUR_MS, World, spec};

const FULL: Verdict = Verdict::Denied(Denial::ConcurrencyFull);

fn slots(max_units: Option<u64>, each: Option<u64>) -> EntitlementSpec {
    EntitlementSpec::Concurrency { max_units, soft_limits_bp: vec![5_000], each }
}

/// `jobs` on plan `pro`, and what the add-on `more` gives of it.
fn catalog(given: EntitlementSpec, more: EntitlementSpec) -> CatalogSpec {
    let mut spec = spec(&[], SignalSwitches::default());
    spec.features[0] = FeatureSpec {
        feature: "jobs".to_owned(),
        kind: FeatureKindSpec::Concurrency { per: Some("user".to_owned()) },
        offering: Offering::default(),
        ..spec.features[0].clone()
    };
    spec.plans[0].entitlements[0] = ("jobs".to_owned(), given);
    spec.addons = vec![PlanSpec {
        plan: "more".to_owned(),
        version: 1,
        name: "More".to_owned(),
        price: None,
        entitlements: vec![("jobs".to_owned(), more)],
    }];
    spec
}

fn world(max_units: u64, each: u64) -> World {
    World::of(catalog(slots(Some(max_units), Some(each)), slots(Some(1), None)))
}

fn ask(world: &mut World, subject: &str, op: FeatureOp) -> Result<Outcome, OpError> {
    let (feature, path) = (world.feature("jobs"), SubjectPath::new(subject).expect("a path"));
    world.run(|cx, account, effects| {
        decide::decide_feature_for(cx, account, feature, path, op, effects)
    })
}

fn acquire(world: &mut World, subject: &str, hold_ms: i64) -> Outcome {
    ask(world, subject, FeatureOp::Reserve { units: 1, hold_ms }).unwrap()
}

#[track_caller]
fn slot(world: &mut World, subject: &str, hold_ms: i64) -> ReservationId {
    let outcome = acquire(world, subject, hold_ms);
    assert!(outcome.decision.verdict.is_allowed(), "{outcome:?}");
    outcome.amounts.reservation.unwrap()
}

/// The verdict, whose limit it was, and how long to wait.
fn refusal(world: &mut World, subject: &str) -> (Verdict, Option<String>, Option<i64>) {
    let decision = acquire(world, subject, HOUR_MS).decision;
    let whose = decision.binding.as_ref().and_then(|limit| limit.subject().map(str::to_owned));
    (decision.verdict, whose, decision.retry_after_ms)
}

/// Slots held by the account, and by each subject.
fn held(world: &World) -> (u64, Vec<u64>) {
    let subjects = world.account.subjects().into_iter().flat_map(|all| all.iter());
    let of_subjects = subjects
        .map(|(_, subject)| subject.state.ledgers().iter().map(|ledger| ledger.reserved).sum());
    let own = world.account.ledgers().iter().map(|ledger| ledger.reserved).sum();
    (own, of_subjects.collect())
}

#[test]
fn a_slot_is_taken_at_both_levels_or_at_none() {
    let mut world = world(3, 2);
    let first = slot(&mut world, "user:x", HOUR_MS);
    slot(&mut world, "team:a/user:x", HOUR_MS);
    assert_eq!(held(&world), (2, vec![1, 1]), "another user than the one without a team");
    slot(&mut world, "user:x", 2 * HOUR_MS);
    // Both are full: the account's binds, and who waits for the later one finds room in both.
    assert_eq!(refusal(&mut world, "user:x"), (FULL, None, Some(HOUR_MS)));
    assert_eq!(refusal(&mut world, "user:y"), (FULL, None, Some(HOUR_MS)));
    assert_eq!(held(&world), (3, vec![2, 1]), "a refusal makes no subject");
    world.try_hold(first, HoldOp::Release).unwrap();
    assert_eq!(held(&world), (2, vec![1, 1]));
    slot(&mut world, "user:x", HOUR_MS);
}

#[test]
fn who_is_full_is_told_when_time_makes_room() {
    let mut world = world(9, 2);
    slot(&mut world, "user:x", 3 * HOUR_MS);
    slot(&mut world, "user:y", 1);
    slot(&mut world, "user:x", 2 * HOUR_MS);
    let whose = Some("user:x".to_owned());
    assert_eq!(refusal(&mut world, "user:x"), (FULL, whose.clone(), Some(2 * HOUR_MS)));
    let all = ask(&mut world, "user:x", FeatureOp::Reserve { units: 3, hold_ms: 1 }).unwrap();
    assert_eq!(all.decision.retry_after_ms, None, "never so many at a time");
    // A screen shows the same.
    let seen = FeatureOp::Check { units: 1, attempt: false };
    let seen = ask(&mut world, "user:x", seen).unwrap().decision;
    assert_eq!((seen.verdict, seen.retry_after_ms), (FULL, Some(2 * HOUR_MS)));
    // Without a subject nothing but the account's counts.
    assert!(world.try_ask("jobs", FeatureOp::Reserve { units: 5, hold_ms: 1 }).is_ok());
}

#[test]
fn a_crashed_client_holds_no_slot_of_its_user_for_ever() {
    let mut world = world(5, 1);
    let id = slot(&mut world, "user:x", HOUR_MS);
    world.now += HOUR_MS - 1;
    // The heartbeat keeps both.
    world.try_hold(id, HoldOp::Extend { hold_ms: Some(HOUR_MS), additional_units: 0 }).unwrap();
    world.now += HOUR_MS - 1;
    assert_eq!(refusal(&mut world, "user:x").0, FULL);
    let more = HoldOp::Extend { hold_ms: None, additional_units: 1 };
    let refused = world.try_hold(id, more).unwrap().decision;
    assert_eq!((refused.verdict, refused.retry_after_ms), (FULL, Some(1)));
    world.now += 1;
    slot(&mut world, "user:x", HOUR_MS);
    assert_eq!(held(&world), (1, vec![1]));
    // What had ended is released late, and gives nothing back twice.
    world.try_hold(id, HoldOp::Release).unwrap();
    assert_eq!(held(&world), (1, vec![1]));
}

#[test]
fn slots_of_a_subject_are_held_and_nothing_else() {
    let mut world = world(5, 2);
    let wrong = [
        FeatureOp::Consume { units: 1 },
        FeatureOp::Record { units: 1 },
        FeatureOp::ReserveCharging { units: 1, hold_ms: 1 },
    ];
    for op in wrong {
        assert_eq!(ask(&mut world, "user:x", op), Err(OpError::SlotsAreHeld), "{op:?}");
    }
    let id = slot(&mut world, "user:x", HOUR_MS);
    assert_eq!(world.try_hold(id, HoldOp::Commit { units: 1 }), Err(OpError::SlotsAreHeld));
}

#[test]
fn only_the_account_is_told_of() {
    let mut world = world(4, 1);
    slot(&mut world, "user:x", HOUR_MS);
    assert_eq!(refusal(&mut world, "user:x").1, Some("user:x".to_owned()));
    let signals = |world: &World| {
        world.effects.iter().filter(|effect| matches!(effect, Effect::Signal(_))).count()
    };
    assert_eq!(signals(&world), 0);
    slot(&mut world, "user:y", HOUR_MS);
    assert_eq!(signals(&world), 1, "half of the account's slots");
}

#[test]
fn an_add_on_adds_and_never_takes_away() {
    let buy = |world: &mut World, quantity| {
        let addon = world.id("more");
        let extra = world.account.profile.extra.get_or_insert_default();
        extra.addons = vec![AddOn { addon, quantity }];
    };
    let most = |world: &mut World| {
        let mut count = 0;
        while count < 9 && acquire(world, "user:x", HOUR_MS).decision.verdict.is_allowed() {
            count += 1;
        }
        count
    };
    for (planned, bought, expected) in
        [(Some(2), Some(1), 4), (Some(2), None, 2), (None, Some(1), 9), (None, None, 9)]
    {
        let catalog = catalog(slots(Some(7), planned), slots(Some(1), bought));
        let mut world = World::of(catalog);
        buy(&mut world, 2);
        assert_eq!(most(&mut world), expected, "{planned:?} {bought:?}");
    }
}

#[test]
fn an_override_is_of_all_subjects_or_of_one() {
    let mut world = world(9, 1);
    let limit = world.id("concurrent_each");
    let said = |included_units| OverrideValue::Limit { limit, included_units };
    world.put_override("jobs", said(Some(2)));
    slot(&mut world, "user:x", HOUR_MS);
    slot(&mut world, "user:x", HOUR_MS);
    assert_eq!(refusal(&mut world, "user:x").0, FULL);
    let one = |included_units| OverrideValue::SubjectLimit {
        subject: "user:x".into(),
        limit,
        included_units,
    };
    world.put_override("jobs", one(None));
    slot(&mut world, "user:x", HOUR_MS);
    slot(&mut world, "user:y", HOUR_MS);
    slot(&mut world, "user:y", HOUR_MS);
    assert_eq!(refusal(&mut world, "user:y").0, FULL);
    world.put_override("jobs", one(Some(0)));
    assert_eq!(refusal(&mut world, "user:x"), (FULL, Some("user:x".to_owned()), None));
}

#[test]
fn a_promise_gives_more_and_never_less() {
    for (planned, promised, expected) in
        [(Some(1), Some(3), 3), (Some(3), Some(1), 3), (None, Some(1), 9), (Some(1), None, 9)]
    {
        let mut world = World::of(catalog(slots(Some(9), planned), slots(Some(1), None)));
        let limit = world.id("concurrent_each");
        world.put_override("jobs", OverrideValue::Limit { limit, included_units: promised });
        let extra = world.account.profile.extra.as_mut().unwrap();
        extra.overrides[0].at_least = true;
        let mut count = 0;
        while acquire(&mut world, "user:x", HOUR_MS).decision.verdict.is_allowed() {
            count += 1;
        }
        assert_eq!(count, expected, "{planned:?} {promised:?}");
    }
}

/// A catalog that gives subjects nothing any more settles what they hold.
#[test]
fn slots_whose_most_is_gone_are_given_back() {
    let mut world = world(3, 1);
    let id = slot(&mut world, "user:x", HOUR_MS);
    world.install(catalog(slots(Some(3), None), slots(Some(1), None)));
    slot(&mut world, "user:x", HOUR_MS);
    assert_eq!(held(&world), (2, vec![1]), "the new one is of the account alone");
    world.try_hold(id, HoldOp::Release).unwrap();
    assert_eq!(held(&world), (1, vec![0]));
}

/// Who holds no slot leaves the memory when many come, and is no row of the history.
#[test]
fn idle_subjects_make_room() {
    let mut world = world(1_000, 1);
    let stays = slot(&mut world, "user:stays", HOUR_MS);
    for user in 0..200 {
        let id = slot(&mut world, &format!("user:{user}"), HOUR_MS);
        world.try_hold(id, HoldOp::Release).unwrap();
    }
    let known = world.account.subjects().unwrap();
    assert!(known.len() < 80, "{} of 201", known.len());
    let closed = |effect: &Effect| match effect {
        Effect::OfSubject(_, effect) => matches!(**effect, Effect::LedgerClosed(..)),
        _ => false,
    };
    assert!(!world.effects.iter().any(closed));
    assert_eq!(refusal(&mut world, "user:stays").0, FULL);
    world.try_hold(stays, HoldOp::Release).unwrap();
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let mut effects = Effects::new();
    decide::settle_all(cx, &world.account, &mut effects);
    slot(&mut world, "user:stays", HOUR_MS);
}
