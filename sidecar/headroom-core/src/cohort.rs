//! Cohorts: accounts that were chosen by name, as for a beta. Who is in one has what is rolled out to it,
//! besides the share of accounts that is drawn. A cohort entitles to nothing that was not bought.

use std::sync::Arc;

use crate::account::Account;
use crate::catalog::Offering;
use crate::limits;

/// The cohorts that a feature is rolled out to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cohorts(Option<Arc<[String]>>); // None: there are none, so that most features have no list.

impl Cohorts {
    /// These.
    pub fn of(names: Vec<String>) -> Cohorts {
        Cohorts((!names.is_empty()).then(|| names.into()))
    }

    /// Their names, as written.
    pub fn names(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Whether a feature has come to an account, by the draw or by a cohort.
pub(crate) fn is_offered(account: &Account, feature: &str, offering: &Offering) -> bool {
    let is_in = |cohort: &String| account.profile.cohorts().contains(cohort);
    account.is_drawn(feature, offering.rollout_bp) || offering.cohorts.names().iter().any(is_in)
}

/// Puts an account into cohorts and takes it out of others, first in and then out. False: it would be in too
/// many, and nothing is changed.
pub fn change(cohorts: &mut Vec<String>, join: &[&str], leave: &[&str]) -> bool {
    let mut after = cohorts.clone();
    after.extend(join.iter().map(|name| (*name).to_owned()));
    after.retain(|known| !leave.contains(&known.as_str()));
    after.sort_unstable();
    after.dedup();
    let fits = after.len() <= limits::COHORTS_MAX;
    if fits {
        *cohorts = after;
    }
    fits
}
