//! Gates: what `--check` holds a run to. They are looser than the goals of the design, because a
//! gate must not fail on a noisy machine.

use crate::load::Shape;
use crate::options::{Options, Section};
use crate::projections::ProjectionsResult;
use crate::report::{RedisResult, Results};

/// One figure and its bound.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Gate {
    /// What is held.
    pub name: &'static str,
    /// What was measured; none when it could not be.
    pub figure: Option<f64>,
    /// The bound.
    pub bound: f64,
    /// Which side of the bound is good.
    pub side: Good,
    /// The goal of the design, stricter than the bound.
    pub goal: f64,
}

/// Which side of a bound is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Good {
    /// The figure may be the bound or less.
    AtMost,
    /// The figure may be the bound or more.
    AtLeast,
}

impl Gate {
    /// A figure that is missing has not passed.
    pub(crate) fn passed(&self) -> bool {
        self.figure.is_some_and(|figure| match self.side {
            Good::AtMost => figure <= self.bound,
            Good::AtLeast => self.bound <= figure,
        })
    }
}

/// Calls in flight at which the CPU time of a durable Consume is held.
const GATE_IN_FLIGHT: usize = 64;

/// The gates of the parts that were wanted.
pub(crate) fn judge(results: &Results, options: &Options) -> Vec<Gate> {
    let (at_most, at_least) = (Good::AtMost, Good::AtLeast);
    let gate = |name, figure, side, bound, goal| Gate { name, figure, bound, side, goal };
    let mut gates = Vec::new();
    if options.smoke {
        return gates; // Its figures mean nothing.
    }
    if options.wants(Section::Decisions) {
        let name = "durable unary Consume, 64 in flight: CPU per request / empty service";
        gates.push(gate(name, unary_cpu(results), at_most, 1.25, 1.12));
    }
    if options.wants(Section::Redis) {
        let name = "stream of 16, durable: decisions per second / one EVALSHA each";
        gates.push(gate(name, against_redis(results), at_least, 2.0, 4.0));
    }
    if options.wants(Section::Memory) {
        let bytes = results.memory.as_ref().map(|memory| memory.bytes_per_ledger);
        gates.push(gate("memory per ledger, bytes", bytes, at_most, 200.0, 128.0));
        let seconds = results.memory.as_ref().map(|memory| memory.cold_start_seconds);
        gates.push(gate("cold start with 1M ledgers, seconds", seconds, at_most, 1.0, 1.0));
    }
    if options.wants(Section::Webhook) {
        let p99 = results.webhook.as_ref().map(|webhook| webhook.p99_ms);
        gates.push(gate("crossing to webhook, p99 ms", p99, at_most, 50.0, 50.0));
    }
    if options.wants(Section::Sinks) {
        let ratio = results.sinks.as_ref().and_then(|sinks| sinks.comparison.workers_cpu);
        let name = "threads that decide, with a sink / without: CPU per request";
        gates.push(gate(name, ratio.map(|ratio| ratio.median), at_most, 1.05, 1.03));
    }
    if options.wants(Section::Projections) {
        let projections = results.projections.as_ref();
        let name = "projection, real series: error of the use at the end / straight line";
        let ratio = projections.and_then(|result| result.against_line(|one| one.end_error));
        gates.push(gate(name, ratio, at_most, 1.0, 0.85));
        let name = "projection, real series: error of the probability / straight line";
        let ratio = projections.and_then(|result| result.against_line(|one| one.brier));
        gates.push(gate(name, ratio, at_most, 0.85, 0.75));
        let cpu_us = projections.and_then(ProjectionsResult::cpu_us);
        gates.push(gate("projection: CPU of one, us", cpu_us, at_most, 1_000.0, 100.0));
    }
    gates
}

/// The worse of both transports.
fn unary_cpu(results: &Results) -> Option<f64> {
    let shape = Shape::Unary { in_flight: GATE_IN_FLIGHT };
    let cells = results.cells.iter().filter(|cell| cell.shape == shape);
    cells.filter_map(|cell| Some(cell.comparison.cpu?.median)).reduce(f64::max)
}

/// Against the Redis without its file, the faster one.
fn against_redis(results: &Results) -> Option<f64> {
    match results.redis.as_ref()? {
        RedisResult::NotInstalled => None,
        RedisResult::Measured { comparisons, .. } => {
            let ratios = comparisons.iter().filter_map(|redis| Some(redis.throughput?.median));
            ratios.reduce(f64::min)
        }
    }
}
