use headroom_core::catalog::{
    EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, PlanLimitSpec, PlanSpec, Policy,
    Price, PricePeriod, Scenario,
};
use headroom_core::prompt::Texts;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};
use jiff::tz::TimeZone;

use super::facts::FACTS;
use super::*;

mod fuzz;
mod languages;

static UTC: TimeZone = TimeZone::UTC;

const NEAR: &str = "You've used {{ percent }} % of your {{ included }} {{ unit }}\
    {% if reaches_limit_on %}; at the current rate you reach the limit on {{ reaches_limit_on }}\
    {% endif %}. {{ offer_plan_name }} has {{ offer_included }} for {{ offer_price }} a \
    {{ offer_per }}.";

fn spec(scenario: Scenario, message: &str) -> CatalogSpec {
    let limit = |name: &str, window| LimitSpec { limit: name.into(), window, per: None };
    let limits = vec![
        limit("hourly", WindowRule::Calendar(CalendarUnit::Hour)),
        limit("monthly", WindowRule::Billing { months: 1 }),
    ];
    let feature = |name: &str, kind| FeatureSpec {
        feature: name.into(),
        name: name.to_uppercase(),
        unit: name.into(),
        scale: 0,
        offering: headroom_core::catalog::Offering::default(),
        shadow: false,
        counting: Default::default(),
        kind,
    };
    let given = |limit: &str| PlanLimitSpec {
        limit: limit.into(),
        included_units: Some(10_000_000),
        soft_limits_bp: vec![],
        policy: Policy::Block,
        terms: Default::default(),
    };
    let limits_of_pro = EntitlementSpec::Quota { limits: vec![given("hourly"), given("monthly")] };
    let price = Price { minor: 4_900, currency: "USD".into(), per: PricePeriod::Month };
    let plan = |name: &str, price, entitlements| PlanSpec {
        plan: name.into(),
        version: 1,
        name: name.to_uppercase(),
        price,
        entitlements,
    };
    CatalogSpec {
        features: vec![
            feature("tokens", FeatureKindSpec::Quota { limits }),
            feature("sso", FeatureKindSpec::Switch),
        ],
        plans: vec![
            plan("pro", Some(price), vec![("tokens".into(), limits_of_pro)]),
            plan("free", None, vec![]),
        ],
        prompts: vec![PromptSpec {
            texts: Texts {
                title: Some("T".into()),
                message: Some(message.into()),
                call_to_action: Some("C".into()),
                url: Some("https://x.test/up?account={{ account }}".into()),
                steps: vec![],
            },
            offer: Some("pro".into()),
            ..PromptSpec::new("p", scenario)
        }],
        ..CatalogSpec::default()
    }
}

fn facts() -> Facts<'static> {
    let now = Millis(1_778_853_600_000); // 15 May 2026, 14:00 UTC
    let day = |days: i64| now.plus(days * 86_400_000);
    Facts {
        account: "acme",
        feature: "tokens",
        feature_name: "LLM tokens",
        unit: "tokens",
        scale: 0,
        plan: "free",
        plan_name: "Free",
        is_refused: false,
        limit: Some(LimitFacts {
            limit: "monthly",
            used_units: 809_999,
            included_units: 1_000_000,
            frees_at: Some(day(17)),
            reaches_limit: Some(LimitReached { at: day(4), from: day(3), to: day(6) }),
        }),
        account_facts: &[],
        now,
        zone: &UTC,
        trial_ends_at: None,
        paid: None,
        anchor: day(-15),
    }
}

#[track_caller]
fn render(message: &str, facts: &Facts<'_>) -> Rendered {
    let scenario =
        if facts.limit.is_some() { Scenario::NearLimit } else { Scenario::LockedFeature };
    let renderer = Renderer::compile(&spec(scenario, message)).unwrap();
    renderer.render(0, Wording::default(), facts).unwrap()
}

#[track_caller]
fn check_message(message: &str, expected: &str) {
    assert_eq!(render(message, &facts()).message, expected);
}

#[test]
fn a_prompt_says_what_happened_and_what_it_costs_to_go_on() {
    check_message(
        NEAR,
        "You've used 80 % of your 1,000,000 tokens; at the current rate you reach the limit on \
         19 May. PRO has 10,000,000 for USD\u{a0}49.00 a month.",
    );
    let mut quiet = facts();
    quiet.limit.as_mut().unwrap().reaches_limit = None;
    assert_eq!(
        render(NEAR, &quiet).message,
        "You've used 80 % of your 1,000,000 tokens. PRO has 10,000,000 for USD\u{a0}49.00 a month."
    );
}

#[test]
fn every_fact_can_be_shown() {
    check_message(
        "{{ account }} {{ feature }} {{ feature_name }} {{ unit }} {{ limit }} {{ used }} \
         {{ included }} {{ remaining }} {{ percent }} {{ window_end }} {{ window_end_when }} \
         {{ plan }} {{ plan_name }} {{ offer_plan }} {{ offer_plan_name }}",
        "acme tokens LLM tokens tokens monthly 809,999 1,000,000 190,001 80 1 June on 1 June free \
         Free pro PRO",
    );
    let shown = render(NEAR, &facts()).facts;
    assert_eq!(shown.iter().find(|(name, _)| *name == "percent").unwrap().1, "80");
    assert_eq!(shown.len(), FACTS.len() - 4, "all but the account's own and the trial's");
}

#[test]
fn facts_of_the_account_are_empty_when_unknown() {
    let own = [
        ("csm".to_owned(), "\"Ann\"".to_owned()),
        ("seats".to_owned(), "12500.0".to_owned()),
        ("team".to_owned(), "{\"lead\": [\"Bo\", \"Cy\"]}".to_owned()),
    ];
    let facts = Facts { account_facts: &own, ..facts() };
    let shown = |message: &str| render(message, &facts).message;
    assert_eq!(shown("[{{ facts.csm }}] [{{ facts.nobody }}]"), "[Ann] []");
    assert_eq!(shown("{{ facts.seats|grouped }} {{ facts.seats }}"), "12,500 12500");
    assert_eq!(shown("{{ facts.team.lead[1] }} {{ facts.team.no.one }}"), "Cy");
    assert_eq!(shown("{{ facts.nobody|default('us', true) }}"), "us");
    assert_eq!(shown("a{% if facts.nobody %}b{% endif %}"), "a");
}

#[test]
fn values_never_become_markup_or_control_characters() {
    let own = [("x".to_owned(), "\"<b>\\u0007\\u202eevil\\u200b</b>\\n&\"".to_owned())];
    let facts = Facts { account: "a/b?c=<d>&e", account_facts: &own, ..facts() };
    let rendered = render("{{ facts.x }}|{{ account }}", &facts);
    assert_eq!(rendered.message, "bevil/b &|a/b?c=d&e");
    assert_eq!(rendered.url, "https://x.test/up?account=a%2Fb%3Fc%3Dd%26e");
}

#[test]
fn texts_are_cut_to_their_bounds() {
    let own = [("x".to_owned(), format!("\"{}\"", "é".repeat(5_000)))];
    let facts = Facts { account_facts: &own, ..facts() };
    let long = render(&"{{ facts.x }}".repeat(30), &facts).message;
    assert_eq!(long.chars().count(), MESSAGE_CHARS_MAX);
    assert!(long.ends_with("é…"));
    assert_eq!(tidy("  a\n\tb  \u{7} c", 10), "a b c");
    assert_eq!(tidy("abc", 3), "abc");
    assert_eq!(tidy("abcd", 3), "ab…");
}

#[track_caller]
fn check_problem(scenario: Scenario, message: &str, expected: &str) {
    let problems = check(&spec(scenario, message));
    let found: Vec<&str> = problems.iter().map(|problem| &*problem.message).collect();
    assert_eq!(found.join("\n"), expected, "{message}");
}

#[test]
fn what_could_fail_later_is_refused_now() {
    let near = |message, expected| check_problem(Scenario::NearLimit, message, expected);
    near(NEAR, "");
    near(
        "{{ usd }} {{ planet }}",
        "unknown fact `planet` in the template\nunknown fact `usd` in the template",
    );
    near(
        "until {{ reaches_limit_on }}",
        "`reaches_limit_on` can be absent (often the limit is not reached within the window): put \
         it inside of {% if reaches_limit_on %}…{% endif %}",
    );
    near(
        "{{ used",
        "the template fails: syntax error: unexpected end of input, expected end of variable block",
    );
    near("{{ used|nope }}", "the template fails: unknown filter: filter nope is unknown");
    near(
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "the template takes too long: is there a loop?",
    );
    check_problem(
        Scenario::LockedFeature,
        "{{ used }} of",
        "`used` can be absent (a locked feature has no limit): put it inside of {% if used \
         %}…{% endif %}",
    );
    check_problem(Scenario::LockedFeature, "{{ feature_name }}: {{ offer_price }}", "");
}

#[test]
fn facts_of_the_offer_need_an_offer() {
    let mut spec = spec(Scenario::NearLimit, "{{ offer_price }}");
    spec.prompts[0].offer = Some("free".into());
    let price = "`offer_price` is absent: the prompt has no `offer` with a price";
    assert_eq!(check(&spec)[0].message, price);
    spec.prompts[0].texts.message = Some("{{ offer_included }}".into());
    let included = "`offer_included` can be absent (the plan offered may not have the limit in \
                    question): put it inside of {% if offer_included %}…{% endif %}";
    assert_eq!(check(&spec)[0].message, included);
    spec.prompts[0].offer = None;
    spec.prompts[0].texts.message = Some("{{ offer_plan }}".into());
    assert_eq!(check(&spec)[0].message, "`offer_plan` is absent: the prompt has no `offer`");
}

#[test]
fn addresses_lead_somewhere() {
    let mut spec = spec(Scenario::NearLimit, "m");
    for (url, is_good) in [
        ("https://x.test", true),
        ("/billing?plan={{ offer_plan }}", true),
        ("mailto:sales@x.test", true),
        ("", true),
        ("//x.test", false),
        ("javascript:alert(1)", false),
        ("{{ account }}", false),
        ("https://x.test/a b", false),
    ] {
        spec.prompts[0].texts.url = Some(url.into());
        assert_eq!(check(&spec).is_empty(), is_good, "{url}");
    }
}

#[test]
fn a_template_that_fails_gives_no_prompt() {
    let renderer = Renderer::compile(&spec(Scenario::LockedFeature, "m")).unwrap();
    let account = "x".repeat(200);
    assert!(
        renderer.render(0, Wording::default(), &Facts { account: &account, ..facts() }).is_ok()
    );
    let unknown = renderer.render(1, Wording::default(), &facts()).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no prompt at place 1");
    let unchecked = Renderer::compile_unchecked(&spec(Scenario::NearLimit, "{{ nope }}"));
    assert!(unchecked.render(0, Wording::default(), &facts()).is_err());
}

#[test]
fn the_end_of_a_window_that_may_not_have_begun_can_be_absent() {
    for (window, is_good) in [
        (WindowRule::FirstUse(Every { count: 5, unit: SpanUnit::Hour }), false),
        (WindowRule::Sliding(Every { count: 5, unit: SpanUnit::Hour }), false),
        (WindowRule::Fixed(Every { count: 5, unit: SpanUnit::Hour }), true),
    ] {
        let mut spec = spec(Scenario::LimitHit, "Again {{ window_end_when }}.");
        let FeatureKindSpec::Quota { limits } = &mut spec.features[0].kind else { unreachable!() };
        limits[0].window = window;
        assert_eq!(check(&spec).is_empty(), is_good, "{window:?}");
        spec.prompts[0].texts.message =
            Some("{% if window_end %}{{ window_end_when }}{% endif %}".into());
        assert_eq!(check(&spec), []);
    }
    let mut empty = facts();
    empty.limit.as_mut().unwrap().frees_at = None;
    assert_eq!(render("{% if window_end %}{{ window_end }}{% endif %}.", &empty).message, ".");
}
