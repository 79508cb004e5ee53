//! What became of signals: opportunities, as the CRM tells them, and those that take too long.

use std::collections::BTreeMap;

use headroom_core::signal::SignalState;
use headroom_core::time::Millis;
use headroom_engine::ports::{GrowthRow, Seq, StoreRefusal};
use headroom_engine::told::Told;
use headroom_expansion::class;
use headroom_expansion::limits::OPPORTUNITIES_MAX;
use headroom_expansion::opportunity::{self, Opportunity, Record, Stage, Update, UpdateError};
use serde_json::{Value, json};

use super::{Growth, rows};

/// Opportunities that are told at once that they are late.
const OVERDUE_PER_RECORD: usize = 256;

/// Why an opportunity is not updated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpportunityError {
    /// What is known of growth is still being read.
    #[error("what is known of accounts' growth is still being read")]
    CatchingUp,
    /// The account is not known.
    #[error("there is no account {account:?}")]
    UnknownAccount {
        /// Its id.
        account: String,
    },
    /// Nobody raises such a signal.
    #[error("there is no signal {signal:?}")]
    UnknownSignal {
        /// Its name.
        signal: String,
    },
    /// It cannot be said so.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// As many are remembered as may be, and none of them has ended.
    #[error("{max} opportunities of the account are open")]
    TooMany {
        /// How many may be.
        max: usize,
    },
    /// The store takes no write.
    #[error(transparent)]
    Store(#[from] StoreRefusal),
}

/// An opportunity after an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// As it is now.
    pub opportunity: Opportunity,
    /// The record to wait for. `None`: nothing changed.
    pub wait_for: Option<Seq>,
}

impl Growth {
    /// Says how far an opportunity is.
    ///
    /// # Errors
    /// When that cannot be; nothing is changed then.
    pub fn update_opportunity(
        &self,
        account: &str,
        id: &str,
        update: &Update<'_>,
    ) -> Result<Updated, OpportunityError> {
        if !self.is_loaded() {
            return Err(OpportunityError::CatchingUp);
        }
        let unknown = || OpportunityError::UnknownAccount { account: account.to_owned() };
        let serial = self.engine.serial(account).ok_or_else(unknown)?;
        let terms = self.terms.load();
        if !update.signal.is_empty() && terms.class_of(update.signal).is_none() {
            return Err(OpportunityError::UnknownSignal { signal: update.signal.to_owned() });
        }
        self.engine.room()?;
        let mut book = self.book();
        let before = book.opportunities(serial).and_then(|all| all.get(id)).cloned();
        let next = opportunity::update(before.as_ref(), update, &terms.deadlines)?;
        let Some(next) = next else {
            let opportunity = before.expect("a new opportunity changes something");
            return Ok(Updated { opportunity, wait_for: None });
        };
        let mut rows = Vec::new();
        if before.is_none() && !make_room(&mut book, serial, &mut rows) {
            return Err(OpportunityError::TooMany { max: OPPORTUNITIES_MAX });
        }
        book.put_opportunity(serial, id, Some(next.clone()), &mut rows);
        let wait_for = Some(self.engine.note_growth(&rows, &[]));
        Ok(Updated { opportunity: next, wait_for })
    }

    /// The opportunities of an account, by id.
    pub fn opportunities(&self, account: &str) -> Vec<(String, Opportunity)> {
        let Some(serial) = self.engine.serial(account) else { return Vec::new() };
        let book = self.book();
        let all = book.opportunities(serial).into_iter().flatten();
        all.map(|(id, one)| (id.clone(), one.clone())).collect()
    }

    /// What became of the opportunities that came of each signal.
    pub fn triggers(&self) -> BTreeMap<String, Record> {
        let mut records: BTreeMap<String, Record> = BTreeMap::new();
        for (_, one) in self.book().each_opportunity() {
            records.entry(one.signal.clone()).or_default().add(one);
        }
        records
    }

    /// Tells of opportunities whose deadline has passed, once for each stage. Answers how many.
    pub fn tell_overdue(&self, now: Millis) -> usize {
        if !self.is_loaded() || self.engine.room().is_err() {
            return 0;
        }
        let mut book = self.book();
        let (mut rows, mut told) = (Vec::new(), Vec::new());
        for (serial, id) in book.due(now, OVERDUE_PER_RECORD) {
            let one = book.opportunities(serial).and_then(|all| all.get(&id)).cloned();
            let Some(one) = one else { continue };
            told.push((serial, overdue(&id, &one, now)));
            let one = Opportunity { is_overdue: true, ..one };
            book.put_opportunity(serial, &id, Some(one), &mut rows);
        }
        if !told.is_empty() {
            self.engine.note_growth(&rows, &told);
        }
        told.len()
    }
}

/// Forgets the opportunity that ended first when there are as many as may be. False: none has ended.
fn make_room(book: &mut super::book::Book, serial: u32, rows: &mut Vec<GrowthRow>) -> bool {
    let Some(all) = book.opportunities(serial).filter(|all| all.len() >= OPPORTUNITIES_MAX) else {
        return true;
    };
    let ended = all.iter().filter(|(_, one)| one.stage.is_closed());
    let first = ended.min_by_key(|(_, one)| one.since).map(|(id, _)| id.clone());
    let Some(first) = first else { return false };
    book.put_opportunity(serial, &first, None, rows);
    true
}

fn overdue(id: &str, one: &Opportunity, now: Millis) -> Told {
    let stage = one.stage.as_str();
    let data = json!({
        "opportunity": id,
        "signal": one.signal,
        "stage": stage,
        "since": one.since.to_string(),
        "due_at": one.due_at.map(|at| at.to_string()),
    });
    Told {
        name: class::OVERDUE.to_owned(),
        event: format!("{id}/{stage}/{}", one.since),
        at: now,
        previous_state: SignalState::Ok,
        state: SignalState::Warning,
        data_json: data.to_string(),
    }
}

/// An opportunity as it is written down.
pub(super) fn put(one: &Opportunity) -> Vec<u8> {
    let value = json!({
        "signal": one.signal,
        "stage": one.stage.as_str(),
        "since": one.since.0,
        "reason": one.reason,
        "due_at": one.due_at.map(|at| at.0),
        "is_overdue": one.is_overdue,
    });
    value.to_string().into_bytes()
}

/// An opportunity as it was written down.
pub(super) fn take(bytes: &[u8]) -> Option<Opportunity> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    Some(Opportunity {
        signal: value.get("signal")?.as_str()?.to_owned(),
        stage: Stage::parse(value.get("stage")?.as_str()?)?,
        since: Millis(value.get("since")?.as_i64()?),
        reason: value.get("reason")?.as_str()?.to_owned(),
        due_at: value.get("due_at")?.as_i64().map(Millis),
        is_overdue: value.get("is_overdue")?.as_bool()?,
    })
}

/// The row of an opportunity.
pub(super) fn row(serial: u32, id: &str, one: Option<&Opportunity>) -> GrowthRow {
    (rows::opportunity(serial, id), one.map(put))
}
