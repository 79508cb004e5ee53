//! From the answer of the Consume that crossed a threshold to the webhook that tells of it, while
//! a moderate load runs.

use super::Bench;
use super::receiver::{Log, listen};
use crate::error::Error;
use crate::files;
use crate::ids::{self, Keys};
use crate::limits::{BACKGROUND_BATCH, BACKGROUND_PAUSE, CROSSING_PAUSE, WEBHOOK_WITHIN};
use crate::load::{block_on, connect};
use crate::report::WebhookResult;
use crate::sidecar::Launch;
use headroom_proto::v1::entitlement_service_client::EntitlementServiceClient;
use headroom_proto::v1::operation::Operation as WireOperation;
use headroom_proto::v1::{ConsumeRequest, DecideRequest, Operation};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;

/// Accounts of the background load start here, far from those that cross.
const BACKGROUND_ACCOUNTS_FROM: usize = 10_000_000;

/// Measures the delay of so many crossings, one account each.
pub(super) fn run(bench: &Bench<'_>) -> Result<WebhookResult, Error> {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.map_err(Error::io("there is no free port"))?;
        let address = listener.local_addr().map_err(Error::io("there is no free port"))?;
        let answered = RefCell::new(HashMap::new());
        let log = Rc::new(RefCell::new(Log::default()));
        let (told, mut tellings) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn_local(listen(listener, log.clone(), told));

        let dir = &bench.dir.join("webhook");
        let catalog = files::crossing(address);
        let launch = Launch::headroom(&bench.program, dir, &bench.cores, &catalog)?;
        let running = launch.start_ready()?;
        tasks.spawn_local(background(running.unix.clone()));

        let crossings = bench.options.sizes().crossings;
        eprintln!("crossing {crossings} thresholds");
        cross(&running.unix, crossings, &answered).await?;
        let all_told = async {
            while log.borrow().received.len() < crossings as usize {
                if tellings.recv().await.is_none() {
                    break;
                }
            }
        };
        let complete = timeout(WEBHOOK_WITHIN, all_told).await.is_ok();
        // The background load ends before its server does.
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        let log = log.borrow();
        if !complete {
            let received = log.received.len();
            let problem = format!("told of {received} of {crossings} crossings");
            return Err(running.process.problem(problem));
        }
        running.process.stop()?;
        Ok(WebhookResult::new(&delays_ms(&answered.borrow(), &log), log.webhooks))
    })
}

/// Milliseconds from answer to webhook; one that came before the answer took none.
fn delays_ms(answered: &HashMap<String, Instant>, log: &Log) -> Vec<f64> {
    let delay = |(account, answered_at): (&String, &Instant)| {
        let received_at = log.received.get(account)?;
        Some(received_at.saturating_duration_since(*answered_at).as_secs_f64() * 1e3)
    };
    answered.iter().filter_map(delay).collect()
}

/// Crosses the threshold of one account after the other.
async fn cross(
    endpoint: &str,
    crossings: u32,
    answered: &RefCell<HashMap<String, Instant>>,
) -> Result<(), Error> {
    let mut client = EntitlementServiceClient::new(connect(endpoint).await?);
    let mut keys = Keys::new();
    let mut pace = interval(CROSSING_PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..crossings {
        pace.tick().await;
        let account = ids::account(number as usize);
        let request = consume(account.clone(), files::CROSSING_UNITS, &mut keys);
        let response = client.consume(request).await.map_err(Error::call("Consume"))?;
        answered.borrow_mut().insert(account, Instant::now());
        if !response.into_inner().decision.is_some_and(|decision| decision.allowed) {
            return Err(Error::WrongAnswer("a crossing was refused".to_owned()));
        }
    }
    Ok(())
}

fn consume(account: String, units: i64, keys: &mut Keys) -> ConsumeRequest {
    let (feature, idempotency_key) = (files::FEATURE.to_owned(), keys.next());
    ConsumeRequest { account, feature, units, idempotency_key, ..ConsumeRequest::default() }
}

/// One message of consumes per pause, each on an account of its own, until it is aborted.
async fn background(endpoint: String) -> Result<(), Error> {
    let mut client = EntitlementServiceClient::new(connect(&endpoint).await?);
    let (outgoing, incoming) = mpsc::channel(1);
    let mut keys = Keys::new();
    let mut pace = interval(BACKGROUND_PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = BACKGROUND_ACCOUNTS_FROM;
    let send = async {
        loop {
            pace.tick().await;
            let operations = (0..BACKGROUND_BATCH)
                .map(|_| {
                    number += 1;
                    let request = consume(ids::account(number), 1, &mut keys);
                    Operation { operation: Some(WireOperation::Consume(request)) }
                })
                .collect();
            if outgoing.send(DecideRequest { operations }).await.is_err() {
                return;
            }
        }
    };
    let receive = async {
        let opened = client.decide(ReceiverStream::new(incoming)).await;
        let mut responses = opened.map_err(Error::call("Decide"))?.into_inner();
        while responses.message().await.map_err(Error::call("Decide"))?.is_some() {}
        Err(Error::WrongAnswer("the server ended the background stream".to_owned()))
    };
    tokio::select! {
        () = send => Ok(()),
        ended = receive => ended,
    }
}
