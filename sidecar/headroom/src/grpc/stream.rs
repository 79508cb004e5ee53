//! The `Decide` stream: the same operations, pipelined.
//!
//! Messages are decided as they arrive; a message is answered when its last record is written. So
//! many messages can wait for one write, and answers keep the order of the requests.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use headroom_core::time::Millis;
use headroom_engine::ports::Seq;
use headroom_proto::v1;
use headroom_proto::v1::operation::Operation as Op;
use headroom_proto::v1::operation_result::Result as OpResult;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::grpc::entitlement::message;
use crate::grpc::parse::{self, OPERATIONS_MAX};
use crate::grpc::shared::{Answered, Shared};
use crate::grpc::status::WireError;
use crate::serve::Gate;
use crate::serve::drain::Drain;
use crate::serve::gate::{Pending, Waiter};
use crate::telemetry::metrics::{Operation, Recorder};

/// Messages of one stream that may wait for the journal at a time. When as many do, the stream is not
/// read further, and HTTP/2 flow control holds the client back.
const MESSAGES_WAITING_MAX: usize = 256;

/// The answers of one stream.
pub struct DecideStream {
    shared: Arc<Shared>,
    recorder: Recorder,
    gate: Gate,
    waiter: Waiter,
    inbound: Streaming<v1::DecideRequest>,
    waiting: VecDeque<Waiting>,
    // Set once the client has sent its last message, or failed, or the sidecar stops.
    end: Option<Result<(), Status>>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A message that is decided and not answered.
struct Waiting {
    // One reading for the message: its operations arrived together.
    arrived: Instant,
    pending: Option<Pending>,
    results: Vec<v1::OperationResult>,
    // What each was, and whether it wrote.
    kinds: Vec<(Operation, bool)>,
}

impl DecideStream {
    /// Answers the messages of `inbound`.
    pub fn new(
        shared: Arc<Shared>,
        recorder: Recorder,
        gate: Gate,
        drain: Drain,
        inbound: Streaming<v1::DecideRequest>,
    ) -> DecideStream {
        let (waiter, waiting) = (gate.waiter(), VecDeque::new());
        let stopping = Box::pin(drain.begun());
        DecideStream { shared, recorder, gate, waiter, inbound, waiting, end: None, stopping }
    }

    /// Decides what has arrived, as long as there is room for what waits.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        while self.end.is_none() && self.waiting.len() < MESSAGES_WAITING_MAX {
            match Pin::new(&mut self.inbound).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => match self.decide(message) {
                    Ok(waiting) => self.waiting.push_back(waiting),
                    Err(status) => self.end = Some(Err(status)),
                },
                Poll::Ready(Some(Err(status))) => self.end = Some(Err(status)),
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Pending => break,
            }
        }
        // What has arrived is answered; a stream that stays open would hold the stop up.
        if self.end.is_none() && self.stopping.as_mut().poll(cx).is_ready() {
            self.end = Some(Ok(()));
        }
    }

    fn decide(&self, message: v1::DecideRequest) -> Result<Waiting, Status> {
        let count = message.operations.len();
        if count == 0 || count > OPERATIONS_MAX {
            let problem = format!("has {count} entries, must have 1 to {OPERATIONS_MAX}");
            return Err(WireError::field("operations", problem).into());
        }
        // One reading for the message: its operations arrived together.
        let now = self.shared.clock.now();
        let mut last = None;
        let mut waiting = Waiting {
            arrived: Instant::now(),
            pending: None,
            results: Vec::with_capacity(count),
            kinds: Vec::with_capacity(count),
        };
        for operation in message.operations {
            let (kind, result) = self.decide_one(operation, now);
            let result = match result {
                Ok((wait_for, result)) => {
                    last = last.max(wait_for);
                    waiting.kinds.push((kind, wait_for.is_some()));
                    result
                }
                Err(error) => {
                    self.recorder.error(error.reason);
                    waiting.kinds.push((kind, false));
                    OpResult::Error(error.into_operation())
                }
            };
            waiting.results.push(v1::OperationResult { result: Some(result) });
        }
        waiting.pending = last.map(|seq| self.gate.appended(seq));
        Ok(waiting)
    }

    fn decide_one(
        &self,
        operation: v1::Operation,
        now: Millis,
    ) -> (Operation, Result<(Option<Seq>, OpResult), WireError>) {
        let shared = &*self.shared;
        let Some(operation) = operation.operation else {
            return (Operation::Check, Err(WireError::field("operation", "is missing")));
        };
        match operation {
            Op::Check(rq) => (
                Operation::Check,
                done(parse::check(&rq, now).and_then(|a| shared.feature(a)), |a| {
                    OpResult::Check(message::check(a))
                }),
            ),
            Op::Consume(rq) => (
                Operation::Consume,
                done(parse::consume(&rq, now).and_then(|a| shared.feature(a)), |a| {
                    OpResult::Consume(message::consume(a))
                }),
            ),
            Op::Reserve(rq) => (
                Operation::Reserve,
                done(parse::reserve(&rq, now).and_then(|a| shared.feature(a)), |a| {
                    OpResult::Reserve(message::reserve(a))
                }),
            ),
            Op::Extend(rq) => (
                Operation::Extend,
                done(parse::extend(&rq, now).and_then(|a| shared.hold(a)), |a| {
                    OpResult::Extend(message::extend(a))
                }),
            ),
            Op::Commit(rq) => (
                Operation::Commit,
                done(parse::commit(&rq, now).and_then(|a| shared.hold(a)), |a| {
                    OpResult::Commit(message::commit(a))
                }),
            ),
            Op::Release(rq) => (
                Operation::Release,
                done(parse::release(&rq, now).and_then(|a| shared.hold(a)), |a| {
                    OpResult::Release(message::release(a))
                }),
            ),
            Op::Record(rq) => (
                Operation::Record,
                done(parse::record(&rq, now).and_then(|a| shared.feature(a)), |a| {
                    OpResult::Record(message::record(a))
                }),
            ),
        }
    }

    /// Answers the oldest message, if its last record is written.
    fn put_out(&mut self, cx: &Context<'_>) -> Poll<Option<v1::DecideResponse>> {
        let Some(oldest) = self.waiting.front() else { return Poll::Ready(None) };
        let outcome = match oldest.pending {
            None => Ok(()),
            Some(pending) => match self.waiter.poll_written(cx, pending) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => return Poll::Pending,
            },
        };
        let Some(mut oldest) = self.waiting.pop_front() else { return Poll::Ready(None) };
        if let Err(unknown) = outcome {
            self.fail_writes(&mut oldest, &unknown.into());
        }
        let elapsed = oldest.arrived.elapsed();
        for ((kind, _), result) in oldest.kinds.iter().zip(&oldest.results) {
            if let Some(decision) = result.result.as_ref().and_then(decision_of) {
                let (verdict, denial) = (decision.verdict(), decision.denial());
                self.recorder.decision(*kind, verdict, denial, elapsed);
            }
        }
        Poll::Ready(Some(v1::DecideResponse { results: oldest.results }))
    }

    /// The journal failed under a message: whoever wrote is told that the outcome is unknown.
    fn fail_writes(&self, message: &mut Waiting, error: &WireError) {
        for ((_, is_write), result) in message.kinds.iter().zip(&mut message.results) {
            if *is_write {
                self.recorder.error(error.reason);
                result.result = Some(OpResult::Error(error.clone().into_operation()));
            }
        }
    }
}

fn done(
    answered: Result<Answered, WireError>,
    make: impl FnOnce(Answered) -> OpResult,
) -> Result<(Option<Seq>, OpResult), WireError> {
    let answered = answered?;
    Ok((answered.wait_for, make(answered)))
}

fn decision_of(result: &OpResult) -> Option<&v1::Decision> {
    match result {
        OpResult::Check(answer) => answer.decision.as_ref(),
        OpResult::Consume(answer) => answer.decision.as_ref(),
        OpResult::Reserve(answer) => answer.decision.as_ref(),
        OpResult::Extend(answer) => answer.decision.as_ref(),
        OpResult::Commit(answer) => answer.decision.as_ref(),
        OpResult::Release(answer) => answer.decision.as_ref(),
        OpResult::Record(answer) => answer.decision.as_ref(),
        OpResult::Error(_) => None,
    }
}

impl Stream for DecideStream {
    type Item = Result<v1::DecideResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.take_in(cx);
        if let Some(answer) = std::task::ready!(this.put_out(cx)) {
            return Poll::Ready(Some(Ok(answer)));
        }
        // Nothing waits: either the stream has ended, or the next message wakes us.
        match this.end.take() {
            None => Poll::Pending,
            Some(end) => {
                this.end = Some(Ok(()));
                Poll::Ready(end.err().map(Err))
            }
        }
    }
}
