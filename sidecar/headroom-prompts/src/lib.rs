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
mod format;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use headroom_core::catalog::{CatalogSpec, PromptSpec, SpecProblem};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

pub use check::{TemplateProblem, check};
pub use facts::{Facts, LimitFacts, LimitReached};
pub use format::units as display_units;

use facts::Offer;

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
    /// The facts that the texts were made from, as they were shown, by name.
    pub facts: Vec<(&'static str, String)>,
}

/// The four templates of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Title,
    Message,
    CallToAction,
    Url,
}

impl Field {
    const ALL: [Field; 4] = [Field::Title, Field::Message, Field::CallToAction, Field::Url];

    /// The key in the catalog.
    fn key(self) -> &'static str {
        match self {
            Field::Title => "title",
            Field::Message => "message",
            Field::CallToAction => "call_to_action",
            Field::Url => "url",
        }
    }

    fn source(self, prompt: &PromptSpec) -> &str {
        match self {
            Field::Title => &prompt.title,
            Field::Message => &prompt.message,
            Field::CallToAction => &prompt.call_to_action,
            Field::Url => &prompt.url,
        }
    }

    fn name(self, prompt_ix: usize) -> String {
        format!("{prompt_ix}/{}", self.key())
    }
}

/// The compiled prompts of one catalog.
#[derive(Debug)]
pub struct Renderer {
    texts: Environment<'static>,
    // Values inserted into addresses are percent-encoded, so they need other rules of output.
    urls: Environment<'static>,
    prompts: Vec<Compiled>,
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
    pub fn compile(spec: &CatalogSpec) -> Result<Renderer, Vec<SpecProblem>> {
        let problems = check(spec);
        if problems.is_empty() {
            return Ok(Renderer::compile_unchecked(spec));
        }
        Err(problems.into_iter().map(SpecProblem::from).collect())
    }

    /// Templates that do not compile are left out.
    fn compile_unchecked(spec: &CatalogSpec) -> Renderer {
        let mut texts = environment(write_text);
        let mut urls = environment(write_encoded);
        let mut prompts = Vec::with_capacity(spec.prompts.len());
        for (ix, prompt) in spec.prompts.iter().enumerate() {
            for field in Field::ALL {
                let environment = if field == Field::Url { &mut urls } else { &mut texts };
                let source = field.source(prompt).to_owned();
                // A template with a fault is noted by the check, which compiles it once more.
                let _ = environment.add_template_owned(field.name(ix), source);
            }
            let offer = prompt.offer.as_deref().and_then(|plan| Offer::of(spec, plan));
            prompts.push(Compiled { offer });
        }
        Renderer { texts, urls, prompts }
    }

    /// The texts of the prompt at place `ix` of its catalog.
    ///
    /// A decision without its prompt is better than none, so a caller goes on without one after an
    /// error, and says so to the operator.
    pub fn render(&self, ix: usize, facts: &Facts<'_>) -> Result<Rendered, RenderError> {
        let compiled = self.prompts.get(ix).ok_or(RenderError::UnknownPrompt(ix))?;
        let values = facts.values(compiled.offer.as_ref());
        let context = facts.context(&values);
        let [title, message, call_to_action, url] = self.render_all(ix, &context)?;
        Ok(Rendered { title, message, call_to_action, url, facts: facts::shown(values) })
    }

    fn render_all(&self, ix: usize, context: &Value) -> Result<[String; 4], Error> {
        Ok([
            self.render_field(ix, Field::Title, context)?,
            self.render_field(ix, Field::Message, context)?,
            self.render_field(ix, Field::CallToAction, context)?,
            self.render_field(ix, Field::Url, context)?,
        ])
    }

    fn render_field(&self, ix: usize, field: Field, context: &Value) -> Result<String, Error> {
        let environment = if field == Field::Url { &self.urls } else { &self.texts };
        let text = environment.get_template(&field.name(ix))?.render(context.clone())?;
        match field {
            Field::Title | Field::CallToAction => Ok(tidy(&text, TITLE_CHARS_MAX)),
            Field::Message => Ok(tidy(&text, MESSAGE_CHARS_MAX)),
            Field::Url => url(text.trim()),
        }
    }
}

type Formatter = fn(&mut minijinja::Output<'_>, &Value) -> std::fmt::Result;

fn environment(write: Formatter) -> Environment<'static> {
    let mut environment = Environment::new();
    // An absent fact may be asked about (`{% if reaches_limit_on %}`), never printed.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("grouped", grouped);
    environment.set_formatter(move |out, _, value| {
        write(out, value).map_err(|_| Error::from(ErrorKind::WriteFailure))
    });
    environment
}

/// `1234567` as `1,234,567`; what is no whole number stays as it is.
fn grouped(value: Value) -> Value {
    match value.as_i64() {
        Some(number) if value.is_integer() => Value::from(format::grouped(number)),
        _ => value,
    }
}

/// A value as text: what could be read as markup, and what cannot be seen, is left out.
fn plain(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => String::new(),
        _ => value.to_string().chars().filter(|c| is_plain(*c)).take(VALUE_CHARS_MAX).collect(),
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
    for word in visible.split_whitespace() {
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
