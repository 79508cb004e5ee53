//! The engine: accounts behind one lock each, and the road of one request.
//!
//! A decision and its count happen under the account's lock: the rules decide on the state, the
//! effects become one journal record, and the same effects change the state. The engine never waits:
//! it answers with the journal position that the adapter has to wait for.

mod receipt;
mod reply;
mod request;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};
use arcstr::ArcStr;
use dashmap::DashMap;
use foldhash::quality::RandomState;
use headroom_core::account::{Account, Profile};
use headroom_core::catalog::{Catalog, FeatureIx};
use headroom_core::decide::{self, Context, FeatureOp, HoldOp, LevelChange, ValueOp};
use headroom_core::decision::{Amounts, Decision, Denial, OpError, Outcome, Verdict};
use headroom_core::effect::{Effect, Effects};
use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::origin;
use headroom_core::resolve::{Origin, resolve};
use headroom_core::tally::{self, UnitsMoved};
use headroom_core::time::Millis;

use crate::admin::AdminState;
use crate::dimensions::Dimensions;
use crate::keys::{KeyBook, KeyEntry, KeyHash, KeyMemory, Receipt, hash_key, hash_payload};
use crate::late::LateBook;
use crate::ports::{Seq, Store};
use crate::read::as_of;
use crate::record;
use crate::subjects::add_others;
use crate::timers::Timers;

pub use receipt::DecisionId;
pub use reply::{About, EngineError, Reply};
pub(crate) use reply::{about, about_if_due};
pub(crate) use request::Key;
pub use request::{FeatureRequest, HoldRequest, Wants};

/// Shards of the account map: enough that two requests for different accounts rarely meet.
pub(crate) const SHARDS: usize = 128;

/// One account in memory.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) account: Account,
    /// The account's last record: replay skips the ones at or below it.
    pub(crate) last_seq: Seq,
    pub(crate) keys: Option<Box<KeyMemory>>,
}

/// The id of an account. One word, and not two: in a map that is half full that is 25 bytes an account.
pub type AccountId = ArcStr;

pub(crate) type Accounts = DashMap<AccountId, Box<Slot>, RandomState>;

// What each of a million accounts takes, besides its id and its ledgers: sizes that an allocator has.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Slot>() == 96 && size_of::<Ledger>() == 64);

/// The memory of one sidecar.
pub struct Engine {
    pub(crate) accounts: Accounts,
    // Account ids by serial. Locked after an account's lock, never before.
    pub(crate) serials: Mutex<Vec<AccountId>>,
    pub(crate) catalog: ArcSwap<Catalog>,
    pub(crate) admin: Mutex<AdminState>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: KeyBook,
    pub(crate) secret: [u8; 16],
    pub(crate) boot: u32,
    pub(crate) timers: Timers,
    pub(crate) late: LateBook,
    pub(crate) ledgers: AtomicU64,
    /// Accounts of which an internal check failed: they count, but admit nothing until they are looked at.
    /// Not a part of each account, because there should never be one. Locked after an account's lock.
    pub(crate) halted: Mutex<BTreeSet<u32>>,
    /// How many these are, so that nobody has to lock.
    pub(crate) halted_count: AtomicU64,
}

#[derive(Default)]
struct Scratch {
    effects: Effects,
    bytes: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
    static PASSING: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
}

/// Numbers threads, so that each counts its passing decisions without asking the others.
static THREADS: AtomicU32 = AtomicU32::new(1);

impl Engine {
    /// The catalog in force. Load it once per request and decide and answer under it.
    pub fn catalog(&self) -> Guard<Arc<Catalog>> {
        self.catalog.load()
    }

    /// Decides a request about a feature.
    pub fn feature(
        &self,
        catalog: &Catalog,
        rq: &FeatureRequest<'_>,
    ) -> Result<Box<Reply>, EngineError> {
        let cx = Context { catalog, now: rq.now };
        let feature = catalog.feature_named(rq.feature);
        let mut op = &rq.op;
        let of_value;
        if !matches!(rq.dimensions, Dimensions::None) {
            of_value = self.of_value(cx, feature, rq)?;
            op = &of_value;
        }
        if let FeatureOp::Check { units, .. } = rq.op {
            let reply = match rq.subject {
                Some(subject) => self.feature_for(cx, feature, subject, (rq, *op)),
                None => self.check(cx, feature, &FeatureRequest { op: *op, ..*rq }),
            }?;
            decide::have_room(catalog, &reply.outcome.decision, units)?;
            return Ok(reply);
        }
        if let Some(subject) = rq.subject {
            return self.feature_for(cx, feature, subject, (rq, *op));
        }
        // A monitor's use of a key is another than a customer's.
        let synthetic = u64::from(rq.synthetic);
        let (operation, numbers) = match rq.op {
            FeatureOp::Check { .. } => (0, [0; 3]),
            FeatureOp::Consume { units } => (1, [units, 0, synthetic]),
            FeatureOp::Reserve { units, hold_ms } => {
                (2, [units, hold_ms.cast_unsigned(), synthetic])
            }
            FeatureOp::Record { units } => (3, [units, 0, synthetic]),
            FeatureOp::ReserveCharging { units, hold_ms } => {
                (30, [units, hold_ms.cast_unsigned(), synthetic])
            }
            // Clients say which value in dimensions, and those are told apart by their fingerprint.
            FeatureOp::Value { .. } => (0, [1, 0, synthetic]),
            FeatureOp::Allocate { change } => (10, numbers_of(change, synthetic)),
        };
        let key = Key {
            hash: hash_key(&self.secret, rq.key),
            payload: hash_payload(operation, feature_id(catalog, feature, rq.feature), numbers)
                ^ rq.dimensions.fingerprint(),
            units: numbers[0],
            admits: match rq.op {
                FeatureOp::Record { .. } => false,
                FeatureOp::Allocate { change } => {
                    matches!(change, LevelChange::Add { .. } | LevelChange::Set { .. })
                }
                FeatureOp::Check { .. }
                | FeatureOp::Consume { .. }
                | FeatureOp::Reserve { .. }
                | FeatureOp::ReserveCharging { .. }
                | FeatureOp::Value { .. } => true,
            },
            synthetic: rq.synthetic,
            dimensions: rq.dimensions,
        };
        self.with_slot(rq.account, cx, |slot| match slot {
            Some(slot) => self.write(cx, slot, key, rq.wants, |cx, account, effects| {
                decide::decide_feature(cx, account, feature, *op, effects)
            }),
            None => Ok(self.stranger_refused(cx, None, Denial::UnknownAccount)),
        })
    }

    /// What is asked of a feature by a request with dimensions: of one that counts different values it is
    /// about the one that they say.
    #[cold]
    fn of_value(
        &self,
        cx: Context<'_>,
        feature: Option<FeatureIx>,
        rq: &FeatureRequest<'_>,
    ) -> Result<FeatureOp, EngineError> {
        let Some(feature) = feature else { return Ok(rq.op) };
        let does = match rq.op {
            FeatureOp::Check { attempt, .. } => {
                // Those of a write are checked when they are counted.
                rq.dimensions.labels(cx.catalog, Some(feature))?;
                ValueOp::Check { attempt }
            }
            FeatureOp::Consume { .. } => ValueOp::Consume,
            FeatureOp::Record { .. } => ValueOp::Record,
            op => return Ok(op),
        };
        Ok(match rq.dimensions.value(cx.catalog, feature)? {
            Some(value) => FeatureOp::Value { hash: self.hash_value(value), does },
            None => rq.op,
        })
    }

    /// One of different values as it is counted: nothing that is kept says what it was.
    pub(crate) fn hash_value(&self, value: &str) -> u64 {
        hash_key(&self.secret, value).0[0]
    }

    /// Decides a request about a reservation.
    pub fn hold(&self, catalog: &Catalog, rq: &HoldRequest<'_>) -> Result<Box<Reply>, EngineError> {
        let cx = Context { catalog, now: rq.now };
        let id = rq.reservation.0;
        let (operation, numbers) = match rq.op {
            HoldOp::Extend { hold_ms, additional_units } => {
                (4, [id, hold_ms.map_or(u64::MAX, i64::cast_unsigned), additional_units])
            }
            HoldOp::Commit { units } => (5, [id, units, 0]),
            HoldOp::Release => (6, [id, 0, 0]),
            HoldOp::CommitPart { units, hold_ms } => {
                (31, [id, units, hold_ms.map_or(u64::MAX, i64::cast_unsigned)])
            }
        };
        let key = Key {
            hash: hash_key(&self.secret, rq.key),
            payload: hash_payload(operation, Receipt::NO_LIMIT, numbers)
                ^ rq.dimensions.fingerprint(),
            // A reservation's receipt always keeps its amounts.
            units: 0,
            admits: matches!(rq.op, HoldOp::Extend { .. }),
            // A monitor's reservation lists nothing that could be counted.
            synthetic: false,
            dimensions: rq.dimensions,
        };
        let Some(mut slot) = self.accounts.get_mut(rq.account) else {
            return Err(OpError::UnknownReservation.into());
        };
        self.write(cx, &mut slot, key, rq.wants, |cx, account, effects| {
            decide::decide_hold(cx, account, rq.reservation, rq.op, effects)
        })
    }

    /// A check changes nothing, so it takes the lock for reading; only what time has brought, or a
    /// refusal worth a signal, makes it come again for writing.
    fn check(
        &self,
        cx: Context<'_>,
        feature: Option<FeatureIx>,
        rq: &FeatureRequest<'_>,
    ) -> Result<Box<Reply>, EngineError> {
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { effects, bytes } = scratch;
            {
                let Some(slot) = self.accounts.get(rq.account) else {
                    return self.check_stranger(cx, feature, rq);
                };
                let cx = Context { now: slot.account.not_before(cx.now), ..cx };
                if !slot.account.is_due(cx.now) {
                    effects.clear();
                    let outcome = decided(|| {
                        decide::decide_feature(cx, &slot.account, feature, rq.op, effects)
                    })?;
                    if effects.is_empty() || self.store.room().is_err() {
                        return Ok(self.passing(cx, &slot.account, outcome, rq.wants));
                    }
                }
            }
            let Some(mut slot) = self.accounts.get_mut(rq.account) else {
                return self.check_stranger(cx, feature, rq);
            };
            let cx = Context { now: slot.account.not_before(cx.now), ..cx };
            if self.store.room().is_err() {
                // What time has brought counts, also where it cannot be journaled.
                let account = as_of(cx, &slot.account);
                effects.clear();
                let outcome =
                    decided(|| decide::decide_feature(cx, &account, feature, rq.op, effects))?;
                return Ok(self.passing(cx, &account, outcome, rq.wants));
            }
            self.settle(cx, &mut slot, effects, bytes);
            effects.clear();
            let outcome =
                decided(|| decide::decide_feature(cx, &slot.account, feature, rq.op, effects))?;
            self.note(cx, &mut slot, effects, bytes);
            Ok(self.passing(cx, &slot.account, outcome, rq.wants))
        })
    }

    pub(crate) fn check_stranger(
        &self,
        cx: Context<'_>,
        feature: Option<FeatureIx>,
        rq: &FeatureRequest<'_>,
    ) -> Result<Box<Reply>, EngineError> {
        let Some(account) = stranger(cx, rq.account) else {
            return Ok(self.stranger_refused(cx, None, Denial::UnknownAccount));
        };
        let effects = &mut Effects::new();
        let outcome = match rq.subject {
            None => decide::decide_feature(cx, &account, feature, rq.op, effects)?,
            Some(subject) => {
                decide::decide_feature_for(cx, &account, feature, subject, rq.op, effects)?
            }
        };
        let mut reply = self.passing(cx, &account, outcome, rq.wants);
        if let Some(subject) = rq.subject {
            add_others(cx, &account, feature, (subject, rq.wants), &mut reply);
        }
        Ok(reply)
    }

    pub(crate) fn stranger_refused(
        &self,
        cx: Context<'_>,
        feature: Option<NameId>,
        denial: Denial,
    ) -> Box<Reply> {
        let decision = Decision {
            verdict: Verdict::Denied(denial),
            binding: None,
            origin: Origin::None,
            plan: Receipt::NO_LIMIT,
            feature,
            value_json: None,
            retry_after_ms: None,
            shadow: None,
        };
        Box::new(Reply {
            outcome: Outcome { decision, amounts: Amounts::default() },
            other_limits: Vec::new(),
            decision_id: self.passing_id(),
            wait_for: None,
            replayed: false,
            created_at: cx.now,
            about: None,
            origins: None,
        })
    }

    /// Runs `then` with the account locked; an account nobody told us about begins on the default
    /// plan, or is `None` when the catalog has none.
    pub(crate) fn with_slot<T>(
        &self,
        account: &str,
        cx: Context<'_>,
        then: impl FnOnce(Option<&mut Slot>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if let Some(mut slot) = self.accounts.get_mut(account) {
            return then(Some(&mut slot));
        }
        let Some(plan) = cx.catalog.default_plan() else { return then(None) };
        self.store.room()?;
        let profile = Profile::new(cx.catalog.plan(plan).id, true, cx.now);
        let mut slot = self.slot_or_new(account, cx.now, profile)?;
        then(Some(&mut slot))
    }

    /// The road of every write, under the account's lock.
    pub(crate) fn write(
        &self,
        cx: Context<'_>,
        slot: &mut Slot,
        key: Key<'_>,
        wants: Wants,
        decide: impl FnOnce(Context<'_>, &Account, &mut Effects) -> Result<Outcome, OpError>,
    ) -> Result<Box<Reply>, EngineError> {
        let cx = Context { now: slot.account.not_before(cx.now), ..cx };
        self.keys.advance(cx.now);
        let known = slot.keys.as_ref().and_then(|keys| keys.find(key.hash));
        let is_new = known.is_none();
        if let Some(entry) = known.filter(|entry| entry.generation >= self.keys.oldest()) {
            if entry.receipt.payload != key.payload {
                return Err(entry.receipt.reused());
            }
            let account = as_of(cx, &slot.account);
            return Ok(self.replay(cx, &account, entry, key.units, wants));
        }
        self.store.room()?;
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { effects, bytes } = scratch;
            self.settle(cx, slot, effects, bytes);
            effects.clear();
            let account = &slot.account;
            // Into a place of its own, because an outcome is large and every `Result` on the way would
            // move it once more.
            let mut place = None;
            let decided = || decide(cx, account, effects).map(|outcome| place = Some(outcome));
            match catch_unwind(AssertUnwindSafe(decided)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(self.halt(slot)),
            }
            let Some(outcome) = &place else { return Err(self.halt(slot)) };
            if !matches!(key.dimensions, Dimensions::None) {
                let feature = outcome.decision.feature.and_then(|id| cx.catalog.feature_of(id));
                let labels = key.dimensions.labels(cx.catalog, feature)?;
                tally::label(account, &labels, effects, UnitsMoved::More);
            }
            if key.synthetic {
                decide::leave_uncounted(effects);
            }
            if key.admits && self.is_halted(slot) {
                return Err(EngineError::Halted);
            }
            let seq = match outcome.decision.verdict.is_allowed() {
                true => {
                    let receipt = Receipt::of(key.payload, key.units, outcome);
                    Some(self.admit(cx.now, slot, (key.hash, is_new), receipt, (effects, bytes)))
                }
                false => {
                    self.note(cx, slot, effects, bytes);
                    None
                }
            };
            let Some(outcome) = place else { return Err(self.halt(slot)) };
            let mut reply = self.passing(cx, &slot.account, outcome, wants);
            if let Some(seq) = seq {
                reply.decision_id = DecisionId::Written(seq);
                reply.wait_for = Some(seq);
            }
            Ok(reply)
        })
    }

    /// Journals an admitted write, counts it, and remembers its key, of which no entry is there when it
    /// is new.
    // Inlined as its parts are, because a plain write knows most of the receipt: that is worth 40
    // instructions of each.
    #[inline(always)]
    pub(crate) fn admit(
        &self,
        now: Millis,
        slot: &mut Slot,
        (hash, is_new): (KeyHash, bool),
        receipt: Receipt,
        (effects, bytes): (&[Effect], &mut Vec<u8>),
    ) -> Seq {
        bytes.clear();
        record::put_decided(bytes, slot.account.serial, now, hash, &receipt, effects);
        let seq = self.append(&slot.account, bytes, effects);
        self.apply(slot, seq, effects);
        let generation = self.keys.generation(now);
        let offset_ms = self.keys.offset_ms(now, generation);
        let entry = KeyEntry { hash, seq, generation, offset_ms, receipt };
        let keys = slot.keys.get_or_insert_default();
        if is_new {
            keys.insert_new(entry, self.keys.oldest());
            self.keys.add(generation);
        } else if keys.insert(entry, self.keys.oldest()) {
            self.keys.add(generation);
        }
        seq
    }

    /// Brings an account up to date with time: holds that ended are given back first, and a grace that
    /// is about to end is announced.
    pub(crate) fn settle(
        &self,
        cx: Context<'_>,
        slot: &mut Slot,
        effects: &mut Effects,
        bytes: &mut Vec<u8>,
    ) {
        if !slot.account.is_due(cx.now) {
            return;
        }
        loop {
            effects.clear();
            let account = &slot.account;
            let settle = || decide::settle_all(cx, account, effects);
            if catch_unwind(AssertUnwindSafe(settle)).is_err() {
                // Counting goes on with the holds as they are; nothing more is admitted.
                effects.clear();
                self.halt(slot);
                return;
            }
            self.note(cx, slot, effects, bytes);
            // When nobody looked for years, one record does not hold every window that followed another.
            if cx.now < slot.account.owing_until() || effects.is_empty() {
                return;
            }
        }
    }

    /// Journals changes that nobody waits for.
    pub(crate) fn note(
        &self,
        cx: Context<'_>,
        slot: &mut Slot,
        effects: &[Effect],
        bytes: &mut Vec<u8>,
    ) {
        if !effects.is_empty() {
            self.note_at(cx.now, slot, effects, bytes);
        }
    }

    /// As [`Engine::note`], whatever the changes are. Returns the position of their record.
    pub(crate) fn note_at(
        &self,
        now: Millis,
        slot: &mut Slot,
        effects: &[Effect],
        bytes: &mut Vec<u8>,
    ) -> Seq {
        bytes.clear();
        record::put_noted(bytes, slot.account.serial, now, effects);
        let seq = self.append(&slot.account, bytes, effects);
        self.apply(slot, seq, effects);
        seq
    }

    #[inline]
    pub(crate) fn append(&self, account: &Account, bytes: &[u8], effects: &[Effect]) -> Seq {
        let matter = record::is_matter(effects);
        let seq = self.store.append(bytes, matter);
        if matter {
            self.late.note_closings(account, seq, effects);
        }
        seq
    }

    pub(crate) fn apply(&self, slot: &mut Slot, seq: Seq, effects: &[Effect]) {
        let before = slot.account.ledgers().len();
        let notice_at = slot.account.notice_at();
        for effect in effects {
            slot.account.apply(effect);
        }
        slot.last_seq = seq;
        self.timers.reset(&slot.account, notice_at);
        let after = slot.account.ledgers().len();
        if after != before {
            self.ledgers.fetch_add((after as u64).wrapping_sub(before as u64), Ordering::Relaxed);
        }
    }

    pub(crate) fn halt(&self, slot: &mut Slot) -> EngineError {
        let mut halted = self.halted.lock().unwrap_or_else(|held| held.into_inner());
        halted.insert(slot.account.serial);
        self.halted_count.store(halted.len() as u64, Ordering::Relaxed);
        EngineError::Halted
    }

    /// Whether the account admits nothing, because an internal check of it failed.
    #[inline]
    pub(crate) fn is_halted(&self, slot: &Slot) -> bool {
        if self.halted_count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let halted = self.halted.lock().unwrap_or_else(|held| held.into_inner());
        halted.contains(&slot.account.serial)
    }

    /// The answer of an earlier write: its outcome, with the limits as they stand now.
    pub(crate) fn replay(
        &self,
        cx: Context<'_>,
        account: &Account,
        entry: &KeyEntry,
        units: u64,
        wants: Wants,
    ) -> Box<Reply> {
        let receipt = &entry.receipt;
        let feature = cx.catalog.feature_of(receipt.feature);
        let states = feature.map(|f| decide::limit_states(cx, account, f)).unwrap_or_default();
        let binding = states.into_iter().find(|state| state.ledger.limit == receipt.binding);
        let origin = feature.map_or(Origin::None, |f| resolve(cx.catalog, account, f, cx.now).1);
        let decision = Decision {
            verdict: receipt.verdict,
            binding,
            origin,
            plan: account.profile.plan_at(cx.now).0,
            feature: (receipt.feature != Receipt::NO_LIMIT).then_some(receipt.feature),
            value_json: None,
            retry_after_ms: None,
            shadow: None,
        };
        let plain = Amounts { units, ..Amounts::default() };
        let amounts = receipt.done.as_ref().map_or(plain, |done| done.amounts);
        let mut decision = decision;
        if let Some(charge) = receipt.done.as_ref().and_then(|done| done.charge.clone()) {
            decision.set_charge(charge);
        }
        let mut reply = self.passing(cx, account, Outcome { decision, amounts }, wants);
        reply.decision_id = DecisionId::Written(entry.seq);
        reply.wait_for = Some(entry.seq);
        reply.replayed = true;
        reply
    }

    // Boxed and inlined, because a reply is large and every call would move it once more.
    #[inline(always)]
    pub(crate) fn passing(
        &self,
        cx: Context<'_>,
        account: &Account,
        outcome: Outcome,
        wants: Wants,
    ) -> Box<Reply> {
        let mut other_limits = Vec::new();
        if wants.others(outcome.decision.verdict)
            && let Some(binding) = &outcome.decision.binding
            && let Some(feature) = outcome.decision.feature.and_then(|id| cx.catalog.feature_of(id))
        {
            // An answer about a window that is over does not say how its limit stands now.
            let is_over = binding.ledger.window.end() <= cx.now;
            let states = decide::limit_states(cx, account, feature).into_iter();
            other_limits
                .extend(states.filter(|s| is_over || s.ledger.limit != binding.ledger.limit));
        }
        let about = if wants.about { about_if_due(cx, account, &outcome.decision) } else { None };
        let origins = match origin::is_plain(cx.catalog, account) {
            true => None,
            false => origin::origins(cx, account, &outcome.decision, &other_limits),
        };
        let decision_id = self.passing_id();
        // The place first, or the reply would be made on the stack and moved there.
        let place = Box::new_uninit();
        Box::write(
            place,
            Reply {
                outcome,
                other_limits,
                decision_id,
                wait_for: None,
                replayed: false,
                created_at: account.profile.created_at,
                about,
                origins,
            },
        )
    }

    fn passing_id(&self) -> DecisionId {
        let (thread, count) = PASSING.get();
        let thread = if thread == 0 { THREADS.fetch_add(1, Ordering::Relaxed) } else { thread };
        PASSING.set((thread, count + 1));
        DecisionId::Passing(self.boot, thread, count)
    }
}

/// An account nobody told us about, as it would begin on the default plan; `None` when the catalog has
/// none.
pub(crate) fn stranger(cx: Context<'_>, id: &str) -> Option<Account> {
    let plan = cx.catalog.default_plan()?;
    let profile = Profile::new(cx.catalog.plan(plan).id, true, cx.now);
    Some(Account::new(u32::MAX, profile).drawing_by(id))
}

/// The change of a level as numbers, the units first.
fn numbers_of(change: LevelChange, synthetic: u64) -> [u64; 3] {
    match change {
        LevelChange::Add { units } => [units, 1, synthetic],
        LevelChange::Remove { units } => [units, 2, synthetic],
        LevelChange::Set { units } => [units, 3, synthetic],
        LevelChange::Report { units } => [units, 4, synthetic],
    }
}

/// The number of a feature's name. One that left the catalog keeps its number, so that a retry of a
/// write is still known as one; a name that never had one was never written under.
pub(crate) fn feature_id(catalog: &Catalog, feature: Option<FeatureIx>, name: &str) -> NameId {
    match feature {
        Some(feature) => catalog.feature(feature).id,
        // Also by a name that it had, when nothing else is called so.
        None => {
            let known = catalog.feature_id(name).or_else(|| catalog.names().get(name));
            known.unwrap_or(Receipt::NO_LIMIT)
        }
    }
}

/// Runs the rules. A failed assertion in them must not take the sidecar down, nor change anything:
/// the effects that were listed so far are never applied.
#[inline(always)]
pub(crate) fn decided(
    decide: impl FnOnce() -> Result<Outcome, OpError>,
) -> Result<Outcome, EngineError> {
    match catch_unwind(AssertUnwindSafe(decide)) {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(EngineError::Halted),
    }
}
