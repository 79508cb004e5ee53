//! Numbers and times as the demo writes them.

use std::time::{Duration, SystemTime};

use headroom_sdk::{Projection, ProjectionState, Verdict};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(super) use headroom_prompts::display_units;

/// `18,305,870`.
pub(super) fn count(number: u64) -> String {
    display_units(number, 0)
}

/// `812`, `12.3k`, `1.23M`: three digits, rounded down.
pub(super) fn short(number: u64) -> String {
    let (unit, letter) = match number {
        0..1_000 => return number.to_string(),
        1_000..1_000_000 => (1_000, 'k'),
        _ => (1_000_000, 'M'),
    };
    let whole = number / unit;
    let thousandths = number % unit * 1_000 / unit;
    match whole {
        0..10 => format!("{whole}.{:02}{letter}", thousandths / 10),
        10..100 => format!("{whole}.{}{letter}", thousandths / 100),
        _ => format!("{whole}{letter}"),
    }
}

/// Rounds down, so that 100 % is said only when it is so.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(100)
}

/// `0.8 ms`.
pub(super) fn ms(span: Duration) -> String {
    format!("{}.{} ms", span.as_millis(), span.as_micros() % 1_000 / 100)
}

/// `18:52:07`, in UTC.
pub(super) fn clock(at_ms: i64) -> String {
    formatted(Timestamp::from_millisecond(at_ms).ok(), "%H:%M:%S")
}

/// `2023-11-16 18:52:07`, in UTC.
pub(super) fn date_and_clock(at_ms: i64) -> String {
    formatted(Timestamp::from_millisecond(at_ms).ok(), "%Y-%m-%d %H:%M:%S")
}

/// `18:52`, in UTC.
pub(super) fn minute(at: SystemTime) -> String {
    formatted(Timestamp::try_from(at).ok(), "%H:%M")
}

fn formatted(at: Option<Timestamp>, format: &str) -> String {
    at.map_or_else(String::new, |at| at.to_zoned(TimeZone::UTC).strftime(format).to_string())
}

/// The one word of a verdict.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unspecified => "",
        Verdict::Allowed => "allowed",
        Verdict::AllowedSoftLimit => "soft limit",
        Verdict::AllowedGrace => "grace",
        Verdict::AllowedOverage => "overage",
        Verdict::AllowedUnbacked => "unbacked",
        Verdict::Denied => "refused",
    }
}

/// What a projection says, in a few letters.
pub(super) fn projection(projection: Option<&Projection>) -> String {
    let Some(projection) = projection else { return String::new() };
    match (projection.state, projection.reaches_limit_at) {
        (ProjectionState::ReachesLimit, Some(at)) => format!("limit {}", minute(at)),
        (ProjectionState::Learning, _) => "learning".to_owned(),
        (ProjectionState::WithinLimit, _) => "within".to_owned(),
        (ProjectionState::Reached, _) => "reached".to_owned(),
        (ProjectionState::ReachesLimit | ProjectionState::Unspecified, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_have_three_digits() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1.00k"),
            (12_399, "12.3k"),
            (300_000, "300k"),
            (999_999, "999k"),
            (2_000_000, "2.00M"),
            (18_305_870, "18.3M"),
        ];
        for (number, expected) in cases {
            assert_eq!(short(number), expected);
        }
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(clock(1_700_158_623_979), "18:17:03");
        assert_eq!(date_and_clock(1_700_158_623_979), "2023-11-16 18:17:03");
        assert_eq!(ms(Duration::from_micros(12_345)), "12.3 ms");
        assert_eq!(percent(999, 1_000), 99);
    }
}
