//! What a prompt says, in every language and variant: that nothing is missing in any of them.

use std::collections::BTreeSet;

use super::{Report, TEXT_BYTES_MAX};
use crate::catalog::{PromptSpec, PromptingSpec};
use crate::prompt::{CONTROL, HOLDOUT, STEPS, TextKey, Texts, VariantSpec, fallbacks};

/// Variants of one prompt.
const VARIANTS_MAX: usize = 8;

type Translations = [(String, Texts)];

pub(super) fn check_texts(
    report: &mut Report,
    ix: &str,
    prompt: &PromptSpec,
    prompting: &PromptingSpec,
) {
    let own = &prompt.texts;
    let path = ["prompts", ix];
    check_some_texts(report, &path, own);
    for key in [TextKey::Title, TextKey::Message] {
        if own.get(key).is_none() {
            report.say(&[&path[..], &[key.as_str()]].concat(), "the text is empty");
        }
    }
    let is_given = |key| own.get(key).is_some_and(|text| !text.is_empty());
    if !is_given(TextKey::CallToAction) && is_given(TextKey::Url) {
        let path = [&path[..], &["url"]].concat();
        report.say(&path, "an address without a `call_to_action` is never shown");
    }
    check_languages(report, &path, &prompt.languages, prompting);
    check_translated(report, &path, "prompt", (own, &prompt.languages), prompting);
    check_variants(report, ix, prompt, prompting);
}

fn check_variants(report: &mut Report, ix: &str, prompt: &PromptSpec, prompting: &PromptingSpec) {
    let list = ["prompts", ix, "variants"];
    report.at_most(&list, "variants", prompt.variants.len(), VARIANTS_MAX);
    let mut seen = BTreeSet::from([CONTROL, HOLDOUT]);
    for (place, variant) in prompt.variants.iter().enumerate() {
        let place = place.to_string();
        let path = ["prompts", ix, "variants", place.as_str()];
        let VariantSpec { variant: name, share_bp, texts, languages } = variant;
        report.program_name(&[&path[..], &["variant"]].concat(), name);
        if !seen.insert(name) {
            let message = match name.as_str() {
                CONTROL => "`control` is the variant of all that no other has".to_owned(),
                HOLDOUT => "`holdout` is the group that gets no prompt".to_owned(),
                name => format!("variant `{name}` is defined twice"),
            };
            report.say(&[&path[..], &["variant"]].concat(), message);
        }
        if *share_bp == 0 || 10_000 < *share_bp {
            report.say(&[&path[..], &["share"]].concat(), "the share must be 0.01% to 100%");
        }
        if *texts == Texts::default() && languages.is_empty() {
            report.say(&path, format_args!("variant `{name}` says nothing otherwise"));
        }
        check_some_texts(report, &path, texts);
        check_languages(report, &path, languages, prompting);
        check_translated(report, &path, "variant", (texts, languages), prompting);
    }
    let shares: u64 = prompt.variants.iter().map(|variant| u64::from(variant.share_bp)).sum();
    if 10_000 < shares {
        report.say(&list, "the shares of the variants are more than 100% together");
    }
}

/// Texts that are there must say something and fit.
fn check_some_texts(report: &mut Report, path: &[&str], texts: &Texts) {
    for key in TextKey::ALL {
        let Some(text) = texts.get(key) else { continue };
        let path = [path, &[key.as_str()]].concat();
        if text.trim().is_empty() && matches!(key, TextKey::Title | TextKey::Message) {
            report.say(&path, "the text is empty");
        }
        report.people_text(&path, text, TEXT_BYTES_MAX);
    }
    let path = [path, &["steps"]].concat();
    if !matches!(texts.steps.len(), 0 | STEPS) {
        let message = format!(
            "the long form has {STEPS} steps (why they bought, the goal, what they did, what it \
             brought, what comes next), here are {}",
            texts.steps.len()
        );
        report.say(&path, message);
    }
    for (place, step) in texts.steps.iter().enumerate() {
        let place = place.to_string();
        let path = [&path[..], &[place.as_str()]].concat();
        if step.trim().is_empty() {
            report.say(&path, "the text is empty");
        }
        report.people_text(&path, step, TEXT_BYTES_MAX);
    }
}

/// Translations are into languages that the catalog names, each once.
fn check_languages(
    report: &mut Report,
    path: &[&str],
    languages: &Translations,
    prompting: &PromptingSpec,
) {
    let mut seen = BTreeSet::new();
    for (tag, texts) in languages {
        let path = [path, &["languages", tag.as_str()]].concat();
        if *tag == prompting.language {
            let message =
                format!("`{tag}` is the catalog's own language: its texts stand at the prompt");
            report.say(&path, message);
        } else if !prompting.languages.contains(tag) {
            let known = prompting.languages.iter().map(String::as_str);
            let message = format!("`{tag}` is none of the languages in `prompting.languages`");
            report.say_known(&path, message, known);
        }
        if !seen.insert(tag) {
            report.say(&path, format_args!("language `{tag}` is given twice"));
        }
        check_some_texts(report, &path, texts);
    }
}

/// What is said in the catalog's own language must be said in every other.
fn check_translated(
    report: &mut Report,
    path: &[&str],
    what: &str,
    (own, languages): (&Texts, &Translations),
    prompting: &PromptingSpec,
) {
    // Where a language is whole, one that falls back to it is, too.
    let falls_back = |tag: &String| {
        fallbacks(tag).skip(1).any(|wider| prompting.languages.iter().any(|known| known == wider))
    };
    for language in prompting.languages.iter().filter(|tag| !falls_back(tag)) {
        let sources = || {
            fallbacks(language).filter_map(|tag| languages.iter().find(|(known, _)| known == tag))
        };
        // An address is the same in every language, unless it is not.
        let missing = [TextKey::Title, TextKey::Message, TextKey::CallToAction]
            .into_iter()
            .filter(|key| own.get(*key).is_some_and(|text| !text.is_empty()))
            .filter(|key| !sources().any(|(_, texts)| texts.get(*key).is_some()))
            .map(|key| format!("`{}`", key.as_str()));
        let mut missing: Vec<String> = missing.collect();
        if !own.steps.is_empty() && sources().all(|(_, texts)| texts.steps.is_empty()) {
            missing.push("`steps`".to_owned());
        }
        if !missing.is_empty() {
            let path = [path, &["languages", language.as_str()]].concat();
            let missing = missing.join(", ");
            report.say(&path, format_args!("the {what} has no {missing} in `{language}`"));
        }
    }
}
