//! How often prompts are shown, and what else holds of all of them.

use std::collections::BTreeSet;

use super::Report;
use crate::catalog::{PromptSpec, PromptingSpec};
use crate::prompt::{Cap, DAY_MS, EXPOSURE_MS_MAX};

/// Languages of one catalog.
const LANGUAGES_MAX: usize = 64;

/// Caps in one place.
const CAPS_MAX: usize = 8;

/// Most showings that a cap may allow: an account remembers its latest 128.
const CAP_SHOWN_MAX: u32 = 50;

/// Longest span in which a change of plan is a prompt's doing, and before the end of a trial.
const SPAN_MS_MAX: i64 = 90 * DAY_MS;

pub(super) fn check_prompting(report: &mut Report, spec: &PromptingSpec) {
    let path = |step: &'static str| ["prompting", step];
    check_tag(report, &path("language"), &spec.language);
    report.at_most(&path("languages"), "languages", spec.languages.len(), LANGUAGES_MAX);
    let mut seen = BTreeSet::from([spec.language.to_ascii_lowercase()]);
    for (place, tag) in spec.languages.iter().enumerate() {
        let path = ["prompting", "languages", &place.to_string()];
        check_tag(report, &path, tag);
        if !seen.insert(tag.to_ascii_lowercase()) {
            report.say(&path, format_args!("language `{tag}` is there twice"));
        }
    }
    for (step, fact) in
        [("language_fact", &spec.language_fact), ("segment_fact", &spec.segment_fact)]
    {
        report.people_name(&path(step), fact);
    }
    check_caps(report, &path("caps"), &spec.caps);
    let spans =
        [("trial_ending", spec.trial_ending_ms), ("converts_within", Some(spec.conversion_ms))];
    for (step, ms) in spans {
        if ms.is_some_and(|ms| !(1..=SPAN_MS_MAX).contains(&ms)) {
            report.say(&path(step), "the span must be 1 ms to 90 days");
        }
    }
    if spec.quiet.is_some_and(|(from, until)| from == until) {
        report.say(&path("quiet_hours"), "they end when they begin: leave them out");
    }
}

/// Language, then parts of 2 to 8 letters or digits, as BCP 47 has it.
fn check_tag(report: &mut Report, path: &[&str], tag: &str) {
    let mut parts = tag.split('-');
    let is_language = |part: &str| {
        matches!(part.len(), 2 | 3) && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let is_part = |part: &str| {
        (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if !parts.next().is_some_and(is_language) || !parts.all(is_part) {
        report.say(path, format_args!("{tag:?} is no language tag, as `de` or `pt-BR`"));
    }
}

fn check_caps(report: &mut Report, path: &[&str], caps: &[Cap]) {
    report.at_most(path, "caps", caps.len(), CAPS_MAX);
    for (place, cap) in caps.iter().enumerate() {
        let place = place.to_string();
        let at = |step: &'static str| [path, &[place.as_str(), step]].concat();
        if !(1..=CAP_SHOWN_MAX).contains(&cap.shown) {
            report.say(&at("shown"), format_args!("it must be 1 to {CAP_SHOWN_MAX}"));
        }
        if !(1..=EXPOSURE_MS_MAX).contains(&cap.within_ms) {
            report.say(&at("within"), "the span must be 1 ms to 90 days");
        }
    }
}

/// How often one prompt is shown. What a person meets at a limit is never held back.
pub(super) fn check_showing(report: &mut Report, ix: &str, prompt: &PromptSpec) {
    let path = |step: &'static str| ["prompts", ix, step];
    check_caps(report, &path("caps"), &prompt.caps);
    if !(0..=EXPOSURE_MS_MAX).contains(&prompt.cool_down_ms) {
        report.say(&path("cool_down"), "the span must be at most 90 days");
    }
    if 5_000 < prompt.holdout_bp {
        report.say(&path("holdout"), "the holdout must be at most 50%");
    }
    if prompt.scenario.is_promotion() {
        return;
    }
    let scenario = prompt.scenario.as_str();
    let held = [
        ("caps", !prompt.caps.is_empty()),
        ("cool_down", prompt.cool_down_ms != 0),
        ("holdout", prompt.holdout_bp != 0),
    ];
    for (step, _) in held.into_iter().filter(|(_, is_given)| *is_given) {
        let message = format!(
            "who meets a limit is always told: a prompt for `{scenario}` is never held back, \
             leave `{step}` out"
        );
        report.say(&path(step), message);
    }
}
