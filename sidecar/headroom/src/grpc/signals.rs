//! SignalService: what others tell, taken once and answered when it is written.

use std::sync::Arc;

use headroom_engine::engine::EngineError;
use headroom_expansion::opportunity::{Opportunity, Stage, Update};
use headroom_proto::v1;
use headroom_proto::v1::signal_service_server::SignalService;
use tonic::{Request, Response, Status};

use crate::growth::pipeline::OpportunityError;
use crate::growth::publish::{Event, PublishError, What};
use crate::grpc::admin::facts;
use crate::grpc::parse;
use crate::grpc::present::timestamp;
use crate::grpc::shared::Shared;
use crate::grpc::status::WireError;
use crate::serve::Gate;

/// Events of one request. More are refused.
const EVENTS_MAX: usize = 256;

/// Bytes of what a signal has to say, as JSON. More is refused.
const DATA_BYTES_MAX: usize = 4 * 1024;

/// The service, as one worker serves it.
#[derive(Clone)]
pub struct Signals {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Where this worker's requests wait for the journal.
    pub gate: Gate,
}

impl Signals {
    /// Takes events, all of them or none; answers when they are written.
    ///
    /// # Errors
    /// When one of them is wrong, or nothing can be written now.
    pub async fn take(&self, rq: &v1::PublishRequest) -> Result<v1::PublishResponse, WireError> {
        if !(1..=EVENTS_MAX).contains(&rq.events.len()) {
            let problem = format!("are {}, must be 1 to {EVENTS_MAX}", rq.events.len());
            return Err(WireError::field("events", problem));
        }
        let events = rq.events.iter().enumerate().map(|(place, event)| parse_event(place, event));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        let now = self.shared.clock.now();
        let published = self.shared.growth.publish(&events, now)?;
        if let Some(seq) = published.wait_for {
            self.gate.written(seq).await?;
        }
        Ok(v1::PublishResponse { duplicates: published.duplicates })
    }
}

impl Signals {
    async fn update(
        &self,
        rq: &v1::UpdateOpportunityRequest,
    ) -> Result<v1::UpdateOpportunityResponse, WireError> {
        let account = parse::id("account", &rq.account)?;
        let id = parse::id("opportunity", &rq.opportunity)?;
        if !rq.signal.is_empty() {
            parse::id("signal", &rq.signal)?;
        }
        if rq.reason.len() > REASON_BYTES_MAX {
            let problem =
                format!("is {} bytes long, the most is {REASON_BYTES_MAX}", rq.reason.len());
            return Err(WireError::field("reason", problem));
        }
        let stage = stage(rq.stage()).ok_or_else(|| WireError::field("stage", "is missing"))?;
        let now = self.shared.clock.now();
        let at = rq.occurred_at.as_ref();
        let at = at.map(|at| parse::timestamp("occurred_at", at)).transpose()?;
        let since = at.unwrap_or(now);
        if since > now {
            return Err(WireError::field("occurred_at", format!("is after now ({now})")));
        }
        let update = Update { signal: &rq.signal, stage, since, reason: &rq.reason };
        let updated = self.shared.growth.update_opportunity(account, id, &update)?;
        if let Some(seq) = updated.wait_for {
            self.gate.written(seq).await?;
        }
        let opportunity = Some(opportunity(account, id, &updated.opportunity));
        Ok(v1::UpdateOpportunityResponse { opportunity, changed: updated.wait_for.is_some() })
    }
}

/// Bytes of why an opportunity was won or lost. More are refused.
const REASON_BYTES_MAX: usize = 256;

/// Stages on the wire.
const STAGES: [(v1::OpportunityStage, Stage); 7] = [
    (v1::OpportunityStage::Fired, Stage::Fired),
    (v1::OpportunityStage::Csql, Stage::Csql),
    (v1::OpportunityStage::Qualified, Stage::Qualified),
    (v1::OpportunityStage::Proposal, Stage::Proposal),
    (v1::OpportunityStage::Negotiation, Stage::Negotiation),
    (v1::OpportunityStage::Won, Stage::Won),
    (v1::OpportunityStage::Lost, Stage::Lost),
];

fn stage(wire: v1::OpportunityStage) -> Option<Stage> {
    STAGES.iter().find(|(known, _)| *known == wire).map(|(_, stage)| *stage)
}

/// An opportunity on the wire.
pub fn opportunity(account: &str, id: &str, one: &Opportunity) -> v1::Opportunity {
    let wire = STAGES.iter().find(|(_, stage)| *stage == one.stage).map(|(wire, _)| *wire);
    v1::Opportunity {
        account: account.to_owned(),
        opportunity: id.to_owned(),
        signal: one.signal.clone(),
        stage: wire.unwrap_or_default().into(),
        since: Some(timestamp(one.since)),
        reason: one.reason.clone(),
        due_at: one.due_at.map(timestamp),
        overdue: one.is_overdue,
    }
}

impl From<OpportunityError> for WireError {
    fn from(error: OpportunityError) -> WireError {
        let reason = match &error {
            OpportunityError::CatchingUp => v1::ErrorReason::CatchingUp,
            OpportunityError::UnknownAccount { .. } => v1::ErrorReason::UnknownAccount,
            OpportunityError::UnknownSignal { .. } => {
                return WireError::field("signal", error.to_string());
            }
            OpportunityError::Update(_) => return WireError::field("signal", error.to_string()),
            OpportunityError::TooMany { .. } => {
                return WireError::field("opportunity", error.to_string());
            }
            OpportunityError::Store(refusal) => {
                return EngineError::from(refusal.clone()).into();
            }
        };
        WireError::new(reason, error.to_string())
    }
}

fn parse_event(place: usize, event: &v1::Event) -> Result<Event<'_>, WireError> {
    use v1::event::What as Wire;
    let field = |name: &str| format!("events[{place}].{name}");
    let what = match event.what.as_ref() {
        None => return Err(WireError::field(&field("what"), "is missing")),
        Some(Wire::Activity(activity)) => {
            let name = |key: &str, text: &'_ str| match text {
                "" => Ok(()),
                text => parse::id(&field(key), text).map(drop),
            };
            name("activity.user", &activity.user)?;
            name("activity.feature", &activity.feature)?;
            let said = |text: &'_ str| !text.is_empty();
            if !said(&activity.user) && !said(&activity.feature) {
                return Err(WireError::field(&field("activity"), "names no user and no feature"));
            }
            What::Activity {
                user: Some(activity.user.as_str()).filter(|user| said(user)),
                feature: Some(activity.feature.as_str()).filter(|feature| said(feature)),
            }
        }
        Some(Wire::Signal(signal)) => {
            let data = signal.data.as_ref().map(facts::object).transpose()?;
            let data_json = data.unwrap_or_default();
            let data_json = serde_json::Value::from(data_json).to_string();
            if data_json.len() > DATA_BYTES_MAX {
                let problem =
                    format!("is {} bytes as JSON, the most is {DATA_BYTES_MAX}", data_json.len());
                return Err(WireError::field(&field("signal.data"), problem));
            }
            let signal = parse::id(&field("signal.signal"), &signal.signal)?;
            What::Signal { signal, data_json }
        }
        Some(Wire::Facts(said)) => What::Facts(facts::to_json(said)?),
    };
    let at = event.occurred_at.as_ref();
    Ok(Event {
        id: parse::id(&field("id"), &event.id)?,
        account: parse::id(&field("account"), &event.account)?,
        occurred_at: at.map(|at| parse::timestamp(&field("occurred_at"), at)).transpose()?,
        what,
    })
}

impl From<PublishError> for WireError {
    fn from(error: PublishError) -> WireError {
        match error {
            PublishError::CatchingUp => {
                WireError::new(v1::ErrorReason::CatchingUp, error.to_string())
            }
            PublishError::Event { place, field, problem } => {
                WireError::field(&format!("events[{place}].{field}"), problem)
            }
            PublishError::UnknownAccount { .. } => {
                WireError::new(v1::ErrorReason::UnknownAccount, error.to_string())
            }
            PublishError::Store(refusal) => EngineError::from(refusal).into(),
            PublishError::Facts(error) => error.into(),
        }
    }
}

#[tonic::async_trait]
impl SignalService for Signals {
    async fn publish(
        &self,
        rq: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        Ok(Response::new(self.take(rq.get_ref()).await?))
    }

    async fn update_opportunity(
        &self,
        rq: Request<v1::UpdateOpportunityRequest>,
    ) -> Result<Response<v1::UpdateOpportunityResponse>, Status> {
        Ok(Response::new(self.update(rq.get_ref()).await?))
    }
}
