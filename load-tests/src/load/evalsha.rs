//! One EVALSHA per request, in pipelines, on one connection.

use super::{Requests, Tally, Window};
use crate::error::Error;
use crate::limits::EVALSHA_BATCH;
use crate::redis_server::SCRIPT;
use redis::aio::MultiplexedConnection;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

/// Units nobody uses up, and the lifetimes of a counter and of a key in seconds.
const LIMIT_UNITS: &str = "9000000000000000";
const WINDOW_SECONDS: &str = "2678400";
const KEY_SECONDS: &str = "600";

pub(super) async fn load(
    endpoint: &str,
    in_flight: usize,
    requests: Requests,
    window: Arc<Window>,
) -> Result<Tally, Error> {
    let client = redis::Client::open(endpoint).map_err(Error::call("reading an endpoint"))?;
    let connected = client.get_multiplexed_async_connection().await;
    let mut connection = connected.map_err(Error::call("connecting to Redis"))?;
    let mut load = redis::cmd("SCRIPT");
    let loaded = load.arg("LOAD").arg(SCRIPT).query_async(&mut connection).await;
    let script: Rc<str> =
        loaded.map(|sha: String| sha.into()).map_err(Error::call("SCRIPT LOAD"))?;

    let shared = Rc::new(RefCell::new((requests, Tally::new())));
    let mut slots = JoinSet::new();
    for _ in 0..(in_flight / EVALSHA_BATCH).max(1) {
        slots.spawn_local(run_slot(
            connection.clone(),
            script.clone(),
            shared.clone(),
            window.clone(),
        ));
    }
    while let Some(slot) = slots.join_next().await {
        slot.expect("a slot does not panic")?;
    }
    let (_, tally) = Rc::into_inner(shared).expect("all slots have ended").into_inner();
    Ok(tally)
}

async fn run_slot(
    mut connection: MultiplexedConnection,
    script: Rc<str>,
    shared: Rc<RefCell<(Requests, Tally)>>,
    window: Arc<Window>,
) -> Result<(), Error> {
    loop {
        let sent_at = Instant::now();
        if window.is_over(sent_at) {
            return Ok(());
        }
        let pipeline = pipeline(&mut shared.borrow_mut().0, &script);
        let answers: Vec<(i64, i64)> =
            pipeline.query_async(&mut connection).await.map_err(Error::call("EVALSHA"))?;
        if answers.len() != EVALSHA_BATCH || answers.iter().any(|(allowed, _)| *allowed != 1) {
            return Err(Error::WrongAnswer("a load was refused by Redis".to_owned()));
        }
        shared.borrow_mut().1.note(&window, sent_at, Instant::now(), EVALSHA_BATCH);
    }
}

fn pipeline(requests: &mut Requests, script: &str) -> redis::Pipeline {
    let mut pipeline = redis::Pipeline::with_capacity(EVALSHA_BATCH);
    for _ in 0..EVALSHA_BATCH {
        let (account, key) = (requests.account(), requests.keys.next());
        let counter = format!("usage:{account}:calls:2026-11");
        let command = pipeline.cmd("EVALSHA").arg(script).arg(2).arg(counter).arg(key);
        command.arg(1).arg(LIMIT_UNITS).arg(WINDOW_SECONDS).arg(KEY_SECONDS);
    }
    pipeline
}
