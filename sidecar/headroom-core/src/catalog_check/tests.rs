//! One good catalog, broken in one way per line.

use super::*;
use crate::catalog::{
    Aggregation, FeatureKindSpec::Quota, PricePeriod, PromptSpec, RateSpec, Scenario, UnlockSpec,
};
use crate::credits::{CreditPrice, PoolTerms, Rounding};
use crate::policy::{GraceTerms, LimitTerms, OverageTerms};
use crate::prompt::{Audience, Texts};
use crate::stock::BilledBy;
use crate::window::CalendarUnit;

mod prompts;

fn feature(name: &str, kind: FeatureKindSpec) -> FeatureSpec {
    FeatureSpec {
        feature: name.into(),
        name: "N".into(),
        unit: "units".into(),
        scale: 0,
        kind,
        offering: crate::catalog::Offering::default(),
        shadow: false,
        counting: Default::default(),
    }
}

fn monthly() -> LimitSpec {
    LimitSpec { limit: "monthly".into(), window: WindowRule::Billing { months: 1 }, per: None }
}

fn prompt(name: &str, scenario: Scenario) -> PromptSpec {
    PromptSpec {
        feature: Some("tokens".into()),
        plans: vec!["free".into()],
        texts: Texts {
            title: Some("T".into()),
            message: Some("M".into()),
            call_to_action: Some("C".into()),
            url: Some("U".into()),
            steps: vec![],
        },
        offer: Some("pro".into()),
        ..PromptSpec::new(name, scenario)
    }
}

fn plan(name: &str, entitlements: Vec<(String, EntitlementSpec)>) -> PlanSpec {
    let price = Price { minor: 4_900, currency: "USD".into(), per: PricePeriod::Month };
    PlanSpec { plan: name.into(), version: 1, name: "N".into(), price: Some(price), entitlements }
}

fn good() -> CatalogSpec {
    let limit = PlanLimitSpec {
        limit: "monthly".into(),
        included_units: Some(100),
        soft_limits_bp: vec![8_000, 9_500],
        policy: Policy::Block,
        terms: Default::default(),
    };
    let entitlements = vec![
        ("tokens".to_owned(), EntitlementSpec::Quota { limits: vec![limit] }),
        ("sso".to_owned(), EntitlementSpec::Switch { on: true }),
        ("models".to_owned(), EntitlementSpec::Config { value_json: "[]".into() }),
    ];
    CatalogSpec {
        features: vec![
            feature("tokens", Quota { limits: vec![monthly()] }),
            feature("sso", FeatureKindSpec::Switch),
            feature("models", FeatureKindSpec::Config),
        ],
        plans: vec![plan("free", entitlements), plan("pro", vec![])],
        default_plan: Some("free".into()),
        prompts: vec![prompt("near", Scenario::NearLimit), prompt("hit", Scenario::LimitHit)],
        ..CatalogSpec::default()
    }
}

/// Breaks the good catalog in one way and expects exactly the problems listed, one per line.
#[track_caller]
fn check(break_it: impl FnOnce(&mut CatalogSpec), expected: &str) {
    let mut spec = good();
    break_it(&mut spec);
    let found: Vec<String> =
        problems(&spec).iter().map(|p| format!("{}: {}", p.path.join("/"), p.message)).collect();
    assert_eq!(found.join("\n"), expected);
}

fn limit(spec: &mut CatalogSpec) -> &mut PlanLimitSpec {
    match &mut spec.plans[0].entitlements[0].1 {
        EntitlementSpec::Quota { limits } => &mut limits[0],
        _ => unreachable!(),
    }
}

fn limits_of(spec: &mut CatalogSpec) -> &mut Vec<LimitSpec> {
    match &mut spec.features[0].kind {
        Quota { limits } => limits,
        _ => unreachable!(),
    }
}

#[test]
fn a_good_catalog_and_an_empty_one_have_no_problem() {
    check(|_| {}, "");
    check(|s| *s = CatalogSpec::default(), "");
}

#[test]
fn names_for_programs_are_short_and_plain() {
    check(|s| s.prompts[0].prompt = String::new(), "prompts/0/prompt: the name is empty");
    check(
        |s| s.prompts[0].prompt = "x".repeat(129),
        "prompts/0/prompt: the name has 129 bytes, at most 128 fit",
    );
    check(
        |s| s.features.push(feature("a b\u{7}", FeatureKindSpec::Switch)),
        "features/a b\u{7}: the name \"a b\\u{7}\" may have only a-z, 0-9, `_`, `.` and `-`",
    );
    check(
        |s| s.plans.push(plan("Big", vec![])),
        "plans/Big: the name \"Big\" may have only a-z, 0-9, `_`, `.` and `-`",
    );
    check(
        |s| limits_of(s).push(LimitSpec { limit: "é".into(), ..monthly() }),
        "features/tokens/limits/é: the name \"é\" may have only a-z, 0-9, `_`, `.` and `-`",
    );
}

#[test]
fn names_for_people_are_short_and_printable() {
    check(|s| s.plans[0].name = " ".into(), "plans/free/name: the text is empty");
    check(
        |s| s.features[0].name = "x".repeat(129),
        "features/tokens/name: the text has 129 bytes, at most 128 fit",
    );
    check(
        |s| s.features[0].unit = "a\nb".into(),
        "features/tokens/unit: the text \"a\\nb\" has control characters",
    );
    check(|s| s.features[0].unit = String::new(), "");
}

#[test]
fn every_name_is_defined_once() {
    check(
        |s| s.features.push(feature("sso", FeatureKindSpec::Switch)),
        "features/sso: feature `sso` is defined twice",
    );
    check(|s| s.plans.push(plan("pro", vec![])), "plans/pro: plan `pro` is defined twice");
    check(
        |s| limits_of(s).push(monthly()),
        "features/tokens/limits/monthly: limit `monthly` is defined twice",
    );
    check(
        |s| s.prompts[1].prompt = "near".into(),
        "prompts/1/prompt: prompt `near` is defined twice",
    );
    check(
        |s| s.plans[0].entitlements.push(("sso".into(), EntitlementSpec::Switch { on: false })),
        "plans/free/entitlements/sso: feature `sso` is entitled twice",
    );
}

#[test]
fn quotas_have_one_to_eight_limits_with_sane_windows() {
    check(
        |s| s.features.push(feature("calls", Quota { limits: vec![] })),
        "features/calls/limits: a quota needs at least one limit",
    );
    check(
        |s| {
            let more = (0..8).map(|n| LimitSpec { limit: format!("l{n}"), ..monthly() });
            limits_of(s).extend(more);
        },
        "features/tokens/limits: 9 limits, at most 8 are possible",
    );
    for months in [0, 121] {
        check(
            |s| limits_of(s)[0].window = WindowRule::Billing { months },
            &format!(
                "features/tokens/limits/monthly/window: the window is {months} months long, it \
                 must be 1 to 120"
            ),
        );
    }
    check(
        |s| s.features[0].scale = 10,
        "features/tokens/scale: the scale is 10, it must be 0 to 9",
    );
}

#[test]
fn catalogs_are_bounded() {
    check(
        |s| {
            let more = (0..10_000).map(|n| feature(&format!("f{n}"), FeatureKindSpec::Switch));
            s.features.extend(more);
        },
        "features: 10003 features, at most 10000 are possible",
    );
    let spec = CatalogSpec { default_plan: None, plans: vec![], ..good() };
    assert_eq!(problems(&spec)[0].known, Vec::<String>::new());
    let plans: Vec<PlanSpec> = (0..900).map(|_| plan("", vec![])).collect();
    let many = problems(&CatalogSpec { plans, ..good() });
    assert!(many.len() > SUGGESTED_MAX, "all of them are told: {}", many.len());
    assert!(many[SUGGESTED_MAX..].iter().all(|problem| problem.known.is_empty()));
}

#[test]
fn plans_refer_to_what_exists() {
    check(
        |s| s.plans[0].entitlements[1].0 = "ssso".into(),
        "plans/free/entitlements/ssso: unknown feature `ssso`",
    );
    check(
        |s| limit(s).limit = "montly".into(),
        "plans/free/entitlements/tokens/montly: feature `tokens` has no limit `montly`",
    );
    check(|s| s.default_plan = Some("fre".into()), "default_plan: unknown plan `fre`");
    let mut spec = good();
    spec.default_plan = Some("fre".into());
    assert_eq!(problems(&spec)[0].known, ["free", "pro"]);
}

#[test]
fn plans_give_the_kind_that_the_feature_has() {
    check(
        |s| s.plans[0].entitlements[0].1 = EntitlementSpec::Switch { on: true },
        "plans/free/entitlements/tokens: `tokens` is a quota, but the plan gives a switch",
    );
    check(
        |s| s.plans[0].entitlements[1].1 = EntitlementSpec::Quota { limits: vec![] },
        "plans/free/entitlements/sso: `sso` is a switch, but the plan gives a quota",
    );
    check(
        |s| s.plans[0].entitlements[2].1 = EntitlementSpec::Switch { on: true },
        "plans/free/entitlements/models: `models` is a config, but the plan gives a switch",
    );
    check(
        |s| s.plans[0].entitlements[0].1 = EntitlementSpec::Quota { limits: vec![] },
        "plans/free/entitlements/tokens: the plan gives no limit of this quota, it needs at \
         least one",
    );
}

#[test]
fn included_units_and_policy_fit_together() {
    let at = "plans/free/entitlements/tokens/monthly";
    check(
        |s| limit(s).included_units = Some(limits::UNITS_MAX + 1),
        &format!(
            "{at}/included: 9007199254740992 units are included, at most 9007199254740991 are \
             possible"
        ),
    );
    for policy in [Policy::Block, Policy::Grace { grace_bp: 1_000 }, Policy::Overage] {
        check(
            |s| {
                *limit(s) = PlanLimitSpec {
                    included_units: None,
                    soft_limits_bp: vec![],
                    policy,
                    ..limit(s).clone()
                };
            },
            &format!(
                "{at}/policy: the policy `{}` can never apply, because the included units are \
                 unlimited: give a number of units, or leave the policy out",
                policy_word(policy)
            ),
        );
    }
    check(|s| limit(s).policy = Policy::Unlimited, "");
    check(|s| limit(s).policy = Policy::Grace { grace_bp: GRACE_BP_MAX }, "");
    for (grace_bp, percent) in [(0, "0%"), (1_000_001, "10000.01%")] {
        check(
            |s| limit(s).policy = Policy::Grace { grace_bp },
            &format!("{at}/policy: the grace is {percent}, it must be 0.01% to 10000%"),
        );
    }
}

#[test]
fn soft_limits_are_distinct_shares_of_included_units() {
    let at = "plans/free/entitlements/tokens/monthly/soft_limits";
    for (bp, percent) in [(0, "0%"), (10_000, "100%"), (12_050, "120.5%")] {
        check(
            |s| limit(s).soft_limits_bp = vec![1, 9_999, bp],
            &format!("{at}/2: a soft limit of {percent} must be 0.01% to 99.99%"),
        );
    }
    check(
        |s| limit(s).soft_limits_bp = vec![50, 50],
        &format!("{at}/1: the soft limit 0.5% is given twice"),
    );
    check(
        |s| limit(s).soft_limits_bp = (1..=15).collect(),
        &format!("{at}: 15 soft limits, at most 14 are possible"),
    );
    check(
        |s| limit(s).included_units = Some(0),
        &format!("{at}: a soft limit is a share of the included units, which are 0"),
    );
}

#[test]
fn prices_name_a_currency() {
    for currency in ["usd", "US", "DOLLAR", "U\u{1}D"] {
        check(
            |s| s.plans[1].price.as_mut().unwrap().currency = currency.into(),
            &format!(
                "plans/pro/price/currency: {currency:?} is no currency: three capital letters \
                 of ISO 4217, as `USD`"
            ),
        );
    }
    check(
        |s| s.plans[1].price.as_mut().unwrap().minor = u64::MAX,
        "plans/pro/price/amount_minor: the price is 18446744073709551615, at most \
         9007199254740991 is possible",
    );
}

#[test]
fn prompts_refer_to_what_exists() {
    check(
        |s| s.prompts[0].feature = Some("token".into()),
        "prompts/0/feature: unknown feature `token`",
    );
    check(|s| s.prompts[0].plans[0] = "fee".into(), "prompts/0/plans/0: unknown plan `fee`");
    check(|s| s.prompts[0].offer = Some("pr".into()), "prompts/0/offer: unknown plan `pr`");
    check(
        |s| s.prompts[0].feature = Some("sso".into()),
        "prompts/0/feature: `sso` is a switch, which has no limits, so the scenario \
         `near_limit` never occurs",
    );
}

#[test]
fn prompts_make_sense() {
    check(|s| s.prompts[0].texts.title = Some("\n".into()), "prompts/0/title: the text is empty");
    check(
        |s| s.prompts[0].texts.message = Some("x".repeat(8193)),
        "prompts/0/message: the text has 8193 bytes, at most 8192 fit",
    );
    check(
        |s| s.prompts[0].texts.call_to_action = None,
        "prompts/0/url: an address without a `call_to_action` is never shown",
    );
    check(
        |s| s.prompts[0].plans = vec!["free".into(), "free".into()],
        "prompts/0/plans/1: plan `free` is listed twice",
    );
    check(
        |s| s.prompts[0].offer = Some("free".into()),
        "prompts/0/offer: accounts on plan `free` would be offered what they have",
    );
}

#[test]
fn a_prompt_behind_a_wider_one_is_never_shown() {
    let never = "prompts/2/prompt: never shown: prompt `near` fits wherever it does, and comes \
                 first";
    let add = |s: &mut CatalogSpec, change: fn(&mut PromptSpec)| {
        s.prompts.push(prompt("late", Scenario::NearLimit));
        change(&mut s.prompts[2]);
    };
    check(|s| add(s, |_| {}), never);
    check(|s| add(s, |late| late.plans = vec![]), "");
    check(|s| add(s, |late| late.feature = None), "");
    check(|s| add(s, |late| late.scenario = Scenario::Grace), "");
    check(|s| add(s, |late| late.segments = vec!["smb".into()]), "");
    check(|s| add(s, |late| late.audiences = vec![Audience::Buyer]), "");
    // What names less comes later, wherever it stands.
    check(
        |s| {
            add(s, |_| {});
            (s.prompts[0].feature, s.prompts[0].plans) = (None, vec![]);
        },
        "",
    );
}

#[test]
fn spans_of_windows_have_a_length_and_a_bound() {
    let of = |window| move |s: &mut CatalogSpec| limits_of(s)[0].window = window;
    let every = |count, unit| Every { count, unit };
    for unit in SpanUnit::ALL {
        check(of(WindowRule::Fixed(every(1, unit))), "");
        check(of(WindowRule::FirstUse(every(unit.count_max(), unit))), "");
    }
    let at = "features/tokens/limits/monthly/window";
    check(
        of(WindowRule::Fixed(every(0, SpanUnit::Day))),
        &format!("{at}: the window is 0 days long, it must be 1 to 3650"),
    );
    check(
        of(WindowRule::FirstUse(every(8_761, SpanUnit::Hour))),
        &format!("{at}: the window is 8761 hours long, it must be 1 to 8760"),
    );
    check(
        of(WindowRule::Sliding(every(1, SpanUnit::Month))),
        &format!(
            "{at}: a sliding window cannot be in months, which differ in length: use hours, days \
             or weeks, as `30 days`"
        ),
    );
}

/// Adds a feature and what plan `free` gives of it.
fn add(spec: &mut CatalogSpec, kind: FeatureKindSpec, given: EntitlementSpec) {
    spec.features.push(feature("more", kind));
    spec.plans[0].entitlements.push(("more".to_owned(), given));
}

fn slots(max_units: Option<u64>, soft_limits_bp: &[u32]) -> EntitlementSpec {
    EntitlementSpec::Concurrency { max_units, soft_limits_bp: soft_limits_bp.to_vec(), each: None }
}

fn rate(units: u64, period_ms: i64, burst_units: u64) -> EntitlementSpec {
    EntitlementSpec::Rate { rate: Some(RateSpec { units, period_ms, burst_units }), each: None }
}

#[test]
fn each_subject_has_a_most_of_slots_that_it_can_reach() {
    let each = |per: Option<&str>, max_units, each, expected: &str| {
        let kind = FeatureKindSpec::Concurrency { per: per.map(str::to_owned) };
        let given =
            EntitlementSpec::Concurrency { max_units, soft_limits_bp: vec![], each: Some(each) };
        check(|s| add(s, kind, given), expected);
    };
    let at = "plans/free/entitlements/more/each";
    each(Some("user"), Some(5), 5, "");
    each(Some("user"), None, 0, "");
    each(
        Some("user"),
        Some(5),
        6,
        &format!(
            "{at}: no user ever has 6 at a time, the account has 5: lower it, or leave it out"
        ),
    );
    each(
        None,
        Some(5),
        2,
        &format!("{at}: the most is of the account alone: say `per: user` at the feature, or so"),
    );
    each(
        Some("user"),
        None,
        limits::UNITS_MAX + 1,
        &format!(
            "{at}: 9007199254740992 at a time are allowed for each, at most 9007199254740991 are \
             possible"
        ),
    );
}

#[test]
fn a_concurrency_has_a_most_and_shares_of_it() {
    let check = |given: EntitlementSpec, expected| {
        check(|s| add(s, FeatureKindSpec::Concurrency { per: None }, given), expected);
    };
    check(slots(Some(0), &[]), "");
    check(slots(None, &[]), "");
    check(slots(Some(limits::UNITS_MAX), &[1, 9_999]), "");
    check(
        slots(Some(limits::UNITS_MAX + 1), &[]),
        "plans/free/entitlements/more/max: 9007199254740992 at a time are allowed, at most \
         9007199254740991 are possible",
    );
    check(
        slots(None, &[8_000]),
        "plans/free/entitlements/more/soft_limits: a soft limit is a share of the most at a time, \
         which is unlimited",
    );
    check(
        slots(Some(5), &[10_000]),
        "plans/free/entitlements/more/soft_limits/0: a soft limit of 100% must be 0.01% to 99.99%",
    );
    check(
        rate(1, 1, 1),
        "plans/free/entitlements/more: `more` is a concurrency, but the plan gives a rate",
    );
}

#[test]
fn terms_of_policies_are_possible_and_fit_their_policy() {
    use crate::policy::{GraceTerms, GraceTimes, OverageTerms};
    let at = "plans/free/entitlements/tokens/monthly";
    let grace = |lasts_ms, notice_ms, times: Option<(u8, u8)>| {
        let times = times.map(|(times, months)| GraceTimes { times, months });
        move |s: &mut CatalogSpec| {
            limit(s).policy = Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE };
            limit(s).terms.grace = Some(GraceTerms { lasts_ms, notice_ms, times });
        }
    };
    check(grace(Some(60_000), 1, Some((12, 3))), "");
    let open = "the grace has no end: say how much (`up_to`) or how long (`for`)";
    check(grace(None, 1, None), &format!("{at}/policy: {open}"));
    let bare = Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE };
    check(|s| limit(s).policy = bare, &format!("{at}/policy: {open}"));
    let length = format!("{at}/policy: a grace lasts 1 minute to 366 days");
    check(grace(Some(59_999), 1, None), &length);
    check(grace(Some(i64::MAX), 1, None), &length);
    let notice = "the notice must come before the grace ends, and not before it begins";
    check(grace(Some(60_000), 60_000, None), &format!("{at}/policy: {notice}"));
    check(grace(Some(60_000), 0, None), &format!("{at}/policy: {notice}"));
    check(
        grace(Some(60_000), 1, Some((13, 2))),
        &format!(
            "{at}/policy: grace may be used 1 to 12 times, not 13\n\
             {at}/policy: uses of grace are counted per month, quarter or year"
        ),
    );
    check(
        |s| {
            grace(Some(60_000), 1, None)(s);
            limit(s).policy = Policy::Block;
        },
        &format!("{at}/policy: terms of grace are given, but the policy is another"),
    );

    let overage = |unit_price_nanos, currency: &'static str, cap_minor| {
        move |s: &mut CatalogSpec| {
            let currency = currency.into();
            limit(s).policy = Policy::Overage;
            limit(s).terms.overage = Some(OverageTerms { unit_price_nanos, currency, cap_minor });
        }
    };
    check(overage(1, "USD", Some(1)), "");
    check(
        overage(0, "usd", Some(u64::MAX)),
        &format!(
            "{at}/policy/overage/unit_price_minor: a unit of overage must cost something\n\
             {at}/policy/overage/currency: \"usd\" is no currency: three capital letters of ISO \
             4217, as `USD`\n\
             {at}/policy/overage/cap_minor: the cap is 18446744073709551615, at most \
             9007199254740991 is possible"
        ),
    );
    check(
        overage(1_000_000_001, "USD", Some(1)),
        &format!(
            "{at}/policy/overage/cap_minor: the cap does not pay for a single unit: raise it, or \
             use the policy `block`"
        ),
    );

    let never = "there is never any debt to carry, because the policy refuses nothing";
    for policy in [Policy::Unlimited, Policy::Overage] {
        check(
            |s| {
                limit(s).policy = policy;
                limit(s).terms.carries_debt = true;
            },
            &format!("{at}/debt: {never}"),
        );
    }
    check(
        |s| {
            overage(1, "USD", Some(1))(s);
            limit(s).terms.carries_debt = true;
        },
        "",
    );
    check(
        |s| {
            limits_of(s)[0].window = WindowRule::Lifetime;
            limit(s).terms.carries_debt = true;
        },
        &format!("{at}/debt: a lifetime window has no next one that debt could be carried into"),
    );
    let hours = |count| WindowRule::Fixed(Every { count, unit: SpanUnit::Hour });
    let short = [WindowRule::Calendar(CalendarUnit::Hour), hours(1), hours(23)];
    for (window, said) in short.map(|w| (w, true)).into_iter().chain([(hours(24), false)]) {
        let too_short = "debt is carried by windows of a day or longer: say `debt: forgive`, or carry it in \
                         a second limit with a longer window";
        check(
            |s| {
                limits_of(s)[0].window = window;
                limit(s).terms.carries_debt = true;
            },
            &if said { format!("{at}/debt: {too_short}") } else { String::new() },
        );
    }
}

#[test]
fn a_rate_has_a_period_up_to_a_day_and_a_bucket_that_fills_within_a_week() {
    let check = |given: EntitlementSpec, expected| {
        check(|s| add(s, FeatureKindSpec::Rate { per: None }, given), expected);
    };
    let max = limits::UNITS_MAX;
    check(EntitlementSpec::Rate { rate: None, each: None }, "");
    check(rate(1, 86_400_000, 7), "");
    check(rate(max, 1, max), "");
    check(
        rate(0, 1_000, 0),
        "plans/free/entitlements/more/rate: the rate is 0 units, it must be 1 to 9007199254740991\n\
         plans/free/entitlements/more/burst: the burst is 0 units, it must be 1 to \
         9007199254740991",
    );
    check(
        rate(1, 86_400_001, 1),
        "plans/free/entitlements/more/rate: the period is 86400001 ms, it must be 1 ms to 1 day: \
         what counts longer is a quota",
    );
    check(
        rate(1, 86_400_000, 8),
        "plans/free/entitlements/more/burst: an empty bucket takes 8 days to fill, at most 7 are \
         possible: lower the burst, raise the rate, or use a quota",
    );
    check(
        slots(Some(1), &[]),
        "plans/free/entitlements/more: `more` is a rate, but the plan gives a concurrency",
    );
}

#[test]
fn the_names_of_the_limits_of_other_kinds_are_kept() {
    check(
        |s| limits_of(s).push(LimitSpec { limit: "concurrent".into(), ..monthly() }),
        "features/tokens/limits/concurrent: the name `concurrent` is kept for the limit of a \
         concurrency: choose another",
    );
    check(
        |s| limits_of(s).push(LimitSpec { limit: "rate".into(), ..monthly() }),
        "features/tokens/limits/rate: the name `rate` is kept for the limit of a rate: choose another",
    );
    check(
        |s| limits_of(s).push(LimitSpec { limit: "level".into(), ..monthly() }),
        "features/tokens/limits/level: the name `level` is kept for the limit of an allocation: \
         choose another",
    );
}

#[test]
fn a_prompt_for_slots_or_a_rate_is_for_what_occurs_there() {
    let about = |kind: FeatureKindSpec, given: EntitlementSpec, scenario, expected: &str| {
        check(
            |s| {
                add(s, kind, given);
                s.prompts =
                    vec![PromptSpec { feature: Some("more".into()), ..prompt("p", scenario) }];
            },
            expected,
        );
    };
    let never = |kind, scenario| {
        format!(
            "prompts/0/feature: `more` is a {kind}, for which the scenario `{scenario}` never occurs"
        )
    };
    let slots_of = || FeatureKindSpec::Concurrency { per: None };
    let per_account = || FeatureKindSpec::Rate { per: None };
    about(slots_of(), slots(Some(1), &[]), Scenario::NearLimit, "");
    about(slots_of(), slots(Some(1), &[]), Scenario::LimitHit, "");
    about(slots_of(), slots(Some(1), &[]), Scenario::Grace, &never("concurrency", "grace"));
    about(per_account(), rate(1, 1, 1), Scenario::LimitHit, "");
    about(per_account(), rate(1, 1, 1), Scenario::LockedFeature, "");
    about(per_account(), rate(1, 1, 1), Scenario::NearLimit, &never("rate", "near_limit"));
}

#[test]
fn an_allocation_is_measured_over_billing_windows_and_has_no_terms_that_count_by_windows() {
    let kind = |window| FeatureKindSpec::Allocation { billed_by: BilledBy::Peak, window };
    let monthly = WindowRule::Billing { months: 1 };
    let level = |policy, terms| EntitlementSpec::Allocation {
        limit: PlanLimitSpec {
            limit: "level".into(),
            included_units: Some(100),
            soft_limits_bp: vec![8_000],
            policy,
            terms,
        },
    };
    let plain = |policy| level(policy, LimitTerms::default());
    let check_kind = |window, expected: &str| {
        check(|s| add(s, kind(window), plain(Policy::Block)), expected);
    };
    check_kind(WindowRule::Billing { months: 120 }, "");
    check_kind(
        WindowRule::Billing { months: 121 },
        "features/more/window: the window is 121 months long, it must be 1 to 120",
    );
    for window in [WindowRule::Lifetime, WindowRule::Calendar(CalendarUnit::Month)] {
        check_kind(
            window,
            "features/more/window: an allocation never resets; it is measured over billing windows: \
             `billing`, or `{billing: \"3 months\"}`",
        );
    }
    let check = |given: EntitlementSpec, expected: &str| {
        check(|s| add(s, kind(monthly), given), expected);
    };
    for policy in [Policy::Overage, Policy::Unlimited, Policy::Grace { grace_bp: 1_000 }] {
        check(plain(policy), "");
    }
    let overage = |cap_minor| LimitTerms {
        overage: Some(OverageTerms { unit_price_nanos: 1, currency: "USD".into(), cap_minor }),
        ..LimitTerms::default()
    };
    check(level(Policy::Overage, overage(None)), "");
    check(
        level(Policy::Block, overage(None)),
        "plans/free/entitlements/more/policy: a price of overage is given, but the policy is another",
    );
    check(
        level(Policy::Overage, overage(Some(5))),
        "plans/free/entitlements/more/policy: what an allocation costs is known when its billing \
         window ends, so there is no `cap_minor`: bound it with the policy `block`",
    );
    let lasting = GraceTerms { lasts_ms: Some(60_000), notice_ms: 1, times: None };
    let lasting = LimitTerms { grace: Some(lasting), ..LimitTerms::default() };
    let never = "plans/free/entitlements/more/policy: what an allocation holds never resets, so a \
                 grace cannot last or be used so often: only `{grace: 10%}`";
    check(level(Policy::Grace { grace_bp: 1_000 }, lasting), never);
    check(plain(Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE }), never);
    let carries = LimitTerms { carries_debt: true, ..LimitTerms::default() };
    check(
        level(Policy::Block, carries),
        "plans/free/entitlements/more/debt: an allocation has no next window that debt could be \
         carried into: leave `debt` out",
    );
    check(
        slots(Some(1), &[]),
        "plans/free/entitlements/more: `more` is an allocation, but the plan gives a concurrency",
    );
}

#[test]
fn a_change_of_plan_needs_a_window_that_has_shares_or_a_beginning() {
    use crate::change::OnChange;
    let window = |s: &mut CatalogSpec, window| {
        s.features[0].kind =
            Quota { limits: vec![LimitSpec { limit: "monthly".into(), window, per: None }] };
    };
    let day = Every { count: 1, unit: SpanUnit::Day };
    for on_change in [OnChange::Prorate, OnChange::Reset] {
        check(|s| limit(s).terms.on_change = on_change, "");
        check(
            |s| {
                window(s, WindowRule::Sliding(day));
                limit(s).terms.on_change = on_change;
            },
            "plans/free/entitlements/tokens/monthly/on_change: a window that slides has no beginning \
             that a change of plan could move: leave `on_change` out",
        );
        check(
            |s| {
                limit(s).terms.on_change = on_change;
                let addon = PlanSpec { plan: "more".into(), ..s.plans[0].clone() };
                s.addons.push(addon);
                limit(s).terms.on_change = OnChange::Keep;
            },
            "addons/more/entitlements/tokens/monthly/on_change: an add-on counts in full from its \
             moment: only a plan has `on_change`",
        );
    }
    let lifetime = |on_change, expected: &str| {
        let change = |s: &mut CatalogSpec| {
            window(s, WindowRule::Lifetime);
            limit(s).terms.on_change = on_change;
        };
        check(change, expected);
    };
    lifetime(OnChange::Reset, "");
    lifetime(
        OnChange::Prorate,
        "plans/free/entitlements/tokens/monthly/on_change: a lifetime has no end, so a plan has no \
         share of it: use `reset`, or leave `on_change` out",
    );
}

#[test]
fn versions_and_migrations_are_checked() {
    use crate::migrate::Migration;
    let move_plan = |from: &str, to: &str| Migration::MovePlan { from: from.into(), to: to.into() };
    let second = |version| PlanSpec { version, ..plan("pro", vec![]) };
    check(|s| s.plans.push(second(2)), "");
    check(|s| s.plans.push(second(1)), "plans/pro: plan `pro` is defined twice");
    check(
        |s| s.plans.extend([second(3), second(2), second(2)]),
        "plans/pro/versions/2: plan `pro` is defined twice",
    );
    check(|s| s.plans.push(second(0)), "plans/pro/versions/0: versions are counted from 1");
    check(|s| s.addons.push(second(2)), "addons/pro/version: an add-on has no versions");
    check(
        |s| {
            s.plans.insert(0, second(2));
            s.plans[2].entitlements.push(("toks".into(), EntitlementSpec::Switch { on: true }));
        },
        "plans/pro/versions/1/entitlements/toks: unknown feature `toks`",
    );
    check(|s| s.migrations.push(move_plan("team", "pro")), "");
    check(|s| s.migrations.push(move_plan("pro@2", "pro@1")), "");
    check(
        |s| s.migrations.push(move_plan("pro", "free")),
        "migrations/0/move_plan: `pro` is in this catalog, and a migration moves accounts off a plan \
         that has gone: to move them now, use `headroom account move`",
    );
    check(
        |s| s.migrations.extend([move_plan("team", "por"), move_plan("team@1", "pro@2")]),
        "migrations/0/to: unknown plan `por`\n\
         migrations/1/move_plan: `team@1` is moved twice\n\
         migrations/1/to: plan `pro` has no version 2",
    );
}

#[test]
fn lines_that_rename_features_lead_to_one_each() {
    use crate::migrate::Migration;
    let rename =
        |from: &str, to: &str| Migration::RenameFeature { from: from.into(), to: to.into() };
    check(|s| s.migrations.push(rename("toks", "tokens")), "");
    check(|s| s.migrations.extend([rename("a", "b"), rename("c", "tokens"), rename("b", "c")]), "");
    check(
        |s| s.migrations.push(rename("tokens", "toks")),
        "migrations/0/rename_feature: `tokens` is a feature of this catalog, and a rename is of one that is \
         called otherwise now: take the line out if it was meant for an earlier catalog; to swap two names, \
         give one of the two a third name first",
    );
    check(
        |s| s.migrations.extend([rename("a", "tokens"), rename("b", "tokens"), rename("a", "sso")]),
        "migrations/1/to: two features are renamed to `tokens`, and cannot become one\n\
         migrations/2/rename_feature: `a` is renamed twice",
    );
    // A circle leads nowhere.
    check(
        |s| s.migrations.extend([rename("a", "b"), rename("b", "a"), rename("c", "toks")]),
        "migrations/0/to: `b` is no feature of this catalog, nor renamed on to one\n\
         migrations/1/to: `a` is no feature of this catalog, nor renamed on to one\n\
         migrations/2/to: `toks` is no feature of this catalog, nor renamed on to one",
    );
}

/// Adds a pool that pays for `tokens`, and what plan `free` says of both.
fn add_pool(spec: &mut CatalogSpec, window: WindowRule, terms: PoolTerms) {
    let price = CreditPrice { credits: 3, per: 10, rounding: Rounding::Up };
    let rate_card = vec![("tokens".to_owned(), price)];
    add(spec, FeatureKindSpec::Credits { window, rate_card }, EntitlementSpec::Credits { terms });
    let EntitlementSpec::Quota { limits } = spec.plans[0].entitlements[0].1.clone() else {
        panic!()
    };
    spec.plans[0].entitlements[0].1 =
        EntitlementSpec::PaidQuota { limits, paid_by: "more".to_owned() };
}

#[test]
fn a_pool_is_filled_at_set_times_and_within_bounds() {
    let month = WindowRule::Billing { months: 1 };
    let check = |window, terms, expected| check(|s| add_pool(s, window, terms), expected);
    let usual = || PoolTerms { included_units: 5, ..PoolTerms::default() };
    check(month, usual(), "");
    check(WindowRule::Lifetime, PoolTerms { soft_limits_bp: vec![1], ..usual() }, "");
    check(
        WindowRule::Billing { months: 121 },
        usual(),
        "features/more/window: the window is 121 months long, it must be 1 to 120",
    );
    let hours = Every { count: 5, unit: SpanUnit::Hour };
    for window in [WindowRule::FirstUse(hours), WindowRule::Sliding(hours)] {
        check(
            window,
            usual(),
            "features/more/window: units come to a pool at set times, not with its use: the window \
             must be `billing`, `calendar`, `fixed` or `lifetime`",
        );
    }
    let most = limits::UNITS_MAX;
    check(
        month,
        PoolTerms { included_units: most + 1, overdraft_units: most + 1, ..usual() },
        "plans/free/entitlements/more/included: 9007199254740992 units are given, at most \
         9007199254740991 are possible\n\
         plans/free/entitlements/more/overdraft/up_to: 9007199254740992 units are given, at most \
         9007199254740991 are possible",
    );
    check(
        month,
        PoolTerms { rollover_min_units: 2, rollover_max_units: 1, ..usual() },
        "plans/free/entitlements/more/rollover: at least 2 units roll over, but at most 1",
    );
    check(
        WindowRule::Lifetime,
        PoolTerms { rollover_max_units: 1, ..usual() },
        "plans/free/entitlements/more/rollover: a lifetime never ends, so nothing ever rolls over",
    );
    check(
        month,
        PoolTerms { forgives_debt: true, overdraft_units: 1, ..usual() },
        "plans/free/entitlements/more/debt: an overdraft that is forgiven would be given away: use \
         `carry`",
    );
    check(
        month,
        PoolTerms { soft_limits_bp: vec![10_000], ..usual() },
        "plans/free/entitlements/more/soft_limits/0: a soft limit of 100% must be 0.01% to 99.99%",
    );
}

/// Breaks a rate card in one way.
#[track_caller]
fn check_card(
    break_it: impl FnOnce(&mut CatalogSpec, &mut Vec<(String, CreditPrice)>),
    expected: &str,
) {
    check(
        |s| {
            add_pool(s, WindowRule::Lifetime, PoolTerms::default());
            let place = s.features.len() - 1;
            let kind = s.features[place].kind.clone();
            let FeatureKindSpec::Credits { window, mut rate_card } = kind else { panic!() };
            break_it(s, &mut rate_card);
            s.features[place].kind = FeatureKindSpec::Credits { window, rate_card };
        },
        expected,
    );
}

#[test]
fn a_rate_card_prices_quotas_that_somebody_lets_it_pay() {
    let price = CreditPrice { credits: 1, per: 1, rounding: Rounding::Down };
    check_card(|_, _| {}, "");
    check_card(
        |_, card| card.push(("nothing".to_owned(), price)),
        "features/more/rate_card/nothing: unknown feature `nothing`",
    );
    check_card(
        |_, card| card.push(("sso".to_owned(), price)),
        "features/more/rate_card/sso: `sso` is a switch, only quotas can be paid by credits",
    );
    check_card(
        |_, card| card.push(("tokens".to_owned(), price)),
        "features/more/rate_card/tokens: feature `tokens` is priced twice",
    );
    check_card(
        |_, card| card[0].1 = CreditPrice { credits: 0, per: limits::UNITS_MAX + 1, ..price },
        "features/more/rate_card/tokens/credits: `credits` is 0, it must be 1 to 9007199254740991\n\
         features/more/rate_card/tokens/per: `per` is 9007199254740992, it must be 1 to \
         9007199254740991",
    );
    check_card(
        |_, card| card.clear(),
        "plans/free/entitlements/tokens/paid_by: the rate card of `more` has no price for `tokens`",
    );
    let pay_by = |s: &mut CatalogSpec, by: &str| {
        let EntitlementSpec::PaidQuota { paid_by, .. } = &mut s.plans[0].entitlements[0].1 else {
            panic!()
        };
        by.clone_into(paid_by);
    };
    check_card(
        |s, card| {
            pay_by(s, "sso");
            card.clear();
        },
        "plans/free/entitlements/tokens/paid_by: `sso` is a switch, only credits can pay",
    );
    check_card(
        |s, card| {
            pay_by(s, "mora");
            card.clear();
        },
        "plans/free/entitlements/tokens/paid_by: unknown feature `mora`",
    );
    check_card(
        |s, _| {
            let EntitlementSpec::PaidQuota { limits, .. } = s.plans[0].entitlements[0].1.clone()
            else {
                panic!()
            };
            s.plans[0].entitlements[0].1 = EntitlementSpec::Quota { limits };
        },
        "features/more/rate_card/tokens: `tokens` has a price, but no plan or add-on says `paid_by: \
         more` of it",
    );
    check(
        |s| {
            add_pool(s, WindowRule::Lifetime, PoolTerms::default());
            s.features.last_mut().unwrap().shadow = true;
        },
        "features/more/shadow: credits cannot be watched without refusing: what was bought is kept and not \
         tried out. Watch the features that credits pay for",
    );
    check(
        |s| limits_of(s)[0].limit = "paid_by".to_owned(),
        "features/tokens/limits/paid_by: the name `paid_by` is kept for who pays for a quota: choose \
         another\nplans/free/entitlements/tokens/monthly: feature `tokens` has no limit `monthly`",
    );
}

#[test]
fn seats_have_a_number_that_an_account_has_room_for() {
    let kind = |invited_ms| FeatureKindSpec::Seats { invited_ms };
    let seats = |included_units, soft: &[u32]| EntitlementSpec::Seats {
        included_units,
        soft_limits_bp: soft.to_vec(),
    };
    let check = |invited_ms, given: EntitlementSpec, expected: &str| {
        check(|s| add(s, kind(invited_ms), given), expected);
    };
    check(1, seats(Some(0), &[]), "");
    check(limits::INVITATION_MS_MAX, seats(None, &[]), "");
    check(1, seats(Some(10_000), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]), "");
    for invited_ms in [0, -1, limits::INVITATION_MS_MAX + 1] {
        check(
            invited_ms,
            seats(Some(1), &[]),
            "features/more/invitations: an invitation lasts 1 ms to 366 days",
        );
    }
    check(
        1,
        seats(Some(10_001), &[]),
        "plans/free/entitlements/more/included: 10001 seats are included, an account has room for 10000",
    );
    check(
        1,
        seats(Some(9), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
        "plans/free/entitlements/more/soft_limits: 13 soft limits, at most 12 are possible",
    );
    check(
        1,
        seats(None, &[8_000]),
        "plans/free/entitlements/more/soft_limits: a soft limit is a share of the seats, which are \
         unlimited",
    );
    check(
        1,
        slots(Some(1), &[]),
        "plans/free/entitlements/more: `more` is seats, but the plan gives a concurrency",
    );
}

/// A quota where each user has the limit `own`, given so many units over the same months.
fn with_own(s: &mut CatalogSpec, included_units: Option<u64>) -> &mut PlanLimitSpec {
    limits_of(s).push(LimitSpec { limit: "own".into(), per: Some("user".into()), ..monthly() });
    let EntitlementSpec::Quota { limits } = &mut s.plans[0].entitlements[0].1 else {
        unreachable!()
    };
    let policy = if included_units.is_some() { Policy::Block } else { Policy::Unlimited };
    limits.push(PlanLimitSpec {
        limit: "own".into(),
        included_units,
        soft_limits_bp: vec![],
        policy,
        terms: LimitTerms::default(),
    });
    limits.last_mut().expect("just given")
}

#[test]
fn limits_of_subjects_are_within_reach_and_not_the_only_ones() {
    check(|s| drop(with_own(s, Some(100)).limit.clone()), "");
    check(|s| drop(with_own(s, None).limit.clone()), "");
    check(
        |s| {
            with_own(s, Some(101));
        },
        "plans/free/entitlements/tokens/own: 101 units can never be reached: the limit `monthly` of \
         the whole account ends at 100 over the same time or a longer one",
    );
    check(
        |s| limits_of(s)[0].per = Some("user".into()),
        "features/tokens/limits: every limit is of subjects: usage without a subject would count \
         nowhere. Give the account one too, which may be unlimited\n\
         plans/free/entitlements/tokens: every limit given is of subjects: usage without a subject \
         would count nowhere. Give the account one too, which may be unlimited",
    );
    check(
        |s| {
            with_own(s, Some(1)).terms.carries_debt = true;
        },
        "plans/free/entitlements/tokens/own/debt: the debt of a subject is not carried: nothing is \
         remembered of one in which nothing counts any more",
    );
    check(
        |s| with_own(s, Some(1)).terms.on_change = crate::change::OnChange::Prorate,
        "plans/free/entitlements/tokens/own/on_change: what a subject has used stays used when the plan \
         changes, and its limit is the new plan's: leave `on_change` out",
    );
}

#[test]
fn a_price_of_overage_needs_a_window_that_is_billed() {
    let priced = |cap_minor| {
        let (unit_price_nanos, currency) = (500_000_000, "USD".into());
        Some(OverageTerms { unit_price_nanos, currency, cap_minor })
    };
    let sliding = WindowRule::Sliding(Every { count: 7, unit: SpanUnit::Day });
    for cap_minor in [None, Some(20_000)] {
        check(
            |s| {
                limits_of(s)[0].window = sliding;
                limit(s).policy = Policy::Overage;
                limit(s).terms.overage = priced(cap_minor);
            },
            "plans/free/entitlements/tokens/monthly/policy/overage: a window that slides has no end at \
             which its overage could be billed, so a price or a cap here is in no bill: give it to a \
             limit of the account whose windows lie still, as `billing`, and say the bare `overage` or \
             `block` here",
        );
        check(
            |s| {
                let own = with_own(s, Some(1));
                own.policy = Policy::Overage;
                own.terms.overage = priced(cap_minor);
            },
            "plans/free/entitlements/tokens/own/policy/overage: what a subject uses is billed to its \
             account, so a price or a cap here is in no bill: give it to a limit of the account, and say \
             the bare `overage` or `block` here",
        );
    }
    check(
        |s| {
            limits_of(s)[0].window = sliding;
            limit(s).policy = Policy::Overage;
        },
        "",
    );
    check(|s| with_own(s, Some(1)).policy = Policy::Overage, "");
}

#[test]
fn rates_that_are_added_up_have_a_period_in_common() {
    use crate::catalog::Merge;
    const HOUR: i64 = 3_600_000;
    let sold = |s: &mut CatalogSpec, (own, more): (i64, i64), merge| {
        add(s, FeatureKindSpec::Rate { per: None }, rate(100, own, 1));
        s.features.last_mut().expect("just added").offering.merge = merge;
        s.addons.push(PlanSpec {
            plan: "fast".into(),
            entitlements: vec![("more".into(), rate(100, more, 1))],
            ..s.plans[0].clone()
        });
    };
    for periods in [(1_000, 1_000), (1_000, 60_000), (7, 60_000), (8 * HOUR, 6 * HOUR)] {
        check(|s| sold(s, periods, Merge::Sum), "");
    }
    check(|s| sold(s, (7 * HOUR, 5 * HOUR), Merge::MostGenerous), "");
    check(
        |s| sold(s, (7 * HOUR, 5 * HOUR), Merge::Sum),
        "addons/fast/entitlements/more/rate: this is added to `plans.free.entitlements.more.rate`, and \
         there is no period of a day at most that holds both of theirs: give both the same period, or say \
         `merge: most_generous` at `features.more`",
    );
    check(
        |s| {
            sold(s, (HOUR, 5 * HOUR), Merge::Sum);
            let more = vec![("more".to_owned(), rate(100, 7 * HOUR, 1))];
            let faster =
                PlanSpec { plan: "faster".into(), entitlements: more, ..s.addons[0].clone() };
            s.addons.push(faster);
        },
        "addons/faster/entitlements/more/rate: this is added to `addons.fast.entitlements.more.rate`, and \
         there is no period of a day at most that holds both of theirs: give both the same period, or say \
         `merge: most_generous` at `features.more`",
    );
}

#[test]
fn subjects_have_values_within_reach_of_the_account() {
    use crate::catalog::Aggregation::{Latest, Max, Unique};
    let other_window = |s: &mut CatalogSpec, aggregation| {
        with_own(s, Some(101));
        s.features[0].counting.aggregation = aggregation;
        limits_of(s)[1].window = WindowRule::Lifetime;
    };
    for aggregation in [Max, Latest] {
        check(
            |s| {
                with_own(s, Some(100));
                s.features[0].counting.aggregation = aggregation;
            },
            "",
        );
        // A value is asked of every limit, whatever their windows.
        check(
            |s| other_window(s, aggregation),
            "plans/free/entitlements/tokens/own: 101 units can never be reached: the limit `monthly` of \
             the whole account ends at 100",
        );
    }
    check(
        |s| {
            other_window(s, Unique);
            s.features[0].counting.unique_by = Some("device".to_owned());
        },
        "",
    );
}

#[test]
fn limits_of_subjects_are_within_reach_whatever_the_windows_are() {
    use crate::window::SpanUnit::{Day, Hour, Month, Week};
    use WindowRule::{Billing, Calendar, FirstUse, Fixed, Lifetime, Sliding};
    let every = |count, unit| Every { count, unit };
    // The window of the account, which has 100 units, that of each user, and the most a user can reach.
    for (account, user, most) in [
        (Fixed(every(4, Week)), Fixed(every(1, Week)), Some(100)),
        (Fixed(every(4, Week)), Fixed(every(3, Week)), Some(200)),
        (Billing { months: 3 }, Billing { months: 1 }, Some(100)),
        (Billing { months: 3 }, Fixed(every(1, Month)), Some(100)),
        (Billing { months: 3 }, Billing { months: 2 }, Some(200)),
        (Billing { months: 1 }, Fixed(every(1, Day)), Some(100)),
        (Billing { months: 1 }, Calendar(CalendarUnit::Day), Some(200)),
        (Billing { months: 1 }, Calendar(CalendarUnit::Month), None),
        (Sliding(every(7, Day)), Sliding(every(1, Day)), Some(100)),
        (Sliding(every(7, Day)), FirstUse(every(5, Hour)), Some(100)),
        (FirstUse(every(5, Hour)), FirstUse(every(5, Hour)), Some(200)),
        (Calendar(CalendarUnit::Week), Calendar(CalendarUnit::Day), Some(100)),
        (Calendar(CalendarUnit::Month), Calendar(CalendarUnit::Week), Some(200)),
        (Calendar(CalendarUnit::Day), Calendar(CalendarUnit::Month), None),
        (Lifetime, Calendar(CalendarUnit::Year), Some(100)),
        (Calendar(CalendarUnit::Year), Lifetime, None),
    ] {
        let found = |units, addon: Option<u64>| {
            let mut spec = good();
            with_own(&mut spec, Some(units));
            limits_of(&mut spec)[0].window = account;
            limits_of(&mut spec)[1].window = user;
            if let Some(units) = addon {
                let limit = PlanLimitSpec {
                    included_units: Some(units),
                    soft_limits_bp: vec![],
                    ..limit(&mut spec).clone()
                };
                let given = EntitlementSpec::Quota { limits: vec![limit] };
                let (plan, entitlements) = ("more".into(), vec![("tokens".into(), given)]);
                spec.addons = vec![PlanSpec { plan, entitlements, ..spec.plans[0].clone() }];
            }
            let reached = |p: &SpecProblem| p.message.contains("can never be reached");
            problems(&spec).iter().any(reached)
        };
        let case = format!("{user:?} in {account:?}");
        match most {
            None => assert!(!found(limits::UNITS_MAX, None), "{case}"),
            Some(most) => {
                assert_eq!((found(most, None), found(most + 1, None)), (false, true), "{case}");
                // As much as can be bought of an add-on counts.
                let sold = most / 100 * u64::from(limits::ADDON_QUANTITY_MAX);
                let sold = (found(most + sold, Some(1)), found(most + sold + 1, Some(1)));
                assert_eq!(sold, (false, true), "{case}");
                assert!(found(most + 1, Some(0)), "an add-on that gives nothing: {case}");
            }
        }
    }
}

#[test]
fn cohorts_are_names_of_their_own_and_need_accounts_that_are_left() {
    use crate::cohort::Cohorts;
    let of = |names: &[&str], rollout_bp| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        move |s: &mut CatalogSpec| {
            s.features[0].offering.cohorts = Cohorts::of(names);
            s.features[0].offering.rollout_bp = rollout_bp;
        }
    };
    check(of(&["beta", "friends"], 0), "");
    check(of(&["beta"], 9_999), "");
    check(
        of(&["beta"], 10_000),
        "features/tokens/cohorts: a roll-out of 100% has come to everybody: leave `cohorts` out, or give \
         `rollout` a smaller share",
    );
    check(of(&["beta", "beta"], 0), "features/tokens/cohorts: cohort `beta` is there twice");
    check(
        of(&["Beta"], 0),
        "features/tokens/cohorts: the name \"Beta\" may have only a-z, 0-9, `_`, `.` and `-`",
    );
    let many: Vec<String> = (0..33).map(|n| format!("c{n}")).collect();
    check(
        |s| {
            s.features[0].offering.cohorts = Cohorts::of(many);
            s.features[0].offering.rollout_bp = 0;
        },
        "features/tokens/cohorts: 33 cohorts, at most 32 are possible",
    );
}

#[test]
fn usage_is_told_apart_by_few_names_of_a_quota() {
    let tally = |s: &mut CatalogSpec, feature: usize, names: &[&str]| {
        let dimensions = names.iter().map(|name| (*name).to_owned()).collect();
        let tally = crate::tally::TallySpec { buckets: crate::tally::BucketSize::Day, dimensions };
        s.features[feature].counting.tally = Some(tally);
    };
    check(|s| tally(s, 0, &["a", "b", "c", "d"]), "");
    check(
        |s| tally(s, 0, &["a", "b", "c", "d", "e"]),
        "features/tokens/usage/dimensions: 5 dimensions, at most 4 are possible",
    );
    check(
        |s| tally(s, 0, &["a", "A", "a"]),
        "features/tokens/usage/dimensions: the name \"A\" may have only a-z, 0-9, `_`, `.` and `-`\n\
         features/tokens/usage/dimensions: dimension `a` is there twice",
    );
    check(
        |s| tally(s, 1, &[]),
        "features/sso/usage: only the usage of a quota adds up over time, so only it has `usage`",
    );
}

#[test]
fn a_maximum_has_what_makes_sense_of_a_value() {
    use crate::catalog::Aggregation::{Count, Max};
    check(|s| s.features[0].counting.aggregation = Max, "");
    check(|s| s.features[0].counting.aggregation = Count, "");
    check(
        |s| s.features[1].counting.aggregation = Count,
        "features/sso/aggregation: only a quota has uses that could be counted otherwise than added up",
    );
    let sliding = WindowRule::Sliding(Every { count: 24, unit: SpanUnit::Hour });
    check(
        |s| {
            s.features[0].counting.aggregation = Max;
            limits_of(s)[0].window = sliding;
        },
        "features/tokens/limits/monthly/window: a maximum cannot slide, because the second largest value \
         is not known when the largest leaves the window: use `billing`, `calendar`, `fixed` or \
         `first_use`",
    );
    check(
        |s| {
            s.features[0].counting.aggregation = Count;
            limits_of(s)[0].window = sliding;
        },
        "",
    );
    check(
        |s| {
            let tally = crate::tally::TallySpec {
                buckets: crate::tally::BucketSize::Day,
                dimensions: vec![],
            };
            let counting = &mut s.features[0].counting;
            (counting.aggregation, counting.tally) = (Max, Some(tally));
            s.features[0].shadow = true;
        },
        "features/tokens/usage: a maximum does not add up over time: `usage` is of what is summed or \
         counted\nfeatures/tokens/shadow: a maximum cannot be watched only: give it the policy \
         `unlimited`, and soft limits",
    );
    check_card(
        |s, _| s.features[0].counting.aggregation = Max,
        "features/more/rate_card/tokens: `tokens` is a maximum, whose units are not used up: credits \
         cannot pay for it",
    );
}

#[test]
fn a_latest_value_and_different_values_have_what_makes_sense_of_them() {
    use crate::catalog::Aggregation::{Count, Latest, Unique};
    use crate::change::OnChange;
    let unique = |s: &mut CatalogSpec| {
        let counting = &mut s.features[0].counting;
        (counting.aggregation, counting.unique_by) = (Unique, Some("device".to_owned()));
    };
    check(unique, "");
    check(|s| s.features[0].counting.aggregation = Latest, "");
    check(
        |s| s.features[0].counting.aggregation = Unique,
        "features/tokens: `aggregation: unique` counts the different values of a dimension: name it, as \
         `unique_by: device`",
    );
    check(
        |s| {
            unique(s);
            s.features[0].counting.aggregation = Count;
        },
        "features/tokens/unique_by: only `aggregation: unique` has a `unique_by`",
    );
    check(
        |s| {
            unique(s);
            limits_of(s)[0].window = WindowRule::Sliding(Every { count: 24, unit: SpanUnit::Hour });
        },
        "features/tokens/limits/monthly/window: a number of different values cannot slide, because what \
         is in several parts of the window would be counted in each: use `billing`, `calendar`, `fixed` \
         or `first_use`",
    );
    check(
        |s| {
            s.features[0].counting.aggregation = Latest;
            let EntitlementSpec::Quota { limits } = &mut s.plans[0].entitlements[0].1 else {
                return;
            };
            limits[0].terms.on_change = OnChange::Prorate;
            limits[0].policy = Policy::Grace { grace_bp: 1_000 };
            limits[0].terms.grace =
                Some(GraceTerms { lasts_ms: Some(3_600_000), notice_ms: 60_000, times: None });
        },
        "plans/free/entitlements/tokens/monthly/on_change: the limit of a latest value is one of the value, of \
         which no time has a share: use `keep` or `reset`\nplans/free/entitlements/tokens/monthly/policy: a \
         latest value goes up and down, so a grace would begin anew each time: only `{grace: 10%}`",
    );
    check(
        |s| {
            for number in 0..9 {
                let mut more = s.features[0].clone();
                more.feature = format!("f{number}");
                more.counting.aggregation = Unique;
                more.counting.unique_by = Some("device".to_owned());
                let Quota { limits } = &mut more.kind else { return };
                *limits = (0..8)
                    .map(|n| LimitSpec { limit: format!("l{n}"), ..limits[0].clone() })
                    .collect();
                s.features.push(more);
            }
        },
        "features: 72 limits that count different values, at most 64 are possible",
    );
}

/// A feature that counts for ever, and a plan that locks `sso` behind it.
fn locked(change: impl FnOnce(&mut CatalogSpec, &mut UnlockSpec)) -> impl FnOnce(&mut CatalogSpec) {
    move |spec| {
        let ever = LimitSpec { limit: "ever".into(), window: WindowRule::Lifetime, per: None };
        spec.features.push(feature("flows", Quota { limits: vec![monthly(), ever] }));
        let limit = PlanLimitSpec {
            limit: "ever".into(),
            included_units: None,
            soft_limits_bp: vec![],
            policy: Policy::Unlimited,
            terms: Default::default(),
        };
        let flows = EntitlementSpec::Quota { limits: vec![limit] };
        spec.plans[0].entitlements.push(("flows".into(), flows));
        let mut after = UnlockSpec { feature: "flows".into(), units: 100 };
        change(spec, &mut after);
        let given = Box::new(spec.plans[0].entitlements[1].1.clone());
        spec.plans[0].entitlements[1].1 = EntitlementSpec::Locked { after, given };
    }
}

#[test]
fn what_use_unlocks_is_counted_for_ever_by_the_plan_that_locks_it() {
    let at = "plans/free/entitlements/sso/unlock_after";
    let flows = |spec: &mut CatalogSpec| {
        let EntitlementSpec::Quota { limits } = &mut spec.plans[0].entitlements[3].1 else {
            panic!("a quota")
        };
        (limits[0].included_units, limits[0].policy) = (Some(99), Policy::Block);
    };
    check(locked(|_, _| {}), "");
    check(
        locked(|_, after| after.feature = "flow".into()),
        &format!("{at}/feature: unknown feature `flow`"),
    );
    check(
        locked(|_, after| after.feature = "models".into()),
        &format!("{at}/feature: `models` is a config, only use of a quota unlocks"),
    );
    check(
        locked(|_, after| after.feature = "tokens".into()),
        &format!(
            "{at}/feature: `tokens` has no limit that counts for ever: add one, as `ever: {{ window: \
             lifetime }}`"
        ),
    );
    check(
        locked(|spec, _| drop(spec.plans[0].entitlements.pop())),
        &format!(
            "{at}/feature: the plan does not count what is used of `flows`: give it its limit, as \
             `flows: {{ ever: {{ included: unlimited }} }}`"
        ),
    );
    check(
        locked(|spec, _| flows(spec)),
        &format!(
            "{at}/units: 100 units can never be used: the plan includes 99 of `flows` for ever"
        ),
    );
    check(
        locked(|spec, _| spec.features[3].counting.aggregation = Aggregation::Max),
        &format!("{at}/feature: `flows` has `aggregation: max`: its use does not add up"),
    );
    check(
        locked(|_, after| after.units = 0),
        &format!("{at}/units: 0 units, it must be 1 to 9007199254740991"),
    );
}

#[test]
fn an_add_on_a_paid_quota_and_a_chain_cannot_be_unlocked_by_use() {
    let lock = |given: EntitlementSpec, units| EntitlementSpec::Locked {
        after: UnlockSpec { feature: "flows".into(), units },
        given: Box::new(given),
    };
    check(
        locked(|spec, _| {
            let sso = ("sso".to_owned(), lock(EntitlementSpec::Switch { on: true }, 1));
            spec.addons.push(plan("boost", vec![sso]));
        }),
        "addons/boost/entitlements/sso/unlock_after: an add-on is bought, so it cannot be earned by use",
    );
    check(
        locked(|spec, _| {
            let flows = spec.plans[0].entitlements[3].1.clone();
            spec.plans[0].entitlements[3].1 = EntitlementSpec::Locked {
                after: UnlockSpec { feature: "flows".into(), units: 1 },
                given: Box::new(flows),
            };
        }),
        "plans/free/entitlements/sso/unlock_after/feature: `flows` is locked itself in this plan\n\
         plans/free/entitlements/flows/unlock_after/feature: `flows` is locked itself in this plan",
    );
    check(
        |s| limits_of(s)[0].limit = "unlock_after".to_owned(),
        "features/tokens/limits/unlock_after: the name `unlock_after` is kept for what unlocks a quota: \
         choose another\n\
         plans/free/entitlements/tokens/monthly: feature `tokens` has no limit `monthly`",
    );
}
