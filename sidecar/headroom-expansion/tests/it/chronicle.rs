//! What is kept of looks, and read back.

use headroom_core::time::Millis;
use headroom_expansion::chronicle::{
    Dictionary, Item, Kind, Known, LOOKS_PER_DAY_MAX, Line, Look, Mark, Occasion, SPACING_MS, Seen,
    WHOLE_AFTER_MS, Words, is_sampled, keep, known, look, needs,
};
use headroom_expansion::days::{Day, Days};
use headroom_expansion::facts::{Facts, Value};

use crate::facts;

const DAY: i64 = 24 * 60 * 60 * 1000;
const HOUR: i64 = 60 * 60 * 1000;

fn hash(text: &str) -> u64 {
    text.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31) ^ u64::from(byte))
}

fn seen(dictionary: &mut Dictionary, all: &Facts, said: &Facts, today: Day) -> (Known, u64) {
    let came = [("usage_ceiling".to_owned(), Days::on(today))];
    let seen = Seen { facts: all, said, came: &came, today };
    known(seen, dictionary, &hash, &mut Vec::new())
}

fn numbers(values: &[i64]) -> Known {
    (0u16..).zip(values).map(|(number, value)| (number, Item::Number(*value))).collect()
}

fn told(mark: &mut Option<Mark>, known: &Known, at: i64) -> Option<Line> {
    keep(mark, (known, 0), Occasion { at: Millis(at), is_daily: false, moved: false })
}

#[test]
fn what_was_known_is_read_back_as_it_was() {
    let all = facts(&[
        ("seats", "12.5"),
        ("owes", "-3"),
        ("sponsor", "true"),
        ("plan", "team"),
        ("days_since_login", "4"),
        ("contract_days_left", "30"),
    ]);
    let mut dictionary = Dictionary::default();
    let (known, _) = seen(&mut dictionary, &all, &Facts::default(), Day(100));
    let mut mark = None;
    let line = told(&mut mark, &known, 100 * DAY).unwrap();
    assert_eq!(needs(&line.value), Some(Ok(())));
    let look = look(line.at, &line.value, None).unwrap();
    let words: Words = [(hash("team"), "team".to_owned())].into();
    assert_eq!(look.facts(&dictionary, &words, Day(100)), all);
    assert_eq!(look.came(&dictionary).collect::<Vec<_>>(), [("usage_ceiling", Days::on(Day(100)))]);
}

#[test]
fn days_go_on_by_themselves_unless_somebody_has_put_them() {
    let all = facts(&[("days_since_login", "4"), ("contract_days_left", "30")]);
    let said = facts(&[("contract_days_left", "30")]);
    let mut dictionary = Dictionary::default();
    let (known, _) = seen(&mut dictionary, &all, &said, Day(100));
    let look = Look { at: Millis(0), is_daily: false, known };
    let later = look.facts(&dictionary, &Words::new(), Day(103));
    assert_eq!(later, facts(&[("days_since_login", "7"), ("contract_days_left", "30")]));
    // So the next day's look is the same, and takes no row.
    let next = facts(&[("days_since_login", "5"), ("contract_days_left", "30")]);
    assert_eq!(seen(&mut dictionary, &next, &said, Day(101)).0[&0], look.known[&0]);
}

#[test]
fn of_a_text_only_a_hash_is_kept() {
    let all = facts(&[("champion", "Jane Doe")]);
    let mut dictionary = Dictionary::default();
    let (known, _) = seen(&mut dictionary, &all, &all, Day(1));
    let line = told(&mut None, &known, DAY).unwrap();
    assert!(!line.value.windows(4).any(|bytes| bytes == b"Jane"));
    let look = look(line.at, &line.value, None).unwrap();
    let read = look.facts(&dictionary, &Words::new(), Day(1));
    assert!(matches!(read.get("champion"), Some(Value::Text(text)) if text != "Jane Doe"));
    let words = [(hash("Jane Doe"), "Jane Doe".to_owned())].into();
    assert_eq!(look.facts(&dictionary, &words, Day(1)).text("champion"), Some("Jane Doe"));
}

#[test]
fn a_small_change_is_kept_as_what_differs_and_a_month_later_all_is() {
    let mut mark = None;
    let first = numbers(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert!(told(&mut mark, &first, 0).unwrap().is_whole);
    let mut second = first.clone();
    second.insert(3, Item::Flag(true));
    second.remove(&9);
    let line = told(&mut mark, &second, SPACING_MS).unwrap();
    assert_eq!((line.is_whole, needs(&line.value)), (false, Some(Err(Millis(0)))));
    assert_eq!(look(line.at, &line.value, Some(&first)).unwrap().known, second);
    let third = told(&mut mark, &first, WHOLE_AFTER_MS).unwrap();
    assert!(third.is_whole);
}

#[test]
fn a_look_that_says_nothing_new_is_not_kept() {
    let mut mark = None;
    let (one, two) = (numbers(&[1]), numbers(&[2]));
    assert!(told(&mut mark, &one, 0).is_some());
    assert!(told(&mut mark, &one, 5 * HOUR).is_none());
    // What was only worked out waits; what was told, what moved a rule and the daily look do not.
    assert!(told(&mut mark, &two, HOUR).is_none());
    assert!(told(&mut mark, &two, SPACING_MS).is_some());
    let at = Millis(SPACING_MS + HOUR);
    let occasion = Occasion { at, is_daily: false, moved: false };
    assert!(keep(&mut mark.clone(), (&one, 1), occasion).is_some(), "something was told");
    assert!(keep(&mut mark.clone(), (&two, 0), Occasion { moved: true, ..occasion }).is_some());
    assert!(keep(&mut mark.clone(), (&one, 0), Occasion { is_daily: true, ..occasion }).is_some());
    assert!(keep(&mut mark, (&two, 0), Occasion { is_daily: true, ..occasion }).is_none());
}

#[test]
fn so_many_looks_a_day_are_kept_each_at_an_instant_of_its_own() {
    let mut mark = None;
    let mut kept = Vec::new();
    for number in 0..i64::from(LOOKS_PER_DAY_MAX) + 10 {
        let steady = number.cast_unsigned();
        let occasion = Occasion { at: Millis(7), is_daily: false, moved: false };
        kept.extend(keep(&mut mark, (&numbers(&[number]), steady), occasion).map(|line| line.at));
    }
    assert_eq!(kept.len(), LOOKS_PER_DAY_MAX as usize);
    assert!(kept.is_sorted_by(|a, b| a < b), "{kept:?}");
    let tomorrow = Occasion { at: Millis(DAY), is_daily: false, moved: false };
    assert!(keep(&mut mark, (&numbers(&[-1]), 0), tomorrow).is_some());
}

#[test]
fn a_name_keeps_its_number_over_a_restart() {
    let mut dictionary = Dictionary::default();
    let mut entries = Vec::new();
    for (kind, name) in [(Kind::Fact, "seats"), (Kind::Signal, "seats"), (Kind::Fact, "nps")] {
        let (number, entry) = dictionary.number(kind, name).unwrap();
        entries.push((number, entry.unwrap().to_owned()));
    }
    assert_eq!(dictionary.number(Kind::Signal, "seats"), Some((1, None)));
    let mut read = Dictionary::default();
    entries.iter().for_each(|(number, entry)| read.restore(*number, entry));
    assert_eq!(read, dictionary);
    assert_eq!(read.signals().collect::<Vec<_>>(), ["seats"]);
}

#[test]
fn damaged_rows_are_none() {
    let known: Known = numbers(&[1, -70_000, 3]);
    let line = told(&mut None, &known, 0).unwrap();
    for end in 0..line.value.len() {
        // Cut between two items it is a shorter row; never a panic, never something else.
        if let Some(read) = look(line.at, &line.value[..end], None) {
            assert!(read.known.iter().all(|(number, item)| known[number] == *item), "cut at {end}");
        }
    }
    assert_eq!(look(line.at, &[], None), None);
    assert_eq!(look(line.at, &[1, 0, 99], None), None);
    assert_eq!(look(line.at, &[0, 0, 0, 0, 0, 0, 0, 0, 1], None), None, "what it needs is missing");
}

#[test]
fn every_second_account_is_left_out_again_and_again() {
    for bits in 0..6 {
        let kept = (1..10_001).filter(|serial| is_sampled(*serial, bits)).count();
        let expected = 10_000 >> bits;
        assert!(kept.abs_diff(expected) <= expected / 20 + 10, "{kept} with {bits} bits");
        assert!(
            (1..10_001).all(|serial| !is_sampled(serial, bits + 1) || is_sampled(serial, bits))
        );
    }
}
