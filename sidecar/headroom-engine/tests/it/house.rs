//! An engine on a store in memory, and requests in one line.

use std::num::NonZeroUsize;
use std::sync::Arc;

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, PlanLimitSpec, PlanSpec,
    Policy,
};
use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::Verdict;
use headroom_core::ledger::Ledger;
use headroom_core::policy::LimitTerms;
use headroom_core::reservation::ReservationId;
use headroom_core::signal::SignalSwitches;
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;
use headroom_engine::admin::SubscriptionChange;
use headroom_engine::engine::{Engine, EngineError, FeatureRequest, HoldRequest, Reply, Wants};
use headroom_engine::late::{CorrectRequest, LateError, LateRequest};
use headroom_engine::ports::{Seq, Store};
use headroom_engine::recovery::{ClockMemory, EngineOptions, Recovery};
use headroom_sim::store::{Checkpoint, MemStore};

/// 10 March 2026, noon, UTC.
pub(crate) const T0: i64 = 1_773_144_000_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// Features `tokens` and `calls`, each with one limit for ever; plan `free` includes so many units
/// of both, `pro` a hundred times as many.
pub(crate) fn spec(free_units: u64, default_plan: Option<&str>) -> CatalogSpec {
    let feature = |feature: &str| FeatureSpec {
        feature: feature.to_owned(),
        name: feature.to_owned(),
        unit: String::new(),
        scale: 0,
        offering: headroom_core::catalog::Offering::default(),
        shadow: false,
        counting: Default::default(),
        kind: FeatureKindSpec::Quota {
            limits: vec![LimitSpec {
                limit: "total".to_owned(),
                window: WindowRule::Lifetime,
                per: None,
            }],
        },
    };
    let plan = |plan: &str, units: u64| {
        let limit = PlanLimitSpec {
            limit: "total".to_owned(),
            included_units: Some(units),
            soft_limits_bp: vec![],
            policy: Policy::Block,
            terms: LimitTerms::default(),
        };
        let quota = || EntitlementSpec::Quota { limits: vec![limit.clone()] };
        PlanSpec {
            plan: plan.to_owned(),
            version: 1,
            name: plan.to_owned(),
            price: None,
            entitlements: vec![("tokens".to_owned(), quota()), ("calls".to_owned(), quota())],
        }
    };
    CatalogSpec {
        migrations: Vec::new(),
        addons: Vec::new(),
        features: vec![feature("tokens"), feature("calls")],
        plans: vec![plan("free", free_units), plan("pro", free_units * 100)],
        default_plan: default_plan.map(str::to_owned),
        prompts: vec![],
        prompting: Default::default(),
        signals: SignalSwitches::default(),
    }
}

/// An engine and its journal.
pub(crate) struct House {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Arc<MemStore>,
    pub(crate) keys_max: usize,
}

impl House {
    /// A new one, where everybody begins on plan `free`.
    pub(crate) fn new(free_units: u64) -> House {
        House::of(spec(free_units, Some("free")), 1_000_000)
    }

    pub(crate) fn of(spec: CatalogSpec, keys_max: usize) -> House {
        House::open(&Arc::new(MemStore::new()), spec, keys_max)
    }

    /// One that reads back what a journal and its last checkpoint say.
    pub(crate) fn open(store: &Arc<MemStore>, spec: CatalogSpec, keys_max: usize) -> House {
        House::open_at(store, (None, spec), keys_max, Millis(T0))
    }

    /// Opens it at another instant, knowing what the catalog was before.
    pub(crate) fn open_at(
        store: &Arc<MemStore>,
        (before, spec): (Option<CatalogSpec>, CatalogSpec),
        keys_max: usize,
        now: Millis,
    ) -> House {
        let (checkpoint, tail) = store.found();
        let entries = checkpoint.map_or(Vec::new(), |checkpoint| checkpoint.entries);
        let mut recovery = recovery(keys_max);
        for entry in &entries {
            recovery.entry(entry).unwrap();
        }
        for (seq, stored) in &tail {
            recovery.record(*seq, &stored.bytes).unwrap();
        }
        if let Some(before) = before {
            recovery.coming_from(before);
        }
        let engine = finish_at(recovery, spec, store, keys_max, now);
        House { engine: Arc::new(engine), store: Arc::clone(store), keys_max }
    }

    /// Ends it and opens it again under the same catalog.
    pub(crate) fn reopen(&self, spec: CatalogSpec) -> House {
        House::open(&self.store, spec, self.keys_max)
    }

    pub(crate) fn ask(
        &self,
        account: &str,
        op: FeatureOp,
        key: &str,
        now: i64,
    ) -> Result<Box<Reply>, EngineError> {
        let wants = Wants { all_limits: true, ..Wants::default() };
        let now = Millis(now);
        let rq = FeatureRequest {
            dimensions: Default::default(),
            account,
            feature: "tokens",
            op,
            synthetic: false,
            key,
            now,
            wants,
            subject: None,
        };
        self.engine.feature(&self.engine.catalog(), &rq)
    }

    pub(crate) fn consume(&self, account: &str, units: u64, key: &str) -> Box<Reply> {
        self.ask(account, FeatureOp::Consume { units }, key, T0).unwrap()
    }

    pub(crate) fn reserve(&self, account: &str, units: u64, key: &str) -> Box<Reply> {
        self.ask(account, FeatureOp::Reserve { units, hold_ms: HOUR_MS }, key, T0).unwrap()
    }

    pub(crate) fn hold(
        &self,
        account: &str,
        reservation: ReservationId,
        op: HoldOp,
        key: &str,
    ) -> Result<Box<Reply>, EngineError> {
        let (now, wants) = (Millis(T0), Wants::default());
        let rq = HoldRequest {
            dimensions: Default::default(),
            account,
            reservation,
            op,
            key,
            now,
            wants,
        };
        self.engine.hold(&self.engine.catalog(), &rq)
    }

    /// Asks for a late write until the disk knows what it needs.
    pub(crate) fn late(&self, rq: &LateRequest<'_>) -> Result<Box<Reply>, LateError> {
        let catalog = self.engine.catalog();
        self.caught_up(|| {
            let seen = self.engine.look_late(&catalog, &*self.store, rq).unwrap();
            Ok(self.engine.record_at(&catalog, rq, &seen)?.reply)
        })
    }

    /// As [`House::late`], for a correction.
    pub(crate) fn correct(&self, rq: &CorrectRequest<'_>) -> Result<Box<Reply>, LateError> {
        let catalog = self.engine.catalog();
        self.caught_up(|| {
            let seen = self.engine.look_correct(&catalog, &*self.store, rq).unwrap();
            Ok(self.engine.correct(&catalog, rq, &seen)?.reply)
        })
    }

    /// Asks again when the disk was behind.
    pub(crate) fn caught_up<T>(
        &self,
        mut ask: impl FnMut() -> Result<T, LateError>,
    ) -> Result<T, LateError> {
        for _ in 0..4 {
            match ask() {
                Err(LateError::Behind { until }) => self.store.project(until),
                got => return got,
            }
        }
        panic!("it is behind for ever");
    }

    pub(crate) fn subscribe(&self, account: &str, plan: &str) {
        let change = SubscriptionChange { plan, ..SubscriptionChange::default() };
        self.engine.put_subscription(account, &change, Millis(T0)).unwrap();
    }

    /// The ledger of a feature, if it was counted in.
    pub(crate) fn ledger(&self, account: &str, feature: &str) -> Option<Ledger> {
        let catalog = self.engine.catalog();
        let id = catalog.names().get(feature).unwrap();
        let usage = self.engine.usage(account, Millis(T0))?;
        usage.ledgers.into_iter().find(|ledger| ledger.feature == id)
    }

    /// Used and reserved `tokens`.
    pub(crate) fn counts(&self, account: &str) -> (u64, u64) {
        self.ledger(account, "tokens").map_or((0, 0), |ledger| (ledger.used, ledger.reserved))
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let begun = self.store.last();
        let mut entries = Vec::new();
        let clock = ClockMemory { test: false, high_water: Millis(T0) };
        let keep = |bytes: &[u8]| {
            entries.push(bytes.to_vec());
            Ok::<(), ()>(())
        };
        let last = self.engine.checkpoint(clock, keep).unwrap();
        Checkpoint { begun, last, entries }
    }
}

pub(crate) fn recovery(keys_max: usize) -> Recovery {
    Recovery::new(DAY_MS, NonZeroUsize::new(keys_max).unwrap())
}

pub(crate) fn finish(
    recovery: Recovery,
    spec: CatalogSpec,
    store: &Arc<MemStore>,
    keys_max: usize,
) -> Engine {
    finish_at(recovery, spec, store, keys_max, Millis(T0))
}

fn finish_at(
    recovery: Recovery,
    spec: CatalogSpec,
    store: &Arc<MemStore>,
    keys_max: usize,
    now: Millis,
) -> Engine {
    let options = EngineOptions {
        store: Arc::clone(store) as Arc<dyn Store>,
        secret: [7; 16],
        boot: 1,
        key_horizon_ms: DAY_MS,
        keys_max: NonZeroUsize::new(keys_max).unwrap(),
    };
    // The text stands for the catalog: another catalog needs another text.
    let source = format!("{spec:?}");
    recovery.finish(spec, &source, now, options).unwrap().0
}

/// What an answer says, without what differs from answer to answer of one decision.
pub(crate) fn gist(reply: &Reply) -> (Verdict, u64, Option<ReservationId>, Option<Seq>) {
    let amounts = &reply.outcome.amounts;
    let verdict = reply.outcome.decision.verdict;
    (verdict, amounts.units, amounts.reservation, reply.wait_for)
}
