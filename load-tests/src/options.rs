//! The command line.

use crate::limits::{MEMORY_ACCOUNTS, MEMORY_LOOKS, MEMORY_ROUNDS};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Measures Headroom against the empty service and against Redis, its memory, cold start and
/// webhooks against their goals, and its projections against what came. Nothing else should run on the machine meanwhile.
#[derive(Debug, Clone, Parser)]
#[command(name = "headroom-load-tests", version)]
pub struct Options {
    /// The sidecar to measure; without it, it is built: cargo build --profile max -p headroom
    #[arg(long, value_name = "PATH")]
    pub headroom: Option<PathBuf>,
    /// The Redis to compare with
    #[arg(long, value_name = "PATH", default_value = "redis-server")]
    pub redis_server: PathBuf,
    /// Rounds of the side-by-side measurements; each measures every cell once per server
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Milliseconds measured per cell, server and round
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub cell_ms: u64,
    /// Milliseconds of load before each of them
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub warmup_ms: u64,
    /// Crossings of the webhook measurement
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    pub crossings: u32,
    /// A first look in about a minute: 3 short rounds of the most telling cells
    #[arg(long)]
    pub quick: bool,
    /// Only see that every measurement works, in seconds: its figures mean nothing
    #[arg(long, conflicts_with = "check")]
    pub smoke: bool,
    /// Only these measurements
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SECTION")]
    pub only: Vec<Section>,
    /// End with an error when a gate fails or could not be measured
    #[arg(long)]
    pub check: bool,
    /// Print the report as Markdown
    #[arg(long)]
    pub markdown: bool,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where servers keep their data while they are measured; a directory in it is made and removed
    #[arg(long, value_name = "DIR", default_value = "target")]
    pub work_dir: PathBuf,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Section {
    /// The empty service and Headroom side by side
    Decisions,
    /// The stream against one EVALSHA per request
    Redis,
    /// Memory per ledger and per idempotency key, and the cold start of what was filled
    Memory,
    /// From a threshold crossing to the webhook
    Webhook,
    /// What deliveries cost the decisions
    Sinks,
    /// How a decision grows from a thousand accounts to a million
    Growth,
    /// How well it is foretold when a limit is reached, against simpler ways and a library's
    Projections,
}

impl Options {
    /// Whether to measure this part.
    pub fn wants(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }

    /// How much is measured.
    pub(crate) fn sizes(&self) -> Sizes {
        let full = Sizes {
            rounds: self.rounds,
            warmup: Duration::from_millis(self.warmup_ms),
            cell: Duration::from_millis(self.cell_ms),
            few_cells: false,
            memory_accounts: MEMORY_ACCOUNTS,
            memory_looks: MEMORY_LOOKS,
            memory_rounds: MEMORY_ROUNDS,
            crossings: self.crossings,
            growth: &[],
            projections_stride: 1,
        };
        let quick = Sizes {
            rounds: full.rounds.min(3),
            few_cells: true,
            memory_rounds: 1,
            crossings: full.crossings.min(200),
            projections_stride: 5,
            ..full
        };
        let smoke = Sizes {
            rounds: 1,
            warmup: Duration::from_millis(20),
            cell: Duration::from_millis(200),
            memory_accounts: 2_000,
            memory_looks: 1,
            crossings: 20,
            growth: &["--accounts", "100", "1000", "--decisions", "4000"],
            projections_stride: 100,
            ..quick
        };
        match (self.smoke, self.quick) {
            (true, _) => smoke,
            (false, true) => quick,
            (false, false) => full,
        }
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Rounds of the side-by-side measurements.
    pub rounds: u32,
    /// Load before a measurement.
    pub warmup: Duration,
    /// Time measured.
    pub cell: Duration,
    /// Only the most telling cells.
    pub few_cells: bool,
    /// Accounts of the memory measurement.
    pub memory_accounts: usize,
    /// Looks at the resident memory; the median counts.
    pub memory_looks: usize,
    /// Servers that are filled, one after the other; the median of each figure counts.
    pub memory_rounds: u32,
    /// Crossings of the webhook measurement.
    pub crossings: u32,
    /// More arguments of `headroom bench-decide`.
    pub growth: &'static [&'static str],
    /// One of how many questions is asked of the projections.
    pub projections_stride: usize,
}
