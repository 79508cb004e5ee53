use headroom_forecast::rhythm::Rhythm;
use headroom_forecast::{Basis, Forecast, History, Outlook, Question, forecast};

use crate::{DAY, HOUR, MONDAY, Random};

/// Ten units an hour in the working hours of working days, one in the others.
fn office(days: i64) -> History {
    let mut history = History::new(MONDAY);
    for hour in 0..days * 24 {
        let works = hour / 24 % 7 < 5 && (8..18).contains(&(hour % 24));
        history.observe(MONDAY + (hour + 1) * HOUR, if works { 10 } else { 1 });
    }
    history
}

fn even(hours: i64, units: u64) -> History {
    let mut history = History::new(MONDAY);
    for hour in 0..hours {
        history.observe(MONDAY + (hour + 1) * HOUR, units);
    }
    history
}

fn ask(history: &History, start_ms: i64, days: i64, used_units: u64, limit_units: u64) -> Question {
    let (now_ms, end_ms) = (history.until_ms(), Some(start_ms + days * DAY));
    Question { now_ms, start_ms, end_ms, used_units, limit_units, changed_ms: None }
}

#[track_caller]
fn expected(history: &History, question: &Question) -> Outlook {
    match forecast(history, question) {
        Forecast::Expected(outlook) => outlook,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_limit_that_is_used_up_is_reached() {
    let history = even(48, 10);
    assert_eq!(forecast(&history, &ask(&history, MONDAY, 30, 50, 50)), Forecast::Reached);
    assert_eq!(forecast(&history, &ask(&history, MONDAY, 30, 0, 0)), Forecast::Reached);
}

#[test]
fn until_a_twentieth_of_a_window_was_seen_it_is_learning() {
    let young = even(35, 10);
    assert_eq!(forecast(&young, &ask(&young, MONDAY, 30, 350, 5000)), Forecast::Learning);
    let old = even(36, 10);
    expected(&old, &ask(&old, MONDAY, 30, 360, 5000));
    // What was seen in the window before counts: nothing is learned twice.
    let start_ms = old.until_ms();
    expected(&old, &ask(&old, start_ms, 30, 0, 5000));
}

#[test]
fn an_even_pace_reaches_the_limit_when_a_line_would() {
    let history = even(20 * 24, 10);
    let question = ask(&history, MONDAY, 30, 4800, 6000);
    let outlook = expected(&history, &question);
    assert!(outlook.probability > 0.95, "{outlook:?}");
    let (at, from, to) = (outlook.at_ms.unwrap(), outlook.from_ms.unwrap(), outlook.to_ms.unwrap());
    assert!(from <= at && at <= to && to < question.end_ms.unwrap());
    assert!((at - (MONDAY + 25 * DAY)).abs() < 6 * HOUR, "{outlook:?}");
    let units = outlook.end_units.unwrap();
    assert!(units.low <= 7200 && 7200 <= units.high && units.middle.abs_diff(7200) < 200);
    assert_eq!(outlook.basis, Basis::Pace);
}

#[test]
fn a_weekend_is_seen_coming() {
    // Friday evening: hardly anything comes before Monday, and a straight line does not know that.
    let history = office(4 * 7 + 5);
    let start_ms = MONDAY + 28 * DAY;
    let used: u64 = 5 * (100 + 14);
    let outlook = expected(&history, &ask(&history, start_ms, 7, used, used + 100));
    assert_eq!(outlook.basis, Basis::Weekly);
    assert!(outlook.probability < 0.1, "{outlook:?}");
    assert_eq!(outlook.at_ms, None);
    assert!(outlook.end_units.unwrap().middle.abs_diff(used + 48) < 15, "{outlook:?}");
}

#[test]
fn a_rhythm_that_is_not_there_is_not_found() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut history = History::new(MONDAY);
        for hour in 1..60 * 24 {
            history.observe(MONDAY + hour * HOUR, 500 + random.below(1000));
        }
        let rhythm = Rhythm::of(&history);
        for hour in 0..168 {
            let from_ms = MONDAY + hour * HOUR;
            let weight = rhythm.weight(from_ms, from_ms + HOUR);
            assert!((weight - 1.0).abs() < 0.15, "seed {seed}: {weight}");
        }
    }
}

#[test]
fn another_plan_makes_the_past_count_less() {
    let mut history = even(40 * 24, 10);
    for hour in 0..72 {
        history.observe(MONDAY + (40 * 24 + hour + 1) * HOUR, 50);
    }
    let question = ask(&history, MONDAY + 30 * DAY, 30, 6000, 100_000);
    let told = Question { changed_ms: Some(MONDAY + 40 * DAY), ..question };
    let middle = |question| expected(&history, question).end_units.unwrap().middle;
    let truth = 6000 + 17 * 24 * 50;
    assert!(middle(&told).abs_diff(truth) < middle(&question).abs_diff(truth));
    assert!(middle(&told).abs_diff(truth) < truth / 5, "{}", middle(&told));
}

#[test]
fn an_idle_account_reaches_nothing() {
    let history = even(30 * 24, 0);
    let outlook = expected(&history, &ask(&history, MONDAY, 60, 0, 1));
    assert!(outlook.probability < 1e-9);
    assert_eq!((outlook.at_ms, outlook.from_ms), (None, None));
    assert_eq!(outlook.end_units.unwrap().high, 0);
}

#[test]
fn a_window_that_never_ends_has_a_date_and_no_end() {
    let history = even(30 * 24, 10);
    let question = Question { end_ms: None, ..ask(&history, MONDAY, 1, 7200, 9600) };
    let outlook = expected(&history, &question);
    assert_eq!(outlook.end_units, None);
    assert!((outlook.at_ms.unwrap() - (MONDAY + 40 * DAY)).abs() < DAY, "{outlook:?}");
    // Farther away than a year nothing is said.
    let far = expected(&history, &Question { limit_units: 1_000_000, ..question });
    assert_eq!((far.at_ms, far.probability < 0.01), (None, true));
}

#[test]
fn answers_are_in_order_and_within_the_window_whatever_happened() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut history = History::new(MONDAY + random.below(1 << 40).cast_signed());
        let scale = 1 << random.below(50);
        for _ in 0..random.below(300) {
            let bits = 10 + random.below(25);
            let forward = random.below(1 << bits).cast_signed();
            let units = if random.below(3) == 0 { random.below(scale) } else { 0 };
            history.observe(history.until_ms() + forward, units);
        }
        let start_ms = history.until_ms() - random.below(1 << 31).cast_signed();
        let days = 1 + random.below(60).cast_signed();
        let used = random.below(scale);
        let question = ask(&history, start_ms, days, used, used + 1 + random.below(scale * 8));
        let Forecast::Expected(outlook) = forecast(&history, &question) else { continue };
        assert_eq!(Forecast::Expected(outlook), forecast(&history, &question), "seed {seed}");
        assert!((0.0..=1.0).contains(&outlook.probability), "seed {seed}: {outlook:?}");
        let end_ms = question.end_ms.unwrap();
        let at = |at_ms: Option<i64>| at_ms.unwrap_or(end_ms);
        let dates = [at(outlook.from_ms), at(outlook.at_ms), at(outlook.to_ms), end_ms];
        assert!(question.now_ms <= dates[0] && dates.is_sorted(), "seed {seed}: {outlook:?}");
        let units = outlook.end_units.unwrap();
        assert!([used, units.low, units.middle, units.high].is_sorted(), "seed {seed}");
        let more = Question { limit_units: question.limit_units * 2, ..question };
        let later = expected(&history, &more);
        assert!(later.probability <= outlook.probability + 1e-6, "seed {seed}: {later:?}");
    }
}

#[test]
fn the_ends_of_time_and_of_numbers_are_borne() {
    let history = even(100, u64::MAX / 1000);
    let most = u64::MAX;
    for now_ms in [i64::MIN, -1, 0, MONDAY + 100 * HOUR, i64::MAX] {
        for end_ms in [None, Some(i64::MIN), Some(MONDAY + 200 * HOUR), Some(i64::MAX)] {
            let start_ms = i64::MIN;
            let question = Question {
                now_ms,
                start_ms,
                end_ms,
                used_units: most - 1,
                limit_units: most,
                changed_ms: Some(now_ms),
            };
            forecast(&history, &question);
        }
    }
}
