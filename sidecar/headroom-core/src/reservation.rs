//! Reservations: units set aside for work whose cost is not known yet.
//!
//! A reservation has exactly one outcome: committed, released, or expired. A commit after expiry is
//! still booked, so an expired hold is remembered for a while; so is an outcome, to tell a second
//! one from an unknown id. Before it has its outcome, parts of it may be booked, any number of times.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smallvec::SmallVec;

use crate::credits::CreditHold;
use crate::limits;
use crate::names::NameId;
use crate::subject::SubjectId;
use crate::time::Millis;

/// Names a reservation: the account's serial in the upper half, a count in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(pub u64);

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReservationState {
    /// It holds units.
    Open,
    /// Its time ran out; it holds nothing, and a commit is booked as surplus.
    Expired,
    /// It became usage.
    Committed {
        /// Units booked.
        units: u64,
    },
    /// It was given back.
    Released,
}

/// What becomes of the units of a hold that ends by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum OnExpiry {
    /// They are given back: nothing says that they were used.
    #[default]
    Release,
    /// They become usage, until a commit says how many they really were.
    Charge,
}

/// What few reservations have besides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReservationExtra {
    /// What becomes of its units when it ends by time.
    pub on_expiry: OnExpiry,
    /// Units booked by commits that kept it open.
    pub booked_units: u64,
    /// Units that its end has charged, less what commits have accounted for since.
    pub charged_units: u64,
    /// The credits that it holds in a pool, besides or instead of the units of limits.
    pub credits: Option<CreditHold>,
    /// The ledgers of subjects it was admitted into, besides the account's: subject, limit and window
    /// start.
    pub levels: Vec<(SubjectId, NameId, Millis)>,
}

/// Units set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Its name.
    pub id: ReservationId,
    /// The feature.
    pub feature: NameId,
    /// Units held, or that were held.
    pub units: u64,
    /// When the hold ends.
    pub expires_at: Millis,
    /// When time will next change it: the hold ends, or it is forgotten.
    pub next_event_at: Millis,
    /// Where it stands.
    pub state: ReservationState,
    /// The ledgers it was admitted into: limit and window start. Usage is booked there, whatever
    /// window it is by then.
    pub ledgers: SmallVec<[(NameId, Millis); 2]>,
    /// Boxed because most reservations have none of it.
    pub extra: Option<Box<ReservationExtra>>,
}

impl Reservation {
    /// Whether its end turns what it holds into usage.
    pub fn charges(&self) -> bool {
        self.state == ReservationState::Open
            && self.units > 0
            && self.extra.as_ref().is_some_and(|extra| extra.on_expiry == OnExpiry::Charge)
    }

    /// The limits that hold it, of the account and of subjects.
    pub fn limits(&self) -> impl Iterator<Item = NameId> + '_ {
        let levels = self.extra.iter().flat_map(|extra| &extra.levels);
        let own = self.ledgers.iter().map(|(limit, _)| *limit);
        own.chain(levels.map(|(_, limit, _)| *limit))
    }

    /// What few reservations have besides.
    pub fn extra(&self) -> ReservationExtra {
        self.extra.as_deref().cloned().unwrap_or_default()
    }

    /// Replaces what few reservations have besides.
    pub fn set_extra(&mut self, extra: ReservationExtra) {
        self.extra = (extra != ReservationExtra::default()).then(|| Box::new(extra));
    }
}

/// The reservations of one account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reservations {
    by_id: BTreeMap<ReservationId, Reservation>,
    // Invariant: (next_event_at, id) of each reservation, and nothing else.
    by_event: BTreeSet<(Millis, ReservationId)>,
    // Invariant: the ids of those with an outcome other than expiry, oldest first.
    closed: VecDeque<ReservationId>,
    // Invariant: (expires_at, id) of those whose end charges.
    charges: BTreeSet<(Millis, ReservationId)>,
    last_id: u64,
    open: usize,
}

impl Reservations {
    /// The reservation of this id.
    pub fn get(&self, id: ReservationId) -> Option<&Reservation> {
        self.by_id.get(&id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.by_id.values()
    }

    /// All of them, in the order in which time will next change them.
    pub fn by_event(&self) -> impl Iterator<Item = &Reservation> {
        self.by_event.iter().filter_map(|(_, id)| self.by_id.get(id))
    }

    /// Those that time has changed by `now`, earliest first.
    pub fn due(&self, now: Millis) -> impl Iterator<Item = &Reservation> {
        self.by_event
            .iter()
            .take_while(move |(at, _)| *at <= now)
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    /// When time will next change one; [`Millis::FOREVER`] when never.
    pub fn next_event_at(&self) -> Millis {
        self.by_event.first().map_or(Millis::FOREVER, |(at, _)| *at)
    }

    /// The one whose end charges first.
    pub fn next_charge(&self) -> Option<&Reservation> {
        self.charges.first().and_then(|(_, id)| self.by_id.get(id))
    }

    /// When an end will next charge; [`Millis::FOREVER`] when none will.
    pub fn next_charge_at(&self) -> Millis {
        self.charges.first().map_or(Millis::FOREVER, |(at, _)| *at)
    }

    /// How many have ended by time and may still be booked.
    pub fn expired_count(&self) -> usize {
        self.by_id.len() - self.open - self.closed.len()
    }

    /// Those that time has changed by `now`, and nothing else.
    pub(crate) fn only_due(&self, now: Millis) -> Reservations {
        let mut due = Reservations::default();
        self.due(now).for_each(|held| due.put(held.clone()));
        due
    }

    /// The subjects of those that time has changed by `now`.
    pub(crate) fn subjects_due(&self, now: Millis) -> impl Iterator<Item = SubjectId> {
        let extras = self.due(now).filter_map(|held| held.extra.as_deref());
        extras.flat_map(|extra| extra.levels.iter().map(|(id, _, _)| *id))
    }

    /// How many hold units now.
    pub fn open_count(&self) -> usize {
        self.open
    }

    /// The oldest with an outcome, when one more would be too many to remember.
    pub fn closed_to_forget(&self) -> Option<ReservationId> {
        (self.closed.len() >= limits::CLOSED_RESERVATIONS_MAX)
            .then(|| self.closed.front().copied())
            .flatten()
    }

    /// Whether nothing is remembered. The counter of ids is then free to start again only if no id
    /// was ever given, so an account that had one keeps this structure.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.last_id == 0
    }

    /// The lower half of the last id given.
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Restores the counter of ids when an account is read back.
    pub fn set_last_id(&mut self, last_id: u64) {
        self.last_id = self.last_id.max(last_id);
    }

    pub(crate) fn put(&mut self, after: Reservation) {
        let id = after.id;
        self.last_id = self.last_id.max(id.0 & u64::from(u32::MAX));
        if let Some(before) = self.by_id.remove(&id) {
            self.by_event.remove(&(before.next_event_at, id));
            self.open -= usize::from(before.state == ReservationState::Open);
            self.charges.remove(&(before.expires_at, id));
            // Applying an outcome again must not list it twice.
            if is_closed(before.state) {
                self.unlist(id);
            }
        }
        self.open += usize::from(after.state == ReservationState::Open);
        if is_closed(after.state) {
            self.closed.push_back(id);
        }
        if after.charges() {
            self.charges.insert((after.expires_at, id));
        }
        self.by_event.insert((after.next_event_at, id));
        self.by_id.insert(id, after);
    }

    pub(crate) fn forget(&mut self, id: ReservationId) {
        let Some(before) = self.by_id.remove(&id) else { return };
        self.by_event.remove(&(before.next_event_at, id));
        self.charges.remove(&(before.expires_at, id));
        self.open -= usize::from(before.state == ReservationState::Open);
        if is_closed(before.state) {
            self.unlist(id);
        }
    }

    fn unlist(&mut self, id: ReservationId) {
        // Nearly always the oldest one is forgotten.
        if self.closed.front() == Some(&id) {
            self.closed.pop_front();
        } else {
            self.closed.retain(|closed| *closed != id);
        }
    }
}

fn is_closed(state: ReservationState) -> bool {
    matches!(state, ReservationState::Committed { .. } | ReservationState::Released)
}
