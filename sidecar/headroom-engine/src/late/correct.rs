//! Corrections: an event counts something else from now on.

use headroom_core::catalog::Catalog;
use headroom_core::decide;
use headroom_core::event::{EventChange, EventState};
use headroom_core::tally::{self, UnitsMoved};

use super::written::{Said, as_event, event_keys};
use super::{CORRECT, CorrectRequest, Decided, LateError, LateReply, Seen, Write};
use crate::engine::{Engine, EngineError};
use crate::keys::{hash_key, hash_payload};

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
    ) -> Result<LateReply, LateError> {
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
        let keys = event_keys(event, id);
        let known = events.find(|(_, known)| keys.contains(&known.state.key));
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
                    let said = Said { rq, event, id, path_hash };
                    as_event(cx, account, (said, feature), (&written.0, written.1), past)?
                }
                (None, None) => return Err(LateError::UnknownEvent),
            };
            let of = cx.catalog.feature_text(state.feature);
            if state.feature != id {
                let what = format!("the event of this key is of {of}");
                return Err(LateError::Differs { field: "feature", what });
            }
            if rq.original_units.is_some_and(|units| units != state.units) {
                let what = format!("the event counts {} units of {of}", state.units);
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
            let (state, booked) = (Box::new(state), Box::new(booked));
            Ok(Decided::Event { change, before, state, booked })
        })
    }
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
