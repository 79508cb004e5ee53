//! Names that are forgotten: asked of an engine whose projection trails, and of the model.

use std::collections::BTreeMap;

use headroom_core::effect::Effect;
use headroom_core::subject::{SubjectId, SubjectPath};
use headroom_core::time::Millis;
use headroom_engine::admin::AdminError;
use headroom_engine::ports::Seq;
use headroom_engine::record::{self, Record};

use super::{Met, Player, compare};
use crate::observe;

/// How many names were forgotten, and the record to wait for.
type Erased = (usize, Option<Seq>);

/// The numbers that names had, of those that a record forgets: the last one each.
pub(super) fn last_numbers(effects: &[Effect]) -> BTreeMap<String, u32> {
    let mut last = BTreeMap::new();
    for effect in effects {
        if let Effect::SubjectErased(id, name) = effect {
            let known: &mut u32 = last.entry(name.to_string()).or_default();
            *known = id.0.max(*known);
        }
    }
    last
}

impl Player {
    pub(super) fn erase(&mut self, account: &str, subject: &str, before: Seq) -> Met {
        let got = self.ask_erase(account, subject)?;
        let expected = self.model.erase(account, subject, self.now);
        for what in self.model.met() {
            self.coverage.note(what);
        }
        match (got, expected) {
            (Ok((count, wait_for)), Ok((counted, names))) => {
                let last = (count > 0).then(|| self.store.last());
                compare::same("the record to wait for", &wait_for, &last)?;
                let numbers = self.forgotten_since(before)?;
                let whose: Vec<&String> = numbers.keys().collect();
                compare::same("whose names are forgotten", &whose, &counted.iter().collect())?;
                compare::same("how many names are forgotten", &count, &names)?;
                for (name, number) in &numbers {
                    self.model.call_erased(account, name, *number);
                }
                for what in self.model.met() {
                    self.coverage.note(what);
                }
                self.is_known_nowhere(account, subject)
            }
            (Err(error), Err(refused)) => {
                compare::same("the refusal", &observe::refused(&error).as_ref(), &Some(&refused))
            }
            (got, expected) => Err(format!("erasing: engine {got:?}, model {expected:?}")),
        }
    }

    /// Asks with what the projection says, and again when that is too old.
    fn ask_erase(
        &self,
        account: &str,
        subject: &str,
    ) -> Result<Result<Erased, AdminError>, String> {
        let path = SubjectPath::new(subject).expect("a path");
        for _ in 0..3 {
            let seen = self.engine.look_erase(&*self.store, account, path);
            let seen = seen.map_err(|error| error.to_string())?;
            match self.engine.erase_subject(account, path, &seen, Millis(self.now)) {
                Err(AdminError::Behind { until }) if until <= self.store.last() => {
                    self.store.project(until);
                }
                Err(AdminError::Behind { until }) => {
                    return Err(format!("it waits for record {until}, which there is not"));
                }
                got => return Ok(got),
            }
        }
        Err("it is behind for ever".to_owned())
    }

    /// The names that the records of this step forget, each with its last number.
    fn forgotten_since(&self, before: Seq) -> Result<BTreeMap<String, u32>, String> {
        let mut all = BTreeMap::new();
        for (seq, stored) in self.store.since(before) {
            match record::take(&stored.bytes).map_err(|error| format!("{seq}: {error}"))? {
                Record::Noted { effects, .. } => {
                    for (name, number) in last_numbers(&effects) {
                        let known: &mut u32 = all.entry(name).or_default();
                        *known = number.max(*known);
                    }
                }
                Record::Profile { .. } | Record::Forgotten { .. } => {}
                other => return Err(format!("an erasure does not go on after {other:?}")),
            }
        }
        Ok(all)
    }

    /// Neither the memory nor the projection finds anything by a name.
    fn is_known_nowhere(&mut self, account: &str, subject: &str) -> Met {
        let path = SubjectPath::new(subject).expect("a path");
        if self.history.rng.percent(50) {
            self.store.project(self.store.last());
            let seen = self.engine.look_erase(&*self.store, account, path);
            let seen = seen.map_err(|error| error.to_string())?;
            compare::same("what is known of a forgotten name", &seen.earlier, &Vec::new())?;
        }
        let view = self.engine.subjects(account, Millis(self.now)).ok_or("no subjects")?;
        let named = view.subjects.iter().any(|known| path.contains(&known.name));
        compare::same("a forgotten name", &named, &false)
    }

    pub(super) fn erase_member(&mut self, account: &str, member: &str, before: Seq) -> Met {
        let got = self.engine.erase_member(account, member, Millis(self.now));
        let expected = self.model.erase_member(account, member, self.now);
        for what in self.model.met() {
            self.coverage.note(what);
        }
        match (got, expected) {
            (Ok((count, _)), Ok(freed)) => {
                compare::same("how many seats are given back", &count, &freed)?;
                self.compare_told(before)
            }
            (Err(error), Err(refused)) => {
                compare::same("the refusal", &observe::refused(&error).as_ref(), &Some(&refused))
            }
            (got, expected) => Err(format!("erasing seats: engine {got:?}, model {expected:?}")),
        }
    }

    /// Who of the model has a number, whose name may be forgotten in what a crash undid.
    pub(super) fn subject_numbered(&self, account: &str, of: SubjectId) -> Option<String> {
        let named = |(_, stored): (Seq, crate::store::Stored)| {
            let (Record::Decided { serial, effects, .. } | Record::Noted { serial, effects, .. }) =
                record::take(&stored.bytes).ok()?
            else {
                return None;
            };
            let is_it = self.engine.account_id(serial).is_some_and(|id| *id == *account);
            effects.iter().filter(|_| is_it).find_map(|effect| match effect {
                Effect::Subject(id, name) if *id == of => Some(name.to_string()),
                _ => None,
            })
        };
        let name = self.store.since(Seq(0)).into_iter().find_map(named)?;
        self.model.subject_numbered(account, &name, of.0)
    }
}
