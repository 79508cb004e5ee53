//! Subjects of the past: which numbers a name has and had, and which windows are filed under them.
//!
//! A subject that left the memory comes back under another number, so the windows of one name may be under
//! several. Which of them owned an instant is said by when each was born: it left the memory only after all
//! of its windows had passed, so a window is of the last number that was born before it ended.

use headroom_core::account::Account;
use headroom_core::catalog::{Catalog, FeatureIx, LevelLimit};
use headroom_core::decide::LevelPast;
use headroom_core::effect::Effect;
use headroom_core::event::{EventState, Restated};
use headroom_core::names::NameId;
use headroom_core::subject::{SubjectId, SubjectPath};
use headroom_core::time::Millis;
use headroom_core::window::{WindowRule, window_at};

use super::book::Pending;
use super::look::{around, before};
use crate::digest::after_prefix;
use crate::engine::Engine;
use crate::limits;
use crate::ports::{Archive, ArchiveError, Row, Seq, Table};
use crate::subjects::{limit_prefix, name_prefix, name_row, name_value};

/// What the disk said of a level.
#[derive(Debug, Default)]
pub(super) struct SeenLevel {
    pub(super) past: LevelPast,
    // The numbers that were looked at, the one in memory too.
    pub(super) numbers: Vec<SubjectId>,
    // The record of the write that is to be corrected.
    written: Option<Seq>,
}

/// A number that a name has or had.
#[derive(Debug, Clone, Copy)]
struct Number {
    id: SubjectId,
    seq: Seq,
    at: Millis,
}

/// What is to be looked for on disk of one level.
struct Wanted<'a> {
    name: &'a str,
    // Its number in memory.
    live: Option<SubjectId>,
    // Limits without a window in memory at the instant, and when such a window would end.
    limits: Vec<(NameId, Millis)>,
}

/// The levels of a path that a feature may have limits of, and those.
fn levels_of<'a>(
    catalog: &'a Catalog,
    feature: FeatureIx,
    path: Option<SubjectPath<'a>>,
) -> impl Iterator<Item = (&'a str, impl Iterator<Item = &'a LevelLimit>)> {
    let levels = path.into_iter().flat_map(SubjectPath::levels);
    levels.filter_map(move |(kind, name)| {
        let all = &catalog.feature(feature).levels;
        let of_kind = move |level: &&LevelLimit| catalog.text(level.per) == kind;
        let is_any = all.iter().any(|level| of_kind(&level));
        is_any.then(|| (name, all.iter().filter(of_kind)))
    })
}

impl SeenLevel {
    fn of(wanted: &Wanted<'_>) -> SeenLevel {
        let past = LevelPast { name: wanted.name.to_owned(), ..LevelPast::default() };
        SeenLevel { past, numbers: wanted.live.into_iter().collect(), written: None }
    }

    fn add_windows(&mut self, id: SubjectId, windows: impl IntoIterator<Item = Restated>) {
        for window in windows {
            if !self.past.windows.contains(&(id, window)) {
                self.past.windows.push((id, window));
            }
        }
    }

    fn add_number(&mut self, id: SubjectId) {
        if !self.numbers.contains(&id) {
            self.numbers.push(id);
        }
    }

    /// The same with what the projection may not know yet.
    pub(super) fn with_pending(&self, account: &Account, pending: &Pending) -> LevelPast {
        let (serial, mut past) = (account.serial, self.past.clone());
        let born = |(seq, effect): (Seq, &Effect)| match effect {
            Effect::Subject(id, name) if **name == *past.name => Some((seq, *id)),
            _ => None,
        };
        let births: Vec<(Seq, SubjectId)> = pending.of(serial).filter_map(born).collect();
        let live = account.subjects().and_then(|subjects| subjects.named(&past.name));
        let mut numbers = self.numbers.clone();
        numbers.extend(births.iter().map(|(_, id)| *id).chain(live));
        if let Some(written) = self.written {
            let born = births.iter().filter(|(seq, _)| *seq <= written).map(|(_, id)| *id);
            past.then = born.chain(past.then).max();
        }
        let recent = pending.of(serial).filter_map(|(_, effect)| match effect {
            Effect::OfSubject(id, of) if numbers.contains(id) => match &**of {
                Effect::Restated(restated) => Some((*id, **restated)),
                Effect::LedgerClosed(closed, terms) => {
                    Some((*id, Restated::as_closed(*closed, terms.as_deref().copied())))
                }
                _ => None,
            },
            _ => None,
        });
        let mut windows: Vec<(SubjectId, Restated)> = Vec::new();
        for (id, one) in recent.chain(self.past.windows.iter().copied()) {
            let of = |l: &Restated| (l.closed.feature, l.closed.limit, l.closed.window.start());
            if !windows.iter().any(|(known, window)| *known == id && of(window) == of(&one)) {
                windows.push((id, one));
            }
        }
        LevelPast { windows, ..past }
    }
}

impl Engine {
    /// What the disk says of the levels of a path beside an instant.
    pub(super) fn look_levels(
        &self,
        archive: &dyn Archive,
        account: &str,
        (catalog, feature, path): (&Catalog, FeatureIx, Option<SubjectPath<'_>>),
        at: Millis,
    ) -> Result<Vec<SeenLevel>, ArchiveError> {
        let mut all = Vec::new();
        let id = catalog.feature(feature).id;
        for (name, limits) in levels_of(catalog, feature, path) {
            let Some((serial, wanted)) = self.wanted(account, id, (name, limits), at) else {
                all.push(SeenLevel::of(&Wanted { name, live: None, limits: Vec::new() }));
                continue;
            };
            let mut level = SeenLevel::of(&wanted);
            let numbers = Numbers { archive, prefix: numbers_prefix(serial, name) };
            for (limit, end) in &wanted.limits {
                let owner = numbers.last(|number| number.at < *end)?;
                let owner = owner.map_or_else(|| numbers.first(), |owner| Ok(Some(owner)))?;
                let Some(owner) = owner else { continue };
                level.past.owners.push((*limit, owner.id));
                let near = numbers.beside(owner, at)?;
                near.into_iter().for_each(|number| level.add_number(number.id));
            }
            for number in level.numbers.clone() {
                for (limit, _) in &wanted.limits {
                    let prefix = limit_prefix(serial, number, id, *limit);
                    level.add_windows(number, around(archive, (Table::Subjects, &prefix), at)?);
                }
            }
            all.push(level);
        }
        Ok(all)
    }

    /// What the disk says of the levels of a path that a write was counted at as it came: its record and its
    /// instant are known.
    pub(super) fn look_written(
        &self,
        archive: &dyn Archive,
        account: &str,
        (catalog, feature, path): (&Catalog, FeatureIx, Option<SubjectPath<'_>>),
        (written, at): (Seq, Millis),
    ) -> Result<Vec<SeenLevel>, ArchiveError> {
        let mut all = Vec::new();
        let id = catalog.feature(feature).id;
        for (name, limits) in levels_of(catalog, feature, path) {
            let Some((serial, wanted)) = self.wanted(account, id, (name, limits), at) else {
                continue;
            };
            let mut level = SeenLevel { written: Some(written), ..SeenLevel::of(&wanted) };
            let numbers = Numbers { archive, prefix: numbers_prefix(serial, name) };
            let then = numbers.last(|number| number.seq <= written)?;
            level.past.then = then.map(|number| number.id);
            if let Some(then) = level.past.then {
                level.add_number(then);
                for shape in &catalog.feature(feature).levels {
                    let prefix = limit_prefix(serial, then, id, shape.limit);
                    level.add_windows(then, before(archive, (Table::Subjects, &prefix), at)?);
                }
            }
            all.push(level);
        }
        Ok(all)
    }

    fn wanted<'a>(
        &self,
        account: &str,
        feature: NameId,
        (name, limits): (&'a str, impl Iterator<Item = &'a LevelLimit>),
        at: Millis,
    ) -> Option<(u32, Wanted<'a>)> {
        let slot = self.accounts.get(account)?;
        let account = &slot.account;
        let live = account.subjects().and_then(|subjects| subjects.named(name));
        let known = live.and_then(|id| account.subjects()?.get(id));
        let ledgers = || known.into_iter().flat_map(|subject| subject.state.ledgers());
        let mut without = Vec::new();
        for level in limits.filter(|level| level.window != WindowRule::Lifetime) {
            let is_it = |l: &headroom_core::ledger::Ledger| {
                l.limit == level.limit && l.feature == feature && l.window.contains(at)
            };
            if !ledgers().any(is_it) {
                let (profile, rule) = (&account.profile, level.window);
                let window = window_at(rule, profile.anchor, profile.rules(), at);
                without.push((level.limit, window.end()));
            }
        }
        Some((account.serial, Wanted { name, live, limits: without }))
    }
}

/// The windows of subjects that an event was counted in, by their numbers.
pub(super) fn of_event(
    archive: &dyn Archive,
    serial: u32,
    state: &EventState,
) -> Result<Option<SeenLevel>, ArchiveError> {
    let Some(subject) = &state.subject else { return Ok(None) };
    let mut level = SeenLevel::default();
    for (id, booking) in &subject.bookings {
        level.add_number(*id);
        let prefix = limit_prefix(serial, *id, state.feature, booking.limit);
        let window = before(archive, (Table::Subjects, &prefix), booking.window_start)?;
        level.add_windows(*id, window);
    }
    Ok(Some(level))
}

fn numbers_prefix(serial: u32, name: &str) -> Vec<u8> {
    [name_prefix(serial, name).as_slice(), &[0]].concat()
}

/// The numbers that a name has and had, as the disk knows them: in the order in which it got them.
struct Numbers<'a> {
    archive: &'a dyn Archive,
    prefix: Vec<u8>,
}

impl Numbers<'_> {
    fn key(&self, id: u32) -> Vec<u8> {
        [self.prefix.as_slice(), &id.to_be_bytes()].concat()
    }

    fn read((key, value): &Row) -> Option<Number> {
        let (seq, at) = name_value(value);
        name_row(key).map(|(id, _)| Number { id, seq, at })
    }

    /// The oldest.
    fn first(&self) -> Result<Option<Number>, ArchiveError> {
        let to = after_prefix(&self.prefix);
        let rows = self.archive.range(Table::Subjects, &self.prefix, &to, 1)?;
        Ok(rows.first().and_then(Self::read))
    }

    /// The last one of which something holds that holds of all before it: in some thirty looks at most, and in
    /// one if it is the newest.
    fn last(&self, holds: impl Fn(&Number) -> bool) -> Result<Option<Number>, ArchiveError> {
        let (mut low, mut high, mut found) = (0, u32::MAX, None);
        let mut probe = high;
        while low < high {
            let row = self.archive.last(Table::Subjects, &self.key(low), &self.key(probe))?;
            match row.as_ref().and_then(Self::read) {
                Some(number) if !holds(&number) => high = number.id.0,
                Some(number) => (low, found) = (probe, Some(number)),
                None => low = probe,
            }
            probe = low + (high - low).div_ceil(2);
        }
        Ok(found)
    }

    /// The owner of an instant and those beside it, whose windows may be the neighbours of its own.
    fn beside(&self, owner: Number, at: Millis) -> Result<Vec<Number>, ArchiveError> {
        let mut near = vec![owner];
        // A window that begins with its first use may end later than one that would begin now.
        near.extend(self.last(|number| number.at <= at)?);
        let mut earlier = owner;
        for _ in 0..limits::SUBJECT_NUMBERS_BESIDE_MAX {
            let to = self.key(earlier.id.0);
            let row = self.archive.last(Table::Subjects, &self.prefix, &to)?;
            let Some(number) = row.as_ref().and_then(Self::read) else { break };
            near.push(number);
            earlier = number;
        }
        let (from, to) = (self.key(owner.id.0 + 1), after_prefix(&self.prefix));
        let later_max = limits::SUBJECT_NUMBERS_BESIDE_MAX;
        let later = self.archive.range(Table::Subjects, &from, &to, later_max)?;
        near.extend(later.iter().filter_map(Self::read));
        Ok(near)
    }
}
