//! Answers that were encoded when they were made.
//!
//! A server that answers from memory borrows most of an answer: names from the catalog, counters from
//! an account. Making the generated message first would copy all of that into owned fields only to
//! encode them at once, and to move a few hundred bytes from hand to hand on the way. So the server
//! writes the fields of an answer into a buffer, and [`Encoded`] is that buffer where the generated
//! code expects a message. Clients know nothing of it: the bytes are those of the ordinary message.

use prost::DecodeError;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint};

/// The bytes of a message, made by whoever holds its parts. The server's generated code takes it
/// where it has to send a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded(Vec<u8>);

impl Encoded {
    /// Takes the bytes of one message. They are sent as they are.
    pub fn new(bytes: Vec<u8>) -> Encoded {
        Encoded(bytes)
    }

    /// The bytes of the message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl prost::Message for Encoded {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps the field as it came. Servers only send these messages; this is what the trait asks for.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut value = Vec::new();
        match wire_type {
            WireType::Varint => {
                let mut number = 0;
                prost::encoding::uint64::merge(wire_type, &mut number, buf, ctx)?;
                encode_varint(number, &mut value);
            }
            WireType::SixtyFourBit => {
                let mut number = 0;
                prost::encoding::fixed64::merge(wire_type, &mut number, buf, ctx)?;
                value.put_u64_le(number);
            }
            WireType::ThirtyTwoBit => {
                let mut number = 0;
                prost::encoding::fixed32::merge(wire_type, &mut number, buf, ctx)?;
                value.put_u32_le(number);
            }
            WireType::LengthDelimited => {
                let mut bytes = Vec::new();
                prost::encoding::bytes::merge(wire_type, &mut bytes, buf, ctx)?;
                value.reserve(encoded_len_varint(bytes.len() as u64) + bytes.len());
                encode_varint(bytes.len() as u64, &mut value);
                value.extend_from_slice(&bytes);
            }
            // Proto3 has no groups, so no message of ours has one.
            WireType::StartGroup | WireType::EndGroup => {
                return prost::encoding::skip_field(wire_type, tag, buf, ctx);
            }
        }
        encode_key(tag, wire_type, &mut self.0);
        self.0.extend_from_slice(&value);
        Ok(())
    }
}

/// Writes the fields of one message, in any order. Fields at their default are left out, as proto3
/// says; `optional` ones are written when they are there.
pub struct Fields<'a>(&'a mut Vec<u8>);

const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;

impl<'a> Fields<'a> {
    /// Appends to `bytes`.
    pub fn new(bytes: &'a mut Vec<u8>) -> Fields<'a> {
        Fields(bytes)
    }

    /// How many bytes there are by now, those included that were there at the beginning.
    pub fn place(&self) -> usize {
        self.0.len()
    }

    /// The bytes from a [`Fields::place`] on.
    pub fn since(&self, place: usize) -> &[u8] {
        &self.0[place..]
    }

    fn key(&mut self, tag: u32, wire_type: u32) {
        self.varint(u64::from(tag << 3 | wire_type));
    }

    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    /// An unsigned number; also an int32 or int64 that is not negative.
    pub fn uint(&mut self, tag: u32, number: u64) {
        if number != 0 {
            self.key(tag, VARINT);
            self.varint(number);
        }
    }

    /// An int64.
    pub fn int(&mut self, tag: u32, number: i64) {
        self.uint(tag, number.cast_unsigned());
    }

    /// An `optional` number that is not negative: zero is something else than nothing.
    pub fn optional_uint(&mut self, tag: u32, number: Option<u64>) {
        if let Some(number) = number {
            self.key(tag, VARINT);
            self.varint(number);
        }
    }

    /// A bool.
    pub fn bool(&mut self, tag: u32, set: bool) {
        self.uint(tag, u64::from(set));
    }

    /// An enum, by its number.
    pub fn enumeration(&mut self, tag: u32, number: impl Into<i32>) {
        self.int(tag, i64::from(number.into()));
    }

    /// A string.
    pub fn text(&mut self, tag: u32, text: &str) {
        if !text.is_empty() {
            self.key(tag, LENGTH_DELIMITED);
            self.varint(text.len() as u64);
            self.0.extend_from_slice(text.as_bytes());
        }
    }

    /// A packed repeated field of numbers that are not negative.
    pub fn packed_uints(&mut self, tag: u32, numbers: impl ExactSizeIterator<Item = u64>) {
        if numbers.len() != 0 {
            self.message(tag, |fields| numbers.for_each(|number| fields.varint(number)));
        }
    }

    /// A message in the message, written even when it is empty: being there is information. Returns
    /// what `write` returns.
    pub fn message<T>(&mut self, tag: u32, write: impl FnOnce(&mut Fields<'_>) -> T) -> T {
        self.key(tag, LENGTH_DELIMITED);
        // The length is known afterwards. Nearly always it takes one byte; longer ones are moved.
        let place = self.0.len();
        self.0.push(0);
        let start = self.0.len();
        let written = write(self);
        let len = self.0.len() - start;
        if let Ok(byte @ 0..0x80) = u8::try_from(len) {
            self.0[place] = byte;
            return written;
        }
        let longer = encoded_len_varint(len as u64) - 1;
        self.0.resize(start + len + longer, 0);
        self.0.copy_within(start..start + len, start + longer);
        encode_varint(len as u64, &mut &mut self.0[place..]);
        written
    }

    /// A message of the generated code.
    pub fn generated(&mut self, tag: u32, message: &impl prost::Message) {
        prost::encoding::message::encode(tag, message, self.0);
    }

    /// Bytes that are fields already, of this very message.
    pub fn raw(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use prost::Message;

    fn write(fields: impl FnOnce(&mut Fields<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        fields(&mut Fields::new(&mut bytes));
        bytes
    }

    #[test]
    fn fields_are_read_back_by_the_generated_message() {
        for length in [0, 1, 100, 126, 127, 128, 129, 300, 16_384, 70_000] {
            let name = "n".repeat(length);
            let state = |number: i64| v1::LimitState {
                limit: name.clone(),
                policy: v1::Policy::Overage.into(),
                included_units: Some(0),
                used_units: number,
                thresholds_passed_bp: vec![1, 8_000, i32::MAX],
                ..v1::LimitState::default()
            };
            for number in [0, 1, 127, 128, 1 << 53, i64::MAX, -1] {
                let written = write(|out| {
                    out.message(4, |out| {
                        out.text(1, &name);
                        out.enumeration(2, v1::Policy::Overage);
                        out.optional_uint(3, Some(0));
                        out.optional_uint(6, None);
                        out.int(4, number);
                        out.packed_uints(10, [1, 8_000, 0x7fff_ffff].into_iter());
                    });
                    out.message(7, |_| {});
                    out.bool(1, true);
                    out.generated(5, &state(number));
                });
                let decision = v1::Decision {
                    allowed: true,
                    binding: Some(state(number)),
                    other_limits: vec![state(number)],
                    origin: Some(v1::Origin::default()),
                    ..v1::Decision::default()
                };
                assert_eq!(v1::Decision::decode(&*written), Ok(decision));
            }
        }
    }

    #[test]
    fn defaults_take_no_bytes() {
        let written = write(|out| {
            out.uint(1, 0);
            out.text(2, "");
            out.bool(3, false);
            out.packed_uints(4, [].into_iter());
        });
        assert!(written.is_empty());
    }

    #[test]
    fn an_encoded_message_is_sent_as_it_is_and_kept_as_it_came() {
        let message = v1::ReserveResponse {
            decision: Some(v1::Decision { allowed: true, ..v1::Decision::default() }),
            reservation_id: "rsv_1".to_owned(),
            expires_at: Some(prost_types::Timestamp { seconds: -1, nanos: 7 }),
        };
        let bytes = message.encode_to_vec();
        let encoded = Encoded::new(bytes.clone());
        assert_eq!(encoded.encode_to_vec(), bytes);
        assert_eq!(Encoded::decode(&*bytes), Ok(encoded));
        let fixed = [&[0x09][..], &7_u64.to_le_bytes(), &[0x15], &9_u32.to_le_bytes()].concat();
        assert_eq!(Encoded::decode(&*fixed).map(|e| e.0), Ok(fixed));
    }
}
