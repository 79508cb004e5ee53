//! The keys of one account: entries in chunks, and an index of them.

// Positions count modulo 2^32 and hashes are cut to what a table needs, both on purpose.
#![allow(clippy::cast_possible_truncation)]

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::keys::{KeyEntry, KeyHash};

/// Entries of one chunk: large enough that a chunk is rarely begun, small enough that filling or
/// dropping one holds the account's lock for some ten microseconds.
const CHUNK: usize = 1024;

/// Entries up to which a key is found by looking at all of them: that touches few cache lines more
/// than an index would, and takes fewer bytes.
const SCAN_MAX: usize = 8;

/// Indexed entries above which the index is spread over [`SPREAD`] tables, so that a table that
/// grows never holds the account's lock for more than a fraction of a millisecond.
const SPREAD_ABOVE: usize = 4096;
const SPREAD: usize = 64;

/// The keys of one account: entries in the order they came, and an index of them.
///
/// A new key is looked for in the index, which is small, and written at the end, where the cache
/// already is; the old ones leave from the front, a chunk at a time.
#[derive(Debug, Default)]
pub struct KeyMemory {
    // All but the last chunk are full. The first is by itself, because most accounts have no other.
    chunk: Vec<KeyEntry>,
    // `None` as long as entries are scanned. Boxed, because most accounts have a few keys: 40 bytes in
    // each of a million accounts, not 56.
    many: Option<Box<Many>>,
    // The position of the first entry; positions count on for ever, modulo 2^32.
    first: u32,
}

/// What an account with many keys has besides.
#[derive(Debug, Default)]
struct Many {
    // The chunks after the first.
    more: VecDeque<Vec<KeyEntry>>,
    // One table, or SPREAD of them.
    // Invariant: the newest entry of each key is in it.
    index: Box<[HashTable<Place>]>,
}

/// Where an entry is, and enough of its hash to move it between buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    hash: u32,
    position: u32,
}

impl Place {
    /// Both the low bits (bucket) and the high ones (tag) of what a table wants.
    fn table_hash(self) -> u64 {
        u64::from(self.hash) * 0x1_0000_0001
    }
}

impl KeyMemory {
    /// The newest entry of a key, also one that was to be forgotten because of its generation.
    pub fn find(&self, hash: KeyHash) -> Option<&KeyEntry> {
        self.newest(hash).map(|position| self.at(position))
    }

    /// The position of the newest entry of a key.
    fn newest(&self, hash: KeyHash) -> Option<u32> {
        let Some(many) = &self.many else {
            // Only the first chunk is ever scanned.
            let place = self.chunk.iter().rposition(|e| e.hash == hash)?;
            return Some(self.first.wrapping_add(place as u32));
        };
        let wanted = Place { hash: short(hash), position: 0 };
        let table = &many.index[table_of(hash, many.index.len())];
        let found = table.find(wanted.table_hash(), |place| self.at(place.position).hash == hash);
        found.map(|place| place.position)
    }

    /// The position after the last entry.
    fn end(&self) -> u32 {
        // All but the last chunk are full, so one that is not is the last.
        let after = if self.chunk.len() < CHUNK { None } else { self.many.as_deref() };
        let entries = match after.and_then(|many| many.more.back().zip(Some(many.more.len()))) {
            None => self.chunk.len(),
            Some((last, more)) => more * CHUNK + last.len(),
        };
        self.first.wrapping_add(entries as u32)
    }

    fn chunk(&self, number: usize) -> Option<&Vec<KeyEntry>> {
        match number.checked_sub(1) {
            None => Some(&self.chunk),
            Some(number) => self.many.as_ref()?.more.get(number),
        }
    }

    fn at(&self, position: u32) -> &KeyEntry {
        let offset = position.wrapping_sub(self.first) as usize;
        &self.chunk(offset / CHUNK).expect("a position that is held")[offset % CHUNK]
    }

    fn at_mut(&mut self, position: u32) -> Option<&mut KeyEntry> {
        let offset = position.wrapping_sub(self.first) as usize;
        let chunk = match (offset / CHUNK).checked_sub(1) {
            None => &mut self.chunk,
            Some(number) => self.many.as_mut()?.more.get_mut(number)?,
        };
        chunk.get_mut(offset % CHUNK)
    }

    fn push(&mut self, entry: KeyEntry) {
        if self.chunk.len() < CHUNK {
            // Grows with the account, from one: an account with one key is the most frequent. Later
            // chunks will be filled.
            if self.chunk.capacity() < 2 {
                self.chunk.reserve_exact(1);
            }
            return self.chunk.push(entry);
        }
        let many = self.many.as_mut().expect("a full chunk has an index");
        match many.more.back_mut() {
            Some(last) if last.len() < CHUNK => last.push(entry),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                many.more.push_back(chunk);
            }
        }
    }

    fn has_one_chunk(&self) -> bool {
        self.many.as_ref().is_none_or(|many| many.more.is_empty())
    }

    fn iter(&self) -> impl Iterator<Item = &KeyEntry> {
        self.chunk.iter().chain(self.many.iter().flat_map(|many| many.more.iter().flatten()))
    }

    /// Remembers a key, in place of an older entry of the same key. Says whether it is to be counted:
    /// a key is counted once per generation.
    ///
    /// Before memory grows, what is older than `oldest` makes room, so an account holds at most about
    /// twice what it has to remember, and a chunk.
    pub fn insert(&mut self, entry: KeyEntry, oldest: u32) -> bool {
        self.make_room(oldest);
        let known = self.newest(entry.hash);
        if let Some(position) = known
            && self.at(position).generation == entry.generation
        {
            if let Some(same) = self.at_mut(position) {
                *same = entry;
            }
            return false;
        }
        self.append(entry, known);
        true
    }

    /// As [`KeyMemory::insert`], for a key of which [`KeyMemory::find`] has just found no entry.
    pub fn insert_new(&mut self, entry: KeyEntry, oldest: u32) {
        self.make_room(oldest);
        self.append(entry, None);
    }

    fn make_room(&mut self, oldest: u32) {
        if self.chunk.len() == self.chunk.capacity() {
            self.forget(oldest);
        }
    }

    fn append(&mut self, entry: KeyEntry, known: Option<u32>) {
        let place = Place { hash: short(entry.hash), position: self.end() };
        let hash = entry.hash;
        self.push(entry);
        if self.many.is_some() {
            self.put_place(hash, known, place);
        } else if self.chunk.len() > SCAN_MAX {
            self.build_index(1);
        }
    }

    fn put_place(&mut self, hash: KeyHash, known: Option<u32>, place: Place) {
        let Some(many) = &mut self.many else { return };
        let tables = many.index.len();
        let table = &mut many.index[table_of(hash, tables)];
        let old = known.and_then(|position| {
            let old = Place { hash: place.hash, position };
            table.find_mut(old.table_hash(), |p| *p == old)
        });
        match old {
            Some(old) => *old = place,
            None => {
                table.insert_unique(place.table_hash(), place, |p| p.table_hash());
            }
        }
        if tables == 1 && many.index[0].len() > SPREAD_ABOVE {
            self.build_index(SPREAD);
        }
    }

    fn build_index(&mut self, tables: usize) {
        let mut index: Vec<HashTable<Place>> = (0..tables).map(|_| HashTable::new()).collect();
        let mut position = self.first;
        for entry in self.iter() {
            let place = Place { hash: short(entry.hash), position };
            position = position.wrapping_add(1);
            let table = &mut index[table_of(entry.hash, tables)];
            let same = |p: &Place| self.at(p.position).hash == entry.hash;
            match table.find_mut(place.table_hash(), same) {
                Some(older) => *older = place,
                None => {
                    table.insert_unique(place.table_hash(), place, |p| p.table_hash());
                }
            }
        }
        self.many.get_or_insert_default().index = index.into_boxed_slice();
    }

    /// Forgets the oldest entries, those before the first that is not below `oldest`: of the first
    /// chunk, or, where there are more, all of it or nothing. Says whether a whole chunk went, so that
    /// the next one may follow, with the account unlocked in between.
    pub fn forget(&mut self, oldest: u32) -> bool {
        let old = self.chunk.iter().take_while(|e| e.generation < oldest).count();
        if old == 0 || (!self.has_one_chunk() && old < self.chunk.len()) {
            return false;
        }
        if let Some(many) = &mut self.many {
            let tables = many.index.len();
            for (entry, offset) in self.chunk[..old].iter().zip(0u32..) {
                let position = self.first.wrapping_add(offset);
                let place = Place { hash: short(entry.hash), position };
                let table = &mut many.index[table_of(entry.hash, tables)];
                // A key that came again has its newer place there, which stays.
                if let Ok(found) = table.find_entry(place.table_hash(), |p| *p == place) {
                    found.remove();
                }
            }
        }
        self.first = self.first.wrapping_add(old as u32);
        match self.many.as_mut().and_then(|many| many.more.pop_front()) {
            None => {
                self.chunk.drain(..old);
                false
            }
            Some(next) => {
                self.chunk = next;
                true
            }
        }
    }

    /// Gives memory back that forgotten entries left.
    pub fn shrink(&mut self) {
        if self.has_one_chunk() && self.chunk.len() * 4 < self.chunk.capacity() {
            self.chunk.shrink_to_fit();
            self.many = None;
            if self.chunk.len() > SCAN_MAX {
                self.build_index(1);
            }
        }
    }

    /// Whether no key is left.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    /// The entries of the chunk that holds position `from`, or of the first if that is gone, from
    /// there on, and the position after them; `None` after the last.
    pub fn chunk_from(&self, from: u32) -> Option<(&[KeyEntry], u32)> {
        let held = self.end().wrapping_sub(self.first);
        let offset = from.wrapping_sub(self.first);
        // A position that is gone lies before the first one: as an offset it is beyond the end.
        let offset = if offset > held { 0 } else { offset as usize };
        let chunk = self.chunk(offset / CHUNK)?;
        let rest = chunk.get(offset % CHUNK..).filter(|rest| !rest.is_empty())?;
        Some((rest, self.first.wrapping_add((offset + rest.len()) as u32)))
    }

    /// The position of the first entry.
    pub fn first(&self) -> u32 {
        self.first
    }
}

fn short(hash: KeyHash) -> u32 {
    (hash.0[0] >> 32) as u32
}

fn table_of(hash: KeyHash, tables: usize) -> usize {
    if tables == 1 { 0 } else { hash.0[1] as usize % SPREAD }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::test_entry as entry;

    #[track_caller]
    fn holds(keys: &KeyMemory, number: u64, generation: u32, oldest: u32) -> bool {
        let wanted = entry(number, generation);
        keys.find(wanted.hash).is_some_and(|found| found.generation >= oldest && *found == wanted)
    }

    #[test]
    fn an_entry_is_no_larger_than_it_was() {
        assert_eq!(size_of::<KeyEntry>(), 64, "4 million of them are in memory");
        assert_eq!(size_of::<KeyMemory>(), 40, "each account with keys has one");
    }

    #[test]
    fn every_key_is_found_at_every_size_until_its_chunk_is_dropped() {
        let count = 12_000_u64; // Past the spreading of the index, and of several chunks.
        let generation = |number: u64| u32::try_from(number / 3_000).expect("small");
        let mut keys = KeyMemory::default();
        for number in 0..count {
            assert!(keys.insert(entry(number, generation(number)), 0));
            assert!(holds(&keys, number, generation(number), 0));
            assert!(holds(&keys, 0, 0, 0));
            assert!(keys.find(entry(number + 1, 0).hash).is_none());
        }
        while keys.forget(2) {}
        for number in 0..count {
            assert_eq!(
                holds(&keys, number, generation(number), 2),
                generation(number) >= 2,
                "{number}"
            );
        }
        while keys.forget(4) {}
        assert!(keys.is_empty());
        assert!(keys.insert(entry(1, 4), 4) && holds(&keys, 1, 4, 4));
    }

    #[test]
    fn a_key_that_comes_again_counts_once_per_generation_and_its_newest_answer_stays() {
        for count in [1_u64, 3, 100, 5_000] {
            let mut keys = KeyMemory::default();
            for number in 0..count {
                keys.insert(entry(number, 1), 0);
            }
            assert!(!keys.insert(entry(0, 1), 0), "the same generation: replayed from the journal");
            assert!(keys.insert(entry(0, 2), 0));
            assert!(holds(&keys, 0, 2, 2));
            while keys.forget(2) {}
            assert!(
                holds(&keys, 0, 2, 2),
                "{count}: the newer entry outlives the older one's chunk"
            );
        }
    }

    #[test]
    fn pages_hold_every_entry_once_also_when_the_first_chunk_goes_meanwhile() {
        let mut keys = KeyMemory::default();
        for number in 0..3_000 {
            keys.insert(entry(number, u32::from(number >= 1_024)), 0);
        }
        let mut seen = Vec::new();
        let mut from = keys.first();
        while let Some((page, next)) = keys.chunk_from(from) {
            seen.extend(page.iter().map(|e| e.seq.0));
            from = next;
        }
        assert_eq!(seen, (0..3_000).collect::<Vec<_>>());
        let start = keys.first();
        assert!(keys.forget(1));
        let (page, _) = keys.chunk_from(start).expect("what is left");
        assert_eq!(page[0].seq.0, 1_024);
    }

    #[test]
    fn memory_follows_what_is_remembered_not_what_was_written() {
        let mut keys = KeyMemory::default();
        for number in 0..100_000_u64 {
            let generation = u32::try_from(number / 10).expect("small");
            keys.insert(entry(number, generation), generation.saturating_sub(3));
            assert!(holds(&keys, number, generation, generation));
        }
        let capacity = keys.chunk.capacity()
            + keys.many.iter().flat_map(|m| m.more.iter()).map(Vec::capacity).sum::<usize>();
        assert!(capacity <= 128, "{capacity} entries for 40 that are remembered");
    }
}
