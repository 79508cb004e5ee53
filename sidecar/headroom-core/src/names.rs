//! Names: plans, features and limits as small numbers that never change their meaning.
//!
//! Ledgers and journal records carry numbers, so that a count survives when the catalog is reordered.
//! A name keeps its number for the life of the data directory; a name that left the catalog and comes
//! back finds its counts again.
//!
//! A feature that is renamed keeps its number, so nothing that was counted of it has to be touched. Its
//! number may also be that of a limit or plan which had the same name and still has it: what features
//! are called is therefore kept apart, and is asked for by names of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NameId(pub u32);

/// Stands between a name and its number where a feature gets a name that the number of another has.
/// No name in a catalog has it.
const AGAIN: char = '#';

/// All names ever seen, by number.
#[derive(Debug, Clone, Default)]
pub struct Names {
    // Invariant: `by_text[texts[i]] == i` for every i.
    texts: Vec<Arc<str>>,
    by_text: BTreeMap<Arc<str>, NameId>,
    features: FeatureNames,
}

/// What features are called whose name is not the text of their number. There are none in most data
/// directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FeatureNames {
    // Invariant: `by_name[called[i]] == i`, and nothing else is in `by_name`.
    called: BTreeMap<NameId, Arc<str>>,
    by_name: BTreeMap<Arc<str>, NameId>,
    // Numbers whose text another feature is called, and what they are shown as.
    displaced: BTreeMap<NameId, Arc<str>>,
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

    /// The number of the feature that is called `text`, if it has one.
    pub fn feature(&self, text: &str) -> Option<NameId> {
        let by_name = self.features.by_name.get(text).copied();
        by_name.or_else(|| self.get(text).filter(|id| !self.features.called.contains_key(id)))
    }

    /// What the feature of a number is called. One whose name another has now is shown with its number.
    pub fn feature_text(&self, id: NameId) -> &str {
        let FeatureNames { called, displaced, .. } = &self.features;
        if called.is_empty() {
            return self.text(id);
        }
        match called.get(&id).or_else(|| displaced.get(&id)) {
            Some(text) => text,
            None => self.text(id),
        }
    }

    /// What the feature of a number was called when it got it, whatever it is called now: what must not
    /// change with its name goes by this.
    pub fn first_text(&self, id: NameId) -> &str {
        let text = self.text(id);
        text.split_once(AGAIN).map_or(text, |(first, _)| first)
    }

    /// The number of the feature that is called `text`, giving it the next one when it is new.
    pub(crate) fn intern_feature(&mut self, text: &str) -> NameId {
        if let Some(id) = self.feature(text) {
            return id;
        }
        if !self.by_text.contains_key(text) {
            return self.intern(text);
        }
        // The number that has this text is that of a feature which is called otherwise by now.
        let id = self.intern(&format!("{text}{AGAIN}{}", self.len()));
        self.call_feature(id, text);
        id
    }

    /// From now on the feature of a number is called so. If another was, that one is called again as it was
    /// first.
    pub fn call_feature(&mut self, id: NameId, text: &str) {
        if let Some(other) = self.features.by_name.remove(text) {
            self.features.called.remove(&other);
        }
        if let Some(before) = self.features.called.remove(&id) {
            self.features.by_name.remove(&before);
        }
        if self.text(id) != text {
            let text: Arc<str> = text.into();
            self.features.called.insert(id, Arc::clone(&text));
            self.features.by_name.insert(text, id);
        }
        let displaced = |(name, of): (&Arc<str>, &NameId)| {
            let id = self.get(name).filter(|id| id != of)?;
            let is_called = self.features.called.contains_key(&id);
            (!is_called).then(|| (id, format!("{name}{AGAIN}{}", id.0).into()))
        };
        self.features.displaced = self.features.by_name.iter().filter_map(displaced).collect();
    }

    /// The features that are not called by the text of their number, in the order of those.
    pub fn called(&self) -> impl Iterator<Item = (NameId, &str)> {
        self.features.called.iter().map(|(id, text)| (*id, &**text))
    }

    /// Features are called so, and all others by the text of their number.
    pub fn set_called<'a>(&mut self, called: impl IntoIterator<Item = (NameId, &'a str)>) {
        self.features = FeatureNames::default();
        called.into_iter().for_each(|(id, text)| self.call_feature(id, text));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn called(names: &Names) -> Vec<(u32, &str)> {
        names.called().map(|(id, text)| (id.0, text)).collect()
    }

    #[test]
    fn a_renamed_feature_keeps_its_number_and_what_shares_its_name_keeps_its_text() {
        let mut names = Names::new();
        let calls = names.intern_feature("calls");
        // A plan of the same name has the same number.
        assert_eq!(names.intern("calls"), calls);
        names.call_feature(calls, "requests");
        assert_eq!(names.feature("requests"), Some(calls));
        assert_eq!(names.feature_text(calls), "requests");
        assert_eq!((names.text(calls), names.first_text(calls)), ("calls", "calls"));
        assert_eq!(names.get("calls"), Some(calls), "the plan");
        assert_eq!(names.feature("calls"), None, "no feature is called so any more");
        names.call_feature(calls, "calls");
        assert_eq!((names.feature("calls"), called(&names)), (Some(calls), vec![]));
    }

    #[test]
    fn another_feature_of_a_former_name_has_a_number_of_its_own() {
        let mut names = Names::new();
        let calls = names.intern_feature("calls");
        names.call_feature(calls, "requests");
        let other = names.intern_feature("calls");
        assert_ne!(other, calls);
        assert_eq!((names.feature("calls"), names.feature_text(other)), (Some(other), "calls"));
        assert_eq!(names.first_text(other), "calls");
        assert_eq!(names.intern_feature("calls"), other, "once");
        // Back again: the one that was called so in between is shown with its number.
        names.call_feature(calls, "calls");
        assert_eq!((names.feature("calls"), names.feature_text(other)), (Some(calls), "calls#1"));
    }

    #[test]
    fn a_name_that_another_feature_took_is_given_back() {
        let mut names = Names::new();
        let (a, b) = (names.intern_feature("a"), names.intern_feature("b"));
        names.call_feature(a, "b");
        assert_eq!((names.feature("b"), names.feature_text(b)), (Some(a), "b#1"));
        let mut read = names.clone();
        read.set_called(names.called());
        assert_eq!(read.features, names.features);
        names.call_feature(a, "c");
        assert_eq!((names.feature("b"), names.feature_text(b)), (Some(b), "b"));
        assert_eq!(called(&names), [(a.0, "c")]);
        names.set_called([]);
        assert_eq!((names.feature("a"), names.feature_text(a)), (Some(a), "a"));
    }

    /// Whatever is renamed to what, a name is that of one feature, and the feature is called so.
    #[test]
    fn names_and_features_are_one_to_one_whatever_is_renamed() {
        for steps in 0..6_u32.pow(4) {
            let mut names = Names::new();
            let texts = ["a", "b", "c"];
            let ids = [names.intern_feature("a"), names.intern_feature("b")];
            let mut rest = steps;
            for _ in 0..4 {
                let (id, text) = (ids[(rest % 2) as usize], texts[(rest / 2 % 3) as usize]);
                rest /= 6;
                names.call_feature(id, text);
                assert_eq!((names.feature(text), names.feature_text(id)), (Some(id), text));
                for text in texts {
                    let Some(id) = names.feature(text) else { continue };
                    assert_eq!(names.feature_text(id), text, "{steps}");
                }
                assert_ne!(names.feature_text(ids[0]), names.feature_text(ids[1]), "{steps}");
            }
        }
    }
}
