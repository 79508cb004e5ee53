//! The rules of prompts, but for their words and how often they are shown.

use std::collections::BTreeSet;

use super::{Names, Report, check_plan_name, kind_word, prompt_texts, prompting, with_article};
use crate::catalog::{CatalogSpec, FeatureKindSpec, PromptSpec, PromptingSpec, Scenario};
use crate::limits;
use crate::prompt::{Audience, specificity};

/// Plans, segments and variants that one prompt may name.
const NAMED_MAX: usize = 64;

/// Everything about prompts but whether their templates can be filled.
pub(super) fn check_prompts(
    report: &mut Report,
    (prompting, prompts): (&PromptingSpec, &[PromptSpec]),
    names: &Names<'_>,
) {
    prompting::check_prompting(report, prompting);
    report.at_most(&["prompts"], "prompts", prompts.len(), limits::CATALOG_ITEMS_MAX);
    let mut seen = BTreeSet::new();
    for (place, prompt) in prompts.iter().enumerate() {
        check_prompt(report, (place, prompt), (prompting, names), &mut seen);
        check_shadowed(report, prompts, place);
    }
}

/// The same of prompts of which something is not known, beside those of a catalog: which of them come first is
/// not asked.
pub(super) fn check_unclear(
    report: &mut Report,
    spec: &CatalogSpec,
    prompts: &[PromptSpec],
    names: &Names<'_>,
) {
    let mut seen = spec.prompts.iter().map(|prompt| prompt.prompt.as_str()).collect();
    for (place, prompt) in prompts.iter().enumerate() {
        check_prompt(report, (place, prompt), (&spec.prompting, names), &mut seen);
    }
}

/// One prompt by itself; `seen` are the names of those before it.
fn check_prompt<'p>(
    report: &mut Report,
    (place, prompt): (usize, &'p PromptSpec),
    (prompting, names): (&PromptingSpec, &Names<'_>),
    seen: &mut BTreeSet<&'p str>,
) {
    let ix = place.to_string();
    let path = |step: &'static str| ["prompts", ix.as_str(), step];
    report.program_name(&path("prompt"), &prompt.prompt);
    if !seen.insert(&prompt.prompt) {
        report.say(&path("prompt"), format_args!("prompt `{}` is defined twice", prompt.prompt));
    }
    prompt_texts::check_texts(report, &ix, prompt, prompting);
    prompting::check_showing(report, &ix, prompt);
    if let Some(name) = &prompt.feature {
        check_prompt_feature(report, &path("feature"), name, prompt.scenario, names);
    }
    check_readers(report, &ix, prompt, names);
    if let Some(offer) = &prompt.offer {
        check_plan_name(report, &path("offer"), offer, names);
        if prompt.plans.contains(offer) {
            report.say(
                &path("offer"),
                format_args!("accounts on plan `{offer}` would be offered what they have"),
            );
        }
    }
}

fn check_readers(report: &mut Report, ix: &str, prompt: &PromptSpec, names: &Names<'_>) {
    let mut own_plans = BTreeSet::new();
    report.at_most(&["prompts", ix, "plans"], "plans", prompt.plans.len(), NAMED_MAX);
    for (plan_ix, plan) in prompt.plans.iter().enumerate() {
        let plan_path = ["prompts", ix, "plans", &plan_ix.to_string()];
        check_plan_name(report, &plan_path, plan, names);
        if !own_plans.insert(plan) {
            report.say(&plan_path, format_args!("plan `{plan}` is listed twice"));
        }
    }
    let mut own_segments = BTreeSet::new();
    report.at_most(&["prompts", ix, "segments"], "segments", prompt.segments.len(), NAMED_MAX);
    for (place, segment) in prompt.segments.iter().enumerate() {
        let path = ["prompts", ix, "segments", &place.to_string()];
        report.people_name(&path, segment);
        if !own_segments.insert(segment) {
            report.say(&path, format_args!("segment `{segment}` is listed twice"));
        }
    }
    let mut own_audiences = BTreeSet::new();
    for (place, audience) in prompt.audiences.iter().enumerate() {
        if !own_audiences.insert(audience) {
            let path = ["prompts", ix, "audiences", &place.to_string()];
            report.say(&path, format_args!("audience `{}` is listed twice", audience.as_str()));
        }
    }
}

/// For whom a prompt would be chosen, part by part: a plan, a segment and an audience; `None` is
/// any that nobody named.
type Part<'a> = (Option<&'a str>, Option<&'a str>, Option<Audience>);

fn parts(prompt: &PromptSpec) -> Vec<Part<'_>> {
    fn each(names: &[String]) -> Vec<Option<&str>> {
        match names {
            [] => vec![None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        }
    }
    let audiences: Vec<Option<Audience>> = match prompt.audiences.as_slice() {
        [] => vec![None],
        audiences => audiences.iter().copied().map(Some).collect(),
    };
    let mut parts = Vec::new();
    for plan in each(&prompt.plans) {
        for segment in each(&prompt.segments) {
            parts.extend(audiences.iter().map(|audience| (plan, segment, *audience)));
        }
    }
    parts
}

fn covers(prompt: &PromptSpec, (plan, segment, audience): Part<'_>) -> bool {
    let has = |names: &[String], name: Option<&str>| {
        names.is_empty() || name.is_some_and(|name| names.iter().any(|known| known == name))
    };
    has(&prompt.plans, plan)
        && has(&prompt.segments, segment)
        && (prompt.audiences.is_empty()
            || audience.is_some_and(|audience| prompt.audiences.contains(&audience)))
}

/// A prompt before which another one comes for whomever it is for is a mistake.
fn check_shadowed(report: &mut Report, prompts: &[PromptSpec], place: usize) {
    let prompt = &prompts[place];
    let rank = |place: usize| (specificity(&prompts[place]), std::cmp::Reverse(place));
    let comes_before = |other: usize| {
        prompts[other].scenario == prompt.scenario
            && (prompts[other].feature.is_none() || prompts[other].feature == prompt.feature)
            && rank(place) < rank(other)
    };
    let before: Vec<usize> = (0..prompts.len()).filter(|other| comes_before(*other)).collect();
    if before.is_empty() {
        return;
    }
    let taken: Option<Vec<usize>> = parts(prompt)
        .into_iter()
        .map(|part| before.iter().copied().find(|other| covers(&prompts[*other], part)))
        .collect();
    if let Some(first) = taken.as_ref().and_then(|taken| taken.first()) {
        let first = &prompts[*first].prompt;
        let message =
            format!("never shown: prompt `{first}` fits wherever it does, and comes first");
        report.say(&["prompts", &place.to_string(), "prompt"], message);
    }
}

/// Whether a decision about a feature of a kind can be in a scenario.
fn can_occur(scenario: Scenario, kind: &FeatureKindSpec) -> bool {
    use FeatureKindSpec::{Allocation, Concurrency, Credits, Quota, Rate, Seats};
    match scenario {
        Scenario::LockedFeature | Scenario::TrialEnding => true,
        Scenario::Unlock => matches!(kind, Quota { .. } | FeatureKindSpec::Switch),
        Scenario::NearLimit => matches!(
            kind,
            Quota { .. } | Allocation { .. } | Concurrency { .. } | Credits { .. } | Seats { .. }
        ),
        Scenario::LimitHit => matches!(
            kind,
            Quota { .. }
                | Allocation { .. }
                | Concurrency { .. }
                | Credits { .. }
                | Seats { .. }
                | Rate { .. }
        ),
        Scenario::Grace => matches!(kind, Quota { .. } | Allocation { .. }),
        Scenario::SeatsFull | Scenario::InviteWithoutSeat => matches!(kind, Seats { .. }),
        Scenario::CreditsLow => matches!(kind, Credits { .. } | Quota { .. }),
        Scenario::RateTier => matches!(kind, Rate { .. }),
    }
}

fn check_prompt_feature(
    report: &mut Report,
    path: &[&str],
    name: &str,
    scenario: Scenario,
    names: &Names<'_>,
) {
    let Some(feature) = names.features.get(name) else {
        let known = names.features.keys().copied();
        return report.say_known(path, format_args!("unknown feature `{name}`"), known);
    };
    if can_occur(scenario, &feature.kind) {
        return;
    }
    let (kind, scenario) = (with_article(kind_word(&feature.kind)), scenario.as_str());
    match &feature.kind {
        FeatureKindSpec::Switch | FeatureKindSpec::Config => report.say(
            path,
            format_args!(
                "`{name}` is {kind}, which has no limits, so the scenario `{scenario}` never occurs"
            ),
        ),
        _ => report.say(
            path,
            format_args!("`{name}` is {kind}, for which the scenario `{scenario}` never occurs"),
        ),
    }
}
