//! Events and restated windows as bytes, and the rows that the projection keeps of them.
//!
//! An event has two rows: what was answered, for whoever sends it again, and how it stands, for
//! whoever corrects it. A third one files both under their day, so that they can be forgotten when
//! their window cannot be restated any more. Beside them every change leaves a line in the history of
//! each window that it touched, which stays.

use headroom_core::credits::Charge;
use headroom_core::effect::Effect;
use headroom_core::event::{
    Booking, Bookings, Counts, Delta, Event, EventChange, EventKey, EventState, EventSubject,
    Restated,
};
use headroom_core::names::NameId;
use headroom_core::stock::Stock;
use headroom_core::subject::SubjectId;
use headroom_core::tally::Labels;
use headroom_core::time::Millis;

use crate::codec::{Malformed, Put, Take};
use crate::digest::usage_key;
use crate::ports::{ProjectionOp, Seq, Table};
use crate::{measures, record, subjects};

/// A day, in milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What the keys of the rows by day begin with; account numbers are far below it.
pub(crate) const BY_DAY: u8 = u8::MAX;

/// Which row of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventRow {
    /// What was done under the key.
    Answer,
    /// How the event stands.
    State,
}

pub(crate) fn put_restated(out: &mut Vec<u8>, restated: &Restated) {
    record::put_ledger(out, &restated.closed);
    out.put_u64(restated.used);
    out.put_u64(restated.debt);
}

pub(crate) fn take_restated(from: &mut Take<'_>) -> Result<Restated, Malformed> {
    let closed = record::take_ledger(from)?;
    let (used, debt) = (from.u64("restated units")?, from.u64("restated debt")?);
    Ok(Restated { used, debt, ..Restated::as_closed(closed, None) })
}

fn put_event_key(out: &mut Vec<u8>, key: EventKey) {
    key.iter().for_each(|half| out.extend_from_slice(&half.to_le_bytes()));
}

fn take_event_key(from: &mut Take<'_>) -> Result<EventKey, Malformed> {
    Ok([from.fixed_u64("event key")?, from.fixed_u64("event key")?])
}

fn put_change(out: &mut Vec<u8>, change: EventChange) {
    out.push(match change {
        EventChange::Recorded => 1,
        EventChange::Amended => 2,
        EventChange::Withdrawn => 3,
    });
}

fn take_change(from: &mut Take<'_>) -> Result<EventChange, Malformed> {
    match from.u8("change of an event")? {
        1 => Ok(EventChange::Recorded),
        2 => Ok(EventChange::Amended),
        3 => Ok(EventChange::Withdrawn),
        _ => Err(Malformed { what: "change of an event" }),
    }
}

fn put_state(out: &mut Vec<u8>, state: &EventState) {
    put_event_key(out, state.key);
    out.put_str(&state.name);
    out.put_u64(u64::from(state.feature.0));
    out.put_millis(state.occurred_at);
    out.put_u64(state.units);
    out.put_u64(state.bookings.len() as u64);
    state.bookings.iter().for_each(|booking| put_booking(out, *booking));
}

fn put_booking(out: &mut Vec<u8>, booking: Booking) {
    out.put_u64(u64::from(booking.limit.0));
    out.put_millis(booking.window_start);
    let counts = if booking.counts.is_some() { HAS_COUNTS } else { 0 };
    let end = if booking.window_end.is_some() { HAS_END } else { 0 };
    out.push(u8::from(booking.restated) | counts | end);
    if let Some(Counts { before, after }) = booking.counts {
        out.put_u64(before);
        out.put_u64(after);
    }
    if let Some(end) = booking.window_end {
        out.put_millis(end);
    }
}

/// Beside the bit that says whether a window was restated: what was changed of it follows. Earlier versions do
/// not say that.
const HAS_COUNTS: u8 = 2;

/// The same of where the window ends, which follows after that.
const HAS_END: u8 = 4;

fn take_booking(from: &mut Take<'_>) -> Result<Booking, Malformed> {
    let limit = NameId(from.small("limit")?);
    let window_start = from.millis("window")?;
    let bits = from.u8("restated window")?;
    if bits & !(HAS_COUNTS | HAS_END | 1) != 0 {
        return Err(Malformed { what: "restated window" });
    }
    let counts = match bits & HAS_COUNTS {
        0 => None,
        _ => Some(Counts { before: from.u64("units")?, after: from.u64("units")? }),
    };
    let window_end = match bits & HAS_END {
        0 => None,
        _ => Some(from.millis("end of a window")?),
    };
    Ok(Booking { limit, window_start, window_end, restated: bits & 1 != 0, counts })
}

/// For whom an event was counted, which is not everywhere known to be somebody.
pub(crate) fn put_subject(out: &mut Vec<u8>, subject: &EventSubject) {
    out.extend_from_slice(&subject.path_hash.to_le_bytes());
    out.put_u64(subject.bookings.len() as u64);
    for (id, booking) in &subject.bookings {
        out.put_u64(u64::from(id.0));
        put_booking(out, *booking);
    }
}

pub(crate) fn take_subject(from: &mut Take<'_>) -> Result<Box<EventSubject>, Malformed> {
    let path_hash = from.fixed_u64("subject")?;
    let mut bookings = Vec::new();
    for _ in 0..from.small::<usize>("bookings")? {
        bookings.push((SubjectId(from.small("subject")?), take_booking(from)?));
    }
    Ok(Box::new(EventSubject { path_hash, bookings }))
}

fn take_state(from: &mut Take<'_>) -> Result<EventState, Malformed> {
    let key = take_event_key(from)?;
    let name = from.str("event")?.to_owned();
    let feature = NameId(from.small("feature")?);
    let occurred_at = from.millis("time of an event")?;
    let units = from.u64("units")?;
    let mut bookings = Bookings::new();
    for _ in 0..from.small::<usize>("bookings")? {
        bookings.push(take_booking(from)?);
    }
    // Those who have dimensions, were paid or are of a subject write that behind it.
    let (labels, paid, subject) = (Labels::default(), None, None);
    Ok(EventState { key, name, feature, occurred_at, units, bookings, labels, paid, subject })
}

/// What few events have, behind the event: dimensions, what was paid, and for whom it was. Nothing behind the
/// last that there is.
fn put_more(out: &mut Vec<u8>, state: &EventState, charge: Option<&Charge>) {
    let is_paid = state.paid.is_some() || charge.is_some();
    if state.labels.is_empty() && !is_paid && state.subject.is_none() {
        return;
    }
    record::tally::put_labels(out, &state.labels);
    if is_paid || state.subject.is_some() {
        record::credits::put_paid(out, state.paid.as_deref(), charge);
    }
    if let Some(subject) = &state.subject {
        put_subject(out, subject);
    }
}

/// What [`put_more`] has written, up to the end.
fn take_more(
    from: &mut Take<'_>,
    state: &mut EventState,
) -> Result<Option<Box<Charge>>, Malformed> {
    if from.is_done() {
        return Ok(None);
    }
    state.labels = record::tally::take_labels(from)?;
    if from.is_done() {
        return Ok(None);
    }
    let (paid, charge) = record::credits::take_paid(from)?;
    state.paid = paid;
    if !from.is_done() {
        state.subject = Some(take_subject(from)?);
    }
    Ok(charge)
}

pub(crate) fn put_event(out: &mut Vec<u8>, event: &Event) {
    put_event_key(out, event.key);
    out.extend_from_slice(&event.payload.to_le_bytes());
    put_change(out, event.change);
    out.put_u64(event.units_before);
    out.put_u64(event.debt_units);
    out.put_str(&event.reason);
    put_state(out, &event.state);
}

pub(crate) fn take_event(from: &mut Take<'_>) -> Result<Event, Malformed> {
    Ok(Event {
        key: take_event_key(from)?,
        payload: from.fixed_u64("payload hash")?,
        change: take_change(from)?,
        units_before: from.u64("units")?,
        debt_units: from.u64("debt")?,
        reason: from.str("reason")?.to_owned(),
        charge: None,
        state: take_state(from)?,
    })
}

/// The rows of an event.
pub(crate) fn digest_event(
    (seq, serial, at): (Seq, u32, Millis),
    event: &Event,
    ops: &mut Vec<ProjectionOp>,
) {
    let mut put = |table, key, value| ops.push(ProjectionOp::Put { table, key, value });
    let state = &event.state;
    let mut answer = seq.0.to_le_bytes().to_vec();
    put_event(&mut answer, event);
    let mut stands = Vec::new();
    put_state(&mut stands, state);
    put_more(&mut answer, state, event.charge.as_deref());
    put_more(&mut stands, state, None);
    put(Table::Events, event_key(serial, event.key, EventRow::Answer), answer);
    put(Table::Events, event_key(serial, state.key, EventRow::State), stands);
    put(Table::Events, day_key(state.occurred_at, serial, state.key), Vec::new());
    if event.key != state.key {
        put(Table::Events, day_key(at, serial, event.key), Vec::new());
    }
    let line = |booking: &Booking| {
        let of_event = Counts { before: event.units_before, after: state.units };
        let Counts { before, after } = booking.counts.unwrap_or(of_event);
        // What changed nothing of a window did not come to it.
        if before == after {
            return None;
        }
        let mut line = Vec::new();
        line.put_millis(at);
        put_change(&mut line, event.change);
        line.put_str(&state.name);
        line.put_millis(state.occurred_at);
        line.put_u64(before);
        line.put_u64(after);
        line.push(u8::from(booking.restated));
        line.put_str(&event.reason);
        Some(line)
    };
    for (booking, line) in state.bookings.iter().filter_map(|b| Some((b, line(b)?))) {
        let window = usage_key(serial, state.feature, booking.limit, booking.window_start);
        let key = [window.as_slice(), &seq.0.to_be_bytes()].concat();
        put(Table::Adjustments, key, line);
    }
    for (id, booking) in state.subject.iter().flat_map(|subject| &subject.bookings) {
        let Some(line) = line(booking) else { continue };
        let key = subjects::adjustment_key((serial, *id), state.feature, booking, seq);
        put(Table::Subjects, key, line);
    }
}

/// In the place of a change: the window counts what an earlier one owes.
const PASSED: u8 = 4;

/// What was done, of a line.
fn take_line_change(from: &mut Take<'_>) -> Result<Option<EventChange>, Malformed> {
    let mut ahead = *from;
    if ahead.u8("change of an event")? == PASSED {
        *from = ahead;
        return Ok(None);
    }
    take_change(from).map(Some)
}

/// The lines of the windows that count more or less of what an earlier one owes since an event.
pub(crate) fn digest_passed(
    (seq, serial, at): (Seq, u32, Millis),
    event: &Event,
    effects: &[Effect],
    ops: &mut Vec<ProjectionOp>,
) {
    for effect in effects {
        let Effect::Restated(restated) = effect else { continue };
        let (before, after) = match restated.passed {
            None | Some(Delta::More(0) | Delta::Less(0)) => continue,
            Some(Delta::More(units)) => (0, units),
            Some(Delta::Less(units)) => (units, 0),
        };
        let mut line = Vec::new();
        line.put_millis(at);
        line.push(PASSED);
        line.put_str(&event.state.name);
        line.put_millis(event.state.occurred_at);
        line.put_u64(before);
        line.put_u64(after);
        line.push(1);
        line.put_str(&event.reason);
        let closed = &restated.closed;
        let window = usage_key(serial, closed.feature, closed.limit, closed.window.start());
        let key = [window.as_slice(), &seq.0.to_be_bytes()].concat();
        ops.push(ProjectionOp::Put { table: Table::Adjustments, key, value: line });
    }
}

/// The row of a window that was restated after it had closed.
pub(crate) fn digest_restated(serial: u32, restated: &Restated, ops: &mut Vec<ProjectionOp>) {
    let closed = &restated.closed;
    let key = usage_key(serial, closed.feature, closed.limit, closed.window.start());
    let value = restated_row(restated);
    ops.push(ProjectionOp::Put { table: Table::Usage, key, value });
}

/// The row of a window that may have been restated after it had closed.
pub(crate) fn restated_row(restated: &Restated) -> Vec<u8> {
    let mut value = Vec::new();
    record::put_ledger(&mut value, &restated.closed);
    value.push(RESTATED);
    value.put_u64(restated.used);
    value.put_u64(restated.debt);
    if let Some(terms) = &restated.terms {
        record::closing::put_terms(&mut value, terms);
    }
    value
}

/// The key of an event's row.
pub(crate) fn event_key(serial: u32, key: EventKey, row: EventRow) -> Vec<u8> {
    let mut bytes = serial.to_be_bytes().to_vec();
    put_event_key(&mut bytes, key);
    bytes.push(match row {
        EventRow::Answer => 0,
        EventRow::State => 1,
    });
    bytes
}

fn day_key(at: Millis, serial: u32, key: EventKey) -> Vec<u8> {
    let mut bytes = day_prefix(at);
    bytes.extend_from_slice(&serial.to_be_bytes());
    put_event_key(&mut bytes, key);
    bytes
}

/// What the keys of the rows of a day begin with.
pub(crate) fn day_prefix(at: Millis) -> Vec<u8> {
    let day = u32::try_from(at.0.div_euclid(DAY_MS).max(0)).unwrap_or(u32::MAX);
    let mut bytes = vec![BY_DAY];
    bytes.extend_from_slice(&day.to_be_bytes());
    bytes
}

/// The row keys that a row by day stands for, itself included; empty when it is none.
pub(crate) fn rows_of_day_key(key: &[u8]) -> Vec<Vec<u8>> {
    if measures::is_key(key) {
        return vec![key.to_vec()];
    }
    let Some(event) = key.get(5..25).filter(|_| key.len() == 25) else { return Vec::new() };
    vec![key.to_vec(), [event, &[0]].concat(), [event, &[1]].concat()]
}

/// What was done under a key, and by which record.
pub(crate) fn answer_row(value: &[u8]) -> Result<(Seq, Event), Malformed> {
    let mut from = Take::new(value);
    let (seq, mut event) = (Seq(from.fixed_u64("position")?), take_event(&mut from)?);
    event.charge = take_more(&mut from, &mut event.state)?;
    Ok((seq, event))
}

/// How an event stands.
pub(crate) fn state_row(value: &[u8]) -> Result<EventState, Malformed> {
    let mut from = Take::new(value);
    let mut state = take_state(&mut from)?;
    take_more(&mut from, &mut state)?;
    Ok(state)
}

/// One line of a window's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// When it came.
    pub at: Millis,
    /// What was done. `None`: an earlier window came to owe more or less by it, and this one counts that.
    pub change: Option<EventChange>,
    /// The idempotency key of the event.
    pub event: String,
    /// When the event happened.
    pub occurred_at: Millis,
    /// Units it counted in the window before; 0 when it is new. Of a largest and of a latest value what the window
    /// held. Of a window that counts what an earlier one owes, so many of those less.
    pub units_before: u64,
    /// The same since; 0 when it was withdrawn. Of a window that counts what is owed, so many more. The window's
    /// total changed by the difference, in lines that an earlier version wrote of sums alone.
    pub units: u64,
    /// Whether the window had left the memory: what it held at its close is shown beside its total.
    pub restated: bool,
    /// Why, in the client's words; may be empty.
    pub reason: String,
}

/// The line of a row.
pub fn adjustment_row(value: &[u8]) -> Result<Adjustment, Malformed> {
    let mut from = Take::new(value);
    Ok(Adjustment {
        at: from.millis("time")?,
        change: take_line_change(&mut from)?,
        event: from.str("event")?.to_owned(),
        occurred_at: from.millis("time of an event")?,
        units_before: from.u64("units")?,
        units: from.u64("units")?,
        restated: from.bool("restated window")?,
        reason: from.str("reason")?.to_owned(),
    })
}

/// The feature, the limit and the window's start that a line of the account's history is of.
pub fn adjustment_key(key: &[u8]) -> Option<(NameId, NameId, Millis)> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(key.get(at..at + 4)?.try_into().ok()?))
    };
    let start = i64::from_be_bytes(key.get(12..20)?.try_into().ok()?);
    Some((NameId(number(4)?), NameId(number(8)?), Millis(start ^ i64::MIN)))
}

/// What follows the ledger in a row of the usage history: what an allocation comes from, or what the
/// window holds since it was restated.
pub(crate) const STOCK: u8 = 1;
const RESTATED: u8 = 2;
/// What the window was measured by. Behind the other two it follows without a word.
pub(crate) const TERMS: u8 = 3;

/// A row of the usage history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The window, as it was when it closed and as it is.
    pub window: Restated,
    /// Of an allocation: what its units come from.
    pub stock: Option<Stock>,
}

/// The window of a row of the usage history.
pub fn usage_row(value: &[u8]) -> Result<UsageRow, Malformed> {
    let mut from = Take::new(value);
    let closed = record::take_ledger(&mut from)?;
    let mut row = UsageRow { window: Restated::as_closed(closed, None), stock: None };
    if from.is_done() {
        return Ok(row);
    }
    match from.u8("kind of a row")? {
        STOCK => row.stock = Some(record::take_stock(&mut from)?),
        RESTATED => {
            (row.window.used, row.window.debt) =
                (from.u64("restated units")?, from.u64("restated debt")?);
        }
        TERMS => {}
        _ => return Err(Malformed { what: "kind of a row" }),
    }
    if !from.is_done() {
        row.window.terms = Some(record::closing::take_terms(&mut from)?);
    }
    Ok(row)
}
