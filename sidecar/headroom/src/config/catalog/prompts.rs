//! Prompts as the file has them, and what it says about all of them.

use std::collections::BTreeSet;

use headroom_core::catalog::{PromptSpec, PromptingSpec, Scenario};
use headroom_core::prompt::{Audience, Cap, DAY_MS, Texts, Unit, VariantSpec};

use super::policy::read_span_ms;
use crate::config::problems::Problem;
use crate::config::reader::{Entry, Fields, Reader};

/// Reads what holds of all prompts, and whether its languages could be read. What cannot be read is as if
/// it were not there.
pub(super) fn read_prompting(reader: &Reader, entry: Entry<'_>) -> (PromptingSpec, bool) {
    let mut spec = PromptingSpec::default();
    let Some(mut fields) = reader.fields(entry, "a mapping, as `{languages: [de]}`") else {
        return (spec, false);
    };
    let before = reader.count();
    let mut text = |key, place: &mut String| {
        if let Some(text) = fields.optional(key).and_then(|entry| reader.text(entry)) {
            *place = text;
        }
    };
    text("language", &mut spec.language);
    text("language_fact", &mut spec.language_fact);
    text("segment_fact", &mut spec.segment_fact);
    let languages = fields.optional("languages");
    let caps = fields.optional("caps");
    let quiet = fields.optional("quiet_hours");
    let trial_ending = fields.optional("trial_ending");
    let converts_within = fields.optional("converts_within");
    spec.languages = read_names(reader, languages, "a list of languages, as `[de, fr]`");
    fields.end();
    let has_languages = before == reader.count();
    if !has_languages {
        spec.languages.clear();
    }
    spec.caps = read_caps(reader, caps);
    spec.quiet = quiet.and_then(|entry| read_quiet(reader, entry));
    spec.trial_ending_ms = trial_ending.and_then(|entry| read_span_ms(reader, entry));
    if let Some(ms) = converts_within.and_then(|entry| read_span_ms(reader, entry)) {
        spec.conversion_ms = ms;
    }
    (spec, has_languages)
}

fn read_quiet(reader: &Reader, entry: Entry<'_>) -> Option<(u16, u16)> {
    let mut fields = reader.fields(entry, "a mapping, as `{from: \"20:00\", to: \"08:00\"}`")?;
    let mut minute = |key| {
        let entry = fields.required(key)?;
        let text = reader.text(entry)?;
        let read = text.split_once(':').and_then(|(hour, minute)| {
            let number = |text: &str, below: u16| -> Option<u16> {
                let is_short = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|number| is_short && *number < below)
            };
            Some(number(hour, 24)? * 60 + number(minute, 60)?)
        });
        if read.is_none() {
            reader.note_at(entry, format!("`{text}` is no time of the day, as `20:00`"));
        }
        read
    };
    let times = (minute("from"), minute("to"));
    fields.end();
    Some((times.0?, times.1?))
}

fn read_caps(reader: &Reader, entry: Option<Entry<'_>>) -> Vec<Cap> {
    let what = "a list of caps, as `[{per: person, shown: 2, within: 7 days}]`";
    let items = entry.and_then(|entry| reader.list(entry, what));
    items.into_iter().flatten().map(|item| read_cap(reader, item)).collect()
}

/// One showing a day stands in for what cannot be read.
fn read_cap(reader: &Reader, entry: Entry<'_>) -> Cap {
    let usual = Cap { per: Unit::Account, shown: 1, within_ms: DAY_MS };
    let Some(mut fields) = reader.fields(entry, "a mapping with `per`, `shown` and `within`")
    else {
        return usual;
    };
    let per = fields.required("per").and_then(|entry| read_unit(reader, entry));
    let shown = fields.required("shown").and_then(|entry| reader.whole_number(entry, 1..=50));
    let within = fields.required("within").and_then(|entry| read_span_ms(reader, entry));
    fields.end();
    let shown = shown.and_then(|shown| u32::try_from(shown).ok());
    Cap {
        per: per.unwrap_or(usual.per),
        shown: shown.unwrap_or(usual.shown),
        within_ms: within.unwrap_or(usual.within_ms),
    }
}

fn read_unit(reader: &Reader, entry: Entry<'_>) -> Option<Unit> {
    reader.word(entry, &[Unit::Account, Unit::Person].map(|unit| (unit.as_str(), unit)))
}

/// Names, each at its place: nothing for what is no text.
fn read_names(reader: &Reader, entry: Option<Entry<'_>>, what: &str) -> Vec<String> {
    let items = entry.and_then(|entry| reader.list(entry, what));
    items.into_iter().flatten().map(|item| reader.text(item).unwrap_or_default()).collect()
}

/// The prompts, and their places in the list.
#[derive(Debug, Default)]
pub(super) struct Prompts {
    pub(super) read: Vec<PromptSpec>,
    pub(super) items: Vec<usize>,
    /// Those of which it is not known when or of what they speak, and so not which other ones come first.
    pub(super) unclear: Vec<PromptSpec>,
    pub(super) unclear_items: Vec<usize>,
}

/// Reads the prompts. `unclear` are features that could not be read; `has_languages` is whether it is known into
/// which languages they must be translated.
pub(super) fn read_prompts(
    reader: &Reader,
    entry: Entry<'_>,
    unclear: &BTreeSet<String>,
    has_languages: bool,
) -> Option<Prompts> {
    let mut all = Prompts::default();
    for (ix, item) in reader.list(entry, "a list of prompts")?.enumerate() {
        let Some((mut prompt, mut is_clear)) = read_prompt(reader, item) else { continue };
        if prompt.feature.as_ref().is_some_and(|feature| unclear.contains(feature)) {
            (prompt.feature, is_clear) = (None, false);
        }
        if !has_languages {
            prompt.languages.clear();
            prompt.variants.iter_mut().for_each(without_languages);
        }
        let (prompts, items) = match is_clear {
            true => (&mut all.read, &mut all.items),
            false => (&mut all.unclear, &mut all.unclear_items),
        };
        prompts.push(prompt);
        items.push(ix);
    }
    Some(all)
}

/// A variant says something otherwise, if only in one language.
fn without_languages(variant: &mut VariantSpec) {
    if !variant.languages.is_empty() && variant.texts == Texts::default() {
        variant.texts.title = Some(UNREAD.to_owned());
    }
    variant.languages.clear();
}

/// Stands in for a text that cannot be read.
const UNREAD: &str = "-";

/// A prompt, and whether it is clear what it is for. `None`: it is no mapping.
fn read_prompt(reader: &Reader, entry: Entry<'_>) -> Option<(PromptSpec, bool)> {
    let mut fields = reader.fields(entry, "a mapping with `prompt` and `scenario`")?;
    let name = fields.required("prompt").and_then(|entry| reader.text(entry));
    let scenarios = Scenario::ALL.map(|scenario| (scenario.as_str(), scenario));
    let scenario = fields.required("scenario").and_then(|entry| reader.word(entry, &scenarios));
    let feature = fields.optional("feature");
    let plans = fields.optional("plans");
    let segments = fields.optional("segments");
    let audiences = fields.optional("audiences");
    let title = fields.required("title");
    let message = fields.required("message");
    let (texts, languages) = read_words(reader, &mut fields, (title, message));
    let variants = fields.optional("variants");
    let assign_by = fields.optional("assign_by");
    let holdout = fields.optional("holdout");
    let caps = fields.optional("caps");
    let cool_down = fields.optional("cool_down");
    let offer = fields.optional("offer");
    fields.end();
    let before = reader.count();
    let plans = read_names(reader, plans, "a list of plans");
    let segments = read_names(reader, segments, "a list of segments");
    let audiences = read_audiences(reader, audiences);
    let text = |entry: Option<Entry<'_>>| entry.and_then(|entry| reader.text(entry));
    let feature = text(feature);
    let is_clear = scenario.is_some() && before == reader.count();
    let offer = text(offer);
    let variants = read_variants(reader, variants);
    let caps = read_caps(reader, caps);
    let assign_by = assign_by.and_then(|entry| read_unit(reader, entry));
    let holdout_bp = holdout.and_then(|entry| reader.percent_bp(entry));
    let cool_down_ms = cool_down.and_then(|entry| read_span_ms(reader, entry));
    // Of a trial there may be a prompt about every feature, and it may be held back.
    let scenario = scenario.unwrap_or(Scenario::TrialEnding);
    let prompt = PromptSpec {
        feature,
        plans,
        segments,
        audiences,
        texts,
        languages,
        variants,
        assign_by: assign_by.unwrap_or(Unit::Account),
        holdout_bp: holdout_bp.unwrap_or(0),
        caps,
        cool_down_ms: cool_down_ms.unwrap_or(0),
        offer,
        ..PromptSpec::new(&name.unwrap_or_default(), scenario)
    };
    Some((prompt, is_clear))
}

fn read_audiences(reader: &Reader, entry: Option<Entry<'_>>) -> Vec<Audience> {
    let words = Audience::ALL.map(|audience| (audience.as_str(), audience));
    let what = "a list of audiences, as `[buyer]`";
    let items = entry.and_then(|entry| reader.list(entry, what));
    items.into_iter().flatten().filter_map(|item| reader.word(item, &words)).collect()
}

fn read_variants(reader: &Reader, entry: Option<Entry<'_>>) -> Vec<VariantSpec> {
    let what = "a list of variants, as `[{variant: bold, share: 50%}]`";
    let items = entry.and_then(|entry| reader.list(entry, what));
    items.into_iter().flatten().map(|item| read_variant(reader, item)).collect()
}

fn read_variant(reader: &Reader, entry: Entry<'_>) -> VariantSpec {
    let Some(mut fields) = reader.fields(entry, "a mapping with `variant` and `share`") else {
        let (variant, texts) = (String::new(), Texts::default());
        return VariantSpec { variant, share_bp: 1, texts, languages: Vec::new() };
    };
    let variant = fields.required("variant").and_then(|entry| reader.text(entry));
    let share = fields.required("share").and_then(|entry| reader.percent_bp(entry));
    let titles = (fields.optional("title"), fields.optional("message"));
    let (texts, languages) = read_words(reader, &mut fields, titles);
    fields.end();
    // The smallest share leaves room for all others.
    let (variant, share_bp) = (variant.unwrap_or_default(), share.unwrap_or(1));
    VariantSpec { variant, share_bp, texts, languages }
}

type Translations = Vec<(String, Texts)>;

/// The texts of a prompt or a variant, and their translations.
fn read_words(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    titles: (Option<Entry<'_>>, Option<Entry<'_>>),
) -> (Texts, Translations) {
    let texts = read_texts(reader, fields, titles);
    let read = |(tag, texts): (&str, Entry<'_>)| {
        let mut fields = reader.fields(texts, "a mapping with `title` and `message`")?;
        let titles = (fields.optional("title"), fields.optional("message"));
        let read = read_texts(reader, &mut fields, titles);
        fields.end();
        Some((tag.to_owned(), read))
    };
    let entries = fields.optional("languages");
    let entries = entries.and_then(|entry| reader.map(entry, "a mapping from languages to texts"));
    let entries = entries.unwrap_or_default().iter();
    (texts, entries.filter_map(|entry| read((&entry.0.text, Entry::of(entry)))).collect())
}

fn read_texts(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    (title, message): (Option<Entry<'_>>, Option<Entry<'_>>),
) -> Texts {
    let call_to_action = fields.optional("call_to_action");
    let url = fields.optional("url");
    let steps = fields.optional("steps");
    let read = |entry: Entry<'_>| reader.text(entry).unwrap_or_else(|| UNREAD.to_owned());
    let text = |entry: Option<Entry<'_>>| entry.map(read);
    let (title, message) = (text(title), text(message));
    let (call_to_action, url) = (text(call_to_action), text(url));
    let what = "a list of five templates";
    let items = steps.and_then(|entry| Some((entry, reader.list(entry, what)?)));
    let steps = items.map(|(entry, items)| {
        if items.len() == 0 {
            reader.note(Problem::at(entry.place(), "the long form has no step: leave it out"));
        }
        items.map(read).collect()
    });
    Texts { title, message, call_to_action, url, steps: steps.unwrap_or_default() }
}
