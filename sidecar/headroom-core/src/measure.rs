//! Measures: what an aggregation has to know of a window besides its counter.
//!
//! Of the latest value that is the instant it is of, so that an older one that comes late changes nothing. Of
//! different values it is which ones there were: as hashes, so that no value is kept, each of them up
//! to [`DISTINCT_EXACT_MAX`] and beyond it a sketch (HyperLogLog) of a fixed size. A subject's window has a
//! smaller one, from [`SUBJECT_DISTINCT_EXACT_MAX`] values on, because an account may have thousands of them.
//!
//! The sketch counts as it goes: a value that changes it adds the inverse of the probability that
//! a new value would have. So the count starts from the exact number, never falls, needs no correction
//! of small numbers, and its standard error is sqrt(ln 2 / registers), 1.3 %, and 3.7 % of a subject (the historic
//! inverse probability estimator of Cohen and of Ting, 2014). All of it is whole numbers, so the same values in the same order
//! give the same count everywhere.
//!
//! When a window leaves the memory, what is known of it goes to the disk, for as long as the window can be
//! restated ([`ClosedMeasure`]): a value that comes late is counted as if it had come in time.
//!
//! Invariant: the count of a sketch is not less than that of the values it was made of.

use crate::effect::Effect;
use crate::ledger::Ledger;
use crate::limits::{DISTINCT_EXACT_MAX, SUBJECT_DISTINCT_EXACT_MAX};
use crate::names::NameId;
use crate::time::Millis;

/// What is known of one window of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// The feature.
    pub feature: NameId,
    /// The limit.
    pub limit: NameId,
    /// The start of the window.
    pub window_start: Millis,
    /// What.
    pub known: Known,
}

/// What is known of a window that has left the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedMeasure {
    /// What, and of which window.
    pub measure: Measure,
    /// The end of the window: how long it can be restated hangs on that.
    pub window_end: Millis,
}

impl ClosedMeasure {
    /// What is known of the window of a ledger.
    pub fn of(ledger: &Ledger, known: Known) -> ClosedMeasure {
        let Ledger { feature, limit, window, .. } = *ledger;
        let measure = Measure { feature, limit, window_start: window.start(), known };
        ClosedMeasure { measure, window_end: window.end() }
    }
}

/// What an aggregation knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The instant that the value which counts is of.
    LatestAt(Millis),
    /// Which different values there were.
    Values(Values),
}

impl Known {
    /// What is known of a window that no value has come to, whatever the aggregation.
    pub fn nothing() -> Known {
        Known::Values(Values::Exact(Vec::new()))
    }
}

/// A change of what is known of one window of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The feature.
    pub feature: NameId,
    /// The limit.
    pub limit: NameId,
    /// The start of the window.
    pub window_start: Millis,
    /// The change.
    pub change: MeasureChange,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeasureChange {
    /// The value that counts is of this instant.
    LatestAt(Millis),
    /// There was this value.
    Value(u64),
    /// These are the values: what a snapshot keeps.
    Values(Values),
}

/// Different values, by their hashes. The hashes must be as good as drawn at random.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    // Ascending, DISTINCT_EXACT_MAX at most.
    /// Each of them.
    Exact(Vec<u64>),
    /// What is known of more.
    Sketch(Box<Sketch>),
}

/// Registers of a sketch, a power of two: its size in bytes.
pub const REGISTERS: usize = 4_096;

/// Registers of a subject's sketch, a power of two: its size in bytes.
pub const SUBJECT_REGISTERS: usize = 512;

/// The largest number that a register can hold: the bits that are left, and one.
pub const RANK_MAX: u8 = 53;

/// Different values that are too many to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    // Of all hashes with the register's index, the most zeros in front, and one. 0: there was none.
    registers: Box<[u8]>,
    // How many different values it counts, and 2^-32 parts of one more.
    units: u64,
    parts: u32,
}

impl Values {
    /// One value.
    pub fn one(value: u64) -> Values {
        Values::Exact(vec![value])
    }

    /// By how much the count rises with a value; 0 when it was there. `None` is any that was not. A sketch
    /// may take a new value for one that was there, and counts the others for more in turn.
    pub fn rise(&self, value: Option<u64>) -> u64 {
        let knows = |value| match self {
            Values::Exact(values) => values.binary_search(&value).is_ok(),
            Values::Sketch(sketch) => sketch.knows(value),
        };
        match self {
            _ if value.is_some_and(knows) => 0,
            Values::Exact(_) => 1,
            Values::Sketch(sketch) => {
                let (units, _) = sketch.counted_with_one_more();
                units - sketch.units
            }
        }
    }

    /// Adds a value. One that was there changes nothing.
    pub fn add(&mut self, value: u64) {
        match self {
            Values::Sketch(sketch) => sketch.add(value),
            Values::Exact(values) => {
                let Err(place) = values.binary_search(&value) else { return };
                values.insert(place, value);
                if values.len() > DISTINCT_EXACT_MAX {
                    *self = Values::Sketch(Box::new(Sketch::of(values, REGISTERS)));
                }
            }
        }
    }

    /// These and one more, in a window of the account or of a subject.
    pub fn with(&self, value: u64, of_subject: bool) -> Values {
        match self.in_subject(value) {
            MeasureChange::Values(values) if of_subject => values,
            _ => {
                let mut more = self.clone();
                more.add(value);
                more
            }
        }
    }

    /// The change that adds a value to those of a subject's window. It is made a sketch by the change itself, so
    /// that whoever applies one need not know whose window it is.
    pub(crate) fn in_subject(&self, value: u64) -> MeasureChange {
        match self {
            Values::Exact(values) if values.len() >= SUBJECT_DISTINCT_EXACT_MAX => {
                let all = values.iter().copied().chain([value]).collect::<Vec<u64>>();
                let sketch = Sketch::of(&all, SUBJECT_REGISTERS);
                MeasureChange::Values(Values::Sketch(Box::new(sketch)))
            }
            Values::Exact(_) | Values::Sketch(_) => MeasureChange::Value(value),
        }
    }
}

impl Sketch {
    fn of(values: &[u64], registers: usize) -> Sketch {
        let registers = vec![0; registers].into();
        let mut sketch = Sketch { registers, units: values.len() as u64, parts: 0 };
        for value in values {
            let (place, rank) = sketch.place_of(*value);
            sketch.registers[place] = sketch.registers[place].max(rank);
        }
        sketch
    }

    /// A sketch that was read. `None`: no sketch is like that.
    pub fn from_parts(registers: &[u8], units: u64, parts: u32) -> Option<Sketch> {
        let exact = match registers.len() {
            REGISTERS => DISTINCT_EXACT_MAX,
            SUBJECT_REGISTERS => SUBJECT_DISTINCT_EXACT_MAX,
            _ => return None,
        };
        let is_one = registers.iter().all(|rank| *rank <= RANK_MAX) && units >= exact as u64;
        is_one.then(|| Sketch { registers: registers.into(), units, parts })
    }

    /// The registers, the count, and the 2^-32 parts of one more.
    pub fn parts(&self) -> (&[u8], u64, u32) {
        (&self.registers, self.units, self.parts)
    }

    fn knows(&self, value: u64) -> bool {
        let (place, rank) = self.place_of(value);
        rank <= self.registers[place]
    }

    fn add(&mut self, value: u64) {
        if self.knows(value) {
            return;
        }
        (self.units, self.parts) = self.counted_with_one_more();
        let (place, rank) = self.place_of(value);
        self.registers[place] = rank;
    }

    /// The count when another value changes the sketch.
    fn counted_with_one_more(&self) -> (u64, u32) {
        // A new value changes a register that holds r with the probability 2^-r, so it changes the
        // sketch with `likely` / (registers x 2^53).
        let likely: u128 = self.registers.iter().map(|rank| 1_u128 << (RANK_MAX - rank)).sum();
        // In 2^-32 parts. Rounded down, which is less than a millionth of a per cent. Registers that are
        // all at their end count as one that is not: nothing comes near to that.
        let adds = (1_u128 << (self.index_bits() + u32::from(RANK_MAX) + 32)) / likely.max(1);
        let counted = (u128::from(self.units) << 32 | u128::from(self.parts)) + adds;
        let units = u64::try_from(counted >> 32).unwrap_or(u64::MAX);
        (units, u32::try_from(counted & u128::from(u32::MAX)).unwrap_or_default())
    }

    /// Bits of a hash that say which register it belongs to.
    fn index_bits(&self) -> u32 {
        self.registers.len().trailing_zeros()
    }

    /// The register of a hash, and the zeros in front of what is left of it, and one.
    fn place_of(&self, value: u64) -> (usize, u8) {
        let bits = self.index_bits();
        let place = usize::try_from(value >> (64 - bits)).unwrap_or_default();
        let rest = value << bits;
        let rank = u8::try_from(rest.leading_zeros().min(u32::from(RANK_MAX) - 1) + 1);
        (place, rank.unwrap_or(RANK_MAX))
    }
}

/// Carries out a change.
pub(crate) fn apply(measures: &mut Vec<Measure>, after: &Measured) {
    let Measured { feature, limit, window_start, change } = after;
    let is_it = |m: &&mut Measure| {
        m.limit == *limit && m.feature == *feature && m.window_start == *window_start
    };
    let found = measures.iter_mut().find(is_it);
    let known = match (change, found) {
        (MeasureChange::Value(value), Some(Measure { known: Known::Values(values), .. })) => {
            return values.add(*value);
        }
        (change, found) => {
            let known = match change {
                MeasureChange::LatestAt(at) => Known::LatestAt(*at),
                MeasureChange::Value(value) => Known::Values(Values::one(*value)),
                MeasureChange::Values(values) => Known::Values(values.clone()),
            };
            match found {
                Some(measure) => return measure.known = known,
                None => known,
            }
        }
    };
    let (feature, limit, window_start) = (*feature, *limit, *window_start);
    measures.push(Measure { feature, limit, window_start, known });
}

/// What is known of a window.
pub(crate) fn of(
    measures: &[Measure],
    (feature, limit, window_start): (NameId, NameId, Millis),
) -> Option<&Known> {
    let is_it =
        |m: &&Measure| (m.limit, m.feature, m.window_start) == (limit, feature, window_start);
    measures.iter().find(is_it).map(|measure| &measure.known)
}

impl Measure {
    /// It as the change that makes it.
    pub fn to_change(&self) -> Measured {
        let Measure { feature, limit, window_start, .. } = *self;
        let change = match &self.known {
            Known::LatestAt(at) => MeasureChange::LatestAt(*at),
            Known::Values(values) => MeasureChange::Values(values.clone()),
        };
        Measured { feature, limit, window_start, change }
    }
}

/// The effects that make measures again.
pub(crate) fn further(measures: &[Measure]) -> impl Iterator<Item = Effect> + '_ {
    measures.iter().map(|measure| Effect::Measured(Box::new(measure.to_change())))
}
