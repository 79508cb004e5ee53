//! The ids that receivers see, which are different for ever.
//!
//! A signal's own name is its journal position. With durability `written` a power cut may take the
//! last second of the journal, and the positions in it are given away again; a receiver that knows
//! the first signal of a position would take the second for a repetition. So each start of the
//! process journals where its positions begin, and an id holds the number of the start that emitted
//! the signal. A power cut that takes a signal leaves its position to a later start.
//!
//! What is emitted does not change its id: whoever delivers it, in whichever process, looks the
//! start up by the position. Signals of versions that did not journal their starts keep the ids
//! they have.

use std::fmt;

use headroom_engine::digest::SignalId;
use headroom_engine::engine::Engine;
use headroom_engine::ports::{Archive, ArchiveError, Seq, Table, rows};

use super::limits::{PAGE_ROWS, STARTS_MAX};

/// What the rows of starts begin with. No sink's name has a slash.
const PREFIX: &str = "/boot/";

/// Greater than every row of a start: the byte after the slash.
const PREFIX_END: &[u8] = b"/boot0";

/// Journals that all positions after `after` are of start `boot`. To be called once per start,
/// before the first signal.
pub fn note_start(engine: &Engine, boot: u32, after: Seq) -> Seq {
    engine.note_delivered(&format!("{PREFIX}{boot:08x}"), SignalId { seq: after, place: 0 })
}

/// Which start of the process has emitted what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Starts {
    // Invariant: ascending by position.
    starts: Vec<(Seq, u32)>,
}

impl Starts {
    /// All that the projection knows, or the last [`STARTS_MAX`].
    pub(super) fn load(archive: &dyn Archive) -> Result<Starts, ArchiveError> {
        let mut starts = Vec::new();
        let from = PREFIX.as_bytes().to_vec();
        for row in rows(archive, Table::Pending, from, PREFIX_END.to_vec(), PAGE_ROWS) {
            let (key, value) = row?;
            let boot = key.get(PREFIX.len()..).and_then(|digits| str::from_utf8(digits).ok());
            let boot = boot.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            starts.extend(SignalId::of_row_key(&value).map(|after| after.seq).zip(boot));
        }
        // They come by number, which is the order of time. An earlier start that says a later
        // position has lost its end in a power cut.
        let mut kept: Vec<(Seq, u32)> = Vec::new();
        for (after, boot) in starts {
            while kept.pop_if(|(earlier, _)| *earlier >= after).is_some() {}
            kept.push((after, boot));
        }
        let surplus = kept.len().saturating_sub(STARTS_MAX);
        kept.drain(..surplus);
        Ok(Starts { starts: kept })
    }

    /// The id that receivers see.
    pub(super) fn text(&self, id: SignalId) -> String {
        let count = self.starts.partition_point(|(after, _)| *after < id.seq);
        let boot = count.checked_sub(1).map(|last| self.starts[last].1);
        Text { boot, id }.to_string()
    }
}

struct Text {
    boot: Option<u32>,
    id: SignalId,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Text { boot, id } = self;
        match boot {
            // No dot: what is signed is divided by dots.
            Some(boot) => write!(f, "sig_{boot:08x}_{:016x}{:04x}", id.seq.0, id.place),
            None => id.fmt(f),
        }
    }
}
