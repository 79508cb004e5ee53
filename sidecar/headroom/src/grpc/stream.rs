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
use headroom_proto::borrowed::Raw;
use headroom_proto::encoded::{Encoded, Fields};
use headroom_proto::v1;
use prost::Message;
use smallvec::SmallVec;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::grpc::entitlement::ANSWER_BYTES_USUAL;
use crate::grpc::parse::{self, CHECK_ALL, CONSUME_ALL, CORRECT, OPERATIONS_MAX, RESERVE_ALL};
use crate::grpc::receipts::Receipts;
use crate::grpc::shared::{Answered, Shared};
use crate::grpc::status::WireError;
use crate::grpc::{all, late};
use crate::serve::Gate;
use crate::serve::drain::Drain;
use crate::serve::gate::{Pending, Waiter};
use crate::telemetry::metrics::Recorder;

/// Messages of one stream that may wait for the journal at a time. When as many do, the stream is not
/// read further, and HTTP/2 flow control holds the client back.
const MESSAGES_WAITING_MAX: usize = 256;

/// The answers of one stream.
pub struct DecideStream {
    shared: Arc<Shared>,
    recorder: Recorder,
    receipts: Receipts,
    gate: Gate,
    waiter: Waiter,
    inbound: Streaming<Raw>,
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
    // The results, encoded, one after the other.
    bytes: Vec<u8>,
    done: Vec<Done>,
}

/// What became of one operation.
#[derive(Clone, Copy)]
struct Done {
    // `None`: an error.
    answered: Option<Answered>,
    // Where its result ends in the message.
    end: usize,
}

impl DecideStream {
    /// Answers the messages of `inbound`.
    pub fn new(
        shared: Arc<Shared>,
        (recorder, receipts): (Recorder, Receipts),
        gate: Gate,
        drain: Drain,
        inbound: Streaming<Raw>,
    ) -> DecideStream {
        let (waiter, waiting) = (gate.waiter(), VecDeque::new());
        let stopping = Box::pin(drain.begun());
        DecideStream {
            shared,
            recorder,
            receipts,
            gate,
            waiter,
            inbound,
            waiting,
            end: None,
            stopping,
        }
    }

    /// Decides what has arrived, as long as there is room for what waits.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        while self.end.is_none() && self.waiting.len() < MESSAGES_WAITING_MAX {
            match Pin::new(&mut self.inbound).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => match self.decide(message.as_bytes()) {
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

    fn decide(&self, message: &[u8]) -> Result<Waiting, Status> {
        let operations: SmallVec<[_; 16]> = parse::operations(message)
            .take(OPERATIONS_MAX + 1)
            .collect::<Result<_, _>>()
            .map_err(WireError::from)?;
        let count = operations.len();
        if count == 0 || count > OPERATIONS_MAX {
            let count = parse::operations(message).count();
            let problem = format!("has {count} entries, must have 1 to {OPERATIONS_MAX}");
            return Err(WireError::field("operations", problem).into());
        }
        // One reading for the message: its operations arrived together.
        let now = self.shared.clock.now();
        let mut last = None;
        let mut waiting = Waiting {
            arrived: Instant::now(),
            pending: None,
            bytes: Vec::with_capacity(count * ANSWER_BYTES_USUAL),
            done: Vec::with_capacity(count),
        };
        for operation in operations {
            let start = waiting.bytes.len();
            let decided =
                operation.and_then(|(kind, rq)| self.decide_one(kind, rq, now, &mut waiting.bytes));
            let answered = match decided {
                Ok(answered) => {
                    last = last.max(answered.wait_for);
                    Some(answered)
                }
                Err(error) => {
                    self.recorder.error(error.reason);
                    waiting.bytes.truncate(start);
                    put_error(&mut waiting.bytes, error);
                    None
                }
            };
            waiting.done.push(Done { answered, end: waiting.bytes.len() });
        }
        waiting.pending = last.map(|seq| self.gate.appended(seq));
        Ok(waiting)
    }

    /// Decides one operation, and appends its result to `bytes`; on an error what was appended has
    /// no meaning.
    fn decide_one(
        &self,
        kind: u32,
        rq: &[u8],
        now: Millis,
        bytes: &mut Vec<u8>,
    ) -> Result<Answered, WireError> {
        let (shared, receipts) = (&*self.shared, &self.receipts);
        put_result(bytes, kind, |out| match kind {
            1 => shared.feature(receipts, parse::check(rq, now)?, out),
            2 => shared.feature(receipts, parse::consume(rq, now)?, out),
            3 => {
                let rq = v1::ReserveRequest::decode(rq)?;
                shared.feature(receipts, parse::reserve(&rq, now)?, out)
            }
            4 => {
                let rq = v1::ExtendRequest::decode(rq)?;
                shared.hold(receipts, parse::extend(&rq, now)?, out)
            }
            5 => {
                let rq = v1::CommitRequest::decode(rq)?;
                shared.hold(receipts, parse::commit(&rq, now)?, out)
            }
            6 => {
                let rq = v1::ReleaseRequest::decode(rq)?;
                shared.hold(receipts, parse::release(&rq, now)?, out)
            }
            7 => {
                let rq = v1::RecordRequest::decode(rq)?;
                match late::record(&rq, now, shared.restate_ms)? {
                    Some(asked) => shared.late(receipts, &asked, out),
                    None => shared.feature(receipts, parse::record(&rq, now)?, out),
                }
            }
            CORRECT => {
                let rq = v1::CorrectRequest::decode(rq)?;
                shared.late(receipts, &late::correct(&rq, now, shared.restate_ms)?, out)
            }
            CHECK_ALL => {
                let rq = v1::CheckAllRequest::decode(rq)?;
                shared.all(receipts, &all::check(&rq, now)?, out)
            }
            CONSUME_ALL => {
                let rq = v1::ConsumeAllRequest::decode(rq)?;
                shared.all(receipts, &all::consume(&rq, now)?, out)
            }
            RESERVE_ALL => {
                let rq = v1::ReserveAllRequest::decode(rq)?;
                shared.all(receipts, &all::reserve(&rq, now)?, out)
            }
            10 => {
                let rq = v1::AllocateRequest::decode(rq)?;
                shared.feature(receipts, parse::allocate(&rq, now)?, out)
            }
            _ => Err(WireError::field("operation", "is missing")),
        })
    }

    /// Answers the oldest message, if its last record is written.
    fn put_out(&mut self, cx: &Context<'_>) -> Poll<Option<Encoded>> {
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
        for done in &oldest.done {
            if let Some(answered) = done.answered {
                answered.count(&self.recorder, elapsed);
            }
        }
        Poll::Ready(Some(Encoded::new(oldest.bytes)))
    }

    /// The journal failed under a message: whoever wrote is told that the outcome is unknown.
    fn fail_writes(&self, message: &mut Waiting, error: &WireError) {
        let answers = std::mem::take(&mut message.bytes);
        let mut start = 0;
        for done in &mut message.done {
            let answer = &answers[start..done.end];
            start = done.end;
            if done.answered.is_some_and(|answered| answered.wait_for.is_some()) {
                self.recorder.error(error.reason);
                done.answered = None;
                put_error(&mut message.bytes, error.clone());
            } else {
                message.bytes.extend_from_slice(answer);
            }
            done.end = message.bytes.len();
        }
    }
}

/// The tag of `DecideResponse.results`.
const RESULTS: u32 = 1;
/// The tag of `OperationResult.error`.
const ERROR: u32 = 8;

/// Appends one result: the response of an operation, which has the tag there that the operation has
/// in `Operation`.
fn put_result<T>(bytes: &mut Vec<u8>, kind: u32, answer: impl FnOnce(&mut Fields<'_>) -> T) -> T {
    Fields::new(bytes).message(RESULTS, |out| out.message(kind, answer))
}

fn put_error(bytes: &mut Vec<u8>, error: WireError) {
    Fields::new(bytes).message(RESULTS, |out| out.generated(ERROR, &error.into_operation()));
}

impl Stream for DecideStream {
    type Item = Result<Encoded, Status>;

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
