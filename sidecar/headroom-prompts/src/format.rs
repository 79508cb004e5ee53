//! Numbers as operators read them, in one language, and what every language has in common.

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

/// How many digits of a currency are minor units (ISO 4217); all that are not listed have two.
pub(super) fn minor_digits(currency: &str) -> u8 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_in_threes() {
        assert_eq!(units(1_000_000, 0), "1,000,000");
        assert_eq!(units(1_234_567, 3), "1,234.567");
        assert_eq!(units(1_500_000, 6), "1.5");
        assert_eq!(units(5, 6), "0.000005");
        assert_eq!(units(0, 9), "0");
        assert_eq!(units(2_000_000, 6), "2");
    }
}
