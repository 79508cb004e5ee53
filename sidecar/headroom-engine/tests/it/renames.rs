//! Features that get another name: what is known of them goes on, whatever else has the old name or the new
//! one, and at whatever record the sidecar was ended.

use std::sync::Arc;

use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec};
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::migrate::Migration;
use headroom_core::time::Millis;
use headroom_engine::admin::CatalogRefusal;
use headroom_engine::engine::{EngineError, FeatureRequest, Reply, Wants};
use headroom_sim::store::MemStore;

use super::house::{House, T0, finish, gist, recovery, spec};

const KEYS_MAX: usize = 1_000;

/// The catalog of the house with its features called so, and these lines.
fn called(tokens: &str, calls: &str, lines: &[(&str, &str)]) -> CatalogSpec {
    let mut spec = spec(100, Some("free"));
    let name = |feature: &mut String| {
        *feature = if feature == "tokens" { tokens } else { calls }.to_owned();
    };
    spec.features.iter_mut().for_each(|known| name(&mut known.feature));
    let given = spec.plans.iter_mut().flat_map(|plan| &mut plan.entitlements);
    given.for_each(|(feature, _)| name(feature));
    spec.migrations = lines.iter().map(|(from, to)| rename(from, to)).collect();
    spec
}

/// The same without one of its features.
fn without(mut spec: CatalogSpec, feature: &str) -> CatalogSpec {
    spec.features.retain(|known| known.feature != feature);
    for plan in &mut spec.plans {
        plan.entitlements.retain(|(known, _)| known != feature);
    }
    spec
}

fn rename(from: &str, to: &str) -> Migration {
    Migration::RenameFeature { from: from.to_owned(), to: to.to_owned() }
}

fn drop_feature(feature: &str) -> Migration {
    Migration::DropFeature { feature: feature.to_owned() }
}

/// Opens a house as a start does that can read the catalog of before.
fn open(store: &Arc<MemStore>, before: Option<CatalogSpec>, spec: CatalogSpec) -> House {
    let (checkpoint, tail) = store.found();
    let mut recovery = recovery(KEYS_MAX);
    for entry in checkpoint.iter().flat_map(|checkpoint| &checkpoint.entries) {
        recovery.entry(entry).unwrap();
    }
    for (seq, stored) in &tail {
        recovery.record(*seq, &stored.bytes).unwrap();
    }
    if let Some(before) = before {
        recovery.coming_from(before);
    }
    let engine = finish(recovery, spec, store, KEYS_MAX);
    House { engine: Arc::new(engine), store: Arc::clone(store), keys_max: KEYS_MAX }
}

fn install(house: &House, spec: &CatalogSpec) -> Result<(), String> {
    let installed = house.engine.install_catalog(spec.clone(), &format!("{spec:?}"), Millis(T0));
    installed.map(drop).map_err(|refusal| match refusal {
        CatalogRefusal::Problems(problems) => {
            let said =
                problems.iter().map(|one| format!("{}: {}", one.path.join("/"), one.message));
            said.collect::<Vec<_>>().join("\n")
        }
        CatalogRefusal::Store(refusal) => refusal.to_string(),
    })
}

fn ask(house: &House, feature: &str, op: FeatureOp, key: &str) -> Result<Box<Reply>, EngineError> {
    let rq = FeatureRequest {
        dimensions: Default::default(),
        account: "acme",
        feature,
        op,
        synthetic: false,
        key,
        now: Millis(T0),
        wants: Wants::default(),
        subject: None,
    };
    house.engine.feature(&house.engine.catalog(), &rq)
}

fn consume(house: &House, feature: &str, units: u64, key: &str) -> Box<Reply> {
    ask(house, feature, FeatureOp::Consume { units }, key).unwrap()
}

/// What is used of features, by what they are called.
fn used(house: &House) -> Vec<(String, u64, u64)> {
    let catalog = house.engine.catalog();
    let usage = house.engine.usage("acme", Millis(T0)).unwrap();
    let line = |ledger: &headroom_core::ledger::Ledger| {
        (catalog.feature_text(ledger.feature).to_owned(), ledger.used, ledger.reserved)
    };
    let mut lines: Vec<_> = usage.ledgers.iter().map(line).collect();
    lines.sort();
    lines
}

fn lines(all: &[(&str, u64)]) -> Vec<(String, u64, u64)> {
    all.iter().map(|(feature, used)| ((*feature).to_owned(), *used, 0)).collect()
}

#[test]
fn everything_of_a_renamed_feature_goes_on() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    let first = consume(&house, "tokens", 60, "a");
    let held =
        ask(&house, "tokens", FeatureOp::Reserve { units: 30, hold_ms: 1_000 }, "b").unwrap();
    let new = called("units", "calls", &[("tokens", "units")]);
    install(&house, &new).unwrap();
    assert_eq!(used(&house), [("units".to_owned(), 60, 30)]);
    // A retry is known by its key, under the new name and under the old one.
    for feature in ["units", "tokens"] {
        let again = consume(&house, feature, 60, "a");
        assert!(again.replayed);
        assert_eq!(gist(&again).1, gist(&first).1);
    }
    let refused = consume(&house, "units", 11, "c");
    assert_eq!(refused.outcome.decision.verdict, Verdict::Denied(Denial::InFlight));
    let reservation = held.outcome.amounts.reservation.unwrap();
    house.hold("acme", reservation, HoldOp::Commit { units: 40 }, "d").unwrap();
    assert_eq!(used(&house), lines(&[("units", 100)]));
    // What it is drawn by does not change either.
    let catalog = house.engine.catalog();
    let id = catalog.feature_id("units").unwrap();
    assert_eq!((catalog.names().first_text(id), catalog.text(id)), ("tokens", "tokens"));
}

#[test]
fn the_old_name_is_understood_as_long_as_the_line_stands() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&house, "tokens", 1, "a");
    install(&house, &called("units", "calls", &[("tokens", "units")])).unwrap();
    assert_eq!(consume(&house, "tokens", 2, "b").outcome.decision.verdict, Verdict::Allowed);
    install(&house, &called("units", "calls", &[])).unwrap();
    let refused = consume(&house, "tokens", 4, "c");
    assert_eq!(refused.outcome.decision.verdict, Verdict::Denied(Denial::UnknownFeature));
    // But a retry of what was counted is one.
    assert!(consume(&house, "tokens", 2, "b").replayed);
    assert_eq!(used(&house), lines(&[("units", 3)]));
}

#[test]
fn a_line_that_was_carried_out_may_stay() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&house, "tokens", 5, "a");
    let mut new = called("units", "calls", &[("tokens", "units")]);
    install(&house, &new).unwrap();
    install(&house, &new).unwrap();
    let house = open(&house.store, Some(new.clone()), new.clone());
    new.signals.usage_ceiling = !new.signals.usage_ceiling;
    install(&house, &new).unwrap();
    let (problems, needless) = house.engine.check_catalog(new.clone(), Millis(T0)).unwrap();
    assert_eq!((problems, needless), (vec![], vec![]));
    assert_eq!(used(&house), lines(&[("units", 5)]));
    // Where there never was such a feature there is nothing to do.
    let fresh = House::of(new, KEYS_MAX);
    consume(&fresh, "tokens", 7, "a");
    assert_eq!(used(&fresh), lines(&[("units", 7)]));
}

#[test]
fn whoever_left_out_a_version_of_the_file_follows_the_lines() {
    for steps in [&["units"][..], &[], &["units", "words"]] {
        let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
        consume(&house, "tokens", 5, "a");
        let all = [("tokens", "units"), ("units", "words")];
        for step in steps {
            let count = if *step == "units" { 1 } else { 2 };
            install(&house, &called(step, "calls", &all[..count])).unwrap();
        }
        // The order of the lines says nothing.
        for all in [all, [all[1], all[0]]] {
            install(&house, &called("words", "calls", &all)).unwrap();
        }
        for (feature, key) in [("tokens", "b"), ("units", "c"), ("words", "d")] {
            consume(&house, feature, 1, key);
        }
        assert_eq!(used(&house), lines(&[("words", 8)]), "{steps:?}");
    }
}

#[test]
fn two_features_do_not_become_one() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&house, "tokens", 5, "a");
    consume(&house, "calls", 6, "b");
    let merged = |lines: &[(&str, &str)]| without(called("tokens", "calls", lines), "tokens");
    assert_eq!(
        install(&house, &merged(&[("tokens", "calls")])).unwrap_err(),
        "migrations/0/rename_feature: `tokens` and `calls` are two features in force, and cannot become \
         one: take this line out, and let the counts of the one that goes rest with the migration \
         `drop_feature: tokens`"
    );
    let through_a_third = called("x", "y", &[("tokens", "calls"), ("calls", "y")]);
    assert!(install(&house, &without(through_a_third, "x")).unwrap_err().contains("two features"));
    assert_eq!(used(&house), lines(&[("calls", 6), ("tokens", 5)]));
}

#[test]
fn names_are_swapped_through_a_third_one_and_back() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&house, "tokens", 5, "a");
    consume(&house, "calls", 6, "b");
    let swap = [("tokens", "calls"), ("calls", "tokens")];
    let refused = install(&house, &called("calls", "tokens", &swap)).unwrap_err();
    assert!(
        refused.contains("to swap two names, give one of the two a third name first"),
        "{refused}"
    );
    install(&house, &called("x", "calls", &[("tokens", "x")])).unwrap();
    install(&house, &called("x", "tokens", &[("calls", "tokens")])).unwrap();
    install(&house, &called("calls", "tokens", &[("x", "calls")])).unwrap();
    assert_eq!(used(&house), lines(&[("calls", 5), ("tokens", 6)]));
    let house = open(&house.store, None, called("calls", "tokens", &[("x", "calls")]));
    assert_eq!(used(&house), lines(&[("calls", 5), ("tokens", 6)]));
    install(&house, &called("x", "tokens", &[("calls", "x")])).unwrap();
    install(&house, &called("x", "calls", &[("tokens", "calls")])).unwrap();
    install(&house, &called("tokens", "calls", &[("x", "tokens")])).unwrap();
    assert_eq!(used(&house), lines(&[("calls", 6), ("tokens", 5)]));
    assert_eq!(house.engine.catalog().names().called().count(), 0, "all is as it was");
}

#[test]
fn another_feature_of_a_former_name_counts_by_itself() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&house, "tokens", 5, "a");
    let units = called("units", "calls", &[("tokens", "units")]);
    install(&house, &without(units, "calls")).unwrap();
    // The feature that was `calls` is one called `tokens` now, and nothing says that it is `calls`.
    let both = called("units", "tokens", &[]);
    install(&house, &both).unwrap();
    consume(&house, "tokens", 3, "b");
    consume(&house, "units", 1, "c");
    assert_eq!(used(&house), lines(&[("tokens", 3), ("units", 6)]));
    let house = open(&house.store, Some(both.clone()), both);
    consume(&house, "tokens", 1, "d");
    assert_eq!(used(&house), lines(&[("tokens", 4), ("units", 6)]));
}

#[test]
fn a_name_with_counts_that_rest_is_not_given_away() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&house, "tokens", 5, "a");
    consume(&house, "calls", 6, "b");
    let mut alone = without(called("tokens", "calls", &[]), "calls");
    alone.migrations = vec![drop_feature("calls")];
    install(&house, &alone).unwrap();
    let taken = without(called("calls", "x", &[("tokens", "calls")]), "x");
    assert_eq!(
        install(&house, &taken).unwrap_err(),
        "features/calls: feature `tokens` cannot be called `calls`: another one was called so, and 1 \
         account has used it (1 ledger), which would be left without a name: give it another one"
    );
    // What was never used may go.
    let other = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&other, "tokens", 5, "a");
    install(&other, &alone).unwrap();
    install(&other, &taken).unwrap();
    assert_eq!(used(&other), lines(&[("calls", 5)]));
}

#[test]
fn what_rests_comes_back_under_a_new_name() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&house, "tokens", 5, "a");
    let mut gone = without(called("tokens", "calls", &[]), "tokens");
    gone.migrations = vec![drop_feature("tokens")];
    install(&house, &gone).unwrap();
    install(&house, &called("units", "calls", &[("tokens", "units")])).unwrap();
    assert_eq!(used(&house), lines(&[("units", 5)]));
}

#[test]
fn what_else_has_the_old_name_or_the_new_one_keeps_it() {
    // The limit is called as the feature was, and the plan as it is going to be.
    let with_names = |tokens: &str, lines: &[(&str, &str)]| {
        let mut spec = called(tokens, "calls", lines);
        for feature in &mut spec.features {
            let FeatureKindSpec::Quota { limits } = &mut feature.kind else { unreachable!() };
            "tokens".clone_into(&mut limits[0].limit);
        }
        for plan in &mut spec.plans {
            for (_, given) in &mut plan.entitlements {
                let EntitlementSpec::Quota { limits } = given else { unreachable!() };
                "tokens".clone_into(&mut limits[0].limit);
            }
        }
        spec
    };
    let house = House::of(with_names("tokens", &[]), KEYS_MAX);
    consume(&house, "tokens", 5, "a");
    install(&house, &with_names("pro", &[("tokens", "pro")])).unwrap();
    let reply = consume(&house, "pro", 1, "b");
    let binding = reply.outcome.decision.binding.as_ref().unwrap();
    let catalog = house.engine.catalog();
    assert_eq!(catalog.feature_text(binding.ledger.feature), "pro");
    assert_eq!(catalog.text(binding.ledger.limit), "tokens");
    house.subscribe("acme", "pro");
    assert_eq!(catalog.plan_name(house.engine.profile("acme").unwrap().plan).0, "pro");
    assert_eq!(used(&house), lines(&[("pro", 6)]));
}

#[test]
fn a_crash_at_any_record_of_a_rename_leaves_the_old_name_or_the_new_one() {
    let old = called("tokens", "calls", &[]);
    // A new plan makes records of names before the one of the catalog.
    let mut new = called("units", "calls", &[("tokens", "units")]);
    let mut plan = new.plans[0].clone();
    "team".clone_into(&mut plan.plan);
    new.plans.push(plan);
    let begin = || {
        let house = House::of(old.clone(), KEYS_MAX);
        consume(&house, "tokens", 5, "a");
        house
    };
    let house = begin();
    let before = house.store.last().0;
    install(&house, &new).unwrap();
    let last = house.store.last().0;
    assert!(last >= before + 2, "a name and a catalog");
    for cut in before..=last {
        for goes_back in [false, true] {
            let house = begin();
            install(&house, &new).unwrap();
            house.store.crash(headroom_engine::ports::Seq(cut));
            let in_force = if cut == last { &new } else { &old };
            let mut next = if goes_back { old.clone() } else { new.clone() };
            if goes_back && cut == last {
                next.migrations.push(rename("units", "tokens"));
            }
            let house = open(&house.store, Some(in_force.clone()), next);
            let name = if goes_back { "tokens" } else { "units" };
            assert!(consume(&house, name, 5, "a").replayed, "{cut} {goes_back}");
            assert_eq!(used(&house), lines(&[(name, 5)]), "{cut} {goes_back}");
        }
    }
}

#[test]
fn a_checkpoint_knows_what_features_are_called() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&house, "tokens", 5, "a");
    let new = called("units", "calls", &[("tokens", "units")]);
    install(&house, &new).unwrap();
    let checkpoint = house.checkpoint();
    house.store.keep(checkpoint);
    // Also one who cannot read what was in force before does nothing twice.
    for before in [Some(new.clone()), None] {
        let house = open(&house.store, before, new.clone());
        assert_eq!(used(&house), lines(&[("units", 5)]));
    }
    // Records from before the checkpoint do no harm.
    let house =
        open(&house.store, Some(new.clone()), called("words", "calls", &[("units", "words")]));
    assert_eq!(used(&house), lines(&[("words", 5)]));
    let mut recovery = recovery(KEYS_MAX);
    for entry in &house.checkpoint().entries {
        recovery.entry(entry).unwrap();
    }
    for (seq, stored) in house.store.since(headroom_engine::ports::Seq(0)) {
        recovery.record(seq, &stored.bytes).unwrap();
    }
    let id = recovery.contents()[0].1[0].feature;
    assert_eq!(recovery.feature_name(id), "words");
}

#[test]
fn a_start_carries_out_a_rename_also_blindly() {
    for blind in [false, true] {
        let old = called("tokens", "calls", &[]);
        let house = House::of(old.clone(), KEYS_MAX);
        consume(&house, "tokens", 5, "a");
        let new = called("units", "calls", &[("tokens", "units")]);
        let house = open(&house.store, (!blind).then_some(old), new);
        assert_eq!(used(&house), lines(&[("units", 5)]), "{blind}");
    }
}

#[test]
fn a_feature_that_went_while_another_like_it_came_is_asked_about() {
    let house = House::of(called("tokens", "calls", &[]), KEYS_MAX);
    consume(&house, "tokens", 5, "a");
    assert_eq!(
        install(&house, &called("units", "calls", &[])).unwrap_err(),
        "features: feature `tokens` is gone, but 1 account has used it (1 ledger): if it is called `units` \
         now, let the counts go on with the migration `rename_feature: tokens, to: units`; else put it \
         back, or let them rest with `drop_feature: tokens`"
    );
    // Two may be meant; and one that is of another kind is not.
    let two = install(&house, &called("units", "words", &[])).unwrap_err();
    assert!(two.contains("if it has another name now (`units`, `words`)"), "{two}");
    let mut other = called("units", "calls", &[]);
    other.features[0].kind = FeatureKindSpec::Switch;
    for plan in &mut other.plans {
        plan.entitlements[0].1 = EntitlementSpec::Switch { on: true };
    }
    assert_eq!(
        install(&house, &other).unwrap_err(),
        "features: feature `tokens` is gone, but 1 account has used it (1 ledger): put it back, or let the \
         counts rest with the migration `drop_feature: tokens`"
    );
}
