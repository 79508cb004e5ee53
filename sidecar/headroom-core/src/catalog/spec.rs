//! A catalog as somebody wrote it: names are text, and nothing is checked yet.

use crate::cohort::Cohorts;
use crate::credits::{CreditPrice, PoolTerms};
use crate::migrate::Migration;
use crate::policy::LimitTerms;
use crate::prompt::{PromptSpec, PromptingSpec};
use crate::signal::SignalSwitches;
use crate::stock::BilledBy;
use crate::tally::TallySpec;
use crate::window::WindowRule;

/// What happens when the included units of a limit are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Refuse.
    Block,
    /// Allow this much more, in basis points of the included units rounded down, then refuse.
    Grace {
        /// 1 to 1,000,000 (0.01 % to 10,000 %), or [`Policy::GRACE_BY_TIME_ALONE`].
        grace_bp: u32,
    },
    /// Allow; what is above the included units is billed.
    Overage,
    /// Allow; soft thresholds are still watched.
    Unlimited,
}

impl Policy {
    /// The `grace_bp` of a grace that has no bound in units, only one in time.
    pub const GRACE_BY_TIME_ALONE: u32 = u32::MAX;
}

/// A limit as a feature defines it: its name and how its windows lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSpec {
    /// Its name, unique within the feature.
    pub limit: String,
    /// How its windows lie.
    pub window: WindowRule,
    /// The type of subjects that each have it for themselves. `None`: the account has it.
    pub per: Option<String>,
}

/// What sort of thing a feature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeatureKindSpec {
    /// On or off.
    Switch,
    /// A value, any JSON.
    Config,
    /// A flow of units with at least one limit.
    Quota {
        /// Its limits.
        limits: Vec<LimitSpec>,
    },
    /// How many at a time.
    Concurrency {
        /// The type of subjects that may each have a most for themselves. `None`: none.
        per: Option<String>,
    },
    /// How many in a span of time, and how many at once: a token bucket.
    Rate {
        /// The type of subjects that each have a bucket beside the account's. `None`: none.
        per: Option<String>,
    },
    /// How many there are: things that come and go away again.
    Allocation {
        /// What a billing window is measured by.
        billed_by: BilledBy,
        /// The window it is measured over: only [`WindowRule::Billing`].
        window: WindowRule,
    },
    /// A pool of units that grants fill and other features draw from.
    Credits {
        /// How the windows lie that units are included for.
        window: WindowRule,
        /// What features cost: a quota's name and its price.
        rate_card: Vec<(String, CreditPrice)>,
    },
    /// Members.
    Seats {
        /// How long an invitation holds a seat when it does not say, in milliseconds: 1 to
        /// [`crate::limits::INVITATION_MS_MAX`].
        invited_ms: i64,
    },
}

/// How what the plan gives and what add-ons give become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Merge {
    /// Included units add up.
    #[default]
    Sum,
    /// The most of them counts.
    MostGenerous,
}

/// Who gets a feature, besides who bought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offering {
    /// How what the plan gives and what add-ons give become one.
    pub merge: Merge,
    /// Whether everybody is refused for now.
    pub is_paused: bool,
    /// The share of accounts that have it, in basis points, 0 to 10,000. Which ones is drawn from the
    /// account's id and the feature's name, so it stays, and a larger share contains a smaller one.
    pub rollout_bp: u32,
    /// Accounts that have it besides.
    pub cohorts: Cohorts,
}

impl Offering {
    /// Whether it has not come to everybody: to a share of accounts, or to those of cohorts.
    pub fn is_partial(&self) -> bool {
        self.rollout_bp < ROLLOUT_ALL_BP
    }
}

/// All accounts that bought a feature have it.
pub const ROLLOUT_ALL_BP: u32 = 10_000;

impl Default for Offering {
    fn default() -> Offering {
        Offering {
            merge: Merge::Sum,
            is_paused: false,
            rollout_bp: ROLLOUT_ALL_BP,
            cohorts: Cohorts::default(),
        }
    }
}

/// A feature as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureSpec {
    /// Its name for programs.
    pub feature: String,
    /// Its name for people.
    pub name: String,
    /// What one unit is called, for people ("tokens").
    pub unit: String,
    /// Decimal places for display: one unit is 10^-scale of what people count. 0 to 9.
    pub scale: u8,
    /// What sort of thing it is.
    pub kind: FeatureKindSpec,
    /// Who gets it.
    pub offering: Offering,
    /// Whether it is only watched: what would be refused is reported, and allowed.
    pub shadow: bool,
    /// How its usage is counted, besides by its limits.
    pub counting: CountingSpec,
}

/// What a quota makes of the units of its uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Aggregation {
    /// They add up.
    #[default]
    Sum,
    /// Each use counts one, whatever its units.
    Count,
    /// The largest of them counts.
    Max,
    /// The latest of them counts, by their own times.
    Latest,
    /// The different values of a dimension are counted, whatever the units.
    Unique,
}

impl Aggregation {
    /// Every aggregation, in the order of the documentation.
    pub const ALL: [Aggregation; 5] = [
        Aggregation::Sum,
        Aggregation::Count,
        Aggregation::Max,
        Aggregation::Latest,
        Aggregation::Unique,
    ];

    /// Whether uses add up, each for itself: so they can be summed over any span, taken out again, and
    /// paid for.
    pub fn adds_up(self) -> bool {
        match self {
            Aggregation::Sum | Aggregation::Count => true,
            Aggregation::Max | Aggregation::Latest | Aggregation::Unique => false,
        }
    }

    /// Whether one of the values counts, so that the limit is one of the value and nothing is used up.
    pub fn is_of_values(self) -> bool {
        match self {
            Aggregation::Max | Aggregation::Latest => true,
            Aggregation::Sum | Aggregation::Count | Aggregation::Unique => false,
        }
    }

    /// The word of the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Aggregation::Sum => "sum",
            Aggregation::Count => "count",
            Aggregation::Max => "max",
            Aggregation::Latest => "latest",
            Aggregation::Unique => "unique",
        }
    }
}

/// How the usage of a feature is counted, besides by its limits, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountingSpec {
    /// What is made of the units of its uses.
    pub aggregation: Aggregation,
    /// The dimension whose different values are counted. Only with [`Aggregation::Unique`].
    pub unique_by: Option<String>,
    /// What it is told apart by in the usage history. `None`: by limit and window alone.
    pub tally: Option<TallySpec>,
}

/// One limit of a plan as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLimitSpec {
    /// The limit's name in the feature.
    pub limit: String,
    /// Included units of each window, 0 to 2^53-1. `None`: unlimited.
    pub included_units: Option<u64>,
    /// Soft thresholds in basis points of the included units, 1 to 9,999 each.
    pub soft_limits_bp: Vec<u32>,
    /// What happens when the included units are used up.
    pub policy: Policy,
    /// The rare parts of that.
    pub terms: LimitTerms,
}

/// What a plan says about one feature, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntitlementSpec {
    /// For a switch.
    Switch {
        /// Whether it is on.
        on: bool,
    },
    /// For a config: the value as JSON text.
    Config {
        /// The JSON text.
        value_json: String,
    },
    /// For a quota.
    Quota {
        /// At least one limit.
        limits: Vec<PlanLimitSpec>,
    },
    /// For a quota that a pool of credits pays.
    PaidQuota {
        /// Limits besides. None: all limits of the feature count, and are unlimited.
        limits: Vec<PlanLimitSpec>,
        /// The credits feature that pays.
        paid_by: String,
    },
    /// For a pool of credits.
    Credits {
        /// What the plan says of it.
        terms: PoolTerms,
    },
    /// For a concurrency.
    Concurrency {
        /// The most at a time, 0 to 2^53-1. `None`: unlimited.
        max_units: Option<u64>,
        /// Soft thresholds in basis points of the most, 1 to 9,999 each. They look at what is held.
        soft_limits_bp: Vec<u32>,
        /// The most of each subject at a time, 0 to 2^53-1. `None`: as many as the account.
        each: Option<u64>,
    },
    /// For a rate.
    Rate {
        /// How fast. `None`: unlimited.
        rate: Option<RateSpec>,
        /// How fast for each subject. `None`: as fast as the account.
        each: Option<RateSpec>,
    },
    /// For seats.
    Seats {
        /// How many, 0 to [`crate::limits::SEATS_MAX`]. `None`: unlimited.
        included_units: Option<u64>,
        /// Soft thresholds in basis points of them, 1 to 9,999 each. They look at the seats taken.
        soft_limits_bp: Vec<u32>,
    },
    /// For an allocation: its one limit, [`super::LEVEL_LIMIT`].
    Allocation {
        /// The limit.
        limit: PlanLimitSpec,
    },
    /// For a switch or a quota of a plan that counts once it was earned by use.
    Locked {
        /// What has to be used.
        after: UnlockSpec,
        /// What is given then; not locked itself.
        given: Box<EntitlementSpec>,
    },
}

/// The key of what has to be used first. No limit has it as its name.
pub const UNLOCK_AFTER: &str = "unlock_after";

/// What has to be used before an entitlement counts, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnlockSpec {
    /// The quota that is used. It has a limit that counts for ever, which the plan gives.
    pub feature: String,
    /// So many units of it, 1 to 2^53-1.
    pub units: u64,
}

impl EntitlementSpec {
    /// What is given, also where it has to be earned.
    pub fn given(&self) -> &EntitlementSpec {
        match self {
            EntitlementSpec::Locked { given, .. } => given,
            given => given,
        }
    }
}

/// A rate as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSpec {
    /// Units that come back in each period, 1 to 2^53-1.
    pub units: u64,
    /// The period, in milliseconds: 1 to [`crate::limits::RATE_PERIOD_MS_MAX`].
    pub period_ms: i64,
    /// Units that a full bucket holds, 1 to 2^53-1.
    pub burst_units: u64,
}

/// The period a price is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PricePeriod {
    /// Per month.
    Month,
    /// Per year.
    Year,
}

impl PricePeriod {
    /// The word of the catalog and of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            PricePeriod::Month => "month",
            PricePeriod::Year => "year",
        }
    }
}

/// What a plan costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Minor units of the currency.
    pub minor: u64,
    /// ISO 4217 code, three capital letters.
    pub currency: String,
    /// The period it is for.
    pub per: PricePeriod,
}

/// A plan as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSpec {
    /// Its name for programs.
    pub plan: String,
    /// Its version, from 1. Of several plans of one name the one with the highest is sold; the others
    /// are for accounts that bought them. An add-on has version 1.
    pub version: u32,
    /// Its name for people.
    pub name: String,
    /// What it costs. `None`: on request.
    pub price: Option<Price>,
    /// Feature name and what the plan says about it.
    pub entitlements: Vec<(String, EntitlementSpec)>,
}

/// A catalog as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogSpec {
    /// The features.
    pub features: Vec<FeatureSpec>,
    /// The plans.
    pub plans: Vec<PlanSpec>,
    /// What can be bought in addition, each any number of times.
    pub addons: Vec<PlanSpec>,
    /// The plan of accounts nobody told us about. `None`: they are refused.
    pub default_plan: Option<String>,
    /// The prompts; of those that fit the most specific is shown.
    pub prompts: Vec<PromptSpec>,
    /// What holds of all of them.
    pub prompting: PromptingSpec,
    /// Which signals are raised.
    pub signals: SignalSwitches,
    /// What may be lost against the catalog before this one.
    pub migrations: Vec<Migration>,
}

/// One thing wrong with a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// Where, as keys and list positions from the top: `plans`, `pro`, `entitlements`, `tokens`.
    pub path: Vec<String>,
    /// What is wrong, lower case, without a full stop.
    pub message: String,
    /// Names that would be right here, for a "did you mean".
    pub known: Vec<String>,
}
