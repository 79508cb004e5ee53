//! When signals may be told.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use headroom_engine::digest::SignalId;
use tokio::time::Instant;

use super::super::feed::Feed;
use super::super::limits::{CATCH_UP_POLL, WRITTEN_POLL};
use super::super::status::Board;
use super::Bench;
use crate::config::sinks::Filter;

#[test]
fn nobody_is_told_before_what_is_said_of_a_signal_is_written() {
    let bench = Bench::new();
    let board = Arc::new(Board::new("sales".into()));
    let mut feed = Feed::new(&bench.wiring, board, Filter::all(), SignalId::default());
    bench.written.store(0, SeqCst);
    bench.write("acme", 1);
    let now = Instant::now();
    for pause in [1, 2, 4, 8, 16] {
        assert!(feed.page(now).is_empty() && feed.is_writing());
        assert_eq!(feed.retry_at(), Some(now + WRITTEN_POLL * pause));
    }
    assert!(feed.page(now).is_empty());
    assert_eq!(
        feed.retry_at(),
        Some(now + CATCH_UP_POLL),
        "a disk that takes nothing is not hurried"
    );
    bench.written.store(u64::MAX, SeqCst);
    assert_eq!(feed.page(now).len(), 1);
    assert!(!feed.is_writing() && feed.retry_at().is_none());
    bench.written.store(0, SeqCst);
    bench.write("acme", 1);
    assert!(feed.page(now).is_empty());
    assert_eq!(feed.retry_at(), Some(now + WRITTEN_POLL), "and soon looked at again");
}
