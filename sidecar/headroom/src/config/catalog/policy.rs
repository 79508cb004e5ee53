//! What happens at a limit, as the file says it: `block`, `overage`, `unlimited`, or a mapping with
//! the terms of grace or overage.

use headroom_core::catalog::Policy;
use headroom_core::limits::{GRACE_TIMES_MAX, UNITS_MAX};
use headroom_core::policy::{GraceTerms, GraceTimes, LimitTerms, NANOS_PER_MINOR, OverageTerms};

use crate::config::problems::closest;
use crate::config::reader::{Entry, Reader};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// How long before its end a grace is announced when the catalog does not say: a day is enough for
/// whoever buys to see it at work. Of a grace shorter than two days, half.
const DEFAULT_NOTICE_MS: i64 = DAY_MS;

/// Stands in for a length of grace that cannot be read: a year.
const LATEST_MS: i64 = 366 * DAY_MS;

const FORMS: &str =
    "`block`, `{grace: 10%}`, `{grace: {up_to: 10%, for: 3 days}}`, `overage` or `unlimited`";

/// The policy and the terms of a limit.
pub(super) fn read_policy(reader: &Reader, entry: Entry<'_>) -> Option<(Policy, LimitTerms)> {
    let plain = |policy| Some((policy, LimitTerms::default()));
    match entry.scalar() {
        Some("block") => plain(Policy::Block),
        Some("overage") => plain(Policy::Overage),
        Some("unlimited") => plain(Policy::Unlimited),
        Some("grace") => {
            reader.note_at(entry, "how much grace? write `policy: {grace: 10%}`");
            None
        }
        Some(word) => {
            let message = format!("`policy` must be {FORMS}, found `{word}`");
            let words = ["block", "grace", "overage", "unlimited"];
            reader.note_word(entry, message, word, words);
            None
        }
        None => read_terms(reader, entry),
    }
}

/// A policy with its terms.
fn read_terms(reader: &Reader, entry: Entry<'_>) -> Option<(Policy, LimitTerms)> {
    const KEYS: [&str; 2] = ["grace", "overage"];
    let keys = reader.map(entry, FORMS)?;
    let is_meant = |key: &str| KEYS.contains(&key) || closest(key, KEYS).is_some();
    if !keys.iter().any(|(key, _)| is_meant(&key.text)) {
        let found = keys.first().map_or("{}".to_owned(), |(key, _)| format!("{{{}: …}}", key.text));
        reader.note_at(entry, format!("`policy` must be {FORMS}, found `{found}`"));
        return None;
    }
    let mut fields = reader.fields(entry, FORMS)?;
    let overage = fields.optional("overage");
    let grace = fields.optional("grace");
    fields.end();
    let grace = grace.and_then(|grace| read_grace(reader, grace));
    let priced = overage.and_then(|overage| read_overage(reader, overage));
    if grace.is_some() && overage.is_some() {
        reader.note_at(entry, "`policy` is either `grace` or `overage`, not both");
        return None;
    }
    priced.or(grace)
}

/// Whether debt is carried into the next window.
pub(super) fn read_debt(reader: &Reader, entry: Entry<'_>) -> Option<bool> {
    reader.word(entry, &[("forgive", false), ("carry", true)])
}

fn read_grace(reader: &Reader, entry: Entry<'_>) -> Option<(Policy, LimitTerms)> {
    if entry.scalar().is_some() {
        let grace_bp = reader.percent_bp(entry)?;
        return Some((Policy::Grace { grace_bp }, LimitTerms::default()));
    }
    let what = "a percentage, or a mapping with `up_to` and `for`";
    let mut fields = reader.fields(entry, what)?;
    let up_to = fields.optional("up_to");
    let lasts = fields.optional("for");
    let notice = fields.optional("notice");
    let times = fields.optional("times");
    fields.end();
    if up_to.is_none() && lasts.is_none() {
        reader.note_at(entry, "how much grace? give `up_to: 10%`, or `for: 3 days`, or both");
    }
    // What cannot be read is such that nothing else is wrong with it: a grace that ends, late, and may be used.
    let lasts_ms = lasts.map(|entry| read_span_ms(reader, entry).unwrap_or(LATEST_MS));
    let notice_ms = notice.and_then(|entry| {
        let notice_ms = read_span_ms(reader, entry);
        if lasts.is_none() && up_to.is_some() {
            reader.note_at(entry, "`notice` comes before a grace ends by time: give `for`, too");
        }
        notice_ms.filter(|_| lasts.is_some())
    });
    let once = GraceTimes { times: 1, months: 12 };
    let times = times.map(|entry| read_times(reader, entry).unwrap_or(once));
    let grace_bp = match (up_to, lasts) {
        (None, Some(_)) => Policy::GRACE_BY_TIME_ALONE,
        (up_to, _) => up_to.and_then(|entry| reader.percent_bp(entry)).unwrap_or(1_000),
    };
    let policy = Policy::Grace { grace_bp };
    if lasts_ms.is_none() && times.is_none() {
        return Some((policy, LimitTerms::default()));
    }
    let default_ms = lasts_ms.map_or(0, |ms| DEFAULT_NOTICE_MS.min(ms / 2));
    let notice_ms = notice_ms.unwrap_or(default_ms);
    let grace = Some(GraceTerms { lasts_ms, notice_ms, times });
    Some((policy, LimitTerms { grace, ..LimitTerms::default() }))
}

fn read_overage(reader: &Reader, entry: Entry<'_>) -> Option<(Policy, LimitTerms)> {
    let what = "a mapping with `unit_price_minor`, `currency` and perhaps `cap_minor`";
    let mut fields = reader.fields(entry, what)?;
    let price = fields.required("unit_price_minor").and_then(|entry| read_price(reader, entry));
    let currency = fields.required("currency").and_then(|entry| reader.text(entry));
    let cap = fields.optional("cap_minor");
    fields.end();
    let cap_minor = cap.map(|entry| reader.whole_number(entry, 1..=UNITS_MAX).unwrap_or(UNITS_MAX));
    // The smallest price stands in for one that is none: a cap pays for something then.
    let unit_price_nanos = price.unwrap_or(1);
    let currency = currency.unwrap_or_default().into();
    let overage = OverageTerms { unit_price_nanos, currency, cap_minor };
    let terms = LimitTerms { overage: Some(overage), ..LimitTerms::default() };
    Some((Policy::Overage, terms))
}

/// A price in billionths of a minor unit.
fn read_price(reader: &Reader, entry: Entry<'_>) -> Option<u64> {
    let text = reader.text(entry)?;
    let nanos = price_nanos(&text);
    if nanos.is_none() {
        let message = format!(
            "`{text}` is not a price in minor units, write it as `0.2`; at most nine decimal places"
        );
        reader.note_at(entry, message);
    }
    nanos
}

fn price_nanos(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) || part.len() > 9 {
        return None;
    }
    let part: u64 = format!("{part:0<9}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(NANOS_PER_MINOR)?.checked_add(part)
}

pub(super) fn read_span_ms(reader: &Reader, entry: Entry<'_>) -> Option<i64> {
    let text = reader.text(entry)?;
    let ms = span_ms(&text);
    if ms.is_none() {
        let message = format!(
            "`{text}` is not a span, write it as `90 minutes`, `36 hours`, `3 days` or `2 weeks`"
        );
        reader.note_at(entry, message);
    }
    ms
}

fn span_ms(text: &str) -> Option<i64> {
    let (number, unit) = text.split_once(' ')?;
    let number: u32 = number.parse().ok()?;
    let unit_ms = match unit.trim() {
        "second" | "seconds" => 1000,
        "minute" | "minutes" => MINUTE_MS,
        "hour" | "hours" => 60 * MINUTE_MS,
        "day" | "days" => DAY_MS,
        "week" | "weeks" => 7 * DAY_MS,
        _ => return None,
    };
    i64::from(number).checked_mul(unit_ms)
}

fn read_times(reader: &Reader, entry: Entry<'_>) -> Option<GraceTimes> {
    let text = reader.text(entry)?;
    let times = text.split_once(" per ").and_then(|(times, span)| {
        let months = match span.trim() {
            "month" => 1,
            "quarter" => 3,
            "year" => 12,
            _ => return None,
        };
        Some(GraceTimes { times: times.trim().parse().ok()?, months })
    });
    if times.is_none() {
        let message = format!(
            "`{text}` is not a number of times, write it as `2 per year`: 1 to {GRACE_TIMES_MAX} \
             per month, quarter or year"
        );
        reader.note_at(entry, message);
    }
    times
}
