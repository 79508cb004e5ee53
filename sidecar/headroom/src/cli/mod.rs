//! The command line: what can be said to `headroom`, and how it answers.
//!
//! Results go to standard output, problems to standard error. Exit codes: 0 done, 1 refused or
//! failed, 2 the command line itself is wrong. Commands that talk to a sidecar are clients like any
//! other: they use the SDK and know nothing of the engine.

mod admin;
mod args;
mod ask;
mod backtest;
mod check;
mod connect;
mod grants;
mod growth;
mod import;
mod prompt;
mod seats;
mod show;
mod signal;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command, ServeArgs};

use crate::config::problems::Problems;
use crate::config::server::{self, Config, Overrides};
use crate::demo::DemoArgs;

/// How the commands end that are not clients; main fills it in.
pub struct Runners {
    /// Runs a sidecar until it is told to stop.
    pub serve: fn(Config) -> ExitCode,
    /// Shows what Headroom does, by itself.
    pub demo: fn(&DemoArgs) -> ExitCode,
    /// Describes a data directory; the flag asks for JSON.
    pub inspect: fn(&Path, bool) -> ExitCode,
}

/// Refused or failed. That the command line is wrong (2) is said by clap.
const FAILED: u8 = 1;

/// Reads the command line and does what it says.
pub fn run(runners: &Runners) -> ExitCode {
    dispatch(Cli::parse().command, runners)
}

fn dispatch(command: Command, runners: &Runners) -> ExitCode {
    match command {
        Command::Serve(args) => match settings(args) {
            Ok(config) => (runners.serve)(config),
            Err(problems) => {
                show::problem(&problems.to_string());
                ExitCode::from(FAILED)
            }
        },
        Command::Demo(args) => (runners.demo)(&args),
        Command::Inspect { dir, json } => (runners.inspect)(&dir, json),
        Command::Check(args) => check::run(&args),
        Command::Ask(args) => connect::run(ask::run(args)),
        Command::Seats(args) => connect::run(seats::run(args)),
        Command::Account(args) => connect::run(admin::account(args)),
        Command::Prompt(args) => connect::run(prompt::run(args)),
        Command::Gate(args) => connect::run(growth::gate(args)),
        Command::Backtest(args) => connect::run(backtest::run(args)),
        Command::Grants(args) => connect::run(grants::run(args)),
        Command::Import(args) => connect::run(import::run(args)),
        Command::Clock(args) => connect::run(admin::clock(args)),
        Command::Signal(args) => connect::run(signal::run(args)),
        Command::Sinks(args) => connect::run(admin::sinks(args)),
        Command::Status(to) => connect::run(admin::status(to)),
        Command::Reload(to) => connect::run(admin::reload(to)),
        Command::Backup { path, to } => connect::run(admin::backup(path, to)),
    }
}

/// What a backtest has found, for people.
pub fn backtest_text(report: &headroom_sdk::v1::BacktestReport) -> String {
    show::backtest(report).text
}

fn settings(args: ServeArgs) -> Result<Config, Problems> {
    let ServeArgs { config, listen, admin, events, data_dir, catalog, clock } = args;
    let overrides = Overrides { listen, admin, events, data_dir, catalog, clock };
    server::load(config.as_deref(), overrides)
}
