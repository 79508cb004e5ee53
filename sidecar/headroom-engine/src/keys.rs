//! Idempotency keys: which writes were admitted already, and what was answered.
//!
//! Only admitted writes are remembered: a buyer who was refused and then paid may retry with the same
//! key. Memory is bounded by time (the horizon) and by entries; when there are more, the oldest
//! generation is forgotten and the horizon in force is shorter, which is reported.
//!
//! Keys live with their account, under its lock, so finding a duplicate and counting are one step.

// Positions count modulo 2^32 and hashes are cut to what a table needs, both on purpose.
#![allow(clippy::cast_possible_truncation)]

use std::collections::VecDeque;
use std::hash::Hasher;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashTable;
use headroom_core::credits::Charge;
use headroom_core::decision::{Amounts, Outcome, Verdict};
use headroom_core::event::Event;
use headroom_core::names::NameId;
use headroom_core::time::Millis;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::engine::EngineError;
use crate::ports::Seq;

/// A keyed 128-bit hash of an idempotency key: with the data directory's secret nobody can make two
/// keys that collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u64; 2]);

/// Hashes an idempotency key.
pub fn hash_key(secret: &[u8; 16], key: &str) -> KeyHash {
    let mut hasher = SipHasher13::new_with_key(secret);
    hasher.write(key.as_bytes());
    let hash = hasher.finish128();
    KeyHash([hash.h1, hash.h2])
}

/// Fingerprint of what a write asks for, so that a key used for something else is noticed. It guards
/// clients against their own mistakes, so it need not withstand an attacker; it is kept on disk, so it
/// must never change. Each step is the finaliser of MurmurHash3.
pub fn hash_payload(operation: u8, feature: NameId, numbers: [u64; 3]) -> u64 {
    let head = u64::from(operation) << 32 | u64::from(feature.0);
    numbers.into_iter().fold(mixed(head), |hash, number| mixed(hash.rotate_left(23) ^ number))
}

fn mixed(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// What is remembered of an admitted write: its outcome. Limits, prompt and projection are made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Hash of what was asked.
    pub payload: u64,
    /// The verdict; never a refusal.
    pub verdict: Verdict,
    /// The feature.
    pub feature: NameId,
    /// The binding limit; [`Receipt::NO_LIMIT`] when there was none.
    pub binding: NameId,
    /// What was done. `None`: just the units asked for.
    pub done: Option<Box<Done>>,
}

/// What an admitted write did, where that is more than its payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Units, reservation, debt.
    pub amounts: Amounts,
    /// What it took from a pool of credits.
    pub charge: Option<Charge>,
    /// Of a write for several features, a receipt for each of them; those have no parts. Their payload is
    /// of their feature alone, and 0 where nothing was consumed.
    pub parts: Box<[Receipt]>,
}

impl Done {
    /// What a write for one feature did.
    pub fn of(amounts: Amounts, charge: Option<&Charge>) -> Done {
        Done { amounts, charge: charge.cloned(), parts: Box::default() }
    }
}

impl Receipt {
    /// Stands for "no binding limit".
    pub const NO_LIMIT: NameId = NameId(u32::MAX);

    /// What is remembered of an event or a correction: that its key is taken, so that nothing else is counted
    /// under it. What was answered is on disk.
    pub(crate) fn of_event(payload: u64) -> Receipt {
        let (feature, binding) = (Receipt::NO_LIMIT, Receipt::NO_LIMIT);
        Receipt { payload, verdict: Verdict::Allowed, feature, binding, done: None }
    }

    /// Whether it is of an event or a correction. What is counted as it comes is of a feature, or has parts that are.
    pub(crate) fn is_of_event(&self) -> bool {
        self.feature == Receipt::NO_LIMIT && self.done.is_none()
    }

    /// Why another write cannot have its key.
    #[cold]
    pub(crate) fn reused(&self) -> EngineError {
        if self.is_of_event() { EngineError::KeyOfEvent } else { EngineError::KeyReused }
    }

    /// What is remembered of a write that asked for so many units.
    #[inline(always)]
    pub(crate) fn of(payload: u64, units: u64, outcome: &Outcome) -> Receipt {
        let (decision, amounts) = (&outcome.decision, outcome.amounts);
        let bare = Amounts { units, ..Amounts::default() };
        Receipt {
            payload,
            verdict: decision.verdict,
            feature: decision.feature.unwrap_or(Receipt::NO_LIMIT),
            binding: decision.binding.as_ref().map_or(Receipt::NO_LIMIT, |b| b.ledger.limit),
            // A plain consume is told by its payload alone; the rest keeps what it did.
            done: (amounts != bare || decision.charge().is_some())
                .then(|| Box::new(Done::of(amounts, decision.charge()))),
        }
    }
}

/// A remembered key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// The key.
    pub hash: KeyHash,
    /// Where the write is in the journal: a duplicate of a write in flight waits for it, too.
    pub seq: Seq,
    /// When it was, in generations of the [`KeyBook`].
    pub generation: u32,
    /// How far into that generation, in milliseconds; [`KeyEntry::NO_OFFSET`] when it is not known.
    pub offset_ms: u16,
    /// The answer.
    pub receipt: Receipt,
}

impl KeyEntry {
    /// Stands for "when in its generation is not known".
    pub const NO_OFFSET: u16 = u16::MAX;
}

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

/// Generations counted at a time: more than the horizon has, so that no two share a place.
const PLACES: usize = 1 << 17;
/// Generations in a horizon, at most. With the default horizon of a day one is a second long, so that
/// what a second brings is the least that is remembered.
const GENERATIONS: i64 = 86_400;
/// Shortest generation. Shorter ones since 1970 would not fit their number of 32 bits, and no key would
/// ever be forgotten. Milliseconds.
const GENERATION_MS_MIN: i64 = 1_000;
/// How often, in insertions of one generation, the bound on entries is tested.
const TEST_EVERY: u64 = 1024;

/// Counts the keys of all accounts by age, and says which are to be forgotten.
#[derive(Debug)]
pub struct KeyBook {
    generation_ms: i64,
    /// The horizon, in generations.
    generations: u32,
    entries_max: u64,
    // Keys per generation, at `generation % PLACES`.
    counts: Box<[AtomicU64]>,
    newest: AtomicU32,
    oldest: AtomicU32,
    // Keys of the generations before `newest` that are remembered. Under `moving`.
    moving: Mutex<u64>,
}

impl KeyBook {
    /// A book for keys remembered for `horizon_ms`, and for `entries_max` of them.
    pub fn new(horizon_ms: i64, entries_max: NonZeroUsize) -> KeyBook {
        let horizon_ms = horizon_ms.max(1);
        let generation_ms = div_ceil(horizon_ms, GENERATIONS).max(GENERATION_MS_MIN);
        KeyBook {
            generation_ms,
            generations: u32::try_from(div_ceil(horizon_ms, generation_ms)).unwrap_or(u32::MAX),
            entries_max: entries_max.get() as u64,
            counts: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            newest: AtomicU32::new(0),
            oldest: AtomicU32::new(0),
            moving: Mutex::new(0),
        }
    }

    /// The generation of an instant: how many have passed since 1970, or since the last time a 32-bit
    /// count of them was full, which takes 136 years of seconds.
    pub fn generation(&self, at: Millis) -> u32 {
        u32::try_from((at.0 / self.generation_ms).clamp(0, i64::from(u32::MAX))).unwrap_or_default()
    }

    /// How far into its generation an instant is; [`KeyEntry::NO_OFFSET`] where generations are longer
    /// than a minute, because keys are remembered for months.
    #[inline]
    pub fn offset_ms(&self, at: Millis, generation: u32) -> u16 {
        let offset = at.0.wrapping_sub(i64::from(generation) * self.generation_ms);
        u16::try_from(offset).unwrap_or(KeyEntry::NO_OFFSET)
    }

    /// When a write was decided, or when its generation began, where no more is known.
    pub fn about(&self, entry: &KeyEntry) -> Millis {
        let start = Millis(i64::from(entry.generation) * self.generation_ms);
        self.instant(entry).unwrap_or(start)
    }

    /// When a write was decided, if that is known to the millisecond.
    pub fn instant(&self, entry: &KeyEntry) -> Option<Millis> {
        let start = i64::from(entry.generation) * self.generation_ms;
        (entry.offset_ms != KeyEntry::NO_OFFSET).then(|| Millis(start + i64::from(entry.offset_ms)))
    }

    /// The first generation that is still remembered.
    pub fn oldest(&self) -> u32 {
        self.oldest.load(Ordering::Relaxed)
    }

    /// Notes that time has come to `at`: generations past the horizon are forgotten.
    pub fn advance(&self, at: Millis) {
        self.advance_to(self.generation(at));
    }

    /// As [`KeyBook::advance`], by the number of the generation.
    pub(crate) fn advance_to(&self, generation: u32) {
        if generation <= self.newest.load(Ordering::Relaxed) {
            return;
        }
        let mut closed = self.moving.lock().unwrap_or_else(|held| held.into_inner());
        let newest = self.newest.load(Ordering::Relaxed);
        if generation <= newest {
            return;
        }
        *closed += self.count(newest).load(Ordering::Relaxed);
        // First what is forgotten is taken off, then its places are free for the new ones.
        self.forget_below(generation.saturating_sub(self.generations), newest, &mut closed);
        let fresh = (generation - newest).min(PLACES as u32);
        for step in 0..fresh {
            self.count(generation - step).store(0, Ordering::Relaxed);
        }
        self.newest.store(generation, Ordering::Relaxed);
        self.shorten(generation, &mut closed);
    }

    /// Counts a key of a generation, and forgets the oldest when there are too many.
    pub fn add(&self, generation: u32) {
        let before = self.count(generation).fetch_add(1, Ordering::Relaxed);
        if generation < self.newest.load(Ordering::Relaxed) {
            // It is closed already: a snapshot lists keys by account, a request may read the clock
            // before another.
            *self.moving.lock().unwrap_or_else(|held| held.into_inner()) += 1;
        }
        if before % TEST_EVERY == TEST_EVERY - 1 {
            let mut closed = self.moving.lock().unwrap_or_else(|held| held.into_inner());
            self.shorten(self.newest.load(Ordering::Relaxed), &mut closed);
        }
    }

    /// Forgets the oldest generations until the others fit. The newest always stays: a retry of a
    /// moment ago must be known.
    fn shorten(&self, newest: u32, closed: &mut u64) {
        let open = self.count(newest).load(Ordering::Relaxed);
        while *closed > 0 && open + *closed > self.entries_max {
            let oldest = self.oldest();
            self.forget_below(oldest + 1, newest, closed);
            if oldest + 1 >= newest {
                return;
            }
        }
    }

    fn forget_below(&self, bound: u32, newest: u32, closed: &mut u64) {
        let oldest = self.oldest();
        if bound <= oldest {
            return;
        }
        // What lies further back than there are places was never counted.
        let counted_from = oldest.max(newest.saturating_sub(PLACES as u32 - 1));
        for generation in counted_from..bound.min(newest.saturating_add(1)) {
            *closed = closed.saturating_sub(self.count(generation).load(Ordering::Relaxed));
        }
        self.oldest.store(bound, Ordering::Relaxed);
    }

    /// Keys remembered.
    pub fn live(&self) -> u64 {
        let closed = self.moving.lock().unwrap_or_else(|held| held.into_inner());
        *closed + self.count(self.newest.load(Ordering::Relaxed)).load(Ordering::Relaxed)
    }

    /// The entry of an event's key, which is on disk in any case. `None` where there is no place for it: events take no
    /// more than half, so that a file of old events does not make the keys of other writes forgotten.
    pub fn entry_of_event(&self, event: &Event, seq: Seq, at: Millis) -> Option<KeyEntry> {
        self.advance(at);
        let generation = self.generation(at);
        let offset_ms = self.offset_ms(at, generation);
        let receipt = Receipt::of_event(event.payload);
        let entry = KeyEntry { hash: KeyHash(event.key), seq, generation, offset_ms, receipt };
        (self.live() < self.entries_max / 2).then_some(entry)
    }

    /// How long a key is remembered at present, in milliseconds: the horizon, or less when there are
    /// too many keys.
    pub fn horizon_ms(&self) -> i64 {
        let newest = self.newest.load(Ordering::Relaxed);
        let generations = newest.saturating_sub(self.oldest()).min(self.generations);
        i64::from(generations) * self.generation_ms
    }

    fn count(&self, generation: u32) -> &AtomicU64 {
        &self.counts[generation as usize % PLACES]
    }
}

/// Division of positive numbers that rounds up; `i64::div_ceil` is not stable.
fn div_ceil(number: i64, by: i64) -> i64 {
    (number + by - 1) / by
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, generation: u32) -> KeyEntry {
        let receipt = Receipt {
            payload: number,
            verdict: Verdict::Allowed,
            feature: Receipt::NO_LIMIT,
            binding: Receipt::NO_LIMIT,
            done: None,
        };
        KeyEntry {
            hash: hash_key(b"a secret of test", &number.to_string()),
            seq: Seq(number),
            generation,
            offset_ms: 0,
            receipt,
        }
    }

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
    fn an_instant_is_known_to_the_millisecond_unless_keys_are_kept_for_months() {
        for (horizon_ms, known) in [
            (86_400_000, true),
            (1_000, true),
            (70 * 86_400_000, true),
            (70 * 86_400_000_000, false),
        ] {
            let book = KeyBook::new(horizon_ms, NonZeroUsize::MIN);
            let at = Millis(1_700_000_059_999);
            let generation = book.generation(at);
            let offset_ms = book.offset_ms(at, generation);
            let entry = KeyEntry { offset_ms, ..entry(1, generation) };
            assert_eq!(book.instant(&entry), known.then_some(at), "{horizon_ms}");
        }
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

    #[test]
    fn too_many_keys_shorten_the_horizon_and_it_is_reported() {
        let book = KeyBook::new(86_400_000, NonZeroUsize::new(20_000).expect("not zero"));
        let second = |n: i64| Millis(1_700_000_000_000 + n * 1_000);
        let mut live_max = 0;
        for n in 0..600 {
            book.advance(second(n));
            for _ in 0..100 {
                book.add(book.generation(second(n)));
            }
            live_max = live_max.max(book.live());
        }
        assert!(live_max <= 20_000 + TEST_EVERY, "{live_max}");
        assert_eq!(book.horizon_ms(), 200_000, "20,000 keys are 200 seconds of 100");
    }

    #[test]
    fn keys_that_come_out_of_order_are_counted() {
        let book = KeyBook::new(60_000, NonZeroUsize::new(1_000).expect("not zero"));
        for at in [5_000, 1_000, 9_000, 2_000, 2_000, 9_500] {
            book.advance(Millis(at));
            book.add(book.generation(Millis(at)));
        }
        assert_eq!(book.live(), 6);
        book.advance(Millis(63_000));
        assert_eq!(book.live(), 3, "those of the first three seconds are forgotten");
        book.advance(Millis(600_000));
        assert_eq!(book.live(), 0);
    }

    #[test]
    fn keys_are_forgotten_after_the_horizon_also_when_time_leaps() {
        let book = KeyBook::new(60_000, NonZeroUsize::new(1_000).expect("not zero"));
        for (at, live) in
            [(0, 1), (30_000, 2), (59_000, 3), (61_000, 3), (10_000_000, 1), (1 << 40, 1)]
        {
            book.advance(Millis(at));
            book.add(book.generation(Millis(at)));
            assert_eq!(book.live(), live, "at {at}");
        }
        assert_eq!(book.horizon_ms(), 60_000);
    }
}
