//! The dimensions of a request: what it says its usage is to be told apart by, or whose different values are
//! counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom_core::catalog::{Catalog, FeatureIx};
use headroom_core::limits::DIMENSION_BYTES_MAX;
use headroom_core::names::NameId;
use headroom_core::tally::{Label, Labels};

use crate::engine::EngineError;
use crate::keys::hash_payload;

/// The number that the hashes of dimensions begin with.
const DIMENSIONS: u8 = 60;

/// Reads names and values out of a request's bytes.
pub type ReadDimensions = for<'a> fn(&'a [u8]) -> BTreeMap<&'a str, &'a str>;

/// The dimensions of a request where its adapter holds them, not yet looked at: most requests have none.
#[derive(Debug, Clone, Copy, Default)]
pub enum Dimensions<'a> {
    /// None.
    #[default]
    None,
    /// By name.
    Map(&'a BTreeMap<String, String>),
    /// In bytes that this can read.
    Bytes(&'a [u8], ReadDimensions),
}

impl<'a> Dimensions<'a> {
    /// Those of a map, which may be empty.
    pub fn of(map: &'a BTreeMap<String, String>) -> Dimensions<'a> {
        if map.is_empty() { Dimensions::None } else { Dimensions::Map(map) }
    }

    fn pairs(self) -> BTreeMap<&'a str, &'a str> {
        match self {
            Dimensions::None => BTreeMap::new(),
            Dimensions::Map(map) => map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            Dimensions::Bytes(bytes, read) => read(bytes),
        }
    }

    /// The dimensions, by the numbers of their names. `None` is a feature that the catalog does not have,
    /// about which nothing is counted.
    ///
    /// # Errors
    /// When the feature is not told apart by one of them, or a value is none.
    pub(crate) fn labels(
        self,
        catalog: &Catalog,
        feature: Option<FeatureIx>,
    ) -> Result<Labels, EngineError> {
        match (self, feature) {
            (Dimensions::None, _) | (_, None) => Ok(Labels::default()),
            (_, Some(feature)) => self.named(catalog, feature),
        }
    }

    /// The value that is counted once, of a feature that counts different ones. `None`: it does not, or the
    /// request does not say.
    ///
    /// # Errors
    /// When the feature has no such dimension, or a value is none.
    #[cold]
    pub(crate) fn value(
        self,
        catalog: &Catalog,
        feature: FeatureIx,
    ) -> Result<Option<&'a str>, EngineError> {
        let Some(unique_by) = catalog.feature(feature).unique_by() else { return Ok(None) };
        let checked = self.checked(catalog, feature)?;
        let mut values = checked.into_iter().filter(|(id, _)| *id == unique_by);
        Ok(values.next().map(|(_, value)| value))
    }

    #[cold]
    fn named(self, catalog: &Catalog, feature: FeatureIx) -> Result<Labels, EngineError> {
        let checked = self.checked(catalog, feature)?;
        if catalog.feature(feature).unique_by().is_some() {
            // It is counted, and told apart by nothing.
            return Ok(Labels::default());
        }
        let label = |(id, value): (NameId, &str)| (id, Label::Text(Arc::from(value)));
        let mut labels: Vec<(NameId, Label)> = checked.into_iter().map(label).collect();
        labels.sort();
        Ok(labels.into())
    }

    /// The dimensions by the numbers of their names, if the feature has them and their values are some.
    fn checked(
        self,
        catalog: &Catalog,
        feature: FeatureIx,
    ) -> Result<Vec<(NameId, &'a str)>, EngineError> {
        let feature = catalog.feature(feature);
        let unique_by = feature.unique_by();
        let known = feature.tally().map_or(unique_by.as_slice(), |rule| &rule.dimensions);
        let mut checked = Vec::new();
        for (name, value) in self.pairs() {
            let problem = |what: String| EngineError::Dimensions { problem: what };
            let Some(id) = known.iter().copied().find(|id| catalog.text(*id) == name) else {
                let names: Vec<&str> = known.iter().map(|id| catalog.text(*id)).collect();
                let known = match names.is_empty() {
                    true => "has none in the catalog".to_owned(),
                    false => format!("has {}", names.join(", ")),
                };
                let name: String = name.chars().take(DIMENSION_BYTES_MAX).collect();
                let feature = &feature.feature;
                return Err(problem(format!("there is no {name:?}: feature {feature} {known}")));
            };
            if value.is_empty() || value.len() > DIMENSION_BYTES_MAX {
                let bytes = value.len();
                let text = format!(
                    "the value of {name} is {bytes} bytes long, must be 1 to {DIMENSION_BYTES_MAX}"
                );
                return Err(problem(text));
            }
            if value.chars().any(char::is_control) {
                return Err(problem(format!("the value of {name} contains a control character")));
            }
            checked.push((id, value));
        }
        Ok(checked)
    }
}

impl Dimensions<'_> {
    /// What dimensions add to the fingerprint of a write: 0 when there are none. By their texts, so that a
    /// retry is known as one whatever became of the catalog.
    #[inline]
    pub(crate) fn fingerprint(self) -> u64 {
        if matches!(self, Dimensions::None) { 0 } else { self.hash() }
    }

    #[cold]
    fn hash(self) -> u64 {
        let texts = self.pairs().into_iter().flat_map(|(name, value)| [name, value]);
        texts.fold(0, |hash, text| {
            let begun = hash_payload(DIMENSIONS, NameId(0), [hash, text.len() as u64, 0]);
            text.as_bytes().chunks(8).fold(begun, |hash, chunk| {
                let number = chunk.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
                hash_payload(DIMENSIONS, NameId(0), [hash, number, 1])
            })
        })
    }
}
