//! Different and latest values that come late, for an account and its users: against a naive count over
//! restarts, and how long the disk knows what is needed for it.

use std::collections::{BTreeMap, BTreeSet};

use headroom_core::catalog::{
    Aggregation, CatalogSpec, EntitlementSpec, FeatureKindSpec, LimitSpec, PlanLimitSpec,
};
use headroom_core::decide::FeatureOp;
use headroom_core::decision::OpError;
use headroom_core::event::Restated;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::digest::usage_row;
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{EngineError, FeatureRequest, Reply, Wants};
use headroom_engine::events::{Adjustment, adjustment_row};
use headroom_engine::late::{CorrectRequest, LateError, LateRequest};
use headroom_engine::ports::{Archive, Table};
use headroom_engine::subjects::is_window;
use headroom_sim::rng::Rng;

use crate::house::{DAY_MS, HOUR_MS, House, T0, spec};

const RESTATE_MS: i64 = 7 * DAY_MS;
const BEGIN: i64 = T0 - T0 % DAY_MS;

/// Different `device`s a day, and the latest number of `calls`, of the account and of each user.
fn daily() -> CatalogSpec {
    let mut spec = spec(1_000_000, Some("free"));
    for feature in &mut spec.features {
        let FeatureKindSpec::Quota { limits } = &mut feature.kind else { panic!() };
        limits[0].window = WindowRule::Calendar(CalendarUnit::Day);
        let per = Some("user".to_owned());
        limits.push(LimitSpec { limit: "each".to_owned(), per, ..limits[0].clone() });
    }
    for plan in &mut spec.plans {
        for (_, given) in &mut plan.entitlements {
            let EntitlementSpec::Quota { limits } = given else { panic!() };
            limits.push(PlanLimitSpec { limit: "each".to_owned(), ..limits[0].clone() });
        }
    }
    let [devices, latest] = &mut spec.features[..] else { panic!() };
    devices.counting.aggregation = Aggregation::Unique;
    devices.counting.unique_by = Some("device".to_owned());
    latest.counting.aggregation = Aggregation::Latest;
    spec
}

struct Stage {
    house: House,
    now: i64,
    keys: u32,
}

/// A value of a user: of `tokens` a device, of `calls` a number.
type Value<'a> = (&'a str, &'a str, u64);

impl Stage {
    fn new() -> Stage {
        Stage { house: House::of(daily(), 1_000_000), now: BEGIN, keys: 0 }
    }

    fn told((_, feature, number): Value<'_>) -> BTreeMap<String, String> {
        let told = ("device".to_owned(), format!("d{number}"));
        (feature == "tokens").then_some(told).into_iter().collect()
    }

    fn comes(&mut self, value: Value<'_>) {
        self.keys += 1;
        let (told, key) = (Stage::told(value), format!("k{}", self.keys));
        let rq = FeatureRequest {
            dimensions: Dimensions::of(&told),
            account: "acme",
            feature: value.1,
            op: FeatureOp::Record { units: value.2 },
            synthetic: false,
            key: &key,
            now: Millis(self.now),
            wants: Wants::default(),
            subject: Some(SubjectPath::new(value.0).unwrap()),
        };
        self.house.engine.feature(&self.house.engine.catalog(), &rq).unwrap();
    }

    fn late(&mut self, value: Value<'_>, at: i64) -> Result<Box<Reply>, LateError> {
        self.late_of(value, at, RESTATE_MS)
    }

    fn late_of(
        &mut self,
        value: Value<'_>,
        at: i64,
        restate_ms: i64,
    ) -> Result<Box<Reply>, LateError> {
        self.keys += 1;
        let (told, key) = (Stage::told(value), format!("k{}", self.keys));
        let rq = LateRequest {
            account: "acme",
            feature: value.1,
            subject: Some(SubjectPath::new(value.0).unwrap()),
            units: value.2,
            occurred_at: Millis(at),
            key: &key,
            dimensions: Dimensions::of(&told),
            restate_ms,
            now: Millis(self.now),
            wants: Wants::default(),
        };
        self.house.late(&rq)
    }

    fn erase(&self, name: &str) {
        let (engine, store) = (&self.house.engine, &self.house.store);
        store.project(store.last());
        let path = SubjectPath::new(name).unwrap();
        let seen = engine.look_erase(&**store, "acme", path).unwrap();
        engine.erase_subject("acme", path, &seen, Millis(self.now)).unwrap();
        store.project(store.last());
    }

    fn rows(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.house.store.project(self.house.store.last());
        self.house.store.range(table, &[], &[u8::MAX; 40], usize::MAX).unwrap()
    }

    /// The windows that have left the memory.
    fn windows(&self) -> Vec<Restated> {
        let subjects = self.rows(Table::Subjects).into_iter().filter(|(key, _)| is_window(key));
        let rows = self.rows(Table::Usage).into_iter().chain(subjects);
        rows.map(|(_, value)| usage_row(&value).unwrap().window).collect()
    }

    /// How many of them the disk knows the values of.
    fn measured(&self) -> usize {
        // No other row of a day has as long a key.
        let rows = self.rows(Table::Events);
        rows.iter().filter(|(key, _)| key.len() == 30 && key[0] == u8::MAX).count()
    }

    fn reopen(&mut self, with_checkpoint: bool) {
        if with_checkpoint {
            self.house.store.keep(self.house.checkpoint());
        }
        self.house = self.house.reopen(daily());
    }
}

const USERS: [&str; 3] = ["user:ann", "user:bob", "user:cy"];

/// What a day holds: of `tokens` the devices, of `calls` the last value by its time.
fn naive(told: &[(i64, Value<'_>)], who: Option<&str>, feature: &str, day: i64) -> u64 {
    let of_day = |at: i64| at.div_euclid(DAY_MS) == day;
    let mine = told.iter().filter(|(at, (user, of, _))| {
        of_day(*at) && *of == feature && who.is_none_or(|who| who == *user)
    });
    match feature {
        "tokens" => mine.map(|(_, value)| value.2).collect::<BTreeSet<u64>>().len() as u64,
        // `max_by_key` takes the last one of those that are alike.
        _ => mine.max_by_key(|(at, _)| *at).map_or(0, |(_, value)| value.2),
    }
}

#[test]
fn late_values_of_users_count_as_if_they_had_come_in_time_over_restarts() {
    for seed in 0..60 {
        let (mut rng, mut stage) = (Rng::new(seed), Stage::new());
        let mut told: Vec<(i64, Value<'_>)> = Vec::new();
        for _ in 0..120 {
            let value = (*rng.pick(&USERS), *rng.pick(&["tokens", "calls"]), 1 + rng.below(20));
            match rng.below(12) {
                0..=3 => {
                    stage.comes(value);
                    told.push((stage.now, value));
                }
                4..=8 => {
                    let at = stage.now - i64::try_from(rng.below(4 * 24)).unwrap() * HOUR_MS;
                    let at = at.max(BEGIN);
                    stage.late(value, at).unwrap();
                    told.push((at, value));
                }
                9 | 10 => stage.now += i64::try_from(rng.below(40)).unwrap() * HOUR_MS,
                _ => {
                    let with_checkpoint = rng.percent(50);
                    stage.reopen(with_checkpoint);
                }
            }
        }
        // Whoever has not come since is not in memory any more, so all of it is on disk or here.
        for window in stage.windows() {
            let day = window.closed.window.start().0.div_euclid(DAY_MS);
            let catalog = stage.house.engine.catalog();
            let feature = catalog.feature_text(window.closed.feature);
            let expected: Vec<u64> = match catalog.text(window.closed.limit) {
                "total" => vec![naive(&told, None, feature, day)],
                _ => USERS.iter().map(|user| naive(&told, Some(user), feature, day)).collect(),
            };
            let used = window.used;
            assert!(expected.contains(&used), "seed {seed}: {feature} of {day}: {used}");
        }
    }
}

/// A day that has closed, and the next one.
fn two_days() -> Stage {
    let mut stage = Stage::new();
    stage.comes(("user:ann", "tokens", 1));
    stage.comes(("user:bob", "tokens", 2));
    stage.comes(("user:ann", "calls", 9));
    stage.now += DAY_MS;
    for user in USERS {
        stage.comes((user, "tokens", 3));
        stage.comes((user, "calls", 4));
    }
    stage
}

#[test]
fn what_is_needed_for_late_values_leaves_the_disk_when_none_can_come() {
    let mut stage = two_days();
    // Of the account twice, and of ann twice and of bob once.
    assert_eq!((stage.windows().len(), stage.measured()), (5, 5));
    stage.late(("user:cy", "tokens", 1), BEGIN).unwrap();
    assert_eq!((stage.windows().len(), stage.measured()), (6, 6), "cy had no window that day");
    let forget = |stage: &Stage, now| {
        let (engine, store) = (&stage.house.engine, &stage.house.store);
        engine.forget_events(&**store, Millis(now), RESTATE_MS).unwrap();
        stage.measured()
    };
    assert_eq!(forget(&stage, BEGIN + DAY_MS + RESTATE_MS - 1), 6, "its last hour may still come");
    assert_eq!(forget(&stage, BEGIN + DAY_MS + RESTATE_MS), 0);
    assert_eq!(stage.windows().len(), 6, "the history stays");
    // As it is with windows that an earlier version has closed.
    let expected =
        |aggregation| LateError::from(EngineError::from(OpError::WindowIsOver { aggregation }));
    for reopens in [false, true] {
        if reopens {
            stage.reopen(true);
        }
        let late = stage.late_of(("user:ann", "tokens", 5), BEGIN, 100 * DAY_MS);
        assert_eq!(late.unwrap_err(), expected("unique"));
        let late = stage.late_of(("user:bob", "calls", 5), BEGIN + 1, 100 * DAY_MS);
        assert_eq!(late.unwrap_err(), expected("latest"));
    }
}

#[test]
fn who_is_erased_leaves_no_values_behind() {
    let mut stage = two_days();
    stage.late(("user:ann", "tokens", 7), BEGIN).unwrap();
    assert_eq!(stage.measured(), 5);
    stage.erase("user:ann");
    assert_eq!(stage.measured(), 3, "those of the account and of bob");
    assert_eq!(stage.windows().len(), 5);
    // Who has the name now is another.
    stage.late(("user:ann", "tokens", 7), BEGIN).unwrap();
    stage.late(("user:bob", "tokens", 2), BEGIN).unwrap();
    let mut used: Vec<u64> = stage.windows().iter().map(|window| window.used).collect();
    used.sort_unstable();
    assert_eq!(used, [1, 2, 3, 9, 9], "the one who came is in memory");
    stage.reopen(false);
    stage.late(("user:bob", "tokens", 8), BEGIN).unwrap();
    assert!(stage.windows().iter().any(|window| window.used == 4), "the account's");
}

#[test]
fn the_trail_says_what_windows_got_and_nothing_of_what_changed_nothing() {
    let mut stage = two_days();
    let lines = |stage: &Stage| -> Vec<(u64, u64)> {
        let rows = stage.rows(Table::Adjustments);
        let read = |value: &[u8]| -> Adjustment { adjustment_row(value).unwrap() };
        rows.iter().map(|(_, value)| read(value)).map(|l| (l.units_before, l.units)).collect()
    };
    stage.late(("user:bob", "tokens", 1), BEGIN).unwrap();
    assert_eq!(lines(&stage), [], "the account knew it");
    stage.late(("user:bob", "tokens", 5), BEGIN).unwrap();
    assert_eq!(lines(&stage), [(0, 1)]);
    stage.late(("user:bob", "calls", 4), BEGIN + 1).unwrap();
    assert_eq!(lines(&stage), [(0, 1), (9, 4)], "what it held, and what it holds");
    stage.late(("user:bob", "calls", 4), BEGIN + 2).unwrap();
    assert_eq!(lines(&stage).len(), 2);
    let subjects = stage.rows(Table::Subjects);
    let of_users = subjects.iter().filter(|(key, _)| key.get(4) == Some(&3));
    let bob: Vec<(u64, u64)> = of_users
        .map(|(_, value)| adjustment_row(value).unwrap())
        .map(|line| (line.units_before, line.units))
        .collect();
    assert_eq!(bob, [(0, 1), (0, 1), (0, 4)], "both devices were new to him");
}

#[test]
fn an_amendment_to_as_much_as_before_leaves_no_line() {
    let mut spec = daily();
    spec.features[0].counting = Default::default();
    spec.features[0].counting.aggregation = Aggregation::Count;
    let mut stage = Stage { house: House::of(spec, 1_000_000), now: BEGIN + DAY_MS, keys: 0 };
    let correct = |stage: &mut Stage, units| {
        stage.now += 1;
        let key = format!("c{}", stage.now);
        let rq = CorrectRequest {
            account: "acme",
            feature: "tokens",
            subject: None,
            event: "late",
            units,
            original_units: None,
            reason: "",
            key: &key,
            dimensions: Default::default(),
            restate_ms: RESTATE_MS,
            now: Millis(stage.now),
            wants: Wants::default(),
        };
        let (engine, store) = (&stage.house.engine, &stage.house.store);
        store.project(store.last());
        let seen = engine.look_correct(&engine.catalog(), &**store, &rq).unwrap();
        engine.correct(&engine.catalog(), &rq, &seen).unwrap();
    };
    let rq = LateRequest {
        account: "acme",
        feature: "tokens",
        subject: None,
        units: 9,
        occurred_at: Millis(BEGIN),
        key: "late",
        dimensions: Default::default(),
        restate_ms: RESTATE_MS,
        now: Millis(stage.now),
        wants: Wants::default(),
    };
    {
        let (engine, store) = (&stage.house.engine, &stage.house.store);
        let seen = engine.look_late(&engine.catalog(), &**store, &rq).unwrap();
        engine.record_at(&engine.catalog(), &rq, &seen).unwrap();
    }
    for units in [Some(4), Some(4), None, None, Some(2)] {
        correct(&mut stage, units);
    }
    let rows = stage.rows(Table::Adjustments);
    let lines = rows.iter().map(|(_, value)| adjustment_row(value).unwrap());
    let lines: Vec<(u64, u64)> = lines.map(|line| (line.units_before, line.units)).collect();
    assert_eq!(lines, [(0, 1), (1, 0), (0, 1)], "a use is one, however many units it says");
}
