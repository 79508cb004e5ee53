//! Plays a history on the engine and on the model at once, and compares after every step.

mod all;
mod compare;
mod erase;
mod late;
mod opening;
mod pools;
mod renaming;
mod restart;
mod terms;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;

use headroom_core::catalog::CatalogSpec;
use headroom_core::decide::{AllOp, FeatureOp, HoldOp, SeatOp};
use headroom_core::migrate::Migration;
use headroom_core::rate::Rate;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_engine::admin::{
    AdminError, CatalogRefusal, Changed, OverrideChange, OverrideTerms, SubscriptionChange,
};
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{
    DecisionId, Engine, EngineError, FeatureRequest, HoldRequest, Reply, Wants,
};
use headroom_engine::migrate::PlanMove;
use headroom_engine::ports::{Seq, Store};
use headroom_engine::recovery::{ClockMemory, EngineOptions};
use headroom_engine::seats::SeatRequest;

use crate::catalogs;
use crate::coverage::Coverage;
use crate::history::{History, NewCatalog, Step};
use crate::model::{
    Asked, KEY_HORIZON_MS, Model, Request, Says, SeatAnswer, SeatAsked, dimension_name,
};
use crate::observe;
use crate::store::{Checkpoint, MemStore};
use renaming::Renaming;

/// Where a history begins: 1 January 2026, UTC.
const BEGIN: i64 = 1_767_225_600_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Steps that a crash can undo.
const UNDONE_MAX: usize = 4;
/// Steps told of when a history fails.
const TOLD: usize = 12;

/// The engine and the model disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// At which step, from 1.
    pub step: usize,
    /// About what.
    pub what: String,
    /// The last steps.
    pub story: Vec<String>,
}

/// How the world was before a step, in case a crash undoes it.
struct Moment {
    before: Seq,
    model: Model,
}

struct Player {
    history: History,
    model: Model,
    store: Arc<MemStore>,
    engine: Arc<Engine>,
    now: i64,
    boot: u32,
    /// What the text of a catalog says.
    catalogs: BTreeMap<String, CatalogSpec>,
    /// What features are called under it.
    renamings: BTreeMap<String, Renaming>,
    undoable: VecDeque<Moment>,
    /// What only checkpoints know, because there was no room for it.
    leans_on_checkpoint: bool,
    coverage: Coverage,
    step: usize,
    story: VecDeque<(usize, i64, Step)>,
}

/// What goes wrong, before it is known when.
type Met = Result<(), String>;

/// Plays the history of a seed for so many steps, and says what it met.
///
/// # Errors
/// Where the engine and the model disagree.
pub fn play(seed: u64, steps: usize) -> Result<Coverage, Failure> {
    let mut player = Player::new(seed);
    match player.play(steps) {
        Ok(()) => Ok(player.coverage),
        Err(what) => {
            let tell = |(step, now, what): &(usize, i64, Step)| {
                format!("step {step} at {}: {what:?}", Millis(*now))
            };
            let story = player.story.iter().map(tell).collect();
            Err(Failure { step: player.step, what, story })
        }
    }
}

fn options(store: &Arc<MemStore>, boot: u32) -> EngineOptions {
    EngineOptions {
        store: Arc::clone(store) as Arc<dyn Store>,
        secret: *b"sixteen bytes...",
        boot,
        key_horizon_ms: KEY_HORIZON_MS,
        keys_max: NonZeroUsize::new(1_000_000).expect("not zero"),
    }
}

impl Player {
    fn new(seed: u64) -> Player {
        let mut history = History::new(seed);
        let now = BEGIN + history.rng.between(0, 700 * DAY_MS);
        let spec = catalogs::catalog(&mut history.rng);
        let source = "catalog 1".to_owned();
        let store = Arc::new(MemStore::new());
        let recovery =
            headroom_engine::recovery::Recovery::new(KEY_HORIZON_MS, options(&store, 1).keys_max);
        let begun = recovery.finish(spec.clone(), &source, Millis(now), options(&store, 1));
        let (engine, _) = begun.expect("a catalog that passes the check");
        engine.note_clock(false, Millis(now));
        let mut model = Model::default();
        model.install(&spec, &source, now);
        Player {
            history,
            model,
            store,
            engine: Arc::new(engine),
            now,
            boot: 1,
            renamings: BTreeMap::from([(source.clone(), Renaming::default())]),
            catalogs: BTreeMap::from([(source, spec)]),
            undoable: VecDeque::new(),
            leans_on_checkpoint: false,
            coverage: Coverage::default(),
            step: 0,
            story: VecDeque::new(),
        }
    }

    fn play(&mut self, steps: usize) -> Met {
        while self.step < steps {
            match self.history.rng.below(100) {
                0 => self.checkpoint()?,
                1 => self.restart()?,
                2..=5 => self.inspect()?,
                _ => self.traffic()?,
            }
        }
        self.inspect()?;
        self.inspect_archive()
    }

    /// One step of traffic.
    fn traffic(&mut self) -> Met {
        self.step += 1;
        let step = self.history.next(&self.model, self.now);
        self.story.push_back((self.step, self.now, step.clone()));
        if self.story.len() > TOLD {
            self.story.pop_front();
        }
        let before = self.store.last();
        self.undoable.push_back(Moment { before, model: self.model.clone() });
        if self.undoable.len() > UNDONE_MAX {
            self.undoable.pop_front();
        }
        match step {
            Step::Request(request) => self.request(&request, before),
            Step::Late(ask) => self.late(&ask, before),
            Step::All(request) => self.all(&request, before),
            Step::Advance { ms } => {
                self.now += ms;
                Ok(())
            }
            Step::Catalog(kind) => self.change_catalog(kind, before),
            Step::Refuse(refusal) => {
                self.coverage.note(if refusal.is_some() { "store refuses" } else { "store takes" });
                self.store.set_refusal(refusal.clone());
                self.model.set_refusal(refusal);
                Ok(())
            }
            Step::Prune => {
                self.engine.prune_keys(Millis(self.now));
                Ok(())
            }
            Step::Timers => {
                self.engine.run_timers(Millis(self.now));
                self.model.run_timers(self.now);
                if !self.model.told().is_empty() {
                    self.coverage.note("told by a timer");
                }
                compare::same(
                    "whether a timer waits for what is due",
                    &(self.engine.next_timer_at() <= Millis(self.now) && self.model.takes()),
                    &false,
                )?;
                self.compare_told(before)
            }
            Step::MovePlan { plan, version, account, dry_run } => {
                let account = account.as_deref();
                let wanted = PlanMove { plan: &plan, to_version: version, account, dry_run };
                let got = self.engine.move_plan(wanted, Millis(self.now));
                let expected = self.model.move_plan(&plan, version, account, dry_run, self.now);
                match (got, expected) {
                    (Ok(moved), Ok(accounts)) => {
                        let is_written = !dry_run && accounts > 0;
                        self.coverage.note(if is_written { "moved" } else { "not moved" });
                        compare::same("accounts moved", &moved.accounts, &accounts)?;
                        let last = is_written.then(|| self.store.last());
                        compare::same("the record to wait for", &moved.wait_for, &last)
                    }
                    (Err(error), Err(refused)) => compare::same(
                        "the refusal",
                        &observe::refused(&error).as_ref(),
                        &Some(&refused),
                    ),
                    (got, expected) => Err(format!("the move: engine {got:?}, model {expected:?}")),
                }
            }
            Step::Opening(ask) => self.opening(&ask, before),
            Step::Grant(ask) => self.grant(&ask, before),
            Step::Void { account, pool, id } => self.void((&account, &pool), id, before),
            Step::Erase { account, subject } => self.erase(&account, &subject, before),
            Step::EraseMember { account, member } => self.erase_member(&account, &member, before),
            Step::Seat { account, feature, asked } => {
                self.seat((&account, &feature), &asked, before)
            }
            step => self.administer(&step, before),
        }
    }

    fn request(&mut self, request: &Request, before: Seq) -> Met {
        let got = self.ask(request);
        let expected = self.model.answer(request, self.now);
        self.note_request(request, &expected);
        for what in self.model.met() {
            self.coverage.note(what);
        }
        let observed = match &got {
            Ok(reply) => Ok(observe::reply(&self.engine.catalog(), reply)),
            Err(error) => Err(self.plainly(error.clone())),
        };
        compare::same("the answer", &observed, &expected)?;
        self.compare_told(before)?;
        let Ok(reply) = got else { return Ok(()) };
        self.compare_receipt(request, &reply, before)
    }

    /// A request about a seat, which has no key.
    fn seat(&mut self, (account, feature): (&str, &str), asked: &SeatAsked, before: Seq) -> Met {
        let op = match asked {
            SeatAsked::Invite(member, lasts_ms) => SeatOp::Invite { member, lasts_ms: *lasts_ms },
            SeatAsked::Claim(member) => SeatOp::Claim { member },
            SeatAsked::Release(member) => SeatOp::Release { member },
            SeatAsked::Transfer(from, to) => SeatOp::Transfer { from, to },
        };
        let (now, wants) = (Millis(self.now), Wants::default());
        let catalog = self.engine.catalog();
        let name = self.called(feature);
        let asked_by_name = SeatRequest { account, feature: &name, op, now, wants };
        let got = self.engine.seat(&catalog, &asked_by_name);
        let expected = self.model.seat(account, feature, asked, self.now);
        for what in self.model.met() {
            self.coverage.note(what);
        }
        let word = match asked {
            SeatAsked::Invite(..) => "invite",
            SeatAsked::Claim(..) => "claim a seat",
            SeatAsked::Release(..) => "release a seat",
            SeatAsked::Transfer(..) => "transfer",
        };
        let observed = match &got {
            Ok(reply) => {
                let verdict = reply.reply.outcome.decision.verdict;
                self.coverage.note(&format!("{word}: {verdict:?}, {}", reply.changed));
                compare::same(
                    "whether it waits for a record",
                    &reply.reply.wait_for.is_some(),
                    &verdict.is_allowed(),
                )?;
                Ok(SeatAnswer {
                    answer: observe::reply(&catalog, &reply.reply),
                    seat: reply.seat.as_ref().map(observe::seat),
                    changed: reply.changed,
                })
            }
            Err(error) => {
                self.coverage.note(&format!("{word}: {error:?}"));
                Err(error.clone())
            }
        };
        compare::same("the answer about a seat", &observed, &expected)?;
        self.compare_told(before)
    }

    fn ask(&self, request: &Request) -> Result<Box<Reply>, EngineError> {
        let catalog = self.engine.catalog();
        let Request { account, asked, synthetic, key, wants, subject } = request;
        let subject = subject.as_deref().map(|path| SubjectPath::new(path).expect("a path"));
        let told = self.model.dimension(account, asked, key);
        let name = match asked {
            Asked::Feature(feature, _) => dimension_name(feature),
            Asked::Hold(..) | Asked::All(..) | Asked::Opening(..) => catalogs::DIMENSION,
        };
        let told = told.map(|value| (name.to_owned(), value.to_owned()));
        let told = BTreeMap::from_iter(told);
        let dimensions = Dimensions::of(&told);
        let (now, wants) = (Millis(self.now), *wants);
        match asked {
            Asked::Feature(feature, op) => {
                let synthetic = *synthetic;
                let rq = FeatureRequest {
                    dimensions,
                    account,
                    feature: &self.called(feature),
                    op: *op,
                    synthetic,
                    key,
                    now,
                    wants,
                    subject,
                };
                self.engine.feature(&catalog, &rq)
            }
            Asked::Opening(..) => unreachable!("it is a step of its own"),
            Asked::Hold(reservation, op) => {
                let reservation = *reservation;
                let rq = HoldRequest { dimensions, account, reservation, op: *op, key, now, wants };
                self.engine.hold(&catalog, &rq)
            }
            Asked::All(..) => unreachable!("it has a road of its own"),
        }
    }

    /// A write is answered by the record that it is, a repeated one by the record that it was.
    fn compare_receipt(&mut self, request: &Request, reply: &Reply, before: Seq) -> Met {
        let is_check = matches!(request.asked, Asked::Feature(_, FeatureOp::Check { .. }));
        let is_written = !is_check && reply.outcome.decision.verdict.is_allowed();
        if !is_written {
            let passing = matches!(reply.decision_id, DecisionId::Passing(..));
            compare::same("whether it is passing", &passing, &true)?;
            return compare::same("what to wait for", &reply.wait_for, &None);
        }
        if !reply.replayed {
            let last = self.store.last();
            if last <= before {
                return Err("an admitted write left no record".to_owned());
            }
            self.model.note_seq(request, last);
        }
        let seq = self.model.seq(request);
        compare::same("what to wait for", &reply.wait_for, &seq)?;
        let id = match reply.decision_id {
            DecisionId::Written(seq) => Some(seq),
            DecisionId::Passing(..) | DecisionId::Part(..) => None,
        };
        compare::same("the receipt", &id, &seq)
    }

    fn administer(&mut self, step: &Step, before: Seq) -> Met {
        let now = Millis(self.now);
        let (name, got, expected) = match step {
            Step::Subscribe { account, change } => {
                let wanted = SubscriptionChange {
                    plan: &change.plan,
                    anchor: change.anchor.map(Millis),
                    time_zone: &change.zone,
                    ends_at: change.ends_at.map(Millis),
                    addons: change.addons.iter().map(|(name, n)| (name.as_str(), *n)).collect(),
                    trial: change.trial.as_ref().map(|(plan, at)| (plan.as_str(), Millis(*at))),
                    scheduled: change
                        .scheduled
                        .iter()
                        .map(|(at, plan)| (Millis(*at), plan.as_str()))
                        .collect(),
                };
                let got = self.engine.put_subscription(account, &wanted, now);
                ("subscribe", got, self.model.subscribe(account, change, self.now))
            }
            Step::Suspend { account, suspended } => {
                let got = self.engine.set_suspended(account, *suspended, now);
                ("suspend", got, self.model.suspend(account, *suspended, self.now))
            }
            Step::Override { account, feature, says, times } => {
                let (plain, at_least) = says.plain();
                let change = match plain {
                    Says::AtLeast(_) => unreachable!("it is plain"),
                    Says::Switch(on) => OverrideChange::Switch(*on),
                    Says::Config(value) => OverrideChange::Config(value),
                    Says::Limit(limit, included) => OverrideChange::Limit(limit, *included),
                    Says::OfSubject(who, limit, included) => {
                        let who = SubjectPath::new(who).expect("a path");
                        OverrideChange::SubjectLimit(who, limit, *included)
                    }
                    Says::Rate(rate) => OverrideChange::Rate(
                        rate.map(|rate| Rate::new(rate).expect("the histories make good rates")),
                    ),
                    Says::SpendCap(limit, cap, currency) => {
                        OverrideChange::SpendCap(limit, *cap, currency)
                    }
                };
                let (starts_at, ends_at) = *times;
                let span = OverrideTerms {
                    starts_at: starts_at.map(Millis),
                    ends_at: ends_at.map(Millis),
                    at_least,
                };
                let name = self.called(feature);
                let got = self.engine.put_override(account, &name, &change, span, now);
                ("override", got, self.model.put_override(account, feature, says, *times, self.now))
            }
            Step::DeleteOverride { account, feature, limit, subject } => {
                let which = (limit.as_deref(), subject.as_deref());
                let name = self.called(feature);
                let got = self.engine.delete_override(account, &name, which, now);
                (
                    "delete override",
                    got,
                    self.model.delete_override(account, feature, which, self.now),
                )
            }
            Step::Facts { account, facts } => {
                let got = self.engine.put_facts(account, facts.clone(), now);
                ("facts", got, self.model.put_facts(account, facts, self.now))
            }
            Step::Cohort { account, cohort, joins } => {
                let (one, none): (&[&str], &[&str]) = (&[cohort], &[]);
                let change = if *joins { (one, none) } else { (none, one) };
                let got = self.engine.put_cohorts(account, change, now);
                ("cohort", got, self.model.put_cohort(account, cohort, *joins, self.now))
            }
            _ => unreachable!("not an administrative step: {step:?}"),
        };
        for what in self.model.met() {
            self.coverage.note(what);
        }
        self.compare_change(name, &got, &expected, before)
    }

    fn compare_change(
        &mut self,
        name: &str,
        got: &Result<Changed, AdminError>,
        expected: &Result<(), crate::model::Refused>,
        before: Seq,
    ) -> Met {
        match (got, expected) {
            (Ok(changed), Ok(())) => {
                self.coverage.note(name);
                if changed.wait_for <= before {
                    return Err("a change without a record".to_owned());
                }
                compare::same("the record to wait for", &changed.wait_for, &self.store.last())
            }
            (Err(error), Err(refused)) => {
                let known = self.by_first_names(observe::refused(error));
                self.coverage.note(&format!("change refused: {}", refused_word(refused)));
                compare::same("no record", &self.store.last(), &before)?;
                compare::same("the refusal", &known.as_ref(), &Some(refused))
            }
            _ => Err(format!("the change {name}: engine {got:?}, model {expected:?}")),
        }
    }

    fn change_catalog(&mut self, kind: NewCatalog, before: Seq) -> Met {
        let now = Millis(self.now);
        let rng = &mut self.history.rng;
        let old = &self.model.catalog;
        let spec = match kind {
            NewCatalog::Changed => {
                let new = catalogs::changed(rng, old);
                catalogs::with_lines(rng, old, new)
            }
            NewCatalog::Other => {
                let new = catalogs::catalog(rng);
                catalogs::with_lines(rng, old, new)
            }
            NewCatalog::Wrong => catalogs::wrong(rng, old),
            NewCatalog::Same => old.clone(),
        };
        let source = match kind {
            NewCatalog::Same => self.model.source.clone(),
            _ => format!("catalog {}", self.catalogs.len() + 1),
        };
        let renaming = match kind {
            NewCatalog::Same | NewCatalog::Wrong => self.renaming().clone(),
            _ => self.renamings[&self.model.source].next(&mut self.history.rng, old, &spec),
        };
        let got = self.engine.install_catalog(renaming.put(&spec), &source, now);
        let expected = match (&self.model.refusal, kind) {
            (Some(refusal), _) => Err(CatalogRefusal::Store(refusal.clone())),
            (None, NewCatalog::Wrong) => Err(CatalogRefusal::Problems(Vec::new())),
            (None, _) if self.model.is_orphaned_by(&spec, self.now) => {
                self.coverage.note("catalog that would take something away");
                Err(CatalogRefusal::Problems(Vec::new()))
            }
            (None, _) => Ok(()),
        };
        match (got, expected) {
            (Ok(installed), Ok(())) => {
                // Under the catalog of before time has brought what it has.
                self.model.run_timers(self.now);
                self.model.install(&spec, &source, self.now);
                for what in self.model.met() {
                    self.coverage.note(what);
                }
                self.compare_told(before)?;
                for line in &renaming.put(&spec).migrations {
                    self.coverage.note(migration_word(line));
                }
                self.coverage.note(&format!("catalog {kind:?}"));
                self.note_renaming(&source, renaming);
                self.catalogs.insert(source, spec);
                compare::same("the revision", &installed.revision, &self.model.revision)?;
                compare::same("a change", &installed.changed, &(kind != NewCatalog::Same))
            }
            (Err(CatalogRefusal::Problems(problems)), Err(CatalogRefusal::Problems(_))) => {
                self.coverage.note("catalog Wrong");
                compare::same("no problems", &problems.is_empty(), &false)
            }
            (Err(CatalogRefusal::Store(got)), Err(CatalogRefusal::Store(expected))) => {
                compare::same("the store's refusal", &got, &expected)
            }
            (got, expected) => Err(format!("the catalog: engine {got:?}, model {expected:?}")),
        }
    }

    /// Takes a checkpoint, with traffic between its entries.
    fn checkpoint(&mut self) -> Met {
        self.coverage.note("checkpoint");
        let engine = Arc::clone(&self.engine);
        let begun = self.store.last();
        let clock = ClockMemory { test: false, high_water: Millis(self.now) };
        let mut entries = Vec::new();
        let last = engine.checkpoint(clock, |bytes| {
            entries.push(bytes.to_vec());
            for _ in 0..self.history.rng.below(3) {
                self.coverage.note("traffic during a checkpoint");
                self.traffic()?;
            }
            Ok::<(), String>(())
        })?;
        self.store.keep(Checkpoint { begun, last, entries });
        Ok(())
    }
}

fn migration_word(line: &Migration) -> &'static str {
    match line {
        Migration::DropFeature { .. } => "migration drop_feature",
        Migration::DropLimit { .. } => "migration drop_limit",
        Migration::ChangeKind { .. } => "migration change_kind",
        Migration::EndLifetime { .. } => "migration end_lifetime",
        Migration::MovePlan { .. } => "migration move_plan",
        Migration::DropAddOn { .. } => "migration drop_addon",
        Migration::RenameFeature { .. } => "migration rename_feature",
    }
}

fn refused_word(refused: &crate::model::Refused) -> &'static str {
    use crate::model::Refused;
    match refused {
        Refused::Account => "account",
        Refused::Name(what, _) => what,
        Refused::Kind => "kind",
        Refused::Subject => "subject",
        Refused::Unlimited => "unlimited",
        Refused::Zone => "zone",
        Refused::Store(_) => "store",
    }
}

/// The word of a request for the coverage.
fn request_word(asked: &Asked) -> &'static str {
    match asked {
        Asked::Feature(_, FeatureOp::Check { attempt: false, .. }) => "check render",
        Asked::Feature(_, FeatureOp::Check { attempt: true, .. }) => "check attempt",
        Asked::Feature(_, FeatureOp::Consume { .. }) => "consume",
        Asked::Feature(_, FeatureOp::Reserve { .. }) => "reserve",
        Asked::Feature(_, FeatureOp::ReserveCharging { .. }) => "reserve charging",
        Asked::Feature(_, FeatureOp::Record { .. }) => "record",
        Asked::Feature(_, FeatureOp::Allocate { .. }) => "allocate",
        Asked::Feature(_, FeatureOp::Value { .. }) => "a value",
        Asked::All(_, AllOp::Check { .. }) => "check all",
        Asked::All(_, AllOp::Consume) => "consume all",
        Asked::All(_, AllOp::Reserve { .. }) => "reserve all",
        Asked::Hold(_, HoldOp::Extend { .. }) => "extend",
        Asked::Hold(_, HoldOp::Commit { units: 0 }) => "commit 0",
        Asked::Hold(_, HoldOp::Commit { .. }) => "commit",
        Asked::Hold(_, HoldOp::CommitPart { .. }) => "commit a part",
        Asked::Hold(_, HoldOp::Release) => "release",
        Asked::Opening(..) => "opening",
    }
}
