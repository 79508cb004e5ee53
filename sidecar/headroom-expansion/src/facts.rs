//! What is known of an account, by name: what others have said, and what follows from it.
//!
//! What was said wins over what was worked out: whoever put a fact there knows better.

use std::collections::BTreeMap;
use std::fmt;

use headroom_core::time::Millis;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::days::Day;

/// Numbers are held in so many parts of one.
pub const PARTS: i64 = 1_000;

/// Facts that are worked out, where there is something to work them out from. `used_percent.FEATURE` is
/// another of each counted feature.
pub const INFERRED: [&str; 20] = [
    "active_seats_percent",
    "active_users",
    "churn_signal",
    "contract_days_left",
    "dau_mau_percent",
    "days_since_login",
    "days_since_onboarding",
    "days_since_signup",
    "entitlement_used_percent",
    "features_adopted",
    "gated_features_tried",
    "invite_days",
    "live_signals",
    "plan_price_minor",
    "power_user_percent",
    "premium_attempt_days",
    "seats",
    "signups_of_domain",
    "typical_seats",
    "usage_change_percent",
];

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, in thousandths. Percentages are plain numbers: 60 % is 60.
    Number(i64),
    /// A text.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

impl Value {
    /// A whole number. Stops at the ends of the range.
    pub fn whole(number: i64) -> Value {
        Value::Number(number.saturating_mul(PARTS))
    }

    /// A number as text, as `82` or `82.5`. What is below a thousandth is left out, so nothing is
    /// rounded up over a threshold. `None`: it is no such number, or one too large.
    pub fn number(text: &str) -> Option<Value> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(part) {
            return None;
        }
        let part: String = part.chars().chain("000".chars()).take(3).collect();
        let parts = whole.parse::<i64>().ok()?.checked_mul(PARTS)?;
        let parts = parts.checked_add(part.parse::<i64>().ok()?)?;
        Some(Value::Number(sign * parts))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(parts) => {
                let (sign, size) = (if *parts < 0 { "-" } else { "" }, parts.unsigned_abs());
                let (whole, part) = (size / 1_000, size % 1_000);
                if part == 0 {
                    return write!(f, "{sign}{whole}");
                }
                let digits = format!("{part:03}");
                write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
            }
            Value::Text(text) => f.write_str(text),
            Value::Flag(flag) => flag.fmt(f),
        }
    }
}

/// The facts of one account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    known: BTreeMap<String, Value>,
}

/// Facts that are instants, and the facts that follow from them: days since, or until.
const INSTANTS: [(&str, &str, bool); 3] = [
    ("onboarded_at", "days_since_onboarding", true),
    ("last_login_at", "days_since_login", true),
    ("renews_at", "contract_days_left", false),
];

impl Facts {
    /// Those that others have said.
    pub fn of(said: impl IntoIterator<Item = (String, Value)>) -> Facts {
        Facts { known: said.into_iter().collect() }
    }

    /// Adds a fact that was worked out, unless there is one of that name.
    pub fn infer(&mut self, name: &str, value: Value) {
        if !self.known.contains_key(name) {
            self.known.insert(name.to_owned(), value);
        }
    }

    /// Adds what follows from facts that are instants (`onboarded_at`, `last_login_at`, `renews_at`;
    /// RFC 3339, or a day as `2026-03-01`): the days from then to `now`, or from now until then.
    pub fn infer_days(&mut self, now: Millis) {
        for (from, name, since) in INSTANTS {
            let at = match self.known.get(from) {
                Some(Value::Text(text)) => instant(text),
                Some(Value::Number(_) | Value::Flag(_)) | None => None,
            };
            let Some(at) = at else { continue };
            let days = Day::of(now).since(Day::of(at));
            self.infer(name, Value::whole(if since { days } else { -days }));
        }
    }

    /// A fact.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.known.get(name)
    }

    /// A fact as a number, in thousandths; a flag is 0 or 1. `None`: it is missing, or a text.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.known.get(name)? {
            Value::Number(parts) => Some(*parts),
            Value::Flag(flag) => Some(if *flag { PARTS } else { 0 }),
            Value::Text(_) => None,
        }
    }

    /// A fact as a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.known.get(name)? {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Flag(_) => None,
        }
    }

    /// Whether a flag is set.
    pub fn is(&self, name: &str) -> bool {
        self.known.get(name) == Some(&Value::Flag(true))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.known.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// An instant in RFC 3339, or the beginning of a day in UTC.
fn instant(text: &str) -> Option<Millis> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(Millis(at.as_millisecond()));
    }
    let day: Date = text.parse().ok()?;
    let at = day.to_zoned(TimeZone::UTC).ok()?;
    Some(Millis(at.timestamp().as_millisecond()))
}
