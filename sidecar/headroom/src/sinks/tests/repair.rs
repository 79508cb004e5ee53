//! Dead letters, pauses and ids: what operators see and repair, over restarts and power cuts.

use std::fs;
use std::time::Duration;

use headroom_core::time::Millis;
use headroom_engine::digest::SignalId;
use headroom_engine::ports::Seq;
use tokio::time::sleep;

use super::webhook::{Fake, HOUR, OK, Reply, Run, soon, texts};
use super::{Bench, ndjson};
use crate::sinks::dead::{Kept, Letter, Why};
use crate::sinks::ids::{Starts, note_start};
use crate::sinks::limits::{DEAD_LETTERS_MAX, PAGE_ROWS};

/// Longer than the schedule of a signal that is refused.
const GIVEN_UP: Duration = Duration::from_secs(100 * HOUR);

fn refuse_bad() -> Fake {
    Fake::new(|sent| if sent.account == "bad" { Reply::Status(422) } else { OK })
}

fn letters(run: &Run) -> Vec<(SignalId, Why, bool)> {
    let letters = run.driver.board.letters().unwrap();
    letters.into_iter().map(|(_, one)| (one.id, one.why, one.is_sent_again)).collect()
}

fn send_again(run: &Run, ids: &[SignalId]) -> usize {
    let (_, count) = run.driver.board.send_again(ids);
    run.wake();
    count
}

/// A sink that has given up the first signal of account `bad`.
async fn given_up(bench: &Bench, fake: &Fake) -> Run {
    let run = Run::start(bench, fake).await;
    bench.write("bad", 1);
    bench.write("good", 1);
    run.wake();
    sleep(GIVEN_UP).await;
    assert_eq!(letters(&run), [(bench.ids()[0], Why::Status(422), false)]);
    run
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_outlasts_a_crash_and_is_sent_again_under_its_id() {
    let bench = Bench::new();
    let fake = refuse_bad();
    given_up(&bench, &fake).await.kill().await;

    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    soon().await;
    assert_eq!(fake.sent(), [], "nobody has asked for it");
    let id = bench.ids()[0];
    assert_eq!(letters(&run), [(id, Why::Status(422), false)]);
    assert_eq!(send_again(&run, &[id]), 1);
    assert_eq!(send_again(&run, &[id]), 0, "it is on its way");
    soon().await;
    assert_eq!(fake.ids(), [id.to_string()]);
    assert_eq!(letters(&run), []);
    let status = run.driver.board.status(Some(2));
    assert_eq!((status.delivered, status.dead_letters_kept, status.pending), (1, 0, 0));
    run.kill().await;

    let run = Run::start(&bench, &fake).await;
    assert_eq!(letters(&run), []);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_on_after_a_crash() {
    let bench = Bench::new();
    let run = given_up(&bench, &refuse_bad()).await;
    send_again(&run, &[bench.ids()[0]]);
    run.kill().await;

    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    soon().await;
    assert_eq!(fake.ids(), [bench.ids()[0].to_string()]);
    assert_eq!(letters(&run), []);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_in_vain_is_a_dead_letter_again() {
    let bench = Bench::new();
    let fake = refuse_bad();
    let run = given_up(&bench, &fake).await;
    let id = bench.ids()[0];
    fake.answer(|sent| if sent.account == "bad" { Reply::Status(400) } else { OK });
    send_again(&run, &[id]);
    soon().await;
    assert_eq!(letters(&run), [(id, Why::Status(422), true)]);
    bench.write("good", 1); // Only an endpoint that accepts others proves that it is the signal.
    run.wake();
    sleep(GIVEN_UP).await;
    assert_eq!(letters(&run), [(id, Why::Status(400), false)]);
    assert_eq!(run.driver.board.status(None).dead_letters, 2);
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_not_tried_again_because_a_crash_took_the_cursor_back() {
    let bench = Bench::new();
    let fake = Fake::new(|sent| match &*sent.account {
        "stuck" => Reply::RetryAfter(422, 24 * HOUR),
        "bad" => Reply::Status(422),
        _ => OK,
    });
    let run = Run::start(&bench, &fake).await;
    bench.write("stuck", 1);
    bench.write("bad", 1);
    bench.write("good", 1);
    run.wake();
    sleep(GIVEN_UP).await;
    assert_eq!(letters(&run), [(bench.ids()[1], Why::Status(422), false)]);
    assert!(bench.cursor("hook").unwrap() < bench.ids()[0]);
    run.kill().await;

    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    soon().await;
    let mut ids = fake.ids();
    ids.sort();
    assert_eq!(ids, texts(&[bench.ids()[0], bench.ids()[2]]));
    assert_eq!(bench.cursor("hook"), Some(bench.ids()[2]));
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_sink_rests_over_a_crash_and_loses_nothing() {
    let bench = Bench::new();
    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    run.driver.board.pause(true).unwrap();
    bench.write("a", 2);
    run.wake();
    sleep(Duration::from_secs(HOUR)).await;
    run.kill().await;

    let run = Run::start(&bench, &fake).await;
    sleep(Duration::from_secs(HOUR)).await;
    assert_eq!(fake.sent(), []);
    let status = run.driver.board.status(Some(2));
    assert!(status.paused && status.failing_since.is_none());
    assert_eq!((status.pending, status.attempts), (2, 0));
    assert!(status.lag >= Duration::from_secs(HOUR), "{:?}", status.lag);

    run.driver.board.pause(false).unwrap();
    run.wake();
    soon().await;
    assert_eq!(fake.ids(), texts(&bench.ids()));
    let status = run.driver.board.status(Some(2));
    assert_eq!((status.paused, status.pending, status.lag), (false, 0, Duration::ZERO));
    run.kill().await;
    let run = Run::start(&bench, &fake).await;
    assert!(!run.driver.board.status(None).paused);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_sink_stops_at_once() {
    let bench = Bench::new();
    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    run.driver.board.pause(true).unwrap();
    bench.write("a", 2);
    run.drain(Duration::from_secs(HOUR)).await;
    assert_eq!(fake.sent(), []);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_was_gone_is_tried_again_when_its_sink_is_resumed() {
    let bench = Bench::new();
    let fake = Fake::new(|_| Reply::Status(410));
    let run = Run::start(&bench, &fake).await;
    for account in ["a", "b", "c"] {
        bench.write(account, 2);
    }
    run.wake();
    sleep(Duration::from_secs(HOUR)).await;
    assert_eq!(fake.sent().len(), 3, "those that were under way");
    let status = run.driver.board.status(Some(6));
    assert_eq!((status.disabled, status.attempts_failed, status.pending), (true, 3, 6));

    fake.answer(|_| OK);
    run.driver.board.pause(false).unwrap();
    run.wake();
    soon().await;
    let status = run.driver.board.status(Some(6));
    assert_eq!((status.disabled, status.delivered, status.pending), (false, 6, 0));
    assert_eq!(bench.cursor("hook"), bench.ids().last().copied());
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_accepts_nothing_is_tried_at_once_when_its_sink_is_resumed() {
    let bench = Bench::new();
    let fake = Fake::new(|_| Reply::Status(503));
    let run = Run::start(&bench, &fake).await;
    bench.write("a", 2);
    run.wake();
    sleep(Duration::from_secs(HOUR)).await;
    let failed = run.driver.board.status(Some(2)).attempts_failed;
    assert!(failed > 5, "{failed}");

    fake.answer(|_| OK);
    soon().await;
    assert_eq!(run.driver.board.status(Some(2)).delivered, 0, "its next attempt is minutes away");
    run.driver.board.pause(false).unwrap();
    run.wake();
    soon().await;
    let status = run.driver.board.status(Some(2));
    assert_eq!((status.delivered, status.pending), (2, 0));
    run.kill().await;
}

#[tokio::test]
async fn a_file_gets_a_signal_that_could_not_be_read_once_it_can() {
    let bench = Bench::new();
    let run = ndjson::Run::start(&bench).await;
    bench.hold();
    bench.write("a", 3);
    bench.release();
    let ids = bench.ids();
    let row = bench.put_row(ids[1], vec![0xff]);
    run.driver.wake.send_replace(());
    let board = run.driver.board.clone();
    let until = async |what: &dyn Fn() -> bool| {
        let reached = async {
            while !what() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap();
    };
    until(&|| board.status(None).delivered == 2).await;
    let kept = |board: &crate::sinks::status::Board| board.letters().unwrap()[0].1;
    assert_eq!((kept(&board).id, kept(&board).why), (ids[1], Why::Unreadable));
    // It still cannot be read.
    board.send_again(&ids[1..2]);
    run.driver.wake.send_replace(());
    until(&|| board.status(None).dead_letters == 2).await;
    assert!(!kept(&board).is_sent_again);
    bench.put_row(ids[1], row);
    board.send_again(&ids[1..2]);
    run.driver.wake.send_replace(());
    until(&|| board.status(None).delivered == 3).await;
    assert_eq!(board.letters().unwrap(), []);
    run.drain().await;
    let path = ndjson::path(&bench);
    assert_eq!(ndjson::ids(&path), texts(&[ids[0], ids[2], ids[1]]));
    fs::remove_file(path).unwrap();
}

#[test]
fn so_many_dead_letters_are_kept_and_then_the_oldest_leaves() {
    let bench = Bench::new();
    let load = || {
        let engine = bench.wiring.engine.clone();
        Kept::load(&*bench.wiring.archive, engine, "hook".into()).unwrap()
    };
    let letter = |number: usize| Letter {
        id: SignalId {
            seq: Seq(1_000 - number as u64 % 7),
            place: u16::try_from(number).expect("small"),
        },
        given_up_at: Millis(1_000 + number as i64),
        why: Why::NoAnswer,
        is_sent_again: false,
    };
    let mut kept = load();
    for number in 0..DEAD_LETTERS_MAX + 5 {
        assert!(kept.keep(letter(number)));
        assert!(!kept.keep(letter(number)), "once each");
    }
    let again = load();
    assert_eq!(again.letters(), kept.letters());
    assert_eq!(again.len(), DEAD_LETTERS_MAX);
    for number in 0..DEAD_LETTERS_MAX + 5 {
        assert_eq!(again.contains(letter(number).id), number >= 5, "{number}");
    }
    // Another sink whose name begins alike has none of them.
    let engine = bench.wiring.engine.clone();
    assert_eq!(Kept::load(&*bench.wiring.archive, engine, "hoo".into()).unwrap().len(), 0);
}

/// Positions that a power cut takes are given away again; ids are not.
#[tokio::test(start_paused = true)]
async fn an_id_is_given_away_once_also_after_a_power_cut() {
    let bench = Bench::new();
    bench.write("old", 1); // By a version that knew no starts.
    let position = || (bench.wiring.positions)().appended;
    let starts = || Starts::load(&*bench.wiring.archive).unwrap();
    let last = || starts().text(*bench.ids().last().unwrap());
    let first_id = last();
    assert_eq!(first_id, bench.ids()[0].to_string());

    note_start(&bench.wiring.engine, 1, position());
    bench.write("a", 1);
    let by_first = last();
    assert!(by_first.starts_with("sig_00000001_"), "{by_first}");
    // The power cut takes what this start journals.
    bench.hold();
    let cut_at = position();
    note_start(&bench.wiring.engine, 2, cut_at);
    bench.write("b", 1);
    let taken = SignalId { seq: position(), place: 0 };
    bench.forget();
    assert_eq!(position(), cut_at);
    note_start(&bench.wiring.engine, 3, position());
    bench.write("c", 1);
    assert_eq!(*bench.ids().last().unwrap(), taken, "the position is given away again");
    let by_third = last();
    assert!(by_third.starts_with("sig_00000003_"), "{by_third}");

    // Whoever delivers them, in whichever process, by the same ids.
    note_start(&bench.wiring.engine, 4, position());
    let texts: Vec<String> = bench.ids().into_iter().map(|id| starts().text(id)).collect();
    assert_eq!(texts, [first_id, by_first, by_third.clone()]);
    let fake = Fake::new(|_| OK);
    let run = Run::start(&bench, &fake).await;
    bench.write("d", 1);
    run.wake();
    soon().await;
    assert_eq!(fake.ids(), [last()]);
    assert!(fake.ids()[0].starts_with("sig_00000004_"));
    run.kill().await;
}

#[test]
fn starts_are_read_page_by_page_and_one_that_lost_its_end_counts_no_more() {
    let bench = Bench::new();
    let engine = &bench.wiring.engine;
    let last = 2 * u32::try_from(PAGE_ROWS).expect("small") + 3;
    for boot in 1..=last {
        note_start(engine, boot, Seq(u64::from(boot) * 10));
    }
    let starts = Starts::load(&*bench.wiring.archive).unwrap();
    let text = |seq| starts.text(SignalId { seq: Seq(seq), place: 0 });
    assert_eq!(text(10), "sig_000000000000000a0000");
    assert_eq!(text(11), "sig_00000001_000000000000000b0000");
    assert!(text(20).starts_with("sig_00000001_") && text(21).starts_with("sig_00000002_"));
    assert!(text(u64::MAX).starts_with(&format!("sig_{last:08x}_")));
    // A row that survived although the records of its time did not.
    note_start(engine, last + 1, Seq(25));
    let starts = Starts::load(&*bench.wiring.archive).unwrap();
    let text = |seq| starts.text(SignalId { seq: Seq(seq), place: 0 });
    assert!(text(25).starts_with("sig_00000002_"));
    assert!(text(26).starts_with(&format!("sig_{:08x}_", last + 1)));
    assert!(text(500).starts_with(&format!("sig_{:08x}_", last + 1)));
}

#[test]
fn sinks_share_no_names_with_what_is_kept_of_them() {
    let bench = Bench::new();
    let engine = bench.wiring.engine.clone();
    Kept::new(engine, "hook".into()).pause(true);
    assert_eq!(bench.cursor("hook"), None);
    assert_eq!(ndjson("hook").sink, "hook");
}
