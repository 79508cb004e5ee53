//! Prompts: which situation is worth a word, and which words are taken.

use headroom_core::catalog::{Policy, PromptSpec, Scenario};
use headroom_core::decision::{Decision, Denial, Verdict};
use headroom_core::prompt::{Severity, choose, scenario};
use headroom_core::resolve::Origin;
use headroom_core::signal::SignalSwitches;

use crate::world::{World, daily, spec};

fn decision(world: &World, verdict: Verdict, feature: Option<&str>, plan: &str) -> Decision {
    Decision {
        verdict,
        binding: None,
        origin: Origin::None,
        plan: world.id(plan),
        feature: feature.map(|feature| world.id(feature)),
        value_json: None,
        retry_after_ms: None,
        shadow: None,
    }
}

#[test]
fn each_verdict_has_its_scenario_or_none() {
    let world = World::new(&[daily(1, Policy::Block)]);
    let check = |verdict, expected| {
        let decision = decision(&world, verdict, Some("tokens"), "pro");
        assert_eq!(scenario(&decision), expected, "{verdict:?}");
    };
    check(Verdict::Allowed, None);
    check(Verdict::SoftLimit, Some((Scenario::NearLimit, Severity::Warning)));
    check(Verdict::Grace, Some((Scenario::Grace, Severity::Alarm)));
    check(Verdict::Overage, Some((Scenario::LimitHit, Severity::Alarm)));
    check(Verdict::Denied(Denial::UnknownAccount), None);
    check(Verdict::Denied(Denial::AccountSuspended), None);
    check(Verdict::Denied(Denial::UnknownFeature), None);
    check(Verdict::Denied(Denial::SubscriptionEnded), None);
    let locked = Some((Scenario::LockedFeature, Severity::Info));
    check(Verdict::Denied(Denial::NotInPlan), locked);
    let hit = Some((Scenario::LimitHit, Severity::Alarm));
    check(Verdict::Denied(Denial::QuotaExhausted), hit);
    check(Verdict::Denied(Denial::InFlight), None);
}

#[test]
fn the_first_prompt_that_fits_is_taken() {
    let prompt = |name: &str, scenario, feature: Option<&str>, plans: &[&str]| PromptSpec {
        prompt: name.to_owned(),
        scenario,
        feature: feature.map(str::to_owned),
        plans: plans.iter().map(|plan| (*plan).to_owned()).collect(),
        title: "t".to_owned(),
        message: "m".to_owned(),
        call_to_action: String::new(),
        url: String::new(),
        offer: None,
    };
    let mut spec = spec(&[daily(1, Policy::Block)], SignalSwitches::default());
    spec.prompts = vec![
        prompt("tokens-bare", Scenario::LimitHit, Some("tokens"), &["bare"]),
        prompt("tokens-any", Scenario::LimitHit, Some("tokens"), &[]),
        prompt("any-pro", Scenario::LimitHit, None, &["pro", "bare"]),
        prompt("grace", Scenario::Grace, None, &[]),
    ];
    let world = World::of(spec);
    let chosen = |verdict, feature, plan| {
        let decision = decision(&world, verdict, feature, plan);
        let (place, ..) = choose(&world.catalog, &decision)?;
        Some(world.catalog.prompts()[place].spec.prompt.as_str())
    };
    let hit = Verdict::Denied(Denial::QuotaExhausted);
    assert_eq!(chosen(hit, Some("tokens"), "bare"), Some("tokens-bare"));
    assert_eq!(chosen(hit, Some("tokens"), "pro"), Some("tokens-any"));
    assert_eq!(chosen(hit, Some("sso"), "pro"), Some("any-pro"));
    assert_eq!(chosen(hit, None, "pro"), Some("any-pro"));
    assert_eq!(chosen(Verdict::Grace, Some("sso"), "pro"), Some("grace"));
    assert_eq!(chosen(Verdict::SoftLimit, Some("tokens"), "pro"), None);
    assert_eq!(chosen(Verdict::Allowed, Some("tokens"), "pro"), None);
}
