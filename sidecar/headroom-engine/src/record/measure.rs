//! The bytes of what aggregations know of windows.

use headroom_core::limits::DISTINCT_EXACT_MAX;
use headroom_core::measure::{
    ClosedMeasure, Known, Measure, MeasureChange, Measured, REGISTERS, SUBJECT_REGISTERS, Sketch,
    Values,
};
use headroom_core::names::NameId;

use crate::codec::{Malformed, Put, Take};

/// What sort of change it is.
mod change {
    pub(super) const LATEST_AT: u8 = 1;
    pub(super) const VALUE: u8 = 2;
    pub(super) const EXACT: u8 = 3;
    pub(super) const SKETCH: u8 = 4;
    pub(super) const SKETCH_OF_SUBJECT: u8 = 5;
}

pub(super) fn put_measured(out: &mut Vec<u8>, measured: &Measured) {
    out.put_u64(u64::from(measured.feature.0));
    out.put_u64(u64::from(measured.limit.0));
    out.put_millis(measured.window_start);
    match &measured.change {
        MeasureChange::LatestAt(at) => {
            out.push(change::LATEST_AT);
            out.put_millis(*at);
        }
        MeasureChange::Value(value) => {
            out.push(change::VALUE);
            out.extend_from_slice(&value.to_le_bytes());
        }
        MeasureChange::Values(Values::Exact(values)) => {
            out.push(change::EXACT);
            out.put_u64(values.len() as u64);
            values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        }
        MeasureChange::Values(Values::Sketch(sketch)) => {
            let (registers, units, parts) = sketch.parts();
            out.push(match registers.len() {
                REGISTERS => change::SKETCH,
                _ => change::SKETCH_OF_SUBJECT,
            });
            out.extend_from_slice(registers);
            out.put_u64(units);
            out.put_u64(u64::from(parts));
        }
    }
}

pub(super) fn take_measured(from: &mut Take<'_>) -> Result<Measured, Malformed> {
    let malformed = Malformed { what: "different values" };
    let feature = NameId(from.small("feature")?);
    let limit = NameId(from.small("limit")?);
    let window_start = from.millis("window")?;
    let change = match from.u8("what is known of a window")? {
        change::LATEST_AT => MeasureChange::LatestAt(from.millis("time of a value")?),
        change::VALUE => MeasureChange::Value(from.fixed_u64("value")?),
        change::EXACT => {
            let count: usize = from.small("different values")?;
            if count > DISTINCT_EXACT_MAX {
                return Err(malformed);
            }
            let values = (0..count).map(|_| from.fixed_u64("value"));
            let values = values.collect::<Result<Vec<u64>, _>>()?;
            if !values.is_sorted_by(|a, b| a < b) {
                return Err(malformed);
            }
            MeasureChange::Values(Values::Exact(values))
        }
        kind @ (change::SKETCH | change::SKETCH_OF_SUBJECT) => {
            let is_small = kind == change::SKETCH_OF_SUBJECT;
            let registers = if is_small { SUBJECT_REGISTERS } else { REGISTERS };
            let registers = from.exactly(registers, "registers")?;
            let (units, parts) = (from.u64("different values")?, from.small("different values")?);
            let sketch = Sketch::from_parts(registers, units, parts).ok_or(malformed)?;
            MeasureChange::Values(Values::Sketch(Box::new(sketch)))
        }
        _ => return Err(Malformed { what: "what is known of a window" }),
    };
    Ok(Measured { feature, limit, window_start, change })
}

/// What is known of a window that has left the memory.
pub(crate) fn put_closed(out: &mut Vec<u8>, closed: &ClosedMeasure) {
    put_measured(out, &closed.measure.to_change());
    out.put_millis(closed.window_end);
}

pub(crate) fn take_closed(from: &mut Take<'_>) -> Result<ClosedMeasure, Malformed> {
    let Measured { feature, limit, window_start, change } = take_measured(from)?;
    let known = match change {
        MeasureChange::LatestAt(at) => Known::LatestAt(at),
        MeasureChange::Values(values) => Known::Values(values),
        // All of it is written, and no change.
        MeasureChange::Value(_) => return Err(Malformed { what: "what is known of a window" }),
    };
    let measure = Measure { feature, limit, window_start, known };
    Ok(ClosedMeasure { measure, window_end: from.millis("end of a window")? })
}
