//! A disk without room: writes are refused and nothing is counted, checks go on, and when there is
//! room again, so do writes. The room is taken by a limit on the size of files, which any user may set
//! on any file system; what the store makes of each error of a disk is tested there, on a disk of its own.

use headroom_proto::v1::operation::Operation as Op;
use headroom_proto::v1::operation_result::Result as OpResult;
use headroom_proto::v1::{self, ErrorReason};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::catalogs::PLAIN;
use crate::support::home::Home;
use crate::support::room::{NoRoom, start_bounded};
use crate::support::{ask, until_async};

#[tokio::test]
async fn a_full_disk_refuses_writes_and_counts_nothing() {
    let home = Home::new(PLAIN.split_once("sinks:").unwrap().0);
    let sidecar = start_bounded(&home);
    let mut client = ask::entitlements(&home).await;
    let mut admin = ask::admin(&home).await;
    let no_room = NoRoom::for_segments(&sidecar);

    let (acked, unknown) = write_until_refused(&mut client).await;
    let (used, _) = ask::used(&mut client, "acme", "calls").await;
    assert!(acked <= used && used <= acked + unknown, "{acked} <= {used} <= {acked} + {unknown}");
    check_refusals(&mut client).await;
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (used, 0));
    let status = ask::status(&mut admin).await;
    assert_ne!(status.journal_refusal, "");
    let page = sidecar.page("/readyz");
    assert_eq!((page.status, page.body), (503, format!("{}\n", status.journal_refusal)));
    assert!(sidecar.page("/metrics").body.contains("headroom_journal_writable 0"));
    assert_eq!(sidecar.page("/healthz").status, 200);
    let refused = admin.put_subscription(ask::subscription("acme", "tight")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");

    drop(no_room);
    let again = ask::consume("acme", "calls", 1, "first after");
    until_async("writes are taken again", async || client.consume(again.clone()).await.ok()).await;
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (used + 1, 0));
    until_async("it is ready again", async || {
        (sidecar.page("/readyz").status == 200).then_some(())
    })
    .await;
    drop((client, admin));
    sidecar.stop().await;
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (used + 1, 0));
    drop(client);
    sidecar.stop().await;
}

/// Units that were acknowledged, and units whose outcome is not known.
async fn write_until_refused(client: &mut ask::Entitlements) -> (i64, i64) {
    let (mut acked, mut unknown) = (0, 0);
    for batch in 0..2_000 {
        let one = |n| Op::Consume(ask::consume("acme", "calls", 1, &format!("{batch}-{n}")));
        let operations = (0..256).map(|n| v1::Operation { operation: Some(one(n)) }).collect();
        let messages = [v1::DecideRequest { operations }];
        let answers = client.decide(tokio_stream::iter(messages)).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap().unwrap();
        let mut is_refused = false;
        for result in answer.results {
            match result.result.unwrap() {
                OpResult::Consume(answer) => {
                    assert!(answer.decision.unwrap().allowed);
                    acked += 1;
                }
                OpResult::Error(error) => {
                    match error.reason() {
                        ErrorReason::NoRoom | ErrorReason::StoreBroken => is_refused = true,
                        ErrorReason::OutcomeUnknown => unknown += 1,
                        _ => panic!("{error:?}"),
                    }
                    assert_eq!(Code::from_i32(error.code), Code::Unavailable);
                }
                other => panic!("{other:?}"),
            }
        }
        if is_refused {
            return (acked, unknown);
        }
    }
    panic!("{acked} units were written to a full disk");
}

async fn check_refusals(client: &mut ask::Entitlements) {
    let writes = [
        client.consume(ask::consume("acme", "calls", 1, "x")).await.map(drop),
        client.record(ask::record("acme", "calls", 1, "x")).await.map(drop),
        client.reserve(ask::reserve("acme", "calls", 1, "x")).await.map(drop),
        client.consume(ask::consume("new", "calls", 1, "x")).await.map(drop),
    ];
    for write in writes {
        let status = write.unwrap_err();
        let told = (status.code(), ask::reason(&status));
        assert_eq!(told, (Code::Unavailable, "NO_ROOM".to_owned()), "{status}");
        let retry = status.get_details_retry_info().expect("when to come again");
        assert!(retry.retry_delay.is_some());
    }
    // What was counted can be asked for and replayed.
    let known = ask::consumed(client, "acme", "calls", 1, "0-0").await;
    assert!(known.replayed);
    let check = client.check(ask::check("acme", "calls")).await.unwrap().into_inner();
    assert!(check.decision.unwrap().allowed);
    let check = client.check(ask::check("acme", "nothing")).await.unwrap().into_inner();
    assert_eq!(check.decision.unwrap().denial(), v1::Denial::UnknownFeature);
}
