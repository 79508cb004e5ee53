//! AdminService: accounts, the catalog, the clock, backups, the sinks, and how the sidecar is.

use std::path::PathBuf;
use std::sync::Arc;

use headroom_core::account::{OverrideValue, Profile};
use headroom_core::catalog::Catalog;
use headroom_core::limits::ADDON_QUANTITY_MAX;
use headroom_core::subject::SubjectPath;
use headroom_core::suggest::closest;
use headroom_core::time::Millis;
use headroom_engine::admin::{Changed, OverrideChange, OverrideTerms, SubscriptionChange};
use headroom_engine::ports::Seq;
use headroom_forecast::limits::HOUR_MS;
use headroom_proto::v1;
use headroom_proto::v1::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use crate::grpc::present::{self, int, timestamp};
use crate::grpc::status::WireError;
use crate::grpc::{page, parse};
use crate::serve::Gate;
use crate::sidecar::Core;

pub mod backtest;
pub mod facts;
mod grants;
mod growth;
mod opening;
mod plans;
mod prompts;
mod sinks;

/// The service.
#[derive(Clone)]
pub struct Administration {
    /// The running sidecar without its listeners.
    pub core: Arc<Core>,
    /// Where administrative changes wait for the journal.
    pub gate: Gate,
}

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
    async fn written(&self, seq: Seq) -> Result<(), WireError> {
        Ok(self.gate.written(seq).await?)
    }

    /// Waits until a change is written, and shows the account after it.
    async fn changed(
        &self,
        account: &str,
        changed: Changed,
    ) -> Result<Option<v1::Account>, WireError> {
        self.written(changed.wait_for).await?;
        let catalog = self.core.shared.engine.catalog();
        Ok(Some(show(&catalog, account, &changed.profile, self.now())))
    }

    fn now(&self) -> Millis {
        self.core.shared.clock.now()
    }

    async fn subscribe(
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

    async fn set_status(
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

    async fn set_override(
        &self,
        rq: &v1::PutOverrideRequest,
    ) -> Result<Option<v1::Account>, WireError> {
        use v1::r#override::Value;
        let account = parse::id("account", &rq.account)?;
        let missing = || WireError::field("override", "is missing");
        let one = rq.r#override.as_ref().ok_or_else(missing)?;
        let feature = parse::id("override.feature", &one.feature)?;
        let change = match one.value.as_ref().ok_or_else(missing)? {
            Value::SwitchOn(on) => OverrideChange::Switch(*on),
            Value::ConfigValue(json) => {
                facts::check_json("override.config_value", json)?;
                OverrideChange::Config(json)
            }
            Value::Limit(limit) => {
                let included = limit.included_units;
                let included =
                    included.map(|u| parse::units("included_units", u, 0)).transpose()?;
                let name = parse::id("override.limit", &limit.limit)?;
                match limit.subject.as_str() {
                    "" => OverrideChange::Limit(name, included),
                    of => OverrideChange::SubjectLimit(parse::subject(of)?, name, included),
                }
            }
            Value::Rate(rate) => {
                let rate = rate.rate.as_ref().map(|rate| parse::rate("override.rate", rate));
                OverrideChange::Rate(rate.transpose()?)
            }
            Value::SpendCap(cap) => {
                let minor = |minor| parse::units("override.spend_cap.cap_minor", minor, 0);
                OverrideChange::SpendCap(
                    parse::id("override.spend_cap.limit", &cap.limit)?,
                    cap.cap_minor.map(minor).transpose()?,
                    parse::id("override.spend_cap.currency", &cap.currency)?,
                )
            }
        };
        let instant = |field, at: &Option<prost_types::Timestamp>| {
            at.as_ref().map(|at| parse::timestamp(field, at)).transpose()
        };
        let terms = OverrideTerms {
            starts_at: instant("override.starts_at", &one.starts_at)?,
            ends_at: instant("override.ends_at", &one.ends_at)?,
            at_least: one.at_least,
        };
        if let OverrideTerms { starts_at: Some(starts_at), ends_at: Some(ends_at), .. } = terms
            && ends_at <= starts_at
        {
            return Err(WireError::field("override.ends_at", "must be after starts_at"));
        }
        let engine = &self.core.shared.engine;
        let changed = engine.put_override(account, feature, &change, terms, self.now())?;
        self.changed(account, changed).await
    }

    async fn remove_override(
        &self,
        rq: &v1::DeleteOverrideRequest,
    ) -> Result<Option<v1::Account>, WireError> {
        let account = parse::id("account", &rq.account)?;
        let feature = parse::id("feature", &rq.feature)?;
        let said = |text: &str| !text.is_empty();
        let limit = Some(rq.limit.as_str()).filter(|limit| said(limit));
        let subject = Some(rq.subject.as_str()).filter(|subject| said(subject));
        let engine = &self.core.shared.engine;
        let changed = engine.delete_override(account, feature, (limit, subject), self.now())?;
        self.changed(account, changed).await
    }

    async fn set_facts(&self, rq: &v1::PutFactsRequest) -> Result<Option<v1::Account>, WireError> {
        let account = parse::id("account", &rq.account)?;
        let facts = rq.facts.as_ref().ok_or_else(|| WireError::field("facts", "is missing"))?;
        let facts = facts::to_json(facts)?;
        let changed = self.core.shared.engine.put_facts(account, facts, self.now())?;
        if let Some(serial) = self.core.shared.engine.serial(account) {
            self.core.shared.growth.touch(serial);
        }
        self.changed(account, changed).await
    }

    async fn erase(
        &self,
        rq: &v1::EraseSubjectRequest,
    ) -> Result<v1::EraseSubjectResponse, WireError> {
        let account = parse::id("account", &rq.account)?;
        // Everything is read before anything is forgotten.
        let member = match rq.seat_member.as_str() {
            "" => None,
            member => Some(parse::id("seat_member", member)?),
        };
        let is_seat_alone = rq.subject.is_empty() && member.is_some();
        let subject = if is_seat_alone { None } else { Some(parse::subject(&rq.subject)?) };
        let int = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let mut erased = v1::EraseSubjectResponse::default();
        if let Some(subject) = subject {
            erased.erased_names = int(self.erase_names(account, subject).await?);
        }
        if let Some(member) = member {
            let engine = &self.core.shared.engine;
            let (count, wait_for) = engine.erase_member(account, member, self.now())?;
            if let Some(seq) = wait_for {
                self.written(seq).await?;
            }
            erased.freed_seats = int(count);
        }
        Ok(erased)
    }

    async fn erase_names(
        &self,
        account: &str,
        subject: SubjectPath<'_>,
    ) -> Result<usize, WireError> {
        let erased = crate::grpc::late::caught_up(|| self.erase_once(account, subject));
        let (count, wait_for) = erased.await?;
        if let Some(seq) = wait_for {
            self.written(seq).await?;
        }
        Ok(count)
    }

    fn erase_once(
        &self,
        account: &str,
        subject: SubjectPath<'_>,
    ) -> Result<(usize, Option<Seq>), WireError> {
        let engine = &self.core.shared.engine;
        let seen = engine.look_erase(&*self.core.store, account, subject);
        let seen = seen.map_err(|error| WireError::archive(&error))?;
        Ok(engine.erase_subject(account, subject, &seen, self.now())?)
    }

    async fn set_cohorts(
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

    fn account(&self, rq: &v1::GetAccountRequest) -> Result<v1::Account, WireError> {
        let account = parse::id("account", &rq.account)?;
        let engine = &self.core.shared.engine;
        let profile = engine.profile(account).ok_or_else(|| WireError::unknown_account(account))?;
        Ok(show(&engine.catalog(), account, &profile, self.now()))
    }

    async fn accounts(
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

    async fn reload(&self) -> Result<v1::ReloadCatalogResponse, WireError> {
        let (reloaded, hints) = self.core.reload_catalog().await?;
        if let Some(seq) = reloaded.wait_for {
            self.written(seq).await?;
        }
        Ok(v1::ReloadCatalogResponse {
            catalog_revision: int(reloaded.revision),
            changed: reloaded.changed,
            hints,
        })
    }

    async fn move_clock(
        &self,
        rq: &v1::SetClockRequest,
    ) -> Result<v1::SetClockResponse, WireError> {
        use v1::set_clock_request::To;
        let clock = &self.core.shared.clock;
        let to = match rq.to.as_ref().ok_or_else(|| WireError::field("to", "is missing"))? {
            To::At(at) => parse::timestamp("at", at)?,
            To::Advance(by) => {
                let to = clock.now().plus(parse::duration_ms("advance", by)?);
                // The clock never goes back, so it must not leave the calendar either.
                let beyond = |_| WireError::field("advance", "leads beyond the calendar");
                parse::timestamp("advance", &timestamp(to)).map_err(beyond)?
            }
        };
        let before = clock.now();
        // A test waits for the hours of its story; steps of seconds are how traffic is replayed.
        let settles = clock.is_test() && (to == before || hour(before) < hour(to));
        // What was used before the leap was used before it, and nothing while it lasts.
        self.core.sweep(before, to).await;
        if settles {
            self.core.settle(before).await;
        }
        let now = clock.set(to)?;
        self.core.sweep(now, now).await;
        let seq = self.core.shared.engine.note_clock(true, now);
        // At once, so that a clock that leaps again does not leap over what this leap has brought.
        if settles && to != before {
            self.core.settle(now).await;
        } else {
            self.core.shared.engine.run_timers(now);
        }
        self.written(seq).await?;
        Ok(v1::SetClockResponse { now: Some(timestamp(now)) })
    }

    async fn back_up(&self, rq: &v1::BackupRequest) -> Result<v1::BackupResponse, WireError> {
        if rq.path.is_empty() || rq.path.contains('\0') {
            return Err(WireError::field("path", "must name a directory"));
        }
        let path = PathBuf::from(&rq.path);
        if path.is_relative() {
            let problem = "must be absolute: it is a path on the sidecar's machine";
            return Err(WireError::field("path", problem));
        }
        let core = Arc::clone(&self.core);
        let done = tokio::task::spawn_blocking(move || core.back_up(&path)).await;
        done.map_err(|e| internal(&e))?
    }

    fn status(&self) -> v1::GetStatusResponse {
        let core = &self.core;
        let counts = core.shared.engine.counts();
        let store = core.store.status();
        let (emitted, sinks) = core.signals();
        let pending = sinks.iter().map(|sink| sink.pending).sum();
        v1::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            catalog_revision: int(core.shared.engine.catalog().revision),
            now: Some(timestamp(self.now())),
            test_clock: core.shared.clock.is_test(),
            started_at: Some(timestamp(core.started_at)),
            accounts: int(counts.accounts),
            ledgers: int(counts.ledgers),
            idempotency_keys: int(counts.keys),
            idempotency_horizon: Some(present::duration(counts.key_horizon_ms)),
            journal_last: int(store.appended.0),
            journal_durable: int(store.durable.0),
            journal_refusal: store.refusal.map_or_else(String::new, |refusal| refusal.to_string()),
            signals_emitted: int(emitted),
            signals_pending: int(pending),
            ledgers_halted: int(counts.halted),
        }
    }
}

/// The hour of an instant, counted from 1970.
fn hour(at: Millis) -> i64 {
    at.0.div_euclid(HOUR_MS)
}

fn internal(error: &tokio::task::JoinError) -> WireError {
    tracing::error!(%error, "an administrative task failed");
    WireError::new(v1::ErrorReason::Internal, "the task failed; the sidecar's log says why")
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

fn show(catalog: &Catalog, account: &str, profile: &Profile, now: Millis) -> v1::Account {
    use v1::r#override::Value;
    let overrides = profile.overrides().iter().map(|one| v1::Override {
        feature: catalog.feature_text(one.feature).to_owned(),
        value: Some(match &one.value {
            OverrideValue::Switch { on } => Value::SwitchOn(*on),
            OverrideValue::Config { value_json } => Value::ConfigValue(value_json.to_string()),
            OverrideValue::Limit { limit, included_units } => Value::Limit(v1::LimitOverride {
                limit: catalog.text(*limit).to_owned(),
                included_units: included_units.map(int),
                subject: String::new(),
            }),
            OverrideValue::SubjectLimit { subject, limit, included_units } => {
                Value::Limit(v1::LimitOverride {
                    limit: catalog.text(*limit).to_owned(),
                    included_units: included_units.map(int),
                    subject: subject.to_string(),
                })
            }
            OverrideValue::Rate { rate } => {
                Value::Rate(v1::RateOverride { rate: rate.map(present::rate) })
            }
            OverrideValue::SpendCap { limit, cap_minor, currency } => {
                Value::SpendCap(v1::SpendCapOverride {
                    limit: catalog.text(*limit).to_owned(),
                    cap_minor: cap_minor.map(int),
                    currency: currency.to_string(),
                })
            }
        }),
        starts_at: (one.starts_at != Millis(i64::MIN)).then(|| timestamp(one.starts_at)),
        ends_at: (one.ends_at != Millis::FOREVER).then(|| timestamp(one.ends_at)),
        at_least: one.at_least,
    });
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
        overrides: overrides.collect(),
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

#[tonic::async_trait]
impl AdminService for Administration {
    type BacktestStream = backtest::BacktestStream;

    async fn backtest(
        &self,
        rq: Request<v1::BacktestRequest>,
    ) -> Result<Response<backtest::BacktestStream>, Status> {
        Ok(Response::new(self.backtested(rq.get_ref())?))
    }

    async fn put_subscription(
        &self,
        rq: Request<v1::PutSubscriptionRequest>,
    ) -> Result<Response<v1::PutSubscriptionResponse>, Status> {
        let account = self.subscribe(rq.get_ref()).await?;
        Ok(Response::new(v1::PutSubscriptionResponse { account }))
    }

    async fn move_plan(
        &self,
        rq: Request<v1::MovePlanRequest>,
    ) -> Result<Response<v1::MovePlanResponse>, Status> {
        Ok(Response::new(self.plan_moved(rq.into_inner()).await?))
    }

    async fn check_catalog(
        &self,
        rq: Request<v1::CheckCatalogRequest>,
    ) -> Result<Response<v1::CheckCatalogResponse>, Status> {
        Ok(Response::new(self.catalog_checked(rq.into_inner()).await?))
    }

    async fn grandfather_plan(
        &self,
        rq: Request<v1::GrandfatherPlanRequest>,
    ) -> Result<Response<v1::GrandfatherPlanResponse>, Status> {
        Ok(Response::new(self.grandfathered(rq.into_inner()).await?))
    }

    async fn set_account_status(
        &self,
        rq: Request<v1::SetAccountStatusRequest>,
    ) -> Result<Response<v1::SetAccountStatusResponse>, Status> {
        let account = self.set_status(rq.get_ref()).await?;
        Ok(Response::new(v1::SetAccountStatusResponse { account }))
    }

    async fn put_override(
        &self,
        rq: Request<v1::PutOverrideRequest>,
    ) -> Result<Response<v1::PutOverrideResponse>, Status> {
        let account = self.set_override(rq.get_ref()).await?;
        Ok(Response::new(v1::PutOverrideResponse { account }))
    }

    async fn delete_override(
        &self,
        rq: Request<v1::DeleteOverrideRequest>,
    ) -> Result<Response<v1::DeleteOverrideResponse>, Status> {
        let account = self.remove_override(rq.get_ref()).await?;
        Ok(Response::new(v1::DeleteOverrideResponse { account }))
    }

    async fn put_opening_balance(
        &self,
        rq: Request<v1::PutOpeningBalanceRequest>,
    ) -> Result<Response<v1::PutOpeningBalanceResponse>, Status> {
        Ok(Response::new(self.open_balance(rq.get_ref()).await?))
    }

    async fn put_facts(
        &self,
        rq: Request<v1::PutFactsRequest>,
    ) -> Result<Response<v1::PutFactsResponse>, Status> {
        let account = self.set_facts(rq.get_ref()).await?;
        Ok(Response::new(v1::PutFactsResponse { account }))
    }

    async fn erase_subject(
        &self,
        rq: Request<v1::EraseSubjectRequest>,
    ) -> Result<Response<v1::EraseSubjectResponse>, Status> {
        Ok(Response::new(self.erase(rq.get_ref()).await?))
    }

    async fn put_cohorts(
        &self,
        rq: Request<v1::PutCohortsRequest>,
    ) -> Result<Response<v1::PutCohortsResponse>, Status> {
        let account = self.set_cohorts(rq.get_ref()).await?;
        Ok(Response::new(v1::PutCohortsResponse { account }))
    }

    async fn get_account(
        &self,
        rq: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::GetAccountResponse>, Status> {
        let account = Some(self.account(rq.get_ref())?);
        Ok(Response::new(v1::GetAccountResponse { account }))
    }

    async fn list_accounts(
        &self,
        rq: Request<v1::ListAccountsRequest>,
    ) -> Result<Response<v1::ListAccountsResponse>, Status> {
        Ok(Response::new(self.accounts(rq.get_ref()).await?))
    }

    async fn get_readiness(
        &self,
        rq: Request<v1::GetReadinessRequest>,
    ) -> Result<Response<v1::GetReadinessResponse>, Status> {
        Ok(Response::new(self.readiness(rq.get_ref())?))
    }

    async fn list_opportunities(
        &self,
        rq: Request<v1::ListOpportunitiesRequest>,
    ) -> Result<Response<v1::ListOpportunitiesResponse>, Status> {
        Ok(Response::new(self.opportunities(rq.get_ref())?))
    }

    async fn get_trigger_report(
        &self,
        _: Request<v1::GetTriggerReportRequest>,
    ) -> Result<Response<v1::GetTriggerReportResponse>, Status> {
        Ok(Response::new(self.triggers()?))
    }

    async fn get_gate_report(
        &self,
        rq: Request<v1::GetGateReportRequest>,
    ) -> Result<Response<v1::GetGateReportResponse>, Status> {
        Ok(Response::new(self.gate_report(rq.get_ref()).await?))
    }

    async fn reload_catalog(
        &self,
        _: Request<v1::ReloadCatalogRequest>,
    ) -> Result<Response<v1::ReloadCatalogResponse>, Status> {
        Ok(Response::new(self.reload().await?))
    }

    async fn get_prompt_report(
        &self,
        rq: Request<v1::GetPromptReportRequest>,
    ) -> Result<Response<v1::GetPromptReportResponse>, Status> {
        Ok(Response::new(self.prompt_report(rq.get_ref()).await?))
    }

    async fn preview_prompt(
        &self,
        rq: Request<v1::PreviewPromptRequest>,
    ) -> Result<Response<v1::PreviewPromptResponse>, Status> {
        let prompt = Some(self.preview(rq.get_ref())?);
        Ok(Response::new(v1::PreviewPromptResponse { prompt }))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(self.status()))
    }

    async fn set_clock(
        &self,
        rq: Request<v1::SetClockRequest>,
    ) -> Result<Response<v1::SetClockResponse>, Status> {
        Ok(Response::new(self.move_clock(rq.get_ref()).await?))
    }

    async fn backup(
        &self,
        rq: Request<v1::BackupRequest>,
    ) -> Result<Response<v1::BackupResponse>, Status> {
        Ok(Response::new(self.back_up(rq.get_ref()).await?))
    }

    async fn list_sinks(
        &self,
        _: Request<v1::ListSinksRequest>,
    ) -> Result<Response<v1::ListSinksResponse>, Status> {
        Ok(Response::new(self.sinks()))
    }

    async fn set_sink_paused(
        &self,
        rq: Request<v1::SetSinkPausedRequest>,
    ) -> Result<Response<v1::SetSinkPausedResponse>, Status> {
        Ok(Response::new(self.pause(rq.get_ref()).await?))
    }

    async fn list_dead_letters(
        &self,
        rq: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        Ok(Response::new(self.dead_letters(rq.get_ref()).await?))
    }

    async fn replay_dead_letters(
        &self,
        rq: Request<v1::ReplayDeadLettersRequest>,
    ) -> Result<Response<v1::ReplayDeadLettersResponse>, Status> {
        Ok(Response::new(self.replay(rq.get_ref()).await?))
    }

    async fn put_grant(
        &self,
        rq: Request<v1::PutGrantRequest>,
    ) -> Result<Response<v1::PutGrantResponse>, Status> {
        Ok(Response::new(self.give(rq.get_ref()).await?))
    }

    async fn void_grant(
        &self,
        rq: Request<v1::VoidGrantRequest>,
    ) -> Result<Response<v1::VoidGrantResponse>, Status> {
        Ok(Response::new(self.take_back(rq.get_ref()).await?))
    }

    async fn list_grants(
        &self,
        rq: Request<v1::ListGrantsRequest>,
    ) -> Result<Response<v1::ListGrantsResponse>, Status> {
        Ok(Response::new(self.grants(rq.get_ref())?))
    }

    async fn list_credit_history(
        &self,
        rq: Request<v1::ListCreditHistoryRequest>,
    ) -> Result<Response<v1::ListCreditHistoryResponse>, Status> {
        Ok(Response::new(self.credit_history(rq.get_ref())?))
    }
}
