//! A plan, checked: what it says about each feature.

use std::sync::Arc;

use super::{FeatureIx, PlanLimit, Price};
use crate::account::Account;
use crate::credits::PoolTerms;
use crate::names::NameId;
use crate::rate::Rate;
use crate::time::Millis;
use crate::unlock::Locked;

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
    pub(super) entitlements: Vec<Option<Entitlement>>,
    // The quotas that a pool of credits pays, and the pool.
    pub(super) payers: Vec<(FeatureIx, FeatureIx)>,
    // What it gives to subjects, by feature; few plans give any.
    pub(super) levels: Vec<(FeatureIx, Vec<PlanLimit>)>,
    // The features that have to be earned.
    pub(super) locked: Vec<FeatureIx>,
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
