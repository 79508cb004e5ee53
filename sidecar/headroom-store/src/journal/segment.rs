//! The bytes of a segment: a header, then frames one after another.
//!
//! ```text
//! header  magic 8 | version u32 | generation u64 | nonce 16 | crc32c u32 | zeros up to 64
//! frame   length u32 | crc32c u32 | kind u8 | content (length - 1 bytes)
//! ```
//!
//! The checksum of a frame begins from the segment's random nonce and covers the frame's offset, so
//! that neither recycled bytes nor a frame at the wrong place are ever taken for a record. Records
//! are numbered by their position; the first frame says the first number.
//!
//! Nothing here reads or writes a file.

use crate::limits::RECORD_BYTES_MAX;

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const HEADER_LEN: u64 = HEADER_BYTES as u64;

/// Bytes before a frame's content.
pub(crate) const FRAME_LEN: usize = 9;

/// Bytes of the first frame of a segment.
const START_BYTES: usize = FRAME_LEN + 16;

/// Bytes of a mark.
const MARK_BYTES: usize = FRAME_LEN + 8;
pub(crate) const MARK_LEN: u64 = MARK_BYTES as u64;

/// Where the first record of a segment is.
pub(crate) const RECORDS_AT: u64 = HEADER_LEN + START_BYTES as u64;

const MAGIC: [u8; 8] = *b"HEADROOM";
const VERSION: u32 = 1;

const KIND_RECORD: u8 = 0;
const KIND_MATTER: u8 = 1;
const KIND_START: u8 = 2;
const KIND_MARK: u8 = 3;

/// What is fixed when a segment is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Counts segments. One with a higher generation replaces every record of older ones from its
    /// own first record on.
    pub(crate) generation: u64,
    pub(crate) nonce: [u8; 16],
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.generation.to_le_bytes());
        bytes[20..36].copy_from_slice(&self.nonce);
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, &'static str> {
        let Some((bytes, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err("the segment's header is cut short");
        };
        if bytes[..8] != MAGIC {
            return Err("it does not begin as a journal segment");
        }
        if crc32c::crc32c(&bytes[..36]) != u32_at(bytes, 36) || bytes[40..].iter().any(|b| *b != 0)
        {
            return Err("the segment's header has a wrong checksum");
        }
        if u32_at(bytes, 8) != VERSION {
            return Err("the segment's format is unknown");
        }
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&bytes[20..36]);
        Ok(Header { generation: u64_at(bytes, 12), nonce })
    }

    pub(crate) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.nonce)
    }
}

/// One frame, as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Record {
        matter: bool,
        bytes: &'a [u8],
    },
    /// The first frame: the number of the first record, and the last record that was synced when
    /// the segment was begun.
    Start {
        first: u64,
        synced: u64,
    },
    /// The last record that was synced when this was written.
    Mark {
        synced: u64,
    },
}

/// What is at some offset of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// A frame and its whole length.
    Frame(Frame<'a>, usize),
    /// The length is zero: nothing was written here, or nothing that is still there.
    Nothing,
    /// Not a frame.
    Bad(&'static str),
    /// A frame may begin here, but this many bytes are needed to tell.
    Short(usize),
}

/// Appends an unsealed record frame: [`seal`] fills in its checksum once its place is known.
pub(crate) fn push_record(out: &mut Vec<u8>, record: &[u8], matter: bool) {
    let length = u32::try_from(record.len() + 1).expect("callers check RECORD_BYTES_MAX");
    let mut head = [0; FRAME_LEN];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[8] = if matter { KIND_MATTER } else { KIND_RECORD };
    out.extend_from_slice(&head);
    out.extend_from_slice(record);
}

pub(crate) fn start_frame(seed: u32, first: u64, synced: u64) -> [u8; START_BYTES] {
    let mut bytes = [0; START_BYTES];
    bytes[..4].copy_from_slice(&17_u32.to_le_bytes());
    bytes[8] = KIND_START;
    bytes[9..17].copy_from_slice(&first.to_le_bytes());
    bytes[17..25].copy_from_slice(&synced.to_le_bytes());
    seal(&mut bytes, seed, HEADER_LEN);
    bytes
}

pub(crate) fn mark_frame(seed: u32, offset: u64, synced: u64) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[..4].copy_from_slice(&9_u32.to_le_bytes());
    bytes[8] = KIND_MARK;
    bytes[9..17].copy_from_slice(&synced.to_le_bytes());
    seal(&mut bytes, seed, offset);
    bytes
}

/// Writes the checksum of the frame that `frame` is, for a place in one segment.
pub(crate) fn seal(frame: &mut [u8], seed: u32, offset: u64) {
    let crc = checksum(seed, offset, frame);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The whole length of the frame that begins `frames`.
pub(crate) fn frame_len(frames: &[u8]) -> usize {
    u32_at(frames, 0) as usize + FRAME_LEN - 1
}

/// Whether the frame that begins `frames` is a record that matters.
pub(crate) fn frame_matters(frames: &[u8]) -> bool {
    frames[8] == KIND_MATTER
}

fn checksum(seed: u32, offset: u64, frame: &[u8]) -> u32 {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&offset.to_le_bytes());
    place[8..].copy_from_slice(&frame[..4]);
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &place), &frame[8..])
}

/// Reads the frame at `offset`, which begins `bytes`. Without `verify` the checksum of a record
/// that does not matter is not looked at.
pub(crate) fn parse(bytes: &[u8], seed: u32, offset: u64, verify: bool) -> Parsed<'_> {
    if bytes.len() < 4 {
        return Parsed::Short(FRAME_LEN);
    }
    let length = u32_at(bytes, 0) as usize;
    if length == 0 {
        return Parsed::Nothing;
    }
    if length > RECORD_BYTES_MAX + 1 {
        return Parsed::Bad("a frame is longer than a record can be");
    }
    let total = length + FRAME_LEN - 1;
    if bytes.len() < total {
        return Parsed::Short(total);
    }
    let frame = &bytes[..total];
    if !verify && frame[8] == KIND_RECORD {
        return Parsed::Frame(Frame::Record { matter: false, bytes: &frame[FRAME_LEN..] }, total);
    }
    if checksum(seed, offset, frame) != u32_at(frame, 4) {
        return Parsed::Bad("a frame has a wrong checksum");
    }
    let content = &frame[FRAME_LEN..];
    let frame = match (frame[8], content.len()) {
        (KIND_RECORD, _) => Frame::Record { matter: false, bytes: content },
        (KIND_MATTER, _) => Frame::Record { matter: true, bytes: content },
        (KIND_START, 16) => Frame::Start { first: u64_at(content, 0), synced: u64_at(content, 8) },
        (KIND_MARK, 8) => Frame::Mark { synced: u64_at(content, 0) },
        _ => return Parsed::Bad("a frame is of an unknown kind"),
    };
    Parsed::Frame(frame, total)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

/// The file name of the segment that begins with record `first`.
pub(crate) fn file_name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The first record of the segment with this file name.
pub(crate) fn first_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}
