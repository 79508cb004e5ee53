//! The latest decisions, so that `ExplainDecision` can say why.
//!
//! What is kept is the answer as it was sent and the question it answers, as bytes in a ring: a write
//! of some hundred bytes for each decision, a bound on memory that holds exactly, and an explanation
//! that cannot differ from what the product was told. Each worker has rings of its own: one for what
//! was simply allowed, and one for everything else, so that busy traffic does not displace refusals.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headroom_core::catalog::{Aggregation, Catalog};
use headroom_core::decision::Verdict;
use headroom_engine::engine::{DecisionId, Reply};
use headroom_proto::encoded::Fields;
use headroom_proto::v1;
use prost::Message;

use crate::telemetry::metrics::Operation;

/// The latest decisions of one worker.
#[derive(Debug, Clone)]
pub struct Receipts(Option<Arc<Mutex<Rings>>>);

#[derive(Debug)]
struct Rings {
    allowed: Ring,
    special: Ring,
    // The question of the entry that is being written. Here so that its memory is used again.
    question: Vec<u8>,
}

/// What a decision was about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// What was asked.
    pub operation: Operation,
    /// The account.
    pub account: &'a str,
    /// The feature; empty when the reservation is not known.
    pub feature: &'a str,
    /// Units asked for; 0 when the operation has none.
    pub units: u64,
    /// The request that it is an item of.
    pub whole: Option<&'a Whole>,
}

/// A request for several features, of which a decision is one.
#[derive(Clone, PartialEq, Message)]
pub struct Whole {
    /// The place of the operation in [`Operation::ALL`].
    #[prost(uint64, tag = "1")]
    pub operation: u64,
    /// Which item the decision is, from 1.
    #[prost(uint64, tag = "2")]
    pub item: u64,
    /// How many items there are.
    #[prost(uint64, tag = "3")]
    pub items: u64,
    /// The first item that was refused, from 1; 0 when all were allowed.
    #[prost(uint64, tag = "4")]
    pub refused: u64,
    /// The feature of that.
    #[prost(string, tag = "5")]
    pub refused_feature: String,
}

/// An entry of a ring, read again. The first field is that of every answer to an operation; the
/// numbers of the others are ones that no answer has.
#[derive(Clone, PartialEq, Message)]
pub struct Kept {
    /// The decision as it was sent.
    #[prost(message, optional, tag = "1")]
    pub decision: Option<v1::Decision>,
    /// The place of the operation in [`Operation::ALL`].
    #[prost(uint64, tag = "101")]
    pub operation: u64,
    /// The account.
    #[prost(string, tag = "102")]
    pub account: String,
    /// The feature.
    #[prost(string, tag = "103")]
    pub feature: String,
    /// Units asked for.
    #[prost(uint64, tag = "104")]
    pub units: u64,
    /// The feature's other limits, where they were not part of the answer.
    #[prost(message, repeated, tag = "105")]
    pub other_limits: Vec<v1::LimitState>,
    /// The request that it is an item of.
    #[prost(message, optional, tag = "106")]
    pub whole: Option<Whole>,
    /// Units that the limits were asked for, where a feature makes something else of the units.
    #[prost(uint64, optional, tag = "107")]
    pub counted_units: Option<u64>,
    /// Of what shadow mode let on: the most that the binding limit lets used and reserved become, and the
    /// others in their order. [`u64::MAX`]: no bound.
    #[prost(uint64, repeated, tag = "108")]
    pub ceilings: Vec<u64>,
}

/// The tag of [`Kept::other_limits`].
pub const OTHER_LIMITS: u32 = 105;

/// Notes what an answer does not show, and whoever asks later why needs to know: of what is not simply
/// allowed, and of items.
#[cold]
pub fn note_more(catalog: &Catalog, about: About<'_>, reply: &Reply, more: &mut Fields<'_>) {
    if let Some(whole) = about.whole {
        more.generated(106, whole);
    }
    let decision = &reply.outcome.decision;
    let feature = decision.feature.and_then(|id| catalog.feature_of(id));
    let aggregation = feature.map(|feature| catalog.feature(feature).aggregation());
    if let Some(Aggregation::Count | Aggregation::Unique) = aggregation {
        more.optional_uint(107, Some(1));
    }
    if decision.shadow.is_some() {
        let states = decision.binding.iter().chain(&reply.other_limits);
        let ceilings: Vec<u64> =
            states.map(|state| state.ceiling_units.unwrap_or(u64::MAX)).collect();
        more.packed_uints(108, ceilings.into_iter());
    }
}

impl Kept {
    /// What was asked.
    pub fn operation(&self) -> Option<Operation> {
        Operation::ALL.get(usize::try_from(self.operation).ok()?).copied()
    }
}

impl Receipts {
    /// Room for `bytes` of decisions; 0 keeps none.
    pub fn new(bytes: usize) -> Receipts {
        let ring = || Ring::new(bytes / 2);
        let rings = || Rings { allowed: ring(), special: ring(), question: Vec::new() };
        Receipts((bytes > 0).then(|| Arc::new(Mutex::new(rings()))))
    }

    /// Whether any are kept.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps a decision: its answer as sent, and more fields of [`Kept`] that `more` writes.
    pub fn keep(
        &self,
        id: DecisionId,
        verdict: Verdict,
        about: About<'_>,
        answer: &[u8],
        more: impl FnOnce(&mut Fields<'_>),
    ) {
        let Some(rings) = &self.0 else { return };
        let mut rings = lock(rings);
        let Rings { allowed, special, question } = &mut *rings;
        question.clear();
        let mut out = Fields::new(question);
        out.uint(101, about.operation as u64);
        out.text(102, about.account);
        out.text(103, about.feature);
        out.uint(104, about.units);
        more(&mut out);
        let ring = if verdict == Verdict::Allowed { allowed } else { special };
        ring.push(id, [answer, question]);
    }

    /// The decision of this id, if this worker made it and still has it.
    pub fn find(&self, id: DecisionId) -> Option<Kept> {
        let rings = lock(self.0.as_ref()?);
        let bytes = rings.special.find(id).or_else(|| rings.allowed.find(id))?;
        Kept::decode(bytes).ok()
    }
}

fn lock(rings: &Mutex<Rings>) -> MutexGuard<'_, Rings> {
    // A panic leaves at worst one entry that cannot be read.
    rings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Entries in the order they came, in memory of one size.
#[derive(Debug)]
struct Ring {
    capacity: usize,
    // Grows up to the capacity, and then is written over from the front.
    bytes: Vec<u8>,
    // Where the next entry begins, if it fits there.
    next: usize,
    // Invariant: oldest first; they do not overlap.
    entries: VecDeque<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: DecisionId,
    start: usize,
    end: usize,
}

impl Ring {
    fn new(capacity: usize) -> Ring {
        Ring { capacity, bytes: Vec::new(), next: 0, entries: VecDeque::new() }
    }

    /// Adds an entry of two parts; the oldest make room. One that is larger than the ring is left out.
    fn push(&mut self, id: DecisionId, [first, second]: [&[u8]; 2]) {
        let length = first.len() + second.len();
        if length > self.capacity {
            return;
        }
        if self.next + length > self.capacity {
            // What lies behind is the oldest there is.
            while self.entries.front().is_some_and(|oldest| oldest.start >= self.next) {
                self.entries.pop_front();
            }
            self.next = 0;
        }
        let (start, end) = (self.next, self.next + length);
        while self.entries.front().is_some_and(|oldest| oldest.start < end && start < oldest.end) {
            self.entries.pop_front();
        }
        if self.bytes.len() < end {
            self.bytes.truncate(start);
            self.bytes.extend_from_slice(first);
            self.bytes.extend_from_slice(second);
        } else {
            let (one, other) = self.bytes[start..end].split_at_mut(first.len());
            one.copy_from_slice(first);
            other.copy_from_slice(second);
        }
        self.entries.push_back(Entry { id, start, end });
        self.next = end;
    }

    fn find(&self, id: DecisionId) -> Option<&[u8]> {
        let entry = self.entries.iter().rev().find(|entry| entry.id == id)?;
        self.bytes.get(entry.start..entry.end)
    }
}

#[cfg(test)]
mod tests {
    use headroom_engine::ports::Seq;

    use super::*;

    #[test]
    fn a_ring_has_the_latest_entries_whole_and_never_more_bytes_than_it_may() {
        let mut state = 7_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut ring = Ring::new(1_000);
        let mut all = Vec::new();
        for number in 0..5_000_u64 {
            let byte = u8::try_from(number % 251).unwrap();
            let parts = [vec![byte; random(60)], vec![byte ^ 0xff; random(120)]];
            ring.push(DecisionId::Written(Seq(number)), [&parts[0], &parts[1]]);
            all.push(parts.concat());
            assert!(ring.bytes.len() <= 1_000);
            let kept = ring.entries.len();
            // Nothing but the newest, and enough of them: two thirds of the bytes are used.
            for (back, entry) in ring.entries.iter().rev().enumerate() {
                let number = all.len() - 1 - back;
                assert_eq!(entry.id, DecisionId::Written(Seq(number as u64)));
                assert_eq!(ring.find(entry.id), Some(&*all[number]));
            }
            let bytes: usize = all.iter().rev().take(kept + 1).map(Vec::len).sum();
            assert!(kept == all.len() || bytes > 640, "{kept} entries, {bytes} bytes");
        }
        assert_eq!(ring.find(DecisionId::Written(Seq(1))), None);
    }

    #[test]
    fn an_entry_larger_than_the_ring_is_left_out_and_displaces_nothing() {
        let mut ring = Ring::new(10);
        let id = |number| DecisionId::Written(Seq(number));
        ring.push(id(1), [b"abc", b"de"]);
        ring.push(id(2), [b"0123456", b"0123456"]);
        assert_eq!((ring.find(id(1)), ring.find(id(2))), (Some(&b"abcde"[..]), None));
        ring.push(id(3), [b"0123456789", b""]);
        assert_eq!((ring.find(id(1)), ring.find(id(3))), (None, Some(&b"0123456789"[..])));
    }

    #[test]
    fn refusals_are_not_displaced_by_what_is_allowed() {
        let receipts = Receipts::new(4_096);
        let about = About {
            operation: Operation::Consume,
            account: "acme",
            feature: "tokens",
            units: 5,
            whole: None,
        };
        let refused = Verdict::Denied(headroom_core::decision::Denial::QuotaExhausted);
        receipts.keep(DecisionId::Passing(1, 2, 3), refused, about, &[], |_| {});
        for number in 0..1_000 {
            receipts.keep(DecisionId::Written(Seq(number)), Verdict::Allowed, about, &[], |_| {});
        }
        let kept = receipts.find(DecisionId::Passing(1, 2, 3)).expect("it is kept");
        assert_eq!(
            (kept.account.as_str(), kept.feature.as_str(), kept.units),
            ("acme", "tokens", 5)
        );
        assert_eq!(kept.operation(), Some(Operation::Consume));
        assert_eq!(receipts.find(DecisionId::Written(Seq(1))), None);
        assert!(receipts.find(DecisionId::Written(Seq(999))).is_some());
        assert!(Receipts::new(0).find(DecisionId::Passing(1, 2, 3)).is_none());
    }
}
