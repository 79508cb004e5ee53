use headroom_core::signal::SignalState;
use headroom_expansion::class::Class;
use headroom_expansion::days::Day;
use headroom_expansion::rule::{Names, Rule, Scene};
use headroom_expansion::watch::{Kept, Watch};

use crate::facts;

const NAMES: Names<'static> = Names {
    facts: &["seats", "active_users", "plan", "nps"],
    features: &["calls", "ai.tokens"],
    signals: &["usage_ceiling", "nps_recorded"],
};

const FACTS: [(&str, &str); 6] = [
    ("seats", "10"),
    ("plan", "team"),
    ("used_percent.calls", "82.5"),
    ("used_percent.ai.tokens", "10"),
    ("beta", "true"),
    ("negative", "-3"),
];

fn holds(text: &str) -> Option<bool> {
    let rule = Rule::parse(text, NAMES).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    let days = |signal: &str, span: u32| if signal == "usage_ceiling" { span / 10 } else { 0 };
    rule.holds(&Scene { facts: &facts(&FACTS), days: &days })
}

#[test]
fn rules_are_about_facts_use_and_days() {
    for text in [
        "seats >= 10",
        "seats == 10.0 && plan == 'team'",
        "used_percent.calls >= 82.5 && !(used_percent.calls > 82.5)",
        "used_percent.ai.tokens < 10.001",
        "facts.beta",
        "facts.negative == -3",
        "plan in ['free', 'team']",
        "days('usage_ceiling', 30) == 3",
        "seats * 2.5 == 25 && seats / 4 == 2.5 && seats - 3 + 1 == 8",
        "1 / 3 * 3 == 0.999",
        "facts.beta ? seats > 5 : seats > 50",
        "has(facts.beta) && !has(facts.gamma)",
        "seats > 3 || active_users > 1",
        "active_users > 1 || seats > 3",
    ] {
        assert_eq!(holds(text), Some(true), "{text}");
    }
    for text in
        ["seats < 10", "plan != 'team'", "active_users > 1 && seats > 10", "seats in [1, 2]"]
    {
        assert_eq!(holds(text), Some(false), "{text}");
    }
}

#[test]
fn what_is_missing_or_of_another_kind_cannot_be_told() {
    for text in [
        "active_users > 1",
        "active_users > 1 && seats > 3",
        "active_users > 1 || seats > 30",
        "!(active_users > 1)",
        "plan > 3",
        "plan == 3",
        "seats",
        "facts.beta > 0",
        "seats / 0 > 1",
        "seats in [1, active_users]",
        "seats * 9000000000000000.0 * 9000000000000000.0 > 1",
    ] {
        assert_eq!(holds(text), None, "{text}");
    }
}

#[test]
fn a_rule_that_makes_no_sense_is_refused_with_what_may_be_meant() {
    for (text, said, known) in [
        (
            "seatz > 3",
            "there is no fact `seatz` known here; one that is put is `facts.seatz`",
            "seats",
        ),
        ("used_percent.cals > 3", "there is no feature `cals`", "calls"),
        ("days('usage_cieling', 3) > 1", "there is no signal `usage_cieling`", "usage_ceiling"),
        ("day('usage_ceiling', 3) > 1", "there is no function `day`", "days"),
        ("days('usage_ceiling', 33) > 1", "`days` looks at 1 to 32 days", ""),
        ("days(plan, 3) > 1", "write `days(\"usage_ceiling\", 30)`", ""),
        ("[1, 2].all(x, x > 1)", "loops (all, exists, map, filter) are not possible in a rule", ""),
        ("seats in plan", "after `in` stands a list, as `[1, 2]`", ""),
        ("plan.size() > 1", "there is no function `size`", "days"),
        ("seats % 2 == 0", "`%` and `[ ]` are not possible in a rule", ""),
        ("seats > 1u", "a value is a number, a text, `true` or `false`", ""),
        ("seats > 1e3", "numbers are written as `30` or `2.5`", ""),
        ("seats > ", "is no CEL expression, at its column", ""),
        ("{'a': 1}", "maps are not possible in a rule", ""),
    ] {
        let problem = Rule::parse(text, NAMES).expect_err(text);
        assert!(problem.message.starts_with(said), "{text}: {}", problem.message);
        assert!(known.is_empty() || problem.known.iter().any(|name| name == known), "{text}");
    }
}

#[test]
fn a_rule_is_bounded_in_bytes_parts_and_depth() {
    let long = format!("seats > {}", "0".repeat(1_100));
    assert!(Rule::parse(&long, NAMES).unwrap_err().message.contains("1024 bytes at most"));
    let wide = vec!["seats > 1"; 80].join(" && ");
    assert!(Rule::parse(&wide, NAMES).is_err());
    let deep = format!("{}seats > 1{}", "(".repeat(300), ")".repeat(300));
    assert!(Rule::parse(&deep, NAMES).is_err());
    let facts = Rule::parse("seats > 1 && facts.b && seats < 9 && facts.a.b", NAMES).unwrap();
    assert_eq!(facts.facts(), ["a.b", "b", "seats"]);
}

fn watch(calm_days: u32) -> Watch {
    let rule = |text| Rule::parse(text, NAMES).unwrap();
    Watch {
        signal: "w".into(),
        class: Class::Usage,
        warn: Some(rule("seats > 5")),
        when: rule("seats > 8"),
        calm_days,
    }
}

/// What is told when the number of seats is so many, day after day; a blank is a missing fact.
fn told(calm_days: u32, seats: &str) -> String {
    let watch = watch(calm_days);
    let mut kept = Kept::default();
    let mut told = String::new();
    for (day, seats) in (0..).zip(seats.chars()) {
        let seats = seats.to_string();
        let words = if seats == " " { vec![] } else { vec![("seats", seats.as_str())] };
        let (next, before) =
            watch.look(kept, &Scene { facts: &facts(&words), days: &|_, _| 0 }, Day(day));
        kept = next;
        told.push(match before {
            None => '.',
            Some(before) => {
                assert_ne!(before, kept.state);
                match kept.state {
                    SignalState::Ok => 'o',
                    SignalState::Warning => 'w',
                    SignalState::Alarm => 'a',
                }
            }
        });
    }
    told
}

#[test]
fn a_watch_goes_up_at_once_and_comes_down_after_some_calm_days() {
    assert_eq!(told(0, "169911"), ".wa.o.");
    assert_eq!(told(3, "19111119"), ".a...o.a");
    assert_eq!(told(3, "191191191"), ".a.......", "what flaps is told once");
    assert_eq!(told(2, "966699966"), "a..wa....");
    assert_eq!(told(2, "9  1  1"), "a.....o", "what is not known changes nothing");
}
