//! The same load, while the sidecar is stopped well, and while it is copied.

use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;

use super::book::{Fate, Write};
use super::compare::{Ledgers, book, compare, replays, touched};
use super::load::{self, Author, Diary};
use super::signals;
use crate::support::ask;
use crate::support::home::Home;
use crate::support::rng::{Rng, seed};

const ACCOUNTS: [&str; 2] = ["one", "two"];

fn author(rng: &mut Rng, name: impl std::fmt::Display) -> Author {
    Author::new(rng.split(), name.to_string(), &ACCOUNTS.map(str::to_owned), "tight")
}

#[tokio::test]
async fn a_drain_answers_what_it_has_read_and_counts_nothing_else() {
    let mut rng = Rng::new(seed());
    for round in 0..6 {
        let home = Home::new(&signals::catalog());
        let mut sidecar = home.start();
        ask::subscribe(&mut ask::admin(&home).await, "tight", "tight").await;
        let (mut streams, mut calls) = (JoinSet::new(), JoinSet::new());
        for number in 0..2 {
            let endpoint = home.endpoint();
            let (first, second) = (ask::channel(&endpoint).await, ask::channel(&endpoint).await);
            let name = format!("{round}-{number}");
            let stream = author(&mut rng, format!("s-{name}"));
            streams.spawn(load::stream_to_its_end(first, stream));
            calls.spawn(load::unary(second, author(&mut rng, format!("u-{name}"))));
        }
        // Not waiting for anything: this is the instant of the stop.
        tokio::time::sleep(Duration::from_micros(rng.below(80_000))).await;
        sidecar.signal(if round % 2 == 0 { Signal::TERM } else { Signal::INT });
        let mut diary: Diary = calls.join_all().await.into_iter().flatten().collect();
        for (of_stream, is_good_end) in streams.join_all().await {
            assert!(is_good_end, "a stream was cut");
            diary.extend(of_stream);
        }
        let status = sidecar.wait_end().await;
        assert_eq!(status.code(), Some(0), "{}", sidecar.log());
        drop(sidecar);

        let sidecar = home.start();
        let mut client = ask::entitlements(&home).await;
        // What was not answered was not counted, so the book is exact without a retry.
        diary.retain(|(_, fate)| matches!(fate, Fate::Acked(_)));
        let mut ledgers = Ledgers::new();
        diary.iter().for_each(|(write, fate)| book(&mut ledgers, write, fate));
        compare(&mut client, &ledgers, &diary, "after the drain").await;
        replays(&mut client, &diary).await;
        compare(&mut client, &ledgers, &diary, "after replaying all").await;
        println!("{} writes were answered", diary.len());
        drop(client);
        sidecar.stop().await;
    }
}

#[tokio::test]
async fn a_backup_under_load_is_the_state_of_one_moment() {
    let mut rng = Rng::new(seed());
    let home = Home::new(&signals::catalog());
    let mut sidecar = home.start();
    let mut admin = ask::admin(&home).await;
    ask::subscribe(&mut admin, "tight", "tight").await;
    let mut before = author(&mut rng, "before");
    before.reserves = false;
    let mut client = ask::entitlements(&home).await;
    let early: Vec<Write> = (0..100).map(|_| before.next()).collect();
    let fates = load::retry(&mut client, &early.iter().collect::<Vec<_>>()).await;

    let mut clients = JoinSet::new();
    for number in 0..4 {
        let channel = ask::channel(&home.endpoint()).await;
        let mut author = author(&mut rng, number);
        author.reserves = false;
        clients.spawn(async move {
            if number < 2 {
                load::unary(channel, author).await
            } else {
                load::stream(channel, author).await
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(50)).await; // So that the load is under way.
    let copies = [Home::new(&signals::catalog()), Home::new(&signals::catalog())];
    for copy in &copies {
        let path = copy.data().display().to_string();
        admin.backup(headroom_proto::v1::BackupRequest { path }).await.expect("a backup");
    }
    sidecar.kill();
    let mut diaries = clients.join_all().await;
    diaries.push(early.into_iter().zip(fates).collect());
    for diary in &mut diaries {
        diary.retain(|(_, fate)| matches!(fate, Fate::Acked(_)));
    }
    let mut in_first = 0;
    for copy in &copies {
        let counted = check_copy(copy, &diaries).await;
        assert!(in_first <= counted, "the second copy has less than the first");
        in_first = counted;
    }
}

/// Every ledger of the copy is the sum of exactly those writes whose keys it knows, and it knows
/// the first so many of each client. Returns how many it knows.
async fn check_copy(copy: &Home, diaries: &[Diary]) -> usize {
    let sidecar = copy.start();
    let mut client = ask::entitlements(copy).await;
    let mut found = std::collections::BTreeMap::new();
    for key in diaries.iter().flat_map(touched) {
        let units = ask::used(&mut client, &key.0, key.1).await;
        found.insert(key, units);
    }
    let mut sums = Ledgers::new();
    let mut known = 0;
    for diary in diaries {
        let mut is_over = false;
        let writes: Vec<&Write> = diary.iter().map(|(write, _)| write).collect();
        for (write, fate) in writes.iter().zip(load::retry(&mut client, &writes).await) {
            if matches!(&fate, Fate::Acked(receipt) if receipt.replayed) {
                assert!(!is_over, "{write:?} is in the copy, an earlier one of its client is not");
                book(&mut sums, write, &fate);
                known += 1;
            } else {
                is_over = true;
            }
        }
    }
    let early = diaries.last().map_or(0, Vec::len);
    assert!(known >= early, "what was acknowledged before the backup began is in it");
    for ((account, feature), (used, reserved)) in found {
        let expected = sums.get(&(account.clone(), feature)).copied().unwrap_or_default();
        assert_eq!((used, reserved), (expected.used.least, 0), "{account} {feature}");
    }
    let all: usize = diaries.iter().map(Vec::len).sum();
    println!("the copy has {known} of {all} writes");
    drop(client);
    sidecar.stop().await;
    known
}
