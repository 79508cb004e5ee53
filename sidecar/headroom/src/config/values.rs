//! The small languages of the files: whole numbers, percentages, durations and sizes.
//!
//! Each parser answers with a text for the operator; where it stands is added by the reader.

use std::time::Duration;

/// A whole number: digits, with `_` between them if wanted.
pub fn whole_number(text: &str) -> Result<u64, String> {
    let bytes = text.as_bytes();
    let is_grouped = |separator: u8| {
        !text.is_empty()
            && bytes.iter().all(|b| b.is_ascii_digit() || *b == separator)
            && bytes.first().is_some_and(u8::is_ascii_digit)
            && bytes.last().is_some_and(u8::is_ascii_digit)
    };
    if is_grouped(b'_') {
        let digits = text.replace('_', "");
        return digits.parse().map_err(|_| format!("`{text}` is too large"));
    }
    if is_grouped(b',') && bytes.contains(&b',') {
        return Err(format!(
            "`{text}` is no whole number here, write `{}`",
            text.replace(',', "_")
        ));
    }
    if let Some(rest) = text.strip_prefix('-')
        && rest.parse::<f64>().is_ok()
    {
        return Err(format!("`{text}` is negative"));
    }
    // `1e6` is a float in YAML; counts are never floats, so the digits are asked for.
    match text.parse::<f64>() {
        Ok(float) if float.fract() == 0.0 && (0.0..1e15).contains(&float) => {
            Err(format!("`{text}` is not written as a whole number, write `{float:.0}`"))
        }
        _ => Err(format!("{} is not a whole number", quoted(text))),
    }
}

/// A percentage in basis points: `80%`, `12.5%`; at most two decimal places.
pub fn percent_bp(text: &str) -> Result<u32, String> {
    let wrong = || format!("{} is not a percentage, write it as `80%` or `12.5%`", quoted(text));
    let Some(number) = text.strip_suffix('%') else {
        return match whole_number(text) {
            Ok(number) if number <= 100 => Err(format!("write `{number}%` instead of `{text}`")),
            _ => Err(wrong()),
        };
    };
    let (whole, part) = number.trim_end().split_once('.').unwrap_or((number.trim_end(), "0"));
    if part.len() > 2 {
        return Err(format!("`{text}` has more than two decimal places"));
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) {
        return Err(wrong());
    }
    let hundredths: u32 = format!("{part:0<2}").parse().map_err(|_| wrong())?;
    let whole: u32 = whole.parse().map_err(|_| format!("`{text}` is too large"))?;
    let whole_bp = whole.checked_mul(100).ok_or_else(|| format!("`{text}` is too large"))?;
    whole_bp.checked_add(hundredths).ok_or_else(|| format!("`{text}` is too large"))
}

/// A duration: a whole number and a unit, as `500ms`, `10s`, `10min`, `24h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let (number, unit) = number_and_unit(text);
    let Some((_, unit_ms)) = UNITS.iter().find(|(known, _)| *known == unit) else {
        let hint = match unit {
            "m" => format!(": is it `{number}min`?"),
            _ => ", write it as `500ms`, `10s`, `10min`, `24h` or `7d`".into(),
        };
        return Err(format!("{} is not a duration{hint}", quoted(text)));
    };
    let ms = whole_number(number)?.checked_mul(*unit_ms);
    ms.map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too large"))
}

/// A rate: units and the period in milliseconds, as `100 per second`; also `minute`, `hour`, `day`, and
/// durations, as `5 per 10s`.
pub fn rate(text: &str) -> Result<(u64, i64), String> {
    const PERIODS: [(&str, i64); 4] =
        [("second", 1_000), ("minute", 60_000), ("hour", 3_600_000), ("day", 86_400_000)];
    let Some((units, period)) = text.split_once(" per ") else {
        let text = quoted(text);
        return Err(format!("{text} is not a rate, write it as `100 per second` or `5 per 10s`"));
    };
    let units = whole_number(units.trim())?;
    let period = period.trim();
    if let Some((_, period_ms)) = PERIODS.iter().find(|(word, _)| *word == period) {
        return Ok((units, *period_ms));
    }
    if period.starts_with(char::is_alphabetic) {
        let period = quoted(period);
        return Err(format!(
            "{period} is not a period: write `second`, `minute`, `hour`, `day` or a duration, as `10s`"
        ));
    }
    let period_ms = duration(period)?.as_millis();
    i64::try_from(period_ms)
        .map(|period_ms| (units, period_ms))
        .map_err(|_| format!("{} is too large", quoted(text)))
}

/// A size in bytes: a whole number and a unit, as `512B`, `64KiB`, `256MiB`, `1GiB`.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] =
        [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    let (number, unit) = number_and_unit(text);
    let Some((_, unit_bytes)) = UNITS.iter().find(|(known, _)| *known == unit) else {
        let hint = match unit.chars().next().map(|c| c.to_ascii_uppercase()) {
            Some(letter @ ('K' | 'M' | 'G' | 'T')) => format!(", write `{number}{letter}iB`"),
            _ => ", write it as `512B`, `64KiB`, `256MiB` or `1GiB`".into(),
        };
        return Err(format!("{} is not a size{hint}", quoted(text)));
    };
    let bytes = whole_number(number)?.checked_mul(*unit_bytes);
    bytes.ok_or_else(|| format!("`{text}` is too large"))
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    (text[..end].trim_end(), &text[end..])
}

/// A text in a message: short enough for one line.
fn quoted(text: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("`{}…`", text[..end].escape_debug()),
        None => format!("`{}`", text.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    #[allow(clippy::needless_pass_by_value)] // A call and its answer, side by side.
    fn check<T: PartialEq + std::fmt::Debug>(found: Result<T, String>, expected: Result<T, &str>) {
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn whole_numbers_may_be_grouped_but_are_never_floats() {
        check(whole_number("0"), Ok(0));
        check(whole_number("300000"), Ok(300_000));
        check(whole_number("1_000_000"), Ok(1_000_000));
        check(whole_number("007"), Ok(7));
        check(whole_number("1e6"), Err("`1e6` is not written as a whole number, write `1000000`"));
        check(whole_number("2.0"), Err("`2.0` is not written as a whole number, write `2`"));
        check(whole_number("1.5"), Err("`1.5` is not a whole number"));
        check(whole_number("1,000"), Err("`1,000` is no whole number here, write `1_000`"));
        check(whole_number("-3"), Err("`-3` is negative"));
        check(whole_number("_1"), Err("`_1` is not a whole number"));
        check(whole_number("0x10"), Err("`0x10` is not a whole number"));
        check(whole_number("many"), Err("`many` is not a whole number"));
        check(whole_number(".inf"), Err("`.inf` is not a whole number"));
        check(whole_number("99999999999999999999"), Err("`99999999999999999999` is too large"));
    }

    #[test]
    fn percentages_have_at_most_two_places() {
        check(percent_bp("80%"), Ok(8_000));
        check(percent_bp("12.5%"), Ok(1_250));
        check(percent_bp("0.01%"), Ok(1));
        check(percent_bp("99.99 %"), Ok(9_999));
        check(percent_bp("80"), Err("write `80%` instead of `80`"));
        check(percent_bp("0.8"), Err("`0.8` is not a percentage, write it as `80%` or `12.5%`"));
        check(percent_bp("1.234%"), Err("`1.234%` has more than two decimal places"));
        check(percent_bp("-5%"), Err("`-5%` is not a percentage, write it as `80%` or `12.5%`"));
        check(percent_bp(".5%"), Err("`.5%` is not a percentage, write it as `80%` or `12.5%`"));
        check(percent_bp("5.%"), Err("`5.%` is not a percentage, write it as `80%` or `12.5%`"));
        check(percent_bp("99999999%"), Err("`99999999%` is too large"));
    }

    #[test]
    fn rates_are_units_per_period() {
        check(rate("100 per second"), Ok((100, 1_000)));
        check(rate("1_000 per minute"), Ok((1_000, 60_000)));
        check(rate("7 per hour"), Ok((7, 3_600_000)));
        check(rate("7  per  day"), Ok((7, 86_400_000)));
        check(rate("5 per 250ms"), Ok((5, 250)));
        let wrong = "is not a rate, write it as `100 per second` or `5 per 10s`";
        check(rate("100/s"), Err(&format!("`100/s` {wrong}")));
        check(rate("100"), Err(&format!("`100` {wrong}")));
        check(rate("-1 per second"), Err("`-1` is negative"));
        check(rate("1.5 per second"), Err("`1.5` is not a whole number"));
        let periods = "write `second`, `minute`, `hour`, `day` or a duration, as `10s`";
        check(rate("1 per week"), Err(&format!("`week` is not a period: {periods}")));
        check(rate("1 per 10m"), Err("`10m` is not a duration: is it `10min`?"));
        check(rate("1 per 200000000000000d"), Err("`200000000000000d` is too large"));
    }

    #[test]
    fn durations_and_sizes_name_their_unit() {
        check(duration("500ms"), Ok(Duration::from_millis(500)));
        check(duration("10 min"), Ok(Duration::from_secs(600)));
        check(duration("7d"), Ok(Duration::from_secs(604_800)));
        check(duration("10m"), Err("`10m` is not a duration: is it `10min`?"));
        let units = ", write it as `500ms`, `10s`, `10min`, `24h` or `7d`";
        check(duration("10"), Err(&format!("`10` is not a duration{units}")));
        check(duration("1.5h"), Err("`1.5` is not a whole number"));
        check(duration("99999999999999999d"), Err("`99999999999999999d` is too large"));
        check(size_bytes("64MiB"), Ok(64 << 20));
        check(size_bytes("512B"), Ok(512));
        check(size_bytes("64MB"), Err("`64MB` is not a size, write `64MiB`"));
        check(size_bytes("1g"), Err("`1g` is not a size, write `1GiB`"));
        let units = ", write it as `512B`, `64KiB`, `256MiB` or `1GiB`";
        check(size_bytes("64"), Err(&format!("`64` is not a size{units}")));
    }
}
