//! Dead letters: signals that a sink has given up, kept so that they can be sent once more.
//!
//! The signal itself is in the projection for ever. What is kept here is which ones were given up,
//! why, and which of them are being sent again. It is journaled as cursors are, under names that no
//! sink can have:
//!
//! ```text
//! SINK/why/0007   when it was given up, and why; the highest bit says that it is being sent again
//! SINK/dead/0007  which signal; nothing: the place is free
//! SINK/paused     whether the sink rests
//! ```
//!
//! Places are used again, so that the rows are bounded however much is given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom_core::time::Millis;
use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use headroom_engine::ports::{Archive, ArchiveError, Seq, Table};

use super::limits::DEAD_LETTERS_MAX;

/// Set in the row of a dead letter that is being sent again.
const SENT_AGAIN: u16 = 1 << 15;
/// In the place of a status, of which the least is 100.
const NO_ANSWER: u16 = 0;
const UNREADABLE: u16 = 1;

/// Why a signal was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The last answer had this HTTP status.
    Status(u16),
    /// The last attempt got no answer.
    NoAnswer,
    /// The signal cannot be read by this version.
    Unreadable,
}

/// One dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Letter {
    /// The signal.
    pub(super) id: SignalId,
    /// When it was given up, in real time.
    pub(super) given_up_at: Millis,
    /// Why.
    pub(super) why: Why,
    /// Whether it is being sent again.
    pub(super) is_sent_again: bool,
}

/// The dead letters of one sink, and whether it rests: what the journal keeps of a sink besides its
/// cursor.
pub(super) struct Kept {
    engine: Arc<Engine>,
    sink: Arc<str>,
    is_paused: bool,
    letters: BTreeMap<u16, Letter>,
}

impl Kept {
    /// Of a sink that has nothing.
    pub(super) fn new(engine: Arc<Engine>, sink: Arc<str>) -> Kept {
        Kept { engine, sink, is_paused: false, letters: BTreeMap::new() }
    }

    /// What the projection knows.
    pub(super) fn load(
        archive: &dyn Archive,
        engine: Arc<Engine>,
        sink: Arc<str>,
    ) -> Result<Kept, ArchiveError> {
        let mut kept = Kept::new(engine, sink);
        let paused = kept.name("paused");
        let rows = archive.range(Table::Pending, paused.as_bytes(), &after(&paused), 1)?;
        kept.is_paused = rows.iter().any(|(_, value)| is_set(value));
        let whys: BTreeMap<u16, SignalId> = kept.rows(archive, "why")?.into_iter().collect();
        for (place, id) in kept.rows(archive, "dead")? {
            let why = whys.get(&place).copied().unwrap_or_default();
            if id != SignalId::default() {
                kept.letters.insert(place, letter(id, why));
            }
        }
        Ok(kept)
    }

    fn rows(
        &self,
        archive: &dyn Archive,
        kind: &str,
    ) -> Result<Vec<(u16, SignalId)>, ArchiveError> {
        let prefix = format!("{}/{kind}/", self.sink);
        let end = format!("{}/{kind}0", self.sink); // The byte after the slash.
        let rows =
            archive.range(Table::Pending, prefix.as_bytes(), end.as_bytes(), DEAD_LETTERS_MAX)?;
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            let place = str::from_utf8(key.get(prefix.len()..)?).ok()?.parse().ok()?;
            Some((place, SignalId::of_row_key(&value)?))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Whether the sink rests.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Lets it rest, or go on.
    pub(super) fn pause(&mut self, is_paused: bool) -> Seq {
        self.is_paused = is_paused;
        let value = SignalId { seq: Seq(u64::from(is_paused)), place: 0 };
        self.engine.note_delivered(&self.name("paused"), value)
    }

    /// All dead letters, in the order of their signals.
    pub(super) fn letters(&self) -> Vec<Letter> {
        let mut letters: Vec<Letter> = self.letters.values().copied().collect();
        letters.sort_unstable_by_key(|letter| letter.id);
        letters
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether this signal is one of them.
    pub(super) fn contains(&self, id: SignalId) -> bool {
        self.place_of(id).is_some()
    }

    /// Keeps a signal that was given up, also one that was sent again in vain. False if it was kept
    /// already and not sent again.
    ///
    /// When there is no place, the one that was given up first leaves; the signal itself does not.
    pub(super) fn keep(&mut self, letter: Letter) -> bool {
        let known = self.place_of(letter.id);
        if known.is_some_and(|place| !self.letters[&place].is_sent_again) {
            return false;
        }
        let free = || (0..).take(DEAD_LETTERS_MAX).find(|place| !self.letters.contains_key(place));
        let place = known.or_else(free).or_else(|| {
            let by_age = self.letters.iter().min_by_key(|(_, letter)| letter.given_up_at);
            by_age.map(|(place, letter)| {
                let (sink, signal) = (&*self.sink, letter.id);
                tracing::error!(sink, %signal, "too many dead letters: the oldest is forgotten");
                *place
            })
        });
        let place = place.expect("there is room for one at least");
        self.note_why(place, &letter);
        self.note(&format!("dead/{place:04}"), letter.id);
        self.letters.insert(place, letter);
        true
    }

    /// A dead letter is to be sent again. `None`: there is none, or it is under way.
    pub(super) fn send_again(&mut self, id: SignalId) -> Option<Seq> {
        let place = self.place_of(id)?;
        let letter = self.letters.get_mut(&place).filter(|letter| !letter.is_sent_again)?;
        letter.is_sent_again = true;
        let letter = *letter;
        Some(self.note_why(place, &letter))
    }

    /// A dead letter was delivered at last.
    pub(super) fn delivered(&mut self, id: SignalId) {
        if let Some(place) = self.place_of(id) {
            self.letters.remove(&place);
            self.note(&format!("dead/{place:04}"), SignalId::default());
        }
    }

    fn place_of(&self, id: SignalId) -> Option<u16> {
        self.letters.iter().find(|(_, letter)| letter.id == id).map(|(place, _)| *place)
    }

    fn note_why(&self, place: u16, letter: &Letter) -> Seq {
        let why = match letter.why {
            Why::Status(status) => status,
            Why::NoAnswer => NO_ANSWER,
            Why::Unreadable => UNREADABLE,
        };
        let again = if letter.is_sent_again { SENT_AGAIN } else { 0 };
        let at = u64::try_from(letter.given_up_at.0).unwrap_or_default();
        self.note(&format!("why/{place:04}"), SignalId { seq: Seq(at), place: why | again })
    }

    fn note(&self, name: &str, value: SignalId) -> Seq {
        self.engine.note_delivered(&self.name(name), value)
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.sink)
    }
}

fn letter(id: SignalId, why: SignalId) -> Letter {
    Letter {
        id,
        given_up_at: Millis(i64::try_from(why.seq.0).unwrap_or(i64::MAX)),
        why: match why.place & !SENT_AGAIN {
            NO_ANSWER => Why::NoAnswer,
            UNREADABLE => Why::Unreadable,
            status => Why::Status(status),
        },
        is_sent_again: why.place & SENT_AGAIN != 0,
    }
}

fn is_set(value: &[u8]) -> bool {
    SignalId::of_row_key(value).is_some_and(|value| value.seq != Seq(0))
}

/// The least key after this one.
fn after(key: &str) -> Vec<u8> {
    let mut after = key.as_bytes().to_vec();
    after.push(0);
    after
}
