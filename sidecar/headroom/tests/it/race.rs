//! Callers racing for the last unit.

use headroom_proto::v1::{self, Denial};
use headroom_sdk::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

const CALLERS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Race {
    Consume,
    Reserve,
}

#[tokio::test]
async fn of_64_callers_racing_for_the_last_unit_exactly_one_wins() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut admin = ask::admin(&home).await;
    let mut client = ask::entitlements(&home).await;
    // Each has a connection of its own, so they meet on both workers.
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(ask::entitlements(&home).await);
    }
    for round in 0..20 {
        for race in [Race::Consume, Race::Reserve] {
            let account = format!("{race:?}-{round}");
            ask::subscribe(&mut admin, &account, "tight").await;
            ask::consumed(&mut client, &account, "slots", 39, "all but one").await;
            let decisions = run(race, &account, &callers).await;
            let (winners, losers): (Vec<_>, Vec<_>) = decisions.iter().partition(|d| d.allowed);
            assert_eq!((winners.len(), losers.len()), (1, CALLERS - 1), "{account}");
            let (denial, counts) = match race {
                Race::Consume => (Denial::QuotaExhausted, (40, 0)),
                // A reservation may be given back, so it is worth another try.
                Race::Reserve => (Denial::InFlight, (39, 1)),
            };
            for loser in losers {
                assert_eq!(loser.denial(), denial);
                let state = loser.binding.as_ref().expect("a limit");
                assert_eq!((state.used_units, state.reserved_units), counts);
            }
            assert_eq!(ask::used(&mut client, &account, "slots").await, counts);
        }
    }
    drop((admin, client, callers));
    sidecar.stop().await;
}

async fn run(race: Race, account: &str, callers: &[ask::Entitlements]) -> Vec<v1::Decision> {
    let (start, _) = watch::channel(false);
    let mut racing = JoinSet::new();
    for (number, caller) in callers.iter().enumerate() {
        let (mut caller, mut started) = (caller.clone(), start.subscribe());
        let (account, key) = (account.to_owned(), number.to_string());
        racing.spawn(async move {
            started.wait_for(|started| *started).await.expect("a start");
            match race {
                Race::Consume => ask::consumed(&mut caller, &account, "slots", 1, &key).await,
                Race::Reserve => {
                    let answer = caller.reserve(ask::reserve(&account, "slots", 1, &key)).await;
                    answer.expect("an answer").into_inner().decision.expect("a decision")
                }
            }
        });
    }
    start.send_replace(true);
    racing.join_all().await
}

#[tokio::test]
async fn one_wins_through_the_sdk_too() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    ask::subscribe(&mut ask::admin(&home).await, "acme", "tight").await;
    // Half of the callers share one stream, half another.
    let first = Client::connect(home.endpoint()).await.unwrap();
    let second = Client::connect(home.endpoint()).await.unwrap();
    first.consume("acme", "slots", 39).deadline(crate::support::SOON).await.unwrap();
    let mut racing = JoinSet::new();
    for number in 0..CALLERS {
        let client = if number % 2 == 0 { &first } else { &second };
        let call = client.consume("acme", "slots", 1).deadline(crate::support::SOON);
        racing.spawn(async move { call.await.expect("an answer").allowed });
    }
    let winners = racing.join_all().await.into_iter().filter(|allowed| *allowed).count();
    assert_eq!(winners, 1);
    drop((first, second));
    sidecar.stop().await;
}
