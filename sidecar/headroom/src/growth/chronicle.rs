//! Keeping looks, so that rules can be tried on them later: which accounts', and for how long.

use std::collections::HashMap;

use headroom_core::time::Millis;
use headroom_engine::digest::after_prefix;
use headroom_engine::ports::{Archive, ArchiveError, GrowthRow, Table};
use headroom_expansion::chronicle::{
    ACCOUNTS_MAX, Dictionary, KEPT_MS, Known, Mark, Occasion, is_sampled, keep, needs,
};

use super::rows;

/// Old rows of an account that are removed at a time; what is left goes with its next whole look.
const REMOVED_AT_ONCE: usize = 1_024;

/// What is remembered of the looks that are kept.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    /// The numbers of names.
    pub(super) dictionary: Dictionary,
    /// One in 2^`bits` accounts is kept.
    pub(super) bits: u8,
    /// Since when looks are kept. `None`: none is yet.
    pub(super) began: Option<Millis>,
    marks: HashMap<u32, Mark>,
}

impl Chronicle {
    /// Brings back a row that is not of one account.
    pub(super) fn take(&mut self, kind: u8, key: &[u8], value: &[u8]) {
        match kind {
            rows::NAME => {
                let entry = rows::name_of(key).zip(str::from_utf8(value).ok());
                entry.into_iter().for_each(|(n, entry)| self.dictionary.restore(n, entry));
            }
            rows::SAMPLED => self.bits = value.first().copied().unwrap_or_default(),
            rows::CHRONICLE => self.began = rows::instant_of(value),
            _ => {}
        }
    }

    /// Keeps a look of an account, unless it says nothing new or the account is not of the sample.
    pub(super) fn note(
        &mut self,
        archive: &dyn Archive,
        serial: u32,
        (known, steady): (&Known, u64),
        occasion: Occasion,
        out: &mut Vec<GrowthRow>,
    ) {
        if !self.has_room_for(serial, out) {
            return;
        }
        if self.began.is_none() {
            self.began = Some(occasion.at);
            out.push(rows::chronicle(occasion.at));
        }
        let mut mark = self.marks.remove(&serial);
        let line = keep(&mut mark, (known, steady), occasion);
        self.marks.extend(mark.map(|mark| (serial, mark)));
        let Some(line) = line else { return };
        out.push((rows::look(serial, line.at), Some(line.value)));
        if line.is_whole
            && let Err(error) = remove_old(archive, serial, line.at.plus(-KEPT_MS), out)
        {
            tracing::warn!(%error, "old looks at an account stay for now");
        }
    }

    /// Whether looks of an account are kept; where there are too many accounts, every second one is left
    /// out from now on.
    fn has_room_for(&mut self, serial: u32, out: &mut Vec<GrowthRow>) -> bool {
        while is_sampled(serial, self.bits)
            && self.marks.len() >= ACCOUNTS_MAX
            && !self.marks.contains_key(&serial)
        {
            self.bits += 1;
            let bits = self.bits;
            out.push(rows::sampled(bits));
            self.marks.retain(|serial, _| is_sampled(*serial, bits));
        }
        is_sampled(serial, self.bits)
    }

    /// Removes looks of an account that is not of the sample any more: some of them, if there are many.
    pub(super) fn leave_out(&self, archive: &dyn Archive, serial: u32, out: &mut Vec<GrowthRow>) {
        if is_sampled(serial, self.bits) {
            return;
        }
        let from = rows::looks(serial);
        let found = archive.range(Table::Growth, &from, &after_prefix(&from), REMOVED_AT_ONCE);
        // What cannot be read today is removed tomorrow.
        out.extend(found.into_iter().flatten().map(|(key, _)| (key, None)));
    }
}

/// Removes looks that are not needed to know how an account stood at `cutoff` and later.
fn remove_old(
    archive: &dyn Archive,
    serial: u32,
    cutoff: Millis,
    out: &mut Vec<GrowthRow>,
) -> Result<(), ArchiveError> {
    let (from, to) = (rows::looks(serial), rows::look(serial, cutoff));
    let mut found = archive.range(Table::Growth, &from, &to, REMOVED_AT_ONCE)?;
    let whole = found.iter().rposition(|(_, value)| needs(value) == Some(Ok(())));
    found.truncate(whole.unwrap_or(0));
    out.extend(found.into_iter().map(|(key, _)| (key, None)));
    Ok(())
}
