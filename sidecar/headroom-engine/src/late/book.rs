//! What late events need besides accounts: what the projection may not know yet, and since when what it says is
//! too old.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use headroom_core::account::Account;
use headroom_core::effect::Effect;
use headroom_core::event::{Event, Restated};
use headroom_core::measure::Measure;
use headroom_core::names::NameId;
use headroom_core::subject::SubjectId;
use headroom_core::time::Millis;

use super::levels::SeenLevel;
use super::{LateError, Seen};
use crate::limits;
use crate::measures::{self, Owned};
use crate::ports::Seq;

/// Stripes of accounts that share the note of their last closed window.
const STRIPES: usize = 1024;

/// Stripes of subjects that share the note of the last thing that the disk must know of them. More,
/// because each subject of an account has windows that close: a late event waits for those of its own.
const SUBJECT_STRIPES: usize = 4096;

/// Effects of one account that the projection may not know yet, newest last.
#[derive(Debug, Default)]
pub(super) struct Pending {
    by_serial: HashMap<u32, VecDeque<(Seq, Vec<Effect>)>>,
    order: VecDeque<(Seq, u32)>,
    // How many of the effects are what is known of closed windows, which are large.
    measures: usize,
    // What is at or below was let go.
    dropped: Seq,
}

/// What late events need besides accounts.
#[derive(Debug)]
pub(crate) struct LateBook {
    // Locked after an account's lock, never before.
    pending: Mutex<Pending>,
    closings: Box<[AtomicU64]>,
    // By name and by number: what was born, closed, forgotten or erased.
    of_subjects: Box<[AtomicU64]>,
    // By account: when a subject was last forgotten.
    forgotten: Box<[AtomicU64]>,
    // What was journaled before the start: nothing of it is pending.
    floor: Seq,
}

impl LateBook {
    pub(crate) fn new(floor: Seq) -> LateBook {
        LateBook {
            pending: Mutex::default(),
            closings: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            forgotten: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            of_subjects: (0..SUBJECT_STRIPES).map(|_| AtomicU64::new(0)).collect(),
            floor,
        }
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(|held| held.into_inner())
    }

    /// Notes what has left the memory of an account, before the effects are applied: what the disk says is too
    /// old until it knows.
    pub(crate) fn note_closings(&self, account: &Account, seq: Seq, effects: &[Effect]) {
        let serial = account.serial;
        let named = |name: &str| self.of_subject(serial, name).fetch_max(seq.0, Ordering::Relaxed);
        let numbered = |id: SubjectId| {
            self.of_subject(serial, id.0).fetch_max(seq.0, Ordering::Relaxed);
            let subject = account.subjects().and_then(|subjects| subjects.get(id));
            subject.map(|subject| named(&subject.name));
        };
        for effect in effects {
            match effect {
                Effect::LedgerClosed(..) => {
                    self.closings[serial as usize % STRIPES].fetch_max(seq.0, Ordering::Relaxed);
                }
                Effect::OfSubject(id, of) if matches!(**of, Effect::LedgerClosed(..)) => {
                    numbered(*id);
                }
                Effect::SubjectForgotten(id) => {
                    self.note_forgotten(serial, seq);
                    numbered(*id);
                }
                Effect::Subject(_, name) => {
                    named(name);
                }
                Effect::SubjectErased(_, name) => {
                    // Who erases again finds a name on disk that is forgotten already.
                    self.note_forgotten(serial, seq);
                    named(name);
                }
                _ => {}
            }
        }
    }

    /// Notes that a subject has left the memory, or its name was erased.
    pub(super) fn note_forgotten(&self, serial: u32, seq: Seq) {
        self.forgotten[serial as usize % STRIPES].fetch_max(seq.0, Ordering::Relaxed);
    }

    /// The last record after which a subject of an account may be found neither in memory nor on disk, where
    /// the disk knows less.
    pub(crate) fn forgotten_last(&self, serial: u32) -> Seq {
        let noted = self.forgotten[serial as usize % STRIPES].load(Ordering::Relaxed);
        self.floor.max(Seq(noted))
    }

    fn of_subject(&self, serial: u32, what: impl Hash) -> &AtomicU64 {
        let mut hasher = DefaultHasher::new();
        (serial, what).hash(&mut hasher);
        let stripes = SUBJECT_STRIPES as u64;
        &self.of_subjects[usize::try_from(hasher.finish() % stripes).unwrap_or_default()]
    }

    /// The last record that what is said of a level must be as new as.
    fn closed_of(&self, serial: u32, level: &SeenLevel) -> Seq {
        let of = |stripe: &AtomicU64| stripe.load(Ordering::Relaxed);
        let numbers = level.numbers.iter().map(|id| of(self.of_subject(serial, id.0)));
        Seq(numbers.fold(of(self.of_subject(serial, &*level.past.name)), u64::max))
    }

    fn closed_last(&self, serial: u32) -> Seq {
        Seq(self.closings[serial as usize % STRIPES].load(Ordering::Relaxed))
    }

    /// Whether all that the disk was not asked for is pending.
    pub(super) fn is_up_to_date(&self, serial: u32, seen: &Seen) -> Result<(), LateError> {
        let mut pending = self.pending();
        pending.let_go(seen.position);
        let mut until = self.floor.max(self.closed_last(serial)).max(pending.dropped);
        until = seen.levels.iter().fold(until, |until, l| until.max(self.closed_of(serial, l)));
        let is_full =
            seen.measured.is_some() && pending.measures >= limits::LATE_MEASURES_PENDING_MAX;
        if is_full || pending.order.len() >= limits::LATE_PENDING_MAX {
            until = until.max(pending.order.front().map_or(until, |(seq, _)| *seq));
        }
        if until <= seen.position { Ok(()) } else { Err(LateError::Behind { until }) }
    }

    /// The last record that what the disk knows of the windows of subjects must be as new as: they have closed in
    /// it, or something came to them.
    pub(crate) fn measured_last(&self, serial: u32, ids: &BTreeSet<SubjectId>) -> Seq {
        let closed = |id: &SubjectId| self.of_subject(serial, id.0).load(Ordering::Relaxed);
        let until = ids.iter().map(closed).fold(self.floor.0, u64::max);
        let pending = self.pending();
        let late = pending.of(serial).filter(|(_, effect)| match effect {
            Effect::OfSubject(id, _) => ids.contains(id),
            _ => false,
        });
        late.map(|(seq, _)| seq).fold(Seq(until), Seq::max)
    }
}

fn measures_in(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| measures::is_one(effect)).count()
}

impl Pending {
    fn let_go(&mut self, position: Seq) {
        while let Some((seq, serial)) = self.order.front().copied().filter(|(s, _)| *s <= position)
        {
            self.order.pop_front();
            if let Some(of_account) = self.by_serial.get_mut(&serial) {
                let is_it = |(known, _): &(Seq, Vec<Effect>)| *known == seq;
                let gone = of_account.iter().filter(|one| is_it(one));
                self.measures -= gone.map(|(_, effects)| measures_in(effects)).sum::<usize>();
                of_account.retain(|one| !is_it(one));
                if of_account.is_empty() {
                    self.by_serial.remove(&serial);
                }
            }
            self.dropped = self.dropped.max(seq);
        }
    }

    pub(super) fn put(&mut self, serial: u32, seq: Seq, effects: Vec<Effect>) {
        self.order.push_back((seq, serial));
        self.measures += measures_in(&effects);
        self.by_serial.entry(serial).or_default().push_back((seq, effects));
    }

    /// Effects of an account, newest first.
    pub(super) fn of(&self, serial: u32) -> impl Iterator<Item = (Seq, &Effect)> {
        let all = self.by_serial.get(&serial).into_iter().flatten().rev();
        all.flat_map(|(seq, effects)| effects.iter().rev().map(|effect| (*seq, effect)))
    }

    pub(super) fn events(&self, serial: u32) -> impl Iterator<Item = (Seq, &Event)> {
        self.of(serial).filter_map(|(seq, effect)| match effect {
            Effect::Event(event) => Some((seq, &**event)),
            _ => None,
        })
    }

    /// What is known of the windows of a feature around an instant that have left the memory, besides their
    /// counters: of each limit one at most.
    pub(super) fn measures(
        &self,
        serial: u32,
        (feature, at): (NameId, Millis),
        seen: &[Owned],
    ) -> Vec<Owned> {
        let recent = self.of(serial).filter_map(|(_, effect)| measures::of_effect(effect));
        let all = recent.chain(seen.iter().map(|(owner, one)| (*owner, one)));
        let mut last: BTreeMap<(Option<SubjectId>, NameId), &Measure> = BTreeMap::new();
        for (owner, one) in all.filter(|(_, m)| m.feature == feature && m.window_start <= at) {
            // The newest of a window comes first, and the window of the instant begins last.
            let known = last.entry((owner, one.limit)).or_insert(one);
            if known.window_start < one.window_start {
                *known = one;
            }
        }
        last.into_iter().map(|((owner, _), one)| (owner, one.clone())).collect()
    }

    /// The windows that have left the memory, as they are now.
    pub(super) fn past(&self, serial: u32, seen: &[Restated]) -> Vec<Restated> {
        let recent = self.of(serial).filter_map(|(_, effect)| match effect {
            Effect::Restated(restated) => Some(**restated),
            Effect::LedgerClosed(closed, terms) => {
                Some(Restated::as_closed(*closed, terms.as_deref().copied()))
            }
            _ => None,
        });
        let mut past: Vec<Restated> = Vec::new();
        for one in recent.chain(seen.iter().copied()) {
            let of = |l: &Restated| (l.closed.feature, l.closed.limit, l.closed.window.start());
            if !past.iter().any(|known| of(known) == of(&one)) {
                past.push(one);
            }
        }
        past
    }
}
