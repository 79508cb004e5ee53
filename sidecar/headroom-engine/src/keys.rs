//! Idempotency keys: which writes were admitted already, and what was answered.
//!
//! Only admitted writes are remembered: a buyer who was refused and then paid may retry with the same
//! key. Memory is bounded by time (the horizon) and by entries; when there are more, the oldest
//! generation is forgotten and the horizon in force is shorter, which is reported.
//!
//! Keys live with their account, under its lock, so finding a duplicate and counting are one step.

use std::hash::Hasher;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashTable;
use headroom_core::decision::{Amounts, Verdict};
use headroom_core::names::NameId;
use headroom_core::time::Millis;
use siphasher::sip128::{Hasher128, SipHasher13};

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

/// Hashes what a write asks for, so that a key used for something else is noticed.
pub fn hash_payload(secret: &[u8; 16], operation: u8, text: &str, numbers: [u64; 3]) -> u64 {
    let mut hasher = siphasher::sip::SipHasher13::new_with_key(secret);
    hasher.write_u8(operation);
    for number in numbers {
        hasher.write_u64(number);
    }
    hasher.write(text.as_bytes());
    hasher.finish()
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
    pub amounts: Option<Box<Amounts>>,
}

impl Receipt {
    /// Stands for "no binding limit".
    pub const NO_LIMIT: NameId = NameId(u32::MAX);
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
    /// The answer.
    pub receipt: Receipt,
}

/// Entries above which an account's keys are spread over [`SPREAD`] tables, so that a table that
/// grows never holds the account's lock for more than a fraction of a millisecond.
const SPREAD_ABOVE: usize = 4096;
const SPREAD: usize = 64;

/// The keys of one account.
#[derive(Debug, Default)]
pub struct KeyMemory {
    // One table, or SPREAD of them.
    tables: Box<[HashTable<KeyEntry>]>,
}

impl KeyMemory {
    /// A memory without keys.
    pub fn new() -> KeyMemory {
        KeyMemory { tables: Box::new([HashTable::new()]) }
    }

    fn table(&self, hash: KeyHash) -> usize {
        if self.tables.len() == 1 { 0 } else { (hash.0[1] as usize) % SPREAD }
    }

    /// The entry of a key, unless it was to be forgotten: its generation is below `oldest`.
    pub fn find(&self, hash: KeyHash, oldest: u32) -> Option<&KeyEntry> {
        let table = self.tables.get(self.table(hash))?;
        table.find(hash.0[0], |e| e.hash == hash).filter(|e| e.generation >= oldest)
    }

    /// Remembers a key, in place of an older entry of the same key. Says whether it is a new one, to
    /// be counted: of a generation that its key was not counted in.
    pub fn insert(&mut self, entry: KeyEntry, oldest: u32) -> bool {
        if self.tables.is_empty() {
            *self = KeyMemory::new();
        }
        if self.tables.len() == 1 && self.tables[0].len() >= SPREAD_ABOVE {
            self.spread();
        }
        let place = self.table(entry.hash);
        let table = &mut self.tables[place];
        if table.len() == table.capacity() {
            // Before it grows, what may be forgotten makes room.
            table.retain(|e| e.generation >= oldest);
        }
        let mut is_new = true;
        if let Ok(same) = table.find_entry(entry.hash.0[0], |e| e.hash == entry.hash) {
            is_new = same.remove().0.generation != entry.generation;
        }
        table.insert_unique(entry.hash.0[0], entry, |e| e.hash.0[0]);
        is_new
    }

    /// How many tables the keys are in.
    pub fn tables(&self) -> usize {
        self.tables.len()
    }

    /// The entries of one table, in no order.
    pub fn table_iter(&self, table: usize) -> impl Iterator<Item = &KeyEntry> {
        self.tables.get(table).into_iter().flatten()
    }

    fn spread(&mut self) {
        let all = std::mem::take(&mut self.tables);
        let mut tables: Vec<HashTable<KeyEntry>> = (0..SPREAD).map(|_| HashTable::new()).collect();
        for entry in all.into_vec().into_iter().flatten() {
            let place = (entry.hash.0[1] as usize) % SPREAD;
            tables[place].insert_unique(entry.hash.0[0], entry, |e| e.hash.0[0]);
        }
        self.tables = tables.into_boxed_slice();
    }

    /// Drops what is to be forgotten, and says whether anything is left.
    pub fn prune(&mut self, oldest: u32) -> bool {
        for table in &mut self.tables {
            table.retain(|e| e.generation >= oldest);
            if table.capacity() > 64 && table.len() < table.capacity() / 4 {
                table.shrink_to_fit(|e| e.hash.0[0]);
            }
        }
        self.tables.iter().any(|table| !table.is_empty())
    }
}

/// Generations counted at a time: more than the horizon has, so that no two share a place.
const PLACES: usize = 256;
/// Generations in a horizon.
const GENERATIONS: i64 = 144;
/// How often, in insertions, the bound on entries is tested.
const TEST_EVERY: u64 = 1024;

/// Counts the keys of all accounts by age, and says which are to be forgotten.
#[derive(Debug)]
pub struct KeyBook {
    horizon_ms: i64,
    generation_ms: i64,
    entries_max: u64,
    // Keys per generation, at `generation % PLACES`.
    counts: Box<[AtomicU64; PLACES]>,
    newest: AtomicU32,
    oldest: AtomicU32,
    // Held to move `newest` or `oldest`; never on the road of a request that moves neither.
    moving: Mutex<()>,
}

impl KeyBook {
    /// A book for keys remembered for `horizon_ms`, and for `entries_max` of them.
    pub fn new(horizon_ms: i64, entries_max: NonZeroUsize) -> KeyBook {
        let horizon_ms = horizon_ms.max(GENERATIONS);
        KeyBook {
            horizon_ms,
            // Rounded up, so that a horizon never has more generations than there are places.
            generation_ms: horizon_ms.div_ceil_to(GENERATIONS),
            entries_max: entries_max.get() as u64,
            counts: Box::new([const { AtomicU64::new(0) }; PLACES]),
            newest: AtomicU32::new(0),
            oldest: AtomicU32::new(0),
            moving: Mutex::new(()),
        }
    }

    /// The generation of an instant. Instants before 1970 share the first.
    pub fn generation(&self, at: Millis) -> u32 {
        u32::try_from((at.0 / self.generation_ms).max(0)).unwrap_or(u32::MAX)
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
        let _moving = self.moving.lock().unwrap_or_else(|held| held.into_inner());
        let newest = self.newest.load(Ordering::Relaxed);
        if generation <= newest {
            return;
        }
        let fresh = (generation - newest).min(PLACES as u32);
        for step in 0..fresh {
            self.count(generation - step).store(0, Ordering::Relaxed);
        }
        self.newest.store(generation, Ordering::Relaxed);
        let horizon = u32::try_from(self.horizon_ms.div_ceil_to(self.generation_ms)).unwrap_or(u32::MAX);
        self.oldest.fetch_max(generation.saturating_sub(horizon), Ordering::Relaxed);
    }

    /// Counts a key of a generation, and forgets the oldest when there are too many.
    pub fn add(&self, generation: u32) {
        let before = self.count(generation).fetch_add(1, Ordering::Relaxed);
        if before % TEST_EVERY == TEST_EVERY - 1 {
            self.shorten();
        }
    }

    fn shorten(&self) {
        let _moving = self.moving.lock().unwrap_or_else(|held| held.into_inner());
        // The generation being filled always stays: a retry of a moment ago must be known.
        while self.live() > self.entries_max && self.oldest() < self.newest.load(Ordering::Relaxed) {
            self.oldest.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keys remembered.
    pub fn live(&self) -> u64 {
        let newest = self.newest.load(Ordering::Relaxed);
        let oldest = self.oldest().max(newest.saturating_sub(PLACES as u32 - 1));
        (oldest..=newest).map(|g| self.count(g).load(Ordering::Relaxed)).sum()
    }

    /// How long a key is remembered at present, in milliseconds: the horizon, or less when there are
    /// too many keys.
    pub fn horizon_ms(&self) -> i64 {
        let generations = self.newest.load(Ordering::Relaxed).saturating_sub(self.oldest());
        let shortened = i64::from(generations).saturating_mul(self.generation_ms);
        if self.is_shortened() { shortened } else { self.horizon_ms }
    }

    fn is_shortened(&self) -> bool {
        let newest = self.newest.load(Ordering::Relaxed);
        let horizon = u32::try_from(self.horizon_ms.div_ceil_to(self.generation_ms)).unwrap_or(u32::MAX);
        self.oldest() > newest.saturating_sub(horizon)
    }

    fn count(&self, generation: u32) -> &AtomicU64 {
        &self.counts[generation as usize % PLACES]
    }
}

/// Division of positive numbers that rounds up; `i64::div_ceil` is not stable.
trait DivCeilTo {
    fn div_ceil_to(self, by: Self) -> Self;
}

impl DivCeilTo for i64 {
    fn div_ceil_to(self, by: i64) -> i64 {
        (self + by - 1) / by
    }
}
