//! Why was it refused? A receipt leads back to the rules, one by one.

use serde_json::Value;

use crate::support::home::Home;

const CATALOG: &str = "\
default_plan: free
features:
  tokens:
    name: Tokens
    kind: quota
    limits:
      daily: { window: { calendar: day } }
      monthly: { window: billing }
  calls: { name: Calls, kind: rate }
  jobs: { name: Jobs, kind: quota, shadow: on, limits: { daily: { window: { calendar: day } } } }
  sso: { name: Single sign-on, kind: switch }
plans:
  free:
    name: Free
    entitlements:
      tokens:
        daily: { included: 100, soft_limits: [80%], policy: block }
        monthly: { included: 500, policy: { grace: 10% } }
      calls: { rate: 1 per minute, burst: 2 }
      jobs: { daily: { included: 5, policy: block } }
";

#[track_caller]
fn ask(home: &Home, words: &str) -> Value {
    let ended = home.run(&[&words.split(' ').collect::<Vec<_>>()[..], &["--json"]].concat());
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{words}: {ended:?}"))
}

/// The explanation of the answer to a command.
#[track_caller]
fn why(home: &Home, words: &str) -> Value {
    let answer = ask(home, words);
    let id = answer["decision_id"].as_str().expect("a receipt");
    let explanation = ask(home, &format!("ask explain {id}"));
    assert_eq!(explanation["decision"]["decision_id"], id);
    assert_eq!(explanation["decision"]["allowed"], answer["allowed"]);
    assert_eq!(explanation["decision"]["binding"], answer["binding"]);
    assert_eq!(explanation["account"], "acme");
    explanation
}

fn outcomes(explanation: &Value) -> Vec<(&str, &str)> {
    let rules = explanation["rules"].as_array().expect("rules");
    rules
        .iter()
        .map(|rule| {
            let rule_name = rule["limit"].as_str().or(rule["rule"].as_str()).expect("a name");
            (rule_name, rule["outcome"].as_str().expect("an outcome"))
        })
        .collect()
}

#[tokio::test]
async fn a_decision_is_explained_rule_by_rule_by_the_numbers_it_was_made_with() {
    let home = Home::with_settings(CATALOG, "clock: test\nworkers: 2\n");
    let sidecar = home.start();
    let gates = [
        ("unknown_account", "passed"),
        ("account_suspended", "passed"),
        ("unknown_feature", "passed"),
        ("subscription_ended", "passed"),
        ("not_in_plan", "passed"),
        ("feature_paused", "passed"),
    ];

    let plain = why(&home, "ask consume acme tokens 60 --key k1");
    assert_eq!(plain["operation"], "consume");
    assert_eq!(plain["units"], 60);
    assert_eq!(outcomes(&plain)[..6], gates);
    assert_eq!(outcomes(&plain)[6..], [("daily", "passed"), ("monthly", "passed")]);

    let refused = why(&home, "ask consume acme tokens 50 --key k2");
    assert_eq!(outcomes(&refused)[..6], gates);
    assert_eq!(outcomes(&refused)[6..], [("daily", "refused"), ("monthly", "passed")]);
    assert_eq!(
        refused["rules"][6]["explanation"],
        "60 used of 100 included: 50 asked for, only 40 can be drawn; the policy is to block"
    );
    assert_eq!(refused["rules"][6]["binding"], true);

    // What came later does not change what is said of the earlier.
    let again = ask(&home, "ask consume acme tokens 25 --key k3");
    assert_eq!(again["verdict"], "allowed_soft_limit");
    let id = refused["decision"]["decision_id"].as_str().unwrap();
    assert_eq!(ask(&home, &format!("ask explain {id}")), refused);
    // The answer to a retry is the first one's.
    let replayed = ask(&home, "ask consume acme tokens 60 --key k1");
    let id = replayed["decision_id"].as_str().unwrap();
    assert_eq!(ask(&home, &format!("ask explain {id}")), plain);

    let locked = why(&home, "ask check acme sso");
    assert_eq!(
        outcomes(&locked)[3..],
        [
            ("subscription_ended", "passed"),
            ("not_in_plan", "refused"),
            ("feature_paused", "not_reached")
        ]
    );
    let rated = why(&home, "ask consume acme calls 3 --key k4");
    assert_eq!(outcomes(&rated)[6..], [("rate", "refused")]);
    let watched = why(&home, "ask consume acme jobs 6 --key k5");
    assert_eq!(outcomes(&watched)[6..], [("daily", "shadowed")]);
    assert_eq!(watched["decision"]["allowed"], true);
    let recorded = why(&home, "ask record acme tokens 30 --key k6");
    assert_eq!(outcomes(&recorded), [("daily", "passed"), ("monthly", "passed")]);
    let suspended = home.run(&["account", "suspend", "acme"]);
    assert_eq!(suspended.code, Some(0), "{suspended:?}");
    let refused = why(&home, "ask check acme tokens");
    assert_eq!(
        outcomes(&refused)[..2],
        [("unknown_account", "passed"), ("account_suspended", "refused")]
    );
    assert!(outcomes(&refused)[2..].iter().all(|(_, outcome)| *outcome == "not_reached"));

    let text = home.run(&["ask", "explain", id]);
    let first = text.stdout.lines().next().unwrap();
    assert!(first.starts_with(&format!("{id}: consume 60 tokens for acme at 2")), "{text:?}");
    assert!(text.stdout.contains("limit daily"), "{text:?}");
    assert_eq!(text.code, Some(0));

    let unknown = home.run(&["ask", "explain", "dec_ffff"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("not among the recent decisions"), "{unknown:?}");
    let typo = home.run(&["ask", "explain", "dec-1"]);
    assert!(typo.stderr.contains("is not the decision_id of an answer"), "{typo:?}");
    sidecar.stop().await;
}

#[tokio::test]
async fn a_sidecar_that_keeps_no_decisions_says_so_and_answers_as_ever() {
    let home = Home::with_settings(CATALOG, "recent_decisions_bytes: 0B\n");
    let sidecar = home.start();
    let answer = ask(&home, "ask consume acme tokens 60 --key k1");
    assert_eq!(answer["other_limits"].as_array().map(Vec::len), Some(1));
    let unknown = home.run(&["ask", "explain", answer["decision_id"].as_str().unwrap()]);
    assert!(unknown.stderr.contains("recent_decisions_bytes"), "{unknown:?}");
    assert_eq!(unknown.code, Some(1));
    sidecar.stop().await;
}
