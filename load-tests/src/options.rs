//! The command line.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Measures Headroom against the empty service and against Redis, and its memory, cold start and
/// webhooks against their goals. Nothing else should run on the machine meanwhile.
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
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub crossings: u32,
    /// A first look in about a minute: 3 short rounds of the most telling cells
    #[arg(long)]
    pub quick: bool,
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
    /// How a decision grows from a thousand accounts to a million
    Growth,
}

impl Options {
    /// Whether to measure this part.
    pub fn wants(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }

    /// Rounds of the side-by-side measurements.
    pub(crate) fn rounds(&self) -> u32 {
        if self.quick { self.rounds.min(3) } else { self.rounds }
    }

    /// Load before a measurement.
    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_millis(self.warmup_ms)
    }

    /// Time measured.
    pub(crate) fn cell(&self) -> Duration {
        Duration::from_millis(self.cell_ms)
    }

    /// Crossings of the webhook measurement.
    pub(crate) fn crossings(&self) -> u32 {
        if self.quick { self.crossings.min(200) } else { self.crossings }
    }
}
