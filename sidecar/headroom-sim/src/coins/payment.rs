//! What an event was paid with, so that a correction gives it back.

use headroom_core::credits::CreditPrice;

use super::{Id, Took, cost};

/// The coins of an event, in the order in which they were paid.
#[derive(Debug, Clone)]
pub(crate) struct Payment {
    /// What its units cost when it came.
    pub(crate) price: CreditPrice,
    /// Of which grant, if one paid; when; how many.
    parts: Vec<(Option<Id>, i64, u64)>,
}

impl Payment {
    pub(crate) fn new(price: CreditPrice) -> Payment {
        Payment { price, parts: Vec::new() }
    }

    /// What it cost in all.
    pub(crate) fn units(&self) -> u64 {
        self.parts.iter().map(|(_, _, units)| units).sum()
    }

    /// What it is to cost for so many units: so much more, or so much less.
    pub(crate) fn change(&self, units: u64) -> (u64, u64) {
        let (before, after) = (self.units(), cost(self.price, units));
        (after.saturating_sub(before), before.saturating_sub(after))
    }

    pub(crate) fn add(&mut self, took: &Took, now: i64) {
        self.parts.extend(took.paid.iter().map(|(grant, units)| (Some(*grant), now, *units)));
        self.parts.extend((took.owed > 0).then_some((None, now, took.owed)));
    }

    /// Takes the coins off that were paid last.
    pub(crate) fn take_off(&mut self, credits: u64) -> Vec<(Option<Id>, i64, u64)> {
        let mut off = Vec::new();
        let mut rest = credits;
        while rest > 0 {
            let (grant, at, units) = self.parts.pop().expect("no more than was paid");
            let less = units.min(rest);
            rest -= less;
            off.push((grant, at, less));
            self.parts.extend((units > less).then_some((grant, at, units - less)));
        }
        off
    }
}
