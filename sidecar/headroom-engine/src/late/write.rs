//! The road of a late write, under the account's lock.

use std::panic::{AssertUnwindSafe, catch_unwind};

use headroom_core::account::Account;
use headroom_core::catalog::Catalog;
use headroom_core::decide::{self, Context, LevelPast, Past};
use headroom_core::decision::{Amounts, Outcome};
use headroom_core::effect::{Effect, Effects};
use headroom_core::event::{Booking, Counts, Event};
use headroom_core::names::NameId;
use headroom_core::subject::{SubjectId, SubjectPath};

use super::{Decided, LateError, LateReply, RestatedWindow, Seen, Write};
use crate::engine::{DecisionId, Engine, EngineError, Slot};
use crate::ports::Seq;
use crate::read::as_of;
use crate::record;
use crate::subjects::add_others;

impl Engine {
    /// The road of a late write, under the account's lock.
    pub(super) fn late_write(
        &self,
        catalog: &Catalog,
        slot: &mut Slot,
        write: &Write<'_>,
        seen: &Seen,
        decide: impl FnOnce(Context<'_>, &Account, Past<'_>, &mut Effects) -> Result<Decided, LateError>,
    ) -> Result<LateReply, LateError> {
        let now = match write.subject {
            None => slot.account.not_before(write.now),
            Some(subject) => decide::not_before(&slot.account, subject, write.now),
        };
        let cx = Context { catalog, now };
        self.keys.advance(cx.now);
        let serial = slot.account.serial;
        if let Some((seq, event)) = self.known_answer(slot, write, seen)? {
            if event.payload != write.payload {
                return Err(EngineError::KeyReused.into());
            }
            let account = as_of(cx, &slot.account);
            return Ok(self.late_reply(cx, &account, seq, &event, (write, true))?);
        }
        // Before anything is refused: what is not seen may have been answered.
        self.late.is_up_to_date(serial, seen)?;
        self.store.room().map_err(EngineError::from)?;
        let (mut effects, mut bytes) = (Effects::new(), Vec::new());
        self.settle(cx, slot, &mut effects, &mut bytes);
        effects.clear();
        // That may have let windows leave the memory.
        self.late.is_up_to_date(serial, seen)?;
        let account = &slot.account;
        let pending = self.late.pending();
        let own = pending.past(serial, &seen.past);
        let levels = seen.levels.iter().map(|level| level.with_pending(account, &pending));
        let levels: Vec<LevelPast> = levels.collect();
        let of = |of| pending.measures(serial, of, &seen.measures);
        let measures = seen.measured.map(of);
        let measures = measures.unwrap_or_default();
        drop(pending);
        let past = Past { own: &own, levels: &levels, measures: &measures };
        let decided = || decide(cx, account, past, &mut effects);
        let decided = match catch_unwind(AssertUnwindSafe(decided)) {
            Ok(decided) => decided?,
            Err(_) => return Err(self.halt(slot).into()),
        };
        let (change, before, state, booked) = match decided {
            Decided::Refused(outcome) => {
                let reply = self.passing(cx, &slot.account, *outcome, write.wants);
                return Ok(LateReply { reply, windows: Vec::new() });
            }
            Decided::Event { change, before, state, booked } => (change, before, state, booked),
        };
        let event = Event {
            key: write.key.0,
            payload: write.payload,
            change,
            units_before: before,
            debt_units: booked.debt_units,
            reason: write.reason.to_owned(),
            charge: booked.charge,
            state: *state,
        };
        effects.push(Effect::Event(Box::new(event.clone())));
        bytes.clear();
        record::put_noted(&mut bytes, serial, cx.now, &effects);
        let seq = self.store.append(&bytes, true);
        // The rest of what it lets go is pending.
        if effects.iter().any(|effect| matches!(effect, Effect::SubjectForgotten(_))) {
            self.late.note_forgotten(serial, seq);
        }
        self.apply(slot, seq, &effects);
        if let Some(entry) = self.keys.entry_of_event(&event, seq, cx.now) {
            let generation = entry.generation;
            if slot.keys.get_or_insert_default().insert(entry, self.keys.oldest()) {
                self.keys.add(generation);
            }
        }
        self.late.pending().put(serial, seq, effects);
        Ok(self.late_reply(cx, &slot.account, seq, &event, (write, false))?)
    }

    /// What was answered under the key before.
    fn known_answer(
        &self,
        slot: &Slot,
        write: &Write<'_>,
        seen: &Seen,
    ) -> Result<Option<(Seq, Event)>, LateError> {
        if self.remembered(slot, write.key).is_some() {
            // It was the key of a write that was counted as it came.
            return Err(EngineError::KeyReused.into());
        }
        let pending = self.late.pending();
        let mut events = pending.events(slot.account.serial);
        let recent = events.find(|(_, known)| known.key == write.key.0);
        Ok(recent.map(|(seq, known)| (seq, known.clone())).or_else(|| seen.answer.clone()))
    }

    fn late_reply(
        &self,
        cx: Context<'_>,
        account: &Account,
        seq: Seq,
        event: &Event,
        (write, replayed): (&Write<'_>, bool),
    ) -> Result<LateReply, EngineError> {
        let feature = cx.catalog.feature_of(event.state.feature);
        let standing =
            feature.map(|feature| decide::standing(cx, account, (feature, write.subject)));
        let mut decision = match standing {
            Some(Ok(decision)) => decision,
            // The feature left the catalog, or changed its kind; what was counted stays.
            Some(Err(_)) | None => decide::left(cx, account, event.state.feature),
        };
        if let Some(charge) = &event.charge {
            decision.set_charge((**charge).clone());
        }
        let amounts = Amounts {
            units: event.state.units,
            debt_units: event.debt_units,
            ..Amounts::default()
        };
        let mut reply = self.passing(cx, account, Outcome { decision, amounts }, write.wants);
        if let Some(subject) = write.subject {
            add_others(cx, account, feature, (subject, write.wants), &mut reply);
        }
        reply.decision_id = DecisionId::Written(seq);
        reply.wait_for = Some(seq);
        reply.replayed = replayed;
        Ok(LateReply { reply, windows: windows(cx.catalog, account, event, write.subject) })
    }
}

/// Where an event counts, and what a write changed there. It is read off the event as it was journaled, so that a
/// replay says the same.
fn windows(
    catalog: &Catalog,
    account: &Account,
    event: &Event,
    path: Option<SubjectPath<'_>>,
) -> Vec<RestatedWindow> {
    let state = &event.state;
    let of_event = Counts { before: event.units_before, after: state.units };
    let window = |booking: &Booking, subject: Option<String>| RestatedWindow {
        limit: booking.limit,
        subject,
        start: booking.window_start,
        end: booking.window_end,
        counts: booking.counts.unwrap_or(of_event),
        after_close: booking.restated,
    };
    let levels = state.subject.iter().flat_map(|subject| &subject.bookings);
    let of_levels = levels.map(|(id, booking)| {
        let of = (state.feature, booking.limit);
        window(booking, level_name(catalog, account, *id, of, path))
    });
    let own = state.bookings.iter().map(|booking| window(booking, None));
    own.chain(of_levels).collect()
}

/// The name of a level that an event was counted at. It is not kept with the event, so it is found in the path that
/// the request names: the one that was counted for.
fn level_name(
    catalog: &Catalog,
    account: &Account,
    id: SubjectId,
    (feature, limit): (NameId, NameId),
    path: Option<SubjectPath<'_>>,
) -> Option<String> {
    let mut levels =
        catalog.feature_of(feature).into_iter().flat_map(|ix| &catalog.feature(ix).levels);
    let kind = levels.find(|level| level.limit == limit).map(|level| catalog.text(level.per));
    let of_kind = path.and_then(|path| path.levels().find(|(of, _)| Some(*of) == kind));
    // The limit has left the catalog: a number that is in memory has a name. Of one whose name was erased nobody is
    // told which it is.
    let in_memory = || {
        let subject = account.subjects()?.get(id).filter(|subject| !subject.is_erased())?;
        Some(&*subject.name)
    };
    let name = of_kind.map(|(_, name)| name).or_else(in_memory);
    name.or(path.map(SubjectPath::as_str)).map(str::to_owned)
}
