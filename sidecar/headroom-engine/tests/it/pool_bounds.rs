//! Counters of pools at the ends of what can be counted: whatever is asked, the next start reads back
//! what was written.

use headroom_core::catalog::CatalogSpec;
use headroom_core::credits::{PoolTerms, Segment};
use headroom_core::decide::{FeatureOp, HoldOp, NewGrant};
use headroom_core::limits::UNITS_MAX;
use headroom_core::reservation::ReservationId;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::admin::{OverrideChange, OverrideTerms, SubscriptionChange};
use headroom_engine::digest::{RecordDigest, credits_row};
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{FeatureRequest, HoldRequest, Wants};
use headroom_engine::late::{CorrectRequest, LateRequest};
use headroom_engine::ports::{Digest, ProjectionOp, Seq, Table};
use headroom_sim::rng::Rng;

use crate::credits::{pools_of, ruled};
use crate::house::{DAY_MS, HOUR_MS, House, T0};

const RESTATE_MS: i64 = 40 * DAY_MS;
const HISTORIES: u64 = 60;
const STEPS: u32 = 120;

/// A pool that may owe as much as can be counted and rolls all over, of one account.
fn wide(included_units: u64, rule: WindowRule) -> CatalogSpec {
    let mut spec = ruled(included_units, rule);
    let rollover_max_units = if rule == WindowRule::Lifetime { 0 } else { UNITS_MAX };
    for terms in pools_of(&mut spec) {
        let usual = PoolTerms { included_units, ..PoolTerms::default() };
        let soft_limits_bp = vec![5_000, 9_000];
        let overdraft_units = UNITS_MAX;
        *terms = PoolTerms { rollover_max_units, overdraft_units, soft_limits_bp, ..usual };
    }
    spec
}

/// Which windows a pool has, and how much is included in each.
fn a_pool(rng: &mut Rng) -> (WindowRule, u64) {
    let day = WindowRule::Calendar(CalendarUnit::Day);
    (*rng.pick(&[day, WindowRule::Lifetime]), *rng.pick(&[0, UNITS_MAX / 2, UNITS_MAX]))
}

/// A write that can be corrected.
#[derive(Clone)]
struct Event {
    key: String,
    feature: &'static str,
    units: u64,
}

struct Stage {
    house: House,
    spec: CatalogSpec,
    rng: Rng,
    now: i64,
    count: u32,
    holds: Vec<ReservationId>,
    events: Vec<Event>,
    /// Up to which position the journal was looked at, and the history that it told.
    seen: Seq,
    history: Vec<Segment>,
}

impl Stage {
    fn new(seed: u64) -> Stage {
        let mut rng = Rng::new(seed);
        let (rule, included_units) = a_pool(&mut rng);
        Stage::of(included_units, rule, rng)
    }

    fn of(included_units: u64, rule: WindowRule, rng: Rng) -> Stage {
        let spec = wide(included_units, rule);
        let house = House::of(spec.clone(), 1_000_000);
        let (holds, events, history) = (Vec::new(), Vec::new(), Vec::new());
        house.subscribe("acme", "pro");
        Stage { house, spec, rng, now: T0, count: 0, holds, events, seen: Seq(0), history }
    }

    /// Mostly as much as can be counted, or half of it, or a little.
    fn units(&mut self) -> u64 {
        let near = self.rng.below(3);
        *self.rng.pick(&[UNITS_MAX - near, UNITS_MAX / 2 + near, UNITS_MAX / 3, 1 + near])
    }

    fn key(&mut self) -> String {
        self.count += 1;
        format!("k{}", self.count)
    }

    fn feature(&mut self) -> &'static str {
        if self.rng.percent(33) { "tokens" } else { "credits" }
    }

    fn step(&mut self) -> String {
        match self.rng.below(20) {
            0..=2 => self.wait(),
            3..=5 => self.give(),
            6 => self.take_back(),
            7 => self.plan(),
            8..=12 => self.draw(),
            13..=14 => self.end_hold(),
            15 => self.late(),
            _ => self.correct(),
        }
    }

    fn wait(&mut self) -> String {
        let timer = self.house.engine.next_timer_at();
        self.now = match self.rng.below(4) {
            0 if timer != Millis::FOREVER => self.now.max(timer.0),
            1 => self.now + DAY_MS,
            2 => self.now + HOUR_MS,
            _ => self.now + 1,
        };
        self.house.engine.run_timers(Millis(self.now));
        format!("wait until {}", Millis(self.now))
    }

    fn give(&mut self) -> String {
        let (id, units) = (format!("g{}", self.rng.below(40)), self.units());
        let starts_at = self.rng.percent(25).then_some(Millis(self.now + HOUR_MS));
        let expires_at = self.rng.percent(50).then_some(Millis(self.now + 2 * HOUR_MS));
        let new = NewGrant { id: &id, units, priority: 100, starts_at, expires_at };
        let got = self.house.engine.put_grant("acme", "credits", &new, Millis(self.now));
        format!("{new:?}: {:?}", got.map(|changed| changed.grant.units))
    }

    fn take_back(&mut self) -> String {
        let id = format!("g{}", self.rng.below(40));
        let got = self.house.engine.void_grant("acme", "credits", (&id, ""), Millis(self.now));
        format!("void {id}: {:?}", got.map(|changed| changed.grant.end))
    }

    fn plan(&mut self) -> String {
        let (now, engine) = (Millis(self.now), &self.house.engine);
        if self.rng.percent(25) {
            let (rule, included_units) = a_pool(&mut self.rng);
            self.spec = wide(included_units, rule);
            let source = format!("{:?}", self.spec);
            let got = engine.install_catalog(self.spec.clone(), &source, now);
            return format!("catalog {included_units} {rule:?}: {:?}", got.is_ok());
        }
        if self.rng.percent(50) {
            let plan = *self.rng.pick(&["free", "pro"]);
            let change = SubscriptionChange { plan, ..SubscriptionChange::default() };
            return format!("{plan}: {:?}", engine.put_subscription("acme", &change, now).is_ok());
        }
        let units = *self.rng.pick(&[0, 1, UNITS_MAX / 2, UNITS_MAX]);
        let change = OverrideChange::Limit("credits", Some(units));
        let got = engine.put_override("acme", "credits", &change, OverrideTerms::default(), now);
        format!("included: {units}: {:?}", got.is_ok())
    }

    fn draw(&mut self) -> String {
        let (feature, units) = (self.feature(), self.units());
        let hold_ms = *self.rng.pick(&[1, HOUR_MS, DAY_MS]);
        let op = *self.rng.pick(&[
            FeatureOp::Consume { units },
            FeatureOp::Record { units },
            FeatureOp::Reserve { units, hold_ms },
            FeatureOp::ReserveCharging { units, hold_ms },
            FeatureOp::ReserveCharging { units, hold_ms },
        ]);
        self.ask(feature, op, units)
    }

    fn ask(&mut self, feature: &'static str, op: FeatureOp, units: u64) -> String {
        let key = self.key();
        let rq = FeatureRequest {
            dimensions: Dimensions::default(),
            account: "acme",
            feature,
            op,
            key: &key,
            now: Millis(self.now),
            wants: Wants::default(),
            synthetic: false,
            subject: None,
        };
        let got = self.house.engine.feature(&self.house.engine.catalog(), &rq);
        let got = got.map(|reply| reply.outcome);
        if let Ok(outcome) = &got
            && outcome.decision.verdict.is_allowed()
        {
            match outcome.amounts.reservation {
                Some(id) => self.holds.push(id),
                None => self.events.push(Event { key, feature, units }),
            }
        }
        format!("{feature} {op:?}: {:?}", got.map(|outcome| outcome.decision.verdict))
    }

    fn end_hold(&mut self) -> String {
        if self.holds.is_empty() {
            return "no hold".to_owned();
        }
        let units = self.units();
        let op = *self.rng.pick(&[
            HoldOp::Commit { units },
            HoldOp::CommitPart { units, hold_ms: None },
            HoldOp::Extend { hold_ms: Some(DAY_MS), additional_units: units },
            HoldOp::Release,
        ]);
        let reservation = *self.rng.pick(&self.holds.clone());
        self.settle(reservation, op)
    }

    fn settle(&mut self, reservation: ReservationId, op: HoldOp) -> String {
        let (key, wants, now) = (self.key(), Wants::default(), Millis(self.now));
        let (account, dimensions) = ("acme", Dimensions::default());
        let rq = HoldRequest { dimensions, account, reservation, op, key: &key, now, wants };
        let got = self.house.engine.hold(&self.house.engine.catalog(), &rq);
        format!("{op:?}: {:?}", got.map(|reply| reply.outcome.decision.verdict))
    }

    fn late(&mut self) -> String {
        let (feature, units, key) = (self.feature(), self.units(), self.key());
        let rq = LateRequest {
            account: "acme",
            feature,
            subject: None,
            units,
            occurred_at: Millis(self.now - self.rng.between(1, 2 * DAY_MS)),
            key: &key,
            dimensions: Dimensions::default(),
            restate_ms: RESTATE_MS,
            now: Millis(self.now),
            wants: Wants::default(),
        };
        let got = self.house.late(&rq);
        let event = Event { key: key.clone(), feature, units };
        self.events.extend(got.is_ok().then_some(event));
        format!("late {feature} {units}: {:?}", got.map(|_| ()))
    }

    fn correct(&mut self) -> String {
        if self.events.is_empty() {
            return "no event".to_owned();
        }
        let place = usize::try_from(self.rng.below(self.events.len() as u64)).unwrap();
        let units = if self.rng.percent(25) { None } else { Some(self.units()) };
        self.correct_to(place, units)
    }

    fn correct_to(&mut self, place: usize, units: Option<u64>) -> String {
        let (event, key) = (self.events[place].clone(), self.key());
        let rq = CorrectRequest {
            account: "acme",
            feature: event.feature,
            subject: None,
            event: &event.key,
            units,
            original_units: Some(event.units),
            reason: "",
            key: &key,
            dimensions: Dimensions::default(),
            restate_ms: RESTATE_MS,
            now: Millis(self.now),
            wants: Wants::default(),
        };
        let got = self.house.correct(&rq);
        let told = format!("{} is {units:?}: {:?}", event.key, got.as_ref().map(|_| ()));
        if got.is_ok() {
            self.events[place].units = units.unwrap_or(0);
        }
        told
    }

    /// Starts anew from what is written: it is all read, and says the same.
    fn reopen(&mut self) {
        let now = Millis(self.now);
        if self.rng.percent(10) {
            self.house.store.keep(self.house.checkpoint());
        }
        let catalog = (None, self.spec.clone());
        let found = House::open_at(&self.house.store, catalog, self.house.keys_max, now);
        let views = [&self.house, &found].map(|h| h.engine.pool("acme", "credits", now).unwrap());
        assert_eq!(views[0], views[1]);
        self.house = found;
    }

    /// The history chains, and its rows are read.
    fn read_history(&mut self) {
        for (seq, stored) in self.house.store.since(self.seen) {
            let mut ops = Vec::new();
            RecordDigest.digest(seq, &stored.bytes, &mut ops);
            for op in ops {
                if let ProjectionOp::Put { table: Table::Credits, value, .. } = op {
                    self.history.push(credits_row(&value).unwrap());
                }
            }
            self.seen = seq;
        }
        let view = self.house.engine.pool("acme", "credits", Millis(self.now)).unwrap();
        let pool = view.state.pool().unwrap().balance;
        assert_eq!(view.open_segment.unwrap().closing(), pool);
        for pair in self.history.windows(2) {
            assert_eq!((pair[0].to, pair[0].closing()), (pair[1].from, pair[1].opening));
        }
    }
}

#[test]
fn what_is_written_at_the_ends_of_what_can_be_counted_is_read_back() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let all = number("HEADROOM_SIM_HISTORIES").map_or(HISTORIES, |all| (all / 10).max(HISTORIES));
    for seed in number("HEADROOM_SIM_SEED").map_or(0..all, |seed| seed..seed + 1) {
        let mut stage = Stage::new(seed);
        for _ in 0..STEPS {
            let told = stage.step();
            println!("seed {seed}, {}: {told}", Millis(stage.now));
            stage.reopen();
            stage.read_history();
        }
    }
}

/// As much as can be counted, so often within one hour that no column of the history could hold it: what
/// is too much is refused, and what was taken is read back.
fn over_and_over(what: impl Fn(&mut Stage, u64) -> String) {
    let mut stage = Stage::of(UNITS_MAX, WindowRule::Lifetime, Rng::new(1));
    let mut refused = 0;
    for round in 0..300 {
        let told = what(&mut stage, round);
        refused += u32::from(told.contains("CounterFull"));
        if round % 20 == 0 || round == 299 {
            stage.reopen();
            stage.read_history();
        }
    }
    assert!(refused > 0);
    stage.now += HOUR_MS;
    let next = stage.ask("credits", FeatureOp::Record { units: 1 }, 1);
    assert!(!next.contains("CounterFull"), "the next hour has room again: {next}");
    stage.reopen();
    stage.read_history();
}

#[test]
fn an_event_that_is_corrected_to_and_fro_overflows_no_history() {
    over_and_over(|stage, round| {
        if round == 0 {
            return stage.ask("credits", FeatureOp::Record { units: 1 }, 1);
        }
        stage.correct_to(0, (round % 2 == 0).then_some(UNITS_MAX))
    });
}

#[test]
fn holds_that_are_charged_and_come_back_overflow_no_history() {
    over_and_over(|stage, _| {
        let (units, hold_ms) = (UNITS_MAX, 1);
        let held = stage.ask("credits", FeatureOp::ReserveCharging { units, hold_ms }, units);
        stage.now += 1;
        stage.house.engine.run_timers(Millis(stage.now));
        match stage.holds.pop() {
            Some(id) => stage.settle(id, HoldOp::Release),
            None => held,
        }
    });
}

#[test]
fn grants_that_are_given_and_taken_back_in_an_instant_overflow_no_history() {
    over_and_over(|stage, round| {
        let (id, engine, now) = (format!("g{round}"), &stage.house.engine, Millis(stage.now));
        let (units, priority) = (UNITS_MAX, 100);
        let new = NewGrant { id: &id, units, priority, starts_at: None, expires_at: None };
        let given = engine.put_grant("acme", "credits", &new, now);
        let voided = engine.void_grant("acme", "credits", (&id, ""), now);
        format!("{:?} {:?}", given.map(drop), voided.map(drop))
    });
}

/// Nobody can refuse them, so what came and went in an instant is not told.
#[test]
fn plans_that_change_to_and_fro_in_an_instant_overflow_no_history() {
    let mut stage = Stage::of(UNITS_MAX, WindowRule::Lifetime, Rng::new(1));
    for round in 0..5_000 {
        let change = OverrideChange::Limit("credits", Some(UNITS_MAX * (round % 2)));
        let (times, now) = (OverrideTerms::default(), Millis(stage.now));
        stage.house.engine.put_override("acme", "credits", &change, times, now).unwrap();
        if round % 500 == 0 {
            stage.reopen();
            stage.read_history();
        }
    }
}
