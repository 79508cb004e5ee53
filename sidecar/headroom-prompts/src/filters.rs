//! What templates can do with values: `plural`, `grouped`, `money` and `date`, each as the language
//! of the template has it.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};

use super::facts::Number;
use super::language::Language;

/// Adds the filters of a language.
pub(super) fn add(environment: &mut Environment<'static>, language: &Arc<Language>) {
    let speaker = Arc::clone(language);
    environment.add_filter("grouped", move |value: Value| grouped(&speaker, value));
    let speaker = Arc::clone(language);
    environment
        .add_filter("plural", move |value: Value, forms: Kwargs| plural(&speaker, &value, &forms));
    let speaker = Arc::clone(language);
    environment
        .add_filter("money", move |value: Value, currency: &str| money(&speaker, value, currency));
    let speaker = Arc::clone(language);
    environment.add_filter("date", move |value: Value| date(&speaker, value));
}

/// `1234567` as `1,234,567`; what is no whole number stays as it is.
fn grouped(language: &Language, value: Value) -> Value {
    match value.as_i64() {
        Some(number) if value.is_integer() => Value::from(language.number(number)),
        _ => value,
    }
}

/// The form that a number takes: `{{ used|plural(one="seat", other="seats") }}`. All forms of the
/// language must be there, whatever the number, so that the check finds one that is missing.
fn plural(language: &Language, value: &Value, forms: &Kwargs) -> Result<Value, Error> {
    let mut found = None;
    let number = Number::decimal(value);
    // A fact that nobody told us has the form of many.
    let wanted = number.map_or("other", |number| language.plural(&number));
    for form in language.plurals() {
        let text: Option<Value> = forms.get(form)?;
        if text.is_none() {
            let tag = language.tag();
            let what = format!("`plural` has no form `{form}`, which `{tag}` needs");
            return Err(Error::new(ErrorKind::MissingArgument, what));
        }
        if form == wanted {
            found = text;
        }
    }
    forms.assert_all_used()?;
    found.ok_or_else(|| Error::new(ErrorKind::MissingArgument, "`plural` has no form `other`"))
}

/// Minor units as an amount: `{{ facts.saved_minor|money("USD") }}`.
fn money(language: &Language, value: Value, currency: &str) -> Value {
    match value.as_i64().and_then(|minor| u64::try_from(minor).ok()) {
        Some(minor) if value.is_integer() => Value::from(language.money(minor, currency)),
        _ => value,
    }
}

/// A day, or the day of an instant in UTC: `{{ facts.renews_on|date }}`. What is neither stays as
/// it is.
fn date(language: &Language, value: Value) -> Value {
    let day = value.as_str().and_then(|text| {
        let instant = || text.parse::<Timestamp>().ok();
        let of_instant = || Some(instant()?.to_zoned(jiff::tz::TimeZone::UTC).date());
        text.parse::<Date>().ok().filter(|_| text.len() == 10).or_else(of_instant)
    });
    match day.and_then(|day| language.day(day, false)) {
        Some(text) => Value::from(text),
        None => value,
    }
}
