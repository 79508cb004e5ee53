//! Whether usage falls, in the account's own rhythm.

use headroom_forecast::limits::DAY_MS;
use headroom_forecast::{History, trend};

use crate::Random;

/// Thousandths of change, of a history of so many units on each day; it begins on a Monday.
fn change(days: impl IntoIterator<Item = u64>) -> Option<i64> {
    let mut history = History::new(4 * DAY_MS);
    for (units, day) in days.into_iter().zip(5..) {
        history.observe(day * DAY_MS, units);
    }
    trend(&history).map(|trend| trend.change_permille)
}

#[test]
fn nothing_is_said_before_ten_weeks_nor_of_who_hardly_uses_anything() {
    assert_eq!(change([10; 70]), None, "the first day is no whole one");
    assert_eq!(change([10; 71]), Some(0));
    let rarely = (0..100).map(|day| u64::from(day % 4 == 0) * 50);
    assert_eq!(change(rarely), None, "on seven days of four weeks");
    assert_eq!(change([0; 100]), None);
}

#[test]
fn a_fall_and_a_rise_are_told_in_thousandths_and_a_weekly_rhythm_is_none() {
    let falls = |to: u64| (0..100).map(move |day| if day < 72 { 100 } else { to });
    assert_eq!(change(falls(60)), Some(-400));
    assert_eq!(change(falls(0)), Some(-1_000));
    assert_eq!(change(falls(150)), Some(500));
    let weekly = |to: u64| {
        (0..100).map(move |day| {
            let level = if day < 72 { 100 } else { to };
            if day % 7 < 5 { level } else { 0 }
        })
    };
    assert_eq!(change(weekly(100)), Some(0));
    assert_eq!(change(weekly(50)), Some(-500));
}

#[test]
fn one_bad_week_and_one_burst_are_no_trend() {
    let holiday = (0..100).map(|day| if (86..93).contains(&day) { 0 } else { 100 });
    assert_eq!(change(holiday), Some(0));
    let burst = (0..100).map(|day| if (50..53).contains(&day) { 2_000 } else { 100 });
    assert_eq!(change(burst), Some(0));
}

#[test]
fn what_is_uneven_has_to_fall_further_to_be_told() {
    // On every fourth day or so, much or little.
    let uneven = |seed: u64, part: u64| {
        let mut random = Random(seed);
        let days: Vec<u64> = (0..100)
            .map(|day| {
                let (draw, size) = (random.below(100), random.below(100));
                let (level, days) = if day < 72 { (100, 45) } else { (part, 45 * part / 100) };
                if draw < days { size * size * level / 100 } else { 0 }
            })
            .collect();
        change(days)
    };
    let told =
        |part| (0..200).filter(|seed| uneven(*seed, part).is_some_and(|c| c <= -300)).count();
    let (unchanged, halved, gone) = (told(100), told(50), told(2));
    assert!(unchanged <= 4, "{unchanged} of 200 without reason");
    assert!(unchanged < halved && halved < gone && gone >= 100, "{halved} and {gone} of 200");
}

#[test]
fn who_has_stopped_is_told_though_nothing_is_written_any_more() {
    let mut history = History::new(0);
    (1..=80).for_each(|day| history.observe(day * DAY_MS, 10));
    history.observe(108 * DAY_MS, 0);
    assert_eq!(trend(&history).map(|trend| trend.change_permille), Some(-1_000));
    history.observe(140 * DAY_MS, 0);
    assert_eq!(trend(&history), None, "there is no habit left to fall");
}
