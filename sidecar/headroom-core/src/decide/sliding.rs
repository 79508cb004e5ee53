//! Sliding windows: the last so many hours, added up from buckets.
//!
//! A bucket is a ledger like any other, one after the other in time. A request sees their sum, and
//! writes to one of them: the bucket of its own moment, or of the admission it settles. While a bucket
//! lasts nothing leaves the sum, so usage falls only where one bucket ends and the next begins.
//!
//! Invariant: a bucket counts until the window has wholly passed it, so the sum is never less than
//! what was admitted within the window. It may be more by what lies in the bucket being left: units
//! count for at most one bucket longer than the window.

use smallvec::SmallVec;

use crate::account::Account;
use crate::catalog::{Catalog, FeatureKind, PlanLimit, Policy};
use crate::decision::LimitState;
use crate::ledger::{Ledger, Marks};
use crate::names::NameId;
use crate::signal::REACHED_BP;
use crate::time::{Millis, Window};
use crate::window::{Every, WindowRule, bucket_start_from};

/// What a sliding limit holds besides the bucket that a request writes to. The ledger that goes with
/// it is the sum over all buckets.
#[derive(Debug, Clone)]
pub(super) struct Beyond {
    // The bucket as it was before the request, and the marks of the sum.
    own: Ledger,
    marks: Marks,
    // The other buckets that count: what they hold together, and when each leaves.
    used: u64,
    reserved: u64,
    debt: u64,
    holds: u32,
    leaving: SmallVec<[(Millis, u64); 4]>,
    own_leaves_at: Millis,
    /// Whether the bucket counts now. One that the window has passed is booked for itself.
    counts: bool,
}

/// How long the units of a limit's window count after its end, in milliseconds: the length of a
/// sliding window, and 0 of all others.
pub fn counts_on_ms(catalog: &Catalog, feature: NameId, limit: NameId) -> i64 {
    let Some(feature) = catalog.feature_of(feature) else { return 0 };
    let FeatureKind::Quota { limits } = &catalog.feature(feature).kind else { return 0 };
    let own = limits.iter().find(|(id, _)| *id == limit).map(|(_, window)| *window);
    let levels = || catalog.feature(feature).levels.iter().find(|level| level.limit == limit);
    match own.or_else(|| levels().map(|level| level.window)) {
        Some(WindowRule::Sliding(every)) => every.sliding_ms(),
        _ => 0,
    }
}

/// The sum over the buckets of a limit, and what is needed to write to the bucket `own`.
///
/// `current` is the bucket of now; `fresh` says that `own` is new. Of the account's ledgers, `own` takes
/// the place of the one with its start.
pub(super) fn sum(
    account: &Account,
    limit: &PlanLimit,
    every: Every,
    (own, fresh): (Ledger, bool),
    current: Window,
) -> (Ledger, Box<Beyond>) {
    sum_of(account.ledgers().iter(), limit, every, (own, fresh), current)
}

pub(super) fn sum_of<'a>(
    ledgers: impl Iterator<Item = &'a Ledger> + Clone,
    limit: &PlanLimit,
    every: Every,
    (own, fresh): (Ledger, bool),
    current: Window,
) -> (Ledger, Box<Beyond>) {
    let length_ms = every.sliding_ms();
    let counts = |bucket: &Ledger| current.start() < bucket.window.end().plus(length_ms);
    let leaves_at = |bucket: &Ledger| {
        let passed_at = bucket.window.end().plus(length_ms);
        // A bucket that began under another rule may last longer than those of this one.
        if passed_at <= current.end() { current.end() } else { bucket_start_from(every, passed_at) }
    };
    let mut beyond = Box::new(Beyond {
        own,
        marks: Marks::default(),
        used: 0,
        reserved: 0,
        debt: 0,
        holds: 0,
        leaving: SmallVec::new(),
        own_leaves_at: leaves_at(&own),
        counts: counts(&own),
    });
    let mut sum = own;
    if !beyond.counts {
        sum.see_limit(limit.mark());
        return (sum, beyond);
    }
    let others = ledgers.filter(|l| {
        l.limit == own.limit
            && l.feature == own.feature
            && l.window.start() != own.window.start()
            && counts(l)
    });
    // A new bucket knows nothing of earlier definitions of the limit.
    let mut latest = (!fresh).then_some(own);
    for bucket in others.clone() {
        beyond.used += bucket.used;
        beyond.reserved += bucket.reserved;
        beyond.debt += bucket.debt;
        beyond.holds += bucket.holds;
        if bucket.held() > 0 {
            beyond.leaving.push((leaves_at(bucket), bucket.held()));
        }
        let age = |l: &Ledger| (l.limit_revision, l.window.start());
        if latest.is_none_or(|latest| age(&latest) < age(bucket)) {
            latest = Some(*bucket);
        }
    }
    // The sum has seen the definitions that its buckets have seen.
    let latest = latest.unwrap_or(own);
    sum.limit_mark = latest.limit_mark;
    sum.limit_revision = latest.limit_revision;
    sum.see_limit(limit.mark());
    let same_limit =
        |l: &Ledger| (l.limit_mark, l.limit_revision) == (sum.limit_mark, sum.limit_revision);
    if !same_limit(&own) {
        beyond.own.marks = Marks::default();
    }
    sum.marks = beyond.own.marks;
    for bucket in others.filter(|l| same_limit(l)) {
        sum.marks = sum.marks.with(bucket.marks);
    }
    beyond.marks = sum.marks;
    sum.used += beyond.used;
    sum.reserved += beyond.reserved;
    sum.debt += beyond.debt;
    sum.holds += beyond.holds;
    let start = current.start().plus(-length_ms);
    sum.window = Window::new(start, current.end()).unwrap_or(current);
    (sum, beyond)
}

impl Beyond {
    /// The bucket to write, when the sum is now this. It remembers every threshold that was announced
    /// and is passed now, so that a threshold is announced again only after the window has left all
    /// buckets that saw it passed.
    pub(super) fn bucket(&self, sum: &Ledger, limit: &PlanLimit) -> Ledger {
        if !self.counts {
            return *sum;
        }
        let announced = sum.marks.without(self.marks);
        let passed = Marks(sum.marks.0 & passed(limit, sum.used).0);
        Ledger {
            window: self.own.window,
            used: sum.used - self.used,
            reserved: sum.reserved - self.reserved,
            debt: sum.debt - self.debt,
            holds: sum.holds - self.holds,
            marks: self.own.marks.with(announced).with(passed),
            ..*sum
        }
    }

    /// Whether what is booked may be announced: the window has not passed the bucket.
    pub(super) fn is_told(&self) -> bool {
        self.counts
    }

    /// When so many units less are held by the buckets of now.
    pub(super) fn less_by(&self, sum: &Ledger, units: u64) -> Millis {
        let own_held = sum.held() - self.used - self.reserved;
        let mut leaving = self.leaving.clone();
        leaving.push((self.own_leaves_at, own_held));
        leaving.sort_unstable();
        let mut left = 0;
        let mut enough = leaving.into_iter().filter(|(_, held)| *held > 0).map(|(at, held)| {
            left += held;
            (at, left)
        });
        enough.find(|(_, left)| units <= *left).map_or(Millis::FOREVER, |(at, _)| at)
    }

    /// When `units` more would fit that do not fit now; [`Millis::FOREVER`] if never.
    pub(super) fn frees_for(&self, sum: &Ledger, limit: &PlanLimit, units: u64) -> Millis {
        match limit.ceiling_units() {
            Some(ceiling) if units <= ceiling => {
                self.less_by(sum, (sum.held() + units).saturating_sub(ceiling))
            }
            _ => Millis::FOREVER,
        }
    }

    /// Dresses the state of the limit.
    pub(super) fn dress(&self, state: &mut LimitState) {
        if self.counts {
            state.slide(self.less_by(&state.ledger, 1));
        }
    }
}

/// The marks of all that usage has passed.
fn passed(limit: &PlanLimit, used: u64) -> Marks {
    let mut marks = Marks::default();
    for (place, bp) in limit.soft_limits_bp.iter().enumerate() {
        if limit.is_past(used, *bp) {
            marks = marks.with(Marks::threshold(place));
        }
    }
    if limit.is_past(used, REACHED_BP) {
        marks = marks.with(Marks::REACHED);
    }
    let is_above = limit.included_units.is_some_and(|included| used > included);
    if is_above && limit.policy != Policy::Unlimited {
        marks = marks.with(Marks::HIT);
    }
    marks
}

/// The length of the limit's window, if it slides.
pub(super) fn every_of(limit: &PlanLimit) -> Option<Every> {
    match limit.window {
        WindowRule::Sliding(every) => Some(every),
        _ => None,
    }
}
