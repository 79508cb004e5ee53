//! Signals that no write raises: told from outside, or found by looking at what is known of an account.
//!
//! They lie among all others, in the order of the journal, and are delivered as those are. None of this
//! lives in an account.

use headroom_core::signal::{Signal, SignalState};
use headroom_core::time::Millis;

use crate::codec::{Malformed, Put, Take};
use crate::record;

/// A signal that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// What makes it this one, beside its account and name: whoever tells it again says the same.
    pub event: String,
    /// When it happened.
    pub at: Millis,
    /// How what it is about stood before.
    pub previous_state: SignalState,
    /// How it stands now.
    pub state: SignalState,
    /// What else there is to say: the text of a JSON object.
    pub data_json: String,
}

/// A signal of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raised {
    /// A write, or time, has raised it.
    Found(Signal),
    /// It was told.
    Told(Box<Told>),
}

impl Raised {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Raised::Found(signal) => signal.name.as_str(),
            Raised::Told(told) => &told.name,
        }
    }

    /// When it happened.
    pub fn at(&self) -> Millis {
        match self {
            Raised::Found(signal) => signal.at,
            Raised::Told(told) => told.at,
        }
    }

    /// Whether it tells that what it is about is well again.
    pub fn is_recovered(&self) -> bool {
        let previous = match self {
            Raised::Found(signal) => signal.previous_state,
            Raised::Told(told) => told.previous_state,
        };
        self.state().is_recovered(previous)
    }

    /// How what it is about stands after it.
    pub fn state(&self) -> SignalState {
        match self {
            Raised::Found(signal) => signal.state,
            Raised::Told(told) => told.state,
        }
    }

    /// Whether it says that what was raised before has come down again.
    pub fn is_recovery(&self) -> bool {
        let before = match self {
            Raised::Found(signal) => signal.previous_state,
            Raised::Told(told) => told.previous_state,
        };
        self.state() == SignalState::Ok && before != SignalState::Ok
    }
}

/// In the place of a signal's number: what follows was told. No number of a signal is as high.
pub(crate) const TOLD: u8 = u8::MAX;

pub(crate) fn put_told(out: &mut Vec<u8>, told: &Told) {
    out.push(TOLD);
    out.put_str(&told.name);
    out.put_str(&told.event);
    out.put_millis(told.at);
    record::put_state(out, told.previous_state);
    record::put_state(out, told.state);
    out.put_str(&told.data_json);
}

pub(crate) fn take_told(from: &mut Take<'_>) -> Result<Told, Malformed> {
    if from.u8("told signal")? != TOLD {
        return Err(Malformed { what: "told signal" });
    }
    Ok(Told {
        name: from.str("signal name")?.to_owned(),
        event: from.str("event")?.to_owned(),
        at: from.millis("time")?,
        previous_state: record::take_state(from)?,
        state: record::take_state(from)?,
        data_json: from.str("data")?.to_owned(),
    })
}

/// The account's number and the signal of a signal's row, of either kind.
///
/// # Errors
/// When another version has written it.
pub fn raised_row(value: &[u8]) -> Result<(u32, Raised), Malformed> {
    let mut from = Take::new(value);
    let serial = from.small("serial")?;
    let is_told = from.rest().first() == Some(&TOLD);
    Ok((
        serial,
        match is_told {
            true => Raised::Told(Box::new(take_told(&mut from)?)),
            false => Raised::Found(record::take_signal(&mut from)?),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{RecordDigest, SignalId};
    use crate::ports::{Digest as _, ProjectionOp, Seq, Table};
    use crate::record::Record;

    fn told(name: &str) -> Told {
        Told {
            name: name.to_owned(),
            event: "evt".to_owned(),
            at: Millis(-5),
            previous_state: SignalState::Ok,
            state: SignalState::Alarm,
            data_json: "{}".to_owned(),
        }
    }

    #[test]
    fn one_record_holds_rows_and_told_signals_and_cut_short_it_is_refused() {
        let rows = [(vec![1], Some(vec![2, 3])), (vec![4], None)];
        let signals = [(7, told("nps_recorded")), (8, told("qbr_outcome"))];
        let mut bytes = Vec::new();
        record::put_growth(&mut bytes, &rows, &signals);
        let read = record::take(&bytes).unwrap();
        let expected = vec![(&[1][..], Some(&[2, 3][..])), (&[4], None)];
        assert_eq!(read, Record::Growth { rows: expected, told: signals.to_vec() });
        for end in 1..bytes.len() {
            assert!(record::take(&bytes[..end]).is_err(), "cut at {end}");
        }

        let mut ops = Vec::new();
        RecordDigest.digest(Seq(9), &bytes, &mut ops);
        let of_signals = ops.iter().filter_map(|op| match op {
            ProjectionOp::Put { table: Table::Signals, key, value } => {
                let (serial, raised) = raised_row(value).unwrap();
                Some((SignalId::of_row_key(key).unwrap().place, serial, raised))
            }
            _ => None,
        });
        let expected = (0u16..).zip(&signals);
        let expected = expected
            .map(|(place, (serial, told))| (place, *serial, Raised::Told(Box::new(told.clone()))));
        assert_eq!(of_signals.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert!(ops.contains(&ProjectionOp::Delete { table: Table::Growth, key: vec![4] }));
        assert_eq!(ops.len(), 4);
    }
}
