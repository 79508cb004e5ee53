//! The rules of prompts.

use std::collections::{BTreeMap, BTreeSet};

use super::{Names, Report, TEXT_BYTES_MAX, check_plan_name, kind_word, with_article};
use crate::catalog::{FeatureKindSpec, PromptSpec, Scenario};
use crate::limits;

/// Everything about prompts but their templates.
pub(super) fn check_prompts(report: &mut Report, prompts: &[PromptSpec], names: &Names<'_>) {
    report.at_most(&["prompts"], "prompts", prompts.len(), limits::CATALOG_ITEMS_MAX);
    let mut seen = BTreeSet::new();
    for (ix, prompt) in prompts.iter().enumerate() {
        let ix = ix.to_string();
        let path = |step: &'static str| ["prompts", ix.as_str(), step];
        report.program_name(&path("prompt"), &prompt.prompt);
        if !seen.insert(&prompt.prompt) {
            report
                .say(&path("prompt"), format_args!("prompt `{}` is defined twice", prompt.prompt));
        }
        check_prompt_texts(report, &ix, prompt);
        if let Some(name) = &prompt.feature {
            check_prompt_feature(report, &path("feature"), name, prompt.scenario, names);
        }
        let mut own_plans = BTreeSet::new();
        for (plan_ix, plan) in prompt.plans.iter().enumerate() {
            let plan_path = ["prompts", &ix, "plans", &plan_ix.to_string()];
            check_plan_name(report, &plan_path, plan, names);
            if !own_plans.insert(plan) {
                report.say(&plan_path, format_args!("plan `{plan}` is listed twice"));
            }
        }
        if let Some(offer) = &prompt.offer {
            check_plan_name(report, &path("offer"), offer, names);
            if own_plans.contains(offer) {
                report.say(
                    &path("offer"),
                    format_args!("accounts on plan `{offer}` would be offered what they have"),
                );
            }
        }
    }
    check_shadowed_prompts(report, prompts);
}

/// Among the prompts for one scenario, feature and plan only the first is ever shown, so a prompt
/// all of whose places are taken is a mistake.
fn check_shadowed_prompts<'a>(report: &mut Report, prompts: &'a [PromptSpec]) {
    let mut taken: BTreeMap<(Scenario, Option<&'a str>, Option<&'a str>), &'a str> =
        BTreeMap::new();
    for (ix, prompt) in prompts.iter().enumerate() {
        let feature = prompt.feature.as_deref();
        let plans: Vec<Option<&'a str>> = match prompt.plans.as_slice() {
            [] => vec![None],
            plans => plans.iter().map(|plan| Some(plan.as_str())).collect(),
        };
        let earlier: Vec<&'a str> = plans
            .iter()
            .filter_map(|&plan| {
                [(feature, plan), (None, plan), (feature, None), (None, None)]
                    .into_iter()
                    .find_map(|(feature, plan)| taken.get(&(prompt.scenario, feature, plan)))
                    .copied()
            })
            .collect();
        if let Some(first) = earlier.first()
            && earlier.len() == plans.len()
        {
            report.say(
                &["prompts", &ix.to_string(), "prompt"],
                format_args!(
                    "never shown: prompt `{first}` fits wherever it does, and comes first"
                ),
            );
        }
        for plan in plans {
            taken.entry((prompt.scenario, feature, plan)).or_insert(&prompt.prompt);
        }
    }
}

fn check_prompt_texts(report: &mut Report, ix: &str, prompt: &PromptSpec) {
    let texts = [
        ("title", &prompt.title, true),
        ("message", &prompt.message, true),
        ("call_to_action", &prompt.call_to_action, false),
        ("url", &prompt.url, false),
    ];
    for (step, text, is_required) in texts {
        if is_required && text.trim().is_empty() {
            report.say(&["prompts", ix, step], "the text is empty");
        }
        report.people_text(&["prompts", ix, step], text, TEXT_BYTES_MAX);
    }
    if prompt.call_to_action.is_empty() && !prompt.url.is_empty() {
        report.say(&["prompts", ix, "url"], "an address without a `call_to_action` is never shown");
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
    match (scenario, &feature.kind) {
        (Scenario::LockedFeature, _)
        | (_, FeatureKindSpec::Quota { .. } | FeatureKindSpec::Allocation { .. })
        | (
            Scenario::NearLimit | Scenario::LimitHit,
            FeatureKindSpec::Concurrency
            | FeatureKindSpec::Credits { .. }
            | FeatureKindSpec::Seats { .. },
        )
        | (Scenario::LimitHit, FeatureKindSpec::Rate { .. }) => {}
        (
            _,
            kind @ (FeatureKindSpec::Concurrency
            | FeatureKindSpec::Rate { .. }
            | FeatureKindSpec::Credits { .. }
            | FeatureKindSpec::Seats { .. }),
        ) => report.say(
            path,
            format_args!(
                "`{name}` is {}, for which the scenario `{}` never occurs",
                with_article(kind_word(kind)),
                scenario.as_str()
            ),
        ),
        (Scenario::NearLimit | Scenario::LimitHit | Scenario::Grace, kind) => report.say(
            path,
            format_args!(
                "`{name}` is a {}, which has no limits, so the scenario `{}` never occurs",
                kind_word(kind),
                scenario.as_str()
            ),
        ),
    }
}
