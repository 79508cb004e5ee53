//! What others tell: activity, signals and facts, each event once.

use std::collections::BTreeSet;

use headroom_core::signal::SignalState;
use headroom_core::time::Millis;
use headroom_engine::admin::AdminError;
use headroom_engine::ports::{GrowthRow, Seq, StoreRefusal};
use headroom_engine::told::Told;
use headroom_expansion::activity::TooManyFeatures;
use headroom_expansion::days::Day;
use sha2::{Digest as _, Sha256};

use super::{Book, Growth, lasting, rows};

/// How long ago an event may have happened, in milliseconds: 35 days, as long as windows can be
/// restated. An older one is refused.
pub const EVENT_AGE_MS_MAX: i64 = 35 * 24 * 60 * 60 * 1000;

/// How far an event may be ahead of the clock here, in milliseconds: clocks differ. It is taken for now.
const AHEAD_MS_MAX: i64 = 5 * 60 * 1000;

/// Events of one account that are remembered, so that each counts once. When there are more, the oldest
/// is forgotten.
pub const EVENTS_REMEMBERED_MAX: usize = 1_024;

/// Something that happened outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// What it is known by in its account.
    pub id: &'a str,
    /// The account.
    pub account: &'a str,
    /// When it happened. `None`: now.
    pub occurred_at: Option<Millis>,
    /// What happened.
    pub what: What<'a>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What<'a> {
    /// Somebody was there, or a feature was used, or both.
    Activity {
        /// Who.
        user: Option<&'a str>,
        /// Which feature.
        feature: Option<&'a str>,
    },
    /// Another system has found a signal.
    Signal {
        /// Its name.
        signal: &'a str,
        /// The text of a JSON object.
        data_json: String,
    },
    /// Facts, values as JSON text; nothing removes one.
    Facts(Vec<(String, Option<String>)>),
}

/// What became of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Which of them were known already.
    pub duplicates: Vec<bool>,
    /// The record to wait for. `None`: nothing changed.
    pub wait_for: Option<Seq>,
}

/// Why no event was taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What is known of growth is still being read.
    #[error("what is known of accounts' growth is still being read")]
    CatchingUp,
    /// One of the events is wrong.
    #[error("{problem}")]
    Event {
        /// Its place, from 0.
        place: usize,
        /// Its field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The account of one of them is not known.
    #[error("there is no account {account:?}")]
    UnknownAccount {
        /// Its id.
        account: String,
    },
    /// The facts of one of them cannot be put.
    #[error(transparent)]
    Facts(AdminError),
    /// The store takes no write.
    #[error(transparent)]
    Store(#[from] StoreRefusal),
}

impl Growth {
    /// Takes events: all of them, or none.
    ///
    /// # Errors
    /// When one of them is wrong, or nothing can be written now.
    pub fn publish(&self, events: &[Event<'_>], now: Millis) -> Result<Published, PublishError> {
        if !self.is_loaded() {
            return Err(PublishError::CatchingUp);
        }
        let mut placed = Vec::with_capacity(events.len());
        for (place, event) in events.iter().enumerate() {
            placed.push(self.placed(place, event, now)?);
        }
        self.engine.room()?;
        let mut taken = Taken::default();
        let mut book = self.book();
        // What is found wrong only on the way is taken back: nothing of it is written yet.
        let accounts: BTreeSet<u32> = placed.iter().map(|(serial, _)| *serial).collect();
        let before: Vec<_> =
            accounts.into_iter().map(|serial| (serial, book.copy_of(serial))).collect();
        let mut done = Ok(());
        for (place, (event, (serial, at))) in events.iter().zip(&placed).enumerate() {
            done = done.and_then(|()| {
                let wrong = |field, problem| PublishError::Event { place, field, problem };
                let result = self.take(&mut book, (event, *serial, *at), &mut taken);
                result.map_err(|full| wrong("activity.feature", full.to_string()))
            });
        }
        // Facts last, because they are in force at once.
        let mut facts = std::mem::take(&mut taken.facts).into_iter();
        while let (Ok(()), Some((account, facts))) = (&done, facts.next()) {
            match self.engine.put_facts(account, facts, now) {
                Ok(changed) => taken.wait_for = taken.wait_for.max(Some(changed.wait_for)),
                Err(error) => done = Err(PublishError::Facts(error)),
            }
        }
        if let Err(error) = done {
            before.into_iter().for_each(|(serial, known)| book.put_back(serial, known));
            return Err(error);
        }
        if !taken.rows.is_empty() || !taken.told.is_empty() {
            taken.wait_for = Some(self.engine.note_growth(&taken.rows, &taken.told));
        }
        placed.iter().for_each(|(serial, _)| self.touch(*serial));
        Ok(Published { duplicates: taken.duplicates, wait_for: taken.wait_for })
    }

    /// The number of an event's account, and its time.
    fn placed(
        &self,
        place: usize,
        event: &Event<'_>,
        now: Millis,
    ) -> Result<(u32, Millis), PublishError> {
        let wrong = |field, problem| PublishError::Event { place, field, problem };
        let at = event.occurred_at.unwrap_or(now);
        if at.since(now) > AHEAD_MS_MAX {
            return Err(wrong("occurred_at", format!("is {at}, which is after now ({now})")));
        }
        if now.since(at) > EVENT_AGE_MS_MAX {
            let days = EVENT_AGE_MS_MAX / (24 * 60 * 60 * 1000);
            return Err(wrong("occurred_at", format!("is {at}, more than {days} days ago")));
        }
        if let What::Signal { signal, .. } = event.what {
            let terms = self.terms.load();
            if !terms.outside_signals().any(|known| known == signal) {
                let known: Vec<&str> = terms.outside_signals().collect();
                let problem = format!(
                    "{signal:?} is no signal that others may tell; known are {}. A catalog names its \
                     own under expansion.outside_signals",
                    known.join(", ")
                );
                return Err(wrong("signal.signal", problem));
            }
        }
        let serial = self.engine.serial(event.account);
        let unknown = || PublishError::UnknownAccount { account: event.account.to_owned() };
        Ok((serial.ok_or_else(unknown)?, at.min(now)))
    }

    fn take<'a>(
        &self,
        book: &mut Book,
        (event, serial, at): (&Event<'a>, u32, Millis),
        taken: &mut Taken<'a>,
    ) -> Result<(), TooManyFeatures> {
        let day = Day::of(at);
        let key = self.hash(event.id);
        match &event.what {
            What::Activity { user, feature } => {
                let mut changed = Vec::new();
                let activity = book.activity(serial);
                if let Some(user) = user {
                    let [number, _] = self.hash(user);
                    activity.person(number, day, &mut changed);
                }
                if let Some(feature) = feature {
                    let catalog = self.engine.catalog();
                    let feature = lasting::feature(&catalog, feature);
                    activity.feature(feature, day, &mut changed)?;
                }
                taken.duplicates.push(changed.is_empty());
                taken.rows.extend(changed.iter().map(|one| rows::activity(serial, one)));
                return Ok(());
            }
            _ if book.knows_event(serial, key) => {
                taken.duplicates.push(true);
                return Ok(());
            }
            What::Signal { signal, data_json } => taken.told.push((
                serial,
                Told {
                    name: (*signal).to_owned(),
                    event: event.id.to_owned(),
                    at,
                    previous_state: SignalState::Ok,
                    state: SignalState::Warning,
                    data_json: data_json.clone(),
                },
            )),
            What::Facts(facts) => taken.facts.push((event.account, facts.clone())),
        }
        book.remember_event(serial, key, &mut taken.rows);
        taken.duplicates.push(false);
        Ok(())
    }

    /// A text as two numbers, under the directory's secret: whoever reads the disk cannot tell who it
    /// was.
    pub(super) fn hash(&self, text: &str) -> [u64; 2] {
        let digest = Sha256::new().chain_update(self.secret).chain_update(text).finalize();
        let number = |place: usize| {
            let bytes = digest[place..place + 8].try_into().expect("eight bytes");
            u64::from_be_bytes(bytes)
        };
        [number(0), number(8)]
    }
}

/// Facts by name, with their values as JSON; `None` removes one.
type FactChanges = Vec<(String, Option<String>)>;

/// What events come to.
#[derive(Debug, Default)]
struct Taken<'a> {
    duplicates: Vec<bool>,
    rows: Vec<GrowthRow>,
    told: Vec<(u32, Told)>,
    facts: Vec<(&'a str, FactChanges)>,
    wait_for: Option<Seq>,
}
