//! A feature, checked: its kind, and how its usage is counted.

use std::sync::Arc;

use super::{Aggregation, FeatureIx, Offering};
use crate::credits::CreditPrice;
use crate::limits;
use crate::names::NameId;
use crate::stock::StockRule;
use crate::tally::TallyRule;
use crate::window::WindowRule;

/// What sort of thing a feature is, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeatureKind {
    /// On or off.
    Switch,
    /// A value.
    Config,
    /// A flow of units.
    Quota {
        /// Its limits: the names and how their windows lie.
        limits: Vec<(NameId, WindowRule)>,
    },
    /// How many at a time.
    Concurrency {
        /// The name of its one limit, [`super::CONCURRENT_LIMIT`].
        limit: NameId,
    },
    /// How many in a span of time.
    Rate {
        /// The name of the account's limit, [`super::RATE_LIMIT`].
        limit: NameId,
        /// The type of subjects that each have a bucket, and the name of theirs, [`super::EACH_RATE_LIMIT`].
        each: Option<(NameId, NameId)>,
    },
    /// How many there are.
    Allocation {
        /// The name of its one limit, [`super::LEVEL_LIMIT`].
        limit: NameId,
        /// How it is measured.
        rule: StockRule,
    },
    /// A pool of units.
    Credits {
        /// The name of its one limit, [`super::CREDITS_LIMIT`].
        limit: NameId,
        /// How the windows lie that units are included for.
        window: WindowRule,
    },
    /// Members.
    Seats {
        /// The name of its one limit, [`super::SEATS_LIMIT`].
        limit: NameId,
        /// How long an invitation holds a seat when it does not say, in milliseconds.
        invited_ms: i64,
    },
}

impl FeatureKind {
    /// The word of the catalog and of messages.
    pub fn as_str(&self) -> &'static str {
        match self {
            FeatureKind::Switch => "switch",
            FeatureKind::Config => "config",
            FeatureKind::Quota { .. } => "quota",
            FeatureKind::Concurrency { .. } => "concurrency",
            FeatureKind::Rate { .. } => "rate",
            FeatureKind::Allocation { .. } => "allocation",
            FeatureKind::Credits { .. } => "credits",
            FeatureKind::Seats { .. } => "seats",
        }
    }

    /// Whether its units add up over a window, so that it has a pace and an end to project. Slots
    /// and buckets fill again by themselves, and what is allocated can go away.
    pub fn adds_up(&self) -> bool {
        matches!(self, FeatureKind::Quota { .. })
    }
}

/// A feature, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its number.
    pub id: NameId,
    /// Its name for programs.
    pub feature: Arc<str>,
    /// Its name for people.
    pub name: Arc<str>,
    /// What one unit is called.
    pub unit: Arc<str>,
    /// Decimal places for display.
    pub scale: u8,
    /// What sort of thing it is.
    pub kind: FeatureKind,
    /// Who gets it.
    pub offering: Offering,
    /// Whether it is only watched: what would be refused is reported, and allowed.
    pub shadow: bool,
    /// What it costs in each pool whose rate card has it, in the order written.
    pub credit_prices: Vec<(FeatureIx, CreditPrice)>,
    /// The limits that subjects have for themselves; few features have any.
    pub levels: Vec<LevelLimit>,
    /// How its usage is counted, besides by its limits. `None`, as of most features: plainly.
    pub counting: Option<Box<Counting>>,
}

/// A limit that each subject of a type has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelLimit {
    /// Its name.
    pub limit: NameId,
    /// How its windows lie.
    pub window: WindowRule,
    /// The type of the subjects.
    pub per: NameId,
}

impl Feature {
    /// What is made of the units of its uses.
    pub fn aggregation(&self) -> Aggregation {
        self.counting.as_ref().map_or(Aggregation::Sum, |counting| counting.aggregation)
    }

    /// Whether its usage grows with every use, so that it has a pace and an end to project.
    pub fn adds_up(&self) -> bool {
        // Different values grow, too, though ever slower.
        let falls_or_jumps = matches!(self.aggregation(), Aggregation::Max | Aggregation::Latest);
        self.kind.adds_up() && !falls_or_jumps
    }

    /// The dimension whose different values are counted. `None`: it counts something else.
    pub fn unique_by(&self) -> Option<NameId> {
        self.counting.as_ref()?.unique_by
    }

    /// Whether so many units of one of its limits are an estimate: of more different values than are known one
    /// by one.
    pub fn is_approximate(&self, limit: NameId, used_units: u64) -> bool {
        let of_subjects = self.levels.iter().any(|level| level.limit == limit);
        let exact = match of_subjects {
            true => limits::SUBJECT_DISTINCT_EXACT_MAX,
            false => limits::DISTINCT_EXACT_MAX,
        };
        self.aggregation() == Aggregation::Unique && used_units > exact as u64
    }

    /// What its usage is told apart by in the usage history.
    pub fn tally(&self) -> Option<&TallyRule> {
        self.counting.as_ref()?.tally.as_ref()
    }
}

/// How the usage of a feature is counted, besides by its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counting {
    /// What is made of the units of its uses.
    pub aggregation: Aggregation,
    /// The dimension whose different values are counted.
    pub unique_by: Option<NameId>,
    /// What it is told apart by in the usage history.
    pub tally: Option<TallyRule>,
}
