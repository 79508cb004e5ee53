//! Corrections: an event counts something else from now on.

use headroom_core::account::Account;
use headroom_core::catalog::{Catalog, FeatureIx};
use headroom_core::decide::{self, Context, Past};
use headroom_core::event::{EventChange, EventState, EventSubject};
use headroom_core::names::NameId;
use headroom_core::subject::SubjectPath;
use headroom_core::tally::{self, Labels, UnitsMoved};
use headroom_core::time::Millis;

use super::{CORRECT, CorrectRequest, Decided, LateError, Seen, Write};
use crate::engine::{Engine, EngineError, Reply};
use crate::keys::{KeyHash, Receipt, hash_key, hash_payload};

/// The operations' numbers of writes that can be corrected by a remembered key.
const CONSUME: u8 = 1;
const RECORD: u8 = 3;
/// The same of writes for a subject.
const CONSUME_FOR: u8 = 32;
const RECORD_FOR: u8 = 34;

impl Engine {
    /// Corrects an event: it counts something else from now on, in the windows it was counted in.
    ///
    /// # Errors
    /// [`LateError::Behind`] when what was seen on disk is too old: look again.
    pub fn correct(
        &self,
        catalog: &Catalog,
        rq: &CorrectRequest<'_>,
        seen: &Seen,
    ) -> Result<Box<Reply>, LateError> {
        let feature = catalog.feature_named(rq.feature);
        let event = hash_key(&self.secret, rq.event);
        let units = rq.units.unwrap_or(0);
        let path_hash = self.path_hash(rq.subject);
        let id = crate::engine::feature_id(catalog, feature, rq.feature);
        let write = Write {
            key: hash_key(&self.secret, rq.key),
            payload: hash_payload(CORRECT, id, [event.0[0], event.0[1], units]) ^ path_hash,
            subject: rq.subject,
            reason: rq.reason,
            now: rq.now,
            wants: rq.wants,
        };
        let Some(mut slot) = self.accounts.get_mut(rq.account) else {
            return Err(LateError::UnknownEvent);
        };
        self.keys.advance(slot.account.not_before(rq.now));
        let entry = self.remembered(&slot, event);
        let written = entry.map(|entry| entry.seq).filter(|_| feature.is_some());
        let remembered =
            entry.and_then(|entry| Some((entry.receipt.clone(), self.keys.instant(entry)?)));
        let pending = self.late.pending();
        let mut events = pending.events(slot.account.serial);
        let known = events.find(|(_, known)| known.state.key == event.0);
        let known = known.map(|(_, known)| known.state.clone()).or_else(|| seen.state.clone());
        drop(events);
        drop(pending);
        let bookings = known.iter().filter_map(|state| state.subject.as_ref());
        let mut numbers = bookings.flat_map(|subject| &subject.bookings).map(|(id, _)| id);
        let is_seen = |id| seen.levels.iter().any(|level| level.numbers.contains(id));
        if !numbers.all(is_seen) || known.is_none() && written.is_some() && seen.written != written
        {
            // It came just now, after the disk was looked at: look for its windows, too.
            return Err(LateError::Behind { until: seen.position });
        }
        self.late_write(catalog, &mut slot, &write, seen, |cx, account, past, effects| {
            if let Some(feature) = feature {
                decide::is_correctable(catalog, feature).map_err(EngineError::from)?;
            }
            let is_plain = known.is_none();
            let mut state = match (known, remembered) {
                (Some(state), _) => state,
                (None, Some(written)) => {
                    let of = (event, path_hash, id);
                    plain(cx, account, (rq, feature), (of, written), past)?
                }
                (None, None) => return Err(LateError::UnknownEvent),
            };
            if state.feature != id || rq.original_units.is_some_and(|u| u != state.units) {
                let feature = cx.catalog.feature_text(state.feature);
                let what = format!("the event counts {} units of {feature}", state.units);
                return Err(LateError::Differs { field: "original_units", what });
            }
            let counted_for = state.subject.as_ref().map_or(0, |subject| subject.path_hash);
            if counted_for != path_hash {
                return Err(of_another(counted_for, rq));
            }
            let labels = rq.dimensions.labels(cx.catalog, feature)?;
            if is_plain {
                state.labels = labels;
            } else if !labels.is_empty() && labels != state.labels {
                let what = "the event was counted with other dimensions".to_owned();
                return Err(LateError::Differs { field: "dimensions", what });
            }
            let oldest = cx.now.plus(-rq.restate_ms);
            if state.occurred_at < oldest {
                return Err(LateError::TooOld { occurred_at: state.occurred_at, oldest });
            }
            let booked = decide::correct(cx, account, (&state, rq.subject), units, past, effects)
                .map_err(EngineError::from)?;
            tally::label(account, &state.labels, effects, UnitsMoved::MoreOrLess);
            let change = match rq.units {
                Some(_) => EventChange::Amended,
                None => EventChange::Withdrawn,
            };
            let before = state.units;
            let mut state = EventState { units, ..state };
            state.bookings.clone_from(&booked.bookings);
            state.paid.clone_from(&booked.paid);
            if let Some(subject) = &mut state.subject {
                subject.bookings.clone_from(&booked.levels);
            }
            Ok(Decided::Event { change, before, state, booked: Box::new(booked) })
        })
    }
}

/// A write that was counted as it came, as an event: what it asked for must be said again.
fn plain(
    cx: Context<'_>,
    account: &Account,
    (rq, feature): (&CorrectRequest<'_>, Option<FeatureIx>),
    ((event, path_hash, id), (receipt, at)): ((KeyHash, u64, NameId), (Receipt, Millis)),
    past: Past<'_>,
) -> Result<EventState, LateError> {
    let original = rq.original_units.unwrap_or_default();
    let is_it = |operation| {
        let asked = hash_payload(operation, id, [original, 0, path_hash]);
        receipt.payload == rq.dimensions.fingerprint() ^ asked
    };
    let operations = match rq.subject {
        None => [CONSUME, RECORD],
        Some(_) => [CONSUME_FOR, RECORD_FOR],
    };
    let Some(feature) = feature.filter(|_| operations.into_iter().any(is_it)) else {
        return Err(not_it(cx.catalog, receipt.feature, rq));
    };
    let charge = receipt.done.as_ref().and_then(|done| done.charge.as_ref());
    let paid = charge
        .map(|charge| Box::new(decide::paid_then(cx, account, feature, original, (charge, at))));
    let of = (feature, rq.subject);
    let (bookings, levels) =
        decide::bookings_at(cx, account, of, at, past).map_err(EngineError::from)?;
    let subject = EventSubject { path_hash, bookings: levels };
    Ok(EventState {
        key: event.0,
        name: rq.event.to_owned(),
        feature: id,
        occurred_at: at,
        units: original,
        bookings,
        labels: Labels::default(),
        paid,
        subject: rq.subject.map(|_| Box::new(subject)),
    })
}

fn not_it(catalog: &Catalog, counted: NameId, rq: &CorrectRequest<'_>) -> LateError {
    let what = match rq.original_units {
        None => {
            "original_units is missing: nothing keeps the units of a write that was counted as it \
                 came, so the correction must say them"
                .to_owned()
        }
        Some(units) => {
            let of = if counted == Receipt::NO_LIMIT { "?" } else { catalog.feature_text(counted) };
            format!(
                "the write of this key was of {of}, and no Consume or Record of {units} units of {} \
                 for {}: units, dimensions and subject are those of the write",
                rq.feature,
                rq.subject.map_or("the account alone", SubjectPath::as_str),
            )
        }
    };
    LateError::Differs { field: "original_units", what }
}

fn of_another(counted_for: u64, rq: &CorrectRequest<'_>) -> LateError {
    let what = match rq.subject {
        None => "is missing: the event was counted for a subject, so say for which".to_owned(),
        Some(_) if counted_for == 0 => {
            "was not said with the event, which was counted for the account alone".to_owned()
        }
        Some(path) => format!("is {}, and the event was counted for another", path.as_str()),
    };
    LateError::Differs { field: "subject", what }
}
