//! The queue of a gate: who waits for which record, in the order of arrival.
//!
//! Not ordered by record: a stream may come back for an older one. So a release looks at all of it,
//! which costs little, because a written batch settles nearly everyone who waits.

use std::collections::VecDeque;
use std::task::Waker;

use super::Pending;

/// A place in the queue, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Bounded by the requests in flight: each has at most one place, and gives it back when dropped.
#[derive(Default)]
pub(super) struct Queue {
    /// The ticket of the first place.
    first: u64,
    /// Left or released places are `None` until they reach the front, and the front is never one.
    places: VecDeque<Option<Place>>,
    /// Places that are taken.
    taken: usize,
}

struct Place {
    pending: Pending,
    waker: Waker,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    /// Waits for a record in the place of `ticket` if that is still taken, else in a new one. Returns
    /// the place, and the waker that was replaced, for the caller to drop without the lock.
    pub(super) fn enter(
        &mut self,
        ticket: Option<Ticket>,
        pending: Pending,
        waker: &Waker,
    ) -> (Ticket, Option<Waker>) {
        if let Some(ticket) = ticket
            && let Some(place) = self.slot(ticket).and_then(Option::as_mut)
        {
            place.pending = pending;
            let replaced = (!place.waker.will_wake(waker))
                .then(|| std::mem::replace(&mut place.waker, waker.clone()));
            return (ticket, replaced);
        }
        let ticket = Ticket(self.first + self.places.len() as u64);
        self.places.push_back(Some(Place { pending, waker: waker.clone() }));
        self.taken += 1;
        (ticket, None)
    }

    /// Gives a place back, if it is still taken.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        let place = self.slot(ticket)?.take()?;
        self.taken -= 1;
        self.trim();
        Some(place.waker)
    }

    /// Moves the wakers of all settled records to `woken`.
    pub(super) fn release(&mut self, settled: impl Fn(Pending) -> bool, woken: &mut Vec<Waker>) {
        for slot in &mut self.places {
            if let Some(place) = slot.take_if(|place| settled(place.pending)) {
                self.taken -= 1;
                woken.push(place.waker);
            }
        }
        self.trim();
    }

    fn slot(&mut self, ticket: Ticket) -> Option<&mut Option<Place>> {
        let index = ticket.0.checked_sub(self.first)?;
        self.places.get_mut(usize::try_from(index).ok()?)
    }

    fn trim(&mut self) {
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
    }
}
