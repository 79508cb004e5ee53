//! Windows as people write them, `{ calendar: day }`, and their spans: `5 hours`, `2 weeks`.

use headroom_core::window::{CalendarUnit, Every, SpanUnit, WindowRule};

use super::super::reader::{Entry, Reader};

/// Longest billing window, as in the core's check: ten years.
const BILLING_MONTHS_MAX: u16 = 120;

/// The forms, for messages.
const FORMS: &str = "a number of hours, days, weeks or months, as `5 hours`";

/// Reads a span. Months are no length of a sliding window, which `may_be_months` then says.
pub(super) fn read_every(reader: &Reader, entry: Entry<'_>, may_be_months: bool) -> Option<Every> {
    let text = reader.text(entry)?;
    let Some((number, word)) = text.split_once(' ') else {
        reader.note_at(entry, format!("`{text}` is not {FORMS}"));
        return None;
    };
    let word = word.trim();
    let named = |unit: &SpanUnit| word.strip_suffix('s').unwrap_or(word) == unit.as_str();
    let Some(unit) = SpanUnit::ALL.into_iter().find(named) else {
        let message = format!("`{text}` is not {FORMS}");
        reader.note_word(entry, message, word, ["hours", "days", "weeks", "months"]);
        return None;
    };
    let Ok(count) = number.parse::<u64>() else {
        reader.note_at(entry, format!("`{text}` is not {FORMS}"));
        return None;
    };
    if unit == SpanUnit::Month && !may_be_months {
        let message = format!(
            "`{text}` differs from month to month, a sliding window cannot: use hours, days or \
             weeks, as `30 days`"
        );
        reader.note_at(entry, message);
        return None;
    }
    let max = unit.count_max();
    match u16::try_from(count).ok().filter(|count| (1..=max).contains(count)) {
        Some(count) => Some(Every { count, unit }),
        None => {
            reader.note_at(entry, format!("`{text}` must be 1 to {max} {}s", unit.as_str()));
            None
        }
    }
}

/// Reads where the windows of a limit, or of a pool, begin and end.
pub(super) fn read_window(reader: &Reader, entry: Entry<'_>) -> Option<WindowRule> {
    const FORMS: &str = "`billing`, `{billing: \"3 months\"}`, `{calendar: hour, day, week, month, \
                         quarter or year}`, `{fixed: 2 weeks}`, `{first_use: 5 hours}`, `{sliding: \
                         24 hours}` or `lifetime`";
    if let Some(word) = entry.scalar() {
        return match word {
            "billing" => Some(WindowRule::Billing { months: 1 }),
            "lifetime" => Some(WindowRule::Lifetime),
            _ => {
                let message = format!("`window` must be {FORMS}, found `{word}`");
                reader.note_word(entry, message, word, ["billing", "lifetime"]);
                None
            }
        };
    }
    let mut fields = reader.fields(entry, FORMS)?;
    let billing = fields.optional("billing");
    let calendar = fields.optional("calendar");
    let fixed = fields.optional("fixed");
    let first_use = fields.optional("first_use");
    let sliding = fields.optional("sliding");
    let count = [billing, calendar, fixed, first_use, sliding].iter().flatten().count();
    fields.end();
    if count != 1 {
        reader.note_at(entry, format!("`window` must be {FORMS}"));
        return None;
    }
    if let Some(entry) = fixed {
        return read_every(reader, entry, true).map(WindowRule::Fixed);
    }
    if let Some(entry) = first_use {
        return read_every(reader, entry, true).map(WindowRule::FirstUse);
    }
    if let Some(entry) = sliding {
        return read_every(reader, entry, false).map(WindowRule::Sliding);
    }
    if let Some(entry) = calendar {
        let units = [
            ("hour", CalendarUnit::Hour),
            ("day", CalendarUnit::Day),
            ("week", CalendarUnit::Week),
            ("month", CalendarUnit::Month),
            ("quarter", CalendarUnit::Quarter),
            ("year", CalendarUnit::Year),
        ];
        return reader.word(entry, &units).map(WindowRule::Calendar);
    }
    read_months(reader, billing?)
}

fn read_months(reader: &Reader, entry: Entry<'_>) -> Option<WindowRule> {
    let text = reader.text(entry)?;
    let months = text.split_once(' ').and_then(|(number, unit)| {
        let number: u16 = number.parse().ok()?;
        match unit.trim() {
            "month" | "months" => Some(number),
            "year" | "years" => number.checked_mul(12),
            _ => None,
        }
    });
    match months {
        Some(months @ 1..=BILLING_MONTHS_MAX) => Some(WindowRule::Billing { months }),
        Some(_) => {
            reader.note_at(entry, format!("`{text}` must be 1 to {BILLING_MONTHS_MAX} months"));
            None
        }
        None => {
            reader.note_at(entry, format!("`{text}` is not a number of months, as `3 months`"));
            None
        }
    }
}
