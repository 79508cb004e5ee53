//! What a scrape reads: the counts added up, and the gauges of the moment.

use std::fmt;
use std::iter::Sum;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use headroom_proto::v1::{Denial, ErrorReason, Verdict};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::metrics::{
    Counts, DURATION_BOUNDS_US, DURATION_BUCKETS, Gauges, Operation, ReadGauges, Recorder,
    SinkGauges,
};

/// All metrics, as one collector.
pub(super) struct Exposition {
    pub(super) recorders: Arc<[Recorder]>,
    pub(super) version: &'static str,
    pub(super) gauges: ReadGauges,
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.decisions(&mut encoder)?;
        self.denials(&mut encoder)?;
        self.errors(&mut encoder)?;
        self.durations(&mut encoder)?;
        encoder
            .encode_descriptor("build", "The running program", None, MetricType::Info)?
            .encode_info(&[("version", self.version)])?;
        let now = (self.gauges)();
        gauges(&mut encoder, &now)?;
        sinks(&mut encoder, &now.sinks)
    }
}

impl Exposition {
    /// One cell of all recorders together.
    fn sum(&self, table: impl Fn(&Counts) -> &[AtomicU64], cell: usize) -> u64 {
        let cells = self.recorders.iter().map(|recorder| &table(recorder.counts())[cell]);
        u64::sum(cells.map(|cell| cell.load(Relaxed)))
    }

    fn decisions(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "decisions",
            "Requests decided, by operation and verdict",
            None,
            MetricType::Counter,
        )?;
        for operation in Operation::ALL {
            for (column, verdict) in labels(Verdict::try_from, |v| v.as_str_name(), "VERDICT_") {
                let count = self
                    .sum(|counts| &counts.decisions, operation as usize * self.verdicts() + column);
                let labels = [("operation", operation.label()), ("verdict", &verdict)];
                metric
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn verdicts(&self) -> usize {
        self.recorders.first().map_or(0, |recorder| recorder.counts().verdicts)
    }

    fn denials(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests refused, by the reason reported";
        self.by_denial(encoder, "denials", help, |counts| &counts.denials)?;
        let help =
            "Requests allowed that would have been refused without shadow mode, by the reason";
        self.by_denial(encoder, "shadow_denials", help, |counts| &counts.shadows)
    }

    fn by_denial(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        table: impl Fn(&Counts) -> &[AtomicU64],
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (cell, denial) in labels(Denial::try_from, |d| d.as_str_name(), "DENIAL_") {
            let count = self.sum(&table, cell);
            metric
                .encode_family(&[("denial", denial.as_str())])?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        Ok(())
    }

    fn errors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests answered with an error, by its reason";
        let mut metric = encoder.encode_descriptor("errors", help, None, MetricType::Counter)?;
        for (cell, reason) in labels(ErrorReason::try_from, |r| r.as_str_name(), "ERROR_REASON_") {
            let count = self.sum(|counts| &counts.errors, cell);
            metric
                .encode_family(&[("reason", reason.as_str())])?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        Ok(())
    }

    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "decision_duration",
            "Time from a request's arrival to its answer, waiting for the journal included",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for operation in Operation::ALL {
            let row = operation as usize;
            let buckets: Vec<(f64, u64)> = (0..DURATION_BUCKETS)
                .map(|column| {
                    let bound = DURATION_BOUNDS_US.get(column);
                    let seconds = bound.map_or(f64::INFINITY, |us| *us as f64 / 1e6);
                    let cell = row * DURATION_BUCKETS + column;
                    (seconds, self.sum(|counts| &counts.durations, cell))
                })
                .collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let seconds = self.sum(|counts| &counts.duration_nanos, row) as f64 / 1e9;
            metric
                .encode_family(&[("operation", operation.label())])?
                .encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// The values of a proto enum and their labels, `DENIAL_NOT_IN_PLAN` being `not_in_plan`. The value
/// 0, "unspecified", is never counted.
fn labels<E, Err>(
    value: impl Fn(i32) -> Result<E, Err>,
    name: impl Fn(&E) -> &'static str,
    prefix: &'static str,
) -> impl Iterator<Item = (usize, String)> {
    (1..).map_while(move |number| value(number).ok()).zip(1..).map(move |(value, index)| {
        let name = name(&value);
        (index, name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase())
    })
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, gauges: &Gauges) -> fmt::Result {
    let plain = [
        ("accounts", "Accounts known", gauges.accounts),
        ("ledgers", "Live ledgers", gauges.ledgers),
        (
            "ledgers_halted",
            "Ledgers that failed an internal check and admit nothing",
            gauges.ledgers_halted,
        ),
        ("idempotency_keys", "Idempotency keys remembered", gauges.idempotency_keys),
        ("journal_last_record", "The last record of the journal", gauges.journal_last),
        (
            "journal_durable_record",
            "The last record of the journal that is as durable as configured",
            gauges.journal_durable,
        ),
        (
            "journal_writable",
            "1 when the journal takes writes, else 0",
            u64::from(gauges.journal_writable),
        ),
        ("catalog_revision", "The catalog revision in force", gauges.catalog_revision),
        (
            "signals_pending",
            "Deliveries of signals not yet confirmed by their sink",
            gauges.signals_pending,
        ),
        ("test_clock", "1 when a test clock decides, else 0", u64::from(gauges.test_clock)),
        ("connections", "Open gRPC connections", gauges.connections),
    ];
    for (name, help, value) in plain {
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
    }
    encoder
        .encode_descriptor(
            "idempotency_horizon",
            "How long an idempotency key is remembered at present",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?
        .encode_gauge(&gauges.idempotency_horizon.as_secs_f64())?;
    encoder
        .encode_descriptor(
            "signals_emitted",
            "Signals emitted in the life of the data directory",
            None,
            MetricType::Counter,
        )?
        .encode_counter::<NoLabelSet, _, f64>(&gauges.signals_emitted, None)
}

fn sinks(encoder: &mut DescriptorEncoder<'_>, sinks: &[SinkGauges]) -> fmt::Result {
    let help = "Age of the oldest signal that the sink has not confirmed; 0 when there is none";
    let mut lag =
        encoder.encode_descriptor("sink_lag", help, Some(&Unit::Seconds), MetricType::Gauge)?;
    for sink in sinks {
        lag.encode_family(&[("sink", &*sink.sink)])?.encode_gauge(&sink.lag.as_secs_f64())?;
    }
    type Read = fn(&SinkGauges) -> u64;
    let gauges: [(&str, &str, Read); 5] = [
        ("sink_pending", "Signals not yet confirmed by the sink", |sink| sink.pending),
        (
            "sink_dead_letters_kept",
            "Signals given up that can be sent again, of earlier processes too",
            |sink| sink.dead_letters_kept,
        ),
        (
            "sink_failing",
            "1 when the last attempt failed and nothing was confirmed since, else 0",
            |sink| u64::from(sink.failing),
        ),
        ("sink_paused", "1 when an operator lets the sink rest, else 0", |sink| {
            u64::from(sink.paused)
        }),
        ("sink_disabled", "1 when the endpoint said that it is gone (410), else 0", |sink| {
            u64::from(sink.disabled)
        }),
    ];
    for (name, help, read) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for sink in sinks {
            metric.encode_family(&[("sink", &*sink.sink)])?.encode_gauge(&read(sink))?;
        }
    }
    let counters: [(&str, &str, Read); 3] = [
        ("sink_delivered", "Signals confirmed by the sink", |sink| sink.delivered),
        (
            "sink_failed_attempts",
            "Attempts that failed: deliveries of a webhook, batches of a file",
            |sink| sink.attempts_failed,
        ),
        ("sink_dead_letters", "Signals that the sink gave up", |sink| sink.dead_letters),
    ];
    for (name, help, read) in counters {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for sink in sinks {
            metric
                .encode_family(&[("sink", &*sink.sink)])?
                .encode_counter::<NoLabelSet, _, f64>(&read(sink), None)?;
        }
    }
    Ok(())
}
