use headroom_expansion::class::{Class, OUTSIDE, OWN};
use headroom_expansion::route::{Case, Gate, route};
use headroom_expansion::terms::Terms;

#[track_caller]
fn check(signal: &str, segment: &str, gate: Gate, expected: &str) {
    let terms = Terms::default();
    let class = terms.class_of(signal).unwrap();
    let play = route(&terms, Case { signal, class, segment, gate }).unwrap();
    assert_eq!(play.play, expected, "{signal} {segment} {gate:?}");
    assert!(!play.owner.is_empty() && !play.message.is_empty());
}

#[test]
fn the_default_plays_go_by_segment_once_the_account_is_ready() {
    check("usage_ceiling", "smb", Gate::Passed, "self_serve_upgrade");
    check("usage_ceiling", "mid_market", Gate::Passed, "cs_led_upgrade");
    check("contract_milestone", "enterprise", Gate::Passed, "strategic_expansion");
    check("usage_ceiling", "startup", Gate::Passed, "self_serve_upgrade");
}

#[test]
fn who_is_not_ready_goes_the_health_first_way_and_warnings_go_past_every_gate() {
    for segment in ["smb", "mid_market", "enterprise"] {
        check("pricing_page_viewed", segment, Gate::Held, "health_first");
        check("declining_usage", segment, Gate::Exempt, "retention");
        check("champion_moved", segment, Gate::Exempt, "retention");
    }
}

#[test]
fn every_known_signal_has_one_class_and_only_warnings_are_exempt() {
    let terms = Terms::default();
    let all: Vec<&str> = OWN.iter().chain(&OUTSIDE).map(|(name, _)| *name).collect();
    for name in &all {
        assert_eq!(all.iter().filter(|other| *other == name).count(), 1, "{name}");
        assert!(terms.class_of(name).is_some());
    }
    let exempt: Vec<Class> = Class::ALL.into_iter().filter(|class| !class.is_gated()).collect();
    assert_eq!(exempt, [Class::Churn]);
    for class in Class::ALL {
        assert_eq!(Class::parse(class.as_str()), Some(class));
    }
}
