//! The test clock moves forward only, and the real one not at all.

use std::time::Duration;

use headroom_proto::v1;
use headroom_proto::v1::set_clock_request::To;
use tonic::Code;

use super::{bad_field, refused};
use crate::support::ask;
use crate::support::catalogs::PLAIN;
use crate::support::home::Home;

fn set(to: Option<To>) -> v1::SetClockRequest {
    v1::SetClockRequest { to }
}

fn at(seconds: i64) -> Option<To> {
    Some(To::At(prost_types::Timestamp { seconds, nanos: 0 }))
}

fn advance(seconds: i64, nanos: i32) -> Option<To> {
    Some(To::Advance(prost_types::Duration { seconds, nanos }))
}

#[tokio::test]
async fn the_real_clock_cannot_be_set() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut admin = ask::admin(&home).await;
    for to in [at(4_000_000_000), advance(1, 0), at(0)] {
        let result = admin.set_clock(set(to)).await;
        refused(result, Code::FailedPrecondition, "NOT_A_TEST_CLOCK", "");
    }
    bad_field(admin.set_clock(set(None)).await, "to");
    let status = ask::status(&mut admin).await;
    let real = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(!status.test_clock && real.abs_diff(status.now.unwrap().seconds.unsigned_abs()) < 60);
    drop(admin);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_test_clock_never_goes_back_nor_out_of_the_calendar() {
    let home = Home::with_settings(PLAIN, "clock: test\n");
    let sidecar = home.start();
    let mut admin = ask::admin(&home).await;
    admin.set_clock(set(at(2_000_000_000))).await.unwrap();
    let result = admin.set_clock(set(at(1_999_999_999))).await;
    let message = refused(result, Code::OutOfRange, "CLOCK_WENT_BACK", "");
    assert!(message.contains("2033-05-18"), "{message}");
    bad_field(admin.set_clock(set(advance(-1, 0))).await, "advance");
    bad_field(admin.set_clock(set(advance(0, -1_000_000))).await, "advance");
    bad_field(admin.set_clock(set(at(i64::MAX))).await, "at");
    // The year 9999 is the last one that calendars know, so nothing may lead beyond it.
    let millennia = 400_000_000_000;
    for seconds in [millennia, i64::MAX / 1000, i64::MAX] {
        bad_field(admin.set_clock(set(advance(seconds, 0))).await, "advance");
    }
    let now = admin.set_clock(set(advance(0, 1_000_000))).await.unwrap().into_inner().now;
    let now = now.unwrap();
    assert_eq!((now.seconds, now.nanos), (2_000_000_000, 1_000_000));
    let now: std::time::SystemTime = now.try_into().unwrap();
    assert!(now > std::time::UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    drop(admin);
    sidecar.stop().await;
}
