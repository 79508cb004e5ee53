//! What happened earlier and was paid by credits, and its corrections.

use headroom_core::time::Millis;
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{Reply, Wants};
use headroom_engine::late::{CorrectRequest, LateError, LateRequest};

use super::{ACCOUNT, DAY_MS, HOUR_MS, Player, said_of, same};
use crate::coins::{Payment, Took};

/// How far back windows are restated.
const RESTATE_MS: i64 = 40 * DAY_MS;

/// An event as the model knows it.
#[derive(Debug, Clone)]
struct Event {
    key: String,
    images: bool,
    units: u64,
    at: i64,
    /// Whether only its key is remembered.
    plain: bool,
    /// Every credit that it cost.
    paid: Payment,
}

/// A write that can be sent again.
#[derive(Debug, Clone)]
enum Ask {
    Record { images: bool, units: u64, at: i64 },
    Correct { event: String, images: bool, units: Option<u64>, original: Option<u64> },
}

/// What the player has to remember of events.
#[derive(Debug, Default)]
pub(super) struct Happened {
    events: Vec<Event>,
    last: Option<(Ask, String, Took)>,
}

impl Happened {
    /// Notes a write that was charged as it came.
    pub(super) fn plain(
        &mut self,
        key: &str,
        (images, units): (bool, u64),
        (mut paid, took): (Payment, &Took),
        at: i64,
    ) {
        paid.add(took, at);
        self.events.push(Event { key: key.to_owned(), images, units, at, plain: true, paid });
    }
}

fn name(images: bool) -> &'static str {
    if images { "images" } else { "credits" }
}

impl Player {
    pub(super) fn late(&mut self) -> Result<(), String> {
        let key = format!("k{}", self.count);
        match self.rng.below(10) {
            0 => self.late_again(),
            1..=4 => self.record_late(key),
            _ => self.correct(key),
        }
    }

    fn record_late(&mut self, key: String) -> Result<(), String> {
        let (images, units) = (self.rng.percent(60), 1 + self.rng.below(30));
        let back = *self.rng.pick(&[HOUR_MS, 5 * DAY_MS, 60 * DAY_MS]);
        let at = self.now - self.rng.between(0, back);
        let ask = Ask::Record { images, units, at };
        self.tell(&format!("{key}: {ask:?}"));
        let got = self.ask_late(&ask, &key)?;
        self.pool.live(self.now);
        if at < self.now - RESTATE_MS {
            self.coverage.note("too late");
            return same("too old", &matches!(got, Err(LateError::TooOld { .. })), &true);
        }
        let reply = got.map_err(|error| error.to_string())?;
        let took = self.pool.coins.burn(self.pool.cost(images, units), self.now);
        self.coverage.note("paid late");
        let mut paid = Payment::new(self.pool.price(images));
        paid.add(&took, self.now);
        let event = Event { key: key.clone(), images, units, at, plain: false, paid };
        self.happened.events.push(event);
        self.told(ask, key, &reply, took)
    }

    fn correct(&mut self, key: String) -> Result<(), String> {
        let now = self.now;
        let is_known = |event: &&Event| match event.plain {
            true => now - event.at < DAY_MS - HOUR_MS,
            false => now - event.at < RESTATE_MS,
        };
        let known: Vec<&Event> = self.happened.events.iter().filter(is_known).collect();
        if known.is_empty() {
            return Ok(());
        }
        // The latest ones more often, so that some are corrected several times.
        let few = usize::try_from(self.rng.below(6)).expect("few").min(known.len() - 1);
        let mut event = known[known.len() - 1 - few].clone();
        let units = match self.rng.below(4) {
            0 => None,
            1 => Some(1 + self.rng.below(event.units + 9)),
            _ => Some(1 + self.rng.below(event.units.max(1))),
        };
        let says = event.plain || self.rng.percent(50);
        let original = says.then_some(event.units);
        let ask = Ask::Correct { event: event.key.clone(), images: event.images, units, original };
        self.tell(&format!("{key}: {ask:?}"));
        let got = self.ask_late(&ask, &key)?;
        self.pool.live(now);
        let reply = got.map_err(|error| error.to_string())?;
        let (more, less) = event.paid.change(units.unwrap_or(0));
        let took = if less > 0 {
            let back = event.paid.take_off(less);
            self.coverage.note(if event.plain {
                "a plain write came back"
            } else {
                "an event came back"
            });
            self.pool.coins.refund(&back, now)
        } else {
            let took = self.pool.coins.burn(more, now);
            event.paid.add(&took, now);
            self.coverage.note("charged more later");
            took
        };
        self.pool.live(now);
        (event.units, event.plain) = (units.unwrap_or(0), false);
        let mut events = self.happened.events.iter_mut();
        *events.find(|known| known.key == event.key).expect("it is known") = event.clone();
        self.told(ask, key, &reply, took)
    }

    fn told(&mut self, ask: Ask, key: String, reply: &Reply, took: Took) -> Result<(), String> {
        same("whether it is a replay", &reply.replayed, &false)?;
        let charge = self.took_of(reply);
        self.happened.last = Some((ask, key, took.clone()));
        same("the charge", &charge, &said_of(&Some(took)))
    }

    /// The very same write again: nothing more is charged, and the answer says the same.
    fn late_again(&mut self) -> Result<(), String> {
        let Some((ask, key, took)) = self.happened.last.clone() else { return Ok(()) };
        self.tell(&format!("again {key}: {ask:?}"));
        let reply = self.ask_late(&ask, &key)?.map_err(|error| error.to_string())?;
        self.pool.live(self.now);
        self.coverage.note("late, replayed");
        same("whether it is a replay", &reply.replayed, &true)?;
        same("the charge of the first write", &self.took_of(&reply), &said_of(&Some(took)))
    }

    /// Asks with what the projection says, and again when that is too old.
    fn ask_late(&mut self, ask: &Ask, key: &str) -> Result<Result<Box<Reply>, LateError>, String> {
        for _ in 0..3 {
            match self.ask_late_once(ask, key)? {
                Err(LateError::Behind { until }) => {
                    self.coverage.note("behind");
                    self.store.project(until);
                }
                got => return Ok(got),
            }
        }
        Err("it is behind for ever".to_owned())
    }

    fn ask_late_once(&self, ask: &Ask, key: &str) -> Result<Result<Box<Reply>, LateError>, String> {
        let (catalog, now, wants) = (self.engine.catalog(), Millis(self.now), Wants::default());
        let (account, restate_ms, dimensions) = (ACCOUNT, RESTATE_MS, Dimensions::default());
        match ask {
            Ask::Record { images, units, at } => {
                let (feature, units, occurred_at) = (name(*images), *units, Millis(*at));
                let rq = LateRequest {
                    account,
                    feature,
                    subject: None,
                    units,
                    occurred_at,
                    key,
                    dimensions,
                    restate_ms,
                    now,
                    wants,
                };
                let seen = self.engine.look_late(&catalog, &*self.store, &rq);
                let seen = seen.map_err(|e| e.to_string())?;
                Ok(self.engine.record_at(&catalog, &rq, &seen).map(|answer| answer.reply))
            }
            Ask::Correct { event, images, units, original } => {
                let rq = CorrectRequest {
                    account,
                    feature: name(*images),
                    subject: None,
                    event,
                    units: *units,
                    original_units: *original,
                    reason: "a test",
                    key,
                    dimensions,
                    restate_ms,
                    now,
                    wants,
                };
                let seen = self.engine.look_correct(&catalog, &*self.store, &rq);
                let seen = seen.map_err(|e| e.to_string())?;
                Ok(self.engine.correct(&catalog, &rq, &seen).map(|answer| answer.reply))
            }
        }
    }
}
