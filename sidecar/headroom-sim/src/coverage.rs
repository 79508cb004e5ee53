//! What the histories have met, so that a test can tell that it tested something.

use std::collections::BTreeMap;

/// How often each thing was met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    met: BTreeMap<String, u64>,
}

impl Coverage {
    /// Notes that something was met.
    pub fn note(&mut self, what: &str) {
        match self.met.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.met.insert(what.to_owned(), 1);
            }
        }
    }

    /// How often something was met.
    pub fn count(&self, what: &str) -> u64 {
        self.met.get(what).copied().unwrap_or(0)
    }

    /// Adds what another history met.
    pub fn add(&mut self, other: &Coverage) {
        for (what, count) in &other.met {
            *self.met.entry(what.clone()).or_default() += count;
        }
    }

    /// All of it, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.met.iter().map(|(what, count)| (what.as_str(), *count))
    }
}
