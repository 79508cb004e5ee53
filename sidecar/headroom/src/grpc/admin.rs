//! AdminService: accounts, the catalog, the clock, backups, the sinks, and how the sidecar is.

use std::path::PathBuf;
use std::sync::Arc;

use headroom_core::time::Millis;
use headroom_engine::admin::Changed;
use headroom_engine::ports::Seq;
use headroom_forecast::limits::HOUR_MS;
use headroom_proto::v1;
use headroom_proto::v1::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use crate::grpc::parse;
use crate::grpc::present::{self, int, timestamp};
use crate::grpc::status::WireError;
use crate::serve::Gate;
use crate::sidecar::Core;

mod accounts;
pub mod backtest;
mod erasure;
pub mod facts;
mod grants;
mod growth;
mod opening;
mod overrides;
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
        Ok(Some(accounts::show(&catalog, account, &changed.profile, self.now())))
    }

    fn now(&self) -> Millis {
        self.core.shared.clock.now()
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
