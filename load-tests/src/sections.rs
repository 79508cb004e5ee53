//! The parts of the benchmark, one after the other.

mod growth;
mod memory;
mod receiver;
mod rounds;
mod sinks;
mod webhook;

use crate::error::Error;
use crate::options::{Options, Section};
use crate::pin::{self, Cores};
use crate::projections;
use crate::report::{Machine, Results};
use crate::sidecar;
use std::fs;
use std::path::PathBuf;

/// What every part needs.
pub(crate) struct Bench<'a> {
    /// The command line.
    pub options: &'a Options,
    /// Whose cores are whose.
    pub cores: Cores,
    /// The sidecar to measure.
    pub program: PathBuf,
    /// A directory of this run.
    pub dir: PathBuf,
}

/// A directory that is removed with its handle.
struct RunDir(PathBuf);

impl RunDir {
    fn make(dir: PathBuf) -> Result<RunDir, Error> {
        fs::create_dir_all(&dir).map_err(Error::io("the work directory cannot be made"))?;
        Ok(RunDir(dir))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What stays behind is in a directory made for throwing away.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the parts that are wanted.
pub(crate) fn run(options: &Options) -> Result<Results, Error> {
    let cores = Cores::split()?;
    pin::pin_to(&cores.client)?;
    let mut results = Results::new(Machine::read(&cores));
    if options.wants(Section::Projections) {
        results.projections = Some(projections::run(options.sizes().projections_stride)?);
    }
    if options.only == [Section::Projections] {
        return Ok(results); // It needs no server.
    }
    let program = sidecar::locate(options)?;
    let run_dir =
        RunDir::make(options.work_dir.join(format!("headroom-load-tests-{}", std::process::id())))?;
    let _socket_dir = RunDir::make(sidecar::socket_dir())?;
    let bench = Bench { options, cores, program, dir: run_dir.0.clone() };

    if options.wants(Section::Decisions) || options.wants(Section::Redis) {
        (results.cells, results.redis) = rounds::run(&bench)?;
    }
    if options.wants(Section::Memory) {
        results.memory = Some(memory::run(&bench)?);
    }
    if options.wants(Section::Webhook) {
        results.webhook = Some(webhook::run(&bench)?);
    }
    if options.wants(Section::Sinks) {
        results.sinks = Some(sinks::run(&bench)?);
    }
    if options.wants(Section::Growth) {
        results.growth = Some(growth::run(&bench)?);
    }
    Ok(results)
}
