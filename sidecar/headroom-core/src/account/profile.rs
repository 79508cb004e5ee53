//! What is known of an account besides its counters: plans, add-ons, overrides, facts.

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::names::NameId;
use crate::rate::Rate;
use crate::time::Millis;

/// What replaces the plan's word for one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverrideValue {
    /// A switch, on or off.
    Switch {
        /// Whether it is on.
        on: bool,
    },
    /// A config's value as JSON text.
    Config {
        /// The JSON text.
        value_json: Arc<str>,
    },
    /// The included units of one limit of a quota or an allocation, or the most at a time of a
    /// concurrency.
    Limit {
        /// The limit.
        limit: NameId,
        /// Included units. `None`: unlimited.
        included_units: Option<u64>,
    },
    /// How fast a rate is.
    Rate {
        /// The rate. `None`: unlimited.
        rate: Option<Rate>,
    },
    /// What the overage of one limit of a quota may cost in a window.
    SpendCap {
        /// The limit.
        limit: NameId,
        /// The most, in minor units. `None`: no bound.
        cap_minor: Option<u64>,
        /// ISO 4217 code: the currency in which the limit has its price.
        currency: Arc<str>,
    },
    /// The included units of a limit that subjects have for themselves, for one of them.
    SubjectLimit {
        /// The path of the subject.
        subject: Arc<str>,
        /// The limit.
        limit: NameId,
        /// Included units. `None`: unlimited.
        included_units: Option<u64>,
    },
}

impl OverrideValue {
    /// The path of the subject that it speaks of. `None`: it speaks of the account.
    pub fn subject(&self) -> Option<&str> {
        match self {
            OverrideValue::SubjectLimit { subject, .. } => Some(subject),
            OverrideValue::Switch { .. }
            | OverrideValue::Config { .. }
            | OverrideValue::Limit { .. }
            | OverrideValue::Rate { .. }
            | OverrideValue::SpendCap { .. } => None,
        }
    }
}

/// One override of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The feature.
    pub feature: NameId,
    /// What it says.
    pub value: OverrideValue,
    /// From when on it counts, included; the start of time for always.
    pub starts_at: Millis,
    /// Until when, excluded; [`Millis::FOREVER`] for always.
    pub ends_at: Millis,
    /// Whether it counts only where it gives more than plan and add-ons: what was promised to a loyal
    /// customer, and what the plan may come to exceed. For switches that are on, limits and rates.
    pub at_least: bool,
}

impl Override {
    /// An override that counts always.
    pub fn new(feature: NameId, value: OverrideValue) -> Override {
        let (starts_at, ends_at) = (Millis(i64::MIN), Millis::FOREVER);
        Override { feature, value, starts_at, ends_at, at_least: false }
    }

    /// Whether it counts at an instant.
    pub fn is_in_force(&self, at: Millis) -> bool {
        self.starts_at <= at && at < self.ends_at
    }

    /// Whether `other` speaks of the same thing, so that the later one replaces the earlier.
    pub fn replaces(&self, other: &Override) -> bool {
        self.feature == other.feature
            && match (&self.value, &other.value) {
                (OverrideValue::Limit { limit: a, .. }, OverrideValue::Limit { limit: b, .. }) => {
                    a == b
                }
                (
                    OverrideValue::SpendCap { limit: a, .. },
                    OverrideValue::SpendCap { limit: b, .. },
                ) => a == b,
                (
                    OverrideValue::SubjectLimit { subject: a, limit, .. },
                    OverrideValue::SubjectLimit { subject: b, limit: other, .. },
                ) => a == b && limit == other,
                // Of a switch, a config or a rate there is one value.
                (
                    OverrideValue::Limit { .. }
                    | OverrideValue::SpendCap { .. }
                    | OverrideValue::SubjectLimit { .. },
                    _,
                )
                | (
                    _,
                    OverrideValue::Limit { .. }
                    | OverrideValue::SpendCap { .. }
                    | OverrideValue::SubjectLimit { .. },
                ) => false,
                _ => true,
            }
    }
}

/// A time zone and the name it was given by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: Arc<str>,
    zone: TimeZone,
}

impl Zone {
    /// UTC.
    pub fn utc() -> Zone {
        Zone { name: "UTC".into(), zone: TimeZone::UTC }
    }

    /// The zone of an IANA name, as known to the tz database compiled in.
    pub fn named(name: &str) -> Option<Zone> {
        if name == "UTC" {
            return Some(Zone::utc());
        }
        let zone = TimeZone::get(name).ok()?;
        Some(Zone { name: name.into(), zone })
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rules of the zone.
    pub fn rules(&self) -> &TimeZone {
        &self.zone
    }
}

/// What others say about an account: everything but its counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its plan. Known to the catalog when it was set; a later catalog may have dropped it.
    pub plan: NameId,
    /// Whether it came by the catalog's default plan rather than by a subscription.
    pub by_default: bool,
    /// Whether everything is refused.
    pub suspended: bool,
    /// The instant billing windows are counted from.
    pub anchor: Millis,
    /// When the subscription ends; [`Millis::FOREVER`] when it is open.
    pub ends_at: Millis,
    /// When it was first known here.
    pub created_at: Millis,
    /// Where calendar windows are read off. `None`: UTC.
    pub zone: Option<Box<Zone>>,
    /// Overrides and facts; most accounts have none.
    pub extra: Option<Box<ProfileExtra>>,
}

/// A number of the same add-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddOn {
    /// Which.
    pub addon: NameId,
    /// How many, at least 1.
    pub quantity: u32,
}

/// Another plan for a while, before the one that was bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// The plan on trial.
    pub plan: NameId,
    /// When it ends, excluded.
    pub ends_at: Millis,
}

/// A plan from an instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledPlan {
    /// From when on, included.
    pub starts_at: Millis,
    /// The plan.
    pub plan: NameId,
}

/// A plan that was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastPlan {
    /// Until when, excluded; from the end of the one before.
    pub until: Millis,
    /// The plan.
    pub plan: NameId,
}

/// The part of a profile that most accounts do not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileExtra {
    /// What replaces the plan's word.
    pub overrides: Vec<Override>,
    /// What was bought in addition, in the order given.
    pub addons: Vec<AddOn>,
    /// A trial that runs or has run.
    pub trial: Option<Trial>,
    /// Plans to come, or come already, by instant, ascending.
    pub scheduled: Vec<ScheduledPlan>,
    /// The plans in force before the subscription was what it is now, by instant, ascending. Kept only
    /// while the catalog has a limit that prorates or resets.
    pub past: Vec<PastPlan>,
    /// Up to which instant changes of the plan in force have been seen.
    pub seen_at: Millis,
    /// Facts by name, ascending; values are JSON text.
    pub facts: Vec<(String, String)>,
    /// The cohorts it is in, ascending.
    pub cohorts: Vec<String>,
}

impl Profile {
    /// A new account on a plan.
    pub fn new(plan: NameId, by_default: bool, now: Millis) -> Profile {
        Profile {
            plan,
            by_default,
            suspended: false,
            anchor: now,
            ends_at: Millis::FOREVER,
            created_at: now,
            zone: None,
            extra: None,
        }
    }

    /// The overrides.
    pub fn overrides(&self) -> &[Override] {
        self.extra.as_ref().map_or(&[], |extra| &extra.overrides)
    }

    /// The add-ons.
    pub fn addons(&self) -> &[AddOn] {
        self.extra.as_ref().map_or(&[], |extra| &extra.addons)
    }

    /// The plans in force before the subscription was what it is now.
    pub fn past(&self) -> &[PastPlan] {
        self.extra.as_ref().map_or(&[], |extra| &extra.past)
    }

    /// The plan in force at an instant, and whether it is on trial: a running trial, else the last
    /// scheduled plan that has begun, else the plan that was bought.
    pub fn plan_at(&self, at: Millis) -> (NameId, bool) {
        let Some(extra) = &self.extra else { return (self.plan, false) };
        if let Some(trial) = extra.trial.filter(|trial| at < trial.ends_at) {
            return (trial.plan, true);
        }
        let begun = extra.scheduled.iter().take_while(|plan| plan.starts_at <= at);
        (begun.last().map_or(self.plan, |last| last.plan), false)
    }

    /// When the trial that runs at an instant ends. `None`: none runs.
    pub fn trial_ends_at(&self, at: Millis) -> Option<Millis> {
        let trial = self.extra.as_ref()?.trial?;
        (at < trial.ends_at).then_some(trial.ends_at)
    }

    /// The plan that is paid for at an instant, whatever is on trial.
    pub fn paid_plan_at(&self, at: Millis) -> NameId {
        let scheduled = self.extra.iter().flat_map(|extra| &extra.scheduled);
        let begun = scheduled.take_while(|plan| plan.starts_at <= at);
        begun.last().map_or(self.plan, |last| last.plan)
    }

    /// Whether the plan that was bought is all that entitles, at any time.
    pub fn is_plain(&self) -> bool {
        self.extra.as_ref().is_none_or(|extra| {
            extra.overrides.is_empty()
                && extra.addons.is_empty()
                && extra.trial.is_none()
                && extra.scheduled.is_empty()
                && extra.past.is_empty()
        })
    }

    /// The facts.
    pub fn facts(&self) -> &[(String, String)] {
        self.extra.as_ref().map_or(&[], |extra| &extra.facts)
    }

    /// The cohorts it is in.
    pub fn cohorts(&self) -> &[String] {
        self.extra.as_ref().map_or(&[], |extra| &extra.cohorts)
    }

    /// The time zone of calendar windows.
    pub fn rules(&self) -> &TimeZone {
        static UTC: TimeZone = TimeZone::UTC;
        self.zone.as_ref().map_or(&UTC, |zone| zone.rules())
    }
}
