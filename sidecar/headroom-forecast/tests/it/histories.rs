use headroom_forecast::limits::{DAYS_MAX, HOURS_MAX};
use headroom_forecast::{History, Step};

use crate::{DAY, HOUR, MONDAY, Random};

fn total(steps: impl Iterator<Item = Step>) -> u64 {
    steps.map(|step| step.units).sum()
}

#[test]
fn a_gap_is_spread_over_its_hours() {
    let mut history = History::new(MONDAY + HOUR / 2);
    history.observe(MONDAY + 3 * HOUR, 50);
    let units: Vec<u64> = history.hours().map(|step| step.units).collect();
    assert_eq!(units, [10, 20, 20]);
    let first = history.hours().next().unwrap();
    assert_eq!((first.from_ms, first.to_ms), (MONDAY + HOUR / 2, MONDAY + HOUR));
    assert_eq!(total(history.days()), 50);
}

#[test]
fn whatever_is_observed_is_kept_to_the_unit_while_it_fits() {
    for seed in 0..50 {
        let mut random = Random(seed);
        let mut history = History::new(MONDAY + random.below(DAY.unsigned_abs()).cast_signed());
        let mut sum = 0;
        for _ in 0..100 {
            let units = random.below(1000);
            let forward = random.below(5 * HOUR.unsigned_abs()).cast_signed();
            history.observe(history.until_ms() + forward, units);
            sum += units;
        }
        assert_eq!(total(history.hours()), sum, "seed {seed}");
        assert_eq!(total(history.days()), sum, "seed {seed}");
        assert_eq!(History::from_bytes(&history.to_bytes()), Some(history), "seed {seed}");
    }
}

#[test]
fn an_observation_of_no_time_counts_in_the_last_hour() {
    let mut history = History::new(MONDAY);
    history.observe(MONDAY, 3);
    history.observe(MONDAY + HOUR, 4);
    history.observe(MONDAY + HOUR, 5);
    history.observe(MONDAY - DAY, 6);
    assert_eq!(history.hours().map(|step| step.units).collect::<Vec<u64>>(), [18]);
}

#[test]
fn the_oldest_leave_and_a_clock_may_jump_by_years() {
    let mut history = History::new(MONDAY);
    for hour in 1..2000 {
        history.observe(MONDAY + hour * HOUR, 1);
    }
    assert_eq!(history.hours().len(), HOURS_MAX);
    assert_eq!(total(history.hours()), HOURS_MAX as u64);
    assert_eq!(total(history.days()), 1999);
    history.observe(MONDAY + 5000 * DAY, 5000);
    assert_eq!((history.hours().len(), history.days().len()), (HOURS_MAX, DAYS_MAX));
    history.observe(i64::MAX, u64::MAX);
    history.observe(i64::MIN, u64::MAX);
    assert_eq!(history.days().len(), DAYS_MAX);
    assert!(History::new(i64::MIN).hours().len() == 0);
}

#[test]
fn what_was_counted_too_much_is_taken_from_the_newest_hours() {
    let mut history = History::new(MONDAY);
    history.observe(MONDAY + HOUR, 10);
    history.observe(MONDAY + 2 * HOUR, 10);
    history.take_back(13);
    assert_eq!(history.hours().map(|step| step.units).collect::<Vec<u64>>(), [7, 0]);
    history.take_back(u64::MAX);
    assert_eq!(total(history.days()), 0);
}

#[test]
fn bytes_that_are_no_history_are_none() {
    let mut history = History::new(MONDAY);
    history.observe(MONDAY + 40 * DAY, 123_456_789);
    let bytes = history.to_bytes();
    for length in 0..bytes.len() {
        assert_eq!(History::from_bytes(&bytes[..length]), None, "{length}");
    }
    for place in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[place] = value;
            // Whatever is read is a history that can go on.
            if let Some(mut read) = History::from_bytes(&changed) {
                read.observe(read.until_ms().saturating_add(HOUR), 1);
                assert!(read.hours().len() <= HOURS_MAX);
            }
        }
    }
}
