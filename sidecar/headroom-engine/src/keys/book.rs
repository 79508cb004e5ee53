//! How many keys of which age there are in all accounts, and which are to be forgotten.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use headroom_core::event::Event;
use headroom_core::time::Millis;

use crate::keys::{KeyEntry, KeyHash, Receipt};
use crate::ports::Seq;

/// Generations counted at a time: more than the horizon has, so that no two share a place.
const PLACES: u32 = 1 << 17;
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
        let fresh = (generation - newest).min(PLACES);
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
        let counted_from = oldest.max(newest.saturating_sub(PLACES - 1));
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
        &self.counts[(generation % PLACES) as usize]
    }
}

/// Division of positive numbers that rounds up; `i64::div_ceil` is not stable.
fn div_ceil(number: i64, by: i64) -> i64 {
    (number + by - 1) / by
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::test_entry as entry;

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
