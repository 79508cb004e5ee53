//! What accounts on a plan have today becomes theirs to keep.
//!
//! For a catalog that is about to give less: each account on the plan gets overrides that count only where
//! they give more than plan and add-ons, so whatever the plan comes to give later is never taken away by
//! them. An override that somebody made by hand is left as it is.

use headroom_core::account::{Override, OverrideValue, ProfileExtra};
use headroom_core::catalog::{Catalog, Entitlement, FeatureIx, FeatureKind, Plan, PlanLimit};
use headroom_core::limits::OVERRIDES_MAX;
use headroom_core::time::Millis;

use crate::admin::AdminError;
use crate::engine::{Engine, EngineError, Slot};
use crate::ports::Seq;

/// Which accounts are to keep what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grandfather<'a> {
    /// The plan they are on, in whatever version: what was bought, not what is on trial or to come.
    pub plan: &'a str,
    /// The features. Empty: all.
    pub features: &'a [&'a str],
    /// Until when, excluded. `None`: for ever.
    pub ends_at: Option<Millis>,
    /// Only count.
    pub dry_run: bool,
}

/// What was kept, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grandfathered {
    /// Accounts that got overrides.
    pub accounts: u64,
    /// Overrides that they got.
    pub overrides: u64,
    /// Accounts that got none, because they have too many overrides already.
    pub full: u64,
    /// The record that must be written before this is answered, if any.
    pub wait_for: Option<Seq>,
}

impl Engine {
    /// Gives every account on a plan what the plan gives now, to keep. Done again it changes nothing.
    ///
    /// # Errors
    /// When the catalog has no such plan or feature, or the store takes no write.
    pub fn grandfather(
        &self,
        wanted: Grandfather<'_>,
        now: Millis,
    ) -> Result<Grandfathered, AdminError> {
        let catalog = self.catalog();
        let features = features(&catalog, wanted.features)?;
        if !catalog.plans().iter().any(|plan| *plan.plan == *wanted.plan) {
            let known = catalog.plans().iter().map(|plan| plan.plan.to_string()).collect();
            let name = wanted.plan.to_owned();
            return Err(AdminError::UnknownName { what: "plan", name, known });
        }
        self.store.room().map_err(EngineError::from)?;
        let mut done = Grandfathered::default();
        self.each_account(|id, slot: &mut Slot| {
            let profile = &slot.account.profile;
            let on = catalog.plan_of(profile.plan).map(|ix| catalog.plan(ix));
            let Some(plan) = on.filter(|plan| *plan.plan == *wanted.plan) else { return Ok(()) };
            let has = |feature| plan.given_to(&slot.account, feature, now);
            let promised = features.iter().flat_map(|ix| given(&catalog, (plan, has(*ix)), *ix));
            let mut gained: Vec<Override> = promised
                .map(|one| Override {
                    at_least: true,
                    ends_at: wanted.ends_at.unwrap_or(one.ends_at),
                    ..one
                })
                .filter_map(|one| beside(profile.overrides(), one))
                .collect();
            if gained.is_empty() {
                return Ok(());
            }
            let stay = |known: &&Override| !gained.iter().any(|one| one.replaces(known));
            if profile.overrides().iter().filter(stay).count() + gained.len() > OVERRIDES_MAX {
                done.full += 1;
                return Ok(());
            }
            done.accounts += 1;
            done.overrides += gained.len() as u64;
            if !wanted.dry_run {
                let changed = self.edit(id, slot, now, |profile| {
                    let extra: &mut ProfileExtra = profile.extra.get_or_insert_default();
                    extra.overrides.retain(|known| !gained.iter().any(|one| one.replaces(known)));
                    extra.overrides.append(&mut gained);
                    Ok(())
                })?;
                done.wait_for = Some(changed.wait_for);
            }
            Ok(())
        })?;
        Ok(done)
    }
}

fn features(catalog: &Catalog, names: &[&str]) -> Result<Vec<FeatureIx>, AdminError> {
    let all = || catalog.features().iter().map(|feature| feature.feature.to_string());
    if names.is_empty() {
        return Ok(all().filter_map(|name| catalog.feature_named(&name)).collect());
    }
    names
        .iter()
        .map(|name| {
            catalog.feature_named(name).ok_or_else(|| AdminError::UnknownName {
                what: "feature",
                name: (*name).to_owned(),
                known: all().collect(),
            })
        })
        .collect()
}

/// What a plan gives of a feature, as overrides. A config has no more or less, and is not kept; nor is what
/// the account has not earned yet.
fn given(
    catalog: &Catalog,
    (plan, has): (&Plan, Option<&Entitlement>),
    feature: FeatureIx,
) -> Vec<Override> {
    let shape = catalog.feature(feature);
    let of_limit = |known: &PlanLimit| OverrideValue::Limit {
        limit: known.limit,
        included_units: known.included_units,
    };
    let mut values: Vec<OverrideValue> = match has {
        None
        | Some(
            Entitlement::Config { .. } | Entitlement::Switch { on: false } | Entitlement::Locked(_),
        ) => Vec::new(),
        Some(Entitlement::Switch { on: true }) => vec![OverrideValue::Switch { on: true }],
        Some(Entitlement::Quota { limits }) => limits.iter().map(of_limit).collect(),
        Some(
            Entitlement::Concurrency { limit }
            | Entitlement::Allocation { limit }
            | Entitlement::Seats { limit },
        ) => vec![of_limit(limit)],
        Some(Entitlement::Rate { rate, .. }) => vec![OverrideValue::Rate { rate: *rate }],
        Some(Entitlement::Credits { terms }) => match shape.kind {
            FeatureKind::Credits { limit, .. } => {
                let included_units = Some(terms.included_units);
                vec![OverrideValue::Limit { limit, included_units }]
            }
            _ => Vec::new(),
        },
    };
    values.extend(plan.levels(feature).iter().map(of_limit));
    if let (Some(Entitlement::Concurrency { .. }), []) =
        (plan.entitlement(feature), plan.levels(feature))
    {
        // Each subject may have as many slots as the account, and is to go on so.
        let unlimited = |limit| OverrideValue::Limit { limit, included_units: None };
        values.extend(shape.levels.iter().map(|level| unlimited(level.limit)));
    }
    values.into_iter().map(|value| Override::new(shape.id, value)).collect()
}

/// What is to be put beside the overrides that an account has: nothing where one was made by hand, or
/// promises as much already. Of two promises the better lasts as long as the longer.
fn beside(known: &[Override], one: Override) -> Option<Override> {
    let Some(known) = known.iter().find(|known| one.replaces(known)) else { return Some(one) };
    if !known.at_least {
        return None;
    }
    let value = if is_better(&known.value, &one.value) { known.value.clone() } else { one.value };
    let both = Override {
        value,
        starts_at: known.starts_at.min(one.starts_at),
        ends_at: known.ends_at.max(one.ends_at),
        ..one
    };
    (both != *known).then_some(both)
}

/// Whether one override of a thing gives more than another.
fn is_better(known: &OverrideValue, one: &OverrideValue) -> bool {
    match (known, one) {
        (
            OverrideValue::Limit { included_units: known, .. },
            OverrideValue::Limit { included_units: one, .. },
        ) => one.is_some_and(|one| known.is_none_or(|known| known > one)),
        (OverrideValue::Rate { rate: known }, OverrideValue::Rate { rate: one }) => {
            one.is_some_and(|one| known.is_none_or(|known| known.is_better(one)))
        }
        _ => false,
    }
}
