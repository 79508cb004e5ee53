//! Accounts: what they bought, whether they are served, who they are with, and how they are shown.

use headroom_core::account::Profile;
use headroom_core::catalog::Catalog;
use headroom_core::limits::ADDON_QUANTITY_MAX;
use headroom_core::suggest::closest;
use headroom_core::time::Millis;
use headroom_engine::admin::SubscriptionChange;
use headroom_proto::v1;

use super::{Administration, facts, growth, overrides};
use crate::grpc::present::{self, timestamp};
use crate::grpc::status::WireError;
use crate::grpc::{page, parse};

/// Refuses a cohort that nothing in the catalog is rolled out to: to be in it would do nothing.
fn known_cohort(catalog: &Catalog, name: &str) -> Result<(), WireError> {
    let all = || catalog.features().iter().flat_map(|feature| feature.offering.cohorts.names());
    if all().any(|known| known == name) {
        return Ok(());
    }
    let mut problem = format!("no feature of the catalog is rolled out to a cohort {name:?}");
    if let Some(meant) = closest(name, all().map(String::as_str)) {
        problem.push_str(&format!(", did you mean {meant:?}?"));
    }
    Err(WireError::field("join", problem))
}

impl Administration {
    pub(super) async fn subscribe(
        &self,
        rq: &v1::PutSubscriptionRequest,
    ) -> Result<Option<v1::Account>, WireError> {
        let account = parse::id("account", &rq.account)?;
        let instant = |field, at: &Option<prost_types::Timestamp>| {
            at.as_ref().map(|at| parse::timestamp(field, at)).transpose()
        };
        let change = SubscriptionChange {
            plan: parse::id("plan", &rq.plan)?,
            anchor: instant("anchor", &rq.anchor)?,
            time_zone: &rq.time_zone,
            ends_at: instant("ends_at", &rq.ends_at)?,
            addons: rq.add_ons.iter().map(parse_addon).collect::<Result<_, _>>()?,
            trial: rq.trial.as_ref().map(parse_trial).transpose()?,
            scheduled: parse_schedule(&rq.scheduled)?,
        };
        let engine = &self.core.shared.engine;
        let (before, now) = (engine.profile(account), self.now());
        let changed = engine.put_subscription(account, &change, now)?;
        // Its record comes later than the change's, which is waited for; it need not be.
        self.core.shared.growth.plan_changed(account, before.as_ref(), &changed.profile, now);
        self.changed(account, changed).await
    }

    pub(super) async fn set_status(
        &self,
        rq: &v1::SetAccountStatusRequest,
    ) -> Result<Option<v1::Account>, WireError> {
        let account = parse::id("account", &rq.account)?;
        let suspended = match rq.status() {
            v1::AccountStatus::Active => false,
            v1::AccountStatus::Suspended => true,
            v1::AccountStatus::Unspecified => {
                return Err(WireError::field("status", "must be active or suspended"));
            }
        };
        let changed = self.core.shared.engine.set_suspended(account, suspended, self.now())?;
        self.changed(account, changed).await
    }

    pub(super) async fn set_facts(
        &self,
        rq: &v1::PutFactsRequest,
    ) -> Result<Option<v1::Account>, WireError> {
        let account = parse::id("account", &rq.account)?;
        let facts = rq.facts.as_ref().ok_or_else(|| WireError::field("facts", "is missing"))?;
        let facts = facts::to_json(facts)?;
        let changed = self.core.shared.engine.put_facts(account, facts, self.now())?;
        if let Some(serial) = self.core.shared.engine.serial(account) {
            self.core.shared.growth.touch(serial);
        }
        self.changed(account, changed).await
    }

    pub(super) async fn set_cohorts(
        &self,
        rq: &v1::PutCohortsRequest,
    ) -> Result<Option<v1::Account>, WireError> {
        let account = parse::id("account", &rq.account)?;
        let names = |field, names: &'_ [String]| -> Result<(), WireError> {
            names.iter().try_for_each(|name| parse::id(field, name).map(drop))
        };
        names("join", &rq.join)?;
        names("leave", &rq.leave)?;
        let join: Vec<&str> = rq.join.iter().map(String::as_str).collect();
        let leave: Vec<&str> = rq.leave.iter().map(String::as_str).collect();
        let engine = &self.core.shared.engine;
        let profile = engine.profile(account);
        let is_in = |name: &&str| {
            let mut known = profile.iter().flat_map(|profile| profile.cohorts());
            known.any(|known| known == name)
        };
        // Whoever is in one stays, though its feature has come to everybody since.
        for name in join.iter().filter(|name| !leave.contains(name) && !is_in(name)) {
            known_cohort(&engine.catalog(), name)?;
        }
        let changed = engine.put_cohorts(account, (&join, &leave), self.now())?;
        self.changed(account, changed).await
    }

    pub(super) fn account(&self, rq: &v1::GetAccountRequest) -> Result<v1::Account, WireError> {
        let account = parse::id("account", &rq.account)?;
        let engine = &self.core.shared.engine;
        let profile = engine.profile(account).ok_or_else(|| WireError::unknown_account(account))?;
        Ok(show(&engine.catalog(), account, &profile, self.now()))
    }

    pub(super) async fn accounts(
        &self,
        rq: &v1::ListAccountsRequest,
    ) -> Result<v1::ListAccountsResponse, WireError> {
        if let Some(order) = growth::order(rq.order()) {
            return self.ranked(rq, order).await;
        }
        let size = page::size(rq.page_size)?;
        let from = page::number(&rq.page_token)?.unwrap_or_default();
        let engine = &self.core.shared.engine;
        let page = engine.account_ids(from, size);
        let next_page_token = match page.last() {
            Some((last, _)) if page.len() == size => (last + 1).to_string(),
            _ => String::new(),
        };
        let (catalog, now) = (engine.catalog(), self.now());
        let mut accounts: Vec<v1::Account> = page
            .iter()
            .filter_map(|(_, id)| Some(show(&catalog, id, &engine.profile(id)?, now)))
            .collect();
        if rq.include_readiness {
            self.add_readiness(&mut accounts)?;
        }
        Ok(v1::ListAccountsResponse { accounts, next_page_token })
    }
}

fn parse_addon(one: &v1::AddOn) -> Result<(&str, u32), WireError> {
    let quantity = u32::try_from(one.quantity).ok();
    let quantity = quantity.filter(|units| (1..=ADDON_QUANTITY_MAX).contains(units));
    let quantity = quantity.ok_or_else(|| {
        let problem = format!("is {}, must be 1 to {ADDON_QUANTITY_MAX}", one.quantity);
        WireError::field("add_ons.quantity", problem)
    })?;
    Ok((parse::id("add_ons.add_on", &one.add_on)?, quantity))
}

fn parse_trial(trial: &v1::Trial) -> Result<(&str, Millis), WireError> {
    let ends_at = trial.ends_at.as_ref();
    let ends_at = ends_at.ok_or_else(|| WireError::field("trial.ends_at", "is missing"))?;
    Ok((parse::id("trial.plan", &trial.plan)?, parse::timestamp("trial.ends_at", ends_at)?))
}

/// The plans to come. Of two at the same instant nobody could say which is in force.
fn parse_schedule(all: &[v1::ScheduledPlan]) -> Result<Vec<(Millis, &str)>, WireError> {
    let read: Vec<(Millis, &str)> = all.iter().map(parse_scheduled).collect::<Result<_, _>>()?;
    for (place, (at, plan)) in read.iter().enumerate() {
        if let Some((_, other)) = read[..place].iter().find(|(known, _)| known == at) {
            let problem = format!("{other:?} and {plan:?} would begin at the same instant");
            return Err(WireError::field("scheduled.starts_at", problem));
        }
    }
    Ok(read)
}

fn parse_scheduled(one: &v1::ScheduledPlan) -> Result<(Millis, &str), WireError> {
    let starts_at = one.starts_at.as_ref();
    let starts_at =
        starts_at.ok_or_else(|| WireError::field("scheduled.starts_at", "is missing"))?;
    Ok((
        parse::timestamp("scheduled.starts_at", starts_at)?,
        parse::id("scheduled.plan", &one.plan)?,
    ))
}

/// An account as answers show it.
pub(super) fn show(
    catalog: &Catalog,
    account: &str,
    profile: &Profile,
    now: Millis,
) -> v1::Account {
    let extra = profile.extra.as_deref();
    let name = |id| catalog.text(id).to_owned();
    let status = match profile.suspended {
        true => v1::AccountStatus::Suspended,
        false => v1::AccountStatus::Active,
    };
    let plan_name = |id| present::plan_name(catalog, id);
    let (plan, plan_version) = plan_name(profile.plan);
    let (plan_in_force, plan_in_force_version) = plan_name(profile.plan_at(now).0);
    v1::Account {
        account: account.to_owned(),
        plan,
        plan_version,
        status: status.into(),
        anchor: Some(timestamp(profile.anchor)),
        time_zone: profile.zone.as_ref().map_or("UTC", |zone| zone.name()).to_owned(),
        ends_at: (profile.ends_at != Millis::FOREVER).then(|| timestamp(profile.ends_at)),
        overrides: profile.overrides().iter().map(|one| overrides::show(catalog, one)).collect(),
        facts: Some(facts::of_json(profile.facts())),
        created_at: Some(timestamp(profile.created_at)),
        add_ons: profile
            .addons()
            .iter()
            .map(|bought| v1::AddOn {
                add_on: name(bought.addon),
                quantity: i32::try_from(bought.quantity).unwrap_or(i32::MAX),
            })
            .collect(),
        trial: extra.and_then(|extra| extra.trial).map(|trial| {
            let (plan, plan_version) = plan_name(trial.plan);
            v1::Trial { plan, plan_version, ends_at: Some(timestamp(trial.ends_at)) }
        }),
        scheduled: extra
            .map_or(&[][..], |extra| &extra.scheduled)
            .iter()
            .map(|one| {
                let (plan, plan_version) = plan_name(one.plan);
                v1::ScheduledPlan { plan, plan_version, starts_at: Some(timestamp(one.starts_at)) }
            })
            .collect(),
        plan_in_force,
        plan_in_force_version,
        cohorts: profile.cohorts().to_vec(),
        readiness: None,
    }
}
