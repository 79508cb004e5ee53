//! What others tell the model: catalogs, plans, overrides, facts.

use std::collections::BTreeSet;

use headroom_core::account::Zone;
use headroom_core::catalog::{CatalogSpec, FeatureKindSpec, LimitSpec};
use headroom_engine::ports::StoreRefusal;

use super::credits::POOL;
use super::migrate::label;
use super::plan::EACH_SLOTS;
use super::{Account, Model, Says};

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such account.
    Account,
    /// There is no such plan, feature or limit.
    Name(&'static str, String),
    /// The override is for another kind of feature.
    Kind,
    /// The limit is not of such subjects.
    Subject,
    /// Credits are included by number.
    Unlimited,
    /// There is no such time zone.
    Zone,
    /// The store takes no write.
    Store(StoreRefusal),
}

/// An override: of what, what it says, and from when on until when.
pub type Exception = (String, Says, (Option<i64>, Option<i64>));

/// A change of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The plan.
    pub plan: String,
    /// The anchor, if it changes.
    pub anchor: Option<i64>,
    /// The zone; empty: as it was.
    pub zone: String,
    /// When it ends.
    pub ends_at: Option<i64>,
    /// Add-ons and how many of each.
    pub addons: Vec<(String, u32)>,
    /// A plan on trial and when that ends.
    pub trial: Option<(String, i64)>,
    /// Plans and from when on.
    pub scheduled: Vec<(i64, String)>,
}

/// A profile by names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileAnswer {
    /// The account's number.
    pub serial: u32,
    /// Its plan.
    pub plan: String,
    /// Whether it came by the default plan.
    pub by_default: bool,
    /// Whether everything is refused.
    pub suspended: bool,
    /// Where billing windows are counted from.
    pub anchor: i64,
    /// When the subscription ends.
    pub ends_at: i64,
    /// When it was first known.
    pub created_at: i64,
    /// Its zone.
    pub zone: String,
    /// Overrides in the order they were made, and when they count.
    pub overrides: Vec<Exception>,
    /// Add-ons and how many of each.
    pub addons: Vec<(String, u32)>,
    /// A plan on trial and when that ends.
    pub trial: Option<(String, i64)>,
    /// Plans and from when on, in order.
    pub scheduled: Vec<(i64, String)>,
    /// Facts by name.
    pub facts: Vec<(String, String)>,
    /// Its cohorts.
    pub cohorts: Vec<String>,
}

impl Model {
    pub(crate) fn store(&self) -> Result<(), Refused> {
        self.refusal.clone().map_or(Ok(()), |refusal| Err(Refused::Store(refusal)))
    }

    pub(crate) fn known(&self, account: &str) -> Result<(), Refused> {
        self.store()?;
        if self.accounts.contains_key(account) { Ok(()) } else { Err(Refused::Account) }
    }

    /// Changes what is known of an account, and what its pools have to do with that.
    pub(crate) fn edit(
        &mut self,
        id: &str,
        now: i64,
        edit: impl FnOnce(&mut Account),
    ) -> Result<(), Refused> {
        self.known(id)?;
        self.before_edit(id, now);
        let before = self.accounts[id].clone();
        if let Some(account) = self.accounts.get_mut(id) {
            edit(account);
        }
        self.keep_terms(id, (&self.rules(), &before), now);
        self.after_edit(id, now);
        Ok(())
    }

    /// Puts a checked catalog into force, and carries out what its migrations say.
    pub fn install(&mut self, spec: &CatalogSpec, source: &str, now: i64) {
        let is_new = self.revision == 0 || self.source != source;
        let before = self.rules();
        self.know_catalog(spec, source, now);
        self.follow_kinds(&before, now);
        self.carry_out(now);
        if is_new {
            self.follow_catalog(now);
        }
    }

    /// Puts a checked catalog into force.
    pub fn know_catalog(&mut self, spec: &CatalogSpec, source: &str, now: i64) {
        let rules = self.rules();
        let is_new = self.revision == 0 || self.source != source;
        if is_new {
            self.revision += 1;
        }
        self.source = source.to_owned();
        self.catalog = spec.clone();
        let moves = self.moves();
        for id in self.account_names().into_iter().filter(|_| is_new) {
            let before = self.accounts[&id].clone();
            self.keep_moved(&id, (&rules, &before), &moves, now);
        }
        self.note_owing();
        self.note_uncut();
        for feature in &spec.features {
            self.names.insert(feature.feature.clone());
            match &feature.kind {
                FeatureKindSpec::Quota { limits } => {
                    self.names.extend(limits.iter().map(|limit| limit.limit.clone()));
                }
                FeatureKindSpec::Concurrency { per } => {
                    self.names.insert("concurrent".to_owned());
                    self.names.extend(per.iter().map(|_| EACH_SLOTS.to_owned()));
                }
                FeatureKindSpec::Rate { .. } => drop(self.names.insert("rate".to_owned())),
                FeatureKindSpec::Allocation { .. } => {
                    self.names.insert("level".to_owned());
                }
                FeatureKindSpec::Seats { .. } => drop(self.names.insert("seats".to_owned())),
                FeatureKindSpec::Credits { .. } => drop(self.names.insert(POOL.to_owned())),
                FeatureKindSpec::Switch | FeatureKindSpec::Config => {}
            }
        }
        self.names.extend(spec.plans.iter().chain(&spec.addons).map(label));
    }

    /// Notes a name that got a number though its catalog was lost.
    pub fn know_name(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// Notes an account that began though what it began with was lost.
    pub fn know_account(&mut self, account: &str, plan: &str, by_default: bool, now: i64) {
        if !self.accounts.contains_key(account) {
            let newcomer = self.newcomer(plan, by_default, now);
            self.accounts.insert(account.to_owned(), newcomer);
        }
    }

    /// Notes the profile of an account that a step had changed though the rest of it was lost.
    pub fn know_profile(&mut self, id: &str, known: ProfileAnswer, now: i64) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        let before = account.clone();
        account.moved |= account.zone != known.zone && !account.spread.is_empty();
        account.plan = known.plan;
        account.by_default = known.by_default;
        account.suspended = known.suspended;
        account.anchor = known.anchor;
        account.ends_at = known.ends_at;
        account.zone = known.zone;
        account.overrides = known.overrides;
        account.addons = known.addons;
        account.trial = known.trial;
        account.scheduled = known.scheduled;
        account.facts = known.facts.into_iter().collect();
        account.cohorts = known.cohorts.into_iter().collect();
        account.note_trials(now);
        account.expect_turns(now);
        self.keep_terms(id, (&self.rules(), &before), now);
    }

    /// Puts an account on a plan.
    pub fn subscribe(
        &mut self,
        account: &str,
        change: &Subscription,
        now: i64,
    ) -> Result<(), Refused> {
        let old = self.accounts.get(account).filter(|account| !account.by_default);
        let plan = |plan: &String, before: Option<&str>| {
            self.bought(plan, before).ok_or_else(|| Refused::Name("plan", plan.clone()))
        };
        let new_plan = plan(&change.plan, old.map(|old| old.plan.as_str()))?;
        let mut addons: Vec<(String, u32)> = Vec::new();
        for (name, quantity) in &change.addons {
            if !self.catalog.addons.iter().any(|known| known.plan == *name) {
                return Err(Refused::Name("add-on", name.clone()));
            }
            match addons.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = known.saturating_add(*quantity),
                None => addons.push((name.clone(), *quantity)),
            }
        }
        let mut trial = None;
        if let Some((name, end)) = &change.trial {
            let before = old.and_then(|old| old.trial.as_ref()).map(|(plan, _)| plan.as_str());
            trial = Some((plan(name, before)?, *end));
        }
        let mut scheduled = Vec::new();
        for (at, name) in &change.scheduled {
            // The last one of the old ones that is for the same instant and of the same plan.
            let mut before = None;
            for (known_at, known) in old.iter().flat_map(|old| &old.scheduled) {
                if known_at == at && known.split('@').next() == Some(name.as_str()) {
                    before = Some(known.as_str());
                }
            }
            scheduled.push((*at, plan(name, before)?));
        }
        scheduled.sort_by_key(|(at, _)| *at);
        if !change.zone.is_empty() && Zone::named(&change.zone).is_none() {
            return Err(Refused::Zone);
        }
        self.store()?;
        let newcomer = self.newcomer(&new_plan, false, now);
        let id = account;
        self.accounts.entry(id.to_owned()).or_insert(newcomer);
        self.look_at(id, now);
        self.before_edit(id, now);
        let remembers = self.minds_changes();
        let Some(account) = self.accounts.get_mut(id) else { return Ok(()) };
        let before = account.clone();
        account.plan = new_plan;
        account.by_default = false;
        account.anchor = change.anchor.unwrap_or(account.anchor);
        account.ends_at = change.ends_at.unwrap_or(i64::MAX);
        account.addons = addons;
        account.trial = trial;
        account.scheduled = scheduled;
        if !change.zone.is_empty() {
            account.moved |= account.zone != change.zone && !account.spread.is_empty();
            account.zone.clone_from(&change.zone);
        }
        account.remember(&before, now, remembers);
        account.note_trials(now);
        self.keep_terms(id, (&self.rules(), &before), now);
        self.after_edit(id, now);
        Ok(())
    }

    /// Suspends an account, or lets it go on.
    pub fn suspend(&mut self, id: &str, suspended: bool, now: i64) -> Result<(), Refused> {
        self.edit(id, now, |account| account.suspended = suspended)
    }

    /// Replaces what the plan says.
    pub fn put_override(
        &mut self,
        account: &str,
        feature: &str,
        says: &Says,
        times: (Option<i64>, Option<i64>),
        now: i64,
    ) -> Result<(), Refused> {
        let Some(shape) = self.feature(feature) else {
            return Err(Refused::Name("feature", feature.to_owned()));
        };
        let (plain, is_least) = says.plain();
        match (plain, &shape.kind) {
            (Says::Switch(_), FeatureKindSpec::Switch)
            | (Says::Config(_), FeatureKindSpec::Config) => {}
            (Says::Rate(_), FeatureKindSpec::Rate { .. }) => {}
            (Says::Limit(limit, _), FeatureKindSpec::Concurrency { per }) => {
                if limit != "concurrent" && (per.is_none() || limit != EACH_SLOTS) {
                    return Err(Refused::Name("limit", limit.clone()));
                }
            }
            (Says::Limit(limit, _), FeatureKindSpec::Allocation { .. }) => {
                if limit != "level" {
                    return Err(Refused::Name("limit", limit.clone()));
                }
            }
            (Says::Limit(_, None), FeatureKindSpec::Credits { .. }) => {
                return Err(Refused::Unlimited);
            }
            (Says::Limit(limit, _), FeatureKindSpec::Credits { .. }) => {
                if limit != POOL {
                    return Err(Refused::Name("limit", limit.clone()));
                }
            }
            (Says::Limit(limit, _), FeatureKindSpec::Seats { .. }) => {
                if limit != "seats" {
                    return Err(Refused::Name("limit", limit.clone()));
                }
            }
            (
                Says::Limit(limit, _) | Says::SpendCap(limit, ..),
                FeatureKindSpec::Quota { limits },
            ) => {
                // What a subject may cost is not bounded.
                let of_all = matches!(plain, Says::Limit(..));
                let is_it = |known: &LimitSpec| known.limit == *limit;
                if !limits.iter().any(|known| is_it(known) && (of_all || known.per.is_none())) {
                    return Err(Refused::Name("limit", limit.clone()));
                }
                if let Says::SpendCap(_, _, currency) = plain
                    && !self.has_price(feature, limit, currency)
                {
                    let what = "price for overage of this limit in";
                    return Err(Refused::Name(what, currency.clone()));
                }
            }
            (Says::OfSubject(path, limit, _), FeatureKindSpec::Quota { limits }) => {
                let Some(shape) = limits.iter().find(|known| known.limit == *limit) else {
                    return Err(Refused::Name("limit", limit.clone()));
                };
                let innermost = path.rsplit('/').next().unwrap_or_default();
                let kind = innermost.split(':').next().unwrap_or_default();
                if shape.per.as_deref() != Some(kind) {
                    return Err(Refused::Subject);
                }
            }
            (Says::OfSubject(path, limit, _), FeatureKindSpec::Concurrency { per: Some(per) })
                if limit == EACH_SLOTS =>
            {
                let innermost = path.rsplit('/').next().unwrap_or_default();
                if innermost.split(':').next() != Some(per) {
                    return Err(Refused::Subject);
                }
            }
            _ => return Err(Refused::Kind),
        }
        if is_least
            && !matches!(
                plain,
                Says::Switch(true) | Says::Limit(..) | Says::Rate(_) | Says::OfSubject(..)
            )
        {
            return Err(Refused::Kind);
        }
        self.edit(account, now, |account| {
            account.overrides.retain(|(of, known, _)| {
                of != feature
                    || match (plain, known.plain().0) {
                        (Says::Limit(new, _), Says::Limit(old, _)) => new != old,
                        (Says::SpendCap(new, ..), Says::SpendCap(old, ..)) => new != old,
                        (Says::OfSubject(who, what, _), Says::OfSubject(other, limit, _)) => {
                            who != other || what != limit
                        }
                        (Says::Limit(..) | Says::SpendCap(..) | Says::OfSubject(..), _)
                        | (_, Says::Limit(..) | Says::SpendCap(..) | Says::OfSubject(..)) => true,
                        _ => false,
                    }
            });
            account.overrides.push((feature.to_owned(), says.clone(), times));
            account.note_trials(now);
        })
    }

    /// Takes overrides back.
    pub fn delete_override(
        &mut self,
        account: &str,
        feature: &str,
        (limit, subject): (Option<&str>, Option<&str>),
        now: i64,
    ) -> Result<(), Refused> {
        let known = |what, name: &str| {
            if self.names.contains(name) { Ok(()) } else { Err(Refused::Name(what, name.into())) }
        };
        known("feature", feature)?;
        if let Some(limit) = limit {
            known("limit", limit)?;
        }
        self.edit(account, now, |account| {
            account.overrides.retain(|(of, says, _)| {
                let meant = match (limit, says.plain().0) {
                    (limit, Says::OfSubject(who, known, _)) => {
                        subject.is_some_and(|subject| subject == who)
                            && limit.is_none_or(|limit| limit == known)
                    }
                    (_, _) if subject.is_some() => false,
                    (None, _) => true,
                    (Some(limit), Says::Limit(known, _) | Says::SpendCap(known, ..)) => {
                        known == limit
                    }
                    (Some(_), _) => false,
                };
                of != feature || !meant
            });
            account.note_trials(now);
        })
    }

    /// Sets and removes facts.
    pub fn put_facts(
        &mut self,
        account: &str,
        facts: &[(String, Option<String>)],
        now: i64,
    ) -> Result<(), Refused> {
        self.edit(account, now, |account| {
            for (name, value) in facts {
                match value {
                    Some(value) => account.facts.insert(name.clone(), value.clone()),
                    None => account.facts.remove(name),
                };
            }
        })
    }

    /// Puts an account into one cohort, or takes it out.
    pub fn put_cohort(
        &mut self,
        id: &str,
        cohort: &str,
        joins: bool,
        now: i64,
    ) -> Result<(), Refused> {
        self.edit(id, now, |account| {
            match joins {
                true => account.cohorts.insert(cohort.to_owned()),
                false => account.cohorts.remove(cohort),
            };
        })
    }

    /// The profile of an account.
    pub fn profile(&self, account: &str) -> Option<ProfileAnswer> {
        let account = self.accounts.get(account)?;
        Some(ProfileAnswer {
            serial: account.serial,
            plan: account.plan.clone(),
            by_default: account.by_default,
            suspended: account.suspended,
            anchor: account.anchor,
            ends_at: account.ends_at,
            created_at: account.created_at,
            zone: account.zone.clone(),
            overrides: account.overrides.clone(),
            addons: account.addons.clone(),
            trial: account.trial.clone(),
            scheduled: account.scheduled.clone(),
            facts: account.facts.clone().into_iter().collect(),
            cohorts: account.cohorts.iter().cloned().collect(),
        })
    }

    /// The names of the features in force, in the catalog's order.
    pub fn feature_names(&self) -> Vec<String> {
        self.catalog.features.iter().map(|feature| feature.feature.clone()).collect()
    }

    /// The ids of the accounts.
    pub fn account_names(&self) -> BTreeSet<String> {
        self.accounts.keys().cloned().collect()
    }
}
