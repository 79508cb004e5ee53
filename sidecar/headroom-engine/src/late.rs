//! Events with a time of their own, and corrections: the road of what happened earlier.
//!
//! Their keys, and the windows that have left the memory, are on disk. A decision never waits for
//! that: whoever asks first looks there ([`Engine::look_late`], [`Engine::look_correct`]), and then
//! decides under the account's lock with what was [`Seen`]. The projection trails the journal, so what
//! it does not know yet is remembered here until it does; and when what was seen is too old all the
//! same, the answer is [`LateError::Behind`]: look again.
//!
//! Invariant: each event and restated window that a decision has made is in what is pending, or the
//! projection knows it at `Pending::dropped` already.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use headroom_core::account::Account;
use headroom_core::catalog::{Catalog, FeatureIx, FeatureKind};
use headroom_core::decide::{self, Booked, Context, FeatureOp};
use headroom_core::decision::{Amounts, Denial, OpError, Outcome};
use headroom_core::effect::{Effect, Effects};
use headroom_core::event::{Event, EventChange, EventState, Restated};
use headroom_core::names::NameId;
use headroom_core::tally::{self, Labels, UnitsMoved};
use headroom_core::time::Millis;

use crate::codec::Malformed;
use crate::digest::{after_prefix, usage_key, usage_prefix};
use crate::dimensions::Dimensions;
use crate::engine::{DecisionId, Engine, EngineError, Reply, Slot, Wants};
use crate::events::{self, EventRow};
use crate::keys::{KeyEntry, KeyHash, Receipt, hash_key, hash_payload};
use crate::limits;
use crate::ports::{Archive, ArchiveError, Seq, Table, rows};
use crate::read::as_of;
use crate::record;

/// Stripes of accounts that share the note of their last closed window.
const STRIPES: usize = 1024;

/// The operations' numbers in payload hashes.
const RECORD_AT: u8 = 40;
const CORRECT: u8 = 41;
/// Those of writes that can be corrected by a remembered key.
const CONSUME: u8 = 1;
const RECORD: u8 = 3;

/// A report of usage that happened at a time of its own.
#[derive(Debug, Clone, Copy)]
pub struct LateRequest<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature's name.
    pub feature: &'a str,
    /// Units used.
    pub units: u64,
    /// When. A future instant counts as now.
    pub occurred_at: Millis,
    /// The idempotency key.
    pub key: &'a str,
    /// What its usage is told apart by.
    pub dimensions: Dimensions<'a>,
    /// How far back windows can be restated, in milliseconds.
    pub restate_ms: i64,
    /// The one clock reading of the request.
    pub now: Millis,
    /// Parts that cost something.
    pub wants: Wants,
}

/// A correction of an event.
#[derive(Debug, Clone, Copy)]
pub struct CorrectRequest<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature's name.
    pub feature: &'a str,
    /// The idempotency key of the event.
    pub event: &'a str,
    /// What it is to count. `None`: nothing; it is withdrawn.
    pub units: Option<u64>,
    /// What it counts, as far as the client knows.
    pub original_units: Option<u64>,
    /// Why, in the client's words.
    pub reason: &'a str,
    /// The idempotency key of the correction.
    pub key: &'a str,
    /// What its usage is told apart by.
    pub dimensions: Dimensions<'a>,
    /// How far back windows can be restated, in milliseconds.
    pub restate_ms: i64,
    /// The one clock reading of the request.
    pub now: Millis,
    /// Parts that cost something.
    pub wants: Wants,
}

/// What the disk said, before the account is locked.
#[derive(Debug, Default)]
pub struct Seen {
    // What the projection had applied before anything was read.
    position: Seq,
    answer: Option<(Seq, Event)>,
    state: Option<EventState>,
    past: Vec<Restated>,
}

/// Why a late event or a correction has no answer. Nothing was counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LateError {
    /// As for every write.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What was seen on disk is older than what memory has let go: look again when the projection has
    /// come to this record.
    #[error("the projection has not come to record {until} yet")]
    Behind {
        /// The record.
        until: Seq,
    },
    /// The window that the event lies in cannot be restated any more.
    #[error("the event is of {occurred_at}, and windows are restated back to {oldest}")]
    TooOld {
        /// When it happened.
        occurred_at: Millis,
        /// The oldest instant that can be.
        oldest: Millis,
    },
    /// No event of this key is known.
    #[error(
        "no event of this key is known (any more): a Consume or Record is as long as its key is \
             remembered, a Record with occurred_at as long as its window can be restated"
    )]
    UnknownEvent,
    /// What is to be corrected is something else.
    #[error("{what}")]
    Differs {
        /// In what.
        what: String,
    },
}

/// Effects of one account that the projection may not know yet, newest last.
#[derive(Debug, Default)]
struct Pending {
    by_serial: HashMap<u32, VecDeque<(Seq, Vec<Effect>)>>,
    order: VecDeque<(Seq, u32)>,
    // What is at or below was let go.
    dropped: Seq,
}

/// What late events need besides accounts.
#[derive(Debug)]
pub(crate) struct LateBook {
    // Locked after an account's lock, never before.
    pending: Mutex<Pending>,
    closings: Box<[AtomicU64]>,
    // What was journaled before the start: nothing of it is pending.
    floor: Seq,
}

impl LateBook {
    pub(crate) fn new(floor: Seq) -> LateBook {
        LateBook {
            pending: Mutex::default(),
            closings: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            floor,
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(|held| held.into_inner())
    }

    /// Notes a window that has left the memory: what the disk says is too old until it knows.
    pub(crate) fn note_closings(&self, serial: u32, seq: Seq, effects: &[Effect]) {
        if effects.iter().any(|effect| matches!(effect, Effect::LedgerClosed(..))) {
            self.closings[serial as usize % STRIPES].store(seq.0, Ordering::Relaxed);
        }
    }

    fn closed_last(&self, serial: u32) -> Seq {
        Seq(self.closings[serial as usize % STRIPES].load(Ordering::Relaxed))
    }
}

impl Pending {
    fn let_go(&mut self, position: Seq) {
        while let Some((seq, serial)) = self.order.front().copied().filter(|(s, _)| *s <= position)
        {
            self.order.pop_front();
            if let Some(of_account) = self.by_serial.get_mut(&serial) {
                of_account.retain(|(known, _)| *known != seq);
                if of_account.is_empty() {
                    self.by_serial.remove(&serial);
                }
            }
            self.dropped = self.dropped.max(seq);
        }
    }

    fn put(&mut self, serial: u32, seq: Seq, effects: Vec<Effect>) {
        self.order.push_back((seq, serial));
        self.by_serial.entry(serial).or_default().push_back((seq, effects));
    }

    /// Effects of an account, newest first.
    fn of(&self, serial: u32) -> impl Iterator<Item = (Seq, &Effect)> {
        let all = self.by_serial.get(&serial).into_iter().flatten().rev();
        all.flat_map(|(seq, effects)| effects.iter().rev().map(|effect| (*seq, effect)))
    }

    fn events(&self, serial: u32) -> impl Iterator<Item = (Seq, &Event)> {
        self.of(serial).filter_map(|(seq, effect)| match effect {
            Effect::Event(event) => Some((seq, &**event)),
            _ => None,
        })
    }

    /// The windows that have left the memory, as they are now.
    fn past(&self, serial: u32, seen: &[Restated]) -> Vec<Restated> {
        let recent = self.of(serial).filter_map(|(_, effect)| match effect {
            Effect::Restated(restated) => Some(**restated),
            Effect::LedgerClosed(closed, terms) => {
                Some(Restated::as_closed(*closed, terms.as_deref().copied()))
            }
            _ => None,
        });
        let mut past: Vec<Restated> = Vec::new();
        for one in recent.chain(seen.iter().copied()) {
            let of = |l: &Restated| (l.closed.feature, l.closed.limit, l.closed.window.start());
            if !past.iter().any(|known| of(known) == of(&one)) {
                past.push(one);
            }
        }
        past
    }
}

/// A write of this road, as its key knows it.
struct Write<'a> {
    key: KeyHash,
    payload: u64,
    reason: &'a str,
    now: Millis,
    wants: Wants,
}

fn unreadable(error: Malformed) -> ArchiveError {
    ArchiveError { reason: error.to_string() }
}

impl Engine {
    /// Looks for what a late event must know from the disk.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn look_late(
        &self,
        catalog: &Catalog,
        archive: &dyn Archive,
        rq: &LateRequest<'_>,
    ) -> Result<Seen, ArchiveError> {
        let mut seen = Seen { position: archive.position(), ..Seen::default() };
        let Some(serial) = self.accounts.get(rq.account).map(|slot| slot.account.serial) else {
            return Ok(seen);
        };
        seen.answer = answer(archive, serial, hash_key(&self.secret, rq.key))?;
        let Some(feature) = catalog.feature_named(rq.feature) else { return Ok(seen) };
        let at = rq.occurred_at.min(rq.now);
        let without = self.limits_without(catalog, rq.account, feature, at);
        let Some((_, limits)) = without else { return Ok(seen) };
        let feature = catalog.feature(feature).id;
        for limit in limits {
            around(archive, (serial, feature, limit), at, &mut seen.past)?;
        }
        self.later(catalog, archive, (serial, feature), at, &mut seen.past)?;
        Ok(seen)
    }

    /// Looks for what a correction must know from the disk.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn look_correct(
        &self,
        catalog: &Catalog,
        archive: &dyn Archive,
        rq: &CorrectRequest<'_>,
    ) -> Result<Seen, ArchiveError> {
        let mut seen = Seen { position: archive.position(), ..Seen::default() };
        let event = hash_key(&self.secret, rq.event);
        let Some(serial) = self.accounts.get(rq.account).map(|slot| slot.account.serial) else {
            return Ok(seen);
        };
        seen.answer = answer(archive, serial, hash_key(&self.secret, rq.key))?;
        let pending = self.late.pending();
        let known = pending.events(serial).find(|(_, known)| known.state.key == event.0);
        let mut state = known.map(|(_, known)| known.state.clone());
        drop(pending);
        if state.is_none() {
            let row = row(archive, &events::event_key(serial, event.0, EventRow::State))?;
            state = row.map(|row| events::state_row(&row)).transpose().map_err(unreadable)?;
        }
        if let Some(state) = &state {
            for booking in &state.bookings {
                let of = (serial, state.feature, booking.limit);
                before(archive, of, booking.window_start, &mut seen.past)?;
            }
            let first = state.bookings.iter().map(|booking| booking.window_start).min();
            let at = first.unwrap_or(state.occurred_at);
            self.later(catalog, archive, (serial, state.feature), at, &mut seen.past)?;
        } else if let Some(feature) = catalog.feature_named(rq.feature)
            && let Some(at) = self.remembered_at(rq.account, event)
            && let Some((_, limits)) = self.limits_without(catalog, rq.account, feature, at)
        {
            let feature = catalog.feature(feature).id;
            for limit in limits {
                before(archive, (serial, feature, limit), at, &mut seen.past)?;
            }
            self.later(catalog, archive, (serial, feature), at, &mut seen.past)?;
        }
        seen.state = state;
        Ok(seen)
    }

    /// The windows after an instant, of limits that carry debt: they may have taken over what is owed
    /// by one before.
    fn later(
        &self,
        catalog: &Catalog,
        archive: &dyn Archive,
        (serial, feature): (u32, NameId),
        at: Millis,
        past: &mut Vec<Restated>,
    ) -> Result<(), ArchiveError> {
        let Some(shape) = catalog.feature_of(feature).map(|ix| catalog.feature(ix)) else {
            return Ok(());
        };
        let FeatureKind::Quota { limits: all } = &shape.kind else { return Ok(()) };
        for (limit, _) in all.iter().filter(|(limit, _)| catalog.carries(feature, *limit)) {
            let from = usage_key(serial, feature, *limit, at.plus(1));
            let to = after_prefix(&limit_prefix(serial, feature, *limit));
            // As many as there are: back to where windows are restated, and none is shorter than a day.
            for row in rows(archive, Table::Usage, from, to, limits::TALLY_ROWS_AT_ONCE) {
                past.push(events::usage_row(&row?.1).map_err(unreadable)?.window);
            }
        }
        Ok(())
    }

    fn remembered<'a>(&self, slot: &'a Slot, key: KeyHash) -> Option<&'a KeyEntry> {
        let entry = slot.keys.as_ref()?.find(key)?;
        (entry.generation >= self.keys.oldest()).then_some(entry)
    }

    fn remembered_at(&self, account: &str, key: KeyHash) -> Option<Millis> {
        let slot = self.accounts.get(account)?;
        self.keys.instant(self.remembered(&slot, key)?)
    }

    /// The number of an account, and the limits of a feature that have no window in memory at an
    /// instant.
    fn limits_without(
        &self,
        catalog: &Catalog,
        account: &str,
        feature: FeatureIx,
        at: Millis,
    ) -> Option<(u32, Vec<NameId>)> {
        let slot = self.accounts.get(account)?;
        let feature = catalog.feature(feature);
        let mut without = Vec::new();
        if let FeatureKind::Quota { limits } = &feature.kind {
            let gone = |limit: &NameId| slot.account.ledger_at(feature.id, *limit, at).is_none();
            without.extend(limits.iter().map(|(limit, _)| *limit).filter(gone));
        }
        Some((slot.account.serial, without))
    }

    /// Counts usage that happened at a time of its own, in the windows of that time.
    ///
    /// # Errors
    /// [`LateError::Behind`] when what was seen on disk is too old: look again.
    pub fn record_at(
        &self,
        catalog: &Catalog,
        rq: &LateRequest<'_>,
        seen: &Seen,
    ) -> Result<Box<Reply>, LateError> {
        let cx = Context { catalog, now: rq.now };
        let feature = catalog.feature_named(rq.feature);
        let write = Write {
            key: hash_key(&self.secret, rq.key),
            payload: hash_payload(
                RECORD_AT,
                crate::engine::feature_id(catalog, feature, rq.feature),
                [rq.units, rq.occurred_at.0.cast_unsigned(), 0],
            ) ^ rq.dimensions.fingerprint(),
            reason: "",
            now: rq.now,
            wants: rq.wants,
        };
        let done = self.with_slot(rq.account, cx, |slot| {
            let Some(slot) = slot else {
                return Ok(Ok(self.stranger_refused(cx, None, Denial::UnknownAccount)));
            };
            Ok(self.late_write(catalog, slot, &write, seen, |cx, account, past, effects| {
                let oldest = cx.now.plus(-rq.restate_ms);
                let occurred_at = rq.occurred_at.min(cx.now);
                if occurred_at < oldest {
                    return Err(LateError::TooOld { occurred_at, oldest });
                }
                let Some(feature) = feature else {
                    let op = FeatureOp::Record { units: rq.units };
                    let refused = decide::decide_feature(cx, account, None, op, effects);
                    return Ok(Decided::Refused(Box::new(refused.map_err(EngineError::from)?)));
                };
                let mut units = rq.units;
                if catalog.feature(feature).unique_by().is_some() {
                    let value = rq.dimensions.value(catalog, feature)?;
                    let value = value.ok_or(OpError::NoValue).map_err(EngineError::from)?;
                    units = self.hash_value(value);
                }
                let booked =
                    decide::record_at(cx, account, feature, (occurred_at, units), past, effects)
                        .map_err(EngineError::from)?;
                let labels = rq.dimensions.labels(catalog, Some(feature))?;
                tally::label(account, &labels, effects, UnitsMoved::MoreOrLess);
                let state = EventState {
                    key: write.key.0,
                    name: rq.key.to_owned(),
                    feature: catalog.feature(feature).id,
                    occurred_at,
                    units: rq.units,
                    bookings: booked.bookings.clone(),
                    labels,
                    paid: booked.paid.clone(),
                };
                Ok(Decided::Event { change: EventChange::Recorded, before: 0, state, booked })
            }))
        });
        done?
    }

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
        let marked = rq.dimensions.fingerprint();
        let id = crate::engine::feature_id(catalog, feature, rq.feature);
        let write = Write {
            key: hash_key(&self.secret, rq.key),
            payload: hash_payload(CORRECT, id, [event.0[0], event.0[1], units]),
            reason: rq.reason,
            now: rq.now,
            wants: rq.wants,
        };
        let Some(mut slot) = self.accounts.get_mut(rq.account) else {
            return Err(LateError::UnknownEvent);
        };
        self.keys.advance(slot.account.not_before(rq.now));
        let remembered = self
            .remembered(&slot, event)
            .and_then(|entry| Some((entry.receipt.clone(), self.keys.instant(entry)?)));
        let pending = self.late.pending();
        let mut events = pending.events(slot.account.serial);
        let known = events.find(|(_, known)| known.state.key == event.0);
        let known = known.map(|(_, known)| known.state.clone()).or_else(|| seen.state.clone());
        drop(events);
        drop(pending);
        self.late_write(catalog, &mut slot, &write, seen, |cx, account, past, effects| {
            if let Some(feature) = feature {
                decide::is_correctable(catalog, feature).map_err(EngineError::from)?;
            }
            let is_plain = known.is_none();
            let mut state = match (known, remembered) {
                (Some(state), _) => state,
                (None, Some((receipt, at))) => {
                    let original = rq.original_units.unwrap_or_default();
                    let is_it = |operation| {
                        receipt.payload == marked ^ hash_payload(operation, id, [original, 0, 0])
                    };
                    let Some(feature) = feature.filter(|_| is_it(CONSUME) || is_it(RECORD)) else {
                        return Err(not_it(cx.catalog, receipt.feature, rq));
                    };
                    let charge = receipt.done.as_ref().and_then(|done| done.charge.as_ref());
                    let paid = charge.map(|charge| {
                        Box::new(decide::paid_then(cx, account, feature, original, (charge, at)))
                    });
                    let bookings = decide::bookings_at(cx, account, feature, at, past);
                    EventState {
                        key: event.0,
                        name: rq.event.to_owned(),
                        feature: id,
                        occurred_at: at,
                        units: original,
                        bookings: bookings.map_err(EngineError::from)?,
                        labels: Labels::default(),
                        paid,
                    }
                }
                (None, None) => return Err(LateError::UnknownEvent),
            };
            if state.feature != id || rq.original_units.is_some_and(|u| u != state.units) {
                let feature = cx.catalog.feature_text(state.feature);
                let what = format!("the event counts {} units of {feature}", state.units);
                return Err(LateError::Differs { what });
            }
            let labels = rq.dimensions.labels(cx.catalog, feature)?;
            if is_plain {
                state.labels = labels;
            } else if !labels.is_empty() && labels != state.labels {
                let what = "the event was counted with other dimensions".to_owned();
                return Err(LateError::Differs { what });
            }
            let oldest = cx.now.plus(-rq.restate_ms);
            if state.occurred_at < oldest {
                return Err(LateError::TooOld { occurred_at: state.occurred_at, oldest });
            }
            let booked = decide::correct(cx, account, &state, units, past, effects)
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
            Ok(Decided::Event { change, before, state, booked })
        })
    }

    /// The road of a late write, under the account's lock.
    fn late_write(
        &self,
        catalog: &Catalog,
        slot: &mut Slot,
        write: &Write<'_>,
        seen: &Seen,
        decide: impl FnOnce(
            Context<'_>,
            &Account,
            &[Restated],
            &mut Effects,
        ) -> Result<Decided, LateError>,
    ) -> Result<Box<Reply>, LateError> {
        let cx = Context { catalog, now: slot.account.not_before(write.now) };
        self.keys.advance(cx.now);
        let serial = slot.account.serial;
        if let Some((seq, event)) = self.known_answer(slot, write, seen)? {
            if event.payload != write.payload {
                return Err(EngineError::KeyReused.into());
            }
            let account = as_of(cx, &slot.account);
            return Ok(self.late_reply(cx, &account, seq, &event, (write.wants, true))?);
        }
        // Before anything is refused: what is not seen may have been answered.
        self.is_up_to_date(serial, seen)?;
        self.store.room().map_err(EngineError::from)?;
        let (mut effects, mut bytes) = (Effects::new(), Vec::new());
        self.settle(cx, slot, &mut effects, &mut bytes);
        effects.clear();
        // That may have let windows leave the memory.
        self.is_up_to_date(serial, seen)?;
        let past = self.late.pending().past(serial, &seen.past);
        let account = &slot.account;
        let decided = || decide(cx, account, &past, &mut effects);
        let decided = match catch_unwind(AssertUnwindSafe(decided)) {
            Ok(decided) => decided?,
            Err(_) => return Err(self.halt(slot).into()),
        };
        let (change, before, state, booked) = match decided {
            Decided::Refused(outcome) => {
                return Ok(self.passing(cx, &slot.account, *outcome, write.wants));
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
            state,
        };
        effects.push(Effect::Event(Box::new(event.clone())));
        bytes.clear();
        record::put_noted(&mut bytes, serial, cx.now, &effects);
        let seq = self.store.append(&bytes, true);
        self.apply(slot, seq, &effects);
        self.late.pending().put(serial, seq, effects);
        Ok(self.late_reply(cx, &slot.account, seq, &event, (write.wants, false))?)
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

    /// Whether all that the disk was not asked for is pending.
    fn is_up_to_date(&self, serial: u32, seen: &Seen) -> Result<(), LateError> {
        let mut pending = self.late.pending();
        pending.let_go(seen.position);
        let mut until = self.late.floor.max(self.late.closed_last(serial)).max(pending.dropped);
        if pending.order.len() >= limits::LATE_PENDING_MAX {
            until = until.max(pending.order.front().map_or(until, |(seq, _)| *seq));
        }
        if until <= seen.position { Ok(()) } else { Err(LateError::Behind { until }) }
    }

    fn late_reply(
        &self,
        cx: Context<'_>,
        account: &Account,
        seq: Seq,
        event: &Event,
        (wants, replayed): (Wants, bool),
    ) -> Result<Box<Reply>, EngineError> {
        let feature = cx.catalog.feature_of(event.state.feature);
        let standing = feature.map(|feature| decide::standing(cx, account, feature));
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
        let mut reply = self.passing(cx, account, Outcome { decision, amounts }, wants);
        reply.decision_id = DecisionId::Written(seq);
        reply.wait_for = Some(seq);
        reply.replayed = replayed;
        Ok(reply)
    }

    /// Forgets the events whose windows cannot be restated any more, so many days at a time. Returns
    /// how many were.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn forget_events(
        &self,
        archive: &dyn Archive,
        now: Millis,
        restate_ms: i64,
    ) -> Result<usize, ArchiveError> {
        // The day of the oldest event that counts stays as a whole.
        let to = events::day_prefix(now.plus(-restate_ms));
        let mut from = events::day_prefix(Millis(0));
        let (mut count, mut bytes) = (0, Vec::new());
        while self.store.room().is_ok() {
            let rows = archive.range(Table::Events, &from, &to, limits::FORGOTTEN_EVENTS_MAX)?;
            let Some((last, _)) = rows.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            count += rows.len();
            let keys: Vec<Vec<u8>> = rows.into_iter().map(|(key, _)| key).collect();
            bytes.clear();
            record::put_forgotten(&mut bytes, &keys);
            self.store.append(&bytes, true);
        }
        Ok(count)
    }
}

/// What was decided.
enum Decided {
    Refused(Box<Outcome>),
    Event { change: EventChange, before: u64, state: EventState, booked: Booked },
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
                 (what was counted for a subject cannot be corrected: raise its limit with an override)",
                rq.feature
            )
        }
    };
    LateError::Differs { what }
}

fn row(archive: &dyn Archive, key: &[u8]) -> Result<Option<Vec<u8>>, ArchiveError> {
    let to = [key, &[0]].concat();
    Ok(archive.range(Table::Events, key, &to, 1)?.pop().map(|(_, value)| value))
}

fn answer(
    archive: &dyn Archive,
    serial: u32,
    key: KeyHash,
) -> Result<Option<(Seq, Event)>, ArchiveError> {
    let row = row(archive, &events::event_key(serial, key.0, EventRow::Answer))?;
    row.map(|row| events::answer_row(&row)).transpose().map_err(unreadable)
}

/// The window that began last before an instant, or at it.
fn before(
    archive: &dyn Archive,
    (serial, feature, limit): (u32, NameId, NameId),
    at: Millis,
    past: &mut Vec<Restated>,
) -> Result<(), ArchiveError> {
    let prefix = limit_prefix(serial, feature, limit);
    let to = usage_key(serial, feature, limit, at.plus(1));
    if let Some((_, value)) = archive.last(Table::Usage, &prefix, &to)? {
        past.push(events::usage_row(&value).map_err(unreadable)?.window);
    }
    Ok(())
}

/// The windows beside an instant: an event between them begins one that does not overlap them.
fn around(
    archive: &dyn Archive,
    of: (u32, NameId, NameId),
    at: Millis,
    past: &mut Vec<Restated>,
) -> Result<(), ArchiveError> {
    before(archive, of, at, past)?;
    let (serial, feature, limit) = of;
    let from = usage_key(serial, feature, limit, at.plus(1));
    let to = after_prefix(&limit_prefix(serial, feature, limit));
    if let Some((_, value)) = archive.range(Table::Usage, &from, &to, 1)?.pop() {
        past.push(events::usage_row(&value).map_err(unreadable)?.window);
    }
    Ok(())
}

fn limit_prefix(serial: u32, feature: NameId, limit: NameId) -> Vec<u8> {
    let mut prefix = usage_prefix(serial, Some(feature));
    prefix.extend_from_slice(&limit.0.to_be_bytes());
    prefix
}
