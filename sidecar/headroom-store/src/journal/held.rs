//! Records that are kept in memory until they are synced.

use std::collections::VecDeque;

use super::segment::{frame_len, frame_matters, seal};

/// Frames of consecutive records, the oldest first: some written, the rest not.
#[derive(Debug)]
pub(crate) struct Held {
    // Invariant: frames[..written_bytes] are those of records first..=written.
    frames: Vec<u8>,
    first: u64,
    written: u64,
    written_bytes: usize,
    /// The last record of each batch written and its bytes.
    batches: VecDeque<(u64, usize)>,
}

/// A run of frames that were sealed for a place.
pub(crate) struct Run {
    pub(crate) bytes: usize,
    pub(crate) records: u64,
    /// The last record in it that matters.
    pub(crate) matter: Option<u64>,
}

impl Held {
    /// Holds nothing; the record after `synced` comes first.
    pub(crate) fn new(synced: u64) -> Held {
        Held {
            frames: Vec::new(),
            first: synced + 1,
            written: synced,
            written_bytes: 0,
            batches: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, frames: &[u8]) {
        self.frames.extend_from_slice(frames);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.frames.len()
    }

    /// The first record that is not synced.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The last record that is written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The frame length of the first record that is not written.
    pub(crate) fn next_len(&self) -> Option<usize> {
        let rest = &self.frames[self.written_bytes..];
        (!rest.is_empty()).then(|| frame_len(rest))
    }

    /// Seals as many unwritten records as fit into `room` bytes at `offset`.
    pub(crate) fn seal(&mut self, seed: u32, offset: u64, room: u64) -> Run {
        let mut run = Run { bytes: 0, records: 0, matter: None };
        let rest = &mut self.frames[self.written_bytes..];
        while run.bytes < rest.len() {
            let frame = &mut rest[run.bytes..];
            let len = frame_len(frame);
            if (run.bytes + len) as u64 > room {
                break;
            }
            seal(&mut frame[..len], seed, offset + run.bytes as u64);
            run.bytes += len;
            run.records += 1;
            if frame_matters(frame) {
                run.matter = Some(self.written + run.records);
            }
        }
        run
    }

    /// The bytes of a run just sealed.
    pub(crate) fn sealed(&self, run: &Run) -> &[u8] {
        &self.frames[self.written_bytes..self.written_bytes + run.bytes]
    }

    pub(crate) fn wrote(&mut self, run: &Run) {
        self.written_bytes += run.bytes;
        self.written += run.records;
        self.batches.push_back((self.written, run.bytes));
    }

    /// Lets go of records up to `through`, the last one of some batch.
    pub(crate) fn synced(&mut self, through: u64) {
        let mut bytes = 0;
        while let Some((last, batch_bytes)) = self.batches.front()
            && *last <= through
        {
            bytes += batch_bytes;
            self.first = last + 1;
            self.batches.pop_front();
        }
        self.frames.drain(..bytes);
        self.written_bytes -= bytes;
        // Memory of a burst is given back.
        if self.frames.is_empty() && self.frames.capacity() > (1 << 20) {
            self.frames = Vec::new();
        }
    }

    /// Forgets that anything of this was written.
    pub(crate) fn rewind(&mut self) {
        self.written = self.first - 1;
        self.written_bytes = 0;
        self.batches.clear();
    }
}
