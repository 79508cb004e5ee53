//! Usage by time in the model: a list of all that was ever used, each with its instant, added up when
//! somebody asks.

use std::collections::BTreeMap;

use headroom_core::account::Zone;
use headroom_core::decide::{AllOp, FeatureOp, HoldOp};
use headroom_core::tally::BucketSize;
use headroom_core::window::{CalendarUnit, WindowRule};

use headroom_engine::engine::EngineError;

use super::meter::Page;
use super::{Account, Asked, Limit, Model};
use crate::catalogs::{DIMENSION, UNIQUE_BY};
use crate::civil;

/// Instants, dimensions and units, in the order they came; less than none is what was taken back.
pub(crate) type Uses = Vec<(i64, Option<&'static str>, i128)>;

/// The dimension that a write has by its key; a retry has the same.
pub(crate) fn dimension(feature: &str, key: &str) -> Option<&'static str> {
    let number: u64 = key.trim_start_matches('k').parse().unwrap_or_default();
    if feature == "devices" {
        let values = ["a", "b", "c", "d", "e", "f", "g"].map(Some);
        return *values.get(usize::try_from(number % 8).expect("small"))?;
    }
    if !["tokens", "messages", "exports"].contains(&feature) {
        return None;
    }
    [None, Some("small"), Some("large")][usize::try_from(number % 3).expect("small")]
}

/// What the dimension of a feature is called.
pub fn dimension_name(feature: &str) -> &'static str {
    if feature == "devices" { UNIQUE_BY } else { DIMENSION }
}

/// Units by the start of a bucket and a dimension.
pub type ByTime = BTreeMap<(i64, Option<&'static str>), i128>;

/// Whether windows of a limit cut the buckets.
fn cuts(limit: &Limit) -> bool {
    !limit.gone && !matches!(limit.window, WindowRule::Lifetime | WindowRule::Sliding(_))
}

/// The instant nearest to `at` that all windows have in common.
pub(crate) fn within(pages: &[Page], at: i64) -> i64 {
    let windows = pages.iter().filter(|page| cuts(&page.limit));
    let (mut from, mut last) = (i64::MIN, i64::MAX);
    for page in windows {
        from = from.max(page.book.start);
        last = last.min(page.book.end - 1);
    }
    match at {
        // Windows with nothing in common: a hold that was moved while a limit slid.
        _ if from > last => at,
        _ if at < from => from,
        _ => at.min(last),
    }
}

impl Model {
    /// Notes units used at an instant.
    pub(crate) fn spread(
        &mut self,
        account: &mut Account,
        (feature, told): (&str, Option<&'static str>),
        at: i64,
        units: i128,
    ) {
        let is_kept = self.feature(feature).is_some_and(|known| known.counting.tally.is_some());
        if is_kept && units != 0 {
            account.spread.entry(feature.to_owned()).or_default().push((at, told, units));
            self.met.insert(match units {
                1.. => "usage noted by time",
                _ => "usage taken back by time",
            });
        }
    }

    /// The dimension that a write of a feature or a reservation has.
    pub fn dimension(&self, account: &str, asked: &Asked, key: &str) -> Option<&'static str> {
        match asked {
            Asked::Feature(feature, FeatureOp::Consume { .. } | FeatureOp::Record { .. }) => {
                dimension(feature, key)
            }
            Asked::Feature(feature, FeatureOp::Check { .. }) if feature == "devices" => {
                dimension(feature, key)
            }
            Asked::Hold(id, HoldOp::Commit { .. } | HoldOp::CommitPart { .. }) => {
                let count = u32::try_from(id.0 & u64::from(u32::MAX)).expect("the lower half");
                let account = self.accounts.get(account)?;
                let held = account.holds.get(&count);
                let held = held.filter(|held| held.feature != "devices");
                held.and_then(|held| dimension(&held.feature, key))
            }
            Asked::Feature(..) | Asked::Hold(..) | Asked::All(..) | Asked::Opening(..) => None,
        }
    }

    /// The dimension of one of several features asked for at once. What is held has none, but for the value that
    /// nobody can hold.
    pub fn dimension_of_item(&self, feature: &str, op: AllOp, key: &str) -> Option<&'static str> {
        let holds = matches!(op, AllOp::Reserve { .. });
        // Now and then somebody says one all the same.
        let says = !holds || feature == "devices" || key.ends_with('7');
        dimension(feature, key).filter(|_| says)
    }

    /// The dimension of an event, by its key.
    pub fn dimension_of(&self, feature: &str, key: &str) -> Option<&'static str> {
        dimension(feature, key)
    }

    /// Whether a feature that is there knows no dimensions, so that none may be told.
    pub(crate) fn check_told(
        &mut self,
        feature: Option<&str>,
        told: Option<&'static str>,
    ) -> Result<(), EngineError> {
        let Some(known) = feature.and_then(|feature| self.feature(feature)) else { return Ok(()) };
        let counting = &known.counting;
        if told.is_none() || counting.tally.is_some() || counting.unique_by.is_some() {
            return Ok(());
        }
        let feature = &known.feature;
        let name = dimension_name(feature);
        let problem = format!("there is no \"{name}\": feature {feature} has none in the catalog");
        self.met.insert("a dimension that the feature has not");
        Err(EngineError::Dimensions { problem })
    }

    /// What was used of a feature in each of its buckets that anything was used in, by their start and by
    /// dimension. `None`: the account has moved to another time zone since, and buckets are as they were
    /// then.
    pub fn by_time(&self, id: &str, feature: &str, now: i64) -> Option<ByTime> {
        let account = self.with_charges(self.accounts.get(id)?, now);
        if account.moved {
            return None;
        }
        let rule = self.feature(feature)?.counting.tally.clone()?;
        let unit = match rule.buckets {
            BucketSize::Hour => CalendarUnit::Hour,
            BucketSize::Day => CalendarUnit::Day,
        };
        let zone = Zone::named(&account.zone).expect("a zone that was accepted");
        let mut all = ByTime::new();
        for (at, told, units) in account.spread.get(feature).into_iter().flatten() {
            let bucket =
                civil::window(WindowRule::Calendar(unit), account.anchor, zone.rules(), *at);
            *all.entry((bucket.0, *told)).or_default() += units;
        }
        all.retain(|_, units| *units != 0);
        Some(all)
    }

    /// The windows of a feature's only limit that cuts time, and what was used in them. Nothing where a
    /// catalog so far had another sort of window, or another limit.
    pub fn by_window(&self, id: &str, feature: &str, now: i64) -> Vec<((i64, i64), i128)> {
        let Some(account) = self.accounts.get(id) else { return Vec::new() };
        let account = self.with_charges(account, now);
        if self.uncut.contains(feature) {
            return Vec::new();
        }
        let uses = account.spread.get(feature).cloned().unwrap_or_default();
        // It may have been another sort of thing for a while, with a limit of its own.
        let shapes = self.shapes(feature);
        let books = account.books.iter().filter(|book| {
            book.feature == feature && shapes.iter().any(|shape| shape.limit == book.limit)
        });
        let used = |(start, end): (i64, i64)| {
            let inside = uses.iter().filter(|(at, ..)| start <= *at && *at < end);
            ((start, end), inside.map(|(.., units)| units).sum())
        };
        // A use of the millisecond in which a change ends its window is in the bucket that was open, on
        // whichever side of the change that bucket begins.
        let is_torn = |at: i64| account.torn.contains(&(feature.to_owned(), at));
        let whole = books.filter(|book| !is_torn(book.start) && !is_torn(book.end));
        whole.map(|book| used((book.start, book.end))).collect()
    }

    /// Notes which features have windows that buckets do not follow.
    pub(crate) fn note_uncut(&mut self) {
        for feature in &self.catalog.features {
            let shapes = self.shapes(&feature.feature);
            let is_cut =
                |rule: WindowRule| !matches!(rule, WindowRule::Lifetime | WindowRule::Sliding(_));
            if shapes.len() > 1 || shapes.iter().any(|shape| !is_cut(shape.window)) {
                self.uncut.insert(feature.feature.clone());
            }
        }
    }
}
