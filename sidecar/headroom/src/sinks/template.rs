//! Templates of requests: an operator's texts, filled with a signal's facts.
//!
//! What is inserted can never break out of its place. A body is a tree whose leaves alone are
//! templates, so that a value is a JSON value whatever is in it; in an address everything but
//! letters, digits and four marks is encoded; in a header everything that is not printable ASCII
//! is.

use std::fmt::{self, Write as _};

use http::uri::Authority;
use http::{HeaderValue, Uri};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::Value as Json;

/// Instructions that one template may take: hundreds of times what a field needs.
const FUEL: u64 = 20_000;

/// Longest text that one template makes. A longer one is an error.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Renders templates, each kind of place in its own way.
pub(crate) struct Templates {
    texts: Environment<'static>,
    urls: Environment<'static>,
    headers: Environment<'static>,
}

impl Templates {
    pub(crate) fn new() -> Templates {
        Templates {
            texts: environment(|out, text| out.write_str(text)),
            urls: environment(write_encoded),
            headers: environment(write_visible),
        }
    }

    /// A text.
    pub(crate) fn text(&self, template: &str, facts: &Value) -> Result<String, String> {
        render(&self.texts, template, facts)
    }

    /// The tree of a body, with every text in it rendered. A text that is one `{{ … }}` and nothing
    /// else becomes what the expression is: a number stays a number.
    pub(crate) fn tree(&self, tree: &Json, facts: &Value) -> Result<Json, String> {
        Ok(match tree {
            Json::Null | Json::Bool(_) | Json::Number(_) => tree.clone(),
            Json::String(template) => match expression(template) {
                Some(expression) => self.value(expression, facts)?,
                None => Json::String(self.text(template, facts)?),
            },
            Json::Array(items) => {
                items.iter().map(|item| self.tree(item, facts)).collect::<Result<_, _>>()?
            }
            Json::Object(entries) => {
                let entry = |(key, item): (&String, &Json)| {
                    Ok::<_, String>((key.clone(), self.tree(item, facts)?))
                };
                Json::Object(entries.iter().map(entry).collect::<Result<_, _>>()?)
            }
        })
    }

    fn value(&self, expression: &str, facts: &Value) -> Result<Json, String> {
        let compiled = self.texts.compile_expression(expression).map_err(|error| told(&error))?;
        let value = compiled.eval(facts.clone()).map_err(|error| told(&error))?;
        if value.is_undefined() {
            return Err(format!("`{expression}` is not there; `| default(…)` says what else"));
        }
        serde_json::to_value(&value).map_err(|error| error.to_string())
    }

    /// The names that a template uses. `None`: it cannot be read.
    pub(crate) fn names(&self, template: &str) -> Option<Vec<String>> {
        let read = self.texts.template_from_str(template).ok()?;
        let mut names: Vec<String> = read.undeclared_variables(false).into_iter().collect();
        names.sort_unstable();
        Some(names)
    }

    /// Whether this is an expression at all.
    pub(crate) fn check(&self, expression: &str) -> Result<(), String> {
        self.texts.compile_expression(expression).map(drop).map_err(|error| told(&error))
    }

    /// Whether an expression is true.
    pub(crate) fn is_true(&self, expression: &str, facts: &Value) -> Result<bool, String> {
        let compiled = self.texts.compile_expression(expression).map_err(|error| told(&error))?;
        Ok(compiled.eval(facts.clone()).map_err(|error| told(&error))?.is_true())
    }

    /// An address, whose host is the one that was written.
    pub(crate) fn url(
        &self,
        template: &str,
        host: &Authority,
        facts: &Value,
    ) -> Result<Uri, String> {
        let text = render(&self.urls, template, facts)?;
        let url: Uri = text.parse().map_err(|_| "this makes no address".to_owned())?;
        if url.authority() != Some(host) {
            return Err("the host of an address cannot come from a template".to_owned());
        }
        // Servers take such a part for a step upwards, encoded or not.
        let is_dots = |part: &str| {
            let plain = part.to_ascii_lowercase().replace("%2e", ".");
            plain == "." || plain == ".."
        };
        if url.path().split('/').any(is_dots) {
            return Err("a part of the address would be nothing but dots".to_owned());
        }
        Ok(url)
    }

    /// The value of a header.
    pub(crate) fn header(&self, template: &str, facts: &Value) -> Result<HeaderValue, String> {
        let text = render(&self.headers, template, facts)?;
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "the value has characters that no header can have".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The expression of a text that is nothing else.
fn expression(template: &str) -> Option<&str> {
    let inner = template.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let is_one = !["{{", "}}", "{%", "{#"].iter().any(|mark| inner.contains(mark));
    is_one.then(|| inner.trim_matches('-').trim())
}

fn render(environment: &Environment<'_>, template: &str, facts: &Value) -> Result<String, String> {
    let text = environment.render_str(template, facts.clone()).map_err(|error| told(&error))?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("a template made {} bytes, at most {TEXT_BYTES_MAX}", text.len()));
    }
    Ok(text)
}

/// What is wrong, without the template: it may hold what is secret.
fn told(error: &Error) -> String {
    match error.kind() {
        ErrorKind::UndefinedError => {
            "a value is not there for every signal; `| default(…)` says what else".to_owned()
        }
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    }
}

type Writer = fn(&mut minijinja::Output<'_>, &str) -> fmt::Result;

fn environment(write: Writer) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(move |out, _, value| {
        let text = match value.kind() {
            ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
            ValueKind::None => String::new(),
            _ => value.to_string(),
        };
        write(out, &text).map_err(|_| Error::from(ErrorKind::WriteFailure))
    });
    environment
}

/// Everything but what an address never gives a meaning.
fn write_encoded(out: &mut minijinja::Output<'_>, text: &str) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.write_char(char::from(byte))?;
            }
            _ => write!(out, "%{byte:02X}")?,
        }
    }
    Ok(())
}

fn write_visible(out: &mut minijinja::Output<'_>, text: &str) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            0x20..=0x7e => out.write_char(char::from(byte))?,
            _ => write!(out, "%{byte:02X}")?,
        }
    }
    Ok(())
}

/// Fields of a form, encoded.
pub(crate) fn form<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        push_form(&mut text, name);
        text.push('=');
        push_form(&mut text, &value);
    }
    text.into_bytes()
}

fn push_form(to: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => {
                to.push(char::from(byte));
            }
            b' ' => to.push('+'),
            _ => {
                let _ = write!(to, "%{byte:02X}"); // A text takes everything.
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use minijinja::value::Serde;

    use super::*;

    /// Everything that has a meaning somewhere.
    const NASTY: &str = "\"},{\"x\":1 \r\nX-Evil: 1\n{{ secrets }} ../..?a=b&c#d%00\\u0000 é\u{0}";

    fn facts() -> Value {
        Value::from(Serde(json!({ "account": NASTY, "dots": "..", "n": 7, "list": [1, "a"] })))
    }

    #[test]
    fn a_value_stays_in_its_place_in_a_body() {
        let tree = json!({
            "a": "{{ account }}",
            "b": ["x {{ account }} y"],
            "n": "{{ n }}",
            "t": "{{ n }}.",
            "s": "{{ n | string }}",
            "l": "{{ list }}",
            "fixed": [null, true, 1],
        });
        let made = Templates::new().tree(&tree, &facts()).unwrap();
        let expected = json!({
            "a": NASTY,
            "b": [format!("x {NASTY} y")],
            "n": 7,
            "t": "7.",
            "s": "7",
            "l": [1, "a"],
            "fixed": [null, true, 1],
        });
        assert_eq!(made, expected);
        // And as bytes.
        let bytes = serde_json::to_vec(&made).unwrap();
        assert_eq!(serde_json::from_slice::<Json>(&bytes).unwrap(), expected);
    }

    #[test]
    fn a_value_stays_in_its_place_in_an_address() {
        let templates = Templates::new();
        let host = Authority::from_static("x.test");
        let url = |template: &str| templates.url(template, &host, &facts());
        let made = url("https://x.test/a/{{ account }}/b?q={{ account }}").unwrap();
        assert_eq!(made.host(), Some("x.test"));
        assert!(made.path().starts_with("/a/%22%7D%2C") && made.path().ends_with("%00/b"));
        assert_eq!(made.path().matches('/').count(), 3);
        let query = made.query().unwrap();
        assert!(query.starts_with("q=%22") && !query.contains(['&', '#', ' ']), "{query}");
        for dots in ["https://x.test/a/{{ dots }}/b", "https://x.test/{{ dots }}"] {
            assert!(url(dots).unwrap_err().contains("nothing but dots"), "{dots}");
        }
        assert!(url("https://x.test{{ account }}/").is_err());
        assert!(url("https://{{ account }}/").is_err());
        assert!(url("https://x.test.{{ n }}/").unwrap_err().contains("the host of an address"));
    }

    #[test]
    fn a_value_stays_in_its_place_in_a_header() {
        let templates = Templates::new();
        let value = templates.header("a {{ account }}", &facts()).unwrap();
        let text = value.to_str().unwrap();
        assert!(text.contains("%0D%0AX-Evil: 1%0A{{ secrets }}") && text.ends_with("%C3%A9%00"));
        assert!(templates.header("a\nb", &facts()).is_err());
    }

    #[test]
    fn a_value_stays_in_its_place_in_a_form() {
        let made = form([("payload[value]", "1 &a=b".to_owned()), ("é", NASTY.to_owned())]);
        let made = String::from_utf8(made).unwrap();
        assert!(made.starts_with("payload%5Bvalue%5D=1+%26a%3Db&%C3%A9=%22%7D%2C"), "{made}");
        assert_eq!(made.matches('&').count(), 1);
    }

    #[test]
    fn what_is_not_there_is_an_error_and_a_loop_ends() {
        let templates = Templates::new();
        for tree in [json!("{{ nope }}"), json!("a {{ nope }}"), json!("{{ nope.nope }}")] {
            let error = templates.tree(&tree, &facts()).unwrap_err();
            assert!(error.contains("| default("), "{error}");
        }
        assert_eq!(templates.tree(&json!("{{ nope | default(n) }}"), &facts()).unwrap(), json!(7));
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(templates.text(endless, &facts()).unwrap_err().contains("fuel"));
        assert!(templates.text("{{ account", &facts()).is_err());
        let long = "{% for a in range(2000) %}{{ account }}{% endfor %}";
        assert!(templates.text(long, &facts()).unwrap_err().contains("at most"));
        assert!(templates.is_true("n == 7 and list[1] == 'a'", &facts()).unwrap());
    }
}
