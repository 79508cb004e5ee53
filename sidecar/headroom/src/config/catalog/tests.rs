use super::*;
use crate::config::server;
use crate::config::sinks::NoSecrets;
use headroom_core::catalog::{EntitlementSpec, PlanLimitSpec, Policy, PromptingSpec, UnlockSpec};
use headroom_core::cohort::Cohorts;
use headroom_core::credits::{CreditPrice, PoolTerms, Rounding};
use headroom_core::policy::LimitTerms;
use headroom_core::stock::BilledBy;
use headroom_core::tally::BucketSize;
use headroom_core::window::{CalendarUnit, Every, SpanUnit};

fn report(text: &str) -> String {
    match parse("c", text.as_bytes(), &NoSecrets) {
        Ok(_) => String::new(),
        Err(problems) => problems.lines().collect::<Vec<_>>().join("\n"),
    }
}

/// The report on a catalog that people could have written. To accept a new wording after reading
/// it: `HEADROOM_BLESS=1 cargo test -p headroom golden`.
#[test]
fn a_golden_report_lists_every_problem_with_its_place() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/bad_catalog.txt");
    let source = include_str!("../bad_catalog.yaml");
    let problems = parse("bad_catalog.yaml", source.as_bytes(), &NoSecrets).unwrap_err();
    let found = format!("{problems}\n");
    if std::env::var_os("HEADROOM_BLESS").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    assert!(!found.contains("hunter2"), "a secret was printed");
    assert_eq!(found, std::fs::read_to_string(&golden).unwrap_or_default());
}

#[test]
fn the_examples_have_no_problem() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/example");
    let catalogs = [
        "catalog.yaml",
        "ai-product.yaml",
        "growth.yaml",
        "prompts.yaml",
        "sinks.yaml",
        "team.yaml",
    ];
    for catalog in catalogs {
        if let Err(problems) = load(&examples.join(catalog), &NoSecrets) {
            panic!("{problems}");
        }
    }
    let settings = examples.join("headroom.yaml");
    match server::load(Some(&settings), server::Overrides::default()) {
        Ok(config) => assert_eq!(config.catalog, examples.join("catalog.yaml")),
        Err(problems) => panic!("{problems}"),
    }
}

/// A good catalog; each test changes one thing.
const GOOD: &str = "\
default_plan: free
features:
  tokens:
    name: LLM tokens
    kind: quota
    unit: tokens
    scale: 0
    limits:
      hourly: { window: { calendar: hour } }
      monthly: { window: billing }
      yearly: { window: { billing: 1 year } }
      ever: { window: lifetime }
      session: { window: { first_use: 5 hours } }
      fortnight: { window: { fixed: 2 weeks } }
      recent: { window: { sliding: 1 day } }
  sso: { name: Single sign-on, kind: switch, paused: on, rollout: 12.5%, merge: most_generous }
  models: { name: Models, kind: config }
plans:
  free:
    name: Free
    price: { amount_minor: 0, currency: USD, per: month }
    entitlements:
      tokens:
        hourly: { included: 300_000, soft_limits: [80%, 12.5%], policy: { grace: 10% } }
        monthly: { included: unlimited }
        ever: { included: 0, policy: overage }
      sso: off
      models: [any, 1, 2.5, true, 'true', {a: b}]
  pro: { name: Pro, entitlements: { sso: true } }
addons:
  pack: { name: Pack, entitlements: { tokens: { ever: { included: 7 } }, sso: on } }
prompts:
  - { prompt: a, scenario: grace, feature: tokens, plans: [free], title: T, message: M, offer: pro }
signals: { usage_ceiling: off }
sinks:
  - { sink: s, kind: ndjson, path: s.ndjson }
";

#[test]
fn a_good_catalog_is_read() {
    let parsed = parse("c", GOOD.as_bytes(), &NoSecrets).unwrap();
    let CatalogSpec {
        features,
        plans,
        addons,
        default_plan,
        prompts,
        prompting,
        signals,
        migrations,
    } = parsed.spec;
    assert_eq!(prompting, PromptingSpec::default());
    assert!(migrations.is_empty());
    let offering = Offering {
        merge: Merge::MostGenerous,
        is_paused: true,
        rollout_bp: 1_250,
        cohorts: Cohorts::default(),
    };
    assert_eq!((&features[1].offering, &features[2].offering), (&offering, &Offering::default()));
    assert_eq!(default_plan.as_deref(), Some("free"));
    let limit = |limit: &str, window| LimitSpec { limit: limit.into(), window, per: None };
    let limits = vec![
        limit("hourly", WindowRule::Calendar(CalendarUnit::Hour)),
        limit("monthly", WindowRule::Billing { months: 1 }),
        limit("yearly", WindowRule::Billing { months: 12 }),
        limit("ever", WindowRule::Lifetime),
        limit("session", WindowRule::FirstUse(Every { count: 5, unit: SpanUnit::Hour })),
        limit("fortnight", WindowRule::Fixed(Every { count: 2, unit: SpanUnit::Week })),
        limit("recent", WindowRule::Sliding(Every { count: 1, unit: SpanUnit::Day })),
    ];
    assert_eq!(features[0].kind, FeatureKindSpec::Quota { limits });
    assert_eq!(features[2].kind, FeatureKindSpec::Config);
    let given = |limit: &str, included_units, soft_limits_bp, policy| PlanLimitSpec {
        limit: limit.into(),
        included_units,
        soft_limits_bp,
        policy,
        terms: LimitTerms::default(),
    };
    let limits = vec![
        given("hourly", Some(300_000), vec![8_000, 1_250], Policy::Grace { grace_bp: 1_000 }),
        given("monthly", None, vec![], Policy::Unlimited),
        given("ever", Some(0), vec![], Policy::Overage),
    ];
    let models = r#"["any",1,2.5,true,"true",{"a":"b"}]"#;
    let expected = [
        ("tokens".to_owned(), EntitlementSpec::Quota { limits }),
        ("sso".to_owned(), EntitlementSpec::Switch { on: false }),
        ("models".to_owned(), EntitlementSpec::Config { value_json: models.into() }),
    ];
    assert_eq!(plans[0].entitlements, expected);
    assert_eq!(plans[0].price.as_ref().map(|price| price.minor), Some(0));
    assert_eq!(plans[1].price, None);
    let pack = vec![given("ever", Some(7), vec![], Policy::Block)];
    let expected = [
        ("tokens".to_owned(), EntitlementSpec::Quota { limits: pack }),
        ("sso".to_owned(), EntitlementSpec::Switch { on: true }),
    ];
    assert_eq!((addons[0].plan.as_str(), &addons[0].entitlements[..]), ("pack", &expected[..]));
    assert_eq!(prompts[0].offer.as_deref(), Some("pro"));
    assert_eq!(signals, SignalSwitches { usage_ceiling: false, ..SignalSwitches::default() });
    assert_eq!(parsed.sinks.len(), 1);
    assert_eq!(parsed.source, GOOD);
}

#[track_caller]
fn check(from: &str, to: &str, expected: &str) {
    assert!(GOOD.contains(from), "{from}");
    assert_eq!(report(&GOOD.replacen(from, to, 1)), expected, "{to}");
}

#[test]
fn a_key_that_cannot_be_read_hides_nothing_that_is_wrong_beside_it() {
    let usage = "    scale: 0\n    usage: { buckets: minute, dimensions: [a, b, c, d, e] }\n";
    let pool = "  models: { name: Models, kind: config }\n  ai: { name: AI, kind: credits, window: billing }\n";
    let terms = "      sso: off\n      ai: { included: 1.5, rollover: { min: 5, max: 2 } }\n";
    let cap = "policy: { overage: { unit_price_minor: 0.5, currency: usd, cap_minor: 0 } }";
    let good = GOOD.replacen("  models: { name: Models, kind: config }\n", pool, 1);
    for (from, to, told) in [
        ("USD, per: month", "usd, per: week", ["`per` must be", "\"usd\" is no currency"]),
        ("policy: { grace: 10% }", cap, ["`cap_minor` is 0", "\"usd\" is no currency"]),
        ("    scale: 0\n", usage, ["`buckets` must be", "5 dimensions, at most 4"]),
        ("      sso: off\n", terms, ["`1.5` is not", "at least 5 units roll over"]),
    ] {
        assert!(good.contains(from), "{from}");
        let report = report(&good.replacen(from, to, 1));
        assert!(told.iter().all(|told| report.contains(told)), "{to}: {report}");
    }
}

/// Prompts with all that they can say.
const PROMPTED: &str = "\
prompting: { language: en, languages: [de], segment_fact: size, language_fact: lang, quiet_hours: { from: '20:30',
  to: '08:00' }, caps: [{ per: person, shown: 2, within: 1 week }], trial_ending: 5 days, converts_within: 2 days }
prompts:
  - prompt: near
    scenario: near_limit
    segments: [smb]
    audiences: [buyer, admin]
    title: T
    message: M
    languages: { de: { title: D, message: E } }
    variants: [{ variant: b, share: 12.5%, title: B, languages: { de: { title: F } } }]
    assign_by: person
    holdout: 10%
    caps: [{ per: account, shown: 5, within: 30 days }]
    cool_down: 36 hours
";

fn prompted(from: &str, to: &str) -> String {
    let end = GOOD.find("prompts:").unwrap();
    assert!(PROMPTED.contains(from), "{from}");
    format!("{}{}", &GOOD[..end], PROMPTED.replacen(from, to, 1))
}

#[test]
fn all_that_prompts_can_say_is_read() {
    use headroom_core::prompt::{Audience, Cap, DAY_MS, Unit};
    let parsed = parse("c", prompted("", "").as_bytes(), &NoSecrets).unwrap();
    let CatalogSpec { prompts, prompting, .. } = parsed.spec;
    assert_eq!((prompting.language.as_str(), prompting.languages), ("en", vec!["de".to_owned()]));
    assert_eq!(
        (prompting.segment_fact.as_str(), prompting.language_fact.as_str()),
        ("size", "lang")
    );
    assert_eq!(prompting.quiet, Some((20 * 60 + 30, 8 * 60)));
    let cap = |per, shown, days| Cap { per, shown, within_ms: days * DAY_MS };
    assert_eq!(prompting.caps, [cap(Unit::Person, 2, 7)]);
    assert_eq!(prompting.trial_ending_ms, Some(5 * DAY_MS));
    assert_eq!(prompting.conversion_ms, 2 * DAY_MS);
    let prompt = &prompts[0];
    assert_eq!(prompt.segments, ["smb"]);
    assert_eq!(prompt.audiences, [Audience::Buyer, Audience::Admin]);
    assert_eq!(prompt.languages[0].1.message.as_deref(), Some("E"));
    let variant = &prompt.variants[0];
    assert_eq!((variant.variant.as_str(), variant.share_bp), ("b", 1_250));
    assert_eq!(variant.languages[0].1.title.as_deref(), Some("F"));
    assert_eq!((prompt.assign_by, prompt.holdout_bp), (Unit::Person, 1_000));
    assert_eq!(
        (&prompt.caps[..], prompt.cool_down_ms),
        (&[cap(Unit::Account, 5, 30)][..], 36 * 3_600_000)
    );
}

#[test]
fn what_prompts_say_wrong_is_told_with_its_place() {
    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        let found = report(&prompted(from, to));
        assert!(found.contains(expected), "{found}");
    }
    check("audiences: [buyer,", "audiences: [byer,", "did you mean `buyer`?");
    check(
        "languages: { de: { title: D",
        "languages: { fr: { title: D",
        "`fr` is none of the languages",
    );
    check("title: D, message: E", "title: D", "the prompt has no `message` in `de`");
    check("message: E", "message: '{{ used'", "the template fails");
    check(
        "message: M",
        "message: '{{ used }}'",
        "it leaves out `used`, which the text in `en` says",
    );
    check("title: F", "title: '{{ usd }}'", "unknown fact `usd` in the template");
    check("'20:30'", "'20:75'", "`20:75` is no time of the day");
    check("within: 30 days", "within: 30", "`30` is not a span");
    check("shown: 5", "shown: 0", "must be 1 to 50");
    check("share: 12.5%", "share: 0%", "the share must be 0.01% to 100%");
    check("scenario: near_limit", "scenario: limit_hit", "leave `holdout` out");
    check("cool_down: 36", "cooldown: 36", "did you mean `cool_down`?");
}

#[test]
fn cohorts_are_who_has_a_feature_beside_a_share_of_all() {
    let read = |says: &str| {
        let text = GOOD.replacen("rollout: 12.5%", says, 1);
        let parsed = parse("c", text.as_bytes(), &NoSecrets).unwrap();
        let offering = parsed.spec.features[1].offering.clone();
        (offering.rollout_bp, offering.cohorts.names().to_vec())
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(read("cohorts: [beta]"), (0, names(&["beta"])));
    assert_eq!(read("rollout: 5%, cohorts: [beta, qa]"), (500, names(&["beta", "qa"])));
    assert_eq!(read("rollout: 100%"), (10_000, names(&[])));
    check(
        "rollout: 12.5%",
        "cohorts: beta",
        "c:16:67: `cohorts` must be a list of cohorts, as `[beta]`, found `beta`",
    );
    check(
        "rollout: 12.5%",
        "cohorts: [Beta]",
        "c:16:67: the name \"Beta\" may have only a-z, 0-9, `_`, `.` and `-`",
    );
}

#[test]
fn one_mistake_is_one_problem() {
    check(
        "kind: quota",
        "kind: qota",
        concat!(
            "c:5:11: `kind` must be `quota`, `concurrency`, `rate`, `allocation`, `credits`, `seats`, ",
            "`switch` or `config`, found `qota`, did you mean `quota`?",
        ),
    );
    check(
        "rollout: 12.5%",
        "rollout: 112.5%",
        "c:16:67: the roll-out is 112.5%, it must be 0% to 100%",
    );
    check(
        "tokens: { ever: { included: 7 } }",
        "tokens: { evr: { included: 7 } }",
        "c:31:49: feature `tokens` has no limit `evr`, did you mean `ever`?",
    );
    check(
        "merge: most_generous",
        "merge: most",
        "c:16:81: `merge` must be `sum` or `most_generous`, found `most`, did you mean `most_generous`?",
    );
    check("    kind: quota\n", "", "c:3:3: the key `kind` is missing");
    check("    name: LLM tokens\n", "", "c:3:3: the key `name` is missing");
    check(
        "{ calendar: hour }",
        "weekly",
        concat!(
            "c:9:25: `window` must be `billing`, `{billing: \"3 months\"}`, `{calendar: hour, day, ",
            "week, month, quarter or year}`, `{fixed: 2 weeks}`, `{first_use: 5 hours}`, `{sliding: ",
            "24 hours}` or `lifetime`, found `weekly`",
        ),
    );
    check("billing: 1 year", "billing: 11 years", "c:11:36: `11 years` must be 1 to 120 months");
    check(
        "billing: 1 year",
        "billing: 30",
        "c:11:36: `30` is not a number of months, as `3 months`",
    );
    check(
        "policy: { grace: 10% }",
        "policy: { grce: 10% }",
        "c:24:75: unknown key `grce`, did you mean `grace`?",
    );
    check("hourly: { included", "hrly: { included", "c:24:9: feature `tokens` has no limit `hrly`");
    check(
        "monthly: { included",
        "mnthly: { included",
        "c:25:9: feature `tokens` has no limit `mnthly`, did you mean `monthly`?",
    );
    check(
        "included: unlimited",
        "included: unlimitd",
        concat!(
            "c:25:30: `included` must be a number or `unlimited`, found `unlimitd`, did you mean ",
            "`unlimited`?",
        ),
    );
    check("sso: off", "sso: no", "c:27:12: `sso` must be `on` or `off`, found `no`");
    check(
        "[any, 1, 2.5, true, 'true', {a: b}]",
        "",
        "c:28:7: `models` has no value: leave it out, or give one",
    );
    check(
        "scenario: grace",
        "scenario: grase",
        concat!(
            "c:33:28: `scenario` must be `near_limit`, `limit_hit`, `grace`, `locked_feature`, ",
            "`seats_full`, `invite_without_seat`, `trial_ending`, `credits_low`, `rate_tier` or `unlock`, ",
            "found `grase`, did you mean `grace`?",
        ),
    );
    check(
        "title: T",
        "title: '{{ usd }}'",
        "c:33:78: unknown fact `usd` in the template, did you mean `used`?",
    );
    check("offer: pro }", "offer: prp }", "c:33:96: unknown plan `prp`, did you mean `pro`?");
    check(
        "signals: {",
        "signals: [",
        "c:35:1: not valid YAML: while parsing a flow sequence, expected ',' or ']'",
    );
    check("features:", "fetures:", "c:2:1: unknown key `fetures`, did you mean `features`?");
}

/// A good catalog with slots and a rate; each test changes one thing.
const METERS: &str = "\
features:
  jobs: { name: Jobs, kind: concurrency, unit: jobs }
  api: { name: API calls, kind: rate }
plans:
  free:
    name: Free
    entitlements:
      jobs: { max: 5, soft_limits: [80%] }
      api: { rate: 100 per second, burst: 200 }
signals: { api_tier_exceeded: off }
";

#[test]
fn slots_and_rates_are_read() {
    let parsed = parse("c", METERS.as_bytes(), &NoSecrets).unwrap().spec;
    let kinds: Vec<_> = parsed.features.iter().map(|f| (&f.kind, f.unit.as_str())).collect();
    assert_eq!(
        kinds,
        [
            (&FeatureKindSpec::Concurrency { per: None }, "jobs"),
            (&FeatureKindSpec::Rate { per: None }, DEFAULT_UNIT)
        ]
    );
    assert!(!parsed.signals.api_tier_exceeded);
    let given = |text: &str| {
        let text = METERS.replacen("{ rate: 100 per second, burst: 200 }", text, 1);
        match &parse("c", text.as_bytes(), &NoSecrets).unwrap().spec.plans[0].entitlements[..] {
            [
                (
                    _,
                    EntitlementSpec::Concurrency { max_units: Some(5), soft_limits_bp, each: None },
                ),
                (_, EntitlementSpec::Rate { rate, .. }),
            ] => {
                assert_eq!(*soft_limits_bp, [8_000]);
                rate.map(|rate| (rate.units, rate.period_ms, rate.burst_units))
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(given("{ rate: 100 per second, burst: 200 }"), Some((100, 1_000, 200)));
    assert_eq!(given("{ rate: 1_000 per minute }"), Some((1_000, 60_000, 1_000)));
    assert_eq!(given("{ rate: 7 per hour, burst: 1 }"), Some((7, 3_600_000, 1)));
    assert_eq!(given("{ rate: 3 per day }"), Some((3, 86_400_000, 3)));
    assert_eq!(given("{ rate: 5 per 10s }"), Some((5, 10_000, 5)));
    assert_eq!(given("{ rate: unlimited }"), None);
}

#[test]
fn a_rate_may_be_each_users_too() {
    let of = |feature: &str, given: &str| {
        METERS.replacen("kind: rate", feature, 1).replacen(
            "{ rate: 100 per second, burst: 200 }",
            given,
            1,
        )
    };
    let text = of("kind: rate, per: user", "{ rate: unlimited, each: { rate: 5 per minute } }");
    let spec = parse("c", text.as_bytes(), &NoSecrets).unwrap().spec;
    assert_eq!(spec.features[1].kind, FeatureKindSpec::Rate { per: Some("user".to_owned()) });
    let EntitlementSpec::Rate { rate: None, each: Some(each) } = spec.plans[0].entitlements[1].1
    else {
        panic!("{:?}", spec.plans[0].entitlements[1]);
    };
    assert_eq!((each.units, each.period_ms, each.burst_units), (5, 60_000, 5));
    let refused = |feature: &str, given: &str, why: &str| {
        let problems = parse("c", of(feature, given).as_bytes(), &NoSecrets).unwrap_err();
        let all = problems.to_string();
        assert!(all.contains(why), "{all}");
    };
    let each = "{ rate: 9 per second, each: { rate: 5 per second } }";
    refused("kind: rate", each, "the rate is of the account alone: say `per: user`");
    let never = "{ rate: 9 per second, each: { rate: 10 per second } }";
    refused("kind: rate, per: user", never, "no user ever reaches this");
    refused("kind: rate, per: User", each, "\"User\" may have only a-z");
    refused("kind: rate, per: user", "{ rate: 9 per second, each: 5 }", "a mapping with `rate`");
}

#[test]
fn slots_may_be_each_users_too() {
    let of = |feature: &str, given: &str| {
        let text = METERS.replacen("kind: concurrency", feature, 1);
        text.replacen("{ max: 5, soft_limits: [80%] }", given, 1)
    };
    let text = of("kind: concurrency, per: user", "{ max: unlimited, each: 2 }");
    let spec = parse("c", text.as_bytes(), &NoSecrets).unwrap().spec;
    let kind = FeatureKindSpec::Concurrency { per: Some("user".to_owned()) };
    assert_eq!(spec.features[0].kind, kind);
    let given =
        EntitlementSpec::Concurrency { max_units: None, soft_limits_bp: vec![], each: Some(2) };
    assert_eq!(spec.plans[0].entitlements[0].1, given);
    let refused = |feature: &str, given: &str, why: &str| {
        let problems = parse("c", of(feature, given).as_bytes(), &NoSecrets).unwrap_err();
        let all = problems.to_string();
        assert!(all.contains(why), "{all}");
    };
    refused("kind: concurrency", "{ max: 5, each: 2 }", "the most is of the account alone");
    let per = "kind: concurrency, per: user";
    refused(per, "{ max: 5, each: 6 }", "no user ever has 6 at a time, the account has 5");
    refused(per, "{ max: 5, each: some }", "each");
}

#[test]
fn one_mistake_in_slots_or_a_rate_is_one_problem() {
    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(METERS.contains(from), "{from}");
        assert_eq!(report(&METERS.replacen(from, to, 1)), expected, "{to}");
    }
    check(
        "unit: jobs }",
        "unit: jobs, scale: 2 }",
        "c:2:54: a concurrency has no `scale`, only a quota has",
    );
    check(
        "kind: rate }",
        "kind: rate, limits: {} }",
        "c:3:39: a rate has no `limits`, only a quota has",
    );
    check("max: 5, ", "", "c:8:7: the key `max` is missing");
    check(
        "max: 5",
        "max: unlimted",
        "c:8:20: `max` must be a number or `unlimited`, found `unlimted`, did you mean `unlimited`?",
    );
    check(
        "max: 5",
        "max: unlimited",
        "c:8:31: a soft limit is a share of the most at a time, which is unlimited",
    );
    check("[80%]", "[180%]", "c:8:37: a soft limit of 180% must be 0.01% to 99.99%");
    check(
        "{ max: 5, soft_limits: [80%] }",
        "5",
        "c:8:13: `jobs` must be a mapping with `max`, found `5`",
    );
    check(
        "100 per second",
        "100/s",
        "c:9:20: `100/s` is not a rate, write it as `100 per second` or `5 per 10s`",
    );
    check(
        "100 per second",
        "fast",
        "c:9:20: `rate` must be as `100 per second`, or `unlimited`, found `fast`",
    );
    check("100 per second", "1.5 per second", "c:9:20: `1.5` is not a whole number");
    check(
        "per second",
        "per month",
        "c:9:20: `month` is not a period: write `second`, `minute`, `hour`, `day` or a duration, as \
         `10s`",
    );
    check(
        "per second",
        "per 2d",
        "c:9:14: the period is 172800000 ms, it must be 1 ms to 1 day: what counts longer is a quota",
    );
    check("100 per", "0 per", "c:9:14: the rate is 0 units, it must be 1 to 9007199254740991");
    check("burst: 200", "burst: 0", "c:9:43: `burst` is 0, it must be 1 to 9007199254740991");
    check(
        "100 per second",
        "1 per hour",
        "c:9:32: an empty bucket takes 9 days to fill, at most 7 are possible: lower the burst, raise \
         the rate, or use a quota",
    );
    check("100 per second", "unlimited", "c:9:38: an unlimited rate has no `burst`: leave it out");
    check(
        "api_tier_exceeded",
        "api_tier_exeeded",
        "c:10:12: unknown key `api_tier_exeeded`, did you mean `api_tier_exceeded`?",
    );
}

/// A good catalog with things that exist; each test changes one thing.
const LEVELS: &str = "\
features:
  storage: { name: Storage, kind: allocation, unit: GB, scale: 3, billed_by: peak, window: billing }
  projects: { name: Projects, kind: allocation }
plans:
  free:
    name: Free
    entitlements:
      storage: { included: 10_000, soft_limits: [80%], policy: block }
      projects: { included: unlimited }
";

#[test]
fn allocations_are_read() {
    let spec = parse("c", LEVELS.as_bytes(), &NoSecrets).unwrap().spec;
    let window = WindowRule::Billing { months: 1 };
    let kind = |billed_by| FeatureKindSpec::Allocation { billed_by, window };
    assert_eq!(spec.features[0].kind, kind(BilledBy::Peak));
    assert_eq!((spec.features[0].unit.as_str(), spec.features[0].scale), ("GB", 3));
    assert_eq!(spec.features[1].kind, kind(BilledBy::Average));
    let given = |included_units, soft_limits_bp, policy| EntitlementSpec::Allocation {
        limit: PlanLimitSpec {
            limit: "level".into(),
            included_units,
            soft_limits_bp,
            policy,
            terms: LimitTerms::default(),
        },
    };
    let expected = [
        ("storage".to_owned(), given(Some(10_000), vec![8_000], Policy::Block)),
        ("projects".to_owned(), given(None, vec![], Policy::Unlimited)),
    ];
    assert_eq!(spec.plans[0].entitlements, expected);
}

/// A good catalog with seats; each test changes one thing.
const SEATS: &str = "\
features:
  seats: { name: Seats, kind: seats, unit: seats, invitations: 2 days }
  guests: { name: Guests, kind: seats }
plans:
  free:
    name: Free
    entitlements:
      seats: { included: 5, soft_limits: [80%] }
      guests: { included: unlimited }
signals: { seat_threshold_90pct: off }
";

#[test]
fn seats_are_read() {
    let spec = parse("c", SEATS.as_bytes(), &NoSecrets).unwrap().spec;
    let kind = |days: i64| FeatureKindSpec::Seats { invited_ms: days * 86_400_000 };
    assert_eq!((&spec.features[0].kind, &spec.features[1].kind), (&kind(2), &kind(7)));
    let given =
        |included_units, soft_limits_bp| EntitlementSpec::Seats { included_units, soft_limits_bp };
    let expected = [
        ("seats".to_owned(), given(Some(5), vec![8_000])),
        ("guests".to_owned(), given(None, vec![])),
    ];
    assert_eq!(spec.plans[0].entitlements, expected);
    assert!(!spec.signals.seat_threshold_90pct && spec.signals.seats_nearly_full);
}

#[test]
fn one_mistake_in_seats_is_one_problem() {
    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(SEATS.contains(from), "{from}");
        assert_eq!(report(&SEATS.replacen(from, to, 1)), expected, "{to}");
    }
    check(
        "2 days",
        "soon",
        "c:2:64: `soon` is not a span, write it as `90 minutes`, `36 hours`, `3 days` or `2 weeks`",
    );
    check(
        "2 days",
        "2_000 days",
        "c:2:64: `2_000 days` is not a span, write it as `90 minutes`, \
         `36 hours`, `3 days` or `2 weeks`",
    );
    check("2 days", "400 days", "c:2:64: an invitation lasts 1 ms to 366 days");
    check("included: 5, ", "", "c:8:7: the key `included` is missing");
    check(
        "included: 5",
        "included: 10_001",
        "c:8:16: 10001 seats are included, an account has room for 10000",
    );
    check("[80%]", "[180%]", "c:8:43: a soft limit of 180% must be 0.01% to 99.99%");
    check(
        "kind: seats, unit: seats",
        "kind: seats, scale: 2",
        "c:2:38: seats have no `scale`, only a quota has",
    );
    check(
        "seats: { included: 5, soft_limits: [80%] }",
        "seats: 5",
        "c:8:14: `seats` must be a mapping with `included`, found `5`",
    );
}

#[test]
fn one_mistake_in_an_allocation_is_one_problem() {
    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(LEVELS.contains(from), "{from}");
        assert_eq!(report(&LEVELS.replacen(from, to, 1)), expected, "{to}");
    }
    check(
        "billed_by: peak",
        "billed_by: peek",
        "c:2:78: `billed_by` must be `peak`, `average` or `end`, found `peek`, did you mean `peak`?",
    );
    check(
        "window: billing",
        "window: { calendar: month }",
        "c:2:92: an allocation never resets; it is measured over billing windows: `billing`, or \
         `{billing: \"3 months\"}`",
    );
    check(
        "window: billing",
        "limits: {}",
        "c:2:84: an allocation has no `limits`, only a quota has",
    );
    check("included: 10_000, ", "", "c:8:7: the key `included` is missing");
    check(
        "policy: block",
        "policy: blok",
        "c:8:64: `policy` must be `block`, `{grace: 10%}`, `{grace: {up_to: 10%, for: 3 days}}`, \
         `overage` or `unlimited`, found `blok`, did you mean `block`?",
    );
    check(
        "policy: block",
        "policy: block, debt: carry",
        "c:8:71: an allocation has no next window that debt could be carried into: leave `debt` out",
    );
    check(
        "storage: { included: 10_000, soft_limits: [80%], policy: block }",
        "storage: 10_000",
        "c:8:16: `storage` must be a mapping with `included`, found `10_000`",
    );
}

#[test]
fn a_file_must_say_something() {
    assert_eq!(report(""), "c: the file is empty");
    assert_eq!(
        report("- a"),
        "c:1:1: `the catalog` must be a mapping with `features` and `plans`, found a list"
    );
    assert_eq!(
        report("features: {}\nplans: {}"),
        "c: a catalog needs at least one feature and one plan"
    );
    assert_eq!(report("features: {}"), "c:1:1: the key `plans` is missing");
}

/// Small steps away from a good file: whatever comes out, it is read or refused, never a panic.
#[test]
fn mangled_catalogs_are_refused_with_reasons() {
    const PIECES: [&str; 12] =
        ["", " ", "\n", "\t", ": ", "{", "}", "[", "'", "&a *a", "{{ x }}", "\u{0}é"];
    let mut state = 7_u64; // The seed; a failure prints the text it made.
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let bad = include_str!("../bad_catalog.yaml");
    let mut refused = 0;
    for round in 0..1_000 {
        let source = if round % 2 == 0 { GOOD } else { bad };
        let mut chars: Vec<char> = source.chars().collect();
        for _ in 0..=random(3) {
            let from = random(chars.len());
            let to = (from + random(6)).min(chars.len());
            chars.splice(from..to, PIECES[random(PIECES.len())].chars());
        }
        let text: String = chars.into_iter().collect();
        let result = std::panic::catch_unwind(|| match parse("c", text.as_bytes(), &NoSecrets) {
            Ok(_) => 0,
            Err(problems) => problems.to_string().len().min(1),
        });
        refused += result.unwrap_or_else(|_| panic!("it panicked on\n{text}"));
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn spans_are_a_number_and_a_unit() {
    let at = |message: &str| format!("c:13:39: {message}");
    let form = "a number of hours, days, weeks or months, as `5 hours`";
    let first_use = |span: &str, message: &str| {
        let message = if message.is_empty() { String::new() } else { at(message) };
        check("first_use: 5 hours", &format!("first_use: {span}"), &message);
    };
    first_use("1 month", "");
    first_use("12 months", "");
    first_use("5 hour", "");
    first_use("5h", &format!("`5h` is not {form}"));
    first_use("five hours", &format!("`five hours` is not {form}"));
    first_use("1.5 hours", &format!("`1.5 hours` is not {form}"));
    first_use("5 years", &format!("`5 years` is not {form}"));
    first_use("5 houres", &format!("`5 houres` is not {form}, did you mean `hours`?"));
    first_use("0 days", "`0 days` must be 1 to 3650 days");
    first_use("121 months", "`121 months` must be 1 to 120 months");
    first_use("99999999999 hours", "`99999999999 hours` must be 1 to 8760 hours");
    check(
        "sliding: 1 day",
        "sliding: 1 month",
        "c:15:36: `1 month` differs from month to month, a sliding window cannot: use hours, days or \
         weeks, as `30 days`",
    );
    check(
        "{ sliding: 1 day }",
        "{ slidin: 1 day }",
        "c:15:25: `window` must be `billing`, `{billing: \"3 months\"}`, `{calendar: hour, day, week, \
         month, quarter or year}`, `{fixed: 2 weeks}`, `{first_use: 5 hours}`, `{sliding: 24 hours}` \
         or `lifetime`\nc:15:27: unknown key `slidin`, did you mean `sliding`?",
    );
}

#[test]
fn terms_of_policies_are_read() {
    use headroom_core::policy::{GraceTerms, GraceTimes, OverageTerms};
    let read = |policy: &str| {
        // Debt is carried by windows of a day or longer.
        let source = GOOD.replacen("calendar: hour", "calendar: day", 1);
        let source = source.replacen("policy: { grace: 10% }", policy, 1);
        let spec = match parse("c", source.as_bytes(), &NoSecrets) {
            Ok(parsed) => parsed.spec,
            Err(problems) => panic!("{policy}: {problems}"),
        };
        let EntitlementSpec::Quota { limits } = &spec.plans[0].entitlements[0].1 else { panic!() };
        (limits[0].policy, limits[0].terms.clone())
    };
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let grace = |lasts_ms, notice_ms, times: Option<(u8, u8)>| {
        let times = times.map(|(times, months)| GraceTimes { times, months });
        LimitTerms { grace: Some(GraceTerms { lasts_ms, notice_ms, times }), ..Default::default() }
    };
    let tenth = Policy::Grace { grace_bp: 1_000 };
    let by_time = Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE };
    let three = Some(3 * DAY_MS);
    for (text, expected) in [
        ("{ grace: { up_to: 10% } }", (tenth, LimitTerms::default())),
        ("{ grace: { up_to: 10%, for: 3 days } }", (tenth, grace(three, DAY_MS, None))),
        (
            "{ grace: { for: 36 hours } }",
            (by_time, grace(Some(3 * DAY_MS / 2), 3 * DAY_MS / 4, None)),
        ),
        (
            "{ grace: { for: 3 days, notice: 90 minutes, times: 2 per year } }",
            (by_time, grace(three, DAY_MS / 16, Some((2, 12)))),
        ),
        ("{ grace: { up_to: 10%, times: 1 per month } }", (tenth, grace(None, 0, Some((1, 1))))),
    ] {
        assert_eq!(read(&format!("policy: {text}")), expected, "{text}");
    }
    let overage = |unit_price_nanos, cap_minor| {
        let overage = OverageTerms { unit_price_nanos, currency: "USD".into(), cap_minor };
        LimitTerms { overage: Some(overage), ..Default::default() }
    };
    assert_eq!(
        read("policy: { overage: { unit_price_minor: 0.0002, currency: USD } }"),
        (Policy::Overage, overage(200_000, None))
    );
    assert_eq!(
        read("policy: { overage: { unit_price_minor: 1.5, currency: USD, cap_minor: 50_000 } }"),
        (Policy::Overage, overage(1_500_000_000, Some(50_000)))
    );
    assert!(read("policy: { grace: 10% }, debt: carry").1.carries_debt);
    assert!(!read("policy: { grace: 10% }, debt: forgive").1.carries_debt);
    let shadow = GOOD.replacen("kind: switch", "kind: switch, shadow: on", 1);
    let spec = parse("c", shadow.as_bytes(), &NoSecrets).unwrap().spec;
    let shadowed: Vec<bool> = spec.features.iter().map(|feature| feature.shadow).collect();
    assert_eq!(shadowed, [false, true, false]);
}

#[test]
fn a_mistake_in_the_terms_of_a_policy_says_how_it_is_written() {
    let from = "policy: { grace: 10% }";
    for (to, expected) in [
        (
            "policy: { grace: { notice: 1 day } }",
            "c:24:82: how much grace? give `up_to: 10%`, or `for: 3 days`, or both",
        ),
        (
            "policy: { grace: { up_to: 5%, notice: 1 day } }",
            "c:24:103: `notice` comes before a grace ends by time: give `for`, too",
        ),
        (
            "policy: { grace: { for: 3d } }",
            "c:24:89: `3d` is not a span, write it as `90 minutes`, `36 hours`, `3 days` or `2 weeks`",
        ),
        (
            "policy: { grace: { up_to: 5%, times: twice } }",
            "c:24:102: `twice` is not a number of times, write it as `2 per year`: 1 to 12 per \
             month, quarter or year",
        ),
        (
            "policy: { overage: { unit_price_minor: 0.2 } }",
            "c:24:75: the key `currency` is missing",
        ),
        (
            "policy: { overage: { unit_price_minor: .2, currency: USD } }",
            "c:24:104: `.2` is not a price in minor units, write it as `0.2`; at most nine decimal \
             places",
        ),
        (
            "policy: { overage: { unit_price_minor: 0.2, currency: usd } }",
            "c:24:119: \"usd\" is no currency: three capital letters of ISO 4217, as `USD`",
        ),
        (
            "policy: { grace: 5%, overage: { unit_price_minor: 0.2, currency: USD } }",
            "c:24:73: `policy` is either `grace` or `overage`, not both",
        ),
        (
            "policy: unlimited, debt: carry",
            "c:24:90: debt is carried by windows of a day or longer: say `debt: forgive`, or carry it in a \
             second limit with a longer window\nc:24:90: there is never any debt to carry, because the policy \
             refuses nothing",
        ),
        (
            "policy: block, debt: cary",
            "c:24:86: `debt` must be `forgive` or `carry`, found `cary`, did you mean `carry`?",
        ),
    ] {
        check(from, to, expected);
    }
}

#[test]
fn versions_and_migrations_are_read() {
    use headroom_core::migrate::Migration;
    let text = GOOD.replace(
        "pro: { name: Pro, entitlements: { sso: true } }",
        "pro:\n    name: Pro\n    version: 3\n    entitlements: { sso: true }\n    versions:\n      \
         2: { name: Pro of old, entitlements: { sso: off } }\n      1: { entitlements: {} }",
    ) + "migrations:\n  - { rename_feature: h, to: tokens }\n  - drop_feature: a\n  - { drop_limit: b, of: c }\n  - { change_kind: d, to: \
         switch }\n  - { end_lifetime: e, of: f }\n  - { move_plan: pro@4, to: pro }\n  - { drop_addon: g }\n";
    let spec = parse("c", text.as_bytes(), &NoSecrets).unwrap().spec;
    let plans: Vec<_> = spec.plans.iter().map(|p| (&*p.plan, p.version, &*p.name)).collect();
    let expected =
        [("free", 1, "Free"), ("pro", 3, "Pro"), ("pro", 2, "Pro of old"), ("pro", 1, "Pro")];
    assert_eq!(plans, expected);
    let text = |text: &str| text.to_owned();
    let lines = [
        Migration::RenameFeature { from: text("h"), to: text("tokens") },
        Migration::DropFeature { feature: text("a") },
        Migration::DropLimit { feature: text("c"), limit: text("b") },
        Migration::ChangeKind { feature: text("d"), to: text("switch") },
        Migration::EndLifetime { feature: text("f"), limit: text("e") },
        Migration::MovePlan { from: text("pro@4"), to: text("pro") },
        Migration::DropAddOn { addon: text("g") },
    ];
    assert_eq!(spec.migrations, lines);
}

#[test]
fn what_becomes_of_a_limit_when_the_plan_changes_is_read() {
    use headroom_core::change::OnChange;
    for on_change in [OnChange::Keep, OnChange::Prorate, OnChange::Reset] {
        let more = format!("300_000, on_change: {}", on_change.as_str());
        let spec = parse("c", GOOD.replace("300_000", &more).as_bytes(), &NoSecrets).unwrap().spec;
        let EntitlementSpec::Quota { limits } = &spec.plans[0].entitlements[0].1 else {
            panic!("a quota")
        };
        assert_eq!(limits[0].terms.on_change, on_change);
    }
    check(
        "300_000",
        "300_000, on_change: proprate",
        "c:24:49: `on_change` must be `keep`, `prorate` or `reset`, found `proprate`, did you mean \
         `prorate`?",
    );
}

#[test]
fn mistakes_of_versions_and_migrations_have_their_place() {
    let pro = "pro: { name: Pro, entitlements: { sso: true } }";
    let with = |more: &str| format!("pro: {{ name: Pro, entitlements: {{ sso: true }}, {more} }}");
    check(pro, &with("version: 0"), "c:29:59: `version` is 0, it must be 1 to 99999");
    check(
        pro,
        &with("versions: { 1: { entitlements: {} } }"),
        "c:29:60: `versions` are the ones before the version that is sold: say which that is with \
         `version`",
    );
    check(
        pro,
        &with("version: 2, versions: { 2: { entitlements: {} } }"),
        "c:29:74: `2` must be below the version that is sold, 2",
    );
    check(
        pro,
        &with("version: 2, versions: { 1: { entitlements: { soo: on } } }"),
        "c:29:95: unknown feature `soo`, did you mean `sso`?",
    );
    let end = "signals: { usage_ceiling: off }\n";
    let lines = |line: &str| format!("{end}migrations:\n  - {line}\n");
    check(end, &lines("{ drop_limit: a }"), "c:36:5: the key `of` is missing");
    check(
        end,
        &lines("{ move_plan: fre, to: pri }"),
        "c:36:27: unknown plan `pri`, did you mean `pro`?",
    );
    check(
        end,
        &lines("{ drop_limit: a, of: b, drop_feature: c }"),
        "c:36:5: a migration is one of `{rename_feature: …, to: …}`, `{drop_feature: …}`, `{drop_limit: …, \
         of: …}`, `{change_kind: …, to: …}`, `{end_lifetime: …, of: …}`, `{move_plan: …, to: …}` or \
         `{drop_addon: …}`",
    );
    check(end, &lines("{ rename_feature: a }"), "c:36:5: the key `to` is missing");
    check(
        end,
        &lines("{ rename_feature: toks, to: tokns }"),
        "c:36:33: `tokns` is no feature of this catalog, nor renamed on to one, did you mean `tokens`?",
    );
}

/// A good catalog with a pool of credits; each test changes one thing.
const CREDITS: &str = "\
features:
  ai: { name: AI credits, kind: credits, window: billing, rate_card: { images: { credits: 5 }, tokens: { credits: 3, per: 1_000, rounding: nearest } } }
  images: { name: Images, kind: quota, limits: { monthly: { window: billing } } }
  tokens: { name: Tokens, kind: quota, limits: { daily: { window: { calendar: day } } } }
plans:
  pro:
    name: Pro
    entitlements:
      ai: { included: 1_000, priority: 50, rollover: { max: 500, min: 10 }, overdraft: { up_to: 20 }, soft_limits: [80%] }
      images: { paid_by: ai }
      tokens: { daily: { included: 9 }, paid_by: ai }
addons:
  pack: { name: Pack, entitlements: { ai: { included: 100 } } }
";

#[test]
fn a_pool_its_prices_and_what_it_pays_are_read() {
    let parsed = parse("c", CREDITS.as_bytes(), &NoSecrets).unwrap().spec;
    let FeatureKindSpec::Credits { window, rate_card } = &parsed.features[0].kind else { panic!() };
    assert_eq!(*window, WindowRule::Billing { months: 1 });
    let price = |credits, per, rounding| CreditPrice { credits, per, rounding };
    assert_eq!(
        *rate_card,
        [
            ("images".to_owned(), price(5, 1, Rounding::Up)),
            ("tokens".to_owned(), price(3, 1_000, Rounding::Nearest)),
        ]
    );
    assert_eq!(parsed.features[0].unit, "credits");
    let terms = PoolTerms {
        included_units: 1_000,
        priority: 50,
        rollover_min_units: 10,
        rollover_max_units: 500,
        overdraft_units: 20,
        forgives_debt: false,
        soft_limits_bp: vec![8_000],
    };
    let given = &parsed.plans[0].entitlements;
    assert_eq!(given[0].1, EntitlementSpec::Credits { terms });
    let paid = |limits| EntitlementSpec::PaidQuota { limits, paid_by: "ai".to_owned() };
    assert_eq!(given[1].1, paid(vec![]));
    assert!(matches!(&given[2].1, EntitlementSpec::PaidQuota { limits, .. } if limits.len() == 1));
    let pack = PoolTerms { included_units: 100, ..PoolTerms::default() };
    assert_eq!(parsed.addons[0].entitlements[0].1, EntitlementSpec::Credits { terms: pack });
}

#[test]
fn one_mistake_in_a_pool_is_one_problem() {
    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(CREDITS.contains(from), "{from}");
        assert_eq!(report(&CREDITS.replacen(from, to, 1)), expected, "{to}");
    }
    check("window: billing, rate", "rate", "c:2:3: the key `window` is missing");
    check(
        "window: billing, rate",
        "window: { sliding: 5 hours }, rate",
        "c:2:50: units come to a pool at set times, not with its use: the window must be `billing`, \
         `calendar`, `fixed` or `lifetime`",
    );
    check(
        "window: billing, rate",
        "limits: {}, window: billing, rate",
        "c:2:42: credits have no `limits`: give a `window`, and `included` in a plan",
    );
    check(
        "{ images: {",
        "{ image: {",
        "c:2:72: unknown feature `image`, did you mean `images`?\n\
         c:10:26: the rate card of `ai` has no price for `images`",
    );
    check(
        "credits: 5 }",
        "credits: 0 }",
        "c:2:91: `credits` is 0, it must be 1 to 9007199254740991",
    );
    check(
        "nearest",
        "upp",
        "c:2:140: `rounding` must be `up`, `down` or `nearest`, found `upp`, did you mean `up`?",
    );
    check(
        "images: { paid_by: ai }",
        "images: { paid_by: a1 }",
        "c:2:72: `images` has a price, but no plan or add-on says `paid_by: ai` of it\n\
         c:10:26: unknown feature `a1`, did you mean `ai`?",
    );
    check("priority: 50", "priority: 256", "c:9:40: `priority` is 256, it must be 0 to 255");
    check(
        "max: 500, min: 10",
        "max: 5, min: 10",
        "c:9:44: at least 10 units roll over, but at most 5",
    );
    check(
        "overdraft: { up_to: 20 }",
        "overdraft: { up_to: 20 }, debt: forgive",
        "c:9:103: an overdraft that is forgiven would be given away: use `carry`",
    );
    check("[80%]", "[180%]", "c:9:117: a soft limit of 180% must be 0.01% to 99.99%");
    check(
        "{ included: 100 }",
        "{ include: 100 }",
        "c:13:45: unknown key `include`, did you mean `included`?",
    );
}

/// A good catalog with limits of users; each test changes one thing.
const SUBJECTS: &str = "\
features:
  tokens:
    name: Tokens
    kind: quota
    limits:
      monthly: { window: billing }
      own: { window: { calendar: day }, per: user }
      ever: { window: lifetime, per: user }
plans:
  pro:
    name: Pro
    entitlements:
      tokens: { monthly: { included: 100 }, own: { included: 90, policy: { grace: { up_to: 10% } } } }
";

#[test]
fn limits_of_subjects_are_read() {
    let parsed = parse("c", SUBJECTS.as_bytes(), &NoSecrets).unwrap().spec;
    let FeatureKindSpec::Quota { limits } = &parsed.features[0].kind else { panic!() };
    let per: Vec<_> = limits.iter().map(|limit| limit.per.as_deref()).collect();
    assert_eq!(per, [None, Some("user"), Some("user")]);
}

#[test]
fn one_mistake_in_a_limit_of_subjects_is_one_problem() {
    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(SUBJECTS.contains(from), "{from}");
        assert_eq!(report(&SUBJECTS.replacen(from, to, 1)), expected, "{to}");
    }
    check("ever: { window: lifetime, per: user }", "", "");
    check("per: user", "per: [user]", "c:7:46: `per` must be a text, found a list");
    check("per: user", "pre: user", "c:7:41: unknown key `pre`, did you mean `per`?");
    check(
        "per: user",
        "per: User",
        "c:7:46: the name \"User\" may have only a-z, 0-9, `_`, `.` and `-`",
    );
    check(
        "per: user",
        "per: erased",
        "c:7:46: the type `erased` is what subjects are called whose names were erased",
    );
    check(
        "policy: { grace: { up_to: 10% } }",
        "debt: carry",
        "c:13:72: the debt of a subject is not carried: nothing is remembered of one in which nothing \
         counts any more",
    );
    check(
        "up_to: 10%",
        "up_to: 10%, times: 2 per year",
        "c:13:74: how often a subject used its grace is not remembered: bound it by units or by time",
    );
    check(
        "monthly: { included: 100 }, ",
        "",
        "c:13:7: every limit given is of subjects: usage without a subject would count nowhere. Give \
         the account one too, which may be unlimited",
    );
}

#[test]
fn a_quota_may_keep_its_usage_by_time_and_dimension() {
    let with = |usage: &str| GOOD.replacen("scale: 0", &format!("scale: 0\n    usage: {usage}"), 1);
    let read = |usage: &str| {
        let spec = parse("c", with(usage).as_bytes(), &NoSecrets).unwrap().spec;
        spec.features[0].counting.tally.clone().unwrap()
    };
    assert_eq!(read("{ buckets: hour }").buckets, BucketSize::Hour);
    let tally = read("{ buckets: day, dimensions: [model, region] }");
    assert_eq!(
        (tally.buckets, tally.dimensions),
        (BucketSize::Day, ["model", "region"].map(str::to_owned).to_vec())
    );
    for (usage, expected) in [
        ("{ buckets: week }", "c:8:23: `buckets` must be `hour` or `day`, found `week`"),
        ("{ dimensions: [a] }", "c:8:5: the key `buckets` is missing"),
        (
            "{ buckets: hour, dimension: [a] }",
            "c:8:29: unknown key `dimension`, did you mean `dimensions`?",
        ),
        (
            "{ buckets: hour, dimensions: [model, model] }",
            "c:8:41: dimension `model` is there twice",
        ),
        (
            "hourly",
            "c:8:12: `usage` must be a mapping with `buckets`, as `{buckets: hour}`, found `hourly`",
        ),
    ] {
        assert_eq!(report(&with(usage)), expected, "{usage}");
    }
    let sso = GOOD.replacen("kind: switch", "kind: switch, usage: { buckets: hour }", 1);
    let expected = "only a quota has `usage`, which adds up over time";
    assert!(report(&sso).ends_with(expected), "{}", report(&sso));
}

#[test]
fn how_many_days_ahead_is_told_are_days_or_a_switch() {
    let read = |value: &str| {
        let yaml = format!(
            "features: {{ sso: {{ name: SSO, kind: switch }} }}\n\
             plans: {{ free: {{ name: Free, entitlements: {{ sso: on }} }} }}\n\
             signals: {{ projected_exhaustion: {value} }}\n"
        );
        parse("c.yaml", yaml.as_bytes(), &NoSecrets)
    };
    let horizons = |value| read(value).unwrap().spec.signals.projected_exhaustion;
    let trials = |value: &str| {
        read(&format!("on, trial_ending: {value}")).unwrap().spec.signals.trial_ending
    };
    assert_eq!(trials("on"), Horizons::OF_TRIALS);
    assert_eq!(trials("off"), Horizons::NONE);
    assert_eq!(trials("[1, 5]"), Horizons::new(&[5, 1]).unwrap());
    assert_eq!(horizons("on"), Horizons::DEFAULT);
    assert_eq!(horizons("off"), Horizons::NONE);
    assert_eq!(horizons("[7, 30]"), Horizons::new(&[30, 7]).unwrap());
    for (value, problem) in [
        ("[]", "`projected_exhaustion` has 0 horizons, it must have 1 to 2"),
        ("[1, 2, 3]", "`projected_exhaustion` has 3 horizons, it must have 1 to 2"),
        ("[400]", "`projected_exhaustion` is 400, it must be 1 to 366"),
        ("{ days: 3 }", "`on`, `off` or a list of days ahead, as [14, 3]"),
    ] {
        let problems = read(value).unwrap_err().to_string();
        assert!(problems.contains(problem), "{problems}");
    }
}

const MEASURED: &str = "\
default_plan: free
features:
  tokens:
    name: Tokens
    kind: quota
    aggregation: sum
    limits: { daily: { window: { calendar: day } } }
  sso: { name: Single sign-on, kind: switch }
plans:
  free: { name: Free, entitlements: { tokens: { daily: { included: 1 } } } }
";

#[test]
fn a_quota_may_make_something_else_of_units() {
    use headroom_core::catalog::Aggregation;
    let with = |word: &str| MEASURED.replacen("sum", word, 1);
    let read = |word: &str| {
        let spec = parse("c", with(word).as_bytes(), &NoSecrets).unwrap().spec;
        spec.features[0].counting.clone()
    };
    for aggregation in Aggregation::ALL.into_iter().filter(|one| *one != Aggregation::Unique) {
        let counting = read(aggregation.as_str());
        assert_eq!((counting.aggregation, counting.unique_by), (aggregation, None));
    }
    let unique = read("unique\n    unique_by: device");
    assert_eq!(unique.aggregation, Aggregation::Unique);
    assert_eq!(unique.unique_by.as_deref(), Some("device"));
    assert_eq!(
        report(&with("maximum")),
        "c:6:18: `aggregation` must be `sum`, `count`, `max`, `latest` or `unique`, found `maximum`"
    );
    assert_eq!(
        report(&with("unique")),
        "c:3:3: `aggregation: unique` counts the different values of a dimension: name it, as `unique_by: \
         device`"
    );
    assert_eq!(
        report(&with("max\n    unique_by: device")),
        "c:7:16: only `aggregation: unique` has a `unique_by`"
    );
    let sso = MEASURED.replacen("kind: switch", "kind: switch, aggregation: max", 1);
    assert!(report(&sso).ends_with("only a quota has an `aggregation`"), "{}", report(&sso));
}

#[test]
fn signals_are_switched_and_the_share_of_a_cap_is_read() {
    let with = |signals: &str| format!("{MEASURED}signals: {{ {signals} }}\n");
    let read =
        |signals: &str| parse("c", with(signals).as_bytes(), &NoSecrets).unwrap().spec.signals;
    assert_eq!(read("overage_cap_near: on"), SignalSwitches::default());
    assert_eq!(read("overage_cap_near: 92.5%").overage_cap_near_bp, 9_250);
    assert!(!read("overage_cap_near: off").overage_cap_near);
    let off = read(
        "premium_feature_attempted: off, team_invite_sent: off, credits_low: off, credits_depleted: off",
    );
    let all = SignalSwitches {
        premium_feature_attempted: false,
        team_invite_sent: false,
        credits_low: false,
        credits_depleted: false,
        ..SignalSwitches::default()
    };
    assert_eq!(off, all);
    for wrong in ["0%", "100.01%"] {
        assert_eq!(
            report(&with(&format!("overage_cap_near: {wrong}"))),
            "c:11:30: `overage_cap_near` must be `on`, `off`, or `0.01%` to `100%` of the cap"
        );
    }
    assert_eq!(
        report(&with("overage_cap_near: near")),
        "c:11:30: `overage_cap_near` must be `on` or `off`, found `near`"
    );
}

/// The terms of growth of a good catalog with more lines.
fn growth_of(lines: &str) -> Terms {
    parse("c", format!("{GOOD}{lines}").as_bytes(), &NoSecrets).unwrap().growth
}

#[test]
fn a_catalog_that_says_nothing_of_growth_has_the_defaults() {
    assert_eq!(growth_of(""), Terms::default());
    assert_eq!(growth_of("expansion: {}\n"), Terms::default());
}

#[test]
fn every_number_of_growth_can_be_replaced_alone() {
    let terms = growth_of(
        "\
expansion:
  segment_fact: size
  default_segment: startup
  adopted_days: 5
  segments:
    smb: { gate: { health_score: at least 60, nps: any, support_trend: [flat], beta: true } }
    enterprise: off
    startup: { missing_facts: pass, gate: { days_since_onboarding: above 7.5 } }
  risk_flags: [in_arrears]
  scores:
    pql:
      parts:
        api_use_percent: { fact: used_percent.tokens, points: 20 }
        qbr_participated: off
        webinars: { points: 5, zero_at: 0, full_at: 2.5 }
      bands: { not_ready: 0, hot: { from: 60, advice: call them } }
  outside_signals: { webinar_attended: social }
  benchmark: { accounts_at_least: 50 }
",
    );
    assert_eq!((terms.segment_fact.as_str(), terms.adopted_days), ("size", 5));
    let benchmark = &terms.benchmark;
    assert_eq!((benchmark.size_fact.as_str(), benchmark.accounts_min), ("employees", 50));
    let names: Vec<&str> = terms.segments.iter().map(|one| one.segment.as_str()).collect();
    assert_eq!(names, ["startup", "smb", "mid_market"]);
    let usual = Terms::default();
    let tests = |terms: &Terms, segment: usize, fact: &str| {
        let found = terms.segments[segment].conditions.iter().find(|one| one.fact == fact);
        found.map(|one| one.test.to_string())
    };
    assert_eq!(tests(&terms, 0, "days_since_onboarding").unwrap(), "above 7.5");
    assert_eq!(tests(&terms, 1, "health_score").unwrap(), "at least 60");
    assert_eq!(tests(&terms, 1, "nps"), None);
    assert_eq!(tests(&terms, 1, "support_trend").unwrap(), "flat");
    assert_eq!(tests(&terms, 1, "beta").unwrap(), "true");
    assert_eq!(tests(&terms, 1, "journey"), tests(&usual, 0, "journey"));
    assert_eq!(terms.risks, ["in_arrears"]);
    let part = |name: &str| terms.pql.parts.iter().find(|part| part.part == name);
    let api = part("api_use_percent").unwrap();
    assert_eq!((api.fact.as_str(), api.points_max_tenths), ("used_percent.tokens", 200));
    assert_eq!(api.full_at, 100_000, "what is not said stays");
    assert_eq!(part("qbr_participated"), None);
    assert_eq!(part("webinars").unwrap().full_at, 2_500);
    let bands: Vec<_> = terms
        .pql
        .bands
        .iter()
        .map(|b| (b.band.as_str(), b.from_tenths, b.advice.as_str()))
        .collect();
    assert_eq!(bands, [("not_ready", 0, "leave alone"), ("hot", 600, "call them")]);
    assert_eq!(terms.opportunity, usual.opportunity);
    assert!(terms.outside_signals().any(|name| name == "webinar_attended"));
}

#[test]
fn problems_of_growth_are_told_together_with_their_places() {
    let lines = "\
expansion:
  default_segment: smbs
  segments:
    smb: { gate: { nps: over 7, health_score: [] }, missing_facts: skip }
  scores:
    pql: { parts: { webinars: { points: 5 } }, bands: { hot: 10 } }
  outside_signals: { Webinar: socal }
";
    let first = GOOD.lines().count() + 1;
    let found = report(&format!("{GOOD}{lines}"));
    let place = |line: usize, column: usize| format!("c:{}:{column}: ", first + line);
    for (line, column, text) in [
        (1, 20, "there is no segment `smbs`, did you mean `smb`?"),
        (3, 25, "\"over 7\" is no test: write `above 30`, `at least 75`, `below 5` or `at most 2`"),
        (3, 47, "`health_score` is an empty list, which nothing is in"),
        (3, 68, "`missing_facts` must be `pass` or `fail`, found `skip`"),
        (5, 21, "the key `zero_at` is missing"),
        (5, 21, "the key `full_at` is missing"),
        (6, 22, "a signal's name is 1 to 64 of a-z, 0-9 and `_`"),
        (6, 31, "found `socal`, did you mean `social`?"),
    ] {
        let start = place(line, column);
        let is_there = |told: &str| told.starts_with(&start) && told.contains(text);
        assert!(found.lines().any(is_there), "{start}{text}\nnot in:\n{found}");
    }
}

#[test]
fn plays_that_leave_a_signal_without_an_owner_are_refused() {
    let play = "\
plays:
  all_of_it:
    segments: [smb, mid_market]
    type: adoption_upsell
    motion: usage_based
    owner: pooled_cs
    message: Show the next plan.
";
    let found = report(&format!("{GOOD}{play}"));
    assert!(
        found.contains(
            "signal `usage_ceiling` has no play and no owner for enterprise (passed), enterprise \
             (held)"
        ),
        "{found}"
    );
    let whole = play.replace("    segments: [smb, mid_market]\n", "");
    assert_eq!(report(&format!("{GOOD}{whole}")), "");
    let terms = growth_of(&whole);
    assert_eq!(terms.plays.len(), 1);
    let ownerless = whole.replace("owner: pooled_cs", "owner: ' '");
    assert!(report(&format!("{GOOD}{ownerless}")).contains("`owner` is empty: every play has one"));
    let mistyped = whole.replace("    type:", "    signals: [usage_cieling]\n    type:");
    let found = report(&format!("{GOOD}{mistyped}"));
    let line = GOOD.lines().count() + 3;
    assert!(found.contains(&format!("c:{line}:15: there is no signal `usage_cieling`")), "{found}");
    assert!(found.contains("did you mean `usage_ceiling`?"), "{found}");
}

#[test]
fn rules_are_read_with_the_catalogs_own_names_and_their_problems_have_places() {
    let terms = growth_of(
        "\
expansion:
  outside_signals: { webinar_attended: social }
  rules:
    heavy:
      class: usage
      warn: used_percent.tokens >= 60
      when: used_percent.tokens >= 80 && days('webinar_attended', 30) > 0
      calm_days: 3
    power_user: { when: power_user_percent >= 300 }
    idle_seats: off
",
    );
    let names: Vec<&str> = terms.watches.iter().map(|watch| watch.signal.as_str()).collect();
    let known = [
        "feature_exploration",
        "power_user",
        "declining_usage",
        "multiple_signups",
        "contract_milestone",
    ];
    assert_eq!(names, [&known[..], &["heavy"]].concat());
    assert_eq!(terms.watches[1].when.text(), "power_user_percent >= 300");
    assert_eq!((terms.watches[1].calm_days, terms.watches[5].calm_days), (7, 3));
    let lines = "\
expansion:
  rules:
    heavy: { class: usage, when: used_percent.tokenz > 1 }
    Loud: { class: usage, when: seats > 1 }
    half: { class: usage }
    nps_recorded: { class: usage, when: seats > 1 }
";
    let first = GOOD.lines().count() + 1;
    let found = report(&format!("{GOOD}{lines}"));
    for (line, text) in [
        (2, "`when`: there is no feature `tokenz`, did you mean `tokens`?"),
        (3, "a signal's name is 1 to 64 of a-z, 0-9 and `_`"),
        (4, "the key `when` is missing"),
    ] {
        let start = format!("c:{}:", first + line);
        let is_there = |told: &str| told.starts_with(&start) && told.contains(text);
        assert!(found.lines().any(is_there), "{start} {text}\nnot in:\n{found}");
    }
    let double = "expansion:\n  rules:\n    nps_recorded: { class: usage, when: seats > 1 }\n";
    let found = report(&format!("{GOOD}{double}"));
    assert!(found.contains("`nps_recorded` is a signal already"), "{found}");
}

/// A plan of which `sso` and `exports` come by use of flows.
const UNLOCKED: &str = "\
features:
  flows: { name: Workflows, kind: quota, unit: workflows, limits: { ever: { window: lifetime } } }
  exports: { name: Exports, kind: quota, limits: { monthly: { window: billing } } }
  sso: { name: SSO, kind: switch }
plans:
  team:
    name: Team
    entitlements:
      flows: { ever: { included: unlimited } }
      exports: { monthly: { included: 9 }, unlock_after: { feature: flows, units: 20 } }
      sso: { unlock_after: { feature: flows, units: 1_000 } }
";

#[test]
fn what_use_unlocks_is_read_and_its_problems_have_places() {
    let spec = parse("c", UNLOCKED.as_bytes(), &NoSecrets).unwrap().spec;
    let given = |place: usize| spec.plans[0].entitlements[place].1.clone();
    let after = |units| UnlockSpec { feature: "flows".to_owned(), units };
    let EntitlementSpec::Locked { after: of_exports, given: exports } = given(1) else {
        panic!("locked")
    };
    assert_eq!(of_exports, after(20));
    assert!(matches!(*exports, EntitlementSpec::Quota { limits } if limits.len() == 1));
    let sso = Box::new(EntitlementSpec::Switch { on: true });
    assert_eq!(given(2), EntitlementSpec::Locked { after: after(1_000), given: sso });
    #[track_caller]
    fn check(from: &str, to: &str, place: &str, what: &str) {
        let found = report(&UNLOCKED.replacen(from, to, 1));
        assert!(found.starts_with(place) && found.contains(what), "{found}");
    }
    let flow = "unknown feature `flow`, did you mean `flows`?";
    check("flows, units: 1_000", "flow, units: 1_000", "c:11:39: ", flow);
    check("units: 1_000", "units: 0", "c:11:53: ", "`units` is 0, it must be 1 to");
    check(", units: 20", "", "c:10:44: ", "the key `units` is missing");
    let never = "1000 units can never be used: the plan includes 20 of `flows` for ever";
    check("included: unlimited", "included: 20", "c:11:53: ", never);
    check("sso: { unlock_after", "sso: { unlock_later", "c:11:", "did you mean `unlock_after`?");
}
