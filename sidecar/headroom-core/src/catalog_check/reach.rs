//! Limits of subjects that nobody ever reaches, because a limit of the account ends before.
//!
//! A window of one limit touches windows of another: it lies in one of them, or in two. What the other lets
//! pass in these together is the most that the first can come to. What add-ons give of the other counts in
//! full, as many as can be bought, so what is reachable for anybody is never refused.
//!
//! Of two limits of the account itself none is refused: a month that ends before the day does is lifted for
//! a good customer by an override, and then the day is what protects the house.
//!
//! Looked at is one plan at a time, and windows as they lie while nothing changes: what was used under
//! another plan, or before a time zone was changed, may well be more.

use super::Report;
use super::subjects::per;
use crate::catalog::{
    EntitlementSpec, FeatureSpec, LimitSpec, Merge, PlanLimit, PlanLimitSpec, PlanSpec,
};
use crate::change::OnChange;
use crate::limits::{ADDON_QUANTITY_MAX, SLIDING_BUCKETS, UNITS_MAX};
use crate::names::NameId;
use crate::window::{CalendarUnit, Every, WindowRule};

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Clocks change by two hours at most, and so do the lengths of days and all that is made of them.
const CLOCKS_MS: i64 = 2 * HOUR_MS;

/// Finds limits of subjects that the account's own never let anybody reach.
pub(super) fn check_reach(
    report: &mut Report,
    path: &[&str],
    (feature, shapes): (&FeatureSpec, &[LimitSpec]),
    limits: &[PlanLimitSpec],
    addons: &[PlanSpec],
) {
    let window = |limit: &PlanLimitSpec| {
        shapes.iter().find(|shape| shape.limit == limit.limit).map(|shape| shape.window)
    };
    let is_of_values = feature.counting.aggregation.is_of_values();
    for limit in limits.iter().filter(|limit| per(shapes, limit).is_some()) {
        let (Some(included), Some(inner)) = (limit.included_units, window(limit)) else { continue };
        let mut own = limits.iter().filter(|other| per(shapes, other).is_none());
        let above = own.find_map(|other| {
            let touched = match touched(window(other)?, inner) {
                // What a value may be at most it may not be more of at any time.
                _ if is_of_values => 1,
                Some(touched) if other.terms.on_change != OnChange::Reset => touched,
                _ => return None,
            };
            let ceiling = ceiling(&raised(other, feature, addons))?;
            let most = ceiling.saturating_mul(touched);
            (most < included).then_some((&other.limit, ceiling, touched))
        });
        let Some((other, ceiling, touched)) = above else { continue };
        let path = [path, &[limit.limit.as_str()]].concat();
        let over = match touched {
            _ if is_of_values => "",
            1 => " over the same time or a longer one",
            _ => " and no window of this one touches more than two of those",
        };
        report.say(
            &path,
            format_args!(
                "{included} units can never be reached: the limit `{other}` of the whole account ends at \
                 {ceiling}{over}"
            ),
        );
    }
}

/// A limit with all of it that add-ons can give.
fn raised(limit: &PlanLimitSpec, feature: &FeatureSpec, addons: &[PlanSpec]) -> PlanLimitSpec {
    let given = addons.iter().flat_map(|addon| &addon.entitlements);
    let given =
        given.filter(|(of, _)| *of == feature.feature).filter_map(|(_, given)| match given {
            EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. } => {
                limits.iter().find(|known| known.limit == limit.limit)
            }
            _ => None,
        });
    let included_units = given.fold(limit.included_units, |known, more| {
        let (known, more) = (known?, more.included_units?);
        let more = more.saturating_mul(u64::from(ADDON_QUANTITY_MAX));
        Some(match feature.offering.merge {
            Merge::Sum => known.saturating_add(more),
            Merge::MostGenerous => known.max(more),
        })
    });
    let included_units = included_units.map(|units| units.min(UNITS_MAX));
    PlanLimitSpec { included_units, ..limit.clone() }
}

/// Where a limit ends, if it does.
fn ceiling(limit: &PlanLimitSpec) -> Option<u64> {
    let window = WindowRule::Lifetime;
    let planned =
        PlanLimit::new(NameId::default(), window, limit.included_units, vec![], limit.policy);
    planned.with_terms(limit.terms.clone()).ceiling_units()
}

/// How many windows of `outer` a window of `inner` can touch, whatever the anchor and the time zone. `None`:
/// more than two, or that is not known.
fn touched(outer: WindowRule, inner: WindowRule) -> Option<u64> {
    if contains(outer, inner) {
        return Some(1);
    }
    (longest_ms(inner)? <= shortest_ms(outer)?).then_some(2)
}

/// Whether each window of `inner` lies in one of `outer`.
fn contains(outer: WindowRule, inner: WindowRule) -> bool {
    use CalendarUnit::{Day, Hour, Month, Quarter, Week, Year};
    match (outer, inner) {
        (WindowRule::Lifetime, _) => true,
        // Of any span of its length it lets as much pass as it says.
        (WindowRule::Sliding(every), inner) => {
            outer == inner || longest_ms(inner).is_some_and(|longest| longest <= every.sliding_ms())
        }
        // They begin at another time for each.
        (WindowRule::FirstUse(_), _) | (_, WindowRule::FirstUse(_)) => false,
        (WindowRule::Calendar(outer), WindowRule::Calendar(inner)) => match (outer, inner) {
            (Hour, Hour) | (Day, Hour | Day) | (Week, Hour | Day | Week) => true,
            (Month, Hour | Day | Month) | (Quarter, Hour | Day | Month | Quarter) => true,
            (Year, Hour | Day | Month | Quarter | Year) => true,
            (Hour | Day | Week | Month | Quarter | Year, _) => false,
        },
        (outer, inner) => match (anchored(outer), anchored(inner)) {
            (Some(Anchored::Months(outer)), Some(Anchored::Months(inner))) => outer % inner == 0,
            (Some(Anchored::Ms(outer)), Some(Anchored::Ms(inner))) => outer % inner == 0,
            // Months end at the time of day of the anchor, in UTC, where all days are alike.
            (Some(Anchored::Months(_)), Some(Anchored::Ms(inner))) => DAY_MS % inner == 0,
            _ => false,
        },
    }
}

/// Windows that lie one after the other from the subscription's anchor.
enum Anchored {
    Months(u16),
    Ms(i64),
}

fn anchored(window: WindowRule) -> Option<Anchored> {
    match window {
        WindowRule::Billing { months } => Some(Anchored::Months(months.max(1))),
        WindowRule::Fixed(every) => Some(match every.length_ms() {
            Some(length_ms) => Anchored::Ms(length_ms),
            None => Anchored::Months(every.count.max(1)),
        }),
        _ => None,
    }
}

/// The longest span over which a window counts. `None`: it never ends.
fn longest_ms(window: WindowRule) -> Option<i64> {
    Some(match window {
        WindowRule::Lifetime => return None,
        // Units count until the window has left their whole bucket.
        WindowRule::Sliding(every) => every.sliding_ms() + every.sliding_ms() / SLIDING_BUCKETS,
        WindowRule::Billing { months } => i64::from(months) * 31 * DAY_MS,
        WindowRule::Fixed(every) | WindowRule::FirstUse(every) => every_ms(every, 31),
        WindowRule::Calendar(CalendarUnit::Hour) => HOUR_MS,
        WindowRule::Calendar(unit) => days(unit).1 * DAY_MS + CLOCKS_MS,
    })
}

/// The shortest window that there is. `None`: an hour that a change of clocks cuts may be of any length.
fn shortest_ms(window: WindowRule) -> Option<i64> {
    Some(match window {
        WindowRule::Lifetime => i64::MAX,
        WindowRule::Sliding(every) => every.sliding_ms(),
        WindowRule::Billing { months } => months_ms(months),
        WindowRule::Fixed(every) | WindowRule::FirstUse(every) => match every.length_ms() {
            Some(length_ms) => length_ms,
            None => months_ms(every.count),
        },
        WindowRule::Calendar(CalendarUnit::Hour) => return None,
        WindowRule::Calendar(unit) => days(unit).0 * DAY_MS - CLOCKS_MS,
    })
}

fn every_ms(every: Every, month_days: i64) -> i64 {
    every.length_ms().unwrap_or(i64::from(every.count) * month_days * DAY_MS)
}

/// So many months in a row are never shorter: February lacks two days of thirty, and others make up for it.
fn months_ms(months: u16) -> i64 {
    (i64::from(months.max(1)) * 30 - 2) * DAY_MS
}

/// The fewest and the most days of a unit.
fn days(unit: CalendarUnit) -> (i64, i64) {
    match unit {
        CalendarUnit::Hour | CalendarUnit::Day => (1, 1),
        CalendarUnit::Week => (7, 7),
        CalendarUnit::Month => (28, 31),
        CalendarUnit::Quarter => (90, 92),
        CalendarUnit::Year => (365, 366),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Millis, Window};
    use crate::window::{SpanUnit, window_at};

    fn rules() -> Vec<WindowRule> {
        use CalendarUnit::{Day, Hour, Month, Quarter, Week, Year};
        let every = |count, unit| Every { count, unit };
        let calendar = [Hour, Day, Week, Month, Quarter, Year].map(WindowRule::Calendar);
        let billing = [1, 2, 3, 12].map(|months| WindowRule::Billing { months });
        let spans = [
            every(1, SpanUnit::Hour),
            every(5, SpanUnit::Hour),
            every(12, SpanUnit::Hour),
            every(1, SpanUnit::Day),
            every(1, SpanUnit::Week),
            every(4, SpanUnit::Week),
            every(3, SpanUnit::Month),
        ];
        let fixed = spans.map(WindowRule::Fixed);
        calendar.into_iter().chain(billing).chain(fixed).chain([WindowRule::Lifetime]).collect()
    }

    #[test]
    fn no_window_touches_more_of_another_than_is_said() {
        let zones = ["UTC", "America/St_Johns", "Australia/Lord_Howe", "Europe/Berlin"];
        for (zone, anchor) in zones.into_iter().zip([0, 31, 45, 59]) {
            let zone = jiff::tz::TimeZone::get(zone).expect("a zone");
            let anchor = Millis(1_767_225_600_000 + anchor * DAY_MS + 5_555_555);
            let at = |rule, at: Millis| window_at(rule, anchor, &zone, at);
            for inner in rules() {
                for outer in rules() {
                    let Some(touched) = touched(outer, inner) else { continue };
                    let mut now = Millis(anchor.0 - 40 * DAY_MS);
                    for _ in 0..200 {
                        let window: Window = at(inner, now);
                        let first = at(outer, window.start());
                        let in_first = window.end() <= first.end();
                        let in_two = window.end() <= at(outer, first.end()).end();
                        let case = format!("{inner:?} in {outer:?} at {now:?}");
                        assert!(in_first || touched == 2 && in_two, "{case}");
                        if window.end() == Millis::FOREVER {
                            break;
                        }
                        now = window.end();
                    }
                }
            }
        }
    }
}
