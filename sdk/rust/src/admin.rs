//! The admin client: accounts, overrides, grants, the catalog, the clock, the sinks.
//!
//! It speaks the messages of the contract. Calls are not retried: an operator sees the error and
//! decides.

use crate::endpoint;
use crate::error::Error;
use crate::limits::ADMIN_DEADLINE_DEFAULT;
use headroom_proto::v1;
use headroom_proto::v1::admin_service_client::AdminServiceClient;
use std::time::{Duration, SystemTime};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// A connection to a sidecar's admin listener.
#[derive(Debug, Clone)]
pub struct AdminClient {
    client: AdminServiceClient<Channel>,
    deadline: Duration,
}

/// Settings of an [`AdminClient`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until connect"]
pub struct AdminBuilder {
    endpoint: String,
    deadline: Duration,
}

impl AdminBuilder {
    /// Replaces the deadline of calls, [`ADMIN_DEADLINE_DEFAULT`].
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Connects.
    pub async fn connect(self) -> Result<AdminClient, Error> {
        let endpoint = endpoint::parse(&self.endpoint, self.deadline)?;
        let channel = endpoint.connect().await.map_err(Error::unreachable)?;
        Ok(AdminClient { client: AdminServiceClient::new(channel), deadline: self.deadline })
    }
}

impl AdminClient {
    /// Connects to the admin listener, `http://host:port` or `unix:/path`.
    pub async fn connect(endpoint: impl Into<String>) -> Result<AdminClient, Error> {
        AdminClient::builder(endpoint).connect().await
    }

    /// Settings first.
    pub fn builder(endpoint: impl Into<String>) -> AdminBuilder {
        AdminBuilder { endpoint: endpoint.into(), deadline: ADMIN_DEADLINE_DEFAULT }
    }

    /// Puts an account on a plan; a new account is created.
    pub async fn put_subscription(
        &self,
        request: v1::PutSubscriptionRequest,
    ) -> Result<v1::Account, Error> {
        let mut client = self.client.clone();
        account(self.within_deadline(client.put_subscription(request)).await?.account)
    }

    /// Moves accounts to a version of the plan that they are on: one, or all that are on another. Says
    /// how many that is; with `dry_run` it is only counted.
    pub async fn move_plan(
        &self,
        plan: impl Into<String>,
        to_version: u32,
        account_id: Option<&str>,
        dry_run: bool,
    ) -> Result<u64, Error> {
        let request = v1::MovePlanRequest {
            plan: plan.into(),
            to_version: i32::try_from(to_version).unwrap_or(i32::MAX),
            account: account_id.unwrap_or_default().to_owned(),
            dry_run,
        };
        let response = self.within_deadline(self.client.clone().move_plan(request)).await?;
        Ok(response.accounts.cast_unsigned())
    }

    /// Gives every account on a plan what the plan gives now, to keep; with `dry_run` it is only counted.
    pub async fn grandfather_plan(
        &self,
        request: v1::GrandfatherPlanRequest,
    ) -> Result<v1::GrandfatherPlanResponse, Error> {
        self.within_deadline(self.client.clone().grandfather_plan(request)).await
    }

    /// Counts what became of a prompt.
    pub async fn get_prompt_report(
        &self,
        request: v1::GetPromptReportRequest,
    ) -> Result<v1::GetPromptReportResponse, Error> {
        self.within_deadline(self.client.clone().get_prompt_report(request)).await
    }

    /// Renders a prompt for an account, and counts nothing.
    pub async fn preview_prompt(
        &self,
        request: v1::PreviewPromptRequest,
    ) -> Result<v1::Prompt, Error> {
        let answer = self.within_deadline(self.client.clone().preview_prompt(request)).await?;
        answer.prompt.ok_or(Error::UnexpectedAnswer { problem: "no prompt" })
    }

    /// Suspends an account or lets it go on.
    pub async fn set_account_status(
        &self,
        account_id: impl Into<String>,
        status: v1::AccountStatus,
    ) -> Result<v1::Account, Error> {
        let request =
            v1::SetAccountStatusRequest { account: account_id.into(), status: status.into() };
        let mut client = self.client.clone();
        account(self.within_deadline(client.set_account_status(request)).await?.account)
    }

    /// Replaces what the plan says about one feature, or one limit of it, for one account.
    pub async fn put_override(
        &self,
        account_id: impl Into<String>,
        r#override: v1::Override,
    ) -> Result<v1::Account, Error> {
        let request =
            v1::PutOverrideRequest { account: account_id.into(), r#override: Some(r#override) };
        let mut client = self.client.clone();
        account(self.within_deadline(client.put_override(request)).await?.account)
    }

    /// Takes overrides of a feature back: of one limit, or all.
    pub async fn delete_override(
        &self,
        account_id: impl Into<String>,
        feature: impl Into<String>,
        limit: Option<&str>,
    ) -> Result<v1::Account, Error> {
        let request = v1::DeleteOverrideRequest {
            account: account_id.into(),
            feature: feature.into(),
            limit: limit.unwrap_or_default().to_owned(),
            subject: String::new(),
        };
        let mut client = self.client.clone();
        account(self.within_deadline(client.delete_override(request)).await?.account)
    }

    /// Takes overrides of a feature back that are for one subject inside the account: of one limit, or all.
    pub async fn delete_subject_override(
        &self,
        account_id: impl Into<String>,
        feature: impl Into<String>,
        limit: Option<&str>,
        subject: impl Into<String>,
    ) -> Result<v1::Account, Error> {
        let request = v1::DeleteOverrideRequest {
            account: account_id.into(),
            feature: feature.into(),
            limit: limit.unwrap_or_default().to_owned(),
            subject: subject.into(),
        };
        let mut client = self.client.clone();
        account(self.within_deadline(client.delete_override(request)).await?.account)
    }

    /// Brings over what an account has used of a limit in its current window before it came to Headroom.
    /// The same request again counts once.
    pub async fn put_opening_balance(
        &self,
        request: v1::PutOpeningBalanceRequest,
    ) -> Result<v1::PutOpeningBalanceResponse, Error> {
        self.within_deadline(self.client.clone().put_opening_balance(request)).await
    }

    /// Sets facts of an account; a null removes a fact, facts not named stay.
    pub async fn put_facts(
        &self,
        account_id: impl Into<String>,
        facts: prost_types::Struct,
    ) -> Result<v1::Account, Error> {
        let request = v1::PutFactsRequest { account: account_id.into(), facts: Some(facts) };
        let mut client = self.client.clone();
        account(self.within_deadline(client.put_facts(request)).await?.account)
    }

    /// Forgets the name of a subject of an account and of all below it; returns how many there were.
    pub async fn erase_subject(
        &self,
        account_id: impl Into<String>,
        subject: impl Into<String>,
    ) -> Result<u32, Error> {
        let (account, subject) = (account_id.into(), subject.into());
        let request = v1::EraseSubjectRequest { account, subject, ..Default::default() };
        let mut client = self.client.clone();
        let erased = self.within_deadline(client.erase_subject(request)).await?.erased_names;
        Ok(u32::try_from(erased).unwrap_or(0))
    }

    /// Forgets a member of seats, and gives back all seats of it; returns how many there were.
    pub async fn erase_seat_member(
        &self,
        account_id: impl Into<String>,
        member: impl Into<String>,
    ) -> Result<u32, Error> {
        let (account, seat_member) = (account_id.into(), member.into());
        let request = v1::EraseSubjectRequest { account, seat_member, ..Default::default() };
        let mut client = self.client.clone();
        let freed = self.within_deadline(client.erase_subject(request)).await?.freed_seats;
        Ok(u32::try_from(freed).unwrap_or(0))
    }

    /// Puts an account into cohorts, and takes it out of others.
    pub async fn put_cohorts(
        &self,
        account_id: impl Into<String>,
        join: Vec<String>,
        leave: Vec<String>,
    ) -> Result<v1::Account, Error> {
        let request = v1::PutCohortsRequest { account: account_id.into(), join, leave };
        let mut client = self.client.clone();
        account(self.within_deadline(client.put_cohorts(request)).await?.account)
    }

    /// Shows one account.
    pub async fn get_account(&self, account_id: impl Into<String>) -> Result<v1::Account, Error> {
        let request = v1::GetAccountRequest { account: account_id.into() };
        let mut client = self.client.clone();
        account(self.within_deadline(client.get_account(request)).await?.account)
    }

    /// Lists accounts in the order they were first seen: the page after `page_token`, or the first.
    pub async fn list_accounts(
        &self,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<v1::ListAccountsResponse, Error> {
        let request = v1::ListAccountsRequest {
            page_size: i32::try_from(page_size).unwrap_or(i32::MAX),
            page_token: page_token.unwrap_or_default().to_owned(),
            ..Default::default()
        };
        self.list_accounts_by(request).await
    }

    /// Lists accounts in any order, also with how each stands.
    pub async fn list_accounts_by(
        &self,
        request: v1::ListAccountsRequest,
    ) -> Result<v1::ListAccountsResponse, Error> {
        self.within_deadline(self.client.clone().list_accounts(request)).await
    }

    /// How an account stands: whether it is to be sold to, what is in the way, and its scores.
    pub async fn get_readiness(
        &self,
        account_id: impl Into<String>,
    ) -> Result<v1::GetReadinessResponse, Error> {
        let request = v1::GetReadinessRequest { account: account_id.into() };
        self.within_deadline(self.client.clone().get_readiness(request)).await
    }

    /// The opportunities of an account, by id.
    pub async fn list_opportunities(
        &self,
        account_id: impl Into<String>,
    ) -> Result<Vec<v1::Opportunity>, Error> {
        let request = v1::ListOpportunitiesRequest { account: account_id.into() };
        let response =
            self.within_deadline(self.client.clone().list_opportunities(request)).await?;
        Ok(response.opportunities)
    }

    /// What became of the opportunities that came of each signal.
    pub async fn get_trigger_report(&self) -> Result<Vec<v1::Trigger>, Error> {
        let request = v1::GetTriggerReportRequest {};
        let response =
            self.within_deadline(self.client.clone().get_trigger_report(request)).await?;
        Ok(response.triggers)
    }

    /// How many accounts pass the readiness gate, and how many of the upgrades of the time given had.
    pub async fn get_gate_report(
        &self,
        since: Duration,
    ) -> Result<v1::GetGateReportResponse, Error> {
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let since = Some(prost_types::Duration { seconds, nanos: 0 });
        let request = v1::GetGateReportRequest { since };
        self.within_deadline(self.client.clone().get_gate_report(request)).await
    }

    /// Tries rules of growth on the past. `progress` is told how far it is; the call has no deadline, as it
    /// looks at all accounts.
    pub async fn backtest(
        &self,
        request: v1::BacktestRequest,
        mut progress: impl FnMut(v1::BacktestProgress),
    ) -> Result<v1::BacktestReport, Error> {
        use v1::backtest_response::Step;
        let mut steps = self.within_deadline(self.client.clone().backtest(request)).await?;
        while let Some(step) =
            steps.message().await.map_err(|status| Error::from_status(status, None))?
        {
            match step.step {
                Some(Step::Progress(done)) => progress(done),
                Some(Step::Report(report)) => return Ok(report),
                None => {}
            }
        }
        Err(Error::UnexpectedAnswer { problem: "no report" })
    }

    /// Reads the catalog file again.
    pub async fn reload_catalog(&self) -> Result<v1::ReloadCatalogResponse, Error> {
        let request = v1::ReloadCatalogRequest {};
        self.within_deadline(self.client.clone().reload_catalog(request)).await
    }

    /// Says what a reload would say of a catalog's text, and changes nothing.
    pub async fn check_catalog(
        &self,
        catalog: impl Into<String>,
    ) -> Result<v1::CheckCatalogResponse, Error> {
        let request = v1::CheckCatalogRequest { catalog: catalog.into() };
        self.within_deadline(self.client.clone().check_catalog(request)).await
    }

    /// Shows how the sidecar is.
    pub async fn get_status(&self) -> Result<v1::GetStatusResponse, Error> {
        let request = v1::GetStatusRequest {};
        self.within_deadline(self.client.clone().get_status(request)).await
    }

    /// Sets the test clock. It never goes back. Returns what time it is then.
    pub async fn set_clock(&self, at: SystemTime) -> Result<SystemTime, Error> {
        self.move_clock(v1::set_clock_request::To::At(at.into())).await
    }

    /// Advances the test clock. Returns what time it is then.
    pub async fn advance_clock(&self, by: Duration) -> Result<SystemTime, Error> {
        let by = prost_types::Duration::try_from(by);
        // More than the wire can say is more than the sidecar's clock can show.
        let by = by.unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 });
        self.move_clock(v1::set_clock_request::To::Advance(by)).await
    }

    /// Writes a copy of the running data directory into an empty directory of the sidecar's
    /// machine.
    pub async fn backup(&self, path: impl Into<String>) -> Result<v1::BackupResponse, Error> {
        let request = v1::BackupRequest { path: path.into() };
        self.within_deadline(self.client.clone().backup(request)).await
    }

    /// Shows how each sink of the catalog stands.
    pub async fn list_sinks(&self) -> Result<Vec<v1::Sink>, Error> {
        let request = v1::ListSinksRequest {};
        Ok(self.within_deadline(self.client.clone().list_sinks(request)).await?.sinks)
    }

    /// Lets a sink rest, which loses nothing and outlasts a restart, or go on.
    pub async fn set_sink_paused(
        &self,
        sink: impl Into<String>,
        paused: bool,
    ) -> Result<v1::Sink, Error> {
        let request = v1::SetSinkPausedRequest { sink: sink.into(), paused };
        let response = self.within_deadline(self.client.clone().set_sink_paused(request)).await?;
        response.sink.ok_or(Error::UnexpectedAnswer { problem: "without a sink" })
    }

    /// Lists the signals that a sink has given up.
    pub async fn list_dead_letters(
        &self,
        sink: impl Into<String>,
    ) -> Result<Vec<v1::DeadLetter>, Error> {
        let request = v1::ListDeadLettersRequest { sink: sink.into() };
        let response = self.within_deadline(self.client.clone().list_dead_letters(request)).await?;
        Ok(response.dead_letters)
    }

    /// Sends dead letters of a sink again, all of them if none is named. Says how many are on their
    /// way because of it.
    pub async fn replay_dead_letters(
        &self,
        sink: impl Into<String>,
        ids: Vec<String>,
    ) -> Result<u32, Error> {
        let request = v1::ReplayDeadLettersRequest { sink: sink.into(), ids };
        let response =
            self.within_deadline(self.client.clone().replay_dead_letters(request)).await?;
        Ok(response.replaying.cast_unsigned())
    }

    /// Gives units to a pool of credits. The same grant again changes nothing.
    pub async fn put_grant(
        &self,
        request: v1::PutGrantRequest,
    ) -> Result<v1::PutGrantResponse, Error> {
        self.within_deadline(self.client.clone().put_grant(request)).await
    }

    /// Takes back what is left of a grant.
    pub async fn void_grant(
        &self,
        request: v1::VoidGrantRequest,
    ) -> Result<v1::VoidGrantResponse, Error> {
        self.within_deadline(self.client.clone().void_grant(request)).await
    }

    /// Lists the grants of a pool.
    pub async fn list_grants(
        &self,
        account_id: impl Into<String>,
        pool: impl Into<String>,
    ) -> Result<v1::ListGrantsResponse, Error> {
        let request = v1::ListGrantsRequest { account: account_id.into(), pool: pool.into() };
        self.within_deadline(self.client.clone().list_grants(request)).await
    }

    /// Lists the history of a pool, a page at a time.
    pub async fn list_credit_history(
        &self,
        request: v1::ListCreditHistoryRequest,
    ) -> Result<v1::ListCreditHistoryResponse, Error> {
        self.within_deadline(self.client.clone().list_credit_history(request)).await
    }

    async fn move_clock(&self, to: v1::set_clock_request::To) -> Result<SystemTime, Error> {
        let request = v1::SetClockRequest { to: Some(to) };
        let response = self.within_deadline(self.client.clone().set_clock(request)).await?;
        let now = response.now.and_then(|now| SystemTime::try_from(now).ok());
        now.ok_or(Error::UnexpectedAnswer { problem: "without a time" })
    }

    async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(status, Some(self.deadline))),
            Err(_elapsed) => Err(Error::DeadlineExceeded { deadline: self.deadline }),
        }
    }
}

fn account(account: Option<v1::Account>) -> Result<v1::Account, Error> {
    account.ok_or(Error::UnexpectedAnswer { problem: "without an account" })
}
