//! Histories of pools of credits, on the engine and on a naive model at once.
//!
//! The pool is all that refuses here: what limits refuse besides has its histories in [`crate::play`].
//! The pool of the model is the one of [`crate::coins`]: every credit is a coin of its own.

mod late;
mod model;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, Offering, PlanSpec,
};
use headroom_core::credits::{CreditPrice, PoolTerms, Rounding, Segment};
use headroom_core::decide::{FeatureOp, HoldOp, NewGrant};
use headroom_core::decision::{OpError, Verdict};
use headroom_core::reservation::ReservationId;
use headroom_core::signal::SignalSwitches;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::admin::SubscriptionChange;
use headroom_engine::digest::{RecordDigest, credits_row};
use headroom_engine::engine::{Engine, EngineError, FeatureRequest, HoldRequest, Reply, Wants};
use headroom_engine::ports::{Digest, ProjectionOp, Seq, Store, Table};
use headroom_engine::recovery::{ClockMemory, EngineOptions, Recovery};

use crate::civil::FOREVER;
use crate::coins::{Id, Payment, Took};
use crate::coverage::Coverage;
use crate::model::ChargeAnswer;
use crate::observe;
use crate::play::Failure;
use crate::rng::Rng;
use crate::store::{Checkpoint, MemStore};
use model::{Hold, No, Pool};

const BEGIN: i64 = 1_767_225_600_000;
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
const KEYS_MAX: usize = 100_000;
const ACCOUNT: &str = "acme";

/// Plays the history of a seed for so many steps, and says what it met.
///
/// # Errors
/// Where the engine and the model disagree.
pub fn play(seed: u64, steps: usize) -> Result<Coverage, Failure> {
    let mut player = Player::new(seed);
    for step in 1..=steps {
        let told = player.step().and_then(|()| player.compare());
        if let Err(what) = told {
            return Err(Failure { step, what, story: player.story });
        }
    }
    player.history().map_err(|what| Failure { step: steps, what, story: player.story.clone() })?;
    Ok(player.coverage)
}

struct Player {
    rng: Rng,
    spec: CatalogSpec,
    store: Arc<MemStore>,
    engine: Engine,
    pool: Pool,
    plans: [PoolTerms; 2],
    pack: u64,
    now: i64,
    count: u64,
    /// What can be corrected, and the last late write.
    happened: late::Happened,
    /// Writes to be sent again: the operation, its key, what it took, and when.
    sent: Vec<(Sent, String, Option<Took>, i64)>,
    coverage: Coverage,
    story: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Sent {
    Feature(bool, FeatureOp),
    Hold(ReservationId, HoldOp),
}

fn terms(rng: &mut Rng) -> PoolTerms {
    let rollover_max_units = *rng.pick(&[0, 0, 5, 40, 1_000]);
    let rollover_min_units = rng.below(3).min(rollover_max_units);
    let overdraft_units = *rng.pick(&[0, 0, 12]);
    PoolTerms {
        included_units: *rng.pick(&[0, 7, 30, 60]),
        priority: *rng.pick(&[100, 100, 1]),
        rollover_min_units,
        rollover_max_units,
        overdraft_units,
        forgives_debt: overdraft_units == 0 && rng.percent(30),
        soft_limits_bp: vec![5_000],
    }
}

/// Two plans and a pack, of one pool that images are paid by.
fn spec(rule: WindowRule, price: CreditPrice, plans: &[PoolTerms; 2], pack: u64) -> CatalogSpec {
    let feature = |name: &str, kind| FeatureSpec {
        feature: name.to_owned(),
        name: name.to_owned(),
        unit: String::new(),
        scale: 0,
        kind,
        offering: Offering::default(),
        shadow: false,
        counting: Default::default(),
    };
    let total = LimitSpec { limit: "total".to_owned(), window: WindowRule::Lifetime, per: None };
    let rate_card = vec![("images".to_owned(), price)];
    let plan = |name: &str, terms: &PoolTerms, paid: bool| PlanSpec {
        plan: name.to_owned(),
        version: 1,
        name: name.to_owned(),
        price: None,
        entitlements: [
            Some(("credits".to_owned(), EntitlementSpec::Credits { terms: terms.clone() })),
            paid.then(|| {
                let paid_by = "credits".to_owned();
                ("images".to_owned(), EntitlementSpec::PaidQuota { limits: vec![], paid_by })
            }),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    let packed = PoolTerms { included_units: pack, ..PoolTerms::default() };
    CatalogSpec {
        features: vec![
            feature("images", FeatureKindSpec::Quota { limits: vec![total] }),
            feature("credits", FeatureKindSpec::Credits { window: rule, rate_card }),
        ],
        plans: vec![plan("one", &plans[0], true), plan("two", &plans[1], true)],
        addons: vec![plan("pack", &packed, false)],
        signals: SignalSwitches::default(),
        ..CatalogSpec::default()
    }
}

fn open(store: &Arc<MemStore>, spec: &CatalogSpec, now: i64) -> Engine {
    let keys_max = NonZeroUsize::new(KEYS_MAX).expect("not zero");
    let mut recovery = Recovery::new(DAY_MS, keys_max);
    let (checkpoint, tail) = store.found();
    for entry in checkpoint.map_or(Vec::new(), |checkpoint| checkpoint.entries) {
        recovery.entry(&entry).expect("an entry of ours");
    }
    for (seq, stored) in &tail {
        recovery.record(*seq, &stored.bytes).expect("a record of ours");
    }
    let options = EngineOptions {
        store: Arc::clone(store) as Arc<dyn Store>,
        secret: [3; 16],
        boot: 1,
        key_horizon_ms: DAY_MS,
        keys_max,
    };
    recovery.finish(spec.clone(), "one", Millis(now), options).expect("a good catalog").0
}

impl Player {
    fn new(seed: u64) -> Player {
        let mut rng = Rng::new(seed ^ 0xc4ed175);
        let rule = *rng.pick(&[
            WindowRule::Calendar(CalendarUnit::Day),
            WindowRule::Billing { months: 1 },
            WindowRule::Lifetime,
        ]);
        let rounding = *rng.pick(&[Rounding::Up, Rounding::Down, Rounding::Nearest]);
        let price = CreditPrice { credits: 1 + rng.below(5), per: 1 + rng.below(4), rounding };
        let mut plans = [terms(&mut rng), terms(&mut rng)];
        if rule == WindowRule::Lifetime {
            plans.iter_mut().for_each(|plan| plan.rollover_max_units = 0);
            plans.iter_mut().for_each(|plan| plan.rollover_min_units = 0);
        }
        let pack = 1 + rng.below(20);
        let spec = spec(rule, price, &plans, pack);
        let now = BEGIN + rng.between(0, 700 * DAY_MS);
        let store = Arc::new(MemStore::new());
        let engine = open(&store, &spec, now);
        let change = SubscriptionChange { plan: "one", ..SubscriptionChange::default() };
        engine.put_subscription(ACCOUNT, &change, Millis(now)).expect("a plan");
        let pool = Pool::new(rule, price, plans[0].clone(), now);
        Player {
            rng,
            spec,
            store,
            engine,
            pool,
            plans,
            pack,
            now,
            count: 0,
            happened: late::Happened::default(),
            sent: Vec::new(),
            coverage: Coverage::default(),
            story: Vec::new(),
        }
    }

    fn tell(&mut self, what: &str) {
        self.story.push(format!("{}: {what}", Millis(self.now)));
        let spare = self.story.len().saturating_sub(14);
        self.story.drain(..spare);
    }

    fn step(&mut self) -> Result<(), String> {
        self.count += 1;
        match self.rng.below(46) {
            0..=6 => {
                let edges = self.pool.edges();
                self.now = match edges.iter().min() {
                    Some(next) if self.rng.percent(60) => {
                        self.now.max(next + self.rng.between(-1, 1))
                    }
                    _ if self.rng.percent(10) => self.now + self.rng.between(0, 40 * DAY_MS),
                    _ => self.now + self.rng.between(0, 2 * HOUR_MS),
                };
                Ok(())
            }
            7..=9 => self.give(),
            10 => self.take_back(),
            11 => self.subscribe(),
            12 => self.restart(),
            13 => {
                self.engine.run_timers(Millis(self.now));
                self.pool.live(self.now);
                Ok(())
            }
            14 | 15 if !self.sent.is_empty() => self.repeat(),
            16..=19 => self.late(),
            20..=26 => self.settle_hold(),
            _ => self.draw(),
        }
    }

    fn grant_id(&mut self) -> (Id, String) {
        let id = Id::Given(u8::try_from(self.rng.below(30)).expect("few"));
        (id, id.text())
    }

    fn give(&mut self) -> Result<(), String> {
        let (id, text) = self.grant_id();
        let (units, priority) = (1 + self.rng.below(25), *self.rng.pick(&[100, 100, 7]));
        let soon = |rng: &mut Rng| rng.between(-HOUR_MS, 20 * DAY_MS);
        let starts = self.rng.percent(25).then(|| self.now + soon(&mut self.rng));
        let expires = self.rng.percent(50).then(|| self.now + soon(&mut self.rng));
        self.tell(&format!("give {text} {units} at {priority}, {starts:?} to {expires:?}"));
        let (starts_at, expires_at) = (starts.map(Millis), expires.map(Millis));
        let new = NewGrant { id: &text, units, priority, starts_at, expires_at };
        let got = self.engine.put_grant(ACCOUNT, "credits", &new, Millis(self.now));
        self.pool.live(self.now);
        let times = (starts, expires.unwrap_or(FOREVER));
        let made = self.pool.coins.grant(id, (units, priority), times, self.now).is_ok();
        self.pool.live(self.now);
        self.coverage.note(if made { "given" } else { "not given" });
        same("whether it is given", &got.is_ok(), &made)
    }

    fn take_back(&mut self) -> Result<(), String> {
        let (id, text) = self.grant_id();
        self.tell(&format!("void {text}"));
        let got = self.engine.void_grant(ACCOUNT, "credits", (&text, "why"), Millis(self.now));
        self.pool.live(self.now);
        let known = self.pool.coins.void(id, self.now).is_ok();
        self.coverage.note(if known { "voided" } else { "not voided" });
        same("whether it is voided", &got.is_ok(), &known)
    }

    fn subscribe(&mut self) -> Result<(), String> {
        let (which, quantity) = (self.rng.below(2), self.rng.below(3));
        self.tell(&format!("plan {which}, {quantity} packs"));
        let plan = if which == 0 { "one" } else { "two" };
        let packs = u32::try_from(quantity).expect("few");
        let addons = if quantity > 0 { vec![("pack", packs)] } else { vec![] };
        let change = SubscriptionChange { plan, addons, ..SubscriptionChange::default() };
        let got = self.engine.put_subscription(ACCOUNT, &change, Millis(self.now));
        self.pool.live(self.now);
        let mut terms = self.plans[usize::from(which == 1)].clone();
        terms.included_units += quantity * self.pack;
        self.pool.follow(terms, self.now);
        self.coverage.note("another plan");
        got.map(drop).map_err(|error| error.to_string())
    }

    fn restart(&mut self) -> Result<(), String> {
        self.tell("restart");
        if self.rng.percent(50) {
            let begun = self.store.last();
            let mut entries = Vec::new();
            let clock = ClockMemory { test: false, high_water: Millis(self.now) };
            let keep = |bytes: &[u8]| {
                entries.push(bytes.to_vec());
                Ok::<(), ()>(())
            };
            let last = self.engine.checkpoint(clock, keep).map_err(|()| "no checkpoint")?;
            self.store.keep(Checkpoint { begun, last, entries });
            self.coverage.note("checkpoint");
        }
        self.engine = open(&self.store, &self.spec, self.now);
        self.coverage.note("restart");
        Ok(())
    }

    fn ask(&self, sent: Sent, key: &str) -> Result<Box<Reply>, EngineError> {
        let (now, wants, catalog) = (Millis(self.now), Wants::default(), self.engine.catalog());
        match sent {
            Sent::Feature(images, op) => {
                let feature = if images { "images" } else { "credits" };
                let rq = FeatureRequest {
                    dimensions: Default::default(),
                    account: ACCOUNT,
                    feature,
                    op,
                    key,
                    now,
                    wants,
                    synthetic: false,
                    subject: None,
                };
                self.engine.feature(&catalog, &rq)
            }
            Sent::Hold(reservation, op) => {
                let rq = HoldRequest {
                    dimensions: Default::default(),
                    account: ACCOUNT,
                    reservation,
                    op,
                    key,
                    now,
                    wants,
                };
                self.engine.hold(&catalog, &rq)
            }
        }
    }

    fn draw(&mut self) -> Result<(), String> {
        let images = self.rng.percent(50);
        let units = 1 + self.rng.below(*self.rng.clone().pick(&[3, 12, 60]));
        let hold_ms = *self.rng.pick(&[1, HOUR_MS, DAY_MS]);
        let op = match self.rng.below(10) {
            0 => FeatureOp::Check { units, attempt: self.rng.percent(50) },
            1 => FeatureOp::Record { units },
            2 | 3 => FeatureOp::Reserve { units, hold_ms },
            4 => FeatureOp::ReserveCharging { units, hold_ms },
            _ => FeatureOp::Consume { units },
        };
        let (sent, key) = (Sent::Feature(images, op), format!("k{}", self.count));
        self.tell(&format!("{sent:?}"));
        let got = self.ask(sent, &key);
        self.pool.live(self.now);
        let credits = self.pool.cost(images, units);
        let takes = !matches!(op, FeatureOp::Check { .. });
        let said = match op {
            FeatureOp::Record { .. } => Ok(()),
            _ => self.pool.asks(credits, takes),
        };
        let reply = match (got, said) {
            (Ok(reply), Ok(())) => reply,
            (Ok(reply), Err(No::Denied(denial))) => {
                self.coverage.note(&format!("{denial:?}"));
                let verdict = reply.outcome.decision.verdict;
                return same("the denial", &verdict, &Verdict::Denied(denial));
            }
            (Err(EngineError::Op(OpError::TooManyGrants { .. })), Err(No::TooManyGrants)) => {
                self.coverage.note("too many grants");
                return Ok(());
            }
            (got, said) => return Err(format!("engine {got:?}, model {said:?}")),
        };
        same("that it is allowed", &reply.outcome.decision.verdict.is_allowed(), &true)?;
        let mut took = None;
        match op {
            FeatureOp::Check { .. } | FeatureOp::Allocate { .. } | FeatureOp::Value { .. } => {}
            FeatureOp::Consume { .. } | FeatureOp::Record { .. } => {
                let burnt = self.pool.coins.burn(credits, self.now);
                let paid = Payment::new(self.pool.price(images));
                self.happened.plain(&key, (images, units), (paid, &burnt), self.now);
                took = Some(burnt);
                self.coverage.note(if images { "paid" } else { "direct" });
            }
            FeatureOp::Reserve { hold_ms, .. } | FeatureOp::ReserveCharging { hold_ms, .. } => {
                let id = reply.outcome.amounts.reservation.ok_or("no reservation")?;
                let hold = Hold {
                    images,
                    units,
                    credits,
                    expires: self.now + hold_ms,
                    charging: matches!(op, FeatureOp::ReserveCharging { .. }),
                    charged: 0,
                    ended: false,
                    settled: false,
                };
                self.pool.holds.insert(id.0, hold);
                self.coverage.note("held");
            }
        }
        same("the charge", &self.took_of(&reply), &said_of(&took))?;
        if takes {
            self.sent.push((sent, key, took, self.now));
        }
        Ok(())
    }

    fn settle_hold(&mut self) -> Result<(), String> {
        let open = self.pool.holds.iter().filter(|(_, hold)| !hold.settled);
        let remembered = open.filter(|(_, hold)| self.now < hold.expires + DAY_MS);
        let ids: Vec<u64> = remembered.map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let id = *self.rng.pick(&ids);
        let units = 1 + self.rng.below(*self.rng.clone().pick(&[3, 12, 60]));
        let op = match self.rng.below(10) {
            0 => HoldOp::Release,
            1 | 2 => HoldOp::CommitPart { units, hold_ms: None },
            3 | 4 => HoldOp::Extend { hold_ms: None, additional_units: units },
            _ => HoldOp::Commit { units },
        };
        let (sent, key) = (Sent::Hold(ReservationId(id), op), format!("k{}", self.count));
        self.tell(&format!("{sent:?}"));
        let got = self.ask(sent, &key);
        self.pool.live(self.now);
        let hold = self.pool.holds[&id].clone();
        let took = match op {
            HoldOp::Extend { additional_units, .. } => {
                if hold.ended {
                    self.coverage.note("extended too late");
                    return same("whether it is an error", &got.is_err(), &true);
                }
                let all = self.pool.cost(hold.images, hold.units + additional_units);
                let more = all.saturating_sub(hold.credits);
                let reply = got.map_err(|error| error.to_string())?;
                if let Err(No::Denied(denial)) = self.pool.asks(more, false) {
                    self.coverage.note(&format!("extend: {denial:?}"));
                    let (verdict, did) = (reply.outcome.decision.verdict, reply.outcome.amounts);
                    same("the units still held", &did.units, &hold.units)?;
                    same("until when", &did.expires_at, &Some(Millis(hold.expires)))?;
                    return same("the denial", &verdict, &Verdict::Denied(denial));
                }
                self.coverage.note("extended");
                let units = hold.units + additional_units;
                same("the units held", &reply.outcome.amounts.units, &units)?;
                self.pool.holds.insert(id, Hold { units, credits: hold.credits + more, ..hold });
                return same("no charge", &self.took_of(&reply), &None);
            }
            HoldOp::Release | HoldOp::Commit { units: 0 } => {
                self.pool.holds.insert(id, Hold { ended: true, settled: true, ..hold });
                (hold.charged > 0)
                    .then(|| self.pool.coins.unburn(hold.charged, hold.expires, self.now))
            }
            HoldOp::Commit { units } => {
                let cost = self.pool.cost(hold.images, units);
                self.pool.holds.insert(id, Hold { ended: true, settled: true, ..hold });
                Some(if cost < hold.charged {
                    self.coverage.note("came back");
                    self.pool.coins.unburn(hold.charged - cost, hold.expires, self.now)
                } else {
                    self.pool.coins.burn(cost - hold.charged, self.now)
                })
            }
            HoldOp::CommitPart { units, .. } => {
                let cost = self.pool.cost(hold.images, units);
                let accounted = cost.min(hold.charged);
                let mut after = Hold { charged: hold.charged - accounted, ..hold.clone() };
                if !hold.ended {
                    after.units = hold.units.saturating_sub(units);
                    after.credits = self.pool.cost(hold.images, after.units).min(hold.credits);
                }
                self.pool.holds.insert(id, after);
                self.coverage.note("committed in part");
                Some(self.pool.coins.burn(cost - accounted, self.now))
            }
        };
        self.pool.live(self.now);
        let reply = got.map_err(|error| error.to_string())?;
        self.coverage.note(if hold.ended { "settled late" } else { "settled" });
        same("the charge", &self.took_of(&reply), &said_of(&took))?;
        self.sent.push((sent, key, took, self.now));
        Ok(())
    }

    /// The very same write again: nothing more is charged, and the answer says the same.
    fn repeat(&mut self) -> Result<(), String> {
        let (sent, key, took, at) = self.sent.last().cloned().ok_or("nothing was sent")?;
        if self.now - at > DAY_MS - HOUR_MS {
            return Ok(());
        }
        self.tell(&format!("again {sent:?}"));
        let reply = self.ask(sent, &key);
        let Ok(reply) = reply else { return Err(format!("{reply:?}")) };
        self.pool.live(self.now);
        self.coverage.note("replayed");
        same("whether it is a replay", &reply.replayed, &true)?;
        same("the charge of the first write", &self.took_of(&reply), &said_of(&took))
    }

    /// The pool stands as in the model, whoever looks.
    fn compare(&mut self) -> Result<(), String> {
        // Not always, so that looking is not what brings things about.
        if self.rng.percent(30) {
            return Ok(());
        }
        let view = self.engine.pool(ACCOUNT, "credits", Millis(self.now));
        let view = view.map_err(|error| error.to_string())?;
        let mut pool = self.pool.clone();
        pool.live(self.now);
        let state = view.state.pool().ok_or("no pool")?;
        same("the balance", &state.balance, &pool.coins.balance())?;
        same("what is held", &view.state.ledger.reserved, &pool.held())?;
        same("what is owed", &view.state.ledger.debt, &pool.coins.owed)?;
        same("what is used", &view.state.ledger.used, &pool.coins.used)?;
        if let Some(grant) = view.grants.iter().find(|grant| !grant.is_balanced()) {
            return Err(format!("not all units of a grant are in a column: {grant:?}"));
        }
        let closing = view.open_segment.map(|open| open.closing());
        same("what the history closes with", &closing, &Some(state.balance))?;
        let drawable = pool.coins.drawable(pool.held());
        same("what can be drawn", &view.state.drawable_units_remaining(), &Some(drawable))?;
        same("what grants have left", &observe::left(&view), &pool.coins.left())
    }

    /// The history chains, and each of its balances is what the model had then.
    fn history(&mut self) -> Result<(), String> {
        self.engine.run_timers(Millis(self.now));
        self.pool.live(self.now);
        let mut rows: BTreeMap<Vec<u8>, Segment> = BTreeMap::new();
        for (seq, stored) in self.store.since(Seq(0)) {
            let mut ops = Vec::new();
            RecordDigest.digest(seq, &stored.bytes, &mut ops);
            for op in ops {
                if let ProjectionOp::Put { table: Table::Credits, key, value } = op {
                    let row = credits_row(&value).map_err(|error| error.to_string())?;
                    same("a row written once", &rows.insert(key, row), &None)?;
                }
            }
        }
        let view = self.engine.pool(ACCOUNT, "credits", Millis(self.now));
        let open = view.map_err(|error| error.to_string())?.open_segment;
        let segments: Vec<Segment> = rows.into_values().chain(open).collect();
        for pair in segments.windows(2) {
            same("that segments follow each other", &pair[0].to, &pair[1].from)?;
            same("that balances chain", &pair[0].closing(), &pair[1].opening)?;
        }
        for segment in &segments {
            // What happens in one millisecond may stand on either side of its end.
            let (mut balance, mut could_be) = (0, Vec::new());
            for (at, change) in &self.pool.coins.changes {
                if *at == segment.to.0 {
                    could_be.push(balance);
                }
                if *at <= segment.to.0 {
                    balance += change;
                }
            }
            could_be.push(balance);
            let is_one = could_be.contains(&segment.closing());
            same(&format!("{segment:?} ends with one of {could_be:?}"), &is_one, &true)?;
            self.coverage.note("a segment");
        }
        let burnt: u64 = segments.iter().map(|segment| segment.burnt_units).sum();
        same("what was burnt in all", &burnt, &self.pool.coins.burnt)?;
        let returned: u64 = segments.iter().map(|segment| segment.returned_units).sum();
        same("what came back in all", &returned, &self.pool.coins.came_back)
    }

    fn took_of(&self, reply: &Reply) -> Option<ChargeAnswer> {
        let charge = reply.outcome.decision.charge();
        charge.map(|charge| observe::charge(&self.engine.catalog(), charge))
    }
}

/// As an answer says it.
fn said_of(took: &Option<Took>) -> Option<ChargeAnswer> {
    took.as_ref().map(ChargeAnswer::of)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, engine: &T, model: &T) -> Result<(), String> {
    if engine == model {
        Ok(())
    } else {
        Err(format!("{what}: engine {engine:?}, model {model:?}"))
    }
}
