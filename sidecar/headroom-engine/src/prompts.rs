//! What becomes of prompts: the ids they go out with, and what is told about them.
//!
//! Nothing is remembered of a prompt until somebody says that it was shown: its id holds what is
//! needed then, under a keyed hash, so that an account's ids cannot be made up nor used for another
//! one.

use headroom_core::account::Profile;
use headroom_core::catalog::Catalog;
use headroom_core::decide::Context;
use headroom_core::effect::Effect;
use headroom_core::names::NameId;
use headroom_core::prompt::{self, EXPOSURE_MS_MAX, Exposure, Ticket, Told};
use headroom_core::time::Millis;

use crate::codec::{Put, Take};
use crate::engine::{About, DecisionId, Engine, EngineError, Slot, about};
use crate::keys::hash_key;
use crate::ports::{Archive, ArchiveError, Seq, Table};
use crate::record;

/// What telling an outcome did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeTold {
    /// Whether it was new.
    pub changed: bool,
    /// The record that must be written before this is answered.
    pub wait_for: Seq,
}

/// Why an outcome is not taken. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutcomeError {
    /// The id is none that this data directory gave out for the account.
    #[error("the prompt_id is not one that came with a prompt of this account")]
    UnknownPrompt,
    /// The prompt was made too long ago.
    #[error("the prompt was made more than 90 days ago")]
    TooOld,
    /// The catalog has no default plan, and nobody told us about the account.
    #[error("there is no such account")]
    UnknownAccount,
    /// The engine or the store refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The row of an exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExposureRow {
    /// The account's number.
    pub serial: u32,
    /// What was shown, and what came of it.
    pub exposure: Exposure,
}

/// Exposures read at once.
const ROWS_AT_ONCE: usize = 1_000;

impl Engine {
    /// A person of an account as a number, which nobody without the data directory's secret can
    /// turn back. 0: nobody was named.
    pub fn person_number(&self, account: &str, person: &str) -> u64 {
        if person.is_empty() {
            return 0;
        }
        self.keyed(&format!("person\0{account}\0{person}")).max(1)
    }

    /// The ticket of a prompt made at an instant. `answer` tells the answers of one instant apart:
    /// it is the receipt of the one that the prompt came with.
    pub fn ticket(
        &self,
        account: &str,
        (prompt, variant, language): (NameId, NameId, NameId),
        person: u64,
        (made_at, answer): (Millis, DecisionId),
    ) -> (Ticket, String) {
        let ticket = Ticket { id: 0, prompt, variant, language, person, made_at };
        let answer = answer.with_text(|text| self.keyed(&format!("answer\0{text}")));
        self.numbered(account, ticket, answer)
    }

    /// Gives a ticket its number, and the id that it goes out with.
    fn numbered(&self, account: &str, ticket: Ticket, answer: u64) -> (Ticket, String) {
        let Ticket { prompt, variant, language, person, made_at, .. } = ticket;
        let (made_at, answer) = (made_at.0.cast_unsigned(), answer & u64::from(u32::MAX));
        let body = format!(
            "{:x}.{:x}.{:x}.{person:x}.{made_at:x}.{answer:x}",
            prompt.0, variant.0, language.0
        );
        let id = self.keyed(&format!("prompt\0{account}\0{body}"));
        (Ticket { id, ..ticket }, format!("prm_{body}.{id:x}"))
    }

    /// What the id of a prompt stands for, if it is one of this account.
    pub fn ticket_of(&self, account: &str, text: &str) -> Option<Ticket> {
        let mut parts = text.strip_prefix("prm_")?.split('.');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let mut name = || u32::try_from(number()?).ok().map(NameId);
        let names = (name()?, name()?, name()?);
        let (prompt, variant, language) = names;
        let (person, made_at) = (number()?, Millis(number()?.cast_signed()));
        let ticket = Ticket { id: 0, prompt, variant, language, person, made_at };
        let (ticket, written) = self.numbered(account, ticket, number()?);
        // As it was written, to the letter: else it was made up.
        (written == text).then_some(ticket)
    }

    /// What a prompt may say of an account. `None`: nobody told us about it.
    pub fn about(&self, account: &str, now: Millis) -> Option<Box<About>> {
        let catalog = self.catalog();
        let cx = Context { catalog: &catalog, now };
        self.accounts.get(account).map(|slot| about(cx, &slot.account, None))
    }

    fn keyed(&self, text: &str) -> u64 {
        hash_key(&self.secret, text).0[0]
    }

    /// Takes in what became of a prompt. The same again changes nothing.
    ///
    /// # Errors
    /// When the id is none of the account's, or too old, or nothing can be written.
    pub fn tell_outcome(
        &self,
        catalog: &Catalog,
        (account, prompt_id): (&str, &str),
        what: Told,
        now: Millis,
    ) -> Result<OutcomeTold, OutcomeError> {
        let ticket = self.ticket_of(account, prompt_id).ok_or(OutcomeError::UnknownPrompt)?;
        if EXPOSURE_MS_MAX <= now.since(ticket.made_at) {
            return Err(OutcomeError::TooOld);
        }
        let cx = Context { catalog, now };
        let told = self.with_slot(account, cx, |slot| {
            let Some(slot) = slot else { return Ok(None) };
            self.store.room()?;
            let now = slot.account.not_before(now);
            let after = prompt::told(slot.account.exposures(), ticket, what, now);
            let changed = after.is_some();
            self.note_exposures(slot, after.into_iter().collect(), now);
            Ok(Some(OutcomeTold { changed, wait_for: slot.last_seq }))
        })?;
        told.ok_or(OutcomeError::UnknownAccount)
    }

    /// Writes down that somebody of the holdout would have been prompted. Best effort: nobody
    /// waits.
    pub fn hold_back(&self, catalog: &Catalog, account: &str, ticket: Ticket, now: Millis) {
        let conversion_ms = catalog.prompting().conversion_ms;
        let is_known = |slot: &Slot| {
            prompt::held_back(slot.account.exposures(), ticket, conversion_ms, now).is_none()
        };
        // Most often it is known, and nobody has to wait for the account.
        if self.accounts.get(account).is_some_and(|slot| is_known(&slot)) {
            return;
        }
        // Without room nothing is written, and the next time it is.
        let _ = self.with_slot(account, Context { catalog, now }, |slot| {
            let Some(slot) = slot else { return Ok(()) };
            self.store.room()?;
            let now = slot.account.not_before(now);
            let after = prompt::held_back(slot.account.exposures(), ticket, conversion_ms, now);
            self.note_exposures(slot, after.into_iter().collect(), now);
            Ok(())
        });
    }

    /// After a change of plan: which prompts it is the doing of. A prompt with an offer is for that
    /// plan, one without for any other than before.
    pub(crate) fn note_conversions(
        &self,
        slot: &mut Slot,
        (catalog, before): (&Catalog, &Profile),
        now: Millis,
    ) {
        let plan = slot.account.profile.paid_plan_at(now);
        if slot.account.exposures().is_empty() || before.paid_plan_at(now) == plan {
            return;
        }
        let plan = catalog.plan_of(plan);
        let counts = |id: NameId| {
            let known = catalog.prompts().iter().find(|known| known.id == id);
            known.is_some_and(|known| {
                known.offer.is_none_or(|offer| {
                    // Any version of the plan that was offered.
                    plan.is_some_and(|plan| catalog.plan(plan).plan == catalog.plan(offer).plan)
                })
            })
        };
        let conversion_ms = catalog.prompting().conversion_ms;
        let converted = prompt::converted(slot.account.exposures(), conversion_ms, now, counts);
        self.note_exposures(slot, converted, now);
    }

    fn note_exposures(&self, slot: &mut Slot, after: Vec<Exposure>, now: Millis) {
        if after.is_empty() {
            return;
        }
        let effects: Vec<Effect> =
            after.into_iter().map(|one| Effect::Exposure(Box::new(one))).collect();
        self.note_at(now, slot, &effects, &mut Vec::new());
    }
}

/// The key of an exposure's row: those of a prompt lie together, in the order they were shown.
pub(crate) fn exposure_key(serial: u32, exposure: &Exposure) -> Vec<u8> {
    let mut key = exposures_from(exposure.ticket.prompt, exposure.at);
    key.extend_from_slice(&serial.to_be_bytes());
    key.extend_from_slice(&exposure.ticket.id.to_be_bytes());
    key
}

/// What the keys of a prompt's exposures at an instant begin with.
fn exposures_from(prompt: NameId, at: Millis) -> Vec<u8> {
    let mut key = prompt.0.to_be_bytes().to_vec();
    // The sign bit turned, so that instants before 1970 sort first.
    key.extend_from_slice(&(at.0 ^ i64::MIN).to_be_bytes());
    key
}

pub(crate) fn exposure_row(serial: u32, exposure: &Exposure) -> Vec<u8> {
    let mut value = Vec::new();
    value.put_u64(u64::from(serial));
    record::put_exposure(&mut value, exposure);
    value
}

/// The next exposures of a prompt with `from <= at < to`, in the order they were shown, after
/// `after` (the key of the last one seen). The key of the last one comes with them; `None`: these
/// were the last.
///
/// # Errors
/// When the projection cannot be read.
pub fn exposures(
    archive: &dyn Archive,
    prompt: NameId,
    (from, to): (Millis, Millis),
    after: Option<&[u8]>,
) -> Result<(Vec<ExposureRow>, Option<Vec<u8>>), ArchiveError> {
    let mut start = after.map_or_else(|| exposures_from(prompt, from), <[u8]>::to_vec);
    if after.is_some() {
        // The first key after that one.
        start.push(0);
    }
    let end = exposures_from(prompt, to);
    let mut rows = archive.range(Table::Prompts, &start, &end, ROWS_AT_ONCE)?;
    let next = if rows.len() < ROWS_AT_ONCE { None } else { rows.pop() };
    let more = rows.last().filter(|_| next.is_some()).map(|(key, _)| key.clone());
    let read = |(_, value): &(Vec<u8>, Vec<u8>)| {
        let mut take = Take::new(value);
        let serial = take.small("serial")?;
        Ok(ExposureRow { serial, exposure: record::take_exposure(&mut take)? })
    };
    let rows: Result<Vec<ExposureRow>, crate::codec::Malformed> = rows.iter().map(read).collect();
    let rows = rows.map_err(|error| ArchiveError { reason: error.to_string() })?;
    Ok((rows, more))
}
