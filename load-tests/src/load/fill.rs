//! Filling a server through the stream, as fast as it goes: one Record per account and turn.

use super::connect;
use crate::error::Error;
use crate::files;
use crate::ids::{self, Keys};
use headroom_proto::v1::entitlement_service_client::EntitlementServiceClient;
use headroom_proto::v1::operation::Operation as WireOperation;
use headroom_proto::v1::operation_result::Result as WireResult;
use headroom_proto::v1::{DecideRequest, Operation, RecordRequest};
use std::ops::Range;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Operations a message, and messages in flight.
const BATCH: usize = 128;
const MESSAGES_IN_FLIGHT: usize = 8;

/// Records one unit for each account of the range.
pub(crate) async fn fill(endpoint: &str, accounts: Range<usize>) -> Result<(), Error> {
    let mut client = EntitlementServiceClient::new(connect(endpoint).await?);
    let (outgoing, incoming) = mpsc::channel(MESSAGES_IN_FLIGHT);
    let send = async {
        let mut keys = Keys::new();
        let numbers: Vec<usize> = accounts.clone().collect();
        for numbers in numbers.chunks(BATCH) {
            let operations = numbers.iter().map(|&number| record(number, &mut keys)).collect();
            // A closed channel means that the stream is gone; reading says why.
            if outgoing.send(DecideRequest { operations }).await.is_err() {
                break;
            }
        }
        drop(outgoing);
        Ok::<(), Error>(())
    };
    let receive = async {
        let opened = client.decide(ReceiverStream::new(incoming)).await;
        let mut responses = opened.map_err(Error::call("Decide"))?.into_inner();
        let mut counted = 0;
        while let Some(response) = responses.message().await.map_err(Error::call("Decide"))? {
            for result in response.results {
                match result.result {
                    Some(WireResult::Record(record))
                        if record.decision.as_ref().is_some_and(|decision| decision.allowed) =>
                    {
                        counted += 1;
                    }
                    other => return Err(Error::WrongAnswer(format!("to a Record: {other:?}"))),
                }
            }
        }
        Ok(counted)
    };
    let ((), counted) = tokio::try_join!(send, receive)?;
    if counted != accounts.len() {
        let expected = accounts.len();
        return Err(Error::WrongAnswer(format!("{counted} of {expected} records were counted")));
    }
    Ok(())
}

fn record(number: usize, keys: &mut Keys) -> Operation {
    Operation {
        operation: Some(WireOperation::Record(RecordRequest {
            account: ids::account(number),
            feature: files::FEATURE.to_owned(),
            units: 1,
            idempotency_key: keys.next(),
            ..Default::default()
        })),
    }
}
