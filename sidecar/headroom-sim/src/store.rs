//! The journal without a disk: records in a list, and crashes on request.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use headroom_engine::digest::RecordDigest;
use headroom_engine::ports::{
    Archive, ArchiveError, Digest, ProjectionOp, Row, Seq, Store, StoreRefusal, Table,
};

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
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    position: Seq,
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
        if kept.position > last {
            // It never knows of what can be lost: it is made anew.
            kept.rows.clear();
            kept.position = Seq(0);
        }
    }

    /// Lets the projection come to a record.
    pub fn project(&self, to: Seq) {
        let from = self.kept().position;
        for (seq, stored) in self.since(from).into_iter().filter(|(seq, _)| *seq <= to) {
            let mut ops = Vec::new();
            RecordDigest.digest(seq, &stored.bytes, &mut ops);
            let mut kept = self.kept();
            for op in ops {
                match op {
                    ProjectionOp::Put { table, key, value } => {
                        kept.rows.insert((table, key), value);
                    }
                    ProjectionOp::Delete { table, key } => {
                        kept.rows.remove(&(table, key));
                    }
                }
            }
            kept.position = seq;
        }
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

impl Archive for MemStore {
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<Row>, ArchiveError> {
        let kept = self.kept();
        let rows = kept.rows.range((table, from.to_vec())..(table, to.to_vec())).take(rows_max);
        Ok(rows.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, ArchiveError> {
        Ok(self.range(table, from, to, usize::MAX)?.pop())
    }

    fn position(&self) -> Seq {
        self.kept().position
    }

    fn count(&self, table: Table) -> Result<u64, ArchiveError> {
        Ok(self.kept().rows.keys().filter(|(of, _)| *of == table).count() as u64)
    }
}
