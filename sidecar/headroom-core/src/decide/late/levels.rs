//! Late events for somebody inside an account: which number of a subject's name each window is filed under.
//!
//! A subject that left the memory and came back has another number, and a window that has closed is filed under
//! the number of its time. So each limit of a level may be counted under a number of its own: the one in
//! memory, that of the window, or, for a gap between windows, the one that whoever looked at the disk
//! names. A name has none but its own: one that was erased has none at all.

use std::sync::Arc;

use crate::account::Account;
use crate::catalog::FeatureIx;
use crate::decide::late::book::Entry;
use crate::decide::late::place::{Place, is_of, place};
use crate::decide::subjects::{self, Level};
use crate::decide::{Context, hold};
use crate::decision::OpError;
use crate::effect::{Effect, Effects};
use crate::event::{Booking, EventState, Restated};
use crate::ledger::Ledger;
use crate::measure::{Known, Measure};
use crate::names::NameId;
use crate::resolve::resolve_levels;
use crate::subject::{SubjectId, SubjectPath};
use crate::time::Millis;

/// What is known of windows that have left the memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Past<'a> {
    /// The account's: of each limit those beside the instant.
    pub own: &'a [Restated],
    /// Those of the levels of a subject's path.
    pub levels: &'a [LevelPast],
    /// What is known of them besides their counters, by the number that they are filed under. No number: it is the
    /// account's.
    pub measures: &'a [(Option<SubjectId>, Measure)],
}

/// The same of one level: of all numbers that its name has and had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LevelPast {
    /// The path up to the level.
    pub name: String,
    /// Its windows, with the number that each is filed under.
    pub windows: Vec<(SubjectId, Restated)>,
    /// By limit the number under which a window is filed that there was not yet.
    pub owners: Vec<(NameId, SubjectId)>,
    /// The number that the name had when the write was made which is to be corrected. `None`: it had none,
    /// or nothing is corrected.
    pub then: Option<SubjectId>,
}

impl Past<'_> {
    fn level(&self, name: &str) -> Option<&LevelPast> {
        self.levels.iter().find(|level| level.name == name)
    }

    /// What is known of a window besides its counter.
    pub(super) fn known(&self, owner: Option<SubjectId>, closed: &Ledger) -> Option<&Known> {
        let (feature, limit, start) = (closed.feature, closed.limit, closed.window.start());
        let is_it = |m: &Measure| (m.feature, m.limit, m.window_start) == (feature, limit, start);
        let mut all = self.measures.iter();
        all.find(|(of, measure)| *of == owner && is_it(measure)).map(|(_, m)| &m.known)
    }

    /// Whether a window had begun before anything came late to it.
    pub(super) fn has(&self, owner: Option<SubjectId>, closed: &Ledger) -> bool {
        let of = (closed.feature, closed.limit, closed.window.start());
        match owner {
            None => self.own.iter().any(|r| r.closed.is(of.0, of.1, of.2)),
            Some(id) => self.window(id, of).is_some(),
        }
    }

    /// A window by its number.
    fn window(
        &self,
        id: SubjectId,
        (feature, limit, start): (NameId, NameId, Millis),
    ) -> Option<Restated> {
        let mut all = self.levels.iter().flat_map(|level| &level.windows);
        all.find(|(of, r)| *of == id && r.closed.is(feature, limit, start)).map(|(_, r)| *r)
    }
}

/// The level that a window is of, and the number that it is filed under.
pub(super) struct Filed<'a> {
    pub(super) level: &'a Level,
    pub(super) id: SubjectId,
}

impl Filed<'_> {
    /// Lets changes be those of the subject.
    pub(super) fn list(&self, cx: Context<'_>, changes: Effects, effects: &mut Effects) {
        subjects::list(cx, (self.id, self.level.whose()), changes, effects);
    }
}

/// The levels of a path that have limits of a feature.
pub(super) fn of_path(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    path: Option<SubjectPath<'_>>,
) -> Vec<Level> {
    path.map_or_else(Vec::new, |path| subjects::of_path(cx, account, feature, path))
}

/// The windows of levels that an instant lies in.
pub(super) fn entries<'a>(
    cx: Context<'_>,
    levels: &'a [Level],
    feature: NameId,
    at: Millis,
    past: Past<'_>,
) -> Vec<Entry<'a>> {
    let mut entries = Vec::new();
    for level in levels {
        let known = past.level(&level.name);
        let windows = known.map_or(&[][..], |known| &known.windows);
        let all: Vec<Restated> = windows.iter().map(|(_, restated)| *restated).collect();
        for limit in &level.limits {
            let place = place(cx, level.whose(), (feature, limit), at, &all);
            let id = match &place {
                Place::Live(..) => level.id,
                Place::Past(restated) => {
                    let start = restated.closed.window.start();
                    let is_it = |r: &Restated| r.closed.is(feature, limit.limit, start);
                    let found = windows.iter().find(|(_, r)| is_it(r)).map(|(id, _)| *id);
                    let mut owners = known.into_iter().flat_map(|known| &known.owners);
                    let owner = || owners.find(|(of, _)| *of == limit.limit).map(|(_, id)| *id);
                    let any = || windows.first().map(|(id, _)| *id);
                    // What is not in memory has a window that came later, and that one a number.
                    found.or_else(owner).or_else(any).unwrap_or(level.id)
                }
            };
            entries.push(Entry { filed: Some(Filed { level, id }), limit, place });
        }
    }
    entries
}

/// The levels that an event was counted at, one for each number, with their limits of now.
pub(super) fn of_event(
    cx: Context<'_>,
    account: &Account,
    event: &EventState,
    path: Option<SubjectPath<'_>>,
) -> Vec<Level> {
    let bookings = event.subject.iter().flat_map(|subject| &subject.bookings);
    let mut levels: Vec<Level> = Vec::new();
    for (id, booking) in bookings {
        if levels.iter().any(|level| level.id == *id) {
            continue;
        }
        let feature = cx.catalog.feature_of(event.feature);
        let kind = feature.and_then(|feature| {
            let all = &cx.catalog.feature(feature).levels;
            all.iter().find(|level| level.limit == booking.limit).map(|level| level.per)
        });
        let named = path.zip(kind).and_then(|(path, kind)| {
            path.levels().find(|(of, _)| *of == cx.catalog.text(kind)).map(|(_, name)| name)
        });
        let name = named.unwrap_or_default();
        let limits = feature.map_or_else(Vec::new, |feature| {
            resolve_levels(cx.catalog, &account.profile, (feature, name), cx.now)
        });
        let seen = account.seen_by(Some(*id));
        levels.push(Level { id: *id, name: name.into(), is_new: false, seen, limits });
    }
    levels
}

/// The windows of levels that an event was counted in. What is nowhere any more is left out.
pub(super) fn entries_of<'a>(
    levels: &'a [Level],
    event: &EventState,
    past: Past<'_>,
) -> Vec<Entry<'a>> {
    let bookings = event.subject.iter().flat_map(|subject| &subject.bookings);
    let entry = |(id, booking): &(SubjectId, Booking)| {
        let level = levels.iter().find(|level| level.id == *id)?;
        let (feature, limit, start) = (event.feature, booking.limit, booking.window_start);
        let place = match level.seen.ledger(feature, limit, start) {
            Some(ledger) => Place::Live(*ledger, false),
            None => Place::Past(past.window(*id, (feature, limit, start))?),
        };
        let limit = level.limits.iter().find(|known| known.limit == limit).unwrap_or(&hold::GONE);
        Some(Entry { filed: Some(Filed { level, id: *id }), limit, place })
    };
    bookings.filter_map(entry).collect()
}

/// Where a write of this instant was counted at levels, under the numbers that they had then.
pub(super) fn bookings_at(
    account: &Account,
    levels: &[Level],
    feature: NameId,
    at: Millis,
    past: Past<'_>,
) -> Vec<(SubjectId, Booking)> {
    let mut bookings = Vec::new();
    for level in levels {
        let known = past.level(&level.name);
        let Some((known, then)) = known.and_then(|known| Some((known, known.then?))) else {
            continue;
        };
        let state = account.subjects().and_then(|subjects| Some(&subjects.get(then)?.state));
        for limit in &level.limits {
            let live = state.into_iter().flat_map(|state| state.ledgers());
            let left = known.windows.iter().filter(|(id, _)| *id == then);
            let mut all = live.chain(left.map(|(_, restated)| &restated.closed));
            let Some(ledger) = all.find(|ledger| is_of(ledger, feature, limit, at)) else {
                continue;
            };
            bookings.push((then, Booking::at(ledger)));
        }
    }
    bookings
}

/// What has to be done before something new counts in subjects.
pub(super) struct RoomForMore {
    freed: Vec<SubjectId>,
    named: Vec<(SubjectId, Arc<str>)>,
}

/// Looks for room for the windows of levels that there were not yet.
pub(super) fn room<'a>(
    cx: Context<'_>,
    account: &Account,
    entries: impl Iterator<Item = &'a Entry<'a>>,
) -> Result<RoomForMore, OpError> {
    let mut counting: Vec<&Level> = Vec::new();
    let mut fresh = 0;
    for entry in entries {
        let (Some(filed), Place::Live(_, is_fresh)) = (&entry.filed, &entry.place) else {
            continue;
        };
        fresh += usize::from(*is_fresh);
        if !counting.iter().any(|level| level.id == filed.level.id) {
            counting.push(filed.level);
        }
    }
    let freed = subjects::room_for(cx, account, &counting, fresh)?;
    let new = counting.iter().filter(|level| level.is_new);
    let named = new.map(|level| (level.id, Arc::clone(&level.name))).collect();
    Ok(RoomForMore { freed, named })
}

impl RoomForMore {
    /// Makes it.
    pub(super) fn make(self, cx: Context<'_>, account: &Account, effects: &mut Effects) {
        self.freed.into_iter().for_each(|id| subjects::free(cx, account, id, effects));
        effects.extend(self.named.into_iter().map(|(id, name)| Effect::Subject(id, name)));
    }
}
