//! Telemetry: the log, and the metrics that Prometheus reads.
//!
//! Neither knows an account: the log is for the operator of the sidecar, and no metric has a label
//! whose values grow with the customers.

mod exposition;
pub mod logging;
pub mod metrics;

pub use logging::{LogFormat, LogOptions};
pub use metrics::{Gauges, METRICS_CONTENT_TYPE, Metrics, SinkGauges};
