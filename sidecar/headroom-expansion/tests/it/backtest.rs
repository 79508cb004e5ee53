//! Rules tried on the past.

use std::collections::BTreeMap;

use headroom_core::signal::SignalState;
use headroom_core::time::Millis;
use headroom_expansion::backtest::{Backtest, Report, Source, Span, Trigger, Verdict};
use headroom_expansion::chronicle::{Dictionary, Look, Seen, known};
use headroom_expansion::class::Class;
use headroom_expansion::days::{Day, Days};
use headroom_expansion::facts::{Facts, INFERRED, Value};
use headroom_expansion::rule::{Names, Rule, Scene};
use headroom_expansion::terms::Terms;
use headroom_expansion::watch::{Kept, Watch};

use crate::facts;

const DAY: i64 = 24 * 60 * 60 * 1000;
const MONTH: i64 = 30 * DAY;

fn hash(text: &str) -> u64 {
    text.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31) ^ u64::from(byte))
}

fn owned<'a>(came: impl Iterator<Item = (&'a str, Days)>) -> Vec<(String, Days)> {
    came.map(|(name, days)| (name.to_owned(), days)).collect()
}

/// Terms with these rules alone, under which everybody with a price is eligible.
fn terms(rules: &[(&str, &str)]) -> Terms {
    let mut terms = Terms { watches: Vec::new(), ..Terms::default() };
    for (signal, rule) in rules {
        let names =
            Names { facts: &INFERRED, features: &["tokens"], signals: &["usage_ceiling", "busy"] };
        let when = Rule::parse(rule, names).unwrap();
        let signal = (*signal).to_owned();
        terms.watches.push(Watch { signal, class: Class::Usage, warn: None, when, calm_days: 0 });
    }
    terms
}

/// A past of accounts: looks by day, with the facts and the signals that had come.
struct Past {
    dictionary: Dictionary,
    accounts: BTreeMap<u32, (Vec<Look>, Vec<Millis>)>,
}

impl Past {
    fn new() -> Past {
        Past { dictionary: Dictionary::default(), accounts: BTreeMap::new() }
    }

    fn look(&mut self, account: u32, at: i64, words: &[(&str, &str)], came: &[(&str, Days)]) {
        let paying = [&[("plan_price_minor", "4900")], words].concat();
        self.look_at(account, at, &facts(&paying), came, false);
    }

    fn look_at(
        &mut self,
        account: u32,
        at: i64,
        facts: &Facts,
        came: &[(&str, Days)],
        is_daily: bool,
    ) {
        let today = Day::of(Millis(at));
        let came = owned(came.iter().copied());
        let seen = Seen { facts, said: &Facts::default(), came: &came, today };
        let (known, _) = known(seen, &mut self.dictionary, &hash, &mut Vec::new());
        let look = Look { at: Millis(at), is_daily, known };
        self.accounts.entry(account).or_default().0.push(look);
    }

    fn upgrade(&mut self, account: u32, at: i64) {
        self.accounts.entry(account).or_default().1.push(Millis(at));
    }

    fn report(&self, terms: &Terms, span: Span) -> Report {
        let mut test = Backtest::new(terms, ["team"], &self.dictionary, &hash, (span, MONTH));
        for (looks, outcomes) in self.accounts.values() {
            let mut run = test.account(outcomes.clone());
            looks.iter().for_each(|look| run.look(look.clone()));
            run.end();
        }
        test.report()
    }

    /// Over the quarter that ends with day 200.
    fn of_rule(&self, rule: &str) -> (Report, Trigger) {
        let report = self.report(&terms(&[("rule", rule)]), quarter());
        let trigger = report.triggers[0].clone();
        (report, trigger)
    }
}

fn quarter() -> Span {
    Span::of(Millis(110 * DAY), Millis(0), Millis(200 * DAY))
}

#[test]
fn a_rule_sees_what_was_known_then_and_nothing_later() {
    let mut past = Past::new();
    past.look(1, 100 * DAY, &[("seats", "3")], &[]);
    past.look(1, 150 * DAY, &[("seats", "9")], &[]);
    past.upgrade(1, 149 * DAY);
    let (_, trigger) = past.of_rule("seats >= 9");
    // It came on day 150, so it did not come before the upgrade of day 149.
    assert_eq!((trigger.firings, trigger.upgrades_seen, trigger.right), (1, 0, 0));
    assert_eq!(trigger.wrong, 1);
    // The whole past up to any day tells the same of that time as the past that goes on.
    let terms = terms(&[("rule", "seats >= 9")]);
    for end in 111..200 {
        let span = Span { from: Millis(110 * DAY), to: Millis(end * DAY), quarters: 0 };
        let told = past.report(&terms, span).triggers[0].firings;
        assert_eq!(told, u64::from(end > 150), "up to day {end}");
    }
}

#[test]
fn what_counts_days_goes_on_between_looks() {
    let mut past = Past::new();
    past.look(1, 120 * DAY, &[("days_since_login", "0")], &[]);
    past.upgrade(1, 143 * DAY);
    let (_, trigger) = past.of_rule("days_since_login >= 14");
    // On day 134; 9 days before the upgrade.
    assert_eq!((trigger.firings, trigger.right), (1, 1));
    assert_eq!(trigger.lead_median_ms(), Some(9 * DAY));
}

#[test]
fn what_holds_since_before_is_no_news() {
    let mut past = Past::new();
    past.look(1, 100 * DAY, &[("seats", "9")], &[]);
    past.look(2, 100 * DAY, &[("seats", "3")], &[]);
    past.look(3, 120 * DAY, &[("seats", "9"), ("days_since_signup", "1")], &[]);
    past.look(4, 120 * DAY, &[("seats", "9"), ("days_since_signup", "2")], &[]);
    let (report, trigger) = past.of_rule("seats >= 9");
    // The first and the last held already; the third signed up the day before.
    assert_eq!((trigger.standing, trigger.fired, report.eligible), (2, 1, 4));
}

#[test]
fn only_accounts_that_somebody_would_talk_to_are_counted() {
    let mut past = Past::new();
    let free = facts(&[("plan_price_minor", "0"), ("segment", "enterprise"), ("seats", "1")]);
    past.look_at(1, 115 * DAY, &free, &[], false);
    let grown = facts(&[("plan_price_minor", "0"), ("segment", "enterprise"), ("seats", "9")]);
    past.look_at(1, 120 * DAY, &grown, &[], false);
    let (report, trigger) = past.of_rule("seats >= 9");
    assert_eq!((report.eligible, trigger.fired, trigger.fired_not_eligible), (0, 0, 1));
    assert_eq!(report.verdict(&trigger), Verdict::NoAccounts);
    // A small one that knows nothing of itself passes the gate, so it may be sold to.
    past.look_at(2, 115 * DAY, &facts(&[("seats", "1")]), &[], false);
    past.look_at(2, 120 * DAY, &facts(&[("seats", "9")]), &[], false);
    let (report, trigger) = past.of_rule("seats >= 9");
    assert_eq!((report.eligible, trigger.fired), (1, 1));
}

#[test]
fn an_account_counts_once_in_a_quarter_by_its_first_time() {
    let mut past = Past::new();
    past.look(1, 100 * DAY, &[("seats", "1")], &[]);
    for day in 0..20 {
        let seats = if day % 2 == 0 { "9" } else { "1" };
        past.look(1, (115 + 4 * day) * DAY, &[("seats", seats)], &[]);
    }
    past.upgrade(1, 190 * DAY);
    let (report, trigger) = past.of_rule("seats >= 9");
    // It came ten times; a month after the first nothing had happened.
    assert_eq!((trigger.firings, trigger.fired), (10, 1));
    assert_eq!((trigger.right, trigger.wrong, trigger.upgrades_seen), (0, 1, 1));
    assert_eq!((report.eligible, report.upgrades), (1, 1));
    // Over two quarters the account is there twice.
    let span = Span::of(Millis(20 * DAY), Millis(0), Millis(200 * DAY));
    let report = past.report(&terms(&[("rule", "seats >= 9")]), span);
    assert_eq!((span.quarters, report.eligible, report.triggers[0].fired), (2, 2, 1));
}

#[test]
fn it_is_not_known_yet_whether_the_latest_were_right() {
    let mut past = Past::new();
    for (account, day) in [(1, 150), (2, 190), (3, 191)] {
        past.look(account, 115 * DAY, &[("seats", "1")], &[]);
        past.look(account, day * DAY, &[("seats", "9")], &[]);
    }
    // That one of them upgraded already must not count, while those that did not cannot.
    past.upgrade(3, 195 * DAY);
    let (_, trigger) = past.of_rule("seats >= 9");
    assert_eq!((trigger.fired, trigger.right, trigger.wrong), (3, 0, 1));
    assert_eq!(trigger.precision().unwrap().seen_bp, 0);
}

#[test]
fn a_trigger_is_compared_with_one_that_says_nothing() {
    let mut past = Past::new();
    for account in 0..10 {
        past.look(account, 115 * DAY, &[("seats", "1")], &[]);
        past.look(account, 130 * DAY, &[("seats", if account < 2 { "9" } else { "2" })], &[]);
    }
    past.upgrade(0, 140 * DAY);
    past.upgrade(5, 120 * DAY);
    let (report, trigger) = past.of_rule("seats >= 9");
    assert_eq!((trigger.right, trigger.wrong), (1, 1));
    // From their first look of the quarter on, two of ten upgraded within a month.
    assert_eq!(report.base, (2, 8));
    assert_eq!((report.upgrades, trigger.upgrades_seen), (2, 1));
    assert_eq!(
        (report.share(&trigger).unwrap().seen_bp, report.verdict(&trigger)),
        (2_000, Verdict::Loud)
    );
}

#[test]
fn what_was_raised_is_counted_as_it_came() {
    let mut past = Past::new();
    let old = [("usage_ceiling", Days::on(Day(90)))];
    past.look(1, 100 * DAY, &[], &old);
    past.look(1, 110 * DAY, &[("seats", "2")], &old);
    past.look(1, 130 * DAY, &[], &[("usage_ceiling", Days::on(Day(90)).with(Day(130)))]);
    past.look(2, 140 * DAY, &[], &[("usage_ceiling", Days::on(Day(140)))]);
    let report = past.report(&terms(&[]), quarter());
    let [trigger] = &report.triggers[..] else { panic!("{report:?}") };
    assert_eq!((trigger.signal.as_str(), trigger.source), ("usage_ceiling", Source::Raised));
    assert_eq!((trigger.firings, trigger.fired, trigger.class), (2, 2, Some(Class::Usage)));
}

#[test]
fn a_rule_that_asks_for_another_rule_sees_it_as_it_is_tried_now() {
    let mut past = Past::new();
    // What was told then under this name came of another rule.
    let then = [("busy", Days::on(Day(119)))];
    past.look(1, 118 * DAY, &[("seats", "1")], &[]);
    past.look(1, 120 * DAY, &[("seats", "1")], &then);
    past.look(1, 140 * DAY, &[("seats", "9")], &then);
    let rules = [("busy", "seats >= 9"), ("twice", "days(\"busy\", 30) >= 1")];
    let report = past.report(&terms(&rules), quarter());
    let came: Vec<_> =
        report.triggers.iter().map(|one| (one.signal.as_str(), one.firings)).collect();
    assert_eq!(came, [("busy", 1), ("twice", 1)]);
}

#[test]
fn what_cannot_be_told_is_said() {
    let mut past = Past::new();
    past.look(1, 115 * DAY, &[("seats", "1")], &[]);
    let names = Names { facts: &INFERRED, features: &[], signals: &[] };
    let mut terms = terms(&[("rule", "seats >= 9")]);
    terms.watches[0].when = Rule::parse("seats >= 1 && facts.nps < 7", names).unwrap();
    let report = past.report(&terms, quarter());
    let trigger = &report.triggers[0];
    assert_eq!((trigger.firings, &trigger.never_known[..]), (0, &["nps".to_owned()][..]));
    // The look of day 115 and the days to 199.
    assert_eq!((report.looks, trigger.looks_unknown), (85, 85));
}

#[test]
fn a_share_is_judged_by_its_marks() {
    for (fired, verdict) in [
        (0, Verdict::Blind),
        (29, Verdict::Blind),
        (30, Verdict::Quiet),
        (49, Verdict::Quiet),
        (50, Verdict::Good),
        (150, Verdict::Good),
        (151, Verdict::Loud),
        (400, Verdict::Loud),
        (401, Verdict::Noise),
    ] {
        assert_eq!(Verdict::of(fired, 1_000, true), verdict, "{fired}");
        // Of less than a quarter only what cannot become less is told.
        let early = if fired > 150 { verdict } else { Verdict::TooShort };
        assert_eq!(Verdict::of(fired, 1_000, false), early, "{fired}");
    }
    assert_eq!(Verdict::of(0, 0, true), Verdict::NoAccounts);
}

#[test]
fn whole_quarters_are_looked_at_as_far_as_is_known() {
    let span = |since: i64, known: i64| {
        let span = Span::of(Millis(since * DAY), Millis(known * DAY), Millis(400 * DAY));
        (span.from.0 / DAY, span.quarters)
    };
    assert_eq!(span(310, 0), (310, 1));
    assert_eq!(span(35, 0), (40, 4));
    assert_eq!(span(0, 250), (310, 1));
    assert_eq!(span(310, 330), (330, 0));
    assert_eq!(span(310, 500), (400, 0));
}

/// The watch as it runs, and the same rule tried on what it kept: what came is the same.
#[test]
fn rules_that_were_in_force_come_out_as_they_came() {
    let mut all = 0;
    for seed in 1..200u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut terms = terms(&[
            ("busy", "used_percent.tokens >= 70"),
            ("gone", "days_since_login >= 5"),
            ("both", "days(\"busy\", 14) >= 1 && seats < 4"),
        ]);
        for watch in &mut terms.watches {
            watch.calm_days = u32::try_from(random(8)).unwrap();
        }
        let mut past = Past::new();
        let mut kept = vec![Kept::default(); 3];
        let mut came: BTreeMap<&str, Days> = BTreeMap::new();
        let mut live: Vec<(String, i64)> = Vec::new();
        let mut login = 100;
        let mut mark = None;
        for day in 100..200 {
            let mut hours: Vec<i64> =
                (0..random(4)).map(|_| 1 + random(22).cast_signed()).collect();
            hours.insert(0, 0);
            hours.sort_unstable();
            hours.dedup();
            for hour in hours {
                let at = day * DAY + hour * 3_600_000;
                if random(4) == 0 {
                    login = day;
                }
                let today = Day::of(Millis(at));
                let mut facts = Facts::of([
                    ("plan_price_minor".to_owned(), Value::whole(100)),
                    ("used_percent.tokens".to_owned(), Value::whole(random(100).cast_signed())),
                    ("seats".to_owned(), Value::whole(random(8).cast_signed())),
                ]);
                facts.infer("days_since_login", Value::whole(day - login));
                facts.infer("days_since_signup", Value::whole(day - 100));
                let before = owned(came.iter().map(|(name, days)| (*name, *days)));
                let mut moved = false;
                let mut told = Vec::new();
                for (watch, kept) in terms.watches.iter().zip(&mut kept) {
                    let days =
                        |name: &str, span: u32| came.get(name).map_or(0, |d| d.count(today, span));
                    let (next, was) =
                        watch.look(*kept, &Scene { facts: &facts, days: &days }, today);
                    moved |= next != *kept;
                    *kept = next;
                    if was.is_some() && next.state != SignalState::Ok {
                        told.push(watch.signal.as_str());
                    }
                    if was.is_some() && next.state == SignalState::Alarm {
                        live.push((watch.signal.clone(), at / DAY));
                    }
                }
                let said = Facts::default();
                let seen = Seen { facts: &facts, said: &said, came: &before, today };
                let (known, steady) = known(seen, &mut past.dictionary, &hash, &mut Vec::new());
                let occasion = headroom_expansion::chronicle::Occasion {
                    at: Millis(at),
                    is_daily: hour == 0,
                    moved,
                };
                let line =
                    headroom_expansion::chronicle::keep(&mut mark, (&known, steady), occasion);
                if let Some(line) = line {
                    let look = Look { at: line.at, is_daily: hour == 0, known };
                    past.accounts.entry(1).or_default().0.push(look);
                }
                for signal in told {
                    let days = came.get(signal).map_or(Days::on(today), |days| days.with(today));
                    came.insert(signal, days);
                }
            }
        }
        all += live.len();
        let span = Span { from: Millis(100 * DAY), to: Millis(200 * DAY), quarters: 1 };
        let report = past.report(&terms, span);
        for trigger in &report.triggers {
            let times = live.iter().filter(|(signal, _)| *signal == trigger.signal).count();
            assert_eq!(trigger.firings, times as u64, "{} with seed {seed}", trigger.signal);
        }
    }
    assert!(all > 1_000, "{all} times in all");
}
