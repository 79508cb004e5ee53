//! The files the sidecar is started with: the one place that knows their keys.

use std::net::SocketAddr;
use std::path::Path;

/// The feature that all loads use.
pub(crate) const FEATURE: &str = "calls";

/// The limit whose ledger lives longest in [`four_ledgers`].
pub(crate) const LONGEST_LIMIT: &str = "yearly";

/// Included units of the crossing measurement: one Consume of [`CROSSING_UNITS`] passes the
/// threshold.
const CROSSING_INCLUDED: u64 = 1_000;

/// See [`crossing`].
pub(crate) const CROSSING_UNITS: i64 = 900;

/// Signs what nobody verifies here: `headroom-load-tests-secret`.
const WEBHOOK_SECRET: &str = "whsec_aGVhZHJvb20tbG9hZC10ZXN0cy1zZWNyZXQ=";

/// What a server is started with.
pub(crate) struct Settings<'a> {
    /// The addresses of the service.
    pub listen: &'a [String],
    /// The address of the admin listener.
    pub admin: SocketAddr,
    /// Where it keeps its data.
    pub data_dir: &'a Path,
    /// Its catalog.
    pub catalog: &'a Path,
    /// Its workers: as many as it has cores.
    pub workers: usize,
}

/// The configuration file.
pub(crate) fn config(settings: &Settings<'_>) -> String {
    let listen: Vec<String> = settings.listen.iter().map(|addr| format!("{addr:?}")).collect();
    format!(
        "listen: [{}]\nadmin: \"{}\"\ndata_dir: {:?}\ncatalog: {:?}\ndurability: written\n\
         workers: {}\nclock: system\n",
        listen.join(", "),
        settings.admin,
        settings.data_dir,
        settings.catalog,
        settings.workers,
    )
}

/// Units of a quota that nobody uses up.
const AMPLE: u64 = 9_000_000_000_000_000;

/// Units of one Consume that passes the threshold of [`telling`].
pub(crate) const AMPLE_CROSSING_UNITS: i64 = 8_000_000_000_000_000;

/// A quota nobody uses up: what every decision of the side-by-side measurements is about.
pub(crate) fn ample() -> String {
    catalog(&[("monthly", "month", AMPLE, "")])
}

/// The same with a threshold, and where its crossing is told, if anywhere.
pub(crate) fn telling(webhook: Option<SocketAddr>) -> String {
    let text = catalog(&[("monthly", "month", AMPLE, ", soft_limits: [80%]")]);
    text + &webhook.map(sink).unwrap_or_default()
}

/// Four calendar windows on one feature: one write makes four ledgers.
pub(crate) fn four_ledgers() -> String {
    catalog(&[
        ("hourly", "hour", 1_000_000, ""),
        ("daily", "day", 10_000_000, ""),
        ("monthly", "month", 100_000_000, ""),
        (LONGEST_LIMIT, "year", 1_000_000_000, ""),
    ])
}

/// A quota that one Consume of [`CROSSING_UNITS`] takes over a threshold, and where that is told.
pub(crate) fn crossing(webhook: SocketAddr) -> String {
    let text = catalog(&[("monthly", "month", CROSSING_INCLUDED, ", soft_limits: [80%]")]);
    text + &sink(webhook)
}

fn sink(webhook: SocketAddr) -> String {
    format!(
        "sinks:\n  - sink: load-tests\n    kind: standard_webhook\n    \
         url: \"http://{webhook}/\"\n    secret: {WEBHOOK_SECRET}\n    \
         allow_private: on\n"
    )
}

/// One feature with these limits `(name, calendar window, included units, more)`, on the plan of
/// every account.
fn catalog(limits: &[(&str, &str, u64, &str)]) -> String {
    let mut text = format!(
        "default_plan: load\nfeatures:\n  {FEATURE}:\n    name: Calls\n    kind: quota\n    \
         unit: calls\n    limits:\n"
    );
    for (limit, window, _, _) in limits {
        text += &format!("      {limit}: {{window: {{calendar: {window}}}}}\n");
    }
    text += &format!("plans:\n  load:\n    name: Load\n    entitlements:\n      {FEATURE}:\n");
    for (limit, _, included, more) in limits {
        text += &format!("        {limit}: {{included: {included}, policy: block{more}}}\n");
    }
    text
}
