//! The delivery of every kind of sink, over an endpoint that does all that endpoints do, and kill
//! -9: nothing is lost, and an account's signals arrive in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;

use super::{Bench, ndjson};
use crate::sinks::courier::refused;
use crate::sinks::delivery::{Courier, Delivery, Outcome};
use crate::sinks::http::Answer;
use crate::sinks::lanes::Shape;
use crate::sinks::payload::Message;

/// An endpoint that keeps what it accepts, and accepts as a seed will have it. What is of the
/// account `bad` it refuses always.
#[derive(Clone)]
struct Shaky {
    shape: Shape,
    state: Arc<Mutex<State>>,
}

struct State {
    seed: u64,
    is_calm: bool,
    /// Account and id, in the order they were first accepted.
    accepted: Vec<(String, String)>,
    known: BTreeSet<String>,
    largest: usize,
    /// Requests under way now, and the most that ever were.
    under_way: (usize, usize),
}

impl State {
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    fn accept(&mut self, messages: &[Message]) {
        for message in messages {
            if self.known.insert(message.data.id.clone()) {
                self.accepted.push((message.data.account.clone(), message.data.id.clone()));
            }
        }
    }
}

fn answer(status: u16, retry_after_s: Option<u64>) -> Outcome {
    let status = StatusCode::from_u16(status).unwrap();
    let retry_after = retry_after_s.map(Duration::from_secs);
    refused(&Answer { status, retry_after, body: vec![] }, format!("status {status}"))
}

impl Courier for Shaky {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn bytes(&self, message: &Message) -> Option<(usize, usize)> {
        // Room for five of them.
        (self.shape.batch_max > 1).then(|| (message.json().len(), 5 * message.json().len()))
    }

    async fn deliver(&self, messages: Vec<Message>) -> Outcome {
        let (pause_ms, luck) = {
            let mut state = self.state.lock().unwrap();
            state.largest = state.largest.max(messages.len());
            state.under_way.0 += 1;
            state.under_way.1 = state.under_way.1.max(state.under_way.0);
            (state.random(20), state.random(12))
        };
        sleep(Duration::from_millis(pause_ms)).await;
        let mut state = self.state.lock().unwrap();
        state.under_way.0 -= 1;
        if messages.iter().any(|message| message.data.account == "bad") {
            return answer(422, None);
        }
        match luck {
            _ if state.is_calm => {}
            0 => return Outcome::silence("nobody there".to_owned()),
            1 => {
                state.accept(&messages);
                return Outcome::silence("the answer was lost".to_owned());
            }
            2 => return answer(400, None),
            3 => return answer(503, Some(20)),
            4 => return answer(429, None),
            _ => {}
        }
        state.accept(&messages);
        Outcome::Accepted
    }
}

async fn check(seed: u64, shape: Shape) {
    let bench = Bench::new();
    let state = State {
        seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1,
        is_calm: false,
        accepted: vec![],
        known: BTreeSet::new(),
        largest: 0,
        under_way: (0, 0),
    };
    let shaky = Shaky { shape, state: Arc::new(Mutex::new(state)) };
    let run = async || {
        let (beginning, driver) = bench.beginning(ndjson("hook"));
        let task = beginning.begin().await.unwrap();
        (driver, tokio::spawn(Delivery::new(task, shaky.clone()).run()))
    };
    let mut running = run().await;
    for round in 0..4 {
        for account in ["a", "b", "bad", "c", "d", "e"] {
            let count = match account {
                "bad" => usize::from(round == 0),
                _ => usize::try_from(shaky.state.lock().unwrap().random(4)).unwrap(),
            };
            bench.write(account, count);
        }
        running.0.wake.send_replace(());
        let pause = shaky.state.lock().unwrap().random(40_000);
        sleep(Duration::from_millis(pause)).await;
        // As a crash: nothing more is sent or journaled.
        running.1.abort();
        running.1.await.unwrap_err();
        shaky.state.lock().unwrap().under_way.0 = 0;
        running = run().await;
    }
    shaky.state.lock().unwrap().is_calm = true;
    bench.write("a", 1);
    running.0.wake.send_replace(());
    // Something has to be accepted now and then, or the bad one would be nobody's fault.
    for _ in 0..200 {
        sleep(Duration::from_secs(3600)).await;
        bench.write("f", 1);
        running.0.wake.send_replace(());
    }
    sleep(Duration::from_secs(60)).await;

    let state = shaky.state.lock().unwrap();
    let mut by_account: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (account, id) in &state.accepted {
        by_account.entry(account).or_default().push(id);
    }
    for (account, ids) in &by_account {
        assert!(ids.is_sorted(), "seed {seed}: {account} is out of order: {ids:?}");
    }
    let letters = running.0.board.letters().unwrap();
    assert_eq!(letters.len(), 1, "seed {seed}: only the bad one is given up");
    assert_eq!(state.known.len() + 1, bench.ids().len(), "seed {seed}: something is lost");
    assert!(!state.known.contains(&letters[0].0));
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied(), "seed {seed}");
    assert!(state.under_way.1 <= shape.in_flight_max, "seed {seed}: {:?}", state.under_way);
    assert!(state.largest <= shape.batch_max.min(5), "seed {seed}: {}", state.largest);
    running.1.abort();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_and_accounts_stay_in_order_whatever_an_endpoint_does() {
    let shapes = [
        Shape { batch_max: 1, in_flight_max: 16, pace: Duration::ZERO },
        Shape { batch_max: 100, in_flight_max: 4, pace: Duration::ZERO },
        Shape { batch_max: 3, in_flight_max: 1, pace: Duration::ZERO },
        Shape { batch_max: 1, in_flight_max: 1, pace: Duration::from_secs(1) },
    ];
    for seed in 1..=40 {
        check(seed, shapes[usize::try_from(seed).unwrap() % shapes.len()]).await;
    }
}
