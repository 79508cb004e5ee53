//! The chronicle: what was known of an account at each look at it, so that a rule can be tried on what
//! it would have seen.
//!
//! A look is kept whole or as what differs from an earlier whole one. Names are numbers of a dictionary.
//! Of a text only a hash is kept: a rule compares texts with those that it names itself, which can be
//! hashed too, and no name of a person stays after its fact was removed. What counts days from an
//! instant is kept as that day, so it does not differ from day to day.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use headroom_core::time::Millis;

use crate::days::{Day, Days};
use crate::facts::{Facts, PARTS, Value};

/// How long looks are kept, in milliseconds: 450 days, four quarters with what warms up before them. Older
/// ones go when the account's next whole look is written.
pub const KEPT_MS: i64 = 450 * 24 * 60 * 60 * 1000;

/// Accounts whose looks are kept. When there are more, every second one is left out, by a hash, and so
/// on: shares are then of a sample. One takes some 250 bytes of memory, and of disk 10 to 25 KB a
/// year where it is looked at once or twice a day.
pub const ACCOUNTS_MAX: usize = 32_768;

/// Different names of facts and signals of all accounts. What has one more is not kept.
pub const NAMES_MAX: usize = 2_048;

/// Looks that are kept of one account and day. What comes later that day is not kept.
pub const LOOKS_PER_DAY_MAX: u32 = 64;

/// A look that differs only in what was worked out (people, shares of limits) is kept when the last one is
/// so long ago, in milliseconds: three hours.
pub const SPACING_MS: i64 = 3 * 60 * 60 * 1000;

/// A look is whole again after so many milliseconds: 31 days.
pub const WHOLE_AFTER_MS: i64 = 31 * 24 * 60 * 60 * 1000;

/// Facts that count days since an instant, and up to one.
const SINCE: [&str; 3] = ["days_since_login", "days_since_onboarding", "days_since_signup"];
const UNTIL: [&str; 1] = ["contract_days_left"];

/// Something that was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    /// A number, in thousandths.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// The hash of a text.
    Text(u64),
    /// Whole days since this one.
    Since(Day),
    /// Whole days until this one.
    Until(Day),
    /// The days on which a signal came.
    Came(Days),
}

/// What a name is of. Facts and signals may have the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A fact.
    Fact,
    /// A signal.
    Signal,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Kind::Fact => 'f',
            Kind::Signal => 's',
        }
    }
}

/// The numbers of names, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dictionary {
    names: Vec<String>,
    numbers: HashMap<String, u16>,
}

impl Dictionary {
    /// The number of a name, and its entry if it is new: to be written down. `None`: there are
    /// [`NAMES_MAX`] already.
    pub fn number(&mut self, kind: Kind, name: &str) -> Option<(u16, Option<&str>)> {
        let entry = format!("{}{name}", kind.letter());
        if let Some(number) = self.numbers.get(&entry) {
            return Some((*number, None));
        }
        if self.names.len() >= NAMES_MAX {
            return None;
        }
        let number = self.add(entry);
        Some((number, self.names.last().map(String::as_str)))
    }

    fn add(&mut self, entry: String) -> u16 {
        let number = u16::try_from(self.names.len()).expect("there are few names");
        self.numbers.insert(entry.clone(), number);
        self.names.push(entry);
        number
    }

    /// Brings back an entry that was written down. Entries come in the order of their numbers.
    pub fn restore(&mut self, number: u16, entry: &str) {
        if usize::from(number) == self.names.len() && self.names.len() < NAMES_MAX {
            self.add(entry.to_owned());
        }
    }

    /// The same numbers under other names; `None`: the name stays.
    pub fn renamed(self, rename: impl Fn(Kind, &str) -> Option<String>) -> Dictionary {
        let mut renamed = Dictionary::default();
        for number in 0..self.names.len() {
            let Some((kind, name)) = u16::try_from(number).ok().and_then(|n| self.name(n)) else {
                break;
            };
            let name = rename(kind, name).unwrap_or_else(|| name.to_owned());
            renamed.add(format!("{}{name}", kind.letter()));
        }
        renamed
    }

    /// The names of signals.
    pub fn signals(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|entry| entry.strip_prefix(Kind::Signal.letter()))
    }

    /// What a number stands for.
    pub fn name(&self, number: u16) -> Option<(Kind, &str)> {
        let entry = self.names.get(usize::from(number))?;
        let kind = if entry.starts_with('f') { Kind::Fact } else { Kind::Signal };
        Some((kind, &entry[1..]))
    }
}

/// What was known at a look, by the numbers of its names.
pub type Known = BTreeMap<u16, Item>;

/// What there is to be kept of a look.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// All facts.
    pub facts: &'a Facts,
    /// Those of them that were put. They do not go on counting days by themselves.
    pub said: &'a Facts,
    /// The days on which signals came.
    pub came: &'a [(String, Days)],
    /// The day of the look.
    pub today: Day,
}

/// What there is to be kept, and a hash of what only changes when something was told: facts that were put,
/// the plan, and signals. New entries of the dictionary are appended to `entries`.
pub fn known(
    seen: Seen<'_>,
    dictionary: &mut Dictionary,
    hash: &dyn Fn(&str) -> u64,
    entries: &mut Vec<(u16, String)>,
) -> (Known, u64) {
    let mut known = Known::new();
    let mut steady = DefaultHasher::new();
    let mut put = |kind, name: &str, item: Item, is_steady: bool| {
        let Some((number, new)) = dictionary.number(kind, name) else { return };
        entries.extend(new.map(|entry| (number, entry.to_owned())));
        if is_steady {
            (number, item).hash(&mut steady);
        }
        known.insert(number, item);
    };
    for (name, value) in seen.facts.iter() {
        let is_said = seen.said.get(name).is_some();
        let days = |list: &[&str]| match value {
            Value::Number(parts) if !is_said && list.contains(&name) => {
                i32::try_from(parts / PARTS).ok()
            }
            _ => None,
        };
        let item = match (value, days(&SINCE), days(&UNTIL)) {
            (_, Some(days), _) => Item::Since(Day(seen.today.0.saturating_sub(days))),
            (_, _, Some(days)) => Item::Until(Day(seen.today.0.saturating_add(days))),
            (Value::Number(parts), ..) => Item::Number(*parts),
            (Value::Flag(flag), ..) => Item::Flag(*flag),
            (Value::Text(text), ..) => Item::Text(hash(text)),
        };
        put(Kind::Fact, name, item, is_said || name == "plan");
    }
    for (name, days) in seen.came {
        put(Kind::Signal, name, Item::Came(*days), true);
    }
    (known, steady.finish())
}

/// A look that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// When it was.
    pub at: Millis,
    /// Whether it was the one that every account has once a day.
    pub is_daily: bool,
    /// What was known.
    pub known: Known,
}

/// Texts that hashes stand for, as far as a rule may ask for them.
pub type Words = HashMap<u64, String>;

impl Look {
    /// The facts as they stood on a day, this look's or a later one: what counts days goes on.
    pub fn facts(&self, dictionary: &Dictionary, words: &Words, today: Day) -> Facts {
        let named = self.known.iter().filter_map(|(number, item)| {
            let (Kind::Fact, name) = dictionary.name(*number)? else { return None };
            let value = match item {
                Item::Number(parts) => Value::Number(*parts),
                Item::Flag(flag) => Value::Flag(*flag),
                // No text of an account has a control character, so nothing is mistaken for it.
                Item::Text(hash) => Value::Text(
                    words.get(hash).cloned().unwrap_or_else(|| format!("\u{1}{hash:016x}")),
                ),
                Item::Since(day) => Value::whole(today.since(*day)),
                Item::Until(day) => Value::whole(day.since(today)),
                Item::Came(_) => return None,
            };
            Some((name.to_owned(), value))
        });
        Facts::of(named)
    }

    /// The signals that had come, and on which days.
    pub fn came<'a>(
        &'a self,
        dictionary: &'a Dictionary,
    ) -> impl Iterator<Item = (&'a str, Days)> + use<'a> {
        self.known.iter().filter_map(|(number, item)| match (dictionary.name(*number)?, item) {
            ((Kind::Signal, name), Item::Came(days)) => Some((name, *days)),
            _ => None,
        })
    }
}

/// What is remembered of an account whose looks are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    whole_at: Millis,
    whole: Box<[u8]>,
    last_at: Millis,
    all: u64,
    steady: u64,
    looks_today: u32,
}

/// A row to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its instant, which is after those of all earlier ones.
    pub at: Millis,
    /// The row's value.
    pub value: Vec<u8>,
    /// Whether it needs no other row.
    pub is_whole: bool,
}

/// How a look came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occasion {
    /// When.
    pub at: Millis,
    /// Whether it is the one that every account has once a day.
    pub is_daily: bool,
    /// Whether a rule stands otherwise after it than before.
    pub moved: bool,
}

/// Whether a look is kept, and how. `mark` is what is remembered of the account's looks, and is brought up
/// to date; after a start there is none, so the first look is whole.
pub fn keep(
    mark: &mut Option<Mark>,
    (known, steady): (&Known, u64),
    occasion: Occasion,
) -> Option<Line> {
    let Occasion { mut at, is_daily, moved } = occasion;
    let mut all = DefaultHasher::new();
    known.hash(&mut all);
    let all = all.finish();
    let mut looks_today = 1;
    if let Some(mark) = mark {
        // An instant is a row's name, and a test clock may stand still for many looks.
        at = at.max(mark.last_at.plus(1));
        let is_same_day = Day::of(mark.last_at) == Day::of(at);
        looks_today = if is_same_day { mark.looks_today + 1 } else { 1 };
        let is_told = moved || is_daily || steady != mark.steady;
        let is_wanted =
            moved || all != mark.all && (is_told || at.since(mark.last_at) >= SPACING_MS);
        if !is_wanted || looks_today > LOOKS_PER_DAY_MAX {
            return None;
        }
    }
    let daily_bit = if is_daily { DAILY } else { 0 };
    let whole = body(known.iter().map(|(number, item)| (*number, Some(*item))));
    let short = mark.as_ref().filter(|mark| at.since(mark.whole_at) < WHOLE_AFTER_MS);
    let short = short.and_then(|mark| {
        let before = read_body(&mark.whole, Known::new())?;
        let bytes = body(changes(&before, known));
        let head = [&[daily_bit][..], &mark.whole_at.0.to_be_bytes()].concat();
        (bytes.len() + head.len() < whole.len() * 2 / 3).then(|| [head, bytes].concat())
    });
    let is_whole = short.is_none();
    let value = short.unwrap_or_else(|| [&[daily_bit | WHOLE][..], &whole].concat());
    let (whole_at, whole) = match mark.take() {
        Some(mark) if !is_whole => (mark.whole_at, mark.whole),
        _ => (at, whole.into()),
    };
    *mark = Some(Mark { whole_at, whole, last_at: at, all, steady, looks_today });
    Some(Line { at, value, is_whole })
}

const WHOLE: u8 = 1;
const DAILY: u8 = 2;

/// Whether a row needs no other; otherwise the instant of the one that it needs. `None`: it is no row.
pub fn needs(value: &[u8]) -> Option<Result<(), Millis>> {
    let (head, rest) = value.split_first()?;
    if head & WHOLE != 0 {
        return Some(Ok(()));
    }
    let (at, _) = rest.split_first_chunk()?;
    Some(Err(Millis(i64::from_be_bytes(*at))))
}

/// The look of a row. `whole` is what was known at the one that it needs, if it needs one.
pub fn look(at: Millis, value: &[u8], whole: Option<&Known>) -> Option<Look> {
    let (head, rest) = value.split_first()?;
    let known = match head & WHOLE != 0 {
        true => read_body(rest, Known::new())?,
        false => read_body(rest.get(8..)?, whole?.clone())?,
    };
    Some(Look { at, is_daily: head & DAILY != 0, known })
}

fn changes<'a>(
    before: &'a Known,
    after: &'a Known,
) -> impl Iterator<Item = (u16, Option<Item>)> + use<'a> {
    let gone = before.keys().filter(|number| !after.contains_key(number));
    let new = after.iter().filter(|(number, item)| before.get(number) != Some(item));
    new.map(|(number, item)| (*number, Some(*item))).chain(gone.map(|number| (*number, None)))
}

fn body(items: impl Iterator<Item = (u16, Option<Item>)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, item) in items {
        put(&mut bytes, u64::from(number));
        match item {
            None => bytes.push(0),
            Some(Item::Number(parts)) => {
                // Most are whole, which takes a byte or two less.
                let (tag, number) =
                    if parts % PARTS == 0 { (1, parts / PARTS) } else { (2, parts) };
                bytes.push(tag);
                put(&mut bytes, zigzag(number));
            }
            Some(Item::Flag(flag)) => bytes.push(if flag { 4 } else { 3 }),
            Some(Item::Text(hash)) => {
                bytes.push(5);
                bytes.extend_from_slice(&hash.to_be_bytes());
            }
            Some(Item::Since(day)) => {
                bytes.push(6);
                put(&mut bytes, zigzag(day.0.into()));
            }
            Some(Item::Until(day)) => {
                bytes.push(7);
                put(&mut bytes, zigzag(day.0.into()));
            }
            Some(Item::Came(days)) => {
                let (last, bits) = days.parts();
                bytes.push(8);
                put(&mut bytes, zigzag(last.0.into()));
                bytes.extend_from_slice(&bits.to_be_bytes());
            }
        }
    }
    bytes
}

fn read_body(mut bytes: &[u8], mut known: Known) -> Option<Known> {
    while !bytes.is_empty() {
        let number = u16::try_from(take(&mut bytes)?).ok()?;
        let (tag, rest) = bytes.split_first()?;
        bytes = rest;
        let day = |bytes: &mut &[u8]| Some(Day(i32::try_from(unzigzag(take(bytes)?)).ok()?));
        let item = match tag {
            0 => {
                known.remove(&number);
                continue;
            }
            1 => Item::Number(unzigzag(take(&mut bytes)?).checked_mul(PARTS)?),
            2 => Item::Number(unzigzag(take(&mut bytes)?)),
            3 | 4 => Item::Flag(*tag == 4),
            5 => {
                let (hash, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Item::Text(u64::from_be_bytes(*hash))
            }
            6 => Item::Since(day(&mut bytes)?),
            7 => Item::Until(day(&mut bytes)?),
            8 => {
                let last = day(&mut bytes)?;
                let (bits, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Item::Came(Days::from_parts(last, u32::from_be_bytes(*bits))?)
            }
            _ => return None,
        };
        known.insert(number, item);
    }
    Some(known)
}

/// Small numbers of either sign as small ones without.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// Seven bits a byte, the lowest first.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Whether the looks of an account are kept when one in 2^`bits` is.
pub fn is_sampled(serial: u32, bits: u8) -> bool {
    // Fibonacci hashing: numbers that follow each other are spread over the range.
    serial.wrapping_mul(0x9e37_79b1).leading_zeros() >= u32::from(bits)
}
