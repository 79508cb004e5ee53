//! Opening a data directory: the store, what it remembers, and the engine made from it.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use headroom_core::time::Millis;
use headroom_engine::admin::Installed;
use headroom_engine::digest::RecordDigest;
use headroom_engine::ports::{Archive, ProjectionOp, Seq, Store};
use headroom_engine::recovery::{EngineOptions, Recovery, RecoveryError};
use headroom_proto::v1;
use headroom_store::{DiskStore, Durability, Hooks, OpenError, Options, Progress, ReadError};

use super::StartOptions;
use crate::clock::{Clock, real_now};
use crate::config::catalog::{self, ParsedCatalog};
use crate::config::problems::Problems;
use crate::config::sinks::NoSecrets;
use crate::forecasts::Forecasts;
use crate::growth::Growth;
use crate::grpc::Shared;
use crate::grpc::receipts::Receipts;
use crate::serve::{BindError, Gates};
use crate::sinks::Outbox;

/// Where a new test clock stands: a round instant of the past, so that nobody takes it for now and
/// recorded traffic of the last years can be replayed at its own time.
pub const TEST_CLOCK_START: Millis = Millis(1_577_836_800_000); // 2020-01-01T00:00:00Z

/// The file of the histories that projections are made of.
const HISTORIES_FILE: &str = "histories.redb";

/// How long the first records of a start may take to be written.
const FIRST_WRITE_WITHIN: Duration = Duration::from_secs(10);

/// How long a start waits for the projection of what it has written.
const PROJECTED_WITHIN: Duration = Duration::from_secs(2);

/// Why a sidecar did not start.
#[derive(Debug)]
pub enum StartError {
    /// The catalog is wrong.
    Catalog(Problems),
    /// An address cannot be listened on.
    Bind(BindError),
    /// The data directory cannot be opened.
    Open(Box<OpenError>),
    /// The data directory cannot be read.
    Read(Box<ReadError>),
    /// The data directory's content cannot be used.
    Recovery(RecoveryError),
    /// The data directory is of the other clock.
    OtherClock {
        /// Whether it is of a test clock.
        data_is_test: bool,
    },
    /// The journal did not take the first records.
    FirstWrite,
    /// A thread or socket could not be set up.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Catalog(problems) => problems.fmt(f),
            StartError::Bind(error) => with_causes(f, error),
            StartError::Open(error) => {
                with_causes(f, error)?;
                write!(f, "\n{}", error.help())
            }
            StartError::Read(error) => with_causes(f, error),
            StartError::Recovery(error) => write!(
                f,
                "{error}\nThe directory was written by another version of Headroom: start that one, \
                 or restore a backup made by this one."
            ),
            StartError::OtherClock { data_is_test: true } => f.write_str(
                "the data directory was made on a test clock and stays on it\nStart with `--clock \
                 test`, or with another data directory.",
            ),
            StartError::OtherClock { data_is_test: false } => f.write_str(
                "the data directory was made on the real clock and stays on it\nStart with `--clock \
                 system`, or with another data directory.",
            ),
            StartError::FirstWrite => f.write_str(
                "the journal did not take its first record\nMake room on the disk of the data \
                 directory, and see that it is writable.",
            ),
            StartError::Thread(error) => write!(f, "a thread or socket could not be set up: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// An error and what caused it, as the operating system said it.
fn with_causes(f: &mut fmt::Formatter<'_>, error: &dyn std::error::Error) -> fmt::Result {
    write!(f, "{error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(f, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

/// Tells the outbox of new rows once there is one: the store is opened before it. Weak, because the
/// outbox reads the store that holds this.
#[derive(Clone, Default)]
pub(super) struct OutboxWake(Arc<OnceLock<Weak<Outbox>>>);

impl OutboxWake {
    pub(super) fn set(&self, outbox: &Arc<Outbox>) {
        let _ = self.0.set(Arc::downgrade(outbox)); // There is one outbox, so it is set once.
    }

    fn projected(&self, ops: &[ProjectionOp]) {
        if let Some(outbox) = self.0.get().and_then(Weak::upgrade) {
            outbox.projected(ops);
        }
    }
}

/// A data directory in use.
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Arc<DiskStore>,
    pub(super) gates: Gates,
    pub(super) outbox_wake: OutboxWake,
    pub(super) installed: Installed,
}

pub(super) fn open(options: &StartOptions, parsed: &ParsedCatalog) -> Result<Opened, StartError> {
    let gates: Arc<OnceLock<Gates>> = Arc::default();
    let outbox_wake = OutboxWake::default();
    let store = open_store(options, Arc::clone(&gates), outbox_wake.clone())?;
    let store = Arc::new(store);
    let ours = gates.get_or_init(|| Gates::new(store.durable(), options.workers.get())).clone();

    let key_horizon_ms = i64::try_from(options.key_horizon.as_millis()).unwrap_or(i64::MAX);
    let mut recovery = recover(&store, key_horizon_ms, options.keys_max)?;
    remember_catalog(&mut recovery);
    let memory = recovery.clock();
    if let Some(memory) = memory
        && memory.test != options.test_clock
    {
        return Err(StartError::OtherClock { data_is_test: memory.test });
    }
    let clock = match (options.test_clock, memory) {
        (true, memory) => Clock::test(memory.map_or(TEST_CLOCK_START, |m| m.high_water)),
        (false, memory) => Clock::system(memory.map_or(real_now(), |m| m.high_water)),
    };
    let engine_options = EngineOptions {
        store: Arc::clone(&store) as Arc<dyn Store>,
        secret: store.hash_key(),
        boot: store.boot(),
        key_horizon_ms,
        keys_max: options.keys_max,
    };
    let finished =
        recovery.finish(parsed.spec.clone(), &parsed.source, clock.now(), engine_options);
    let (engine, installed) = finished.map_err(|problems| {
        StartError::Catalog(super::unplaced(&options.catalog, &parsed.source, &problems))
    })?;
    super::hinted(&options.catalog, &parsed.source, &installed);
    let first = engine.note_clock(clock.is_test(), clock.now());
    if !store.wait_durable(first, FIRST_WRITE_WITHIN) {
        return Err(StartError::FirstWrite);
    }
    // So that sinks know at once where they begin. If it takes longer, they find out later.
    store.wait_projected(first, PROJECTED_WITHIN);
    let engine = Arc::new(engine);
    let journal = Arc::clone(&store);
    let growth = Growth::new(
        Arc::clone(&engine),
        Arc::clone(&store) as Arc<dyn Archive>,
        store.appended(),
        Box::new(move || journal.durable()),
        store.hash_key(),
        parsed.growth.clone(),
    );
    let shared = Arc::new(Shared {
        engine,
        growth: Arc::new(growth),
        clock,
        words: ArcSwapOption::empty(),
        durability: match options.durability {
            Durability::Written => v1::Durability::Written,
            Durability::Fsynced => v1::Durability::Fsynced,
        },
        watches: AtomicUsize::new(0),
        receipts: (0..options.workers.get())
            .map(|_| Receipts::new(options.receipts_bytes))
            .collect(),
        archive: Arc::clone(&store) as Arc<dyn Archive>,
        forecasts: Forecasts::open(&options.data_dir.join(HISTORIES_FILE)),
        restate_ms: i64::try_from(options.restate_for.as_millis()).unwrap_or(i64::MAX),
    });
    Ok(Opened { shared, store, gates: ours, outbox_wake, installed })
}

/// Reads the catalog that was in force, so that a start is not a way around what a reload refuses.
pub fn remember_catalog(recovery: &mut Recovery) {
    if recovery.catalog_source().is_empty() {
        return;
    }
    let source = recovery.catalog_source().as_bytes();
    match catalog::parse("the catalog in force before", source, &NoSecrets) {
        Ok(before) => recovery.coming_from(before.spec),
        // An earlier version took what this one does not; there is nothing to compare with.
        Err(problems) => tracing::warn!(%problems, "the catalog before cannot be compared"),
    }
}

fn open_store(
    options: &StartOptions,
    gates: Arc<OnceLock<Gates>>,
    outbox_wake: OutboxWake,
) -> Result<DiskStore, StartError> {
    let store_options = Options {
        durability: options.durability,
        segment_bytes: options.segment_bytes,
        ..Options::default()
    };
    let hooks = Hooks {
        digest: Box::new(RecordDigest),
        on_progress: Box::new(move |progress| {
            let Some(gates) = gates.get() else { return };
            match progress {
                Progress::Durable(seq) => gates.durable(seq),
                Progress::Failed { reason, .. } => {
                    tracing::error!(reason, "the journal cannot be written; writes are refused");
                    gates.failed();
                }
            }
        }),
        on_projected: Box::new(move |ops| outbox_wake.projected(ops)),
    };
    DiskStore::open(&options.data_dir, &store_options, hooks)
        .map_err(|error| StartError::Open(Box::new(error)))
}

/// Reads a store's content back: the snapshot, and the journal after it.
pub fn recover(
    store: &DiskStore,
    key_horizon_ms: i64,
    keys_max: std::num::NonZeroUsize,
) -> Result<Recovery, StartError> {
    let mut recovery = Recovery::new(key_horizon_ms, keys_max);
    let mut failed = None;
    let snapshot = store
        .read_snapshot(&mut |entry| {
            if failed.is_none() {
                failed = recovery.entry(entry).err();
            }
        })
        .map_err(|error| StartError::Read(Box::new(error)))?;
    let from = snapshot.map_or(Seq(0), |info| info.start);
    store
        .replay(from, &mut |seq, record| {
            if failed.is_none() {
                failed = recovery.record(seq, record).err();
            }
        })
        .map_err(|error| StartError::Read(Box::new(error)))?;
    match failed {
        Some(error) => Err(StartError::Recovery(error)),
        None => Ok(recovery),
    }
}
