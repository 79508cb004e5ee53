//! Reading the frames of one segment, in large steps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, Doing, IoError, ReadError};
use crate::home::open_read;
use crate::limits::RECORD_BYTES_MAX;

use super::segment::{self, FRAME_LEN, Frame, HEADER_BYTES, HEADER_LEN, Header, Parsed};

/// Bytes read at once when a whole segment is wanted.
pub(crate) const CHUNK_LARGE: usize = 1 << 20;

/// Bytes read at once when following the journal.
pub(crate) const CHUNK_SMALL: usize = 128 << 10;

/// Reads the frames of one segment in order.
pub(crate) struct FrameReader {
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    file: Arc<dyn DiskFile>,
    seed: u32,
    verify: bool,
    chunk: usize,
    buf: Vec<u8>,
    // The bytes buf[at..] are those of the file from `offset` on.
    at: usize,
    offset: u64,
}

/// What [`FrameReader::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Frame(Frame<'a>),
    /// No frame is there, with the reason if something else is.
    End(Option<&'static str>),
}

impl FrameReader {
    /// Opens a segment and checks its header. Reading begins with the first frame.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        chunk: usize,
        verify: bool,
    ) -> Result<FrameReader, ReadError> {
        let file = open_read(disk, path)?;
        let header = read_header(file.as_ref(), path)?;
        Ok(FrameReader {
            path: path.to_owned(),
            seed: header.seed(),
            header,
            file,
            verify,
            chunk,
            buf: Vec::new(),
            at: 0,
            offset: HEADER_LEN,
        })
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &dyn DiskFile {
        self.file.as_ref()
    }

    /// Where the next frame would be.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Forgets what was read ahead: the file may have grown since.
    pub(crate) fn refresh(&mut self) {
        self.buf.clear();
        self.at = 0;
    }

    /// The next frame. After [`Step::End`] the reader stays where it is.
    pub(crate) fn next(&mut self) -> Result<Step<'_>, IoError> {
        if self.have(4)? {
            let length = segment::u32_at(&self.buf, self.at) as usize;
            // Not more than a frame can have: the length may be anything.
            self.have((length + FRAME_LEN - 1).min(RECORD_BYTES_MAX + FRAME_LEN))?;
        }
        let parsed = segment::parse(&self.buf[self.at..], self.seed, self.offset, self.verify);
        match parsed {
            Parsed::Frame(Frame::Start { .. }, _) if self.offset != HEADER_LEN => {
                Ok(Step::End(Some("a second first frame")))
            }
            Parsed::Frame(frame, total) => {
                self.at += total;
                self.offset += total as u64;
                Ok(Step::Frame(frame))
            }
            Parsed::Nothing | Parsed::Short(_) => Ok(Step::End(None)),
            Parsed::Bad(reason) => Ok(Step::End(Some(reason))),
        }
    }

    /// Reads the first frame, which says the number of the first record and the last synced one.
    pub(crate) fn start(&mut self) -> Result<Option<(u64, u64)>, IoError> {
        assert_eq!(self.offset, HEADER_LEN, "the first frame is read first");
        match self.next()? {
            Step::Frame(Frame::Start { first, synced }) => Ok(Some((first, synced))),
            // Whatever else it is, it is not consumed.
            Step::Frame(_) => {
                self.offset = HEADER_LEN;
                self.refresh();
                Ok(None)
            }
            Step::End(_) => Ok(None),
        }
    }

    /// Whether `count` bytes are buffered from here on; reads more if need be.
    fn have(&mut self, count: usize) -> Result<bool, IoError> {
        let left = self.buf.len() - self.at;
        if left >= count {
            return Ok(true);
        }
        self.buf.drain(..self.at);
        self.at = 0;
        self.buf.resize(count.max(self.chunk), 0);
        let read = self.file.read_at(&mut self.buf[left..], self.offset + left as u64);
        match read.doing("read", &self.path) {
            Ok(read) => self.buf.truncate(left + read),
            Err(error) => {
                self.buf.truncate(left);
                return Err(error);
            }
        }
        Ok(self.buf.len() >= count)
    }
}

fn read_header(file: &dyn DiskFile, path: &Path) -> Result<Header, ReadError> {
    let mut bytes = [0; HEADER_BYTES];
    let count = file.read_at(&mut bytes, 0).doing("read", path)?;
    Header::decode(&bytes[..count]).map_err(|what| Damage::new(path, 0, what).into())
}

/// What there is in a segment after a place where there should have been a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Beyond {
    /// Whole frames of this segment.
    pub(crate) frames: u64,
    /// The last record that one of them says was synced.
    pub(crate) synced: u64,
    /// Bytes that are not zero, whole frame or not.
    pub(crate) bytes: u64,
}

/// Looks for frames at every byte from `from` on.
pub(crate) fn look_beyond(
    disk: &dyn Disk,
    path: &Path,
    header: &Header,
    from: u64,
) -> Result<Beyond, IoError> {
    let file = open_read(disk, path)?;
    let mut beyond = Beyond::default();
    let bytes = read_from(file.as_ref(), path, from)?;
    let seed = header.seed();
    let mut at = 0;
    while at < bytes.len() {
        let Some(zeros) = bytes[at..].iter().position(|byte| *byte != 0) else { break };
        // A length may begin with zero bytes, so the search steps back over three of them.
        let nonzero = at + zeros;
        at = at.max(nonzero.saturating_sub(3));
        match segment::parse(&bytes[at..], seed, from + at as u64, true) {
            Parsed::Frame(frame, total) => {
                beyond.frames += 1;
                if let Frame::Start { synced, .. } | Frame::Mark { synced } = frame {
                    beyond.synced = beyond.synced.max(synced);
                }
                beyond.bytes += total as u64;
                at += total;
            }
            _ => {
                beyond.bytes += u64::from(bytes[at] != 0);
                at += 1;
            }
        }
    }
    Ok(beyond)
}

/// The rest of a file from `from` on. Of the zeros at its end there are only as many as the last
/// frame may need: most of a segment was reserved and never used.
fn read_from(file: &dyn DiskFile, path: &Path, from: u64) -> Result<Vec<u8>, IoError> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK_LARGE];
    let mut total = 0;
    loop {
        let count = file.read_at(&mut chunk, from + total as u64).doing("read", path)?;
        if count == 0 {
            break;
        }
        if let Some(last) = chunk[..count].iter().rposition(|byte| *byte != 0) {
            bytes.resize(total, 0);
            bytes.extend_from_slice(&chunk[..=last]);
        }
        total += count;
    }
    bytes.resize(total.min(bytes.len() + RECORD_BYTES_MAX + FRAME_LEN), 0);
    Ok(bytes)
}
