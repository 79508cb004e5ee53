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

const PAID: &str = "\
features:
  credits:
    name: Credits
    kind: credits
    window: billing
    rate_card: { runs: { credits: 3, per: 1_000 }, images: { credits: 5 } }
  runs: { name: Runs, kind: quota, limits: { daily: { window: { calendar: day } } } }
  images: { name: Images, kind: quota, limits: { daily: { window: { calendar: day } } } }
plans:
  pro:
    name: Pro
    entitlements:
      credits: { included: 100 }
      runs: { daily: { included: 50_000 }, paid_by: credits }
      images: { daily: { included: 30 }, paid_by: credits }
";

/// What is said of a limit.
#[track_caller]
fn said<'a>(explanation: &'a Value, limit: &str) -> (&'a str, &'a str) {
    let rules = explanation["rules"].as_array().expect("rules");
    let rule = rules.iter().find(|rule| rule["limit"] == limit).expect("the limit");
    let text = |field: &str| rule[field].as_str().expect("a text");
    (text("outcome"), text("explanation"))
}

#[track_caller]
fn put(home: &Home, words: &str) {
    let ended = home.run(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{words}: {ended:?}");
}

#[tokio::test]
async fn a_pool_is_asked_for_credits_and_the_other_limits_for_units() {
    let home = Home::with_settings(PAID, "clock: test\n");
    let sidecar = home.start();
    put(&home, "account put acme --plan pro");
    put(&home, "ask consume acme runs 15_000 --key k1");
    let refused = why(&home, "ask consume acme runs 25_000 --key k2");
    let pool = &refused["decision"]["binding"]["pool"];
    assert_eq!((&pool["asked_units"], &pool["price"]["credits"]), (&75.into(), &3.into()));
    let (outcome, text) = said(&refused, "credits");
    assert_eq!(outcome, "refused");
    let begin = "45 used of 100 included: 25,000 runs cost 75 credits (3 per 1,000), only 55 can be \
                 drawn; more come at ";
    assert!(text.starts_with(begin), "{text}");
    // Its own limit has 35,000 left, and would not refuse.
    assert_eq!(said(&refused, "daily").0, "passed");

    // 50 images are more than are included, and 250 credits are more than are left.
    let both = why(&home, "ask consume acme images 50 --key k3");
    assert_eq!(said(&both, "daily").0, "refused");
    let (outcome, text) = said(&both, "credits");
    assert_eq!(outcome, "refused", "{text}");
    assert!(text.ends_with("50 images cost 250 credits (5 per 1): would refuse as well"), "{text}");
    sidecar.stop().await;
}

const MANY: &str = "\
features:
  work:
    name: Work
    kind: quota
    limits:
      monthly: { window: billing }
      per_user: { window: { calendar: day }, per: user }
  calls: { name: Calls, kind: quota, limits: { daily: { window: { calendar: day } } } }
  tried: { name: Tried, kind: quota, shadow: on, limits: { daily: { window: { calendar: day } } } }
  graced: { name: Graced, kind: quota, limits: { daily: { window: { calendar: day } } } }
  sso: { name: Single sign-on, kind: switch }
plans:
  pro:
    name: Pro
    entitlements:
      work: { monthly: { included: 1_000 }, per_user: { included: 100 } }
      calls: { daily: { included: 10 } }
      tried: { daily: { included: 2 } }
      graced:
        daily: { included: 10, policy: { grace: { up_to: 20%, for: 3 hours, times: 1 per year } } }
addons:
  more: { name: More, entitlements: { calls: { daily: { included: 5 } } } }
  secure: { name: Secure, entitlements: { sso: on } }
";

#[tokio::test]
async fn an_answer_says_whose_word_the_limit_is_that_decided() {
    let home = Home::with_settings(MANY, "clock: test\n");
    let sidecar = home.start();
    put(&home, "account put acme --plan pro --add-on more=2 --add-on secure");
    let words = "account override acme work --limit per_user --included 5 --subject user:u1 \
                 --ends 2100-01-01";
    put(&home, words);
    put(&home, "ask consume acme work 1 --subject user:u1 --key k1");
    let refused = why(&home, "ask consume acme work 5 --subject user:u1 --key k2");
    let origin = &refused["decision"]["origin"];
    assert_eq!(
        (&origin["kind"], &origin["override_of_subject"]),
        (&"override".into(), &true.into())
    );
    assert_eq!(origin["override_until"], "2100-01-01T00:00:00Z");
    let (_, text) = said(&refused, "per_user");
    let begin = "of user:u1, 1 used of 5 included by an override of this subject until 2100-01-01";
    assert!(text.starts_with(begin), "{text}");
    // The account's own limit and the others of users are the plan's.
    assert_eq!(said(&refused, "monthly").1, "1 used of 1,000 included: below every soft limit");
    let another = ask(&home, "ask consume acme work 5 --subject user:u2 --key k3");
    assert_eq!(another["origin"]["kind"], "plan");

    let bought = ask(&home, "ask consume acme calls 11 --key k4");
    let more = serde_json::json!([{ "add_on": "more", "quantity": 2 }]);
    assert_eq!(
        (&bought["origin"]["kind"], &bought["origin"]["add_ons"]),
        (&"add_on".into(), &more)
    );
    let sso = ask(&home, "ask check acme sso");
    assert_eq!(sso["origin"]["add_ons"][0]["add_on"], "secure");
    let listed = ask(&home, "ask entitlements acme");
    let calls = listed["entitlements"].as_array().unwrap().iter().find(|e| e["feature"] == "calls");
    assert_eq!(calls.unwrap()["limits"][0]["origin"]["add_ons"], more);
    let text = home.run(&["ask", "check", "acme", "sso"]).stdout;
    assert!(text.contains("with add-on secure"), "{text}");
    sidecar.stop().await;
}

#[tokio::test]
async fn an_item_says_that_another_refused_and_nothing_was_counted() {
    let home = Home::with_settings(MANY, "clock: test\n");
    let sidecar = home.start();
    put(&home, "account put acme --plan pro");
    let answer = ask(&home, "ask consume-all acme work=5 calls=50 --key k1");
    let id = |place: usize| answer["items"][place]["decision_id"].as_str().expect("a receipt");
    let explained = ask(&home, &format!("ask explain {}", id(0)));
    assert_eq!(outcomes(&explained)[0], ("all_or_nothing", "refused"));
    let text = explained["rules"][0]["explanation"].as_str().unwrap();
    let begin =
        "item 1 of 2 of one consume_all: item 2 (calls) was refused, so nothing was counted";
    assert!(text.starts_with(begin), "{text}");
    assert_eq!(ask(&home, "ask usage acme --feature work")["windows"].as_array().unwrap().len(), 0);

    let answer = ask(&home, "ask consume-all acme work=5 calls=5 --key k2");
    let id = answer["items"][1]["decision_id"].as_str().expect("a receipt");
    let explained = ask(&home, &format!("ask explain {id}"));
    assert_eq!(outcomes(&explained)[0], ("all_or_nothing", "passed"));
    sidecar.stop().await;
}

#[tokio::test]
async fn what_is_counted_past_a_limit_is_unbacked_and_said_to_be_above_it() {
    let home = Home::with_settings(MANY, "clock: test\n");
    let sidecar = home.start();
    put(&home, "account put acme --plan pro");
    let recorded = why(&home, "ask record acme calls 15 --key k1");
    assert_eq!(recorded["decision"]["verdict"], "allowed_unbacked");
    let (outcome, text) = said(&recorded, "daily");
    assert_eq!(outcome, "passed");
    assert!(
        text.starts_with("15 used of 10 included, 5 of it debt: above what it allows"),
        "{text}"
    );

    // What shadow mode lets on is explained by how it stood before.
    let tried = why(&home, "ask consume acme tried 5 --key k2");
    let verdict = &tried["decision"]["verdict"];
    assert_eq!(
        (verdict, &tried["decision"]["binding"]["used_units"]),
        (&"allowed_unbacked".into(), &5.into())
    );
    let expected = "0 used of 2 included: 5 asked for, only 2 can be drawn; the policy is to block; \
                    shadow mode let it on";
    assert_eq!(said(&tried, "daily"), ("shadowed", expected));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_grace_that_is_over_says_whether_by_time_by_number_or_by_units() {
    let home = Home::with_settings(MANY, "clock: test\n");
    let sidecar = home.start();
    put(&home, "clock set 2027-03-01T00:00:00Z");
    put(&home, "account put acme --plan pro");
    put(&home, "ask consume acme graced 11 --key k1");
    let units = why(&home, "ask consume acme graced 5 --key k2");
    assert!(said(&units, "daily").1.ends_with("its grace does not cover that"), "{units}");
    put(&home, "clock set 2027-03-01T04:00:00Z");
    let time = why(&home, "ask consume acme graced 1 --key k3");
    let text = said(&time, "daily").1;
    assert!(text.ends_with("the time of its grace ran out at 2027-03-01T03:00:00Z"), "{text}");
    put(&home, "clock set 2027-03-02T00:00:00Z");
    put(&home, "ask consume acme graced 10 --key k4");
    let number = why(&home, "ask consume acme graced 1 --key k5");
    let text = said(&number, "daily").1;
    let end = "its grace was used in 1 of 1 windows in 12 months, and may be again from \
               2028-03-01T00:00:00Z";
    assert!(text.ends_with(end), "{text}");
    let text = home.run(&["ask", "check", "acme", "graced"]).stdout;
    assert!(
        text.contains("grace used 1 of 1 times in 12 months, the next from 2028-03-01"),
        "{text}"
    );
    assert!(text.contains("try again at 2027-03-03T00:00:00Z (in 1 d 0 h)"), "{text}");
    sidecar.stop().await;
}

#[tokio::test]
async fn a_refusal_says_how_to_ask_why() {
    let home = Home::with_settings(MANY, "clock: test\n");
    let sidecar = home.start();
    put(&home, "account put acme --plan pro");
    let refused = home.run(&["ask", "check", "acme", "sso"]);
    let line = refused.stdout.lines().find_map(|line| line.strip_prefix("why: headroom "));
    let command = line.unwrap_or_else(|| panic!("{refused:?}"));
    let explained = home.run(&command.split(' ').collect::<Vec<_>>());
    assert!(explained.stdout.contains("check sso for acme"), "{explained:?}");
    assert!(explained.stdout.contains("account known"), "{explained:?}");
    // What cannot be refused and yet was, by a name that nobody knows, has its rule, too.
    let typo = why(&home, "ask record acme cals 5 --key k1");
    assert_eq!(outcomes(&typo).last().copied(), Some(("feature_paused", "not_reached")));
    assert!(outcomes(&typo).contains(&("unknown_feature", "refused")), "{typo}");
    sidecar.stop().await;
}
