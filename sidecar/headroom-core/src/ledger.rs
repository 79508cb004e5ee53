//! Ledgers: how many units an account has used and set aside in one window of one limit.
//!
//! A ledger never reads a clock and knows no plan; [`crate::decide`] compares it with the limit that
//! is in force.
//!
//! Invariant: an admission never takes `used + reserved` past the limit's ceiling; only `Record` and
//! surplus commits may, and what they take past it is `debt`.

use crate::limits;
use crate::names::NameId;
use crate::time::{Millis, Window};

/// The counters of one (account, feature, limit, window).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// The feature counted.
    pub feature: NameId,
    /// The limit counted against.
    pub limit: NameId,
    /// The span counted over.
    pub window: Window,
    /// Units used, 0 to 2^53-1.
    pub used: u64,
    /// Units set aside by open reservations.
    pub reserved: u64,
    /// The part of `used` that no limit allowed.
    pub debt: u64,
    /// Reservations that may still book here, open or remembered; while there are any the ledger
    /// outlives its window.
    pub holds: u32,
    /// Fingerprint of the limit's definition at the last write, to notice a change.
    pub limit_mark: u32,
    /// Definitions of the limit seen in this window, counted from 1; stops at 65,535.
    pub limit_revision: u16,
    /// What was announced already under this revision.
    pub marks: Marks,
}

/// One bit per soft threshold, in the limit's order, and two more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(pub u16);

impl Marks {
    /// The usage reached the included units.
    pub const REACHED: Marks = Marks(1 << 14);
    /// A use was refused, or went past the included units into grace or overage.
    pub const HIT: Marks = Marks(1 << 15);

    /// The mark of the soft threshold at place `place` of its limit.
    pub fn threshold(place: usize) -> Marks {
        debug_assert!(place < limits::THRESHOLDS_MAX);
        Marks(1 << (place & 0x0f))
    }

    /// Whether all of `other` is set.
    pub fn has(self, other: Marks) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    pub fn with(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }

    /// What is here and not in `other`.
    pub fn without(self, other: Marks) -> Marks {
        Marks(self.0 & !other.0)
    }

    /// Whether nothing is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Ledger {
    /// A ledger at zero.
    pub fn new(feature: NameId, limit: NameId, window: Window, limit_mark: u32) -> Ledger {
        Ledger {
            feature,
            limit,
            window,
            used: 0,
            reserved: 0,
            debt: 0,
            holds: 0,
            limit_mark,
            limit_revision: 1,
            marks: Marks::default(),
        }
    }

    /// Used and reserved together: what admission looks at.
    pub fn held(&self) -> u64 {
        self.used + self.reserved
    }

    /// Whether this is the ledger of that feature, limit and window start.
    pub fn is(&self, feature: NameId, limit: NameId, start: Millis) -> bool {
        self.limit == limit && self.feature == feature && self.window.start() == start
    }

    /// Whether nothing can be booked here any more.
    pub fn is_over(&self, now: Millis) -> bool {
        self.window.end() <= now && self.holds == 0
    }

    /// Notices a changed limit: everything may be announced again, under a new revision.
    pub fn see_limit(&mut self, limit_mark: u32) {
        if self.limit_mark != limit_mark {
            self.limit_mark = limit_mark;
            self.limit_revision = self.limit_revision.saturating_add(1);
            self.marks = Marks::default();
        }
    }

    /// What must hold of every ledger, whatever happened. A bug breaks it, no client can.
    pub fn is_sound(&self) -> bool {
        self.used <= limits::UNITS_MAX
            && self.reserved <= limits::UNITS_MAX
            && self.debt <= self.used
            && (self.holds > 0 || self.reserved == 0)
    }
}
