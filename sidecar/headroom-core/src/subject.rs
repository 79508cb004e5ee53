//! Subjects: the users, teams and agents inside an account that a request is charged to.
//!
//! A subject is a path, `team:growth/user:u42`, and each of its levels may have limits of its own
//! (`per: user`). Its counters are those of an account in small: a [`SubjectState`] is all that an
//! [`Account`](crate::account::Account) has besides its profile, so that every rule that holds of an
//! account's limit holds of a subject's, by the same code. It exists while something counts in it.
//!
//! A subject is known by its number; its name stands in one place, so that forgetting the name forgets
//! the subject, and no counter changes. Nothing here decides: that is [`crate::decide`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account::SubjectState;
use crate::limits;

/// Numbers the subjects of one account in the order they came. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SubjectId(pub u32);

/// What is wrong with the text of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// More bytes than fit.
    #[error("is {bytes} bytes long, the most is {max}", max = limits::SUBJECT_BYTES_MAX)]
    TooLong {
        /// How many there are.
        bytes: usize,
    },
    /// More levels than are possible.
    #[error("has {levels} levels, the most is {max}", max = limits::SUBJECT_LEVELS_MAX)]
    TooDeep {
        /// How many there are.
        levels: usize,
    },
    /// A level that is not `type:id`.
    #[error("has a level that is not `type:id`, as in `team:growth/user:u42`")]
    NotALevel,
    /// A type with characters that catalogs cannot write.
    #[error("has a type that is not made of a-z, 0-9, `_`, `.` and `-`")]
    BadType,
    /// The type of what was erased.
    #[error("has a level of type `erased`, which is reserved")]
    Reserved,
    /// A type that occurs twice.
    #[error("has two levels of the same type")]
    TypeTwice,
    /// A control character.
    #[error("contains a control character")]
    Control,
}

/// The path of a subject: 1 to 4 levels `type:id`, from the outermost one inwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubjectPath<'a>(&'a str);

impl<'a> SubjectPath<'a> {
    /// Checks the text of a path.
    pub fn new(text: &'a str) -> Result<SubjectPath<'a>, PathError> {
        if text.len() > limits::SUBJECT_BYTES_MAX {
            return Err(PathError::TooLong { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        let path = SubjectPath(text);
        let levels = text.split('/').count();
        if levels > limits::SUBJECT_LEVELS_MAX {
            return Err(PathError::TooDeep { levels });
        }
        for level in text.split('/') {
            let (kind, id) = level.split_once(':').ok_or(PathError::NotALevel)?;
            if kind.is_empty() || id.is_empty() {
                return Err(PathError::NotALevel);
            }
            if kind == ERASED {
                return Err(PathError::Reserved);
            }
            if !kind.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-')) {
                return Err(PathError::BadType);
            }
        }
        let kinds = || path.levels().map(|(kind, _)| kind);
        match (0..levels)
            .all(|place| kinds().skip(place + 1).all(|k| Some(k) != kinds().nth(place)))
        {
            true => Ok(path),
            false => Err(PathError::TypeTwice),
        }
    }

    /// The type of the innermost level.
    pub fn kind(self) -> &'a str {
        self.levels().last().map_or("", |(kind, _)| kind)
    }

    /// Whether a subject is this one or below it: a user's agents are of the user.
    pub fn contains(self, name: &str) -> bool {
        let below = name.strip_prefix(self.0);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }

    /// The whole path.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The type of each level and the path up to it, which names the subject of that level: the user
    /// `u42` of one team is another than the one of another team.
    pub fn levels(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let ends = self.0.match_indices('/').map(|(at, _)| at).chain([self.0.len()]);
        let mut start = 0;
        ends.map(move |end| {
            let level = &self.0[start..end];
            start = end + 1;
            (level.split_once(':').map_or(level, |(kind, _)| kind), &self.0[..end])
        })
    }
}

/// One subject: its name, and what counts in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// Its path; `erased:` and its number when that was erased.
    pub name: Arc<str>,
    /// Its counters.
    pub state: SubjectState,
}

impl Subject {
    /// Whether its name was erased.
    pub fn is_erased(&self) -> bool {
        self.name.split_once(':').is_some_and(|(kind, _)| kind == ERASED)
    }
}

/// The type of subjects whose names were erased. No path may have it.
pub const ERASED: &str = "erased";

/// What a subject is called whose name was erased.
pub fn erased_name(id: SubjectId) -> String {
    format!("{ERASED}:{}", id.0)
}

/// The subjects of one account in which something counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subjects {
    by_id: BTreeMap<SubjectId, Subject>,
    // Invariant: the names of those above that have one.
    by_name: BTreeMap<Arc<str>, SubjectId>,
    last_id: u32,
    // Invariant: as many ledgers and buckets as the subjects have together.
    counters: usize,
}

impl Subjects {
    /// The subject of this number.
    pub fn get(&self, id: SubjectId) -> Option<&Subject> {
        self.by_id.get(&id)
    }

    /// The number of the subject of this name.
    pub fn named(&self, name: &str) -> Option<SubjectId> {
        self.by_name.get(name).copied()
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = (SubjectId, &Subject)> {
        self.by_id.iter().map(|(id, subject)| (*id, subject))
    }

    /// The subject of this name and all below it.
    pub fn at_or_below<'a>(
        &'a self,
        path: SubjectPath<'a>,
    ) -> impl Iterator<Item = SubjectId> + 'a {
        self.by_name.iter().filter(move |(known, _)| path.contains(known)).map(|(_, id)| *id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none, and never were any.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.last_id == 0
    }

    /// How many ledgers and buckets they have together.
    pub fn counters(&self) -> usize {
        self.counters
    }

    /// The last number given.
    pub fn last_id(&self) -> u32 {
        self.last_id
    }

    /// Only these, for a part of the account.
    pub(crate) fn only(&self, ids: impl Iterator<Item = SubjectId>) -> Subjects {
        let mut some = Subjects { last_id: self.last_id, ..Subjects::default() };
        for id in ids {
            if let Some(subject) = self.get(id) {
                some.by_id.insert(id, subject.clone());
            }
        }
        some.counters = some.by_id.values().map(|subject| subject.state.counters()).sum();
        some
    }

    pub(crate) fn name(&mut self, id: SubjectId, name: &Arc<str>) {
        self.last_id = self.last_id.max(id.0);
        self.by_id.entry(id).or_default().name = Arc::clone(name);
        self.by_name.insert(Arc::clone(name), id);
    }

    /// Changes what counts in a subject; nothing when it is not known.
    pub(crate) fn change(&mut self, id: SubjectId, change: impl FnOnce(&mut SubjectState)) {
        let Some(subject) = self.by_id.get_mut(&id) else { return };
        let before = subject.state.counters();
        change(&mut subject.state);
        self.counters = self.counters - before + subject.state.counters();
    }

    pub(crate) fn erase(&mut self, id: SubjectId) {
        if let Some(subject) = self.by_id.get_mut(&id) {
            self.by_name.remove(&subject.name);
            subject.name = erased_name(id).into();
            // No value is told under this number any more, and hashes of those that were are somebody's.
            subject.state.forget_measures();
        }
    }

    pub(crate) fn forget(&mut self, id: SubjectId) {
        self.last_id = self.last_id.max(id.0);
        if let Some(subject) = self.by_id.remove(&id) {
            self.counters -= subject.state.counters();
            // The name may be another's by now.
            if self.by_name.get(&subject.name) == Some(&id) {
                self.by_name.remove(&subject.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_to_four_levels() {
        let path = SubjectPath::new("team:growth/user:u 42:x").expect("a path");
        let levels: Vec<_> = path.levels().collect();
        assert_eq!(levels, [("team", "team:growth"), ("user", "team:growth/user:u 42:x")]);
        assert!(SubjectPath::new("a:1/b:2/c:3/d:4").is_ok());
        let wrong = [
            ("", PathError::NotALevel),
            ("user", PathError::NotALevel),
            (":u", PathError::NotALevel),
            ("user:", PathError::NotALevel),
            ("team:a/", PathError::NotALevel),
            ("/user:a", PathError::NotALevel),
            ("User:a", PathError::BadType),
            ("user:a\n", PathError::Control),
            ("team:a/erased:1", PathError::Reserved),
            ("user:a/user:b", PathError::TypeTwice),
            ("a:1/b:2/c:3/a:4", PathError::TypeTwice),
            ("a:1/b:2/c:3/d:4/e:5", PathError::TooDeep { levels: 5 }),
        ];
        for (text, problem) in wrong {
            assert_eq!(SubjectPath::new(text), Err(problem), "{text:?}");
        }
        let long = format!("user:{}", "x".repeat(252));
        assert_eq!(SubjectPath::new(&long), Err(PathError::TooLong { bytes: 257 }));
        assert!(SubjectPath::new(&long[..256]).is_ok());
    }
}
