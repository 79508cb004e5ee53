//! Features under other names than the model's.
//!
//! The model never hears of a rename: that nothing but the name changes is the rule. So its names are those
//! that features have first, requests and catalogs are put into the names of the day before the engine
//! gets them, and its answers are read by the first names again, which numbers keep.

use std::collections::BTreeMap;

use headroom_core::catalog::{Catalog, CatalogSpec, EntitlementSpec, FeatureKindSpec};
use headroom_core::migrate::Migration;
use headroom_engine::engine::EngineError;

use super::{Met, Player, compare};
use crate::catalogs::FEATURES;
use crate::model::Refused;
use crate::rng::Rng;

/// Names that limits, plans and add-ons have, too.
const POOL: [&str; 8] =
    ["total", "weekly", "free", "pro", "boost", "concurrent", "renamed", "renamed_again"];

/// What features are called under one catalog.
#[derive(Debug, Clone, Default)]
pub(super) struct Renaming {
    /// By their first names. Who is not there is called as first.
    called: BTreeMap<String, String>,
    /// The lines of the catalog.
    lines: Vec<(String, String)>,
}

impl Renaming {
    pub(super) fn name<'a>(&'a self, feature: &'a str) -> &'a str {
        self.called.get(feature).map_or(feature, |name| name)
    }

    /// The first name of what is called so, or was and is still understood.
    fn first<'a>(&'a self, name: &'a str) -> &'a str {
        let line = self.lines.iter().find(|(from, _)| from == name);
        let name = line.map_or(name, |(_, to)| to);
        let known = self.called.iter().find(|(_, called)| *called == name);
        known.map_or(name, |(first, _)| first)
    }

    fn is_a_name(&self, name: &str) -> bool {
        FEATURES.iter().any(|feature| self.name(feature) == name)
    }

    /// A former name of a feature that a line still leads from.
    fn former(&self, feature: &str) -> Option<&str> {
        let to = self.name(feature);
        self.lines.iter().find(|(_, line)| line == to).map(|(from, _)| from.as_str())
    }

    /// The catalog in the names of the day, with the lines of them.
    pub(super) fn put(&self, spec: &CatalogSpec) -> CatalogSpec {
        let mut spec = spec.clone();
        let rename = |feature: &mut String| *feature = self.name(feature).to_owned();
        for feature in &mut spec.features {
            rename(&mut feature.feature);
            if let FeatureKindSpec::Credits { rate_card, .. } = &mut feature.kind {
                rate_card.iter_mut().for_each(|(paid, _)| rename(paid));
            }
        }
        let plans = spec.plans.iter_mut().chain(&mut spec.addons);
        for (feature, given) in plans.flat_map(|plan| &mut plan.entitlements) {
            rename(feature);
            match given {
                EntitlementSpec::Locked { after, .. } => rename(&mut after.feature),
                EntitlementSpec::PaidQuota { paid_by, .. } => rename(paid_by),
                _ => {}
            }
        }
        for line in &mut spec.migrations {
            match line {
                Migration::DropFeature { feature }
                | Migration::DropLimit { feature, .. }
                | Migration::ChangeKind { feature, .. }
                | Migration::EndLifetime { feature, .. } => rename(feature),
                Migration::RenameFeature { .. }
                | Migration::MovePlan { .. }
                | Migration::DropAddOn { .. } => {}
            }
        }
        let lines = self.lines.iter().cloned();
        spec.migrations.extend(lines.map(|(from, to)| Migration::RenameFeature { from, to }));
        spec
    }

    /// What features are called in the next catalog: now and then, one that is in force otherwise.
    pub(super) fn next(&self, rng: &mut Rng, old: &CatalogSpec, new: &CatalogSpec) -> Renaming {
        let mut next = self.clone();
        // Lines that were carried out may stay, or be taken out.
        next.lines.retain(|_| rng.percent(80));
        for feature in &new.features {
            let first = feature.feature.as_str();
            if rng.percent(12) && old.features.iter().any(|known| known.feature == first) {
                next.rename(rng, self, first);
            }
        }
        // Lines that lead to nothing of this catalog would be refused.
        loop {
            let leads_on = |(from, to): &(String, String)| {
                let mut all = new.features.iter();
                let is_feature = all.any(|known| next.name(&known.feature) == to);
                let is_led_on = next.lines.iter().any(|(other, _)| other == to);
                !next.is_a_name(from) && (is_feature || is_led_on)
            };
            let kept: Vec<_> = next.lines.iter().filter(|line| leads_on(line)).cloned().collect();
            if kept.len() == next.lines.len() {
                return next;
            }
            next.lines = kept;
        }
    }

    fn rename(&mut self, rng: &mut Rng, before: &Renaming, first: &str) {
        let mut steps = Vec::new();
        for _ in 0..if rng.percent(20) { 2 } else { 1 } {
            // Its first name among them, so that it comes back.
            let name = if rng.percent(25) { first } else { rng.pick(&POOL) };
            let mut new = self.lines.iter().filter(|line| !before.lines.contains(line));
            let is_taken = before.is_a_name(name)
                || self.is_a_name(name)
                || new.any(|(from, to)| from == name || to == name);
            if !is_taken && steps.iter().all(|known| *known != name) {
                steps.push(name);
            }
        }
        for step in steps {
            let was = self.name(first).to_owned();
            self.lines.retain(|(from, to)| from != step && to != step);
            self.lines.push((was, step.to_owned()));
            self.called.insert(first.to_owned(), step.to_owned());
        }
    }
}

impl Player {
    /// What features are called under the catalog in force.
    pub(super) fn renaming(&self) -> &Renaming {
        &self.renamings[&self.model.source]
    }

    /// What features are called under a catalog that has come into force.
    pub(super) fn note_renaming(&mut self, source: &str, renaming: Renaming) {
        // The model has gone on to it already.
        let is_several = renaming.lines.len() > 1;
        if is_several {
            self.coverage.note("several lines that rename");
        }
        self.renamings.insert(source.to_owned(), renaming);
    }

    /// What a request calls a feature: as it is called now, or as it was as long as that is understood.
    pub(super) fn called(&self, feature: &str) -> String {
        let renaming = self.renaming();
        let is_in_force = self.model.catalog.features.iter().any(|known| known.feature == feature);
        let former =
            renaming.former(feature).filter(|_| is_in_force && self.step.is_multiple_of(3));
        former.unwrap_or_else(|| renaming.name(feature)).to_owned()
    }

    /// A refusal by first names.
    pub(super) fn by_first_names(&self, refused: Option<Refused>) -> Option<Refused> {
        refused.map(|refused| match refused {
            Refused::Name(what @ ("feature" | "credits feature"), name) => {
                Refused::Name(what, self.renaming().first(&name).to_owned())
            }
            refused => refused,
        })
    }

    /// An error by first names.
    pub(super) fn plainly(&self, error: EngineError) -> EngineError {
        let plainly = |problem: String| {
            let of = |name: &str| format!(": feature {name} ");
            let named = self.renaming().called.iter();
            named.fold(problem, |text, (first, name)| text.replace(&of(name), &of(first)))
        };
        match error {
            EngineError::Dimensions { problem } => {
                EngineError::Dimensions { problem: plainly(problem) }
            }
            EngineError::ItemDimensions { place, problem } => {
                EngineError::ItemDimensions { place, problem: plainly(problem) }
            }
            EngineError::Subject(mut mistyped) => {
                mistyped.feature = self.renaming().first(&mistyped.feature).to_owned();
                EngineError::Subject(mistyped)
            }
            error => error,
        }
    }

    /// Each feature of the catalog in force is called as it should be.
    pub(super) fn inspect_names(&mut self, catalog: &Catalog) -> Met {
        for feature in catalog.features() {
            let name = self.renaming().name(catalog.text(feature.id)).to_owned();
            compare::same("the name of a feature", &&*feature.feature, &name.as_str())?;
            compare::same(
                "the name of its number",
                &catalog.feature_text(feature.id),
                &name.as_str(),
            )?;
            compare::same("the number of a name", &catalog.feature_id(&name), &Some(feature.id))?;
            if let Some(former) = self.renaming().former(catalog.text(feature.id)) {
                compare::same("a former name", &catalog.feature_id(former), &Some(feature.id))?;
            }
            if name != catalog.text(feature.id) {
                self.coverage.note("a feature under another name");
            }
        }
        Ok(())
    }
}
