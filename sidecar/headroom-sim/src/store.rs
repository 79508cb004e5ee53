//! The journal without a disk: records in a list, and crashes on request.

use std::sync::{Mutex, MutexGuard};

use headroom_engine::ports::{Seq, Store, StoreRefusal};

/// One record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether the projection must see it.
    pub matter: bool,
}

/// A checkpoint as a store would keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last record when it began: replay starts after it.
    pub begun: Seq,
    /// The last record that an entry contains: without it, the checkpoint does not count.
    pub last: Seq,
    /// The entries.
    pub entries: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Kept {
    records: Vec<Stored>,
    checkpoints: Vec<Checkpoint>,
    refusal: Option<StoreRefusal>,
}

/// A journal in memory.
#[derive(Debug, Default)]
pub struct MemStore {
    kept: Mutex<Kept>,
}

impl MemStore {
    /// An empty journal with room.
    pub fn new() -> MemStore {
        MemStore::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|held| held.into_inner())
    }

    /// Refuses writes from now on, or takes them again.
    pub fn set_refusal(&self, refusal: Option<StoreRefusal>) {
        self.kept().refusal = refusal;
    }

    /// The position of the last record.
    pub fn last(&self) -> Seq {
        Seq(self.kept().records.len() as u64)
    }

    /// The records after a position, with their positions.
    pub fn since(&self, after: Seq) -> Vec<(Seq, Stored)> {
        let kept = self.kept();
        let places = (1..).map(Seq).zip(kept.records.iter().cloned());
        places.filter(|(seq, _)| *seq > after).collect()
    }

    /// Keeps a checkpoint.
    pub fn keep(&self, checkpoint: Checkpoint) {
        self.kept().checkpoints.push(checkpoint);
    }

    /// Loses every record after `last`, and the checkpoints that know of one.
    pub fn crash(&self, last: Seq) {
        let mut kept = self.kept();
        kept.records.truncate(usize::try_from(last.0).expect("a list's length"));
        kept.checkpoints.retain(|checkpoint| checkpoint.last <= last && checkpoint.begun <= last);
    }

    /// What a start finds: the latest checkpoint, and the records to replay after it.
    pub fn found(&self) -> (Option<Checkpoint>, Vec<(Seq, Stored)>) {
        let checkpoint = self.kept().checkpoints.last().cloned();
        let begun = checkpoint.as_ref().map_or(Seq(0), |checkpoint| checkpoint.begun);
        (checkpoint, self.since(begun))
    }
}

impl Store for MemStore {
    fn room(&self) -> Result<(), StoreRefusal> {
        self.kept().refusal.clone().map_or(Ok(()), Err)
    }

    fn append(&self, record: &[u8], matter: bool) -> Seq {
        let mut kept = self.kept();
        kept.records.push(Stored { bytes: record.to_vec(), matter });
        Seq(kept.records.len() as u64)
    }
}
