//! Prompts as the file has them, and what it says about all of them.

use std::collections::BTreeSet;

use headroom_core::catalog::{PromptSpec, PromptingSpec, Scenario};
use headroom_core::prompt::{Audience, Cap, Texts, Unit, VariantSpec};

use super::policy::read_span_ms;
use crate::config::problems::Problem;
use crate::config::reader::{Entry, Fields, Reader};

/// Reads what holds of all prompts. What cannot be read is as if it were not there.
pub(super) fn read_prompting(reader: &Reader, entry: Entry<'_>) -> Option<PromptingSpec> {
    let mut spec = PromptingSpec::default();
    let mut fields = reader.fields(entry, "a mapping, as `{languages: [de]}`")?;
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
    fields.end();
    spec.languages = read_names(reader, languages, "a list of languages, as `[de, fr]`")?;
    spec.caps = read_caps(reader, caps)?;
    spec.quiet = match quiet {
        Some(entry) => Some(read_quiet(reader, entry)?),
        None => None,
    };
    spec.trial_ending_ms = trial_ending.and_then(|entry| read_span_ms(reader, entry));
    if let Some(ms) = converts_within.and_then(|entry| read_span_ms(reader, entry)) {
        spec.conversion_ms = ms;
    }
    Some(spec)
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

fn read_caps(reader: &Reader, entry: Option<Entry<'_>>) -> Option<Vec<Cap>> {
    let Some(entry) = entry else { return Some(Vec::new()) };
    let what = "a list of caps, as `[{per: person, shown: 2, within: 7 days}]`";
    let read: Vec<Option<Cap>> =
        reader.list(entry, what)?.map(|item| read_cap(reader, item)).collect();
    read.into_iter().collect()
}

fn read_cap(reader: &Reader, entry: Entry<'_>) -> Option<Cap> {
    let mut fields = reader.fields(entry, "a mapping with `per`, `shown` and `within`")?;
    let per = fields.required("per").and_then(|entry| read_unit(reader, entry));
    let shown = fields.required("shown").and_then(|entry| reader.whole_number(entry, 1..=50));
    let within = fields.required("within").and_then(|entry| read_span_ms(reader, entry));
    fields.end();
    Some(Cap { per: per?, shown: u32::try_from(shown?).ok()?, within_ms: within? })
}

fn read_unit(reader: &Reader, entry: Entry<'_>) -> Option<Unit> {
    reader.word(entry, &[Unit::Account, Unit::Person].map(|unit| (unit.as_str(), unit)))
}

fn read_names(reader: &Reader, entry: Option<Entry<'_>>, what: &str) -> Option<Vec<String>> {
    let Some(entry) = entry else { return Some(Vec::new()) };
    let read: Vec<_> = reader.list(entry, what)?.map(|item| reader.text(item)).collect();
    read.into_iter().collect()
}

/// The prompts that could be read, and each one's place in the list.
pub(super) fn read_prompts(
    reader: &Reader,
    entry: Entry<'_>,
    unclear: &BTreeSet<String>,
) -> Option<(Vec<PromptSpec>, Vec<usize>)> {
    let items = reader.list(entry, "a list of prompts")?;
    let read = items.enumerate().filter_map(|(ix, item)| {
        let prompt = read_prompt(reader, item)?;
        let is_clear = prompt.feature.as_ref().is_none_or(|feature| !unclear.contains(feature));
        is_clear.then_some((prompt, ix))
    });
    Some(read.unzip())
}

fn read_prompt(reader: &Reader, entry: Entry<'_>) -> Option<PromptSpec> {
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
    // A key that is not there is one thing, a value that cannot be read another.
    let optional = |entry: Option<Entry<'_>>| match entry {
        Some(entry) => reader.text(entry).map(Some),
        None => Some(None),
    };
    let plans = read_names(reader, plans, "a list of plans");
    let segments = read_names(reader, segments, "a list of segments");
    let audiences = read_audiences(reader, audiences);
    let variants = read_variants(reader, variants);
    let caps = read_caps(reader, caps);
    let assign_by = assign_by.map_or(Some(Unit::Account), |entry| read_unit(reader, entry));
    let holdout_bp = holdout.map_or(Some(0), |entry| reader.percent_bp(entry));
    let cool_down_ms = cool_down.map_or(Some(0), |entry| read_span_ms(reader, entry));
    let (feature, offer) = (optional(feature), optional(offer));
    Some(PromptSpec {
        feature: feature?,
        plans: plans?,
        segments: segments?,
        audiences: audiences?,
        texts: texts?,
        languages: languages?,
        variants: variants?,
        assign_by: assign_by?,
        holdout_bp: holdout_bp?,
        caps: caps?,
        cool_down_ms: cool_down_ms?,
        offer: offer?,
        ..PromptSpec::new(&name?, scenario?)
    })
}

fn read_audiences(reader: &Reader, entry: Option<Entry<'_>>) -> Option<Vec<Audience>> {
    let Some(entry) = entry else { return Some(Vec::new()) };
    let words = Audience::ALL.map(|audience| (audience.as_str(), audience));
    let items = reader.list(entry, "a list of audiences, as `[buyer]`")?;
    let read: Vec<_> = items.map(|item| reader.word(item, &words)).collect();
    read.into_iter().collect()
}

fn read_variants(reader: &Reader, entry: Option<Entry<'_>>) -> Option<Vec<VariantSpec>> {
    let Some(entry) = entry else { return Some(Vec::new()) };
    let items = reader.list(entry, "a list of variants, as `[{variant: bold, share: 50%}]`")?;
    let read: Vec<_> = items.map(|item| read_variant(reader, item)).collect();
    read.into_iter().collect()
}

fn read_variant(reader: &Reader, entry: Entry<'_>) -> Option<VariantSpec> {
    let mut fields = reader.fields(entry, "a mapping with `variant` and `share`")?;
    let variant = fields.required("variant").and_then(|entry| reader.text(entry));
    let share = fields.required("share").and_then(|entry| reader.percent_bp(entry));
    let titles = (fields.optional("title"), fields.optional("message"));
    let (texts, languages) = read_words(reader, &mut fields, titles);
    fields.end();
    Some(VariantSpec { variant: variant?, share_bp: share?, texts: texts?, languages: languages? })
}

type Translations = Vec<(String, Texts)>;

/// The texts of a prompt or a variant, and their translations.
fn read_words(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    titles: (Option<Entry<'_>>, Option<Entry<'_>>),
) -> (Option<Texts>, Option<Translations>) {
    let texts = read_texts(reader, fields, titles);
    let Some(entry) = fields.optional("languages") else { return (texts, Some(Vec::new())) };
    let read = |(tag, texts): (&str, Entry<'_>)| {
        let mut fields = reader.fields(texts, "a mapping with `title` and `message`")?;
        let titles = (fields.optional("title"), fields.optional("message"));
        let read = read_texts(reader, &mut fields, titles);
        fields.end();
        Some((tag.to_owned(), read?))
    };
    let entries = reader.map(entry, "a mapping from languages to texts");
    let translations = entries.and_then(|entries| {
        let all: Vec<_> =
            entries.iter().map(|entry| read((&entry.0.text, Entry::of(entry)))).collect();
        all.into_iter().collect()
    });
    (texts, translations)
}

fn read_texts(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    (title, message): (Option<Entry<'_>>, Option<Entry<'_>>),
) -> Option<Texts> {
    let call_to_action = fields.optional("call_to_action");
    let url = fields.optional("url");
    let steps = fields.optional("steps");
    let text = |entry: Option<Entry<'_>>| match entry {
        Some(entry) => reader.text(entry).map(Some),
        None => Some(None),
    };
    let (title, message) = (text(title), text(message));
    let (call_to_action, url) = (text(call_to_action), text(url));
    let steps = match steps {
        Some(entry) => {
            let found = read_names(reader, Some(entry), "a list of five templates")?;
            if found.is_empty() {
                reader.note(Problem::at(entry.place(), "the long form has no step: leave it out"));
            }
            found
        }
        None => Vec::new(),
    };
    Some(Texts {
        title: title?,
        message: message?,
        call_to_action: call_to_action?,
        url: url?,
        steps,
    })
}
