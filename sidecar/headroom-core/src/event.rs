//! Events with a time of their own, and corrections: what the usage history says of them.
//!
//! An event is known by its idempotency key for as long as its window can be restated. Corrections
//! name it by that key. None of this lives in an account: an effect here changes no state, it is
//! kept by the projection. What it does to counters is a [`crate::effect::Effect::Ledger`] of a window
//! in memory, or a [`Restated`] of one that has left it.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::closing::WindowTerms;
use crate::credits::{Charge, CreditPrice};
use crate::ledger::Ledger;
use crate::names::NameId;
use crate::subject::SubjectId;
use crate::tally::Labels;
use crate::time::Millis;

/// A keyed hash of an idempotency key.
pub type EventKey = [u64; 2];

/// A window that has left the memory, and what it holds since it was restated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restated {
    /// As it was when it closed: never changed.
    pub closed: Ledger,
    /// Units used, with everything that came afterwards.
    pub used: u64,
    /// The part of them that no limit allowed.
    pub debt: u64,
    /// What it is measured by. `None`: nothing is known of that.
    pub terms: Option<WindowTerms>,
    /// What it counts now of what the window before owes, where that is why it was restated.
    pub passed: Option<Delta>,
}

/// A change of a number of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delta {
    /// So many more.
    More(u64),
    /// So many less.
    Less(u64),
}

impl Restated {
    /// A window that nothing came to afterwards.
    pub fn as_closed(closed: Ledger, terms: Option<WindowTerms>) -> Restated {
        Restated { closed, used: closed.used, debt: closed.debt, terms, passed: None }
    }

    /// The most of its units that it can have taken over from the window before.
    pub fn carried_units_max(&self) -> u64 {
        self.terms.map_or(u64::MAX, |terms| terms.carried_units)
    }

    /// Whether anything came afterwards.
    pub fn is_restated(&self) -> bool {
        (self.used, self.debt) != (self.closed.used, self.closed.debt)
    }
}

/// A place that an event was counted at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booking {
    /// The limit.
    pub limit: NameId,
    /// Start of the window.
    pub window_start: Millis,
    /// Its end. `None`: it has none, or an earlier version wrote this, which did not keep it.
    pub window_end: Option<Millis>,
    /// Whether the window had left the memory, so that its total was restated.
    pub restated: bool,
    /// What the write changed there. `None`: nothing is known of that, or nothing was changed yet.
    pub counts: Option<Counts>,
}

impl Booking {
    /// The window of a ledger, and nothing done to it yet.
    pub(crate) fn at(ledger: &Ledger) -> Booking {
        let window = ledger.window;
        Booking {
            limit: ledger.limit,
            window_start: window.start(),
            window_end: (!window.is_lifetime()).then(|| window.end()),
            restated: false,
            counts: None,
        }
    }
}

/// What a write changed of the total of a window: it is more by `after - before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Where uses add up or count once, what the event counted there before. Of a largest and of a latest value, what
    /// the window held.
    pub before: u64,
    /// The same since.
    pub after: u64,
}

/// The places that an event was counted at, one for each limit.
pub type Bookings = SmallVec<[Booking; 2]>;

/// For whom inside the account an event was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSubject {
    /// A keyed hash of the path. The path itself would be a place more to erase it from.
    pub path_hash: u64,
    /// The places that it was counted at, one for each limit of a level, with the number of its subject.
    pub bookings: Vec<(SubjectId, Booking)>,
}

/// A part of what an event cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidPart {
    /// The grant that paid it. `None`: none did, the pool owed it.
    pub grant: Option<Arc<str>>,
    /// Credits, at least 1.
    pub units: u64,
    /// When it was charged.
    pub at: Millis,
}

/// What an event cost a pool of credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The pool.
    pub pool: NameId,
    /// What its units cost when it came: what it is corrected to costs the same.
    pub price: CreditPrice,
    /// What was charged and has not come back, in the order it was charged.
    pub parts: Vec<PaidPart>,
}

impl Payment {
    /// The payment of an event that was charged at an instant.
    pub fn of(price: CreditPrice, charge: &Charge, at: Millis) -> Payment {
        let mut payment = Payment { pool: charge.pool, price, parts: Vec::new() };
        payment.add(charge, at);
        payment
    }

    /// What the event costs as it stands.
    pub fn units(&self) -> u64 {
        self.parts.iter().map(|part| part.units).sum()
    }

    pub(crate) fn add(&mut self, charge: &Charge, at: Millis) {
        let paid = charge.deductions.iter().map(|one| (Some(Arc::clone(&one.grant)), one.units));
        for (grant, units) in paid.chain([(None, charge.debt_units)]).filter(|(_, u)| *u > 0) {
            match self.parts.last_mut() {
                Some(last) if last.grant == grant && last.at == at => last.units += units,
                _ => self.parts.push(PaidPart { grant, units, at }),
            }
        }
    }

    /// Takes so many credits off, those that were charged last first.
    pub(crate) fn take_off(&mut self, units: u64) -> Vec<PaidPart> {
        let (mut rest, mut off) = (units, Vec::new());
        while rest > 0 {
            let Some(last) = self.parts.last_mut() else { break };
            let units = last.units.min(rest);
            off.push(PaidPart { units, ..last.clone() });
            rest -= units;
            last.units -= units;
            if last.units == 0 {
                self.parts.pop();
            }
        }
        off
    }
}

/// What a correction must know of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventState {
    /// The event's key.
    pub key: EventKey,
    /// The event's key as the client wrote it.
    pub name: String,
    /// The feature.
    pub feature: NameId,
    /// When it happened.
    pub occurred_at: Millis,
    /// Units it counts now; 0 when it was withdrawn.
    pub units: u64,
    /// Where.
    pub bookings: Bookings,
    /// What its usage is told apart by.
    pub labels: Labels,
    /// What it cost. `None`: credits did not pay for it when it came. Boxed because it is rare.
    pub paid: Option<Box<Payment>>,
    /// For whom it was counted. `None`: for the account alone. Boxed because it is rare.
    pub subject: Option<Box<EventSubject>>,
}

/// What was done to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventChange {
    /// It was recorded, with a time of its own.
    Recorded,
    /// It has other units now.
    Amended,
    /// It does not count any more.
    Withdrawn,
}

/// An event that was recorded, or a correction of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key of this write: of a correction, its own.
    pub key: EventKey,
    /// Hash of what was asked.
    pub payload: u64,
    /// What was done.
    pub change: EventChange,
    /// Units the event counted before; 0 when it is new.
    pub units_before: u64,
    /// The part of what was added that no limit allowed: the most of all limits.
    pub debt_units: u64,
    /// Why, in the client's words; may be empty.
    pub reason: String,
    /// What this write took from a pool of credits, or gave back.
    pub charge: Option<Box<Charge>>,
    /// The event as it stands now.
    pub state: EventState,
}
