//! What is confirmed: the unbroken beginning of the signals read.
//!
//! Deliveries end in any order, but a cursor is one place: it may only say "everything up to here".
//! Signals that the sink does not want need no room: they are confirmed with the one before them.

use std::collections::VecDeque;

use headroom_engine::digest::SignalId;

use super::status::Waiting;

/// The signals read and not yet below the cursor.
#[derive(Debug)]
pub(super) struct Prefix {
    confirmed: SignalId,
    // Invariant: ascending by id, each `upto` below the next id, and the first is not done.
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    id: SignalId,
    /// Everything from `id` to here is confirmed with it.
    upto: SignalId,
    done: bool,
    waiting: Waiting,
}

impl Prefix {
    /// Everything up to and including `confirmed` is.
    pub(super) fn new(confirmed: SignalId) -> Prefix {
        Prefix { confirmed, open: VecDeque::new() }
    }

    /// Everything up to and including this is delivered, unwanted or given up.
    pub(super) fn confirmed(&self) -> SignalId {
        self.confirmed
    }

    /// Signals between the cursor and the last one read.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Since when the oldest unconfirmed signal waits.
    pub(super) fn oldest(&self) -> Option<Waiting> {
        self.open.front().map(|open| open.waiting)
    }

    /// The next signal is to be delivered.
    pub(super) fn wanted(&mut self, id: SignalId, waiting: Waiting) {
        assert!(self.confirmed < id && self.open.back().is_none_or(|open| open.upto < id));
        self.open.push_back(Open { id, upto: id, done: false, waiting });
    }

    /// The next signal is none of this sink's.
    pub(super) fn unwanted(&mut self, id: SignalId) {
        match self.open.back_mut() {
            Some(open) => open.upto = id,
            None => self.confirmed = id,
        }
    }

    /// A wanted signal is delivered or given up.
    pub(super) fn done(&mut self, id: SignalId) {
        let place = self.open.binary_search_by_key(&id, |open| open.id);
        self.open[place.expect("only what was wanted is delivered")].done = true;
        while let Some(open) = self.open.front().filter(|open| open.done) {
            self.confirmed = open.upto;
            self.open.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use headroom_core::time::Millis;
    use headroom_engine::ports::Seq;
    use tokio::time::Instant;

    use super::*;

    fn id(seq: u64) -> SignalId {
        SignalId { seq: Seq(seq), place: 0 }
    }

    /// Every order of ending, next to a naive model.
    #[tokio::test]
    async fn the_cursor_is_the_unbroken_beginning_in_every_order() {
        let waiting = Waiting::since(Millis(0), true, Instant::now());
        // Signals 1 to 6, of which 1, 3 and 6 are unwanted.
        let orders: [[u64; 3]; 6] =
            [[2, 4, 5], [2, 5, 4], [4, 2, 5], [4, 5, 2], [5, 2, 4], [5, 4, 2]];
        for order in orders {
            let mut prefix = Prefix::new(id(0));
            for seq in 1..=6 {
                match seq {
                    1 | 3 | 6 => prefix.unwanted(id(seq)),
                    _ => prefix.wanted(id(seq), waiting),
                }
            }
            assert_eq!(prefix.confirmed(), id(1));
            let mut done = vec![1, 3, 6];
            for seq in order {
                prefix.done(id(seq));
                done.push(seq);
                let expected = (1..=6).take_while(|seq| done.contains(seq)).last().unwrap();
                assert_eq!(prefix.confirmed(), id(expected), "{order:?} at {seq}");
            }
            assert!(prefix.len() == 0 && prefix.oldest().is_none());
        }
    }
}
