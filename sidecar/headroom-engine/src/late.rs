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

mod book;
mod correct;
mod levels;
mod look;
mod write;
mod written;

use headroom_core::catalog::Catalog;
use headroom_core::decide::{self, Booked, Context, FeatureOp};
use headroom_core::decision::{Denial, OpError, Outcome};
use headroom_core::event::{Counts, Event, EventChange, EventState, EventSubject, Restated};
use headroom_core::names::NameId;
use headroom_core::subject::SubjectPath;
use headroom_core::tally::{self, UnitsMoved};
use headroom_core::time::Millis;

use crate::codec::Malformed;
use crate::dimensions::Dimensions;
use crate::engine::{Engine, EngineError, Reply, Wants};
use crate::events;
use crate::keys::{KeyHash, hash_key, hash_payload};
use crate::limits;
use crate::measures::Owned;
use crate::ports::{Archive, ArchiveError, Seq, Table};
use crate::record;

pub(crate) use book::LateBook;
use levels::SeenLevel;

/// The operations' numbers in payload hashes.
const RECORD_AT: u8 = 40;
const CORRECT: u8 = 41;

/// A report of usage that happened at a time of its own.
#[derive(Debug, Clone, Copy)]
pub struct LateRequest<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature's name.
    pub feature: &'a str,
    /// For whom inside the account.
    pub subject: Option<SubjectPath<'a>>,
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
    /// For whom the event was counted.
    pub subject: Option<SubjectPath<'a>>,
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
    levels: Vec<SeenLevel>,
    // The feature and the instant, if its aggregation must know more of a window than its counter, and what the disk
    // knows.
    measured: Option<(NameId, Millis)>,
    measures: Vec<Owned>,
    // The record of the write that is to be corrected, if it was counted as it came.
    written: Option<Seq>,
}

/// The answer to a late event or a correction.
#[derive(Debug)]
pub struct LateReply {
    /// As to every write.
    pub reply: Box<Reply>,
    /// The windows that the event counts in: the account's, then those of the levels of the subject's path. None where
    /// nothing was counted.
    pub windows: Vec<RestatedWindow>,
}

/// A window that an event counts in, and what a write did there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestatedWindow {
    /// The limit.
    pub limit: NameId,
    /// Whose it is: the path up to a level of the subject's. `None`: the account's.
    pub subject: Option<String>,
    /// Where it starts.
    pub start: Millis,
    /// Where it ends. `None`: nowhere, or an earlier version answered, which did not keep that.
    pub end: Option<Millis>,
    /// What was changed: the same twice where that is nothing.
    pub counts: Counts,
    /// Whether it had left the memory: what it closed with does not contain the change.
    pub after_close: bool,
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
        /// The part of the request that says something else.
        field: &'static str,
        /// In what.
        what: String,
    },
}

/// A write of this road, as its key knows it.
struct Write<'a> {
    key: KeyHash,
    payload: u64,
    subject: Option<SubjectPath<'a>>,
    reason: &'a str,
    now: Millis,
    wants: Wants,
}

/// What was decided.
enum Decided {
    Refused(Box<Outcome>),
    Event { change: EventChange, before: u64, state: Box<EventState>, booked: Box<Booked> },
}

fn unreadable(error: Malformed) -> ArchiveError {
    ArchiveError { reason: error.to_string() }
}

impl Engine {
    /// What stands for the path of a subject where it may not be kept. 0: there is none.
    fn path_hash(&self, subject: Option<SubjectPath<'_>>) -> u64 {
        subject.map_or(0, |path| hash_key(&self.secret, path.as_str()).0[0])
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
    ) -> Result<LateReply, LateError> {
        let cx = Context { catalog, now: rq.now };
        let feature = catalog.feature_named(rq.feature);
        let path_hash = self.path_hash(rq.subject);
        let write = Write {
            key: hash_key(&self.secret, rq.key),
            payload: hash_payload(
                RECORD_AT,
                crate::engine::feature_id(catalog, feature, rq.feature),
                [rq.units, rq.occurred_at.0.cast_unsigned(), path_hash],
            ) ^ rq.dimensions.fingerprint(),
            subject: rq.subject,
            reason: "",
            now: rq.now,
            wants: rq.wants,
        };
        let done = self.with_slot(rq.account, cx, |slot| {
            let Some(slot) = slot else {
                let reply = self.stranger_refused(cx, None, Denial::UnknownAccount);
                return Ok(Ok(LateReply { reply, windows: Vec::new() }));
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
                let (of, what) = ((feature, rq.subject), (occurred_at, units));
                let booked = decide::record_at(cx, account, of, what, past, effects)
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
                    subject: rq.subject.map(|_| {
                        Box::new(EventSubject { path_hash, bookings: booked.levels.clone() })
                    }),
                };
                let (state, booked) = (Box::new(state), Box::new(booked));
                let change = EventChange::Recorded;
                Ok(Decided::Event { change, before: 0, state, booked })
            }))
        });
        done?
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
