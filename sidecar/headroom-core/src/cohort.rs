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
    account.is_drawn(feature, offering.rollout_bp) || cohort_of(account, offering).is_some()
}

/// The cohort of the feature's, the first as written, that the account is in.
fn cohort_of<'o>(account: &Account, offering: &'o Offering) -> Option<&'o String> {
    offering.cohorts.names().iter().find(|cohort| account.profile.cohorts().contains(cohort))
}

/// What let an account in that has a feature which has not come to everybody. One of the two is there at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollOut {
    /// The cohort that it is in. `None`: in none of the feature's.
    pub cohort: Option<String>,
    /// The share of accounts that are drawn, in basis points, of which it is one. `None`: it was not drawn.
    pub drawn_bp: Option<u32>,
}

/// How a feature came to an account. `None`: it has come to everybody, or not to this one. `feature` is the
/// name that accounts are drawn by.
pub(crate) fn roll_out(account: &Account, feature: &str, offering: &Offering) -> Option<RollOut> {
    if !offering.is_partial() {
        return None;
    }
    let is_drawn = account.is_drawn(feature, offering.rollout_bp);
    let drawn_bp = is_drawn.then_some(offering.rollout_bp);
    let cohort = cohort_of(account, offering).cloned();
    (cohort.is_some() || drawn_bp.is_some()).then_some(RollOut { cohort, drawn_bp })
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
