//! `headroom serve`: a sidecar that runs until it is told to stop.

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::is_local;
use crate::config::server::{ClockKind, Config};
use crate::serve::listener::DEFAULT_UNIX_MODE;
use crate::sidecar::{self, ReloadError, Sidecar, StartOptions};
use crate::telemetry::logging;

/// Runs a sidecar until SIGTERM or SIGINT; SIGHUP reads the catalog again.
pub fn serve(config: Config) -> ExitCode {
    if let Err(error) = logging::init(&config.log.options()) {
        return failed(&error.to_string());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the signal runtime cannot be made: {error}")),
    };
    // Before the doors open: a SIGHUP that nobody listens to ends the process.
    let mut signals = match runtime.block_on(async { Signals::listen() }) {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("signals cannot be received: {error}")),
    };
    let options = options(config);
    let sidecar = match sidecar::start(&options) {
        Ok(sidecar) => sidecar,
        Err(error) => return failed(&error.to_string()),
    };
    announce(&options);
    runtime.block_on(async {
        until_stopped(&mut signals, &sidecar).await;
        match sidecar.drain().await {
            Ok(()) => {
                tracing::info!("stopped; everything is on disk");
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error.to_string()),
        }
    })
}

fn options(config: Config) -> StartOptions {
    StartOptions {
        listen: config.listen,
        admin: config.admin,
        events: config.events,
        unix_mode: DEFAULT_UNIX_MODE,
        data_dir: config.data_dir,
        catalog: config.catalog,
        durability: config.durability,
        workers: config.workers,
        test_clock: config.clock == ClockKind::Test,
        key_horizon: config.idempotency.horizon,
        keys_max: config.idempotency.entries_max,
        restate_for: config.restate_for,
        drain_timeout: config.drain_timeout,
        checkpoint_every: config.checkpoint.every,
        checkpoint_journal_bytes: config.checkpoint.journal_bytes,
        segment_bytes: config.segment_bytes,
        receipts_bytes: usize::try_from(config.recent_decisions_bytes).unwrap_or(usize::MAX),
    }
}

fn announce(options: &StartOptions) {
    for listen in &options.listen {
        tracing::info!(%listen, "answering");
        if !is_local(listen) {
            tracing::warn!(
                %listen,
                "there is no authentication yet, and other machines may reach this address: let only the \
                 product in, by a firewall or a proxy, or listen on loopback or a Unix socket"
            );
        }
    }
    if let Some(events) = &options.events {
        tracing::info!(%events, "taking CloudEvents");
    }
    tracing::info!(admin = %options.admin, data_dir = %options.data_dir.display(), "ready");
    if options.test_clock {
        tracing::warn!(
            "running on a TEST CLOCK: time stands still until `headroom clock` moves it"
        );
    }
}

/// The signals that mean something to a sidecar. What comes while it starts is kept until then.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn until_stopped(signals: &mut Signals, sidecar: &Sidecar) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => reload(sidecar).await,
        }
    }
    tracing::info!("stopping: finishing requests, writing the journal, delivering what can be");
}

async fn reload(sidecar: &Sidecar) {
    match sidecar.core().reload_catalog().await {
        Ok((installed, _)) => {
            let (revision, changed) = (installed.revision, installed.changed);
            tracing::info!(revision, changed, "catalog reloaded");
        }
        Err(ReloadError::Store(error)) => {
            tracing::error!(%error, "catalog not reloaded, the old one stays in force");
        }
        Err(ReloadError::Problems(problems)) => {
            for problem in problems.lines() {
                tracing::error!(problem, "catalog refused, the old one stays in force");
            }
        }
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}
