//! Requests for several features at once: one lock, one key, one record.

use std::panic::{AssertUnwindSafe, catch_unwind};

use headroom_core::account::Account;
use headroom_core::catalog::Catalog;
use headroom_core::decide::{self, AllItem, AllOp, Context};
use headroom_core::decision::{Amounts, Denial, Outcome, Verdict};
use headroom_core::effect::Effects;
use headroom_core::names::NameId;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;

use crate::dimensions::Dimensions;
use crate::engine::{DecisionId, Engine, EngineError, Reply, Slot, Wants, feature_id, stranger};
use crate::keys::{Done, KeyEntry, Receipt, hash_key, hash_payload};
use crate::ports::Seq;
use crate::read::as_of;
use crate::subjects::{add_levels, check_types};

/// Features that one request may ask for. More are refused as a whole.
pub const ITEMS_MAX: usize = 16;

/// The operations' numbers in payload hashes.
const CONSUME_ALL: u8 = 70;
const RESERVE_ALL: u8 = 71;
const RESERVE_ALL_CHARGING: u8 = 72;
/// Those of one of the features that were consumed; the second is that of the vendor's own monitors.
const CONSUME_ITEM: [u8; 2] = [73, 74];

/// One of several features asked for.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The feature's name.
    pub feature: &'a str,
    /// Units, 1 to 2^53-1.
    pub units: u64,
    /// What its usage is told apart by, or which of different values it is. Units that are only held have
    /// none.
    pub dimensions: Dimensions<'a>,
}

/// A request for several features: 1 to [`ITEMS_MAX`], none of them twice.
#[derive(Debug, Clone, Copy)]
pub struct AllRequest<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The features, each once.
    pub items: &'a [Item<'a>],
    /// What to do with all of them.
    pub op: AllOp,
    /// Whether it comes from the vendor's own monitors: decided like any other, counted nowhere.
    pub synthetic: bool,
    /// The idempotency key of a write; unused by a check.
    pub key: &'a str,
    /// The one clock reading of the request.
    pub now: Millis,
    /// Parts that cost something.
    pub wants: Wants,
    /// Who inside the account it is for, where limits are per user or team.
    pub subject: Option<SubjectPath<'a>>,
}

impl AllRequest<'_> {
    /// The rules and the one clock reading, which is never before the account's own.
    fn at<'a>(&self, cx: Context<'a>, account: &Account) -> Context<'a> {
        let now = match self.subject {
            None => account.not_before(cx.now),
            Some(subject) => decide::not_before(account, subject, cx.now),
        };
        Context { now, ..cx }
    }
}

/// The answer to it.
#[derive(Debug)]
pub struct AllReply {
    /// Whether all were allowed. If not, nothing was counted.
    pub allowed: bool,
    /// The answers, in the order of the items. They wait for the same record.
    pub replies: Vec<Box<Reply>>,
}

impl Engine {
    /// Decides a request for several features.
    pub fn all(&self, catalog: &Catalog, rq: &AllRequest<'_>) -> Result<AllReply, EngineError> {
        let cx = Context { catalog, now: rq.now };
        let item = |(place, item): (usize, &Item<'_>)| {
            let asked = AllItem::of(catalog.feature_named(item.feature), item.units);
            let Some(feature) = asked.feature else { return Ok(asked) };
            let value = item.dimensions.value(catalog, feature).map_err(at(place))?;
            Ok(AllItem { value: value.map(|value| self.hash_value(value)), ..asked })
        };
        let mut items: Vec<AllItem> =
            rq.items.iter().enumerate().map(item).collect::<Result<_, EngineError>>()?;
        if let Some(subject) = rq.subject {
            for item in &items {
                check_types(catalog, item.feature, subject)?;
            }
        }
        if matches!(rq.op, AllOp::Check { .. }) {
            label(catalog, rq, &mut items)?;
            return self.check_all(cx, rq, &items);
        }
        self.with_slot(rq.account, cx, |slot| match slot {
            Some(slot) => self.write_all(cx, slot, rq, &mut items),
            None => Ok(self.strangers_refused(cx, items.len())),
        })
    }

    fn check_all(
        &self,
        cx: Context<'_>,
        rq: &AllRequest<'_>,
        items: &[AllItem],
    ) -> Result<AllReply, EngineError> {
        let Some(mut slot) = self.accounts.get_mut(rq.account) else {
            let Some(account) = stranger(cx, rq.account) else {
                return Ok(self.strangers_refused(cx, items.len()));
            };
            let outcomes = decided(cx, &account, items, rq, &mut Effects::new())?;
            return Ok(self.passing_all(cx, &account, outcomes, (rq, items)));
        };
        let cx = rq.at(cx, &slot.account);
        let (mut effects, mut bytes) = (Effects::new(), Vec::new());
        if self.store.room().is_err() {
            // What time has brought counts, also where it cannot be journaled.
            let account = as_of(cx, &slot.account);
            let outcomes = decided(cx, &account, items, rq, &mut effects)?;
            return Ok(self.passing_all(cx, &account, outcomes, (rq, items)));
        }
        self.settle(cx, &mut slot, &mut effects, &mut bytes);
        effects.clear();
        let outcomes = decided(cx, &slot.account, items, rq, &mut effects)?;
        self.note(cx, &mut slot, &effects, &mut bytes);
        Ok(self.passing_all(cx, &slot.account, outcomes, (rq, items)))
    }

    /// The road of every write for several features, under the account's lock.
    fn write_all(
        &self,
        cx: Context<'_>,
        slot: &mut Slot,
        rq: &AllRequest<'_>,
        items: &mut [AllItem],
    ) -> Result<AllReply, EngineError> {
        let cx = rq.at(cx, &slot.account);
        self.keys.advance(cx.now);
        let whose = rq.subject.map_or(0, |subject| hash_key(&self.secret, subject.as_str()).0[0]);
        let (hash, payload) = (hash_key(&self.secret, rq.key), payload(cx.catalog, rq, whose));
        let known = slot.keys.as_ref().and_then(|keys| keys.find(hash));
        let is_new = known.is_none();
        if let Some(entry) = known.filter(|entry| entry.generation >= self.keys.oldest()) {
            if entry.receipt.payload != payload {
                return Err(entry.receipt.reused());
            }
            let account = as_of(cx, &slot.account);
            return Ok(self.replay_all(cx, &account, entry, (rq, items)));
        }
        self.store.room()?;
        let (mut effects, mut bytes) = (Effects::new(), Vec::new());
        self.settle(cx, slot, &mut effects, &mut bytes);
        effects.clear();
        // Only now, because a retry is answered whatever became of the catalog.
        label(cx.catalog, rq, items)?;
        let outcomes = match decided(cx, &slot.account, items, rq, &mut effects) {
            Err(EngineError::Halted) => return Err(self.halt(slot)),
            decided => decided?,
        };
        if rq.synthetic {
            decide::leave_uncounted(&mut effects);
        }
        if self.is_halted(slot) {
            return Err(EngineError::Halted);
        }
        if !are_allowed(&outcomes) {
            self.note(cx, slot, &effects, &mut bytes);
            return Ok(self.passing_all(cx, &slot.account, outcomes, (rq, items)));
        }
        let receipt = receipt(payload, (rq, whose), items, &outcomes);
        let seq = self.admit(cx.now, slot, (hash, is_new), receipt, (&effects, &mut bytes));
        let mut all = self.passing_all(cx, &slot.account, outcomes, (rq, items));
        for (place, reply) in all.replies.iter_mut().enumerate() {
            reply.decision_id = part(seq, place);
            reply.wait_for = Some(seq);
        }
        Ok(all)
    }

    /// The answer of an earlier write: what it did, with the limits as they stand now.
    fn replay_all(
        &self,
        cx: Context<'_>,
        account: &Account,
        entry: &KeyEntry,
        (rq, items): (&AllRequest<'_>, &[AllItem]),
    ) -> AllReply {
        let done = entry.receipt.done.as_ref();
        let parts = done.map_or(&[][..], |done| &done.parts);
        let replay = |(place, (receipt, item)): (usize, (&Receipt, &AllItem))| {
            let entry = KeyEntry { receipt: receipt.clone(), ..entry.clone() };
            let mut reply = self.replay(cx, account, &entry, item.units, rq.wants);
            reply.decision_id = part(entry.seq, place);
            if let Some(subject) = rq.subject {
                let whose = (subject, rq.wants);
                add_levels(cx, account, item.feature, whose, Some(receipt), &mut reply);
            }
            reply
        };
        let replies = parts.iter().zip(items).enumerate().map(replay).collect();
        AllReply { allowed: true, replies }
    }

    fn passing_all(
        &self,
        cx: Context<'_>,
        account: &Account,
        outcomes: Vec<Outcome>,
        (rq, items): (&AllRequest<'_>, &[AllItem]),
    ) -> AllReply {
        let allowed = are_allowed(&outcomes);
        let reply = |(outcome, item): (Outcome, &AllItem)| {
            let mut reply = self.passing(cx, account, outcome, rq.wants);
            if let Some(subject) = rq.subject {
                add_levels(cx, account, item.feature, (subject, rq.wants), None, &mut reply);
            }
            reply
        };
        AllReply { allowed, replies: outcomes.into_iter().zip(items).map(reply).collect() }
    }

    fn strangers_refused(&self, cx: Context<'_>, count: usize) -> AllReply {
        let reply = |_| self.stranger_refused(cx, None, Denial::UnknownAccount);
        AllReply { allowed: false, replies: (0..count).map(reply).collect() }
    }
}

/// The receipt's number of an item.
fn part(seq: Seq, place: usize) -> DecisionId {
    DecisionId::Part(seq, u32::try_from(place).unwrap_or(u32::MAX))
}

fn are_allowed(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| outcome.decision.verdict.is_allowed())
}

/// Says which item has wrong dimensions.
fn at(place: usize) -> impl Fn(EngineError) -> EngineError {
    move |error| match error {
        EngineError::Dimensions { problem } => EngineError::ItemDimensions { place, problem },
        error => error,
    }
}

/// Gives the items what their usage is told apart by.
fn label(catalog: &Catalog, rq: &AllRequest<'_>, items: &mut [AllItem]) -> Result<(), EngineError> {
    for (place, (item, asked)) in rq.items.iter().zip(items).enumerate() {
        let Some(feature) = asked.feature else { continue };
        let is_said = !matches!(item.dimensions, Dimensions::None);
        // What a dimension says of different values is refused with the request to hold one.
        if is_said && matches!(rq.op, AllOp::Reserve { .. }) && asked.value.is_none() {
            let problem = "what is held is told apart when it is used: say them with Commit";
            return Err(EngineError::ItemDimensions { place, problem: problem.to_owned() });
        }
        asked.labels = item.dimensions.labels(catalog, Some(feature)).map_err(at(place))?;
    }
    Ok(())
}

/// Runs the rules. A failed assertion in them changes nothing.
fn decided(
    cx: Context<'_>,
    account: &Account,
    items: &[AllItem],
    rq: &AllRequest<'_>,
    effects: &mut Effects,
) -> Result<Vec<Outcome>, EngineError> {
    let decide = || decide::decide_all(cx, account, items, rq.op, rq.subject, effects);
    match catch_unwind(AssertUnwindSafe(decide)) {
        Ok(outcomes) => Ok(outcomes?),
        Err(_) => Err(EngineError::Halted),
    }
}

/// What is remembered of the whole: a receipt that has one for each item.
fn receipt(
    payload: u64,
    (rq, whose): (&AllRequest<'_>, u64),
    items: &[AllItem],
    outcomes: &[Outcome],
) -> Receipt {
    let whole = Done::of(Amounts::default(), None);
    let part = |((item, asked), outcome): ((&AllItem, &Item<'_>), &Outcome)| {
        let payload = match (rq.op, outcome.decision.feature) {
            (AllOp::Consume, Some(feature)) => {
                item_payload(feature, asked.units, whose, rq.synthetic)
                    ^ asked.dimensions.fingerprint()
            }
            // What is held is not corrected.
            _ => 0,
        };
        Receipt::of(payload, item.units, outcome)
    };
    let parts = items.iter().zip(rq.items).zip(outcomes).map(part).collect();
    Receipt {
        payload,
        verdict: Verdict::Allowed,
        feature: Receipt::NO_LIMIT,
        binding: Receipt::NO_LIMIT,
        done: Some(Box::new(Done { parts, ..whole })),
    }
}

/// Fingerprint of what is asked of one feature of several, by which it can be corrected alone.
pub(crate) fn item_payload(feature: NameId, units: u64, whose: u64, synthetic: bool) -> u64 {
    hash_payload(CONSUME_ITEM[usize::from(synthetic)], feature, [units, 0, whose])
}

/// Fingerprint of what is asked: of one item after the other, each with that of those before it.
fn payload(catalog: &Catalog, rq: &AllRequest<'_>, whose: u64) -> u64 {
    let (operation, hold_ms) = match rq.op {
        AllOp::Check { .. } => (0, 0),
        AllOp::Consume => (CONSUME_ALL, 0),
        AllOp::Reserve { hold_ms, charging: false } => (RESERVE_ALL, hold_ms.cast_unsigned()),
        AllOp::Reserve { hold_ms, charging: true } => {
            (RESERVE_ALL_CHARGING, hold_ms.cast_unsigned())
        }
    };
    let begin = hold_ms << 1 | u64::from(rq.synthetic);
    rq.items.iter().fold(begin, |before, item| {
        let feature = feature_id(catalog, catalog.feature_named(item.feature), item.feature);
        hash_payload(operation, feature, [item.units, before, whose])
            ^ item.dimensions.fingerprint()
    })
}
