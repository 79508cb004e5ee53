//! headroom: the sidecar, and the command line that runs, checks and asks it.

// In a binary `pub` says "for the other modules"; nothing leaves the crate.
#![allow(unreachable_pub)]

mod baseline;
mod bench;
mod cli;
mod clock;
mod config;
mod demo;
mod events;
mod forecasts;
mod growth;
mod grpc;
mod inspect;
mod run;
mod serve;
mod sidecar;
mod sinks;
mod telemetry;

use std::process::ExitCode;

use cli::Runners;

/// Small ledgers stay small and cross-thread frees are cheap: 2.9 times the throughput of the
/// system's allocator was measured together with one runtime per core.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = bench::run_if_asked() {
        return code;
    }
    cli::run(&Runners { serve: run::serve, demo: demo::run, inspect: inspect::run })
}
