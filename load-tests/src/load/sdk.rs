//! Calls of the Rust SDK: what a product sees that just calls.

use super::{Requests, Tally, Window};
use crate::error::Error;
use crate::files;
use headroom_sdk::Client;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Longer than any hiccup of a busy machine: a deadline missed would end the run.
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn load(
    endpoint: &str,
    in_flight: usize,
    requests: Requests,
    window: Arc<Window>,
) -> Result<Tally, Error> {
    let client = Client::builder(endpoint).deadline(DEADLINE).connect().await;
    let client = client.map_err(Error::call("connecting"))?;
    let shared = Rc::new(RefCell::new((requests, Tally::new())));
    let mut slots = JoinSet::new();
    for _ in 0..in_flight {
        slots.spawn_local(run_slot(client.clone(), shared.clone(), window.clone()));
    }
    while let Some(slot) = slots.join_next().await {
        slot.expect("a slot does not panic")?;
    }
    let (_, tally) = Rc::into_inner(shared).expect("all slots have ended").into_inner();
    Ok(tally)
}

async fn run_slot(
    client: Client,
    shared: Rc<RefCell<(Requests, Tally)>>,
    window: Arc<Window>,
) -> Result<(), Error> {
    loop {
        let sent_at = Instant::now();
        if window.is_over(sent_at) {
            return Ok(());
        }
        let account = shared.borrow_mut().0.account();
        let decision = client.consume(account, files::FEATURE, 1).await;
        if !decision.map_err(Error::call("Consume"))?.allowed {
            return Err(Error::WrongAnswer("a load was refused".to_owned()));
        }
        shared.borrow_mut().1.note(&window, sent_at, Instant::now(), 1);
    }
}
