//! SeatService: parse, decide, wait until written, answer.

use std::sync::Arc;

use headroom_core::catalog::FeatureKind;
use headroom_core::decide::SeatOp;
use headroom_core::decision::OpError;
use headroom_core::limits::INVITATION_MS_MAX;
use headroom_core::seats::{Seat, SeatState};
use headroom_core::time::Millis;
use headroom_engine::engine::EngineError;
use headroom_engine::seats::{SeatReply, SeatRequest};
use headroom_proto::encoded::Fields;
use headroom_proto::v1;
use headroom_proto::v1::seat_service_server::SeatService;
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::grpc::parse::{Cause, Include};
use crate::grpc::present;
use crate::grpc::receipts::{About, Receipts};
use crate::grpc::shared::{Answered, Shared};
use crate::grpc::status::WireError;
use crate::grpc::{page, parse};
use crate::serve::Gate;
use crate::telemetry::metrics::{Operation, Recorder};

/// The service, as one worker serves it.
#[derive(Clone)]
pub struct Seats {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Where this worker's requests wait for the journal.
    pub gate: Gate,
    /// Where this worker counts.
    pub recorder: Recorder,
    /// This worker's latest decisions.
    pub receipts: Receipts,
}

/// What every operation answers.
struct Answer {
    decision: Option<v1::Decision>,
    seat: Option<v1::Seat>,
    changed: bool,
}

impl Seats {
    async fn answer(
        &self,
        (account, feature): (&str, &str),
        op: Result<SeatOp<'_>, WireError>,
        include: Option<&v1::Include>,
    ) -> Result<Answer, Status> {
        let arrived = self.shared.clock.read();
        let include = parse::include_of(include);
        let (answered, answer) = op
            .and_then(|op| self.decide((account, feature), op, include?, arrived.now))
            .map_err(|error| self.failed(error))?;
        if let Some(pending) = answered.wait_for.map(|seq| self.gate.appended(seq))
            && let Err(unknown) = self.gate.settled(pending).await
        {
            return Err(self.failed(unknown.into()));
        }
        answered.count(&self.recorder, arrived.real.elapsed().unwrap_or_default());
        Ok(answer)
    }

    fn decide(
        &self,
        (account, feature): (&str, &str),
        op: SeatOp<'_>,
        mut include: Include<'_>,
        now: Millis,
    ) -> Result<(Answered, Answer), WireError> {
        if matches!(op, SeatOp::Invite { .. }) {
            include.cause = Cause::Invitation;
        }
        let shared = &self.shared;
        let wants = parse::wants(include);
        let (account, feature) = (parse::id("account", account)?, parse::id("feature", feature)?);
        let catalog = shared.engine.catalog();
        let SeatReply { reply, seat, changed } =
            shared.engine.seat(&catalog, &SeatRequest { account, feature, op, now, wants })?;
        let operation = match op {
            SeatOp::Invite { .. } => Operation::InviteSeat,
            SeatOp::Claim { .. } => Operation::ClaimSeat,
            SeatOp::Release { .. } => Operation::ReleaseSeat,
            SeatOp::Transfer { .. } => Operation::TransferSeat,
        };
        let about = About { operation, account, feature, units: 1, whole: None };
        let (receipts, mut bytes) = (&self.receipts, Vec::new());
        let out = &mut Fields::new(&mut bytes);
        let answered = shared.answer(receipts, about, (&catalog, now), include, &reply, out);
        // These answers come seldom, so their messages are made of the same bytes that others send.
        let decision = v1::CheckResponse::decode(&*bytes).map_err(WireError::from)?.decision;
        Ok((answered, Answer { decision, seat: seat.as_ref().map(self::seat), changed }))
    }

    fn list(&self, rq: &v1::ListSeatsRequest) -> Result<v1::ListSeatsResponse, WireError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let account = parse::id("account", &rq.account)?;
        let name = parse::id("feature", &rq.feature)?;
        let size = page::size(rq.page_size)?;
        // The token is the last member of the page before.
        let after = match rq.page_token.as_str() {
            "" => None,
            token => Some(parse::id("page_token", token)?),
        };
        let catalog = shared.engine.catalog();
        let feature =
            catalog.feature_named(name).ok_or_else(|| WireError::unknown_feature(name))?;
        let kind = &catalog.feature(feature).kind;
        if !matches!(kind, FeatureKind::Seats { .. }) {
            return Err(EngineError::Op(OpError::NoSeats { kind: kind.as_str() }).into());
        }
        let seats = shared.engine.seats(&catalog, account, feature, (after, size + 1), now);
        let mut seats = seats.ok_or_else(|| WireError::unknown_account(account))?;
        let has_more = size < seats.len();
        seats.truncate(size);
        let last = seats.last().filter(|_| has_more);
        Ok(v1::ListSeatsResponse {
            next_page_token: last.map_or_else(String::new, |seat| seat.member.to_string()),
            seats: seats.iter().map(seat).collect(),
            as_of: Some(present::timestamp(now)),
            test_clock: shared.clock.is_test(),
        })
    }

    fn failed(&self, error: WireError) -> Status {
        self.recorder.error(error.reason);
        error.into()
    }
}

fn seat(seat: &Seat) -> v1::Seat {
    let (state, expires_at) = match seat.state {
        SeatState::Invited { expires_at } => (v1::SeatState::Invited, Some(expires_at)),
        SeatState::Claimed => (v1::SeatState::Claimed, None),
    };
    v1::Seat {
        member: seat.member.to_string(),
        state: state.into(),
        since: Some(present::timestamp(seat.since)),
        expires_at: expires_at.map(present::timestamp),
    }
}

fn invite(rq: &v1::InviteSeatRequest) -> Result<SeatOp<'_>, WireError> {
    let lasts_ms = match &rq.invite_for {
        None => None,
        Some(span) => {
            let ms = parse::duration_ms("invite_for", span)?;
            let is_possible = (1..=INVITATION_MS_MAX).contains(&ms);
            let problem = "must be 1 ms to 366 days";
            Some(is_possible.then_some(ms).ok_or_else(|| WireError::field("invite_for", problem))?)
        }
    };
    Ok(SeatOp::Invite { member: parse::id("member", &rq.member)?, lasts_ms })
}

fn transfer(rq: &v1::TransferSeatRequest) -> Result<SeatOp<'_>, WireError> {
    let from = parse::id("from_member", &rq.from_member)?;
    let to = parse::id("to_member", &rq.to_member)?;
    if from == to {
        return Err(WireError::field("to_member", "is the member whose seat it is"));
    }
    Ok(SeatOp::Transfer { from, to })
}

#[tonic::async_trait]
impl SeatService for Seats {
    async fn invite_seat(
        &self,
        rq: Request<v1::InviteSeatRequest>,
    ) -> Result<Response<v1::InviteSeatResponse>, Status> {
        let rq = rq.get_ref();
        let answer =
            self.answer((&rq.account, &rq.feature), invite(rq), rq.include.as_ref()).await?;
        let Answer { decision, seat, changed } = answer;
        Ok(Response::new(v1::InviteSeatResponse { decision, seat, changed }))
    }

    async fn claim_seat(
        &self,
        rq: Request<v1::ClaimSeatRequest>,
    ) -> Result<Response<v1::ClaimSeatResponse>, Status> {
        let rq = rq.get_ref();
        let op = parse::id("member", &rq.member).map(|member| SeatOp::Claim { member });
        let answer = self.answer((&rq.account, &rq.feature), op, rq.include.as_ref()).await?;
        let Answer { decision, seat, changed } = answer;
        Ok(Response::new(v1::ClaimSeatResponse { decision, seat, changed }))
    }

    async fn release_seat(
        &self,
        rq: Request<v1::ReleaseSeatRequest>,
    ) -> Result<Response<v1::ReleaseSeatResponse>, Status> {
        let rq = rq.get_ref();
        let op = parse::id("member", &rq.member).map(|member| SeatOp::Release { member });
        let answer = self.answer((&rq.account, &rq.feature), op, rq.include.as_ref()).await?;
        let Answer { decision, changed, .. } = answer;
        Ok(Response::new(v1::ReleaseSeatResponse { decision, changed }))
    }

    async fn transfer_seat(
        &self,
        rq: Request<v1::TransferSeatRequest>,
    ) -> Result<Response<v1::TransferSeatResponse>, Status> {
        let rq = rq.get_ref();
        let answer =
            self.answer((&rq.account, &rq.feature), transfer(rq), rq.include.as_ref()).await?;
        let Answer { decision, seat, changed } = answer;
        Ok(Response::new(v1::TransferSeatResponse { decision, seat, changed }))
    }

    async fn list_seats(
        &self,
        rq: Request<v1::ListSeatsRequest>,
    ) -> Result<Response<v1::ListSeatsResponse>, Status> {
        self.list(rq.get_ref()).map(Response::new).map_err(|error| self.failed(error))
    }
}
