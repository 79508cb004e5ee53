//! Bytes of journal records and snapshot entries: little varints, written and read in one order.
//!
//! Nothing here panics on bad bytes: a reader that runs out, or meets a value out of range, says so.

use headroom_core::time::{Millis, Window};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {what}")]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
}

/// Appends values to a buffer.
pub trait Put {
    /// An unsigned number in 1 to 10 bytes, seven bits each, least significant first (LEB128).
    fn put_u64(&mut self, value: u64);
    /// A signed number, folded so that small ones of either sign are short (zigzag).
    fn put_i64(&mut self, value: i64);
    /// Bytes behind their length.
    fn put_bytes(&mut self, bytes: &[u8]);
    /// A text behind its length.
    fn put_str(&mut self, text: &str) {
        self.put_bytes(text.as_bytes());
    }
    /// An instant.
    fn put_millis(&mut self, at: Millis) {
        self.put_i64(at.0);
    }
    /// A window, as its start and its end.
    fn put_window(&mut self, window: Window) {
        self.put_millis(window.start());
        self.put_millis(window.end());
    }
    /// A number that may be missing: 0, or the value plus one.
    fn put_option(&mut self, value: Option<u64>) {
        match value {
            None => self.put_u64(0),
            Some(value) => {
                self.put_u64(1);
                self.put_u64(value);
            }
        }
    }
}

impl Put for Vec<u8> {
    #[inline]
    fn put_u64(&mut self, value: u64) {
        match value {
            0..0x80 => self.push((value & 0x7f) as u8),
            0x80..0x100_0000_0000_0000 => put_short(self, value),
            _ => put_long(self, value),
        }
    }

    fn put_i64(&mut self, value: i64) {
        self.put_u64((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_u64(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

/// A number below 2^56, in up to eight bytes: all are made at once and those in front are kept, because
/// asking for room byte by byte is most of what a small record costs.
fn put_short(out: &mut Vec<u8>, value: u64) {
    // Spreads groups of 28, 14 and 7 bits to 32, 16 and 8.
    let mut groups = (value & 0x0fff_ffff) | (value & 0x00ff_ffff_f000_0000) << 4;
    groups = (groups & 0x0000_3fff_0000_3fff) | (groups & 0x0fff_c000_0fff_c000) << 2;
    groups = (groups & 0x007f_007f_007f_007f) | (groups & 0x3f80_3f80_3f80_3f80) << 1;
    let last = (63 - value.leading_zeros()) / 7;
    // Every byte but the last says that another follows.
    let follows = 0x8080_8080_8080_8080 & ((1 << (8 * last)) - 1);
    let end = out.len() + 1 + last as usize;
    out.extend_from_slice(&(groups | follows).to_le_bytes());
    out.truncate(end);
}

#[cold]
fn put_long(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Takes values from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Take<'a> {
    rest: &'a [u8],
}

impl<'a> Take<'a> {
    /// A reader of these bytes.
    pub fn new(bytes: &'a [u8]) -> Take<'a> {
        Take { rest: bytes }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all was read.
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed { what })?;
        self.rest = rest;
        Ok(*first)
    }

    /// An unsigned number.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed { what });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed { what })
    }

    /// An unsigned number that fits a smaller type.
    pub fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, Malformed> {
        T::try_from(self.u64(what)?).map_err(|_| Malformed { what })
    }

    /// A signed number.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        let folded = self.u64(what)?;
        Ok((folded >> 1).cast_signed() ^ -((folded & 1).cast_signed()))
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len: usize = self.small(what)?;
        self.exactly(len, what)
    }

    /// So many bytes.
    pub fn exactly(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        if len > self.rest.len() {
            return Err(Malformed { what });
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    /// Eight bytes as they are: for hashes, which varints would only lengthen.
    pub fn fixed_u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let bytes = self.exactly(8, what)?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| Malformed { what })?))
    }

    /// A text behind its length.
    pub fn str(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Malformed { what })
    }

    /// An instant.
    pub fn millis(&mut self, what: &'static str) -> Result<Millis, Malformed> {
        self.i64(what).map(Millis)
    }

    /// A window.
    pub fn window(&mut self, what: &'static str) -> Result<Window, Malformed> {
        let (start, end) = (self.millis(what)?, self.millis(what)?);
        Window::new(start, end).ok_or(Malformed { what })
    }

    /// A number that may be missing.
    pub fn option(&mut self, what: &'static str) -> Result<Option<u64>, Malformed> {
        match self.u64(what)? {
            0 => Ok(None),
            1 => self.u64(what).map(Some),
            _ => Err(Malformed { what }),
        }
    }

    /// Yes or no.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed { what }),
        }
    }
}
