//! Prompts: the catalog's templates, filled with the facts of a decision.
//!
//! A template is tried at check time with every combination of facts that can occur, so what a
//! running sidecar could trip over is refused with its place in the file. Which prompt fits a
//! decision is decided in the core; how it looks is decided by the product: this makes plain text.
//!
//! A crate of its own, because what it needs of templates and languages nothing else should have to
//! wait for. Nothing here reads a clock or a file, or waits: the instant and the zone are facts.

mod check;
mod facts;
mod filters;
mod format;
mod language;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use headroom_core::catalog::{CatalogSpec, PromptSpec, SpecProblem};
use headroom_core::prompt::{DueToday, STEPS, TextKey};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

pub use check::{TemplateProblem, check};
pub use facts::{Facts, LimitFacts, LimitReached};
pub use format::units as display_units;

use facts::Offer;
use language::Language;

/// Instructions that one template may take: hundreds of times what a paragraph needs. A template
/// above it is refused by the check.
const FUEL: u64 = 10_000;

/// Longest title and label; what is longer is cut, with `…` at the end.
const TITLE_CHARS_MAX: usize = 200;

/// Longest message; what is longer is cut, with `…` at the end.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// Longest address. Half an address leads nowhere, so a longer one is an error.
const URL_BYTES_MAX: usize = 2_048;

/// Longest value inserted in one place, before the text as a whole is cut.
const VALUE_CHARS_MAX: usize = 200;

/// What one decision's prompt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line, never empty.
    pub title: String,
    /// One paragraph.
    pub message: String,
    /// The label of the action; may be empty.
    pub call_to_action: String,
    /// Where the action leads; may be empty. Else it is absolute (`https`, `http`, `mailto`), or a
    /// path.
    pub url: String,
    /// The long form: five steps, or none where a fact of the account that one of them is about is
    /// not known.
    pub steps: Vec<String>,
    /// The facts that the texts were made from, as they were shown, by name.
    pub facts: Vec<(&'static str, String)>,
    /// What going over to the plan offered costs now, where that can be said.
    pub due_today: Option<DueToday>,
}

/// Which words of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wording<'a> {
    /// The place of a variant in the prompt's list. `None`: the prompt's own words.
    pub variant: Option<usize>,
    /// A language of the catalog's list. `None`: the catalog's own.
    pub language: Option<&'a str>,
}

/// The compiled prompts of one catalog.
#[derive(Debug)]
pub struct Renderer {
    // The catalog's own first.
    voices: Vec<Voice>,
    prompts: Vec<Compiled>,
}

/// A language, with the templates that are said in it.
#[derive(Debug)]
struct Voice {
    language: Arc<Language>,
    texts: Environment<'static>,
    // Values inserted into addresses are percent-encoded, so they need other rules of output.
    urls: Environment<'static>,
}

#[derive(Debug)]
struct Compiled {
    offer: Option<Offer>,
}

/// Why a prompt could not be rendered, which the check of the catalog makes unlikely.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The catalog has no prompt at this place.
    #[error("there is no prompt at place {0}")]
    UnknownPrompt(usize),
    /// A template failed.
    #[error(transparent)]
    Template(#[from] Error),
}

impl Renderer {
    /// Compiles and tries all templates. `spec` has passed the check of the core.
    ///
    /// # Errors
    /// Everything that is wrong with a template or a language.
    pub fn compile(spec: &CatalogSpec) -> Result<Renderer, Vec<SpecProblem>> {
        let problems = check(spec);
        if problems.is_empty() {
            return Ok(Renderer::compile_unchecked(spec));
        }
        Err(problems.into_iter().map(SpecProblem::from).collect())
    }

    /// Templates that do not compile, and languages that are none, are left out.
    fn compile_unchecked(spec: &CatalogSpec) -> Renderer {
        let own = &spec.prompting.language;
        // Where even the catalog's own is none, the check has said so; numbers look English then.
        let first = Language::new(own).or_else(|| Language::new("en-GB"));
        let others = spec.prompting.languages.iter().filter_map(|tag| Language::new(tag));
        // Without prompts no language is needed, so none is loaded.
        let all = first.into_iter().chain(others).filter(|_| !spec.prompts.is_empty());
        let mut voices: Vec<Voice> = all.map(Voice::new).collect();
        let mut prompts = Vec::with_capacity(spec.prompts.len());
        for (ix, prompt) in spec.prompts.iter().enumerate() {
            for (place, voice) in voices.iter_mut().enumerate() {
                let tag = voice.language.tag().to_owned();
                let language = (place > 0).then_some(tag.as_str());
                voice.learn(ix, prompt, language);
            }
            let offer = prompt.offer.as_deref().and_then(|plan| Offer::of(spec, plan));
            prompts.push(Compiled { offer });
        }
        Renderer { voices, prompts }
    }

    fn voice(&self, language: Option<&str>) -> Option<&Voice> {
        let wanted = |voice: &&Voice| language == Some(voice.language.tag());
        self.voices.iter().skip(1).find(wanted).or_else(|| self.voices.first())
    }

    /// The texts of the prompt at place `ix` of its catalog.
    ///
    /// A decision without its prompt is better than none, so a caller goes on without one after an
    /// error, and says so to the operator.
    ///
    /// # Errors
    /// When there is no such prompt, or a template fails.
    pub fn render(
        &self,
        ix: usize,
        wording: Wording<'_>,
        facts: &Facts<'_>,
    ) -> Result<Rendered, RenderError> {
        let compiled = self.prompts.get(ix).ok_or(RenderError::UnknownPrompt(ix))?;
        let voice = self.voice(wording.language).ok_or(RenderError::UnknownPrompt(ix))?;
        let values = facts.values(compiled.offer.as_ref(), &voice.language);
        let context = facts.context(&values);
        let text = |key| voice.render(&name(ix, wording.variant, key), key, &context);
        Ok(Rendered {
            title: text(TextKey::Title)?,
            message: text(TextKey::Message)?,
            call_to_action: text(TextKey::CallToAction)?,
            url: text(TextKey::Url)?,
            steps: voice.steps((ix, wording.variant), facts, &context)?,
            facts: facts::shown(values),
            due_today: compiled.offer.as_ref().and_then(|offer| offer.due_today(facts)),
        })
    }
}

/// What a template is called in its language.
fn name(prompt: usize, variant: Option<usize>, key: TextKey) -> String {
    match variant {
        None => format!("{prompt}/{}", key.as_str()),
        Some(variant) => format!("{prompt}/{variant}/{}", key.as_str()),
    }
}

fn step_name(prompt: usize, variant: Option<usize>, step: usize) -> String {
    let variant = variant.map_or_else(|| "-".to_owned(), |variant| variant.to_string());
    format!("{prompt}/{variant}/steps/{step}")
}

impl Voice {
    fn new(language: Language) -> Voice {
        let language = Arc::new(language);
        let (texts, urls) =
            (environment(write_text, &language), environment(write_encoded, &language));
        Voice { language, texts, urls }
    }

    /// Where the templates of a key are kept.
    fn environment(&self, key: TextKey) -> &Environment<'static> {
        if key == TextKey::Url { &self.urls } else { &self.texts }
    }

    /// Compiles what a prompt says in the language. A template with a fault is noted by the check,
    /// which compiles it once more.
    fn learn(&mut self, ix: usize, prompt: &PromptSpec, language: Option<&str>) {
        let variants = (0..prompt.variants.len()).map(Some);
        for variant in [None].into_iter().chain(variants) {
            for key in TextKey::ALL {
                let source = prompt.text(key, variant, language).to_owned();
                let known = if key == TextKey::Url { &mut self.urls } else { &mut self.texts };
                let _ = known.add_template_owned(name(ix, variant, key), source);
            }
            for (step, source) in prompt.steps(variant, language).iter().enumerate() {
                let name = step_name(ix, variant, step);
                let _ = self.texts.add_template_owned(name, source.clone());
            }
        }
    }

    fn render(&self, name: &str, key: TextKey, context: &Value) -> Result<String, Error> {
        finish(key, &self.environment(key).get_template(name)?.render(context.clone())?)
    }

    /// The long form. Five steps or none: a story with a hole in it convinces nobody.
    fn steps(
        &self,
        (prompt, variant): (usize, Option<usize>),
        facts: &Facts<'_>,
        context: &Value,
    ) -> Result<Vec<String>, Error> {
        let mut steps = Vec::new();
        for step in 0..STEPS {
            let Ok(template) = self.texts.get_template(&step_name(prompt, variant, step)) else {
                return Ok(Vec::new());
            };
            let named = template.undeclared_variables(true);
            let mut own = named.iter().filter_map(|name| name.strip_prefix("facts."));
            if !own.all(|name| facts.tells(name)) {
                return Ok(Vec::new());
            }
            steps.push(tidy(&template.render(context.clone())?, MESSAGE_CHARS_MAX));
        }
        Ok(steps)
    }
}

/// A text as it leaves.
fn finish(key: TextKey, text: &str) -> Result<String, Error> {
    match key {
        TextKey::Title | TextKey::CallToAction => Ok(tidy(text, TITLE_CHARS_MAX)),
        TextKey::Message => Ok(tidy(text, MESSAGE_CHARS_MAX)),
        TextKey::Url => url(text.trim()),
    }
}

type Formatter = fn(&mut minijinja::Output<'_>, &Value) -> std::fmt::Result;

fn environment(write: Formatter, language: &Arc<Language>) -> Environment<'static> {
    let mut environment = Environment::new();
    // An absent fact may be asked about (`{% if reaches_limit_on %}`), never printed.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    filters::add(&mut environment, language);
    environment.set_formatter(move |out, _, value| {
        write(out, value).map_err(|_| Error::from(ErrorKind::WriteFailure))
    });
    environment
}

/// A value as text: what could be read as markup, and what cannot be seen, is left out.
fn plain(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => String::new(),
        _ => {
            // A new line in a name is a space, whatever it is called.
            let visible =
                value.to_string().replace(|c: char| c.is_control() && c.is_whitespace(), " ");
            visible.chars().filter(|c| is_plain(*c)).take(VALUE_CHARS_MAX).collect()
        }
    }
}

fn write_text(out: &mut minijinja::Output<'_>, value: &Value) -> std::fmt::Result {
    out.write_str(&plain(value))
}

fn write_encoded(out: &mut minijinja::Output<'_>, value: &Value) -> std::fmt::Result {
    for byte in plain(value).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.write_char(char::from(byte))?;
            }
            _ => write!(out, "%{byte:02X}")?,
        }
    }
    Ok(())
}

fn is_plain(c: char) -> bool {
    let is_markup = matches!(c, '<' | '>');
    // Marks that turn the direction of text round, and others without a shape of their own.
    let is_hidden = matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !(is_markup || is_hidden || c.is_control() && !c.is_whitespace())
}

/// One paragraph: runs of white space become one space, control characters go, the end is cut.
fn tidy(text: &str, chars_max: usize) -> String {
    let mut tidied = String::with_capacity(text.len());
    let visible = text.replace(|c: char| c.is_control() && !c.is_whitespace(), "");
    // Spaces at which no line breaks are parts of a number or a date, and stay.
    let breaks = |c: char| c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{202f}');
    for word in visible.split(breaks).filter(|word| !word.is_empty()) {
        if !tidied.is_empty() {
            tidied.push(' ');
        }
        tidied.push_str(word);
    }
    if let Some((end, _)) = tidied.char_indices().nth(chars_max) {
        let keep = tidied[..end].char_indices().next_back().map_or(0, |(last, _)| last);
        tidied.truncate(keep);
        tidied.push('…');
    }
    tidied
}

fn url(text: &str) -> Result<String, Error> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let is_absolute = ["https://", "http://", "mailto:"].iter().any(|s| text.starts_with(s));
    let refuse = |why: &'static str| Err(Error::new(ErrorKind::InvalidOperation, why));
    if text.is_empty() {
        Ok(String::new())
    } else if text.len() > URL_BYTES_MAX {
        refuse("the address is longer than 2048 bytes")
    } else if !is_path && !is_absolute {
        refuse("an address begins with https://, http://, mailto: or /")
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        refuse("an address has no spaces")
    } else {
        Ok(text.to_owned())
    }
}
