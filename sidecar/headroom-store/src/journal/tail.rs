//! Following the journal: records in order, across segments, while they are being written.

use std::io;
use std::sync::Arc;

use crate::error::{Damage, IoError, ReadError};
use crate::wake::locked;

use super::Shared;
use super::read::{FrameReader, Step};
use super::segment::{Frame, HEADER_LEN};

/// A place in the journal from which records are read on.
pub(crate) struct Tail {
    shared: Arc<Shared>,
    chunk: usize,
    verify: bool,
    next: u64,
    open: Option<Open>,
}

struct Open {
    reader: FrameReader,
    generation: u64,
    until: u64,
}

impl Tail {
    /// Begins after a record. Without `verify` only the checksums of records that matter are looked
    /// at.
    pub(crate) fn after(shared: Arc<Shared>, seq: u64, chunk: usize, verify: bool) -> Tail {
        Tail { shared, chunk, verify, next: seq + 1, open: None }
    }

    /// The last record that was visited.
    pub(crate) fn position(&self) -> u64 {
        self.next - 1
    }

    /// Visits the records up to `through`, which must be durable, until `visit` returns false.
    pub(crate) fn run(
        &mut self,
        through: u64,
        visit: &mut dyn FnMut(u64, bool, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        if self.next > through {
            return Ok(());
        }
        self.catch_up()?;
        let mut caught_up = true;
        while self.next <= through {
            let open = self.open.as_mut().expect("catch_up opened it");
            if open.until <= self.next {
                self.catch_up()?;
                continue;
            }
            let offset = open.reader.offset();
            match open.reader.next()? {
                Step::Frame(Frame::Record { matter, bytes }) => {
                    caught_up = false;
                    let seq = self.next;
                    self.next += 1;
                    if !visit(seq, matter, bytes) {
                        return Ok(());
                    }
                }
                Step::Frame(_) => {}
                Step::End(_) if !caught_up => {
                    self.catch_up()?;
                    caught_up = true;
                }
                Step::End(reason) => {
                    let what = reason.unwrap_or("a record is missing");
                    let what = format!("{what}; record {} was durable", self.next);
                    let damage = Damage::new(&open.reader.path, offset, what);
                    self.open = None;
                    return Err(damage.into());
                }
            }
        }
        Ok(())
    }

    /// Makes sure that the open segment is the one with the next record, and that nothing is used
    /// that was read ahead: it may be older than the records that became durable since.
    fn catch_up(&mut self) -> Result<(), ReadError> {
        let located = locked(&self.shared.table).locate(self.next);
        let Some(located) = located else { return Err(self.freed()) };
        if let Some(open) = &mut self.open
            && open.generation == located.segment.generation
        {
            open.until = located.until;
            open.reader.refresh();
            return Ok(());
        }
        self.open = None;
        let path = &located.segment.path;
        let opened = FrameReader::open(self.shared.disk.as_ref(), path, self.chunk, self.verify);
        let mut reader = match opened {
            Err(ReadError::Io(IoError { source, .. }))
                if source.kind() == io::ErrorKind::NotFound =>
            {
                return Err(self.freed());
            }
            opened => opened?,
        };
        let whole = matches!(reader.start()?, Some((first, _)) if first == located.segment.first);
        let mut at = located.segment.first;
        let mut missing = !whole;
        while !missing && at < self.next {
            match reader.next()? {
                Step::Frame(Frame::Record { .. }) => at += 1,
                Step::Frame(_) => {}
                Step::End(_) => missing = true,
            }
        }
        if missing {
            let offset = reader.offset().max(HEADER_LEN);
            return Err(Damage::new(path, offset, format!("record {at} is missing")).into());
        }
        let generation = located.segment.generation;
        self.open = Some(Open { reader, generation, until: located.until });
        Ok(())
    }

    fn freed(&self) -> ReadError {
        ReadError::Freed { from: self.next, first: locked(&self.shared.table).first() }
    }
}
