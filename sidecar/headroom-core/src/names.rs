//! Names: plans, features and limits as small numbers that never change their meaning.
//!
//! Ledgers and journal records carry numbers, so that a count survives when the catalog is reordered.
//! A name keeps its number for the life of the data directory; a name that left the catalog and comes
//! back finds its counts again.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NameId(pub u32);

/// All names ever seen, by number.
#[derive(Debug, Clone, Default)]
pub struct Names {
    // Invariant: `by_text[texts[i]] == i` for every i.
    texts: Vec<Arc<str>>,
    by_text: BTreeMap<Arc<str>, NameId>,
}

impl Names {
    /// No names yet.
    pub fn new() -> Names {
        Names::default()
    }

    /// The number of `text`, giving it the next one when it is new.
    ///
    /// # Panics
    /// After 2^32 names, which a catalog of bounded size cannot reach.
    pub fn intern(&mut self, text: &str) -> NameId {
        if let Some(id) = self.by_text.get(text) {
            return *id;
        }
        let id = NameId(u32::try_from(self.texts.len()).expect("fewer than 2^32 names"));
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.by_text.insert(text, id);
        id
    }

    /// The number of `text`, if it has one.
    pub fn get(&self, text: &str) -> Option<NameId> {
        self.by_text.get(text).copied()
    }

    /// The name of a number; `"?"` for a number that was never given.
    pub fn text(&self, id: NameId) -> &str {
        self.texts.get(id.0 as usize).map_or("?", |text| text)
    }

    /// All names in the order of their numbers, from number `from` on.
    pub fn since(&self, from: usize) -> impl Iterator<Item = (NameId, &str)> {
        (0u32..).map(NameId).zip(self.texts.iter().map(|text| &**text)).skip(from)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}
