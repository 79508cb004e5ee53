//! One sidecar, put together: the disk, the memory, the doors, and what runs in the background.
//!
//! [`start`] makes it from its options, in the order in which each part needs the others;
//! [`Sidecar::drain`] takes it apart in the reverse order, so that nothing acknowledged is lost and
//! nothing is acknowledged that could be.

mod forecasts;
mod growth;
mod maintenance;
mod open;
mod repeated;
mod timers;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::grpc::prompts::Prompts;
use crate::grpc::seats::Seats;
use headroom_core::catalog::SpecProblem;
use headroom_core::time::Millis;
use headroom_engine::admin::{CatalogRefusal, Installed};
use headroom_engine::ports::{Archive as _, Table};
use headroom_proto::server::entitlement_service_server::EntitlementServiceServer;
use headroom_proto::v1::admin_service_server::AdminServiceServer;
use headroom_proto::v1::prompt_service_server::PromptServiceServer;
use headroom_proto::v1::seat_service_server::SeatServiceServer;
use headroom_proto::v1::signal_service_server::SignalServiceServer;
use headroom_proto::v1::{self, ErrorReason};
use headroom_store::{DiskStore, Durability};
use tonic::service::Routes;

use crate::clock::real_now;
use crate::config::catalog::{self, ParsedCatalog};
use crate::config::problems::Problems;
use crate::config::sinks::RealSecrets;
use crate::events;
use crate::forecasts::Sweep;
use crate::grpc::Shared;
use crate::grpc::admin::Administration;
use crate::grpc::entitlement::Entitlements;
use crate::grpc::shared::Words;
use crate::grpc::signals::Signals;
use crate::grpc::status::WireError;
use crate::serve::admin::Admin;
use crate::serve::limits::{EVENTS_CONNECTIONS_MAX, REQUEST_MESSAGE_BYTES_MAX};
use crate::serve::{
    Control, Door, Gates, Kick, ListenAddr, Listener, MakeRoutes, Readiness, Server, standard,
};
use crate::sinks::{self, Outbox, Positions, SinkStatus, Wiring};
use crate::telemetry::{Gauges, Metrics, SinkGauges};

pub use open::{StartError, remember_catalog};

/// How long a start waits for the projection; sinks that begin before it is done only begin later.
const PROJECTED_WITHIN: Duration = Duration::from_millis(200);

/// How long a start waits for the projection when there is a sink that has no place yet.
const SINKS_PLACED_WITHIN: Duration = Duration::from_secs(10);

/// What a sidecar is started with. Everything is valid already.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// Where clients come in.
    pub listen: Vec<ListenAddr>,
    /// Where operators come in.
    pub admin: ListenAddr,
    /// Where CloudEvents come in. `None`: nowhere.
    pub events: Option<ListenAddr>,
    /// Permissions of Unix sockets.
    pub unix_mode: u32,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The catalog file.
    pub catalog: PathBuf,
    /// When a write is answered.
    pub durability: Durability,
    /// Threads that serve requests.
    pub workers: NonZeroUsize,
    /// Whether to run on a test clock.
    pub test_clock: bool,
    /// How long idempotency keys are remembered.
    pub key_horizon: Duration,
    /// How many idempotency keys are remembered.
    pub keys_max: NonZeroUsize,
    /// How far back windows can be restated by late events and corrections.
    pub restate_for: Duration,
    /// How long a drain waits for requests, and then for deliveries.
    pub drain_timeout: Duration,
    /// How often the memory is checkpointed.
    pub checkpoint_every: Duration,
    /// Journal bytes after which it is checkpointed earlier.
    pub checkpoint_journal_bytes: u64,
    /// Size of a journal segment.
    pub segment_bytes: u64,
    /// Bytes of recent decisions that each worker keeps; 0 for none.
    pub receipts_bytes: usize,
}

/// The running sidecar without its listeners: what administration acts on.
pub struct Core {
    /// What all services share.
    pub shared: Arc<Shared>,
    /// The disk.
    pub store: Arc<DiskStore>,
    /// Signals on their way.
    pub outbox: Arc<Outbox>,
    /// When the process started, in real time.
    pub started_at: Millis,
    // What looks at what was used, hour by hour.
    sweep: Mutex<Sweep>,
    // Held while accounts are looked at.
    growing: Mutex<()>,
    catalog_path: PathBuf,
    // Held while a catalog is exchanged, so that two reloads do not mix catalog, prompts and sinks.
    reloading: tokio::sync::Mutex<()>,
}

/// A running sidecar.
pub struct Sidecar {
    core: Arc<Core>,
    control: Control,
    server: Server,
    admin: Admin,
    events: Option<Door>,
    readiness: Readiness,
    maintenance: maintenance::Maintenance,
    /// In the order in which they end.
    repeated: [repeated::Repeated; 3],
    drain_timeout: Duration,
    metrics: Metrics,
}

/// Why a catalog was not exchanged. The old one stays in force.
#[derive(Debug)]
pub enum ReloadError {
    /// The file is wrong.
    Problems(Problems),
    /// The store takes no writes.
    Store(headroom_engine::ports::StoreRefusal),
}

impl From<ReloadError> for WireError {
    fn from(error: ReloadError) -> WireError {
        match error {
            ReloadError::Store(refusal) => {
                headroom_engine::engine::EngineError::from(refusal).into()
            }
            ReloadError::Problems(problems) => {
                let lines: Vec<String> = problems.lines().collect();
                WireError {
                    fields: lines.iter().map(|line| ("catalog".to_owned(), line.clone())).collect(),
                    ..WireError::new(ErrorReason::CatalogRefused, lines.join("\n"))
                }
            }
        }
    }
}

/// Reads the catalog file, with the secrets it refers to.
pub fn read_catalog(path: &Path) -> Result<ParsedCatalog, Problems> {
    let base = path.parent().unwrap_or(Path::new(".")).to_owned();
    catalog::load(path, &RealSecrets { base })
}

/// Problems that the file alone does not show: what it would take away from accounts.
fn unplaced(file: &Path, source: &str, problems: &[SpecProblem]) -> Problems {
    catalog::placed(&file.display().to_string(), source, problems)
}

/// What is said of a catalog that is in force now and does no harm, one line each; it goes to the log as well.
pub(crate) fn hinted(file: &Path, source: &str, installed: &Installed) -> Vec<String> {
    if installed.hints.is_empty() {
        return Vec::new();
    }
    let hints: Vec<String> = unplaced(file, source, &installed.hints).lines().collect();
    for hint in &hints {
        tracing::warn!(hint, "a migration of the catalog");
    }
    hints
}

impl Core {
    /// Reads the catalog file again and brings it into force for the next decision.
    ///
    /// Answers with it, and with what does no harm and is probably not meant so.
    pub async fn reload_catalog(&self) -> Result<(Installed, Vec<String>), ReloadError> {
        let _reloading = self.reloading.lock().await;
        let path = self.catalog_path.clone();
        let read = tokio::task::spawn_blocking(move || read_catalog(&path)).await;
        let parsed = match read {
            Ok(parsed) => parsed.map_err(ReloadError::Problems)?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let now = self.shared.clock.now();
        let source = parsed.source.clone();
        let installed = self
            .shared
            .engine
            .install_catalog(parsed.spec, &parsed.source, now)
            .map_err(|refusal| match refusal {
                CatalogRefusal::Store(refusal) => ReloadError::Store(refusal),
                CatalogRefusal::Problems(problems) => {
                    ReloadError::Problems(unplaced(&self.catalog_path, &parsed.source, &problems))
                }
            })?;
        let revision = installed.revision;
        let engine = Arc::clone(&self.shared.engine);
        let growth = Arc::clone(&self.shared.growth);
        let words = Words::new(revision, parsed.prompts, engine, growth);
        self.shared.words.store(Some(Arc::new(words)));
        self.shared.growth.set_terms(parsed.growth);
        self.outbox.reconfigure(parsed.sinks).await;
        let hints = hinted(&self.catalog_path, &source, &installed);
        Ok((installed, hints))
    }

    /// Copies the data directory while it is in use.
    pub fn back_up(&self, path: &Path) -> Result<v1::BackupResponse, WireError> {
        let last = self.store.backup(path).map_err(|error| {
            let message = std::iter::successors(Some(&error as &dyn std::error::Error), |cause| {
                cause.source()
            });
            let message: Vec<String> = message.map(ToString::to_string).collect();
            WireError::field("path", message.join(": "))
        })?;
        let bytes = directory_bytes(path);
        Ok(v1::BackupResponse {
            journal_last: i64::try_from(last.0).unwrap_or(i64::MAX),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        })
    }

    /// Signals emitted in the life of the data directory, and how the sinks stand.
    pub fn signals(&self) -> (u64, Vec<SinkStatus>) {
        let emitted = self.store.count(Table::Signals).unwrap_or_default();
        (emitted, self.outbox.status())
    }

    /// Looks at what was used by `now`, if an hour has begun by `due`.
    pub async fn sweep(self: &Arc<Core>, now: Millis, due: Millis) {
        let core = Arc::clone(self);
        let swept =
            tokio::task::spawn_blocking(move || forecasts::sweep(&core, now, due, &|| false)).await;
        if let Err(error) = swept {
            tracing::error!(%error, "a look at what was used panicked");
        }
    }

    /// Does all that time has brought by `now` and that follows from what was told so far.
    pub async fn settle(self: &Arc<Core>, now: Millis) {
        let core = Arc::clone(self);
        let settled = tokio::task::spawn_blocking(move || growth::settle(&core, now)).await;
        if let Err(error) = settled {
            tracing::error!(%error, "a look at what time has brought panicked");
        }
    }

    fn gauges(&self, connections: usize) -> Gauges {
        let counts = self.shared.engine.counts();
        let store = self.store.status();
        let (signals_emitted, sinks) = self.signals();
        Gauges {
            accounts: counts.accounts,
            ledgers: counts.ledgers,
            ledgers_halted: counts.halted,
            idempotency_keys: counts.keys,
            idempotency_horizon: Duration::from_millis(counts.key_horizon_ms.unsigned_abs()),
            journal_last: store.appended.0,
            journal_durable: store.durable.0,
            journal_writable: store.refusal.is_none(),
            catalog_revision: self.shared.engine.catalog().revision,
            signals_emitted,
            signals_pending: sinks.iter().map(|sink| sink.pending).sum(),
            sinks: sinks.into_iter().map(sink_gauges).collect(),
            test_clock: self.shared.clock.is_test(),
            connections: connections as u64,
        }
    }
}

fn sink_gauges(status: SinkStatus) -> SinkGauges {
    SinkGauges {
        sink: status.sink,
        lag: status.lag,
        pending: status.pending,
        delivered: status.delivered,
        attempts_failed: status.attempts_failed,
        dead_letters: status.dead_letters,
        dead_letters_kept: status.dead_letters_kept,
        failing: status.failing_since.is_some(),
        paused: status.paused,
        disabled: status.disabled,
    }
}

fn directory_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => directory_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Counts the open gRPC connections.
type Connections = Box<dyn Fn() -> usize + Send + Sync>;

/// Starts a sidecar. When it returns, requests are answered.
pub fn start(options: &StartOptions) -> Result<Sidecar, StartError> {
    // Everything that can be wrong with the outside is found before the data directory is touched.
    let parsed = read_catalog(&options.catalog).map_err(StartError::Catalog)?;
    let bind = |addr| Listener::bind(addr, options.unix_mode).map_err(StartError::Bind);
    let listeners = options.listen.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
    let admin_listener =
        Listener::bind_admin(&options.admin, options.unix_mode).map_err(StartError::Bind)?;

    let events_listener = options.events.as_ref();
    let events_listener = events_listener
        .map(|addr| Listener::bind_admin(addr, options.unix_mode).map_err(StartError::Bind))
        .transpose()?;

    let opened = open::open(options, &parsed)?;
    let open::Opened { shared, store, gates, outbox_wake, installed } = opened;
    let kick: Kick = {
        let store = Arc::clone(&store);
        Arc::new(move || store.kick())
    };
    let control =
        Control::start(gates.control().clone(), Arc::clone(&kick)).map_err(StartError::Thread)?;
    let wiring = {
        let positions = Arc::clone(&store);
        Wiring {
            engine: Arc::clone(&shared.engine),
            archive: store.clone(),
            growth: Arc::clone(&shared.growth),
            positions: Arc::new(move || Positions {
                appended: positions.appended(),
                projected: positions.position(),
            }),
            data_dir: options.data_dir.clone(),
            test_clock: shared.clock.is_test(),
        }
    };
    // Before anything can raise a signal, whose id says which start of the process raised it.
    sinks::note_start(&shared.engine, store.boot(), store.appended());
    // Sinks begin once the projection has come to the end; without this it comes there a second late.
    if !store.wait_projected(store.appended(), PROJECTED_WITHIN)
        && sinks::has_new(&*store, &parsed.sinks)
    {
        // A new one that is placed later has lost what came before, if the process dies until then.
        store.wait_projected(store.appended(), SINKS_PLACED_WITHIN);
    }
    let outbox = Arc::new(Outbox::start(control.handle(), parsed.sinks, wiring));
    outbox_wake.set(&outbox);
    outbox.wake();
    let revision = installed.revision;
    let engine = Arc::clone(&shared.engine);
    let words = Words::new(revision, parsed.prompts, engine, Arc::clone(&shared.growth));
    shared.words.store(Some(Arc::new(words)));
    let sweep = Sweep::new(
        &shared.forecasts,
        Arc::clone(&shared.engine),
        store.clone(),
        store.appended(),
        shared.clock.now(),
    );
    let core = Arc::new(Core {
        sweep: Mutex::new(sweep),
        growing: Mutex::default(),
        shared,
        store,
        outbox,
        started_at: real_now(),
        catalog_path: options.catalog.clone(),
        reloading: tokio::sync::Mutex::new(()),
    });
    maintenance::catch_up(&core, options);
    let listeners =
        Listeners { clients: listeners, admin: admin_listener, events: events_listener };
    let sidecar = open_doors(options, core, control, &gates, &kick, listeners)?;
    sidecar.readiness.set_ready();
    Ok(sidecar)
}

/// Where a sidecar is reached.
struct Listeners {
    clients: Vec<Listener>,
    admin: Listener,
    events: Option<Listener>,
}

/// Lets CloudEvents in.
fn open_events(
    control: &Control,
    listener: Listener,
    core: &Core,
    gates: &Gates,
) -> Result<Door, StartError> {
    let signals = Signals { shared: Arc::clone(&core.shared), gate: gates.control().clone() };
    let routes = Routes::from(events::routes(signals));
    Door::start(control.handle(), listener, routes, EVENTS_CONNECTIONS_MAX)
        .map_err(StartError::Thread)
}

fn open_doors(
    options: &StartOptions,
    core: Arc<Core>,
    control: Control,
    gates: &Gates,
    kick: &Kick,
    listeners: Listeners,
) -> Result<Sidecar, StartError> {
    let connections: Arc<OnceLock<Connections>> = Arc::default();
    let gauges = {
        let (core, connections) = (Arc::clone(&core), Arc::clone(&connections));
        Arc::new(move || core.gauges(connections.get().map_or(0, |count| count())))
    };
    let metrics = Metrics::new(options.workers.get() + 1, env!("CARGO_PKG_VERSION"), gauges);
    let readiness = {
        let store = Arc::clone(&core.store);
        Readiness::new(Arc::new(move || store.status().refusal.map(|refusal| refusal.to_string())))
    };
    let (reporter, _) = tonic_health::server::health_reporter();
    let make: MakeRoutes = {
        let (core, recorders) = (Arc::clone(&core), metrics.recorders().to_vec());
        let reporter = reporter.clone();
        Arc::new(move |context| {
            let seats = Seats {
                shared: Arc::clone(&core.shared),
                gate: context.gate.clone(),
                recorder: recorders[context.index].clone(),
                receipts: core.shared.receipts[context.index].clone(),
            };
            let prompts = Prompts {
                shared: Arc::clone(&core.shared),
                gate: context.gate.clone(),
                recorder: recorders[context.index].clone(),
            };
            let service = Entitlements {
                shared: Arc::clone(&core.shared),
                archive: core.store.clone(),
                gate: context.gate.clone(),
                recorder: recorders[context.index].clone(),
                receipts: core.shared.receipts[context.index].clone(),
                drain: context.drain,
            };
            let signals = Signals { shared: Arc::clone(&core.shared), gate: context.gate };
            let signals = SignalServiceServer::new(signals)
                .max_decoding_message_size(REQUEST_MESSAGE_BYTES_MAX);
            let seats =
                SeatServiceServer::new(seats).max_decoding_message_size(REQUEST_MESSAGE_BYTES_MAX);
            let service = EntitlementServiceServer::new(service)
                .max_decoding_message_size(REQUEST_MESSAGE_BYTES_MAX);
            let prompts = PromptServiceServer::new(prompts)
                .max_decoding_message_size(REQUEST_MESSAGE_BYTES_MAX);
            let routes = Routes::new(service).add_service(seats).add_service(prompts);
            let routes = routes.add_service(signals);
            standard::point_elsewhere(standard_routes(routes, &reporter), FOR_PRODUCTS)
        })
    };
    let server = Server::start(control.handle(), listeners.clients, gates, kick, &make)
        .map_err(StartError::Thread)?;
    let by_worker = server.connections_by_worker();
    let _ = connections.set(Box::new(move || by_worker().iter().sum())); // Set once, here.
    let administration = Administration { core: Arc::clone(&core), gate: gates.control().clone() };
    let administration = AdminServiceServer::new(administration)
        .max_decoding_message_size(REQUEST_MESSAGE_BYTES_MAX);
    let routes = standard_routes(Routes::new(administration), &reporter);
    let routes = standard::point_elsewhere(routes, FOR_ADMINISTRATION);
    let admin = Admin::start(
        control.handle(),
        listeners.admin,
        routes,
        readiness.clone(),
        reporter,
        metrics.clone(),
    )
    .map_err(StartError::Thread)?;
    let maintenance =
        maintenance::Maintenance::start(Arc::clone(&core), options).map_err(StartError::Thread)?;
    let repeated = [
        timers::start(Arc::clone(&core)).map_err(StartError::Thread)?,
        forecasts::start(Arc::clone(&core)).map_err(StartError::Thread)?,
        growth::start(Arc::clone(&core)).map_err(StartError::Thread)?,
    ];
    let events = listeners.events;
    let events =
        events.map(|listener| open_events(&control, listener, &core, gates)).transpose()?;
    let drain_timeout = options.drain_timeout;
    Ok(Sidecar {
        core,
        control,
        server,
        admin,
        events,
        readiness,
        maintenance,
        repeated,
        drain_timeout,
        metrics,
    })
}

/// What a call to the wrong listener is told.
const FOR_PRODUCTS: &str = "this listener is for products (`listen`); AdminService is at the admin \
                            listener (`admin`, port 7401 unless the settings say otherwise)";
const FOR_ADMINISTRATION: &str = "this is the admin listener (`admin`); what products ask is \
                                  answered at `listen`, port 7400 unless the settings say otherwise";

fn standard_routes(routes: Routes, reporter: &tonic_health::server::HealthReporter) -> Routes {
    let routes = standard::add_health(routes, reporter);
    // The descriptors are checked in and tested, so this cannot fail; without them it still serves.
    match standard::add_reflection(routes.clone()) {
        Ok(described) => described,
        Err(error) => {
            tracing::error!(%error, "reflection is off");
            routes
        }
    }
}

impl Sidecar {
    /// What administration acts on.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Ends well: no new connections, requests in flight finish, the journal is written, what can be
    /// delivered is, the memory is checkpointed, the directory is closed.
    pub async fn drain(mut self) -> Result<(), headroom_store::CloseError> {
        self.readiness.set_draining();
        self.core.shared.growth.end();
        // Open health watches would hold the stop up.
        self.admin.end_health_watches().await;
        let drained = self.server.drain(self.drain_timeout).await;
        if drained.connections_cut > 0 {
            let connections = drained.connections_cut;
            tracing::warn!(connections, "connections were cut with requests in flight");
        }
        if let Some(events) = self.events {
            events.drain(self.drain_timeout).await;
        }
        self.admin.drain(self.drain_timeout).await;
        for thread in self.repeated {
            thread.stop();
        }
        // The outbox waits for the projection, which by itself looks up once a second.
        let store = &self.core.store;
        store.wait_projected(store.appended(), self.drain_timeout);
        self.core.outbox.drain(self.drain_timeout).await;
        self.maintenance.stop();
        self.control.stop();
        drop(self.metrics);
        self.core.store.close()
    }
}
