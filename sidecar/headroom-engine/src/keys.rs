//! Idempotency keys: which writes were admitted already, and what was answered.
//!
//! Only admitted writes are remembered: a buyer who was refused and then paid may retry with the same
//! key. Memory is bounded by time (the horizon) and by entries; when there are more, the oldest
//! generation is forgotten and the horizon in force is shorter, which is reported.
//!
//! Keys live with their account, under its lock, so finding a duplicate and counting are one step.

mod book;
mod memory;

use std::hash::Hasher;

use headroom_core::credits::Charge;
use headroom_core::decision::{Amounts, Outcome, Verdict};
use headroom_core::names::NameId;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::engine::EngineError;
use crate::ports::Seq;

pub use book::KeyBook;
pub use memory::KeyMemory;

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

#[cfg(test)]
pub(crate) fn test_entry(number: u64, generation: u32) -> KeyEntry {
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
