//! Where an entitlement comes from besides the plan: trials, scheduled plans, add-ons, overrides with
//! an end, roll-outs and pauses.

use headroom_core::account::{Account, AddOn, Override, OverrideValue, Profile};
use headroom_core::account::{ScheduledPlan, Trial};
use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, Merge, Offering, PlanLimitSpec, PlanSpec, Policy,
};
use headroom_core::cohort::{self, Cohorts};
use headroom_core::decide::{Context, FeatureOp};
use headroom_core::decision::{Decision, Denial, Verdict};
use headroom_core::limits::UNITS_MAX;
use headroom_core::origin::{self, Given, Overridden};
use headroom_core::prompt;
use headroom_core::resolve::Origin;
use headroom_core::signal::SignalSwitches;
use headroom_core::time::Millis;

use crate::world::{DAY_MS, T0, World, daily, spec, total};

/// Plan `pro` has 5 a day and 100 in all; `more` gives 10 a day each, `endless` as many as one likes,
/// `keys` turns sso on and says 90 days of retention.
fn catalog(offering: Offering) -> CatalogSpec {
    let mut catalog =
        spec(&[daily(5, Policy::Block), total(100, Policy::Block)], SignalSwitches::default());
    let limit = |included_units| PlanLimitSpec {
        limit: "daily".to_owned(),
        included_units,
        soft_limits_bp: vec![],
        terms: headroom_core::policy::LimitTerms::default(),
        policy: if included_units.is_some() { Policy::Overage } else { Policy::Unlimited },
    };
    let addon = |name: &str, entitlements| PlanSpec {
        plan: name.to_owned(),
        version: 1,
        name: name.to_owned(),
        price: None,
        entitlements,
    };
    let tokens = |included| {
        vec![("tokens".to_owned(), EntitlementSpec::Quota { limits: vec![limit(included)] })]
    };
    let keys = vec![
        ("sso".to_owned(), EntitlementSpec::Switch { on: true }),
        ("retention".to_owned(), EntitlementSpec::Config { value_json: "90".to_owned() }),
    ];
    catalog.addons =
        vec![addon("more", tokens(Some(10))), addon("endless", tokens(None)), addon("keys", keys)];
    catalog.features[0].offering = offering;
    catalog
}

fn world() -> World {
    World::of(catalog(Offering::default()))
}

fn check(world: &mut World, feature: &str) -> Decision {
    world.try_ask(feature, FeatureOp::Check { units: 1, attempt: false }).unwrap().decision
}

fn buy(world: &mut World, addons: &[(&str, u32)]) {
    let bought = addons
        .iter()
        .map(|(name, quantity)| AddOn { addon: world.id(name), quantity: *quantity })
        .collect();
    world.account.profile.extra.get_or_insert_default().addons = bought;
}

#[track_caller]
fn includes(world: &mut World, limit: &str, expected: Option<u64>) {
    assert_eq!(world.state(limit).included_units, expected);
}

#[test]
fn add_ons_add_up_as_often_as_they_were_bought_and_leave_other_limits_alone() {
    let mut world = world();
    buy(&mut world, &[("more", 3)]);
    includes(&mut world, "daily", Some(35));
    includes(&mut world, "total", Some(100));
    let decision = check(&mut world, "tokens");
    assert_eq!(decision.origin, Origin::AddOn);
    assert_eq!(
        world.state("daily").policy,
        Policy::Block,
        "the plan says what happens at the limit"
    );
    buy(&mut world, &[("more", 3), ("endless", 1)]);
    includes(&mut world, "daily", None);
    buy(&mut world, &[("more", u32::MAX)]);
    includes(&mut world, "daily", Some(5 + 10 * u64::from(u32::MAX)));
}

#[test]
fn the_most_generous_of_plan_and_add_ons_counts_where_the_feature_says_so() {
    let mut world =
        World::of(catalog(Offering { merge: Merge::MostGenerous, ..Offering::default() }));
    buy(&mut world, &[("more", 1)]);
    includes(&mut world, "daily", Some(10));
    world.account.profile.plan = world.id("bare");
    includes(&mut world, "daily", Some(10));
    assert_eq!(world.state("daily").policy, Policy::Overage, "the add-on alone says");
    buy(&mut world, &[]);
    assert_eq!(check(&mut world, "tokens").verdict, Verdict::Denied(Denial::NotInPlan));
}

/// Whose word a limit of the tokens is.
fn whose(world: &World, limit: &str) -> Given {
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    origin::of_limit(cx, &world.account, &world.state(limit))
}

#[test]
fn each_limit_says_whose_word_it_is_and_the_last_word_counts() {
    let mut world = world();
    buy(&mut world, &[("more", 2), ("keys", 1)]);
    let more = AddOn { addon: world.id("more"), quantity: 2 };
    let given = whose(&world, "daily");
    assert_eq!((given.origin, &given.addons[..]), (Origin::AddOn, &[more][..]));
    assert_eq!(whose(&world, "total").origin, Origin::Plan, "no add-on speaks of it");
    // Without an end nothing is added to.
    buy(&mut world, &[("more", 2), ("endless", 1), ("more", 1)]);
    let endless = AddOn { addon: world.id("endless"), quantity: 1 };
    assert_eq!(whose(&world, "daily").addons, [endless]);

    let until = Millis(world.now + DAY_MS);
    let value = OverrideValue::Limit { limit: world.id("total"), included_units: Some(7) };
    let one = Override { ends_at: until, ..Override::new(world.id("tokens"), value) };
    world.account.profile.extra.get_or_insert_default().overrides = vec![one];
    let given = whose(&world, "total");
    let overridden = Some(Overridden { until: Some(until), of_subject: false });
    assert_eq!((given.origin, given.overridden), (Origin::Override, overridden));
    assert_eq!(
        whose(&world, "daily").addons,
        [endless],
        "an override of one says nothing of another"
    );
    world.now += DAY_MS;
    assert_eq!(whose(&world, "total").origin, Origin::Plan, "it has ended");
}

#[test]
fn of_the_most_generous_only_who_gives_it_has_a_say() {
    let mut world =
        World::of(catalog(Offering { merge: Merge::MostGenerous, ..Offering::default() }));
    buy(&mut world, &[("more", 1)]);
    let more = AddOn { addon: world.id("more"), quantity: 1 };
    assert_eq!(whose(&world, "daily").addons, [more]);
    // A promise that gives no more is not heard; one that does is.
    for (units, origin) in [(10, Origin::AddOn), (11, Origin::Override)] {
        let value = OverrideValue::Limit { limit: world.id("daily"), included_units: Some(units) };
        let one = Override { at_least: true, ..Override::new(world.id("tokens"), value) };
        world.account.profile.extra.get_or_insert_default().overrides = vec![one];
        assert_eq!(whose(&world, "daily").origin, origin, "{units}");
    }
}

#[test]
fn units_of_add_ons_stop_where_counting_stops() {
    let mut catalog = catalog(Offering::default());
    let (_, EntitlementSpec::Quota { limits }) = &mut catalog.addons[0].entitlements[0] else {
        panic!("a quota");
    };
    limits[0].included_units = Some(UNITS_MAX);
    let mut world = World::of(catalog);
    buy(&mut world, &[("more", u32::MAX)]);
    includes(&mut world, "daily", Some(UNITS_MAX));
}

#[test]
fn an_add_on_turns_a_switch_on_and_replaces_a_config() {
    let mut world = world();
    world.account.profile.plan = world.id("bare");
    buy(&mut world, &[("keys", 1)]);
    assert_eq!(check(&mut world, "sso").origin, Origin::AddOn);
    let retention = check(&mut world, "retention");
    assert_eq!((retention.value_json.as_deref(), retention.origin), (Some("90"), Origin::AddOn));
    world.account.profile.plan = world.id("pro");
    assert_eq!(check(&mut world, "sso").origin, Origin::Plan, "the plan has it anyway");
    world.put_override("sso", OverrideValue::Switch { on: false });
    assert_eq!(check(&mut world, "sso").verdict, Verdict::Denied(Denial::NotInPlan));
}

#[test]
fn a_trial_ends_by_itself_and_what_was_used_stays_used() {
    let mut world = world();
    world.account.profile.plan = world.id("bare");
    let trial = Trial { plan: world.id("pro"), ends_at: Millis(T0 + 1000) };
    world.account.profile.extra.get_or_insert_default().trial = Some(trial);
    let on_trial = world.consume(3).decision;
    assert_eq!((on_trial.origin, on_trial.plan), (Origin::Trial, world.id("pro")));
    world.now = T0 + 999;
    assert_eq!(check(&mut world, "tokens").origin, Origin::Trial);
    world.now = T0 + 1000;
    let over = check(&mut world, "tokens");
    assert_eq!((over.verdict, over.plan), (Verdict::Denied(Denial::NotInPlan), world.id("bare")));
    world.account.profile.plan = world.id("pro");
    assert_eq!(check(&mut world, "tokens").origin, Origin::Plan);
    assert_eq!(world.state("daily").ledger.used, 3);
}

#[test]
fn scheduled_plans_come_into_force_in_their_order_at_their_instant() {
    let mut world = world();
    let (pro, bare) = (world.id("pro"), world.id("bare"));
    let plan = |at, plan| ScheduledPlan { starts_at: Millis(at), plan };
    world.account.profile.extra.get_or_insert_default().scheduled =
        vec![plan(T0 + 10, bare), plan(T0 + 20, pro)];
    for (at, expected) in
        [(T0, pro), (T0 + 9, pro), (T0 + 10, bare), (T0 + 19, bare), (T0 + 20, pro)]
    {
        world.now = at;
        assert_eq!(check(&mut world, "tokens").plan, expected, "{}", at - T0);
    }
}

#[test]
fn an_override_counts_between_its_instants_and_a_new_one_for_the_same_limit_replaces_it() {
    let mut world = world();
    let value = OverrideValue::Limit { limit: world.id("daily"), included_units: Some(50) };
    let one = Override {
        starts_at: Millis(T0 + 10),
        ends_at: Millis(T0 + 20),
        ..Override::new(world.id("tokens"), value)
    };
    world.account.profile.extra.get_or_insert_default().overrides.push(one);
    for (at, expected) in [(0, 5), (9, 5), (10, 50), (19, 50), (20, 5), (DAY_MS, 5)] {
        world.now = T0 + at;
        includes(&mut world, "daily", Some(expected));
        let origin = check(&mut world, "tokens").origin;
        assert_eq!(origin == Origin::Override, expected == 50, "{at}");
    }
}

/// Puts one override in the place of all that there were.
fn promise(world: &mut World, feature: &str, value: OverrideValue) {
    let one = Override { at_least: true, ..Override::new(world.id(feature), value) };
    world.account.profile.extra.get_or_insert_default().overrides = vec![one];
}

#[test]
fn what_was_promised_counts_only_where_it_gives_more() {
    let mut world = world();
    let limit = world.id("daily");
    let daily = |world: &mut World, promised, expected, origin| {
        let value = OverrideValue::Limit { limit, included_units: promised };
        promise(world, "tokens", value);
        includes(world, "daily", expected);
        assert_eq!(check(world, "tokens").origin, origin, "{promised:?}");
    };
    daily(&mut world, Some(4), Some(5), Origin::Plan);
    daily(&mut world, Some(5), Some(5), Origin::Plan);
    daily(&mut world, Some(6), Some(6), Origin::Override);
    daily(&mut world, None, None, Origin::Override);
    // What is bought besides comes before it is compared.
    buy(&mut world, &[("more", 1)]);
    daily(&mut world, Some(14), Some(15), Origin::AddOn);
    daily(&mut world, Some(16), Some(16), Origin::Override);
    buy(&mut world, &[("endless", 1)]);
    daily(&mut world, Some(16), None, Origin::AddOn);

    world.account.profile.plan = world.id("bare");
    buy(&mut world, &[]);
    assert_eq!(check(&mut world, "sso").verdict, Verdict::Denied(Denial::NotInPlan));
    promise(&mut world, "sso", OverrideValue::Switch { on: true });
    assert_eq!(check(&mut world, "sso").origin, Origin::Override);
    buy(&mut world, &[("keys", 1)]);
    assert_eq!(check(&mut world, "sso").origin, Origin::AddOn);
}

#[test]
fn a_paused_feature_is_refused_to_everybody_who_has_it_and_counts_what_happened() {
    let paused = Offering { is_paused: true, ..Offering::default() };
    let mut world = World::of(catalog(paused));
    let refused = check(&mut world, "tokens");
    assert_eq!(refused.verdict, Verdict::Denied(Denial::FeaturePaused));
    assert_eq!(refused.origin, Origin::Plan);
    world.try_ask("tokens", FeatureOp::Record { units: 2 }).unwrap();
    assert_eq!(world.state("daily").ledger.used, 2);
    world.account.profile.plan = world.id("bare");
    let refused = check(&mut world, "tokens");
    assert_eq!(refused.verdict, Verdict::Denied(Denial::NotInPlan), "the graver reason first");
}

#[test]
fn who_waits_for_a_roll_out_is_not_offered_to_buy_and_an_override_lets_in() {
    let mut world = World::of(catalog(Offering { rollout_bp: 0, ..Offering::default() }));
    let refused = check(&mut world, "tokens");
    assert_eq!(refused.verdict, Verdict::Denied(Denial::NotInPlan));
    assert_eq!(
        (refused.origin, prompt::scenarios(&refused, prompt::Occasion::default())),
        (Origin::Plan, None)
    );
    let value = OverrideValue::Limit { limit: world.id("daily"), included_units: Some(1) };
    world.put_override("tokens", value);
    assert_eq!(check(&mut world, "tokens").verdict, Verdict::Allowed);
}

#[test]
fn a_cohort_has_what_is_rolled_out_to_it_and_nothing_that_was_not_bought() {
    let cohorts = Cohorts::of(vec!["alpha".to_owned(), "beta".to_owned()]);
    let mut world = World::of(catalog(Offering { rollout_bp: 0, cohorts, ..Offering::default() }));
    let verdict = |world: &mut World, cohorts: &[&str]| {
        let own = &mut world.account.profile.extra.get_or_insert_default().cohorts;
        own.clear();
        assert!(cohort::change(own, cohorts, &[]));
        check(world, "tokens").verdict
    };
    let refused = Verdict::Denied(Denial::NotInPlan);
    assert_eq!(verdict(&mut world, &[]), refused);
    assert_eq!(verdict(&mut world, &["gamma"]), refused);
    assert_eq!(verdict(&mut world, &["gamma", "beta"]), Verdict::Allowed);
    world.account.profile.plan = world.id("bare");
    assert_eq!(verdict(&mut world, &["beta"]), refused);
}

#[test]
fn an_account_joins_and_leaves_cohorts_and_is_never_in_too_many() {
    let mut own = vec!["b".to_owned()];
    assert!(cohort::change(&mut own, &["c", "a", "b"], &["c"]));
    assert_eq!(own, ["a", "b"]);
    let many: Vec<String> = (0..31).map(|n| format!("x{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(!cohort::change(&mut own, &many, &[]));
    assert_eq!(own, ["a", "b"], "nothing is changed");
    assert!(cohort::change(&mut own, &many, &["a"]));
    assert_eq!(own.len(), 32);
}

#[test]
fn a_roll_out_draws_the_same_accounts_every_time_and_a_larger_one_keeps_them() {
    let profile = Profile::new(headroom_core::names::NameId(0), false, Millis(0));
    let drawn = |feature: &str, share_bp| -> Vec<usize> {
        let is_in = |n: &usize| {
            let account = Account::new(1, profile.clone()).drawing_by(&format!("account-{n}"));
            account.is_drawn(feature, share_bp)
        };
        (0..20_000).filter(is_in).collect()
    };
    let (tenth, fifth) = (drawn("tokens", 1_000), drawn("tokens", 2_000));
    assert!(tenth.iter().all(|n| fifth.contains(n)));
    // Within five standard deviations: 42 for a tenth, 57 for a fifth.
    assert!((1_790..=2_210).contains(&tenth.len()), "{}", tenth.len());
    assert!((3_715..=4_285).contains(&fifth.len()), "{}", fifth.len());
    // Another feature draws other accounts: of a tenth a tenth is in both.
    let other = drawn("calls", 1_000);
    let both = tenth.iter().filter(|n| other.contains(n)).count();
    assert!((130..=270).contains(&both), "{both}");
    assert_eq!((drawn("tokens", 0).len(), drawn("tokens", 10_000).len()), (0, 20_000));
    // Written down once: who has a feature must not change with a version.
    assert_eq!(tenth[..5], [0, 1, 15, 27, 66]);
}
