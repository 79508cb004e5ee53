//! Records that are kept in memory until they are synced.

use std::collections::VecDeque;

use super::segment::{frame_len, frame_matters, seal};

/// Bytes of a chunk. What a burst holds is as many chunks, so it is never copied to make room, and memory
/// that comes back is of one size.
const CHUNK_BYTES: usize = 256 << 10;

/// Frames of consecutive records, the oldest first: some written, the rest not.
#[derive(Debug)]
pub(crate) struct Held {
    // Whole frames each. The oldest is in front, the last one is filled.
    chunks: VecDeque<Vec<u8>>,
    /// Bytes at the beginning of the first chunk that are synced.
    gone: usize,
    /// Bytes of all frames that are held.
    bytes: usize,
    first: u64,
    written: u64,
    // Invariant: the first written_bytes that are held are records first..=written.
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
            chunks: VecDeque::new(),
            gone: 0,
            bytes: 0,
            first: synced + 1,
            written: synced,
            written_bytes: 0,
            batches: VecDeque::new(),
        }
    }

    /// Takes whole frames.
    pub(crate) fn push(&mut self, frames: &[u8]) {
        if frames.is_empty() {
            return;
        }
        let fits = |chunk: &&mut Vec<u8>| frames.len() <= chunk.capacity() - chunk.len();
        match self.chunks.back_mut().filter(fits) {
            Some(chunk) => chunk.extend_from_slice(frames),
            None => {
                let mut chunk = Vec::with_capacity(frames.len().max(CHUNK_BYTES));
                chunk.extend_from_slice(frames);
                self.chunks.push_back(chunk);
            }
        }
        self.bytes += frames.len();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first record that is not synced.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The last record that is written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Where what is not written begins: bytes before it, counted from the front.
    fn unwritten_from(&self) -> usize {
        self.gone + self.written_bytes
    }

    /// The frame length of the first record that is not written.
    pub(crate) fn next_len(&self) -> Option<usize> {
        let mut skip = self.unwritten_from();
        let rests = self.chunks.iter().filter_map(|chunk| rest_of(chunk, &mut skip));
        rests.map(frame_len).next()
    }

    /// Seals as many unwritten records as fit into `room` bytes at `offset`.
    pub(crate) fn seal(&mut self, seed: u32, offset: u64, room: u64) -> Run {
        let mut run = Run { bytes: 0, records: 0, matter: None };
        let mut skip = self.unwritten_from();
        for chunk in &mut self.chunks {
            let from = skip.min(chunk.len());
            skip -= from;
            let mut rest = &mut chunk[from..];
            while !rest.is_empty() {
                let len = frame_len(rest);
                if (run.bytes + len) as u64 > room {
                    return run;
                }
                let (frame, others) = rest.split_at_mut(len);
                seal(frame, seed, offset + run.bytes as u64);
                run.bytes += len;
                run.records += 1;
                if frame_matters(frame) {
                    run.matter = Some(self.written + run.records);
                }
                rest = others;
            }
        }
        run
    }

    /// The bytes of a run just sealed, in pieces.
    pub(crate) fn sealed(&self, run: &Run) -> impl Iterator<Item = &[u8]> {
        let (mut skip, mut left) = (self.unwritten_from(), run.bytes);
        let rests = self.chunks.iter().filter_map(move |chunk| rest_of(chunk, &mut skip));
        let pieces = rests.map(move |rest| {
            let piece = &rest[..rest.len().min(left)];
            left -= piece.len();
            piece
        });
        pieces.take_while(|piece| !piece.is_empty())
    }

    pub(crate) fn wrote(&mut self, run: &Run) {
        self.written_bytes += run.bytes;
        self.written += run.records;
        self.batches.push_back((self.written, run.bytes));
    }

    /// Lets go of records up to `through`, the last one of some batch.
    pub(crate) fn synced(&mut self, through: u64) {
        while let Some((last, bytes)) = self.batches.front()
            && *last <= through
        {
            self.bytes -= bytes;
            self.written_bytes -= bytes;
            self.gone += bytes;
            self.first = last + 1;
            self.batches.pop_front();
        }
        while let Some(chunk) = self.chunks.front()
            && chunk.len() <= self.gone
        {
            self.gone -= chunk.len();
            // The last one stays: the next batch has somewhere to go.
            let last = self.chunks.pop_front().filter(|chunk| chunk.capacity() == CHUNK_BYTES);
            if let Some(mut chunk) = last.filter(|_| self.chunks.is_empty()) {
                chunk.clear();
                self.chunks.push_back(chunk);
                break;
            }
        }
    }

    /// Forgets that anything of this was written.
    pub(crate) fn rewind(&mut self) {
        self.written = self.first - 1;
        self.written_bytes = 0;
        self.batches.clear();
    }
}

/// What a chunk has after `skip` bytes, which it takes off; nothing when they go beyond it.
fn rest_of<'a>(chunk: &'a [u8], skip: &mut usize) -> Option<&'a [u8]> {
    let from = (*skip).min(chunk.len());
    *skip -= from;
    Some(&chunk[from..]).filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::segment::push_record;
    use super::*;

    /// Frames of `count` records of such a size; every third matters.
    fn frames(from: u64, count: u64, size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for number in from..from + count {
            let record = vec![u8::try_from(number % 251).unwrap_or_default(); size];
            push_record(&mut out, &record, number % 3 == 0);
        }
        out
    }

    fn bytes_of(held: &Held, run: &Run) -> Vec<u8> {
        held.sealed(run).flatten().copied().collect()
    }

    #[test]
    fn what_is_held_in_many_chunks_is_sealed_as_if_it_were_one() {
        let mut whole = Vec::new();
        let mut held = Held::new(0);
        let mut next = 1;
        // Batches that fill chunks to their last bytes, that begin new ones, and one larger than any.
        for (count, size) in [(3_000, 60), (1_200, 60), (1, CHUNK_BYTES + 1), (7, 10), (900, 300)] {
            let batch = frames(next, count, size);
            held.push(&batch);
            whole.extend_from_slice(&batch);
            next += count;
        }
        assert!(held.chunks.len() > 2, "{} chunks", held.chunks.len());
        assert_eq!(held.bytes(), whole.len());

        let (mut offset, mut at, mut last) = (64_u64, 0, 0);
        while held.next_len().is_some() {
            let run = held.seal(7, offset, 100_000.max(held.next_len().unwrap_or(0) as u64));
            let mut expected = whole[at..at + run.bytes].to_vec();
            let (mut cut, mut records, mut matter) = (0, 0, None);
            while cut < expected.len() {
                let len = frame_len(&expected[cut..]);
                seal(&mut expected[cut..cut + len], 7, offset + cut as u64);
                (cut, records) = (cut + len, records + 1);
                if (last + records) % 3 == 0 {
                    matter = Some(last + records);
                }
            }
            assert!(bytes_of(&held, &run) == expected, "from byte {at}");
            assert_eq!((run.records, run.matter), (records, matter), "from byte {at}");
            held.wrote(&run);
            (offset, at, last) = (offset + run.bytes as u64, at + run.bytes, last + records);
            assert_eq!(held.written(), last);
        }
        assert_eq!((at, last), (whole.len(), next - 1), "all of it was written");
    }

    #[test]
    fn what_is_synced_is_let_go_and_the_rest_is_written_again_after_a_rewind() {
        let mut held = Held::new(10);
        held.push(&frames(11, 4_000, 60));
        held.push(&frames(4_011, 4_000, 60));
        let first = held.seal(1, 0, 200_000);
        held.wrote(&first);
        let second = held.seal(1, 200_000, u64::MAX);
        held.wrote(&second);
        let synced = 10 + first.records;
        held.synced(synced);
        assert_eq!((held.first(), held.written()), (synced + 1, 8_010));
        assert_eq!(held.bytes(), second.bytes);
        held.rewind();
        let again = held.seal(2, 0, u64::MAX);
        assert_eq!((again.bytes, again.records), (second.bytes, second.records));
        held.wrote(&again);
        held.synced(8_010);
        assert_eq!((held.bytes(), held.next_len(), held.first()), (0, None, 8_011));
        held.push(&frames(8_011, 1, 60));
        assert_eq!(held.seal(3, 0, u64::MAX).records, 1);
    }
}
