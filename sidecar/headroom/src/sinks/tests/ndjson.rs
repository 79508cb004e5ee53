//! Files: lines that are whole, on the disk before they are confirmed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headroom_engine::digest::SignalId;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Bench, Driver, FreshDir, ndjson};
use crate::sinks::begin::Stop;
use crate::sinks::limits::LINE_BYTES_MAX;
use crate::sinks::ndjson::{LineFile, Ndjson};

/// A file sink that runs.
pub(super) struct Run {
    pub(super) driver: Driver,
    task: JoinHandle<()>,
}

impl Run {
    pub(super) async fn start(bench: &Bench) -> Run {
        let (beginning, driver) = bench.beginning(ndjson("file"));
        let task = beginning.begin().await.unwrap();
        Run { driver, task: tokio::spawn(Ndjson::new(task, path(bench)).run()) }
    }

    pub(super) async fn drain(self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        self.driver.stop.send_replace(Some(Stop { deadline, finish: true }));
        self.task.await.unwrap();
    }
}

pub(super) fn path(bench: &Bench) -> PathBuf {
    bench.wiring.data_dir.join("file.ndjson")
}

/// The ids in the lines of a file, each of which must be whole.
#[track_caller]
pub(super) fn ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let id = |line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["data"]["id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

fn texts(ids: &[SignalId]) -> Vec<String> {
    ids.iter().map(SignalId::to_string).collect()
}

#[tokio::test]
async fn each_signal_is_a_line_in_a_file_that_only_the_owner_reads() {
    let bench = Bench::new();
    let run = Run::start(&bench).await;
    bench.write("a", 5);
    run.drain().await;
    assert_eq!(ids(&path(&bench)), texts(&bench.ids()));
    assert_eq!(bench.cursor("file"), bench.ids().last().copied());
    let mode = fs::metadata(path(&bench)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let run = Run::start(&bench).await;
    bench.write("b", 300);
    run.drain().await;
    assert_eq!(ids(&path(&bench)), texts(&bench.ids()));
}

#[test]
fn a_torn_last_line_is_cut_off_wherever_it_was_torn() {
    let dir = FreshDir::new();
    let path = dir.join("file.ndjson");
    let text = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";
    for length in 0..=text.len() {
        fs::write(&path, &text[..length]).unwrap();
        LineFile::new(path.clone()).append(b"{\"n\":4}\n").unwrap();
        let whole = text[..length].rfind('\n').map_or(0, |end| end + 1);
        let expected = format!("{}{{\"n\":4}}\n", &text[..whole]);
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "torn at {length}");
    }
}

#[tokio::test]
async fn a_line_that_was_torn_by_a_crash_is_written_again() {
    let bench = Bench::new();
    let run = Run::start(&bench).await;
    bench.write("a", 2);
    bench.hold(); // So that the cursor is lost as well.
    run.drain().await;
    let text = fs::read(path(&bench)).unwrap();
    fs::write(path(&bench), &text[..text.len() - 5]).unwrap();
    bench.forget();
    Run::start(&bench).await.drain().await;
    // The first line was whole and is there twice: at least once.
    let all = bench.ids();
    assert_eq!(ids(&path(&bench)), texts(&[all[0], all[0], all[1]]));
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_left_alone() {
    let bench = Bench::new();
    let foreign = vec![b'x'; LINE_BYTES_MAX + 1];
    fs::write(path(&bench), &foreign).unwrap();
    let run = Run::start(&bench).await;
    bench.write("a", 1);
    let board = run.driver.board.clone();
    run.drain().await;
    assert_eq!(fs::read(path(&bench)).unwrap(), foreign);
    let status = board.status(Some(1));
    assert!(status.last_error.unwrap().ends_with("it was not written by us"));
    assert_eq!((status.delivered, status.pending), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_written_is_retried_and_nothing_is_lost() {
    let bench = Bench::new();
    fs::create_dir(path(&bench)).unwrap();
    let run = Run::start(&bench).await;
    bench.write("a", 5);
    run.driver.wake.send_replace(());
    sleep(Duration::from_secs(3600)).await;
    bench.write("a", 5);
    run.driver.wake.send_replace(());
    let status = run.driver.board.status(Some(10));
    assert!(status.attempts > 100 && status.failing_since.is_some(), "{status:?}");
    assert_eq!((status.delivered, status.pending), (0, 10));

    fs::remove_dir(path(&bench)).unwrap();
    sleep(Duration::from_secs(60)).await;
    run.drain().await;
    assert_eq!(ids(&path(&bench)), texts(&bench.ids()));
}

#[tokio::test]
async fn a_file_that_was_moved_or_emptied_is_begun_anew() {
    let bench = Bench::new();
    let run = Run::start(&bench).await;
    let written = |count: u64| {
        let (wake, board) = (run.driver.wake.clone(), run.driver.board.clone());
        async move {
            wake.send_replace(());
            while board.status(None).delivered < count {
                tokio::task::yield_now().await;
            }
        }
    };
    bench.write("a", 2);
    written(2).await;
    let moved = bench.wiring.data_dir.join("file.ndjson.1");
    fs::rename(path(&bench), &moved).unwrap();
    bench.write("a", 2);
    written(4).await;
    assert_eq!(ids(&moved), texts(&bench.ids()[..2]));
    assert_eq!(ids(&path(&bench)), texts(&bench.ids()[2..]));
    fs::write(path(&bench), "").unwrap();
    bench.write("a", 2);
    written(6).await;
    assert_eq!(ids(&path(&bench)), texts(&bench.ids()[4..]));
    // Moved, and another put in its place.
    fs::rename(path(&bench), &moved).unwrap();
    fs::write(path(&bench), "").unwrap();
    bench.write("a", 2);
    written(8).await;
    assert_eq!(ids(&path(&bench)), texts(&bench.ids()[6..]));
    run.drain().await;
}
