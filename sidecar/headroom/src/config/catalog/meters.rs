//! What a plan gives of a concurrency (`{max: 5, soft_limits: [80%], each: 2}`) or a rate (`{rate: 100 per
//! second, burst: 200, each: {rate: 5 per second}}`).

use headroom_core::catalog::{EntitlementSpec, RateSpec};
use headroom_core::limits::{RATE_PERIOD_MS_MAX, UNITS_MAX};

use super::super::values;
use super::given::{read_included, read_soft_limits};
use super::{Entry, Fields, Reader};

pub(super) fn read_concurrency(reader: &Reader, entry: Entry<'_>) -> Option<EntitlementSpec> {
    let mut fields = reader.fields(entry, "a mapping with `max`")?;
    let max_units = fields.required("max").and_then(|entry| read_included(reader, entry));
    let soft_limits = fields.optional("soft_limits");
    let each = fields.optional("each").map(|entry| reader.whole_number(entry, 0..=UNITS_MAX));
    fields.end();
    let soft_limits_bp = read_soft_limits(reader, soft_limits);
    // As many as there can be, and one for each: what cannot be read is out of nobody's reach.
    let max_units = max_units.unwrap_or(Some(UNITS_MAX));
    let each = each.map(|each| each.unwrap_or(1));
    Some(EntitlementSpec::Concurrency { max_units, soft_limits_bp, each })
}

pub(super) fn read_rate(reader: &Reader, entry: Entry<'_>) -> Option<EntitlementSpec> {
    let mut fields = reader.fields(entry, "a mapping with `rate`")?;
    let each = fields.optional("each").map(|entry| {
        let fields = reader.fields(entry, "a mapping with `rate`")?;
        read_pace_and_burst(reader, fields)
    });
    let rate = read_pace_and_burst(reader, fields);
    // Unlimited, and the slowest for each: what cannot be read is out of nobody's reach.
    let slowest = RateSpec { units: 1, period_ms: RATE_PERIOD_MS_MAX, burst_units: 1 };
    let each = each.and_then(|each| each.unwrap_or(Some(slowest)));
    Some(EntitlementSpec::Rate { rate: rate.flatten(), each })
}

/// The rest of a mapping. `Some(None)` is unlimited.
fn read_pace_and_burst(reader: &Reader, mut fields: Fields<'_, '_>) -> Option<Option<RateSpec>> {
    let pace = fields.required("rate").and_then(|entry| read_pace(reader, entry));
    let burst = fields.optional("burst");
    fields.end();
    // One that cannot be read is as if it were not there.
    let burst_units = burst.and_then(|entry| reader.whole_number(entry, 1..=UNITS_MAX));
    match (pace?, burst_units) {
        // Without a word about it, what comes back in one period can be taken at once.
        (Some((units, period_ms)), burst_units) => {
            Some(Some(RateSpec { units, period_ms, burst_units: burst_units.unwrap_or(units) }))
        }
        (None, None) => Some(None),
        (None, Some(_)) => {
            reader.note_at(burst?, "an unlimited rate has no `burst`: leave it out");
            None
        }
    }
}

/// Units and the period in milliseconds; `Some(None)` is unlimited.
fn read_pace(reader: &Reader, entry: Entry<'_>) -> Option<Option<(u64, i64)>> {
    if let Some(word) = entry.scalar()
        && word.starts_with(char::is_alphabetic)
    {
        if word == "unlimited" {
            return Some(None);
        }
        let message = format!("`rate` must be as `100 per second`, or `unlimited`, found `{word}`");
        reader.note_word(entry, message, word, ["unlimited"]);
        return None;
    }
    match values::rate(&reader.text(entry)?) {
        Ok(pace) => Some(Some(pace)),
        Err(message) => {
            reader.note_at(entry, message);
            None
        }
    }
}
