//! Tests of the sinks: a real engine over a journal and a projection in memory.

mod cloudevents;
mod delivery;
mod feed;
mod filter;
mod generic;
mod http;
mod lanes;
mod ndjson;
mod payload;
mod repair;
mod segment;
mod sentence;
mod slack;
mod webhook;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, PlanLimitSpec, PlanSpec,
    Policy,
};
use headroom_core::decide::FeatureOp;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::digest::{RecordDigest, SignalId};
use headroom_engine::engine::{Engine, FeatureRequest, Wants};
use headroom_engine::ports::{
    Archive, ArchiveError, Digest, ProjectionOp, Row, Seq, Store, StoreRefusal, Table,
};
use headroom_engine::recovery::{EngineOptions, Recovery};
use headroom_engine::told::raised_row;
use headroom_expansion::terms::Terms;
use tokio::sync::watch;

use super::begin::{Beginning, Reins, Stop};
use super::cursor;
use super::feed::Item;
use super::ids::Starts;
use super::outbox::{Positions, Wiring};
use super::payload::Message;
use super::status::Board;
use crate::config::sinks::{Filter, SinkKind, SinkSpec};
use crate::growth::{Appraisal, Growth, Written};

/// 3 November 2026, 09:00 UTC.
pub(super) const NOW: Millis = Millis(1_793_696_400_000);

/// A journal whose records are in the projection at once, unless it is held.
#[derive(Default)]
struct FakeDisk {
    state: Mutex<DiskState>,
}

#[derive(Default)]
struct DiskState {
    appended: u64,
    projected: u64,
    held: Option<Vec<ProjectionOp>>,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    broken: bool,
    cursors_noted: usize,
}

impl DiskState {
    fn apply(&mut self, ops: Vec<ProjectionOp>) {
        for op in ops {
            match op {
                ProjectionOp::Put { table, key, value } => {
                    self.cursors_noted += usize::from(table == Table::Pending);
                    self.rows.insert((table, key), value)
                }
                ProjectionOp::Delete { table, key } => self.rows.remove(&(table, key)),
            };
        }
        self.projected = self.appended;
    }
}

impl Store for FakeDisk {
    fn room(&self) -> Result<(), StoreRefusal> {
        Ok(())
    }

    fn append(&self, record: &[u8], matter: bool) -> Seq {
        let mut state = self.state.lock().unwrap();
        state.appended += 1;
        let seq = Seq(state.appended);
        let mut ops = Vec::new();
        if matter {
            RecordDigest.digest(seq, record, &mut ops);
        }
        match &mut state.held {
            Some(held) => held.extend(ops),
            None => state.apply(ops),
        }
        seq
    }
}

impl Archive for FakeDisk {
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
    ) -> Result<Vec<Row>, ArchiveError> {
        let state = self.state.lock().unwrap();
        if state.broken {
            return Err(ArchiveError { reason: "it is broken".to_owned() });
        }
        let rows = state.rows.range((table, from.to_vec())..(table, to.to_vec())).take(rows_max);
        Ok(rows.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Option<Row>, ArchiveError> {
        Ok(self.range(table, from, to, usize::MAX)?.pop())
    }

    fn position(&self) -> Seq {
        Seq(self.state.lock().unwrap().projected)
    }

    fn count(&self, table: Table) -> Result<u64, ArchiveError> {
        let state = self.state.lock().unwrap();
        Ok(state.rows.keys().filter(|(of, _)| *of == table).count() as u64)
    }
}

/// An engine and what its sinks need. Survives any number of runs of the sinks.
pub(super) struct Bench {
    disk: Arc<FakeDisk>,
    pub(super) wiring: Wiring,
    writes: AtomicUsize,
    /// The last record that a crash would leave.
    pub(super) written: Arc<AtomicU64>,
    _dir: FreshDir,
}

impl Bench {
    pub(super) fn new() -> Bench {
        let disk = Arc::new(FakeDisk::default());
        let engine = Arc::new(engine(disk.clone()));
        let asked = disk.clone();
        let positions = move || {
            let state = asked.state.lock().unwrap();
            Positions { appended: Seq(state.appended), projected: Seq(state.projected) }
        };
        let dir = FreshDir::new();
        // Everything is written when it is appended, unless a test says otherwise.
        let written = Arc::new(AtomicU64::new(u64::MAX));
        let growth = Growth::new(
            Arc::clone(&engine),
            disk.clone(),
            Seq(0),
            reads(&written),
            [7; 16],
            Terms::default(),
        );
        assert!(growth.load().unwrap());
        let wiring = Wiring {
            engine,
            archive: disk.clone(),
            growth: Arc::new(growth),
            positions: Arc::new(positions),
            data_dir: dir.to_path_buf(),
            test_clock: false,
        };
        Bench { disk, wiring, writes: AtomicUsize::new(0), written, _dir: dir }
    }

    /// The same after what is known of growth was read back from the disk.
    pub(super) fn restarted(mut self) -> Bench {
        let (engine, disk) = (Arc::clone(&self.wiring.engine), self.disk.clone());
        let written = reads(&self.written);
        let growth = Growth::new(engine, disk, Seq(0), written, [7; 16], Terms::default());
        assert!(growth.load().unwrap());
        self.wiring.growth = Arc::new(growth);
        self
    }

    /// So many writes of an account, each of which raises `usage_ceiling`: at 10 %, 20 %, … Others
    /// after the tenth are refused, and the first of them raises `feature_limit_hit`.
    pub(super) fn write(&self, account: &str, count: usize) {
        for _ in 0..count {
            let number = self.writes.fetch_add(1, SeqCst);
            let rq = FeatureRequest {
                dimensions: Default::default(),
                account,
                feature: "ai.tokens",
                op: FeatureOp::Consume { units: 10 },
                synthetic: false,
                key: &number.to_string(),
                now: NOW,
                wants: Wants::default(),
                subject: None,
            };
            let engine = &self.wiring.engine;
            engine.feature(&engine.catalog(), &rq).unwrap();
        }
    }

    /// Records after this are not projected until the next call of [`Self::release`].
    pub(super) fn hold(&self) {
        self.disk.state.lock().unwrap().held = Some(Vec::new());
    }

    pub(super) fn release(&self) {
        let mut state = self.disk.state.lock().unwrap();
        let held = state.held.take().unwrap();
        state.apply(held);
    }

    /// As a power cut: what was held is gone from the journal, too.
    pub(super) fn forget(&self) {
        let mut state = self.disk.state.lock().unwrap();
        state.held = None;
        state.appended = state.projected;
    }

    pub(super) fn set_broken(&self, broken: bool) {
        self.disk.state.lock().unwrap().broken = broken;
    }

    /// As if another version had written the signal of a row: it cannot be read. Gives back what it
    /// was, to be put back.
    pub(super) fn put_row(&self, id: SignalId, value: Vec<u8>) -> Vec<u8> {
        let mut state = self.disk.state.lock().unwrap();
        state.rows.insert((Table::Signals, id.row_key()), value).unwrap()
    }

    /// What the journal knows of a sink.
    pub(super) fn cursor(&self, sink: &str) -> Option<SignalId> {
        cursor::stored(&*self.disk, sink).unwrap()
    }

    pub(super) fn cursors_noted(&self) -> usize {
        self.disk.state.lock().unwrap().cursors_noted
    }

    /// The ids of all signals, in order.
    pub(super) fn ids(&self) -> Vec<SignalId> {
        let rows = self.disk.range(Table::Signals, &[], &[u8::MAX; 11], usize::MAX).unwrap();
        rows.iter().map(|(key, _)| SignalId::of_row_key(key).unwrap()).collect()
    }

    /// A beginning sink and the reins in the test's hand.
    pub(super) fn beginning(&self, spec: SinkSpec) -> (Beginning, Driver) {
        let (wake, woken) = watch::channel(());
        let (stop, stopped) = watch::channel(None);
        let board = Arc::new(Board::new(spec.sink.as_str().into()));
        let beginning = Beginning {
            wiring: self.wiring.clone(),
            spec,
            appended: (self.wiring.positions)().appended,
            board: board.clone(),
            reins: Reins { wake: woken, stop: stopped },
        };
        (beginning, Driver { wake, stop, board })
    }
}

/// The other end of a sink's reins.
pub(super) struct Driver {
    pub(super) wake: watch::Sender<()>,
    pub(super) stop: watch::Sender<Option<Stop>>,
    pub(super) board: Arc<Board>,
}

fn reads(written: &Arc<AtomicU64>) -> Written {
    let written = Arc::clone(written);
    Box::new(move || Seq(written.load(SeqCst)))
}

fn engine(store: Arc<FakeDisk>) -> Engine {
    let limits = vec![LimitSpec {
        limit: "monthly".to_owned(),
        window: WindowRule::Calendar(CalendarUnit::Month),
        per: None,
    }];
    let tokens = FeatureSpec {
        feature: "ai.tokens".to_owned(),
        name: "AI tokens".to_owned(),
        unit: "tokens".to_owned(),
        scale: 0,
        offering: headroom_core::catalog::Offering::default(),
        shadow: false,
        counting: Default::default(),
        kind: FeatureKindSpec::Quota { limits },
    };
    let limit = PlanLimitSpec {
        limit: "monthly".to_owned(),
        included_units: Some(100),
        soft_limits_bp: (1..10).map(|tenth| tenth * 1_000).collect(),
        policy: Policy::Block,
        terms: Default::default(),
    };
    let entitlement = EntitlementSpec::Quota { limits: vec![limit] };
    let plan = PlanSpec {
        plan: "free".to_owned(),
        version: 1,
        name: "Free".to_owned(),
        price: None,
        entitlements: vec![("ai.tokens".to_owned(), entitlement)],
    };
    let spec = CatalogSpec {
        features: vec![tokens],
        plans: vec![plan],
        default_plan: Some("free".to_owned()),
        ..CatalogSpec::default()
    };
    let keys_max = NonZeroUsize::new(1_000_000).unwrap();
    let options =
        EngineOptions { store, secret: [7; 16], boot: 1, key_horizon_ms: 3_600_000, keys_max };
    let recovery = Recovery::new(options.key_horizon_ms, keys_max);
    recovery.finish(spec, "the catalog", NOW, options).unwrap().0
}

/// A directory that goes with its owner.
pub(super) struct FreshDir(PathBuf);

impl FreshDir {
    pub(super) fn new() -> FreshDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, SeqCst);
        let name = format!("headroom-sinks-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir); // Of an earlier process with this number, killed.
        std::fs::create_dir_all(&dir).unwrap();
        FreshDir(dir)
    }
}

impl Deref for FreshDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for FreshDir {
    fn drop(&mut self) {
        // Kept after a failure, so that it can be looked at.
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// All signals so far, as they are told, without what is said of them beside.
pub(super) fn told(bench: &Bench) -> Vec<Message> {
    tell_all(bench, |_| None)
}

/// All signals so far, as they are told.
pub(super) fn told_whole(bench: &Bench) -> Vec<Message> {
    let growth = &bench.wiring.growth;
    growth.appraise().unwrap();
    tell_all(bench, |id| Some(growth.appraisal(id).unwrap().expect("it was appraised")))
}

fn tell_all(bench: &Bench, say: impl Fn(SignalId) -> Option<Arc<Appraisal>>) -> Vec<Message> {
    let rows = bench.wiring.archive.range(Table::Signals, &[], &[u8::MAX; 11], 1000).unwrap();
    let tell = |(key, value): &Row| {
        let (serial, signal) = raised_row(value).unwrap();
        let id = SignalId::of_row_key(key).unwrap();
        let item = Item { id, serial, signal, appraisal: say(id) };
        Message::of(&bench.wiring.engine, false, &Starts::default(), &item)
    };
    rows.iter().map(tell).collect()
}

/// A request's body as JSON.
pub(super) fn json(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(body).unwrap()
}

/// A file that gets every signal.
pub(super) fn ndjson(sink: &str) -> SinkSpec {
    let kind = SinkKind::Ndjson { file: format!("{sink}.ndjson").into() };
    SinkSpec { sink: sink.to_owned(), filter: Filter::all(), kind }
}
