//! The catalog: what can be entitled (features), what is sold (plans), and what is said (prompts).
//!
//! A [`CatalogSpec`] is what somebody wrote; [`Catalog::build`] checks all of it and resolves names
//! to indices. A `Catalog` that exists is valid. Reading files is not done here.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::migrate::Migration;
use crate::names::{NameId, Names};
use crate::prompt::DAY_MS;
pub use crate::prompt::{PromptSpec, PromptingSpec, Scenario};
use crate::signal::{Horizons, SignalSwitches};
use crate::versions;

mod feature;
mod limit;
mod number;
mod plan;
mod spec;

pub use feature::{Counting, Feature, FeatureKind, LevelLimit};
pub use limit::PlanLimit;
pub use plan::{Entitlement, Plan};
pub use spec::{
    Aggregation, CatalogSpec, CountingSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec,
    LimitSpec, Merge, Offering, PlanLimitSpec, PlanSpec, Policy, Price, PricePeriod,
    ROLLOUT_ALL_BP, RateSpec, SpecProblem, UNLOCK_AFTER, UnlockSpec,
};

use number::number;

/// The name of the one limit of a concurrency feature. No limit of a quota may have it.
pub const CONCURRENT_LIMIT: &str = "concurrent";

/// What the limit of a concurrency is called that subjects have for themselves. No limit of a quota may have
/// it.
pub const EACH_CONCURRENT_LIMIT: &str = "concurrent_each";

/// The name of the one limit of a rate feature. No limit of a quota may have it.
pub const RATE_LIMIT: &str = "rate";

/// What the limit of a rate is called that subjects have for themselves.
pub const EACH_RATE_LIMIT: &str = "rate_each";

/// The name of the one limit of an allocation feature. No limit of a quota may have it.
pub const LEVEL_LIMIT: &str = "level";
/// The name of the one limit of a credits feature. No limit of a quota may have it.
pub const CREDITS_LIMIT: &str = "credits";

/// The name of the one limit of a seats feature. No limit of a quota may have it.
pub const SEATS_LIMIT: &str = "seats";

/// A prompt, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// As written.
    pub spec: PromptSpec,
    /// Its number.
    pub id: NameId,
    /// The numbers of its variants, in their order.
    pub variants: Vec<NameId>,
    /// The feature it is for.
    pub feature: Option<FeatureIx>,
    /// The plans it is for; empty for all.
    pub plans: Vec<NameId>,
    /// The plan offered.
    pub offer: Option<PlanIx>,
}

/// The place of a feature in its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureIx(pub usize);

/// The place of a plan in its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanIx(pub usize);

/// A catalog that was checked.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Counts the catalogs of a data directory, from 1.
    pub revision: u64,
    /// Which signals are raised.
    pub signals: SignalSwitches,
    features: Vec<Feature>,
    plans: Vec<Plan>,
    addons: Vec<Plan>,
    default_plan: Option<PlanIx>,
    prompts: Vec<Prompt>,
    prompting: PromptingSpec,
    prompts_of_trials: bool,
    feature_by_name: HashMap<Box<str>, FeatureIx, FixedState>,
    names: Names,
    // Indexed by NameId, so that a decision finds the plan of an account without hashing.
    plan_by_id: Vec<Option<PlanIx>>,
    addon_by_id: Vec<Option<usize>>,
    feature_by_id: Vec<Option<FeatureIx>>,
    migrations: Vec<Migration>,
    minds_changes: bool,
    // The features and limits of which some plan or add-on carries debt, ascending.
    carrying: Vec<(NameId, NameId)>,
    // Tells the reservations of slots, also when their feature has left or changed its kind.
    concurrent_limit: Option<NameId>,
    // Tells the slots of subjects, alike.
    each_concurrent_limit: Option<NameId>,
    // Tells the ledgers of levels, alike.
    level_limit: Option<NameId>,
    // The credits features.
    pools: Vec<FeatureIx>,
    has_roll_outs: bool,
    // Tells the ledgers of seats, alike.
    seats_limit: Option<NameId>,
}

impl Catalog {
    /// Checks a catalog and resolves its names, numbering the new ones.
    ///
    /// On error `names` is unchanged, and every problem is reported, not only the first.
    pub fn build(
        spec: CatalogSpec,
        revision: u64,
        names: &mut Names,
    ) -> Result<Catalog, Vec<SpecProblem>> {
        let problems = crate::catalog_check::problems(&spec);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(number(spec, revision, names))
    }

    /// What is wrong with each of `prompts`, of which not all could be read, beside the catalog `spec`, which need
    /// not be sound. Which prompt comes first is not asked; paths are as if `prompts` were the catalog's.
    pub fn problems_of_prompts(spec: &CatalogSpec, prompts: &[PromptSpec]) -> Vec<SpecProblem> {
        crate::catalog_check::problems_of_prompts(spec, prompts)
    }

    /// The text of a name's number: of a plan, a limit, a dimension. What features are called,
    /// [`Catalog::feature_text`] says.
    pub fn text(&self, id: NameId) -> &str {
        self.names.text(id)
    }

    /// What the feature of a number is called, also one that has left.
    pub fn feature_text(&self, id: NameId) -> &str {
        self.names.feature_text(id)
    }

    /// The number of the feature that is called so, or was before a line of this catalog renamed it; also of
    /// one that has left.
    pub fn feature_id(&self, feature: &str) -> Option<NameId> {
        let known = self.feature_named(feature).map(|ix| self.feature(ix).id);
        known.or_else(|| self.names.feature(feature))
    }

    /// All names known when this catalog was built: its own and all earlier ones.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The feature of this name, or that a line of this catalog renames from it.
    pub fn feature_named(&self, feature: &str) -> Option<FeatureIx> {
        self.feature_by_name.get(feature).copied()
    }

    /// The feature of this number.
    pub fn feature_of(&self, id: NameId) -> Option<FeatureIx> {
        self.feature_by_id.get(id.0 as usize).copied().flatten()
    }

    /// The plan of this number: of this version, or the one that accounts of it are moved to.
    pub fn plan_of(&self, id: NameId) -> Option<PlanIx> {
        self.plan_by_id.get(id.0 as usize).copied().flatten()
    }

    /// The plan of this name, in the version that is sold; or of this name and version, as `team@2`.
    pub fn plan_named(&self, plan: &str) -> Option<PlanIx> {
        versions::find(&self.plans, plan).map(PlanIx)
    }

    /// The name and the version that a plan's number stands for, also of one that has left.
    pub fn plan_name(&self, id: NameId) -> (&str, u32) {
        match self.plan_of(id) {
            Some(ix) => (&self.plans[ix.0].plan, self.plans[ix.0].version),
            None => versions::split(self.names.text(id)),
        }
    }

    /// A feature of this catalog.
    pub fn feature(&self, ix: FeatureIx) -> &Feature {
        &self.features[ix.0]
    }

    /// A plan of this catalog.
    pub fn plan(&self, ix: PlanIx) -> &Plan {
        &self.plans[ix.0]
    }

    /// All features, in the order written.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// All plans, in the order written; versions that are not sold any more come last.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// The add-on of this number.
    pub fn addon_of(&self, id: NameId) -> Option<&Plan> {
        let ix = self.addon_by_id.get(id.0 as usize).copied().flatten()?;
        self.addons.get(ix)
    }

    /// The add-on of this name.
    pub fn addon_named(&self, addon: &str) -> Option<&Plan> {
        self.addons.iter().find(|known| &*known.plan == addon)
    }

    /// All add-ons, in the order written.
    pub fn addons(&self) -> &[Plan] {
        &self.addons
    }

    /// All prompts, in the order written.
    pub fn prompts(&self) -> &[Prompt] {
        &self.prompts
    }

    /// Whether any prompt is for the end of a trial.
    pub fn prompts_of_trials(&self) -> bool {
        self.prompts_of_trials
    }

    /// How long before its end a trial is about to end, in milliseconds: what the prompts say, or else the
    /// signal that a trial ends, so that both speak of the same days.
    pub fn trial_ending_ms(&self) -> i64 {
        let days = self.signals.trial_ending.nearest().or(Horizons::OF_TRIALS.nearest());
        self.prompting.trial_ending_ms.unwrap_or(i64::from(days.unwrap_or(0)) * DAY_MS)
    }

    /// What holds of all prompts.
    pub fn prompting(&self) -> &PromptingSpec {
        &self.prompting
    }

    /// Whether any limit of a plan does not simply keep what was used when the plan changes.
    pub fn minds_changes(&self) -> bool {
        self.minds_changes
    }

    /// What may be lost against the catalog before this one.
    pub fn migrations(&self) -> &[Migration] {
        &self.migrations
    }

    /// The name of every concurrency's limit. `None`: no catalog so far had one.
    pub fn concurrent_limit(&self) -> Option<NameId> {
        self.concurrent_limit
    }

    /// Whether anything counts in windows of a limit: the feature has it, for the account or for subjects.
    pub fn counts(&self, feature: NameId, limit: NameId) -> bool {
        let Some(shape) = self.feature_of(feature).map(|feature| self.feature(feature)) else {
            return false;
        };
        let is_own = match &shape.kind {
            FeatureKind::Switch | FeatureKind::Config => false,
            FeatureKind::Quota { limits } => limits.iter().any(|(known, _)| *known == limit),
            FeatureKind::Rate { limit: own, each } => {
                *own == limit || each.is_some_and(|(_, each)| each == limit)
            }
            FeatureKind::Concurrency { limit: own }
            | FeatureKind::Allocation { limit: own, .. }
            | FeatureKind::Credits { limit: own, .. }
            | FeatureKind::Seats { limit: own, .. } => *own == limit,
        };
        is_own || shape.levels.iter().any(|level| level.limit == limit)
    }

    /// Whether a limit is of slots: those of an account, or of a subject.
    pub fn is_of_slots(&self, limit: NameId) -> bool {
        self.concurrent_limit == Some(limit) || self.each_concurrent_limit == Some(limit)
    }

    /// Whether a plan or an add-on carries the debt of this limit.
    pub fn carries(&self, feature: NameId, limit: NameId) -> bool {
        self.carrying.binary_search(&(feature, limit)).is_ok()
    }

    /// Whether a limit carries debt that does not in another catalog.
    pub fn carries_more_than(&self, other: &Catalog) -> bool {
        self.carrying.iter().any(|(feature, limit)| !other.carries(*feature, *limit))
    }

    /// The name of every allocation's limit. `None`: no catalog so far had one.
    pub fn level_limit(&self) -> Option<NameId> {
        self.level_limit
    }

    /// Whether some feature is not rolled out to everybody.
    #[inline]
    pub fn has_roll_outs(&self) -> bool {
        self.has_roll_outs
    }

    /// The credits features, in the order written.
    pub fn pools(&self) -> &[FeatureIx] {
        &self.pools
    }

    /// The name of the limit of all seats. `None`: no catalog so far had any.
    pub fn seats_limit(&self) -> Option<NameId> {
        self.seats_limit
    }

    /// The plan of accounts nobody told us about.
    pub fn default_plan(&self) -> Option<PlanIx> {
        self.default_plan
    }
}
