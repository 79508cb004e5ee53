use headroom_core::time::Millis;
use headroom_expansion::facts::{Facts, Value};
use headroom_expansion::gate::{Test, readiness};
use headroom_expansion::report::{Opinion, opinion, share_bp};
use headroom_expansion::terms::Terms;

use crate::facts;

/// An enterprise account that is just ready.
const READY: [(&str, &str); 13] = [
    ("segment", "enterprise"),
    ("days_since_onboarding", "61"),
    ("features_adopted", "7"),
    ("health_score", "85"),
    ("active_seats_percent", "75.001"),
    ("support_trend", "falling"),
    ("nps", "8"),
    ("departments", "2"),
    ("sponsor", "true"),
    ("journey", "tangible_roi"),
    ("core_engagement_percent", "70.5"),
    ("stakeholders_engaged", "true"),
    ("buying_ready", "true"),
];

/// What fails when one fact of a ready account is another, or missing (an empty text).
#[track_caller]
fn check(fact: &str, text: &str, expected: &[&str]) {
    let words: Vec<_> = READY
        .iter()
        .map(|(name, ready)| (*name, if *name == fact { text } else { *ready }))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    let found = readiness(&Terms::default(), &facts(&words));
    let failed: Vec<&str> = found.failed.iter().map(|failure| failure.fact.as_str()).collect();
    assert_eq!(failed, expected, "{fact} is {text:?}");
    assert_eq!(found.is_passed(), expected.is_empty());
}

#[test]
fn each_condition_fails_at_its_own_edge_and_no_other() {
    check("segment", "enterprise", &[]);
    for (fact, just_not) in [
        ("days_since_onboarding", "60"),
        ("features_adopted", "6.999"),
        ("health_score", "84.9"),
        ("active_seats_percent", "75"),
        ("support_trend", "flat"),
        ("nps", "7.9"),
        ("departments", "1"),
        ("sponsor", "false"),
        ("journey", "first_results"),
        ("core_engagement_percent", "70"),
        ("stakeholders_engaged", "false"),
        ("buying_ready", "false"),
    ] {
        check(fact, just_not, &[fact]);
    }
}

#[test]
fn a_missing_fact_fails_where_people_sell_and_is_passed_over_where_the_product_does() {
    for (fact, _) in &READY[1..] {
        check(fact, "", &[fact]);
    }
    let found = readiness(&Terms::default(), &facts(&[("segment", "smb"), ("nps", "9")]));
    assert!(found.is_passed());
    assert_eq!(found.unknown.len(), 9, "all but the one that is known: {:?}", found.unknown);
}

#[test]
fn a_fact_of_another_kind_is_as_good_as_missing_and_what_is_there_is_told() {
    check("nps", "high", &["nps"]);
    let found = readiness(&Terms::default(), &facts(&[("segment", "mid_market"), ("nps", "high")]));
    let nps = found.failed.iter().find(|failure| failure.fact == "nps").unwrap();
    assert_eq!((nps.needed.as_str(), nps.found.as_deref()), ("at least 8", Some("high")));
}

#[test]
fn any_risk_flag_holds_whoever_is_ready() {
    for risk in ["open_escalation", "churn_signal", "price_objection", "competitor_evaluation"] {
        let mut words = READY.to_vec();
        words.push((risk, "true"));
        let found = readiness(&Terms::default(), &facts(&words));
        assert_eq!((found.is_passed(), found.failed.len()), (false, 0));
        assert_eq!(found.risks, [risk]);
        words.push((risk, "false"));
        assert!(readiness(&Terms::default(), &facts(&words)).is_passed());
    }
}

#[test]
fn an_account_of_no_known_segment_is_judged_as_the_first_and_that_is_said() {
    for words in [&[][..], &[("segment", "huge")]] {
        let found = readiness(&Terms::default(), &facts(words));
        assert_eq!((found.segment.as_str(), found.is_segment_assumed), ("smb", true));
    }
}

#[test]
fn tests_are_read_as_they_are_shown() {
    for text in ["above 30", "at least 75.5", "below 5", "at most -2"] {
        assert_eq!(Test::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(Test::parse("above 60 %"), Test::parse("above 60"));
    for text in ["", "30", "above", "above x", "over 3", "at least 1e3", "above 1.", "above .5"] {
        assert!(Test::parse(text).unwrap_err().contains("is no test"), "{text}");
    }
}

#[test]
fn instants_become_days_and_what_was_said_wins() {
    let text = |text: &str| Value::Text(text.to_owned());
    let now = Millis("2026-03-11T09:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let mut found = Facts::of([
        ("onboarded_at".to_owned(), text("2026-02-09")),
        ("renews_at".to_owned(), text("2026-05-10T23:59:59Z")),
        ("last_login_at".to_owned(), text("yesterday")),
    ]);
    found.infer_days(now);
    assert_eq!(found.get("days_since_onboarding"), Some(&Value::whole(30)));
    assert_eq!(found.get("contract_days_left"), Some(&Value::whole(60)));
    assert_eq!(found.get("days_since_login"), None);
    found.infer("contract_days_left", Value::whole(1));
    assert_eq!(found.get("contract_days_left"), Some(&Value::whole(60)));
}

#[test]
fn a_gate_is_too_strict_below_15_percent_and_too_loose_above_60() {
    for (passed, accounts, expected) in [
        (0, 0, Opinion::NoAccounts),
        (14, 100, Opinion::TooStrict),
        (15, 100, Opinion::Fits),
        (60, 100, Opinion::Fits),
        (61, 100, Opinion::TooLoose),
        (u64::MAX, u64::MAX, Opinion::TooLoose),
    ] {
        assert_eq!(opinion(passed, accounts), expected, "{passed} of {accounts}");
    }
    assert_eq!(share_bp(1, 3), Some(3_333));
}
