//! Late events and corrections for users who leave the memory and come back under other numbers: random
//! histories against a map of names and hours, over restarts, and names that are erased.

use std::collections::{BTreeMap, BTreeSet};

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, LimitSpec, PlanLimitSpec, Policy,
};
use headroom_core::decide::FeatureOp;
use headroom_core::migrate::Migration;
use headroom_core::policy::LimitTerms;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::admin::AdminError;
use headroom_engine::digest::usage_row;
use headroom_engine::engine::{EngineError, FeatureRequest, Reply, Wants};
use headroom_engine::late::{CorrectRequest, LateError, LateRequest, RestatedWindow};
use headroom_engine::ports::{Archive, Table};
use headroom_engine::subjects::{is_name, name_row, window_prefix};
use headroom_sim::rng::Rng;

use crate::house::{DAY_MS, HOUR_MS, House, T0, spec};

const RESTATE_MS: i64 = 7 * DAY_MS;

/// Each user has so many `tokens` in a clock hour.
fn hourly(units: u64) -> CatalogSpec {
    let mut spec = spec(1_000_000, Some("free"));
    let FeatureKindSpec::Quota { limits } = &mut spec.features[0].kind else { panic!() };
    let window = WindowRule::Calendar(CalendarUnit::Hour);
    limits.push(LimitSpec { limit: "own".to_owned(), window, per: Some("user".to_owned()) });
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = &mut plan.entitlements[0].1 else { panic!() };
        limits.push(PlanLimitSpec {
            limit: "own".to_owned(),
            included_units: Some(units),
            soft_limits_bp: vec![],
            policy: Policy::Block,
            terms: LimitTerms::default(),
        });
    }
    spec
}

/// Used by name and start of the hour.
type Used = BTreeMap<(String, i64), u64>;

struct Stage {
    house: House,
    now: i64,
}

impl Stage {
    fn new() -> Stage {
        Stage { house: House::of(hourly(1_000), 1_000_000), now: T0 }
    }

    fn consume(&self, name: &str, units: u64, key: &str) -> Box<Reply> {
        let rq = FeatureRequest {
            dimensions: Default::default(),
            account: "acme",
            feature: "tokens",
            op: FeatureOp::Consume { units },
            synthetic: false,
            key,
            now: Millis(self.now),
            wants: Wants::default(),
            subject: Some(SubjectPath::new(name).unwrap()),
        };
        self.house.engine.feature(&self.house.engine.catalog(), &rq).unwrap()
    }

    fn late_once(
        &self,
        name: &str,
        units: u64,
        at: i64,
        key: &str,
    ) -> Result<(Vec<RestatedWindow>, Box<Reply>), LateError> {
        let rq = LateRequest {
            account: "acme",
            feature: "tokens",
            subject: Some(SubjectPath::new(name).unwrap()),
            units,
            occurred_at: Millis(at),
            key,
            dimensions: Default::default(),
            restate_ms: RESTATE_MS,
            now: Millis(self.now),
            wants: Wants { all_limits: true, ..Wants::default() },
        };
        let catalog = self.house.engine.catalog();
        let seen = self.house.engine.look_late(&catalog, &*self.house.store, &rq).unwrap();
        let reply = self.house.engine.record_at(&catalog, &rq, &seen)?;
        Ok((reply.windows, reply.reply))
    }

    fn late_windows(
        &self,
        name: &str,
        units: u64,
        at: i64,
        key: &str,
    ) -> (Vec<RestatedWindow>, Box<Reply>) {
        self.house.caught_up(|| self.late_once(name, units, at, key)).unwrap()
    }

    fn late(&self, name: &str, units: u64, at: i64, key: &str) -> Box<Reply> {
        self.late_windows(name, units, at, key).1
    }

    fn correct(
        &self,
        name: Option<&str>,
        event: &str,
        units: Option<u64>,
        key: &str,
        original_units: Option<u64>,
    ) -> Result<Box<Reply>, LateError> {
        let rq = CorrectRequest {
            account: "acme",
            feature: "tokens",
            subject: name.map(|name| SubjectPath::new(name).unwrap()),
            event,
            units,
            original_units,
            reason: "a test",
            key,
            dimensions: Default::default(),
            restate_ms: RESTATE_MS,
            now: Millis(self.now),
            wants: Wants::default(),
        };
        self.house.correct(&rq)
    }

    /// As an operator erases a name: again when something has left the memory meanwhile.
    fn erase(&self, name: &str) -> usize {
        let path = SubjectPath::new(name).unwrap();
        for _ in 0..3 {
            let engine = &self.house.engine;
            let seen = engine.look_erase(&*self.house.store, "acme", path).unwrap();
            match engine.erase_subject("acme", path, &seen, Millis(self.now)) {
                Err(AdminError::Behind { until }) => self.house.store.project(until),
                got => return got.unwrap().0,
            }
        }
        panic!("it is behind for ever");
    }

    fn reopen(&mut self, with_checkpoint: bool) {
        if with_checkpoint {
            self.house.store.keep(self.house.checkpoint());
        }
        self.house = self.house.reopen(hourly(1_000));
    }

    fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.house.store.range(Table::Subjects, &[], &[u8::MAX; 9], usize::MAX).unwrap()
    }

    /// The numbers of a name on disk.
    fn names(&self, name: &str) -> Vec<(headroom_core::subject::SubjectId, String)> {
        let rows = self.rows();
        let named =
            rows.iter().filter(|(key, _)| is_name(key)).filter_map(|(key, _)| name_row(key));
        named.filter(|(_, known)| known == name).collect()
    }

    /// What each name used in each hour, in memory and on disk: all that GetUsage can show of it.
    fn used(&self) -> Used {
        self.house.store.project(self.house.store.last());
        let mut used = Used::new();
        let view = self.house.engine.subjects("acme", Millis(self.now)).unwrap();
        for subject in &view.subjects {
            for ledger in &subject.ledgers {
                *used.entry((subject.name.clone(), ledger.window.start().0)).or_default() +=
                    ledger.used;
            }
        }
        let rows = self.rows();
        for (id, name) in rows.iter().filter(|(k, _)| is_name(k)).filter_map(|(k, _)| name_row(k)) {
            let prefix = window_prefix(view.serial, Some(id));
            for (_, value) in rows.iter().filter(|(key, _)| key.starts_with(&prefix)) {
                let window = usage_row(value).unwrap().window;
                let start = window.closed.window.start().0;
                *used.entry((name.clone(), start)).or_default() += window.used;
            }
        }
        used.retain(|(name, _), units| *units > 0 && !name.starts_with("erased:"));
        used
    }
}

fn hour(at: i64) -> i64 {
    at.div_euclid(HOUR_MS) * HOUR_MS
}

/// An event of a random history, and how it stands.
struct Told {
    key: String,
    name: String,
    at: i64,
    units: u64,
    is_plain: bool,
}

#[derive(Default)]
struct Met {
    numbers_max: usize,
    restated: u64,
    erased: u64,
    behind: u64,
}

fn play(seed: u64, steps: u64) -> Met {
    let (mut rng, mut stage, mut met) = (Rng::new(seed), Stage::new(), Met::default());
    let (mut used, mut told): (Used, Vec<Told>) = Default::default();
    stage.house.subscribe("acme", "free");
    for step in 0..steps {
        let (key, name) = (format!("k{step}"), format!("user:u{}", rng.below(130)));
        let units = 1 + rng.below(5);
        match rng.below(100) {
            0..50 => {
                let reply = stage.consume(&name, units, &key);
                assert!(reply.outcome.decision.verdict.is_allowed(), "seed {seed}, step {step}");
                *used.entry((name.clone(), hour(stage.now))).or_default() += units;
                told.push(Told { key, name, at: stage.now, units, is_plain: true });
            }
            50..75 => {
                // Of a few there is much that came late.
                let name = if rng.percent(50) { format!("user:u{}", rng.below(6)) } else { name };
                let at = stage.now - rng.between(0, 2 * DAY_MS);
                let first = stage.late_once(&name, units, at, &key).map(|(_, reply)| reply);
                met.behind += u64::from(matches!(first, Err(LateError::Behind { .. })));
                let reply = first.unwrap_or_else(|_| stage.late(&name, units, at, &key));
                assert!(!reply.replayed);
                assert!(stage.late(&name, units, at, &key).replayed, "seed {seed}, step {step}");
                let binding = reply.outcome.decision.binding.as_ref().expect("a limit");
                assert_eq!(binding.subject(), Some(&*name), "the hour has less than the account");
                *used.entry((name.clone(), hour(at))).or_default() += units;
                met.restated += u64::from(hour(at) < hour(stage.now));
                told.push(Told { key, name, at, units, is_plain: false });
            }
            75..84 if !told.is_empty() => {
                let place = told.len() - 1 - rng.below(told.len().min(60) as u64) as usize;
                let event = &mut told[place];
                // Keys of what was counted as it came last a day.
                if event.is_plain && event.at < stage.now - DAY_MS / 2 {
                    continue;
                }
                let to = rng.below(7);
                let wanted = Some(to).filter(|to| *to > 0);
                let said = event.is_plain.then_some(event.units);
                let done = stage.correct(Some(&event.name), &event.key, wanted, &key, said);
                let reply = done.unwrap_or_else(|error| panic!("seed {seed}, {step}: {error}"));
                assert!(reply.outcome.decision.verdict.is_allowed());
                let count = used.entry((event.name.clone(), hour(event.at))).or_default();
                *count = *count + to - event.units;
                (event.units, event.is_plain) = (to, false);
            }
            84..86 => {
                let erased = stage.erase(&name);
                let is_known = used.keys().any(|(known, _)| *known == name);
                assert!(erased == 1 || !is_known, "seed {seed}, step {step}");
                met.erased += erased as u64;
                used.retain(|(known, _), _| *known != name);
                told.retain(|event| event.name != name);
            }
            86..96 => stage.now += rng.between(0, HOUR_MS / 2),
            96 => stage.house.store.project(stage.house.store.last()),
            97 => {
                let with_checkpoint = rng.percent(50);
                stage.reopen(with_checkpoint);
            }
            _ => {
                used.retain(|_, units| *units > 0);
                assert_eq!(stage.used(), used, "seed {seed}, step {step}");
            }
        }
    }
    used.retain(|_, units| *units > 0);
    assert_eq!(stage.used(), used, "seed {seed}");
    let names: BTreeSet<String> = used.into_keys().map(|(name, _)| name).collect();
    met.numbers_max = names.iter().map(|name| stage.names(name).len()).max().unwrap_or(0);
    met
}

/// Each window of a name shows all that was used in it, whatever numbers it had, and nothing of who had
/// the name before.
#[test]
fn windows_of_users_who_come_and_go_add_up() {
    let (mut numbers_max, mut all) = (0, Met::default());
    for seed in 0..12 {
        let met = play(seed, 1_500);
        numbers_max = numbers_max.max(met.numbers_max);
        all.restated += met.restated;
        all.erased += met.erased;
        all.behind += met.behind;
    }
    assert!(numbers_max > 3, "a name had {numbers_max} numbers at most");
    assert!(all.restated > 100 && all.erased > 50 && all.behind > 50);
}

fn fill(stage: &Stage, prefix: &str) {
    for n in 0..64 {
        stage.consume(&format!("user:{prefix}{n}"), 1, &format!("{prefix}{n}"));
    }
}

#[test]
fn a_window_is_restated_under_the_number_that_it_was_counted_under() {
    let mut stage = Stage::new();
    stage.consume("user:a", 5, "first");
    let begun = stage.now;
    stage.now += 2 * HOUR_MS;
    // The 65th lets those go whose hour is over; who comes back has another number.
    fill(&stage, "x");
    stage.consume("user:y", 1, "y");
    stage.consume("user:a", 7, "second");
    stage.late("user:a", 3, begun + 1, "late");
    let line = |start: i64, units| (("user:a".to_owned(), hour(start)), units);
    let of_a = |stage: &Stage| -> Vec<((String, i64), u64)> {
        stage.used().into_iter().filter(|((name, _), _)| name == "user:a").collect()
    };
    assert_eq!(of_a(&stage), [line(begun, 8), line(stage.now, 7)]);
    assert_eq!(stage.names("user:a").len(), 2);
    let first = stage.names("user:a")[0].0;
    let prefix = window_prefix(0, Some(first));
    let rows = stage.rows();
    let restated = rows.iter().find(|(key, _)| key.starts_with(&prefix)).expect("the first hour");
    let window = usage_row(&restated.1).unwrap().window;
    assert_eq!((window.closed.used, window.used), (5, 8), "what it was at its close stays");
    // What was counted as it came, under the number of then, and what came late, after a restart.
    for with_checkpoint in [false, true] {
        stage.reopen(with_checkpoint);
    }
    stage.correct(Some("user:a"), "first", Some(1), "c1", Some(5)).unwrap();
    stage.correct(Some("user:a"), "late", None, "c2", None).unwrap();
    assert_eq!(of_a(&stage), [line(begun, 1), line(stage.now, 7)]);
    assert_eq!(stage.house.counts("acme").0, 1 + 7 + 64 + 1);
}

#[test]
fn a_correction_says_for_whom_the_event_was() {
    let stage = Stage::new();
    stage.consume("user:a", 5, "plain");
    stage.late("user:a", 3, stage.now - 1, "late");
    for event in ["plain", "late"] {
        let original = (event == "plain").then_some(5);
        for other in [None, Some("user:b"), Some("team:x/user:a")] {
            let refused = stage.correct(other, event, None, "c", original).unwrap_err();
            assert!(matches!(refused, LateError::Differs { .. }), "{event}: {refused}");
        }
        stage.correct(Some("user:a"), event, None, event, original).unwrap_err();
        stage.correct(Some("user:a"), event, None, &format!("c{event}"), original).unwrap();
    }
    assert_eq!(stage.used(), Used::new());
    assert_eq!(stage.house.counts("acme").0, 0);
    let reused = stage.correct(None, "late", None, "clate", None).unwrap_err();
    assert_eq!(reused, LateError::Engine(EngineError::KeyReused));
}

#[test]
fn who_comes_under_an_erased_name_is_somebody_new() {
    let mut stage = Stage::new();
    stage.consume("user:a", 5, "plain");
    stage.late("user:a", 2, stage.now - 1, "late");
    stage.now += 2 * HOUR_MS;
    stage.consume("user:a", 1, "later");
    assert_eq!(stage.erase("user:a"), 1);
    let begun = T0 + 1;
    stage.late("user:a", 3, begun, "new");
    assert_eq!(stage.used(), [(("user:a".to_owned(), hour(begun)), 3)].into(), "nothing of before");
    // What came late is known by its number; what was counted as it came is taken off the account alone.
    stage.correct(Some("user:a"), "late", None, "c1", None).unwrap();
    stage.correct(Some("user:a"), "plain", None, "c2", Some(5)).unwrap();
    assert_eq!(stage.used(), [(("user:a".to_owned(), hour(begun)), 3)].into());
    assert_eq!(stage.house.counts("acme").0, 1 + 3);
    let rows = stage.rows();
    let has_name = |bytes: &[u8]| bytes.windows(6).any(|six| six == b"user:a");
    let named = rows.iter().filter(|(key, value)| has_name(key) || has_name(value)).count();
    assert_eq!(named, 2, "the new one's name and number");
}

#[test]
fn who_erases_again_at_once_erases_nobody() {
    let stage = Stage::new();
    stage.consume("user:a", 5, "a");
    stage.house.store.project(stage.house.store.last());
    assert_eq!(stage.erase("user:a"), 1);
    assert_eq!(stage.erase("user:a"), 0, "also where the disk still has the name");
    // Whoever came since under the name is another.
    stage.consume("user:a", 5, "b");
    assert_eq!(stage.erase("user:a"), 1);
}

/// Where the limit has left the catalog, nothing but the number says whose window it was.
#[test]
fn nobody_is_told_which_number_an_erased_name_has() {
    let stage = Stage::new();
    stage.late("user:a", 2, T0 - 1, "late");
    let mut without = spec(1_000_000, Some("free"));
    let (feature, limit) = ("tokens".to_owned(), "own".to_owned());
    without.migrations.push(Migration::DropLimit { feature, limit });
    stage.house.engine.install_catalog(without, "without", Millis(T0)).unwrap();
    let whose = || {
        let (windows, _) = stage.late_windows("user:a", 2, T0 - 1, "late");
        windows.into_iter().map(|window| window.subject).collect::<Vec<_>>()
    };
    let named = [None, Some("user:a".to_owned())];
    assert_eq!(whose(), named);
    assert_eq!(stage.erase("user:a"), 1);
    assert_eq!(whose(), named, "by the path that it was told for, which the caller knows");
}

/// A look that was made before the name was erased, or before its windows closed, decides nothing.
#[test]
fn what_was_seen_before_a_subject_left_or_was_erased_is_looked_for_again() {
    let mut stage = Stage::new();
    stage.consume("user:a", 5, "a");
    stage.house.store.project(stage.house.store.last());
    let erased_behind = |stage: &Stage, key: &str| {
        let got = stage.late_once("user:a", 1, stage.now, key);
        matches!(got, Err(LateError::Behind { .. }))
    };
    assert!(!erased_behind(&stage, "l1"));
    stage.erase("user:a");
    assert!(erased_behind(&stage, "l2"), "the disk still has the name");
    stage.house.store.project(stage.house.store.last());
    stage.consume("user:a", 5, "b");
    stage.now += HOUR_MS;
    stage.consume("user:a", 5, "c");
    assert!(erased_behind(&stage, "l3"), "the hour has closed since");
    stage.house.store.project(stage.house.store.last());
    assert!(!erased_behind(&stage, "l4"));
    // What closes for others is not waited for.
    stage.consume("user:b", 5, "d");
    stage.house.store.project(stage.house.store.last());
    stage.now += HOUR_MS;
    stage.consume("user:b", 5, "e");
    assert!(!erased_behind(&stage, "l5"));
}
