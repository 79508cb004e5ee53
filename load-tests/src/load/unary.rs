//! Unary calls: so many slots, each with one call in flight, over a few connections.

use super::{Requests, Tally, Window, connect, expect_allowed};
use crate::error::Error;
use headroom_proto::v1::entitlement_service_client::EntitlementServiceClient;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;
use tonic::transport::Channel;

pub(super) async fn load(
    endpoint: &str,
    in_flight: usize,
    connections: usize,
    requests: Requests,
    window: Arc<Window>,
) -> Result<Tally, Error> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        clients.push(EntitlementServiceClient::new(connect(endpoint).await?));
    }
    let shared = Rc::new(RefCell::new((requests, Tally::new())));
    let mut slots = JoinSet::new();
    for slot in 0..in_flight {
        let client = clients[slot % connections].clone();
        slots.spawn_local(run_slot(client, shared.clone(), window.clone()));
    }
    while let Some(slot) = slots.join_next().await {
        slot.expect("a slot does not panic")?;
    }
    drop(clients);
    let (_, tally) = Rc::into_inner(shared).expect("all slots have ended").into_inner();
    Ok(tally)
}

async fn run_slot(
    mut client: EntitlementServiceClient<Channel>,
    shared: Rc<RefCell<(Requests, Tally)>>,
    window: Arc<Window>,
) -> Result<(), Error> {
    loop {
        let sent_at = Instant::now();
        if window.is_over(sent_at) {
            return Ok(());
        }
        let request = shared.borrow_mut().0.consume();
        let response = client.consume(request).await.map_err(Error::call("Consume"))?;
        expect_allowed(response.into_inner().decision.as_ref())?;
        shared.borrow_mut().1.note(&window, sent_at, Instant::now(), 1);
    }
}
