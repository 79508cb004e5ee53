//! Tallies: how much of a feature was used in each hour or day, and with which dimensions.
//!
//! A feature keeps one when its catalog asks for it. The tally of now lives with the account; when
//! its bucket is over it leaves for the usage history, as one row. What is booked at an earlier time,
//! or taken back there, is a row of its own beside it: rows add up, so nothing on disk is ever read
//! to count.
//!
//! Invariant: what is counted in a bucket was counted in windows that contain the bucket's start, of every
//! limit that cuts time. A bucket is therefore cut where a window begins, and the buckets that begin
//! within a window hold what the window used, to the unit; but for debt that it took over from the
//! window before, which is in the buckets of its own time. Lifetime and sliding windows cut nothing.

use std::sync::Arc;

use crate::account::Account;
use crate::catalog::{FeatureKind, PlanLimit};
use crate::decide::Context;
use crate::effect::{Effect, Effects};
use crate::limits;
use crate::names::NameId;
use crate::time::{Millis, Window};
use crate::window::{CalendarUnit, WindowRule, window_at};

/// How long a bucket is, in the account's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BucketSize {
    /// A clock hour.
    Hour,
    /// A day.
    Day,
}

impl BucketSize {
    /// Every size, the shortest first.
    pub const ALL: [BucketSize; 2] = [BucketSize::Hour, BucketSize::Day];

    /// The word of the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            BucketSize::Hour => "hour",
            BucketSize::Day => "day",
        }
    }

    /// The unit of the calendar that a bucket is.
    pub fn unit(self) -> CalendarUnit {
        match self {
            BucketSize::Hour => CalendarUnit::Hour,
            BucketSize::Day => CalendarUnit::Day,
        }
    }
}

/// What a feature's usage is told apart by, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TallySpec {
    /// By which time.
    pub buckets: BucketSize,
    /// By which properties of a request.
    pub dimensions: Vec<String>,
}

/// What a feature's usage is told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TallyRule {
    /// By which time.
    pub buckets: BucketSize,
    /// By which properties of a request, in the order written.
    pub dimensions: Vec<NameId>,
}

/// What a dimension was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// This.
    Text(Arc<str>),
    /// One of the values that the bucket had no room for.
    Other,
}

/// The dimensions of a use, ascending by name. One that was not given is not there.
pub type Labels = Box<[(NameId, Label)]>;

/// What was used with the same dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The dimensions.
    pub labels: Labels,
    /// Units. Below 0 where more was taken back than was counted here, as when the write was counted before
    /// the feature had buckets.
    pub units: i64,
}

/// A part of the usage of one bucket of one feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The feature.
    pub feature: NameId,
    /// The bucket, as far as no window cuts it.
    pub span: Window,
    /// What was used, no dimensions twice.
    pub cells: Vec<Cell>,
}

/// One cell of the tally of now, as it is after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tallied {
    /// The feature.
    pub feature: NameId,
    /// The bucket.
    pub span: Window,
    /// The cell.
    pub cell: Cell,
}

impl Tally {
    fn units_of(&self, labels: &Labels) -> Option<i64> {
        self.cells.iter().find(|cell| cell.labels == *labels).map(|cell| cell.units)
    }

    fn put(&mut self, cell: &Cell) {
        match self.cells.iter_mut().find(|known| known.labels == cell.labels) {
            Some(known) => known.units = cell.units,
            None => self.cells.push(cell.clone()),
        }
    }
}

/// Carries out a change of the tallies of an account. A bucket that begins takes the place of the one
/// before.
pub fn apply(tallies: &mut Vec<Tally>, after: &Tallied) {
    let begun =
        || Tally { feature: after.feature, span: after.span, cells: vec![after.cell.clone()] };
    match tallies.iter_mut().find(|tally| tally.feature == after.feature) {
        Some(tally) if tally.span.start() == after.span.start() => tally.put(&after.cell),
        Some(tally) => *tally = begun(),
        None => tallies.push(begun()),
    }
}

/// The effects that make tallies again.
pub(crate) fn further(tallies: &[Tally]) -> impl Iterator<Item = Effect> + '_ {
    tallies.iter().flat_map(|tally| {
        let Tally { feature, span, .. } = *tally;
        let one = move |cell: &Cell| Tallied { feature, span, cell: cell.clone() };
        tally.cells.iter().map(move |cell| Effect::Tally(Box::new(one(cell))))
    })
}

/// All of time.
const ALL: Window = Window::always();

/// The part of time that lies in all windows that a use was counted in, of limits that cut it.
pub(crate) fn within<'a>(counted: impl Iterator<Item = (&'a PlanLimit, Window)>) -> Window {
    let cuts =
        |limit: &PlanLimit| !matches!(limit.window, WindowRule::Lifetime | WindowRule::Sliding(_));
    let cutting = counted.filter(|(limit, _)| cuts(limit));
    let (start, end) = cutting.fold((ALL.start(), ALL.end()), |(start, end), (_, window)| {
        (start.max(window.start()), end.min(window.end()))
    });
    // A hold that was moved while its limit slid may lie in windows that have nothing in common.
    Window::new(start, end).unwrap_or(ALL)
}

/// The instant of a span that is nearest to another instant: where usage is put that is booked into a
/// window at a time outside of it.
pub(crate) fn nearest(span: Window, at: Millis) -> Millis {
    at.max(span.start()).min(span.end().plus(-1))
}

/// Units as a change; there are never more than 2^53-1.
pub(crate) fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

/// Notes that so many units were used at an instant, in windows that have `within` in common. Nothing for
/// features without buckets.
pub(crate) fn note(
    cx: Context<'_>,
    account: &Account,
    feature: NameId,
    (at, within): (Millis, Window),
    units: i64,
    effects: &mut Effects,
) {
    let rule = cx.catalog.feature_of(feature).and_then(|ix| cx.catalog.feature(ix).tally());
    let (Some(rule), true) = (rule, units != 0) else { return };
    // A limit may have been given another sort of window since an event was counted in one that did not cut.
    let within = if within.contains(at) { within } else { ALL };
    let profile = &account.profile;
    let calendar = WindowRule::Calendar(rule.buckets.unit());
    let nominal = || window_at(calendar, profile.anchor, profile.rules(), at);
    let known = now_of(account, feature, effects);
    // A window that a change of plan has ended may have ended after the bucket began.
    let cut =
        known.as_ref().and_then(|known| cut_since(cx, account, feature, known.span.start(), at));
    let labels = Labels::default();
    match &known {
        Some(known) if at < known.span.start() => {
            let nominal = nominal();
            let start = nominal.start().max(within.start());
            let span = Window::new(start, nominal.end().min(within.end())).unwrap_or(nominal);
            let cells = vec![Cell { labels, units }];
            effects.push(Effect::TallyLate(Box::new(Tally { feature, span, cells })));
        }
        Some(known)
            if known.span.contains(at) && within.start() <= known.span.start() && cut.is_none() =>
        {
            let before = known.units_of(&labels).unwrap_or(0);
            let cell = Cell { labels, units: before.saturating_add(units) };
            let tallied = Tallied { feature, span: known.span, cell };
            effects.push(Effect::Tally(Box::new(tallied)));
        }
        _ => {
            let nominal = nominal();
            let mut start = nominal.start().max(within.start());
            start = cut.map_or(start, |cut| start.max(cut));
            // What began stays until it ends, also when the time zone changes; the next one tiles.
            if let Some(known) = known.as_ref().filter(|known| known.span.end() <= at) {
                start = start.max(known.span.end());
            }
            let span = Window::new(start, nominal.end().min(within.end())).unwrap_or(nominal);
            effects.extend(known.map(|known| Effect::TallyClosed(Box::new(known))));
            let cell = Cell { labels, units };
            effects.push(Effect::Tally(Box::new(Tallied { feature, span, cell })));
        }
    }
}

/// The latest end of a window of the feature, of limits that cut time, after one instant and up to another.
fn cut_since(
    cx: Context<'_>,
    account: &Account,
    feature: NameId,
    after: Millis,
    upto: Millis,
) -> Option<Millis> {
    let shape = cx.catalog.feature(cx.catalog.feature_of(feature)?);
    let FeatureKind::Quota { limits } = &shape.kind else { return None };
    let cuts = |limit: NameId| {
        let rule = limits.iter().find(|(known, _)| *known == limit).map(|(_, rule)| *rule);
        rule.is_some_and(|rule| !matches!(rule, WindowRule::Lifetime | WindowRule::Sliding(_)))
    };
    let own = account.ledgers().iter().filter(|ledger| ledger.feature == feature);
    let ends = own.filter(|ledger| cuts(ledger.limit)).map(|ledger| ledger.window.end());
    ends.filter(|end| after < *end && *end <= upto).max()
}

/// The tally of a feature after the effects listed so far.
fn now_of(account: &Account, feature: NameId, effects: &Effects) -> Option<Tally> {
    let mut known: Vec<Tally> = account.tally(feature).cloned().into_iter().collect();
    for effect in effects {
        if let Effect::Tally(tallied) = effect
            && tallied.feature == feature
        {
            apply(&mut known, tallied);
        }
    }
    known.pop()
}

/// Which changes of a decision have the dimensions of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitsMoved {
    /// Only what was added: what a commit takes back was charged without any.
    More,
    /// What was taken back, too: a correction is of an event with these dimensions.
    MoreOrLess,
}

/// Gives the units that a decision has noted their dimensions.
pub fn label(account: &Account, labels: &Labels, effects: &mut [Effect], moved: UnitsMoved) {
    if labels.is_empty() {
        return;
    }
    let is_meant = |units: i64| units > 0 || (units < 0 && moved == UnitsMoved::MoreOrLess);
    // The tallies as the effects before have left them: without the dimensions, and with them.
    let (mut plain, mut labelled) = (Vec::<Tally>::new(), Vec::<Tally>::new());
    for effect in effects {
        match effect {
            Effect::TallyLate(late) => {
                for cell in late.cells.iter_mut().filter(|cell| is_meant(cell.units)) {
                    cell.labels = labels.clone();
                }
            }
            Effect::TallyClosed(closed) => {
                let is_it = |known: &&Tally| known.span == closed.span;
                if let Some(known) = labelled.iter().find(is_it) {
                    **closed = known.clone();
                }
            }
            Effect::Tally(tallied) => {
                let (feature, span) = (tallied.feature, tallied.span);
                if !plain.iter().any(|known| known.feature == feature) {
                    plain.extend(account.tally(feature).cloned());
                    labelled.extend(account.tally(feature).cloned());
                }
                let of = |all: &[Tally]| {
                    let mut same = all.iter().filter(|known| known.feature == feature);
                    same.find(|known| known.span.start() == span.start()).cloned()
                };
                let units_of = |known: &Option<Tally>, labels: &Labels| {
                    known.as_ref().and_then(|known| known.units_of(labels)).unwrap_or(0)
                };
                let added = tallied.cell.units - units_of(&of(&plain), &tallied.cell.labels);
                apply(&mut plain, tallied);
                let known = of(&labelled);
                let labels = match is_meant(added) {
                    true => with_room(known.as_ref(), labels),
                    false => tallied.cell.labels.clone(),
                };
                let units = units_of(&known, &labels).saturating_add(added);
                tallied.cell = Cell { labels, units };
                apply(&mut labelled, tallied);
            }
            _ => {}
        }
    }
}

/// The dimensions that a use is counted under: those it has, or the other ones when there are too many.
fn with_room(known: Option<&Tally>, labels: &Labels) -> Labels {
    let is_full = known.is_some_and(|known| {
        known.cells.len() >= limits::TALLY_CELLS_MAX && known.units_of(labels).is_none()
    });
    if is_full {
        return labels.iter().map(|(name, _)| (*name, Label::Other)).collect();
    }
    labels.clone()
}
