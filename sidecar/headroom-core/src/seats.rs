//! Seats: who sits in an account, and who was invited to.
//!
//! Seats are members, not a number. A member is invited, which holds a seat until the invitation ends,
//! then claims it, and is released at last. Counted they are in one lifetime ledger: who has claimed is
//! used, who is invited is reserved. The rules are [`crate::decide`]'s; here is what is known.
//!
//! Invariant: of every feature, as many members are here as its ledger has used and reserved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::names::NameId;
use crate::time::Millis;

/// How a member sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatState {
    /// A seat is held for them until an instant, excluded.
    Invited {
        /// When the seat is free again.
        expires_at: Millis,
    },
    /// They have taken it.
    Claimed,
}

/// One member's seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The feature.
    pub feature: NameId,
    /// Who: 1 to 128 bytes.
    pub member: Arc<str>,
    /// How.
    pub state: SeatState,
    /// Since when so.
    pub since: Millis,
}

/// All seats of one account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    seats: BTreeMap<NameId, BTreeMap<Arc<str>, (SeatState, Millis)>>,
    // Those invited, by the end of the invitation.
    invited: BTreeSet<(Millis, NameId, Arc<str>)>,
    count: usize,
}

impl Roster {
    /// The seat of a member, an ended invitation too until it is settled.
    pub fn get(&self, feature: NameId, member: &str) -> Option<Seat> {
        let (member, (state, since)) = self.seats.get(&feature)?.get_key_value(member)?;
        Some(Seat { feature, member: Arc::clone(member), state: *state, since: *since })
    }

    /// All seats, by feature and member.
    pub fn iter(&self) -> impl Iterator<Item = Seat> {
        self.seats.keys().flat_map(|feature| self.of(*feature, None))
    }

    /// The seats of a feature by member, those after `after`.
    pub fn of(&self, feature: NameId, after: Option<&str>) -> impl Iterator<Item = Seat> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let members = self.seats.get(&feature).into_iter();
        let members = members.flat_map(move |all| all.range::<str, _>((from, Unbounded)));
        members.map(move |(member, (state, since))| Seat {
            feature,
            member: Arc::clone(member),
            state: *state,
            since: *since,
        })
    }

    /// How many seats of all features are taken.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether nobody sits here.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the next invitation ends; [`Millis::FOREVER`] when none does.
    pub fn next_expiry_at(&self) -> Millis {
        self.invited.first().map_or(Millis::FOREVER, |(at, ..)| *at)
    }

    /// The invitations that have ended by `now`, in the order of their ends.
    pub fn ended(&self, now: Millis) -> impl Iterator<Item = (Millis, NameId, &Arc<str>)> {
        let ended = self.invited.iter().take_while(move |(at, ..)| *at <= now);
        ended.map(|(at, feature, member)| (*at, *feature, member))
    }

    /// The seat of a member is now this.
    pub(crate) fn put(&mut self, seat: &Seat) {
        self.free(seat.feature, &seat.member);
        if let SeatState::Invited { expires_at } = seat.state {
            self.invited.insert((expires_at, seat.feature, Arc::clone(&seat.member)));
        }
        let members = self.seats.entry(seat.feature).or_default();
        members.insert(Arc::clone(&seat.member), (seat.state, seat.since));
        self.count += 1;
    }

    /// A member has no seat any more.
    pub(crate) fn free(&mut self, feature: NameId, member: &str) {
        let Some(members) = self.seats.get_mut(&feature) else { return };
        let Some((member, (state, _))) = members.remove_entry(member) else { return };
        if members.is_empty() {
            self.seats.remove(&feature);
        }
        if let SeatState::Invited { expires_at } = state {
            self.invited.remove(&(expires_at, feature, member));
        }
        self.count -= 1;
    }
}
