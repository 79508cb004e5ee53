//! The catalog: what can be entitled (features), what is sold (plans), and what is said (prompts).
//!
//! A [`CatalogSpec`] is what somebody wrote; [`Catalog::build`] checks all of it and resolves names
//! to indices. A `Catalog` that exists is valid. Reading files is not done here.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::account::Account;
use crate::change;
use crate::cohort::Cohorts;
use crate::credits::{CreditPrice, PoolTerms};
use crate::ledger::Ledger;
use crate::limits;
use crate::migrate::Migration;
use crate::names::{NameId, Names};
use crate::policy::LimitTerms;
use crate::prompt::{CONTROL, DAY_MS, HOLDOUT};
pub use crate::prompt::{PromptSpec, PromptingSpec, Scenario};
use crate::rate::Rate;
use crate::resolve;
use crate::signal::{Horizons, REACHED_BP, SignalSwitches};
use crate::stock::{BilledBy, StockRule};
use crate::tally::{TallyRule, TallySpec};
use crate::time::Millis;
use crate::unlock::{Locked, Unlock};
use crate::versions;
use crate::window::WindowRule;

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
        /// [`limits::INVITATION_MS_MAX`].
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
        /// How many, 0 to [`limits::SEATS_MAX`]. `None`: unlimited.
        included_units: Option<u64>,
        /// Soft thresholds in basis points of them, 1 to 9,999 each. They look at the seats taken.
        soft_limits_bp: Vec<u32>,
    },
    /// For an allocation: its one limit, [`LEVEL_LIMIT`].
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
    /// The period, in milliseconds: 1 to [`limits::RATE_PERIOD_MS_MAX`].
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

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimitSort {
    /// Units of a quota, that add up.
    Units,
    /// The slots of a concurrency: nothing is used up, all is held.
    Slots,
    /// The level of an allocation: what is used can go away again.
    Level,
    /// Seats: claimed ones are used, those invited to are held.
    Seats,
}

/// A limit of a plan, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLimit {
    /// The limit's name.
    pub limit: NameId,
    /// How its windows lie.
    pub window: WindowRule,
    /// Included units of each window. `None`: unlimited.
    pub included_units: Option<u64>,
    /// Soft thresholds in basis points, ascending, without doubles.
    pub soft_limits_bp: Vec<u32>,
    /// What happens when the included units are used up.
    pub policy: Policy,
    /// The rare parts of that. Boxed because most limits have none.
    pub terms: Option<Box<LimitTerms>>,
    sort: LimitSort,
    // Invariant: the fingerprint of the fields above.
    mark: u32,
    // Invariant: the fewest units that are past a threshold, use up what is included, or unlock something.
    stirs_at: u64,
    // The fewest units that unlock something; u64::MAX: none do.
    unlocks_at: u64,
}

impl PlanLimit {
    /// A limit. Thresholds are put in order.
    pub fn new(
        limit: NameId,
        window: WindowRule,
        included_units: Option<u64>,
        mut soft_limits_bp: Vec<u32>,
        policy: Policy,
    ) -> PlanLimit {
        soft_limits_bp.sort_unstable();
        soft_limits_bp.dedup();
        let mark = resolve::mark(included_units, policy, &soft_limits_bp);
        let lowest_bp = soft_limits_bp.first().map_or(REACHED_BP, |bp| REACHED_BP.min(*bp));
        PlanLimit {
            limit,
            window,
            included_units,
            soft_limits_bp,
            policy,
            terms: None,
            sort: LimitSort::Units,
            mark,
            stirs_at: stirs_at(included_units, lowest_bp),
            unlocks_at: u64::MAX,
        }
    }

    /// The same limit, of which so many units unlock something, too.
    fn unlocking_at(mut self, units: u64) -> PlanLimit {
        self.unlocks_at = self.unlocks_at.min(units);
        self.stirs_at = self.stirs_at.min(units);
        self
    }

    /// Whether so many units unlock something.
    pub fn unlocks(&self, units: u64) -> bool {
        self.unlocks_at <= units
    }

    /// The same limit with these terms.
    pub fn with_terms(mut self, terms: LimitTerms) -> PlanLimit {
        let mark = resolve::mark(self.included_units, self.policy, &self.soft_limits_bp);
        self.mark = resolve::mark_terms(mark, &terms);
        self.terms = (!terms.is_plain()).then(|| Box::new(terms));
        self
    }

    /// The limit of a concurrency: so many slots at a time. `None`: unlimited.
    pub fn of_slots(limit: NameId, max_units: Option<u64>, soft_limits_bp: Vec<u32>) -> PlanLimit {
        let policy = if max_units.is_some() { Policy::Block } else { Policy::Unlimited };
        let lifetime = WindowRule::Lifetime;
        let planned = PlanLimit::new(limit, lifetime, max_units, soft_limits_bp, policy);
        PlanLimit { sort: LimitSort::Slots, ..planned }
    }

    /// The limit of an allocation: so many at any time. `None`: unlimited.
    pub fn of_level(
        limit: NameId,
        included_units: Option<u64>,
        soft_limits_bp: Vec<u32>,
        policy: Policy,
    ) -> PlanLimit {
        let lifetime = WindowRule::Lifetime;
        let planned = PlanLimit::new(limit, lifetime, included_units, soft_limits_bp, policy);
        PlanLimit { sort: LimitSort::Level, ..planned }
    }

    /// The limit of seats: so many members. `None`: unlimited.
    pub fn of_seats(
        limit: NameId,
        included_units: Option<u64>,
        soft_limits_bp: Vec<u32>,
    ) -> PlanLimit {
        let planned = PlanLimit::of_slots(limit, included_units, soft_limits_bp);
        PlanLimit { sort: LimitSort::Seats, ..planned }
    }

    /// The same limit with other included units.
    pub fn with_included(&self, included_units: Option<u64>) -> PlanLimit {
        let thresholds = self.soft_limits_bp.clone();
        if self.is_slots() {
            return PlanLimit::of_slots(self.limit, included_units, thresholds);
        }
        if self.is_seats() {
            return PlanLimit::of_seats(self.limit, included_units, thresholds);
        }
        let limit =
            PlanLimit::new(self.limit, self.window, included_units, thresholds, self.policy);
        let limit = PlanLimit { sort: self.sort, ..limit }.unlocking_at(self.unlocks_at);
        match &self.terms {
            None => limit,
            Some(terms) => limit.with_terms((**terms).clone()),
        }
    }

    /// Whether it counts the slots of a concurrency: nothing is used up, all is held.
    pub fn is_slots(&self) -> bool {
        self.sort == LimitSort::Slots
    }

    /// Whether it is the level of an allocation: what is used can go away again.
    pub fn is_level(&self) -> bool {
        self.sort == LimitSort::Level
    }

    /// Whether it counts seats: who has claimed one and who is invited to one.
    pub fn is_seats(&self) -> bool {
        self.sort == LimitSort::Seats
    }

    /// The units of a ledger that thresholds look at: what was used, or the slots that are held, or the
    /// seats that are taken.
    pub fn watched_units(&self, ledger: &Ledger) -> u64 {
        if self.is_slots() || self.is_seats() { ledger.held() } else { ledger.used }
    }

    /// Fingerprint of the definition, to notice a change.
    pub fn mark(&self) -> u32 {
        self.mark
    }

    /// The most that admission lets `used + reserved` become. `None`: no bound.
    ///
    /// Grace is a part of the included units, rounded down.
    pub fn ceiling_units(&self) -> Option<u64> {
        let included = self.included_units?;
        match self.policy {
            Policy::Block => Some(included),
            Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE } => None,
            Policy::Grace { .. } => Some(included.saturating_add(self.grace_units())),
            Policy::Overage => {
                let overage = self.terms.as_ref()?.overage.as_ref()?;
                Some(included.saturating_add(overage.cap_units()?))
            }
            Policy::Unlimited => None,
        }
    }

    /// Units of grace; 0 without grace, and for a grace by time alone. Rounded down.
    pub fn grace_units(&self) -> u64 {
        match (self.policy, self.included_units) {
            (Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE }, _) => 0,
            (Policy::Grace { grace_bp }, Some(included)) => {
                let units = u128::from(included) * u128::from(grace_bp) / 10_000;
                u64::try_from(units).unwrap_or(u64::MAX)
            }
            _ => 0,
        }
    }

    /// Whether `used` units are at or past `bp` basis points of the included units. Nothing used is
    /// past nothing, also when nothing is included.
    pub fn is_past(&self, used: u64, bp: u32) -> bool {
        let Some(included) = self.included_units else { return false };
        used > 0 && u128::from(used) * 10_000 >= u128::from(included) * u128::from(bp)
    }

    /// Whether so many units are below every threshold and within what is included: nothing is to be
    /// said of them, whatever the policy. Most requests are of this sort, so one comparison finds it.
    #[inline]
    pub fn is_quiet(&self, units: u64) -> bool {
        units < self.stirs_at
    }
}

/// The fewest units that [`PlanLimit::is_past`] finds past a threshold. Rounded up, because it compares
/// without rounding.
fn stirs_at(included_units: Option<u64>, bp: u32) -> u64 {
    let Some(included) = included_units else { return u64::MAX };
    let units = (u128::from(included) * u128::from(bp)).div_ceil(10_000);
    u64::try_from(units).unwrap_or(u64::MAX).max(1)
}

/// What a plan says about one feature, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entitlement {
    /// A switch.
    Switch {
        /// Whether it is on.
        on: bool,
    },
    /// A config.
    Config {
        /// The value as JSON text.
        value_json: Arc<str>,
    },
    /// A quota.
    Quota {
        /// At least one limit, in the plan's order.
        limits: Vec<PlanLimit>,
    },
    /// A pool of credits.
    Credits {
        /// What the plan says of it.
        terms: PoolTerms,
    },
    /// A concurrency.
    Concurrency {
        /// Its one limit.
        limit: PlanLimit,
    },
    /// A rate.
    Rate {
        /// How fast. `None`: unlimited.
        rate: Option<Rate>,
        /// How fast for each subject. `None`: as fast as the account.
        each: Option<Rate>,
    },
    /// An allocation.
    Allocation {
        /// Its one limit.
        limit: PlanLimit,
    },
    /// Seats.
    Seats {
        /// Their one limit.
        limit: PlanLimit,
    },
    /// What counts once it was earned. Boxed because it is rare.
    Locked(Box<Locked>),
}

impl Entitlement {
    /// What is given, also where it has to be earned.
    fn given(&self) -> &Entitlement {
        match self {
            Entitlement::Locked(locked) => &locked.given,
            given => given,
        }
    }
}

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
        /// The name of its one limit, [`CONCURRENT_LIMIT`].
        limit: NameId,
    },
    /// How many in a span of time.
    Rate {
        /// The name of the account's limit, [`RATE_LIMIT`].
        limit: NameId,
        /// The type of subjects that each have a bucket, and the name of theirs, [`EACH_RATE_LIMIT`].
        each: Option<(NameId, NameId)>,
    },
    /// How many there are.
    Allocation {
        /// The name of its one limit, [`LEVEL_LIMIT`].
        limit: NameId,
        /// How it is measured.
        rule: StockRule,
    },
    /// A pool of units.
    Credits {
        /// The name of its one limit, [`CREDITS_LIMIT`].
        limit: NameId,
        /// How the windows lie that units are included for.
        window: WindowRule,
    },
    /// Members.
    Seats {
        /// The name of its one limit, [`SEATS_LIMIT`].
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

    /// Whether so many units of it are an estimate: of more different values than are known one by one.
    pub fn is_approximate(&self, used_units: u64) -> bool {
        self.aggregation() == Aggregation::Unique && used_units > limits::DISTINCT_EXACT_MAX as u64
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

/// A plan, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The number of its name and version.
    pub id: NameId,
    /// Its name for programs.
    pub plan: Arc<str>,
    /// Its version.
    pub version: u32,
    /// Its name for people.
    pub name: Arc<str>,
    /// What it costs.
    pub price: Option<Price>,
    // Invariant: one place per feature of the catalog, of the feature's kind.
    entitlements: Vec<Option<Entitlement>>,
    // The quotas that a pool of credits pays, and the pool.
    payers: Vec<(FeatureIx, FeatureIx)>,
    // What it gives to subjects, by feature; few plans give any.
    levels: Vec<(FeatureIx, Vec<PlanLimit>)>,
    // The features that have to be earned.
    locked: Vec<FeatureIx>,
}

impl Plan {
    /// What the plan says about each feature that it contains.
    pub fn given(&self) -> impl Iterator<Item = &Entitlement> {
        self.entitlements.iter().flatten().map(Entitlement::given)
    }

    /// What the plan gives of a feature of its catalog, also where it has to be earned.
    pub fn entitlement(&self, feature: FeatureIx) -> Option<&Entitlement> {
        self.stated(feature).map(Entitlement::given)
    }

    /// What an account on the plan has of a feature: what is to be earned only once it was.
    pub fn given_to(
        &self,
        account: &Account,
        feature: FeatureIx,
        at: Millis,
    ) -> Option<&Entitlement> {
        match self.stated(feature)? {
            Entitlement::Locked(locked) => locked.opened(account, at),
            given => Some(given),
        }
    }

    /// What the plan says about a feature of its catalog.
    pub(crate) fn stated(&self, feature: FeatureIx) -> Option<&Entitlement> {
        self.entitlements.get(feature.0)?.as_ref()
    }

    /// What has to be earned.
    pub(crate) fn locks(&self) -> impl Iterator<Item = &Locked> {
        self.locked.iter().filter_map(|feature| match self.stated(*feature) {
            Some(Entitlement::Locked(locked)) => Some(&**locked),
            _ => None,
        })
    }

    /// The pool of credits that pays for a quota of its catalog.
    pub fn payer(&self, feature: FeatureIx) -> Option<FeatureIx> {
        self.payers.iter().find(|(paid, _)| *paid == feature).map(|(_, pool)| *pool)
    }

    /// What the plan gives to each subject of a feature of its catalog.
    pub fn levels(&self, feature: FeatureIx) -> &[PlanLimit] {
        let of_feature = self.levels.iter().find(|(of, _)| *of == feature);
        of_feature.map_or(&[], |(_, limits)| limits)
    }
}

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
    // Tells the reservations of slots, also when their feature has left or changed its kind.
    concurrent_limit: Option<NameId>,
    // Tells the slots of subjects, alike.
    each_concurrent_limit: Option<NameId>,
    // Tells the ledgers of levels, alike.
    level_limit: Option<NameId>,
    // The credits features.
    pools: Vec<FeatureIx>,
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

    /// The text of a name's number.
    pub fn text(&self, id: NameId) -> &str {
        self.names.text(id)
    }

    /// All names known when this catalog was built: its own and all earlier ones.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The feature of this name.
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

    /// Whether a limit is of slots: those of an account, or of a subject.
    pub fn is_of_slots(&self, limit: NameId) -> bool {
        self.concurrent_limit == Some(limit) || self.each_concurrent_limit == Some(limit)
    }

    /// The name of every allocation's limit. `None`: no catalog so far had one.
    pub fn level_limit(&self) -> Option<NameId> {
        self.level_limit
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

/// Every name is known here: the check came first.
fn number(spec: CatalogSpec, revision: u64, names: &mut Names) -> Catalog {
    let prices = credit_prices(&spec.features);
    let mut features: Vec<Feature> =
        spec.features.into_iter().map(|f| number_feature(f, names)).collect();
    for (paid, pool, price) in prices {
        features[paid.0].credit_prices.push((pool, price));
    }
    let is_pool = |f: &Feature| matches!(f.kind, FeatureKind::Credits { .. });
    let pools = (0..features.len()).filter(|ix| is_pool(&features[*ix])).map(FeatureIx).collect();
    let feature_ix = |name: &str| features.iter().position(|f| &*f.feature == name);
    let number_plan = |plan: PlanSpec, names: &mut Names| {
        let mut entitlements = vec![None; features.len()];
        let (mut payers, mut levels, mut locks) = (Vec::new(), Vec::new(), Vec::new());
        for (name, entitlement) in plan.entitlements {
            let (after, mut entitlement) = match entitlement {
                EntitlementSpec::Locked { after, given } => (Some(after), *given),
                given => (None, given),
            };
            let ix = feature_ix(&name).expect("the check found every feature");
            if let EntitlementSpec::PaidQuota { paid_by, .. } = &entitlement {
                let pool = feature_ix(paid_by).expect("the check found every pool");
                payers.push((FeatureIx(ix), FeatureIx(pool)));
            }
            let given = number_levels(&mut entitlement, &features[ix], names);
            if !given.is_empty() {
                levels.push((FeatureIx(ix), given));
            }
            entitlements[ix] = Some(number_entitlement(entitlement, &features[ix], names));
            locks.extend(after.map(|after| (FeatureIx(ix), after)));
        }
        let locked = lock_entitlements(locks, &features, &mut entitlements, names);
        Plan {
            id: names.intern(&versions::join(&plan.plan, plan.version)),
            plan: plan.plan.into(),
            version: plan.version,
            name: plan.name.into(),
            price: plan.price,
            entitlements,
            payers,
            levels,
            locked,
        }
    };
    let plans: Vec<Plan> = spec.plans.into_iter().map(|plan| number_plan(plan, names)).collect();
    let plans = versions::put_sold_first(plans);
    let addons: Vec<Plan> =
        spec.addons.into_iter().map(|addon| number_plan(addon, names)).collect();
    let plan_ix = |name: &str| versions::find(&plans, name).map(PlanIx);
    let prompts: Vec<Prompt> = spec
        .prompts
        .into_iter()
        .map(|prompt| Prompt {
            id: names.intern(&prompt.prompt),
            variants: prompt.variants.iter().map(|v| names.intern(&v.variant)).collect(),
            feature: prompt.feature.as_deref().and_then(feature_ix).map(FeatureIx),
            plans: versions::all_of(&plans, &prompt.plans),
            offer: prompt.offer.as_deref().and_then(plan_ix),
            spec: prompt,
        })
        .collect();
    if !prompts.is_empty() {
        let groups = [CONTROL, HOLDOUT, &spec.prompting.language].into_iter();
        let languages = spec.prompting.languages.iter().map(String::as_str);
        for name in groups.chain(languages) {
            names.intern(name);
        }
    }
    let mut feature_by_name = HashMap::with_hasher(FixedState::default());
    let mut feature_by_id = vec![None; names.len()];
    for (ix, feature) in features.iter().enumerate() {
        feature_by_name.insert(Box::from(&*feature.feature), FeatureIx(ix));
        feature_by_id[feature.id.0 as usize] = Some(FeatureIx(ix));
    }
    let mut plan_by_id = vec![None; names.len()];
    for (ix, plan) in plans.iter().enumerate() {
        plan_by_id[plan.id.0 as usize] = Some(PlanIx(ix));
    }
    for migration in &spec.migrations {
        // Accounts are moved one by one; until its turn an account is on its new plan by this.
        if let Migration::MovePlan { from, to } = migration
            && let Some(from) = names.get(&versions::canonical(from))
        {
            plan_by_id[from.0 as usize] = plan_ix(to);
        }
    }
    let mut addon_by_id = vec![None; names.len()];
    for (ix, addon) in addons.iter().enumerate() {
        addon_by_id[addon.id.0 as usize] = Some(ix);
    }
    let default_plan = spec.default_plan.as_deref().and_then(plan_ix);
    let minds_changes = plans.iter().any(change::is_minded);
    Catalog {
        revision,
        signals: spec.signals,
        features,
        plans,
        addons,
        default_plan,
        prompts_of_trials: prompts.iter().any(|p| p.spec.scenario == Scenario::TrialEnding),
        prompts,
        prompting: spec.prompting,
        feature_by_name,
        names: names.clone(),
        migrations: spec.migrations,
        plan_by_id,
        addon_by_id,
        feature_by_id,
        minds_changes,
        concurrent_limit: names.get(CONCURRENT_LIMIT),
        each_concurrent_limit: names.get(EACH_CONCURRENT_LIMIT),
        level_limit: names.get(LEVEL_LIMIT),
        pools,
        seats_limit: names.get(SEATS_LIMIT),
    }
}

/// Locks what has to be earned, and has the limits that count for it stir. Returns the locked features.
fn lock_entitlements(
    locks: Vec<(FeatureIx, UnlockSpec)>,
    features: &[Feature],
    entitlements: &mut [Option<Entitlement>],
    names: &mut Names,
) -> Vec<FeatureIx> {
    let lock = |(feature, spec): (FeatureIx, UnlockSpec)| {
        let of = features.iter().position(|known| *known.feature == *spec.feature);
        let of = of.expect("the check found every feature");
        let FeatureKind::Quota { limits } = &features[of].kind else {
            unreachable!("the check saw a quota");
        };
        let forever = limits.iter().find(|(_, window)| *window == WindowRule::Lifetime);
        let (limit, _) = *forever.expect("the check found one");
        let Some(Entitlement::Quota { limits: counts }) = &mut entitlements[of] else {
            unreachable!("the check saw that the plan counts");
        };
        for known in counts.iter_mut().filter(|known| known.limit == limit) {
            *known = known.clone().unlocking_at(spec.units);
        }
        let after = Unlock { feature: names.intern(&spec.feature), limit, units: spec.units };
        let given = entitlements[feature.0].take().expect("it was just numbered");
        let locked = Locked { feature: features[feature.0].id, after, given };
        entitlements[feature.0] = Some(Entitlement::Locked(Box::new(locked)));
        feature
    };
    locks.into_iter().map(lock).collect()
}

/// What features cost in pools: the feature, the pool, the price.
fn credit_prices(features: &[FeatureSpec]) -> Vec<(FeatureIx, FeatureIx, CreditPrice)> {
    let mut prices = Vec::new();
    for (pool, spec) in features.iter().enumerate() {
        let FeatureKindSpec::Credits { rate_card, .. } = &spec.kind else { continue };
        for (name, price) in rate_card {
            let paid = features.iter().position(|feature| feature.feature == *name);
            let paid = paid.expect("the check found every feature");
            prices.push((FeatureIx(paid), FeatureIx(pool), *price));
        }
    }
    prices
}

fn number_feature(spec: FeatureSpec, names: &mut Names) -> Feature {
    let mut levels = Vec::new();
    let kind = match spec.kind {
        FeatureKindSpec::Switch => FeatureKind::Switch,
        FeatureKindSpec::Config => FeatureKind::Config,
        FeatureKindSpec::Quota { limits: all } => {
            let mut limits = Vec::new();
            for LimitSpec { limit, window, per } in all {
                let limit = names.intern(&limit);
                match per {
                    None => limits.push((limit, window)),
                    Some(per) => {
                        let per = names.intern(&per);
                        levels.push(LevelLimit { limit, window, per });
                    }
                }
            }
            FeatureKind::Quota { limits }
        }
        FeatureKindSpec::Concurrency { per } => {
            levels.extend(per.map(|per| LevelLimit {
                limit: names.intern(EACH_CONCURRENT_LIMIT),
                window: WindowRule::Lifetime,
                per: names.intern(&per),
            }));
            FeatureKind::Concurrency { limit: names.intern(CONCURRENT_LIMIT) }
        }
        FeatureKindSpec::Rate { per } => FeatureKind::Rate {
            limit: names.intern(RATE_LIMIT),
            each: per.map(|per| (names.intern(&per), names.intern(EACH_RATE_LIMIT))),
        },
        FeatureKindSpec::Allocation { billed_by, window } => {
            let WindowRule::Billing { months } = window else {
                unreachable!("the check saw a billing window");
            };
            let rule = StockRule { billed_by, months };
            FeatureKind::Allocation { limit: names.intern(LEVEL_LIMIT), rule }
        }
        FeatureKindSpec::Credits { window, .. } => {
            FeatureKind::Credits { limit: names.intern(CREDITS_LIMIT), window }
        }
        FeatureKindSpec::Seats { invited_ms } => {
            FeatureKind::Seats { limit: names.intern(SEATS_LIMIT), invited_ms }
        }
    };
    let id = names.intern(&spec.feature);
    Feature {
        id,
        feature: spec.feature.into(),
        name: spec.name.into(),
        unit: spec.unit.into(),
        scale: spec.scale,
        kind,
        offering: spec.offering,
        shadow: spec.shadow,
        credit_prices: Vec::new(),
        levels,
        counting: number_counting(spec.counting, names),
    }
}

fn number_counting(spec: CountingSpec, names: &mut Names) -> Option<Box<Counting>> {
    let tally = spec.tally.map(|tally| TallyRule {
        buckets: tally.buckets,
        dimensions: tally.dimensions.iter().map(|name| names.intern(name)).collect(),
    });
    let aggregation = spec.aggregation;
    let is_plain = tally.is_none() && aggregation == Aggregation::Sum;
    let unique_by = spec.unique_by.map(|name| names.intern(&name));
    (!is_plain).then(|| Box::new(Counting { aggregation, unique_by, tally }))
}

fn number_entitlement(spec: EntitlementSpec, feature: &Feature, names: &mut Names) -> Entitlement {
    match spec {
        EntitlementSpec::Locked { given, .. } => number_entitlement(*given, feature, names),
        EntitlementSpec::Switch { on } => Entitlement::Switch { on },
        EntitlementSpec::Config { value_json } => {
            Entitlement::Config { value_json: value_json.into() }
        }
        EntitlementSpec::PaidQuota { limits, .. } if limits.is_empty() => {
            let FeatureKind::Quota { limits: shapes } = &feature.kind else {
                unreachable!("the check compared the kinds");
            };
            let counts = |(limit, window): &(NameId, WindowRule)| {
                PlanLimit::new(*limit, *window, None, Vec::new(), Policy::Unlimited)
            };
            Entitlement::Quota { limits: shapes.iter().map(counts).collect() }
        }
        EntitlementSpec::Credits { mut terms } => {
            terms.soft_limits_bp.sort_unstable();
            Entitlement::Credits { terms }
        }
        EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. } => {
            let FeatureKind::Quota { limits: shapes } = &feature.kind else {
                unreachable!("the check compared the kinds");
            };
            let limits = limits
                .into_iter()
                .map(|limit| {
                    let id = names.intern(&limit.limit);
                    let (_, window) =
                        shapes.iter().find(|(shape, _)| *shape == id).expect("checked");
                    number_limit(limit, id, *window)
                })
                .collect();
            Entitlement::Quota { limits }
        }
        EntitlementSpec::Concurrency { max_units, soft_limits_bp, .. } => {
            let limit = names.intern(CONCURRENT_LIMIT);
            Entitlement::Concurrency {
                limit: PlanLimit::of_slots(limit, max_units, soft_limits_bp),
            }
        }
        EntitlementSpec::Rate { rate, each } => {
            let checked = |rate| Rate::new(rate).expect("checked");
            Entitlement::Rate { rate: rate.map(checked), each: each.map(checked) }
        }
        EntitlementSpec::Allocation { limit } => {
            let id = names.intern(LEVEL_LIMIT);
            let PlanLimitSpec { included_units, soft_limits_bp, policy, terms, .. } = limit;
            let limit = PlanLimit::of_level(id, included_units, soft_limits_bp, policy);
            Entitlement::Allocation { limit: limit.with_terms(terms) }
        }
        EntitlementSpec::Seats { included_units, soft_limits_bp } => {
            let id = names.intern(SEATS_LIMIT);
            Entitlement::Seats { limit: PlanLimit::of_seats(id, included_units, soft_limits_bp) }
        }
    }
}

fn number_limit(spec: PlanLimitSpec, id: NameId, window: WindowRule) -> PlanLimit {
    PlanLimit::new(id, window, spec.included_units, spec.soft_limits_bp, spec.policy)
        .with_terms(spec.terms)
}

/// Takes out of an entitlement what it gives to subjects.
fn number_levels(
    spec: &mut EntitlementSpec,
    feature: &Feature,
    names: &mut Names,
) -> Vec<PlanLimit> {
    if let EntitlementSpec::Concurrency { each: Some(each), .. } = spec {
        let limit = names.intern(EACH_CONCURRENT_LIMIT);
        return vec![PlanLimit::of_slots(limit, Some(*each), Vec::new())];
    }
    let (EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. }) = spec
    else {
        return Vec::new();
    };
    if feature.levels.is_empty() {
        return Vec::new();
    }
    let mut given = Vec::new();
    for limit in std::mem::take(limits) {
        let id = names.intern(&limit.limit);
        match feature.levels.iter().find(|level| level.limit == id) {
            Some(level) => given.push(number_limit(limit, id, level.window)),
            None => limits.push(limit),
        }
    }
    given
}

const _: () = assert!(limits::THRESHOLDS_MAX <= 14);
