//! Counting decisions on the hot road.
//!
//! Every worker counts in an array of its own, so a count is an addition to memory that no other
//! core writes: about 5 ns, without a lock or a hash. A scrape adds the arrays up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use headroom_proto::v1::{Denial, ErrorReason, Verdict};
use prometheus_client::registry::Registry;

use super::exposition::Exposition;

/// The content type of [`Metrics::render`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the duration histogram, in microseconds, included. From a decision out of memory
/// (5 us) over a written one (tens) to a disk in trouble (a second), two or three to a decade.
pub(super) const DURATION_BOUNDS_US: [u64; 17] = [
    5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000,
];

/// One more than the bounds: the last bucket has none.
pub(super) const DURATION_BUCKETS: usize = DURATION_BOUNDS_US.len() + 1;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Check.
    Check,
    /// Consume.
    Consume,
    /// Reserve.
    Reserve,
    /// Extend.
    Extend,
    /// Commit.
    Commit,
    /// Release.
    Release,
    /// Record.
    Record,
    /// Allocate.
    Allocate,
    /// Correct.
    Correct,
    /// CheckAll.
    CheckAll,
    /// ConsumeAll.
    ConsumeAll,
    /// ReserveAll.
    ReserveAll,
    /// InviteSeat.
    InviteSeat,
    /// ClaimSeat.
    ClaimSeat,
    /// ReleaseSeat.
    ReleaseSeat,
    /// TransferSeat.
    TransferSeat,
}

impl Operation {
    /// Every operation, in the order of its variants.
    pub const ALL: [Operation; 16] = [
        Operation::Check,
        Operation::Consume,
        Operation::Reserve,
        Operation::Extend,
        Operation::Commit,
        Operation::Release,
        Operation::Record,
        Operation::Allocate,
        Operation::Correct,
        Operation::CheckAll,
        Operation::ConsumeAll,
        Operation::ReserveAll,
        Operation::InviteSeat,
        Operation::ClaimSeat,
        Operation::ReleaseSeat,
        Operation::TransferSeat,
    ];

    /// Its name, as metrics and explanations have it.
    pub fn label(self) -> &'static str {
        match self {
            Operation::Check => "check",
            Operation::Consume => "consume",
            Operation::Reserve => "reserve",
            Operation::Extend => "extend",
            Operation::Commit => "commit",
            Operation::Release => "release",
            Operation::Record => "record",
            Operation::Allocate => "allocate",
            Operation::Correct => "correct",
            Operation::CheckAll => "check_all",
            Operation::ConsumeAll => "consume_all",
            Operation::ReserveAll => "reserve_all",
            Operation::InviteSeat => "invite_seat",
            Operation::ClaimSeat => "claim_seat",
            Operation::ReleaseSeat => "release_seat",
            Operation::TransferSeat => "transfer_seat",
        }
    }
}

/// How the sidecar stands, read at the moment of a scrape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Accounts known.
    pub accounts: u64,
    /// Live ledgers.
    pub ledgers: u64,
    /// Ledgers that failed an internal check and admit nothing.
    pub ledgers_halted: u64,
    /// Idempotency keys remembered.
    pub idempotency_keys: u64,
    /// How long a key is remembered at present.
    pub idempotency_horizon: Duration,
    /// The last record of the journal.
    pub journal_last: u64,
    /// The last record as durable as configured.
    pub journal_durable: u64,
    /// Whether the journal takes writes.
    pub journal_writable: bool,
    /// The catalog revision in force.
    pub catalog_revision: u64,
    /// Signals emitted in the life of the data directory.
    pub signals_emitted: u64,
    /// Deliveries not yet confirmed by their sink.
    pub signals_pending: u64,
    /// Whether the sidecar decides by a test clock.
    pub test_clock: bool,
    /// Open gRPC connections.
    pub connections: u64,
    /// The sinks, in the order of their names.
    pub sinks: Vec<SinkGauges>,
}

/// How a sink stands. Its name comes from the catalog, so it may be a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkGauges {
    /// Its name.
    pub sink: Arc<str>,
    /// The age of its oldest undelivered signal.
    pub lag: Duration,
    /// Signals not yet confirmed.
    pub pending: u64,
    /// Signals confirmed since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub attempts_failed: u64,
    /// Signals given up since the start.
    pub dead_letters: u64,
    /// Dead letters that can be sent again.
    pub dead_letters_kept: u64,
    /// Whether the last attempt failed and nothing was confirmed since.
    pub failing: bool,
    /// Whether an operator lets it rest.
    pub paused: bool,
    /// Whether its endpoint said that it is gone.
    pub disabled: bool,
}

/// Reads the gauges. Called on the control runtime, so it must not wait.
pub type ReadGauges = Arc<dyn Fn() -> Gauges + Send + Sync>;

/// All metrics of the process. A clone is a handle to the same ones.
#[derive(Clone)]
pub struct Metrics {
    recorders: Arc<[Recorder]>,
    registry: Arc<Registry>,
}

impl Metrics {
    /// Metrics with so many recorders, one per thread that counts: the workers and the control
    /// runtime. `version` is the program's.
    pub fn new(recorders: usize, version: &'static str, gauges: ReadGauges) -> Metrics {
        let recorders: Arc<[Recorder]> =
            (0..recorders).map(|_| Recorder(Arc::new(Counts::new()))).collect();
        let mut registry = Registry::with_prefix("headroom");
        registry.register_collector(Box::new(Exposition {
            recorders: Arc::clone(&recorders),
            version,
            gauges,
        }));
        Metrics { recorders, registry: Arc::new(registry) }
    }

    /// Where one thread counts. Another thread may use it too; it is only slower.
    pub fn recorders(&self) -> &[Recorder] {
        &self.recorders
    }

    /// The text for a scraper, of the type [`METRICS_CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail, and the exposition itself makes no error.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// Counts for one thread. A clone is a handle to the same counts.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Counts>);

impl Recorder {
    /// Counts one decision. `denial` counts when it is set. `elapsed` runs from the arrival of the
    /// request to its answer, waiting for the journal included.
    pub fn decision(
        &self,
        operation: Operation,
        verdict: Verdict,
        denial: Denial,
        elapsed: Duration,
    ) {
        let counts = &*self.0;
        add(&counts.decisions, operation as usize * counts.verdicts + verdict as usize, 1);
        if denial != Denial::Unspecified {
            add(&counts.denials, denial as usize, 1);
        }
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let bucket = DURATION_BOUNDS_US.partition_point(|bound| bound * 1_000 < nanos);
        add(&counts.durations, operation as usize * DURATION_BUCKETS + bucket, 1);
        add(&counts.duration_nanos, operation as usize, nanos);
    }

    /// Counts one decision of a feature in shadow mode that would have been a refusal; `denial` counts
    /// when it is set.
    pub fn shadow(&self, denial: Denial) {
        if denial != Denial::Unspecified {
            add(&self.0.shadows, denial as usize, 1);
        }
    }

    /// Counts one request that was answered with an error.
    pub fn error(&self, reason: ErrorReason) {
        add(&self.0.errors, reason as usize, 1);
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.0
    }
}

/// The counts of one thread, as flat tables.
// Boxed slices of their own allocations keep the threads off each other's cache lines.
pub(super) struct Counts {
    /// How many verdicts there are: the columns of `decisions`.
    pub(super) verdicts: usize,
    /// Rows are operations, columns verdicts.
    pub(super) decisions: Box<[AtomicU64]>,
    pub(super) denials: Box<[AtomicU64]>,
    pub(super) shadows: Box<[AtomicU64]>,
    pub(super) errors: Box<[AtomicU64]>,
    /// Rows are operations, columns buckets; not cumulative.
    pub(super) durations: Box<[AtomicU64]>,
    pub(super) duration_nanos: Box<[AtomicU64]>,
}

impl Counts {
    fn new() -> Counts {
        let table = |cells: usize| (0..cells).map(|_| AtomicU64::new(0)).collect();
        let operations = Operation::ALL.len();
        let verdicts = variants(|value| Verdict::try_from(value).is_ok());
        Counts {
            verdicts,
            decisions: table(operations * verdicts),
            denials: table(variants(|value| Denial::try_from(value).is_ok())),
            shadows: table(variants(|value| Denial::try_from(value).is_ok())),
            errors: table(variants(|value| ErrorReason::try_from(value).is_ok())),
            durations: table(operations * DURATION_BUCKETS),
            duration_nanos: table(operations),
        }
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

/// How many values a proto enum has; they are numbered from 0 without gaps.
fn variants(exists: impl Fn(i32) -> bool) -> usize {
    (0..).take_while(|value| exists(*value)).count()
}

fn add(table: &[AtomicU64], cell: usize, amount: u64) {
    if let Some(cell) = table.get(cell) {
        cell.fetch_add(amount, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        let gauges = Gauges { accounts: 3, test_clock: true, ..Gauges::default() };
        Metrics::new(2, "1.2.3", Arc::new(move || gauges.clone()))
    }

    #[track_caller]
    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
    }

    #[test]
    fn counts_of_all_recorders_are_added_up() {
        let metrics = metrics();
        let us = Duration::from_micros;
        for recorder in metrics.recorders() {
            recorder.decision(Operation::Consume, Verdict::Allowed, Denial::Unspecified, us(7));
        }
        metrics.recorders()[1].decision(
            Operation::Check,
            Verdict::Denied,
            Denial::QuotaExhausted,
            us(5),
        );
        metrics.recorders()[0].error(ErrorReason::NoRoom);
        metrics.recorders()[1].shadow(Denial::NotInPlan);
        metrics.recorders()[1].shadow(Denial::Unspecified);

        let text = metrics.render();
        has(&text, r#"headroom_decisions_total{operation="consume",verdict="allowed"} 2"#);
        has(&text, r#"headroom_decisions_total{operation="check",verdict="denied"} 1"#);
        has(&text, r#"headroom_denials_total{denial="quota_exhausted"} 1"#);
        has(&text, r#"headroom_errors_total{reason="no_room"} 1"#);
        has(&text, r#"headroom_shadow_denials_total{denial="not_in_plan"} 1"#);
        has(&text, r#"headroom_decision_duration_seconds_count{operation="consume"} 2"#);
        has(&text, r#"headroom_accounts 3"#);
        has(&text, r#"headroom_test_clock 1"#);
        has(&text, r#"headroom_build_info{version="1.2.3"} 1"#);
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn every_sink_is_told_of() {
        let sink = |name: &str, pending| SinkGauges {
            sink: name.into(),
            lag: Duration::from_millis(1_500),
            pending,
            delivered: 7,
            attempts_failed: 3,
            dead_letters: 2,
            dead_letters_kept: 5,
            failing: true,
            paused: false,
            disabled: true,
        };
        let sinks = vec![sink("audit", 0), sink("growth", 9)];
        let gauges = Gauges { sinks, ..Gauges::default() };
        let text = Metrics::new(1, "1.2.3", Arc::new(move || gauges.clone())).render();
        has(&text, r#"headroom_sink_lag_seconds{sink="growth"} 1.5"#);
        has(&text, r#"headroom_sink_pending{sink="audit"} 0"#);
        has(&text, r#"headroom_sink_pending{sink="growth"} 9"#);
        has(&text, r#"headroom_sink_delivered_total{sink="growth"} 7"#);
        has(&text, r#"headroom_sink_failed_attempts_total{sink="growth"} 3"#);
        has(&text, r#"headroom_sink_dead_letters_total{sink="growth"} 2"#);
        has(&text, r#"headroom_sink_dead_letters_kept{sink="growth"} 5"#);
        has(&text, r#"headroom_sink_failing{sink="growth"} 1"#);
        has(&text, r#"headroom_sink_paused{sink="growth"} 0"#);
        has(&text, r#"headroom_sink_disabled{sink="growth"} 1"#);
    }

    #[test]
    fn a_duration_on_a_bound_belongs_below_it() {
        let metrics = metrics();
        let recorder = &metrics.recorders()[0];
        for nanos in [5_000, 5_001, 1_000_000_000, 1_000_000_001] {
            recorder.decision(
                Operation::Record,
                Verdict::Allowed,
                Denial::Unspecified,
                Duration::from_nanos(nanos),
            );
        }
        let text = metrics.render();
        for (bound, count) in [("0.000005", 1), ("0.00001", 2), ("1.0", 3), ("+Inf", 4)] {
            has(
                &text,
                &format!(
                    r#"headroom_decision_duration_seconds_bucket{{le="{bound}",operation="record"}} {count}"#
                ),
            );
        }
    }

    #[test]
    fn every_enum_value_has_a_cell() {
        let counts = Counts::new();
        assert_eq!(counts.verdicts, Verdict::AllowedUnbacked as usize + 1);
        assert_eq!(counts.denials.len(), Denial::SeatsFull as usize + 1);
        assert_eq!(counts.errors.len(), ErrorReason::AlreadyUsed as usize + 1);
    }
}
