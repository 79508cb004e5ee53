//! Spans of windows as people write them: `5 hours`, `2 weeks`.

use headroom_core::window::{Every, SpanUnit};

use super::super::problems::Problem;
use super::super::reader::{Entry, Reader};

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
        let problem = Problem::at(entry.place(), format!("`{text}` is not {FORMS}"));
        reader.note(problem.suggest(word, ["hours", "days", "weeks", "months"]));
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
