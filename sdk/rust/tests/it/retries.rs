//! What is tried again, with which key, and for how long.

use crate::fake::{Fake, Reaction, Script};
use headroom_sdk::{ATTEMPTS_MAX, Client, Error, ErrorReason};
use std::time::{Duration, Instant};

/// A client whose deadline no machine is slow enough to miss.
async fn patient_client(fake: &Fake) -> Client {
    Client::builder(&fake.endpoint).deadline(Duration::from_secs(20)).connect().await.unwrap()
}

#[track_caller]
fn assert_one_key(keys: &[String], times: usize) {
    assert_eq!(keys, vec![keys[0].clone(); times]);
}

#[tokio::test]
async fn a_retry_keeps_the_key() {
    let scripts: [Script; 3] = [
        |message| if message == 0 { Reaction::CountAndBreak } else { Reaction::Answer },
        |message| match message {
            0 => Reaction::Fail(ErrorReason::OutcomeUnknown),
            _ => Reaction::Answer,
        },
        |message| match message {
            0 => Reaction::Fail(ErrorReason::ShuttingDown),
            _ => Reaction::Answer,
        },
    ];
    for script in scripts {
        let fake = Fake::on_tcp(script).await;
        let client = patient_client(&fake).await;
        let decision = client.consume("acme", "calls", 5).await.unwrap();
        assert_one_key(&fake.keys(), 2);
        assert_eq!(decision.binding.unwrap().used_units, 5);
        assert_eq!(fake.memory.lock().unwrap().counted.len(), 1);
    }
}

#[tokio::test]
async fn refused_input_is_not_sent_again() {
    for (script, reason) in [
        ((|_| Reaction::Fail(ErrorReason::InvalidField)) as Script, ErrorReason::InvalidField),
        (|_| Reaction::Fail(ErrorReason::IdempotencyKeyReused), ErrorReason::IdempotencyKeyReused),
        (|_| Reaction::Fail(ErrorReason::NoRoom), ErrorReason::NoRoom),
    ] {
        let fake = Fake::on_tcp(script).await;
        let client = patient_client(&fake).await;
        let error = client.consume("acme", "calls", 5).await.unwrap_err();
        assert_eq!(error.reason(), Some(reason));
        assert_eq!(fake.batches(), [1]);
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let fake = Fake::on_tcp(|_| Reaction::CountAndBreak).await;
    let client = patient_client(&fake).await;
    let error = client.consume("acme", "calls", 5).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.is_transient() && error.may_have_counted());
    assert_one_key(&fake.keys(), usize::try_from(ATTEMPTS_MAX).unwrap());
}

#[tokio::test]
async fn the_deadline_is_kept_and_a_stuck_stream_is_replaced() {
    let fake = Fake::on_tcp(|message| match message {
        0 => Reaction::Hang,
        _ => Reaction::Answer,
    });
    let fake = fake.await;
    let client = patient_client(&fake).await;
    let deadline = Duration::from_millis(40);
    let started = Instant::now();
    let call = client.consume("acme", "calls", 5).deadline(deadline);
    let error = call.clone().await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { deadline: d } if d == deadline), "{error:?}");
    assert!(deadline <= started.elapsed());

    // The answer to the hung message never comes; a call behind it gets through all the same, and
    // the same call made again is counted once.
    assert!(call.deadline(Duration::from_secs(20)).await.unwrap().replayed);
    assert_one_key(&fake.keys(), 2);
}

#[tokio::test]
async fn a_sidecar_that_is_not_there_is_unreachable() {
    // A port that was free a moment ago: nobody listens.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);

    let error = Client::connect(&endpoint).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(error.to_string(), "sidecar not reached");
    assert!(std::error::Error::source(&error).is_some());

    let builder = Client::builder(&endpoint).deadline(Duration::from_secs(20));
    let client = builder.connect_lazy().unwrap();
    let error = client.consume("acme", "calls", 1).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}
