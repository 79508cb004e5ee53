//! Clients under way while the sidecar dies.

use std::collections::VecDeque;

use headroom_proto::v1;
use headroom_proto::v1::entitlement_service_client::EntitlementServiceClient;
use headroom_proto::v1::operation::Operation as Op;
use headroom_proto::v1::operation_result::Result as OpResult;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::book::{Fate, Kind, Write};
use crate::support::ask;
use crate::support::rng::Rng;

/// Messages of a stream that are under way at a time.
const IN_FLIGHT_MAX: usize = 3;

/// Chooses what a client does next.
#[derive(Debug)]
pub(super) struct Author {
    pub(super) rng: Rng,
    /// Begins every key, so that no other client has the same one.
    pub(super) name: String,
    pub(super) accounts: Vec<String>,
    /// The account with a hard limit.
    pub(super) tight: String,
    /// Whether it makes reservations.
    pub(super) reserves: bool,
    count: u64,
    holds: Vec<Hold>,
}

/// A reservation whose outcome is open.
#[derive(Debug)]
struct Hold {
    account: String,
    feature: &'static str,
    reservation_id: String,
    units: i64,
}

/// What a client did.
pub(super) type Diary = Vec<(Write, Fate)>;

impl Author {
    pub(super) fn new(rng: Rng, name: String, accounts: &[String], tight: &str) -> Author {
        let (accounts, tight) = (accounts.to_vec(), tight.to_owned());
        Author { rng, name, accounts, tight, reserves: true, count: 0, holds: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Write {
        self.count += 1;
        let key = format!("{}-{}", self.name, self.count);
        if !self.holds.is_empty() && self.rng.chance(50) {
            let index = self.below(self.holds.len());
            let hold = self.holds.swap_remove(index);
            // More than was held is fine, but not on the hard limit: there it would be debt.
            let surplus = if hold.feature == "slots" { 1 } else { 3 };
            let units = self.units(hold.units + surplus) - 1;
            let Hold { account, feature, reservation_id, units: held_units } = hold;
            let kind = Kind::Commit { reservation_id, held_units };
            return Write { key, account, feature, units, kind };
        }
        let is_tight = self.rng.chance(15);
        let kind = match self.rng.below(10) {
            0..2 if self.reserves => Kind::Reserve,
            2..4 if !is_tight => Kind::Record,
            _ => Kind::Consume,
        };
        let units = self.units(5);
        if is_tight {
            return Write { key, account: self.tight.clone(), feature: "slots", units, kind };
        }
        let index = self.below(self.accounts.len());
        Write { key, account: self.accounts[index].clone(), feature: "calls", units, kind }
    }

    /// 1 to `most`.
    fn units(&mut self, most: i64) -> i64 {
        1 + i64::try_from(self.rng.below(most.unsigned_abs())).expect("small")
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(count as u64)).expect("small")
    }

    fn answered(&mut self, write: &Write, fate: &Fate) {
        if let (Kind::Reserve, Fate::Acked(receipt)) = (&write.kind, fate) {
            self.holds.push(Hold {
                account: write.account.clone(),
                feature: write.feature,
                reservation_id: receipt.reservation_id.clone(),
                units: write.units,
            });
        }
    }
}

/// One call after the other, until one fails.
pub(super) async fn unary(channel: Channel, mut author: Author) -> Diary {
    let mut client = EntitlementServiceClient::new(channel);
    let mut diary = Diary::new();
    loop {
        let write = author.next();
        let fate = match call(&mut client, &write).await {
            Ok(result) => write.fate(result),
            Err(status) => match ask::reason(&status).as_str() {
                "SHUTTING_DOWN" => Fate::NotCounted,
                "" | "OUTCOME_UNKNOWN" => Fate::Unknown,
                other => panic!("{write:?} was answered with {other}: {status}"),
            },
        };
        author.answered(&write, &fate);
        let is_over = matches!(fate, Fate::NotCounted | Fate::Unknown);
        diary.push((write, fate));
        if is_over {
            return diary;
        }
    }
}

async fn call(client: &mut ask::Entitlements, write: &Write) -> Result<OpResult, Status> {
    match write.operation().operation.expect("an operation") {
        Op::Consume(rq) => {
            client.consume(rq).await.map(Response::into_inner).map(OpResult::Consume)
        }
        Op::Record(rq) => client.record(rq).await.map(Response::into_inner).map(OpResult::Record),
        Op::Reserve(rq) => {
            client.reserve(rq).await.map(Response::into_inner).map(OpResult::Reserve)
        }
        Op::Commit(rq) => client.commit(rq).await.map(Response::into_inner).map(OpResult::Commit),
        other => panic!("nobody makes {other:?}"),
    }
}

/// Batches in one stream, a few under way at a time, until it ends.
pub(super) async fn stream(channel: Channel, author: Author) -> Diary {
    stream_to_its_end(channel, author).await.0
}

/// As [`stream`]; also says whether the sidecar ended it, and well.
pub(super) async fn stream_to_its_end(channel: Channel, mut author: Author) -> (Diary, bool) {
    let mut client = EntitlementServiceClient::new(channel);
    let mut diary = Diary::new();
    let (requests, outgoing) = mpsc::channel(IN_FLIGHT_MAX);
    let opened = client.decide(ReceiverStream::new(outgoing)).await;
    let Ok(answers) = opened else { return (diary, false) };
    let mut answers = answers.into_inner();
    let mut in_flight: VecDeque<Vec<Write>> = VecDeque::new();
    let is_good_end = loop {
        while in_flight.len() < IN_FLIGHT_MAX {
            let count = 1 + author.rng.below(24);
            let writes: Vec<Write> = (0..count).map(|_| author.next()).collect();
            let operations = writes.iter().map(Write::operation).collect();
            in_flight.push_back(writes);
            // Fails when the stream has ended, and then the next answer says so.
            let _ = requests.try_send(v1::DecideRequest { operations });
        }
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => break true,
            Err(_) => break false,
        };
        let writes = in_flight.pop_front().expect("an answer to a question");
        assert_eq!(answer.results.len(), writes.len());
        for (write, result) in writes.into_iter().zip(answer.results) {
            let fate = write.fate(result.result.expect("a result"));
            author.answered(&write, &fate);
            diary.push((write, fate));
        }
    };
    diary.extend(in_flight.into_iter().flatten().map(|write| (write, Fate::Unknown)));
    (diary, is_good_end)
}

/// Sends writes again, in full batches, and returns what became of each.
pub(super) async fn retry(client: &mut ask::Entitlements, writes: &[&Write]) -> Vec<Fate> {
    let messages: Vec<v1::DecideRequest> = writes
        .chunks(256)
        .map(|chunk| v1::DecideRequest {
            operations: chunk.iter().map(|w| w.operation()).collect(),
        })
        .collect();
    let answers = client.decide(tokio_stream::iter(messages)).await.expect("a stream");
    let mut answers = answers.into_inner();
    let mut results = Vec::with_capacity(writes.len());
    while let Some(answer) = answers.message().await.expect("an answer") {
        results.extend(answer.results);
    }
    assert_eq!(results.len(), writes.len());
    let fates = writes.iter().zip(results).map(|(w, r)| w.fate(r.result.expect("a result")));
    fates.collect()
}
