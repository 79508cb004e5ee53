//! What all tests of the binary need: a home on disk, the process, and ways to talk to it.

pub(crate) mod ask;
pub(crate) mod catalogs;
pub(crate) mod endpoint;
pub(crate) mod home;
pub(crate) mod http;
pub(crate) mod rng;
pub(crate) mod room;
pub(crate) mod sidecar;

use std::time::{Duration, Instant};

/// How long anything may take that should happen soon. Generous, because the machine may be busy;
/// no test waits this long unless it fails.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer, and fails after [`SOON`].
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// As [`until`], for questions that are asked over the network.
pub(crate) async fn until_async<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(SOON, what, ask).await
}

/// As [`until_async`], for what takes its time.
pub(crate) async fn until_within<T>(
    within: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Says that a test cannot be run on this machine. The test command installs what tests need, so there
/// that is a failure: what is not run shows nothing.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("HEADROOM_TEST_ALL").is_none(), "it could not be run: {why}");
    println!("skipped: {why}");
}
