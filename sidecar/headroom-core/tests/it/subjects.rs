//! Limits that subjects have for themselves.

use headroom_core::account::OverrideValue;
use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec, Policy};
use headroom_core::decide::{self, Context, FeatureOp, HoldOp};
use headroom_core::decision::{Denial, OpError, Outcome, Verdict};
use headroom_core::effect::{Effect, Effects};
use headroom_core::limits::{SUBJECTS_FREED_MAX, SUBJECTS_MAX};
use headroom_core::subject::{SubjectId, SubjectPath};
use headroom_core::time::Millis;
use headroom_core::window::{Every, SpanUnit, WindowRule};

use crate::credits;
use crate::world::{DAY_MS, HOUR_MS, Limit, World, daily, spec, total, unlimited};

/// The account has the first limit, and each user the others.
pub(crate) fn catalog(limits: &[Limit]) -> CatalogSpec {
    let mut spec = spec(limits, Default::default());
    if let FeatureKindSpec::Quota { limits } = &mut spec.features[0].kind {
        for limit in limits.iter_mut().skip(1) {
            limit.per = Some("user".to_owned());
        }
    }
    spec
}

pub(crate) fn own(included: u64) -> Limit {
    Limit { limit: "own", ..daily(included, Policy::Block) }
}

fn last_day(included: u64) -> Limit {
    let window = WindowRule::Sliding(Every { count: 24, unit: SpanUnit::Hour });
    Limit { limit: "own", window, ..daily(included, Policy::Block) }
}

pub(crate) fn ask(world: &mut World, subject: &str, op: FeatureOp) -> Result<Outcome, OpError> {
    let (mut effects, now) = (Effects::new(), Millis(world.now));
    let cx = Context { catalog: &world.catalog, now };
    decide::settle_all(cx, &world.account, &mut effects);
    world.apply(&effects);
    effects.clear();
    let path = SubjectPath::new(subject).expect("a path");
    let feature = world.feature("tokens");
    let cx = Context { catalog: &world.catalog, now };
    let outcome = decide::decide_feature_for(cx, &world.account, feature, path, op, &mut effects);
    if outcome.is_err() {
        assert_eq!(effects, [], "an error changes nothing");
    }
    world.apply(&effects);
    outcome
}

fn consume(world: &mut World, subject: &str, units: u64) -> Verdict {
    ask(world, subject, FeatureOp::Consume { units }).unwrap().decision.verdict
}

/// Used and reserved of each subject, by name.
pub(crate) fn counts(world: &World) -> Vec<(String, u64, u64)> {
    let subjects = world.account.subjects().into_iter().flat_map(|subjects| subjects.iter());
    let counts = subjects.map(|(_, subject)| {
        let sum = |of: fn(&headroom_core::ledger::Ledger) -> u64| {
            subject.state.ledgers().iter().map(of).sum()
        };
        (subject.name.to_string(), sum(|ledger| ledger.used), sum(|ledger| ledger.reserved))
    });
    counts.collect()
}

#[test]
fn all_levels_are_charged_or_none() {
    let mut world = World::of(catalog(&[daily(10, Policy::Block), own(4)]));
    assert_eq!(consume(&mut world, "team:a/user:x/agent:z", 4), Verdict::Allowed);
    assert_eq!(world.counts(), (4, 0, 0));
    assert_eq!(counts(&world), [("team:a/user:x".to_owned(), 4, 0)], "only levels with limits");
    let refused = ask(&mut world, "team:a/user:x", FeatureOp::Consume { units: 1 }).unwrap();
    assert_eq!(refused.decision.verdict, Verdict::Denied(Denial::QuotaExhausted));
    let binding = refused.decision.binding.unwrap();
    assert_eq!(binding.subject(), Some("team:a/user:x"));
    assert_eq!(world.counts(), (4, 0, 0));
    assert_eq!(consume(&mut world, "team:b/user:x", 4), Verdict::Allowed, "of another team");
    let refused = ask(&mut world, "user:y", FeatureOp::Consume { units: 3 }).unwrap();
    assert_eq!(refused.decision.binding.unwrap().subject(), None, "the account's own limit");
    assert_eq!(counts(&world).len(), 2, "a refusal makes no subject");
    // Without a subject there is nothing but the account.
    assert!(world.consume(2).decision.verdict.is_allowed());
    let debt = ask(&mut world, "user:y", FeatureOp::Record { units: 9 }).unwrap().amounts;
    assert_eq!(debt.debt_units, 9, "the most of all limits");
}

#[test]
fn a_reservation_is_extended_and_settled_at_every_level() {
    for limits in [[unlimited(), own(9)], [unlimited(), last_day(9)]] {
        let mut world = World::of(catalog(&limits));
        let op = FeatureOp::Reserve { units: 5, hold_ms: 2 * DAY_MS };
        let id = ask(&mut world, "user:x", op).unwrap().amounts.reservation.unwrap();
        world.now += 2 * HOUR_MS;
        let extend = |world: &mut World, additional_units| {
            let op = HoldOp::Extend { hold_ms: None, additional_units };
            world.try_hold(id, op).unwrap().decision.verdict
        };
        assert_eq!(extend(&mut world, 5), Verdict::Denied(Denial::InFlight));
        assert_eq!(counts(&world), [("user:x".to_owned(), 0, 5)]);
        assert_eq!(extend(&mut world, 4), Verdict::Allowed);
        assert_eq!(world.counts(), (0, 9, 0));
        assert_eq!(counts(&world), [("user:x".to_owned(), 0, 9)]);
        let part = HoldOp::CommitPart { units: 3, hold_ms: None };
        world.try_hold(id, part).unwrap();
        assert_eq!(counts(&world), [("user:x".to_owned(), 3, 6)]);
        let amounts = world.commit(id, 8).amounts;
        assert_eq!((amounts.surplus_units, amounts.debt_units), (2, 2));
        assert_eq!(counts(&world), [("user:x".to_owned(), 11, 0)]);
        assert_eq!(world.counts(), (11, 0, 0));
    }
}

/// As [`catalog`], and `tokens` are paid by a pool of so many credits at 3 for 10.
fn paid(included_units: u64, own: &Limit) -> CatalogSpec {
    let mut spec = credits::spec(&credits::terms(included_units));
    let with_own = catalog(&[daily(1_000, Policy::Block), own.clone()]);
    spec.features[0].kind = with_own.features[0].kind.clone();
    let EntitlementSpec::Quota { limits } = with_own.plans[0].entitlements[0].1.clone() else {
        unreachable!()
    };
    let paid_by = "credits".to_owned();
    spec.plans[0].entitlements[0].1 = EntitlementSpec::PaidQuota { limits, paid_by };
    spec
}

fn balance(world: &World) -> i64 {
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let pool = world.feature("credits").unwrap();
    decide::pool_state(cx, &world.account, pool).pool().unwrap().balance
}

#[test]
fn credits_are_the_accounts_and_limits_the_subjects() {
    let mut world = World::of(paid(30, &own(50)));
    let outcome = ask(&mut world, "user:x", FeatureOp::Consume { units: 50 }).unwrap();
    assert_eq!(outcome.decision.charge().unwrap().units, 15);
    assert_eq!((balance(&world), counts(&world)), (15, vec![("user:x".to_owned(), 50, 0)]));
    // What the subject's limit refuses costs nothing.
    let refused = ask(&mut world, "user:x", FeatureOp::Consume { units: 1 }).unwrap().decision;
    assert_eq!(refused.verdict, Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(refused.binding.unwrap().subject(), Some("user:x"));
    assert_eq!(balance(&world), 15);
    // What the pool refuses counts at no level.
    world.settled.clear();
    let hold = FeatureOp::Reserve { units: 40, hold_ms: HOUR_MS };
    let id = ask(&mut world, "user:y", hold).unwrap().amounts.reservation.unwrap();
    let refused = ask(&mut world, "user:z", FeatureOp::Consume { units: 11 }).unwrap().decision;
    assert_eq!(refused.verdict, Verdict::Denied(Denial::InFlight), "12 of 15 credits are held");
    assert_eq!(counts(&world).len(), 2);
    // The commit is taken from the pool and from the level.
    let amounts = world.commit(id, 60).amounts;
    assert_eq!((amounts.surplus_units, amounts.debt_units), (20, 10), "above the 50 of a day");
    assert_eq!(balance(&world), -3, "the pool owes what no grant paid");
    assert_eq!(counts(&world)[1], ("user:y".to_owned(), 60, 0));
    let owed = ask(&mut world, "user:z", FeatureOp::Record { units: 10 }).unwrap();
    assert_eq!(owed.decision.charge().unwrap().debt_units, 3);
    assert_eq!(counts(&world)[2], ("user:z".to_owned(), 10, 0));
}

#[test]
fn a_feature_that_credits_pay_needs_no_limit_of_the_account() {
    let mut spec = paid(30, &own(50));
    let EntitlementSpec::PaidQuota { limits, .. } = &mut spec.plans[0].entitlements[0].1 else {
        unreachable!()
    };
    limits.retain(|limit| limit.limit == "own");
    let mut world = World::of(spec);
    assert_eq!(consume(&mut world, "user:x", 50), Verdict::Allowed);
    assert!(!consume(&mut world, "user:x", 1).is_allowed());
    assert_eq!(world.counts(), (50, 0, 0), "what the account uses is counted all the same");
}

#[test]
fn shadow_mode_looks_at_every_level_and_refuses_at_none() {
    let mut spec = catalog(&[daily(100, Policy::Block), own(4)]);
    spec.features[0].shadow = true;
    let mut world = World::of(spec);
    let outcome = ask(&mut world, "user:x", FeatureOp::Consume { units: 5 }).unwrap();
    assert!(outcome.decision.verdict.is_allowed());
    assert_eq!(outcome.decision.shadow, Some(Denial::QuotaExhausted));
    assert_eq!(outcome.decision.binding.unwrap().subject(), Some("user:x"));
    assert_eq!(outcome.amounts.debt_units, 0);
    assert_eq!(counts(&world), [("user:x".to_owned(), 5, 0)]);
    let hold = FeatureOp::Reserve { units: 1, hold_ms: HOUR_MS };
    let held = ask(&mut world, "user:x", hold).unwrap();
    assert_eq!(held.decision.shadow, Some(Denial::QuotaExhausted));
    let id = held.amounts.reservation.unwrap();
    let more = HoldOp::Extend { hold_ms: None, additional_units: 1 };
    assert_eq!(world.try_hold(id, more).unwrap().decision.shadow, Some(Denial::QuotaExhausted));
}

#[test]
fn the_end_of_a_hold_is_charged_at_every_level_and_a_commit_corrects_it_there() {
    let mut world = World::of(catalog(&[unlimited(), own(9)]));
    let hold = FeatureOp::ReserveCharging { units: 6, hold_ms: HOUR_MS };
    let id = ask(&mut world, "user:x", hold).unwrap().amounts.reservation.unwrap();
    world.try_hold(id, HoldOp::CommitPart { units: 2, hold_ms: None }).unwrap();
    assert_eq!(counts(&world), [("user:x".to_owned(), 2, 4)]);
    world.now += HOUR_MS;
    assert_eq!(consume(&mut world, "user:x", 4), Verdict::Denied(Denial::QuotaExhausted));
    assert_eq!(counts(&world), [("user:x".to_owned(), 6, 0)]);
    assert_eq!(world.counts(), (6, 0, 0));
    let late = world.commit(id, 1).amounts;
    assert!(late.late);
    assert_eq!(counts(&world), [("user:x".to_owned(), 3, 0)]);
    assert_eq!(world.counts(), (3, 0, 0));
}

#[test]
fn subjects_raise_no_signals() {
    let limits = [total(100, Policy::Block).soft(&[5_000]), own(4).soft(&[5_000])];
    let mut world = World::of(catalog(&limits));
    for units in [2, 2, 1] {
        consume(&mut world, "user:x", units);
    }
    assert!(!world.effects.iter().any(|effect| match effect {
        Effect::OfSubject(_, of) => matches!(**of, Effect::Signal(_)),
        effect => matches!(effect, Effect::Signal(_)),
    }));
}

#[test]
fn subjects_in_which_nothing_counts_any_more_make_room() {
    let mut world = World::of(catalog(&[unlimited(), own(4)]));
    for n in 0..SUBJECTS_MAX {
        let name = format!("user:{n}").into();
        world.account.apply(&Effect::Subject(SubjectId(n as u32 + 1), name));
    }
    // All of them are used today.
    let mut ledger = None;
    assert!(ask(&mut world, "user:0", FeatureOp::Consume { units: 1 }).is_ok());
    for (_, subject) in world.account.subjects().unwrap().iter() {
        ledger = ledger.or(subject.state.ledgers().first().copied());
    }
    for n in 0..SUBJECTS_MAX as u32 {
        let effect = Effect::Ledger(ledger.unwrap());
        world.account.apply(&Effect::OfSubject(SubjectId(n + 1), Box::new(effect)));
    }
    let full = OpError::TooManySubjects { subjects: SUBJECTS_MAX, windows: SUBJECTS_MAX };
    let full = Err(full);
    let one = FeatureOp::Consume { units: 1 };
    assert_eq!(ask(&mut world, "user:new", one), full);
    assert!(ask(&mut world, "user:7", one).is_ok(), "who is known goes on");
    world.now += DAY_MS;
    assert!(ask(&mut world, "user:new", one).is_ok());
    let left = world.account.subjects().unwrap().len();
    assert_eq!(left, SUBJECTS_MAX - SUBJECTS_FREED_MAX + 1);
    let closed = world.effects.iter().filter(|effect| match effect {
        Effect::OfSubject(_, of) => matches!(**of, Effect::LedgerClosed(..)),
        _ => false,
    });
    assert_eq!(closed.count(), SUBJECTS_FREED_MAX, "what they used goes to the history");
    let new = world.account.subjects().unwrap().named("user:new").unwrap();
    assert_eq!(new, SubjectId(SUBJECTS_MAX as u32 + 1), "no number is given twice");
}

#[test]
fn an_erased_subject_goes_on_without_its_name() {
    let mut world = World::of(catalog(&[unlimited(), own(4)]));
    for name in ["user:a", "user:a/agent:x", "user:ab"] {
        consume(&mut world, name, 1);
    }
    let subjects = world.account.subjects().unwrap();
    let ids: Vec<SubjectId> = subjects.at_or_below(SubjectPath::new("user:a").unwrap()).collect();
    assert_eq!(ids, [SubjectId(1)], "agents have no limits of their own");
    let erased = Effect::SubjectErased(SubjectId(1), "user:a".into());
    world.apply(&[erased]);
    let named = |name: &str, used| (name.to_owned(), used, 0);
    assert_eq!(counts(&world), [named("erased:1", 2), named("user:ab", 1)]);
    let again = world.account.clone();
    let mut other = World::of(catalog(&[unlimited(), own(4)]));
    other.apply(&again.further());
    assert_eq!(counts(&other), counts(&world), "a snapshot knows no more");
    consume(&mut world, "user:a", 4);
    assert_eq!(counts(&world).len(), 3, "who comes back is new");
}

#[test]
fn a_type_that_was_most_probably_meant_to_be_another_is_found() {
    // `work` is limited per user and per team, `tokens` per user, `free` per nobody, `builds` per agent.
    let mut spec = catalog(&[daily(100, Policy::Block), own(4)]);
    let more = |spec: &mut CatalogSpec, name: &str, pers: &[Option<&str>]| {
        let mut feature = spec.features[0].clone();
        feature.feature = name.to_owned();
        let limits =
            pers.iter().enumerate().map(|(place, per)| headroom_core::catalog::LimitSpec {
                limit: format!("l{place}"),
                window: WindowRule::Lifetime,
                per: per.map(str::to_owned),
            });
        feature.kind = FeatureKindSpec::Quota { limits: limits.collect() };
        spec.features.push(feature);
    };
    more(&mut spec, "free", &[None]);
    more(&mut spec, "work", &[None, Some("user"), Some("team")]);
    more(&mut spec, "builds", &[None, Some("agent")]);
    let world = World::of(spec);
    let found = |feature: &str, subject: &str| {
        let path = SubjectPath::new(subject).unwrap();
        decide::mistyped(&world.catalog, world.feature(feature).unwrap(), path)
    };
    for (feature, subject, kind, meant) in [
        ("tokens", "usr:x", "usr", Some("user")),
        ("tokens", "users:x", "users", Some("user")),
        ("tokens", "service:cron", "service", None),
        ("tokens", "org:o/service:cron", "service", None),
        ("tokens", "team:t/usr:x", "usr", Some("user")),
        ("work", "team:t/usr:x", "usr", Some("user")),
        ("work", "taem:t/user:x", "taem", Some("team")),
    ] {
        let wrong = found(feature, subject).expect(subject);
        assert_eq!(
            (&*wrong.kind, wrong.meant.as_deref()),
            (kind, meant),
            "{feature} for {subject}"
        );
    }
    for (feature, subject) in [
        ("tokens", "user:x"),
        ("tokens", "org:o/user:x"),
        // It is limited elsewhere, and this is a request of the whole team.
        ("tokens", "team:t"),
        ("tokens", "agent:a"),
        ("tokens", "org:o/team:t"),
        ("work", "org:o/team:t"),
        ("free", "usr:x"),
        ("free", "service:cron"),
    ] {
        assert_eq!(found(feature, subject), None, "{feature} for {subject}");
    }
    let told = found("tokens", "usr:x").unwrap().to_string();
    let expected = "no limit of the catalog is per `usr`, and `tokens` is limited per `user`, did you mean \
                    `user`?";
    assert_eq!(told, expected);
}

/// What is promised gives more and never less: a limit that there is not is more than any number.
#[test]
fn a_promise_makes_no_limit_that_the_plan_does_not_give() {
    let mut given = catalog(&[daily(9, Policy::Block), own(2)]);
    let EntitlementSpec::Quota { limits } = &mut given.plans[0].entitlements[0].1 else { panic!() };
    limits.retain(|limit| limit.limit != "own");
    for (of_one, at_least, expected) in
        [(false, true, 9), (true, true, 9), (false, false, 1), (true, false, 1)]
    {
        let mut world = World::of(given.clone());
        let (limit, included_units) = (world.id("own"), Some(1));
        let value = match of_one {
            true => OverrideValue::SubjectLimit { subject: "user:x".into(), limit, included_units },
            false => OverrideValue::Limit { limit, included_units },
        };
        world.put_override("tokens", value);
        world.account.profile.extra.as_mut().unwrap().overrides[0].at_least = at_least;
        let mut count = 0;
        while consume(&mut world, "user:x", 1).is_allowed() {
            count += 1;
        }
        assert_eq!(count, expected, "{of_one} {at_least}");
    }
}
