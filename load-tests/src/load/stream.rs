//! The Decide stream: messages of one size, pipelined.

use super::{Requests, Tally, Window, connect, expect_allowed};
use crate::error::Error;
use headroom_proto::v1::entitlement_service_client::EntitlementServiceClient;
use headroom_proto::v1::operation::Operation as WireOperation;
use headroom_proto::v1::operation_result::Result as WireResult;
use headroom_proto::v1::{DecideRequest, DecideResponse, Operation};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub(super) async fn load(
    endpoint: &str,
    in_flight: usize,
    batch: usize,
    mut requests: Requests,
    window: Arc<Window>,
) -> Result<Tally, Error> {
    let messages = (in_flight / batch).max(1);
    let (outgoing, incoming) = mpsc::channel(messages);
    let mut sent_at = VecDeque::with_capacity(messages);
    for _ in 0..messages {
        send(&outgoing, &mut sent_at, message(&mut requests, batch))?;
    }
    let mut client = EntitlementServiceClient::new(connect(endpoint).await?);
    let opened = client.decide(ReceiverStream::new(incoming)).await;
    let mut responses = opened.map_err(Error::call("Decide"))?.into_inner();

    let mut tally = Tally::new();
    while let Some(first_sent_at) = sent_at.pop_front() {
        let response = responses.message().await.map_err(Error::call("Decide"))?;
        let response = response.ok_or_else(ended)?;
        let now = Instant::now();
        tally.note(&window, first_sent_at, now, batch);
        check(&response, batch)?;
        if !window.is_over(now) {
            send(&outgoing, &mut sent_at, message(&mut requests, batch))?;
        }
    }
    Ok(tally)
}

fn message(requests: &mut Requests, batch: usize) -> DecideRequest {
    let consume = || WireOperation::Consume(requests.consume());
    let mut operations = Vec::with_capacity(batch);
    operations.resize_with(batch, {
        let mut consume = consume;
        move || Operation { operation: Some(consume()) }
    });
    DecideRequest { operations }
}

fn send(
    outgoing: &mpsc::Sender<DecideRequest>,
    sent_at: &mut VecDeque<Instant>,
    message: DecideRequest,
) -> Result<(), Error> {
    // There is room: only so many are in flight. A closed channel means that the stream is gone.
    outgoing.try_send(message).map_err(|_| ended())?;
    sent_at.push_back(Instant::now());
    Ok(())
}

fn check(response: &DecideResponse, batch: usize) -> Result<(), Error> {
    if response.results.len() != batch {
        return Err(Error::WrongAnswer("a message with another number of results".to_owned()));
    }
    for result in &response.results {
        match &result.result {
            Some(WireResult::Consume(response)) => expect_allowed(response.decision.as_ref())?,
            other => return Err(Error::WrongAnswer(format!("to a Consume: {other:?}"))),
        }
    }
    Ok(())
}

fn ended() -> Error {
    Error::WrongAnswer("the server ended the stream".to_owned())
}
