//! What was measured, and how it is shown.

mod render;
mod tables;

pub(crate) use render::{markdown, plain};
pub(crate) use tables::tables;

use crate::load::{Sample, Shape};
use crate::pin::Cores;
use crate::projections::ProjectionsResult;
use crate::stats::{self, Ratio};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    /// On what.
    pub machine: Machine,
    /// Headroom against the empty service.
    pub cells: Vec<CellResult>,
    /// Headroom against Redis.
    pub redis: Option<RedisResult>,
    /// Memory and cold start.
    pub memory: Option<MemoryResult>,
    /// From crossing to webhook.
    pub webhook: Option<WebhookResult>,
    /// What deliveries cost the decisions.
    pub sinks: Option<SinksResult>,
    /// From a thousand accounts to a million.
    pub growth: Option<GrowthResult>,
    /// What was foretold against what came.
    pub projections: Option<ProjectionsResult>,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(machine: Machine) -> Results {
        Results {
            machine,
            cells: Vec::new(),
            redis: None,
            memory: None,
            webhook: None,
            sinks: None,
            growth: None,
            projections: None,
        }
    }
}

/// The machine.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores of the servers.
    pub server_cores: usize,
    /// Cores of the load generator.
    pub client_cores: usize,
}

impl Machine {
    /// Asks the kernel.
    pub(crate) fn read(cores: &Cores) -> Machine {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("model name"));
        let processor =
            model.map_or("an unnamed processor", |name| name.trim_matches([' ', '\t', ':']));
        Machine {
            processor: processor.to_owned(),
            server_cores: cores.server.len(),
            client_cores: cores.client.len(),
        }
    }
}

/// Headroom and the empty service in one cell.
#[derive(Debug, Serialize)]
pub(crate) struct CellResult {
    /// How requests were made.
    #[serde(flatten)]
    pub shape: Shape,
    /// Over what.
    pub transport: &'static str,
    /// The empty service, then Headroom.
    pub sides: Vec<Side>,
    /// Headroom against the empty service.
    pub comparison: Comparison,
}

/// One server in one cell, over all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Side {
    /// Which server.
    pub server: &'static str,
    /// Decisions a second, the median of the rounds.
    pub per_second: f64,
    /// CPU time of the server per decision, the median of the rounds.
    pub server_cpu_us: f64,
    /// The part of the time in which the load generator worked: near 1, it is the bottleneck.
    pub client_busy: f64,
    /// Latency over all rounds.
    pub p50_us: f64,
    /// See above.
    pub p99_us: f64,
    /// See above.
    pub p999_us: f64,
    /// By round, for ratios.
    pub rounds: Vec<Round>,
}

/// One server in one cell and one round.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    /// Decisions a second.
    pub per_second: f64,
    /// CPU time of the server per decision.
    pub server_cpu_us: f64,
    /// CPU time of its threads that answer requests, per decision.
    pub workers_cpu_us: f64,
    /// Latency.
    pub p99_us: f64,
}

fn quantile_us(latency_ns: &Histogram<u64>, quantile: f64) -> f64 {
    latency_ns.value_at_quantile(quantile) as f64 / 1e3
}

impl Side {
    /// Sums the rounds up.
    pub(crate) fn new(server: &'static str, samples: &[Sample], cores: &Cores) -> Side {
        let rounds: Vec<Round> = samples
            .iter()
            .map(|sample| Round {
                per_second: sample.per_second(),
                server_cpu_us: sample.server_cpu_us(),
                workers_cpu_us: sample.workers_cpu_us(),
                p99_us: quantile_us(&sample.latency_ns, 0.99),
            })
            .collect();
        let mut all = Histogram::<u64>::new(3).expect("three digits are possible");
        for sample in samples {
            all.add(&sample.latency_ns).expect("it resizes itself");
        }
        let busy: Vec<f64> = samples.iter().map(|sample| sample.client_busy(cores)).collect();
        let middle = |values: Vec<f64>| stats::median(&values).unwrap_or(f64::NAN);
        Side {
            server,
            per_second: middle(series(&rounds, |round| round.per_second)),
            server_cpu_us: middle(series(&rounds, |round| round.server_cpu_us)),
            client_busy: middle(busy),
            p50_us: quantile_us(&all, 0.5),
            p99_us: quantile_us(&all, 0.99),
            p999_us: quantile_us(&all, 0.999),
            rounds,
        }
    }
}

fn series(rounds: &[Round], of: impl Fn(&Round) -> f64) -> Vec<f64> {
    rounds.iter().map(of).collect()
}

/// One server against another: medians of the ratios of the same round.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// Against which.
    pub to: &'static str,
    /// CPU time of the server per decision.
    pub cpu: Option<Ratio>,
    /// CPU time of its threads that answer requests, per decision.
    pub workers_cpu: Option<Ratio>,
    /// Decisions a second.
    pub throughput: Option<Ratio>,
    /// 99th percentile of the latency.
    pub p99: Option<Ratio>,
}

impl Comparison {
    /// `of` divided by `to`.
    pub(crate) fn new(of: &Side, to: &Side) -> Comparison {
        let ratio = |figure: fn(&Round) -> f64| {
            stats::ratio(&series(&of.rounds, figure), &series(&to.rounds, figure))
        };
        Comparison {
            to: to.server,
            cpu: ratio(|round| round.server_cpu_us),
            workers_cpu: ratio(|round| round.workers_cpu_us),
            throughput: ratio(|round| round.per_second),
            p99: ratio(|round| round.p99_us),
        }
    }
}

/// Headroom's stream and Redis.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RedisResult {
    /// There is no Redis here.
    NotInstalled,
    /// There is.
    Measured {
        /// Headroom first.
        sides: Vec<Side>,
        /// Headroom against each Redis.
        comparisons: Vec<Comparison>,
    },
}

/// What a ledger and a key cost, and how long a start takes.
#[derive(Debug, Serialize)]
pub(crate) struct MemoryResult {
    /// Accounts filled.
    pub accounts: usize,
    /// Live ledgers.
    pub ledgers: i64,
    /// Keys remembered after the first fill.
    pub keys_filled: i64,
    /// Keys added by the second.
    pub keys_extra: i64,
    /// Resident memory of the empty sidecar.
    pub empty_bytes: u64,
    /// After the first fill.
    pub filled_bytes: u64,
    /// After the second.
    pub keyed_bytes: u64,
    /// What the second fill cost, per key.
    pub bytes_per_key: f64,
    /// What the first fill cost, per ledger, its keys included.
    pub bytes_per_ledger_with_keys: f64,
    /// The same without its keys: accounts, their names and ledgers.
    pub bytes_per_ledger: f64,
    /// From the start of the process to the first right answer, after an orderly end.
    pub cold_start_seconds: f64,
    /// The same after kill -9, with the whole fill in the journal.
    pub after_crash_seconds: f64,
}

/// Two servers on one catalog, of which one has a sink.
#[derive(Debug, Serialize)]
pub(crate) struct SinksResult {
    /// How requests were made.
    pub shape: Shape,
    /// Without, then with.
    pub sides: Vec<Side>,
    /// Crossings that the receiver was told of: all of them.
    pub crossings: usize,
    /// With against without.
    pub comparison: Comparison,
}

/// From the answer that crossed to the webhook.
#[derive(Debug, Serialize)]
pub(crate) struct WebhookResult {
    /// Crossings told of: all of them.
    pub crossings: usize,
    /// Webhooks received.
    pub webhooks: u64,
    /// Delay.
    pub p50_ms: f64,
    /// See above.
    pub p99_ms: f64,
    /// See above.
    pub max_ms: f64,
}

impl WebhookResult {
    /// Sums the delays up.
    pub(crate) fn new(delays_ms: &[f64], webhooks: u64) -> WebhookResult {
        let quantile = |part| stats::quantile(delays_ms, part).unwrap_or(f64::NAN);
        WebhookResult {
            crossings: delays_ms.len(),
            webhooks,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
        }
    }
}

/// One size, as `headroom bench-decide` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GrowthSize {
    /// Accounts in memory.
    pub accounts: u64,
    /// One decision.
    pub decide_ns: f64,
    /// One lookup of the same key in a bare map.
    pub map_ns: f64,
}

/// From the smallest size to the largest.
#[derive(Debug, Serialize)]
pub(crate) struct GrowthResult {
    /// All sizes, ascending.
    pub sizes: Vec<GrowthSize>,
    /// Growth of a decision.
    pub decide: f64,
    /// Growth of a lookup.
    pub map: f64,
    /// The one over the other.
    pub ratio: f64,
}

impl GrowthResult {
    /// Compares the largest size with the smallest. None with fewer than two.
    pub(crate) fn new(mut sizes: Vec<GrowthSize>) -> Option<GrowthResult> {
        sizes.sort_by_key(|size| size.accounts);
        let [smallest, .., largest] = &sizes[..] else { return None };
        let decide = largest.decide_ns / smallest.decide_ns;
        let map = largest.map_ns / smallest.map_ns;
        Some(GrowthResult { decide, map, ratio: decide / map, sizes })
    }
}
