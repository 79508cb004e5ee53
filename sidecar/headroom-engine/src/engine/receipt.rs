//! The number that every answer carries, by which it is asked about later.

use smallvec::SmallVec;

use crate::ports::Seq;

/// A receipt's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecisionId {
    /// A write: the position of its record.
    Written(Seq),
    /// An item of a write for several features: the position of its record, and its place from 0.
    Part(Seq, u32),
    /// A decision that left no record: boot, thread, count.
    Passing(u32, u32, u64),
}

impl std::str::FromStr for DecisionId {
    type Err = ();

    /// Reads what [`DecisionId::with_text`] says, and nothing else.
    fn from_str(text: &str) -> Result<DecisionId, ()> {
        let number = |hex: &str| u64::from_str_radix(hex, 16).ok();
        let small = |hex: &str| u32::try_from(number(hex)?).ok();
        let read = || {
            let mut numbers = text.strip_prefix("dec_")?.split('.');
            Some(match [numbers.next(), numbers.next(), numbers.next(), numbers.next()] {
                [Some(seq), None, ..] => DecisionId::Written(Seq(number(seq)?)),
                [Some(seq), Some(place), None, _] => {
                    DecisionId::Part(Seq(number(seq)?), small(place)?)
                }
                [Some(boot), Some(thread), Some(count), None] => {
                    DecisionId::Passing(small(boot)?, small(thread)?, number(count)?)
                }
                _ => return None,
            })
        };
        // A sign or a zero in front can be read, but nobody wrote it.
        read().filter(|id| id.with_text(|written| written == text)).ok_or(())
    }
}

impl DecisionId {
    /// Calls `then` with the receipt's text. Without the formatting machinery and without memory of
    /// its own, because every answer carries one.
    pub fn with_text<T>(self, then: impl FnOnce(&str) -> T) -> T {
        // The prefix, three numbers, two dots: 54 at most.
        let mut text = SmallVec::<[u8; 64]>::from_slice(b"dec_");
        match self {
            DecisionId::Written(seq) => push_hex(&mut text, seq.0),
            DecisionId::Part(seq, place) => {
                push_hex(&mut text, seq.0);
                text.push(b'.');
                push_hex(&mut text, u64::from(place));
            }
            DecisionId::Passing(boot, thread, count) => {
                push_hex(&mut text, u64::from(boot));
                text.push(b'.');
                push_hex(&mut text, u64::from(thread));
                text.push(b'.');
                push_hex(&mut text, count);
            }
        }
        then(str::from_utf8(&text).unwrap_or_default())
    }
}

fn push_hex(text: &mut SmallVec<[u8; 64]>, number: u64) {
    let digits = (16 - number.leading_zeros() / 4).max(1);
    for digit in (0..digits).rev() {
        let nibble = (number >> (4 * digit)) & 0xf;
        text.push(b"0123456789abcdef"[usize::try_from(nibble).unwrap_or_default()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_its_numbers_in_hexadecimal() {
        for number in [0, 1, 15, 16, 255, 4096, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(
                DecisionId::Written(Seq(number)).with_text(str::to_owned),
                format!("dec_{number:x}")
            );
            let text = format!("dec_{number:x}");
            assert_eq!(text.parse(), Ok(DecisionId::Written(Seq(number))));
            let part = DecisionId::Part(Seq(number), 15).with_text(str::to_owned);
            assert_eq!(part, format!("dec_{number:x}.f"));
            assert_eq!(part.parse(), Ok(DecisionId::Part(Seq(number), 15)));
            let passing = DecisionId::Passing(7, 0x1f, number).with_text(str::to_owned);
            assert_eq!(passing, format!("dec_7.1f.{number:x}"));
        }
    }
}
