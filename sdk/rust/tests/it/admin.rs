//! The admin client.

use crate::fake::serve_admin;
use headroom_proto::v1;
use headroom_proto::v1::admin_service_server::AdminService;
use headroom_sdk::{AdminClient, Error, ErrorReason};
use std::time::{Duration, SystemTime};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

#[tokio::test]
async fn an_endpoint_must_be_one() {
    let error = AdminClient::connect("localhost:7401").await.unwrap_err();
    assert!(matches!(error, Error::BadEndpoint { .. }), "{error:?}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn what_is_asked_is_on_the_wire_and_what_is_answered_comes_back() {
    let (endpoint, _tasks) = serve_admin(FakeAdmin).await;
    let admin = AdminClient::connect(endpoint).await.unwrap();

    let account = admin.set_account_status("acme", v1::AccountStatus::Suspended).await.unwrap();
    assert_eq!(account.account, "acme");
    assert_eq!(account.status(), v1::AccountStatus::Suspended);

    let account = admin.delete_override("acme", "tokens", None).await.unwrap();
    assert_eq!((account.account.as_str(), account.plan.as_str()), ("acme", "tokens/"));

    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(7_200);
    assert_eq!(admin.advance_clock(Duration::from_secs(7_200)).await.unwrap(), later);
    assert_eq!(admin.get_status().await.unwrap().version, "fake");
    assert_eq!(admin.list_accounts(7, Some("n")).await.unwrap().next_page_token, "n+7");
    assert_eq!(admin.move_plan("team", 3, None, true).await.unwrap(), 103);
    let keep =
        v1::GrandfatherPlanRequest { plan: "team".into(), dry_run: true, ..Default::default() };
    assert_eq!(admin.grandfather_plan(keep).await.unwrap().full, 1);
    let opening = v1::PutOpeningBalanceRequest {
        limit: "monthly".into(),
        used_units: 7,
        add: true,
        ..Default::default()
    };
    let opened = admin.put_opening_balance(opening).await.unwrap();
    assert_eq!((opened.state.unwrap().used_units, opened.replayed), (7, true));
    let account = admin.put_cohorts("acme", vec!["a".into()], vec!["b".into()]).await.unwrap();
    assert_eq!(account.cohorts, ["a", "b"]);
    assert_eq!(admin.check_catalog("text").await.unwrap().problems, ["text"]);
    let by_score = v1::ListAccountsRequest {
        page_size: 3,
        page_token: "n".into(),
        order: v1::AccountOrder::Pql.into(),
        include_readiness: true,
    };
    assert_eq!(admin.list_accounts_by(by_score).await.unwrap().next_page_token, "n+3PQL!");
    let readiness = admin.get_readiness("acme").await.unwrap().readiness.unwrap();
    assert_eq!(readiness.segment, "acme");
    assert_eq!(admin.get_gate_report(Duration::from_secs(60)).await.unwrap().accounts, 60);
    let rules = v1::BacktestRequest { rules: "four".into(), ..Default::default() };
    let mut done = 0;
    let report = admin.backtest(rules, |progress| done += progress.accounts_done).await.unwrap();
    assert_eq!((report.accounts, done), (4, 1));
    assert_eq!(admin.list_opportunities("acme").await.unwrap()[0].account, "acme");
    assert_eq!(admin.get_trigger_report().await.unwrap()[0].won, 3);
}

#[tokio::test]
async fn an_error_of_the_sidecar_keeps_its_reason_and_its_fields() {
    let (endpoint, _tasks) = serve_admin(FakeAdmin).await;
    let admin = AdminClient::connect(endpoint).await.unwrap();
    let error = admin.set_clock(SystemTime::UNIX_EPOCH).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ClockWentBack));
    assert_eq!(error.to_string(), "clock_went_back: the clock cannot go back");
    let Error::Rejected { violations, code, .. } = error else { panic!("{error:?}") };
    assert_eq!((code, violations[0].field.as_str()), (Code::FailedPrecondition, "at"));

    // An account is promised in the answer; an answer without one is an error.
    let error = admin.get_account("acme").await.unwrap_err();
    assert!(matches!(error, Error::UnexpectedAnswer { .. }), "{error:?}");
}

#[tokio::test]
async fn admin_calls_have_a_deadline() {
    let (endpoint, _tasks) = serve_admin(FakeAdmin).await;
    let deadline = Duration::from_millis(30);
    let admin = AdminClient::builder(endpoint).deadline(deadline).connect().await.unwrap();
    let error = admin.backup("/slow").await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { deadline: d } if d == deadline), "{error:?}");
}

#[tokio::test]
async fn sinks_are_seen_and_repaired() {
    let (endpoint, _tasks) = serve_admin(FakeAdmin).await;
    let admin = AdminClient::connect(endpoint).await.unwrap();
    assert_eq!(admin.list_sinks().await.unwrap()[0].sink, "growth");
    let sink = admin.set_sink_paused("growth", true).await.unwrap();
    assert_eq!((&*sink.sink, sink.paused), ("growth", true));
    assert_eq!(admin.list_dead_letters("growth").await.unwrap()[0].id, "growth");
    let ids = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(admin.replay_dead_letters("growth", ids).await.unwrap(), 2);
}

#[tokio::test]
async fn grants_are_given_taken_back_and_listed() {
    let (endpoint, _tasks) = serve_admin(FakeAdmin).await;
    let admin = AdminClient::connect(endpoint).await.unwrap();
    let give = v1::PutGrantRequest { grant: "pay".into(), units: 7, ..Default::default() };
    let made = admin.put_grant(give).await.unwrap().grant.unwrap();
    assert_eq!((made.grant.as_str(), made.units), ("pay", 7));
    let void = v1::VoidGrantRequest { reason: "why".into(), ..Default::default() };
    assert_eq!(admin.void_grant(void).await.unwrap().grant.unwrap().void_reason, "why");
    assert_eq!(admin.list_grants("acme", "ai").await.unwrap().grants[0].grant, "acmeai");
    let page = v1::ListCreditHistoryRequest { page_token: "9".into(), ..Default::default() };
    assert_eq!(admin.list_credit_history(page).await.unwrap().next_page_token, "9");
}

type Unary<T> = Result<Response<T>, Status>;

/// Answers with what it was asked.
struct FakeAdmin;

#[tonic::async_trait]
impl AdminService for FakeAdmin {
    type BacktestStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::BacktestResponse, Status>>>;

    async fn backtest(
        &self,
        request: Request<v1::BacktestRequest>,
    ) -> Result<Response<Self::BacktestStream>, Status> {
        use v1::backtest_response::Step;
        let accounts = i64::try_from(request.into_inner().rules.len()).unwrap();
        let step = |step| Ok(v1::BacktestResponse { step: Some(step) });
        let done = v1::BacktestProgress { accounts_done: 1, accounts };
        let report = v1::BacktestReport { accounts, ..Default::default() };
        let steps = vec![step(Step::Progress(done)), step(Step::Report(report))];
        Ok(Response::new(tokio_stream::iter(steps)))
    }

    async fn grandfather_plan(
        &self,
        rq: Request<v1::GrandfatherPlanRequest>,
    ) -> Result<Response<v1::GrandfatherPlanResponse>, Status> {
        let full = i64::from(rq.into_inner().dry_run);
        Ok(Response::new(v1::GrandfatherPlanResponse { accounts: 2, overrides: 5, full }))
    }

    async fn move_plan(
        &self,
        rq: Request<v1::MovePlanRequest>,
    ) -> Result<Response<v1::MovePlanResponse>, Status> {
        let rq = rq.into_inner();
        let accounts = i64::from(rq.to_version) + i64::from(rq.dry_run) * 100;
        Ok(Response::new(v1::MovePlanResponse { accounts }))
    }

    async fn put_opening_balance(
        &self,
        rq: Request<v1::PutOpeningBalanceRequest>,
    ) -> Result<Response<v1::PutOpeningBalanceResponse>, Status> {
        let rq = rq.into_inner();
        let state =
            v1::LimitState { limit: rq.limit, used_units: rq.used_units, ..Default::default() };
        Ok(Response::new(v1::PutOpeningBalanceResponse { state: Some(state), replayed: rq.add }))
    }

    async fn put_cohorts(
        &self,
        rq: Request<v1::PutCohortsRequest>,
    ) -> Unary<v1::PutCohortsResponse> {
        let v1::PutCohortsRequest { account, join, leave } = rq.into_inner();
        let cohorts = [join, leave].concat();
        let account = Some(v1::Account { account, cohorts, ..Default::default() });
        Ok(Response::new(v1::PutCohortsResponse { account }))
    }

    async fn put_grant(
        &self,
        request: Request<v1::PutGrantRequest>,
    ) -> Unary<v1::PutGrantResponse> {
        let v1::PutGrantRequest { grant, units, .. } = request.into_inner();
        let grant = Some(v1::Grant { grant, units, ..v1::Grant::default() });
        Ok(Response::new(v1::PutGrantResponse { grant, state: None }))
    }

    async fn void_grant(
        &self,
        request: Request<v1::VoidGrantRequest>,
    ) -> Unary<v1::VoidGrantResponse> {
        let v1::VoidGrantRequest { grant, reason, .. } = request.into_inner();
        let grant = Some(v1::Grant { grant, void_reason: reason, ..v1::Grant::default() });
        Ok(Response::new(v1::VoidGrantResponse { grant, state: None }))
    }

    async fn list_grants(
        &self,
        request: Request<v1::ListGrantsRequest>,
    ) -> Unary<v1::ListGrantsResponse> {
        let v1::ListGrantsRequest { account, pool } = request.into_inner();
        let grants = vec![v1::Grant { grant: account + &pool, ..v1::Grant::default() }];
        Ok(Response::new(v1::ListGrantsResponse { grants, state: None }))
    }

    async fn list_credit_history(
        &self,
        request: Request<v1::ListCreditHistoryRequest>,
    ) -> Unary<v1::ListCreditHistoryResponse> {
        let next_page_token = request.into_inner().page_token;
        Ok(Response::new(v1::ListCreditHistoryResponse { segments: Vec::new(), next_page_token }))
    }

    async fn check_catalog(
        &self,
        rq: Request<v1::CheckCatalogRequest>,
    ) -> Result<Response<v1::CheckCatalogResponse>, Status> {
        let problems = vec![rq.into_inner().catalog];
        Ok(Response::new(v1::CheckCatalogResponse { problems, hints: Vec::new() }))
    }

    async fn set_account_status(
        &self,
        request: Request<v1::SetAccountStatusRequest>,
    ) -> Unary<v1::SetAccountStatusResponse> {
        let v1::SetAccountStatusRequest { account, status } = request.into_inner();
        let account = v1::Account { account, status, ..v1::Account::default() };
        Ok(Response::new(v1::SetAccountStatusResponse { account: Some(account) }))
    }

    async fn delete_override(
        &self,
        request: Request<v1::DeleteOverrideRequest>,
    ) -> Unary<v1::DeleteOverrideResponse> {
        let v1::DeleteOverrideRequest { account, feature, limit, .. } = request.into_inner();
        let plan = format!("{feature}/{limit}");
        let account = v1::Account { account, plan, ..v1::Account::default() };
        Ok(Response::new(v1::DeleteOverrideResponse { account: Some(account) }))
    }

    async fn set_clock(
        &self,
        request: Request<v1::SetClockRequest>,
    ) -> Unary<v1::SetClockResponse> {
        match request.into_inner().to {
            Some(v1::set_clock_request::To::Advance(by)) => {
                let now = prost_types::Timestamp { seconds: by.seconds, nanos: by.nanos };
                Ok(Response::new(v1::SetClockResponse { now: Some(now) }))
            }
            _ => {
                let mut details = ErrorDetails::with_error_info("CLOCK_WENT_BACK", "headroom", []);
                details.add_bad_request_violation("at", "is in the past");
                let code = Code::FailedPrecondition;
                Err(Status::with_error_details(code, "the clock cannot go back", details))
            }
        }
    }

    async fn get_account(
        &self,
        _: Request<v1::GetAccountRequest>,
    ) -> Unary<v1::GetAccountResponse> {
        Ok(Response::new(v1::GetAccountResponse { account: None }))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Unary<v1::GetStatusResponse> {
        let version = "fake".to_owned();
        Ok(Response::new(v1::GetStatusResponse { version, ..v1::GetStatusResponse::default() }))
    }

    async fn list_accounts(
        &self,
        request: Request<v1::ListAccountsRequest>,
    ) -> Unary<v1::ListAccountsResponse> {
        let request = request.into_inner();
        let v1::ListAccountsRequest { page_size, page_token, include_readiness, .. } = &request;
        let readiness = if *include_readiness { "!" } else { "" };
        let order = request.order().as_str_name().trim_start_matches("ACCOUNT_ORDER_");
        let order = order.trim_start_matches("UNSPECIFIED");
        let next_page_token = format!("{page_token}+{page_size}{order}{readiness}");
        Ok(Response::new(v1::ListAccountsResponse { accounts: Vec::new(), next_page_token }))
    }

    async fn get_readiness(
        &self,
        request: Request<v1::GetReadinessRequest>,
    ) -> Unary<v1::GetReadinessResponse> {
        let segment = request.into_inner().account;
        let readiness = Some(v1::Readiness { segment, ..Default::default() });
        Ok(Response::new(v1::GetReadinessResponse { readiness, history: Vec::new() }))
    }

    async fn get_gate_report(
        &self,
        request: Request<v1::GetGateReportRequest>,
    ) -> Unary<v1::GetGateReportResponse> {
        let accounts = request.into_inner().since.map_or(0, |since| since.seconds);
        Ok(Response::new(v1::GetGateReportResponse { accounts, ..Default::default() }))
    }

    async fn list_opportunities(
        &self,
        request: Request<v1::ListOpportunitiesRequest>,
    ) -> Unary<v1::ListOpportunitiesResponse> {
        let account = request.into_inner().account;
        let opportunities = vec![v1::Opportunity { account, ..Default::default() }];
        Ok(Response::new(v1::ListOpportunitiesResponse { opportunities }))
    }

    async fn get_trigger_report(
        &self,
        _: Request<v1::GetTriggerReportRequest>,
    ) -> Unary<v1::GetTriggerReportResponse> {
        let triggers = vec![v1::Trigger { won: 3, ..Default::default() }];
        Ok(Response::new(v1::GetTriggerReportResponse { triggers }))
    }

    async fn backup(&self, _: Request<v1::BackupRequest>) -> Unary<v1::BackupResponse> {
        std::future::pending().await
    }

    async fn put_subscription(
        &self,
        _: Request<v1::PutSubscriptionRequest>,
    ) -> Unary<v1::PutSubscriptionResponse> {
        Err(Status::unimplemented("put_subscription"))
    }
    async fn get_prompt_report(
        &self,
        _: Request<v1::GetPromptReportRequest>,
    ) -> Unary<v1::GetPromptReportResponse> {
        Err(Status::unimplemented("get_prompt_report"))
    }
    async fn preview_prompt(
        &self,
        _: Request<v1::PreviewPromptRequest>,
    ) -> Unary<v1::PreviewPromptResponse> {
        Err(Status::unimplemented("preview_prompt"))
    }
    async fn put_override(
        &self,
        _: Request<v1::PutOverrideRequest>,
    ) -> Unary<v1::PutOverrideResponse> {
        Err(Status::unimplemented("put_override"))
    }
    async fn put_facts(&self, _: Request<v1::PutFactsRequest>) -> Unary<v1::PutFactsResponse> {
        Err(Status::unimplemented("put_facts"))
    }
    async fn erase_subject(
        &self,
        _: Request<v1::EraseSubjectRequest>,
    ) -> Unary<v1::EraseSubjectResponse> {
        Err(Status::unimplemented("erase_subject"))
    }
    async fn reload_catalog(
        &self,
        _: Request<v1::ReloadCatalogRequest>,
    ) -> Unary<v1::ReloadCatalogResponse> {
        Err(Status::unimplemented("reload_catalog"))
    }

    async fn list_sinks(&self, _: Request<v1::ListSinksRequest>) -> Unary<v1::ListSinksResponse> {
        let sink = v1::Sink { sink: "growth".to_owned(), ..v1::Sink::default() };
        Ok(Response::new(v1::ListSinksResponse { sinks: vec![sink] }))
    }

    async fn set_sink_paused(
        &self,
        request: Request<v1::SetSinkPausedRequest>,
    ) -> Unary<v1::SetSinkPausedResponse> {
        let v1::SetSinkPausedRequest { sink, paused } = request.into_inner();
        let sink = v1::Sink { sink, paused, ..v1::Sink::default() };
        Ok(Response::new(v1::SetSinkPausedResponse { sink: Some(sink) }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Unary<v1::ListDeadLettersResponse> {
        let letter = v1::DeadLetter { id: request.into_inner().sink, ..v1::DeadLetter::default() };
        Ok(Response::new(v1::ListDeadLettersResponse { dead_letters: vec![letter] }))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<v1::ReplayDeadLettersRequest>,
    ) -> Unary<v1::ReplayDeadLettersResponse> {
        let replaying = request.into_inner().ids.len().try_into().unwrap();
        Ok(Response::new(v1::ReplayDeadLettersResponse { replaying }))
    }
}
