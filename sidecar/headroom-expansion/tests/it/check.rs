use headroom_core::signal::SignalState;
use headroom_core::time::Millis;
use headroom_expansion::check::check;
use headroom_expansion::class::{Class, OUTSIDE, OWN};
use headroom_expansion::days::Day;
use headroom_expansion::facts::{Facts, Value};
use headroom_expansion::route::{Gate, Play};
use headroom_expansion::rule::Scene;
use headroom_expansion::terms::Terms;
use headroom_expansion::watch::Kept;

#[test]
fn every_catalog_has_six_rules() {
    let found: Vec<String> =
        Terms::default().watches.iter().map(|watch| watch.signal.clone()).collect();
    let expected = [
        "feature_exploration",
        "power_user",
        "idle_seats",
        "declining_usage",
        "multiple_signups",
        "contract_milestone",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_contract_is_told_of_sixty_days_before_its_end_when_the_account_is_known_to_be_well() {
    let terms = Terms::default();
    let watch = terms.watches.iter().find(|watch| watch.signal == "contract_milestone").unwrap();
    let look = |kept, days_left: i64, health: Option<i64>, today: i64| {
        let mut facts = Facts::default();
        facts.infer("contract_days_left", Value::whole(days_left));
        health.into_iter().for_each(|health| facts.infer("health_score", Value::whole(health)));
        let scene = Scene { facts: &facts, days: &|_, _| 0 };
        watch.look(kept, &scene, Day::of(Millis(today * 86_400_000)))
    };
    let first = Kept::default();
    for (days_left, health) in [(61, Some(90)), (60, Some(74)), (60, None), (-1, Some(90))] {
        assert_eq!(look(first, days_left, health, 0).1, None, "{days_left} days, {health:?}");
    }
    let (told, before) = look(first, 60, Some(75), 0);
    assert_eq!((told.state, before), (SignalState::Alarm, Some(SignalState::Ok)));
    assert_eq!(look(told, 0, Some(75), 60).1, None, "once");
    // It was renewed, and the next year it is told again.
    let (calm, _) = look(told, 364, Some(75), 61);
    let (calm, before) = look(calm, 357, Some(75), 68);
    assert_eq!((calm.state, before), (SignalState::Ok, Some(SignalState::Alarm)));
    assert_eq!(look(calm, 60, Some(80), 365).1, Some(SignalState::Ok));
}

fn signals() -> Vec<(&'static str, Class)> {
    OWN.iter().chain(&OUTSIDE).copied().collect()
}

/// The messages about the defaults after a change.
fn problems(change: impl FnOnce(&mut Terms)) -> Vec<String> {
    let mut terms = Terms::default();
    change(&mut terms);
    let found = check(&terms, &signals(), true);
    found.iter().map(|found| format!("{}: {found}", found.path.join("."))).collect()
}

#[test]
fn the_defaults_are_without_fault() {
    assert_eq!(problems(|_| {}), [""; 0]);
}

#[test]
fn a_signal_that_no_play_takes_is_refused_with_the_segments_it_has_no_owner_in() {
    let found = problems(|terms| {
        terms.plays.retain(|play| play.play != "self_serve_upgrade");
    });
    assert!(
        found.contains(
            &"plays: signal `usage_ceiling` has no play and no owner for smb (passed)".to_owned()
        ),
        "{found:?}"
    );
    assert!(!found.iter().any(|line| line.contains("`declining_usage`")), "{found:?}");
}

#[test]
fn a_play_that_never_gets_a_turn_is_told_unless_it_is_a_default() {
    let late = |terms: &mut Terms| {
        let first = terms.plays[0].clone();
        terms.plays.push(Play { play: "late".into(), gates: vec![Gate::Exempt], ..first });
    };
    assert_eq!(
        problems(late),
        ["plays.late: play `late` is never chosen: plays before it take all its cases"]
    );
    let mut terms = Terms::default();
    late(&mut terms);
    assert_eq!(check(&terms, &signals(), false), []);
}

#[test]
fn unknown_names_are_told_together_with_what_there_is() {
    let mut terms = Terms::default();
    terms.plays[0].signals = vec!["usage_cieling".into()];
    terms.plays[0].segments = vec!["smbs".into()];
    terms.outside = vec![("nps_recorded".into(), Class::Plg)];
    let found = check(&terms, &signals(), true);
    assert_eq!(found.len(), 3);
    assert!(found.iter().any(|one| one.known.contains(&"usage_ceiling".to_owned())));
    assert!(found.iter().any(|one| one.known == ["smb", "mid_market", "enterprise"]));
    assert!(found.iter().any(|one| one.message == "`nps_recorded` is a signal already"));
}

#[test]
fn a_card_whose_bands_or_parts_make_no_sense_is_refused() {
    let found = problems(|terms| {
        terms.pql.bands[2].from_tenths = 500;
        terms.pql.bands[3].from_tenths = 1_405;
        terms.pql.parts[0].full_at = terms.pql.parts[0].zero_at;
    });
    assert_eq!(
        found,
        [
            "expansion.scores.pql.parts.dau_mau_percent: part `dau_mau_percent` gives nothing and \
             everything at one value",
            "expansion.scores.pql.bands.hot: band `hot` must begin above `warm`",
            "expansion.scores.pql.bands.critical: band `critical` is never reached: there are 140 \
             points at most",
        ]
    );
}
