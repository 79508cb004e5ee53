//! What it costs to go over to another plan today.

use crate::catalog::{Price, PricePeriod};
use crate::time::{Millis, Window};
use crate::window::{WindowRule, window_at};
use jiff::tz::TimeZone;

/// What is due when an account changes to another plan now, to the end of the period that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueToday {
    /// The share of the new price for the rest of the period, in minor units.
    pub charge_minor: u64,
    /// The share of the old price that was not used, in minor units.
    pub credit_minor: u64,
    /// Until when that is paid.
    pub period_end: Millis,
}

impl DueToday {
    /// What is to be paid today: never less than nothing, because nothing is paid back.
    pub fn minor(&self) -> u64 {
        self.charge_minor.saturating_sub(self.credit_minor)
    }
}

/// What a price comes to before an instant of its period and from then on, by the second. The parts
/// add up to the price; what has gone by is rounded down, so the rest is rounded up.
pub fn split(price_minor: u64, period: Window, at: Millis) -> (u64, u64) {
    let seconds = |ms: i64| u128::from(u64::try_from(ms.div_euclid(1000)).unwrap_or(0));
    let whole = seconds(period.end().since(period.start())).max(1);
    let gone = seconds(at.since(period.start())).min(whole);
    // The quotient is no more than the price.
    let before = u64::try_from(u128::from(price_minor) * gone / whole).unwrap_or(price_minor);
    (before, price_minor - before)
}

/// What is due when an account that pays `now_paid` for its plan goes over to one of price
/// `offered`. Billing periods are counted from `anchor`. `None` when the two cannot be compared:
/// another currency, or a month against a year, where a new period begins and billing has to say
/// what that means.
pub fn due_today(
    offered: &Price,
    now_paid: Option<&Price>,
    anchor: Millis,
    at: Millis,
) -> Option<DueToday> {
    let months = match offered.per {
        PricePeriod::Month => 1,
        PricePeriod::Year => 12,
    };
    let period = window_at(WindowRule::Billing { months }, anchor, &TimeZone::UTC, at);
    if period.is_lifetime() {
        return None;
    }
    let credit_minor = match now_paid {
        Some(paid) if paid.minor == 0 => 0,
        Some(paid) if paid.currency == offered.currency && paid.per == offered.per => {
            // What is left of it was bought; a part of a minor unit is never paid back.
            let (used, _) = split(paid.minor, period, at);
            paid.minor - used
        }
        Some(_) => return None,
        None => 0,
    };
    let (_, charge_minor) = split(offered.minor, period, at);
    Some(DueToday { charge_minor, credit_minor, period_end: period.end() })
}
