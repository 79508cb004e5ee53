use std::collections::{BTreeMap, BTreeSet};

use headroom_expansion::activity::{Activity, Changed, infer_active_seats};
use headroom_expansion::days::{Day, Days, SPAN};
use headroom_expansion::facts::{Facts, Value};
use headroom_expansion::limits::{FEATURES_MAX, PEOPLE_MAX};

use crate::facts;

/// Numbers that look like chance (splitmix64), the same every time for a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> i32 {
        i32::try_from(self.next() % end).unwrap()
    }
}

#[test]
fn days_are_as_a_set_of_days_in_whatever_order_they_come() {
    for seed in 0..500 {
        let mut numbers = Numbers(seed);
        let first = numbers.below(100);
        let (mut days, mut model) = (Days::on(Day(first)), BTreeSet::from([first]));
        for _ in 0..40 {
            let day = numbers.below(100);
            days = days.with(Day(day));
            model.insert(day);
            let last = *model.last().unwrap();
            model.retain(|day| last - day < 32);
            let today = numbers.below(140);
            let span = u32::try_from(numbers.below(u64::from(SPAN) + 1)).unwrap();
            let from = today - i32::try_from(span).unwrap();
            let expected = model.iter().filter(|day| from < **day && **day <= today).count();
            assert_eq!(days.count(Day(today), span) as usize, expected, "seed {seed}");
            assert_eq!(days.last(), Day(last));
            let (last, bits) = days.parts();
            assert_eq!(Days::from_parts(last, bits), Some(days));
        }
    }
}

#[test]
fn days_at_the_ends_of_the_calendar_do_no_harm() {
    let days = Days::on(Day(i32::MIN)).with(Day(i32::MAX)).with(Day(i32::MIN));
    assert_eq!(days.count(Day(i32::MAX), 99), 1);
    assert_eq!(days.count(Day(i32::MIN), 30), 0);
}

#[test]
fn what_is_told_twice_changes_nothing_and_what_changed_brings_it_all_back() {
    for seed in 0..50 {
        let mut numbers = Numbers(seed);
        let (mut activity, mut copy) = (Activity::default(), Activity::default());
        for _ in 0..3_000 {
            let day = Day(numbers.below(60));
            let mut changed = Vec::new();
            let person = numbers.next() % 2_000;
            activity.person(person << 20 | person, day, &mut changed);
            let feature = format!("f{}", numbers.below(20));
            activity.feature(&feature, day, &mut changed).unwrap();
            changed.into_iter().for_each(|change| copy.restore(change));
            assert_eq!(activity.feature(&feature, day, &mut Vec::new()), Ok(()));
        }
        assert_eq!(activity, copy, "seed {seed}");
        let mut again = Vec::new();
        let known = activity.clone();
        activity.feature("f1", Day(0), &mut again).unwrap();
        activity.feature("f1", Day(0), &mut again).unwrap();
        assert!(again.len() <= 1 && (activity == known || again.len() == 1));
    }
}

#[test]
fn people_are_counted_exactly_up_to_the_bound_and_then_estimated_and_that_is_said() {
    for people in [1, 500, PEOPLE_MAX as u64, 5_000, 50_000] {
        let (mut activity, mut numbers) = (Activity::default(), Numbers(people));
        for _ in 0..people {
            activity.person(numbers.next(), Day(10), &mut Vec::new());
        }
        let sum = activity.summary(Day(10), 3);
        assert_eq!(sum.is_estimate, people > PEOPLE_MAX as u64);
        let off = sum.active_users.abs_diff(people);
        let allowed = if sum.is_estimate { people / 8 } else { 0 };
        assert!(off <= allowed, "{} for {people}", sum.active_users);
    }
}

#[test]
fn whoever_was_not_there_for_long_makes_room_first() {
    let (mut activity, mut numbers) = (Activity::default(), Numbers(1));
    for _ in 0..PEOPLE_MAX {
        activity.person(numbers.next(), Day(0), &mut Vec::new());
    }
    for _ in 0..PEOPLE_MAX {
        activity.person(numbers.next(), Day(40), &mut Vec::new());
    }
    let sum = activity.summary(Day(40), 3);
    assert_eq!((sum.active_users, sum.is_estimate), (PEOPLE_MAX as u64, false));
}

#[test]
fn a_feature_is_adopted_by_use_on_three_days_and_the_257th_is_refused() {
    let mut activity = Activity::default();
    let mut changed = Vec::new();
    for (feature, days) in [("a", 3), ("b", 2), ("c", 30)] {
        for day in 0..days {
            activity.feature(feature, Day(day), &mut changed).unwrap();
        }
    }
    assert_eq!(activity.summary(Day(29), 3).features_adopted, 2);
    assert_eq!(activity.summary(Day(31), 3).features_adopted, 1, "of a, one day is left");
    for place in 3..FEATURES_MAX {
        activity.feature(&place.to_string(), Day(29), &mut changed).unwrap();
    }
    assert!(activity.feature("more", Day(29), &mut changed).is_err());
    activity.feature("more", Day(32), &mut changed).unwrap();
    assert!(changed.contains(&Changed::FeatureForgotten("b".into())));
}

#[test]
fn daily_over_monthly_users_is_the_mean_share_of_days() {
    let mut activity = Activity::default();
    for day in 0..30 {
        activity.person(1, Day(day), &mut Vec::new());
    }
    for day in 0..6 {
        activity.person(2, Day(day), &mut Vec::new());
    }
    let mut found = Facts::default();
    activity.infer(Day(29), 3, &mut found);
    assert_eq!(found.number("dau_mau_percent"), Some(60_000), "36 of 60 days");
    assert_eq!(found.number("active_users"), Some(2_000));
    assert_eq!(found.number("days_since_login"), Some(0));
    assert_eq!(found.get("features_adopted"), None, "nothing was told of features");
}

#[test]
fn active_seats_are_a_share_and_need_both_numbers() {
    let mut found = facts(&[("active_users", "4"), ("seats", "6")]);
    infer_active_seats(&mut found);
    assert_eq!(found.get("active_seats_percent"), Some(&Value::Number(66_666)));
    for words in [&[("active_users", "4")][..], &[("active_users", "4"), ("seats", "0")]] {
        let mut found = facts(words);
        infer_active_seats(&mut found);
        assert_eq!(found.get("active_seats_percent"), None);
    }
}

#[test]
fn a_power_user_is_measured_against_the_mean_of_three_or_more() {
    let mut activity = Activity::default();
    for (person, days) in [(1, 20), (2, 5), (3, 5)] {
        for day in 0..days {
            activity.person(person, Day(day), &mut Vec::new());
        }
        let mut found = Facts::default();
        activity.infer(Day(20), 3, &mut found);
        let expected = if person == 3 { Some(200_000) } else { None };
        assert_eq!(found.number("power_user_percent"), expected);
    }
}

#[test]
fn numbers_of_a_model_agree_with_the_summary() {
    for seed in 0..100 {
        let mut numbers = Numbers(seed);
        let (mut activity, mut model) =
            (Activity::default(), BTreeMap::<u64, BTreeSet<i32>>::new());
        for _ in 0..300 {
            let (person, day) = (numbers.next() % 40, numbers.below(32));
            activity.person(person, Day(day), &mut Vec::new());
            model.entry(person).or_default().insert(day);
        }
        let counts: Vec<usize> = model
            .values()
            .map(|days| days.iter().filter(|day| (2..32).contains(*day)).count())
            .filter(|count| *count > 0)
            .collect();
        let sum = activity.summary(Day(31), 3);
        assert_eq!(sum.active_users, counts.len() as u64, "seed {seed}");
        assert_eq!(sum.days_all, counts.iter().sum::<usize>() as u64);
        assert_eq!(sum.days_most as usize, counts.iter().copied().max().unwrap_or(0));
    }
}
