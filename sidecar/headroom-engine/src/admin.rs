//! What others tell the engine: accounts, their profiles, and the catalog.
//!
//! Every change is journaled before it is in force for anybody, under the same lock that decisions
//! take, so the next decision sees it.

mod overrides;

use std::sync::Arc;

use dashmap::mapref::entry::Entry;
use dashmap::mapref::one::RefMut;
use headroom_core::account::{Account, AddOn, Profile, ProfileExtra, ScheduledPlan, Trial, Zone};
use headroom_core::catalog::{Catalog, CatalogSpec, SpecProblem};
use headroom_core::change;
use headroom_core::closing;
use headroom_core::cohort;
use headroom_core::credits;
use headroom_core::decide::{Context, GrantError};
use headroom_core::effect::Effect;
use headroom_core::limits as core_limits;
use headroom_core::migrate::renames;
use headroom_core::names::{NameId, Names};
use headroom_core::owing;
use headroom_core::stock;
use headroom_core::time::Millis;
use headroom_core::versions;

use crate::engine::{AccountId, Accounts, Engine, EngineError, Slot};
use crate::limits;
use crate::migrate;
use crate::ports::{Seq, StoreRefusal};
use crate::record;

pub(crate) use overrides::quota_limit;
pub use overrides::{OverrideChange, OverrideTerms};

/// What changes only by administration.
#[derive(Debug, Default)]
pub(crate) struct AdminState {
    pub(crate) names: Names,
    pub(crate) revision: u64,
    pub(crate) source: Arc<str>,
}

/// Why an administrative change was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// There is no such account.
    #[error("there is no account {account:?}")]
    UnknownAccount {
        /// Its id.
        account: String,
    },
    /// The catalog has no such thing.
    #[error("the catalog has no {what} {name:?}")]
    UnknownName {
        /// Plan, feature or limit.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The override does not fit the kind of its feature.
    #[error("feature {feature:?} is of kind {kind}, the override is for another kind")]
    WrongKind {
        /// The feature.
        feature: String,
        /// Its kind.
        kind: &'static str,
    },
    /// The limit is not of such subjects.
    #[error("{what}")]
    WrongSubject {
        /// What it is of.
        what: String,
    },
    /// What was seen on disk is older than what memory has let go: look again when the projection has come to
    /// this record. Nothing was changed.
    #[error("the projection has not come to record {until} yet")]
    Behind {
        /// The record.
        until: Seq,
    },
    /// What is included of credits is a number.
    #[error("feature {feature:?} is credits, which are included by number, never unlimited")]
    UnlimitedCredits {
        /// The feature.
        feature: String,
    },
    /// Neither more nor less can be said of it.
    #[error(
        "an override of {feature:?} cannot be the least: only one that turns a switch on, or of a limit or \
         a rate, can"
    )]
    NoLeast {
        /// The feature.
        feature: String,
    },
    /// The tz database has no such zone.
    #[error("there is no time zone {zone:?}")]
    UnknownZone {
        /// What was asked for.
        zone: String,
    },
    /// More than an account may have.
    #[error("an account may have {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The pool does not take the grant, or has none to take back.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The engine or the store refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A change of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionChange<'a> {
    /// The plan's name.
    pub plan: &'a str,
    /// The instant billing windows are counted from. `None`: as it was, or now.
    pub anchor: Option<Millis>,
    /// The IANA time zone. Empty: as it was, or UTC.
    pub time_zone: &'a str,
    /// When it ends. `None`: open.
    pub ends_at: Option<Millis>,
    /// What is bought in addition: names and how many of each, 1 or more. It replaces what was.
    pub addons: Vec<(&'a str, u32)>,
    /// Another plan until an instant. `None`: none.
    pub trial: Option<(&'a str, Millis)>,
    /// Plans from instants on. They replace what was scheduled.
    pub scheduled: Vec<(Millis, &'a str)>,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The profile now.
    pub profile: Profile,
    /// The record that must be written before this is answered.
    pub wait_for: Seq,
}

/// A catalog that came into force, or already was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its number.
    pub revision: u64,
    /// Whether anything changed.
    pub changed: bool,
    /// The record that must be written before this is answered, if any.
    pub wait_for: Option<Seq>,
    /// What does no harm, and is probably not meant so.
    pub hints: Vec<SpecProblem>,
}

/// Why a catalog did not come into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogRefusal {
    /// It is wrong; here is everything that is.
    Problems(Vec<SpecProblem>),
    /// The store takes no write.
    Store(StoreRefusal),
}

impl Engine {
    /// Puts an account on a plan, making it if it is new. What was used stays used.
    pub fn put_subscription(
        &self,
        account: &str,
        change: &SubscriptionChange<'_>,
        now: Millis,
    ) -> Result<Changed, AdminError> {
        let catalog = self.catalog();
        // Checked first, so that a refused change makes no account.
        let new = plan_id(&catalog, change.plan, None)?;
        sources(&catalog, change, None)?;
        let zone = match change.time_zone {
            "" => None,
            name => Some(Box::new(
                Zone::named(name)
                    .ok_or_else(|| AdminError::UnknownZone { zone: name.to_owned() })?,
            )),
        };
        self.store.room().map_err(EngineError::from)?;
        let mut slot = self.slot_or_new(account, now, Profile::new(new, false, now))?;
        self.edit_plans(account, &mut slot, &catalog, now, |profile| {
            // Whoever bought keeps the version; what came by default was not bought.
            let before = (!profile.by_default).then_some(&*profile);
            let plan = plan_id(&catalog, change.plan, before.map(|profile| profile.plan))?;
            let (addons, trial, scheduled) = sources(&catalog, change, before)?;
            profile.plan = plan;
            profile.by_default = false;
            if let Some(anchor) = change.anchor {
                profile.anchor = anchor;
            }
            if zone.is_some() {
                profile.zone = zone;
            }
            profile.ends_at = change.ends_at.unwrap_or(Millis::FOREVER);
            let extra = profile.extra.get_or_insert_default();
            (extra.addons, extra.trial, extra.scheduled) = (addons, trial, scheduled);
            Ok(())
        })
    }

    /// Suspends an account, or lets it go on.
    pub fn set_suspended(
        &self,
        account: &str,
        suspended: bool,
        now: Millis,
    ) -> Result<Changed, AdminError> {
        self.edit_known(account, now, |profile| {
            profile.suspended = suspended;
            Ok(())
        })
    }

    /// Sets facts, values as JSON text; `None` removes one.
    pub fn put_facts(
        &self,
        account: &str,
        facts: Vec<(String, Option<String>)>,
        now: Millis,
    ) -> Result<Changed, AdminError> {
        self.edit_known(account, now, |profile| {
            let extra = profile.extra.get_or_insert_default();
            for (name, value) in facts {
                extra.facts.retain(|(known, _)| *known != name);
                extra.facts.extend(value.map(|value| (name, value)));
            }
            extra.facts.sort();
            let bytes: usize = extra.facts.iter().map(|(n, v)| n.len() + v.len()).sum();
            if extra.facts.len() > core_limits::FACTS_MAX {
                return Err(AdminError::TooMany { what: "facts", max: core_limits::FACTS_MAX });
            }
            if bytes > core_limits::FACTS_BYTES_MAX {
                let max = core_limits::FACTS_BYTES_MAX;
                return Err(AdminError::TooMany { what: "bytes of facts", max });
            }
            Ok(())
        })
    }

    /// Puts an account into cohorts, and takes it out of others.
    pub fn put_cohorts(
        &self,
        account: &str,
        (join, leave): (&[&str], &[&str]),
        now: Millis,
    ) -> Result<Changed, AdminError> {
        self.edit_known(account, now, |profile| {
            let extra = profile.extra.get_or_insert_default();
            if cohort::change(&mut extra.cohorts, join, leave) {
                return Ok(());
            }
            Err(AdminError::TooMany { what: "cohorts", max: core_limits::COHORTS_MAX })
        })
    }

    /// Brings a catalog into force for the next decision. The same text again changes nothing.
    ///
    /// On error the old one stays.
    pub fn install_catalog(
        &self,
        spec: CatalogSpec,
        source: &str,
        now: Millis,
    ) -> Result<Installed, CatalogRefusal> {
        self.store.room().map_err(CatalogRefusal::Store)?;
        self.put_catalog(spec, source, now).map_err(CatalogRefusal::Problems)
    }

    fn put_catalog(
        &self,
        spec: CatalogSpec,
        source: &str,
        now: Millis,
    ) -> Result<Installed, Vec<SpecProblem>> {
        let mut admin = self.admin.lock().unwrap_or_else(|held| held.into_inner());
        let before = self.catalog();
        let (catalog, installed) =
            admin.build(spec, source, Step::From(Some(&before), &self.accounts))?;
        let orphans = migrate::orphans(&self.accounts, &before, &catalog, now);
        if !orphans.is_empty() {
            return Err(orphans);
        }
        // What time has brought by now was brought under the catalog of before.
        self.run_timers(now);
        if installed.changed {
            self.keep_terms(&before, &catalog, now);
        }
        let hints = headroom_core::migrate::mistaken(&before, &catalog).hints;
        let installed = self.bring_in(&mut admin, (catalog, installed), source, now);
        Ok(Installed { hints, ..installed })
    }

    /// Brings a catalog into force that takes nothing away, also without room: a start must not decide
    /// under names whose numbers the journal does not know, or the next catalog would give them to other
    /// names.
    pub(crate) fn bring_in(
        &self,
        admin: &mut AdminState,
        (catalog, mut installed): (Catalog, Installed),
        source: &str,
        now: Millis,
    ) -> Installed {
        // Of the same text a later version of the program may number names that an earlier one did not.
        let has_new_names = admin.names.len() < catalog.names().len();
        let is_renamed = !admin.names.called().eq(catalog.names().called());
        if installed.changed || has_new_names || is_renamed {
            installed.wait_for = Some(self.journal_catalog(admin, &catalog, source, now));
        }
        let catalog = Arc::new(catalog);
        let before = self.catalog();
        self.catalog.store(Arc::clone(&catalog));
        if stock::may_differ(&before, &catalog)
            && let Some(last) = self.follow_kinds(&before, &catalog, now)
        {
            installed.wait_for = Some(last);
        }
        if catalog.carries_more_than(&before) {
            self.note_owing(&catalog, now);
        }
        if let Some(last) = self.carry_out(&catalog, now) {
            installed.wait_for = Some(last);
        }
        if installed.changed
            && let Some(last) = self.follow_catalog(now)
        {
            installed.wait_for = Some(last);
        }
        installed
    }

    /// Remembers which windows owe and which pools wait for another plan: under a catalog that carries what none
    /// did before, or since a version of the program that did not remember it. Without room it is not journaled,
    /// and the next start finds the same.
    pub(crate) fn note_owing(&self, catalog: &Catalog, now: Millis) {
        let mut bytes = Vec::new();
        for mut slot in self.accounts.iter_mut() {
            let mut effects = owing::unnoted(catalog, &slot.account);
            effects.extend(credits::unnoted(&slot.account, now));
            self.note_if_room(now, &mut slot, &effects, &mut bytes);
        }
    }

    /// Remembers what windows that are over were measured by, where another catalog says something else.
    /// Without room it is not journaled, and a kill before the next checkpoint forgets it.
    pub(crate) fn keep_terms(&self, before: &Catalog, catalog: &Catalog, now: Millis) {
        let mut bytes = Vec::new();
        for mut slot in self.accounts.iter_mut() {
            let at = |catalog| Context { catalog, now: slot.account.not_before(now) };
            let account = &slot.account;
            let kept = closing::kept((at(before), account), (at(catalog), account));
            self.note_if_room(now, &mut slot, &kept, &mut bytes);
        }
    }

    fn note_if_room(&self, now: Millis, slot: &mut Slot, effects: &[Effect], bytes: &mut Vec<u8>) {
        if effects.is_empty() {
            return;
        }
        if self.store.room().is_ok() {
            self.note_at(now, slot, effects, bytes);
        } else {
            let notice_at = slot.account.notice_at();
            effects.iter().for_each(|effect| slot.account.apply(effect));
            self.timers.reset(&slot.account, notice_at);
        }
    }

    /// Journals the names a catalog uses for the first time, and then the catalog. What it calls features
    /// that were called otherwise is in its own record: both are in force, or neither.
    fn journal_catalog(
        &self,
        admin: &mut AdminState,
        catalog: &Catalog,
        source: &str,
        now: Millis,
    ) -> Seq {
        let mut bytes = Vec::new();
        for (id, text) in catalog.names().since(admin.names.len()) {
            bytes.clear();
            record::put_name(&mut bytes, id, text);
            self.store.append(&bytes, false);
        }
        bytes.clear();
        let is_called = |names: &Names| names.called().next().is_some();
        let called = (is_called(&admin.names) || is_called(catalog.names()))
            .then(|| catalog.names().called().collect::<Vec<_>>());
        record::put_catalog(&mut bytes, catalog.revision, now, source, called.as_deref());
        admin.names = catalog.names().clone();
        admin.revision = catalog.revision;
        admin.source = source.into();
        self.store.append(&bytes, false)
    }

    /// The locked slot of an account, making it with this profile if it is new.
    pub(crate) fn slot_or_new(
        &self,
        account: &str,
        now: Millis,
        profile: Profile,
    ) -> Result<RefMut<'_, AccountId, Box<Slot>>, EngineError> {
        if let Some(slot) = self.accounts.get_mut(account) {
            return Ok(slot);
        }
        match self.accounts.entry(account.into()) {
            Entry::Occupied(slot) => Ok(slot.into_ref()),
            Entry::Vacant(place) => {
                let serial = {
                    let mut serials = self.serials.lock().unwrap_or_else(|held| held.into_inner());
                    if serials.len() >= limits::ACCOUNTS_MAX {
                        return Err(EngineError::TooManyAccounts { count: serials.len() });
                    }
                    serials.push(place.key().clone());
                    u32::try_from(serials.len() - 1).expect("ACCOUNTS_MAX fits")
                };
                let mut bytes = Vec::new();
                record::put_profile(&mut bytes, serial, account, now, &profile);
                let last_seq = self.store.append(&bytes, false);
                let account = Account::new(serial, profile).drawing_by(account);
                Ok(place.insert(Box::new(Slot { account, last_seq, keys: None })))
            }
        }
    }

    fn edit_known(
        &self,
        account: &str,
        now: Millis,
        edit: impl FnOnce(&mut Profile) -> Result<(), AdminError>,
    ) -> Result<Changed, AdminError> {
        self.store.room().map_err(EngineError::from)?;
        let Some(mut slot) = self.accounts.get_mut(account) else {
            return Err(AdminError::UnknownAccount { account: account.to_owned() });
        };
        self.edit(account, &mut slot, now, edit)
    }

    /// An edit that may change the plan in force.
    pub(crate) fn edit_plans(
        &self,
        account: &str,
        slot: &mut Slot,
        catalog: &Catalog,
        now: Millis,
        edit: impl FnOnce(&mut Profile) -> Result<(), AdminError>,
    ) -> Result<Changed, AdminError> {
        // Requests are decided at this instant at the earliest, so it is the one of the change.
        let now = slot.account.not_before(now);
        // What the plan that was in force has brought comes first.
        let (mut effects, mut bytes) = (Vec::new(), Vec::new());
        self.settle(Context { catalog, now }, slot, &mut effects, &mut bytes);
        let before = slot.account.profile.clone();
        let needed_from = change::needed_from(catalog, &slot.account, now);
        let mut changed = self.edit(account, slot, now, |profile| {
            edit(profile)?;
            if !change::note(&before, profile, now, (catalog.minds_changes(), needed_from)) {
                let what = "changes of plan within one window";
                return Err(AdminError::TooMany { what, max: core_limits::PAST_PLANS_MAX });
            }
            Ok(())
        })?;
        self.note_conversions(slot, (catalog, &before), now);
        changed.wait_for = slot.last_seq;
        Ok(changed)
    }

    pub(crate) fn edit(
        &self,
        account: &str,
        slot: &mut Slot,
        now: Millis,
        edit: impl FnOnce(&mut Profile) -> Result<(), AdminError>,
    ) -> Result<Changed, AdminError> {
        if !slot.account.pools().is_empty() {
            // What the old profile brought by now stays so.
            self.settle_pools(slot, now);
        }
        let mut profile = slot.account.profile.clone();
        edit(&mut profile)?;
        self.put_profile(account, slot, now, profile);
        self.settle_pools(slot, now);
        let profile = slot.account.profile.clone();
        Ok(Changed { profile, wait_for: slot.last_seq })
    }

    /// Journals a profile and puts it into force. What it means for pools is seen by whoever looks next.
    pub(crate) fn put_profile(
        &self,
        account: &str,
        slot: &mut Slot,
        now: Millis,
        mut profile: Profile,
    ) {
        if profile.extra.as_deref() == Some(&ProfileExtra::default()) {
            profile.extra = None;
        }
        let mut bytes = Vec::new();
        if closing::may_keep(&slot.account, now) {
            let catalog = self.catalog();
            let cx = Context { catalog: &catalog, now };
            let mut changed = slot.account.clone();
            changed.put_profile(profile.clone(), now);
            let kept = closing::kept((cx, &slot.account), (cx, &changed));
            if !kept.is_empty() {
                self.note_at(now, slot, &kept, &mut bytes);
                bytes.clear();
            }
        }
        record::put_profile(&mut bytes, slot.account.serial, account, now, &profile);
        slot.last_seq = self.store.append(&bytes, false);
        let notice_at = slot.account.notice_at();
        slot.account.put_profile(profile, now);
        self.timers.reset(&slot.account, notice_at);
    }
}

/// The number of a plan by its name, or by its name and version. An account that is on a version of
/// it `before` keeps that one.
pub(crate) fn plan_id(
    catalog: &Catalog,
    plan: &str,
    before: Option<NameId>,
) -> Result<NameId, AdminError> {
    let known = versions::bought(catalog.plans(), plan, before);
    let known = known.ok_or_else(|| AdminError::UnknownName {
        what: "plan",
        name: plan.to_owned(),
        known: catalog.plans().iter().map(|p| versions::join(&p.plan, p.version)).collect(),
    })?;
    Ok(catalog.plan(known).id)
}

type Sources = (Vec<AddOn>, Option<Trial>, Vec<ScheduledPlan>);

/// What a subscription consists of besides its plan, by numbers. Versions stay as they were `before`.
fn sources(
    catalog: &Catalog,
    change: &SubscriptionChange<'_>,
    before: Option<&Profile>,
) -> Result<Sources, AdminError> {
    let before = before.and_then(|profile| profile.extra.as_deref());
    let mut addons: Vec<AddOn> = Vec::with_capacity(change.addons.len());
    for (name, quantity) in &change.addons {
        let addon = catalog.addon_named(name).ok_or_else(|| AdminError::UnknownName {
            what: "add-on",
            name: (*name).to_owned(),
            known: catalog.addons().iter().map(|a| a.plan.to_string()).collect(),
        })?;
        // Twice the same one is more of it.
        match addons.iter_mut().find(|known| known.addon == addon.id) {
            Some(known) => known.quantity = known.quantity.saturating_add(*quantity),
            None => addons.push(AddOn { addon: addon.id, quantity: *quantity }),
        }
    }
    if addons.len() > core_limits::ADDONS_MAX {
        return Err(AdminError::TooMany { what: "add-ons", max: core_limits::ADDONS_MAX });
    }
    if change.scheduled.len() > core_limits::SCHEDULED_PLANS_MAX {
        let max = core_limits::SCHEDULED_PLANS_MAX;
        return Err(AdminError::TooMany { what: "scheduled plans", max });
    }
    let trial = match change.trial {
        Some((plan, ends_at)) => {
            let before = before.and_then(|extra| extra.trial).map(|trial| trial.plan);
            Some(Trial { plan: plan_id(catalog, plan, before)?, ends_at })
        }
        None => None,
    };
    let mut scheduled = Vec::with_capacity(change.scheduled.len());
    for (starts_at, plan) in &change.scheduled {
        let mut known = before.into_iter().flat_map(|extra| &extra.scheduled);
        let same =
            known.find(|one| one.starts_at == *starts_at && catalog.plan_name(one.plan).0 == *plan);
        let plan = plan_id(catalog, plan, same.map(|one| one.plan))?;
        scheduled.push(ScheduledPlan { starts_at: *starts_at, plan });
    }
    // Of two at the same instant the later one of the request counts: the sort is stable.
    scheduled.sort_by_key(|plan| plan.starts_at);
    Ok((addons, trial, scheduled))
}

/// What a catalog comes after.
#[derive(Clone, Copy)]
pub(crate) enum Step<'a> {
    /// It is the one in force: what its lines say is done.
    InForce,
    /// Another one, or none that is known; and who counts by it.
    From(Option<&'a Catalog>, &'a Accounts),
}

impl AdminState {
    /// Checks a catalog against the names given so far; changes nothing.
    pub(crate) fn build(
        &self,
        spec: CatalogSpec,
        source: &str,
        step: Step<'_>,
    ) -> Result<(Catalog, Installed), Vec<SpecProblem>> {
        let changed = self.revision == 0 || *self.source != *source;
        let revision = self.revision + u64::from(changed);
        let mut names = self.names.clone();
        let renames = match step {
            Step::InForce => Ok(Vec::new()),
            Step::From(before, accounts) => {
                renames(&spec, before, &names, &|id| migrate::is_counted(accounts, id))
            }
        };
        for (id, text) in renames.iter().flatten() {
            names.call_feature(*id, text);
        }
        let built = Catalog::build(spec, revision, &mut names);
        match (built, renames) {
            (Ok(catalog), Ok(_)) => {
                Ok((catalog, Installed { revision, changed, wait_for: None, hints: Vec::new() }))
            }
            (Ok(_), Err(problems)) => Err(problems),
            // Lines that are wrong in themselves say so, and not what they would come to.
            (Err(problems), _) => Err(problems),
        }
    }
}
