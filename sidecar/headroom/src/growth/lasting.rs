//! What features are called in what is kept of growth: as they were first. So a feature that gets another
//! name goes on being the same one, and no row has to be written anew.

use headroom_core::catalog::Catalog;
use headroom_expansion::chronicle::{Dictionary, Kind};
use headroom_expansion::facts::Facts;

/// What the facts about use of one feature begin with.
const USED_PERCENT: &str = "used_percent.";

/// The name that lasts of a feature. What is no feature is its own.
pub(super) fn feature<'a>(catalog: &'a Catalog, name: &'a str) -> &'a str {
    catalog.feature_id(name).map_or(name, |id| catalog.text(id))
}

/// Facts under names that last. `None`: they are under such.
pub(super) fn facts(catalog: &Catalog, facts: &Facts) -> Option<Facts> {
    catalog.names().called().next()?;
    let lasting = |name: &str| match name.strip_prefix(USED_PERCENT) {
        Some(of) => format!("{USED_PERCENT}{}", feature(catalog, of)),
        None => name.to_owned(),
    };
    Some(Facts::of(facts.iter().map(|(name, value)| (lasting(name), value.clone()))))
}

/// The names that a dictionary was made of, as the features are called now.
pub(super) fn told(catalog: &Catalog, dictionary: Dictionary) -> Dictionary {
    if catalog.names().called().next().is_none() {
        return dictionary;
    }
    dictionary.renamed(|kind, name| {
        let of = name.strip_prefix(USED_PERCENT).filter(|_| kind == Kind::Fact)?;
        let id = catalog.names().get(of)?;
        Some(format!("{USED_PERCENT}{}", catalog.feature_text(id)))
    })
}

#[cfg(test)]
mod tests {
    use headroom_core::names::Names;
    use headroom_expansion::facts::Value;

    use super::*;
    use crate::config::catalog::parse;
    use crate::config::sinks::NoSecrets;

    fn catalog(names: &mut Names) -> Catalog {
        let text = "\
features:
  units: { name: Units, kind: quota, limits: { daily: { window: { calendar: day } } } }
  calls: { name: Calls, kind: quota, limits: { daily: { window: { calendar: day } } } }
plans: { free: { name: Free, entitlements: {} } }
";
        let spec = parse("c", text.as_bytes(), &NoSecrets).unwrap().spec;
        Catalog::build(spec, 1, names).unwrap()
    }

    /// What is kept of a feature is found under its new name, and is kept on under the old one.
    #[test]
    fn what_is_kept_of_a_feature_outlasts_its_name() {
        let plain = catalog(&mut Names::new());
        let said = Facts::of([("used_percent.units".to_owned(), Value::Number(7))]);
        assert_eq!(facts(&plain, &said), None, "nothing is called otherwise");

        let mut names = Names::new();
        let id = names.intern("tokens");
        names.call_feature(id, "units");
        let renamed = catalog(&mut names);
        assert_eq!(feature(&renamed, "units"), "tokens");
        assert_eq!(feature(&renamed, "calls"), "calls");
        assert_eq!(feature(&renamed, "what products tell"), "what products tell");
        let kept = facts(&renamed, &said).unwrap();
        assert_eq!(kept.get("used_percent.tokens"), Some(&Value::Number(7)));

        let mut dictionary = Dictionary::default();
        for (kind, name) in [
            (Kind::Fact, "used_percent.tokens"),
            (Kind::Fact, "used_percent.calls"),
            (Kind::Fact, "tokens"),
            (Kind::Signal, "used_percent.tokens"),
        ] {
            dictionary.number(kind, name).unwrap();
        }
        let told = told(&renamed, dictionary);
        let names: Vec<_> = (0..4).map(|number| told.name(number).unwrap()).collect();
        assert_eq!(
            names,
            [
                (Kind::Fact, "used_percent.units"),
                (Kind::Fact, "used_percent.calls"),
                (Kind::Fact, "tokens"),
                (Kind::Signal, "used_percent.tokens"),
            ]
        );
    }
}
