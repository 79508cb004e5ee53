//! Requests that are read where they lie.
//!
//! The generated messages own their texts: reading a request allocates each of its names, only for
//! the server to compare them and let them go. The requests that come most often are read here
//! without: [`Raw`] is the bytes of a message where the server's generated code expects one, and
//! [`Check`] and [`Consume`] borrow from it. Rules of reading are those of proto3: unknown fields are skipped, the
//! last of a repeated scalar wins, repeated messages merge, text is UTF-8.

use std::collections::BTreeMap;

use prost::DecodeError;
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};

use crate::encoded::Encoded;
use crate::v1;

/// The bytes of a message that was received.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Raw(Bytes);

impl Raw {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Message for Raw {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn decode(mut buf: impl Buf) -> Result<Raw, DecodeError> {
        Ok(Raw(buf.copy_to_bytes(buf.remaining())))
    }

    /// Only for whoever merges messages, which no server does.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut fields = Encoded::new(self.0.to_vec());
        fields.merge_field(tag, wire_type, buf, ctx)?;
        self.0 = fields.into_bytes().into();
        Ok(())
    }
}

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// They end within a field.
    CutShort,
    /// A field begins with what is no key of a field.
    Key,
    /// A field has another wire type than the contract says.
    WireType {
        /// The field's number.
        tag: u32,
    },
    /// A text is not UTF-8.
    Text {
        /// The field's number.
        tag: u32,
    },
    /// A message within is malformed.
    Inner {
        /// The field's number.
        tag: u32,
    },
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::CutShort => f.write_str("it ends within a field"),
            Malformed::Key => f.write_str("a field has no valid key"),
            Malformed::WireType { tag } => write!(f, "field {tag} has the wrong wire type"),
            Malformed::Text { tag } => write!(f, "field {tag} is not UTF-8"),
            Malformed::Inner { tag } => write!(f, "field {tag} is not the message it should be"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A varint.
    Varint(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// A fixed-width number, which no message of ours has.
    Fixed,
}

impl<'a> Value<'a> {
    fn number(self, tag: u32) -> Result<u64, Malformed> {
        let Value::Varint(number) = self else { return Err(Malformed::WireType { tag }) };
        Ok(number)
    }

    fn bytes(self, tag: u32) -> Result<&'a [u8], Malformed> {
        let Value::Bytes(bytes) = self else { return Err(Malformed::WireType { tag }) };
        Ok(bytes)
    }

    fn text(self, tag: u32) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes(tag)?).map_err(|_| Malformed::Text { tag })
    }
}

/// The fields of a message, in their order.
#[derive(Debug, Clone)]
pub struct FieldsOf<'a>(&'a [u8]);

impl<'a> FieldsOf<'a> {
    /// The fields of the message in `bytes`.
    pub fn new(bytes: &'a [u8]) -> FieldsOf<'a> {
        FieldsOf(bytes)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for (place, byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if place == 9 && bits > 1 {
                return Err(Malformed::Key);
            }
            number |= bits << (7 * place);
            if byte & 0x80 == 0 {
                self.0 = &self.0[place + 1..];
                return Ok(number);
            }
        }
        Err(if self.0.len() < 10 { Malformed::CutShort } else { Malformed::Key })
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed::CutShort)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed::CutShort)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed::Key)?;
        let tag = key >> 3;
        if tag == 0 {
            return Err(Malformed::Key);
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups are not of proto3.
            _ => return Err(Malformed::WireType { tag }),
        };
        Ok((tag, value))
    }
}

impl<'a> Iterator for FieldsOf<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn merge_include(
    include: &mut Option<v1::Include>,
    tag: u32,
    value: Value<'_>,
) -> Result<(), Malformed> {
    let bytes = value.bytes(tag)?;
    include.get_or_insert_default().merge(bytes).map_err(|_| Malformed::Inner { tag })
}

/// [`v1::CheckRequest`], borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Check<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature's name.
    pub feature: &'a str,
    /// Units asked for.
    pub units: Option<i64>,
    /// The number of a [`v1::Intent`].
    pub intent: i32,
    /// Parts of the answer that cost something.
    pub include: Option<v1::Include>,
    /// Whether it comes from a monitor.
    pub synthetic: bool,
    /// For whom inside the account; empty for the account alone.
    pub subject: &'a str,
    /// The bytes of the message, if it has dimensions: [`dimensions`] reads them. Empty: it has none.
    pub dimensions: &'a [u8],
}

impl<'a> Check<'a> {
    /// Reads the message in `bytes`.
    pub fn read(bytes: &'a [u8]) -> Result<Check<'a>, Malformed> {
        let mut read = Check::default();
        for field in FieldsOf::new(bytes) {
            let (tag, value) = field?;
            match tag {
                1 => read.account = value.text(tag)?,
                2 => read.feature = value.text(tag)?,
                3 => read.units = Some(value.number(tag)?.cast_signed()),
                4 => read.intent = low_half(value.number(tag)?),
                5 => merge_include(&mut read.include, tag, value)?,
                41 => read.synthetic = value.number(tag)? != 0,
                20 => read.subject = value.text(tag)?,
                DIMENSIONS => {
                    entry(value, tag)?;
                    read.dimensions = bytes;
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

/// [`v1::ConsumeRequest`], borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consume<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature's name.
    pub feature: &'a str,
    /// Units to consume.
    pub units: i64,
    /// The idempotency key.
    pub idempotency_key: &'a str,
    /// Parts of the answer that cost something.
    pub include: Option<v1::Include>,
    /// Whether it comes from a monitor.
    pub synthetic: bool,
    /// For whom inside the account; empty for the account alone.
    pub subject: &'a str,
    /// The bytes of the message, if it has dimensions: [`dimensions`] reads them. Empty: it has none.
    pub dimensions: &'a [u8],
}

/// The number of the field of dimensions, in every request that has some.
const DIMENSIONS: u32 = 60;

/// The names and values of the dimensions of a request that could be read: of a name that comes again
/// the last value.
// A map, because whoever asks may send as many as a message holds.
pub fn dimensions(request: &[u8]) -> BTreeMap<&str, &str> {
    let mut pairs = BTreeMap::new();
    for (tag, value) in FieldsOf::new(request).flatten() {
        if tag == DIMENSIONS
            && let Ok((name, text)) = entry(value, tag)
        {
            pairs.insert(name, text);
        }
    }
    pairs
}

/// One entry of a map from text to text.
fn entry(value: Value<'_>, tag: u32) -> Result<(&str, &str), Malformed> {
    let (mut name, mut text) = ("", "");
    let inner = |_| Malformed::Inner { tag };
    for field in FieldsOf::new(value.bytes(tag)?) {
        match field.map_err(inner)? {
            (1, value) => name = value.text(1).map_err(inner)?,
            (2, value) => text = value.text(2).map_err(inner)?,
            _ => {}
        }
    }
    Ok((name, text))
}

impl<'a> Consume<'a> {
    /// Reads the message in `bytes`.
    pub fn read(bytes: &'a [u8]) -> Result<Consume<'a>, Malformed> {
        let mut read = Consume::default();
        for field in FieldsOf::new(bytes) {
            let (tag, value) = field?;
            match tag {
                1 => read.account = value.text(tag)?,
                2 => read.feature = value.text(tag)?,
                3 => read.units = value.number(tag)?.cast_signed(),
                4 => read.idempotency_key = value.text(tag)?,
                5 => merge_include(&mut read.include, tag, value)?,
                41 => read.synthetic = value.number(tag)? != 0,
                20 => read.subject = value.text(tag)?,
                DIMENSIONS => {
                    entry(value, tag)?;
                    read.dimensions = bytes;
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

/// An enum's number of 32 bits travels as a varint of 64.
#[expect(clippy::cast_possible_truncation, reason = "what proto3 says of longer numbers")]
fn low_half(number: u64) -> i32 {
    number as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consume() -> v1::ConsumeRequest {
        v1::ConsumeRequest {
            account: "acct_1".to_owned(),
            feature: "Größe".to_owned(),
            units: i64::MIN,
            idempotency_key: "k".repeat(300),
            include: Some(v1::Include { prompt: true, ..v1::Include::default() }),
            synthetic: true,
            subject: "team:a/user:b".to_owned(),
            dimensions: dimensions_of([("model", "m-1"), ("region", "")].into()),
        }
    }

    fn dimensions_of(pairs: BTreeMap<&str, &str>) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The dimensions, as the generated message has them.
    fn read_dimensions(read: &Consume<'_>) -> BTreeMap<String, String> {
        dimensions_of(dimensions(read.dimensions))
    }

    #[test]
    fn a_consume_is_read_as_the_generated_message_reads_it() {
        let mut bytes = consume().encode_to_vec();
        // Again, with other fields: the last scalar wins, messages merge. And a field of tomorrow.
        let again = v1::ConsumeRequest {
            units: 7,
            include: Some(v1::Include { projection: true, ..v1::Include::default() }),
            dimensions: dimensions_of([("model", "m-2")].into()),
            ..v1::ConsumeRequest::default()
        };
        bytes.extend(again.encode_to_vec());
        bytes
            .extend([0xa0, 0x06, 0x01, 0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xa5, 0x06, 1, 2, 3, 4]);
        let owned = v1::ConsumeRequest::decode(&*bytes).expect("valid");
        let read = Consume::read(&bytes).expect("valid");
        assert_eq!((read.account, read.feature), (&*owned.account, &*owned.feature));
        assert_eq!((read.units, read.include), (owned.units, owned.include));
        assert_eq!((read.synthetic, owned.synthetic), (true, true));
        assert_eq!(read_dimensions(&read), owned.dimensions);
        assert_eq!(owned.dimensions["model"], "m-2");
        assert_eq!(read.idempotency_key, owned.idempotency_key);
        assert_eq!(read.subject, owned.subject);
        assert_eq!(Raw::decode(&*bytes).map(|raw| raw.as_bytes().to_vec()), Ok(bytes));
    }

    #[test]
    fn a_check_is_read_as_the_generated_message_reads_it() {
        for units in [None, Some(0), Some(-1), Some(1 << 53)] {
            for intent in [0, 1, 2, -1, i32::MAX] {
                let owned = v1::CheckRequest {
                    account: "a".to_owned(),
                    feature: String::new(),
                    units,
                    intent,
                    include: None,
                    synthetic: intent == 1,
                    subject: "user:u".to_owned(),
                    dimensions: [("device".to_owned(), "d".to_owned())].into(),
                };
                let subject = "user:u";
                let bytes = owned.encode_to_vec();
                assert_eq!(dimensions(&bytes), [("device", "d")].into());
                let synthetic = intent == 1;
                let expected = Check {
                    account: "a",
                    feature: "",
                    units,
                    intent,
                    include: None,
                    synthetic,
                    subject,
                    dimensions: &bytes,
                };
                assert_eq!(Check::read(&bytes), Ok(expected));
            }
        }
    }

    /// Every cut and every changed byte: read like the generated message reads it, or refused.
    #[test]
    fn damaged_messages_are_refused_or_read_alike() {
        let bytes = consume().encode_to_vec();
        let mut damaged: Vec<Vec<u8>> = (0..bytes.len()).map(|end| bytes[..end].to_vec()).collect();
        for place in 0..bytes.len() {
            for change in [0x01, 0x02, 0x04, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                damaged.push(changed);
            }
        }
        for bytes in damaged {
            let owned = v1::ConsumeRequest::decode(&*bytes);
            match (Consume::read(&bytes), owned) {
                (Ok(read), Ok(owned)) => {
                    assert_eq!(read.account, owned.account, "{bytes:x?}");
                    assert_eq!(read.feature, owned.feature, "{bytes:x?}");
                    assert_eq!(read.units, owned.units, "{bytes:x?}");
                    assert_eq!(read.idempotency_key, owned.idempotency_key, "{bytes:x?}");
                    assert_eq!(read.include, owned.include, "{bytes:x?}");
                    assert_eq!(read.synthetic, owned.synthetic, "{bytes:x?}");
                    assert_eq!(read.subject, owned.subject, "{bytes:x?}");
                    assert_eq!(read_dimensions(&read), owned.dimensions, "{bytes:x?}");
                }
                (Err(_), Err(_)) => {}
                // The generated reader takes an entry of a map for one whatever its wire type says.
                (Err(Malformed::WireType { tag: DIMENSIONS }), Ok(_)) => {}
                (read, owned) => panic!("{read:?} but {owned:?} for {bytes:x?}"),
            }
        }
    }
}
