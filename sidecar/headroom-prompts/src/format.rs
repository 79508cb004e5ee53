//! Numbers, money and dates as people read them, in English.

use headroom_core::catalog::Price;
use headroom_core::time::Millis;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", group_digits(&digits))
}

fn group_digits(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (ix, digit) in digits.chars().enumerate() {
        if ix > 0 && (digits.len() - ix).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Units as people count them: one is 10^-scale. Zeros at the end of the fraction are left out.
pub fn units(units: u64, scale: u8) -> String {
    let (whole, part) = split(units, scale);
    let part = part.trim_end_matches('0');
    let whole = group_digits(&whole);
    if part.is_empty() { whole } else { format!("{whole}.{part}") }
}

/// The digits before and after the point, `scale` of them after it.
fn split(number: u64, scale: u8) -> (String, String) {
    let scale = usize::from(scale);
    let digits = format!("{number:0>width$}", width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    (whole.to_owned(), part.to_owned())
}

/// `USD 49.00`, `JPY 4,900`, `KWD 4.900`.
pub(super) fn money(price: &Price) -> String {
    let (whole, part) = split(price.minor, minor_digits(&price.currency));
    let whole = group_digits(&whole);
    let currency = &price.currency;
    if part.is_empty() {
        format!("{currency} {whole}")
    } else {
        format!("{currency} {whole}.{part}")
    }
}

/// How many digits of a currency are minor units (ISO 4217); all that are not listed have two.
fn minor_digits(currency: &str) -> u8 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

/// `14 May`, or `14 May 2031` when it is not this year. `None` where the calendar ends.
pub(super) fn date(at: Millis, now: Millis, zone: &TimeZone) -> Option<String> {
    let day = zoned(at, zone)?;
    let is_this_year = zoned(now, zone)?.year() == day.year();
    Some(day.strftime(if is_this_year { "%-d %B" } else { "%-d %B %Y" }).to_string())
}

/// `on 14 May`, or `at 15:30 UTC` when that is less than a day away.
pub(super) fn when(at: Millis, now: Millis, zone: &TimeZone) -> Option<String> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    if at.since(now).abs() < DAY_MS {
        return Some(zoned(at, zone)?.strftime("at %H:%M %Z").to_string());
    }
    date(at, now, zone).map(|date| format!("on {date}"))
}

fn zoned(at: Millis, zone: &TimeZone) -> Option<jiff::Zoned> {
    Some(Timestamp::from_millisecond(at.0).ok()?.to_zoned(zone.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_core::catalog::PricePeriod;

    #[test]
    fn numbers_are_grouped_in_threes() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
        assert_eq!(units(1_000_000, 0), "1,000,000");
        assert_eq!(units(1_234_567, 3), "1,234.567");
        assert_eq!(units(1_500_000, 6), "1.5");
        assert_eq!(units(5, 6), "0.000005");
        assert_eq!(units(0, 9), "0");
        assert_eq!(units(2_000_000, 6), "2");
    }

    #[test]
    fn money_has_the_digits_of_its_currency() {
        let show = |minor, currency: &str| {
            money(&Price { minor, currency: currency.into(), per: PricePeriod::Month })
        };
        assert_eq!(show(4_900, "USD"), "USD 49.00");
        assert_eq!(show(5, "EUR"), "EUR 0.05");
        assert_eq!(show(4_900, "JPY"), "JPY 4,900");
        assert_eq!(show(1_234_567, "KWD"), "KWD 1,234.567");
    }

    #[test]
    fn dates_are_as_short_as_they_can_be() {
        let at = |text: &str| Millis(text.parse::<Timestamp>().unwrap().as_millisecond());
        let now = at("2027-05-03T12:00:00Z");
        let utc = TimeZone::UTC;
        let show =
            |text: &str| (date(at(text), now, &utc).unwrap(), when(at(text), now, &utc).unwrap());
        let pair = |date: &str, when: &str| (date.to_owned(), when.to_owned());
        assert_eq!(show("2027-05-14T00:00:00Z"), pair("14 May", "on 14 May"));
        assert_eq!(show("2028-01-01T00:00:00Z"), pair("1 January 2028", "on 1 January 2028"));
        assert_eq!(show("2027-05-03T15:30:00Z"), pair("3 May", "at 15:30 UTC"));
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(when(at("2027-05-03T15:30:00Z"), now, &berlin).unwrap(), "at 17:30 CEST");
        assert_eq!(date(Millis::FOREVER, now, &utc), None);
    }
}
