//! The benchmark of Headroom: one command, one machine, the same client for everybody.
//!
//! It starts the *empty* service (`headroom baseline`), Headroom and two Redis servers, drives them
//! in turn within each round, and reports medians of the ratios of the same round: a slow minute of
//! a shared machine hits both sides and cancels. Then memory, cold start, webhooks and the growth
//! of a decision, each against its goal.
//!
//! It measures the binary as it is shipped, from outside: it depends on the wire contract and the
//! SDK, never on the core. Only projections are judged inside, by themselves: what they foretell of
//! real and generated series against what came. It is not a test of correctness, but an answer that is not what it must
//! be ends the run.

mod error;
mod files;
mod gates;
mod ids;
mod limits;
mod load;
mod options;
mod pin;
mod process;
mod projections;
mod redis_server;
mod report;
mod sections;
mod sidecar;
pub mod stats;

pub use error::Error;
pub use options::{Options, Section};
pub use process::proc_files;

use gates::Gate;
use report::Results;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Runs what the options ask for and prints the report. False: a gate failed and `--check` was
/// given.
pub fn run(options: &Options) -> Result<bool, Error> {
    let results = sections::run(options)?;
    let gates = gates::judge(&results, options);
    print(&results, &gates, options)?;
    Ok(!options.check || gates.iter().all(Gate::passed))
}

fn print(results: &Results, gates: &[Gate], options: &Options) -> Result<(), Error> {
    let tables = report::tables(results, gates);
    let text = if options.markdown {
        report::markdown(&tables, results)
    } else {
        report::plain(&tables, results)
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).map_err(Error::io("the report cannot be printed"))?;
    if let Some(path) = &options.json {
        let file = File::create(path).map_err(Error::io("the JSON file cannot be made"))?;
        let report = serde_json::json!({ "results": results, "gates": gates });
        serde_json::to_writer_pretty(BufWriter::new(file), &report)
            .map_err(|error| Error::io("the JSON file cannot be written")(error.into()))?;
    }
    Ok(())
}
