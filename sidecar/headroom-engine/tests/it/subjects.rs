//! Users and teams inside an account in the memory: one winner for the last unit of one, monitors, retries,
//! restarts, and catalogs that take a limit of theirs away.

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, PlanLimitSpec, Policy,
};
use headroom_core::credits::{CreditPrice, PoolTerms, Rounding};
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::migrate::Migration;
use headroom_core::policy::LimitTerms;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;
use headroom_engine::admin::{CatalogRefusal, OverrideChange, OverrideTerms};
use headroom_engine::engine::{EngineError, FeatureRequest, Reply, Wants};
use headroom_engine::subjects::Erasing;

use crate::house::{HOUR_MS, House, T0, gist, spec};
use crate::races::{race, winners};

/// Each user has so many `tokens` for ever, the account 1,000.
fn per_user(units: u64) -> CatalogSpec {
    let mut spec = spec(1_000, Some("free"));
    let FeatureKindSpec::Quota { limits } = &mut spec.features[0].kind else { panic!() };
    let per = Some("user".to_owned());
    limits.push(LimitSpec { limit: "own".to_owned(), window: WindowRule::Lifetime, per });
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = &mut plan.entitlements[0].1 else { panic!() };
        limits.push(PlanLimitSpec {
            limit: "own".to_owned(),
            included_units: Some(units),
            soft_limits_bp: vec![],
            policy: Policy::Block,
            terms: LimitTerms::default(),
        });
    }
    spec
}

/// The same, and a pool of 100 credits pays 2 for each.
fn paid(units: u64) -> CatalogSpec {
    let mut spec = per_user(units);
    let price = CreditPrice { credits: 2, per: 1, rounding: Rounding::Up };
    spec.features.push(FeatureSpec {
        feature: "credits".to_owned(),
        kind: FeatureKindSpec::Credits {
            window: WindowRule::Billing { months: 1 },
            rate_card: vec![("tokens".to_owned(), price)],
        },
        ..spec.features[0].clone()
    });
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = plan.entitlements[0].1.clone() else { panic!() };
        let paid_by = "credits".to_owned();
        plan.entitlements[0].1 = EntitlementSpec::PaidQuota { limits, paid_by };
        let terms = PoolTerms { included_units: 100, ..PoolTerms::default() };
        plan.entitlements.push(("credits".to_owned(), EntitlementSpec::Credits { terms }));
    }
    spec
}

impl House {
    fn ask_for(
        &self,
        (account, subject): (&str, &str),
        (op, synthetic): (FeatureOp, bool),
        key: &str,
    ) -> Result<Box<Reply>, EngineError> {
        let subject = Some(SubjectPath::new(subject).expect("a path"));
        let wants = Wants { all_limits: true, ..Wants::default() };
        let (feature, now) = ("tokens", Millis(T0));
        let rq = FeatureRequest {
            dimensions: Default::default(),
            account,
            feature,
            op,
            synthetic,
            key,
            now,
            wants,
            subject,
        };
        self.engine.feature(&self.engine.catalog(), &rq)
    }

    fn consume_for(&self, whose: (&str, &str), units: u64, key: &str) -> Box<Reply> {
        self.ask_for(whose, (FeatureOp::Consume { units }, false), key).unwrap()
    }

    /// Used and reserved of each subject, by name.
    fn of_subjects(&self, account: &str) -> Vec<(String, u64, u64)> {
        let view = self.engine.subjects(account, Millis(T0)).unwrap();
        let sums = view.subjects.into_iter().map(|subject| {
            let used = subject.ledgers.iter().map(|ledger| ledger.used).sum();
            (subject.name, used, subject.ledgers.iter().map(|ledger| ledger.reserved).sum())
        });
        sums.collect()
    }
}

/// Check-then-update would admit two callers on the last unit.
#[test]
fn the_last_unit_of_a_subject_is_given_once() {
    let house = House::of(per_user(1), 1_000_000);
    let rounds = race(|thread, round| {
        let account = format!("acct{round}");
        let reply = house.consume_for((&account, "team:a/user:x"), 1, &format!("k{thread}"));
        reply.outcome.decision.verdict
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(winners(results), 1, "round {round}");
        let account = format!("acct{round}");
        assert_eq!(house.of_subjects(&account), [("team:a/user:x".to_owned(), 1, 0)]);
        assert_eq!(house.counts(&account), (1, 0), "round {round}");
    }
}

#[test]
fn a_key_belongs_to_a_subject_and_a_retry_is_answered_alike() {
    let house = House::of(paid(10), 1_000_000);
    let first = house.consume_for(("acme", "user:x"), 10, "a");
    assert_eq!(first.outcome.decision.charge().unwrap().units, 20);
    let again = house.consume_for(("acme", "user:x"), 10, "a");
    assert!(again.replayed);
    assert_eq!(gist(&again), gist(&first));
    let (first, again) = (first.outcome.decision, again.outcome.decision);
    assert_eq!(again.charge(), first.charge(), "what the pool paid is said again");
    assert_eq!(again.binding.unwrap().subject(), Some("user:x"));
    let one = (FeatureOp::Consume { units: 10 }, false);
    for subject in ["user:y", "team:x/user:x"] {
        let other = house.ask_for(("acme", subject), one, "a");
        assert_eq!(other.unwrap_err(), EngineError::KeyReused, "{subject}");
    }
    let without = house.ask("acme", FeatureOp::Consume { units: 10 }, "a", T0);
    assert_eq!(without.unwrap_err(), EngineError::KeyReused);
    assert_eq!(house.counts("acme"), (10, 0));
}

#[test]
fn what_monitors_do_for_a_subject_counts_at_no_level() {
    let house = House::of(paid(10), 1_000_000);
    let consume = (FeatureOp::Consume { units: 4 }, true);
    let reply = house.ask_for(("acme", "user:x"), consume, "m").unwrap();
    let binding = reply.outcome.decision.binding.unwrap();
    assert_eq!((binding.subject(), binding.ledger.used), (Some("user:x"), 4), "as if it counted");
    assert_eq!(house.of_subjects("acme"), []);
    let as_customer = house.ask_for(("acme", "user:x"), (consume.0, false), "m");
    assert_eq!(as_customer.unwrap_err(), EngineError::KeyReused);
    // A monitor's hold is extended and committed, and nothing of it is anywhere.
    house.consume_for(("acme", "user:x"), 3, "c");
    let reserve = FeatureOp::ReserveCharging { units: 2, hold_ms: HOUR_MS };
    let held = house.ask_for(("acme", "user:x"), (reserve, true), "r").unwrap();
    let id = held.outcome.amounts.reservation.unwrap();
    let more = HoldOp::Extend { hold_ms: None, additional_units: 1 };
    house.hold("acme", id, more, "e").unwrap();
    house.hold("acme", id, HoldOp::Commit { units: 9 }, "d").unwrap();
    assert_eq!(house.of_subjects("acme"), [("user:x".to_owned(), 3, 0)]);
    assert_eq!(house.counts("acme"), (3, 0));
}

#[test]
fn subjects_and_their_holds_are_the_same_after_a_restart() {
    for with_checkpoint in [false, true] {
        let house = House::of(paid(10), 1_000_000);
        house.consume_for(("acme", "user:x"), 3, "a");
        let reserve = FeatureOp::Reserve { units: 5, hold_ms: HOUR_MS };
        let held = house.ask_for(("acme", "team:a/user:y"), (reserve, false), "b").unwrap();
        let id = held.outcome.amounts.reservation.unwrap();
        if with_checkpoint {
            house.store.keep(house.checkpoint());
        }
        house.consume_for(("acme", "user:z"), 1, "c");
        let before = house.of_subjects("acme");
        let house = house.reopen(paid(10));
        assert_eq!(house.of_subjects("acme"), before);
        assert!(house.consume_for(("acme", "user:x"), 3, "a").replayed);
        house.hold("acme", id, HoldOp::Commit { units: 6 }, "d").unwrap();
        assert_eq!(house.of_subjects("acme")[1], ("team:a/user:y".to_owned(), 6, 0));
        assert_eq!(house.counts("acme"), (10, 0));
        assert_eq!(house.of_subjects("acme").len(), 3, "numbers go on where they were");
    }
}

#[test]
fn an_override_for_one_subject_is_the_last_word_for_it_alone() {
    let house = House::of(per_user(10), 1_000_000);
    house.consume_for(("acme", "user:x"), 10, "a");
    let put = |house: &House, change: OverrideChange<'_>| {
        let times = OverrideTerms::default();
        house.engine.put_override("acme", "tokens", &change, times, Millis(T0))
    };
    let x = SubjectPath::new("user:x").unwrap();
    put(&house, OverrideChange::SubjectLimit(x, "own", Some(15))).unwrap();
    // For all of them there is less, whenever that was said.
    put(&house, OverrideChange::Limit("own", Some(3))).unwrap();
    let allowed = |house: &House, subject: &str, units, key: &str| {
        house.consume_for(("acme", subject), units, key).outcome.decision.verdict.is_allowed()
    };
    for house in [&house, &house.reopen(per_user(10))] {
        assert!(!allowed(house, "user:x", 6, "b"));
        assert!(!allowed(house, "user:y", 4, "c"));
        assert!(!allowed(house, "user:x/agent:z", 6, "d"), "who is below is charged to it");
        assert!(!allowed(house, "team:a/user:x", 4, "e"), "another user x");
    }
    let house = house.reopen(per_user(10));
    assert!(allowed(&house, "user:x", 5, "f") && allowed(&house, "user:y", 3, "g"));
    // The override of the account's limit is another thing.
    put(&house, OverrideChange::Limit("total", Some(18))).unwrap();
    assert!(!allowed(&house, "user:q", 1, "h"));
    let names = |house: &House| house.engine.profile("acme").unwrap();
    house.engine.delete_override("acme", "tokens", (None, None), Millis(T0)).unwrap();
    assert_eq!(names(&house).overrides().len(), 1, "those for subjects are named");
    let of_x = (Some("own"), Some("user:x"));
    house.engine.delete_override("acme", "tokens", of_x, Millis(T0)).unwrap();
    assert_eq!(names(&house).overrides(), []);
}

#[test]
fn an_override_for_a_subject_fits_its_limit() {
    let house = House::of(per_user(10), 1_000_000);
    house.consume("acme", 1, "a");
    let put = |subject: &str, feature: &str, limit: &str| {
        let change =
            OverrideChange::SubjectLimit(SubjectPath::new(subject).unwrap(), limit, Some(1));
        let times = OverrideTerms::default();
        let refused = house.engine.put_override("acme", feature, &change, times, Millis(T0));
        refused.unwrap_err().to_string()
    };
    assert_eq!(
        put("user:x/agent:a", "tokens", "own"),
        "limit \"own\" is of each user: end the subject with a level `user:…`"
    );
    assert_eq!(
        put("user:x", "tokens", "total"),
        "limit \"total\" is of the account: leave the subject out"
    );
    assert_eq!(put("user:x", "tokens", "owl"), "the catalog has no limit \"owl\"");
}

#[test]
fn whose_name_is_erased_has_no_override_any_more() {
    let house = House::of(per_user(10), 1_000_000);
    house.consume("acme", 1, "a");
    for name in ["user:x", "user:xy", "user:z"] {
        let change = OverrideChange::SubjectLimit(SubjectPath::new(name).unwrap(), "own", Some(1));
        let times = OverrideTerms::default();
        house.engine.put_override("acme", "tokens", &change, times, Millis(T0)).unwrap();
    }
    house.consume_for(("acme", "user:x"), 1, "b");
    let erase = |name: &str| {
        let path = SubjectPath::new(name).unwrap();
        let seen = Erasing { position: house.store.last(), ..Erasing::default() };
        house.engine.erase_subject("acme", path, &seen, Millis(T0)).unwrap().0
    };
    assert_eq!(erase("user:x"), 1, "one name, in two places");
    assert_eq!(erase("user:x"), 0);
    assert_eq!(erase("user:z"), 1, "it was never counted in");
    let house = house.reopen(per_user(10));
    let profile = house.engine.profile("acme").unwrap();
    assert_eq!(profile.overrides().len(), 1);
    assert_eq!(house.of_subjects("acme"), [("erased:1".to_owned(), 1, 0)]);
}

/// Why a catalog is not taken. `None`: it is.
fn refused(house: &House, spec: CatalogSpec) -> Option<String> {
    let source = format!("{spec:?}");
    match house.engine.install_catalog(spec, &source, Millis(T0)) {
        Ok(_) => None,
        Err(CatalogRefusal::Problems(problems)) => Some(problems[0].message.clone()),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_limit_of_subjects_is_not_taken_away_unsaid() {
    let house = House::of(per_user(10), 1_000_000);
    house.consume_for(("acme", "user:x"), 3, "a");
    house.consume_for(("acme", "user:y"), 3, "b");
    let gone = refused(&house, spec(1_000, Some("free"))).expect("it counts something");
    assert!(
        gone.contains("limit `own` of `tokens` is gone, but 1 account has used it (2 ledgers)")
    );
    let mut per_team = per_user(10);
    let FeatureKindSpec::Quota { limits } = &mut per_team.features[0].kind else { panic!() };
    limits[1].per = Some("team".to_owned());
    let other = refused(&house, per_team).expect("it counts for others");
    assert!(other.contains("`own` of `tokens` was counted for each user and is now for each team"));
    // The window of a lifetime is ended for every subject.
    let mut monthly = per_user(10);
    let FeatureKindSpec::Quota { limits } = &mut monthly.features[0].kind else { panic!() };
    limits[1].window = WindowRule::Billing { months: 1 };
    assert!(refused(&house, monthly.clone()).expect("for ever").contains("`end_lifetime: own"));
    let (feature, limit) = ("tokens".to_owned(), "own".to_owned());
    monthly.migrations.push(Migration::EndLifetime { feature, limit });
    assert_eq!(refused(&house, monthly), None);
    let ended = house.engine.subjects("acme", Millis(T0)).unwrap().subjects;
    assert!(ended.iter().all(|subject| !subject.ledgers[0].window.is_lifetime()), "{ended:?}");
}
