//! The load generator against a fake.

use super::fake::Fake;
use super::*;
use std::sync::atomic::Ordering;

const SHAPES: [Shape; 5] = [
    Shape::Unary { in_flight: 1 },
    Shape::Unary { in_flight: 9 },
    Shape::Stream { batch: 1 },
    Shape::Stream { batch: 128 },
    Shape::Sdk { in_flight: 9 },
];

/// Runs a load for a moment that begins now.
fn run(fake: &Fake, shape: Shape) -> Result<Tally, Error> {
    let begin = Instant::now();
    let window = Window::new();
    window.open(begin, begin + Duration::from_millis(40));
    let core = Cores::split()?.client[0];
    // Pins its thread, so it gets one.
    thread::scope(|scope| {
        let load = move || load(&fake.endpoint, shape, shape.in_flight(), 0, core, window);
        scope.spawn(load).join().expect("a load does not panic")
    })
}

#[test]
fn a_load_counts_what_was_answered_and_leaves_nothing_behind() {
    for shape in SHAPES {
        let fake = Fake::start(true);
        let tally = run(&fake, shape).unwrap_or_else(|error| panic!("{shape:?}: {error}"));
        let decided = fake.decided.load(Ordering::Relaxed);
        assert!(0 < tally.decisions && tally.decisions <= decided, "{shape:?}");
        assert_eq!(tally.latency_ns.len(), tally.decisions, "{shape:?}");
        // What was in flight at the end was waited for, and counts no more.
        assert!(decided <= tally.decisions + shape.in_flight() as u64, "{shape:?}");
    }
}

#[test]
fn a_refusal_ends_a_load() {
    let fake = Fake::start(false);
    for shape in SHAPES {
        let error = run(&fake, shape).expect_err("everything is refused");
        assert!(matches!(error, Error::WrongAnswer(_)), "{shape:?}: {error}");
    }
}

#[test]
fn filling_sends_one_record_per_account() {
    let fake = Fake::start(true);
    block_on(fill(&fake.endpoint, 5..1_305)).expect("all are counted");
    assert_eq!(fake.decided.load(Ordering::Relaxed), 1_300);
}

#[track_caller]
fn check_shares(shape: Shape, shares: &[usize]) {
    let threads = shares.len();
    let all: Vec<usize> = (0..threads).map(|thread| share(shape, threads, thread)).collect();
    assert_eq!(all, shares);
    assert_eq!(all.iter().sum::<usize>(), shape.in_flight());
}

#[test]
fn threads_share_what_is_in_flight_in_whole_messages() {
    check_shares(Shape::Unary { in_flight: 64 }, &[64]);
    check_shares(Shape::Unary { in_flight: 8 }, &[3, 3, 2]);
    check_shares(Shape::Stream { batch: 128 }, &[128, 128]);
    check_shares(Shape::Stream { batch: 16 }, &[96, 80, 80]);
    check_shares(Shape::Evalsha, &[128, 128]);
}
