//! Names that are forgotten, in the model: whoever had one goes on under a number, with all that counts there, and
//! nobody finds them by the name any more.

use std::collections::BTreeSet;

use super::admin::Refused;
use super::{Account, Model, Remembered, Says};

/// Whether a path is that of somebody, or of somebody below.
fn is_at_or_below(path: &str, whom: &str) -> bool {
    let levels: Vec<&str> = path.split('/').collect();
    let wanted: Vec<&str> = whom.split('/').collect();
    levels.len() >= wanted.len() && levels[..wanted.len()] == wanted[..]
}

/// What somebody is called in answers. The model remembers the path of whom it has forgotten, behind a blank, because
/// who asks for an event by its path is told of that path.
pub(crate) fn shown(name: &str) -> String {
    name.split(' ').next().unwrap_or_default().to_owned()
}

/// The path that somebody was counted under.
pub(crate) fn counted_as(name: &str) -> String {
    name.split(' ').next_back().unwrap_or_default().to_owned()
}

/// Whether the name was forgotten.
pub(crate) fn is_erased(name: &str) -> bool {
    name.starts_with("erased:")
}

impl Model {
    /// Names of an account that something is known of.
    pub fn subject_names(&self, id: &str) -> Vec<String> {
        let Some(account) = self.accounts.get(id) else { return Vec::new() };
        account.subjects.keys().filter(|name| !is_erased(name)).cloned().collect()
    }

    /// Forgets a name and all below it: what is said for them alone, and who they are. Returns which names something
    /// was counted under, and how many there were with those that only an override had. Who they are is forgotten by
    /// [`Model::call_erased`].
    pub fn erase(
        &mut self,
        id: &str,
        whom: &str,
        now: i64,
    ) -> Result<(BTreeSet<String>, usize), Refused> {
        self.told.clear();
        self.met.clear();
        self.known(id)?;
        let of = |says: &Says| match says.plain().0 {
            Says::OfSubject(name, ..) if is_at_or_below(name, whom) => Some(name.clone()),
            _ => None,
        };
        let said = self.accounts[id].overrides.iter().filter_map(|(_, says, _)| of(says));
        let said: BTreeSet<String> = said.collect();
        if !said.is_empty() {
            self.met.insert("an override of whom is erased");
            self.edit(id, now, |account| {
                account.overrides.retain(|(_, says, _)| of(says).is_none())
            })?;
        }
        let mut names = self.subject_names(id);
        names.retain(|name| is_at_or_below(name, whom));
        let counted = BTreeSet::from_iter(names);
        self.met.insert(match counted.len() {
            0 => "nobody is erased",
            1 => "a subject is erased",
            _ => "a subject is erased with those below",
        });
        let count = counted.union(&said).count();
        Ok((counted, count))
    }

    /// Lets somebody whose name is forgotten go on under a number: the player tells which, the model gives none.
    pub fn call_erased(&mut self, id: &str, name: &str, number: u32) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        let Some(mut subject) = account.subjects.remove(name) else { return };
        let key = format!("erased:{number} {name}");
        subject.whose = Some(key.clone());
        account.subjects.insert(key.clone(), subject);
        let holds = account.holds.values_mut().flat_map(|hold| &mut hold.levels);
        for level in holds.filter(|level| *level == name) {
            level.clone_from(&key);
            self.met.insert("a hold of whom is erased");
        }
        // Of a plain write nothing but the name leads to who it was for.
        account.keys.values_mut().for_each(|known| forget(known, name));
        account.events.values_mut().for_each(|event| event.rename(name, &key));
        account.given.values_mut().for_each(|given| given.rename(name, &key));
    }

    /// The subject of an account that has or had a name when it had this number.
    pub fn subject_numbered(&self, id: &str, name: &str, number: u32) -> Option<String> {
        let account = self.accounts.get(id)?;
        let erased = format!("erased:{number} {name}");
        [name.to_owned(), erased].into_iter().find(|name| account.subjects.contains_key(name))
    }

    /// Gives back all seats of a member; returns how many.
    pub fn erase_member(&mut self, id: &str, member: &str, now: i64) -> Result<usize, Refused> {
        self.told.clear();
        self.met.clear();
        self.known(id)?;
        self.know_settled(id, now);
        self.say_endings(id, now);
        let mut account = self.accounts[id].clone();
        let sits = account.sits.iter().filter(|(_, who, ..)| who == member);
        let features: Vec<String> = sits.map(|(feature, ..)| feature.clone()).collect();
        for feature in &features {
            self.leave_seat(&mut account, feature, member, now);
        }
        self.met.insert(if features.is_empty() { "no seat is erased" } else { "a seat is erased" });
        self.accounts.insert(id.to_owned(), account);
        Ok(features.len())
    }
}

fn forget(known: &mut Remembered, name: &str) {
    known.subjects.remove(name);
    known.parts.iter_mut().for_each(|part| forget(part, name));
}

impl Account {
    /// Whether somebody goes on under a number who had this name.
    pub(crate) fn has_erased(&self, name: &str) -> bool {
        self.subjects.keys().any(|known| is_erased(known) && counted_as(known) == name)
    }
}
