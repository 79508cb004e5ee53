//! Which signal is tried when, without sending anything.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use headroom_core::names::NameId;
use headroom_core::signal::{Signal, SignalName, SignalState};
use headroom_core::time::Window;
use headroom_engine::digest::SignalId;
use headroom_engine::ports::Seq;
use headroom_engine::told::Raised;
use tokio::time::Instant;

use super::NOW;
use crate::sinks::feed::Item;
use crate::sinks::lanes::{Batch, Failure, Fate, Lanes, Shape};
use crate::sinks::limits::{IN_FLIGHT_MAX, JITTER_PARTS, OUTAGE_PAUSES, RETRY_PAUSES};

const OF_SIGNAL: Failure = Failure { of_endpoint: false, retry_after: None };
const OF_ENDPOINT: Failure = Failure { of_endpoint: true, retry_after: None };

fn item(serial: u32, seq: u64) -> Item {
    let signal = Signal {
        name: SignalName::UsageCeiling,
        feature: NameId(0),
        limit: NameId(0),
        window: Window::lifetime(NOW),
        limit_revision: 1,
        crossed_bp: [10_000].into_iter().collect(),
        previous_units: 0,
        current_units: 100,
        included_units: 100,
        refused_units: 0,
        previous_state: SignalState::Ok,
        grace_until: None,
        foretold: None,
        trial: None,
        earned_by: None,
        state: SignalState::Alarm,
        at: NOW,
    };
    Item {
        id: SignalId { seq: Seq(seq), place: 0 },
        serial,
        signal: Raised::Found(signal),
        appraisal: None,
    }
}

/// Lanes of a sink that takes one signal per request, which is known by its account.
struct Singles {
    lanes: Lanes,
    under_way: HashMap<u32, Batch>,
}

impl Singles {
    fn new() -> Singles {
        Singles { lanes: Lanes::new(Shape::singly(IN_FLIGHT_MAX)), under_way: HashMap::new() }
    }

    fn push(&mut self, item: Item) {
        self.lanes.push(item);
    }

    fn next(&mut self, now: Instant) -> Option<Item> {
        let batch = self.lanes.next(now, |_| true)?;
        let [item] = &batch.items[..] else { panic!("one at a time: {batch:?}") };
        let item = item.clone();
        self.under_way.insert(item.serial, batch);
        Some(item)
    }

    fn succeeded(&mut self, serial: u32) -> bool {
        let batch = self.under_way.remove(&serial).unwrap();
        self.lanes.succeeded(&batch)
    }

    fn failed(&mut self, now: Instant, serial: u32, failure: Failure) -> Fate {
        let batch = self.under_way.remove(&serial).unwrap();
        self.lanes.failed(now, &batch, failure)
    }

    fn due_at(&self) -> Option<Instant> {
        self.lanes.due_at()
    }

    fn is_busy(&self) -> bool {
        self.lanes.is_busy()
    }
}

/// One signal for each of so many accounts, numbered from 1.
fn lanes(accounts: u32) -> Singles {
    let mut lanes = Singles::new();
    for serial in 1..=accounts {
        lanes.push(item(serial, u64::from(serial)));
    }
    lanes
}

#[track_caller]
fn next(lanes: &mut Singles, now: Instant) -> Option<u32> {
    lanes.next(now).map(|item| item.serial)
}

#[track_caller]
fn assert_pause(now: Instant, at: Instant, pause: Duration) {
    let longest = pause + pause / JITTER_PARTS;
    assert!((pause..=longest).contains(&(at - now)), "{:?} is not {pause:?}", at - now);
}

#[test]
fn an_account_has_one_delivery_under_way_and_the_others_do_not_wait_for_it() {
    let now = Instant::now();
    let mut lanes = Singles::new();
    for seq in 1..=6 {
        lanes.push(item(u32::try_from(seq % 2).unwrap(), seq));
    }
    assert_eq!(lanes.next(now).map(|item| item.id.seq.0), Some(1));
    assert_eq!(lanes.next(now).map(|item| item.id.seq.0), Some(2));
    assert_eq!(lanes.next(now), None);
    lanes.succeeded(0);
    assert_eq!(lanes.next(now).map(|item| item.id.seq.0), Some(4));
    assert_eq!(lanes.next(now), None);
    lanes.succeeded(1);
    assert_eq!(lanes.next(now).map(|item| item.id.seq.0), Some(3));
}

#[test]
fn so_many_deliveries_are_under_way_at_most() {
    let now = Instant::now();
    let mut lanes = lanes(40);
    let sent: HashSet<u32> = std::iter::from_fn(|| next(&mut lanes, now)).collect();
    assert_eq!(sent.len(), IN_FLIGHT_MAX);
    lanes.succeeded(1);
    assert_eq!(next(&mut lanes, now), Some(17));
    assert_eq!(next(&mut lanes, now), None);
}

#[test]
fn a_signal_that_alone_is_refused_follows_the_schedule_and_is_given_up_at_its_end() {
    let mut now = Instant::now();
    let mut lanes = lanes(1);
    lanes.push(item(1, 2));
    for pause in RETRY_PAUSES {
        assert_eq!(next(&mut lanes, now), Some(1));
        let Fate::Retry(at) = lanes.failed(now, 1, OF_SIGNAL) else { panic!("it is retried") };
        assert_pause(now, at, pause);
        assert_eq!(lanes.due_at(), Some(at));
        assert_eq!(next(&mut lanes, at - Duration::from_millis(1)), None);
        // Another account's signal is accepted meanwhile.
        lanes.push(item(9, 9));
        assert_eq!(next(&mut lanes, now), Some(9));
        lanes.succeeded(9);
        now = at;
    }
    assert_eq!(next(&mut lanes, now), Some(1));
    assert_eq!(lanes.failed(now, 1, OF_SIGNAL), Fate::GivenUp);
    // The account's next signal begins a schedule of its own.
    assert_eq!(lanes.next(now).map(|item| item.id.seq.0), Some(2));
    let Fate::Retry(at) = lanes.failed(now, 1, OF_SIGNAL) else { panic!("it is retried") };
    assert_pause(now, at, RETRY_PAUSES[0]);
}

#[test]
fn a_signal_is_never_given_up_while_nothing_else_is_accepted() {
    let mut now = Instant::now();
    let mut lanes = lanes(1);
    for count in 0..100 {
        assert_eq!(next(&mut lanes, now), Some(1));
        let Fate::Retry(at) = lanes.failed(now, 1, OF_SIGNAL) else { panic!("failure {count}") };
        now = at;
    }
}

#[test]
fn in_an_outage_one_probes_at_a_time_and_nobody_is_blamed() {
    let mut now = Instant::now();
    let mut lanes = lanes(3);
    assert_eq!(next(&mut lanes, now), Some(1));
    let Fate::Outage(at) = lanes.failed(now, 1, OF_ENDPOINT) else { panic!("an outage begins") };
    assert_pause(now, at, OUTAGE_PAUSES[0]);
    assert!(!lanes.is_busy());
    now = at;
    // Each probe is another account's, so that a bad signal cannot keep up an outage.
    let mut probes = Vec::new();
    for failures in 2..=40 {
        assert_eq!(lanes.due_at(), Some(now));
        let probe = next(&mut lanes, now).unwrap();
        assert_eq!(next(&mut lanes, now), None);
        assert_eq!(lanes.due_at(), None);
        let Fate::Outage(at) = lanes.failed(now, probe, OF_SIGNAL) else { panic!("it goes on") };
        assert_pause(now, at, OUTAGE_PAUSES[(failures - 1).min(OUTAGE_PAUSES.len() - 1)]);
        probes.push(probe);
        now = at;
    }
    for serial in 1..=3 {
        assert!(probes.iter().filter(|probe| **probe == serial).count() >= 12, "{probes:?}");
    }
    let probe = next(&mut lanes, now).unwrap();
    assert!(lanes.succeeded(probe));
    assert_eq!(std::iter::from_fn(|| next(&mut lanes, now)).count(), 2);
}

#[test]
fn refusals_of_several_accounts_in_a_row_are_an_outage() {
    let now = Instant::now();
    let mut lanes = lanes(4);
    for serial in 1..=4 {
        assert_eq!(next(&mut lanes, now), Some(serial));
    }
    assert!(matches!(lanes.failed(now, 1, OF_SIGNAL), Fate::Retry(_)));
    assert!(matches!(lanes.failed(now, 2, OF_SIGNAL), Fate::Retry(_)));
    let Fate::Outage(probe_at) = lanes.failed(now, 3, OF_SIGNAL) else { panic!("an outage") };
    // What was sent before neither prolongs it nor makes a second probe.
    assert_eq!(lanes.failed(now, 4, OF_SIGNAL), Fate::Outage(probe_at));
    assert_eq!(next(&mut lanes, now), None);
    assert_eq!(next(&mut lanes, probe_at), Some(4));
}

#[test]
fn refusals_with_a_success_in_between_are_no_outage() {
    let now = Instant::now();
    let mut lanes = lanes(5);
    for serial in 1..=5 {
        assert_eq!(next(&mut lanes, now), Some(serial));
    }
    assert!(matches!(lanes.failed(now, 1, OF_SIGNAL), Fate::Retry(_)));
    assert!(matches!(lanes.failed(now, 2, OF_SIGNAL), Fate::Retry(_)));
    lanes.succeeded(3);
    assert!(matches!(lanes.failed(now, 4, OF_SIGNAL), Fate::Retry(_)));
    assert!(matches!(lanes.failed(now, 5, OF_SIGNAL), Fate::Retry(_)));
}

#[test]
fn a_timeout_while_others_are_accepted_is_the_signals_fault() {
    let now = Instant::now();
    let mut lanes = lanes(3);
    for serial in 1..=3 {
        assert_eq!(next(&mut lanes, now), Some(serial));
    }
    lanes.succeeded(2);
    assert!(matches!(lanes.failed(now, 1, OF_ENDPOINT), Fate::Retry(_)));
    lanes.push(item(2, 9));
    assert_eq!(next(&mut lanes, now), Some(2));
}

#[test]
fn an_endpoint_may_ask_for_a_longer_pause_but_not_for_ever() {
    let check = |failure: Failure, asked_s: u64, expected_s: u64| {
        let now = Instant::now();
        let mut lanes = lanes(1);
        next(&mut lanes, now);
        let failure = Failure { retry_after: Some(Duration::from_secs(asked_s)), ..failure };
        let (Fate::Retry(at) | Fate::Outage(at)) = lanes.failed(now, 1, failure) else {
            panic!("it is retried")
        };
        assert_pause(now, at, Duration::from_secs(expected_s));
    };
    for failure in [OF_SIGNAL, OF_ENDPOINT] {
        check(failure, 0, 5);
        check(failure, 90, 90);
        check(failure, u64::MAX, 24 * 3600);
    }
}

fn batched(batch_max: usize) -> Lanes {
    Lanes::new(Shape { batch_max, in_flight_max: 2, pace: Duration::ZERO })
}

/// The numbers of the next signals that go together.
#[track_caller]
fn together(lanes: &mut Lanes, now: Instant) -> (Vec<u64>, Batch) {
    let batch = lanes.next(now, |_| true).expect("something is ready");
    (batch.items.iter().map(|item| item.id.seq.0).collect(), batch)
}

#[test]
fn what_waits_goes_together_and_the_order_of_an_account_is_kept() {
    let now = Instant::now();
    let mut lanes = batched(4);
    for (serial, seq) in [(1, 1), (2, 2), (1, 3), (1, 4), (3, 5), (2, 6)] {
        lanes.push(item(serial, seq));
    }
    let (first, one) = together(&mut lanes, now);
    assert_eq!(first, [1, 3, 4, 2]);
    // The rest of an account waits until what is before it has arrived.
    let (second, other) = together(&mut lanes, now);
    assert_eq!(second, [5]);
    lanes.push(item(4, 7));
    assert_eq!(lanes.next(now, |_| true), None, "two requests at most");
    lanes.succeeded(&other);
    lanes.succeeded(&one);
    assert_eq!(together(&mut lanes, now).0, [7, 6]);
}

#[test]
fn a_batch_is_no_longer_than_there_is_room_for() {
    let now = Instant::now();
    let mut lanes = batched(100);
    for seq in 1..=5 {
        lanes.push(item(u32::try_from(seq % 2).unwrap(), seq));
    }
    // Two have room, and a single one that has none goes alone all the same.
    let mut room = 2;
    let fits = |_: &Item| {
        room -= 1;
        room >= 0
    };
    let batch = lanes.next(now, fits).unwrap();
    assert_eq!(batch.items.iter().map(|item| item.id.seq.0).collect::<Vec<_>>(), [1, 3]);
    let batch = lanes.next(now, |_| false).unwrap();
    assert_eq!(batch.items.iter().map(|item| item.id.seq.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn of_a_batch_that_is_refused_each_goes_alone_and_only_the_culprit_waits() {
    let now = Instant::now();
    let mut lanes = batched(100);
    for (serial, seq) in [(1, 1), (1, 2), (1, 3), (2, 4)] {
        lanes.push(item(serial, seq));
    }
    let (all, batch) = together(&mut lanes, now);
    assert_eq!(all, [1, 2, 3, 4]);
    assert_eq!(lanes.failed(now, &batch, OF_SIGNAL), Fate::OneByOne);
    let (first, one) = together(&mut lanes, now);
    let (fourth, four) = together(&mut lanes, now);
    assert_eq!((first, fourth), (vec![1], vec![4]));
    lanes.succeeded(&one);
    lanes.succeeded(&four);
    let (second, two) = together(&mut lanes, now);
    assert_eq!(second, [2]);
    let Fate::Retry(at) = lanes.failed(now, &two, OF_SIGNAL) else { panic!("it is the culprit") };
    assert_pause(now, at, RETRY_PAUSES[0]);
    // Others are not held up by it, and go together again.
    lanes.push(item(2, 5));
    lanes.push(item(2, 6));
    assert_eq!(together(&mut lanes, now).0, [5, 6]);
    let (second, two) = together(&mut lanes, at);
    assert_eq!(second, [2]);
    lanes.succeeded(&two);
    assert_eq!(together(&mut lanes, at).0, [3]);
}

#[test]
fn an_outage_is_seen_by_one_batch_and_probed_by_one_signal() {
    let now = Instant::now();
    let mut lanes = batched(100);
    for serial in 1..=5 {
        lanes.push(item(serial, u64::from(serial)));
    }
    let (_, batch) = together(&mut lanes, now);
    let Fate::Outage(at) = lanes.failed(now, &batch, OF_ENDPOINT) else { panic!("an outage") };
    assert_pause(now, at, OUTAGE_PAUSES[0]);
    assert_eq!(lanes.due_at(), Some(at));
    assert_eq!(lanes.next(at - Duration::from_millis(1), |_| true), None);
    let (probe, batch) = together(&mut lanes, at);
    assert_eq!(probe.len(), 1);
    assert!(lanes.succeeded(&batch));
}

#[test]
fn a_pace_is_kept_whatever_becomes_of_the_requests() {
    let mut now = Instant::now();
    let pace = Duration::from_secs(1);
    let mut lanes = Lanes::new(Shape { batch_max: 1, in_flight_max: 1, pace });
    for serial in 1..=4 {
        lanes.push(item(serial, u64::from(serial)));
    }
    for round in 0..3 {
        let (_, batch) = together(&mut lanes, now);
        match round {
            0 => drop(lanes.succeeded(&batch)),
            _ => assert!(matches!(lanes.failed(now, &batch, OF_SIGNAL), Fate::Retry(_))),
        }
        assert_eq!(lanes.next(now + pace / 2, |_| true), None);
        assert_eq!(lanes.due_at(), Some(now + pace));
        now += pace;
    }
}
