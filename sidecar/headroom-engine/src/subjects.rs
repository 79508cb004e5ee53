//! Subjects: requests that are made for somebody inside an account, what is known of them, and how a
//! name is forgotten.
//!
//! The usage history files a subject's closed windows under its number, and its name in one row beside.
//! So to forget a name is to delete a row, and no count changes.

use std::collections::BTreeSet;

use headroom_core::account::{Account, Override, OverrideValue};
use headroom_core::catalog::{Catalog, Feature, FeatureIx, FeatureKind};
use headroom_core::decide::{self, Context, FeatureOp};
use headroom_core::decision::{Decision, Denial, LimitState, Outcome};
use headroom_core::effect::{Effect, Effects};
use headroom_core::event::{Booking, Restated};
use headroom_core::ledger::Ledger;
use headroom_core::names::NameId;
use headroom_core::origin;
use headroom_core::subject::{SubjectId, SubjectPath};
use headroom_core::time::Millis;

use crate::admin::AdminError;
use crate::codec::{Put, Take};
use crate::digest::{after_prefix, start_key};
use crate::engine::{
    Engine, EngineError, FeatureRequest, Key, Reply, Wants, about_if_due, decided, feature_id,
};
use crate::events::{self, restated_row};
use crate::keys::{Receipt, hash_key, hash_payload};
use crate::limits;
use crate::measures;
use crate::ports::{Archive, ArchiveError, ProjectionOp, Seq, Table, rows};
use crate::read::as_of;
use crate::record;

/// Added to the number of an operation that a monitor asks for.
const SYNTHETIC: u8 = 4;

/// What counts in one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectUsage {
    /// Its number, which the projection files its closed windows under.
    pub id: SubjectId,
    /// Its path.
    pub name: String,
    /// Its ledgers in memory.
    pub ledgers: Vec<Ledger>,
}

/// What the disk said of names that are to be erased, before the account is locked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erasing {
    /// The numbers that they have and had.
    pub earlier: Vec<(SubjectId, String)>,
    /// The keys of what is known of their closed windows: of whom there were which values.
    pub measures: Vec<Vec<u8>>,
    /// What the projection had applied before it was read.
    pub position: Seq,
}

/// The subjects of an account in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectsView {
    /// The account's number.
    pub serial: u32,
    /// The subjects in which something counts, by number.
    pub subjects: Vec<SubjectUsage>,
}

impl Engine {
    /// Decides a request about a feature that is made for a subject.
    #[cold]
    pub(crate) fn feature_for(
        &self,
        cx: Context<'_>,
        feature: Option<FeatureIx>,
        subject: SubjectPath<'_>,
        (rq, op): (&FeatureRequest<'_>, FeatureOp),
    ) -> Result<Box<Reply>, EngineError> {
        check_types(cx.catalog, feature, subject)?;
        if matches!(rq.op, FeatureOp::Check { .. }) {
            return self.check_for(cx, feature, subject, &FeatureRequest { op, ..*rq });
        }
        let whose = hash_key(&self.secret, subject.as_str()).0[0];
        let (operation, units, hold_ms) = match rq.op {
            FeatureOp::Check { units, .. } => (0, units, 0),
            FeatureOp::Consume { units } => (32, units, 0),
            FeatureOp::Reserve { units, hold_ms } => (33, units, hold_ms),
            FeatureOp::Record { units } => (34, units, 0),
            FeatureOp::ReserveCharging { units, hold_ms } => (35, units, hold_ms),
            // What exists is the account's, and a client names no value but in dimensions.
            FeatureOp::Allocate { .. } | FeatureOp::Value { .. } => {
                return self.feature(cx.catalog, &FeatureRequest { subject: None, ..*rq });
            }
        };
        // A monitor's use of a key is another than a customer's.
        let operation = if rq.synthetic { operation + SYNTHETIC } else { operation };
        let numbers = [units, hold_ms.cast_unsigned(), whose];
        let key = Key {
            hash: hash_key(&self.secret, rq.key),
            payload: hash_payload(operation, feature_id(cx.catalog, feature, rq.feature), numbers)
                ^ rq.dimensions.fingerprint(),
            units,
            admits: !matches!(rq.op, FeatureOp::Record { .. }),
            synthetic: rq.synthetic,
            dimensions: rq.dimensions,
        };
        self.with_slot(rq.account, cx, |slot| {
            let Some(slot) = slot else {
                return Ok(self.stranger_refused(cx, None, Denial::UnknownAccount));
            };
            let cx = Context { now: decide::not_before(&slot.account, subject, cx.now), ..cx };
            let mut reply = self.write(cx, slot, key, rq.wants, |cx, account, effects| {
                decide::decide_feature_for(cx, account, feature, subject, op, effects)
            })?;
            let entry = slot.keys.as_ref().and_then(|keys| keys.find(key.hash));
            let receipt = entry.map(|entry| &entry.receipt).filter(|_| reply.replayed);
            let account = as_of(cx, &slot.account);
            add_levels(cx, &account, feature, (subject, rq.wants), receipt, &mut reply);
            Ok(reply)
        })
    }

    /// As a check without a subject: under the lock for reading, unless time has brought something or a
    /// refusal is worth a signal.
    fn check_for(
        &self,
        cx: Context<'_>,
        feature: Option<FeatureIx>,
        subject: SubjectPath<'_>,
        rq: &FeatureRequest<'_>,
    ) -> Result<Box<Reply>, EngineError> {
        let mut effects = Effects::new();
        let decide = |cx: Context<'_>, account: &Account, effects: &mut Effects| {
            decided(|| decide::decide_feature_for(cx, account, feature, subject, rq.op, effects))
        };
        let reply = |cx: Context<'_>, account: &Account, outcome: Outcome| {
            let mut reply = self.passing(cx, account, outcome, rq.wants);
            add_others(cx, account, feature, (subject, rq.wants), &mut reply);
            reply
        };
        let at =
            |account: &Account| Context { now: decide::not_before(account, subject, cx.now), ..cx };
        {
            let Some(slot) = self.accounts.get(rq.account) else {
                return self.check_stranger(cx, feature, rq);
            };
            let cx = at(&slot.account);
            if !slot.account.is_due(cx.now) {
                let outcome = decide(cx, &slot.account, &mut effects)?;
                if effects.is_empty() || self.store.room().is_err() {
                    return Ok(reply(cx, &slot.account, outcome));
                }
            }
        }
        let Some(mut slot) = self.accounts.get_mut(rq.account) else {
            return self.check_stranger(cx, feature, rq);
        };
        let cx = at(&slot.account);
        effects.clear();
        if self.store.room().is_err() {
            // What time has brought counts, also where it cannot be journaled.
            let account = as_of(cx, &slot.account);
            let outcome = decide(cx, &account, &mut effects)?;
            return Ok(reply(cx, &account, outcome));
        }
        let mut bytes = Vec::new();
        self.settle(cx, &mut slot, &mut effects, &mut bytes);
        effects.clear();
        let outcome = decide(cx, &slot.account, &mut effects)?;
        self.note(cx, &mut slot, &effects, &mut bytes);
        Ok(reply(cx, &slot.account, outcome))
    }

    /// What was used by the subjects of an account. `None`: the account is not known.
    pub fn subjects(&self, account: &str, now: Millis) -> Option<SubjectsView> {
        let slot = self.accounts.get(account)?;
        let catalog = self.catalog();
        let account = as_of(Context { catalog: &catalog, now }, &slot.account);
        let subjects = account.subjects().into_iter().flat_map(|subjects| subjects.iter());
        // One may have nothing but a bucket, which is no usage.
        let subjects = subjects.filter(|(_, subject)| !subject.state.ledgers().is_empty());
        let subjects = subjects.map(|(id, subject)| SubjectUsage {
            id,
            name: subject.name.to_string(),
            ledgers: subject.state.ledgers().to_vec(),
        });
        Some(SubjectsView { serial: account.serial, subjects: subjects.collect() })
    }

    /// Looks for what the disk knows of a subject and of all below it that is to be erased.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn look_erase(
        &self,
        archive: &dyn Archive,
        account: &str,
        subject: SubjectPath<'_>,
    ) -> Result<Erasing, ArchiveError> {
        let mut found = Erasing { position: archive.position(), ..Erasing::default() };
        let Some(serial) = self.accounts.get(account).map(|slot| slot.account.serial) else {
            return Ok(found);
        };
        let prefix = name_prefix(serial, subject.as_str());
        let to = after_prefix(&prefix);
        for row in rows(archive, Table::Subjects, prefix, to, limits::ERASED_NAMES_MAX) {
            let named = name_row(&row?.0);
            found.earlier.extend(named.filter(|(_, name)| subject.contains(name)));
        }
        let ids = found.earlier.iter().map(|(id, _)| *id).collect();
        found.measures = measures::keys_of_subjects(archive, serial, &ids)?;
        Ok(found)
    }

    /// Forgets the names of a subject and of all below it, and returns how many there were. What counts
    /// in them goes on under their numbers; which values there were in their windows is forgotten.
    ///
    /// # Errors
    /// When the account is not known, or the store takes no write; [`AdminError::Behind`] when a subject has left
    /// the memory since.
    pub fn erase_subject(
        &self,
        account: &str,
        subject: SubjectPath<'_>,
        seen: &Erasing,
        now: Millis,
    ) -> Result<(usize, Option<Seq>), AdminError> {
        self.store.room().map_err(EngineError::from)?;
        let catalog = self.catalog();
        let unknown = || AdminError::UnknownAccount { account: account.to_owned() };
        let mut slot = self.accounts.get_mut(account).ok_or_else(unknown)?;
        let until = self.late.forgotten_last(slot.account.serial);
        if until > seen.position {
            return Err(AdminError::Behind { until });
        }
        let is_named = |one: &Override| match &one.value {
            OverrideValue::SubjectLimit { subject: of, .. } => subject.contains(of),
            _ => false,
        };
        let named: BTreeSet<String> = slot
            .account
            .profile
            .overrides()
            .iter()
            .filter(|one| is_named(one))
            .filter_map(|one| match &one.value {
                OverrideValue::SubjectLimit { subject, .. } => Some(subject.to_string()),
                _ => None,
            })
            .collect();
        let mut all: BTreeSet<(SubjectId, String)> = seen.earlier.iter().cloned().collect();
        if let Some(subjects) = slot.account.subjects() {
            let live = subjects.at_or_below(subject);
            let live = live.filter_map(|id| Some((id, subjects.get(id)?.name.to_string())));
            all.extend(live.collect::<Vec<_>>());
        }
        let ids = all.iter().map(|(id, _)| *id).collect();
        let until = self.late.measured_last(slot.account.serial, &ids);
        if until > seen.position {
            return Err(AdminError::Behind { until });
        }
        if !named.is_empty() {
            self.edit(account, &mut slot, now, |profile| {
                let extra = profile.extra.get_or_insert_default();
                extra.overrides.retain(|one| !is_named(one));
                Ok(())
            })?;
        }
        let names: BTreeSet<&String> = all.iter().map(|(_, name)| name).chain(&named).collect();
        let count = names.len();
        if count == 0 {
            return Ok((0, None));
        }
        let cx = Context { catalog: &catalog, now: slot.account.not_before(now) };
        let erased = all.iter().map(|(id, name)| Effect::SubjectErased(*id, name.as_str().into()));
        let effects: Effects = erased.collect();
        for some in effects.chunks(limits::ERASED_NAMES_MAX) {
            self.note(cx, &mut slot, some, &mut Vec::new());
        }
        let (mut last, mut bytes) = (slot.last_seq, Vec::new());
        for some in seen.measures.chunks(limits::FORGOTTEN_EVENTS_MAX) {
            bytes.clear();
            record::put_forgotten(&mut bytes, some);
            last = self.store.append(&bytes, true);
        }
        Ok((count, Some(last)))
    }
}

/// Refuses a path with a level that was most probably meant to be one that has limits of the feature.
pub(crate) fn check_types(
    catalog: &Catalog,
    feature: Option<FeatureIx>,
    subject: SubjectPath<'_>,
) -> Result<(), EngineError> {
    let wrong = feature.and_then(|feature| decide::mistyped(catalog, feature, subject));
    wrong.map_or(Ok(()), |wrong| Err(EngineError::Subject(Box::new(wrong))))
}

/// The limit of a feature that an override for one subject is of.
pub(crate) fn limit_of(
    catalog: &Catalog,
    shape: &Feature,
    subject: SubjectPath<'_>,
    limit: &str,
) -> Result<NameId, AdminError> {
    let id = catalog.names().get(limit);
    if let Some(level) = shape.levels.iter().find(|level| Some(level.limit) == id) {
        let per = catalog.text(level.per);
        if per == subject.kind() {
            return Ok(level.limit);
        }
        let what =
            format!("limit {limit:?} is of each {per}: end the subject with a level `{per}:…`");
        return Err(AdminError::WrongSubject { what });
    }
    let is_own = match &shape.kind {
        FeatureKind::Quota { limits } => limits.iter().any(|(own, _)| Some(*own) == id),
        kind => {
            let (feature, kind) = (shape.feature.to_string(), kind.as_str());
            return Err(AdminError::WrongKind { feature, kind });
        }
    };
    if is_own {
        let what = format!("limit {limit:?} is of the account: leave the subject out");
        return Err(AdminError::WrongSubject { what });
    }
    let known = shape.levels.iter().map(|level| catalog.text(level.limit).to_owned()).collect();
    Err(AdminError::UnknownName { what: "limit", name: limit.to_owned(), known })
}

/// What an answer shows of the subject's own limits: all of them when asked for, and the one that
/// decided when the answer is an earlier one, which has a receipt.
pub(crate) fn add_levels(
    cx: Context<'_>,
    account: &Account,
    feature: Option<FeatureIx>,
    (subject, wants): (SubjectPath<'_>, Wants),
    receipt: Option<&Receipt>,
    reply: &mut Reply,
) {
    let unnamed = receipt.filter(|_| reply.outcome.decision.binding.is_none());
    if let (Some(feature), Some(receipt)) = (feature, unnamed) {
        let mut states = decide::level_states(cx, account, feature, subject).into_iter();
        let binding = states.find(|state| state.ledger.limit == receipt.binding);
        let is_found = binding.is_some();
        let decision = &mut reply.outcome.decision;
        decision.binding = binding;
        if let Some(charge) = receipt.done.as_ref().and_then(|done| done.charge.clone()) {
            decision.set_charge(charge);
        }
        if wants.about {
            reply.about = about_if_due(cx, account, decision);
        }
        if is_found && wants.others(reply.outcome.decision.verdict) {
            reply.other_limits = decide::limit_states(cx, account, feature).into_iter().collect();
        }
        see_origins(cx, account, reply);
    }
    add_others(cx, account, feature, (subject, wants), reply);
}

pub(crate) fn add_others(
    cx: Context<'_>,
    account: &Account,
    feature: Option<FeatureIx>,
    (subject, wants): (SubjectPath<'_>, Wants),
    reply: &mut Reply,
) {
    let Decision { binding: Some(binding), verdict, .. } = &reply.outcome.decision else { return };
    if !wants.others(*verdict) {
        return;
    }
    let Some(feature) = feature else { return };
    let is_other = |state: &LimitState| state.ledger.limit != binding.ledger.limit;
    let states = decide::level_states(cx, account, feature, subject).into_iter();
    reply.other_limits.extend(states.filter(is_other));
    see_origins(cx, account, reply);
}

/// Says anew whose word the limits are that an answer shows, after they have changed.
fn see_origins(cx: Context<'_>, account: &Account, reply: &mut Reply) {
    if !origin::is_plain(cx.catalog, account) {
        let (decision, others) = (&reply.outcome.decision, &reply.other_limits);
        reply.origins = origin::origins(cx, account, decision, others);
    }
}

/// The key of the row that says which number a name has or had.
pub fn name_key(serial: u32, id: SubjectId, name: &str) -> Vec<u8> {
    let mut key = name_prefix(serial, name);
    key.push(0);
    key.extend_from_slice(&id.0.to_be_bytes());
    key
}

/// What the keys of an account's names begin with that begin with `name`.
pub fn name_prefix(serial: u32, name: &str) -> Vec<u8> {
    let mut key = serial.to_be_bytes().to_vec();
    key.push(NAMES);
    key.extend_from_slice(name.as_bytes());
    key
}

/// What the keys of the closed windows of a subject begin with, or of all of an account.
pub fn window_prefix(serial: u32, id: Option<SubjectId>) -> Vec<u8> {
    let mut key = serial.to_be_bytes().to_vec();
    key.push(WINDOWS);
    key.extend(id.iter().flat_map(|id| id.0.to_be_bytes()));
    key
}

/// The key of the row that says which name a number has.
pub fn id_key(serial: u32, id: SubjectId) -> Vec<u8> {
    let mut key = serial.to_be_bytes().to_vec();
    key.push(IDS);
    key.extend_from_slice(&id.0.to_be_bytes());
    key
}

/// The record that gave a name its number, and its instant. Rows of versions that did not keep that say the
/// beginning of all.
pub(crate) fn name_value(value: &[u8]) -> (Seq, Millis) {
    let mut from = Take::new(value);
    let known = from.fixed_u64("position").and_then(|seq| Ok((Seq(seq), from.millis("time")?)));
    known.unwrap_or((Seq(0), Millis(i64::MIN)))
}

/// The name and the number of a name's row.
pub fn name_row(key: &[u8]) -> Option<(SubjectId, String)> {
    let (name, id) = key.get(5..)?.split_last_chunk::<4>()?;
    let name = name.strip_suffix(&[0])?;
    Some((SubjectId(u32::from_be_bytes(*id)), str::from_utf8(name).ok()?.to_owned()))
}

/// The subject of a closed window's row.
pub fn window_subject(key: &[u8]) -> Option<SubjectId> {
    Some(SubjectId(u32::from_be_bytes(*key.get(5..)?.first_chunk()?)))
}

/// Whether a row is that of a name.
pub fn is_name(key: &[u8]) -> bool {
    key.get(4) == Some(&NAMES)
}

/// Whether a row is that of a closed window.
pub fn is_window(key: &[u8]) -> bool {
    key.get(4) == Some(&WINDOWS)
}

/// Whether a row is a line of what came to a window.
pub fn is_adjustment(key: &[u8]) -> bool {
    key.get(4) == Some(&ADJUSTMENTS)
}

/// The key of a line as if it were that of its window, with the record behind it.
pub fn adjusted_window(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    if let Some(kind) = key.get_mut(4) {
        *kind = WINDOWS;
    }
    key
}

/// Names first, then windows, then numbers, then what came to windows. No name has the zero that ends it: it
/// has no control characters.
const NAMES: u8 = 0;
const WINDOWS: u8 = 1;
const IDS: u8 = 2;
const ADJUSTMENTS: u8 = 3;

pub(crate) fn named(
    (seq, serial, at): (Seq, u32, Millis),
    id: SubjectId,
    name: &str,
) -> [ProjectionOp; 2] {
    let put = |key, value| ProjectionOp::Put { table: Table::Subjects, key, value };
    let mut born = seq.0.to_le_bytes().to_vec();
    born.put_millis(at);
    [put(name_key(serial, id, name), born), put(id_key(serial, id), name.into())]
}

pub(crate) fn erased(serial: u32, id: SubjectId, name: &str) -> [ProjectionOp; 2] {
    let delete = |key| ProjectionOp::Delete { table: Table::Subjects, key };
    [delete(name_key(serial, id, name)), delete(id_key(serial, id))]
}

pub(crate) fn closed(serial: u32, id: SubjectId, window: &Restated) -> ProjectionOp {
    let ledger = &window.closed;
    let mut key = limit_prefix(serial, id, ledger.feature, ledger.limit);
    key.extend_from_slice(&start_key(ledger.window.start()));
    let value = match window.is_restated() {
        true => restated_row(window),
        false => {
            let mut value = Vec::new();
            record::put_ledger(&mut value, ledger);
            if let Some(terms) = &window.terms {
                value.push(events::TERMS);
                record::closing::put_terms(&mut value, terms);
            }
            value
        }
    };
    ProjectionOp::Put { table: Table::Subjects, key, value }
}

/// What the keys of the closed windows of a limit of a subject begin with.
pub(crate) fn limit_prefix(serial: u32, id: SubjectId, feature: NameId, limit: NameId) -> Vec<u8> {
    let mut key = window_prefix(serial, Some(id));
    key.extend_from_slice(&feature.0.to_be_bytes());
    key.extend_from_slice(&limit.0.to_be_bytes());
    key
}

/// What the keys of what came to the windows of a subject begin with, or to those of one feature.
pub fn adjustment_prefix(serial: u32, id: SubjectId, feature: Option<NameId>) -> Vec<u8> {
    let mut key = serial.to_be_bytes().to_vec();
    key.push(ADJUSTMENTS);
    key.extend_from_slice(&id.0.to_be_bytes());
    key.extend(feature.iter().flat_map(|feature| feature.0.to_be_bytes()));
    key
}

/// The key of a line of a subject's history. Behind the number it is as one of the account's behind its own.
pub(crate) fn adjustment_key(
    (serial, id): (u32, SubjectId),
    feature: NameId,
    booking: &Booking,
    seq: Seq,
) -> Vec<u8> {
    let mut key = adjustment_prefix(serial, id, Some(feature));
    key.extend_from_slice(&booking.limit.0.to_be_bytes());
    key.extend_from_slice(&start_key(booking.window_start));
    key.extend_from_slice(&seq.0.to_be_bytes());
    key
}
