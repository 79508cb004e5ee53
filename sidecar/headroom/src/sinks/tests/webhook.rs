//! A webhook over a fake transport, under tokio's paused clock: order, retries, cursors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use headroom_engine::digest::SignalId;
use http::StatusCode;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Bench, Driver, ndjson};
use crate::config::sinks::{Filter, SinkSpec, WebhookSecret};
use crate::sinks::begin::Stop;
use crate::sinks::courier::{Form, HttpCourier};
use crate::sinks::delivery::Delivery;
use crate::sinks::http::{Answer, Read, Transport};
use crate::sinks::limits::{ATTEMPT_WITHIN, PAGE_ROWS, WINDOW_SIGNALS_MAX};
use crate::sinks::signature::Signer;
use crate::sinks::webhook::Webhook;

/// What the fake endpoint does with a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reply {
    Status(u16),
    RetryAfter(u16, u64),
    Unreachable,
    Hang,
}

pub(super) const OK: Reply = Reply::Status(204);

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    after_s: u64,
    id: String,
    pub(super) account: String,
}

type Answering = dyn FnMut(&Sent) -> Reply + Send;

#[derive(Clone)]
pub(super) struct Fake {
    started: Instant,
    sent: Arc<Mutex<Vec<Sent>>>,
    answering: Arc<Mutex<Box<Answering>>>,
}

impl Fake {
    pub(super) fn new(answering: impl FnMut(&Sent) -> Reply + Send + 'static) -> Fake {
        let answering: Box<Answering> = Box::new(answering);
        let answering = Arc::new(Mutex::new(answering));
        Fake { started: Instant::now(), sent: Arc::default(), answering }
    }

    pub(super) fn answer(&self, answering: impl FnMut(&Sent) -> Reply + Send + 'static) {
        *self.answering.lock().unwrap() = Box::new(answering);
    }

    pub(super) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.sent().into_iter().map(|sent| sent.id).collect()
    }

    pub(super) fn seconds(&self, account: &str) -> Vec<u64> {
        let sent = self.sent();
        sent.iter().filter(|sent| sent.account == account).map(|sent| sent.after_s).collect()
    }
}

impl Transport for Fake {
    async fn send(&self, request: http::Request<Vec<u8>>, _: Read) -> Result<Answer, String> {
        let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
        let id = request.headers()["webhook-id"].to_str().unwrap().to_owned();
        assert_eq!(body["data"]["id"], *id);
        let sent = Sent {
            after_s: self.started.elapsed().as_secs(),
            id,
            account: body["data"]["account"].as_str().unwrap().to_owned(),
        };
        let reply = (self.answering.lock().unwrap())(&sent);
        self.sent.lock().unwrap().push(sent);
        let answer = |status, retry_after| {
            let status = StatusCode::from_u16(status).unwrap();
            Ok(Answer { status, retry_after, body: vec![] })
        };
        // An answer takes a moment, so that deliveries overlap.
        sleep(Duration::from_millis(5)).await;
        match reply {
            Reply::Status(status) => answer(status, None),
            Reply::RetryAfter(status, s) => answer(status, Some(Duration::from_secs(s))),
            Reply::Unreachable => Err("nobody listens".to_owned()),
            Reply::Hang => std::future::pending().await,
        }
    }
}

/// A webhook that runs.
pub(super) struct Run {
    pub(super) driver: Driver,
    task: JoinHandle<()>,
}

impl Run {
    pub(super) async fn start(bench: &Bench, fake: &Fake) -> Run {
        Run::start_as(bench, fake, spec()).await
    }

    async fn start_as(bench: &Bench, fake: &Fake, spec: SinkSpec) -> Run {
        let (beginning, driver) = bench.beginning(spec);
        let task = beginning.begin().await.unwrap();
        let webhook = Delivery::new(task, courier(fake));
        Run { driver, task: tokio::spawn(webhook.run()) }
    }

    pub(super) fn wake(&self) {
        self.driver.wake.send_replace(());
    }

    pub(super) async fn drain(self, within: Duration) {
        let deadline = Instant::now() + within;
        self.driver.stop.send_replace(Some(Stop { deadline, finish: true }));
        self.task.await.unwrap();
    }

    /// As a crash: nothing more is sent or journaled.
    pub(super) async fn kill(self) {
        self.task.abort();
        self.task.await.unwrap_err();
    }
}

fn courier(fake: &Fake) -> HttpCourier<Fake> {
    let signer = Signer::new(&[WebhookSecret::Shared(vec![7; 24])]);
    let form: Box<dyn Form> = Box::new(Webhook::new("http://x.test/".parse().unwrap(), signer));
    HttpCourier { transport: fake.clone(), form, tokens: None }
}

/// A sink that gets every signal; what kind it is does not matter here.
fn spec() -> SinkSpec {
    ndjson("hook")
}

/// Long enough for everything that need not wait for a retry.
pub(super) async fn soon() {
    sleep(Duration::from_secs(4)).await;
}

pub(super) fn texts(ids: &[SignalId]) -> Vec<String> {
    ids.iter().map(SignalId::to_string).collect()
}

pub(super) const HOUR: u64 = 3600;

#[tokio::test(start_paused = true)]
async fn signals_are_delivered_once_each_and_the_cursor_is_journaled() {
    let bench = Bench::new();
    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    bench.write("a", 3);
    run.wake();
    soon().await;
    assert_eq!(fake.ids(), texts(&bench.ids()));
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    let status = run.driver.board.status(Some(3));
    assert_eq!((status.delivered, status.attempts, status.pending), (3, 3, 0));
    assert_eq!(status.confirmed, bench.cursor("hook"));
    run.drain(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_sink_begins_where_the_journal_ended_when_it_was_put_in_place() {
    let bench = Bench::new();
    bench.write("a", 3);
    let fake = Fake::new(|_| OK);
    let (beginning, driver) = bench.beginning(spec());
    bench.write("a", 2);
    let task = beginning.begin().await.unwrap();
    let webhook = Delivery::new(task, courier(&fake));
    let run = Run { driver, task: tokio::spawn(webhook.run()) };
    soon().await;
    assert_eq!(fake.ids(), texts(&bench.ids()[3..]));
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_only_in_the_journal_is_not_taken_for_a_new_sink() {
    let bench = Bench::new();
    let fake = Fake::new(|_| Reply::Unreachable);
    bench.hold();
    Run::start(&bench, &fake).await.kill().await; // It had begun: its cursor is in the journal.
    bench.write("a", 2);
    fake.answer(|_| OK);
    let (run, ()) = tokio::join!(Run::start(&bench, &fake), async {
        soon().await;
        bench.release();
    });
    soon().await;
    assert_eq!(fake.ids(), texts(&bench.ids()));
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_confirmed_at_a_crash_is_delivered_again_under_the_same_id() {
    let bench = Bench::new();
    let fake = Fake::new(|sent| if sent.account == "b" { Reply::Hang } else { OK });
    let run = Run::start(&bench, &fake).await;
    bench.write("a", 2);
    bench.write("b", 1);
    bench.write("a", 2);
    run.wake();
    soon().await;
    let ids = bench.ids();
    assert_eq!(bench.cursor("hook"), Some(ids[1]));
    assert_eq!(fake.ids().len(), 5);
    run.kill().await;

    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    soon().await;
    let mut again = fake.ids();
    again.sort();
    assert_eq!(again, texts(&ids[2..]));
    assert_eq!(bench.cursor("hook"), Some(ids[4]));
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn no_signal_is_lost_whenever_the_process_is_killed() {
    for kill_ms in 0..60 {
        let bench = Bench::new();
        let fake = Fake::new(|_| OK);
        let run = Run::start(&bench, &fake).await;
        for account in 0..40 {
            bench.write(&format!("a{account}"), 2);
        }
        run.wake();
        sleep(Duration::from_millis(kill_ms)).await;
        run.kill().await;
        let run = Run::start(&bench, &fake).await;
        soon().await;
        let mut ids = fake.ids();
        ids.sort();
        ids.dedup();
        assert_eq!(ids, texts(&bench.ids()), "killed after {kill_ms} ms");
        run.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_order_of_an_account_is_kept_over_failures() {
    let bench = Bench::new();
    let mut count = 0;
    // Every second message fails, never two in a row.
    let fake = Fake::new(move |_| {
        count += 1;
        if count % 2 == 0 { Reply::Status(500) } else { OK }
    });
    let run = Run::start(&bench, &fake).await;
    for _ in 0..5 {
        for account in ["a", "b", "c"] {
            bench.write(account, 1);
        }
    }
    run.wake();
    sleep(Duration::from_secs(HOUR)).await;
    for account in ["a", "b", "c"] {
        let sent = fake.sent();
        let ids: Vec<_> = sent.iter().filter(|sent| sent.account == account).collect();
        assert!(ids.is_sorted_by_key(|sent| &sent.id), "{ids:?}");
    }
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_signal_is_retried_by_the_schedule_while_others_go_on_and_then_given_up() {
    let bench = Bench::new();
    let fake = Fake::new(|sent| if sent.account == "bad" { Reply::Status(422) } else { OK });
    let run = Run::start(&bench, &fake).await;
    bench.write("bad", 1);
    bench.write("good", 3);
    run.wake();
    soon().await;
    assert_eq!(fake.seconds("good").len(), 3);
    assert_eq!(bench.cursor("hook").map(|cursor| bench.ids().contains(&cursor)), Some(false));
    let status = run.driver.board.status(Some(4));
    assert_eq!((status.delivered, status.pending), (3, 4));
    assert!(status.lag >= Duration::from_secs(4));

    sleep(Duration::from_secs(100 * HOUR)).await;
    let seconds = fake.seconds("bad");
    let mut expected = vec![0, 5, 305, 2_105];
    for pause_h in [2, 5, 10, 14, 20, 24] {
        expected.push(expected.last().unwrap() + pause_h * HOUR);
    }
    assert_eq!(seconds.len(), expected.len(), "{seconds:?}");
    for (found, expected) in seconds.iter().zip(expected) {
        assert!((expected..=expected * 6 / 5 + 1).contains(found), "{seconds:?}");
    }
    let status = run.driver.board.status(Some(4));
    assert_eq!((status.dead_letters, status.pending), (1, 0));
    assert_eq!(status.lag, Duration::ZERO);
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_is_probed_by_one_at_a_time_and_loses_nothing_in_a_week() {
    let bench = Bench::new();
    let fake = Fake::new(|_| Reply::Unreachable);
    let run = Run::start(&bench, &fake).await;
    for account in 0..50 {
        bench.write(&format!("a{account}"), 2);
    }
    run.wake();
    sleep(Duration::from_secs(7 * 24 * HOUR)).await;
    // At most 16 were under way when it was noticed; then one every five minutes.
    let attempts = fake.sent().len();
    assert!((1_600..2_100).contains(&attempts), "{attempts}");
    let status = run.driver.board.status(Some(100));
    assert_eq!((status.delivered, status.dead_letters, status.pending), (0, 0, 100));
    assert_eq!(status.last_error.as_deref(), Some("nobody listens"));
    assert!(status.failing_since.is_some() && !status.disabled);

    fake.answer(|_| OK);
    sleep(Duration::from_secs(6 * 60 + 5)).await;
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    let status = run.driver.board.status(Some(100));
    assert_eq!((status.delivered, status.failing_since, status.last_error), (100, None, None));
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_endpoint_has_failed_after_the_time_out() {
    let bench = Bench::new();
    let fake = Fake::new(|_| Reply::Hang);
    let run = Run::start(&bench, &fake).await;
    bench.write("a", 1);
    run.wake();
    sleep(ATTEMPT_WITHIN - Duration::from_millis(1)).await;
    assert_eq!(run.driver.board.status(None).last_error, None);
    sleep(Duration::from_millis(10)).await;
    let error = run.driver.board.status(None).last_error;
    assert_eq!(error.as_deref(), Some("no answer within 15 s"));
    fake.answer(|_| OK);
    sleep(Duration::from_secs(7)).await;
    assert_eq!(run.driver.board.status(None).delivered, 1);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_and_a_redirect_is_a_failure() {
    let bench = Bench::new();
    let mut replies =
        [Reply::RetryAfter(429, 1000), Reply::RetryAfter(503, 7), Reply::Status(302)].into_iter();
    let fake = Fake::new(move |_| replies.next().unwrap_or(OK));
    let run = Run::start(&bench, &fake).await;
    bench.write("a", 1);
    run.wake();
    sleep(Duration::from_secs(HOUR)).await;
    let seconds = fake.seconds("a");
    // 1,000 s as asked for; 15 s, as more was not asked for; 30 s.
    assert_eq!(seconds[..2], [0, 1000]);
    assert!((1015..=1018).contains(&seconds[2]), "{seconds:?}");
    assert!((1045..=1055).contains(&seconds[3]), "{seconds:?}");
    assert_eq!(seconds.len(), 4);
    assert_eq!(run.driver.board.status(None).delivered, 1);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_gone_gets_nothing_until_a_restart() {
    let bench = Bench::new();
    let fake = Fake::new(|_| Reply::Status(410));
    let run = Run::start(&bench, &fake).await;
    bench.write("a", 2);
    run.wake();
    sleep(Duration::from_secs(100 * HOUR)).await;
    bench.write("b", 2);
    run.wake();
    sleep(Duration::from_secs(100 * HOUR)).await;
    assert_eq!(fake.sent().len(), 1);
    let status = run.driver.board.status(Some(4));
    assert!(status.disabled);
    assert_eq!(status.pending, 4);
    run.drain(Duration::from_secs(1)).await;

    fake.answer(|_| OK);
    let run = Run::start(&bench, &fake).await;
    soon().await;
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_gets_only_its_signals_and_its_cursor_passes_the_others() {
    let bench = Bench::new();
    let fake = Fake::new(|_| OK);
    let spec = {
        let filter =
            Filter { signals: Some(vec!["feature_limit_hit".to_owned()]), ..Filter::all() };
        SinkSpec { filter, ..spec() }
    };
    let run = Run::start_as(&bench, &fake, spec).await;
    // Two pages of ten crossings and one refusal each, and then crossings alone.
    for account in 0..2 * PAGE_ROWS / 11 + 1 {
        bench.write(&format!("a{account}"), 12);
    }
    bench.write("b", 5);
    run.wake();
    soon().await;
    let ids = bench.ids();
    let hits: Vec<_> = ids[..ids.len() - 5].iter().skip(10).step_by(11).copied().collect();
    let mut sent = fake.ids();
    sent.sort();
    assert_eq!(sent, texts(&hits));
    assert_eq!(bench.cursor("hook"), ids.last().copied());
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_stuck_account_stops_the_others_only_when_the_window_is_full() {
    let bench = Bench::new();
    let fake = Fake::new(|sent| if sent.account == "bad" { Reply::Status(422) } else { OK });
    let run = Run::start(&bench, &fake).await;
    bench.write("bad", 1);
    for account in 0..WINDOW_SIGNALS_MAX / 10 + 30 {
        bench.write(&format!("a{account}"), 10);
    }
    run.wake();
    sleep(Duration::from_secs(60)).await;
    let delivered = run.driver.board.status(None).delivered;
    assert_eq!(delivered, WINDOW_SIGNALS_MAX as u64 - 1);
    let rows = bench.ids().len() as u64;
    assert_eq!(run.driver.board.status(Some(rows)).pending, rows);
    fake.answer(|_| OK);
    sleep(Duration::from_secs(400)).await;
    assert_eq!(run.driver.board.status(None).delivered, rows);
    assert_eq!(run.driver.board.status(Some(rows)).pending, 0);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn the_journal_hears_of_progress_in_batches() {
    let bench = Bench::new();
    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    let before = bench.cursors_noted();
    for account in 0..64 {
        bench.write(&format!("a{account}"), 10);
    }
    run.wake();
    soon().await;
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    let noted = bench.cursors_noted() - before;
    assert!((1..=11).contains(&noted), "{noted} records for 640 signals");
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_delivers_what_is_ready_and_does_not_wait_for_retries() {
    let bench = Bench::new();
    let fake = Fake::new(|sent| if sent.account == "bad" { Reply::Status(422) } else { OK });
    let run = Run::start(&bench, &fake).await;
    soon().await;
    // It is not even woken.
    bench.write("a", 5);
    bench.write("bad", 1);
    bench.write("b", 5);
    let begun = Instant::now();
    run.drain(Duration::from_secs(10)).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(fake.sent().len(), 11);
    assert_eq!(bench.cursor("hook"), Some(bench.ids()[4]));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline() {
    let bench = Bench::new();
    let fake = Fake::new(|sent| if sent.account == "slow" { Reply::Hang } else { OK });
    let run = Run::start(&bench, &fake).await;
    bench.write("a", 5);
    bench.write("slow", 1);
    let begun = Instant::now();
    run.drain(Duration::from_secs(3)).await;
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(bench.cursor("hook"), Some(bench.ids()[4]));
}

#[tokio::test(start_paused = true)]
async fn a_projection_that_cannot_be_read_is_read_later() {
    let bench = Bench::new();
    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    bench.write("a", 3);
    bench.set_broken(true);
    run.wake();
    sleep_until(Instant::now() + Duration::from_secs(20)).await;
    assert_eq!(fake.sent().len(), 0);
    let error = run.driver.board.status(None).last_error.unwrap();
    assert_eq!(error, "the projection cannot be read: it is broken");
    bench.set_broken(false);
    soon().await;
    assert_eq!(fake.sent().len(), 3);
    run.kill().await;
}
