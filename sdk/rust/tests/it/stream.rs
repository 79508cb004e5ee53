//! The stream: batches, bounds, broken connections.

use crate::fake::{Fake, Reaction};
use headroom_sdk::{Client, Decision, Error, OPERATIONS_PER_MESSAGE_MAX};
use std::collections::BTreeSet;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Makes so many consumes at once, with the keys `0`, `1`, ...
fn consume_at_once(client: &Client, calls: usize) -> JoinSet<(String, Result<Decision, Error>)> {
    let mut tasks = JoinSet::new();
    for number in 0..calls {
        let key = number.to_string();
        let call = client.consume("acme", "calls", 1).idempotency_key(&key);
        tasks.spawn(async move { (key, call.await) });
    }
    tasks
}

#[tokio::test]
async fn calls_that_overlap_share_messages_and_get_their_own_answer() {
    let fake = Fake::on_tcp(|_| Reaction::Answer).await;
    let client = Client::connect(&fake.endpoint).await.unwrap();
    let calls = 1_000;
    for (key, decision) in consume_at_once(&client, calls).join_all().await {
        assert_eq!(decision.unwrap().decision_id, key);
    }
    let batches = fake.batches();
    assert_eq!(batches.iter().sum::<usize>(), calls);
    assert!(batches.len() < calls / 10, "{batches:?}");
    assert!(batches.iter().all(|&operations| operations <= OPERATIONS_PER_MESSAGE_MAX));
}

#[tokio::test]
async fn calls_one_after_the_other_are_not_held_back() {
    let fake = Fake::on_tcp(|_| Reaction::Answer).await;
    let client = Client::connect(&fake.endpoint).await.unwrap();
    for _ in 0..5 {
        client.consume("acme", "calls", 1).await.unwrap();
    }
    assert_eq!(fake.batches(), [1; 5]);
}

#[tokio::test]
async fn a_full_queue_is_an_error_at_once() {
    let fake = Fake::on_tcp(|_| Reaction::Answer).await;
    let builder = Client::builder(&fake.endpoint).operations_queued_max(3);
    let client = builder.connect().await.unwrap();
    // The stream runs on this thread too, so all calls are queued before it takes the first.
    let mut full = 0;
    for (_, decision) in consume_at_once(&client, 10).join_all().await {
        match decision {
            Ok(_) => {}
            Err(error @ Error::QueueFull { operations_max: 3 }) => {
                assert!(error.is_transient() && !error.may_have_counted());
                full += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(full, 7);
    client.consume("acme", "calls", 1).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_the_wrong_length_is_an_error_and_the_next_call_works() {
    let fake = Fake::on_tcp(|message| match message {
        0 => Reaction::Shorten,
        _ => Reaction::Answer,
    });
    let fake = fake.await;
    let client = Client::connect(&fake.endpoint).await.unwrap();
    let error = client.consume("acme", "calls", 1).await.unwrap_err();
    assert!(matches!(error, Error::UnexpectedAnswer { .. }), "{error:?}");
    assert!(error.may_have_counted());
    client.consume("acme", "calls", 1).await.unwrap();
}

/// Relays TCP connections to `target` and cuts the first ones: each after so many bytes of
/// answers, so that the sidecar has counted what the client never hears of.
async fn cutting_relay(target: String, cut_after: &'static [u64]) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut relays = JoinSet::new();
        for number in 0.. {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&target).await.unwrap();
            let bytes_max = cut_after.get(number).copied().unwrap_or(u64::MAX);
            relays.spawn(relay(client, server, bytes_max));
        }
    });
    (endpoint, tasks)
}

/// Copies both ways until `bytes_max` bytes came from the server; then both sockets close.
async fn relay(mut client: TcpStream, mut server: TcpStream, bytes_max: u64) {
    use tokio::io::AsyncReadExt;
    let (mut from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let mut from_server = from_server.take(bytes_max);
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

#[tokio::test]
async fn a_connection_cut_mid_flight_loses_and_doubles_nothing() {
    let fake = Fake::on_tcp(|_| Reaction::Answer).await;
    let target = fake.endpoint.trim_start_matches("http://").to_owned();
    let (endpoint, _relay) = cutting_relay(target, &[9_000, 50_001]).await;
    // A cut takes little time; the deadline is long so that a slow machine passes too.
    let builder = Client::builder(endpoint).deadline(std::time::Duration::from_secs(20));
    let client = builder.connect().await.unwrap();

    let calls = 1_000;
    let mut answered = BTreeSet::new();
    for (key, decision) in consume_at_once(&client, calls).join_all().await {
        assert_eq!(decision.expect("retried until it is answered").decision_id, key);
        assert!(answered.insert(key), "each call is answered once");
    }
    let sent: usize = fake.batches().iter().sum();
    assert!(sent > calls, "the cuts made some operations travel again: {sent}");
    let memory = fake.memory.lock().unwrap();
    assert_eq!(memory.counted.values().sum::<i64>(), i64::try_from(calls).unwrap());
}
