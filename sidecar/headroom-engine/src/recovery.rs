//! Recovery and checkpoints: the memory written down account by account, and read back.
//!
//! A checkpoint is taken while requests go on, so accounts in it are of different moments. Each says
//! the position of its last record, and replay skips what it already contains.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use foldhash::quality::RandomState;
use headroom_core::account::{Account, Profile};
use headroom_core::catalog::{Catalog, CatalogSpec, SpecProblem};
use headroom_core::effect::Effect;
use headroom_core::ledger::Ledger;
use headroom_core::names::{NameId, Names};
use headroom_core::reservation::ReservationState;
use headroom_core::time::Millis;

use crate::admin::{AdminState, Installed, Step};
use crate::codec::{Malformed, Put, Take};
use crate::engine::{AccountId, Accounts, Engine, SHARDS, Slot};
use crate::keys::{KeyBook, KeyEntry};
use crate::late::LateBook;
use crate::migrate::{self, Compared};
use crate::ports::{GrowthRow, Seq, Store};
use crate::record::{self, Record};
use crate::timers::Timers;
use crate::told::Told;

/// What an engine is made of besides its state.
pub struct EngineOptions {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// The data directory's secret, for hashes of idempotency keys.
    pub secret: [u8; 16],
    /// How many times the data directory was opened.
    pub boot: u32,
    /// How long an idempotency key is remembered, in milliseconds.
    pub key_horizon_ms: i64,
    /// How many idempotency keys are remembered.
    pub keys_max: NonZeroUsize,
}

/// Why a data directory's content cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// A snapshot entry cannot be read.
    #[error("snapshot entry {entry} is not one of this version: {cause}")]
    Entry {
        /// Its place, from 0.
        entry: u64,
        /// What is wrong with it.
        cause: Malformed,
    },
    /// A journal record cannot be read.
    #[error("journal record {seq} is not one of this version: {cause}")]
    Record {
        /// Its position.
        seq: Seq,
        /// What is wrong with it.
        cause: Malformed,
    },
    /// A record speaks of an account that no record introduced.
    #[error("journal record {seq} is of account number {serial}, which nothing introduced")]
    UnknownSerial {
        /// The record's position.
        seq: Seq,
        /// The number.
        serial: u32,
    },
    /// A name has two numbers.
    #[error("journal record {seq} gives name {text:?} another number")]
    NameMoved {
        /// The record's position.
        seq: Seq,
        /// The name.
        text: String,
    },
}

/// The domain's clock as a data directory remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMemory {
    /// Whether it was a test clock.
    pub test: bool,
    /// The latest instant of any record: time never goes below it.
    pub high_water: Millis,
}

/// State being read back.
pub struct Recovery {
    accounts: Accounts,
    serials: Vec<AccountId>,
    admin: AdminState,
    clock: Option<ClockMemory>,
    keys: KeyBook,
    entries: u64,
    last_seq: Seq,
    // What the catalog in force before said, if it can still be read.
    before: Option<CatalogSpec>,
}

mod entry_kind {
    pub(super) const HEAD: u8 = 1;
    pub(super) const ACCOUNT: u8 = 2;
    /// Read only: format 2 counted the time of keys in parts of the horizon, which may change.
    pub(super) const KEYS: u8 = 3;
    pub(super) const KEYS_TIMED: u8 = 40;
}

/// Bits of the byte that says what an account's entry has besides its ledgers.
mod rare {
    pub(super) const RESERVATIONS: u8 = 1;
    /// Read only: format 2 had a list of its own for each of these two.
    pub(super) const EXCESSES: u8 = 2;
    pub(super) const BUCKETS: u8 = 4;
    /// All else, as the effects that make it.
    pub(super) const FURTHER: u8 = 8;
}

impl Recovery {
    /// An empty memory, to which a snapshot's entries and then the journal's records are added.
    pub fn new(key_horizon_ms: i64, keys_max: NonZeroUsize) -> Recovery {
        Recovery {
            accounts: DashMap::with_capacity_and_hasher_and_shard_amount(
                0,
                RandomState::default(),
                SHARDS,
            ),
            serials: Vec::new(),
            admin: AdminState::default(),
            clock: None,
            keys: KeyBook::new(key_horizon_ms, keys_max),
            entries: 0,
            last_seq: Seq(0),
            before: None,
        }
    }

    /// Says what the catalog in force before was: what [`Recovery::catalog_source`] says, read. A start
    /// under another catalog is then refused as a reload is, when it would leave usage behind.
    pub fn coming_from(&mut self, before: CatalogSpec) {
        self.before = Some(before);
    }

    /// What a start under another catalog would be refused for, and what there is to say of migrations
    /// that it does not need.
    ///
    /// # Errors
    /// Everything that is wrong with the catalog.
    pub fn compare(&self, spec: CatalogSpec, now: Millis) -> Compared {
        let before = self.catalog_before();
        let (catalog, _) =
            self.admin.build(spec, "", Step::From(before.as_ref(), &self.accounts))?;
        let Some(before) = before else { return Ok((Vec::new(), Vec::new())) };
        let orphans = migrate::orphans(&self.accounts, &before, &catalog, now);
        Ok((orphans, migrate::needless(&before, &catalog)))
    }

    /// The catalog that was in force. One that a later version of the check refuses was in force all the
    /// same; then nothing is known of it.
    fn catalog_before(&self) -> Option<Catalog> {
        let before = self.before.clone()?;
        self.admin.build(before, "", Step::InForce).ok().map(|(before, _)| before)
    }

    /// Adds the next entry of a snapshot.
    pub fn entry(&mut self, bytes: &[u8]) -> Result<(), RecoveryError> {
        let entry = self.entries;
        self.entries += 1;
        self.take_entry(bytes).map_err(|cause| RecoveryError::Entry { entry, cause })
    }

    fn take_entry(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut from = Take::new(bytes);
        match from.u8("entry kind")? {
            entry_kind::HEAD => {
                self.admin.revision = from.u64("catalog revision")?;
                self.admin.source = from.str("catalog")?.into();
                let test = from.bool("clock kind")?;
                let high_water = from.millis("clock")?;
                self.clock = Some(ClockMemory { test, high_water });
                for number in 0..from.small::<u32>("names")? {
                    let given = self.admin.names.intern(from.str("name")?);
                    if given != NameId(number) {
                        return Err(Malformed { what: "names" });
                    }
                }
                // Written only where a feature is called otherwise than at first.
                if !from.is_done() {
                    let called = record::take_called(&mut from)?;
                    self.admin.names.set_called(called);
                }
            }
            entry_kind::ACCOUNT => {
                let id: AccountId = from.str("account")?.into();
                let slot = take_slot(&mut from, &id)?;
                self.set_serial(slot.account.serial, &id);
                self.accounts.insert(id, Box::new(slot));
            }
            entry_kind::KEYS => self.take_keys(&mut from, false)?,
            entry_kind::KEYS_TIMED => self.take_keys(&mut from, true)?,
            _ => return Err(Malformed { what: "entry kind" }),
        }
        if from.is_done() { Ok(()) } else { Err(Malformed { what: "end of entry" }) }
    }

    /// Keys of an account whose own entry came before.
    fn take_keys(&mut self, from: &mut Take<'_>, timed: bool) -> Result<(), Malformed> {
        let serial: u32 = from.small("serial")?;
        let unknown = Malformed { what: "serial" };
        let id = self.serials.get(serial as usize).ok_or(unknown)?;
        let mut slot = self.accounts.get_mut(id).ok_or(unknown)?;
        let oldest = self.keys.oldest();
        // Where generations were counted otherwise, none may be later than all that is.
        let newest = self.clock.map_or(u32::MAX, |clock| self.keys.generation(clock.high_water));
        let keys = slot.keys.get_or_insert_default();
        for _ in 0..from.small::<usize>("keys")? {
            let hash = record::take_key(from)?;
            let seq = Seq(from.u64("key position")?);
            let (generation, offset_ms) = if timed {
                let at = from.millis("key time")?;
                let generation = self.keys.generation(at);
                (generation, self.keys.offset_ms(at, generation))
            } else {
                (from.small::<u32>("key generation")?.min(newest), KeyEntry::NO_OFFSET)
            };
            let receipt = record::take_receipt(from)?;
            self.keys.advance_to(generation);
            if keys.insert(KeyEntry { hash, seq, generation, offset_ms, receipt }, oldest) {
                self.keys.add(generation);
            }
        }
        Ok(())
    }

    /// Adds the next record of the journal.
    pub fn record(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), RecoveryError> {
        self.last_seq = seq;
        match record::take(bytes).map_err(|cause| RecoveryError::Record { seq, cause })? {
            Record::Decided { serial, at, key, receipt, effects } => {
                self.see(at);
                let generation = self.keys.generation(at);
                let offset_ms = self.keys.offset_ms(at, generation);
                self.keys.advance(at);
                let oldest = self.keys.oldest();
                let mut is_new = false;
                self.replay(seq, serial, |slot| {
                    apply_all(slot, &effects);
                    let entry = KeyEntry { hash: key, seq, generation, offset_ms, receipt };
                    is_new = slot.keys.get_or_insert_default().insert(entry, oldest);
                })?;
                if is_new {
                    self.keys.add(generation);
                }
            }
            Record::Noted { serial, at, effects } => {
                self.see(at);
                // What happened earlier is noted, and its key is taken.
                let event = effects.iter().find_map(|effect| match effect {
                    Effect::Event(event) => Some(event),
                    _ => None,
                });
                let entry = event.and_then(|event| self.keys.entry_of_event(event, seq, at));
                let (oldest, mut counted) = (self.keys.oldest(), None);
                self.replay(seq, serial, |slot| {
                    apply_all(slot, &effects);
                    if let Some(entry) = entry {
                        let generation = entry.generation;
                        let is_new = slot.keys.get_or_insert_default().insert(entry, oldest);
                        counted = is_new.then_some(generation);
                    }
                })?;
                if let Some(generation) = counted {
                    self.keys.add(generation);
                }
            }
            Record::Profile { serial, account, at, profile } => {
                self.see(at);
                self.put_profile(seq, (serial, account), (profile, at));
            }
            Record::Name { id, text } => {
                if self.admin.names.intern(text) != id {
                    return Err(RecoveryError::NameMoved { seq, text: text.to_owned() });
                }
            }
            Record::Catalog { revision, at, source, called } => {
                self.see(at);
                if revision >= self.admin.revision {
                    self.admin.revision = revision;
                    self.admin.source = source.into();
                    if let Some(called) = called {
                        self.admin.names.set_called(called);
                    }
                }
            }
            Record::Clock { test, at } => {
                self.see(at);
                if let Some(clock) = &mut self.clock {
                    clock.test = test;
                }
            }
            // How far the sinks have come is the projection's to know.
            Record::Delivered { .. } | Record::Forgotten { .. } | Record::Growth { .. } => {}
        }
        Ok(())
    }

    /// The clock as the data directory remembers it. `None`: it is new.
    pub fn clock(&self) -> Option<ClockMemory> {
        self.clock
    }

    /// The text of a name's number: of a limit or a plan.
    pub fn name(&self, id: NameId) -> &str {
        self.admin.names.text(id)
    }

    /// What the feature of a number is called.
    pub fn feature_name(&self, id: NameId) -> &str {
        self.admin.names.feature_text(id)
    }

    /// Accounts in the order they were first seen, each with its ledgers.
    pub fn contents(&self) -> Vec<(AccountId, Vec<Ledger>)> {
        let with_ledgers = |id: &AccountId| {
            let slot = self.accounts.get(id)?;
            Some((id.clone(), slot.account.ledgers().to_vec()))
        };
        self.serials.iter().filter_map(with_ledgers).collect()
    }

    /// The text of the catalog that was last in force; empty when there was none.
    pub fn catalog_source(&self) -> &str {
        &self.admin.source
    }

    /// Makes the engine, under a catalog. The catalog is journaled when it is not the last one.
    ///
    /// # Errors
    /// Everything that is wrong with the catalog.
    pub fn finish(
        self,
        spec: CatalogSpec,
        source: &str,
        now: Millis,
        options: EngineOptions,
    ) -> Result<(Engine, Installed), Vec<SpecProblem>> {
        let before = self.catalog_before();
        let (catalog, installed) =
            self.admin.build(spec, source, Step::From(before.as_ref(), &self.accounts))?;
        let of_before = before.as_ref();
        let orphans =
            of_before.map(|before| migrate::orphans(&self.accounts, before, &catalog, now));
        if let Some(orphans) = orphans.filter(|orphans| !orphans.is_empty()) {
            return Err(orphans);
        }
        let hints =
            before.as_ref().map(|before| headroom_core::migrate::mistaken(before, &catalog).hints);
        let installed = Installed { hints: hints.unwrap_or_default(), ..installed };
        let ledgers = self.accounts.iter().map(|slot| slot.account.ledgers().len() as u64).sum();
        let floor = self.accounts.iter().map(|slot| slot.last_seq).max().unwrap_or_default();
        let timers =
            Timers::of(self.accounts.iter().map(|s| (s.account.notice_at(), s.account.serial)));
        let engine = Engine {
            accounts: self.accounts,
            serials: Mutex::new(self.serials),
            catalog: ArcSwap::from_pointee(catalog.clone()),
            admin: Mutex::new(self.admin),
            store: options.store,
            keys: self.keys,
            secret: options.secret,
            boot: options.boot,
            timers,
            late: LateBook::new(floor.max(self.last_seq)),
            ledgers: AtomicU64::new(ledgers),
            halted: Mutex::default(),
            halted_count: AtomicU64::new(0),
        };
        engine.keys.advance(now);
        if let Some(before) = before.as_ref().filter(|_| installed.changed) {
            engine.keep_terms(before, &catalog, now);
        }
        engine.follow_kinds(before.as_ref().unwrap_or(&catalog), &catalog, now);
        let installed = {
            let mut admin = engine.admin.lock().unwrap_or_else(|held| held.into_inner());
            engine.bring_in(&mut admin, (catalog, installed), source, now)
        };
        let catalog = Arc::clone(&engine.catalog());
        engine.note_owing(&catalog, now);
        Ok((engine, installed))
    }

    fn see(&mut self, at: Millis) {
        match &mut self.clock {
            Some(clock) => clock.high_water = clock.high_water.max(at),
            None => self.clock = Some(ClockMemory { test: false, high_water: at }),
        }
    }

    fn set_serial(&mut self, serial: u32, id: &AccountId) {
        let place = serial as usize;
        if self.serials.len() <= place {
            self.serials.resize(place + 1, AccountId::new());
        }
        self.serials[place] = id.clone();
    }

    fn put_profile(
        &mut self,
        seq: Seq,
        (serial, account): (u32, &str),
        (profile, at): (Profile, Millis),
    ) {
        if let Some(mut slot) = self.accounts.get_mut(account) {
            if slot.last_seq < seq {
                slot.account.put_profile(profile, at);
                slot.last_seq = seq;
            }
            return;
        }
        let id: AccountId = account.into();
        self.set_serial(serial, &id);
        let account = Account::new(serial, profile).drawing_by(&id);
        let slot = Slot { account, last_seq: seq, keys: None };
        self.accounts.insert(id, Box::new(slot));
    }

    /// Changes an account by a record, unless the snapshot had it already.
    fn replay(
        &self,
        seq: Seq,
        serial: u32,
        change: impl FnOnce(&mut Slot),
    ) -> Result<(), RecoveryError> {
        let unknown = RecoveryError::UnknownSerial { seq, serial };
        let Some(id) = self.serials.get(serial as usize) else { return Err(unknown) };
        let Some(mut slot) = self.accounts.get_mut(id) else { return Err(unknown) };
        if slot.last_seq < seq {
            change(&mut slot);
            slot.last_seq = seq;
        }
        Ok(())
    }
}

fn apply_all(slot: &mut Slot, effects: &[Effect]) {
    for effect in effects {
        slot.account.apply(effect);
    }
}

impl Engine {
    /// Journals which clock runs and what it shows. Done at every start and whenever a test clock is
    /// moved.
    pub fn note_clock(&self, test: bool, at: Millis) -> Seq {
        let mut bytes = Vec::new();
        record::put_clock(&mut bytes, test, at);
        self.store.append(&bytes, false)
    }

    /// Journals how far a sink has come.
    pub fn note_delivered(&self, sink: &str, upto: crate::digest::SignalId) -> Seq {
        let mut bytes = Vec::new();
        record::put_delivered(&mut bytes, sink, upto.seq.0, upto.place);
        self.store.append(&bytes, true)
    }

    /// Journals rows about growth and signals that were told, all of them or none. The rows are in the table [`Table::Growth`] once the
    /// projection has come to the record, the signals where all others are; no account's memory holds
    /// any of it.
    ///
    /// [`Table::Growth`]: crate::ports::Table::Growth
    pub fn note_growth(&self, rows: &[GrowthRow], told: &[(u32, Told)]) -> Seq {
        let mut bytes = Vec::new();
        record::put_growth(&mut bytes, rows, told);
        self.store.append(&bytes, true)
    }

    /// Writes the memory down, entry by entry, while requests go on, and returns the position of the
    /// last record that any entry contains. The caller keeps the checkpoint from counting before
    /// the journal is as far.
    ///
    /// # Errors
    /// What `entry` reports; the checkpoint is then abandoned.
    pub fn checkpoint<E>(
        &self,
        clock: ClockMemory,
        mut entry: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Seq, E> {
        let mut bytes = Vec::new();
        {
            let admin = self.admin.lock().unwrap_or_else(|held| held.into_inner());
            put_head(&mut bytes, &admin, clock);
        }
        entry(&bytes)?;
        let oldest = self.keys.oldest();
        let mut last = Seq(0);
        let mut from = 0;
        loop {
            let page = self.account_ids(from, 1024);
            let Some((serial, _)) = page.last() else { return Ok(last) };
            from = serial + 1;
            for (_, id) in page {
                let Some(slot) = self.accounts.get(&id) else { continue };
                bytes.clear();
                put_slot(&mut bytes, &id, &slot);
                last = last.max(slot.last_seq);
                let has_keys = slot.keys.is_some();
                drop(slot);
                entry(&bytes)?;
                if has_keys {
                    last = last.max(self.checkpoint_keys(&id, oldest, &mut bytes, &mut entry)?);
                }
            }
        }
    }

    /// Writes the keys of an account down, chunk by chunk, so that an account with millions of them
    /// is never locked for long. The account's own entry was written before: keys that came since
    /// are here and in the journal both, which does no harm.
    fn checkpoint_keys<E>(
        &self,
        id: &str,
        oldest: u32,
        bytes: &mut Vec<u8>,
        entry: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Seq, E> {
        let mut last = Seq(0);
        let mut from = None;
        loop {
            let Some(slot) = self.accounts.get(id) else { return Ok(last) };
            let Some(keys) = &slot.keys else { return Ok(last) };
            let chunk = keys.chunk_from(from.unwrap_or(keys.first()));
            let Some((chunk, next)) = chunk else { return Ok(last) };
            from = Some(next);
            let live = || chunk.iter().filter(|e| e.generation >= oldest);
            bytes.clear();
            bytes.push(entry_kind::KEYS_TIMED);
            bytes.put_u64(u64::from(slot.account.serial));
            bytes.put_u64(live().count() as u64);
            for key in live() {
                last = last.max(key.seq);
                record::put_key(bytes, key.hash);
                bytes.put_u64(key.seq.0);
                bytes.put_millis(self.keys.about(key));
                record::put_receipt(bytes, &key.receipt);
            }
            drop(slot);
            entry(bytes)?;
        }
    }
}

fn put_head(out: &mut Vec<u8>, admin: &AdminState, clock: ClockMemory) {
    out.push(entry_kind::HEAD);
    out.put_u64(admin.revision);
    out.put_str(&admin.source);
    out.push(u8::from(clock.test));
    out.put_millis(clock.high_water);
    let names: &Names = &admin.names;
    out.put_u64(names.len() as u64);
    for (_, text) in names.since(0) {
        out.put_str(text);
    }
    let called: Vec<(NameId, &str)> = names.called().collect();
    if !called.is_empty() {
        record::put_called(out, &called);
    }
}

fn put_slot(out: &mut Vec<u8>, id: &str, slot: &Slot) {
    out.push(entry_kind::ACCOUNT);
    out.put_str(id);
    out.put_u64(u64::from(slot.account.serial));
    out.put_u64(slot.last_seq.0);
    record::put_profile_body(out, &slot.account.profile);
    out.put_u64(slot.account.ledgers().len() as u64);
    for ledger in slot.account.ledgers() {
        record::put_ledger(out, ledger);
    }
    let further = slot.account.further();
    let with = |part: u8, is_there: bool| if is_there { part } else { 0 };
    out.push(
        with(rare::RESERVATIONS, slot.account.reservations().is_some())
            | with(rare::FURTHER, !further.is_empty()),
    );
    if let Some(reservations) = slot.account.reservations() {
        out.put_u64(reservations.last_id());
        // Outcomes in the order they came, so that the oldest is forgotten first again.
        let mut all: Vec<_> = reservations.iter().collect();
        all.sort_by_key(|r| (r.state != ReservationState::Open, r.next_event_at, r.id));
        out.put_u64(all.len() as u64);
        for reservation in all {
            record::put_reservation(out, reservation);
        }
    }
    if !further.is_empty() {
        record::put_effects(out, &further);
    }
}

fn take_slot(from: &mut Take<'_>, id: &str) -> Result<Slot, Malformed> {
    let serial = record::take_serial(from)?;
    let last_seq = Seq(from.u64("last record")?);
    let profile = record::take_profile_body(from)?;
    let mut account = Account::new(serial, profile).drawing_by(id);
    for _ in 0..from.small::<usize>("ledgers")? {
        account.apply(&Effect::Ledger(record::take_ledger(from)?));
    }
    let parts = from.u8("parts of an account")?;
    if parts & !(rare::RESERVATIONS | rare::EXCESSES | rare::BUCKETS | rare::FURTHER) != 0 {
        return Err(Malformed { what: "parts of an account" });
    }
    if parts & rare::RESERVATIONS != 0 {
        let last_id = from.u64("last reservation")?;
        for _ in 0..from.small::<usize>("reservations")? {
            account.apply(&Effect::Reservation(record::take_reservation(from)?));
        }
        account.restore_last_reservation(last_id);
    }
    if parts & rare::EXCESSES != 0 {
        for _ in 0..from.small::<usize>("excesses")? {
            account.apply(&Effect::Excess(Box::new(record::take_excess(from)?)));
        }
    }
    if parts & rare::BUCKETS != 0 {
        take_buckets(from, &mut account)?;
    }
    if parts & rare::FURTHER != 0 {
        record::take_effects(from)?.iter().for_each(|effect| account.apply(effect));
    }
    Ok(Slot { account, last_seq, keys: None })
}

fn take_buckets(from: &mut Take<'_>, account: &mut Account) -> Result<(), Malformed> {
    let count: usize = from.small("buckets")?;
    if count > headroom_core::limits::BUCKETS_MAX {
        return Err(Malformed { what: "buckets" });
    }
    for _ in 0..count {
        account.apply(&Effect::Bucket(record::take_bucket(from)?));
    }
    Ok(())
}
